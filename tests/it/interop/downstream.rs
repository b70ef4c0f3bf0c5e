//! Servers of other makes that follow nameplane: configured, started, ended, asked.
//!
//! Each is a secondary of two zones: [`OPEN`], which anybody on loopback may transfer, and [`SIGNED`],
//! which needs a TSIG key both ways.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, free_port, is_here};

pub(super) const OPEN: &str = "open.example";
pub(super) const SIGNED: &str = "signed.example";
pub(super) const KEY: &str = "secondary-key";

/// The name in nameplane's certificate, and the file a secondary over TLS knows it by.
pub(super) const PRIMARY: &str = "primary.example";
pub(super) const AUTHORITY: &str = "authority.pem";

/// A make of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secondary {
    Nsd,
    Knot,
    Bind,
    /// BIND, with the primary's port for TLS. It takes the zones from who shows the certificate
    /// [`AUTHORITY`] beside it, for [`PRIMARY`].
    BindOverTls,
    PowerDns,
    Yadifa,
}

impl Secondary {
    pub(super) const ALL: [Secondary; 5] =
        [Secondary::Nsd, Secondary::Knot, Secondary::Bind, Secondary::PowerDns, Secondary::Yadifa];

    fn program(self) -> &'static str {
        match self {
            Secondary::Nsd => "/usr/sbin/nsd",
            Secondary::Knot => "/usr/sbin/knotd",
            Secondary::Bind | Secondary::BindOverTls => "/usr/sbin/named",
            Secondary::PowerDns => "/usr/sbin/pdns_server",
            Secondary::Yadifa => "/usr/sbin/yadifad",
        }
    }

    /// Whether it is installed. Under `CI=true` it must be.
    pub(super) fn is_here(self) -> bool {
        is_here(self.program()) && is_here("dig")
    }
}

/// A secondary of two zones: one by address, one by key. Dropped, it is ended.
pub(super) struct Running {
    pub(super) kind: Secondary,
    pub(super) address: SocketAddr,
    dir: PathBuf,
    child: Option<Child>,
}

impl Running {
    /// Starts one in `dir` that takes its zones from `primary`, the second with `secret`.
    pub(super) fn start(kind: Secondary, primary: SocketAddr, secret: &str, dir: &Path) -> Running {
        fs::create_dir_all(dir).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut running = Running { kind, address, dir: dir.to_owned(), child: None };
        running.launch(primary, secret);
        running
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had started itself ends a moment later.
        let end = Instant::now() + PATIENCE;
        while UdpSocket::bind(self.address).is_err() {
            assert!(Instant::now() < end, "{:?} keeps its address", self.kind);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again on what it left behind.
    pub(super) fn launch(&mut self, primary: SocketAddr, secret: &str) {
        assert!(self.child.is_none(), "kill it first");
        let (dir, port) = (self.dir.as_path(), self.address.port());
        let mut command = match self.kind {
            Secondary::Nsd => nsd(primary, secret, dir, port),
            Secondary::Knot => knot(primary, secret, dir, port),
            Secondary::Bind => bind(primary, secret, dir, port, ""),
            Secondary::BindOverTls => bind(primary, secret, dir, port, " tls way"),
            Secondary::PowerDns => powerdns(primary, secret, dir, port),
            Secondary::Yadifa => yadifa(primary, secret, dir, port),
        };
        let log = File::options().create(true).append(true).open(dir.join("out.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Removes what YADIFA, which does not run, has kept of its zones.
    pub(super) fn forget(&self) {
        for kept in ["data/slaves", "xfr"] {
            fs::remove_dir_all(self.dir.join(kept)).unwrap();
        }
    }

    /// What it has written so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("out.log")).unwrap_or_default()
    }

    /// Says that a zone changed, as a primary does (RFC 1996).
    pub(super) fn notify(&self, zone: &str) {
        let mut message = vec![0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in zone.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 6, 0, 1]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _ = socket.send_to(&message, self.address);
    }

    /// Waits until it serves this serial; tells it of the zone as often as it looks.
    pub(super) fn follow(&self, zone: &str, serial: u32) {
        self.wait(zone, serial, &|| self.notify(zone));
    }

    /// The same, told by nobody but nameplane.
    pub(super) fn follow_by_itself(&self, zone: &str, serial: u32) {
        self.wait(zone, serial, &|| {});
    }

    fn wait(&self, zone: &str, serial: u32, meanwhile: &dyn Fn()) {
        // Some begin a transfer anew only every ten seconds, and on a rough line half of them fail.
        let end = Instant::now() + 3 * PATIENCE;
        while serial_at(self.address, zone) != Some(serial) {
            assert!(
                Instant::now() < end,
                "{:?} has {zone} at {:?}, not {serial}:\n{}",
                self.kind,
                serial_at(self.address, zone),
                self.log()
            );
            meanwhile();
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
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

pub(super) fn serial_at(server: SocketAddr, zone: &str) -> Option<u32> {
    let answer = dig(server, &[zone, "SOA", "+short", "+norec"]);
    answer.split_whitespace().nth(2)?.parse().ok()
}

/// All records of a zone as an AXFR gives them, each in one form.
pub(super) fn records(server: SocketAddr, zone: &str, key: Option<&str>) -> BTreeSet<String> {
    let mut args = vec![zone, "AXFR", "+onesoa", "+nocomments", "+nocmd", "+nostats"];
    args.extend(key.iter().flat_map(|key| ["-y", key]));
    let text = dig(server, &args);
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let lines = lines.filter(|line| !line.contains("TSIG"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect()
}

/// A server with both zones; the first may be transferred from loopback, the second with the key.
pub(super) fn primary(home: &Path) -> (Server, String) {
    primary_with(home, &[])
}

/// The same with more flags.
pub(super) fn primary_with(home: &Path, flags: &[&str]) -> (Server, String) {
    let server = Server::at(&home.join("data"), flags);
    let fresh = server.api(
        "POST",
        "/v1/tsig-keys",
        Some(&json!({"name": KEY, "algorithm": "hmac-sha256"})),
    );
    let secret = fresh["secret"].as_str().unwrap().to_owned();
    for zone in [OPEN, SIGNED] {
        let mut text = String::from(
            "@ 60 SOA ns hostmaster 1 1 1 3600 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n\
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

pub(super) fn serial(server: &Server, zone: &str) -> u32 {
    let zone: Value = server.api("GET", &format!("/v1/zones/{zone}"), None);
    u32::try_from(zone["serial"].as_u64().unwrap()).unwrap()
}

fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
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
             allow-notify: 127.0.0.1 {KEY}\n provide-xfr: 127.0.0.1 NOKEY\n"
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
    fs::create_dir_all(dir.join("db")).unwrap(); // without it Knot takes no step, only whole zones
    let (home, from) = (dir.display(), primary.port());
    let text = format!(
        "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n tcp-workers: 2\n \
         background-workers: 2\nlog:\n - target: stdout\n   any: info\n\
         database:\n storage: {home}/db\n\
         key:\n - id: {KEY}\n   algorithm: hmac-sha256\n   secret: {secret}\n\
         remote:\n - id: plain\n   address: 127.0.0.1@{from}\n \
         - id: keyed\n   address: 127.0.0.1@{from}\n   key: {KEY}\n\
         acl:\n - id: local\n   address: 127.0.0.1\n   action: [notify, transfer]\n \
         - id: keyed\n   address: 127.0.0.1\n   key: {KEY}\n   action: [query, notify]\n\
         template:\n - id: default\n   storage: {home}\n   acl: [local, keyed]\n   refresh-max-interval: 5\n   \
         refresh-min-interval: 2\n\
         zone:\n - domain: {OPEN}.\n   master: plain\n - domain: {SIGNED}.\n   master: keyed\n"
    );
    let mut command = Command::new(Secondary::Knot.program());
    command.arg("-c").arg(written(dir, "knot.conf", &text));
    command
}

fn bind(primary: SocketAddr, secret: &str, dir: &Path, port: u16, tls: &str) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let zone = |name: &str, key: &str| {
        format!(
            "zone \"{name}\" {{ type secondary; file \"{home}/{name}.zone\"; \
             primaries port {from} {{ 127.0.0.1 {key}{tls}; }}; }};\n"
        )
    };
    let way = match tls.is_empty() {
        true => String::new(),
        false => format!(
            "tls way {{ ca-file \"{}\"; remote-hostname \"{PRIMARY}\"; }};\n",
            dir.join(AUTHORITY).display()
        ),
    };
    let text = format!(
        "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none; \
         managed-keys-directory \"{home}\"; notify no; dnssec-validation no; \
         min-refresh-time 1; max-refresh-time 5; min-retry-time 1; max-retry-time 5; \
         allow-transfer {{ any; }}; allow-notify {{ any; }}; check-names secondary ignore; }};\n\
         controls {{ }};\n{way}\
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
    if !dir.join("dnssec.db").exists() {
        pdnsutil(&["create-bind-db", &format!("{home}/dnssec.db")]);
        pdnsutil(&["import-tsig-key", KEY, "hmac-sha256", secret]);
        pdnsutil(&["activate-tsig-key", SIGNED, KEY, "secondary"]);
    }
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
