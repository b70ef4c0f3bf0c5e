//! Requests in, outcomes out: what happens to a message between its arrival and its reply.
//!
//! [`handle_batch`] is the checklist every message runs down, whatever transport brought it: form,
//! OPCODE, cookie, class, type, zone, rate. Most outcomes are replies, written where the query
//! stood. What needs more than the snapshot — NOTIFY, UPDATE, transfers — leaves as an [`Ask`] and
//! is put to whoever implements [`Asks`].
//!
//! Promises: a query costs no allocation, no lock and no system call; `now` is an argument.
//!
//! Does not: move octets (see [`transport`](crate::transport)), nor look names up (see
//! [`answer`](crate::answer)).

pub mod acl;
pub mod asks;
mod chaos;
pub mod cookie;
mod demand;
mod handle;
pub mod keys;
pub mod rrl;
mod shared;
mod signed;
pub mod talkers;
#[cfg(test)]
pub(crate) mod testing;

pub use acl::Prefixes;
pub use asks::{Asks, Messages, Refuse};
pub use handle::{Ask, Context, Outcome, Slot, handle, handle_batch};
pub use keys::Keyring;
pub use shared::{Desk, Settings, Shared, Transport};
