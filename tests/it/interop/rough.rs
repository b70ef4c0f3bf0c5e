//! Transfers out over rough lines: packets lost, connections cut, either side killed in the middle.
//!
//! Between the two stands a [`Line`], which loses and delays datagrams, cuts and stalls connections
//! anywhere, or stops in the middle of a transfer so that there is a middle to kill somebody in.
//!
//! `INTEROP_LONG=1` has more makes killed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::downstream::{
    KEY, OPEN, Running, SIGNED, Secondary, primary, records, serial, serial_at,
};
use super::relay::{Line, Mood};
use crate::http_client;
use crate::server::{PATIENCE, Server};

fn change(server: &Server, zone: &str, round: usize) -> Value {
    let edits: Vec<_> = (0..40)
        .map(|n| {
            let name = format!("h{}", (round * 41 + n * 7) % 400);
            let text = format!("\"{round} {}\"", "x".repeat(200));
            json!({"op": "replace", "name": name, "type": "TXT", "ttl": 60, "records": [text]})
        })
        .collect();
    let item = json!({"kind": "dns_change", "zone": zone, "edits": edits});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
}

/// Asserts that `running` has what nameplane has.
fn is_the_same(server: &Server, secret: &str, running: &Running, zone: &str) {
    let key = format!("hmac-sha256:{KEY}:{secret}");
    let ours = records(server.dns, zone, (zone == SIGNED).then_some(key.as_str()));
    let theirs = records(running.address, zone, None);
    assert!(ours.len() > 100, "{}", ours.len());
    let one_sided = |own: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        let lone = own.difference(other).take(5);
        lone.map(|record| record.chars().take(120).collect()).collect()
    };
    assert!(
        theirs == ours,
        "{:?} {zone} differs: {} records here, {} there; only here {:#?}, only there {:#?}",
        running.kind,
        ours.len(),
        theirs.len(),
        one_sided(&ours, &theirs),
        one_sided(&theirs, &ours)
    );
}

/// Goal: what is lost on the way costs time, never records, and is known to be there in the end.
/// Method: one line each way, over which NOTIFY, questions, IXFR by UDP and transfers go; datagrams are
/// lost and overtaken, connections cut and stalled, while commits go on. Nobody tells the secondary of
/// them but nameplane.
fn follows_over_a_rough_line(kind: Secondary) {
    if !kind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let line = Line::to(server.dns, Mood::Rough);
    let running = Running::start(kind, line.address, &secret, &home.path().join("secondary"));
    let back = Line::to(running.address, Mood::Rough);
    for (zone, key) in [(OPEN, None), (SIGNED, Some(KEY))] {
        let address = back.address.to_string();
        let row = json!({"name": zone, "addresses": [address], "key": key, "zones": [zone]});
        server.api("POST", "/v1/secondaries", Some(&row));
        running.follow(zone, serial(&server, zone));
    }
    let mut last = Vec::new();
    for round in 0..6 {
        last = [OPEN, SIGNED].map(|zone| change(&server, zone, round)).to_vec();
        if round == 2 {
            running.follow_by_itself(SIGNED, serial(&server, SIGNED));
        }
    }
    for zone in [OPEN, SIGNED] {
        running.follow_by_itself(zone, serial(&server, zone));
        is_the_same(&server, &secret, &running, zone);
    }
    // Forty questions in a row get through no such line; once it is better, all is seen.
    back.set(Mood::Clear);
    for (zone, order) in [OPEN, SIGNED].iter().zip(&last) {
        server.api("POST", &format!("/v1/zones/{zone}/servers/look"), None);
        is_confirmed(&server, order);
    }
    let (there, back) = (line.harm(), back.harm());
    println!("{kind:?}: to nameplane {there:?}, from it {back:?}");
    assert!(there.cut > 0 && there.stalled > 0, "{there:?}");
    assert!(back.lost > 0 && back.late > 0, "{back:?}");
}

/// Waits until nameplane has seen an order served everywhere.
fn is_confirmed(server: &Server, order: &Value) {
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = server.api("GET", &path, None);
        if shown["state"] == "confirmed" {
            return;
        }
        assert!(Instant::now() < end, "not served everywhere: {shown:#}");
        sleep(Duration::from_millis(100));
    }
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

/// Hosts of a zone that no socket's buffer holds, and texts of each: eight megabytes, of which a change
/// takes six. PowerDNS sends many records in a message, and fails when they do not fit into it.
fn large(kind: Secondary) -> (usize, usize) {
    if kind == Secondary::PowerDns { (14_000, 2) } else { (2_000, 16) }
}

/// Octets after which a transfer is in its middle.
const MIDDLE: usize = 1 << 20;

/// Makes `zone` large. In another `round` two of five hosts are others than before.
fn enlarge(server: &Server, zone: &str, (hosts, texts): (usize, usize), round: usize) {
    let mut text =
        String::from("@ 60 SOA ns hostmaster 1 1 1 3600 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n");
    for host in 0..hosts {
        let version = if host % 5 < 2 { round } else { 0 };
        let filler = format!(" \"{}\"", "x".repeat(240)).repeat(texts);
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
    enlarge(&server, SIGNED, large(kind), 1);
    let line = Line::to(server.dns, Mood::HoldsAfter(MIDDLE));
    let mut running = Running::start(kind, line.address, &secret, &home.path().join("secondary"));
    let row =
        json!({"name": "other", "addresses": [running.address.to_string()], "zones": [SIGNED]});
    server.api("POST", "/v1/secondaries", Some(&row));

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
        enlarge(&server, SIGNED, large(kind), round);
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
        if kind == Secondary::Yadifa && round == 2 {
            is_told_to_differ(&server);
            running.kill();
            running.forget();
            running.launch(line.address, &secret);
            running.follow(SIGNED, before);
        }
        is_the_same(&server, &secret, &running, SIGNED);
    }
}

/// Waits until nameplane has seen that what is served under its serial is not what it has.
///
/// YADIFA 2.6.4 takes a step whose primary died within it for whole: it serves the new serial without
/// what the rest of the step would have added, and transfers that out. No other server here does.
fn is_told_to_differ(server: &Server) {
    server.api("POST", &format!("/v1/zones/{SIGNED}/servers/look"), None);
    let end = Instant::now() + PATIENCE;
    loop {
        let servers = server.api("GET", &format!("/v1/zones/{SIGNED}/servers"), None);
        if servers.to_string().contains("\"tampered\"") {
            return;
        }
        assert!(Instant::now() < end, "not told: {servers:#}");
        sleep(Duration::from_millis(300));
    }
}

#[test]
fn knot_survives_kills_in_the_middle_of_transfers() {
    survives_kills_in_the_middle(Secondary::Knot);
}

fn survives_when_there_is_time(kind: Secondary) {
    match is_long() {
        true => survives_kills_in_the_middle(kind),
        false => println!("skipped: INTEROP_LONG is not set"),
    }
}

#[test]
fn bind_survives_kills_in_the_middle_of_transfers_when_there_is_time() {
    survives_when_there_is_time(Secondary::Bind);
}

#[test]
fn nsd_survives_kills_in_the_middle_of_transfers_when_there_is_time() {
    survives_when_there_is_time(Secondary::Nsd);
}

#[test]
fn powerdns_survives_kills_in_the_middle_of_transfers_when_there_is_time() {
    survives_when_there_is_time(Secondary::PowerDns);
}

#[test]
fn yadifa_survives_kills_in_the_middle_of_transfers_when_there_is_time() {
    survives_when_there_is_time(Secondary::Yadifa);
}
