//! Edits: what people ask of RRsets, each with the base its author saw.
//!
//! An edit is compared with the zone at the moment it is applied. Adding and removing ask only for
//! that record's presence, so two people who add to one RRset both succeed, and what is already so
//! is no conflict. Replacing, deleting and setting the TTL ask that the whole RRset, value and TTL,
//! is still the one the author saw.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::delta::{Delta, Set, SetChange, set_at};
use super::serial::{same_but_serial, with_serial};
use super::{ReadFault, View};

use crate::wire::{Name, RrSet, Serial, Type};

/// One change to one RRset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrSetEdit {
    pub owner: Name,
    pub rtype: Type,
    pub op: Op,
    pub base: Base,
}

/// What is asked of the RRset. RDATA are in uncompressed wire form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// These records are there afterwards. `ttl` (seconds) is for a set that does not exist yet; one
    /// that does keeps its own ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5.2).
    Add { ttl: u32, rdatas: Vec<Box<[u8]>> },
    /// These records are gone afterwards; the set with them when they were its last.
    Remove { rdatas: Vec<Box<[u8]>> },
    /// The set is exactly this afterwards; none if `rdatas` is empty. `ttl` in seconds.
    Replace { ttl: u32, rdatas: Vec<Box<[u8]>> },
    /// The records stay, the TTL (seconds) changes.
    SetTtl { ttl: u32 },
    /// The set is gone afterwards.
    Delete,
}

/// What the author saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing is compared: the author gives no base.
    Unchecked,
    /// The RRset as it was; none if there was none.
    Seen(Option<RrSet>),
}

/// A change whose base is no longer what the zone holds, in three views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub owner: Name,
    pub rtype: Type,
    /// What the author saw.
    pub base: Option<RrSet>,
    /// What is served now.
    pub now: Option<RrSet>,
    /// What the author wants.
    pub yours: Option<RrSet>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} was changed since you saw it", self.owner, self.rtype)
    }
}

/// What edits come to on the zone as it is.
#[derive(Debug, Default)]
pub struct Plan {
    /// What changes, stale or not; empty when everything is so already.
    pub delta: Delta,
    /// Every edit whose base is stale. Not empty: apply nothing.
    pub conflicts: Vec<Conflict>,
}

/// Works out what `edits` change in `view`, comparing each with the base its author saw.
///
/// Edits are taken in order, each on what the one before left; bases are compared with `view`.
/// The serial of a SOA is not part of its value: every commit changes it.
///
/// # Errors
///
/// [`ReadFault`] when the view cannot be read.
pub fn plan(view: &dyn View, edits: &[RrSetEdit]) -> Result<Plan, ReadFault> {
    let mut sets: BTreeMap<(Vec<u8>, Type), SetChange> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for edit in edits {
        let key = (edit.owner.key(), edit.rtype);
        let change = match sets.entry(key) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let before = set_at(view, &edit.owner, edit.rtype)?;
                slot.insert(SetChange {
                    owner: edit.owner.clone(),
                    rtype: edit.rtype,
                    after: before.as_ref().map(|set| edit.op.kept_of(set)),
                    before,
                })
            }
        };
        let now = change.before.as_ref().map(|set| &set.rrset);
        if let Some(conflict) = conflict(edit, now) {
            conflicts.push(conflict);
        }
        let current = change.after.take().map(|set| set.rrset);
        let wanted = edit.op.on(current, &edit.owner, edit.rtype);
        change.after = settle(wanted, change.before.as_ref());
    }
    Ok(Plan { delta: Delta::new(sets.into_values().collect()), conflicts })
}

impl Op {
    /// What of a set the op looks at: where it leaves no record of it, the owner's case alone.
    fn kept_of(&self, set: &Set) -> Set {
        match self {
            Op::Replace { .. } | Op::Delete => {
                let RrSet { owner, rtype, ttl, .. } = &set.rrset;
                let rrset = RrSet::new(owner.clone(), *rtype, *ttl, Vec::new());
                Set { rrset, sigs: Vec::new() }
            }
            Op::Add { .. } | Op::Remove { .. } | Op::SetTtl { .. } => set.clone(),
        }
    }

    /// What the op makes of `set`; none when no record is left.
    pub fn on(&self, set: Option<RrSet>, owner: &Name, rtype: Type) -> Option<RrSet> {
        let set = match self {
            Op::Add { ttl, rdatas } => {
                let mut set =
                    set.unwrap_or_else(|| RrSet::new(owner.clone(), rtype, *ttl, Vec::new()));
                for rdata in rdatas {
                    set.insert(rdata.clone());
                }
                set
            }
            Op::Remove { rdatas } => {
                let mut set = set?;
                for rdata in rdatas {
                    set.remove(rdata);
                }
                set
            }
            Op::Replace { ttl, rdatas } => {
                let owner = set.map_or_else(|| owner.clone(), |set| set.owner);
                RrSet::new(owner, rtype, *ttl, rdatas.clone())
            }
            Op::SetTtl { ttl } => {
                let mut set = set?;
                set.ttl = *ttl;
                set
            }
            Op::Delete => return None,
        };
        (!set.is_empty()).then_some(set)
    }
}

/// The three-way view if the edit's base is stale.
fn conflict(edit: &RrSetEdit, now: Option<&RrSet>) -> Option<Conflict> {
    let Base::Seen(base) = &edit.base else { return None };
    let stale = match edit.op {
        // The record is there, or it is not: either way the edit leaves it as its author wants.
        Op::Add { .. } | Op::Remove { .. } => false,
        Op::Replace { .. } | Op::SetTtl { .. } | Op::Delete => !same_set(base.as_ref(), now),
    };
    stale.then(|| Conflict {
        owner: edit.owner.clone(),
        rtype: edit.rtype,
        base: base.clone(),
        now: now.cloned(),
        yours: edit.op.on(base.clone(), &edit.owner, edit.rtype),
    })
}

/// Gives back `before` when `wanted` is the same, so that no change is seen and signatures stay.
fn settle(wanted: Option<RrSet>, before: Option<&Set>) -> Option<Set> {
    let wanted = wanted?;
    match before {
        Some(before) if before.rrset == wanted || only_an_older_serial(&before.rrset, &wanted) => {
            Some(before.clone())
        }
        _ => Some(Set { rrset: wanted, sigs: Vec::new() }),
    }
}

/// Whether `wanted` is the SOA `now` but for a serial that is not ahead: nothing to do then.
fn only_an_older_serial(now: &RrSet, wanted: &RrSet) -> bool {
    match (now.soa_serial(), wanted.soa_serial()) {
        (Some(ours), Some(theirs)) => !ours.is_before(theirs) && same_set(Some(now), Some(wanted)),
        _ => false,
    }
}

/// Whether two RRsets are the same in value and TTL: names in RDATA compare without case, the
/// serial of a SOA not at all.
pub fn same_set(one: Option<&RrSet>, other: Option<&RrSet>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            differ_in_serial_alone(one, other) || without_serial(one) == without_serial(other)
        }
        _ => false,
    }
}

/// Whether two SOA are the same octet by octet, but for their serials: so they are after most changes.
fn differ_in_serial_alone(one: &RrSet, other: &RrSet) -> bool {
    (one.rtype, other.rtype) == (Type::SOA, Type::SOA)
        && one.ttl == other.ttl
        && one.owner == other.owner
        && one.rdatas().len() == other.rdatas().len()
        && one.rdatas().iter().zip(other.rdatas()).all(|(one, other)| same_but_serial(one, other))
}

fn without_serial(set: &RrSet) -> Cow<'_, RrSet> {
    if set.rtype != Type::SOA {
        return Cow::Borrowed(set);
    }
    let rdatas = set.rdatas().iter().map(|rdata| with_serial(rdata, Serial(0))).collect();
    Cow::Owned(RrSet::new(set.owner.clone(), set.rtype, set.ttl, rdatas))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::delta::Step;
    use super::super::tree::Tree;
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn set(owner: &str, ttl: u32, rdatas: &[&[u8]]) -> RrSet {
        RrSet::new(name(owner), Type::A, ttl, rdatas.iter().map(|&rdata| rdata.into()).collect())
    }

    fn edit(owner: &str, op: Op, base: Base) -> RrSetEdit {
        RrSetEdit { owner: name(owner), rtype: Type::A, op, base }
    }

    fn soa(serial: u32) -> Box<[u8]> {
        with_serial(&[0; 22], Serial(serial))
    }

    fn zone(sets: &[RrSet]) -> Tree {
        let mut tree = Tree::new(name("x."), &[]);
        let soa = RrSet::new(name("x."), Type::SOA, 60, vec![soa(7)]);
        for rrset in sets.iter().chain([&soa]) {
            let after = Some(Set { rrset: rrset.clone(), sigs: Vec::new() });
            let (owner, rtype) = (rrset.owner.clone(), rrset.rtype);
            tree.apply(&Delta::new(vec![SetChange { owner, rtype, before: None, after }]));
        }
        tree
    }

    fn add(rdata: &[u8]) -> Op {
        Op::Add { ttl: 300, rdatas: vec![rdata.into()] }
    }

    #[test]
    fn a_stale_replacement_is_reported_in_three_views() {
        let tree = zone(&[set("w.x.", 60, &[b"now"])]);
        let seen = set("w.x.", 60, &[b"old"]);
        let replace = Op::Replace { ttl: 60, rdatas: vec![b"new"[..].into()] };

        let plan = plan(&tree, &[edit("w.x.", replace, Base::Seen(Some(seen.clone())))]).unwrap();

        let conflict = &plan.conflicts[0];
        assert_eq!(conflict.base, Some(seen));
        assert_eq!(conflict.now, Some(set("w.x.", 60, &[b"now"])));
        assert_eq!(conflict.yours, Some(set("w.x.", 60, &[b"new"])));
    }

    #[test]
    fn another_ttl_is_another_base() {
        let tree = zone(&[set("w.x.", 60, &[b"one"])]);
        let base = Base::Seen(Some(set("w.x.", 61, &[b"one"])));
        for op in [Op::Delete, Op::SetTtl { ttl: 5 }] {
            assert_eq!(plan(&tree, &[edit("w.x.", op, base.clone())]).unwrap().conflicts.len(), 1);
        }
    }

    #[test]
    fn case_in_a_name_of_rdata_is_no_other_value() {
        let target = |text: &str| name(text).as_wire().into();
        let mx = |text: &str| RrSet::new(name("x."), Type::NS, 60, vec![target(text)]);
        assert!(same_set(Some(&mx("Mail.x.")), Some(&mx("mail.X."))));
        assert!(!same_set(Some(&mx("mail.x.")), Some(&mx("mail2.x."))));
    }

    #[test]
    fn two_who_add_to_one_set_both_succeed() {
        let tree = zone(&[set("w.x.", 60, &[b"one", b"two"])]);
        let base = Base::Seen(Some(set("w.x.", 60, &[b"one"])));
        let plan = plan(&tree, &[edit("w.x.", add(b"three"), base)]).unwrap();
        assert!(plan.conflicts.is_empty());
        let after = plan.delta.changes[0].after.clone().unwrap().rrset;
        assert_eq!(after, set("w.x.", 60, &[b"one", b"two", b"three"]));
    }

    #[test]
    fn what_is_already_so_changes_nothing() {
        let tree = zone(&[set("w.x.", 60, &[b"one"])]);
        let soa = RrSetEdit {
            rtype: Type::SOA,
            ..edit("x.", Op::Replace { ttl: 60, rdatas: vec![soa(3)] }, Base::Unchecked)
        };
        let edits = [
            edit("w.x.", add(b"one"), Base::Seen(None)),
            edit("w.x.", Op::Remove { rdatas: vec![b"two"[..].into()] }, Base::Unchecked),
            edit("w.x.", Op::SetTtl { ttl: 60 }, Base::Unchecked),
            edit("v.x.", Op::Delete, Base::Seen(None)),
            soa,
        ];
        let plan = plan(&tree, &edits).unwrap();
        assert!(plan.delta.is_empty() && plan.conflicts.is_empty(), "{plan:?}");
    }

    #[test]
    fn the_last_record_takes_its_set_along() {
        let tree = zone(&[set("w.x.", 60, &[b"one"])]);
        let remove = Op::Remove { rdatas: vec![b"one"[..].into()] };
        let plan = plan(&tree, &[edit("w.x.", remove, Base::Unchecked)]).unwrap();
        assert_eq!(plan.delta.changes[0].after, None);
    }

    fn any_op() -> impl Strategy<Value = Op> {
        let rdatas = || prop::collection::vec("[a-c]".prop_map(|t| t.into_bytes().into()), 0..3);
        prop_oneof![
            (0u32..3, rdatas()).prop_map(|(ttl, rdatas)| Op::Add { ttl, rdatas }),
            rdatas().prop_map(|rdatas| Op::Remove { rdatas }),
            (0u32..3, rdatas()).prop_map(|(ttl, rdatas)| Op::Replace { ttl, rdatas }),
            (0u32..3).prop_map(|ttl| Op::SetTtl { ttl }),
            Just(Op::Delete),
        ]
    }

    proptest! {
        #[test]
        fn steps_replayed_from_the_first_version_give_the_last(
            versions in prop::collection::vec(
                prop::collection::vec(("[a-e]", any_op()), 1..6), 1..20),
        ) {
            let first = zone(&[]);
            let (mut served, mut replayed) = (first.clone(), first);
            let (mut steps, mut serial) = (Vec::<Step>::new(), Serial(7));
            for ops in versions {
                let edits: Vec<_> = ops.into_iter()
                    .map(|(label, op)| edit(&format!("{label}.x."), op, Base::Unchecked)).collect();
                let mut delta = plan(&served, &edits).unwrap().delta;
                if delta.is_empty() {
                    continue;
                }
                let soa = set_at(&served, &name("x."), Type::SOA).unwrap().unwrap();
                let next = delta.number(&soa, serial);
                prop_assert!(serial.is_before(next));
                steps.push(delta.step(serial, next));
                served.apply(&delta);
                serial = next;
            }
            for step in &steps {
                let delta = step.delta(&replayed).unwrap();
                replayed.apply(&delta);
            }
            prop_assert_eq!(&replayed, &served);
        }

        #[test]
        fn the_difference_between_two_zones_turns_one_into_the_other(
            old in prop::collection::btree_map("[a-e]{1,2}", any_op(), 0..9),
            new in prop::collection::btree_map("[a-e]{1,2}", any_op(), 0..9),
        ) {
            let build = |ops: std::collections::BTreeMap<String, Op>| {
                let edits: Vec<_> = ops.into_iter()
                    .map(|(label, op)| edit(&format!("{label}.x."), op, Base::Unchecked)).collect();
                let mut tree = zone(&[]);
                let delta = plan(&tree, &edits).unwrap().delta;
                tree.apply(&delta);
                tree
            };
            let (mut old, new) = (build(old), build(new));
            let delta = Delta::between(&old, &new, 1_000).unwrap().unwrap();
            old.apply(&delta);
            prop_assert_eq!(&old, &new);
        }
    }
}
