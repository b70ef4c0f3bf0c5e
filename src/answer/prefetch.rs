//! Prefetching: the memory that a batch of queries will need, asked for before the first is answered.
//!
//! A query misses the cache three times, each time because of what the time before brought. For a whole batch
//! the misses of one stage overlap: call [`directory`] for every query as it is parsed, then [`rest`], then answer.
//! Only where a name has no such type is another needed: what its alias leads to, or the parent, where denials
//! and most other ways lead. Asking in vain costs as much as asking for what is needed.
//!
//! On x86-64 these functions need SSE, which that architecture always has but which the compiler wants to see
//! at the caller too: a caller marked `#[target_feature(enable = "sse")]` calls them safely.

use super::ahead::{self, Ahead, Sought};
use super::asked::target_hash;
use super::image::RECORD_HEAD;
use super::node::{Node, flag};
use super::page;
use super::table::Snapshot;
use crate::wire::{Query, Type};

/// Octets of a cache line.
const LINE: usize = 64;

/// Octets of a page: the tags and offsets of as many names as most have.
const PAGE_OCTETS: usize = 48;

/// Octets of a node: its head, and enough for the image of most answers.
const NODE_OCTETS: usize = 4 * LINE;

/// Octets of a leaf: what a search looks at before it knows the entry.
const LEAF_OCTETS: usize = 4 * LINE;

/// Octets of an entry: a record of denial, and its signature.
const ENTRY_OCTETS: usize = 4 * LINE;

/// Queries whose memory is asked for together.
const BATCH: usize = 32;

/// Asks for the directory's entry of the name.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn directory(snapshot: &Snapshot, query: &Query) {
    directory_of(snapshot, query.hash(0));
}

/// What was found for one query before it is answered.
#[derive(Clone, Copy, Default)]
pub struct Found<'s> {
    /// The node of the name asked for.
    pub(super) node: Option<Node<'s>>,
    /// What denies it.
    pub(super) ahead: Option<Ahead<'s>>,
}

/// Asks for all else that the queries of a batch need, and says what was found for each. More than 32 are not
/// looked at.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn rest<'s, 'q>(
    snapshot: &'s Snapshot,
    queries: impl Iterator<Item = &'q Query> + Clone,
) -> [Found<'s>; BATCH] {
    let mut found = [Found::default(); BATCH];
    let (mut next, mut likely) = ([None; BATCH], [None; BATCH]);
    for query in queries.clone() {
        page(snapshot, query.hash(0));
    }
    for (query, found) in queries.clone().zip(&mut found) {
        found.node = node(snapshot, query.hash(0));
    }
    let mut proofs = false;
    for (query, (found, next)) in queries.clone().zip(found.iter_mut().zip(&mut next)) {
        found.node = found.node.filter(|node| is_of(*node, query.name()));
        *next = match found.node {
            Some(node) => after(snapshot, query, node),
            None => Some(query.hash(1)),
        };
        proofs |= next.is_some() && query.dnssec_ok();
    }
    names(snapshot, &next, &mut likely);
    if proofs {
        denials(snapshot, queries.clone(), &likely, &mut found);
    }
    // An alias may lead to another.
    for (query, (next, likely)) in queries.zip(next.iter_mut().zip(&likely)) {
        let alias = likely.filter(|node| node.is(flag::CNAME));
        *next = alias.and_then(|node| after(snapshot, query, node));
    }
    names(snapshot, &next, &mut likely);
    found
}

/// Whether a node is that of a name, and all of it.
#[inline(always)]
fn is_of(node: Node<'_>, name: &[u8]) -> bool {
    node.name() == name && !node.is(flag::PARENT | flag::BIG)
}

/// The hash of the name that is looked up after one with this node.
#[inline(always)]
fn after(snapshot: &Snapshot, query: &Query, node: Node<'_>) -> Option<u64> {
    if node.set(query.qtype).is_some() {
        return None;
    }
    let alias = if node.is(flag::CNAME) { node.set(Type::CNAME) } else { None };
    let target = alias.and_then(|set| {
        target_hash(query, node.name().len(), set.octets.get(RECORD_HEAD..)?, &snapshot.key)
    });
    Some(target.unwrap_or(query.hash(1)))
}

/// Asks for all that is needed to look names up; the nodes that may be theirs.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn names<'s>(
    snapshot: &'s Snapshot,
    hashes: &[Option<u64>; BATCH],
    likely: &mut [Option<Node<'s>>; BATCH],
) {
    for hash in hashes.iter().flatten() {
        directory_of(snapshot, *hash);
    }
    for hash in hashes.iter().flatten() {
        page(snapshot, *hash);
    }
    for (hash, likely) in hashes.iter().zip(likely) {
        *likely = match hash {
            Some(hash) => node(snapshot, *hash),
            None => None,
        };
    }
}

/// Seeks what denies the names of a batch, whose nodes were found or those of whose parents are likely.
#[inline(never)]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn denials<'s, 'q>(
    snapshot: &'s Snapshot,
    queries: impl Iterator<Item = &'q Query>,
    parents: &[Option<Node<'s>>; BATCH],
    found: &mut [Found<'s>; BATCH],
) {
    let mut sought: [Option<Sought<'s>>; BATCH] = [const { None }; BATCH];
    for (query, ((sought, parent), found)) in
        queries.zip(sought.iter_mut().zip(parents).zip(found.iter()))
    {
        if !query.dnssec_ok() || found.node.is_some_and(|node| node.set(query.qtype).is_some()) {
            continue;
        }
        let parent = || parent.filter(|node| is_of(*node, query.suffix(1))).map(|node| (node, 1));
        let closest = found.node.map(|node| (node, 0)).or_else(parent);
        *sought = closest.and_then(|(node, skip)| ahead::seek(snapshot, query, node, skip));
        if let Some(sought) = sought {
            lines::<LEAF_OCTETS>(sought.leaf());
        }
    }
    for (sought, found) in sought.iter().zip(found) {
        found.ahead = sought.as_ref().and_then(Sought::find);
        if let Some(ahead) = &found.ahead {
            lines::<ENTRY_OCTETS>(ahead.octets());
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn directory_of(snapshot: &Snapshot, hash: u64) {
    if let Some(page) = snapshot.page(hash) {
        line(page);
    }
}

/// Asks for the head of a page.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn page(snapshot: &Snapshot, hash: u64) {
    if let Some(page) = snapshot.page(hash) {
        lines::<PAGE_OCTETS>(page);
    }
}

/// Asks for a node, if its page has one that may be it.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn node(snapshot: &Snapshot, hash: u64) -> Option<Node<'_>> {
    let node = page::likely(snapshot.page(hash)?, page::tag(hash))?;
    lines::<NODE_OCTETS>(node.octets());
    Some(node)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn lines<const OCTETS: usize>(octets: &[u8]) {
    let octets = octets.get(..OCTETS).unwrap_or(octets);
    for octet in octets.iter().step_by(LINE).chain(octets.last()) {
        line(octet);
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
