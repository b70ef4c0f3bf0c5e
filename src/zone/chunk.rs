//! Chunks: how a zone lies in rows, a few KiB of packed nodes each, in canonical order.
//!
//! A row's key is a lower bound of the names in it: the [key](Name::key) of the first name that was
//! written there, without the apex's part, and empty for the first row. Finding, changing and
//! adding a name touch one row, however many names the zone has. A row that grows beyond
//! [`CHUNK_OCTETS_MAX`] is cut in two, one that shrinks below [`CHUNK_OCTETS_MIN`] joins the next. Every
//! change of a zone changes its SOA, so the apex of all but small zones has the first row for itself.
//!
//! Promises: rows hold disjoint ranges of names in the order of their keys; only the first may be empty.
//!
//! Does not: know where rows are kept; see [`Rows`].

use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use super::delta::{Delta, Set, SetChange};
use super::packed::{self, Node, Packer, RrSetRef};
use super::{ReadFault, View};
use crate::wire::name::canonical_cmp;
use crate::wire::{Name, Type};

/// A row is cut when it grows beyond this; a single larger node has a row of its own.
pub const CHUNK_OCTETS_MAX: usize = 4096;

/// A row smaller than this joins the next one where both fit.
pub const CHUNK_OCTETS_MIN: usize = 1024;

/// The apex has a row for itself once the first row grows beyond this.
const APEX_ROW_OCTETS_MAX: usize = 2048;

/// What a change adds to a row, most often.
const ROOM_OCTETS: usize = 256;

/// What a row is filled to when a zone is written in one go: room for a few edits before a cut.
const CHUNK_OCTETS_FILL: usize = 3072;

/// Behind every key: no label has more than 63 octets.
const BEHIND_ALL: [u8; 64] = [u8::MAX; 64];

/// The key of the wildcard below the apex.
const WILDCARD: &[u8] = b"*\0";

/// A row: its key and its packed nodes.
pub type Row<'a> = (Vec<u8>, Nodes<'a>);

/// Packed nodes, wherever they are kept.
#[derive(Debug, Clone)]
pub enum Nodes<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    /// All from an octet on.
    Shared(Arc<[u8]>, usize),
}

impl Nodes<'_> {
    /// The octets, copied if they are kept elsewhere too.
    pub fn into_owned(self) -> Vec<u8> {
        match self {
            Nodes::Owned(octets) => octets,
            shared => shared.to_vec(),
        }
    }
}

impl Deref for Nodes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Nodes::Borrowed(octets) => octets,
            Nodes::Owned(octets) => octets,
            Nodes::Shared(octets, from) => octets.get(*from..).unwrap_or_default(),
        }
    }
}

/// The rows of one zone at one data version.
pub trait Rows {
    /// The last row whose key is `key` or before it.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the rows fails.
    fn at_or_before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault>;

    /// The last row whose key is before `key`.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the rows fails.
    fn before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault>;

    /// Calls `each` with the rows from the first whose key is `key` or behind it, until it breaks.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the rows fails.
    fn from(
        &self,
        key: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFault>;
}

/// Rows that can be changed.
pub trait RowsMut: Rows {
    /// Writes a row.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the rows fails.
    fn put(&mut self, key: &[u8], nodes: &[u8]) -> Result<(), ReadFault>;

    /// Takes a row away.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the rows fails.
    fn delete(&mut self, key: &[u8]) -> Result<(), ReadFault>;
}

/// How much a zone holds, or how much more or less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub names: i64,
    pub rrsets: i64,
    /// RRSIG records counted.
    pub records: i64,
    /// Of packed nodes.
    pub octets: i64,
}

impl Counts {
    /// Counts packed nodes.
    pub fn of(octets: &[u8]) -> Counts {
        let mut counts = Counts::default();
        packed::nodes(octets).for_each(|node| counts.add_node(node, 1));
        counts
    }

    fn add_node(&mut self, node: Node<'_>, sign: i64) {
        self.names += sign;
        self.octets += sign * node.octets() as i64;
        for set in node.rrsets() {
            self.rrsets += sign;
            self.records += sign * (i64::from(set.count) + i64::from(set.sig_count));
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.names += other.names;
        self.rrsets += other.rrsets;
        self.records += other.records;
        self.octets += other.octets;
    }
}

/// Finds [keys](Name::key) that cut a zone into parts: at each begins a child of the apex with all below it, and none
/// stands before the wildcard there.
#[derive(Debug)]
pub struct Borders {
    apex_key: Vec<u8>,
    /// Octets that a part has at least.
    octets: usize,
    gathered: usize,
    /// The last one, without the apex's part.
    last: Vec<u8>,
    found: Vec<Vec<u8>>,
}

impl Borders {
    /// Parts of at least so many octets.
    pub fn new(apex: &Name, octets: usize) -> Borders {
        let last = WILDCARD.to_vec();
        Borders { apex_key: apex.key(), octets, gathered: 0, last, found: Vec::new() }
    }

    /// Takes the next row: its key, and how many octets it has.
    pub fn row(&mut self, key: &[u8], octets: usize) {
        let child = key.split_inclusive(|octet| *octet == 0).next().unwrap_or_default();
        if self.gathered >= self.octets && child > self.last.as_slice() {
            self.last = child.to_vec();
            self.found.push([&self.apex_key, child].concat());
            self.gathered = 0;
        }
        self.gathered += octets;
    }

    /// All that were found, in order.
    pub fn finish(self) -> Vec<Vec<u8>> {
        self.found
    }
}

/// A zone read from its rows.
pub struct ChunkView<'a> {
    rows: &'a dyn Rows,
    apex: &'a Name,
    apex_key: Vec<u8>,
}

impl<'a> ChunkView<'a> {
    /// The zone `apex` as `rows` hold it.
    pub fn new(apex: &'a Name, rows: &'a dyn Rows) -> ChunkView<'a> {
        ChunkView { rows, apex, apex_key: apex.key() }
    }

    /// The part of a key that rows know; none for a name that is not in the zone.
    fn relative<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.apex_key.as_slice())
    }
}

impl View for ChunkView<'_> {
    fn apex(&self) -> &Name {
        self.apex
    }

    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        self.node_and_end(owner, &mut |node, _| with(node))
    }

    fn node_and_end(
        &self,
        owner: &Name,
        with: &mut dyn FnMut(Node<'_>, bool),
    ) -> Result<bool, ReadFault> {
        let key = owner.key();
        let Some(key) = self.relative(&key) else { return Ok(false) };
        let Some((_, octets)) = self.rows.at_or_before(key)? else { return Ok(false) };
        let mut nodes = packed::nodes(&octets);
        let Some(node) = nodes.find(|node| is_owner(*node, owner)) else { return Ok(false) };
        // Names below follow at once, in this row or the next.
        let ends = |next: Node<'_>| !may_be_below(next, owner);
        with(node, nodes.next().is_some_and(ends));
        Ok(true)
    }

    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        let start = match self.relative(from) {
            Some(key) => key,
            None if from < self.apex_key.as_slice() => &[],
            None => return Ok(()),
        };
        let (mut skipping, mut place) = (!start.is_empty(), Vec::new());
        let mut visit = |octets: &[u8]| {
            packed::nodes(octets).try_for_each(|node| {
                if skipping && node.is_before(self.apex, start, &mut place) {
                    return ControlFlow::Continue(());
                }
                skipping = false;
                each(node)
            })
        };
        // The row `from` falls into may begin before it.
        let first = if start.is_empty() { None } else { self.rows.before(start)? };
        if let Some((_, octets)) = first
            && visit(&octets).is_break()
        {
            return Ok(());
        }
        self.rows.from(start, &mut |_, octets| visit(octets))
    }

    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault> {
        let mut bound: Option<Vec<u8>> = self.relative(key).map(Into::into);
        if bound.is_none() && key < self.apex_key.as_slice() {
            return Ok(None);
        }
        loop {
            let row = match &bound {
                Some(bound) => self.rows.before(bound)?,
                None => self.rows.at_or_before(&BEHIND_ALL)?,
            };
            let Some((row_key, octets)) = row else { return Ok(None) };
            let mut place = Vec::new();
            let earlier = packed::nodes(&octets).take_while(|node| node.key_in(&mut place) < key);
            if let Some(node) = earlier.last() {
                return Ok(Some(node.name()));
            }
            bound = Some(row_key);
        }
    }
}

/// Applies `delta` to the rows of the zone `apex`; returns how much more or less it holds. Rows are put
/// together in `place`, whatever it holds.
///
/// # Errors
///
/// [`ReadFault`] when the rows fail.
pub fn update(
    rows: &mut dyn RowsMut,
    apex: &Name,
    delta: &Delta,
    place: &mut Vec<u8>,
) -> Result<Counts, ReadFault> {
    let prefix = apex.key().len();
    let mut counts = Counts::default();
    let groups = delta.changes.chunk_by(|one, next| one.owner == next.owner);
    let mut groups: Vec<(Vec<u8>, &[SetChange])> = groups
        .filter_map(|changes| Some((relative_key(&changes.first()?.owner, prefix), changes)))
        .collect();
    groups.reverse();
    // The row of the next group, where it was looked at already.
    let mut next: Option<Row<'static>> = None;
    while let Some((key, _)) = groups.last() {
        let (row_key, old) = match next.take() {
            Some(row) => row,
            None => row_of(rows, key)?,
        };
        let mut mine: Vec<_> = groups.pop().into_iter().collect();
        match groups.as_slice() {
            [] => {}
            [(key, _)] => {
                next = Some(row_of(rows, key)?).filter(|(other, _)| *other != row_key);
                mine.extend(groups.pop_if(|_| next.is_none()));
            }
            _ => {
                let end = key_behind(rows, &row_key)?;
                let is_mine = |key: &[u8]| end.as_deref().is_none_or(|end| key < end);
                while let Some(group) = groups.pop_if(|(key, _)| is_mine(key)) {
                    mine.push(group);
                }
            }
        }
        merge_row(&old, &mine, &mut counts, place);
        if write_row(rows, &row_key, place, prefix)? == Written::WithNext {
            next = None;
        }
    }
    Ok(counts)
}

/// The row a key falls into, holding on to no rows; an empty first one if there is none.
fn row_of(rows: &dyn RowsMut, key: &[u8]) -> Result<Row<'static>, ReadFault> {
    Ok(match rows.at_or_before(key)? {
        Some((row_key, octets)) => (row_key, detached(octets)),
        None => (Vec::new(), Nodes::Owned(Vec::new())),
    })
}

/// The same octets, which hold on to no rows.
fn detached(nodes: Nodes<'_>) -> Nodes<'static> {
    match nodes {
        Nodes::Borrowed(octets) => Nodes::Owned(octets.to_vec()),
        Nodes::Owned(octets) => Nodes::Owned(octets),
        Nodes::Shared(octets, from) => Nodes::Shared(octets, from),
    }
}

/// Cuts packed nodes in canonical order into rows and hands them to `put`, the first under the empty key.
///
/// # Errors
///
/// Whatever `put` fails with.
pub fn split<E>(
    apex: &Name,
    octets: &[u8],
    mut put: impl FnMut(&[u8], Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let prefix = apex.key().len();
    let mut first = true;
    let (own, rest) = apex_apart(octets);
    for piece in own.into_iter().chain(pieces(rest, CHUNK_OCTETS_FILL)) {
        let key = if std::mem::take(&mut first) { Vec::new() } else { first_key(piece, prefix) };
        put(&key, piece.to_vec())?;
    }
    Ok(())
}

/// Writes what a node becomes; nothing if no RRset is left. `changes` are of this owner, by type.
pub fn merge_node(old: Option<Node<'_>>, owner: &Name, changes: &[SetChange], packer: &mut Packer) {
    let keeps = |set: &RrSetRef<'_>| !changes.iter().any(|change| change.rtype == set.rtype);
    let kept = old.into_iter().flat_map(Node::rrsets).filter(keeps).map(Either::Kept);
    let new = changes.iter().filter_map(|change| change.after.as_ref()).map(Either::New);
    let mut sets: Vec<Either<'_>> = kept.chain(new).collect();
    if sets.is_empty() {
        return;
    }
    sets.sort_by_key(Either::rtype);
    packer.node(old.map_or(owner.as_wire(), |old| old.owner));
    for set in sets {
        match set {
            Either::Kept(set) => packer.copy(set),
            Either::New(set) => packer.rrset(
                set.rrset.rtype,
                set.rrset.ttl,
                set.rrset.rdatas().iter().map(AsRef::as_ref),
                set.sigs.iter().map(AsRef::as_ref),
            ),
        }
    }
}

enum Either<'a> {
    Kept(RrSetRef<'a>),
    New(&'a Set),
}

impl Either<'_> {
    fn rtype(&self) -> Type {
        match self {
            Either::Kept(set) => set.rtype,
            Either::New(set) => set.rrset.rtype,
        }
    }
}

fn merge_row(
    old: &[u8],
    groups: &[(Vec<u8>, &[SetChange])],
    counts: &mut Counts,
    place: &mut Vec<u8>,
) {
    place.clear();
    place.reserve(old.len() + ROOM_OCTETS);
    let mut packer = Packer::over(std::mem::take(place));
    let mut rest = old;
    for (_, changes) in groups {
        let Some(owner) = changes.first().map(|change| &change.owner) else { continue };
        let (before, node, after) = around(rest, owner);
        packer.push_all(before);
        rest = after;
        let start = packer.len();
        merge_node(node, owner, changes, &mut packer);
        if let Some(node) = node {
            counts.add_node(node, -1);
        }
        packer.close_node();
        for node in packed::nodes(packer.written().get(start..).unwrap_or_default()) {
            counts.add_node(node, 1);
        }
    }
    packer.push_all(rest);
    *place = packer.finish();
}

/// What stands before the node of `owner`, the node if there is one, and what stands behind it.
fn around<'a>(octets: &'a [u8], owner: &Name) -> (&'a [u8], Option<Node<'a>>, &'a [u8]) {
    let mut at = 0;
    for node in packed::nodes(octets) {
        if is_owner(node, owner) {
            let (before, rest) = octets.split_at(at);
            return (before, Some(node), rest.get(node.octets()..).unwrap_or_default());
        }
        at += node.octets();
    }
    // It is new: only now it matters where it would stand.
    let is_before = |node: &Node<'_>| canonical_cmp(node.owner, owner.as_wire()).is_lt();
    let before = packed::nodes(octets).take_while(is_before).map(Node::octets).sum();
    let (before, behind) = octets.split_at(before);
    (before, None, behind)
}

/// Whether a row that was written took the next one in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Alone,
    WithNext,
}

/// Writes a row that became `octets`: cut, joined with the next, or gone.
fn write_row(
    rows: &mut dyn RowsMut,
    key: &[u8],
    octets: &mut Vec<u8>,
    prefix: usize,
) -> Result<Written, ReadFault> {
    let mut written = Written::Alone;
    // The first row has the apex, and may stay small.
    if octets.len() < CHUNK_OCTETS_MIN
        && (octets.is_empty() || !key.is_empty())
        && let Some(next) = key_behind(rows, key)?
    {
        let neighbour = rows.at_or_before(&next)?.map(|(_, octets)| octets.into_owned());
        let neighbour = neighbour.filter(|more| octets.len() + more.len() <= CHUNK_OCTETS_FILL);
        if let Some(more) = neighbour {
            octets.extend_from_slice(&more);
            rows.delete(&next)?;
            written = Written::WithNext;
        }
    }
    if octets.is_empty() && !key.is_empty() {
        rows.delete(key)?;
        return Ok(written);
    }
    let (own, rest) = if key.is_empty() { apex_apart(octets) } else { (None, octets.as_slice()) };
    if own.is_none() && rest.len() <= CHUNK_OCTETS_MAX {
        rows.put(key, rest)?;
        return Ok(written);
    }
    let mut first = true;
    // Even halves: whichever grows next, neither is cut at once.
    let fits = rest.len() <= CHUNK_OCTETS_MAX;
    let count = if fits { 1 } else { rest.len().div_ceil(CHUNK_OCTETS_FILL) };
    for piece in own.into_iter().chain(pieces(rest, rest.len().div_ceil(count))) {
        let piece_key = first_key(piece, prefix);
        rows.put(if std::mem::take(&mut first) { key } else { &piece_key }, piece)?;
    }
    Ok(written)
}

/// The node of the apex apart from the others, if the first row is too large for both.
fn apex_apart(octets: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let own = packed::nodes(octets).next().map_or(0, Node::octets);
    match octets.split_at_checked(own) {
        Some((own, rest)) if octets.len() > APEX_ROW_OCTETS_MAX && !rest.is_empty() => {
            (Some(own), rest)
        }
        _ => (None, octets),
    }
}

/// The key of the row behind the one at `key`.
fn key_behind(rows: &dyn RowsMut, key: &[u8]) -> Result<Option<Vec<u8>>, ReadFault> {
    let mut behind = None;
    rows.from(&[key, &[0]].concat(), &mut |key, _| {
        behind = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    Ok(behind)
}

/// Pieces of whole nodes, each about `fill` octets or one node.
fn pieces(octets: &[u8], fill: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let mut end = 0;
        for node in packed::nodes(rest) {
            if end > 0 && end + node.octets() > fill {
                break;
            }
            end += node.octets();
        }
        let (piece, after) = rest.split_at_checked(end).filter(|(piece, _)| !piece.is_empty())?;
        rest = after;
        Some(piece)
    })
}

fn first_key(piece: &[u8], prefix: usize) -> Vec<u8> {
    packed::nodes(piece).next().map(|node| relative_key(&node.name(), prefix)).unwrap_or_default()
}

fn relative_key(name: &Name, prefix: usize) -> Vec<u8> {
    name.key().get(prefix..).unwrap_or_default().to_vec()
}

/// Whether a node may be below `owner`: certainly not where its name ends otherwise.
fn may_be_below(node: Node<'_>, owner: &Name) -> bool {
    let end = node.owner.len().checked_sub(owner.as_wire().len());
    let end = end.and_then(|from| node.owner.get(from..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(owner.as_wire()))
}

fn is_owner(node: Node<'_>, owner: &Name) -> bool {
    node.owner.eq_ignore_ascii_case(owner.as_wire())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::super::tree::Tree;
    use super::*;
    use crate::wire::RrSet;

    #[derive(Default)]
    struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Rows for Memory {
        fn at_or_before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
            let mut rows = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
            Ok(rows.next_back().map(|(key, octets)| (key.clone(), Nodes::Borrowed(octets))))
        }

        fn before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
            let mut rows = self.0.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)));
            Ok(rows.next_back().map(|(key, octets)| (key.clone(), Nodes::Borrowed(octets))))
        }

        fn from(
            &self,
            key: &[u8],
            each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
        ) -> Result<(), ReadFault> {
            let mut rows = self.0.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
            let _ = rows.try_for_each(|(key, octets)| each(key, octets));
            Ok(())
        }
    }

    impl RowsMut for Memory {
        fn put(&mut self, key: &[u8], nodes: &[u8]) -> Result<(), ReadFault> {
            self.0.insert(key.into(), nodes.to_vec());
            Ok(())
        }

        fn delete(&mut self, key: &[u8]) -> Result<(), ReadFault> {
            self.0.remove(key);
            Ok(())
        }
    }

    fn apex() -> Name {
        Name::parse("example.").unwrap()
    }

    /// A change that sets one TXT record of `size` octets, or takes the set away.
    fn change(view: &dyn View, label: &str, rtype: u16, size: usize) -> SetChange {
        let owner = match label {
            "" => apex(),
            label => Name::parse_relative(label.as_bytes(), Some(&apex())).unwrap(),
        };
        let before = super::super::delta::set_at(view, &owner, Type(rtype)).unwrap();
        let after = (size > 0).then(|| Set {
            rrset: RrSet::new(owner.clone(), Type(rtype), 60, vec![vec![7; size].into()]),
            sigs: Vec::new(),
        });
        SetChange { owner, rtype: Type(rtype), before, after }
    }

    fn assert_same(rows: &Memory, tree: &Tree) {
        let apex = apex();
        let view = ChunkView::new(&apex, rows);
        assert_eq!(Tree::copy(&view).unwrap(), *tree);
        let mut names = Vec::new();
        tree.walk(&[], &mut |node| {
            names.push(node.name());
            ControlFlow::Continue(())
        })
        .unwrap();
        for (place, name) in names.iter().enumerate() {
            let mut ends = false;
            assert!(view.node_and_end(name, &mut |_, said| ends = said).unwrap());
            let has_below = names.get(place + 1).is_some_and(|next| next.is_below(name));
            assert!(!(ends && has_below), "{name}");
        }
        tree.walk(&[], &mut |node| {
            let key = node.name().key();
            assert!(view.node(&node.name(), &mut |_| {}).unwrap());
            assert_eq!(view.before(&key).unwrap(), tree.before(&key).unwrap());
            let mut first = None;
            view.walk(&key, &mut |node| {
                first = Some(node.name());
                ControlFlow::Break(())
            })
            .unwrap();
            assert_eq!(first, Some(node.name()));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(view.before(&[u8::MAX; 9]).unwrap(), tree.before(&[u8::MAX; 9]).unwrap());
    }

    proptest! {
        #[test]
        fn rows_hold_what_a_plain_tree_holds_after_any_edits(
            batches in prop::collection::vec(
                prop::collection::vec(
                    ("|[a-d]|[a-d]{2}\\.[a-d]|[a-z]{1,3}", 1u16..4, prop_oneof![Just(0), 1usize..600]), 1..20),
                1..30),
        ) {
            let (mut rows, mut tree) = (Memory::default(), Tree::new(apex(), &[]));
            let (mut counts, mut place) = (Counts::default(), Vec::new());
            for batch in batches {
                let mut changes = BTreeMap::new();
                for (label, rtype, size) in batch {
                    changes.insert((label.clone(), rtype), change(&tree, &label, rtype, size));
                }
                let delta = Delta::new(changes.into_values().collect());
                counts += update(&mut rows, &apex(), &delta, &mut place).unwrap();
                tree.apply(&delta);
            }
            assert_same(&rows, &tree);
            prop_assert_eq!(counts, Counts::of(&tree.to_packed()));
            prop_assert!(rows.0.values().all(|row| row.len() <= CHUNK_OCTETS_MAX));
        }
    }

    #[test]
    fn a_zone_written_in_one_go_is_read_as_it_was() {
        let mut tree = Tree::new(apex(), &[]);
        let changes = (0..2_000).map(|n| change(&tree, &format!("host{n}"), 1, 4)).collect();
        tree.apply(&Delta::new(changes));
        let mut rows = Memory::default();

        split(&apex(), &tree.to_packed(), |key, row| rows.put(key, &row)).unwrap();

        assert!(rows.0.len() > 10 && rows.0.values().all(|row| row.len() <= CHUNK_OCTETS_MAX));
        assert_same(&rows, &tree);
    }

    /// Goal: what every change costs does not grow with what stands behind the apex. Method: a zone that
    /// grows name by name, then its SOA alone.
    #[test]
    fn the_apex_of_a_zone_that_is_not_small_has_a_row_for_itself() {
        let (mut rows, mut tree, mut place) =
            (Memory::default(), Tree::new(apex(), &[]), Vec::new());
        let mut put = |tree: &mut Tree, rows: &mut Memory, change| {
            let delta = Delta::new(vec![change]);
            update(rows, &apex(), &delta, &mut place).unwrap();
            tree.apply(&delta);
        };
        let soa = change(&tree, "", 6, 40);
        put(&mut tree, &mut rows, soa);
        for n in 0..100 {
            let more = change(&tree, &format!("host{n}"), 1, 40);
            put(&mut tree, &mut rows, more);
            assert!(rows.0[&[][..]].len() <= APEX_ROW_OCTETS_MAX);
        }
        let before = rows.0.clone();
        let soa = change(&tree, "", 6, 41);
        put(&mut tree, &mut rows, soa);

        let changed = rows.0.iter().filter(|(key, row)| before.get(*key) != Some(*row));
        let changed: Vec<_> = changed.map(|(key, row)| (key.clone(), row.len())).collect();
        assert!(matches!(&changed[..], [(key, 1..100)] if key.is_empty()), "{changed:?}");
        assert_same(&rows, &tree);
    }

    #[test]
    fn one_name_of_a_large_zone_changes_one_row() {
        let mut tree = Tree::new(apex(), &[]);
        let changes = (0..2_000).map(|n| change(&tree, &format!("host{n}"), 1, 4)).collect();
        tree.apply(&Delta::new(changes));
        let mut rows = Memory::default();
        split(&apex(), &tree.to_packed(), |key, row| rows.put(key, &row)).unwrap();
        let before = rows.0.clone();

        let delta = Delta::new(vec![change(&tree, "host1000", 1, 16)]);
        update(&mut rows, &apex(), &delta, &mut Vec::new()).unwrap();

        let changed = rows.0.iter().filter(|(key, row)| before.get(*key) != Some(*row)).count();
        assert_eq!((changed, rows.0.len()), (1, before.len()));
    }
}
