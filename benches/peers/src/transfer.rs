//! Zone transfers out: one zone of a million names by AXFR, over TCP.

use std::io::{self, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answers;
use crate::bench::{Options, median};
use crate::dataset::{Dataset, Set};
use crate::peer::{Peer, Running};
use crate::update::wire;
use crate::{procfs, table};

/// Servers that send whole zones.
const PEERS: [Peer; 6] =
    [Peer::Nameplane, Peer::Nsd, Peer::Knot, Peer::Bind, Peer::Yadifa, Peer::PowerDnsBind];

/// A server silent for this long does not transfer.
const SILENT: Duration = Duration::from_secs(20);

/// What came.
#[derive(Debug, Default, Clone, Copy)]
struct Came {
    records: u64,
    messages: u64,
    octets: u64,
}

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Big, options.divisor)?;
    let how = format!(
        "{} records, medians of {} rounds; server and client on a core each. The client reads to the closing \
         SOA and counts records.",
        data.records, options.rounds
    );
    let mut out = table::heading("transfer: AXFR of one zone of 1 M names", &how);
    out.push_str("\n| server | wall s | CPU s | CPU µs a record | messages | MB | records |\n|---|---|---|---|---|---|---|\n");
    let port = options.first_port + 500;
    answers::one_by_one(options, &data, &PEERS, port, &mut out, |server| {
        row(options, &data, server)
    });
    Ok(out)
}

fn row(options: &Options, data: &Dataset, server: &Running) -> io::Result<String> {
    let zones = data.zones()?;
    let (apex, _) = zones.first().ok_or_else(|| io::Error::other("a set without zones"))?;
    let (mut wall, mut cpu, mut came) = (Vec::new(), Vec::new(), Came::default());
    for round in 0..=options.rounds {
        eprintln!("transfer {}: round {round} of {}", server.peer.name(), options.rounds);
        let before = procfs::cpu(server.pid());
        let start = Instant::now();
        came = transfer(server.address, apex)?;
        if round > 0 {
            wall.push(start.elapsed().as_secs_f64());
            cpu.push((procfs::cpu(server.pid()) - before).total.as_secs_f64());
        }
    }
    Ok(format!(
        "| {} | {:.2} | {:.2} | {:.2} | {} | {:.1} | {} |\n",
        server.peer.name(),
        median(&wall),
        median(&cpu),
        median(&cpu) * 1e6 / came.records.max(1) as f64,
        came.messages,
        came.octets as f64 / 1e6,
        came.records
    ))
}

/// Takes one zone to its closing SOA.
fn transfer(server: SocketAddr, apex: &str) -> io::Result<Came> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENT))?;
    let mut query = vec![0x4E, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(&wire(apex));
    query.extend_from_slice(&[0, 252, 0, 1]);
    (&stream).write_all(&(query.len() as u16).to_be_bytes())?;
    (&stream).write_all(&query)?;
    let mut stream = BufReader::with_capacity(1 << 17, stream);
    let (mut came, mut soas, mut message) = (Came::default(), 0, Vec::new());
    while soas < 2 {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        message.resize(u16::from_be_bytes(len) as usize, 0);
        stream.read_exact(&mut message)?;
        came.messages += 1;
        came.octets += 2 + message.len() as u64;
        soas += count(&message, &mut came).ok_or_else(|| {
            let rcode = message.get(3).map_or(16, |octet| octet & 15);
            io::Error::other(format!("a message that carries no zone, RCODE {rcode}"))
        })?;
    }
    Ok(came)
}

/// Counts the records of one message; returns how many are SOA, none if it carries no zone.
fn count(message: &[u8], came: &mut Came) -> Option<u64> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if message.get(3)? & 15 != 0 || word(6)? == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(message, at)? + 4;
    }
    let mut soas = 0;
    for _ in 0..word(6)? {
        at = skip_name(message, at)?;
        soas += u64::from(word(at)? == 6);
        at += 10 + word(at + 8)? as usize;
        came.records += 1;
    }
    Some(soas)
}

/// The octet behind a name.
pub fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len if len >= 0xC0 => return Some(at + 2),
            len => at += 1 + len as usize,
        }
    }
}
