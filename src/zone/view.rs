//! Reading one zone at one version, wherever it is kept.

use std::fmt;
use std::ops::ControlFlow;

use super::packed::Node;
use crate::wire::Name;

/// The zone could not be read: the place that keeps it is damaged. An operator's to repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFault(pub String);

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone data cannot be read: {}", self.0)
    }
}

impl std::error::Error for ReadFault {}

/// One zone at one version. Nodes are owners with records: empty non-terminals are not stored.
pub trait View {
    /// The name of the zone.
    fn apex(&self) -> &Name;

    /// Calls `with` with the node at `owner`; returns whether there is one.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the zone fails.
    fn node(&self, owner: &Name, with: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault>;

    /// As [`View::node`]; `with` also hears whether it showed that no name stands below `owner`. Where it
    /// did not show, there may be some.
    ///
    /// # Errors
    ///
    /// As [`View::node`].
    fn node_and_end(
        &self,
        owner: &Name,
        with: &mut dyn FnMut(Node<'_>, bool),
    ) -> Result<bool, ReadFault> {
        self.node(owner, &mut |node| with(node, false))
    }

    /// Calls `each` with every node from the first whose [key](Name::key) is `from` or behind it, in
    /// canonical order, until it breaks. Names below `x` start behind `x`'s key and share it as prefix.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the zone fails.
    fn walk(
        &self,
        from: &[u8],
        each: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault>;

    /// The owner of the last node whose key is before `key`, in canonical order.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the place that keeps the zone fails.
    fn before(&self, key: &[u8]) -> Result<Option<Name>, ReadFault>;
}
