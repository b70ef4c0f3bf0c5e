//! Events: the append-only record of who did what.
//!
//! One event per transaction, written in it, so that there is no change without its event and no
//! event without its change. It names every item with the digests of what it was before and after;
//! values stand in orders and zones, never here, and secrets nowhere.
//!
//! Promises: numbers are dense, from 1. Each event carries a hash over itself and the hash before it,
//! so taking one out or altering it shows ([`verify`]).

use std::collections::BTreeSet;

use ring::digest;
use serde::{Deserialize, Serialize};

use super::Manage;
use super::access::{self, Actor, Context, NoAccess, Permission};
use super::fault::Stop;
use super::id::{ItemId, OrderId, OrgId, TokenId, UserId};
use super::limits::PAGE_ROWS_MAX;
use super::page::Page;
use super::time::Timestamp;
use super::words::worded;
use crate::store::{RowError, Rows, Table, Tx};
use crate::wire::{Name, Type};

const EVENTS: Table<u64, Event> = Table::new("events", *b"ev");
/// What an event touched, by the number of the event and a running number of the row.
const EVENT_ITEMS: Table<(u64, u32), Vec<Touched>> = Table::new("event_items", *b"ei");
/// The events an organisation may read.
const EVENTS_OF: Table<(OrgId, u64), ()> = Table::new("events_of", *b"eo");

/// Items in one row of [`EVENT_ITEMS`]: a row stays far below what the index takes.
const ITEMS_PER_ROW: usize = 100;

/// SHA-256.
pub type Digest = [u8; 32];

/// Octets that most of what is digested has at most.
const DIGESTED_OCTETS: usize = 512;

/// The digest of what serde makes of `value`.
pub fn digest_of<T: Serialize>(value: &T) -> Digest {
    let octets = postcard::to_extend(value, Vec::with_capacity(DIGESTED_OCTETS));
    sha256(&octets.expect("plain data has a postcard form"))
}

/// SHA-256 of octets.
pub fn sha256(octets: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    out
}

/// The digest as hexadecimal digits.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

macro_rules! kinds {
    ($($name:ident $text:tt)*) => {
        worded! {
            /// What happened.
            #[schema(as = EventKind)]
            pub enum Kind { $($name $text)* }
        }
    };
}

// Stored by their place: add at the end.
kinds! {
    OrganisationCreated "organisation.created"
    OrganisationChanged "organisation.changed"
    UserCreated "user.created"
    UserChanged "user.changed"
    TokenCreated "token.created"
    TokenRevoked "token.revoked"
    BasketChanged "basket.changed"
    BasketCleared "basket.cleared"
    OrderPlaced "order.placed"
    OrderApproved "order.approved"
    OrderRejected "order.rejected"
    OrderCancelled "order.cancelled"
    OrderApplied "order.applied"
    OrderRefused "order.refused"
    OrderServed "order.served"
    OrderReturned "order.returned"
    ZonesImported "zones.imported"
    ZoneChanged "zone.changed"
    DnssecChanged "dnssec.changed"
    DnssecRolled "dnssec.rolled"
    DnssecSeen "dnssec.parent_seen"
    DnssecKeyImported "dnssec.key_imported"
    DnssecKeyExported "dnssec.key_exported"
    DnssecPolicyChanged "dnssec.policy_changed"
    OrderScheduled "order.scheduled"
    OrderHeld "order.held"
    OrderReleased "order.released"
    TsigKeyCreated "tsig_key.created"
    TsigKeyRotated "tsig_key.rotated"
    TsigKeyDeleted "tsig_key.deleted"
    PrimariesSet "zone.primaries_set"
    PrimariesRemoved "zone.primaries_removed"
    RefreshAsked "zone.refresh_asked"
    OrderConfirmed "order.confirmed"
    SecondaryCreated "secondary.created"
    SecondaryChanged "secondary.changed"
    SecondaryDeleted "secondary.deleted"
    CatalogCreated "catalog.created"
    CatalogChanged "catalog.changed"
    CatalogDeleted "catalog.deleted"
    AccessChanged "access.changed"
    UpdatePolicyChanged "update_policy.changed"
    ServerWaived "server.waived"
    ServerAwaited "server.awaited"
    SecretsGivenUp "secrets.given_up"
    ZoneHeld "zone.held"
    ZoneExpires "zone.expires"
    ZoneReleased "zone.released"
    GroupRuleChanged "catalog.group_changed"
    ClockDoubted "clock.doubted"
    ClockTrusted "clock.trusted"
    SecondSigner "dnssec.second_signer"
    OneSigner "dnssec.one_signer"
}

/// A thing that events speak of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    Organisation(OrgId),
    User(UserId),
    Token(TokenId),
    Item(ItemId),
    Order(OrderId),
    Zone(Name),
    RrSet {
        zone: Name,
        owner: Name,
        rtype: Type,
    },
    TsigKey(Name),
    DnssecPolicy(String),
    /// By its name.
    Secondary(String),
    /// By its apex.
    Catalog(Name),
}

/// One thing an event changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    pub object: Object,
    /// None when it was not there before.
    pub before: Option<Digest>,
    /// None when it is not there after.
    pub after: Option<Digest>,
}

impl Touched {
    /// A thing and its two values; either may be missing.
    pub fn of<T: Serialize>(object: Object, before: Option<&T>, after: Option<&T>) -> Touched {
        Touched { object, before: before.map(digest_of), after: after.map(digest_of) }
    }
}

/// One event, its items apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    pub actor: Actor,
    /// The organisation of the actor.
    pub org: OrgId,
    pub kind: Kind,
    /// The order it is about, if it is about one.
    pub order: Option<OrderId>,
    pub items: u32,
    /// SHA-256 over the hash before and everything here.
    pub hash: Digest,
}

/// What an event is about, as the operation tells it.
#[derive(Debug, Clone)]
pub struct News {
    pub kind: Kind,
    pub order: Option<OrderId>,
    /// The organisations concerned; they may read it.
    pub orgs: Vec<OrgId>,
    pub touched: Vec<Touched>,
}

/// Writes the event of this transaction; returns its number.
pub fn record(tx: &mut Tx<'_>, context: &Context, news: News) -> Result<u64, RowError> {
    let last = tx.prev(&EVENTS, &u64::MAX)?;
    let seq = last.as_ref().map_or(1, |(seq, _)| seq + 1);
    let before = last.map_or([0; 32], |(_, event)| event.hash);
    let mut event = Event {
        at: Timestamp::now(),
        actor: context.actor,
        org: context.org,
        kind: news.kind,
        order: news.order,
        items: u32::try_from(news.touched.len()).unwrap_or(u32::MAX),
        hash: [0; 32],
    };
    event.hash = chained(&before, &event, &news.touched);
    tx.put(&EVENTS, &seq, &event)?;
    let mut touched = news.touched.into_iter();
    for n in 0..event.items.div_ceil(ITEMS_PER_ROW as u32) {
        tx.put(&EVENT_ITEMS, &(seq, n), &touched.by_ref().take(ITEMS_PER_ROW).collect())?;
    }
    for org in news.orgs.iter().chain([&context.org]).collect::<BTreeSet<_>>() {
        tx.put(&EVENTS_OF, &(*org, seq), &())?;
    }
    Ok(seq)
}

fn chained(before: &Digest, event: &Event, touched: &[Touched]) -> Digest {
    let bare = Event { hash: *before, ..event.clone() };
    digest_of(&(bare, touched))
}

/// An event with its items, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventView {
    pub seq: u64,
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub kind: Kind,
    /// The user who acted; none when the server itself did.
    pub user: Option<UserId>,
    pub token: Option<TokenId>,
    pub org: OrgId,
    pub order: Option<OrderId>,
    pub items: Vec<EventItemView>,
    /// SHA-256 over the hash of the event before and everything here.
    pub hash: String,
}

/// One thing an event changed, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventItemView {
    /// `zone`, `rrset`, `order`, `item`, `user`, `token`, `organisation`, `tsig_key`, `dnssec_policy`,
    /// `secondary`, `catalog`.
    pub object: String,
    /// Its name or id; `owner type` for an RRset.
    pub id: String,
    pub zone: Option<String>,
    /// SHA-256 of its value before; none when it was not there.
    pub before: Option<String>,
    /// SHA-256 of its value after; none when it is gone.
    pub after: Option<String>,
}

fn item_view(touched: &Touched) -> EventItemView {
    let (object, id, zone) = match &touched.object {
        Object::Organisation(id) => ("organisation", id.to_string(), None),
        Object::User(id) => ("user", id.to_string(), None),
        Object::Token(id) => ("token", id.to_string(), None),
        Object::Item(id) => ("item", id.to_string(), None),
        Object::Order(id) => ("order", id.to_string(), None),
        Object::Zone(apex) => ("zone", apex.to_string(), Some(apex.to_string())),
        Object::TsigKey(name) => ("tsig_key", name.to_string(), None),
        Object::DnssecPolicy(name) => ("dnssec_policy", name.clone(), None),
        Object::RrSet { zone, owner, rtype } => {
            ("rrset", format!("{owner} {rtype}"), Some(zone.to_string()))
        }
        Object::Secondary(name) => ("secondary", name.clone(), None),
        Object::Catalog(apex) => ("catalog", apex.to_string(), None),
    };
    EventItemView {
        object: object.to_owned(),
        id,
        zone,
        before: touched.before.as_ref().map(|digest| hex(digest)),
        after: touched.after.as_ref().map(|digest| hex(digest)),
    }
}

/// Which events are asked for.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Of one organisation; none is the asker's own, or all for who looks after the server.
    pub org: Option<OrgId>,
    /// The number behind which to begin.
    pub after: Option<u64>,
    pub limit: usize,
}

/// Lists events, oldest first.
///
/// # Errors
///
/// [`Stop::Access`] without the right, or for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    query: &EventQuery,
) -> Result<Page<EventView>, Stop> {
    context.may(Permission::EventView)?;
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        let all = query.org.is_none() && context.may(Permission::ServerOperate).is_ok();
        let org = query.org.unwrap_or(context.org);
        if !access::reaches(rows, context, org)? {
            return Err(NoAccess::NotFound.into());
        }
        let after = query.after.unwrap_or(0);
        let seqs: Vec<u64> = match all {
            true => rows.range(&EVENTS, after + 1.., limit)?.into_iter().map(|row| row.0).collect(),
            false => {
                let found = rows.scan(&EVENTS_OF, &org, Some(&(org, after)), limit)?;
                found.into_iter().map(|((_, seq), ())| seq).collect()
            }
        };
        let next = (seqs.len() == limit).then(|| seqs.last().map(u64::to_string)).flatten();
        let items = seqs.into_iter().map(|seq| view(rows, seq)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items: items.into_iter().flatten().collect(), next })
    })
}

/// The event with this number.
///
/// # Errors
///
/// [`NoAccess::NotFound`] when there is none, or it concerns nobody in reach.
pub fn get(manage: &Manage, context: &Context, seq: u64) -> Result<EventView, Stop> {
    context.may(Permission::EventView)?;
    manage.store.read(|rows| {
        let event = rows.get(&EVENTS, &seq)?.ok_or(NoAccess::NotFound)?;
        let seen = context.may(Permission::ServerOperate).is_ok()
            || rows.contains(&EVENTS_OF, &(context.org, seq))?
            || access::reaches(rows, context, event.org)?;
        match seen {
            true => view(rows, seq)?.ok_or(NoAccess::NotFound.into()),
            false => Err(NoAccess::NotFound.into()),
        }
    })
}

fn view(rows: &impl Rows, seq: u64) -> Result<Option<EventView>, RowError> {
    let Some(event) = rows.get(&EVENTS, &seq)? else { return Ok(None) };
    let items = items_of(rows, seq)?;
    let (user, token) = match event.actor {
        Actor::User { user, token } => (Some(user), token),
        Actor::System => (None, None),
    };
    Ok(Some(EventView {
        seq,
        at: event.at,
        kind: event.kind,
        user,
        token,
        org: event.org,
        order: event.order,
        items: items.iter().map(item_view).collect(),
        hash: hex(&event.hash),
    }))
}

fn items_of(rows: &impl Rows, seq: u64) -> Result<Vec<Touched>, RowError> {
    let parts = rows.scan(&EVENT_ITEMS, &seq, None, usize::MAX)?;
    Ok(parts.into_iter().flat_map(|(_, part)| part).collect())
}

/// Checks the chain of all events; returns how many there are.
///
/// # Errors
///
/// The number of the first event that is missing or was altered.
pub fn verify(rows: &impl Rows) -> Result<Result<u64, u64>, RowError> {
    let (mut hash, mut seq) = ([0; 32], 0);
    loop {
        let page = rows.range(&EVENTS, seq + 1.., PAGE_ROWS_MAX)?;
        if page.is_empty() {
            return Ok(Ok(seq));
        }
        for (number, event) in page {
            let touched = items_of(rows, number)?;
            if number != seq + 1 || event.hash != chained(&hash, &event, &touched) {
                return Ok(Err(seq + 1));
            }
            (hash, seq) = (event.hash, number);
        }
    }
}
