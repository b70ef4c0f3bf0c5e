//! Dynamic updates (RFC 2136): what one costs, and how long its author waits.
//!
//! Each update replaces the one address of a name by another, so that every one changes a zone and its
//! serial. It is over when the answer is there: with nameplane the change is then on disk and served.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::answers;
use crate::bench::{Options, median};
use crate::dataset::{Dataset, Set};
use crate::load::Latency;
use crate::peer::{Peer, Running, Wish};
use crate::questions::Random;
use crate::{procfs, table};

/// Servers that take updates over the zones they were given as files.
pub const PEERS: [Peer; 4] = [Peer::Nameplane, Peer::Knot, Peer::Bind, Peer::PowerDnsLmdb];

/// An update not answered within this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// Names of a zone that updates take turns with.
const NAMES: usize = 256;

/// How to send updates.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Updates under way at any time.
    pub window: usize,
    /// Updates a second; none sends as fast as answers come.
    pub rate: Option<u32>,
    pub time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Done {
    pub done: u64,
    pub refused: [u64; 16],
    pub lost: u64,
    pub elapsed: Duration,
    pub latency: Latency,
}

impl Done {
    /// Why the figures do not count, if they do not.
    fn wrong(&self) -> Option<String> {
        let refused: u64 = self.refused.iter().sum();
        let bad = refused > 0 || self.lost > 0 || self.done == 0;
        bad.then(|| format!("{} done, {} lost, RCODEs {:?}", self.done, self.lost, self.refused))
    }
}

/// An endless supply of updates over some zones.
pub struct Updates {
    apexes: Vec<Vec<u8>>,
    random: Random,
    value: u32,
}

impl Updates {
    /// Over all zones of a set.
    pub fn over(data: &Dataset, seed: u64) -> io::Result<Self> {
        let apexes = data.zones()?.iter().map(|(apex, _)| wire(apex)).collect();
        Ok(Self { apexes, random: Random::new(seed), value: seed as u32 })
    }

    /// Writes the next update.
    fn write(&mut self, id: u16, out: &mut Vec<u8>) {
        let apex = &self.apexes[self.random.below(self.apexes.len())];
        let label = format!("bench{}", self.random.below(NAMES));
        self.value = self.value.wrapping_add(1);
        out.clear();
        out.extend_from_slice(&id.to_be_bytes());
        // Opcode UPDATE, one zone, two changes.
        out.extend_from_slice(&[0x28, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
        out.extend_from_slice(apex);
        out.extend_from_slice(&[0, 6, 0, 1]);
        // Delete the RRset (class ANY), then add the new one; the apex stands at octet 12.
        for (class, ttl, data) in [(255, 0, &[][..]), (1, 300, &self.value.to_be_bytes()[..])] {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(&[0xC0, 12, 0, 1]);
            out.extend_from_slice(&u16::to_be_bytes(class));
            out.extend_from_slice(&u32::to_be_bytes(ttl));
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
    }
}

/// A name in wire form.
pub fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// Sends updates as planned, asleep while there is nothing to do.
pub fn send(server: SocketAddr, updates: &mut Updates, pace: Pace) -> io::Result<Done> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    let mut done = Done::default();
    let mut under_way: Vec<(u16, Instant)> = Vec::new();
    let (mut message, mut answer) = (Vec::new(), [0; 1500]);
    let (start, mut sent) = (Instant::now(), 0u32);
    loop {
        let now = Instant::now();
        let open = now - start < pace.time;
        let due = |sent: u32| match pace.rate {
            Some(rate) => Duration::from_secs(1) * sent / rate,
            None => Duration::ZERO,
        };
        while open && under_way.len() < pace.window && now - start >= due(sent) {
            sent += 1;
            updates.write(sent as u16, &mut message);
            socket.send(&message)?;
            under_way.push((sent as u16, Instant::now()));
        }
        let before = under_way.len();
        under_way.retain(|(_, since)| now - *since < LOST_AFTER);
        done.lost += (before - under_way.len()) as u64;
        if !open && under_way.is_empty() {
            break;
        }
        let wait = match pace.rate {
            Some(_) if open => due(sent).saturating_sub(start.elapsed()),
            _ => Duration::from_millis(100),
        };
        socket.set_read_timeout(Some(wait.max(Duration::from_micros(20))))?;
        let Ok(len) = socket.recv(&mut answer) else { continue };
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        if let Some(at) = under_way.iter().position(|(asked, _)| *asked == id)
            && len >= 12
            && answer[2] & 0xF8 == 0xA8
        {
            let (_, since) = under_way.swap_remove(at);
            match answer[3] & 15 {
                0 => {
                    done.done += 1;
                    done.latency.add(since.elapsed());
                }
                rcode => done.refused[rcode as usize] += 1,
            }
        }
    }
    done.elapsed = start.elapsed();
    Ok(done)
}

/// Octets written for each bare sync: about what a server writes for an update.
const BARE_OCTETS: usize = 4096;

/// Octets of the file that is written over and over, as a log is that is made ahead of its records.
const BARE_FILE_OCTETS: u64 = 1 << 20;

/// How many writes, each synced by itself, the disk takes a second with nothing else to do.
fn bare_syncs(dir: &Path, time: Duration) -> io::Result<f64> {
    let path = dir.join("bare-syncs");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; BARE_FILE_OCTETS as usize], 0)?;
    file.sync_all()?;
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let at = count * BARE_OCTETS as u64 % BARE_FILE_OCTETS;
        file.write_all_at(&[count as u8; BARE_OCTETS], at)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let how = format!(
        "Medians of {} rounds of {:?}, one address replaced in each update; server and client on a core \
         each. CPU is all the server spent, in µs per update. Bare syncs: writes of 4 KiB a second, each \
         followed by fdatasync, that the same disk takes before each round.",
        options.rounds, options.turn
    );
    let mut out = table::heading("update: dynamic updates (RFC 2136)", &how);
    for (set, divisor) in [(Set::Hosting, 10 * options.divisor), (Set::Big, options.divisor)] {
        let data = Dataset::open(&options.dir, set, divisor)?;
        let _ = writeln!(
            out,
            "\n| {} zones, {} records | bare syncs/s | one at a time: updates/s | CPU µs | p50 µs | p99 µs | \
             64 under way: updates/s | CPU µs | p50 µs | p99 µs |\n|---|{}",
            data.zones,
            data.records,
            "---|".repeat(9)
        );
        let mut notes = Vec::new();
        for (i, peer) in options.peers_of(&PEERS).into_iter().enumerate() {
            if !peer.serves(set) {
                continue;
            }
            let row = peer_row(options, &data, peer, options.first_port + 300 + i as u16);
            match row {
                Ok(row) => out.push_str(&row),
                Err(error) => notes.push(format!("{}: {error}", peer.name())),
            }
        }
        for note in notes {
            let _ = writeln!(out, "\nNot measured: {note}.");
        }
    }
    Ok(out)
}

/// One server's row: both ways of sending, all rounds.
fn peer_row(options: &Options, data: &Dataset, peer: Peer, port: u16) -> io::Result<String> {
    let wish = Wish { open: true, ..Wish::default() };
    let (server, _) = answers::start(options, data, peer, port, wish)?;
    let mut row = format!("| {} |", peer.name());
    let mut bare = Vec::new();
    for window in [1, 64] {
        let mut figures: [Vec<f64>; 4] = Default::default();
        for round in 0..=options.rounds {
            if window == 1 {
                bare.push(bare_syncs(&options.dir, options.turn / 2)?);
            }
            let (done, cost) = turn(options, data, &server, window, round)?;
            if let Some(wrong) = done.wrong() {
                return Err(io::Error::other(format!("{window} under way: {wrong}")));
            }
            if round > 0 {
                let us = |share| done.latency.quantile(share).as_secs_f64() * 1e6;
                let rate = done.done as f64 / done.elapsed.as_secs_f64();
                for (all, one) in figures.iter_mut().zip([rate, cost, us(0.5), us(0.99)]) {
                    all.push(one);
                }
            }
        }
        if window == 1 {
            let _ = write!(row, " {:.0} |", median(&bare));
        }
        for all in figures {
            let _ = write!(row, " {:.0} |", median(&all));
        }
    }
    row.push('\n');
    Ok(row)
}

/// One turn; returns what came of it and µs of server CPU per update.
fn turn(
    options: &Options,
    data: &Dataset,
    server: &Running,
    window: usize,
    round: usize,
) -> io::Result<(Done, f64)> {
    eprintln!("update {}, {window} under way: round {round}", server.peer.name());
    let mut updates = Updates::over(data, (round * 1_000_003 + window * 7919) as u64)?;
    let before = procfs::cpu(server.pid());
    let pace = Pace { window, rate: None, time: options.turn };
    let done = send(server.address, &mut updates, pace)?;
    let spent = procfs::cpu(server.pid()) - before;
    let cost = spent.total.as_secs_f64() * 1e6 / done.done.max(1) as f64;
    Ok((done, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_replaces_one_rrset() {
        let mut updates =
            Updates { apexes: vec![wire("a.test")], random: Random::new(1), value: 6 };
        let mut out = Vec::new();
        updates.write(9, &mut out);

        assert_eq!(out[..12], [0, 9, 0x28, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
        assert_eq!(out[12..24], *b"\x01a\x04test\0\0\x06\0\x01");
        assert_eq!(out[out.len() - 4..], [0, 0, 0, 7]);
    }
}
