//! The index: what the log's transactions add up to, up to one of them. sled, held on a short rope.
//!
//! sled 0.34 can lose or lock up what it holds, so nothing depends on it: each value carries a CRC
//! over key and value, a canary and the last applied transaction say whose index it is and how far it
//! got, and whatever is wrong ends with the directory put aside and built anew (see
//! [`recover`](super::recover)). One tree, one writer, small batches, no transactions of its own, no
//! value long enough to leave its log. `flush` of sled does not reach the disk: a second descriptor on
//! its file does.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Lsn;
use super::error::RowError;
use super::files::held;
use super::rows::{Layer, Octets, Run};
use super::segment::Op;

/// Operations of one sled batch: larger ones pin memory, and readers wait for one.
const BATCH_OPS: usize = 250;

/// Octets kept in one sled value. A leaf holds up to 17 rows; together they must stay below a quarter
/// of a sled segment (512 KiB), or sled moves them to files of their own, which it never syncs.
const PART_BYTES: usize = 5 << 10;

/// sled's page cache, in octets as they are on disk.
pub const CACHE_BYTES: u64 = 128 << 20;

/// How long sled may take to let go of its files.
const LET_GO_MS: u32 = 10_000;

const CANARY: &[u8] = b"\0canary";
const APPLIED: &[u8] = b"\0applied";
/// What the keys of the parts of long values begin with; tables begin with letters.
const PART: u8 = 1;

const SHORT: u8 = 0;
const LONG: u8 = 1;

/// The rows up to one transaction.
pub(super) trait Index: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError>;
    fn rows<'a>(&'a self, run: Run<'_>, back: bool) -> Layer<'a>;
    /// Applies `ops`, then says that everything up to `upto` is.
    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, upto: Option<Lsn>) -> Result<(), RowError>;
    /// Makes what was applied durable.
    fn flush(&self) -> Result<(), RowError>;
}

/// The index on disk.
pub(super) struct Sled {
    tree: sled::Db,
    file: DbFile,
    /// The keys of long values and how many parts each has.
    long: Mutex<HashMap<Octets, u16>>,
    /// Backwards iteration and writing keep out of each other's way.
    turn: RwLock<()>,
}

/// Sled's file. Stands behind the tree, so that it is dropped after it.
struct DbFile(File);

impl Drop for DbFile {
    /// Waits until sled has let go of its files: its threads do so a little after the last handle
    /// went, and whoever opens the directory next must find it free and still.
    fn drop(&mut self) {
        for _ in 0..LET_GO_MS {
            match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
        tracing::warn!("sled still holds its files {LET_GO_MS} ms after it was told to end");
    }
}

/// Why an index directory is not used.
#[derive(Debug)]
pub(super) enum Unfit {
    Missing,
    Broken(String),
    /// Not the index's fault: its files cannot be opened now.
    Busy(io::Error),
}

fn failed(error: impl std::fmt::Display) -> RowError {
    RowError::Index(error.to_string())
}

/// Runs `f` on sled, whose panics are failures like others.
fn guarded<T>(f: impl FnOnce() -> Result<T, RowError>) -> Result<T, RowError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(failed(what_panicked(&*panic))))
}

/// The words of a panic.
pub(super) fn what_panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

/// Whether the system refused, rather than the files being wrong.
fn outside(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let refused = [OutOfMemory, PermissionDenied, ReadOnlyFilesystem, StorageFull];
    let descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    refused.contains(&error.kind())
        || descriptors.contains(&error.raw_os_error())
        || error.to_string().contains("could not acquire lock")
}

impl Sled {
    /// Makes an empty index in `dir`, which must not exist. It is none before [`Sled::finish`].
    pub(super) fn create(dir: &Path) -> Result<Sled, RowError> {
        Sled::start(dir).map_err(|unfit| match unfit {
            Unfit::Broken(why) => failed(why),
            Unfit::Busy(error) => failed(error),
            Unfit::Missing => failed("no directory"),
        })
    }

    /// Says whose index this is and how far it is: all that was applied to it is durable then.
    pub(super) fn finish(&self, canary: u64, upto: Lsn) -> Result<(), RowError> {
        self.flush()?;
        self.write(vec![
            (CANARY.to_vec(), Some(canary.to_be_bytes().to_vec())),
            (APPLIED.to_vec(), Some(upto.0.to_be_bytes().to_vec())),
        ])?;
        self.flush()
    }

    /// Opens the index in `dir`; it must be this directory's. Returns how far it is.
    pub(super) fn open(dir: &Path, canary: u64) -> Result<(Sled, Lsn), Unfit> {
        if !dir.join("db").exists() {
            return Err(Unfit::Missing);
        }
        // A snapshot whose writing was interrupted is taken for a damaged one by sled.
        remove_unfinished(dir).map_err(|error| Unfit::Broken(error.to_string()))?;
        let broken = |error: RowError| Unfit::Broken(error.to_string());
        let index = Sled::start(dir)?;
        let word = |key: &[u8]| {
            let octets = guarded(|| index.tree.get(key).map_err(failed)).map_err(broken)?;
            let octets = octets.and_then(|octets| octets.as_ref().try_into().ok());
            octets
                .map(u64::from_be_bytes)
                .ok_or_else(|| Unfit::Broken("its first rows are gone".into()))
        };
        if word(CANARY)? != canary {
            return Err(Unfit::Broken("it belongs to another data directory".into()));
        }
        let applied = Lsn(word(APPLIED)?);
        index.find_long().map_err(broken)?;
        Ok((index, applied))
    }

    fn start(dir: &Path) -> Result<Sled, Unfit> {
        let config = sled::Config::default()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(Some(500));
        let tree = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(tree)) => tree,
            Ok(Err(sled::Error::Io(error))) if outside(&error) => return Err(Unfit::Busy(error)),
            Ok(Err(error)) => return Err(Unfit::Broken(error.to_string())),
            Err(panic) => return Err(Unfit::Broken(what_panicked(&*panic))),
        };
        let file = DbFile(File::open(dir.join("db")).map_err(Unfit::Busy)?);
        Ok(Sled { tree, file, long: Mutex::default(), turn: RwLock::default() })
    }

    fn find_long(&self) -> Result<(), RowError> {
        let mut long = held(&self.long);
        guarded(|| {
            for row in self.tree.scan_prefix([PART]) {
                let (key, _) = row.map_err(failed)?;
                if let Some((key, number)) =
                    key.get(3..).and_then(|rest| rest.split_last_chunk::<2>())
                {
                    let parts = long.entry(key.into()).or_default();
                    *parts = (*parts).max(u16::from_be_bytes(*number) + 1);
                }
            }
            Ok(())
        })
    }

    /// Turns a kept value back into what was put.
    fn read(&self, key: &[u8], kept: &[u8]) -> Result<Octets, RowError> {
        let damaged =
            || RowError::Index(format!("the value of key {} is damaged", key.escape_ascii()));
        let (head, rest) = kept.split_first_chunk::<5>().ok_or_else(damaged)?;
        let [kind, crc @ ..] = *head;
        let value: Octets = match kind {
            SHORT => rest.into(),
            LONG => {
                let parts = rest.try_into().map(u16::from_be_bytes).map_err(|_| damaged())?;
                let mut whole = Vec::with_capacity(usize::from(parts) * PART_BYTES);
                for number in 0..parts {
                    let part = self.tree.get(part_key(key, number)).map_err(failed)?;
                    whole.extend_from_slice(&part.ok_or_else(damaged)?);
                }
                whole.into()
            }
            _ => return Err(damaged()),
        };
        if u32::from_be_bytes(crc) == crc_of(key, &value) { Ok(value) } else { Err(damaged()) }
    }

    /// Adds what `op` means for the tree to `out`.
    fn spell(&self, (key, value): &Op, out: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut long = held(&self.long);
        let had = long.remove(key).unwrap_or(0);
        let mut parts = 0u16;
        match value {
            None => out.push((key.to_vec(), None)),
            Some(value) if value.len() <= PART_BYTES => {
                out.push((key.to_vec(), Some(kept(SHORT, key, value, value))));
            }
            Some(value) => {
                for part in value.chunks(PART_BYTES) {
                    out.push((part_key(key, parts), Some(part.to_vec())));
                    parts += 1;
                }
                out.push((key.to_vec(), Some(kept(LONG, key, value, &parts.to_be_bytes()))));
                long.insert(key.clone(), parts);
            }
        }
        out.extend((parts..had).map(|number| (part_key(key, number), None)));
    }

    fn write(&self, ops: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), RowError> {
        let mut batch = sled::Batch::default();
        for (key, value) in ops {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let _turn = self.turn.write().unwrap_or_else(PoisonError::into_inner);
        guarded(|| self.tree.apply_batch(batch).map_err(failed))
    }
}

fn crc_of(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

fn kept(kind: u8, key: &[u8], value: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + rest.len());
    out.push(kind);
    out.extend_from_slice(&crc_of(key, value).to_be_bytes());
    out.extend_from_slice(rest);
    out
}

/// Where a part of a long value is kept; the key's length keeps apart a key and its beginnings.
fn part_key(key: &[u8], number: u16) -> Vec<u8> {
    let length = u16::try_from(key.len()).expect("keys are bounded by KEY_BYTES_MAX");
    let mut out = Vec::with_capacity(5 + key.len());
    out.push(PART);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Index for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        guarded(|| match self.tree.get(key).map_err(failed)? {
            Some(kept) => self.read(key, &kept).map(Some),
            None => Ok(None),
        })
    }

    fn rows<'a>(&'a self, (from, to): Run<'_>, back: bool) -> Layer<'a> {
        if to.is_some_and(|to| to <= from) {
            return none();
        }
        let turn = back.then(|| self.turn.read().unwrap_or_else(PoisonError::into_inner));
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let Ok(mut rows) = catch_unwind(AssertUnwindSafe(|| {
            self.tree.range::<&[u8], _>((Bound::Included(from), to))
        })) else {
            let fault = Err(failed("a range cannot be read"));
            return (Box::new(std::iter::once(fault)) as Box<dyn Iterator<Item = _>>).peekable();
        };
        let mut over = false;
        let rows = std::iter::from_fn(move || {
            let _turn = &turn;
            if over {
                return None;
            }
            let row = guarded(|| {
                let Some(row) = (if back { rows.next_back() } else { rows.next() }) else {
                    return Ok(None);
                };
                let (key, kept) = row.map_err(failed)?;
                let value = self.read(&key, &kept)?;
                Ok(Some((Octets::from(key.as_ref()), Some(value))))
            });
            over = row.is_err();
            row.transpose()
        });
        (Box::new(rows) as Box<dyn Iterator<Item = _>>).peekable()
    }

    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, upto: Option<Lsn>) -> Result<(), RowError> {
        let mut batch = Vec::with_capacity(2 * BATCH_OPS);
        for op in ops {
            self.spell(&op, &mut batch);
            if batch.len() >= BATCH_OPS {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        batch.extend(upto.map(|upto| (APPLIED.to_vec(), Some(upto.0.to_be_bytes().to_vec()))));
        if batch.is_empty() { Ok(()) } else { self.write(batch) }
    }

    fn flush(&self) -> Result<(), RowError> {
        guarded(|| {
            self.tree.flush().map_err(failed)?;
            self.file.0.sync_data().map_err(failed)
        })
    }
}

fn none<'a>() -> Layer<'a> {
    (Box::new(std::iter::empty()) as Box<dyn Iterator<Item = _>>).peekable()
}

/// The rows of `map` in `run`, each with what `value` makes of it.
pub(super) fn layer<'a, T>(
    map: &'a BTreeMap<Octets, T>,
    (from, to): Run<'_>,
    back: bool,
    value: impl Fn(&T) -> Option<Octets> + 'a,
) -> Layer<'a> {
    if to.is_some_and(|to| to <= from) {
        return none();
    }
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = map.range::<[u8], _>((Bound::Included(from), to));
    let rows = rows.map(move |(key, held)| Ok((key.clone(), value(held))));
    let rows: Box<dyn Iterator<Item = _>> =
        if back { Box::new(rows.rev()) } else { Box::new(rows) };
    rows.peekable()
}

/// An index that is gone with the process.
#[derive(Default)]
pub(super) struct InMemory {
    rows: RwLock<BTreeMap<Octets, Octets>>,
}

/// Rows are handed out in runs of this many, so that none is held while they are looked at.
const PAGE_ROWS: usize = 256;

impl Index for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn rows<'a>(&'a self, (from, to): Run<'_>, back: bool) -> Layer<'a> {
        let (mut from, mut to) = (from.to_vec(), to.map(<[u8]>::to_vec));
        let mut over = false;
        let pages = std::iter::from_fn(move || {
            if over {
                return None;
            }
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            let run = layer(&rows, (&from, to.as_deref()), back, |value| Some(value.clone()));
            let page: Vec<_> = run.take(PAGE_ROWS).collect();
            over = page.len() < PAGE_ROWS;
            if let Some(Ok((key, _))) = page.last() {
                match back {
                    true => to = Some(key.to_vec()),
                    false => from = [key, &[0][..]].concat(),
                }
            }
            Some(page)
        });
        (Box::new(pages.flatten()) as Box<dyn Iterator<Item = _>>).peekable()
    }

    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, _upto: Option<Lsn>) -> Result<(), RowError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in ops {
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}
