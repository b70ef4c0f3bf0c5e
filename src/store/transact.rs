//! Transactions: closures that read and put rows, kept whole or not at all.
//!
//! A closure runs on its caller's thread, one at a time, over everything closures before it put: its
//! own rows, then rows on their way into the log (`pending`), then synced rows, then the index. Its
//! rows join a queue in the order of the log; one thread takes what has gathered, appends and syncs it
//! as a group, shows it to readers, runs what is to follow, and only then tells the callers.
//!
//! Promises: closures run in the order of their LSNs; a closure that refuses or panics leaves no trace;
//! nobody is told anything that rests on rows not yet synced.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError, RwLockReadGuard, mpsc};

use super::error::{RowError, TransactError, WriteError};
use super::files::held;
use super::index::{layer, what_panicked};
use super::key::Key;
use super::log::{AppendError, Log, Transaction};
use super::rows::{Octets, RawRows, Run, Visit, merge};
use super::segment::Op;
use super::table::{Table, Value};
use super::{
    BACKLOG_BYTES_MAX, Condition, KEY_BYTES_MAX, Lsn, Shared, Store, TRANSACTION_BYTES_MAX,
    VALUE_BYTES_MAX,
};

/// Rows above the index, each with the transaction that put it or took it out.
pub(super) type Overlay = BTreeMap<Octets, (Lsn, Option<Octets>)>;

/// What closures share; whoever holds it is the only one running.
#[derive(Default)]
pub(super) struct Writer {
    last: Lsn,
    /// Rows not yet synced, and some that are: those leave when the next closure begins.
    pending: Overlay,
    unsynced: VecDeque<Transaction>,
}

impl Writer {
    pub(super) fn after(last: Lsn) -> Writer {
        Writer { last, ..Writer::default() }
    }

    /// Lets go of rows that the synced layer shows by now.
    fn forget(&mut self, synced: Lsn) {
        while self.unsynced.front().is_some_and(|transaction| transaction.lsn <= synced) {
            let Some(transaction) = self.unsynced.pop_front() else { return };
            for (key, _) in transaction.ops.iter() {
                if self.pending.get(key).is_some_and(|(lsn, _)| *lsn <= transaction.lsn) {
                    self.pending.remove(key);
                }
            }
        }
    }

    fn keep(&mut self, transaction: &Transaction) {
        self.last = transaction.lsn;
        let rows = transaction.ops.iter().cloned();
        self.pending.extend(rows.map(|(key, value)| (key, (transaction.lsn, value))));
        self.unsynced.push_back(transaction.clone());
    }
}

/// What is synced, unchanged while this is held.
pub struct Reader<'a> {
    shared: &'a Shared,
    synced: RwLockReadGuard<'a, Overlay>,
    _inside: Inside,
}

/// A transaction being made: reads see everything before it and its own puts.
pub struct Tx<'a> {
    shared: &'a Shared,
    pending: &'a Overlay,
    lsn: Lsn,
    rows: BTreeMap<Octets, Option<Octets>>,
    ops: Vec<Op>,
    /// What each operation replaced in `rows`, to take it back.
    undo: Vec<Option<Option<Octets>>>,
}

/// A place in a transaction to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(usize);

impl RawRows for Reader<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        match self.synced.get(key) {
            Some((_, value)) => Ok(value.clone()),
            None => self.shared.trusting(self.shared.index.get(key)),
        }
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        let synced = layer(&self.synced, run, back, |(_, value)| value.clone());
        let merged = merge(&mut [synced, self.shared.index.rows(run, back)], back, visit);
        self.shared.trusting(merged)
    }
}

impl RawRows for Tx<'_> {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        if let Some(own) = self.rows.get(key) {
            return Ok(own.clone());
        }
        if let Some((_, value)) = self.pending.get(key) {
            return Ok(value.clone());
        }
        if let Some((_, value)) = self.shared.read_synced().get(key) {
            return Ok(value.clone());
        }
        self.shared.trusting(self.shared.index.get(key))
    }

    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError> {
        let (mut from, mut to) = (run.0.to_vec(), run.1.map(<[u8]>::to_vec));
        // Few rows at first, most look for one. None are shown while a lock is held: `visit` may
        // well read this transaction.
        for count in [2, 8, 32, 128].into_iter().chain(std::iter::repeat(512)) {
            let page = self.page((&from, to.as_deref()), back, count)?;
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
}

impl Tx<'_> {
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

    /// The next `count` rows of `run`, all layers merged.
    fn page(
        &self,
        run: Run<'_>,
        back: bool,
        count: usize,
    ) -> Result<Vec<(Octets, Octets)>, RowError> {
        let synced = self.shared.read_synced();
        let mut layers = [
            layer(&self.rows, run, back, Clone::clone),
            layer(self.pending, run, back, |(_, value)| value.clone()),
            layer(&synced, run, back, |(_, value)| value.clone()),
            self.shared.index.rows(run, back),
        ];
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

thread_local! {
    static INSIDE: Cell<Place> = const { Cell::new(Place::Outside) };
}

/// What of the store this thread is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Outside,
    /// In a transaction, or in what follows one: waiting for another would never end.
    Transaction,
    /// Holding back transactions: waiting for anything would never end.
    Read,
}

/// This thread is in a closure of a store until this is dropped.
pub(super) struct Inside(Place);

impl Inside {
    /// Enters, unless this thread is further in than `most` already.
    fn enter(place: Place, most: &[Place]) -> Option<Inside> {
        let before = INSIDE.get();
        most.contains(&before).then(|| {
            INSIDE.set(place);
            Inside(before)
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

impl Store {
    /// Reads what is synced; it does not change while `f` runs.
    ///
    /// Keep `f` short, transactions wait for it.
    ///
    /// # Panics
    ///
    /// If called inside another read: it could wait for itself.
    pub fn read<R>(&self, f: impl FnOnce(&Reader<'_>) -> R) -> R {
        let _inside = Inside::enter(Place::Read, &[Place::Outside, Place::Transaction])
            .expect("a read uses its reader, not the store again");
        let shared = &*self.handle.shared;
        f(&Reader { shared, synced: shared.read_synced(), _inside })
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
        let (told, result) = mpsc::sync_channel(1);
        let finish = move |synced: Result<(), WriteError>| drop(told.send(synced));
        let done = self.handle.shared.run(f, |result| (result, Box::new(finish) as Finish))?;
        wait(&result)?;
        done.map_err(TransactError::Refused)
    }

    /// As [`Store::transact`]; `then` runs once the transaction is durable and visible to readers,
    /// in the order of the log, before the caller is told.
    ///
    /// `then` runs on the store's own thread, with no other transaction becoming visible meanwhile:
    /// it is the place to publish what was committed. It may read the store, not transact.
    ///
    /// # Errors
    ///
    /// As [`Store::transact`]; [`WriteError::Hook`] if `then` panicked: the transaction is kept.
    pub fn transact_then<R, E, S>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
        then: impl FnOnce(R) -> S + Send + 'static,
    ) -> Result<S, TransactError<E>>
    where
        R: Send + 'static,
        S: Send + 'static,
    {
        let (told, result) = mpsc::sync_channel(1);
        let refused = self.handle.shared.run(f, |result| match result {
            Ok(made) => {
                let finish: Finish = Box::new(move |synced| {
                    let done = synced.and_then(|()| {
                        catch_unwind(AssertUnwindSafe(|| then(made)))
                            .map_err(|panic| WriteError::Hook { what: what_panicked(&*panic) })
                    });
                    let _ = told.send(done.map(Some));
                });
                (None, finish)
            }
            Err(refused) => {
                let finish: Finish = Box::new(move |synced| drop(told.send(synced.map(|()| None))));
                (Some(refused), finish)
            }
        })?;
        match (wait(&result)?, refused) {
            (Some(done), _) => Ok(done),
            (None, Some(refused)) => Err(TransactError::Refused(refused)),
            (None, None) => unreachable!("a closure that did not refuse has a result"),
        }
    }
}

fn wait<T>(told: &mpsc::Receiver<Result<T, WriteError>>) -> Result<T, WriteError> {
    let gone = || WriteError::Stopped { why: "the thread of the log has ended".into() };
    told.recv().unwrap_or_else(|_| Err(gone()))
}

/// Tells a caller that everything up to its transaction is synced, or why not.
pub(super) type Finish = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// What waits for the thread of the log.
#[derive(Default)]
pub(super) struct Queue {
    entries: Mutex<Entries>,
    filled: Condvar,
}

#[derive(Default)]
struct Entries {
    /// Transactions with something in them, and whoever only waits for those before it.
    group: Vec<(Option<Transaction>, Finish)>,
    trim: Option<Lsn>,
    closing: bool,
}

impl Queue {
    fn push(&self, transaction: Option<Transaction>, finish: Finish) {
        held(&self.entries).group.push((transaction, finish));
        self.filled.notify_one();
    }

    /// Asks for what stands up to `upto` to be trimmed from the log.
    pub(super) fn trim(&self, upto: Lsn) {
        held(&self.entries).trim = Some(upto);
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        held(&self.entries).closing = true;
        self.filled.notify_one();
    }

    /// Waits for something to do; none when closed and done.
    fn take(&self) -> Option<Entries> {
        let mut entries = held(&self.entries);
        while entries.group.is_empty() && entries.trim.is_none() {
            if entries.closing {
                return None;
            }
            entries = self.filled.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = Entries { closing: entries.closing, ..std::mem::take(&mut *entries) };
        entries.closing = taken.closing;
        Some(taken)
    }
}

impl Shared {
    pub(super) fn read_synced(&self) -> RwLockReadGuard<'_, Overlay> {
        self.synced.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure in its turn and queues what it made; `finish_with` says who is told.
    fn run<R, E, T>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
        finish_with: impl FnOnce(Result<R, E>) -> (T, Finish),
    ) -> Result<T, WriteError> {
        let _inside =
            Inside::enter(Place::Transaction, &[Place::Outside]).ok_or(WriteError::Nested)?;
        self.wait_for_room()?;
        let mut writer = held(&self.writer);
        self.ready()?;
        writer.forget(Lsn(self.visible.load(Ordering::Acquire)));
        let mut tx = Tx {
            shared: self,
            pending: &writer.pending,
            lsn: Lsn(writer.last.0 + 1),
            rows: BTreeMap::new(),
            ops: Vec::new(),
            undo: Vec::new(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut tx)))
            .map_err(|panic| WriteError::Panicked { what: what_panicked(&*panic) })?;
        let (lsn, ops) = (tx.lsn, std::mem::take(&mut tx.ops));
        let kept = (result.is_ok() && !ops.is_empty()).then(|| Transaction::new(lsn, ops));
        if let Some(transaction) = &kept {
            if transaction.bytes > TRANSACTION_BYTES_MAX {
                let (bytes, max) = (transaction.bytes, TRANSACTION_BYTES_MAX);
                return Err(WriteError::TooLarge { bytes, max });
            }
            writer.keep(transaction);
        }
        let (made, finish) = finish_with(result);
        self.queue.push(kept, finish);
        Ok(made)
    }

    /// Waits while the index is too far behind: what it lacks is held in memory.
    fn wait_for_room(&self) -> Result<(), WriteError> {
        let mut backlog = held(&self.backlog.state);
        while backlog.bytes > BACKLOG_BYTES_MAX {
            self.ready()?;
            backlog = self.backlog.changed.wait(backlog).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Whether transactions are taken now. A disk that was full is looked at again.
    fn ready(&self) -> Result<(), WriteError> {
        let mut condition = held(&self.condition);
        match &*condition {
            Condition::Writing => return Ok(()),
            Condition::NoRoom(why) => {
                if self.files.free_bytes().unwrap_or(0) < self.reserve.saturating_add(1 << 20) {
                    return Err(WriteError::Stopped { why: why.clone() });
                }
            }
            Condition::Failed(why) => return Err(WriteError::Stopped { why: why.clone() }),
        }
        *condition = Condition::Writing;
        Ok(())
    }
}

/// The thread of the log: appends groups until the store is closed.
pub(super) fn run_log(shared: &Shared, mut log: Log) {
    let _inside = Inside::enter(Place::Transaction, &[Place::Outside]);
    while let Some(Entries { group, trim, .. }) = shared.queue.take() {
        let kept: Vec<Transaction> = group.iter().filter_map(|entry| entry.0.clone()).collect();
        let appended = if kept.is_empty() { Ok(()) } else { append(shared, &mut log, &kept) };
        match appended {
            Ok(()) => {
                shared.publish(&kept);
                group.into_iter().for_each(|(_, finish)| finish(Ok(())));
            }
            Err(error) => shared.refuse(group, &error, log.end()),
        }
        if let Some(upto) = trim {
            // A segment that cannot be removed takes room, nothing else; the next trim meets it again.
            if let Err(error) = log.trim(upto) {
                tracing::warn!(%error, "a segment of the log cannot be removed");
            }
        }
        shared.figures.log_bytes.store(log.bytes(), Ordering::Relaxed);
    }
}

fn append(shared: &Shared, log: &mut Log, kept: &[Transaction]) -> Result<(), AppendError> {
    if let Condition::Failed(_) = &*held(&shared.condition) {
        let source = std::io::Error::other("an earlier write failed");
        return Err(AppendError::Failed { what: "writing the log", source });
    }
    let before = (shared.clock)();
    log.append(kept)?;
    let bytes = kept.iter().map(|transaction| transaction.bytes).sum();
    let took = (shared.clock)().saturating_sub(before);
    shared.figures.groups.fetch_add(1, Ordering::Relaxed);
    shared.figures.transactions.fetch_add(kept.len() as u64, Ordering::Relaxed);
    shared.figures.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
    shared.figures.append_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    Ok(())
}

impl Shared {
    /// Shows synced transactions to readers and hands them on to the index.
    fn publish(&self, kept: &[Transaction]) {
        let Some(last) = kept.last() else { return };
        self.show(kept);
        self.visible.store(last.lsn.0, Ordering::Release);
        self.progress.reach(last.lsn);
    }

    /// Puts transactions into the synced layer and gives them to the applier.
    pub(super) fn show(&self, kept: &[Transaction]) {
        let mut synced = self.synced.write().unwrap_or_else(PoisonError::into_inner);
        for transaction in kept {
            let rows = transaction.ops.iter().cloned();
            synced.extend(rows.map(|(key, value)| (key, (transaction.lsn, value))));
        }
        drop(synced);
        self.backlog.add(kept);
    }

    /// Tells everyone whose transaction rests on what was not appended.
    fn refuse(&self, group: Vec<(Option<Transaction>, Finish)>, error: &AppendError, end: Lsn) {
        let why = error.to_string();
        {
            let mut condition = held(&self.condition);
            match (&*condition, error) {
                (Condition::Failed(_), _) => {}
                (_, AppendError::NoRoom { .. }) => *condition = Condition::NoRoom(why.clone()),
                (_, AppendError::Failed { .. }) => {
                    tracing::error!(%error, "writes have stopped until a restart");
                    *condition = Condition::Failed(why.clone());
                }
            }
        }
        // No closure runs while the writer is held: what they queued up to now saw rows that are
        // not to be, and the next one starts from what the log holds.
        let mut writer = held(&self.writer);
        let later = std::mem::take(&mut held(&self.queue.entries).group);
        *writer = Writer::after(end);
        drop(writer);
        for (_, finish) in group.into_iter().chain(later) {
            finish(Err(WriteError::Stopped { why: why.clone() }));
        }
    }
}
