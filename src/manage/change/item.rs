//! Items: single things asked for, first in a basket, then frozen in an order.
//!
//! A change of records is one item per RRset. What an item asks for, its body, stands with it while it is
//! small and apart when it is large; it keeps its id when the basket becomes an order, so it is
//! never copied.

use std::borrow::Cow;

use postcard::ser_flavors::Size;
use serde::{Deserialize, Serialize};

use super::pending::{Base, Net};
use crate::maintain::DnssecWish;
use crate::manage::blob::{self, Which};
use crate::manage::event::{Digest, digest_of};
use crate::manage::fault::Stop;
use crate::manage::id::{ItemId, OrderId, OrgId, UserId};
use crate::manage::time::Timestamp;
use crate::store::{Rows, Table, Tx};
use crate::wire::{Name, Type};

/// Stands for a type where an item is about the DNSSEC of a zone: no RRset has it.
const ANY_TYPE: u16 = Type::ANY.0;

/// Octets of a body that stands with its item.
const BODY_OCTETS_HERE_MAX: usize = 8 * 1024;

/// What an item is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    Edit {
        owner: Name,
        rtype: Type,
    },
    Create,
    Import,
    Delete,
    /// DNSSEC is switched on or off.
    Dnssec,
}

impl What {
    /// The word people know it by.
    pub fn word(&self) -> &'static str {
        match self {
            What::Edit { .. } => "dns_change",
            What::Create => "zone_create",
            What::Import => "zone_import",
            What::Delete => "zone_delete",
            What::Dnssec => "dnssec_set",
        }
    }
}

/// What an item asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A change of one RRset.
    Edit { base: Base, net: Net },
    /// The records of a whole zone, as packed nodes.
    Zone { packed: Vec<u8>, presigned: bool },
    /// Nothing but what the item is about.
    Nothing,
    /// What is wanted of DNSSEC, and what was before.
    Dnssec { wish: DnssecWish, before: DnssecWish },
}

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub id: ItemId,
    pub zone: Name,
    /// Who holds the zone, or will.
    pub org: OrgId,
    pub what: What,
    /// Who asked; none for the server itself.
    pub author: Option<UserId>,
    pub at: Timestamp,
    /// The serial the author saw; none when there was no zone.
    pub seen_serial: Option<u32>,
    /// None while it stands apart.
    body: Option<Body>,
}

/// What a new item is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub zone: Name,
    pub org: OrgId,
    pub what: What,
    pub seen_serial: Option<u32>,
    pub body: Body,
    /// The place in the request it comes from.
    pub at: String,
}

impl Item {
    /// A new item for a draft; its body is kept apart if it is large.
    pub fn new(tx: &mut Tx<'_>, author: Option<UserId>, draft: Draft) -> Result<Item, Stop> {
        Item::put(tx, ItemId::new(), author, draft)
    }

    /// The item of this id, in place of what it was, for a draft; its body is kept apart if it is large.
    pub fn keep(
        tx: &mut Tx<'_>,
        id: ItemId,
        author: Option<UserId>,
        draft: Draft,
    ) -> Result<Item, Stop> {
        blob::delete(tx, id.octets(), Which::Body)?;
        Item::put(tx, id, author, draft)
    }

    fn put(
        tx: &mut Tx<'_>,
        id: ItemId,
        author: Option<UserId>,
        draft: Draft,
    ) -> Result<Item, Stop> {
        let Draft { zone, org, what, seen_serial, body, .. } = draft;
        let counted = postcard::serialize_with_flavor(&body, Size::default());
        let octets = counted.unwrap_or(usize::MAX);
        let body = match octets > BODY_OCTETS_HERE_MAX {
            true => {
                blob::put(tx, id.octets(), Which::Body, &body)?;
                None
            }
            false => Some(body),
        };
        Ok(Item { id, zone, org, what, author, at: Timestamp::now(), seen_serial, body })
    }

    /// What it asks for.
    pub fn body(&self, rows: &impl Rows) -> Result<Body, Stop> {
        Ok(self.look_at_body(rows)?.into_owned())
    }

    /// The same, not copied where it stands with the item.
    pub fn look_at_body(&self, rows: &impl Rows) -> Result<Cow<'_, Body>, Stop> {
        match &self.body {
            Some(body) => Ok(Cow::Borrowed(body)),
            None => blob::get(rows, self.id.octets(), Which::Body)?
                .map(Cow::Owned)
                .ok_or_else(|| Stop::Store(format!("the body of item {} is gone", self.id))),
        }
    }

    /// Takes away what of the item stands apart.
    pub fn forget(&self, tx: &mut Tx<'_>) -> Result<(), Stop> {
        Ok(blob::delete(tx, self.id.octets(), Which::Body)?)
    }

    /// A digest of what it asks for: two with the same digest do the same.
    pub fn digest(&self, rows: &impl Rows) -> Result<Digest, Stop> {
        Ok(digest_of(&(&self.zone, self.org, &self.what, self.look_at_body(rows)?)))
    }
}

/// The digest of a list of items, in their order: what an approval binds to.
pub fn digest_of_all(rows: &impl Rows, items: &[Item]) -> Result<Digest, Stop> {
    Ok(digest_of(&digests_of(rows, items)?))
}

/// The digests of items, in their order: they are what that of all is made of.
pub fn digests_of(rows: &impl Rows, items: &[Item]) -> Result<Vec<Digest>, Stop> {
    items.iter().map(|item| item.digest(rows)).collect()
}

/// Who has something open on an RRset, or on a whole zone.
///
/// Apex key, owner key, type, item: in the canonical order of the zone; what is about the whole
/// zone has an empty owner and type 0 and comes first.
const OVERLAPS: Table<(Vec<u8>, Vec<u8>, u16, ItemId), Holder> = Table::new("overlaps", *b"ov");

/// Where an open item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub user: Option<UserId>,
    /// The organisation of that user.
    pub org: OrgId,
    /// None while it is in the user's basket.
    pub order: Option<OrderId>,
    /// Its place in the order.
    pub n: u32,
}

/// An open item's place in its zone, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub owner_key: Vec<u8>,
    pub rtype: Type,
    pub item: ItemId,
    pub holder: Holder,
}

/// The type under which what is about a whole zone stands, behind an empty owner.
pub fn place_of(what: &What) -> u16 {
    match what {
        What::Edit { rtype, .. } => rtype.0,
        What::Dnssec => ANY_TYPE,
        What::Create | What::Import | What::Delete => 0,
    }
}

fn overlap_key(item: &Item) -> (Vec<u8>, Vec<u8>, u16, ItemId) {
    match &item.what {
        What::Edit { owner, rtype } => (item.zone.key(), owner.key(), rtype.0, item.id),
        whole => (item.zone.key(), Vec::new(), place_of(whole), item.id),
    }
}

/// Shows an open item to everybody who looks at the zone.
pub fn open(tx: &mut Tx<'_>, item: &Item, holder: Holder) -> Result<(), Stop> {
    Ok(tx.put(&OVERLAPS, &overlap_key(item), &holder)?)
}

/// No longer shows it.
pub fn close(tx: &mut Tx<'_>, item: &Item) -> Result<(), Stop> {
    Ok(tx.delete(&OVERLAPS, &overlap_key(item))?)
}

/// All open items of a zone, in canonical order of what they are about.
pub fn open_in(rows: &impl Rows, zone: &Name) -> Result<Vec<Open>, Stop> {
    let found = rows.scan(&OVERLAPS, &zone.key(), None, usize::MAX)?;
    Ok(found.into_iter().map(opened).collect())
}

/// All open items on the RRsets of one name.
pub fn open_at(rows: &impl Rows, zone: &Name, owner: &Name) -> Result<Vec<Open>, Stop> {
    let found = rows.scan(&OVERLAPS, &(zone.key(), owner.key()), None, usize::MAX)?;
    Ok(found.into_iter().map(opened).collect())
}

/// All open items on one RRset.
pub fn open_on(
    rows: &impl Rows,
    zone: &Name,
    owner: &Name,
    rtype: Type,
) -> Result<Vec<Open>, Stop> {
    let found = rows.scan(&OVERLAPS, &(zone.key(), owner.key(), rtype.0), None, usize::MAX)?;
    Ok(found.into_iter().map(opened).collect())
}

/// All open items on the same RRset, or on the same whole zone.
pub fn open_beside(rows: &impl Rows, item: &Item) -> Result<Vec<Open>, Stop> {
    let (zone, owner, rtype, id) = overlap_key(item);
    let found = rows.scan(&OVERLAPS, &(zone, owner, rtype), None, usize::MAX)?;
    Ok(found.into_iter().map(opened).filter(|open| open.item != id).collect())
}

fn opened(row: ((Vec<u8>, Vec<u8>, u16, ItemId), Holder)) -> Open {
    let ((_, owner_key, rtype, item), holder) = row;
    Open { owner_key, rtype: Type(rtype), item, holder }
}
