//! A clock that is wrong when the server starts: noticed, said, and nothing signed by it.
//!
//! By hand in this process, where years have to pass; with the real server, whose store is told that
//! the clock showed another time before.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use nameplane::sign::Denial;
use nameplane::store::{Options, Rows, Store, Table};
use nameplane::wire::Type;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, nameplane};
use crate::signing::{DAY_S, SMALL, World, edit, key, name, parsed, plan_of, put, small};

const YEARS_S: u64 = 3650 * DAY_S;

/// Why a change of the zone is refused.
fn refusal(world: &World) -> String {
    let apex = name("small.test.");
    let changed = vec![put("www.small.test.", Type::A, 300, "192.0.2.77")];
    let reasons = world.apply(&[edit(&apex, changed)]).unwrap_err();
    reasons[0].to_string()
}

#[test]
fn a_start_with_a_clock_far_behind_signs_nothing_until_it_is_right() {
    let (mut world, apex, _) = small(Denial::Nsec);
    world.maintain.keep_clock();
    let text = world.text(&apex);
    world.set_clock(-YEARS_S.cast_signed());
    world.restart();
    assert!(refusal(&world).contains("seconds behind"), "{}", refusal(&world));
    let doubt = world.maintain.clock_doubt().unwrap().to_string();
    assert!(doubt.contains("behind what it showed before"), "{doubt}");
    assert!(doubt.contains("nameplane dnssec clock --is-right"), "{doubt}");
    world.upkeep();
    assert_eq!(world.text(&apex), text);

    world.set_clock(YEARS_S.cast_signed());
    assert_eq!(world.maintain.clock_doubt(), None, "no restart is needed");
    world.apply(&[edit(&apex, vec![put("www.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    world.verified(&apex);
}

#[test]
fn a_start_with_a_clock_years_ahead_signs_nothing_and_holds_what_is_due() {
    let (mut world, apex, _) = small(Denial::Nsec3 { opt_out: false });
    world.maintain.keep_clock();
    let (text, due_s) = (world.text(&apex), world.signing(&apex).due_s);
    world.set_clock(YEARS_S.cast_signed());
    world.restart();
    assert!(refusal(&world).contains("ahead of when the server last ran"), "{}", refusal(&world));
    world.upkeep();
    assert_eq!(world.hold(&apex), None, "by no clock is anything due yet");
    world.pass(due_s - (world.now_s() - YEARS_S) + 10);
    world.upkeep();
    assert!(world.hold(&apex).unwrap().why.contains("ahead of when"), "{:?}", world.hold(&apex));
    assert_eq!(world.text(&apex), text);
    world.maintain.keep_clock();
    world.restart();
    assert!(world.maintain.clock_doubt().is_some(), "what is doubted is not kept as true");

    world.set_clock(-YEARS_S.cast_signed());
    assert_eq!(world.maintain.clock_doubt(), None);
    world.pass(600);
    world.upkeep();
    world.maintain.look_at_holds().unwrap();
    assert_eq!(world.hold(&apex), None);
    world.verified(&apex);
}

#[test]
fn a_server_that_was_off_for_years_goes_on_when_an_operator_says_that_its_clock_is_right() {
    let (mut world, apex, _) = small(Denial::Nsec);
    world.maintain.keep_clock();
    world.pass(YEARS_S);
    world.restart();
    assert!(world.maintain.clock_doubt().is_some());
    world.maintain.believe_clock(|_| Ok(())).unwrap();
    assert_eq!(world.maintain.clock_doubt(), None);
    world.upkeep();
    world.verified(&apex);
    world.restart();
    assert_eq!(world.maintain.clock_doubt(), None, "the word is kept");
}

/// Goal: a machine off for a month needs nobody if whoever keeps its clock synchronised that since; until
/// then nothing is signed.
#[test]
fn a_server_that_was_off_for_long_goes_on_by_itself_once_its_clock_is_synchronised() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("synchronised");
    let touch = |us: u64| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(us);
        std::fs::File::create(&file).unwrap().set_modified(at).unwrap();
    };
    let (mut world, apex, _) = small(Denial::Nsec);
    world.synchronised = Some(file.clone());
    world.maintain.keep_clock();
    touch(world.us.load(Ordering::Relaxed));
    world.pass(30 * DAY_S);
    world.restart();
    let doubt = world.maintain.clock_doubt().unwrap().to_string();
    assert!(doubt.contains("ahead of when the server last ran"), "synchronised long ago: {doubt}");
    assert!(refusal(&world).contains("ahead of when"), "{}", refusal(&world));

    touch(world.us.load(Ordering::Relaxed));
    assert_eq!(world.maintain.clock_doubt(), None, "no restart is needed");
    world.upkeep();
    world.verified(&apex);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(world.maintain.clock_doubt(), None, "once trusted it goes on");

    // It says nothing for a clock that is behind what was shown before, or is set meanwhile.
    world.set_clock(3 * DAY_S.cast_signed());
    touch(world.us.load(Ordering::Relaxed));
    let doubt = world.maintain.clock_doubt().unwrap().to_string();
    assert!(doubt.contains("set by"), "{doubt}");
    world.set_clock(-YEARS_S.cast_signed());
    touch(world.us.load(Ordering::Relaxed));
    world.restart();
    let doubt = world.maintain.clock_doubt().unwrap().to_string();
    assert!(doubt.contains("behind"), "{doubt}");
}

/// Goal: a machine off over a week end needs nobody.
#[test]
fn a_server_that_was_off_for_some_days_starts_as_ever() {
    let (mut world, apex, _) = small(Denial::Nsec);
    world.maintain.keep_clock();
    world.pass(6 * DAY_S);
    world.restart();
    assert_eq!(world.maintain.clock_doubt(), None);
    world.upkeep();
    world.verified(&apex);
}

/// Goal: what a clock that was ahead signed for a time yet to come is signed for the present.
#[test]
fn what_was_signed_by_a_clock_that_was_ahead_is_signed_anew_once_it_is_believed() {
    let (mut world, apex) = (World::new(), name("small.test."));
    world.set_clock(YEARS_S.cast_signed());
    world.create(&apex, parsed(&apex, SMALL));
    let csk = key(nameplane::sign::Algorithm::EcdsaP256, 257);
    world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    world.maintain.keep_clock();

    world.set_clock(-YEARS_S.cast_signed());
    world.restart();
    let doubt = world.maintain.clock_doubt().unwrap().to_string();
    assert!(doubt.contains("behind what it showed before"), "{doubt}");
    world.maintain.believe_clock(|_| Ok(())).unwrap();
    world.upkeep();
    world.verified(&apex);
    assert!(world.signing(&apex).first_expiry_s < world.now_s() + 30 * DAY_S);
    world.apply(&[edit(&apex, vec![put("www.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    world.verified(&apex);
}

/// Goal: a new machine whose clock begins at 1970 signs nothing, whoever says that it is right.
#[test]
fn a_clock_older_than_the_release_is_never_right() {
    let world = World::new();
    let apex = name("small.test.");
    world.create(&apex, parsed(&apex, SMALL));
    let csk = key(nameplane::sign::Algorithm::EcdsaP256, 257);
    world.us.store(1_000_000, std::sync::atomic::Ordering::Relaxed);
    let reasons = world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap_err();
    assert!(reasons[0].to_string().contains("clock is"), "{reasons:?}");
    assert!(world.maintain.believe_clock(|_| Ok(())).is_err());
}

/// The newest moment that the clock showed while it was trusted, in microseconds since 1970.
const NEWEST: Table<(), u64> = Table::new("clock", *b"ck");

fn shift_newest(data: &Path, by_s: i64) {
    let store = Store::open(&Options::new(data)).unwrap();
    let newest = store.read(|rows| rows.get(&NEWEST, &())).unwrap().expect("it is kept");
    let moved = newest.saturating_add_signed(by_s * 1_000_000);
    store.transact(|tx| tx.put(&NEWEST, &(), &moved)).unwrap();
}

fn events(server: &Server) -> Vec<String> {
    let page = server.api("GET", "/v1/events?limit=1000", None);
    let events = page["items"].as_array().unwrap().iter();
    events.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// Waits for the `count`th event of a kind.
fn comes(server: &Server, kind: &str, count: usize) {
    let end = std::time::Instant::now() + PATIENCE;
    while events(server).iter().filter(|event| *event == kind).count() < count {
        assert!(std::time::Instant::now() < end, "{:?}\n{}", events(server), server.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn metric(server: &Server) -> bool {
    let token = server.operator_token();
    let (status, text) = server.request("GET", "/metrics", Some(&token), None).unwrap();
    assert_eq!(status, 200);
    text.as_str().unwrap().contains("\nnameplane_clock_doubted 1\n")
}

/// Goal: an operator sees from every side that the clock is doubted and why, and one word ends it.
#[test]
fn a_doubted_clock_is_told_and_an_operator_settles_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let config = home.path().join("server.toml");
    let touched = home.path().join("synchronised");
    std::fs::write(&config, format!("[clock]\nsynchronised = {touched:?}\n")).unwrap();
    let mut server = Server::at(&data, &["--config", config.to_str().unwrap()]);
    let zone = "clock.test.";
    let file = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
    let order = |server: &Server, item: Value| {
        let body = json!({ "items": [item] });
        let token = server.operator_token();
        server.request("POST", "/v1/change-orders", Some(&token), Some(&body)).unwrap()
    };
    let edits =
        json!([{"op": "replace", "name": "ns", "type": "A", "ttl": 60, "records": ["127.0.0.2"]}]);
    let change = json!({"kind": "dns_change", "zone": zone, "edits": edits});
    for item in [
        json!({"kind": "zone_import", "zone": zone, "zone_file": file}),
        json!({"kind": "dnssec_set", "zone": zone, "on": true}),
    ] {
        assert!(order(&server, item).0 < 300);
    }
    let cli = |words: &[&str]| {
        let output = nameplane().args(words).arg("--data-dir").arg(&data).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let years_s = YEARS_S.cast_signed();
    for (n, (by_s, why)) in
        [(years_s, "behind what it showed"), (-years_s, "ahead of when")].into_iter().enumerate()
    {
        server.stop();
        shift_newest(&data, by_s);
        server.restart();
        let (status, said) = order(&server, change.clone());
        assert!(status >= 400 && said.to_string().contains(why), "{status} {said:#}");
        let shown = server.api("GET", &format!("/v1/zones/{zone}/dnssec"), None);
        assert!(shown["fault"].as_str().is_some_and(|fault| fault.contains(why)), "{shown:#}");
        let clock = server.api("GET", "/v1/dnssec/clock", None);
        assert!(clock["doubt"].as_str().is_some_and(|doubt| doubt.contains(why)), "{clock:#}");
        server.logs(why);
        comes(&server, "clock.doubted", n + 1);
        assert!(metric(&server));

        server.stop();
        let said = cli(&["dnssec", "clock"]);
        assert!(said.contains(why), "{said}");
        let said = cli(&["dnssec", "clock", "--is-right"]);
        assert!(said.contains("trusted"), "{said}");
        server.restart();
        comes(&server, "clock.trusted", n + 1);
        assert!(!metric(&server));
        let octet = 10 + n;
        let mut change = change.clone();
        change["edits"][0]["records"][0] = json!(format!("127.0.0.{octet}"));
        let (status, said) = order(&server, change);
        assert!(status < 300, "{status} {said:#}");
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let shown = server.api("GET", &format!("/v1/zones/{zone}/dnssec"), None);
            if shown["fault"].is_null() && shown["held"].is_null() {
                break;
            }
            assert!(std::time::Instant::now() < end, "{shown:#}\n{}", server.log());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    // Once more off for years: nobody has to say anything where the clock is synchronised.
    server.stop();
    shift_newest(&data, -years_s);
    std::fs::write(&touched, []).unwrap();
    server.restart();
    server.logs("it is synchronised");
    assert!(server.api("GET", "/v1/dnssec/clock", None)["doubt"].is_null());
    assert!(order(&server, change).0 < 300);
}
