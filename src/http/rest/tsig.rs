//! TSIG keys.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Done, Listed, NoPath, NoQuery, Optional, Reply};
use crate::http::problem::Problem;
use crate::manage::holding::tsig::{self, FreshTsigKey, NewTsigKey, TsigKeyView, TsigRotation};
use crate::wire::Name;

use super::{org_or_own, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct TsigPath {
    /// The name of the key, with or without the last dot.
    #[param(value_type = String)]
    pub(super) key: Name,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out.
    org: Option<String>,
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<Name>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<TsigKeyView>>, Problem> {
    let org = org_or_own(&ask.manage, &ask.context, ask.query.org.as_deref())?;
    let limit = page_limit(ask.query.limit)?;
    let page = tsig::list(&ask.manage, &ask.context, org, ask.query.after.as_ref(), limit)?;
    Ok(Reply::new(Listed(page)))
}

pub fn create(ask: Ask<NoPath, NoQuery, NewTsigKey>) -> Result<Created<FreshTsigKey>, Problem> {
    Ok(Reply::new(tsig::create(&ask.manage, &ask.context, ask.body)?))
}

pub fn get(ask: Ask<TsigPath>) -> Result<Reply<TsigKeyView>, Problem> {
    Ok(Reply::new(tsig::get(&ask.manage, &ask.context, &ask.path.key)?))
}

pub fn rotate(
    ask: Ask<TsigPath, NoQuery, Optional<TsigRotation>>,
) -> Result<Reply<FreshTsigKey>, Problem> {
    Ok(Reply::new(tsig::rotate(&ask.manage, &ask.context, &ask.path.key, &ask.body.0)?))
}

pub fn delete(ask: Ask<TsigPath>) -> Result<Done, Problem> {
    tsig::delete(&ask.manage, &ask.context, &ask.path.key)?;
    Ok(Done)
}
