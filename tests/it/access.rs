//! Who may transfer and ask, and with which key: seen from outside, over the wire.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nameplane::wire::tsig::{self, Algorithm, Distrust, TsigKey};
use nameplane::wire::{Flags, Header, Name, Rcode, Type};
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, is_here, nameplane};

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn query(zone: &str, rtype: Type) -> Vec<u8> {
    let mut message = vec![0; 12];
    Header { id: 7, questions: 1, ..Header::default() }.write(&mut message);
    message.extend(Name::parse(zone).unwrap().as_wire());
    message.extend(rtype.0.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The query of a secondary that has a zone at `serial`.
fn ixfr(zone: &str, serial: u32) -> Vec<u8> {
    let mut message = query(zone, Type::IXFR);
    message[9] = 1;
    message.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    message.extend(serial.to_be_bytes());
    message.extend([0; 16]);
    message
}

fn header(message: &[u8]) -> Header {
    Header::read(message).unwrap()
}

fn by_udp(server: &Server, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(message, server.dns).unwrap();
    let mut octets = vec![0; 65_535];
    let len = socket.recv(&mut octets).unwrap();
    octets.truncate(len);
    octets
}

/// A stream, and the messages that come on it.
struct Tcp(TcpStream);

impl Tcp {
    fn ask(server: &Server, message: &[u8]) -> Tcp {
        let mut stream = TcpStream::connect(server.dns).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&(message.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(message).unwrap();
        Tcp(stream)
    }

    fn next(&mut self) -> Vec<u8> {
        let mut len = [0; 2];
        self.0.read_exact(&mut len).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

fn rcode_of_transfer(server: &Server, message: &[u8]) -> Rcode {
    header(&Tcp::ask(server, message).next()).flags.rcode()
}

fn create(server: &Server, zone: &str, records: &str) {
    let text = format!("@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n{records}");
    let item = json!({"kind": "zone_create", "zone": zone, "zone_file": text});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
}

/// What a request of the operator gets.
fn asked(server: &Server, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    server.request(method, path, Some(&server.operator_token()), body).unwrap()
}

fn put(server: &Server, zone: &str, lists: &Value) {
    server.api("PUT", &format!("/v1/zones/{zone}/access"), Some(lists));
}

fn new_key(server: &Server, body: &Value) -> Arc<TsigKey> {
    let fresh = server.api("POST", "/v1/tsig-keys", Some(body));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (name, algorithm) = (text(&fresh["key"]["name"]), text(&fresh["key"]["algorithm"]));
    let algorithm = Algorithm::parse(&algorithm).unwrap();
    let name = Name::parse(&name).unwrap();
    Arc::new(TsigKey::from_base64(name, algorithm, fresh["secret"].as_str().unwrap()).unwrap())
}

/// Asks for a transfer with a key; returns the RCODE, and how many messages came, all checked.
fn transfer(server: &Server, key: &Arc<TsigKey>, zone: &str) -> Result<(Rcode, usize), Distrust> {
    let mut message = query(zone, Type::AXFR);
    let mut verifier = tsig::request(key, &mut message, now_s());
    let mut stream = Tcp::ask(server, &message);
    let first = stream.next();
    let rcode = header(&first).flags.rcode();
    verifier.verify(&first, now_s())?;
    let mut records = header(&first).answers;
    let mut messages = 1;
    // The zone of these tests that has many records has 3 000 and the SOA twice.
    while rcode == Rcode::NOERROR && zone.starts_with("large") && records < 3004 {
        let next = stream.next();
        verifier.verify(&next, now_s())?;
        records += header(&next).answers;
        messages += 1;
    }
    verifier.finish()?;
    Ok((rcode, messages))
}

#[test]
fn a_transfer_needs_a_list_that_names_its_sender_the_nearest_counts() {
    let server = Server::start();
    create(&server, "a.example", "");
    let axfr = query("a.example.", Type::AXFR);
    assert_eq!(rcode_of_transfer(&server, &axfr), Rcode::REFUSED);
    assert_eq!(rcode_of_transfer(&server, &query("nobody.example.", Type::AXFR)), Rcode::REFUSED);
    assert_eq!(header(&by_udp(&server, &ixfr("a.example.", 1))).flags.rcode(), Rcode::REFUSED);

    let list = json!({"transfer": ["127.0.0.0/8"]});
    server.api("PUT", "/v1/orgs/operator/access", Some(&list));
    assert_eq!(rcode_of_transfer(&server, &axfr), Rcode::NOERROR);
    put(&server, "a.example", &json!({"transfer": []}));
    assert_eq!(rcode_of_transfer(&server, &axfr), Rcode::REFUSED);
    put(&server, "a.example", &json!({"transfer": ["192.0.2.1", "127.0.0.1"]}));
    assert_eq!(rcode_of_transfer(&server, &axfr), Rcode::NOERROR);
    let token = server.operator_token();
    let body = json!({"transfer": ["nowhere"]});
    let wrong = server.request("PUT", "/v1/zones/a.example/access", Some(&token), Some(&body));
    assert_eq!(wrong.unwrap().0, 422);
}

#[test]
fn a_whole_zone_goes_in_many_signed_messages_and_over_udp_never() {
    let server = Server::start();
    let records: String =
        (0..3000).map(|n| format!("host{n} 60 A 192.0.2.{}\n", n % 250)).collect();
    create(&server, "large.example", &records);
    let key = new_key(&server, &json!({"name": "k", "algorithm": "hmac-sha512"}));
    put(&server, "large.example", &json!({"transfer": ["key k"]}));

    let (rcode, messages) = transfer(&server, &key, "large.example.").unwrap();
    assert_eq!(rcode, Rcode::NOERROR);
    assert!(messages > 3, "{messages}");

    let udp = by_udp(&server, &query("large.example.", Type::AXFR));
    assert_eq!(header(&udp).flags.rcode(), Rcode::NOTIMP);
    // Without the key the list does not help, and the transfer is refused unsigned.
    let refused = rcode_of_transfer(&server, &query("large.example.", Type::AXFR));
    assert_eq!(refused, Rcode::REFUSED);
}

#[test]
fn rfc1995_2_udp_carries_what_fits_and_one_soa_otherwise() {
    let server = Server::start();
    create(&server, "a.example", "");
    put(&server, "a.example", &json!({"transfer": ["127.0.0.1"]}));
    let edit = |name: &str, value: &str| {
        let edit =
            json!({"op": "replace", "name": name, "type": "TXT", "ttl": 60, "records": [value]});
        let item = json!({"kind": "dns_change", "zone": "a.example", "edits": [edit]});
        server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    };
    edit("w", "\"small\"");
    let whole = by_udp(&server, &ixfr("a.example.", 1));
    assert_eq!(header(&whole).answers, 5); // new, old, new, what came, new
    let current = by_udp(&server, &ixfr("a.example.", 2));
    assert_eq!(header(&current).answers, 1);
    edit("x", &format!("\"{0}\" \"{0}\" \"{0}\"", "long".repeat(60)));
    let too_much = by_udp(&server, &ixfr("a.example.", 1));
    assert_eq!(header(&too_much).answers, 1);
    assert_eq!(header(&Tcp::ask(&server, &ixfr("a.example.", 1)).next()).answers, 6);
    assert_eq!(header(&by_udp(&server, &query("a.example.", Type::IXFR))).flags.rcode().0, 1);
}

/// The transfers out that ended like this.
fn ended(server: &Server, end: &str) -> u64 {
    metric(server, &format!("nameplane_transfers_out_total{{end=\"{end}\"}}"))
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = server.api("GET", "/metrics", None);
    let text = text.as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

fn comes_to(what: &str, expected: u64, count: impl Fn() -> u64) {
    let end = SystemTime::now() + PATIENCE;
    while count() != expected {
        assert!(SystemTime::now() < end, "{what}: {} is not {expected}", count());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Goal: one sees how transfers go, and why a secondary gets more than it asked for.
/// Method: each kind of transfer once, by TCP and by UDP.
#[test]
fn a_transfer_is_counted_and_an_axfr_in_place_of_ixfr_says_why() {
    let server = Server::start();
    create(&server, "a.example", "");
    create(&server, "b.example", "");
    put(&server, "a.example", &json!({"transfer": ["127.0.0.1"]}));
    let long = "x".repeat(200);
    let text = format!("\"{long}\" \"{long}\" \"{long}\"");
    let edit = json!({"op": "replace", "name": "w", "type": "TXT", "ttl": 60, "records": [text]});
    let item = json!({"kind": "dns_change", "zone": "a.example", "edits": [edit]});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    let answers = |message: &[u8]| header(&Tcp::ask(&server, message).next()).answers;
    let before_the_journal = 0_u32.wrapping_sub(1_000);

    assert_eq!(answers(&query("a.example.", Type::AXFR)), 5);
    assert_eq!(answers(&ixfr("a.example.", 1)), 5);
    assert_eq!(answers(&ixfr("a.example.", before_the_journal)), 5);
    // Who has the serial, or one that is ahead, gets one SOA.
    assert_eq!(answers(&ixfr("a.example.", 2)), 1);
    assert_eq!(answers(&ixfr("a.example.", 1_000)), 1);
    assert_eq!(header(&by_udp(&server, &ixfr("a.example.", 2))).answers, 1);
    assert_eq!(header(&by_udp(&server, &ixfr("a.example.", 1))).answers, 1);
    assert_eq!(rcode_of_transfer(&server, &query("b.example.", Type::AXFR)), Rcode::REFUSED);

    let expected = [
        ("axfr", 1),
        ("ixfr", 1),
        ("axfr_for_ixfr", 1),
        ("current", 3),
        ("sent_to_tcp", 1),
        ("refused", 1),
        ("busy", 0),
        ("unfinished", 0),
    ];
    for (end, count) in expected {
        comes_to(end, count, || ended(&server, end));
    }
    comes_to("open", 0, || metric(&server, "nameplane_transfers_out_open"));
    assert!(metric(&server, "nameplane_transfers_out_bytes_total") > 2_000);
    let log = server.log();
    let why = "AXFR of serial 2 in place of IXFR: the journal does not reach back so far";
    assert!(log.contains(why), "{log}");
}

#[test]
fn a_rotated_key_is_good_with_both_secrets_and_a_deleted_one_with_none() {
    let server = Server::start();
    create(&server, "a.example", "");
    let old = new_key(&server, &json!({"name": "K.example"}));
    put(&server, "a.example", &json!({"transfer": ["key k.example"]}));
    assert_eq!(transfer(&server, &old, "a.example."), Ok((Rcode::NOERROR, 1)));

    let rotate = |body: &Value| {
        let fresh = server.api("POST", "/v1/tsig-keys/k.example/rotate", Some(body));
        let secret = fresh["secret"].as_str().unwrap();
        Arc::new(TsigKey::from_base64(old.name.clone(), old.algorithm, secret).unwrap())
    };
    let new = rotate(&json!({}));
    assert_eq!(transfer(&server, &old, "a.example."), Ok((Rcode::NOERROR, 1)));
    assert_eq!(transfer(&server, &new, "a.example."), Ok((Rcode::NOERROR, 1)));
    let newest = rotate(&json!({"overlap_s": 0}));
    assert_eq!(transfer(&server, &new, "a.example."), Err(Distrust::Refused(Rcode::BADSIG)));
    assert_eq!(transfer(&server, &newest, "a.example."), Ok((Rcode::NOERROR, 1)));
    put(&server, "a.example", &json!({"transfer": []}));
    assert_eq!(asked(&server, "DELETE", "/v1/tsig-keys/k.example", None).0, 204);
    assert_eq!(transfer(&server, &newest, "a.example."), Err(Distrust::Refused(Rcode::BADKEY)));
}

/// Goal: no list names a TSIG key that is not there, or that its zones cannot use: by that name whoever
/// makes the key next would be let in.
/// Method: lists of a zone and of organisations with such keys; then a key that lists name is to go.
#[test]
fn a_list_names_only_keys_that_are_there_and_such_a_key_is_not_deleted() {
    let server = Server::start();
    create(&server, "a.example", "");
    server.api("POST", "/v1/orgs", Some(&json!({"handle": "shop"})));
    let org = server.api("GET", "/v1/orgs/shop", None)["id"].clone();
    new_key(&server, &json!({"name": "theirs", "org": org}));
    new_key(&server, &json!({"name": "ours"}));
    let (zone, shop, operator) =
        ("/v1/zones/a.example/access", "/v1/orgs/shop/access", "/v1/orgs/operator/access");

    for (path, lists, places) in [
        (zone, json!({"transfer": ["any", "key no"], "query": ["192.0.2.1 key no"]}), 2),
        (zone, json!({"transfer": ["key theirs"]}), 1),
        (shop, json!({"transfer": ["key ours", "key theirs", "key no"]}), 1),
        (operator, json!({"transfer": ["key theirs", "key no"]}), 2),
    ] {
        let (status, said) = asked(&server, "PUT", path, Some(&lists));
        let errors = said["errors"].as_array().map_or(0, Vec::len);
        assert_eq!((status, errors), (422, places), "{said:#}");
        assert!(
            said["errors"][0]["detail"].to_string().contains("there is no TSIG key"),
            "{said:#}"
        );
    }
    assert_eq!(server.api("GET", zone, None), json!({"transfer": null, "query": null}));

    server.api("PUT", zone, Some(&json!({"query": ["key OURS"]})));
    server.api("PUT", shop, Some(&json!({"transfer": ["key ours"]})));
    let (status, said) = asked(&server, "DELETE", "/v1/tsig-keys/ours", None);
    let text = said.to_string();
    assert!(status == 409 && text.contains("zone a.example., organisation shop:"), "{said:#}");
    server.api("PUT", zone, Some(&json!({})));
    server.api("PUT", shop, Some(&json!({})));
    assert_eq!(asked(&server, "DELETE", "/v1/tsig-keys/ours", None).0, 204);
}

/// Goal: no primary, secondary or rule for a group names a TSIG key that is not there, and what they name stays.
#[test]
fn servers_name_only_keys_that_are_there_and_such_a_key_is_not_deleted() {
    let server = Server::start();
    let with_key =
        |key: &str| json!({"primaries": [{"address": "127.0.0.1", "key": key}], "catalog": true});
    let row = |key: &str| json!({"name": "two", "addresses": ["127.0.0.1:53"], "key": key});
    let (primaries, group) = ("/v1/zones/c.example/primaries", "/v1/zones/c.example/groups/gold");
    let refused = |method: &str, path: &str, body: &Value| {
        let (status, said) = asked(&server, method, path, Some(body));
        let text = said.to_string();
        assert!(status == 422 && text.contains("there is no TSIG key no."), "{path} {said:#}");
    };
    refused("PUT", primaries, &with_key("no"));
    refused("POST", "/v1/secondaries", &row("no"));

    new_key(&server, &json!({"name": "k"}));
    server.api("PUT", primaries, Some(&with_key("K")));
    server.api("POST", "/v1/secondaries", Some(&row("k")));
    let rule = |key: &str| json!({"primaries": [{"address": "127.0.0.1", "key": key}]});
    refused("PUT", group, &rule("no"));
    server.api("PUT", group, Some(&rule("k")));

    let (status, said) = asked(&server, "DELETE", "/v1/tsig-keys/k", None);
    let named = "group gold of catalog c.example., secondary two, the primaries of c.example.";
    assert!(status == 409 && said.to_string().contains(named), "{said:#}");
    asked(&server, "DELETE", "/v1/secondaries/two", None);
    asked(&server, "DELETE", group, None);
    asked(&server, "DELETE", primaries, None);
    assert_eq!(asked(&server, "DELETE", "/v1/tsig-keys/k", None).0, 204);
}

#[test]
fn keys_survive_a_restart_and_secrets_are_nowhere_to_be_read() {
    let mut server = Server::start();
    create(&server, "a.example", "");
    let key = new_key(&server, &json!({"name": "k"}));
    put(&server, "a.example", &json!({"transfer": ["key k"]}));
    let secret = key.secret_base64();
    let shown = server.api("GET", "/v1/tsig-keys", None).to_string()
        + &server.api("GET", "/v1/tsig-keys/k", None).to_string()
        + &server.api("GET", "/v1/events?limit=1000", None).to_string();
    assert!(shown.contains("tsig_key.created") && !shown.contains(&secret), "{shown}");
    assert!(server.stop().success());
    assert!(!server.log().contains(&secret));
    let export = server.data.with_extension("export");
    let exported = nameplane()
        .args(["store", "export"])
        .arg(&export)
        .arg("--data-dir")
        .arg(&server.data)
        .output()
        .unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let octets = std::fs::read(&export).unwrap();
    assert!(!octets.windows(key.secret().len()).any(|window| window == key.secret()));
    server.restart();
    assert_eq!(transfer(&server, &key, "a.example."), Ok((Rcode::NOERROR, 1)));
}

#[test]
fn a_key_counts_only_for_zones_it_is_good_for() {
    let server = Server::start();
    create(&server, "a.example", "");
    create(&server, "b.example", "");
    server.api("POST", "/v1/orgs", Some(&json!({"handle": "shop"})));
    let org = server.api("GET", "/v1/orgs/shop", None)["id"].clone();
    let theirs = new_key(&server, &json!({"name": "theirs", "org": org}));
    let ours = new_key(&server, &json!({"name": "ours", "zones": ["a.example"]}));
    for zone in ["a.example", "b.example"] {
        put(&server, zone, &json!({"transfer": ["key ours"]}));
    }
    assert_eq!(transfer(&server, &theirs, "a.example."), Ok((Rcode::REFUSED, 1)));
    assert_eq!(transfer(&server, &ours, "a.example."), Ok((Rcode::NOERROR, 1)));
    assert_eq!(transfer(&server, &ours, "b.example."), Ok((Rcode::REFUSED, 1)));
}

#[test]
fn signed_questions_are_answered_signed_by_udp_and_tcp() {
    let server = Server::start();
    create(&server, "a.example", "");
    let key = new_key(&server, &json!({"name": "k", "algorithm": "hmac-sha1"}));
    let signed = |now_s| {
        let mut message = query("ns.a.example.", Type::A);
        let verifier = tsig::request(&key, &mut message, now_s);
        (message, verifier)
    };
    let (message, mut verifier) = signed(now_s());
    let answer = by_udp(&server, &message);
    assert_eq!(verifier.verify(&answer, now_s()), Ok(()));
    assert_eq!((header(&answer).answers, header(&answer).additionals), (1, 1));
    assert!(header(&answer).flags.0 & Flags::AA != 0);
    let (message, mut verifier) = signed(now_s());
    assert_eq!(verifier.verify(&Tcp::ask(&server, &message).next(), now_s()), Ok(()));
    let (message, mut verifier) = signed(now_s() - 1000);
    let late = by_udp(&server, &message);
    assert_eq!(header(&late).flags.rcode(), Rcode::NOTAUTH);
    let said = verifier.verify(&late, now_s() - 1000);
    assert_eq!(said, Err(Distrust::Refused(Rcode::BADTIME)));
    // Updates and NOTIFY are refused for other reasons than the signature, and signed.
    for (flags, rcode) in [(0x28, Rcode::REFUSED), (0x20, Rcode::NOTAUTH)] {
        let mut message = query("a.example.", Type::SOA);
        message[2] = flags;
        let mut verifier = tsig::request(&key, &mut message, now_s());
        let answer = by_udp(&server, &message);
        assert_eq!(verifier.verify(&answer, now_s()), Ok(()), "{flags:x}");
        assert_eq!(header(&answer).flags.rcode(), rcode);
    }
}

/// Goal: NOTIFY for a zone that has its primary here is told so, but of a zone that is closed to the
/// sender no more than of one that is not there.
#[test]
fn notify_for_a_zone_whose_primary_is_here_is_told_so() {
    let server = Server::start();
    create(&server, "a.example", "");
    create(&server, "closed.example", "");
    put(&server, "closed.example", &json!({"query": []}));
    let told = |zone: &str| {
        let mut message = query(zone, Type::SOA);
        (message[2], message[11]) = (0x24, 1);
        message.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        let answer = by_udp(&server, &message);
        assert_eq!(header(&answer).flags.rcode(), Rcode::NOTAUTH, "{zone}");
        String::from_utf8_lossy(&answer[12..]).into_owned()
    };
    assert!(told("a.example.").contains("this server is the primary of the zone"));
    for zone in ["closed.example.", "nobody.example."] {
        assert!(told(zone).contains("no such zone or key here"), "{zone}");
    }
}

#[test]
fn a_closed_zone_is_answered_to_its_list_and_no_chain_leads_into_it() {
    let server = Server::start();
    create(&server, "open.example", "way 60 CNAME www.closed.example.\n");
    create(&server, "closed.example", "www 60 A 192.0.2.7\n");
    create(&server, "sub.closed.example", "www 60 A 192.0.2.8\n");
    let key = new_key(&server, &json!({"name": "k"}));
    let ask = |name: &str| {
        let answer = by_udp(&server, &query(name, Type::A));
        (header(&answer).flags.rcode(), header(&answer).answers)
    };
    assert_eq!(ask("way.open.example."), (Rcode::NOERROR, 2));

    put(&server, "closed.example", &json!({"query": ["192.0.2.0/24", "key k"]}));
    assert_eq!(ask("WWW.closed.example."), (Rcode::REFUSED, 0));
    assert_eq!(ask("nothing.closed.example."), (Rcode::REFUSED, 0));
    assert_eq!(ask("way.open.example."), (Rcode::NOERROR, 1));
    assert_eq!(ask("www.sub.closed.example."), (Rcode::NOERROR, 1));
    let mut message = query("way.open.example.", Type::A);
    let mut verifier = tsig::request(&key, &mut message, now_s());
    let answer = by_udp(&server, &message);
    assert_eq!(verifier.verify(&answer, now_s()), Ok(()));
    assert_eq!(header(&answer).answers, 2);

    put(&server, "closed.example", &json!({"query": ["127.0.0.1"]}));
    assert_eq!(ask("www.closed.example."), (Rcode::NOERROR, 1));
    put(&server, "closed.example", &json!({"query": []}));
    assert_eq!(ask("www.closed.example."), (Rcode::REFUSED, 0));
    // A zone of the same name that comes after it is another zone.
    let delete = json!({"items": [{"kind": "zone_delete", "zone": "closed.example"}]});
    server.api("POST", "/v1/change-orders", Some(&delete));
    create(&server, "closed.example", "www 60 A 192.0.2.7\n");
    assert_eq!(ask("www.closed.example."), (Rcode::NOERROR, 1));
}

/// Goal: a reply has room for its signature, at every size.
#[test]
fn a_signed_reply_fits_with_its_signature_or_says_that_it_is_cut() {
    let server = Server::start();
    let text = |octets: usize| {
        format!("t{octets} 60 TXT \"{}\" \"{}\"\n", "x".repeat(200), "y".repeat(octets - 200))
    };
    create(&server, "a.example", &(340..440).map(text).collect::<String>());
    let key = new_key(&server, &json!({"name": "k"}));
    let (mut whole, mut cut) = (0, 0);
    for octets in 340..440 {
        let mut message = query(&format!("t{octets}.a.example."), Type::TXT);
        let mut verifier = tsig::request(&key, &mut message, now_s());
        let answer = by_udp(&server, &message);
        assert_eq!(verifier.verify(&answer, now_s()), Ok(()), "{octets}");
        assert!(answer.len() <= 512, "{octets}: {}", answer.len());
        match (header(&answer).answers, header(&answer).flags.is_truncated()) {
            (1, false) => whole += 1,
            (0, true) => cut += 1,
            other => panic!("{octets}: {other:?}"),
        }
    }
    assert!(whole > 10 && cut > 10, "{whole} whole, {cut} cut");
}

/// Goal: what a zone keeps to itself does not come out as an address beside another zone's referral.
#[test]
fn a_closed_zone_gives_no_address_to_a_referral_of_another() {
    let server = Server::start();
    let parent = "closed 60 NS ns.closed\nns.closed 60 A 192.0.2.9\nother 60 NS inner.closed\n";
    create(&server, "open.example", parent);
    create(&server, "closed.open.example", "inner 60 A 10.0.0.7\n");
    let addresses = || {
        let answer = by_udp(&server, &query("www.other.open.example.", Type::A));
        assert_eq!((header(&answer).flags.rcode(), header(&answer).answers), (Rcode::NOERROR, 0));
        header(&answer).additionals
    };
    assert_eq!(addresses(), 1);
    put(&server, "closed.open.example", &json!({"query": ["192.0.2.0/24"]}));
    assert_eq!(addresses(), 0);
    put(&server, "closed.open.example", &json!({"query": ["127.0.0.1"]}));
    assert_eq!(addresses(), 1);
}

/// A data directory with a zone of 15 MB, more than the kernel keeps for a peer that does not read.
fn with_a_large_zone(home: &Path) -> PathBuf {
    let text = "x".repeat(240);
    let records: String =
        (0..30_000).map(|n| format!("host{n} 60 TXT \"{text}\" \"{text}\"\n")).collect();
    let file = home.join("large.example.zone");
    std::fs::write(
        &file,
        format!("$ORIGIN large.example.\n@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n{records}"),
    )
    .unwrap();
    let data = home.join("data");
    let import = nameplane()
        .args(["zone", "import", "--data-dir"])
        .args([data.as_os_str(), file.as_os_str()])
        .output()
        .unwrap();
    assert!(import.status.success(), "{import:?}");
    data
}

/// Goal: a peer that reads, but takes longer than the operator gives it, is let go, and counted as one that has
/// not all.
#[test]
fn a_transfer_that_takes_longer_than_it_may_is_ended() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    std::fs::write(&config, "[transfer]\ntime_max_s = 1\n").unwrap();
    let data = with_a_large_zone(home.path());
    let server = Server::at(&data, &["--config", config.to_str().unwrap()]);
    put(&server, "large.example", &json!({"transfer": ["127.0.0.1"]}));
    let mut peer = Tcp::ask(&server, &query("large.example.", Type::AXFR));
    let first = peer.next();
    assert_eq!(header(&first).flags.rcode(), Rcode::NOERROR);
    std::thread::sleep(Duration::from_millis(1_500)); // its time passes, and most of the zone is not sent
    let mut rest = Vec::new();
    let _ = peer.0.read_to_end(&mut rest); // ended or cut: the peer sees that no SOA came
    comes_to("unfinished", 1, || ended(&server, "unfinished"));
    assert_eq!(ended(&server, "axfr"), 0);
    server.logs("it took too long");
}

#[test]
fn a_peer_that_does_not_read_holds_nobody_back() {
    let home = tempfile::tempdir().unwrap();
    let data = with_a_large_zone(home.path());
    let server = Server::at(&data, &[]);
    put(&server, "large.example", &json!({"transfer": ["127.0.0.1"]}));
    let axfr = query("large.example.", Type::AXFR);
    let resident = || metric(&server, "process_resident_memory_bytes");
    let before = resident();
    let stuck: Vec<Tcp> = (0..20).map(|_| Tcp::ask(&server, &axfr)).collect();
    std::thread::sleep(Duration::from_millis(300));
    // One more than there are places for one address.
    assert_eq!(rcode_of_transfer(&server, &axfr), Rcode::REFUSED);
    assert_eq!(ended(&server, "busy"), 1);
    assert_eq!(metric(&server, "nameplane_transfers_out_open"), 20);
    // The zone has 15 MB, and 20 ask for it.
    let more = resident().saturating_sub(before);
    assert!(more < 60 << 20, "{more} octets for peers that do not read");
    let before = SystemTime::now();
    create(&server, "small.example", "");
    assert!(before.elapsed().unwrap() < Duration::from_secs(5));
    drop(stuck);
    let end = SystemTime::now() + PATIENCE;
    while rcode_of_transfer(&server, &axfr) != Rcode::NOERROR {
        assert!(SystemTime::now() < end, "places are not given back");
        std::thread::sleep(Duration::from_millis(100));
    }
    while ended(&server, "unfinished") < 20 {
        assert!(SystemTime::now() < end, "transfers that nobody reads do not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn rfc9103_a_zone_goes_by_tls_as_by_tcp() {
    if !is_here("kdig") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = crate::server::free_port();
    let config = home.path().join("server.toml");
    let text = format!("[dns.tls]\ndot = [\"127.0.0.1:{port}\"]\n");
    std::fs::write(&config, text).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let server = Server::at(&home.path().join("data"), &flags);
    let records: String =
        (0..3000).map(|n| format!("host{n} 60 A 192.0.2.{}\n", n % 250)).collect();
    create(&server, "large.example", &records);
    let key = new_key(&server, &json!({"name": "k"}));
    put(&server, "large.example", &json!({"transfer": ["key k"]}));
    let kdig = |port: u16, more: &[&str]| {
        let secret = format!("hmac-sha256:k:{}", key.secret_base64());
        let output = std::process::Command::new("kdig")
            .args(["@127.0.0.1", "-p", &port.to_string(), "-y", &secret])
            .args(["large.example", "AXFR", "+nocomments", "+nostats", "+nocrypto"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| line.contains("\tIN\t"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (tls, tcp) = (kdig(port, &["+tls"]), kdig(server.dns.port(), &["+tcp"]));
    assert_eq!(tls.len(), 3004);
    assert_eq!(tls, tcp);
}
