//! What people may do, as plain functions over the store.
//!
//! An operation takes [`Manage`] and a [`Context`](access::Context), checks the right before it reads
//! the row, and does its work in one transaction: state, event and receipt agree, or nothing
//! happened. Zones change only through the door of `maintain`; a basket changes nothing that is served.
//!
//! Does not: speak HTTP, wait for the network, or run as async. The edge wraps it.

pub mod access;
pub mod change;
pub mod id;
pub mod time;
