//! The numbers of the protocol, each a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An RR TYPE ([RFC 6895](https://www.rfc-editor.org/rfc/rfc6895) §3.1). Text forms live with the table of all types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Type(pub u16);

#[rustfmt::skip]
impl Type {
    pub const A: Type = Type(1);           pub const NS: Type = Type(2);
    pub const CNAME: Type = Type(5);       pub const SOA: Type = Type(6);
    pub const PTR: Type = Type(12);        pub const MX: Type = Type(15);
    pub const TXT: Type = Type(16);        pub const AAAA: Type = Type(28);
    pub const SRV: Type = Type(33);        pub const NAPTR: Type = Type(35);
    pub const DNAME: Type = Type(39);      pub const OPT: Type = Type(41);
    pub const DS: Type = Type(43);         pub const RRSIG: Type = Type(46);
    pub const NSEC: Type = Type(47);       pub const DNSKEY: Type = Type(48);
    pub const NSEC3: Type = Type(50);      pub const NSEC3PARAM: Type = Type(51);
    pub const CDS: Type = Type(59);        pub const CDNSKEY: Type = Type(60);
    pub const CSYNC: Type = Type(62);      pub const ZONEMD: Type = Type(63);
    pub const SVCB: Type = Type(64);       pub const HTTPS: Type = Type(65);
    pub const TKEY: Type = Type(249);      pub const TSIG: Type = Type(250);
    pub const IXFR: Type = Type(251);      pub const AXFR: Type = Type(252);
    pub const ANY: Type = Type(255);       pub const CAA: Type = Type(257);
}

impl Type {
    /// Whether records of this type cannot stand in a zone: OPT, and the meta and QTYPE range of
    /// [RFC 6895](https://www.rfc-editor.org/rfc/rfc6895) §3.1, and type 0.
    pub fn is_meta(self) -> bool {
        self == Type::OPT || self.0 == 0 || (128..=255).contains(&self.0)
    }
}

/// A CLASS ([RFC 6895](https://www.rfc-editor.org/rfc/rfc6895) §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

impl Class {
    pub const IN: Class = Class(1);
    pub const CH: Class = Class(3);
    pub const HS: Class = Class(4);
    pub const NONE: Class = Class(254);
    pub const ANY: Class = Class(255);
}

/// An OPCODE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    pub const QUERY: Opcode = Opcode(0);
    pub const NOTIFY: Opcode = Opcode(4);
    pub const UPDATE: Opcode = Opcode(5);
}

/// An RCODE, extended to 12 bits ([RFC 6891](https://www.rfc-editor.org/rfc/rfc6891) §6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
    pub const YXDOMAIN: Rcode = Rcode(6);
    pub const YXRRSET: Rcode = Rcode(7);
    pub const NXRRSET: Rcode = Rcode(8);
    pub const NOTAUTH: Rcode = Rcode(9);
    pub const NOTZONE: Rcode = Rcode(10);
    pub const BADVERS: Rcode = Rcode(16);
    /// An error of TSIG ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §3): never in a header. In one, 16 is BADVERS.
    pub const BADSIG: Rcode = Rcode(16);
    pub const BADKEY: Rcode = Rcode(17);
    pub const BADTIME: Rcode = Rcode(18);
    pub const BADTRUNC: Rcode = Rcode(22);
    pub const BADCOOKIE: Rcode = Rcode(23);
}

impl fmt::Display for Rcode {
    /// Its name, where it stands in a header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Rcode::NOERROR => "NOERROR",
            Rcode::FORMERR => "FORMERR",
            Rcode::SERVFAIL => "SERVFAIL",
            Rcode::NXDOMAIN => "NXDOMAIN",
            Rcode::NOTIMP => "NOTIMP",
            Rcode::REFUSED => "REFUSED",
            Rcode::YXDOMAIN => "YXDOMAIN",
            Rcode::YXRRSET => "YXRRSET",
            Rcode::NXRRSET => "NXRRSET",
            Rcode::NOTAUTH => "NOTAUTH",
            Rcode::NOTZONE => "NOTZONE",
            Rcode::BADVERS => "BADVERS",
            Rcode::BADCOOKIE => "BADCOOKIE",
            Rcode(other) => return write!(f, "RCODE {other}"),
        };
        f.write_str(name)
    }
}

/// A zone's serial: a number on a circle ([RFC 1982](https://www.rfc-editor.org/rfc/rfc1982)), so it has no `Ord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Serial(pub u32);

impl Serial {
    /// Whether a secondary that holds `self` must take `other`. False for the undefined pair too.
    pub fn is_before(self, other: Serial) -> bool {
        matches!(other.0.wrapping_sub(self.0), 1..0x8000_0000)
    }

    /// The next serial. Wraps.
    #[must_use]
    pub fn next(self) -> Serial {
        Serial(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1982_3_2_serials_compare_on_a_circle() {
        assert!(Serial(u32::MAX).is_before(Serial(0)));
        assert!(Serial(1).is_before(Serial(0x8000_0000)));
        assert!(!Serial(0).is_before(Serial(0x8000_0000)));
        assert!(!Serial(7).is_before(Serial(7)));
        assert_eq!(Serial(u32::MAX).next(), Serial(0));
    }
}
