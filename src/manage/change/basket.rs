//! The basket: what somebody collected and has not placed.
//!
//! One per user, kept until placed or cleared, whatever is restarted in between. Later edits of an
//! RRset fold into the item there is; what ends where it began is no item. Nothing in a basket is
//! served, checked by zone rules only when asked ([`check`]) or placed, and seen by others as no more than
//! a badge on the RRset.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::apply;
use super::ask::Ask;
use super::draft::{self, DraftError};
use super::file::Asks;
use super::item::{self, Body, Draft, Holder, Item, What};
use super::pending::{Base, Net};
use super::refusal::OrderError;
use super::shown::{self, ItemView};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched, hex};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::{ItemId, UserId};
use crate::manage::idempotency;
use crate::manage::limits;
use crate::manage::people::organisation::ORGS;
use crate::store::{Rows, Table, Tx};
use crate::wire::{Name, Type};

/// The items in users' baskets.
const BASKETS: Table<(UserId, ItemId), Item> = Table::new("baskets", *b"bk");

/// Why a basket was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BasketError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
}

stops!(BasketError);

impl From<DraftError> for BasketError {
    fn from(why: DraftError) -> BasketError {
        match why {
            DraftError::Stop(stop) => BasketError::Stop(stop),
            DraftError::Invalid(problems) => BasketError::Invalid(problems),
        }
    }
}

impl fmt::Display for BasketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BasketError::Stop(stop) => stop.fmt(f),
            BasketError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for BasketError {
    fn kind(&self) -> Kind {
        match self {
            BasketError::Stop(stop) => stop.kind(),
            BasketError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            BasketError::Invalid(problems) => problems,
            BasketError::Stop(_) => &[],
        }
    }
}

/// A basket, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BasketView {
    pub items: Vec<ItemView>,
    /// What stands in the way of placing it, as of now.
    pub problems: Vec<Problem>,
    /// SHA-256 over all items.
    pub digest: String,
}

/// What adding to a basket did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BasketChange {
    /// The items that are new or changed.
    pub items: Vec<ItemView>,
    /// Items that vanished, because what is asked for is what is served.
    pub vanished: Vec<ItemId>,
    /// How many edits asked for nothing that is not so already.
    pub unchanged: u32,
    /// What stands in the way of placing the basket, as of now.
    pub problems: Vec<Problem>,
}

/// What adding did, before it is shown.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Added {
    kept: Vec<ItemId>,
    vanished: Vec<ItemId>,
    unchanged: u32,
}

/// The user whose basket it is; the server itself has none.
fn owner(context: &Context) -> Result<UserId, Stop> {
    Ok(context.actor.user().ok_or(NoAccess::Forbidden(Permission::OrderPlace))?)
}

/// Puts what is asked for into one's own basket.
///
/// # Errors
///
/// [`BasketError`]; the basket is as before.
pub fn add(
    manage: &Manage,
    context: &Context,
    asks: Vec<Ask>,
) -> Result<BasketChange, BasketError> {
    context.may(Permission::ZoneEdit)?;
    let user = owner(context)?;
    let asks = Asks::read(manage, context, asks)?;
    let added: Added = manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let drafts = draft::drafts(&*tx, context, &asks, &mut |rows, zone, owner, rtype| {
                earlier(rows, user, zone, owner, rtype)
            })?;
            put(tx, context, user, drafts)
        })
    })?;
    let items = manage.store.read(|rows| {
        let items = added.kept.iter().map(|id| rows.get(&BASKETS, &(user, *id)));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        items
            .iter()
            .flatten()
            .map(|item| shown::item(rows, context, item))
            .collect::<Result<_, Stop>>()
    })?;
    let problems = check(manage, context)?;
    let Added { vanished, unchanged, .. } = added;
    Ok(BasketChange { items, vanished, unchanged, problems })
}

/// The item of a user's basket on an RRset.
fn find(
    rows: &impl Rows,
    user: UserId,
    zone: &Name,
    owner: &Name,
    rtype: Type,
) -> Result<Option<Item>, Stop> {
    let open = item::open_on(rows, zone, owner, rtype)?;
    let mut mine =
        open.iter().filter(|open| open.holder.order.is_none() && open.holder.user == Some(user));
    let mine = mine.next().map(|open| rows.get(&BASKETS, &(user, open.item))).transpose()?;
    Ok(mine.flatten())
}

fn earlier(
    rows: &impl Rows,
    user: UserId,
    zone: &Name,
    owner: &Name,
    rtype: Type,
) -> Result<draft::Earlier, Stop> {
    let Some(item) = find(rows, user, zone, owner, rtype)? else { return Ok(None) };
    Ok(match item.body(rows)? {
        Body::Edit { base, net } => Some((base, net)),
        Body::Zone { .. } | Body::Nothing | Body::Dnssec { .. } => None,
    })
}

/// The item a draft takes the place of: on the same RRset, or about the same whole zone.
fn replaced(rows: &impl Rows, user: UserId, draft: &Draft) -> Result<Option<Item>, Stop> {
    if let What::Edit { owner, rtype } = &draft.what {
        return find(rows, user, &draft.zone, owner, *rtype);
    }
    let open = item::open_in(rows, &draft.zone)?;
    let place = item::place_of(&draft.what);
    for open in open.iter().filter(|open| open.rtype.0 == place && open.owner_key.is_empty()) {
        if open.holder.order.is_none() && open.holder.user == Some(user) {
            return Ok(rows.get(&BASKETS, &(user, open.item))?);
        }
    }
    Ok(None)
}

/// What a user's basket asks of the RRsets of one name.
pub(super) fn edits_at(
    rows: &impl Rows,
    user: UserId,
    zone: &Name,
    owner: &Name,
) -> Result<Vec<(Type, Base, Net)>, Stop> {
    let mut edits = Vec::new();
    for open in item::open_at(rows, zone, owner)? {
        if open.holder.order.is_none()
            && open.holder.user == Some(user)
            && let Some(item) = rows.get(&BASKETS, &(user, open.item))?
            && let Body::Edit { base, net } = item.body(rows)?
        {
            edits.push((open.rtype, base, net));
        }
    }
    Ok(edits)
}

/// Puts drafts into a user's basket, all or none.
pub(super) fn put_all(
    tx: &mut Tx<'_>,
    context: &Context,
    user: UserId,
    drafts: Vec<Draft>,
) -> Result<(), OrderError> {
    match put(tx, context, user, drafts) {
        Ok(_) => Ok(()),
        Err(BasketError::Stop(stop)) => Err(OrderError::Stop(stop)),
        Err(BasketError::Invalid(problems)) => Err(OrderError::Invalid(problems)),
    }
}

fn put(
    tx: &mut Tx<'_>,
    context: &Context,
    user: UserId,
    drafts: Vec<Draft>,
) -> Result<Added, BasketError> {
    let mut added = Added::default();
    let mut touched = Vec::new();
    let mut orgs = Vec::new();
    for draft in drafts {
        let before = replaced(tx, user, &draft)?;
        let nothing = matches!(&draft.body, Body::Edit { base, net } if net.is_nothing(base));
        orgs.push(draft.org);
        let id = before.as_ref().map_or_else(ItemId::new, |item| item.id);
        let was = before.as_ref().map(|item| item.digest(&*tx)).transpose()?;
        if nothing {
            match before {
                Some(item) => {
                    take_out(tx, user, &item)?;
                    touched.push(Touched { object: Object::Item(id), before: was, after: None });
                    added.vanished.push(id);
                }
                None => added.unchanged += 1,
            }
            continue;
        }
        if let Some(item) = before {
            item::close(tx, &item)?;
        }
        let item = Item::keep(tx, id, Some(user), draft)?;
        let after = Some(item.digest(&*tx)?);
        tx.put(&BASKETS, &(user, id), &item)?;
        item::open(tx, &item, Holder { user: Some(user), org: context.org, order: None, n: 0 })?;
        touched.push(Touched { object: Object::Item(id), before: was, after });
        added.kept.push(id);
    }
    let org = tx.get(&ORGS, &context.org)?.ok_or(NoAccess::NotFound)?;
    let max = org.limits.basket_items as usize;
    let count = tx.scan(&BASKETS, &user, None, max.saturating_add(1))?.len();
    limits::at_most("basket_items", max, count)?;
    if !touched.is_empty() {
        let orgs = draft::orgs_of(&orgs);
        event::record(
            tx,
            context,
            News { kind: Happened::BasketChanged, order: None, orgs, touched },
        )?;
    }
    Ok(added)
}

fn take_out(tx: &mut Tx<'_>, user: UserId, item: &Item) -> Result<(), Stop> {
    item.forget(tx)?;
    hand_over(tx, user, item)
}

/// Takes an item out of the basket for an order to keep.
pub(super) fn hand_over(tx: &mut Tx<'_>, user: UserId, item: &Item) -> Result<(), Stop> {
    item::close(tx, item)?;
    Ok(tx.delete(&BASKETS, &(user, item.id))?)
}

/// Puts an item back that an order kept. What is in the basket on the same RRset stays, and the
/// item does not come back.
pub(super) fn take_back(
    tx: &mut Tx<'_>,
    context: &Context,
    user: UserId,
    item: &Item,
) -> Result<bool, Stop> {
    let taken = match &item.what {
        What::Edit { owner, rtype } => find(tx, user, &item.zone, owner, *rtype)?.is_some(),
        _ => false,
    };
    if taken {
        return Ok(false);
    }
    tx.put(&BASKETS, &(user, item.id), item)?;
    item::open(tx, item, Holder { user: Some(user), org: context.org, order: None, n: 0 })?;
    Ok(true)
}

/// The items of a user's basket, in the order they were asked for.
pub(super) fn items_of(rows: &impl Rows, user: UserId) -> Result<Vec<Item>, Stop> {
    let found = rows.scan(&BASKETS, &user, None, usize::MAX)?;
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// One item of a user's basket.
pub(super) fn item(rows: &impl Rows, user: UserId, id: ItemId) -> Result<Option<Item>, Stop> {
    Ok(rows.get(&BASKETS, &(user, id))?)
}

/// One's own basket.
///
/// # Errors
///
/// [`Stop::Access`] without the right to place orders.
pub fn list(manage: &Manage, context: &Context) -> Result<BasketView, Stop> {
    context.may(Permission::OrderPlace)?;
    let user = owner(context)?;
    let (items, digest) = manage.store.read(|rows| {
        let items = items_of(rows, user)?;
        let digest = item::digest_of_all(rows, &items)?;
        let items = items.iter().map(|item| shown::item(rows, context, item));
        Ok::<_, Stop>((items.collect::<Result<Vec<_>, Stop>>()?, digest))
    })?;
    let problems = check(manage, context)?;
    Ok(BasketView { items, problems, digest: hex(&digest) })
}

/// What stands in the way of placing one's own basket, by the code that would apply it.
///
/// # Errors
///
/// [`Stop::Store`] when that cannot be found out.
pub fn check(manage: &Manage, context: &Context) -> Result<Vec<Problem>, Stop> {
    let user = owner(context)?;
    let changes = manage.store.read(|rows| {
        let items = items_of(rows, user)?;
        apply::zone_changes(rows, &items)
    })?;
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match apply::dry_run(manage, &changes)? {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.problems,
    })
}

/// Takes one item out of one's own basket.
///
/// # Errors
///
/// [`NoAccess::NotFound`] when it is not there.
pub fn remove(manage: &Manage, context: &Context, id: ItemId) -> Result<(), Stop> {
    context.may(Permission::OrderPlace)?;
    let user = owner(context)?;
    manage.transact(|tx| {
        let item = tx.get(&BASKETS, &(user, id))?.ok_or(NoAccess::NotFound)?;
        take_all_out(tx, context, user, &[item], Happened::BasketChanged)
    })
}

/// Empties one's own basket; returns how many items were in it.
///
/// # Errors
///
/// [`Stop::Access`] without the right to place orders.
pub fn clear(manage: &Manage, context: &Context) -> Result<u32, Stop> {
    context.may(Permission::OrderPlace)?;
    let user = owner(context)?;
    manage.transact(|tx| {
        let items = items_of(tx, user)?;
        take_all_out(tx, context, user, &items, Happened::BasketCleared)?;
        Ok(u32::try_from(items.len()).unwrap_or(u32::MAX))
    })
}

fn take_all_out(
    tx: &mut Tx<'_>,
    context: &Context,
    user: UserId,
    items: &[Item],
    kind: Happened,
) -> Result<(), Stop> {
    if items.is_empty() {
        return Ok(());
    }
    let mut touched = Vec::with_capacity(items.len());
    for item in items {
        let before = Some(item.digest(&*tx)?);
        take_out(tx, user, item)?;
        touched.push(Touched { object: Object::Item(item.id), before, after: None });
    }
    let orgs = draft::orgs_of(items.iter().map(|item| &item.org));
    event::record(tx, context, News { kind, order: None, orgs, touched })?;
    Ok(())
}
