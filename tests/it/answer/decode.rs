//! Responses taken apart, slowly: names expanded, records as sets.

use std::collections::BTreeSet;
use std::fmt;

use nameplane::wire::{Name, Type};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub owner: Name,
    pub rtype: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} TYPE{} {}", self.owner, self.ttl, self.rtype, self.rdata.escape_ascii())
    }
}

/// What a response says, its records as sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    pub rcode: u8,
    pub aa: bool,
    pub tc: bool,
    pub answer: BTreeSet<Record>,
    pub authority: BTreeSet<Record>,
    pub additional: BTreeSet<Record>,
}

/// Takes a message apart; no record may stand in it twice, no octet may be left.
pub fn decode(message: &[u8]) -> Said {
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    assert_eq!(word(4), 1, "one question");
    let mut at = 12;
    name_at(message, &mut at);
    at += 4;
    let mut sections = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for (section, count) in sections.iter_mut().zip([word(6), word(8), word(10)]) {
        for _ in 0..count {
            let record = record_at(message, &mut at);
            if record.rtype != Type::OPT.0 {
                assert!(section.insert(record.clone()), "{record:?} twice");
            }
        }
    }
    assert_eq!(at, message.len(), "octets left");
    let [answer, authority, additional] = sections;
    let flags = word(2);
    Said {
        rcode: (flags & 15) as u8,
        aa: flags & 0x0400 != 0,
        tc: flags & 0x0200 != 0,
        answer,
        authority,
        additional,
    }
}

fn record_at(message: &[u8], at: &mut usize) -> Record {
    let owner = name_at(message, at);
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let (rtype, class) = (word(*at), word(*at + 2));
    let ttl = u32::from(word(*at + 4)) << 16 | u32::from(word(*at + 6));
    let len = usize::from(word(*at + 8));
    let mut here = *at + 10;
    *at = here + len;
    assert!(class == 1 || rtype == Type::OPT.0);
    let mut rdata = Vec::new();
    let (skip, names) = match rtype {
        2 | 5 | 12 => (0, 1),
        6 => (0, 2),
        15 => (2, 1),
        _ => (0, 0),
    };
    rdata.extend_from_slice(&message[here..here + skip]);
    here += skip;
    for _ in 0..names {
        rdata.extend_from_slice(name_at(message, &mut here).as_wire());
    }
    rdata.extend_from_slice(&message[here..*at]);
    Record { owner, rtype, ttl, rdata }
}

/// The name at `at`, in lower case; `at` goes behind it.
fn name_at(message: &[u8], at: &mut usize) -> Name {
    let mut wire = Vec::new();
    let (mut here, mut end) = (*at, None);
    loop {
        let len = usize::from(message[here]);
        if len >= 0xc0 {
            let target = (len & 0x3f) << 8 | usize::from(message[here + 1]);
            assert!(target < here, "a pointer forwards");
            end = end.or(Some(here + 2));
            here = target;
            continue;
        }
        wire.extend_from_slice(&message[here..=here + len]);
        here += 1 + len;
        if len == 0 {
            break;
        }
    }
    *at = end.unwrap_or(here);
    Name::from_wire(&wire).unwrap().to_lowercase()
}
