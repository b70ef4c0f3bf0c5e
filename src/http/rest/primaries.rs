//! Zones whose primary is elsewhere.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Done, Listed, NoPath, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::holding::group::{self, GroupAsk, GroupView};
use crate::manage::holding::primaries::{self, NewPrimaries, PrimariesView, RefreshAsk};
use crate::wire::Name;

use super::page_limit;
use super::zones::ZonePath;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<Name>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

#[derive(Deserialize, IntoParams)]
pub struct GroupPath {
    /// The name of the catalog, with or without the last dot.
    #[param(value_type = String)]
    zone: Name,
    /// The name of the group.
    group: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct GroupListing {
    /// Begin behind this group.
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<PrimariesView>>, Problem> {
    let limit = page_limit(ask.query.limit)?;
    let after = ask.query.after.as_ref();
    Ok(Reply::new(Listed(primaries::list(&ask.manage, &ask.context, after, limit)?)))
}

pub fn get(ask: Ask<ZonePath>) -> Result<Reply<PrimariesView>, Problem> {
    Ok(Reply::new(primaries::get(&ask.manage, &ask.context, &ask.path.zone)?))
}

pub fn set(ask: Ask<ZonePath, NoQuery, NewPrimaries>) -> Result<Reply<PrimariesView>, Problem> {
    Ok(Reply::new(primaries::set(&ask.manage, &ask.context, &ask.path.zone, &ask.body)?))
}

pub fn remove(ask: Ask<ZonePath>) -> Result<Done, Problem> {
    primaries::remove(&ask.manage, &ask.context, &ask.path.zone)?;
    Ok(Done)
}

pub fn refresh(ask: Ask<ZonePath, NoQuery, RefreshAsk>) -> Result<Reply<PrimariesView>, Problem> {
    Ok(Reply::new(primaries::refresh(&ask.manage, &ask.context, &ask.path.zone, &ask.body)?))
}

pub fn groups(ask: Ask<ZonePath, GroupListing>) -> Result<Reply<Listed<GroupView>>, Problem> {
    let GroupListing { after, limit } = ask.query;
    let limit = page_limit(limit)?;
    let (manage, context) = (&ask.manage, &ask.context);
    let page = group::list(manage, context, &ask.path.zone, after.as_deref(), limit)?;
    Ok(Reply::new(Listed(page)))
}

pub fn set_group(ask: Ask<GroupPath, NoQuery, GroupAsk>) -> Result<Reply<GroupView>, Problem> {
    let GroupPath { zone, group } = &ask.path;
    Ok(Reply::new(group::set(&ask.manage, &ask.context, zone, group, &ask.body)?))
}

pub fn remove_group(ask: Ask<GroupPath>) -> Result<Done, Problem> {
    group::remove(&ask.manage, &ask.context, &ask.path.zone, &ask.path.group)?;
    Ok(Done)
}
