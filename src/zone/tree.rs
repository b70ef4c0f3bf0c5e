//! Zones held in memory: one read from packed octets, and one that takes deltas.
//!
//! For what is read once and for tests. Zones in service live in chunks and in answer pages, never
//! here.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::chunk;
use super::delta::Delta;
use super::packed::{self, Node};
use super::{ReadFault, View};
use crate::wire::Name;

/// A zone over packed nodes in canonical order, with an index to find them.
#[derive(Debug, Clone)]
pub struct PackedZone<'a> {
    apex: Name,
    octets: &'a [u8],
    /// Where each node begins; not looked for where the zone is only read from its apex on.
    starts: OnceCell<Vec<u32>>,
}

impl<'a> PackedZone<'a> {
    /// The zone `apex` of the nodes in `octets`, at most 4 GiB.
    pub fn new(apex: Name, octets: &'a [u8]) -> PackedZone<'a> {
        PackedZone { apex, octets, starts: OnceCell::new() }
    }

    fn starts(&self) -> &[u32] {
        self.starts.get_or_init(|| {
            let mut starts = Vec::new();
            let mut at = 0;
            for node in packed::nodes(self.octets) {
                starts.push(at);
                at += node.octets() as u32;
            }
            starts
        })
    }

    fn at(&self, start: u32) -> Option<Node<'a>> {
        packed::nodes(self.octets.get(start as usize..)?).next()
    }

    /// How many nodes stand before `key`.
    fn rank(&self, key: &[u8]) -> usize {
        self.starts().partition_point(|&start| {
            self.at(start).is_some_and(|node| node.name().key().as_slice() < key)
        })
    }
}

impl View for PackedZone<'_> {
    fn apex(&self) -> &Name {
        &self.apex
    }

    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        let node = self.starts().get(self.rank(&owner.key())).and_then(|&start| self.at(start));
        let node = node.filter(|node| node.owner.eq_ignore_ascii_case(owner.as_wire()));
        Ok(node.map(with).is_some())
    }

    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        // Most walks start at the apex: nothing to look up then.
        let start = match from.is_empty() || from <= self.apex.key().as_slice() {
            true => 0,
            false => match self.starts().get(self.rank(from)) {
                Some(&start) => start,
                None => return Ok(()),
            },
        };
        let rest = self.octets.get(start as usize..).unwrap_or_default();
        let _ = packed::nodes(rest).try_for_each(each);
        Ok(())
    }

    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault> {
        let at = self.rank(key).checked_sub(1).and_then(|rank| self.starts().get(rank));
        Ok(at.and_then(|&start| self.at(start)).map(Node::name))
    }
}

/// A zone in memory that takes deltas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    apex: Name,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tree {
    /// A zone of the nodes in `octets`.
    pub fn new(apex: Name, octets: &[u8]) -> Tree {
        let nodes = packed::nodes(octets).map(|node| {
            let mut packer = packed::Packer::default();
            packer.push(node);
            (node.name().key(), packer.finish())
        });
        Tree { apex, nodes: nodes.collect() }
    }

    /// Takes over everything `view` holds.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when it cannot be read.
    pub fn copy(view: &dyn View) -> Result<Tree, ReadFault> {
        let mut packer = packed::Packer::default();
        view.walk(&view.apex().key(), &mut |node| {
            packer.push(node);
            ControlFlow::Continue(())
        })?;
        Ok(Tree::new(view.apex().clone(), &packer.finish()))
    }

    /// Applies a delta.
    pub fn apply(&mut self, delta: &Delta) {
        for changes in delta.changes.chunk_by(|one, next| one.owner == next.owner) {
            let Some(owner) = changes.first().map(|change| &change.owner) else { continue };
            let key = owner.key();
            let old = self.nodes.remove(&key);
            let old = old.as_deref().and_then(|octets| packed::nodes(octets).next());
            let mut packer = packed::Packer::default();
            chunk::merge_node(old, owner, changes, &mut packer);
            if !packer.is_empty() {
                self.nodes.insert(key, packer.finish());
            }
        }
    }

    /// All nodes, packed.
    pub fn to_packed(&self) -> Vec<u8> {
        self.nodes.values().flatten().copied().collect()
    }
}

impl View for Tree {
    fn apex(&self) -> &Name {
        &self.apex
    }

    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        let node = self.nodes.get(&owner.key()).and_then(|octets| packed::nodes(octets).next());
        Ok(node.map(with).is_some())
    }

    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        let rest = self.nodes.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let _ = rest.flat_map(|(_, octets)| packed::nodes(octets)).try_for_each(each);
        Ok(())
    }

    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault> {
        let earlier = self.nodes.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)));
        Ok(earlier.last().and_then(|(_, octets)| packed::nodes(octets).next()).map(Node::name))
    }
}
