//! Start-up: every zone of the store into the answer table, by several readers at once.
//!
//! Until all zones are loaded, what is not found is answered with SERVFAIL, never REFUSED: a zone
//! that is still on its way must not look like one that is not here. Commits wait for the end.
//!
//! Readers put aside what they render, apart by the hashes of names; when all is read, they make the table, part
//! by part. So each of its pages is made once, and not again for each name that comes to it.
//!
//! This is also what repeats the publication of whatever was persisted before a crash: the snapshot
//! is made from the store, so it holds exactly what the log acknowledged.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::Maintain;
use super::publish::{self, Publisher};
use super::rows::{self, CHUNKS, Zone};
use crate::answer::{self, Bulk, Rendered, Writer, render};
use crate::store::{Rows, Tail};
use crate::wire::Name;
use crate::zone::tree::PackedZone;
use crate::zone::{ReadFault, View};

/// Zones a reader takes at a time.
const PAGE_ZONES: usize = 1_024;

/// Rendered octets that a reader puts aside in one step, while they are still in a cache.
const STEP_OCTETS: usize = 1 << 20;

/// A zone larger than this is rendered from the store, row by row, instead of from memory.
const MEMORY_OCTETS_MAX: i64 = 64 << 20;

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

/// Room for all nodes of a zone.
fn room_for(zone: &Zone) -> Vec<u8> {
    Vec::with_capacity(zone.counts.octets.clamp(0, MEMORY_OCTETS_MAX) as usize)
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
        let _held = self.store().hold_index();
        let survey = self.survey()?;
        self.gate().zones.store(survey.zones, Ordering::Relaxed);
        publisher.write(Writer::start_load);
        let next = Mutex::new(Some(0));
        let readers = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
        let read: Result<Vec<Bulk>, _> = thread::scope(|scope| {
            let read = || self.load_pages(publisher, &survey, &next);
            let readers: Vec<_> = (0..readers).map(|_| scope.spawn(read)).collect();
            readers.into_iter().map(|reader| joined(reader.join())).collect()
        });
        let (read, fault) = match read {
            Ok(read) => (read, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        publisher.write(|writer| {
            writer.load(read, readers);
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

    /// Takes pages of zones from `next`, the first id not yet taken, until there are none.
    fn load_pages(
        &self,
        publisher: &Publisher,
        survey: &Survey,
        next: &Mutex<Option<u32>>,
    ) -> Result<Bulk, ReadFault> {
        let (mut into, mut bulk) = (Rendered::new(&publisher.key), Bulk::new(&publisher.key));
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
            self.load_page(survey, &page, &mut into, &mut bulk)?;
        }
        bulk.take(&mut into);
        Ok(bulk)
    }

    fn load_page(
        &self,
        survey: &Survey,
        page: &[Zone],
        into: &mut Rendered,
        bulk: &mut Bulk,
    ) -> Result<(), ReadFault> {
        let contents = self.contents(page)?;
        for (zone, octets) in page.iter().zip(contents) {
            match self.load_zone(survey, zone, octets.as_deref(), into) {
                Ok(()) => drop(self.gate().loaded.fetch_add(1, Ordering::Relaxed)),
                Err(fault) => {
                    tracing::error!(zone = %zone.apex, %fault, "{} is not served: {fault}", zone.apex);
                    self.gate().failed.fetch_add(1, Ordering::Relaxed);
                    into.put_stub(&zone.apex, zone.id, answer::ZoneState::Loading);
                }
            }
            if into.octets() > STEP_OCTETS {
                bulk.take(into);
            }
        }
        Ok(())
    }

    fn load_zone(
        &self,
        survey: &Survey,
        zone: &Zone,
        octets: Option<&[u8]>,
        into: &mut Rendered,
    ) -> Result<(), ReadFault> {
        if !zone.is_answered() {
            publish::put_stub(into, zone);
            return Ok(());
        }
        let mut put = |view: &dyn View, children: Option<&dyn Fn(&Name) -> bool>| {
            render::zone(into, &render::Zone { id: zone.id, view, children })
        };
        match (octets, survey.above.contains(&zone.id)) {
            (Some(octets), false) => put(&PackedZone::new(zone.apex.clone(), octets), None),
            (octets, _) => self.store().read(|rows| {
                publish::with_children(rows, zone, |children| match octets {
                    Some(octets) => put(&PackedZone::new(zone.apex.clone(), octets), children),
                    None => rows::with_view(rows, zone, |view| put(view, children)),
                })
            })?,
        }
    }

    /// The nodes of each zone of a page, read in one sweep; none for a zone to be read on its own:
    /// it is too large for memory, or has chunks in parts.
    fn contents(&self, page: &[Zone]) -> Result<Vec<Option<Vec<u8>>>, ReadFault> {
        let fits = |zone: &Zone| zone.counts.octets < MEMORY_OCTETS_MAX && zone.is_answered();
        let mut contents: Vec<Option<Vec<u8>>> =
            page.iter().map(|zone| fits(zone).then(|| room_for(zone))).collect();
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(contents) };
        // Sweeps end before zones to be read on their own, so that their rows are not passed over.
        let mut at = 0;
        while let Some(start) = page.iter().skip(at).position(fits).map(|skip| at + skip) {
            let len = page.iter().skip(start).take_while(|zone| fits(zone)).count();
            at = start + len;
            let id = |number: usize| page.get(number).map(|zone| zone.id);
            let from = (id(start).unwrap_or(first.id), 0, Tail::default());
            let last = id(at - 1).unwrap_or(last.id);
            let mut here = start;
            let mut take = |(id, generation, _): (u32, u32, Tail), value: &[u8]| {
                while page.get(here).is_some_and(|zone| zone.id < id) {
                    here += 1;
                }
                let zone =
                    page.get(here).filter(|zone| zone.id == id && zone.generation == generation);
                if zone.is_some()
                    && let Some(slot) = contents.get_mut(here)
                {
                    match (value.split_first(), slot.as_mut()) {
                        (Some((&rows::WHOLE, nodes)), Some(octets)) => {
                            octets.extend_from_slice(nodes)
                        }
                        _ => *slot = None,
                    }
                }
                ControlFlow::Continue(())
            };
            self.store()
                .read(|rows| {
                    rows.visit_octets(
                        &CHUNKS,
                        from..=(last, u32::MAX, Tail(vec![u8::MAX; 64])),
                        &mut take,
                    )
                })
                .map_err(rows::fault)?;
        }
        Ok(contents)
    }
}
