//! Deltas: the step from one version of a zone to the next, RRset by RRset.
//!
//! In memory a delta knows each changed RRset before and after. Written down ([`Step`]) it is what
//! IXFR sends: records taken out and records put in, each as [packed](super::packed) nodes, with
//! the SOA among them ([RFC 1995] §4). A set whose TTL changes goes out and comes in as a whole.
//!
//! Promises: no change that changes nothing; canonical order of owners, then of types.
//!
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

use std::ops::ControlFlow;

use super::edit::same_set;
use super::packed::{self, Node, Packer, RrSetRef};
use super::{ReadFault, View, serial};
use crate::wire::{Name, RrSet, Serial, Type};

/// An RRset with the RDATA of the RRSIG records that cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub rrset: RrSet,
    pub sigs: Vec<Box<[u8]>>,
}

/// One RRset before and after; never the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    pub owner: Name,
    pub rtype: Type,
    pub before: Option<Set>,
    pub after: Option<Set>,
}

/// All changed RRsets between two versions, in canonical order of owners, then by type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    pub changes: Vec<SetChange>,
}

/// A delta as the journal keeps it: from one serial to the next, what goes and what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub from: Serial,
    pub to: Serial,
    /// Packed nodes; a set may have signatures and no records.
    pub dels: Vec<u8>,
    /// Packed nodes; a set may have signatures and no records.
    pub adds: Vec<u8>,
}

impl Set {
    /// An owned copy of a packed set.
    pub fn of(owner: &Name, set: RrSetRef<'_>) -> Set {
        Set { rrset: set.to_owned(owner), sigs: set.sigs().map(Into::into).collect() }
    }

    /// Gives a SOA another serial; its signatures no longer hold.
    pub fn set_serial(&mut self, serial: Serial) {
        let rdatas = self.rrset.rdatas().iter().map(|rdata| serial::with_serial(rdata, serial));
        let (owner, ttl) = (self.rrset.owner.clone(), self.rrset.ttl);
        self.rrset = RrSet::new(owner, Type::SOA, ttl, rdatas.collect());
        self.sigs.clear();
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.rrset.rdatas().iter().map(AsRef::as_ref)
    }

    fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.sigs.iter().map(AsRef::as_ref)
    }
}

impl SetChange {
    /// Whether both sides hold the same records with the same TTL and signatures.
    pub fn is_nothing(&self) -> bool {
        self.before == self.after
    }

    /// Whether this is a SOA that changes its serial, or its signatures, and nothing else.
    pub fn is_serial_only(&self) -> bool {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        self.rtype == Type::SOA
            && before.is_some()
            && same_set(before.map(|set| &set.rrset), after.map(|set| &set.rrset))
    }
}

impl SetChange {
    /// Whether this changes nothing but what a signer makes: a serial, signatures, denial, a digest.
    pub fn is_for_signing(&self) -> bool {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        self.is_serial_only()
            || matches!(self.rtype, Type::NSEC | Type::NSEC3 | Type::ZONEMD)
            || before.map(|set| &set.rrset) == after.map(|set| &set.rrset)
    }
}

impl Delta {
    /// This delta and the `next`, as one.
    #[must_use]
    pub fn then(self, next: Delta) -> Delta {
        let key = |change: &SetChange| (change.owner.key(), change.rtype);
        let mut all: std::collections::BTreeMap<_, SetChange> =
            self.changes.into_iter().map(|change| (key(&change), change)).collect();
        for change in next.changes {
            match all.entry(key(&change)) {
                std::collections::btree_map::Entry::Occupied(mut slot) => {
                    slot.get_mut().after = change.after;
                }
                std::collections::btree_map::Entry::Vacant(slot) => drop(slot.insert(change)),
            }
        }
        Delta::new(all.into_values().collect())
    }

    /// Sorts changes, dropping those that change nothing.
    pub fn new(mut changes: Vec<SetChange>) -> Delta {
        changes.retain(|change| !change.is_nothing());
        changes.sort_by_cached_key(|change| (change.owner.key(), change.rtype));
        Delta { changes }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The owners of changed RRsets, each once.
    pub fn owners(&self) -> Vec<Name> {
        let mut owners: Vec<Name> =
            self.changes.iter().map(|change| change.owner.clone()).collect();
        owners.dedup();
        owners
    }

    /// Drops a SOA that brings nothing but a serial that is not ahead.
    pub fn drop_older_serial(&mut self) {
        let serial = |set: &Option<Set>| set.as_ref().and_then(|set| set.rrset.soa_serial());
        self.changes.retain(|change| {
            let ahead = match (serial(&change.before), serial(&change.after)) {
                (Some(before), Some(after)) => before.is_before(after),
                _ => true,
            };
            ahead || !change.is_serial_only()
        });
    }

    /// What turns `old` into `new`, which are versions of one zone; none if that is more than
    /// `limit` RRsets.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when either cannot be read.
    pub fn between(
        old: &dyn View,
        new: &dyn View,
        limit: usize,
    ) -> Result<Option<Delta>, ReadFault> {
        let (mut olds, mut news) = (Pages::new(old), Pages::new(new));
        let mut changes = Vec::new();
        loop {
            let order = match (olds.key()?, news.key()?) {
                (None, None) => return Ok(Some(Delta { changes })),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            let before = if order.is_le() { olds.next() } else { None };
            let after = if order.is_ge() { news.next() } else { None };
            compare_nodes(before.as_deref(), after.as_deref(), &mut changes);
            if changes.len() > limit {
                return Ok(None);
            }
        }
    }

    /// Numbers the version this delta leads to: the SOA it ends with carries the following serial.
    ///
    /// `soa` is the zone's SOA RRset before, `last` the newest serial the apex ever had. A serial
    /// that the delta itself brings is taken if it is ahead. Does nothing to a delta that takes the
    /// SOA away; a zone rule refuses that.
    pub fn number(&mut self, soa: &Set, last: Serial) -> Serial {
        let at = self
            .changes
            .iter()
            .position(|change| change.rtype == Type::SOA && change.owner == soa.rrset.owner);
        let at = at.unwrap_or_else(|| {
            let change = SetChange {
                owner: soa.rrset.owner.clone(),
                rtype: Type::SOA,
                before: Some(soa.clone()),
                after: Some(Set { rrset: soa.rrset.clone(), sigs: Vec::new() }),
            };
            let apex_end = self
                .changes
                .iter()
                .take_while(|other| other.owner == change.owner && other.rtype < Type::SOA);
            let at = apex_end.count();
            self.changes.insert(at, change);
            at
        });
        let after = self.changes.get_mut(at).and_then(|change| change.after.as_mut());
        let Some(after) = after else { return last };
        let wanted =
            after.rrset.soa_serial().filter(|&wanted| Some(wanted) != soa.rrset.soa_serial());
        let to = serial::following(Some(last), wanted);
        let rdatas =
            after.rrset.rdatas().iter().map(|rdata| serial::with_serial(rdata, to)).collect();
        after.rrset = RrSet::new(after.rrset.owner.clone(), Type::SOA, after.rrset.ttl, rdatas);
        to
    }

    /// The delta as the journal keeps it.
    pub fn step(&self, from: Serial, to: Serial) -> Step {
        let few = self.changes.len() <= FEW_CHANGES;
        let pairs = || if few { Pairs::with_room() } else { Pairs::default() };
        let (mut dels, mut adds) = (pairs(), pairs());
        for change in &self.changes {
            let whole = change.before.as_ref().map(|set| set.rrset.ttl)
                != change.after.as_ref().map(|set| set.rrset.ttl);
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            dels.push(change, before, after.filter(|_| !whole));
            adds.push(change, after, before.filter(|_| !whole));
        }
        Step { from, to, dels: dels.packer.finish(), adds: adds.packer.finish() }
    }
}

impl Step {
    /// What the step changes in `view`, which must be the version it starts from.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the view cannot be read or is another version: a record that should go is
    /// not there.
    pub fn delta(&self, view: &dyn View) -> Result<Delta, ReadFault> {
        self.delta_with(&mut |owner, rtype| set_at(view, owner, rtype))
    }

    /// The step back.
    #[must_use]
    pub fn reversed(self) -> Step {
        Step { from: self.to, to: self.from, dels: self.adds, adds: self.dels }
    }

    /// As [`delta`](Step::delta); `before` gives each set of the version it starts from.
    ///
    /// # Errors
    ///
    /// As [`delta`](Step::delta).
    pub fn delta_with(
        &self,
        before: &mut dyn FnMut(&Name, Type) -> Result<Option<Set>, ReadFault>,
    ) -> Result<Delta, ReadFault> {
        let mut changes: std::collections::BTreeMap<(Vec<u8>, Type), SetChange> =
            Default::default();
        for (octets, adding) in [(&self.dels, false), (&self.adds, true)] {
            for node in packed::nodes(octets) {
                let owner = node.name();
                for set in node.rrsets() {
                    let slot = match changes.entry((owner.key(), set.rtype)) {
                        std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
                        std::collections::btree_map::Entry::Vacant(slot) => {
                            let before = before(&owner, set.rtype)?;
                            slot.insert(SetChange {
                                owner: owner.clone(),
                                rtype: set.rtype,
                                after: before.clone(),
                                before,
                            })
                        }
                    };
                    if adding { add(slot, set) } else { take(slot, set)? }
                }
            }
        }
        Ok(Delta::new(changes.into_values().collect()))
    }
}

/// The set at `owner` of one type; none if there is none.
///
/// # Errors
///
/// [`ReadFault`] when the view cannot be read.
pub fn set_at(view: &dyn View, owner: &Name, rtype: Type) -> Result<Option<Set>, ReadFault> {
    let mut found = None;
    view.node(owner, &mut |node| {
        found = node.rrset(rtype).map(|set| Set::of(&node.name(), set));
    })?;
    Ok(found)
}

fn take(change: &mut SetChange, gone: RrSetRef<'_>) -> Result<(), ReadFault> {
    let stranger =
        || ReadFault(format!("a delta takes a record from {} that is not there", change.owner));
    let mut set = change.after.take().ok_or_else(stranger)?;
    for rdata in gone.rdatas() {
        if !set.rrset.remove(rdata) {
            return Err(stranger());
        }
    }
    for sig in gone.sigs() {
        set.sigs.retain(|mine| mine.as_ref() != sig);
    }
    change.after = (!set.rrset.is_empty()).then_some(set);
    Ok(())
}

fn add(change: &mut SetChange, new: RrSetRef<'_>) {
    let set = change.after.get_or_insert_with(|| Set {
        rrset: RrSet::new(change.owner.clone(), new.rtype, new.ttl, Vec::new()),
        sigs: Vec::new(),
    });
    set.rrset.ttl = new.ttl;
    for rdata in new.rdatas() {
        set.rrset.insert(rdata.into());
    }
    set.sigs.extend(new.sigs().map(Box::from));
}

/// One side of a step under construction: what `own` has and `other` has not.
#[derive(Default)]
struct Pairs {
    packer: Packer,
    owner: Option<Name>,
}

/// So many changes fit into [`STEP_OCTETS`] most often.
const FEW_CHANGES: usize = 2;

/// Octets that one side of a step of few changes has at most, most often.
const STEP_OCTETS: usize = 256;

impl Pairs {
    fn with_room() -> Pairs {
        Pairs { packer: Packer::with_capacity(STEP_OCTETS), owner: None }
    }

    fn push(&mut self, change: &SetChange, own: Option<&Set>, other: Option<&Set>) {
        let Some(own) = own else { return };
        let missing = |rdata: &&[u8]| {
            !other.is_some_and(|other| other.records().any(|theirs| theirs == *rdata))
        };
        let unsigned = |sig: &&[u8]| {
            !other.is_some_and(|other| other.signatures().any(|theirs| theirs == *sig))
        };
        let rdatas: Vec<_> = own.records().filter(missing).collect();
        let sigs: Vec<_> = own.signatures().filter(unsigned).collect();
        if rdatas.is_empty() && sigs.is_empty() {
            return;
        }
        if self.owner.as_ref() != Some(&change.owner) {
            self.packer.node(change.owner.as_wire());
            self.owner = Some(change.owner.clone());
        }
        self.packer.rrset(change.rtype, own.rrset.ttl, rdatas, sigs);
    }
}

fn compare_nodes(old: Option<&[u8]>, new: Option<&[u8]>, changes: &mut Vec<SetChange>) {
    if old == new {
        return;
    }
    let read = |octets: Option<&[u8]>| -> Vec<Set> {
        let nodes = octets.into_iter().flat_map(packed::nodes);
        nodes.flat_map(|node| node.rrsets().map(move |set| Set::of(&node.name(), set))).collect()
    };
    let (mut olds, mut news) = (read(old).into_iter().peekable(), read(new).into_iter().peekable());
    loop {
        let old_type = olds.peek().map(|set| set.rrset.rtype);
        let new_type = news.peek().map(|set| set.rrset.rtype);
        let Some(rtype) = old_type.into_iter().chain(new_type).min() else { return };
        let before = olds.next_if(|set| set.rrset.rtype == rtype);
        let after = news.next_if(|set| set.rrset.rtype == rtype);
        let owner = before.as_ref().or(after.as_ref()).map(|set| set.rrset.owner.clone());
        let Some(owner) = owner else { return };
        let change = SetChange { owner, rtype, before, after };
        if !change.is_nothing() {
            changes.push(change);
        }
    }
}

/// Reads a view node by node, a bounded page at a time: two views can be read side by side.
struct Pages<'v> {
    view: &'v dyn View,
    page: std::vec::IntoIter<Vec<u8>>,
    next: Option<(Vec<u8>, Vec<u8>)>,
    from: Option<Vec<u8>>,
}

impl<'v> Pages<'v> {
    fn new(view: &'v dyn View) -> Pages<'v> {
        Pages { view, page: Vec::new().into_iter(), next: None, from: Some(view.apex().key()) }
    }

    /// The key of the next node, reading on where needed; none at the end.
    fn key(&mut self) -> Result<Option<&[u8]>, ReadFault> {
        if self.next.is_none() && self.page.len() == 0 {
            self.read()?;
        }
        if self.next.is_none() {
            self.next = self.page.next().map(|node| (key_of(&node), node));
        }
        Ok(self.next.as_ref().map(|(key, _)| key.as_slice()))
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.next.take().map(|(_, node)| node)
    }

    fn read(&mut self) -> Result<(), ReadFault> {
        const PAGE_NODES: usize = 512;
        let Some(from) = self.from.take() else { return Ok(()) };
        let mut page = Vec::new();
        self.view.walk(&from, &mut |node| {
            page.push(copy_of(node));
            if page.len() < PAGE_NODES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if page.len() == PAGE_NODES {
            // No name's key goes on with 00, so this is the first key behind the last one read.
            self.from = page.last().map(|node| [key_of(node).as_slice(), &[0]].concat());
        }
        self.page = page.into_iter();
        Ok(())
    }
}

fn key_of(node: &[u8]) -> Vec<u8> {
    packed::nodes(node).next().map(|node| node.name().key()).unwrap_or_default()
}

fn copy_of(node: Node<'_>) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.push(node);
    packer.finish()
}
