//! Transfers over rough lines: packets lost, connections cut, either side killed in the middle.
//!
//! Between the two stands a [`Line`], which loses datagrams, cuts connections anywhere, or stops in
//! the middle of a transfer so that there is a middle to kill somebody in. Where root may make a
//! network of its own, packets are lost there by the kernel.
//!
//! `INTEROP_LONG=1` has more makes killed, and more lost.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::downstream::{
    KEY, OPEN, Running, SIGNED, Secondary, primary, records, serial, serial_at,
};
use crate::http_client;
use crate::server::{PATIENCE, Server};

/// What a line does to those who talk over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Clear,
    /// Every third datagram is lost, and every other connection cut within its first octets.
    Rough,
    /// Every connection stops after so many octets of what the primary sends.
    HoldsAfter(usize),
}

/// A way to a primary, for UDP and TCP, that is not what it should be.
struct Line {
    address: SocketAddr,
    way: Arc<Way>,
}

struct Way {
    primary: SocketAddr,
    mood: Mutex<Mood>,
    /// A connection has come to where it is held.
    held: AtomicBool,
    datagrams: AtomicU64,
    connections: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
    open: AtomicUsize,
}

/// Octets within which a rough line cuts a connection: about two messages of a transfer.
const CUT_OCTETS: u64 = 20_000;

impl Line {
    fn to(primary: SocketAddr, mood: Mood) -> Line {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, crate::server::free_port()));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Arc::new(UdpSocket::bind(address).unwrap());
        let way = Arc::new(Way {
            primary,
            mood: Mutex::new(mood),
            held: AtomicBool::new(false),
            datagrams: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let to = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let way = Arc::clone(&to);
                thread::spawn(move || way.carry(client));
            }
        });
        let to = Arc::clone(&way);
        thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((len, client)) = socket.recv_from(&mut buffer) {
                let (way, socket, message) =
                    (Arc::clone(&to), Arc::clone(&socket), buffer[..len].to_vec());
                thread::spawn(move || way.pass(&socket, client, &message));
            }
        });
        Line { address, way }
    }

    fn set(&self, mood: Mood) {
        self.way.held.store(false, Ordering::Relaxed);
        *self.way.mood.lock().unwrap() = mood;
    }

    /// Waits until a transfer is in its middle.
    fn wait_for_the_middle(&self, meanwhile: &dyn Fn()) {
        let end = Instant::now() + PATIENCE;
        while !self.way.held.load(Ordering::Relaxed) {
            assert!(Instant::now() < end, "no transfer began");
            meanwhile();
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until nobody talks over it.
    fn wait_until_quiet(&self) {
        let end = Instant::now() + PATIENCE;
        while self.way.open.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < end, "connections stay open");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Way {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// Whether the next datagram is lost.
    fn loses(&self) -> bool {
        let number = self.datagrams.fetch_add(1, Ordering::Relaxed);
        let loses = self.mood() == Mood::Rough && number.is_multiple_of(3);
        self.lost.fetch_add(u64::from(loses), Ordering::Relaxed);
        loses
    }

    /// One datagram there, and one back.
    fn pass(&self, socket: &UdpSocket, client: SocketAddr, message: &[u8]) {
        if self.loses() {
            return;
        }
        let there = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        there.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut buffer = [0; 65_535];
        let sent = there.send_to(message, self.primary).is_ok();
        if sent
            && let Ok(len) = there.recv(&mut buffer)
            && !self.loses()
        {
            let _ = socket.send_to(&buffer[..len], client);
        }
    }

    /// One connection.
    fn carry(&self, client: TcpStream) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        if let Ok(primary) = dial(self.primary) {
            let (mut up, mut down) = (client.try_clone().unwrap(), primary.try_clone().unwrap());
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _ = io::copy(&mut up, &mut down);
                    let _ = down.shutdown(Shutdown::Write);
                });
                let _ = self.send_on(number, &primary, &client);
                let _ = client.shutdown(Shutdown::Both);
                let _ = primary.shutdown(Shutdown::Both);
            });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the primary says, as far as the mood lets it.
    fn send_on(&self, number: u64, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        // Another place for each connection, none of them in step with the messages.
        let cut_at = number.is_multiple_of(2).then_some(number * 7_919 % CUT_OCTETS);
        let mut buffer = [0; 4_096];
        let mut sent = 0;
        loop {
            let len = from.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            if self.mood() == Mood::Rough
                && let Some(at) = cut_at.filter(|at| *at <= sent + len as u64)
            {
                let rest = usize::try_from(at.saturating_sub(sent)).unwrap();
                self.cut.fetch_add(1, Ordering::Relaxed);
                return to.write_all(&buffer[..rest]);
            }
            to.write_all(&buffer[..len])?;
            sent += len as u64;
            while matches!(self.mood(), Mood::HoldsAfter(at) if sent > at as u64) {
                self.held.store(true, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Connects, with little room for what is not read yet.
fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(32 * 1024)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn change(server: &Server, zone: &str, round: usize) {
    let edits: Vec<_> = (0..40)
        .map(|n| {
            let name = format!("h{}", (round * 41 + n * 7) % 400);
            let text = format!("\"{round} {}\"", "x".repeat(200));
            json!({"op": "replace", "name": name, "type": "TXT", "ttl": 60, "records": [text]})
        })
        .collect();
    let item = json!({"kind": "dns_change", "zone": zone, "edits": edits});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
}

/// Asserts that `running` has what nameplane has.
fn is_the_same(server: &Server, secret: &str, running: &Running, zone: &str) {
    let key = format!("hmac-sha256:{KEY}:{secret}");
    let ours = records(server.dns, zone, (zone == SIGNED).then_some(key.as_str()));
    assert!(ours.len() > 100, "{}", ours.len());
    assert!(records(running.address, zone, None) == ours, "{:?} {zone} differs", running.kind);
}

/// Goal: what is lost on the way costs time, never records.
/// Method: every third datagram is lost, every other connection cut somewhere, while commits go on.
fn follows_over_a_rough_line(kind: Secondary) {
    if !kind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let line = Line::to(server.dns, Mood::Rough);
    let running = Running::start(kind, line.address, &secret, &home.path().join("secondary"));
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone));
    }
    for round in 0..8 {
        for zone in [OPEN, SIGNED] {
            change(&server, zone, round);
            running.notify(zone);
        }
        if round % 2 == 1 {
            running.follow(SIGNED, serial(&server, SIGNED));
        }
    }
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone));
        is_the_same(&server, &secret, &running, zone);
    }
    let (lost, cut) = (&line.way.lost, &line.way.cut);
    println!("{kind:?}: {lost:?} datagrams lost, {cut:?} connections cut");
    assert!(cut.load(Ordering::Relaxed) > 1, "nothing was cut");
}

#[test]
fn knot_follows_over_a_rough_line() {
    follows_over_a_rough_line(Secondary::Knot);
}

#[test]
fn bind_follows_over_a_rough_line() {
    follows_over_a_rough_line(Secondary::Bind);
}

#[test]
fn nsd_follows_over_a_rough_line() {
    follows_over_a_rough_line(Secondary::Nsd);
}

#[test]
fn powerdns_follows_over_a_rough_line() {
    follows_over_a_rough_line(Secondary::PowerDns);
}

#[test]
fn yadifa_follows_over_a_rough_line() {
    follows_over_a_rough_line(Secondary::Yadifa);
}

/// Whether there is time for the same with other makes, and for more.
fn is_long() -> bool {
    std::env::var("INTEROP_LONG").is_ok()
}

/// Hosts of a zone that no socket's buffer holds: eight megabytes, of which a change takes six.
const HOSTS: usize = 2_000;

/// Octets after which a transfer is in its middle.
const MIDDLE: usize = 1 << 20;

/// Makes `zone` large. In another `round` two of five hosts are others than before.
fn enlarge(server: &Server, zone: &str, hosts: usize, round: usize) {
    let mut text =
        String::from("@ 60 SOA ns hostmaster 1 1 1 3600 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n");
    for host in 0..hosts {
        let version = if host % 5 < 2 { round } else { 0 };
        let filler = format!(" \"{}\"", "x".repeat(240)).repeat(16);
        writeln!(text, "h{host} 60 TXT \"{version}\"{filler}").unwrap();
    }
    let (path, bearer) =
        (format!("/v1/zones/{zone}/file?push=true"), format!("Bearer {}", server.operator_token()));
    let fields =
        [("Authorization", bearer.as_str()), ("Content-Type", "text/dns"), ("If-Match", "*")];
    let put = http_client::send(server.http, "PUT", &path, &fields, text.as_bytes());
    assert!((200..300).contains(&put.status), "{} {}", put.status, put.text());
}

/// Goal: `kill -9` on either side in the middle of a transfer leaves the version before in service, and
/// what is transferred afterwards is whole.
/// Method: the line stops within the transfer; then one side is killed, and started again.
fn survives_kills_in_the_middle(kind: Secondary) {
    if !kind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (mut server, secret) = primary(home.path());
    enlarge(&server, SIGNED, HOSTS, 1);
    let line = Line::to(server.dns, Mood::HoldsAfter(MIDDLE));
    let mut running = Running::start(kind, line.address, &secret, &home.path().join("secondary"));

    // Within the first AXFR, the secondary.
    line.wait_for_the_middle(&|| {});
    assert_eq!(serial_at(running.address, SIGNED), None, "{kind:?} serves half a zone");
    running.kill();
    line.set(Mood::Clear);
    running.launch(line.address, &secret);
    let mut before = serial(&server, SIGNED);
    running.follow(SIGNED, before);
    is_the_same(&server, &secret, &running, SIGNED);

    // Within what changed, the primary; then the secondary.
    for round in 2..4 {
        line.set(Mood::HoldsAfter(MIDDLE));
        enlarge(&server, SIGNED, HOSTS, round);
        line.wait_for_the_middle(&|| running.notify(SIGNED));
        assert_eq!(serial_at(running.address, SIGNED), Some(before), "{kind:?} serves half");
        if round == 2 {
            server.kill();
            line.set(Mood::Clear);
            line.wait_until_quiet();
            assert_eq!(serial_at(running.address, SIGNED), Some(before), "{kind:?} took half");
            server.restart();
        } else {
            running.kill();
            line.set(Mood::Clear);
            running.launch(line.address, &secret);
        }
        before = serial(&server, SIGNED);
        running.follow(SIGNED, before);
        is_the_same(&server, &secret, &running, SIGNED);
    }
}

#[test]
fn knot_survives_kills_in_the_middle_of_transfers() {
    survives_kills_in_the_middle(Secondary::Knot);
}

#[test]
fn bind_and_nsd_survive_kills_in_the_middle_of_transfers_when_there_is_time() {
    match is_long() {
        true => {
            [Secondary::Bind, Secondary::Nsd].into_iter().for_each(survives_kills_in_the_middle)
        }
        false => println!("skipped: INTEROP_LONG is not set"),
    }
}

/// Makes lo lose packets, by `netem` or else by a queue that is too short, and runs what follows.
const LOSSY: &str = "ip link set lo up mtu 1500 || exit 77\n\
    tc qdisc add dev lo root netem loss 3% delay 1ms 2>/dev/null || \
    tc qdisc add dev lo root tbf rate 40mbit burst 16k limit 16k 2>/dev/null || exit 77\n\
    echo lossy; exec \"$0\" \"$@\"";

/// Goal: transfers and NOTIFY survive a network that loses packets.
/// Method: [`inside_a_lossy_network`] is run in a network of its own. That takes root.
#[test]
fn what_packets_are_lost_costs_time_and_never_records() {
    let this = std::env::current_exe().unwrap();
    let inside = "interop::rough::inside_a_lossy_network";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", LOSSY]).arg(this);
    command.args(["--exact", inside, "--ignored", "--nocapture"]).env("INTEROP_LOSSY", "yes");
    let output = match command.output() {
        Ok(output) if output.stdout.starts_with(b"lossy") => output,
        _ => {
            println!("skipped: a network that loses packets takes root, unshare, ip and tc");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{output:?}");
    println!("{text}");
}

#[test]
#[ignore = "runs in a network of its own, where lo loses packets"]
fn inside_a_lossy_network() {
    assert!(
        std::env::var("INTEROP_LOSSY").is_ok(),
        "another test runs this one, in a network of its own"
    );
    let kinds = [Secondary::Knot, Secondary::Bind, Secondary::Nsd];
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let (hosts, rounds) = if is_long() { (400, 4) } else { (120, 2) };
    enlarge(&server, SIGNED, hosts, 1);
    let start = |kind: Secondary| {
        Running::start(kind, server.dns, &secret, &home.path().join(format!("{kind:?}")))
    };
    let all: Vec<Running> = kinds.into_iter().filter(|kind| kind.is_here()).map(start).collect();
    for round in 2..=rounds {
        for running in &all {
            running.follow(SIGNED, serial(&server, SIGNED));
        }
        enlarge(&server, SIGNED, hosts, round);
    }
    for running in &all {
        running.follow(SIGNED, serial(&server, SIGNED));
        is_the_same(&server, &secret, running, SIGNED);
    }
    let shown = Command::new("tc").args(["-s", "qdisc", "show", "dev", "lo"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let dropped = shown.split("dropped ").nth(1).and_then(|rest| rest.split(',').next());
    let dropped: u64 = dropped.and_then(|count| count.parse().ok()).unwrap();
    println!("{dropped} packets lost");
    assert!(dropped > 0, "nothing was lost: {shown}");
}
