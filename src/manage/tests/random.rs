//! Random sequences of basket operations against a simple model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::manage::change::merged::Mark;
use crate::manage::change::state::State;

/// What somebody does with the basket.
#[derive(Debug, Clone)]
enum Do {
    Add(u8, u8),
    Remove(u8, u8),
    Put(u8, Vec<u8>),
    Delete(u8),
    Discard,
    Place,
    Restart,
}

fn anything() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (0u8..3, 1u8..5).prop_map(|(owner, n)| Do::Add(owner, n)),
        6 => (0u8..3, 1u8..5).prop_map(|(owner, n)| Do::Remove(owner, n)),
        2 => (0u8..3, proptest::collection::vec(1u8..5, 1..3)).prop_map(|(o, list)| Do::Put(o, list)),
        2 => (0u8..3).prop_map(Do::Delete),
        1 => Just(Do::Discard),
        2 => Just(Do::Place),
        1 => Just(Do::Restart),
    ]
}

/// Owner → numbers of its records.
type Model = BTreeMap<u8, BTreeSet<u8>>;

fn record(n: u8) -> String {
    format!("192.0.2.{n}")
}

fn apply(model: &mut Model, what: &Do) {
    match what {
        Do::Add(owner, n) => drop(model.entry(*owner).or_default().insert(*n)),
        Do::Remove(owner, n) => drop(model.entry(*owner).or_default().remove(n)),
        Do::Put(owner, list) => drop(model.insert(*owner, list.iter().copied().collect())),
        Do::Delete(owner) => drop(model.remove(owner)),
        Do::Discard | Do::Place | Do::Restart => {}
    }
    model.retain(|_, set| !set.is_empty());
}

fn ask(what: &Do) -> Option<EditAsk> {
    let owner = |n: &u8| format!("n{n}");
    Some(match what {
        Do::Add(o, n) => add(&owner(o), "A", &record(*n)),
        Do::Remove(o, n) => remove(&owner(o), "A", &record(*n)),
        Do::Put(o, list) => {
            let list: Vec<String> = list.iter().map(|n| record(*n)).collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            put(&owner(o), "A", 3_600, &list)
        }
        Do::Delete(o) => delete(&owner(o), "A"),
        Do::Discard | Do::Place | Do::Restart => return None,
    })
}

/// What the merged view shows as being there once placed.
fn shown(world: &World, which: Which) -> Model {
    let page = world.view(&world.acme.member, &world.acme.zone, which);
    let mut model = Model::new();
    for row in page.items.iter().filter(|row| row.rtype == "A") {
        let label = row.name.labels().next().unwrap();
        let [b'n', digit] = label else { continue };
        let there = row.records.iter().filter(|record| record.state != Mark::Removed);
        let numbers = there.map(|record| record.data.rsplit('.').next().unwrap().parse().unwrap());
        model.insert(digit - b'0', numbers.collect());
    }
    model.retain(|_, set| !set.is_empty());
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Goal: the merged view is the served data under one's own edits, and placing makes it served.
    /// Method: any sequence of edits, discards, orders and restarts against two plain maps.
    #[test]
    fn i11_the_merged_view_is_the_overlay_of_own_items_on_what_is_served(
        steps in proptest::collection::vec(anything(), 1..25),
    ) {
        let mut world = World::new();
        let (mut live, mut wanted) = (Model::new(), Model::new());
        for step in &steps {
            apply(&mut wanted, step);
            match (ask(step), step) {
                (Some(edit), _) => drop(world.add(&world.acme.member, &world.acme.zone, vec![edit])),
                (None, Do::Discard) => {
                    basket::clear(&world.manage, &world.acme.member).unwrap();
                    wanted = live.clone();
                }
                (None, Do::Place) if wanted == live => {
                    // Nothing to place, unless a TTL is left over; either way nothing changes.
                    drop(world.try_place(&world.acme.member));
                }
                (None, Do::Place) => {
                    prop_assert_eq!(world.place(&world.acme.member).state, State::Applied);
                    live = wanted.clone();
                }
                (None, _) => world = world.restarted(),
            }
            prop_assert_eq!(&shown(&world, Which::Merged), &wanted);
            prop_assert_eq!(&shown(&world, Which::Live), &live);
            let items = basket::list(&world.manage, &world.acme.member).unwrap().items;
            prop_assert!(items.iter().all(|item| item.base != item.wanted), "no item asks for nothing");
            if items.is_empty() {
                let merged = world.view(&world.acme.member, &world.acme.zone, Which::Merged);
                prop_assert_eq!(merged, world.view(&world.acme.member, &world.acme.zone, Which::Live));
            }
        }
        prop_assert!(world.manage.store.read(|rows| crate::manage::event::verify(rows)).unwrap().is_ok());
    }
}
