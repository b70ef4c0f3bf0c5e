//! NSD, Knot DNS, BIND, PowerDNS and YADIFA as secondaries, with TSIG and without.
//!
//! Each follows nameplane through commits, by IXFR where it can, and must end with the same records.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, free_port};

const OPEN: &str = "open.example";
const SIGNED: &str = "signed.example";
const KEY: &str = "secondary-key";

/// Commits that each secondary follows. `INTEROP_COMMITS=1000` makes it a long run.
const COMMITS: usize = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secondary {
    Nsd,
    Knot,
    Bind,
    PowerDns,
    Yadifa,
}

impl Secondary {
    fn program(self) -> &'static str {
        match self {
            Secondary::Nsd => "/usr/sbin/nsd",
            Secondary::Knot => "/usr/sbin/knotd",
            Secondary::Bind => "/usr/sbin/named",
            Secondary::PowerDns => "/usr/sbin/pdns_server",
            Secondary::Yadifa => "/usr/sbin/yadifad",
        }
    }

    /// Whether it is installed. Under `CI=true` it must be.
    fn is_here(self) -> bool {
        let here = Path::new(self.program()).exists();
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(here || !ci, "{} is missing: tests/run installs it", self.program());
        if !here {
            println!("skipped: {} is missing", self.program());
        }
        here
    }
}

/// A secondary of two zones: one by address, one by key. Dropped, it is ended.
struct Running {
    kind: Secondary,
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(kind: Secondary, primary: SocketAddr, secret: &str, dir: &Path) -> Running {
        fs::create_dir_all(dir).unwrap();
        let port = free_port();
        let mut command = match kind {
            Secondary::Nsd => nsd(primary, secret, dir, port),
            Secondary::Knot => knot(primary, secret, dir, port),
            Secondary::Bind => bind(primary, secret, dir, port),
            Secondary::PowerDns => powerdns(primary, secret, dir, port),
            Secondary::Yadifa => yadifa(primary, secret, dir, port),
        };
        let log = File::create(dir.join("out.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Running { kind, child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }

    /// Says that a zone changed, as a primary does (RFC 1996).
    fn notify(&self, zone: &str) {
        let mut message = vec![0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in zone.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 6, 0, 1]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _ = socket.send_to(&message, self.address);
    }

    /// Waits until it serves this serial.
    fn follow(&self, zone: &str, serial: u32, dir: &Path) {
        let end = Instant::now() + PATIENCE;
        while serial_at(self.address, zone) != Some(serial) {
            let log = || fs::read_to_string(dir.join("out.log")).unwrap_or_default();
            assert!(
                Instant::now() < end,
                "{:?} has {zone} at {:?}, not {serial}:\n{}",
                self.kind,
                serial_at(self.address, zone),
                log()
            );
            self.notify(zone);
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dig(server: SocketAddr, args: &[&str]) -> String {
    let port = server.port().to_string();
    let output = Command::new("dig")
        .args(["@127.0.0.1", "-p", &port, "+time=5", "+tries=1", "+noidnout"])
        .args(args)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn serial_at(server: SocketAddr, zone: &str) -> Option<u32> {
    let answer = dig(server, &[zone, "SOA", "+short", "+norec"]);
    answer.split_whitespace().nth(2)?.parse().ok()
}

/// All records of a zone as an AXFR gives them, each in one form.
fn records(server: SocketAddr, zone: &str, key: Option<&str>) -> BTreeSet<String> {
    let mut args = vec![zone, "AXFR", "+onesoa", "+nocomments", "+nocmd", "+nostats"];
    args.extend(key.iter().flat_map(|key| ["-y", key]));
    let text = dig(server, &args);
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let lines = lines.filter(|line| !line.contains("TSIG"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect()
}

/// A server with both zones; the first may be transferred from loopback, the second with the key.
fn primary(home: &Path) -> (Server, String) {
    let server = Server::at(&home.join("data"), &[]);
    let fresh = server.api(
        "POST",
        "/v1/tsig-keys",
        Some(&json!({"name": KEY, "algorithm": "hmac-sha256"})),
    );
    let secret = fresh["secret"].as_str().unwrap().to_owned();
    for zone in [OPEN, SIGNED] {
        let mut text = String::from(
            "@ 60 SOA ns hostmaster 1 1 1 3600 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n\
             MixedCase 60 A 192.0.2.2\n* 60 TXT \"a \\\" b\" \"\\200\"\nmx 60 MX 10 ns\n\
             srv 60 SRV 1 2 3 ns\nsvc 60 HTTPS 1 . alpn=h2\nodd 60 TYPE65300 \\# 3 010203\n",
        );
        for host in 0..400 {
            writeln!(text, "h{host} 60 A 192.0.2.{}", host % 250).unwrap();
        }
        let item = json!({"kind": "zone_create", "zone": zone, "zone_file": text});
        server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    }
    let access = |zone: &str, entry: &str| {
        let body = json!({"transfer": [entry]});
        server.api("PUT", &format!("/v1/zones/{zone}/access"), Some(&body));
    };
    access(OPEN, "127.0.0.1");
    access(SIGNED, &format!("127.0.0.0/8 key {KEY}"));
    (server, secret)
}

/// One random-looking change.
fn commit(server: &Server, zone: &str, round: usize) {
    let host = round * 7919 % 450;
    let edit = match round % 4 {
        0 => json!({"op": "delete", "name": format!("h{}", round % 400), "type": "A"}),
        1 => json!({"op": "replace", "name": format!("n{round}"), "type": "TXT", "ttl": 60,
            "records": [format!("\"{}\"", "x".repeat(round % 200))]}),
        _ => json!({"op": "replace", "name": format!("h{host}"), "type": "A", "ttl": 60 + round,
            "records": [format!("198.51.100.{}", round % 250), "198.51.100.251"]}),
    };
    let item = json!({"kind": "dns_change", "zone": zone, "edits": [edit]});
    let body = json!({"items": [item]});
    let token = server.operator_token();
    // A name that is gone already cannot be deleted again; that is no matter here.
    let _ = server.request("POST", "/v1/change-orders", Some(&token), Some(&body)).unwrap();
}

fn serial(server: &Server, zone: &str) -> u32 {
    let zone: Value = server.api("GET", &format!("/v1/zones/{zone}"), None);
    u32::try_from(zone["serial"].as_u64().unwrap()).unwrap()
}

/// Goal: a secondary of any make has what nameplane has, after every few commits and at the end.
fn follows(kind: Secondary) {
    if !kind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let dir = home.path().join("secondary");
    let running = Running::start(kind, server.dns, &secret, &dir);
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone), &dir);
    }
    let commits = std::env::var("INTEROP_COMMITS").ok().and_then(|text| text.parse().ok());
    let commits = commits.unwrap_or(COMMITS);
    for round in 0..commits {
        for zone in [OPEN, SIGNED] {
            commit(&server, zone, round);
        }
        if round % 10 == 9 {
            for zone in [OPEN, SIGNED] {
                running.follow(zone, serial(&server, zone), &dir);
            }
        }
    }
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone), &dir);
        let key = format!("hmac-sha256:{KEY}:{secret}");
        let ours = records(server.dns, zone, (zone == SIGNED).then_some(key.as_str()));
        assert!(ours.len() > 300, "{ours:?}");
        assert_eq!(records(running.address, zone, None), ours, "{kind:?} {zone}");
    }
    let log = server.log();
    for zone in [OPEN, SIGNED] {
        let by = |form: &str| {
            log.lines().filter(|line| line.contains(zone) && line.contains(form)).count()
        };
        // PowerDNS's zone-file backend cannot take steps in.
        let steps = kind == Secondary::PowerDns || by(": IXFR of") > 0;
        assert!(by(": AXFR of") > 0 && steps, "{kind:?} {zone}:\n{log}");
    }
}

/// Goal: a crash on either side costs time, never records.
/// Method: the primary, then the secondary are killed while commits go on, and started again.
#[test]
fn a_secondary_catches_up_after_either_side_was_killed() {
    for kind in [Secondary::Knot, Secondary::Bind, Secondary::Nsd] {
        if !kind.is_here() {
            continue;
        }
        let home = tempfile::tempdir().unwrap();
        let (mut server, secret) = primary(home.path());
        let dir = home.path().join("secondary");
        let mut running = Running::start(kind, server.dns, &secret, &dir);
        running.follow(SIGNED, serial(&server, SIGNED), &dir);
        for round in 0..12 {
            commit(&server, SIGNED, round);
            running.notify(SIGNED);
            if round == 4 {
                server.kill();
                server.restart();
            }
            if round == 8 {
                running.child.kill().unwrap();
                running.child.wait().unwrap();
                running = Running::start(kind, server.dns, &secret, &dir);
            }
        }
        running.follow(SIGNED, serial(&server, SIGNED), &dir);
        let key = format!("hmac-sha256:{KEY}:{secret}");
        let ours = records(server.dns, SIGNED, Some(&key));
        assert!(ours.len() > 300);
        assert_eq!(records(running.address, SIGNED, None), ours, "{kind:?}");
    }
}

#[test]
fn nsd_follows_by_axfr_and_ixfr_with_tsig_and_without() {
    follows(Secondary::Nsd);
}

#[test]
fn knot_follows_by_axfr_and_ixfr_with_tsig_and_without() {
    follows(Secondary::Knot);
}

#[test]
fn bind_follows_by_axfr_and_ixfr_with_tsig_and_without() {
    follows(Secondary::Bind);
}

#[test]
fn powerdns_follows_by_axfr_with_tsig_and_without() {
    follows(Secondary::PowerDns);
}

#[test]
fn yadifa_follows_by_axfr_and_ixfr_with_tsig_and_without() {
    follows(Secondary::Yadifa);
}

fn written(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn nsd(primary: SocketAddr, secret: &str, dir: &Path, port: u16) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let zone = |name: &str, key: &str| {
        format!(
            "zone:\n name: {name}\n zonefile: {home}/{name}.zone\n min-refresh-time: 1\n \
             max-refresh-time: 1\n min-retry-time: 1\n max-retry-time: 1\n \
             request-xfr: 127.0.0.1@{from} {key}\n allow-notify: 127.0.0.1 NOKEY\n \
             provide-xfr: 127.0.0.1 NOKEY\n"
        )
    };
    let text = format!(
        "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n zonesdir: \"{home}\"\n \
         username: \"\"\n pidfile: {home}/nsd.pid\n xfrdfile: {home}/xfrd.state\n \
         xfrdir: {home}\n zonelistfile: {home}/zone.list\n database: \"\"\n \
         rrl-ratelimit: 0\n xfrd-reload-timeout: 0\n verbosity: 2\n\
         remote-control:\n control-enable: no\n\
         key:\n name: {KEY}\n algorithm: hmac-sha256\n secret: \"{secret}\"\n{}{}",
        zone(OPEN, "NOKEY"),
        zone(SIGNED, KEY)
    );
    let mut command = Command::new(Secondary::Nsd.program());
    command.arg("-d").arg("-c").arg(written(dir, "nsd.conf", &text));
    command
}

fn knot(primary: SocketAddr, secret: &str, dir: &Path, port: u16) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let text = format!(
        "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n tcp-workers: 2\n \
         background-workers: 2\nlog:\n - target: stdout\n   any: info\n\
         database:\n storage: {home}/db\n\
         key:\n - id: {KEY}\n   algorithm: hmac-sha256\n   secret: {secret}\n\
         remote:\n - id: plain\n   address: 127.0.0.1@{from}\n \
         - id: keyed\n   address: 127.0.0.1@{from}\n   key: {KEY}\n\
         acl:\n - id: local\n   address: 127.0.0.1\n   action: [notify, transfer]\n\
         template:\n - id: default\n   storage: {home}\n   acl: local\n   refresh-max-interval: 5\n   \
         refresh-min-interval: 2\n\
         zone:\n - domain: {OPEN}.\n   master: plain\n - domain: {SIGNED}.\n   master: keyed\n"
    );
    let mut command = Command::new(Secondary::Knot.program());
    command.arg("-c").arg(written(dir, "knot.conf", &text));
    command
}

fn bind(primary: SocketAddr, secret: &str, dir: &Path, port: u16) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let zone = |name: &str, key: &str| {
        format!(
            "zone \"{name}\" {{ type secondary; file \"{home}/{name}.zone\"; \
             primaries port {from} {{ 127.0.0.1 {key}; }}; }};\n"
        )
    };
    let text = format!(
        "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none; \
         managed-keys-directory \"{home}\"; notify no; dnssec-validation no; \
         min-refresh-time 1; max-refresh-time 5; min-retry-time 1; max-retry-time 5; \
         allow-transfer {{ any; }}; allow-notify {{ any; }}; check-names secondary ignore; }};\n\
         controls {{ }};\n\
         key \"{KEY}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n{}{}",
        zone(OPEN, ""),
        zone(SIGNED, &format!("key \"{KEY}\""))
    );
    let mut command = Command::new(Secondary::Bind.program());
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(written(dir, "named.conf", &text));
    command
}

fn powerdns(primary: SocketAddr, secret: &str, dir: &Path, port: u16) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let zone = |name: &str| {
        format!(
            "zone \"{name}\" {{ type slave; file \"{home}/{name}.zone\"; \
             masters {{ 127.0.0.1:{from}; }}; }};\n"
        )
    };
    let list = written(dir, "zones.conf", &(zone(OPEN) + &zone(SIGNED)));
    let text = format!(
        "launch=bind\nbind-config={}\nbind-dnssec-db={home}/dnssec.db\nlocal-address=127.0.0.1\n\
         local-port={port}\nreceiver-threads=1\ndaemon=no\nguardian=no\nsocket-dir={home}\n\
         disable-syslog=yes\nloglevel=6\nsecurity-poll-suffix=\nsecondary=yes\n\
         xfr-cycle-interval=1\nallow-axfr-ips=127.0.0.0/8\nallow-notify-from=127.0.0.0/8\n\
         expand-alias=no\n",
        list.display()
    );
    written(dir, "pdns.conf", &text);
    let pdnsutil = |args: &[&str]| {
        let output =
            Command::new("pdnsutil").arg("--config-dir").arg(dir).args(args).output().unwrap();
        assert!(output.status.success(), "pdnsutil {args:?}: {output:?}");
    };
    pdnsutil(&["create-bind-db", &format!("{home}/dnssec.db")]);
    pdnsutil(&["import-tsig-key", KEY, "hmac-sha256", secret]);
    pdnsutil(&["activate-tsig-key", SIGNED, KEY, "secondary"]);
    let mut command = Command::new(Secondary::PowerDns.program());
    command.arg(format!("--config-dir={home}"));
    command
}

fn yadifa(primary: SocketAddr, secret: &str, dir: &Path, port: u16) -> Command {
    let (home, from) = (dir.display(), primary.port());
    for sub in ["data", "keys", "xfr", "log", "data/slaves", "data/masters"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let zone = |name: &str, key: &str| {
        format!(
            "<zone>\n domain {name}\n file slaves/{name}.zone\n type slave\n \
             master 127.0.0.1 port {from} {key}\n allow-transfer any\n allow-notify any\n</zone>\n"
        )
    };
    let text = format!(
        "<main>\n datapath {home}/data\n keyspath {home}/keys\n xfrpath {home}/xfr\n \
         logpath {home}/log\n pidfile {home}/yadifa.pid\n daemonize off\n listen 127.0.0.1 port {port}\n \
         allow-query any\n allow-transfer any\n allow-notify any\n serverid secondary\n</main>\n\
         <key>\n name {KEY}\n algorithm hmac-sha256\n secret {secret}\n</key>\n{}{}",
        zone(OPEN, ""),
        zone(SIGNED, &format!("key {KEY}"))
    );
    let mut command = Command::new(Secondary::Yadifa.program());
    command.arg("-c").arg(written(dir, "yadifa.conf", &text));
    command
}
