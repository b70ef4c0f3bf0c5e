//! Catalogs consumed, keys and TLS on the way in, and moving in, beside real primaries.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::peers::Peer;
use super::primaries::{Primary, follow, follows, standing, until};
use crate::server::{PATIENCE, Server, free_port, nameplane};

/// 32 octets, in base64.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn make_key(server: &Server, secret: &str) {
    let key = json!({"name": "k.", "algorithm": "hmac-sha256", "secret": secret});
    server.api("POST", "/v1/tsig-keys", Some(&key));
}

/// Goal: transfers signed by a shared key are taken, from every peer that gives them to nobody else.
#[test]
fn rfc8945_every_peer_is_followed_with_a_key() {
    for peer in Peer::ALL.into_iter().filter(|peer| peer.is_here()) {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start();
        make_key(&server, SECRET);
        let mut primary = Primary::start(peer, home.path(), server.dns, Some(SECRET));
        follow(&server, &primary);
        follows(&server, &primary);
        primary.write(&[1, 2, 3]);
        primary.reload();
        follows(&server, &primary);
    }
}

#[test]
fn a_primary_with_another_secret_is_not_believed() {
    if !Peer::Knot.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start();
    make_key(&server, "OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg=");
    let primary = Primary::start(Peer::Knot, home.path(), server.dns, Some(SECRET));
    follow(&server, &primary);
    until("it is refused", &server, || {
        standing(&server)["trouble"].as_str().is_some_and(|text| text.contains("BADSIG"))
    });
    assert_eq!(standing(&server)["serial"], Value::Null);
}

/// A process of the test's own. Dropped, it is ended.
pub(super) struct Process(Child);

impl Process {
    pub fn start(mut command: Command, log: &Path) -> Process {
        let log = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap())
    }

    pub fn reload(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn zone_file(home: &Path, apex: &str, serial: u32, more: &str) -> PathBuf {
    let path = home.join(format!("{apex}.zone"));
    let text = format!(
        "$ORIGIN {apex}.\n$TTL 60\n@ SOA ns hostmaster {serial} 2 1 600 60\n@ NS ns\nns A 192.0.2.1\n{more}"
    );
    fs::write(&path, text).unwrap();
    path
}

/// The names and states of the zones that a server has.
pub(super) fn zones(server: &Server) -> Vec<String> {
    let page = server.api("GET", "/v1/zones?limit=100", None);
    let zones = page["items"].as_array().unwrap().iter();
    zones
        .map(|zone| {
            format!("{} {}", zone["name"].as_str().unwrap(), zone["state"].as_str().unwrap())
        })
        .collect()
}

pub(super) fn waits_for<S: AsRef<str>>(server: &Server, expected: &[S]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    let end = Instant::now() + PATIENCE;
    while zones(server) != expected {
        let state = server.api("GET", "/v1/secondary-zones", None);
        let log: Vec<String> = server
            .log()
            .lines()
            .filter(|line| !line.contains("elapsed_us"))
            .map(str::to_owned)
            .collect();
        assert!(
            Instant::now() < end,
            "{:?} is not {expected:?}\n{state:#}\n{}",
            zones(server),
            log.join("\n")
        );
        sleep(Duration::from_millis(50));
        let refresh = "/v1/zones/catalog.example./refresh";
        let _ = server.request("POST", refresh, Some(&server.operator_token()), Some(&json!({})));
    }
}

pub(super) fn follow_catalog(server: &Server, primary: SocketAddr) {
    let body = json!({"primaries": [{"address": primary.to_string()}], "catalog": true});
    server.api("PUT", "/v1/zones/catalog.example./primaries", Some(&body));
}

/// Goal: zones come and go with the catalog that Knot makes, with nobody touching nameplane.
#[test]
fn a_catalog_of_knot_is_followed() {
    if !Peer::Knot.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    fs::create_dir(home.join("db")).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server = Server::start();
    let write = |members: &[&str]| {
        let mut text = format!(
            "server:\n rundir: {0}\n listen: 127.0.0.1@{1}\n udp-workers: 1\n tcp-workers: 1\n \
             background-workers: 1\nlog:\n - target: {0}/out.log\n   any: info\n\
             database:\n storage: {0}/db\nacl:\n - id: us\n   address: 127.0.0.1\n   \
             action: transfer\ntemplate:\n - id: default\n   zonefile-sync: -1\n   acl: us\n - \
             id: member\n   zonefile-sync: -1\n   acl: us\n   file: {0}/%s.zone\n   \
             catalog-role: member\n   catalog-zone: catalog.example.\nzone:\n - domain: \
             catalog.example.\n   catalog-role: generate\n",
            home.display(),
            address.port()
        );
        for member in members {
            zone_file(home, member, 1, "");
            text += &format!(" - domain: {member}.\n   template: member\n");
        }
        fs::write(home.join("knot.conf"), text).unwrap();
    };
    write(&["one.example", "two.example"]);
    let mut command = Command::new("/usr/sbin/knotd");
    command.arg("-c").arg(home.join("knot.conf"));
    let knot = Process::start(command, &home.join("stdout.log"));
    follow_catalog(&server, address);
    waits_for(&server, &["catalog.example. live", "one.example. live", "two.example. live"]);

    write(&["one.example", "three.example"]);
    knot.reload();
    waits_for(&server, &["catalog.example. live", "one.example. live", "three.example. live"]);
    let member = server.api("GET", "/v1/zones/three.example./primaries", None);
    assert_eq!(member["member_of"], "catalog.example.");
}

/// Goal: what is wrong with a catalog costs no zone.
/// Method: a hand-kept one on BIND, well, then empty, then of no version, then naming a zone that is
/// here for another reason.
#[test]
fn rfc9432_an_empty_or_broken_catalog_deletes_nothing() {
    if !Peer::Bind.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server = Server::start();
    let own = json!({"items": [
        {"kind": "zone_create", "zone": "own.example.", "name_servers": ["ns.own.example."]},
    ]});
    server.api("POST", "/v1/change-orders", Some(&own));
    let catalog = |serial, more: &str| zone_file(home, "catalog.example", serial, more);
    catalog(1, "version TXT 2\na.zones PTR one.example.\nb.zones PTR two.example.\n");
    let mut text = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; \
         dnssec-validation no; notify no; allow-transfer {{ 127.0.0.1; }}; }};\ncontrols {{ }};\n",
        home.display(),
        address.port()
    );
    for apex in ["catalog.example", "one.example", "two.example"] {
        if apex != "catalog.example" {
            zone_file(home, apex, 1, "");
        }
        text += &format!("zone \"{apex}\" {{ type primary; file \"{apex}.zone\"; }};\n");
    }
    fs::write(home.join("named.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(home.join("named.conf"));
    let bind = Process::start(command, &home.join("stdout.log"));
    follow_catalog(&server, address);
    let all =
        ["catalog.example. live", "one.example. live", "own.example. live", "two.example. live"];
    waits_for(&server, &all);

    let trouble = |why: &str| {
        bind.reload();
        let end = Instant::now() + PATIENCE;
        loop {
            let view = server.api("GET", "/v1/zones/catalog.example./primaries", None);
            if view["trouble"].as_str().is_some_and(|text| text.contains(why)) {
                break;
            }
            assert!(Instant::now() < end, "{why}: {view:#}");
            sleep(Duration::from_millis(50));
        }
        assert_eq!(zones(&server), all);
    };
    catalog(2, "version TXT 2\n");
    trouble("names no zone any more");
    catalog(3, "version TXT 1\na.zones PTR one.example.\n");
    trouble("no TXT \"2\"");
    catalog(4, "version TXT 2\na.zones PTR one.example.\na.zones PTR two.example.\n");
    trouble("several PTR");
    catalog(
        5,
        "version TXT 2\na.zones PTR one.example.\nb.zones PTR two.example.\nc.zones PTR own.example.\n",
    );
    trouble("for another reason");

    catalog(6, "version TXT 2\na.zones PTR one.example.\n");
    bind.reload();
    waits_for(&server, &all[..3]);
}

/// Goal: a zone goes over TLS, from a server that shows the key it is known by and from no other.
#[test]
fn rfc9103_bind_is_followed_over_tls() {
    if !Peer::Bind.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let made = rcgen::generate_simple_self_signed(["primary.example".to_owned()]).unwrap();
    fs::write(home.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(home.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (plain, secure) = (free_port(), free_port());
    zone_file(home, "follow.example", 7, "");
    let text = format!(
        "tls us {{ cert-file \"{0}/cert.pem\"; key-file \"{0}/key.pem\"; }};\n\
         options {{ directory \"{0}\"; listen-on port {plain} {{ 127.0.0.1; }}; \
         listen-on port {secure} tls us {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; notify no; \
         dnssec-validation no; allow-transfer port {secure} transport tls {{ any; }}; }};\n\
         controls {{ }};\nzone \"follow.example\" {{ type primary; file \"follow.example.zone\"; }};\n",
        home.display()
    );
    fs::write(home.join("named.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(home.join("named.conf"));
    let _bind = Process::start(command, &home.join("stdout.log"));
    let config = home.join("server.toml");
    fs::write(&config, format!("[primaries]\nauthorities = \"{}/cert.pem\"\n", home.display()))
        .unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let path = "/v1/zones/follow.example./primaries";
    let tls = |name: Option<&str>, pins: &[String]| {
        let tls = json!({"name": name, "pins": pins});
        let address = format!("127.0.0.1:{secure}");
        let body = json!({"primaries": [{"address": address, "tls": tls}]});
        server.api("PUT", path, Some(&body));
    };
    use base64::Engine;
    let base64 = |octets: [u8; 32]| base64::engine::general_purpose::STANDARD.encode(octets);
    let pin = base64(nameplane::transport::xot::pin_of(made.cert.der()).unwrap());

    tls(None, &[base64([7; 32])]);
    until("a stranger is left", &server, || {
        standing(&server)["trouble"]
            .as_str()
            .is_some_and(|text| text.contains("none of those pinned"))
    });
    assert_eq!(standing(&server)["serial"], Value::Null);
    tls(None, &[pin]);
    until("the pin is good", &server, || standing(&server)["serial"] == 7);
    tls(Some("primary.example"), &[]);
    server.api("POST", "/v1/zones/follow.example./refresh", Some(&json!({"transfer": true})));
    until("the name is good", &server, || {
        let view = standing(&server);
        view["trouble"].is_null() && view["next"] == "ask"
    });
}

/// Goal: a whole old server moves in by one command, its zones as they are.
#[test]
fn zones_are_pulled_from_an_old_server() {
    if !Peer::Knot.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut primary = Primary::start(Peer::Knot, home.path(), nobody, Some(SECRET));
    primary.write(&(0..300).collect::<Vec<_>>());
    primary.reload();
    sleep(Duration::from_millis(500));
    let data = home.path().join("data");
    let import = |server: &str, zone: &str| {
        let output = nameplane()
            .args(["zone", "import", "--axfr", server, zone, "--data-dir", data.to_str().unwrap()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let (done, told) = import(&primary.address.to_string(), "follow.example");
    assert!(!done && told.contains("refused the transfer"), "{told}");
    let key = home.path().join("key");
    fs::write(&key, format!("hmac-sha256:k.:{SECRET}\n")).unwrap();
    let (done, told) = import(&format!("{},@{}", primary.address, key.display()), "follow.example");
    assert!(done, "{told}");

    let server = Server::at(&data, &[]);
    let zone = server.api("GET", "/v1/zones/follow.example.", None);
    assert_eq!((zone["serial"].as_u64(), zone["state"].as_str()), (Some(2), Some("live")));
    follows(&server, &primary);
}
