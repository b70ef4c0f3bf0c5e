//! The journal: the steps between consecutive versions of a zone, and who caused them.
//!
//! Promises: each step starts where the one before it ends; none changes once written; the oldest
//! leave first, when a zone's journal grows beyond its [`Limits`].

pub mod pieces;

use serde::{Deserialize, Serialize};

use super::rows::{JournalExtent, Zone, fault};
use crate::store::{Raw, RawRows, RowError, Rows, Table, Tx};
use crate::wire::Serial;
use crate::zone::ReadFault;
use crate::zone::delta::Step;

/// (Zone, version, part) → a step, in parts.
pub(super) const JOURNAL: Table<(u32, u64, u16), Raw> = Table::new("zone journal", *b"zj");

/// Octets of one row of a step.
const PART_OCTETS: usize = 32 * 1024;

/// What a step has besides records, most often at most.
const HEAD_OCTETS: usize = 96;

/// How many old steps one commit takes away at most: its cost stays bounded.
const PRUNE_STEPS: usize = 8;

/// What bounds the journal of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A journal may be as large as its zone, and at least this.
    pub octets_max: u64,
    /// Steps older than this leave.
    pub age_max_s: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { octets_max: 256 * 1024, age_max_s: 30 * 24 * 3600 }
    }
}

impl Limits {
    fn octets_of(self, zone: &Zone) -> u64 {
        self.octets_max.max(zone.counts.octets.unsigned_abs())
    }

    /// Whether the oldest step of a zone has to go to make room.
    fn are_passed(self, zone: &Zone) -> bool {
        zone.journal.octets > self.octets_of(zone) && zone.journal.first < zone.version
    }
}

/// One version of a zone: when and why it came to be, and what it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub version: u64,
    /// Microseconds since 1970.
    pub at_us: u64,
    /// What caused it, as the one who asked named it.
    pub cause: String,
    pub step: Step,
}

#[derive(Serialize, Deserialize)]
struct Written {
    from: Serial,
    to: Serial,
    at_us: u64,
    cause: String,
    dels: Vec<u8>,
    adds: Vec<u8>,
}

/// Appends the step to `zone.version`, and takes the oldest away that have no room. Those beyond their age are
/// left to the [keeper](super::keeper): to look for them is a read of its own in each commit.
pub(super) fn append(
    tx: &mut Tx<'_>,
    zone: &mut Zone,
    cause: &str,
    step: Step,
    limits: Limits,
) -> Result<(), RowError> {
    let written = Written {
        from: step.from,
        to: step.to,
        at_us: zone.changed_us,
        cause: cause.to_owned(),
        dels: step.dels,
        adds: step.adds,
    };
    let room = written.dels.len() + written.adds.len() + HEAD_OCTETS;
    let octets = postcard::to_extend(&written, Vec::with_capacity(room));
    let octets = octets.expect("a step is plain data");
    if octets.len() as u64 > limits.octets_of(zone) {
        return clear(tx, zone);
    }
    for (part, piece) in (0u16..).zip(octets.chunks(PART_OCTETS)) {
        tx.put_pieces(&JOURNAL, &(zone.id, zone.version, part), &[piece])?;
    }
    zone.journal.octets += octets.len() as u64;
    for _ in 0..PRUNE_STEPS {
        if !limits.are_passed(zone) {
            break;
        }
        take_first(tx, zone)?;
    }
    Ok(())
}

/// Takes all steps away: the next version does not follow from the ones before.
///
/// Bounded by the journal's limit in octets.
pub(super) fn clear(tx: &mut Tx<'_>, zone: &mut Zone) -> Result<(), RowError> {
    while zone.journal.first <= zone.version {
        take_first(tx, zone)?;
    }
    zone.journal = JournalExtent { first: zone.version + 1, octets: 0 };
    Ok(())
}

/// Takes the oldest steps away until the journal is within the limits, a few at a time.
pub(super) fn prune(
    tx: &mut Tx<'_>,
    zone: &mut Zone,
    now_us: u64,
    limits: Limits,
) -> Result<(), RowError> {
    for _ in 0..PRUNE_STEPS {
        if !limits.are_passed(zone) && !is_old(tx, zone, now_us, limits)? {
            break;
        }
        take_first(tx, zone)?;
    }
    Ok(())
}

/// Whether the oldest step of a zone is beyond its age.
pub(super) fn is_old<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    now_us: u64,
    limits: Limits,
) -> Result<bool, RowError> {
    if zone.journal.first > zone.version {
        return Ok(false);
    }
    let oldest_us = now_us.saturating_sub(limits.age_max_s.saturating_mul(1_000_000));
    let first = rows.piece(&JOURNAL, &(zone.id, zone.journal.first, 0))?;
    Ok(first.is_some_and(|octets| {
        let head = postcard::take_from_bytes::<(Serial, Serial, u64)>(&octets);
        head.is_ok_and(|((.., at_us), _)| at_us < oldest_us)
    }))
}

fn take_first(tx: &mut Tx<'_>, zone: &mut Zone) -> Result<(), RowError> {
    let version = zone.journal.first;
    for (key, part) in tx.scan(&JOURNAL, &(zone.id, version), None, usize::from(u16::MAX))? {
        zone.journal.octets = zone.journal.octets.saturating_sub(part.0.len() as u64);
        tx.delete(&JOURNAL, &key)?;
    }
    zone.journal.first += 1;
    Ok(())
}

/// The step that led to `version`; none if the journal no longer, or not yet, holds it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn version<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    version: u64,
) -> Result<Option<Version>, ReadFault> {
    let parts =
        rows.scan(&JOURNAL, &(zone.id, version), None, usize::from(u16::MAX)).map_err(fault)?;
    if parts.is_empty() {
        return Ok(None);
    }
    let octets: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part.0).collect();
    let written: Written = postcard::from_bytes(&octets)
        .map_err(|_| ReadFault(format!("version {version} of {} is damaged", zone.apex)))?;
    let step = Step { from: written.from, to: written.to, dels: written.dels, adds: written.adds };
    Ok(Some(Version { version, at_us: written.at_us, cause: written.cause, step }))
}

/// The versions the journal holds, the newest first, from the one before `before`, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn versions<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Version>, ReadFault> {
    let end = before.unwrap_or(u64::MAX).min(zone.version + 1);
    let held = zone.journal.first..end;
    held.rev().take(limit).filter_map(|number| version(rows, zone, number).transpose()).collect()
}

/// When the version came that a server lacks which has `serial`, in microseconds since 1970; of one older
/// than the journal, when the oldest step that is kept came.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn lacked_since_us<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    serial: Serial,
) -> Result<u64, ReadFault> {
    let mut since_us = zone.changed_us;
    let (mut low, mut high) = (zone.journal.first, zone.version + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let first = rows.piece(&JOURNAL, &(zone.id, middle, 0)).map_err(fault)?;
        let head = first.and_then(|octets| {
            postcard::take_from_bytes::<(Serial, Serial, u64)>(&octets).ok().map(|(head, _)| head)
        });
        match head {
            Some((_, to, at_us)) if serial.is_before(to) => (since_us, high) = (at_us, middle),
            // It has that one, or it left the journal meanwhile.
            Some(_) | None => low = middle + 1,
        }
    }
    Ok(since_us)
}

/// How the journal leads from a serial to the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// By the steps from this version on, of so many octets together.
    From { version: u64, octets: u64 },
    /// By steps of more octets than was said.
    TooMuch,
    /// No step starts there.
    Unknown,
}

/// Looks for the step that starts at `serial`, at most `limit` octets back.
///
/// `serial` is what a secondary holds. It is looked up, never compared with `<`: serials wrap.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn reach<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    serial: Serial,
    limit: u64,
) -> Result<Reach, ReadFault> {
    let mut octets = 0;
    for version in (zone.journal.first..=zone.version).rev() {
        let Some(size) = octets_of(rows, zone, version)? else { return Ok(Reach::Unknown) };
        octets += size;
        if octets > limit {
            return Ok(Reach::TooMuch);
        }
        let first = rows.get(&JOURNAL, &(zone.id, version, 0)).map_err(fault)?;
        let from = first.and_then(|row| Some(postcard::take_from_bytes::<Serial>(&row.0).ok()?.0));
        match from {
            Some(from) if from == serial => return Ok(Reach::From { version, octets }),
            Some(_) => {}
            None => return Ok(Reach::Unknown),
        }
    }
    Ok(Reach::Unknown)
}

/// Octets of the step that led to `version`, without reading all of it; none if it is not held.
pub(super) fn octets_of<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    version: u64,
) -> Result<Option<u64>, ReadFault> {
    let last = rows.scan_back(&JOURNAL, &(zone.id, version), None, 1).map_err(fault)?;
    let size = |((.., part), row): &((u32, u64, u16), Raw)| {
        u64::from(*part) * PART_OCTETS as u64 + row.0.len() as u64
    };
    Ok(last.first().map(size))
}

/// The steps from `serial` to the current version, oldest first; none at all when none starts there.
///
/// `serial` is what a secondary holds. It is looked up, never compared with `<`: serials wrap.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn since<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    serial: Serial,
) -> Result<Option<Vec<Step>>, ReadFault> {
    let mut steps = Vec::new();
    if serial == zone.serial {
        return Ok(Some(steps));
    }
    for number in (zone.journal.first..=zone.version).rev() {
        let Some(version) = version(rows, zone, number)? else { return Ok(None) };
        let from = version.step.from;
        steps.push(version.step);
        if from == serial {
            steps.reverse();
            return Ok(Some(steps));
        }
    }
    Ok(None)
}
