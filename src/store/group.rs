//! Groups: what has gathered is appended and synced as one, shown to readers, and told.
//!
//! One thread does it. What follows a transaction runs here too, in the order of the log, after the
//! rows are visible and before the caller hears of it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};

use super::error::WriteError;
use super::files::held;
use super::log::{AppendError, Log, Transaction};
use super::transact::{Inside, Writer};
use super::{Condition, Lsn, Shared};

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
    pub(super) fn push(&self, transaction: Option<Transaction>, finish: Finish) {
        held(&self.entries).group.push((transaction, finish));
        self.filled.notify_one();
    }

    /// Asks for what stands up to `upto` to be trimmed from the log.
    pub(super) fn trim(&self, upto: Lsn) {
        held(&self.entries).trim = Some(upto);
        self.filled.notify_one();
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        held(&self.entries).group.len()
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

/// The thread of the log: appends groups until the store is closed.
pub(super) fn run_log(shared: &Shared, mut log: Log) {
    let _inside = Inside::transaction();
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
        let source = io::Error::other("an earlier write failed");
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
