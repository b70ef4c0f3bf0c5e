//! Who asks most about which zone, counted only while somebody looks.
//!
//! Each look switches counting on for another [`WATCH_S`]; without one it ends by itself and answering
//! costs one comparison a batch more. What is counted most is kept with the *space saving* method: a
//! newcomer to a full list takes the place, and the count, of the least, and how much of its count may be
//! another's is kept beside it.
//!
//! Promises: memory for [`ZONES_MAX`] zones and [`CLIENTS_MAX`] clients each, however many ask; a worker
//! never waits: a batch that finds the counters in use is left out and counted as missed.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ipnet::{IpNet, Ipv6Net};

use super::handle::{Outcome, Slot};
use crate::answer::Snapshot;
use crate::wire::Name;

/// Seconds counted after a look.
pub const WATCH_S: u32 = 60;

/// Zones kept.
pub const ZONES_MAX: usize = 256;

/// Clients kept for each zone.
pub const CLIENTS_MAX: usize = 16;

/// A host of IPv6 is its network: it may have an address for every query.
const V6_PREFIX: u8 = 64;

/// The counters, shared by all that answer.
#[derive(Default)]
pub struct Talkers {
    /// The second until which is counted; 0 while nobody looks.
    until_s: AtomicU32,
    missed: AtomicU64,
    counted: Mutex<Counted>,
}

/// What was counted since `since_s`.
#[derive(Default)]
struct Counted {
    since_s: u32,
    queries: u64,
    zones: Top<u32, Zone>,
}

struct Zone {
    apex: Name,
    clients: Top<IpNet, ()>,
}

/// What a look sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// When counting began, in seconds since 1970, modulo 2³².
    pub since_s: u32,
    /// Queries counted, about any zone or none.
    pub queries: u64,
    /// Queries left out because the counters were in use.
    pub missed: u64,
    /// Zones, the most asked about first.
    pub zones: Vec<ZoneTalk>,
}

/// How much one zone is asked about, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneTalk {
    pub apex: Name,
    pub queries: u64,
    /// How many of them may have been about other zones.
    pub over: u64,
    /// Clients with their queries, the busiest first.
    pub clients: Vec<(IpNet, u64)>,
}

impl Talkers {
    /// Whether queries are counted at this second.
    #[inline]
    pub(super) fn is_watching(&self, now_s: u32) -> bool {
        let until = self.until_s.load(Ordering::Relaxed);
        until != 0 && until.wrapping_sub(now_s) <= WATCH_S
    }

    /// Counts a batch that was answered. Never waits.
    #[cold]
    pub(super) fn note(&self, snapshot: &Snapshot, slots: &[Slot]) {
        let Ok(mut counted) = self.counted.try_lock() else {
            self.missed.fetch_add(slots.len() as u64, Ordering::Relaxed);
            return;
        };
        for slot in slots.iter().filter(|slot| matches!(slot.outcome, Outcome::Reply(_))) {
            counted.queries += 1;
            let Some(facts) = snapshot.zone_of(&slot.query) else { continue };
            let Ok(apex) = Name::from_wire(slot.query.suffix(facts.skip)) else { continue };
            let zone = || Zone { apex, clients: Top::default() };
            let zone = counted.zones.count(facts.zone, ZONES_MAX, zone);
            zone.clients.count(network_of(slot.peer.ip()), CLIENTS_MAX, || ());
        }
    }

    /// What was counted until `now_s`, and counts for another while. The first look sees nothing yet.
    pub fn look(&self, now_s: u32) -> Report {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_watching(now_s) {
            *counted = Counted { since_s: now_s, ..Counted::default() };
            self.missed.store(0, Ordering::Relaxed);
        }
        self.until_s.store(now_s.wrapping_add(WATCH_S).max(1), Ordering::Relaxed);
        let zones = counted.zones.sorted().into_iter().map(|zone| ZoneTalk {
            apex: zone.value.apex.clone(),
            queries: zone.count,
            over: zone.over,
            clients: zone.value.clients.sorted().into_iter().map(|c| (c.key, c.count)).collect(),
        });
        Report {
            since_s: counted.since_s,
            queries: counted.queries,
            missed: self.missed.load(Ordering::Relaxed),
            zones: zones.collect(),
        }
    }
}

fn network_of(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4.into(),
        IpAddr::V6(v6) => Ipv6Net::new_assert(v6, V6_PREFIX).trunc().into(),
    }
}

/// The keys counted most.
struct Top<K, V> {
    entries: Vec<Entry<K, V>>,
}

struct Entry<K, V> {
    key: K,
    count: u64,
    over: u64,
    value: V,
}

impl<K, V> Default for Top<K, V> {
    fn default() -> Top<K, V> {
        Top { entries: Vec::new() }
    }
}

impl<K: PartialEq + Copy, V> Top<K, V> {
    /// Counts one more of `key`; among more than `max` keys it takes the place of the least counted.
    fn count(&mut self, key: K, max: usize, value: impl FnOnce() -> V) -> &mut V {
        let at = match self.entries.iter().position(|entry| entry.key == key) {
            Some(at) => at,
            None if self.entries.len() < max => {
                self.entries.push(Entry { key, count: 0, over: 0, value: value() });
                self.entries.len() - 1
            }
            None => {
                let counts = self.entries.iter().enumerate();
                let at = counts.min_by_key(|(_, entry)| entry.count).map_or(0, |(at, _)| at);
                let least = &mut self.entries[at];
                *least = Entry { key, count: least.count, over: least.count, value: value() };
                at
            }
        };
        let entry = &mut self.entries[at];
        entry.count += 1;
        &mut entry.value
    }

    fn sorted(&self) -> Vec<&Entry<K, V>> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.count));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_keys_stay_however_many_come_by() {
        let mut top = Top::default();
        for round in 0..1000u32 {
            top.count(7, 4, || ());
            top.count(100 + round, 4, || ());
            top.count(8, 4, || ());
        }
        let sorted = top.sorted();
        let first: Vec<u32> = sorted.iter().take(2).map(|entry| entry.key).collect();
        assert_eq!((sorted.len(), first.contains(&7), first.contains(&8)), (4, true, true));
        assert!(sorted.iter().take(2).all(|entry| entry.count - entry.over <= 1000));
        assert!(sorted.iter().all(|entry| entry.count >= entry.over));
    }

    #[test]
    fn counting_ends_when_nobody_looks_and_begins_anew() {
        let talkers = Talkers::default();
        assert!(!talkers.is_watching(5));
        assert_eq!(talkers.look(5).since_s, 5);
        assert!(talkers.is_watching(5) && talkers.is_watching(5 + WATCH_S));
        assert!(!talkers.is_watching(6 + WATCH_S));
        assert_eq!(talkers.look(40).since_s, 5);
        assert!(talkers.is_watching(40 + WATCH_S));
        assert_eq!(talkers.look(200).since_s, 200);
    }

    #[test]
    fn a_host_of_ipv6_is_its_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8::7"), "2001:db8::/64");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7/32");
    }
}
