//! Orders as they are kept: the record, its lists, and who may see it.

use serde::{Deserialize, Serialize};

use super::confirm::Confirm;
use super::draft;
use super::item::{self, Item, What};
use super::refusal::OrderError;
use super::state::{History, State};
use crate::manage::access::{self, Context, NoAccess, Permission, Role};
use crate::manage::event::{Digest, digest_of};
use crate::manage::fault::Stop;
use crate::manage::holding::zone as holding;
use crate::manage::id::{OrderId, OrgId, TokenId, UserId};
use crate::manage::limits;
use crate::manage::people::organisation::{ChangeMode, ORGS};
use crate::manage::time::Timestamp;
use crate::store::{Rows, Table, Tx, Value};

pub(super) const ORDERS: Table<OrderId, Order> = Table::new("orders", *b"od").at_version(2, older);
/// The items of an order that waits, has waited or was not applied, by their place in it.
pub(super) const ORDER_ITEMS: Table<(OrderId, u32), Item> = Table::new("order_items", *b"ot");
/// The orders an organisation may see.
pub(super) const ORDERS_OF: Table<(OrgId, OrderId), ()> = Table::new("orders_of", *b"of");
/// Orders by the number people call them by.
pub(super) const ORDER_NUMBERS: Table<(u64, u64), OrderId> = Table::new("order_numbers", *b"on");
/// Orders that wait, for whatever, by the organisation they are for.
pub(super) const ORDERS_WAITING: Table<(OrgId, OrderId), ()> = Table::new("orders_waiting", *b"ow");
/// When an order may be applied, if it has to wait for that.
pub(super) const ORDER_TIMES: Table<OrderId, Timestamp> = Table::new("order_times", *b"om");
/// Orders that wait for their time, by that time in microseconds since 1970.
pub(super) const ORDERS_DUE: Table<(u64, OrderId), ()> = Table::new("orders_due", *b"ou");
/// Why an order is on hold.
pub(super) const ORDER_HOLDS: Table<OrderId, Hold> = Table::new("order_holds", *b"oz");
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
    /// A dynamic update over DNS.
    Update,
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

/// Who stopped an order, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// None for the server itself.
    pub by: Option<UserId>,
    pub at: Timestamp,
    pub why: String,
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
    /// How far it is served everywhere; of orders that older releases applied it stands apart.
    pub confirm: Option<Confirm>,
}

/// Reads an order as it was kept before [`Order::confirm`] stood in it.
fn older(version: u8, octets: &[u8]) -> Option<Order> {
    const NONE: u8 = 0;
    (version == 1).then(|| Order::unpack(&[octets, &[NONE]].concat()))?
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

/// What an order is placed with.
pub(super) struct Terms {
    pub origin: Origin,
    pub note: Option<String>,
    pub reference: Option<String>,
    pub reverts: Option<OrderId>,
    /// Not applied before this moment.
    pub not_before: Option<Timestamp>,
    pub consent: Consent,
}

/// Whether somebody must say yes to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// As the organisations that hold its zones have chosen.
    AsChosen,
    /// Whoever sends it has it approved already.
    Given,
    /// Whatever they have chosen.
    Needed,
}

impl Terms {
    /// Those of an order about which nothing more is said.
    pub fn of(origin: Origin) -> Terms {
        let consent = if origin == Origin::Push { Consent::Given } else { Consent::AsChosen };
        Terms { origin, note: None, reference: None, reverts: None, not_before: None, consent }
    }
}

/// A new order for items with these digests, numbered, not yet put.
///
/// # Errors
///
/// [`OrderError`] when too many orders of the organisation wait.
pub(super) fn new(
    tx: &mut Tx<'_>,
    context: &Context,
    (items, digests): (&[Item], &Vec<Digest>),
    terms: Terms,
) -> Result<Order, OrderError> {
    let orgs = draft::orgs_of(items.iter().map(|item| &item.org));
    let org = match orgs.as_slice() {
        [one] => *one,
        _ => context.org,
    };
    let (mut mode, mut own) = (ChangeMode::Direct, None);
    for one in &orgs {
        let held = tx.get(&ORGS, one)?.ok_or(NoAccess::NotFound)?;
        mode = strictest(mode, held.change_mode);
        own = own.or((*one == org).then_some(held));
    }
    if own.is_none() {
        own = tx.get(&ORGS, &org)?;
    }
    let max = own.map_or(0, |org| org.limits.open_orders as usize);
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
        digest: digest_of(digests),
        history: History::begin(now),
        approvals: Vec::new(),
        ended: None,
        durable_at: None,
        reverts: terms.reverts,
        reverted_by: None,
        returned: false,
        confirm: None,
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

/// Nothing of the order is open any more, and it waits for nothing.
pub(super) fn close(tx: &mut Tx<'_>, order: &Order, items: &[Item]) -> Result<(), OrderError> {
    for item in items {
        item::close(tx, item)?;
    }
    if let Some(at) = tx.get(&ORDER_TIMES, &order.id)? {
        tx.delete(&ORDERS_DUE, &(at.0, order.id))?;
    }
    tx.delete(&ORDER_HOLDS, &order.id)?;
    Ok(tx.delete(&ORDERS_WAITING, &(order.org, order.id))?)
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
