//! What DNS messages ask of the management plane.

use crate::manage::change::update;
use crate::manage::{Manage, bootstrap};
use crate::serve::asks::Asked;
use crate::serve::{Asks, Messages};
use crate::wire::{Rcode, Serial};

/// Updates become orders. Transfers and NOTIFY have nobody to answer them yet.
pub(super) struct Desk(pub(super) Manage);

impl Asks for Desk {
    fn notify(&self, _: &Asked<'_>, _: Option<Serial>) -> Rcode {
        Rcode::NOTAUTH // no zone here has a primary elsewhere
    }

    fn update(&self, asked: &Asked<'_>, unsigned: bool) -> Rcode {
        if !unsigned {
            return Rcode::REFUSED;
        }
        match bootstrap::system(&self.0) {
            Ok(system) => update::update(&self.0, &system, &asked.zone, asked.message),
            Err(_) => Rcode::SERVFAIL, // the store takes no writes
        }
    }

    fn transfer(&self, _: &Asked<'_>, _: Option<Serial>) -> Result<Box<dyn Messages>, Rcode> {
        Err(Rcode::REFUSED)
    }
}
