//! Who may be what: invariants of organisations, users and tokens.

use super::*;
use crate::manage::access::{NoAccess, Permission, Role};
use crate::manage::fault::Stop;
use crate::manage::people::organisation::{OrgError, OrgState};
use crate::manage::people::token::{AuthError, TokenError};
use crate::manage::people::user::{UserError, UserPatch};
use crate::manage::time::Timestamp;

fn demote() -> UserPatch {
    UserPatch { role: Some(UserRole::Member), ..UserPatch::default() }
}

fn disable() -> UserPatch {
    UserPatch { enabled: Some(false), ..UserPatch::default() }
}

/// Goal: an organisation always has a superuser who may act.
/// Method: two superusers take the role from each other at the same moment.
#[test]
fn i01_of_two_superusers_who_demote_each_other_exactly_one_wins() {
    let world = World::new();
    let first = &world.acme.superuser;
    let second = new_user(&world.manage, first, world.acme.org, UserRole::Superuser);
    let second_acts = acting_as(&world.manage, first, second.id);
    let first_id = first.actor.user().unwrap();

    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| user::update(&world.manage, first, second.id, demote()));
        let two = scope.spawn(|| user::update(&world.manage, &second_acts, first_id, demote()));
        (one.join().unwrap(), two.join().unwrap())
    });

    assert_ne!(one.is_ok(), two.is_ok(), "{one:?} {two:?}");
    let refused = one.err().or(two.err()).unwrap();
    assert_eq!(refused, UserError::LastSuperuser);
}

#[test]
fn i01_the_operator_too_cannot_take_the_last_superuser_away() {
    let world = World::new();
    let last = world.acme.superuser.actor.user().unwrap();
    for patch in [demote(), disable()] {
        let refused = user::update(&world.manage, &world.operator, last, patch);
        assert_eq!(refused, Err(UserError::LastSuperuser));
    }
}

#[test]
fn i02_nobody_demotes_or_disables_themself_whichever_token_they_act_through() {
    let world = World::new();
    let me = &world.acme.superuser;
    let id = me.actor.user().unwrap();
    new_user(&world.manage, me, world.acme.org, UserRole::Superuser);
    let another_token = acting_as(&world.manage, me, id);
    for context in [me, &another_token] {
        for patch in [demote(), disable()] {
            let refused = user::update(&world.manage, context, id, patch);
            assert_eq!(refused, Err(UserError::Oneself));
        }
    }
}

#[test]
fn i04_the_tree_of_organisations_ends_and_limits_stay_below_the_parent() {
    let world = World::new();
    let below = |parent: OrgId, json: serde_json::Value| {
        let mut new: NewOrg = serde_json::from_value(json).unwrap();
        new.parent = Some(parent);
        organisation::create(&world.manage, &world.operator, new)
    };
    let refused = below(world.acme.org, serde_json::json!({"handle": "child"}));
    assert!(matches!(refused, Err(OrgError::Invalid(_))), "customers have nobody below them");

    let many = serde_json::json!({"handle": "big", "limits": {"zones": 4_000_000_000u32}});
    assert!(matches!(below(world.reseller.org, many), Err(OrgError::Invalid(_))));

    let mut parent = world.operator.org;
    for level in 2..=9 {
        let json = serde_json::json!({"handle": format!("level-{level}"), "kind": "reseller",
            "flags": {"sub_reseller": true}});
        match below(parent, json) {
            Ok(org) => parent = org.id,
            Err(error) => {
                assert_eq!(level, 9, "{error}");
                return;
            }
        }
    }
    panic!("the tree has no end");
}

#[test]
fn i04_what_is_switched_off_above_is_switched_off_below() {
    let world = World::new();
    let off = OrgPatch { state: Some(OrgState::Disabled), ..OrgPatch::default() };
    world.set_org(world.reseller.org, off);
    let refused =
        world.try_add(&world.acme.member, &world.acme.zone, vec![add("a", "A", "192.0.2.9")]);
    assert_eq!(refused, Err(BasketError::Stop(NoAccess::Suspended.into())));
    world.add(&world.other.member, &world.other.zone, vec![add("a", "A", "192.0.2.9")]);
}

#[test]
fn an_organisation_changes_its_name_and_only_those_above_it_the_rest() {
    let world = World::new();
    let (acme, me) = (world.acme.org, &world.acme.superuser);
    let rename = OrgPatch { name: Some("Acme Widgets".into()), ..OrgPatch::default() };
    assert!(organisation::update(&world.manage, me, acme, rename).is_ok());

    let mode = || OrgPatch { change_mode: Some(ChangeMode::Direct), ..OrgPatch::default() };
    let refused = organisation::update(&world.manage, me, acme, mode());
    assert!(refused.is_err());
    assert!(organisation::update(&world.manage, &world.reseller, acme, mode()).is_ok());
    let own = organisation::update(&world.manage, &world.reseller, world.reseller.org, mode());
    assert!(own.is_err(), "a reseller does not raise its own limits either");
}

#[test]
fn a_token_never_has_more_than_its_user_or_its_maker() {
    let world = World::new();
    let member = world.acme.member.actor.user().unwrap();
    let ask = |by: &Context, permissions: Option<Vec<Permission>>, role: Option<Role>| {
        let new =
            NewToken { name: "t".into(), user: Some(member), permissions, role, expires_at: None };
        token::create(&world.manage, by, new)
    };
    let above = ask(&world.operator, Some(vec![Permission::OrderApprove]), None);
    assert_eq!(above, Err(TokenError::Above(vec![Permission::OrderApprove])));
    assert!(ask(&world.operator, None, Some(Role::Operator)).is_err());

    let narrow =
        ask(&world.acme.member, Some(vec![Permission::ZoneView, Permission::TokenOwn]), None);
    let narrow = authenticated(&world.manage, &narrow.unwrap().secret.unwrap());
    let wider = ask(&narrow, Some(vec![Permission::ZoneEdit]), None);
    assert_eq!(wider, Err(TokenError::Above(vec![Permission::ZoneEdit])));
    let refused = world.try_add(&narrow, &world.acme.zone, vec![add("a", "A", "192.0.2.9")]);
    assert_eq!(refused, Err(BasketError::Stop(NoAccess::Forbidden(Permission::ZoneEdit).into())));
}

#[test]
fn a_narrow_token_of_a_superuser_makes_no_broad_user() {
    let world = World::new();
    let new = NewToken {
        name: "users only".into(),
        permissions: Some(vec![Permission::UserManage, Permission::UserView]),
        ..NewToken::default()
    };
    let made = token::create(&world.manage, &world.acme.superuser, new).unwrap();
    let narrow = authenticated(&world.manage, &made.secret.unwrap());
    let new = NewUser { name: "x".into(), email: None, role: UserRole::Superuser, zones: None };
    let refused = user::create(&world.manage, &narrow, world.acme.org, new);
    assert_eq!(refused, Err(UserError::AboveOneself(UserRole::Superuser)));
}

#[test]
fn a_token_ends_by_revocation_by_expiry_and_with_its_user() {
    let world = World::new();
    let (manage, me) = (&world.manage, &world.acme.superuser);
    let member = world.acme.member.actor.user().unwrap();
    let fresh = |expires_at| {
        let new =
            NewToken { name: "t".into(), user: Some(member), expires_at, ..NewToken::default() };
        token::create(manage, me, new).unwrap()
    };
    let ends = |secret: &str| token::authenticate(manage, secret).unwrap().err();

    let revoked = fresh(None);
    let secret = revoked.secret.unwrap();
    assert_eq!(ends(&secret), None);
    token::revoke(manage, me, revoked.token.id).unwrap();
    assert_eq!(ends(&secret), Some(AuthError::Closed));

    let soon = Timestamp(Timestamp::now().0 + 50_000);
    let expired = fresh(Some(soon)).secret.unwrap();
    while Timestamp::now() <= soon {
        std::thread::yield_now();
    }
    assert_eq!(ends(&expired), Some(AuthError::Closed));

    let orphaned = fresh(None).secret.unwrap();
    user::update(manage, me, member, disable()).unwrap();
    assert_eq!(ends(&orphaned), Some(AuthError::Closed));
    assert_eq!(ends("npt_nonsense"), Some(AuthError::Unknown));
}

#[test]
fn a_demoted_user_demotes_their_tokens() {
    let world = World::new();
    let (manage, me) = (&world.manage, &world.acme.superuser);
    let second = new_user(manage, me, world.acme.org, UserRole::Superuser);
    let new = NewToken { name: "t".into(), user: Some(second.id), ..NewToken::default() };
    let secret = token::create(manage, me, new).unwrap().secret.unwrap();
    assert!(authenticated(manage, &secret).may(Permission::UserManage).is_ok());
    user::update(manage, me, second.id, demote()).unwrap();
    assert!(authenticated(manage, &secret).may(Permission::UserManage).is_err());
}

#[test]
fn i31_no_secret_stands_in_the_events_or_in_the_store_directory() {
    let world = World::new();
    let new = NewToken { name: "t".into(), ..NewToken::default() };
    let secret = token::create(&world.manage, &world.acme.superuser, new).unwrap().secret.unwrap();
    let query = crate::manage::event::EventQuery { limit: 1_000, ..Default::default() };
    let events = crate::manage::event::list(&world.manage, &world.operator, &query).unwrap();
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains(&secret));
    let tokens = token::list(&world.manage, &world.acme.superuser, world.acme.org, None, 100);
    assert!(!serde_json::to_string(&tokens.unwrap()).unwrap().contains(&secret[..20]));
}

#[test]
fn the_first_start_shows_its_token_once_and_makes_one_operator() {
    let world = World::new();
    let again = bootstrap::first_start(&world.manage).unwrap();
    assert_eq!((again.operator.org, again.secret), (world.operator.org, None));
    let world = world.restarted();
    let after = bootstrap::first_start(&world.manage).unwrap();
    assert_eq!((after.operator.org, after.secret), (world.operator.org, None));
}

#[test]
fn a_repeated_request_for_a_token_does_not_show_the_secret_again() {
    let world = World::new();
    let context = with_key(&world.acme.superuser, "k", 1);
    let new = || NewToken { name: "t".into(), ..NewToken::default() };
    let first = token::create(&world.manage, &context, new()).unwrap();
    let second = token::create(&world.manage, &context, new()).unwrap();
    assert_eq!((first.token.id, second.secret), (second.token.id, None));
    let other = token::create(&world.manage, &with_key(&context, "k", 2), new());
    assert_eq!(other, Err(TokenError::Stop(Stop::KeyReused)));
}
