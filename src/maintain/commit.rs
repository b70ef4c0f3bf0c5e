//! The one door: whatever its origin, a zone changes only here.
//!
//! One order of steps: check, number, render, **persist**, publish, announce. The zones of one
//! commit, and the rows of whoever asked for it, are one record of the log and appear in one
//! snapshot. Up to persisting, anything may fail and leaves no trace; from there on nothing may
//! fail, only be repeated: the start-up publishes what the log holds.

use std::borrow::Cow;
use std::time::SystemTime;

use super::apply::Refused;
use super::change::{Applied, AppliedZone, Refusal, RefusedZone, ZoneChange};
use super::journal::Limits;
use super::rows::{self, Zone};
use super::signing::SigningKeys;
use super::{Maintain, catalog};
use crate::store::{Savepoint, TransactError, Tx, WriteError};
use crate::wire::Name;
use crate::zone::delta::SetChange;
use crate::zone::{ReadFault, RrSetEdit};

/// The door while it is open: a transaction, and what it does to zones.
pub struct Door<'a, 't> {
    pub(super) tx: &'a mut Tx<'t>,
    pub(super) maintain: &'a Maintain,
    pub(super) now_us: u64,
    pub(super) cause: String,
    pub(super) journal_limits: Limits,
    pub(super) signing_keys: SigningKeys,
    touches: Vec<Touch>,
    applied: Vec<AppliedZone>,
    /// Where rows are put together: the next change finds the room of the one before.
    pub(super) place: Vec<u8>,
}

/// Something that has to be rendered: a zone as it was before, and what of it changed.
#[derive(Debug)]
pub(super) struct Touch {
    pub id: u32,
    /// None for a zone that was created.
    pub before: Option<Zone>,
    pub what: Touched,
}

/// What of a zone changed.
#[derive(Debug)]
pub(super) enum Touched {
    /// Whether it is there, answered, or which generation it is.
    Whole,
    Sets(Vec<SetChange>),
    /// A zone of this name, below it, came or went.
    Child(Name),
}

/// What a commit gave, and when.
#[derive(Debug)]
pub struct Committed<R> {
    /// What the closure returned.
    pub value: R,
    /// Every zone that changed, all applied changes together.
    pub zones: Vec<AppliedZone>,
    /// When the log record was synced.
    pub durable_at: SystemTime,
    /// When the snapshot with the change was in place.
    pub published_at: SystemTime,
}

/// Why a commit gave nothing back.
#[derive(Debug)]
pub enum CommitError<E> {
    /// The closure refused, with its own error; nothing happened.
    Refused(E),
    /// A zone cannot be read; nothing happened. An operator's to repair.
    Unreadable(ReadFault),
    /// The store did not take it. But for [`WriteError::Hook`] nothing happened.
    Write(WriteError),
}

impl<E: std::fmt::Display> std::fmt::Display for CommitError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommitError::Refused(error) => error.fmt(f),
            CommitError::Unreadable(fault) => fault.fmt(f),
            CommitError::Write(error) => error.fmt(f),
        }
    }
}

impl<E: std::fmt::Debug + std::fmt::Display> std::error::Error for CommitError<E> {}

impl Maintain {
    /// Runs `f` with the door open; returns once what it did is durable and published.
    ///
    /// `f` runs alone and reads everything committed before it. It may apply changes to zones and
    /// put rows of its own; if it refuses, nothing of either is kept.
    ///
    /// # Errors
    ///
    /// [`CommitError::Refused`] with the closure's own error, else why nothing was committed.
    pub fn commit<R, E>(
        &self,
        f: impl FnOnce(&mut Door<'_, '_>) -> Result<R, E>,
    ) -> Result<Committed<R>, CommitError<E>>
    where
        R: Send + 'static,
    {
        let publisher = self.publisher();
        if publisher.is_some() {
            self.gate().wait().map_err(CommitError::Unreadable)?;
        }
        let done = self.store().transact_then(
            |tx| {
                let mut door = self.door(tx);
                let value = f(&mut door).map_err(CommitError::Refused)?;
                door.update_catalogs().map_err(CommitError::Unreadable)?;
                let (touches, zones) = (door.touches, door.applied);
                let publication = publisher
                    .map(|publisher| publisher.render(tx, touches))
                    .transpose()
                    .map_err(CommitError::Unreadable)?;
                Ok((value, zones, publication))
            },
            |(value, zones, publication)| {
                let durable_at = SystemTime::now();
                if let Some(publication) = publication {
                    publication.publish();
                }
                Committed { value, zones, durable_at, published_at: SystemTime::now() }
            },
        );
        let committed = done.map_err(|error| match error {
            TransactError::Refused(error) => error,
            TransactError::Write(error) => CommitError::Write(error),
        })?;
        self.board().note(&committed.zones);
        let zones = &committed.zones;
        if zones.iter().any(|zone| zone.from.is_none() || zone.to.is_none())
            && !self.closed().is_empty()
        {
            self.load_closed(); // a list may have lost its zone
        }
        Ok(committed)
    }

    /// What `changes` would do, worked out by the same code and taken back.
    ///
    /// # Errors
    ///
    /// [`CommitError::Refused`] with every reason against them.
    pub fn dry_run(&self, changes: &[ZoneChange]) -> Result<Applied, CommitError<Refusal>> {
        let result = self.store().transact(|tx| Err::<(), _>(self.door(tx).apply(changes)));
        match result {
            Err(TransactError::Refused(result)) => result.map_err(CommitError::Refused),
            Err(TransactError::Write(error)) => Err(CommitError::Write(error)),
            Ok(()) => Ok(Applied::default()),
        }
    }

    fn door<'a, 't>(&'a self, tx: &'a mut Tx<'t>) -> Door<'a, 't> {
        Door {
            tx,
            maintain: self,
            now_us: self.settings().clock.now_us(),
            cause: String::new(),
            journal_limits: self.settings().journal,
            signing_keys: self.signing_keys().clone(),
            touches: Vec::new(),
            applied: Vec::new(),
            place: Vec::new(),
        }
    }
}

impl<'t> Door<'_, 't> {
    /// The transaction: rows put here are kept with the zones' changes, or not at all.
    pub fn tx(&mut self) -> &mut Tx<'t> {
        self.tx
    }

    /// When the door was opened, in microseconds since 1970: the time of every version it makes.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Names what causes the changes applied from here on, for the journal of each zone.
    pub fn set_cause(&mut self, cause: impl Into<String>) {
        self.cause = cause.into();
    }

    /// The same for changes nobody named a cause of.
    pub(super) fn name_cause(&mut self, cause: &str) {
        if self.cause.is_empty() {
            cause.clone_into(&mut self.cause);
        }
    }

    /// Applies changes to any number of zones, all or none.
    ///
    /// Edits of one zone count as one change. Zones take their changes in the order given.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with every reason of every zone; the transaction is as it was before, and may
    /// still be used, to record the refusal.
    pub fn apply(&mut self, changes: &[ZoneChange]) -> Result<Applied, Refusal> {
        self.attempt(|door| {
            let (before, mut refused) = (door.applied.len(), Vec::new());
            for task in tasks(changes) {
                match door.apply_one(&task) {
                    Ok(zone) => door.applied.push(zone),
                    Err(Refused(reasons)) => {
                        refused.push(RefusedZone { apex: task.apex().clone(), reasons });
                    }
                }
            }
            if !refused.is_empty() {
                return Err(Refusal { zones: refused });
            }
            Ok(Applied { zones: door.applied.get(before..).unwrap_or_default().to_vec() })
        })
    }

    /// Does `f`; if it refuses, all it did here is taken back, rows as well as zones.
    ///
    /// So what several have asked for passes the door together, and each of them wholly or not at all.
    ///
    /// # Errors
    ///
    /// Those of `f`.
    pub fn attempt<R, E>(&mut self, f: impl FnOnce(&mut Self) -> Result<R, E>) -> Result<R, E> {
        let savepoint = self.tx.savepoint();
        let mark = (self.touches.len(), self.applied.len());
        let result = f(self);
        if result.is_err() {
            self.take_back(savepoint, mark);
        }
        result
    }

    fn take_back(&mut self, savepoint: Savepoint, (touches, applied): (usize, usize)) {
        self.tx.rollback_to(savepoint);
        self.touches.truncate(touches);
        self.applied.truncate(applied);
    }

    /// What [`Door::apply`] would do; nothing is kept.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with every reason of every zone.
    pub fn dry_run(&mut self, changes: &[ZoneChange]) -> Result<Applied, Refusal> {
        let savepoint = self.tx.savepoint();
        let mark = (self.touches.len(), self.applied.len());
        let applied = self.apply(changes)?;
        self.take_back(savepoint, mark);
        Ok(applied)
    }

    /// What was done to zones so far.
    pub(super) fn applied(&self) -> &[AppliedZone] {
        &self.applied
    }

    /// Counts something done to a zone without being asked for as a change.
    pub(super) fn note(&mut self, zone: AppliedZone) {
        self.applied.push(zone);
    }

    fn apply_one(&mut self, task: &Task<'_>) -> Result<AppliedZone, Refused> {
        if !task.keeps_content() {
            catalog::refuse_by_hand(self.tx, task.apex())?;
        }
        match task {
            Task::Edits(apex, edits) => self.edit(apex, edits),
            Task::One(ZoneChange::Create { apex, org, content }) => self.create(apex, org, content),
            Task::One(ZoneChange::Delete { apex }) => self.delete(apex),
            Task::One(ZoneChange::Replace { apex, content }) => self.replace(apex, content),
            Task::One(ZoneChange::Edit { apex, edits }) => self.edit(apex, edits),
            Task::One(ZoneChange::Move { apex, org }) => self.move_to(apex, org),
            Task::One(ZoneChange::SetState { apex, state }) => self.set_state(apex, *state),
            Task::One(ZoneChange::SetSigning { apex, plan }) => {
                self.set_signing(apex, plan.as_deref())
            }
            Task::One(ZoneChange::Expect { apex, org }) => self.expect(apex, org),
            Task::One(ZoneChange::Transfer { apex, transferred }) => self.take(apex, transferred),
            Task::One(ZoneChange::SetDnssec { apex, wish }) => self.set_dnssec(apex, wish),
        }
    }

    /// Notes what is to be rendered; `before` is the zone as the change found it.
    pub(super) fn touch(&mut self, id: u32, before: Option<Zone>, what: Touched) {
        self.touches.push(Touch { id, before, what });
    }

    /// The zone above `apex` answers otherwise at and below it when a zone comes or goes there.
    pub(super) fn touch_parent(&mut self, apex: &Name) -> Result<(), Refused> {
        let Some(above) = apex.parent() else { return Ok(()) };
        if let Some(parent) = rows::holding(self.tx, &above)? {
            self.touch(parent.id, Some(parent), Touched::Child(apex.clone()));
        }
        Ok(())
    }
}

/// A change, or all edits of one zone.
enum Task<'a> {
    One(&'a ZoneChange),
    Edits(&'a Name, Cow<'a, [RrSetEdit]>),
}

impl Task<'_> {
    /// Whether what a zone holds is none of its business.
    fn keeps_content(&self) -> bool {
        matches!(self, Task::One(ZoneChange::Move { .. } | ZoneChange::SetState { .. }))
    }

    fn apex(&self) -> &Name {
        match self {
            Task::Edits(apex, _) => apex,
            Task::One(change) => change.apex(),
        }
    }
}

/// Joins the edits of a zone that nothing else of that zone stands between.
fn tasks(changes: &[ZoneChange]) -> Vec<Task<'_>> {
    if let [ZoneChange::Edit { apex, edits }] = changes {
        return vec![Task::Edits(apex, Cow::Borrowed(edits))];
    }
    let mut tasks: Vec<Task<'_>> = Vec::with_capacity(changes.len());
    let mut latest = std::collections::BTreeMap::new();
    for change in changes {
        let at = latest.insert(change.apex().key(), tasks.len());
        let ZoneChange::Edit { apex, edits } = change else {
            tasks.push(Task::One(change));
            continue;
        };
        match at.and_then(|at| Some((at, tasks.get_mut(at)?))) {
            Some((at, Task::Edits(_, joined))) => {
                joined.to_mut().extend_from_slice(edits);
                latest.insert(apex.key(), at);
            }
            _ => tasks.push(Task::Edits(apex, Cow::Borrowed(edits))),
        }
    }
    tasks
}
