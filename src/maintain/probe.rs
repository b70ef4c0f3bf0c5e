//! The self-check: asks this server over UDP what a commit changed, and says when it answered.
//!
//! One changed RRset of each zone is asked for; of one that was taken away, its absence; of a zone
//! that was deleted, that nobody answers for it as that zone any more. A truncated answer is asked
//! for again over TCP. Where something else answers for a name (a zone cut or DNAME above it, a
//! CNAME, a wildcard, another zone), the zone's SOA is asked for instead.
//!
//! Does not: dial anywhere but its own listener.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::change::{AppliedZone, ChangedRrSet};
use crate::wire::header::{Flags, HEADER_OCTETS, Header};
use crate::wire::query::RecordAt;
use crate::wire::{Name, Rcode, RrSet, Serial, Type, rdata};

/// How long one answer is waited for before the question is sent again.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long all answers are waited for.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long answers are waited for by whoever asks for those of many at once.
const MOMENT: Duration = Duration::from_millis(50);

/// How long a wrong answer delays asking again.
const HASTE: Duration = Duration::from_millis(1);

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
    /// Of the zone, once changed.
    serial: Serial,
    owner: &'a Name,
    rtype: Type,
    expect: Expect<'a>,
    /// When the new answer was seen.
    seen: Option<SystemTime>,
}

enum Expect<'a> {
    Set(&'a RrSet),
    /// The zone's SOA has its serial.
    Serial,
    /// This set is not there any more.
    Absence(Option<&'a RrSet>),
    /// The zone is not answered for.
    NoZone,
}

/// Asks `server` for one changed RRset of each zone; returns when the last new answer came.
///
/// None when no zone changed. `is_holder` says whether a zone, the first name, answers for the second.
///
/// # Errors
///
/// [`ProbeError::Otherwise`] when an answer is still another one after some seconds.
pub fn self_check(
    zones: &[AppliedZone],
    server: SocketAddr,
    is_holder: &dyn Fn(&Name, &Name) -> bool,
) -> Result<Option<SystemTime>, ProbeError> {
    let mut seen = None;
    let mut questions: Vec<Question<'_>> =
        zones.iter().filter_map(|zone| question(zone, is_holder)).collect();
    for window in questions.chunks_mut(WINDOW) {
        ask(window, reachable(server), DEADLINE)?;
        if let Some(open) = window.iter().find(|question| question.seen.is_none()) {
            return Err(otherwise(open));
        }
        seen = window.iter().filter_map(|question| question.seen).chain(seen).max();
    }
    Ok(seen)
}

/// Asks `server` for one changed RRset of each zone, for a moment; returns when each new answer came,
/// none for those that did not.
///
/// # Errors
///
/// What the system says when the listener cannot be reached.
pub fn glance(
    zones: &[AppliedZone],
    server: SocketAddr,
    is_holder: &dyn Fn(&Name, &Name) -> bool,
) -> io::Result<Vec<Option<SystemTime>>> {
    let mut seen = vec![None; zones.len()];
    let places = (0..).zip(zones);
    let asked = places.filter_map(|(at, zone)| Some((at, question(zone, is_holder)?)));
    let (places, mut questions): (Vec<usize>, Vec<Question<'_>>) = asked.unzip();
    for window in questions.chunks_mut(WINDOW) {
        ask(window, reachable(server), MOMENT)?;
    }
    for (at, question) in places.into_iter().zip(questions) {
        if let Some(place) = seen.get_mut(at) {
            *place = question.seen;
        }
    }
    Ok(seen)
}

fn question<'a>(
    zone: &'a AppliedZone,
    is_holder: &dyn Fn(&Name, &Name) -> bool,
) -> Option<Question<'a>> {
    if zone.from == zone.to {
        return None;
    }
    let Some(serial) = zone.to else {
        return Some(Question { expect: Expect::NoZone, ..soa_of(&zone.apex, Serial(0)) });
    };
    let visible =
        |change: &&ChangedRrSet| change.rtype != Type::SOA && is_holder(&zone.apex, &change.owner);
    let first = zone.changed.iter().find(visible);
    let soa = soa_of(&zone.apex, serial);
    Some(match first {
        Some(change) => Question {
            owner: &change.owner,
            rtype: change.rtype,
            expect: match &change.after {
                Some(set) => Expect::Set(set),
                None => Expect::Absence(change.before.as_ref()),
            },
            ..soa
        },
        None => soa,
    })
}

fn soa_of(apex: &Name, serial: Serial) -> Question<'_> {
    Question { apex, serial, owner: apex, rtype: Type::SOA, expect: Expect::Serial, seen: None }
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

/// Asks all questions at once, again where needed, until each was answered as expected or `deadline`
/// has passed.
fn ask(questions: &mut [Question<'_>], server: SocketAddr, deadline: Duration) -> io::Result<()> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own)?;
    socket.connect(server)?;
    let mut buffer = [0; UDP_OCTETS_MAX];
    let (began, mut patience) = (Instant::now(), PATIENCE);
    let is_open = |question: &&mut Question<'_>| question.seen.is_none();
    while questions.iter().any(|question| question.seen.is_none()) {
        let Some(left) = deadline.checked_sub(began.elapsed()) else { return Ok(()) };
        patience = patience.min(left).max(HASTE);
        for (id, question) in
            questions.iter().enumerate().filter(|(_, question)| question.seen.is_none())
        {
            socket.send(&message(id as u16, question))?;
        }
        let round = Instant::now();
        while let Some(left) = patience.checked_sub(round.elapsed()).filter(|left| !left.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            let Ok(len) = socket.recv(&mut buffer) else { continue };
            let reply = buffer.get(..len).unwrap_or_default();
            let id = Header::read(reply).map(|header| usize::from(header.id));
            let question = id.and_then(|id| questions.get_mut(id)).filter(is_open);
            let Some(question) = question else { continue };
            match judge_whole(question, reply, server)? {
                Verdict::New => {
                    question.seen = Some(SystemTime::now());
                    if questions.iter().all(|question| question.seen.is_some()) {
                        return Ok(());
                    }
                }
                Verdict::Old => {
                    // Publication comes before the check, so this is rare; do not ask in a rush.
                    thread::sleep(HASTE);
                    socket.send(&message(id.unwrap_or_default() as u16, question))?;
                }
                Verdict::Elsewhere => {
                    *question = soa_of(question.apex, question.serial);
                    socket.send(&message(id.unwrap_or_default() as u16, question))?;
                }
            }
        }
        patience = (patience * 2).min(Duration::from_secs(1));
    }
    Ok(())
}

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

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    New,
    Old,
    /// Something else answers for the name: ask for the SOA.
    Elsewhere,
}

/// Judges a reply; if it is truncated, what comes over TCP instead.
fn judge_whole(question: &Question<'_>, reply: &[u8], server: SocketAddr) -> io::Result<Verdict> {
    let truncated = Header::read(reply).is_some_and(|header| header.flags.is_truncated());
    let verdict = match truncated {
        true => judge(question, &over_tcp(question, server)?),
        false => judge(question, reply),
    };
    Ok(verdict.unwrap_or(Verdict::Old))
}

fn judge(question: &Question<'_>, reply: &[u8]) -> Option<Verdict> {
    let header = Header::read(reply)?;
    let rcode = header.flags.rcode();
    let authoritative = header.flags.0 & Flags::AA != 0;
    let Answer { set, alias } = answer(question, reply, header.answers)?;
    let referral = rcode == Rcode::NOERROR && !authoritative && header.authorities > 0;
    let new = match &question.expect {
        Expect::NoZone => !authoritative || set.is_none(),
        // A later version has this one in it.
        Expect::Serial => {
            let serial = set.and_then(|set| set.soa_serial());
            serial.is_some_and(|serial| !serial.is_before(question.serial))
        }
        _ if referral || alias => return Some(Verdict::Elsewhere),
        Expect::Set(expected) => set.is_some_and(|set| set == **expected),
        // A wildcard may answer now, even with the same records.
        Expect::Absence(before) if set.is_some() && set.as_ref() == *before => {
            return Some(Verdict::Elsewhere);
        }
        Expect::Absence(_) => {
            authoritative && (rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN)
        }
    };
    Some(if new { Verdict::New } else { Verdict::Old })
}

/// What the answer section holds.
struct Answer {
    /// The RRset that was asked for.
    set: Option<RrSet>,
    /// Whether a CNAME or DNAME answers instead.
    alias: bool,
}

fn answer(question: &Question<'_>, reply: &[u8], count: u16) -> Option<Answer> {
    let mut at = HEADER_OCTETS + question.owner.as_wire().len() + 4;
    let (mut rdatas, mut ttl, mut alias) = (Vec::new(), 0, false);
    for _ in 0..count {
        let record = RecordAt::read(reply, at).ok()?;
        // RDATA of NS is a name and nothing else, so what reads it reads an owner too.
        let owner = rdata::expand(Type::NS, reply, at..record.rdata_at.checked_sub(10)?).ok()?;
        at = record.end;
        let asked = owner.eq_ignore_ascii_case(question.owner.as_wire());
        if asked && record.rtype == question.rtype {
            ttl = record.ttl;
            rdatas.push(rdata::expand(record.rtype, reply, record.rdata_at..record.end).ok()?);
        } else {
            alias |= record.rtype == Type::CNAME || record.rtype == Type::DNAME;
        }
    }
    let set = RrSet::new(question.owner.clone(), question.rtype, ttl, rdatas);
    Some(Answer { set: (!set.is_empty()).then_some(set), alias })
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::maintain::Old;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn a(owner: &str, last: u8) -> RrSet {
        RrSet::new(name(owner), Type::A, 60, vec![Box::new([192, 0, 2, last])])
    }

    fn edited(owner: &str, before: Option<RrSet>, after: Option<RrSet>) -> AppliedZone {
        let change = ChangedRrSet { owner: name(owner), rtype: Type::A, before, after };
        AppliedZone {
            apex: name("x."),
            zone: 1,
            from: Some(Serial(1)),
            to: Some(Serial(2)),
            changed: [change].into(),
            changed_count: 1,
            old: Old::NOTHING,
        }
    }

    /// A reply with these flags, and in the answer section this RRset.
    fn reply(query: &[u8], flags: u16, answer: Option<&RrSet>, authorities: u16) -> Vec<u8> {
        let header = Header::read(query).unwrap();
        let answers = answer.map_or(0, |set| set.rdatas().len() as u16);
        let flags = Flags(Flags::QR | flags);
        let mut octets = query[..query.len() - 11].to_vec();
        Header { flags, answers, authorities, additionals: 0, ..header }.write(&mut octets);
        for (set, rdata) in
            answer.iter().flat_map(|set| set.rdatas().iter().map(move |rdata| (set, rdata)))
        {
            octets.extend_from_slice(&[0xc0, 12]);
            octets.extend_from_slice(&set.rtype.0.to_be_bytes());
            octets.extend_from_slice(&[0, 1]);
            octets.extend_from_slice(&set.ttl.to_be_bytes());
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(rdata);
        }
        octets
    }

    /// Answers each query with what `answer` makes of its number and octets, until there are `count`.
    fn server(
        count: usize,
        answer: impl Fn(usize, &[u8]) -> Vec<u8> + Send + 'static,
    ) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            for number in 0..count {
                let (len, client) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&answer(number, &buffer[..len]), client).unwrap();
            }
        });
        address
    }

    fn check(zones: &[AppliedZone], server: SocketAddr) -> Result<Option<SystemTime>, ProbeError> {
        self_check(zones, server, &|_, _| true)
    }

    #[test]
    fn the_check_waits_for_the_new_answer() {
        let zone = edited("w.x.", Some(a("w.x.", 1)), Some(a("w.x.", 2)));
        let address = server(3, |number, query| {
            reply(query, Flags::AA, Some(&a("w.x.", if number < 2 { 1 } else { 2 })), 0)
        });
        assert!(check(&[zone], address).unwrap().is_some());
    }

    #[test]
    fn of_a_deletion_the_absence_is_checked() {
        let zone = edited("w.x.", Some(a("w.x.", 1)), None);
        let address = server(2, |number, query| match number {
            0 => reply(query, 0, None, 0),
            _ => reply(query, Flags::AA | Rcode::NXDOMAIN.0, None, 1),
        });
        assert!(check(&[zone], address).unwrap().is_some());
    }

    #[test]
    fn a_name_that_an_alias_or_wildcard_answers_for_is_passed_over_for_the_serial() {
        let target = name("t.x.").as_wire().into();
        let alias = RrSet::new(name("w.x."), Type::CNAME, 60, vec![target]);
        for instead in [alias, a("w.x.", 1)] {
            let zone = edited("w.x.", Some(a("w.x.", 1)), None);
            let rdata = [&[0, 0][..], &2u32.to_be_bytes(), &[0; 16]].concat();
            let soa = RrSet::new(name("x."), Type::SOA, 60, vec![rdata.into()]);
            let address = server(2, move |number, query| {
                reply(query, Flags::AA, Some(if number == 0 { &instead } else { &soa }), 0)
            });
            assert!(check(&[zone], address).unwrap().is_some());
        }
    }

    #[test]
    fn a_name_below_a_cut_is_passed_over_for_the_serial() {
        let zone = edited("glue.sub.x.", None, Some(a("glue.sub.x.", 1)));
        let rdata = [&[0, 0][..], &2u32.to_be_bytes(), &[0; 16]].concat();
        let soa = RrSet::new(name("x."), Type::SOA, 60, vec![rdata.into()]);
        let address = server(2, move |number, query| match number {
            0 => reply(query, 0, None, 1),
            _ => reply(query, Flags::AA, Some(&soa), 0),
        });
        assert!(check(&[zone], address).unwrap().is_some());
    }

    #[test]
    fn a_truncated_answer_is_asked_for_over_tcp() {
        let large: Vec<Box<[u8]>> = (0..200u8).map(|last| Box::from([192, 0, 2, last])).collect();
        let set = RrSet::new(name("w.x."), Type::A, 60, large);
        let zone = edited("w.x.", None, Some(set.clone()));
        let address = server(1, |_, query| reply(query, Flags::AA | Flags::TC, None, 0));
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query).unwrap();
            let reply = reply(&query, Flags::AA, Some(&set), 0);
            stream.write_all(&(reply.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        });
        assert!(check(&[zone], address).unwrap().is_some());
    }

    #[test]
    fn of_many_zones_each_is_checked_and_of_unchanged_ones_none() {
        let unchanged = AppliedZone { to: Some(Serial(1)), ..edited("w.x.", None, None) };
        assert!(check(&[unchanged], "127.0.0.1:9".parse().unwrap()).unwrap().is_none());
        let zones: Vec<_> =
            (0..150).map(|n| edited(&format!("h{n}.x."), None, Some(a("w.x.", 1)))).collect();
        let zones: Vec<_> = zones
            .into_iter()
            .map(|zone| {
                let mut change = zone.changed[0].clone();
                let rdata = Box::new([192, 0, 2, 1]);
                change.after = Some(RrSet::new(change.owner.clone(), Type::A, 60, vec![rdata]));
                AppliedZone { changed: [change].into(), ..zone }
            })
            .collect();
        let address = server(150, |_, query| reply(query, Flags::AA, Some(&a("w.x.", 1)), 0));
        assert!(check(&zones, address).unwrap().is_some());
    }
}
