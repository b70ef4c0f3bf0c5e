//! Zones that follow a primary and are signed here: unsigned in, signed out.
//!
//! Signing makes versions that the primary knows nothing of, so such a zone counts for itself: its
//! serial only ever moves forward, to the primary's where that is ahead, and the primary's serial of
//! what is here is kept beside. What a primary sends loses the signatures, keys and denial it may
//! have, is compared with what people put here before, numbered, and signed like any change.
//!
//! One that is signed no longer has its primary's serials again as soon as those are ahead. If its
//! primary signs it, it is the primary's version whole or none: with a serial of ours its signatures
//! would not hold, and without them it would fail wherever the parent has a DS.
//!
//! Promises: steps are taken only onto the version they start from; no version is published unsigned
//! that somebody signs.

use std::borrow::Cow;

use super::apply::{DELTA_SETS_MAX, Refused, unchanged};
use super::change::{AppliedZone, Content, Reason, Staged};
use super::commit::Door;
use super::content::{self, Fresh};
use super::rows::{self, Chunks, Zone};
use super::signed::plain;
use super::signing::{self, Signing};
use super::take::{astray, check_serial, join, refuse_strangers, tidy};
use super::{Maintain, refresh, rules, secondary, take};
use crate::sign::{Plan, vouch};
use crate::wire::{Name, RrSet, Serial, Type};
use crate::zone::ReadFault;
use crate::zone::chunk::ChunkView;
use crate::zone::delta::{Delta, Set, SetChange, Step, set_at};
use crate::zone::packed;
use crate::zone::tree::PackedZone;

type Result<T> = std::result::Result<T, Refused>;

impl Maintain {
    /// Content of a primary without what its signer added, if its zone counts for itself here; with it, if
    /// nobody signs it here.
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
            (true, None) if refresh::is_signed(&octets) => (octets, false),
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
            if signing.is_none() && is_to_signed(step) {
                let text = format!("{apex} is signed by its primary again: only all of it will do");
                return Err(Reason::Astray(text).into());
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
        if signing.is_none() && content.is_presigned() {
            return self.take_whole_signed(zone, content, any_serial);
        }
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

    /// Takes what a primary signs into a zone that nobody signs here any more: it has its primary's
    /// serials again from here on.
    fn take_whole_signed(
        &mut self,
        zone: Zone,
        content: &Content,
        any_serial: bool,
    ) -> Result<AppliedZone> {
        let (apex, last) = (zone.apex.clone(), zone.serial);
        let applied = match content {
            Content::Staged(staged) => self.take_staged_whole(zone, staged, any_serial)?,
            content => self.take_whole(zone, content, any_serial)?,
        };
        let own = rows::zone(self.tx, &apex)?.ok_or(Reason::UnknownZone)?.serial;
        if own.is_before(last) {
            tracing::warn!(zone = %apex, "zone {apex} went from serial {last} to {own}, as it was told to");
        }
        self.note_there(&apex, own, false)?;
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

/// Whether a step leads to a version that its primary signed.
fn is_to_signed(step: &Step) -> bool {
    let soa = packed::nodes(&step.adds).next().and_then(|apex| apex.rrset(Type::SOA));
    soa.is_some_and(|soa| soa.sig_count > 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::change::Transferred;
    use crate::maintain::secondary::{Following, Primary};
    use crate::maintain::tests::{commit, maintain, name, serial};
    use crate::maintain::{Refusal, ZoneChange};
    use crate::zone::text::{self, Options};

    /// What a primary has that signs `m.`, or does not.
    fn content(own: u32, is_signed: bool) -> Vec<u8> {
        let sig =
            |rtype| format!("@ 60 RRSIG {rtype} 13 1 60 20300101000000 20200101000000 7 m. AAAA\n");
        let mut text = format!("@ 60 SOA ns h {own} 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n");
        if is_signed {
            text += &format!("@ 60 DNSKEY 257 3 13 AAAA\n{}{}", sig("SOA"), sig("DNSKEY"));
        }
        let options = Options { origin: Some(name("m.")), ..Options::default() };
        text::parse(text.as_bytes(), options).unwrap().packed
    }

    fn transfer(maintain: &Maintain, transferred: Transferred) -> std::result::Result<(), Refusal> {
        let change = ZoneChange::Transfer { apex: name("m."), transferred };
        commit(maintain, &[change]).map(drop)
    }

    fn whole(own: u32, is_signed: bool, any_serial: bool) -> Transferred {
        let content = Content::Packed { octets: content(own, is_signed), presigned: is_signed };
        Transferred::Whole { content, any_serial }
    }

    /// A zone that was signed here and is no more: it has its primary's version 5 as 7.
    fn apart() -> Maintain {
        let maintain = maintain();
        commit(&maintain, &[ZoneChange::Expect { apex: name("m."), org: "org".into() }]).unwrap();
        let primaries =
            vec![Primary { address: ([127, 0, 0, 1], 53).into(), key: None, tls: None }];
        let following = Following { apex: name("m."), primaries, catalog: false, member: None };
        maintain.commit(|door| secondary::follow(door.tx(), &following)).unwrap();
        transfer(&maintain, whole(7, false, false)).unwrap();
        let there = Some(Serial(5));
        maintain.commit(|door| secondary::put_serial_there(door.tx(), &name("m."), there)).unwrap();
        maintain
    }

    /// The zone's serial, its primary's if it counts for itself, and whether it is signed.
    fn standing(maintain: &Maintain) -> (Option<Serial>, Option<Serial>, bool) {
        let read = maintain.store().read(|rows| {
            let there = secondary::serial_there(rows, &name("m."))?;
            Ok::<_, ReadFault>((there, rows::zone(rows, &name("m."))?.unwrap().presigned))
        });
        let (there, presigned) = read.unwrap();
        (serial(maintain, "m."), there, presigned)
    }

    /// Goal: a zone that is signed here no more, whose primary signs it, is as the primary has it or
    /// stays: never without the signatures that a parent's DS may ask for.
    #[test]
    fn what_its_primary_signs_is_not_unsigned_where_nobody_signs_it_here() {
        let maintain = apart();
        assert_eq!(
            maintain.without_signer(&name("m."), content(6, true)).unwrap().0,
            content(6, true)
        );
        let refused = transfer(&maintain, whole(6, true, false)).unwrap_err();
        assert!(
            refused.to_string().contains("serial 6 of the primary is not ahead of 7"),
            "{refused}"
        );
        let (old, new) = (content(5, false), content(6, true));
        let [old, new] = [&old, &new].map(|octets| PackedZone::new(name("m."), octets));
        let delta = Delta::between(&old, &new, 100).unwrap().unwrap();
        let steps = Transferred::Steps(vec![delta.step(Serial(5), Serial(6))]);
        let refused = transfer(&maintain, steps).unwrap_err();
        assert!(refused.to_string().contains("signed by its primary"), "{refused}");
        assert_eq!(standing(&maintain), (Some(Serial(7)), Some(Serial(5)), false));

        transfer(&maintain, whole(8, true, false)).unwrap();
        assert_eq!(standing(&maintain), (Some(Serial(8)), None, true));
        let told = apart();
        transfer(&told, whole(6, true, true)).unwrap();
        assert_eq!(standing(&told), (Some(Serial(6)), None, true));
    }
}
