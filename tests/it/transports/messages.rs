//! What messages carry besides records, from outside: OPT with its options, classes, reasons of errors.
//!
//! Each is asked for by every way there is, and read by code of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::{Clients, WAYS, Ways, clients, runtime};
use crate::interop::Zone;
use crate::interop::message::{AA, Answer, TC, rtype};
use crate::interop::questions::wire;
use crate::server::{Server, nameplane};

/// Option codes.
mod option {
    pub const NSID: u16 = 3;
    pub const CLIENT_SUBNET: u16 = 8;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const EDE: u16 = 15;
    pub const REPORT_CHANNEL: u16 = 18;
    pub const ZONEVERSION: u16 = 19;
}

const IN: u16 = 1;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

/// A query with an OPT, whose version and flags are `head`.
fn query_as(name: &str, rtype: u16, class: u16, head: u32, options: &[u8]) -> Vec<u8> {
    let len = (options.len() as u16).to_be_bytes();
    let question = [wire(name), rtype.to_be_bytes().into(), class.to_be_bytes().into()].concat();
    let opt = [&[0, 0, 41, 0x04, 0xD0], &head.to_be_bytes()[..], &len, options].concat();
    [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], &question[..], &opt].concat()
}

fn query(name: &str, rtype: u16, options: &[u8]) -> Vec<u8> {
    query_as(name, rtype, IN, 0, options)
}

/// One option.
fn put(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// A reply as these tests look at it.
#[derive(Debug)]
struct Said {
    /// With the upper bits that stand in OPT.
    rcode: u16,
    version: u8,
    answer: Answer,
    options: BTreeMap<u16, Vec<u8>>,
    octets: usize,
}

/// Reads a reply, which must have an OPT at its end.
fn said(reply: &[u8]) -> Said {
    let answer = Answer::parse(reply).unwrap();
    let opt = answer.edns.unwrap_or_else(|| panic!("no OPT: {answer}"));
    let is_opt = |at: &usize| {
        let len = usize::from(u16::from_be_bytes([reply[at + 9], reply[at + 10]]));
        reply[*at..at + 3] == [0, 0, 41] && at + 11 + len == reply.len()
    };
    let at = (12..=reply.len() - 11).find(is_opt).expect("OPT is last");
    let (mut rest, mut options) = (&reply[at + 11..], BTreeMap::new());
    while let Some((&[c0, c1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
        let (value, tail) = tail.split_at(usize::from(u16::from_be_bytes([l0, l1])));
        let twice = options.insert(u16::from_be_bytes([c0, c1]), value.to_vec());
        assert!(twice.is_none() && rest.len() >= 4, "{reply:?}");
        rest = tail;
    }
    assert!(rest.is_empty(), "{reply:?}");
    let rcode = answer.rcode() | (opt >> 24 << 4) as u16;
    Said { rcode, version: (opt >> 16) as u8, answer, options, octets: reply.len() }
}

/// One reply by every way.
fn everywhere(ways: &Ways, message: &[u8]) -> [(&'static str, Said); WAYS] {
    let exchange = async { Clients::open(ways).await.exchange(message).await };
    runtime().block_on(exchange).map(|(way, reply)| (way, said(&reply)))
}

fn by_udp(server: &Server, message: &[u8]) -> Said {
    said(&runtime().block_on(clients::udp(server.dns, message)))
}

#[test]
fn who_answers_from_which_zone_and_who_hears_of_errors_is_told_by_every_way() {
    let settings = "[dns]\nserver_id = \"here\"\nreport_agent = \"errors.example\"";
    let ways = Ways::start(settings, "");
    let asked = [put(option::NSID, b""), put(option::ZONEVERSION, b"")].concat();

    for (way, said) in everywhere(&ways, &query("www.cuts.test", rtype::A, &asked)) {
        assert_eq!((said.rcode, said.answer.answer.len()), (0, 1), "{way}");
        assert_eq!(said.options[&option::NSID], b"here", "{way}");
        assert_eq!(said.options[&option::ZONEVERSION], [2, 0, 0, 0, 0, 1], "{way}");
        assert_eq!(said.options[&option::REPORT_CHANNEL], wire("errors.example"), "{way}");
    }
    // Who did not ask is told of the agent alone (RFC 9567 §6.2 wants it in every answer).
    for (way, said) in everywhere(&ways, &query("www.cuts.test", rtype::A, b"")) {
        assert_eq!(said.options.into_keys().collect::<Vec<_>>(), [option::REPORT_CHANNEL], "{way}");
    }
}

/// Goal: whatever the answer, the version is that of the zone it is made from; of no zone there is none.
#[test]
fn rfc9660_the_version_told_is_that_of_the_zone_that_answers() {
    let ways = Ways::start("", "");
    let version = |labels: u8, serial: u8| Some(vec![labels, 0, 0, 0, 0, serial]);
    let (parent, child) = (version(2, 1), version(3, 7));
    for (name, rtype, rcode, told) in [
        ("www.cuts.test", rtype::A, 0, parent.clone()),
        ("www.cuts.test", rtype::MX, 0, parent.clone()),
        ("nothing.cuts.test", rtype::A, 3, parent.clone()),
        ("x.indomain.cuts.test", rtype::A, 0, parent.clone()), // a referral
        ("tochild.cuts.test", rtype::A, 0, parent.clone()),    // an alias into the child
        ("child.cuts.test", rtype::DS, 0, parent),
        ("child.cuts.test", rtype::SOA, 0, child.clone()),
        ("www.child.cuts.test", rtype::A, 0, child),
        ("nobodys.example", rtype::A, REFUSED, None),
    ] {
        let said = by_udp(&ways.server, &query(name, rtype, &put(option::ZONEVERSION, b"")));
        assert_eq!((said.rcode, said.options.get(&option::ZONEVERSION)), (rcode, told.as_ref()));
    }
    // §3.1: what asks is empty.
    let odd = put(option::ZONEVERSION, &[2, 0, 0, 0, 0, 1]);
    assert_eq!(by_udp(&ways.server, &query("www.cuts.test", rtype::A, &odd)).rcode, 1);
}

#[test]
fn rfc9660_the_version_told_changes_with_the_zone() {
    let server = Server::start();
    let new = json!({"zone": "one.test.", "name_servers": ["ns.example.net."]});
    server.api("POST", "/v1/zones?push=true", Some(&new));
    let look = || {
        let asks = query("one.test", rtype::SOA, &put(option::ZONEVERSION, b""));
        let said = by_udp(&server, &asks);
        let soa = &said.answer.answer.first().unwrap().rdata;
        let serial = soa[soa.len() - 20..soa.len() - 16].to_vec();
        assert_eq!(said.options[&option::ZONEVERSION], [&[2, 0], &serial[..]].concat());
        serial
    };
    let before = look();

    let edit =
        json!({"op": "add", "name": "x.one.test.", "type": "TXT", "ttl": 5, "records": ["x"]});
    let order = json!({"zones": [{"zone": "one.test.", "edits": [edit]}]});
    server.api("POST", "/v1/change-orders", Some(&order));

    assert_ne!(look(), before);
}

/// Goal: padding goes where nobody can count octets otherwise, and how long a connection stays is told on those
/// that are the server's to end.
#[test]
fn padding_goes_by_encrypted_ways_and_keepalive_by_streams() {
    let ways = Ways::start("", "");
    let pads = query("www.cuts.test", rtype::A, &put(option::PADDING, &[0; 9]));
    for (way, said) in everywhere(&ways, &pads) {
        let padded = said.options.contains_key(&option::PADDING);
        assert_eq!(padded, !matches!(way, "UDP" | "TCP"), "{way}");
        assert_eq!(said.octets % 468 == 0, padded, "{way}: {} octets", said.octets);
    }

    let asks = query("www.cuts.test", rtype::A, &put(option::KEEPALIVE, b""));
    let nameless = [&[0, 0], &asks[2..]].concat();
    let [udp, tcp, dot, doh] = runtime().block_on(async {
        let mut clients = Clients::open(&ways).await;
        let post = &http::Method::POST;
        [
            clients::udp(clients.udp, &asks).await,
            clients::framed(&mut clients.tcp, &asks).await,
            clients::framed(&mut clients.dot, &asks).await,
            clients::doh2(&mut clients.h2, post, &nameless).await,
        ]
        .map(|reply| said(&reply).options.remove(&option::KEEPALIVE))
    });
    let tenths = Some(1200u16.to_be_bytes().to_vec());
    assert_eq!([udp, tcp, dot, doh], [None, tenths.clone(), tenths, None]);
}

#[test]
fn rfc9250_5_5_2_who_sends_keepalive_over_quic_is_not_heard_further() {
    const PROTOCOL_ERROR: u32 = 2;
    let ways = Ways::start("", "");
    let asks = query("www.cuts.test", rtype::A, &put(option::KEEPALIVE, b""));
    let end = runtime().block_on(async {
        let (connection, _) = clients::connect_quic(ways.doq, b"doq").await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let framed = [&(asks.len() as u16).to_be_bytes()[..], &[0, 0], &asks[2..]].concat();
        send.write_all(&framed).await.unwrap();
        send.finish().unwrap();
        connection.closed().await
    });
    let quinn::ConnectionError::ApplicationClosed(closed) = end else { panic!("{end}") };
    assert_eq!(closed.error_code, PROTOCOL_ERROR.into());
}

/// Goal: what a client says that means nothing here changes no octet of the answer.
#[test]
fn unknown_options_and_flags_and_client_subnet_change_nothing() {
    let ways = Ways::start("", "");
    let plain = query("api.shop.example", rtype::A, b"");
    let udp = |message: &[u8]| runtime().block_on(clients::udp(ways.server.dns, message));
    let wanted = udp(&plain);
    let subnet = |value: &[u8]| put(option::CLIENT_SUBNET, value);
    for options in [
        subnet(&[0, 1, 24, 0, 192, 0, 2]),
        subnet(&[0, 2, 56, 0, 32, 1, 13, 184, 0, 0, 0]),
        subnet(&[]),
        subnet(&[9; 40]),
        put(5, &[8, 13]),       // DAU
        put(9, b""),            // EXPIRE
        put(13, &wire("test")), // CHAIN
        put(option::EDE, &[0, 1]),
        put(65_001, &[7; 300]),
        put(65_535, b""),
    ] {
        assert_eq!(udp(&query("api.shop.example", rtype::A, &options)), wanted, "{options:?}");
    }
    // All flags but DO.
    assert_eq!(udp(&query_as("api.shop.example", rtype::A, IN, 0x7FFF, b"")), wanted);
    assert_ne!(udp(&query_as("api.shop.example", rtype::A, IN, 0x8000, b"")), wanted);
}

#[test]
fn rfc6891_6_1_3_another_version_is_badvers_by_every_way() {
    let ways = Ways::start("", "");
    for version in [1, 255] {
        // Options of another version may mean anything: these would be malformed.
        let message = query_as("www.cuts.test", rtype::A, IN, version << 16, &[0, 10, 0, 1, 9]);
        for (way, said) in everywhere(&ways, &message) {
            assert_eq!((said.rcode, said.version), (BADVERS, 0), "{way}");
            assert!(said.answer.answer.is_empty(), "{way}");
            assert_eq!(said.options.keys().collect::<Vec<_>>(), [&option::EDE], "{way}");
            assert_eq!(said.options[&option::EDE][..2], [0, 21], "{way}");
        }
    }
}

/// Goal: a client is given a cookie by every way, and shows it by UDP and TCP alike.
#[test]
fn rfc7873_a_cookie_is_given_by_every_way_and_is_good_again() {
    let ways = Ways::start("", "");
    let asks = |cookie: &[u8]| query("www.cuts.test", rtype::A, &put(option::COOKIE, cookie));
    for (way, mut said) in everywhere(&ways, &asks(b"a client")) {
        let cookie = said.options.remove(&option::COOKIE).unwrap();
        assert_eq!((cookie.len(), &cookie[..8]), (24, &b"a client"[..]), "{way}");
        let again = by_udp(&ways.server, &asks(&cookie));
        assert_eq!(again.options[&option::COOKIE][..12], cookie[..12], "{way}");
    }
    for len in [7, 9, 15, 41] {
        let said = by_udp(&ways.server, &asks(&vec![1; len]));
        assert_eq!(
            (said.rcode, &said.options[&option::EDE][..2]),
            (1, &[0, 0][..]),
            "{len} octets"
        );
    }
}

/// Goal: no error leaves a person guessing. Method: each that a question can meet, by every way.
#[test]
fn rfc8914_every_error_says_why_by_every_way() {
    const NONE: u16 = 254;
    const CH: u16 = 3;
    const MAILB: u16 = 253;
    let ways = Ways::start("", "");
    let long = format!("{0}.{0}.long.alias.test", "p".repeat(60));
    for (name, rtype, class, rcode, reason) in [
        ("nobodys.example", rtype::A, IN, REFUSED, 20),
        ("www.cuts.test", rtype::A, NONE, REFUSED, 21),
        ("www.cuts.test", rtype::TXT, CH, REFUSED, 18),
        ("www.cuts.test", rtype::OPT, IN, 1, 0),
        ("www.cuts.test", MAILB, IN, 4, 21),
        (&long, rtype::A, IN, 6, 0),
    ] {
        for (way, said) in everywhere(&ways, &query_as(name, rtype, class, 0, b"")) {
            assert_eq!(said.rcode, rcode, "{name} by {way}");
            let ede = &said.options[&option::EDE];
            assert_eq!(ede[..2], [0, reason], "{name} by {way}");
            assert!(std::str::from_utf8(&ede[2..]).is_ok_and(|text| !text.is_empty()), "{way}");
        }
    }
    // What is asked of others than the table: a transfer, NOTIFY and UPDATE of zones not here.
    for (name, rtype, opcode) in [
        ("cuts.test", 252, 0),
        ("nobodys.example", rtype::SOA, 0x20),
        ("nobodys.example", rtype::SOA, 0x28),
    ] {
        let mut message = query(name, rtype, b"");
        message[2] = opcode;
        let reply = runtime().block_on(async {
            clients::framed(&mut Clients::open(&ways).await.tcp, &message).await
        });
        let said = said(&reply);
        assert!(matches!(said.rcode, REFUSED | 9), "{name} {opcode}: {said:?}");
        assert!(said.options[&option::EDE].len() > 2, "{name} {opcode}");
    }
    let refused = by_udp(&ways.server, &query("cuts.test", 252, b""));
    assert_eq!((refused.rcode, &refused.options[&option::EDE][..2]), (4, &[0, 21][..]));
}

/// Goal: nor does a message that goes wrong before its OPT is come to.
#[test]
fn rfc8914_a_faulty_message_is_told_so_by_every_way() {
    let ways = Ways::start("", "");
    let good = query("www.cuts.test", rtype::A, b"");
    let (head, rest) = good.split_at(12);
    let (question, opt) = rest.split_at(rest.len() - 11);
    let changed = |parts: &[&[u8]], at: usize, octet: u8| {
        let mut message = parts.concat();
        message[at] = octet;
        message
    };
    let record = [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1];
    for (what, rcode, message) in [
        ("an OPCODE nobody knows", 4, changed(&[&good], 2, 0x78)),
        ("STATUS", 4, changed(&[&good], 2, 0x10)),
        ("two questions", 1, changed(&[head, question, question, opt], 5, 2)),
        ("no question", 1, changed(&[head, opt], 5, 0)),
        ("an answer in a query", 1, changed(&[head, question, &record, opt], 7, 1)),
        ("two OPT", 1, changed(&[&good, opt], 11, 2)),
        ("octets left over", 1, changed(&[&good, &[0]], 12, 3)),
    ] {
        for (way, said) in everywhere(&ways, &message) {
            assert_eq!((said.rcode, said.answer.answer.len()), (rcode, 0), "{what} by {way}");
            assert!(said.options[&option::EDE].len() > 2, "{what} by {way}");
        }
    }
}

/// Goal: a zone that cannot be answered from now is told apart from one that is not here, and an alias into it is
/// still told.
#[test]
fn rfc8914_servfail_says_why_by_every_way() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("here.test.zone");
    let text =
        "@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.1\nway 60 CNAME www.gone.test.\n";
    std::fs::write(&file, text).unwrap();
    let ways = Ways::of(vec![("here.test".to_owned(), file)], "", "");
    ways.server.said(&["zone", "primaries", "set", "gone.test", "127.0.0.1:9"]);

    for name in ["gone.test", "www.gone.test"] {
        for (way, said) in everywhere(&ways, &query(name, rtype::A, b"")) {
            assert_eq!((said.rcode, said.answer.flags & AA), (2, 0), "{name} by {way}");
            assert_eq!(said.options[&option::EDE][..2], [0, 24], "{name} by {way}");
        }
    }
    for (way, said) in everywhere(&ways, &query("way.here.test", rtype::A, b"")) {
        assert_eq!((said.rcode, said.answer.answer.len()), (0, 1), "{way}");
    }
}

/// Goal: a cookie is a cookie whatever is asked, and of nothing asked the server says whether it is good.
#[test]
fn rfc7873_5_4_a_cookie_shown_alone_is_told_to_be_good_or_bad_by_every_way() {
    const BADCOOKIE: u16 = 23;
    let ways = Ways::start("", "");
    let alone = |cookie: &[u8]| {
        let option = put(option::COOKIE, cookie);
        let len = (option.len() as u16).to_be_bytes();
        let opt = [&[0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0], &len[..], &option].concat();
        [&[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &opt[..]].concat()
    };
    for (way, said) in everywhere(&ways, &alone(&[1; 24])) {
        assert_eq!(said.rcode, BADCOOKIE, "{way}");
        let cookie = &said.options[&option::COOKIE];
        assert_eq!(by_udp(&ways.server, &alone(cookie)).rcode, 0, "{way}");
    }
    assert_eq!(by_udp(&ways.server, &alone(&[1; 8])).rcode, 0);
}

/// Goal: a class other than IN is never answered as if it were IN; ANY is IN without authority (RFC 1035 §6.2).
#[test]
fn classes_any_chaos_and_none_are_what_they_are_by_every_way() {
    let ways = Ways::start("[dns]\nversion = \"v1\"", "");
    let class = |class| everywhere(&ways, &query_as("www.cuts.test", rtype::A, class, 0, b""));
    for ((way, own), (_, any)) in class(IN).into_iter().zip(class(255)) {
        assert_eq!((own.answer.flags & AA, any.answer.flags & AA), (AA, 0), "{way}");
        assert_eq!(own.answer.answer, any.answer.answer, "{way}");
        assert_eq!(own.answer.answer.len(), 1, "{way}");
    }
    for other in [0, 2, 3, 4, 254, 65_535] {
        for (way, said) in class(other) {
            assert_eq!((said.rcode, said.answer.answer.len()), (REFUSED, 0), "{other} by {way}");
        }
    }
    let chaos = query_as("version.bind", rtype::TXT, 3, 0, b"");
    for (way, said) in everywhere(&ways, &chaos) {
        let record = said.answer.answer.first().unwrap();
        assert_eq!((record.class, &record.rdata[..]), (3, &b"\x02v1"[..]), "{way}");
    }
}

/// Goal: no reply is longer than its client takes, options and all; an RRset comes whole or not at all.
#[test]
fn at_every_size_a_reply_fits_with_its_options_or_says_that_it_is_cut() {
    const SIZES: [(&str, usize, u16); 3] =
        [("small", 5, 512), ("usual", 20, 1232), ("large", 70, 4096)];
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sizes.test.zone");
    let mut zone =
        String::from("@ 60 SOA ns.test. h.test. 1 7200 900 1209600 300\n@ 60 NS ns.test.\n");
    for (owner, records, _) in SIZES {
        for number in 0..records {
            writeln!(zone, "{owner} 60 TXT \"{number:040}\"").unwrap();
        }
    }
    std::fs::write(&file, zone).unwrap();
    let settings = "[dns]\nudp_octets_max = 4096\nserver_id = \"a server with many letters\"";
    let ways = Ways::of(vec![("sizes.test".to_owned(), file)], settings, "");
    let options = [put(option::NSID, b""), put(option::COOKIE, b"a client")].concat();
    let ask = |owner: &str, payload: u16| {
        let mut message = query(&format!("{owner}.sizes.test"), rtype::TXT, &options);
        let at = message.len() - options.len() - 8;
        message[at..at + 2].copy_from_slice(&payload.to_be_bytes());
        let said = by_udp(&ways.server, &message);
        let takes = usize::from(payload.clamp(512, 4096));
        assert!(said.octets <= takes, "{owner} {payload}: {} octets", said.octets);
        assert_eq!(said.options.len(), 2, "{owner} {payload}");
        said
    };
    for (owner, records, most) in SIZES {
        let whole = ask(owner, most);
        assert_eq!((whole.answer.answer.len(), whole.answer.flags & TC), (records, 0), "{owner}");
        let octets = whole.octets as u16;
        for payload in (octets - 60..=octets + 3).chain([0, 511, 513, u16::MAX]) {
            let said = ask(owner, payload);
            let fits = payload.max(512) >= octets;
            let expected = if fits { (records, 0) } else { (0, TC) };
            let got = (said.answer.answer.len(), said.answer.flags & TC);
            assert_eq!(got, expected, "{owner} {payload} of {octets}");
        }
    }
}

/// Goal: an RRset as large as a message holds comes whole by every stream, whatever options are asked for, and by UDP
/// not in pieces. One octet more is refused before it is a zone's.
#[test]
fn an_rrset_of_64_kib_comes_whole_by_streams_and_truncated_by_udp() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("large.test.zone");
    let mut zone =
        String::from("@ 60 SOA ns.test. h.test. 1 7200 900 1209600 300\n@ 60 NS ns.test.\n");
    for number in 0..1_259 {
        writeln!(zone, "large 60 TYPE65400 \\# 40 {number:08x}{:072x}", 7).unwrap();
    }
    let over = format!("{zone}large 60 TYPE65400 \\# 11 {:022x}\n", 7);
    std::fs::write(&file, over).unwrap();
    let check = nameplane().args(["zone", "check"]).arg(&file).output().unwrap();
    let fault = [check.stdout, check.stderr].concat();
    let fault = String::from_utf8_lossy(&fault);
    assert!(!check.status.success() && fault.contains("an answer of 65536 octets"), "{fault}");
    writeln!(zone, "large 60 TYPE65400 \\# 10 {:020x}", 7).unwrap();
    std::fs::write(&file, zone).unwrap();
    let zones: Vec<Zone> = vec![("large.test".to_owned(), file)];
    let ways = Ways::of(zones, "[dns]\nserver_id = \"here\"", "");

    let options = [put(option::COOKIE, b"a client"), put(option::NSID, b"")].concat();
    for options in [&b""[..], &options] {
        for (way, said) in everywhere(&ways, &query("large.large.test", 65_400, options)) {
            let (cut, records) = if way == "UDP" { (TC, 0) } else { (0, 1_260) };
            assert_eq!((said.answer.flags & TC, said.answer.answer.len()), (cut, records), "{way}");
            assert!(way == "UDP" && said.octets <= 1232 || said.octets == 65_535, "{way}");
        }
    }
}
