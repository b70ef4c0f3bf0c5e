//! What must hold whatever octets come: one function for each fuzz target.
//!
//! Compiled twice: into the targets, which look for octets that break a claim, and into the tests,
//! which put every corpus to it. The zones behind are those of the interop suite: every kind of answer
//! can be reached.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use nameplane::answer::{Rendered, Writer, render};
use nameplane::metrics::Registry;
use nameplane::serve::{self, Context, Outcome, Refuse, Shared, Slot, Transport};
use nameplane::transport::proxy;
use nameplane::wire::edns::Edns;
use nameplane::wire::query::RecordAt;
use nameplane::wire::tsig::Algorithm;
use nameplane::wire::{HashKey, Name, Query, TsigKey, Type, rdata};
use nameplane::zone::packed;
use nameplane::zone::text::{self, Limits, Options, Parsed};
use nameplane::zone::tree::PackedZone;

/// A server without sockets, and the names it knows.
struct World {
    shared: Arc<Shared>,
    /// Owners in wire form, in order.
    owners: Vec<Vec<u8>>,
}

const ZONES: [(&str, &str); 10] = [
    ("alias.test.", include_str!("../interop/zones/alias.test.zone")),
    ("apexdname.test.", include_str!("../interop/zones/apexdname.test.zone")),
    ("child.cuts.test.", include_str!("../interop/zones/child.cuts.test.zone")),
    ("cuts.test.", include_str!("../interop/zones/cuts.test.zone")),
    ("nsec.test.", include_str!("../interop/zones/nsec.test.zone")),
    ("nsec3.test.", include_str!("../interop/zones/nsec3.test.zone")),
    ("optout.test.", include_str!("../interop/zones/optout.test.zone")),
    ("salted.test.", include_str!("../interop/zones/salted.test.zone")),
    ("types.test.", include_str!("../interop/zones/types.test.zone")),
    ("wild.test.", include_str!("../interop/zones/wild.test.zone")),
];

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = HashKey::new(*b"the same key in each run");
    let mut writer = Writer::new(key.clone());
    let mut owners = Vec::new();
    for (id, (apex, text)) in (1..).zip(ZONES) {
        let apex = Name::parse(apex).expect("a constant that is a name");
        let is_apex =
            |name: &Name| ZONES.iter().any(|(apex, _)| Name::parse(apex).as_ref() == Ok(name));
        let parsed = text::parse(
            text.as_bytes(),
            Options { apex: Some(apex.clone()), ..Options::default() },
        );
        let parsed = parsed.expect("a committed zone that is read");
        let view = PackedZone::new(apex, &parsed.packed);
        let mut rendered = Rendered::new(&key);
        let zone = render::Zone { id, view: &view, children: Some(&is_apex) };
        render::zone(&mut rendered, &zone).expect("memory that can be read");
        writer.publish(&[rendered]);
        owners.extend(packed::nodes(&parsed.packed).map(|node| node.owner.to_vec()));
    }
    let keys = Arc::<serve::keys::Keyring>::default();
    let name = Name::parse("key.").expect("a constant that is a name");
    let tsig = TsigKey::new(name, Algorithm::HmacSha256, b"a secret that is known");
    keys.replace([(tsig.expect("a secret of the right length"), None)]);
    let settings = serve::Settings {
        server_id: Some("fuzzed".into()),
        cookie_secrets: vec![*b"sixteen octets!!"],
        keys,
        ..serve::Settings::default()
    };
    let zones = writer.published();
    World {
        shared: Shared::new(settings, zones, Arc::new(Refuse), Arc::new(Registry::default()), 7),
        owners,
    }
});

thread_local! {
    /// One for each thread: counters are kept for as long as the process lives.
    static CONTEXT: RefCell<Context> = RefCell::new(Context::new(&WORLD.shared, Transport::Udp));
}

/// Any octets that come as a message get a well-formed reply or none, over every transport.
pub fn message(data: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Dot] {
        answer(transport, data);
    }
}

/// Questions near the names served: the first octets choose an owner, a type and what is put before.
pub fn query(data: &[u8]) {
    let &[high, low, t0, t1, flags, ref labels @ ..] = data else { return };
    let transfer = matches!(Type(u16::from_be_bytes([t0, t1])), Type::AXFR | Type::IXFR);
    let owner = &WORLD.owners[usize::from(u16::from_be_bytes([high, low])) % WORLD.owners.len()];
    // Some labels of the owner may be left out, so that names above and beside it are asked too.
    let mut below = owner.as_slice();
    for _ in 0..flags & 3 {
        if below[0] != 0 {
            below = &below[1 + usize::from(below[0])..];
        }
    }
    let mut message = vec![0x12, 0x34, flags & 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(flags & 4 != 0)];
    let mut rest = labels;
    while let Some((&len, tail)) = rest.split_first() {
        let len = usize::from(len & 63).min(tail.len());
        if len == 0 || message.len() - 12 + 1 + len + below.len() > 255 {
            break;
        }
        message.push(len as u8);
        message.extend(&tail[..len]);
        rest = &tail[len..];
    }
    message.extend(below);
    message.extend([t0, t1, 0, 1]);
    if flags & 4 != 0 {
        message.extend([0, 0, 41, 0x04, 0xD0, 0, 0, flags & 0x80, 0, 0, 0]);
    }
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(reply) = answer(transport, &message) else {
            assert!(transfer, "a question with a proper header has an answer");
            continue;
        };
        assert_eq!(
            reply[12..][..message_question(&message)],
            message[12..][..message_question(&message)]
        );
    }
}

/// Octets of the question of a message made by [`query`].
fn message_question(message: &[u8]) -> usize {
    let opt = if message[11] == 1 { 11 } else { 0 };
    message.len() - 12 - opt
}

/// The octets of an OPT: read without harm, and answered with one OPT of ours.
pub fn edns(data: &[u8]) {
    let &[c0, c1, l0, l1, l2, l3, ref options @ ..] = data else { return };
    let (class, ttl) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([l0, l1, l2, l3]));
    let mut edns = Edns::new(class, ttl);
    let read = edns.read_options(options);
    if read.is_ok() {
        assert!(edns.udp_octets() >= 512, "no client is offered less than RFC 1035's 512");
        assert!(edns.cookie.as_ref().is_none_or(|cookie| cookie.server().len() <= 32));
    }
    let Ok(len) = u16::try_from(options.len()) else { return };
    let mut message =
        b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03www\x04nsec\x04test\0\0\x01\0\x01\0\0\x29".to_vec();
    message.extend(&data[..6]);
    message.extend(len.to_be_bytes());
    message.extend(options);
    for transport in [Transport::Udp, Transport::Tcp, Transport::Dot] {
        let Some(reply) = answer(transport, &message) else { continue };
        let opts =
            records(&reply).into_iter().filter(|(_, record)| record.rtype == Type::OPT).count();
        let known = if read.is_ok() { 1..=1 } else { 0..=1 };
        assert!(known.contains(&opts), "RFC 6891 §6.1.1: who sends OPT gets one: {opts}");
    }
}

/// What comes from a balancer is read or refused; what is read lies within it.
pub fn proxy(data: &[u8]) {
    if let Ok(told) = proxy::read(data) {
        assert!((16..=data.len()).contains(&told.len), "{told:?} of {} octets", data.len());
        assert_eq!(proxy::read(&data[..told.len]), Ok(told), "what follows counts");
    }
}

/// A zone file is read or all its faults are told; what is read can be written and read again.
pub fn zone(data: &[u8]) {
    let options = || Options {
        origin: Some(Name::parse("fuzz.test.").expect("a constant that is a name")),
        default_ttl: Some(3600),
        limits: Limits { records: 20_000, generate: 2_000 },
        ..Options::default()
    };
    match text::parse(data, options()) {
        Err(faults) => assert!(!faults.is_empty(), "refused without a reason"),
        Ok(parsed) => written_and_read_again(&parsed, options()),
    }
}

fn written_and_read_again(parsed: &Parsed, options: Options<'_>) {
    for node in packed::nodes(&parsed.packed) {
        for set in node.rrsets() {
            for octets in set.rdatas() {
                assert_eq!(rdata::validate(set.rtype, octets), Ok(()), "{:?}", set.rtype);
            }
        }
    }
    let view = PackedZone::new(parsed.apex.clone(), &parsed.packed);
    let mut written = String::new();
    if text::write(&view, &mut written).is_err() {
        return;
    }
    let apex = Some(parsed.apex.clone());
    let limits = Limits { records: 100_000, generate: 0 };
    match text::parse(written.as_bytes(), Options { apex, limits, ..options }) {
        Ok(again) => assert_eq!(again.packed, parsed.packed, "\n{written}"),
        Err(faults) => panic!("what we wrote is refused: {faults:?}\n{written}"),
    }
}

/// Handles one message; checks the reply's form.
fn answer(transport: Transport, message: &[u8]) -> Option<Vec<u8>> {
    let mut slot = Slot::new(if transport == Transport::Udp { 4288 } else { 65_535 });
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);
    if !slot.receive(message, peer) {
        return None;
    }
    let outcome = CONTEXT.with_borrow_mut(|context| {
        context.transport = transport;
        serve::handle(context, &mut slot, 1_800_000_000)
    });
    let Outcome::Reply(len) = outcome else { return None };
    let reply = slot.octets[..len].to_vec();
    assert!(reply.len() >= 12 && reply[..2] == message[..2], "the ID changed");
    assert!(reply[2] & 0x80 != 0 && message[2] & 0x80 == 0, "a response is answered with a query");
    if transport == Transport::Udp {
        assert!(reply.len() <= 1232, "{} octets over UDP", reply.len());
    }
    let mut query = Query::default();
    if query.parse(message, &HashKey::new([0; 24])).is_ok() {
        assert!(Name::from_wire(query.name()).is_ok() || query.name().is_empty());
        assert!(query.edns.is_some() || transport != Transport::Udp || reply.len() <= 512);
    }
    // Records must end where the message does, and each be what its type says.
    for (at, record) in records(&reply) {
        if !matches!(record.rtype, Type::OPT | Type::TSIG) {
            let range = record.rdata_at..record.end;
            let expanded = rdata::expand(record.rtype, &reply, range);
            assert!(expanded.is_ok(), "{:?} at {at}: {expanded:?}", record.rtype);
        }
    }
    Some(reply)
}

/// The records of a reply, each with where it starts.
fn records(reply: &[u8]) -> Vec<(usize, RecordAt)> {
    let count = |at: usize| usize::from(u16::from_be_bytes([reply[at], reply[at + 1]]));
    let mut at = 12;
    for _ in 0..count(4) {
        while reply[at] != 0 {
            assert!(reply[at] < 64, "a pointer in the question");
            at += 1 + usize::from(reply[at]);
        }
        at += 5;
    }
    let mut records = Vec::new();
    for _ in 0..count(6) + count(8) + count(10) {
        let record = RecordAt::read(reply, at);
        let record =
            record.unwrap_or_else(|fault| panic!("record at {at} of {reply:02x?}: {fault:?}"));
        let start = std::mem::replace(&mut at, record.end);
        records.push((start, record));
    }
    assert_eq!(at, reply.len(), "octets behind the last record of {reply:02x?}");
    records
}
