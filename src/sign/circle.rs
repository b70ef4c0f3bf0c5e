//! The circle of hashes: which NSEC3 stands before a hash ([RFC 5155] §7.1).
//!
//! Hashed owners lie among all other names, and before one there may be any number that are none:
//! alike names, delegations left out. So a zone is gone through backwards only a little way; where that
//! leads to no hash the circle itself is followed, from points that lie nearer and nearer. Those are
//! drawn by lot: whoever chooses names cannot choose them.
//!
//! Promises: of any zone a few times [`STEPS`] names are looked at, wherever its hashes lie.
//!
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use super::denial::{self, Hash};
use super::key;
use super::touched::Work;
use crate::wire::{Name, Type};
use crate::zone::ReadFault;
use crate::zone::delta::set_at;

/// Names, or hashes, that are looked at one behind the other before another way is tried.
///
/// Hashes are as many as names, but for delegations left out: a hash is nearer than this unless
/// somebody put names in its way. More only makes a search dearer that fails.
const STEPS: usize = 128;

/// Points tried before the circle is followed to its end. Each halves what is left, unless names are
/// in its way too: with so many hashes a zone would be larger than a zone can be.
const TRIES: usize = 64;

/// Where a walk backwards led.
enum Near {
    Found(Hash),
    /// To the beginning of the zone.
    Nowhere,
    TooFar,
}

impl Work<'_> {
    /// The hash before `hash` on the circle, with its RDATA.
    pub(super) fn hash_before(&self, hash: &Hash) -> Result<Option<(Hash, Box<[u8]>)>, ReadFault> {
        let apex = &self.signer.apex;
        let Some(owner) = denial::hash_owner(hash, apex) else { return Ok(None) };
        let edited = self.hashes.range(..*hash).rev().find(|(_, edit)| edit.is_some());
        let edited = edited.map(|(hash, _)| *hash);
        let found = match (self.near(owner.key())?, edited) {
            (Near::Found(stored), edited) => Some(stored.max(edited.unwrap_or_default())),
            (Near::Nowhere, Some(edited)) => Some(edited),
            (Near::Nowhere, None) => {
                // Around the end: no hashed owner begins with a letter behind `v`.
                let behind_all = [apex.key().as_slice(), b"w"].concat();
                let edited = self.hashes.iter().rev().find(|(_, edit)| edit.is_some());
                let edited = edited.map(|(hash, _)| *hash);
                match self.near(behind_all)? {
                    Near::Found(stored) => Some(stored.max(edited.unwrap_or_default())),
                    Near::Nowhere => edited,
                    Near::TooFar => self.around(hash)?,
                }
            }
            (Near::TooFar, _) => self.around(hash)?,
        };
        let Some(found) = found.filter(|found| found != hash) else { return Ok(None) };
        Ok(self.hashed(&found)?.map(|rdata| (found, rdata)))
    }

    /// The last hash in the view whose owner is before `key` and that has not gone meanwhile.
    fn near(&self, mut key: Vec<u8>) -> Result<Near, ReadFault> {
        let apex = &self.signer.apex;
        for _ in 0..STEPS {
            let Some(before) = self.view.before(&key)?.filter(|before| before != apex) else {
                return Ok(Near::Nowhere);
            };
            let top = top_below(&before, apex);
            if top != before {
                // No name's key goes on with 00: the next is the top itself, or one before it.
                key = [top.key().as_slice(), &[0]].concat();
                continue;
            }
            let hash = denial::hash_of(&before, apex);
            if let Some(hash) = hash.filter(|hash| self.hashes.get(hash) != Some(&None))
                && set_at(self.view, &before, Type::NSEC3)?.is_some()
            {
                return Ok(Near::Found(hash));
            }
            key = before.key();
        }
        Ok(Near::TooFar)
    }

    /// The hash before `hash` by way of the circle, which the apex is always on.
    fn around(&self, hash: &Hash) -> Result<Option<Hash>, ReadFault> {
        let apex = &self.signer.apex;
        let mut from = denial::hash(&self.signer.apex_wire);
        if from == *hash {
            let Some(next) = self.next(&from)? else { return Ok(None) };
            from = next;
        }
        for _ in 0..TRIES {
            match self.follow(&mut from, hash, STEPS)? {
                Followed::Far => {}
                Followed::Broken => return Ok(None),
                Followed::There => return Ok(Some(from)),
            }
            let Some(point) = key::lot().and_then(|lot| between(&from, hash, lot)) else { break };
            let Some(owner) = denial::hash_owner(&point, apex) else { break };
            if let Near::Found(nearer) = self.near(owner.key())?
                && distance(&from, &nearer) < distance(&from, hash)
            {
                from = nearer;
            }
        }
        let there = self.follow(&mut from, hash, usize::MAX)?;
        Ok(matches!(there, Followed::There).then_some(from))
    }

    /// Follows the circle from a hash that is on it towards another, at most so many steps.
    fn follow(&self, from: &mut Hash, to: &Hash, steps: usize) -> Result<Followed, ReadFault> {
        for _ in 0..steps {
            let Some(next) = self.next(from)? else { return Ok(Followed::Broken) };
            if next == *from || distance(from, to) <= distance(from, &next) {
                return Ok(Followed::There);
            }
            *from = next;
        }
        Ok(Followed::Far)
    }

    fn next(&self, hash: &Hash) -> Result<Option<Hash>, ReadFault> {
        Ok(self.hashed(hash)?.and_then(|rdata| denial::next_of(&rdata)))
    }
}

enum Followed {
    /// At the last hash before the one looked for.
    There,
    /// Still on the way.
    Far,
    /// At a hash that leads nowhere.
    Broken,
}

/// The name at or above `name` that is right below `apex`.
fn top_below(name: &Name, apex: &Name) -> Name {
    let mut top = name.clone();
    while let Some(above) = top.parent().filter(|above| above.is_below(apex)) {
        top = above;
    }
    top
}

/// How far it is from one hash on to another, around the circle.
fn distance(from: &Hash, to: &Hash) -> Hash {
    let mut gap = *to;
    let mut borrow = false;
    for (slot, less) in gap.iter_mut().zip(from).rev() {
        let (rest, under) = slot.overflowing_sub(*less);
        let (rest, under_again) = rest.overflowing_sub(u8::from(borrow));
        (*slot, borrow) = (rest, under || under_again);
    }
    gap
}

/// A point behind `from`, up to `to`: as far back from there as the lot says.
fn between(from: &Hash, to: &Hash, mut lot: Hash) -> Option<Hash> {
    let gap = distance(from, to);
    let first = gap.iter().position(|&octet| octet > 0)?;
    lot.iter_mut().take(first).for_each(|octet| *octet = 0);
    let (most, slot) = (*gap.get(first)?, lot.get_mut(first)?);
    // The first octet below that of the gap: so the whole is, and any octet of the gap can be met.
    *slot = if most > 1 { *slot % most } else { 0 };
    Some(distance(&lot, to))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::counted::Counted;
    use super::super::plan::{Denial, KeyUse, Plan, Policy};
    use super::super::{Algorithm, Signer, SigningKey, Spread};
    use super::*;
    use crate::wire::RrSet;
    use crate::zone::delta::{Delta, Set, SetChange};
    use crate::zone::packed;
    use crate::zone::text::{Options, parse};
    use crate::zone::tree::Tree;

    fn apex() -> Name {
        Name::parse("example.").unwrap()
    }

    fn signed(body: &str, opt_out: bool) -> (Signer, Tree) {
        let text = format!("$TTL 300\n@ SOA ns hostmaster 1 1h 10m 1w 5m\n@ NS ns.else.\n{body}");
        let options = Options { apex: Some(apex()), ..Options::default() };
        let octets = parse(text.as_bytes(), options).unwrap().packed;
        let csk = Arc::new(SigningKey::generate(Algorithm::Ed25519, 0, 257).unwrap());
        let (tag, algorithm) = (csk.tag(), csk.algorithm());
        let uses = KeyUse { tag, algorithm, published: true, signs_keys: true, signs_zone: true };
        let policy = Policy { denial: Denial::Nsec3 { opt_out }, ..Policy::default() };
        let plan = Plan { keys: vec![uses], policy, ..Plan::default() };
        let soa = set_at(&Tree::new(apex(), &octets), &apex(), Type::SOA).unwrap().unwrap();
        let signer =
            Signer::new(&apex(), &plan, &[csk], &soa.rrset, 1_800_000_000, Spread::Sets).unwrap();
        let octets = signer.whole(&octets).unwrap().octets;
        (signer, Tree::new(apex(), &octets))
    }

    /// Every NSEC3 of a zone by its hash: what it says is next.
    fn circle(tree: &Tree) -> std::collections::BTreeMap<Hash, Hash> {
        let octets = tree.to_packed();
        let each = packed::nodes(&octets).filter_map(|node| {
            let rdata = node.rrset(Type::NSEC3)?.rdatas().next()?;
            Some((denial::hash_of(&node.name(), &apex())?, denial::next_of(rdata)?))
        });
        each.collect()
    }

    /// Puts an address at `owner` and takes it away again; returns at how many names was looked most.
    fn looks(signer: &Signer, tree: &mut Tree, owner: &Name) -> usize {
        let mut most = 0;
        let rrset = RrSet::new(owner.clone(), Type::A, 300, vec![Box::new([192, 0, 2, 1])]);
        for after in [Some(Set { rrset, sigs: Vec::new() }), None] {
            let before = set_at(tree, owner, Type::A).unwrap();
            let change = SetChange { owner: owner.clone(), rtype: Type::A, before, after };
            let delta = Delta::new(vec![change]);
            tree.apply(&delta);
            let view = Counted::new(tree);
            let more = signer.touched(&view, &delta.changes).unwrap();
            most = most.max(view.looks());
            tree.apply(&more);

            let circle = circle(tree);
            let mut next = circle.keys().skip(1).chain(circle.keys().next());
            assert!(circle.values().all(|said| Some(said) == next.next()));
        }
        most
    }

    /// The first of many names that `wanted` says so of its hash.
    fn found(wanted: impl Fn(&Hash) -> bool) -> Name {
        let mut names = (0..10_000_000).map(|n| Name::parse(&format!("new{n}.example.")).unwrap());
        names.find(|name| wanted(&denial::hash(name.as_wire()))).unwrap()
    }

    /// Goal: names put in front of a hash, however many, do not make what stands there dearer.
    #[test]
    fn names_alike_between_two_hashes_are_not_gone_through() {
        let in_front = denial::hash(Name::parse("www.example.").unwrap().as_wire());
        let label = denial::hash_owner(&in_front, &apex()).unwrap();
        let label = String::from_utf8(label.labels().next().unwrap().to_vec()).unwrap();
        let body: String = (0..4_000).map(|n| format!("{label}x{n:04} A 192.0.2.1\n")).collect();
        let (signer, mut tree) = signed(&format!("www A 192.0.2.1\n{body}"), false);
        let behind = circle(&tree)[&in_front];

        let owner = found(|hash| distance(&in_front, hash) < distance(&in_front, &behind));

        let looks = looks(&signer, &mut tree, &owner);
        assert!(looks < 20 * STEPS, "{looks} looks");
    }

    /// Goal: with next to no hashes among very many names, a hash is found all the same.
    #[test]
    fn delegations_left_out_are_not_gone_through() {
        let body: String = (0..4_000).map(|n| format!("{:04} NS ns.else.\n", n * 2)).collect();
        let below: String = (0..2_000).map(|n| format!("h{n}.7998 A 192.0.2.1\n")).collect();
        let (signer, mut tree) = signed(&format!("{body}{below}www A 192.0.2.1\n"), true);
        assert_eq!(circle(&tree).len(), 2);

        // Around the end, past all of them, and below the delegation that has names below it.
        for wanted in [b'0', b'7', b'9', b'v'] {
            let owner = found(|hash| {
                let owner = denial::hash_owner(hash, &apex()).unwrap();
                owner.labels().next().and_then(|label| label.first().copied()) == Some(wanted)
            });
            let looks = looks(&signer, &mut tree, &owner);
            assert!(looks < 20 * STEPS, "{looks} looks");
        }
    }

    #[test]
    fn distances_go_round() {
        let at = |last: u8| [&[0; 19][..], &[last]].concat().try_into().unwrap();
        let (one, nine): (Hash, Hash) = (at(1), at(9));
        assert_eq!(distance(&one, &nine), at(8));
        assert_eq!(distance(&distance(&one, &nine), &at(8)), at(0));
        let back = distance(&nine, &one);
        assert_eq!((back[0], back[18], back[19]), (0xFF, 0xFF, 0xF8));
        for lot in [[0; 20], [0xFF; 20], [0x5A; 20]] {
            for (from, to) in [(one, nine), (nine, one), (one, [0xFF; 20])] {
                let point = between(&from, &to, lot).unwrap();
                assert!(distance(&from, &point) <= distance(&from, &to) && point != from);
            }
        }
        assert_eq!(between(&one, &one, [7; 20]), None);
    }
}
