//! Served everywhere: an order is confirmed once every name server of its zones gave the new answers.
//!
//! The evidence is `maintain`'s; here it is kept which orders wait for which zones. When the last zone
//! of an order is everywhere the order says so, and from when on nobody can hold an old answer any
//! more: the longest TTL of what it replaced later.
//!
//! A zone that was deleted is everywhere once the secondaries that followed it no longer answer for it.
//!
//! Promises: what waits survives a restart ([`resume`]). An order is never confirmed before it is
//! served here. A zone that is not answered for keeps nobody waiting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::draft;
use super::kept::{ORDERS, Order};
use super::receipt;
use super::refusal::OrderError;
use super::revert;
use super::state::State;
use crate::maintain::rows as zones;
use crate::maintain::served::Everywhere;
use crate::maintain::{Applied, AppliedZone, Old};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::event::Kind as Happened;
use crate::manage::fault::Stop;
use crate::manage::id::OrderId;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Table, Tx};
use crate::wire::{Name, Serial, Type};

/// What an order waits for that an older release applied; of others it stands with them.
pub(super) const CONFIRMS: Table<OrderId, Confirm> = Table::new("confirms", *b"oe");
/// The orders that wait for a zone, with the serial it has to have.
const CONFIRM_ZONES: Table<(u32, OrderId), u32> = Table::new("confirm_zones", *b"ox");

/// Orders that wait for one zone and are looked at in one transaction.
const ORDERS_PER_STEP: usize = 1_000;

/// Octets at the end of a SOA that hold the TTL of negative answers.
const MINIMUM_OCTETS: usize = 4;

/// How far an order is from being served everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confirm {
    /// Zones not seen everywhere yet.
    pub zones_left: u32,
    /// Seconds an old answer may be kept by others; none when it is not known.
    pub old_ttl_s: Option<u32>,
    /// When the last zone was seen everywhere.
    pub everywhere_at: Option<Timestamp>,
}

impl Confirm {
    /// From when on no cache holds what was before.
    pub fn old_gone_at(&self) -> Option<Timestamp> {
        let (at, ttl_s) = (self.everywhere_at?, self.old_ttl_s?);
        (self.zones_left == 0).then(|| at.plus_s(ttl_s.into()))
    }
}

/// Notes what an order that is being applied waits for.
pub(super) fn begin(tx: &mut Tx<'_>, order: &mut Order, applied: &Applied) -> Result<(), Stop> {
    let mut confirm = Confirm { zones_left: 0, old_ttl_s: Some(0), everywhere_at: None };
    for zone in applied.zones.iter().filter(|zone| zone.from != zone.to) {
        let longest = old_ttl_s(tx, zone)?;
        confirm.old_ttl_s = confirm.old_ttl_s.map(|one| one.max(longest));
        confirm.zones_left += 1;
        // Of a zone that is no more the serial does not matter.
        tx.put(&CONFIRM_ZONES, &(zone.zone, order.id), &zone.to.unwrap_or(Serial(0)).0)?;
    }
    order.confirm = (confirm.zones_left > 0).then_some(confirm);
    Ok(())
}

/// Seconds that others may keep what a zone said before.
fn old_ttl_s(rows: &impl Rows, zone: &AppliedZone) -> Result<u32, Stop> {
    if zone.from.is_none() {
        return Ok(0); // nobody could have asked before
    }
    let negative_ttl_s = || match zones::by_id(rows, zone.zone)? {
        Some(row) => negative_ttl_s(rows, &row),
        None => Ok(0),
    };
    Ok(match zone.old {
        Old::Sets { ttl_s, fresh: false } => ttl_s,
        Old::Sets { ttl_s, fresh: true } => ttl_s.max(negative_ttl_s()?),
        Old::Everything { generation } => {
            let longest = zones::longest_ttl_s(rows, (zone.zone, generation), &zone.apex)?;
            longest.max(negative_ttl_s()?)
        }
    })
}

/// Seconds that others keep that something is not there ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §5).
fn negative_ttl_s(rows: &impl Rows, zone: &zones::Zone) -> Result<u32, Stop> {
    let soa = draft::live(rows, zone, &zone.apex, Type::SOA)?;
    let Some(soa) = soa else { return Ok(0) };
    let minimum = soa.rdatas().first().and_then(|rdata| {
        let at = rdata.len().checked_sub(MINIMUM_OCTETS)?;
        Some(u32::from_be_bytes(*rdata.get(at..)?.first_chunk()?))
    });
    Ok(soa.ttl.min(minimum.unwrap_or(soa.ttl)))
}

/// How far an order is; none when it never waited.
pub(super) fn of(rows: &impl Rows, order: &Order) -> Result<Option<Confirm>, Stop> {
    match &order.confirm {
        Some(confirm) => Ok(Some(confirm.clone())),
        None => Ok(rows.get(&CONFIRMS, &order.id)?),
    }
}

/// Takes an order on to `confirmed` if it is served and waits for no zone any more.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store cannot be read.
pub(super) fn finish(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
) -> Result<(), OrderError> {
    let Some(confirm) = of(tx, order)? else { return Ok(()) };
    if confirm.zones_left > 0 || order.state() != State::Served {
        return Ok(());
    }
    let at = confirm.everywhere_at.unwrap_or_else(Timestamp::now);
    let gone = order.history.go(State::Confirmed, at);
    gone.map_err(|state| OrderError::NotIn { state, needed: State::Served.word() })?;
    order.confirm = Some(Confirm { everywhere_at: Some(at), ..confirm });
    receipt::record(tx, context, Happened::OrderConfirmed, order, &[], None)?;
    Ok(())
}

/// Takes up what was seen everywhere; returns how many orders are confirmed by it.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store takes no writes: the zones are to be looked at again.
pub fn seen(manage: &Manage, context: &Context, news: &[Everywhere]) -> Result<usize, OrderError> {
    let mut confirmed = 0;
    for news in news {
        let mut after = None;
        loop {
            let page = manage.store.read(|rows| {
                rows.scan(&CONFIRM_ZONES, &news.zone, after.as_ref(), ORDERS_PER_STEP)
            })?;
            let reached = page.iter().filter(|(_, serial)| is_reached(news, *serial));
            let orders: Vec<OrderId> = reached.map(|((_, id), _)| *id).collect();
            if !orders.is_empty() {
                confirmed += manage.transact(|tx| take(tx, context, news.zone, &orders))?;
            }
            match page.last() {
                Some((last, _)) if page.len() == ORDERS_PER_STEP => after = Some(*last),
                _ => break,
            }
        }
    }
    Ok(confirmed)
}

/// Whether `news` is good enough for an order that waits for this serial.
fn is_reached(news: &Everywhere, serial: u32) -> bool {
    news.serial.is_none_or(|now| !now.is_before(Serial(serial)))
}

fn take(
    tx: &mut Tx<'_>,
    context: &Context,
    zone: u32,
    orders: &[OrderId],
) -> Result<usize, OrderError> {
    let (now, mut confirmed) = (Timestamp::now(), 0);
    for id in orders {
        if !tx.contains(&CONFIRM_ZONES, &(zone, *id))? {
            continue;
        }
        tx.delete(&CONFIRM_ZONES, &(zone, *id))?;
        let Some(mut order) = tx.get(&ORDERS, id)? else { continue };
        let Some(mut confirm) = of(tx, &order)? else { continue };
        confirm.zones_left = confirm.zones_left.saturating_sub(1);
        confirm.everywhere_at = Some(now);
        order.confirm = Some(confirm);
        finish(tx, context, &mut order)?;
        confirmed += usize::from(order.state() == State::Confirmed);
        tx.put(&ORDERS, id, &order)?;
    }
    Ok(confirmed)
}

/// Has the servers of every zone that an order waits for asked again, after a start.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store cannot be read.
pub fn resume(manage: &Manage) -> Result<usize, OrderError> {
    let mut asked: BTreeMap<u32, Vec<(Name, Type)>> = BTreeMap::new();
    let mut after = None;
    loop {
        let from =
            after.map_or((0, OrderId::from_octets([0; 16])), |(zone, id): (u32, OrderId)| {
                (zone, OrderId::from_octets((u128::from_be_bytes(id.octets()) + 1).to_be_bytes()))
            });
        let page = manage.store.read(|rows| rows.range(&CONFIRM_ZONES, from.., ORDERS_PER_STEP))?;
        for ((zone, id), _) in &page {
            let sets = manage.store.read(|rows| revert::changed_sets(rows, *id, *zone))?;
            asked.entry(*zone).or_default().extend(sets);
        }
        match page.last() {
            Some((last, _)) if page.len() == ORDERS_PER_STEP => after = Some(*last),
            _ => break,
        }
    }
    let count = asked.len();
    // The upkeep asks about these by itself.
    let gone = manage.maintain.gone_zones().map_err(Stop::from)?;
    for (zone, sets) in asked {
        match manage.store.read(|rows| zones::by_id(rows, zone)).map_err(Stop::from)? {
            Some(row) => manage.maintain.look_at(&row, sets, false),
            None if gone.contains(&zone) => {}
            None => {
                let gone = Everywhere { zone, serial: None };
                let system = crate::manage::bootstrap::system(manage)?;
                seen(manage, &system, &[gone])?;
            }
        }
    }
    Ok(count)
}
