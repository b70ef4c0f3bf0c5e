//! Secondaries, and which servers serve a zone.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Listed, NoPath, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::holding::secondary::{self, NewSecondary, SecondaryView};
use crate::manage::holding::servers::{self, ZoneServersView};
use crate::manage::holding::waiver::{self, NewWaiver, WaiverView};
use crate::manage::holding::zone::ZoneQuery;
use crate::wire::Name;

use super::zones::ZonePath;
use super::{location, org_named, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct SecondaryPath {
    /// The name of the secondary.
    secondary: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct All {
    /// Begin behind this one.
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, All>) -> Result<Reply<Listed<SecondaryView>>, Problem> {
    let limit = page_limit(ask.query.limit)?;
    let mut page = secondary::list(&ask.manage, &ask.context)?;
    page.items.retain(|row| ask.query.after.as_ref().is_none_or(|after| row.name > *after));
    let more = page.items.len() > limit;
    page.items.truncate(limit);
    page.next = page.items.last().filter(|_| more).map(|row| row.name.clone());
    Ok(Reply::new(Listed(page)))
}

pub fn create(ask: Ask<NoPath, NoQuery, NewSecondary>) -> Result<Created<SecondaryView>, Problem> {
    let row = secondary::create(&ask.manage, &ask.context, ask.body)?;
    let at = format!("/v1/secondaries/{}", row.name);
    Ok(location(Reply::new(row), &at))
}

pub fn get(ask: Ask<SecondaryPath>) -> Result<Reply<SecondaryView>, Problem> {
    Ok(Reply::new(secondary::get(&ask.manage, &ask.context, &ask.path.secondary)?))
}

pub fn delete(ask: Ask<SecondaryPath>) -> Result<Reply<SecondaryView>, Problem> {
    Ok(Reply::new(secondary::delete(&ask.manage, &ask.context, &ask.path.secondary)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out, all for the operator.
    org: Option<String>,
    /// Begin behind this zone.
    #[param(value_type = Option<String>)]
    after: Option<Name>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn matrix(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<ZoneServersView>>, Problem> {
    let Listing { org, after, limit } = ask.query;
    let org = org_named(&ask.manage, &ask.context, org.as_deref())?;
    let query = ZoneQuery { org, after, limit: page_limit(limit)? };
    Ok(Reply::new(Listed(servers::list(&ask.manage, &ask.context, &query)?)))
}

pub fn of_zone(ask: Ask<ZonePath>) -> Result<Reply<ZoneServersView>, Problem> {
    Ok(Reply::new(servers::get(&ask.manage, &ask.context, &ask.path.zone)?))
}

pub fn look(ask: Ask<ZonePath>) -> Result<Reply<ZoneServersView>, Problem> {
    Ok(Reply::new(servers::look(&ask.manage, &ask.context, &ask.path.zone)?))
}

#[derive(Deserialize, IntoParams)]
pub struct ServerPath {
    /// The apex of the zone.
    #[param(value_type = String)]
    zone: Name,
    /// The name of an NS record of the zone, or of a secondary.
    server: String,
}

pub fn waivers(ask: Ask<ZonePath>) -> Result<Reply<Listed<WaiverView>>, Problem> {
    Ok(Reply::new(Listed(waiver::list(&ask.manage, &ask.context, &ask.path.zone)?)))
}

pub fn waive(ask: Ask<ServerPath, NoQuery, NewWaiver>) -> Result<Reply<ZoneServersView>, Problem> {
    let ServerPath { zone, server } = &ask.path;
    Ok(Reply::new(waiver::put(&ask.manage, &ask.context, zone, server, &ask.body)?))
}

pub fn unwaive(ask: Ask<ServerPath>) -> Result<Reply<ZoneServersView>, Problem> {
    let ServerPath { zone, server } = &ask.path;
    Ok(Reply::new(waiver::delete(&ask.manage, &ask.context, zone, server)?))
}
