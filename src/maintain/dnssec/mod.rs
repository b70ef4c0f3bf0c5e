//! The DNSSEC of zones over time: what was asked of each, and how far it is.
//!
//! A change of DNSSEC is written down by the door and carried out by [`tend`]: keys are made, steps
//! are taken when [`Rollover`] says that they are safe, and each step is a commit of its own. What a
//! zone is signed with never changes but by such a step. The first step of a small zone is taken in the
//! commit that switches it on or off.
//!
//! Promises: a zone that waits for time or for its parent stands in the due index; nothing is held in
//! memory that a restart would lose.

mod adopt;
pub(super) mod lint;
pub mod parent;
pub mod policy;
mod step;
pub mod strange;
mod tend;

use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use adopt::role_of;
pub use lint::orphaned;
pub use policy::Policy;
pub(super) use tend::REST;

use super::Maintain;
use super::apply::Refused;
use super::change::{AppliedZone, Old, Reason};
use super::commit::Door;
use super::rows::{self, Zone, fault};
use super::secondary;
use crate::sign::SigningKey;
use crate::sign::rollover::{KeyId, Role, Rollover, State};
use crate::store::{RawRows, RowError, Rows, Table, Tx};
use crate::wire::{Name, Type};
use crate::zone::ReadFault;
use crate::zone::delta::SetChange;

/// Zone → the life of its DNSSEC.
const LIVES: Table<u32, Life> = Table::new("dnssec lives", *b"dl");
/// (When, in seconds since 1970; zone): zones that are to be looked at then.
const DUE: Table<(u64, u32), ()> = Table::new("dnssec due", *b"dd");

/// Lines of its past that are kept of each zone.
pub const HISTORY_MAX: usize = 50;

/// Octets of a reason people give.
pub const REASON_OCTETS_MAX: usize = 1_000;

/// Foreign keys of one zone.
pub const FOREIGN_KEYS_MAX: usize = 8;

/// How long a switch is waited for that its commit did not carry out.
const SWITCH_PATIENCE: Duration = Duration::from_secs(2);

/// How often that is looked at.
const SWITCH_STEP: Duration = Duration::from_millis(20);

/// What is asked of a zone's DNSSEC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnssecWish {
    /// Signed by this policy. `strip`: signatures that others made are taken off first.
    On { policy: String, strip: bool },
    /// Unsigned, once no validating resolver can mind.
    Off,
    /// Unsigned at once, whoever minds.
    ForcedOff { reason: String },
}

/// The life of one zone's DNSSEC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    pub rollover: Rollover,
    /// The name of its policy.
    pub policy: String,
    /// Counts the changes of this row: what was worked out on another is not applied.
    pub revision: u64,
    /// Roles whose keys are to be replaced.
    pub roll: Vec<Role>,
    /// Other providers' keys: DNSKEY RDATA by tag.
    pub foreign: Vec<(KeyId, Vec<u8>)>,
    /// Why it is to be unsigned at once.
    pub forced: Option<String>,
    /// When it is looked at next, in seconds since 1970; none when nothing is expected.
    pub due_s: Option<u64>,
    /// When the parent was last asked, in seconds since 1970.
    pub asked_parent_s: Option<u64>,
    /// Why the parent's servers could not all be asked.
    pub parent_fault: Option<String>,
    /// Why the last step failed. The zone stays as it is and the step is tried again.
    pub fault: Option<String>,
    /// What happened, oldest first, with the time in seconds since 1970.
    pub history: Vec<(u64, String)>,
}

impl Life {
    /// Whether anything of DNSSEC is wanted, published or under way.
    pub fn is_over(&self) -> bool {
        self.rollover.state() == State::Off && !self.rollover.is_on() && self.forced.is_none()
    }

    fn tell(&mut self, now_s: u64, text: impl Into<String>) {
        self.history.push((now_s, text.into()));
        let surplus = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..surplus);
    }
}

/// Whether what was asked of the DNSSEC of any of these zones is still to be begun or done.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn is_any_pending<R: RawRows + ?Sized>(
    rows: &R,
    zones: impl IntoIterator<Item = u32>,
) -> Result<bool, ReadFault> {
    for id in zones {
        // Most zones have no life of this kind at all.
        if rows.contains(&LIVES, &id).map_err(fault)?
            && let Some(zone) = rows::by_id(rows, id)?
            && is_pending(rows, &zone)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The life of a zone's DNSSEC; none if it never had any.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn life<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Option<Life>, ReadFault> {
    rows.get(&LIVES, &zone.id).map_err(fault)
}

/// What would ask for the zone's DNSSEC as it is now.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn wish<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<DnssecWish, ReadFault> {
    let life = life(rows, zone)?.filter(|life| life.rollover.is_on());
    Ok(match life {
        Some(life) => DnssecWish::On { policy: life.policy, strip: false },
        None => DnssecWish::Off,
    })
}

/// Whether what was asked of a zone's DNSSEC is still to be begun, or the zone to be signed by it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn is_pending<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<bool, ReadFault> {
    let Some(life) = life(rows, zone)? else { return Ok(false) };
    let is_begun = life.due_s != Some(0) && life.fault.is_none();
    // One that others signed stays as it is until its parent lets go of their keys.
    let is_ours = life.rollover.is_on() && !zone.presigned;
    let is_signed = || {
        let signing = super::signing::of(rows, zone)?;
        Ok::<_, ReadFault>(signing.is_some_and(|signing| signing.complete))
    };
    Ok(!is_begun || is_ours && !is_signed()?)
}

impl Maintain {
    /// Waits a little for what was asked of the DNSSEC of zones to be carried out; returns whether it
    /// was. Where nobody tends zones, in a command on a data directory, there is no wait.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn wait_switched(&self, apexes: &[Name]) -> Result<bool, ReadFault> {
        let end = Instant::now() + SWITCH_PATIENCE;
        loop {
            let mut is_done = true;
            for apex in apexes {
                is_done &= self.store().read(|rows| match rows::zone(rows, apex)? {
                    Some(zone) => is_pending(rows, &zone).map(|pending| !pending),
                    None => Ok(true),
                })?;
            }
            if is_done || self.answering().is_none() || Instant::now() > end {
                return Ok(is_done);
            }
            thread::sleep(SWITCH_STEP);
        }
    }
}

/// Zones behind `after` whose DNSSEC is not over, by id, at most `limit` looked at.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn lives<R: RawRows + ?Sized>(
    rows: &R,
    after: Option<u32>,
    limit: usize,
) -> Result<Vec<(u32, Life)>, ReadFault> {
    rows.scan(&LIVES, &(), after.as_ref(), limit).map_err(fault)
}

/// Puts a life, counts the change, and notes when it is due.
pub(super) fn put_life(tx: &mut Tx<'_>, zone: u32, life: &mut Life) -> Result<(), RowError> {
    if let Some(before) = tx.get(&LIVES, &zone)?.and_then(|before| before.due_s) {
        tx.delete(&DUE, &(before, zone))?;
    }
    life.revision += 1;
    if let Some(due) = life.due_s {
        tx.put(&DUE, &(due, zone), &())?;
    }
    tx.put(&LIVES, &zone, life)
}

/// The DS RDATA of a zone that others sign in its parent, where that is kept here; empty where it is not, or
/// has none.
pub(super) fn ds_of_others<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Vec<Box<[u8]>>, ReadFault> {
    if life(rows, zone)?.is_some_and(|life| !life.is_over()) {
        return Ok(Vec::new()); // they name keys of here
    }
    let Some(above) = parent::parent_here(rows, &zone.apex)? else { return Ok(Vec::new()) };
    let ds = parent::ds_here(rows, &above, &zone.apex)?;
    Ok(ds.map_or_else(Vec::new, |set| set.rdatas().to_vec()))
}

/// Has a zone looked at now.
///
/// # Errors
///
/// When the store does not take it.
pub fn hurry(tx: &mut Tx<'_>, zone: u32) -> Result<(), RowError> {
    let Some(mut life) = tx.get(&LIVES, &zone)? else { return Ok(()) };
    life.due_s = Some(0);
    put_life(tx, zone, &mut life)
}

/// The clock went by a time that never came: what was noted of it counts as noted at `now_s`, and the
/// zone is looked at.
pub(super) fn turn_back(tx: &mut Tx<'_>, zone: &Zone, now_s: u64) -> Result<(), ReadFault> {
    let Some(mut life) = life(tx, zone)? else { return Ok(()) };
    let policy = policy::find(tx, &zone.org, &life.policy)?.unwrap_or_default();
    life.rollover.turn_back(policy.propagation_s, now_s);
    life.asked_parent_s = None;
    life.tell(now_s, "the clock was set right: every wait begins anew");
    life.due_s = Some(0);
    put_life(tx, zone.id, &mut life).map_err(fault)
}

/// Every record of a zone is signed as the last step wanted it, from `now_s` on.
pub(super) fn finish(tx: &mut Tx<'_>, zone: &Zone, now_s: u64) -> Result<(), ReadFault> {
    let Some(mut life) = life(tx, zone)? else { return Ok(()) };
    let policy = policy::find(tx, &zone.org, &life.policy)?.unwrap_or_default();
    life.rollover.finish(policy.propagation_s, now_s);
    life.due_s = life.due_s.map_or(Some(now_s), |due| Some(due.min(now_s)));
    put_life(tx, zone.id, &mut life).map_err(fault)
}

/// Notes the largest TTL among `changes` of a signed zone: it may be gone when the zone is next tended.
pub(super) fn note_ttl(
    tx: &mut Tx<'_>,
    zone: &Zone,
    changes: &[SetChange],
) -> Result<(), ReadFault> {
    let sets = changes.iter().filter_map(|change| change.after.as_ref());
    let ttls = sets.filter(|set| set.rrset.rtype != Type::DNSKEY).map(|set| set.rrset.ttl);
    let Some(largest) = ttls.max() else { return Ok(()) };
    let Some(mut life) = life(tx, zone)? else { return Ok(()) };
    match life.rollover.note_zone_ttl(largest) {
        true => put_life(tx, zone.id, &mut life).map_err(fault),
        false => Ok(()),
    }
}

/// The last is gone with its zone.
fn drop_life(tx: &mut Tx<'_>, zone: u32) -> Result<(), RowError> {
    if let Some(due) = tx.get(&LIVES, &zone)?.and_then(|life| life.due_s) {
        tx.delete(&DUE, &(due, zone))?;
    }
    tx.delete(&LIVES, &zone)
}

impl Door<'_, '_> {
    /// The present second.
    pub(super) fn now_s(&self) -> u64 {
        self.now_us / 1_000_000
    }

    /// The present second for what waits.
    pub(super) fn steady_s(&self) -> u64 {
        self.maintain.settings().clock.steady_us() / 1_000_000
    }

    pub(super) fn set_dnssec(
        &mut self,
        apex: &Name,
        wish: &DnssecWish,
    ) -> Result<AppliedZone, Refused> {
        let zone = self.changeable(apex)?;
        if let Some(following) = secondary::following(self.tx, apex)?
            && following.catalog
        {
            let text =
                format!("{apex} is a catalog: it tells servers of zones, and nobody asks for it");
            return Err(signing(text).into());
        }
        let mut life = life(self.tx, &zone)?.unwrap_or_default();
        let now_s = self.now_s();
        if !matches!(wish, DnssecWish::On { .. }) && life.is_over() {
            return match zone.presigned {
                false => Ok(unchanged(&zone)),
                true => Err(adopt::not_ours(&zone).into()),
            };
        }
        match wish {
            DnssecWish::On { policy, strip } => self.wish_on(&zone, &mut life, policy, *strip)?,
            DnssecWish::Off => {
                life.rollover.turn_off();
                life.tell(now_s, "switched off");
            }
            DnssecWish::ForcedOff { reason } => {
                life.forced = Some(reason.clone());
                life.rollover.turn_off();
                life.tell(now_s, format!("forced off: {reason}"));
                tracing::warn!(zone = %zone.apex, "DNSSEC of {} is forced off: {reason}", zone.apex);
            }
        }
        let begun = tend::begin(self, &zone, &mut life)?;
        if begun.is_none() {
            life.due_s = Some(0);
        }
        put_life(self.tx, zone.id, &mut life)?;
        Ok(begun.unwrap_or_else(|| unchanged(&zone)))
    }

    fn wish_on(
        &mut self,
        zone: &Zone,
        life: &mut Life,
        policy: &str,
        strip: bool,
    ) -> Result<(), Refused> {
        let now_s = self.now_s();
        let rules = policy::find(self.tx, &zone.org, policy)?;
        let none = || signing(format!("there is no DNSSEC policy {policy}"));
        let rules = rules.ok_or_else(none)?;
        if !self.signing_keys.can_keep() {
            let text = "there is no instance key to keep signing keys secret with";
            return Err(signing(text.into()).into());
        }
        if zone.presigned && life.is_over() {
            self.adopt(zone, life, strip, now_s)?;
        }
        self.want_imported(zone, life, &rules, now_s)?;
        policy.clone_into(&mut life.policy);
        life.forced = None;
        life.rollover.turn_on();
        life.tell(now_s, format!("switched on with policy {policy}"));
        Ok(())
    }

    /// Changes the life of a zone that has one; it is looked at at once.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownZone`]; [`Reason::Signing`] when DNSSEC is off, or with what `change` says.
    pub fn change_life(
        &mut self,
        apex: &Name,
        change: impl FnOnce(&mut Life, &Policy, u64) -> Result<String, String>,
    ) -> Result<(), Reason> {
        let zone = rows::zone(self.tx, apex).map_err(Reason::Unreadable)?;
        let zone = zone.ok_or(Reason::UnknownZone)?;
        let off = || signing(format!("DNSSEC of {apex} is off"));
        let life = life(self.tx, &zone).map_err(Reason::Unreadable)?;
        let mut life = life.filter(|life| !life.is_over()).ok_or_else(off)?;
        let policy = policy::find(self.tx, &zone.org, &life.policy).map_err(Reason::Unreadable)?;
        if let Some(doubt) = self.maintain.clock_doubt() {
            return Err(signing(doubt.to_string()));
        }
        let now_s = self.steady_s();
        let told = change(&mut life, &policy.unwrap_or_default(), now_s).map_err(signing)?;
        life.tell(now_s, told);
        life.due_s = Some(0);
        put_life(self.tx, zone.id, &mut life).map_err(|error| Reason::Unreadable(fault(error)))
    }
}

/// Makes a key that was brought along part of a zone's goal.
pub fn want(life: &mut Life, policy: &Policy, key: &SigningKey, now_s: u64) {
    let role = role_of(key.dnskey(), policy);
    life.rollover.want(step::known(key, role, now_s));
}

fn signing(text: String) -> Reason {
    Reason::Signing { text }
}

fn unchanged(zone: &Zone) -> AppliedZone {
    AppliedZone {
        apex: zone.apex.clone(),
        zone: zone.id,
        from: Some(zone.serial),
        to: Some(zone.serial),
        changed: [].into(),
        changed_count: 0,
        old: Old::NOTHING,
    }
}

/// The DNSKEY RDATA of every key that a zone's life knows.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn public_keys<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    life: &Life,
) -> Result<Vec<(KeyId, Vec<u8>)>, ReadFault> {
    let own = super::signing::dnskeys(rows, zone)?;
    let own = own.into_iter().map(|(tag, dnskey)| (KeyId(tag), dnskey));
    Ok(own.chain(life.foreign.iter().cloned()).collect())
}

/// The DS RDATA that the parent of a zone is to have; empty, none.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn wanted_ds<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    life: &Life,
    policy: &Policy,
) -> Result<Vec<Box<[u8]>>, ReadFault> {
    let keys = public_keys(rows, zone, life)?;
    let asked = life.rollover.asked_of_parent();
    let is_asked = |id: KeyId| asked.is_some_and(|asked| asked.keys.contains(id));
    let dnskeys: Vec<&[u8]> =
        keys.iter().filter(|(id, _)| is_asked(*id)).map(|(_, dnskey)| &dnskey[..]).collect();
    Ok(step::ds_of(&zone.apex, &dnskeys, policy))
}
