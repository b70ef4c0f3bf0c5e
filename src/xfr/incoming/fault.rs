//! Why a transfer was given up.

use std::fmt;

use super::Limits;
use crate::wire::{Rcode, Serial, Type};

/// Why a transfer was given up. The version in service stays in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferFault {
    /// The primary broke the protocol. Its fault: ask the next primary.
    Misbehaved(Misbehaviour),
    /// The primary will not serve us this zone, or not this way.
    Refused(Rcode),
    /// More than the operator takes.
    TooLarge(Limits),
}

/// How a primary broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A message that is no answer to what was asked.
    Malformed,
    /// A message without records.
    Empty,
    /// An answer from a server that does not have the zone itself.
    NotAuthoritative,
    /// The first record is not the zone's SOA.
    NoSoa,
    /// Something stands behind the end.
    Trailing,
    /// A record of another class than IN.
    Class,
    /// A SOA where none with this serial can stand.
    Serial(Serial),
    /// A SOA at the end that has the serial of the first, and is another record.
    OtherSoa(Serial),
    /// RDATA that is none of its type.
    Rdata { rtype: Type, what: String },
    /// An RRset of more records than any message could carry.
    SetTooLarge(Type),
}

impl From<Misbehaviour> for TransferFault {
    fn from(what: Misbehaviour) -> TransferFault {
        TransferFault::Misbehaved(what)
    }
}

impl fmt::Display for TransferFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferFault::Misbehaved(what) => what.fmt(f),
            TransferFault::Refused(rcode @ (Rcode::REFUSED | Rcode::NOTAUTH)) => {
                write!(
                    f,
                    "refused the transfer with {rcode}: it must have the zone, and let this address or key transfer it"
                )
            }
            TransferFault::Refused(rcode) => write!(f, "refused the transfer with {rcode}"),
            TransferFault::TooLarge(limits) => write!(
                f,
                "sent more than {} octets or {} records, which is the limit",
                limits.octets_max, limits.records_max
            ),
        }
    }
}

impl std::error::Error for TransferFault {}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misbehaviour::Malformed => f.write_str("sent a message that is no part of a transfer"),
            Misbehaviour::Empty => f.write_str("sent a message without records"),
            Misbehaviour::NotAuthoritative => f.write_str("does not have the zone itself"),
            Misbehaviour::NoSoa => f.write_str("began the transfer with something else than a SOA"),
            Misbehaviour::Trailing => f.write_str("went on behind the end of the transfer"),
            Misbehaviour::Class => f.write_str("sent a record of another class than IN"),
            Misbehaviour::Serial(serial) => {
                write!(f, "sent a SOA with serial {serial} where none with it can stand")
            }
            Misbehaviour::OtherSoa(serial) => {
                write!(
                    f,
                    "ended the transfer with a SOA of serial {serial} other than the one it began with"
                )
            }
            Misbehaviour::Rdata { rtype, what } => write!(f, "sent a bad {rtype} record: {what}"),
            Misbehaviour::SetTooLarge(rtype) => {
                write!(f, "sent more {rtype} records of one owner than a message can carry")
            }
        }
    }
}
