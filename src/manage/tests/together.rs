//! What is asked for at the same time: it shares commits, and is done wholly or not at all, each for itself.

use super::updates::{ANY, IN, Line, NONE, message};
use super::*;
use crate::manage::change::explain;
use crate::manage::change::receipt::{self, OrderQuery};
use crate::manage::change::settle;
use crate::manage::change::state::State;
use crate::manage::change::update::{self, Request, Sender};
use crate::manage::event;
use crate::store::brake::Brake;
use crate::wire::Rcode;

const EXISTS: Line<'_> = ("www.acme.example.", Type::A, NONE, 0, "");

fn take_all(world: &World, messages: &[Vec<u8>]) -> Vec<Rcode> {
    let zone = &world.acme.zone;
    let request = |message| Request { sender: Sender::Listed, zone, message };
    let requests: Vec<Request<'_>> = messages.iter().map(|octets| request(&octets[..])).collect();
    update::update_all(&world.manage, &requests).iter().map(|reply| reply.rcode).collect()
}

fn applied_orders(world: &World) -> usize {
    let query = OrderQuery { limit: 100, ..OrderQuery::default() };
    receipt::list(&world.manage, &world.operator, &query).unwrap().items.len()
}

/// Goal: updates that come together are one record and one sync; those that fail leave nothing.
#[test]
fn updates_taken_together_are_one_record_and_each_is_whole_or_nothing() {
    let world = World::in_mode(ChangeMode::Approval);
    let zone = &world.acme.zone;
    let fails = |n: usize| n.is_multiple_of(5);
    let messages: Vec<Vec<u8>> = (0..40)
        .map(|n| {
            let (owner, address) = (format!("h{n}.acme.example."), format!("192.0.2.{n}"));
            let conditions: &[Line<'_>] = if fails(n) { &[EXISTS] } else { &[] };
            let lines = [
                (owner.as_str(), Type::A, IN, 60, address.as_str()),
                (owner.as_str(), Type::TXT, IN, 60, "\"both\""),
            ];
            message(zone, conditions, &lines)
        })
        .collect();
    let (orders, serial) = (applied_orders(&world), world.serial(zone).unwrap());
    let before = world.manage.store.stats();

    let replies = take_all(&world, &messages);

    let after = world.manage.store.stats();
    assert_eq!(after.transactions - before.transactions, 1);
    assert_eq!(after.groups - before.groups, 1);
    for (n, rcode) in replies.iter().enumerate() {
        let expected = if fails(n) { Rcode::YXRRSET } else { Rcode::NOERROR };
        assert_eq!(*rcode, expected, "{n}");
        let there = [Type::A, Type::TXT].map(|rtype| world.served(zone, &format!("h{n}"), rtype));
        assert!(there.iter().all(|set| set.is_empty() == fails(n)), "{n}: {there:?}");
    }
    assert_eq!((applied_orders(&world), world.serial(zone)), (orders + 32, Some(serial + 32)));
    assert!(world.manage.store.read(|rows| event::verify(rows)).unwrap().is_ok());
    let query = event::EventQuery { limit: 1_000, ..event::EventQuery::default() };
    let events = event::list(&world.manage, &world.operator, &query).unwrap().items;
    let told = events.last().unwrap();
    let named = told.items.iter().filter(|item| item.object == "order").count();
    assert_eq!((told.kind, named), (event::Kind::OrderApplied, 32), "one event names all of them");
    let owner = name("h1.acme.example.");
    let traced = explain::explain(&world.manage, &world.operator, zone, &owner, Type::A).unwrap();
    assert!(traced.order.is_some() && traced.event == Some(told.seq));
    let world = world.restarted();
    assert_eq!(world.served(&world.acme.zone, "h1", Type::A), ["192.0.2.1"]);
}

#[test]
fn each_update_of_a_group_is_judged_on_what_those_before_it_left() {
    let world = World::new();
    let zone = &world.acme.zone;
    let x = "x.acme.example.";
    let there: Line<'_> = (x, Type::A, ANY, 0, "");
    let messages = [
        message(zone, &[there], &[(x, Type::TXT, IN, 60, "\"early\"")]),
        message(zone, &[], &[(x, Type::A, IN, 60, "192.0.2.1")]),
        message(zone, &[there], &[(x, Type::A, IN, 60, "192.0.2.2")]),
        message(zone, &[(x, Type::A, IN, 0, "192.0.2.1")], &[(x, Type::ANY, ANY, 0, "")]),
        vec![0; 3],
        message(zone, &[there], &[(x, Type::A, NONE, 0, "192.0.2.1")]),
    ];
    let replies = take_all(&world, &messages);
    let expected = [
        Rcode::NXRRSET,
        Rcode::NOERROR,
        Rcode::NOERROR,
        Rcode::NXRRSET,
        Rcode::FORMERR,
        Rcode::NOERROR,
    ];
    assert_eq!(replies, expected);
    assert_eq!(world.served(zone, "x", Type::A), ["192.0.2.2"]);
    assert!(world.served(zone, "x", Type::TXT).is_empty());
}

#[test]
fn more_updates_than_go_together_are_all_taken() {
    let world = World::new();
    let zone = &world.acme.zone;
    let line = |n| ("x.acme.example.", Type::TXT, IN, 60, ["\"a\"", "\"b\"", "\"c\""][n % 3]);
    let messages: Vec<Vec<u8>> =
        (0..2 * update::TOGETHER_MAX + 1).map(|n| message(zone, &[], &[line(n)])).collect();
    let replies = take_all(&world, &messages);
    assert_eq!(replies.len(), messages.len());
    assert!(replies.iter().all(|rcode| *rcode == Rcode::NOERROR));
    assert_eq!(world.served(zone, "x", Type::TXT).len(), 3);
}

/// Goal: what comes by whatever way while the log is being synced shares the next sync.
/// Method: a disk that syncs when it is told to; orders and updates on threads of their own.
#[test]
fn orders_and_updates_in_flight_share_syncs() {
    const ORDERS: usize = 16;
    let (store, brake) = Brake::store();
    let dir = tempfile::tempdir().unwrap();
    let sealer = Some(Sealer::at(dir.path()).unwrap());
    let maintain = Maintain::offline(store, Settings { sealer, ..Settings::default() });
    let world = World::on(Manage::new(maintain), dir, ChangeMode::Direct);
    let (zone, store) = (&world.acme.zone, &world.manage.store);
    let before = (applied_orders(&world), store.stats().groups);
    let serial = world.serial(zone).unwrap();

    brake.allow(Some(0));
    std::thread::scope(|scope| {
        let world = &world;
        let one = |n: usize| {
            let (owner, address) = (format!("h{n}.acme.example."), format!("192.0.2.{n}"));
            if n.is_multiple_of(2) {
                let edit = put(&owner, "A", 60, &[&address]);
                world.push(&world.operator, vec![change(zone, vec![edit])]).unwrap();
                return;
            }
            let octets = message(zone, &[], &[(&owner, Type::A, IN, 60, &address)]);
            assert_eq!(take_all(world, &[octets]), [Rcode::NOERROR]);
        };
        scope.spawn(move || one(0));
        brake.wait_for_sync();
        (1..ORDERS).for_each(|n| drop(scope.spawn(move || one(n))));
        brake.wait_until_behind(store, ORDERS - 1);
        assert_eq!(applied_orders(world), before.0, "seen before it was durable");
        brake.allow(Some(2));
        while applied_orders(world) < before.0 + ORDERS {
            std::thread::yield_now();
        }
        assert_eq!(store.stats().groups, before.1 + 2);
        brake.allow(None);
    });

    assert!((0..ORDERS).all(|n| !world.served(zone, &format!("h{n}"), Type::A).is_empty()));
    assert_eq!(world.serial(zone), Some(serial + ORDERS as u32));
}

/// Goal: an update is answered when it is durable and served soon after; also one that another has
/// gone over before anybody looked.
#[test]
fn updates_are_seen_served_by_the_next_look_around() {
    let world = World::new();
    let zone = &world.acme.zone;
    let (stop, stopped) = std::sync::mpsc::channel();
    let answering = super::explained::answer_from(&world, stopped);
    let www = "www.acme.example.";
    let messages = ["192.0.2.8", "192.0.2.9"].map(|address| {
        message(zone, &[], &[(www, Type::A, ANY, 0, ""), (www, Type::A, IN, 60, address)])
    });
    assert_eq!(take_all(&world, &messages), [Rcode::NOERROR; 2]);
    let states = || {
        let query = OrderQuery { limit: 2, ..OrderQuery::default() };
        let page = receipt::list(&world.manage, &world.operator, &query).unwrap();
        page.items.iter().map(|order| order.state).collect::<Vec<_>>()
    };
    assert_eq!(states(), [State::Applied; 2]);
    let before = world.manage.store.stats().transactions;

    assert_eq!(settle::settle_later(&world.manage).unwrap(), 2);

    assert_eq!(states(), [State::Served; 2]);
    assert_eq!(world.manage.store.stats().transactions, before + 1);
    let query = event::EventQuery { limit: 1_000, ..event::EventQuery::default() };
    let events = event::list(&world.manage, &world.operator, &query).unwrap().items;
    let told = events.last().unwrap();
    assert_eq!((told.kind, told.items.len()), (event::Kind::OrderServed, 2));
    assert!(told.items.iter().all(|item| item.object == "order"));
    assert_eq!(settle::settle_later(&world.manage).unwrap(), 0);
    drop(stop);
    answering.join().unwrap();
}

/// Goal: orders that are applied at the same time are looked for together.
/// Method: nobody gets the turn to look before all wait for it.
#[test]
fn orders_whose_callers_wait_are_seen_served_in_one_record() {
    const ORDERS: usize = 8;
    let world = World::in_mode(ChangeMode::Direct);
    let (stop, stopped) = std::sync::mpsc::channel();
    let answering = super::explained::answer_from(&world, stopped);
    let line = &world.manage.settling.line;
    line.lock().unwrap().is_led = true;
    let push = |n: usize| {
        let edit = put(&format!("h{n}"), "A", 60, &[&format!("192.0.2.{n}")]);
        world.push(&world.operator, vec![change(&world.acme.zone, vec![edit])]).unwrap().state
    };

    let (states, before) = std::thread::scope(|scope| {
        let push = &push;
        let threads: Vec<_> = (0..ORDERS).map(|n| scope.spawn(move || push(n))).collect();
        while line.lock().unwrap().waiting.len() < ORDERS {
            std::thread::yield_now();
        }
        let before = world.manage.store.stats().transactions;
        drop(settle::PassOn(line));
        let states: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (states, before)
    });

    assert_eq!(states, [State::Served; ORDERS]);
    assert_eq!(world.manage.store.stats().transactions, before + 1);
    drop(stop);
    answering.join().unwrap();
}
