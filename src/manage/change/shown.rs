//! What is shown of items and orders: the shapes of the API.

use serde::{Deserialize, Serialize};

use super::ask::{self, SetAsk};
use super::draft;
use super::item::{self, Body, Item, Open, What};
use super::pending::Net;
use crate::maintain::rows as zones;
use crate::maintain::{DnssecWish, dnssec};
use crate::manage::access::{self, Context};
use crate::manage::event::hex;
use crate::manage::fault::Stop;
use crate::manage::id::{ItemId, OrderId, OrgId, UserId};
use crate::manage::limits::TTL_S_DEFAULT;
use crate::manage::people::user::USERS;
use crate::manage::time::Timestamp;
use crate::store::Rows;
use crate::wire::{Name, Type};

/// An open item of somebody else on the same RRset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Overlap {
    /// `basket` or `order`.
    pub r#in: String,
    /// The order, if it is in one and in reach.
    pub order: Option<OrderId>,
    /// Who; none when it is somebody of an organisation out of reach.
    pub by: Option<Person>,
}

/// Somebody, by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Person {
    pub id: UserId,
    pub name: String,
}

/// The person with this id.
pub fn person(rows: &impl Rows, id: UserId) -> Result<Person, Stop> {
    let name = rows.get(&USERS, &id)?.map_or_else(String::new, |user| user.name);
    Ok(Person { id, name })
}

/// What is open on the same RRset in other hands than `user`'s basket.
pub fn overlaps<R: Rows>(
    rows: &R,
    context: &Context,
    open: impl IntoIterator<Item = Open>,
) -> Result<Vec<Overlap>, Stop> {
    let mut shown = Vec::new();
    for open in open {
        let holder = open.holder;
        if holder.order.is_none() && holder.user == context.actor.user() {
            continue;
        }
        let seen = access::reaches(rows, context, holder.org)?;
        shown.push(Overlap {
            r#in: if holder.order.is_some() { "order" } else { "basket" }.to_owned(),
            order: holder.order.filter(|_| seen),
            by: holder.user.filter(|_| seen).map(|user| person(rows, user)).transpose()?,
        });
    }
    Ok(shown)
}

/// One thing asked for, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ItemView {
    pub id: ItemId,
    /// `dns_change`, `zone_create`, `zone_import`, `zone_delete`, `dnssec_set`.
    pub kind: String,
    #[schema(value_type = String)]
    pub zone: Name,
    /// Who holds the zone, or will.
    pub org: OrgId,
    /// The owner, of a change of records.
    #[schema(value_type = Option<String>)]
    pub name: Option<Name>,
    #[serde(rename = "type")]
    pub rtype: Option<String>,
    /// `added`, `changed` or `removed`.
    pub effect: String,
    /// The RRset as its author saw it.
    pub base: Option<SetAsk>,
    /// The RRset as its author wants it.
    pub wanted: Option<SetAsk>,
    /// Records put in, where the item speaks of single records.
    pub added: Vec<String>,
    /// Records taken out, where the item speaks of single records.
    pub removed: Vec<String>,
    /// Records of a new or imported zone.
    pub records: Option<u64>,
    /// What is wanted of DNSSEC, in words.
    pub dnssec: Option<String>,
    /// Whether the RRset was changed since its author saw it, so that applying this would be refused.
    pub stale: bool,
    /// Others who have something open on the same RRset.
    pub overlaps: Vec<Overlap>,
    pub author: Option<Person>,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// SHA-256 of what is asked for.
    pub digest: String,
}

/// An item as it is shown.
pub fn item<R: Rows>(rows: &R, context: &Context, item: &Item) -> Result<ItemView, Stop> {
    let body = item.body(rows)?;
    let mut view = ItemView {
        id: item.id,
        kind: item.what.word().to_owned(),
        zone: item.zone.clone(),
        org: item.org,
        name: None,
        rtype: None,
        effect: String::new(),
        base: None,
        wanted: None,
        added: Vec::new(),
        removed: Vec::new(),
        records: None,
        dnssec: None,
        stale: false,
        overlaps: overlaps(rows, context, item::open_beside(rows, item)?)?,
        author: item.author.map(|user| person(rows, user)).transpose()?,
        at: item.at,
        digest: hex(&item.digest(rows)?),
    };
    let zone = zones::zone(rows, &item.zone)?;
    match (&item.what, body) {
        (What::Edit { owner, rtype }, Body::Edit { base, net }) => {
            let now = match &zone {
                Some(zone) => draft::live(rows, zone, owner, *rtype)?,
                None => None,
            };
            let gone = zone.is_none();
            let base_now = if draft::same(*rtype, &base, &now) { base.clone() } else { now };
            view.stale = gone || !net.still_stands(&base, &base_now);
            let wanted = net.on(&base, TTL_S_DEFAULT);
            view.effect = effect(base.is_some(), wanted.is_some()).to_owned();
            (view.added, view.removed) = records(*rtype, &net);
            view.base = base.map(|value| ask::shown(*rtype, &value));
            view.wanted = wanted.map(|value| ask::shown(*rtype, &value));
            view.name = Some(owner.clone());
            view.rtype = Some(rtype.to_string());
        }
        (What::Create, body) => {
            view.stale = zone.is_some();
            view.records = Some(draft::records(&body));
            view.effect = "added".to_owned();
        }
        (What::Import, body) => {
            view.stale = zone.is_none_or(|zone| Some(zone.serial.0) != item.seen_serial);
            view.records = Some(draft::records(&body));
            view.effect = "changed".to_owned();
        }
        (What::Dnssec, Body::Dnssec { wish, before }) => {
            let now = zone.as_ref().map(|zone| dnssec::wish(rows, zone)).transpose()?;
            view.stale = now != Some(before);
            view.effect = "changed".to_owned();
            view.dnssec = Some(match wish {
                DnssecWish::On { policy, strip: false } => format!("on, by policy {policy}"),
                DnssecWish::On { policy, strip: true } => {
                    format!("on, by policy {policy}, in place of the signatures it has")
                }
                DnssecWish::Off => "off, once the parent has no DS".to_owned(),
                DnssecWish::ForcedOff { reason } => format!("off at once: {reason}"),
            });
        }
        _ => {
            view.stale = zone.is_none();
            view.effect = "removed".to_owned();
        }
    }
    Ok(view)
}

/// The word for what becomes of something that was or was not there, and will or will not be.
pub fn effect(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => "added",
        (true, true) => "changed",
        (true, false) => "removed",
    }
}

fn records(rtype: Type, net: &Net) -> (Vec<String>, Vec<String>) {
    let Net::Records { add, remove, .. } = net else { return (Vec::new(), Vec::new()) };
    let text = |rdata: &super::pending::Rdata| ask::text(rtype, rdata);
    (add.iter().map(text).collect(), remove.iter().map(text).collect())
}
