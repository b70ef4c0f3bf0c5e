//! Why an order is not placed, or not taken a step on.

use std::fmt;

use super::draft;
use super::state::State;
use crate::maintain::CommitError;
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::limits::{self, NOTE_CHARS_MAX};

/// Why an order was not placed, or not taken a step on. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderError {
    Stop(Stop),
    /// The request or the items break rules; all are listed.
    Invalid(Vec<Problem>),
    /// There is nothing to place.
    Empty,
    /// The order is in another state by now.
    NotIn {
        state: State,
        needed: &'static str,
    },
    /// Its author may not approve it.
    OwnOrder,
    /// What was approved or placed is not what was looked at.
    DigestDiffers,
    /// It cannot be undone, or its items cannot come back.
    NotUndoable(&'static str),
}

stops!(OrderError);

impl From<draft::DraftError> for OrderError {
    fn from(why: draft::DraftError) -> OrderError {
        match why {
            draft::DraftError::Stop(stop) => OrderError::Stop(stop),
            draft::DraftError::Invalid(problems) => OrderError::Invalid(problems),
        }
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::Stop(stop) => stop.fmt(f),
            OrderError::Invalid(problems) => fault::write_all(problems, f),
            OrderError::Empty => f.write_str("there is nothing to place: add something first"),
            OrderError::NotIn { state, needed } => {
                write!(f, "order is {state}, not {needed}: look at it again")
            }
            OrderError::OwnOrder => {
                f.write_str("nobody approves their own order: ask another approver")
            }
            OrderError::DigestDiffers => {
                f.write_str("the items are not those you looked at: look again")
            }
            OrderError::NotUndoable(why) => f.write_str(why),
        }
    }
}

impl Refused for OrderError {
    fn kind(&self) -> Kind {
        match self {
            OrderError::Stop(stop) => stop.kind(),
            OrderError::Invalid(_) | OrderError::Empty => Kind::Invalid,
            OrderError::OwnOrder => Kind::Forbidden,
            OrderError::NotIn { .. } | OrderError::DigestDiffers | OrderError::NotUndoable(_) => {
                Kind::Conflict
            }
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            OrderError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// The closure's own error, or why nothing was committed, as orders say it.
pub(super) fn refused(error: CommitError<OrderError>) -> OrderError {
    match error {
        CommitError::Refused(error) => error,
        CommitError::Unreadable(fault) => fault.into(),
        CommitError::Write(error) => error.into(),
    }
}

/// Checks the note of an order.
pub(super) fn note_fits(note: Option<&str>) -> Result<(), OrderError> {
    let bad = note.and_then(|note| limits::note("note", note, NOTE_CHARS_MAX).err());
    match bad {
        Some(why) => Err(OrderError::Invalid(vec![Problem::at("note", "text", why)])),
        None => Ok(()),
    }
}
