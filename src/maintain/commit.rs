//! The one door: whatever its origin, a zone changes only here.
//!
//! One order of steps: check, number, render, **persist**, publish, announce. The zones of one
//! commit, and the rows of whoever asked for it, are one record of the log and appear in one
//! snapshot. Up to persisting, anything may fail and leaves no trace; from there on nothing may
//! fail, only be repeated: the start-up publishes what the log holds.

use std::time::SystemTime;

use super::Maintain;
use super::apply::Refused;
use super::change::{Applied, AppliedZone, Refusal, RefusedZone, ZoneChange};
use super::journal::Limits;
use super::rows::{self, Zone};
use crate::store::{TransactError, Tx, WriteError};
use crate::wire::Name;
use crate::zone::delta::SetChange;
use crate::zone::{ReadFault, RrSetEdit};

/// The door while it is open: a transaction, and what it does to zones.
pub struct Door<'a, 't> {
    pub(super) tx: &'a mut Tx<'t>,
    pub(super) now_us: u64,
    pub(super) cause: String,
    pub(super) journal_limits: Limits,
    touches: Vec<Touch>,
    applied: Vec<AppliedZone>,
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
            self.gate().wait();
        }
        let done = self.store().transact_then(
            |tx| {
                let mut door = self.door(tx);
                let value = f(&mut door).map_err(CommitError::Refused)?;
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

    fn door<'a, 't>(&self, tx: &'a mut Tx<'t>) -> Door<'a, 't> {
        Door {
            tx,
            now_us: now_us(),
            cause: String::new(),
            journal_limits: self.settings().journal,
            touches: Vec::new(),
            applied: Vec::new(),
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

    /// Applies changes to any number of zones, all or none.
    ///
    /// Edits of one zone count as one change. Zones take their changes in the order given.
    ///
    /// # Errors
    ///
    /// [`Refusal`] with every reason of every zone; the transaction is as it was before, and may
    /// still be used, to record the refusal.
    pub fn apply(&mut self, changes: &[ZoneChange]) -> Result<Applied, Refusal> {
        let savepoint = self.tx.savepoint();
        let mark = (self.touches.len(), self.applied.len());
        let mut refused = Vec::new();
        for task in tasks(changes) {
            match self.apply_one(&task) {
                Ok(zone) => self.applied.push(zone),
                Err(Refused(reasons)) => {
                    refused.push(RefusedZone { apex: task.apex().clone(), reasons });
                }
            }
        }
        if refused.is_empty() {
            let zones = self.applied.get(mark.1..).unwrap_or_default().to_vec();
            return Ok(Applied { zones });
        }
        self.tx.rollback_to(savepoint);
        self.touches.truncate(mark.0);
        self.applied.truncate(mark.1);
        Err(Refusal { zones: refused })
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
        self.tx.rollback_to(savepoint);
        self.touches.truncate(mark.0);
        self.applied.truncate(mark.1);
        Ok(applied)
    }

    fn apply_one(&mut self, task: &Task<'_>) -> Result<AppliedZone, Refused> {
        match task {
            Task::Edits(apex, edits) => self.edit(apex, edits),
            Task::One(ZoneChange::Create { apex, org, content }) => self.create(apex, org, content),
            Task::One(ZoneChange::Delete { apex }) => self.delete(apex),
            Task::One(ZoneChange::Replace { apex, content }) => self.replace(apex, content),
            Task::One(ZoneChange::Edit { apex, edits }) => self.edit(apex, edits),
            Task::One(ZoneChange::Move { apex, org }) => self.move_to(apex, org),
            Task::One(ZoneChange::SetState { apex, state }) => self.set_state(apex, *state),
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
    Edits(&'a Name, Vec<RrSetEdit>),
}

impl Task<'_> {
    fn apex(&self) -> &Name {
        match self {
            Task::Edits(apex, _) => apex,
            Task::One(change) => change.apex(),
        }
    }
}

/// Joins the edits of a zone that nothing else of that zone stands between.
fn tasks(changes: &[ZoneChange]) -> Vec<Task<'_>> {
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
                joined.extend_from_slice(edits);
                latest.insert(apex.key(), at);
            }
            _ => tasks.push(Task::Edits(apex, edits.clone())),
        }
    }
    tasks
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::super::{Content, Maintain, Reason, Settings};
    use super::*;
    use crate::store::{Store, Table};
    use crate::wire::{RrSet, Serial, Type};
    use crate::zone::tree::Tree;
    use crate::zone::{Base, Op};

    const NOTES: Table<u8, String> = Table::new("notes", *b"no");

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn soa(apex: &str, serial: u32) -> RrSet {
        let rdata = [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat();
        RrSet::new(name(apex), Type::SOA, 300, vec![rdata.into()])
    }

    fn ns(apex: &str) -> RrSet {
        RrSet::new(name(apex), Type::NS, 300, vec![name("ns.invalid.").as_wire().into()])
    }

    fn a(owner: &str, last: u8) -> RrSet {
        RrSet::new(name(owner), Type::A, 300, vec![Box::new([192, 0, 2, last])])
    }

    fn create(apex: &str, serial: u32) -> ZoneChange {
        let content =
            Content::RrSets(vec![a(&format!("www.{apex}"), 1), soa(apex, serial), ns(apex)]);
        ZoneChange::Create { apex: name(apex), org: "org".into(), content }
    }

    fn set(apex: &str, label: &str, last: u8, base: Base) -> ZoneChange {
        let rrset = a(&format!("{label}.{apex}"), last);
        let op = Op::Replace { ttl: 300, rdatas: rrset.rdatas().to_vec() };
        let edit = RrSetEdit { owner: rrset.owner, rtype: Type::A, op, base };
        ZoneChange::Edit { apex: name(apex), edits: vec![edit] }
    }

    fn maintain() -> Maintain {
        Maintain::offline(Store::in_memory(), Settings::default())
    }

    fn commit(maintain: &Maintain, changes: &[ZoneChange]) -> Result<Applied, Refusal> {
        maintain.commit(|door| door.apply(changes)).map(|done| done.value).map_err(|error| {
            match error {
                CommitError::Refused(refusal) => refusal,
                other => panic!("{other}"),
            }
        })
    }

    fn tree(maintain: &Maintain, apex: &str) -> Tree {
        maintain.store().read(|rows| {
            let zone = rows::zone(rows, &name(apex)).unwrap().unwrap();
            rows::with_view(rows, &zone, |view| Tree::copy(view).unwrap())
        })
    }

    fn serial(maintain: &Maintain, apex: &str) -> Option<Serial> {
        let zone = maintain.store().read(|rows| rows::zone(rows, &name(apex)).unwrap());
        zone.map(|zone| zone.serial)
    }

    #[test]
    fn an_order_over_many_zones_is_applied_as_a_whole_or_not_at_all() {
        let maintain = maintain();
        commit(&maintain, &[create("a.", 1), create("b.", 1)]).unwrap();
        let before = (tree(&maintain, "a."), tree(&maintain, "b."));
        let stale = Base::Seen(Some(a("www.b.", 9)));

        let refusal = commit(
            &maintain,
            &[set("a.", "x", 2, Base::Unchecked), set("b.", "www", 3, stale), create("a.", 1)],
        )
        .unwrap_err();

        assert_eq!(refusal.zones.len(), 2);
        assert!(matches!(refusal.zones[0].reasons[..], [Reason::Conflict(_)]));
        assert_eq!(refusal.zones[1].reasons, [Reason::ZoneExists]);
        assert_eq!((tree(&maintain, "a."), tree(&maintain, "b.")), before);
    }

    #[test]
    fn a_refusal_can_be_recorded_in_the_record_that_would_have_held_the_change() {
        let maintain = maintain();
        commit(&maintain, &[create("a.", 1)]).unwrap();
        let done = maintain.commit(|door| {
            let refusal = door.apply(&[set("a.", "x", 1, Base::Unchecked), create("a.", 1)]);
            door.tx().put(&NOTES, &1, &refusal.unwrap_err().to_string())
        });
        assert!(done.unwrap().zones.is_empty());
        let note = maintain.store().read(|rows| crate::store::Rows::get(rows, &NOTES, &1));
        assert!(note.unwrap().unwrap().contains("exists already"));
        assert_eq!(serial(&maintain, "a."), Some(Serial(1)));
    }

    #[test]
    fn a_change_that_changes_nothing_bumps_no_serial() {
        let maintain = maintain();
        commit(&maintain, &[create("a.", 7)]).unwrap();
        let applied = commit(&maintain, &[set("a.", "www", 1, Base::Unchecked)]).unwrap();
        assert_eq!(
            (applied.zones[0].from, applied.zones[0].to),
            (Some(Serial(7)), Some(Serial(7)))
        );
        assert!(applied.zones[0].changed.is_empty());
        assert_eq!(serial(&maintain, "a."), Some(Serial(7)));
    }

    #[test]
    fn the_serial_moves_forward_through_edit_replacement_deletion_and_creation() {
        let maintain = maintain();
        let content = |serial| match create("a.", serial) {
            ZoneChange::Create { content, .. } => content,
            _ => unreachable!(),
        };
        let mut last = None;
        let replace = |serial| ZoneChange::Replace { apex: name("a."), content: content(serial) };
        let steps = [
            create("a.", u32::MAX - 1),
            set("a.", "x", 1, Base::Unchecked),
            set("a.", "x", 2, Base::Unchecked),
            replace(1),
            set("a.", "x", 3, Base::Unchecked),
            replace(500),
            ZoneChange::Delete { apex: name("a.") },
            create("a.", 3),
        ];
        for step in steps {
            commit(&maintain, std::slice::from_ref(&step)).unwrap();
            let Some(now) = serial(&maintain, "a.") else { continue };
            assert!(
                last.is_none_or(|last: Serial| last.is_before(now)),
                "{last:?} then {now}: {step:?}"
            );
            last = Some(now);
        }
        assert_eq!(last, Some(Serial(501)));
    }

    #[test]
    fn a_dry_run_says_what_would_happen_and_changes_nothing() {
        let maintain = maintain();
        commit(&maintain, &[create("a.", 1)]).unwrap();
        let changes = [set("a.", "x", 2, Base::Unchecked), create("b.", 5)];
        let tried = maintain.dry_run(&changes).unwrap();
        assert_eq!((serial(&maintain, "a."), serial(&maintain, "b.")), (Some(Serial(1)), None));
        let done = commit(&maintain, &changes).unwrap();
        assert_eq!(tried, done);
    }

    #[test]
    fn a_zone_staged_beforehand_is_taken_by_one_commit() {
        let maintain = maintain();
        let ZoneChange::Create { content, .. } = create("a.", 4) else { unreachable!() };
        let staged = maintain.stage(&name("a."), &content).unwrap();
        assert_eq!(serial(&maintain, "a."), None);
        let change = |staged| ZoneChange::Create {
            apex: name("a."),
            org: "org".into(),
            content: Content::Staged(staged),
        };
        commit(&maintain, &[change(staged.clone())]).unwrap();
        let expected = {
            commit(&maintain, &[create("b.", 4)]).unwrap();
            tree(&maintain, "b.")
        };
        assert_eq!(serial(&maintain, "a."), Some(Serial(4)));
        assert_eq!(tree(&maintain, "a.").to_packed().len(), expected.to_packed().len());

        let again = ZoneChange::Replace { apex: name("a."), content: Content::Staged(staged) };
        assert!(commit(&maintain, &[again]).is_err());
        let staged = maintain.stage(&name("a."), &content).unwrap();
        let replace = ZoneChange::Replace { apex: name("a."), content: Content::Staged(staged) };
        assert_eq!(commit(&maintain, &[replace]).unwrap().zones[0].to, Some(Serial(5)));
    }
}
