//! Many dynamic updates at once, against the binary: they share what they wait for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::server::Server;

const ZONE: &[u8] = b"\x04many\x07example\0";

/// Updates under way at any time.
const WINDOW: usize = 64;

/// Updates sent by the test; `NAMEPLANE_UPDATES=100000` for a long run.
const UPDATES: usize = 640;

/// Names they take turns with.
const NAMES: usize = 256;

fn owner(n: usize) -> String {
    format!("h{}", n % NAMES)
}

fn address(n: usize) -> [u8; 4] {
    let [.., b, c, d] = (n as u32).to_be_bytes();
    [10, b, c, d]
}

/// Replaces the address of one name: two lines, so that half of it would show.
fn update(id: u16, n: usize) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend_from_slice(&[0x28, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
    out.extend_from_slice(ZONE);
    out.extend_from_slice(&[0, 6, 0, 1]);
    for (class, ttl, data) in [(255u16, 0u32, &[][..]), (1, 60, &address(n)[..])] {
        let label = owner(n);
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(&[0xc0, 12, 0, 1]);
        out.extend_from_slice(&class.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

/// Sends them in order, so many under way; an update of a name waits for the one before it.
fn send_all(server: &Server, count: usize) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server.dns).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let (mut under_way, mut next) = (BTreeMap::new(), 0);
    let mut reply = [0; 1500];
    while next < count || !under_way.is_empty() {
        let free = |n: usize| under_way.values().all(|other: &usize| other % NAMES != n % NAMES);
        let mut begin = Vec::new();
        while next < count && under_way.len() + begin.len() < WINDOW && free(next) {
            begin.push(next);
            next += 1;
        }
        for n in begin {
            socket.send(&update(n as u16, n)).unwrap();
            under_way.insert(n as u16, n);
        }
        match socket.recv(&mut reply) {
            Ok(len) => {
                assert!(len >= 12 && reply[2] & 0xf8 == 0xa8 && reply[3] & 15 == 0, "{reply:?}");
                under_way.remove(&u16::from_be_bytes([reply[0], reply[1]]));
            }
            // What was lost is sent again, as clients do; it asks for what is so by then.
            Err(_) => under_way.iter().for_each(|(id, n)| {
                socket.send(&update(*id, *n)).unwrap();
            }),
        }
    }
}

fn figure(server: &Server, name: &str) -> f64 {
    let text = match server.request("GET", "/metrics", None, None).unwrap() {
        (200, Value::String(text)) => text,
        other => panic!("{other:?}"),
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn start() -> (Server, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    std::fs::write(&config, "[update]\nallow_unsigned = [\"127.0.0.1\"]\n").unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let new = json!({ "zone": "many.example.", "name_servers": ["ns.example.net."] });
    server.api("POST", "/v1/zones?push=true", Some(&new));
    (server, home)
}

/// The last address of each name is served.
fn all_served(server: &Server, count: usize) {
    for n in count.saturating_sub(NAMES)..count {
        let answer = server.ask(&format!("{}.many.example.", owner(n)), RecordType::A);
        let shown: Vec<String> = answer.answers.iter().map(|set| set.data.to_string()).collect();
        assert_eq!(shown, [Ipv4Addr::from(address(n)).to_string()], "{}", owner(n));
    }
}

/// Goal: updates that are under way together share syncs; what was answered outlives a kill; each
/// becomes an order that is seen served.
/// Method: syncs are counted, not timed.
#[test]
fn updates_under_way_together_share_syncs_and_outlive_a_kill() {
    let count = std::env::var("NAMEPLANE_UPDATES").map_or(UPDATES, |text| text.parse().unwrap());
    let (mut server, _home) = start();
    let syncs = "nameplane_store_syncs_total";
    let before = figure(&server, syncs);

    send_all(&server, count);

    let spent = figure(&server, syncs) - before;
    assert!(spent < count as f64, "{spent} syncs for {count} updates");
    all_served(&server, count);
    server.kill();
    server.restart();
    all_served(&server, count);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = server.api("GET", "/v1/orders?state=applied&limit=1000", None);
        if page["items"].as_array().unwrap().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "orders are never seen served: {page:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An update of one name in `ZONE`, of lines of type, class, TTL and RDATA; its RCODE.
fn rcode_of(server: &Server, label: &str, lines: &[(u16, u16, u32, &[u8])]) -> u8 {
    let mut out = vec![0, 1, 0x28, 0, 0, 1, 0, 0, 0, lines.len() as u8, 0, 0];
    out.extend_from_slice(ZONE);
    out.extend_from_slice(&[0, 6, 0, 1]);
    for (rtype, class, ttl, data) in lines {
        if !label.is_empty() {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&rtype.to_be_bytes());
        out.extend_from_slice(&class.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&out, server.dns).unwrap();
    let mut reply = [0; 1500];
    socket.recv(&mut reply).unwrap();
    reply[3] & 15
}

/// Goal: in a signed zone names are emptied, given an alias, and given another, as in any zone; what
/// the signer makes stays its own.
/// Method: the lines of `nsupdate`'s `delete NAME` and `add NAME CNAME`, with both kinds of denial.
#[test]
fn rfc2136_names_of_a_signed_zone_are_emptied_and_become_aliases_like_others() {
    let (a, cname, mx) = (1, 5, 15);
    let (class_in, class_any, all) = (1, 255, 255);
    for denial in ["nsec", "nsec3"] {
        let (server, _home) = start();
        server.said(&["dnssec", "policy", "set", "default", &format!("denial={denial}")]);
        server.said(&["dnssec", "on", "many.example."]);
        let records = |name: &str, rtype| server.ask(name, rtype).answers.len();
        let alias = || {
            let answer = server.ask("x.many.example.", RecordType::CNAME);
            answer.answers.iter().map(|set| set.data.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(rcode_of(&server, "x", &[(a, class_in, 60, &[192, 0, 2, 1])]), 0);
        assert_eq!(records("x.many.example.", RecordType::A), 1);

        assert_eq!(rcode_of(&server, "x", &[(all, class_any, 0, &[])]), 0, "{denial}");
        assert_eq!(records("x.many.example.", RecordType::A), 0, "{denial}");

        assert_eq!(rcode_of(&server, "x", &[(cname, class_in, 60, b"\x01a\0")]), 0);
        assert_eq!(rcode_of(&server, "x", &[(cname, class_in, 60, b"\x01b\0")]), 0);
        assert_eq!(alias(), ["b."], "{denial}");
        let in_its_place = [(all, class_any, 0, &[][..]), (a, class_in, 60, &[192, 0, 2, 2])];
        assert_eq!(rcode_of(&server, "x", &in_its_place), 0);
        assert_eq!(records("x.many.example.", RecordType::A), 1, "{denial}");
        assert_eq!(rcode_of(&server, "x", &[(cname, class_in, 60, b"\x01c\0")]), 0);
        assert!(alias().is_empty(), "beside an address: {denial}");

        assert_eq!(rcode_of(&server, "", &[(mx, class_in, 60, b"\0\x0a\x01m\0")]), 0);
        assert_eq!(rcode_of(&server, "", &[(all, class_any, 0, &[])]), 0, "{denial}");
        assert_eq!(records("many.example.", RecordType::MX), 0, "{denial}");
        for kept in [RecordType::SOA, RecordType::NS, RecordType::DNSKEY] {
            assert_eq!(records("many.example.", kept), 1, "{kept} {denial}");
        }
    }
}
