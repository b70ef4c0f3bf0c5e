//! Prefetching: the memory that a batch of queries will need, asked for before the first is answered.
//!
//! A query misses the cache three times, each time because of what the time before brought. For a whole batch
//! the misses of one stage overlap: call [`directory`] for every query, then [`pages`] for every
//! query, then [`nodes`], then answer.
//!
//! On x86-64 these functions need SSE, which that architecture always has but which the compiler wants to see
//! at the caller too: a caller marked `#[target_feature(enable = "sse")]` calls them safely.

use super::page;
use super::table::Snapshot;
use crate::wire::Query;

/// Octets of a cache line.
const LINE: usize = 64;

/// Lines of a node: its head, and enough for the image of most answers.
const NODE_LINES: usize = 4;

/// Asks for the directory's entries of the name and of its parent.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn directory(snapshot: &Snapshot, query: &Query) {
    for skip in 0..2 {
        if let Some(page) = snapshot.page(query.hash(skip)) {
            line(page);
        }
    }
}

/// Asks for the heads of their pages.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn pages(snapshot: &Snapshot, query: &Query) {
    for skip in 0..2 {
        if let Some(page) = snapshot.page(query.hash(skip)) {
            lines(page, 2);
        }
    }
}

/// Asks for the node of the name or, if it has none, of its parent.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn nodes(snapshot: &Snapshot, query: &Query) {
    for skip in 0..2 {
        let hash = query.hash(skip);
        let node = snapshot.page(hash).and_then(|page| page::likely(page, page::tag(hash)));
        if let Some(node) = node {
            lines(node, NODE_LINES);
            return;
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn lines(octets: &[u8], count: usize) {
    for octet in octets.iter().step_by(LINE).take(count) {
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
