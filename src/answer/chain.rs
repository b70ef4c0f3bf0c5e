//! The chain of a signed zone: its NSEC or NSEC3 records in order, to find the one that denies.
//!
//! NSEC records stand under the canonical key of their owner relative to the apex, NSEC3 records
//! under their first label, in lower case: text that sorts as the hashes it stands for. Either way what
//! denies a name is the last entry at or before the name's key; NSEC3 wraps around ([RFC 5155] §1.3),
//! NSEC cannot, since the apex has the smallest key.
//!
//! [Leaves](super::leaf) are immutable; two sides of the table share them. Which entries deny a wildcard
//! directly below the apex, and prove the apex itself, is found with each change of the chain: most
//! names that do not exist are missing there, and these do not depend on the name.
//!
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use std::ops::Range;

use super::denial::Hash;
use super::leaf::{Entry, Leaf, key_of, prefix, put_entry};

/// Entries of a leaf, as it is made; it is split beyond twice as many.
///
/// A signed entry has some 250 octets, and a change copies a leaf.
const LEAF_ENTRIES: usize = 16;

/// Iterations beyond which a chain is not used, so that a query's work stays bounded. Validators
/// treat such zones as insecure anyway ([RFC 9276](https://www.rfc-editor.org/rfc/rfc9276) §3.2).
pub const NSEC3_ITERATIONS_MAX: u16 = 100;

/// How a zone denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    Nsec,
    Nsec3 {
        iterations: u16,
        salt: Box<[u8]>,
        apex: Hash,
        /// Of the wildcard below the apex.
        star: Hash,
    },
}

/// Entries one behind the other, each behind its length: how they are handed from rendering to the writer.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    octets: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Entries {
    /// Adds an entry; `put_image` writes its image and returns how many records that has.
    pub fn push(&mut self, key: &[u8], put_image: impl FnOnce(&mut Vec<u8>) -> u16) {
        let from = self.octets.len();
        put_entry(&mut self.octets, key, put_image);
        self.places.push(from..self.octets.len());
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn octets_len(&self) -> usize {
        self.octets.len() + self.places.len() * size_of::<Range<usize>>()
    }

    /// The entries in order of their keys; of several with one key the last.
    fn sorted(&self) -> Vec<&[u8]> {
        let octets = |place: &Range<usize>| self.octets.get(place.clone()).unwrap_or_default();
        let mut all: Vec<&[u8]> = self.places.iter().map(octets).collect();
        let key = |octets: &&[u8]| key_of(octets).to_vec();
        if !all.is_sorted_by(|a, b| key_of(a) < key_of(b)) {
            all.reverse();
            all.sort_by_cached_key(key);
            all.dedup_by(|a, b| key_of(a) == key_of(b));
        }
        all
    }
}

/// Where an entry stands: its leaf, and its number there.
type Place = (usize, usize);

/// All denial records of one zone.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub denial: Denial,
    leaves: Vec<Leaf>,
    /// The apex's own, if it has one.
    apex: Option<Place>,
    /// What denies the wildcard below the apex.
    star: Option<Place>,
}

/// What became of a chain, in pieces that both sides of the table share.
#[derive(Debug, Clone)]
pub(super) enum Redo {
    Drop,
    Whole(Chain),
    Splice(Vec<Splice>),
}

/// Leaves that stand in place of others.
#[derive(Debug, Clone)]
pub(super) struct Splice {
    at: usize,
    gone: usize,
    leaves: Vec<Leaf>,
}

impl Chain {
    pub fn new(denial: Denial, entries: &Entries) -> Chain {
        let sorted = entries.sorted();
        let leaves = sorted.chunks(LEAF_ENTRIES).map(Leaf::build).collect();
        let mut chain = Chain { denial, leaves, apex: None, star: None };
        chain.find_fixed();
        chain
    }

    /// Finds the entries that do not depend on the name asked for.
    fn find_fixed(&mut self) {
        let (apex, star) = match &self.denial {
            Denial::Nsec => (self.place(&[]), self.place(b"*\0")),
            Denial::Nsec3 { apex, star, .. } => {
                (self.place(&apex.label()), self.place(&star.label()))
            }
        };
        let is_apex = |entry: &Entry<'_>| match &self.denial {
            Denial::Nsec => entry.key.is_empty(),
            Denial::Nsec3 { apex, .. } => entry.key == apex.label(),
        };
        self.apex = apex.filter(|&place| self.at(place).is_some_and(|entry| is_apex(&entry)));
        self.star = star;
    }

    /// The entry of the apex, if it has one.
    pub fn apex(&self) -> Option<Entry<'_>> {
        self.at(self.apex?)
    }

    /// The entry that denies the wildcard below the apex.
    pub fn star(&self) -> Option<Entry<'_>> {
        self.at(self.star?)
    }

    #[inline]
    fn at(&self, (leaf, number): Place) -> Option<Entry<'_>> {
        self.leaves.get(leaf)?.entry(number)
    }

    /// How many leaves start at or before `key`.
    #[inline]
    fn leaves_until(&self, key: &[u8]) -> usize {
        let key_prefix = prefix(key);
        self.leaves.partition_point(|leaf| leaf.starts_at_or_before(key, key_prefix))
    }

    /// The leaf that has the last entry at or before `key`, if there is one.
    #[inline]
    pub fn leaf(&self, key: &[u8]) -> Option<&Leaf> {
        self.leaves.get(self.leaves_until(key).checked_sub(1)?)
    }

    /// Where the last entry at or before `key` stands; around the end if there is none.
    #[inline]
    fn place(&self, key: &[u8]) -> Option<Place> {
        match self.leaves_until(key).checked_sub(1) {
            Some(leaf) => Some((leaf, self.leaves.get(leaf)?.number_at_or_before(key)?)),
            None => {
                let leaf = self.leaves.len().checked_sub(1)?;
                Some((leaf, self.leaves.get(leaf)?.len().checked_sub(1)?))
            }
        }
    }

    /// The last entry at or before `key`; around the end if there is none.
    pub fn find(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.at(self.place(key)?)
    }

    /// The entry at exactly `key`.
    pub fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.find(key).filter(|entry| entry.key == key)
    }

    /// The pieces that put `edits` in, last piece first.
    pub fn splices(&self, edits: &Entries) -> Vec<Splice> {
        let sorted = edits.sorted();
        let mut splices = Vec::new();
        let mut rest = sorted.as_slice();
        while let Some(first) = rest.first() {
            let at = self.leaves_until(key_of(first)).saturating_sub(1);
            let next = self.leaves.get(at + 1);
            let mine = rest.partition_point(|edit| {
                let key = key_of(edit);
                next.is_none_or(|next| !next.starts_at_or_before(key, prefix(key)))
            });
            let (run, others) = rest.split_at_checked(mine).unwrap_or((rest, &[]));
            rest = others;
            splices.push(self.splice(at, run));
        }
        splices.reverse();
        splices
    }

    fn splice(&self, at: usize, edits: &[&[u8]]) -> Splice {
        let old = self.leaves.get(at);
        let len = old.map_or(0, Leaf::len);
        let mut edits = edits.iter().copied().peekable();
        let mut merged: Vec<&[u8]> = Vec::with_capacity(len + edits.len());
        for entry in (0..len).filter_map(|number| old.and_then(|old| old.entry_octets(number))) {
            while let Some(edit) = edits.next_if(|edit| key_of(edit) < key_of(entry)) {
                merged.push(edit);
            }
            merged.push(edits.next_if(|edit| key_of(edit) == key_of(entry)).unwrap_or(entry));
        }
        merged.extend(edits);
        merged.retain(|entry| Entry::read(entry).is_some_and(|entry| entry.records > 0));
        let most = if merged.len() > 2 * LEAF_ENTRIES { LEAF_ENTRIES } else { 2 * LEAF_ENTRIES };
        let leaves = merged.chunks(most).map(Leaf::build).collect();
        Splice { at, gone: usize::from(old.is_some()), leaves }
    }

    /// Does what [`splices`](Chain::splices) said.
    pub fn apply(&mut self, splices: &[Splice]) {
        for splice in splices {
            let from = splice.at.min(self.leaves.len());
            let to = (from + splice.gone).min(self.leaves.len());
            self.leaves.splice(from..to, splice.leaves.iter().cloned());
        }
        self.find_fixed();
    }

    /// Octets held, for the metrics.
    pub fn octets(&self) -> usize {
        self.leaves.iter().map(Leaf::octets_held).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entries(keys: &[(Vec<u8>, bool)]) -> Entries {
        let mut entries = Entries::default();
        for (key, stays) in keys {
            entries.push(key, |out| {
                out.extend_from_slice(key);
                u16::from(*stays)
            });
        }
        entries
    }

    fn check(chain: &Chain, model: &BTreeMap<Vec<u8>, ()>) {
        for number in 0..=255u8 {
            let key = vec![number % 7, number];
            let want = model.range(..=key.clone()).next_back().or(model.iter().next_back());
            assert_eq!(
                chain.find(&key).map(|entry| entry.key),
                want.map(|(key, ())| key.as_slice())
            );
            assert_eq!(chain.get(&key).is_some(), model.contains_key(&key));
        }
        assert_eq!(chain.leaves.iter().map(Leaf::len).sum::<usize>(), model.len());
    }

    #[test]
    fn edits_in_pieces_find_what_one_list_would() {
        let mut model = BTreeMap::new();
        let mut chain = Chain::new(Denial::Nsec, &Entries::default());
        let mut random = 1u32;
        for round in 0..60 {
            let mut edits = Vec::new();
            for _ in 0..round {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [a, b, c, _] = random.to_be_bytes();
                let stays = c % 3 > 0 || round < 20;
                edits.push((vec![a % 7, b], stays));
            }
            for (key, stays) in &edits {
                if *stays {
                    model.insert(key.clone(), ())
                } else {
                    model.remove(key)
                };
            }
            let splices = chain.splices(&entries(&edits));
            chain.apply(&splices);
            check(&chain, &model);
        }
    }

    #[test]
    fn a_whole_chain_is_sorted_and_the_last_of_doubles_stays() {
        let keys: Vec<_> = (0..100u8).rev().map(|n| (vec![n % 7, n], true)).collect();
        let chain = Chain::new(Denial::Nsec, &entries(&keys));
        let model = keys.into_iter().map(|(key, _)| (key, ())).collect();
        check(&chain, &model);
    }
}
