//! After the commit: this server is asked for the new answers, and the order says when they came.
//!
//! Promises: an order that was applied becomes `served` once the answers are seen, if not right
//! away then when somebody looks again ([`Lookout`], and [`resume`] at a start). Whether they are seen
//! changes nothing that is served.

use std::collections::BTreeSet;

use super::draft;
use super::kept::{ORDERS, ORDERS_UNSERVED, Order};
use super::receipt::{self, Outcome};
use super::refusal::OrderError;
use super::state::State;
use crate::maintain::rows as zones;
use crate::maintain::{AppliedZone, ChangedRrSet};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::blob::{self, Which};
use crate::manage::event::Kind as Happened;
use crate::manage::fault::Stop;
use crate::manage::id::OrderId;
use crate::manage::time::Timestamp;
use crate::store::Rows;
use crate::wire::{RrSet, Serial};

/// Asks for the new answers of an order and stores when they came; does nothing for one that was not
/// applied.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store takes no writes. Answers that do not come are no error: the
/// order stays applied.
pub(super) fn settle(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    zones: &[AppliedZone],
    durable_at: Timestamp,
) -> Result<(), OrderError> {
    if !manage.store.read(|rows| rows.contains(&ORDERS_UNSERVED, &id))? {
        return Ok(());
    }
    let seen = seen(manage, zones, durable_at);
    manage.transact(|tx| {
        let Some(mut order) = tx.get(&ORDERS, &id)? else { return Ok(()) };
        if order.state() != State::Applied || !tx.contains(&ORDERS_UNSERVED, &id)? {
            return Ok(());
        }
        order.durable_at = order.durable_at.or(Some(durable_at));
        if let Some(seen) = seen {
            served(&mut order, seen)?;
            tx.delete(&ORDERS_UNSERVED, &id)?;
            receipt::record(tx, context, Happened::OrderServed, &order, &[], None)?;
            super::confirm::finish(tx, context, &mut order)?;
        }
        Ok(tx.put(&ORDERS, &id, &order)?)
    })
}

/// When the new answers came; at once when nothing changed, never when nobody can be asked.
fn seen(manage: &Manage, zones: &[AppliedZone], durable_at: Timestamp) -> Option<Timestamp> {
    if zones.iter().all(|zone| zone.from == zone.to) {
        return Some(durable_at);
    }
    match manage.maintain.self_check(zones) {
        Ok(seen) => seen.map(Timestamp::from),
        Err(why) => {
            tracing::warn!(%why, "an order is applied, but its answers were not seen");
            None
        }
    }
}

fn served(order: &mut Order, at: Timestamp) -> Result<(), OrderError> {
    let gone = order.history.go(State::Served, at);
    gone.map_err(|state| OrderError::NotIn { state, needed: State::Applied.word() })
}

/// Continues what was under way when the server stopped: orders that were applied and whose
/// answers were not yet seen. Call it once this server answers. Returns how many are served now.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store takes no writes.
pub fn resume(manage: &Manage, context: &Context) -> Result<usize, OrderError> {
    let mut served = 0;
    for id in unserved(manage)? {
        served += usize::from(again(manage, context, id)?);
    }
    Ok(served)
}

/// Orders that are looked at once more and again not seen before a [`look`](Lookout::look) ends: each
/// may take seconds.
const UNSEEN_MAX: usize = 4;

/// Looks again, from time to time, for the answers of orders that were applied.
#[derive(Debug, Default)]
pub struct Lookout {
    /// Those that had not been seen at the last look; whoever placed a younger one still waits for
    /// its answers.
    old: Vec<OrderId>,
}

impl Lookout {
    /// Looks for what was not seen at the last look either; returns how many are served now.
    ///
    /// # Errors
    ///
    /// [`OrderError::Stop`] when the store takes no writes.
    pub fn look(&mut self, manage: &Manage, context: &Context) -> Result<usize, OrderError> {
        let now = unserved(manage)?;
        let (mut served, mut unseen) = (0, Vec::new());
        let old = std::mem::take(&mut self.old).into_iter();
        let mut old = old.filter(|id| now.binary_search(id).is_ok());
        while unseen.len() < UNSEEN_MAX
            && let Some(id) = old.next()
        {
            match again(manage, context, id)? {
                true => served += 1,
                false => unseen.push(id),
            }
        }
        // The next look begins with those that were not asked for now.
        self.old = old.chain(unseen).collect();
        let known: BTreeSet<OrderId> = self.old.iter().copied().collect();
        self.old.extend(now.iter().filter(|id| !known.contains(id)));
        Ok(served)
    }
}

fn unserved(manage: &Manage) -> Result<Vec<OrderId>, Stop> {
    let open = manage.store.read(|rows| rows.range(&ORDERS_UNSERVED, .., usize::MAX))?;
    Ok(open.into_iter().map(|(id, ())| id).collect())
}

/// Asks once more for the answers of an order; whether it is served now.
fn again(manage: &Manage, context: &Context, id: OrderId) -> Result<bool, OrderError> {
    let zones = manage.store.read(|rows| zones_of(rows, id))?;
    settle(manage, context, id, &zones, Timestamp::now())?;
    Ok(!manage.store.read(|rows| rows.contains(&ORDERS_UNSERVED, &id))?)
}

/// What to ask for to see an order: of each zone what stands there now, for later orders have
/// perhaps changed it again.
fn zones_of(rows: &impl Rows, id: OrderId) -> Result<Vec<AppliedZone>, Stop> {
    let outcome: Outcome = blob::get(rows, id.octets(), Which::Outcome)?.unwrap_or_default();
    let mut applied = Vec::with_capacity(outcome.zones.len());
    for receipt in outcome.zones {
        let zone = zones::zone(rows, &receipt.zone)?;
        let mut changed = Vec::new();
        if let (Some(zone), Some((owner, rtype))) = (&zone, receipt.shows) {
            let now = draft::live(rows, zone, &owner, rtype)?;
            let after = now
                .map(|value| RrSet::new(owner.clone(), rtype, value.ttl, value.rdatas().to_vec()));
            changed.push(ChangedRrSet { owner, rtype, before: None, after });
        }
        applied.push(AppliedZone {
            apex: receipt.zone,
            zone: zone.as_ref().map_or(0, |zone| zone.id),
            from: receipt.serial_from.map(Serial),
            to: zone.map(|zone| zone.serial),
            changed_count: changed.len(),
            changed,
        });
    }
    Ok(applied)
}
