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

use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::Arc;

use super::leaf::{Entry, Leaf, key_of, prefix, put_entry};
use super::lump::Lump;
use super::nsec3::{HASH_BEGIN_BITS, Hash, hash_begin};

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

    /// Adds all of `others` behind these.
    pub fn append(&mut self, others: &Entries) {
        let from = self.octets.len();
        self.octets.extend_from_slice(&others.octets);
        let moved = |place: &Range<usize>| place.start + from..place.end + from;
        self.places.extend(others.places.iter().map(moved));
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

/// Where an entry stands that is needed often: its leaf, and its octets there.
type Fixed = (usize, Range<usize>);

/// A search for a leaf, a step at a time: side by side, those of a batch wait for memory together.
#[derive(Clone, Copy, Default)]
pub(super) struct Search<'s> {
    leaves: &'s [Leaf],
    /// It is one of so many leaves from here on, if the search began with all.
    at: usize,
    len: usize,
    wanted: u128,
}

impl Search<'_> {
    /// How many leaves are left to be searched.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Halves what is left to be searched; returns whether there was more than one leaf.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        let half = self.len / 2;
        let middle = self.at + half;
        let is_behind = self.leaves.get(middle).is_some_and(|leaf| leaf.prefix() <= self.wanted);
        // Either half is as likely: a jump would be foretold wrongly at every other step.
        self.at = select_unpredictable(is_behind, middle, self.at);
        self.len -= half;
        half > 0
    }
}

/// All denial records of one zone.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub denial: Denial,
    leaves: Vec<Leaf>,
    /// Among how many leaves a hash is looked for.
    window: usize,
    /// The apex's own, if it has one.
    apex: Option<Fixed>,
    /// What denies the wildcard below the apex.
    star: Option<Fixed>,
    /// What proves both, as far as this chain has to.
    lump: Option<Arc<Lump>>,
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
        let mut chain = Chain { denial, leaves, window: 0, apex: None, star: None, lump: None };
        chain.find_fixed();
        chain
    }

    /// Finds what does not depend on the name asked for.
    fn find_fixed(&mut self) {
        // The share of a hash is wrong by roots of n, what its leaf says by roots of that.
        self.window = (self.leaves.len().isqrt().isqrt() + 2).next_power_of_two();
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
        let apex = apex.filter(|&place| self.at(place).is_some_and(|entry| is_apex(&entry)));
        let fixed = |(leaf, number): Place| Some((leaf, self.leaves.get(leaf)?.place(number)?));
        (self.apex, self.star) = (apex.and_then(fixed), star.and_then(fixed));
        self.lump = Lump::build(self.common().into_iter().flatten()).map(Arc::new);
    }

    /// What proofs of all names missing directly below the apex have in common: it denies the wildcard there, and NSEC3
    /// has to prove the apex too. Not all is there that is needed if there is no [lump](Chain::lump).
    #[inline]
    pub fn common(&self) -> [Option<Entry<'_>>; 2] {
        match &self.denial {
            Denial::Nsec3 { .. } if self.apex != self.star => [self.apex(), self.star()],
            _ => [self.star(), None],
        }
    }

    /// Whether these octets are an entry that is among them.
    #[inline]
    pub fn has_in_common(&self, entry: &[u8]) -> bool {
        let apex = match &self.denial {
            Denial::Nsec => None,
            Denial::Nsec3 { .. } => self.apex.as_ref(),
        };
        [apex, self.star.as_ref()].into_iter().flatten().any(|(leaf, place)| {
            let octets = self.leaves.get(*leaf).and_then(|leaf| leaf.octets().get(place.clone()));
            octets.is_some_and(|octets| std::ptr::eq(octets, entry))
        })
    }

    /// That in one piece.
    #[inline]
    pub fn lump(&self) -> Option<&Lump> {
        self.lump.as_deref()
    }

    /// The entry of the apex, if it has one.
    #[inline]
    pub fn apex(&self) -> Option<Entry<'_>> {
        self.fixed(self.apex.as_ref()?)
    }

    /// The entry that denies the wildcard below the apex.
    #[inline]
    pub fn star(&self) -> Option<Entry<'_>> {
        self.fixed(self.star.as_ref()?)
    }

    #[inline]
    fn fixed(&self, (leaf, place): &Fixed) -> Option<Entry<'_>> {
        Entry::read(self.leaves.get(*leaf)?.octets().get(place.clone())?)
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

    /// Begins the search for the leaf of `key`.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Search<'_> {
        Search { leaves: &self.leaves, at: 0, len: self.leaves.len(), wanted: prefix(key) }
    }

    /// Where the leaf of the label of `hash` is likely: hashes are spread evenly.
    #[inline]
    fn share(&self, hash: Hash) -> usize {
        let share = hash.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        ((u128::from(share) * self.leaves.len() as u128) >> 64) as usize
    }

    /// That leaf, which a [search near](Chain::search_near) the hash begins with.
    #[inline]
    pub fn likely(&self, hash: Hash) -> Option<&Leaf> {
        self.leaves.get(self.share(hash))
    }

    /// Begins the search for the leaf of the label of `hash` where it is likely. Of n entries more or less than a hash's
    /// share stand before it, by some roots of n; the likely leaf says by how many.
    #[inline]
    pub fn search_near(&self, hash: Hash, label: &[u8]) -> Search<'_> {
        let share = self.share(hash);
        let from = self.leaves.get(share).map_or(0, |leaf| hash_begin(leaf.prefix()));
        let off = hash.begin().wrapping_sub(from) as i64;
        let off = (i128::from(off) * self.leaves.len() as i128) >> HASH_BEGIN_BITS;
        let near = share.saturating_add_signed(off as isize);
        let at = near.min(self.leaves.len()).saturating_sub(self.window / 2);
        let len = self.window.min(self.leaves.len() - at);
        Search { leaves: &self.leaves, at, len, wanted: prefix(label) }
    }

    /// The leaf that has the last entry at or before `key`, if there is one, after a search for it took all its steps.
    #[inline]
    pub fn leaf<'s>(&'s self, search: Search<'s>, key: &[u8]) -> Option<&'s Leaf> {
        let leaf = self.leaves.get(search.at)?;
        let next = self.leaves.get(search.at + 1);
        let is_it =
            leaf.prefix() < search.wanted && next.is_none_or(|next| search.wanted < next.prefix());
        // Where leaves begin alike, whole keys decide; and some hash stands elsewhere than is likely.
        if is_it { Some(leaf) } else { self.leaves.get(self.leaves_until(key).checked_sub(1)?) }
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
        let lump = self.lump().map_or(0, Lump::octets_held);
        lump + self.leaves.iter().map(Leaf::octets_held).sum::<usize>()
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
            let mut search = chain.search(&key);
            while search.step() {}
            let leaf = chain.leaf(search, &key);
            let found = leaf.and_then(|leaf| leaf.entry(leaf.number_at_or_before(&key)?));
            let want = model.range(..=key.clone()).next_back();
            assert_eq!(found.map(|entry| entry.key), want.map(|(key, ())| key.as_slice()));
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

    /// Goal: a search that begins where a hash is likely finds what one of all leaves does.
    /// Method: chains of hashes spread evenly, and of such as nobody's chance brings about.
    #[test]
    fn a_search_near_a_hash_finds_its_leaf_wherever_that_is() {
        let mut random = 1u64;
        let mut hash = |bits: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut octets = [0; 20];
            octets[..8].copy_from_slice(&(random >> bits).to_be_bytes());
            Hash(octets)
        };
        let mut astray = 0;
        for bits in [0, 3, 20, 60] {
            for count in [0, 1, 40, 3000] {
                let keys: Vec<_> =
                    (0..count).map(|_| (hash(bits).label().to_vec(), true)).collect();
                let chain = Chain::new(Denial::Nsec, &entries(&keys));
                for near in 0..500 {
                    let sought = hash(if near % 2 == 0 { bits } else { 0 });
                    let label = sought.label();
                    let mut search = chain.search_near(sought, &label);
                    while search.step() {}
                    let found = chain.leaf(search, &label).map(Leaf::octets);
                    let want = chain.leaves_until(&label).checked_sub(1);
                    assert_eq!(found, want.map(|at| chain.leaves[at].octets()));
                    astray += usize::from(bits == 0 && want.is_some_and(|at| at != search.at));
                }
            }
        }
        assert!(astray < 20, "{astray} of 2000 searches among even hashes missed the leaf");
    }

    /// Goal: leaves that begin alike in all octets kept of them are told apart by whole keys.
    #[test]
    fn a_search_by_steps_finds_leaves_that_begin_alike() {
        let key = |n: u8| [&b"sixteen octets that are shared"[..], &[n]].concat();
        let keys: Vec<_> = (1..=100u8).map(|n| (key(2 * n), true)).collect();
        let chain = Chain::new(Denial::Nsec, &entries(&keys));
        assert!(chain.leaves.len() > 4);
        for n in 0..=201u8 {
            let mut search = chain.search(&key(n));
            while search.step() {}
            let leaf = chain.leaf(search, &key(n));
            let found = leaf.and_then(|leaf| leaf.entry(leaf.number_at_or_before(&key(n))?));
            let want = (n >= 2).then(|| key(n / 2 * 2));
            assert_eq!(found.map(|entry| entry.key.to_vec()), want);
        }
    }
}
