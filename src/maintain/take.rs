//! What a primary sent, on its way into the zone that follows it.
//!
//! Same door, same rules as any change, but for the number: a secondary has the serial of its
//! primary. It moves forward, or an operator said that it need not. One that is signed here counts for
//! itself instead (see [`apart`](super::apart)).

use super::apply::{Refused, unchanged};
use super::change::{
    AppliedZone, CHANGED_MAX, ChangedRrSet, Content, Reason, Staged, Transferred, ZoneState,
};
use super::commit::{Door, Touched};
use super::rows::{self, JournalExtent, Zone};
use super::{content, dnssec, rules, secondary};
use crate::sign::vouch;
use crate::sign::zonemd::{self, ZonemdError};
use crate::store::{Rows, Tail};
use crate::wire::{Name, Serial, Type};
use crate::zone::chunk::Counts;
use crate::zone::delta::{Delta, Set, Step, set_at};
use crate::zone::packed::Node;
use crate::zone::tree::PackedZone;
use crate::zone::{ReadFault, View};

/// A transferred zone that differs in more RRsets takes the old one's place as a whole.
const DELTA_SETS_MAX: usize = 100_000;

type Result<T> = std::result::Result<T, Refused>;

impl Door<'_, '_> {
    /// Makes a zone that has no records yet.
    pub(super) fn expect(&mut self, apex: &Name, org: &str) -> Result<AppliedZone> {
        if rows::zone(self.tx, apex)?.is_some() {
            return Err(Reason::ZoneExists.into());
        }
        let key = Tail(apex.key());
        let last = self.tx.get(&rows::LAST_SERIALS, &key)?;
        let zone = Zone {
            id: self.new_zone_id()?,
            apex: apex.clone(),
            org: org.to_owned(),
            state: ZoneState::Expired,
            presigned: false,
            serial: last.unwrap_or(Serial(0)),
            version: 0,
            generation: 0,
            counts: Counts::default(),
            journal: JournalExtent { first: 1, octets: 0 },
            created_us: self.now_us,
            changed_us: self.now_us,
        };
        self.tx.put(&rows::ZONES_BY_NAME, &key, &zone.id)?;
        self.tx.put(&rows::ZONES_OF, &(zone.org.clone(), key), &zone.id)?;
        self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        self.touch(zone.id, None, Touched::Whole);
        self.touch_parent(apex)?;
        Ok(AppliedZone { from: None, to: None, ..unchanged(&zone) })
    }

    /// Takes what a primary sent.
    pub(super) fn take(&mut self, apex: &Name, transferred: &Transferred) -> Result<AppliedZone> {
        let mut zone = self.changeable(apex)?;
        if !secondary::is_one(self.tx, apex)? {
            let text = format!("{apex} is no secondary any more");
            return Err(Reason::Astray(text).into());
        }
        // Whatever comes of it is fresh; if it is refused, so is this.
        if zone.state == ZoneState::Expired
            && (zone.version > 0 || !matches!(transferred, Transferred::Same))
        {
            self.touch(zone.id, Some(zone.clone()), Touched::Whole);
            zone.state = ZoneState::Live;
            self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        }
        let first = zone.version == 0;
        let was_orphaned = dnssec::orphaned(self.tx, &zone)?.is_some();
        let there = secondary::serial_there(self.tx, apex)?;
        let applied = match (transferred, there) {
            (Transferred::Same, _) => return Ok(unchanged(&zone)),
            (Transferred::Steps(steps), None) => self.take_steps(zone, steps)?,
            (Transferred::Steps(steps), Some(there)) => {
                return self.take_steps_apart(zone, steps, there);
            }
            (Transferred::Whole { content, any_serial }, Some(there)) => {
                return self.take_whole_apart(zone, content, there, *any_serial);
            }
            (Transferred::Whole { content: Content::Staged(staged), any_serial }, None) => {
                self.take_staged_whole(zone, staged, *any_serial)?
            }
            (Transferred::Whole { content, any_serial }, None) => {
                self.take_whole(zone, content, *any_serial)?
            }
        };
        self.note_signed(apex)?;
        let Some(zone) = rows::zone(self.tx, apex)? else { return Ok(applied) };
        if !was_orphaned && let Some(why) = dnssec::orphaned(self.tx, &zone)? {
            tracing::warn!(zone = %apex, "its primary changed the keys of {apex}: {why}");
        }
        if first {
            dnssec::hurry(self.tx, zone.id)?; // it may wait for something to sign
        }
        Ok(applied)
    }

    fn take_steps(&mut self, zone: Zone, steps: &[Step]) -> Result<AppliedZone> {
        let apex = zone.apex.clone();
        let mut touched = Vec::new();
        let mut all = AppliedZone { from: Some(zone.serial), ..unchanged(&zone) };
        for step in steps {
            let zone = rows::zone(self.tx, &apex)?.ok_or(Reason::UnknownZone)?;
            if step.from != zone.serial {
                return Err(astray(&apex, step.from, zone.serial));
            }
            let delta = rows::with_view(self.tx, &zone, |view| step.delta(view));
            let delta = tidy(delta.map_err(|fault| Reason::Astray(fault.0))?);
            refuse_strangers(&delta, &apex)?;
            touched.extend(delta.owners());
            let presigned = zone.presigned;
            let applied = self.write(zone, delta, step.to, presigned)?;
            join(&mut all, applied);
        }
        let zone = rows::zone(self.tx, &apex)?.ok_or(Reason::UnknownZone)?;
        self.check_digest(&zone)?;
        touched.sort_by_cached_key(Name::key);
        touched.dedup();
        let broken = rows::with_view(self.tx, &zone, |view| rules::touched(view, &touched))?;
        if broken.is_empty() { Ok(all) } else { Err(Refused(broken)) }
    }

    /// A version whose steps lead to a digest must be what that says ([RFC 8976] §4).
    ///
    /// [RFC 8976]: https://www.rfc-editor.org/rfc/rfc8976
    fn check_digest(&mut self, zone: &Zone) -> Result<()> {
        let apex = &zone.apex;
        let digest = rows::with_view(self.tx, zone, |view| set_at(view, apex, Type::ZONEMD))?;
        if digest.is_none() {
            return Ok(());
        }
        digest_within(zone)?;
        let (ds, now_s) = self.judged_by(zone)?;
        let checked = rows::with_view(self.tx, zone, |view| vouch::check(view, &ds, now_s));
        checked.map(drop).map_err(|why| not_as_digested(apex, why))
    }

    /// What the signatures over a digest are judged by: the DS its parent has, and the time.
    pub(super) fn judged_by(&self, zone: &Zone) -> Result<(Vec<Box<[u8]>>, Option<u32>)> {
        Ok((dnssec::ds_of_others(self.tx, zone)?, self.maintain.now_to_judge_by()))
    }

    pub(super) fn take_whole(
        &mut self,
        zone: Zone,
        content: &Content,
        any_serial: bool,
    ) -> Result<AppliedZone> {
        let fresh = content::fresh(&zone.apex, content)?;
        let new = PackedZone::new(zone.apex.clone(), &fresh.octets);
        let soa = set_at(&new, &zone.apex, Type::SOA)?;
        let soa = soa.ok_or_else(|| rules::no_soa(&zone.apex))?;
        let serial = next_serial(&zone, &soa, any_serial)?;
        if zone.version > 0 {
            let delta =
                rows::with_view(self.tx, &zone, |old| Delta::between(old, &new, DELTA_SETS_MAX))?;
            match delta {
                Some(delta) if delta.is_empty() => return Ok(unchanged(&zone)),
                Some(delta) if zone.serial.is_before(serial) => {
                    return self.write(zone, delta, serial, fresh.presigned);
                }
                _ => {} // more than a step can say, or a step that leads back
            }
        }
        self.switch(zone, &fresh.octets, soa, fresh.presigned)
    }

    pub(super) fn take_staged_whole(
        &mut self,
        mut zone: Zone,
        staged: &Staged,
        any_serial: bool,
    ) -> Result<AppliedZone> {
        let soa = self.claim_staged(staged, &zone.apex)?;
        next_serial(&zone, &soa, any_serial)?;
        zone.presigned = staged.presigned;
        self.take_over(zone, staged.generation, staged.counts, soa)
    }

    /// Notes whether the zone is signed: its steps may have signed it, or the contrary.
    fn note_signed(&mut self, apex: &Name) -> Result<()> {
        let mut zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        let signed = rows::with_view(self.tx, &zone, |view| is_signed(view))?;
        if signed != zone.presigned {
            zone.presigned = signed;
            self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        }
        Ok(())
    }
}

/// Refuses to check a zone step by step that is too large for it: all others would wait meanwhile. A
/// whole zone is checked before it comes here.
pub(super) fn digest_within(zone: &Zone) -> Result<()> {
    if zone.counts.octets <= zonemd::OCTETS_MAX {
        return Ok(());
    }
    let text = "zone is too large for its digest (ZONEMD) to be checked step by step";
    Err(Reason::Astray(text.into()).into())
}

/// Why a zone is not taken that is not what its digest says.
pub(super) fn not_as_digested(apex: &Name, why: ZonemdError) -> Refused {
    match why {
        ZonemdError::Unreadable(fault) => fault.into(),
        why => Reason::Broken { rule: "zonemd", owner: apex.clone(), text: why.to_string() }.into(),
    }
}

/// Whether a zone has keys and a signed SOA.
pub(super) fn is_signed(view: &dyn View) -> std::result::Result<bool, ReadFault> {
    let mut signed = false;
    view.node(view.apex(), &mut |node: Node<'_>| {
        let soa = node.rrset(Type::SOA).is_some_and(|soa| soa.sig_count > 0);
        signed = soa && node.rrset(Type::DNSKEY).is_some();
    })?;
    Ok(signed)
}

/// The serial that content brings, if the zone may take it. One that begins anew, as a zone that its
/// catalog took away and names again, has nothing that could be newer.
fn next_serial(zone: &Zone, soa: &Set, any_serial: bool) -> Result<Serial> {
    let (apex, last) = (&zone.apex, zone.serial);
    let own = soa.rrset.soa_serial().ok_or_else(|| rules::no_soa(apex))?;
    let first = zone.version == 0;
    check_serial(apex, last, own, any_serial || first)?;
    if first && own.is_before(last) {
        tracing::warn!(zone = %apex, "{apex} begins anew with serial {own}, behind {last}, which it had here before: its secondaries may not take it");
    }
    Ok(own)
}

/// Whether a primary's serial follows the last it had here.
pub(super) fn check_serial(apex: &Name, last: Serial, own: Serial, any_serial: bool) -> Result<()> {
    if any_serial || last.is_before(own) {
        return Ok(());
    }
    let text = format!(
        "serial {own} of the primary is not ahead of {last}, which {apex} had here: raise it there, or take it all the same with any_serial"
    );
    Err(Reason::Broken { rule: "serial", owner: apex.clone(), text }.into())
}

/// Why a step is not taken that starts elsewhere than at what is here.
pub(super) fn astray(apex: &Name, from: Serial, have: Serial) -> Refused {
    Reason::Astray(format!("a step starts at serial {from}, {apex} has {have}")).into()
}

/// A step may bring nothing outside its zone.
pub(super) fn refuse_strangers(delta: &Delta, apex: &Name) -> Result<()> {
    match delta.changes.iter().find(|change| !change.owner.is_at_or_below(apex)) {
        Some(stranger) => Err(rules::out_of_zone(&stranger.owner, apex).into()),
        None => Ok(()),
    }
}

/// A delta whose sets are as the zone keeps them, whatever the steps were made of: none without
/// records, no signature twice.
pub(super) fn tidy(delta: Delta) -> Delta {
    let mut changes = delta.changes;
    for change in &mut changes {
        if change.after.as_ref().is_some_and(|set| set.rrset.is_empty()) {
            change.after = None;
        }
        if let Some(set) = &mut change.after {
            set.sigs.sort_unstable();
            set.sigs.dedup();
        }
    }
    Delta::new(changes)
}

/// Adds what the next step did to what those before it did.
pub(super) fn join(all: &mut AppliedZone, next: AppliedZone) {
    all.to = next.to;
    let mut changed = all.changed.to_vec();
    for change in next.changed.iter().cloned() {
        let same = |old: &ChangedRrSet| old.owner == change.owner && old.rtype == change.rtype;
        let (at, room) = (changed.iter().position(same), changed.len() < CHANGED_MAX);
        match at.and_then(|at| changed.get_mut(at)) {
            Some(old) => old.after = change.after,
            None if room => changed.push(change),
            None => {}
        }
    }
    all.changed = changed.into();
    all.changed_count += next.changed_count;
    all.old = all.old.and(next.old);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::secondary::{Following, Primary};
    use crate::maintain::tests::{commit, create, maintain, name, serial};
    use crate::maintain::{Maintain, ZoneChange};

    /// A zone that follows a primary and was not transferred yet.
    fn expected(maintain: &Maintain) {
        commit(maintain, &[ZoneChange::Expect { apex: name("m."), org: "org".into() }]).unwrap();
        let address = ([127, 0, 0, 1], 53).into();
        let primaries = vec![Primary { address, key: None, tls: None }];
        let following = Following { apex: name("m."), primaries, catalog: false, member: None };
        maintain.commit(|door| secondary::follow(door.tx(), &following)).unwrap();
    }

    fn transferred(own: u32) -> ZoneChange {
        let ZoneChange::Create { apex, content, .. } = create("m.", own) else { unreachable!() };
        let transferred = Transferred::Whole { content, any_serial: false };
        ZoneChange::Transfer { apex, transferred }
    }

    /// Goal: a zone that its catalog took away and names again is there again at once, though its primary
    /// has no newer version, or counts anew; one that is here goes back no more than ever.
    #[test]
    fn a_zone_that_begins_anew_takes_any_serial_and_one_that_is_here_only_a_newer() {
        let maintain = maintain();
        for own in [7, 7, 3] {
            expected(&maintain);
            commit(&maintain, &[transferred(own)]).unwrap();
            assert_eq!(serial(&maintain, "m."), Some(Serial(own)));
            for behind in [own, own - 1] {
                let refusal = commit(&maintain, &[transferred(behind)]).unwrap_err();
                assert!(refusal.to_string().contains("is not ahead of"), "{refusal}");
            }
            commit(&maintain, &[ZoneChange::Delete { apex: name("m.") }]).unwrap();
        }
    }
}
