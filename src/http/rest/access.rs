//! Access lists of zones and organisations.

use crate::http::call::{Ask, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::holding::acl::{self, OrgAccess, ZoneAccess};
use crate::manage::people::organisation;

use super::OrgPath;
use super::zones::ZonePath;

pub fn of_zone(ask: Ask<ZonePath>) -> Result<Reply<ZoneAccess>, Problem> {
    Ok(Reply::new(acl::of_zone(&ask.manage, &ask.context, &ask.path.zone)?))
}

pub fn set_of_zone(ask: Ask<ZonePath, NoQuery, ZoneAccess>) -> Result<Reply<ZoneAccess>, Problem> {
    Ok(Reply::new(acl::set_of_zone(&ask.manage, &ask.context, &ask.path.zone, &ask.body)?))
}

pub fn of_org(ask: Ask<OrgPath>) -> Result<Reply<OrgAccess>, Problem> {
    let org = organisation::get(&ask.manage, &ask.context, &ask.path.org)?.id;
    Ok(Reply::new(acl::of_org(&ask.manage, &ask.context, org)?))
}

pub fn set_of_org(ask: Ask<OrgPath, NoQuery, OrgAccess>) -> Result<Reply<OrgAccess>, Problem> {
    let org = organisation::get(&ask.manage, &ask.context, &ask.path.org)?.id;
    Ok(Reply::new(acl::set_of_org(&ask.manage, &ask.context, org, &ask.body)?))
}
