//! Runs in canonical order of their owners.

use std::cmp::Ordering;
use std::thread;

use super::{Gathered, shown};
use crate::wire::Name;
use crate::wire::name::push_key;
use crate::zone::text::faults::Faults;

/// All runs inside the zone, by owner, those of one owner as the file had them.
pub(super) struct Ordered {
    pub(super) runs: Vec<Placed>,
    /// Whether the file had them in another order: then their octets lie scattered.
    pub(super) scattered: bool,
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) run: u32,
    /// Whether its owner is that of the run before.
    pub(super) joins: bool,
}

/// Sorts the runs; reports those outside the zone and leaves them out.
pub(super) fn ordered(
    all: &Gathered,
    apex: &Name,
    faults: &mut Faults<'_>,
    hands: usize,
) -> Ordered {
    match in_file_order(all, apex) {
        Some(runs) => Ordered { runs, scattered: false },
        None => Ordered { runs: sorted(all, apex, faults, hands), scattered: true },
    }
}

/// The runs of a file that has them in order, all inside the zone, as many do: no key is kept.
fn in_file_order(all: &Gathered, apex: &Name) -> Option<Vec<Placed>> {
    let apex = apex.key();
    let mut runs = Vec::with_capacity(all.runs.len());
    let (mut last, mut key) = (Vec::new(), Vec::new());
    for run in 0..all.runs.len() as u32 {
        let (owner, mut records) = all.run(run);
        if records.next().is_none() {
            continue;
        }
        key.clear();
        push_key(owner, &mut key);
        let joins = match key.cmp(&last) {
            Ordering::Less => return None,
            order => order.is_eq() && !runs.is_empty(),
        };
        if !joins && !key.starts_with(&apex) {
            return None;
        }
        runs.push(Placed { run, joins });
        std::mem::swap(&mut last, &mut key);
    }
    Some(runs)
}

fn sorted(all: &Gathered, apex: &Name, faults: &mut Faults<'_>, hands: usize) -> Vec<Placed> {
    let mut keys = Keys::for_runs(all.runs.len());
    // The apex comes first whatever the others are: what these share is the longer without it.
    let (mut placed, mut heads) = (Vec::new(), Vec::with_capacity(all.runs.len()));
    for run in 0..all.runs.len() as u32 {
        let (name, mut records) = all.run(run);
        let first = records.next();
        let own = first.as_ref().and_then(|_| labels_below(name, apex.as_wire()));
        match (first, own) {
            (_, Some([])) => placed.push(Placed { run, joins: !placed.is_empty() }),
            (_, Some(_)) => heads.push(Head::from(run)),
            (Some(first), None) => {
                let name = shown(name);
                let what = format!(
                    "{name} is outside the zone {apex}: remove it, or load it with its own zone"
                );
                faults.error(first.place, what);
            }
            (None, None) => {}
        }
        keys.push(own.unwrap_or_default());
    }
    let columns = Columns::of(&keys, &heads);
    heads.iter_mut().for_each(|head| *head |= columns.head(keys.key(run_of(*head))));
    sort(&mut heads, hands);
    placed.reserve(heads.len());
    for tied in heads.chunk_by_mut(|one, other| one >> RUN_BITS == other >> RUN_BITS) {
        let key = |head: &Head| (keys.key(run_of(*head)), run_of(*head));
        if tied.len() > 1 {
            tied.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        }
        placed.extend(tied.first().map(|head| Placed { run: run_of(*head), joins: false }));
        placed.extend(tied.windows(2).filter_map(|pair| {
            let [before, head] = pair else { return None };
            Some(Placed { run: run_of(*head), joins: key(before).0 == key(head).0 })
        }));
    }
    placed
}

/// The labels of `name` in front of those of `apex`; none if it is outside.
fn labels_below<'n>(name: &'n [u8], apex: &[u8]) -> Option<&'n [u8]> {
    let (own, end) = name.split_at_checked(name.len().checked_sub(apex.len())?)?;
    let mut at = 0;
    while let Some(&len) = own.get(at) {
        at += 1 + usize::from(len);
    }
    // Mostly both are spelled the same, which is seen at once.
    let is_apex = end == apex || end.eq_ignore_ascii_case(apex);
    (at == own.len() && is_apex).then_some(own)
}

/// A run while it is sorted: what tells its key from others, then the run. So runs of one owner stay in order.
type Head = u128;

const RUN_BITS: u32 = u32::BITS;

fn run_of(head: Head) -> u32 {
    head as u32
}

/// Octets of the longest key: of a name whose octets all are escaped.
const KEY_OCTETS_MAX: usize = 512;

/// Where keys differ, and in how many of the lower bits there: the rest is the same in all.
type Column = (usize, u32);

/// The first columns in which keys differ.
struct Columns {
    /// As many as have room in 64 bits.
    first: Vec<Column>,
    /// As many more as have room in what the run leaves of a head.
    second: Vec<Column>,
}

impl Columns {
    fn of(keys: &Keys, heads: &[Head]) -> Columns {
        let keys = || heads.iter().map(|head| keys.key(run_of(*head)));
        let (mut first, mut differ) = ([0; KEY_OCTETS_MAX], [0; KEY_OCTETS_MAX]);
        let mut shortest = KEY_OCTETS_MAX;
        for (slot, octet) in first.iter_mut().zip(keys().next().unwrap_or_default()) {
            *slot = *octet;
        }
        for key in keys() {
            shortest = shortest.min(key.len());
            for ((differ, octet), first) in differ.iter_mut().zip(key).zip(&first) {
                *differ |= octet ^ first;
            }
        }
        // Behind its end a key counts as zeros, which no other key has there.
        for (differ, first) in differ.iter_mut().zip(&first).skip(shortest) {
            *differ |= first;
        }
        let bits = |differ: u8| u8::BITS - differ.leading_zeros();
        let columns = differ.into_iter().map(bits).enumerate();
        let mut columns = columns.filter(|(_, bits)| *bits > 0).peekable();
        let mut take = |mut left: u32| {
            let mut taken = Vec::new();
            while let Some(column) = columns.next_if(|(_, bits)| *bits <= left) {
                left -= column.1;
                taken.push(column);
            }
            taken
        };
        Columns { first: take(u64::BITS), second: take(u64::BITS - RUN_BITS) }
    }

    fn head(&self, key: &[u8]) -> Head {
        let telling = |columns: &[Column]| {
            columns.iter().fold(0, |telling: u64, &(at, bits)| {
                let octet = key.get(at).copied().unwrap_or_default();
                telling << bits | u64::from(octet) & ((1 << bits) - 1)
            })
        };
        let (first, second) = (telling(&self.first), telling(&self.second));
        Head::from(first) << u64::BITS | Head::from(second) << RUN_BITS
    }
}

/// Runs that are worth another hand to sort them.
const SORTED_BY_A_HAND: usize = if cfg!(test) { 8 } else { 32 << 10 };

/// Sorts by several hands: each a share, which then are merged.
fn sort(heads: &mut [Head], hands: usize) {
    let hands = hands.min(heads.len() / SORTED_BY_A_HAND).max(1);
    let share = heads.len().div_ceil(hands).max(1);
    thread::scope(|scope| {
        let mut shares = heads.chunks_mut(share);
        let mine = shares.next();
        shares.for_each(|share| drop(scope.spawn(|| share.sort_unstable())));
        if let Some(mine) = mine {
            mine.sort_unstable();
        }
    });
    if hands > 1 {
        // This one finds what is in order already.
        heads.sort();
    }
}

/// The sort keys of all runs without what the apex has of them, one behind the other.
struct Keys {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Octets of a key, as most are: for reserving.
const OCTETS_PER_KEY: usize = 16;

impl Keys {
    fn for_runs(runs: usize) -> Keys {
        let octets = Vec::with_capacity(runs * OCTETS_PER_KEY);
        Keys { octets, ends: Vec::with_capacity(runs) }
    }

    /// Adds that of the next run.
    fn push(&mut self, labels: &[u8]) {
        push_key(labels, &mut self.octets);
        self.ends.push(self.octets.len());
    }

    fn key(&self, run: u32) -> &[u8] {
        let run = run as usize;
        let start = run.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(run).copied().unwrap_or_default();
        self.octets.get(start.unwrap_or_default()..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Type;
    use crate::zone::text::faults::Place;

    /// Labels that share much, little and nothing, written in either case, with octets that keys escape, and one that
    /// looks from its end like the zone's name.
    const LABELS: [&[u8]; 12] = [
        b"a",
        b"A",
        b"b",
        b"aa",
        b"a\0",
        b"a\x01",
        b"\xFF",
        b"x\x07example\x03com",
        b"the-same-for-long-and-longer-until-no-head-can-hold-it-1",
        b"the-same-for-long-and-longer-until-no-head-can-hold-it-2",
        b"qX0j-9aZ_~!,mK5vB\x80\x7Fw\xC3e2\x1Ft\xAAH",
        b"@x7uL\x93\xE4c-R1\x05n8o\xBBfYd\x61\xD9p+S\x44k3q",
    ];

    /// A name of some of these labels below another, uncompressed.
    fn name(labels: &[usize], above: &Name) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(LABELS[*label].len() as u8);
            wire.extend_from_slice(LABELS[*label]);
        }
        wire.extend_from_slice(above.as_wire());
        wire
    }

    fn gathered(runs: &[(Vec<u8>, bool)]) -> Gathered {
        let mut all = Gathered::for_text(0);
        for (owner, has_record) in runs {
            let at = all.octets.len();
            all.octets.extend_from_slice(owner);
            all.begin(at);
            if *has_record {
                let at = all.begin_record();
                all.octets.extend_from_slice(&[192, 0, 2, 1]);
                all.record(Type::A, 60, at, Place::default());
            }
        }
        all
    }

    proptest! {
        /// Goal: whatever tells names apart early or late, runs come in canonical order, those of one owner as the
        /// file had them.
        /// Method: random names, in the zone and outside, many of them the same, beside a plain sort by whole keys.
        #[test]
        fn runs_are_placed_as_a_plain_sort_by_whole_keys_places_them(
            apex in prop::sample::select(vec!["example.com.", "."]),
            runs in prop::collection::vec(
                (
                    prop::collection::vec(0..LABELS.len(), 0..4),
                    prop::sample::select(vec!["example.com.", "EXAMPLE.com.", "com.", "."]),
                    prop::bool::weighted(0.9),
                ),
                0..120,
            ),
            hands in 1..4usize,
        ) {
            let apex = Name::parse(apex).unwrap();
            let runs = runs.iter().map(|(labels, above, has_record)| {
                (name(labels, &Name::parse(above).unwrap()), *has_record)
            });
            let runs: Vec<_> = runs.collect();
            let keys = runs.iter().map(|(owner, _)| Name::from_wire(owner).unwrap().key());
            let (mut inside, outside): (Vec<_>, Vec<_>) = (0..)
                .zip(keys)
                .filter(|(run, _)| runs[*run as usize].1)
                .partition(|(_, key)| key.starts_with(&apex.key()));
            inside.sort_by(|(_, one), (_, other)| one.cmp(other));
            let before = std::iter::once(None).chain(inside.iter().map(Some));
            let wanted = inside.iter().zip(before).map(|((run, key), before)| {
                Placed { run: *run, joins: before.is_some_and(|(_, before)| before == key) }
            });
            let wanted: Vec<_> = wanted.collect();

            let mut faults = Faults::new(&[]);
            let ordered = ordered(&gathered(&runs), &apex, &mut faults, hands);

            prop_assert_eq!(ordered.runs, wanted);
            prop_assert_eq!(faults.finish().len(), outside.len());
        }
    }
}
