//! API tokens.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Created, Listed, NoPath, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::id::TokenId;
use crate::manage::people::token::{self, FreshToken, NewToken, TokenView};

use super::{org_or_own, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct TokenPath {
    /// The id of the token.
    #[param(value_type = String)]
    token: TokenId,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out.
    org: Option<String>,
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<TokenId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<TokenView>>, Problem> {
    let org = org_or_own(&ask.manage, &ask.context, ask.query.org.as_deref())?;
    let limit = page_limit(ask.query.limit)?;
    Ok(Reply::new(Listed(token::list(&ask.manage, &ask.context, org, ask.query.after, limit)?)))
}

pub fn create(ask: Ask<NoPath, NoQuery, NewToken>) -> Result<Created<FreshToken>, Problem> {
    Ok(Reply::new(token::create(&ask.manage, &ask.context, ask.body)?))
}

pub fn revoke(ask: Ask<TokenPath>) -> Result<Reply<TokenView>, Problem> {
    Ok(Reply::new(token::revoke(&ask.manage, &ask.context, ask.path.token)?))
}
