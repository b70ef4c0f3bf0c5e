//! Looking ahead: what denies a name, sought for a whole batch before the first query is answered.
//!
//! A chain is searched in two steps, each a miss of the cache because of what the step before brought: a leaf,
//! then its entry. [Sought] together, the misses of a batch overlap, as those of [nodes](super::prefetch) do;
//! and what was found needs not be found again.
//!
//! Only what is likely is looked for: the proof about a name directly below the closest name that exists, and
//! that name's own. Whoever answers finds the rest.

use super::chain::{Chain, Denial};
use super::denial::{Hasher, KEY_MAX, relative_key};
use super::leaf::{Entry, Leaf};
use super::node::{Node, flag};
use super::table::Snapshot;
use crate::wire::{Query, Type};

/// Octets of the longest key that is looked for ahead.
const KEY: usize = 64;

/// A key on its way through a chain.
pub(super) struct Sought<'s> {
    chain: &'s Chain,
    leaf: &'s Leaf,
    skip: usize,
    key: [u8; KEY],
    len: usize,
}

/// The last entry at or before the key of the name `skip` labels above the one asked for.
#[derive(Clone, Copy)]
pub struct Ahead<'s> {
    pub(super) chain: &'s Chain,
    pub(super) skip: usize,
    pub(super) entry: &'s [u8],
    /// Its key is that of the name.
    pub(super) is_own: bool,
}

/// Begins the search for what `query` will need to have denied, if proofs are wanted and `node`, `skip` labels
/// above, is the closest name that exists.
pub(super) fn seek<'s>(
    snapshot: &'s Snapshot,
    query: &Query,
    node: Node<'s>,
    skip: usize,
) -> Option<Sought<'s>> {
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
    let chain = snapshot.chains.get(&apex.facts()?.zone)?;
    // Below a cut it is the cut of which something is denied, else the name below the closest.
    let skip = if node.is(flag::CUT) { skip } else { skip.saturating_sub(1) };
    let (mut key, mut len) = ([0; KEY], 0);
    let mut set = |octets: &[u8]| {
        len = octets.len();
        key.get_mut(..len).map(|key| key.copy_from_slice(octets))
    };
    match &chain.denial {
        Denial::Nsec => {
            let mut whole = [0; KEY_MAX];
            let len = relative_key(query.suffix(skip), up.saturating_sub(skip), &mut whole);
            set(whole.get(..len)?)?;
        }
        Denial::Nsec3 { iterations, salt, .. } => {
            set(&Hasher { iterations: *iterations, salt }.name(query.suffix(skip)).label())?;
        }
    }
    let leaf = chain.leaf(key.get(..len)?)?;
    Some(Sought { chain, leaf, skip, key, len })
}

impl<'s> Sought<'s> {
    /// What the search looks at next.
    pub fn leaf(&self) -> &'s [u8] {
        self.leaf.octets()
    }

    /// Ends the search.
    pub fn find(&self) -> Option<Ahead<'s>> {
        let key = self.key.get(..self.len)?;
        let entry = self.leaf.entry(self.leaf.number_at_or_before(key)?)?;
        let is_own = entry.key == key;
        Some(Ahead { chain: self.chain, skip: self.skip, entry: entry.octets, is_own })
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
        let is_it = std::ptr::eq(chain, self.chain) && skip == self.skip;
        if is_it { Entry::read(self.entry) } else { None }
    }
}
