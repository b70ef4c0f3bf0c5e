//! Transactions: closures that read and put rows, kept whole or not at all.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::RwLockReadGuard;

use super::error::{RowError, TransactError, WriteError};
use super::key::Key;
use super::rows::{Layer, Octets, RawRows, Run, Visit, merge};
use super::table::{Table, Value};
use super::{Lsn, Store};

pub(super) type Overlay = BTreeMap<Octets, Option<Octets>>;

/// What is synced, unchanged while this is held.
pub struct Reader<'a> {
    synced: RwLockReadGuard<'a, Overlay>,
}

/// A transaction being made: reads see everything before it and its own puts.
pub struct Tx<'a> {
    store: &'a Store,
    lsn: Lsn,
    rows: Overlay,
    /// What each put replaced in `rows`, to take it back.
    undo: Vec<(Octets, Option<Option<Octets>>)>,
}

/// A place in a transaction to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(usize);

fn layer<'a>(overlay: &'a Overlay, run: Run<'_>, back: bool) -> Layer<'a> {
    let from = std::ops::Bound::Included(run.0);
    let to = run.1.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    if run.1.is_some_and(|to| to <= run.0) {
        let none: Box<dyn Iterator<Item = _>> = Box::new(std::iter::empty());
        return none.peekable();
    }
    let rows =
        overlay.range::<[u8], _>((from, to)).map(|(key, value)| Ok((key.clone(), value.clone())));
    let rows: Box<dyn Iterator<Item = _>> =
        if back { Box::new(rows.rev()) } else { Box::new(rows) };
    rows.peekable()
}

impl RawRows for Reader<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        Ok(self.synced.get(key).cloned().flatten())
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        merge(&mut [layer(&self.synced, run, back)], back, visit)
    }
}

impl RawRows for Tx<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        if let Some(own) = self.rows.get(key) {
            return Ok(own.clone());
        }
        self.store.read(|reader| reader.raw_get(key))
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        self.store.read(|reader| {
            let layers = [layer(&self.rows, run, back), layer(&reader.synced, run, back)];
            merge(&mut { layers }, back, visit)
        })
    }
}

impl Tx<'_> {
    /// The number this transaction has if it is kept.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Puts a row in place of what had its key.
    pub fn put<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), RowError> {
        self.set(table.key(key).into(), Some(table.value(value).into()))
    }

    /// Takes a row out; nothing happens if there is none.
    pub fn delete<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<(), RowError> {
        self.set(table.key(key).into(), None)
    }

    /// Marks this place; [`Tx::rollback_to`] undoes what follows it.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.undo.len())
    }

    /// Undoes everything since `savepoint`, which must be of this transaction.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        while self.undo.len() > savepoint.0 {
            match self.undo.pop() {
                Some((key, Some(before))) => drop(self.rows.insert(key, before)),
                Some((key, None)) => drop(self.rows.remove(&key)),
                None => {}
            }
        }
    }

    fn set(&mut self, key: Octets, value: Option<Octets>) -> Result<(), RowError> {
        let before = self.rows.insert(key.clone(), value);
        self.undo.push((key, before));
        Ok(())
    }
}

impl Store {
    /// Reads what is synced; it does not change while `f` runs.
    ///
    /// Keep `f` short, transactions wait for it; inside it neither read nor transact again.
    pub fn read<R>(&self, f: impl FnOnce(&Reader<'_>) -> R) -> R {
        let synced = self.shared.synced.read().unwrap_or_else(|broken| broken.into_inner());
        f(&Reader { synced })
    }

    /// Runs `f` after all transactions before it; returns once what it put is durable.
    ///
    /// `f` runs on the calling thread, one closure at a time. If it refuses or panics, nothing is kept.
    ///
    /// # Errors
    ///
    /// [`TransactError::Refused`] with the closure's own error, else why the store did not take it.
    pub fn transact<R, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, TransactError<E>> {
        let mut lsn = self.shared.writer.lock().unwrap_or_else(|broken| broken.into_inner());
        let mut tx =
            Tx { store: self, lsn: Lsn(lsn.0 + 1), rows: Overlay::new(), undo: Vec::new() };
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut tx)))
            .map_err(|_| WriteError::Panicked { what: String::new() })?
            .map_err(TransactError::Refused)?;
        let rows = tx.rows;
        lsn.0 += 1;
        self.shared.synced.write().unwrap_or_else(|broken| broken.into_inner()).extend(rows);
        Ok(result)
    }

    /// As [`Store::transact`]; `then` runs once the transaction is durable and visible to readers,
    /// in the order of the log, before the caller is told.
    ///
    /// `then` runs on the store's own thread: it is the place to publish what was committed.
    pub fn transact_then<R, E, S>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
        then: impl FnOnce(R) -> S + Send + 'static,
    ) -> Result<S, TransactError<E>>
    where
        R: Send + 'static,
        S: Send + 'static,
    {
        self.transact(f).map(then)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    const NAMES: Table<(u32, String), u32> = Table::new("names", *b"nm");

    #[test]
    fn a_refused_transaction_leaves_nothing() {
        let store = Store::in_memory();
        let refused = store.transact(|tx| {
            tx.put(&NAMES, &(1, "a".into()), &7)?;
            Err::<(), _>(RowError::Index("no".into()))
        });
        assert!(matches!(refused, Err(TransactError::Refused(_))));
        assert_eq!(store.read(|rows| rows.get(&NAMES, &(1, "a".into()))), Ok(None));
    }

    #[test]
    fn going_back_to_a_savepoint_undoes_only_what_follows_it() {
        let store = Store::in_memory();
        let done = store.transact(|tx| {
            tx.put(&NAMES, &(1, "a".into()), &1)?;
            let here = tx.savepoint();
            tx.put(&NAMES, &(1, "a".into()), &2)?;
            tx.put(&NAMES, &(1, "b".into()), &2)?;
            tx.delete(&NAMES, &(1, "a".into()))?;
            tx.rollback_to(here);
            tx.range(&NAMES, .., 9)
        });
        assert_eq!(done, Ok(vec![((1, "a".into()), 1)]));
    }
}
