//! Who owns a name: the zone, a zone below it, or nobody ([RFC 4035] §2.2).
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035

use crate::wire::{Name, Type};
use crate::zone::packed::Node;
use crate::zone::{ReadFault, View};

/// What a name is to the zone it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its own: everything is signed.
    Own,
    /// A delegation: DS and denial are signed, the rest belongs below.
    Cut,
    /// Below a delegation: glue, neither signed nor denied.
    Below,
}

impl Kind {
    /// Whether a set of this type is signed at such a name.
    pub fn signs(self, rtype: Type) -> bool {
        match self {
            Kind::Own => true,
            Kind::Cut => matches!(rtype, Type::DS | Type::NSEC | Type::NSEC3),
            // A hashed owner may look like a name below a cut; it is not one.
            Kind::Below => rtype == Type::NSEC3,
        }
    }
}

/// Tells names apart on a walk in canonical order.
#[derive(Debug, Default)]
pub struct Walk {
    /// The delegation met last.
    cut: Option<Box<[u8]>>,
}

impl Walk {
    /// A walk that begins below a delegation.
    pub fn below(cut: &Name) -> Walk {
        Walk { cut: Some(cut.as_wire().into()) }
    }

    /// What the next node is.
    pub fn kind(&mut self, node: Node<'_>, apex: &[u8]) -> Kind {
        if self.cut.as_deref().is_some_and(|cut| is_below(node.owner, cut)) {
            return Kind::Below;
        }
        self.cut = None;
        if node.owner.len() > apex.len() && node.rrset(Type::NS).is_some() {
            self.cut = Some(node.owner.into());
            return Kind::Cut;
        }
        Kind::Own
    }
}

/// Whether a name in wire form is strictly below another.
fn is_below(name: &[u8], above: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(above.len()).filter(|&start| start > 0) else {
        return false;
    };
    if !name.get(start..).is_some_and(|tail| tail.eq_ignore_ascii_case(above)) {
        return false;
    }
    let mut at = 0;
    while at < start {
        at += 1 + name.get(at).map_or(0, |&len| usize::from(len));
    }
    at == start
}

/// What a single name is, and the delegation it is or is below.
///
/// # Errors
///
/// [`ReadFault`] when the view cannot be read.
pub fn kind_of(view: &dyn View, name: &Name) -> Result<(Kind, Option<Name>), ReadFault> {
    let apex = view.apex();
    let mut path = Vec::new();
    let mut here = Some(name.clone());
    while let Some(above) = here.filter(|here| here.is_below(apex)) {
        here = above.parent();
        path.push(above);
    }
    for above in path.into_iter().rev() {
        let mut cut = false;
        view.node(&above, &mut |node| cut = node.rrset(Type::NS).is_some())?;
        if cut {
            let kind = if above == *name { Kind::Cut } else { Kind::Below };
            return Ok((kind, Some(above)));
        }
    }
    Ok((Kind::Own, None))
}
