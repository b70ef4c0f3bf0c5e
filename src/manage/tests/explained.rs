//! Where what is served comes from.

use std::io::ErrorKind;
use std::net::UdpSocket;

use super::*;
use crate::maintain::served::Everywhere;
use crate::manage::change::revert::{self, Revert};
use crate::manage::change::state::State;
use crate::manage::change::{confirm, explain, receipt, settle};

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

/// Goal: an order whose first self-check came to nothing is served without a restart.
/// Method: the listener is known only after the order; the second look asks it.
#[test]
fn an_order_not_seen_at_once_is_looked_for_again() {
    let world = World::new();
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![put("www", "A", 60, &["192.0.2.77"])]);
    let order = world.place(&acme.member);
    assert_eq!(order.state, State::Applied);
    let system = bootstrap::system(&world.manage).unwrap();
    let mut lookout = settle::Lookout::default();
    assert_eq!(lookout.look(&world.manage, &system), Ok(0));
    let (stop, stopped) = std::sync::mpsc::channel();
    let answering = answer_from(&world, stopped);

    assert!(lookout.look(&world.manage, &system).unwrap() >= 1);

    drop(stop);
    answering.join().unwrap();
    let after = crate::manage::change::receipt::get(&world.manage, &acme.member, order.id);
    assert_eq!(after.unwrap().state, State::Served);
}

/// Goal: a server that stops waits for no answers: nobody gives them any more.
/// Method: a listener hears all and says nothing; once it is said to have ended nobody asks it.
#[test]
fn a_server_that_stops_looks_for_no_answers() {
    let world = World::new();
    world.add(&world.acme.member, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    world.place(&world.acme.member);
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    world.manage.maintain.set_own_listeners(&[listener.local_addr().unwrap()]);
    let system = bootstrap::system(&world.manage).unwrap();
    world.manage.maintain.fall_silent();

    assert_eq!(settle::resume(&world.manage, &system), Ok(0));
    let mut lookout = settle::Lookout::default();
    (0..2).for_each(|_| assert_eq!(lookout.look(&world.manage, &system), Ok(0)));

    assert_eq!(listener.recv(&mut [0; 512]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Goal: an order that an older release kept, in rows of another form, is shown, confirmed and undone.
#[test]
fn an_order_kept_by_an_older_release_goes_on() {
    let world = World::in_mode(ChangeMode::Direct);
    let (stop, stopped) = std::sync::mpsc::channel();
    let answering = answer_from(&world, stopped);
    let zone = &world.acme.zone;
    let edit = put("www", "A", 60, &["192.0.2.77"]);
    let order = world.push(&world.operator, vec![change(zone, vec![edit])]).unwrap();
    assert_eq!((order.state, order.items.len()), (State::Served, 1));
    let manage = &world.manage;

    manage.transact(|tx| crate::manage::change::keep_as_before(tx, order.id)).unwrap();

    let shown = || receipt::get(manage, &world.operator, order.id).unwrap();
    assert_eq!(shown(), order);
    let row = manage.store.read(|rows| zones::zone(rows, zone)).unwrap().unwrap();
    let news = Everywhere { zone: row.id, serial: Some(row.serial) };
    let system = bootstrap::system(manage).unwrap();
    assert!(confirm::seen(manage, &system, &[news]).unwrap() >= 1);
    let confirmed = shown();
    assert_eq!(confirmed.state, State::Confirmed);
    let receipt = confirmed.receipt.unwrap();
    assert!(receipt.old_gone_at > receipt.confirmed_at && receipt.confirmed_at.is_some());
    revert::revert(manage, &world.operator, order.id, Revert::default()).unwrap();
    assert_eq!(world.served(zone, "www", Type::A), ["192.0.2.1"]);
    assert_eq!(shown().state, State::Reverted);
    drop(stop);
    answering.join().unwrap();
}

/// A listener that answers whatever is asked as the store has it, until told to stop.
pub(super) fn answer_from(
    world: &World,
    stopped: std::sync::mpsc::Receiver<()>,
) -> std::thread::JoinHandle<()> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    world.manage.maintain.set_own_listeners(&[socket.local_addr().unwrap()]);
    socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    let manage = world.manage.clone();
    let (zone, soa) = (world.acme.zone.clone(), Type::SOA);
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            let Ok((len, peer)) = socket.recv_from(&mut query) else { continue };
            let mut reply = query[..len - 11].to_vec();
            reply[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
            let asked = Name::from_wire(&reply[12..reply.len() - 4]).unwrap();
            let rtype = if asked == zone { soa } else { Type::A };
            let found = manage.store.read(|rows| {
                let held = zones::zone(rows, &zone).unwrap().unwrap();
                zones::with_view(rows, &held, |view| set_at(view, &asked, rtype)).unwrap()
            });
            let Some(found) = found else { continue };
            for rdata in found.rrset.rdatas() {
                reply.extend_from_slice(&[0xc0, 12]);
                reply.extend_from_slice(&rtype.0.to_be_bytes());
                reply.extend_from_slice(&[0, 1]);
                reply.extend_from_slice(&found.rrset.ttl.to_be_bytes());
                reply.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
                reply.extend_from_slice(rdata);
            }
            socket.send_to(&reply, peer).unwrap();
        }
    })
}

#[test]
fn an_order_is_served_when_the_own_listener_gives_the_new_answer() {
    let world = World::new();
    let (stop, stopped) = std::sync::mpsc::channel();
    let answering = answer_from(&world, stopped);
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![put("www", "A", 60, &["192.0.2.77"])]);

    let order = world.place(&acme.member);

    drop(stop);
    answering.join().unwrap();
    assert_eq!(order.state, State::Served);
    let receipt = order.receipt.unwrap();
    assert!(receipt.served_us >= receipt.durable_us, "{receipt:?}");
    assert!(receipt.served_at.is_some());
}
