//! The resources of the API: one thin file per noun.
//!
//! A function here takes a call apart, asks `manage` once, and says what came of it.

pub mod access;
pub mod basket;
pub mod catalogs;
pub mod dnssec;
pub mod events;
pub mod limits;
pub mod orders;
pub mod orgs;
pub mod primaries;
pub mod rrsets;
pub mod secondaries;
mod submitted;
pub mod tokens;
pub mod traffic;
pub mod tsig;
pub mod update_policy;
pub mod users;
pub mod zones;

use axum::http::header;
use serde::Deserialize;
use utoipa::IntoParams;

use super::call::Reply;
use super::problem::{Kind, Problem};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::id::OrgId;
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::people::organisation;

/// Rows of a page when nobody says how many.
const PAGE_ROWS: usize = 100;

#[derive(Deserialize, IntoParams)]
pub struct OrgPath {
    /// Handle or id of the organisation.
    pub org: String,
}

/// How many rows a page may have.
fn page_limit(asked: Option<u16>) -> Result<usize, Problem> {
    match asked.map_or(PAGE_ROWS, usize::from) {
        limit @ 1..=PAGE_ROWS_MAX => Ok(limit),
        _ => {
            let detail = format!("a page has 1 to {PAGE_ROWS_MAX} items");
            Err(Problem::parameter(Kind::Malformed, "limit", detail)
                .with_limit("page_rows_max", PAGE_ROWS_MAX as u64))
        }
    }
}

/// The organisation of this handle or id, if one is named.
fn org_named(
    manage: &Manage,
    context: &Context,
    text: Option<&str>,
) -> Result<Option<OrgId>, Problem> {
    text.map(|text| Ok(organisation::get(manage, context, text)?.id)).transpose()
}

/// The organisation of this handle or id, or the caller's own.
fn org_or_own(manage: &Manage, context: &Context, text: Option<&str>) -> Result<OrgId, Problem> {
    Ok(org_named(manage, context, text)?.unwrap_or(context.org))
}

/// With the address of what was created.
fn location<T, const STATUS: u16>(reply: Reply<T, STATUS>, at: &str) -> Reply<T, STATUS> {
    reply.with(header::LOCATION, at)
}
