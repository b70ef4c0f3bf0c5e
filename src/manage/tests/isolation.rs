//! What belongs to others is not there.

use super::*;
use crate::manage::access::NoAccess;
use crate::manage::change::approval::Return;
use crate::manage::change::explain;
use crate::manage::change::receipt::{self, OrderQuery};
use crate::manage::change::revert::{self, Revert};
use crate::manage::event::{self, EventQuery};
use crate::manage::fault::Stop;
use crate::manage::holding::zone::{self as holding, ZoneQuery};
use crate::manage::people::user::{UserError, UserPatch};

/// Goal: whoever guesses an id of another organisation learns nothing, not even that it is there.
/// Method: a superuser, who may everything at home, tries every operation on another's things.
#[test]
fn i30_an_id_of_another_organisation_is_answered_as_if_it_were_nobodys() {
    let world = World::in_mode(ChangeMode::Approval);
    let (manage, me, theirs) = (&world.manage, &world.acme.superuser, &world.other);
    world.add(&theirs.member, &theirs.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&theirs.member).id;
    let member = theirs.member.actor.user().unwrap();
    let not_found = Stop::Access(NoAccess::NotFound);
    let stop = OrderError::Stop(not_found.clone());

    assert_eq!(holding::get(manage, me, &theirs.zone), Err(not_found.clone()));
    let added = world.try_add(me, &theirs.zone, vec![delete("www", "A")]);
    assert_eq!(added, Err(BasketError::Stop(not_found.clone())));
    let query = RrsetQuery { limit: 10, ..RrsetQuery::default() };
    assert_eq!(merged::rrsets(manage, me, &theirs.zone, &query), Err(not_found.clone()));
    let explained = explain::explain(manage, me, &theirs.zone, &theirs.zone, Type::SOA);
    assert_eq!(explained, Err(not_found.clone()));
    let asks = vec![Ask::ZoneDelete { zone: theirs.zone.clone() }];
    assert_eq!(push::submit(manage, me, asks, None).unwrap_err(), stop);

    assert_eq!(receipt::get(manage, me, order), Err(not_found.clone()));
    assert_eq!(world.approve(me, order), Err(stop.clone()));
    assert_eq!(world.reject(me, order), Err(stop.clone()));
    assert_eq!(approval::cancel(manage, me, order, Decline::default()), Err(stop.clone()));
    assert_eq!(revert::revert(manage, me, order, Revert::default()), Err(stop.clone()));
    assert_eq!(push::preview_order(manage, me, order), Err(stop.clone()));
    assert_eq!(approval::return_to_basket(manage, me, order, &Return::default()), Err(stop));

    assert_eq!(user::get(manage, me, member), Err(not_found.clone()));
    let updated = user::update(manage, me, member, UserPatch::default());
    assert_eq!(updated, Err(UserError::Stop(not_found.clone())));
    assert_eq!(user::list(manage, me, theirs.org, None, 10), Err(not_found.clone()));
    assert_eq!(token::list(manage, me, theirs.org, None, 10), Err(not_found.clone()));
    assert_eq!(organisation::get(manage, me, "other"), Err(not_found.clone()));
    let query = EventQuery { org: Some(theirs.org), limit: 10, ..EventQuery::default() };
    assert_eq!(event::list(manage, me, &query), Err(not_found.clone()));
    let query = OrderQuery { org: Some(theirs.org), limit: 10, ..OrderQuery::default() };
    assert_eq!(receipt::list(manage, me, &query), Err(not_found.clone()));
    let query = ZoneQuery { org: Some(theirs.org), limit: 10, ..ZoneQuery::default() };
    assert_eq!(holding::list(manage, me, &query), Err(not_found));
}

#[test]
fn lists_hold_what_is_ones_own_and_a_reseller_reaches_its_customers() {
    let world = World::new();
    let (manage, acme) = (&world.manage, &world.acme);
    let query = ZoneQuery { limit: 10, ..ZoneQuery::default() };
    let zones = |context: &Context| -> Vec<Name> {
        let page = holding::list(manage, context, &query).unwrap();
        page.items.into_iter().map(|zone| zone.name).collect()
    };
    assert_eq!(zones(&acme.member), std::slice::from_ref(&acme.zone));
    assert_eq!(zones(&world.operator).len(), 2);
    assert_eq!(zones(&world.reseller), [] as [Name; 0]);
    assert!(holding::get(manage, &world.reseller, &acme.zone).is_ok());
    assert!(holding::get(manage, &world.reseller, &world.other.zone).is_err());
    world.add(&world.reseller, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&world.reseller);
    assert_eq!(order.org, acme.org);
    assert!(receipt::get(manage, &acme.superuser, order.id).is_ok(), "it is their zone");
    assert!(receipt::get(manage, &acme.member, order.id).is_err(), "members see their own");
}

#[test]
fn a_member_sees_and_changes_only_zones_granted_to_them() {
    let world = World::new();
    let (manage, acme) = (&world.manage, &world.acme);
    let second = name("second.example.");
    world.push(&world.operator, vec![create(&second, Some(acme.org))]).unwrap();
    let zones = Some(vec![second.clone()]);
    let new = NewUser { name: "x".into(), email: None, role: UserRole::Member, zones };
    let user = user::create(manage, &acme.superuser, acme.org, new).unwrap();
    let limited = acting_as(manage, &acme.superuser, user.id);

    assert!(holding::get(manage, &limited, &second).is_ok());
    let hidden = Err(Stop::Access(NoAccess::NotFound));
    assert_eq!(holding::get(manage, &limited, &acme.zone), hidden);
    let refused = world.try_add(&limited, &acme.zone, vec![delete("www", "A")]);
    assert_eq!(refused, Err(BasketError::Stop(NoAccess::NotFound.into())));
    let query = ZoneQuery { limit: 10, ..ZoneQuery::default() };
    assert_eq!(holding::list(manage, &limited, &query).unwrap().items.len(), 1);
}

#[test]
fn a_pushed_order_shows_each_customer_its_own_part() {
    let world = World::new();
    let changes = vec![
        change(&world.acme.zone, vec![add("push", "A", "192.0.2.7")]),
        change(&world.other.zone, vec![add("push", "A", "192.0.2.7")]),
    ];
    let order = world.push(&world.operator, changes).unwrap();
    let seen = receipt::get(&world.manage, &world.acme.superuser, order.id).unwrap();
    assert_eq!(seen.items.len(), 1);
    assert_eq!(seen.receipt.unwrap().zones.len(), 1);
    assert!(!serde_json::to_string(&seen.items).unwrap().contains("other.example"));
}

#[test]
fn who_overlaps_is_told_within_reach_and_only_that_somebody_does_beyond_it() {
    let world = World::new();
    let acme = &world.acme;
    world.add(&world.operator, &acme.zone, vec![delete("www", "A")]);
    let change = world.add(&acme.member, &acme.zone, vec![add("www", "A", "192.0.2.2")]);
    assert_eq!(change.items[0].overlaps.len(), 1);
    assert_eq!(change.items[0].overlaps[0].by, None);
    let items = basket::list(&world.manage, &world.operator).unwrap().items;
    assert_eq!(items[0].overlaps[0].by.as_ref().unwrap().name, "Member");
}
