//! Catalogs, and the zones in them.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Done, Listed, NoPath, NoQuery, Optional, Reply};
use crate::http::problem::Problem;
use crate::manage::holding::catalog::{self, CatalogView, Joining, MemberView, NewCatalog};
use crate::wire::Name;

use super::{location, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct CatalogPath {
    /// The name of the catalog, with or without the last dot.
    #[param(value_type = String)]
    catalog: Name,
}

#[derive(Deserialize, IntoParams)]
pub struct MemberPath {
    /// The name of the catalog, with or without the last dot.
    #[param(value_type = String)]
    catalog: Name,
    /// The name of the zone, with or without the last dot.
    #[param(value_type = String)]
    zone: Name,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Begin behind this zone.
    #[param(value_type = Option<String>)]
    after: Option<Name>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<CatalogView>>, Problem> {
    let limit = page_limit(ask.query.limit)?;
    let mut page = catalog::list(&ask.manage, &ask.context)?;
    let behind = |row: &CatalogView| {
        ask.query.after.as_ref().is_none_or(|after| row.zone.key() > after.key())
    };
    page.items.retain(behind);
    let more = page.items.len() > limit;
    page.items.truncate(limit);
    page.next = page.items.last().filter(|_| more).map(|row| row.zone.to_string());
    Ok(Reply::new(Listed(page)))
}

pub fn create(ask: Ask<NoPath, NoQuery, NewCatalog>) -> Result<Created<CatalogView>, Problem> {
    let made = catalog::create(&ask.manage, &ask.context, ask.body)?;
    let at = format!("/v1/catalogs/{}", made.zone);
    Ok(location(Reply::new(made), &at))
}

pub fn get(ask: Ask<CatalogPath>) -> Result<Reply<CatalogView>, Problem> {
    Ok(Reply::new(catalog::get(&ask.manage, &ask.context, &ask.path.catalog)?))
}

pub fn delete(ask: Ask<CatalogPath>) -> Result<Reply<CatalogView>, Problem> {
    Ok(Reply::new(catalog::delete(&ask.manage, &ask.context, &ask.path.catalog)?))
}

pub fn members(ask: Ask<CatalogPath, Listing>) -> Result<Reply<Listed<MemberView>>, Problem> {
    let Listing { after, limit } = ask.query;
    let limit = page_limit(limit)?;
    let (manage, context) = (&ask.manage, &ask.context);
    let page = catalog::members(manage, context, &ask.path.catalog, after.as_ref(), limit)?;
    Ok(Reply::new(Listed(page)))
}

pub fn join(ask: Ask<MemberPath, NoQuery, Optional<Joining>>) -> Result<Done, Problem> {
    let MemberPath { catalog, zone } = ask.path;
    catalog::assign(&ask.manage, &ask.context, &catalog, &zone, Some(ask.body.0))?;
    Ok(Done)
}

pub fn leave(ask: Ask<MemberPath>) -> Result<Done, Problem> {
    let MemberPath { catalog, zone } = ask.path;
    catalog::assign(&ask.manage, &ask.context, &catalog, &zone, None)?;
    Ok(Done)
}
