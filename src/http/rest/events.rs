//! The record of who did what.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::call::{Ask, Listed, NoPath, Reply};
use crate::http::problem::Problem;
use crate::manage::event::{self, EventQuery, EventView};

use super::{org_named, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct EventPath {
    /// The number of the event.
    seq: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out, all for who looks after the server.
    org: Option<String>,
    /// Begin behind this number.
    after: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<EventView>>, Problem> {
    let Listing { org, after, limit } = ask.query;
    let org = org_named(&ask.manage, &ask.context, org.as_deref())?;
    let query = EventQuery { org, after, limit: page_limit(limit)? };
    Ok(Reply::new(Listed(event::list(&ask.manage, &ask.context, &query)?)))
}

pub fn get(ask: Ask<EventPath>) -> Result<Reply<EventView>, Problem> {
    let seq = ask.path.seq.parse().map_err(|_| Problem::not_found())?;
    Ok(Reply::new(event::get(&ask.manage, &ask.context, seq)?))
}
