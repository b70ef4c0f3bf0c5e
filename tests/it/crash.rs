//! `kill -9` under load: every acknowledged order is there, no half of an unacknowledged one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::json;

use crate::server::{Server, nameplane};

/// Kills in a usual run; `NAMEPLANE_KILLS=200` for a long one.
const KILLS: u64 = 20;

/// Clients that send one order after the other.
const WRITERS: usize = 8;

const ZONES: [&str; 2] = ["left.example.", "right.example."];

/// What one client asked for and what it was told, as counters that only grow.
#[derive(Default)]
struct Writer {
    asked: AtomicU64,
    acknowledged: AtomicU64,
}

/// Goal: whatever was acknowledged survives a kill at any instant, and an order is never half there.
/// Method: clients raise a counter in two zones by one order each time; kill; restart; both zones
/// must show the same counter, between what was acknowledged and what was asked.
#[test]
fn acknowledged_orders_survive_kill_9_and_none_is_half_there() {
    let kills = std::env::var("NAMEPLANE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for zone in ZONES {
        let file = home.path().join(format!("{zone}zone"));
        let text = "@ 60 SOA ns.example. host.example. 1 2 3 4 5\n@ 60 NS ns.example.\n";
        std::fs::write(&file, text).unwrap();
        let import = nameplane()
            .args(["zone", "import", "--zone", zone, "--data-dir"])
            .args([data.as_os_str(), file.as_os_str()])
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    }
    let mut server = Server::at(&data, &[]);
    let writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::default()).collect();

    for round in 0..kills {
        load_until_killed(&mut server, &writers, round);
        server.restart();
        for (number, writer) in writers.iter().enumerate() {
            let [left, right] = ZONES.map(|zone| counter(&server, number, zone));
            assert_eq!(left, right, "round {round}: half of an order of writer {number}");
            let (low, high) = (&writer.acknowledged, &writer.asked);
            let (low, high) = (low.load(Ordering::SeqCst), high.load(Ordering::SeqCst));
            assert!((low..=high).contains(&left), "round {round}: {left} not in {low}..={high}");
            writer.acknowledged.store(left, Ordering::SeqCst);
        }
    }
    let acknowledged: u64 = writers.iter().map(|w| w.acknowledged.load(Ordering::SeqCst)).sum();
    assert!(acknowledged > kills, "there was no load to speak of: {acknowledged} orders");
}

fn load_until_killed(server: &mut Server, writers: &[Writer], round: u64) {
    let token = server.operator_token();
    let dead = AtomicBool::new(false);
    let shared = &*server;
    std::thread::scope(|scope| {
        for (number, writer) in writers.iter().enumerate() {
            let (token, dead) = (&token, &dead);
            scope.spawn(move || {
                while !dead.load(Ordering::SeqCst) {
                    raise(shared, token, number, writer);
                }
            });
        }
        // Spread over the first half second, differently each round.
        std::thread::sleep(Duration::from_millis(30 + (round * 7919) % 470));
        let killed =
            std::process::Command::new("kill").args(["-9", &shared.pid().to_string()]).status();
        assert!(killed.unwrap().success());
        dead.store(true, Ordering::SeqCst);
    });
    server.kill();
}

/// One order over both zones; the counter is acknowledged only by a 2xx.
fn raise(server: &Server, token: &str, number: usize, writer: &Writer) {
    let next =
        1 + writer.asked.load(Ordering::SeqCst).max(writer.acknowledged.load(Ordering::SeqCst));
    writer.asked.store(next, Ordering::SeqCst);
    let changes: Vec<_> = ZONES
        .iter()
        .map(|zone| {
            json!({ "zone": zone, "edits": [{
                "op": "replace", "name": format!("w{number}.{zone}"), "type": "TXT", "ttl": 1,
                "records": [format!("\"{next}\"")],
            }]})
        })
        .collect();
    let body = json!({ "zones": changes });
    match server.request("POST", "/v1/change-orders", Some(token), Some(&body)) {
        Ok((status, _)) if (200..300).contains(&status) => {
            writer.acknowledged.store(next, Ordering::SeqCst);
        }
        Ok((status, answer)) => panic!("refused: {status} {answer:#}"),
        Err(_) => {} // killed in the middle: either outcome is right
    }
}

/// The counter a zone shows for one writer; 0 when it has none.
fn counter(server: &Server, number: usize, zone: &str) -> u64 {
    let answer = server.ask(&format!("w{number}.{zone}"), RecordType::TXT);
    let record = answer.answers.first();
    record.map_or(0, |record| record.data.to_string().trim_matches('"').parse().unwrap())
}
