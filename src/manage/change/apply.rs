//! From items to the door: what a list of items asks of zones, and what the door said.
//!
//! The same few functions serve a dry run, an order that is placed and one that is approved, so
//! that none of them can think otherwise than the others.

use serde::{Deserialize, Serialize};

use super::ask::{self, SetAsk};
use super::draft;
use super::item::{Body, Item, What};
use super::pending::{Base, Net, Value};
use crate::maintain::rows as zones;
use crate::maintain::{
    Applied, CommitError, Content, Door, Reason, Refusal as DoorRefusal, ZoneChange,
};
use crate::manage::Manage;
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::zone as holding;
use crate::manage::limits::TTL_S_DEFAULT;
use crate::manage::people::organisation::ORGS;
use crate::store::Rows;
use crate::wire::{Name, RrSet, Type};
use crate::zone::{self, RrSetEdit};

/// A change whose base is no longer what the zone holds, in three views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConflictView {
    #[schema(value_type = String)]
    pub zone: Name,
    /// The owner; none when the zone as a whole has changed.
    #[schema(value_type = Option<String>)]
    pub name: Option<Name>,
    #[serde(rename = "type")]
    pub rtype: Option<String>,
    /// The RRset as the author saw it.
    pub base: Option<SetAsk>,
    /// The RRset as it is served.
    pub now: Option<SetAsk>,
    /// The RRset as the author wants it.
    pub yours: Option<SetAsk>,
    pub text: String,
}

/// What stands against applying items. One of the two is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Against {
    /// What was changed since the authors saw it.
    pub conflicts: Vec<ConflictView>,
    /// Rules that would be broken.
    pub problems: Vec<Problem>,
}

impl Against {
    fn is_nothing(&self) -> bool {
        self.conflicts.is_empty() && self.problems.is_empty()
    }
}

/// What items ask of zones.
///
/// # Errors
///
/// [`Stop::Store`] when the body of an item cannot be read.
pub fn zone_changes(rows: &impl Rows, items: &[Item]) -> Result<Vec<ZoneChange>, Stop> {
    items.iter().map(|item| zone_change(rows, item)).collect()
}

fn zone_change(rows: &impl Rows, item: &Item) -> Result<ZoneChange, Stop> {
    let apex = item.zone.clone();
    let content = |body| match body {
        Body::Zone { packed, presigned } => Content::Packed { octets: packed, presigned },
        Body::Edit { .. } | Body::Nothing | Body::Dnssec { .. } => Content::RrSets(Vec::new()),
    };
    let body = item.look_at_body(rows)?;
    if let (What::Edit { owner, rtype }, Body::Edit { base, net }) = (&item.what, &*body) {
        return Ok(ZoneChange::Edit { apex, edits: edits(owner, *rtype, base, net) });
    }
    Ok(match (&item.what, body.into_owned()) {
        (What::Edit { .. }, _) => ZoneChange::Edit { apex, edits: Vec::new() },
        (What::Create, body) => {
            ZoneChange::Create { apex, org: item.org.to_string(), content: content(body) }
        }
        (What::Import, body) => ZoneChange::Replace { apex, content: content(body) },
        (What::Delete, _) => ZoneChange::Delete { apex },
        (What::Dnssec, Body::Dnssec { wish, .. }) => ZoneChange::SetDnssec { apex, wish },
        (What::Dnssec, _) => ZoneChange::Edit { apex, edits: Vec::new() },
    })
}

fn edits(owner: &Name, rtype: Type, base: &Base, net: &Net) -> Vec<RrSetEdit> {
    let seen = || zone::Base::Seen(base.as_ref().map(|value| rrset(owner, rtype, value)));
    let edit = |op| RrSetEdit { owner: owner.clone(), rtype, op, base: seen() };
    match net {
        Net::Delete => vec![edit(zone::Op::Delete)],
        Net::Replace(value) => {
            let rdatas = value.rdatas().to_vec();
            vec![edit(zone::Op::Replace { ttl: value.ttl, rdatas })]
        }
        Net::Records { add, remove, ttl } => {
            let was = base.as_ref().map(|value| value.ttl);
            let new = ttl.or(was).unwrap_or(TTL_S_DEFAULT);
            let removal =
                (!remove.is_empty()).then(|| edit(zone::Op::Remove { rdatas: remove.clone() }));
            let addition =
                (!add.is_empty()).then(|| edit(zone::Op::Add { ttl: new, rdatas: add.clone() }));
            let ttl = ttl.filter(|_| was.is_some()).map(|ttl| edit(zone::Op::SetTtl { ttl }));
            removal.into_iter().chain(addition).chain(ttl).collect()
        }
    }
}

/// The value as records of an owner.
pub fn rrset(owner: &Name, rtype: Type, value: &Value) -> RrSet {
    RrSet::new(owner.clone(), rtype, value.ttl, value.rdatas().to_vec())
}

/// What `changes` would do, by the code that would do it; nothing is kept.
///
/// # Errors
///
/// [`Stop::Store`] when that cannot be found out.
pub fn dry_run(manage: &Manage, changes: &[ZoneChange]) -> Result<Result<Applied, Against>, Stop> {
    match manage.maintain.dry_run(changes) {
        Ok(applied) => Ok(Ok(applied)),
        Err(CommitError::Refused(refusal)) => Ok(Err(against(&refusal, &|_, _, _| None))),
        Err(CommitError::Unreadable(fault)) => Err(fault.into()),
        Err(CommitError::Write(error)) => Err(error.into()),
    }
}

/// Whether items are to be applied or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Keep what they do.
    Apply,
    /// Work out what they would do.
    Try,
}

/// Takes items through the door, all or none.
///
/// # Errors
///
/// [`Stop::Store`] when something cannot be read. What stands against the items is not an error
/// here: it is what becomes of the order.
pub fn through(
    door: &mut Door<'_, '_>,
    items: &[Item],
    go: Go,
) -> Result<Result<Applied, Against>, Stop> {
    let mut held = beyond_limits(door.tx(), items)?;
    held.conflicts = changed_zones(door.tx(), items)?;
    if !held.is_nothing() {
        return Ok(Err(held));
    }
    let changes = zone_changes(door.tx(), items)?;
    let done = match go {
        Go::Apply => door.apply(&changes),
        Go::Try => door.dry_run(&changes),
    };
    let refusal = match done {
        Ok(applied) => return Ok(Ok(applied)),
        Err(refusal) => refusal,
    };
    let bodies = wanted(door.tx(), items)?;
    Ok(Err(against(&refusal, &|zone, owner, rtype| {
        let mut found = bodies.iter().filter(|(z, o, t, _)| (z, o, *t) == (zone, owner, rtype));
        found.next().map(|(.., value)| value.clone())
    })))
}

type Wanted = Vec<(Name, Name, Type, Base)>;

/// What each change of records makes of its base.
fn wanted(rows: &impl Rows, items: &[Item]) -> Result<Wanted, Stop> {
    let mut wanted = Vec::new();
    for item in items {
        if let (What::Edit { owner, rtype }, Body::Edit { base, net }) =
            (&item.what, item.body(rows)?)
        {
            wanted.push((item.zone.clone(), owner.clone(), *rtype, net.on(&base, TTL_S_DEFAULT)));
        }
    }
    Ok(wanted)
}

/// A whole zone may only be replaced as the author saw it: its serial says so.
fn changed_zones(rows: &impl Rows, items: &[Item]) -> Result<Vec<ConflictView>, Stop> {
    let mut conflicts = Vec::new();
    for item in items.iter().filter(|item| item.what == What::Import) {
        let now = zones::zone(rows, &item.zone)?.map(|zone| zone.serial.0);
        if let (Some(now), Some(seen)) = (now, item.seen_serial)
            && now != seen
        {
            let text = format!("{} is at serial {now}, you saw {seen}: look again", item.zone);
            conflicts.push(of_zone(&item.zone, text));
        }
    }
    Ok(conflicts)
}

/// The limits of organisations that the items would break.
fn beyond_limits(rows: &impl Rows, items: &[Item]) -> Result<Against, Stop> {
    let mut problems = Vec::new();
    let mut growth = std::collections::BTreeMap::<Vec<u8>, (&Item, i64, bool)>::new();
    for item in items {
        let body = item.look_at_body(rows)?;
        let grown = draft::growth(&body);
        let entry = growth.entry(item.zone.key()).or_insert((item, 0, false));
        entry.1 += grown;
        entry.2 |= item.what == What::Import;
        if item.what == What::Create
            && let Some(org) = rows.get(&ORGS, &item.org)?
            && let Err(over) = draft::zones_left(rows, &org)?
        {
            problems.push(Problem::at("", "limit", over).of_zone(&item.zone));
        }
    }
    // What does not grow breaks no limit.
    for (item, grown, replaced) in growth.into_values().filter(|(_, grown, _)| *grown > 0) {
        let Some(org) = rows.get(&ORGS, &item.org)? else { continue };
        let zone = if replaced { None } else { holding::held(rows, &item.zone)? };
        let have = zone.map_or(0, |held| held.zone.counts.records);
        if let Err(over) = draft::records_left(&org, have, grown) {
            problems.push(Problem::at("", "limit", over).of_zone(&item.zone));
        }
    }
    Ok(Against { conflicts: Vec::new(), problems })
}

fn of_zone(zone: &Name, text: String) -> ConflictView {
    ConflictView {
        zone: zone.clone(),
        name: None,
        rtype: None,
        base: None,
        now: None,
        yours: None,
        text,
    }
}

type Yours<'a> = dyn Fn(&Name, &Name, Type) -> Option<Base> + 'a;

/// The door's refusal in the words of orders.
fn against(refusal: &DoorRefusal, yours: &Yours<'_>) -> Against {
    let mut against = Against::default();
    for zone in &refusal.zones {
        for reason in &zone.reasons {
            let rule = match reason {
                Reason::Conflict(conflict) => {
                    let view = conflict_view(&zone.apex, conflict, yours);
                    if !against.conflicts.contains(&view) {
                        against.conflicts.push(view);
                    }
                    continue;
                }
                Reason::UnknownZone | Reason::ZoneExists => {
                    let text = format!("{}: {reason}", zone.apex);
                    against.conflicts.push(of_zone(&zone.apex, text));
                    continue;
                }
                Reason::Broken { rule, .. } => rule,
                Reason::Held => "held",
                Reason::PreSigned => "presigned",
                Reason::Signing { .. } => "signing",
                Reason::Secondary | Reason::Astray(_) => "secondary",
                Reason::Limit { .. } => "limit",
                Reason::Unreadable(_) => "unreadable",
            };
            let mut problem = Problem::at("", rule, reason).of_zone(&zone.apex);
            if let Reason::Broken { owner, .. } = reason {
                problem.owner = Some(owner.to_string());
            }
            against.problems.push(problem);
        }
    }
    against
}

fn conflict_view(apex: &Name, conflict: &zone::Conflict, yours: &Yours<'_>) -> ConflictView {
    let zone::Conflict { owner, rtype, .. } = conflict;
    let set = |set: &Option<RrSet>| set.as_ref().map(|set| ask::shown(*rtype, &ask::value(set)));
    let wanted = yours(apex, owner, *rtype);
    ConflictView {
        zone: apex.clone(),
        name: Some(owner.clone()),
        rtype: Some(rtype.to_string()),
        base: set(&conflict.base),
        now: set(&conflict.now),
        yours: match wanted {
            Some(value) => value.map(|value| ask::shown(*rtype, &value)),
            None => set(&conflict.yours),
        },
        text: format!(
            "{owner} {rtype} was changed since you saw it: look at it again, then keep yours or theirs"
        ),
    }
}
