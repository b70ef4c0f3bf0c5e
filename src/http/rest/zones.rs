//! Zones as a whole: listed, created, read and written as zone files, checked, deleted.

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, Listed, NoPath, NoQuery, Reply, ZoneFile};
use crate::http::problem::{Fault, Kind, Problem};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::change::ask;
use crate::manage::change::explain::{self, Explanation};
use crate::manage::holding::version::{self, VersionView};
use crate::manage::holding::zone::{self, ZoneQuery, ZoneView};
use crate::manage::holding::{check, file};
use crate::manage::id::OrgId;
use crate::wire::{Name, Type};

use super::submitted::{SubmittedView, Way, submit};
use super::{org_named, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct ZonePath {
    /// The name of the zone, with or without the last dot.
    #[param(value_type = String)]
    pub zone: Name,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out, all for the operator.
    org: Option<String>,
    /// Begin behind this one.
    #[param(value_type = Option<String>)]
    after: Option<Name>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// A new zone: with the records of a zone file, or with a SOA and these name servers.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewZone {
    #[schema(value_type = String, example = "example.com.")]
    zone: Name,
    /// Who will hold it; your own organisation if left out.
    #[serde(default)]
    org: Option<OrgId>,
    #[serde(default)]
    zone_file: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    name_servers: Vec<Name>,
    /// The mailbox of its SOA, as a name; `hostmaster` in the zone if left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    hostmaster: Option<Name>,
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<ZoneView>>, Problem> {
    let Listing { org, after, limit } = ask.query;
    let org = org_named(&ask.manage, &ask.context, org.as_deref())?;
    let query = ZoneQuery { org, after, limit: page_limit(limit)? };
    Ok(Reply::new(Listed(zone::list(&ask.manage, &ask.context, &query)?)))
}

/// The version of a zone. A zone that was deleted and made again counts its versions anew, but
/// its serial never goes back.
fn tag(zone: &ZoneView) -> String {
    format!("\"{}-{}\"", zone.version, zone.serial)
}

pub fn get(ask: Ask<ZonePath>) -> Result<Reply<ZoneView>, Problem> {
    let zone = zone::get(&ask.manage, &ask.context, &ask.path.zone)?;
    let tag = tag(&zone);
    Ok(Reply::new(zone).tagged(&tag))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Pushing {
    /// Apply at once, as approved elsewhere; needs the permission `order.push`.
    #[serde(default)]
    pub push: bool,
}

pub fn create(ask: Ask<NoPath, Pushing, NewZone>) -> Result<Reply<SubmittedView>, Problem> {
    let NewZone { zone, org, zone_file, name_servers, hostmaster } = ask.body;
    let new = ask::Ask::ZoneCreate { zone, org, zone_file, name_servers, hostmaster };
    submit(&ask.manage, &ask.context, vec![new], None, Way::pushed(ask.query.push))
}

pub fn delete(ask: Ask<ZonePath, Pushing>) -> Result<Reply<SubmittedView>, Problem> {
    let zone = zone::get(&ask.manage, &ask.context, &ask.path.zone)?;
    ask.condition.check(Some(&tag(&zone)))?;
    let end = ask::Ask::ZoneDelete { zone: zone.name };
    submit(&ask.manage, &ask.context, vec![end], None, Way::pushed(ask.query.push))
}

pub fn export(ask: Ask<ZonePath>) -> Result<Reply<ZoneFile>, Problem> {
    let (zone, text) = file::export(&ask.manage, &ask.context, &ask.path.zone)?;
    Ok(Reply::new(ZoneFile(Bytes::from(text))).tagged(&tag(&zone)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Importing {
    /// Handle or id of the organisation that will hold a new zone; your own if left out.
    org: Option<String>,
    /// Apply at once, as approved elsewhere; needs the permission `order.push`.
    #[serde(default)]
    push: bool,
}

/// Takes a zone file in: the zone gets these records, or is created with them.
pub fn import(ask: Ask<ZonePath, Importing, ZoneFile>) -> Result<Reply<SubmittedView>, Problem> {
    let Ask { manage, context, path, query, body, condition, .. } = ask;
    let zone_file = text_of(body.0)?;
    let there = found(&manage, &context, &path.zone)?;
    condition.check(there.as_ref().map(tag).as_deref())?;
    let zone = path.zone;
    let change = match there {
        Some(_) => ask::Ask::ZoneImport { zone, zone_file, org: None },
        None => {
            let org = org_named(&manage, &context, query.org.as_deref())?;
            let zone_file = Some(zone_file);
            ask::Ask::ZoneCreate { zone, org, zone_file, name_servers: vec![], hostmaster: None }
        }
    };
    // The body is the file itself, no JSON that could be pointed into.
    submit(&manage, &context, vec![change], None, Way::pushed(query.push))
        .map_err(|problem| problem.relocated(|_| None))
}

/// The zone if the caller may know of it. One that others hold looks free until it is asked for.
fn found(manage: &Manage, context: &Context, apex: &Name) -> Result<Option<ZoneView>, Problem> {
    match zone::get(manage, context, apex).map_err(Problem::from) {
        Ok(zone) => Ok(Some(zone)),
        Err(problem) if problem.kind() == Kind::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Zone files are octets; what is not UTF-8 in one is not text people wrote.
fn text_of(octets: Bytes) -> Result<String, Problem> {
    String::from_utf8(octets.into()).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|octet| **octet == b'\n').count() + 1;
        let detail = "the file is not UTF-8: write other octets as \\DDD".to_owned();
        let fault = Fault { line: Some(line), detail: detail.clone(), ..Fault::default() };
        Problem::invalid(detail, vec![fault])
    })
}

/// What is wrong with a zone file, and what it holds: nothing, if it would not be taken.
#[derive(Serialize, ToSchema)]
pub struct Checked {
    /// Whether it would be taken.
    pub ok: bool,
    pub records: u64,
    pub rrsets: u64,
    pub serial: Option<u32>,
    /// Whether it was signed elsewhere.
    pub presigned: bool,
    pub faults: Vec<check::FaultView>,
}

pub fn check(ask: Ask<ZonePath, NoQuery, ZoneFile>) -> Result<Reply<Checked>, Problem> {
    let checked = check::check(&ask.manage, &ask.context, &ask.path.zone, &ask.body.0)?;
    Ok(Reply::new(Checked {
        ok: checked.faults.iter().all(|fault| !fault.blocks()),
        records: checked.records,
        rrsets: checked.rrsets,
        serial: checked.serial,
        presigned: checked.presigned,
        faults: checked.faults,
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct VersionListing {
    /// Begin behind this version; the newest come first.
    after: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn versions(ask: Ask<ZonePath, VersionListing>) -> Result<Reply<Listed<VersionView>>, Problem> {
    let limit = page_limit(ask.query.limit)?;
    let page = version::list(&ask.manage, &ask.context, &ask.path.zone, ask.query.after, limit)?;
    Ok(Reply::new(Listed(page)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Explaining {
    /// The owner of the RRset: `www`, `@`, or a full name.
    name: String,
    /// The type of the RRset.
    r#type: String,
}

pub fn explain(ask: Ask<ZonePath, Explaining>) -> Result<Reply<Explanation>, Problem> {
    let (owner, rtype) = owner_and_type(&ask.path.zone, &ask.query.name, &ask.query.r#type)?;
    Ok(Reply::new(explain::explain(&ask.manage, &ask.context, &ask.path.zone, &owner, rtype)?))
}

/// Owner and type as texts in a query.
pub(super) fn owner_and_type(
    zone: &Name,
    name: &str,
    rtype: &str,
) -> Result<(Name, Type), Problem> {
    let owner =
        ask::owner(zone, name).map_err(|why| Problem::parameter(Kind::Malformed, "name", why))?;
    Ok((owner, type_of(rtype)?))
}

/// A type as text in a query.
pub(super) fn type_of(text: &str) -> Result<Type, Problem> {
    let wrong = |_| Problem::parameter(Kind::Malformed, "type", format!("{text:?} is no type"));
    text.parse().map_err(wrong)
}
