//! Looking ahead: what denies a name, sought for a whole batch before the first query is answered.
//!
//! A chain is searched by halves for a leaf, and the leaf for its entry, each step a miss of the cache because of what the
//! step before brought. [Sought] together, the misses of a batch overlap, as those of [nodes](super::prefetch) do;
//! and what was found needs not be found again. No entry is looked at: it is on its way.
//!
//! Only what is likely is looked for: the proof about a name directly below the closest name that exists, and
//! that name's own. Whoever answers finds the rest.

use super::chain::{Chain, Denial, Search};
use super::denial::{KEY_MAX, relative_key};
use super::leaf::{Entry, Leaf};
use super::node::{Node, flag};
use super::nsec3::{BLOCK, Hash, Hasher};
use super::table::Snapshot;
use crate::wire::{Query, Type};

/// Octets of the longest key that is looked for ahead; a name stands in its place until it is hashed.
const KEY: usize = BLOCK;

/// A key on its way through a chain.
pub(super) struct Sought<'s> {
    chain: &'s Chain,
    search: Search<'s>,
    leaf: Option<&'s Leaf>,
    /// The query's.
    pub(super) number: usize,
    zone: u32,
    skip: u32,
    hash: Hash,
    len: usize,
    key: [u8; KEY],
}

/// The last entry at or before the key of the name `skip` labels above the one asked for.
#[derive(Clone, Copy)]
pub struct Ahead<'s> {
    pub(super) chain: &'s Chain,
    entry: &'s [u8],
    /// Whose chain it is.
    pub(super) zone: u32,
    skip: u32,
    /// Of the name, in a chain of hashes.
    hash: Hash,
}

/// Begins in `slot` the search for what the query of this number will need to have denied, if proofs are wanted and `node`,
/// `skip` labels above, is the closest name that exists. Returns whether there is anything to be sought.
#[inline]
pub(super) fn seek<'s>(
    slot: &mut Option<Sought<'s>>,
    snapshot: &'s Snapshot,
    (number, query): (usize, &Query),
    (node, skip): (Node<'s>, usize),
) -> Option<()> {
    let known = skip == 0 && node.is(flag::APEX | flag::CNAME);
    if known || node.is(flag::CUT) && node.set(Type::DS).is_some() {
        return None; // where that stands is known, or nothing is denied
    }
    let up = skip + node.up();
    let apex = match node.is(flag::APEX) {
        true => node,
        false => snapshot.find(query.hash(up), query.suffix(up))?,
    };
    if !apex.is(flag::SIGNED) {
        return None;
    }
    let zone = apex.facts()?.zone;
    let chain = snapshot.chains.get(&zone)?;
    // Below a cut it is the cut of which something is denied, else the name below the closest.
    let skip = if node.is(flag::CUT) { skip } else { skip.saturating_sub(1) };
    // In place: what is moved once it is whole costs more than it is to be had for.
    let sought = slot.insert(Sought {
        chain,
        search: Search::default(),
        leaf: None,
        number,
        zone,
        skip: skip as u32,
        hash: Hash::default(),
        len: 0,
        key: [0; KEY],
    });
    match &chain.denial {
        Denial::Nsec => {
            sought.len = put_key(query, skip, up, &mut sought.key)?;
            sought.search = chain.search(sought.key.get(..sought.len)?);
        }
        Denial::Nsec3 { iterations, salt, .. } => {
            let hasher = Hasher { iterations: *iterations, salt };
            // What is too long for a block is left to whoever answers.
            hasher.put_name(query.suffix(skip), &mut sought.key).then_some(())?;
        }
    }
    Some(())
}

/// Writes the key of the name `skip` labels above in the zone whose apex stands `up` labels above, if it has room;
/// returns its length.
#[inline]
fn put_key(query: &Query, skip: usize, up: usize, key: &mut [u8; KEY]) -> Option<usize> {
    let labels = up.saturating_sub(skip);
    // Escaped, an octet becomes two.
    let most = 2 * query.offset(up).saturating_sub(query.offset(skip));
    match most <= KEY {
        true => Some(relative_key(query.suffix(skip), labels, key)),
        false => put_long_key(query.suffix(skip), labels, key),
    }
}

#[cold]
fn put_long_key(name: &[u8], labels: usize, key: &mut [u8; KEY]) -> Option<usize> {
    let mut whole = [0; KEY_MAX];
    let len = relative_key(name, labels, &mut whole);
    key.get_mut(..len)?.copy_from_slice(whole.get(..len)?);
    Some(len)
}

impl<'s> Sought<'s> {
    /// Hashes the name, in a chain of hashes. To be done for all of a batch at once: each waits for itself at every
    /// step, and while it waits the next ones are begun.
    #[inline(always)]
    pub fn hash(&mut self) {
        if let Denial::Nsec3 { iterations, salt, .. } = &self.chain.denial {
            self.hash = Hasher { iterations: *iterations, salt }.block(&self.key);
        }
    }

    /// Writes the hash as the label that is searched for. Returns the leaf that says where, which is looked at next.
    #[inline(always)]
    pub fn write(&mut self) -> Option<&'s Leaf> {
        let Denial::Nsec3 { .. } = &self.chain.denial else { return None };
        let label = self.hash.label();
        *self.key.first_chunk_mut()? = label;
        self.len = label.len();
        self.chain.likely(self.hash)
    }

    /// Begins the search in a chain of hashes. Returns how many leaves are searched in any.
    #[inline(always)]
    pub fn begin(&mut self) -> usize {
        if let Denial::Nsec3 { .. } = &self.chain.denial
            && let Some(label) = self.key.get(..self.len)
        {
            self.search = self.chain.search_near(self.hash, label);
        }
        self.search.len()
    }

    /// Takes a step of the search for the leaf.
    #[inline(always)]
    pub fn step(&mut self) {
        self.search.step();
    }

    /// The leaf that the steps led to, which is looked at next.
    #[inline]
    pub fn leaf(&mut self) -> Option<&'s [u8]> {
        self.leaf = self.chain.leaf(self.search, self.key.get(..self.len)?);
        self.leaf.map(Leaf::octets)
    }

    /// Ends the search.
    #[inline]
    pub fn find(&self) -> Option<Ahead<'s>> {
        let leaf = self.leaf?;
        let number = leaf.number_at_or_before(self.key.get(..self.len)?)?;
        let entry = leaf.entry_octets(number)?;
        let Sought { chain, zone, skip, hash, .. } = *self;
        Some(Ahead { chain, entry, zone, skip, hash })
    }
}

impl<'s> Ahead<'s> {
    /// What is to be prefetched.
    pub(super) fn octets(&self) -> &'s [u8] {
        self.entry
    }

    /// The entry found, if it was sought in `chain` for the name `skip` labels above.
    #[inline]
    pub(super) fn entry(&self, chain: &Chain, skip: usize) -> Option<Entry<'s>> {
        let is_it = std::ptr::eq(chain, self.chain) && skip == self.skip as usize;
        if is_it { Entry::read(self.entry) } else { None }
    }

    /// Whether `entry`, which was found, stands under the hash of the name it was sought for.
    pub(super) fn is_own(&self, entry: Entry<'_>) -> bool {
        entry.key == self.hash.label()
    }
}
