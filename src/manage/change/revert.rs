//! Revert: an order that undoes another.
//!
//! It is an order like others: its items are worked out from what the first one changed, with what it
//! left as their base. So what was changed again since then is a conflict, never lost silently.

use serde::{Deserialize, Serialize};

use super::ask;
use super::item::{Body, Draft, Item, What};
use super::kept::{self, ORDERS, ORDERS_UNSERVED, Origin, Terms};
use super::left;
use super::order::{self, OrderError};
use super::pending::{Base, Net};
use super::receipt::OrderView;
use super::state::State;
use crate::maintain::dnssec;
use crate::maintain::rows as zones;
use crate::maintain::{Applied, AppliedZone, ChangedRrSet};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::fault::Stop;
use crate::manage::holding::zone as holding;
use crate::manage::id::{OrderId, OrgId};
use crate::manage::time::Timestamp;
use crate::sign::is_made_at_apex;
use crate::store::{Rows, Tx};
use crate::wire::{Name, Type};
use crate::zone::packed::Packer;

/// Octets of a zone that is kept to undo its end or exchange; of a larger one it cannot be undone.
const KEPT_ZONE_OCTETS_MAX: usize = 16 << 20;

/// What would undo an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// Zone, owner, type, before, after.
    sets: Vec<(Name, Name, Type, Base, Base)>,
    zones: Vec<OldZone>,
    /// Zones the order created.
    created: Vec<Name>,
    /// Why it cannot be undone, if it cannot.
    not: Option<String>,
}

impl Undo {
    /// Whether it holds no whole zones.
    pub fn is_small(&self) -> bool {
        self.zones.is_empty()
    }
}

/// A zone as it was before it was deleted or exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OldZone {
    apex: Name,
    org: OrgId,
    presigned: bool,
    packed: Vec<u8>,
    /// Whether it went, or got other records.
    deleted: bool,
    /// The serial it has had since, if it was exchanged.
    serial: Option<u32>,
}

/// The zones that items delete or exchange, as they are.
pub(super) fn undo_of_zones(rows: &impl Rows, items: &[Item]) -> Result<Undo, Stop> {
    let mut undo = Undo::default();
    for item in items {
        let deleted = match item.what {
            What::Delete => true,
            What::Import => false,
            What::Edit { .. } | What::Create | What::Dnssec => continue,
        };
        let Some(held) = holding::held(rows, &item.zone)? else { continue };
        if usize::try_from(held.zone.counts.octets).unwrap_or(usize::MAX) > KEPT_ZONE_OCTETS_MAX {
            undo.not = Some(format!("zone {} was too large to be kept", item.zone));
            continue;
        }
        let mut packer = Packer::default();
        zones::with_view(rows, &held.zone, |view| {
            view.walk(&[], &mut |node| {
                packer.push(node);
                std::ops::ControlFlow::Continue(())
            })
        })?;
        undo.zones.push(OldZone {
            apex: item.zone.clone(),
            org: held.org,
            presigned: held.zone.presigned,
            packed: packer.finish(),
            deleted,
            serial: None,
        });
    }
    Ok(undo)
}

/// The RRsets that an order changed in a zone, as far as they were kept.
pub(super) fn changed_sets(
    rows: &impl Rows,
    id: OrderId,
    zone: u32,
) -> Result<Vec<(Name, Type)>, Stop> {
    let Some(zone) = zones::by_id(rows, zone)? else { return Ok(Vec::new()) };
    let undo = left::undo(rows, id)?.unwrap_or_default();
    let sets = undo.sets.into_iter().filter(|(apex, ..)| *apex == zone.apex);
    Ok(sets.map(|(_, owner, rtype, ..)| (owner, rtype)).collect())
}

/// The same with what was applied for `items`.
pub(super) fn undo_of(applied: &Applied, items: &[Item], mut undo: Undo) -> Undo {
    let switched: Vec<&Name> =
        items.iter().filter(|item| item.what == What::Dnssec).map(|item| &item.zone).collect();
    for zone in &applied.zones {
        let exchanged = undo.zones.iter_mut().find(|old| old.apex == zone.apex);
        match (exchanged, zone.from) {
            (Some(old), _) => old.serial = zone.to.map(|serial| serial.0),
            (None, None) => undo.created.push(zone.apex.clone()),
            (None, Some(_)) => undo.sets.extend(sets_of(zone, &switched)),
        }
        if zone.changed_count > zone.changed.len() && zone.from.is_some() && zone.to.is_some() {
            let kept = undo.zones.iter().any(|old| old.apex == zone.apex);
            if !kept {
                undo.not = Some(format!("zone {} had too many changes to be kept", zone.apex));
            }
        }
    }
    undo
}

fn sets_of<'a>(
    zone: &'a AppliedZone,
    switched: &'a [&Name],
) -> impl Iterator<Item = (Name, Name, Type, Base, Base)> + 'a {
    // What a signer makes follows from the rest; its keys come and go with the switch.
    let is_of_switch = |change: &ChangedRrSet| {
        let is_made = is_made_at_apex(change.rtype) || change.rtype == Type::CSYNC;
        is_made && switched.contains(&&change.owner)
    };
    let is_asked = move |change: &&ChangedRrSet| {
        change.before != change.after && !ask::is_managed(change.rtype) && !is_of_switch(change)
    };
    zone.changed.iter().filter(is_asked).map(|change| {
        let value = |set: &Option<crate::wire::RrSet>| set.as_ref().map(ask::value);
        let (before, after) = (value(&change.before), value(&change.after));
        (zone.apex.clone(), change.owner.clone(), change.rtype, before, after)
    })
}

/// Why an order is to be undone.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Revert {
    pub note: Option<String>,
}

/// Places an order that undoes an applied one.
///
/// # Errors
///
/// [`OrderError::NotUndoable`] when what was there before was not kept; otherwise as for any order.
pub fn revert(
    manage: &Manage,
    context: &Context,
    id: OrderId,
    revert: Revert,
) -> Result<OrderView, OrderError> {
    context.may(Permission::OrderPlace)?;
    super::refusal::note_fits(revert.note.as_deref())?;
    order::finish(manage, context, |door| {
        let tx = door.tx();
        holding::may_change(tx, context)?;
        let order = kept::fetch(tx, context, id)?;
        if !order.state().is_applied() {
            return Err(OrderError::NotIn { state: order.state(), needed: "applied" });
        }
        let undo = left::undo(tx, id)?;
        let undo = undo.ok_or(OrderError::NotUndoable("what the order changed was not kept"))?;
        if undo.not.is_some() {
            return Err(OrderError::NotUndoable(
                "the order changed more than is kept to undo it: import the zone as it was",
            ));
        }
        let switches = switched_back(tx, context, &left::items(tx, id)?)?;
        let mut drafts = drafts(tx, context, undo)?;
        drafts.extend(switches);
        let author = context.actor.user();
        let items = drafts.into_iter().map(|draft| Item::new(tx, author, draft));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let note = revert.note.clone();
        let terms = Terms { note, reverts: Some(id), ..Terms::of(Origin::Revert) };
        order::put_new(door, context, items, terms)
    })
}

/// What brings DNSSEC back to what was wanted before: no less safely than it was switched.
fn switched_back(
    rows: &impl Rows,
    context: &Context,
    items: &[Item],
) -> Result<Vec<Draft>, OrderError> {
    let mut drafts = Vec::new();
    for item in items {
        let Body::Dnssec { before, .. } = item.body(rows)? else { continue };
        let held = holding::fetch(rows, context, Permission::ZoneManage, &item.zone)?;
        let now = dnssec::wish(rows, &held.zone)?;
        if now != before {
            drafts.push(Draft {
                zone: item.zone.clone(),
                org: held.org,
                what: What::Dnssec,
                seen_serial: Some(held.zone.serial.0),
                body: Body::Dnssec { wish: before, before: now },
                at: String::new(),
            });
        }
    }
    Ok(drafts)
}

fn drafts(rows: &impl Rows, context: &Context, undo: Undo) -> Result<Vec<Draft>, OrderError> {
    let mut drafts = Vec::new();
    for old in undo.zones {
        context.may(Permission::ZoneManage)?;
        let what = if old.deleted { What::Create } else { What::Import };
        let body = Body::Zone { packed: old.packed, presigned: old.presigned };
        let seen_serial = old.serial.filter(|_| !old.deleted);
        let (zone, org) = (old.apex, old.org);
        if !crate::manage::access::reaches(rows, context, org)? {
            return Err(NoAccess::NotFound.into());
        }
        drafts.push(Draft { zone, org, what, seen_serial, body, at: String::new() });
    }
    for apex in undo.created {
        let held = holding::fetch(rows, context, Permission::ZoneManage, &apex)?;
        let (zone, org, seen_serial) = (apex, held.org, Some(held.zone.serial.0));
        let (what, body, at) = (What::Delete, Body::Nothing, String::new());
        drafts.push(Draft { zone, org, what, seen_serial, body, at });
    }
    for (apex, owner, rtype, before, after) in undo.sets {
        let held = holding::fetch(rows, context, Permission::ZoneEdit, &apex)?;
        let net = inverse(&before);
        drafts.push(Draft {
            zone: apex,
            org: held.org,
            what: What::Edit { owner, rtype },
            seen_serial: Some(held.zone.serial.0),
            body: Body::Edit { base: after, net },
            at: String::new(),
        });
    }
    Ok(drafts)
}

/// What brings `before` back: of the whole set, so that anything done to it since is noticed.
fn inverse(before: &Base) -> Net {
    match before {
        Some(value) => Net::Replace(value.clone()),
        None => Net::Delete,
    }
}

/// Marks an order as undone by another.
pub(super) fn mark_reverted(tx: &mut Tx<'_>, id: OrderId, by: OrderId) -> Result<(), OrderError> {
    let Some(mut order) = tx.get(&ORDERS, &id)? else { return Ok(()) };
    let gone = order.history.go(State::Reverted, Timestamp::now());
    gone.map_err(|state| OrderError::NotIn { state, needed: "applied" })?;
    order.reverted_by = Some(by);
    tx.delete(&ORDERS_UNSERVED, &id)?;
    Ok(tx.put(&ORDERS, &id, &order)?)
}
