//! The zone rules, as reasons for a refusal.

use super::change::Reason;
use crate::wire::Name;
use crate::zone::check::{self, Broken};
use crate::zone::{ReadFault, View};

/// Every rule a whole zone breaks.
pub(super) fn whole(view: &dyn View) -> Result<Vec<Reason>, ReadFault> {
    Ok(check::check(view)?.into_iter().map(reason).collect())
}

/// Every rule that the zone breaks at `touched` names, or through them elsewhere.
pub(super) fn touched(view: &dyn View, touched: &[Name]) -> Result<Vec<Reason>, ReadFault> {
    Ok(check::check_touched(view, touched)?.into_iter().map(reason).collect())
}

fn reason(broken: Broken) -> Reason {
    Reason::Broken { rule: broken.rule.word(), owner: broken.owner, text: broken.what }
}

/// A zone without SOA.
pub(super) fn no_soa(apex: &Name) -> Reason {
    let text = format!("{apex} has no SOA record: add one (RFC 1035 §5.2)");
    Reason::Broken { rule: "soa", owner: apex.clone(), text }
}

/// A name that is not in the zone.
pub(super) fn out_of_zone(owner: &Name, apex: &Name) -> Reason {
    let text = format!("{owner} is not in the zone {apex}: use a name at or below it");
    Reason::Broken { rule: "in-zone", owner: owner.clone(), text }
}
