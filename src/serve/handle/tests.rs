//! What becomes of messages, one at a time, at a desk without zones.

use super::*;
use crate::answer::Writer;
use crate::serve::Refuse;
use crate::serve::acl::Prefixes;
use crate::serve::rrl;
use crate::serve::shared::{Desk, Settings, Shared};
use crate::serve::testing::{Gate, desk_of, message, version_query};
use crate::wire::edns::option;
use crate::wire::{HashKey, Header};

const NOW: u32 = 1_800_000_000;
const NOBODYS: &[u8] = b"\x07eXample\x00\x00\x01\x00\x01";

fn settings() -> Settings {
    Settings {
        version: Some("v1".into()),
        server_id: Some("here".into()),
        cookie_secrets: vec![[7; 16], [8; 16]],
        ..Settings::default()
    }
}

/// The reply to `message` from a client at 192.0.2.1; none for silence.
fn reply(desk: &Desk, transport: Transport, message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match desk.handle(transport, "192.0.2.1:4444".parse().unwrap(), message, NOW, &mut out) {
        Outcome::Reply(_) => Some(out),
        Outcome::Silent => None,
        Outcome::Ask(ask) => panic!("{ask:?} was not asked for"),
    }
}

fn desk(settings: Settings) -> Arc<Desk> {
    desk_of(settings, Refuse)
}

/// An OPT with these options.
fn opt(options: &[u8]) -> Vec<u8> {
    let len = (options.len() as u16).to_be_bytes();
    [&[0, 0, 41, 0x10, 0, 0, 0, 0, 0], &len[..], options].concat()
}

fn udp(message: &[u8]) -> Vec<u8> {
    reply(&desk(settings()), Transport::Udp, message).unwrap()
}

/// What stands in one option of a reply without records, to a question of so many octets.
fn option(reply: &[u8], question: &[u8], code: u16) -> Option<Vec<u8>> {
    let mut rest = reply.get(12 + question.len() + 11..)?;
    while let Some((&[c0, c1, l0, l1], tail)) = rest.split_first_chunk::<4>() {
        let (value, tail) = tail.split_at(usize::from(u16::from_be_bytes([l0, l1])));
        if u16::from_be_bytes([c0, c1]) == code {
            return Some(value.to_vec());
        }
        rest = tail;
    }
    None
}

fn header(message: &[u8]) -> Header {
    Header::read(message).unwrap()
}

#[test]
fn a_name_of_no_zone_here_is_refused_with_its_case_kept() {
    let reply = udp(&message(7, 0x0130, NOBODYS, &[]));
    assert_eq!(reply, [&[0, 7, 0x81, 5, 0, 1, 0, 0, 0, 0, 0, 0], NOBODYS].concat());
}

#[test]
fn silence_is_kept_towards_responses_and_scraps() {
    let desk = desk(settings());
    let response = message(7, 0x8000, NOBODYS, &[]);
    for message in [&response[..], &response[..11], &[]] {
        assert_eq!(reply(&desk, Transport::Udp, message), None);
    }
    assert_eq!(desk.shared().registry.total(&DROPPED, 0), 3);
}

#[test]
fn a_faulty_message_is_answered_with_as_much_of_the_question_as_was_understood() {
    let cut = message(7, 0x0100, &NOBODYS[..5], &[]);
    assert_eq!(udp(&cut), [0, 7, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let left_over = [&message(7, 0, NOBODYS, &[])[..], &[0]].concat();
    assert_eq!(udp(&left_over), [&[0, 7, 0x80, 1, 0, 1, 0, 0, 0, 0, 0, 0], NOBODYS].concat());
    let status = message(7, 0x1000, NOBODYS, &[]);
    assert_eq!(udp(&status), [0, 7, 0x90, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_version_of_edns_from_the_future_is_badvers() {
    let opt_1 = [0, 0, 41, 0x10, 0, 0, 1, 0, 0, 0, 0];
    let reply = udp(&message(7, 0, NOBODYS, &[&opt_1]));
    assert_eq!(header(&reply).flags.rcode(), Rcode::NOERROR); // the lower four bits of 16
    assert_eq!(reply[12 + NOBODYS.len()..][..8], [0, 0, 41, 4, 208, 1, 0, 0]);
    assert_eq!(option(&reply, NOBODYS, option::EDE).unwrap()[..2], [0, 21]);
}

#[test]
fn who_the_server_is_is_told_as_far_as_the_operator_says() {
    let reply = udp(&version_query(7));
    assert_eq!(&reply[reply.len() - 5..], b"\x00\x03\x02v1");
    let id = udp(&message(7, 0, b"\x02ID\x06server\x00\x00\x10\x00\x03", &[]));
    assert_eq!(&id[id.len() - 5..], b"\x04here");
    let nsid = udp(&message(7, 0, NOBODYS, &[&opt(&[0, 3, 0, 0])]));
    assert_eq!(option(&nsid, NOBODYS, option::NSID).unwrap(), b"here");
    assert_eq!(option(&nsid, NOBODYS, option::EDE).unwrap()[..2], [0, 20]);

    let silent = desk(Settings::default());
    let refused = self::reply(&silent, Transport::Udp, &version_query(7)).unwrap();
    assert_eq!(header(&refused).flags.rcode(), Rcode::REFUSED);
    let nsid = message(7, 0, NOBODYS, &[&opt(&[0, 3, 0, 0])]);
    let no_nsid = self::reply(&silent, Transport::Udp, &nsid).unwrap();
    assert_eq!(option(&no_nsid, NOBODYS, option::NSID), None);
}

#[test]
fn what_is_not_for_udp_or_not_at_all_is_refused_by_name() {
    for (qtype, rcode) in [
        (252, Rcode::NOTIMP),  // AXFR
        (249, Rcode::NOTIMP),  // TKEY
        (250, Rcode::FORMERR), // TSIG
        (41, Rcode::FORMERR),  // OPT
        (253, Rcode::NOTIMP),  // MAILB
    ] {
        let question = [b"\x01x\x00\x00", &[qtype][..], b"\x00\x01"].concat();
        assert_eq!(header(&udp(&message(7, 0, &question, &[]))).flags.rcode(), rcode, "{qtype}");
    }
    for class in [0, 2, 4, 254] {
        let question = [b"\x01x\x00\x00\x01\x00", &[class][..]].concat();
        let reply = udp(&message(7, 0, &question, &[]));
        assert_eq!(header(&reply).flags.rcode(), Rcode::REFUSED, "{class}");
    }
}

#[test]
fn what_the_snapshot_cannot_answer_is_asked_for() {
    let desk = desk_of(settings(), Refuse);
    let outcome = |transport, message: &[u8]| {
        let peer = "192.0.2.1:4444".parse().unwrap();
        desk.handle(transport, peer, message, NOW, &mut Vec::new())
    };
    let soa = b"\x07example\x00\x00\x06\x00\x01";
    let axfr = b"\x07example\x00\x00\xfc\x00\x01";
    assert_eq!(outcome(Transport::Udp, &message(1, 0x2000, soa, &[])), Outcome::Ask(Ask::Notify));
    assert_eq!(outcome(Transport::Udp, &message(1, 0x2800, soa, &[])), Outcome::Ask(Ask::Update));
    assert_eq!(outcome(Transport::Tcp, &message(1, 0, axfr, &[])), Outcome::Ask(Ask::Transfer));
    let ixfr = b"\x07example\x00\x00\xfb\x00\x01";
    assert_eq!(outcome(Transport::Udp, &message(1, 0, ixfr, &[])), Outcome::Ask(Ask::Transfer));
    assert!(matches!(outcome(Transport::Doh, &message(1, 0, axfr, &[])), Outcome::Reply(_)));
    assert!(matches!(outcome(Transport::Doh, &message(1, 0, ixfr, &[])), Outcome::Reply(_)));
}

#[test]
fn what_is_asked_for_is_refused_where_nobody_knows_better() {
    let desk = desk_of(settings(), Refuse);
    let soa = b"\x07example\x00\x00\x06\x00\x01";
    for (flags, rcode) in [(0x2000, 9), (0x2800, 5)] {
        let mut out = Vec::new();
        let message = message(1, flags, soa, &[&opt(&[])]);
        desk.ask(Transport::Tcp, SocketAddr::from(([192, 0, 2, 1], 1)), &message, NOW, &mut out);
        assert_eq!(header(&out).flags.rcode(), Rcode(rcode));
        assert_eq!(header(&out).additionals, 1);
    }
}

#[test]
fn a_cookie_is_answered_with_one_that_is_good_next_time() {
    let desk = desk(settings());
    let first = opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let reply = |opt: &[u8]| reply(&desk, Transport::Udp, &message(7, 0, NOBODYS, &[opt])).unwrap();

    let cookie = option(&reply(&first), NOBODYS, option::COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &first[15..23]));
    let again = reply(&opt(&[&[0, 10, 0, 24], &cookie[..]].concat()));

    assert_eq!(option(&again, NOBODYS, option::COOKIE).unwrap(), cookie);
    assert_eq!(desk.shared().registry.total(&COOKIES, State::ClientOnly as usize), 1);
    assert_eq!(desk.shared().registry.total(&COOKIES, State::Valid as usize), 1);
}

#[test]
fn rfc7873_5_4_a_cookie_can_be_had_without_a_question() {
    let mut query = message(7, 0, b"", &[&opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])]);
    query[5] = 0;
    let reply = udp(&query);
    assert_eq!((header(&reply).questions, header(&reply).flags.rcode()), (0, Rcode::NOERROR));
    assert_eq!(reply.len(), 12 + 11 + 28);
}

#[test]
fn rfc7873_5_4_a_cookie_shown_without_a_question_is_told_to_be_good_or_bad() {
    let shown = |cookie: &[u8]| {
        let mut query = message(7, 0, b"", &[&opt(&[&[0, 10, 0, 24], cookie].concat())]);
        query[5] = 0;
        let reply = udp(&query);
        let upper = u16::from(reply[12 + 5]) << 4;
        (Rcode(upper | header(&reply).flags.rcode().0), option(&reply, b"", option::COOKIE))
    };
    let (rcode, good) = shown(&[1; 24]);
    assert_eq!(rcode, Rcode::BADCOOKIE);
    let good = good.unwrap();
    assert_eq!(shown(&good), (Rcode::NOERROR, Some(good.clone())));
}

#[test]
fn a_transfer_is_of_one_class() {
    for qtype in [251, 252] {
        let question = [b"\x01x\x00\x00", &[qtype][..], b"\x00\xff"].concat();
        let desk = desk(settings());
        let refused = reply(&desk, Transport::Tcp, &message(7, 0, &question, &[])).unwrap();
        assert_eq!(header(&refused).flags.rcode(), Rcode::REFUSED, "{qtype}");
    }
}

#[test]
fn streams_tell_how_long_they_stay_and_encrypted_ones_are_padded() {
    let desk = desk(settings());
    let query = message(7, 0, NOBODYS, &[&opt(&[0, 11, 0, 0, 0, 12, 0, 0])]);
    let reply = |transport| reply(&desk, transport, &query).unwrap();
    let len = |transport| reply(transport).len();
    let keepalive = |transport| option(&reply(transport), NOBODYS, option::KEEPALIVE);
    assert_eq!(keepalive(Transport::Udp), None);
    assert_eq!(keepalive(Transport::Tcp).unwrap(), 100u16.to_be_bytes());
    assert_ne!(len(Transport::Tcp), 468);
    assert_eq!(len(Transport::Dot), 468);
    assert_eq!(len(Transport::Doh), 468);
}

#[test]
fn the_agent_for_error_reports_is_named_if_there_is_one() {
    let agent = crate::wire::Name::parse("a.example.").unwrap();
    let desk = desk(Settings { report_agent: Some(agent.clone()), ..settings() });
    let reply = reply(&desk, Transport::Udp, &message(7, 0, NOBODYS, &[&opt(&[])])).unwrap();
    assert_eq!(option(&reply, NOBODYS, option::REPORT_CHANNEL).unwrap(), agent.as_wire());
}

#[test]
fn a_signature_by_an_unknown_key_is_badkey() {
    let tsig = [
        b"\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x1d".as_slice(),
        b"\x09hmac-test\x00\x00\x00\x00\x00\x00\x01\x01\x2c\x00\x02xx\x12\x34\x00\x00\x00\x00",
    ]
    .concat();
    let reply = udp(&message(7, 0, NOBODYS, &[&tsig]));
    assert_eq!((header(&reply).flags.rcode(), header(&reply).additionals), (Rcode::NOTAUTH, 1));
    assert!(reply.ends_with(b"\x01\x2c\x00\x00\x12\x34\x00\x11\x00\x00"));
}

fn limited(slip: u8, dry_run: bool) -> Arc<Desk> {
    let rate_limit = rrl::Settings {
        enabled: true,
        responses_per_second: 1,
        slip,
        exempt: Prefixes::new(["198.51.100.0/24".parse().unwrap()]),
        dry_run,
    };
    desk(Settings { rate_limit, ..settings() })
}

#[test]
fn past_the_limit_there_is_silence_then_tc_but_not_for_cookies_streams_and_the_exempt() {
    let desk = limited(2, false);
    let query = message(7, 0, NOBODYS, &[]);
    let udp = |message: &[u8]| reply(&desk, Transport::Udp, message);
    assert!(!header(&udp(&query).unwrap()).flags.is_truncated());
    assert_eq!(udp(&query), None);
    assert!(header(&udp(&query).unwrap()).flags.is_truncated());
    assert_eq!(udp(&query), None);

    // A client that knows cookies is told to use its cookie, and with it gets through.
    let client = opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let told = udp(&message(7, 0, NOBODYS, &[&client])).unwrap();
    assert_eq!(told[12 + NOBODYS.len() + 5], 1); // extended RCODE 23
    assert_eq!(header(&told).flags.rcode(), Rcode(7));
    // Why, and not what the answer would have said.
    assert_eq!(option(&told, NOBODYS, option::EDE).unwrap()[..2], [0, 0]);
    let cookie = option(&told, NOBODYS, option::COOKIE).unwrap();
    let good = opt(&[&[0, 10, 0, 24], &cookie[..]].concat());
    for _ in 0..4 {
        let reply = udp(&message(7, 0, NOBODYS, &[&good])).unwrap();
        assert_eq!(header(&reply).flags.rcode(), Rcode::REFUSED);
    }
    assert!(reply(&desk, Transport::Tcp, &query).is_some());
    let mut out = Vec::new();
    let exempt = "198.51.100.7:1".parse().unwrap();
    for _ in 0..4 {
        let outcome = desk.handle(Transport::Udp, exempt, &query, NOW, &mut out);
        assert!(matches!(outcome, Outcome::Reply(_)));
    }
}

/// Goal: who may not notify, update or transfer is no way around the limit, and what is no refusal is none of it.
#[test]
fn what_others_refuse_is_limited_as_any_refusal() {
    const ZONE: &[u8] = b"\x07example\x00\x00\x06\x00\x01";
    let peer: SocketAddr = "192.0.2.1:4444".parse().unwrap();
    for (what, flags, question) in [
        ("NOTIFY", 0x2000, ZONE),
        ("UPDATE", 0x2800, ZONE),
        ("IXFR", 0, b"\x07example\x00\x00\xfb\x00\x01"),
    ] {
        let message = message(7, flags, question, &[]);
        let desk = limited(2, false);
        let replies = |transport: Transport| {
            let mut replies = Vec::new();
            let all = [(peer, &message[..]); 4];
            desk.ask_all(transport, &all, NOW, &mut |_, reply, _| replies.push(reply.to_vec()));
            replies
        };
        let [sent, silence, slipped, end] = &replies(Transport::Udp)[..] else { panic!("{what}") };
        assert!(!header(sent).flags.is_truncated(), "{what}");
        assert!(silence.is_empty() && end.is_empty(), "{what}");
        assert!(header(slipped).flags.is_truncated(), "{what}");
        assert!(replies(Transport::Tcp).iter().all(|reply| reply.len() == sent.len()), "{what}");
    }

    let (gate, _open) = Gate::new(0, 0);
    let rate_limit = limited(0, false).shared().settings.rate_limit.clone();
    let desk = desk_of(Settings { rate_limit, ..settings() }, gate);
    let notify = message(7, 0x2000, ZONE, &[]);
    let mut sent = 0;
    let all = [(peer, &notify[..]); 4];
    desk.ask_all(Transport::Udp, &all, NOW, &mut |_, reply, _| {
        sent += usize::from(!reply.is_empty());
    });
    assert_eq!(sent, 4);
}

#[test]
fn all_workers_take_from_the_same_buckets() {
    let desk = limited(0, false);
    let query = message(7, 0, NOBODYS, &[]);
    let sent = (0..4).filter(|_| {
        let worker = Context::new(desk.shared(), Transport::Udp);
        let mut slot = Slot::new(4096);
        slot.receive(&query, "192.0.2.1:4444".parse().unwrap());
        handle(&worker, &mut slot, NOW) != Outcome::Silent
    });
    assert_eq!(sent.count(), 1);
}

#[test]
fn a_dry_run_only_counts() {
    let desk = limited(0, true);
    let query = message(7, 0, NOBODYS, &[]);
    for _ in 0..5 {
        assert!(reply(&desk, Transport::Udp, &query).is_some());
    }
    assert_eq!(desk.shared().registry.total(&RATE_LIMITED, 2), 4);
}

#[test]
fn past_the_threshold_only_who_shows_a_cookie_is_answered_by_udp() {
    let rate_limit = rrl::Settings {
        exempt: Prefixes::new(["198.51.100.0/24".parse().unwrap()]),
        ..rrl::Settings::default()
    };
    let desk = desk(Settings { rate_limit, cookies_above: 3, ..settings() });
    let query = message(7, 0, NOBODYS, &[]);
    let udp = |message: &[u8]| reply(&desk, Transport::Udp, message).unwrap();
    for _ in 0..4 {
        assert!(!header(&udp(&query)).flags.is_truncated());
    }
    assert!(header(&udp(&query)).flags.is_truncated());

    let client = opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let told = udp(&message(7, 0, NOBODYS, &[&client]));
    assert_eq!((header(&told).flags.rcode(), told[12 + NOBODYS.len() + 5]), (Rcode(7), 1));
    let cookie = option(&told, NOBODYS, option::COOKIE).unwrap();
    let good = opt(&[&[0, 10, 0, 24], &cookie[..]].concat());
    let answered = udp(&message(7, 0, NOBODYS, &[&good]));
    assert_eq!(header(&answered).flags.rcode(), Rcode::REFUSED);
    let by_tcp = reply(&desk, Transport::Tcp, &query).unwrap();
    assert!(!header(&by_tcp).flags.is_truncated());
    let (mut out, exempt) = (Vec::new(), "198.51.100.7:1".parse().unwrap());
    desk.handle(Transport::Udp, exempt, &query, NOW, &mut out);
    assert!(!header(&out).flags.is_truncated());
    assert_eq!(desk.shared().registry.total(&RATE_LIMITED, 3), 2);
}

#[test]
fn every_error_says_why_to_who_knows_edns() {
    let question = |qtype: u8, class: u8| [b"\x01x\x00\x00", &[qtype, 0, class][..]].concat();
    for (flags, question, code) in [
        (0, NOBODYS.to_vec(), 20),
        (0, question(252, 1), 21),
        (0, question(249, 1), 21),
        (0, question(41, 1), 0),
        (0, question(1, 4), 21),
        (0, question(16, 3), 18),
    ] {
        let reply = udp(&message(7, flags, &question, &[&opt(&[])]));
        let ede = option(&reply, &question, option::EDE);
        let ede = ede.unwrap_or_else(|| panic!("{question:?}: {reply:?}"));
        assert_eq!(ede[..2], [0, code], "{question:?}");
    }
    let desk = desk_of(settings(), Refuse);
    let soa = b"\x07example\x00\x00\x06\x00\x01";
    for flags in [0x2000, 0x2800] {
        let mut out = Vec::new();
        let message = message(1, flags, soa, &[&opt(&[])]);
        desk.ask(Transport::Tcp, SocketAddr::from(([192, 0, 2, 1], 1)), &message, NOW, &mut out);
        assert!(option(&out, soa, option::EDE).is_some(), "{out:?}");
    }
}

#[test]
fn rfc8914_while_zones_are_loaded_what_is_not_there_is_not_ready() {
    let mut writer = Writer::new(HashKey::new([7; 24]));
    writer.start_load();
    let registry = Arc::default();
    let shared = Shared::new(settings(), writer.published(), Arc::new(Refuse), registry, 7);
    let reply =
        reply(&Desk::new(shared), Transport::Udp, &message(7, 0, NOBODYS, &[&opt(&[])])).unwrap();
    assert_eq!(header(&reply).flags.rcode(), Rcode::SERVFAIL);
    assert_eq!(option(&reply, NOBODYS, option::EDE).unwrap()[..2], [0, 14]);
}

/// Goal: also who signs, and is not believed, is told why; and has a cookie like others.
#[test]
fn rfc8914_who_is_refused_for_a_signature_is_told_why() {
    let tsig = |time: u8| {
        [
            b"\x03key\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x1d".as_slice(),
            &[b"\x09hmac-test\x00\x00\x00\x00\x00\x00", &[time][..]].concat(),
            b"\x01\x2c\x00\x02xx\x12\x34\x00\x00\x00\x00",
        ]
        .concat()
    };
    let cookie = opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let reply = udp(&message(7, 0, NOBODYS, &[&cookie, &tsig(1)]));
    assert_eq!(header(&reply).flags.rcode(), Rcode::NOTAUTH);
    let ede = option(&reply, NOBODYS, option::EDE).unwrap();
    assert_eq!(ede, b"\0\0there is no TSIG key of this name and algorithm here");
    assert_eq!(option(&reply, NOBODYS, option::COOKIE).unwrap().len(), 24);
    let malformed = udp(&message(7, 0, NOBODYS, &[&opt(&[]), &tsig(1)[..15]]));
    assert_eq!(header(&malformed).flags.rcode(), Rcode::FORMERR);
}

#[test]
fn what_is_asked_of_others_is_answered_with_a_cookie_too() {
    let desk = desk_of(settings(), Refuse);
    let soa = b"\x07example\x00\x00\x06\x00\x01";
    let cookie = opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    for flags in [0x2000, 0x2800] {
        let mut out = Vec::new();
        let message = message(1, flags, soa, &[&cookie]);
        desk.ask(Transport::Tcp, SocketAddr::from(([192, 0, 2, 1], 1)), &message, NOW, &mut out);
        assert_eq!(option(&out, soa, option::COOKIE).unwrap().len(), 24);
    }
}

/// Answers here do not depend on who asks: the option is neither heeded nor sent back, however it is.
#[test]
fn rfc7871_7_1_2_client_subnet_changes_nothing() {
    let plain = udp(&message(7, 0, NOBODYS, &[&opt(&[])]));
    for subnet in [&[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2][..], &[0, 8, 0, 0], &[0, 8, 0, 1, 9]] {
        assert_eq!(udp(&message(7, 0, NOBODYS, &[&opt(subnet)])), plain);
    }
}
