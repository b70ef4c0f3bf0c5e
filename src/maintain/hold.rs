//! Held zones: signed here, and their signatures cannot be made anew.
//!
//! Whatever the reason (a key that does not open, a clock that leapt, a full disk), such a zone is
//! served at its last good version, says why, and is tried again. When half the time has passed that
//! its signatures were still good for, somebody is called: in the log, as an event, in the metrics.
//!
//! Promises: a hold is known while the store takes no writes, and kept as soon as it does; each turn of
//! it is told once.
//!
//! Does not: write events. What happened waits as [`News`] for who does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::rows::{self, Zone, fault};
use super::signing::{self, ENDS, SIGNINGS, SIGNINGS_DUE, Served, Signing};
use super::{Maintain, secrets};
use crate::store::{Reader, RowError, Rows, Table, Tx};
use crate::wire::Name;
use crate::zone::ReadFault;

/// Zone → why it is held.
const HELD: Table<u32, Hold> = Table::new("zones held", *b"zh");
/// Running number → what happened to a hold, until it is told.
const NEWS: Table<u64, News> = Table::new("news of holds", *b"zv");

/// Zones that are looked at, or kept, at a time.
const PAGE: usize = 256;

/// Time between two looks at who is to be called.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Why and since when a zone is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Seconds since 1970.
    pub since_s: u64,
    pub why: String,
    /// When its first signature expired or will, in seconds since 1970; 0 if it has none.
    pub ends_s: u64,
    /// When somebody was called, in seconds since 1970.
    pub alarmed_s: Option<u64>,
}

impl Hold {
    /// When somebody is called, in seconds since 1970; never for a zone without signatures.
    pub fn alarm_at_s(&self) -> Option<u64> {
        (self.ends_s > 0).then(|| half_way(self.since_s, self.ends_s))
    }
}

/// When half the time from `since_s` to `ends_s` has passed.
fn half_way(since_s: u64, ends_s: u64) -> u64 {
    ends_s - ends_s.saturating_sub(since_s) / 2
}

/// A turn of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    Held,
    /// Half the remaining validity has passed.
    Expires,
    Released,
    /// A server of the zone was seen with what another signer made (see [`strangers`](super::strangers)).
    SecondSigner,
    /// None is any more.
    OneSigner,
}

/// What happened to a zone's hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    pub apex: Name,
    /// Who holds the zone, opaque here.
    pub org: String,
    pub turn: Turn,
}

/// The zones that are held.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: Mutex<BTreeMap<u32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    hold: Hold,
    released: bool,
    /// Whether the store has it like this.
    kept: bool,
    /// Whether the zone's own row names the fault: once it no longer does, the hold is over.
    fault_kept: bool,
    news: Vec<News>,
}

/// When holds are looked at next.
#[derive(Debug, Default)]
pub struct Watch {
    pause: Option<Instant>,
}

/// What happened and is not told yet, oldest first, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn news(rows: &impl Rows, limit: usize) -> Result<Vec<(u64, News)>, ReadFault> {
    rows.range(&NEWS, .., limit).map_err(fault)
}

/// Forgets news that was told.
///
/// # Errors
///
/// When the store does not take it.
pub fn forget_news(tx: &mut Tx<'_>, number: u64) -> Result<(), RowError> {
    tx.delete(&NEWS, &number)
}

impl Board {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maintain {
    /// Takes up the holds of the last run.
    pub(super) fn load_holds(&self) {
        let kept = match self.store().read(|rows| rows.range(&HELD, .., usize::MAX)) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "holds of the last run cannot be read: {error}");
                return;
            }
        };
        let entry =
            |hold| Entry { hold, released: false, kept: true, fault_kept: true, news: Vec::new() };
        *self.board_of_holds().entries() =
            kept.into_iter().map(|(zone, hold)| (zone, entry(hold))).collect();
    }

    /// Why a zone is held; none if it is not.
    pub fn hold_of(&self, zone: &Zone) -> Option<Hold> {
        let entries = self.board_of_holds().entries();
        entries.get(&zone.id).filter(|entry| !entry.released).map(|entry| entry.hold.clone())
    }

    /// How many zones are held, and for how many of them somebody was called.
    pub fn holds(&self) -> (u64, u64) {
        let entries = self.board_of_holds().entries();
        let held = entries.values().filter(|entry| !entry.released);
        held.fold((0, 0), |(held, alarmed), entry| {
            (held + 1, alarmed + u64::from(entry.hold.alarmed_s.is_some()))
        })
    }

    /// The zones whose signatures expire first, with the seconds until they do; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn expiries(&self, limit: usize) -> Result<Vec<(Name, i64)>, ReadFault> {
        let now_s = self.trusted_now_s();
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let page = self.store().read(|rows| {
                let ends = signing::ends(rows, after, PAGE.min(limit - found.len()))?;
                let named = ends.into_iter().map(|end| Ok((end, rows::by_id(rows, end.1)?)));
                named.collect::<Result<Vec<_>, ReadFault>>()
            })?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            found.extend(page.into_iter().filter_map(|((end_s, _), zone)| {
                Some((zone?.apex, end_s.cast_signed() - now_s.cast_signed()))
            }));
        }
        Ok(found)
    }

    /// Notes that the signatures of a zone cannot be made anew; says so when that, or why, is new.
    pub(super) fn hold(&self, zone: &Zone, signing: &Signing, why: &str) {
        let now_s = self.trusted_now_s();
        let mut entries = self.board_of_holds().entries();
        let known = entries.get_mut(&zone.id).filter(|entry| !entry.released);
        if let Some(entry) = known {
            if entry.hold.why != why {
                entry.hold.why = why.to_owned();
                entry.kept = false;
                say_held(zone, &entry.hold, now_s);
            }
            return;
        }
        // Of what was due and put off by nobody, the time before counts too.
        let is_overdue = signing.fault.is_none() && (1..now_s).contains(&signing.due_s);
        let since_s = if is_overdue { signing.due_s } else { now_s };
        let ends_s = match signing.served {
            Served::Nothing => 0,
            Served::Plan | Served::Before(_) => signing.first_expiry_s,
        };
        let hold = Hold { since_s, why: why.to_owned(), ends_s, alarmed_s: None };
        say_held(zone, &hold, now_s);
        let before = entries.remove(&zone.id).map(|entry| entry.news).unwrap_or_default();
        let news = before.into_iter().chain([news_of(zone, Turn::Held)]).collect();
        let entry = Entry { hold, released: false, kept: false, fault_kept: false, news };
        entries.insert(zone.id, entry);
    }

    /// Notes that the row of a zone that is held names the fault.
    pub(super) fn fault_is_kept(&self, id: u32) {
        if let Some(entry) = self.board_of_holds().entries().get_mut(&id) {
            entry.fault_kept = true;
        }
    }

    /// Notes that a zone's signatures were made anew, or that it is gone.
    pub(super) fn release(&self, id: u32, zone: Option<&Zone>) {
        let mut entries = self.board_of_holds().entries();
        let Some(entry) = entries.get_mut(&id).filter(|entry| !entry.released) else { return };
        (entry.released, entry.kept) = (true, false);
        if let Some(zone) = zone {
            entry.news.push(news_of(zone, Turn::Released));
            tracing::info!(zone = %zone.apex, "{} is signed again, and no longer held", zone.apex);
        }
    }

    /// Looks from time to time at who is to be called, and keeps what there is.
    pub(super) fn watch_holds(&self, watch: &mut Watch) {
        if watch.pause.is_some_and(|pause| Instant::now() < pause) {
            return;
        }
        watch.pause = Some(Instant::now() + LOOK_PAUSE);
        if let Err(fault) = self.look_at_holds() {
            tracing::error!(%fault, "zones that are held cannot be read: {fault}");
        }
    }

    /// Calls somebody for each zone whose signatures have lived half the time they had left when they
    /// could first not be made anew, lets go of those that were, and keeps both.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn look_at_holds(&self) -> Result<(), ReadFault> {
        let now_s = self.trusted_now_s();
        let held: Vec<u32> = {
            let entries = self.board_of_holds().entries();
            entries.iter().filter(|(_, entry)| !entry.released).map(|(id, _)| *id).collect()
        };
        for page in held.chunks(PAGE) {
            let found = self.store().read(|rows| zones(rows, page.iter().copied()))?;
            found.into_iter().for_each(|(id, found)| self.look_at_hold(id, found, now_s));
        }
        let mut from = (0, 0);
        loop {
            let (page, found) = self.store().read(|rows| {
                let due = rows.range(&SIGNINGS_DUE, from..=(now_s, u32::MAX), PAGE);
                let due: Vec<(u64, u32)> =
                    due.map_err(fault)?.into_iter().map(|(key, ())| key).collect();
                let found = zones(rows, due.iter().map(|(_, id)| *id))?;
                Ok::<_, ReadFault>((due, found))
            })?;
            found.into_iter().for_each(|(id, found)| self.look_at_hold(id, found, now_s));
            match page.last() {
                Some((due_s, id)) if page.len() == PAGE => from = (*due_s, id.saturating_add(1)),
                _ => break,
            }
        }
        self.keep_holds();
        Ok(())
    }

    fn look_at_hold(&self, id: u32, found: Option<(Zone, Signing)>, now_s: u64) {
        let Some((zone, signing)) = found else { return self.release(id, None) };
        let held = self.hold_of(&zone);
        let is_over = self.board_of_holds().entries().get(&id).is_some_and(|entry| {
            signing.fault.is_none()
                && (entry.fault_kept || signing.first_expiry_s > entry.hold.ends_s)
        });
        if is_over {
            return self.release(id, Some(&zone));
        }
        let since_s = held.as_ref().map_or(signing.due_s, |hold| hold.since_s);
        let ends_s = signing.first_expiry_s;
        let is_called = held.as_ref().is_some_and(|hold| hold.alarmed_s.is_some());
        let is_signed = signing.served != Served::Nothing && ends_s > 0;
        if is_called || !is_signed || now_s < half_way(since_s, ends_s) {
            return;
        }
        if held.is_none() {
            self.hold(&zone, &signing, "its signatures are due and were not made anew");
        }
        let mut entries = self.board_of_holds().entries();
        let Some(entry) = entries.get_mut(&id) else { return };
        (entry.hold.alarmed_s, entry.kept) = (Some(now_s), false);
        entry.news.push(news_of(&zone, Turn::Expires));
        let (apex, why, left_s) = (&zone.apex, &entry.hold.why, ends_s.saturating_sub(now_s));
        tracing::error!(
            zone = %apex,
            left_s,
            "{apex} will be bogus in {left_s} seconds, when its first signature expires: {why}"
        );
    }

    /// Keeps what changed, if the store takes it; otherwise it is tried again.
    fn keep_holds(&self) {
        let mut changed: Vec<(u32, Option<Hold>, Vec<News>)> = Vec::new();
        for (id, entry) in self.board_of_holds().entries().iter().filter(|(_, entry)| !entry.kept) {
            let hold = (!entry.released).then(|| entry.hold.clone());
            changed.push((*id, hold, entry.news.clone()));
        }
        for page in changed.chunks(PAGE) {
            let kept = self.store().transact(|tx| page.iter().try_for_each(|row| put(tx, row)));
            if let Err(error) = kept {
                // The store says by itself when it stops taking writes.
                tracing::debug!(%error, "holds of zones are known and not kept: {error}");
                return;
            }
            let mut entries = self.board_of_holds().entries();
            for (id, hold, _) in page {
                match (hold, entries.get_mut(id)) {
                    (None, _) => drop(entries.remove(id)),
                    (Some(_), Some(entry)) => (entry.kept, entry.news) = (true, Vec::new()),
                    (Some(_), None) => {}
                }
            }
        }
    }
}

fn put(tx: &mut Tx<'_>, row: &(u32, Option<Hold>, Vec<News>)) -> Result<(), RowError> {
    let (id, hold, news) = row;
    match hold {
        Some(hold) => tx.put(&HELD, id, hold)?,
        None => tx.delete(&HELD, id)?,
    }
    news.iter().try_for_each(|news| put_news(tx, news))
}

/// Has something told.
pub(super) fn put_news(tx: &mut Tx<'_>, news: &News) -> Result<(), RowError> {
    let last = tx.prev(&NEWS, &u64::MAX)?.map_or(0, |(number, _)| number);
    tx.put(&NEWS, &(last + 1), news)
}

type Found = Vec<(u32, Option<(Zone, Signing)>)>;

/// Zones and how they are signed; none for one that is gone or not signed.
fn zones(rows: &Reader<'_>, ids: impl Iterator<Item = u32>) -> Result<Found, ReadFault> {
    let found = ids.map(|id| {
        let signing = rows.get(&SIGNINGS, &id).map_err(fault)?;
        Ok((id, rows::by_id(rows, id)?.zip(signing)))
    });
    found.collect()
}

fn news_of(zone: &Zone, turn: Turn) -> News {
    News { apex: zone.apex.clone(), org: zone.org.clone(), turn }
}

fn say_held(zone: &Zone, hold: &Hold, now_s: u64) {
    let (apex, why, left_s) = (&zone.apex, &hold.why, hold.ends_s.saturating_sub(now_s));
    tracing::error!(
        zone = %apex,
        left_s,
        "{apex} is held: it is not signed anew, {left_s} seconds before its first signature expires: {why}"
    );
}

impl Maintain {
    /// Has zones looked at now whose keys do not open, so that they say so at the start and not when
    /// their signatures are due; and lists when signatures expire, where an older release did not.
    ///
    /// Returns how many zones were looked at: none where an earlier start found all of them in order, and the
    /// instance key is the same.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read, or takes nothing.
    pub fn look_at_signing_keys(&self) -> Result<usize, ReadFault> {
        let Some(sealer) = &self.settings().sealer else { return Ok(0) };
        if self.store().read(|rows| secrets::are_all_of(rows, sealer))? {
            return Ok(0);
        }
        let (looked, odd) = self.look_at_all_signing_keys()?;
        if odd == 0 && self.secrets()?.lost() == 0 {
            let noted = secrets::note_all_of(self.store(), Some(sealer));
            noted.map_err(|error| ReadFault(error.to_string()))?;
        }
        Ok(looked)
    }

    /// How many zones were looked at, and of how many not all keys open.
    fn look_at_all_signing_keys(&self) -> Result<(usize, usize), ReadFault> {
        let (mut from, now_s) = (0, self.trusted_now_s());
        let (mut looked, mut shut) = (0, 0);
        loop {
            let (last, odd, count) = self.store().read(|rows| {
                let page = rows.range(&SIGNINGS, from.., PAGE).map_err(fault)?;
                let count = page.len();
                let last = page.last().map(|(id, _)| *id).filter(|_| page.len() == PAGE);
                let mut odd = Vec::new();
                for (id, signing) in page {
                    let listed = rows.contains(&ENDS, &(signing.first_expiry_s, id));
                    let is_listed = signing.first_expiry_s == 0 || listed.map_err(fault)?;
                    let opens = self.all_open(rows, id, &signing).map_err(fault)?;
                    if !is_listed || !opens {
                        odd.push((id, opens));
                    }
                }
                Ok::<_, ReadFault>((last, odd, count))
            })?;
            looked += count;
            shut += odd.iter().filter(|(_, opens)| !opens).count();
            if !odd.is_empty() {
                let kept = self.store().transact(|tx| {
                    for (id, opens) in &odd {
                        let Some(mut signing) = tx.get(&SIGNINGS, id)? else { continue };
                        if !opens {
                            signing.due_s = signing.due_s.min(now_s);
                        }
                        signing::put(tx, *id, &signing)?;
                    }
                    Ok::<_, RowError>(())
                });
                kept.map_err(|error| ReadFault(error.to_string()))?;
            }
            match last.and_then(|last| last.checked_add(1)) {
                Some(next) => from = next,
                None => return Ok((looked, shut)),
            }
        }
    }

    fn all_open(&self, rows: &Reader<'_>, id: u32, signing: &Signing) -> Result<bool, RowError> {
        for key in &signing.plan.keys {
            if !self.signing_keys().opens(rows, id, key.tag)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
