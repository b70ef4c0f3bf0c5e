//! Where what is served comes from.

use super::*;
use crate::manage::change::explain;
use crate::manage::change::settle;
use crate::manage::change::state::State;

#[test]
fn i06_every_change_traces_to_its_order_and_author() {
    let world = World::new();
    let acme = &world.acme;
    let explained = |owner: &str, rtype| {
        explain::explain(&world.manage, &acme.superuser, &acme.zone, &name(owner), rtype).unwrap()
    };
    let created = explained("acme.example.", Type::SOA);
    assert!(created.there && created.event.is_some());

    world.add(&acme.member, &acme.zone, vec![add("www", "A", "192.0.2.2")]);
    let order = world.place(&acme.member);
    let www = explained("www.acme.example.", Type::A);
    assert_eq!((www.order, www.number), (Some(order.id), Some(order.number)));
    assert_eq!(www.by.unwrap().name, "Member");

    world.add(&acme.superuser, &acme.zone, vec![delete("www", "A")]);
    let order = world.place(&acme.superuser);
    let www = explained("www.acme.example.", Type::A);
    assert_eq!((www.there, www.order), (false, Some(order.id)));
}

/// Goal: what was durable is continued: an order that was applied but not yet seen served.
/// Method: without a listener nobody can be asked; the next start, which has none either, leaves it.
#[test]
fn an_applied_order_whose_answers_nobody_saw_stays_applied_over_a_restart() {
    let world = World::new();
    world.add(&world.acme.member, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&world.acme.member);
    assert_eq!(order.state, State::Applied);
    let world = world.restarted();
    let system = bootstrap::system(&world.manage).unwrap();
    assert_eq!(settle::resume(&world.manage, &system), Ok(0));
    let after = crate::manage::change::receipt::get(&world.manage, &world.acme.member, order.id);
    assert_eq!(after.unwrap().state, State::Applied);
}

/// A server on loopback that answers www.acme.example. A as the store has it.
#[test]
fn an_order_is_served_when_the_own_listener_gives_the_new_answer() {
    let world = World::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    world.manage.maintain.set_own_listener(socket.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut query = [0; 512];
        let (len, peer) = socket.recv_from(&mut query).unwrap();
        let question_end = len - 11;
        let mut reply = query[..question_end].to_vec();
        reply[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
        socket.send_to(&reply, peer).unwrap();
    });
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![put("www", "A", 60, &["192.0.2.77"])]);

    let order = world.place(&acme.member);

    answering.join().unwrap();
    assert_eq!(order.state, State::Served);
    let receipt = order.receipt.unwrap();
    assert!(receipt.served_us >= receipt.durable_us, "{receipt:?}");
    assert!(receipt.served_at.is_some());
}
