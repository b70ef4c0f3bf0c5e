//! Owners in canonical order, with their records.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::thread;

use super::{Entry, Gathered, shown};
use crate::wire::Name;
use crate::wire::name::push_key;
use crate::zone::text::faults::Faults;

/// All owners inside the zone, in canonical order.
pub(super) struct Owners<'g> {
    pub(super) spans: Vec<Span>,
    /// Owner by owner; those of one owner as the file had them.
    pub(super) records: Cow<'g, [Entry]>,
    /// Whether the file had them in another order: then their octets lie scattered.
    pub(super) scattered: bool,
}

/// One owner.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// How the first run spells it.
    pub(super) owner_at: usize,
    pub(super) records: usize,
}

/// Sorts the owners; reports those outside the zone and leaves them out.
pub(super) fn owners<'g>(
    all: &'g Gathered,
    apex: &Name,
    faults: &mut Faults<'_>,
    hands: usize,
) -> Owners<'g> {
    match in_file_order(all, apex) {
        Some(spans) => Owners { spans, records: Cow::Borrowed(&all.records), scattered: false },
        None => sorted(all, apex, faults, hands),
    }
}

/// The owners of a file that has them in order, all inside the zone, as many do: no key is kept.
fn in_file_order(all: &Gathered, apex: &Name) -> Option<Vec<Span>> {
    let apex = apex.key();
    let mut spans: Vec<Span> = Vec::with_capacity(all.runs.len());
    let (mut last, mut key) = (Vec::new(), Vec::new());
    for (at, run) in all.runs.iter().enumerate() {
        let records = all.records_of(at).len();
        if records == 0 {
            continue;
        }
        key.clear();
        push_key(all.name_at(run.owner_at), &mut key);
        match spans.last_mut() {
            Some(span) if key == last => span.records += records,
            _ if key < last || !key.starts_with(&apex) => return None,
            _ => spans.push(Span { owner_at: run.owner_at, records }),
        }
        std::mem::swap(&mut last, &mut key);
    }
    Some(spans)
}

/// One run while it is sorted: sixteen octets of its key behind what all share decide mostly.
struct Head {
    octets: [u64; 2],
    run: u32,
    /// One more than octets of the key stand there, or two more than have room; none for a key that ends before what
    /// the others share.
    len: u8,
}

/// Octets of a key in a head.
const HEAD_OCTETS: usize = 16;

impl Head {
    /// Whether the whole keys are the same: mostly the heads say.
    fn is_same(&self, other: &Head, keys: &Keys) -> bool {
        self.octets == other.octets
            && (self.len == other.len && usize::from(self.len) <= HEAD_OCTETS + 1
                || keys.key(self.run) == keys.key(other.run))
    }

    /// Order of keys, and of runs with the same.
    #[inline(always)]
    fn compare(&self, other: &Head, keys: &Keys) -> Ordering {
        // As one number: which of two words decides is a branch that nobody foresees.
        match self.number().cmp(&other.number()) {
            Ordering::Equal => self.compare_keys(other, keys),
            decided => decided,
        }
    }

    fn number(&self) -> u128 {
        u128::from(self.octets[0]) << 64 | u128::from(self.octets[1])
    }

    #[cold]
    fn compare_keys(&self, other: &Head, keys: &Keys) -> Ordering {
        let by_key = match self.is_same(other, keys) {
            true => Ordering::Equal,
            false => keys.key(self.run).cmp(keys.key(other.run)),
        };
        by_key.then(self.run.cmp(&other.run))
    }
}

/// Runs that are worth another hand to sort them.
const SORTED_BY_A_HAND: usize = if cfg!(test) { 8 } else { 32 << 10 };

/// Sorts by several hands: each a share, which then are merged.
fn sort(heads: &mut [Head], keys: &Keys, hands: usize) {
    let hands = hands.min(heads.len() / SORTED_BY_A_HAND).max(1);
    let share = heads.len().div_ceil(hands).max(1);
    thread::scope(|scope| {
        let mut shares = heads.chunks_mut(share);
        let mine = shares.next();
        let sort =
            |share: &mut [Head]| share.sort_unstable_by(|one, other| one.compare(other, keys));
        shares.for_each(|share| drop(scope.spawn(move || sort(share))));
        if let Some(mine) = mine {
            sort(mine);
        }
    });
    if hands > 1 {
        // This one finds what is in order already.
        heads.sort_by(|one, other| one.compare(other, keys));
    }
}

fn sorted<'g>(all: &'g Gathered, apex: &Name, faults: &mut Faults<'_>, hands: usize) -> Owners<'g> {
    let keys = Keys::new(all);
    let apex_key = apex.key();
    let shared = apex_key.len();
    let mut heads = Vec::with_capacity(all.runs.len());
    for (run, begin) in (0..).zip(&all.runs) {
        let Some(first) = all.records_of(run as usize).first() else { continue };
        let key = keys.key(run);
        if key.starts_with(&apex_key) {
            heads.push(Head { octets: [0; 2], run, len: 0 });
        } else {
            let name = shown(all.name_at(begin.owner_at));
            let what = format!(
                "{name} is outside the zone {apex}: remove it, or load it with its own zone"
            );
            faults.error(first.place, what);
        }
    }
    // Most keys differ in the same few octets: what even these names share is no head.
    let shared = shared + keys.shared_behind(shared, &heads);
    for head in &mut heads {
        (head.octets, head.len) = head_of(keys.key(head.run), shared);
    }
    sort(&mut heads, &keys, hands);
    gather(all, &keys, &heads)
}

/// Joins the runs of each owner and puts their records in order.
fn gather<'g>(all: &'g Gathered, keys: &Keys, heads: &[Head]) -> Owners<'g> {
    let mut spans: Vec<Span> = Vec::with_capacity(heads.len());
    let mut records = Vec::with_capacity(all.records.len());
    let mut last: Option<&Head> = None;
    for head in heads {
        let owner_at = all.runs.get(head.run as usize).map_or(0, |run| run.owner_at);
        let of_run = all.records_of(head.run as usize);
        records.extend_from_slice(of_run);
        let same = last.is_some_and(|last| last.is_same(head, keys));
        match spans.last_mut() {
            Some(span) if same => span.records += of_run.len(),
            _ => spans.push(Span { owner_at, records: of_run.len() }),
        }
        last = Some(head);
    }
    Owners { spans, records: Cow::Owned(records), scattered: true }
}

/// What stands of a key from an octet on, and how much of it.
fn head_of(key: &[u8], from: usize) -> ([u64; 2], u8) {
    let mut head = [0; HEAD_OCTETS];
    let Some(tail) = key.get(from..) else { return ([0; 2], 0) };
    head.iter_mut().zip(tail).for_each(|(slot, &octet)| *slot = octet);
    let octets = u128::from_be_bytes(head);
    ([(octets >> 64) as u64, octets as u64], 1 + tail.len().min(HEAD_OCTETS + 1) as u8)
}

/// The sort keys of all runs, one behind the other.
struct Keys {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Keys {
    fn new(all: &Gathered) -> Keys {
        let mut octets = Vec::with_capacity(all.octets.len());
        let mut ends = Vec::with_capacity(all.runs.len());
        for run in &all.runs {
            push_key(all.name_at(run.owner_at), &mut octets);
            ends.push(octets.len());
        }
        Keys { octets, ends }
    }

    fn key(&self, run: u32) -> &[u8] {
        let run = run as usize;
        let start = run.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(run).copied().unwrap_or_default();
        self.octets.get(start.unwrap_or_default()..end).unwrap_or_default()
    }

    /// How many octets all keys but the apex share behind `from`.
    fn shared_behind(&self, from: usize, heads: &[Head]) -> usize {
        let tail = |head: &Head| self.key(head.run).get(from..).unwrap_or_default();
        let mut below = heads.iter().map(tail).filter(|tail| !tail.is_empty());
        let first = below.next().unwrap_or_default();
        below.fold(first.len(), |shared, tail| {
            let pairs = first.iter().zip(tail).take(shared);
            pairs.take_while(|(left, right)| left == right).count()
        })
    }
}
