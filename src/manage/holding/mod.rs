//! What organisations hold: zones.

pub mod check;
pub mod file;
pub mod import;
pub mod version;
pub mod zone;
