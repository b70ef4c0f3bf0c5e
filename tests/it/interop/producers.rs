//! What catalogs of other producers say beside names: groups, and who may take a zone over.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::downstream::records;
use super::followers::{Process, follow_catalog, waits_for, zone_file, zones};
use super::peers::Peer;
use crate::server::{PATIENCE, Server, ask, free_port, nameplane};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn member(server: &Server, apex: &str) -> Value {
    let path = format!("/v1/zones/{apex}/primaries");
    let (_, view) = server.request("GET", &path, Some(&server.operator_token()), None).unwrap();
    view
}

fn until(what: &str, server: &Server, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        let state = server.api("GET", "/v1/secondary-zones", None);
        assert!(Instant::now() < end, "{what}\n{state:#}\n{}", server.log());
        // PowerDNS gives a catalog that changed within a second the serial it had.
        let refresh = "/v1/zones/catalog.example./refresh";
        server.api("POST", refresh, Some(&json!({"transfer": true})));
        sleep(Duration::from_millis(100));
    }
}

/// PowerDNS with its database, for catalogs that it makes itself.
struct PowerDns<'d> {
    dir: &'d Path,
    address: SocketAddr,
}

impl PowerDns<'_> {
    fn new(dir: &Path) -> PowerDns<'_> {
        let (home, port) = (dir.display(), free_port());
        let text = format!(
            "launch=lmdb\nlmdb-filename={home}/pdns.lmdb\nlmdb-shards=1\nlocal-address=127.0.0.1\n\
             local-port={port}\nprimary=yes\nallow-axfr-ips=127.0.0.1\nxfr-cycle-interval=1\n\
             zone-cache-refresh-interval=0\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n\
             receiver-threads=1\ndaemon=no\nguardian=no\nsocket-dir={home}\ndisable-syslog=yes\n\
             loglevel=4\nsecurity-poll-suffix=\n"
        );
        fs::write(dir.join("pdns.conf"), text).unwrap();
        PowerDns { dir, address: local(port) }
    }

    fn util(&self, words: &str) {
        let mut command = Command::new("pdnsutil");
        command.arg("--config-dir").arg(self.dir).args(words.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    }

    fn zone(&self, apex: &str) {
        self.util(&format!("create-zone {apex} ns.{apex}"));
        self.util(&format!("add-record {apex} ns A 60 192.0.2.1"));
        self.util(&format!("set-kind {apex} primary"));
        self.util(&format!("set-catalog {apex} catalog.example"));
    }

    fn start(&self) -> Process {
        let mut command = Command::new("/usr/sbin/pdns_server");
        command.arg(format!("--config-dir={}", self.dir.display()));
        Process::start(command, &self.dir.join("out.log"))
    }
}

/// BIND with these zones, whose files are in `dir`.
fn bind(dir: &Path, address: SocketAddr, apexes: &[&str]) -> Process {
    let mut text = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; \
         dnssec-validation no; notify no; allow-transfer {{ 127.0.0.1; }}; }};\ncontrols {{ }};\n",
        dir.display(),
        address.port()
    );
    for apex in apexes {
        text += &format!("zone \"{apex}\" {{ type primary; file \"{apex}.zone\"; }};\n");
    }
    fs::write(dir.join("named.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(dir.join("named.conf"));
    Process::start(command, &dir.join("stdout.log"))
}

/// Goal: a zone goes from the catalog of one producer to that of another without dropping out, and
/// only because the first says so.
/// Method: PowerDNS produces, with groups; a hand-kept catalog of BIND claims one of its zones, first
/// without leave, then with it; at last PowerDNS lets the zone go.
#[test]
fn rfc9432_4_4_groups_are_read_and_a_zone_changes_its_owner() {
    if !Peer::PowerDns.is_here() || !Peer::Bind.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir(&old).unwrap();
    fs::create_dir(&new).unwrap();
    let pdns = PowerDns::new(&old);
    pdns.util("create-zone catalog.example ns.invalid");
    pdns.util("set-kind catalog.example producer");
    pdns.zone("one.example");
    pdns.zone("two.example");
    pdns.util("set-option one.example producer group silver gold");
    let _pdns_runs = pdns.start();
    let server = Server::start();
    follow_catalog(&server, pdns.address);
    waits_for(&server, &["catalog.example. live", "one.example. live", "two.example. live"]);
    assert_eq!(member(&server, "one.example.")["groups"], json!(["gold", "silver"]));
    assert_eq!(member(&server, "two.example.")["groups"], json!([]));

    pdns.util("set-option one.example producer group bronze");
    until("the group changes", &server, || {
        member(&server, "one.example.")["groups"] == json!(["bronze"])
    });

    let other = local(free_port());
    zone_file(&new, "other.example", 1, "version TXT 2\nx.zones PTR one.example.\n");
    zone_file(&new, "one.example", 9, "mark TXT \"new owner\"\n");
    let _bind = bind(&new, other, &["other.example", "one.example"]);
    let body = json!({"primaries": [{"address": other.to_string()}], "catalog": true});
    server.api("PUT", "/v1/zones/other.example./primaries", Some(&body));
    until("the claim is refused", &server, || {
        let trouble = member(&server, "other.example.")["trouble"].clone();
        trouble.as_str().is_some_and(|text| text.contains("for another reason"))
    });
    assert_eq!(member(&server, "one.example.")["member_of"], "catalog.example.");

    pdns.util("set-option one.example producer coo other.example");
    until("it goes over", &server, || {
        member(&server, "one.example.")["member_of"] == "other.example."
    });
    until("it comes from its new owner", &server, || {
        !ask(server.dns, "mark.one.example.", RecordType::TXT).answers.is_empty()
    });

    pdns.util("set-catalog one.example ");
    pdns.zone("three.example");
    let all = [
        "catalog.example. live",
        "one.example. live",
        "other.example. live",
        "three.example. live",
        "two.example. live",
    ];
    until("the old one lets it go", &server, || zones(&server) == all);
    assert_eq!(member(&server, "one.example.")["member_of"], "other.example.");
}

/// Runs `nameplane zone primaries …` as the operator.
fn primaries(server: &Server, words: &[&str]) -> String {
    let mut command = nameplane();
    command.args(["zone", "primaries"]).args(words);
    command.env("NAMEPLANE_SERVER", format!("http://{}", server.http));
    command.env("NAMEPLANE_TOKEN", server.operator_token());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Goal: what the groups of a catalog mean is said here, by command, and so it is: who holds their
/// zones, whom these follow, how they are signed, who may transfer them.
/// Method: PowerDNS puts zones into groups and out of them. One zone is here before its group has a rule
/// and one comes after; a third has primaries that a person gave it, and keeps them.
#[test]
fn rfc9432_4_4_2_groups_mean_what_the_operator_says() {
    if !Peer::PowerDns.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pdns = PowerDns::new(dir.path());
    pdns.util("create-zone catalog.example ns.invalid");
    pdns.util("set-kind catalog.example producer");
    for zone in ["one.example", "own.example", "plain.example"] {
        pdns.zone(zone);
    }
    pdns.util("set-option one.example producer group gold");
    pdns.util("set-option own.example producer group gold");
    let _pdns_runs = pdns.start();
    let server = Server::start();
    let shop = server.api("POST", "/v1/orgs", Some(&json!({"handle": "shop"})))["id"].clone();
    follow_catalog(&server, pdns.address);
    let here = |zones: &[&str]| {
        waits_for(&server, &zones.iter().map(|zone| format!("{zone} live")).collect::<Vec<_>>());
    };
    here(&["catalog.example.", "one.example.", "own.example.", "plain.example."]);
    let own =
        json!({"primaries": [{"address": pdns.address.to_string()}, {"address": "127.0.0.1:9"}]});
    server.api("PUT", "/v1/zones/own.example./primaries", Some(&own));

    let (first, second) = (pdns.address.to_string(), "127.0.0.1:7");
    primaries(
        &server,
        &[
            "group",
            "catalog.example",
            "gold",
            "--org",
            "shop",
            "--policy",
            "default",
            "--transfer",
            "127.0.0.0/8",
            "--primary",
            &first,
            "--primary",
            second,
        ],
    );
    assert!(primaries(&server, &["groups", "catalog.example"]).contains("gold"));
    let org = |zone: &str| server.api("GET", &format!("/v1/zones/{zone}"), None)["org"].clone();
    let keys = |zone: &str| ask(server.dns, zone, RecordType::DNSKEY).answers.len();
    let given = |zone: &str| records(server.dns, zone, None).len() > 2;
    let followed = |zone: &str| {
        let view = member(&server, zone);
        view["primaries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["address"].clone())
            .collect::<Vec<_>>()
    };
    let operator = org("plain.example.");
    let is_gold = |zone: &str| {
        until(&format!("{zone} is gold"), &server, || {
            org(zone) == shop && keys(zone) > 0 && given(zone)
        });
    };
    is_gold("one.example.");
    assert_eq!(followed("one.example."), vec![json!(first), json!(second)]);
    is_gold("own.example.");
    assert_eq!(followed("own.example."), vec![json!(first), json!("127.0.0.1:9")]);
    pdns.zone("new.example");
    pdns.util("set-option new.example producer group gold");
    until("it comes", &server, || zones(&server).contains(&"new.example. live".to_owned()));
    is_gold("new.example.");
    assert_eq!(org("plain.example."), operator);
    assert!(keys("plain.example.") == 0 && !given("plain.example."));

    // Out of the group by the producer, and without a rule by the operator.
    pdns.util("set-option one.example producer group bronze");
    until("one is as any other", &server, || {
        org("one.example.") == operator && !given("one.example.")
    });
    assert_eq!(followed("one.example."), vec![json!(first)]);
    assert!(keys("one.example.") > 0, "what is signed stays so");
    primaries(&server, &["ungroup", "catalog.example", "gold"]);
    until("new is as any other", &server, || {
        org("new.example.") == operator && !given("new.example.")
    });
    let other = "127.0.0.1:5";
    let both = json!([{"address": first}, {"address": other}]);
    let body = json!({"primaries": both, "catalog": true});
    server.api("PUT", "/v1/zones/catalog.example./primaries", Some(&body));
    until("its zones follow whom the catalog follows", &server, || {
        followed("plain.example.") == vec![json!(first), json!(other)]
    });
    assert_eq!(followed("own.example."), vec![json!(first), json!("127.0.0.1:9")]);
}

/// Goal: the groups that Knot and a hand-kept BIND put zones in are read, and followed.
#[test]
fn rfc9432_4_4_2_groups_of_knot_and_of_a_hand_kept_catalog_are_read() {
    if Peer::Bind.is_here() {
        let dir = tempfile::tempdir().unwrap();
        let address = local(free_port());
        let catalog = |serial, group: &str| {
            let more =
                format!("version TXT 2\na.zones PTR one.example.\ngroup.a.zones TXT {group}\n");
            zone_file(dir.path(), "catalog.example", serial, &more)
        };
        catalog(1, "\"two words\"");
        zone_file(dir.path(), "one.example", 1, "");
        let runs = bind(dir.path(), address, &["catalog.example", "one.example"]);
        let server = Server::start();
        follow_catalog(&server, address);
        waits_for(&server, &["catalog.example. live", "one.example. live"]);
        assert_eq!(member(&server, "one.example.")["groups"], json!(["two words"]));
        catalog(2, "other");
        runs.reload();
        until("the group changes", &server, || {
            member(&server, "one.example.")["groups"] == json!(["other"])
        });
    }
    if Peer::Knot.is_here() {
        let dir = tempfile::tempdir().unwrap();
        let (home, address) = (dir.path(), local(free_port()));
        fs::create_dir(home.join("db")).unwrap();
        zone_file(home, "one.example", 1, "");
        let text = format!(
            "server:\n rundir: {0}\n listen: 127.0.0.1@{1}\n udp-workers: 1\n tcp-workers: 1\n \
             background-workers: 1\ndatabase:\n storage: {0}/db\nacl:\n - id: us\n   \
             address: 127.0.0.1\n   action: transfer\ntemplate:\n - id: default\n   \
             zonefile-sync: -1\n   acl: us\nzone:\n - domain: catalog.example.\n   \
             catalog-role: generate\n - domain: one.example.\n   file: {0}/%s.zone\n   \
             catalog-role: member\n   catalog-zone: catalog.example.\n   catalog-group: customers\n",
            home.display(),
            address.port()
        );
        fs::write(home.join("knot.conf"), text).unwrap();
        let mut command = Command::new("/usr/sbin/knotd");
        command.arg("-c").arg(home.join("knot.conf"));
        let _knot = Process::start(command, &home.join("stdout.log"));
        let server = Server::start();
        follow_catalog(&server, address);
        waits_for(&server, &["catalog.example. live", "one.example. live"]);
        assert_eq!(member(&server, "one.example.")["groups"], json!(["customers"]));
    }
}

/// Goal: an old server moves in as a whole, by the catalog it has: its zones are primary zones here.
/// Method: a hand-kept catalog of BIND with three zones, one of which BIND does not have.
#[test]
fn every_zone_of_a_catalog_is_pulled() {
    if !Peer::Bind.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (home, address) = (dir.path(), local(free_port()));
    let catalog = |last: &str| {
        let names = format!("a.zones PTR one.example.\nb.zones PTR two.example.\n{last}");
        zone_file(home, "catalog.example", 1, &format!("version TXT 2\n{names}"));
    };
    catalog("c.zones PTR missing.example.\n");
    zone_file(home, "one.example", 5, "www A 192.0.2.5\n");
    zone_file(home, "two.example", 6, "");
    let _bind = bind(home, address, &["catalog.example", "one.example", "two.example"]);
    let data = home.join("data");
    let pull = || {
        let mut command = nameplane();
        let server = address.to_string();
        command.args(["zone", "import", "--axfr", &server, "--catalog", "catalog.example"]);
        let output = command.arg("--data-dir").arg(&data).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let end = Instant::now() + PATIENCE;
    let (done, said) = loop {
        let (done, said) = pull();
        if said.contains("zones with") {
            break (done, said);
        }
        assert!(Instant::now() < end, "BIND does not answer: {said}");
        sleep(Duration::from_millis(100));
    };
    assert!(!done && said.contains("missing.example"), "{said}");

    let server = Server::at(&data, &[]);
    let here = zones(&server);
    assert_eq!(here, ["one.example. live", "two.example. live"], "{said}");
    assert_eq!(server.api("GET", "/v1/zones/one.example.", None)["serial"], 5);
    assert_eq!(ask(server.dns, "www.one.example.", RecordType::A).answers.len(), 1);
}
