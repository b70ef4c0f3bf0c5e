//! A transfer going out: records in, messages out.
//!
//! A transfer is a run of [`Part`]s: a SOA, then packed nodes, then another SOA, as AXFR
//! ([RFC 5936] §2.2) and IXFR ([RFC 1995] §4) order them. Messages are filled one at a time, so a
//! peer that takes them slowly costs one part and one message, whatever the zone's size.
//!
//! Promises: every message repeats the question and is at most as long as was said; records keep
//! the case they were written in (RFC 5936 §3.4).
//!
//! Does not: sign; leave room for what is put behind.
//!
//! [RFC 5936]: https://www.rfc-editor.org/rfc/rfc5936
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

use crate::wire::header::HEADER_OCTETS;
use crate::wire::reply::QNAME;
use crate::wire::{Flags, Header, Name, Query, Type, rdata};
use crate::zone::packed;

/// What a message is filled to. More gains little: compression reaches no further (RFC 5936 §3.4
/// and [RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §4.1.4: pointers have 14 bits).
pub const FILL_OCTETS: usize = 16 * 1024;

/// Octets of the longest message there is.
const MESSAGE_OCTETS_MAX: usize = 65_535;

/// How long messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// No record is added beyond this.
    fill: usize,
    /// A single record may have so much.
    most: usize,
}

impl Room {
    /// Messages of a stream, with `kept` octets free behind each.
    pub fn of_stream(kept: usize) -> Room {
        let most = MESSAGE_OCTETS_MAX.saturating_sub(kept);
        Room { fill: FILL_OCTETS.saturating_sub(kept), most }
    }

    /// One datagram of so many octets, with `kept` octets free in it.
    pub fn of_datagram(octets: usize, kept: usize) -> Room {
        let octets = octets.saturating_sub(kept);
        Room { fill: octets, most: octets }
    }
}

/// A piece of a transfer, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The SOA record by itself.
    Soa { ttl: u32, rdata: Box<[u8]> },
    /// Packed nodes. The SOA record of the apex is left out, for it goes by itself; its signatures
    /// are not.
    Nodes(Vec<u8>),
}

/// Gives the parts of one transfer.
pub trait Source: Send {
    /// The next part; none at the end.
    ///
    /// # Errors
    ///
    /// [`Lost`]: the version that is being sent can no longer be read. End the transfer unfinished.
    fn part(&mut self) -> Result<Option<Part>, Lost>;
}

/// Why a transfer ends before its end. The peer comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(pub String);

/// What every message of a transfer begins with.
#[derive(Debug, Clone)]
pub struct Question {
    id: u16,
    flags: Flags,
    /// As asked, so that the peer sees its own octets.
    name: Box<[u8]>,
    qtype: Type,
    /// The OPT record of the first message, if the peer sent one.
    opt: Option<[u8; 11]>,
}

impl Question {
    /// The question of `query`, which is `message`; `payload` is told to peers with EDNS.
    pub fn of(query: &Query, message: &[u8], payload: u16) -> Question {
        let name = message.get(HEADER_OCTETS..HEADER_OCTETS + query.name().len());
        let [high, low] = payload.to_be_bytes();
        let dnssec_ok = if query.dnssec_ok() { 0x80 } else { 0 };
        Question {
            id: query.header.id,
            flags: Flags(Flags::QR | Flags::AA | query.flags().echoed()),
            name: name.unwrap_or_default().into(),
            qtype: query.qtype,
            opt: query.edns.as_ref().map(|_| [0, 0, 41, high, low, 0, 0, dnssec_ok, 0, 0, 0]),
        }
    }
}

/// No room for another record.
struct Full;

/// A message in the making.
struct Message<'a> {
    out: &'a mut Vec<u8>,
    room: Room,
    answers: u16,
    /// Where the apex stands, in the octets its records have.
    apex_at: Option<u16>,
    /// The owner put last, and where.
    last: Option<(Box<[u8]>, u16)>,
}

impl<'a> Message<'a> {
    fn begin(out: &'a mut Vec<u8>, question: &Question, apex: &Name, room: Room) -> Message<'a> {
        out.clear();
        out.resize(HEADER_OCTETS, 0);
        out.extend_from_slice(&question.name);
        out.extend_from_slice(&question.qtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        let apex_at = (question.name.as_ref() == apex.as_wire()).then_some(QNAME);
        Message { out, room, answers: 0, apex_at, last: None }
    }

    /// Keeps `octets` free at the end.
    fn reserve(&mut self, octets: usize) {
        self.room.fill = self.room.fill.saturating_sub(octets);
        self.room.most = self.room.most.saturating_sub(octets);
    }

    /// Puts a name: a pointer where its octets, or their end, stand already.
    fn put_name(&mut self, name: &[u8], apex: &[u8]) {
        let Some(above) = name.strip_suffix(apex).filter(|above| is_labels(above)) else {
            self.out.extend_from_slice(name);
            return;
        };
        self.out.extend_from_slice(above);
        match self.apex_at {
            Some(pointer) => self.out.extend_from_slice(&pointer.to_be_bytes()),
            None => {
                if let Some(pointer) = pointer_to(self.out.len()) {
                    self.apex_at = Some(pointer);
                }
                self.out.extend_from_slice(apex);
            }
        }
    }

    fn put_owner(&mut self, owner: &[u8], apex: &[u8]) {
        if let Some((last, pointer)) = &self.last
            && **last == *owner
        {
            self.out.extend_from_slice(&pointer.to_be_bytes());
            return;
        }
        let at = self.out.len();
        self.put_name(owner, apex);
        self.last = pointer_to(at).map(|pointer| (owner.into(), pointer));
    }

    fn put_rdata(&mut self, rtype: Type, octets: &[u8], apex: &[u8]) {
        let mut copied = 0;
        if matches!(rtype, Type::NS | Type::CNAME | Type::SOA | Type::PTR | Type::MX) {
            for name in rdata::names(rtype, octets).filter(|name| name.compressible) {
                let before = octets.get(copied..name.offset);
                self.out.extend_from_slice(before.unwrap_or_default());
                self.put_name(name.wire, apex);
                copied = name.offset + name.wire.len();
            }
        }
        self.out.extend_from_slice(octets.get(copied..).unwrap_or_default());
    }

    /// Puts a record, or nothing of it.
    fn put(
        &mut self,
        owner: &[u8],
        rtype: Type,
        ttl: u32,
        octets: &[u8],
        apex: &[u8],
    ) -> Result<(), Full> {
        let (at, apex_at) = (self.out.len(), self.apex_at);
        let cap = if self.answers == 0 { self.room.most } else { self.room.fill };
        self.put_owner(owner, apex);
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        self.out.extend_from_slice(&[0, 1]);
        self.out.extend_from_slice(&ttl.to_be_bytes());
        let len_at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        self.put_rdata(rtype, octets, apex);
        let rdata_len = self.out.len() - len_at - 2;
        if self.out.len() > cap || self.answers == u16::MAX {
            self.out.truncate(at);
            self.apex_at = apex_at;
            self.last = None;
            return Err(Full);
        }
        if let Some(slot) = self.out.get_mut(len_at..len_at + 2) {
            slot.copy_from_slice(&(rdata_len as u16).to_be_bytes());
        }
        self.answers += 1;
        Ok(())
    }

    fn finish(self, question: &Question, opt: Option<[u8; 11]>) {
        if let Some(opt) = &opt {
            self.out.extend_from_slice(opt);
        }
        let additionals = u16::from(opt.is_some());
        let (id, flags, answers) = (question.id, question.flags, self.answers);
        Header { id, flags, questions: 1, answers, authorities: 0, additionals }.write(self.out);
    }
}

/// Whether `octets` are whole labels: a name ends like another only where its labels do.
fn is_labels(octets: &[u8]) -> bool {
    let mut rest = octets;
    while let Some((&len, behind)) = rest.split_first() {
        match behind.get(usize::from(len)..) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

fn pointer_to(at: usize) -> Option<u16> {
    u16::try_from(at).ok().filter(|at| *at < 0x4000).map(|at| 0xc000 | at)
}

/// One transfer on its way.
pub struct Outgoing<S> {
    question: Question,
    apex: Name,
    source: S,
    room: Room,
    part: Option<Part>,
    /// Octets of the part whose nodes are sent.
    at: usize,
    /// Records of the next node that are sent.
    sent: usize,
    first: bool,
    ended: bool,
}

impl<S: Source> Outgoing<S> {
    /// A transfer of the zone `apex` from `source`.
    pub fn new(question: Question, apex: Name, source: S, room: Room) -> Outgoing<S> {
        Outgoing {
            question,
            apex,
            source,
            room,
            part: None,
            at: 0,
            sent: 0,
            first: true,
            ended: false,
        }
    }

    /// Whether all was sent.
    pub fn is_over(&self) -> bool {
        self.ended && self.part.is_none()
    }

    /// Writes the next message over `out`; returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`Lost`]; `out` means nothing then.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Lost> {
        let opt = if self.first { self.question.opt } else { None };
        let mut message = Message::begin(out, &self.question, &self.apex, self.room);
        message.reserve(opt.map_or(0, |opt| opt.len()));
        loop {
            if self.part.is_none() && !self.ended {
                (self.at, self.sent) = (0, 0);
                self.part = self.source.part()?;
                self.ended = self.part.is_none();
            }
            let Some(part) = self.part.take() else { break };
            if self.fill(&part, &mut message).is_err() {
                if message.answers == 0 {
                    return Err(Lost("a record is longer than any message".into()));
                }
                self.part = Some(part);
                break;
            }
        }
        if message.answers == 0 {
            return Ok(false);
        }
        self.first = false;
        message.finish(&self.question, opt);
        Ok(true)
    }

    /// Puts what is left of a part; remembers how far it came.
    fn fill(&mut self, part: &Part, message: &mut Message<'_>) -> Result<(), Full> {
        let apex = self.apex.as_wire();
        let octets = match part {
            Part::Soa { ttl, rdata } => return message.put(apex, Type::SOA, *ttl, rdata, apex),
            Part::Nodes(octets) => octets,
        };
        for node in packed::nodes(octets.get(self.at..).unwrap_or_default()) {
            let is_apex = node.owner.eq_ignore_ascii_case(apex);
            let records = node.rrsets().flat_map(|set| {
                let skipped = is_apex && set.rtype == Type::SOA;
                let plain = set.rdatas().filter(move |_| !skipped);
                let plain = plain.map(move |rdata| (set.rtype, set.ttl, rdata));
                plain.chain(set.sigs().map(move |rdata| (Type::RRSIG, set.ttl, rdata)))
            });
            for (rtype, ttl, rdata) in records.skip(self.sent) {
                message.put(node.owner, rtype, ttl, rdata, apex)?;
                self.sent += 1;
            }
            self.at += node.octets();
            self.sent = 0;
        }
        Ok(())
    }
}
