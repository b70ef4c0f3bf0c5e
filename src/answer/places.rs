//! Where the nodes of a zone are built: the path down to the one at hand, and room for its parts.

use super::image::{self, Extent};

/// Where a zone's nodes are built: of many zones it takes no memory anew.
#[derive(Default)]
pub(super) struct Places {
    /// The names from the apex down to the node visited last.
    pub path: Vec<Step>,
    /// The last of them; those above it are its ends.
    name: Vec<u8>,
    pub images: Vec<u8>,
    pub extents: Vec<Extent>,
    pub image: image::Place,
    /// Octets lent to what hides the names below it.
    pub hidden_name: Vec<u8>,
    pub hidden_nodes: Vec<u8>,
}

impl Places {
    pub fn clear(&mut self) {
        self.path.clear();
        self.name.clear();
    }

    /// The names on the path that are not above `name` leave it.
    pub fn climb(&mut self, name: &[u8]) {
        while let Some(step) = self.path.last() {
            let start = self.name.len() - step.len;
            if self.name.get(start..).is_some_and(|above| is_at_or_below(name, above)) {
                break;
            }
            self.path.pop();
        }
    }

    /// The path goes down to `name`.
    pub fn descend(&mut self, name: &[u8], labels: usize, hash: u64, at: usize) {
        self.name.clear();
        self.name.extend_from_slice(name);
        self.path.push(Step { len: name.len(), labels, hash, at });
    }
}

/// A name on the path.
pub(super) struct Step {
    /// Octets of the name.
    len: usize,
    pub labels: usize,
    pub hash: u64,
    /// Where its node stands among what is rendered.
    pub at: usize,
}

/// Whether a lower-case name is `above` or below it.
pub(super) fn is_at_or_below(name: &[u8], above: &[u8]) -> bool {
    name.ends_with(above) && begins_label(name, name.len() - above.len())
}

/// Whether a label of `name` begins at `start`.
pub(super) fn begins_label(name: &[u8], start: usize) -> bool {
    let mut at = 0;
    while at < start {
        at += 1 + name.get(at).map_or(0, |&len| usize::from(len));
    }
    at == start
}
