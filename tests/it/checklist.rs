//! A query costs no allocation, from its octets to its reply: counted, not believed.

use std::net::SocketAddr;
use std::sync::Arc;

use nameplane::answer::{Rendered, Writer, render};
use nameplane::metrics::Registry;
use nameplane::serve::{Context, Outcome, Refuse, Settings, Shared, Slot, Transport, rrl};
use nameplane::transport::udp;
use nameplane::wire::HashKey;
use nameplane::zone::text;
use nameplane::zone::tree::PackedZone;

use crate::allocations;

const ZONE: &str = "$ORIGIN example.
$TTL 60
@ SOA ns.example. hostmaster.example. 1 2 3 4 5
@ NS ns
ns A 192.0.2.1
www CNAME web.example.
web A 192.0.2.2
web TXT \"a text long enough that an answer with it takes its room, again and again and again\"
* MX 10 web
sub NS ns.sub
ns.sub A 192.0.2.3
";

/// A second zone, whose names are denied with proof.
const SIGNED: &str = "$ORIGIN signed.test.
$TTL 60
@ SOA ns.example. hostmaster.example. 1 2 3 4 5
@ NS ns.example.
@ NSEC m.signed.test. NS SOA NSEC
m A 192.0.2.4
m NSEC signed.test. A NSEC
";

fn message(name: &[u8], qtype: u8, opt: &[u8]) -> Vec<u8> {
    let head = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!opt.is_empty())];
    [&head, name, &[0, qtype, 0, 1], opt].concat()
}

#[test]
fn no_query_over_udp_costs_an_allocation() {
    let mut writer = Writer::new(HashKey::new([3; 24]));
    let mut rendered = Rendered::new(&writer.key());
    for (id, zone) in [(1, ZONE), (2, SIGNED)] {
        let zone = text::parse(zone.as_bytes(), text::Options::default()).unwrap();
        let view = PackedZone::new(zone.apex.clone(), &zone.packed);
        render::zone(&mut rendered, &render::Zone { id, view: &view, children: None }).unwrap();
    }
    writer.publish(&[rendered]);
    let settings = Settings {
        version: Some("v".into()),
        server_id: Some("here".into()),
        cookie_secrets: vec![[7; 16]],
        rate_limit: rrl::Settings { enabled: true, ..rrl::Settings::default() },
        ..Settings::default()
    };
    let registry = Arc::new(Registry::default());
    let shared = Shared::new(settings, writer.published(), Arc::new(Refuse), registry, 7);
    let context = Context::new(&shared, Transport::Udp);
    let opt: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0];
    let options: &[u8] =
        b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x10\x00\x03\x00\x00\x00\x0a\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08";
    let names: [&[u8]; 9] = [
        b"\x03wWw\x07example\x00",
        b"\x03web\x07example\x00",
        b"\x04none\x03web\x07example\x00",
        b"\x03any\x07example\x00",
        b"\x01x\x03sub\x07example\x00",
        b"\x05other\x00",
        b"\x00",
        b"\x01m\x06signed\x04test\x00",
        b"\x01x\x06signed\x04test\x00",
    ];
    let mut messages = vec![vec![0; 5], message(b"\x41", 1, &[])];
    for name in names {
        for qtype in [1, 2, 6, 15, 16, 28, 43, 255, 252] {
            messages.extend([&[], opt, options].map(|opt| message(name, qtype, opt)));
        }
    }
    let peer: SocketAddr = "192.0.2.77:4000".parse().unwrap();
    let mut slots: Vec<Slot> = (0..udp::BATCH).map(|_| Slot::new(4096)).collect();

    for batch in messages.chunks(slots.len()) {
        for (slot, message) in slots.iter_mut().zip(batch) {
            assert!(slot.receive(message, peer));
        }
        let allocated = allocations::during(|| {
            udp::answer(&context, &mut slots[..batch.len()], 1_800_000_000);
        });
        assert_eq!(allocated, 0);
        let answered = slots.iter().filter(|slot| matches!(slot.outcome, Outcome::Reply(_)));
        assert!(answered.count() > 0);
    }
}
