//! What DNS messages ask of the management plane.

use std::sync::Arc;

use super::transfer::{self, Places};
use crate::manage::Manage;
use crate::manage::change::update::{self, Sender};
use crate::manage::holding::acl;
use crate::serve::asks::{Asked, Told};
use crate::serve::{Asks, Messages, Prefixes};
use crate::wire::{Rcode, Serial};

/// Updates become orders, transfers are read out of the store, NOTIFY makes secondary zones ask.
pub(super) struct Desk {
    pub(super) manage: Manage,
    /// Who may transfer every zone.
    pub(super) transfer_allow: Prefixes,
    /// How many transfers there may be at once.
    pub(super) places: Arc<Places>,
}

impl Asks for Desk {
    fn notify(&self, asked: &Asked<'_>, _: Option<Serial>) -> Rcode {
        self.manage.maintain.notified(&asked.zone, asked.from.ip(), asked.key.as_ref())
    }

    fn update(&self, asked: &Asked<'_>, unsigned: bool) -> Told {
        let sender = match &asked.key {
            Some(key) => Sender::Key(key),
            None if unsigned => Sender::Listed,
            None => return Rcode::REFUSED.into(),
        };
        let update::Reply { rcode, why } =
            update::update(&self.manage, sender, &asked.zone, asked.message);
        Told { rcode, why }
    }

    fn transfer(
        &self,
        asked: &Asked<'_>,
        since: Option<Serial>,
    ) -> Result<Box<dyn Messages>, Rcode> {
        let from = asked.from.ip();
        let may = self.transfer_allow.contains(from)
            || acl::may_transfer(&self.manage, &asked.zone, from, asked.key.as_ref())
                .map_err(|_| Rcode::SERVFAIL)?;
        if !may {
            let (zone, key) = (&asked.zone, asked.key.as_ref().map(ToString::to_string));
            tracing::info!(%zone, key, "a transfer of {zone} was refused: no list allows it");
            return Err(Rcode::REFUSED);
        }
        let place = self.places.take(from).ok_or_else(|| {
            tracing::warn!(zone = %asked.zone, "a transfer was refused: too many at once");
            Rcode::REFUSED
        })?;
        transfer::messages(&self.manage.maintain, asked, since, place)
    }
}
