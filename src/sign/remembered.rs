//! A view that remembers the nodes it was asked for.
//!
//! One change is signed by looking at the same few names again and again: what they are, what they have,
//! what denies them. Each look at a stored zone searches and reads a row; here it does so once.
//!
//! Promises: at most [`NODES_MAX`] nodes are remembered. Only for as long as the view does not change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::wire::Name;
use crate::zone::packed::{self, Node, Packer};
use crate::zone::{ReadFault, View};

/// Nodes that are remembered; a change that touches more begins anew.
pub const NODES_MAX: usize = 4_096;

/// See [the module](self).
pub(super) struct Remembered<'a> {
    view: &'a dyn View,
    /// Packed nodes by the key of their owner; none where there is no node.
    nodes: RefCell<BTreeMap<Vec<u8>, Option<Rc<[u8]>>>>,
}

impl<'a> Remembered<'a> {
    pub fn new(view: &'a dyn View) -> Remembered<'a> {
        Remembered { view, nodes: RefCell::default() }
    }

    /// The node at `owner`, packed by itself.
    fn look(&self, owner: &Name) -> Result<Option<Rc<[u8]>>, ReadFault> {
        let key = owner.key();
        if let Some(known) = self.nodes.borrow().get(&key) {
            return Ok(known.clone());
        }
        let mut found = None;
        self.view.node(owner, &mut |node| {
            let mut packer = Packer::default();
            packer.push(node);
            found = Some(Rc::from(packer.finish()));
        })?;
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() >= NODES_MAX {
            nodes.clear();
        }
        nodes.insert(key, found.clone());
        Ok(found)
    }
}

impl View for Remembered<'_> {
    fn apex(&self) -> &Name {
        self.view.apex()
    }

    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        let found = self.look(owner)?;
        let node = found.as_deref().and_then(|octets| packed::nodes(octets).next());
        Ok(node.map(with).is_some())
    }

    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        self.view.walk(from, each)
    }

    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault> {
        self.view.before(key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::counted::Counted;
    use super::*;
    use crate::wire::Type;
    use crate::zone::delta::set_at;
    use crate::zone::text::{Options, parse};
    use crate::zone::tree::Tree;

    #[test]
    fn a_name_is_looked_for_once_whether_it_is_there_or_not() {
        let apex = Name::parse("x.").unwrap();
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        let text = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nWww 60 A 192.0.2.1\nwww 60 TXT t\n";
        let octets = parse(text.as_bytes(), options).unwrap().packed;
        let tree = Tree::new(apex, &octets);
        let counted = Counted::new(&tree);
        let view = Remembered::new(&counted);
        let name = |text: &str| Name::parse(text).unwrap();
        let has = |view: &dyn View, owner: &str, rtype| set_at(view, &name(owner), rtype).unwrap();
        for rtype in [Type::A, Type::TXT, Type::NS] {
            for owner in ["www.x.", "WWW.x.", "none.x."] {
                let plain = set_at(&tree, &name(owner), rtype).unwrap();
                assert_eq!(has(&view, owner, rtype), plain, "{owner} {rtype}");
            }
        }
        assert_eq!(counted.looks(), 2, "www and none");
        assert_eq!(view.node(&name("none.x."), &mut |_| panic!("there is none")), Ok(false));
    }
}
