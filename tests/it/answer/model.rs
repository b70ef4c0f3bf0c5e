//! The plain model: RFC 1034 §4.3.2 with RFC 2308, 4035, 4592, 5155, 6672 and 9471, over plain maps,
//! step by step and without any cleverness.

use std::collections::BTreeSet;

use nameplane::wire::{Name, Type};
use sha1::{Digest, Sha1};

use super::decode::{Record, Said};
use super::{Set, Zone};

pub struct Model<'z> {
    pub zones: &'z [Zone],
}

struct Turn<'z> {
    said: Said,
    dnssec: bool,
    qtype: Type,
    zones: &'z [Zone],
}

enum Next {
    Done,
    Chase(Name),
}

impl Model<'_> {
    /// What must be said. ANY and RRSIG are for the caller to judge.
    pub fn ask(&self, qname: &Name, qtype: Type, dnssec: bool) -> Said {
        let mut turn = Turn { said: Said::default(), dnssec, qtype, zones: self.zones };
        let mut name = qname.to_lowercase();
        let mut seen = vec![name.clone()];
        for step in 0..=16 {
            let Some(zone) = turn.zone_for(&name) else {
                if step == 0 {
                    turn.said.rcode = 5;
                }
                break;
            };
            match turn.step(zone, &name) {
                Next::Done => break,
                Next::Chase(target) if seen.contains(&target) => break,
                Next::Chase(target) => {
                    seen.push(target.clone());
                    name = target;
                }
            }
        }
        turn.said
    }
}

fn above(name: &Name) -> Vec<Name> {
    let mut names = vec![name.clone()];
    while let Some(parent) = names[names.len() - 1].parent() {
        names.push(parent);
    }
    names
}

/// Whether the name has records of its own, NSEC3 not counted.
fn has_records(zone: &Zone, name: &Name) -> bool {
    zone.nodes.get(name).is_some_and(|sets| sets.keys().any(|&rtype| Type(rtype) != Type::NSEC3))
}

fn exists(zone: &Zone, name: &Name) -> bool {
    zone.nodes.keys().any(|owner| owner.is_at_or_below(name) && has_records(zone, owner))
}

fn target(set: &Set) -> Name {
    Name::from_wire(&set.rdatas[0]).unwrap()
}

impl<'z> Turn<'z> {
    fn zone_for(&self, name: &Name) -> Option<&'z Zone> {
        let mut holders: Vec<&Zone> =
            self.zones.iter().filter(|zone| name.is_at_or_below(&zone.apex)).collect();
        holders.sort_by_key(|zone| zone.apex.label_count());
        let deepest = holders.pop()?;
        if self.qtype == Type::DS && deepest.apex == *name {
            return Some(holders.pop().unwrap_or(deepest));
        }
        Some(deepest)
    }

    fn step(&mut self, zone: &'z Zone, name: &Name) -> Next {
        // Down from the apex: cuts and DNAMEs on the way.
        let mut path: Vec<Name> =
            above(name).into_iter().filter(|it| it.is_at_or_below(&zone.apex)).collect();
        path.reverse();
        for here in &path {
            let is_cut = *here != zone.apex && zone.set(here, Type::NS).is_some();
            if is_cut && !(here == name && self.qtype == Type::DS) {
                self.refer(zone, here);
                return Next::Done;
            }
            if is_cut {
                break;
            }
            if here != name
                && let Some(set) = zone.set(here, Type::DNAME)
            {
                return self.dname(zone, here, set, name);
            }
        }
        self.said.aa = true;
        if exists(zone, name) {
            return self.answer(zone, name, name, None);
        }
        let encloser = path.iter().rev().find(|here| exists(zone, here)).unwrap().clone();
        let star = encloser.child(b"*").unwrap();
        if exists(zone, &star) {
            return self.answer(zone, &star, name, Some(&encloser));
        }
        self.said.rcode = 3;
        self.soa(zone);
        self.prove_name(zone, name, &encloser);
        Next::Done
    }

    fn answer(
        &mut self,
        zone: &'z Zone,
        node: &Name,
        owner: &Name,
        encloser: Option<&Name>,
    ) -> Next {
        let star_cut = encloser.is_some() && zone.set(node, Type::NS).is_some();
        let set = zone.set(node, self.qtype).filter(|_| !star_cut);
        // NSEC3 owners are no names; NSEC of a zone that uses NSEC3 is not answered.
        let set = set.filter(|_| self.qtype != Type::NSEC3);
        let set = set.filter(|_| self.qtype != Type::NSEC || denial(zone) == Some(Type::NSEC));
        if let Some(set) = set {
            self.put(Where::Answer, owner, self.qtype, set);
            self.prove_closer(zone, owner, encloser);
            return Next::Done;
        }
        if let Some(set) =
            zone.set(node, Type::CNAME).filter(|_| !star_cut && self.qtype != Type::NSEC)
        {
            self.put(Where::Answer, owner, Type::CNAME, set);
            self.prove_closer(zone, owner, encloser);
            return Next::Chase(target(set).to_lowercase());
        }
        self.soa(zone);
        match encloser {
            None => self.prove_type(zone, node),
            Some(encloser) => self.prove_name(zone, owner, encloser),
        }
        Next::Done
    }

    fn dname(&mut self, zone: &'z Zone, at: &Name, set: &'z Set, name: &Name) -> Next {
        self.said.aa = true;
        self.put(Where::Answer, at, Type::DNAME, set);
        let prefix = &name.as_wire()[..name.as_wire().len() - at.as_wire().len()];
        let Ok(to) = Name::from_wire(&[prefix, target(set).as_wire()].concat()) else {
            self.said.rcode = 6;
            return Next::Done;
        };
        let cname =
            Set { ttl: set.ttl, rdatas: vec![to.to_lowercase().as_wire().to_vec()], sigs: vec![] };
        self.put(Where::Answer, name, Type::CNAME, &cname);
        let _ = zone;
        match self.qtype {
            Type::CNAME | Type::ANY => Next::Done,
            _ => Next::Chase(to.to_lowercase()),
        }
    }

    fn refer(&mut self, zone: &'z Zone, cut: &Name) {
        let ns = zone.set(cut, Type::NS).unwrap();
        let bare = Set { sigs: vec![], ..ns.clone() };
        self.put(Where::Authority, cut, Type::NS, &bare);
        if self.dnssec {
            match zone.set(cut, Type::DS) {
                // Unsigned, it is of no use to anyone.
                Some(ds) if ds.sigs.is_empty() => {}
                Some(ds) => self.put(Where::Authority, cut, Type::DS, ds),
                None => self.prove_type(zone, cut),
            }
        }
        for rdata in &ns.rdatas {
            let server = Name::from_wire(rdata).unwrap().to_lowercase();
            if server.is_at_or_below(cut) {
                self.put_addresses(zone, &server, false);
            } else if server.is_at_or_below(&zone.apex) {
                self.sibling(&server);
            }
        }
    }

    /// Addresses of a server elsewhere in the zone, from whichever zone here has the name.
    fn sibling(&mut self, server: &Name) {
        let mut holders: Vec<&Zone> =
            self.zones.iter().filter(|zone| server.is_at_or_below(&zone.apex)).collect();
        holders.sort_by_key(|zone| zone.apex.label_count());
        let Some(zone) = holders.pop() else { return };
        let mut path: Vec<Name> =
            above(server).into_iter().filter(|it| it.is_at_or_below(&zone.apex)).collect();
        path.reverse();
        for here in &path {
            if *here != zone.apex && zone.set(here, Type::NS).is_some() {
                self.put_addresses(zone, server, false);
                return;
            }
            if here != server && zone.set(here, Type::DNAME).is_some() {
                return;
            }
        }
        self.put_addresses(zone, server, true);
    }

    fn put_addresses(&mut self, zone: &Zone, server: &Name, sigs: bool) {
        for rtype in [Type::A, Type::AAAA] {
            if let Some(set) = zone.set(server, rtype) {
                let sigs = if sigs { set.sigs.clone() } else { vec![] };
                self.put(Where::Additional, server, rtype, &Set { sigs, ..set.clone() });
            }
        }
    }

    fn soa(&mut self, zone: &Zone) {
        if let Some(soa) = zone.set(&zone.apex, Type::SOA) {
            let rdata = &soa.rdatas[0];
            let minimum = u32::from_be_bytes(rdata[rdata.len() - 4..].try_into().unwrap());
            let soa = Set { ttl: soa.ttl.min(minimum), ..soa.clone() };
            self.put(Where::Authority, &zone.apex, Type::SOA, &soa);
        }
    }

    fn put(&mut self, section: Where, owner: &Name, rtype: Type, set: &Set) {
        let section = match section {
            Where::Answer => &mut self.said.answer,
            Where::Authority => &mut self.said.authority,
            Where::Additional => &mut self.said.additional,
        };
        let sigs = set.sigs.iter().filter(|_| self.dnssec).map(|sig| (Type::RRSIG, sig));
        for (rtype, rdata) in set.rdatas.iter().map(|rdata| (rtype, rdata)).chain(sigs) {
            section.insert(Record {
                owner: owner.to_lowercase(),
                rtype: rtype.0,
                ttl: set.ttl,
                rdata: rdata.clone(),
            });
        }
    }

    /// RFC 4035 §3.1.3.1, RFC 5155 §7.2.3, §7.2.4 and §7.2.7.
    fn prove_type(&mut self, zone: &Zone, name: &Name) {
        match denial(zone) {
            Some(Type::NSEC) => self.nsec(zone, name),
            Some(_) if nsec3_at(zone, name).is_some() => {
                self.nsec3_match(zone, name);
            }
            Some(_) => drop(self.nsec3_encloser(zone, name)),
            None => {}
        }
    }

    /// RFC 4035 §3.1.3.2 and §3.1.3.4, RFC 5155 §7.2.2 and §7.2.5.
    fn prove_name(&mut self, zone: &Zone, name: &Name, encloser: &Name) {
        let star = encloser.child(b"*").unwrap();
        match denial(zone) {
            Some(Type::NSEC) => {
                self.nsec(zone, name);
                self.nsec(zone, &star);
            }
            Some(_) => {
                let below =
                    above(name).into_iter().find(|it| it.parent().as_ref() == Some(encloser));
                // With opt-out, an encloser that only exists because of insecure delegations has no
                // record: the wildcard denied is the one below what can be proven.
                let provable = self.nsec3_encloser(zone, &below.unwrap());
                self.nsec3(zone, &provable.child(b"*").unwrap());
            }
            None => {}
        }
    }

    /// RFC 4035 §3.1.3.3, RFC 5155 §7.2.6.
    fn prove_closer(&mut self, zone: &Zone, name: &Name, encloser: Option<&Name>) {
        let Some(encloser) = encloser else { return };
        match denial(zone) {
            Some(Type::NSEC) => self.nsec(zone, name),
            Some(_) => {
                let below =
                    above(name).into_iter().find(|it| it.parent().as_ref() == Some(encloser));
                self.nsec3(zone, &below.unwrap());
            }
            None => {}
        }
    }

    /// The NSEC at or before a name.
    fn nsec(&mut self, zone: &Zone, name: &Name) {
        let mut signed = zone.nodes.iter().filter(|(_, sets)| sets.contains_key(&Type::NSEC.0));
        let before = signed.rfind(|(owner, _)| *owner <= name);
        let (owner, sets) = before.unwrap();
        self.put_proof(owner, Type::NSEC, &sets[&Type::NSEC.0]);
    }

    /// The NSEC3 that matches or covers a name.
    fn nsec3(&mut self, zone: &Zone, name: &Name) {
        let hash = hashed_owner(zone, name);
        let all: Vec<_> =
            zone.nodes.iter().filter(|(_, sets)| sets.contains_key(&Type::NSEC3.0)).collect();
        let before = all.iter().rfind(|(owner, _)| **owner <= hash).or(all.last());
        let (owner, sets) = before.unwrap();
        self.put_proof(owner, Type::NSEC3, &sets[&Type::NSEC3.0]);
    }

    fn nsec3_match(&mut self, zone: &Zone, name: &Name) -> bool {
        match nsec3_at(zone, name) {
            Some(set) => {
                self.put_proof(&hashed_owner(zone, name), Type::NSEC3, set);
                true
            }
            None => false,
        }
    }

    /// Proves the closest encloser of `name` that can be proven, and what covers the name below it.
    fn nsec3_encloser(&mut self, zone: &Zone, name: &Name) -> Name {
        let names = above(name);
        for pair in names.windows(2) {
            if self.nsec3_match(zone, &pair[1]) {
                self.nsec3(zone, &pair[0]);
                return pair[1].clone();
            }
        }
        zone.apex.clone()
    }

    fn put_proof(&mut self, owner: &Name, rtype: Type, set: &Set) {
        if self.dnssec {
            self.put(Where::Authority, owner, rtype, set);
        }
    }
}

#[derive(Clone, Copy)]
enum Where {
    Answer,
    Authority,
    Additional,
}

/// How a zone denies.
fn denial(zone: &Zone) -> Option<Type> {
    if zone.set(&zone.apex, Type::NSEC3PARAM).is_some() {
        return Some(Type::NSEC3);
    }
    zone.set(&zone.apex, Type::NSEC).map(|_| Type::NSEC)
}

/// The owner of the NSEC3 record that would match a name.
pub fn hashed_owner(zone: &Zone, name: &Name) -> Name {
    let params = &zone.set(&zone.apex, Type::NSEC3PARAM).unwrap().rdatas[0];
    let iterations = u16::from_be_bytes([params[2], params[3]]);
    let salt = &params[5..];
    let mut hash = Sha1::digest([name.to_lowercase().as_wire(), salt].concat());
    for _ in 0..iterations {
        hash = Sha1::digest([&hash, salt].concat());
    }
    let mut bits = BTreeSet::new();
    for (at, octet) in hash.iter().enumerate() {
        (0..8).filter(|bit| octet << bit & 0x80 != 0).for_each(|bit| {
            let _ = bits.insert(8 * at + bit);
        });
    }
    let digit = |at: usize| {
        let value =
            (0..5).fold(0, |value, bit| value << 1 | usize::from(bits.contains(&(5 * at + bit))));
        b"0123456789abcdefghijklmnopqrstuv"[value]
    };
    let label: Vec<u8> = (0..32).map(digit).collect();
    zone.apex.child(&label).unwrap()
}

fn nsec3_at<'z>(zone: &'z Zone, name: &Name) -> Option<&'z Set> {
    zone.set(&hashed_owner(zone, name), Type::NSEC3)
}
