//! Deltas: the step from one version of a zone to the next, RRset by RRset.

use crate::wire::{Name, RrSet, Type};

/// An RRset with the RDATA of the RRSIG records that cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub rrset: RrSet,
    pub sigs: Vec<Box<[u8]>>,
}

/// One RRset before and after; never the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    pub owner: Name,
    pub rtype: Type,
    pub before: Option<Set>,
    pub after: Option<Set>,
}

/// All changed RRsets between two versions, in canonical order of owners, then by type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    pub changes: Vec<SetChange>,
}
