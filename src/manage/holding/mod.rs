//! What organisations hold: zones, and TSIG keys.

pub mod check;
pub mod dnssec;
pub mod dnssec_policy;
pub mod file;
pub mod import;
pub mod primaries;
pub mod tsig;
pub mod version;
pub mod zone;
