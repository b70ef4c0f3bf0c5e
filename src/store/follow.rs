//! Followers: whoever reacts to transactions reads them from the log, from where it left off.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Lsn;
use super::error::RowError;
use super::files::{Files, held};
use super::key::Key;
use super::scan::{header, name_of, number_of};
use super::segment::{HeaderFound, Op, SegmentReader};
use super::table::{Table, Value};

/// How far the log is synced, for those who wait for more.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<Reached>,
    moved: Condvar,
}

#[derive(Default)]
struct Reached {
    synced: Lsn,
    /// Those who wait for more: while there are none, nobody is called.
    waiting: usize,
}

impl Progress {
    pub(super) fn reach(&self, lsn: Lsn) {
        let mut state = held(&self.state);
        state.synced = lsn;
        if state.waiting > 0 {
            self.moved.notify_all();
        }
    }

    pub(super) fn synced(&self) -> Lsn {
        held(&self.state).synced
    }

    fn wait_past(&self, lsn: Lsn, timeout: Duration) -> bool {
        let mut state = held(&self.state);
        state.waiting += 1;
        let waited = self.moved.wait_timeout_while(state, timeout, |state| state.synced <= lsn);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state.synced > lsn
    }
}

/// One transaction as the log has it.
#[derive(Debug, Clone)]
pub struct Change {
    pub lsn: Lsn,
    ops: Vec<Op>,
}

impl Change {
    /// Returns what happened to the rows of `table`, in order: the key, and the row put, or none if
    /// it was taken out.
    pub fn rows<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
    ) -> impl Iterator<Item = Result<(K, Option<V>), RowError>> {
        let ours = self.ops.iter().filter(|(key, _)| key.starts_with(&table.prefix()));
        ours.map(|(key, value)| {
            let value = value.as_ref().map(|value| table.read_value(value)).transpose()?;
            Ok((table.read_key(key)?, value))
        })
    }
}

/// Why a follower cannot go on.
#[derive(Debug)]
pub enum FollowError {
    /// The log no longer goes back that far: begin from the tables, then follow from their LSN.
    Trimmed,
    /// The log is damaged there.
    Damaged(String),
    Io(io::Error),
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowError::Trimmed => f.write_str("the log no longer goes back that far"),
            FollowError::Damaged(what) => write!(f, "the log is damaged: {what}"),
            FollowError::Io(_) => f.write_str("the log cannot be read"),
        }
    }
}

impl std::error::Error for FollowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FollowError::Io(source) => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for FollowError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => FollowError::Trimmed,
            _ => FollowError::Io(error),
        }
    }
}

/// Reads synced transactions one after the other.
pub struct Follow {
    files: Arc<dyn Files>,
    progress: Arc<Progress>,
    /// The last transaction given out.
    position: Lsn,
    /// The segment being read, and where in it.
    place: Option<(u64, u64)>,
    ready: VecDeque<Change>,
}

/// How many transactions are read ahead.
const AHEAD: usize = 64;

impl Follow {
    pub(super) fn new(files: Arc<dyn Files>, progress: Arc<Progress>, since: Lsn) -> Follow {
        Follow { files, progress, position: since, place: None, ready: VecDeque::new() }
    }

    /// The last transaction given out: what to remember.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Returns the next transaction; none if there is none yet.
    ///
    /// # Errors
    ///
    /// [`FollowError::Trimmed`] when it is no longer in the log.
    pub fn advance(&mut self) -> Result<Option<Change>, FollowError> {
        if self.ready.is_empty() {
            self.read_ahead()?;
        }
        let next = self.ready.pop_front();
        if let Some(change) = &next {
            self.position = change.lsn;
        }
        Ok(next)
    }

    /// As [`Follow::advance`], waiting up to `timeout` for one.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Change>, FollowError> {
        match self.advance()? {
            None if self.progress.wait_past(self.position, timeout) => self.advance(),
            next => Ok(next),
        }
    }

    fn read_ahead(&mut self) -> Result<(), FollowError> {
        let synced = self.progress.synced();
        if self.position >= synced {
            return Ok(());
        }
        let (number, at) = match self.place {
            Some(place) => place,
            None => (self.segment_of(Lsn(self.position.0 + 1))?, 0),
        };
        let file = self.files.open(&name_of(number))?;
        let mut reader = SegmentReader::new(&*file, number)?;
        reader.at = reader.at.max(at);
        let (mut ops, mut at) = (Vec::new(), reader.at);
        while let Some(record) = reader.next()? {
            if record.lsn > synced {
                break;
            }
            if record.lsn > self.position && record.ops(&mut ops).is_none() {
                return Err(FollowError::Damaged(format!("transaction {}", record.lsn.0)));
            }
            if record.last {
                at = reader.at;
                if record.lsn > self.position {
                    self.ready.push_back(Change { lsn: record.lsn, ops: std::mem::take(&mut ops) });
                }
                if self.ready.len() == AHEAD {
                    break;
                }
            }
        }
        self.place = Some((number, at));
        if self.ready.is_empty() {
            // Synced, and not in this segment: the next one has it.
            self.place = Some((number + 1, 0));
            return self.read_ahead();
        }
        Ok(())
    }

    /// The number of the segment that holds `lsn`.
    fn segment_of(&self, lsn: Lsn) -> Result<u64, FollowError> {
        let mut numbers: Vec<u64> =
            self.files.list()?.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().rev() {
            match header(&*self.files.open(&name_of(number))?)? {
                HeaderFound::Valid(header) if header.first <= lsn => return Ok(number),
                HeaderFound::Valid(_) => {}
                // The newest may be in the making.
                HeaderFound::Torn | HeaderFound::Newer(_) => {}
            }
        }
        Err(FollowError::Trimmed)
    }
}
