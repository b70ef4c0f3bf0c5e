//! When a secondary asks again, and how: after silence, after what did not come through, after a start,
//! and with one of two primaries gone wrong; and what expires meanwhile.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::hostile::{refresh, trouble_is};
use super::primaries::{ZONE, standing, until};
use super::puppet::{Puppet, Then, follow_all, notify, soa};
use crate::server::{Server, ask, nameplane};

/// Hours: what happens within a test happened for another reason.
const LONG_S: u32 = 9_000;

/// Has `puppet` serve a version with these times.
fn serves(puppet: &Puppet, serial: u32, refresh_s: u32, retry_s: u32) {
    let soa =
        format!("{ZONE} 60 SOA ns.{ZONE} host.{ZONE} {serial} {refresh_s} {retry_s} 90000 60");
    let (ns, address) = (format!("{ZONE} 60 NS ns.{ZONE}"), format!("ns.{ZONE} 60 A 192.0.2.1"));
    puppet.says(Some(serial), &[&[soa.clone(), ns, address, soa]]);
}

fn has(server: &Server, serial: u32) {
    until(&format!("serial {serial} is here"), server, || standing(server)["serial"] == serial);
}

/// Goal: a line that loses every datagram, or a wall that lets none through, keeps no zone old.
#[test]
fn a_primary_that_no_datagram_reaches_is_asked_by_tcp() {
    let (server, puppet) = (Server::start(), Puppet::start());
    serves(&puppet, 7, 2, 1);
    puppet.followed_by(&server);
    has(&server, 7);
    puppet.script.lock().unwrap().is_deaf = true;
    serves(&puppet, 8, 2, 1);
    has(&server, 8);
    assert_eq!(standing(&server)["trouble"], Value::Null);
}

/// Goal: who tells of a new version is told that this is understood and does not say it again: so a transfer
/// that is cut is tried again soon, whatever RETRY says.
#[test]
fn what_was_told_and_did_not_come_through_is_asked_for_again_soon() {
    let (server, puppet) = (Server::start(), Puppet::start());
    serves(&puppet, 7, LONG_S, LONG_S);
    puppet.followed_by(&server);
    has(&server, 7);
    puppet.says(Some(8), &[]);
    assert_eq!(notify(&server, "127.0.0.1"), 0);
    trouble_is(&server, "ended the connection too early");
    serves(&puppet, 8, LONG_S, LONG_S);
    has(&server, 8);
}

/// Goal: however often a primary says that something is new, it is asked once more, not once for each.
/// Method: a burst while a transfer goes on that never ends by itself.
#[test]
fn a_burst_of_notify_during_a_transfer_is_one_more_question() {
    let (server, puppet) = (Server::start(), Puppet::start());
    serves(&puppet, 7, LONG_S, LONG_S);
    puppet.followed_by(&server);
    has(&server, 7);
    let (head, pause) =
        ([soa(8, 600), format!("{ZONE} 60 NS ns.{ZONE}")], Duration::from_millis(10));
    puppet.goes_on(Some(8), &[&head, &head[1..]], Then::GoOn(pause));
    let before = puppet.transfers();
    assert_eq!(notify(&server, "127.0.0.1"), 0);
    until("it transfers", &server, || puppet.transfers() > before);
    for _ in 0..50 {
        assert_eq!(notify(&server, "127.0.0.1"), 0);
    }
    serves(&puppet, 9, LONG_S, LONG_S);
    has(&server, 9);
    until("it has asked again", &server, || puppet.transfers() >= before + 4);
    until("it rests", &server, || standing(&server)["next"] == "ask");
    let transfers = puppet.script.lock().unwrap().transfers[before..].to_vec();
    assert_eq!(transfers, [251, 252, 251, 252], "two rounds of IXFR and AXFR");
}

/// Goal: a primary that was down and is up again is heard, however short a time ago it was found silent.
#[test]
fn a_primary_that_was_silent_a_moment_ago_and_tells_us_something_is_asked() {
    let (server, puppet) = (Server::start(), Puppet::start());
    serves(&puppet, 7, LONG_S, LONG_S);
    puppet.followed_by(&server);
    has(&server, 7);
    puppet.says(None, &[]);
    refresh(&server, &json!({}));
    trouble_is(&server, "did not answer in time");
    serves(&puppet, 8, LONG_S, LONG_S);
    assert_eq!(notify(&server, "127.0.0.1"), 0);
    has(&server, 8);
}

/// Goal: what primaries said while nobody was here to hear it is found out after RETRY, not after REFRESH.
#[test]
fn a_start_asks_within_retry_for_what_it_may_have_missed() {
    let (mut server, puppet) = (Server::start(), Puppet::start());
    serves(&puppet, 7, LONG_S, 1);
    puppet.followed_by(&server);
    has(&server, 7);
    server.kill();
    serves(&puppet, 8, LONG_S, 1);
    server.restart();
    has(&server, 8);
}

/// Goal: that one of two primaries is good for nothing is seen before the other fails too.
/// Method: the first refuses what the second gives; then it is mended.
#[test]
fn a_primary_that_is_passed_over_is_shown_with_the_reason() {
    let (server, first) = (Server::start(), Puppet::start());
    let second = Puppet::start_on("127.0.0.3");
    first.says(Some(7), &[]);
    serves(&second, 7, LONG_S, LONG_S);
    follow_all(&server, &[&first, &second]);
    has(&server, 7);
    let view = standing(&server);
    let why = format!("{} ended the connection too early", first.address);
    assert_eq!((&view["trouble"], &view["failures"]), (&Value::Null, &json!(0)), "{view:#}");
    assert!(view["passed_over"][0].as_str().unwrap().starts_with(&why), "{view:#}");
    server.logs(&format!("is fresh, by another primary: {why}"));
    let list = nameplane()
        .args(["zone", "primaries", "list"])
        .env("NAMEPLANE_SERVER", format!("http://{}", server.http))
        .env("NAMEPLANE_TOKEN", server.operator_token())
        .output()
        .unwrap();
    assert!(String::from_utf8(list.stdout).unwrap().contains(&why));

    // The second tells us something, and is asked alone.
    serves(&second, 8, LONG_S, LONG_S);
    assert_eq!(notify(&server, "127.0.0.3"), 0);
    has(&server, 8);
    until("it rests", &server, || standing(&server)["next"] == "ask");
    assert!(standing(&server)["passed_over"][0].as_str().unwrap().starts_with(&why));

    serves(&first, 8, LONG_S, LONG_S);
    refresh(&server, &json!({}));
    until("all is well", &server, || standing(&server)["passed_over"] == json!([]));
}

/// Goal: what is too old is not answered, also while a primary keeps us busy.
/// Method: a transfer that never ends, of a zone that expires within seconds; then one that ends.
#[test]
fn a_zone_expires_while_a_transfer_of_it_goes_on() {
    let (server, puppet) = (Server::start(), Puppet::start());
    puppet.serves(7, &[]);
    puppet.followed_by(&server);
    has(&server, 7);
    let (head, pause) =
        ([soa(8, 4), format!("{ZONE} 60 NS ns.{ZONE}")], Duration::from_millis(100));
    puppet.goes_on(Some(8), &[&head, &head[1..]], Then::GoOn(pause));
    let rcode = || ask(server.dns, ZONE, RecordType::SOA).metadata.response_code;
    until("it expires", &server, || rcode() == ResponseCode::ServFail);
    assert_eq!(
        (&standing(&server)["state"], &standing(&server)["next"]),
        (&json!("expired"), &json!("asking"))
    );

    puppet.serves(9, &[]);
    until("it is fresh", &server, || rcode() == ResponseCode::NoError);
    has(&server, 9);
}
