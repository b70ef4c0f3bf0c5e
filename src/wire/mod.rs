//! Octets: what stands on the wire and in a zone file, and nothing about what it means to a server.
//!
//! Everything here is a function of its arguments. No slice is indexed without a check: what comes
//! in is hostile.

pub mod edns;
pub mod hash;
pub mod header;
pub mod name;
pub mod query;
pub mod rdata;
pub mod record;
pub mod reply;
pub mod tsig;
pub mod types;

pub use hash::HashKey;
pub use header::{Flags, Header};
pub use name::{Name, NameError};
pub use query::Query;
pub use record::{Record, RrSet};
pub use reply::{Reply, Section};
pub use tsig::TsigKey;
pub use types::{Class, Opcode, Rcode, Serial, Type};
