//! Records as they come from a file, and how they become packed nodes.
//!
//! Owners and RDATA lie in one row of octets; a run is what a file has of one owner in one go. Runs
//! are sorted, not records: files keep an owner together, and most are sorted already.

mod order;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::resume_unwind;
use std::thread;

use self::order::{Owners, Span};
use super::Parsed;
use super::faults::{Faults, Place};
use crate::wire::name::wire_len;
use crate::wire::rdata::{canonical_cmp, names};
use crate::wire::{Name, RrSet, Type};
use crate::zone::packed::{Packer, nodes};

/// Records of one RRset: packed nodes count them in 16 bits, and no message holds more.
const RRSET_RECORDS_MAX: usize = u16::MAX as usize;

/// Octets of text that become one record, and one owner, at most of files as they are: for reserving.
const TEXT_PER_RECORD: usize = 48;
const TEXT_PER_RUN: usize = 96;

/// What a file made so far.
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

impl OwnerAt {
    /// The same, where what was gathered stands `octets` further behind.
    pub(super) fn moved(self, octets: usize) -> OwnerAt {
        OwnerAt(self.0 + octets)
    }
}

impl Gathered {
    /// Room for what so many octets of text usually make.
    pub(super) fn for_text(octets: usize) -> Gathered {
        Gathered {
            octets: Vec::with_capacity(octets),
            runs: Vec::with_capacity(octets / TEXT_PER_RUN),
            records: Vec::with_capacity(octets / TEXT_PER_RECORD),
            soa_run: None,
        }
    }

    /// Starts a run; its owner was just appended to the octets, from `at` on.
    pub(super) fn begin(&mut self, at: usize) -> OwnerAt {
        self.runs.push(Run { owner_at: at, first: self.records.len() });
        OwnerAt(at)
    }

    /// Starts another run of an owner that was there before.
    pub(super) fn resume(&mut self, owner: OwnerAt) {
        self.runs.push(Run { owner_at: owner.0, first: self.records.len() });
    }

    /// Adds a record to the run begun last; its RDATA was just appended, from `at` on.
    pub(super) fn record(&mut self, rtype: Type, ttl: u32, at: usize, place: Place) {
        if rtype == Type::SOA && self.soa_run.is_none() {
            self.soa_run = self.runs.len().checked_sub(1);
        }
        let rdata_len = (self.octets.len() - at) as u16;
        self.records.push(Entry { rdata_at: at, place, ttl, rdata_len, rtype });
    }

    /// Takes what somebody else gathered behind all that is here; returns where its octets begin now.
    pub(super) fn append(&mut self, other: &Gathered) -> usize {
        let (octets, records, runs) = (self.octets.len(), self.records.len(), self.runs.len());
        self.octets.extend_from_slice(&other.octets);
        let moved = |entry: &Entry| Entry { rdata_at: entry.rdata_at + octets, ..*entry };
        self.records.extend(other.records.iter().map(moved));
        let moved = |run: &Run| Run { owner_at: run.owner_at + octets, first: run.first + records };
        self.runs.extend(other.runs.iter().map(moved));
        self.soa_run = self.soa_run.or(other.soa_run.map(|run| run + runs));
        octets
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The owner of the first SOA.
    pub(super) fn soa_owner(&self) -> Option<Name> {
        let run = self.runs.get(self.soa_run?)?;
        Name::from_wire(self.name_at(run.owner_at)).ok()
    }

    /// Sorts and packs, by so many hands; reports what only the whole shows.
    pub(super) fn pack(&self, apex: &Name, faults: &mut Faults<'_>, hands: usize) -> Parsed {
        let owners = order::owners(self, apex, faults, hands);
        let (packed, counts) = pack_shares(self, &owners, &Twice::of(apex), faults, hands);
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

    fn records_of(&self, run: usize) -> &[Entry] {
        let first = self.runs.get(run).map_or(0, |run| run.first);
        let end = self.runs.get(run + 1).map_or(self.records.len(), |next| next.first);
        self.records.get(first..end).unwrap_or_default()
    }

    fn name_at(&self, at: usize) -> &[u8] {
        let rest = self.octets.get(at..).unwrap_or_default();
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

/// Where the records of some owners stand.
pub(super) struct Places(BTreeMap<Name, Vec<(Type, Place)>>);

impl Places {
    /// Looks for `owners` among all that was gathered.
    pub(super) fn of<'n>(all: &Gathered, owners: impl Iterator<Item = &'n Name>) -> Places {
        let mut places: BTreeMap<_, Vec<_>> =
            owners.map(|owner| (owner.clone(), Vec::new())).collect();
        let runs = if places.is_empty() { &[] } else { all.runs.as_slice() };
        for (at, run) in runs.iter().enumerate() {
            let Ok(owner) = Name::from_wire(all.name_at(run.owner_at)) else { continue };
            if let Some(found) = places.get_mut(&owner) {
                found.extend(all.records_of(at).iter().map(|entry| (entry.rtype, entry.place)));
            }
        }
        Places(places)
    }

    /// The last record of a type, or of any.
    pub(super) fn last(&self, owner: &Name, rtype: Option<Type>) -> Option<Place> {
        let found = self.0.get(owner)?.iter();
        found
            .filter(|(of, _)| rtype.is_none_or(|rtype| rtype == *of))
            .map(|(_, place)| *place)
            .max()
    }

    /// The first record.
    pub(super) fn first(&self, owner: &Name) -> Option<Place> {
        self.0.get(owner)?.iter().map(|(_, place)| *place).min()
    }
}

const TWICE: &str = "ends with the zone's name twice: is a dot missing at its end?";

/// Types whose names people write by hand, and without the dot at their end.
const HOLDS_NAME: [Type; 6] = [Type::NS, Type::CNAME, Type::PTR, Type::MX, Type::SRV, Type::DNAME];

/// The zone's name behind itself: what a name without its last dot ends with.
struct Twice(Box<[u8]>);

impl Twice {
    fn of(apex: &Name) -> Twice {
        let wire = apex.as_wire();
        // The root's name is everybody's end.
        let labels = wire.get(..wire.len() - 1).filter(|labels| !labels.is_empty());
        Twice(labels.map_or(Box::default(), |labels| [labels, wire].concat().into()))
    }

    fn ends(&self, name: &[u8]) -> bool {
        // The octets compare as a whole: a wrong cut between labels costs a strange hint, no more.
        let tail = name.len().checked_sub(self.0.len()).and_then(|from| name.get(from..));
        !self.0.is_empty() && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(&self.0))
    }
}

#[derive(Default, Clone, Copy)]
struct Counts {
    names: usize,
    rrsets: usize,
    records: usize,
}

/// Owners that are worth another hand to pack them.
const PACKED_BY_A_HAND: usize = if cfg!(test) { 8 } else { 32 << 10 };

/// Packs all owners, each hand its share of them.
fn pack_shares(
    all: &Gathered,
    owners: &Owners<'_>,
    twice: &Twice,
    faults: &mut Faults<'_>,
    hands: usize,
) -> (Vec<u8>, Counts) {
    let hands = hands.min(owners.spans.len() / PACKED_BY_A_HAND).max(1);
    let share = owners.spans.len().div_ceil(hands).max(1);
    let mut rest = owners.records.as_ref();
    let mut shares = owners.spans.chunks(share).map(|spans| {
        let records = spans.iter().map(|span| span.records).sum::<usize>();
        let (records, behind) = rest.split_at(records.min(rest.len()));
        rest = behind;
        (spans, records)
    });
    let room = all.octets.len() + all.records.len() * 18;
    thread::scope(|scope| {
        let first = shares.next();
        let others: Vec<_> = shares
            .map(|(spans, records)| {
                scope.spawn(move || {
                    let mut faults = Faults::new(&[]);
                    let mut packing = Packing::new(all, twice, &mut faults, room / hands);
                    packing.owners(spans, records, owners.scattered);
                    let (packer, counts) = (packing.packer, packing.counts);
                    (packer.finish(), counts, faults.gist())
                })
            })
            .collect();
        let mut packing = Packing::new(all, twice, faults, room);
        if let Some((spans, records)) = first {
            packing.owners(spans, records, owners.scattered);
        }
        let (mut packed, mut counts) = (packing.packer.finish(), packing.counts);
        for other in others {
            let done = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            let (octets, of, gist) = done;
            packed.extend_from_slice(&octets);
            counts.add(of);
            packing.faults.take(gist);
        }
        (packed, counts)
    })
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.names += other.names;
        self.rrsets += other.rrsets;
        self.records += other.records;
    }
}

/// Packing under way.
struct Packing<'p, 'a> {
    all: &'p Gathered,
    twice: &'p Twice,
    faults: &'p mut Faults<'a>,
    packer: Packer,
    counts: Counts,
}

/// How many owners are looked at ahead of their packing: so many cache misses overlap.
const AHEAD: usize = 32;

impl<'p, 'a> Packing<'p, 'a> {
    fn new(
        all: &'p Gathered,
        twice: &'p Twice,
        faults: &'p mut Faults<'a>,
        room: usize,
    ) -> Packing<'p, 'a> {
        let packer = Packer::with_capacity(room);
        Packing { all, twice, faults, packer, counts: Counts::default() }
    }

    fn owners(&mut self, spans: &[Span], records: &[Entry], scattered: bool) {
        let mut rest = records;
        let mut node = Vec::new();
        for some in spans.chunks(AHEAD) {
            if scattered {
                let touch = |span: &Span| self.all.octets.get(span.owner_at).copied();
                black_box(some.iter().filter_map(touch).fold(0, u8::wrapping_add));
            }
            for span in some {
                let (records, after) = rest.split_at(span.records.min(rest.len()));
                rest = after;
                node.clear();
                node.extend_from_slice(records);
                self.node(self.all.name_at(span.owner_at), &mut node);
            }
        }
    }

    /// Packs one owner.
    fn node(&mut self, owner: &[u8], node: &mut Vec<Entry>) {
        let all = self.all;
        if self.twice.ends(owner) {
            let what = format!("{} {TWICE}", shown(owner));
            self.faults.warn(node.first().map_or(Place::default(), |entry| entry.place), what);
        }
        if node.len() > 1 {
            node.sort_unstable_by(|left, right| all.compare(left, right));
            self.drop_doubles(owner, node);
        }
        // An owner of nothing but orphaned signatures is none.
        if node.iter().any(|entry| entry.rtype != Type::RRSIG) {
            self.packer.node(owner);
            self.counts.names += 1;
        }
        for set in node.chunk_by(|left, right| all.set_of(left).0 == all.set_of(right).0) {
            self.rrset(owner, set);
        }
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
        if HOLDS_NAME.contains(&rtype) {
            self.names_twice(owner, records);
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
        self.packer.rrset(rtype, ttl, rdatas, sigs.iter().map(|sig| all.rdata(sig)));
    }

    fn names_twice(&mut self, owner: &[u8], records: &[Entry]) {
        for entry in records {
            let found = names(entry.rtype, self.all.rdata(entry)).find(|n| self.twice.ends(n.wire));
            if let Some(name) = found {
                let (owner, rtype, name) = (shown(owner), entry.rtype, shown(name.wire));
                let what = format!("{owner} {rtype} names {name}, which {TWICE}");
                self.faults.warn(entry.place, what);
            }
        }
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
