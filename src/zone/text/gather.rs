//! Records as they come from a file, and how they become packed nodes.
//!
//! Owners and RDATA lie in one row of octets; a run is what a file has of one owner in one go. Runs
//! are sorted, not records: files keep an owner together, and most are sorted already.

use std::cmp::Ordering;

use super::faults::{Faults, Place};
use super::{Parsed, TTL_MAX};
use crate::wire::name::{push_key, wire_len};
use crate::wire::rdata::canonical_cmp;
use crate::wire::{Name, RrSet, Type};
use crate::zone::packed::{Packer, nodes};

/// Records of one RRset: packed nodes count them in 16 bits, and no message holds more.
const RRSET_RECORDS_MAX: usize = u16::MAX as usize;

/// What a file made so far.
#[derive(Default)]
pub(super) struct Gathered {
    /// Owners and RDATA.
    pub(super) octets: Vec<u8>,
    runs: Vec<Run>,
    records: Vec<Entry>,
    soa_run: Option<usize>,
}

/// Consecutive records of one owner; they end where those of the next run begin.
#[derive(Clone, Copy)]
struct Run {
    owner_at: usize,
    first: usize,
    place: Place,
}

/// One record.
#[derive(Clone, Copy)]
struct Entry {
    rdata_at: usize,
    place: Place,
    ttl: u32,
    rdata_len: u16,
    rtype: Type,
}

/// An owner that was gathered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerAt(usize);

impl Gathered {
    /// Starts a run; its owner was just appended to the octets, from `at` on.
    pub(super) fn begin(&mut self, at: usize, place: Place) -> OwnerAt {
        self.runs.push(Run { owner_at: at, first: self.records.len(), place });
        OwnerAt(at)
    }

    /// Starts another run of an owner that was there before.
    pub(super) fn resume(&mut self, owner: OwnerAt, place: Place) {
        self.runs.push(Run { owner_at: owner.0, first: self.records.len(), place });
    }

    /// Adds a record to the run begun last; its RDATA was just appended, from `at` on.
    pub(super) fn record(&mut self, rtype: Type, ttl: u32, at: usize, place: Place) {
        if rtype == Type::SOA && self.soa_run.is_none() {
            self.soa_run = self.runs.len().checked_sub(1);
        }
        let rdata_len = (self.octets.len() - at) as u16;
        self.records.push(Entry { rdata_at: at, place, ttl, rdata_len, rtype });
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The owner of the first SOA.
    pub(super) fn soa_owner(&self) -> Option<Name> {
        let run = self.runs.get(self.soa_run?)?;
        Name::from_wire(self.owner(run)).ok()
    }

    /// Sorts and packs; reports what only the whole shows.
    pub(super) fn pack(&self, apex: &Name, faults: &mut Faults<'_>) -> Parsed {
        let keys = Keys::new(self);
        let order = keys.order();
        let apex_key = apex.key();
        let mut packing = Packing {
            all: self,
            faults,
            packer: Packer::with_capacity(self.octets.len() + self.records.len() * 18),
            node: Vec::new(),
            counts: Counts::default(),
        };
        for runs in order.chunk_by(|&left, &right| keys.key(left) == keys.key(right)) {
            packing.node(
                runs,
                runs.first().is_some_and(|&run| keys.key(run).starts_with(&apex_key)),
                apex,
            );
        }
        let counts = packing.counts;
        let packed = packing.packer.finish();
        let apex_node = nodes(&packed).next().filter(|node| node.name() == *apex);
        let soa = apex_node.and_then(|node| node.rrset(Type::SOA));
        let dnskey = apex_node.and_then(|node| node.rrset(Type::DNSKEY));
        Parsed {
            serial: soa.and_then(|soa| RrSet::soa_serial(&soa.to_owned(apex))),
            signed: dnskey.is_some() && soa.is_some_and(|soa| soa.sig_count > 0),
            apex: apex_node.map_or_else(|| apex.clone(), |node| node.name()),
            names: counts.names,
            rrsets: counts.rrsets,
            records: counts.records,
            packed,
            warnings: Vec::new(),
        }
    }

    fn owner(&self, run: &Run) -> &[u8] {
        let rest = self.octets.get(run.owner_at..).unwrap_or_default();
        rest.get(..wire_len(rest).unwrap_or_default()).unwrap_or_default()
    }

    fn rdata(&self, entry: &Entry) -> &[u8] {
        let end = entry.rdata_at + usize::from(entry.rdata_len);
        self.octets.get(entry.rdata_at..end).unwrap_or_default()
    }

    /// The type of the RRset a record belongs to, and whether it is a signature over it.
    fn set_of(&self, entry: &Entry) -> (Type, bool) {
        match (entry.rtype, self.rdata(entry).first_chunk()) {
            (Type::RRSIG, Some(&covered)) => (Type(u16::from_be_bytes(covered)), true),
            (rtype, _) => (rtype, false),
        }
    }

    /// Order inside a node: by type, signatures behind what they cover, canonical.
    fn compare(&self, left: &Entry, right: &Entry) -> Ordering {
        self.set_of(left)
            .cmp(&self.set_of(right))
            .then_with(|| canonical_cmp(left.rtype, self.rdata(left), self.rdata(right)))
            .then(left.place.cmp(&right.place))
    }
}

/// The sort keys of all runs, one behind the other.
struct Keys {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Keys {
    fn new(all: &Gathered) -> Keys {
        let mut octets = Vec::with_capacity(all.runs.len() * 24);
        let mut ends = Vec::with_capacity(all.runs.len());
        for run in &all.runs {
            push_key(all.owner(run), &mut octets);
            ends.push(octets.len());
        }
        Keys { octets, ends }
    }

    fn key(&self, run: u32) -> &[u8] {
        let run = run as usize;
        let start = run.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(run).copied().unwrap_or_default();
        self.octets.get(start.unwrap_or_default()..end).unwrap_or_default()
    }

    /// The runs by key, those of one key as the file had them.
    fn order(&self) -> Vec<u32> {
        let count = self.ends.len() as u32;
        let mut order: Vec<u32> = (0..count).collect();
        if (1..count).all(|run| self.key(run - 1) <= self.key(run)) {
            return order;
        }
        // Names of a zone share its apex: what decides is behind it, and mostly in eight octets.
        let first = self.key(0);
        let shared = (1..count).fold(first.len(), |shared, run| {
            let pairs = first.iter().zip(self.key(run)).take(shared);
            pairs.take_while(|(left, right)| left == right).count()
        });
        let mut heads: Vec<(u64, u32)> = order
            .iter()
            .map(|&run| {
                let mut head = [0; 8];
                let tail = self.key(run).get(shared..).unwrap_or_default();
                head.iter_mut().zip(tail).for_each(|(slot, &octet)| *slot = octet);
                (u64::from_be_bytes(head), run)
            })
            .collect();
        heads.sort_unstable_by(|&(left_head, left), &(right_head, right)| {
            left_head
                .cmp(&right_head)
                .then_with(|| self.key(left).cmp(self.key(right)))
                .then(left.cmp(&right))
        });
        order.iter_mut().zip(heads).for_each(|(slot, (_, run))| *slot = run);
        order
    }
}

#[derive(Default, Clone, Copy)]
struct Counts {
    names: usize,
    rrsets: usize,
    records: usize,
}

/// Packing under way.
struct Packing<'p, 'a> {
    all: &'p Gathered,
    faults: &'p mut Faults<'a>,
    packer: Packer,
    /// The records of the node at work.
    node: Vec<Entry>,
    counts: Counts,
}

impl Packing<'_, '_> {
    /// Packs one owner from all its runs.
    fn node(&mut self, runs: &[u32], inside: bool, apex: &Name) {
        let all = self.all;
        let mut node = std::mem::take(&mut self.node);
        node.clear();
        let mut owner = None;
        for &run in runs {
            let run = run as usize;
            let Some(this) = all.runs.get(run) else { continue };
            let end = all.runs.get(run + 1).map_or(all.records.len(), |next| next.first);
            let entries = all.records.get(this.first..end).unwrap_or_default();
            if entries.is_empty() {
                continue;
            }
            owner = owner.or(Some(all.owner(this)));
            node.extend_from_slice(entries);
            if !inside {
                let name = shown(all.owner(this));
                let what = format!(
                    "{name} is outside the zone {apex}: remove it, or load it with its own zone"
                );
                self.faults.error(entries.first().map_or(this.place, |entry| entry.place), what);
            }
        }
        if let Some(owner) = owner.filter(|_| inside) {
            node.sort_unstable_by(|left, right| all.compare(left, right));
            self.drop_doubles(owner, &mut node);
            // An owner of nothing but orphaned signatures is none.
            if node.iter().any(|entry| entry.rtype != Type::RRSIG) {
                self.packer.node(owner);
                self.counts.names += 1;
            }
            for set in node.chunk_by(|left, right| all.set_of(left).0 == all.set_of(right).0) {
                self.rrset(owner, set);
            }
        }
        self.node = node;
    }

    fn drop_doubles(&mut self, owner: &[u8], node: &mut Vec<Entry>) {
        let (all, faults) = (self.all, &mut *self.faults);
        node.dedup_by(|later, first| {
            let same = later.rtype == first.rtype
                && canonical_cmp(first.rtype, all.rdata(first), all.rdata(later)).is_eq();
            if same {
                let (name, rtype) = (shown(owner), later.rtype);
                let what = format!("{name} has this {rtype} twice: the second is left out");
                faults.warn(later.place, what);
                // The lowest TTL counts, whichever of the two had it.
                first.ttl = first.ttl.min(later.ttl);
            }
            same
        });
    }

    /// Packs the records of one type and the signatures over them.
    fn rrset(&mut self, owner: &[u8], set: &[Entry]) {
        let all = self.all;
        let (records, sigs) = set.split_at(set.partition_point(|entry| !all.set_of(entry).1));
        let (Some(first), Some(ttl)) = (records.first(), records.iter().map(|r| r.ttl).min())
        else {
            return self.orphans(owner, sigs);
        };
        let rtype = first.rtype;
        if let Some(other) = records.iter().filter(|entry| entry.ttl != ttl).min_by_key(|r| r.place)
        {
            let (name, other_ttl) = (shown(owner), other.ttl);
            let what = format!(
                "{name} {rtype} has records with TTL {ttl} and {other_ttl}: the lowest is used for all; write one TTL (RFC 2181 §5.2)"
            );
            self.faults.warn(other.place, what);
        }
        if let Some(sig) = sigs.iter().find(|sig| sig.ttl != ttl) {
            let (name, sig_ttl) = (shown(owner), sig.ttl);
            let what = format!(
                "{name} RRSIG over {rtype} has TTL {sig_ttl} where {rtype} has {ttl}: that of {rtype} is used (RFC 4034 §3)"
            );
            self.faults.warn(sig.place, what);
        }
        if records.len() > RRSET_RECORDS_MAX || sigs.len() > RRSET_RECORDS_MAX {
            let name = shown(owner);
            let what = format!(
                "{name} {rtype} has more than {RRSET_RECORDS_MAX} records: no message could carry them"
            );
            self.faults.error(first.place, what);
            return;
        }
        self.counts.rrsets += 1;
        self.counts.records += records.len() + sigs.len();
        let rdatas = records.iter().map(|entry| all.rdata(entry));
        self.packer.rrset(rtype, ttl.min(TTL_MAX), rdatas, sigs.iter().map(|sig| all.rdata(sig)));
    }

    fn orphans(&mut self, owner: &[u8], sigs: &[Entry]) {
        for sig in sigs {
            let (name, covered) = (shown(owner), self.all.set_of(sig).0);
            let what = format!(
                "{name} RRSIG covers {covered}, which {name} does not have: it is left out; remove it or add the {covered}"
            );
            self.faults.warn(sig.place, what);
        }
    }
}

fn shown(owner: &[u8]) -> String {
    Name::from_wire(owner).map_or_else(|_| String::from("?"), |name| name.to_string())
}
