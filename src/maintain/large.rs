//! Large zones signed as a whole: beside the version in service, which then takes their place.
//!
//! The zone is copied at one version and signed without holding anybody back. What was changed
//! meanwhile is in the journal; it is put into the signed copy, and signed, when that takes over.

use super::Maintain;
use super::apply::Refused;
use super::change::{Reason, Refusal, Staged};
use super::commit::{CommitError, Door};
use super::content::Fresh;
use super::dnssec;
use super::journal;
use super::resign::refusal;
use super::rows::{self, Chunks, ChunksMut, Release, Zone};
use super::signed::{digestible, has_digest, plain};
use super::signing::{self, Served, Signing};
use super::stage::STAGES;
use crate::sign::{Signed, Signer};
use crate::wire::{Name, RrSet, Type};
use crate::zone::chunk::{self, ChunkView, Counts};
use crate::zone::delta::{Delta, SetChange, Step, set_at};
use crate::zone::packed;
use crate::zone::tree::PackedZone;

impl Maintain {
    /// Signs all of a zone beside its version in service, and puts it in its place.
    pub(super) fn sign_large(
        &self,
        zone: &Zone,
        signing: &Signing,
    ) -> Result<(), CommitError<Refusal>> {
        let copy = self.copy(&zone.apex).map_err(CommitError::Unreadable)?;
        let Some((zone, octets)) = copy.filter(|(copy, _)| copy.id == zone.id) else {
            return Ok(());
        };
        let signer = self.signer_for(&zone, signing, &octets)?;
        let signer = match signing.active() {
            Some(_) => signer,
            None => signer.for_the_first_time(),
        };
        let signed = signer.whole(&octets).map_err(|error| refused(&zone, error.into()))?;
        drop(octets);
        let (id, generation) = self.stage_octets(&zone.apex, &signed.octets)?;
        let taken = self.commit(|door| {
            door.set_cause("signatures");
            let taken = door.take_signed(&zone, signing.number, generation, &signed, &signer);
            taken.map_err(|error| refusal(&zone, error))
        });
        if let Err(error) = taken {
            // What was staged for nothing; if even this fails, the next start does it.
            let _ = self.commit(|door| {
                door.tx.delete(&STAGES, &(id, generation))?;
                door.tx.put(&rows::RELEASES, &(id, generation), &Release::Generation)
            });
            let now = self.store().read(|rows| signing::of(rows, &zone));
            let now = now.map_err(CommitError::Unreadable)?;
            // By another plan it is due again already.
            return match now.is_some_and(|now| now.number == signing.number) {
                true => Err(error),
                false => Ok(()),
            };
        }
        Ok(())
    }

    /// Signs content on its way into a zone that is signed here; returns it with the plan's number.
    pub(super) fn sign_content(
        &self,
        apex: &Name,
        fresh: &Fresh<'_>,
    ) -> Result<Option<(Vec<u8>, u64)>, CommitError<Refusal>> {
        let found = self.store().read(|rows| {
            let Some(zone) = rows::zone(rows, apex)? else { return Ok(None) };
            Ok(signing::of(rows, &zone)?.map(|signing| (zone, signing)))
        });
        let Some((zone, signing)) = found.map_err(CommitError::Unreadable)? else {
            return Ok(None);
        };
        let Some(plan) = signing.active() else { return Ok(None) };
        let octets = plain(&fresh.octets, Some(plan));
        let active = Signing { plan: plan.clone(), ..signing.clone() };
        let signer = self.signer_for(&zone, &active, &octets)?;
        let signed = signer.whole(&octets).map_err(|error| refused(&zone, error.into()))?;
        Ok(Some((signed.octets, signing.number)))
    }

    /// A signer for the content `octets` of a zone.
    fn signer_for(
        &self,
        zone: &Zone,
        signing: &Signing,
        octets: &[u8],
    ) -> Result<Signer, CommitError<Refusal>> {
        let view = PackedZone::new(zone.apex.clone(), octets);
        let soa = set_at(&view, &zone.apex, Type::SOA).map_err(CommitError::Unreadable)?;
        let soa: RrSet = soa
            .map(|soa| soa.rrset)
            .ok_or_else(|| refused(zone, Reason::Signing { text: "no SOA".into() }.into()))?;
        let made = self.commit(|door| {
            door.signer(zone, &signing.plan, &soa).map_err(|error| refusal(zone, error))
        })?;
        Ok(made.value)
    }
}

fn refused(zone: &Zone, error: Refused) -> CommitError<Refusal> {
    CommitError::Refused(refusal(zone, error))
}

fn outrun() -> Refused {
    let text = "the zone changed more while it was signed than its journal keeps";
    Reason::Signing { text: text.into() }.into()
}

impl Door<'_, '_> {
    /// Who signs the SOA of staged content; none in a zone that is not signed.
    pub(super) fn signer_of_staged(
        &mut self,
        zone: &Zone,
        staged: &Staged,
    ) -> Result<Option<Signer>, Refused> {
        let signing = signing::of(self.tx, zone)?;
        let active = signing.as_ref().and_then(|signing| Some((signing.number, signing.active()?)));
        match (active, staged.signed_by) {
            (None, None) => Ok(None),
            (Some(_), _) if staged.presigned => {
                let text = "zone is signed here: import it with its signatures stripped, or switch signing off first";
                Err(Reason::Signing { text: text.into() }.into())
            }
            (Some((number, plan)), Some(signed_by)) if number == signed_by => {
                let plan = plan.clone();
                let soa = self.soa(zone)?;
                Ok(Some(self.signer(zone, &plan, &soa.rrset)?))
            }
            _ => {
                let text = "the zone's signing changed: stage the records again";
                Err(Reason::Signing { text: text.into() }.into())
            }
        }
    }

    /// Makes a staged, signed copy of `zone` the content of the zone as it is now.
    fn take_signed(
        &mut self,
        copied: &Zone,
        number: u64,
        generation: u32,
        signed: &Signed,
        signer: &Signer,
    ) -> Result<(), Refused> {
        let zone = self.changeable(&copied.apex)?;
        let signing = signing::of(self.tx, &zone)?.filter(|signing| signing.number == number);
        let Some(mut signing) = signing.filter(|_| zone.id == copied.id) else {
            return Err(Reason::Signing { text: "the zone's signing changed".into() }.into());
        };
        if zone.generation != copied.generation {
            return Err(outrun());
        }
        if !has_digest(&signing) {
            digestible(signer, signed.octets.len() as i64)?;
        }
        let mut counts = Counts::of(&signed.octets);
        for version in copied.version + 1..=zone.version {
            let kept = journal::version(self.tx, &zone, version)?.ok_or_else(outrun)?;
            counts += self.catch_up(&zone, generation, kept.step, signer)?;
        }
        let mut soa = {
            let chunks = Chunks { rows: self.tx, zone: zone.id, generation };
            let view = ChunkView::new(&zone.apex, &chunks);
            set_at(&view, &zone.apex, Type::SOA)?.ok_or_else(outrun)?
        };
        let before = soa.clone();
        soa.set_serial(zone.serial.next());
        signer.sign_at_apex(&mut soa)?;
        let owner = zone.apex.clone();
        let (rtype, after) = (Type::SOA, Some(soa.clone()));
        let change = SetChange { owner, rtype, before: Some(before), after };
        counts += self.put_in(&zone, generation, &Delta::new(vec![change]))?;
        self.tx.delete(&STAGES, &(zone.id, generation))?;
        let now_s = self.steady_s();
        dnssec::finish(self.tx, &zone, now_s)?;
        signing.complete = true;
        signing.fault = None;
        signing.served = Served::Plan;
        self.expires_in(&mut signing, signed.first_expiry_s, signer);
        signing::put(self.tx, zone.id, &signing)?;
        let counts = self.digest_beside(&zone, generation, counts, signer)?;
        self.take_over(zone, generation, counts, soa)?;
        Ok(())
    }

    /// Puts a step that people took into a signed copy, and signs what it touched there.
    fn catch_up(
        &mut self,
        zone: &Zone,
        generation: u32,
        step: Step,
        signer: &Signer,
    ) -> Result<Counts, Refused> {
        let step =
            Step { dels: packed::strip(&step.dels), adds: packed::strip(&step.adds), ..step };
        let view_now =
            |door: &Self,
             with: &mut dyn FnMut(&dyn crate::zone::View) -> Result<Delta, Refused>| {
                let chunks = Chunks { rows: &*door.tx, zone: zone.id, generation };
                with(&ChunkView::new(&zone.apex, &chunks))
            };
        let mut delta = view_now(self, &mut |view| Ok(step.delta(view)?))?;
        for change in &mut delta.changes {
            if let Some(after) = &mut change.after {
                after.sigs.clear();
            }
        }
        let mut counts = self.put_in(zone, generation, &delta)?;
        let more = view_now(self, &mut |view| Ok(signer.touched(view, &delta.changes)?))?;
        counts += self.put_in(zone, generation, &more)?;
        Ok(counts)
    }

    /// Writes the digest of content that is about to take a zone's place; returns its counts then.
    pub(super) fn digest_beside(
        &mut self,
        zone: &Zone,
        generation: u32,
        counts: Counts,
        signer: &Signer,
    ) -> Result<Counts, Refused> {
        let mut beside = Zone { generation, counts, ..zone.clone() };
        self.put_digest(&mut beside, signer)?;
        Ok(beside.counts)
    }

    fn put_in(&mut self, zone: &Zone, generation: u32, delta: &Delta) -> Result<Counts, Refused> {
        let mut chunks = ChunksMut { tx: self.tx, zone: zone.id, generation };
        Ok(chunk::update(&mut chunks, &zone.apex, delta, &mut Vec::new())?)
    }
}
