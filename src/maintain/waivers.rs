//! Waivers: servers of a zone that are down for good, and are waited for no longer.
//!
//! A zone may list a name server that nobody will bring back. Whoever looks after the zone says so,
//! with a reason; *everywhere* means all others then. The server is asked all the same, and shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::rows::{Zone, fault};
use crate::store::{RawRows, RowError, Rows, Table, Tx};
use crate::zone::ReadFault;

/// (Zone, server in lower case) → why it is not waited for.
const WAIVERS: Table<(u32, String), Waiver> = Table::new("waivers", *b"zw");

/// Waivers of one zone.
pub const WAIVERS_MAX: usize = 64;

/// Why a server is not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// The name of an NS record, or of a secondary.
    pub server: String,
    pub reason: String,
    /// Microseconds since 1970.
    pub since_us: u64,
}

/// A server's name in the form that is compared.
fn form(server: &str) -> String {
    server.trim_end_matches('.').to_ascii_lowercase()
}

/// The waivers of a zone, in the order of the servers' names.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn of_zone<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Vec<Waiver>, ReadFault> {
    let found = rows.scan(&WAIVERS, &zone.id, None, WAIVERS_MAX).map_err(fault)?;
    Ok(found.into_iter().map(|(_, waiver)| waiver).collect())
}

/// Who is not waited for.
#[derive(Debug, Clone, Default)]
pub(super) struct Waived(BTreeSet<String>);

impl Waived {
    pub(super) fn of<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Waived, ReadFault> {
        Ok(Waived(of_zone(rows, zone)?.iter().map(|waiver| form(&waiver.server)).collect()))
    }

    /// Whether a server with these names is not waited for.
    pub(super) fn covers<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> bool {
        !self.0.is_empty() && names.into_iter().any(|name| self.0.contains(&form(name)))
    }
}

/// Whether any server of any zone is waived.
pub(super) fn are_any<R: RawRows + ?Sized>(rows: &R) -> Result<bool, ReadFault> {
    Ok(!rows.range(&WAIVERS, .., 1).map_err(fault)?.is_empty())
}

/// The waiver of one server.
///
/// # Errors
///
/// [`RowError`] when the store cannot be read.
pub fn get<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    server: &str,
) -> Result<Option<Waiver>, RowError> {
    rows.get(&WAIVERS, &(zone.id, form(server)))
}

/// Puts a waiver, in place of the one of that server.
///
/// # Errors
///
/// [`RowError`] when the row cannot be written.
pub fn put(tx: &mut Tx<'_>, zone: &Zone, waiver: &Waiver) -> Result<(), RowError> {
    tx.put(&WAIVERS, &(zone.id, form(&waiver.server)), waiver)
}

/// Takes a waiver away.
///
/// # Errors
///
/// [`RowError`] when the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, zone: &Zone, server: &str) -> Result<(), RowError> {
    tx.delete(&WAIVERS, &(zone.id, form(server)))
}

/// Takes away what a zone that ends had.
pub(super) fn forget_zone(tx: &mut Tx<'_>, zone: u32) -> Result<(), RowError> {
    for (key, _) in tx.scan(&WAIVERS, &zone, None, WAIVERS_MAX)? {
        tx.delete(&WAIVERS, &key)?;
    }
    Ok(())
}
