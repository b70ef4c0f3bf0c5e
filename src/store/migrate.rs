//! Migrations: numbered steps that rewrite rows, each one transaction, each run once.
//!
//! The directory's own formats (marker, log, export) have numbers of their own and are refused when
//! newer. This is about what rows mean: the rooms that own them hand their steps down in
//! [`Options::migrations`](super::Options::migrations), and the number of the last one stands in a row.

use super::error::{OpenError, RowError, TransactError};
use super::rows::Rows;
use super::table::Table;
use super::tx::Tx;
use super::{Lsn, Store};

/// One step. `run` sees the rows as the step before left them.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Higher than that of every step before it; never used again.
    pub number: u32,
    pub name: &'static str,
    pub run: fn(&mut Tx<'_>) -> Result<(), RowError>,
}

/// Under 0: the number of the last migration.
const SCHEMA: Table<u8, u32> = Table::new("store", *b"st");

/// Runs the steps the store has not seen; a new store needs none.
pub(super) fn migrate(
    store: &Store,
    dir: &std::path::Path,
    steps: &'static [Migration],
    end: Lsn,
) -> Result<(), OpenError> {
    let known = steps.iter().map(|step| step.number).max().unwrap_or(0);
    let fault = |number, name, what: String| OpenError::Migration { number, name, what };
    let found = store.read(|rows| rows.get(&SCHEMA, &0));
    let found = found.map_err(|error| fault(0, "reading the number", error.to_string()))?;
    let found = found.unwrap_or(if end == Lsn(0) { known } else { 0 });
    if found > known {
        return Err(OpenError::Newer { dir: dir.to_owned(), found, known });
    }
    for step in steps.iter().filter(|step| step.number > found) {
        let done = store.transact(|tx| {
            (step.run)(tx)?;
            tx.put(&SCHEMA, &0, &step.number)
        });
        done.map_err(|error: TransactError<RowError>| {
            fault(step.number, step.name, error.to_string())
        })?;
        tracing::info!(number = step.number, "migrated the store: {}", step.name);
    }
    if end == Lsn(0) && known > 0 {
        let done = store.transact(|tx| tx.put(&SCHEMA, &0, &known));
        done.map_err(|error| fault(known, "writing the number", error.to_string()))?;
    }
    Ok(())
}
