//! Records and RRsets, owned, RDATA in uncompressed wire form.
//!
//! For people's changes, zone checks and clients. The answer path and the bulk of a zone never go
//! through these types: they are convenient, not small.

use serde::{Deserialize, Serialize};

use super::{Name, Serial, Type};

/// One resource record of class IN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub owner: Name,
    pub rtype: Type,
    /// Seconds.
    pub ttl: u32,
    /// Uncompressed wire form.
    pub rdata: Box<[u8]>,
}

/// All records of one owner and type, of class IN ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5).
///
/// The RDATA are distinct and in canonical order ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.3): kept so by
/// [`RrSet::new`] and [`RrSet::insert`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrSet {
    pub owner: Name,
    pub rtype: Type,
    /// Seconds; one for the whole set ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5.2).
    pub ttl: u32,
    rdatas: Vec<Box<[u8]>>,
}

impl RrSet {
    /// A set of `rdatas`, sorted, doubles dropped.
    pub fn new(owner: Name, rtype: Type, ttl: u32, rdatas: Vec<Box<[u8]>>) -> RrSet {
        let mut rdatas = rdatas;
        rdatas.sort_unstable();
        rdatas.dedup();
        RrSet { owner, rtype, ttl, rdatas }
    }

    /// The RDATA in order.
    pub fn rdatas(&self) -> &[Box<[u8]>] {
        &self.rdatas
    }

    /// Adds one; returns whether it was new.
    pub fn insert(&mut self, rdata: Box<[u8]>) -> bool {
        match self.rdatas.binary_search(&rdata) {
            Ok(_) => false,
            Err(at) => {
                self.rdatas.insert(at, rdata);
                true
            }
        }
    }

    /// Takes one out; returns whether it was there.
    pub fn remove(&mut self, rdata: &[u8]) -> bool {
        match self.rdatas.binary_search_by(|mine| mine.as_ref().cmp(rdata)) {
            Ok(at) => {
                self.rdatas.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether no record is left.
    pub fn is_empty(&self) -> bool {
        self.rdatas.is_empty()
    }

    /// The serial, if this is a SOA RRset.
    pub fn soa_serial(&self) -> Option<Serial> {
        let rdata = self.rdatas.first().filter(|_| self.rtype == Type::SOA)?;
        let at = rdata.len().checked_sub(20)?;
        let octets: [u8; 4] = rdata.get(at..at + 4)?.try_into().ok()?;
        Some(Serial(u32::from_be_bytes(octets)))
    }
}
