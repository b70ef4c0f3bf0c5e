//! Records as they come from a file, and how they become packed nodes.
//!
//! Owners and RDATA lie in one row of octets; a run is what a file has of one owner in one go. Runs
//! are sorted, not records: files keep an owner together, and most are sorted already.

mod order;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use self::order::{Ordered, Placed};
use super::Parsed;
use super::faults::{Faults, Place};
use crate::wire::name::wire_len;
use crate::wire::rdata::{canonical_cmp, names};
use crate::wire::{Name, RrSet, Type};
use crate::zone::packed::{Packer, nodes};

/// Records of one RRset: packed nodes count them in 16 bits, and no message holds more.
const RRSET_RECORDS_MAX: usize = u16::MAX as usize;

/// Octets of text that become one owner at most of files as they are: for reserving.
const TEXT_PER_RUN: usize = 96;

/// What a file made so far.
pub(super) struct Gathered {
    /// Run by run: an owner, and behind it what it has, each record a header and RDATA. Whoever packs runs in another
    /// order than the file's reads them from one place each.
    pub(super) octets: Vec<u8>,
    /// Where each run begins: consecutive records of one owner.
    runs: Vec<usize>,
    records: usize,
    soa_run: Option<u32>,
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

/// Octets in front of RDATA: where it stands in the file, TTL, length and type.
const HEADER_OCTETS: usize = 14;

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
            octets: Vec::with_capacity(octets + octets / 2),
            runs: Vec::with_capacity(octets / TEXT_PER_RUN),
            records: 0,
            soa_run: None,
        }
    }

    /// Starts a run; its owner was just appended to the octets, from `at` on.
    pub(super) fn begin(&mut self, at: usize) -> OwnerAt {
        self.runs.push(at);
        OwnerAt(at)
    }

    /// Starts another run of an owner that was there before.
    pub(super) fn resume(&mut self, owner: OwnerAt) {
        let (from, at) = (owner.0, self.octets.len());
        let len = self.octets.get(from..).map_or(0, |name| wire_len(name).unwrap_or_default());
        self.octets.extend_from_within(from..from + len);
        self.begin(at);
    }

    /// Makes room for the header of a record; its RDATA is appended behind it, from where this says.
    pub(super) fn begin_record(&mut self) -> usize {
        self.octets.extend_from_slice(&[0; HEADER_OCTETS]);
        self.octets.len()
    }

    /// Adds a record to the run begun last; its RDATA was just appended, from `at` on.
    pub(super) fn record(&mut self, rtype: Type, ttl: u32, at: usize, place: Place) {
        if rtype == Type::SOA && self.soa_run.is_none() {
            self.soa_run = self.runs.len().checked_sub(1).map(|run| run as u32);
        }
        let rdata_len = (self.octets.len() - at) as u16;
        let header = Entry { rdata_at: at, place, ttl, rdata_len, rtype }.header();
        let slot = at.checked_sub(HEADER_OCTETS).and_then(|from| self.octets.get_mut(from..at));
        slot.into_iter().for_each(|slot| slot.copy_from_slice(&header));
        self.records += 1;
    }

    /// Takes what somebody else gathered behind all that is here; returns where its octets begin now.
    pub(super) fn append(&mut self, other: &Gathered) -> usize {
        let (octets, runs) = (self.octets.len(), self.runs.len() as u32);
        self.octets.extend_from_slice(&other.octets);
        self.runs.extend(other.runs.iter().map(|at| at + octets));
        self.records += other.records;
        self.soa_run = self.soa_run.or(other.soa_run.map(|run| run + runs));
        octets
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// The owner of the first SOA.
    pub(super) fn soa_owner(&self) -> Option<Name> {
        Name::from_wire(self.run(self.soa_run?).0).ok()
    }

    /// Sorts and packs, by so many hands; reports what only the whole shows.
    pub(super) fn pack(&self, apex: &Name, faults: &mut Faults<'_>, hands: usize) -> Parsed {
        let ordered = order::ordered(self, apex, faults, hands);
        let (packed, counts) = pack_shares(self, &ordered, &Twice::of(apex), faults, hands);
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

    /// The owner of a run, and its records.
    fn run(&self, run: u32) -> (&[u8], Records<'_>) {
        let Range { start, end } = self.octets_of(run);
        let octets = self.octets.get(..end).unwrap_or_default();
        let owner = octets.get(start..).unwrap_or_default();
        let owner = owner.get(..wire_len(owner).unwrap_or_default()).unwrap_or_default();
        (owner, Records { octets, at: start + owner.len() })
    }

    /// Where a run stands.
    fn octets_of(&self, run: u32) -> Range<usize> {
        let begin = |run: usize| self.runs.get(run).copied().unwrap_or(self.octets.len());
        begin(run as usize)..begin(run as usize + 1)
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

impl Entry {
    fn header(&self) -> [u8; HEADER_OCTETS] {
        let mut header = [0; HEADER_OCTETS];
        header[..4].copy_from_slice(&self.place.at.to_ne_bytes());
        header[4..8].copy_from_slice(&self.ttl.to_ne_bytes());
        header[8..10].copy_from_slice(&self.place.source.to_ne_bytes());
        header[10..12].copy_from_slice(&self.rdata_len.to_ne_bytes());
        header[12..].copy_from_slice(&self.rtype.0.to_ne_bytes());
        header
    }
}

/// The records of one run.
struct Records<'g> {
    /// All octets up to the end of the run.
    octets: &'g [u8],
    at: usize,
}

impl Iterator for Records<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let header = self.octets.get(self.at..)?.first_chunk::<HEADER_OCTETS>()?;
        let [a0, a1, a2, a3, t0, t1, t2, t3, s0, s1, l0, l1, r0, r1] = *header;
        let rdata_at = self.at + HEADER_OCTETS;
        let rdata_len = u16::from_ne_bytes([l0, l1]);
        self.at = rdata_at + usize::from(rdata_len);
        Some(Entry {
            rdata_at,
            place: Place {
                source: u16::from_ne_bytes([s0, s1]),
                at: u32::from_ne_bytes([a0, a1, a2, a3]),
            },
            ttl: u32::from_ne_bytes([t0, t1, t2, t3]),
            rdata_len,
            rtype: Type(u16::from_ne_bytes([r0, r1])),
        })
    }
}

/// Where the records of some owners stand.
pub(super) struct Places(BTreeMap<Name, Vec<(Type, Place)>>);

impl Places {
    /// Looks for `owners` among all that was gathered.
    pub(super) fn of<'n>(all: &Gathered, owners: impl Iterator<Item = &'n Name>) -> Places {
        let mut places: BTreeMap<_, Vec<_>> =
            owners.map(|owner| (owner.clone(), Vec::new())).collect();
        let runs = if places.is_empty() { 0 } else { all.runs.len() as u32 };
        for (owner, records) in (0..runs).map(|run| all.run(run)) {
            let Ok(owner) = Name::from_wire(owner) else { continue };
            if let Some(found) = places.get_mut(&owner) {
                found.extend(records.map(|entry| (entry.rtype, entry.place)));
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

/// Runs that are worth another hand to pack them.
const PACKED_BY_A_HAND: usize = if cfg!(test) { 8 } else { 32 << 10 };

/// Packs all owners, each hand its share of them.
fn pack_shares(
    all: &Gathered,
    ordered: &Ordered,
    twice: &Twice,
    faults: &mut Faults<'_>,
    hands: usize,
) -> (Vec<u8>, Counts) {
    let hands = hands.min(ordered.runs.len() / PACKED_BY_A_HAND).max(1);
    let share = ordered.runs.len().div_ceil(hands).max(1);
    let mut rest = ordered.runs.as_slice();
    let mut shares = std::iter::from_fn(|| {
        // No owner is cut in two.
        let joining = rest.iter().skip(share).take_while(|placed| placed.joins).count();
        let (mine, behind) = rest.split_at((share + joining).min(rest.len()));
        rest = behind;
        Some(mine).filter(|mine| !mine.is_empty())
    });
    let room = all.octets.len() + all.records * 6;
    thread::scope(|scope| {
        let first = shares.next();
        let others: Vec<_> = shares
            .map(|runs| {
                scope.spawn(move || {
                    let mut faults = Faults::new(&[]);
                    let mut packing = Packing::new(all, twice, &mut faults, room / hands);
                    packing.owners(runs, ordered.scattered);
                    let (packer, counts) = (packing.packer, packing.counts);
                    (packer.finish(), counts, faults.gist())
                })
            })
            .collect();
        let mut packing = Packing::new(all, twice, faults, room);
        packing.owners(first.unwrap_or_default(), ordered.scattered);
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

/// How many runs are looked at ahead of their packing: so many cache misses overlap.
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

    fn owners(&mut self, runs: &[Placed], scattered: bool) {
        let all = self.all;
        let (mut owner, mut node) = ([].as_slice(), Vec::new());
        for some in runs.chunks(AHEAD) {
            if scattered {
                self.touch(some);
            }
            for placed in some {
                let (of, records) = all.run(placed.run);
                if !placed.joins {
                    self.node(owner, &mut node);
                    node.clear();
                    owner = of;
                }
                node.extend(records);
            }
        }
        self.node(owner, &mut node);
    }

    /// Reads the first and the last octet of some runs: that all are on their way at once.
    fn touch(&self, some: &[Placed]) {
        let octet = |at: usize| self.all.octets.get(at).copied().unwrap_or_default();
        let runs = some.iter().map(|placed| self.all.octets_of(placed.run));
        let ends = runs.map(|run| octet(run.start) ^ octet(run.end.saturating_sub(1)));
        black_box(ends.fold(0, u8::wrapping_add));
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
