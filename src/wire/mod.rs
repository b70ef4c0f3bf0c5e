//! Octets: what stands on the wire and in a zone file, and nothing about what it means to a server.
//!
//! Everything here is a function of its arguments. No slice is indexed without a check: what comes
//! in is hostile.

pub mod name;
pub mod record;
pub mod types;

pub use name::{Name, NameError};
pub use record::{Record, RrSet};
pub use types::{Class, Opcode, Rcode, Serial, Type};
