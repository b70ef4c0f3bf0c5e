//! A query, understood: one question, OPT, and where TSIG stands.
//!
//! A [`Query`] is a place to parse into, kept by whoever receives and used again for each message:
//! it borrows nothing, so the reply can be written over the message, and a whole batch can be
//! parsed before the first is answered.
//!
//! Promises: no allocation; the name in lower case, and the [hash](HashKey) of every name above it,
//! out of one pass; time linear in the message.
//!
//! Does not: judge what is asked. Records of NOTIFY and UPDATE are only counted and skipped.

use super::edns::{EDNS_VERSION, Edns};
use super::hash::{self, HashKey};
use super::header::{Flags, HEADER_OCTETS, Header};
use super::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use super::{Class, Opcode, Rcode, Type};

/// Labels of the longest name, the root not counted.
pub const LABELS_MAX: usize = 127;

/// A name, and enough behind it for whole blocks to be read at its last label.
const NAME_BUFFER: usize = NAME_OCTETS_MAX + 1 + 64;

/// One query. Valid after [`parse`](Query::parse), until the next.
pub struct Query {
    name: [u8; NAME_BUFFER],
    /// Where each label starts; behind the last, the root.
    offsets: [u8; LABELS_MAX + 1],
    hashes: [u64; LABELS_MAX + 1],
    labels: u8,
    name_len: u16,
    question_end: u16,
    tsig_at: u16,
    /// The header as it came.
    pub header: Header,
    pub qtype: Type,
    pub qclass: Class,
    pub edns: Option<Edns>,
}

/// Why a message gets no answer of substance. The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Say nothing: too short for a header, or itself a response.
    Silent,
    /// Answer with this RCODE. What was understood before the fault stands in the query.
    Answer(Rcode),
}

const FORMERR: Fault = Fault::Answer(Rcode::FORMERR);

impl Default for Query {
    fn default() -> Query {
        Query {
            name: [0; NAME_BUFFER],
            offsets: [0; LABELS_MAX + 1],
            hashes: [0; LABELS_MAX + 1],
            labels: 0,
            name_len: 0,
            question_end: 0,
            tsig_at: 0,
            header: Header::default(),
            qtype: Type(0),
            qclass: Class(0),
            edns: None,
        }
    }
}

impl Query {
    /// Takes `message` apart; `key` hashes the names.
    ///
    /// # Errors
    ///
    /// [`Fault`]: say nothing, or answer with FORMERR, NOTIMP or BADVERS.
    #[inline]
    pub fn parse(&mut self, message: &[u8], key: &HashKey) -> Result<(), Fault> {
        self.question_end = HEADER_OCTETS as u16;
        self.tsig_at = 0;
        self.name_len = 0;
        self.labels = 0;
        self.edns = None;
        let header = Header::read(message).ok_or(Fault::Silent)?;
        self.header = header;
        if header.flags.is_response() || message.len() > usize::from(u16::MAX) {
            return Err(Fault::Silent);
        }
        let opcode = header.flags.opcode();
        if !matches!(opcode, Opcode::QUERY | Opcode::NOTIFY | Opcode::UPDATE) {
            return Err(self.misunderstood(message, Fault::Answer(Rcode::NOTIMP)));
        }
        // RFC 9619: one question. None is good only beside a cookie (RFC 7873 §5.4).
        match header.questions {
            1 => self.read_question(message, key)?,
            0 if opcode == Opcode::QUERY => {}
            _ => return Err(self.misunderstood(message, FORMERR)),
        }
        self.read_records(message)?;
        let cookie_only = self.edns.as_ref().is_some_and(|edns| edns.cookie.is_some());
        if header.questions == 0 && !cookie_only {
            return Err(FORMERR);
        }
        Ok(())
    }

    /// The name asked for, in lower case, root label included; empty if there was no question.
    #[inline]
    pub fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    /// How many labels the name has, the root not counted.
    #[inline]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// Where the name `skip` labels above starts within [`name`](Query::name).
    #[inline]
    pub fn offset(&self, skip: usize) -> usize {
        self.offsets.get(skip).map_or(0, |&at| usize::from(at))
    }

    /// The name `skip` labels above the one asked for, in lower case: 0 is the name, [`labels`](Query::labels) the root.
    #[inline]
    pub fn suffix(&self, skip: usize) -> &[u8] {
        self.name().get(self.offset(skip)..).unwrap_or_default()
    }

    /// The hash of the name `skip` labels above the one asked for.
    #[inline]
    pub fn hash(&self, skip: usize) -> u64 {
        self.hashes.get(skip).copied().unwrap_or_default()
    }

    /// Where the question ends in the message: behind the header if there was none.
    #[inline]
    pub fn question_end(&self) -> usize {
        usize::from(self.question_end)
    }

    /// Where the TSIG record starts, if the message ends with one.
    pub fn tsig_at(&self) -> Option<usize> {
        (self.tsig_at > 0).then(|| usize::from(self.tsig_at))
    }

    /// Whether the client wants signatures.
    #[inline]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok)
    }

    /// The header's flags.
    #[inline]
    pub fn flags(&self) -> Flags {
        self.header.flags
    }

    #[inline]
    fn read_question(&mut self, message: &[u8], key: &HashKey) -> Result<(), Fault> {
        let wire = message.get(HEADER_OCTETS..).unwrap_or_default();
        let mut at = 0usize;
        let mut labels = 0usize;
        loop {
            let len = usize::from(*wire.get(at).ok_or(FORMERR)?);
            *self.offsets.get_mut(labels).ok_or(FORMERR)? = at as u8;
            if len == 0 {
                break;
            }
            // A pointer has nothing to point to in the first name of a message.
            if len > LABEL_OCTETS_MAX {
                return Err(FORMERR);
            }
            at += 1 + len;
            labels += 1;
            if at >= NAME_OCTETS_MAX {
                return Err(FORMERR);
            }
        }
        let name_len = at + 1;
        let tail = wire.get(name_len..).and_then(|tail| tail.first_chunk::<4>());
        let &[t0, t1, c0, c1] = tail.ok_or(FORMERR)?;
        self.qtype = Type(u16::from_be_bytes([t0, t1]));
        self.qclass = Class(u16::from_be_bytes([c0, c1]));
        self.labels = labels as u8;
        self.name_len = name_len as u16;
        self.question_end = (HEADER_OCTETS + name_len + 4) as u16;
        self.lower(wire, name_len);
        self.hash_suffixes(wire, key);
        Ok(())
    }

    /// Copies the name. Octets behind the end of a short one come along; nobody reads them unmasked.
    #[inline]
    fn lower(&mut self, wire: &[u8], len: usize) {
        // Length octets are below any letter, so they pass unchanged.
        let block = len.max(hash::BLOCK);
        let (Some(to), Some(from)) = (self.name.get_mut(..block), wire.get(..block)) else {
            // A short name at the very end of the message: one without OPT.
            for (to, from) in self.name.iter_mut().zip(wire) {
                *to = from.to_ascii_lowercase();
            }
            return;
        };
        for (to, from) in to.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0) {
            *to = hash::lower_block(*from);
        }
        if let (Some(to), Some(from)) = (to.last_chunk_mut(), from.last_chunk()) {
            *to = hash::lower_block(*from);
        }
    }

    /// Hashes every name above out of the message itself where it can: what was just copied in blocks
    /// cannot be read across them without waiting.
    #[inline]
    fn hash_suffixes(&mut self, wire: &[u8], key: &HashKey) {
        let mut left = usize::from(self.labels);
        let mut hash = key.root();
        if let Some(slot) = self.hashes.get_mut(left) {
            *slot = hash;
        }
        // An index, not an iterator from behind: that would walk down to the last label first.
        while left > 0 {
            left -= 1;
            let (Some(&at), Some(slot)) = (self.offsets.get(left), self.hashes.get_mut(left))
            else {
                return;
            };
            let at = usize::from(at);
            let block = wire.get(at..).and_then(|rest| rest.first_chunk());
            hash = match block.and_then(|block| key.short_child(hash, *block)) {
                Some(hash) => hash,
                None => key.child_at(hash, &self.name, at),
            };
            *slot = hash;
        }
    }

    /// Skips the records behind the question; takes OPT in, marks TSIG.
    #[inline]
    fn read_records(&mut self, message: &[u8]) -> Result<(), Fault> {
        let header = self.header;
        let mut at = self.question_end();
        let before = usize::from(header.answers) + usize::from(header.authorities);
        if before == 0 && header.additionals == 0 {
            return if at == message.len() { Ok(()) } else { Err(FORMERR) };
        }
        if let Err(fault) = self.check_counts(header) {
            return Err(self.misunderstood(message, fault));
        }
        let total = before + usize::from(header.additionals);
        for number in 0..total {
            let record = RecordAt::read(message, at)?;
            match record.rtype {
                Type::OPT if number < before || self.edns.is_some() || record.named => {
                    return Err(FORMERR); // RFC 6891 §6.1.1
                }
                Type::OPT => {
                    // In place: what is written in small pieces and then moved has to be waited for.
                    let edns = self.edns.insert(Edns::new(record.class, record.ttl));
                    let rdata = message.get(record.rdata_at..record.end).unwrap_or_default();
                    if !rdata.is_empty() && edns.read_options(rdata).is_err() {
                        // Without OPT the reply would say that EDNS is not spoken (RFC 6891 §7).
                        *edns = Edns::new(record.class, record.ttl);
                        return Err(FORMERR);
                    }
                }
                Type::TSIG if number + 1 < total || number < before => {
                    return Err(self.misunderstood(message, FORMERR)); // RFC 8945 §5.1
                }
                Type::TSIG => self.tsig_at = at as u16,
                _ => {}
            }
            at = record.end;
        }
        if at != message.len() {
            return Err(FORMERR);
        }
        match &self.edns {
            Some(edns) if edns.version > EDNS_VERSION => Err(Fault::Answer(Rcode::BADVERS)),
            _ => Ok(()),
        }
    }

    /// Looks for the OPT of a message that is faulty in front of it: its reply must have one too
    /// ([RFC 6891](https://www.rfc-editor.org/rfc/rfc6891) §6.1.1), and says in it what is wrong. Returns that fault.
    #[cold]
    fn misunderstood(&mut self, message: &[u8], fault: Fault) -> Fault {
        self.edns = opt_of(message, self.header);
        fault
    }

    /// A query carries nothing but its question, but for the SOA of IXFR ([RFC 1995](https://www.rfc-editor.org/rfc/rfc1995) §3).
    fn check_counts(&self, header: Header) -> Result<(), Fault> {
        let soa = u16::from(self.qtype == Type::IXFR && header.questions == 1);
        let plain = header.answers == 0 && header.authorities <= soa;
        if header.flags.opcode() == Opcode::QUERY && !plain {
            return Err(FORMERR);
        }
        Ok(())
    }
}

/// What the OPT of a message says of itself, if the message can be read as far as that. Its options
/// are not looked at: what asks for something is not answered here.
fn opt_of(message: &[u8], header: Header) -> Option<Edns> {
    let mut at = HEADER_OCTETS;
    for _ in 0..header.questions {
        at = skip_name(message, at).ok()? + 4;
    }
    for _ in 0..usize::from(header.answers) + usize::from(header.authorities) {
        at = RecordAt::read(message, at).ok()?.end;
    }
    for _ in 0..header.additionals {
        let record = RecordAt::read(message, at).ok()?;
        if record.rtype == Type::OPT && !record.named {
            return Some(Edns::new(record.class, record.ttl));
        }
        at = record.end;
    }
    None
}

/// One record of a message, not looked into.
pub struct RecordAt {
    pub rtype: Type,
    pub class: u16,
    pub ttl: u32,
    /// Whether the owner is other than the root.
    pub named: bool,
    pub rdata_at: usize,
    pub end: usize,
}

impl RecordAt {
    /// The record at `at` of `message`. Its owner is skipped, not expanded.
    ///
    /// # Errors
    ///
    /// FORMERR when it does not end within the message.
    #[inline]
    pub fn read(message: &[u8], at: usize) -> Result<RecordAt, Fault> {
        let head_at = skip_name(message, at)?;
        let head = message.get(head_at..).and_then(|rest| rest.first_chunk::<10>());
        let &[t0, t1, c0, c1, l0, l1, l2, l3, n0, n1] = head.ok_or(FORMERR)?;
        let rdata_at = head_at + 10;
        let end = rdata_at + usize::from(u16::from_be_bytes([n0, n1]));
        if end > message.len() {
            return Err(FORMERR);
        }
        Ok(RecordAt {
            rtype: Type(u16::from_be_bytes([t0, t1])),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([l0, l1, l2, l3]),
            named: head_at != at + 1,
            rdata_at,
            end,
        })
    }
}

/// Where the name at `at` ends: behind its root label or its first pointer.
///
/// # Errors
///
/// FORMERR when it does not end within the message.
#[inline]
pub fn skip_name(message: &[u8], at: usize) -> Result<usize, Fault> {
    let mut here = at;
    loop {
        let len = *message.get(here).ok_or(FORMERR)?;
        match len {
            0 => return Ok(here + 1),
            1..=63 => here += 1 + usize::from(len),
            // A pointer to itself or ahead could never be followed to an end.
            0xc0.. => {
                let low = *message.get(here + 1).ok_or(FORMERR)?;
                let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                return if target < here { Ok(here + 2) } else { Err(FORMERR) };
            }
            _ => return Err(FORMERR),
        }
        if here - at >= NAME_OCTETS_MAX {
            return Err(FORMERR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    const ROOT_OPT: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    const WWW: &[u8] = b"\x03wWw\x07eXample\x03com\x00\x00\x01\x00\x01";

    fn key() -> HashKey {
        HashKey::new(*b"abcdefghijklmnopqrstuvwx")
    }

    /// A message of flags, counts and whatever follows.
    fn message(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
        let mut octets = vec![0; HEADER_OCTETS];
        let [questions, answers, authorities, additionals] = counts;
        let flags = Flags(flags);
        Header { id: 7, flags, questions, answers, authorities, additionals }.write(&mut octets);
        body.iter().for_each(|part| octets.extend_from_slice(part));
        octets
    }

    fn parse(message: &[u8]) -> Result<Query, Fault> {
        let mut query = Query::default();
        query.parse(message, &key()).map(|()| query)
    }

    #[test]
    fn a_query_is_lower_cased_and_hashed_at_every_label() {
        let query = parse(&message(0x0100, [1, 0, 0, 1], &[WWW, &ROOT_OPT])).unwrap();

        assert_eq!(query.name(), b"\x03www\x07example\x03com\x00");
        assert_eq!(query.labels(), 3);
        assert_eq!(query.suffix(1), b"\x07example\x03com\x00");
        assert_eq!(query.suffix(3), b"\x00");
        for (skip, name) in ["www.example.com.", "example.com.", "com.", "."].iter().enumerate() {
            let name = Name::parse(name).unwrap();
            assert_eq!(query.hash(skip), key().name(name.as_wire()), "{name}");
        }
        assert_eq!((query.qtype, query.qclass), (Type::A, Class::IN));
        assert_eq!(query.edns.unwrap().payload, 1232);
        assert_eq!(query.question_end(), HEADER_OCTETS + WWW.len());
    }

    #[test]
    fn the_longest_names_are_read_and_longer_ones_refused() {
        let labels_127 = [b"\x01a".repeat(127), vec![0, 0, 1, 0, 1]].concat();
        assert_eq!(parse(&message(0, [1, 0, 0, 0], &[&labels_127])).unwrap().labels(), 127);
        let octets_255 = [[63].repeat(64).repeat(3), [61].repeat(62), vec![0, 0, 1, 0, 1]].concat();
        assert_eq!(parse(&message(0, [1, 0, 0, 0], &[&octets_255])).unwrap().name().len(), 255);
        for over in [
            [b"\x01a".repeat(128), vec![0, 0, 1, 0, 1]].concat(),
            [[63].repeat(64).repeat(3), [62].repeat(63), vec![0, 0, 1, 0, 1]].concat(),
        ] {
            assert_eq!(parse(&message(0, [1, 0, 0, 0], &[&over])).err(), Some(FORMERR));
        }
    }

    #[test]
    fn responses_and_fragments_of_a_header_meet_silence() {
        let response = message(0x8000, [1, 0, 0, 0], &[WWW]);
        assert_eq!(parse(&response).err(), Some(Fault::Silent));
        for len in 0..HEADER_OCTETS {
            assert_eq!(parse(&message(0, [0; 4], &[])[..len]).err(), Some(Fault::Silent));
        }
    }

    #[test]
    fn malformed_messages_get_the_rcode_of_their_fault() {
        let opt_version_1: [u8; 11] = [0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0];
        let opt_cut: [u8; 13] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 2, 0, 3];
        let opt_named: [u8; 13] = [1, b'x', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
        let tsig: [u8; 11] = [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0];
        let pointer = b"\xc0\x0c\x00\x01\x00\x01";
        let loops = b"\xc0\x21\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00";
        let unknown_label = b"\x41a\x00\x00\x01\x00\x01";
        #[rustfmt::skip]
        let table: &[(&str, Vec<u8>, Rcode)] = &[
            ("no question",          message(0, [0, 0, 0, 0], &[]), Rcode::FORMERR),
            ("two questions",        message(0, [2, 0, 0, 0], &[WWW, WWW]), Rcode::FORMERR),
            ("question missing",     message(0, [1, 0, 0, 0], &[]), Rcode::FORMERR),
            ("question cut",         message(0, [1, 0, 0, 0], &[&WWW[..WWW.len() - 1]]), Rcode::FORMERR),
            ("pointer as name",      message(0, [1, 0, 0, 0], &[pointer]), Rcode::FORMERR),
            ("unknown label type",   message(0, [1, 0, 0, 0], &[unknown_label]), Rcode::FORMERR),
            ("octets left over",     message(0, [1, 0, 0, 0], &[WWW, &[0]]), Rcode::FORMERR),
            ("answer in a query",    message(0, [1, 1, 0, 0], &[WWW, &ROOT_OPT]), Rcode::FORMERR),
            ("record missing",       message(0, [1, 0, 0, 1], &[WWW]), Rcode::FORMERR),
            ("record cut",           message(0, [1, 0, 0, 1], &[WWW, &ROOT_OPT[..10]]), Rcode::FORMERR),
            ("two OPT",              message(0, [1, 0, 0, 2], &[WWW, &ROOT_OPT, &ROOT_OPT]), Rcode::FORMERR),
            ("OPT with a name",      message(0, [1, 0, 0, 1], &[WWW, &opt_named]), Rcode::FORMERR),
            ("OPT with a cut option",message(0, [1, 0, 0, 1], &[WWW, &opt_cut]), Rcode::FORMERR),
            ("OPT of version 1",     message(0, [1, 0, 0, 1], &[WWW, &opt_version_1]), Rcode::BADVERS),
            ("TSIG before OPT",      message(0, [1, 0, 0, 2], &[WWW, &tsig, &ROOT_OPT]), Rcode::FORMERR),
            ("owner pointing to itself", message(0, [1, 0, 0, 1], &[WWW, loops]), Rcode::FORMERR),
            ("inverse query",        message(0x0800, [0, 0, 0, 0], &[]), Rcode::NOTIMP),
            ("status",               message(0x1000, [1, 0, 0, 0], &[WWW]), Rcode::NOTIMP),
            ("stateful operations",  message(0x3000, [0, 0, 0, 0], &[]), Rcode::NOTIMP),
            ("OPCODE 15, nonsense",  message(0x7800, [9, 9, 9, 9], &[b"?"]), Rcode::NOTIMP),
            ("NOTIFY of nothing",    message(0x2000, [0, 0, 0, 0], &[]), Rcode::FORMERR),
        ];
        for (what, message, rcode) in table {
            assert_eq!(parse(message).err(), Some(Fault::Answer(*rcode)), "{what}");
        }
    }

    #[test]
    fn rfc6891_6_1_1_a_fault_in_front_of_opt_does_not_hide_it() {
        let mut query = Query::default();
        let tsig: [u8; 11] = [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0];
        for (what, message) in [
            ("status", message(0x1000, [1, 0, 0, 1], &[WWW, &ROOT_OPT])),
            ("OPCODE 15, no question", message(0x7800, [0, 0, 0, 1], &[&ROOT_OPT])),
            ("two questions", message(0, [2, 0, 0, 1], &[WWW, b"\xc0\x0c\0\x01\0\x01", &ROOT_OPT])),
            ("answer in a query", message(0, [1, 1, 0, 1], &[WWW, &[0; 11], &ROOT_OPT])),
            ("octets left over", message(0, [1, 0, 0, 1], &[WWW, &ROOT_OPT, &[0]])),
            ("TSIG not last", message(0, [1, 0, 0, 2], &[WWW, &tsig, &ROOT_OPT])),
        ] {
            assert!(query.parse(&message, &key()).is_err(), "{what}");
            assert_eq!(query.edns.map(|edns| edns.payload), Some(1232), "{what}");
        }
        let nowhere = message(0x1000, [9, 9, 9, 9], &[WWW, &ROOT_OPT]);
        assert!(query.parse(&nowhere, &key()).is_err() && query.edns.is_none());
    }

    #[test]
    fn flags_and_bits_that_mean_nothing_here_are_ignored() {
        for flags in [0x0040, 0x0020, 0x0010, 0x0400, 0x0200, 0x0080, 0x000f] {
            assert!(parse(&message(flags, [1, 0, 0, 0], &[WWW])).is_ok(), "{flags:04x}");
        }
        let unknown_flag: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0x40, 0x01, 0, 0];
        assert!(parse(&message(0, [1, 0, 0, 1], &[WWW, &unknown_flag])).is_ok());
    }

    #[test]
    fn a_cookie_alone_needs_no_question() {
        let opt = [&ROOT_OPT[..9], &[0, 12, 0, 10, 0, 8], &[1; 8]].concat();
        assert!(parse(&message(0, [0, 0, 0, 1], &[&opt])).is_ok());
        assert_eq!(parse(&message(0, [0, 0, 0, 1], &[&ROOT_OPT])).err(), Some(FORMERR));
    }

    #[test]
    fn ixfr_brings_its_soa_and_updates_bring_records() {
        let soa = [&[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 1], &[0u8][..]].concat();
        let ixfr = b"\x00\x00\xfb\x00\x01";
        assert!(parse(&message(0, [1, 0, 1, 0], &[ixfr, &soa])).is_ok());
        assert!(parse(&message(0x2800, [1, 1, 2, 0], &[WWW, &soa, &soa, &soa])).is_ok());
    }

    #[test]
    fn the_place_of_tsig_is_remembered() {
        let tsig: [u8; 11] = [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0];
        let query = parse(&message(0, [1, 0, 0, 2], &[WWW, &ROOT_OPT, &tsig])).unwrap();
        assert_eq!(query.tsig_at(), Some(HEADER_OCTETS + WWW.len() + ROOT_OPT.len()));
    }

    #[test]
    fn a_query_leaves_nothing_behind_for_the_next() {
        let mut query = Query::default();
        query.parse(&message(0, [1, 0, 0, 1], &[WWW, &ROOT_OPT]), &key()).unwrap();
        let _ = query.parse(&message(0, [0, 0, 0, 0], &[]), &key());
        assert!(query.edns.is_none() && query.name().is_empty());
        assert_eq!(query.question_end(), HEADER_OCTETS);
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(0u8.., 0..300)) {
            let _ = parse(&octets);
        }
    }
}
