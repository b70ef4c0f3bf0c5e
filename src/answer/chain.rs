//! The chain of a signed zone: its NSEC or NSEC3 records in order, to find the one that denies.
//!
//! NSEC records stand under the canonical key of their owner relative to the apex, NSEC3 records
//! under their hash. Either way what denies a name is the last entry at or before the name's key;
//! NSEC3 wraps around ([RFC 5155] §1.3), NSEC cannot, since the apex has the smallest key.
//!
//! ```text
//! leaf  := n:u16 end:u32*n entry*n
//! entry := key_len:u16 records:u16 key image          an entry of no records is one to be taken out
//! ```
//!
//! Leaves are immutable; two sides of the table share them.
//!
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use std::ops::Range;
use std::sync::Arc;

/// Entries of a leaf, as it is made; it is split beyond twice as many.
///
/// A signed entry has some 250 octets, and a change copies a leaf.
const LEAF_ENTRIES: usize = 16;

const ENTRY_HEAD: usize = 4;

/// Iterations beyond which a chain is not used, so that a query's work stays bounded. Validators
/// treat such zones as insecure anyway ([RFC 9276](https://www.rfc-editor.org/rfc/rfc9276) §3.2).
pub const NSEC3_ITERATIONS_MAX: u16 = 100;

/// How a zone denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    Nsec,
    Nsec3 { iterations: u16, salt: Box<[u8]> },
}

/// One NSEC or NSEC3 RRset with its signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'s> {
    pub key: &'s [u8],
    /// How many records the image has.
    pub records: u16,
    /// Records whose owners are still the pointer `C00C`.
    pub image: &'s [u8],
    /// All of it, to be [read](Entry::read) again.
    pub octets: &'s [u8],
}

impl<'s> Entry<'s> {
    pub fn read(octets: &'s [u8]) -> Option<Entry<'s>> {
        let (&[k0, k1, r0, r1], rest) = octets.split_first_chunk::<ENTRY_HEAD>()?;
        let (key, image) = rest.split_at_checked(usize::from(u16::from_be_bytes([k0, k1])))?;
        Some(Entry { key, records: u16::from_be_bytes([r0, r1]), image, octets })
    }
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
        self.octets.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.octets.extend_from_slice(&[0, 0]);
        self.octets.extend_from_slice(key);
        let records = put_image(&mut self.octets);
        if let Some(slot) = self.octets.get_mut(from + 2..from + 4) {
            slot.copy_from_slice(&records.to_be_bytes());
        }
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

fn key_of(entry: &[u8]) -> &[u8] {
    Entry::read(entry).map(|entry| entry.key).unwrap_or_default()
}

/// The first octets of a key, to compare most keys without a look at their leaves.
fn prefix(key: &[u8]) -> u128 {
    let mut octets = [0; 16];
    octets.iter_mut().zip(key).for_each(|(slot, octet)| *slot = *octet);
    u128::from_be_bytes(octets)
}

#[derive(Debug, Clone)]
struct Leaf {
    /// The prefix of the first key.
    prefix: u128,
    octets: Arc<[u8]>,
}

impl Leaf {
    fn build(entries: &[&[u8]]) -> Leaf {
        let head = 2 + 4 * entries.len();
        let mut octets =
            Vec::with_capacity(head + entries.iter().map(|entry| entry.len()).sum::<usize>());
        octets.extend_from_slice(&(entries.len() as u16).to_be_bytes());
        let mut end = head;
        for entry in entries {
            end += entry.len();
            octets.extend_from_slice(&(end as u32).to_be_bytes());
        }
        entries.iter().for_each(|entry| octets.extend_from_slice(entry));
        Leaf {
            prefix: entries.first().map_or(0, |entry| prefix(key_of(entry))),
            octets: octets.into(),
        }
    }

    fn len(&self) -> usize {
        self.octets.first_chunk().map_or(0, |n| usize::from(u16::from_be_bytes(*n)))
    }

    fn entry_octets(&self, number: usize) -> Option<&[u8]> {
        let n = self.len();
        let end = |number: usize| {
            let at = 2 + 4 * number;
            let end = self.octets.get(at..at + 4)?.first_chunk()?;
            Some(u32::from_be_bytes(*end) as usize)
        };
        let from = if number == 0 { 2 + 4 * n } else { end(number - 1)? };
        self.octets.get(from..end(number)?)
    }

    fn entry(&self, number: usize) -> Option<Entry<'_>> {
        Entry::read(self.entry_octets(number)?)
    }

    fn first_key(&self) -> &[u8] {
        self.entry(0).map(|entry| entry.key).unwrap_or_default()
    }

    fn starts_at_or_before(&self, key: &[u8], key_prefix: u128) -> bool {
        self.prefix < key_prefix || self.prefix == key_prefix && self.first_key() <= key
    }

    /// The last entry at or before `key`.
    fn at_or_before(&self, key: &[u8]) -> Option<Entry<'_>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.key <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.entry(low.checked_sub(1)?)
    }
}

/// All denial records of one zone.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub denial: Denial,
    leaves: Vec<Leaf>,
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
        Chain { denial, leaves }
    }

    /// The last entry at or before `key`; around the end if there is none.
    pub fn find(&self, key: &[u8]) -> Option<Entry<'_>> {
        let key_prefix = prefix(key);
        let after = self.leaves.partition_point(|leaf| leaf.starts_at_or_before(key, key_prefix));
        match after.checked_sub(1) {
            Some(number) => self.leaves.get(number)?.at_or_before(key),
            None => {
                let last = self.leaves.last()?;
                last.entry(last.len().checked_sub(1)?)
            }
        }
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
            let key_prefix = prefix(key_of(first));
            let key = key_of(first);
            let after =
                self.leaves.partition_point(|leaf| leaf.starts_at_or_before(key, key_prefix));
            let at = after.saturating_sub(1);
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
    }

    /// Octets held, for the metrics.
    pub fn octets(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.octets.len() + size_of::<Leaf>() + 32).sum()
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
