//! What stops an operation, told so that the one who asked knows what to do.
//!
//! Each operation has a small enum of its own. What may stop any of them is [`Stop`]; one broken rule
//! is a [`Problem`], and all of them come at once. [`Refused`] is what an edge needs to choose a status,
//! without knowing each enum.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::access::NoAccess;
use super::limits::OverLimit;
use crate::store::{RowError, TransactError, WriteError};
use crate::zone::ReadFault;

/// What kind of answer a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing for the one who asks.
    NotFound,
    /// It may be seen, not done.
    Forbidden,
    /// The state of things has moved on, or another request is in the way.
    Conflict,
    /// What was asked breaks rules; all are listed.
    Invalid,
    /// Nothing is written for now: the store is closed to writes.
    Closed,
}

/// A refusal, as an edge shows it. Its `Display` is the sentence for people.
pub trait Refused: fmt::Display {
    /// What kind of answer it is.
    fn kind(&self) -> Kind;

    /// The broken rules one by one, if that is what it is about.
    fn problems(&self) -> &[Problem] {
        &[]
    }
}

/// One broken rule, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = BrokenRule)]
pub struct Problem {
    /// The place in the request: `edits[3].records[0]`; empty when it is about the whole.
    pub at: String,
    /// The rule, as one word: `rdata`, `cname_exclusive`, `base`.
    pub rule: String,
    /// `www CNAME conflicts with www A: remove one of them (RFC 1034 §3.6.2)`.
    pub text: String,
    pub zone: Option<String>,
    pub owner: Option<String>,
    #[serde(rename = "type")]
    pub rtype: Option<String>,
}

impl Problem {
    /// A problem with one place of a request.
    pub fn at(at: impl Into<String>, rule: &str, text: impl fmt::Display) -> Problem {
        let (at, rule, text) = (at.into(), rule.to_owned(), text.to_string());
        Problem { at, rule, text, zone: None, owner: None, rtype: None }
    }

    /// The same, said of a zone.
    #[must_use]
    pub fn of_zone(self, zone: impl fmt::Display) -> Problem {
        Problem { zone: Some(zone.to_string()), ..self }
    }

    /// The same, said of an RRset.
    #[must_use]
    pub fn of_rrset(self, owner: impl fmt::Display, rtype: impl fmt::Display) -> Problem {
        Problem { owner: Some(owner.to_string()), rtype: Some(rtype.to_string()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writes problems as one sentence.
pub fn write_all(problems: &[Problem], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, problem) in problems.iter().enumerate() {
        let gap = if n == 0 { "" } else { "; " };
        write!(f, "{gap}{problem}")?;
    }
    Ok(())
}

/// What may stop any operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The right is missing, or the thing is not there for the one who asks.
    Access(NoAccess),
    /// The idempotency key was used for something else.
    KeyReused,
    /// More than a limit allows.
    Limit(OverLimit),
    /// The store takes no writes, or could not be read. An operator's to repair.
    Store(String),
}

impl Stop {
    /// What kind of answer it is.
    pub fn kind(&self) -> Kind {
        match self {
            Stop::Access(NoAccess::NotFound) => Kind::NotFound,
            Stop::Access(_) => Kind::Forbidden,
            Stop::KeyReused => Kind::Conflict,
            Stop::Limit(_) => Kind::Invalid,
            Stop::Store(_) => Kind::Closed,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Access(why) => why.fmt(f),
            Stop::KeyReused => f.write_str(
                "idempotency key was used for another request: take a new key for each request",
            ),
            Stop::Limit(over) => over.fmt(f),
            Stop::Store(why) => write!(f, "nothing is written for now: {why}"),
        }
    }
}

impl std::error::Error for Stop {}

impl From<NoAccess> for Stop {
    fn from(why: NoAccess) -> Stop {
        Stop::Access(why)
    }
}

impl From<RowError> for Stop {
    fn from(why: RowError) -> Stop {
        match why {
            RowError::TooLarge { max, .. } => {
                Stop::Limit(OverLimit { limit: "row_octets", max: max as u64 })
            }
            other => Stop::Store(other.to_string()),
        }
    }
}

impl From<WriteError> for Stop {
    fn from(why: WriteError) -> Stop {
        match why {
            WriteError::TooLarge { max, .. } => {
                Stop::Limit(OverLimit { limit: "log_record_octets", max })
            }
            other => Stop::Store(other.to_string()),
        }
    }
}

impl From<ReadFault> for Stop {
    fn from(why: ReadFault) -> Stop {
        Stop::Store(why.to_string())
    }
}

impl From<OverLimit> for Stop {
    fn from(over: OverLimit) -> Stop {
        Stop::Limit(over)
    }
}

/// The closure's own error, or the store's as that operation says it.
pub fn refused<E: From<Stop>>(error: TransactError<E>) -> E {
    match error {
        TransactError::Refused(error) => error,
        TransactError::Write(error) => Stop::from(error).into(),
    }
}

/// Lets `?` turn what may stop any operation into the error of one.
macro_rules! stops {
    ($($error:ident)*) => {$(
        impl<T: Into<$crate::manage::fault::Stop>> From<T> for $error {
            fn from(why: T) -> $error {
                $error::Stop(why.into())
            }
        }

        impl std::error::Error for $error {}
    )*};
}
pub(crate) use stops;
