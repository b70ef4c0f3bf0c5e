//! The index: what the log's transactions add up to, up to one of them. sled, held on a short rope.
//!
//! sled 0.34 can lose or lock up what it holds, so nothing depends on it: rows stand in
//! [leaves](super::leaf) that carry a CRC, a canary and the last applied transaction say whose index it
//! is and how far it got, and whatever is wrong ends with the directory put aside and built anew (see
//! [`recover`](super::recover)). One tree, one writer, small batches, no transactions of its own, no
//! value long enough to leave its log, no walk backwards: where leaves begin is kept in memory.
//! `flush` of sled does not reach the disk: a second descriptor on its file does.

use std::fs::{self, File};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Lsn;
use super::error::RowError;
use super::leaf::{self, Kept, Packer};
use super::noted;
use super::rows::{Layer, Octets, Run, Visit};
use super::segment::Op;
use super::sorted::Sorted;

/// Rows that are written to one leaf at a time: readers wait while it is cut.
const GROUP_ROWS: usize = 100;

/// Octets of a row that stands in a leaf, and of a part of one that does not. A page of sled holds up to
/// 17 values; together they must stay below a quarter of a segment (512 KiB), or sled moves them to
/// files of their own, which it never syncs.
const PART_BYTES: usize = 5 << 10;

/// sled's page cache, in octets as they are on disk; in memory they are two to three times as many. Answers come
/// from the table, so only changes read here, and what they read again and again is little.
pub const CACHE_BYTES: u64 = 64 << 20;

/// Leaves that are found as fast as they are read from a list.
const LEAVES_FEW: usize = 256;

/// How long sled may take to let go of its files.
const LET_GO_MS: u32 = 10_000;

/// Stood elsewhere while each row was a value of its own.
const CANARY: &[u8] = b"\0canary of leaves";
const APPLIED: &[u8] = b"\0applied";
/// What the keys of the parts of long values begin with; tables begin with letters.
const PART: u8 = 1;

/// The rows up to one transaction.
pub(super) trait Index: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError>;
    fn rows<'a>(&'a self, run: Run<'_>, back: bool) -> Layer<'a>;
    /// Shows the rows of `run` in order, as they lie here.
    fn visit(&self, run: Run<'_>, visit: &mut Visit<'_>) -> Result<(), RowError>;
    /// Applies `ops`, then says that everything up to `upto` is.
    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, upto: Option<Lsn>) -> Result<(), RowError>;
    /// Makes what was applied durable.
    fn flush(&self) -> Result<(), RowError>;
    /// Notes what the next start would have to look for; nothing is applied any more.
    fn close(&self) -> Result<(), RowError> {
        Ok(())
    }
}

/// The index on disk.
pub(super) struct Sled {
    dir: PathBuf,
    tree: sled::Db,
    file: DbFile,
    leaves: OnceLock<Result<Leaves, RowError>>,
}

/// The keys of all leaves. Held while a leaf is looked for and read, so that it is not cut meanwhile.
type Leaves = RwLock<Sorted<()>>;

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
        guarded(|| {
            let mut batch = sled::Batch::default();
            batch.insert(CANARY, &canary.to_be_bytes());
            batch.insert(APPLIED, &upto.0.to_be_bytes());
            self.tree.apply_batch(batch).map_err(failed)
        })?;
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
        if index.word(CANARY).map_err(broken)? != canary {
            return Err(Unfit::Broken("it belongs to another data directory".into()));
        }
        let applied = Lsn(index.word(APPLIED).map_err(broken)?);
        Ok((index, applied))
    }

    /// Takes the leaves that were noted when the index was closed at `applied`, if they were. To be called before
    /// the index changes.
    ///
    /// # Errors
    ///
    /// The index must not change: what was noted would still be taken for true.
    pub(super) fn take_leaves(&self, canary: u64, applied: Lsn) -> io::Result<()> {
        if let Some(leaves) = noted::take(&self.dir, canary, applied.0)? {
            let _ = self.leaves.set(Ok(RwLock::new(leaves)));
        }
        Ok(())
    }

    /// A number that stands beside the leaves.
    fn word(&self, key: &[u8]) -> Result<u64, RowError> {
        let octets = guarded(|| self.tree.get(key).map_err(failed))?;
        let octets = octets.and_then(|octets| octets.as_ref().try_into().ok());
        octets.map(u64::from_be_bytes).ok_or_else(|| failed("its first rows are gone"))
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
        Ok(Sled { dir: dir.to_owned(), tree, file, leaves: OnceLock::new() })
    }

    /// Looks for all leaves, which takes a look at all of the index, unless that was done.
    pub(super) fn find_leaves(&self) -> Result<&Leaves, RowError> {
        let find = || self.look_for_leaves().map(RwLock::new);
        self.leaves.get_or_init(find).as_ref().map_err(Clone::clone)
    }

    fn look_for_leaves(&self) -> Result<Sorted<()>, RowError> {
        guarded(|| {
            let mut leaves = Sorted::default();
            for key in self.tree.range([PART + 1]..).keys() {
                leaves.insert(key.map_err(failed)?.as_ref().into(), ());
            }
            Ok(leaves)
        })
    }

    fn leaves(&self) -> Result<RwLockReadGuard<'_, Sorted<()>>, RowError> {
        Ok(self.find_leaves()?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn octets_of(&self, leaf: &[u8]) -> Result<sled::IVec, RowError> {
        let octets = self.tree.get(leaf).map_err(failed)?;
        octets.ok_or_else(|| failed(format!("leaf {} is gone", leaf.escape_ascii())))
    }

    /// The value of a row, put together if it stands apart.
    fn value(&self, key: &[u8], kept: Kept<'_>) -> Result<Octets, RowError> {
        let (parts, crc) = match kept {
            Kept::Here(value) => return Ok(value.into()),
            Kept::Apart { parts, crc } => (parts, crc),
        };
        let mut whole = Vec::with_capacity(usize::from(parts) * PART_BYTES);
        for number in 0..parts {
            let part = self.tree.get(part_key(key, number)).map_err(failed)?;
            whole.extend_from_slice(&part.ok_or_else(|| damaged(key))?);
        }
        if crc_of(key, &whole) == crc { Ok(whole.into()) } else { Err(damaged(key)) }
    }

    /// Those rows of `run` that stand in its first leaf, or its last if looked at from the back.
    fn page(&self, run: Run<'_>, back: bool) -> Result<Option<Page>, RowError> {
        let leaves = self.leaves()?;
        let Some((start, end)) = leaf_of(&leaves, run, back) else { return Ok(None) };
        let leaf = self.octets_of(start)?;
        let (mut rows, mut places) =
            (leaf::read(start, &leaf).ok_or_else(|| damaged(start))?, vec![]);
        let is_before = |key: &[u8], to: Option<&[u8]>| to.is_none_or(|to| key < to);
        while let (at, Some((key, kept))) = (rows.at, rows.next()) {
            if key >= run.0 && is_before(key, run.1) && is_before(key, end.map(|end| &**end)) {
                let apart = matches!(kept, Kept::Apart { .. }).then(|| self.value(key, kept));
                places.push((at, apart.transpose()?));
            }
        }
        if !back {
            places.reverse();
        }
        let edge = if back { Some(start) } else { end };
        Ok(Some(Page { edge: edge.cloned(), places, leaf }))
    }

    /// Changes rows that belong into one leaf, which ends at `end`; it begins with them if there is none. They
    /// stand in order of key.
    fn change(
        &self,
        leaf: Option<&Octets>,
        end: Option<&Octets>,
        ops: &[Op],
    ) -> Result<(), RowError> {
        let Some(start) = leaf.or(ops.first().map(|op| &op.0)).cloned() else { return Ok(()) };
        let old = leaf.map(|leaf| self.octets_of(leaf)).transpose()?;
        let rows = match &old {
            Some(old) => leaf::read(&start, old).ok_or_else(|| damaged(&start))?,
            None => leaf::Rows::default(),
        };
        let is_own = |(key, _): &(&[u8], Kept<'_>)| end.is_none_or(|end| *key < &**end);
        let mut rows = rows.filter(is_own).peekable();
        let (mut new, mut apart, mut is_changed) = (Packer::default(), Vec::new(), false);
        for (key, value) in ops {
            while let Some((key, kept)) = rows.next_if(|(other, _)| *other < &**key) {
                new.push(key, kept);
            }
            let was = rows.next_if(|(other, _)| *other == &**key).map(|(_, kept)| kept);
            is_changed |= match (was, value) {
                (None, None) => false,
                (Some(Kept::Here(was)), Some(value)) => *was != **value,
                _ => true,
            };
            let had = if let Some(Kept::Apart { parts, .. }) = was { parts } else { 0 };
            let has = put_row(&mut new, &mut apart, key, value.as_deref());
            apart.extend((has..had).map(|number| (part_key(key, number), None)));
        }
        // What came and went before the index was given it never was here.
        if !is_changed {
            return Ok(());
        }
        let grows_at_end = rows.peek().is_none();
        rows.for_each(|(key, kept)| new.push(key, kept));
        match (new.leaves(&start, grows_at_end).as_slice(), old, apart.as_slice()) {
            // One leaf in its own place: whoever reads it meanwhile sees all it was or all it is.
            ([(key, octets)], Some(_), []) => {
                self.tree.insert(key, octets.as_slice()).map(drop).map_err(failed)
            }
            (leaves, ..) => self.exchange(&start, leaves, &apart),
        }
    }

    /// Puts leaves in the place of the one at `start`, if there was one, with what stands apart of them.
    fn exchange(
        &self,
        start: &Octets,
        new: &[(Octets, Vec<u8>)],
        apart: &[(Vec<u8>, Option<&[u8]>)],
    ) -> Result<(), RowError> {
        let mut leaves = self.find_leaves()?.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = sled::Batch::default();
        for (key, value) in apart {
            match value {
                Some(value) => batch.insert(&key[..], *value),
                None => batch.remove(&key[..]),
            }
        }
        if leaves.remove(start).is_some() && new.is_empty() {
            batch.remove(&start[..]);
        }
        for (key, octets) in new {
            batch.insert(&key[..], &octets[..]);
            leaves.insert(key.clone(), ());
        }
        self.tree.apply_batch(batch).map_err(failed)
    }
}

/// Rows of one leaf, on their way out.
#[derive(Default)]
struct Page {
    leaf: sled::IVec,
    /// Where each row begins, and its value if that stands apart; the first to be shown last.
    places: Vec<(usize, Option<Octets>)>,
    /// Where the leaf ends, seen in the direction of the walk; none at the end of all.
    edge: Option<Octets>,
}

impl Page {
    /// Shows its rows where they lie.
    fn show(&self, visit: &mut Visit<'_>) -> ControlFlow<()> {
        for (at, apart) in self.places.iter().rev() {
            match (leaf::rows_from(&self.leaf, *at).next(), apart) {
                (Some((key, Kept::Here(value))), _) => visit(key, value)?,
                (Some((key, Kept::Apart { .. })), Some(value)) => visit(key, value)?,
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn next(&mut self) -> Option<(Octets, Option<Octets>)> {
        let (at, apart) = self.places.pop()?;
        let (key, kept) = leaf::rows_from(&self.leaf, at).next()?;
        let value = match kept {
            Kept::Here(value) => value.into(),
            Kept::Apart { .. } => apart?,
        };
        Some((key.into(), Some(value)))
    }
}

/// The first leaf that may have rows of `run`, or the last, and where it ends.
fn leaf_of<'a>(
    leaves: &'a Sorted<()>,
    (from, to): Run<'_>,
    back: bool,
) -> Option<(&'a Octets, Option<&'a Octets>)> {
    let upto = match (back, to) {
        (true, Some(to)) => Bound::Excluded(to),
        (true, None) => Bound::Unbounded,
        (false, _) => Bound::Included(from),
    };
    let within = leaves.keys(Bound::Unbounded, upto).next_back();
    let behind = |key: Bound<&[u8]>| leaves.keys(key, Bound::Unbounded).next();
    let start = match within {
        None if !back => behind(Bound::Excluded(from)),
        within => within,
    };
    start.map(|start| (start, behind(Bound::Excluded(start))))
}

/// Packs a row, unless it goes; returns of how many parts, if they stand apart.
fn put_row<'v>(
    packer: &mut Packer,
    apart: &mut Vec<(Vec<u8>, Option<&'v [u8]>)>,
    key: &[u8],
    value: Option<&'v [u8]>,
) -> u16 {
    let Some(value) = value else { return 0 };
    if key.len() + value.len() <= PART_BYTES {
        packer.push(key, Kept::Here(value));
        return 0;
    }
    let mut parts = 0;
    for part in value.chunks(PART_BYTES) {
        apart.push((part_key(key, parts), Some(part)));
        parts += 1;
    }
    packer.push(key, Kept::Apart { parts, crc: crc_of(key, value) });
    parts
}

fn damaged(key: &[u8]) -> RowError {
    RowError::Index(format!("what stands at {} is damaged", key.escape_ascii()))
}

fn crc_of(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
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
        guarded(|| {
            let leaves = self.leaves()?;
            let upto = Bound::Included(key);
            let Some(start) = leaves.keys(Bound::Unbounded, upto).next_back() else {
                return Ok(None);
            };
            let leaf = self.octets_of(start)?;
            let mut rows = leaf::read(start, &leaf).ok_or_else(|| damaged(start))?;
            let row = rows.find(|(other, _)| *other >= key).filter(|(other, _)| *other == key);
            row.map(|(key, kept)| self.value(key, kept)).transpose()
        })
    }

    fn rows<'a>(&'a self, (from, to): Run<'_>, back: bool) -> Layer<'a> {
        let (mut from, mut to) = (from.to_vec(), to.map(<[u8]>::to_vec));
        let (mut page, mut over) = (Page::default(), false);
        let rows = std::iter::from_fn(move || {
            loop {
                if let Some(row) = page.next() {
                    return Some(Ok(row));
                }
                if over || to.as_ref().is_some_and(|to| *to <= from) {
                    return None;
                }
                match guarded(|| self.page((&from, to.as_deref()), back)).transpose()? {
                    Ok(next) => page = next,
                    Err(error) => {
                        over = true;
                        return Some(Err(error));
                    }
                }
                match &page.edge {
                    Some(edge) if back => to = Some(edge.to_vec()),
                    Some(edge) => from = edge.to_vec(),
                    None => over = true,
                }
            }
        });
        (Box::new(rows) as Box<dyn Iterator<Item = _>>).peekable()
    }

    fn visit(&self, (from, to): Run<'_>, visit: &mut Visit<'_>) -> Result<(), RowError> {
        let mut from = from.to_vec();
        while to.is_none_or(|to| *from < *to) {
            let Some(page) = guarded(|| self.page((&from, to), false))? else { break };
            match (page.show(visit), page.edge) {
                (ControlFlow::Continue(()), Some(edge)) => from = edge.to_vec(),
                _ => break,
            }
        }
        Ok(())
    }

    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, upto: Option<Lsn>) -> Result<(), RowError> {
        let mut ops = ops.peekable();
        let mut group: Vec<Op> = Vec::with_capacity(GROUP_ROWS);
        while let Some((key, _)) = ops.peek() {
            let (leaf, end) = {
                let leaves = self.leaves()?;
                let mut before = leaves.keys(Bound::Unbounded, Bound::Included(key));
                let mut behind = leaves.keys(Bound::Excluded(key), Bound::Unbounded);
                (before.next_back().cloned(), behind.next().cloned())
            };
            group.clear();
            while group.len() < GROUP_ROWS
                && let Some(op) = ops.next_if(|(key, _)| {
                    end.as_ref().is_none_or(|end| key < end)
                        && group.last().is_none_or(|(last, _)| key > last)
                })
            {
                group.push(op);
            }
            guarded(|| self.change(leaf.as_ref(), end.as_ref(), &group))?;
        }
        let Some(upto) = upto else { return Ok(()) };
        guarded(|| self.tree.insert(APPLIED, &upto.0.to_be_bytes()).map(drop).map_err(failed))
    }

    fn flush(&self) -> Result<(), RowError> {
        guarded(|| {
            self.tree.flush().map_err(failed)?;
            self.file.0.sync_data().map_err(failed)
        })
    }

    fn close(&self) -> Result<(), RowError> {
        let Some(Ok(leaves)) = self.leaves.get() else { return Ok(()) };
        let leaves = leaves.read().unwrap_or_else(PoisonError::into_inner);
        if leaves.len() < LEAVES_FEW {
            return Ok(());
        }
        self.flush()?;
        let state = (self.word(CANARY)?, self.word(APPLIED)?);
        let keys = leaves.keys(Bound::Unbounded, Bound::Unbounded);
        noted::write(&self.dir, state, keys).map_err(failed)
    }
}

fn none<'a>() -> Layer<'a> {
    (Box::new(std::iter::empty()) as Box<dyn Iterator<Item = _>>).peekable()
}

/// The rows of `map` in `run`, each with what `value` makes of it.
pub(super) fn layer<'a, T>(
    map: &'a Sorted<T>,
    (from, to): Run<'_>,
    back: bool,
    value: impl Fn(&T) -> Option<Octets> + 'a,
) -> Layer<'a> {
    if map.len() == 0 || to.is_some_and(|to| to <= from) {
        return none();
    }
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = map.range(Bound::Included(from), to);
    let rows = rows.map(move |(key, held)| Ok((key.clone(), value(held))));
    let rows: Box<dyn Iterator<Item = _>> =
        if back { Box::new(rows.rev()) } else { Box::new(rows) };
    rows.peekable()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Octets, Octets>;

    fn op(key: &[u8], value: Option<Vec<u8>>) -> Op {
        (key.into(), value.map(Into::into))
    }

    fn shown(index: &dyn Index, run: Run<'_>, back: bool) -> Vec<(Octets, Octets)> {
        index
            .rows(run, back)
            .map(|row| row.map(|(key, value)| (key, value.unwrap())).unwrap())
            .collect()
    }

    fn assert_same(index: &dyn Index, model: &Model, from: &[u8], to: Option<&[u8]>) {
        let in_run = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let rows = model.iter().filter(|(key, _)| in_run(key));
        let mut wanted: Vec<_> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(shown(index, (from, to), false), wanted);
        let mut visited = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            visited.push((key.into(), value.into()));
            ControlFlow::Continue(())
        };
        index.visit((from, to), &mut visit).unwrap();
        assert_eq!(visited, wanted);
        wanted.reverse();
        assert_eq!(shown(index, (from, to), true), wanted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Goal: leaves are cut, emptied and made as rows come and go, and nobody sees it.
        /// Method: any changes in any order beside a plain map; then the same after it was opened anew.
        #[test]
        fn the_index_holds_what_a_plain_map_holds_after_any_changes(
            batches in prop::collection::vec(
                prop::collection::vec(
                    ("[a-c]{1,3}", prop_oneof![
                        2 => Just(None),
                        3 => (0usize..900).prop_map(Some),
                        1 => (0usize..20_000).prop_map(Some),
                    ]),
                    1..60),
                1..12),
            runs in prop::collection::vec(("[a-c]{1,3}", prop::option::of("[a-c]{1,3}")), 1..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("index");
            let (index, mut model) = (Sled::create(&place).unwrap(), Model::new());
            for (n, batch) in batches.iter().enumerate() {
                let ops = batch.iter().map(|(key, len)| {
                    op(key.as_bytes(), len.map(|len| vec![n as u8; len]))
                });
                let ops: Vec<Op> = ops.collect();
                for (key, value) in ops.iter().cloned() {
                    match value {
                        Some(value) => drop(model.insert(key, value)),
                        None => drop(model.remove(&key)),
                    }
                }
                index.apply(&mut ops.into_iter(), Some(Lsn(n as u64))).unwrap();
                for (from, to) in &runs {
                    assert_same(&index, &model, from.as_bytes(), to.as_ref().map(|to| to.as_bytes()));
                    let found = index.get(from.as_bytes()).unwrap();
                    prop_assert_eq!(found.as_ref(), model.get(from.as_bytes()));
                }
            }
            let last = Lsn(batches.len() as u64);
            index.finish(7, last).unwrap();
            drop(index);
            let (index, applied) = Sled::open(&place, 7).unwrap_or_else(|_| panic!("it was finished"));
            prop_assert_eq!(applied, last);
            assert_same(&index, &model, b"a", None);
        }
    }

    /// Goal: a row that does not change is found all the time. Method: those beside it come and go.
    #[test]
    fn rows_are_found_while_their_leaves_are_cut_and_exchanged() {
        let dir = tempfile::tempdir().unwrap();
        let index = Sled::create(&dir.path().join("index")).unwrap();
        let key = |n: u32| [b"aa", &n.to_be_bytes()[..]].concat();
        let fixed = |n: u32| n.is_multiple_of(10);
        let value = |n: u32| vec![n as u8; if n.is_multiple_of(50) { 12_000 } else { 90 }];
        let mut rows = (0..1_000).filter(|n| fixed(*n)).map(|n| op(&key(n), Some(value(n))));
        index.apply(&mut rows, None).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (index, over) = (&index, &over);
            scope.spawn(move || {
                for turn in 0..12u32 {
                    let there = turn.is_multiple_of(2).then(|| vec![1; 400]);
                    let others = (0..1_000).filter(|n| !fixed(*n));
                    let mut ops = others.map(|n| op(&key(n), there.clone()));
                    index.apply(&mut ops, Some(Lsn(turn.into()))).unwrap();
                }
                over.store(true, Ordering::Release);
            });
            for back in [false, true] {
                scope.spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        let all = shown(index, (b"aa", None), back);
                        let mine: Vec<_> =
                            all.iter().filter(|(_, value)| **value != [1; 400]).collect();
                        assert_eq!(mine.len(), 100);
                        for n in (0..1_000).filter(|n| fixed(*n)) {
                            assert_eq!(index.get(&key(n)).unwrap().as_deref(), Some(&value(n)[..]));
                        }
                    }
                });
            }
        });
    }

    /// Goal: what was noted at a close is what the next start finds, and nothing of it outlives a change.
    /// Method: the index is closed with more and more rows in it, or goes without being closed.
    #[test]
    fn leaves_noted_at_a_close_are_those_found_without() {
        let dir = tempfile::tempdir().unwrap();
        let (place, mut model) = (dir.path().join("index"), Model::new());
        Sled::create(&place).unwrap().finish(7, Lsn(0)).unwrap();
        for (turn, closes) in [true, false, true, true].into_iter().enumerate() {
            let opened = Sled::open(&place, 7);
            let (index, applied) = opened.unwrap_or_else(|_| panic!("it was finished"));
            index.take_leaves(7, applied).unwrap();
            // After the first turn's close, and the third's.
            assert_eq!(index.leaves.get().is_some(), turn == 1 || turn == 3);
            assert_same(&index, &model, b"aa", None);
            let found = index.find_leaves().unwrap().read().unwrap().len();
            assert_eq!(index.look_for_leaves().unwrap().len(), found);

            let keys =
                (0..1_000u32).map(|n| [b"aa", &(n * 7 + turn as u32).to_be_bytes()[..]].concat());
            let ops: Vec<Op> = keys.map(|key| op(&key, Some(vec![turn as u8; 1_500]))).collect();
            model.extend(ops.iter().cloned().filter_map(|(key, value)| Some((key, value?))));
            index.apply(&mut ops.into_iter(), Some(Lsn(turn as u64 + 1))).unwrap();
            index.flush().unwrap();
            if closes {
                index.close().unwrap();
            }
        }
    }

    #[test]
    fn an_index_whose_rows_were_values_of_their_own_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("index");
        let old = Sled::start(&place).unwrap_or_else(|_| panic!("it can be made"));
        old.tree.insert(b"\0canary", &7u64.to_be_bytes()).unwrap();
        old.tree.insert(APPLIED, &3u64.to_be_bytes()).unwrap();
        old.flush().unwrap();
        drop(old);
        assert!(matches!(Sled::open(&place, 7), Err(Unfit::Broken(_))));
    }
}
