//! NSD, Knot DNS, BIND, PowerDNS and YADIFA as secondaries, with TSIG and without.
//!
//! Each follows nameplane through commits, by IXFR where it can, and must end with the same records.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::downstream::{
    AUTHORITY, KEY, OPEN, PRIMARY, Running, SIGNED, Secondary, primary, primary_with, records,
    serial, serial_at,
};
use crate::server::{PATIENCE, Server};

/// Commits that each secondary follows. `INTEROP_COMMITS=1000` makes it a long run.
const COMMITS: usize = 30;

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

/// Goal: a secondary of any make has what nameplane has, after every few commits and at the end.
fn follows(kind: Secondary) {
    if !kind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let running = Running::start(kind, server.dns, &secret, &home.path().join("secondary"));
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone));
    }
    let commits = std::env::var("INTEROP_COMMITS").ok().and_then(|text| text.parse().ok());
    let commits = commits.unwrap_or(COMMITS);
    for round in 0..commits {
        for zone in [OPEN, SIGNED] {
            commit(&server, zone, round);
        }
        if round % 10 == 9 {
            for zone in [OPEN, SIGNED] {
                running.follow(zone, serial(&server, zone));
            }
        }
    }
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone));
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
        running.follow(SIGNED, serial(&server, SIGNED));
        for round in 0..12 {
            commit(&server, SIGNED, round);
            running.notify(SIGNED);
            if round == 4 {
                server.kill();
                server.restart();
            }
            if round == 8 {
                running.kill();
                running.launch(server.dns, &secret);
            }
        }
        running.follow(SIGNED, serial(&server, SIGNED));
        let key = format!("hmac-sha256:{KEY}:{secret}");
        let ours = records(server.dns, SIGNED, Some(&key));
        assert!(ours.len() > 300);
        assert_eq!(records(running.address, SIGNED, None), ours, "{kind:?}");
    }
}

/// Goal: a secondary of another make follows over TLS as it does over TCP, from who shows the
/// certificate it wants to see and from nobody else.
/// Method: BIND is given the port for TLS and no other, and first another certificate than nameplane's.
#[test]
fn rfc9103_bind_follows_over_tls() {
    if !Secondary::BindOverTls.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let made = || rcgen::generate_simple_self_signed([PRIMARY.to_owned()]).unwrap();
    let (own, stranger) = (made(), made());
    let tls = std::net::SocketAddr::from(([127, 0, 0, 1], crate::server::free_port()));
    let (config, dir) = (home.path().join("server.toml"), home.path().join("secondary"));
    let (certificate, key) = (home.path().join("own.pem"), home.path().join("own.key"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let (shown, secret_of) = (certificate.display(), key.display());
    let text =
        format!("[dns.tls]\ndot = [\"{tls}\"]\ncertificate = \"{shown}\"\nkey = \"{secret_of}\"\n");
    fs::write(&config, text).unwrap();
    let (server, secret) = primary_with(home.path(), &["--config", config.to_str().unwrap()]);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(AUTHORITY), stranger.cert.pem()).unwrap();
    let mut running = Running::start(Secondary::BindOverTls, tls, &secret, &dir);
    let end = Instant::now() + PATIENCE;
    while !running.log().contains("TLS peer certificate verification failed") {
        assert!(Instant::now() < end, "a stranger is believed:\n{}", running.log());
        sleep(Duration::from_millis(100));
    }
    assert_eq!(serial_at(running.address, OPEN), None);
    running.kill();
    fs::write(dir.join(AUTHORITY), own.cert.pem()).unwrap();
    running.launch(tls, &secret);
    for round in 0..4 {
        for zone in [OPEN, SIGNED] {
            running.follow(zone, serial(&server, zone));
            commit(&server, zone, round);
        }
    }
    for zone in [OPEN, SIGNED] {
        running.follow(zone, serial(&server, zone));
        let key = format!("hmac-sha256:{KEY}:{secret}");
        let ours = records(server.dns, zone, (zone == SIGNED).then_some(key.as_str()));
        assert!(ours.len() > 300);
        assert_eq!(records(running.address, zone, None), ours, "{zone}");
    }
    server.logs(": IXFR of");
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
