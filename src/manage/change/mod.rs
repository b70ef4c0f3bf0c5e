//! Changes of zones as people make them: asked for in a basket, placed as an order, approved, applied,
//! served, and undone.

pub mod pending;
pub mod state;
