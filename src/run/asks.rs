//! What DNS messages ask of the management plane.

use std::sync::Arc;

use super::transfer::{self, End, Places};
use crate::manage::Manage;
use crate::manage::change::update::{self, Sender};
use crate::manage::holding::acl;
use crate::serve::acl::Caller;
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
    fn notify(&self, asked: &Asked<'_>, _: Option<Serial>) -> Told {
        self.manage.maintain.notified(&asked.zone, asked.from.ip(), asked.key.as_ref())
    }

    fn update(&self, asked: &Asked<'_>, unsigned: bool) -> Told {
        let Some(sender) = sender(asked, unsigned) else { return Rcode::REFUSED.into() };
        told(update::update(&self.manage, sender, &asked.zone, asked.message))
    }

    fn update_all(&self, all: &[(Asked<'_>, bool)]) -> Vec<Told> {
        let requests = all.iter().map(|(asked, unsigned)| {
            let sender = sender(asked, *unsigned)?;
            Some(update::Request { sender, zone: &asked.zone, message: asked.message })
        });
        let requests: Vec<Option<update::Request<'_>>> = requests.collect();
        let known: Vec<update::Request<'_>> = requests.iter().flatten().copied().collect();
        let mut replies = update::update_all(&self.manage, &known).into_iter();
        let reply = |request: Option<_>| request.and_then(|_| replies.next()).map(told);
        requests.into_iter().map(reply).map(|told| told.unwrap_or_else(refused)).collect()
    }

    fn transfer(
        &self,
        asked: &Asked<'_>,
        since: Option<Serial>,
    ) -> Result<Box<dyn Messages>, Rcode> {
        let from = asked.from.ip();
        let caller = Caller { address: from, key: asked.key.as_ref(), pin: asked.pin.as_ref() };
        let may = self.transfer_allow.contains(from)
            || acl::may_transfer(&self.manage, &asked.zone, caller).map_err(|_| Rcode::SERVFAIL)?;
        if !may {
            let (zone, key) = (&asked.zone, asked.key.as_ref().map(ToString::to_string));
            tracing::info!(%zone, key, "a transfer of {zone} was refused: no list allows it");
            self.places.tally.count(End::Refused, 0);
            return Err(Rcode::REFUSED);
        }
        let place = self.places.take(from).ok_or_else(|| {
            tracing::warn!(zone = %asked.zone, "a transfer was refused: too many at once");
            self.places.tally.count(End::Busy, 0);
            Rcode::REFUSED
        })?;
        transfer::messages(&self.manage.maintain, asked, since, place)
    }
}

/// Who sends an update, if it is anybody who may.
fn sender<'a>(asked: &'a Asked<'_>, unsigned: bool) -> Option<Sender<'a>> {
    match &asked.key {
        Some(key) => Some(Sender::Key(key)),
        None => unsigned.then_some(Sender::Listed),
    }
}

fn told(reply: update::Reply) -> Told {
    let update::Reply { rcode, why } = reply;
    Told { rcode, why }
}

fn refused() -> Told {
    Rcode::REFUSED.into()
}
