//! What organisations hold: zones.

pub mod import;
pub mod zone;
