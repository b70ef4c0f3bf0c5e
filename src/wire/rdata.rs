//! RDATA of every type: from text, to text, checked, walked, decompressed, compared.
//!
//! One [table](self::table) describes all types field by field; the rest interprets it. A type the
//! table does not know is an opaque row of octets ([RFC 3597]).
//!
//! Promises: what [`parse`] and [`expand`] return passes [`validate`]; what passes it is shown by
//! [`display`] as text that [`parse`] reads back to the same octets. Nothing panics on any input.
//!
//! Does not: know owners, TTLs or zones.
//!
//! [RFC 3597]: https://www.rfc-editor.org/rfc/rfc3597

pub mod bitmap;
mod codec;
mod error;
mod mnemonic;
mod odd;
mod read;
pub mod scan;
mod show;
mod svcb;
mod table;
mod walk;

pub use error::{RdataError, Wrong};
pub use mnemonic::{UnknownClass, UnknownType, syntax, types};
pub(crate) use read::seconds;
pub use read::{parse, parse_into, push_string};
pub use show::{Shown, display};
pub use walk::{
    NameAt, Names, RDATA_OCTETS_MAX, canonical, canonical_cmp, expand, expand_name, names, validate,
};
