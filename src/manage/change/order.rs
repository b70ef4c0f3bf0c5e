//! Orders: what was placed, who may see it, and where it stands.
//!
//! An order nobody must approve is placed, approved and applied in one record of the log; others wait.
//! Items no longer change once placed; their digest is what an approval binds to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::apply::{self, Against, ConflictView, Go};
use super::basket;
use super::item::{self, Holder, Item};
use super::kept::{self, Consent, ORDER_NUMBERS, ORDER_TIMES, ORDERS, ORDERS_OF};
use super::kept::{ORDERS_UNSERVED, ORDERS_WAITING, Order, Terms, step};
use super::left;
use super::receipt::{self, Outcome};
use super::refusal::{note_fits, refused};
use super::schedule;
use super::state::State;
use crate::maintain::{Applied, Committed, Door};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{Digest, Kind as Happened};
use crate::manage::fault::Problem;
use crate::manage::holding::zone as holding;
use crate::manage::id::{ItemId, OrderId, UserId};
use crate::manage::idempotency;
use crate::manage::people::organisation::ChangeMode;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};

pub use super::kept::Origin;
pub use super::refusal::OrderError;

/// How to place a basket.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Place {
    /// The items to place; all if left out.
    pub items: Option<Vec<ItemId>>,
    pub note: Option<String>,
    /// The digest of the basket that was looked at; places only that.
    pub digest: Option<String>,
    /// Not applied before this moment; as soon as it may be if left out.
    #[schema(value_type = Option<String>, example = "2026-01-31T23:00:00Z")]
    pub not_before: Option<Timestamp>,
}

/// Places one's own basket: the items are frozen, and applied unless somebody must approve them.
///
/// An order whose base is stale is placed and ends in `conflict`; its items can be
/// [returned](super::approval::return_to_basket).
///
/// # Errors
///
/// [`OrderError`]; the basket is as before. Every rule the items break comes with
/// [`OrderError::Invalid`].
pub fn place(
    manage: &Manage,
    context: &Context,
    place: Place,
) -> Result<receipt::OrderView, OrderError> {
    context.may(Permission::OrderPlace)?;
    let user = context.actor.user().ok_or(NoAccess::Forbidden(Permission::OrderPlace))?;
    note_fits(place.note.as_deref())?;
    schedule::time_fits(place.not_before)?;
    finish(manage, context, |door| {
        holding::may_change(door.tx(), context)?;
        let items = chosen(door.tx(), user, &place)?;
        for item in &items {
            basket::hand_over(door.tx(), user, item)?;
        }
        let (note, not_before) = (place.note.clone(), place.not_before);
        let terms = Terms { note, not_before, ..Terms::of(Origin::Basket) };
        put_new(door, context, items, terms)
    })
}

fn chosen(rows: &impl Rows, user: UserId, place: &Place) -> Result<Vec<Item>, OrderError> {
    let mut items = basket::items_of(rows, user)?;
    if let Some(chosen) = &place.items {
        if chosen.iter().any(|id| !items.iter().any(|item| item.id == *id)) {
            return Err(NoAccess::NotFound.into());
        }
        items.retain(|item| chosen.contains(&item.id));
    }
    let digest = crate::manage::event::hex(&item::digest_of_all(rows, &items)?);
    match place.digest.as_ref().is_none_or(|looked_at| *looked_at == digest) {
        true => Ok(items),
        false => Err(OrderError::DigestDiffers),
    }
}

/// Runs `make` with the door open, once for an idempotency key; waits until the order is served.
pub(super) fn finish(
    manage: &Manage,
    context: &Context,
    make: impl FnOnce(&mut Door<'_, '_>) -> Result<OrderId, OrderError>,
) -> Result<receipt::OrderView, OrderError> {
    let done = manage.maintain.commit(|door| {
        if let Some(id) = idempotency::earlier::<OrderId>(door.tx(), context)? {
            return Ok((id, false));
        }
        let id = make(door)?;
        idempotency::keep(door.tx(), context, &id)?;
        Ok((id, true))
    });
    let Committed { value: (id, fresh), zones, durable_at, .. } = done.map_err(refused)?;
    if fresh {
        super::settle::settle(manage, context, id, &zones, durable_at.into())?;
    }
    Ok(super::receipt::get(manage, context, id)?)
}

/// Puts a new order, and applies it unless somebody must say yes or its time has not come.
pub(super) fn put_new(
    door: &mut Door<'_, '_>,
    context: &Context,
    items: Vec<Item>,
    terms: Terms,
) -> Result<OrderId, OrderError> {
    let (id, untold) = put_untold(door, context, items, terms)?;
    if let Some(untold) = untold {
        receipt::record_applied(door.tx(), context, &[untold])?;
    }
    Ok(id)
}

/// As [`put_new`]; if the order is applied, its event is left to the caller, who may have more of them.
pub(super) fn put_untold(
    door: &mut Door<'_, '_>,
    context: &Context,
    items: Vec<Item>,
    terms: Terms,
) -> Result<(OrderId, Option<Untold>), OrderError> {
    if items.is_empty() {
        return Err(OrderError::Empty);
    }
    let not_before = terms.not_before.filter(|at| *at > Timestamp::now());
    let consent = terms.consent;
    let digests = item::digests_of(door.tx(), &items)?;
    let mut order = kept::new(door.tx(), context, (&items, &digests), terms)?;
    let wanted = match consent {
        Consent::AsChosen => order.mode == ChangeMode::Approval,
        Consent::Given => false,
        Consent::Needed => true,
    };
    let needs_approval = wanted || order.nests && context.may(Permission::ZoneNest).is_err();
    let waits = needs_approval || not_before.is_some();
    if waits {
        left::put_items(door.tx(), order.id, &items)?;
    }
    for (n, item) in (0..).zip(&items).filter(|_| waits) {
        let holder = Holder { user: order.placed_by, org: context.org, order: Some(order.id), n };
        item::open(door.tx(), item, holder)?;
    }
    door.tx().put(&ORDER_NUMBERS, &order.number, &order.id)?;
    let (org, author) = (order.org, order.author.0);
    let concerned = items.iter().map(|item| item.org).chain([org, author]);
    for org in concerned.collect::<BTreeSet<_>>() {
        door.tx().put(&ORDERS_OF, &(org, order.id), &())?;
    }
    if !waits {
        step(&mut order, State::Approved)?;
        let id = order.id;
        return match apply_untold(door, context, &mut order, &items)? {
            Became::Applied(applied) => Ok((id, Some(Untold { order, digests, items, applied }))),
            Became::InConflict => {
                left::put_items(door.tx(), id, &items)?;
                Ok((id, None))
            }
            Became::Nothing(problems) => Err(OrderError::Invalid(problems)),
        };
    }
    match apply::through(door, &items, Go::Try)? {
        Ok(_) => {
            let tx = door.tx();
            if let Some(at) = not_before {
                tx.put(&ORDER_TIMES, &order.id, &at)?;
            }
            tx.put(&ORDERS_WAITING, &(org, order.id), &())?;
            if needs_approval {
                step(&mut order, State::AwaitingApproval)?;
                tx.put(&ORDERS, &order.id, &order)?;
                receipt::record(tx, context, Happened::OrderPlaced, &order, &items, None)?;
            } else {
                step(&mut order, State::Approved)?;
                schedule::wait(tx, context, &mut order, &items)?;
            }
        }
        Err(Against { problems, .. }) if !problems.is_empty() => {
            return Err(OrderError::Invalid(problems));
        }
        Err(Against { conflicts, .. }) => {
            end_in_conflict(door.tx(), context, &mut order, &items, conflicts)?
        }
    }
    Ok((order.id, None))
}

/// An order that was applied, and what its event has to say.
pub(super) struct Untold {
    pub order: Order,
    pub items: Vec<Item>,
    pub digests: Vec<Digest>,
    pub applied: Applied,
}

/// What became of an approved order at the door.
enum Became {
    Applied(Applied),
    InConflict,
    /// It breaks these rules.
    Nothing(Vec<Problem>),
}

/// Applies an approved order; it ends applied or in conflict.
///
/// Returns the broken rules if there are any: then nothing was applied, and nothing of the order put;
/// what becomes of it is the caller's to say.
pub(super) fn apply(
    door: &mut Door<'_, '_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
) -> Result<Option<Vec<Problem>>, OrderError> {
    match apply_untold(door, context, order, items)? {
        Became::Applied(applied) => {
            let (kind, applied) = (Happened::OrderApplied, Some(&applied));
            receipt::record(door.tx(), context, kind, order, items, applied)?;
            Ok(None)
        }
        Became::InConflict => Ok(None),
        Became::Nothing(problems) => Ok(Some(problems)),
    }
}

/// As [`apply`], its event left to the caller.
fn apply_untold(
    door: &mut Door<'_, '_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
) -> Result<Became, OrderError> {
    step(order, State::Applying)?;
    if order.history.has_waited() && item::digest_of_all(door.tx(), items)? != order.digest {
        return Err(OrderError::DigestDiffers);
    }
    let undo = super::revert::undo_of_zones(door.tx(), items)?;
    door.set_cause(format!("order {}", order.id));
    let applied = match apply::through(door, items, Go::Apply)? {
        Ok(applied) => applied,
        Err(Against { problems, .. }) if !problems.is_empty() => {
            return Ok(Became::Nothing(problems));
        }
        Err(Against { conflicts, .. }) => {
            end_in_conflict(door.tx(), context, order, items, conflicts)?;
            return Ok(Became::InConflict);
        }
    };
    step(order, State::Applied)?;
    let tx = door.tx();
    let undo = super::revert::undo_of(&applied, items, undo);
    left::put(tx, order, items, Outcome::applied(&applied), undo)?;
    if let Some(reverted) = order.reverts {
        super::revert::mark_reverted(tx, reverted, order.id)?;
    }
    super::confirm::begin(tx, order, &applied)?;
    tx.put(&ORDERS_UNSERVED, &order.id, &())?;
    tx.put(&ORDERS, &order.id, order)?;
    Ok(Became::Applied(applied))
}

fn end_in_conflict(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
    conflicts: Vec<ConflictView>,
) -> Result<(), OrderError> {
    step(order, State::Conflict)?;
    left::put_unapplied(tx, order.id, &Outcome::in_conflict(conflicts))?;
    kept::close(tx, order, items)?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderRefused, order, items, None)?;
    Ok(())
}
