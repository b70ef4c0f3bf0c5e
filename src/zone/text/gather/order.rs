//! Runs in canonical order of their owners.
//!
//! Most owners are one label below the zone's name: where such a one stands in order is read off where it lies. Whole
//! [keys](Name::key) are made of the others, and of owners that begin alike.

use std::cmp::Ordering;
use std::thread;

use super::{Gathered, shown};
use crate::wire::Name;
use crate::wire::name::{canonical_cmp, push_key};
use crate::zone::text::faults::{Faults, Place};

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

/// The runs of a file that has them in order, all inside the zone, as many do.
fn in_file_order(all: &Gathered, apex: &Name) -> Option<Vec<Placed>> {
    let mut runs = Vec::with_capacity(all.runs.len());
    let mut key = Vec::new();
    let mut last: Option<(Owner<'_>, Window)> = None;
    for run in 0..all.runs.len() as u32 {
        let owner = match Found::of(all, run, apex) {
            Found::Inside(owner) => owner,
            Found::Outside(..) => return None,
            Found::Nothing => continue,
        };
        let window = owner.window(&mut key);
        let order = last.map_or(Ordering::Greater, |(last, before)| {
            window.cmp(&before).then_with(|| canonical_cmp(owner.labels(), last.labels()))
        });
        if order.is_lt() {
            return None;
        }
        runs.push(Placed { run, joins: order.is_eq() });
        last = Some((owner, window));
    }
    Some(runs)
}

fn sorted(all: &Gathered, apex: &Name, faults: &mut Faults<'_>, hands: usize) -> Vec<Placed> {
    let mut heads = Vec::with_capacity(all.runs.len());
    let (mut left_out, mut key) = (Vec::new(), Vec::new());
    let (mut first, mut differ) = (None, 0);
    for run in 0..all.runs.len() as u32 {
        let window = match Found::of(all, run, apex) {
            Found::Inside(owner) => owner.window(&mut key),
            Found::Outside(name, place) => {
                let name = shown(name);
                let what = format!(
                    "{name} is outside the zone {apex}: remove it, or load it with its own zone"
                );
                faults.error(place, what);
                left_out.push(run);
                0
            }
            Found::Nothing => {
                left_out.push(run);
                0
            }
        };
        // The apex, whose key is empty, comes first whatever the others are: what these share is the longer without it.
        if window != 0 {
            differ |= window ^ *first.get_or_insert(window);
        }
        heads.push(window);
    }
    let shared = differ.leading_zeros();
    heads.iter_mut().zip(0..).for_each(|(head, run)| *head = as_head(*head, shared, run));
    if !left_out.is_empty() {
        heads.retain(|head| left_out.binary_search(&run_of(*head)).is_err());
    }
    sort(&mut heads, hands);
    let mut placing = Placing { all, apex, placed: Vec::with_capacity(heads.len()) };
    placing.sorted(&mut heads);
    placing.placed
}

/// What a run is to a zone.
enum Found<'g> {
    /// Its owner is in the zone.
    Inside(Owner<'g>),
    /// Its owner, which is not, and where its first record stands.
    Outside(&'g [u8], Place),
    /// It has no record.
    Nothing,
}

impl<'g> Found<'g> {
    #[inline]
    fn of(all: &'g Gathered, run: u32, apex: &Name) -> Found<'g> {
        let apex = apex.as_wire();
        let octets = all.octets.get(all.octets_of(run)).unwrap_or_default();
        // Mostly it is one label in front of the apex, spelled the same, which is seen at once.
        let own = octets.first().map_or(0, |len| usize::from(*len) + 1);
        let behind = octets.get(own..).and_then(|behind| behind.strip_prefix(apex));
        if own > 1 && behind.is_some_and(|records| !records.is_empty()) {
            return Found::Inside(Owner { octets, own });
        }
        let (name, mut records) = all.run(run);
        match (records.next(), labels_below(name, apex)) {
            (None, _) => Found::Nothing,
            (_, Some(own)) => Found::Inside(Owner { octets, own: own.len() }),
            (Some(first), None) => Found::Outside(name, first.place),
        }
    }
}

/// The labels of `name` in front of those of `apex`; none if it is outside.
fn labels_below<'n>(name: &'n [u8], apex: &[u8]) -> Option<&'n [u8]> {
    let (own, end) = name.split_at_checked(name.len().checked_sub(apex.len())?)?;
    let mut at = 0;
    while let Some(&len) = own.get(at) {
        at += 1 + usize::from(len);
    }
    (at == own.len() && end.eq_ignore_ascii_case(apex)).then_some(own)
}

/// The owner of a run inside the zone.
#[derive(Clone, Copy)]
struct Owner<'g> {
    /// Those of the run: the owner comes first.
    octets: &'g [u8],
    /// So many of them stand in front of the zone's name.
    own: usize,
}

/// The first octets of a key without what the apex has of it, as a number. Behind its end a key counts as zeros, which
/// no other key has there.
type Window = u128;

const WINDOW_OCTETS: usize = size_of::<Window>();

/// This octet, in each of a window.
const fn each(octet: u8) -> Window {
    Window::from_ne_bytes([octet; WINDOW_OCTETS])
}

impl<'g> Owner<'g> {
    /// The labels in front of those of the apex.
    fn labels(self) -> &'g [u8] {
        self.octets.get(..self.own).unwrap_or_default()
    }

    /// Writes what the key has in front of that of the apex into `key`.
    fn key_in(self, key: &mut Vec<u8>) {
        key.clear();
        push_key(self.labels(), key);
    }

    #[inline]
    fn window(self, key: &mut Vec<u8>) -> Window {
        self.plain_window().unwrap_or_else(|| {
            self.key_in(key);
            window_of(key)
        })
    }

    /// The window, where it begins with one label that stands in its key as it lies here.
    #[inline]
    fn plain_window(self) -> Option<Window> {
        let (len, behind) = self.octets.split_first()?;
        let mut octets = *behind.first_chunk::<WINDOW_OCTETS>()?;
        octets.make_ascii_lowercase();
        let octets = Window::from_be_bytes(octets);
        let others = Window::MAX.checked_shr(u32::from(*len) * u8::BITS).unwrap_or_default();
        // Octets below 2 are escaped.
        let filled = octets | others;
        let escaped = filled.wrapping_sub(each(2)) & !filled & each(0x80);
        (usize::from(*len) + 1 == self.own && escaped == 0).then_some(octets & !others)
    }
}

/// What a key, or the rest of one, begins with.
fn window_of(key: &[u8]) -> Window {
    let mut octets = [0; WINDOW_OCTETS];
    octets.iter_mut().zip(key).for_each(|(slot, octet)| *slot = *octet);
    Window::from_be_bytes(octets)
}

/// A run while it is sorted: what tells its key from others, then the run. So runs of one owner stay in order.
type Head = u128;

const RUN_BITS: u32 = u32::BITS;

fn run_of(head: Head) -> u32 {
    head as u32
}

/// The head of a run, of what its window has behind the bits that all windows share.
fn as_head(window: Window, shared: u32, run: u32) -> Head {
    let telling = window.checked_shl(shared).unwrap_or_default();
    telling >> RUN_BITS << RUN_BITS | Head::from(run)
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

/// Owners whose heads are the same that are compared whole, at most: of more, further heads are made.
const COMPARED_WHOLE_MAX: usize = if cfg!(test) { 3 } else { 32 };

/// Placing under way.
struct Placing<'g> {
    all: &'g Gathered,
    apex: &'g Name,
    placed: Vec<Placed>,
}

impl<'g> Placing<'g> {
    /// Places runs that are sorted by their heads.
    fn sorted(&mut self, heads: &mut [Head]) {
        for tied in heads.chunk_by_mut(|one, other| one >> RUN_BITS == other >> RUN_BITS) {
            match tied {
                [head] => self.placed.push(Placed { run: run_of(*head), joins: false }),
                tied if tied.len() <= COMPARED_WHOLE_MAX => self.few(tied),
                tied => self.many(tied),
            }
        }
    }

    /// The labels of a run's owner in front of those of the apex.
    fn owner(&self, head: Head) -> Option<Owner<'g>> {
        match Found::of(self.all, run_of(head), self.apex) {
            Found::Inside(owner) => Some(owner),
            Found::Outside(..) | Found::Nothing => None,
        }
    }

    /// Places runs whose heads are the same, by comparing.
    fn few(&mut self, tied: &mut [Head]) {
        let labels = |head| self.owner(head).map_or(&[][..], Owner::labels);
        let compare = |one, other| canonical_cmp(labels(one), labels(other));
        // In file order they come; this keeps those of one owner so.
        tied.sort_by(|one, other| compare(*one, *other));
        let joins = tied
            .windows(2)
            .map(|pair| matches!(pair, [one, other] if compare(*one, *other).is_eq()));
        let joins: Vec<_> = std::iter::once(false).chain(joins).collect();
        let placed =
            tied.iter().zip(joins).map(|(head, joins)| Placed { run: run_of(*head), joins });
        self.placed.extend(placed);
    }

    /// Places runs whose heads are the same, by heads of where their keys differ.
    fn many(&mut self, tied: &mut [Head]) {
        let (mut first, mut key) = (Vec::new(), Vec::new());
        let key_of = |head: Head, key: &mut Vec<u8>| {
            key.clear();
            self.owner(head).into_iter().for_each(|owner| owner.key_in(key));
        };
        tied.first().into_iter().for_each(|head| key_of(*head, &mut first));
        let mut shared = usize::MAX;
        for head in tied.iter() {
            key_of(*head, &mut key);
            if key != first {
                let same = key.iter().zip(&first).take_while(|(one, other)| one == other).count();
                shared = shared.min(same);
            }
        }
        if shared == usize::MAX {
            let joins = std::iter::once(false).chain(std::iter::repeat(true));
            let placed = tied.iter().zip(joins);
            self.placed.extend(placed.map(|(head, joins)| Placed { run: run_of(*head), joins }));
            return;
        }
        for head in tied.iter_mut() {
            key_of(*head, &mut key);
            *head = as_head(window_of(key.get(shared..).unwrap_or_default()), 0, run_of(*head));
        }
        tied.sort_unstable();
        self.sorted(tied);
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

    /// How the file has its runs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Drawn {
        Shuffled,
        Sorted,
        SortedButOne,
    }

    proptest! {
        // Few of them have two owners the wrong way round that only whole keys tell apart.
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// Goal: whatever tells names apart early or late, runs come in canonical order, those of one owner as the
        /// file had them.
        /// Method: random names, in the zone and outside, many of them the same, in order, nearly, and in none, beside
        /// a plain sort by whole keys.
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
            order in prop::sample::select(vec![Drawn::Shuffled, Drawn::Sorted, Drawn::SortedButOne]),
            hands in 1..4usize,
        ) {
            let apex = Name::parse(apex).unwrap();
            let runs = runs.iter().map(|(labels, above, has_record)| {
                (name(labels, &Name::parse(above).unwrap()), *has_record)
            });
            let mut runs: Vec<_> = runs.collect();
            if order != Drawn::Shuffled {
                runs.sort_by_cached_key(|(owner, _)| Name::from_wire(owner).unwrap().key());
            }
            if order == Drawn::SortedButOne && runs.len() > 1 {
                let middle = runs.len() / 2;
                runs.swap(middle - 1, middle);
            }
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
