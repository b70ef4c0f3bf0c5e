//! A whole zone signed in one go: its people's records come in, all of it signed goes out.
//!
//! Signatures that are there already and still good stay as they are, so signing again what is
//! signed costs reading it.

use super::authority::{Kind, Walk};
use super::denial::{self, Hash};
use super::plan::Denial;
use super::rrsig::Signable;
use super::signer::{SignError, Signer};
use crate::wire::name::canonical_cmp;
use crate::wire::{RrSet, Type};
use crate::zone::packed::{self, Node, Packer, RrSetRef};

/// A signed zone.
#[derive(Debug)]
pub struct Signed {
    /// [Packed](crate::zone::packed) nodes.
    pub octets: Vec<u8>,
    /// Seconds until the first signature expires.
    pub first_expiry_s: i64,
    /// How many signatures were made.
    pub made: usize,
}

/// A name of the zone, and what it is.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: Node<'a>,
    kind: Kind,
}

/// An NSEC3 to be: its hash, and what follows from the name it is for.
struct Hashed {
    hash: Hash,
    types: Vec<Type>,
}

/// An RRset on its way into a node: as it stands in the zone, or as the signer wants it.
enum Item<'a> {
    Kept(RrSetRef<'a>),
    Made { rtype: Type, ttl: u32, rdatas: Vec<Box<[u8]>>, old: Option<RrSetRef<'a>> },
}

impl Item<'_> {
    fn rtype(&self) -> Type {
        match self {
            Item::Kept(set) => set.rtype,
            Item::Made { rtype, .. } => *rtype,
        }
    }
}

impl Signer {
    /// Signs the zone whose nodes are `octets`, in canonical order.
    ///
    /// # Errors
    ///
    /// [`SignError::Key`] or [`SignError::LongApex`].
    pub fn whole(&self, octets: &[u8]) -> Result<Signed, SignError> {
        let apex_sets = self.apex_sets();
        let places = self.survey(octets);
        let hashed = match self.plan.policy.denial {
            Denial::Nsec => Vec::new(),
            Denial::Nsec3 { opt_out } => self.hashes(&places, &apex_sets, opt_out),
        };
        let mut output = Output::new(self, octets.len());
        let mut hashes = self.nsec3s(&hashed, octets)?.into_iter().peekable();
        for (number, place) in places.iter().enumerate() {
            while let Some((owner, item)) = hashes
                .next_if(|(owner, _)| canonical_cmp(owner.as_wire(), place.node.owner).is_lt())
            {
                output.node(owner.as_wire(), Kind::Own, vec![item])?;
            }
            let mut items = self.items(place, &apex_sets);
            if let Some((_, item)) =
                hashes.next_if(|(owner, _)| owner.as_wire().eq_ignore_ascii_case(place.node.owner))
            {
                items.push(item);
            }
            if self.plan.policy.denial == Denial::Nsec && place.kind != Kind::Below {
                let next = self.next_owner(&places, number);
                items.push(self.nsec(place, next, &items));
            }
            output.node(place.node.owner, place.kind, items)?;
        }
        for (owner, item) in hashes {
            output.node(owner.as_wire(), Kind::Own, vec![item])?;
        }
        Ok(output.finish())
    }

    /// The names that have records of their own, with what they are.
    fn survey<'a>(&self, octets: &'a [u8]) -> Vec<Place<'a>> {
        let mut walk = Walk::default();
        let named = packed::nodes(octets).filter(|node| denial::has_data(*node));
        named.map(|node| Place { node, kind: walk.kind(node, &self.apex_wire) }).collect()
    }

    /// The sets of a name but for its denial.
    fn items<'a>(&self, place: &Place<'a>, apex_sets: &[RrSet]) -> Vec<Item<'a>> {
        let is_apex = self.is_apex(place.node);
        let own = |set: &RrSetRef<'_>| {
            !(denial::is_denial(set.rtype) || is_apex && self.makes(set.rtype))
        };
        let mut items: Vec<Item<'a>> = place.node.rrsets().filter(own).map(Item::Kept).collect();
        if is_apex {
            items.extend(apex_sets.iter().map(|set| Item::Made {
                rtype: set.rtype,
                ttl: set.ttl,
                rdatas: set.rdatas().to_vec(),
                old: place.node.rrset(set.rtype),
            }));
            let to_be = self.digest_to_be().filter(|set| place.node.rrset(set.rtype).is_none());
            items.extend(to_be.map(|set| Item::Made {
                rtype: set.rtype,
                ttl: set.ttl,
                rdatas: set.rdatas().to_vec(),
                old: None,
            }));
        }
        items
    }

    pub(super) fn is_apex(&self, node: Node<'_>) -> bool {
        node.owner.eq_ignore_ascii_case(&self.apex_wire)
    }

    /// Whose name an NSEC of the place names: the next that is not below a delegation, or the apex.
    fn next_owner<'a>(&'a self, places: &[Place<'a>], number: usize) -> &'a [u8] {
        let behind = places.get(number + 1..).unwrap_or_default();
        let next = behind.iter().find(|place| place.kind != Kind::Below);
        next.map_or(&self.apex_wire, |place| place.node.owner)
    }

    fn nsec<'a>(&self, place: &Place<'a>, next: &[u8], items: &[Item<'a>]) -> Item<'a> {
        let types = denial::listed(items.iter().map(Item::rtype), place.kind, true);
        Item::Made {
            rtype: Type::NSEC,
            ttl: self.negative_ttl_s,
            rdatas: vec![denial::nsec(next, types)],
            old: place.node.rrset(Type::NSEC),
        }
    }

    /// What NSEC3 is to be made for, in order of hash: names, and empty non-terminals above them.
    fn hashes(&self, places: &[Place<'_>], apex_sets: &[RrSet], opt_out: bool) -> Vec<Hashed> {
        let mut hashed: Vec<Hashed> = Vec::with_capacity(places.len());
        let mut above: Option<Vec<u8>> = None;
        for place in places {
            let insecure = place.kind == Kind::Cut && place.node.rrset(Type::DS).is_none();
            if place.kind == Kind::Below || opt_out && insecure {
                continue;
            }
            let wire = place.node.owner.to_ascii_lowercase();
            for empty in empty_above(&wire, above.as_deref(), self.apex_wire.len()) {
                hashed.push(Hashed { hash: denial::hash(empty), types: Vec::new() });
            }
            let types = match self.is_apex(place.node) {
                true => self.items(place, apex_sets).iter().map(Item::rtype).collect(),
                false => place.node.rrsets().map(|set| set.rtype).collect::<Vec<Type>>(),
            };
            let own = types.into_iter().filter(|rtype| !denial::is_denial(*rtype));
            let types = denial::listed(own, place.kind, false);
            hashed.push(Hashed { hash: denial::hash(&wire), types });
            above = Some(wire);
        }
        hashed.sort_by_key(|each| each.hash);
        hashed
    }

    /// The NSEC3 of every hash, in order of their owners, which is that of the hashes.
    fn nsec3s<'a>(
        &self,
        hashed: &[Hashed],
        octets: &'a [u8],
    ) -> Result<Vec<(crate::wire::Name, Item<'a>)>, SignError> {
        let Denial::Nsec3 { opt_out } = self.plan.policy.denial else { return Ok(Vec::new()) };
        let mut olds = packed::nodes(octets)
            .filter(|node| denial::may_be_hashed(node.owner))
            .filter_map(|node| Some((denial::hash_of(&node.name(), &self.apex)?, node)))
            .peekable();
        let next = hashed.iter().skip(1).chain(hashed.first());
        let made = hashed.iter().zip(next).map(|(each, next)| {
            while olds.next_if(|(hash, _)| *hash < each.hash).is_some() {}
            let old = olds.next_if(|(hash, _)| *hash == each.hash);
            let owner = denial::hash_owner(&each.hash, &self.apex).ok_or(SignError::LongApex)?;
            let item = Item::Made {
                rtype: Type::NSEC3,
                ttl: self.negative_ttl_s,
                rdatas: vec![denial::nsec3(opt_out, &next.hash, each.types.clone())],
                old: old.and_then(|(_, node)| node.rrset(Type::NSEC3)),
            };
            Ok((owner, item))
        });
        made.collect()
    }
}

/// The names strictly between `wire` and the apex that no name before it is at or below.
///
/// `above` is the name before it in canonical order; all names in lower-case wire form.
fn empty_above<'n>(wire: &'n [u8], above: Option<&[u8]>, apex_len: usize) -> Vec<&'n [u8]> {
    let mut empty = Vec::new();
    let mut here = wire;
    while let Some(&len) = here.first() {
        here = here.get(1 + usize::from(len)..).unwrap_or_default();
        let known = |above: &[u8]| above.ends_with(here) && is_label_cut(above, here.len());
        if here.len() <= apex_len || above.is_some_and(known) {
            break;
        }
        empty.push(here);
    }
    empty
}

/// Whether a label of `wire` begins so many octets before its end.
fn is_label_cut(wire: &[u8], from_end: usize) -> bool {
    let mut rest = wire;
    while rest.len() > from_end {
        let Some(&len) = rest.first() else { return false };
        rest = rest.get(1 + usize::from(len)..).unwrap_or_default();
    }
    rest.len() == from_end
}

/// The nodes as they are written.
struct Output<'s> {
    signer: &'s Signer,
    packer: Packer,
    first_expiry_s: Option<i64>,
    made: usize,
    scratch: Vec<u8>,
    owner: Vec<u8>,
}

impl<'s> Output<'s> {
    fn new(signer: &'s Signer, octets: usize) -> Output<'s> {
        Output {
            signer,
            packer: Packer::with_capacity(octets * 2),
            first_expiry_s: None,
            made: 0,
            scratch: Vec::new(),
            owner: Vec::new(),
        }
    }

    fn node(
        &mut self,
        owner: &[u8],
        kind: Kind,
        mut items: Vec<Item<'_>>,
    ) -> Result<(), SignError> {
        items.sort_by_key(Item::rtype);
        self.packer.node(owner);
        self.owner.clear();
        self.owner.extend(owner.iter().map(u8::to_ascii_lowercase));
        for item in items {
            match item {
                Item::Kept(set) => {
                    let rdatas: Vec<&[u8]> = set.rdatas().collect();
                    self.set(kind, set.rtype, set.ttl, &rdatas, Some(set))?;
                }
                Item::Made { rtype, ttl, rdatas, old } => {
                    let rdatas: Vec<&[u8]> = rdatas.iter().map(AsRef::as_ref).collect();
                    let same = |old: &RrSetRef<'_>| {
                        old.ttl == ttl && old.rdatas().eq(rdatas.iter().copied())
                    };
                    self.set(kind, rtype, ttl, &rdatas, old.filter(same))?;
                }
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        kind: Kind,
        rtype: Type,
        ttl: u32,
        rdatas: &[&[u8]],
        old: Option<RrSetRef<'_>>,
    ) -> Result<(), SignError> {
        if !kind.signs(rtype) {
            self.packer.rrset(rtype, ttl, rdatas.iter().copied(), []);
            return Ok(());
        }
        let set = Signable { owner: &self.owner, rtype, ttl, rdatas };
        let olds: Vec<&[u8]> = old.into_iter().flat_map(RrSetRef::sigs).collect();
        let sigs = self.signer.sign(&set, olds.iter().copied(), 0, &mut self.scratch)?;
        self.made += sigs.iter().filter(|sig| !olds.contains(&sig.as_ref())).count();
        let expiry = self.signer.first_expiry(sigs.iter().map(AsRef::as_ref));
        self.first_expiry_s = self.first_expiry_s.into_iter().chain(expiry).min();
        self.packer.rrset(rtype, ttl, rdatas.iter().copied(), sigs.iter().map(AsRef::as_ref));
        Ok(())
    }

    fn finish(self) -> Signed {
        Signed {
            octets: self.packer.finish(),
            first_expiry_s: self.first_expiry_s.unwrap_or(0),
            made: self.made,
        }
    }
}
