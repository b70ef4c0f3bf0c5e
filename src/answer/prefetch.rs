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

/// Octets of a node: its head, and enough for the image of most denials and aliases.
const NODE_OCTETS: usize = 4 * LINE;

/// Octets of a node whose images are asked for once it is known which: its head, and all of a small one.
const HEAD_OCTETS: usize = 2 * LINE;

/// Octets of an image: where a longer one leads the processor sees itself.
const IMAGE_OCTETS: usize = 4 * LINE;

/// Octets of a leaf: what a search looks at before it knows the entry.
const LEAF_OCTETS: usize = 208;

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
pub struct Found<'b, 's> {
    /// Of the name asked for.
    pub(super) known: Known<'s>,
    /// What denies it.
    pub(super) ahead: Option<&'b Ahead<'s>>,
}

/// What is known of a name before it is looked up.
#[derive(Clone, Copy, Default)]
pub(super) enum Known<'s> {
    #[default]
    Nothing,
    /// It has this node.
    Node(Node<'s>),
    /// It has none, and the name directly above has this one.
    Below(Node<'s>),
}

/// What was found for the queries of a batch.
pub struct Batch<'s> {
    known: [Known<'s>; BATCH],
    /// If any query wants proofs: to clear room for them costs.
    aheads: Option<Aheads<'s>>,
}

type Aheads<'s> = [Option<Ahead<'s>>; BATCH];

impl<'s> Batch<'s> {
    /// What was found for the query of this number.
    #[inline(always)]
    pub fn of(&self, number: usize) -> Found<'_, 's> {
        let known = self.known.get(number).copied().unwrap_or_default();
        let ahead = self.aheads.as_ref().and_then(|aheads| aheads.get(number)?.as_ref());
        Found { known, ahead }
    }
}

/// Asks for all else that the queries of a batch need, and says what was found for each. More than 32 are not
/// looked at.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn rest<'s, Q: AsRef<Query>>(snapshot: &'s Snapshot, queries: &[Q]) -> Batch<'s> {
    let mut batch = Batch { known: [Known::Nothing; BATCH], aheads: None };
    for query in queries {
        page(snapshot, query.as_ref().hash(0));
    }
    for (query, known) in queries.iter().zip(&mut batch.known) {
        let likely = node::<HEAD_OCTETS>(snapshot, query.as_ref().hash(0));
        *known = likely.map_or(Known::Nothing, Known::Node);
    }
    let mut steps = Steps { list: [Step::default(); BATCH], len: 0 };
    let mut proofs = false;
    for (number, (query, known)) in queries.iter().zip(&mut batch.known).enumerate() {
        let query = query.as_ref();
        if let Known::Node(likely) = *known
            && !is_of(likely, query.name())
        {
            *known = look_up(snapshot, query);
        }
        let next = match *known {
            Known::Node(node) => after(snapshot, query, node),
            _ => Some(query.hash(1)),
        };
        if let Some(hash) = next {
            steps.push(number, hash);
            proofs |= query.dnssec_ok();
        }
    }
    steps.fetch(snapshot);
    steps.learn(queries, &mut batch.known);
    if proofs {
        let aheads = batch.aheads.insert([None; BATCH]);
        denials(snapshot, queries, (&steps, &batch.known), aheads);
    }
    steps.go_on(snapshot, queries, &batch.known);
    steps.fetch(snapshot);
    batch
}

/// What is known of a name whose tag is another's too, or whose node is not all of it.
#[cold]
fn look_up<'s>(snapshot: &'s Snapshot, query: &Query) -> Known<'s> {
    snapshot.find(query.hash(0), query.name()).map_or(Known::Nothing, Known::Node)
}

/// The next step of one query.
#[derive(Clone, Copy, Default)]
struct Step<'s> {
    /// Of the name to be looked up.
    hash: u64,
    /// The node that may be its.
    likely: Option<Node<'s>>,
    /// The query's.
    number: u32,
}

/// The next steps of those queries of a batch that take one.
struct Steps<'s> {
    list: [Step<'s>; BATCH],
    len: usize,
}

impl<'s> Steps<'s> {
    #[inline(always)]
    fn push(&mut self, number: usize, hash: u64) {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Step { hash, likely: None, number: number as u32 };
            self.len += 1;
        }
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = &Step<'s>> {
        self.list.iter().take(self.len)
    }

    /// Learns of names that have no node what the names above them have.
    #[inline(always)]
    fn learn<Q: AsRef<Query>>(&self, queries: &[Q], known: &mut [Known<'s>; BATCH]) {
        for step in self.iter() {
            let number = step.number as usize;
            let (Some(query), Some(slot)) = (queries.get(number), known.get_mut(number)) else {
                continue;
            };
            let query = query.as_ref();
            if let (Known::Nothing, Some(above)) = (*slot, step.likely)
                && query.labels() > 0
                && is_of(above, query.suffix(1))
            {
                *slot = Known::Below(above);
            }
        }
    }

    /// Leaves the steps that come after these: an alias may lead to another.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
    fn go_on<Q: AsRef<Query>>(
        &mut self,
        snapshot: &Snapshot,
        queries: &[Q],
        known: &[Known<'s>; BATCH],
    ) {
        let taken = std::mem::take(&mut self.len);
        for at in 0..taken {
            let Some(Step { likely, number, .. }) = self.list.get(at).copied() else { return };
            if let Some(Known::Node(from)) = known.get(number as usize)
                && from.is(flag::CNAME)
                && let Some(node) = likely
                && let Some(query) = queries.get(number as usize)
                && let Some(hash) = after(snapshot, query.as_ref(), node)
                && node.is(flag::CNAME)
            {
                self.push(number as usize, hash);
            }
        }
    }

    /// Asks for all that is needed to look the names up.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
    fn fetch(&mut self, snapshot: &'s Snapshot) {
        for step in self.iter() {
            directory_of(snapshot, step.hash);
        }
        for step in self.iter() {
            page(snapshot, step.hash);
        }
        for step in self.list.iter_mut().take(self.len) {
            step.likely = node::<NODE_OCTETS>(snapshot, step.hash);
        }
    }
}

/// Whether a node is that of a name, and all of it.
#[inline(always)]
fn is_of(node: Node<'_>, name: &[u8]) -> bool {
    node.name() == name && !node.is(flag::PARENT | flag::BIG)
}

/// The hash of the name that is looked up after one with this node; if that answers, asks for what it answers with.
#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn after(snapshot: &Snapshot, query: &Query, node: Node<'_>) -> Option<u64> {
    if let Some(set) = node.set(query.qtype) {
        lines::<IMAGE_OCTETS>(set.octets);
        return None;
    }
    if node.is(flag::CNAME | flag::CUT)
        && let Some(images) = node.octets().get(HEAD_OCTETS..)
    {
        lines::<{ NODE_OCTETS - HEAD_OCTETS }>(images);
    }
    let alias = if node.is(flag::CNAME) { node.set(Type::CNAME) } else { None };
    let target = alias.and_then(|set| {
        target_hash(query, node.name().len(), set.octets.get(RECORD_HEAD..)?, &snapshot.key)
    });
    Some(target.unwrap_or(query.hash(1)))
}

/// Seeks what denies the names of a batch, whose nodes were found or those of whose parents are likely.
#[inline(never)]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn denials<'s, Q: AsRef<Query>>(
    snapshot: &'s Snapshot,
    queries: &[Q],
    (steps, known): (&Steps<'s>, &[Known<'s>; BATCH]),
    aheads: &mut Aheads<'s>,
) {
    let mut sought: [Option<Sought<'s>>; BATCH] = [const { None }; BATCH];
    let mut count = 0;
    for step in steps.iter() {
        let number = step.number as usize;
        let (Some(query), Some(known)) = (queries.get(number), known.get(number)) else { continue };
        let query = query.as_ref();
        if !query.dnssec_ok() {
            continue;
        }
        let closest = match *known {
            Known::Node(node) => (node, 0),
            Known::Below(node) => (node, 1),
            Known::Nothing => continue,
        };
        let Some(slot) = sought.get_mut(count) else { break };
        if ahead::seek(slot, snapshot, (number, query), closest).is_some() {
            count += 1;
        }
    }
    let sought = sought.get_mut(..count).unwrap_or_default();
    sought.iter_mut().flatten().for_each(Sought::hash);
    for sought in sought.iter_mut().flatten() {
        if let Some(leaf) = sought.write() {
            line(leaf);
        }
    }
    let most = sought.iter_mut().flatten().map(Sought::begin).max().unwrap_or(1).max(1);
    // As many steps as the longest search takes: those of the others change nothing.
    for _ in 0..most.next_power_of_two().ilog2() {
        sought.iter_mut().flatten().for_each(Sought::step);
    }
    for sought in sought.iter_mut().flatten() {
        if let Some(leaf) = sought.leaf() {
            lines::<LEAF_OCTETS>(leaf);
        }
    }
    for sought in sought.iter().flatten() {
        let Some(slot) = aheads.get_mut(sought.number) else { continue };
        *slot = sought.find();
        if let Some(ahead) = slot {
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
fn node<const OCTETS: usize>(snapshot: &Snapshot, hash: u64) -> Option<Node<'_>> {
    let node = page::likely(snapshot.page(hash)?, page::tag(hash))?;
    lines::<OCTETS>(node.octets());
    Some(node)
}

#[inline]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn lines<const OCTETS: usize>(octets: &[u8]) {
    for number in 0..OCTETS.div_ceil(LINE) {
        if let Some(octet) = octets.get(number * LINE) {
            line(octet);
        }
    }
    if let Some(last) = octets.get(octets.len().min(OCTETS).wrapping_sub(1)) {
        line(last);
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
