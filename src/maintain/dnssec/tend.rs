//! Tending: zones whose DNSSEC is due are looked at, and the steps that are safe are taken.
//!
//! What takes time (asking the parent, making keys) happens before the commit; the commit takes it in
//! only if nobody changed the zone's wishes meanwhile. A step that fails leaves the zone as it is,
//! with the reason, and is tried again.

use std::thread;
use std::time::Duration;

use super::step::{self, Halves};
use super::{DUE, Life, Policy, drop_life, life, parent, policy, put_life, strange, unchanged};
use crate::maintain::apply::Refused;
use crate::maintain::change::{AppliedZone, Reason, Refusal};
use crate::maintain::commit::{CommitError, Door};
use crate::maintain::resign::refusal;
use crate::maintain::rows::{self, Zone, fault};
use crate::maintain::served::Standing;
use crate::maintain::signed::SMALL_RRSETS;
use crate::maintain::{Maintain, ZoneChange, journal, secondary, signing};
use crate::sign::rollover::{Published, Role, State};
use crate::sign::{Algorithm, SigningKey};
use crate::store::{RawRows, RowError, Rows};
use crate::wire::{Name, Serial, Type};
use crate::zone::{Op, ReadFault};

/// Zones tended at the same time: most of the time goes by waiting for the parent's servers.
const TENDED_AT_ONCE: usize = 16;

/// Versions that are looked through for the one a slow name server has.
const LAG_VERSIONS_MAX: usize = 100;

/// Seconds until a step that failed is tried again.
const RETRY_S: u64 = 60;

/// Seconds between two looks at a parent of which nothing is expected.
const CALM_POLL_S: u64 = 86_400;

/// How long there is rest when no zone is due.
pub(in crate::maintain) const REST: Duration = Duration::from_millis(500);

/// What was worked out before the commit.
struct Prepared {
    revision: u64,
    policy: Policy,
    made: Vec<(Role, SigningKey)>,
    seen: Option<parent::Seen>,
    facts: crate::sign::rollover::Facts,
}

/// Why a step was not taken.
enum Failed {
    /// Somebody changed the zone or its wishes meanwhile: look again.
    Moved,
    /// The zone cannot be signed so.
    Refused(String),
}

impl From<ReadFault> for Failed {
    fn from(fault: ReadFault) -> Failed {
        Failed::Refused(fault.to_string())
    }
}

impl From<RowError> for Failed {
    fn from(error: RowError) -> Failed {
        fault(error).into()
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Refused(refusal.to_string())
    }
}

impl Maintain {
    /// Tends some zones whose DNSSEC is due at `now_s`; returns whether there may be more.
    pub fn tend_some(&self, now_s: u64) -> bool {
        let due = self.store().read(|rows| rows.range(&DUE, ..=(now_s, u32::MAX), TENDED_AT_ONCE));
        let due: Vec<u32> = match due {
            Ok(due) => due.into_iter().map(|((_, zone), ())| zone).collect(),
            Err(error) => {
                tracing::error!(%error, "zones due for DNSSEC cannot be read: {error}");
                return false;
            }
        };
        thread::scope(|scope| {
            for &zone in &due {
                scope.spawn(move || self.tend(zone, now_s));
            }
        });
        due.len() == TENDED_AT_ONCE
    }

    /// Tends one zone.
    fn tend(&self, zone: u32, now_s: u64) {
        let refused = match self.try_tend(zone, now_s) {
            Ok(()) | Err(Failed::Moved) => return,
            Err(Failed::Refused(why)) => why,
        };
        tracing::warn!(zone, why = %refused, "DNSSEC step of zone {zone} is put off: {refused}");
        let noted = self.commit(|door| {
            let tx = door.tx();
            if let Some(zone) = rows::by_id(tx, zone)?
                && let Some(mut life) = life(tx, &zone)?
            {
                if life.fault.as_ref() != Some(&refused) {
                    life.tell(now_s, format!("put off: {refused}"));
                }
                life.fault = Some(refused.clone());
                life.due_s = Some(now_s + RETRY_S);
                put_life(tx, zone.id, &mut life).map_err(fault)?;
            }
            Ok::<(), ReadFault>(())
        });
        if let Err(error) = noted {
            tracing::error!(%error, zone, "DNSSEC of zone {zone} cannot be noted: {error}");
        }
    }

    fn try_tend(&self, id: u32, now_s: u64) -> Result<(), Failed> {
        let found = self.store().read(|rows| {
            let Some(zone) = rows::by_id(rows, id)? else { return Ok(None) };
            let Some(life) = life(rows, &zone)? else { return Ok(None) };
            let policy = policy::find(rows, &zone.org, &life.policy)?.unwrap_or_default();
            let halves = Halves::of(rows, &zone, &life)?;
            let facts = step::facts(rows, &zone, &policy)?;
            Ok::<_, ReadFault>(Some((zone, life, policy, halves, facts)))
        })?;
        let Some((zone, life, policy, halves, mut facts)) = found else {
            return self.through(|door| Ok(drop_life(door.tx(), id)?));
        };
        if zone.version == 0 {
            let text = format!("{} waits for its first transfer", zone.apex);
            return Err(Failed::Refused(text));
        }
        facts.oldest_served = self.store().read(|rows| self.oldest_served(rows, &zone))?;
        let seen = match looks_due(&life, &policy, now_s) {
            true => {
                // Its own servers too: nobody but us makes versions of it.
                self.look_at(&zone, Vec::new(), false);
                Some(self.look_at_parent(&zone.apex, &policy, &halves, now_s)?)
            }
            false => None,
        };
        let mut taken = halves.tags();
        let mut made = Vec::new();
        for role in step::missing(&life, &policy, now_s) {
            let key = step::make(&policy, role, &taken);
            let key = key.map_err(|error| Failed::Refused(error.to_string()))?;
            taken.push(key.tag());
            made.push((role, key));
        }
        let prepared = Prepared { revision: life.revision, policy, made, seen, facts };
        self.through(|door| take_step(door, id, &prepared, now_s))?;
        self.tell_others(id, now_s)
    }

    /// When the oldest version was published that some name server of the zone was last seen with;
    /// none while all have the newest, as far as is known.
    pub(super) fn oldest_served<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        zone: &Zone,
    ) -> Result<Option<u64>, ReadFault> {
        let servers = self.zone_servers(zone).servers;
        let behind = servers.into_iter().filter_map(|server| server.seen).filter(|seen| {
            matches!(seen.standing, Standing::Behind | Standing::Stale)
                && seen.serial.is_some_and(|serial| serial != zone.serial)
        });
        let behind: Vec<Serial> = behind.filter_map(|seen| seen.serial).collect();
        if behind.is_empty() {
            return Ok(None);
        }
        let versions = journal::versions(rows, zone, None, LAG_VERSIONS_MAX)?;
        let published = |serial: &Serial| {
            let version = versions.iter().find(|version| version.step.to == *serial);
            // Older than what is looked through: it may be anything.
            version.map_or(0, |version| version.at_us / 1_000_000)
        };
        Ok(behind.iter().map(published).min())
    }

    fn through<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Door<'_, '_>) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        match self.commit(f) {
            Ok(committed) => Ok(committed.value),
            Err(CommitError::Refused(failed)) => Err(failed),
            Err(CommitError::Unreadable(fault)) => Err(fault.into()),
            Err(CommitError::Write(error)) => Err(Failed::Refused(error.to_string())),
        }
    }

    /// Puts what the zone announces where others look for it and we can: the DS into a parent kept
    /// here, and into the signalling zones of its name servers ([RFC 9615](https://www.rfc-editor.org/rfc/rfc9615)).
    fn tell_others(&self, id: u32, now_s: u64) -> Result<(), Failed> {
        let changes = self.store().read(|rows| {
            let Some(zone) = rows::by_id(rows, id)? else { return Ok(Vec::new()) };
            let Some(life) = life(rows, &zone)? else { return Ok(Vec::new()) };
            let policy = policy::find(rows, &zone.org, &life.policy)?.unwrap_or_default();
            let halves = Halves::of(rows, &zone, &life)?;
            let published = life.rollover.published();
            let mut changes = signals(rows, &zone, &life, &policy, &halves)?;
            if let Some(keys) = &published.cds {
                let dnskeys: Vec<&[u8]> = keys.iter().filter_map(|id| halves.dnskey(id)).collect();
                let ds = step::ds_of(&zone.apex, &dnskeys, &policy);
                changes.extend(parent::grant(rows, &zone.apex, ds, policy.ds_ttl_s)?);
            }
            Ok::<_, ReadFault>(changes)
        })?;
        if changes.is_empty() {
            return Ok(());
        }
        self.through(|door| {
            door.set_cause(format!("DNSSEC of zone {id}"));
            door.apply(&changes)?;
            let tx = door.tx();
            if let Some(zone) = rows::by_id(tx, id)?
                && let Some(mut life) = life(tx, &zone)?
            {
                // What the parent has now is to be seen at once.
                life.asked_parent_s = None;
                life.due_s = Some(now_s);
                put_life(tx, id, &mut life)?;
            }
            Ok(())
        })
    }
}

fn looks_due(life: &Life, policy: &Policy, now_s: u64) -> bool {
    next_look(life, policy).is_some_and(|at| at <= now_s)
}

/// When the parent is to be asked; none while the zone has nothing that a DS could name.
fn next_look(life: &Life, policy: &Policy) -> Option<u64> {
    if life.is_over() || life.rollover.published() == Published::default() {
        return None;
    }
    let pause = match life.rollover.expects_parent() {
        true => u64::from(policy.parent_poll_s),
        false => CALM_POLL_S.max(policy.parent_poll_s.into()),
    };
    Some(life.asked_parent_s.map_or(0, |asked| asked + pause))
}

/// Takes the step inside the door: keys, signatures, announcements and the zone's own row at once.
fn take_step(
    door: &mut Door<'_, '_>,
    id: u32,
    prepared: &Prepared,
    now_s: u64,
) -> Result<(), Failed> {
    let zone = rows::by_id(door.tx(), id)?.ok_or(Failed::Moved)?;
    let mut life = life(door.tx(), &zone)?.ok_or(Failed::Moved)?;
    if life.revision != prepared.revision {
        return Err(Failed::Moved);
    }
    let applied = advance(door, &zone, &mut life, prepared, now_s)?;
    applied.into_iter().for_each(|zone| door.note(zone));
    Ok(put_life(door.tx(), id, &mut life)?)
}

/// Takes the first step of a zone that is switched on or off, in the commit that does so: a small one
/// whose keys are made at once. None for another, which is tended right after.
///
/// What cannot be signed is refused; whoever wants signatures gone is not: that is tried again.
pub(super) fn begin(
    door: &mut Door<'_, '_>,
    zone: &Zone,
    life: &mut Life,
) -> Result<Option<AppliedZone>, Refused> {
    if zone.version == 0 && !life.rollover.is_on() {
        // Nothing was transferred yet, so nothing is signed.
        (life.forced, life.due_s) = (None, None);
        return Ok(Some(unchanged(zone)));
    }
    let policy = policy::find(door.tx(), &zone.org, &life.policy)?.unwrap_or_default();
    let now_s = door.steady_s();
    let missing = step::missing(life, &policy, now_s);
    let is_slow = matches!(policy.algorithm, Algorithm::RsaSha256 | Algorithm::RsaSha512);
    if zone.presigned
        || zone.version == 0
        || zone.counts.rrsets > SMALL_RRSETS
        || !life.rollover.is_on() && !door.maintain.may_count_waits()
        || is_slow && !missing.is_empty()
    {
        return Ok(None);
    }
    let first = door.attempt(|door| {
        let mut life = life.clone();
        let mut taken = Halves::of(door.tx(), zone, &life)?.tags();
        let mut made = Vec::new();
        for role in missing {
            let key = step::make(&policy, role, &taken);
            let key = key.map_err(|error| Failed::Refused(error.to_string()))?;
            taken.push(key.tag());
            made.push((role, key));
        }
        let mut facts = step::facts(door.tx(), zone, &policy)?;
        facts.oldest_served = door.maintain.oldest_served(door.tx(), zone)?;
        let prepared = Prepared { revision: life.revision, policy, made, seen: None, facts };
        let applied = advance(door, zone, &mut life, &prepared, now_s)?;
        Ok::<_, Failed>((life, applied))
    });
    match first {
        Ok((taken, applied)) => {
            *life = taken;
            Ok(Some(applied.into_iter().next_back().unwrap_or_else(|| unchanged(zone))))
        }
        Err(_) if !life.rollover.is_on() => Ok(None),
        Err(Failed::Refused(text)) => Err(Reason::Signing { text }.into()),
        Err(Failed::Moved) => Err(Reason::UnknownZone.into()),
    }
}

/// Takes a zone's life on by what was worked out; returns what was done to the zone itself.
fn advance(
    door: &mut Door<'_, '_>,
    zone: &Zone,
    life: &mut Life,
    prepared: &Prepared,
    now_s: u64,
) -> Result<Vec<AppliedZone>, Failed> {
    let Prepared { policy, made, seen, facts, .. } = prepared;
    let before = life.rollover.state();
    for (_, key) in made {
        let kept = door.put_signing_key(&zone.apex, key);
        kept.map_err(|reason| Failed::Refused(reason.to_string()))?;
    }
    if life.rollover.is_on() {
        step::take_in(life, policy, made, now_s);
    }
    if let Some(seen) = seen {
        let before = strange::trouble(&zone.apex, &life.rollover);
        life.rollover.look(&seen.look, facts, now_s);
        tell_trouble(life, zone, before, now_s);
        life.asked_parent_s = Some(now_s);
        life.parent_fault.clone_from(&seen.fault);
    }
    let was = life.rollover.published();
    match life.forced.take() {
        Some(_) => {
            life.rollover.force_off(facts, now_s);
            // Where we are the parent, nobody has to fail for it.
            let granted = parent::grant(door.tx(), &zone.apex, Vec::new(), policy.ds_ttl_s)?;
            if let Some(change) = granted {
                door.apply(&[change])?;
            }
        }
        None => {
            life.rollover.step(facts, now_s);
        }
    }
    let published = life.rollover.published();
    tell_steps(life, &was, &published, now_s);
    let halves = Halves::of(door.tx(), zone, life)?;
    let applied = publish(door, zone, life, policy, &published, &halves)?;
    for spent in life.rollover.take_spent() {
        life.foreign.retain(|(id, _)| *id != spent);
        let dropped = door.drop_signing_key(&zone.apex, spent.0);
        dropped.map_err(|reason| Failed::Refused(reason.to_string()))?;
    }
    let after = life.rollover.state();
    if after != before {
        life.tell(now_s, format!("{} became {}", before.word(), after.word()));
        let (apex, word) = (&zone.apex, after.word());
        tracing::info!(zone = %apex, state = word, "DNSSEC of {apex} is now {word}");
    }
    life.fault = None;
    let wakes = life.rollover.wakes(facts.settle(), now_s);
    let next = [wakes, step::next_end(life, policy), next_look(life, policy)];
    // Never in the same second again: what could be done in it is done.
    life.due_s = next.into_iter().flatten().min().map(|at| at.max(now_s + 1));
    if life.is_over() {
        life.due_s = None;
    }
    Ok(applied)
}

/// Signs the zone as the rollover says, if it is not signed so already.
fn publish(
    door: &mut Door<'_, '_>,
    zone: &Zone,
    life: &Life,
    policy: &Policy,
    published: &Published,
    halves: &Halves,
) -> Result<Vec<AppliedZone>, Failed> {
    let apex = &zone.apex;
    let plan = step::plan(apex, life, policy, published, halves);
    let signed = signing::of(door.tx(), zone)?.map(|signing| signing.plan);
    if plan == signed {
        return Ok(Vec::new());
    }
    let refused = |error| Failed::from(refusal(zone, error));
    if zone.presigned {
        // Until every signature is ours to make, the zone stays as its signer made it.
        let is_own = |id| life.rollover.key(id).is_some_and(|key| !key.foreign);
        let signers = published.signers.iter().chain(published.dnskey_signers.iter());
        if plan.is_none() || !signers.into_iter().all(is_own) || published.dnskey_signers.is_empty()
        {
            return Ok(Vec::new());
        }
        door.name_cause("dnssec");
        door.strip(apex).map_err(refused)?;
    }
    door.name_cause("dnssec");
    Ok(vec![door.set_signing(apex, plan.as_ref()).map_err(refused)?])
}

/// Tells what is wrong at the parent, if it was not so, or not thought to be, at the last look.
fn tell_trouble(life: &mut Life, zone: &Zone, before: Option<String>, now_s: u64) {
    let now = strange::trouble(&zone.apex, &life.rollover);
    if let Some(text) = now.filter(|now| before.as_ref() != Some(now)) {
        tracing::warn!(zone = %zone.apex, "{}: {text}", zone.apex);
        life.tell(now_s, text);
    }
}

fn tell_steps(life: &mut Life, was: &Published, now: &Published, now_s: u64) {
    for id in now.dnskeys.iter().filter(|id| !was.dnskeys.contains(*id)) {
        life.tell(now_s, format!("key {} published", id.0));
    }
    for id in now.signers.iter().filter(|id| !was.signers.contains(*id)) {
        life.tell(now_s, format!("key {} signs the zone", id.0));
    }
    for id in was.signers.iter().filter(|id| !now.signers.contains(*id)) {
        life.tell(now_s, format!("key {} no longer signs the zone", id.0));
    }
    for id in was.dnskeys.iter().filter(|id| !now.dnskeys.contains(*id)) {
        life.tell(now_s, format!("key {} withdrawn", id.0));
    }
    if now.cds != was.cds
        && let Some(keys) = &now.cds
    {
        let tags: Vec<String> = keys.iter().map(|id| id.0.to_string()).collect();
        life.tell(
            now_s,
            match tags.is_empty() {
                true => "parent asked to delete the DS".to_owned(),
                false => format!("parent asked for the DS of {}", tags.join(", ")),
            },
        );
    }
}

/// What the signalling zones kept here have to say of a zone: its CDS and CDNSKEY while its parent
/// has yet to take the first, nothing otherwise.
fn signals<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    life: &Life,
    policy: &Policy,
    halves: &Halves,
) -> Result<Vec<ZoneChange>, ReadFault> {
    let ns =
        rows::with_view(rows, zone, |view| crate::zone::delta::set_at(view, &zone.apex, Type::NS))?;
    let mut changes = Vec::new();
    let published = life.rollover.published();
    let plan = step::plan(&zone.apex, life, policy, &published, halves);
    let speaks = life.rollover.state() == State::DsPending;
    for rdata in ns.iter().flat_map(|set| set.rrset.rdatas()) {
        let Some(owner) = Name::from_wire(rdata).ok().and_then(|ns| signal(&zone.apex, &ns)) else {
            continue;
        };
        let Some(holder) = parent::parent_here(rows, &owner)? else { continue };
        if signing::of(rows, &holder)?.is_none()
            || secondary::following(rows, &holder.apex)?.is_some()
        {
            continue;
        }
        for rtype in [Type::CDS, Type::CDNSKEY] {
            let rdatas = plan.as_ref().filter(|_| speaks).map(|plan| match rtype {
                Type::CDS => plan.cds.clone(),
                _ => plan.cdnskey.clone(),
            });
            let rdatas = rdatas.unwrap_or_default();
            let set = rows::with_view(rows, &holder, |view| {
                crate::zone::delta::set_at(view, &owner, rtype)
            })?;
            let now = set.as_ref().map(|set| set.rrset.rdatas()).unwrap_or_default();
            if now.len() == rdatas.len() && rdatas.iter().all(|rdata| now.contains(rdata)) {
                continue;
            }
            let ttl = policy.signing.dnskey_ttl_s;
            let op = match rdatas.is_empty() {
                true => Op::Delete,
                false => Op::Replace { ttl, rdatas },
            };
            changes.push(parent::edit(&holder, &owner, rtype, op));
        }
    }
    Ok(changes)
}

/// Where a name server signals for a zone ([RFC 9615](https://www.rfc-editor.org/rfc/rfc9615) §2); none when the name would be too long,
/// or the name server stands in the zone itself.
fn signal(apex: &Name, ns: &Name) -> Option<Name> {
    if ns.is_at_or_below(apex) {
        return None;
    }
    let (apex, ns) = (apex.to_string(), ns.to_string());
    Name::parse(&format!("_dsboot.{}._signal.{ns}", apex.trim_end_matches('.'))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9615_2_the_signalling_name_of_a_zone_and_its_name_server() {
        let name = |text| Name::parse(text).unwrap();
        let signal = |apex, ns| signal(&name(apex), &name(ns)).map(|name| name.to_string());
        assert_eq!(
            signal("example.co.uk.", "ns1.example.net.").unwrap(),
            "_dsboot.example.co.uk._signal.ns1.example.net."
        );
        assert_eq!(signal("example.", "ns.example."), None);
    }
}
