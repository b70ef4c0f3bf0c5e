//! What is asked: every owner of a zone with every type, and the names around each owner.

use std::collections::BTreeSet;
use std::fmt;

use super::message::{rtype, text};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Uncompressed wire form, case as asked.
    pub name: Vec<u8>,
    pub rtype: u16,
    pub edns: Edns,
}

/// What a question says of EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edns {
    Without,
    Plain,
    Dnssec,
}

impl Question {
    /// The query message.
    pub fn wire(&self, id: u16) -> Vec<u8> {
        let mut wire = id.to_be_bytes().to_vec();
        let additional = u8::from(self.edns != Edns::Without);
        wire.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, additional]);
        wire.extend(&self.name);
        wire.extend(self.rtype.to_be_bytes());
        wire.extend([0, 1]);
        match self.edns {
            Edns::Without => {}
            Edns::Plain => wire.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]),
            Edns::Dnssec => wire.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0, 0, 0]),
        }
        wire
    }

    /// The question section alone.
    pub fn section(&self) -> Vec<u8> {
        [&*self.name, &self.rtype.to_be_bytes(), &[0, 1]].concat()
    }

    pub fn dnssec(&self) -> bool {
        self.edns == Edns::Dnssec
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dnssec = if self.dnssec() { " +dnssec" } else { "" };
        write!(f, "{} TYPE{}{dnssec}", text(&self.name), self.rtype)
    }
}

/// The owners of a zone file, in wire form.
///
/// Enough of the format for the files of these suites: an owner stands at the start of its line,
/// only `$ORIGIN` and `$TTL` are used, comments have lines of their own, no name goes over lines.
pub fn owners(apex: &str, zone: &str) -> BTreeSet<Vec<u8>> {
    let mut origin = wire(apex);
    let mut found = BTreeSet::new();
    for line in zone.lines() {
        let Some(word) = line.split_ascii_whitespace().next() else { continue };
        match word {
            "$ORIGIN" => origin = wire(line.split_ascii_whitespace().nth(1).unwrap()),
            _ if word.starts_with([';', '$']) || line.starts_with([' ', '\t', ')']) => {}
            "@" => drop(found.insert(origin.clone())),
            _ if word.ends_with('.') && !word.ends_with("\\.") => drop(found.insert(wire(word))),
            _ => {
                let mut name = wire(word);
                name.pop();
                name.extend(&origin);
                found.insert(name);
            }
        }
    }
    found
}

/// A name in presentation form as octets, `\.` and `\DDD` understood.
pub fn wire(name: &str) -> Vec<u8> {
    let (mut octets, mut label) = (Vec::new(), Vec::new());
    let mut rest = name.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'.' => {
                octets.push(label.len() as u8);
                octets.append(&mut label);
            }
            b'\\' => {
                let first = rest.next().unwrap();
                if first.is_ascii_digit() {
                    let digits = [first, rest.next().unwrap(), rest.next().unwrap()];
                    let digits = String::from_utf8(digits.to_vec()).unwrap();
                    label.push(digits.parse().unwrap());
                } else {
                    label.push(first);
                }
            }
            octet => label.push(octet),
        }
    }
    if !label.is_empty() {
        octets.push(label.len() as u8);
        octets.append(&mut label);
    }
    octets.push(0);
    octets
}

/// The types each owner itself is asked for.
const TYPES: &[u16] = &[
    1, 2, 5, 6, 12, 13, 15, 16, 17, 18, 28, 29, 33, 35, 36, 37, 39, 43, 44, 45, 46, 47, 48, 49, 50,
    51, 52, 53, 59, 60, 61, 64, 65, 108, 109, 255, 256, 257, 65280, 65281,
];

/// The types the names around an owner are asked for.
const FEW: &[u16] = &[rtype::A, rtype::NS, rtype::TXT, rtype::DS, rtype::ANY];

/// Every question about a zone.
pub fn questions(apex: &str, zone: &str) -> Vec<Question> {
    let apex = wire(apex);
    let owners = owners(&text(&apex), zone);
    let mut all = BTreeSet::new();
    let mut ask = |name: &[u8], types: &[u16]| {
        for &rtype in types.iter().filter(|_| name.len() <= 255) {
            for edns in [Edns::Plain, Edns::Dnssec] {
                all.insert(Question { name: name.to_vec(), rtype, edns });
            }
        }
    };
    for owner in &owners {
        ask(owner, TYPES);
        ask(&mixed_case(owner), &[rtype::A, rtype::TXT, rtype::CNAME]);
        for name in around(owner, &apex) {
            ask(&name, FEW);
        }
    }
    all.into_iter().collect()
}

/// The names below, beside and above an owner.
fn around(owner: &[u8], apex: &[u8]) -> Vec<Vec<u8>> {
    let below = |labels: &str| [&wire(labels)[..wire(labels).len() - 1], owner].concat();
    let mut names: Vec<_> =
        ["x", "*", "a.b", "*.c", "0", "zzzz", "xxxxx", "xxxxxx"].map(below).into();
    if owner != apex {
        let first = usize::from(owner[0]);
        let rest = &owner[1 + first..];
        let label = &owner[1..1 + first];
        let beside = |label: Vec<u8>| [&[label.len() as u8][..], &label, rest].concat();
        if first < 63 {
            names.push(beside([label, b"0"].concat()));
            names.push(beside([b"0", label].concat()));
        }
        if first > 1 {
            names.push(beside(label[..first - 1].to_vec()));
        }
        names.push(beside(b"*".to_vec()));
        // Every name between the owner and the apex: empty non-terminals among them.
        let mut above = rest;
        while above.len() > apex.len() {
            names.push(above.to_vec());
            above = &above[1 + usize::from(above[0])..];
        }
    }
    names
}

/// Every second letter in the other case.
fn mixed_case(name: &[u8]) -> Vec<u8> {
    let mut mixed = name.to_vec();
    let mut at = 0;
    while mixed[at] != 0 {
        let len = usize::from(mixed[at]);
        for (i, octet) in mixed[at + 1..at + 1 + len].iter_mut().enumerate() {
            if i % 2 == 0 && octet.is_ascii_alphabetic() {
                *octet ^= 0x20;
            }
        }
        at += 1 + len;
    }
    mixed
}
