//! Catalogs: lists of zones that secondaries learn from what to serve.
//!
//! The operator's: a catalog tells of every zone in it to whoever may transfer it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::secondary::{scope_of, shown};
use crate::maintain::catalog::{self, Catalog, GROUP_OCTETS_MAX};
use crate::maintain::rows as zones;
use crate::maintain::{Door, Reason};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};
use crate::wire::Name;

/// A catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CatalogView {
    #[schema(value_type = String, example = "catalog.example.")]
    pub zone: Name,
    /// New zones of this organisation join it.
    pub org: Option<OrgId>,
    /// These zones join it.
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    /// The group of members that have none of their own.
    pub group: Option<String>,
    pub serial: u32,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// A new catalog. Every zone joins it that is in none yet, unless `org` or `zones` says which.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCatalog {
    /// Its name; no zone here may have it.
    #[schema(value_type = String, example = "catalog.example.")]
    pub zone: Name,
    #[serde(default)]
    pub org: Option<OrgId>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    #[serde(default)]
    pub group: Option<String>,
}

/// A zone in a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemberView {
    #[schema(value_type = String, example = "example.com.")]
    pub zone: Name,
    /// The group it stands in.
    pub group: Option<String>,
    /// Whether somebody put it here; else it is here because it is in the catalog's scope.
    pub chosen: bool,
}

/// How a zone is to stand in a catalog.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Joining {
    /// A group of its own; the catalog's if left out.
    pub group: Option<String>,
}

/// Why a catalog was not made or changed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
}

stops!(CatalogError);

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogError::Stop(stop) => stop.fmt(f),
            CatalogError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for CatalogError {
    fn kind(&self) -> Kind {
        match self {
            CatalogError::Stop(stop) => stop.kind(),
            CatalogError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            CatalogError::Invalid(problems) => problems,
            CatalogError::Stop(_) => &[],
        }
    }
}

fn invalid(zone: &Name, reasons: Vec<Reason>) -> CatalogError {
    if reasons.contains(&Reason::UnknownZone) {
        return NoAccess::NotFound.into();
    }
    let problems = reasons.into_iter().map(|why| Problem::at("", "catalog", why).of_zone(zone));
    CatalogError::Invalid(problems.collect())
}

/// Runs `f` with the door open, for who looks after the server.
fn change<R: Send + 'static>(
    manage: &Manage,
    context: &Context,
    f: impl FnOnce(&mut Door<'_, '_>) -> Result<R, CatalogError>,
) -> Result<R, CatalogError> {
    context.may(Permission::ServerOperate)?;
    manage.commit(|door| {
        door.set_cause("catalog");
        f(door)
    })
}

/// Makes a catalog. Zones in its scope that are in none join it.
///
/// # Errors
///
/// [`CatalogError`]; nothing happened.
pub fn create(
    manage: &Manage,
    context: &Context,
    new: NewCatalog,
) -> Result<CatalogView, CatalogError> {
    let mut problems = Vec::new();
    if new.org.is_some() && new.zones.is_some() {
        let text = "zones and org exclude each other: name one of them";
        problems.push(Problem::at("zones", "catalog", text));
    }
    problems.extend(bad_group(new.group.as_deref()));
    if !problems.is_empty() {
        context.may(Permission::ServerOperate)?;
        return Err(CatalogError::Invalid(problems));
    }
    let catalog = change(manage, context, |door| {
        let scope = scope_of(new.org, new.zones);
        let org = context.org.to_string();
        let made = door
            .create_catalog(&new.zone, &org, scope, new.group)
            .map_err(|why| invalid(&new.zone, why))?;
        record(door.tx(), context, Happened::CatalogCreated, None, Some(&made))?;
        Ok(made)
    })?;
    Ok(manage.store.read(|rows| view(rows, catalog))?)
}

fn bad_group(group: Option<&str>) -> Option<Problem> {
    let fits = group.is_none_or(|group| (1..=GROUP_OCTETS_MAX).contains(&group.len()));
    let text = format!("group is not 1 to {GROUP_OCTETS_MAX} octets");
    (!fits).then(|| Problem::at("group", "catalog", text))
}

fn view(rows: &impl Rows, catalog: Catalog) -> Result<CatalogView, Stop> {
    let zone = zones::by_id(rows, catalog.zone)?.ok_or(NoAccess::NotFound)?;
    let (org, zones) = shown(catalog.scope);
    Ok(CatalogView {
        zone: catalog.apex,
        org,
        zones,
        group: catalog.group,
        serial: zone.serial.0,
        created_at: Timestamp(catalog.created_us),
    })
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    before: Option<&Catalog>,
    after: Option<&Catalog>,
) -> Result<(), Stop> {
    let Some(catalog) = before.or(after) else { return Ok(()) };
    let touched = vec![Touched::of(Object::Catalog(catalog.apex.clone()), before, after)];
    event::record(tx, context, News { kind, order: None, orgs: vec![context.org], touched })?;
    Ok(())
}

/// Lists all catalogs in canonical order of their names.
///
/// # Errors
///
/// [`Stop::Access`] without the right.
pub fn list(manage: &Manage, context: &Context) -> Result<Page<CatalogView>, Stop> {
    context.may(Permission::ServerOperate)?;
    manage.store.read(|rows| {
        let all = catalog::all(rows)?.into_iter();
        let items = all.map(|catalog| view(rows, catalog)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items, next: None })
    })
}

/// The catalog of this name.
///
/// # Errors
///
/// [`Stop::Access`] when there is none, or without the right.
pub fn get(manage: &Manage, context: &Context, apex: &Name) -> Result<CatalogView, Stop> {
    context.may(Permission::ServerOperate)?;
    manage.store.read(|rows| view(rows, catalog::get(rows, apex)?.ok_or(NoAccess::NotFound)?))
}

/// Takes a catalog away; its members are in none then.
///
/// # Errors
///
/// [`CatalogError`]; nothing happened.
pub fn delete(
    manage: &Manage,
    context: &Context,
    apex: &Name,
) -> Result<CatalogView, CatalogError> {
    let shown = get(manage, context, apex)?;
    change(manage, context, |door| {
        let gone = door.delete_catalog(apex).map_err(|why| invalid(apex, why))?;
        Ok(record(door.tx(), context, Happened::CatalogDeleted, Some(&gone), None)?)
    })?;
    Ok(shown)
}

/// Lists the members of a catalog in the order they were created.
///
/// # Errors
///
/// [`Stop::Access`] when there is none, or without the right.
pub fn members(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    after: Option<&Name>,
    limit: usize,
) -> Result<Page<MemberView>, Stop> {
    context.may(Permission::ServerOperate)?;
    manage.store.read(|rows| {
        let catalog = catalog::get(rows, apex)?.ok_or(NoAccess::NotFound)?;
        let after = match after {
            Some(name) => zones::zone(rows, name)?.map(|zone| zone.id),
            None => None,
        };
        let ids = catalog::members(rows, &catalog, after, limit)?;
        let more = ids.len() == limit;
        let mut items = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(zone) = zones::by_id(rows, id)? else { continue };
            let member = catalog::member(rows, id)?.unwrap_or_default();
            let group = member.group.or_else(|| catalog.group.clone());
            items.push(MemberView { zone: zone.apex, group, chosen: member.is_chosen });
        }
        let next = items.last().filter(|_| more).map(|last: &MemberView| last.zone.to_string());
        Ok(Page { items, next })
    })
}

/// Puts a zone into a catalog, out of the one it is in; or takes it out of any, if `catalog` is none.
///
/// # Errors
///
/// [`CatalogError`]; nothing happened.
pub fn assign(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    zone: &Name,
    joining: Option<Joining>,
) -> Result<(), CatalogError> {
    context.may(Permission::ServerOperate)?;
    let group = joining.as_ref().and_then(|joining| joining.group.clone());
    if let Some(problem) = bad_group(group.as_deref()) {
        return Err(CatalogError::Invalid(vec![problem]));
    }
    change(manage, context, |door| {
        let catalog = catalog::get(door.tx(), apex)?.ok_or(NoAccess::NotFound)?;
        let row = zones::zone(door.tx(), zone)?.ok_or(NoAccess::NotFound)?;
        let now = catalog::member(door.tx(), row.id)?.and_then(|member| member.catalog);
        if joining.is_none() && now != Some(catalog.zone) {
            return Err(NoAccess::NotFound.into());
        }
        let to = joining.is_some().then_some(catalog.zone);
        door.set_member(zone, to.map(|_| apex), group).map_err(|why| invalid(zone, why))?;
        let touched = vec![
            Touched { object: Object::Catalog(apex.clone()), before: None, after: None },
            Touched::of(Object::Zone(zone.clone()), Some(&now), Some(&to)),
        ];
        let orgs = vec![context.org];
        let news = News { kind: Happened::CatalogChanged, order: None, orgs, touched };
        event::record(door.tx(), context, news)?;
        Ok(())
    })
}
