//! NSD, Knot DNS, BIND, PowerDNS and YADIFA as primaries of nameplane.
//!
//! Each serves a zone whose file the test rewrites; nameplane follows it. The evidence is what
//! nameplane exports: the same records as the file, at the same serial.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nameplane::wire::Name;
use nameplane::zone::text::{self, Options};
use serde_json::{Value, json};

use super::followers::Process;
use super::peers::Peer;
use crate::server::{PATIENCE, Server, ask, free_port, is_here};

pub(super) const ZONE: &str = "follow.example.";

/// A primary of [`ZONE`]. Dropped, it is ended.
pub(super) struct Primary {
    peer: Peer,
    child: Option<Child>,
    dir: PathBuf,
    pub(super) address: SocketAddr,
    secondary: SocketAddr,
    key: Option<&'static str>,
    serial: u32,
    /// Whether it signs the zone; BIND only.
    signs: bool,
}

impl Primary {
    /// Starts `peer` in `dir` with a first version, which it tells `secondary` about.
    pub(super) fn start(
        peer: Peer,
        dir: &Path,
        secondary: SocketAddr,
        key: Option<&'static str>,
    ) -> Primary {
        let dir = dir.join(format!("{peer:?}"));
        fs::create_dir(&dir).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let signs = false;
        let mut primary =
            Primary { peer, child: None, dir, address, secondary, key, serial: 0, signs };
        primary.write(&[]);
        primary.launch();
        primary
    }

    /// The same, signed by the peer itself: it makes what it serves of the file.
    pub(super) fn start_signing(peer: Peer, dir: &Path, secondary: SocketAddr) -> Primary {
        let dir = dir.join(format!("{peer:?}"));
        fs::create_dir(&dir).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut primary = Primary {
            peer,
            child: None,
            dir,
            address,
            secondary,
            key: None,
            serial: 0,
            signs: true,
        };
        primary.write(&[]);
        primary.launch();
        primary
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("zone")
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// Writes the next version: a SOA with short times, and a host for each number.
    pub(super) fn write(&mut self, hosts: &[u32]) {
        self.serial += 1;
        // What is signed elsewhere is taken over when caches have lost it.
        let ttl = if self.signs { 1 } else { 60 };
        let mut zone = format!(
            "$ORIGIN {ZONE}\n$TTL {ttl}\n@ SOA ns hostmaster {} 2 1 600 {ttl}\n@ NS ns\nns A 192.0.2.1\n",
            self.serial
        );
        for host in hosts {
            zone += &format!(
                "h{} A 192.0.2.{}\nh{} TXT \"{host}\"\n",
                host % 40,
                host % 250,
                host % 40
            );
        }
        self.put(&zone);
    }

    /// Writes the next version, with so many hosts and long texts of each; two of five are others than in
    /// another `round`.
    pub(super) fn write_large(&mut self, (hosts, texts): (usize, usize), round: usize) {
        self.serial += 1;
        let mut zone = format!(
            "$ORIGIN {ZONE}\n$TTL 60\n@ SOA ns hostmaster {} 2 1 600 60\n@ NS ns\nns A 192.0.2.1\n\
             version A 192.0.2.{round}\n",
            self.serial
        );
        let filler = format!(" \"{}\"", "x".repeat(240)).repeat(texts);
        for host in 0..hosts {
            let version = if host % 5 < 2 { round } else { 0 };
            writeln!(zone, "h{host} TXT \"{version}\"{filler}").unwrap();
        }
        self.put(&zone);
    }

    /// In one step: a peer may look at any moment.
    fn put(&self, zone: &str) {
        let new = self.dir.join("zone.new");
        fs::write(&new, zone).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again, on the file as it is.
    pub(super) fn restart(&mut self) {
        self.end();
        self.launch();
    }

    fn launch(&mut self) {
        // The file was changed behind its back: the journal of before does not lead to it.
        let _ = fs::remove_file(self.dir.join("zone.jnl"));
        let log = File::options().create(true).append(true).open(self.dir.join("out.log")).unwrap();
        let mut command = match self.peer {
            Peer::Nsd => self.nsd(),
            Peer::Knot => self.knot(),
            Peer::Bind => self.bind(),
            Peer::PowerDns => self.powerdns(),
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        while !serves(self.address) {
            let log = fs::read_to_string(self.dir.join("out.log")).unwrap_or_default();
            assert!(Instant::now() < end, "{} does not serve {ZONE}:\n{log}", self.peer.name());
            sleep(Duration::from_millis(50));
        }
    }

    /// Tells it to read its file again. PowerDNS looks by itself, at the second in which it was changed.
    pub(super) fn reload(&self) {
        if self.peer == Peer::PowerDns {
            sleep(Duration::from_millis(1100));
            let again = self.dir.join("zone.again");
            fs::copy(self.file(), &again).unwrap();
            fs::rename(again, self.file()).unwrap();
            return;
        }
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    fn written(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn nsd(&self) -> Command {
        let (home, port) = (self.dir.display(), self.address.port());
        let (to, key) = (self.secondary, self.key);
        let who = if key.is_some() { "k." } else { "NOKEY" };
        let key = key.map_or(String::new(), |secret| {
            format!("key:\n name: \"k.\"\n algorithm: hmac-sha256\n secret: \"{secret}\"\n")
        });
        let text = format!(
            "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n zonesdir: \"/\"\n \
             username: \"\"\n pidfile: {home}/nsd.pid\n xfrdfile: {home}/xfrd.state\n \
             xfrdir: {home}\n zonelistfile: {home}/zone.list\n database: \"\"\n \
             rrl-ratelimit: 0\nremote-control:\n control-enable: no\n{key}\
             zone:\n name: {ZONE}\n zonefile: {home}/zone\n store-ixfr: yes\n create-ixfr: yes\n \
             provide-xfr: 127.0.0.1 {who}\n notify: 127.0.0.1@{} {who}\n",
            to.port()
        );
        let mut command = Command::new("/usr/sbin/nsd");
        command.arg("-d").arg("-c").arg(self.written("nsd.conf", &text));
        command
    }

    fn knot(&self) -> Command {
        let (home, port) = (self.dir.display(), self.address.port());
        fs::create_dir_all(self.dir.join("db")).unwrap(); // it writes no journal without
        let key = self.key.map_or(String::new(), |secret| {
            format!("key:\n - id: k.\n   algorithm: hmac-sha256\n   secret: {secret}\n")
        });
        let by = if self.key.is_some() { "   key: k.\n" } else { "" };
        let text = format!(
            "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n \
             tcp-workers: 1\n background-workers: 1\nlog:\n - target: {home}/out.log\n   \
             any: info\ndatabase:\n storage: {home}/db\n{key}\
             remote:\n - id: us\n   address: 127.0.0.1@{}\n{by}\
             acl:\n - id: us\n   address: 127.0.0.1\n   action: transfer\n{by}\
             template:\n - id: default\n   zonefile-sync: -1\n   zonefile-load: difference\n   \
             journal-content: changes\nzone:\n - domain: {ZONE}\n   file: {home}/zone\n   \
             notify: us\n   acl: us\n",
            self.secondary.port()
        );
        let mut command = Command::new("/usr/sbin/knotd");
        command.arg("-c").arg(self.written("knot.conf", &text));
        command
    }

    fn bind(&self) -> Command {
        let (home, port) = (self.dir.display(), self.address.port());
        let key = self.key.map_or(String::new(), |secret| {
            format!("key \"k.\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")
        });
        let by = if self.key.is_some() { "key \"k.\"" } else { "127.0.0.1" };
        let to = if self.key.is_some() { " key \"k.\"" } else { "" };
        let (policy, signing) = match self.signs {
            true => (
                "dnssec-policy hasty { keys { csk lifetime unlimited algorithm 13; }; dnskey-ttl 1; \
                 max-zone-ttl 1; };\n",
                "dnssec-policy hasty; inline-signing yes;",
            ),
            false => ("", "ixfr-from-differences yes;"),
        };
        let text = format!(
            "{key}{policy}options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; \
             listen-on-v6 {{ none; }}; recursion no; pid-file none; session-keyfile none; \
             managed-keys-directory \"{home}\"; dnssec-validation no; serial-query-rate 100; \
             notify-rate 100; startup-notify-rate 100; }};\ncontrols {{ }};\n\
             zone \"{ZONE}\" {{ type primary; file \"{home}/zone\"; {signing} \
             allow-transfer {{ {by}; }}; notify explicit; notify-delay 0; \
             also-notify {{ 127.0.0.1 port {}{to}; }}; }};\n",
            self.secondary.port()
        );
        let mut command = Command::new("/usr/sbin/named");
        command.args(["-g", "-4", "-n", "1", "-c"]).arg(self.written("named.conf", &text));
        command
    }

    fn powerdns(&self) -> Command {
        let home = self.dir.display();
        let list = format!(
            "options {{ directory \"{home}\"; }};\nzone \"{ZONE}\" {{ type master; file \"{home}/zone\"; }};\n"
        );
        let text = format!(
            "launch=bind\nbind-config={}\nbind-dnssec-db={home}/dnssec.db\nlocal-address=127.0.0.1\n\
             local-port={}\nreceiver-threads=1\ndaemon=no\nguardian=no\nsocket-dir={home}\n\
             disable-syslog=yes\nloglevel=4\nsecurity-poll-suffix=\nallow-axfr-ips=127.0.0.1\n\
             bind-check-interval=1\ncache-ttl=0\nquery-cache-ttl=0\n",
            self.written("zones.conf", &list).display(),
            self.address.port()
        );
        self.written("pdns.conf", &text);
        let pdnsutil = |args: &[&str]| {
            let mut command = Command::new("pdnsutil");
            let output = command.arg("--config-dir").arg(&self.dir).args(args).output().unwrap();
            assert!(output.status.success(), "pdnsutil {args:?}: {output:?}");
        };
        if !self.dir.join("dnssec.db").exists() {
            pdnsutil(&["create-bind-db", &format!("{home}/dnssec.db")]);
            if let Some(secret) = self.key {
                pdnsutil(&["import-tsig-key", "k.", "hmac-sha256", secret]);
                pdnsutil(&["activate-tsig-key", ZONE, "k.", "primary"]);
            }
        }
        let mut command = Command::new("/usr/sbin/pdns_server");
        command.arg(format!("--config-dir={home}"));
        command
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        self.end();
    }
}

fn serves(address: SocketAddr) -> bool {
    use super::questions::{Edns, Question, wire};
    let soa = Question { name: wire(ZONE.trim_end_matches('.')), rtype: 6, edns: Edns::Without };
    super::peers::ask_udp(address, &soa).is_ok_and(|(answer, _)| answer.answer.len() == 1)
}

/// What a zone file holds, in canonical form.
fn records(file: &str) -> (Option<u32>, Vec<u8>) {
    let apex = Name::parse(ZONE).unwrap();
    let options = Options { origin: Some(apex.clone()), apex: Some(apex), ..Options::default() };
    let parsed =
        text::parse(file.as_bytes(), options).unwrap_or_else(|faults| panic!("{faults:?}"));
    (parsed.serial.map(|serial| serial.0), parsed.packed)
}

pub(super) fn standing(server: &Server) -> Value {
    server.api("GET", &format!("/v1/zones/{ZONE}/primaries"), None)
}

/// Waits until `server` has what the file of `primary` has.
pub(super) fn follows(server: &Server, primary: &Primary) {
    let expected = records(&fs::read_to_string(primary.file()).unwrap());
    let path = format!("/v1/zones/{ZONE}/file");
    let token = server.operator_token();
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, file) = server.request("GET", &path, Some(&token), None).unwrap();
        let file = file.as_str().filter(|file| file.contains("SOA"));
        let have = file.map_or((None, Vec::new()), records);
        if have == expected {
            return;
        }
        assert!(
            Instant::now() < end,
            "{} has serial {:?}, nameplane {:?}:\n{}\n{}\n{}",
            primary.peer.name(),
            expected.0,
            have.0,
            standing(server),
            fs::read_to_string(primary.dir.join("out.log")).unwrap_or_default(),
            events(&server.log())
        );
        sleep(Duration::from_millis(30));
    }
}

/// A log without its requests.
fn events(log: &str) -> String {
    log.lines().filter(|line| !line.contains("elapsed_us")).collect::<Vec<_>>().join("\n")
}

pub(super) fn follow(server: &Server, primary: &Primary) {
    let key = primary.key.map(|_| "k.");
    let body = json!({"primaries": [{"address": primary.address.to_string(), "key": key}]});
    server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&body));
}

/// Goal: whatever the primary, its zone is taken, followed by IXFR where it has that, and survives
/// restarts and `kill -9` of both.
/// Method: versions of a zone file with a few random hosts; NOTIFY, and REFRESH of two seconds.
fn is_followed(peer: Peer, by_ixfr: bool) {
    if !peer.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start();
    let mut primary = Primary::start(peer, home.path(), server.dns, None);
    let before = ask(server.dns, ZONE, RecordType::SOA);
    assert_eq!(before.metadata.response_code, ResponseCode::Refused);
    follow(&server, &primary);
    follows(&server, &primary);
    assert_eq!(standing(&server)["last_transfer"]["how"], "AXFR");

    let mut hosts: Vec<u32> = (0..200).collect();
    let mut by = Vec::new();
    for round in 0..8u32 {
        hosts.retain(|host| host % 11 != round);
        hosts.extend((0..5).map(|more| 1_000 + round * 7 + more));
        primary.write(&hosts);
        primary.reload();
        follows(&server, &primary);
        by.push(standing(&server)["last_transfer"]["how"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(by.iter().any(|how| how == "IXFR"), by_ixfr, "{}: {by:?}", peer.name());

    server.kill();
    primary.write(&hosts[1..]);
    primary.reload();
    server.restart();
    follows(&server, &primary);

    primary.end();
    primary.write(&hosts[3..]);
    primary.launch();
    follows(&server, &primary);
    assert_eq!(standing(&server)["state"], "live");
}

#[test]
fn nsd_is_followed() {
    is_followed(Peer::Nsd, true);
}

#[test]
fn knot_is_followed() {
    is_followed(Peer::Knot, true);
}

#[test]
fn bind_is_followed() {
    is_followed(Peer::Bind, true);
}

#[test]
fn powerdns_is_followed() {
    is_followed(Peer::PowerDns, false);
}

const YADIFA: &str = "/usr/sbin/yadifad";

/// Starts YADIFA as primary of [`ZONE`] in `dir`, or starts it again there.
fn yadifa(dir: &Path, address: SocketAddr, secondary: SocketAddr) -> Process {
    let home = dir.display();
    for sub in ["zones", "keys", "xfr", "log"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let text = format!(
        "<main>\n datapath {home}/zones\n keyspath {home}/keys\n xfrpath {home}/xfr\n \
         logpath {home}/log\n pidfile {home}/yadifa.pid\n daemonize off\n \
         listen 127.0.0.1 port {}\n allow-transfer any\n allow-update any\n</main>\n\
         <zone>\n type primary\n domain {ZONE}\n file zone\n also-notify 127.0.0.1 port {}\n</zone>\n",
        address.port(),
        secondary.port()
    );
    fs::write(dir.join("yadifad.conf"), text).unwrap();
    let mut command = Command::new(YADIFA);
    command.arg("-c").arg(dir.join("yadifad.conf"));
    let process = Process::start(command, &dir.join("out.log"));
    let end = Instant::now() + PATIENCE;
    while !serves(address) {
        let log = fs::read_to_string(dir.join("out.log")).unwrap_or_default();
        assert!(Instant::now() < end, "YADIFA does not serve {ZONE}:\n{log}");
        sleep(Duration::from_millis(50));
    }
    process
}

/// Waits until `server` has what the primary at `address` gives by AXFR.
fn has_what_it_gives(server: &Server, address: SocketAddr) {
    let port = address.port().to_string();
    let dig = ["@127.0.0.1", "-p", &port, ZONE, "AXFR", "+noall", "+answer", "+onesoa"];
    let given = Command::new("dig").args(dig).output().unwrap();
    let expected = records(&String::from_utf8(given.stdout).unwrap());
    let path = format!("/v1/zones/{ZONE}/file");
    let token = server.operator_token();
    until(&format!("serial {:?} is here", expected.0), server, || {
        let (_, file) = server.request("GET", &path, Some(&token), None).unwrap();
        let file = file.as_str().filter(|file| file.contains("SOA"));
        file.is_some_and(|file| records(file) == expected)
    });
}

/// Goal: YADIFA too is followed, by IXFR, through restarts and `kill -9` of both.
/// Method: it reads its file only once, so its versions are made by UPDATE, and what is compared with
/// is what it gives by AXFR.
#[test]
fn yadifa_is_followed() {
    if ![YADIFA, "dig", "nsupdate"].into_iter().all(is_here) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    fs::create_dir(home.path().join("zones")).unwrap();
    let zone = "$TTL 60\n@ SOA ns hostmaster 1 2 1 600 60\n@ NS ns\nns A 192.0.2.1\n";
    fs::write(home.path().join("zones/zone"), format!("$ORIGIN {ZONE}\n{zone}")).unwrap();
    let update = |lines: &str| {
        let text = format!("server 127.0.0.1 {}\nzone {ZONE}\n{lines}send\n", address.port());
        let file = home.path().join("update");
        fs::write(&file, text).unwrap();
        let output = Command::new("nsupdate").arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let first = yadifa(home.path(), address, server.dns);
    let body = json!({"primaries": [{"address": address.to_string()}]});
    server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&body));
    has_what_it_gives(&server, address);
    for round in 0..6 {
        let (gone, name) = (format!("h{}.{ZONE}", round - 3), format!("h{round}.{ZONE}"));
        update(&format!(
            "update delete {gone} A\nupdate add {name} 60 A 192.0.2.{round}\nupdate add {name} 60 TXT \"{round}\"\n"
        ));
        has_what_it_gives(&server, address);
    }
    assert_eq!(standing(&server)["last_transfer"]["how"], "IXFR");

    server.kill();
    update(&format!("update add later.{ZONE} 60 A 192.0.2.99\n"));
    server.restart();
    has_what_it_gives(&server, address);
    drop(first);
    let again = yadifa(home.path(), address, server.dns);
    update(&format!("update add last.{ZONE} 60 A 192.0.2.98\n"));
    has_what_it_gives(&server, address);
    drop(again);
}

/// Goal: a secondary takes its records from its primary and from nobody else, until it is none.
#[test]
fn a_secondary_refuses_edits_until_it_is_made_a_primary() {
    if !Peer::Knot.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start();
    let primary = Primary::start(Peer::Knot, home.path(), server.dns, None);
    follow(&server, &primary);
    follows(&server, &primary);
    let token = server.operator_token();
    let edit =
        json!({"op": "add", "name": "here", "type": "A", "ttl": 60, "records": ["192.0.2.9"]});
    let push = json!({"items": [{"kind": "dns_change", "zone": ZONE, "edits": [edit]}]});

    let (status, refused) =
        server.request("POST", "/v1/change-orders", Some(&token), Some(&push)).unwrap();
    assert!((400..500).contains(&status), "{status} {refused}");
    assert!(refused.to_string().contains("is a secondary"), "{refused}");

    let path = format!("/v1/zones/{ZONE}/primaries");
    let (status, _) = server.request("DELETE", &path, Some(&token), None).unwrap();
    assert_eq!(status, 204);
    server.api("POST", "/v1/change-orders", Some(&push));
    let answer = ask(server.dns, "here.follow.example.", RecordType::A);
    assert_eq!(answer.answers.len(), 1);
}

/// Waits until what `look` sees is so.
pub(super) fn until(what: &str, server: &Server, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < end, "{what}\n{}\n{}", standing(server), events(&server.log()));
        sleep(Duration::from_millis(30));
    }
}
