//! Organisations.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Listed, NoPath, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::id::OrgId;
use crate::manage::people::organisation::{self, NewOrg, OrgPatch, OrgQuery, Organisation};

use super::{OrgPath, location, page_limit};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Only those directly below this organisation.
    #[param(value_type = Option<String>)]
    parent: Option<OrgId>,
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<OrgId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<Organisation>>, Problem> {
    let Listing { parent, after, limit } = ask.query;
    let query = OrgQuery { parent, after, limit: page_limit(limit)? };
    Ok(Reply::new(Listed(organisation::list(&ask.manage, &ask.context, &query)?)))
}

pub fn create(ask: Ask<NoPath, NoQuery, NewOrg>) -> Result<Created<Organisation>, Problem> {
    let org = organisation::create(&ask.manage, &ask.context, ask.body)?;
    let at = format!("/v1/orgs/{}", org.id);
    Ok(location(Reply::new(org), &at))
}

pub fn get(ask: Ask<OrgPath>) -> Result<Reply<Organisation>, Problem> {
    Ok(Reply::new(organisation::get(&ask.manage, &ask.context, &ask.path.org)?))
}

pub fn update(ask: Ask<OrgPath, NoQuery, OrgPatch>) -> Result<Reply<Organisation>, Problem> {
    let org = organisation::get(&ask.manage, &ask.context, &ask.path.org)?;
    Ok(Reply::new(organisation::update(&ask.manage, &ask.context, org.id, ask.body)?))
}
