//! The merged view: what is served, and over it what the one who looks has in the basket.
//!
//! Each RRset and each record is marked live, added, changed or removed. What others have open on the same
//! RRset is a badge, no more: their values are theirs.
//!
//! Promises: with an empty basket the merged view is the live one; the page of a zone costs what
//! its rows cost, whatever the zone holds.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::ask;
use super::draft;
use super::item::{self, Body, Item, Open, What};
use super::pending::{Base, Net, Value};
use super::shown::{self, ItemView, Overlap, Person};
use crate::maintain::rows as zones;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Stop;
use crate::manage::holding::zone as holding;
use crate::manage::id::ItemId;
use crate::manage::limits::{PAGE_ROWS_MAX, TTL_S_DEFAULT};
use crate::store::Rows;
use crate::wire::{Name, Type};
use crate::zone::packed::Node;

/// Which RRsets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// What is served.
    #[default]
    Live,
    /// What is served, and over it one's own basket.
    Merged,
}

/// What an RRset or a record is in the merged view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    Live,
    Added,
    Changed,
    Removed,
}

/// One record, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordView {
    /// RDATA as in a zone file.
    pub data: String,
    pub state: Mark,
}

/// One RRset, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RrsetView {
    #[schema(value_type = String, example = "www.example.com.")]
    pub name: Name,
    #[serde(rename = "type")]
    pub rtype: String,
    /// Seconds; as it will be, where that is pending.
    pub ttl: u32,
    /// Seconds, as served; none for an RRset that is not there.
    pub ttl_live: Option<u32>,
    pub state: Mark,
    pub records: Vec<RecordView>,
    /// The basket item that makes the difference.
    pub item: Option<ItemId>,
    /// Whose it is.
    pub by: Option<Person>,
    /// Whether the RRset was changed since that item was asked for.
    pub stale: bool,
    /// Others who have something open on this RRset.
    pub overlaps: Vec<Overlap>,
}

/// A page of RRsets of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RrsetPage {
    /// The zone's serial as served.
    pub serial: u32,
    pub items: Vec<RrsetView>,
    /// Give it as `after` for the next page; none when this is the last.
    pub next: Option<String>,
    /// What the basket has about the zone as a whole.
    pub zone_items: Vec<ItemView>,
}

/// Which RRsets are asked for.
#[derive(Debug, Clone, Default)]
pub struct RrsetQuery {
    pub view: Which,
    /// Only of this owner.
    pub name: Option<Name>,
    /// Only of this type.
    pub rtype: Option<Type>,
    /// Owner and type behind which to begin: `www.example.com. A`.
    pub after: Option<(Name, Type)>,
    pub limit: usize,
}

/// Reads the cursor of a page.
pub fn cursor(text: &str) -> Option<(Name, Type)> {
    let (name, rtype) = text.rsplit_once(' ')?;
    Some((Name::parse(name).ok()?, rtype.parse().ok()?))
}

/// Where an RRset stands: canonical order of owners, then types.
type Place = (Vec<u8>, u16);

/// Lists RRsets of a zone in canonical order.
///
/// # Errors
///
/// [`Stop::Access`] when the zone is not in reach.
pub fn rrsets(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    query: &RrsetQuery,
) -> Result<RrsetPage, Stop> {
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        let held = holding::fetch(rows, context, Permission::ZoneView, apex)?;
        let (live, cut) = live(rows, &held.zone, query, limit)?;
        let open = match query.view {
            Which::Live => Vec::new(),
            Which::Merged => item::open_in(rows, apex)?,
        };
        let (mine, others) = split(context, open);
        let mut places: BTreeMap<Place, Row> = live;
        let mut zone_items = Vec::new();
        for open in mine {
            let Some(item) = own_item(rows, context, &open)? else { continue };
            let What::Edit { owner, rtype } = &item.what else {
                zone_items.push(shown::item(rows, context, &item)?);
                continue;
            };
            let place = (open.owner_key.clone(), open.rtype.0);
            let wanted =
                fits(query, &place, owner, *rtype) && cut.as_ref().is_none_or(|cut| place <= *cut);
            if wanted {
                let row = places.entry(place).or_insert_with(|| Row::empty(owner, *rtype));
                row.item = Some(item);
            }
        }
        let more = cut.is_some() || places.len() > limit;
        let mut items = Vec::with_capacity(places.len().min(limit));
        for (place, row) in places.into_iter().take(limit) {
            let beside = others.get(&place).cloned().unwrap_or_default();
            items.push(row.shown(rows, context, beside)?);
        }
        let last = items.last().map(|last: &RrsetView| format!("{} {}", last.name, last.rtype));
        let next = last.filter(|_| more);
        Ok(RrsetPage { serial: held.zone.serial.0, items, next, zone_items })
    })
}

/// One RRset as served, and the own item on it.
#[derive(Debug, Clone)]
struct Row {
    owner: Name,
    rtype: Type,
    live: Base,
    item: Option<Item>,
}

/// Reads the first `limit` RRsets as served, and where it stopped if there are more.
fn live(
    rows: &impl Rows,
    zone: &crate::maintain::Zone,
    query: &RrsetQuery,
    limit: usize,
) -> Result<(BTreeMap<Place, Row>, Option<Place>), Stop> {
    let mut found = BTreeMap::new();
    let mut cut = None;
    let from = match (&query.name, &query.after) {
        (Some(name), _) => name.key(),
        (None, Some((name, _))) => name.key(),
        (None, None) => Vec::new(),
    };
    zones::with_view(rows, zone, |view| {
        view.walk(&from, &mut |node: Node<'_>| {
            let owner = node.name();
            if query.name.as_ref().is_some_and(|name| *name != owner) {
                return ControlFlow::Break(());
            }
            let key = owner.key();
            for set in node.rrsets() {
                let place = (key.clone(), set.rtype.0);
                if !fits(query, &place, &owner, set.rtype) {
                    continue;
                }
                if found.len() == limit {
                    cut = found.last_key_value().map(|(place, _): (&Place, &Row)| place.clone());
                    return ControlFlow::Break(());
                }
                let live = Some(Value::new(set.ttl, set.rdatas().map(Into::into).collect()));
                let row = Row { owner: owner.clone(), rtype: set.rtype, live, item: None };
                found.insert(place, row);
            }
            ControlFlow::Continue(())
        })
    })?;
    Ok((found, cut))
}

fn fits(query: &RrsetQuery, place: &Place, owner: &Name, rtype: Type) -> bool {
    let behind = query.after.as_ref().is_none_or(|(name, rtype)| *place > (name.key(), rtype.0));
    behind
        && query.rtype.is_none_or(|wanted| wanted == rtype)
        && query.name.as_ref().is_none_or(|wanted| wanted == owner)
}

type Others = BTreeMap<Place, Vec<Open>>;

/// Parts what is open into the own basket and the rest by place.
fn split(context: &Context, open: Vec<Open>) -> (Vec<Open>, Others) {
    let user = context.actor.user();
    let (mine, rest): (Vec<Open>, Vec<Open>) = open.into_iter().partition(|open| {
        open.holder.order.is_none() && user.is_some() && open.holder.user == user
    });
    let mut others = Others::new();
    for open in rest {
        others.entry((open.owner_key.clone(), open.rtype.0)).or_default().push(open);
    }
    (mine, others)
}

fn own_item(rows: &impl Rows, context: &Context, open: &Open) -> Result<Option<Item>, Stop> {
    match context.actor.user() {
        Some(user) => super::basket::item(rows, user, open.item),
        None => Ok(None),
    }
}

impl Row {
    fn empty(owner: &Name, rtype: Type) -> Row {
        Row { owner: owner.clone(), rtype, live: None, item: None }
    }

    fn shown<R: Rows>(
        self,
        rows: &R,
        context: &Context,
        beside: Vec<Open>,
    ) -> Result<RrsetView, Stop> {
        let edit = match &self.item {
            Some(item) => match item.body(rows)? {
                Body::Edit { base, net } => Some((base, net)),
                Body::Zone { .. } | Body::Nothing | Body::Dnssec { .. } => None,
            },
            None => None,
        };
        let wanted = match &edit {
            Some((_, net)) => net.on(&self.live, TTL_S_DEFAULT),
            None => self.live.clone(),
        };
        let author = self.item.as_ref().and_then(|item| item.author);
        let shown = wanted.as_ref().or(self.live.as_ref());
        Ok(RrsetView {
            ttl: shown.map_or(0, |value| value.ttl),
            ttl_live: self.live.as_ref().map(|value| value.ttl),
            state: mark(&self.live, &wanted),
            records: records(self.rtype, &self.live, &wanted),
            item: self.item.as_ref().map(|item| item.id),
            by: author.map(|user| shown::person(rows, user)).transpose()?,
            stale: edit.is_some_and(|(base, net)| is_stale(self.rtype, &base, &net, &self.live)),
            overlaps: shown::overlaps(rows, context, beside)?,
            rtype: self.rtype.to_string(),
            name: self.owner,
        })
    }
}

fn is_stale(rtype: Type, base: &Base, net: &Net, live: &Base) -> bool {
    !draft::same(rtype, base, live) && !net.still_stands(base, live)
}

fn mark(live: &Base, wanted: &Base) -> Mark {
    match (live, wanted) {
        (live, wanted) if live == wanted => Mark::Live,
        (None, _) => Mark::Added,
        (Some(_), None) => Mark::Removed,
        (Some(_), Some(_)) => Mark::Changed,
    }
}

/// The records served and wanted, each once, in the order of their RDATA.
fn records(rtype: Type, live: &Base, wanted: &Base) -> Vec<RecordView> {
    let ttl = |value: &Base| value.as_ref().map(|value| value.ttl);
    let kept = if ttl(live) == ttl(wanted) { Mark::Live } else { Mark::Changed };
    let has = |value: &Base, rdata: &[u8]| value.as_ref().is_some_and(|value| value.has(rdata));
    let all = [live, wanted].into_iter().flatten().flat_map(Value::rdatas);
    let all: std::collections::BTreeSet<_> = all.collect();
    let view = |rdata: &super::pending::Rdata| RecordView {
        data: ask::text(rtype, rdata),
        state: match (has(live, rdata), has(wanted, rdata)) {
            (true, true) => kept,
            (true, false) => Mark::Removed,
            (false, _) => Mark::Added,
        },
    };
    all.into_iter().map(view).collect()
}
