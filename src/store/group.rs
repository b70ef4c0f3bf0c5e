//! Groups: what has gathered is appended and synced as one, shown to readers, and told.
//!
//! The callers do it themselves. Who comes while nobody does takes everything that waits, its own before
//! all; who comes meanwhile waits, and one of them is told to go on. So a transaction that is alone
//! meets no other thread, and many share one sync. Who is at leisure goes with whoever comes next, and by
//! itself only when nobody came for a while: its sync would keep the next one waiting. What follows a
//! transaction runs with whoever took it, in the order of the log, after the rows are visible and before
//! its caller hears of it.
//!
//! Promises: somebody leads while anybody in haste waits, also when who led ended in panic.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::error::WriteError;
use super::files::held;
use super::index::what_panicked;
use super::log::{AppendError, Log, Transaction};
use super::transact::Writer;
use super::{Condition, Lsn, Shared};

/// The caller of a transaction, who waits to hear of it.
pub(super) trait Caller: Send {
    /// It is for this caller to take what waits, its own transaction before all.
    fn lead(&self);
    /// Everything up to its transaction is synced and shown, or why not.
    fn finish(self: Box<Self>, synced: Result<(), WriteError>);
}

/// Whether a caller wants its transaction synced as soon as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    Hurries,
    /// The sync of another will do, and a little later its own.
    AtLeisure,
}

/// What waits to be appended.
#[derive(Default)]
pub(super) struct Queue {
    entries: Mutex<Entries>,
}

/// A transaction with something in it, or somebody who only waits for those before.
struct Entry {
    transaction: Option<Transaction>,
    caller: Box<dyn Caller>,
    haste: Haste,
}

#[derive(Default)]
struct Entries {
    group: Vec<Entry>,
    /// Somebody takes what waits, or was told to.
    is_led: bool,
}

/// Whether a caller has to take what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Turn {
    Lead,
    Wait,
}

impl Queue {
    pub(super) fn push(
        &self,
        transaction: Option<Transaction>,
        caller: Box<dyn Caller>,
        haste: Haste,
    ) -> Turn {
        let mut entries = held(&self.entries);
        entries.group.push(Entry { transaction, caller, haste });
        match haste {
            Haste::Hurries => entries.take_lead(),
            Haste::AtLeisure => Turn::Wait,
        }
    }

    /// Whether a caller has to take what waits that nobody in haste came for.
    pub(super) fn is_left(&self) -> Turn {
        let mut entries = held(&self.entries);
        match entries.group.is_empty() {
            true => Turn::Wait,
            false => entries.take_lead(),
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        held(&self.entries).group.len()
    }
}

impl Entries {
    fn take_lead(&mut self) -> Turn {
        match std::mem::replace(&mut self.is_led, true) {
            true => Turn::Wait,
            false => Turn::Lead,
        }
    }
}

/// Tells the first in haste to lead, when dropped: also if whoever led ended in panic.
struct PassOn<'a>(&'a Queue);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        let mut entries = held(&self.0.entries);
        match entries.group.iter().find(|entry| entry.haste == Haste::Hurries) {
            Some(next) => next.caller.lead(),
            None => entries.is_led = false,
        }
    }
}

fn append(shared: &Shared, log: &mut Log, kept: &[Transaction]) -> Result<(), AppendError> {
    if let Condition::Failed(_) = &*held(&shared.condition) {
        let source = io::Error::other("an earlier write failed");
        return Err(AppendError::Failed { what: "writing the log", source });
    }
    let before = (shared.clock)();
    catch_unwind(AssertUnwindSafe(|| log.append(kept))).unwrap_or_else(|panic| {
        let source = io::Error::other(what_panicked(&*panic));
        Err(AppendError::Failed { what: "writing the log", source })
    })?;
    let bytes = kept.iter().map(|transaction| transaction.bytes).sum();
    let took = (shared.clock)().saturating_sub(before);
    shared.figures.groups.fetch_add(1, Ordering::Relaxed);
    shared.figures.transactions.fetch_add(kept.len() as u64, Ordering::Relaxed);
    shared.figures.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
    shared.figures.append_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    shared.figures.log_bytes.store(log.bytes(), Ordering::Relaxed);
    Ok(())
}

impl Shared {
    /// Appends everything that waits as one group, shows it and tells its callers.
    pub(super) fn lead(&self) {
        let _next = PassOn(&self.queue);
        let mut log = held(&self.log);
        let Some(log) = log.as_mut() else { return };
        let group = std::mem::take(&mut held(&self.queue.entries).group);
        let kept: Vec<Transaction> =
            group.iter().filter_map(|entry| entry.transaction.clone()).collect();
        let appended = if kept.is_empty() { Ok(()) } else { append(self, log, &kept) };
        match appended {
            Ok(()) => {
                self.publish(&kept);
                group.into_iter().for_each(|entry| entry.caller.finish(Ok(())));
            }
            Err(error) => self.refuse(group, &error, log.end()),
        }
    }

    /// Trims the log of what stands up to `upto`.
    pub(super) fn trim(&self, upto: Lsn) {
        let mut log = held(&self.log);
        let Some(log) = log.as_mut() else { return };
        // A segment that cannot be removed takes room, nothing else; the next trim meets it again.
        if let Err(error) = log.trim(upto) {
            tracing::warn!(%error, "a segment of the log cannot be removed");
        }
        self.figures.log_bytes.store(log.bytes(), Ordering::Relaxed);
    }

    /// Shows synced transactions to readers and hands them on to the index.
    fn publish(&self, kept: &[Transaction]) {
        let Some(last) = kept.last() else { return };
        self.show(kept);
        self.visible.store(last.lsn.0, Ordering::Release);
        self.progress.reach(last.lsn);
    }

    /// Puts transactions among the synced rows, from where the applier has them.
    pub(super) fn show(&self, kept: &[Transaction]) {
        let mut synced = self.write_synced();
        synced.show(kept);
        // Before the applier can set them aside, who takes off what is added here.
        self.backlog.add(kept);
    }

    /// Tells everyone whose transaction rests on what was not appended.
    fn refuse(&self, group: Vec<Entry>, error: &AppendError, end: Lsn) {
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
        for entry in group.into_iter().chain(later) {
            entry.caller.finish(Err(WriteError::Stopped { why: why.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::store::brake::Brake;
    use crate::store::{Rows, Table};

    const NUMBERS: Table<u32, u32> = Table::new("numbers", *b"nu");

    /// Counts how often it is told to lead.
    struct Counts(Arc<AtomicUsize>);

    impl Caller for Counts {
        fn lead(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn finish(self: Box<Self>, _: Result<(), WriteError>) {}
    }

    #[test]
    fn who_hurries_leads_before_all_at_leisure_and_those_only_if_nobody_hurries() {
        let queue = Queue::default();
        let calls: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
        let push = |at: usize, haste| queue.push(None, Box::new(Counts(calls[at].clone())), haste);
        let told = || calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect::<Vec<_>>();

        assert_eq!(push(0, Haste::AtLeisure), Turn::Wait);
        assert_eq!(push(1, Haste::Hurries), Turn::Lead);
        assert_eq!(push(2, Haste::Hurries), Turn::Wait);
        assert_eq!(queue.is_left(), Turn::Wait, "somebody leads");
        drop(PassOn(&queue));
        assert_eq!(told(), [0, 1, 0]);

        held(&queue.entries).group.truncate(1);
        drop(PassOn(&queue));
        assert_eq!(told(), [0, 1, 0]);
        assert_eq!(queue.is_left(), Turn::Lead, "nobody came");
        assert_eq!(push(1, Haste::Hurries), Turn::Wait);
        held(&queue.entries).group.clear();
        drop(PassOn(&queue));
        assert_eq!(queue.is_left(), Turn::Wait, "nothing is left");
    }

    #[test]
    fn what_is_put_at_leisure_goes_with_the_next_and_by_itself_if_none_comes() {
        let (store, brake) = Brake::store();
        let put = |number: u32| move |tx: &mut crate::store::Tx<'_>| tx.put(&NUMBERS, &number, &0);
        brake.allow(Some(0));
        std::thread::scope(|scope| {
            scope.spawn(|| store.transact(put(1)).unwrap());
            brake.wait_for_sync();
            scope.spawn(|| store.transact_at_leisure(put(2)).unwrap());
            brake.wait_until_behind(&store, 1);
            scope.spawn(|| store.transact(put(3)).unwrap());
            brake.wait_until_behind(&store, 2);
            brake.allow(None);
        });
        let groups = store.handle.shared.figures.groups.load(Ordering::Relaxed);
        assert_eq!(groups, 2, "one for the first, one for both behind it");
        store.transact_at_leisure(put(4)).unwrap();
        let kept = store.read(|rows| rows.range(&NUMBERS, .., 9)).unwrap();
        assert_eq!(kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
