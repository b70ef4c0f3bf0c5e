//! Transfers in over rough lines: nameplane follows while packets are lost, connections cut and
//! stalled, and either side killed in the middle.
//!
//! `INTEROP_LONG=1` has more makes of primaries.

use std::net::SocketAddr;

use hickory_proto::rr::{RData, RecordType};
use serde_json::json;

use super::peers::Peer;
use super::primaries::{Primary, ZONE, follows, standing, until};
use super::relay::{Line, Mood};
use crate::server::{Server, ask};

/// The makes there is time for.
fn makes() -> Vec<Peer> {
    let all = match std::env::var("INTEROP_LONG").is_ok() {
        true => Peer::ALL.to_vec(),
        false => vec![Peer::Knot],
    };
    all.into_iter().filter(|peer| peer.is_here()).collect()
}

fn follow(server: &Server, primary: SocketAddr) {
    let body = json!({"primaries": [{"address": primary.to_string()}]});
    server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&body));
}

/// Goal: what is lost on the way costs time, never records.
/// Method: a line each way; questions, NOTIFY and transfers are lost, late, cut and stalled while the
/// primary's zone changes.
#[test]
fn primaries_are_followed_over_a_rough_line() {
    for peer in makes() {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start();
        let back = Line::to(server.dns, Mood::Rough);
        let mut primary = Primary::start(peer, home.path(), back.address, None);
        let line = Line::to(primary.address, Mood::Rough);
        follow(&server, line.address);
        let mut hosts: Vec<u32> = (0..400).collect();
        for round in 0..6u32 {
            hosts.retain(|host| host % 11 != round);
            hosts.extend((0..5).map(|more| 1_000 + round * 7 + more));
            primary.write(&hosts);
            primary.reload();
            follows(&server, &primary);
        }
        let harm = line.harm();
        println!("{}: to it {harm:?}, from it {:?}", peer.name(), back.harm());
        assert!(harm.cut > 0 && harm.stalled > 0, "{harm:?}");
    }
}

/// Hosts of a zone that no socket's buffer holds, and texts of each: eight megabytes, of which a change
/// takes six. PowerDNS sends many records in a message, and fails when they do not fit into it.
fn large(peer: Peer) -> (usize, usize) {
    if peer == Peer::PowerDns { (14_000, 2) } else { (2_000, 16) }
}

/// Octets after which a transfer is in its middle.
const MIDDLE: usize = 1 << 20;

fn serial(server: &Server) -> Option<u64> {
    standing(server)["serial"].as_u64()
}

/// The version that `server` answers from; none while it answers from none.
fn answered(server: &Server) -> Option<usize> {
    let answer = ask(server.dns, "version.follow.example.", RecordType::A);
    match answer.answers.first().map(|record| &record.data) {
        Some(RData::A(address)) => Some(address.octets()[3].into()),
        _ => None,
    }
}

/// Goal: `kill -9` on either side in the middle of a transfer in leaves the version before in service,
/// and what is transferred afterwards is whole.
/// Method: the line stops within the transfer; then nameplane is killed, or the primary, and started
/// again.
#[test]
fn a_secondary_survives_kills_in_the_middle_of_transfers() {
    for peer in makes() {
        let home = tempfile::tempdir().unwrap();
        let mut server = Server::start();
        let mut primary = Primary::start(peer, home.path(), server.dns, None);
        primary.write_large(large(peer), 1);
        primary.restart();
        let line = Line::to(primary.address, Mood::HoldsAfter(MIDDLE));
        follow(&server, line.address);

        // Within the first AXFR, nameplane: there is no half of a zone, then all of it.
        line.wait_for_the_middle(&|| {});
        assert_eq!((serial(&server), answered(&server)), (None, None), "half a zone");
        server.kill();
        line.set(Mood::Clear);
        server.restart();
        until("the first is here", &server, || serial(&server) == Some(primary.serial().into()));
        follows(&server, &primary);
        assert_eq!(answered(&server), Some(1));

        // Within what changed, the primary; then nameplane.
        for round in 2..4 {
            let before = serial(&server);
            line.set(Mood::HoldsAfter(MIDDLE));
            primary.write_large(large(peer), round);
            primary.reload();
            let path = format!("/v1/zones/{ZONE}/refresh");
            line.wait_for_the_middle(&|| drop(server.api("POST", &path, Some(&json!({})))));
            assert_eq!((serial(&server), answered(&server)), (before, Some(round - 1)), "half");
            if round == 2 {
                primary.kill();
                line.set(Mood::Clear);
                line.wait_until_quiet();
                assert_eq!((serial(&server), answered(&server)), (before, Some(1)), "took half");
                primary.restart();
            } else {
                server.kill();
                server.restart();
                assert_eq!((serial(&server), answered(&server)), (before, Some(2)), "lost it");
                line.set(Mood::Clear);
            }
            let wanted = Some(primary.serial().into());
            server.api("POST", &path, Some(&json!({})));
            until("the next is here", &server, || serial(&server) == wanted);
            follows(&server, &primary);
            assert_eq!(answered(&server), Some(round));
        }
    }
}
