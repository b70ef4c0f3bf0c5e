//! A zone as a file.

use std::fmt;
use std::ops::ControlFlow;

use crate::wire::rdata::display;
use crate::wire::{Name, Type};
use crate::zone::packed::{Node, RrSetRef};
use crate::zone::view::{ReadFault, View};

/// Why a zone could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// The zone is damaged where it is kept: an operator's to repair.
    Read(ReadFault),
    /// The place it is written to takes no more.
    Out(fmt::Error),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Read(fault) => fault.fmt(f),
            WriteError::Out(_) => f.write_str("output takes no more of the zone"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Writes a zone as a file that [`parse`](super::parse) reads back: `$ORIGIN`, the SOA first, then all in
/// canonical order, each RRSIG behind the set it covers. Every line states its owner and TTL.
///
/// # Errors
///
/// [`WriteError`] when the zone cannot be read or `out` takes no more.
pub fn write(view: &dyn View, out: &mut dyn fmt::Write) -> Result<(), WriteError> {
    writeln!(out, "$ORIGIN {}", view.apex()).map_err(WriteError::Out)?;
    let mut result = Ok(());
    view.walk(&view.apex().key(), &mut |node| {
        result = write_node(node, view.apex(), out);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(WriteError::Read)?;
    result.map_err(WriteError::Out)
}

fn write_node(node: Node<'_>, apex: &Name, out: &mut dyn fmt::Write) -> fmt::Result {
    let owner = node.name();
    let owner = relative(&owner, apex);
    let is_soa = |set: &RrSetRef<'_>| set.rtype == Type::SOA;
    for set in node.rrsets().filter(is_soa).chain(node.rrsets().filter(|set| !is_soa(set))) {
        for rdata in set.rdatas() {
            let (ttl, rtype) = (set.ttl, set.rtype);
            writeln!(out, "{owner}\t{ttl}\tIN\t{rtype}\t{}", display(rtype, rdata))?;
        }
        for sig in set.sigs() {
            let ttl = set.ttl;
            writeln!(out, "{owner}\t{ttl}\tIN\tRRSIG\t{}", display(Type::RRSIG, sig))?;
        }
    }
    Ok(())
}

/// The name as it stands below `$ORIGIN apex`; in full where it spells the apex otherwise.
fn relative(name: &Name, apex: &Name) -> String {
    let mut text = name.to_string();
    if !name.is_at_or_below(apex) || !name.as_wire().ends_with(apex.as_wire()) {
        return text;
    }
    if name == apex {
        return "@".into();
    }
    // The dot before the apex goes too; the root has none.
    let tail = if apex.is_root() { 1 } else { apex.to_string().len() + 1 };
    text.truncate(text.len().saturating_sub(tail));
    text
}
