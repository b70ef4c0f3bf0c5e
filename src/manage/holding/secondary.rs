//! Secondaries: the servers the operator has follow zones, told of changes and asked what they serve.
//!
//! Only who looks after the server makes them: an address here is one this server talks to. Whether
//! it may is still the gate's to say.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::tsig;
use crate::maintain::secondaries::{self, SECONDARIES_MAX, Scope, Secondary};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::idempotency;
use crate::manage::limits;
use crate::manage::page::Page;
use crate::manage::people::organisation::ORGS;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Tx};
use crate::wire::Name;

/// Characters of a secondary's name.
const NAME_CHARS_MAX: usize = 63;
/// Addresses of one secondary.
const ADDRESSES_MAX: usize = 16;
/// Zones a secondary may be for one by one: its row has to fit.
const ZONES_MAX: usize = 1_000;

/// A server that follows zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SecondaryView {
    /// Unique on this server.
    #[schema(example = "ns2-berlin")]
    pub name: String,
    /// Addresses with ports.
    #[schema(value_type = Vec<String>, example = json!(["198.51.100.2:53"]))]
    pub addresses: Vec<SocketAddr>,
    /// The TSIG key that messages to it are signed with.
    #[schema(value_type = Option<String>)]
    pub key: Option<Name>,
    /// Only zones of this organisation.
    pub org: Option<OrgId>,
    /// Only these zones.
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    /// Whether it is told of changes.
    pub notify: bool,
    /// Whether it is asked what it serves. An order waits for it to be served everywhere.
    pub probe: bool,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// What is asked of a new secondary. It is for all zones unless `org` or `zones` says which.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecondary {
    /// Letters, digits, `.`, `_` and `-`. Unique on this server.
    pub name: String,
    /// Addresses with ports.
    #[schema(value_type = Vec<String>, example = json!(["198.51.100.2:53"]))]
    pub addresses: Vec<SocketAddr>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub key: Option<Name>,
    #[serde(default)]
    pub org: Option<OrgId>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub notify: bool,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub probe: bool,
}

fn yes() -> bool {
    true
}

/// Why a secondary was not made. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondaryError {
    Stop(Stop),
    /// There is one of this name.
    Taken(String),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
}

stops!(SecondaryError);

impl fmt::Display for SecondaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecondaryError::Stop(stop) => stop.fmt(f),
            SecondaryError::Taken(name) => {
                write!(
                    f,
                    "there is a secondary {name} already: delete it first, or take another name"
                )
            }
            SecondaryError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for SecondaryError {
    fn kind(&self) -> Kind {
        match self {
            SecondaryError::Stop(stop) => stop.kind(),
            SecondaryError::Taken(_) => Kind::Conflict,
            SecondaryError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            SecondaryError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// Makes a secondary.
///
/// # Errors
///
/// [`SecondaryError`]; nothing happened.
pub fn create(
    manage: &Manage,
    context: &Context,
    new: NewSecondary,
) -> Result<SecondaryView, SecondaryError> {
    context.may(Permission::ServerOperate)?;
    let made = manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let row = checked(tx, &new)?;
            secondaries::put(tx, &row)?;
            record(tx, context, Happened::SecondaryCreated, None, Some(&row))?;
            Ok::<_, SecondaryError>(view(row))
        })
    })?;
    manage.maintain.secondaries_changed();
    Ok(made)
}

fn checked(rows: &impl Rows, new: &NewSecondary) -> Result<Secondary, SecondaryError> {
    if secondaries::get(rows, &new.name)?.is_some() {
        return Err(SecondaryError::Taken(new.name.clone()));
    }
    limits::at_most("secondaries", SECONDARIES_MAX, secondaries::all(rows)?.len() + 1)?;
    let mut problems = Vec::new();
    let mut check = |at: &str, wrong: bool, why: String| {
        if wrong {
            problems.push(Problem::at(at, "secondary", why));
        }
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let named = (1..=NAME_CHARS_MAX).contains(&new.name.len()) && new.name.bytes().all(plain);
    let why = format!("name is not 1 to {NAME_CHARS_MAX} letters, digits, dots, `_` and `-`");
    check("name", !named, why);
    let count = (1..=ADDRESSES_MAX).contains(&new.addresses.len());
    check("addresses", !count, format!("a secondary has 1 to {ADDRESSES_MAX} addresses"));
    for (n, address) in new.addresses.iter().enumerate() {
        let nobody = address.ip().is_unspecified() || address.ip().is_multicast();
        let why = format!("{address} is no address of a host");
        check(&format!("addresses[{n}]"), nobody || address.port() == 0, why);
    }
    let both = new.org.is_some() && new.zones.is_some();
    check("zones", both, "zones and org exclude each other: name one of them".to_owned());
    let zones = new.zones.as_ref().map_or(0, Vec::len);
    let why =
        format!("zones has {zones} names, at most {ZONES_MAX} are kept: name an organisation");
    check("zones", zones > ZONES_MAX, why);
    if let Some(org) = new.org {
        let known = rows.contains(&ORGS, &org)?;
        check("org", !known, format!("there is no organisation {org}"));
    }
    problems.extend(tsig::missing(rows, new.key.iter().map(|key| ("key".to_owned(), key)))?);
    if !problems.is_empty() {
        return Err(SecondaryError::Invalid(problems));
    }
    Ok(Secondary {
        name: new.name.clone(),
        addresses: new.addresses.clone(),
        key: new.key.as_ref().map(Name::to_lowercase),
        scope: scope_of(new.org, new.zones.clone()),
        notify: new.notify,
        probe: new.probe,
        created_us: Timestamp::now().0,
    })
}

/// What an organisation or a list of zones means; neither is all.
pub(super) fn scope_of(org: Option<OrgId>, zones: Option<Vec<Name>>) -> Scope {
    match (org, zones) {
        (Some(org), _) => Scope::Holder(org.to_string()),
        (None, Some(zones)) => Scope::Zones(zones),
        (None, None) => Scope::All,
    }
}

/// A scope as an organisation, or a list of zones.
pub(super) fn shown(scope: Scope) -> (Option<OrgId>, Option<Vec<Name>>) {
    match scope {
        Scope::All => (None, None),
        Scope::Holder(org) => (org.parse().ok(), None),
        Scope::Zones(zones) => (None, Some(zones)),
    }
}

fn view(row: Secondary) -> SecondaryView {
    let (org, zones) = shown(row.scope);
    SecondaryView {
        name: row.name,
        addresses: row.addresses,
        key: row.key,
        org,
        zones,
        notify: row.notify,
        probe: row.probe,
        created_at: Timestamp(row.created_us),
    }
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    before: Option<&Secondary>,
    after: Option<&Secondary>,
) -> Result<u64, RowError> {
    let name = before.or(after).map(|row| row.name.clone()).unwrap_or_default();
    let touched = vec![Touched::of(Object::Secondary(name), before, after)];
    event::record(tx, context, News { kind, order: None, orgs: vec![context.org], touched })
}

/// Lists all secondaries in the order of their names.
///
/// # Errors
///
/// [`Stop::Access`] without the right.
pub fn list(manage: &Manage, context: &Context) -> Result<Page<SecondaryView>, Stop> {
    context.may(Permission::ServerOperate)?;
    let rows = manage.store.read(|rows| secondaries::all(rows))?;
    Ok(Page { items: rows.into_iter().map(view).collect(), next: None })
}

/// The secondary of this name.
///
/// # Errors
///
/// [`Stop::Access`] when there is none, or without the right.
pub fn get(manage: &Manage, context: &Context, name: &str) -> Result<SecondaryView, Stop> {
    context.may(Permission::ServerOperate)?;
    let row = manage.store.read(|rows| secondaries::get(rows, name))?;
    Ok(view(row.ok_or(NoAccess::NotFound)?))
}

/// Takes a secondary away: it is told and asked no more.
///
/// # Errors
///
/// [`Stop::Access`] when there is none, or without the right.
pub fn delete(manage: &Manage, context: &Context, name: &str) -> Result<SecondaryView, Stop> {
    context.may(Permission::ServerOperate)?;
    manage.transact(|tx| {
        let row = secondaries::get(tx, name)?.ok_or(NoAccess::NotFound)?;
        secondaries::delete(tx, name)?;
        record(tx, context, Happened::SecondaryDeleted, Some(&row), None)?;
        Ok(view(row))
    })
}
