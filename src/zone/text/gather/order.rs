//! Owners in canonical order, with their records.

use std::borrow::Cow;

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
pub(super) fn owners<'g>(all: &'g Gathered, apex: &Name, faults: &mut Faults<'_>) -> Owners<'g> {
    match in_file_order(all, apex) {
        Some(spans) => Owners { spans, records: Cow::Borrowed(&all.records), scattered: false },
        None => sorted(all, apex, faults),
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

/// One run while it is sorted: eight octets of its key behind what all share decide mostly.
struct Head {
    octets: u64,
    run: u32,
}

fn sorted<'g>(all: &'g Gathered, apex: &Name, faults: &mut Faults<'_>) -> Owners<'g> {
    let keys = Keys::new(all);
    let apex_key = apex.key();
    let shared = apex_key.len();
    let mut heads = Vec::with_capacity(all.runs.len());
    for (run, begin) in (0..).zip(&all.runs) {
        let Some(first) = all.records_of(run as usize).first() else { continue };
        let key = keys.key(run);
        if key.starts_with(&apex_key) {
            heads.push(Head { octets: 0, run });
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
    for head_of in &mut heads {
        head_of.octets = head(keys.key(head_of.run), shared);
    }
    heads.sort_unstable_by(|left, right| {
        left.octets
            .cmp(&right.octets)
            .then_with(|| keys.key(left.run).cmp(keys.key(right.run)))
            .then(left.run.cmp(&right.run))
    });
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
        let same = last.is_some_and(|last| {
            last.octets == head.octets && keys.key(last.run) == keys.key(head.run)
        });
        match spans.last_mut() {
            Some(span) if same => span.records += of_run.len(),
            _ => spans.push(Span { owner_at, records: of_run.len() }),
        }
        last = Some(head);
    }
    Owners { spans, records: Cow::Owned(records), scattered: true }
}

fn head(key: &[u8], from: usize) -> u64 {
    let mut head = [0; 8];
    let tail = key.get(from..).unwrap_or_default();
    head.iter_mut().zip(tail).for_each(|(slot, &octet)| *slot = octet);
    u64::from_be_bytes(head)
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
