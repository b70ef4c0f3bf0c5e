//! Dynamic updates: prerequisites, changes, and the orders they become.

use super::*;
use crate::manage::change::policy::{self, GrantAsk, PolicyAsk};
use crate::manage::change::receipt::{self, OrderQuery};
use crate::manage::change::state::State;
use crate::manage::change::update::{self, Sender};
use crate::manage::holding::tsig;
use crate::wire::{Rcode, rdata};

pub(super) const IN: u16 = 1;
pub(super) const NONE: u16 = 254;
pub(super) const ANY: u16 = 255;

/// Owner, type, class, TTL, RDATA as text.
pub(super) type Line<'a> = (&'a str, Type, u16, u32, &'a str);

pub(super) fn message(zone: &Name, prerequisites: &[Line<'_>], updates: &[Line<'_>]) -> Vec<u8> {
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
    listed(world, zone, &message(zone, prerequisites, updates))
}

/// From an address that needs no signature.
fn listed(world: &World, zone: &Name, octets: &[u8]) -> Rcode {
    update::update(&world.manage, Sender::Listed, zone, octets).rcode
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

/// What a client with EDNS is told names the record and the rule.
#[test]
fn an_update_that_is_not_taken_is_told_which_record_and_why() {
    let world = World::new();
    let (www, nobody, x) = ("www.acme.example.", "nobody.acme.example.", "x.acme.example.");
    let told = |prerequisites: &[Line<'_>], updates: &[Line<'_>]| {
        let zone = &world.acme.zone;
        let octets = message(zone, prerequisites, updates);
        update::update(&world.manage, Sender::Listed, zone, &octets).why.expect("a text").1
    };
    for (prerequisite, text) in [
        (
            (nobody, Type::ANY, ANY, 0, ""),
            "prerequisite not met: nobody.acme.example. has no records",
        ),
        ((www, Type::AAAA, ANY, 0, ""), "prerequisite not met: there is no www.acme.example. AAAA"),
        ((www, Type::ANY, NONE, 0, ""), "prerequisite not met: www.acme.example. has records"),
        ((www, Type::A, NONE, 0, ""), "prerequisite not met: there is www.acme.example. A"),
        (
            (www, Type::A, IN, 0, "192.0.2.9"),
            "prerequisite not met: www.acme.example. A has other records",
        ),
        (
            (nobody, Type::A, IN, 0, "192.0.2.9"),
            "prerequisite not met: there is no nobody.acme.example. A",
        ),
        (
            (www, Type::A, ANY, 1, ""),
            "prerequisite www.acme.example. A: class, TTL or RDATA is none of RFC 2136 §2.4",
        ),
        (("a.other.example.", Type::A, ANY, 0, ""), "a.other.example. is not in acme.example."),
    ] {
        assert_eq!(told(&[prerequisite], &[]), text);
    }
    let good = (x, Type::A, IN, 60, "192.0.2.7");
    for (line, text) in [
        (
            (x, Type::A, NONE, 1, "192.0.2.7"),
            "update of x.acme.example. A: class, TTL or RDATA is none of RFC 2136 §2.5",
        ),
        ((x, Type::A, IN, 60, ""), "record 2 of the update section is malformed"),
        (
            (x, Type::NSEC, ANY, 0, ""),
            "x.acme.example. NSEC: such records follow from others and are not updated",
        ),
    ] {
        assert_eq!(told(&[], &[good, line]), text);
    }
}

/// A type may have records without octets: those are added, asked for and taken away like others.
#[test]
fn rfc2136_a_record_without_octets_is_one_where_its_type_has_such() {
    let world = World::new();
    let x = "x.acme.example.";
    for rtype in [Type(42), Type(65_280)] {
        let count = || world.served(&world.acme.zone, "x", rtype).len();
        assert_eq!(send(&world, &[], &[(x, rtype, IN, 60, "")]), Rcode::NOERROR);
        assert_eq!(count(), 1, "{rtype}");
        let none = (x, rtype, NONE, 0, "");
        assert_eq!(send(&world, &[none], &[]), Rcode::YXRRSET);
        assert_eq!(send(&world, &[(x, rtype, IN, 0, "")], &[none]), Rcode::NOERROR);
        assert_eq!(count(), 0, "{rtype}");
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
fn an_update_of_no_zone_or_of_what_the_server_looks_after_is_refused() {
    let world = World::new();
    let nobody = name("nobody.example.");
    assert_eq!(listed(&world, &nobody, &message(&nobody, &[], &[])), Rcode::NOTAUTH);
    let signature = [("x.acme.example.", Type::NSEC, ANY, 0, "")];
    assert_eq!(send(&world, &[], &signature), Rcode::REFUSED);
}

/// The rules that need no zone: each line by itself, wherever it stands, and nothing of the message is done.
#[test]
fn rfc2136_3_2_5_and_3_4_1_3_a_line_out_of_form_refuses_the_whole_message() {
    let world = World::new();
    let (www, x) = ("www.acme.example.", "x.acme.example.");
    let good: Line<'_> = (x, Type::A, IN, 60, "192.0.2.7");
    let (axfr, opt, chaos) = (Type(252), Type::OPT, 3);
    let prerequisites: &[(Line<'_>, Rcode)] = &[
        ((www, Type::A, ANY, 1, ""), Rcode::FORMERR),
        ((www, Type::A, NONE, 1, ""), Rcode::FORMERR),
        ((www, Type::A, IN, 1, "192.0.2.1"), Rcode::FORMERR),
        ((www, Type::A, ANY, 0, "192.0.2.1"), Rcode::FORMERR),
        ((www, Type::A, NONE, 0, "192.0.2.1"), Rcode::FORMERR),
        ((www, Type::A, IN, 0, ""), Rcode::FORMERR),
        ((www, Type::ANY, IN, 0, ""), Rcode::FORMERR),
        ((www, Type::A, chaos, 0, "192.0.2.1"), Rcode::FORMERR),
        (("www.other.example.", Type::A, NONE, 0, ""), Rcode::NOTZONE),
    ];
    for (line, expected) in prerequisites {
        assert_eq!(send(&world, &[*line], &[good]), *expected, "{line:?}");
    }
    let updates: &[(Line<'_>, Rcode)] = &[
        ((www, Type::ANY, IN, 60, ""), Rcode::FORMERR),
        ((www, axfr, ANY, 0, ""), Rcode::FORMERR),
        ((www, opt, ANY, 0, ""), Rcode::FORMERR),
        ((www, Type::A, IN, 60, ""), Rcode::FORMERR),
        ((www, Type::A, ANY, 1, ""), Rcode::FORMERR),
        ((www, Type::A, ANY, 0, "192.0.2.1"), Rcode::FORMERR),
        ((www, Type::A, NONE, 1, "192.0.2.1"), Rcode::FORMERR),
        ((www, Type::A, NONE, 0, ""), Rcode::FORMERR),
        ((www, Type::A, chaos, 60, "192.0.2.1"), Rcode::FORMERR),
        (("www.other.example.", Type::A, IN, 60, "192.0.2.1"), Rcode::NOTZONE),
    ];
    for (line, expected) in updates {
        assert_eq!(send(&world, &[], &[good, *line]), *expected, "{line:?}");
        assert!(world.served(&world.acme.zone, "x", Type::A).is_empty(), "{line:?}");
    }
}

#[test]
fn rfc2136_3_1_1_the_zone_section_is_one_soa_of_a_zone_that_is_here() {
    let world = World::new();
    let zone = &world.acme.zone;
    let good = message(zone, &[], &[]);
    assert_eq!(listed(&world, zone, &good), Rcode::NOERROR);
    let at = 12 + zone.as_wire().len();
    for (place, octet) in [(5, 0), (5, 2), (at + 1, 1), (at + 3, 3)] {
        let mut wrong = good.clone();
        wrong[place] = octet;
        assert_eq!(listed(&world, zone, &wrong), Rcode::FORMERR, "octet {place} is {octet}");
    }
    let below = name("below.acme.example.");
    assert_eq!(listed(&world, &below, &message(&below, &[], &[])), Rcode::NOTAUTH);
}

/// Goal: an RRset that must be as it is said is compared whole: any order, no TTL, no more and no less.
#[test]
fn rfc2136_3_2_3_an_rrset_with_values_is_compared_as_a_set() {
    let world = World::new();
    let www = "www.acme.example.";
    let (one, two): (Line<'_>, Line<'_>) =
        ((www, Type::A, IN, 60, "192.0.2.1"), (www, Type::A, IN, 60, "192.0.2.2"));
    assert_eq!(send(&world, &[], &[two]), Rcode::NOERROR);
    let wanted = |address| (www, Type::A, IN, 0, address);
    let (a, b, c) = (wanted("192.0.2.1"), wanted("192.0.2.2"), wanted("192.0.2.3"));
    let alias: Line<'_> = (www, Type::TXT, IN, 0, "\"x\"");
    let cases: &[(&[Line<'_>], Rcode)] = &[
        (&[a, b], Rcode::NOERROR),
        (&[b, a], Rcode::NOERROR),
        (&[a, a, b], Rcode::NOERROR),
        (&[a], Rcode::NXRRSET),
        (&[a, b, c], Rcode::NXRRSET),
        (&[a, b, alias], Rcode::NXRRSET),
    ];
    for (wanted, expected) in cases {
        assert_eq!(send(&world, wanted, &[one]), *expected, "{wanted:?}");
    }
}

#[test]
fn rfc2136_3_4_2_2_what_is_added_beside_a_cname_is_passed_over_either_way() {
    let world = World::new();
    let zone = &world.acme.zone;
    let (www, alias) = ("www.acme.example.", "alias.acme.example.");
    let cname = |target| (alias, Type::CNAME, IN, 60, target);
    assert_eq!(send(&world, &[], &[cname("a.example.")]), Rcode::NOERROR);
    let serial = world.serial(zone);

    let beside: [Line<'_>; 3] = [
        (alias, Type::A, IN, 60, "192.0.2.7"),
        (alias, Type::TXT, IN, 60, "\"x\""),
        (www, Type::CNAME, IN, 60, "b.example."),
    ];
    assert_eq!(send(&world, &[], &beside), Rcode::NOERROR);
    assert_eq!(world.serial(zone), serial, "what changes nothing has no serial");
    assert!(world.served(zone, "alias", Type::A).is_empty());

    // Another CNAME takes the place of the one there is.
    assert_eq!(send(&world, &[], &[cname("c.example.")]), Rcode::NOERROR);
    assert_eq!(world.served(zone, "alias", Type::CNAME), ["c.example."]);
    // Once it is gone, others may stand there: also within one message.
    let swap = [(alias, Type::CNAME, ANY, 0, ""), (alias, Type::A, IN, 60, "192.0.2.7")];
    assert_eq!(send(&world, &[], &swap), Rcode::NOERROR);
    assert_eq!(world.served(zone, "alias", Type::A), ["192.0.2.7"]);
    assert!(world.served(zone, "alias", Type::CNAME).is_empty());
}

#[test]
fn rfc2136_3_4_2_2_a_soa_is_taken_at_the_apex_and_only_ahead() {
    let world = World::new();
    let zone = &world.acme.zone;
    let now = world.serial(zone).unwrap();
    let soa = |serial: u32| format!("ns1.provider.example. new.acme.example. {serial} 1 2 3 4");
    let (behind, ahead) = (soa(now - 1), soa(now + 50));
    let apex = "acme.example.";
    assert_eq!(send(&world, &[], &[(apex, Type::SOA, IN, 60, &behind)]), Rcode::NOERROR);
    assert_eq!(
        send(&world, &[], &[("x.acme.example.", Type::SOA, IN, 60, &ahead)]),
        Rcode::NOERROR
    );
    assert_eq!(send(&world, &[], &[(apex, Type::SOA, NONE, 0, &ahead)]), Rcode::NOERROR);
    assert_eq!(world.serial(zone), Some(now));

    assert_eq!(send(&world, &[], &[(apex, Type::SOA, IN, 60, &ahead)]), Rcode::NOERROR);

    assert!(world.serial(zone).unwrap() >= now + 50);
    let shown = world.served(zone, "@", Type::SOA);
    assert!(shown[0].starts_with("ns1.provider.example. new.acme.example."), "{shown:?}");
}

#[test]
fn rfc2136_3_4_2_2_to_3_4_2_4_adding_again_takes_the_ttl_and_removing_what_is_not_there_does_nothing()
 {
    let world = World::new();
    let (zone, www) = (&world.acme.zone, "www.acme.example.");
    let ttl = || {
        let page = world.view(&world.operator, zone, merged::Which::Live);
        page.items.iter().find(|row| row.name == name(www) && row.rtype == "A").unwrap().ttl
    };
    assert_eq!(send(&world, &[], &[(www, Type::A, IN, 77, "192.0.2.1")]), Rcode::NOERROR);
    assert_eq!((ttl(), world.served(zone, "www", Type::A).len()), (77, 1));
    let serial = world.serial(zone);
    let nothing: [Line<'_>; 4] = [
        (www, Type::A, NONE, 0, "192.0.2.200"),
        (www, Type::MX, ANY, 0, ""),
        ("nobody.acme.example.", Type::ANY, ANY, 0, ""),
        ("nobody.acme.example.", Type::A, NONE, 0, "192.0.2.1"),
    ];
    assert_eq!(send(&world, &[], &nothing), Rcode::NOERROR);
    assert_eq!(world.serial(zone), serial);
}

#[test]
fn rfc2136_3_4_2_3_all_of_the_apex_goes_but_its_soa_and_ns() {
    let world = World::new();
    let (zone, apex) = (&world.acme.zone, "acme.example.");
    assert_eq!(send(&world, &[], &[(apex, Type::MX, IN, 60, "10 mail")]), Rcode::NOERROR);
    assert_eq!(send(&world, &[], &[(apex, Type::ANY, ANY, 0, "")]), Rcode::NOERROR);
    assert!(world.served(zone, "@", Type::MX).is_empty());
    assert_eq!(world.served(zone, "@", Type::NS).len(), 2);
    assert_eq!(world.served(zone, "@", Type::SOA).len(), 1);
}

/// RFC 3007 §3.1.2, §4.3: what the signer makes is its own.
#[test]
fn rfc3007_what_follows_from_other_records_is_refused_in_any_form() {
    let world = World::new();
    for rtype in [Type::RRSIG, Type::NSEC, Type::NSEC3, Type::NSEC3PARAM] {
        let line = ("www.acme.example.", rtype, ANY, 0, "");
        assert_eq!(send(&world, &[], &[line]), Rcode::REFUSED, "{rtype}");
    }
}

#[test]
fn rfc2136_3_3_a_zone_whose_primary_is_elsewhere_is_not_updated() {
    let world = World::new();
    let zone = name("followed.example.");
    let ask = serde_json::json!({ "primaries": [{ "address": "127.0.0.1:5300" }] });
    let ask = serde_json::from_value(ask).unwrap();
    crate::manage::holding::primaries::set(&world.manage, &world.operator, &zone, &ask).unwrap();
    let line = ("www.followed.example.", Type::A, IN, 60, "192.0.2.7");
    let octets = message(&zone, &[], &[line]);
    let reply = update::update(&world.manage, Sender::Listed, &zone, &octets);
    assert_eq!(reply.rcode, Rcode::REFUSED);
    assert!(reply.why.unwrap().1.contains("secondary"));
}

/// A key of a customer with a policy.
struct Key {
    name: Name,
}

impl Key {
    fn new(world: &World, by: &Context, ask: PolicyAsk) -> Key {
        let name = name("updates.acme.example.");
        let new = serde_json::json!({ "name": "updates.acme.example.", "org": world.acme.org });
        tsig::create(&world.manage, &world.operator, serde_json::from_value(new).unwrap()).unwrap();
        policy::set(&world.manage, by, &name, ask).unwrap();
        Key { name }
    }

    fn send(&self, world: &World, zone: &Name, updates: &[Line<'_>]) -> update::Reply {
        let octets = message(zone, &[], updates);
        update::update(&world.manage, Sender::Key(&self.name), zone, &octets)
    }
}

/// Grants as `name`, `name below`, `name TYPE,TYPE`, or both.
fn policy_of(grants: &[&str]) -> PolicyAsk {
    let grants = grants.iter().map(|text| {
        let mut words = text.split(' ').peekable();
        let name = name(words.next().unwrap());
        let below = words.next_if_eq(&"below").is_some();
        let types = words.next().map(|types| types.split(',').map(str::to_owned).collect());
        GrantAsk { name, below, label: None, types: types.unwrap_or_default() }
    });
    PolicyAsk { grants: grants.collect(), ..PolicyAsk::default() }
}

const CHALLENGE: Line<'_> = ("_acme-challenge.acme.example.", Type::TXT, IN, 60, "\"one\"");

#[test]
fn a_key_changes_what_its_policy_names_and_nothing_else() {
    let world = World::in_mode(ChangeMode::Direct);
    let acme = &world.acme;
    let one = policy_of(&["_acme-challenge.acme.example. TXT", "dyn.acme.example. below A,AAAA"]);
    let key = Key::new(&world, &acme.superuser, one);

    assert_eq!(key.send(&world, &acme.zone, &[CHALLENGE]).rcode, Rcode::NOERROR);
    let host = ("a.dyn.acme.example.", Type::A, IN, 60, "192.0.2.7");
    assert_eq!(key.send(&world, &acme.zone, &[host]).rcode, Rcode::NOERROR);

    let refused: &[&[Line<'_>]] = &[
        &[("_acme-challenge.acme.example.", Type::A, IN, 60, "192.0.2.7")],
        &[("www.acme.example.", Type::A, ANY, 0, "")],
        &[("www.acme.example.", Type::ANY, ANY, 0, "")],
        &[("a.dyn.acme.example.", Type::MX, IN, 60, "10 mail")],
        &[CHALLENGE, ("acme.example.", Type::MX, IN, 60, "10 mail")],
    ];
    for lines in refused {
        let reply = key.send(&world, &acme.zone, lines);
        assert_eq!(reply.rcode, Rcode::REFUSED, "{lines:?}");
        assert_eq!(reply.why.unwrap().0, 18, "{lines:?}");
    }
    assert_eq!(world.served(&acme.zone, "www", Type::A), ["192.0.2.1"]);
    assert_eq!(world.served(&acme.zone, "_acme-challenge", Type::TXT), ["\"one\""]);
    // Deleting all of a name takes what the policy names, if that is all there is.
    let all = ("a.dyn.acme.example.", Type::ANY, ANY, 0, "");
    assert_eq!(key.send(&world, &acme.zone, &[all]).rcode, Rcode::NOERROR);
    assert!(world.served(&acme.zone, "a.dyn", Type::A).is_empty());
}

/// Goal: one name and one type, the finest a policy can be, holds against every form of change.
#[test]
fn rfc3007_a_key_for_one_name_and_one_type_touches_no_other_in_any_form() {
    let world = World::in_mode(ChangeMode::Direct);
    let acme = &world.acme;
    let key = Key::new(&world, &acme.superuser, policy_of(&["_acme-challenge.acme.example. TXT"]));
    let challenge = "_acme-challenge.acme.example.";
    assert_eq!(key.send(&world, &acme.zone, &[CHALLENGE]).rcode, Rcode::NOERROR);
    assert_eq!(send(&world, &[], &[(challenge, Type::A, IN, 60, "192.0.2.5")]), Rcode::NOERROR);
    let others: &[Line<'_>] = &[
        (challenge, Type::A, IN, 60, "192.0.2.7"),
        (challenge, Type::A, ANY, 0, ""),
        (challenge, Type::A, NONE, 0, "192.0.2.5"),
        (challenge, Type::CNAME, IN, 60, "elsewhere.example."),
        (challenge, Type::ANY, ANY, 0, ""),
        ("x._acme-challenge.acme.example.", Type::TXT, IN, 60, "\"x\""),
        ("acme.example.", Type::TXT, IN, 60, "\"x\""),
        ("acme.example.", Type::SOA, IN, 60, "a. b. 4000000000 1 1 1 1"),
    ];
    for line in others {
        let reply = key.send(&world, &acme.zone, &[CHALLENGE, *line]);
        assert_eq!(reply.rcode, Rcode::REFUSED, "{line:?}");
        assert_eq!(reply.why.unwrap().0, 18, "{line:?}");
    }
    // Its own it may take away by name and type, by record, and put back.
    let own: &[Line<'_>] = &[(challenge, Type::TXT, ANY, 0, ""), CHALLENGE];
    assert_eq!(key.send(&world, &acme.zone, own).rcode, Rcode::NOERROR);
    let gone = (challenge, Type::TXT, NONE, 0, "\"one\"");
    assert_eq!(key.send(&world, &acme.zone, &[gone]).rcode, Rcode::NOERROR);
    assert!(world.served(&acme.zone, "_acme-challenge", Type::TXT).is_empty());
    assert_eq!(world.served(&acme.zone, "_acme-challenge", Type::A), ["192.0.2.5"]);
}

#[test]
fn a_key_without_a_policy_or_of_a_user_who_may_not_changes_nothing() {
    let world = World::in_mode(ChangeMode::Direct);
    let acme = &world.acme;
    let key = Key::new(&world, &acme.superuser, policy_of(&["acme.example. below"]));
    assert_eq!(key.send(&world, &world.other.zone, &[]).rcode, Rcode::NOTAUTH);
    let reader = new_user(&world.manage, &world.operator, acme.org, UserRole::Reader);
    let ask = PolicyAsk { user: Some(reader.id), ..policy_of(&["acme.example. below"]) };
    policy::set(&world.manage, &acme.superuser, &key.name, ask).unwrap();
    assert_eq!(key.send(&world, &acme.zone, &[CHALLENGE]).rcode, Rcode::REFUSED);
    policy::delete(&world.manage, &acme.superuser, &key.name).unwrap();
    let reply = key.send(&world, &acme.zone, &[CHALLENGE]);
    assert!(reply.why.unwrap().1.contains("no update policy"));
    assert!(policy::get(&world.manage, &world.other.superuser, &key.name).is_err());
    assert!(world.served(&acme.zone, "_acme-challenge", Type::TXT).is_empty());
}

#[test]
fn a_policy_ends_with_its_key() {
    let world = World::in_mode(ChangeMode::Direct);
    let acme = &world.acme;
    let key = Key::new(&world, &acme.superuser, policy_of(&["acme.example. below"]));
    tsig::delete(&world.manage, &acme.superuser, &key.name).unwrap();
    let new = serde_json::json!({ "name": "updates.acme.example.", "org": acme.org });
    let new = serde_json::from_value(new).unwrap();
    tsig::create(&world.manage, &world.operator, new).unwrap();
    assert_eq!(key.send(&world, &acme.zone, &[CHALLENGE]).rcode, Rcode::REFUSED);
}

#[test]
fn an_update_of_an_organisation_that_wants_approval_waits_and_says_so_once() {
    let world = World::in_mode(ChangeMode::Approval);
    let acme = &world.acme;
    let direct =
        PolicyAsk { mode: Some(ChangeMode::Direct), ..policy_of(&["acme.example. below"]) };
    let key = Key::new(&world, &acme.superuser, direct.clone());
    let before = orders(&world);

    let reply = key.send(&world, &acme.zone, &[CHALLENGE]);
    let again = key.send(&world, &acme.zone, &[CHALLENGE]);

    assert_eq!((reply.rcode, &reply), (Rcode::NOERROR, &again));
    let why = reply.why.unwrap().1;
    assert!(why.contains("waits for approval"), "{why}");
    assert_eq!(orders(&world), before + 1, "sent again it became another order");
    assert!(world.served(&acme.zone, "_acme-challenge", Type::TXT).is_empty());
    let query =
        OrderQuery { state: Some(State::AwaitingApproval), limit: 9, ..OrderQuery::default() };
    let order = receipt::list(&world.manage, &world.operator, &query).unwrap().items.remove(0);
    assert!(why.contains(&order.number) && order.note.unwrap().contains("updates.acme.example"));
    world.approve(&world.operator, order.id).unwrap();
    assert_eq!(world.served(&acme.zone, "_acme-challenge", Type::TXT), ["\"one\""]);

    // Whoever may push what was approved elsewhere may let a key do so.
    policy::set(&world.manage, &world.operator, &key.name, direct).unwrap();
    let gone = ("_acme-challenge.acme.example.", Type::TXT, ANY, 0, "");
    let reply = key.send(&world, &acme.zone, &[gone]);
    assert_eq!((reply.rcode, reply.why), (Rcode::NOERROR, None));
    assert!(world.served(&acme.zone, "_acme-challenge", Type::TXT).is_empty());
}

#[test]
fn an_update_of_an_organisation_that_collects_goes_into_the_basket_of_its_user() {
    let world = World::in_mode(ChangeMode::Basket);
    let acme = &world.acme;
    let user = acme.member.actor.user();
    let ask = PolicyAsk { user, ..policy_of(&["acme.example. below"]) };
    let key = Key::new(&world, &acme.superuser, ask);

    let reply = key.send(&world, &acme.zone, &[CHALLENGE]);
    assert!(reply.why.clone().unwrap().1.contains("basket of Member"));
    assert_eq!(key.send(&world, &acme.zone, &[CHALLENGE]), reply, "sent again, it is there still");
    let already = ("www.acme.example.", Type::A, ANY, 0, "");
    let gone = key.send(&world, &acme.zone, &[already]);
    assert_eq!(key.send(&world, &acme.zone, &[already]), gone);
    basket::clear(&world.manage, &acme.member).unwrap();
    let as_it_is = ("nobody.acme.example.", Type::A, ANY, 0, "");
    assert_eq!(key.send(&world, &acme.zone, &[as_it_is]).why, None, "nothing waits for that");
    key.send(&world, &acme.zone, &[CHALLENGE]);
    let second = ("_acme-challenge.acme.example.", Type::TXT, IN, 60, "\"two\"");
    key.send(&world, &acme.zone, &[second]);
    key.send(&world, &acme.zone, &[("gone.acme.example.", Type::A, IN, 60, "192.0.2.9")]);
    key.send(&world, &acme.zone, &[("gone.acme.example.", Type::A, ANY, 0, "")]);

    assert!(world.served(&acme.zone, "_acme-challenge", Type::TXT).is_empty());
    assert_eq!(basket::list(&world.manage, &acme.member).unwrap().items.len(), 1);
    world.place(&acme.member);
    assert_eq!(world.served(&acme.zone, "_acme-challenge", Type::TXT), ["\"one\"", "\"two\""]);
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
        assert_eq!(listed(&world, zone, &whole[..cut]), Rcode::FORMERR, "cut at {cut}");
    }
    assert!(world.served(zone, "x", Type::A).is_empty());
}
