//! What is asked of zones, and what became of it.

use std::fmt;
use std::sync::Arc;

use super::dnssec::DnssecWish;
use crate::sign::Plan;
use crate::wire::{Name, RrSet, Serial, Type};
use crate::zone::delta::Step;
use crate::zone::{Conflict, ReadFault, RrSetEdit};

/// One thing asked of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneChange {
    /// A new zone, held by `org` (opaque here).
    Create { apex: Name, org: String, content: Content },
    /// The zone and everything in it goes. Its serial is remembered for a zone of the same name.
    Delete { apex: Name },
    /// The zone's content becomes exactly this; the serial moves forward if anything differs.
    Replace { apex: Name, content: Content },
    /// Single RRsets change. Several of these for one zone count as one.
    Edit { apex: Name, edits: Vec<RrSetEdit> },
    /// The zone goes to another holder; nothing served changes.
    Move { apex: Name, org: String },
    /// The zone is answered or refused, or its commits are stopped.
    SetState { apex: Name, state: ZoneState },
    /// The zone is signed like this from now on, with keys put before or in the same commit
    /// (see [`Door::put_signing_key`](super::Door::put_signing_key)); none, no longer.
    SetSigning { apex: Name, plan: Option<Box<Plan>> },
    /// The zone is to be signed, or to be so no longer, as soon as that is safe.
    SetDnssec { apex: Name, wish: DnssecWish },
    /// A new zone without records, held by `org`: a secondary that is still to be transferred.
    Expect { apex: Name, org: String },
    /// The zone's content becomes what a primary has, under the primary's serial.
    Transfer { apex: Name, transferred: Transferred },
}

/// What a primary sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transferred {
    /// What is here is what it has: the zone is answered again if it was expired.
    Same,
    /// The steps from what is here, oldest first.
    Steps(Vec<Step>),
    /// The zone as a whole, [packed](Content::Packed) or [staged](Content::Staged). `any_serial` takes
    /// it even if its serial is not ahead: an operator said so.
    Whole { content: Content, any_serial: bool },
}

impl ZoneChange {
    /// The zone it is asked of.
    pub fn apex(&self) -> &Name {
        match self {
            ZoneChange::Create { apex, .. }
            | ZoneChange::Delete { apex }
            | ZoneChange::Replace { apex, .. }
            | ZoneChange::Edit { apex, .. }
            | ZoneChange::Move { apex, .. }
            | ZoneChange::SetState { apex, .. }
            | ZoneChange::SetSigning { apex, .. }
            | ZoneChange::Expect { apex, .. }
            | ZoneChange::Transfer { apex, .. }
            | ZoneChange::SetDnssec { apex, .. } => apex,
        }
    }
}

/// The records of a whole zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// [Packed](crate::zone::packed) nodes in canonical order. `presigned` content is kept as it is,
    /// with its serial, which must be ahead of every serial the zone had.
    Packed { octets: Vec<u8>, presigned: bool },
    /// RRsets in any order.
    RrSets(Vec<RrSet>),
    /// Records staged before, under a data version of their own.
    Staged(Staged),
}

impl Content {
    /// Whether it is kept as somebody else signed it.
    pub(super) fn is_presigned(&self) -> bool {
        match self {
            Content::Packed { presigned, .. } => *presigned,
            Content::RrSets(_) => false,
            Content::Staged(staged) => staged.presigned,
        }
    }
}

/// A handle to records that stand in the store and belong to no version of a zone yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub(super) zone: u32,
    pub(super) generation: u32,
    pub(super) counts: crate::zone::chunk::Counts,
    pub(super) presigned: bool,
    /// The number of the plan it is signed by.
    pub(super) signed_by: Option<u64>,
}

/// How a zone takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZoneState {
    /// Served and changed.
    Live,
    /// Kept, not served.
    Staged,
    /// Served at its last version; every change is refused.
    Held,
    /// Answered with REFUSED.
    Suspended,
    /// Answered with SERVFAIL: a secondary whose records are too old, or that has none yet.
    Expired,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    pub zones: Vec<AppliedZone>,
}

/// What a commit did to one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedZone {
    pub apex: Name,
    pub zone: u32,
    /// The serial before; none for a zone that was created.
    pub from: Option<Serial>,
    /// The serial now; none for a zone that was deleted. The same as `from` when nothing changed.
    pub to: Option<Serial>,
    /// Changed RRsets in canonical order, the SOA's serial not counted, at most [`CHANGED_MAX`].
    pub changed: Arc<[ChangedRrSet]>,
    /// How many changed in all.
    pub changed_count: usize,
    pub old: Old,
}

/// What was answered before a commit, as far as others may still keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// The longest TTL, in seconds, of what went or changed; and whether something came that was not
    /// there before.
    Sets { ttl_s: u32, fresh: bool },
    /// All content, which the store still has under this generation until the keeper lets it go.
    Everything { generation: u32 },
}

impl Old {
    /// Nothing that anybody could have asked for.
    pub const NOTHING: Old = Old::Sets { ttl_s: 0, fresh: false };

    /// What this and a `later` commit left.
    #[must_use]
    pub fn and(self, later: Old) -> Old {
        match (self, later) {
            (Old::Sets { ttl_s, fresh }, Old::Sets { ttl_s: other, fresh: more }) => {
                Old::Sets { ttl_s: ttl_s.max(other), fresh: fresh | more }
            }
            (everything @ Old::Everything { .. }, _) | (_, everything) => everything,
        }
    }
}

/// How many changed RRsets of one zone are reported one by one.
pub const CHANGED_MAX: usize = 1_000;

/// One RRset before and after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRrSet {
    pub owner: Name,
    pub rtype: Type,
    pub before: Option<RrSet>,
    pub after: Option<RrSet>,
}

/// Why nothing was applied: every reason of every zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub zones: Vec<RefusedZone>,
}

/// Why one zone's change was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedZone {
    pub apex: Name,
    pub reasons: Vec<Reason>,
}

/// One reason. All but the last are the asker's to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No zone of this name.
    UnknownZone,
    /// There is a zone of this name already.
    ZoneExists,
    /// The zone is held: its commits are stopped.
    Held,
    /// The zone is kept as its signer made it: replace it as a whole, or strip its signatures.
    PreSigned,
    /// The zone has its primary elsewhere: what it holds is changed there.
    Secondary,
    /// A primary's steps do not lead on from what is here: ask it for the whole zone.
    Astray(String),
    /// The base is stale.
    Conflict(Box<Conflict>),
    /// A zone rule would be broken. `text` says how, and the way out.
    Broken { rule: &'static str, owner: Name, text: String },
    /// The zone cannot be signed; `text` says why. Nothing of the change is kept.
    Signing { text: String },
    /// A limit; `text` names it.
    Limit { text: String },
    /// The zone cannot be read. An operator's to repair.
    Unreadable(ReadFault),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::UnknownZone => f.write_str("no such zone"),
            Reason::ZoneExists => f.write_str("zone exists already: replace it, or delete it first"),
            Reason::Held => f.write_str("zone is held: an operator stopped its changes"),
            Reason::PreSigned => f.write_str(
                "zone is pre-signed and kept as it is: replace it as a whole, or import it with its signatures stripped",
            ),
            Reason::Secondary => f.write_str(
                "zone is a secondary: change it at its primary, or make it a primary here first",
            ),
            Reason::Astray(text) => f.write_str(text),
            Reason::Conflict(conflict) => conflict.fmt(f),
            Reason::Broken { text, .. }
            | Reason::Signing { text }
            | Reason::Limit { text } => f.write_str(text),
            Reason::Unreadable(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for zone in &self.zones {
            for reason in &zone.reasons {
                if !std::mem::take(&mut first) {
                    f.write_str("; ")?;
                }
                write!(f, "{}: {reason}", zone.apex)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
