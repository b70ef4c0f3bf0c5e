//! Opening a data directory: find what is sound, build the rest from it.
//!
//! ```text
//! format             what this directory is: format number and id
//! lock               held by the server; says who it is
//! log/               the truth, from some transaction on
//! exports/           the truth up to some transactions
//! index/             what they add up to; put aside as index.bad-… when anything is wrong with it
//! ```
//! The log must be sound and go on from the newest usable export, or from the beginning. The index
//! may be old, gone or broken: what it lacks comes from the log, and what cannot be trusted is built
//! anew.

use std::fs;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::UNIX_EPOCH;

use ring::rand::{SecureRandom, SystemRandom};

use super::backup::{self, Exports, Summary};
use super::error::{OpenError, RowError};
use super::files::{Disk, Files, replace, sync_directory};
use super::index::{Index, Sled, Unfit};
use super::lock::{Lock, LockError};
use super::log::{Bounds, Log, Transaction};
use super::scan::LogError;
use super::segment::Op;
use super::sorted::Sorted;
use super::{Lsn, Options};

/// The newest format of a data directory this release reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// How many indexes put aside are kept, for whoever wants to know what happened.
const ASIDE_KEPT: usize = 2;

/// How much of the log is applied at once while catching up, in octets; the last run of at most this
/// much stays in memory and is applied while the server already works.
const CATCH_UP_BYTES: u64 = super::BACKLOG_BYTES_MAX / 2;

/// How much goes into a new index between two flushes, in octets.
const BUILD_FLUSH_BYTES: u64 = 16 << 20;

/// Everything an open store stands on.
pub(super) struct Ground {
    pub id: u64,
    pub lock: Lock,
    pub log: Log,
    pub index: Box<dyn Index>,
    pub applied: Lsn,
    /// What the index still lacks.
    pub lag: Vec<Transaction>,
    pub exports: Exports,
    pub rebuild_mark: PathBuf,
}

/// The places in a data directory.
pub(super) struct Places {
    pub dir: PathBuf,
}

impl Places {
    pub(super) fn of(dir: &Path) -> Places {
        Places { dir: dir.to_owned() }
    }
    pub(super) fn format(&self) -> PathBuf {
        self.dir.join("format")
    }
    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
    pub(super) fn exports(&self) -> PathBuf {
        self.dir.join("exports")
    }
    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index")
    }
    fn rebuild_mark(&self) -> PathBuf {
        self.dir.join("rebuild-index")
    }
}

/// Says what was being done.
pub(super) fn doing<T>(result: io::Result<T>, what: &str, path: &Path) -> Result<T, OpenError> {
    result.map_err(|source| OpenError::Io { what: format!("{what} {}", path.display()), source })
}

/// The files of the log in a data directory, which is made if it is not there.
pub(super) fn log_files(dir: &Path) -> Result<Arc<dyn Files>, OpenError> {
    let log = Places::of(dir).log();
    Ok(Arc::new(doing(Disk::at(&log), "making", &log)?))
}

/// Takes the directory and brings it to the state of its log.
pub(super) fn open(options: &Options, files: Arc<dyn Files>) -> Result<Ground, OpenError> {
    let places = Places::of(&options.dir);
    doing(fs::create_dir_all(&places.dir), "making", &places.dir)?;
    let lock = take_lock(&places, options.hint.as_deref())?;
    let bounds = Bounds::from(options);
    let faulty = |error| from_log(error, &places.dir);
    let (id, mut log) = match read_marker(&places)? {
        Some(id) => match Log::find(files, id, bounds).map_err(faulty)? {
            Some(log) => (id, log),
            None => return Err(damaged(&places, "it is gone".into())),
        },
        None => begin(&places, files, bounds)?,
    };
    let exports = doing(Exports::find(&places.exports(), id), "reading", &places.exports())?;
    let (index, applied, lag) = find_index(&places, &mut log, &exports, id)?;
    doing(log.tidy(), "tidying", &places.log())?;
    let rebuild_mark = places.rebuild_mark();
    Ok(Ground { id, lock, log, index, applied, lag, exports, rebuild_mark })
}

pub(super) fn take_lock(places: &Places, hint: Option<&str>) -> Result<Lock, OpenError> {
    Lock::take(&places.lock(), hint).map_err(|error| match error {
        LockError::Held(holder) => OpenError::Held { dir: places.dir.clone(), holder },
        LockError::Io(source) => {
            OpenError::Io { what: format!("locking {}", places.dir.display()), source }
        }
    })
}

fn damaged(places: &Places, what: String) -> OpenError {
    OpenError::Damaged { dir: places.dir.clone(), what }
}

pub(super) fn from_log(error: LogError, dir: &Path) -> OpenError {
    let dir = dir.to_owned();
    match error {
        LogError::Newer(found) => OpenError::Newer { dir, found, known: super::segment::FORMAT },
        LogError::Damaged(what) => OpenError::Damaged { dir, what },
        LogError::Io { what, source } => OpenError::Io { what, source },
    }
}

const TITLE: &str = "nameplane data directory";

/// The id in the directory's marker; none if there is no marker.
pub(super) fn read_marker(places: &Places) -> Result<Option<u64>, OpenError> {
    let text = match fs::read_to_string(places.format()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return doing(Err(error), "reading", &places.format()),
    };
    let mut lines = text.lines();
    let foreign = || OpenError::Foreign {
        dir: places.dir.clone(),
        what: "its file format is not ours".into(),
    };
    if lines.next() != Some(TITLE) {
        return Err(foreign());
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let format: u32 = field("format").and_then(|number| number.parse().ok()).ok_or_else(foreign)?;
    if format > FORMAT {
        return Err(OpenError::Newer { dir: places.dir.clone(), found: format, known: FORMAT });
    }
    let id = field("id").and_then(|id| u64::from_str_radix(id, 16).ok());
    id.map(Some).ok_or_else(foreign)
}

/// Writes the marker: from now on this is a data directory.
pub(super) fn write_marker(places: &Places, id: u64) -> Result<(), OpenError> {
    let text = format!("{TITLE}\nformat {FORMAT}\nid {id:016x}\n");
    doing(replace(&places.format(), text.as_bytes()), "writing", &places.format())
}

/// A number no other data directory has.
pub(super) fn new_id() -> Result<u64, OpenError> {
    let mut octets = [0; 8];
    let filled = SystemRandom::new().fill(&mut octets);
    let source = io::Error::other("the system gave no random octets");
    filled.map_err(|_| OpenError::Io { what: "making an id".into(), source })?;
    Ok(u64::from_be_bytes(octets))
}

/// Makes a data directory. The marker comes last: a crash before it leaves nothing to keep.
fn begin(places: &Places, files: Arc<dyn Files>, bounds: Bounds) -> Result<(u64, Log), OpenError> {
    for name in doing(files.list(), "reading", &places.log())? {
        let file = doing(files.open(&name), "opening", &places.log())?;
        if doing(file.bytes(), "reading", &places.log())? > super::segment::SEGMENT_HEADER as u64 {
            let what = "it has a log, but no file format".into();
            return Err(OpenError::Foreign { dir: places.dir.clone(), what });
        }
        doing(files.remove(&name), "removing from", &places.log())?;
    }
    let id = new_id()?;
    let log =
        Log::create(files, id, Lsn(1), bounds).map_err(|error| from_log(error, &places.dir))?;
    doing(sync_directory(&places.dir), "syncing", &places.dir)?;
    write_marker(places, id)?;
    Ok((id, log))
}

type Found = (Box<dyn Index>, Lsn, Vec<Transaction>);

/// Opens the index and reads from the log what it lacks; builds a new one if it is no good.
fn find_index(
    places: &Places,
    log: &mut Log,
    exports: &Exports,
    id: u64,
) -> Result<Found, OpenError> {
    let why = match try_index(places, log, exports, id)? {
        Ok(found) => return Ok(found),
        Err(Unfit::Missing) => None,
        Err(Unfit::Broken(why)) => Some(why),
        Err(Unfit::Busy(source)) => {
            return doing(Err(source), "opening", &places.index());
        }
    };
    if let Some(why) = why {
        put_aside(places, &why)?;
    }
    let (index, base) = build(places, log, exports, id)?;
    let lag = catch_up(log, &index, base).map_err(|error| from_log(error, &places.dir))?;
    let lag = lag.map_err(|error| damaged(places, error.to_string()))?;
    if base > log.end() {
        let what = format!("it ends at transaction {}, an export holds {}", log.end().0, base.0);
        return Err(damaged(places, what));
    }
    doing(remove_if_there(&places.rebuild_mark()), "removing", &places.rebuild_mark())?;
    let applied = lag.first().map_or(log.end(), |transaction| Lsn(transaction.lsn.0 - 1));
    Ok((Box::new(index), applied, lag))
}

/// Opens the index there is and catches up; the inner result says what is wrong with the index.
fn try_index(
    places: &Places,
    log: &mut Log,
    exports: &Exports,
    id: u64,
) -> Result<Result<Found, Unfit>, OpenError> {
    if let Ok(why) = fs::read_to_string(places.rebuild_mark()) {
        return Ok(Err(Unfit::Broken(why)));
    }
    let (index, applied) = match Sled::open(&places.index(), id) {
        Ok(found) => found,
        Err(unfit) => return Ok(Err(unfit)),
    };
    if applied.0 + 1 < log.first().0 {
        let why =
            format!("it is at transaction {}, the log begins at {}", applied.0, log.first().0);
        return Ok(Err(Unfit::Broken(why)));
    }
    let leaves = index.take_leaves(id, applied);
    doing(leaves, "taking the list of leaves of", &places.index())?;
    // To find the leaves takes as long as to read the log.
    let (found, lag) = thread::scope(|scope| {
        let found = scope.spawn(|| index.find_leaves().map(drop));
        let lag = catch_up(log, &index, applied);
        (found.join().unwrap_or_else(|panic| resume_unwind(panic)), lag)
    });
    let lag = match lag {
        // An export may hold what the log has lost.
        Err(LogError::Damaged(what)) if exports.usable(Lsn(applied.0 + 1)).is_some() => {
            return Ok(Err(Unfit::Broken(format!("it is older than an export, and {what}"))));
        }
        lag => lag.map_err(|error| from_log(error, &places.dir))?,
    };
    if applied > log.end() {
        let why = format!("it is at transaction {}, the log ends at {}", applied.0, log.end().0);
        return Ok(Err(Unfit::Broken(why)));
    }
    match found.and(lag) {
        Ok(lag) => {
            let applied = lag.first().map_or(log.end(), |transaction| Lsn(transaction.lsn.0 - 1));
            Ok(Ok((Box::new(index), applied, lag)))
        }
        Err(error) => Ok(Err(Unfit::Broken(error.to_string()))),
    }
}

/// Reads the log after `applied`. Applies all but the last of it; that is returned.
fn catch_up(
    log: &mut Log,
    index: &Sled,
    applied: Lsn,
) -> Result<Result<Vec<Transaction>, RowError>, LogError> {
    let (mut lag, mut bytes, mut fault) = (Vec::new(), 0u64, None);
    log.replay(applied, &mut |lsn, ops| {
        let transaction = Transaction::new(lsn, ops);
        bytes += transaction.bytes;
        lag.push(transaction);
        if bytes >= CATCH_UP_BYTES && fault.is_none() {
            fault = apply(index, &std::mem::take(&mut lag)).err();
            bytes = 0;
        }
    })?;
    Ok(fault.map_or(Ok(lag), Err))
}

fn apply(index: &Sled, run: &[Transaction]) -> Result<(), RowError> {
    let upto = run.last().map(|transaction| transaction.lsn);
    let net: Sorted<_> =
        run.iter().flat_map(|transaction| transaction.ops.iter().cloned()).collect();
    let mut ops = net.into_iter().peekable();
    while ops.peek().is_some() {
        let mut bytes = 0;
        let mut part: Vec<Op> = Vec::new();
        while bytes < BUILD_FLUSH_BYTES
            && let Some(op) = ops.next()
        {
            bytes += op.1.as_ref().map_or(0, |value| value.len()) as u64;
            part.push(op);
        }
        index.apply(&mut part.into_iter(), None)?;
        index.flush()?;
    }
    index.apply(&mut std::iter::empty(), upto)
}

/// Builds an index from the newest export the log goes on from, or empty if the log is whole.
fn build(places: &Places, log: &Log, exports: &Exports, id: u64) -> Result<(Sled, Lsn), OpenError> {
    let export = exports.usable(Lsn(log.first().0 - 1));
    if export.is_none() && log.first() > Lsn(1) {
        let first = log.first().0;
        let what = format!("it begins at transaction {first}, and no export is sound up to there");
        return Err(damaged(places, what));
    }
    match fill(&places.index(), export.as_ref(), id) {
        Ok(built) => {
            doing(sync_directory(&places.dir), "syncing", &places.dir)?;
            Ok(built)
        }
        Err(error) => {
            let source = io::Error::other(error.to_string());
            doing(Err(source), "building the index in", &places.index())
        }
    }
}

fn fill(dir: &Path, export: Option<&Summary>, id: u64) -> Result<(Sled, Lsn), backup::ExportError> {
    let index = Sled::create(dir)?;
    let mut base = Lsn(0);
    if let Some(export) = export {
        tracing::info!(rows = export.rows, "building the index from {}", export.path.display());
        let mut unflushed = 0;
        backup::read(&export.path, &mut |rows| {
            unflushed +=
                rows.iter().map(|row| row.1.as_ref().map_or(0, |value| value.len())).sum::<usize>()
                    as u64;
            index.apply(&mut rows.into_iter(), None)?;
            if unflushed >= BUILD_FLUSH_BYTES {
                unflushed = 0;
                index.flush()?;
            }
            Ok(())
        })?;
        base = export.lsn;
    }
    index.finish(id, base)?;
    Ok((index, base))
}

/// Moves the index out of the way, with the reason, under the time of its last change.
fn put_aside(places: &Places, why: &str) -> Result<(), OpenError> {
    let index = places.index();
    tracing::warn!(why, "the index is put aside and built anew");
    if !index.exists() {
        return Ok(());
    }
    let changed = fs::metadata(index.join("db")).or_else(|_| fs::metadata(&index));
    let changed = changed.and_then(|metadata| metadata.modified());
    let at = changed.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let at = at.map_or(0, |since| since.as_secs());
    let name = |turn: u32| match turn {
        0 => places.dir.join(format!("index.bad-{at}")),
        turn => places.dir.join(format!("index.bad-{at}-{turn}")),
    };
    let aside = (0..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    doing(fs::rename(&index, &aside), "putting aside", &index)?;
    // The reason is a help, the directory is what matters.
    let _ = fs::write(aside.join("why"), why);
    doing(sync_directory(&places.dir), "syncing", &places.dir)?;
    drop_oldest_aside(&places.dir);
    Ok(())
}

/// Removes all but the newest indexes put aside. One that stays only takes room.
fn drop_oldest_aside(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut aside: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("index.bad-"))
        .map(|entry| (entry.metadata().and_then(|metadata| metadata.modified()).ok(), entry.path()))
        .collect();
    aside.sort();
    for (_, path) in aside.iter().rev().skip(ASIDE_KEPT) {
        let _ = fs::remove_dir_all(path);
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
