//! Trust in the clock: nothing is signed by one that is certainly wrong.
//!
//! The newest moment at which the server ran under a clock it trusted is kept, every hour. A clock that
//! is behind that moment when the server starts is doubted; so is one so far ahead of it that the server
//! would have been off for longer than [`GAP_MAX_S`], unless it was
//! [synchronised](Clock::is_synchronised) of late; and one that somebody sets by more than [`LEAP_MAX_S`]
//! while the server runs, synchronised or not: what waited by it did not wait so long. Then zones are served as they are, changes of signed ones are
//! refused with the reason, renewals that are due hold their zones, and no rollover goes on. The clock
//! is trusted again as soon as it shows what it may, or once an operator says that it is right.
//!
//! Promises: no signature is made, and no wait is over, by a clock that is doubted; each turn of it is
//! logged once.
//!
//! Does not: know the right time. A clock that was wrong by less goes unnoticed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::commit::Door;
use super::dnssec;
use super::rows::{self, ZONES, Zone, fault};
use super::signing::{self, SIGNINGS};
use super::{CommitError, Maintain};
use crate::store::{RowError, Rows, Store, Table, Tx};
use crate::zone::ReadFault;

/// The newest moment that a trusted clock showed.
const NEWEST: Table<(), Newest> = Table::new("clock", *b"ck");

/// How far the clock may be set while the server runs, in seconds.
pub const LEAP_MAX_S: u64 = 24 * 3600;

/// How long a server may have been off for its clock to be trusted at the start, in seconds.
pub const GAP_MAX_S: u64 = 7 * 24 * 3600;

/// How far behind the newest moment known the clock may be, in seconds: no policy lets a signature live
/// so short, or says so little of when it was made, that this breaks it.
pub const BACK_MAX_S: u64 = 3600;

/// How far the clock may be behind the last version of a zone for that to be signed: two machines, or
/// a clock that was corrected a little.
const VERSION_BACK_US: u64 = 60 * S_US;

/// No clock is right that shows a moment before this: it is older than what reads it. In seconds since
/// 1970, the beginning of 2026.
const RELEASED_S: u64 = 1_767_225_600;

/// How often the newest moment is kept, in seconds.
const KEEP_S: u64 = 3600;

/// Zones that are looked through at a time.
const PAGE: usize = 256;

const S_US: u64 = 1_000_000;

/// In microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    us: u64,
}

/// Why the clock is doubted. An operator's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It shows less than was shown before, or than can be.
    Behind { by_s: u64 },
    /// It shows that the server was off for so long.
    Ahead { by_s: u64 },
    /// It was set while the server ran.
    Set { by_s: u64 },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Behind { by_s } => {
                write!(f, "clock is {by_s} seconds behind what it showed before")
            }
            Doubt::Ahead { by_s } => {
                write!(f, "clock is {by_s} seconds ahead of when the server last ran")
            }
            Doubt::Set { by_s } => {
                write!(f, "clock was set by {by_s} seconds while the server ran")
            }
        }?;
        f.write_str(": nothing is signed until it is set right, or an operator says that it is right (nameplane dnssec clock --is-right)")
    }
}

/// Why nobody's word for the clock is taken.
#[derive(Debug)]
pub enum BelieveError {
    /// It shows a moment before this release was made.
    Impossible,
    Store(String),
}

/// What is known of the clock.
#[derive(Debug, Default)]
pub(super) struct Trust {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest moment that a trusted clock showed; 0 in a new store.
    newest_us: u64,
    /// What the clock that nobody sets showed then.
    passed_us: u64,
    kept_us: u64,
    /// Whether its own row says the newest moment, which an older release did not keep.
    is_kept: bool,
    /// Whether the clock was trusted once since the start.
    is_begun: bool,
    /// Whether the doubt of now is logged.
    is_told: bool,
}

impl Trust {
    /// Takes up what the last run knew.
    pub fn of(store: &Store, clock: &Clock) -> Trust {
        let trust = Trust::default();
        let known = store.read(|rows| match rows.get(&NEWEST, &()).map_err(fault)? {
            Some(newest) => Ok::<_, ReadFault>((newest.us, true)),
            None => Ok((last_version(rows)?, false)),
        });
        match known {
            Ok((newest_us, is_kept)) => {
                let kept_us = if is_kept { newest_us } else { 0 };
                let passed_us = clock.passed_us();
                *trust.known() =
                    Known { newest_us, passed_us, kept_us, is_kept, ..Known::default() };
            }
            Err(fault) => tracing::error!(%fault, "the last run's clock cannot be read: {fault}"),
        }
        trust
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the clock; why it is doubted, if it is.
    pub fn look(&self, clock: &Clock) -> Option<Doubt> {
        let mut known = self.known();
        let doubt = known.doubt(clock);
        match doubt {
            None => {
                if !known.is_begun {
                    known.tell_gap(clock);
                    clock.begin_anew();
                    known.is_begun = true;
                }
                if clock.now_us() >= known.newest_us {
                    (known.newest_us, known.passed_us) = (clock.now_us(), clock.passed_us());
                }
            }
            Some(doubt) if !known.is_told => tracing::error!("{doubt}"),
            Some(_) => {}
        }
        if known.is_told && doubt.is_none() {
            tracing::info!("the clock is trusted again");
        }
        known.is_told = doubt.is_some();
        doubt
    }

    /// Microseconds since 1970 by which renewals are due. Of a clock that is doubted, what it would
    /// show if it had gone on from when it was trusted: nothing is put off by ten years because of it.
    pub fn trusted_us(&self, clock: &Clock) -> u64 {
        match self.look(clock) {
            None => clock.now_us(),
            Some(_) => self.known().expected_us(clock),
        }
    }

    /// Whether waits may be counted: the clock was right once since the start.
    pub fn may_count(&self, clock: &Clock) -> bool {
        !matches!(self.look(clock), Some(Doubt::Behind { .. } | Doubt::Ahead { .. }))
    }

    /// How far the clock is behind the last version of a zone, in seconds, if that is too far. Versions
    /// from a time when the clock was wrong do not count.
    fn behind_version_s(&self, zone: &Zone, now_us: u64) -> Option<u64> {
        let is_true = zone.changed_us <= self.known().newest_us;
        let behind_us = zone.changed_us.saturating_sub(now_us);
        (is_true && behind_us > VERSION_BACK_US).then_some(behind_us / S_US)
    }

    /// The moment to be kept, if it is time for it.
    fn to_keep(&self) -> Option<u64> {
        let known = self.known();
        let is_due = known.newest_us >= known.kept_us.saturating_add(KEEP_S * S_US);
        (known.is_begun && (is_due || !known.is_kept)).then_some(known.newest_us)
    }

    fn kept(&self, us: u64) {
        let mut known = self.known();
        (known.kept_us, known.is_kept) = (us, true);
    }

    fn believe(&self, clock: &Clock, us: u64) {
        let mut known = self.known();
        (known.newest_us, known.passed_us) = (us, clock.passed_us());
        (known.kept_us, known.is_kept, known.is_begun) = (us, true, true);
        clock.begin_anew();
    }
}

impl Known {
    fn doubt(&self, clock: &Clock) -> Option<Doubt> {
        let now_us = clock.now_us();
        let least_us = self.newest_us.max(RELEASED_S * S_US);
        let behind_s = least_us.saturating_sub(now_us) / S_US;
        if behind_s > BACK_MAX_S {
            return Some(Doubt::Behind { by_s: behind_s });
        }
        if self.is_begun {
            let by_s = clock.leapt_s();
            return (by_s > LEAP_MAX_S).then_some(Doubt::Set { by_s });
        }
        let by_s = self.gap_s(clock)?;
        (!clock.is_synchronised()).then_some(Doubt::Ahead { by_s })
    }

    /// How long the server was off by what the clock shows, in seconds, if that is too long to be believed
    /// without more.
    fn gap_s(&self, clock: &Clock) -> Option<u64> {
        let ahead_s = clock.now_us().saturating_sub(self.expected_us(clock)) / S_US;
        (self.is_kept && ahead_s > GAP_MAX_S).then_some(ahead_s)
    }

    /// Says that the server was off for long, and why its clock is trusted all the same.
    fn tell_gap(&self, clock: &Clock) {
        if let Some(off_s) = self.gap_s(clock) {
            tracing::warn!(
                off_s,
                "the server was off for {off_s} seconds by its clock, which is trusted: it is synchronised"
            );
        }
    }

    /// What the clock would show if it had gone on from when it was trusted.
    fn expected_us(&self, clock: &Clock) -> u64 {
        let ran_us = clock.passed_us().saturating_sub(self.passed_us);
        self.newest_us.saturating_add(ran_us)
    }
}

/// When the last version of any zone was made: what an older release kept of its clock.
fn last_version(rows: &impl Rows) -> Result<u64, ReadFault> {
    let (mut from, mut last_us) = (0, 0);
    loop {
        let page = rows.range(&ZONES, from.., PAGE).map_err(fault)?;
        last_us = page.iter().map(|(_, zone)| zone.changed_us).fold(last_us, u64::max);
        match page.last() {
            Some((id, _)) if page.len() == PAGE => from = id.saturating_add(1),
            _ => return Ok(last_us),
        }
    }
}

impl Maintain {
    /// Why the clock is doubted; none while it is trusted.
    pub fn clock_doubt(&self) -> Option<Doubt> {
        self.trust().look(&self.settings().clock)
    }

    /// The newest moment that a trusted clock showed, in microseconds since 1970; 0 in a new store.
    pub fn newest_moment_us(&self) -> u64 {
        self.trust().known().newest_us
    }

    /// Seconds since 1970 by which renewals are due.
    pub(super) fn trusted_now_s(&self) -> u64 {
        self.trust().trusted_us(&self.settings().clock) / S_US
    }

    /// Seconds since 1970, modulo 2³², by which signatures of others are judged; none while the clock is
    /// doubted.
    pub(super) fn now_to_judge_by(&self) -> Option<u32> {
        let now_us = self.settings().clock.now_us();
        self.clock_doubt().is_none().then_some((now_us / S_US) as u32)
    }

    /// Whether steps may be taken that wait for caches.
    pub(super) fn may_count_waits(&self) -> bool {
        self.trust().may_count(&self.settings().clock)
    }

    /// Looks at the clock, and keeps from time to time what it shows.
    pub fn keep_clock(&self) {
        if self.clock_doubt().is_some() {
            return;
        }
        let Some(us) = self.trust().to_keep() else { return };
        let kept = self.store().transact(|tx| tx.put(&NEWEST, &(), &Newest { us }));
        match kept {
            Ok(()) => self.trust().kept(us),
            // The store says by itself when it stops taking writes.
            Err(error) => tracing::debug!(%error, "what the clock shows is not kept: {error}"),
        }
    }

    /// Takes an operator's word that the clock is right; `note` writes down whose.
    ///
    /// What was signed and planned by a clock that was ahead is looked at again.
    ///
    /// # Errors
    ///
    /// [`BelieveError::Impossible`] when it cannot be right; [`BelieveError::Store`] when the store takes
    /// no writes.
    pub fn believe_clock(
        &self,
        note: impl FnOnce(&mut Tx<'_>) -> Result<(), RowError>,
    ) -> Result<(), BelieveError> {
        let us = self.settings().clock.now_us();
        if us < RELEASED_S * S_US {
            return Err(BelieveError::Impossible);
        }
        let was_ahead = self.trust().known().newest_us > us;
        let kept = self.store().transact(|tx| {
            tx.put(&NEWEST, &(), &Newest { us })?;
            note(tx)
        });
        kept.map_err(|error| BelieveError::Store(error.to_string()))?;
        self.trust().believe(&self.settings().clock, us);
        match was_ahead {
            true => self.mend_future(us).map_err(|error| BelieveError::Store(error.to_string())),
            false => Ok(()),
        }
    }

    /// Has every zone looked at that has something to do in a future that is none.
    fn mend_future(&self, now_us: u64) -> Result<(), CommitError<ReadFault>> {
        let now_s = now_us / S_US;
        let mut from = Some(0);
        while let Some(first) = from {
            let page = self.store().read(|rows| rows.range(&ZONES, first.., PAGE));
            let page = page.map_err(|error| CommitError::Unreadable(fault(error)))?;
            from = page.last().filter(|_| page.len() == PAGE).and_then(|(id, _)| id.checked_add(1));
            self.commit(|door| {
                page.iter().try_for_each(|(_, zone)| door.mend_future(zone, now_s))
            })?;
        }
        Ok(())
    }
}

impl Door<'_, '_> {
    fn mend_future(&mut self, zone: &Zone, now_s: u64) -> Result<(), ReadFault> {
        let is_future = zone.changed_us / S_US > now_s;
        if let Some(mut signing) = self.tx().get(&SIGNINGS, &zone.id).map_err(fault)? {
            // What could not be signed is tried again at a time that may never come.
            if is_future || signing.fault.is_some() {
                signing.due_s = now_s;
                signing::put(self.tx(), zone.id, &signing).map_err(fault)?;
            }
        }
        if !is_future {
            return Ok(());
        }
        dnssec::turn_back(self.tx(), zone, now_s)?;
        if let Some(mut row) = rows::by_id(self.tx(), zone.id)? {
            row.changed_us = now_s * S_US;
            self.tx().put(&ZONES, &zone.id, &row).map_err(fault)?;
        }
        Ok(())
    }

    /// Why nothing is to be signed by this clock.
    pub(super) fn clock_fault(&self, zone: &Zone) -> Option<String> {
        let behind_s = self.maintain.trust().behind_version_s(zone, self.now_us);
        if let Some(behind_s) = behind_s {
            return Some(format!(
                "clock is {behind_s} seconds behind the zone's last version: signing waits for it to be right"
            ));
        }
        self.maintain.clock_doubt().map(|doubt| doubt.to_string())
    }
}
