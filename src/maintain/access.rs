//! Who may transfer and ask for zones: the lists that zones and their holders have.
//!
//! For a transfer the nearest list counts: a zone's own, else that of a [group](super::groups) of its
//! catalog, else its holder's, else that of whoever stands above the holder. A zone with a list for
//! questions is closed to everybody else.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Maintain;
use super::rows::{self, Zone, fault};
use crate::serve::acl::{Closed, Entry};
use crate::store::{RawRows, RowError, Rows, Table, Tx, Value};
use crate::wire::Name;
use crate::zone::ReadFault;

/// Zone → its lists. An id is never used again, so what a deleted zone leaves means nobody.
const OF_ZONES: Table<u32, Lists> =
    Table::new("access of zones", *b"ka").at_version(2, |_, octets| {
        let old = OldLists::unpack(octets)?;
        Some(Lists { transfer: old.transfer.map(entries), query: old.query.map(entries) })
    });
/// Holder → who may transfer its zones.
const OF_HOLDERS: Table<String, Vec<Entry>> = Table::new("access of holders", *b"kb")
    .at_version(2, |_, octets| Some(entries(Vec::<OldEntry>::unpack(octets)?)));

/// An entry before there were pins.
#[derive(Serialize, Deserialize)]
struct OldEntry {
    prefix: Option<IpNet>,
    key: Option<Name>,
}

#[derive(Serialize, Deserialize)]
struct OldLists {
    transfer: Option<Vec<OldEntry>>,
    query: Option<Vec<OldEntry>>,
}

fn entries(old: Vec<OldEntry>) -> Vec<Entry> {
    old.into_iter().map(|OldEntry { prefix, key }| Entry { prefix, key, pin: None }).collect()
}

/// Lists of who may; none where it is for others to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists {
    pub transfer: Option<Vec<Entry>>,
    pub query: Option<Vec<Entry>>,
}

/// The lists of a zone itself.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn of_zone<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Lists, ReadFault> {
    rows.get(&OF_ZONES, &zone.id).map(Option::unwrap_or_default).map_err(fault)
}

/// The list of a holder itself.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn of_holder<R: RawRows + ?Sized>(
    rows: &R,
    org: &str,
) -> Result<Option<Vec<Entry>>, ReadFault> {
    rows.get(&OF_HOLDERS, &org.to_owned()).map_err(fault)
}

/// The list that counts for transfers of a zone; `holders` are its holder and whoever stands above,
/// nearest first.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn nearest_transfer<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    holders: &[String],
) -> Result<Option<Vec<Entry>>, ReadFault> {
    if let Some(list) = of_zone(rows, zone)?.transfer {
        return Ok(Some(list));
    }
    if let Some(list) = super::groups::transfer_of(rows, zone)? {
        return Ok(Some(list));
    }
    for org in holders {
        if let Some(list) = of_holder(rows, org)? {
            return Ok(Some(list));
        }
    }
    Ok(None)
}

/// What names a key: lists, and entries of servers that share it with us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    Zone(Name),
    Holder(String),
    Group {
        catalog: Name,
        group: String,
    },
    /// The primaries of this zone.
    Primaries(Name),
    /// The secondary of this name.
    Secondary(String),
}

/// Whether a list names this key.
pub(super) fn names(list: Option<&[Entry]>, key: &Name) -> bool {
    list.unwrap_or_default().iter().any(|entry| entry.key.as_ref() == Some(key))
}

/// Everything that names this key. What deleted zones left behind does not count.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn naming<R: RawRows + ?Sized>(rows: &R, key: &Name) -> Result<Vec<Naming>, ReadFault> {
    let mut found = Vec::new();
    for (id, lists) in rows.range(&OF_ZONES, 0.., usize::MAX).map_err(fault)? {
        let named = names(lists.transfer.as_deref(), key) || names(lists.query.as_deref(), key);
        if named && let Some(zone) = rows::by_id(rows, id)? {
            found.push(Naming::Zone(zone.apex));
        }
    }
    for (org, list) in rows.range(&OF_HOLDERS, String::new().., usize::MAX).map_err(fault)? {
        if names(Some(&list), key) {
            found.push(Naming::Holder(org));
        }
    }
    for (catalog, group) in super::groups::naming(rows, key)? {
        if let Some(zone) = rows::by_id(rows, catalog)? {
            found.push(Naming::Group { catalog: zone.apex, group });
        }
    }
    let rows_of_secondaries = super::secondaries::all(rows).map_err(fault)?.into_iter();
    let with_key = rows_of_secondaries.filter(|row| row.key.as_ref() == Some(key));
    found.extend(with_key.map(|row| Naming::Secondary(row.name)));
    found.extend(super::secondary::naming(rows, key)?.into_iter().map(Naming::Primaries));
    Ok(found)
}

/// Writes the lists of a zone.
pub fn put_of_zone(tx: &mut Tx<'_>, zone: &Zone, lists: &Lists) -> Result<(), RowError> {
    match *lists == Lists::default() {
        true => tx.delete(&OF_ZONES, &zone.id),
        false => tx.put(&OF_ZONES, &zone.id, lists),
    }
}

/// Writes the list of a holder.
pub fn put_of_holder(
    tx: &mut Tx<'_>,
    org: &str,
    list: Option<&Vec<Entry>>,
) -> Result<(), RowError> {
    match list {
        None => tx.delete(&OF_HOLDERS, &org.to_owned()),
        Some(list) => tx.put(&OF_HOLDERS, &org.to_owned(), list),
    }
}

/// Takes away what a zone that ends had.
pub(super) fn forget_zone(tx: &mut Tx<'_>, id: u32) -> Result<(), RowError> {
    tx.delete(&OF_ZONES, &id)
}

impl Maintain {
    /// The zones that are answered to some only.
    pub fn closed(&self) -> &std::sync::Arc<Closed> {
        &self.inner.closed
    }

    /// Tells answering which zones are closed to whom, as the store has it now. To be called when
    /// lists were changed, or a zone with one is gone.
    pub fn load_closed(&self) {
        let read = self.store().read(|rows| -> Result<Vec<_>, ReadFault> {
            let mut closed = Vec::new();
            for (id, lists) in rows.range(&OF_ZONES, 0.., usize::MAX).map_err(fault)? {
                if let (Some(list), Some(zone)) = (lists.query, rows::by_id(rows, id)?) {
                    closed.push((zone.apex, list));
                }
            }
            Ok(closed)
        });
        match read {
            Ok(closed) => self.closed().replace(closed),
            // What was closed stays so.
            Err(error) => tracing::error!(%error, "access lists cannot be read: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_from_before_there_were_pins_are_read() {
        let (prefix, key) = ("192.0.2.0/24".parse().ok(), Name::parse("k.").ok());
        let old = || vec![OldEntry { prefix, key: key.clone() }];
        let new = vec![Entry { prefix, key: key.clone(), pin: None }];
        const V1_ZONES: Table<u32, OldLists> = Table::new("access of zones", *b"ka");
        const V1_HOLDERS: Table<String, Vec<OldEntry>> = Table::new("access of holders", *b"kb");
        let kept = V1_ZONES.value(&OldLists { transfer: Some(old()), query: None });
        let read = Lists { transfer: Some(new.clone()), query: None };
        assert_eq!(OF_ZONES.read_value(&kept), Ok(read));
        assert_eq!(OF_HOLDERS.read_value(&V1_HOLDERS.value(&old())), Ok(new));
    }
}
