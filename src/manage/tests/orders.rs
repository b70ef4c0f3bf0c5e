//! From the basket to what is served: modes, approval, conflicts, undoing.

use super::*;
use crate::manage::access::{NoAccess, Permission};
use crate::manage::change::approval::Return;
use crate::manage::change::merged::Mark;
use crate::manage::change::revert::{self, Revert};
use crate::manage::change::state::State;
use crate::manage::event;
use crate::manage::fault::{Refused, Stop};
use crate::manage::limits::Limits;
use crate::manage::people::organisation::Flags;

#[test]
fn i05_nothing_in_a_basket_is_served() {
    let world = World::new();
    let (zone, serial) = (&world.acme.zone, world.serial(&world.acme.zone));
    world.add(&world.acme.member, zone, vec![add("new", "A", "192.0.2.7"), delete("www", "A")]);
    assert_eq!(world.served(zone, "www", Type::A), ["192.0.2.1"]);
    assert_eq!(world.served(zone, "new", Type::A), [""; 0]);
    assert_eq!(world.serial(zone), serial);
}

#[test]
fn a_placed_basket_is_applied_with_its_receipt_and_the_basket_is_empty() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    let before = world.serial(zone).unwrap();
    world.add(member, zone, vec![add("new", "A", "192.0.2.7")]);

    let order = world.place(member);

    assert_eq!(world.served(zone, "new", Type::A), ["192.0.2.7"]);
    let states: Vec<State> = order.history.iter().map(|step| step.state).collect();
    assert_eq!(states, [State::Submitted, State::Approved, State::Applying, State::Applied]);
    let receipt = order.receipt.unwrap();
    assert_eq!(receipt.zones[0].serial_from, Some(before));
    assert_eq!(receipt.zones[0].serial_to, world.serial(zone));
    assert!(receipt.durable_us.is_some());
    assert!(basket::list(&world.manage, member).unwrap().items.is_empty());
    assert!(order.number.starts_with("O-20"));
}

#[test]
fn adding_and_then_removing_a_record_leaves_no_item() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    world.add(member, zone, vec![add("new", "A", "192.0.2.7")]);
    let change = world.add(member, zone, vec![remove("new", "A", "192.0.2.7")]);
    assert_eq!((change.items.len(), change.vanished.len()), (0, 1));
    assert!(basket::list(&world.manage, member).unwrap().items.is_empty());
    assert_eq!(world.try_place(member), Err(OrderError::Empty));
}

#[test]
fn one_rrset_is_one_item_however_often_it_is_edited() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    world.add(member, zone, vec![add("www", "A", "192.0.2.2")]);
    world.add(member, zone, vec![add("WWW.acme.example.", "A", "192.0.2.3")]);
    world.add(member, zone, vec![remove("www", "A", "192.0.2.1")]);
    let items = basket::list(&world.manage, member).unwrap().items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].wanted.as_ref().unwrap().records, ["192.0.2.2", "192.0.2.3"]);
}

#[test]
fn a_basket_survives_a_restart() {
    let world = World::new();
    world.add(&world.acme.member, &world.acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let world = world.restarted();
    assert_eq!(basket::list(&world.manage, &world.acme.member).unwrap().items.len(), 1);
    world.place(&world.acme.member);
    assert_eq!(world.served(&world.acme.zone, "new", Type::A), ["192.0.2.7"]);
}

#[test]
fn a_basket_breaks_rules_only_when_placed_and_all_are_told() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    let change = world.add(member, zone, vec![add("www", "CNAME", "elsewhere.example.")]);
    assert!(!change.problems.is_empty(), "shown while editing");

    let refused = world.try_place(member).unwrap_err();

    let OrderError::Invalid(problems) = &refused else { panic!("{refused:?}") };
    assert!(problems[0].text.contains("remove one of them"), "{}", problems[0].text);
    assert_eq!(basket::list(&world.manage, member).unwrap().items.len(), 1, "nothing is lost");
    world.add(member, zone, vec![delete("www", "A")]);
    world.place(member);
    assert_eq!(world.served(zone, "www", Type::CNAME), ["elsewhere.example."]);
}

#[test]
fn a_direct_organisation_applies_at_once_and_others_collect() {
    for (mode, applied) in [(ChangeMode::Direct, true), (ChangeMode::Basket, false)] {
        let world = World::in_mode(mode);
        let asks = vec![change(&world.acme.zone, vec![add("new", "A", "192.0.2.7")])];
        let done = push::submit(&world.manage, &world.acme.member, asks, None).unwrap();
        assert_eq!(matches!(done, push::Submitted::Order(_)), applied);
        assert_eq!(!world.served(&world.acme.zone, "new", Type::A).is_empty(), applied);
    }
}

/// Goal: of two orders on one RRset one wins, whatever the timing.
/// Method: both approved from two threads at the same moment, many times.
#[test]
fn of_two_concurrent_orders_on_one_rrset_exactly_one_wins_and_the_other_is_in_conflict() {
    let world = World::in_mode(ChangeMode::Approval);
    let acme = &world.acme;
    for round in 0..10 {
        let (mine, theirs) =
            (format!("192.0.2.{}", 10 + round), format!("192.0.2.{}", 100 + round));
        world.add(&acme.member, &acme.zone, vec![put("www", "A", 60, &[&mine])]);
        world.add(&acme.superuser, &acme.zone, vec![put("www", "A", 60, &[&theirs])]);
        let one = world.place(&acme.member);
        let two = world.place(&acme.superuser);
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| world.approve(&world.reseller, one.id).unwrap());
            let two = scope.spawn(|| world.approve(&world.operator, two.id).unwrap());
            (one.join().unwrap(), two.join().unwrap())
        });

        let (winner, loser) = if one.state == State::Applied { (one, two) } else { (two, one) };
        assert_eq!((winner.state, loser.state), (State::Applied, State::Conflict));
        let won = winner.items[0].wanted.as_ref().unwrap().records.clone();
        assert_eq!(world.served(&acme.zone, "www", Type::A), won);
        let conflict = &loser.conflicts[0];
        assert_eq!(conflict.now.as_ref().unwrap().records, won);
        assert_eq!(conflict.yours, loser.items[0].wanted);
        assert_eq!(conflict.base, loser.items[0].base);
    }
}

#[test]
fn a_stale_order_applies_nothing_of_any_zone_and_keeping_mine_resolves_it() {
    let world = World::new();
    let (member, other) = (&world.acme.member, name("second.example."));
    world.push(&world.operator, vec![create(&other, Some(world.acme.org))]).unwrap();
    world.add(member, &other, vec![add("fine", "A", "192.0.2.9")]);
    world.add(member, &world.acme.zone, vec![put("www", "A", 60, &["192.0.2.50"])]);
    let theirs = change(&world.acme.zone, vec![put("www", "A", 60, &["192.0.2.99"])]);
    world.push(&world.operator, vec![theirs]).unwrap();
    assert!(basket::list(&world.manage, member).unwrap().items.iter().any(|item| item.stale));

    let order = world.place(member);

    assert_eq!(order.state, State::Conflict);
    assert!(world.served(&other, "fine", Type::A).is_empty(), "all zones or none");
    let mine = Return { keep_mine: true };
    approval::return_to_basket(&world.manage, member, order.id, &mine).unwrap();
    let order = world.place(member);
    assert_eq!(order.state, State::Applied);
    assert_eq!(world.served(&world.acme.zone, "www", Type::A), ["192.0.2.50"]);
    assert_eq!(world.served(&other, "fine", Type::A), ["192.0.2.9"]);
}

#[test]
fn two_people_who_add_to_one_rrset_both_succeed() {
    let world = World::new();
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![add("www", "A", "192.0.2.2")]);
    world.add(&acme.superuser, &acme.zone, vec![add("www", "A", "192.0.2.3")]);
    assert_eq!(world.place(&acme.member).state, State::Applied);
    assert_eq!(world.place(&acme.superuser).state, State::Applied);
    let served = world.served(&acme.zone, "www", Type::A);
    assert_eq!(served, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
}

#[test]
fn what_is_so_already_bumps_no_serial_and_is_served_at_once() {
    let world = World::new();
    let zone = &world.acme.zone;
    let serial = world.serial(zone);
    let same = change(zone, vec![put("www", "A", 300, &["192.0.2.1"])]);
    let order = world.push(&world.operator, vec![same]).unwrap();
    assert_eq!(order.state, State::Served);
    assert_eq!(world.serial(zone), serial);
}

#[test]
fn a_pushed_change_set_over_many_zones_has_a_serial_for_each_and_is_all_or_nothing() {
    let world = World::in_mode(ChangeMode::Approval);
    let both = |record: &str| {
        vec![
            change(&world.acme.zone, vec![add("push", "A", record)]),
            change(&world.other.zone, vec![add("push", "A", record)]),
        ]
    };
    let order = world.push(&world.operator, both("192.0.2.7")).unwrap();
    assert_eq!(order.state, State::Applied, "approved elsewhere");
    assert_eq!(order.receipt.unwrap().zones.len(), 2);

    let mut wrong = both("192.0.2.8");
    wrong.push(change(&world.other.zone, vec![add("push", "CNAME", "x.example.")]));
    let refused = world.push(&world.operator, wrong);
    assert!(matches!(refused, Err(OrderError::Invalid(_))), "{refused:?}");
    for zone in [&world.acme.zone, &world.other.zone] {
        assert_eq!(world.served(zone, "push", Type::A), ["192.0.2.7"]);
    }
    let forbidden = world.push(&world.acme.superuser, both("192.0.2.9"));
    assert!(forbidden.is_err());
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let world = World::new();
    let zone = &world.acme.zone;
    let serial = world.serial(zone);
    let dry = |edits| {
        let changes = vec![change(zone, edits)];
        let set = ChangeSet { changes, dry_run: true, ..ChangeSet::default() };
        match push::push(&world.manage, &world.operator, set).unwrap() {
            Pushed::Preview(preview) => preview,
            Pushed::Order(order) => panic!("{order:?}"),
        }
    };
    let clean = dry(vec![add("new", "A", "192.0.2.7")]);
    assert!(clean.is_clean() && clean.zones[0].serial_to > clean.zones[0].serial_from);
    assert!(!dry(vec![add("www", "CNAME", "x.example.")]).problems.is_empty());
    let mut stale = put("www", "A", 60, &["192.0.2.5"]);
    stale.base = Some(None);
    assert_eq!(dry(vec![stale]).conflicts.len(), 1);
    assert_eq!(world.serial(zone), serial);

    world.add(&world.acme.member, zone, vec![add("new", "A", "192.0.2.7")]);
    let preview = push::preview_basket(&world.manage, &world.acme.member).unwrap();
    assert_eq!(preview.zones.len(), 1);
    assert_eq!(world.serial(zone), serial);
}

#[test]
fn an_order_placed_twice_with_one_key_is_one_order() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, with_key(&world.acme.member, "k", 1));
    world.add(&world.acme.member, zone, vec![add("new", "A", "192.0.2.7")]);
    let first = world.place(&member);
    world.add(&world.acme.member, zone, vec![add("later", "A", "192.0.2.7")]);
    let second = world.place(&member);
    assert_eq!((first.id, first.digest), (second.id, second.digest));
    assert!(world.served(zone, "later", Type::A).is_empty());
    let other = world.try_place(&with_key(&world.acme.member, "k", 2));
    assert_eq!(other, Err(OrderError::Stop(Stop::KeyReused)));
}

#[test]
fn i13_reverting_brings_back_what_was_and_never_loses_what_came_later() {
    let world = World::new();
    let (acme, manage) = (&world.acme, &world.manage);
    world.add(
        &acme.member,
        &acme.zone,
        vec![put("www", "A", 60, &["192.0.2.5"]), add("new", "A", "192.0.2.7")],
    );
    let order = world.place(&acme.member);
    let undone = revert::revert(manage, &acme.member, order.id, Revert::default()).unwrap();
    assert_eq!(undone.reverts, Some(order.id));
    assert_eq!(world.served(&acme.zone, "www", Type::A), ["192.0.2.1"]);
    assert!(world.served(&acme.zone, "new", Type::A).is_empty());
    let first = super::super::change::receipt::get(manage, &acme.member, order.id).unwrap();
    assert_eq!((first.state, first.reverted_by), (State::Reverted, Some(undone.id)));

    world.add(&acme.member, &acme.zone, vec![put("www", "A", 60, &["192.0.2.6"])]);
    let order = world.place(&acme.member);
    let later = change(&acme.zone, vec![add("www", "A", "192.0.2.66")]);
    world.push(&world.operator, vec![later]).unwrap();
    let undone = revert::revert(manage, &acme.member, order.id, Revert::default()).unwrap();
    assert_eq!(undone.state, State::Conflict);
    assert_eq!(world.served(&acme.zone, "www", Type::A), ["192.0.2.6", "192.0.2.66"]);
}

#[test]
fn a_deleted_zone_comes_back_by_reverting_and_its_serial_goes_on() {
    let world = World::new();
    let (acme, manage) = (&world.acme, &world.manage);
    let before = world.view(&acme.superuser, &acme.zone, Which::Live);
    let gone = vec![Ask::ZoneDelete { zone: acme.zone.clone() }];
    basket::add(manage, &acme.superuser, gone).unwrap();
    let order = world.place(&acme.superuser);
    assert_eq!(world.serial(&acme.zone), None);

    revert::revert(manage, &acme.superuser, order.id, Revert::default()).unwrap();

    let after = world.view(&acme.superuser, &acme.zone, Which::Live);
    assert!(after.serial > before.serial, "{} {}", after.serial, before.serial);
    let without_soa = |page: &RrsetPage| -> Vec<String> {
        let rows = page.items.iter().filter(|row| row.rtype != "SOA");
        rows.map(|row| format!("{row:?}")).collect()
    };
    assert_eq!(without_soa(&after), without_soa(&before));
}

#[test]
fn i16_a_tagged_or_disabled_organisation_orders_nothing_but_reads_and_is_served() {
    let world = World::in_mode(ChangeMode::Approval);
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let waiting = world.place(&acme.member);
    world.add(&acme.member, &acme.zone, vec![add("more", "A", "192.0.2.7")]);
    world.set_org(acme.org, OrgPatch { tags: Some(vec!["fraud".into()]), ..OrgPatch::default() });

    assert_eq!(world.try_place(&acme.member), Err(OrderError::Stop(NoAccess::Suspended.into())));
    let held = world.approve(&acme.superuser, waiting.id);
    assert_eq!(held, Err(OrderError::Stop(NoAccess::Suspended.into())));
    assert_eq!(world.view(&acme.member, &acme.zone, Which::Live).items.len(), 3);
    assert_eq!(world.served(&acme.zone, "www", Type::A), ["192.0.2.1"]);

    world.set_org(acme.org, OrgPatch { tags: Some(vec![]), ..OrgPatch::default() });
    assert!(world.approve(&acme.superuser, waiting.id).is_ok(), "a reviewer decides");
}

#[test]
fn i17_closed_records_stop_basket_order_and_direct_change_and_nothing_else() {
    let world = World::new();
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let closed = Flags { can_edit_dns: false, ..Flags::default() };
    world.set_org(acme.org, OrgPatch { flags: Some(closed), ..OrgPatch::default() });
    let stop = Stop::Access(NoAccess::DnsClosed);

    let added = world.try_add(&acme.member, &acme.zone, vec![add("x", "A", "192.0.2.7")]);
    assert_eq!(added, Err(BasketError::Stop(stop.clone())));
    assert_eq!(world.try_place(&acme.member), Err(OrderError::Stop(stop)));
    assert!(new_user(&world.manage, &acme.superuser, acme.org, UserRole::Member).enabled);
    assert!(basket::clear(&world.manage, &acme.member).is_ok());
    let by_reseller = change(&acme.zone, vec![add("x", "A", "192.0.2.7")]);
    assert!(world.push(&world.reseller, vec![by_reseller]).is_ok(), "not bound by it");
}

/// A zone above or below another organisation's could take its names over.
#[test]
fn i35_a_zone_beside_another_organisations_waits_for_an_operator() {
    let world = World::in_mode(ChangeMode::Direct);
    let (acme, manage) = (&world.acme, &world.manage);
    for apex in ["sub.other.example.", "example."] {
        let asks = vec![create(&name(apex), None)];
        let done = push::submit(manage, &acme.superuser, asks, None).unwrap();
        let push::Submitted::Order(order) = done else { panic!("direct") };
        assert_eq!(
            (order.state, order.waits_for.as_deref()),
            (State::AwaitingApproval, Some("operator"))
        );
        let refused = world.approve(&world.reseller, order.id);
        assert_eq!(
            refused,
            Err(OrderError::Stop(NoAccess::Forbidden(Permission::ZoneNest).into()))
        );
        assert_eq!(world.approve(&world.operator, order.id).unwrap().state, State::Applied);
    }
    let own = vec![create(&name("sub.acme.example."), None)];
    let push::Submitted::Order(order) = push::submit(manage, &acme.superuser, own, None).unwrap()
    else {
        panic!("direct")
    };
    assert_eq!(order.state, State::Applied, "below one's own zone");
}

#[test]
fn limits_on_zones_records_items_and_orders_are_told_by_name() {
    let world = World::in_mode(ChangeMode::Approval);
    let acme = &world.acme;
    let limits = Limits {
        zones: 1,
        records_per_zone: 5,
        basket_items: 2,
        open_orders: 1,
        ..Limits::default()
    };
    world.set_org(acme.org, OrgPatch { limits: Some(limits), ..OrgPatch::default() });
    let told = |text: String, limit: &str| assert!(text.contains(limit), "{text}");

    let zone =
        basket::add(&world.manage, &acme.superuser, vec![create(&name("two.example."), None)]);
    told(zone.unwrap_err().to_string(), "zones");
    let edits = |names: &[&str]| names.iter().map(|n| add(n, "A", "192.0.2.7")).collect();
    let items = world.try_add(&acme.member, &acme.zone, edits(&["a", "b", "c"]));
    told(items.unwrap_err().to_string(), "basket_items");
    world.add(&acme.member, &acme.zone, edits(&["a", "b"]));
    told(world.try_place(&acme.member).unwrap_err().to_string(), "records_per_zone");
    basket::clear(&world.manage, &acme.member).unwrap();
    world.add(&acme.member, &acme.zone, edits(&["a"]));
    world.place(&acme.member);
    world.add(&acme.member, &acme.zone, edits(&["b"]));
    told(world.try_place(&acme.member).unwrap_err().to_string(), "open_orders");
}

#[test]
fn a_zone_that_is_full_takes_what_does_not_make_it_grow() {
    let world = World::new();
    let acme = &world.acme;
    let have = world
        .manage
        .store
        .read(|rows| zones::zone(rows, &acme.zone))
        .unwrap()
        .unwrap()
        .counts
        .records;
    let limits = Limits { records_per_zone: have as u32, generate_records: 3, ..Limits::default() };
    world.set_org(acme.org, OrgPatch { limits: Some(limits), ..OrgPatch::default() });

    world.add(&acme.member, &acme.zone, vec![put("www", "A", 300, &["192.0.2.9"])]);
    assert_eq!(world.place(&acme.member).state, State::Applied);
    world.add(&acme.member, &acme.zone, vec![delete("www", "A"), add("new", "A", "192.0.2.7")]);
    assert_eq!(world.place(&acme.member).state, State::Applied);

    world.add(&acme.member, &acme.zone, vec![add("more", "A", "192.0.2.7")]);
    let refused = world.try_place(&acme.member).unwrap_err().to_string();
    assert!(refused.contains("records_per_zone"), "{refused}");
    let zone_file =
        "@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns.x.\n$GENERATE 1-4 h$ A 192.0.2.$\n".to_owned();
    let generated = Ask::ZoneImport { zone: acme.zone.clone(), org: None, zone_file };
    let refused = basket::add(&world.manage, &acme.superuser, vec![generated]).unwrap_err();
    assert!(refused.to_string().contains("makes more than 3 records"), "{refused}");
}

#[test]
fn the_merged_view_marks_each_record_and_whose_it_is() {
    let world = World::new();
    let acme = &world.acme;
    world.add(
        &acme.member,
        &acme.zone,
        vec![add("www", "A", "192.0.2.2"), add("new", "A", "192.0.2.7")],
    );
    world.add(&acme.superuser, &acme.zone, vec![delete("www", "A")]);

    let mine = world.view(&acme.member, &acme.zone, Which::Merged);
    let row = |page: &RrsetPage, owner: &str| {
        page.items.iter().find(|row| row.name == name(owner) && row.rtype == "A").unwrap().clone()
    };
    let www = row(&mine, "www.acme.example.");
    assert_eq!(www.state, Mark::Changed);
    let records: Vec<_> = www.records.iter().map(|r| (r.data.as_str(), r.state)).collect();
    assert_eq!(records, [("192.0.2.1", Mark::Live), ("192.0.2.2", Mark::Added)]);
    assert_eq!(www.overlaps.len(), 1, "somebody else has it in a basket");
    assert_eq!(row(&mine, "new.acme.example.").state, Mark::Added);
    assert_eq!(www.by.unwrap().name, "Member");

    let theirs = world.view(&acme.superuser, &acme.zone, Which::Merged);
    assert_eq!(row(&theirs, "www.acme.example.").state, Mark::Removed);
    assert!(!theirs.items.iter().any(|row| row.name == name("new.acme.example.")));
    let live = world.view(&acme.member, &acme.zone, Which::Live);
    assert!(live.items.iter().all(|row| row.state == Mark::Live && row.item.is_none()));
}

#[test]
fn pages_of_the_merged_view_are_the_whole_view() {
    let world = World::new();
    let acme = &world.acme;
    let edits = (0..25).map(|n| add(&format!("n{n}"), "A", "192.0.2.7")).collect();
    world.push(&world.operator, vec![change(&acme.zone, edits)]).unwrap();
    let edits = (0..50).step_by(3).map(|n| add(&format!("n{n}"), "A", "192.0.2.8")).collect();
    world.add(&acme.member, &acme.zone, edits);
    let whole = world.view(&acme.member, &acme.zone, Which::Merged);
    for limit in [1, 2, 7] {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let query = RrsetQuery { view: Which::Merged, after, limit, ..RrsetQuery::default() };
            let page = merged::rrsets(&world.manage, &acme.member, &acme.zone, &query).unwrap();
            rows.extend(page.items);
            let Some(next) = page.next else { break };
            after = Some(merged::cursor(&next).unwrap());
        }
        assert_eq!(rows, whole.items);
    }
}

#[test]
fn every_transaction_has_its_event_and_the_chain_holds() {
    let world = World::new();
    let acme = &world.acme;
    world.add(&acme.member, &acme.zone, vec![add("new", "A", "192.0.2.7")]);
    let order = world.place(&acme.member);
    let query = event::EventQuery { limit: 1_000, ..event::EventQuery::default() };
    let events = event::list(&world.manage, &world.operator, &query).unwrap().items;
    let about: Vec<_> = events.iter().filter(|e| e.order == Some(order.id)).collect();
    assert_eq!(about.len(), 1);
    let objects: Vec<_> = about[0].items.iter().map(|item| item.object.as_str()).collect();
    assert_eq!(objects, ["order", "item", "zone", "rrset"]);
    let rrset = &about[0].items[3];
    assert_eq!((rrset.id.as_str(), &rrset.before), ("new.acme.example. A", &None));
    let chain = world.manage.store.read(|rows| event::verify(rows)).unwrap();
    assert_eq!(chain, Ok(events.len() as u64));
}

#[test]
fn bad_requests_are_told_with_every_fault_and_kind() {
    let world = World::new();
    let acme = &world.acme;
    let wrong = vec![add("a", "A", "not an address"), add("b", "MX", "10")];
    let refused = world.try_add(&acme.member, &acme.zone, wrong).unwrap_err();
    assert_eq!(refused.problems().len(), 2, "{refused}");
    let unknown = world.try_add(&acme.member, &name("nobody.example."), vec![delete("a", "A")]);
    assert_eq!(unknown, Err(BasketError::Stop(NoAccess::NotFound.into())));
}

#[test]
fn a_request_that_speaks_of_one_rrset_twice_is_refused() {
    let world = World::new();
    let (zone, member) = (&world.acme.zone, &world.acme.member);
    let twice =
        vec![change(zone, vec![add("a", "A", "192.0.2.7")]), change(zone, vec![delete("a", "A")])];
    let refused = basket::add(&world.manage, member, twice).unwrap_err();
    assert_eq!(refused.problems()[0].rule, "contradiction");
}

#[test]
fn an_import_creates_the_zone_or_replaces_its_records_unless_it_changed_meanwhile() {
    let world = World::new();
    let (manage, me) = (&world.manage, &world.acme.superuser);
    let zone = name("imported.example.");
    let file = |record: &str| Ask::ZoneImport {
        zone: zone.clone(),
        org: None,
        zone_file: format!(
            "$TTL 300\n@ SOA ns hostmaster 5 1 1 1 1\n@ NS ns\nns A 192.0.2.53\nwww A {record}\n"
        ),
    };
    basket::add(manage, me, vec![file("192.0.2.1")]).unwrap();
    assert_eq!(world.place(me).state, State::Applied);
    basket::add(manage, me, vec![file("192.0.2.2")]).unwrap();
    assert_eq!(world.place(me).state, State::Applied);
    assert_eq!(world.served(&zone, "www", Type::A), ["192.0.2.2"]);

    basket::add(manage, me, vec![file("192.0.2.3")]).unwrap();
    let theirs = change(&zone, vec![add("www", "A", "192.0.2.9")]);
    world.push(&world.operator, vec![theirs]).unwrap();
    let order = world.place(me);
    assert_eq!(order.state, State::Conflict);
    assert!(order.conflicts[0].text.contains("serial"), "{:?}", order.conflicts);
    assert_eq!(world.served(&zone, "www", Type::A), ["192.0.2.2", "192.0.2.9"]);
}

#[test]
fn a_broken_zone_file_is_told_with_every_line_and_column_and_the_old_zone_stays() {
    let world = World::new();
    let me = &world.acme.superuser;
    let serial = world.serial(&world.acme.zone);
    let broken = Ask::ZoneImport {
        zone: world.acme.zone.clone(),
        org: None,
        zone_file: "@ 300 SOA ns h 1 1 1 1 1\nwww 300 A nonsense\nx 300 MX\n".to_owned(),
    };
    let refused = basket::add(&world.manage, me, vec![broken]).unwrap_err();
    let places: Vec<_> = refused.problems().iter().map(|problem| problem.at.clone()).collect();
    assert!(places.len() >= 2 && places[0].starts_with("zone_file:2:"), "{places:?}");
    assert_eq!(world.serial(&world.acme.zone), serial);
}
