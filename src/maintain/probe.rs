//! The self-check: asks this server over UDP what a commit changed, and says when it answered.
//!
//! One changed RRset of each zone is asked for; of one that was taken away, its absence; of a zone
//! that was deleted, that nobody answers for it as that zone any more. A truncated answer is asked
//! for again over TCP. Names below a zone cut, of which the zone itself says nothing, are passed
//! over for the SOA.
//!
//! Does not: dial anywhere but its own listener.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use super::change::AppliedZone;
use crate::wire::header::{Flags, HEADER_OCTETS, Header};
use crate::wire::query::RecordAt;
use crate::wire::{Name, Rcode, RrSet, Serial, Type, rdata};

/// How long one answer is waited for before the question is sent again.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long all answers are waited for.
const DEADLINE: Duration = Duration::from_secs(5);

/// Questions under way at once: what a socket's buffer holds without loss.
const WINDOW: usize = 64;

/// Octets of a UDP answer.
const UDP_OCTETS_MAX: usize = 4096;

/// Why the new answers were not seen.
#[derive(Debug)]
pub enum ProbeError {
    /// The listener cannot be reached.
    Io(io::Error),
    /// It still answers otherwise: the first zone and name for which it does.
    Otherwise { apex: Name, owner: Name, rtype: Type },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Io(_) => f.write_str("own listener cannot be asked"),
            ProbeError::Otherwise { apex, owner, rtype } => {
                write!(f, "own listener does not answer {owner} {rtype} of {apex} as committed")
            }
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProbeError::Io(error) => Some(error),
            ProbeError::Otherwise { .. } => None,
        }
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> ProbeError {
        ProbeError::Io(error)
    }
}

/// What is asked, and what the answer has to be.
struct Question<'a> {
    apex: &'a Name,
    owner: &'a Name,
    rtype: Type,
    expect: Expect<'a>,
}

enum Expect<'a> {
    Set(&'a RrSet),
    /// The zone is at this serial.
    Serial(Serial),
    Absence,
    /// The zone is not answered for.
    NoZone,
}

/// Asks `server` for one changed RRset of each zone; returns when the last new answer came.
///
/// None when no zone changed.
///
/// # Errors
///
/// [`ProbeError::Otherwise`] when an answer is still another one after some seconds.
pub fn self_check(
    zones: &[AppliedZone],
    server: SocketAddr,
) -> Result<Option<SystemTime>, ProbeError> {
    let mut seen = None;
    let questions: Vec<Question<'_>> = zones.iter().filter_map(question).collect();
    for window in questions.chunks(WINDOW) {
        seen = Some(ask(window, reachable(server))?);
    }
    Ok(seen)
}

fn question(zone: &AppliedZone) -> Option<Question<'_>> {
    let Some(to) = zone.to else {
        let owner = &zone.apex;
        return Some(Question { apex: owner, owner, rtype: Type::SOA, expect: Expect::NoZone });
    };
    if zone.from == zone.to {
        return None;
    }
    let first = zone.changed.iter().find(|change| change.rtype != Type::SOA);
    Some(match first {
        Some(change) => Question {
            apex: &zone.apex,
            owner: &change.owner,
            rtype: change.rtype,
            expect: change.after.as_ref().map_or(Expect::Absence, Expect::Set),
        },
        None => soa_of(&zone.apex, to),
    })
}

fn soa_of(apex: &Name, serial: Serial) -> Question<'_> {
    Question { apex, owner: apex, rtype: Type::SOA, expect: Expect::Serial(serial) }
}

/// A listener on all addresses is asked on loopback.
fn reachable(server: SocketAddr) -> SocketAddr {
    let mut server = server;
    match server.ip() {
        ip if !ip.is_unspecified() => {}
        ip if ip.is_ipv4() => server.set_ip(Ipv4Addr::LOCALHOST.into()),
        _ => server.set_ip(Ipv6Addr::LOCALHOST.into()),
    }
    server
}

/// Asks all questions at once, again where needed; returns when the last was answered as expected.
fn ask(questions: &[Question<'_>], server: SocketAddr) -> Result<SystemTime, ProbeError> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own)?;
    socket.connect(server)?;
    let mut open: Vec<bool> = vec![true; questions.len()];
    let started = Instant::now();
    let mut buffer = [0; UDP_OCTETS_MAX];
    let mut seen = SystemTime::now();
    let mut waited = PATIENCE;
    while open.contains(&true) {
        if started.elapsed() > DEADLINE {
            let still = questions.iter().zip(&open).find(|(_, open)| **open).map(|(each, _)| each);
            return match still {
                Some(still) => Err(otherwise(still)),
                None => Ok(seen),
            };
        }
        for (number, question) in questions.iter().enumerate() {
            if open.get(number) == Some(&true) {
                socket.send(&message(number as u16, question))?;
            }
        }
        let round = Instant::now();
        while open.contains(&true) && round.elapsed() < waited {
            socket.set_read_timeout(Some(waited.saturating_sub(round.elapsed()).max(NO_ZERO)))?;
            let Ok(len) = socket.recv(&mut buffer) else { continue };
            let reply = buffer.get(..len).unwrap_or_default();
            let Some(header) = Header::read(reply) else { continue };
            let Some(question) = questions.get(usize::from(header.id)) else { continue };
            if is_as_expected(question, reply, server)? {
                seen = SystemTime::now();
                if let Some(open) = open.get_mut(usize::from(header.id)) {
                    *open = false;
                }
            }
        }
        waited = (waited * 2).min(Duration::from_secs(1));
    }
    Ok(seen)
}

/// A socket takes no timeout of nothing.
const NO_ZERO: Duration = Duration::from_micros(1);

fn otherwise(question: &Question<'_>) -> ProbeError {
    ProbeError::Otherwise {
        apex: question.apex.clone(),
        owner: question.owner.clone(),
        rtype: question.rtype,
    }
}

fn message(id: u16, question: &Question<'_>) -> Vec<u8> {
    const OPT: [u8; 11] = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let mut octets = vec![0; HEADER_OCTETS];
    Header { id, questions: 1, additionals: 1, ..Header::default() }.write(&mut octets);
    octets.extend_from_slice(question.owner.as_wire());
    octets.extend_from_slice(&question.rtype.0.to_be_bytes());
    octets.extend_from_slice(&[0, 1]);
    octets.extend_from_slice(&OPT);
    octets
}

fn is_as_expected(
    question: &Question<'_>,
    reply: &[u8],
    server: SocketAddr,
) -> Result<bool, ProbeError> {
    let Some(header) = Header::read(reply) else { return Ok(false) };
    if header.flags.is_truncated() {
        let whole = over_tcp(question, server)?;
        return Ok(judge(question, &whole).unwrap_or(false));
    }
    match judge(question, reply) {
        Some(judged) => Ok(judged),
        // Below a cut the zone says nothing itself: its serial has to do.
        None => Ok(true),
    }
}

/// Whether the reply is the expected one; none when it is a referral.
fn judge(question: &Question<'_>, reply: &[u8]) -> Option<bool> {
    let header = Header::read(reply)?;
    let rcode = header.flags.rcode();
    let authoritative = header.flags.0 & Flags::AA != 0;
    let answer = records(question, reply, header.answers);
    let referral = rcode == Rcode::NOERROR && !authoritative && header.authorities > 0;
    match &question.expect {
        Expect::NoZone => Some(!(authoritative && answer.is_some())),
        _ if referral => None,
        Expect::Set(set) => Some(answer.is_some_and(|answer| answer == **set)),
        Expect::Serial(serial) => Some(answer.and_then(|set| set.soa_serial()) == Some(*serial)),
        Expect::Absence => {
            let known = rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN;
            Some(known && authoritative && answer.is_none())
        }
    }
}

/// The RRset of the answer section that was asked for, if it is there and whole.
fn records(question: &Question<'_>, reply: &[u8], count: u16) -> Option<RrSet> {
    let mut at = HEADER_OCTETS + question.owner.as_wire().len() + 4;
    let mut rdatas = Vec::new();
    let mut ttl = None;
    for _ in 0..count {
        let record = RecordAt::read(reply, at).ok()?;
        at = record.end;
        if record.rtype == question.rtype {
            ttl = Some(record.ttl);
            rdatas.push(rdata::expand(record.rtype, reply, record.rdata_at..record.end).ok()?);
        }
    }
    Some(RrSet::new(question.owner.clone(), question.rtype, ttl?, rdatas))
}

fn over_tcp(question: &Question<'_>, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let message = message(0, question);
    let len = (message.len() as u16).to_be_bytes();
    stream.write_all(&[len.as_slice(), &message].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
