//! The verbs for other servers: keys, lists of who may, secondaries, catalogs, and what was seen of them.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server};

fn with_zones(zones: &[&str]) -> Server {
    let server = Server::start();
    for zone in zones {
        let text =
            "@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nns 60 A 127.0.0.1\nwww 60 A 192.0.2.1\n";
        let item = json!({"kind": "zone_create", "zone": zone, "zone_file": text});
        server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    }
    server
}

/// The records that `dig` gets of a zone with these words more; none when it is refused.
fn transferred(server: &Server, zone: &str, more: &[&str]) -> Vec<String> {
    let port = server.dns.port().to_string();
    let mut command = Command::new("dig");
    command.args(["@127.0.0.1", "-p", &port, zone, "AXFR", "+noall", "+answer", "+onesoa"]);
    let output = command.args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words.get(2) == Some(&"IN")).map(|words| words.join(" ")).collect()
}

/// Goal: a key is made, used, exchanged and ended by command, and counts for the zones it is made for.
#[test]
fn a_key_is_made_exchanged_and_ended_by_command() {
    let server = with_zones(&["one.example", "two.example"]);
    let secret = server.said(&["tsig", "create", "k", "--zone", "one.example"]).trim().to_owned();
    let list = ["--transfer", "127.0.0.0/8 key k"];
    for zone in ["one.example", "two.example"] {
        let shown = server.said(&[&["zone", "access", zone][..], &list].concat());
        assert!(shown.contains("127.0.0.0/8 key k."), "{shown}");
    }
    let with = |zone: &str, secret: &str| {
        transferred(&server, zone, &["-y", &format!("hmac-sha256:k:{secret}")]).len()
    };
    assert_eq!((with("one.example", &secret), with("two.example", &secret)), (4, 0));
    assert!(transferred(&server, "one.example", &[]).is_empty(), "the address alone does not do");

    let fresh = server.said(&["tsig", "rotate", "k", "--overlap-s", "3600"]).trim().to_owned();
    assert_ne!(fresh, secret);
    assert_eq!((with("one.example", &fresh), with("one.example", &secret)), (4, 4));
    assert!(server.said(&["tsig", "list"]).contains("hmac-sha256"));
    assert!(!server.said(&["tsig", "list", "--json"]).contains(&fresh), "secrets are not listed");
    let refused = server.failed(&["tsig", "delete", "k"]);
    assert!(refused.contains("named by zone one.example., zone two.example.:"), "{refused}");
    for zone in ["one.example", "two.example"] {
        server.said(&["zone", "access", zone, "--transfer", "nobody"]);
    }
    server.said(&["tsig", "delete", "k"]);
    assert_eq!(with("one.example", &fresh), 0);
    let refused = server.failed(&[&["zone", "access", "one.example"][..], &list].concat());
    assert!(refused.contains("there is no TSIG key k."), "{refused}");
}

/// Goal: who may transfer is said for an organisation, for a zone instead, and for nobody, by command.
#[test]
fn lists_of_zones_and_organisations_are_set_by_command() {
    let server = with_zones(&["one.example", "two.example"]);
    let may = |zone: &str| !transferred(&server, zone, &[]).is_empty();
    assert!(!may("one.example"), "nobody may who is not named");
    server.said(&["org", "access", "operator", "--transfer", "192.0.2.0/24,127.0.0.0/8"]);
    assert!(may("one.example") && may("two.example"));
    server.said(&["zone", "access", "one.example", "--transfer", "192.0.2.0/24"]);
    assert!(!may("one.example") && may("two.example"));
    server.said(&["zone", "access", "two.example", "--transfer", "nobody"]);
    assert!(!may("two.example"));
    server.said(&["zone", "access", "two.example", "--transfer", "inherit"]);
    assert!(may("two.example"));
    server.said(&["org", "access", "operator", "--transfer", "inherit"]);
    assert!(!may("two.example"));
}

/// Goal: a secondary is added, seen in the matrix of zones and servers, waived and removed by command.
/// Method: it listens nowhere, so that it is seen as what it is.
#[test]
fn a_secondary_is_added_and_seen_in_the_matrix_by_command() {
    let server = with_zones(&["one.example", "two.example"]);
    server.said(&["secondary", "add", "far", "127.0.0.1:9", "--zone", "one.example"]);
    assert!(server.said(&["secondary", "list"]).contains("127.0.0.1:9"));
    server.said(&["zone", "look", "one.example"]);
    server.said(&["zone", "look", "two.example"]);
    let matrix = || server.api("GET", "/v1/servers", None)["items"].clone();
    let far = |zone: &str| -> Option<Value> {
        let matrix = matrix();
        let row = matrix.as_array()?.iter().find(|row| row["zone"] == zone)?.clone();
        row["servers"].as_array()?.iter().find(|cell| cell["names"][0] == "far").cloned()
    };
    let end = Instant::now() + PATIENCE;
    while far("one.example.").is_none_or(|cell| cell["state"] != "unreachable") {
        assert!(Instant::now() < end, "{:#}", matrix());
        sleep(Duration::from_millis(50));
    }
    assert_eq!(far("two.example."), None, "it is for one zone");
    let shown = server.said(&["zone", "servers", "one.example"]);
    assert!(shown.contains("far") && shown.contains("unreachable"), "{shown}");

    server.said(&["zone", "waive", "one.example", "far", "--reason", "switched off"]);
    while !server.said(&["zone", "servers", "one.example", "--json"]).contains("\"waived\": true") {
        assert!(Instant::now() < end, "{:#}", matrix());
        sleep(Duration::from_millis(50));
    }
    server.said(&["zone", "waive", "one.example", "far", "--end"]);
    server.said(&["secondary", "remove", "far"]);
    assert!(!server.said(&["secondary", "list"]).contains("127.0.0.1:9"));
}

/// Goal: a catalog is made, filled, left and taken away by command, with the groups its members have.
#[test]
fn a_catalog_is_kept_by_command() {
    let server = with_zones(&["one.example", "two.example", "three.example"]);
    server.said(&["org", "access", "operator", "--transfer", "127.0.0.1"]);
    server.said(&["catalog", "create", "cat.example", "--zone", "one.example", "--group", "gold"]);
    server.said(&["catalog", "join", "cat.example", "two.example", "--group", "silver"]);
    assert!(server.said(&["catalog", "list"]).contains("cat.example."));
    let members = server.said(&["catalog", "members", "cat.example"]);
    assert!(members.contains("silver") && !members.contains("three.example"), "{members}");
    let is_there = |what: &str| {
        transferred(&server, "cat.example", &[]).iter().filter(|line| line.ends_with(what)).count()
    };
    assert_eq!((is_there("TXT \"2\""), is_there("PTR one.example.")), (1, 1));
    assert_eq!((is_there("TXT \"gold\""), is_there("TXT \"silver\"")), (1, 1));

    server.said(&["catalog", "leave", "cat.example", "two.example"]);
    assert_eq!((is_there("PTR two.example."), is_there("TXT \"silver\"")), (0, 0));
    server.said(&["catalog", "delete", "cat.example"]);
    assert!(transferred(&server, "cat.example", &[]).is_empty());
}
