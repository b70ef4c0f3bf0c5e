//! The commit log: every transaction, in order, synced before anything else happens with it.
//!
//! Promises: what [`Log::append`] took is read back by [`Log::replay`] after any crash; a tail that a
//! crash tore is cut, and only that: where a later record proves that what is missing had been
//! synced, the log is damaged and is not touched. A segment is complete, without zeros behind it, and synced
//! before the next one is made. After a failed write or sync nothing is written again.
//!
//! Does not: know whom to tell, nor what the rows mean.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::Lsn;
use super::files::{Files, LogFile};
use super::scan::{LogError, Run, Segment, doing, headers, name_of, number_of};
use super::segment::{self, Op, SEGMENT_HEADER, SegmentHeader};

/// Where a segment ends and the next begins, in octets; the transaction that crosses it stays whole.
pub const LOG_SEGMENT_BYTES: u64 = 64 << 20;

/// How much of a group is gathered before it is written, in octets; a transaction is gathered whole.
const WRITE_BYTES: usize = 4 << 20;

/// How far ahead of its records a segment is written with zeros, in octets; less in smaller segments.
///
/// A sync of octets that were there before is one write to the disk; where the file grows, the file
/// system writes a journal of its own first, which takes as long again.
const AHEAD_BYTES: u64 = 256 << 10;

/// One transaction on its way: into the log, to the readers, into the index.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub lsn: Lsn,
    pub ops: Arc<[Op]>,
    /// Octets of keys and values, and what keeping them costs.
    pub bytes: u64,
}

impl Transaction {
    pub(super) fn new(lsn: Lsn, ops: Vec<Op>) -> Transaction {
        let bytes = ops.iter().map(|op| cost(op) as u64).sum();
        Transaction { lsn, ops: ops.into(), bytes }
    }
}

/// What keeping an operation costs besides its octets, roughly: two counted allocations and a tree's
/// share.
const OP_BYTES: usize = 96;

/// What keeping an operation costs, in octets.
fn cost((key, value): &Op) -> usize {
    key.len() + value.as_ref().map_or(0, |value| value.len()) + OP_BYTES
}

/// Why a group was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The disk is nearly full. Nothing was written; it may be tried again.
    NoRoom { free: u64, reserve: u64 },
    /// What the disk holds now is unknown: nothing more may be written.
    Failed { what: &'static str, source: io::Error },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::NoRoom { free, reserve } => write!(
                f,
                "the file system has {} MiB free, and {} MiB are kept in reserve",
                free >> 20,
                reserve >> 20
            ),
            AppendError::Failed { what, source } => write!(f, "{what} failed: {source}"),
        }
    }
}

/// The log, open for reading; and for appending once [`Log::replay`] has found its end.
pub(super) struct Log {
    files: Arc<dyn Files>,
    id: u64,
    segments: VecDeque<Segment>,
    file: Box<dyn LogFile>,
    /// The last transaction of the log, all of it synced.
    end: Lsn,
    bounds: Bounds,
    buffer: Vec<u8>,
    /// Where the last segment ends, zeros behind its records included; 0 while that is not known.
    ahead: u64,
}

/// What is left when the log is closed ends where its records do.
impl Drop for Log {
    fn drop(&mut self) {
        // It is cut at the next start otherwise.
        let _ = self.cut_ahead();
    }
}

impl Log {
    /// Begins a log whose first transaction will be `first`, in a directory without one.
    pub(super) fn create(
        files: Arc<dyn Files>,
        id: u64,
        first: Lsn,
        bounds: Bounds,
    ) -> Result<Log, LogError> {
        let header = SegmentHeader { number: 1, first, log: id };
        let file = doing(begin(&*files, &header), || "the first segment cannot be made".into())?;
        let segment = Segment { number: 1, first, bytes: SEGMENT_HEADER as u64 };
        Ok(Log {
            files,
            id,
            segments: VecDeque::from([segment]),
            file,
            end: Lsn(first.0.saturating_sub(1)),
            bounds,
            buffer: Vec::new(),
            ahead: 0,
        })
    }

    /// Finds the log in `files`; none if there are no segments.
    pub(super) fn find(
        files: Arc<dyn Files>,
        id: u64,
        bounds: Bounds,
    ) -> Result<Option<Log>, LogError> {
        let (mut segments, unmade) = headers(&*files, id)?;
        if let Some(name) = unmade {
            doing(files.remove(&name), || format!("{name} cannot be removed"))?;
        }
        // Names are removed in order, but a crash may keep any of them: what stands before a gap
        // was being trimmed.
        let gap = segments
            .iter()
            .zip(segments.iter().skip(1))
            .rposition(|(a, b)| a.number + 1 != b.number);
        segments.drain(..gap.map_or(0, |at| at + 1));
        let Some(last) = segments.back() else { return Ok(None) };
        let name = name_of(last.number);
        let file = doing(files.open(&name), || format!("{name} cannot be opened"))?;
        let end = Lsn(last.first.0.saturating_sub(1));
        Ok(Some(Log { files, id, segments, file, end, bounds, buffer: Vec::new(), ahead: 0 }))
    }

    /// The first transaction the log can give back.
    pub(super) fn first(&self) -> Lsn {
        self.segments.front().map_or(Lsn(1), |segment| segment.first)
    }

    /// The last transaction of the log, known once replayed.
    pub(super) fn end(&self) -> Lsn {
        self.end
    }

    /// Octets of the log's segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Octets of the segments that hold what follows `lsn`.
    pub(super) fn bytes_after(&self, lsn: Lsn) -> u64 {
        let from = self.segments.iter().rposition(|segment| segment.first.0 <= lsn.0 + 1);
        self.segments.iter().skip(from.unwrap_or(0)).map(|segment| segment.bytes).sum()
    }

    /// Gives every transaction after `after` to `sink`, in order, and makes the log's end sound.
    ///
    /// A tail that no later record proves to have been synced is cut, and what remains is synced.
    ///
    /// # Errors
    ///
    /// [`LogError::Damaged`] where a record is missing that had been synced. Nothing was cut then.
    pub(super) fn replay(
        &mut self,
        after: Lsn,
        sink: &mut dyn FnMut(Lsn, Vec<Op>),
    ) -> Result<(), LogError> {
        let from = self.segments.iter().rposition(|segment| segment.first.0 <= after.0 + 1);
        let mut expected = None;
        for (place, segment) in self.segments.iter().enumerate().skip(from.unwrap_or(0)) {
            if expected.is_some_and(|expected| expected != segment.first) {
                let what = format!(
                    "{} does not begin where the one before it ends",
                    name_of(segment.number)
                );
                return Err(LogError::Damaged(what));
            }
            let name = name_of(segment.number);
            let file = doing(self.files.open(&name), || format!("{name} cannot be opened"))?;
            let mut run = Run::new(&*file, segment.number, segment.first)?;
            let last = place + 1 == self.segments.len();
            run.read(after, sink)?;
            run.judge(last)?;
            if last {
                let torn = run.sound < run.reader.bytes();
                doing(cut(&*file, run.sound, torn), || format!("{name} cannot be cut and synced"))?;
                self.end = Lsn(run.expected.0 - 1);
            }
            expected = Some(run.expected);
        }
        for segment in &mut self.segments {
            let name = name_of(segment.number);
            segment.bytes = doing(self.files.open(&name).and_then(|file| file.bytes()), || name)?;
        }
        Ok(())
    }

    /// Appends `group` and syncs it.
    pub(super) fn append(&mut self, group: &[Transaction]) -> Result<(), AppendError> {
        let needed: u64 = group.iter().map(|transaction| transaction.bytes).sum();
        let free = self.files.free_bytes().unwrap_or(u64::MAX);
        if free < needed.saturating_add(self.bounds.reserve) {
            return Err(AppendError::NoRoom { free, reserve: self.bounds.reserve });
        }
        let mut ahead = self.end;
        for transaction in group {
            let full = self.segments.back().is_some_and(|last| {
                last.bytes + self.buffer.len() as u64 >= self.bounds.segment_bytes
            });
            if full {
                self.sync()?;
                self.end = ahead;
                self.roll().map_err(failed("making a segment of the log"))?;
            }
            let number = self.segments.back().map_or(0, |segment| segment.number);
            let lsns = (transaction.lsn, self.end);
            let most = self.bounds.record_bytes;
            segment::encode(&mut self.buffer, number, lsns, &transaction.ops, most);
            ahead = transaction.lsn;
            if self.buffer.len() >= WRITE_BYTES {
                self.write()?;
            }
        }
        self.sync()?;
        self.end = ahead;
        Ok(())
    }

    /// Removes the segments that hold nothing after `upto`; never the last.
    pub(super) fn trim(&mut self, upto: Lsn) -> io::Result<()> {
        let mut removed = false;
        while self.segments.get(1).is_some_and(|next| next.first.0 <= upto.0 + 1) {
            if let Some(old) = self.segments.pop_front() {
                self.files.remove(&name_of(old.number))?;
                removed = true;
            }
        }
        if removed { self.files.sync_directory() } else { Ok(()) }
    }

    /// Removes what an interrupted trim left before the first segment.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let first = self.segments.front().map_or(0, |segment| segment.number);
        for number in self.files.list()?.iter().filter_map(|name| number_of(name)) {
            if number < first {
                self.files.remove(&name_of(number))?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), AppendError> {
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let end = last.bytes + self.buffer.len() as u64;
        self.put(end)
    }

    /// Writes what is gathered, and zeros behind it once those there were are used up, and syncs all.
    fn sync(&mut self) -> Result<(), AppendError> {
        let Some(last) = self.segments.back() else { return Ok(()) };
        let end = last.bytes + self.buffer.len() as u64;
        if end > self.ahead && end < self.bounds.segment_bytes {
            let more = AHEAD_BYTES.min(self.bounds.segment_bytes / 8);
            self.buffer.resize(self.buffer.len() + more as usize, 0);
        }
        self.put(end)?;
        let ahead = std::mem::take(&mut self.ahead);
        self.file.sync().map_err(failed("syncing the log"))?;
        self.ahead = ahead;
        Ok(())
    }

    /// Writes the buffer, whose records end at `end` of the segment.
    fn put(&mut self, end: u64) -> Result<(), AppendError> {
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let ahead = std::mem::take(&mut self.ahead);
        self.file.write_at(last.bytes, &self.buffer).map_err(failed("writing the log"))?;
        self.ahead = ahead.max(last.bytes + self.buffer.len() as u64);
        last.bytes = end;
        self.buffer.clear();
        // A large transaction should not keep its memory for ever.
        self.buffer.shrink_to(2 * WRITE_BYTES);
        Ok(())
    }

    /// Takes the zeros away behind the last record; does nothing after a write or sync that failed.
    fn cut_ahead(&mut self) -> io::Result<bool> {
        let ahead = std::mem::take(&mut self.ahead);
        match self.segments.back() {
            Some(last) if last.bytes < ahead => self.file.truncate(last.bytes).map(|()| true),
            _ => Ok(false),
        }
    }

    fn roll(&mut self) -> io::Result<()> {
        // A segment that another follows ends with its last record.
        if self.cut_ahead()? {
            self.file.sync()?;
        }
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let first = Lsn(self.end.0 + 1);
        self.file = begin(&*self.files, &SegmentHeader { number, first, log: self.id })?;
        self.segments.push_back(Segment { number, first, bytes: SEGMENT_HEADER as u64 });
        Ok(())
    }
}

/// What bounds a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub segment_bytes: u64,
    pub record_bytes: usize,
    /// Octets of the file system that are left free.
    pub reserve: u64,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> AppendError {
    move |source| AppendError::Failed { what, source }
}

/// Makes a segment, durable in itself and by name.
fn begin(files: &dyn Files, header: &SegmentHeader) -> io::Result<Box<dyn LogFile>> {
    let file = files.create(&name_of(header.number))?;
    file.write_at(0, &header.encode())?;
    file.sync()?;
    files.sync_directory()?;
    Ok(file)
}

fn cut(file: &dyn LogFile, at: u64, torn: bool) -> io::Result<()> {
    if torn {
        file.truncate(at)?;
    }
    // Also when nothing is cut: a tail that only the page cache holds is about to be built upon.
    file.sync()
}
