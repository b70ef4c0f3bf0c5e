//! Second signers: who else makes versions of a zone that is signed here.
//!
//! A copy of the data directory that runs elsewhere, or a signer that was forgotten, goes unnoticed as
//! long as the servers answer: until one of them rolls a key, and resolvers meet signatures by keys that
//! the other does not publish. So wherever a server of a signed zone is asked what it has, it is asked too
//! whose it is: its keys must be among those known here, and a version must be one that was made here.
//!
//! Promises: a server that lags is no stranger; nor is one of another provider whose keys are named
//! ([RFC 8901]). Each zone's turn is told once: in the log, and as news.
//!
//! [RFC 8901]: https://www.rfc-editor.org/rfc/rfc8901

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hold::{self, News, Turn};
use super::look::{Asked, End, TRIES_ALIVE};
use super::message::How;
use super::rows::{self, Zone};
use super::served::{Seen, Standing};
use super::servers::Server;
use super::{Maintain, dnssec, signing};
use crate::sign::key::key_tag;
use crate::store::RawRows;
use crate::wire::Type;
use crate::zone::ReadFault;
use crate::zone::delta::{Set, set_at};

/// What the versions of a zone signed here are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// DNSKEY RDATA of every key known of it, other providers' too.
    keys: Vec<Vec<u8>>,
    /// Whether other providers sign it too, each with serials of its own.
    is_shared: bool,
    soa: Option<Set>,
}

/// The zones a second signer was seen of, and at which servers.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    zones: Mutex<BTreeMap<u32, BTreeSet<SocketAddr>>>,
}

impl Strangers {
    fn zones(&self) -> MutexGuard<'_, BTreeMap<u32, BTreeSet<SocketAddr>>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a round saw of a zone; whether that is another turn, and then which.
    fn turn(&self, zone: u32, seen: &[(SocketAddr, Seen)]) -> Option<bool> {
        let mut zones = self.zones();
        let was = zones.remove(&zone).unwrap_or_default();
        // Who was one and does not answer now may be one still.
        let is_one = |(address, seen): &&(SocketAddr, Seen)| match seen.standing {
            Standing::Foreign => true,
            Standing::Ok => false,
            _ => was.contains(address),
        };
        let now: BTreeSet<SocketAddr> = seen.iter().filter(is_one).map(|(at, _)| *at).collect();
        let is_turn = now.is_empty() != was.is_empty();
        let is_seen = !now.is_empty();
        if is_seen {
            zones.insert(zone, now);
        }
        is_turn.then_some(is_seen)
    }

    fn forget(&self, zone: u32) {
        self.zones().remove(&zone);
    }

    /// Of how many zones a second signer was seen.
    fn count(&self) -> usize {
        self.zones().len()
    }
}

/// What `zone` is known by; none when it is not signed here.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub(super) fn marks<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Option<Marks>, ReadFault> {
    let Some(signing) = signing::of(rows, zone)?.filter(|signing| signing.active().is_some())
    else {
        return Ok(None);
    };
    let foreign = dnssec::life(rows, zone)?.map_or_else(Vec::new, |life| life.foreign);
    let planned = signing.plan.foreign_keys.iter().map(|key| key.to_vec());
    let own = signing::dnskeys(rows, zone)?.into_iter().map(|(_, key)| key);
    let is_shared = !foreign.is_empty() || !signing.plan.foreign_keys.is_empty();
    let keys = own.chain(planned).chain(foreign.into_iter().map(|(_, key)| key)).collect();
    let soa = rows::with_view(rows, zone, |view| set_at(view, &zone.apex, Type::SOA))?;
    Ok(Some(Marks { keys, is_shared, soa }))
}

impl Marks {
    /// What of the keys and the SOA that a server has was not made here.
    fn stranger(&self, zone: &Zone, dnskeys: &[Box<[u8]>], soa: &Set) -> Option<String> {
        let strange = dnskeys.iter().find(|key| !self.keys.iter().any(|own| **own == ***key));
        if let Some(key) = strange {
            let tag = key_tag(key);
            return Some(format!("publishes the key {tag}, which is none of this zone's"));
        }
        if self.is_shared {
            return None;
        }
        let (serial, here) = (soa.rrset.soa_serial()?, zone.serial);
        if here.is_before(serial) {
            let text = format!("has serial {serial}, and the newest made here is {here}");
            return Some(text);
        }
        let own = self.soa.as_ref()?;
        let sorted = |sigs: &[Box<[u8]>]| {
            let mut sigs = sigs.to_vec();
            sigs.sort();
            sigs
        };
        // Who leaves signatures out has made none.
        let is_signed_so = soa.sigs.is_empty() || sorted(&own.sigs) == sorted(&soa.sigs);
        let is_same = own.rrset.rdatas() == soa.rrset.rdatas() && is_signed_so;
        (serial == here && !is_same)
            .then(|| format!("has another version with the serial {serial} than was made here"))
    }
}

impl Maintain {
    /// The same look at a server, with whose version it has.
    pub(super) async fn see_whose(&self, server: &Server, asked: &Asked, seen: Seen) -> Seen {
        let has_it = matches!(seen.standing, Standing::Ok | Standing::Tampered);
        let Some(marks) = asked.marks.as_ref().filter(|_| has_it) else { return seen };
        match self.stranger_at(server, &asked.zone, marks).await {
            Ok(Some(detail)) => Seen { standing: Standing::Foreign, serial: seen.serial, detail },
            // Who does not answer now is asked again in the next round.
            Ok(None) | Err(_) => seen,
        }
    }

    async fn stranger_at(
        &self,
        server: &Server,
        zone: &Zone,
        marks: &Marks,
    ) -> Result<Option<String>, End> {
        let how = How { dnssec: true, recursive: false };
        let soa = self.answer_of(server, &zone.apex, Type::SOA, how, TRIES_ALIVE).await?;
        let dnskeys = self.answer_of(server, &zone.apex, Type::DNSKEY, how, TRIES_ALIVE).await?;
        let Some(rrset) = soa.set.filter(|_| soa.authoritative) else { return Ok(None) };
        let dnskeys = dnskeys.set.as_ref().filter(|_| dnskeys.authoritative);
        let dnskeys = dnskeys.map_or(&[][..], |set| set.rdatas());
        let found = marks.stranger(zone, dnskeys, &Set { rrset, sigs: soa.sigs });
        // Meanwhile a version may have been made here.
        let now = self.store().read(|rows| rows::by_id(rows, zone.id));
        let is_still = now.is_ok_and(|now| now.is_some_and(|now| now.version == zone.version));
        Ok(found.filter(|_| is_still))
    }

    /// Tells when a second signer of a zone is seen for the first time, and when none is any more.
    pub(super) fn note_strangers(&self, asked: &Asked, seen: &[(SocketAddr, Seen)]) {
        let (id, strangers) = (asked.zone.id, &self.board().strangers);
        if asked.marks.is_none() {
            return strangers.forget(id);
        }
        let Some(is_seen) = strangers.turn(id, seen) else { return };
        let found = seen.iter().find(|(_, seen)| seen.standing == Standing::Foreign);
        let found = found.filter(|_| is_seen);
        let found = found.map(|(address, seen)| format!("{address} {}", seen.detail));
        let this = self.clone();
        // The store may have to wait for the disk.
        tokio::task::spawn_blocking(move || this.tell_stranger(id, found.as_deref()));
    }

    fn tell_stranger(&self, id: u32, found: Option<&str>) {
        let told = self.store().transact(|tx| {
            let Ok(Some(zone)) = rows::by_id(tx, id) else { return Ok(()) };
            let apex = &zone.apex;
            let turn = match found {
                Some(found) => {
                    tracing::error!(zone = %apex, "{apex} has a second signer: {found}. Is a copy of this server's data in use elsewhere?");
                    Turn::SecondSigner
                }
                None => {
                    tracing::info!(zone = %apex, "no second signer of {apex} is seen any more");
                    Turn::OneSigner
                }
            };
            hold::put_news(tx, &News { apex: apex.clone(), org: zone.org.clone(), turn })
        });
        if let Err(error) = told {
            tracing::warn!(%error, zone = id, "news of a second signer is not kept: {error}");
        }
    }

    /// Which server of a zone serves what another signer made, in a sentence; none if none was seen.
    pub fn second_signer(&self, zone: &Zone) -> Option<String> {
        self.zone_servers(zone).servers.into_iter().find_map(|server| {
            let seen = server.seen.filter(|seen| seen.standing == Standing::Foreign)?;
            let names = server.names.join(", ");
            let address = server.address.map_or_else(String::new, |at| format!(" ({at})"));
            Some(format!("{names}{address} {}", seen.detail))
        })
    }

    /// Of how many zones a second signer was seen.
    pub fn second_signers(&self) -> usize {
        self.board().strangers.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, RrSet, Serial};

    fn soa(serial: u32, sig: u8) -> Set {
        let apex = Name::parse("x.").unwrap();
        let text = format!("ns host {serial} 2 3 4 5");
        let rdata = crate::wire::rdata::parse(Type::SOA, &text, Some(&apex)).unwrap();
        let rrset = RrSet::new(apex, Type::SOA, 60, vec![rdata]);
        Set { rrset, sigs: vec![vec![sig; 20].into()] }
    }

    fn zone(serial: u32) -> Zone {
        Zone {
            id: 1,
            apex: Name::parse("x.").unwrap(),
            org: "org".into(),
            state: super::super::ZoneState::Live,
            presigned: false,
            serial: Serial(serial),
            version: 1,
            generation: 0,
            counts: Default::default(),
            journal: Default::default(),
            created_us: 0,
            changed_us: 0,
        }
    }

    #[test]
    fn a_stranger_is_known_by_its_keys_its_serial_or_its_signature() {
        let key = |octet: u8| vec![octet; 40];
        let marks = Marks { keys: vec![key(1), key(2)], is_shared: false, soa: Some(soa(7, 1)) };
        let found = |marks: &Marks, keys: &[u8], soa: Set| {
            let keys: Vec<Box<[u8]>> = keys.iter().map(|octet| key(*octet).into()).collect();
            marks.stranger(&zone(7), &keys, &soa)
        };
        assert_eq!(found(&marks, &[1, 2], soa(7, 1)), None);
        assert_eq!(found(&marks, &[2], soa(6, 9)), None, "a server that lags");
        assert!(found(&marks, &[1, 3], soa(6, 1)).unwrap().contains("none of this zone's"));
        assert!(found(&marks, &[1], soa(8, 1)).unwrap().contains("newest made here is 7"));
        assert!(found(&marks, &[1], soa(7, 2)).unwrap().contains("another version"));
        let shared = Marks { is_shared: true, ..marks };
        assert_eq!(found(&shared, &[1, 2], soa(9, 9)), None, "RFC 8901: another provider");
        assert!(found(&shared, &[3], soa(7, 1)).is_some());
    }

    #[test]
    fn a_turn_is_one_when_the_first_is_seen_and_when_the_last_has_gone() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let seen = |standing| Seen { standing, serial: None, detail: String::new() };
        let strangers = Strangers::default();
        let turn = |standings: &[Standing]| {
            let seen: Vec<(SocketAddr, Seen)> =
                (1..).zip(standings).map(|(port, standing)| (at(port), seen(*standing))).collect();
            strangers.turn(7, &seen)
        };
        assert_eq!(turn(&[Standing::Ok, Standing::Unreachable]), None);
        assert_eq!(turn(&[Standing::Ok, Standing::Foreign]), Some(true));
        assert_eq!(turn(&[Standing::Foreign, Standing::Foreign]), None);
        assert_eq!(turn(&[Standing::Ok, Standing::Unreachable]), None, "it may be one still");
        assert_eq!(strangers.count(), 1);
        assert_eq!(turn(&[Standing::Unreachable, Standing::Ok]), Some(false));
        assert_eq!(turn(&[Standing::Foreign]), Some(true));
        assert_eq!(turn(&[]), Some(false), "it serves the zone no more");
    }
}
