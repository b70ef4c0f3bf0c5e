//! Pages: the nodes whose hashes start alike, in one immutable piece of memory.
//!
//! ```text
//! page := depth:u8 n:u16 tag:u8*n offset:u16*n node*n
//! ```
//!
//! `depth` is how many leading bits the hashes of its names share; a directory with more bits names the page
//! several times. A tag is the low octet of a hash, so most names that are not there cost no look at a node.

use std::sync::Arc;

use super::node::{Node, flag};

const HEAD: usize = 3;

/// A page, shared by the directories that name it.
pub(super) type Page = Arc<[u8]>;

/// The largest page: what its offsets reach.
pub(super) const PAGE_OCTETS_MAX: usize = u16::MAX as usize;

/// The tag of a hash.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    hash as u8
}

/// A page without names.
pub(super) fn empty(depth: u8) -> Page {
    Arc::new([depth, 0, 0])
}

/// How many leading bits the hashes of its names share.
pub(super) fn depth(page: &[u8]) -> u8 {
    page.first().copied().unwrap_or_default()
}

/// How many names a page has.
#[inline(always)]
pub(super) fn len(page: &[u8]) -> usize {
    match page.first_chunk::<HEAD>() {
        Some(&[_, n0, n1]) => usize::from(u16::from_be_bytes([n0, n1])),
        None => 0,
    }
}

/// The node of a name; `parent` for what its parent zone has there.
#[inline(always)]
pub(super) fn find<'s>(page: &'s [u8], tag: u8, name: &[u8], parent: bool) -> Option<Node<'s>> {
    let n = len(page);
    let mut from = 0;
    while let Some(number) = next_tag(page, n, tag, from) {
        let node = node_at(page, n, number)?;
        if node.name() == name && node.is(flag::PARENT) == parent {
            return Some(node);
        }
        from = number + 1;
    }
    None
}

/// The first node with this tag, to be prefetched: nothing but its place was looked at.
#[inline(always)]
pub(super) fn likely(page: &[u8], tag: u8) -> Option<Node<'_>> {
    let n = len(page);
    node_at(page, n, next_tag(page, n, tag, 0)?)
}

/// The number of the first node from `from` on with this tag. Eight tags are looked at in one step; behind
/// the last tag stand the offsets, which are octets to look at like others.
#[inline(always)]
fn next_tag(page: &[u8], n: usize, tag: u8, from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let wanted = u64::from(tag) * ONES;
    let mut at = from;
    while at < n {
        let Some(eight) = page.get(HEAD + at..).and_then(|tags| tags.first_chunk::<8>()) else {
            // So few octets are left that this is a page of one or two names.
            let tags = page.get(HEAD + at..HEAD + n)?;
            return tags.iter().position(|&here| here == tag).map(|number| at + number);
        };
        let differ = u64::from_le_bytes(*eight) ^ wanted;
        // The lowest top bit that stays stands where the first octet is zero.
        let equal = differ.wrapping_sub(ONES) & !differ & TOPS;
        if equal != 0 {
            let number = at + (equal.trailing_zeros() / 8) as usize;
            return (number < n).then_some(number);
        }
        at += 8;
    }
    None
}

/// The nodes of a page with their tags.
pub(super) fn nodes(page: &[u8]) -> impl Iterator<Item = (u8, Node<'_>)> {
    let n = len(page);
    let tags = page.get(HEAD..HEAD + n).unwrap_or_default();
    tags.iter().enumerate().filter_map(move |(number, &tag)| Some((tag, node_at(page, n, number)?)))
}

#[inline(always)]
fn offset_at(page: &[u8], n: usize, number: usize) -> Option<usize> {
    let at = HEAD + n + 2 * number;
    let offset = page.get(at..at + 2)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes(*offset)))
}

#[inline(always)]
fn node_at(page: &[u8], n: usize, number: usize) -> Option<Node<'_>> {
    let from = offset_at(page, n, number)?;
    let to = if number + 1 < n { offset_at(page, n, number + 1)? } else { page.len() };
    Node::read(page.get(from..to)?)
}

/// Octets of a page of nodes with these tags.
pub(super) fn octets<'a>(nodes: impl Iterator<Item = &'a [u8]>) -> usize {
    HEAD + nodes.map(|node| 3 + node.len()).sum::<usize>()
}

/// Builds a page in `scratch`, then moves it into memory of its own; `octets` must be at most [`PAGE_OCTETS_MAX`].
pub(super) fn build(scratch: &mut Vec<u8>, depth: u8, nodes: &[(u8, &[u8])]) -> Page {
    scratch.clear();
    scratch.push(depth);
    scratch.extend_from_slice(&(nodes.len() as u16).to_be_bytes());
    scratch.extend(nodes.iter().map(|(tag, _)| *tag));
    let mut at = HEAD + 3 * nodes.len();
    for (_, node) in nodes {
        scratch.extend_from_slice(&(at as u16).to_be_bytes());
        at += node.len();
    }
    for (_, node) in nodes {
        scratch.extend_from_slice(node);
    }
    Arc::from(scratch.as_slice())
}

#[cfg(test)]
mod tests {
    use super::super::node::{Draft, put};
    use super::*;

    fn node(name: &[u8], flags: u16) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, &Draft { name, up: 1, flags, facts: None, extents: &[], images: &[] });
        out
    }

    #[test]
    fn names_with_one_tag_are_told_apart() {
        let (a, b, p) =
            (node(b"\x01a\0", 0), node(b"\x01b\0", flag::CNAME), node(b"\x01b\0", flag::PARENT));
        let page = build(&mut Vec::new(), 0, &[(9, &a), (9, &p), (9, &b)]);

        assert_eq!(find(&page, 9, b"\x01b\0", false).unwrap().flags(), flag::CNAME);
        assert_eq!(find(&page, 9, b"\x01b\0", true).unwrap().flags(), flag::PARENT);
        assert!(find(&page, 9, b"\x01c\0", false).is_none());
        assert!(find(&page, 8, b"\x01a\0", false).is_none());
        assert_eq!((len(&page), nodes(&page).count()), (3, 3));
        assert_eq!(octets([&a[..], &b, &p].into_iter()), page.len());
    }

    #[test]
    fn an_empty_page_finds_nothing() {
        let page = empty(3);
        assert_eq!((depth(&page), len(&page)), (3, 0));
        assert!(find(&page, 0, b"\0", false).is_none());
    }
}
