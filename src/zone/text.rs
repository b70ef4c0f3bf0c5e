//! Zone files, in and out ([RFC 1035] §5, [RFC 2308] §4, and what people write beyond them).
//!
//! Reading goes over the whole file whatever it finds, and reports every fault with its place and
//! the way out; only a file without errors becomes a zone. Records are gathered as they come, then
//! sorted once into [packed nodes](super::packed).
//!
//! Promises: nothing panics on any input; no input makes more records than [`Limits`] allow; what
//! [`write`] writes, [`parse`] reads back to the same zone.
//!
//! Does not: open files (a callback gives the text of an `$INCLUDE`), nor know zone rules: it asks
//! [`super::check`] for those that a file breaks, if it is told to, and says where.
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035
//! [RFC 2308]: https://www.rfc-editor.org/rfc/rfc2308

mod faults;
mod gather;
mod generate;
mod pieces;
mod read;
mod write;

use std::fmt;
use std::sync::Arc;

pub use read::parse;
pub use write::{WriteError, write};

use super::check::Rule;
use crate::wire::{Name, Serial};

/// How deep `$INCLUDE` may nest: real zones use one level, a loop uses all.
pub const INCLUDE_DEPTH_MAX: usize = 8;

/// Records one file may make, included files and `$GENERATE` counted, unless [`Limits`] say otherwise.
pub const RECORDS_MAX: usize = 50_000_000;

/// Records all `$GENERATE` of one file may make, unless [`Limits`] say otherwise: a /16 reverse zone.
pub const GENERATE_MAX: usize = 65_536;

/// Files that `$INCLUDE` may open in all: nested ones multiply.
pub const INCLUDES_MAX: usize = 1_000;

/// Faults reported of one file; the rest is counted.
pub const FAULTS_MAX: usize = 1_000;

/// Octets of one file, included files counted: places in it are kept in 32 bits.
pub const INPUT_OCTETS_MAX: usize = u32::MAX as usize;

/// The greatest TTL, in seconds ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §8).
pub const TTL_MAX: u32 = i32::MAX as u32;

/// Gives the text of a file that `$INCLUDE` names, or why it may not be had.
pub type Include<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// How to read a file.
#[derive(Default)]
pub struct Options<'a> {
    /// Completes relative names until the first `$ORIGIN`; the apex if none is given.
    pub origin: Option<Name>,
    /// The name the zone must have; the owner of its SOA if none is given.
    pub apex: Option<Name>,
    /// For records without a TTL where the file gives no way to know one, in seconds.
    pub default_ttl: Option<u32>,
    /// Opens included files; without it `$INCLUDE` is a fault.
    pub includes: Option<&'a mut Include<'a>>,
    pub limits: Limits,
    /// How many threads may read a large file at once; none but the caller's up to one.
    pub hands: usize,
    /// Whether the rules of zones that the file breaks are faults too. Whoever commits the zone checks them anyway,
    /// but knows no lines.
    pub rules: bool,
}

/// How much a file may make of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records in all.
    pub records: usize,
    /// Records made by `$GENERATE` in all.
    pub generate: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { records: RECORDS_MAX, generate: GENERATE_MAX }
    }
}

/// A zone as a file had it. Unless [`Options::rules`] was set, its records keep no rule yet but to be inside the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub apex: Name,
    /// [Packed nodes](super::packed) in canonical order, each RRSIG with the set it covers.
    pub packed: Vec<u8>,
    /// Owners.
    pub names: usize,
    /// RRsets, RRSIGs not counted.
    pub rrsets: usize,
    /// Records, RRSIGs counted.
    pub records: usize,
    /// Of the SOA, if there is one.
    pub serial: Option<Serial>,
    /// Whether the apex has DNSKEY, and RRSIG over its SOA: the file was signed elsewhere.
    pub signed: bool,
    /// What is odd but was read.
    pub warnings: Vec<Fault>,
}

/// Whether a fault keeps the file from becoming a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The included file, as `$INCLUDE` named it; none for the file itself.
    pub file: Option<Arc<str>>,
    /// From 1.
    pub line: u32,
    /// Octets from 1.
    pub column: u32,
    pub severity: Severity,
    /// The rule of zones that is broken here, and by whom, if that is the fault.
    pub breaks: Option<(Rule, Name)>,
    /// With the way out.
    pub what: String,
}

impl fmt::Display for Fault {
    /// `12:5: error: …`, the included file in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: {}", self.line, self.column, self.what)
    }
}
