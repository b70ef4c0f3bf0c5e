//! A change to a signed zone, signed: only what it touched ([RFC 4035] §2, [RFC 5155] §7.1).
//!
//! Worked out from what a name must have, compared with what it has: its own denial, that of the
//! name before it where one came or went, and signatures. What costs grows with the change; but for
//! a delegation that comes or goes, which costs what stands below it.
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::authority::{Kind, Walk, kind_of};
use super::denial::{self, Hash};
use super::plan::Denial;
use super::remembered::Remembered;
use super::rrsig::Signable;
use super::signer::{SignError, Signer};
use crate::wire::name::LABEL_OCTETS_MAX;
use crate::wire::{Name, RrSet, Type};
use crate::zone::delta::{Delta, Set, SetChange, set_at};
use crate::zone::packed::Node;
use crate::zone::{ReadFault, View};

/// What of a zone is to be made anew, as far as it was looked through.
#[derive(Debug, Default)]
pub struct Due {
    pub owners: Vec<Name>,
    /// Where to go on; none at the end of the zone.
    pub next: Option<Vec<u8>>,
    /// Seconds until the first signature expires of those that are not due.
    pub first_expiry_s: Option<i64>,
}

impl Signer {
    /// What else must change in `view`, which has `changes` already, so that it is signed again.
    ///
    /// # Errors
    ///
    /// [`SignError::Key`] or [`SignError::Unreadable`].
    pub fn touched(&self, view: &dyn View, changes: &[SetChange]) -> Result<Delta, SignError> {
        let view = Remembered::new(view);
        let mut work = Work::new(self, &view);
        work.names.insert(self.apex.clone());
        for change in changes {
            let flips = change.before.is_none() != change.after.is_none();
            if change.rtype == Type::NS && flips && change.owner != self.apex {
                work.add_subtree(&change.owner)?;
            }
            work.names.insert(change.owner.clone());
        }
        work.run(0)
    }

    /// What must change in `view` so that `owners` are signed well, with a window for what will be due.
    ///
    /// # Errors
    ///
    /// [`SignError::Key`] or [`SignError::Unreadable`].
    pub fn renew(
        &self,
        view: &dyn View,
        owners: &[Name],
        window_s: u32,
    ) -> Result<Delta, SignError> {
        let view = Remembered::new(view);
        let mut work = Work::new(self, &view);
        work.names.extend(owners.iter().cloned());
        work.run(window_s)
    }

    /// Looks through at most `nodes` nodes from the key `from` on for what is not signed as it should
    /// be, or not for long enough; stops behind `sets_max` such RRsets.
    ///
    /// # Errors
    ///
    /// [`SignError::Unreadable`].
    pub fn due(
        &self,
        view: &dyn View,
        from: &[u8],
        nodes: usize,
        sets_max: usize,
        window_s: u32,
    ) -> Result<Due, SignError> {
        let mut due = Due::default();
        let mut walk = Walk::default();
        let mut seen = 0;
        let mut sets = 0;
        let mut fault = Ok(());
        view.walk(from, &mut |node| {
            if seen == nodes || sets >= sets_max {
                due.next = Some(node.name().key());
                return ControlFlow::Break(());
            }
            if seen == 0 {
                match kind_of(view, &node.name()) {
                    Ok((Kind::Below, Some(cut))) => walk = Walk::below(&cut),
                    Ok(_) => {}
                    Err(error) => {
                        fault = Err(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            seen += 1;
            let kind = walk.kind(node, &self.apex_wire);
            let count = self.due_sets(node, kind, window_s, &mut due.first_expiry_s);
            if count > 0 {
                sets += count;
                due.owners.push(node.name());
            }
            ControlFlow::Continue(())
        })?;
        fault?;
        Ok(due)
    }

    /// How many sets of a node are not as they should be.
    fn due_sets(
        &self,
        node: Node<'_>,
        kind: Kind,
        window_s: u32,
        first_expiry_s: &mut Option<i64>,
    ) -> usize {
        let owner = node.owner.to_ascii_lowercase();
        let is_due = |set: &crate::zone::packed::RrSetRef<'_>| {
            if !kind.signs(set.rtype) {
                return set.sig_count > 0;
            }
            let rdatas: Vec<&[u8]> = set.rdatas().collect();
            let signable =
                Signable { owner: &owner, rtype: set.rtype, ttl: set.ttl, rdatas: &rdatas };
            let denies = denial::is_denial(set.rtype);
            denies && set.ttl != self.negative_ttl_s
                || !self.is_signed(&signable, set.sigs(), window_s)
        };
        let mut count = 0;
        for set in node.rrsets() {
            if is_due(&set) {
                count += 1;
            } else {
                let expiry = self.first_expiry(set.sigs());
                *first_expiry_s = (*first_expiry_s).into_iter().chain(expiry).min();
            }
        }
        count
    }
}

/// What is worked out for one change.
pub(super) struct Work<'a> {
    pub(super) signer: &'a Signer,
    pub(super) view: &'a dyn View,
    /// Names whose denial and signatures are looked at.
    names: BTreeSet<Name>,
    /// Sets that become other ones, by owner's key; none, the set goes.
    sets: BTreeMap<(Vec<u8>, Type), (Name, Option<RrSet>)>,
    /// NSEC3 RDATA that became other ones; none, the record goes.
    pub(super) hashes: BTreeMap<Hash, Option<Box<[u8]>>>,
}

impl<'a> Work<'a> {
    fn new(signer: &'a Signer, view: &'a dyn View) -> Work<'a> {
        Work {
            signer,
            view,
            names: BTreeSet::new(),
            sets: BTreeMap::new(),
            hashes: BTreeMap::new(),
        }
    }

    fn run(mut self, window_s: u32) -> Result<Delta, SignError> {
        if self.names.contains(&self.signer.apex) {
            self.apex_sets()?;
        }
        let names: Vec<Name> = self.names.iter().cloned().collect();
        match self.signer.plan.policy.denial {
            Denial::Nsec => self.nsec(&names)?,
            Denial::Nsec3 { opt_out } => {
                names.iter().try_for_each(|name| self.nsec3(name, opt_out))?;
                self.put_hashes(&names, opt_out)?;
            }
        }
        self.sign(window_s)
    }

    fn add_subtree(&mut self, top: &Name) -> Result<(), ReadFault> {
        let key = top.key();
        let names = &mut self.names;
        self.view.walk(&key, &mut |node| {
            let owner = node.name();
            if !owner.key().starts_with(&key) {
                return ControlFlow::Break(());
            }
            names.insert(owner);
            ControlFlow::Continue(())
        })
    }

    fn put(&mut self, owner: &Name, rtype: Type, wanted: Option<RrSet>) {
        self.sets.insert((owner.key(), rtype), (owner.clone(), wanted));
    }

    /// What the plan asks for at the apex.
    fn apex_sets(&mut self) -> Result<(), ReadFault> {
        let apex = self.signer.apex.clone();
        let mut there = Vec::new();
        self.view.node(&apex, &mut |node| {
            there = node.rrsets().map(|set| set.rtype).collect();
        })?;
        let wanted = self.signer.apex_sets();
        let to_be = self.signer.digest_to_be().filter(|set| !there.contains(&set.rtype));
        for rtype in there {
            if self.signer.makes(rtype) && !wanted.iter().any(|set| set.rtype == rtype) {
                self.put(&apex, rtype, None);
            }
        }
        wanted.into_iter().chain(to_be).for_each(|set| self.put(&apex, set.rtype, Some(set)));
        Ok(())
    }

    /// The types a name has but for denial, and what it is.
    fn types(&self, name: &Name) -> Result<(Vec<Type>, Kind), ReadFault> {
        let (kind, _) = kind_of(self.view, name)?;
        let mut types = BTreeSet::new();
        self.view.node(name, &mut |node| {
            types.extend(node.rrsets().filter(|set| set.count > 0).map(|set| set.rtype));
        })?;
        let key = name.key();
        for ((_, rtype), (_, set)) in
            self.sets.range((key.clone(), Type(0))..=(key, Type(u16::MAX)))
        {
            match set {
                Some(_) => drop(types.insert(*rtype)),
                None => drop(types.remove(rtype)),
            }
        }
        Ok((types.into_iter().filter(|rtype| !denial::is_denial(*rtype)).collect(), kind))
    }

    // NSEC

    fn nsec(&mut self, names: &[Name]) -> Result<(), ReadFault> {
        let mut members = BTreeSet::new();
        for name in names {
            let (types, kind) = self.types(name)?;
            let was = set_at(self.view, name, Type::NSEC)?.is_some();
            let is = kind != Kind::Below && !types.is_empty();
            if is {
                members.insert(name.clone());
            } else if was {
                self.put(name, Type::NSEC, None);
            }
            if is != was && *name != self.signer.apex {
                members.insert(self.member_before(name)?);
            }
        }
        for member in members {
            let (types, kind) = self.types(&member)?;
            let next = self.member_behind(&member, kind)?;
            let types = denial::listed(types.into_iter(), kind, true);
            let rdata = denial::nsec(next.as_wire(), types);
            let set =
                RrSet::new(member.clone(), Type::NSEC, self.signer.negative_ttl_s, vec![rdata]);
            self.put(&member, Type::NSEC, Some(set));
        }
        Ok(())
    }

    /// The last name before `name` that has an NSEC: one with data that is not below a delegation.
    fn member_before(&self, name: &Name) -> Result<Name, ReadFault> {
        let mut key = name.key();
        loop {
            let Some(before) = self.view.before(&key)? else { return Ok(self.signer.apex.clone()) };
            let mut data = false;
            self.view.node(&before, &mut |node| data = denial::has_data(node))?;
            match kind_of(self.view, &before)? {
                (Kind::Below, Some(cut)) => return Ok(cut),
                _ if data => return Ok(before),
                _ => key = before.key(),
            }
        }
    }

    /// The name that the NSEC of `member` names.
    fn member_behind(&self, member: &Name, kind: Kind) -> Result<Name, ReadFault> {
        let mut key = member.key();
        let mut found = None;
        match kind {
            // Behind all that is below: no label has more octets.
            Kind::Cut => key.extend([u8::MAX; LABEL_OCTETS_MAX + 1]),
            // No name's key goes on with 00: this is the first behind the member's own.
            _ => key.push(0),
        }
        self.view.walk(&key, &mut |node| {
            if !denial::has_data(node) {
                return ControlFlow::Continue(());
            }
            found = Some(node.name());
            ControlFlow::Break(())
        })?;
        Ok(found.unwrap_or_else(|| self.signer.apex.clone()))
    }

    // NSEC3

    /// Brings the NSEC3 of one name, and of the empty non-terminals above it, to what they must be.
    fn nsec3(&mut self, name: &Name, opt_out: bool) -> Result<(), ReadFault> {
        if self.is_hash_owner(name)? {
            return Ok(());
        }
        let wanted = self.listed_if_hashed(name, opt_out)?;
        let hash = denial::hash(name.to_lowercase().as_wire());
        let was = self.hashed(&hash)?;
        match (wanted, was) {
            (Some(types), Some(old)) => self.set_types(hash, &old, types, opt_out),
            (Some(types), None) => {
                self.insert(hash, types, opt_out)?;
                self.insert_above(name, opt_out)?;
            }
            (None, Some(old)) if self.has_hashed_below(name, opt_out)? => {
                self.set_types(hash, &old, Vec::new(), opt_out);
            }
            (None, Some(old)) => {
                self.remove(hash, &old)?;
                self.remove_above(name, opt_out)?;
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn is_hash_owner(&self, name: &Name) -> Result<bool, ReadFault> {
        if denial::hash_of(name, &self.signer.apex).is_none() {
            return Ok(false);
        }
        let mut data = false;
        let found = self.view.node(name, &mut |node| data = denial::has_data(node))?;
        Ok(found && !data)
    }

    /// What the NSEC3 of a name lists; none for a name that gets none for itself.
    fn listed_if_hashed(&self, name: &Name, opt_out: bool) -> Result<Option<Vec<Type>>, ReadFault> {
        let (types, kind) = self.types(name)?;
        let left_out = kind == Kind::Cut && opt_out && !types.contains(&Type::DS);
        if kind == Kind::Below || types.is_empty() || left_out {
            return Ok(None);
        }
        Ok(Some(denial::listed(types.into_iter(), kind, false)))
    }

    /// Whether a name stands above one that has an NSEC3 for itself.
    fn has_hashed_below(&self, name: &Name, opt_out: bool) -> Result<bool, ReadFault> {
        let (Kind::Own, _) = kind_of(self.view, name)? else { return Ok(false) };
        let key = name.key();
        let mut walk = Walk::default();
        let mut found = false;
        self.view.walk(&[key.as_slice(), &[0]].concat(), &mut |node| {
            if !node.name().key().starts_with(&key) {
                return ControlFlow::Break(());
            }
            let kind = walk.kind(node, &self.signer.apex_wire);
            let left_out = kind == Kind::Cut && opt_out && node.rrset(Type::DS).is_none();
            found = kind != Kind::Below && !left_out && denial::has_data(node);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    fn insert_above(&mut self, name: &Name, opt_out: bool) -> Result<(), ReadFault> {
        let mut here = name.parent();
        while let Some(above) = here.filter(|above| above.is_below(&self.signer.apex)) {
            let hash = denial::hash(above.to_lowercase().as_wire());
            if self.hashed(&hash)?.is_some() {
                break;
            }
            self.insert(hash, Vec::new(), opt_out)?;
            here = above.parent();
        }
        Ok(())
    }

    fn remove_above(&mut self, name: &Name, opt_out: bool) -> Result<(), ReadFault> {
        let mut here = name.parent();
        while let Some(above) = here.filter(|above| above.is_below(&self.signer.apex)) {
            let stays = self.listed_if_hashed(&above, opt_out)?.is_some()
                || self.has_hashed_below(&above, opt_out)?;
            let hash = denial::hash(above.to_lowercase().as_wire());
            match self.hashed(&hash)? {
                Some(old) if !stays => self.remove(hash, &old)?,
                _ => break,
            }
            here = above.parent();
        }
        Ok(())
    }

    /// The NSEC3 RDATA under a hash as they are by now.
    pub(super) fn hashed(&self, hash: &Hash) -> Result<Option<Box<[u8]>>, ReadFault> {
        if let Some(edit) = self.hashes.get(hash) {
            return Ok(edit.clone());
        }
        let Some(owner) = denial::hash_owner(hash, &self.signer.apex) else { return Ok(None) };
        let set = set_at(self.view, &owner, Type::NSEC3)?;
        Ok(set.and_then(|set| set.rrset.rdatas().first().cloned()))
    }

    fn set_types(&mut self, hash: Hash, old: &[u8], types: Vec<Type>, opt_out: bool) {
        let next = denial::next_of(old).unwrap_or(hash);
        self.hashes.insert(hash, Some(denial::nsec3(opt_out, &next, types)));
    }

    fn insert(&mut self, hash: Hash, types: Vec<Type>, opt_out: bool) -> Result<(), ReadFault> {
        let mut next = hash;
        if let Some((before, old)) = self.hash_before(&hash)? {
            next = denial::next_of(&old).unwrap_or(before);
            self.hashes.insert(before, Some(denial::with_next(&old, &hash)));
        }
        self.hashes.insert(hash, Some(denial::nsec3(opt_out, &next, types)));
        Ok(())
    }

    fn remove(&mut self, hash: Hash, old: &[u8]) -> Result<(), ReadFault> {
        self.hashes.insert(hash, None);
        if let (Some(next), Some((before, rdata))) =
            (denial::next_of(old), self.hash_before(&hash)?)
        {
            self.hashes.insert(before, Some(denial::with_next(&rdata, &next)));
        }
        Ok(())
    }

    /// Makes sets of the NSEC3 that changed, and of those at `names` whose TTL or flags are outdated.
    fn put_hashes(&mut self, names: &[Name], opt_out: bool) -> Result<(), SignError> {
        for name in names {
            if self.is_hash_owner(name)?
                && let Some(hash) = denial::hash_of(name, &self.signer.apex)
                && let Some(old) = self.hashed(&hash)?
            {
                let mut rdata = old;
                if let Some(flags) = rdata.get_mut(1) {
                    *flags = u8::from(opt_out);
                }
                self.hashes.insert(hash, Some(rdata));
            }
        }
        for (hash, edit) in std::mem::take(&mut self.hashes) {
            let owner = denial::hash_owner(&hash, &self.signer.apex).ok_or(SignError::LongApex)?;
            let ttl = self.signer.negative_ttl_s;
            let set = edit.map(|rdata| RrSet::new(owner.clone(), Type::NSEC3, ttl, vec![rdata]));
            self.put(&owner, Type::NSEC3, set);
        }
        Ok(())
    }

    // Signatures

    fn sign(self, window_s: u32) -> Result<Delta, SignError> {
        let mut names = self.names;
        names.extend(self.sets.values().map(|(owner, _)| owner.clone()));
        let mut changes = Vec::new();
        let mut scratch = Vec::new();
        for name in &names {
            let (kind, _) = kind_of(self.view, name)?;
            let mut befores = BTreeMap::new();
            self.view.node(name, &mut |node| {
                let sets = node.rrsets().map(|set| (set.rtype, Set::of(&node.name(), set)));
                befores.extend(sets);
            })?;
            let key = name.key();
            let edits = self.sets.range((key.clone(), Type(0))..=(key, Type(u16::MAX)));
            let mut afters: BTreeMap<Type, Set> = befores.clone();
            for ((_, rtype), (_, wanted)) in edits {
                match wanted {
                    Some(rrset) if afters.get(rtype).is_some_and(|old| old.rrset == *rrset) => {}
                    Some(rrset) => {
                        let set = Set { rrset: rrset.clone(), sigs: Vec::new() };
                        afters.insert(*rtype, set);
                    }
                    None => drop(afters.remove(rtype)),
                }
            }
            let owner = name.to_lowercase();
            for set in afters.values_mut() {
                set.sigs = self.signer.sigs(&owner, kind, set, window_s, &mut scratch)?;
            }
            let types: BTreeSet<Type> = befores.keys().chain(afters.keys()).copied().collect();
            for rtype in types {
                let (before, after) = (befores.remove(&rtype), afters.remove(&rtype));
                if before != after {
                    changes.push(SetChange { owner: name.clone(), rtype, before, after });
                }
            }
        }
        Ok(Delta::new(changes))
    }
}

impl Signer {
    fn sigs(
        &self,
        owner: &Name,
        kind: Kind,
        set: &Set,
        window_s: u32,
        scratch: &mut Vec<u8>,
    ) -> Result<Vec<Box<[u8]>>, SignError> {
        if !kind.signs(set.rrset.rtype) {
            return Ok(Vec::new());
        }
        let rdatas: Vec<&[u8]> = set.rrset.rdatas().iter().map(AsRef::as_ref).collect();
        let signable = Signable {
            owner: owner.as_wire(),
            rtype: set.rrset.rtype,
            ttl: set.rrset.ttl,
            rdatas: &rdatas,
        };
        let old = || set.sigs.iter().map(AsRef::as_ref);
        if self.is_signed(&signable, old(), window_s) {
            return Ok(set.sigs.clone());
        }
        self.sign(&signable, old(), window_s, scratch)
    }
}
