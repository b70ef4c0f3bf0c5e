//! Knot DNS, BIND and PowerDNS learn from a catalog of ours what to serve, and follow it.
//!
//! NSD 4.6 and YADIFA 2.6 know no catalogs; zones are configured there one by one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::downstream::records;
use crate::server::{PATIENCE, Server, ask, free_port, is_here, question};

const CATALOG: &str = "catalog.test.";

/// A server that follows. Dropped, it is ended.
struct Follower {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Follower {
    /// Starts one on a free port; `command` writes its settings into a directory of its own.
    fn start(
        name: &'static str,
        home: &Path,
        primary: SocketAddr,
        command: fn(&Path, u16, SocketAddr) -> Command,
    ) -> Follower {
        let dir = home.join(name);
        fs::create_dir(&dir).unwrap();
        let port = free_port();
        let log = dir.join("out.log");
        let out = File::create(&log).unwrap();
        let mut command = command(&dir, port, primary);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Follower { name, child, address, log }
    }

    /// What it says of the SOA of a zone; none while it does not answer.
    fn answer(&self, apex: &str) -> Option<Message> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket.connect(self.address).unwrap();
        socket.send(&question(apex, RecordType::SOA).to_vec().unwrap()).ok()?;
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).ok()?;
        Message::from_vec(&buffer[..len]).ok()
    }

    /// The serial it has of a zone; none if it does not serve it.
    fn serial(&self, apex: &str) -> Option<u32> {
        let answer = self.answer(apex)?;
        let soa = answer.answers.first().filter(|_| answer.metadata.authoritative);
        match soa.map(|record| &record.data) {
            Some(hickory_proto::rr::RData::SOA(soa)) => Some(soa.serial),
            _ => None,
        }
    }

    fn wait_for(&self, what: &str, is: impl Fn(&Follower) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is(self) {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < end, "{}: not in time: {what}\n{log}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn written(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn knot(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let (home, from) = (dir.display(), primary.port());
    fs::create_dir(dir.join("db")).unwrap(); // without it Knot hangs at its first catalog
    let text = format!(
        "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n tcp-workers: 1\n \
         background-workers: 2\nlog:\n - target: stdout\n   any: info\ndatabase:\n storage: \
         {home}/db\nremote:\n - id: primary\n   address: 127.0.0.1@{from}\nacl:\n - id: told\n   \
         address: 127.0.0.0/8\n   action: notify\ntemplate:\n - id: default\n   storage: {home}\n   \
         zonefile-sync: -1\n - id: member\n   storage: {home}\n   master: primary\n   acl: told\n   \
         zonefile-sync: -1\nzone:\n - domain: {CATALOG}\n   master: primary\n   acl: told\n   \
         catalog-role: interpret\n   catalog-template: member\n"
    );
    let mut command = Command::new("/usr/sbin/knotd");
    command.arg("-c").arg(written(dir, "knot.conf", &text));
    command
}

fn bind(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let (home, from) = (dir.display(), primary.port());
    let text = format!(
        "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ \
         none; }}; recursion no; pid-file none; session-keyfile none; managed-keys-directory \
         \"{home}\"; notify no; dnssec-validation no; catalog-zones {{ zone \"catalog.test\" \
         default-primaries {{ 127.0.0.1 port {from}; }} in-memory yes min-update-interval 1; }}; \
         }};\ncontrols {{ }};\nzone \"catalog.test\" {{ type secondary; file \"catalog.db\"; \
         primaries {{ 127.0.0.1 port {from}; }}; }};\n"
    );
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(written(dir, "named.conf", &text));
    command
}

fn powerdns(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let home = dir.display();
    let text = format!(
        "launch=lmdb\nlmdb-filename={home}/pdns.lmdb\nlmdb-shards=1\nlocal-address=127.0.0.1\n\
         local-port={port}\nsecondary=yes\nxfr-cycle-interval=1\nallow-notify-from=127.0.0.0/8\n\
         zone-cache-refresh-interval=0\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n\
         receiver-threads=1\ndaemon=no\nguardian=no\nsocket-dir={home}\ndisable-syslog=yes\n\
         loglevel=6\nsecurity-poll-suffix=\n"
    );
    written(dir, "pdns.conf", &text);
    consumes(dir, CATALOG, primary);
    let mut command = Command::new("/usr/sbin/pdns_server");
    command.arg(format!("--config-dir={home}"));
    command
}

/// Has PowerDNS follow a catalog.
fn consumes(dir: &Path, catalog: &str, primary: SocketAddr) {
    for words in [
        ["create-secondary-zone", catalog, &primary.to_string()],
        ["set-kind", catalog, "consumer"],
    ] {
        let mut command = Command::new("pdnsutil");
        let output = command.arg("--config-dir").arg(dir).args(words).output().unwrap();
        assert!(output.status.success(), "pdnsutil {words:?}: {output:?}");
    }
}

fn push(server: &Server, item: Value) -> Value {
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
}

fn serial_to(order: &Value) -> u32 {
    order["receipt"]["zones"][0]["serial_to"].as_u64().unwrap() as u32
}

/// Goal: a new customer zone appears on secondaries that nobody touches, follows, and disappears.
/// Method: three peers that know nothing but the catalog; a zone is made, changed and deleted here.
#[test]
fn a_new_zone_appears_on_secondaries_that_nobody_touches() {
    let home = tempfile::tempdir().unwrap();
    let settings = written(home.path(), "server.toml", "[transfer]\nallow = \"127.0.0.0/8\"\n");
    let server = Server::start_with(&["--config", settings.to_str().unwrap()]);
    let body = json!({"zone": CATALOG, "group": "customers"});
    server.api("POST", "/v1/catalogs", Some(&body));
    let all: [(&str, fn(&Path, u16, SocketAddr) -> Command, &str); 3] = [
        ("knot", knot, "/usr/sbin/knotd"),
        ("bind", bind, "/usr/sbin/named"),
        ("powerdns", powerdns, "/usr/sbin/pdns_server"),
    ];
    let followers: Vec<Follower> = all
        .into_iter()
        .filter(|(.., program)| Path::new(program).exists())
        .map(|(name, command, _)| Follower::start(name, home.path(), server.dns, command))
        .collect();
    for follower in &followers {
        let row = json!({"name": follower.name, "addresses": [follower.address.to_string()]});
        server.api("POST", "/v1/secondaries", Some(&row));
        // Knot says nothing to who asks about a catalog.
        follower.wait_for("it answers", |follower| follower.answer("other.test.").is_some());
    }

    let file = "@ 60 SOA ns host 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\nwww 300 A 192.0.2.1\n";
    let zone = "shop.example.";
    let made = push(&server, json!({"kind": "zone_create", "zone": zone, "zone_file": file}));
    for follower in &followers {
        let serial = serial_to(&made);
        follower.wait_for("it has the new zone", |follower| follower.serial(zone) == Some(serial));
    }

    let edit = json!({"op": "replace", "name": "www", "type": "A", "records": ["192.0.2.2"]});
    let changed = push(&server, json!({"kind": "dns_change", "zone": zone, "edits": [edit]}));
    for follower in &followers {
        let serial = serial_to(&changed);
        follower.wait_for("it follows", |follower| follower.serial(zone) == Some(serial));
        let answer = ask(follower.address, "www.shop.example.", RecordType::A);
        assert_eq!(answer.answers[0].data.to_string(), "192.0.2.2", "{}", follower.name);
    }
    let path = format!("/v1/orders/{}", changed["id"].as_str().unwrap());
    let end = Instant::now() + PATIENCE;
    while server.api("GET", &path, None)["state"] != "confirmed" {
        let shown = server.api("GET", &path, None);
        assert!(Instant::now() < end, "served everywhere is not seen: {shown:#}");
        std::thread::sleep(Duration::from_millis(100));
    }

    push(&server, json!({"kind": "zone_delete", "zone": zone}));
    for follower in &followers {
        follower.wait_for("it lets the zone go", |follower| {
            let answer = follower.answer(zone);
            answer.is_some_and(|answer| answer.metadata.response_code == ResponseCode::Refused)
        });
    }
}

/// Knot with a template for the group `silver` beside the one for members in none.
fn knot_with_templates(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let command = knot(dir, port, primary);
    let text = fs::read_to_string(dir.join("knot.conf")).unwrap();
    let open = "acl:\n - id: open\n   address: 127.0.0.0/8\n   action: transfer\n";
    let silver = format!(
        "template:\n - id: silver\n   storage: {}\n   master: primary\n   acl: [told, open]\n   \
         zonefile-sync: -1\n",
        dir.display()
    );
    let text = text.replacen("acl:\n", open, 1).replacen("template:\n", &silver, 1);
    let text = text.replace("catalog-template: member", "catalog-template: [member, silver]");
    written(dir, "knot.conf", &text);
    command
}

/// Goal: the group that a zone is given here is what a consumer does with it.
/// Method: Knot has a template of the group's name, by which zones may be transferred from it.
#[test]
fn rfc9432_4_4_2_a_group_given_here_is_knots_template() {
    if !is_here("knotd") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let settings = written(home.path(), "server.toml", "[transfer]\nallow = \"127.0.0.0/8\"\n");
    let server = Server::start_with(&["--config", settings.to_str().unwrap()]);
    let file = "@ 60 SOA ns host 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
    for zone in ["plain.example.", "silver.example."] {
        push(&server, json!({"kind": "zone_create", "zone": zone, "zone_file": file}));
    }
    server.api("POST", "/v1/catalogs", Some(&json!({"zone": CATALOG})));
    let follower = Follower::start("knot", home.path(), server.dns, knot_with_templates);
    let row = json!({"name": "knot", "addresses": [follower.address.to_string()]});
    server.api("POST", "/v1/secondaries", Some(&row));
    let gives = |zone: &str| records(follower.address, zone.trim_end_matches('.'), None).len() > 1;
    for zone in ["plain.example.", "silver.example."] {
        follower.wait_for("it has the zone", |follower| follower.serial(zone).is_some());
        assert!(!gives(zone));
    }
    let path = format!("/v1/catalogs/{CATALOG}/members/silver.example.");
    server.api("PUT", &path, Some(&json!({"group": "silver"})));
    follower.wait_for("the group counts", |_| gives("silver.example."));
    assert!(!gives("plain.example."));
}

/// The catalog a zone goes over to.
const OTHER: &str = "other.test.";

fn bind_with_two(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let command = bind(dir, port, primary);
    let text = fs::read_to_string(dir.join("named.conf")).unwrap();
    let from = primary.port();
    let more = format!(
        "catalog-zones {{ zone \"other.test\" default-primaries {{ 127.0.0.1 port {from}; }} in-memory \
         yes min-update-interval 1; "
    );
    let text = text.replace("catalog-zones { ", &more);
    let zone = format!(
        "zone \"other.test\" {{ type secondary; file \"other.db\"; primaries {{ 127.0.0.1 port {from}; \
         }}; }};\n"
    );
    written(dir, "named.conf", &(text + &zone));
    command
}

fn powerdns_with_two(dir: &Path, port: u16, primary: SocketAddr) -> Command {
    let command = powerdns(dir, port, primary);
    consumes(dir, OTHER, primary);
    command
}

/// Goal: a zone that goes from one catalog of ours to another goes over where both are followed, and is
/// followed on.
/// Method: BIND and PowerDNS follow two catalogs; a zone is put into the other, becomes that one's, and changes.
#[test]
fn rfc9432_4_4_1_bind_and_powerdns_hand_a_zone_over_to_another_catalog() {
    let home = tempfile::tempdir().unwrap();
    let settings = written(home.path(), "server.toml", "[transfer]\nallow = \"127.0.0.0/8\"\n");
    let server = Server::start_with(&["--config", settings.to_str().unwrap()]);
    for catalog in [CATALOG, OTHER] {
        server.api("POST", "/v1/catalogs", Some(&json!({"zone": catalog})));
    }
    let file = "@ 60 SOA ns host 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
    let all: [(&str, fn(&Path, u16, SocketAddr) -> Command, &str, &str); 2] = [
        ("bind", bind_with_two, "/usr/sbin/named", "catz_delzone_taskaction: zone"),
        (
            "powerdns",
            powerdns_with_two,
            "/usr/sbin/pdns_server",
            "owner change without state reset",
        ),
    ];
    for (name, command, program, tells) in all {
        if !Path::new(program).exists() {
            println!("skipped: {program} is missing");
            continue;
        }
        let zone = &format!("{name}.example.");
        push(&server, json!({"kind": "zone_create", "zone": zone, "zone_file": file}));
        let follower = Follower::start(name, home.path(), server.dns, command);
        let row = json!({"name": name, "addresses": [follower.address.to_string()]});
        server.api("POST", "/v1/secondaries", Some(&row));
        follower.wait_for("it has the zone", |follower| follower.serial(zone).is_some());
        follower.wait_for("it has the other catalog", |follower| {
            follower.answer(OTHER).is_some() && (name != "bind" || follower.serial(OTHER).is_some())
        });

        server.api("PUT", &format!("/v1/catalogs/{OTHER}/members/{zone}"), None);
        follower.wait_for("it is the other's", |follower| {
            // BIND takes it out and in again, all in one reading of the catalog.
            assert!(name == "bind" || follower.serial(zone).is_some(), "{name}: it drops out");
            let log = fs::read_to_string(&follower.log).unwrap_or_default();
            log.lines().any(|line| line.contains(tells) && line.contains(&zone[..zone.len() - 1]))
        });
        let edit =
            json!({"op": "add", "name": name, "type": "A", "ttl": 60, "records": ["192.0.2.2"]});
        let changed = push(&server, json!({"kind": "dns_change", "zone": zone, "edits": [edit]}));
        let serial = serial_to(&changed);
        follower.wait_for("it follows on", |follower| follower.serial(zone) == Some(serial));
        // PowerDNS would come upon a zone that two catalogs name, and take neither.
        push(&server, json!({"kind": "zone_delete", "zone": zone}));
        server.api("DELETE", &format!("/v1/secondaries/{name}"), None);
    }
}
