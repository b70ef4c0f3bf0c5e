//! Five secondaries of five makes at once, while the zones change all the time.
//!
//! Nobody tells them but nameplane itself, by NOTIFY, for one of the zones with TSIG. What each ends
//! with is compared record by record; nameplane must come to the same verdict by asking them.
//!
//! `INTEROP_COMMITS=1000` makes it a long run, `INTEROP_SEED` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::downstream::{KEY, OPEN, Running, SIGNED, Secondary, primary, records, serial};
use crate::server::{PATIENCE, Server};

/// Commits to each zone that the secondaries follow.
const COMMITS: usize = 60;

/// Numbers that a seed repeats (splitmix64).
struct Random(u64);

impl Random {
    fn new() -> Random {
        let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        let given = std::env::var("INTEROP_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(fresh);
        println!("INTEROP_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

/// The RRsets that a test has put into a zone: records by name and type.
#[derive(Default)]
struct Content(BTreeMap<(String, &'static str), Vec<String>>);

impl Content {
    /// A change of one RRset that nothing speaks against; none if there is nothing to change.
    fn edit(&mut self, random: &mut Random, name: String, rtype: &'static str) -> Option<Value> {
        let key = (name.clone(), rtype);
        let ttl = 60 + random.below(4_000);
        let Some(now) = self.0.get_mut(&key) else {
            let count = 1 + random.below(3);
            let fresh: BTreeSet<String> = (0..count).map(|_| rdata(random, rtype)).collect();
            let fresh: Vec<String> = fresh.into_iter().take(most(rtype)).collect();
            let edit =
                json!({"op": "replace", "name": name, "type": rtype, "ttl": ttl, "records": fresh});
            self.0.insert(key, fresh);
            return Some(edit);
        };
        let more = rdata(random, rtype);
        match random.below(5) {
            0 => {
                self.0.remove(&key);
                Some(json!({"op": "delete", "name": name, "type": rtype}))
            }
            1 => Some(json!({"op": "set_ttl", "name": name, "type": rtype, "ttl": ttl})),
            2 if now.len() > 1 => {
                let gone = now.remove(random.below(now.len() as u64) as usize);
                Some(json!({"op": "remove", "name": name, "type": rtype, "records": [gone]}))
            }
            3 if now.len() < most(rtype) && !now.contains(&more) => {
                now.push(more.clone());
                Some(json!({"op": "add", "name": name, "type": rtype, "records": [more]}))
            }
            _ => {
                *now = vec![more];
                Some(
                    json!({"op": "replace", "name": name, "type": rtype, "ttl": ttl, "records": now}),
                )
            }
        }
    }
}

/// How many records an RRset may have.
fn most(rtype: &str) -> usize {
    if rtype == "CNAME" { 1 } else { 8 }
}

fn rdata(random: &mut Random, rtype: &str) -> String {
    let octet = 1 + random.below(250);
    match rtype {
        "A" => format!("198.51.100.{octet}"),
        "AAAA" => format!("2001:db8::{octet:x}"),
        "MX" => format!("{octet} mail{}", random.below(9)),
        "SRV" => format!("{octet} 0 443 h{}", random.below(400)),
        "CNAME" => format!("h{}", random.below(400)),
        "NS" => format!("ns{}.elsewhere.example.", random.below(9)),
        "HTTPS" => format!("{octet} h{} alpn=h2 port=8443", random.below(400)),
        "TYPE65300" => format!("\\# 2 {octet:02x}{octet:02x}"),
        _ => format!("\"{octet}\" \"{}\"", "Text ".repeat(random.below(40) as usize)),
    }
}

/// The RRset that changes next.
fn place(random: &mut Random) -> (String, &'static str) {
    let number = random.below(60);
    match random.below(12) {
        0 => (format!("Mixed{number}"), "AAAA"),
        1 => (format!("mail{number}"), "MX"),
        2 => (format!("_s._tcp.s{number}"), "SRV"),
        3 => (format!("alias{number}"), "CNAME"),
        4 => (format!("cut{number}"), "NS"),
        5 => (format!("svc{number}"), "HTTPS"),
        6 => (format!("odd{number}"), "TYPE65300"),
        7 => (format!("*.wild{number}"), "TXT"),
        // No TXT, which the wildcard at the apex has: where such a name went, YADIFA 2.6 does not
        // answer from it.
        8 => (format!("a.b.c.deep{number}"), "AAAA"),
        _ => (format!("new{number}"), "A"),
    }
}

/// One commit: mostly a few RRsets, now and then many.
fn commit(server: &Server, zone: &str, content: &mut Content, random: &mut Random) -> Value {
    let count = if random.below(20) == 0 { 150 } else { 1 + random.below(5) };
    let places: BTreeSet<(String, &str)> = (0..count).map(|_| place(random)).collect();
    let edits: Vec<Value> =
        places.into_iter().filter_map(|(name, rtype)| content.edit(random, name, rtype)).collect();
    let item = json!({"kind": "dns_change", "zone": zone, "edits": edits});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
}

/// Has nameplane tell `running` of both zones, of the second with the key.
fn tell(server: &Server, running: &Running) {
    for (zone, key) in [(OPEN, Value::Null), (SIGNED, json!(KEY))] {
        let name = format!("{:?}-{zone}", running.kind);
        let address = running.address.to_string();
        let body = json!({"name": name, "addresses": [address], "key": key, "zones": [zone]});
        server.api("POST", "/v1/secondaries", Some(&body));
    }
}

/// Goal: whoever follows nameplane has what it has, whatever changes and however many follow at once.
/// Method: random commits to two zones, as fast as they are taken; five secondaries that only
/// nameplane tells. At the end all have the same records, and the last order is served everywhere.
#[test]
fn five_secondaries_that_follow_at_once_end_with_the_same_records() {
    let here: Vec<Secondary> = Secondary::ALL.into_iter().filter(|kind| kind.is_here()).collect();
    if here.is_empty() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let start = |kind: Secondary| {
        let dir = home.path().join(format!("{kind:?}"));
        let running = Running::start(kind, server.dns, &secret, &dir);
        tell(&server, &running);
        running
    };
    let followers: Vec<Running> = here.into_iter().map(start).collect();
    for zone in [OPEN, SIGNED] {
        // Told at first: YADIFA 2.6 may leave one of its zones out when it starts, until it hears of it.
        followers.iter().for_each(|each| each.follow(zone, serial(&server, zone)));
    }

    let commits = std::env::var("INTEROP_COMMITS").ok().and_then(|text| text.parse().ok());
    let mut random = Random::new();
    let mut contents = [Content::default(), Content::default()];
    let mut last = Vec::new();
    for _ in 0..commits.unwrap_or(COMMITS) {
        last.clear();
        for (zone, content) in [OPEN, SIGNED].into_iter().zip(&mut contents) {
            last.push(commit(&server, zone, content, &mut random));
        }
    }

    let key = format!("hmac-sha256:{KEY}:{secret}");
    for zone in [OPEN, SIGNED] {
        let ours = records(server.dns, zone, (zone == SIGNED).then_some(key.as_str()));
        assert!(ours.len() > 400, "{ours:?}");
        for each in &followers {
            each.follow_by_itself(zone, serial(&server, zone));
            assert_eq!(records(each.address, zone, None), ours, "{:?} {zone}", each.kind);
        }
    }
    last.iter().for_each(|order| is_confirmed(&server, order));
    let log = server.log();
    let sent = |form: &str| log.lines().filter(|line| line.contains(form)).count();
    println!("{} AXFR, {} IXFR", sent(": AXFR of"), sent(": IXFR of"));
    // How many depends on the pace: who comes late for much that changed gets all of the zone.
    assert!(sent(": IXFR of") > 0, "who is in time follows by what changed");
}

/// The order is served everywhere. YADIFA 2.6 transfers out the same records as all others and yet answers
/// otherwise where names went, whoever sends it the steps ([`yadifa`](super::yadifa)); that this is told,
/// and told of nobody else, is right too.
fn is_confirmed(server: &Server, order: &Value) {
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = server.api("GET", &path, None);
        if shown["state"] == "confirmed" || only_yadifa_differs(&shown) {
            return;
        }
        assert!(Instant::now() < end, "not served everywhere: {shown:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn only_yadifa_differs(order: &Value) -> bool {
    let zones = order["servers"].as_array().into_iter().flatten();
    let mut servers =
        zones.flat_map(|zone| zone["servers"].as_array().into_iter().flatten()).peekable();
    servers.peek().is_some()
        && servers.all(|server| {
            let is_yadifa = server["names"].to_string().contains("Yadifa");
            let wild = server["detail"].as_str().is_some_and(|why| why.contains('*'));
            server["state"] == "ok" || is_yadifa && wild && server["state"] == "tampered"
        })
}
