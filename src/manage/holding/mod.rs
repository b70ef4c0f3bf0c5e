//! What organisations hold: zones, and TSIG keys; and which servers serve the zones.

pub mod catalog;
pub mod check;
pub mod dnssec;
pub mod dnssec_policy;
pub mod file;
pub mod import;
pub mod primaries;
pub mod secondary;
pub mod servers;
pub mod tsig;
pub mod version;
pub mod zone;
