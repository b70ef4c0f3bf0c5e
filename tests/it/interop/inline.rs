//! Unsigned in, signed out: zones of other primaries that are signed here.

use std::fs;
use std::path::Path;
use std::process::Command;

use hickory_proto::rr::RecordType;
use nameplane::wire::Name;
use nameplane::zone::packed;
use nameplane::zone::text::{self, Options};
use serde_json::{Value, json};

use super::peers::Peer;
use super::primaries::{Primary, ZONE, follow, standing, until};
use super::puppet::{Puppet, soa};
use crate::server::{Server, ask};

/// A server that gives its zones to whoever asks on loopback, and signs by a policy without waits.
fn server(home: &Path) -> Server {
    let config = home.join("server.toml");
    fs::write(&config, "[transfer]\nallow = \"127.0.0.0/8\"\n").unwrap();
    let server = Server::at(&home.join("data"), &["--config", config.to_str().unwrap()]);
    let policy =
        json!({"dnskey_ttl_s": 1, "propagation_s": 0, "parent_delay_s": 0, "parent_poll_s": 1});
    server.api("PUT", "/v1/dnssec/policies/default", Some(&policy));
    server
}

fn switch(server: &Server, body: &Value) {
    server.api("PUT", &format!("/v1/zones/{ZONE}/dnssec?push=true"), Some(body));
}

fn state(server: &Server) -> String {
    let status = server.api("GET", &format!("/v1/zones/{ZONE}/dnssec"), None);
    status["state"].as_str().unwrap().to_owned()
}

fn serial(server: &Server) -> u64 {
    standing(server)["serial"].as_u64().unwrap_or_default()
}

fn there(server: &Server) -> Value {
    standing(server)["primary_serial"].clone()
}

/// The zone as a secondary of ours gets it, and its records without what a signer adds.
fn transferred(server: &Server, question: &str) -> String {
    let port = server.dns.port().to_string();
    let got = Command::new("dig")
        .args(["@127.0.0.1", "-p", &port, ZONE, question, "+noall", "+answer", "+onesoa"])
        .output()
        .unwrap();
    String::from_utf8(got.stdout).unwrap()
}

fn bare(file: &str) -> Vec<u8> {
    let apex = Name::parse(ZONE).unwrap();
    let options = Options { origin: Some(apex.clone()), apex: Some(apex), ..Options::default() };
    let parsed = text::parse(file.as_bytes(), options);
    let parsed = parsed.unwrap_or_else(|faults| panic!("{faults:?}\n{file}"));
    let stripped = packed::strip(&parsed.packed);
    // The serials are two things.
    let mut packer = packed::Packer::default();
    for node in packed::nodes(&stripped) {
        packer.node(node.owner);
        let soa = nameplane::wire::Type::SOA;
        node.rrsets().filter(|set| set.rtype != soa).for_each(|set| packer.copy(set));
    }
    packer.finish()
}

/// Every verifier that is installed finds the zone well signed.
fn verify(home: &Path, file: &str) {
    let path = home.join("out.zone");
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let name = ZONE.trim_end_matches('.');
    for (tool, arguments) in [
        ("dnssec-verify", vec!["-z", "-o", name, path]), // -z: one key may do everything
        ("ldns-verify-zone", vec![path]),
        ("kzonecheck", vec!["-o", name, "-d", "on", path]),
    ] {
        let Ok(output) = Command::new(tool).args(&arguments).output() else { continue };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{tool}: {said}\n{file}");
    }
}

/// Waits until the zone here is what the file of the primary says, signed.
fn signed_as(server: &Server, home: &Path, primary: &Primary) {
    let expected = bare(&fs::read_to_string(primary.file()).unwrap());
    let mut last = String::new();
    until("the version is here, signed", server, || {
        last = transferred(server, "AXFR");
        last.contains("RRSIG") && bare(&last) == expected
    });
    verify(home, &last);
}

/// Goal: what an unsigned primary has comes out signed, version after version, and IXFR out carries
/// the signatures.
/// Method: Knot as primary with IXFR; switched on before the first transfer; every version verified by
/// tools not ours; then off again, until the zone has its primary's serials.
#[test]
fn an_unsigned_primary_comes_out_signed() {
    if !Peer::Knot.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut server = server(home.path());
    let mut primary = Primary::start(Peer::Knot, home.path(), server.dns, None);
    follow(&server, &primary);
    switch(&server, &json!({"on": true}));
    signed_as(&server, home.path(), &primary);

    let mut hosts: Vec<u32> = (0..200).collect();
    for round in 0..4u32 {
        hosts.retain(|host| host % 11 != round);
        hosts.extend((0..5).map(|more| 1_000 + round * 7 + more));
        let before = serial(&server);
        primary.write(&hosts);
        primary.reload();
        signed_as(&server, home.path(), &primary);
        let steps = transferred(&server, &format!("IXFR={before}"));
        assert!(steps.contains("RRSIG"), "{steps}");
        let soas = steps.lines().filter(|line| line.contains("\tSOA\t")).count();
        assert!(soas >= 3, "IXFR out is a step, not the zone:\n{steps}");
    }
    assert_eq!(standing(&server)["last_transfer"]["how"], "IXFR");
    assert_eq!(there(&server), 5);
    assert!(serial(&server) > 5, "signing made versions of its own");

    // Both counts are there after a crash, and the primary is followed on.
    server.kill();
    primary.write(&hosts[1..]);
    primary.reload();
    server.restart();
    signed_as(&server, home.path(), &primary);
    assert_eq!(there(&server), 6);

    switch(&server, &json!({"on": false, "force_reason": "a test"}));
    until("it is unsigned", &server, || !transferred(&server, "AXFR").contains("RRSIG"));
    let ahead = serial(&server);
    while primary.serial() < ahead as u32 + 1 {
        primary.write(&hosts[2..]);
    }
    primary.reload();
    until("it has the primary's serials again", &server, || {
        serial(&server) == ahead + 1 && there(&server).is_null()
    });
}

/// Goal: nothing of people's is lost or older than what the primary has, whatever order things come in.
/// Method: a primary whose serial jumps, goes back on demand, and comes whole.
#[test]
fn a_zone_that_is_signed_here_counts_for_itself() {
    let home = tempfile::tempdir().unwrap();
    let (server, puppet) = (server(home.path()), Puppet::start());
    puppet.serves_for(600, 7, &["a.follow.example. 60 A 192.0.2.7"]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || serial(&server) == 7);
    switch(&server, &json!({"on": true}));
    until("it is signed", &server, || state(&server) != "off" && there(&server) == 7);
    until("it has a serial of its own", &server, || serial(&server) > 7);

    puppet.serves_for(600, 3_000, &["a.follow.example. 60 A 192.0.2.8"]);
    until("it follows", &server, || there(&server) == 3_000);
    assert_eq!(serial(&server), 3_000, "the primary's, where that is ahead");
    verify(home.path(), &transferred(&server, "AXFR"));

    // Back on demand: there, not here.
    puppet.serves_for(600, 2_000, &["a.follow.example. 60 A 192.0.2.9"]);
    until("it is not taken", &server, || {
        standing(&server)["trouble"].as_str().is_some_and(|text| text.contains("behind 3000"))
    });
    server.api("POST", &format!("/v1/zones/{ZONE}/refresh"), Some(&json!({"any_serial": true})));
    until("it is taken", &server, || there(&server) == 2_000);
    assert!(serial(&server) > 3_000);
    let answer = ask(server.dns, "a.follow.example.", RecordType::A);
    assert!(format!("{:?}", answer.answers).contains("192.0.2.9"), "{answer:?}");
    verify(home.path(), &transferred(&server, "AXFR"));

    // A primary from now on: signed, and changed here.
    server.api("DELETE", &format!("/v1/zones/{ZONE}/primaries"), None);
    let edit =
        json!({"op": "add", "name": "here", "type": "A", "ttl": 60, "records": ["192.0.2.1"]});
    let push = json!({"items": [{"kind": "dns_change", "zone": ZONE, "edits": [edit]}]});
    server.api("POST", "/v1/change-orders", Some(&push));
    let zone = transferred(&server, "AXFR");
    assert!(zone.contains("here.follow.example."), "{zone}");
    verify(home.path(), &zone);
}

/// Goal: a zone too large for one commit is signed beside its service, and comes whole into its signed
/// version without a moment unsigned.
/// Method: 17 000 names, some 4.5 MB; switched on, then replaced whole, with one record changed.
#[test]
fn a_large_zone_comes_whole_and_goes_out_signed() {
    let home = tempfile::tempdir().unwrap();
    let (server, puppet) = (server(home.path()), Puppet::start());
    let text = "x".repeat(240);
    let gives = |serial: u32, mark: &str| {
        let mut records = vec![soa(serial, 600), format!("{ZONE} 60 NS ns.{ZONE}")];
        records.push(format!("ns.{ZONE} 60 A 192.0.2.1"));
        records.push(format!("mark.{ZONE} 60 TXT \"{mark}\""));
        records.extend((0..17_000).map(|n| format!("h{n}.{ZONE} 60 TXT \"{text}\"")));
        records.push(soa(serial, 600));
        let messages: Vec<&[String]> = records.chunks(200).collect();
        puppet.says(Some(serial), &messages);
    };
    gives(7, "one");
    puppet.followed_by(&server);
    until("it is transferred", &server, || serial(&server) == 7);
    switch(&server, &json!({"on": true}));
    until("it is signed", &server, || serial(&server) > 7);
    let signed = serial(&server);

    gives(8, "two");
    server.api("POST", &format!("/v1/zones/{ZONE}/refresh"), Some(&json!({})));
    until("the next version is here", &server, || there(&server) == 8);
    assert!(serial(&server) > signed);
    let zone = transferred(&server, "AXFR");
    assert!(zone.contains("\"two\"") && !zone.contains("\"one\""));
    verify(home.path(), &zone);
}

/// Goal: a zone its primary signs stays as it is, unless somebody says that its signatures go.
/// Method: BIND signs it; on is refused, on with strip takes over; versions that come later lose their
/// primary's signatures and get ours.
#[test]
fn a_primarys_signatures_are_kept_or_taken_off_never_mixed() {
    if !Peer::Bind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    // The parent is here, and vouches for no key.
    let parent = "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\nfollow 1 NS ns.follow\nns.follow 1 A 127.0.0.1\n";
    let import = json!({"kind": "zone_import", "zone": "example.", "zone_file": parent});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [import]})));
    let mut primary = Primary::start_signing(Peer::Bind, home.path(), server.dns);
    follow(&server, &primary);
    until("it is transferred, signed", &server, || state(&server) == "presigned");
    let path = format!("/v1/zones/{ZONE}/dnssec?push=true");
    let token = server.operator_token();
    let on = json!({"on": true});
    let (status, refused) = server.request("PUT", &path, Some(&token), Some(&on)).unwrap();
    assert!((400..500).contains(&status) && refused.to_string().contains("strip"), "{refused}");

    let keys = |zone: &str| -> Vec<String> {
        let is_key = |line: &&str| line.contains("\tDNSKEY\t");
        let mut keys: Vec<_> = zone.lines().filter(is_key).map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let theirs = keys(&transferred(&server, "AXFR"));
    switch(&server, &json!({"on": true, "strip": true}));
    until("the keys are ours", &server, || {
        let now = keys(&transferred(&server, "AXFR"));
        !now.is_empty() && now.iter().all(|key| !theirs.contains(key))
    });
    primary.write(&[1, 2, 3]);
    primary.reload();
    until("it is followed", &server, || {
        transferred(&server, "AXFR").contains("h3.follow.example.")
    });
    let zone = transferred(&server, "AXFR");
    assert!(keys(&zone).iter().all(|key| !theirs.contains(key)), "{zone}");
    verify(home.path(), &zone);
}
