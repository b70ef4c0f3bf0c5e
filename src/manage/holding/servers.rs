//! Which servers serve a zone, as far as they were seen.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::zone::{self, ZoneQuery};
use crate::maintain::notify::Delivery;
use crate::maintain::rows as zones;
use crate::maintain::shown::{ServerState, Told, ZoneServers};
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Stop;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::wire::Name;

/// A zone and its servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ZoneServersView {
    #[schema(value_type = String, example = "example.com.")]
    pub zone: Name,
    /// The serial here; none of a zone that was deleted.
    pub serial: Option<u32>,
    /// When all servers were seen with the zone as it is; none while that is not so.
    #[schema(value_type = Option<String>)]
    pub everywhere_at: Option<Timestamp>,
    /// Empty until somebody changes the zone or asks for a look.
    pub servers: Vec<ServerView>,
}

/// A server of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerView {
    /// Names of NS records, and of secondaries.
    pub names: Vec<String>,
    /// None for a listed name nobody gives an address.
    #[schema(value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    /// `pending`, `behind`, `ok`, `stale`, `unreachable`, `lame`, `tampered` or `foreign`; none of a server that
    /// is told and not asked.
    pub state: Option<String>,
    /// The serial it was seen with.
    pub serial: Option<u32>,
    /// A sentence on what is wrong.
    pub detail: Option<String>,
    #[schema(value_type = Option<String>)]
    pub asked_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub ok_at: Option<Timestamp>,
    /// How far the last NOTIFY got; none of a server that is not told.
    pub notify: Option<NotifyView>,
    /// Whether it is waived: asked, and not waited for.
    pub waived: bool,
}

/// How far a NOTIFY got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotifyView {
    /// `waiting`, `sent`, `acknowledged` or `given_up`.
    pub state: String,
    /// What it is told of.
    pub serial: u32,
    /// How often it was told of this serial.
    pub attempts: u32,
    #[schema(value_type = Option<String>)]
    pub sent_at: Option<Timestamp>,
    /// Why it was not acknowledged.
    pub detail: Option<String>,
}

fn notify_view(told: Told) -> NotifyView {
    let Told { entry, sent_us } = told;
    let mut failure = entry.failure;
    let state = match entry.delivery {
        Delivery::Waiting => "waiting",
        Delivery::Sent => "sent",
        Delivery::Acknowledged => "acknowledged",
        Delivery::GivenUp(why) => {
            failure = Some(why);
            "given_up"
        }
    };
    NotifyView {
        state: state.to_owned(),
        serial: entry.serial.0,
        attempts: u32::try_from(entry.attempts).unwrap_or(u32::MAX),
        sent_at: sent_us.map(Timestamp),
        detail: failure.map(|why| why.to_string()),
    }
}

fn server_view(state: ServerState) -> ServerView {
    let unknown = state.address.is_none();
    let (word, serial, detail) = match state.seen {
        Some(seen) => {
            let detail = (!seen.detail.is_empty()).then_some(seen.detail);
            (Some(seen.standing.word()), seen.serial, detail)
        }
        None if unknown => (
            Some("unreachable"),
            None,
            Some("no zone here and no resolver gives its address".into()),
        ),
        None => (None, None, None),
    };
    ServerView {
        names: state.names,
        address: state.address,
        state: word.map(str::to_owned),
        serial: serial.map(|serial| serial.0),
        detail,
        asked_at: state.asked_us.map(Timestamp),
        ok_at: state.ok_us.map(Timestamp),
        notify: state.told.map(notify_view),
        waived: state.waived,
    }
}

fn view(zone: &zones::Zone, known: ZoneServers) -> ZoneServersView {
    view_of(&zone.apex, Some(zone.serial.0), known)
}

fn view_of(zone: &Name, serial: Option<u32>, known: ZoneServers) -> ZoneServersView {
    ZoneServersView {
        zone: zone.clone(),
        serial,
        everywhere_at: known.everywhere_us.map(Timestamp),
        servers: known.servers.into_iter().map(server_view).collect(),
    }
}

/// The servers of a zone, as they were last seen.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such zone in reach.
pub fn get(manage: &Manage, context: &Context, apex: &Name) -> Result<ZoneServersView, Stop> {
    let held = manage.store.read(|rows| zone::fetch(rows, context, Permission::ZoneView, apex))?;
    Ok(view(&held.zone, manage.maintain.zone_servers_named(&held.zone)))
}

/// Has the servers of a zone told and asked anew; shows what is known so far.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such zone in reach, or without the right.
pub fn look(manage: &Manage, context: &Context, apex: &Name) -> Result<ZoneServersView, Stop> {
    let held = manage.store.read(|rows| zone::fetch(rows, context, Permission::ZoneEdit, apex))?;
    manage.maintain.look_at(&held.zone, Vec::new(), true);
    Ok(view(&held.zone, manage.maintain.zone_servers_named(&held.zone)))
}

/// Lists zones with their servers, in canonical order of the zones: the matrix.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    query: &ZoneQuery,
) -> Result<Page<ZoneServersView>, Stop> {
    let page = zone::list(manage, context, query)?;
    let mut items = Vec::with_capacity(page.items.len());
    for shown in page.items {
        if let Some(row) = manage.store.read(|rows| zones::zone(rows, &shown.name))? {
            items.push(view(&row, manage.maintain.zone_servers_named(&row)));
        }
    }
    Ok(Page { items, next: page.next })
}

/// The servers of zones in the order given; of those that are no more the ones still waited for.
pub(in crate::manage) fn of_zones<'z>(
    manage: &Manage,
    apexes: impl Iterator<Item = &'z Name>,
) -> Result<Vec<ZoneServersView>, Stop> {
    let mut shown = Vec::new();
    for apex in apexes {
        if let Some(row) = manage.store.read(|rows| zones::zone(rows, apex))? {
            shown.push(view(&row, manage.maintain.zone_servers_named(&row)));
        } else if let Some(known) = manage.maintain.gone_servers(apex)? {
            shown.push(view_of(apex, None, known));
        }
    }
    Ok(shown)
}
