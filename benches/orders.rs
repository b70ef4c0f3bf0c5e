//! From an approved order to its served answer, by the API of the real binary.
//!
//! `cargo bench --bench orders`. A server of its own on loopback, its data under `target/`: the disk
//! measured is the one the checkout stands on. Each client keeps one connection and pushes orders of
//! one new record, one after the other; the reply comes when the server has seen its own new answer
//! over UDP. Measured with 1 and with 100 in flight: the whole call as the client sees it, the
//! receipt's time to durable and to served, and what share of it was writing and syncing the log.
//!
//! `cargo bench --bench orders -- quick` sends a fiftieth of them: it shows that the bench works, no more.
//!
//! `cargo bench --bench orders -- million` also asks for changes of a zone of a million names, beside
//! one of five: both have to cost the same.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Zones of five names that orders are spread over.
const ZONES: usize = 100;
const ORDERS_ALONE: u64 = 1_000;
const ORDERS_TOGETHER: u64 = 10_000;
const TOGETHER: usize = 100;
/// Orders that warm the server up, and are not counted.
const WARM: u64 = 200;
/// What a quick run divides by.
const QUICK: u64 = 50;
const MILLION: usize = 1_000_000;

fn main() {
    let asked_for = |wanted: &str| std::env::args().any(|word| word == wanted);
    let million = asked_for("million");
    let share = if asked_for("quick") { QUICK } else { 1 };
    let (alone, together) = (ORDERS_ALONE / share, ORDERS_TOGETHER / share);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).unwrap();
    let home = tempfile::tempdir_in(target).unwrap();
    println!("one write and fdatasync of 1 KiB here: {}", Times::of(bare(home.path())));
    let zones: Vec<String> = (0..ZONES).map(|n| format!("z{n}.example.")).collect();
    let list = zone_files(home.path(), &zones, million);
    let server = Server::start(home.path(), &list);
    let next = AtomicU64::new(0);

    run(&server, &zones, &next, 1, WARM / share);
    report("1 in flight", run(&server, &zones, &next, 1, alone));
    run(&server, &zones, &next, TOGETHER, WARM * 10 / share);
    report("100 in flight", run(&server, &zones, &next, TOGETHER, together));
    if million {
        let [small, large] = ["z0.example.", "million.example."].map(|zone| vec![zone.to_owned()]);
        run(&server, &large, &next, 1, WARM / share);
        report("zone of 5 names", run(&server, &small, &next, 1, alone));
        report("zone of 1 M names", run(&server, &large, &next, 1, alone));
    }
}

/// What one run gave.
struct Run {
    calls: Vec<Duration>,
    durable: Vec<Duration>,
    served: Vec<Duration>,
    took: Duration,
    syncs: u64,
    sync: Duration,
}

fn run(server: &Server, zones: &[String], next: &AtomicU64, clients: usize, orders: u64) -> Run {
    let before = server.sync_figures();
    let (began, left) = (Instant::now(), AtomicU64::new(orders));
    let one = || {
        let mut client = Client::connect(server);
        let mut seen = Vec::new();
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
        {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let zone = &zones[n as usize % zones.len()];
            let edit = json!({ "op": "replace", "name": format!("n{}.{zone}", n % 1_000), "type": "A",
                "ttl": 60, "records": [Ipv4Addr::from(n as u32).to_string()] });
            let body = json!({ "zones": [{ "zone": zone, "edits": [edit] }] }).to_string();
            let start = Instant::now();
            let order = client.post("/v1/change-orders", &body);
            let call = start.elapsed();
            let us = |field: &str| {
                Duration::from_micros(
                    order["receipt"][field].as_u64().unwrap_or_else(|| panic!("{order:#}")),
                )
            };
            seen.push((call, us("durable_us"), us("served_us")));
        }
        seen
    };
    let seen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let took = began.elapsed();
    let after = server.sync_figures();
    Run {
        calls: seen.iter().map(|seen| seen.0).collect(),
        durable: seen.iter().map(|seen| seen.1).collect(),
        served: seen.iter().map(|seen| seen.2).collect(),
        took,
        syncs: after.0 - before.0,
        sync: after.1 - before.1,
    }
}

fn report(name: &str, run: Run) {
    let Run { calls, durable, served, took, syncs, sync } = run;
    let (orders, syncs) = (calls.len() as u64, syncs.max(1));
    let whole: Duration = calls.iter().sum();
    println!("{name}: {orders} orders, {:.0} a second", orders as f64 / took.as_secs_f64());
    println!("    the whole call        {}", Times::of(calls));
    println!("    approved to durable   {}", Times::of(durable));
    println!("    approved to served    {}", Times::of(served));
    println!(
        "    the log: {syncs} syncs of {:?}; {:.1} orders each; busy {:.0} % of the time; one sync is {:.0} % of a call",
        sync / syncs as u32,
        orders as f64 / syncs as f64,
        100.0 * sync.as_secs_f64() / took.as_secs_f64(),
        100.0 * (sync.as_secs_f64() / syncs as f64) / (whole.as_secs_f64() / orders as f64),
    );
}

/// Percentiles of a list of durations.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times(times)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |share: usize| self.0[(self.0.len() * share / 100).min(self.0.len() - 1)];
        write!(f, "p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100))
    }
}

fn bare(dir: &Path) -> Vec<Duration> {
    let mut file = File::create(dir.join("bare")).unwrap();
    let one = |_| {
        let start = Instant::now();
        file.write_all(&[7; 1024]).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    (0..500).map(one).collect()
}

/// Zone files and a list of them.
fn zone_files(dir: &Path, zones: &[String], million: bool) -> std::path::PathBuf {
    let head = "@ 60 SOA ns.example. host.example. 1 3600 900 604800 60\n@ 60 NS ns.example.\n";
    let mut list = String::new();
    for zone in zones {
        let mut text = head.to_owned();
        (0..5).for_each(|n| writeln!(text, "a{n} 60 A 192.0.2.1").unwrap());
        std::fs::write(dir.join(format!("{zone}zone")), text).unwrap();
        writeln!(list, "{zone} {zone}zone").unwrap();
    }
    if million {
        let mut text = head.to_owned();
        (0..MILLION).for_each(|n| writeln!(text, "h{n} 60 A 192.0.2.1").unwrap());
        std::fs::write(dir.join("million.example.zone"), text).unwrap();
        list.push_str("million.example. million.example.zone\n");
    }
    let path = dir.join("zones.list");
    std::fs::write(&path, list).unwrap();
    path
}

/// The binary on free ports. Dropped, it is killed.
struct Server {
    child: Child,
    http: SocketAddr,
    token: String,
}

fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    fn start(home: &Path, list: &Path) -> Server {
        let nameplane = || Command::new(env!("CARGO_BIN_EXE_nameplane"));
        let data = home.join("data");
        let import = nameplane()
            .args(["zone", "import", "--data-dir"])
            .args([data.as_os_str(), "--list".as_ref(), list.as_os_str()])
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        let [dns, http] = [(); 2].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let config = home.join("server.toml");
        std::fs::write(&config, "[log]\nlevel = \"warn\"\n").unwrap();
        let child = nameplane()
            .args(["serve", "--udp-workers", "1", "--data-dir"])
            .args([data.as_os_str(), "--config".as_ref(), config.as_os_str()])
            .args(["--listen-dns", &dns.to_string(), "--listen-http", &http.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let token = std::fs::read_to_string(data.join("operator.token")).unwrap();
        let server = Server { child, http, token: token.trim().to_owned() };
        let end = Instant::now() + Duration::from_secs(120);
        while !server.is_ready() {
            assert!(Instant::now() < end, "the server is never ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn is_ready(&self) -> bool {
        TcpStream::connect(self.http).is_ok() && Client::connect(self).get("/readyz").0 == 200
    }

    /// How many syncs there were, and how long they took.
    fn sync_figures(&self) -> (u64, Duration) {
        let (_, text) = Client::connect(self).get("/metrics");
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name}")).trim().parse::<f64>().unwrap()
        };
        let spent = figure("nameplane_store_sync_seconds_total");
        (figure("nameplane_store_syncs_total") as u64, Duration::from_secs_f64(spent))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One connection, kept.
struct Client<'a> {
    stream: BufReader<TcpStream>,
    server: &'a Server,
}

impl Client<'_> {
    fn connect(server: &Server) -> Client<'_> {
        let stream = TcpStream::connect(server.http).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream: BufReader::new(stream), server }
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        self.exchange("GET", path, "")
    }

    fn post(&mut self, path: &str, body: &str) -> Value {
        let (status, text) = self.exchange("POST", path, body);
        assert_eq!(status, 201, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let Server { http, token, .. } = self.server;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let (mut len, mut chunked) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => len = value.trim().parse().unwrap(),
                Some(("transfer-encoding", _)) => chunked = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut octets = Vec::new();
        while chunked {
            let size = usize::from_str_radix(self.line().trim(), 16).unwrap();
            octets.extend(self.take(size));
            self.line();
            chunked = size > 0;
        }
        octets.extend(self.take(len));
        (status, String::from_utf8(octets).unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.stream.read_exact(&mut octets).unwrap();
        octets
    }
}
