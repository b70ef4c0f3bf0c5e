//! Records and RRsets, owned, RDATA in uncompressed wire form.
//!
//! For people's changes, zone checks and clients. The answer path and the bulk of a zone never go
//! through these types: they are convenient, not small.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::rdata::canonical_cmp;
use super::{Name, Serial, Type};

/// One resource record of class IN.
///
/// Two are equal when their canonical forms are ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.2): the case of names makes no other record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub owner: Name,
    pub rtype: Type,
    /// Seconds.
    pub ttl: u32,
    /// Uncompressed wire form.
    pub rdata: Box<[u8]>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.rtype == other.rtype
            && self.ttl == other.ttl
            && self.owner == other.owner
            && canonical_cmp(self.rtype, &self.rdata, &other.rdata) == Ordering::Equal
    }
}

impl Eq for Record {}

/// All records of one owner and type, of class IN ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5).
///
/// The RDATA are distinct and in canonical order ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.3), case kept as written: kept so by
/// [`RrSet::new`] and [`RrSet::insert`]. Two sets are equal when their canonical forms are.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
        rdatas.sort_by(|left, right| canonical_cmp(rtype, left, right));
        rdatas.dedup_by(|later, first| canonical_cmp(rtype, later, first) == Ordering::Equal);
        RrSet { owner, rtype, ttl, rdatas }
    }

    /// The RDATA in order.
    pub fn rdatas(&self) -> &[Box<[u8]>] {
        &self.rdatas
    }

    /// Adds one; returns whether it was new.
    pub fn insert(&mut self, rdata: Box<[u8]>) -> bool {
        match self.position(&rdata) {
            Ok(_) => false,
            Err(at) => {
                self.rdatas.insert(at, rdata);
                true
            }
        }
    }

    /// Takes one out; returns whether it was there.
    pub fn remove(&mut self, rdata: &[u8]) -> bool {
        match self.position(rdata) {
            Ok(at) => {
                self.rdatas.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether this record is there, whatever the case of its names.
    pub fn contains(&self, rdata: &[u8]) -> bool {
        self.position(rdata).is_ok()
    }

    fn position(&self, rdata: &[u8]) -> Result<usize, usize> {
        self.rdatas.binary_search_by(|mine| canonical_cmp(self.rtype, mine, rdata))
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

impl PartialEq for RrSet {
    fn eq(&self, other: &RrSet) -> bool {
        let pairs = self.rdatas.iter().zip(&other.rdatas);
        let mut orders = pairs.map(|(mine, theirs)| canonical_cmp(self.rtype, mine, theirs));
        self.rtype == other.rtype
            && self.ttl == other.ttl
            && self.owner == other.owner
            && self.rdatas.len() == other.rdatas.len()
            && orders.all(Ordering::is_eq)
    }
}

impl Eq for RrSet {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rdata;

    fn set(rtype: Type, texts: &[&str]) -> RrSet {
        let rdatas = texts.iter().map(|text| rdata::parse(rtype, text, None).unwrap()).collect();
        RrSet::new(Name::parse("x.").unwrap(), rtype, 60, rdatas)
    }

    #[test]
    fn rfc4034_6_3_records_stand_in_canonical_order() {
        let mx = set(Type::MX, &["10 B.", "10 a.", "9 z."]);
        let shown: Vec<String> =
            mx.rdatas().iter().map(|rdata| rdata::display(Type::MX, rdata).to_string()).collect();
        assert_eq!(shown, ["9 z.", "10 a.", "10 B."]);
    }

    #[test]
    fn the_case_of_a_name_makes_no_other_record() {
        let mut ns = set(Type::NS, &["A.example.", "a.example."]);
        assert_eq!(ns.rdatas().len(), 1);
        assert_eq!(ns, set(Type::NS, &["a.EXAMPLE."]));
        let upper = rdata::parse(Type::NS, "A.EXAMPLE.", None).unwrap();
        assert!(ns.contains(&upper) && !ns.insert(upper.clone()) && ns.remove(&upper));
        assert!(ns.is_empty());
        assert_ne!(set(Type::TXT, &["a"]), set(Type::TXT, &["A"]));
    }
}
