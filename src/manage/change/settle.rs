//! After the commit: this server is asked for the new answers, and the orders say when they came.
//!
//! Those whose callers wait at the same time are looked for together: one of the callers asks for all,
//! and one record of the log says what came of it. Dynamic updates have their answer by then, for they
//! wait for what is durable and published only; they are seen by the next [look around](settle_later),
//! which asks for the newest of them.
//!
//! Promises: an order that was applied becomes `served` once the answers are seen, if not right
//! away then when somebody looks again ([`Lookout`], and [`resume`] at a start). Whether they are seen
//! changes nothing that is served. One that switches DNSSEC is not served before its zones are switched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::draft;
use super::item::What;
use super::kept::{ORDERS, ORDERS_UNSERVED, Order};
use super::left;
use super::receipt;
use super::refusal::OrderError;
use super::state::State;
use crate::maintain::rows as zones;
use crate::maintain::{AppliedZone, ChangedRrSet, Old, dnssec};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::fault::Stop;
use crate::manage::id::OrderId;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};
use crate::wire::{Name, RrSet, Serial, Type};

/// Orders that are looked for together, and that one record of the log says to be served.
const TOGETHER_MAX: usize = 64;

/// Orders nobody waits for that are remembered until the next look around; what is beyond is found
/// by the [`Lookout`].
const LATER_MAX: usize = 65_536;

/// How often what was not seen is read and asked for again: it may have been changed once more between
/// the two.
const ROUNDS: usize = 4;

/// Applied orders whose answers are to be looked for.
#[derive(Default)]
pub(in crate::manage) struct Settling {
    /// Those somebody waits for.
    pub line: Mutex<Line>,
    later: Mutex<Later>,
}

/// Orders whose callers wait, the first that came in front.
///
/// One of the callers looks for the first few; then the one who stands in front by that time does.
/// A lock would not do: whoever is woken for it finds it taken again, and some would wait for long.
#[derive(Default)]
pub(in crate::manage) struct Line {
    pub waiting: VecDeque<Waiting>,
    /// Somebody looks, or was told to.
    pub is_led: bool,
}

/// An order whose caller waits.
pub(in crate::manage) struct Waiting {
    applied: Applied,
    zones: Vec<AppliedZone>,
    told: SyncSender<Told>,
}

/// What a caller hears who waits for an order.
enum Told {
    /// It is for this caller to look for those in front, of which it is the first.
    Lead,
    Settled,
    /// It was not seen together with others: the caller looks for it alone.
    Alone,
}

/// An order that was applied.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub id: OrderId,
    /// Who acted.
    pub context: Context,
    pub durable_at: Timestamp,
}

/// What is seen by the next look around.
#[derive(Default)]
struct Later {
    /// Each with the zone that shows it.
    orders: Vec<(Applied, u32)>,
    /// An RRset of each zone that was changed last.
    zones: Shows,
}

/// Of zones by their ids: the apex, and an RRset that shows what changed.
type Shows = BTreeMap<u32, (Name, Option<(Name, Type)>)>;

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    let applied = Applied { id, context: context.clone(), durable_at };
    if !wait_signed(manage, id, zones)? {
        return manage.transact(|tx| put_seen(tx, &[(&applied, None)]));
    }
    let mut seen = None;
    if zones.len() <= TOGETHER_MAX {
        let (told, result) = sync_channel(1);
        let waiting = Waiting { applied: applied.clone(), zones: zones.to_vec(), told };
        if wait(manage, waiting, &result) {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            seen = seen
                .or_else(|| seen_in(zones, &look_at(manage, &shown_by(zones)).ok()?, durable_at));
        }
    }
    let seen = seen.or_else(|| seen_at_last(manage, zones, durable_at));
    manage.transact(|tx| put_seen(tx, &[(&applied, seen)]))
}

/// Waits a little for zones whose DNSSEC an order switched, to be signed; returns whether all are.
fn wait_signed(manage: &Manage, id: OrderId, zones: &[AppliedZone]) -> Result<bool, Stop> {
    // Most orders switch nothing, and those that do have most often signed in their own commit.
    let ids = zones.iter().map(|zone| zone.zone);
    if !manage.store.read(|rows| dnssec::is_any_pending(rows, ids))? {
        return Ok(true);
    }
    // Others than this order may have a zone that is being signed.
    let switched = manage.store.read(|rows| switched(rows, id))?;
    Ok(manage.maintain.wait_switched(&switched)?)
}

/// The zones whose DNSSEC an order switches.
fn switched(rows: &impl Rows, id: OrderId) -> Result<Vec<Name>, Stop> {
    let items = left::items(rows, id)?.into_iter();
    Ok(items.filter(|item| item.what == What::Dnssec).map(|item| item.zone).collect())
}

/// Whether a switch of DNSSEC that an order asked for is still to be carried out.
fn is_pending(rows: &impl Rows, id: OrderId) -> Result<bool, Stop> {
    for apex in switched(rows, id)? {
        if let Some(zone) = zones::zone(rows, &apex)?
            && dnssec::is_pending(rows, &zone)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What to ask for to see these zones.
fn shown_by<'a>(zones: impl IntoIterator<Item = &'a AppliedZone>) -> Shows {
    let changed = zones.into_iter().filter(|zone| zone.from != zone.to);
    changed.map(|zone| (zone.zone, (zone.apex.clone(), shows_of(zone)))).collect()
}

/// When the last of these zones was seen; at once when nothing changed.
fn seen_in(
    zones: &[AppliedZone],
    seen: &BTreeMap<u32, Timestamp>,
    durable_at: Timestamp,
) -> Option<Timestamp> {
    let mut changed = zones.iter().filter(|zone| zone.from != zone.to);
    changed.try_fold(durable_at, |at, zone| Some(at.max(*seen.get(&zone.zone)?)))
}

/// Waits in line until somebody has looked for an order, if need be this caller; returns whether it is
/// settled.
fn wait(manage: &Manage, waiting: Waiting, result: &Receiver<Told>) -> bool {
    let line = &manage.settling.line;
    let leads = {
        let mut line = held(line);
        line.waiting.push_back(waiting);
        !std::mem::replace(&mut line.is_led, true)
    };
    if leads {
        lead(manage);
    }
    loop {
        match result.recv() {
            Ok(Told::Lead) => lead(manage),
            Ok(Told::Settled) => return true,
            // Whoever looked may have ended in panic, and told nobody.
            Ok(Told::Alone) | Err(_) => return false,
        }
    }
}

/// Looks for those in front, then passes the lead on.
fn lead(manage: &Manage) {
    let line = &manage.settling.line;
    let _next = PassOn(line);
    let group = {
        let mut line = held(line);
        let count = line.waiting.len().min(TOGETHER_MAX);
        line.waiting.drain(..count).collect()
    };
    settle_together(manage, group);
}

/// Tells the one in front to lead, when dropped: also if whoever led ended in panic.
pub(in crate::manage) struct PassOn<'a>(pub &'a Mutex<Line>);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        let mut line = held(self.0);
        line.is_led = false;
        if let Some(next) = line.waiting.front() {
            line.is_led = next.told.send(Told::Lead).is_ok();
        }
    }
}

/// Looks for the answers of all orders of a group, and tells their callers.
fn settle_together(manage: &Manage, group: Vec<Waiting>) {
    let shows = shown_by(group.iter().flat_map(|waiting| &waiting.zones));
    let looked = look_at(manage, &shows).unwrap_or_default();
    let seen_at = |waiting: &Waiting| seen_in(&waiting.zones, &looked, waiting.applied.durable_at);
    let seen: Vec<Option<Timestamp>> = group.iter().map(seen_at).collect();
    let all = group.iter().zip(&seen).filter(|(_, seen)| seen.is_some());
    let all: Vec<_> = all.map(|(waiting, seen)| (&waiting.applied, *seen)).collect();
    let written = manage.transact(|tx| put_seen(tx, &all));
    for (waiting, seen) in group.into_iter().zip(seen) {
        let settled = seen.is_some() && written.is_ok();
        let _ = waiting.told.send(if settled { Told::Settled } else { Told::Alone });
    }
}

/// An RRset that shows what changed in a zone.
fn shows_of(zone: &AppliedZone) -> Option<(Name, Type)> {
    let change = zone.changed.iter().find(|change| change.rtype != Type::SOA)?;
    Some((change.owner.clone(), change.rtype))
}

/// Asks for zones as they stand now, once; when each was seen that was.
fn look_at(manage: &Manage, shows: &Shows) -> Result<BTreeMap<u32, Timestamp>, Stop> {
    let now = manage.store.read(|rows| {
        let zones = shows.iter().map(|(id, (apex, shows))| as_it_stands(rows, *id, apex, shows));
        zones.collect::<Result<Vec<_>, Stop>>()
    })?;
    let seen = manage.maintain.glance(&now);
    let seen = now.iter().zip(seen).filter_map(|(zone, at)| Some((zone.zone, at?.into())));
    Ok(seen.collect())
}

/// Remembers an order of one zone that nobody waits for, until the next look around.
pub(super) fn remember(
    manage: &Manage,
    applied: Applied,
    zone: &zones::Zone,
    shows: Option<(Name, Type)>,
) {
    let mut later = held(&manage.settling.later);
    if later.orders.len() < LATER_MAX {
        later.orders.push((applied, zone.id));
        later.zones.insert(zone.id, (zone.apex.clone(), shows));
    }
}

/// Looks around for orders that nobody waits for; returns how many are served now.
///
/// # Errors
///
/// [`OrderError::Stop`] when the store takes no writes. The [`Lookout`] finds them then.
pub fn settle_later(manage: &Manage) -> Result<usize, OrderError> {
    let Later { orders, zones } = std::mem::take(&mut *held(&manage.settling.later));
    let Some((_, last)) = orders.last() else { return Ok(0) };
    // All are published by now, and snapshots follow one another: the one that answers for the last
    // of them has what all of them changed.
    let shows = zones.get(last).map(|shows| (*last, shows.clone()));
    let newest = look_at(manage, &shows.into_iter().collect())?;
    let each = if newest.is_empty() { each_seen(manage, zones)? } else { BTreeMap::new() };
    let seen_at = |(applied, zone)| {
        let at = newest.get(last).or_else(|| each.get(zone))?;
        Some((applied, Some(*at)))
    };
    let seen = orders.iter().map(|(applied, zone)| (applied, zone)).filter_map(seen_at);
    let seen: Vec<(&Applied, Option<Timestamp>)> = seen.collect();
    for some in seen.chunks(TOGETHER_MAX) {
        manage.transact_at_leisure(|tx| put_seen(tx, some))?;
    }
    Ok(seen.len())
}

/// Asks for each of these zones; when each was seen that was.
fn each_seen(manage: &Manage, zones: Shows) -> Result<BTreeMap<u32, Timestamp>, Stop> {
    let mut seen = BTreeMap::new();
    let mut zones: Vec<_> = zones.into_iter().collect();
    for _ in 0..ROUNDS {
        for some in zones.chunks(TOGETHER_MAX) {
            seen.extend(look_at(manage, &some.iter().cloned().collect())?);
        }
        zones.retain(|(id, _)| !seen.contains_key(id));
    }
    Ok(seen)
}

/// Stores that orders were looked for, and when they were seen if they were. Those of one organisation
/// that somebody acted for have one event.
fn put_seen(
    tx: &mut Tx<'_>,
    looked_for: &[(&Applied, Option<Timestamp>)],
) -> Result<(), OrderError> {
    let mut told: Vec<(&Context, Vec<Order>)> = Vec::new();
    for (applied, seen) in looked_for {
        let Applied { id, context, durable_at } = applied;
        let Some(mut order) = tx.get(&ORDERS, id)? else { continue };
        if order.state() != State::Applied || !tx.contains(&ORDERS_UNSERVED, id)? {
            continue;
        }
        order.durable_at = order.durable_at.or(Some(*durable_at));
        let Some(seen) = *seen else {
            tx.put(&ORDERS, id, &order)?;
            continue;
        };
        served(&mut order, seen)?;
        tx.delete(&ORDERS_UNSERVED, id)?;
        let alike = |(other, orders): &&mut (&Context, Vec<Order>)| {
            (other.actor, other.org) == (context.actor, context.org)
                && orders.first().is_some_and(|first| first.org == order.org)
        };
        match told.iter_mut().find(alike) {
            Some((_, orders)) => orders.push(order),
            None => {
                let mut orders = Vec::with_capacity(looked_for.len());
                orders.push(order);
                told.push((context, orders));
            }
        }
    }
    for (context, orders) in told {
        receipt::record_served(tx, context, &orders)?;
        for mut order in orders {
            super::confirm::finish(tx, context, &mut order)?;
            tx.put(&ORDERS, &order.id, &order)?;
        }
    }
    Ok(())
}

/// When the new answers came, waiting for them; never when nobody can be asked.
fn seen_at_last(
    manage: &Manage,
    zones: &[AppliedZone],
    durable_at: Timestamp,
) -> Option<Timestamp> {
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
        if manage.maintain.answering().is_none() {
            break; // The server stops; its next start goes on.
        }
        served += usize::from(again(manage, context, id)? == Again::Served);
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
        let (mut served, mut unseen, mut unsigned) = (0, Vec::new(), Vec::new());
        let old = std::mem::take(&mut self.old).into_iter();
        let mut old = old.filter(|id| now.binary_search(id).is_ok());
        while unseen.len() < UNSEEN_MAX
            && let Some(id) = old.next()
        {
            match again(manage, context, id)? {
                Again::Served => served += 1,
                Again::Unseen => unseen.push(id),
                Again::Unsigned => unsigned.push(id),
            }
        }
        // The next look begins with those that were not asked for now.
        self.old = old.chain(unseen).chain(unsigned).collect();
        let known: BTreeSet<OrderId> = self.old.iter().copied().collect();
        self.old.extend(now.iter().filter(|id| !known.contains(id)));
        Ok(served)
    }
}

fn unserved(manage: &Manage) -> Result<Vec<OrderId>, Stop> {
    let open = manage.store.read(|rows| rows.range(&ORDERS_UNSERVED, .., usize::MAX))?;
    Ok(open.into_iter().map(|(id, ())| id).collect())
}

/// What asking once more for the answers of an order gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Served,
    Unseen,
    /// Nobody was asked: a zone is still to be signed.
    Unsigned,
}

/// Asks once more for the answers of an order.
fn again(manage: &Manage, context: &Context, id: OrderId) -> Result<Again, OrderError> {
    if manage.store.read(|rows| is_pending(rows, id))? {
        return Ok(Again::Unsigned);
    }
    let zones = manage.store.read(|rows| zones_of(rows, id))?;
    settle(manage, context, id, &zones, Timestamp::now())?;
    let unserved = manage.store.read(|rows| rows.contains(&ORDERS_UNSERVED, &id))?;
    Ok(if unserved { Again::Unseen } else { Again::Served })
}

/// What to ask for to see an order: of each zone what stands there now, for later orders have
/// perhaps changed it again.
fn zones_of(rows: &impl Rows, id: OrderId) -> Result<Vec<AppliedZone>, Stop> {
    let applied = left::outcome(rows, id)?.zones.into_iter().map(|receipt| {
        let id = zones::zone(rows, &receipt.zone)?.map_or(0, |zone| zone.id);
        let from = receipt.serial_from.map(Serial);
        Ok(AppliedZone { from, ..as_it_stands(rows, id, &receipt.zone, &receipt.shows)? })
    });
    applied.collect()
}

/// A zone, and an RRset of it, as the answers show them now.
fn as_it_stands(
    rows: &impl Rows,
    id: u32,
    apex: &Name,
    shows: &Option<(Name, Type)>,
) -> Result<AppliedZone, Stop> {
    let zone = zones::by_id(rows, id)?;
    let mut changed = Vec::new();
    if let (Some(zone), Some((owner, rtype))) = (&zone, shows.clone()) {
        let now = draft::live(rows, zone, &owner, rtype)?;
        let after =
            now.map(|value| RrSet::new(owner.clone(), rtype, value.ttl, value.rdatas().to_vec()));
        changed.push(ChangedRrSet { owner, rtype, before: None, after });
    }
    Ok(AppliedZone {
        apex: apex.clone(),
        zone: id,
        // Other than now, so that there is something to see.
        from: zone.is_none().then_some(Serial(0)),
        to: zone.map(|zone| zone.serial),
        changed_count: changed.len(),
        changed: changed.into(),
        old: Old::NOTHING,
    })
}
