//! Transactions: closures that read and put rows, kept whole or not at all.
//!
//! A closure runs on its caller's thread, one at a time, over everything closures before it put, also
//! what is not yet synced. What it puts joins a queue in the order of the log (see
//! [`group`](super::group)), and its caller waits. So closures run while the log is being synced.
//!
//! Promises: closures run in the order of their LSNs; a closure that refuses or panics leaves no trace;
//! nobody is told anything that rests on rows not yet synced.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockReadGuard, mpsc};

use super::error::{TransactError, WriteError};
use super::files::held;
use super::group::Finish;
use super::index::what_panicked;
use super::log::Transaction;
use super::rows::Octets;
use super::tx::{Reader, Tx};
use super::{BACKLOG_BYTES_MAX, Condition, Lsn, Shared, Store, TRANSACTION_BYTES_MAX};

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

thread_local! {
    static INSIDE: Cell<Place> = const { Cell::new(Place::Outside) };
}

/// What of the store this thread is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
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

impl Inside {
    /// Enters a transaction, unless this thread is in anything of a store.
    pub(super) fn transaction() -> Option<Inside> {
        Inside::enter(Place::Transaction, &[Place::Outside])
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
        let made = |result| (result, Followed::ByNothing, Box::new(finish) as Finish);
        let done = self.handle.shared.run(f, made)?;
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
                (None, Followed::ByHook, finish)
            }
            Err(refused) => {
                let finish: Finish = Box::new(move |synced| drop(told.send(synced.map(|()| None))));
                (Some(refused), Followed::ByNothing, finish)
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

/// Whether something runs once a transaction is synced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    ByHook,
    ByNothing,
}

impl Shared {
    pub(super) fn read_synced(&self) -> RwLockReadGuard<'_, Overlay> {
        self.synced.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure in its turn and queues what it made; `finish_with` says who is told.
    fn run<R, E, T>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
        finish_with: impl FnOnce(Result<R, E>) -> (T, Followed, Finish),
    ) -> Result<T, WriteError> {
        let _inside = Inside::transaction().ok_or(WriteError::Nested)?;
        self.wait_for_room()?;
        let mut writer = held(&self.writer);
        self.ready()?;
        writer.forget(Lsn(self.visible.load(Ordering::Acquire)));
        let mut tx = Tx::new(self, &writer.pending, Lsn(writer.last.0 + 1));
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut tx)))
            .map_err(|panic| WriteError::Panicked { what: what_panicked(&*panic) })?;
        let (lsn, ops) = (tx.lsn(), tx.into_ops());
        let kept = (result.is_ok() && !ops.is_empty()).then(|| Transaction::new(lsn, ops));
        if let Some(transaction) = &kept {
            if transaction.bytes > TRANSACTION_BYTES_MAX {
                let (bytes, max) = (transaction.bytes, TRANSACTION_BYTES_MAX);
                return Err(WriteError::TooLarge { bytes, max });
            }
            writer.keep(transaction);
        }
        let (made, followed, finish) = finish_with(result);
        let alone = kept.is_none() && writer.last.0 == self.visible.load(Ordering::Acquire);
        match followed {
            // It put nothing, and all it read is synced: there is nothing to wait for.
            Followed::ByNothing if alone => finish(Ok(())),
            _ => self.queue.push(kept, finish),
        }
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
