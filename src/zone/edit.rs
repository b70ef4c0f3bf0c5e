//! Edits: what people ask of RRsets, each with the base its author saw.
//!
//! An edit is compared with the zone at the moment it is applied. Adding and removing ask only for
//! that record's presence, so two people who add to one RRset both succeed, and what is already so
//! is no conflict. Replacing, deleting and setting the TTL ask that the whole RRset, value and TTL,
//! is still the one the author saw.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::{Name, RrSet, Type};

/// One change to one RRset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrSetEdit {
    pub owner: Name,
    pub rtype: Type,
    pub op: Op,
    pub base: Base,
}

/// What is asked of the RRset. RDATA are in uncompressed wire form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// These records are there afterwards. `ttl` (seconds) is for a set that does not exist yet; one
    /// that does keeps its own ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5.2).
    Add { ttl: u32, rdatas: Vec<Box<[u8]>> },
    /// These records are gone afterwards; the set with them when they were its last.
    Remove { rdatas: Vec<Box<[u8]>> },
    /// The set is exactly this afterwards; none if `rdatas` is empty. `ttl` in seconds.
    Replace { ttl: u32, rdatas: Vec<Box<[u8]>> },
    /// The records stay, the TTL (seconds) changes.
    SetTtl { ttl: u32 },
    /// The set is gone afterwards.
    Delete,
}

/// What the author saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing is compared: the author gives no base.
    Unchecked,
    /// The RRset as it was; none if there was none.
    Seen(Option<RrSet>),
}

/// A change whose base is no longer what the zone holds, in three views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub owner: Name,
    pub rtype: Type,
    /// What the author saw.
    pub base: Option<RrSet>,
    /// What is served now.
    pub now: Option<RrSet>,
    /// What the author wants.
    pub yours: Option<RrSet>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} was changed since you saw it", self.owner, self.rtype)
    }
}
