//! Transactions: closures that read and put rows, kept whole or not at all.
//!
//! A closure runs on its caller's thread, one at a time, over everything closures before it put, also
//! what is not yet synced. What it puts joins a queue in the order of the log, and its caller waits or sees
//! to the queue (see [`group`](super::group)). So closures run while the log is being synced.
//!
//! Promises: closures run in the order of their LSNs; a closure that refuses or panics leaves no trace;
//! nobody is told anything that rests on rows not yet synced.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::above::{Changes, Pending, Synced};
use super::error::{TransactError, WriteError};
use super::files::held;
use super::group::{Caller, Haste, Turn};
use super::index::what_panicked;
use super::log::Transaction;
use super::seen::Seen;
use super::tx::{Reader, Tx};
use super::{BACKLOG_BYTES_MAX, Condition, Lsn, Shared, Store, TRANSACTION_BYTES_MAX};

/// What closures share; whoever holds it is the only one running.
#[derive(Default)]
pub(super) struct Writer {
    last: Lsn,
    /// Rows not yet synced, and some that are: those leave when the next closure begins.
    pending: Pending,
    /// What closures have read below their own rows, as the last one kept leaves it.
    seen: Seen,
}

impl Writer {
    pub(super) fn after(last: Lsn) -> Writer {
        Writer { last, ..Writer::default() }
    }

    fn keep(&mut self, transaction: &Transaction, rows: Changes) {
        self.last = transaction.lsn;
        self.seen.learn(&transaction.ops);
        self.pending.keep(transaction.lsn, rows);
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
    /// Enters a transaction and what follows it, unless this thread is in anything of a store.
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
        self.transact_with(Haste::Hurries, f)
    }

    /// As [`Store::transact`], for what nobody waits for: it is synced with the next transaction that
    /// hurries, or by itself when none came for a moment.
    ///
    /// # Errors
    ///
    /// As [`Store::transact`].
    pub fn transact_at_leisure<R, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, TransactError<E>> {
        self.transact_with(Haste::AtLeisure, f)
    }

    fn transact_with<R, E>(
        &self,
        haste: Haste,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, TransactError<E>> {
        let _inside = Inside::transaction().ok_or(WriteError::Nested)?;
        let shared = &*self.handle.shared;
        let (told, result) = sync_channel(WORDS);
        let (done, turn) =
            shared.run(f, haste, |done| (done, Followed::ByNothing, Waits::boxed(told, || ())))?;
        shared.wait(turn, haste, &result)?;
        done.map_err(TransactError::Refused)
    }

    /// As [`Store::transact`]; `then` runs once the transaction is durable and visible to readers,
    /// in the order of the log, before the caller is told.
    ///
    /// `then` runs on the thread of this caller or of another, with no other transaction becoming visible
    /// meanwhile: it is the place to publish what was committed. It may read the store, not transact.
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
        let _inside = Inside::transaction().ok_or(WriteError::Nested)?;
        let shared = &*self.handle.shared;
        let (told, result) = sync_channel(WORDS);
        let (refused, turn) = shared.run(f, Haste::Hurries, |result| match result {
            Ok(made) => (None, Followed::ByHook, Waits::boxed(told, || Some(then(made)))),
            Err(refused) => (Some(refused), Followed::ByNothing, Waits::boxed(told, || None)),
        })?;
        match (shared.wait(turn, Haste::Hurries, &result)?, refused) {
            (Some(done), _) => Ok(done),
            (None, Some(refused)) => Err(TransactError::Refused(refused)),
            (None, None) => unreachable!("a closure that did not refuse has a result"),
        }
    }
}

/// What a caller who waits can be told: at most once to lead, then what came of it.
enum Word<T> {
    Lead,
    Done(Result<T, WriteError>),
}

/// How often a transaction at leisure looks whether anybody else sees to the log. The next of who commits one
/// after the other comes sooner; and many at leisure, one after the other, are not held up.
const LEISURE: Duration = Duration::from_millis(2);

/// Words that one caller is told.
const WORDS: usize = 2;

/// A caller who waits, and what follows its transaction.
struct Waits<T, F> {
    told: SyncSender<Word<T>>,
    then: F,
}

impl<T: Send + 'static, F: FnOnce() -> T + Send + 'static> Waits<T, F> {
    fn boxed(told: SyncSender<Word<T>>, then: F) -> Box<dyn Caller> {
        Box::new(Waits { told, then })
    }
}

impl<T: Send, F: FnOnce() -> T + Send> Caller for Waits<T, F> {
    fn lead(&self) {
        let _ = self.told.send(Word::Lead);
    }

    fn finish(self: Box<Self>, synced: Result<(), WriteError>) {
        let Waits { told, then } = *self;
        let done = synced.and_then(|()| {
            catch_unwind(AssertUnwindSafe(then))
                .map_err(|panic| WriteError::Hook { what: what_panicked(&*panic) })
        });
        let _ = told.send(Word::Done(done));
    }
}

/// Whether something runs once a transaction is synced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    ByHook,
    ByNothing,
}

impl Shared {
    pub(super) fn write_synced(&self) -> RwLockWriteGuard<'_, Synced> {
        self.synced.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read_synced(&self) -> RwLockReadGuard<'_, Synced> {
        self.synced.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure in its turn and queues what it made; `finish_with` says who is told. Says whether the
    /// caller has to lead.
    fn run<R, E, T>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
        haste: Haste,
        finish_with: impl FnOnce(Result<R, E>) -> (T, Followed, Box<dyn Caller>),
    ) -> Result<(T, Turn), WriteError> {
        self.wait_for_room()?;
        let mut writer = held(&self.writer);
        self.ready()?;
        writer.pending.forget(Lsn(self.visible.load(Ordering::Acquire)));
        let mut tx = Tx::new(self, (&writer.pending, &writer.seen), Lsn(writer.last.0 + 1));
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut tx)))
            .map_err(|panic| WriteError::Panicked { what: what_panicked(&*panic) })?;
        let (lsn, (ops, rows)) = (tx.lsn(), tx.into_parts());
        let kept = (result.is_ok() && !ops.is_empty()).then(|| Transaction::new(lsn, ops));
        if let Some(transaction) = &kept {
            if transaction.bytes > TRANSACTION_BYTES_MAX {
                let (bytes, max) = (transaction.bytes, TRANSACTION_BYTES_MAX);
                return Err(WriteError::TooLarge { bytes, max });
            }
            writer.keep(transaction, rows);
        }
        let (made, followed, caller) = finish_with(result);
        let alone = kept.is_none() && writer.last.0 == self.visible.load(Ordering::Acquire);
        // In the order of the log: the writer is held.
        let turn = match followed {
            // It put nothing, and all it read is synced: there is nothing to wait for.
            Followed::ByNothing if alone => {
                caller.finish(Ok(()));
                Turn::Wait
            }
            _ => self.queue.push(kept, caller, haste),
        };
        Ok((made, turn))
    }

    /// Waits until a transaction is synced and what follows it is done; leads if told to, or if it is at
    /// leisure and nobody else did for long.
    fn wait<T>(
        &self,
        mut turn: Turn,
        haste: Haste,
        told: &Receiver<Word<T>>,
    ) -> Result<T, WriteError> {
        loop {
            if turn == Turn::Lead {
                self.lead();
            }
            let word = match haste {
                Haste::Hurries => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Haste::AtLeisure => told.recv_timeout(LEISURE),
            };
            turn = match word {
                Ok(Word::Lead) => Turn::Lead,
                Ok(Word::Done(done)) => return done,
                Err(RecvTimeoutError::Timeout) => self.queue.is_left(),
                // Whoever led ended in panic, and told nobody.
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "the log was not written to its end".into();
                    return Err(WriteError::Stopped { why });
                }
            }
        }
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
