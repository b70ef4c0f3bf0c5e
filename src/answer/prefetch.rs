//! Prefetching: the memory that a batch of queries will need, asked for before the first is answered.
//!
//! A query misses the cache three times, each time because of what the time before brought. For a whole batch
//! the misses of one stage overlap: call [`directory`] for every query as it is parsed, then [`rest`], then answer.
//! Only what is not there makes the parent needed too: denials lead there, and most aliases. Asking for
//! it in vain costs as much as asking for what is needed.
//!
//! On x86-64 these functions need SSE, which that architecture always has but which the compiler wants to see
//! at the caller too: a caller marked `#[target_feature(enable = "sse")]` calls them safely.

use super::ahead::{self, Ahead, Sought};
use super::node::{Node, flag};
use super::page;
use super::table::Snapshot;
use crate::wire::Query;

/// Octets of a cache line.
const LINE: usize = 64;

/// Lines of a page: its tags and offsets.
const PAGE_LINES: usize = 2;

/// Lines of a node: its head, and enough for the image of most answers.
const NODE_LINES: usize = 4;

/// Lines of a leaf: what a search looks at before it knows the entry.
const LEAF_LINES: usize = 4;

/// Lines of an entry: a record of denial, and its signature.
const ENTRY_LINES: usize = 4;

/// Queries whose memory is asked for together.
const BATCH: usize = 32;

/// Asks for the directory's entry of the name.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn directory(snapshot: &Snapshot, query: &Query) {
    directory_of(snapshot, query, 0);
}

/// What was found for each query of a batch before it is answered.
pub struct Found<'s>([Option<Ahead<'s>>; BATCH]);

impl<'s> Found<'s> {
    /// What was found for the query of this number.
    #[inline]
    pub fn of(&self, number: usize) -> Option<Ahead<'s>> {
        *self.0.get(number)?
    }
}

/// Asks for all else that the queries of a batch need. More than 32 are not looked at.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn rest<'s, 'q>(
    snapshot: &'s Snapshot,
    queries: impl Iterator<Item = &'q Query> + Clone,
) -> Found<'s> {
    let mut likely: [Option<&[u8]>; BATCH] = [None; BATCH];
    let mut found = Found([None; BATCH]);
    for query in queries.clone() {
        page(snapshot, query, 0);
    }
    for (query, likely) in queries.clone().zip(&mut likely) {
        *likely = node(snapshot, query, 0);
    }
    let mut upwards = 0u32;
    for (number, (query, likely)) in queries.clone().zip(&likely).enumerate() {
        if likely.and_then(Node::read).is_none_or(|node| node.set(query.qtype).is_none()) {
            upwards |= 1 << number;
            directory_of(snapshot, query, 1);
        }
    }
    if upwards == 0 {
        return found;
    }
    let upwards = queries.take(BATCH).enumerate().filter(|(at, _)| upwards & (1 << at) != 0);
    for (_, query) in upwards.clone() {
        page(snapshot, query, 1);
    }
    let mut proofs = false;
    let mut parents = [None; BATCH];
    for (number, query) in upwards.clone() {
        let parent = node(snapshot, query, 1);
        if query.dnssec_ok() {
            proofs = true;
            parents.get_mut(number).map(|slot| *slot = parent);
        }
    }
    if proofs {
        denials(snapshot, upwards, &likely, &parents, &mut found);
    }
    found
}

/// Seeks what denies the names of a batch.
#[inline(never)]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn denials<'s, 'q>(
    snapshot: &'s Snapshot,
    queries: impl Iterator<Item = (usize, &'q Query)>,
    own: &[Option<&'s [u8]>; BATCH],
    parents: &[Option<&'s [u8]>; BATCH],
    found: &mut Found<'s>,
) {
    let mut sought: [Option<Sought<'s>>; BATCH] = [const { None }; BATCH];
    for (number, query) in queries.filter(|(_, query)| query.dnssec_ok()) {
        let of = |likely: &[Option<&'s [u8]>; BATCH], skip: usize| {
            let node = Node::read((*likely.get(number)?)?)?;
            (node.name() == query.suffix(skip) && !node.is(flag::BIG | flag::PARENT))
                .then_some((node, skip))
        };
        let closest = of(own, 0).or_else(|| of(parents, 1));
        let Some(slot) = sought.get_mut(number) else { break };
        *slot = closest.and_then(|(node, skip)| ahead::seek(snapshot, query, node, skip));
        if let Some(sought) = slot {
            lines::<LEAF_LINES>(sought.leaf());
        }
    }
    for (sought, found) in sought.iter().zip(&mut found.0) {
        *found = sought.as_ref().and_then(Sought::find);
        if let Some(ahead) = found {
            lines::<ENTRY_LINES>(ahead.octets());
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn directory_of(snapshot: &Snapshot, query: &Query, skip: usize) {
    if let Some(page) = snapshot.page(query.hash(skip)) {
        line(page);
    }
}

/// Asks for the head of a page.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn page(snapshot: &Snapshot, query: &Query, skip: usize) {
    if let Some(page) = snapshot.page(query.hash(skip)) {
        lines::<PAGE_LINES>(page);
    }
}

/// Asks for a node, if its page has one that may be it.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn node<'s>(snapshot: &'s Snapshot, query: &Query, skip: usize) -> Option<&'s [u8]> {
    let hash = query.hash(skip);
    let node = page::likely(snapshot.page(hash)?, page::tag(hash))?;
    lines::<NODE_LINES>(node);
    Some(node)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn lines<const COUNT: usize>(octets: &[u8]) {
    for number in 0..COUNT {
        if let Some(octet) = octets.get(number * LINE) {
            line(octet);
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn line<T>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = what;
}
