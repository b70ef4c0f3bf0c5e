//! The messages this server sends of its own accord, and what is read out of the answers.

use crate::wire::header::{Flags, HEADER_OCTETS, Header};
use crate::wire::query::RecordAt;
use crate::wire::{Name, Opcode, Rcode, RrSet, Type, rdata};

/// An OPT record: 4096 octets, version 0; the octet that holds DO is set or not.
const OPT: [u8; 11] = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
const OPT_DO_AT: usize = 7;

/// What a question says beside its name and type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Of a resolver: look it up.
    pub recursive: bool,
    /// With signatures.
    pub dnssec: bool,
}

/// A query of one question, with EDNS.
pub(super) fn query(owner: &Name, rtype: Type, how: How) -> Vec<u8> {
    let flags = Flags(if how.recursive { Flags::RD } else { 0 });
    let header = Header { flags, questions: 1, additionals: 1, ..Header::default() };
    let mut octets = begin(header, owner, rtype);
    let opt = octets.len();
    octets.extend_from_slice(&OPT);
    if let Some(octet) = octets.get_mut(opt + OPT_DO_AT).filter(|_| how.dnssec) {
        *octet = 0x80;
    }
    octets
}

/// A NOTIFY with the SOA as it is here ([RFC 1996](https://www.rfc-editor.org/rfc/rfc1996) §3.7).
pub(super) fn notify(apex: &Name, soa: &RrSet) -> Vec<u8> {
    let flags = Flags(u16::from(Opcode::NOTIFY.0) << 11 | Flags::AA);
    let rdata = soa.rdatas().first().filter(|rdata| rdata.len() <= usize::from(u16::MAX));
    let answers = u16::from(rdata.is_some());
    let header = Header { flags, questions: 1, answers, ..Header::default() };
    let mut octets = begin(header, apex, Type::SOA);
    if let Some(rdata) = rdata {
        octets.extend_from_slice(&[0xc0, HEADER_OCTETS as u8]);
        octets.extend_from_slice(&Type::SOA.0.to_be_bytes());
        octets.extend_from_slice(&[0, 1]);
        octets.extend_from_slice(&soa.ttl.to_be_bytes());
        octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(rdata);
    }
    octets
}

fn begin(header: Header, owner: &Name, rtype: Type) -> Vec<u8> {
    let mut octets = vec![0; HEADER_OCTETS];
    header.write(&mut octets);
    octets.extend_from_slice(owner.as_wire());
    octets.extend_from_slice(&rtype.0.to_be_bytes());
    octets.extend_from_slice(&[0, 1]);
    octets
}

/// What an answer says to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub rcode: Rcode,
    pub authoritative: bool,
    /// The RRset that was asked for.
    pub set: Option<RrSet>,
    /// The RDATA of the RRSIG records that cover it, sorted.
    pub sigs: Vec<Box<[u8]>>,
    /// Whether a CNAME or DNAME answers instead.
    pub alias: bool,
    /// Whether it points to other servers.
    pub referral: bool,
}

impl Answer {
    /// Reads the answer to a question; none when it is not in form.
    pub fn read(owner: &Name, rtype: Type, reply: &[u8]) -> Option<Answer> {
        let header = Header::read(reply)?;
        let (rcode, authoritative) = (header.flags.rcode(), header.flags.0 & Flags::AA != 0);
        let referral = rcode == Rcode::NOERROR
            && !authoritative
            && header.answers == 0
            && header.authorities > 0;
        let mut read =
            Answer { rcode, authoritative, set: None, sigs: vec![], alias: false, referral };
        if header.questions == 0 {
            return Some(read);
        }
        let mut at = HEADER_OCTETS + owner.as_wire().len() + 4;
        let (mut rdatas, mut ttl) = (Vec::new(), 0);
        for _ in 0..header.answers {
            let record = RecordAt::read(reply, at).ok()?;
            // RDATA of NS is a name and nothing else, so what reads it reads an owner too.
            let name = rdata::expand(Type::NS, reply, at..record.rdata_at.checked_sub(10)?).ok()?;
            at = record.end;
            let asked = name.eq_ignore_ascii_case(owner.as_wire());
            let whole = || rdata::expand(record.rtype, reply, record.rdata_at..record.end).ok();
            if asked && record.rtype == rtype {
                ttl = record.ttl;
                rdatas.push(whole()?);
            } else if asked && record.rtype == Type::RRSIG {
                let covers = |sig: &[u8]| sig.first_chunk() == Some(&rtype.0.to_be_bytes());
                read.sigs.extend(whole().filter(|sig| covers(sig)));
            } else {
                read.alias |= record.rtype == Type::CNAME || record.rtype == Type::DNAME;
            }
        }
        read.sigs.sort();
        let set = RrSet::new(owner.clone(), rtype, ttl, rdatas);
        read.set = (!set.is_empty()).then_some(set);
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1996_3_7_a_notify_carries_the_soa_as_a_hint() {
        let apex = Name::parse("example.").unwrap();
        let rdata = rdata::parse(Type::SOA, "ns host 7 2 3 4 5", Some(&apex)).unwrap();
        let soa = RrSet::new(apex.clone(), Type::SOA, 60, vec![rdata]);
        let octets = notify(&apex, &soa);
        let header = Header::read(&octets).unwrap();
        assert_eq!(header.flags.opcode(), Opcode::NOTIFY);
        assert!(header.flags.0 & Flags::AA != 0 && !header.flags.is_response());
        let read = Answer::read(&apex, Type::SOA, &octets).unwrap();
        assert_eq!(read.set, Some(soa));
    }

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_none_or_has_less() {
        let apex = Name::parse("example.").unwrap();
        let rdata = rdata::parse(Type::SOA, "ns host 7 2 3 4 5", Some(&apex)).unwrap();
        let octets = notify(&apex, &RrSet::new(apex.clone(), Type::SOA, 60, vec![rdata]));
        for len in 0..octets.len() {
            assert_eq!(Answer::read(&apex, Type::SOA, &octets[..len]), None, "{len}");
        }
    }
}
