//! Random small zones that keep the rules of zones and break every habit.

use std::collections::BTreeSet;

use nameplane::wire::{Name, Type};
use proptest::prelude::*;

use super::model::hashed_owner;
use super::{Set, Zone, name, soa};

/// Apexes of the zones there may be: nested, and apart.
pub const APEXES: [&str; 5] = ["example.", "a.example.", "b.a.example.", "ns.b.example.", "other."];

const LABELS: [&str; 5] = ["a", "b", "ns", "*", "c"];

/// One record to be, before the rules of zones.
#[derive(Debug, Clone)]
pub struct Spec {
    zone: usize,
    path: Vec<usize>,
    kind: u8,
    target_apex: usize,
    target: Vec<usize>,
    number: u8,
}

/// How a zone is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    No,
    Nsec,
    Nsec3 { opt_out: bool, iterations: u8 },
}

/// Everything about a set of zones.
#[derive(Debug, Clone)]
pub struct World {
    pub specs: Vec<Spec>,
    pub present: Vec<bool>,
    pub signing: Vec<Signing>,
}

pub fn specs(most: usize) -> impl Strategy<Value = Vec<Spec>> {
    let path = || prop::collection::vec(0..LABELS.len(), 0..4);
    let spec = (0..APEXES.len(), path(), any::<u8>(), 0..APEXES.len() + 1, path(), 0..3u8);
    let spec = spec.prop_map(|(zone, path, kind, target_apex, target, number)| Spec {
        zone,
        path,
        kind,
        target_apex,
        target,
        number,
    });
    prop::collection::vec(spec, 0..most)
}

pub fn signing() -> impl Strategy<Value = Signing> {
    prop_oneof![
        Just(Signing::No),
        Just(Signing::Nsec),
        (any::<bool>(), 0..3u8)
            .prop_map(|(opt_out, iterations)| Signing::Nsec3 { opt_out, iterations }),
    ]
}

pub fn world() -> impl Strategy<Value = World> {
    let present = prop::collection::vec(prop::bool::weighted(0.7), APEXES.len());
    (specs(40), present, prop::collection::vec(signing(), APEXES.len()))
        .prop_map(|(specs, present, signing)| World { specs, present, signing })
}

fn path_name(apex: &Name, path: &[usize]) -> Name {
    path.iter().fold(apex.clone(), |name, &label| name.child(LABELS[label].as_bytes()).unwrap())
}

/// Every name worth asking for: all paths of two labels below each apex, and some deeper, outside or odd.
pub fn questions() -> Vec<Name> {
    let mut names = BTreeSet::new();
    for apex in APEXES.map(name) {
        names.insert(apex.clone());
        for first in 0..LABELS.len() {
            for second in 0..LABELS.len() {
                for path in
                    [&[first][..], &[first, second], &[first, second, 4], &[first, second, 3]]
                {
                    names.insert(path_name(&apex, path));
                }
            }
        }
    }
    names.insert(name("."));
    names.insert(name("elsewhere."));
    names.into_iter().collect()
}

impl World {
    /// The zones, rules kept, signed.
    pub fn zones(&self) -> Vec<Zone> {
        let mut zones = Vec::new();
        for (id, apex) in APEXES.iter().enumerate().filter(|(id, _)| self.present[*id]) {
            let mut zone = Zone::new(apex, id as u32);
            let apex = zone.apex.clone();
            zone.add(&apex, Type::SOA, soa(&apex, 1));
            zone.add(&apex, Type::NS, apex.child(b"ns").unwrap().as_wire().to_vec());
            for spec in self.specs.iter().filter(|spec| spec.zone == id) {
                add(&mut zone, spec);
            }
            sign(&mut zone, self.signing[id]);
            zones.push(zone);
        }
        zones
    }
}

fn add(zone: &mut Zone, spec: &Spec) {
    let owner = path_name(&zone.apex, &spec.path);
    let root = match APEXES.get(spec.target_apex) {
        Some(apex) => name(apex),
        None => name("elsewhere."),
    };
    let target = path_name(&root, &spec.target).as_wire().to_vec();
    let (rtype, rdata) = match spec.kind % 16 {
        0..=3 => (Type::A, vec![192, 0, 2, spec.number]),
        4 => (Type::AAAA, vec![spec.number; 16]),
        5 => (Type::TXT, vec![1, b'a' + spec.number]),
        6 => (Type::MX, [&[0, spec.number][..], &target].concat()),
        7 | 8 => (Type::CNAME, target),
        9 => (Type::DNAME, target),
        10 => (Type::DS, vec![0, spec.number, 13, 2, 7]),
        11 => (Type(65_280), vec![spec.number]),
        _ => (Type::NS, target),
    };
    let has = |rtype: Type| zone.set(&owner, rtype).is_some();
    let at_apex = owner == zone.apex;
    let alone = zone.nodes.get(&owner).is_none_or(|sets| sets.is_empty());
    let allowed = match rtype {
        Type::CNAME => alone,
        Type::DNAME => !has(Type::CNAME) && !has(Type::DNAME) && (at_apex || !has(Type::NS)),
        Type::NS => !has(Type::CNAME) && (at_apex || !has(Type::DNAME)),
        Type::DS => !at_apex && has(Type::NS),
        _ => !has(Type::CNAME),
    };
    if allowed {
        zone.add(&owner, rtype, rdata);
    }
}

/// The names a zone is authoritative for, and its cuts; names without records among them.
fn names_and_cuts(zone: &Zone) -> (BTreeSet<Name>, BTreeSet<Name>) {
    let (mut names, mut cuts) = (BTreeSet::new(), BTreeSet::new());
    'owners: for owner in zone.nodes.keys() {
        let mut path = vec![owner.clone()];
        while path[path.len() - 1] != zone.apex {
            path.push(path[path.len() - 1].parent().unwrap());
        }
        path.reverse();
        for here in path {
            let is_cut = here != zone.apex && zone.set(&here, Type::NS).is_some();
            if is_cut {
                names.insert(here.clone());
                cuts.insert(here);
                continue 'owners;
            }
            let dname = zone.set(&here, Type::DNAME).is_some();
            names.insert(here.clone());
            if dname {
                continue 'owners;
            }
        }
    }
    (names, cuts)
}

/// Signs as [RFC 4035] §2 and [RFC 5155] §7.1 say, with made up signatures and without bitmaps.
pub fn sign(zone: &mut Zone, signing: Signing) {
    if signing == Signing::No {
        return;
    }
    let apex = zone.apex.clone();
    let (names, cuts) = names_and_cuts(zone);
    let mut denials: Vec<(Name, Type, Vec<u8>)> = Vec::new();
    match signing {
        Signing::No => {}
        Signing::Nsec => {
            let owners: Vec<&Name> =
                names.iter().filter(|name| zone.nodes.contains_key(name)).collect();
            for (at, owner) in owners.iter().enumerate() {
                let next = owners[(at + 1) % owners.len()];
                denials.push(((*owner).clone(), Type::NSEC, next.as_wire().to_vec()));
            }
        }
        Signing::Nsec3 { opt_out, iterations } => {
            let param = vec![1, 0, 0, iterations, 2, 0xab, 0xcd];
            zone.add(&apex, Type::NSEC3PARAM, param.clone());
            let insecure = |name: &Name| cuts.contains(name) && zone.set(name, Type::DS).is_none();
            // What stands only above what is left out is left out too.
            let needed = |name: &Name| {
                let below =
                    |other: &&Name| other.is_at_or_below(name) && zone.nodes.contains_key(other);
                names.iter().filter(below).any(|other| !insecure(other))
            };
            let hashed: BTreeSet<Name> = names
                .iter()
                .filter(|name| !opt_out || needed(name))
                .map(|name| hashed_owner(zone, name))
                .collect();
            for owner in hashed {
                let rdata = [&[1, u8::from(opt_out)][..], &param[2..], &[0]].concat();
                denials.push((owner, Type::NSEC3, rdata));
            }
        }
    }
    for (owner, rtype, rdata) in denials {
        zone.add(&owner, rtype, rdata);
    }
    for (owner, sets) in &mut zone.nodes {
        for (rtype, set) in sets {
            let denial = [Type::NSEC, Type::NSEC3].contains(&Type(*rtype));
            let own = names.contains(owner) && !cuts.contains(owner);
            if denial || own || cuts.contains(owner) && Type(*rtype) == Type::DS {
                set.sigs = vec![[&rtype.to_be_bytes()[..], b"signature"].concat()];
            }
        }
    }
}

/// The same sets, to compare versions.
pub fn same(one: Option<&Set>, other: Option<&Set>) -> bool {
    one == other
}
