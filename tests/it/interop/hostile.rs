//! Primaries that are late, lie, never end or are not alone: what a secondary makes of it.

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nameplane::sign::zonemd;
use nameplane::wire::{Name, Serial, Type};
use nameplane::zone::text::{self, Options};
use nameplane::zone::tree::PackedZone;
use serde_json::{Value, json};

use super::primaries::{ZONE, standing, until};
use super::puppet::{Puppet, Then, follow_all, notify, soa};
use crate::server::{Server, ask, nameplane};

fn rcode(server: &Server) -> ResponseCode {
    ask(server.dns, ZONE, RecordType::SOA).metadata.response_code
}

/// Goal: what is too old is not answered, and is answered again once a primary confirms it.
#[test]
fn an_expired_zone_is_servfail_until_it_is_confirmed() {
    let (server, puppet) = (Server::start(), Puppet::start());
    puppet.says(None, &[]);
    puppet.followed_by(&server);
    assert_eq!(rcode(&server), ResponseCode::ServFail);
    assert_eq!(standing(&server)["serial"], Value::Null);

    puppet.serves(7, &[]);
    until("it is transferred", &server, || rcode(&server) == ResponseCode::NoError);
    puppet.says(None, &[]);
    until("it expires", &server, || rcode(&server) == ResponseCode::ServFail);
    assert_eq!(standing(&server)["state"], "expired");
    trouble_is(&server, "did not answer");
    let dig = Command::new("kdig")
        .args(["@127.0.0.1", "-p", &server.dns.port().to_string(), ZONE, "SOA", "+edns"])
        .output();
    if let Ok(output) = dig {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Invalid Data") && text.contains("no fresh copy"), "{text}");
    }

    puppet.says(Some(7), &[]);
    until("it is confirmed", &server, || rcode(&server) == ResponseCode::NoError);
    assert_eq!(standing(&server)["serial"], 7);
}

/// Goal: nothing half, nothing older, nothing that is no zone is ever served.
/// Method: after each lie the zone is what it was, and the trouble says why.
#[test]
fn a_lying_primary_changes_nothing() {
    let (server, puppet) = (Server::start(), Puppet::start());
    puppet.serves_for(600, 7, &["a.follow.example. 60 A 192.0.2.7"]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    let ns = format!("{ZONE} 60 NS ns.{ZONE}");
    let alias = "a.follow.example. 60 CNAME b.follow.example.".to_owned();
    let address = "a.follow.example. 60 A 192.0.2.8".to_owned();
    let lies: &[(u32, Vec<String>, &str)] = &[
        (8, vec![soa(8, 600), ns.clone()], "ended the connection too early"),
        (8, vec![soa(8, 600), ns.clone(), address.clone(), soa(9, 600)], "serial 9 where none"),
        (8, vec![soa(8, 600), ns.clone(), alias, address.clone(), soa(8, 600)], "CNAME"),
        (8, vec![soa(8, 600), address.clone(), soa(8, 600)], "NS"),
        (
            8,
            vec![soa(8, 600), soa(7, 600), address.clone(), soa(8, 600), soa(8, 600)],
            "serial 7 where none",
        ),
        (6, vec![soa(6, 600), ns.clone(), soa(6, 600)], "behind 7"),
    ];
    for (serial, records, why) in lies {
        puppet.says(Some(*serial), &[records]);
        server.api("POST", &format!("/v1/zones/{ZONE}/refresh"), Some(&json!({})));
        until(why, &server, || {
            standing(&server)["trouble"].as_str().is_some_and(|text| text.contains(why))
        });
        let answer = ask(server.dns, "a.follow.example.", RecordType::A);
        assert_eq!(standing(&server)["serial"], 7);
        assert!(format!("{:?}", answer.answers).contains("192.0.2.7"), "{why}: {answer:?}");
    }

    // Back only when somebody says so.
    puppet.serves_for(600, 6, &[]);
    let path = format!("/v1/zones/{ZONE}/refresh");
    server.api("POST", &path, Some(&json!({"any_serial": true})));
    until("it goes back", &server, || standing(&server)["serial"] == 6);
    server.logs("went from serial 7 to 6");
}

#[test]
fn rfc1996_3_10_notify_from_anyone_but_a_primary_does_nothing() {
    let (server, puppet) = (Server::start(), Puppet::start());
    assert_eq!(notify(&server, "127.0.0.1"), 9, "a zone that is not here");
    let long =
        |serial: u32| format!("{ZONE} 60 SOA ns.{ZONE} host.{ZONE} {serial} 9000 9000 90000 60");
    let zone = |serial| {
        let ns = format!("{ZONE} 60 NS ns.{ZONE}");
        vec![long(serial), ns, format!("ns.{ZONE} 60 A 192.0.2.1"), long(serial)]
    };
    puppet.says(Some(1), &[&zone(1)]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 1);
    puppet.says(Some(2), &[&zone(2)]);
    let before = puppet.transfers();
    assert_eq!(notify(&server, "127.0.0.2"), 5);
    sleep(Duration::from_millis(300));
    assert_eq!(puppet.transfers(), before);
    assert_eq!(notify(&server, "127.0.0.1"), 0);
    until("it is told", &server, || standing(&server)["serial"] == 2);
}

pub(super) fn refresh(server: &Server, body: &Value) {
    server.api("POST", &format!("/v1/zones/{ZONE}/refresh"), Some(body));
}

pub(super) fn trouble_is(server: &Server, why: &str) {
    until(why, server, || {
        standing(server)["trouble"].as_str().is_some_and(|text| text.contains(why))
    });
}

/// A server with these settings for transfers in.
fn server_with(home: &std::path::Path, settings: &str) -> Server {
    let config = home.join("server.toml");
    std::fs::write(&config, format!("[primaries]\n{settings}\n")).unwrap();
    Server::at(&home.join("data"), &["--config", config.to_str().unwrap()])
}

/// Goal: the first primary that has the newest version is enough; the others are asked in their order
/// when it has not, for whatever reason.
/// Method: the first of two is silent, then ahead, then behind, then lies.
#[test]
fn primaries_are_asked_in_order_until_one_has_the_zone() {
    let (server, first, second) = (Server::start(), Puppet::start(), Puppet::start());
    first.says(None, &[]);
    second.serves_for(600, 7, &[]);
    follow_all(&server, &[&first, &second]);
    let took = |from: &Puppet, serial: u32| {
        until(&format!("serial {serial} comes from {}", from.address), &server, || {
            let last = &standing(&server)["last_transfer"];
            last["primary"] == from.address.to_string() && last["serial"] == serial
        });
    };
    took(&second, 7);
    assert!(first.asked() + first.transfers() > 0, "the first was not asked first");

    first.serves_for(600, 9, &[]);
    second.serves_for(600, 9, &[]);
    let before = second.transfers();
    refresh(&server, &json!({}));
    took(&first, 9);
    assert_eq!(second.transfers(), before);

    first.serves_for(600, 8, &[]);
    second.serves_for(600, 11, &[]);
    refresh(&server, &json!({}));
    took(&second, 11);

    first.says(Some(12), &[&[soa(12, 600), soa(12, 600)]]); // no NS: no zone
    second.serves_for(600, 12, &[]);
    refresh(&server, &json!({}));
    took(&second, 12);
    assert_eq!(standing(&server)["trouble"], Value::Null);
}

/// Goal: who told that there is something new is asked for it, whatever its place in the list.
#[test]
fn the_primary_that_notified_is_asked_first() {
    let (server, first) = (Server::start(), Puppet::start());
    let other = Puppet::start_on("127.0.0.3");
    for puppet in [&first, &other] {
        puppet.serves_for(600, 7, &[]);
    }
    follow_all(&server, &[&first, &other]);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    other.serves_for(600, 8, &[]);
    assert_eq!(notify(&server, "127.0.0.3"), 0);
    until("it comes from who told", &server, || {
        let last = &standing(&server)["last_transfer"];
        last["primary"] == other.address.to_string() && last["serial"] == 8
    });
}

/// Goal: a primary that is slower than the operator wants is left, also in the middle of a message.
/// Method: octet by octet; it may take ten seconds to begin, and no longer.
#[test]
fn a_primary_that_drips_is_left_as_too_slow() {
    let home = tempfile::tempdir().unwrap();
    let server = server_with(home.path(), "transfer_octets_per_s_min = 100000");
    let puppet = Puppet::start();
    puppet.goes_on(Some(7), &[], Then::Drip(Duration::from_millis(50)));
    puppet.followed_by(&server);
    trouble_is(&server, "which is too slow");
    assert_eq!(standing(&server)["serial"], Value::Null);
}

/// Goal: a primary that never ends costs what the operator set, and no more.
/// Method: one sends without end as fast as it can, against the limit of octets; then one byte after
/// another, against the limit of time. The zone stays what it was.
#[test]
fn a_transfer_without_end_is_given_up_at_its_limits() {
    let home = tempfile::tempdir().unwrap();
    let server = server_with(home.path(), "transfer_octets_max = 100000\ntransfer_s_max = 2");
    let puppet = Puppet::start();
    puppet.serves_for(600, 7, &[]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    let ns = format!("{ZONE} 60 NS ns.{ZONE}");
    let flood: Vec<String> =
        (0..200).map(|n| format!("h{n}.{ZONE} 60 TXT \"{}\"", "x".repeat(200))).collect();

    let head = vec![soa(8, 600), ns.clone()];
    puppet.goes_on(Some(8), &[&head, &flood], Then::GoOn(Duration::ZERO));
    refresh(&server, &json!({}));
    trouble_is(&server, "more than 100000 octets");
    let given_up = |count: usize| {
        until("the connection is closed", &server, || {
            puppet.script.lock().unwrap().given_up >= count
        });
    };
    given_up(1);

    puppet.goes_on(Some(8), &[&head, &[ns]], Then::GoOn(Duration::from_millis(100)));
    refresh(&server, &json!({}));
    trouble_is(&server, "did not answer in time");
    let so_far = puppet.script.lock().unwrap().given_up;
    assert_eq!(standing(&server)["serial"], 7);

    puppet.serves_for(600, 8, &[]);
    refresh(&server, &json!({}));
    until("it is transferred after all", &server, || standing(&server)["serial"] == 8);
    given_up(so_far);
}

/// Goal: no zone makes the server ask where its operator did not allow it to.
/// Method: one of two primaries is allowed; the other is wanted in the clear and over TLS, by force.
#[test]
fn a_primary_that_the_operator_did_not_allow_is_not_asked() {
    let home = tempfile::tempdir().unwrap();
    let server = server_with(home.path(), "[net]\ndial = [\"127.0.0.3/32\"]");
    let (shut, open) = (Puppet::start(), Puppet::start_on("127.0.0.3"));
    for puppet in [&shut, &open] {
        puppet.serves_for(600, 7, &[]);
    }
    let pin = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let address = shut.address.to_string();
    for primary in
        [json!({"address": address}), json!({"address": address, "tls": {"pins": [pin]}})]
    {
        let body = json!({ "primaries": [primary] });
        server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&body));
        refresh(&server, &json!({"transfer": true}));
        trouble_is(&server, "is not among the prefixes of [net] dial");
    }
    follow_all(&server, &[&shut, &open]);
    until("the other is asked", &server, || standing(&server)["serial"] == 7);
    assert_eq!(shut.asked() + shut.transfers(), 0);
}

/// Goal: a primary that never ends its transfers holds up its own zones, and nobody else's.
/// Method: more zones of it than there are threads, every one of them dripping; then a zone elsewhere.
#[test]
fn a_slow_primary_leaves_threads_for_the_zones_of_others() {
    let home = tempfile::tempdir().unwrap();
    let server = server_with(home.path(), "zones_at_once = 3\ntransfer_octets_per_s_min = 0");
    let (slow, other) = (Puppet::start(), Puppet::start());
    slow.goes_on(Some(1), &[], Then::Drip(Duration::from_millis(200)));
    for zone in ["a.example.", "b.example.", "c.example.", "d.example."] {
        let body = json!({"primaries": [{"address": slow.address.to_string()}]});
        server.api("PUT", &format!("/v1/zones/{zone}/primaries"), Some(&body));
    }
    until("it holds all it can", &server, || slow.transfers() >= 2);
    other.serves_for(600, 7, &[]);
    other.followed_by(&server);
    until("the other is transferred", &server, || standing(&server)["serial"] == 7);
    assert_eq!(slow.transfers(), 2, "of three threads");
}

/// Goal: steps that do not fit what is here are no harm: the whole zone is asked for.
/// Method: IXFR takes away a record that is not there; the same connection then gives all of it.
#[test]
fn steps_that_do_not_fit_are_followed_by_the_whole_zone() {
    let (server, puppet) = (Server::start(), Puppet::start());
    puppet.serves_for(600, 7, &["a.follow.example. 60 A 192.0.2.7"]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    let stranger = format!("b.{ZONE} 60 A 192.0.2.9");
    let steps = [soa(8, 600), soa(7, 600), stranger, soa(8, 600), soa(8, 600)];
    puppet.says(Some(8), &[&steps]);
    let before = puppet.transfers();
    refresh(&server, &json!({}));
    // The same five records are no zone either: the second answer is refused too.
    trouble_is(&server, "serial 7 where none");
    let asked = puppet.script.lock().unwrap().transfers[before..][..2].to_vec();
    assert_eq!(asked, [251, 252], "IXFR, then AXFR");
    let answer = ask(server.dns, "a.follow.example.", RecordType::A);
    assert_eq!((standing(&server)["serial"].as_u64(), answer.answers.len()), (Some(7), 1));
}

/// Goal: ten thousand zones that ask every few minutes cost their questions and nothing on disk.
/// Method: one asks by REFRESH and after NOTIFY, and hears that nothing is newer; syncs are counted.
#[test]
fn a_question_that_finds_nothing_newer_writes_nothing() {
    let (server, puppet) = (Server::start(), Puppet::start());
    puppet.serves_for(90_000, 7, &[]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    let syncs = || {
        let (_, text) = server.request("GET", "/metrics", None, None).unwrap();
        let text = text.as_str().unwrap().to_owned();
        let line = text.lines().find(|line| line.starts_with("nameplane_store_syncs_total "));
        line.unwrap().split(' ').next_back().unwrap().parse::<u64>().unwrap()
    };
    // What the transfer left to be tidied up may still be written at first.
    let mut before = 0;
    until("it asks by itself and writes nothing", &server, || {
        let asked = puppet.asked();
        before = syncs();
        until("it asks", &server, || puppet.asked() >= asked + 2);
        syncs() == before
    });
    for told in 1..4 {
        let confirmed = standing(&server)["confirmed_at"].clone();
        let transfers = puppet.transfers();
        assert_eq!(notify(&server, "127.0.0.1"), 0);
        until(&format!("it asks when told, {told}"), &server, || {
            puppet.transfers() > transfers && standing(&server)["confirmed_at"] != confirmed
        });
    }
    assert_eq!(standing(&server)["serial"], 7);
    assert_eq!(syncs(), before);
}

/// Goal: what a secondary waits for can be seen and be had at once, by API and by command.
#[test]
fn state_and_next_action_are_shown_and_forced() {
    let (server, puppet) = (Server::start(), Puppet::start());
    let command = |words: &[&str]| {
        let output = nameplane()
            .args(["zone", "primaries"])
            .args(words)
            .env("NAMEPLANE_SERVER", format!("http://{}", server.http))
            .env("NAMEPLANE_TOKEN", server.operator_token())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    puppet.says(None, &[]);
    command(&["set", ZONE, &puppet.address.to_string()]);
    trouble_is(&server, "ended the connection too early");
    let view = standing(&server);
    assert_eq!(
        (view["state"].as_str(), view["next"].as_str()),
        (Some("expired"), Some("transfer"))
    );
    assert!(view["next_at"].is_string() && view["failures"].as_u64() > Some(0), "{view:#}");
    // What went wrong with other primaries is not held against those it has now.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = json!({"primaries": [{"address": silent.local_addr().unwrap().to_string()}]});
    let view = server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&other));
    assert_eq!(view["trouble"], Value::Null, "{view:#}");
    command(&["set", ZONE, &puppet.address.to_string()]);

    let long = format!("{ZONE} 60 SOA ns.{ZONE} host.{ZONE} 7 9000 9000 90000 60");
    let zone = |address: &str| {
        let ns = format!("{ZONE} 60 NS ns.{ZONE}");
        vec![long.clone(), ns, format!("ns.{ZONE} 60 A {address}"), long.clone()]
    };
    puppet.says(Some(7), &[&zone("192.0.2.1")]);
    command(&["refresh", ZONE]);
    until("it is transferred", &server, || standing(&server)["next"] == "ask");
    let view = standing(&server);
    assert!(view["expires_at"].is_string() && view["confirmed_at"].is_string(), "{view:#}");
    assert!(command(&["list"]).contains("follow.example."));
    assert!(command(&["show", ZONE]).contains("\"next\": \"ask\""));

    // Hours before it is time.
    let before = puppet.asked();
    command(&["refresh", ZONE]);
    until("it is asked", &server, || puppet.asked() > before);
    // The same number, but all of it: whatever a primary did behind its serial.
    puppet.says(Some(7), &[&zone("192.0.2.77")]);
    command(&["refresh", ZONE, "--transfer"]);
    until("all of it is taken", &server, || {
        let answer = ask(server.dns, "ns.follow.example.", RecordType::A);
        format!("{:?}", answer.answers).contains("192.0.2.77")
    });
    assert_eq!(standing(&server)["serial"], 7);
    assert_eq!(standing(&server)["trouble"], Value::Null);

    // Who follows nobody any more has nobody to ask, and is told so.
    command(&["remove", ZONE]);
    let path = format!("/v1/zones/{ZONE}/refresh");
    let token = server.operator_token();
    let (status, why) = server.request("POST", &path, Some(&token), Some(&json!({}))).unwrap();
    assert_eq!(status, 409, "{why}");
    assert!(why["detail"].as_str().unwrap().contains("follows no primary"), "{why}");
}

/// The records of a version with its digest, as a transfer sends them.
fn with_digest(serial: u32, address: &str, spoil: impl Fn(&mut [u8])) -> Vec<String> {
    let apex = Name::parse(ZONE).unwrap();
    let mut records = vec![soa(serial, 600)];
    records.push(format!("{ZONE} 60 NS ns.{ZONE}"));
    records.push(format!("ns.{ZONE} 60 A {address}"));
    let options =
        Options { origin: Some(apex.clone()), apex: Some(apex.clone()), ..Options::default() };
    let parsed = text::parse((records.join("\n") + "\n").as_bytes(), options).unwrap();
    let zone = PackedZone::new(apex, &parsed.packed);
    let mut digest = zonemd::of(&zone, zonemd::Hash::Sha384).unwrap();
    spoil(&mut digest);
    let rdata = zonemd::rdata(Serial(serial), zonemd::Hash::Sha384, &digest);
    let shown = nameplane::wire::rdata::display(Type::ZONEMD, &rdata);
    records.push(format!("{ZONE} 60 ZONEMD {shown}"));
    records.push(soa(serial, 600));
    records
}

/// From one version to the next: SOA, what goes, SOA, what comes.
fn steps(old: &[String], new: &[String]) -> Vec<String> {
    let end = new.len() - 1;
    [&new[..1], &old[..1], &old[2..end], &new[..1], &new[2..]].concat()
}

/// Goal: a zone that says what it is must be so, whole or by steps; else the old one stays.
/// Method: good, spoilt, good by steps, spoilt by steps, of a kind nobody knows; then the same on the
/// way into a zone that is signed here.
#[test]
fn rfc8976_4_a_zone_that_is_not_what_its_digest_says_is_not_taken() {
    let (server, puppet) = (Server::start(), Puppet::start());
    let good = |serial, address| with_digest(serial, address, |_| {});
    let bad = |serial, address| with_digest(serial, address, |digest| digest[0] ^= 1);
    let gives = |serial, records: &[String]| puppet.says(Some(serial), &[records]);
    let address = || format!("{:?}", ask(server.dns, "ns.follow.example.", RecordType::A).answers);
    gives(7, &good(7, "192.0.2.7"));
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);

    gives(8, &bad(8, "192.0.2.8"));
    refresh(&server, &json!({}));
    trouble_is(&server, "records are not those the zone's digest");
    assert_eq!(standing(&server)["serial"], 7);
    assert!(address().contains("192.0.2.7"));

    gives(8, &steps(&good(7, "192.0.2.7"), &good(8, "192.0.2.8")));
    refresh(&server, &json!({}));
    until("good steps are taken", &server, || standing(&server)["serial"] == 8);
    assert_eq!(standing(&server)["last_transfer"]["how"], "IXFR");
    gives(9, &steps(&good(8, "192.0.2.8"), &bad(9, "192.0.2.9")));
    refresh(&server, &json!({}));
    until("bad steps are not taken", &server, || standing(&server)["trouble"].is_string());
    assert_eq!(standing(&server)["serial"], 8);

    let mut unknown = good(9, "192.0.2.9");
    unknown[3] = format!("{ZONE} 60 ZONEMD 9 240 250 00112233445566778899AABB");
    gives(9, &unknown);
    refresh(&server, &json!({}));
    until("what nobody can check is taken", &server, || standing(&server)["serial"] == 9);
    assert!(address().contains("192.0.2.9"));

    // Signed here, with a digest of its own beside: the primary's is still checked, step by step too.
    server.api("PUT", "/v1/dnssec/policies/default", Some(&json!({"zonemd": true})));
    server.api("PUT", &format!("/v1/zones/{ZONE}/dnssec?push=true"), Some(&json!({"on": true})));
    until("it is signed", &server, || standing(&server)["primary_serial"] == 9);
    gives(10, &bad(10, "192.0.2.10"));
    refresh(&server, &json!({}));
    trouble_is(&server, "records are not those the zone's digest");
    gives(10, &steps(&good(9, "192.0.2.9"), &good(10, "192.0.2.10")));
    refresh(&server, &json!({}));
    until("good steps are taken", &server, || standing(&server)["primary_serial"] == 10);
    assert_eq!(standing(&server)["last_transfer"]["how"], "IXFR");
    assert!(address().contains("192.0.2.10"));
    gives(11, &steps(&good(10, "192.0.2.10"), &bad(11, "192.0.2.11")));
    refresh(&server, &json!({}));
    until("bad steps are not taken", &server, || standing(&server)["trouble"].is_string());
    assert_eq!(standing(&server)["primary_serial"], 10);
    assert!(address().contains("192.0.2.10"));
    gives(12, &good(12, "192.0.2.12"));
    refresh(&server, &json!({}));
    until("the good one is taken", &server, || standing(&server)["primary_serial"] == 12);
    assert!(address().contains("192.0.2.12"));
}

/// Goal: a digest that comes by steps into a zone with serials of its own is vouched for as one that comes
/// whole.
/// Method: a zone that was signed here and is not any more; steps with a right digest and no signature, while
/// no parent of it is known, while one has a DS, and when that is gone.
#[test]
fn rfc8976_4_steps_into_a_zone_that_counts_for_itself_are_vouched_for_too() {
    let (server, puppet) = (Server::start(), Puppet::start());
    let waits = json!({"dnskey_ttl_s": 1, "propagation_s": 0, "parent_delay_s": 0});
    server.api("PUT", "/v1/dnssec/policies/default", Some(&waits));
    let good = |serial: u32| with_digest(serial, &format!("192.0.2.{serial}"), |_| {});
    puppet.says(Some(7), &[&good(7)]);
    puppet.followed_by(&server);
    until("it is transferred", &server, || standing(&server)["serial"] == 7);
    let path = format!("/v1/zones/{ZONE}/dnssec");
    let switch = |body: &Value| server.api("PUT", &format!("{path}?push=true"), Some(body));
    switch(&json!({"on": true}));
    until("it counts for itself", &server, || standing(&server)["primary_serial"] == 7);
    switch(&json!({"on": false, "force_reason": "a test"}));
    until("it is signed no more", &server, || server.api("GET", &path, None)["state"] == "off");
    let there = || standing(&server)["primary_serial"].clone();
    let step = |serial: u32| {
        puppet.says(Some(serial), &[&steps(&good(serial - 1), &good(serial))]);
        refresh(&server, &json!({}));
    };

    step(8);
    until("nobody must vouch", &server, || there() == 8);
    let parent = format!(
        "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n\
         follow 1 NS ns.follow\nns.follow 1 A 127.0.0.1\nfollow 1 DS 1 13 2 {}\n",
        "00".repeat(32)
    );
    let item = json!({"kind": "zone_import", "zone": "example.", "zone_file": parent});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    step(9);
    until("it is not taken", &server, || standing(&server)["trouble"].is_string());
    assert_eq!(there(), 8);

    let edit = json!({"op": "delete", "name": "follow", "type": "DS"});
    let item = json!({"kind": "dns_change", "zone": "example.", "edits": [edit]});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    refresh(&server, &json!({}));
    until("nobody must vouch any more", &server, || there() == 9);
    assert_eq!(standing(&server)["last_transfer"]["how"], "IXFR");
}
