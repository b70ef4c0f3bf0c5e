//! RRsets of a zone: listed live or merged with one's basket, read and written one by one.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, NoQuery, Reply};
use crate::http::problem::{Kind, Problem};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::change::ask::{self, EditAsk, OpWord, SetAsk};
use crate::manage::change::merged::{self, Mark, RrsetQuery, RrsetView, Which};
use crate::manage::change::shown::{ItemView, Overlap, Person};
use crate::manage::event::{hex, sha256};
use crate::manage::id::ItemId;
use crate::wire::Name;

use super::page_limit;
use super::submitted::{SubmittedView, Way, submit};
use super::zones::{ZonePath, owner_and_type, type_of};

/// One RRset.
#[derive(Serialize, ToSchema)]
pub struct Rrset {
    #[schema(example = "www.example.com.")]
    pub name: String,
    #[serde(rename = "type")]
    #[schema(example = "A")]
    pub rtype: String,
    /// Seconds.
    pub ttl: u32,
    /// RDATA as in a zone file, in canonical form and order; merged, as they would be.
    #[schema(example = json!(["192.0.2.7"]))]
    pub records: Vec<String>,
    /// What the basket makes of it; only in the merged view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Mark>,
    /// The difference, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Others who have something open on it; only in the merged view.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<Overlap>,
}

/// How an RRset differs from what is served.
#[derive(Serialize, ToSchema)]
pub struct Pending {
    /// The basket item that makes the difference.
    pub item: Option<ItemId>,
    pub by: Option<Person>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Seconds, as served; none for an RRset that is not there.
    pub ttl_live: Option<u32>,
    /// Whether the RRset was changed since the item was asked for.
    pub stale: bool,
}

/// A page of RRsets.
#[derive(Serialize, ToSchema)]
pub struct Rrsets {
    /// The zone's serial as served.
    pub serial: u32,
    pub items: Vec<Rrset>,
    /// Give it as `after` for the next page; none when this is the last.
    pub next: Option<String>,
    /// What the basket has about the zone as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zone_items: Vec<ItemView>,
}

impl Rrset {
    fn of(view: RrsetView, which: Which) -> Rrset {
        let in_state = |state: Mark| {
            let records = view.records.iter().filter(move |record| record.state == state);
            records.map(|record| record.data.clone()).collect()
        };
        let staying = view.records.iter().filter(|record| record.state != Mark::Removed);
        let records = staying.map(|record| record.data.clone()).collect();
        let pending = (view.state != Mark::Live).then(|| Pending {
            item: view.item,
            by: view.by.clone(),
            added: in_state(Mark::Added),
            removed: in_state(Mark::Removed),
            ttl_live: view.ttl_live,
            stale: view.stale,
        });
        Rrset {
            records,
            pending,
            state: (which == Which::Merged).then_some(view.state),
            name: view.name.to_string(),
            rtype: view.rtype,
            ttl: view.ttl,
            overlaps: view.overlaps,
        }
    }

    /// The version of its content.
    fn tag(&self) -> String {
        let text = format!("{} {} {} {:?}", self.name, self.rtype, self.ttl, self.records);
        let digest = hex(&sha256(text.to_ascii_lowercase().as_bytes()));
        format!("\"{}\"", digest.get(..24).unwrap_or_default())
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// What is served, or over it your own basket.
    #[param(inline)]
    #[serde(default)]
    view: Which,
    /// Only of this owner: `www`, `@`, or a full name.
    name: Option<String>,
    /// Only of this type.
    r#type: Option<String>,
    /// Begin behind this one.
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

pub fn list(ask: Ask<ZonePath, Listing>) -> Result<Reply<Rrsets>, Problem> {
    let Listing { view, name, r#type, after, limit } = ask.query;
    let zone = &ask.path.zone;
    let after = match after.as_deref() {
        Some(text) => Some(merged::cursor(text).ok_or_else(|| {
            Problem::parameter(Kind::Malformed, "after", "give `next` of the page before")
        })?),
        None => None,
    };
    let name = name.map(|name| ask::owner(zone, &name)).transpose();
    let query = RrsetQuery {
        view,
        name: name.map_err(|why| Problem::parameter(Kind::Malformed, "name", why))?,
        rtype: r#type.as_deref().map(type_of).transpose()?,
        after,
        limit: page_limit(limit)?,
    };
    let page = merged::rrsets(&ask.manage, &ask.context, zone, &query)?;
    let items = page.items.into_iter().map(|set| Rrset::of(set, view)).collect();
    let (serial, next, zone_items) = (page.serial, page.next, page.zone_items);
    Ok(Reply::new(Rrsets { serial, items, next, zone_items }))
}

#[derive(Deserialize, IntoParams)]
pub struct RrsetPath {
    /// The name of the zone, with or without the last dot.
    #[param(value_type = String)]
    zone: Name,
    /// The owner of the RRset: `www`, `@`, or a full name.
    name: String,
    /// The type of the RRset.
    r#type: String,
}

/// The RRset as it is served; none if there is none.
fn served(manage: &Manage, context: &Context, path: &RrsetPath) -> Result<Option<Rrset>, Problem> {
    let place = owner_and_type(&path.zone, &path.name, &path.r#type);
    let (owner, rtype) = place.map_err(|_| Problem::not_found())?;
    let query =
        RrsetQuery { name: Some(owner), rtype: Some(rtype), limit: 1, ..Default::default() };
    let page = merged::rrsets(manage, context, &path.zone, &query)?;
    Ok(page.items.into_iter().next().map(|set| Rrset::of(set, Which::Live)))
}

pub fn get(ask: Ask<RrsetPath>) -> Result<Reply<Rrset>, Problem> {
    let set = served(&ask.manage, &ask.context, &ask.path)?.ok_or_else(Problem::not_found)?;
    let tag = set.tag();
    Ok(Reply::new(set).tagged(&tag))
}

/// What an RRset is to be.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Seconds; as it is, or the usual one, if left out.
    #[serde(default)]
    ttl: Option<u32>,
    /// RDATA as in a zone file; at least one.
    #[schema(example = json!(["192.0.2.7"]))]
    records: Vec<String>,
}

pub fn put(ask: Ask<RrsetPath, NoQuery, Wanted>) -> Result<Reply<SubmittedView>, Problem> {
    let Wanted { ttl, records } = ask.body;
    let edit = |base| whole(&ask.path, OpWord::Replace, ttl, records, base);
    let now = seen(&ask.manage, &ask.context, &ask.path, &ask.condition)?;
    change(&ask.manage, &ask.context, ask.path.zone.clone(), edit(now))
}

pub fn delete(ask: Ask<RrsetPath>) -> Result<Reply<SubmittedView>, Problem> {
    let now = seen(&ask.manage, &ask.context, &ask.path, &ask.condition)?;
    let edit = whole(&ask.path, OpWord::Delete, None, Vec::new(), now);
    change(&ask.manage, &ask.context, ask.path.zone, edit)
}

fn whole(
    path: &RrsetPath,
    op: OpWord,
    ttl: Option<u32>,
    records: Vec<String>,
    base: Option<SetAsk>,
) -> EditAsk {
    let (name, rtype) = (path.name.clone(), path.r#type.clone());
    EditAsk { name, rtype, op, ttl, records, base: Some(base) }
}

/// The RRset the caller says to have seen. It becomes the base of the change, so what happens to it
/// between here and the commit is a conflict.
fn seen(
    manage: &Manage,
    context: &Context,
    path: &RrsetPath,
    condition: &crate::http::etag::Condition,
) -> Result<Option<SetAsk>, Problem> {
    let now = served(manage, context, path)?;
    if !condition.is_given() {
        let detail = "say which version you saw: If-Match with the ETag of the RRset, \
            If-Match: * for whatever is there, or If-None-Match: * when there should be none";
        return Err(Problem::new(Kind::IfMatchNeeded, detail));
    }
    condition.check(now.as_ref().map(Rrset::tag).as_deref())?;
    Ok(now.map(|set| SetAsk { ttl: set.ttl, records: set.records }))
}

fn change(
    manage: &Manage,
    context: &Context,
    zone: Name,
    edit: EditAsk,
) -> Result<Reply<SubmittedView>, Problem> {
    let asks = vec![ask::Ask::DnsChange { zone, edits: vec![edit] }];
    submit(manage, context, asks, None, Way::Submit)
}

/// Changes of records of one zone.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    edits: Vec<EditAsk>,
    #[serde(default)]
    note: Option<String>,
}

pub fn patch(ask: Ask<ZonePath, NoQuery, Edits>) -> Result<Reply<SubmittedView>, Problem> {
    let Edits { edits, note } = ask.body;
    let asks = vec![ask::Ask::DnsChange { zone: ask.path.zone, edits }];
    submit(&ask.manage, &ask.context, asks, note, Way::Submit)
}
