//! What organisations hold: zones, and TSIG keys.

pub mod check;
pub mod file;
pub mod import;
pub mod primaries;
pub mod tsig;
pub mod version;
pub mod zone;
