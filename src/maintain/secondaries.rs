//! Secondaries: the servers that the operator has follow zones kept here.
//!
//! A row says where one is, which zones it is for, whether it is told of changes and whether it is
//! asked what it serves. A server that is told and never asked is what others call *also-notify*.
//!
//! Does not: make anybody a name server of a zone. NS records do.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::rows::Zone;
use crate::store::{RawRows, RowError, Rows, Table, Tx};
use crate::wire::Name;

const SECONDARIES: Table<String, Secondary> = Table::new("secondaries", *b"sc");

/// Rows there may be: all are looked at when a zone changes.
pub const SECONDARIES_MAX: usize = 1_000;

/// One server that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secondary {
    /// Unique; a short word.
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    /// The TSIG key that NOTIFY and questions to it are signed with.
    pub key: Option<Name>,
    pub scope: Scope,
    /// Whether it is told of changes.
    pub notify: bool,
    /// Whether it is asked what it serves.
    pub probe: bool,
    pub created_us: u64,
}

/// Which zones something is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    All,
    /// Those one holder has, opaque here.
    Holder(String),
    Zones(Vec<Name>),
}

impl Scope {
    /// Whether the zone is in it.
    pub fn covers(&self, zone: &Zone) -> bool {
        match self {
            Scope::All => true,
            Scope::Holder(holder) => *holder == zone.org,
            Scope::Zones(apexes) => apexes.contains(&zone.apex),
        }
    }
}

/// The secondary of this name.
///
/// # Errors
///
/// [`RowError`] when the store cannot be read.
pub fn get<R: RawRows + ?Sized>(rows: &R, name: &str) -> Result<Option<Secondary>, RowError> {
    rows.get(&SECONDARIES, &name.to_owned())
}

/// All of them, in the order of their names.
///
/// # Errors
///
/// [`RowError`] when the store cannot be read.
pub fn all<R: RawRows + ?Sized>(rows: &R) -> Result<Vec<Secondary>, RowError> {
    let found = rows.range(&SECONDARIES, .., SECONDARIES_MAX)?;
    Ok(found.into_iter().map(|(_, secondary)| secondary).collect())
}

/// Puts a row, in place of the one of that name.
///
/// # Errors
///
/// [`RowError`] when it is too large.
pub fn put(tx: &mut Tx<'_>, secondary: &Secondary) -> Result<(), RowError> {
    tx.put(&SECONDARIES, &secondary.name, secondary)
}

/// Takes a row out.
///
/// # Errors
///
/// [`RowError`] when the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, name: &str) -> Result<(), RowError> {
    tx.delete(&SECONDARIES, &name.to_owned())
}

/// The name of the TSIG key that messages about a zone to this address are signed with.
pub(super) fn key_for<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    server: SocketAddr,
) -> Result<Option<Name>, RowError> {
    let is_its = |row: &Secondary| row.addresses.contains(&server) && row.scope.covers(zone);
    let row = all(rows)?.into_iter().find(|row| row.key.is_some() && is_its(row));
    Ok(row.and_then(|row| row.key))
}
