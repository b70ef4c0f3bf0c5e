//! The zone rules, as reasons for a refusal.

use super::change::Reason;
use crate::wire::{Name, Type};
use crate::zone::delta::set_at;
use crate::zone::{ReadFault, View};

/// Every rule a whole zone breaks.
pub(super) fn whole(view: &dyn View) -> Result<Vec<Reason>, ReadFault> {
    let soa = set_at(view, view.apex(), Type::SOA)?;
    Ok(if soa.is_none() { vec![no_soa(view.apex())] } else { Vec::new() })
}

/// Every rule that the zone breaks at `touched` names, or through them elsewhere.
pub(super) fn touched(view: &dyn View, touched: &[Name]) -> Result<Vec<Reason>, ReadFault> {
    let _ = touched;
    whole(view)
}

/// A zone without SOA.
pub(super) fn no_soa(apex: &Name) -> Reason {
    let text = format!("{apex} has no SOA record: add one (RFC 1035 §5.2)");
    Reason::Broken { rule: "apex SOA", owner: apex.clone(), text }
}

/// A name that is not in the zone.
pub(super) fn out_of_zone(owner: &Name, apex: &Name) -> Reason {
    let text = format!("{owner} is not in the zone {apex}: use a name at or below it");
    Reason::Broken { rule: "out of zone", owner: owner.clone(), text }
}
