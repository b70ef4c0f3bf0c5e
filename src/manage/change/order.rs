//! Orders: what was placed, who may see it, and where it stands.
//!
//! An order nobody must approve is placed, approved and applied in one record of the log; others wait.
//! Items no longer change once placed; their digest is what an approval binds to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::apply::{self, Against, ConflictView, Go};
use super::basket;
use super::draft;
use super::item::{self, Holder, Item, What};
use super::receipt::{self, Outcome};
use super::state::{History, State};
use crate::maintain::{CommitError, Committed, Door};
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission, Role};
use crate::manage::blob::{self, Which};
use crate::manage::event::{Digest, Kind as Happened};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::holding::zone as holding;
use crate::manage::id::{ItemId, OrderId, OrgId, TokenId, UserId};
use crate::manage::idempotency;
use crate::manage::limits::{self, NOTE_CHARS_MAX};
use crate::manage::people::organisation::{ChangeMode, ORGS};
use crate::manage::time::Timestamp;
use crate::store::{Rows, Table, Tx};

pub(super) const ORDERS: Table<OrderId, Order> = Table::new("orders", *b"od");
/// The items of an order, by their place in it.
const ORDER_ITEMS: Table<(OrderId, u32), Item> = Table::new("order_items", *b"ot");
/// The orders an organisation may see.
pub(super) const ORDERS_OF: Table<(OrgId, OrderId), ()> = Table::new("orders_of", *b"of");
/// Orders by the number people call them by.
pub(super) const ORDER_NUMBERS: Table<(u64, u64), OrderId> = Table::new("order_numbers", *b"on");
/// Orders that wait, by the organisation they are for.
pub(super) const ORDERS_WAITING: Table<(OrgId, OrderId), ()> = Table::new("orders_waiting", *b"ow");
/// Orders applied whose answers were not yet seen.
pub(super) const ORDERS_UNSERVED: Table<OrderId, ()> = Table::new("orders_unserved", *b"oq");

/// How an order came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody placed their basket.
    Basket,
    /// Asked for and applied at once.
    Direct,
    /// An outside portal pushed it, approved there.
    Push,
    /// It undoes another order.
    Revert,
}

/// Who said yes, to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: Option<UserId>,
    pub at: Timestamp,
    /// Of the items as they were approved.
    pub digest: Digest,
    pub comment: Option<String>,
}

/// One order, its items and its outcome apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: OrderId,
    /// The year it was placed in, and its place in that year.
    pub number: (u64, u64),
    /// Who holds all its zones; the author's organisation when they are of several.
    pub org: OrgId,
    pub placed_by: Option<UserId>,
    pub token: Option<TokenId>,
    /// The author's organisation, and what the author was there.
    pub author: (OrgId, Role),
    pub origin: Origin,
    pub mode: ChangeMode,
    /// Whether an operator must say yes to a zone beside another organisation's.
    pub nests: bool,
    pub note: Option<String>,
    /// What an outside portal calls it.
    pub reference: Option<String>,
    pub items: u32,
    pub digest: Digest,
    pub history: History,
    pub approvals: Vec<Approval>,
    /// Who said no or took it back, and why.
    pub ended: Option<(Option<UserId>, Option<String>)>,
    pub durable_at: Option<Timestamp>,
    pub reverts: Option<OrderId>,
    pub reverted_by: Option<OrderId>,
    /// Whether its items went back into a basket.
    pub returned: bool,
}

impl Order {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.history.state()
    }

    /// The number people call it by.
    pub fn name(&self) -> String {
        let (year, n) = self.number;
        format!("O-{year}-{n:06}")
    }
}

/// Why an order was not placed, or not taken a step on. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderError {
    Stop(Stop),
    /// The request or the items break rules; all are listed.
    Invalid(Vec<Problem>),
    /// There is nothing to place.
    Empty,
    /// The order is in another state by now.
    NotIn {
        state: State,
        needed: &'static str,
    },
    /// Its author may not approve it.
    OwnOrder,
    /// What was approved or placed is not what was looked at.
    DigestDiffers,
    /// It cannot be undone, or its items cannot come back.
    NotUndoable(&'static str),
}

stops!(OrderError);

impl From<draft::DraftError> for OrderError {
    fn from(why: draft::DraftError) -> OrderError {
        match why {
            draft::DraftError::Stop(stop) => OrderError::Stop(stop),
            draft::DraftError::Invalid(problems) => OrderError::Invalid(problems),
        }
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Stop(stop) => stop.fmt(f),
            OrderError::Invalid(problems) => fault::write_all(problems, f),
            OrderError::Empty => f.write_str("there is nothing to place: add something first"),
            OrderError::NotIn { state, needed } => {
                write!(f, "order is {state}, not {needed}: look at it again")
            }
            OrderError::OwnOrder => {
                f.write_str("nobody approves their own order: ask another approver")
            }
            OrderError::DigestDiffers => {
                f.write_str("the items are not those you looked at: look again")
            }
            OrderError::NotUndoable(why) => f.write_str(why),
        }
    }
}

impl Refused for OrderError {
    fn kind(&self) -> Kind {
        match self {
            OrderError::Stop(stop) => stop.kind(),
            OrderError::Invalid(_) | OrderError::Empty => Kind::Invalid,
            OrderError::OwnOrder => Kind::Forbidden,
            OrderError::NotIn { .. } | OrderError::DigestDiffers | OrderError::NotUndoable(_) => {
                Kind::Conflict
            }
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            OrderError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// How to place a basket.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Place {
    /// The items to place; all if left out.
    pub items: Option<Vec<ItemId>>,
    pub note: Option<String>,
    /// The digest of the basket that was looked at; places only that.
    pub digest: Option<String>,
}

/// What an order is placed with.
pub(super) struct Terms {
    pub origin: Origin,
    pub note: Option<String>,
    pub reference: Option<String>,
    pub reverts: Option<OrderId>,
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
    finish(manage, context, |door| {
        holding::may_change(door.tx(), context)?;
        let items = chosen(door.tx(), user, &place)?;
        for item in &items {
            basket::hand_over(door.tx(), user, item)?;
        }
        let note = place.note.clone();
        let terms = Terms { origin: Origin::Basket, note, reference: None, reverts: None };
        put_new(door, context, items, terms)
    })
}

pub(super) fn note_fits(note: Option<&str>) -> Result<(), OrderError> {
    let bad = note.and_then(|note| limits::note("note", note, NOTE_CHARS_MAX).err());
    match bad {
        Some(why) => Err(OrderError::Invalid(vec![Problem::at("note", "text", why)])),
        None => Ok(()),
    }
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

/// The closure's own error, or why nothing was committed, as orders say it.
pub(super) fn refused(error: CommitError<OrderError>) -> OrderError {
    match error {
        CommitError::Refused(error) => error,
        CommitError::Unreadable(fault) => fault.into(),
        CommitError::Write(error) => error.into(),
    }
}

/// Puts a new order, and applies it unless somebody must say yes.
pub(super) fn put_new(
    door: &mut Door<'_, '_>,
    context: &Context,
    items: Vec<Item>,
    terms: Terms,
) -> Result<OrderId, OrderError> {
    if items.is_empty() {
        return Err(OrderError::Empty);
    }
    let mut order = new(door.tx(), context, &items, terms)?;
    let waits = order.mode == ChangeMode::Approval && order.origin != Origin::Push
        || order.nests && context.may(Permission::ZoneNest).is_err();
    for (n, item) in (0..).zip(&items) {
        door.tx().put(&ORDER_ITEMS, &(order.id, n), item)?;
        door.tx().put(&ORDERS_OF, &(item.org, order.id), &())?;
        if waits {
            let holder =
                Holder { user: order.placed_by, org: context.org, order: Some(order.id), n };
            item::open(door.tx(), item, holder)?;
        }
    }
    door.tx().put(&ORDER_NUMBERS, &order.number, &order.id)?;
    let (org, author) = (order.org, order.author.0);
    door.tx().put(&ORDERS_OF, &(org, order.id), &())?;
    door.tx().put(&ORDERS_OF, &(author, order.id), &())?;
    if !waits {
        step(&mut order, State::Approved)?;
        let against = apply(door, context, &mut order, &items)?;
        return match against {
            Some(problems) => Err(OrderError::Invalid(problems)),
            None => Ok(order.id),
        };
    }
    match apply::through(door, &items, Go::Try)? {
        Ok(_) => {
            step(&mut order, State::AwaitingApproval)?;
            door.tx().put(&ORDERS_WAITING, &(org, order.id), &())?;
            door.tx().put(&ORDERS, &order.id, &order)?;
            receipt::record(door.tx(), context, Happened::OrderPlaced, &order, &items, None)?;
        }
        Err(Against { problems, .. }) if !problems.is_empty() => {
            return Err(OrderError::Invalid(problems));
        }
        Err(Against { conflicts, .. }) => {
            end_in_conflict(door.tx(), context, &mut order, &items, conflicts)?
        }
    }
    Ok(order.id)
}

fn new(
    tx: &mut Tx<'_>,
    context: &Context,
    items: &[Item],
    terms: Terms,
) -> Result<Order, OrderError> {
    let orgs = draft::orgs_of(items.iter().map(|item| &item.org));
    let org = match orgs.as_slice() {
        [one] => *one,
        _ => context.org,
    };
    let mut mode = ChangeMode::Direct;
    for org in &orgs {
        let held = tx.get(&ORGS, org)?.ok_or(NoAccess::NotFound)?;
        mode = strictest(mode, held.change_mode);
    }
    let max = tx.get(&ORGS, &org)?.map_or(0, |org| org.limits.open_orders as usize);
    let waiting = tx.scan(&ORDERS_WAITING, &org, None, max.saturating_add(1))?.len();
    limits::at_most("open_orders", max, waiting + 1)?;
    let mut nests = false;
    for item in items.iter().filter(|item| item.what == What::Create) {
        nests |= !holding::neighbours(tx, &item.zone, item.org)?.is_empty();
    }
    let now = Timestamp::now();
    let token = match context.actor {
        access::Actor::User { token, .. } => token,
        access::Actor::System => None,
    };
    Ok(Order {
        id: OrderId::new(),
        number: next_number(tx, now)?,
        org,
        placed_by: context.actor.user(),
        token,
        author: (context.org, context.role),
        origin: terms.origin,
        mode,
        nests,
        note: terms.note,
        reference: terms.reference,
        items: u32::try_from(items.len()).unwrap_or(u32::MAX),
        digest: item::digest_of_all(&*tx, items)?,
        history: History::begin(now),
        approvals: Vec::new(),
        ended: None,
        durable_at: None,
        reverts: terms.reverts,
        reverted_by: None,
        returned: false,
    })
}

fn strictest(one: ChangeMode, other: ChangeMode) -> ChangeMode {
    let strictness = |mode: &ChangeMode| match mode {
        ChangeMode::Direct => 0,
        ChangeMode::Basket => 1,
        ChangeMode::Approval => 2,
    };
    [one, other].into_iter().max_by_key(strictness).unwrap_or(one)
}

fn next_number(rows: &impl Rows, now: Timestamp) -> Result<(u64, u64), Stop> {
    let year = now.year();
    let last = rows.prev(&ORDER_NUMBERS, &(year, u64::MAX))?;
    Ok(match last {
        Some(((of, n), _)) if of >= year => (of, n + 1),
        _ => (year, 1),
    })
}

/// Takes an order one step on, now.
pub(super) fn step(order: &mut Order, to: State) -> Result<(), OrderError> {
    let gone = order.history.go(to, Timestamp::now());
    gone.map_err(|state| OrderError::NotIn { state, needed: to.word() })
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
    step(order, State::Applying)?;
    if item::digest_of_all(door.tx(), items)? != order.digest {
        return Err(OrderError::DigestDiffers);
    }
    let undo = super::revert::undo_of_zones(door.tx(), items)?;
    door.set_cause(format!("order {}", order.id));
    let applied = match apply::through(door, items, Go::Apply)? {
        Ok(applied) => applied,
        Err(Against { problems, .. }) if !problems.is_empty() => return Ok(Some(problems)),
        Err(Against { conflicts, .. }) => {
            end_in_conflict(door.tx(), context, order, items, conflicts)?;
            return Ok(None);
        }
    };
    step(order, State::Applied)?;
    let tx = door.tx();
    let id = order.id.octets();
    blob::put(tx, id, Which::Outcome, &Outcome::applied(&applied))?;
    blob::put(tx, id, Which::Undo, &super::revert::undo_of(&applied, undo))?;
    if let Some(reverted) = order.reverts {
        super::revert::mark_reverted(tx, reverted, order.id)?;
    }
    tx.put(&ORDERS_UNSERVED, &order.id, &())?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderApplied, order, items, Some(&applied))?;
    Ok(None)
}

fn end_in_conflict(
    tx: &mut Tx<'_>,
    context: &Context,
    order: &mut Order,
    items: &[Item],
    conflicts: Vec<ConflictView>,
) -> Result<(), OrderError> {
    step(order, State::Conflict)?;
    blob::put(tx, order.id.octets(), Which::Outcome, &Outcome::in_conflict(conflicts))?;
    close(tx, order, items)?;
    tx.put(&ORDERS, &order.id, order)?;
    receipt::record(tx, context, Happened::OrderRefused, order, items, None)?;
    Ok(())
}

/// Nothing of the order is open any more.
pub(super) fn close(tx: &mut Tx<'_>, order: &Order, items: &[Item]) -> Result<(), OrderError> {
    for item in items {
        item::close(tx, item)?;
    }
    Ok(tx.delete(&ORDERS_WAITING, &(order.org, order.id))?)
}

/// The items of an order, in their order.
pub(super) fn items_of(rows: &impl Rows, id: OrderId) -> Result<Vec<Item>, Stop> {
    let found = rows.scan(&ORDER_ITEMS, &id, None, usize::MAX)?;
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// The order, if the one who acts may see it.
///
/// # Errors
///
/// [`NoAccess::NotFound`] otherwise.
pub(super) fn fetch(rows: &impl Rows, context: &Context, id: OrderId) -> Result<Order, Stop> {
    let order = rows.get(&ORDERS, &id)?.ok_or(NoAccess::NotFound)?;
    if context.may(Permission::OrderPlace).is_ok()
        && order.placed_by.is_some()
        && order.placed_by == context.actor.user()
    {
        return Ok(order);
    }
    let concerned = rows.contains(&ORDERS_OF, &(context.org, id))?
        || access::reaches(rows, context, order.org)?;
    match concerned && context.may(Permission::OrderView).is_ok() {
        true => Ok(order),
        false => Err(NoAccess::NotFound.into()),
    }
}
