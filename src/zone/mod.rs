//! What a zone is at one serial: its nodes, the rules they keep, the edits that turn one version
//! into the next, and its text.

pub mod packed;
pub mod view;

pub use view::{ReadFault, View};
