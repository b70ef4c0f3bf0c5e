//! Users of an organisation.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Listed, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::id::UserId;
use crate::manage::people::organisation;
use crate::manage::people::user::{self, NewUser, UserPatch, UserView};

use super::{OrgPath, location, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct UserPath {
    /// The id of the user.
    #[param(value_type = String)]
    user: UserId,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<UserId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<OrgPath, Listing>) -> Result<Reply<Listed<UserView>>, Problem> {
    let org = organisation::get(&ask.manage, &ask.context, &ask.path.org)?;
    let limit = page_limit(ask.query.limit)?;
    Ok(Reply::new(Listed(user::list(&ask.manage, &ask.context, org.id, ask.query.after, limit)?)))
}

pub fn create(ask: Ask<OrgPath, NoQuery, NewUser>) -> Result<Created<UserView>, Problem> {
    let org = organisation::get(&ask.manage, &ask.context, &ask.path.org)?;
    let user = user::create(&ask.manage, &ask.context, org.id, ask.body)?;
    let at = format!("/v1/users/{}", user.id);
    Ok(location(Reply::new(user), &at))
}

pub fn get(ask: Ask<UserPath>) -> Result<Reply<UserView>, Problem> {
    Ok(Reply::new(user::get(&ask.manage, &ask.context, ask.path.user)?))
}

pub fn update(ask: Ask<UserPath, NoQuery, UserPatch>) -> Result<Reply<UserView>, Problem> {
    Ok(Reply::new(user::update(&ask.manage, &ask.context, ask.path.user, ask.body)?))
}
