//! What can go wrong, one enum per operation.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a store was not opened. Nothing was changed.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the data directory. The operator's: ask that server instead.
    Held {
        dir: PathBuf,
        holder: Holder,
    },
    /// A newer release wrote the directory. The operator's: start that release.
    Newer {
        dir: PathBuf,
        found: u32,
        known: u32,
    },
    /// The directory holds something else.
    Foreign {
        dir: PathBuf,
        what: String,
    },
    /// The log is damaged before its end; to cut it there would lose acknowledged changes.
    Damaged {
        dir: PathBuf,
        what: String,
    },
    /// A migration did not succeed; the directory is as before it.
    Migration {
        number: u32,
        name: &'static str,
        what: String,
    },
    Io {
        what: String,
        source: io::Error,
    },
}

/// Who holds a data directory, as far as its lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub pid: Option<u32>,
    /// How to reach the holder: the address of its HTTP listener, once it has one.
    pub hint: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        match &self.hint {
            Some(hint) => write!(f, ", to be reached at {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Held { dir, holder } => {
                write!(f, "data directory {} is held by {holder}", dir.display())
            }
            OpenError::Newer { dir, found, known } => write!(
                f,
                "data directory {} has format {found}, this release reads up to {known}: start the newer release",
                dir.display()
            ),
            OpenError::Foreign { dir, what } => {
                write!(f, "{} is not a data directory of nameplane: {what}", dir.display())
            }
            OpenError::Damaged { dir, what } => write!(
                f,
                "the log in {} is damaged: {what}; `nameplane store verify` says what can be kept",
                dir.display()
            ),
            OpenError::Migration { number, name, what } => {
                write!(f, "migration {number} ({name}) refused: {what}")
            }
            OpenError::Io { what, .. } => f.write_str(what),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a row could not be read or put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowError {
    /// The row's octets are not what the table says: damaged, or of a newer release.
    Unreadable { table: &'static str, version: u8 },
    /// A key or value beyond its limit.
    TooLarge { what: &'static str, bytes: usize, max: usize },
    /// The index failed; a restart rebuilds it from the log.
    Index(String),
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowError::Unreadable { table, version } => {
                write!(f, "a row of {table}, version {version}, cannot be read")
            }
            RowError::TooLarge { what, bytes, max } => {
                write!(f, "{what} of {bytes} octets is beyond the limit of {max}")
            }
            RowError::Index(what) => write!(f, "the index of the store failed: {what}"),
        }
    }
}

impl std::error::Error for RowError {}

/// Why the store did not take a transaction. But for [`WriteError::Hook`] nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// Writes have stopped, reads go on. The operator's; see [`State`](super::State).
    Stopped { why: String },
    /// The transaction is beyond its limit. The caller's: split it.
    TooLarge { bytes: u64, max: u64 },
    /// The closure panicked.
    Panicked { what: String },
    /// Called inside a closure of the store, where it would wait for itself.
    Nested,
    /// The transaction is durable, but what was to follow it panicked.
    Hook { what: String },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Stopped { why } => write!(f, "writes have stopped: {why}"),
            WriteError::TooLarge { bytes, max } => {
                write!(f, "a transaction of {bytes} octets is beyond the limit of {max}")
            }
            WriteError::Panicked { what } => write!(f, "the transaction panicked: {what}"),
            WriteError::Nested => f.write_str("a transaction inside a closure of the store"),
            WriteError::Hook { what } => {
                write!(f, "the transaction is kept, but its publication panicked: {what}")
            }
        }
    }
}

impl std::error::Error for WriteError {}

/// Why [`Store::transact`](super::Store::transact) gives nothing back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactError<E> {
    /// The closure refused, with its own error; nothing was written.
    Refused(E),
    /// The store did not take it.
    Write(WriteError),
}

impl<E: fmt::Display> fmt::Display for TransactError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransactError::Refused(error) => error.fmt(f),
            TransactError::Write(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TransactError<E> {}

impl<E> From<WriteError> for TransactError<E> {
    fn from(error: WriteError) -> Self {
        TransactError::Write(error)
    }
}
