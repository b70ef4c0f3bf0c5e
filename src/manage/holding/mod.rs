//! What organisations hold: zones, who may have them, and keys; and which servers serve them.

pub mod acl;
pub mod catalog;
pub mod check;
pub mod clock;
pub mod dnssec;
pub mod dnssec_key;
pub mod dnssec_policy;
mod dnssec_schedule;
pub mod file;
pub mod group;
pub mod held;
pub mod import;
pub mod primaries;
pub mod secondary;
pub mod secret;
pub mod servers;
pub mod tsig;
pub mod version;
pub mod waiver;
pub mod zone;
