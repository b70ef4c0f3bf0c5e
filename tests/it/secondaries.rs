//! Secondaries from outside: told of changes, asked what they serve, told apart.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, nameplane};
use crate::tsig::{self, Key};

/// What a secondary does with a question. All acknowledge NOTIFY but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Answers as the primary does.
    Follows,
    /// Has an older serial.
    Lags,
    /// Does not know the zone.
    IsLame,
    /// Has the serial, and another address.
    Lies,
    /// Says nothing at all.
    IsSilent,
    /// Follows, and refuses NOTIFY.
    Refuses,
    /// Follows, and does not hear the first two NOTIFY of a version.
    HearsBadly,
    /// Answers for the zone as it was, whatever becomes of it.
    Keeps,
    /// Follows, and leaves signatures out.
    Unsigns,
    /// Follows, and loses six of seven questions about addresses.
    LosesQuestions,
}

/// A server in this process that only pretends.
struct Pretender {
    address: SocketAddr,
    /// The serials it was told of, with the time.
    told: Arc<Mutex<Vec<(u32, Instant)>>>,
    /// What it heard that was not signed with its key.
    unsigned: Arc<Mutex<usize>>,
    /// How often it was asked something.
    asked: Arc<Mutex<usize>>,
}

impl Pretender {
    fn start(habit: Habit, primary: SocketAddr) -> Pretender {
        Pretender::with_key(habit, primary, None)
    }

    /// One that stands where no name server of a zone does.
    fn elsewhere(habit: Habit, primary: SocketAddr) -> Pretender {
        Pretender::at("127.0.0.3", habit, primary, None)
    }

    /// One that takes what is signed with `key`, and answers signed.
    fn with_key(habit: Habit, primary: SocketAddr, key: Option<Key>) -> Pretender {
        Pretender::at("127.0.0.1", habit, primary, key)
    }

    fn at(ip: &str, habit: Habit, primary: SocketAddr, key: Option<Key>) -> Pretender {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        let unsigned = Arc::new(Mutex::new(0));
        let strangers = Arc::clone(&unsigned);
        let asked = Arc::new(Mutex::new(0));
        let questions = Arc::clone(&asked);
        std::thread::spawn(move || {
            let (mut buffer, mut kept, mut lossy) = ([0; 4096], None, 0);
            while let Ok((len, client)) = socket.recv_from(&mut buffer) {
                let (query, record) = tsig::split(&buffer[..len]);
                let signed = |key: &Key| {
                    record.as_ref().is_some_and(|record| tsig::is_of_request(key, &query, record))
                };
                if !key.as_ref().is_none_or(signed) {
                    *strangers.lock().unwrap() += 1;
                    continue;
                }
                let message = Message::from_vec(&query).unwrap();
                if message.metadata.op_code == OpCode::Notify {
                    notes.lock().unwrap().push((serial_of(&message).unwrap(), Instant::now()));
                } else {
                    *questions.lock().unwrap() += 1;
                }
                let mut heard = latest(&notes.lock().unwrap()).len();
                if habit == Habit::LosesQuestions && asks_for_address(&message) {
                    lossy += 1;
                    heard = lossy;
                }
                let reply = habit.answers(&message, &query, heard, primary);
                let kept = || habit.keeps(&message, &query, primary, &mut kept);
                let Some(mut reply) = reply.or_else(kept) else { continue };
                if let (Some(key), Some(record)) = (&key, &record) {
                    let record = tsig::answer(key, &record.mac, &reply);
                    tsig::append(&mut reply, &record);
                }
                let _ = socket.send_to(&reply, client);
            }
        });
        Pretender { address, told, unsigned, asked }
    }

    fn serials(&self) -> Vec<u32> {
        self.told.lock().unwrap().iter().map(|(serial, _)| *serial).collect()
    }
}

/// When it was told of the version it was told of last. Of the one before it may have been told too: it
/// was added within a moment of the zone.
fn latest(told: &[(u32, Instant)]) -> Vec<Instant> {
    let last = told.last().map(|(serial, _)| *serial);
    told.iter().filter(|(serial, _)| Some(*serial) == last).map(|(_, at)| *at).collect()
}

impl Habit {
    fn answers(
        self,
        message: &Message,
        query: &[u8],
        heard: usize,
        primary: SocketAddr,
    ) -> Option<Vec<u8>> {
        if matches!(self, Habit::IsSilent | Habit::Keeps) {
            return None;
        }
        if message.metadata.op_code == OpCode::Notify {
            let mut reply = query.to_vec();
            reply[2] |= 0x80;
            reply[3] = if self == Habit::Refuses { 5 } else { 0 };
            return (self != Habit::HearsBadly || heard > 2).then_some(reply);
        }
        let mut query = query.to_vec();
        if self == Habit::Unsigns {
            // The OPT stands last, and has no options: the octet of DO.
            let at = query.len() - 4;
            query[at] &= 0x7F;
        }
        if self == Habit::LosesQuestions && asks_for_address(message) {
            // Here `heard` counts them.
            (heard.is_multiple_of(7)).then_some(())?;
        }
        let mut reply = asked(primary, &query)?;
        match self {
            Habit::Lags => {
                if let Some(serial) = serial_of(&Message::from_vec(&reply).unwrap()) {
                    swap(&mut reply, &serial.to_be_bytes(), &(serial - 1).to_be_bytes());
                }
            }
            Habit::IsLame => {
                reply = query;
                (reply[2], reply[3]) = (0x80, 5);
            }
            Habit::Lies => swap(&mut reply, &[192, 0, 2, 80], &[192, 0, 2, 66]),
            _ => {}
        }
        Some(reply)
    }

    /// The SOA it got first, for as long as it is asked for one.
    fn keeps(
        self,
        message: &Message,
        query: &[u8],
        primary: SocketAddr,
        kept: &mut Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        if self != Habit::Keeps || message.metadata.op_code == OpCode::Notify {
            return None;
        }
        let fresh = asked(primary, query).filter(|reply| reply[3] & 15 == 0);
        *kept = kept.take().or(fresh);
        let mut reply = kept.clone()?;
        reply[..2].copy_from_slice(&query[..2]);
        Some(reply)
    }
}

fn asks_for_address(message: &Message) -> bool {
    message.queries.iter().any(|query| query.query_type() == RecordType::A)
}

/// What the primary says; nothing while it is away.
fn asked(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(server).unwrap();
    socket.send(query).ok()?;
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

fn swap(octets: &mut [u8], old: &[u8], new: &[u8]) {
    if let Some(at) = octets.windows(old.len()).position(|window| window == old) {
        octets[at..at + new.len()].copy_from_slice(new);
    }
}

fn serial_of(message: &Message) -> Option<u32> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// A zone whose one name server is at the address of the server and of all pretenders.
fn make_zone(server: &Server, apex: &str) {
    let file = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nns 60 A 127.0.0.1\nwww 300 A 192.0.2.1\n";
    let item = json!({"kind": "zone_create", "zone": apex, "zone_file": file});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
}

fn add(server: &Server, name: &str, address: SocketAddr) {
    let body = json!({"name": name, "addresses": [address.to_string()]});
    server.api("POST", "/v1/secondaries", Some(&body));
}

/// Gives `www` another address; the order.
fn change(server: &Server, apex: &str, address: &str) -> Value {
    let edit =
        json!({"op": "replace", "name": "www", "type": "A", "ttl": 60, "records": [address]});
    let item = json!({"kind": "dns_change", "zone": apex, "edits": [edit]});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
}

/// What is known of the server of this name; null while that is nothing.
fn row(server: &Server, apex: &str, name: &str) -> Value {
    let shown = server.api("GET", &format!("/v1/zones/{apex}/servers"), None);
    let servers = shown["servers"].as_array().unwrap();
    let named = |row: &&Value| row["names"].as_array().unwrap().contains(&json!(name));
    servers.iter().find(named).cloned().unwrap_or_default()
}

/// Its state; empty while nothing is known of it.
fn state(server: &Server, apex: &str, name: &str) -> String {
    row(server, apex, name)["state"].as_str().unwrap_or_default().to_owned()
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = server.api("GET", "/metrics", None);
    let text = text.as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// Deletes a zone; the order.
fn delete(server: &Server, apex: &str) -> Value {
    let item = json!({"kind": "zone_delete", "zone": apex});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
}

fn shown(server: &Server, order: &Value) -> Value {
    server.api("GET", &format!("/v1/orders/{}", order["id"].as_str().unwrap()), None)
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Goal: a lagging, a lame, a lying and a silent secondary are told apart, and none of them passes for
/// one that serves.
/// Method: pretenders that pass questions on to the primary and spoil the answers.
#[test]
fn secondaries_that_do_not_serve_a_change_are_told_apart() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let habits = [
        ("follows", Habit::Follows, "ok"),
        ("lags", Habit::Lags, "behind"),
        ("lame", Habit::IsLame, "lame"),
        ("lies", Habit::Lies, "tampered"),
        ("silent", Habit::IsSilent, "unreachable"),
    ];
    let pretenders = habits.map(|(name, habit, _)| {
        let pretender = Pretender::start(habit, server.dns);
        add(&server, name, pretender.address);
        pretender
    });

    let order = change(&server, "x.example.", "192.0.2.80");
    for (name, _, expected) in habits {
        wait_for(&format!("{name} is {expected}"), || {
            state(&server, "x.example.", name) == expected
        });
    }

    let serial = order["receipt"]["zones"][0]["serial_to"].as_u64().unwrap() as u32;
    for pretender in &pretenders {
        assert!(pretender.serials().contains(&serial), "it was not told");
    }
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(server.api("GET", &path, None)["state"], "served");
}

/// Goal: lost packets do not keep a server that has all of a change from being seen with it.
/// Method: three RRsets change; of seven questions about them the server hears one.
#[test]
fn who_loses_questions_is_asked_again_until_everything_was_seen() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let pretender = Pretender::start(Habit::LosesQuestions, server.dns);
    add(&server, "loses", pretender.address);
    let edits: Vec<_> = (0..3)
        .map(|n| {
            let name = format!("a{n}");
            json!({"op": "replace", "name": name, "type": "A", "ttl": 60, "records": ["192.0.2.9"]})
        })
        .collect();
    let item = json!({"kind": "dns_change", "zone": "x.example.", "edits": edits});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    wait_for("all was seen", || {
        let state = state(&server, "x.example.", "loses");
        assert!(!["tampered", "lame"].contains(&state.as_str()), "{state}");
        state == "ok"
    });
}

/// Goal: why a server cannot be reached is said, of questions and of NOTIFY.
/// Method: nobody listens at the port of the secondary.
#[test]
fn who_cannot_be_reached_is_shown_with_the_cause() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    add(&server, "closed", closed);
    change(&server, "x.example.", "192.0.2.80");
    wait_for("the cause is shown", || {
        let row = row(&server, "x.example.", "closed");
        let refused = |text: &Value| text.as_str().is_some_and(|it| it.contains("refused"));
        refused(&row["detail"]) && refused(&row["notify"]["detail"])
    });
}

/// Goal: of a signed zone the signatures are compared too: without them resolvers call it bogus.
/// Method: two follow, of which one leaves signatures out; the zone is signed, then changed.
#[test]
fn a_secondary_that_leaves_signatures_out_is_told_apart() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let follows = Pretender::start(Habit::Follows, server.dns);
    let unsigns = Pretender::start(Habit::Unsigns, server.dns);
    add(&server, "follows", follows.address);
    add(&server, "unsigns", unsigns.address);
    change(&server, "x.example.", "192.0.2.79");
    wait_for("nothing is signed yet", || state(&server, "x.example.", "unsigns") == "ok");

    let on = json!({"on": true});
    server.api("PUT", "/v1/zones/x.example./dnssec?push=true", Some(&on));
    let order = change(&server, "x.example.", "192.0.2.80");
    wait_for("it is seen", || state(&server, "x.example.", "unsigns") == "tampered");
    wait_for("the other is good", || state(&server, "x.example.", "follows") == "ok");
    let detail = row(&server, "x.example.", "unsigns")["detail"].to_string();
    assert!(detail.contains("differs from what is here"), "{detail}");
    assert_eq!(shown(&server, &order)["receipt"]["confirmed_at"], Value::Null);
}

/// Goal: who is only to be told is told, never asked, and not waited for.
/// Method: one that would be found behind if anybody asked, beside one that follows.
#[test]
fn a_server_that_is_only_to_be_told_is_never_asked() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let follows = Pretender::start(Habit::Follows, server.dns);
    let watcher = Pretender::elsewhere(Habit::Lags, server.dns);
    add(&server, "follows", follows.address);
    let mut only_told = nameplane();
    only_told.args(["secondary", "add", "watcher", &watcher.address.to_string(), "--no-probe"]);
    only_told.env("NAMEPLANE_SERVER", format!("http://{}", server.http));
    assert!(only_told.env("NAMEPLANE_TOKEN", server.operator_token()).status().unwrap().success());

    let order = change(&server, "x.example.", "192.0.2.80");
    let serial = order["receipt"]["zones"][0]["serial_to"].as_u64().unwrap() as u32;
    wait_for("it is told", || watcher.serials().contains(&serial));
    wait_for("it is shown by its name", || {
        row(&server, "x.example.", "watcher")["notify"]["state"] == "acknowledged"
    });
    wait_for("nobody waits for it", || shown(&server, &order)["state"] == "confirmed");
    assert_eq!(*watcher.asked.lock().unwrap(), 0);
    assert!(*follows.asked.lock().unwrap() > 0);
}

/// Goal: an order is confirmed when every server of its zone serves it, and says when old answers end.
/// Method: two that follow and one that lies; the liar is taken away.
#[test]
fn an_order_is_confirmed_when_it_is_served_everywhere() {
    let mut server = Server::start();
    make_zone(&server, "x.example.");
    let one = Pretender::start(Habit::Follows, server.dns);
    let liar = Pretender::start(Habit::Lies, server.dns);
    add(&server, "one", one.address);
    add(&server, "liar", liar.address);
    let order = change(&server, "x.example.", "192.0.2.80");
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    wait_for("the liar is seen", || state(&server, "x.example.", "liar") == "tampered");
    assert_eq!(server.api("GET", &path, None)["receipt"]["confirmed_at"], Value::Null);

    // What an order waits for is not forgotten over a restart.
    assert!(server.stop().success());
    server.restart();
    server.api("DELETE", "/v1/secondaries/liar", None);
    server.api("POST", "/v1/zones/x.example./servers/look", None);

    wait_for("the order is confirmed", || server.api("GET", &path, None)["state"] == "confirmed");
    let shown = server.api("GET", &path, None);
    let at = |key: &str| shown["receipt"][key].as_str().unwrap().to_owned();
    assert!(at("served_at") <= at("confirmed_at"), "{shown:#}");
    let (confirmed, gone) = (seconds(&at("confirmed_at")), seconds(&at("old_gone_at")));
    assert_eq!(
        (gone - confirmed).rem_euclid(86_400),
        300,
        "the TTL of what was replaced: {shown:#}"
    );
    // Whoever asks for a look has all of them asked once more.
    wait_for("the servers say so too", || {
        server.api("GET", &path, None)["servers"][0]["everywhere_at"].is_string()
    });
}

/// Seconds of the day in a time.
fn seconds(text: &str) -> i64 {
    let time = text.split('T').nth(1).unwrap();
    let part = |at: usize| time[at..at + 2].parse::<i64>().unwrap();
    part(0) * 3600 + part(3) * 60 + part(6)
}

/// Goal: a burst of changes is not a burst of NOTIFY.
/// Method: 200 changes one after the other; the secondary counts, and knows the last serial.
#[test]
fn a_burst_of_changes_is_told_once_a_second_and_ends_with_the_last() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let one = Pretender::start(Habit::Follows, server.dns);
    add(&server, "one", one.address);
    let began = Instant::now();
    let mut last = 0;
    for n in 0..200 {
        let order = change(&server, "x.example.", &format!("192.0.2.{}", n % 250 + 1));
        last = order["receipt"]["zones"][0]["serial_to"].as_u64().unwrap() as u32;
    }
    wait_for("the last serial is told", || one.serials().last() == Some(&last));
    let count = one.serials().len() as u64;
    let seconds = began.elapsed().as_secs();
    assert!(count <= seconds + 2, "{count} NOTIFY in {seconds} s");
}

/// Goal: what the operator did not allow is not talked to, whatever a zone lists.
/// Method: the prefix of one of two pretenders is allowed; both are listed.
#[test]
fn nobody_is_talked_to_whom_the_operator_did_not_allow() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    std::fs::write(&file, "[net]\ndial = [\"127.0.0.2/32\"]\n").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()]);
    make_zone(&server, "x.example.");
    let shut = Pretender::start(Habit::Follows, server.dns);
    add(&server, "shut", shut.address);
    change(&server, "x.example.", "192.0.2.80");
    wait_for("it is known", || state(&server, "x.example.", "shut") == "unreachable");
    let shown = server.api("GET", "/v1/zones/x.example./servers", None);
    let text = shown.to_string();
    assert!(text.contains("is not among the prefixes of [net] dial"), "{shown:#}");
    assert!(shut.serials().is_empty(), "it was told all the same");
}

/// Goal: a name server that is this very server needs no leave to be asked, and its order is confirmed.
/// Method: loopback, where it listens, is none of the prefixes that may be talked to.
#[test]
fn its_own_address_is_asked_whomever_the_operator_allows() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    std::fs::write(&file, "[net]\ndial = []\n").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()]);
    make_zone(&server, "x.example.");
    change(&server, "x.example.", "192.0.2.80");
    wait_for("it is asked", || {
        let state = state(&server, "x.example.", "ns.x.example.");
        assert_ne!(state, "unreachable");
        state == "ok"
    });
}

/// Goal: NOTIFY and questions are signed with the secondary's key, and only signed answers count.
/// Method: a secondary that checks with code of its own; the other has another secret.
#[test]
fn rfc8945_notify_is_signed_with_the_secondarys_key_and_so_is_its_acknowledgement() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let key = tsig::make_key(&server, "k.", &json!({}));
    let wrong = Key { secret: b"another secret of enough octets!".to_vec(), ..key.clone() };
    let one = Pretender::with_key(Habit::Follows, server.dns, Some(key));
    let other = Pretender::with_key(Habit::Follows, server.dns, Some(wrong));
    let unsigned = Pretender::start(Habit::Follows, server.dns);
    for (name, pretender) in [("one", &one), ("other", &other)] {
        let body = json!({"name": name, "addresses": [pretender.address.to_string()], "key": "k."});
        server.api("POST", "/v1/secondaries", Some(&body));
    }
    add(&server, "unsigned", unsigned.address);

    change(&server, "x.example.", "192.0.2.80");

    for name in ["one", "unsigned"] {
        wait_for("it acknowledges", || {
            row(&server, "x.example.", name)["notify"]["state"] == "acknowledged"
                && state(&server, "x.example.", name) == "ok"
        });
    }
    assert_eq!(*one.unsigned.lock().unwrap(), 0);
    wait_for("it does not believe us", || state(&server, "x.example.", "other") == "unreachable");
    assert!(other.serials().is_empty() && *other.unsigned.lock().unwrap() > 0);
    assert_ne!(row(&server, "x.example.", "other")["notify"]["state"], "acknowledged");
}

/// Goal: who does not acknowledge is told again, ever later, and one can see how it stands.
/// Method: one that does not hear the first two, and one that refuses.
#[test]
fn rfc1996_3_6_a_notify_is_sent_again_until_it_is_acknowledged_and_its_state_is_shown() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    let slow = Pretender::start(Habit::HearsBadly, server.dns);
    let shut = Pretender::start(Habit::Refuses, server.dns);
    add(&server, "slow", slow.address);
    add(&server, "shut", shut.address);
    let order = change(&server, "x.example.", "192.0.2.80");
    let serial = order["receipt"]["zones"][0]["serial_to"].clone();

    let told = |name: &str| row(&server, "x.example.", name)["notify"].clone();
    // Before the first time it waits too.
    wait_for("it waits to be told again, and why", || {
        let told = told("slow");
        told["state"] == "waiting" && told["detail"].is_string()
    });
    wait_for("it acknowledges", || told("slow")["state"] == "acknowledged");
    assert_eq!((told("slow")["attempts"].clone(), &told("slow")["serial"]), (json!(3), &serial));
    assert_eq!(told("slow")["detail"], Value::Null);
    let times = latest(&slow.told.lock().unwrap());
    let pauses = [times[1] - times[0], times[2] - times[1]];
    assert!(pauses[0] >= Duration::from_secs(2) && pauses[1] > pauses[0], "{pauses:?}");

    let refusal = told("shut");
    assert!(refusal["detail"].as_str().unwrap().contains("REFUSED"), "{refusal}");
    assert!(metric(&server, "nameplane_notifies_out_total{result=\"failed\"}") >= 4);
    assert!(metric(&server, "nameplane_notifies_out_total{result=\"acknowledged\"}") >= 1);
}

/// Goal: an order that deletes a zone is served everywhere once no secondary answers for it any more.
/// Method: one secondary that follows, and one that keeps the zone and is asked on.
#[test]
fn a_deleted_zone_is_served_everywhere_once_no_secondary_answers_for_it() {
    let mut server = Server::start();
    make_zone(&server, "x.example.");
    make_zone(&server, "y.example.");
    let one = Pretender::start(Habit::Follows, server.dns);
    add(&server, "one", one.address);
    change(&server, "x.example.", "192.0.2.80");
    wait_for("it serves the zone", || state(&server, "x.example.", "one") == "ok");

    let order = delete(&server, "x.example.");
    wait_for("the end is everywhere", || shown(&server, &order)["state"] == "confirmed");
    let receipt = shown(&server, &order)["receipt"].clone();
    let at = |key: &str| seconds(receipt[key].as_str().unwrap());
    // `www` had 60 by then, and so has everything else; its TTL before counts for the order before.
    assert_eq!((at("old_gone_at") - at("confirmed_at")).rem_euclid(86_400), 60, "{receipt:#}");

    let keeper = Pretender::start(Habit::Keeps, server.dns);
    add(&server, "keeper", keeper.address);
    change(&server, "y.example.", "192.0.2.80");
    wait_for("it has the zone", || !state(&server, "y.example.", "keeper").is_empty());
    let order = delete(&server, "y.example.");
    let standing = |name: &str| {
        let order = shown(&server, &order);
        let rows = order["servers"][0]["servers"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["names"] == json!([name]));
        row.map_or(Value::Null, |row| row["state"].clone())
    };
    wait_for("it is seen to keep it", || standing("keeper") == "behind");
    wait_for("the other does not", || standing("one") == "ok");
    assert_eq!(shown(&server, &order)["state"], "served");

    // What is waited for is not forgotten over a restart, and ends with the secondary.
    assert!(server.stop().success());
    server.restart();
    server.api("DELETE", "/v1/secondaries/keeper", None);
    wait_for("the end is everywhere", || shown(&server, &order)["state"] == "confirmed");
}

#[test]
fn an_order_that_replaces_a_zone_says_when_old_answers_end() {
    let server = Server::start();
    make_zone(&server, "x.example.");
    // More RRsets than are reported one by one; the longest TTL is that of a single one.
    let file = |ttl: u32, octet: u32| {
        let hosts: String = (0..1_500)
            .map(|n| format!("h{n} {} A 192.0.2.{octet}\n", if n == 7 { ttl } else { 60 }))
            .collect();
        format!("@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nns 60 A 127.0.0.1\n{hosts}")
    };
    let import = |text: String| {
        let item = json!({"kind": "zone_import", "zone": "x.example.", "zone_file": text});
        server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})))
    };
    import(file(4_321, 1));

    let order = import(file(60, 2));

    wait_for("it is everywhere", || shown(&server, &order)["state"] == "confirmed");
    let receipt = shown(&server, &order)["receipt"].clone();
    let at = |key: &str| seconds(receipt[key].as_str().unwrap());
    assert_eq!((at("old_gone_at") - at("confirmed_at")).rem_euclid(86_400), 4_321, "{receipt:#}");
}

/// Goal: a name server that is down for good does not keep orders waiting for ever, and somebody
/// has said so.
/// Method: a zone lists a server that no longer answers, and one that nobody gives an address.
#[test]
fn a_server_that_is_down_for_good_is_waived_by_name_and_with_a_reason() {
    let server = Server::start();
    let file = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\n@ 60 NS dead\n@ 60 NS ns.nowhere.test.\n\
        ns 60 A 127.0.0.1\ndead 60 A 127.0.0.77\nwww 60 A 192.0.2.1\n";
    let item = json!({"kind": "zone_create", "zone": "x.example.", "zone_file": file});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    let order = change(&server, "x.example.", "192.0.2.80");
    wait_for("it is seen dead", || {
        state(&server, "x.example.", "dead.x.example.") == "unreachable"
    });
    assert_eq!(shown(&server, &order)["state"], "served");

    let path = |name: &str| format!("/v1/zones/x.example./servers/waivers/{name}");
    let token = server.operator_token();
    for (name, body) in
        [("other.x.example.", json!({"reason": "x"})), ("dead.x.example.", json!({"reason": " "}))]
    {
        let (status, _) = server.request("PUT", &path(name), Some(&token), Some(&body)).unwrap();
        assert_eq!(status, 422, "{name} {body}");
    }
    let waive = |name: &str| {
        let command = nameplane()
            .args(["zone", "waive", "x.example", name, "--reason", "switched off"])
            .args(["--server", &format!("http://{}", server.http), "--token", &token])
            .output()
            .unwrap();
        assert!(command.status.success(), "{command:?}");
    };
    waive("DEAD.x.example");
    assert_eq!(row(&server, "x.example.", "dead.x.example.")["state"], "unreachable");
    waive("ns.nowhere.test.");

    wait_for("the order is confirmed", || shown(&server, &order)["state"] == "confirmed");
    let listed = server.api("GET", "/v1/zones/x.example./servers/waivers", None);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(listed["items"][0]["reason"], "switched off");
    assert_eq!(row(&server, "x.example.", "ns.nowhere.test.")["waived"], true);
    let events = server.api("GET", "/v1/events?limit=100", None).to_string();
    assert!(events.contains("server.waived"), "{events}");

    server.api("DELETE", &path("dead.x.example."), None);
    let order = change(&server, "x.example.", "192.0.2.81");
    wait_for("it is waited for again", || {
        let row = row(&server, "x.example.", "dead.x.example.");
        row["state"] == "unreachable" && row["waived"] == false
    });
    assert_eq!(shown(&server, &order)["state"], "served");
}
