//! One change on one zone, inside the door: checked, numbered and written to the transaction.

use super::change::{AppliedZone, CHANGED_MAX, ChangedRrSet, Content, Old, Reason, ZoneState};
use super::commit::{Door, Touched};
use super::dnssec::lint;
use super::rows::{self, ChunksMut, JournalExtent, Release, Zone};
use super::{content, gone, journal, rules, secondary, signed, signing, waivers};
use crate::store::{RowError, Rows, Tail};
use crate::wire::{Name, RrSet, Serial, Type};
use crate::zone::chunk::{self, Counts};
use crate::zone::delta::{Delta, Set, SetChange, set_at};
use crate::zone::tree::PackedZone;
use crate::zone::{ReadFault, RrSetEdit, edit};

/// A replacement that changes more RRsets than this is not worked out one by one: the new content
/// takes the old one's place as a whole, and the journal starts anew.
pub(super) const DELTA_SETS_MAX: usize = 100_000;

/// Every reason against one change.
#[derive(Debug)]
pub(super) struct Refused(pub Vec<Reason>);

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refused(vec![reason])
    }
}

impl From<ReadFault> for Refused {
    fn from(fault: ReadFault) -> Refused {
        Refused(vec![Reason::Unreadable(fault)])
    }
}

impl From<RowError> for Refused {
    fn from(error: RowError) -> Refused {
        rows::fault(error).into()
    }
}

type Result<T> = std::result::Result<T, Refused>;

impl Door<'_, '_> {
    pub(super) fn create(
        &mut self,
        apex: &Name,
        org: &str,
        content: &Content,
    ) -> Result<AppliedZone> {
        if rows::zone(self.tx, apex)?.is_some() {
            return Err(Reason::ZoneExists.into());
        }
        let last = self.tx.get(&rows::LAST_SERIALS, &Tail(apex.key()))?;
        let (id, generation, soa, counts, presigned) = match content {
            Content::Staged(staged) => {
                let (soa, counts) = self.take_staged(staged, apex, last, None)?;
                (staged.zone, staged.generation, soa, counts, staged.presigned)
            }
            content => {
                let fresh = content::fresh(apex, content)?;
                let (octets, soa) = content::numbered(apex, fresh.octets, last, fresh.presigned)?;
                let id = self.new_zone_id()?;
                chunk::split(apex, &octets, |key, nodes| {
                    rows::put_chunk(self.tx, id, 0, key, &nodes)
                })?;
                (id, 0, soa, Counts::of(&octets), fresh.presigned)
            }
        };
        let zone = Zone {
            id,
            apex: soa.rrset.owner.clone(),
            org: org.to_owned(),
            state: ZoneState::Live,
            presigned,
            serial: soa.rrset.soa_serial().unwrap_or(Serial(0)),
            version: 1,
            generation,
            counts,
            journal: JournalExtent { first: 2, octets: 0 },
            created_us: self.now_us,
            changed_us: self.now_us,
        };
        let key = Tail(apex.key());
        self.tx.put(&rows::ZONES_BY_NAME, &key, &id)?;
        self.tx.put(&rows::ZONES_OF, &(zone.org.clone(), key), &id)?;
        self.tx.put(&rows::ZONES, &id, &zone)?;
        self.touch(id, None, Touched::Whole);
        self.touch_parent(apex)?;
        if let Some(orphan) = lint::begin(self.tx, &zone)? {
            return Err(orphan.into());
        }
        let applied = whole_change(&zone, None, Some(zone.serial), None, Some(soa.rrset));
        Ok(AppliedZone { old: Old::NOTHING, ..applied })
    }

    /// Refuses what was done to a zone since `before` if a DS lost its key by it.
    fn refuse_orphans(&mut self, before: &lint::Before, apex: &Name) -> Result<()> {
        let Some(zone) = rows::zone(self.tx, apex)? else { return Ok(()) };
        let orphans = before.orphans(self.tx, &zone)?;
        if orphans.is_empty() { Ok(()) } else { Err(Refused(orphans)) }
    }

    pub(super) fn delete(&mut self, apex: &Name) -> Result<AppliedZone> {
        let zone = self.changeable(apex)?;
        if let Some(orphan) = lint::end(self.tx, &zone)? {
            return Err(orphan.into());
        }
        let soa = self.soa_if_any(&zone)?;
        let key = Tail(apex.key());
        gone::begin(self.tx, &zone, soa.as_ref())?;
        waivers::forget_zone(self.tx, zone.id)?;
        secondary::forget(self.tx, apex)?;
        self.tx.put(&rows::LAST_SERIALS, &key, &zone.serial)?;
        self.tx.delete(&rows::ZONES_BY_NAME, &key)?;
        self.tx.delete(&rows::ZONES_OF, &(zone.org.clone(), key))?;
        self.tx.delete(&rows::ZONES, &zone.id)?;
        super::access::forget_zone(self.tx, zone.id)?;
        super::groups::forget_catalog(self.tx, zone.id)?;
        signing::delete(self.tx, zone.id)?;
        signing::delete_keys(self.tx, zone.id)?;
        self.tx.put(&rows::RELEASES, &(zone.id, zone.generation), &Release::Everything)?;
        let applied = whole_change(&zone, Some(zone.serial), None, soa.map(|soa| soa.rrset), None);
        self.touch(zone.id, Some(zone), Touched::Whole);
        self.touch_parent(apex)?;
        Ok(applied)
    }

    pub(super) fn replace(&mut self, apex: &Name, content: &Content) -> Result<AppliedZone> {
        let zone = self.editable(apex)?;
        let before = lint::Before::of(self.tx, &zone)?;
        let applied = self.replace_with(zone, content)?;
        self.refuse_orphans(&before, apex)?;
        Ok(applied)
    }

    pub(super) fn replace_with(&mut self, zone: Zone, content: &Content) -> Result<AppliedZone> {
        if let Content::Staged(staged) = content {
            return self.switch_to_staged(zone, staged);
        }
        let apex = &zone.apex.clone();
        let fresh = content::fresh(apex, content)?;
        if let Some(signing) = signing::of(self.tx, &zone)? {
            return self.replace_signed(zone, fresh, &signing);
        }
        let new = PackedZone::new(zone.apex.clone(), &fresh.octets);
        let delta =
            rows::with_view(self.tx, &zone, |old| Delta::between(old, &new, DELTA_SETS_MAX))?;
        let soa = self.soa(&zone)?;
        let Some(mut delta) = delta else {
            let (octets, soa) =
                content::numbered(apex, fresh.octets, Some(zone.serial), fresh.presigned)?;
            return self.switch(zone, &octets, soa, fresh.presigned);
        };
        if zone.presigned == fresh.presigned && !fresh.presigned {
            delta.drop_older_serial();
        }
        if delta.is_empty() {
            return Ok(unchanged(&zone));
        }
        let serial = match fresh.presigned {
            true => signed_serial(apex, &new, zone.serial)?,
            false => delta.number(&soa, zone.serial),
        };
        self.write(zone, delta, serial, fresh.presigned)
    }

    pub(super) fn edit(&mut self, apex: &Name, edits: &[RrSetEdit]) -> Result<AppliedZone> {
        let zone = self.editable(apex)?;
        if zone.presigned {
            return Err(Reason::PreSigned.into());
        }
        let signing = signing::of(self.tx, &zone)?;
        let fault = |edit| {
            let made = || signed::out_of_place(apex, edit, signing.as_ref()?);
            content::out_of_place(apex, edit).or_else(made)
        };
        let faults: Vec<Reason> = edits.iter().filter_map(fault).collect();
        if !faults.is_empty() {
            return Err(Refused(faults));
        }
        let plan = rows::with_view(self.tx, &zone, |view| edit::plan(view, edits))?;
        let soa = self.soa(&zone)?;
        let mut delta = plan.delta;
        let conflicts = plan.conflicts.into_iter();
        let mut reasons: Vec<Reason> =
            conflicts.map(|each| Reason::Conflict(Box::new(each))).collect();
        if delta.is_empty() && reasons.is_empty() {
            return Ok(unchanged(&zone));
        }
        let touched = delta.owners();
        reasons.extend(lint::children(self.tx, &delta)?);
        let changes_keys = delta.changes.iter().any(|change| change.rtype == Type::DNSKEY);
        let before = changes_keys.then(|| lint::Before::of(self.tx, &zone)).transpose()?;
        let serial = delta.number(&soa, zone.serial);
        let applied = self.write(zone.clone(), delta, serial, false)?;
        if let Some(before) = before {
            reasons.extend(before.orphans(self.tx, &zone)?);
        }
        // An edit leaves a zone in its generation.
        reasons.extend(rows::with_view(self.tx, &zone, |view| rules::touched(view, &touched))?);
        if reasons.is_empty() { Ok(applied) } else { Err(Refused(reasons)) }
    }

    pub(super) fn move_to(&mut self, apex: &Name, org: &str) -> Result<AppliedZone> {
        let mut zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        let key = Tail(apex.key());
        self.tx.delete(&rows::ZONES_OF, &(zone.org.clone(), key.clone()))?;
        zone.org = org.to_owned();
        self.tx.put(&rows::ZONES_OF, &(zone.org.clone(), key), &zone.id)?;
        self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        Ok(unchanged(&zone))
    }

    pub(super) fn set_state(&mut self, apex: &Name, state: ZoneState) -> Result<AppliedZone> {
        let mut zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        if zone.state != state {
            self.touch(zone.id, Some(zone.clone()), Touched::Whole);
            zone.state = state;
            self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        }
        Ok(unchanged(&zone))
    }

    /// The zone, if its records are changed here and nothing stops that.
    pub(super) fn editable(&mut self, apex: &Name) -> Result<Zone> {
        let zone = self.changeable(apex)?;
        match secondary::is_one(self.tx, apex)? {
            true => Err(Reason::Secondary.into()),
            false => Ok(zone),
        }
    }

    /// The zone, unless its commits are stopped.
    pub(super) fn changeable(&mut self, apex: &Name) -> Result<Zone> {
        let zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        match zone.state {
            ZoneState::Held => Err(Reason::Held.into()),
            _ => Ok(zone),
        }
    }

    pub(super) fn soa(&mut self, zone: &Zone) -> Result<Set> {
        let soa = self.soa_if_any(zone)?;
        Ok(soa.ok_or_else(|| ReadFault(format!("{} has no SOA", zone.apex)))?)
    }

    /// The SOA; none in a zone that still waits for its first transfer.
    pub(super) fn soa_if_any(&mut self, zone: &Zone) -> Result<Option<Set>> {
        Ok(rows::with_view(self.tx, zone, |view| set_at(view, &zone.apex, Type::SOA))?)
    }

    pub(super) fn new_zone_id(&mut self) -> Result<u32> {
        let id = self.tx.get(&rows::NEXT_ZONE, &())?.unwrap_or(1);
        let next = id.checked_add(1);
        let next =
            next.ok_or_else(|| Reason::Limit { text: "all zone numbers are used up".into() })?;
        self.tx.put(&rows::NEXT_ZONE, &(), &next)?;
        Ok(id)
    }

    /// Writes the next version of a zone, signed if the zone is.
    pub(super) fn write(
        &mut self,
        zone: Zone,
        delta: Delta,
        serial: Serial,
        presigned: bool,
    ) -> Result<AppliedZone> {
        let before = zone.clone();
        let mut zone = zone;
        self.put_chunks(&mut zone, &delta)?;
        match self.sign_touched(&zone, &delta.changes)? {
            None => {
                let stale = self.drop_stale_digest(&mut zone, serial, presigned)?;
                if stale.is_empty() {
                    return self.finish(before, zone, delta, serial, presigned);
                }
                self.finish(before, zone, delta.then(stale), serial, presigned)
            }
            Some((more, signer)) => {
                self.put_chunks(&mut zone, &more)?;
                if zone.counts.octets > before.counts.octets {
                    signed::digestible(&signer, zone.counts.octets)?;
                }
                let digest = self.put_digest(&mut zone, &signer)?;
                self.finish(before, zone, delta.then(more).then(digest), serial, presigned)
            }
        }
    }

    /// Takes away a digest of another version, which nobody here makes anew.
    fn drop_stale_digest(
        &mut self,
        zone: &mut Zone,
        serial: Serial,
        presigned: bool,
    ) -> Result<Delta> {
        let stale = rows::with_view(self.tx, zone, |view| content::stale_digest(view, serial))?;
        // What others publish is theirs to keep right.
        if stale.is_none() || presigned || secondary::is_one(self.tx, &zone.apex)? {
            return Ok(Delta::default());
        }
        let delta = Delta::new(stale.into_iter().collect());
        self.put_chunks(zone, &delta)?;
        Ok(delta)
    }

    /// Writes the changed rows of a zone.
    pub(super) fn put_chunks(&mut self, zone: &mut Zone, delta: &Delta) -> Result<()> {
        let mut chunks = ChunksMut { tx: self.tx, zone: zone.id, generation: zone.generation };
        zone.counts += chunk::update(&mut chunks, &zone.apex, delta, &mut self.place)?;
        Ok(())
    }

    /// Writes what else a version is, once its rows are: its journal, its own row.
    pub(super) fn finish(
        &mut self,
        before: Zone,
        mut zone: Zone,
        delta: Delta,
        serial: Serial,
        presigned: bool,
    ) -> Result<AppliedZone> {
        let from = before.serial;
        zone.serial = serial;
        zone.version += 1;
        zone.presigned = presigned;
        zone.changed_us = self.now_us;
        let step = delta.step(from, serial);
        journal::append(self.tx, &mut zone, &self.cause, step, self.journal_limits)?;
        self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        let (mut changes, mut changed_count) = (Vec::new(), 0);
        let (mut ttl_s, mut fresh) = (0, false);
        for change in delta.changes.iter().filter(|change| !change.is_for_signing()) {
            match &change.before {
                Some(before) => ttl_s = before.rrset.ttl.max(ttl_s),
                None => fresh = true,
            }
            if changed_count < CHANGED_MAX {
                changes.push(changed(change));
            }
            changed_count += 1;
        }
        let (old, changed) = (Old::Sets { ttl_s, fresh }, changes.into());
        self.touch(zone.id, Some(before), Touched::Sets(delta.changes));
        let (from, to) = (Some(from), Some(serial));
        Ok(AppliedZone { apex: zone.apex, zone: zone.id, from, to, changed, changed_count, old })
    }

    /// Puts whole new content in a zone's place, under a generation of its own.
    pub(super) fn switch(
        &mut self,
        mut zone: Zone,
        octets: &[u8],
        soa: Set,
        presigned: bool,
    ) -> Result<AppliedZone> {
        let generation = self.new_generation()?;
        chunk::split(&zone.apex, octets, |key, nodes| {
            rows::put_chunk(self.tx, zone.id, generation, key, &nodes)
        })?;
        zone.presigned = presigned;
        self.take_over(zone, generation, Counts::of(octets), soa)
    }

    /// Makes `generation` the content of a zone and lets the old one go.
    pub(super) fn take_over(
        &mut self,
        mut zone: Zone,
        generation: u32,
        counts: Counts,
        soa: Set,
    ) -> Result<AppliedZone> {
        let before = self.soa_if_any(&zone)?.map(|soa| soa.rrset);
        // One that is still to be transferred leaves nothing behind.
        let is_first = zone.version == 0;
        let old = match is_first {
            true => Old::NOTHING,
            false => Old::Everything { generation: zone.generation },
        };
        let from = zone.serial;
        self.touch(zone.id, Some(zone.clone()), Touched::Whole);
        if !is_first {
            self.tx.put(&rows::RELEASES, &(zone.id, zone.generation), &Release::Generation)?;
        }
        journal::clear(self.tx, &mut zone)?;
        zone.generation = generation;
        zone.counts = counts;
        zone.serial = soa.rrset.soa_serial().unwrap_or(from);
        zone.version += 1;
        zone.journal = JournalExtent { first: zone.version + 1, octets: 0 };
        zone.changed_us = self.now_us;
        self.tx.put(&rows::ZONES, &zone.id, &zone)?;
        let from = before.is_some().then_some(from);
        let applied = whole_change(&zone, from, Some(zone.serial), before, Some(soa.rrset));
        Ok(AppliedZone { old, ..applied })
    }
}

/// The serial of pre-signed content that takes the place of the version `last`.
fn signed_serial(apex: &Name, new: &PackedZone<'_>, last: Serial) -> Result<Serial> {
    let soa = set_at(new, apex, Type::SOA)?;
    let own = soa.and_then(|soa| soa.rrset.soa_serial()).ok_or_else(|| rules::no_soa(apex))?;
    if last.is_before(own) { Ok(own) } else { Err(content::serial_behind(apex, own, last)) }
}

pub(super) fn whole_change(
    zone: &Zone,
    from: Option<Serial>,
    to: Option<Serial>,
    before: Option<RrSet>,
    after: Option<RrSet>,
) -> AppliedZone {
    let soa = ChangedRrSet { owner: zone.apex.clone(), rtype: Type::SOA, before, after };
    AppliedZone {
        apex: zone.apex.clone(),
        zone: zone.id,
        from,
        to,
        changed: [soa].into(),
        changed_count: usize::try_from(zone.counts.rrsets).unwrap_or(usize::MAX),
        old: Old::Everything { generation: zone.generation },
    }
}

pub(super) fn unchanged(zone: &Zone) -> AppliedZone {
    let serial = Some(zone.serial);
    AppliedZone {
        apex: zone.apex.clone(),
        zone: zone.id,
        from: serial,
        to: serial,
        changed: [].into(),
        changed_count: 0,
        old: Old::NOTHING,
    }
}

fn changed(change: &SetChange) -> ChangedRrSet {
    ChangedRrSet {
        owner: change.owner.clone(),
        rtype: change.rtype,
        before: change.before.as_ref().map(|set| set.rrset.clone()),
        after: change.after.as_ref().map(|set| set.rrset.clone()),
    }
}
