//! What can be wrong with RDATA, said so that the writer can repair it.

use std::fmt;

use super::scan::{ScanError, ScanFault};
use super::syntax;
use crate::wire::{NameError, Type};

/// Why text or octets are not RDATA of a type. The writer's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdataError {
    pub rtype: Type,
    /// What people call the field at fault; empty if it is none in particular.
    pub field: &'static str,
    /// Octets from the start of the text, or of the RDATA where there is no text.
    pub at: usize,
    pub why: Wrong,
}

/// What is wrong; its text continues a sentence that began with the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The text ends before this field.
    Missing,
    /// The text or the octets go on behind the last field.
    Extra,
    /// The octets end inside this field.
    Short,
    /// No number, or one past the greatest it may be.
    Number(u64),
    /// No duration of at most 2³²−1 seconds.
    Seconds,
    /// No moment.
    Time,
    /// Neither a number nor a name of one.
    Code,
    /// No record type.
    Type,
    /// No IPv4 address.
    V4,
    /// No IPv6 address.
    V6,
    /// No name.
    Name(NameError),
    /// A character-string of more than 255 octets.
    LongText,
    /// A backslash without three digits up to 255 or one character behind it.
    Escape,
    /// Not hexadecimal, or half an octet.
    Hex,
    /// Not base64.
    Base64,
    /// Not base32 with the extended hex alphabet.
    Base32,
    /// More than 65 535 octets.
    TooLong,
    /// `\#` with a length that is not that of the octets behind it.
    GenericLength,
    /// Fewer octets than the field needs.
    Empty,
    /// The type has no text form but `\#`.
    OnlyGeneric,
    /// The type never stands in a zone.
    Meta,
    /// The text cannot be cut into tokens.
    Scan(ScanFault),
    /// What only this form can have wrong; a predicate.
    Malformed(&'static str),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Missing => "is missing",
            Wrong::Extra => "has more behind its end",
            Wrong::Short => "ends too early",
            Wrong::Number(max) => return write!(f, "is not a number from 0 to {max}"),
            Wrong::Seconds => "is not a number of seconds, or one with units such as 1h30m",
            Wrong::Time => "is not a time: write YYYYMMDDHHmmSS, or seconds since 1970",
            Wrong::Code => "is neither a number of its range nor a known mnemonic",
            Wrong::Type => "is not a record type: write an unknown one as TYPE and its number",
            Wrong::V4 => "is not an IPv4 address such as 192.0.2.1",
            Wrong::V6 => "is not an IPv6 address such as 2001:db8::1",
            Wrong::Name(error) => return write!(f, "is not a name: {error}"),
            Wrong::LongText => {
                "is a string longer than 255 octets: cut it into several, each in quotes"
            }
            Wrong::Escape => {
                "has an escape that is neither \\DDD up to 255 nor a backslash and one character"
            }
            Wrong::Hex => "is not pairs of hexadecimal digits",
            Wrong::Base64 => "is not base64",
            Wrong::Base32 => "is not base32hex (digits and letters up to V)",
            Wrong::TooLong => "is longer than 65535 octets",
            Wrong::GenericLength => "does not have the length that \\# announces",
            Wrong::Empty => "is empty",
            Wrong::OnlyGeneric => {
                "has no text form of its own: write \\#, the number of octets, and the octets in hexadecimal"
            }
            Wrong::Meta => "is a type of messages, not of zones: remove the record",
            Wrong::Scan(fault) => return fault.fmt(f),
            Wrong::Malformed(predicate) => predicate,
        })
    }
}

impl fmt::Display for RdataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Wrong::Scan(fault) = self.why {
            return fault.fmt(f);
        }
        write!(f, "{}", self.rtype)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, " {}", self.why)?;
        if matches!(self.why, Wrong::Missing | Wrong::Extra) {
            write!(f, ": {} takes {}", self.rtype, syntax(self.rtype))?;
        }
        Ok(())
    }
}

impl std::error::Error for RdataError {}

/// A fault before it is known in which type and field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) why: Wrong,
}

impl Bad {
    pub(super) fn new(at: usize, why: Wrong) -> Bad {
        Bad { at, why }
    }

    pub(super) fn of(self, rtype: Type, field: &'static str) -> RdataError {
        RdataError { rtype, field, at: self.at, why: self.why }
    }
}

impl From<ScanError> for Bad {
    fn from(error: ScanError) -> Bad {
        Bad { at: error.at, why: Wrong::Scan(error.fault) }
    }
}
