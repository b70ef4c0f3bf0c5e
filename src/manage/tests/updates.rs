//! Dynamic updates: prerequisites, changes, and the orders they become.

use super::*;
use crate::manage::change::receipt::{self, OrderQuery};
use crate::manage::change::state::State;
use crate::manage::change::update;
use crate::wire::{Rcode, rdata};

const IN: u16 = 1;
const NONE: u16 = 254;
const ANY: u16 = 255;

/// Owner, type, class, TTL, RDATA as text.
type Line<'a> = (&'a str, Type, u16, u32, &'a str);

fn message(zone: &Name, prerequisites: &[Line<'_>], updates: &[Line<'_>]) -> Vec<u8> {
    let counts = [prerequisites.len() as u16, updates.len() as u16];
    let mut message = vec![0, 7, 0x28, 0, 0, 1];
    counts.iter().for_each(|count| message.extend(count.to_be_bytes()));
    message.extend([0, 0]);
    message.extend_from_slice(zone.as_wire());
    message.extend([0, 6, 0, 1]);
    for (owner, rtype, class, ttl, text) in prerequisites.iter().chain(updates) {
        message.extend_from_slice(name(owner).as_wire());
        message.extend(rtype.0.to_be_bytes());
        message.extend(class.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        let octets = match *text {
            "" => Box::default(),
            text => rdata::parse(*rtype, text, Some(zone)).unwrap(),
        };
        message.extend((octets.len() as u16).to_be_bytes());
        message.extend_from_slice(&octets);
    }
    message
}

fn send(world: &World, prerequisites: &[Line<'_>], updates: &[Line<'_>]) -> Rcode {
    let zone = &world.acme.zone;
    update::update(&world.manage, &world.operator, zone, &message(zone, prerequisites, updates))
}

fn orders(world: &World) -> usize {
    let query = OrderQuery { limit: 100, ..OrderQuery::default() };
    receipt::list(&world.manage, &world.operator, &query).unwrap().items.len()
}

#[test]
fn rfc2136_3_4_an_update_is_an_order_applied_at_once_in_any_mode() {
    let world = World::in_mode(ChangeMode::Approval);
    let before = orders(&world);
    let rcode = send(&world, &[], &[("new.acme.example.", Type::A, IN, 60, "192.0.2.7")]);
    assert_eq!(rcode, Rcode::NOERROR);
    assert_eq!(world.served(&world.acme.zone, "new", Type::A), ["192.0.2.7"]);
    assert_eq!(orders(&world), before + 1);
    let query = OrderQuery { limit: 1, ..OrderQuery::default() };
    let order = receipt::list(&world.manage, &world.operator, &query).unwrap().items.remove(0);
    assert_eq!(order.state, State::Applied);
}

#[test]
fn rfc2136_3_2_prerequisites_decide_with_their_own_rcodes() {
    let world = World::new();
    let www = "www.acme.example.";
    let nobody = "nobody.acme.example.";
    let cases: &[(Line<'_>, Rcode)] = &[
        ((nobody, Type::ANY, ANY, 0, ""), Rcode::NXDOMAIN),
        ((www, Type::AAAA, ANY, 0, ""), Rcode::NXRRSET),
        ((www, Type::ANY, NONE, 0, ""), Rcode::YXDOMAIN),
        ((www, Type::A, NONE, 0, ""), Rcode::YXRRSET),
        ((www, Type::A, IN, 0, "192.0.2.99"), Rcode::NXRRSET),
        ((www, Type::A, IN, 60, "192.0.2.1"), Rcode::FORMERR),
        (("www.other.example.", Type::A, ANY, 0, ""), Rcode::NOTZONE),
        ((www, Type::ANY, ANY, 0, ""), Rcode::NOERROR),
        ((www, Type::A, IN, 0, "192.0.2.1"), Rcode::NOERROR),
        ((nobody, Type::ANY, NONE, 0, ""), Rcode::NOERROR),
    ];
    for (n, (prerequisite, expected)) in (0u8..).zip(cases) {
        let record = format!("192.0.2.{}", 100 + n);
        let update = ("new.acme.example.", Type::A, IN, 60, record.as_str());
        assert_eq!(send(&world, &[*prerequisite], &[update]), *expected, "{prerequisite:?}");
        let served = world.served(&world.acme.zone, "new", Type::A).contains(&record);
        assert_eq!(served, *expected == Rcode::NOERROR, "{prerequisite:?}");
    }
}

#[test]
fn rfc2136_3_4_2_lines_are_taken_in_order_and_what_cannot_stand_is_passed_over() {
    let world = World::new();
    let (apex, www) = ("acme.example.", "www.acme.example.");
    let updates = [
        (www, Type::CNAME, IN, 60, "elsewhere.example."),
        (www, Type::A, NONE, 0, "192.0.2.1"),
        (www, Type::A, IN, 60, "192.0.2.8"),
        (apex, Type::NS, ANY, 0, ""),
        (apex, Type::SOA, ANY, 0, ""),
        (apex, Type::NS, NONE, 0, "ns1.provider.example."),
        (apex, Type::NS, NONE, 0, "ns2.provider.example."),
    ];
    assert_eq!(send(&world, &[], &updates), Rcode::NOERROR);
    assert_eq!(world.served(&world.acme.zone, "www", Type::A), ["192.0.2.8"]);
    assert!(world.served(&world.acme.zone, "www", Type::CNAME).is_empty());
    assert_eq!(world.served(&world.acme.zone, "@", Type::NS), ["ns2.provider.example."]);
    assert_eq!(world.served(&world.acme.zone, "@", Type::SOA).len(), 1);
}

#[test]
fn an_update_that_changes_nothing_leaves_no_order_and_no_serial() {
    let world = World::new();
    let (before, serial) = (orders(&world), world.serial(&world.acme.zone));
    let same = ("www.acme.example.", Type::A, IN, 300, "192.0.2.1");
    assert_eq!(send(&world, &[], &[same]), Rcode::NOERROR);
    assert_eq!((orders(&world), world.serial(&world.acme.zone)), (before, serial));
}

#[test]
fn an_update_beyond_ones_rights_or_of_no_zone_is_refused() {
    let world = World::new();
    let zone = &world.acme.zone;
    let line = [("x.acme.example.", Type::A, IN, 60, "192.0.2.7")];
    let octets = message(zone, &[], &line);
    let by = |context: &Context| update::update(&world.manage, context, zone, &octets);
    assert_eq!(by(&world.other.superuser), Rcode::NOTAUTH);
    let reader = new_user(&world.manage, &world.operator, world.acme.org, UserRole::Reader);
    assert_eq!(by(&acting_as(&world.manage, &world.operator, reader.id)), Rcode::REFUSED);
    let nobody = name("nobody.example.");
    let octets = message(&nobody, &[], &[]);
    let rcode = update::update(&world.manage, &world.operator, &nobody, &octets);
    assert_eq!(rcode, Rcode::NOTAUTH);
    let signature = [("x.acme.example.", Type::NSEC, ANY, 0, "")];
    assert_eq!(send(&world, &[], &signature), Rcode::REFUSED);
}

#[test]
fn no_message_however_cut_panics_or_is_half_applied() {
    let world = World::new();
    let zone = &world.acme.zone;
    let lines = [
        ("x.acme.example.", Type::A, IN, 60, "192.0.2.7"),
        ("y.acme.example.", Type::MX, IN, 60, "10 mail"),
    ];
    let whole = message(zone, &[], &lines);
    for cut in 0..whole.len() {
        let rcode = update::update(&world.manage, &world.operator, zone, &whole[..cut]);
        assert_eq!(rcode, Rcode::FORMERR, "cut at {cut}");
    }
    assert!(world.served(zone, "x", Type::A).is_empty());
}
