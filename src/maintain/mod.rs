//! Keeps zones true: the one door through which they change, their start-up, their upkeep.

pub mod change;

pub use change::{
    Applied, AppliedZone, ChangedRrSet, Content, Reason, Refusal, RefusedZone, Staged, ZoneChange,
    ZoneState,
};
