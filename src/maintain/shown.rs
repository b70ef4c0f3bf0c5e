//! What is shown of the servers of a zone: who was told of it, who was seen with it, and since when all have it.
//!
//! Read from what [`announce`](super::announce) knows; none of it is kept beyond a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::announce::{Known, held};
use super::notify::Entry;
use super::rows::Zone;
use super::secondaries::{self, Secondary};
use super::served::{Seen, Watch};
use super::{Maintain, gone};
use crate::wire::{Name, Serial};
use crate::zone::ReadFault;

/// What is known of one server of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Names of NS records, and of secondaries.
    pub names: Vec<String>,
    /// None for a listed name nobody gives an address.
    pub address: Option<SocketAddr>,
    /// What was seen; none of a server that is told and not asked.
    pub seen: Option<Seen>,
    /// Microseconds since 1970.
    pub asked_us: Option<u64>,
    pub ok_us: Option<u64>,
    pub told: Option<Told>,
    /// Whether nobody waits for it.
    pub waived: bool,
}

impl ServerState {
    /// One that nothing was seen of.
    fn unseen(names: Vec<String>, address: Option<SocketAddr>, told: Option<Told>) -> ServerState {
        let (seen, asked_us, ok_us) = (None, None, None);
        ServerState { names, address, seen, asked_us, ok_us, told, waived: false }
    }
}

/// How far the NOTIFY for a zone got with one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub entry: Entry,
    /// Microseconds since 1970.
    pub sent_us: Option<u64>,
}

/// What is known of the servers of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneServers {
    /// When all were seen with the zone as it is; microseconds since 1970.
    pub everywhere_us: Option<u64>,
    pub servers: Vec<ServerState>,
}

impl Maintain {
    /// What is known of the servers of a zone.
    pub fn zone_servers(&self, zone: &Zone) -> ZoneServers {
        self.servers_known(zone.id, Some(zone.serial))
    }

    /// The same, with the names of secondaries that are only told. It reads the store, so not within a read.
    pub fn zone_servers_named(&self, zone: &Zone) -> ZoneServers {
        // Without a name a server is shown by its address.
        let rows = self.store().read(|rows| secondaries::all(rows)).unwrap_or_default();
        let mut known = self.zone_servers(zone);
        for server in known.servers.iter_mut().filter(|server| server.names.is_empty()) {
            let is_its = |row: &&Secondary| {
                row.scope.covers(zone) && row.addresses.iter().any(|at| Some(*at) == server.address)
            };
            server.names = rows.iter().filter(is_its).map(|row| row.name.clone()).collect();
        }
        known
    }

    /// What is known of the servers of the zone of this name that was deleted last; none when nobody
    /// waits for its end.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn gone_servers(&self, apex: &Name) -> Result<Option<ZoneServers>, ReadFault> {
        let gone = self.store().read(|rows| gone::of(rows, apex))?;
        Ok(gone.map(|gone| self.servers_known(gone.zone, None)))
    }

    fn servers_known(&self, zone: u32, serial: Option<Serial>) -> ZoneServers {
        let known = held(&self.board().known);
        let told = |entry: &Entry| Told {
            sent_us: entry.sent_ms.map(|ms| known.us(ms)),
            entry: entry.clone(),
        };
        let mut news: BTreeMap<SocketAddr, Told> =
            known.notifier.of_zone(zone).map(|(at, entry)| (at, told(entry))).collect();
        let mut servers = Vec::new();
        let watch = known.matrix.get(zone);
        for cell in watch.into_iter().flat_map(|watch| watch.cells.values()) {
            servers.push(ServerState {
                names: cell.names.clone(),
                address: Some(cell.address),
                seen: Some(cell.seen.clone()),
                asked_us: cell.asked_ms.map(|ms| known.us(ms)),
                ok_us: cell.ok_ms.map(|ms| known.us(ms)),
                told: news.remove(&cell.address),
                waived: cell.waived,
            });
        }
        for (address, told) in news {
            servers.push(ServerState::unseen(Vec::new(), Some(address), Some(told)));
        }
        for (name, watch) in watch.into_iter().flat_map(|w| w.unknown.iter().map(move |n| (n, w))) {
            let waived = watch.unknown_waived.contains(name);
            let server = ServerState::unseen(vec![name.clone()], None, None);
            servers.push(ServerState { waived, ..server });
        }
        let everywhere_us = watch.and_then(|watch| everywhere_us(&known, watch, serial));
        ZoneServers { everywhere_us, servers }
    }

    /// How many NOTIFY were acknowledged, failed and are sent again, and failed for the last time.
    pub fn notifies(&self) -> [u64; 3] {
        held(&self.board().known).notifier.results()
    }
}

fn everywhere_us(known: &Known, watch: &Watch, serial: Option<Serial>) -> Option<u64> {
    let at = watch.everywhere_ms.filter(|_| Some(watch.serial) == serial);
    at.map(|ms| known.us(ms))
}
