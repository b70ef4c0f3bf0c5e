//! The table: every name of every zone, at one version.
//!
//! A name's page is the directory's entry at the upper bits of the name's [hash](HashKey). Pages are
//! immutable and shared, so a snapshot costs nothing to keep and nothing in it ever changes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::chain::Chain;
use super::node::{Node, ZoneState};
use super::page::{self, Page};
use crate::wire::{HashKey, Name, Query, Serial, Type};
use crate::zone::serial;

/// Set in the hash of what a parent zone has at the apex of a zone that is here too.
const PARENT_SALT: u64 = 0x5bd1_e995_9d1b_58e7;

/// Bits of the smallest directory.
pub(super) const BITS_MIN: u32 = 4;

/// The chains of signed zones, by the zone's number.
pub(super) type Chains = HashMap<u32, Chain, BuildHasherDefault<ByNumber>>;

/// Hashes the numbers of zones, which nobody outside chooses.
#[derive(Default)]
pub(super) struct ByNumber(u64);

impl Hasher for ByNumber {
    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|&octet| self.write_u32((self.0 as u32) << 8 | u32::from(octet)));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// All zones at one version.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) directory: Vec<Page>,
    /// The directory has two to the power of so many entries.
    pub(super) bits: u32,
    pub(super) key: HashKey,
    /// Nodes too large for a page, by number.
    pub(super) big: Vec<Option<Arc<[u8]>>>,
    /// Of signed zones, by zone.
    pub(super) chains: Chains,
    pub(super) names: usize,
    pub(super) labels_max: usize,
    pub(super) loading: bool,
    pub(super) version: u64,
}

/// What a snapshot says of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneFacts {
    /// The number given when it was rendered.
    pub zone: u32,
    pub state: ZoneState,
    /// How many labels its apex stands above the name asked about.
    pub skip: usize,
    /// None while the zone is not live.
    pub serial: Option<Serial>,
}

impl Snapshot {
    pub(super) fn new(key: HashKey) -> Snapshot {
        Snapshot {
            directory: vec![page::empty(0); 1 << BITS_MIN],
            bits: BITS_MIN,
            key,
            big: Vec::new(),
            chains: Chains::default(),
            names: 0,
            labels_max: 0,
            loading: false,
            version: 0,
        }
    }

    /// What hashes the names of queries.
    #[inline]
    pub fn key(&self) -> &HashKey {
        &self.key
    }

    /// Goes up by one with every publication.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many names there are, empty non-terminals counted.
    pub fn names(&self) -> usize {
        self.names
    }

    /// Whether zones are still being loaded: what is not found may yet come.
    pub fn is_loading(&self) -> bool {
        self.loading
    }

    /// Every node, by name: to compare two snapshots in tests.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> std::collections::BTreeSet<Vec<u8>> {
        let nodes = self.directory.iter().flat_map(|page| page::nodes(page));
        nodes.filter_map(|(_, node)| Some(self.whole(node)?.octets().to_vec())).collect()
    }

    /// Octets held, by going through everything: for metrics, not for queries.
    pub fn octets(&self) -> usize {
        let mut octets = self.directory.len() * size_of::<Page>();
        let mut last = std::ptr::null();
        for page in &self.directory {
            if !std::ptr::addr_eq(page.as_ptr(), last) {
                octets += page.len() + 32;
            }
            last = page.as_ptr();
        }
        octets += self.big.iter().flatten().map(|big| big.len() + 32).sum::<usize>();
        octets + self.chains.values().map(Chain::octets).sum::<usize>()
    }

    /// The zone that answers `query`: the one with the longest apex its name is at or below; for DS at an
    /// apex the one above that, if it is here too.
    pub fn zone_of(&self, query: &Query) -> Option<ZoneFacts> {
        let zone = self.zone_from(query, 0)?;
        match zone.skip == 0 && query.qtype == Type::DS {
            true => self.zone_from(query, 1).or(Some(zone)),
            false => Some(zone),
        }
    }

    /// The zone with the longest apex above the name of `query`, `first` labels or more.
    fn zone_from(&self, query: &Query, first: usize) -> Option<ZoneFacts> {
        (first..=query.labels()).find_map(|skip| {
            let node = self.find(query.hash(skip), query.suffix(skip))?;
            let up = node.up();
            let apex = match up {
                0 => node,
                _ => self.find(query.hash(skip + up), query.suffix(skip + up))?,
            };
            facts_of(apex, skip + up)
        })
    }

    /// The zone of this name.
    pub fn zone(&self, apex: &Name) -> Option<ZoneFacts> {
        let wire = apex.as_wire().to_ascii_lowercase();
        facts_of(self.find(self.key.name(&wire), &wire)?, 0)
    }

    /// The page that a name of this hash is on.
    #[inline(always)]
    pub(super) fn page(&self, hash: u64) -> Option<&Page> {
        self.directory.get((hash >> (64 - self.bits)) as usize)
    }

    /// The node of a lower-case name.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Node<'_>> {
        #[cfg(test)]
        PROBES.set(PROBES.get() + 1);
        let node = page::find(self.page(hash)?, page::tag(hash), name, false)?;
        self.whole(node)
    }

    /// What the parent zone has at a name that is the apex of another zone here.
    pub(super) fn find_parent_side(&self, hash: u64, name: &[u8]) -> Option<Node<'_>> {
        let hash = parent_side(hash);
        let node = page::find(self.page(hash)?, page::tag(hash), name, true)?;
        self.whole(node)
    }

    #[inline(always)]
    fn whole<'s>(&'s self, node: Node<'s>) -> Option<Node<'s>> {
        match node.big() {
            None => Some(node),
            Some(number) => Node::read(self.big.get(number as usize)?.as_ref()?),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread looked for a name: what a query costs, whatever the machine.
    pub(super) static PROBES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Where the parent's side of a name stands.
pub(super) fn parent_side(hash: u64) -> u64 {
    hash ^ PARENT_SALT
}

fn facts_of(apex: Node<'_>, skip: usize) -> Option<ZoneFacts> {
    let facts = apex.facts()?;
    let serial = apex.set(Type::SOA).and_then(|soa| {
        // The numbers stand at the end of the record; names before them may be compressed.
        serial::of_soa(soa.octets.get(..soa.data)?)
    });
    Some(ZoneFacts { zone: facts.zone, state: facts.state, skip, serial })
}
