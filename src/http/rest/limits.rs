//! How much one may ask for.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, NoPath, Reply};
use crate::http::problem::Problem;
use crate::manage::limits::{self, Limits};
use crate::manage::people::organisation;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// Handle or id of the organisation; your own if left out.
    org: Option<String>,
}

/// The limits of an organisation, and those of every request.
#[derive(Serialize, ToSchema)]
pub struct LimitsView {
    pub organisation: Limits,
    pub request: RequestLimits,
}

/// The limits of every request.
#[derive(Serialize, ToSchema)]
pub struct RequestLimits {
    /// Octets of a JSON body.
    pub body_octets_max: u64,
    /// Octets of a zone file.
    pub zone_text_octets_max: u64,
    /// Requests being worked on at once, of all callers.
    pub requests_max: u64,
    /// Calls one token may make in a minute; 0 is without a limit.
    pub token_requests_per_minute_max: u64,
    /// Items of one page.
    pub page_rows_max: u64,
    /// Edits in one request.
    pub edits_max: u64,
    /// Records in one edit.
    pub edit_records_max: u64,
    /// Characters of an idempotency key.
    pub idempotency_key_chars_max: u64,
}

pub fn get(ask: Ask<NoPath, Whose>) -> Result<Reply<LimitsView>, Problem> {
    let own = ask.context.org.to_string();
    let org = ask.query.org.unwrap_or(own);
    let org = organisation::get(&ask.manage, &ask.context, &org)?;
    let settings = &ask.settings;
    Ok(Reply::new(LimitsView {
        organisation: org.limits,
        request: RequestLimits {
            body_octets_max: settings.body_octets_max as u64,
            zone_text_octets_max: settings.zone_text_octets_max.min(limits::ZONE_TEXT_OCTETS_MAX)
                as u64,
            requests_max: settings.requests_max as u64,
            token_requests_per_minute_max: settings.token_requests_per_minute_max.into(),
            page_rows_max: limits::PAGE_ROWS_MAX as u64,
            edits_max: limits::EDITS_MAX as u64,
            edit_records_max: limits::EDIT_RECORDS_MAX as u64,
            idempotency_key_chars_max: limits::IDEMPOTENCY_KEY_CHARS_MAX as u64,
        },
    }))
}
