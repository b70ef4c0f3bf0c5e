//! Groups: what has gathered is appended and synced as one, shown to readers, and told.
//!
//! The callers do it themselves. Who comes while nobody does takes everything that waits, its own before
//! all; who comes meanwhile waits, and one of them is told to go on. So a transaction that is alone
//! meets no other thread, and many share one sync. What follows a transaction runs with whoever took
//! it, in the order of the log, after the rows are visible and before its caller hears of it.
//!
//! Promises: somebody leads while anybody waits, also when who led ended in panic.

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

/// What waits to be appended.
#[derive(Default)]
pub(super) struct Queue {
    entries: Mutex<Entries>,
}

/// A transaction with something in it, or somebody who only waits for those before.
type Entry = (Option<Transaction>, Box<dyn Caller>);

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
    pub(super) fn push(&self, transaction: Option<Transaction>, caller: Box<dyn Caller>) -> Turn {
        let mut entries = held(&self.entries);
        entries.group.push((transaction, caller));
        match std::mem::replace(&mut entries.is_led, true) {
            true => Turn::Wait,
            false => Turn::Lead,
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        held(&self.entries).group.len()
    }
}

/// Tells the one in front to lead, when dropped: also if whoever led ended in panic.
struct PassOn<'a>(&'a Queue);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        let mut entries = held(&self.0.entries);
        match entries.group.first() {
            Some((_, caller)) => caller.lead(),
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
        let kept: Vec<Transaction> = group.iter().filter_map(|entry| entry.0.clone()).collect();
        let appended = if kept.is_empty() { Ok(()) } else { append(self, log, &kept) };
        match appended {
            Ok(()) => {
                self.publish(&kept);
                group.into_iter().for_each(|(_, caller)| caller.finish(Ok(())));
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
        for (_, caller) in group.into_iter().chain(later) {
            caller.finish(Err(WriteError::Stopped { why: why.clone() }));
        }
    }
}
