//! Several steps of a zone made one: what came and went in between is left out ([RFC 1995] §5).
//!
//! Promises: the condensed step on the first version gives the last, as the steps one after the
//! other do; a record that stays as it was, octet by octet, stands on neither side.
//!
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::Type;
use crate::zone::delta::Step;
use crate::zone::packed::{self, Packer};

/// One record below its owner and type: its TTL, whether it is an RRSIG over the type, its RDATA.
type Rest = (u32, bool, Box<[u8]>);

/// What goes and comes at one owner and type.
#[derive(Default)]
struct Sides {
    dels: BTreeSet<Rest>,
    adds: BTreeSet<Rest>,
}

/// The owner as written, and its sides by type.
type Owner = (Box<[u8]>, BTreeMap<Type, Sides>);

/// Makes one step of `steps`, which follow one another; none of none.
pub fn condense(steps: &[Step]) -> Option<Step> {
    let (first, last) = (steps.first()?, steps.last()?);
    let mut owners: BTreeMap<Vec<u8>, Owner> = BTreeMap::new();
    for step in steps {
        for (octets, adding) in [(&step.dels, false), (&step.adds, true)] {
            for node in packed::nodes(octets) {
                let owner = owners.entry(node.name().key());
                let (_, types) = owner.or_insert_with(|| (node.owner.into(), BTreeMap::new()));
                for set in node.rrsets() {
                    let sides = types.entry(set.rtype).or_default();
                    let records = set.rdatas().map(|rdata| (set.ttl, false, rdata.into()));
                    let sigs = set.sigs().map(|rdata| (set.ttl, true, rdata.into()));
                    records.chain(sigs).for_each(|rest| sides.put(rest, adding));
                }
            }
        }
    }
    let dels = pack(&owners, |sides| &sides.dels);
    let adds = pack(&owners, |sides| &sides.adds);
    Some(Step { from: first.from, to: last.to, dels, adds })
}

impl Sides {
    fn put(&mut self, rest: Rest, adding: bool) {
        let (own, other) = match adding {
            true => (&mut self.adds, &mut self.dels),
            false => (&mut self.dels, &mut self.adds),
        };
        if !other.remove(&rest) {
            own.insert(rest);
        }
    }
}

/// One side of all owners. It is part of one version, so a type has one TTL there.
fn pack(owners: &BTreeMap<Vec<u8>, Owner>, side: fn(&Sides) -> &BTreeSet<Rest>) -> Vec<u8> {
    let mut packer = Packer::default();
    for (owner, types) in owners.values() {
        let mut begun = false;
        for (rtype, sides) in types {
            let rests = side(sides);
            let Some((ttl, ..)) = rests.first() else { continue };
            if !std::mem::replace(&mut begun, true) {
                packer.node(owner);
            }
            let of = |sigs: bool| {
                let kind = rests.iter().filter(move |(_, is_sig, _)| *is_sig == sigs);
                kind.map(|(.., rdata)| rdata.as_ref())
            };
            packer.rrset(*rtype, *ttl, of(false), of(true));
        }
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, Serial, rdata};

    fn node(packer: &mut Packer, owner: &str, sets: &[(Type, &[&str])]) {
        packer.node(Name::parse(owner).unwrap().as_wire());
        for (rtype, texts) in sets {
            let rdatas: Vec<_> =
                texts.iter().map(|text| rdata::parse(*rtype, text, None).unwrap()).collect();
            packer.rrset(*rtype, 60, rdatas.iter().map(AsRef::as_ref), []);
        }
    }

    fn side(serial: u32, texts: &[&str]) -> Vec<u8> {
        let mut packer = Packer::default();
        let soa = format!("ns.x. h.x. {serial} 1 1 1 1");
        node(&mut packer, "x.", &[(Type::SOA, &[&soa])]);
        if !texts.is_empty() {
            node(&mut packer, "a.x.", &[(Type::TXT, texts)]);
        }
        packer.finish()
    }

    #[test]
    fn what_came_and_went_in_between_is_left_out() {
        let step = |from: u32, dels: &[&str], adds: &[&str]| Step {
            from: Serial(from),
            to: Serial(from + 1),
            dels: side(from, dels),
            adds: side(from + 1, adds),
        };
        let steps = [step(1, &["old"], &["new"]), step(2, &["new"], &["newer"])];

        let condensed = condense(&steps).unwrap();

        assert_eq!((condensed.from, condensed.to), (Serial(1), Serial(3)));
        assert_eq!(condensed.dels, side(1, &["old"]));
        assert_eq!(condensed.adds, side(3, &["newer"]));
        let back = [step(1, &["old"], &["new"]), step(2, &["new"], &["old"])];
        assert_eq!(condense(&back).unwrap().adds, side(3, &[]));
        assert_eq!(condense(&[]), None);
    }
}
