//! Signing inside the door: whatever changes a signed zone leaves it signed, in the same commit.
//!
//! Promises: a zone that is signed is never published otherwise; what cannot be signed is refused.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::apply::{DELTA_SETS_MAX, Refused, unchanged};
use super::change::{AppliedZone, Reason};
use super::commit::Door;
use super::rows::{self, Zone};
use super::signing::{self, Served, Signing};
use super::{content, dnssec, secondary};
use crate::sign::{self, Plan, SignError, Signer, Spread, zonemd};
use crate::wire::{Name, RrSet, Type};
use crate::zone::RrSetEdit;
use crate::zone::delta::{Delta, Set, SetChange, set_at};
use crate::zone::packed::{self, Packer};
use crate::zone::tree::PackedZone;

/// A zone of more RRsets than this is signed as a whole in the background, and renewed in steps.
pub(super) const SMALL_RRSETS: i64 = 4_000;

type Result<T> = std::result::Result<T, Refused>;

impl From<SignError> for Refused {
    fn from(error: SignError) -> Refused {
        match error {
            SignError::Unreadable(fault) => fault.into(),
            other => Reason::Signing { text: other.to_string() }.into(),
        }
    }
}

impl Door<'_, '_> {
    pub(super) fn set_signing(&mut self, apex: &Name, plan: Option<&Plan>) -> Result<AppliedZone> {
        let zone = self.changeable(apex)?;
        if zone.presigned {
            return Err(Reason::PreSigned.into());
        }
        let old = signing::of(self.tx, &zone)?;
        let Some(plan) = plan else {
            return match old {
                Some(old) => self.unsign(zone, &old),
                None => Ok(unchanged(&zone)),
            };
        };
        secondary::count_for_itself(self.tx, &zone)?;
        let number = old.as_ref().map_or(0, |old| old.number) + 1;
        let same_denial = old
            .as_ref()
            .and_then(Signing::active)
            .is_some_and(|active| active.policy.denial == plan.policy.denial);
        let (first_expiry_s, now_s) =
            (old.as_ref().map_or(0, |old| old.first_expiry_s), self.now_s());
        let mut signing = Signing {
            plan: plan.clone(),
            number,
            complete: false,
            first_expiry_s,
            due_s: now_s,
            fault: None,
            served: old.map_or(Served::Nothing, Signing::left),
        };
        let first = signing.active().is_none();
        let soa = self.soa(&zone)?;
        let signer = self.signer(&zone, plan, &soa.rrset)?;
        if !has_digest(&signing) {
            digestible(&signer, zone.counts.octets)?;
        }
        if zone.counts.rrsets <= SMALL_RRSETS {
            let signer = if first { signer.for_the_first_time() } else { signer };
            return self.sign_whole(zone, &soa, &signer, signing);
        }
        if !same_denial {
            // The whole zone has to be gone through: in the background.
            signing::put(self.tx, zone.id, &signing)?;
            return Ok(unchanged(&zone));
        }
        // Keys change at once; the signatures follow in steps.
        signing.served = Served::Plan;
        signing::put(self.tx, zone.id, &signing)?;
        let apex = [zone.apex.clone()];
        let delta = rows::with_view(self.tx, &zone, |view| signer.renew(view, &apex, 0))?;
        self.write_signed(zone, &soa, &signer, delta)
    }

    /// Signs all of a small zone.
    fn sign_whole(
        &mut self,
        zone: Zone,
        soa: &Set,
        signer: &Signer,
        mut signing: Signing,
    ) -> Result<AppliedZone> {
        let octets = self.octets(&zone)?;
        let signed = signer.whole(&octets)?;
        if !has_digest(&signing) {
            digestible(signer, signed.octets.len() as i64)?;
        }
        let new = PackedZone::new(zone.apex.clone(), &signed.octets);
        let delta = rows::with_view(self.tx, &zone, |old| Delta::between(old, &new, usize::MAX))?;
        signing.complete = true;
        signing.served = Served::Plan;
        self.expires_in(&mut signing, signed.first_expiry_s, signer);
        signing::put(self.tx, zone.id, &signing)?;
        self.write_signed(zone, soa, signer, delta.unwrap_or_default())
    }

    /// Notes when the first signature of a zone expires, and when it is due.
    pub(super) fn expires_in(&self, signing: &mut Signing, first_expiry_s: i64, signer: &Signer) {
        let now_s = self.now_s();
        signing.first_expiry_s = now_s.saturating_add_signed(first_expiry_s);
        let due_s = signing.first_expiry_s.saturating_sub(signer.refresh_s().into());
        signing.due_s = due_s.max(now_s + 1);
    }

    fn unsign(&mut self, zone: Zone, old: &Signing) -> Result<AppliedZone> {
        signing::delete(self.tx, zone.id)?;
        if old.active().is_none() {
            return Ok(unchanged(&zone));
        }
        let soa = self.soa(&zone)?;
        let plain = plain(&self.octets(&zone)?, old.active());
        let new = PackedZone::new(zone.apex.clone(), &plain);
        let delta =
            rows::with_view(self.tx, &zone, |old| Delta::between(old, &new, DELTA_SETS_MAX))?;
        let Some(mut delta) = delta else {
            let (octets, soa) =
                content::numbered(&zone.apex, Cow::Borrowed(&plain), Some(zone.serial), false)?;
            return self.switch(zone, &octets, soa, false);
        };
        let serial = delta.number(&soa, zone.serial);
        self.write(zone, delta, serial, false)
    }

    /// New content for a zone that is signed here: what people put there is compared and signed.
    pub(super) fn replace_signed(
        &mut self,
        zone: Zone,
        fresh: content::Fresh<'_>,
        signing: &Signing,
    ) -> Result<AppliedZone> {
        if fresh.presigned {
            let text = "zone is signed here: import it with its signatures stripped, or switch signing off first";
            return Err(Reason::Signing { text: text.into() }.into());
        }
        let old = plain(&self.octets(&zone)?, signing.active());
        let new = plain(&fresh.octets, signing.active());
        let (old, packed) =
            (PackedZone::new(zone.apex.clone(), &old), PackedZone::new(zone.apex.clone(), &new));
        let Some(mut delta) = Delta::between(&old, &packed, DELTA_SETS_MAX)? else {
            return self.switch_signed(zone, &new, signing);
        };
        rows::with_view(self.tx, &zone, |view| {
            delta.changes.iter_mut().try_for_each(|change| {
                change.before = set_at(view, &change.owner, change.rtype)?;
                Ok::<(), Refused>(())
            })
        })?;
        delta.drop_older_serial();
        if delta.is_empty() {
            return Ok(unchanged(&zone));
        }
        let soa = self.soa(&zone)?;
        let serial = delta.number(&soa, zone.serial);
        self.write(zone, delta, serial, false)
    }

    fn switch_signed(
        &mut self,
        zone: Zone,
        octets: &[u8],
        signing: &Signing,
    ) -> Result<AppliedZone> {
        let octets = Cow::Borrowed(octets);
        let (octets, soa) = content::numbered(&zone.apex, octets, Some(zone.serial), false)?;
        let Some(plan) = signing.active() else { return self.switch(zone, &octets, soa, false) };
        let signer = self.signer(&zone, plan, &soa.rrset)?;
        let signed = signer.whole(&octets)?;
        self.note_expiry(&zone, signing, Some(signed.first_expiry_s), &signer)?;
        digestible(&signer, signed.octets.len() as i64)?;
        let digest = signer.digest(&PackedZone::new(zone.apex.clone(), &signed.octets))?;
        let octets = match digest {
            Some(change) => content::at_apex(&zone.apex, &signed.octets, &[change]),
            None => signed.octets,
        };
        self.switch(zone, &octets, soa, false)
    }

    /// What a change that was written makes necessary, and who signed it; none in a zone that is not
    /// signed.
    pub(super) fn sign_touched(
        &mut self,
        zone: &Zone,
        changes: &[SetChange],
    ) -> Result<Option<(Delta, Signer)>> {
        let Some(signing) = signing::of(self.tx, zone)? else { return Ok(None) };
        let Some(plan) = signing.active() else { return Ok(None) };
        let soa = rows::with_view(self.tx, zone, |view| set_at(view, &zone.apex, Type::SOA))?;
        // Without a SOA no rule lets the change through.
        let Some(soa) = soa else { return Ok(None) };
        dnssec::note_ttl(self.tx, zone, changes)?;
        let signer = self.signer(zone, plan, &soa.rrset)?;
        let more = if !denies_otherwise(changes) {
            rows::with_view(self.tx, zone, |view| signer.touched(view, changes))?
        } else if zone.counts.rrsets <= SMALL_RRSETS {
            let signed = signer.whole(&self.octets(zone)?)?;
            let new = PackedZone::new(zone.apex.clone(), &signed.octets);
            rows::with_view(self.tx, zone, |old| Delta::between(old, &new, usize::MAX))?
                .unwrap_or_default()
        } else {
            // What denies gets its new TTL in steps: until then it lives by the old one.
            let signing = Signing { due_s: self.now_s(), ..signing.clone() };
            signing::put(self.tx, zone.id, &signing)?;
            rows::with_view(self.tx, zone, |view| signer.touched(view, changes))?
        };
        self.note_expiry(zone, &signing, first_expiry(&signer, &more), &signer)?;
        Ok(Some((more, signer)))
    }

    /// Writes the digest that everything else in a zone, written before, makes; nothing in a zone
    /// without one.
    pub(super) fn put_digest(&mut self, zone: &mut Zone, signer: &Signer) -> Result<Delta> {
        if !signer.wants_digest() {
            return Ok(Delta::default());
        }
        let change = rows::with_view(self.tx, zone, |view| signer.digest(view))?;
        let delta = Delta::new(change.into_iter().collect());
        self.put_chunks(zone, &delta)?;
        if let Some(signing) = signing::of(self.tx, zone)? {
            self.note_expiry(zone, &signing, first_expiry(signer, &delta), signer)?;
        }
        Ok(delta)
    }

    /// Notes that a signature was made that expires before all others.
    fn note_expiry(
        &mut self,
        zone: &Zone,
        signing: &Signing,
        first_expiry_s: Option<i64>,
        signer: &Signer,
    ) -> Result<()> {
        let Some(first_expiry_s) = first_expiry_s else { return Ok(()) };
        if self.now_s().saturating_add_signed(first_expiry_s) < signing.first_expiry_s {
            let mut signing = signing.clone();
            let due_s = signing.due_s;
            self.expires_in(&mut signing, first_expiry_s, signer);
            signing.due_s = signing.due_s.min(due_s);
            signing::put(self.tx, zone.id, &signing)?;
        }
        Ok(())
    }

    /// Writes a version that only the signer made, if it made anything.
    pub(super) fn write_signed(
        &mut self,
        zone: Zone,
        soa: &Set,
        signer: &Signer,
        mut delta: Delta,
    ) -> Result<AppliedZone> {
        if delta.is_empty() {
            return Ok(unchanged(&zone));
        }
        let serial = delta.number(soa, zone.serial);
        let is_soa = |change: &&mut SetChange| change.rtype == Type::SOA;
        if let Some(after) =
            delta.changes.iter_mut().find(is_soa).and_then(|change| change.after.as_mut())
        {
            after.sigs.clear();
            signer.sign_at_apex(after)?;
        }
        let before = zone.clone();
        let mut zone = zone;
        self.put_chunks(&mut zone, &delta)?;
        let digest = self.put_digest(&mut zone, signer)?;
        self.finish(before, zone, delta.then(digest), serial, false)
    }

    /// A signer of `zone` as it is now.
    pub(super) fn signer(&mut self, zone: &Zone, plan: &Plan, soa: &RrSet) -> Result<Signer> {
        if let Some(fault) = self.clock_fault(zone) {
            return Err(Reason::Signing { text: fault }.into());
        }
        let mut keys: Vec<Arc<sign::SigningKey>> = Vec::with_capacity(plan.keys.len());
        for key in &plan.keys {
            keys.extend(self.signing_keys.key(self.tx, zone.id, key.tag)?);
        }
        let spread = match zone.counts.rrsets <= SMALL_RRSETS {
            true => Spread::Zones,
            false => Spread::Sets,
        };
        // RRSIG counts seconds modulo 2³².
        let now_s = self.now_s() as u32;
        Ok(Signer::new(&zone.apex, plan, &keys, soa, now_s, spread)?)
    }

    /// All nodes of a zone.
    pub(super) fn octets(&mut self, zone: &Zone) -> Result<Vec<u8>> {
        rows::with_view(self.tx, zone, |view| {
            let mut packer = Packer::default();
            view.walk(&[], &mut |node| {
                packer.push(node);
                ControlFlow::Continue(())
            })?;
            Ok(packer.finish())
        })
    }
}

/// Whether a zone has a digest as it is served.
pub(super) fn has_digest(signing: &Signing) -> bool {
    signing.active().is_some_and(|plan| plan.policy.zonemd)
}

/// Refuses a zone that is too large for its digest to be made anew with every commit.
///
/// Asked of what people want of a zone, never of renewing its signatures: that must go on.
pub(super) fn digestible(signer: &Signer, octets: i64) -> Result<()> {
    if !signer.wants_digest() || octets <= zonemd::OCTETS_MAX {
        return Ok(());
    }
    let text = format!(
        "zone has {octets} octets: a digest (ZONEMD) is made of up to {}, give it a policy without zonemd",
        zonemd::OCTETS_MAX
    );
    Err(Reason::Limit { text }.into())
}

/// Why an edit has no place in a zone that is signed here.
pub(super) fn out_of_place(apex: &Name, edit: &RrSetEdit, signing: &Signing) -> Option<Reason> {
    (edit.owner == *apex && signing.makes_at_apex(edit.rtype)).then(|| {
        let text = format!("{apex} {} cannot be edited: the zone is signed here", edit.rtype);
        Reason::Broken { rule: "type", owner: apex.clone(), text }
    })
}

/// The records of a zone without what the signer made.
pub(super) fn plain(octets: &[u8], plan: Option<&Plan>) -> Vec<u8> {
    let stripped = packed::strip(octets);
    if !plan.is_some_and(|plan| plan.policy.csync) {
        return stripped;
    }
    let mut packer = Packer::default();
    for node in packed::nodes(&stripped) {
        packer.node(node.owner);
        node.rrsets().filter(|set| set.rtype != Type::CSYNC).for_each(|set| packer.copy(set));
    }
    packer.finish()
}

/// Whether changes give what denies another TTL ([RFC 9077](https://www.rfc-editor.org/rfc/rfc9077) §3).
fn denies_otherwise(changes: &[SetChange]) -> bool {
    let ttl = |set: &Option<Set>| {
        let set = &set.as_ref()?.rrset;
        let minimum = set.rdatas().first()?.last_chunk::<4>()?;
        Some(set.ttl.min(u32::from_be_bytes(*minimum)))
    };
    let soa = changes.iter().find(|change| change.rtype == Type::SOA);
    soa.is_some_and(|soa| soa.before.is_some() && ttl(&soa.before) != ttl(&soa.after))
}

/// Seconds until the first signature expires that `delta` brings.
pub(super) fn first_expiry(signer: &Signer, delta: &Delta) -> Option<i64> {
    let sigs = delta.changes.iter().filter_map(|change| change.after.as_ref());
    signer.first_expiry(sigs.flat_map(|set| set.sigs.iter().map(AsRef::as_ref)))
}
