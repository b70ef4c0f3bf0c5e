//! Upkeep in the background: what is no longer part of any version is released, a little at a time.
//!
//! Each step is a transaction of its own, so a crash leaves at most rows that the next start
//! releases; and it is small, so no order waits long for it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::hold::Watch;
use super::journal::{self, JOURNAL};
use super::resign::Resigning;
use super::rows::{CHUNKS, PARTS, RELEASES, Release, ZONES};
use super::{Maintain, catalog, dnssec};
use crate::store::{RowError, Rows, TransactError, Tx};

/// Rows that one step takes away, and of how many releases.
const STEP_ROWS: usize = 256;
const RELEASES_MAX: usize = 64;

/// Journals that one step looks at.
const SWEEP_ZONES: usize = 256;

/// How long no journal is looked at after all were.
const SWEEP_PAUSE: Duration = Duration::from_secs(3600);

/// How long the keeper rests when there was nothing to do.
const REST: Duration = Duration::from_secs(2);

/// How long it rests between two steps: orders come first.
const BREATH: Duration = Duration::from_millis(2);

/// The threads of a running [`Maintain`]. Stopped when dropped.
pub struct Running {
    maintain: Maintain,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Rests for `time` or until told to stop; returns whether to stop.
    fn rest(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = self.told.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *rested.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Running {
    /// Ends the upkeep and waits for its thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.told.notify_all();
        self.maintain.gate().shut("the server is stopping");
        self.maintain.refreshing().close();
        self.maintain.board().stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Maintain {
    /// Starts loading all zones, and the upkeep after it, on threads of their own.
    ///
    /// Ready when [`progress`](Maintain::progress) says so.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(&self) -> std::io::Result<Running> {
        let stop = Arc::new(Stop::default());
        let (maintain, told) = (self.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name("maintain".into()).spawn(move || {
            maintain.run(&told);
        })?;
        let (maintain, told) = (self.clone(), Arc::clone(&stop));
        let tending = thread::Builder::new().name("dnssec".into()).spawn(move || {
            if maintain.gate().wait().is_ok() {
                maintain.tend_dnssec(&told);
            }
        })?;
        let maintain = self.clone();
        let announcing = thread::Builder::new().name("announce".into()).spawn(move || {
            if maintain.gate().wait().is_ok() {
                maintain.announce();
            }
        })?;
        let threads = vec![thread, tending, announcing];
        Ok(Running { maintain: self.clone(), stop, threads })
    }

    /// Takes the steps of DNSSEC that are due, until told to stop.
    fn tend_dnssec(&self, stop: &Stop) {
        while !stop.rest(dnssec::REST) {
            if !self.may_count_waits() {
                continue;
            }
            let now_s = self.settings().clock.steady_us() / 1_000_000;
            while self.tend_some(now_s) && !stop.rest(BREATH) {}
        }
    }

    fn run(&self, stop: &Stop) {
        match self.load() {
            Ok(progress) => tracing::info!(
                zones = progress.loaded,
                failed = progress.failed,
                "loaded {} zones",
                progress.loaded
            ),
            Err(fault) => {
                tracing::error!(%fault, "zones are not served: {fault}");
                return;
            }
        }
        if let Err(error) = self.commit(|door| door.drop_stages()) {
            tracing::warn!(?error, "staged rows of the last run are kept");
        }
        let refreshing = self.start_refreshing().unwrap_or_else(|fault| {
            tracing::error!(%fault, "secondary zones are not refreshed: {fault}");
            Vec::new()
        });
        self.upkeep(stop);
        self.refreshing().close();
        refreshing.into_iter().for_each(|thread| drop(thread.join()));
    }

    fn upkeep(&self, stop: &Stop) {
        let mut rest = BREATH;
        let mut ages = Ages::default();
        let (mut resigning, mut holds) = (Resigning::default(), Watch::default());
        if let Err(fault) = self.look_at_signing_keys() {
            tracing::error!(%fault, "signing keys are not looked at: {fault}");
        }
        while !stop.rest(rest) {
            self.keep_clock();
            let signed = self.resign_some(&mut resigning).unwrap_or_else(|fault| {
                tracing::error!(%fault, "signatures are not made anew: {fault}");
                false
            });
            self.watch_holds(&mut holds);
            rest = match self
                .release_some()
                .and_then(|more| Ok(more | self.forget_some(&mut ages)?))
                .and_then(|more| self.end_leaving().map(|()| more))
            {
                Ok(more) if more || signed => BREATH,
                Ok(_) => REST,
                Err(error) => {
                    tracing::warn!(%error, "rows to be released are kept: {error}");
                    REST * 10
                }
            };
        }
    }

    /// Releases some rows that are part of no version; returns whether there may be more.
    ///
    /// # Errors
    ///
    /// When the store does not take it; what is left is released later.
    pub fn release_some(&self) -> Result<bool, TransactError<RowError>> {
        self.release_rows(STEP_ROWS)
    }

    /// The same, of about so many rows.
    pub(super) fn release_rows(&self, rows_max: usize) -> Result<bool, TransactError<RowError>> {
        // Most of the time there is nothing: that is no reason for a record in the log.
        let first = self.store().read(|rows| rows.range(&RELEASES, .., RELEASES_MAX));
        let first = first.map_err(TransactError::Refused)?;
        if first.is_empty() {
            return Ok(false);
        }
        self.store().transact(|tx| {
            let mut room = rows_max;
            for (key, release) in &first {
                room = room.saturating_sub(release_step(tx, *key, *release, room)?);
                if room == 0 {
                    break;
                }
            }
            Ok(true)
        })
    }
}

impl Maintain {
    /// Ends the stay of zones in catalogs they left long enough ago.
    fn end_leaving(&self) -> Result<(), TransactError<RowError>> {
        let due = self.store().read(|rows| catalog::is_leaving_due(rows, super::now_us()));
        if due.map_err(TransactError::Refused)? {
            let ended = self.commit(|door| {
                door.set_cause("catalog");
                door.end_leaving()
            });
            if let Err(error) = ended {
                tracing::warn!(?error, "zones that left a catalog still stand in it");
            }
        }
        Ok(())
    }
}

/// How far the search for old journal steps is.
#[derive(Debug, Default)]
pub struct Ages {
    next: u32,
    /// When it may begin anew.
    pause: Option<Instant>,
}

impl Maintain {
    /// Looks through some journals for steps beyond their age, and takes some of them away; returns
    /// whether there may be more to do at once.
    ///
    /// # Errors
    ///
    /// When the store does not take it; what is left is found again.
    pub fn forget_some(&self, ages: &mut Ages) -> Result<bool, TransactError<RowError>> {
        if ages.pause.is_some_and(|pause| Instant::now() < pause) {
            return Ok(false);
        }
        let (limits, now_us) = (self.settings().journal, self.settings().clock.now_us());
        let zones = self.store().read(|rows| rows.range(&ZONES, ages.next.., SWEEP_ZONES));
        let zones = zones.map_err(TransactError::Refused)?;
        ages.next = zones.last().map_or(0, |(id, _)| id.saturating_add(1));
        ages.pause = zones.is_empty().then(|| Instant::now() + SWEEP_PAUSE);
        let old = self.store().read(|rows| {
            let mut old = Vec::new();
            for (id, zone) in &zones {
                if journal::is_old(rows, zone, now_us, limits)? {
                    old.push(*id);
                }
            }
            Ok(old)
        });
        for id in old.map_err(TransactError::Refused)? {
            self.store().transact(|tx| {
                if let Some(mut zone) = tx.get(&ZONES, &id)? {
                    journal::prune(tx, &mut zone, now_us, limits)?;
                    tx.put(&ZONES, &id, &zone)?;
                }
                Ok(())
            })?;
        }
        Ok(!zones.is_empty())
    }
}

/// Takes some of a zone's rows away; when none are left, the note to release them.
/// Takes away up to about `room` rows of one release, and itself once nothing is left of it; returns how
/// many.
fn release_step(
    tx: &mut Tx<'_>,
    key: (u32, u32),
    release: Release,
    room: usize,
) -> Result<usize, RowError> {
    let whole = release == Release::Everything;
    let few = room.div_ceil(8);
    let chunks = match whole {
        true => tx.scan(&CHUNKS, &key.0, None, room)?,
        false => tx.scan(&CHUNKS, &key, None, room)?,
    };
    let parts = match whole {
        true => tx.scan(&PARTS, &key.0, None, few)?,
        false => tx.scan(&PARTS, &key, None, few)?,
    };
    let steps = if whole { tx.scan(&JOURNAL, &key.0, None, few)? } else { Vec::new() };
    for (key, _) in &chunks {
        tx.delete(&CHUNKS, key)?;
    }
    for (key, _) in &parts {
        tx.delete(&PARTS, key)?;
    }
    for (key, _) in &steps {
        tx.delete(&JOURNAL, key)?;
    }
    if chunks.len() < room && parts.len() < few && steps.len() < few {
        tx.delete(&RELEASES, &key)?;
    }
    Ok(1 + chunks.len() + parts.len() + steps.len())
}
