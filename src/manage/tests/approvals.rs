//! Approval: who must, who may, and what it binds to.

use super::*;
use crate::manage::access::{NoAccess, Permission};
use crate::manage::change::approval::Return;
use crate::manage::change::state::State;

#[test]
fn an_order_that_needs_approval_changes_nothing_until_it_has_it() {
    let world = World::in_mode(ChangeMode::Approval);
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    world.add(member, zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(member);
    assert_eq!(order.state, State::AwaitingApproval);
    assert!(world.served(zone, "new", Type::A).is_empty());

    let world = world.restarted();
    let approved = world.approve(&world.acme.superuser, order.id).unwrap();

    assert_eq!(approved.state, State::Applied);
    assert_eq!(world.served(&world.acme.zone, "new", Type::A), ["192.0.2.7"]);
    let again = world.approve(&world.acme.superuser, order.id);
    assert!(matches!(again, Err(OrderError::NotIn { state: State::Applied, .. })));
}

#[test]
fn i14_an_approval_covers_exactly_what_was_looked_at() {
    let world = World::in_mode(ChangeMode::Approval);
    world.add(&world.acme.member, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&world.acme.member);
    let with = |digest: &str| Approve { digest: Some(digest.to_owned()), comment: None };
    let other = approval::approve(&world.manage, &world.acme.superuser, order.id, with("00"));
    assert_eq!(other, Err(OrderError::DigestDiffers));
    let approved =
        approval::approve(&world.manage, &world.acme.superuser, order.id, with(&order.digest));
    assert_eq!(approved.unwrap().approvals[0].digest, order.digest);
}

#[test]
fn i15_an_author_does_not_approve_their_own_order_with_any_token() {
    let world = World::in_mode(ChangeMode::Approval);
    let author = &world.acme.superuser;
    world.add(author, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(author);
    let other_token = acting_as(&world.manage, author, author.actor.user().unwrap());
    for context in [author, &other_token] {
        assert_eq!(world.approve(context, order.id), Err(OrderError::OwnOrder));
    }
    let policy = OrgPatch { four_eyes: Some(false), ..OrgPatch::default() };
    world.set_org(world.acme.org, policy);
    assert!(world.approve(author, order.id).is_ok());
}

#[test]
fn a_member_does_not_approve_and_a_reader_changes_nothing() {
    let world = World::in_mode(ChangeMode::Approval);
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&acme.member);
    let refused = world.approve(&acme.member, order.id);
    assert_eq!(
        refused,
        Err(OrderError::Stop(NoAccess::Forbidden(Permission::OrderApprove).into()))
    );
    let reader = new_user(&world.manage, &acme.superuser, acme.org, UserRole::Reader);
    let reader = acting_as(&world.manage, &acme.superuser, reader.id);
    assert!(world.try_add(&reader, &acme.zone, vec![add("x", "A", "192.0.2.7")]).is_err());
    assert!(!world.view(&reader, &acme.zone, Which::Live).items.is_empty());
}

#[test]
fn a_rejected_order_needs_a_reason_and_gives_its_items_back_once() {
    let world = World::in_mode(ChangeMode::Approval);
    let (acme, manage) = (&world.acme, &world.manage);
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&acme.member);
    let silent = approval::reject(manage, &acme.superuser, order.id, Decline::default());
    assert!(matches!(silent, Err(OrderError::Invalid(_))));
    let rejected = world.reject(&acme.superuser, order.id).unwrap();
    assert_eq!((rejected.state, rejected.comment.as_deref()), (State::Rejected, Some("not now")));

    let back = approval::return_to_basket(manage, &acme.member, order.id, &Return::default());
    assert_eq!(back.unwrap().items.len(), 1);
    assert_eq!(basket::list(manage, &acme.member).unwrap().items.len(), 1);
    let twice = approval::return_to_basket(manage, &acme.member, order.id, &Return::default());
    assert!(matches!(twice, Err(OrderError::NotUndoable(_))));
}

#[test]
fn an_order_is_cancelled_by_its_author_until_it_is_applied() {
    let world = World::in_mode(ChangeMode::Approval);
    let (acme, manage) = (&world.acme, &world.manage);
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&acme.member);
    let cancelled = approval::cancel(manage, &acme.member, order.id, Decline::default()).unwrap();
    assert_eq!(cancelled.state, State::Cancelled);
    assert!(world.approve(&acme.superuser, order.id).is_err());

    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&acme.member);
    world.approve(&acme.superuser, order.id).unwrap();
    let late = approval::cancel(manage, &acme.member, order.id, Decline::default());
    assert!(matches!(late, Err(OrderError::NotIn { state: State::Applied, .. })));
}
