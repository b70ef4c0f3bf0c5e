//! The applier: brings synced transactions into the index, in order, behind the readers' backs.
//!
//! It is the only one that writes to the index. Rows wait [above it](super::above) until it has them, so
//! nobody sees how far it is. It takes what has gathered, each row as the last transaction left it, in the
//! order of keys; the mark that says how far the index is follows the last row.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::backup::{self, ExportError, Summary};
use super::error::RowError;
use super::files::held;
use super::log::Transaction;
use super::{Condition, Handle, Lsn, Shared, Store};

/// How often it is looked whether transactions still come. When none did, what has gathered is applied: rows
/// changed twice are written once, and rows that came and went not at all.
const GATHER: Duration = Duration::from_millis(250);

/// How much of a backlog ends the gathering, in octets: under load some seconds, in which an order is
/// also seen served, and a leaf changes many times. It is held in memory, and a start after a crash reads as
/// much from the log, in some tenths of a second.
const GATHER_BYTES: u64 = 96 << 20;

/// How far behind the index stays while it is [held back](Store::hold_index), in octets: less than what a start
/// keeps in memory of what it reads from the log, and so has not to apply first.
const HELD_BYTES_MAX: u64 = 160 << 20;

/// How much is applied between two flushes, in octets: the index holds it in memory until then.
const FLUSH_BYTES: u64 = 16 << 20;

/// How much of a backlog is still applied when the store is closed, in octets. The rest is in the
/// log, from where the next start reads it faster than the index takes it.
const CLOSE_BYTES: u64 = 8 << 20;

/// What the index lacks.
#[derive(Default)]
pub(super) struct Backlog {
    pub state: Mutex<BacklogState>,
    pub changed: Condvar,
}

#[derive(Default)]
pub(super) struct BacklogState {
    /// Transactions that came since somebody looked.
    came: usize,
    /// Octets of the transactions not yet applied.
    pub bytes: u64,
    exports: Vec<Export>,
    /// How many hold it back.
    pub holders: usize,
    closing: bool,
    /// The applier has ended.
    gone: bool,
}

/// The index is left behind while this is there.
pub struct IndexHeld(pub(super) Arc<Handle>);

impl IndexHeld {
    /// Waits until the index is no further behind than it stays while it is held back.
    pub fn settle(&self) {
        let backlog = &self.0.shared.backlog;
        let far = |state: &mut BacklogState| state.bytes >= HELD_BYTES_MAX && !state.gone;
        drop(backlog.changed.wait_while(held(&backlog.state), far));
    }
}

impl Drop for IndexHeld {
    fn drop(&mut self) {
        // The applier sees it when it next looks: who lets go may be about to close the store.
        held(&self.0.shared.backlog.state).holders -= 1;
    }
}

impl Store {
    /// Leaves the index behind until what is returned is dropped, as far as memory allows: for who brings in much at
    /// once, or reads all of it, and has better use for the processor. What the index lacks when the store is
    /// closed is in the log.
    pub fn hold_index(&self) -> IndexHeld {
        held(&self.handle.shared.backlog.state).holders += 1;
        IndexHeld(Arc::clone(&self.handle))
    }
}

/// An export asked for, and who waits for it.
struct Export {
    path: PathBuf,
    told: mpsc::SyncSender<Result<Summary, ExportError>>,
}

/// What the applier does next.
enum Work {
    Apply,
    Export(Export),
    /// Nothing came for a while.
    Rest,
    Close,
}

impl Backlog {
    /// Nobody is woken while there is time: whoever commits would pay for it each time.
    pub(super) fn add(&self, transactions: &[Transaction]) {
        let mut state = held(&self.state);
        state.bytes += transactions.iter().map(|transaction| transaction.bytes).sum::<u64>();
        state.came += transactions.len();
        if state.bytes >= GATHER_BYTES {
            self.changed.notify_all();
        }
    }

    pub(super) fn close(&self) {
        held(&self.state).closing = true;
        self.changed.notify_all();
    }

    /// Waits until nothing is applied any more; returns whether it came to that.
    pub(super) fn ends_within(&self, wait: Duration) -> bool {
        let works = |state: &mut BacklogState| !state.gone;
        let end = self.changed.wait_timeout_while(held(&self.state), wait, works);
        end.unwrap_or_else(PoisonError::into_inner).0.gone
    }

    /// Asks for an export of everything synced before the call.
    pub(super) fn export(&self, path: PathBuf) -> mpsc::Receiver<Result<Summary, ExportError>> {
        let (told, result) = mpsc::sync_channel(1);
        let mut state = held(&self.state);
        if !state.gone {
            state.exports.push(Export { path, told });
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    fn take(&self) -> Work {
        let mut state = held(&self.state);
        let mut waited = false;
        loop {
            let hurry = state.closing || !state.exports.is_empty() || state.bytes >= GATHER_BYTES;
            if state.closing && (state.bytes == 0 || state.bytes > CLOSE_BYTES) {
                return Work::Close;
            }
            let free = state.holders == 0 || !state.exports.is_empty() || state.closing;
            let rests = !free && state.bytes < HELD_BYTES_MAX;
            if state.bytes > 0 && (waited || hurry) && !rests {
                return Work::Apply;
            }
            if let Some(export) = state.exports.pop() {
                return Work::Export(export);
            }
            if waited {
                return Work::Rest;
            }
            state.came = 0;
            let wait = self.changed.wait_timeout(state, GATHER);
            let (back, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            state = back;
            waited = timeout.timed_out() && state.came == 0;
        }
    }
}

/// Lets go of whoever still waits when nothing is applied any more.
struct End<'b>(&'b Backlog);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = held(&self.0.state);
        state.gone = true;
        state.exports.clear();
        drop(state);
        self.0.changed.notify_all();
    }
}

/// The thread of the applier: works until the store is closed or the index fails.
pub(super) fn run_applier(shared: &Shared) {
    let _end = End(&shared.backlog);
    match apply_until_closed(shared) {
        // What could not be noted is looked for at the next start.
        Ok(()) => drop(shared.index.close().inspect_err(|error| {
            tracing::warn!(%error, "the next start looks through the index: {error}");
        })),
        Err(error) => shared.give_up_index(&error),
    }
}

fn apply_until_closed(shared: &Shared) -> Result<(), RowError> {
    let mut unflushed = 0u64;
    loop {
        match shared.backlog.take() {
            Work::Apply => {
                if !shared.wait_for_disk() {
                    return Ok(());
                }
                unflushed += shared.apply()?;
                if unflushed >= FLUSH_BYTES {
                    shared.index.flush()?;
                    unflushed = 0;
                }
            }
            Work::Export(export) => {
                let _ = export.told.send(shared.export(&export.path));
            }
            Work::Rest | Work::Close if unflushed > 0 => {
                shared.index.flush()?;
                unflushed = 0;
            }
            Work::Rest => {}
            Work::Close => return Ok(()),
        }
        shared.export_when_due();
    }
}

impl Shared {
    /// Waits until the disk has room for the index; returns whether it has, else the store is closing.
    ///
    /// The log leaves a reserve; the index may use half of it to catch up, and then waits: an index
    /// that met a full disk would have to be built anew, on a full disk.
    fn wait_for_disk(&self) -> bool {
        while self.files.free_bytes().unwrap_or(u64::MAX) < self.reserve / 2 {
            let state = held(&self.backlog.state);
            if state.closing {
                return false;
            }
            drop(self.backlog.changed.wait_timeout(state, GATHER));
        }
        true
    }

    /// Gives the index what has gathered, then lets readers find it there. Returns how much it was, in octets; if the
    /// store is closed meanwhile, the rest may stay in the log.
    fn apply(&self) -> Result<u64, RowError> {
        let Some(gathered) = self.write_synced().set_aside() else { return Ok(0) };
        let mut rows = gathered.rows.iter().peekable();
        while rows.peek().is_some() {
            let mut bytes = 0;
            let mut part = std::iter::from_fn(|| {
                let (key, value) = if bytes < FLUSH_BYTES { rows.next()? } else { return None };
                bytes += value.as_ref().map_or(0, |value| value.len() as u64);
                Some((key.clone(), value.clone()))
            });
            self.index.apply(&mut part, None)?;
            if rows.peek().is_some() {
                self.index.flush()?;
                if gathered.bytes > CLOSE_BYTES && held(&self.backlog.state).closing {
                    return Ok(0);
                }
            }
        }
        self.index.apply(&mut std::iter::empty(), Some(gathered.upto))?;
        self.applied.store(gathered.upto.0, Ordering::Release);
        let bytes = gathered.bytes;
        // Both are dropped at the end, when readers wait for nothing.
        let _gone = self.write_synced().let_go();
        held(&self.backlog.state).bytes -= bytes;
        self.backlog.changed.notify_all();
        Ok(bytes)
    }

    /// The rows applied up to now, as a file at `path`.
    fn export(&self, path: &std::path::Path) -> Result<Summary, ExportError> {
        let upto = Lsn(self.applied.load(Ordering::Acquire));
        backup::write(path, self.id, upto, &*self.index, self.reserve)
    }

    /// Exports and trims once the log has grown enough since the last export.
    fn export_when_due(&self) {
        let Some(exports) = &self.exports else { return };
        if held(&self.backlog.state).closing {
            return;
        }
        let mut exports = held(exports);
        let log = self.figures.appended_bytes.load(Ordering::Relaxed);
        if !exports.due(log, self.export_log_bytes)
            || Lsn(self.applied.load(Ordering::Acquire)) <= exports.newest()
        {
            return;
        }
        let path = exports.path(Lsn(self.applied.load(Ordering::Acquire)));
        match self.export(&path) {
            Ok(summary) => {
                let trim = exports.add(&summary, log);
                self.trim(trim);
            }
            Err(error) => {
                exports.postpone(log);
                tracing::error!(%error, "the store was not exported; its log goes on growing");
            }
        }
    }

    /// Passes `result` on; if it says that the index is broken, that is the end of writing.
    pub(super) fn trusting<T>(&self, result: Result<T, RowError>) -> Result<T, RowError> {
        if let Err(error @ RowError::Index(_)) = &result {
            self.give_up_index(error);
        }
        result
    }

    /// The index is no use any more: writes stop, and the next start builds it anew.
    fn give_up_index(&self, error: &RowError) {
        let mut condition = held(&self.condition);
        if matches!(*condition, Condition::Failed(_)) {
            return;
        }
        let why = format!("{error}; a restart builds it anew");
        tracing::error!(%why, "writes have stopped");
        if let Some(mark) = &self.rebuild_mark {
            let _ = super::files::replace(mark, why.as_bytes());
        }
        *condition = Condition::Failed(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(lsn: u64, bytes: u64) -> Transaction {
        Transaction { lsn: Lsn(lsn), ops: Arc::new([]), bytes }
    }

    #[test]
    fn an_index_held_back_rests_until_memory_runs_short_or_it_is_let_go() {
        let backlog = Backlog::default();
        held(&backlog.state).holders = 1;

        backlog.add(&[transaction(1, GATHER_BYTES)]);
        assert!(matches!(backlog.take(), Work::Rest));
        backlog.add(&[transaction(2, HELD_BYTES_MAX)]);
        assert!(matches!(backlog.take(), Work::Apply));

        held(&backlog.state).bytes = 0;
        backlog.add(&[transaction(3, GATHER_BYTES)]);
        assert!(matches!(backlog.take(), Work::Rest));
        held(&backlog.state).holders = 0;
        assert!(matches!(backlog.take(), Work::Apply));
    }

    #[test]
    fn an_index_held_back_is_brought_up_to_date_for_an_export() {
        let backlog = Backlog::default();
        held(&backlog.state).holders = 1;
        backlog.add(&[transaction(1, 1)]);

        let _told = backlog.export(PathBuf::new());

        assert!(matches!(backlog.take(), Work::Apply));
        held(&backlog.state).bytes = 0;
        assert!(matches!(backlog.take(), Work::Export(_)));
    }
}
