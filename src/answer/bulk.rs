//! Bulk: what readers put aside at a start, until all is read and the table is made of it.
//!
//! A start holds nearly all of the table twice, once as it was put aside, once in its pages, and memory that is
//! used for the first time is what costs most. So what is put aside lies in pieces small enough for the
//! allocator to keep, which are let go of part by part: pages are made of the memory of those before.
//!
//! ```text
//! piece := (len:u32 node)*        in the machine's order
//! ```

use super::node::Node;
use super::rendered::{Change, Rendered, Source};
use crate::wire::HashKey;

/// How many parts a [`Bulk`] has: enough that what a part holds is little beside all of it.
pub(super) const PARTS: usize = 64;

/// Octets of a piece, but of one with a larger node: far less than what the allocator maps by itself, and places
/// in it have two octets.
const PIECE_OCTETS: usize = 1 << 16;

/// Changes of very many names, apart by the upper bits of their hashes, so that the writer gets all names of a
/// page at once and makes it but once.
pub struct Bulk {
    parts: Vec<Part>,
    /// What is of no name: chains, and the labels of the longest.
    rest: Rendered,
}

/// The changes of names whose hashes start alike.
#[derive(Default)]
pub(super) struct Part {
    puts: Vec<Put>,
    pieces: Vec<Vec<u8>>,
}

/// One name's change, and where its node lies.
struct Put {
    hash: u64,
    piece: u32,
    at: u16,
    put: bool,
}

impl Bulk {
    /// Nothing yet; `key` as for [`Rendered::new`].
    pub fn new(key: &HashKey) -> Bulk {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        Bulk { parts, rest: Rendered::new(key) }
    }

    /// Takes everything out of `rendered`.
    pub fn take(&mut self, rendered: &mut Rendered) {
        for change in &rendered.changes {
            let octets = rendered.arena.get(change.at..change.at + change.len as usize);
            let part = self.parts.get_mut((change.hash >> (64 - PARTS.ilog2())) as usize);
            if let (Some(octets), Some(part)) = (octets, part) {
                part.push(change, octets);
            }
        }
        self.rest.chains.append(&mut rendered.chains);
        self.rest.labels_max = self.rest.labels_max.max(rendered.labels_max);
        rendered.changes.clear();
        rendered.arena.clear();
    }

    /// How many names change.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Source::len).sum()
    }

    /// What holds the changes that are of no name.
    pub(super) fn rest(&self) -> &Rendered {
        &self.rest
    }

    /// The parts of several, each of one with the same of the others.
    pub(super) fn parts(all: Vec<Bulk>) -> impl Iterator<Item = Vec<Part>> {
        let mut all: Vec<_> = all.into_iter().map(|bulk| bulk.parts.into_iter()).collect();
        (0..PARTS).map(move |_| all.iter_mut().filter_map(Iterator::next).collect())
    }
}

impl Part {
    fn push(&mut self, change: &Change, octets: &[u8]) {
        let len = size_of::<u32>() + octets.len();
        let has_room = |piece: &Vec<u8>| {
            piece.capacity() - piece.len() >= len && piece.len() <= usize::from(u16::MAX)
        };
        if !self.pieces.last().is_some_and(has_room) {
            self.pieces.push(Vec::with_capacity(len.max(PIECE_OCTETS)));
        }
        let number = self.pieces.len() - 1;
        let Some(piece) = self.pieces.last_mut() else { return };
        let Change { hash, put, .. } = *change;
        self.puts.push(Put { hash, piece: number as u32, at: piece.len() as u16, put });
        piece.extend_from_slice(&change.len.to_ne_bytes());
        piece.extend_from_slice(octets);
    }
}

impl Source for Part {
    fn len(&self) -> usize {
        self.puts.len()
    }

    fn change(&self, number: usize) -> Option<(u64, bool)> {
        self.puts.get(number).map(|put| (put.hash, put.put))
    }

    fn node(&self, number: usize) -> Option<Node<'_>> {
        let Put { piece, at, .. } = *self.puts.get(number)?;
        let octets = self.pieces.get(piece as usize)?.get(usize::from(at)..)?;
        let (len, octets) = octets.split_first_chunk()?;
        Node::read(octets.get(..u32::from_ne_bytes(*len) as usize)?)
    }

    fn labels_max(&self) -> usize {
        0
    }
}
