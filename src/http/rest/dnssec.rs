//! DNSSEC of zones: switched, watched, rolled; and the policies zones are signed by.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, Created, Done, Listed, NoPath, NoQuery, Optional, Reply};
use crate::http::problem::Problem;
use crate::manage::change::ask;
use crate::manage::holding::clock::{self, ClockView};
use crate::manage::holding::dnssec::{self, DnssecView, Foreign, Roll, ScheduleLine, Seen};
use crate::manage::holding::dnssec_key::{self, ImportedKey, KeyFiles};
use crate::manage::holding::dnssec_policy::{self as policy, PolicyBody, PolicyView};
use crate::manage::page::Page;
use crate::wire::Name;

use super::submitted::{SubmittedView, Way, submit};
use super::zones::{Pushing, ZonePath};
use super::{org_named, page_limit};

pub fn get(ask: Ask<ZonePath>) -> Result<Reply<DnssecView>, Problem> {
    Ok(Reply::new(dnssec::get(&ask.manage, &ask.context, &ask.path.zone)?))
}

/// What is wanted of a zone's DNSSEC.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Whether the zone is to be signed.
    on: bool,
    /// The policy it is signed by; `default` if left out.
    #[serde(default)]
    policy: Option<String>,
    /// Take off the signatures that others made, to make them here.
    #[serde(default)]
    strip: bool,
    /// Off at once, although resolvers may fail until the DS at the parent has expired: why.
    #[serde(default)]
    force_reason: Option<String>,
}

pub fn set(ask: Ask<ZonePath, Pushing, Switch>) -> Result<Reply<SubmittedView>, Problem> {
    let Switch { on, policy, strip, force_reason } = ask.body;
    let zone = ask.path.zone;
    let change = ask::Ask::DnssecSet { zone, on, policy, strip, force_reason };
    submit(&ask.manage, &ask.context, vec![change], None, Way::pushed(ask.query.push))
}

pub fn roll(ask: Ask<ZonePath, NoQuery, Optional<Roll>>) -> Result<Reply<DnssecView>, Problem> {
    Ok(Reply::new(dnssec::roll(&ask.manage, &ask.context, &ask.path.zone, ask.body.0)?))
}

pub fn seen(ask: Ask<ZonePath, NoQuery, Seen>) -> Result<Reply<DnssecView>, Problem> {
    Ok(Reply::new(dnssec::seen(&ask.manage, &ask.context, &ask.path.zone, ask.body)?))
}

pub fn foreign(ask: Ask<ZonePath, NoQuery, Foreign>) -> Result<Reply<DnssecView>, Problem> {
    Ok(Reply::new(dnssec::set_foreign(&ask.manage, &ask.context, &ask.path.zone, &ask.body)?))
}

#[derive(Deserialize, IntoParams)]
pub struct KeyPath {
    /// The name of the zone, with or without the last dot.
    #[param(value_type = String)]
    zone: Name,
    /// The key tag.
    tag: u16,
}

pub fn import_key(ask: Ask<ZonePath, NoQuery, KeyFiles>) -> Result<Created<ImportedKey>, Problem> {
    Ok(Reply::new(dnssec_key::import(&ask.manage, &ask.context, &ask.path.zone, &ask.body)?))
}

pub fn export_key(ask: Ask<KeyPath>) -> Result<Reply<KeyFiles>, Problem> {
    let KeyPath { zone, tag } = ask.path;
    Ok(Reply::new(dnssec_key::export(&ask.manage, &ask.context, &zone, tag)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Scheduling {
    /// Begin behind this place; a listing gives it as `next`.
    after: Option<u32>,
    /// How many at most; all steps of a zone come together.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn schedule(ask: Ask<NoPath, Scheduling>) -> Result<Reply<Listed<ScheduleLine>>, Problem> {
    let limit = page_limit(ask.query.limit)?;
    let page = dnssec::schedule(&ask.manage, &ask.context, ask.query.after, limit)?;
    Ok(Reply::new(Listed(page)))
}

pub fn clock(ask: Ask<NoPath>) -> Result<Reply<ClockView>, Problem> {
    Ok(Reply::new(clock::get(&ask.manage, &ask.context)?))
}

pub fn trust_clock(ask: Ask<NoPath>) -> Result<Reply<ClockView>, Problem> {
    Ok(Reply::new(clock::believe(&ask.manage, &ask.context)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// Handle or id of the organisation; your own if left out, the server's for the operator.
    org: Option<String>,
}

#[derive(Deserialize, IntoParams)]
pub struct PolicyPath {
    /// The name of the policy.
    policy: String,
}

pub fn policies(ask: Ask<NoPath, Whose>) -> Result<Reply<Listed<PolicyView>>, Problem> {
    let org = org_named(&ask.manage, &ask.context, ask.query.org.as_deref())?;
    let org = policy::whose(&ask.context, org);
    let items = policy::list(&ask.manage, &ask.context, org)?;
    Ok(Reply::new(Listed(Page { items, next: None })))
}

pub fn put_policy(ask: Ask<PolicyPath, Whose, PolicyBody>) -> Result<Reply<PolicyView>, Problem> {
    let org = org_named(&ask.manage, &ask.context, ask.query.org.as_deref())?;
    let org = policy::whose(&ask.context, org);
    Ok(Reply::new(policy::put(&ask.manage, &ask.context, org, &ask.path.policy, ask.body)?))
}

pub fn delete_policy(ask: Ask<PolicyPath, Whose>) -> Result<Done, Problem> {
    let org = org_named(&ask.manage, &ask.context, ask.query.org.as_deref())?;
    let org = policy::whose(&ask.context, org);
    policy::delete(&ask.manage, &ask.context, org, &ask.path.policy)?;
    Ok(Done)
}
