//! What an order leaves when it is applied: what became of it, what would undo it, and what it asked for.
//!
//! None of it changes any more, so it is one value, and one row of the store for most orders. What was
//! there before stands apart where whole zones went or were exchanged; and the items of an order that
//! had to wait do, for they were there before it was applied.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::item::Item;
use super::kept::{ORDER_ITEMS, Order};
use super::receipt::Outcome;
use super::revert::Undo;
use crate::manage::blob::{self, Which};
use crate::manage::fault::Stop;
use crate::manage::id::OrderId;
use crate::store::{Rows, Tx};

#[derive(Serialize, Deserialize)]
struct Left<'a> {
    outcome: Outcome,
    /// None while it stands apart.
    undo: Option<Undo>,
    /// None while they stand apart.
    items: Option<Cow<'a, [Item]>>,
}

/// Keeps what an order left that was applied now.
pub(super) fn put(
    tx: &mut Tx<'_>,
    order: &Order,
    items: &[Item],
    outcome: Outcome,
    undo: Undo,
) -> Result<(), Stop> {
    let id = order.id.octets();
    let (undo, apart) = if undo.is_small() { (Some(undo), None) } else { (None, Some(undo)) };
    if let Some(undo) = apart {
        blob::put(tx, id, Which::Undo, &undo)?;
    }
    let items = (!order.history.has_waited()).then_some(Cow::Borrowed(items));
    // An order is applied once.
    blob::put_first(tx, id, Which::Left, &Left { outcome, undo, items })?;
    Ok(())
}

/// Keeps the outcome of an order that was not applied.
pub(super) fn put_unapplied(tx: &mut Tx<'_>, id: OrderId, outcome: &Outcome) -> Result<(), Stop> {
    blob::put(tx, id.octets(), Which::Outcome, outcome)
}

/// Keeps the items of an order that is not applied, or not yet.
pub(super) fn put_items(tx: &mut Tx<'_>, id: OrderId, items: &[Item]) -> Result<(), Stop> {
    for (n, item) in (0..).zip(items) {
        tx.put(&ORDER_ITEMS, &(id, n), item)?;
    }
    Ok(())
}

fn left(rows: &impl Rows, id: OrderId) -> Result<Option<Left<'static>>, Stop> {
    blob::get(rows, id.octets(), Which::Left)
}

/// What became of an order; nothing while it is open.
pub(super) fn outcome(rows: &impl Rows, id: OrderId) -> Result<Outcome, Stop> {
    match left(rows, id)? {
        Some(left) => Ok(left.outcome),
        None => Ok(blob::get(rows, id.octets(), Which::Outcome)?.unwrap_or_default()),
    }
}

/// What would undo an order, if it was applied.
pub(super) fn undo(rows: &impl Rows, id: OrderId) -> Result<Option<Undo>, Stop> {
    match left(rows, id)?.and_then(|left| left.undo) {
        Some(undo) => Ok(Some(undo)),
        None => blob::get(rows, id.octets(), Which::Undo),
    }
}

/// The items of an order, in their order.
pub(super) fn items(rows: &impl Rows, id: OrderId) -> Result<Vec<Item>, Stop> {
    if let Some(items) = left(rows, id)?.and_then(|left| left.items) {
        return Ok(items.into_owned());
    }
    let found = rows.scan(&ORDER_ITEMS, &id, None, usize::MAX)?;
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// Brings an order that was applied at once into the rows in which older releases kept it.
#[cfg(test)]
pub(in crate::manage) fn keep_as_before(tx: &mut Tx<'_>, id: OrderId) -> Result<(), Stop> {
    use super::confirm::CONFIRMS;
    use super::kept::ORDERS;
    use crate::store::{Raw, Table, Value};

    const OLD: Table<OrderId, Raw> = Table::new("orders", *b"od");
    let Left { outcome, undo, items } = left(&*tx, id)?.expect("it was applied");
    put_unapplied(tx, id, &outcome)?;
    blob::put(tx, id.octets(), Which::Undo, &undo.expect("it changed no whole zones"))?;
    put_items(tx, id, &items.expect("it was applied at once"))?;
    blob::delete(tx, id.octets(), Which::Left)?;
    let mut order = tx.get(&ORDERS, &id)?.expect("there is such an order");
    if let Some(confirm) = order.confirm.take() {
        tx.put(&CONFIRMS, &id, &confirm)?;
    }
    let mut octets = Vec::new();
    order.pack(&mut octets);
    octets.pop();
    Ok(tx.put(&OLD, &id, &Raw(octets))?)
}
