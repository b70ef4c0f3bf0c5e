//! A table that took changes one by one answers as one rendered anew.

use std::ops::ControlFlow;

use nameplane::answer::{Rendered, render};
use nameplane::wire::{Name, RrSet, Type};
use nameplane::zone::View;
use nameplane::zone::delta::{self, SetChange};
use proptest::prelude::*;

use super::random::{APEXES, World, questions, signing, specs};
use super::{Set, Table, Zone, cases, name, render_zone, with_zone};

const TYPES: [Type; 6] = [Type::A, Type::CNAME, Type::NS, Type::DS, Type::TXT, Type::NSEC];

/// The changed RRsets between two versions of a zone.
pub fn changes(before: &Zone, after: &Zone) -> Vec<SetChange> {
    let mut changes = Vec::new();
    let mut owners: Vec<_> = before.nodes.keys().chain(after.nodes.keys()).collect();
    owners.sort();
    owners.dedup();
    for owner in owners {
        let types = |zone: &Zone| {
            zone.nodes.get(owner).into_iter().flatten().map(|(rtype, _)| *rtype).collect::<Vec<_>>()
        };
        let mut all = [types(before), types(after)].concat();
        all.sort_unstable();
        all.dedup();
        for rtype in all.into_iter().map(Type) {
            let owned = |set: Option<&Set>| {
                set.map(|set| delta::Set {
                    rrset: RrSet::new(
                        owner.clone(),
                        rtype,
                        set.ttl,
                        set.rdatas.iter().map(|rdata| rdata.as_slice().into()).collect(),
                    ),
                    sigs: set.sigs.iter().map(|sig| sig.as_slice().into()).collect(),
                })
            };
            let (before, after) = (owned(before.set(owner, rtype)), owned(after.set(owner, rtype)));
            if before != after {
                changes.push(SetChange { owner: owner.clone(), rtype, before, after });
            }
        }
    }
    changes
}

/// Renders the step from one set of zones to another, as one commit would.
pub fn render_step(into: &mut Rendered, before: &[Zone], after: &[Zone]) {
    let find = |zones: &[Zone], id: u32| zones.iter().position(|zone| zone.id == id);
    let mut moved = Vec::new();
    for old in before {
        match find(after, old.id) {
            Some(at) => {
                let changes = changes(old, &after[at]);
                with_zone(&after[at], after, |zone| render::touched(into, zone, &changes).unwrap());
            }
            None => {
                with_zone(old, before, |zone| render::gone(into, zone).unwrap());
                into.remove_parent_side(&old.apex);
                moved.push(old.apex.clone());
            }
        }
    }
    for new in after.iter().filter(|new| find(before, new.id).is_none()) {
        render_zone(into, new, after);
        moved.push(new.apex.clone());
    }
    let born = |apex: &Name| {
        let is_in = |zones: &[Zone]| zones.iter().any(|zone| zone.apex == *apex);
        is_in(after) && !is_in(before)
    };
    for apex in moved {
        let parent = after.iter().filter(|zone| apex.is_below(&zone.apex));
        if let Some(parent) = parent.max_by_key(|zone| zone.apex.label_count()) {
            let old = find(before, parent.id).map(|at| &before[at]);
            let changes = old.map(|old| changes(old, parent)).unwrap_or_default();
            with_zone(parent, after, |zone| {
                render::child_changed(into, zone, &apex, &born, &changes).unwrap();
            });
        }
    }
}

/// A name that goes while two zones come above it leaves nothing behind: neither of the two had it.
#[test]
fn a_name_that_goes_as_nested_zones_come_is_gone() {
    let before = [Zone::new("example.", 0).with("@ SOA 1\n @ NS ns\n a.b.a A 192.0.2.1")];
    let child = |apex, id| Zone::new(apex, id).with("@ SOA 1\n @ NS ns");
    let after = [child("example.", 0), child("a.example.", 1), child("b.a.example.", 2)];
    let mut table = Table::of(&before);
    let mut rendered = Rendered::new(&table.writer.key());
    render_step(&mut rendered, &before, &after);
    table.writer.publish(&[rendered]);

    let anew = Table::of(&after);

    let owner = name("x.a.b.a.example.");
    assert_eq!(table.ask(&owner, Type::A, false), anew.ask(&owner, Type::A, false));
    let names = |table: &Table| table.writer.published().load().names();
    assert_eq!(names(&table), names(&anew));
}

/// Worlds in which most records stay from one to the next.
fn worlds() -> impl Strategy<Value = Vec<World>> {
    let step = (
        prop::collection::vec(prop::bool::weighted(0.8), APEXES.len()),
        prop::collection::vec(prop::bool::weighted(0.85), 30),
    );
    let signing = prop::collection::vec(prop::collection::vec(signing(), APEXES.len()), 2);
    (specs(30), prop::collection::vec(step, 4), signing).prop_map(|(specs, steps, signing)| {
        let worlds = steps.into_iter().enumerate().map(|(number, (present, kept))| World {
            specs: specs
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| **kept)
                .map(|(spec, _)| spec.clone())
                .collect(),
            present,
            signing: signing[number / 3].clone(),
        });
        worlds.collect()
    })
}

proptest! {
    #![proptest_config(cases(100))]

    /// Goal: rendering what changes touch leaves nothing stale and forgets nothing: cuts, occlusion, empty
    /// non-terminals, wildcards, chains, zones that come and go above and below each other.
    /// Method: random steps, each one commit; after each all answers are octet for octet those of a new table.
    #[test]
    fn what_was_touched_answers_as_if_rendered_anew(worlds in worlds(), from in 0..4usize) {
        let mut table = Table::empty();
        let mut before: Vec<Zone> = Vec::new();
        for world in &worlds {
            let after = world.zones();
            let mut rendered = Rendered::new(&table.writer.key());
            render_step(&mut rendered, &before, &after);
            table.writer.publish(&[rendered]);
            let anew = Table::of(&after);
            for owner in questions().into_iter().skip(from).step_by(4) {
                for rtype in TYPES {
                    prop_assert_eq!(
                        table.ask(&owner, rtype, true),
                        anew.ask(&owner, rtype, true),
                        "{} {:?} after {:#?} became {:#?}", owner, rtype, before, after
                    );
                }
            }
            let names = |table: &Table| table.writer.published().load().names();
            prop_assert_eq!(names(&table), names(&anew), "{:#?} became {:#?}", before, after);
            before = after;
        }
    }
}

/// Renders a zone in as many parts as may be, the last first.
fn render_in_parts(into: &mut Rendered, zone: &Zone, zones: &[Zone]) {
    let (tree, apex) = (zone.tree(), zone.apex.key());
    let mut borders = Vec::new();
    tree.walk(&apex, &mut |node| {
        let key = node.name().key();
        let child = key[apex.len()..].split_inclusive(|octet| *octet == 0).next();
        let border =
            child.filter(|child| *child > b"*\0".as_slice()).map(|child| [&apex, child].concat());
        borders.extend(border.filter(|border| borders.last() != Some(border)));
        ControlFlow::Continue(())
    })
    .unwrap();
    let ends = borders.iter().map(|border| Some(border.as_slice())).chain([None]);
    let starts = [None].into_iter().chain(borders.iter().map(|border| Some(border.as_slice())));
    let parts: Vec<_> = starts.zip(ends).collect();
    let mut chain: Vec<_> = with_zone(zone, zones, |zone| {
        let part = |&(from, to): &(Option<&[u8]>, Option<&[u8]>)| {
            render::part(into, zone, from, to).unwrap()
        };
        parts.iter().rev().map(part).collect()
    });
    chain.reverse();
    into.put_chain(zone.id, chain);
}

proptest! {
    #![proptest_config(cases(100))]

    /// Goal: it does not show whether a zone was rendered in one go or in parts.
    /// Method: random zones, cut at every child of the apex where they may be cut; all answers, octet for octet.
    #[test]
    fn a_zone_rendered_in_parts_answers_as_one_rendered_whole(worlds in worlds(), from in 0..4usize) {
        for world in worlds.iter().take(2) {
            let zones = world.zones();
            let (mut parts, whole) = (Table::empty(), Table::of(&zones));
            let mut rendered = Rendered::new(&parts.writer.key());
            zones.iter().for_each(|zone| render_in_parts(&mut rendered, zone, &zones));
            parts.writer.publish(&[rendered]);
            for owner in questions().into_iter().skip(from).step_by(4) {
                for rtype in TYPES {
                    prop_assert_eq!(
                        parts.ask(&owner, rtype, true),
                        whole.ask(&owner, rtype, true),
                        "{} {:?} of {:#?}", owner, rtype, zones
                    );
                }
            }
            let names = |table: &Table| table.writer.published().load().names();
            prop_assert_eq!(names(&parts), names(&whole), "{:#?}", zones);
        }
    }
}
