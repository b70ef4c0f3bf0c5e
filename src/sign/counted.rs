//! A view that counts how often it is looked into: what a change costs, whatever the machine.

use std::cell::Cell;
use std::ops::ControlFlow;

use crate::wire::Name;
use crate::zone::packed::Node;
use crate::zone::tree::Tree;
use crate::zone::{ReadFault, View};

/// See [the module](self).
pub(super) struct Counted<'a> {
    tree: &'a Tree,
    looks: Cell<usize>,
}

impl<'a> Counted<'a> {
    pub fn new(tree: &'a Tree) -> Counted<'a> {
        Counted { tree, looks: Cell::default() }
    }

    /// Names that were looked for, and those that were come by.
    pub fn looks(&self) -> usize {
        self.looks.get()
    }

    fn count(&self) {
        self.looks.set(self.looks.get() + 1);
    }
}

impl View for Counted<'_> {
    fn apex(&self) -> &Name {
        self.tree.apex()
    }

    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        self.count();
        self.tree.node(owner, with)
    }

    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        self.tree.walk(from, &mut |node| {
            self.count();
            each(node)
        })
    }

    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault> {
        self.count();
        self.tree.before(key)
    }
}
