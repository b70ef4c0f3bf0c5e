//! What became of an order: the receipt, and the order as it is shown.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::apply::ConflictView;
use super::confirm::{self, Confirm};
use super::item::{self, Item};
use super::kept::{self, Hold, ORDER_HOLDS, ORDER_NUMBERS, ORDER_TIMES, ORDERS, ORDERS_OF};
use super::kept::{ORDERS_WAITING, Order, Origin};
use super::left;
use super::order::Untold;
use super::shown::{self, ItemView, Person};
use super::state::{Reached, State};
use crate::maintain::{Applied, AppliedZone};
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission, Role};
use crate::manage::event::{self, Digest, Kind as Happened, News, Object, Touched, digest_of, hex};
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::servers::{self, ZoneServersView};
use crate::manage::id::{OrderId, OrgId, TokenId};
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::page::Page;
use crate::manage::people::organisation::ChangeMode;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};
use crate::wire::{Name, Type};

/// What became of one zone of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ZoneReceipt {
    #[schema(value_type = String)]
    pub zone: Name,
    /// The serial before; none for a zone that was created.
    pub serial_from: Option<u32>,
    /// The serial now; none for a zone that was deleted. The same as before when nothing changed.
    pub serial_to: Option<u32>,
    /// How many RRsets changed.
    pub changed: u64,
    /// An RRset that shows the change, to ask for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub shows: Option<(Name, Type)>,
}

/// What became of an order, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub zones: Vec<ZoneReceipt>,
    pub conflicts: Vec<ConflictView>,
    pub problems: Vec<Problem>,
}

impl Outcome {
    /// Of an order that was applied.
    pub fn applied(applied: &Applied) -> Outcome {
        Outcome { zones: applied.zones.iter().map(zone_receipt).collect(), ..Outcome::default() }
    }

    /// Of an order whose base was stale.
    pub fn in_conflict(conflicts: Vec<ConflictView>) -> Outcome {
        Outcome { conflicts, ..Outcome::default() }
    }

    /// Of an order that breaks rules.
    pub fn failed(problems: Vec<Problem>) -> Outcome {
        Outcome { problems, ..Outcome::default() }
    }
}

fn zone_receipt(zone: &AppliedZone) -> ZoneReceipt {
    let shows = zone.changed.iter().find(|change| change.rtype != Type::SOA);
    ZoneReceipt {
        zone: zone.apex.clone(),
        serial_from: zone.from.map(|serial| serial.0),
        serial_to: zone.to.map(|serial| serial.0),
        changed: zone.changed_count as u64,
        shows: shows.map(|change| (change.owner.clone(), change.rtype)),
    }
}

/// The receipt of an applied order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receipt {
    pub zones: Vec<ZoneLine>,
    /// Microseconds from approved, or due if it was scheduled, through the door until the log was
    /// synced.
    pub durable_us: Option<u64>,
    /// Microseconds from approved, or due, to the first new answer seen over UDP.
    pub served_us: Option<u64>,
    #[schema(value_type = Option<String>)]
    pub durable_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub served_at: Option<Timestamp>,
    /// When the last name server of the last zone was seen with the new answers.
    #[schema(value_type = Option<String>)]
    pub confirmed_at: Option<Timestamp>,
    /// From when on no cache holds an old answer; none while that is not known.
    #[schema(value_type = Option<String>)]
    pub old_gone_at: Option<Timestamp>,
}

/// One zone of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ZoneLine {
    #[schema(value_type = String)]
    pub zone: Name,
    /// The serial before; none for a zone that was created.
    pub serial_from: Option<u32>,
    /// The serial now; none for a zone that was deleted. The same as before when nothing changed.
    pub serial_to: Option<u32>,
    /// How many RRsets changed.
    pub changed: u64,
}

impl From<ZoneReceipt> for ZoneLine {
    fn from(zone: ZoneReceipt) -> ZoneLine {
        let ZoneReceipt { zone, serial_from, serial_to, changed, .. } = zone;
        ZoneLine { zone, serial_from, serial_to, changed }
    }
}

/// Who said yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApprovalView {
    pub by: Option<Person>,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// SHA-256 of the items as they were approved.
    pub digest: String,
    pub comment: Option<String>,
}

/// Who stopped an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HoldView {
    /// None for the server itself.
    pub by: Option<Person>,
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub why: String,
}

/// An order in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OrderLine {
    pub id: OrderId,
    #[schema(example = "O-2026-001042")]
    pub number: String,
    pub org: OrgId,
    pub state: State,
    pub origin: Origin,
    pub mode: ChangeMode,
    pub placed_by: Option<Person>,
    #[schema(value_type = String)]
    pub placed_at: Timestamp,
    pub note: Option<String>,
    pub reference: Option<String>,
    /// How many items it has.
    pub items: u32,
}

/// An order with everything about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OrderView {
    pub id: OrderId,
    /// The number people call it by.
    #[schema(example = "O-2026-001042")]
    pub number: String,
    /// Who holds all its zones; the author's organisation when they are of several.
    pub org: OrgId,
    pub state: State,
    pub origin: Origin,
    pub mode: ChangeMode,
    /// `approver`, `operator`, `time` or `release` while it waits for that.
    pub waits_for: Option<String>,
    /// Not applied before this moment.
    #[schema(value_type = Option<String>)]
    pub not_before: Option<Timestamp>,
    /// Who stopped it, while it is on hold.
    pub hold: Option<HoldView>,
    pub placed_by: Option<Person>,
    pub token: Option<TokenId>,
    pub note: Option<String>,
    pub reference: Option<String>,
    /// SHA-256 over the items: what an approval binds to.
    pub digest: String,
    /// The states it went through, oldest first.
    pub history: Vec<Reached>,
    /// Those in reach of the one who looks.
    pub items: Vec<ItemView>,
    pub approvals: Vec<ApprovalView>,
    /// Who rejected or cancelled it, and why.
    pub ended_by: Option<Person>,
    pub comment: Option<String>,
    pub receipt: Option<Receipt>,
    /// What the servers of its zones were told and seen with, of an order that is applied.
    pub servers: Vec<ZoneServersView>,
    /// Why it is in `conflict`.
    pub conflicts: Vec<ConflictView>,
    /// Why it has `failed`.
    pub problems: Vec<Problem>,
    pub reverts: Option<OrderId>,
    pub reverted_by: Option<OrderId>,
}

/// The order with this id or number, as far as the one who looks may see it.
///
/// # Errors
///
/// [`NoAccess::NotFound`] when there is none in reach.
pub fn get(manage: &Manage, context: &Context, id: OrderId) -> Result<OrderView, Stop> {
    let mut shown = manage.store.read(|rows| {
        let order = kept::fetch(rows, context, id)?;
        view(rows, context, order)
    })?;
    if shown.state.is_applied() {
        let zones = shown.receipt.iter().flat_map(|receipt| &receipt.zones);
        let zones = zones.take(SERVERS_ZONES_MAX).map(|line| &line.zone);
        shown.servers = servers::of_zones(manage, zones)?;
    }
    Ok(shown)
}

/// Zones of an order whose servers are shown with it.
const SERVERS_ZONES_MAX: usize = 100;

/// The id that a text means: an id, or a number like `O-2026-001042`.
///
/// # Errors
///
/// [`NoAccess::NotFound`] when there is none.
pub fn find(manage: &Manage, text: &str) -> Result<OrderId, Stop> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let number = text.strip_prefix("O-").and_then(|rest| rest.split_once('-'));
    let number = number.and_then(|(year, n)| Some((year.parse().ok()?, n.parse().ok()?)));
    let number = number.ok_or(NoAccess::NotFound)?;
    let id = manage.store.read(|rows| rows.get(&ORDER_NUMBERS, &number))?;
    Ok(id.ok_or(NoAccess::NotFound)?)
}

fn view(rows: &impl Rows, context: &Context, order: Order) -> Result<OrderView, Stop> {
    let outcome = left::outcome(rows, order.id)?;
    let state = order.state();
    let mut items = Vec::new();
    let mine = order.placed_by.is_some() && order.placed_by == context.actor.user();
    let mut hidden = Vec::new();
    for item in left::items(rows, order.id)? {
        if !mine && !access::reaches(rows, context, item.org)? {
            hidden.push(item.zone);
            continue;
        }
        let mut shown = shown::item(rows, context, &item)?;
        shown.stale &= state.is_open() || state == State::Conflict;
        items.push(shown);
    }
    let seen = |zone: &Name| !hidden.contains(zone);
    let zones = outcome.zones.into_iter().filter(|zone| seen(&zone.zone));
    let receipt = receipt(&order, zones, confirm::of(rows, &order)?.as_ref());
    let who = |user: Option<_>| user.map(|user| shown::person(rows, user)).transpose();
    let approvals = order.approvals.iter().map(|approval| {
        Ok(ApprovalView {
            by: who(approval.by)?,
            at: approval.at,
            digest: hex(&approval.digest),
            comment: approval.comment.clone(),
        })
    });
    let approvals = approvals.collect::<Result<Vec<_>, Stop>>()?;
    let hold = rows.get(&ORDER_HOLDS, &order.id)?;
    let hold = hold.map(|Hold { by, at, why }| Ok::<_, Stop>(HoldView { by: who(by)?, at, why }));
    let (ended_by, comment) = order.ended.clone().unwrap_or_default();
    Ok(OrderView {
        number: order.name(),
        state,
        waits_for: waits_for(&order).map(str::to_owned),
        not_before: rows.get(&ORDER_TIMES, &order.id)?,
        hold: hold.transpose()?,
        placed_by: who(order.placed_by)?,
        digest: hex(&order.digest),
        history: order.history.steps().to_vec(),
        items,
        approvals,
        ended_by: who(ended_by)?,
        comment,
        receipt,
        servers: Vec::new(),
        conflicts: outcome.conflicts.into_iter().filter(|view| seen(&view.zone)).collect(),
        problems: outcome.problems,
        id: order.id,
        org: order.org,
        origin: order.origin,
        mode: order.mode,
        token: order.token,
        note: order.note,
        reference: order.reference,
        reverts: order.reverts,
        reverted_by: order.reverted_by,
    })
}

/// What an applied order did, and how long it took from the moment it could begin.
fn receipt(
    order: &Order,
    zones: impl Iterator<Item = ZoneReceipt>,
    confirm: Option<&Confirm>,
) -> Option<Receipt> {
    order.history.reached(State::Applied)?;
    let scheduled = order.history.reached(State::Scheduled).is_some();
    let started = if scheduled { State::Applying } else { State::Approved };
    let started = order.history.reached(started);
    let since = |at: Option<Timestamp>| {
        let took = at?.since(started?);
        u64::try_from(took.as_micros()).ok()
    };
    let served_at = order.history.reached(State::Served);
    Some(Receipt {
        zones: zones.map(ZoneLine::from).collect(),
        durable_us: since(order.durable_at),
        served_us: since(served_at),
        durable_at: order.durable_at,
        served_at,
        confirmed_at: order.history.reached(State::Confirmed),
        old_gone_at: confirm.and_then(Confirm::old_gone_at),
    })
}

fn waits_for(order: &Order) -> Option<&'static str> {
    match order.state() {
        State::AwaitingApproval if order.nests => Some("operator"),
        State::AwaitingApproval => Some("approver"),
        State::Scheduled => Some("time"),
        State::OnHold => Some("release"),
        _ => None,
    }
}

/// Which orders are asked for.
#[derive(Debug, Clone, Default)]
pub struct OrderQuery {
    /// Of one organisation; none is the asker's own, or all for the operator.
    pub org: Option<OrgId>,
    pub state: Option<State>,
    /// Only those the asker placed.
    pub mine: bool,
    /// The order before which to begin: the newest come first.
    pub before: Option<OrderId>,
    pub limit: usize,
}

/// Orders looked at for one page: a filter that fits few must not read all there are.
const LOOKED_AT_MAX: usize = 10_000;

/// Lists orders, the newest first.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    query: &OrderQuery,
) -> Result<Page<OrderLine>, Stop> {
    let everyone = context.may(Permission::OrderView).is_ok();
    if !everyone {
        context.may(Permission::OrderPlace)?;
    }
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    let all = query.org.is_none() && context.role == Role::Operator;
    let org = query.org.unwrap_or(context.org);
    manage.store.read(|rows| {
        if !access::reaches(rows, context, org)? {
            return Err(NoAccess::NotFound.into());
        }
        let (mut items, mut before, mut looked_at) = (Vec::new(), query.before, 0);
        loop {
            let ids =
                ids_before(rows, query, all.then_some(()).map_or(Some(org), |()| None), before)?;
            let last = ids.len() < PAGE_ROWS_MAX;
            for id in ids {
                (before, looked_at) = (Some(id), looked_at + 1);
                let Some(order) = rows.get(&ORDERS, &id)? else { continue };
                let own = order.placed_by.is_some() && order.placed_by == context.actor.user();
                let wanted = query.state.is_none_or(|state| state == order.state())
                    && (own || everyone && !query.mine);
                if wanted {
                    items.push(line(rows, order)?);
                }
                if items.len() == limit || looked_at == LOOKED_AT_MAX {
                    return Ok(Page { items, next: before.map(|id| id.to_string()) });
                }
            }
            if last {
                return Ok(Page { items, next: None });
            }
        }
    })
}

/// The next ids of a list, the newest first; only those that wait when they are asked for.
fn ids_before(
    rows: &impl Rows,
    query: &OrderQuery,
    org: Option<OrgId>,
    before: Option<OrderId>,
) -> Result<Vec<OrderId>, Stop> {
    let waiting = query.state.is_some_and(State::waits);
    let found = match org {
        Some(org) => {
            let table = if waiting { &ORDERS_WAITING } else { &ORDERS_OF };
            let before = before.map(|before| (org, before));
            let found = rows.scan_back(table, &org, before.as_ref(), PAGE_ROWS_MAX)?;
            found.into_iter().map(|((_, id), ())| id).collect()
        }
        None => {
            let before = before.map_or(Bound::Unbounded, Bound::Excluded);
            let found = rows.range_back(&ORDERS, (Bound::Unbounded, before), PAGE_ROWS_MAX)?;
            found.into_iter().map(|(id, _)| id).collect()
        }
    };
    Ok(found)
}

fn line(rows: &impl Rows, order: Order) -> Result<OrderLine, Stop> {
    Ok(OrderLine {
        number: order.name(),
        state: order.state(),
        placed_by: order.placed_by.map(|user| shown::person(rows, user)).transpose()?,
        placed_at: order.history.steps().first().map(|step| step.at).unwrap_or_default(),
        id: order.id,
        org: order.org,
        origin: order.origin,
        mode: order.mode,
        note: order.note,
        reference: order.reference,
        items: order.items,
    })
}

/// Writes the event of a step of an order: the order, its items, and what of zones it changed.
pub(super) fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    order: &Order,
    items: &[Item],
    applied: Option<&Applied>,
) -> Result<u64, Stop> {
    let (mut touched, mut orgs) = (Vec::new(), Vec::new());
    let zones = applied.map(|applied| applied.zones.as_slice()).unwrap_or_default();
    let digests = item::digests_of(&*tx, items)?;
    tell(order, (items, &digests), zones, (&mut touched, &mut orgs));
    let seq = event::record(tx, context, News { kind, order: Some(order.id), orgs, touched })?;
    for zone in zones {
        super::explain::trace(tx, zone, seq, order.id)?;
    }
    Ok(seq)
}

/// Writes the event of orders of one organisation that one actor had applied in one commit.
pub(super) fn record_applied(
    tx: &mut Tx<'_>,
    context: &Context,
    orders: &[Untold],
) -> Result<(), Stop> {
    /// What an update touches: the order, the item, the zone, the RRset.
    const TOUCHED: usize = 4;
    let (mut touched, mut orgs) = (Vec::with_capacity(orders.len() * TOUCHED), Vec::new());
    for Untold { order, items, digests, applied } in orders {
        tell(order, (items, digests), &applied.zones, (&mut touched, &mut orgs));
    }
    let order = match orders {
        [one] => Some(one.order.id),
        _ => None,
    };
    let news = News { kind: Happened::OrderApplied, order, orgs, touched };
    let seq = event::record(tx, context, news)?;
    for Untold { order, applied, .. } in orders {
        for zone in &applied.zones {
            super::explain::trace(tx, zone, seq, order.id)?;
        }
    }
    Ok(())
}

/// What an event says of an order, and to whom.
fn tell(
    order: &Order,
    (items, digests): (&[Item], &[Digest]),
    zones: &[AppliedZone],
    (into, to): (&mut Vec<Touched>, &mut Vec<OrgId>),
) {
    into.push(touched(order));
    into.extend(items.iter().zip(digests).map(|(item, digest)| Touched {
        object: Object::Item(item.id),
        before: None,
        after: Some(*digest),
    }));
    into.extend(zones.iter().flat_map(of_zone));
    let orgs = super::draft::orgs_of(items.iter().map(|item| &item.org));
    let fresh: Vec<OrgId> =
        orgs.into_iter().chain([order.org]).filter(|org| !to.contains(org)).collect();
    to.extend(fresh);
}

/// Writes the event of orders of one organisation that were seen served at the same time.
pub(super) fn record_served(
    tx: &mut Tx<'_>,
    context: &Context,
    orders: &[Order],
) -> Result<(), Stop> {
    let order = match orders {
        [one] => Some(one.id),
        _ => None,
    };
    let orgs = orders.iter().take(1).map(|order| order.org).collect();
    let touched = orders.iter().map(touched).collect();
    event::record(tx, context, News { kind: Happened::OrderServed, order, orgs, touched })?;
    Ok(())
}

fn touched(order: &Order) -> Touched {
    let after = Some(digest_of(&(order.id, order.state())));
    Touched { object: Object::Order(order.id), before: None, after }
}

fn of_zone(zone: &AppliedZone) -> Vec<Touched> {
    let serial = |serial: Option<crate::wire::Serial>| -> Option<Digest> {
        serial.map(|serial| digest_of(&(&zone.apex, serial)))
    };
    let whole = Touched {
        object: Object::Zone(zone.apex.clone()),
        before: serial(zone.from),
        after: serial(zone.to),
    };
    let sets = zone.changed.iter().map(|change| {
        let (zone, owner) = (zone.apex.clone(), change.owner.clone());
        let object = Object::RrSet { zone, owner, rtype: change.rtype };
        Touched::of(object, change.before.as_ref(), change.after.as_ref())
    });
    [whole].into_iter().chain(sets).collect()
}
