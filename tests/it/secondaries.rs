//! Secondaries from outside: told of changes, asked what they serve, told apart.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::RData;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server};

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
}

/// A server in this process that only pretends.
struct Pretender {
    address: SocketAddr,
    /// The serials it was told of, with the time.
    told: Arc<Mutex<Vec<(u32, Instant)>>>,
}

impl Pretender {
    fn start(habit: Habit, primary: SocketAddr) -> Pretender {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, client)) = socket.recv_from(&mut buffer) {
                let query = &buffer[..len];
                let message = Message::from_vec(query).unwrap();
                if message.metadata.op_code == OpCode::Notify {
                    notes.lock().unwrap().push((serial_of(&message).unwrap(), Instant::now()));
                }
                if let Some(reply) = habit.answers(&message, query, primary) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Pretender { address, told }
    }

    fn serials(&self) -> Vec<u32> {
        self.told.lock().unwrap().iter().map(|(serial, _)| *serial).collect()
    }
}

impl Habit {
    fn answers(self, message: &Message, query: &[u8], primary: SocketAddr) -> Option<Vec<u8>> {
        if self == Habit::IsSilent {
            return None;
        }
        if message.metadata.op_code == OpCode::Notify {
            let mut reply = query.to_vec();
            reply[2] |= 0x80;
            return Some(reply);
        }
        let mut reply = asked(primary, query)?;
        match self {
            Habit::Lags => {
                if let Some(serial) = serial_of(&Message::from_vec(&reply).unwrap()) {
                    swap(&mut reply, &serial.to_be_bytes(), &(serial - 1).to_be_bytes());
                }
            }
            Habit::IsLame => {
                reply = query.to_vec();
                (reply[2], reply[3]) = (0x80, 5);
            }
            Habit::Lies => swap(&mut reply, &[192, 0, 2, 80], &[192, 0, 2, 66]),
            Habit::Follows | Habit::IsSilent => {}
        }
        Some(reply)
    }
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

/// The state of the server of this name; empty while nothing is known of it.
fn state(server: &Server, apex: &str, name: &str) -> String {
    let shown = server.api("GET", &format!("/v1/zones/{apex}/servers"), None);
    let servers = shown["servers"].as_array().unwrap();
    let named = |row: &&Value| row["names"].as_array().unwrap().contains(&json!(name));
    let row = servers.iter().find(named);
    row.and_then(|row| row["state"].as_str()).unwrap_or_default().to_owned()
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
    assert!(shown["servers"][0]["everywhere_at"].is_string(), "{shown:#}");
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
