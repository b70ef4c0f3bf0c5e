//! TSIG as RFC 8945 has it, written down a second time: what the server answers is checked octet by
//! octet by code of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::server::{PATIENCE, Server};

pub const NOTAUTH: u8 = 9;
pub const BADSIG: u16 = 16;
pub const BADKEY: u16 = 17;
pub const BADTIME: u16 = 18;
pub const BADTRUNC: u16 = 22;

/// A key as both sides know it.
#[derive(Debug, Clone)]
pub struct Key {
    /// In wire form, lower case.
    pub name: Vec<u8>,
    pub algorithm: &'static str,
    pub secret: Vec<u8>,
}

/// What a TSIG record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: Vec<u8>,
    pub algorithm: Vec<u8>,
    pub time_s: u64,
    pub fudge_s: u16,
    pub mac: Vec<u8>,
    pub id: u16,
    pub error: u16,
    pub other: Vec<u8>,
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

pub fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// A key that the server has made.
pub fn make_key(server: &Server, name: &str, more: &Value) -> Key {
    let mut body = json!({"name": name, "algorithm": "hmac-sha256"});
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    let algorithm = body["algorithm"].as_str().unwrap().to_owned();
    let fresh = server.api("POST", "/v1/tsig-keys", Some(&body));
    let secret = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        fresh["secret"].as_str().unwrap(),
    );
    let algorithm = if algorithm == "hmac-sha512" { "hmac-sha512" } else { "hmac-sha256" };
    Key { name: wire(name), algorithm, secret: secret.unwrap() }
}

impl Key {
    fn hash(&self, octets: &[u8]) -> Vec<u8> {
        match self.algorithm {
            "hmac-sha512" => {
                let mut mac = Hmac::<Sha512>::new_from_slice(&self.secret).unwrap();
                mac.update(octets);
                mac.finalize().into_bytes().to_vec()
            }
            _ => {
                let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).unwrap();
                mac.update(octets);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
}

fn timers(time_s: u64, fudge_s: u16) -> Vec<u8> {
    [&time_s.to_be_bytes()[2..], &fudge_s.to_be_bytes()].concat()
}

/// RFC 8945 §4.3.3, "TSIG variables".
fn variables(record: &Record) -> Vec<u8> {
    let mut octets = record.name.to_ascii_lowercase();
    octets.extend([0, 255, 0, 0, 0, 0]);
    octets.extend(record.algorithm.to_ascii_lowercase());
    octets.extend(timers(record.time_s, record.fudge_s));
    octets.extend(record.error.to_be_bytes());
    octets.extend((record.other.len() as u16).to_be_bytes());
    octets.extend(&record.other);
    octets
}

/// Puts `record` behind `message`.
pub fn append(message: &mut Vec<u8>, record: &Record) {
    let mut rdata = record.algorithm.clone();
    rdata.extend(timers(record.time_s, record.fudge_s));
    rdata.extend((record.mac.len() as u16).to_be_bytes());
    rdata.extend(&record.mac);
    rdata.extend(record.id.to_be_bytes());
    rdata.extend(record.error.to_be_bytes());
    rdata.extend((record.other.len() as u16).to_be_bytes());
    rdata.extend(&record.other);
    message.extend(&record.name);
    message.extend([0, 250, 0, 255, 0, 0, 0, 0]);
    message.extend((rdata.len() as u16).to_be_bytes());
    message.extend(rdata);
    message[11] += 1;
}

/// The record that signs a request at `time_s`.
pub fn request(key: &Key, message: &[u8], time_s: u64) -> Record {
    let mut record = Record {
        name: key.name.clone(),
        algorithm: wire(key.algorithm),
        time_s,
        fudge_s: 300,
        mac: Vec::new(),
        id: u16::from_be_bytes([message[0], message[1]]),
        error: 0,
        other: Vec::new(),
    };
    record.mac = key.hash(&[message, &variables(&record)].concat());
    record
}

/// The record that signs the first answer to a request with this MAC.
pub fn answer(key: &Key, prior: &[u8], message: &[u8]) -> Record {
    let mut record = request(key, message, now_s());
    record.mac = key.hash(&[&counted(prior), message, &variables(&record)].concat());
    record
}

fn counted(mac: &[u8]) -> Vec<u8> {
    [&(mac.len() as u16).to_be_bytes(), mac].concat()
}

fn skip_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            len if len >= 0xc0 => return at + 2,
            len => at += 1 + usize::from(len),
        }
    }
}

/// A message without its TSIG record, and the record if it ends with one.
pub fn split(message: &[u8]) -> (Vec<u8>, Option<Record>) {
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..word(4) {
        at = skip_name(message, at) + 4;
    }
    let records = word(6) + word(8) + word(10);
    let mut last = None;
    for _ in 0..records {
        let fixed = skip_name(message, at);
        last = Some((at, fixed, word(fixed)));
        at = fixed + 10 + usize::from(word(fixed + 8));
    }
    assert_eq!(at, message.len(), "something stands behind the last record");
    let Some((from, fixed, 250)) = last else { return (message.to_vec(), None) };
    assert_eq!(message[fixed + 2..fixed + 8], [0, 255, 0, 0, 0, 0], "class ANY, TTL 0");
    let rdata = &message[fixed + 10..];
    let (algorithm, rest) = rdata.split_at(skip_name(rdata, 0));
    let mac_octets = usize::from(u16::from_be_bytes([rest[8], rest[9]]));
    let (mac, behind) = rest[10..].split_at(mac_octets);
    let record = Record {
        name: message[from..fixed].to_vec(),
        algorithm: algorithm.to_vec(),
        time_s: rest[..6].iter().fold(0, |time, octet| time << 8 | u64::from(*octet)),
        fudge_s: u16::from_be_bytes([rest[6], rest[7]]),
        mac: mac.to_vec(),
        id: u16::from_be_bytes([behind[0], behind[1]]),
        error: u16::from_be_bytes([behind[2], behind[3]]),
        other: behind[6..].to_vec(),
    };
    assert_eq!(usize::from(u16::from_be_bytes([behind[4], behind[5]])), record.other.len());
    let mut plain = message[..from].to_vec();
    plain[11] -= 1;
    (plain, Some(record))
}

/// Whether a record is that of a request of this key.
pub fn is_of_request(key: &Key, plain: &[u8], record: &Record) -> bool {
    let mut whole = key.hash(&[plain, &variables(record)].concat());
    whole.truncate(record.mac.len());
    !record.mac.is_empty() && whole == record.mac
}

/// Whether a record is that of an answer: the first behind the request's MAC, or a later one behind
/// that of the message before.
fn is_of_answer(key: &Key, prior: &[u8], first: bool, plain: &[u8], record: &Record) -> bool {
    let end = if first { variables(record) } else { timers(record.time_s, record.fudge_s) };
    let mut whole = key.hash(&[&counted(prior), plain, &end].concat());
    whole.truncate(record.mac.len());
    !record.mac.is_empty() && whole == record.mac
}

fn query(zone: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(wire(zone));
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn by_udp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(message, server).unwrap();
    let mut octets = vec![0; 65_535];
    let len = socket.recv(&mut octets).unwrap();
    octets.truncate(len);
    octets
}

/// A stream on which `message` was asked.
fn by_tcp(server: SocketAddr, message: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&(message.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(message).unwrap();
    stream
}

fn next(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    message
}

/// A server with one zone of so many hosts, which whoever has the key `k.` may transfer.
fn serving(hosts: usize, key: &Value) -> (Server, Key) {
    let server = Server::start();
    let hosts: String = (0..hosts).map(|n| format!("host{n} 60 A 192.0.2.{}\n", n % 250)).collect();
    let text = format!("@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n{hosts}");
    let item = json!({"kind": "zone_create", "zone": "a.example", "zone_file": text});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    let key = make_key(&server, "k.", key);
    let lists = json!({"transfer": ["key k."]});
    server.api("PUT", "/v1/zones/a.example/access", Some(&lists));
    (server, key)
}

/// Asks for the zone's SOA with `record`, by UDP and by TCP; both must say the same.
fn refused(server: &Server, record: &Record) -> (u8, Record) {
    let mut message = query("a.example", 6);
    append(&mut message, record);
    let udp = by_udp(server.dns, &message);
    let tcp = next(&mut by_tcp(server.dns, &message));
    let (plain, said) = split(&udp);
    let (other, again) = split(&tcp);
    assert_eq!(plain, other);
    let (said, again) = (said.expect("no TSIG in the answer"), again.unwrap());
    assert_eq!((said.error, &said.name), (again.error, &again.name));
    assert_eq!(plain[6..12], [0; 6], "an error carries no records");
    (plain[3] & 15, said)
}

#[test]
fn rfc8945_5_2_1_an_unknown_key_or_algorithm_is_badkey_and_unsigned() {
    let (server, key) = serving(1, &json!({}));
    let plain = query("a.example", 6);
    let stranger = Key { name: wire("nobody."), ..key.clone() };
    let other = Key { algorithm: "hmac-sha512", ..key };
    for key in [stranger, other] {
        let record = request(&key, &plain, now_s());
        let (rcode, said) = refused(&server, &record);
        assert_eq!((rcode, said.error), (NOTAUTH, BADKEY));
        assert!(said.mac.is_empty(), "there is no secret to sign it with");
        assert_eq!((said.name, said.time_s), (key.name, record.time_s));
    }
}

#[test]
fn rfc8945_5_2_2_a_wrong_mac_is_badsig_and_unsigned() {
    let (server, key) = serving(1, &json!({}));
    let plain = query("a.example", 6);
    let wrong = Key { secret: b"another secret of enough octets!".to_vec(), ..key.clone() };
    let by_other = request(&wrong, &plain, now_s());
    let of_other = request(&key, &query("b.example", 6), now_s());
    // The error of a request is covered by its MAC too.
    let changed = Record { other: vec![1], ..request(&key, &plain, now_s()) };
    for record in [by_other, of_other, changed] {
        let (rcode, said) = refused(&server, &record);
        assert_eq!((rcode, said.error), (NOTAUTH, BADSIG));
        assert!(said.mac.is_empty());
    }
}

#[test]
fn rfc8945_5_2_3_another_time_is_badtime_signed_and_tells_the_servers() {
    let (server, key) = serving(1, &json!({}));
    let plain = query("a.example", 6);
    for time_s in [now_s() - 1_000, now_s() + 1_000] {
        let record = request(&key, &plain, time_s);
        let mut message = plain.clone();
        append(&mut message, &record);
        let (reply, said) = split(&by_udp(server.dns, &message));
        let said = said.unwrap();
        assert_eq!((reply[3] & 15, said.error), (NOTAUTH, BADTIME));
        assert_eq!(said.time_s, time_s, "the time of the request stands in the answer");
        let theirs = said.other.iter().fold(0, |time, octet| time << 8 | u64::from(*octet));
        assert!(said.other.len() == 6 && theirs.abs_diff(now_s()) < 60, "{:?}", said.other);
        assert!(is_of_answer(&key, &record.mac, true, &reply, &said));
    }
    // Within the fudge it is right.
    let mut message = plain.clone();
    append(&mut message, &request(&key, &plain, now_s() - 200));
    assert_eq!(by_udp(server.dns, &message)[3] & 15, 0);
}

#[test]
fn rfc8945_5_2_2_1_a_short_mac_is_badtrunc_where_the_key_wants_more_and_formerr_below_half() {
    let (server, key) = serving(1, &json!({}));
    let plain = query("a.example", 6);
    let whole = request(&key, &plain, now_s());
    let short = |octets: usize| Record { mac: whole.mac[..octets].to_vec(), ..whole.clone() };
    for octets in [16, 31] {
        let record = short(octets);
        let mut message = plain.clone();
        append(&mut message, &record);
        let (reply, said) = split(&by_udp(server.dns, &message));
        let said = said.unwrap();
        assert_eq!((reply[3] & 15, said.error), (NOTAUTH, BADTRUNC), "{octets} octets");
        assert!(is_of_answer(&key, &record.mac, true, &reply, &said), "{octets} octets");
    }
    for octets in [15, 1] {
        let mut message = plain.clone();
        append(&mut message, &short(octets));
        let (reply, said) = split(&by_udp(server.dns, &message));
        assert_eq!((reply[3] & 15, said), (1, None), "{octets} octets");
    }
    let mut message = plain;
    append(&mut message, &Record { mac: [&whole.mac[..], &[0]].concat(), ..whole });
    assert_eq!(by_udp(server.dns, &message)[3] & 15, 1, "longer than the algorithm's");
}

#[test]
fn rfc8945_5_2_2_1_a_key_that_allows_it_is_good_with_a_truncated_mac_both_ways() {
    let (server, key) = serving(1, &json!({"mac_octets": 16}));
    let plain = query("a.example", 6);
    for octets in [16, 20, 32] {
        let mut record = request(&key, &plain, now_s());
        record.mac.truncate(octets);
        let mut message = plain.clone();
        append(&mut message, &record);
        let (reply, said) = split(&by_udp(server.dns, &message));
        let said = said.unwrap();
        assert_eq!((reply[3] & 15, said.error, reply[7]), (0, 0, 1));
        assert!(said.mac.len() >= 16 && is_of_answer(&key, &record.mac, true, &reply, &said));
    }
}

#[test]
fn rfc8945_5_1_a_tsig_that_is_not_last_or_comes_twice_is_formerr() {
    let (server, key) = serving(1, &json!({}));
    let plain = query("a.example", 6);
    let mut twice = plain.clone();
    append(&mut twice, &request(&key, &plain, now_s()));
    let again = request(&key, &twice, now_s());
    append(&mut twice, &again);
    let mut followed = plain.clone();
    append(&mut followed, &request(&key, &plain, now_s()));
    followed.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]); // OPT
    followed[11] += 1;
    for message in [twice, followed] {
        let reply = by_udp(server.dns, &message);
        assert_eq!((reply[3] & 15, split(&reply).1), (1, None));
    }
}

/// Goal: every message of a transfer is signed behind the one before it.
/// Method: two algorithms; the chain is walked by code of its own, to the closing SOA.
#[test]
fn rfc8945_5_3_1_each_message_of_a_transfer_is_signed_behind_the_one_before() {
    for algorithm in ["hmac-sha256", "hmac-sha512"] {
        let (server, key) = serving(4_000, &json!({"algorithm": algorithm}));
        let plain = query("a.example", 252);
        let asked = request(&key, &plain, now_s());
        let mut message = plain;
        append(&mut message, &asked);
        let mut stream = by_tcp(server.dns, &message);
        let (mut prior, mut records, mut messages) = (asked.mac, 0, 0);
        while records < 4_004 {
            let (reply, said) = split(&next(&mut stream));
            let said = said.expect("a message without TSIG");
            assert_eq!((reply[3] & 15, said.error, said.id), (0, 0, 0x1234));
            assert!(is_of_answer(&key, &prior, messages == 0, &reply, &said), "{messages}");
            records += u32::from(u16::from_be_bytes([reply[6], reply[7]]));
            (prior, messages) = (said.mac, messages + 1);
        }
        assert!(records == 4_004 && messages > 3, "{records} records in {messages} messages");
    }
}

#[test]
fn a_transfer_that_is_refused_is_refused_signed() {
    let (server, key) = serving(1, &json!({}));
    let other = make_key(&server, "other.", &json!({}));
    let plain = query("a.example", 252);
    for (key, rcode) in [(&key, 0), (&other, 5)] {
        let asked = request(key, &plain, now_s());
        let mut message = plain.clone();
        append(&mut message, &asked);
        let (reply, said) = split(&next(&mut by_tcp(server.dns, &message)));
        assert_eq!(reply[3] & 15, rcode);
        assert!(is_of_answer(key, &asked.mac, true, &reply, &said.unwrap()));
    }
}
