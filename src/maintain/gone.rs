//! Zones that are no more, while their secondaries are asked whether they have stopped serving them.
//!
//! A deleted zone leaves a row with the secondaries that followed it and were asked about it. Each is
//! asked until it no longer answers for the zone with authority. Name servers that are no secondaries
//! here do not count: they may serve a zone of that name for somebody else.
//!
//! Promises: at most [`GONE_MAX`] rows; none is asked about for longer than its SOA let a secondary
//! serve it, and [`PATIENCE_S`] more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Maintain;
use super::rows::{self, Zone, fault};
use super::secondaries;
use super::servers::{self, Server};
use crate::store::{RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::Name;
use crate::zone::ReadFault;
use crate::zone::delta::Set;

/// Apex key → what is left of the zone that was deleted last under that name.
const GONE: Table<Tail, Gone> = Table::new("gone zones", *b"zq");

/// How many rows there are: a deletion must not count them.
const COUNT: Table<(), u32> = Table::new("gone zones counted", *b"zc");

/// Zones asked about after their end. Of more, nobody is asked.
pub const GONE_MAX: u32 = 10_000;

/// Seconds a secondary is asked beyond its EXPIRE.
pub const PATIENCE_S: u64 = 24 * 3600;

/// Where EXPIRE stands, counted from the end of a SOA's RDATA.
const EXPIRE_OCTETS: usize = 8;

/// What is left of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    /// The number it had.
    pub zone: u32,
    pub apex: Name,
    /// The names of the secondaries that followed it.
    secondaries: Vec<String>,
    /// Microseconds since 1970 from when on nobody is asked any more.
    until_us: u64,
}

/// What is to be done about a zone that is no more.
pub(super) enum Left {
    /// These are to be asked.
    Ask(Vec<Server>),
    /// Nobody is to be asked, or the name is a zone again.
    Nobody,
    /// They were asked for long enough, and somebody still served it.
    GivenUp,
}

/// Notes a zone that ends in this transaction.
pub(super) fn begin(tx: &mut Tx<'_>, zone: &Zone, soa: Option<&Set>) -> Result<(), ReadFault> {
    let is_catalog = servers::is_catalog(tx, zone)?;
    let rows = secondaries::all(tx).map_err(fault)?;
    let asked = rows.into_iter().filter(|row| row.probe && !is_catalog && row.scope.covers(zone));
    let secondaries: Vec<String> = asked.map(|row| row.name).collect();
    if secondaries.is_empty() {
        return Ok(());
    }
    let expire_s = soa.and_then(expire_s).unwrap_or(0);
    let until_us = super::now_us() + (u64::from(expire_s) + PATIENCE_S) * 1_000_000;
    let gone = Gone { zone: zone.id, apex: zone.apex.clone(), secondaries, until_us };
    keep(tx, &gone).map_err(fault)
}

fn keep(tx: &mut Tx<'_>, gone: &Gone) -> Result<(), RowError> {
    let key = Tail(gone.apex.key());
    let count = tx.get(&COUNT, &())?.unwrap_or(0);
    if !tx.contains(&GONE, &key)? {
        if count >= GONE_MAX {
            return Ok(());
        }
        tx.put(&COUNT, &(), &(count + 1))?;
    }
    tx.put(&GONE, &key, gone)
}

fn expire_s(soa: &Set) -> Option<u32> {
    let rdata = soa.rrset.rdatas().first()?;
    let at = rdata.len().checked_sub(EXPIRE_OCTETS)?;
    Some(u32::from_be_bytes(*rdata.get(at..)?.first_chunk()?))
}

/// All zones whose servers are still to be asked.
pub(super) fn all<R: RawRows + ?Sized>(rows: &R) -> Result<Vec<Gone>, ReadFault> {
    let found = rows.range(&GONE, .., GONE_MAX as usize).map_err(fault)?;
    Ok(found.into_iter().map(|(_, gone)| gone).collect())
}

/// What is left of the zone of this name that was deleted last.
pub(super) fn of<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<Option<Gone>, ReadFault> {
    rows.get(&GONE, &Tail(apex.key())).map_err(fault)
}

/// What is to be done about the zone that had this number.
pub(super) fn left<R: RawRows + ?Sized>(
    rows: &R,
    zone: u32,
    apex: &Name,
    now_us: u64,
) -> Result<Left, ReadFault> {
    let gone = of(rows, apex)?.filter(|gone| gone.zone == zone);
    let Some(gone) = gone else { return Ok(Left::Nobody) };
    if rows::zone(rows, apex)?.is_some() {
        return Ok(Left::Nobody);
    }
    let followed = secondaries::all(rows).map_err(fault)?.into_iter();
    let followed = followed.filter(|row| row.probe && gone.secondaries.contains(&row.name));
    let servers: Vec<Server> = followed.flat_map(servers::of_row).collect();
    Ok(match servers.is_empty() {
        true => Left::Nobody,
        false if now_us > gone.until_us => Left::GivenUp,
        false => Left::Ask(servers),
    })
}

/// Forgets what is left of the zone that had this number.
fn forget(tx: &mut Tx<'_>, zone: u32, apex: &Name) -> Result<(), RowError> {
    let key = Tail(apex.key());
    let same = tx.get(&GONE, &key)?.is_some_and(|gone: Gone| gone.zone == zone);
    if !same {
        return Ok(());
    }
    let count = tx.get(&COUNT, &())?.unwrap_or(0);
    tx.put(&COUNT, &(), &count.saturating_sub(1))?;
    tx.delete(&GONE, &key)
}

impl Maintain {
    /// The numbers of zones that are no more, and whose servers are still to be asked.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn gone_zones(&self) -> Result<BTreeSet<u32>, ReadFault> {
        let gone = self.store().read(|rows| all(rows))?;
        Ok(gone.into_iter().map(|gone| gone.zone).collect())
    }

    /// Nobody is asked any more about the zone that had this number.
    pub(super) fn forget_gone(&self, zone: u32, apex: &Name) {
        let left = self.store().read(|rows| of(rows, apex));
        if !left.is_ok_and(|gone| gone.is_some_and(|gone| gone.zone == zone)) {
            return;
        }
        if let Err(error) = self.store().transact(|tx| forget(tx, zone, apex)) {
            tracing::debug!(%error, "what is left of {apex} is forgotten later: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::ZoneChange;
    use crate::maintain::secondaries::{Scope, Secondary};
    use crate::maintain::tests::{commit, create, maintain, name};

    fn follow(maintain: &Maintain, who: &str, probe: bool) {
        let row = Secondary {
            name: who.into(),
            addresses: vec!["192.0.2.1:53".parse().unwrap()],
            key: None,
            scope: Scope::All,
            notify: true,
            probe,
            created_us: 0,
        };
        maintain.store().transact(|tx| secondaries::put(tx, &row)).unwrap();
    }

    fn left_of(maintain: &Maintain, zone: u32, now_us: u64) -> Left {
        maintain.store().read(|rows| left(rows, zone, &name("x."), now_us)).unwrap()
    }

    fn deleted(maintain: &Maintain) -> u32 {
        commit(maintain, &[create("x.", 1)]).unwrap();
        commit(maintain, &[ZoneChange::Delete { apex: name("x.") }]).unwrap().zones[0].zone
    }

    #[test]
    fn who_followed_a_deleted_zone_is_asked_until_its_time_is_over() {
        let maintain = maintain();
        follow(&maintain, "told-only", false);
        let first = deleted(&maintain);
        assert!(matches!(left_of(&maintain, first, 0), Left::Nobody), "nobody was ever asked");

        follow(&maintain, "one", true);
        let second = deleted(&maintain);
        assert!(matches!(left_of(&maintain, second, 0), Left::Ask(servers) if servers.len() == 1));
        assert!(matches!(left_of(&maintain, second, u64::MAX), Left::GivenUp));
        assert!(matches!(left_of(&maintain, first, 0), Left::Nobody), "the later one counts");
    }

    #[test]
    fn no_more_zones_are_asked_about_than_the_limit_says() {
        let maintain = maintain();
        follow(&maintain, "one", true);
        let first = deleted(&maintain);
        maintain.store().transact(|tx| tx.put(&COUNT, &(), &GONE_MAX)).unwrap();
        commit(&maintain, &[create("y.", 1)]).unwrap();
        commit(&maintain, &[ZoneChange::Delete { apex: name("y.") }]).unwrap();
        assert_eq!(maintain.gone_zones().unwrap(), BTreeSet::from([first]));
        maintain.forget_gone(first, &name("x."));
        commit(&maintain, &[create("y.", 1)]).unwrap();
        commit(&maintain, &[ZoneChange::Delete { apex: name("y.") }]).unwrap();
        assert_eq!(maintain.gone_zones().unwrap().len(), 1);
    }

    #[test]
    fn a_zone_that_is_there_again_or_a_secondary_that_is_gone_keeps_nobody_waiting() {
        let maintain = maintain();
        follow(&maintain, "one", true);
        let zone = deleted(&maintain);
        commit(&maintain, &[create("x.", 1)]).unwrap();
        assert!(matches!(left_of(&maintain, zone, 0), Left::Nobody));

        commit(&maintain, &[ZoneChange::Delete { apex: name("x.") }]).unwrap();
        let later = maintain.store().read(|rows| of(rows, &name("x.")).unwrap().unwrap().zone);
        maintain.store().transact(|tx| secondaries::delete(tx, "one")).unwrap();
        assert!(matches!(left_of(&maintain, later, 0), Left::Nobody));

        maintain.forget_gone(zone, &name("x."));
        assert!(maintain.store().read(|rows| of(rows, &name("x."))).unwrap().is_some());
        maintain.forget_gone(later, &name("x."));
        assert!(maintain.store().read(|rows| of(rows, &name("x."))).unwrap().is_none());
    }
}
