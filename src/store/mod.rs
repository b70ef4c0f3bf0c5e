//! Durable state: tables of rows, changed by transactions, each one record of a log.
//!
//! The log is the truth. A transaction is one record, synced before it is acknowledged; what the
//! records add up to is kept in an index (sled) that can be rebuilt from an export and the log.
//!
//! Promises: what was acknowledged is there after a crash, whole and in order; nothing of what was
//! not acknowledged is there by halves; readers see only what is synced. When the disk fails or is
//! full, transactions are refused with the reason, and reads go on.
//!
//! Does not: know what the rows mean, nor the time of day.
//!
//! ```
//! use nameplane::store::{RowError, Rows, Store, Table};
//! const NICKNAMES: Table<u32, String> = Table::new("nicknames", *b"nn");
//!
//! let store = Store::in_memory();
//! store.transact(|tx| tx.put(&NICKNAMES, &7, &"seven".into())).expect("it fits");
//! assert_eq!(store.read(|rows| rows.get(&NICKNAMES, &7))?, Some("seven".into()));
//! # Ok::<(), RowError>(())
//! ```

mod above;
mod apply;
mod backup;
mod error;
mod files;
mod follow;
mod group;
mod in_memory;
mod index;
mod key;
mod leaf;
mod lock;
mod log;
mod migrate;
mod noted;
mod recover;
mod rows;
mod scan;
mod seen;
mod segment;
mod sorted;
mod table;
mod transact;
mod tx;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use apply::IndexHeld;
pub use backup::{EXPORT_LOG_BYTES, EXPORTS_KEPT, ExportError, Summary};
pub use error::{Holder, OpenError, RowError, TransactError, WriteError};
pub use follow::{Change, Follow, FollowError};
pub use index::CACHE_BYTES;
pub use key::{Key, Tail};
pub use log::LOG_SEGMENT_BYTES;
pub use migrate::Migration;
pub use recover::FORMAT;
pub use rows::{Octets, RawRows, Rows, Run, Visit};
pub use scan::LogReport;
pub use segment::RECORD_BODY_BYTES;
pub use table::{Older, Piece, Raw, Table, Value};
pub use tx::{Reader, Savepoint, Tx};
pub use verify::{ImportError, IndexReport, Report, cut, import, is_there, verify};

use above::Synced;
use apply::Backlog;
use files::{Files, Memory, held};
use group::Queue;
use in_memory::InMemory;
use index::Index;
use log::{Bounds, Log, Transaction};
use recover::Ground;
use transact::Writer;

/// The longest key, in octets as kept: room for an escaped owner name and more.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest value, in octets: an RRset of 64 KiB with its signatures, an event with its data.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The largest transaction, in octets: it is held in memory until the index has it.
pub const TRANSACTION_BYTES_MAX: u64 = 1 << 30;

/// How far the index may be behind, in octets held in memory; beyond it transactions wait.
pub const BACKLOG_BYTES_MAX: u64 = 512 << 20;

/// What is left free on the file system unless [`Options`] say otherwise, in octets.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// How long a close waits for the index to come to an end; what it lacks then the next start reads from the log.
const CLOSE_WAIT: Duration = Duration::from_secs(60);

/// The number of a transaction in the log: dense, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// Whether the store takes transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Writing,
    /// Reads go on; every transaction is refused with this reason.
    Stopped {
        why: String,
    },
}

/// Where a store is and what bounds it.
#[derive(Debug, Clone)]
pub struct Options {
    pub dir: PathBuf,
    /// What a second server on the directory is told about how to reach this one.
    pub hint: Option<String>,
    /// Steps that bring rows of older releases to what this one reads, in order of number.
    pub migrations: &'static [Migration],
    /// A clock that only goes forward, for the figures in [`Stats`] alone.
    pub clock: fn() -> Duration,
    /// Octets that are left free on the file system.
    pub reserve_bytes: u64,
    /// Where a segment of the log ends, in octets.
    pub log_segment_bytes: u64,
    /// How much log makes an export due, in octets; more if the last export was larger.
    pub export_log_bytes: u64,
    /// How much of a transaction one record of the log takes, in octets; at most
    /// [`RECORD_BODY_BYTES`].
    pub log_record_bytes: usize,
}

impl From<&Options> for Bounds {
    fn from(options: &Options) -> Bounds {
        Bounds {
            segment_bytes: options.log_segment_bytes,
            record_bytes: options.log_record_bytes.min(RECORD_BODY_BYTES),
            reserve: options.reserve_bytes,
        }
    }
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            hint: None,
            migrations: &[],
            clock: || Duration::ZERO,
            reserve_bytes: RESERVE_BYTES,
            log_segment_bytes: LOG_SEGMENT_BYTES,
            export_log_bytes: EXPORT_LOG_BYTES,
            log_record_bytes: RECORD_BODY_BYTES,
        }
    }
}

/// What the store did since it was opened, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The last transaction that is durable.
    pub synced: Lsn,
    /// The last one the index has.
    pub applied: Lsn,
    /// Transactions made durable.
    pub transactions: u64,
    /// In how many groups: each cost one sync.
    pub groups: u64,
    /// What writing and syncing them took, by [`Options::clock`].
    pub append: Duration,
    /// Octets of the log on disk.
    pub log_bytes: u64,
    /// Octets the index lacks, held in memory.
    pub backlog_bytes: u64,
}

/// The open store. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

/// What all clones share, and what ends with them.
struct Handle {
    shared: Arc<Shared>,
    applier: Mutex<Option<JoinHandle<()>>>,
}

/// Whether transactions are taken, and whether that may change.
enum Condition {
    Writing,
    /// Nothing was lost; it is tried again once there is room.
    NoRoom(String),
    Failed(String),
}

#[derive(Default)]
struct Figures {
    transactions: AtomicU64,
    groups: AtomicU64,
    append_ns: AtomicU64,
    log_bytes: AtomicU64,
    /// Octets appended to the log; what is counted at the start is what follows the newest export.
    appended_bytes: AtomicU64,
}

/// What callers and the applier share.
struct Shared {
    writer: Mutex<Writer>,
    queue: Queue,
    /// There from the start on. Held by whoever leads.
    log: Mutex<Option<Log>>,
    /// Synced rows the index does not have yet.
    synced: RwLock<Synced>,
    /// The last transaction in them.
    visible: AtomicU64,
    backlog: Backlog,
    applied: AtomicU64,
    condition: Mutex<Condition>,
    progress: Arc<follow::Progress>,
    figures: Figures,
    clock: fn() -> Duration,
    reserve: u64,
    close_wait: Duration,
    export_log_bytes: u64,
    id: u64,
    exports: Option<Mutex<backup::Exports>>,
    rebuild_mark: Option<PathBuf>,
    files: Arc<dyn Files>,
    index: Box<dyn Index>,
    /// Let go of last.
    lock: Option<lock::Lock>,
}

impl Store {
    /// Opens the data directory, or makes one; brings it to the state of its log.
    ///
    /// # Errors
    ///
    /// [`OpenError::Held`] by another process, [`OpenError::Newer`] than this release,
    /// [`OpenError::Damaged`] where starting would lose what was acknowledged.
    pub fn open(options: &Options) -> Result<Store, OpenError> {
        Store::open_held(options).map(|(store, _)| store)
    }

    /// As [`Store::open`], with the index [left behind](Store::hold_index) from the first moment: what an
    /// import has left in the log is enough for the applier to begin at once.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_held(options: &Options) -> Result<(Store, IndexHeld), OpenError> {
        Store::open_on(options, None)
    }

    /// As [`Store::open_held`], the log in `files`.
    fn open_on(
        options: &Options,
        files: Option<Arc<dyn Files>>,
    ) -> Result<(Store, IndexHeld), OpenError> {
        let files = match files {
            Some(files) => files,
            None => recover::log_files(&options.dir)?,
        };
        let ground = recover::open(options, files.clone())?;
        let Ground { id, lock, log, index, applied, lag, exports, rebuild_mark } = ground;
        let (end, since_export) = (log.end(), log.bytes_after(exports.newest()));
        let mut shared = Shared {
            export_log_bytes: options.export_log_bytes,
            clock: options.clock,
            reserve: options.reserve_bytes,
            id,
            exports: Some(Mutex::new(exports)),
            rebuild_mark: Some(rebuild_mark),
            lock: Some(lock),
            ..Shared::over(files, index)
        };
        shared.figures.appended_bytes = AtomicU64::new(since_export);
        shared.continue_after(end, applied);
        held(&shared.backlog.state).holders = 1;
        let store = Store::start(shared, log, &lag);
        let index = IndexHeld(Arc::clone(&store.handle));
        migrate::migrate(&store, &options.dir, options.migrations, end)?;
        Ok((store, index))
    }

    /// A store that keeps nothing when dropped: for tests and demonstrations.
    pub fn in_memory() -> Store {
        let files: Arc<dyn Files> = Arc::new(Memory::default());
        let log = Log::create(files.clone(), 0, Lsn(1), Bounds::from(&Options::new("")));
        let log = log.expect("memory takes a segment's header");
        Store::start(Shared::over(files, Box::<InMemory>::default()), log, &[])
    }

    fn start(shared: Shared, log: Log, lag: &[Transaction]) -> Store {
        shared.progress.reach(log.end());
        shared.figures.log_bytes.store(log.bytes(), Ordering::Relaxed);
        shared.show(lag);
        let shared = Arc::new(Shared { log: Mutex::new(Some(log)), ..shared });
        let applier = thread::Builder::new().name("store-index".into()).spawn({
            let shared = shared.clone();
            move || apply::run_applier(&shared)
        });
        let applier = applier.expect("the system has room for a thread");
        Store { handle: Arc::new(Handle { shared, applier: Mutex::new(Some(applier)) }) }
    }

    /// Tells a second server on the directory how to reach this one, e.g. `http://127.0.0.1:8080`.
    pub fn set_hint(&self, hint: &str) {
        if let Some(Err(error)) = self.handle.shared.lock.as_ref().map(|lock| lock.say(Some(hint)))
        {
            tracing::warn!(%error, "the lock file does not say how to reach this server");
        }
    }

    /// Whether transactions are taken.
    pub fn state(&self) -> State {
        match &*held(&self.handle.shared.condition) {
            Condition::Writing => State::Writing,
            Condition::NoRoom(why) | Condition::Failed(why) => State::Stopped { why: why.clone() },
        }
    }

    pub fn stats(&self) -> Stats {
        let shared = &*self.handle.shared;
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Stats {
            synced: shared.progress.synced(),
            applied: Lsn(shared.applied.load(Ordering::Acquire)),
            transactions: read(&shared.figures.transactions),
            groups: read(&shared.figures.groups),
            append: Duration::from_nanos(read(&shared.figures.append_ns)),
            log_bytes: read(&shared.figures.log_bytes),
            backlog_bytes: held(&shared.backlog.state).bytes,
        }
    }

    /// Closes the store while clones of it are still held: what is written from now on is in the log, and the
    /// index takes nothing more. It also is closed when the last clone is dropped.
    pub fn close(&self) {
        self.handle.close();
    }

    /// Follows the log: every transaction after `since`, in order.
    pub fn follow(&self, since: Lsn) -> Follow {
        let shared = &*self.handle.shared;
        Follow::new(shared.files.clone(), shared.progress.clone(), since)
    }

    /// Writes every row synced before the call to a file at `path`, and verifies it.
    ///
    /// Transactions go on meanwhile.
    pub fn export(&self, path: &Path) -> Result<Summary, ExportError> {
        let told = self.handle.shared.backlog.export(path.to_owned());
        told.recv().unwrap_or(Err(ExportError::Closed))
    }
}

impl Shared {
    /// A store on `files` and `index` that has seen nothing.
    fn over(files: Arc<dyn Files>, index: Box<dyn Index>) -> Shared {
        Shared {
            writer: Mutex::default(),
            queue: Queue::default(),
            log: Mutex::default(),
            synced: RwLock::default(),
            visible: AtomicU64::default(),
            backlog: Backlog::default(),
            applied: AtomicU64::default(),
            condition: Mutex::new(Condition::Writing),
            progress: Arc::default(),
            figures: Figures::default(),
            clock: || Duration::ZERO,
            reserve: 0,
            close_wait: CLOSE_WAIT,
            export_log_bytes: EXPORT_LOG_BYTES,
            id: 0,
            exports: None,
            rebuild_mark: None,
            files,
            index,
            lock: None,
        }
    }

    /// Goes on where the log ends at `end` and the index is at `applied`.
    fn continue_after(&mut self, end: Lsn, applied: Lsn) {
        self.writer = Mutex::new(Writer::after(end));
        self.visible = AtomicU64::new(end.0);
        self.applied = AtomicU64::new(applied.0);
    }
}

impl Handle {
    fn close(&self) {
        self.shared.backlog.close();
        let me = thread::current().id();
        // The last clone of a store may go with what follows a transaction: nobody waits for himself.
        let applier = held(&self.applier).take();
        let Some(applier) = applier.filter(|applier| applier.thread().id() != me) else { return };
        if self.shared.backlog.ends_within(self.shared.close_wait) {
            // A panic in it was shown when it happened.
            let _ = applier.join();
        } else {
            let waited = self.shared.close_wait.as_secs();
            tracing::error!(
                "the index did not end in {waited} s and is left; the log has all of it"
            );
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
pub(crate) mod brake;

#[cfg(test)]
mod crash;

#[cfg(test)]
mod faulty;

#[cfg(test)]
mod tests;
