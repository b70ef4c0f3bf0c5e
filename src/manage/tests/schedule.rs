//! Orders with a time of their own, and orders on hold.

use super::*;
use crate::manage::change::receipt;
use crate::manage::change::schedule;
use crate::manage::change::state::State;
use crate::manage::fault::Refused;
use crate::manage::people::organisation::Flags;
use crate::manage::time::Timestamp;

/// A basket with one new record, placed for a moment `seconds` from now.
fn place_for(world: &World, by: &Context, seconds: u64) -> (OrderView, Timestamp) {
    let at = Timestamp::now().plus_s(seconds);
    let place = Place { not_before: Some(at), ..Place::default() };
    world.add(by, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    (order::place(&world.manage, by, place).unwrap(), at)
}

fn turn(world: &World, now: Timestamp) -> usize {
    let system = bootstrap::system(&world.manage).unwrap();
    schedule::apply_due(&world.manage, &system, now).unwrap()
}

fn shown(world: &World, id: OrderId) -> OrderView {
    receipt::get(&world.manage, &world.operator, id).unwrap()
}

fn is_served(world: &World) -> bool {
    !world.served(&world.acme.zone, "new", Type::A).is_empty()
}

fn because(why: &str) -> Decline {
    Decline { comment: Some(why.to_owned()) }
}

#[test]
fn a_scheduled_order_is_applied_when_its_time_has_come_and_not_before() {
    let world = World::new();
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    assert_eq!((order.state, order.not_before), (State::Scheduled, Some(at)));
    assert_eq!(order.waits_for.as_deref(), Some("time"));

    assert_eq!(turn(&world, Timestamp(at.0 - 1)), 0);
    assert!(!is_served(&world));
    let world = world.restarted();
    assert_eq!(turn(&world, at), 1);
    assert!(is_served(&world));

    let order = shown(&world, order.id);
    let states: Vec<State> = order.history.iter().map(|reached| reached.state).collect();
    use State::{Applied, Applying, Approved, Scheduled, Submitted};
    assert_eq!(states, [Submitted, Approved, Scheduled, Applying, Applied]);
    assert_eq!(order.receipt.unwrap().zones.len(), 1);
    assert_eq!(turn(&world, at), 0);
}

#[test]
fn a_moment_that_is_past_is_now_and_one_beyond_a_year_is_refused() {
    let world = World::new();
    let (order, _) = place_for(&world, &world.acme.member, 0);
    assert_eq!(order.state, State::Applied);

    let at = Timestamp::now().plus_s(400 * 86_400);
    let place = Place { not_before: Some(at), ..Place::default() };
    world.add(&world.acme.member, &world.acme.zone, vec![add("late", "A", "192.0.2.7")]);
    let refused = order::place(&world.manage, &world.acme.member, place).unwrap_err();
    assert!(refused.problems()[0].text.contains("not_before_s"), "{refused}");
}

#[test]
fn an_approval_lets_a_scheduled_order_wait_and_one_that_comes_late_applies_it() {
    let world = World::in_mode(ChangeMode::Approval);
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    assert_eq!(order.state, State::AwaitingApproval);
    assert_eq!(turn(&world, at), 0);
    let order = world.approve(&world.acme.superuser, order.id).unwrap();
    assert_eq!(order.state, State::Scheduled);
    assert_eq!(order.approvals.len(), 1);
    assert_eq!(turn(&world, at), 1);
    assert_eq!(shown(&world, order.id).state, State::Applied);
}

#[test]
fn what_a_scheduled_order_is_based_on_is_looked_at_again_when_it_is_due() {
    let world = World::new();
    let at = Timestamp::now().plus_s(3_600);
    let place = || Place { not_before: Some(at), ..Place::default() };
    world.add(&world.acme.member, &world.acme.zone, vec![put("www", "A", 60, &["192.0.2.5"])]);
    let order = order::place(&world.manage, &world.acme.member, place()).unwrap();
    world.add(&world.acme.superuser, &world.acme.zone, vec![delete("www", "A")]);
    world.place(&world.acme.superuser);

    assert_eq!(turn(&world, at), 1);

    let order = shown(&world, order.id);
    assert_eq!(order.state, State::Conflict);
    assert_eq!(order.conflicts.len(), 1);
}

#[test]
fn a_scheduled_order_is_cancelled_by_its_author_and_never_applied() {
    let world = World::new();
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    let cancelled =
        approval::cancel(&world.manage, &world.acme.member, order.id, Decline::default()).unwrap();
    assert_eq!(cancelled.state, State::Cancelled);
    assert_eq!(turn(&world, at), 0);
    assert!(!is_served(&world));
}

#[test]
fn an_order_on_hold_is_not_applied_and_goes_on_from_where_it_was() {
    let world = World::new();
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    let nobody = schedule::hold(&world.manage, &world.acme.superuser, order.id, because("no"));
    assert!(nobody.is_err(), "a customer stopped an order");
    assert!(
        schedule::hold(&world.manage, &world.operator, order.id, Decline::default()).is_err(),
        "no reason was given"
    );
    let held = schedule::hold(&world.manage, &world.operator, order.id, because("freeze")).unwrap();
    assert_eq!((held.state, held.hold.unwrap().why.as_str()), (State::OnHold, "freeze"));
    assert_eq!(turn(&world, at), 0);

    let released = schedule::release(&world.manage, &world.operator, order.id).unwrap();

    assert_eq!((released.state, released.hold), (State::Scheduled, None));
    assert_eq!(turn(&world, at), 1);
    assert!(is_served(&world));
    assert!(schedule::release(&world.manage, &world.operator, order.id).is_err());
}

/// Goal: holding and releasing is no way past approval.
#[test]
fn i14_an_order_held_before_its_approval_still_needs_it() {
    let world = World::in_mode(ChangeMode::Approval);
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    schedule::hold(&world.manage, &world.operator, order.id, because("look")).unwrap();
    assert!(world.approve(&world.acme.superuser, order.id).is_err());
    let released = schedule::release(&world.manage, &world.operator, order.id).unwrap();
    assert_eq!(released.state, State::AwaitingApproval);
    assert_eq!(turn(&world, at), 0);
    assert!(!is_served(&world));
}

#[test]
fn i16_a_due_order_of_an_organisation_that_may_not_order_is_held_not_lost() {
    let world = World::new();
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    let closed = Flags { can_edit_dns: false, ..Flags::default() };
    world.set_org(world.acme.org, OrgPatch { flags: Some(closed), ..OrgPatch::default() });
    assert_eq!(turn(&world, at), 1);
    let held = shown(&world, order.id);
    assert_eq!(held.state, State::OnHold);
    assert!(held.hold.unwrap().why.contains("switched off"));

    let open = OrgPatch { flags: Some(Flags::default()), ..OrgPatch::default() };
    world.set_org(world.acme.org, open);
    schedule::release(&world.manage, &world.operator, order.id).unwrap();
    assert_eq!(turn(&world, at), 1);
    assert!(is_served(&world));
}

#[test]
fn a_due_order_for_a_zone_whose_changes_are_stopped_is_held_not_failed() {
    use crate::maintain::{ZoneChange, ZoneState};
    let world = World::new();
    let (order, at) = place_for(&world, &world.acme.member, 3_600);
    let set = |state| {
        let apex = world.acme.zone.clone();
        let change = [ZoneChange::SetState { apex, state }];
        let done = world.manage.maintain.commit(|door| door.apply(&change));
        done.unwrap();
    };
    set(ZoneState::Held);
    assert_eq!(turn(&world, at), 1);
    assert_eq!(shown(&world, order.id).state, State::OnHold);
    set(ZoneState::Live);
    schedule::release(&world.manage, &world.operator, order.id).unwrap();
    assert_eq!(turn(&world, at), 1);
    assert!(is_served(&world));
}
