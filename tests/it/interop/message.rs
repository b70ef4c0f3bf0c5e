//! Messages as these tests see them: sections as sets, names expanded and lower-cased.
//!
//! Reads the wire by itself: what compares the server with others must not share its mistakes.

use std::collections::BTreeSet;
use std::fmt;

/// One record, comparable whatever its spelling on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub owner: String,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    /// Uncompressed, names in it lower-cased.
    pub rdata: Vec<u8>,
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole second word of the header, RCODE included.
    pub flags: u16,
    /// The question section, octet for octet.
    pub question: Vec<u8>,
    pub answer: BTreeSet<Record>,
    pub authority: BTreeSet<Record>,
    /// Without OPT.
    pub additional: BTreeSet<Record>,
    /// Of OPT: extended RCODE, version and flags.
    pub edns: Option<u32>,
}

pub const AA: u16 = 0x0400;
pub const TC: u16 = 0x0200;

/// The types named in these tests.
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const RRSIG: u16 = 46;
    pub const NSEC: u16 = 47;
    pub const DNSKEY: u16 = 48;
    pub const NSEC3: u16 = 50;
    pub const ANY: u16 = 255;
}

impl Record {
    /// The RRset it belongs to; signatures make one set with each type they cover.
    fn set(&self) -> (&str, u16, &[u8]) {
        let covers = if self.rtype == rtype::RRSIG { &self.rdata[..2] } else { &[][..] };
        (&self.owner, self.rtype, covers)
    }
}

impl Answer {
    /// Reads a response; none if it is not one.
    pub fn parse(wire: &[u8]) -> Option<Answer> {
        let word = |at: usize| Some(u16::from_be_bytes([*wire.get(at)?, *wire.get(at + 1)?]));
        let flags = word(2)?;
        let mut at = 12;
        for _ in 0..word(4)? {
            at = name(wire, at)?.1 + 4;
        }
        let mut answer = Answer {
            flags,
            question: wire.get(12..at)?.to_vec(),
            answer: BTreeSet::new(),
            authority: BTreeSet::new(),
            additional: BTreeSet::new(),
            edns: None,
        };
        for section in 0..3 {
            for _ in 0..word(6 + 2 * section)? {
                let (record, end) = record(wire, at)?;
                at = end;
                match section {
                    _ if record.rtype == rtype::OPT => answer.edns = Some(record.ttl),
                    0 => drop(answer.answer.insert(record)),
                    1 => drop(answer.authority.insert(record)),
                    _ => drop(answer.additional.insert(record)),
                }
            }
        }
        (at == wire.len()).then_some(answer)
    }

    pub fn rcode(&self) -> u16 {
        self.flags & 15
    }

    /// No answer, not authoritative, and NS records of a cut: go and ask there.
    pub fn is_referral(&self) -> bool {
        self.flags & AA == 0
            && self.rcode() == 0
            && self.authority.iter().any(|record| record.rtype == rtype::NS)
    }

    /// Whether this is `whole` cut to a size as RFC 2181 §9 allows: with TC set any RRset may be missing,
    /// without it only additional ones; an RRset that is there is there with all its records.
    pub fn is_part_of(&self, whole: &Answer) -> bool {
        let cut = self.flags & TC != 0;
        let sections = [
            (&self.answer, &whole.answer, cut),
            (&self.authority, &whole.authority, cut),
            (&self.additional, &whole.additional, true),
        ];
        // What was cut may have been what made the RCODE.
        let flags = if cut && self.rcode() == 0 { whole.flags & !15 } else { whole.flags };
        self.flags & !TC == flags
            && sections.into_iter().all(|(part, whole, may_lack)| {
                let there = |record: &&Record| part.iter().any(|one| one.set() == record.set());
                let sets_there: BTreeSet<_> = whole.iter().filter(there).collect();
                sets_there == part.iter().collect() && (may_lack || part == whole)
            })
    }

    /// What differs, by section and type: the same for differences of one kind.
    pub fn difference(&self, other: &Answer) -> String {
        let mut kind = String::new();
        if self.flags != other.flags {
            kind += &format!("flags {:04x} not {:04x}; ", self.flags, other.flags);
        }
        let sections = [
            ("answer", &self.answer, &other.answer),
            ("authority", &self.authority, &other.authority),
            ("additional", &self.additional, &other.additional),
        ];
        for (name, ours, theirs) in sections {
            let types = |one: &BTreeSet<Record>, but: &BTreeSet<Record>| {
                let types: BTreeSet<u16> = one.difference(but).map(|record| record.rtype).collect();
                format!("{types:?}")
            };
            if ours != theirs {
                let (more, less) = (types(ours, theirs), types(theirs, ours));
                kind += &format!("{name} has {more}, lacks {less}; ");
            }
        }
        kind
    }

    /// Whether any section holds a record of a type.
    pub fn has(&self, rtype: u16) -> bool {
        let sections = [&self.answer, &self.authority, &self.additional];
        sections.into_iter().flatten().any(|record| record.rtype == rtype)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flags {:04x} edns {:08x?}", self.flags, self.edns)?;
        let sections = [("an", &self.answer), ("au", &self.authority), ("ad", &self.additional)];
        for (name, section) in sections {
            for record in section.iter().take(6) {
                let Record { owner, rtype, ttl, .. } = record;
                let rdata: String =
                    record.rdata.iter().take(24).map(|octet| format!("{octet:02x}")).collect();
                write!(f, "\n    {name} {owner} {ttl} TYPE{rtype} {rdata}")?;
            }
            if section.len() > 6 {
                write!(f, "\n    {name} … {} in all", section.len())?;
            }
        }
        Ok(())
    }
}

/// The record at `at`, and where the next begins.
fn record(wire: &[u8], at: usize) -> Option<(Record, usize)> {
    let (owner, at) = name(wire, at)?;
    let head = wire.get(at..at + 10)?;
    let rtype = u16::from_be_bytes([head[0], head[1]]);
    let class = u16::from_be_bytes([head[2], head[3]]);
    let ttl = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let end = at + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
    let rdata = expand(wire, rtype, at + 10, end)?;
    Some((Record { owner: text(&owner), rtype, class, ttl, rdata }, end))
}

/// RDATA with the names of the types that may have compressed ones expanded and lower-cased.
fn expand(wire: &[u8], rtype: u16, start: usize, end: usize) -> Option<Vec<u8>> {
    // (octets before the first name, names), RFC 1035 §3.3, RFC 1183, RFC 2782, RFC 4034, RFC 6672.
    let (before, names) = match rtype {
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | rtype::DNAME | rtype::NSEC => (0, 1),
        6 | 14 | 17 => (0, 2),
        15 | 18 | 21 | 36 => (2, 1),
        rtype::SRV => (6, 1),
        rtype::RRSIG => (18, 1),
        _ => (0, 0),
    };
    let mut octets = wire.get(start..start + before)?.to_vec();
    let mut at = start + before;
    for _ in 0..names {
        let (name, next) = name(wire, at)?;
        octets.extend(name.to_ascii_lowercase());
        at = next;
    }
    octets.extend(wire.get(at..end)?);
    Some(octets)
}

/// The name at `at`, uncompressed, and where what follows it begins.
fn name(wire: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut octets = Vec::new();
    let mut end = None;
    loop {
        let len = usize::from(*wire.get(at)?);
        if len >= 0xC0 {
            end.get_or_insert(at + 2);
            let to = (len & 0x3F) << 8 | usize::from(*wire.get(at + 1)?);
            // A pointer must lead back, or this would never end.
            at = if to < at { to } else { return None };
            continue;
        }
        octets.extend(wire.get(at..at + 1 + len)?);
        at += 1 + len;
        if len == 0 {
            return Some((octets, end.unwrap_or(at)));
        }
    }
}

/// A name for people and maps: lower-case, odd octets escaped.
pub fn text(name: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while name[at] != 0 {
        let len = usize::from(name[at]);
        for &octet in &name[at + 1..at + 1 + len] {
            match octet.to_ascii_lowercase() {
                b'.' => text.push_str("\\."),
                b'\\' => text.push_str("\\\\"),
                octet @ 33..=126 => text.push(char::from(octet)),
                octet => text.push_str(&format!("\\{octet:03}")),
            }
        }
        text.push('.');
        at += 1 + len;
    }
    if text.is_empty() { ".".into() } else { text }
}
