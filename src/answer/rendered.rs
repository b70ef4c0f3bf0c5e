//! What rendering hands to the writer: nodes to be put, names to be taken out, edits of chains.
//!
//! Made beforehand, by any thread, so that publishing only has to move octets into pages.

use super::chain::{Denial, Entries};
use super::node::{self, Draft, Facts, Node, ZoneState, flag};
use super::places::Places;
use super::table::parent_side;
use crate::wire::{HashKey, Name};

/// Changes of the table, of any number of zones. A name that is both put and taken out, by whatever
/// zones, is put.
pub struct Rendered {
    pub(super) key: HashKey,
    pub(super) arena: Vec<u8>,
    pub(super) changes: Vec<Change>,
    pub(super) chains: Vec<(u32, ChainChange)>,
    pub(super) labels_max: usize,
    /// Where the next zone's nodes are built.
    pub(super) places: Places,
}

/// Where changes lie that the writer is to make.
pub(super) trait Source {
    /// How many names change.
    fn len(&self) -> usize;

    /// The hash of a name, and whether it is put.
    fn change(&self, number: usize) -> Option<(u64, bool)>;

    /// The node of a change.
    fn node(&self, number: usize) -> Option<Node<'_>>;

    /// The labels of the longest name.
    fn labels_max(&self) -> usize;
}

/// One name's change: a node in the arena, to be put or (by its name) taken out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub hash: u64,
    pub at: usize,
    pub len: u32,
    pub put: bool,
}

/// What becomes of a zone's chain.
#[derive(Debug)]
pub(super) enum ChainChange {
    Drop,
    Whole(Denial, Entries),
    Edit(Entries),
}

/// What a part of a zone has of its chain.
#[derive(Debug)]
pub struct ChainPart(pub(super) Option<(Denial, Entries)>);

impl Rendered {
    /// Nothing yet; `key` is that of the [snapshot](super::Snapshot::key) it is for.
    pub fn new(key: &HashKey) -> Rendered {
        Rendered {
            key: key.clone(),
            arena: Vec::new(),
            changes: Vec::new(),
            chains: Vec::new(),
            labels_max: 0,
            places: Places::default(),
        }
    }

    /// Octets held: hand it to the writer when it has grown large enough.
    pub fn octets(&self) -> usize {
        let chains = self.chains.iter().map(|(_, change)| match change {
            ChainChange::Drop => 0,
            ChainChange::Whole(_, entries) | ChainChange::Edit(entries) => entries.octets_len(),
        });
        self.arena.len() + self.changes.len() * size_of::<Change>() + chains.sum::<usize>()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.chains.is_empty()
    }

    /// Puts a zone into the table that is not answered: just its apex, in a state other than live.
    pub fn put_stub(&mut self, apex: &Name, zone: u32, state: ZoneState) {
        let name = apex.as_wire().to_ascii_lowercase();
        let hash = self.key.name(&name);
        let facts = Some(Facts { zone, state, negative_ttl: 0 });
        let draft =
            Draft { name: &name, up: 0, flags: flag::APEX, facts, extents: &[], images: &[] };
        self.put(hash, apex.label_count(), &draft);
    }

    /// Takes out what a parent zone has at `apex`, where no zone is any more.
    pub fn remove_parent_side(&mut self, apex: &Name) {
        let name = apex.as_wire().to_ascii_lowercase();
        self.remove(self.key.name(&name), &name, true);
    }

    /// Puts the chain of a zone that was rendered in `parts`, all of them and in their order.
    pub fn put_chain(&mut self, zone: u32, parts: impl IntoIterator<Item = ChainPart>) {
        let mut parts = parts.into_iter().filter_map(|part| part.0);
        let Some((denial, mut entries)) = parts.next() else { return };
        parts.for_each(|(_, others)| entries.append(&others));
        self.chains.push((zone, ChainChange::Whole(denial, entries)));
    }

    /// Puts a node; returns where it stands in the arena.
    pub(super) fn put(&mut self, hash: u64, labels: usize, draft: &Draft<'_>) -> usize {
        self.labels_max = self.labels_max.max(labels);
        self.push(hash, draft, true)
    }

    /// Takes a name out; `parent` for what a parent zone has at another zone's apex.
    pub(super) fn remove(&mut self, hash: u64, name: &[u8], parent: bool) {
        let flags = if parent { flag::PARENT } else { 0 };
        let draft = Draft { name, up: 0, flags, facts: None, extents: &[], images: &[] };
        self.push(hash, &draft, false);
    }

    fn push(&mut self, hash: u64, draft: &Draft<'_>, put: bool) -> usize {
        let at = self.arena.len();
        node::put(&mut self.arena, draft);
        let hash = if draft.flags & flag::PARENT != 0 { parent_side(hash) } else { hash };
        self.changes.push(Change { hash, at, len: (self.arena.len() - at) as u32, put });
        at
    }

    /// Sets a flag of a node that was put already.
    pub(super) fn set_flag(&mut self, at: usize, flag: u16) {
        if let Some(octets) = self.arena.get_mut(at + 2..at + 4)
            && let Some(octets) = octets.first_chunk_mut::<2>()
        {
            *octets = (u16::from_be_bytes(*octets) | flag).to_be_bytes();
        }
    }
}

impl Source for Rendered {
    fn len(&self) -> usize {
        self.changes.len()
    }

    fn change(&self, number: usize) -> Option<(u64, bool)> {
        self.changes.get(number).map(|change| (change.hash, change.put))
    }

    fn node(&self, number: usize) -> Option<Node<'_>> {
        let change = self.changes.get(number)?;
        Node::read(self.arena.get(change.at..change.at + change.len as usize)?)
    }

    fn labels_max(&self) -> usize {
        self.labels_max
    }
}
