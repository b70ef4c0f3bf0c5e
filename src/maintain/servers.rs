//! The servers of a zone: those its NS records list, at every address, and the secondaries.
//!
//! An address of a name server comes from the zones kept here, else from the operator's resolvers. A
//! listed address that a secondary's row (or our own listener) gives a port to is asked there, else
//! on port 53.
//!
//! Promises: nothing is asked but through the gate; what a resolver said is kept no longer than its
//! TTL, and of no more than [`KEPT_MAX`] names.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::{self, Answer, How};
use super::rows::{self, Zone};
use super::secondaries::{self, Secondary};
use super::waivers::{self, Waived};
use super::{Maintain, rows::fault};
use crate::store::RawRows;
use crate::wire::{Name, Type};
use crate::zone::ReadFault;
use crate::zone::delta::set_at;

/// The port of DNS.
const PORT: u16 = 53;

/// The name server of zones that have none, `invalid.`
const NOBODY: &[u8] = b"\x07invalid\x00";

/// Names whose addresses are kept.
const KEPT_MAX: usize = 10_000;

/// How long an answer of a resolver is kept at least and at most.
const KEPT_MIN: Duration = Duration::from_secs(30);
const KEPT_TIME_MAX: Duration = Duration::from_secs(3600);

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// One server of a zone, by the address it is reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub address: SocketAddr,
    /// Names of NS records, and of secondaries.
    pub names: Vec<String>,
    /// The TSIG key that messages to it are signed with.
    pub key: Option<Name>,
    pub notify: bool,
    pub probe: bool,
    /// Whether nobody waits for it.
    pub waived: bool,
    /// Whether it is a listener of this server: nobody else is talked to.
    pub own: bool,
}

/// All servers of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Servers {
    pub known: Vec<Server>,
    /// Listed names without a known address.
    pub unknown: Vec<String>,
    /// Those among them that nobody waits for.
    pub unknown_waived: Vec<String>,
}

/// What resolvers said, for as long as it holds.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    kept: Mutex<BTreeMap<Vec<u8>, (Instant, Vec<IpAddr>)>>,
}

/// What stands in the store about the servers of a zone.
#[derive(Default)]
pub(super) struct Listed {
    /// Name servers, with the addresses that zones kept here give them.
    servers: Vec<(Name, Vec<IpAddr>)>,
    secondaries: Vec<Secondary>,
}

impl Maintain {
    /// The servers of a zone.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub(super) async fn servers_of(
        &self,
        zone: &Zone,
        addresses: &Addresses,
    ) -> Result<Servers, ReadFault> {
        let listed = self.store().read(|rows| Listing::of(rows)?.listed(rows, zone))?;
        Ok(self.resolved(listed, addresses).await)
    }

    /// The servers that are listed, the addresses of their names asked for where no zone kept here has them.
    pub(super) async fn resolved(
        &self,
        (mut listed, waived): (Listed, Waived),
        addresses: &Addresses,
    ) -> Servers {
        for (name, found) in &mut listed.servers {
            if found.is_empty() {
                *found = addresses.of(self, name).await;
            }
        }
        self.joined(&(listed, waived))
    }

    /// The servers that are listed, if nobody has to be asked for their addresses.
    pub(super) fn known(&self, listed: &(Listed, Waived)) -> Option<Servers> {
        let unknown = listed.0.servers.iter().any(|(_, found)| found.is_empty());
        let is_known = !unknown || self.settings().resolvers.is_empty();
        is_known.then(|| self.joined(listed))
    }

    fn joined(&self, (listed, waived): &(Listed, Waived)) -> Servers {
        let mut servers = joined(listed, self.own_listeners(), &is_local);
        for server in &mut servers.known {
            server.waived = waived.covers(&server.names);
        }
        let unknown = servers.unknown.iter().filter(|name| waived.covers([*name]));
        servers.unknown_waived = unknown.cloned().collect();
        servers
    }
}

/// The servers that a secondary's row means.
pub(super) fn of_row(row: Secondary) -> impl Iterator<Item = Server> {
    let Secondary { name, addresses, key, notify, probe, .. } = row;
    addresses.into_iter().map(move |address| Server {
        address,
        names: vec![name.clone()],
        key: key.clone(),
        notify,
        probe,
        waived: false,
        own: false,
    })
}

/// The names that the NS records at a zone's apex list.
pub(super) fn listed_names<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Vec<Name>, ReadFault> {
    let ns = rows::with_view(rows, zone, |view| set_at(view, &zone.apex, Type::NS))?;
    let names = ns.iter().flat_map(|set| set.rrset.rdatas());
    Ok(names.filter_map(|rdata| Name::from_wire(rdata).ok()).collect())
}

/// Whether a zone is one that nobody is to ask about: its consumers may refuse to answer for it.
pub(super) fn is_catalog<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<bool, ReadFault> {
    Ok(listed_names(rows, zone)?.iter().all(|name| name.as_wire() == NOBODY))
}

impl Maintain {
    /// The names by which the servers of a zone are known: NS records, and secondaries.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn server_names<R: RawRows + ?Sized>(
        rows: &R,
        zone: &Zone,
    ) -> Result<Vec<String>, ReadFault> {
        let listed = listed_names(rows, zone)?.into_iter().map(|name| name.to_string());
        let followers = secondaries::all(rows).map_err(fault)?.into_iter();
        let followers = followers.filter(|row| row.scope.covers(zone)).map(|row| row.name);
        Ok(listed.chain(followers).collect())
    }
}

/// What is looked up once for zones that are looked at together.
pub(super) struct Listing {
    secondaries: Vec<Secondary>,
    has_waivers: bool,
    /// The addresses that zones kept here give to names, by the names' keys.
    here: BTreeMap<Vec<u8>, Vec<IpAddr>>,
}

impl Listing {
    /// One that knows of no name yet.
    pub(super) fn of<R: RawRows + ?Sized>(rows: &R) -> Result<Listing, ReadFault> {
        Ok(Listing {
            secondaries: secondaries::all(rows).map_err(fault)?,
            has_waivers: waivers::are_any(rows)?,
            here: BTreeMap::new(),
        })
    }

    /// What stands in the store about the servers of a zone, and who of them is waived.
    pub(super) fn listed<R: RawRows + ?Sized>(
        &mut self,
        rows: &R,
        zone: &Zone,
    ) -> Result<(Listed, Waived), ReadFault> {
        let names = listed_names(rows, zone)?;
        let is_catalog = names.iter().all(|name| name.as_wire() == NOBODY);
        let names = names.into_iter().filter(|_| !is_catalog);
        let servers = names.map(|name| {
            let key = name.key();
            let found = match self.here.get(&key) {
                Some(found) => found.clone(),
                None => {
                    let found = addresses_here(rows, &name)?;
                    self.here.insert(key, found.clone());
                    found
                }
            };
            Ok((name, found))
        });
        let servers = servers.collect::<Result<_, ReadFault>>()?;
        let secondaries = self.secondaries.iter().filter(|row| row.scope.covers(zone)).cloned();
        let mut secondaries: Vec<Secondary> = secondaries.collect();
        for row in &mut secondaries {
            row.probe &= !is_catalog;
        }
        let waived = if self.has_waivers { Waived::of(rows, zone)? } else { Waived::default() };
        Ok((Listed { servers, secondaries }, waived))
    }
}

/// The addresses that the zone which holds `name` gives it.
fn addresses_here<R: RawRows + ?Sized>(rows: &R, name: &Name) -> Result<Vec<IpAddr>, ReadFault> {
    let Some(zone) = rows::holding(rows, name)? else { return Ok(Vec::new()) };
    rows::with_view(rows, &zone, |view| {
        let mut found = Vec::new();
        for rtype in [Type::A, Type::AAAA] {
            let set = set_at(view, name, rtype)?;
            let rdatas = set.iter().flat_map(|set| set.rrset.rdatas());
            found.extend(rdatas.filter_map(|rdata| address(rdata)));
        }
        Ok(found)
    })
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(rdata).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(rdata).map(IpAddr::from)).ok()
}

/// Whether an address is one of this machine's.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Brings name servers and secondaries together by address. We do not tell ourselves.
fn joined(listed: &Listed, own: &[SocketAddr], is_local: &dyn Fn(IpAddr) -> bool) -> Servers {
    let listens = |own: &SocketAddr, ip: IpAddr| {
        own.ip() == ip || own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4() && is_local(ip)
    };
    let mut servers = Servers::default();
    let mut known: BTreeMap<SocketAddr, Server> = BTreeMap::new();
    for row in &listed.secondaries {
        for &address in &row.addresses {
            let server = known.entry(address).or_insert_with(|| nameless(address));
            server.names.push(row.name.clone());
            server.notify |= row.notify;
            server.probe |= row.probe;
            server.key = server.key.take().or_else(|| row.key.clone());
        }
    }
    let follow: Vec<SocketAddr> = known.keys().copied().collect();
    for (name, found) in &listed.servers {
        if found.is_empty() {
            servers.unknown.push(name.to_string());
        }
        for &ip in found {
            let mut places: Vec<SocketAddr> =
                follow.iter().copied().filter(|place| place.ip() == ip).collect();
            let ours = own.iter().filter(|own| listens(own, ip));
            places.extend(ours.map(|own| SocketAddr::from((ip, own.port()))));
            if places.is_empty() {
                places.push((ip, PORT).into());
            }
            for place in places {
                let server = known.entry(place).or_insert_with(|| nameless(place));
                server.names.push(name.to_string());
                server.notify |= !follow.contains(&place);
                server.probe = true;
            }
        }
    }
    for (address, server) in &mut known {
        server.own =
            own.iter().any(|own| own.port() == address.port() && listens(own, address.ip()));
        server.notify &= !server.own;
    }
    servers.known = known.into_values().collect();
    for server in &mut servers.known {
        server.names.dedup();
    }
    servers
}

fn nameless(address: SocketAddr) -> Server {
    let names = Vec::new();
    Server { address, names, key: None, notify: false, probe: false, waived: false, own: false }
}

impl Addresses {
    /// The addresses of a name that stands in no zone kept here; none when nobody says.
    async fn of(&self, maintain: &Maintain, name: &Name) -> Vec<IpAddr> {
        let key = name.key();
        let now = Instant::now();
        if let Some((until, found)) = self.held().get(&key)
            && now < *until
        {
            return found.clone();
        }
        let resolvers = &maintain.settings().resolvers;
        if resolvers.is_empty() {
            return Vec::new();
        }
        let (mut found, mut ttl) = (Vec::new(), KEPT_TIME_MAX);
        for rtype in [Type::A, Type::AAAA] {
            for &resolver in resolvers {
                let how = How { recursive: true, dnssec: false };
                let mut query = message::query(name, rtype, how);
                let asked = maintain.dialer().ask_async(resolver, &mut query, None, PATIENCE).await;
                let Ok(reply) = asked else { continue };
                let Some(answer) = Answer::read(name, rtype, &reply) else { continue };
                if let Some(set) = answer.set {
                    ttl = ttl.min(Duration::from_secs(set.ttl.into()));
                    found.extend(set.rdatas().iter().filter_map(|rdata| address(rdata)));
                }
                break;
            }
        }
        if found.is_empty() {
            ttl = KEPT_MIN;
        }
        let mut kept = self.held();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(key, (now + ttl.max(KEPT_MIN), found.clone()));
        }
        found
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vec<u8>, (Instant, Vec<IpAddr>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::secondaries::Scope;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn row(name: &str, addresses: &[&str], notify: bool, probe: bool) -> Secondary {
        Secondary {
            name: name.into(),
            addresses: addresses.iter().map(|text| at(text)).collect(),
            key: None,
            scope: Scope::All,
            notify,
            probe,
            created_us: 0,
        }
    }

    fn ns(name: &str, addresses: &[&str]) -> (Name, Vec<IpAddr>) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        (Name::parse(name).unwrap(), addresses)
    }

    fn shown(listed: Listed, own: &[&str]) -> Vec<String> {
        let own: Vec<_> = own.iter().map(|text| at(text)).collect();
        let servers = joined(&listed, &own, &|ip| ip == at("192.0.2.1:0").ip());
        let known = servers.known.iter().map(|server| {
            let (notify, probe) = (server.notify, server.probe);
            format!("{} {:?} {notify} {probe}", server.address, server.names)
        });
        known.chain(servers.unknown.iter().map(|name| format!("? {name}"))).collect()
    }

    #[test]
    fn every_listed_address_is_told_and_asked_on_port_53() {
        let servers = vec![ns("a.", &["192.0.2.1", "2001:db8::1"]), ns("b.", &[])];
        let listed = Listed { servers, secondaries: vec![] };
        assert_eq!(
            shown(listed, &[]),
            [r#"192.0.2.1:53 ["a."] true true"#, r#"[2001:db8::1]:53 ["a."] true true"#, "? b."]
        );
    }

    #[test]
    fn a_secondary_that_is_listed_too_is_one_server_at_its_own_port() {
        let servers = vec![ns("a.", &["192.0.2.1"])];
        let secondaries = vec![
            row("one", &["192.0.2.1:5301"], true, false),
            row("hidden", &["192.0.2.9:53"], true, false),
        ];
        assert_eq!(
            shown(Listed { servers, secondaries }, &[]),
            [r#"192.0.2.1:5301 ["one", "a."] true true"#, r#"192.0.2.9:53 ["hidden"] true false"#]
        );
    }

    #[test]
    fn we_are_asked_but_not_told() {
        let servers = vec![ns("a.", &["192.0.2.1"])];
        let listed = Listed { servers, secondaries: vec![] };
        assert_eq!(shown(listed, &["192.0.2.1:5300"]), [r#"192.0.2.1:5300 ["a."] false true"#]);
        let listed = Listed { servers: vec![ns("a.", &["192.0.2.1"])], secondaries: vec![] };
        assert_eq!(shown(listed, &["0.0.0.0:53"]), [r#"192.0.2.1:53 ["a."] false true"#]);
        let listed = Listed { servers: vec![ns("a.", &["192.0.2.2"])], secondaries: vec![] };
        assert_eq!(shown(listed, &["0.0.0.0:53"]), [r#"192.0.2.2:53 ["a."] true true"#]);
    }
}
