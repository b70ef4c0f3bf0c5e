//! Waivers: name servers that are down for good, and that no order waits for any longer.

use serde::{Deserialize, Serialize};

use super::servers::{self, ZoneServersView};
use super::zone;
use crate::maintain::Maintain;
use crate::maintain::waivers::{self, WAIVERS_MAX, Waiver};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::limits::{self, NOTE_CHARS_MAX};
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Tx};
use crate::wire::Name;

/// A server that is not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaiverView {
    /// The name of an NS record, or of a secondary.
    #[schema(example = "ns3.example.net.")]
    pub server: String,
    pub reason: String,
    #[schema(value_type = String)]
    pub since: Timestamp,
}

/// Why a server is not to be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWaiver {
    #[schema(example = "switched off by its provider on 1 May")]
    pub reason: String,
}

/// Why a waiver was not put. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaiverError {
    Stop(Stop),
    /// What the request has wrong.
    Invalid(Vec<Problem>),
}

stops!(WaiverError);

impl std::fmt::Display for WaiverError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaiverError::Stop(stop) => stop.fmt(f),
            WaiverError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for WaiverError {
    fn kind(&self) -> Kind {
        match self {
            WaiverError::Stop(stop) => stop.kind(),
            WaiverError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            WaiverError::Stop(_) => &[],
            WaiverError::Invalid(problems) => problems,
        }
    }
}

fn view(waiver: Waiver) -> WaiverView {
    let Waiver { server, reason, since_us } = waiver;
    WaiverView { server, reason, since: Timestamp(since_us) }
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    org: OrgId,
    touched: Touched,
) -> Result<u64, RowError> {
    let (order, orgs, touched) = (None, vec![org], vec![touched]);
    event::record(tx, context, News { kind, order, orgs, touched })
}

/// Lists the waivers of a zone in the order of the servers' names.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such zone in reach.
pub fn list(manage: &Manage, context: &Context, apex: &Name) -> Result<Page<WaiverView>, Stop> {
    let waivers = manage.store.read(|rows| {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        Ok::<_, Stop>(waivers::of_zone(rows, &held.zone)?)
    })?;
    Ok(Page { items: waivers.into_iter().map(view).collect(), next: None })
}

/// Lets no order of a zone wait for a server any longer; shows the servers as they stand.
///
/// # Errors
///
/// [`WaiverError`]; nothing happened.
pub fn put(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    server: &str,
    new: &NewWaiver,
) -> Result<ZoneServersView, WaiverError> {
    let zone = manage.transact(|tx| {
        let held = zone::fetch(tx, context, Permission::ZoneManage, apex)?;
        zone::may_change(tx, context)?;
        let names = Maintain::server_names(tx, &held.zone).map_err(Stop::from)?;
        let same = |name: &String| {
            name.trim_end_matches('.').eq_ignore_ascii_case(server.trim_end_matches('.'))
        };
        let invalid =
            |at: &str, text: String| WaiverError::Invalid(vec![Problem::at(at, "waiver", text)]);
        let Some(server) = names.into_iter().find(same) else {
            let text = format!(
                "{apex} has no server {server}: name one of its NS records, or a secondary"
            );
            return Err(invalid("", text));
        };
        let reason = new.reason.trim();
        if reason.is_empty() || reason.chars().count() > NOTE_CHARS_MAX {
            let text = format!("say why, in at most {NOTE_CHARS_MAX} characters");
            return Err(invalid("reason", text));
        }
        let before = waivers::get(tx, &held.zone, &server)?;
        if before.is_none() {
            let count = waivers::of_zone(tx, &held.zone).map_err(Stop::from)?.len();
            limits::at_most("waivers", WAIVERS_MAX, count + 1)?;
        }
        let after = Waiver { server, reason: reason.to_owned(), since_us: Timestamp::now().0 };
        waivers::put(tx, &held.zone, &after)?;
        let touched = Touched::of(Object::Zone(apex.clone()), before.as_ref(), Some(&after));
        record(tx, context, Happened::ServerWaived, held.org, touched)?;
        Ok::<_, WaiverError>(held.zone)
    })?;
    manage.maintain.look_at(&zone, Vec::new(), false);
    Ok(servers::get(manage, context, apex)?)
}

/// Has orders wait for a server again.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such zone in reach, or no such waiver.
pub fn delete(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    server: &str,
) -> Result<ZoneServersView, WaiverError> {
    let zone = manage.transact(|tx| {
        let held = zone::fetch(tx, context, Permission::ZoneManage, apex)?;
        zone::may_change(tx, context)?;
        let before = waivers::get(tx, &held.zone, server)?.ok_or(NoAccess::NotFound)?;
        waivers::delete(tx, &held.zone, server)?;
        let touched = Touched::of(Object::Zone(apex.clone()), Some(&before), None);
        record(tx, context, Happened::ServerAwaited, held.org, touched)?;
        Ok::<_, WaiverError>(held.zone)
    })?;
    manage.maintain.look_at(&zone, Vec::new(), false);
    Ok(servers::get(manage, context, apex)?)
}
