//! What a closure is given: a reader of what is synced, or a transaction in the making.
//!
//! A transaction reads through four layers: its own rows, rows on their way into the log, synced rows
//! the index does not have yet, the index. It keeps its operations in order and what each replaced, so
//! that it can be taken back to any place in it.

use std::ops::{Bound, ControlFlow};
use std::sync::RwLockReadGuard;

use super::above::{Changes, Pending, Synced};
use super::error::RowError;
use super::index::layer;
use super::key::Key;
use super::rows::{Octets, RawRows, Run, Visit, merge, merge_over, past};
use super::seen::{Row, Seen};
use super::segment::Op;
use super::table::{Raw, Table, Value};
use super::transact::Inside;
use super::{KEY_BYTES_MAX, Lsn, Shared, VALUE_BYTES_MAX};

/// What is synced, unchanged while this is held.
pub struct Reader<'a> {
    pub(super) shared: &'a Shared,
    pub(super) synced: RwLockReadGuard<'a, Synced>,
    pub(super) _inside: Inside,
}

/// A transaction being made: reads see everything before it and its own puts.
pub struct Tx<'a> {
    shared: &'a Shared,
    pending: &'a Pending,
    lsn: Lsn,
    rows: Changes,
    ops: Vec<Op>,
    /// What each operation replaced in `rows`, to take it back.
    undo: Vec<Option<Option<Octets>>>,
    /// What it and those before it read below their own rows.
    seen: &'a Seen,
}

/// Operations that most transactions have at most.
const OPS: usize = 32;

/// Whether a transaction's own rows count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Shown,
    Hidden,
}

/// A place in a transaction to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(usize);

impl RawRows for Reader<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        match self.synced.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.shared.trusting(self.shared.index.get(key)),
        }
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        let synced = self.synced.layer(run, back);
        let merged = match back {
            true => merge(&mut [synced, self.shared.index.rows(run, true)], true, visit),
            false => {
                let mut below = |visit: &mut Visit<'_>| self.shared.index.visit(run, visit);
                merge_over(synced, &mut below, visit)
            }
        };
        self.shared.trusting(merged)
    }
}

impl RawRows for Tx<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        if let Some(own) = self.rows.get(key) {
            return Ok(own.clone());
        }
        self.seen.get(key, || {
            let found = self.below(key)?;
            if found.is_none() {
                self.look_at_table_of(key)?;
            }
            Ok(found)
        })
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        // Most look for one row, and often for the same.
        let (mut from, mut to) = match self.raw_edge(run, back)? {
            Some((key, value)) if visit(&key, &value).is_continue() => match back {
                true => (run.0.to_vec(), Some(key.to_vec())),
                false => ([&key, &[0][..]].concat(), run.1.map(<[u8]>::to_vec)),
            },
            _ => return Ok(()),
        };
        // None are shown while a lock is held: `visit` may well read this transaction.
        for count in [8, 32, 128].into_iter().chain(std::iter::repeat(512)) {
            let page = self.page((&from, to.as_deref()), back, count, Own::Shown)?;
            for (key, value) in &page {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == count && back => to = Some(key.to_vec()),
                Some((key, _)) if page.len() == count => from = [key, &[0][..]].concat(),
                _ => break,
            }
        }
        Ok(())
    }

    fn raw_edge(&self, run: Run<'_>, back: bool) -> Result<Option<Row>, RowError> {
        if run.1.is_some_and(|to| to <= run.0) {
            return Ok(None);
        }
        let end = run.1.map_or(Bound::Unbounded, Bound::Excluded);
        let mut own = self.rows.range(Bound::Included(run.0), end);
        let page = |own| Ok(self.page(run, back, 1, own)?.pop());
        let (own, below) = match back {
            true => (own.next_back(), self.seen.last(run, || page(Own::Hidden))?),
            false => (own.next(), self.seen.first(run, || page(Own::Hidden))?),
        };
        match (own, below) {
            (None, below) => Ok(below),
            (Some((key, _)), Some(below)) if below.0 != *key && (below.0 > *key) == back => {
                Ok(Some(below))
            }
            (Some((key, Some(value))), _) => Ok(Some((key.clone(), value.clone()))),
            // What stands there was taken out here: whatever is beside it.
            (Some((_, None)), _) => page(Own::Shown),
        }
    }
}

impl<'a> Tx<'a> {
    /// A transaction that has done nothing, after everything in `pending`.
    pub(super) fn new(
        shared: &'a Shared,
        (pending, seen): (&'a Pending, &'a Seen),
        lsn: Lsn,
    ) -> Tx<'a> {
        Tx {
            shared,
            pending,
            lsn,
            rows: Changes::default(),
            ops: Vec::with_capacity(OPS),
            undo: Vec::with_capacity(OPS),
            seen,
        }
    }

    /// Everything it did: each row once, as it leaves it; as a list, and in order of key.
    pub(super) fn into_parts(self) -> (Vec<Op>, Changes) {
        let ops = match self.ops.len() == self.rows.len() {
            true => self.ops,
            false => self.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        (ops, self.rows)
    }

    /// The number this transaction has if it is kept.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Puts a row in place of what had its key.
    ///
    /// # Errors
    ///
    /// [`RowError::TooLarge`] beyond a limit of the store; nothing was put then.
    pub fn put<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), RowError> {
        let (key, value) = table.row(key, value);
        self.set(key, Some(value))
    }

    /// As [`Tx::put`] of all `pieces` one behind the other.
    ///
    /// # Errors
    ///
    /// As [`Tx::put`].
    pub fn put_pieces<K: Key>(
        &mut self,
        table: &Table<K, Raw>,
        key: &K,
        pieces: &[&[u8]],
    ) -> Result<(), RowError> {
        let (key, value) = table.row_of_pieces(key, pieces);
        self.set(key, Some(value))
    }

    /// Takes a row out; nothing happens if there is none.
    pub fn delete<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<(), RowError> {
        self.set(table.with_key(key, |key| key.into()), None)
    }

    /// Marks this place; [`Tx::rollback_to`] undoes what follows it.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.ops.len())
    }

    /// Undoes everything since `savepoint`, which must be of this transaction.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        while self.ops.len() > savepoint.0 {
            let (Some(op), Some(before)) = (self.ops.pop(), self.undo.pop()) else { return };
            match before {
                Some(before) => drop(self.rows.insert(op.0, before)),
                None => drop(self.rows.remove(&op.0)),
            }
        }
    }

    pub(super) fn set(&mut self, key: Octets, value: Option<Octets>) -> Result<(), RowError> {
        let op = (key, value);
        limit("a key", op.0.len(), KEY_BYTES_MAX)?;
        limit("a value", op.1.as_ref().map_or(0, |value| value.len()), VALUE_BYTES_MAX)?;
        self.undo.push(self.rows.insert(op.0.clone(), op.1.clone()));
        self.ops.push(op);
        Ok(())
    }

    /// A row below its own.
    fn below(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        if let Some(value) = self.pending.get(key) {
            return Ok(value.clone());
        }
        if let Some(value) = self.shared.read_synced().get(key) {
            return Ok(value.clone());
        }
        self.shared.trusting(self.shared.index.get(key))
    }

    /// Sees where the table of a row that is not there begins: of one without rows no more is read then.
    fn look_at_table_of(&self, key: &[u8]) -> Result<(), RowError> {
        if let Some(prefix) = key.get(..2)
            && let Some(end) = past(prefix)
        {
            let run: Run<'_> = (prefix, Some(&end));
            self.seen.first(run, || Ok(self.page(run, false, 1, Own::Hidden)?.pop()))?;
        }
        Ok(())
    }

    /// The next `count` rows of `run`, all layers merged.
    fn page(&self, run: Run<'_>, back: bool, count: usize, own: Own) -> Result<Vec<Row>, RowError> {
        let synced = self.shared.read_synced();
        let own = (own == Own::Shown).then(|| layer(&self.rows, run, back, Clone::clone));
        let below = [synced.layer(run, back), self.shared.index.rows(run, back)];
        let layers = own.into_iter().chain(self.pending.layers(run, back)).chain(below);
        let mut layers: Vec<_> = layers.collect();
        let mut page = Vec::with_capacity(count);
        let merged = merge(&mut layers, back, &mut |key, value| {
            page.push((key.into(), value.into()));
            if page.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.shared.trusting(merged).map(|()| page)
    }
}

fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), RowError> {
    if bytes > max { Err(RowError::TooLarge { what, bytes, max }) } else { Ok(()) }
}
