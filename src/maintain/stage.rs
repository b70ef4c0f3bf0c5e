//! Staging: a large zone is written in bounded records before the commit that makes it served.
//!
//! Staged rows belong to no version. The commit names them; what no commit names is released: when
//! it is refused, or at the next start.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use super::apply::Refused;
use super::change::{AppliedZone, Content, Reason, Refusal, RefusedZone, Staged};
use super::commit::{CommitError, Door};
use super::rows::{self, ChunksMut, Release, Zone};
use super::signed::digestible;
use super::{Maintain, content, rules};
use crate::sign::Signer;
use crate::store::{Rows, Table, TransactError};
use crate::wire::{Name, Serial, Type};
use crate::zone::chunk::{self, Counts};
use crate::zone::delta::{Delta, Set, SetChange, set_at};
use crate::zone::{ReadFault, serial};

/// (Zone, generation) → rows that are written but not part of a version.
pub(super) const STAGES: Table<(u32, u32), Stage> = Table::new("staged zones", *b"zg");

/// Octets of chunks in one record of the log.
const RECORD_OCTETS: usize = 1 << 20;

/// Who writes the rows of one zone side by side: what one of them waits to have synced, the others' rows are made
/// and gathered for the next sync. Each holds one record.
const WRITERS: usize = 3;

/// Keys and chunks of one record of the log.
type Record = Vec<(Vec<u8>, Vec<u8>)>;

/// Content from this size on is better staged than committed as one record.
pub const STAGE_OCTETS_MIN: usize = 4 << 20;

/// Whose rows are staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stage {
    apex: Name,
    /// Whether its zone's id is new too.
    new: bool,
}

type Result<T> = std::result::Result<T, Refused>;

impl Maintain {
    /// Checks content and writes its rows, so that a commit needs only to name them.
    ///
    /// # Errors
    ///
    /// [`CommitError::Refused`] with every zone rule it breaks.
    pub fn stage(
        &self,
        apex: &Name,
        content: &Content,
    ) -> std::result::Result<Staged, CommitError<Refusal>> {
        let refused = |Refused(reasons): Refused| {
            let zones = vec![RefusedZone { apex: apex.clone(), reasons }];
            CommitError::Refused(Refusal { zones })
        };
        let fresh = content::fresh(apex, content).map_err(refused)?;
        let signed = self.sign_content(apex, &fresh)?;
        let octets = signed.as_ref().map_or(&*fresh.octets, |(octets, _)| octets);
        let (zone, generation) = self.stage_octets(apex, octets)?;
        let counts = Counts::of(octets);
        let signed_by = signed.map(|(_, number)| number);
        Ok(Staged { zone, generation, counts, presigned: fresh.presigned, signed_by })
    }

    /// Writes the rows of a zone, a bounded part at a time; returns where they stand.
    pub(super) fn stage_octets(
        &self,
        apex: &Name,
        nodes: &[u8],
    ) -> std::result::Result<(u32, u32), CommitError<Refusal>> {
        let refused = |Refused(reasons): Refused| {
            let zones = vec![RefusedZone { apex: apex.clone(), reasons }];
            CommitError::Refused(Refusal { zones })
        };
        let begun = self.commit(|door| door.begin_stage(apex)).map_err(|error| match error {
            CommitError::Refused(error) => refused(error),
            CommitError::Unreadable(fault) => CommitError::Unreadable(fault),
            CommitError::Write(error) => CommitError::Write(error),
        })?;
        let (zone, generation) = begun.value;
        self.write_chunks(apex, (zone, generation), nodes)?;
        Ok((zone, generation))
    }

    /// Cuts `nodes` into rows, which several hands write meanwhile. They may come in any order: nobody sees them yet.
    fn write_chunks(
        &self,
        apex: &Name,
        of: (u32, u32),
        nodes: &[u8],
    ) -> std::result::Result<(), CommitError<Refusal>> {
        let (full, records) = sync_channel::<Record>(1);
        let records = Arc::new(Mutex::new(records));
        thread::scope(|scope| {
            // Whoever cuts the rows waits for nobody once all hands have let go of `records`.
            let hand = |records: Arc<Mutex<Receiver<Record>>>| {
                let next = || records.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
                let mut done = Ok(());
                // After a failure the rest is taken all the same, so that nobody waits to be rid of it.
                while let Some(record) = next() {
                    done = done.and_then(|()| self.write_record(of, &record));
                }
                done
            };
            let hands: Vec<_> = (0..WRITERS)
                .map(|_| Arc::clone(&records))
                .map(|records| scope.spawn(move || hand(records)))
                .collect();
            drop(records);
            let (mut record, mut octets) = (Record::new(), 0);
            let gone = |_| ReadFault("those who write a zone's rows are gone".into());
            let cut = chunk::split(apex, nodes, |key, nodes| {
                octets += nodes.len();
                record.push((key.to_vec(), nodes));
                if octets < RECORD_OCTETS {
                    return Ok(());
                }
                octets = 0;
                full.send(std::mem::take(&mut record)).map_err(gone)
            });
            let cut = cut.and_then(|()| full.send(record).map_err(gone));
            drop(full);
            let wrote = hands.into_iter().try_for_each(|hand| match hand.join() {
                Ok(done) => done,
                Err(panic) => resume_unwind(panic),
            });
            wrote.and(cut.map_err(CommitError::Unreadable))
        })
    }

    fn write_record(
        &self,
        (zone, generation): (u32, u32),
        record: &Record,
    ) -> std::result::Result<(), CommitError<Refusal>> {
        let written = self.store().transact(|tx| {
            let mut rows = record.iter();
            rows.try_for_each(|(key, nodes)| rows::put_chunk(tx, zone, generation, key, nodes))
        });
        written.map_err(|error| match error {
            TransactError::Refused(error) => CommitError::Unreadable(rows::fault(error)),
            TransactError::Write(error) => CommitError::Write(error),
        })
    }
}

impl Door<'_, '_> {
    fn begin_stage(&mut self, apex: &Name) -> Result<(u32, u32)> {
        let zone = rows::zone(self.tx, apex)?;
        let stage = Stage { apex: apex.clone(), new: zone.is_none() };
        let zone = match zone {
            Some(zone) => zone.id,
            None => self.new_zone_id()?,
        };
        let generation = self.new_generation()?;
        self.tx.put(&STAGES, &(zone, generation), &stage)?;
        Ok((zone, generation))
    }

    /// A number no chunks of any zone were kept under yet; 0 is for the first content of a zone.
    pub(super) fn new_generation(&mut self) -> Result<u32> {
        let next = self.tx.get(&rows::NEXT_GENERATION, &())?.unwrap_or(1);
        let after = next.checked_add(1);
        let text = "all numbers of generations are used up".into();
        self.tx.put(&rows::NEXT_GENERATION, &(), &after.ok_or(Reason::Limit { text })?)?;
        Ok(next)
    }

    /// Takes staged rows for a zone: numbers them, and gives their SOA and counts.
    pub(super) fn take_staged(
        &mut self,
        staged: &Staged,
        apex: &Name,
        last: Option<Serial>,
        signer: Option<&Signer>,
    ) -> Result<(Set, Counts)> {
        let soa = self.claim_staged(staged, apex)?;
        let own = soa.rrset.soa_serial();
        let serial = match (staged.presigned, last, own) {
            (true, Some(last), Some(own)) if !last.is_before(own) => {
                return Err(content::serial_behind(apex, own, last));
            }
            (true, _, Some(own)) => own,
            _ => serial::following(last, own),
        };
        if own == Some(serial) {
            return Ok((soa, staged.counts));
        }
        let mut after = soa.clone();
        after.set_serial(serial);
        if let Some(signer) = signer {
            signer.sign_at_apex(&mut after)?;
        }
        let owner = after.rrset.owner.clone();
        let change =
            SetChange { owner, rtype: Type::SOA, before: Some(soa), after: Some(after.clone()) };
        let mut counts = staged.counts;
        let (zone, generation) = (staged.zone, staged.generation);
        let mut chunks = ChunksMut { tx: self.tx, zone, generation };
        let stale = match signer {
            // The signer makes the digest anew.
            Some(_) => None,
            None => content::stale_digest(&chunk::ChunkView::new(apex, &chunks), serial)?,
        };
        let delta = Delta::new(std::iter::once(change).chain(stale).collect());
        counts += chunk::update(&mut chunks, apex, &delta, &mut Vec::new())?;
        Ok((after, counts))
    }

    /// Takes staged rows out of the list of those that belong to nobody; gives their SOA.
    pub(super) fn claim_staged(&mut self, staged: &Staged, apex: &Name) -> Result<Set> {
        let key = (staged.zone, staged.generation);
        let stage = self.tx.get(&STAGES, &key)?;
        // An id is for one zone only: rows staged for a zone that is gone by now are released with it.
        let new = rows::zone(self.tx, apex)?.is_none();
        if stage.is_none_or(|stage| stage.apex != *apex || stage.new != new) {
            let text = "the staged records are gone: stage them again".into();
            return Err(Reason::Limit { text }.into());
        }
        self.tx.delete(&STAGES, &key)?;
        let chunks = ChunksMut { tx: self.tx, zone: key.0, generation: key.1 };
        let soa = set_at(&chunk::ChunkView::new(apex, &chunks), apex, Type::SOA)?;
        Ok(soa.ok_or_else(|| rules::no_soa(apex))?)
    }

    pub(super) fn switch_to_staged(
        &mut self,
        mut zone: Zone,
        staged: &Staged,
    ) -> Result<AppliedZone> {
        if staged.zone != zone.id {
            let text = "the staged records are of another zone: stage them again".into();
            return Err(Reason::Limit { text }.into());
        }
        let apex = zone.apex.clone();
        let signer = self.signer_of_staged(&zone, staged)?;
        let (soa, mut counts) =
            self.take_staged(staged, &apex, Some(zone.serial), signer.as_ref())?;
        if let Some(signer) = &signer {
            digestible(signer, counts.octets)?;
            counts = self.digest_beside(&zone, staged.generation, counts, signer)?;
        }
        zone.presigned = staged.presigned;
        self.take_over(zone, staged.generation, counts, soa)
    }

    /// Lets go of what was staged by a process that ended before its commit.
    pub(super) fn drop_stages(&mut self) -> Result<usize> {
        let stages = self.tx.scan(&STAGES, &(), None, usize::MAX)?;
        for (key, _) in &stages {
            self.tx.delete(&STAGES, key)?;
            self.tx.put(&rows::RELEASES, key, &Release::Generation)?;
        }
        Ok(stages.len())
    }
}
