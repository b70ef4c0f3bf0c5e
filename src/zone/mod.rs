//! What a zone is at one serial: its nodes, the rules they keep, the edits that turn one version
//! into the next, and its text.

pub mod check;
pub mod chunk;
pub mod delta;
pub mod edit;
pub mod packed;
pub mod serial;
pub mod text;
pub mod tree;
pub mod view;

pub use edit::{Base, Conflict, Op, RrSetEdit};
pub use view::{ReadFault, View};
