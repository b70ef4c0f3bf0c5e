//! What one change of a large zone costs a secondary that fetches it: IXFR, over TCP.
//!
//! One name of a zone of a million is changed by an update; then the step to it is asked for over and
//! over on one connection. What is measured is finding the step and writing it, not making it.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::answers;
use crate::bench::{Options, median};
use crate::dataset::{Dataset, Set};
use crate::load::Latency;
use crate::peer::{Peer, Running};
use crate::transfer::skip_name;
use crate::update::{self, Pace, Updates, wire};
use crate::{procfs, table};

/// Servers that take updates and keep a journal of them.
const PEERS: [Peer; 3] = [Peer::Nameplane, Peer::Knot, Peer::Bind];

/// Transfers of one round.
const TRANSFERS: usize = 1_000;

/// A server silent for this long does not transfer.
const SILENT: Duration = Duration::from_secs(20);

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Big, options.divisor)?;
    let how = format!(
        "A zone of {} records; medians of {} rounds of {TRANSFERS} transfers of the same one-change step, \
         one after the other on one connection; server and client on a core each.",
        data.records, options.rounds
    );
    let mut out = table::heading("ixfr: IXFR of one change out of one zone of 1 M names", &how);
    out.push_str("\n| server | p50 µs | p99 µs | CPU µs each | octets |\n|---|---|---|---|---|\n");
    let port = options.first_port + 600;
    answers::one_by_one(options, &data, &PEERS, port, &mut out, |server| {
        row(options, &data, server)
    });
    Ok(out)
}

fn row(options: &Options, data: &Dataset, server: &Running) -> io::Result<String> {
    let zones = data.zones()?;
    let (apex, _) = zones.first().ok_or_else(|| io::Error::other("a set without zones"))?;
    let before = serial(server.address, apex)?;
    let mut updates = Updates::over(data, 1)?;
    let once = Pace { window: 1, rate: Some(1), time: Duration::from_millis(1) };
    update::send(server.address, &mut updates, once)?;
    if serial(server.address, apex)? == before {
        return Err(io::Error::other("the update changed nothing"));
    }
    let stream = TcpStream::connect(server.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENT))?;
    let (mut p50, mut p99, mut cpu, mut octets) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=options.rounds {
        eprintln!("ixfr {}: round {round} of {}", server.peer.name(), options.rounds);
        let (used, mut latency) = (procfs::cpu(server.pid()), Latency::default());
        for _ in 0..TRANSFERS {
            let start = Instant::now();
            octets = fetch(&stream, apex, before)?;
            latency.add(start.elapsed());
        }
        if round > 0 {
            let spent = (procfs::cpu(server.pid()) - used).total;
            cpu.push(spent.as_secs_f64() * 1e6 / TRANSFERS as f64);
            p50.push(latency.quantile(0.5).as_secs_f64() * 1e6);
            p99.push(latency.quantile(0.99).as_secs_f64() * 1e6);
        }
    }
    let (p50, p99, cpu) = (median(&p50), median(&p99), median(&cpu));
    Ok(format!("| {} | {p50:.0} | {p99:.0} | {cpu:.0} | {octets} |\n", server.peer.name()))
}

/// The question of a secondary that has the zone at `serial`; that for its SOA if it has none.
fn question(apex: &str, serial: Option<u32>) -> Vec<u8> {
    let mut query = vec![0x4E, 0x51, 0, 0, 0, 1, 0, 0, 0, u8::from(serial.is_some()), 0, 0];
    query.extend_from_slice(&wire(apex));
    query.extend_from_slice(&[0, if serial.is_some() { 251 } else { 6 }, 0, 1]);
    if let Some(serial) = serial {
        // The SOA of the apex, with the root for both names.
        query.extend_from_slice(&[0xC0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
        query.extend_from_slice(&serial.to_be_bytes());
        query.extend_from_slice(&[0; 16]);
    }
    query
}

/// Fetches the step from `serial`; its octets.
fn fetch(mut stream: &TcpStream, apex: &str, serial: u32) -> io::Result<usize> {
    let query = question(apex, Some(serial));
    let len = (query.len() as u16).to_be_bytes();
    stream.write_all(&[len.as_slice(), &query].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    let types = types(&message).unwrap_or_default();
    // New SOA, old SOA, what goes, new SOA, what comes, new SOA.
    let soas = types.iter().filter(|rtype| **rtype == 6).count();
    match types.len() >= 5 && soas == 4 && types.last() == Some(&6) {
        true => Ok(message.len()),
        false => Err(io::Error::other(format!("no step of one change, but types {types:?}"))),
    }
}

/// The types of the records of an answer.
fn types(message: &[u8]) -> Option<Vec<u16>> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(message, at)? + 4;
    }
    let mut types = Vec::new();
    for _ in 0..word(6)? {
        at = skip_name(message, at)?;
        types.push(word(at)?);
        at += 10 + usize::from(word(at + 8)?);
    }
    Some(types)
}

/// The serial a server answers with.
fn serial(server: SocketAddr, apex: &str) -> io::Result<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(SILENT))?;
    socket.send(&question(apex, None))?;
    let mut message = [0; 1500];
    let len = socket.recv(&mut message)?;
    let none = || io::Error::other("an answer without SOA");
    let message = message.get(..len).ok_or_else(none)?;
    let read = || {
        let question_end = skip_name(message, 12)? + 4;
        let rdata = skip_name(message, question_end)? + 10;
        let numbers = skip_name(message, skip_name(message, rdata)?)?;
        message.get(numbers..)?.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
    };
    read().ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_a_step_says_where_from() {
        let query = question("a.test", Some(7));
        assert_eq!(query[..12], [0x4E, 0x51, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
        assert_eq!(
            query[query.len() - 20..],
            [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(question("a.test", None).len(), 12 + 8 + 4);
    }
}
