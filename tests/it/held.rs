//! Zones that cannot be signed anew: held at their last good version, said, and let go of again.
//!
//! The reasons one after the other: a key that does not open, a clock that leapt, a disk that is full;
//! by hand in this process where time has to pass, and with the real server.

use std::process::Command;
use std::sync::atomic::Ordering;

use hickory_proto::rr::RecordType;
use nameplane::maintain::hold::{self, Hold, Turn};
use nameplane::maintain::rows;
use nameplane::seal::Sealer;
use nameplane::sign::{Algorithm, Denial};
use nameplane::store::{Options, Store};
use nameplane::wire::{Name, Type};
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, nameplane};
use crate::signing::{DAY_S, SMALL, World, edit, key, name, parsed, plan_of, put, small, small_on};

impl World {
    pub fn hold(&self, apex: &Name) -> Option<Hold> {
        let zone = self.store.read(|rows| rows::zone(rows, apex)).unwrap().unwrap();
        self.maintain.hold_of(&zone)
    }

    /// What happened so far, and is to become events.
    fn turns(&self) -> Vec<Turn> {
        let news = self.store.read(|rows| hold::news(rows, 100)).unwrap();
        news.into_iter().map(|(_, news)| news.turn).collect()
    }

    /// Sets the clock without time passing.
    pub fn set_clock(&self, seconds: i64) {
        self.us.fetch_add((seconds * 1_000_000).cast_unsigned(), Ordering::Relaxed);
    }
}

#[test]
fn a_zone_whose_key_does_not_open_is_held_told_of_and_released() {
    let (mut world, apex, _) = small(Denial::Nsec);
    let text = world.text(&apex);
    let right = std::mem::replace(&mut world.sealer, Sealer::passing().unwrap());
    world.restart();
    let due_s = world.signing(&apex).due_s;
    world.pass(due_s - world.now_s() + 10);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    let held = world.hold(&apex).unwrap();
    assert!(held.why.contains("instance key"), "{held:?}");
    assert_eq!((held.since_s, held.alarmed_s), (due_s, None));
    assert_eq!(world.turns(), [Turn::Held]);

    // Half the time its signatures were still good for.
    let alarm_at_s = held.alarm_at_s().unwrap();
    assert_eq!(alarm_at_s, held.ends_s - (held.ends_s - due_s) / 2);
    world.pass(alarm_at_s - world.now_s() - 1);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.turns(), [Turn::Held], "a second too early");
    world.pass(1);
    world.restart();
    world.maintain.look_at_holds().unwrap();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.turns(), [Turn::Held, Turn::Expires], "once, also over a restart");
    assert_eq!(world.maintain.holds(), (1, 1));
    let left_s = held.ends_s.cast_signed() - world.now_s().cast_signed();
    assert_eq!(world.maintain.expiries(10).unwrap(), [(apex.clone(), left_s)]);
    assert_eq!(world.text(&apex), text, "served as it was");

    world.sealer = right;
    world.restart();
    assert!(world.hold(&apex).is_some(), "held until it is signed");
    world.pass(3600);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.hold(&apex), None);
    assert_eq!(world.turns(), [Turn::Held, Turn::Expires, Turn::Released]);
    assert_eq!(world.maintain.holds(), (0, 0));
    world.verified(&apex);
}

/// Goal: a start costs no look at the keys of every zone once they were seen to be in order; with another
/// instance key, or one zone out of order, all are looked at.
#[test]
fn a_start_looks_at_keys_only_where_something_may_be_wrong_with_them() {
    const ZONES: usize = 300;
    let mut world = World::new();
    for n in 0..ZONES {
        let apex = name(&format!("z{n}.test."));
        world.create(&apex, parsed(&apex, SMALL));
        let csk = key(Algorithm::Ed25519, 257);
        world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    }
    let looked = |world: &World| world.maintain.look_at_signing_keys().unwrap();
    assert_eq!(looked(&world), ZONES, "nobody has looked yet");
    world.restart();
    assert_eq!(looked(&world), 0);

    let apex = name("more.test.");
    world.create(&apex, parsed(&apex, SMALL));
    let csk = key(Algorithm::Ed25519, 257);
    world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    world.restart();
    assert_eq!(looked(&world), 0, "the same key sealed it");

    world.sealer = Sealer::passing().unwrap();
    world.restart();
    assert_eq!(looked(&world), ZONES + 1, "another key");
    world.restart();
    assert_eq!(looked(&world), ZONES + 1, "and nothing in order with it");
}

#[test]
fn a_clock_that_leaps_forward_holds_the_zone_until_it_is_set_right() {
    let (world, apex, _) = small(Denial::Nsec3 { opt_out: false });
    let text = world.text(&apex);
    let due_s = world.signing(&apex).due_s;
    let leap_s = i64::try_from(3650 * DAY_S).unwrap();
    world.set_clock(leap_s);
    let changed = vec![put("www.small.test.", Type::A, 300, "192.0.2.9")];
    let reasons = world.apply(&[edit(&apex, changed.clone())]).unwrap_err();
    assert!(reasons[0].to_string().contains("clock was set"), "{reasons:?}");
    world.upkeep();
    assert_eq!(world.hold(&apex), None, "nothing is due yet");
    world.pass(due_s - (world.now_s() - 3650 * DAY_S) + 10);
    world.upkeep();
    let held = world.hold(&apex).unwrap();
    assert!(held.why.contains("clock was set"), "{held:?}");
    assert_eq!(world.text(&apex), text, "nothing is signed by a clock that is wrong");

    world.set_clock(-leap_s);
    world.apply(&[edit(&apex, changed)]).unwrap();
    world.pass(600);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.hold(&apex), None);
    assert!(world.signing(&apex).first_expiry_s > world.now_s() + 7 * DAY_S);
    world.verified(&apex);
}

#[test]
fn a_clock_that_goes_back_signs_nothing_and_goes_on_when_it_is_right_again() {
    let (world, apex, _) = small(Denial::Nsec);
    let text = world.text(&apex);
    let changed = vec![put("www.small.test.", Type::A, 300, "192.0.2.9")];
    world.set_clock(-7200);
    world.upkeep();
    let reasons = world.apply(&[edit(&apex, changed.clone())]).unwrap_err();
    assert!(reasons[0].to_string().contains("behind the zone's last version"), "{reasons:?}");
    assert_eq!(world.text(&apex), text);
    world.set_clock(7200);
    world.apply(&[edit(&apex, changed)]).unwrap();
    world.verified(&apex);
}

/// Goal: when a renewal is due and the store takes nothing, the zone is served as it is, the hold is
/// known though it cannot be kept, and everything goes on once there is room.
/// Method: the same directory opened with a reserve no disk has, and again without.
#[test]
fn a_full_disk_holds_a_zone_that_is_due_until_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let open = |reserve_bytes| {
        let mut options = Options::new(home.path());
        options.reserve_bytes = reserve_bytes;
        Store::open(&options).unwrap()
    };
    let (mut world, apex, _) = small_on(open(0), Denial::Nsec);
    let text = world.text(&apex);
    let reopen = |world: &mut World, reserve_bytes| {
        // The directory is held by one store at a time.
        world.store = Store::in_memory();
        world.restart();
        world.store = open(reserve_bytes);
        world.restart();
    };
    reopen(&mut world, u64::MAX / 2);
    world.pass(world.signing(&apex).due_s - world.now_s() + 10);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    let held = world.hold(&apex).unwrap();
    assert!(held.why.contains("writes have stopped"), "{held:?}");
    assert!(world.turns().is_empty(), "nothing can be kept");
    world.pass(held.alarm_at_s().unwrap() - world.now_s());
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.maintain.holds(), (1, 1), "somebody is called all the same");
    assert_eq!(world.text(&apex), text);

    reopen(&mut world, 0);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.hold(&apex), None);
    world.verified(&apex);
}

const ZONE: &str = "held.test.";

fn run(words: &[&str], data: &std::path::Path) -> (bool, String) {
    let output = nameplane().args(words).arg("--data-dir").arg(data).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A server with a zone that is signed, and a TSIG key.
fn signed(home: &std::path::Path) -> Server {
    let server = Server::at(&home.join("data"), &[]);
    let file = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
    let import = json!({"kind": "zone_import", "zone": ZONE, "zone_file": file});
    let switch = json!({"kind": "dnssec_set", "zone": ZONE, "on": true});
    for item in [import, switch] {
        server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
    }
    server.api("POST", "/v1/tsig-keys", Some(&json!({"name": "key.held.test."})));
    server
}

/// Waits until `done` says so of what the API shows of the zone.
fn wait(server: &Server, done: impl Fn(&Value) -> bool) -> Value {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let zone = server.api("GET", &format!("/v1/zones/{ZONE}"), None);
        if done(&zone) {
            return zone;
        }
        assert!(std::time::Instant::now() < end, "{zone:#}\n{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn events(server: &Server) -> Vec<String> {
    let page = server.api("GET", "/v1/events?limit=1000", None);
    let events = page["items"].as_array().unwrap().iter();
    events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// Goal: an instance key that is lost is never made anew in silence; its way back is to put it back.
#[test]
fn a_server_without_its_instance_key_does_not_start_over_sealed_secrets() {
    let home = tempfile::tempdir().unwrap();
    let mut server = signed(home.path());
    assert!(server.stop().success());
    let key = server.data.join("instance.key");
    let octets = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    for words in [&["serve", "--listen-dns", "127.0.0.1:0"][..], &["zone", "list"]] {
        let (started, said) = run(words, &server.data);
        assert!(!started && said.contains("is missing"), "{said}");
        assert!(said.contains("1 signing key and 1 TSIG key"), "{said}");
        assert!(said.contains("store give-up-secrets"), "{said}");
        assert!(!key.exists(), "no new key");
    }
    std::fs::write(&key, [9; 32]).unwrap();
    let (started, said) = run(&["zone", "list"], &server.data);
    assert!(!started && said.contains("is another than the one"), "{said}");

    std::fs::write(&key, octets).unwrap();
    server.restart();
    assert_eq!(wait(&server, |_| true)["state"], "live");
    let edits =
        json!([{"op": "add", "name": "new", "type": "A", "ttl": 60, "records": ["192.0.2.1"]}]);
    server.api(
        "POST",
        "/v1/change-orders",
        Some(&json!({ "zones": [{ "zone": ZONE, "edits": edits }] })),
    );
    assert!(!server.ask(&format!("new.{ZONE}"), RecordType::A).answers.is_empty());
}

/// Goal: with its secrets given up a zone is held: served with the signatures it has, shown by API,
/// command line, metrics and events; forced off and on again it is signed with new keys.
#[test]
fn secrets_that_are_given_up_leave_the_zone_held_until_it_is_signed_anew() {
    let home = tempfile::tempdir().unwrap();
    let mut server = signed(home.path());
    assert!(server.stop().success());
    std::fs::remove_file(server.data.join("instance.key")).unwrap();
    let (done, said) = run(&["store", "give-up-secrets"], &server.data);
    assert!(done && said.contains("held.test. signing key "), "{said}");
    assert!(said.contains("TSIG key key.held.test. given up"), "{said}");

    server.restart();
    let held = wait(&server, |zone| zone["state"] == "held");
    assert!(held["held_because"].as_str().unwrap().contains("given up"), "{held:#}");
    let status = server.api("GET", &format!("/v1/zones/{ZONE}/dnssec"), None);
    assert!(status["held"]["alarm_at"].is_string(), "{status:#}");
    let mut command = nameplane();
    command.args(["dnssec", "status", ZONE]);
    command.env("NAMEPLANE_SERVER", format!("http://{}", server.http));
    command.env("NAMEPLANE_TOKEN", server.operator_token());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("held since"), "{said}");
    let token = server.operator_token();
    let metrics = server.request("GET", "/metrics", Some(&token), None).unwrap().1;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("nameplane_zones_held 1\n"), "{metrics}");
    let each = format!("nameplane_zone_signatures_expire_seconds{{zone=\"{ZONE}\"}} ");
    assert!(metrics.contains(&each), "{metrics}");
    assert!(server.api("GET", "/v1/tsig-keys", None)["items"].as_array().unwrap().is_empty());
    assert!(rrsigs(&server) > 0, "served with the signatures it has");

    let path = format!("/v1/zones/{ZONE}/dnssec?push=true");
    let forced = json!({"on": false, "force_reason": "the keys are lost"});
    server.api("PUT", &path, Some(&forced));
    server.api("PUT", &path, Some(&json!({"on": true})));
    wait(&server, |zone| zone["state"] == "live");
    assert!(rrsigs(&server) > 0);
    let end = std::time::Instant::now() + PATIENCE;
    while !events(&server).iter().any(|kind| kind == "zone.released") {
        assert!(std::time::Instant::now() < end, "{:?}", events(&server));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for kind in ["secrets.given_up", "zone.held"] {
        assert!(events(&server).iter().any(|happened| happened == kind), "{kind}");
    }
}

/// Signatures in the answer to a question for the SOA.
fn rrsigs(server: &Server) -> usize {
    let port = server.dns.port().to_string();
    let words = ["@127.0.0.1", "-p", &port, ZONE, "SOA", "+dnssec", "+noall", "+answer"];
    let output = Command::new("dig").args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().matches("RRSIG").count()
}
