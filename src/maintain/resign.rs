//! Signatures are made anew before they expire, a few at a time.
//!
//! Each signed zone has a moment at which it is looked at again. A small zone is renewed in one
//! version; a large one is gone through in bounded steps, each a version of its own, that leave room
//! for orders in between. A zone that was to be signed for the first time, or by another denial, and
//! is too large for one commit is signed as a whole beside it.
//!
//! Promises: what cannot be signed is served as it is, said once, and tried again (see [`hold`](super::hold)).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Maintain;
use super::apply::Refused;
use super::change::{Refusal, RefusedZone};
use super::commit::{CommitError, Door};
use super::dnssec;
use super::rows::{self, Zone};
use super::signed::{SMALL_RRSETS, first_expiry};
use super::signing::{self, SIGNINGS_DUE, Served, Signing};
use crate::sign::{Due, Signer};
use crate::store::{RowError, Rows, WriteError};
use crate::zone::ReadFault;

/// RRsets that one step signs: some 20 ms of a core with algorithm 13.
const STEP_SETS: usize = 1_000;

/// Nodes that one step looks at while it holds others back.
const STEP_NODES: usize = 4_000;

/// When a zone that could not be signed is tried again, in seconds.
const RETRY_S: u64 = 600;

/// How long nothing is signed after the store has taken none of it: that is no zone's fault, and the
/// next one would fare no better.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);

/// How far the going through of large zones is. What is lost with it is gone through anew.
#[derive(Debug, Default)]
pub struct Resigning {
    sweeps: HashMap<u32, Sweep>,
    /// Until when nothing is signed.
    pause: Option<Instant>,
    /// Where the zone stood that was due last. What was due before it is done: until the index has heard
    /// of that, going through it again and again costs more than the work itself.
    last: (u64, u32),
}

/// One large zone being gone through.
#[derive(Debug, Default)]
struct Sweep {
    /// Of which plan.
    number: u64,
    from: Vec<u8>,
    first_expiry_s: Option<i64>,
}

impl Maintain {
    /// Does one step for the zone that is due first; returns whether there may be more to do at once.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read. What a zone's own fault is, is kept with it.
    pub fn resign_some(&self, progress: &mut Resigning) -> Result<bool, ReadFault> {
        if progress.pause.is_some_and(|pause| Instant::now() < pause) {
            return Ok(false);
        }
        let now_s = self.trusted_now_s();
        let Some(id) = self.first_due(progress, now_s)? else { return Ok(false) };
        let due = self.store().read(|rows| {
            let zone = rows::by_id(rows, id)?;
            let signing = zone.as_ref().map(|zone| signing::of(rows, zone)).transpose()?.flatten();
            Ok::<_, ReadFault>(zone.zip(signing))
        })?;
        let Some((zone, signing)) = due else { return Ok(false) };
        let done = match signing.served {
            Served::Plan => self.renew_step(&zone, &signing, progress),
            Served::Nothing | Served::Before(_) => self.sign_large(&zone, &signing),
        };
        let Err(error) = done else {
            self.release(zone.id, Some(&zone));
            return Ok(true);
        };
        progress.sweeps.remove(&zone.id);
        self.hold(&zone, &signing, &error.to_string());
        let is_stopped = matches!(error, CommitError::Write(WriteError::Stopped { .. }));
        if is_stopped || !self.note_fault(&zone, &error, now_s) {
            progress.pause = Some(Instant::now() + STOPPED_PAUSE);
            return Ok(false);
        }
        self.fault_is_kept(zone.id);
        Ok(true)
    }

    /// The zone that is due first at `now_s`. Looked for behind the last one; then, for what became due
    /// before it since then, from the beginning.
    fn first_due(&self, progress: &mut Resigning, now_s: u64) -> Result<Option<u32>, ReadFault> {
        let end = (now_s, u32::MAX);
        for from in [progress.last, (0, 0)].into_iter().filter(|from| *from <= end) {
            let found = self.store().read(|rows| rows.range(&SIGNINGS_DUE, from..=end, 1));
            if let Some((key, ())) = found.map_err(rows::fault)?.into_iter().next() {
                progress.last = key;
                return Ok(Some(key.1));
            }
        }
        progress.last = (0, 0);
        Ok(None)
    }

    /// Looks through some of a zone, and makes anew what is due there.
    fn renew_step(
        &self,
        zone: &Zone,
        signing: &Signing,
        progress: &mut Resigning,
    ) -> Result<(), CommitError<Refusal>> {
        let sweep = progress.sweeps.entry(zone.id).or_default();
        if sweep.number != signing.number {
            *sweep = Sweep { number: signing.number, ..Sweep::default() };
        }
        let done = self.commit(|door| {
            door.set_cause("signatures");
            door.renew(zone, signing.number, sweep).map_err(|refused| refusal(zone, refused))
        })?;
        if done.value {
            progress.sweeps.remove(&zone.id);
        }
        Ok(())
    }

    /// Keeps why a zone could not be signed, and when it is tried again; whether the store took it.
    fn note_fault(&self, zone: &Zone, error: &CommitError<Refusal>, now_s: u64) -> bool {
        let text = error.to_string();
        let kept = self.store().transact(|tx| {
            let Some(mut signing) = tx.get(&signing::SIGNINGS, &zone.id)? else { return Ok(()) };
            signing.due_s = now_s + RETRY_S;
            signing.fault = Some(text.clone());
            signing::put(tx, zone.id, &signing)?;
            Ok::<(), RowError>(())
        });
        kept.is_ok()
    }
}

pub(super) fn refusal(zone: &Zone, Refused(reasons): Refused) -> Refusal {
    Refusal { zones: vec![RefusedZone { apex: zone.apex.clone(), reasons }] }
}

impl Door<'_, '_> {
    /// One step through a zone; returns whether it was the last.
    fn renew(&mut self, zone: &Zone, number: u64, sweep: &mut Sweep) -> Result<bool, Refused> {
        let zone = self.changeable(&zone.apex)?;
        let Some(signing) = signing::of(self.tx, &zone)? else { return Ok(true) };
        if signing.number != number {
            return Ok(true);
        }
        let soa = self.soa(&zone)?;
        let signer = self.signer(&zone, &signing.plan, &soa.rrset)?;
        let due = self.due(&zone, &signer, &sweep.from)?;
        let delta = rows::with_view(self.tx, &zone, |view| {
            signer.renew(view, &due.owners, signer.window_s())
        })?;
        let made = first_expiry(&signer, &delta);
        let seen = sweep.first_expiry_s.into_iter().chain(due.first_expiry_s).chain(made);
        sweep.first_expiry_s = seen.min();
        let last = due.next.is_none();
        if last {
            let mut signing = signing;
            if !signing.complete {
                let now_s = self.steady_s();
                dnssec::finish(self.tx, &zone, now_s)?;
            }
            signing.complete = true;
            signing.fault = None;
            self.expires_in(&mut signing, sweep.first_expiry_s.unwrap_or(0), &signer);
            signing::put(self.tx, zone.id, &signing)?;
        }
        sweep.from = due.next.unwrap_or_default();
        self.write_signed(zone, &soa, &signer, delta)?;
        Ok(last)
    }

    /// What is due from a key on, and in a large zone what will be before it is gone through again. In
    /// a small one, once anything is due, all that soon will be.
    fn due(&mut self, zone: &Zone, signer: &Signer, from: &[u8]) -> Result<Due, Refused> {
        rows::with_view(self.tx, zone, |view| {
            let due = |window_s| signer.due(view, from, STEP_NODES, STEP_SETS, window_s);
            if zone.counts.rrsets > SMALL_RRSETS {
                return Ok(due(signer.window_s())?);
            }
            let now = due(0)?;
            if now.owners.is_empty() { Ok(now) } else { Ok(due(signer.window_s())?) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::store::Store;

    #[test]
    fn what_becomes_due_before_what_was_done_is_found_once_the_rest_is_done() {
        let maintain = Maintain::offline(Store::in_memory(), Settings::default());
        let list = |key: (u64, u32), is_due: bool| {
            let listed = maintain.store().transact(|tx| match is_due {
                true => tx.put(&SIGNINGS_DUE, &key, &()),
                false => tx.delete(&SIGNINGS_DUE, &key),
            });
            listed.unwrap();
        };
        let mut progress = Resigning::default();
        let mut first = |now_s| maintain.first_due(&mut progress, now_s).unwrap();
        for key in [(10, 1), (10, 2), (20, 3)] {
            list(key, true);
        }
        assert_eq!(first(15), Some(1));
        assert_eq!(first(15), Some(1), "until it is done");
        list((10, 1), false);
        list((5, 4), true);
        assert_eq!(first(15), Some(2), "looked for behind the last one");
        list((10, 2), false);
        assert_eq!(first(15), Some(4), "nothing is left behind it");
        list((5, 4), false);
        assert_eq!(first(15), None);
        assert_eq!(first(25), Some(3));
        assert_eq!(first(15), None, "the clock went back");
    }
}
