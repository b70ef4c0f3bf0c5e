//! Claims about the door, the start-up and the upkeep, on a store in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::keeper::Running;
use super::*;
use crate::answer::Published;
use crate::store::{Rows, Store, Table};
use crate::wire::{HashKey, Name, RrSet, Serial, Type};
use crate::zone::tree::Tree;
use crate::zone::{Base, Op, RrSetEdit, View};

const NOTES: Table<u8, String> = Table::new("notes", *b"no");

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn soa(apex: &str, serial: u32) -> RrSet {
    let rdata = [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat();
    RrSet::new(name(apex), Type::SOA, 300, vec![rdata.into()])
}

fn ns(apex: &str) -> RrSet {
    RrSet::new(name(apex), Type::NS, 300, vec![name("ns.invalid.").as_wire().into()])
}

fn a(owner: &str, last: u8) -> RrSet {
    RrSet::new(name(owner), Type::A, 300, vec![Box::new([192, 0, 2, last])])
}

pub(super) fn create(apex: &str, serial: u32) -> ZoneChange {
    let content = Content::RrSets(vec![a(&format!("www.{apex}"), 1), soa(apex, serial), ns(apex)]);
    ZoneChange::Create { apex: name(apex), org: "org".into(), content }
}

pub(super) fn set(apex: &str, label: &str, last: u8, base: Base) -> ZoneChange {
    let rrset = a(&format!("{label}.{apex}"), last);
    let op = Op::Replace { ttl: 300, rdatas: rrset.rdatas().to_vec() };
    let edit = RrSetEdit { owner: rrset.owner, rtype: Type::A, op, base };
    ZoneChange::Edit { apex: name(apex), edits: vec![edit] }
}

pub(super) fn maintain() -> Maintain {
    Maintain::offline(Store::in_memory(), Settings::default())
}

pub(super) fn commit(maintain: &Maintain, changes: &[ZoneChange]) -> Result<Applied, Refusal> {
    maintain.commit(|door| door.apply(changes)).map(|done| done.value).map_err(
        |error| match error {
            CommitError::Refused(refusal) => refusal,
            other => panic!("{other}"),
        },
    )
}

pub(super) fn tree(maintain: &Maintain, apex: &str) -> Tree {
    maintain.store().read(|rows| {
        let zone = rows::zone(rows, &name(apex)).unwrap().unwrap();
        rows::with_view(rows, &zone, |view| Tree::copy(view).unwrap())
    })
}

pub(super) fn serial(maintain: &Maintain, apex: &str) -> Option<Serial> {
    let zone = maintain.store().read(|rows| rows::zone(rows, &name(apex)).unwrap());
    zone.map(|zone| zone.serial)
}

#[test]
fn an_order_over_many_zones_is_applied_as_a_whole_or_not_at_all() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 1), create("b.", 1)]).unwrap();
    let before = (tree(&maintain, "a."), tree(&maintain, "b."));
    let stale = Base::Seen(Some(a("www.b.", 9)));

    let refusal = commit(
        &maintain,
        &[set("a.", "x", 2, Base::Unchecked), set("b.", "www", 3, stale), create("a.", 1)],
    )
    .unwrap_err();

    assert_eq!(refusal.zones.len(), 2);
    assert!(matches!(refusal.zones[0].reasons[..], [Reason::Conflict(_)]));
    assert_eq!(refusal.zones[1].reasons, [Reason::ZoneExists]);
    assert_eq!((tree(&maintain, "a."), tree(&maintain, "b.")), before);
}

#[test]
fn a_refusal_can_be_recorded_in_the_record_that_would_have_held_the_change() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 1)]).unwrap();
    let done = maintain.commit(|door| {
        let refusal = door.apply(&[set("a.", "x", 1, Base::Unchecked), create("a.", 1)]);
        door.tx().put(&NOTES, &1, &refusal.unwrap_err().to_string())
    });
    assert!(done.unwrap().zones.is_empty());
    let note = maintain.store().read(|rows| crate::store::Rows::get(rows, &NOTES, &1));
    assert!(note.unwrap().unwrap().contains("exists already"));
    assert_eq!(serial(&maintain, "a."), Some(Serial(1)));
}

#[test]
fn a_change_that_changes_nothing_bumps_no_serial() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 7)]).unwrap();
    let applied = commit(&maintain, &[set("a.", "www", 1, Base::Unchecked)]).unwrap();
    assert_eq!((applied.zones[0].from, applied.zones[0].to), (Some(Serial(7)), Some(Serial(7))));
    assert!(applied.zones[0].changed.is_empty());
    assert_eq!(serial(&maintain, "a."), Some(Serial(7)));
}

#[test]
fn the_serial_moves_forward_through_edit_replacement_deletion_and_creation() {
    let maintain = maintain();
    let content = |serial| match create("a.", serial) {
        ZoneChange::Create { content, .. } => content,
        _ => unreachable!(),
    };
    let mut last = None;
    let replace = |serial| ZoneChange::Replace { apex: name("a."), content: content(serial) };
    let steps = [
        create("a.", u32::MAX - 1),
        set("a.", "x", 1, Base::Unchecked),
        set("a.", "x", 2, Base::Unchecked),
        replace(1),
        set("a.", "x", 3, Base::Unchecked),
        replace(500),
        ZoneChange::Delete { apex: name("a.") },
        create("a.", 3),
    ];
    for step in steps {
        commit(&maintain, std::slice::from_ref(&step)).unwrap();
        let Some(now) = serial(&maintain, "a.") else { continue };
        assert!(
            last.is_none_or(|last: Serial| last.is_before(now)),
            "{last:?} then {now}: {step:?}"
        );
        last = Some(now);
    }
    assert_eq!(last, Some(Serial(501)));
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 1)]).unwrap();
    let changes = [set("a.", "x", 2, Base::Unchecked), create("b.", 5)];
    let tried = maintain.dry_run(&changes).unwrap();
    assert_eq!((serial(&maintain, "a."), serial(&maintain, "b.")), (Some(Serial(1)), None));
    let done = commit(&maintain, &changes).unwrap();
    assert_eq!(tried, done);
}

#[test]
fn a_zone_staged_beforehand_is_taken_by_one_commit() {
    let maintain = maintain();
    let ZoneChange::Create { content, .. } = create("a.", 4) else { unreachable!() };
    let staged = maintain.stage(&name("a."), &content).unwrap();
    assert_eq!(serial(&maintain, "a."), None);
    let change = |staged| ZoneChange::Create {
        apex: name("a."),
        org: "org".into(),
        content: Content::Staged(staged),
    };
    commit(&maintain, &[change(staged.clone())]).unwrap();
    let expected = {
        commit(&maintain, &[create("b.", 4)]).unwrap();
        tree(&maintain, "b.")
    };
    assert_eq!(serial(&maintain, "a."), Some(Serial(4)));
    assert_eq!(tree(&maintain, "a.").to_packed().len(), expected.to_packed().len());

    let again = ZoneChange::Replace { apex: name("a."), content: Content::Staged(staged) };
    assert!(commit(&maintain, &[again]).is_err());
    let staged = maintain.stage(&name("a."), &content).unwrap();
    let replace = ZoneChange::Replace { apex: name("a."), content: Content::Staged(staged) };
    assert_eq!(commit(&maintain, &[replace]).unwrap().zones[0].to, Some(Serial(5)));
}

/// A keeper with a table, everything loaded.
fn serving(store: Store) -> (Maintain, Arc<Published>) {
    let writer = Writer::new(HashKey::new([7; 24]));
    let published = writer.published();
    let maintain = Maintain::open(store, writer, Settings::default());
    maintain.load().unwrap();
    (maintain, published)
}

pub(super) fn remove(apex: &str, label: &str) -> ZoneChange {
    let owner = name(&format!("{label}.{apex}"));
    let edit = RrSetEdit { owner, rtype: Type::A, op: Op::Delete, base: Base::Unchecked };
    ZoneChange::Edit { apex: name(apex), edits: vec![edit] }
}

fn rows_left<K: crate::store::Key, V: crate::store::Value>(
    maintain: &Maintain,
    table: &Table<K, V>,
) -> usize {
    maintain.store().read(|rows| rows.range(table, .., usize::MAX)).unwrap().len()
}

#[test]
fn a_reader_sees_all_zones_of_an_order_old_or_all_new() {
    let (maintain, published) = serving(Store::in_memory());
    let zones: Vec<String> = (0..20).map(|n| format!("z{n}.")).collect();
    let creates: Vec<_> = zones.iter().map(|apex| create(apex, 1)).collect();
    commit(&maintain, &creates).unwrap();
    let (names, done) =
        (zones.iter().map(|apex| name(apex)).collect::<Vec<_>>(), AtomicBool::new(false));

    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let snapshot = published.load();
                let serials: BTreeSet<u32> = names
                    .iter()
                    .map(|apex| snapshot.zone(apex).unwrap().serial.unwrap().0)
                    .collect();
                assert_eq!(serials.len(), 1, "half an order: {serials:?}");
                seen.extend(serials);
            }
            seen.len()
        });
        for round in 0..300 {
            let changes: Vec<_> =
                zones.iter().map(|apex| set(apex, "w", round as u8, Base::Unchecked)).collect();
            commit(&maintain, &changes).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
}

#[test]
fn replaying_the_journal_on_the_first_version_gives_the_zone_as_it_is() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 7)]).unwrap();
    let mut replayed = tree(&maintain, "a.");
    for round in 0..60u8 {
        let label = format!("n{}", round % 7);
        let change = match round % 5 {
            0 => remove("a.", &label),
            _ => set("a.", &label, round, Base::Unchecked),
        };
        maintain
            .commit(|door| {
                door.set_cause(format!("order {round}"));
                door.apply(&[change])
            })
            .unwrap();
    }

    let (zone, steps) = maintain.store().read(|rows| {
        let zone = rows::zone(rows, &name("a.")).unwrap().unwrap();
        let steps = journal::since(rows, &zone, Serial(7)).unwrap().unwrap();
        (zone, steps)
    });
    for step in &steps {
        let delta = step.delta(&replayed).unwrap();
        replayed.apply(&delta);
    }

    assert_eq!(replayed, tree(&maintain, "a."));
    assert_eq!(steps.last().unwrap().to, zone.serial);
    assert_eq!(zone.counts, crate::zone::chunk::Counts::of(&replayed.to_packed()));
    let newest = maintain.store().read(|rows| journal::versions(rows, &zone, None, 1)).unwrap();
    assert_eq!(newest[0].cause, "order 59");
}

#[test]
fn a_journal_beyond_its_limit_loses_its_oldest_steps_and_says_so() {
    let limits = journal::Limits { octets_max: 600, age_max_s: u64::MAX };
    let maintain =
        Maintain::offline(Store::in_memory(), Settings { journal: limits, ..Settings::default() });
    commit(&maintain, &[create("a.", 1)]).unwrap();
    for round in 0..50 {
        commit(&maintain, &[set("a.", "w", round, Base::Unchecked)]).unwrap();
    }
    maintain.store().read(|rows| {
        let zone = rows::zone(rows, &name("a.")).unwrap().unwrap();
        let held = journal::versions(rows, &zone, None, 100).unwrap();
        assert!((1..10).contains(&held.len()), "{}", held.len());
        assert_eq!(journal::since(rows, &zone, Serial(1)).unwrap(), None);
        let oldest = held.last().unwrap().step.from;
        assert_eq!(journal::since(rows, &zone, oldest).unwrap().unwrap().len(), held.len());
    });
}

#[test]
fn steps_beyond_their_age_leave_by_themselves() {
    let limits = journal::Limits { octets_max: u64::MAX, age_max_s: 0 };
    let store = Store::in_memory();
    let young = Maintain::offline(store.clone(), Settings::default());
    commit(&young, &[create("a.", 1)]).unwrap();
    for round in 0..20 {
        commit(&young, &[set("a.", "w", round, Base::Unchecked)]).unwrap();
    }
    let maintain = Maintain::offline(store, Settings { journal: limits, ..Settings::default() });
    for _ in 0..10 {
        maintain.forget_some(&mut keeper::Ages::default()).unwrap();
    }
    assert_eq!(rows_left(&maintain, &journal::JOURNAL), 0);
    commit(&young, &[set("a.", "w", 99, Base::Unchecked)]).unwrap();
    assert_eq!(rows_left(&maintain, &journal::JOURNAL), 1);
}

#[test]
fn a_keeper_that_stops_lets_nobody_wait_for_it() {
    let writer = Writer::new(HashKey::new([7; 24]));
    let maintain = Maintain::open(Store::in_memory(), writer, Settings::default());
    maintain.gate().shut("the server is stopping");
    let refused = maintain.commit(|_| Ok::<_, ()>(()));
    assert!(matches!(refused, Err(CommitError::Unreadable(_))), "{refused:?}");
}

#[test]
fn a_deleted_zone_leaves_nothing_but_its_serial() {
    let maintain = maintain();
    let large = (0..3_000).map(|n| a(&format!("h{n}.a."), 1)).chain([soa("a.", 1), ns("a.")]);
    let content = Content::RrSets(large.collect());
    let create = ZoneChange::Create { apex: name("a."), org: "org".into(), content };
    commit(&maintain, &[create]).unwrap();
    commit(&maintain, &[set("a.", "w", 1, Base::Unchecked)]).unwrap();
    commit(&maintain, &[ZoneChange::Delete { apex: name("a.") }]).unwrap();

    let mut steps = 0;
    while maintain.release_rows(8).unwrap() {
        steps += 1;
    }

    assert!(steps > 2, "released in {steps} steps");
    assert_eq!(rows_left(&maintain, &rows::CHUNKS), 0);
    assert_eq!(rows_left(&maintain, &journal::JOURNAL), 0);
    assert_eq!(rows_left(&maintain, &rows::ZONES_OF), 0);
    assert_eq!(rows_left(&maintain, &rows::RELEASES), 0);
    assert_eq!(rows_left(&maintain, &rows::LAST_SERIALS), 1);
}

#[test]
fn an_rrset_of_64_kib_is_kept_and_changed_like_any_other() {
    let maintain = maintain();
    commit(&maintain, &[create("a.", 1)]).unwrap();
    let rdatas: Vec<Box<[u8]>> =
        (0..240u8).map(|n| [&[255][..], &[n; 255]].concat().into()).collect();
    let large = RrSetEdit {
        owner: name("big.a."),
        rtype: Type::TXT,
        op: Op::Replace { ttl: 60, rdatas: rdatas.clone() },
        base: Base::Seen(None),
    };
    let less = RrSetEdit {
        op: Op::Remove { rdatas: rdatas[..10].to_vec() },
        base: Base::Unchecked,
        ..large.clone()
    };
    commit(&maintain, &[ZoneChange::Edit { apex: name("a."), edits: vec![large] }]).unwrap();
    assert!(rows_left(&maintain, &rows::PARTS) > 1);
    commit(&maintain, &[ZoneChange::Edit { apex: name("a."), edits: vec![less] }]).unwrap();

    let mut count = 0;
    tree(&maintain, "a.")
        .node(&name("big.a."), &mut |node| {
            count = node.rrset(Type::TXT).unwrap().count;
        })
        .unwrap();
    assert_eq!(count, 230);
    let gone = RrSetEdit {
        owner: name("big.a."),
        rtype: Type::TXT,
        op: Op::Delete,
        base: Base::Unchecked,
    };
    commit(&maintain, &[ZoneChange::Edit { apex: name("a."), edits: vec![gone] }]).unwrap();
    assert_eq!(rows_left(&maintain, &rows::PARTS), 0);
}

#[test]
fn a_held_zone_refuses_changes_and_a_suspended_one_is_not_answered() {
    let (maintain, published) = serving(Store::in_memory());
    commit(&maintain, &[create("a.", 1)]).unwrap();
    let state = |state| ZoneChange::SetState { apex: name("a."), state };
    commit(&maintain, &[state(ZoneState::Held)]).unwrap();
    let refusal = commit(&maintain, &[set("a.", "w", 1, Base::Unchecked)]).unwrap_err();
    assert_eq!(refusal.zones[0].reasons, [Reason::Held]);
    let facts = |apex: &str| published.load().zone(&name(apex));
    assert_eq!(facts("a.").unwrap().serial, Some(Serial(1)));

    commit(&maintain, &[state(ZoneState::Suspended)]).unwrap();
    assert_eq!(facts("a.").unwrap().state, crate::answer::ZoneState::Suspended);
    assert_eq!(published.load().names(), 1);
    commit(&maintain, &[state(ZoneState::Live)]).unwrap();
    assert_eq!(facts("a.").unwrap().serial, Some(Serial(1)));
    commit(&maintain, &[state(ZoneState::Suspended), ZoneChange::Delete { apex: name("a.") }])
        .unwrap();
    assert_eq!(published.load().names(), 0);
}

#[test]
fn a_presigned_zone_is_replaced_by_a_newer_one_and_not_edited() {
    let maintain = maintain();
    let signed = |serial: u32| {
        let ZoneChange::Create { content, .. } = create("a.", serial) else { unreachable!() };
        let octets = content::fresh(&name("a."), &content).unwrap().octets.into_owned();
        Content::Packed { octets, presigned: true }
    };
    let content = signed(5);
    commit(&maintain, &[ZoneChange::Create { apex: name("a."), org: "o".into(), content }])
        .unwrap();
    let refusal = commit(&maintain, &[set("a.", "w", 1, Base::Unchecked)]).unwrap_err();
    assert_eq!(refusal.zones[0].reasons, [Reason::PreSigned]);
    let replace = |serial| ZoneChange::Replace { apex: name("a."), content: signed(serial) };
    assert!(commit(&maintain, &[replace(4)]).is_err());
    commit(&maintain, &[replace(5)]).unwrap();
    commit(&maintain, &[replace(9)]).unwrap();
    assert_eq!(serial(&maintain, "a."), Some(Serial(9)));
}

/// Each change for itself, all in one commit.
fn together(maintain: &Maintain, changes: &[ZoneChange]) {
    let done = maintain.commit(|door| {
        for change in changes {
            let _ = door.attempt(|door| door.apply(std::slice::from_ref(change)));
        }
        Ok::<_, Refusal>(())
    });
    done.unwrap();
}

/// One thing done to one of a few nested zones.
fn any_change() -> impl Strategy<Value = ZoneChange> {
    let apexes = prop::sample::select(vec!["x.", "a.x.", "b.a.x.", "c.x.", "y."]);
    let states = prop::sample::select(vec![ZoneState::Live, ZoneState::Suspended, ZoneState::Held]);
    let labels = prop::sample::select(vec!["w", "a", "b.a", "*.b", "q.w.e", "*"]);
    (apexes, 0..10, labels, 0u8..4, states).prop_map(
        |(apex, what, label, last, state)| match what {
            0..2 => create(apex, 1),
            2 => ZoneChange::Delete { apex: name(apex) },
            3 => ZoneChange::SetState { apex: name(apex), state },
            4 => remove(apex, label),
            5 => {
                let op =
                    Op::Replace { ttl: 60, rdatas: vec![name("ns.invalid.").as_wire().into()] };
                let owner = name(&format!("{label}.{apex}"));
                let edit = RrSetEdit { owner, rtype: Type::NS, op, base: Base::Unchecked };
                ZoneChange::Edit { apex: name(apex), edits: vec![edit] }
            }
            6 => {
                let ZoneChange::Create { content, .. } = create(apex, 40) else { unreachable!() };
                ZoneChange::Replace { apex: name(apex), content }
            }
            _ => set(apex, label, last, Base::Unchecked),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Goal: what commits publish step by step is what a start from the store publishes.
    #[test]
    fn a_restart_serves_what_was_served_before(
        orders in prop::collection::vec((any::<bool>(), prop::collection::vec(any_change(), 1..6)), 1..25),
    ) {
        let store = Store::in_memory();
        let (maintain, published) = serving(store.clone());
        for (as_one, order) in orders {
            match as_one {
                true => drop(commit(&maintain, &order)),
                false => together(&maintain, &order),
            }
        }
        let (_, again) = serving(store);
        prop_assert_eq!(published.load().dump(), again.load().dump());
    }
}

#[test]
fn commits_wait_for_the_start_up_and_the_upkeep_ends_when_told() {
    let store = Store::in_memory();
    commit(&Maintain::offline(store.clone(), Settings::default()), &[create("a.", 1)]).unwrap();
    let writer = Writer::new(HashKey::new([7; 24]));
    let published = writer.published();
    let maintain = Maintain::open(store, writer, Settings::default());
    let running: Running = maintain.start().unwrap();
    commit(&maintain, &[set("a.", "w", 1, Base::Unchecked)]).unwrap();
    assert!(maintain.progress().ready);
    assert_eq!(published.load().zone(&name("a.")).unwrap().serial, Some(Serial(2)));
    running.stop();
}

#[test]
fn of_many_zones_applied_one_by_one_in_a_record_a_faulty_one_is_refused_alone() {
    let maintain = maintain();
    let done = maintain.commit(|door| {
        let results = (0..500).map(|n| {
            let apex = format!("z{n}.");
            let faulty = Content::RrSets(vec![a(&apex, 1)]);
            door.apply(&[match n {
                7 => ZoneChange::Create { apex: name(&apex), org: "o".into(), content: faulty },
                _ => create(&apex, 1),
            }])
        });
        Ok::<_, Refusal>(results.filter(Result::is_err).count())
    });
    let done = done.unwrap();
    assert_eq!((done.value, done.zones.len()), (1, 499));
    assert_eq!((serial(&maintain, "z7."), serial(&maintain, "z499.")), (None, Some(Serial(1))));
}

/// Goal: a zone that goes takes along what the zone above had at its apex, whoever came between them meanwhile.
#[test]
fn a_zone_that_goes_as_one_above_it_comes_leaves_nothing() {
    for stays in [true, false] {
        let store = Store::in_memory();
        let (maintain, published) = serving(store.clone());
        let op = Op::Replace { ttl: 60, rdatas: vec![name("ns.invalid.").as_wire().into()] };
        let owner = name("b.a.x.");
        let cut = RrSetEdit { owner, rtype: Type::NS, op, base: Base::Unchecked };
        let delegates = ZoneChange::Edit { apex: name("x."), edits: vec![cut] };
        commit(&maintain, &[create("x.", 1), delegates]).unwrap();
        commit(&maintain, &[create("b.a.x.", 1)]).unwrap();

        let delete = |apex: &str| ZoneChange::Delete { apex: name(apex) };
        let mut order = vec![create("a.x.", 1), delete("b.a.x.")];
        order.extend((!stays).then(|| delete("a.x.")));
        commit(&maintain, &order).unwrap();

        let (_, again) = serving(store);
        assert_eq!(published.load().dump(), again.load().dump(), "a.x. stays: {stays}");
    }
}

/// Goal: what is refused leaves nothing, though it had done something, and its neighbours stay.
#[test]
fn an_attempt_that_refuses_takes_back_rows_and_zones_and_no_more() {
    let (maintain, published) = serving(Store::in_memory());
    commit(&maintain, &[create("a.", 1)]).unwrap();
    let try_one = |door: &mut Door<'_, '_>, n: u8| {
        door.attempt(|door| {
            door.apply(&[set("a.", &format!("h{n}"), n, Base::Unchecked)]).unwrap();
            door.tx().put(&NOTES, &n, &"done".to_owned()).unwrap();
            if n == 2 { Err("not this one") } else { Ok(()) }
        })
    };
    let done = maintain.commit(|door| Ok::<_, Refusal>([1, 2, 3].map(|n| try_one(door, n))));

    let done = done.unwrap();
    assert_eq!(done.value, [Ok(()), Err("not this one"), Ok(())]);
    assert_eq!((done.zones.len(), serial(&maintain, "a.")), (2, Some(Serial(3))));
    let notes = maintain.store().read(|rows| rows.range(&NOTES, .., 9)).unwrap();
    assert_eq!(notes.iter().map(|note| note.0).collect::<Vec<_>>(), [1, 3]);
    let (_, again) = serving(maintain.store().clone());
    assert_eq!(published.load().dump(), again.load().dump());
}

/// Goal: a large zone comes in bounded records, and a start that reads it in parts serves what its commit did.
#[test]
fn a_large_zone_is_staged_in_bounded_records_and_loaded_in_parts() {
    let (maintain, published) = serving(Store::in_memory());
    let large: Vec<RrSet> =
        (0..140_000).map(|n| a(&format!("h{n}.a."), 1)).chain([soa("a.", 1), ns("a.")]).collect();
    let octets = content::fresh(&name("a."), &Content::RrSets(large)).unwrap().octets.into_owned();
    assert!(octets.len() > stage::STAGE_OCTETS_MIN, "{}", octets.len());
    let before = maintain.store().stats().transactions;
    let content = Content::Packed { octets: octets.clone(), presigned: false };
    let staged = maintain.stage(&name("a."), &content).unwrap();
    let content = Content::Staged(staged);
    commit(&maintain, &[ZoneChange::Create { apex: name("a."), org: "o".into(), content }])
        .unwrap();
    assert!(maintain.store().stats().transactions > before + 4);
    assert_eq!(tree(&maintain, "a.").to_packed(), octets);
    commit(&maintain, &[set("a.", "h500", 9, Base::Seen(Some(a("h500.a.", 1))))]).unwrap();

    let (again, other) = serving(maintain.store().clone());

    assert_eq!(again.progress(), load::Progress { zones: 1, loaded: 1, failed: 0, ready: true });
    let parts = maintain.store().read(|rows| {
        let zone = rows::zone(rows, &name("a.")).unwrap().unwrap();
        assert!(zone.counts.octets > load::LARGE_OCTETS);
        rows::borders(rows, &zone, load::PART_OCTETS).unwrap()
    });
    assert!(parts.len() >= 3, "{parts:?}");
    assert!(published.load().dump() == other.load().dump());
}
