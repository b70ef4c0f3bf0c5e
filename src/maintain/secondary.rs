//! Zones whose primary is elsewhere: whom they follow, and when that was last confirmed.
//!
//! The rows stand beside the zone's own, under its name. A zone with a row here takes its records
//! from its primaries and from nobody else; without it, it is a primary as any other.
//!
//! A zone that is signed here has versions its primary knows nothing of. From then on it counts for
//! itself, and the primary's serial is kept beside.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::rows::{self, Zone};
use super::{Maintain, groups};
use crate::store::{RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::{Name, Serial};
use crate::zone::ReadFault;

/// Apex key → whom the zone follows.
const FOLLOWED: Table<Tail, Following> = Table::new("primaries of zones", *b"fp");
/// Apex key → when a primary last confirmed what is here, in microseconds since 1970.
const CONFIRMED: Table<Tail, u64> = Table::new("confirmations", *b"fc");
/// Apex key → the primary's serial of what is here, in a zone that counts for itself.
const SERIALS_THERE: Table<Tail, Serial> = Table::new("serials of primaries", *b"fs");

/// Apex key → the groups its catalog puts a zone in; no row, none.
const GROUPS: Table<Tail, Vec<String>> = Table::new("groups of members", *b"fg");

/// Primaries of one zone.
pub const PRIMARIES_MAX: usize = 16;

/// Whom a zone follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// As its primaries write it.
    pub apex: Name,
    /// Asked in this order.
    pub primaries: Vec<Primary>,
    /// Whether its records say which other zones to follow ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432)).
    pub catalog: bool,
    /// The catalog that named it, if one did.
    pub member: Option<Membership>,
}

/// A server that has the zone before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    pub address: SocketAddr,
    /// The name of the TSIG key that it and we share.
    pub key: Option<Name>,
    /// How it proves who it is over TLS ([RFC 9103](https://www.rfc-editor.org/rfc/rfc9103)); none is plain TCP.
    pub tls: Option<TlsPeer>,
}

/// What a TLS certificate must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPeer {
    /// The name it is for, certified by an authority the operator trusts; none when pins are enough.
    pub name: Option<String>,
    /// SHA-256 of the public keys that are taken; any when empty.
    pub pins: Vec<[u8; 32]>,
}

/// A zone's place in a catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub catalog: Name,
    /// The label that stands for the zone there. Another one means another zone of the same name.
    pub label: Vec<u8>,
}

/// Whom the zone `apex` follows; none for a zone whose primary is here.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn following<R: RawRows + ?Sized>(
    rows: &R,
    apex: &Name,
) -> Result<Option<Following>, ReadFault> {
    rows.get(&FOLLOWED, &Tail(apex.key())).map_err(rows::fault)
}

/// The groups that the catalog of a zone puts it in.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn groups<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<Vec<String>, ReadFault> {
    let groups = rows.get(&GROUPS, &Tail(apex.key())).map_err(rows::fault)?;
    Ok(groups.unwrap_or_default())
}

/// Keeps the groups that its catalog puts a zone in.
pub(super) fn put_groups(
    tx: &mut Tx<'_>,
    apex: &Name,
    groups: &Vec<String>,
) -> Result<(), RowError> {
    match groups.is_empty() {
        true => tx.delete(&GROUPS, &Tail(apex.key())),
        false => tx.put(&GROUPS, &Tail(apex.key()), groups),
    }
}

/// The zones that follow others, behind `after` in canonical order of their names, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn followers<R: RawRows + ?Sized>(
    rows: &R,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<Following>, ReadFault> {
    let after = after.map(|name| Tail(name.key()));
    let found = rows.scan(&FOLLOWED, &(), after.as_ref(), limit).map_err(rows::fault)?;
    Ok(found.into_iter().map(|(_, following)| following).collect())
}

/// The zones that share this TSIG key with a primary.
pub(super) fn naming<R: RawRows + ?Sized>(rows: &R, key: &Name) -> Result<Vec<Name>, ReadFault> {
    let found = rows.range(&FOLLOWED, Tail::default().., usize::MAX).map_err(rows::fault)?;
    let named = found.into_iter().filter(|(_, following)| names(&following.primaries, key));
    Ok(named.map(|(_, following)| following.apex).collect())
}

/// Whether one of these primaries shares this key with us.
pub(super) fn names(primaries: &[Primary], key: &Name) -> bool {
    primaries.iter().any(|primary| primary.key.as_ref() == Some(key))
}

/// When a primary last confirmed what is here, in microseconds since 1970.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn confirmed_us<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<Option<u64>, ReadFault> {
    rows.get(&CONFIRMED, &Tail(apex.key())).map_err(rows::fault)
}

/// The serial that the primary of `zone` gave to what is here; none if the zone does not count for
/// itself, so that it is the zone's own.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn serial_there<R: RawRows + ?Sized>(
    rows: &R,
    apex: &Name,
) -> Result<Option<Serial>, ReadFault> {
    rows.get(&SERIALS_THERE, &Tail(apex.key())).map_err(rows::fault)
}

/// Whether a zone follows a primary and is served as that has it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub(super) fn is_plain<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<bool, ReadFault> {
    let key = Tail(apex.key());
    let follows = rows.contains(&FOLLOWED, &key).map_err(rows::fault)?;
    Ok(follows && !rows.contains(&SERIALS_THERE, &key).map_err(rows::fault)?)
}

/// Keeps the primary's serial of what is here; with none, the zone has its primary's serials again.
pub(super) fn put_serial_there(
    tx: &mut Tx<'_>,
    apex: &Name,
    serial: Option<Serial>,
) -> Result<(), RowError> {
    match serial {
        Some(serial) => tx.put(&SERIALS_THERE, &Tail(apex.key()), &serial),
        None => tx.delete(&SERIALS_THERE, &Tail(apex.key())),
    }
}

/// From now on a zone that follows counts for itself.
pub(super) fn count_for_itself(tx: &mut Tx<'_>, zone: &Zone) -> Result<(), RowError> {
    let key = Tail(zone.apex.key());
    if tx.contains(&FOLLOWED, &key)? && !tx.contains(&SERIALS_THERE, &key)? {
        tx.put(&SERIALS_THERE, &key, &zone.serial)?;
    }
    Ok(())
}

/// Makes a zone follow; it must exist or be [expected](super::ZoneChange::Expect).
///
/// # Errors
///
/// [`RowError`] when the row cannot be written.
pub fn follow(tx: &mut Tx<'_>, following: &Following) -> Result<(), RowError> {
    tx.put(&FOLLOWED, &Tail(following.apex.key()), following)
}

/// Makes a zone a primary, with the records it has.
///
/// # Errors
///
/// [`RowError`] when the rows cannot be written.
pub fn forget(tx: &mut Tx<'_>, apex: &Name) -> Result<(), RowError> {
    let key = Tail(apex.key());
    tx.delete(&FOLLOWED, &key)?;
    tx.delete(&SERIALS_THERE, &key)?;
    tx.delete(&GROUPS, &key)?;
    groups::forget_member(tx, apex)?;
    tx.delete(&CONFIRMED, &key)
}

pub(super) fn is_one(tx: &Tx<'_>, apex: &Name) -> Result<bool, RowError> {
    tx.contains(&FOLLOWED, &Tail(apex.key()))
}

pub(super) fn confirm(tx: &mut Tx<'_>, apex: &Name, at_us: u64) -> Result<(), RowError> {
    // A zone that was made a primary meanwhile is not confirmed by anybody.
    if is_one(tx, apex)? { tx.put(&CONFIRMED, &Tail(apex.key()), &at_us) } else { Ok(()) }
}

impl Maintain {
    /// The zone and whom it follows; none of either if it is gone or a primary by now.
    pub(super) fn follower(&self, apex: &Name) -> Result<Option<(Zone, Following)>, ReadFault> {
        self.store().read(|rows| {
            let Some(following) = following(rows, apex)? else { return Ok(None) };
            Ok(rows::zone(rows, apex)?.map(|zone| (zone, following)))
        })
    }
}
