//! Access lists: who may transfer a zone, and who may ask for it.
//!
//! A zone has lists of its own, and an organisation one for the transfers of its zones. For a
//! transfer the nearest list counts: the zone's, else that of a [group](super::group) it is in, else
//! its organisation's, else that of the next organisation above. Without any, nobody may; the
//! prefixes of `[transfer] allow` always may. A key counts only for zones it is
//! [good for](super::tsig); a list names only keys that are there, and none that a list names is
//! deleted. Who transfers over TLS may be known by its certificate.

use serde::{Deserialize, Serialize};

use super::zone;
use crate::maintain::access::{self as lists, Lists};
use crate::maintain::tsig;
use crate::manage::Manage;
use crate::manage::access::{self, Context, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::limits::{ACCESS_ENTRIES_MAX, ORG_DEPTH_MAX, at_most};
use crate::manage::people::organisation::ORGS;
use crate::serve::acl::{Caller, Entry, allows};
use crate::store::Rows;
use crate::wire::Name;

/// Who may. Entries are `192.0.2.0/24`, `2001:db8::1`, `key NAME`, `192.0.2.0/24 key NAME`, `any`; for
/// transfers also `pin BASE64`: who shows a certificate with this key over TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneAccess {
    /// Who may transfer the zone; null leaves it to the organisation, an empty list is nobody.
    #[schema(example = json!(["192.0.2.0/24 key secondary.example."]))]
    pub transfer: Option<Vec<String>>,
    /// Who is answered; null is everybody, an empty list is nobody.
    pub query: Option<Vec<String>>,
}

/// Who may transfer the zones of an organisation that have no list of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrgAccess {
    /// Null leaves it to the organisation above, an empty list is nobody.
    pub transfer: Option<Vec<String>>,
}

/// Why lists were not changed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessError {
    Stop(Stop),
    /// Entries that are none; all are listed.
    Invalid(Vec<Problem>),
}

stops!(AccessError);

impl std::fmt::Display for AccessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AccessError::Stop(stop) => stop.fmt(f),
            AccessError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for AccessError {
    fn kind(&self) -> Kind {
        match self {
            AccessError::Stop(stop) => stop.kind(),
            AccessError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            AccessError::Stop(_) => &[],
            AccessError::Invalid(problems) => problems,
        }
    }
}

/// Shows the lists of a zone.
///
/// # Errors
///
/// [`Stop::Access`].
pub fn of_zone(manage: &Manage, context: &Context, apex: &Name) -> Result<ZoneAccess, Stop> {
    manage.store.read(|rows| {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        Ok(zone_view(&lists::of_zone(rows, &held.zone)?))
    })
}

/// Gives a zone these lists.
///
/// # Errors
///
/// [`AccessError`]; nothing happened.
pub fn set_of_zone(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    wanted: &ZoneAccess,
) -> Result<ZoneAccess, AccessError> {
    let shown = manage.transact(|tx| {
        let held = zone::fetch(tx, context, Permission::ZoneManage, apex)?;
        zone::may_change(tx, context)?;
        let after = Lists {
            transfer: read("transfer", wanted.transfer.as_deref())?,
            query: read("query", wanted.query.as_deref()).and_then(without_pins)?,
        };
        let holders = holders(tx, held.org)?;
        let mut problems = unknown_keys(tx, "transfer", after.transfer.as_deref(), &holders)?;
        problems.extend(unknown_keys(tx, "query", after.query.as_deref(), &holders)?);
        if !problems.is_empty() {
            return Err(AccessError::Invalid(problems));
        }
        let before = lists::of_zone(tx, &held.zone)?;
        lists::put_of_zone(tx, &held.zone, &after)?;
        held.record(tx, context, Happened::AccessChanged, Some(&before), Some(&after))?;
        Ok::<_, AccessError>(zone_view(&after))
    })?;
    manage.maintain.load_closed();
    Ok(shown)
}

/// Shows the list of an organisation.
///
/// # Errors
///
/// [`Stop::Access`].
pub fn of_org(manage: &Manage, context: &Context, org: OrgId) -> Result<OrgAccess, Stop> {
    manage.store.read(|rows| {
        access::org(rows, context, Permission::OrgView, org)?;
        Ok(OrgAccess { transfer: shown(lists::of_holder(rows, &org.to_string())?.as_deref()) })
    })
}

/// Gives an organisation this list.
///
/// # Errors
///
/// [`AccessError`]; nothing happened.
pub fn set_of_org(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    wanted: &OrgAccess,
) -> Result<OrgAccess, AccessError> {
    manage.transact(|tx| {
        access::org(tx, context, Permission::OrgEdit, org)?;
        let after = read("transfer", wanted.transfer.as_deref())?;
        let problems = unknown_keys(tx, "transfer", after.as_deref(), &holders(tx, org)?)?;
        if !problems.is_empty() {
            return Err(AccessError::Invalid(problems));
        }
        let before = lists::of_holder(tx, &org.to_string())?;
        lists::put_of_holder(tx, &org.to_string(), after.as_ref())?;
        let touched = vec![Touched::of(Object::Organisation(org), before.as_ref(), after.as_ref())];
        let kind = Happened::AccessChanged;
        event::record(tx, context, News { kind, order: None, orgs: vec![org], touched })?;
        Ok(OrgAccess { transfer: shown(after.as_deref()) })
    })
}

/// Whether this caller may transfer the zone `apex` by the lists of zones and organisations. Nobody may transfer a zone that is not there.
///
/// # Errors
///
/// [`Stop::Store`] when the store cannot be read.
pub fn may_transfer(manage: &Manage, apex: &Name, caller: Caller<'_>) -> Result<bool, Stop> {
    manage.store.read(|rows| {
        let Some(held) = zone::held(rows, apex)? else { return Ok(false) };
        let holders = holders(rows, held.org)?;
        let key = match caller.key {
            Some(name) => tsig::get(rows, name)?
                .filter(|kept| kept.covers(&held.zone.apex) && holders.contains(&kept.org)),
            None => None,
        };
        let list = lists::nearest_transfer(rows, &held.zone, &holders)?;
        let key = key.as_ref().map(|kept| &kept.name);
        Ok(list.is_some_and(|list| allows(&list, Caller { key, ..caller })))
    })
}

/// An organisation and those above it, nearest first.
pub fn holders(rows: &impl Rows, org: OrgId) -> Result<Vec<String>, Stop> {
    let mut holders = Vec::new();
    let mut next = Some(org);
    while let Some(org) = next.filter(|_| holders.len() < ORG_DEPTH_MAX) {
        holders.push(org.to_string());
        next = rows.get(&ORGS, &org)?.and_then(|org| org.parent);
    }
    Ok(holders)
}

fn read(field: &str, texts: Option<&[String]>) -> Result<Option<Vec<Entry>>, AccessError> {
    at_most("access_entries", ACCESS_ENTRIES_MAX, texts.map_or(0, <[String]>::len))?;
    entries(field, texts).map_err(AccessError::Invalid)
}

/// The entries of a list, or every fault of it.
pub(super) fn entries(
    field: &str,
    texts: Option<&[String]>,
) -> Result<Option<Vec<Entry>>, Vec<Problem>> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.len() > ACCESS_ENTRIES_MAX {
        let text = format!("a list has at most {ACCESS_ENTRIES_MAX} entries");
        return Err(vec![Problem::at(field, "access", text)]);
    }
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (n, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(entry) => entries.push(entry),
            Err(error) => problems.push(Problem::at(format!("{field}[{n}]"), "access", error)),
        }
    }
    if problems.is_empty() { Ok(Some(entries)) } else { Err(problems) }
}

/// The entries that name a TSIG key none of `holders` has: by them nobody would be let in, or whoever
/// makes a key of that name next.
pub(super) fn unknown_keys(
    rows: &impl Rows,
    field: &str,
    list: Option<&[Entry]>,
    holders: &[String],
) -> Result<Vec<Problem>, Stop> {
    let mut problems = Vec::new();
    for (n, entry) in list.unwrap_or_default().iter().enumerate() {
        let Some(key) = &entry.key else { continue };
        if !tsig::get(rows, key)?.is_some_and(|kept| holders.contains(&kept.org)) {
            let text = format!(
                "there is no TSIG key {key} of this organisation or one above it: make it first (`tsig create`), or leave it out"
            );
            problems.push(Problem::at(format!("{field}[{n}]"), "tsig", text));
        }
    }
    Ok(problems)
}

/// Questions are answered without a look at certificates.
fn without_pins(list: Option<Vec<Entry>>) -> Result<Option<Vec<Entry>>, AccessError> {
    let pinned = list.iter().flatten().position(|entry| entry.pin.is_some());
    match pinned {
        None => Ok(list),
        Some(n) => {
            let text =
                "a pin is for transfers: questions are answered without a look at certificates";
            Err(AccessError::Invalid(vec![Problem::at(format!("query[{n}]"), "access", text)]))
        }
    }
}

fn shown(list: Option<&[Entry]>) -> Option<Vec<String>> {
    list.map(|list| list.iter().map(Entry::to_string).collect())
}

fn zone_view(lists: &Lists) -> ZoneAccess {
    ZoneAccess { transfer: shown(lists.transfer.as_deref()), query: shown(lists.query.as_deref()) }
}
