//! Answering: all zones rendered to octets ahead of time, and the way from a question to its answer.
//!
//! [`render`] turns a zone's records into [`Rendered`] nodes, each holding what one name is answered with;
//! the [`Writer`] puts them into the pages of a new [`Snapshot`]; [`respond`] finds the node and copies.
//!
//! Promises: an answer allocates nothing, waits for nobody and sees one snapshot.
//!
//! Does not: parse queries, write OPT, limit rates or know clients (see `serve`).

mod ahead;
mod asked;
mod build;
mod bulk;
mod chain;
mod denial;
mod image;
mod leaf;
mod lump;
mod make;
mod node;
mod nsec3;
mod page;
mod places;
pub mod prefetch;
mod publish;
mod put;
mod referral;
pub mod render;
mod rendered;
mod respond;
mod table;

pub use ahead::Ahead;
pub use bulk::Bulk;
pub use chain::NSEC3_ITERATIONS_MAX;
pub use node::ZoneState;
pub use publish::{Guard, Published, Writer};
pub use rendered::{ChainPart, Rendered};
pub use respond::{CHAIN_MAX, Kind, Outcome, respond, respond_ahead, respond_if};
pub use table::{Snapshot, ZoneFacts};
