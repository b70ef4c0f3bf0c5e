//! Approval: the second pair of eyes, and the ways an order ends without being applied.

use serde::{Deserialize, Serialize};

use super::basket;
use super::draft;
use super::item::{self, Body, Draft, Item};
use super::kept::{self, Approval, ORDERS, Order, step};
use super::left;
use super::order::{self, OrderError};
use super::receipt::{self, OrderView, Outcome};
use super::schedule;
use super::state::State;
use crate::maintain::rows as zones;
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission, Role};
use crate::manage::event::{Kind as Happened, hex};
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::zone as holding;
use crate::manage::id::{ItemId, OrderId};
use crate::manage::idempotency;
use crate::manage::limits::{self, COMMENT_CHARS_MAX};
use crate::manage::people::organisation::ORGS;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};

/// How an approver says yes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approve {
    /// The digest of the order that was looked at; approves only that.
    pub digest: Option<String>,
    pub comment: Option<String>,
}

/// How an approver says no, or an author takes an order back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decline {
    /// Why. An approver owes the author a reason.
    pub comment: Option<String>,
}

/// Approves an order and applies it, or lets it wait for its time: state, change, event and receipt
/// are one record of the log.
///
/// What it changes may have moved on meanwhile: then it ends in `conflict`, or in `failed` when it
/// breaks a rule by now, and nothing is applied.
///
/// # Errors
///
/// [`OrderError`]; the order is as before.
pub fn approve(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    approve: Approve,
) -> Result<OrderView, OrderError> {
    comment_fits(approve.comment.as_deref())?;
    order::finish(manage, context, |door| {
        let (mut order, items) = waiting(door.tx(), context, id)?;
        must_not_be_author(door.tx(), context, &order, &items)?;
        author_may_still(door.tx(), &order)?;
        if approve.digest.as_ref().is_some_and(|seen| *seen != hex(&order.digest)) {
            return Err(OrderError::DigestDiffers);
        }
        step(&mut order, State::Approved)?;
        let (by, digest, comment) = (context.actor.user(), order.digest, approve.comment.clone());
        order.approvals.push(Approval { by, at: Timestamp::now(), digest, comment });
        if schedule::is_early(door.tx(), id)? {
            schedule::wait(door.tx(), context, &mut order, &items)?;
            return Ok(id);
        }
        kept::close(door.tx(), &order, &items)?;
        if let Some(problems) = order::apply(door, context, &mut order, &items)? {
            fail(door.tx(), context, &mut order, &items, problems)?;
        }
        Ok(id)
    })
}

/// The order while it waits, if the one who acts may approve all of it.
fn waiting(
    rows: &impl Rows,
    context: &Context,
    id: OrderId,
) -> Result<(Order, Vec<Item>), OrderError> {
    let order = kept::fetch(rows, context, id)?;
    context.may(Permission::OrderApprove)?;
    let items = left::items(rows, id)?;
    for org in draft::orgs_of(items.iter().map(|item| &item.org)) {
        if !access::reaches(rows, context, org)? {
            return Err(NoAccess::Forbidden(Permission::OrderApprove).into());
        }
    }
    if order.nests {
        context.may(Permission::ZoneNest)?;
    }
    match order.state() {
        State::AwaitingApproval => Ok((order, items)),
        state => Err(OrderError::NotIn { state, needed: State::AwaitingApproval.word() }),
    }
}

/// Four eyes: whoever placed the order, with whichever token, does not approve it.
fn must_not_be_author(
    rows: &impl Rows,
    context: &Context,
    order: &Order,
    items: &[Item],
) -> Result<(), OrderError> {
    if order.placed_by.is_none() || order.placed_by != context.actor.user() {
        return Ok(());
    }
    for org in draft::orgs_of(items.iter().map(|item| &item.org)) {
        if rows.get(&ORGS, &org)?.is_none_or(|org| org.four_eyes) {
            return Err(OrderError::OwnOrder);
        }
    }
    Ok(())
}

/// What was switched off for the author's organisation since the order was placed stops it too.
pub(super) fn author_may_still(rows: &impl Rows, order: &Order) -> Result<(), OrderError> {
    match order.author {
        (_, Role::Operator) => Ok(()),
        (org, _) => Ok(access::may_change_dns(rows, org)?),
    }
}

/// Ends an order that breaks rules by now.
pub(super) fn fail(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
    problems: Vec<Problem>,
) -> Result<(), OrderError> {
    step(order, State::Failed)?;
    left::put_unapplied(tx, order.id, &Outcome::failed(problems))?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderRefused, order, items, None)?;
    Ok(())
}

/// Rejects an order that waits. Its items can be [returned](return_to_basket).
///
/// # Errors
///
/// [`OrderError`]; the order is as before.
pub fn reject(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    decline: Decline,
) -> Result<OrderView, OrderError> {
    comment_fits(decline.comment.as_deref())?;
    if decline.comment.as_ref().is_none_or(|comment| comment.trim().is_empty()) {
        let text = "a rejection needs a comment: tell the author why";
        return Err(OrderError::Invalid(vec![Problem::at("comment", "comment", text)]));
    }
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let (order, items) = waiting(tx, context, id)?;
            end(tx, context, order, &items, (State::Rejected, Happened::OrderRejected), decline)
        })
    })?;
    Ok(receipt::get(manage, context, id)?)
}

/// Takes an order back before it is applied: its author, or who may cancel the orders of others.
///
/// # Errors
///
/// [`OrderError`]; the order is as before.
pub fn cancel(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    decline: Decline,
) -> Result<OrderView, OrderError> {
    comment_fits(decline.comment.as_deref())?;
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let order = kept::fetch(tx, context, id)?;
            if order.placed_by.is_none() || order.placed_by != context.actor.user() {
                context.may(Permission::OrderCancel)?;
                if !access::reaches(tx, context, order.org)? {
                    return Err(NoAccess::Forbidden(Permission::OrderCancel).into());
                }
            }
            let items = left::items(tx, id)?;
            end(tx, context, order, &items, (State::Cancelled, Happened::OrderCancelled), decline)
        })
    })?;
    Ok(receipt::get(manage, context, id)?)
}

fn end(
    tx: &mut Tx<'_>,
    context: &Context,
    mut order: Order,
    items: &[Item],
    (state, kind): (State, Happened),
    decline: Decline,
) -> Result<OrderId, OrderError> {
    step(&mut order, state)?;
    order.ended = Some((context.actor.user(), decline.comment));
    kept::close(tx, &order, items)?;
    tx.put(&ORDERS, &order.id, &order)?;
    receipt::record(tx, context, kind, &order, items, None)?;
    Ok(order.id)
}

pub(super) fn comment_fits(comment: Option<&str>) -> Result<(), OrderError> {
    let bad = comment.and_then(|text| limits::note("comment", text, COMMENT_CHARS_MAX).err());
    match bad {
        Some(why) => Err(OrderError::Invalid(vec![Problem::at("comment", "text", why)])),
        None => Ok(()),
    }
}

/// How items come back from an order that was not applied.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Return {
    /// Takes what is served now as the base: one's own wish is kept over what others did.
    pub keep_mine: bool,
}

/// What came back into the basket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Returned {
    pub items: Vec<ItemId>,
    /// How many stayed away, because the basket has something on the same RRset, the zone is gone,
    /// or what was wanted is served by now.
    pub left: u32,
}

/// Puts the items of one's own order that was not applied back into the basket, once.
///
/// # Errors
///
/// [`OrderError`]; the basket is as before.
pub fn return_to_basket(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    how: &Return,
) -> Result<Returned, OrderError> {
    context.may(Permission::OrderPlace)?;
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let mut order = kept::fetch(tx, context, id)?;
            let user = context.actor.user().ok_or(NoAccess::Forbidden(Permission::OrderPlace))?;
            if order.placed_by != Some(user) {
                return Err(NoAccess::Forbidden(Permission::OrderPlace).into());
            }
            let ended = [State::Conflict, State::Failed, State::Rejected, State::Cancelled];
            if !ended.contains(&order.state()) {
                return Err(OrderError::NotIn { state: order.state(), needed: "ended unapplied" });
            }
            if std::mem::replace(&mut order.returned, true) {
                return Err(OrderError::NotUndoable("the items are back in the basket already"));
            }
            holding::may_change(tx, context)?;
            let mut returned = Returned { items: Vec::new(), left: 0 };
            let items = left::items(tx, id)?;
            for item in &items {
                match copy(tx, context, item, how)? {
                    Some(copy) if basket::take_back(tx, context, user, &copy)? => {
                        returned.items.push(copy.id);
                    }
                    _ => returned.left += 1,
                }
            }
            tx.put(&ORDERS, &id, &order)?;
            receipt::record(tx, context, Happened::OrderReturned, &order, &items, None)?;
            Ok(returned)
        })
    })
}

/// The item anew, for the order keeps its own; none when it would be refused or do nothing.
fn copy(
    tx: &mut Tx<'_>,
    context: &Context,
    item: &Item,
    how: &Return,
) -> Result<Option<Item>, Stop> {
    let zone = zones::zone(&*tx, &item.zone)?;
    let mut body = item.body(&*tx)?;
    let mut seen_serial = item.seen_serial;
    if let (item::What::Edit { owner, rtype }, Body::Edit { base, net }) = (&item.what, &mut body) {
        let Some(zone) = &zone else { return Ok(None) };
        let now = draft::live(&*tx, zone, owner, *rtype)?;
        if how.keep_mine {
            *base = now;
            seen_serial = Some(zone.serial.0);
        }
        if net.is_nothing(base) {
            return Ok(None);
        }
    } else if how.keep_mine {
        seen_serial = zone.map(|zone| zone.serial.0);
    }
    let (zone, org, what) = (item.zone.clone(), item.org, item.what.clone());
    let draft = Draft { zone, org, what, seen_serial, body, at: String::new() };
    Item::new(tx, context.actor.user(), draft).map(Some)
}
