//! What DNS messages ask of the management plane.

use super::transfer;
use crate::manage::change::update;
use crate::manage::{Manage, bootstrap};
use crate::serve::asks::Asked;
use crate::serve::{Asks, Messages, Prefixes};
use crate::wire::{Rcode, Serial};

/// Updates become orders, transfers are read out of the store, NOTIFY makes secondary zones ask.
pub(super) struct Desk {
    pub(super) manage: Manage,
    /// Who may transfer every zone.
    pub(super) transfer_allow: Prefixes,
}

impl Asks for Desk {
    fn notify(&self, asked: &Asked<'_>, _: Option<Serial>) -> Rcode {
        self.manage.maintain.notified(&asked.zone, asked.from.ip(), asked.key.as_ref())
    }

    fn update(&self, asked: &Asked<'_>, unsigned: bool) -> Rcode {
        if !unsigned {
            return Rcode::REFUSED;
        }
        match bootstrap::system(&self.manage) {
            Ok(system) => update::update(&self.manage, &system, &asked.zone, asked.message),
            Err(_) => Rcode::SERVFAIL, // the store takes no writes
        }
    }

    fn transfer(
        &self,
        asked: &Asked<'_>,
        since: Option<Serial>,
    ) -> Result<Box<dyn Messages>, Rcode> {
        if !self.transfer_allow.contains(asked.from.ip()) {
            return Err(Rcode::REFUSED);
        }
        transfer::messages(&self.manage.maintain, asked, since)
    }
}
