//! What a transfer sends: a zone at one version, or the steps to it, read out of the store.
//!
//! A zone is read a page at a time, and others write between two pages. When the zone changes
//! meanwhile, what changed behind the place a transfer has come to is remembered as it was, out of
//! the journal: so the peer gets one version, at the price of what changed and not of the zone.
//!
//! Promises: no page holds others back for longer than it takes to read [`PAGE_OCTETS`]; at most
//! [`UNDO_SETS_MAX`] RRsets are remembered, out of steps of at most [`UNDO_STEP_OCTETS_MAX`]; a step is
//! read a piece at a time; a version that can no longer be told ends the transfer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::journal;
use super::journal::pieces::{Piece, Pieces};
use super::rows::{self, Zone};
use super::{Maintain, ZoneState};
use crate::store::Reader;
use crate::wire::{Name, Serial, Type};
use crate::xfr::{Lost, Part, Source, condense};
use crate::zone::chunk;
use crate::zone::delta::{Set, SetChange, Step, set_at};
use crate::zone::packed::{self, Packer};
use crate::zone::{ReadFault, View};

/// What is read of a zone at once, in octets of packed nodes: about as many rows as the store hands
/// out in one go.
pub const PAGE_OCTETS: usize = 192 * 1024;

/// RRsets that one transfer remembers of the version it sends.
pub const UNDO_SETS_MAX: usize = 100_000;

/// Octets of one step that a transfer reads to remember what was before it.
pub const UNDO_STEP_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// Steps up to this many octets together are sent as one; more go as they are, one at a time.
pub const CONDENSE_OCTETS_MAX: usize = 256 * 1024;

/// Steps whose sum is beyond the zone's own octets, and beyond this, are more than the zone.
const STEPS_OCTETS_MIN: u64 = 64 * 1024;

/// What answers the wish for a zone.
pub struct Transfer {
    pub zone: Zone,
    pub form: Form,
    /// Its SOA.
    pub soa: Part,
    pub source: Box<dyn Source>,
}

/// How a transfer tells of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// All of it. With the reason, where steps were asked for.
    Whole(Option<&'static str>),
    /// So many steps, or one made of them.
    Steps(u64),
    /// The SOA: the peer has what there is, or something newer.
    Current,
}

impl Source for Box<dyn Source> {
    fn part(&mut self) -> Result<Option<Part>, Lost> {
        self.as_mut().part()
    }
}

impl Maintain {
    /// What to send of the zone `apex` to a peer that has it at `since`, or not at all.
    ///
    /// None when no such zone is answered from here.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn transfer(
        &self,
        apex: &Name,
        since: Option<Serial>,
    ) -> Result<Option<Transfer>, ReadFault> {
        self.store().read(|rows| {
            let Some(zone) = rows::zone(rows, apex)?.filter(|zone| zone.state == ZoneState::Live)
            else {
                return Ok(None);
            };
            let soa = rows::with_view(rows, &zone, |view| set_at(view, &zone.apex, Type::SOA))?;
            let soa = soa.as_ref().and_then(soa_part);
            let soa = soa.ok_or_else(|| ReadFault(format!("{apex} has no SOA")))?;
            let reason = match since {
                None => None,
                Some(serial) => match self.steps(rows, &zone, serial, &soa)? {
                    Ok((form, source)) => return Ok(Some(Transfer { zone, form, soa, source })),
                    Err(reason) => Some(reason),
                },
            };
            let source = Box::new(Whole {
                maintain: self.clone(),
                next: Next::Begin,
                seen: zone.version,
                zone: zone.clone(),
                soa: soa.clone(),
                undo: BTreeMap::new(),
                undo_sets: 0,
            });
            Ok(Some(Transfer { zone, form: Form::Whole(reason), soa, source }))
        })
    }

    /// The steps from `serial`, or why there are none.
    fn steps(
        &self,
        rows: &Reader<'_>,
        zone: &Zone,
        serial: Serial,
        soa: &Part,
    ) -> Result<Result<(Form, Box<dyn Source>), &'static str>, ReadFault> {
        if serial == zone.serial {
            let source = Box::new(Ready(vec![soa.clone()]));
            return Ok(Ok((Form::Current, source)));
        }
        let limit = zone.counts.octets.unsigned_abs().max(STEPS_OCTETS_MIN);
        let is_ahead = !serial.is_before(zone.serial);
        let mut reach = journal::reach(rows, zone, serial, limit)?;
        // A serial of long ago may look like one ahead: only the whole journal tells.
        if is_ahead && reach == journal::Reach::TooMuch {
            reach = match journal::reach(rows, zone, serial, u64::MAX)? {
                journal::Reach::From { .. } => journal::Reach::TooMuch,
                unknown => unknown,
            };
        }
        let (first, octets) = match reach {
            journal::Reach::From { version, octets } => (version, octets),
            journal::Reach::TooMuch => return Ok(Err("the steps are more than the zone")),
            journal::Reach::Unknown if is_ahead => {
                let source = Box::new(Ready(vec![soa.clone()])); // RFC 1995 §2
                return Ok(Ok((Form::Current, source)));
            }
            journal::Reach::Unknown => return Ok(Err("the journal does not reach back so far")),
        };
        let form = Form::Steps(zone.version + 1 - first);
        let source: Box<dyn Source> = if octets <= CONDENSE_OCTETS_MAX as u64 {
            let steps = journal::since(rows, zone, serial)?.unwrap_or_default();
            let one = condense(&steps).ok_or_else(|| ReadFault("a step is gone".into()))?;
            let mut parts = vec![soa.clone()];
            parts.extend(step_parts(&zone.apex, one).map_err(|lost| ReadFault(lost.0))?);
            parts.push(soa.clone());
            parts.reverse();
            Box::new(Ready(parts))
        } else {
            let numbers = first..=zone.version;
            Box::new(Steps {
                maintain: self.clone(),
                zone: zone.clone(),
                numbers,
                step: None,
                ready: vec![soa.clone()],
                last: Some(soa.clone()),
            })
        };
        Ok(Ok((form, source)))
    }
}

fn soa_part(set: &Set) -> Option<Part> {
    let rdata = set.rrset.rdatas().first()?.clone();
    Some(Part::Soa { ttl: set.rrset.ttl, rdata })
}

/// A step as IXFR sends it: old SOA, what goes, new SOA, what comes.
fn step_parts(apex: &Name, step: Step) -> Result<[Part; 4], Lost> {
    let (old, new) = (soa_in(apex, &step.dels)?, soa_in(apex, &step.adds)?);
    Ok([old, Part::Nodes(step.dels), new, Part::Nodes(step.adds)])
}

/// The SOA that one side of a step begins with.
fn soa_in(apex: &Name, side: &[u8]) -> Result<Part, Lost> {
    let node = packed::nodes(side).next();
    let node = node.filter(|node| node.owner.eq_ignore_ascii_case(apex.as_wire()));
    let soa = node.and_then(|node| {
        let set = node.rrset(Type::SOA)?;
        Some(Part::Soa { ttl: set.ttl, rdata: set.rdatas().next()?.into() })
    });
    soa.ok_or_else(|| Lost(format!("a step of {apex} has no SOA")))
}

/// Parts there are already, the next one last.
struct Ready(Vec<Part>);

impl Source for Ready {
    fn part(&mut self) -> Result<Option<Part>, Lost> {
        Ok(self.0.pop())
    }
}

/// Steps that are read one at a time, each a piece at a time.
struct Steps {
    maintain: Maintain,
    zone: Zone,
    numbers: std::ops::RangeInclusive<u64>,
    /// The step that is being read, and whether it has come to what comes; none before the first
    /// piece.
    step: Option<(Pieces, Option<bool>)>,
    /// Parts that come next, the first of them last.
    ready: Vec<Part>,
    last: Option<Part>,
}

impl Source for Steps {
    fn part(&mut self) -> Result<Option<Part>, Lost> {
        loop {
            if let Some(part) = self.ready.pop() {
                return Ok(Some(part));
            }
            let Some((pieces, side)) = &mut self.step else {
                let Some(number) = self.numbers.next() else { return Ok(self.last.take()) };
                self.step = Some((Pieces::of(self.zone.id, number), None));
                continue;
            };
            let piece = self.maintain.store().read(|rows| pieces.next(rows));
            match piece.map_err(|fault| Lost(fault.to_string()))? {
                None => self.step = None,
                Some(Piece { adding, nodes }) => {
                    // A side begins with its SOA, which goes by itself.
                    let begins = side.replace(adding) != Some(adding);
                    let soa = begins.then(|| soa_in(&self.zone.apex, &nodes)).transpose()?;
                    self.ready.push(Part::Nodes(nodes));
                    self.ready.extend(soa);
                }
            }
        }
    }
}

/// How far a whole zone was sent.
enum Next {
    Begin,
    /// To this key of an owner.
    Key(Vec<u8>),
    LastSoa,
    End,
}

/// A whole zone at the version it had when it was asked for.
struct Whole {
    maintain: Maintain,
    zone: Zone,
    /// The version the store had when it was last looked at.
    seen: u64,
    soa: Part,
    next: Next,
    /// What the version sent has otherwise than the store, from `next` on; by key of the owner.
    undo: BTreeMap<Vec<u8>, BTreeMap<Type, SetChange>>,
    undo_sets: usize,
}

impl Source for Whole {
    fn part(&mut self) -> Result<Option<Part>, Lost> {
        match &self.next {
            Next::Begin => {
                self.next = Next::Key(self.zone.apex.key());
                Ok(Some(self.soa.clone()))
            }
            Next::Key(key) => {
                let key = key.clone();
                self.page(key).map(|page| Some(Part::Nodes(page)))
            }
            Next::LastSoa => {
                self.next = Next::End;
                Ok(Some(self.soa.clone()))
            }
            Next::End => Ok(None),
        }
    }
}

impl Whole {
    /// The nodes from `key` on, as they were at the version that is sent.
    fn page(&mut self, key: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let maintain = self.maintain.clone();
        let read = maintain.store().read(|rows| {
            let now = rows::by_id(rows, self.zone.id)?;
            let Some(now) = now else { return Ok(Err(Lost("the zone is no more".into()))) };
            if now.version != self.seen
                && let Err(lost) = self.catch_up(rows, &now, &key)?
            {
                return Ok(Err(lost));
            }
            rows::with_view(rows, &now, |view| read_page(view, &key)).map(Ok)
        });
        let (page, end) = read.map_err(|fault: ReadFault| Lost(fault.to_string()))??;
        let page = self.undone(page, end.as_deref());
        self.next = end.map_or(Next::LastSoa, Next::Key);
        Ok(page)
    }

    /// Remembers what changed since the store was last looked at, as it was before.
    fn catch_up(
        &mut self,
        rows: &Reader<'_>,
        now: &Zone,
        key: &[u8],
    ) -> Result<Result<(), Lost>, ReadFault> {
        let mut sets: BTreeMap<(Vec<u8>, Type), SetChange> = BTreeMap::new();
        for number in (self.seen + 1..=now.version).rev() {
            if journal::octets_of(rows, now, number)?
                .is_some_and(|size| size > UNDO_STEP_OCTETS_MAX)
            {
                return Ok(Err(Lost("the zone changed too much meanwhile".into())));
            }
            let Some(version) = journal::version(rows, now, number)? else {
                return Ok(Err(Lost("the zone changed beyond its journal".into())));
            };
            let back = version.step.reversed().delta_with(&mut |owner, rtype| match sets
                .get(&(owner.key(), rtype))
            {
                Some(change) => Ok(change.after.clone()),
                None => rows::with_view(rows, now, |view| set_at(view, owner, rtype)),
            })?;
            for change in back.changes {
                sets.insert((change.owner.key(), change.rtype), change);
            }
        }
        for ((owner, rtype), change) in sets {
            // What is sent already is sent; what was remembered before is older, and so right.
            if owner.as_slice() >= key {
                let types = self.undo.entry(owner).or_default();
                let count = types.len();
                types.entry(rtype).or_insert(change);
                self.undo_sets += types.len() - count;
            }
        }
        self.seen = now.version;
        Ok(match self.undo_sets > UNDO_SETS_MAX {
            true => Err(Lost("the zone changed too much meanwhile".into())),
            false => Ok(()),
        })
    }

    /// A page with the remembered RRsets up to `end` put back; they are forgotten.
    fn undone(&mut self, page: Vec<u8>, end: Option<&[u8]>) -> Vec<u8> {
        if self.undo.is_empty() {
            return page;
        }
        let later = end.map(|end| self.undo.split_off(end)).unwrap_or_default();
        let undo = std::mem::replace(&mut self.undo, later);
        let mut packer = Packer::default();
        let mut undo = undo.into_iter().peekable();
        let mut put = |packer: &mut Packer, node, types: BTreeMap<Type, SetChange>| {
            self.undo_sets = self.undo_sets.saturating_sub(types.len());
            let changes: Vec<SetChange> = types.into_values().collect();
            if let Some(owner) = changes.first().map(|change| change.owner.clone()) {
                chunk::merge_node(node, &owner, &changes, packer);
            }
        };
        for node in packed::nodes(&page) {
            let key = node.name().key();
            while let Some((_, types)) = undo.next_if(|(owner, _)| *owner < key) {
                put(&mut packer, None, types);
            }
            match undo.next_if(|(owner, _)| *owner == key) {
                Some((_, types)) => put(&mut packer, Some(node), types),
                None => packer.push(node),
            }
        }
        undo.for_each(|(_, types)| put(&mut packer, None, types));
        packer.finish()
    }
}

/// Nodes from `key` on, and where to go on; none at the end.
fn read_page(view: &dyn View, key: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), ReadFault> {
    let (mut packer, mut next) = (Packer::default(), None);
    view.walk(key, &mut |node| {
        if packer.len() >= PAGE_OCTETS {
            next = Some(node.name().key());
            return ControlFlow::Break(());
        }
        packer.push(node);
        ControlFlow::Continue(())
    })?;
    Ok((packer.finish(), next))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::maintain::tests::{commit, create, maintain, name, remove, serial, set, tree};
    use crate::maintain::{Content, ZoneChange};
    use crate::wire::query::RecordAt;
    use crate::wire::{HashKey, Header, Query, RrSet, rdata};
    use crate::xfr::{Outgoing, Question, Room};
    use crate::zone::{Base, Op, RrSetEdit};

    /// A record: key of its owner, type, TTL, canonical RDATA.
    type Record = (Vec<u8>, Type, u32, Vec<u8>);

    fn asked(apex: &str, qtype: Type) -> Question {
        let mut message = vec![0; 12];
        Header { id: 7, questions: 1, ..Header::default() }.write(&mut message);
        message.extend_from_slice(name(apex).as_wire());
        message.extend_from_slice(&[0, qtype.0 as u8, 0, 1]);
        let mut query = Query::default();
        query.parse(&message, &HashKey::new([7; 24])).unwrap();
        Question::of(&query, &message, 1232)
    }

    fn outgoing(maintain: &Maintain, apex: &str, since: Option<u32>) -> Outgoing<Box<dyn Source>> {
        let transfer = maintain.transfer(&name(apex), since.map(Serial)).unwrap().unwrap();
        let qtype = if since.is_some() { Type::IXFR } else { Type::AXFR };
        Outgoing::new(asked(apex, qtype), name(apex), transfer.source, Room::of_stream(100))
    }

    /// The records of one message, as a peer reads them.
    fn read(message: &[u8]) -> Vec<Record> {
        let header = Header::read(message).unwrap();
        let mut at = 12 + crate::wire::name::wire_len(&message[12..]).unwrap() + 4;
        let records = (0..header.answers).map(|_| {
            let record = RecordAt::read(message, at).unwrap();
            let owner = rdata::expand(Type::NS, message, at..record.rdata_at - 10).unwrap();
            let octets = rdata::expand(record.rtype, message, record.rdata_at..record.end).unwrap();
            at = record.end;
            let canonical = rdata::canonical(record.rtype, &octets).into_owned();
            (Name::from_wire(&owner).unwrap().key(), record.rtype, record.ttl, canonical)
        });
        let records = records.collect();
        assert_eq!(at, message.len());
        records
    }

    fn all(mut outgoing: Outgoing<impl Source>) -> Vec<Record> {
        let (mut records, mut out) = (Vec::new(), Vec::new());
        while outgoing.next(&mut out).unwrap() {
            assert!(out.len() <= crate::xfr::outgoing::FILL_OCTETS - 100);
            records.extend(read(&out));
        }
        records
    }

    /// A zone out of an AXFR: a set, and the SOA twice.
    fn whole(records: &[Record]) -> BTreeSet<Record> {
        assert!(records.len() > 1 && records.first() == records.last());
        let set: BTreeSet<Record> = records.iter().cloned().collect();
        assert_eq!(set.len(), records.len() - 1, "a record was sent twice");
        set
    }

    /// Does what an IXFR says to a zone, as strictly as RFC 1995 allows.
    fn apply(zone: &mut BTreeSet<Record>, records: &[Record]) {
        let last = records.first().unwrap();
        if records.len() == 1 || records.get(1).unwrap().1 != Type::SOA {
            if records.len() > 1 {
                *zone = whole(records);
            }
            return;
        }
        let (mut adding, mut sections) = (true, 0);
        for record in &records[1..records.len() - 1] {
            if record.1 == Type::SOA {
                (adding, sections) = (!adding, sections + 1);
            }
            let changed = if adding { zone.insert(record.clone()) } else { zone.remove(record) };
            assert!(changed, "{record:?} comes though there, or goes though not");
        }
        assert_eq!(sections % 2, 0);
        assert_eq!(records.last(), Some(last));
    }

    fn change() -> impl Strategy<Value = ZoneChange> {
        let labels = prop::sample::select(vec!["w", "a", "b.a", "*.b", "q.w.e", "*"]);
        (0..12, labels, 0u8..4).prop_map(|(what, label, last)| match what {
            0 => {
                let ZoneChange::Create { content, .. } = create("x.", 1) else { unreachable!() };
                ZoneChange::Replace { apex: name("x."), content }
            }
            1..4 => remove("x.", label),
            4 => {
                let owner = name(&format!("{label}.x."));
                let op = crate::zone::Op::SetTtl { ttl: 60 + u32::from(last) };
                let edit =
                    crate::zone::RrSetEdit { owner, rtype: Type::A, op, base: Base::Unchecked };
                ZoneChange::Edit { apex: name("x."), edits: vec![edit] }
            }
            _ => set("x.", label, last, Base::Unchecked),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Goal: IXFR(a→b) on AXFR(a) is AXFR(b), for every a the journal holds.
        #[test]
        fn ixfr_from_any_version_on_its_axfr_is_the_axfr_of_the_last(
            changes in prop::collection::vec(change(), 1..30),
        ) {
            let maintain = maintain();
            commit(&maintain, &[create("x.", 1)]).unwrap();
            let mut versions = vec![(1, whole(&all(outgoing(&maintain, "x.", None))))];
            for change in changes {
                let _ = commit(&maintain, &[change]);
                let now = serial(&maintain, "x.").unwrap().0;
                if now != versions.last().unwrap().0 {
                    versions.push((now, whole(&all(outgoing(&maintain, "x.", None)))));
                }
            }
            let (_, last) = versions.last().unwrap().clone();
            for (serial, mut zone) in versions {
                apply(&mut zone, &all(outgoing(&maintain, "x.", Some(serial))));
                prop_assert_eq!(&zone, &last, "from {}", serial);
            }
        }

        /// Goal: a transfer gives the version it began with, whatever is committed meanwhile.
        #[test]
        fn a_zone_that_changes_while_it_is_sent_is_sent_as_it_was(
            changes in prop::collection::vec((0u16..3000, 0u8..4), 1..40),
            pause in 1usize..6,
        ) {
            let maintain = maintain();
            commit(&maintain, &[large("x.", 3000)]).unwrap();
            let before = whole(&all(outgoing(&maintain, "x.", None)));
            let mut sending = outgoing(&maintain, "x.", None);
            let (mut sent, mut out) = (Vec::new(), Vec::new());
            let mut changes = changes.into_iter();
            while sending.next(&mut out).unwrap() {
                sent.extend(read(&out));
                for (host, last) in changes.by_ref().take(pause) {
                    let label = format!("h{host}");
                    let change = match last {
                        0 => remove("x.", &label),
                        1 => set("x.", &format!("new.{label}"), last, Base::Unchecked),
                        _ => set("x.", &label, last, Base::Unchecked),
                    };
                    commit(&maintain, &[change]).unwrap();
                }
            }
            prop_assert_eq!(whole(&sent), before);
            let now = whole(&all(outgoing(&maintain, "x.", None)));
            let counts = crate::zone::chunk::Counts::of(&tree(&maintain, "x.").to_packed());
            prop_assert_eq!(now.len() as i64, counts.records);
        }
    }

    /// A zone of so many hosts.
    fn large(apex: &str, hosts: usize) -> ZoneChange {
        let ZoneChange::Create { apex: wire, org, content } = create(apex, 1) else {
            unreachable!()
        };
        let Content::RrSets(mut sets) = content else { unreachable!() };
        sets.extend((0..hosts).map(|host| {
            let rdatas = vec![Box::from([192, 0, 2, (host % 250) as u8])];
            RrSet::new(name(&format!("h{host}.{apex}")), Type::A, 300, rdatas)
        }));
        ZoneChange::Create { apex: wire, org, content: Content::RrSets(sets) }
    }

    #[test]
    fn a_peer_that_is_current_or_ahead_gets_one_soa() {
        let maintain = maintain();
        commit(&maintain, &[create("x.", 7)]).unwrap();
        for since in [7, 8, 1000] {
            let records = all(outgoing(&maintain, "x.", Some(since)));
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].1, Type::SOA);
        }
        assert!(maintain.transfer(&name("y."), None).unwrap().is_none());
        assert!(maintain.transfer(&name("www.x."), None).unwrap().is_none());
    }

    /// Goal: nor does whoever is ahead get the zone when much has changed of late.
    /// Method: steps that are more than the zone, and a serial that is none of theirs.
    #[test]
    fn a_peer_that_is_ahead_gets_one_soa_also_when_the_steps_are_more_than_the_zone() {
        let maintain = maintain();
        commit(&maintain, &[create("x.", 7)]).unwrap();
        for fill in [1_u8, 2] {
            let rdata = |n: u8| [&[251, n][..], &[fill; 250]].concat().into_boxed_slice();
            let op = Op::Replace { ttl: 300, rdatas: (0..200).map(rdata).collect() };
            let edit =
                RrSetEdit { owner: name("t.x."), rtype: Type::TXT, op, base: Base::Unchecked };
            commit(&maintain, &[ZoneChange::Edit { apex: name("x."), edits: vec![edit] }]).unwrap();
        }
        let form =
            |since| maintain.transfer(&name("x."), Some(Serial(since))).unwrap().unwrap().form;
        assert!(matches!(form(7), Form::Whole(Some(why)) if why.contains("more than the zone")));
        for since in [1_000, 7 + (1 << 31)] {
            assert!(matches!(form(since), Form::Current), "{since}");
            assert_eq!(all(outgoing(&maintain, "x.", Some(since))).len(), 1);
        }
    }

    #[test]
    fn ixfr_from_before_the_journal_is_answered_with_axfr_and_a_reason() {
        let maintain = maintain();
        commit(&maintain, &[create("x.", 7)]).unwrap();
        let transfer = maintain.transfer(&name("x."), Some(Serial(3))).unwrap().unwrap();
        assert!(matches!(transfer.form, Form::Whole(Some(_))));
        assert_eq!(whole(&all(outgoing(&maintain, "x.", Some(3)))).len(), 3);
    }

    #[test]
    fn many_steps_go_one_by_one_and_few_as_one() {
        let maintain = maintain();
        commit(&maintain, &[large("x.", 40_000)]).unwrap();
        let mut zone = whole(&all(outgoing(&maintain, "x.", None)));
        commit(&maintain, &[set("x.", "h1", 7, Base::Unchecked)]).unwrap();
        commit(&maintain, &[set("x.", "h1", 8, Base::Unchecked)]).unwrap();
        let few = all(outgoing(&maintain, "x.", Some(1)));
        assert_eq!(few.iter().filter(|record| record.1 == Type::SOA).count(), 4);
        for round in 0..2u8 {
            let edits = (0..6000).map(|host| {
                match set("x.", &format!("h{host}"), 100 + round, Base::Unchecked) {
                    ZoneChange::Edit { edits, .. } => edits,
                    _ => unreachable!(),
                }
            });
            let edits = edits.flatten().collect();
            commit(&maintain, &[ZoneChange::Edit { apex: name("x."), edits }]).unwrap();
        }
        let many = all(outgoing(&maintain, "x.", Some(1)));
        assert_eq!(many.iter().filter(|record| record.1 == Type::SOA).count(), 10);
        apply(&mut zone, &many);
        assert_eq!(zone, whole(&all(outgoing(&maintain, "x.", None))));
    }

    #[test]
    fn messages_are_filled_and_no_part_of_a_large_step_is_large() {
        let maintain = maintain();
        commit(&maintain, &[large("x.", 20_000)]).unwrap();
        let mut sending = outgoing(&maintain, "x.", None);
        let (mut lens, mut out) = (Vec::new(), Vec::new());
        while sending.next(&mut out).unwrap() {
            lens.push(out.len());
        }
        lens.pop();
        let full = crate::xfr::outgoing::FILL_OCTETS - 100;
        assert!(lens.len() > 10 && lens.iter().all(|len| (full - 60..=full).contains(len)));

        let edits = (0..8_000).flat_map(|host| {
            match set("x.", &format!("h{host}"), 251, Base::Unchecked) {
                ZoneChange::Edit { edits, .. } => edits,
                _ => unreachable!(),
            }
        });
        let edits = edits.collect();
        commit(&maintain, &[ZoneChange::Edit { apex: name("x."), edits }]).unwrap();
        let transfer = maintain.transfer(&name("x."), Some(Serial(1))).unwrap().unwrap();
        assert_eq!(transfer.form, Form::Steps(1));
        let mut source = transfer.source;
        let (mut whole, mut largest) = (0, 0);
        while let Some(part) = source.part().unwrap() {
            if let Part::Nodes(nodes) = part {
                (whole, largest) = (whole + nodes.len(), largest.max(nodes.len()));
            }
        }
        assert!(whole > 450_000 && largest < 70_000, "{largest} of {whole} octets at once");
    }

    #[test]
    fn a_zone_that_is_gone_ends_its_transfers_unfinished() {
        let maintain = maintain();
        commit(&maintain, &[large("x.", 30_000)]).unwrap();
        let mut sending = outgoing(&maintain, "x.", None);
        let mut out = Vec::new();
        assert_eq!(sending.next(&mut out), Ok(true));
        commit(&maintain, &[ZoneChange::Delete { apex: name("x.") }]).unwrap();
        let end = std::iter::from_fn(|| match sending.next(&mut out) {
            Ok(true) => Some(true),
            other => {
                assert!(other.is_err());
                None
            }
        });
        assert!(end.count() < 10);
    }
}
