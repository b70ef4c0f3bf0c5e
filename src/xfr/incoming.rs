//! A transfer as the secondary hears it: message after message, until it is whole or refused.
//!
//! What was asked for decides little: a primary may answer IXFR with the whole zone, with steps, or
//! with the word that nothing is newer ([RFC 1995] §4). The first two records tell which.
//!
//! Promises: nothing of a transfer is seen before all of it was heard; memory is bounded by
//! [`Limits`], whatever the primary sends; a step starts where the one before it ends, and each
//! moves the serial forward.
//!
//! Does not: check signatures (they are off the message before it comes here), know the zone as it
//! is, or decide whether a serial is wanted.
//!
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

mod collect;
mod fault;
pub mod question;

use std::ops::Range;

use self::collect::{Collected, Keep};
pub use self::fault::{Misbehaviour, TransferFault};
use crate::wire::header::HEADER_OCTETS;
use crate::wire::name::wire_len;
use crate::wire::query::RecordAt;
use crate::wire::rdata::{self, expand_name};
use crate::wire::{Flags, Header, Name, Opcode, Rcode, Serial, Type};
use crate::zone::delta::Step;
use crate::zone::serial;

/// What a transfer may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of owners and RDATA, uncompressed; of the steps of an IXFR all together.
    pub octets_max: usize,
    pub records_max: usize,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The whole zone.
    Axfr,
    /// What changed since this serial.
    Ixfr { have: Serial },
}

/// What a primary sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// It has nothing newer: its serial.
    Current(Serial),
    /// The zone as [packed](crate::zone::packed) nodes.
    Whole { packed: Vec<u8>, serial: Serial },
    /// What changed, oldest first; at least one.
    Steps(Vec<Step>),
}

/// Whether a transfer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// A transfer under way.
pub struct Incoming {
    apex: Name,
    asked: Asked,
    id: u16,
    limits: Limits,
    state: State,
    /// TTL and RDATA of the SOA the transfer began with.
    first: Option<(u32, Box<[u8]>)>,
    collected: Collected,
    steps: Vec<Step>,
    /// Records that do not belong to the zone; they are passed over.
    strangers: usize,
    records: usize,
    /// Octets of steps that are complete.
    octets: usize,
}

/// Where in a transfer we are, and what the last SOA said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was heard yet.
    Begin,
    /// The first SOA was heard: the serial the transfer leads to.
    First(Serial),
    /// Records of the whole zone.
    Whole(Serial),
    /// What a step takes out.
    Dels { last: Serial, from: Serial },
    /// What a step puts in.
    Adds { last: Serial, from: Serial, to: Serial },
    /// The end was heard; none for a zone that is current.
    End(Option<Serial>, Serial),
}

/// One record of a message, expanded.
struct Heard<'a> {
    owner: &'a [u8],
    rtype: Type,
    ttl: u32,
    rdata: Box<[u8]>,
}

impl Incoming {
    /// A transfer of `apex` that was asked for with a query of this `id`.
    pub fn new(apex: Name, asked: Asked, id: u16, limits: Limits) -> Incoming {
        Incoming {
            apex,
            asked,
            id,
            limits,
            state: State::Begin,
            first: None,
            collected: Collected::default(),
            steps: Vec::new(),
            strangers: 0,
            records: 0,
            octets: 0,
        }
    }

    /// Takes the next message, without its length and without its signature.
    ///
    /// # Errors
    ///
    /// [`TransferFault`]: give the connection up; what was heard is worth nothing.
    pub fn message(&mut self, message: &[u8]) -> Result<Progress, TransferFault> {
        let header = Header::read(message).ok_or(Misbehaviour::Malformed)?;
        self.check(&header)?;
        let mut at = self.skip_question(message, header.questions)?;
        if header.answers == 0 {
            return Err(Misbehaviour::Empty.into());
        }
        let mut owner = Vec::new();
        for _ in 0..header.answers {
            if matches!(self.state, State::End(..)) {
                return Err(Misbehaviour::Trailing.into());
            }
            owner.clear();
            let head_at =
                at + expand_name(message, at, &mut owner).ok_or(Misbehaviour::Malformed)?;
            let head = message.get(head_at..).and_then(|rest| rest.first_chunk::<10>());
            let &[t0, t1, c0, c1, l0, l1, l2, l3, n0, n1] = head.ok_or(Misbehaviour::Malformed)?;
            let rdata_at = head_at + 10;
            at = rdata_at + usize::from(u16::from_be_bytes([n0, n1]));
            if u16::from_be_bytes([c0, c1]) != crate::wire::Class::IN.0 {
                return Err(Misbehaviour::Class.into());
            }
            let rtype = Type(u16::from_be_bytes([t0, t1]));
            let rdata = rdata_of(rtype, message, rdata_at..at)?;
            // A TTL with its first bit set is none at all (RFC 2181 §8).
            let ttl = i32::from_be_bytes([l0, l1, l2, l3]).try_into().unwrap_or(0);
            self.record(Heard { owner: &owner, rtype, ttl, rdata })?;
        }
        Ok(if matches!(self.state, State::End(..)) { Progress::Done } else { Progress::More })
    }

    /// How many records were passed over because they are outside the zone.
    pub fn strangers(&self) -> usize {
        self.strangers
    }

    /// How many records were heard.
    pub fn records(&self) -> usize {
        self.records
    }

    /// What was transferred; none before [`Progress::Done`].
    ///
    /// # Errors
    ///
    /// [`TransferFault`] when it cannot be a zone: an RRset no message could carry.
    pub fn finish(self) -> Result<Option<Transfer>, TransferFault> {
        let State::End(whole, serial) = self.state else { return Ok(None) };
        if !self.steps.is_empty() {
            return Ok(Some(Transfer::Steps(self.steps)));
        }
        if whole.is_none() {
            return Ok(Some(Transfer::Current(serial)));
        }
        let packed = self.collected.pack(Keep::Records)?;
        Ok(Some(Transfer::Whole { packed, serial }))
    }

    fn check(&self, header: &Header) -> Result<(), TransferFault> {
        let flags = header.flags;
        let ours = flags.is_response() && flags.opcode() == Opcode::QUERY && header.id == self.id;
        if !ours || flags.is_truncated() {
            return Err(Misbehaviour::Malformed.into());
        }
        match flags.rcode() {
            Rcode::NOERROR => Ok(()),
            rcode => Err(TransferFault::Refused(rcode)),
        }
    }

    /// The question, which later messages may leave out ([RFC 5936](https://www.rfc-editor.org/rfc/rfc5936) §2.2.1); returns where it ends.
    fn skip_question(&self, message: &[u8], questions: u16) -> Result<usize, TransferFault> {
        if questions == 0 {
            return Ok(HEADER_OCTETS);
        }
        let question = message.get(HEADER_OCTETS..).unwrap_or_default();
        let len = wire_len(question).map_err(|_| Misbehaviour::Malformed)?;
        let name = question.get(..len).unwrap_or_default();
        if questions > 1 || !name.eq_ignore_ascii_case(self.apex.as_wire()) {
            return Err(Misbehaviour::Malformed.into());
        }
        Ok(HEADER_OCTETS + len + 4)
    }

    fn record(&mut self, heard: Heard<'_>) -> Result<(), TransferFault> {
        self.records += 1;
        let octets = self.octets + self.collected.octets();
        if self.records > self.limits.records_max || octets > self.limits.octets_max {
            return Err(TransferFault::TooLarge(self.limits));
        }
        let at_apex = heard.owner.eq_ignore_ascii_case(self.apex.as_wire());
        match serial::of_soa(&heard.rdata).filter(|_| heard.rtype == Type::SOA && at_apex) {
            Some(serial) => self.soa(serial, &heard),
            None => self.other(&heard),
        }
    }

    /// A SOA of the zone: it parts the transfer.
    fn soa(&mut self, serial: Serial, heard: &Heard<'_>) -> Result<(), TransferFault> {
        self.state = match (self.state, self.asked) {
            (State::Begin, Asked::Ixfr { have }) if !have.is_before(serial) => {
                State::End(None, serial)
            }
            (State::Begin, _) => {
                self.push(heard);
                self.first = Some((heard.ttl, heard.rdata.clone()));
                State::First(serial)
            }
            (State::First(last), Asked::Ixfr { have }) if serial == have => {
                self.collected = Collected::default();
                self.push(heard);
                State::Dels { last, from: serial }
            }
            (State::First(last) | State::Whole(last), _) if serial == last => {
                self.is_as_it_began(serial, heard)?;
                State::End(Some(serial), serial)
            }
            (State::Dels { last, from }, _) if from.is_before(serial) => {
                self.end_section(from, serial, Section::Dels)?;
                self.push(heard);
                State::Adds { last, from, to: serial }
            }
            (State::Adds { last, from, to }, _) if serial == to => {
                self.end_section(from, to, Section::Adds)?;
                if to == last {
                    self.is_as_it_began(serial, heard)?;
                    State::End(Some(to), to)
                } else {
                    self.push(heard);
                    State::Dels { last, from: to }
                }
            }
            _ => return Err(Misbehaviour::Serial(serial).into()),
        };
        Ok(())
    }

    /// A transfer ends with the very record it began with, not only its serial
    /// ([RFC 5936](https://www.rfc-editor.org/rfc/rfc5936) §2.2): else it is of two zones.
    fn is_as_it_began(&self, serial: Serial, heard: &Heard<'_>) -> Result<(), TransferFault> {
        let same = self.first.as_ref().is_some_and(|(ttl, rdata)| {
            *ttl == heard.ttl && rdata::canonical_cmp(Type::SOA, rdata, &heard.rdata).is_eq()
        });
        if same { Ok(()) } else { Err(Misbehaviour::OtherSoa(serial).into()) }
    }

    fn other(&mut self, heard: &Heard<'_>) -> Result<(), TransferFault> {
        match self.state {
            State::Begin | State::End(..) => return Err(Misbehaviour::NoSoa.into()),
            State::First(last) => self.state = State::Whole(last),
            State::Whole(_) | State::Dels { .. } | State::Adds { .. } => {}
        }
        if is_at_or_below(heard.owner, self.apex.as_wire()) {
            self.push(heard);
        } else {
            self.strangers += 1;
        }
        Ok(())
    }

    fn push(&mut self, heard: &Heard<'_>) {
        self.collected.push(heard.owner, heard.rtype, heard.ttl, &heard.rdata);
    }

    /// Packs what was collected into one side of a step.
    fn end_section(&mut self, from: Serial, to: Serial, of: Section) -> Result<(), TransferFault> {
        let collected = std::mem::take(&mut self.collected);
        let packed = collected.pack(Keep::Signatures)?;
        self.octets += packed.len();
        match of {
            Section::Dels => self.steps.push(Step { from, to, dels: packed, adds: Vec::new() }),
            Section::Adds => {
                if let Some(step) = self.steps.last_mut() {
                    step.adds = packed;
                }
            }
        }
        Ok(())
    }
}

/// One side of a step.
enum Section {
    Dels,
    Adds,
}

/// The serial in the answer to [`question::soa`].
///
/// # Errors
///
/// [`TransferFault`] when it is no answer from a server that has the zone.
pub fn serial_in(message: &[u8], apex: &Name) -> Result<Serial, TransferFault> {
    let header = Header::read(message).ok_or(Misbehaviour::Malformed)?;
    if header.flags.rcode() != Rcode::NOERROR {
        return Err(TransferFault::Refused(header.flags.rcode()));
    }
    if header.flags.0 & Flags::AA == 0 {
        return Err(Misbehaviour::NotAuthoritative.into());
    }
    let id = header.id;
    let limits = Limits { octets_max: 0, records_max: 0 };
    let at = Incoming::new(apex.clone(), Asked::Axfr, id, limits)
        .skip_question(message, header.questions)?;
    let mut owner = Vec::new();
    let len = expand_name(message, at, &mut owner).ok_or(Misbehaviour::Malformed)?;
    let record = RecordAt::read(message, at).map_err(|_| Misbehaviour::Malformed)?;
    if len == 0 || record.rtype != Type::SOA || !owner.eq_ignore_ascii_case(apex.as_wire()) {
        return Err(Misbehaviour::NoSoa.into());
    }
    let rdata = rdata_of(Type::SOA, message, record.rdata_at..record.end)?;
    serial::of_soa(&rdata).ok_or(Misbehaviour::NoSoa.into())
}

fn rdata_of(rtype: Type, message: &[u8], range: Range<usize>) -> Result<Box<[u8]>, TransferFault> {
    rdata::expand(rtype, message, range).map_err(|error| {
        TransferFault::Misbehaved(Misbehaviour::Rdata { rtype, what: error.to_string() })
    })
}

/// Whether a name in wire form is `apex` or below it, whatever its case.
fn is_at_or_below(name: &[u8], apex: &[u8]) -> bool {
    let mut rest = name;
    while rest.len() > apex.len() {
        let label = usize::from(rest.first().copied().unwrap_or_default());
        rest = rest.get(1 + label..).unwrap_or_default();
    }
    rest.eq_ignore_ascii_case(apex)
}

#[cfg(test)]
mod tests;
