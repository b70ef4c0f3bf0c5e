//! Start-up: every zone of the store into the answer table, by several readers at once.
//!
//! Until all zones are loaded, what is not found is answered with SERVFAIL, never REFUSED: a zone
//! that is still on its way must not look like one that is not here. Commits wait for the end.
//!
//! Readers put aside what they render, apart by the hashes of names; when all is read, they make the table, part
//! by part. So each of its pages is made once, and not again for each name that comes to it. A large zone is
//! rendered in parts, by all of them.
//!
//! This is also what repeats the publication of whatever was persisted before a crash: the snapshot
//! is made from the store, so it holds exactly what the log acknowledged.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::Maintain;
use super::publish::{self, Publisher};
use super::rows::{self, CHUNKS, Zone};
use crate::answer::{self, Bulk, ChainPart, Rendered, Writer, render};
use crate::store::{Rows, Tail};
use crate::wire::{HashKey, Name};
use crate::zone::tree::PackedZone;
use crate::zone::{ReadFault, View};

/// Zones a reader takes at a time.
const PAGE_ZONES: usize = 1_024;

/// Rendered octets that a reader puts aside in one step, while they are still in a cache.
const STEP_OCTETS: usize = 1 << 20;

/// A zone of more octets is rendered in parts, by all readers, once the others are read.
pub(super) const LARGE_OCTETS: i64 = 4 << 20;

/// Octets of a part of a large zone.
pub(super) const PART_OCTETS: usize = 1 << 20;

/// Readers side by side; more only wait for the table.
const READERS_MAX: usize = 4;

/// How far the start-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub zones: u64,
    pub loaded: u64,
    /// Zones that could not be read; they are answered with SERVFAIL.
    pub failed: u64,
    /// Whether all zones answer.
    pub ready: bool,
}

/// What is known of all zones before the first is loaded.
struct Survey {
    zones: u64,
    /// Zones with other zones below them.
    above: HashSet<u32>,
}

/// What a thread came to, a panic being a fault.
fn joined<T>(result: thread::Result<Result<T, ReadFault>>) -> Result<T, ReadFault> {
    result.unwrap_or_else(|_| Err(ReadFault("a reader of zones panicked".into())))
}

/// Counts what is loaded, and holds commits back until everything is.
#[derive(Debug, Default)]
pub(super) struct Gate {
    zones: AtomicU64,
    loaded: AtomicU64,
    failed: AtomicU64,
    open: AtomicBool,
    /// Why it will not open any more.
    shut: Mutex<Option<ReadFault>>,
    turned: Condvar,
}

impl Gate {
    pub fn progress(&self) -> Progress {
        Progress {
            zones: self.zones.load(Ordering::Relaxed),
            loaded: self.loaded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            ready: self.open.load(Ordering::Acquire),
        }
    }

    /// Returns once everything is loaded.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when that will not come any more.
    pub fn wait(&self) -> Result<(), ReadFault> {
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.open.load(Ordering::Acquire) {
            if let Some(why) = &*shut {
                return Err(why.clone());
            }
            shut = self.turned.wait(shut).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn open(&self) {
        let _shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.store(true, Ordering::Release);
        self.turned.notify_all();
    }

    /// Lets nobody wait any more; a load under way ends.
    pub fn shut(&self, why: &str) {
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        shut.get_or_insert_with(|| ReadFault(why.into()));
        self.turned.notify_all();
    }

    fn is_shut(&self) -> Result<(), ReadFault> {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        shut.clone().map_or(Ok(()), Err)
    }
}

impl Maintain {
    /// How far the start-up is.
    pub fn progress(&self) -> Progress {
        self.gate().progress()
    }

    /// Loads every zone into the table, then lets commits pass. Zones that cannot be read are
    /// answered with SERVFAIL and counted.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when not even the list of zones can be read, or the keeper was told to stop.
    /// Commits are refused then.
    pub fn load(&self) -> Result<Progress, ReadFault> {
        self.load_all().inspect_err(|fault| self.gate().shut(&fault.0))
    }

    fn load_all(&self) -> Result<Progress, ReadFault> {
        let Some(publisher) = self.publisher() else {
            self.gate().open();
            return Ok(self.progress());
        };
        let survey = self.survey()?;
        self.gate().zones.store(survey.zones, Ordering::Relaxed);
        publisher.write(Writer::start_load);
        let hands = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
        let read = self.read_zones(publisher, &survey, hands).and_then(|readers| {
            let readers = self.read_large(readers)?;
            Ok(readers.into_iter().map(|reader| reader.bulk).collect())
        });
        let (read, fault) = match read {
            Ok(read) => (read, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        publisher.write(|writer| {
            writer.load(read, hands);
            writer.end_load();
        });
        fault.map_or(Ok(()), Err)?;
        self.gate().open();
        Ok(self.progress())
    }

    /// Looks over all zones, by name: what is known of each only from the others, or only of all. Zones below others
    /// follow those at once, so one sweep is far less than a look for each.
    fn survey(&self) -> Result<Survey, ReadFault> {
        let mut survey = Survey { zones: 0, above: HashSet::new() };
        let mut last = None::<(Vec<u8>, u32)>;
        let mut take = |Tail(key), id: u32| {
            if let Some((zone, id)) = &last
                && key.starts_with(zone.as_slice())
            {
                survey.above.insert(*id);
            }
            survey.zones += 1;
            last = Some((key, id));
            ControlFlow::Continue(())
        };
        self.store()
            .read(|rows| rows.visit(&rows::ZONES_BY_NAME, .., &mut take))
            .map_err(rows::fault)?;
        Ok(survey)
    }

    /// Reads all zones but the large ones, which each reader notes.
    fn read_zones<'m>(
        &'m self,
        publisher: &Publisher,
        survey: &'m Survey,
        hands: usize,
    ) -> Result<Vec<Reader<'m>>, ReadFault> {
        let next = Mutex::new(Some(0));
        let hand = || {
            let mut reader = Reader::new(self, survey, &publisher.key);
            self.load_pages(&mut reader, &next).map(|()| reader)
        };
        thread::scope(|scope| {
            let hands: Vec<_> = (0..hands).map(|_| scope.spawn(hand)).collect();
            hands.into_iter().map(|hand| joined(hand.join())).collect()
        })
    }

    /// Takes pages of zones from `next`, the first id not yet taken, until there are none.
    fn load_pages(
        &self,
        reader: &mut Reader<'_>,
        next: &Mutex<Option<u32>>,
    ) -> Result<(), ReadFault> {
        let mut octets = Vec::new();
        loop {
            self.gate().is_shut()?;
            let page = {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(from) = *next else { break };
                let page = self.store().read(|rows| rows.range(&rows::ZONES, from.., PAGE_ZONES));
                let page: Vec<Zone> =
                    page.map_err(rows::fault)?.into_iter().map(|(_, zone)| zone).collect();
                *next = page.last().and_then(|zone| zone.id.checked_add(1));
                page
            };
            reader.load_page(&page, &mut octets)?;
        }
        reader.bulk.take(&mut reader.into);
        Ok(())
    }

    /// Reads the large zones that `readers` noted, part by part and each part by whoever is free.
    fn read_large<'m>(&self, mut readers: Vec<Reader<'m>>) -> Result<Vec<Reader<'m>>, ReadFault> {
        let noted = readers.iter_mut().flat_map(|reader| std::mem::take(&mut reader.large));
        let zones: Vec<(Zone, Vec<Vec<u8>>)> = noted
            .map(|zone| {
                let borders = self.store().read(|rows| rows::borders(rows, &zone, PART_OCTETS))?;
                Ok((zone, borders))
            })
            .collect::<Result<_, _>>()?;
        let parts: Vec<Part<'_>> = zones.iter().flat_map(Part::all).collect();
        let next = AtomicUsize::new(0);
        let hand = |mut reader: Reader<'m>| {
            let mut done = Vec::new();
            loop {
                self.gate().is_shut()?;
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(part) = parts.get(number) else { break };
                done.push((number, reader.render_part(part)));
            }
            reader.bulk.take(&mut reader.into);
            Ok((reader, done))
        };
        let mut done = Vec::new();
        let mut readers: Vec<Reader<'m>> = thread::scope(|scope| {
            let hands: Vec<_> =
                readers.into_iter().map(|reader| scope.spawn(|| hand(reader))).collect();
            let readers = hands.into_iter().map(|hand| {
                let (reader, parts) = joined(hand.join())?;
                done.extend(parts);
                Ok(reader)
            });
            readers.collect::<Result<_, ReadFault>>()
        })?;
        done.sort_unstable_by_key(|(number, _)| *number);
        let mut done = done.into_iter().map(|(_, part)| part);
        // What the last of them puts counts: it is what comes of a zone that cannot be read.
        if let Some(last) = readers.last_mut() {
            for (zone, borders) in &zones {
                let parts: Vec<_> = done.by_ref().take(borders.len() + 1).collect();
                let chain: Result<Vec<ChainPart>, _> = parts.into_iter().collect();
                let whole = chain.map(|chain| last.into.put_chain(zone.id, chain));
                last.note(zone, whole);
            }
            last.bulk.take(&mut last.into);
        }
        Ok(readers)
    }
}

/// A part of a large zone, between two keys.
#[derive(Clone, Copy)]
struct Part<'z> {
    zone: &'z Zone,
    from: Option<&'z [u8]>,
    to: Option<&'z [u8]>,
}

impl Part<'_> {
    /// All parts of a zone, in order.
    fn all((zone, borders): &(Zone, Vec<Vec<u8>>)) -> impl Iterator<Item = Part<'_>> {
        let border = |at: usize| borders.get(at).map(Vec::as_slice);
        (0..=borders.len()).map(move |at| Part {
            zone,
            from: at.checked_sub(1).and_then(border),
            to: border(at),
        })
    }
}

/// One of those who read zones, and what it has rendered of them.
struct Reader<'m> {
    maintain: &'m Maintain,
    survey: &'m Survey,
    into: Rendered,
    bulk: Bulk,
    /// Zones that were left out, to be read in parts.
    large: Vec<Zone>,
}

/// A zone to be rendered once its sweep is over, with its nodes if they were read.
type Later<'z> = (&'z Zone, Option<Vec<u8>>);

impl<'m> Reader<'m> {
    fn new(maintain: &'m Maintain, survey: &'m Survey, key: &HashKey) -> Reader<'m> {
        let (into, bulk) = (Rendered::new(key), Bulk::new(key));
        Reader { maintain, survey, into, bulk, large: Vec::new() }
    }

    /// Loads zones that stand side by side; `octets` is room for the nodes of one.
    fn load_page(&mut self, page: &[Zone], octets: &mut Vec<u8>) -> Result<(), ReadFault> {
        let is_large = |zone: &Zone| zone.counts.octets > LARGE_OCTETS && zone.is_answered();
        let fits = |zone: &Zone| !is_large(zone) && zone.is_answered();
        let (mut later, mut rest) = (Vec::new(), page);
        while let Some((zone, others)) = rest.split_first() {
            // Sweeps end before zones to be read on their own, so that their rows are not passed over.
            let swept = rest.iter().take_while(|zone| fits(zone)).count();
            match rest.split_at_checked(swept) {
                Some((zones, others)) if swept > 0 => {
                    self.sweep(zones, octets, &mut later)?;
                    rest = others;
                }
                _ => {
                    match is_large(zone) {
                        true => self.large.push(zone.clone()),
                        false => later.push((zone, None)),
                    }
                    rest = others;
                }
            }
        }
        for (zone, octets) in later {
            self.load(zone, octets.as_deref());
        }
        Ok(())
    }

    /// Reads the rows of `zones` in one sweep and renders each zone when it is read whole. Left for later are
    /// those that want more of the store: they have zones below them, or chunks in parts.
    fn sweep<'z>(
        &mut self,
        zones: &'z [Zone],
        octets: &mut Vec<u8>,
        later: &mut Vec<Later<'z>>,
    ) -> Result<(), ReadFault> {
        let (Some(first), Some(last)) = (zones.first(), zones.last()) else { return Ok(()) };
        let from = (first.id, 0, Tail::default());
        let to = (last.id, u32::MAX, Tail(vec![u8::MAX; 64]));
        let store = self.maintain.store();
        let (mut rest, mut is_whole) = (zones.iter().peekable(), true);
        octets.clear();
        let mut end = |zone: &'z Zone, octets: &mut Vec<u8>, is_whole: &mut bool| {
            match *is_whole {
                true if !self.survey.above.contains(&zone.id) => self.load(zone, Some(octets)),
                true => later.push((zone, Some(octets.clone()))),
                false => later.push((zone, None)),
            }
            octets.clear();
            *is_whole = true;
        };
        let mut take = |(id, generation): (u32, u32), value: &[u8]| {
            while let Some(zone) = rest.next_if(|zone| zone.id < id) {
                end(zone, octets, &mut is_whole);
            }
            if rest.peek().is_some_and(|zone| (zone.id, zone.generation) == (id, generation)) {
                match value.split_first() {
                    Some((&rows::WHOLE, nodes)) => octets.extend_from_slice(nodes),
                    _ => is_whole = false,
                }
            }
            ControlFlow::Continue(())
        };
        let read = store.read(|rows| rows.visit_octets(&CHUNKS, from..=to, &mut take));
        read.map_err(rows::fault)?;
        rest.for_each(|zone| end(zone, octets, &mut is_whole));
        Ok(())
    }

    /// Renders one zone; one that cannot be read is not served.
    fn load(&mut self, zone: &Zone, octets: Option<&[u8]>) {
        let rendered = self.render(zone, octets);
        self.note(zone, rendered);
        self.put_aside();
    }

    /// Counts a zone that is read, or says why it is not served.
    fn note(&mut self, zone: &Zone, rendered: Result<(), ReadFault>) {
        let gate = self.maintain.gate();
        match rendered {
            Ok(()) => drop(gate.loaded.fetch_add(1, Ordering::Relaxed)),
            Err(fault) => {
                tracing::error!(zone = %zone.apex, %fault, "{} is not served: {fault}", zone.apex);
                gate.failed.fetch_add(1, Ordering::Relaxed);
                self.into.put_stub(&zone.apex, zone.id, answer::ZoneState::Loading);
            }
        }
    }

    fn put_aside(&mut self) {
        if self.into.octets() > STEP_OCTETS {
            self.bulk.take(&mut self.into);
        }
    }

    /// Renders a part of a large zone from the store.
    fn render_part(&mut self, part: &Part<'_>) -> Result<ChainPart, ReadFault> {
        let (into, Part { zone, from, to }) = (&mut self.into, *part);
        let rendered = self.maintain.store().read(|rows| {
            publish::with_children(rows, zone, |children| {
                rows::with_view(rows, zone, |view| {
                    render::part(into, &render::Zone { id: zone.id, view, children }, from, to)
                })
            })
        });
        self.put_aside();
        rendered?
    }

    /// Renders a zone from its nodes, or from the store. Within a sweep the store is in use.
    fn render(&mut self, zone: &Zone, octets: Option<&[u8]>) -> Result<(), ReadFault> {
        let into = &mut self.into;
        if !zone.is_answered() {
            publish::put_stub(into, zone);
            return Ok(());
        }
        let mut put = |view: &dyn View, children: Option<&dyn Fn(&Name) -> bool>| {
            render::zone(into, &render::Zone { id: zone.id, view, children })
        };
        match (octets, self.survey.above.contains(&zone.id)) {
            (Some(octets), false) => put(&PackedZone::new(zone.apex.clone(), octets), None),
            (octets, _) => self.maintain.store().read(|rows| {
                publish::with_children(rows, zone, |children| match octets {
                    Some(octets) => put(&PackedZone::new(zone.apex.clone(), octets), children),
                    None => rows::with_view(rows, zone, |view| put(view, children)),
                })
            })?,
        }
    }
}
