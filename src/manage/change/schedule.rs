//! Orders that wait for their time, and orders that somebody stopped for a while.
//!
//! An order placed with `not_before` is approved like any other and then `scheduled`. When its time
//! has come it takes the step that others take at once: the same checks, the same door.
//!
//! Promises: nothing is applied before its time, nor while it is `on_hold`. What the author's
//! organisation may no longer do, and a zone whose changes are stopped, put a due order on hold
//! instead of losing it.
//!
//! Does not: look at the clock by itself. Whoever keeps the server running calls [`apply_due`].

use std::ops::Bound;

use super::apply::{self, Go};
use super::approval::{self, Decline};
use super::item::Item;
use super::kept::{self, Hold, ORDER_HOLDS, ORDER_TIMES, ORDERS, ORDERS_DUE, Order, step};
use super::left;
use super::order::{self, OrderError};
use super::receipt::{self, OrderView};
use super::state::State;
use crate::maintain::Door;
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::event::Kind as Happened;
use crate::manage::fault::{Problem, Stop};
use crate::manage::id::OrderId;
use crate::manage::idempotency;
use crate::manage::limits::{self, NOT_BEFORE_S_MAX, ORDER_STEPS_MAX};
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};

/// Due orders looked up at a time.
const DUE_MAX: usize = 100;

/// Checks the moment an order is placed for.
pub(super) fn time_fits(not_before: Option<Timestamp>) -> Result<(), OrderError> {
    let last = Timestamp::now().plus_s(NOT_BEFORE_S_MAX);
    if not_before.is_none_or(|at| at <= last) {
        return Ok(());
    }
    let text = format!("limit not_before_s is {NOT_BEFORE_S_MAX}: choose a moment before {last}");
    Err(OrderError::Invalid(vec![Problem::at("not_before", "limit", text)]))
}

/// Whether the time of an order has not come yet.
pub(super) fn is_early(rows: &impl Rows, id: OrderId) -> Result<bool, Stop> {
    Ok(rows.get(&ORDER_TIMES, &id)?.is_some_and(|at| at > Timestamp::now()))
}

/// Lets an approved order wait for its time.
pub(super) fn wait(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
) -> Result<(), OrderError> {
    step(order, State::Scheduled)?;
    make_due(tx, order.id)?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderScheduled, order, items, None)?;
    Ok(())
}

fn make_due(tx: &mut Tx<'_>, id: OrderId) -> Result<(), Stop> {
    let at = tx.get(&ORDER_TIMES, &id)?.unwrap_or_default();
    Ok(tx.put(&ORDERS_DUE, &(at.0, id), &())?)
}

/// Stops an order that waits, for approval or for its time, until it is [released](release).
///
/// # Errors
///
/// [`OrderError`]; the order is as before.
pub fn hold(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    why: Decline,
) -> Result<OrderView, OrderError> {
    approval::comment_fits(why.comment.as_deref())?;
    let Some(why) = why.comment.filter(|text| !text.trim().is_empty()) else {
        let text = "an order on hold needs a comment: tell the author why";
        return Err(OrderError::Invalid(vec![Problem::at("comment", "comment", text)]));
    };
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let mut order = reached(tx, context, id)?;
            limits::at_most("order_steps", ORDER_STEPS_MAX, order.history.steps().len() + 2)?;
            put_on_hold(tx, context, &mut order, why)
        })
    })?;
    Ok(receipt::get(manage, context, id)?)
}

fn put_on_hold(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
    why: String,
) -> Result<OrderId, OrderError> {
    step(order, State::OnHold)?;
    let at = tx.get(&ORDER_TIMES, &order.id)?.unwrap_or_default();
    tx.delete(&ORDERS_DUE, &(at.0, order.id))?;
    let hold = Hold { by: context.actor.user(), at: Timestamp::now(), why };
    tx.put(&ORDER_HOLDS, &order.id, &hold)?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderHeld, order, &[], None)?;
    Ok(order.id)
}

/// The order, if the one who acts may stop it.
fn reached(rows: &impl Rows, context: &Context, id: OrderId) -> Result<Order, OrderError> {
    let order = kept::fetch(rows, context, id)?;
    context.may(Permission::OrderHold)?;
    match access::reaches(rows, context, order.org)? {
        true => Ok(order),
        false => Err(NoAccess::Forbidden(Permission::OrderHold).into()),
    }
}

/// Lets an order go on from where it was stopped; one whose time has come meanwhile is applied with
/// the next that are due.
///
/// # Errors
///
/// [`OrderError`]; the order is as before.
pub fn release(manage: &Manage, context: &Context, id: OrderId) -> Result<OrderView, OrderError> {
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let mut order = reached(tx, context, id)?;
            let state = order.state();
            let back = order.history.before().filter(|_| state == State::OnHold);
            let back = back.ok_or(OrderError::NotIn { state, needed: State::OnHold.word() })?;
            step(&mut order, back)?;
            if back == State::Scheduled {
                make_due(tx, id)?;
            }
            tx.delete(&ORDER_HOLDS, &id)?;
            tx.put(&ORDERS, &id, &order)?;
            receipt::record(tx, context, Happened::OrderReleased, &order, &[], None)?;
            Ok::<_, OrderError>(id)
        })
    })?;
    Ok(receipt::get(manage, context, id)?)
}

/// Applies the orders whose time has come by `now`, the earliest first; returns how many it looked at.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store takes no writes; the rest is still due.
pub fn apply_due(manage: &Manage, system: &Context, now: Timestamp) -> Result<usize, OrderError> {
    let end = Bound::Included((now.0, OrderId::from_octets([u8::MAX; 16])));
    let due =
        manage.store.read(|rows| rows.range(&ORDERS_DUE, (Bound::Unbounded, end), DUE_MAX))?;
    for ((_, id), ()) in &due {
        match order::finish(manage, system, |door| go(door, system, *id)) {
            Ok(_) => {}
            Err(OrderError::Stop(Stop::Store(why))) => {
                return Err(OrderError::Stop(Stop::Store(why)));
            }
            // Whatever else it is, trying again each time would not mend it: a person has to look.
            Err(error) => {
                tracing::warn!(order = %id, "order {id} was due and is on hold: {error}");
                manage.transact(|tx| stop(tx, system, *id, error.to_string()))?;
            }
        }
    }
    Ok(due.len())
}

/// Applies one due order, unless something stops it by now.
fn go(door: &mut Door<'_, '_>, system: &Context, id: OrderId) -> Result<OrderId, OrderError> {
    let order = door.tx().get(&ORDERS, &id)?.ok_or(NoAccess::NotFound)?;
    approval::author_may_still(door.tx(), &order)?;
    let items = left::items(door.tx(), id)?;
    if let Err(against) = apply::through(door, &items, Go::Try)?
        && let Some(held) = against.problems.iter().find(|problem| problem.rule == "held")
    {
        return stop(door.tx(), system, id, held.text.clone());
    }
    let mut order = order;
    kept::close(door.tx(), &order, &items)?;
    if let Some(problems) = order::apply(door, system, &mut order, &items)? {
        approval::fail(door.tx(), system, &mut order, &items, problems)?;
    }
    Ok(id)
}

fn stop(
    tx: &mut Tx<'_>,
    system: &Context,
    id: OrderId,
    why: String,
) -> Result<OrderId, OrderError> {
    let mut order = tx.get(&ORDERS, &id)?.ok_or(NoAccess::NotFound)?;
    put_on_hold(tx, system, &mut order, why)
}
