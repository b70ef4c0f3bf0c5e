//! Zones that follow a primary and are signed here: unsigned in, signed out.
//!
//! Signing makes versions that the primary knows nothing of, so such a zone counts for itself: its
//! serial only ever moves forward, to the primary's where that is ahead, and the primary's serial of
//! what is here is kept beside. What a primary sends loses the signatures, keys and denial it may
//! have, is compared with what people put here before, numbered, and signed like any change.
//!
//! Promises: steps are taken only onto the version they start from; no version is published unsigned;
//! a zone that is signed no longer has its primary's serials again as soon as those are ahead.

use std::borrow::Cow;

use super::apply::{DELTA_SETS_MAX, Refused, unchanged};
use super::change::{AppliedZone, Content, Reason, Staged};
use super::commit::Door;
use super::content::{self, Fresh};
use super::rows::{self, Chunks, Zone};
use super::signed::plain;
use super::signing::{self, Signing};
use super::take::{astray, check_serial, join, refuse_strangers, tidy};
use super::{Maintain, rules, secondary, take};
use crate::sign::{Plan, vouch};
use crate::wire::{Name, RrSet, Serial, Type};
use crate::zone::ReadFault;
use crate::zone::chunk::ChunkView;
use crate::zone::delta::{Delta, Set, SetChange, Step, set_at};
use crate::zone::packed;
use crate::zone::tree::PackedZone;

type Result<T> = std::result::Result<T, Refused>;

impl Maintain {
    /// Content of a primary without what its signer added, if its zone counts for itself here.
    pub(super) fn without_signer(
        &self,
        apex: &Name,
        octets: Vec<u8>,
    ) -> std::result::Result<(Vec<u8>, bool), ReadFault> {
        let apart = self.store().read(|rows| -> std::result::Result<_, ReadFault> {
            let zone = rows::zone(rows, apex)?;
            let signing = zone.map(|zone| signing::of(rows, &zone)).transpose()?.flatten();
            Ok((secondary::serial_there(rows, apex)?.is_some(), signing))
        })?;
        Ok(match apart {
            (false, _) => (octets, false),
            (true, signing) => (plain(&octets, signing.as_ref().and_then(Signing::active)), true),
        })
    }
}

impl Door<'_, '_> {
    /// Takes steps of a primary into a zone that counts for itself; `there` is the primary's serial of
    /// what is here.
    pub(super) fn take_steps_apart(
        &mut self,
        zone: Zone,
        steps: &[Step],
        mut there: Serial,
    ) -> Result<AppliedZone> {
        let apex = zone.apex.clone();
        let signing = signing::of(self.tx, &zone)?;
        let plan = signing.as_ref().and_then(Signing::active);
        let (mut touched, mut digest) = (Vec::new(), None);
        let mut all = AppliedZone { from: Some(zone.serial), ..unchanged(&zone) };
        for step in steps {
            let zone = rows::zone(self.tx, &apex)?.ok_or(Reason::UnknownZone)?;
            if step.from != there {
                return Err(astray(&apex, step.from, there));
            }
            match (digest_in(&apex, &step.adds)?, digest_in(&apex, &step.dels)?) {
                (Some(new), _) => digest = Some(new),
                (None, Some(_)) => digest = None,
                (None, None) => {}
            }
            let bare = Step {
                dels: plain(&step.dels, plan),
                adds: plain(&step.adds, plan),
                ..step.clone()
            };
            let mut delta = self.delta_apart(&zone, &bare, there)?;
            refuse_strangers(&delta, &apex)?;
            touched.extend(delta.owners());
            let soa = self.soa(&zone)?;
            let serial = delta.number(&soa, zone.serial);
            let applied = self.write(zone, delta, serial, false)?;
            join(&mut all, applied);
            there = step.to;
        }
        let zone = self.note_there(&apex, there, signing.is_some())?;
        if let Some(digest) = digest {
            self.check_digest_there(&zone, plan, there, digest)?;
        }
        touched.sort_by_cached_key(Name::key);
        touched.dedup();
        let broken = rows::with_view(self.tx, &zone, |view| rules::touched(view, &touched))?;
        if broken.is_empty() { Ok(all) } else { Err(Refused(broken)) }
    }

    /// A version whose steps lead to a digest must be what that says ([RFC 8976] §4): as the primary has
    /// it, with the primary's serial and digest and without what is made here. No signature vouches for that:
    /// where a parent says that some must, only the whole zone will do.
    ///
    /// [RFC 8976]: https://www.rfc-editor.org/rfc/rfc8976
    fn check_digest_there(
        &mut self,
        zone: &Zone,
        plan: Option<&Plan>,
        there: Serial,
        digest: RrSet,
    ) -> Result<()> {
        take::digest_within(zone)?;
        let octets = plain(&self.octets(zone)?, plan);
        let soa = set_at(&PackedZone::new(zone.apex.clone(), &octets), &zone.apex, Type::SOA)?;
        let mut soa = soa.ok_or_else(|| rules::no_soa(&zone.apex))?;
        soa.set_serial(there);
        let digest = Set { rrset: digest, sigs: Vec::new() };
        let changes = [soa, digest].map(|set| SetChange {
            owner: zone.apex.clone(),
            rtype: set.rrset.rtype,
            before: None,
            after: Some(set),
        });
        let octets = content::at_apex(&zone.apex, &octets, &changes);
        let (ds, now_s) = self.judged_by(zone)?;
        let sent = PackedZone::new(zone.apex.clone(), &octets);
        let checked = vouch::check(&sent, &ds, now_s);
        checked.map(drop).map_err(|why| take::not_as_digested(&zone.apex, why))
    }

    /// What a step without signatures changes here: the primary's SOA has another serial than ours, and
    /// what the step touches is to be signed anew.
    fn delta_apart(&mut self, zone: &Zone, step: &Step, there: Serial) -> Result<Delta> {
        let delta = rows::with_view(self.tx, zone, |view| {
            step.delta_with(&mut |owner, rtype| {
                let mut set = set_at(view, owner, rtype)?;
                if let Some(soa) = set.as_mut().filter(|_| rtype == Type::SOA) {
                    soa.set_serial(there);
                }
                Ok(set)
            })
        });
        let mut delta = tidy(delta.map_err(|fault| Reason::Astray(fault.0))?);
        let soa = self.soa(zone)?;
        for change in &mut delta.changes {
            if change.rtype == Type::SOA {
                change.before = Some(soa.clone());
            }
            if let Some(after) = &mut change.after {
                after.sigs.clear();
            }
        }
        Ok(delta)
    }

    /// Takes the whole zone of a primary into one that counts for itself.
    pub(super) fn take_whole_apart(
        &mut self,
        zone: Zone,
        content: &Content,
        there: Serial,
        any_serial: bool,
    ) -> Result<AppliedZone> {
        let apex = zone.apex.clone();
        let signing = signing::of(self.tx, &zone)?;
        let (applied, own) = match content {
            Content::Staged(staged) => {
                let own = self.serial_of_staged(&zone, staged)?;
                check_serial(&apex, there, own, any_serial)?;
                (self.switch_to_staged(zone, staged)?, own)
            }
            content => {
                let fresh = content::fresh(&apex, content)?;
                let new = PackedZone::new(apex.clone(), &fresh.octets);
                let soa = set_at(&new, &apex, Type::SOA)?;
                let own = soa.and_then(|soa| soa.rrset.soa_serial());
                let own = own.ok_or_else(|| rules::no_soa(&apex))?;
                check_serial(&apex, there, own, any_serial)?;
                let bare = plain(&fresh.octets, signing.as_ref().and_then(Signing::active));
                let fresh = Fresh { octets: Cow::Owned(bare), presigned: false };
                (self.replace_apart(zone, fresh, signing.as_ref())?, own)
            }
        };
        self.note_there(&apex, own, signing.is_some())?;
        Ok(applied)
    }

    /// Makes unsigned content that of a zone, signed if it is to be.
    fn replace_apart(
        &mut self,
        zone: Zone,
        fresh: Fresh<'_>,
        signing: Option<&Signing>,
    ) -> Result<AppliedZone> {
        if let Some(signing) = signing {
            return self.replace_signed(zone, fresh, signing);
        }
        let new = PackedZone::new(zone.apex.clone(), &fresh.octets);
        let delta =
            rows::with_view(self.tx, &zone, |old| Delta::between(old, &new, DELTA_SETS_MAX))?;
        let Some(mut delta) = delta else {
            let last = Some(zone.serial);
            let (octets, soa) = content::numbered(&zone.apex, fresh.octets, last, false)?;
            return self.switch(zone, &octets, soa, false);
        };
        delta.drop_older_serial();
        if delta.is_empty() {
            return Ok(unchanged(&zone));
        }
        let soa = self.soa(&zone)?;
        let serial = delta.number(&soa, zone.serial);
        self.write(zone, delta, serial, false)
    }

    /// The serial that staged records have, which their primary gave them.
    fn serial_of_staged(&mut self, zone: &Zone, staged: &Staged) -> Result<Serial> {
        let chunks = Chunks { rows: self.tx, zone: staged.zone, generation: staged.generation };
        let soa = set_at(&ChunkView::new(&zone.apex, &chunks), &zone.apex, Type::SOA)?;
        let serial = soa.and_then(|soa| soa.rrset.soa_serial());
        Ok(serial.ok_or_else(|| rules::no_soa(&zone.apex))?)
    }

    /// Keeps which version of the primary is here; gives the zone as it is now.
    fn note_there(&mut self, apex: &Name, there: Serial, signed: bool) -> Result<Zone> {
        let zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        let apart = signed || zone.serial != there;
        secondary::put_serial_there(self.tx, apex, apart.then_some(there))?;
        Ok(zone)
    }

    /// Takes off the signatures that others made; from here on the zone is signed by us, or by nobody.
    pub(super) fn strip(&mut self, apex: &Name) -> Result<()> {
        let zone = self.changeable(apex)?;
        secondary::count_for_itself(self.tx, &zone)?;
        let octets = packed::strip(&self.octets(&zone)?);
        let content = Content::Packed { octets, presigned: false };
        let applied = self.replace_with(zone, &content)?;
        self.note(applied);
        Ok(())
    }
}

/// The digest that one side of a step has.
///
/// One over signatures of the primary's own is refused: they are left out here, so that only the whole
/// zone can be checked against it.
fn digest_in(apex: &Name, side: &[u8]) -> Result<Option<RrSet>> {
    let Some(node) = packed::nodes(side).next() else { return Ok(None) };
    let digest = node.rrset(Type::ZONEMD).filter(|set| set.count > 0);
    let is_signed = |rtype| node.rrset(rtype).is_some_and(|set| set.sig_count > 0);
    if digest.is_some() && (is_signed(Type::SOA) || is_signed(Type::ZONEMD)) {
        let text =
            "steps with a digest (ZONEMD) over signatures cannot be checked in a zone signed here";
        return Err(Reason::Astray(text.into()).into());
    }
    Ok(digest.map(|set| set.to_owned(apex)))
}
