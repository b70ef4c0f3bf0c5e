//! Zones that follow a primary: what keeping many of them fresh costs, and how long after NOTIFY a change
//! is served.
//!
//! The runner is the primary, by UDP and TCP: zones of five records, a catalog that names them, and IXFR
//! of one changed address. So nothing but the secondary is measured.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::{LOAD_CORE, Options, SERVER_CORE};
use crate::dataset::succeed;
use crate::load::Latency;
use crate::peer::{Peer, nameplane};
use crate::questions::Random;
use crate::update::wire;
use crate::{procfs, sys, table};

/// Servers that follow a primary without help.
const PEERS: [Peer; 2] = [Peer::Nameplane, Peer::Knot];

/// Zones of the full size, and their REFRESH in seconds.
const ZONES: usize = 10_000;
const REFRESH_S: u32 = 300;

/// REFRESH of a run that tries the runner itself.
const REFRESH_SMALL_S: u32 = 5;

/// Changes that are notified and waited for.
const CHANGES: usize = 300;

/// A change not served within this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// The zone that names the others to those who can be told so.
const CATALOG: &str = "catalog.test";

/// How far nameplane's port of HTTP stands above its port of DNS.
const HTTP_ABOVE: u16 = 1000;

/// The primary of all zones.
struct Primary {
    address: SocketAddr,
    udp: UdpSocket,
    serials: Vec<AtomicU32>,
    refresh_s: u32,
    /// Questions of any kind: some ask for the SOA first, by UDP or TCP, some for what changed.
    asked: AtomicU64,
}

impl Primary {
    fn start(zones: usize, refresh_s: u32) -> io::Result<Arc<Primary>> {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let address = udp.local_addr()?;
        let tcp = TcpListener::bind(address)?;
        let serials = (0..zones).map(|_| AtomicU32::new(1)).collect();
        let asked = AtomicU64::new(0);
        let primary = Arc::new(Primary { address, udp, serials, refresh_s, asked });
        let answers = Arc::clone(&primary);
        std::thread::spawn(move || answers.answer_udp());
        let sends = Arc::clone(&primary);
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let sends = Arc::clone(&sends);
                std::thread::spawn(move || while sends.answer_tcp(&stream).is_some() {});
            }
        });
        Ok(primary)
    }

    fn answer_udp(&self) {
        let mut query = [0; 1500];
        while let Ok((len, client)) = self.udp.recv_from(&mut query) {
            // What is no question is the answer to a NOTIFY.
            if let Some(asked) =
                query.get(..len).and_then(Asked::read).filter(|_| query[2] & 0x80 == 0)
            {
                self.asked.fetch_add(1, Ordering::Relaxed);
                let _ = self.udp.send_to(&asked.answer(&[self.soa(&asked)]), client);
            }
        }
    }

    fn answer_tcp(&self, mut stream: &TcpStream) -> Option<()> {
        let mut len = [0; 2];
        stream.read_exact(&mut len).ok()?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut query).ok()?;
        let asked = Asked::read(&query)?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let records = match asked.rtype {
            6 => vec![self.soa(&asked)],
            _ => self.transfer(&asked),
        };
        // The records of a catalog do not fit into one message.
        for part in records.chunks(200) {
            let answer = asked.answer(part);
            let framed = [&(answer.len() as u16).to_be_bytes(), &answer[..]].concat();
            stream.write_all(&framed).ok()?;
        }
        Some(())
    }

    /// Tells a server that a zone has a new version, which it has from now on.
    fn change(&self, zone: usize, server: SocketAddr) -> io::Result<u32> {
        let serial = self.serials[zone].fetch_add(1, Ordering::Relaxed) + 1;
        self.notify(zone, server)?;
        Ok(serial)
    }

    fn notify(&self, zone: usize, server: SocketAddr) -> io::Result<()> {
        let mut message = (zone as u16).to_be_bytes().to_vec();
        message.extend([0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(wire(&apex(zone)));
        message.extend([0, 6, 0, 1]);
        self.udp.send_to(&message, server).map(drop)
    }

    fn serial(&self, asked: &Asked) -> u32 {
        let zone = asked.zone.and_then(|zone| self.serials.get(zone));
        zone.map_or(1, |serial| serial.load(Ordering::Relaxed))
    }

    fn soa(&self, asked: &Asked) -> Vec<u8> {
        self.soa_at(asked, self.serial(asked))
    }

    fn soa_at(&self, asked: &Asked, serial: u32) -> Vec<u8> {
        let mut rdata = [wire("ns.test"), wire("host.test")].concat();
        for number in [serial, self.refresh_s, 10, 86_400, 60] {
            rdata.extend(number.to_be_bytes());
        }
        record(&asked.name, 6, &rdata)
    }

    fn transfer(&self, asked: &Asked) -> Vec<Vec<u8>> {
        let serial = self.serial(asked);
        let (soa, www) = (self.soa_at(asked, serial), [&b"\x03www"[..], &asked.name].concat());
        let address = |serial: u32| record(&www, 1, &serial.to_be_bytes());
        if asked.rtype == 251 && asked.have.is_some_and(|have| have + 1 == serial) {
            let old = self.soa_at(asked, serial - 1);
            return vec![soa.clone(), old, address(serial - 1), soa.clone(), address(serial), soa];
        }
        let mut records = vec![soa.clone(), record(&asked.name, 2, &wire("ns.test"))];
        match asked.zone {
            Some(_) => records.push(address(serial)),
            None => records.extend(self.members(&asked.name)),
        }
        records.push(soa);
        records
    }

    fn members(&self, catalog: &[u8]) -> Vec<Vec<u8>> {
        let version = record(&[b"\x07version", catalog].concat(), 16, b"\x012");
        let member = |zone: usize| {
            let mut owner = wire(&format!("m{zone}.zones"));
            owner.pop(); // its root: it goes on
            owner.extend_from_slice(catalog);
            record(&owner, 12, &wire(&apex(zone)))
        };
        std::iter::once(version).chain((0..self.serials.len()).map(member)).collect()
    }
}

fn apex(zone: usize) -> String {
    format!("z{zone}.follow.test")
}

fn record(owner: &[u8], rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(rtype.to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 60]);
    out.extend((rdata.len() as u16).to_be_bytes());
    out.extend(rdata);
    out
}

/// A question of a secondary.
struct Asked {
    id: [u8; 2],
    name: Vec<u8>,
    rtype: u16,
    /// None for the catalog.
    zone: Option<usize>,
    /// The serial in the SOA behind a question for IXFR.
    have: Option<u32>,
}

impl Asked {
    fn read(query: &[u8]) -> Option<Asked> {
        let end = 12 + query.get(12..)?.iter().position(|octet| *octet == 0)? + 1;
        let (name, rest) = (query.get(12..end)?.to_vec(), query.get(end..)?);
        let rtype = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        let label = name.get(1..1 + usize::from(*name.first()?))?;
        let number = std::str::from_utf8(label).ok()?.strip_prefix('z');
        let zone = number.and_then(|number| number.parse().ok());
        // The SOA may be followed by OPT: its RDATA has two names, of which the last ends where five
        // numbers begin. Ours are known, so that the serial stands a fixed way behind its owner.
        let have = (rtype == 251).then(|| {
            let soa = rest.get(4..)?;
            let owner = if soa.first()? & 0xC0 == 0xC0 { 2 } else { name.len() };
            let len = u16::from_be_bytes([*soa.get(owner + 8)?, *soa.get(owner + 9)?]);
            let numbers = soa.get(..owner + 10 + usize::from(len))?.last_chunk::<20>()?;
            Some(u32::from_be_bytes(*numbers.first_chunk()?))
        });
        Some(Asked { id: [query[0], query[1]], name, rtype, zone, have: have.flatten() })
    }

    fn answer(&self, records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = self.id.to_vec();
        out.extend([0x84, 0, 0, 1]);
        out.extend((records.len() as u16).to_be_bytes());
        out.extend([0; 4]);
        out.extend(&self.name);
        out.extend(self.rtype.to_be_bytes());
        out.extend([0, 1]);
        records.iter().for_each(|record| out.extend(record));
        out
    }
}

/// A secondary of all zones. Dropped, it is ended.
struct Secondary {
    address: SocketAddr,
    child: Child,
    begun: Instant,
}

impl Drop for Secondary {
    fn drop(&mut self) {
        sys::terminate(self.child.id());
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(8)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Secondary {
    fn start(peer: Peer, dir: &Path, port: u16, primary: &Primary) -> io::Result<Secondary> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = match peer {
            Peer::Nameplane => {
                let mut command = Command::new(nameplane());
                command.arg("serve").arg("--data-dir").arg(dir.join("data"));
                command.args(["--listen-dns", &address.to_string(), "--udp-workers", "1"]);
                command.args(["--listen-http", &format!("127.0.0.1:{}", port + HTTP_ABOVE)]);
                command
            }
            _ => knot(dir, port, primary)?,
        };
        let log = File::create(dir.join("out.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        sys::end_with_us(&mut command);
        let begun = Instant::now();
        let secondary = Secondary { address, child: command.spawn()?, begun };
        procfs::pin(secondary.child.id(), SERVER_CORE)?;
        if peer == Peer::Nameplane {
            secondary.follow_catalog(dir, primary)?;
        }
        Ok(secondary)
    }

    /// One command makes nameplane follow all zones.
    fn follow_catalog(&self, dir: &Path, primary: &Primary) -> io::Result<()> {
        let token = dir.join("data").join("operator.token");
        let begun = Instant::now();
        while !token.exists() && begun.elapsed() < LOST_AFTER {
            std::thread::sleep(Duration::from_millis(50));
        }
        let (token, port) = (fs::read_to_string(token)?, self.address.port() + HTTP_ABOVE);
        let begun = Instant::now();
        loop {
            let mut set = Command::new(nameplane());
            set.args([
                "zone",
                "primaries",
                "set",
                CATALOG,
                &primary.address.to_string(),
                "--catalog",
            ]);
            set.env("NAMEPLANE_SERVER", format!("http://127.0.0.1:{port}"));
            set.env("NAMEPLANE_TOKEN", token.trim());
            match succeed(&mut set) {
                Err(error) if begun.elapsed() > LOST_AFTER => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits until every zone is served; returns how long that took from the start of the process.
    fn load(&self, zones: usize, limit: Duration) -> io::Result<Duration> {
        let socket = self.socket()?;
        for zone in 0..zones {
            while serial(&socket, zone).is_none() {
                if self.begun.elapsed() > limit {
                    return Err(io::Error::other(format!("{} is not served in time", apex(zone))));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(self.begun.elapsed())
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(socket)
    }
}

fn knot(dir: &Path, port: u16, primary: &Primary) -> io::Result<Command> {
    let home = dir.display();
    fs::create_dir_all(dir.join("db"))?;
    let mut text = format!(
        "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n tcp-workers: 1\n \
         background-workers: 2\nlog:\n - target: {home}/knot.log\n   any: warning\ndatabase:\n \
         storage: {home}/db\nremote:\n - id: primary\n   address: 127.0.0.1@{}\nacl:\n - id: told\n   \
         address: 127.0.0.0/8\n   action: notify\ntemplate:\n - id: default\n   storage: {home}\n   \
         master: primary\n   acl: told\n   zonefile-sync: -1\n   journal-content: all\nzone:\n",
        primary.address.port()
    );
    for zone in 0..primary.serials.len() {
        let _ = writeln!(text, " - domain: {}.", apex(zone));
    }
    let conf = dir.join("knot.conf");
    fs::write(&conf, text)?;
    let mut command = Command::new("/usr/sbin/knotd");
    command.args(["-m", "4096", "-c"]).arg(conf);
    Ok(command)
}

/// The serial that a zone is served with; none while it is not.
fn serial(socket: &UdpSocket, zone: usize) -> Option<u32> {
    let mut query = vec![0x4E, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(wire(&apex(zone)));
    query.extend([0, 6, 0, 1]);
    socket.send(&query).ok()?;
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).ok()?;
    let answer = answer.get(..len)?;
    let is_answer = answer.get(3)? & 15 == 0 && answer.get(7)? == &1;
    let about = answer.get(12..query.len()) == query.get(12..);
    // Without EDNS and further sections the five numbers of the SOA stand last.
    let numbers = answer.last_chunk::<20>().filter(|_| is_answer && about)?;
    Some(u32::from_be_bytes(*numbers.first_chunk()?))
}

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let zones = (ZONES / options.divisor).max(2);
    let refresh_s = if options.divisor > 1 { REFRESH_SMALL_S } else { REFRESH_S };
    let how = format!(
        "{zones} zones of five records, REFRESH {refresh_s} s, followed from a primary in the runner; \
         the server on one core. Holding is measured over one REFRESH in which nothing changes. Then \
         {CHANGES} changes one after the other, each told by NOTIFY, by IXFR, in a zone drawn at \
         random, asked for until it is served."
    );
    let mut out = table::heading("follow: zones that follow a primary", &how);
    out.push_str(
        "\n| server | all served s | holding: % of a core | questions/s | NOTIFY to served: p50 ms | p99 ms | \
         CPU µs a change |\n|---|---|---|---|---|---|---|\n",
    );
    let mut notes = Vec::new();
    for (i, peer) in options.peers_of(&PEERS).into_iter().enumerate() {
        let dir = options.dir.join(format!("run-follow-{}", peer.name()));
        let port = options.first_port + 600 + i as u16;
        match row(options, peer, &dir, port, (zones, refresh_s)) {
            Ok(row) => out.push_str(&row),
            Err(error) => notes.push(format!("{}: {error}", peer.name())),
        }
    }
    for note in notes {
        let _ = writeln!(out, "\nNot measured: {note}.");
    }
    Ok(out)
}

fn row(
    options: &Options,
    peer: Peer,
    dir: &Path,
    port: u16,
    (zones, refresh_s): (usize, u32),
) -> io::Result<String> {
    let primary = Primary::start(zones, refresh_s)?;
    let secondary = Secondary::start(peer, dir, port, &primary)?;
    let loaded = secondary.load(zones, options.load_limit)?;
    procfs::pin(secondary.child.id(), SERVER_CORE)?;
    sys::pin(0, LOAD_CORE)?;
    // What it does behind loading, and is not asked for again, is not holding.
    std::thread::sleep(Duration::from_secs(2));

    let pid = secondary.child.id();
    let (before, asked) = (procfs::cpu(pid), primary.asked.load(Ordering::Relaxed));
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(refresh_s.into()));
    let held = begun.elapsed().as_secs_f64();
    let share = (procfs::cpu(pid) - before).total.as_secs_f64() / held * 100.0;
    let questions = (primary.asked.load(Ordering::Relaxed) - asked) as f64 / held;

    let (latency, cost) = changes(&primary, &secondary)?;
    let ms = |share| latency.quantile(share).as_secs_f64() * 1e3;
    Ok(format!(
        "| {} | {:.1} | {share:.2} | {questions:.1} | {:.2} | {:.2} | {cost:.0} |\n",
        peer.name(),
        loaded.as_secs_f64(),
        ms(0.5),
        ms(0.99)
    ))
}

/// Changes zones one by one; how long each took to be served, and µs of CPU a change.
fn changes(primary: &Primary, secondary: &Secondary) -> io::Result<(Latency, f64)> {
    let socket = secondary.socket()?;
    let mut random = Random::new(7);
    let mut latency = Latency::default();
    let pid = secondary.child.id();
    let before = procfs::cpu(pid);
    for _ in 0..CHANGES {
        let zone = random.below(primary.serials.len());
        let begun = Instant::now();
        let wanted = primary.change(zone, secondary.address)?;
        while serial(&socket, zone) != Some(wanted) {
            if begun.elapsed() > LOST_AFTER {
                return Err(io::Error::other(format!("a change of {} is lost", apex(zone))));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        latency.add(begun.elapsed());
    }
    let spent = (procfs::cpu(pid) - before).total;
    Ok((latency, spent.as_secs_f64() * 1e6 / CHANGES as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_ixfr_is_understood_with_the_serial_it_has() {
        let primary = Primary::start(3, 300).unwrap();
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        query.extend(wire(&apex(2)));
        query.extend([0, 251, 0, 1]);
        let own = Asked::read(&query).unwrap();
        assert_eq!((own.zone, own.rtype, own.have), (Some(2), 251, None));
        query.extend(primary.soa_at(&own, 1));
        let asked = Asked::read(&query).unwrap();
        assert_eq!(asked.have, Some(1));
        primary.serials[2].store(2, Ordering::Relaxed);
        assert_eq!(primary.transfer(&asked).len(), 6, "a step");
        let behind = Asked { have: Some(0), ..asked };
        assert_eq!(primary.transfer(&behind).len(), 4, "the zone");
    }

    #[test]
    fn the_catalog_names_every_zone() {
        let primary = Primary::start(3, 300).unwrap();
        let members = primary.members(&wire(CATALOG));
        assert_eq!(members.len(), 4);
        let owner = wire(&format!("m0.zones.{CATALOG}"));
        assert_eq!(members[1][..owner.len()], owner);
    }
}
