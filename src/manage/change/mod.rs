//! Changes of zones as people make them: asked for in a basket, placed as an order, approved, applied,
//! served, and undone.

pub mod apply;
pub mod approval;
pub mod ask;
pub mod basket;
pub mod confirm;
pub mod draft;
pub mod explain;
pub mod file;
pub mod item;
mod kept;
mod left;
pub mod merged;
pub mod order;
pub mod pending;
pub mod policy;
pub mod push;
pub mod receipt;
mod refusal;
pub mod revert;
pub mod schedule;
pub mod settle;
pub mod shown;
pub mod state;
pub mod update;

#[cfg(test)]
pub(in crate::manage) use left::keep_as_before;
