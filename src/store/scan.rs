//! Reading a log: which segments there are, which transactions in them are sound, what is damage.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use super::Lsn;
use super::files::{Files, LogFile};
use super::segment::{HeaderFound, Op, Record, SEGMENT_HEADER, SegmentHeader, SegmentReader};

/// Why the log cannot be used as found. Nothing was changed.
#[derive(Debug)]
pub(super) enum LogError {
    Newer(u32),
    Damaged(String),
    Io { what: String, source: io::Error },
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Newer(format) => write!(f, "the log has format {format}"),
            LogError::Damaged(what) => f.write_str(what),
            LogError::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

/// Says what was being done.
pub(super) fn doing<T>(
    result: io::Result<T>,
    what: impl FnOnce() -> String,
) -> Result<T, LogError> {
    result.map_err(|source| LogError::Io { what: what(), source })
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub number: u64,
    pub first: Lsn,
    pub bytes: u64,
}

pub(super) fn name_of(number: u64) -> String {
    format!("{number:016x}.log")
}

pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The segments in order of number, and the name of a last one whose making was interrupted.
pub(super) fn headers(
    files: &dyn Files,
    id: u64,
) -> Result<(VecDeque<Segment>, Option<String>), LogError> {
    let names = doing(files.list(), || "the log's directory cannot be read".into())?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let mut segments = VecDeque::new();
    for (place, &number) in numbers.iter().enumerate() {
        let name = name_of(number);
        let file = doing(files.open(&name), || format!("{name} cannot be opened"))?;
        match doing(header(&*file), || format!("{name} cannot be read"))? {
            HeaderFound::Newer(format) => return Err(LogError::Newer(format)),
            HeaderFound::Valid(header) if header.log == id && header.number == number => {
                segments.push_back(Segment { number, first: header.first, bytes: 0 });
            }
            HeaderFound::Valid(_) => {
                return Err(LogError::Damaged(format!("{name} belongs to another log")));
            }
            HeaderFound::Torn => {
                let mut reader = doing(SegmentReader::new(&*file, number), || name.clone())?;
                let holds = doing(reader.search(0), || name.clone())?.is_some();
                if holds || place + 1 < numbers.len() {
                    return Err(LogError::Damaged(format!("{name} has no valid header")));
                }
                return Ok((segments, Some(name)));
            }
        }
    }
    Ok((segments, None))
}

/// What stands in a log, found without changing it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogReport {
    pub segments: usize,
    pub bytes: u64,
    /// The first transaction in it.
    pub first: Lsn,
    /// The last one up to which nothing is missing.
    pub end: Lsn,
    /// Octets of a tail that was never synced whole; the next start cuts it.
    pub tail_bytes: u64,
    /// Why the store does not start with it: after `end`, what had been synced is missing.
    pub damage: Option<String>,
    /// Damage in what an export or the index holds too: the store starts without it.
    pub covered: Vec<String>,
}

/// Reads the whole log, as far as it is sound. Everything up to `base` is known from elsewhere.
pub(super) fn examine(files: &dyn Files, id: u64, base: Lsn) -> Result<LogReport, LogError> {
    let (segments, _) = headers(files, id)?;
    let needed = segments.iter().rposition(|segment| segment.first.0 <= base.0 + 1).unwrap_or(0);
    let before = |segment: &Segment| Lsn(segment.first.0.saturating_sub(1));
    let mut report = LogReport {
        segments: segments.len(),
        bytes: 0,
        first: segments.front().map_or(Lsn(1), |segment| segment.first),
        end: segments.get(needed).map_or(Lsn(0), before),
        tail_bytes: 0,
        damage: None,
        covered: Vec::new(),
    };
    for (place, segment) in segments.iter().enumerate() {
        let name = name_of(segment.number);
        let file = doing(files.open(&name), || format!("{name} cannot be opened"))?;
        let mut run = Run::new(&*file, segment.number, segment.first)?;
        report.bytes += run.reader.bytes();
        let gap = place >= needed && before(segment) != report.end;
        let found = match gap {
            true => Err(run.damage("the segment before it does not lead up to it")),
            false => run.check(place + 1 == segments.len()),
        };
        match found {
            Err(LogError::Damaged(what)) if place < needed => report.covered.push(what),
            Err(LogError::Damaged(what)) => drop(report.damage.get_or_insert(what)),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if place >= needed && !gap && (report.damage.is_none() || before(segment) == report.end) {
            report.end = Lsn(run.expected.0 - 1);
            report.tail_bytes = doing(run.reader.written_behind(run.sound), || name.clone())?;
        }
    }
    Ok(report)
}

/// The segment in which transaction `end` ends, and at which octet; none if it is before the log.
pub(super) fn sound_end(
    files: &dyn Files,
    id: u64,
    end: Lsn,
) -> Result<Option<(u64, u64)>, LogError> {
    let (segments, _) = headers(files, id)?;
    let Some(segment) = segments.iter().rev().find(|segment| segment.first.0 <= end.0 + 1) else {
        return Ok(None);
    };
    let name = name_of(segment.number);
    let file = doing(files.open(&name), || format!("{name} cannot be opened"))?;
    let mut run = Run::new(&*file, segment.number, segment.first)?;
    match run.read(Lsn(0), &mut |_, _| {}) {
        Ok(()) | Err(LogError::Damaged(_)) => Ok(Some((segment.number, run.sound))),
        Err(error) => Err(error),
    }
}

/// Reads a segment's header.
pub(super) fn header(file: &dyn LogFile) -> io::Result<HeaderFound> {
    let mut octets = [0; SEGMENT_HEADER];
    let read = file.read_at(0, &mut octets)?;
    Ok(if read == SEGMENT_HEADER { SegmentHeader::decode(&octets) } else { HeaderFound::Torn })
}

/// Reads the transactions of one segment, as far as they are sound.
pub(super) struct Run<'a> {
    pub reader: SegmentReader<'a>,
    number: u64,
    /// Where the last whole transaction ends.
    pub sound: u64,
    /// The transaction that should stand there.
    pub expected: Lsn,
}

impl<'a> Run<'a> {
    pub(super) fn new(file: &'a dyn LogFile, number: u64, first: Lsn) -> Result<Run<'a>, LogError> {
        let reader = doing(SegmentReader::new(file, number), || name_of(number))?;
        Ok(Run { sound: reader.at, reader, number, expected: first })
    }

    pub(super) fn read(
        &mut self,
        after: Lsn,
        sink: &mut dyn FnMut(Lsn, Vec<Op>),
    ) -> Result<(), LogError> {
        let (mut ops, mut part) = (Vec::new(), 0);
        while let Some(record) = self.next()? {
            if record.lsn != self.expected || record.part != part {
                return Err(self.damage("a record out of order stands there"));
            }
            if record.lsn > after && record.ops(&mut ops).is_none() {
                return Err(self.damage("a record there has a body of no known form"));
            }
            part += 1;
            if record.last {
                if record.lsn > after {
                    sink(record.lsn, std::mem::take(&mut ops));
                }
                part = 0;
                self.sound = self.reader.at;
                self.expected.0 += 1;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Record>, LogError> {
        let number = self.number;
        doing(self.reader.next(), || format!("{} cannot be read", name_of(number)))
    }

    /// Reads all of it and judges what does not belong to a whole transaction.
    fn check(&mut self, last: bool) -> Result<(), LogError> {
        self.read(Lsn(0), &mut |_, _| {})?;
        self.judge(last)
    }

    /// Refuses if what follows the last whole transaction is damage, not a tail.
    pub(super) fn judge(&mut self, last: bool) -> Result<(), LogError> {
        if last {
            return self.prove_unsynced();
        }
        match self.sound < self.reader.bytes() {
            true => Err(self.damage("and a later segment follows")),
            false => Ok(()),
        }
    }

    /// Refuses if a record further on was written when what is missing had already been synced.
    fn prove_unsynced(&mut self) -> Result<(), LogError> {
        let mut place = self.sound;
        let number = self.number;
        while let Some((at, record)) = doing(self.reader.search(place), || name_of(number))? {
            if record.synced >= self.expected {
                let what = format!("record {} follows, written when it was synced", record.lsn.0);
                return Err(self.damage(&what));
            }
            place = at;
        }
        Ok(())
    }

    fn damage(&self, why: &str) -> LogError {
        let name = name_of(self.number);
        LogError::Damaged(format!(
            "{name} has no transaction {} at octet {}: {why}",
            self.expected.0, self.sound
        ))
    }
}
