//! Change sets that come whole: pushed by an outside portal that had them approved, or asked for by
//! somebody whose organisation applies changes at once.
//!
//! They take the same road as a basket: drafts, an order, the door. Nothing is kept of a set that
//! breaks a rule; one whose base is stale leaves an order in `conflict`.

use serde::{Deserialize, Serialize};

use super::apply::{self, Against, ConflictView, Go};
use super::ask::Ask;
use super::basket::{self, BasketChange, BasketError};
use super::draft;
use super::file::Asks;
use super::item::Item;
use super::kept::{self, Origin, Terms};
use super::left;
use super::order::{self, OrderError};
use super::receipt::{OrderView, Outcome, ZoneLine};
use super::refusal::note_fits;
use super::schedule;
use crate::maintain::Door;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Problem;
use crate::manage::holding::zone as holding;
use crate::manage::limits::{self, NAME_CHARS_MAX};
use crate::manage::people::organisation::{ChangeMode, ORGS};
use crate::manage::time::Timestamp;
use crate::store::Rows;

/// A change set, for any number of zones.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSet {
    /// What is asked for; applied all together or not at all.
    pub changes: Vec<Ask>,
    #[serde(default)]
    pub note: Option<String>,
    /// What the portal calls it.
    #[serde(default)]
    pub reference: Option<String>,
    /// Not applied before this moment; at once if left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub not_before: Option<Timestamp>,
    /// Only says what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a change set or an order would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Preview {
    /// The zones it would change, and their serials then.
    pub zones: Vec<ZoneLine>,
    /// What was changed since its author saw it.
    pub conflicts: Vec<ConflictView>,
    /// Rules it would break.
    pub problems: Vec<Problem>,
}

impl Preview {
    /// Whether it would be applied.
    pub fn is_clean(&self) -> bool {
        self.conflicts.is_empty() && self.problems.is_empty()
    }
}

/// What a change set gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The order it became, applied or in conflict, or waiting for an operator.
    Order(Box<OrderView>),
    /// What it would do.
    Preview(Preview),
}

/// Pushes an approved change set: places and applies it at once, and waits until it is served.
///
/// # Errors
///
/// [`OrderError`]; nothing was applied, and nothing is kept.
pub fn push(manage: &Manage, context: &Context, set: ChangeSet) -> Result<Pushed, OrderError> {
    context.may(Permission::OrderPush)?;
    at_once(manage, context, set, Origin::Push)
}

fn at_once(
    manage: &Manage,
    context: &Context,
    set: ChangeSet,
    origin: Origin,
) -> Result<Pushed, OrderError> {
    note_fits(set.note.as_deref())?;
    schedule::time_fits(set.not_before)?;
    let reference = set.reference.as_deref();
    if let Some(why) =
        reference.and_then(|text| limits::line("reference", text, NAME_CHARS_MAX).err())
    {
        return Err(OrderError::Invalid(vec![Problem::at("reference", "text", why)]));
    }
    let asks = Asks::read(manage, context, set.changes)?;
    if set.dry_run {
        return preview(manage, |door| items(door, context, &asks)).map(Pushed::Preview);
    }
    let done = order::finish(manage, context, |door| {
        let items = items(door, context, &asks)?;
        let (note, reference) = (set.note.clone(), set.reference.clone());
        let terms = Terms { note, reference, not_before: set.not_before, ..Terms::of(origin) };
        order::put_new(door, context, items, terms)
    })?;
    Ok(Pushed::Order(Box::new(done)))
}

/// The items of a change set; what asks for nothing that is not so already is left in, for the
/// receipt names every zone.
fn items(door: &mut Door<'_, '_>, context: &Context, asks: &Asks) -> Result<Vec<Item>, OrderError> {
    let tx = door.tx();
    let drafts = draft::drafts(&*tx, context, asks, &mut |_, _, _, _| Ok(None))?;
    let author = context.actor.user();
    let items = drafts.into_iter().map(|draft| Item::new(tx, author, draft));
    Ok(items.collect::<Result<Vec<_>, _>>()?)
}

/// What items would do, worked out by the code that would do it; nothing is kept.
fn preview(
    manage: &Manage,
    items: impl FnOnce(&mut Door<'_, '_>) -> Result<Vec<Item>, OrderError>,
) -> Result<Preview, OrderError> {
    let tried = manage.maintain.commit(|door| -> Result<(), Tried> {
        let items = items(door).map_err(Tried::Not)?;
        match apply::through(door, &items, Go::Try) {
            Ok(Ok(applied)) => {
                let zones = Outcome::applied(&applied).zones.into_iter().map(ZoneLine::from);
                Err(Tried::Would(Preview { zones: zones.collect(), ..Preview::default() }))
            }
            Ok(Err(Against { conflicts, problems })) => {
                Err(Tried::Would(Preview { zones: Vec::new(), conflicts, problems }))
            }
            Err(stop) => Err(Tried::Not(stop.into())),
        }
    });
    match tried {
        Err(crate::maintain::CommitError::Refused(Tried::Would(preview))) => Ok(preview),
        Err(crate::maintain::CommitError::Refused(Tried::Not(error))) => Err(error),
        Err(crate::maintain::CommitError::Unreadable(fault)) => Err(fault.into()),
        Err(crate::maintain::CommitError::Write(error)) => Err(error.into()),
        Ok(_) => Ok(Preview::default()),
    }
}

/// A try never commits: what it found leaves as a refusal.
enum Tried {
    Would(Preview),
    Not(OrderError),
}

/// What placing one's own basket would do.
///
/// # Errors
///
/// [`OrderError`] when that cannot be said.
pub fn preview_basket(manage: &Manage, context: &Context) -> Result<Preview, OrderError> {
    context.may(Permission::OrderPlace)?;
    let Some(user) = context.actor.user() else { return Ok(Preview::default()) };
    preview(manage, |door| Ok(basket::items_of(door.tx(), user)?))
}

/// What applying an order now would do.
///
/// # Errors
///
/// [`OrderError`] when there is no such order in reach.
pub fn preview_order(
    manage: &Manage,
    context: &Context,
    id: crate::manage::id::OrderId,
) -> Result<Preview, OrderError> {
    preview(manage, |door| {
        kept::fetch(door.tx(), context, id)?;
        Ok(left::items(door.tx(), id)?)
    })
}

/// What became of something that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It waits in the basket.
    Basket(Box<BasketChange>),
    /// It was applied at once.
    Order(Box<OrderView>),
}

/// Takes changes the way the holders of the zones have chosen: applied at once, or into the basket.
///
/// # Errors
///
/// [`OrderError`]; nothing happened.
pub fn submit(
    manage: &Manage,
    context: &Context,
    asks: Vec<Ask>,
    note: Option<String>,
) -> Result<Submitted, OrderError> {
    context.may(Permission::ZoneEdit)?;
    let direct = manage.store.read(|rows| {
        for ask in &asks {
            let org = match ask {
                Ask::ZoneCreate { org, .. } => org.unwrap_or(context.org),
                Ask::ZoneImport { zone, org, .. } if holding::held(rows, zone)?.is_none() => {
                    org.unwrap_or(context.org)
                }
                other => holding::fetch(rows, context, Permission::ZoneView, other.zone())?.org,
            };
            let mode = rows.get(&ORGS, &org)?.map(|org| org.change_mode);
            if mode != Some(ChangeMode::Direct) {
                return Ok(false);
            }
        }
        Ok::<bool, OrderError>(true)
    })?;
    if !direct {
        let added = basket::add(manage, context, asks).map_err(|why| match why {
            BasketError::Stop(stop) => OrderError::Stop(stop),
            BasketError::Invalid(problems) => OrderError::Invalid(problems),
        })?;
        return Ok(Submitted::Basket(Box::new(added)));
    }
    let set = ChangeSet { changes: asks, note, ..ChangeSet::default() };
    match at_once(manage, context, set, Origin::Direct)? {
        Pushed::Order(order) => Ok(Submitted::Order(order)),
        Pushed::Preview(_) => Err(OrderError::Empty),
    }
}
