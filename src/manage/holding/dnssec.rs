//! DNSSEC of zones, as people see and steer it.
//!
//! Switching it on and off is a change like others: an item, in a basket or an order (see
//! [`ask`](crate::manage::change::ask)). What stands here needs no order: it looks, begins rollovers,
//! takes people's word for what the parent serves, and keeps other providers' keys.

use serde::{Deserialize, Serialize};

pub use super::dnssec_schedule::{NextView, ScheduleLine, schedule};
use super::dnssec_schedule::{facts, schedule_of};
use super::zone::{self as holding, Held};
use crate::maintain::dnssec::{self, FOREIGN_KEYS_MAX, Life};
use crate::maintain::{Door, Reason, Signing, Zone, signing};
use crate::manage::Manage;
use crate::manage::access::{Context, Permission, Role as Rank};
use crate::manage::event::Kind as Happened;
use crate::manage::fault::{self, Kind, Problem, Refused, Stop};
use crate::manage::time::Timestamp;
use crate::sign::Algorithm;
use crate::sign::key::{check_public, key_tag};
use crate::sign::rollover::{DsSet, Key, KeyId, KeySet, Look};
use crate::wire::{Name, Type, rdata};

/// Why something about DNSSEC is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnssecError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// The zone is not in a state for it.
    State(String),
}

fault::stops!(DnssecError);

impl std::fmt::Display for DnssecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DnssecError::Stop(stop) => stop.fmt(f),
            DnssecError::Invalid(problems) => fault::write_all(problems, f),
            DnssecError::State(text) => f.write_str(text),
        }
    }
}

impl Refused for DnssecError {
    fn kind(&self) -> Kind {
        match self {
            DnssecError::Stop(stop) => stop.kind(),
            DnssecError::Invalid(_) => Kind::Invalid,
            DnssecError::State(_) => Kind::Conflict,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            DnssecError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// The DNSSEC of a zone, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DnssecView {
    #[schema(value_type = String, example = "example.com.")]
    pub zone: Name,
    /// `off`, `signing`, `ds_pending`, `secure`, `going_insecure`; `presigned` when others sign it.
    pub state: String,
    /// The name of its policy; none while it is off.
    pub policy: Option<String>,
    pub keys: Vec<KeyView>,
    /// What the parent is to have, as a zone file says it; empty: no DS.
    pub ds: Vec<String>,
    pub parent: ParentView,
    /// Whether the zone is where it is to be, and no cache can hold anything else.
    pub at_rest: bool,
    /// What happens next, and when.
    pub next: Vec<NextView>,
    /// Why the last step failed; it is tried again.
    pub fault: Option<String>,
    /// Who else makes versions of it: a server with keys or signatures that were not made here, or a DS at the
    /// parent that names none of its keys.
    pub second_signer: Option<String>,
    /// Set while its signatures cannot be made anew: it is served at its last good version.
    pub held: Option<HeldView>,
    /// When the first signature expires.
    #[schema(value_type = Option<String>)]
    pub first_expiry_at: Option<Timestamp>,
    /// What happened so far, oldest first.
    pub history: Vec<PastView>,
}

/// Why a zone is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeldView {
    pub why: String,
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// When somebody is called, if it is still held then: half way to its first expiry.
    #[schema(value_type = Option<String>)]
    pub alarm_at: Option<Timestamp>,
    /// When somebody was called.
    #[schema(value_type = Option<String>)]
    pub alarmed_at: Option<Timestamp>,
}

/// A key of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyView {
    pub tag: u16,
    pub algorithm: u8,
    /// `ksk`, `zsk` or `csk`.
    pub role: String,
    /// Another provider's.
    pub foreign: bool,
    /// Whether it stands in the DNSKEY RRset.
    pub published: bool,
    /// Whether it signs DNSKEY, CDS and CDNSKEY.
    pub signs_keys: bool,
    /// Whether it signs everything else.
    pub signs_zone: bool,
    /// Whether it stays; what does not is being replaced.
    pub wanted: bool,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// Its DNSKEY, as a zone file says it.
    pub dnskey: Option<String>,
}

/// What is asked of the parent, and what its name servers say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ParentView {
    /// The tags of the keys it is asked to vouch for; none if it was never asked.
    pub asked: Option<Vec<u16>>,
    /// The key tags in each DS RRset that its servers gave; more than one when they disagree.
    pub seen: Vec<Vec<u16>>,
    /// When all of its servers last answered.
    #[schema(value_type = Option<String>)]
    pub looked_at: Option<Timestamp>,
    /// Why not all of its servers could be asked.
    pub fault: Option<String>,
    /// What is wrong with the DS that they gave, and the way out.
    pub trouble: Option<String>,
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastView {
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub what: String,
}

pub(super) fn second(seconds: u64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}

fn tags(keys: &KeySet) -> Vec<u16> {
    keys.iter().map(|id| id.0).collect()
}

pub(super) fn listed(keys: &KeySet) -> String {
    tags(keys).iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The DNSSEC of a zone.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such zone in reach.
pub fn get(manage: &Manage, context: &Context, apex: &Name) -> Result<DnssecView, Stop> {
    manage.store.read(|rows| {
        let held = holding::fetch(rows, context, Permission::ZoneView, apex)?;
        view(manage, rows, &held)
    })
}

fn view(manage: &Manage, rows: &impl crate::store::Rows, held: &Held) -> Result<DnssecView, Stop> {
    let zone = &held.zone;
    let life = dnssec::life(rows, zone)?.unwrap_or_default();
    let policy = dnssec::policy::find(rows, &zone.org, &life.policy)?.unwrap_or_default();
    let public = dnssec::public_keys(rows, zone, &life)?;
    let published = life.rollover.published();
    let signing = signing::of(rows, zone)?;
    let key = |key: &Key| KeyView {
        tag: key.id.0,
        algorithm: key.algorithm,
        role: key.role.word().to_owned(),
        foreign: key.foreign,
        published: published.dnskeys.contains(key.id),
        signs_keys: published.dnskey_signers.contains(key.id),
        signs_zone: published.signers.contains(key.id),
        wanted: key.wanted && life.rollover.is_on(),
        created_at: second(key.created),
        dnskey: public
            .iter()
            .find(|(id, _)| *id == key.id)
            .map(|(_, dnskey)| rdata::display(Type::DNSKEY, dnskey).to_string()),
    };
    let state = match life.is_over() {
        true if zone.presigned => "presigned",
        _ => life.rollover.state().word(),
    };
    let now = Timestamp::now();
    let ds = dnssec::wanted_ds(rows, zone, &life, &policy)?;
    let seen = life.rollover.seen_at_parent().iter();
    let strangers = |set: &DsSet| [tags(&set.keys), set.strangers.clone()].concat();
    Ok(DnssecView {
        zone: zone.apex.clone(),
        state: state.to_owned(),
        policy: (!life.is_over()).then(|| life.policy.clone()),
        keys: life.rollover.keys().iter().map(key).collect(),
        ds: ds.iter().map(|ds| rdata::display(Type::DS, ds).to_string()).collect(),
        parent: ParentView {
            asked: life.rollover.asked_of_parent().map(|set| tags(&set.keys)),
            seen: seen.map(strangers).collect(),
            looked_at: life.rollover.looked().map(second),
            fault: life.parent_fault.clone().filter(|_| !life.is_over()),
            trouble: trouble(rows, zone, &life)?,
        },
        at_rest: life.rollover.is_at_rest() && life.roll.is_empty(),
        next: schedule_of(&life, &policy, now),
        fault: fault_of(manage, &life, signing.as_ref()),
        second_signer: second_signer(manage, zone, &life),
        held: manage.maintain.hold_of(zone).map(|hold| HeldView {
            since: second(hold.since_s),
            alarm_at: hold.alarm_at_s().map(second),
            alarmed_at: hold.alarmed_s.map(second),
            why: hold.why,
        }),
        first_expiry_at: signing.map(|signing| second(signing.first_expiry_s)),
        history: life
            .history
            .iter()
            .map(|(at, what)| PastView { at: second(*at), what: what.clone() })
            .collect(),
    })
}

fn second_signer(manage: &Manage, zone: &Zone, life: &Life) -> Option<String> {
    let mut strangers: Vec<u16> = Vec::new();
    if !life.is_over() {
        let seen = life.rollover.seen_at_parent().iter().flat_map(|set| &set.strangers);
        strangers.extend(seen.filter(|tag| life.rollover.key(KeyId(**tag)).is_none()));
    }
    strangers.sort_unstable();
    strangers.dedup();
    let seen = manage.maintain.second_signer(zone);
    seen.or_else(|| dnssec::strange::foreign(&zone.apex, &strangers))
}

/// What is wrong with the DS of a zone.
fn trouble(
    rows: &impl crate::store::Rows,
    zone: &Zone,
    life: &Life,
) -> Result<Option<String>, Stop> {
    if life.is_over() {
        return Ok(dnssec::orphaned(rows, zone)?);
    }
    Ok(dnssec::strange::trouble(&zone.apex, &life.rollover))
}

/// What keeps a zone from being signed.
fn fault_of(manage: &Manage, life: &Life, signing: Option<&Signing>) -> Option<String> {
    let doubt = manage.maintain.clock_doubt().filter(|_| !life.is_over());
    let doubt = doubt.map(|doubt| doubt.to_string());
    doubt.or_else(|| life.fault.clone()).or_else(|| signing?.fault.clone())
}

/// Which keys are to be replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Roll {
    /// `ksk`, `zsk`, `csk`; all that the policy has if left out.
    pub roles: Option<Vec<String>>,
    /// Even while another rollover is under way. Every wait a cache needs is kept.
    pub emergency: bool,
}

/// Begins to replace keys of a zone.
///
/// # Errors
///
/// [`DnssecError::State`] when DNSSEC is off, or a rollover is under way.
pub fn roll(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    roll: Roll,
) -> Result<DnssecView, DnssecError> {
    change(manage, context, apex, Happened::DnssecRolled, move |life, policy, _| {
        let known = policy.roles();
        let roles = match &roll.roles {
            None => known.to_vec(),
            Some(words) => {
                let role = |word: &String| {
                    let found = known.iter().find(|role| role.word() == word).copied();
                    let has: Vec<&str> = known.iter().map(|role| role.word()).collect();
                    found
                        .ok_or_else(|| format!("the zone has no {word}: it has {}", has.join(", ")))
                };
                words.iter().map(role).collect::<Result<Vec<_>, _>>()?
            }
        };
        if !life.rollover.is_on() {
            return Err("DNSSEC is being switched off: no key is replaced any more".to_owned());
        }
        if !roll.emergency && !life.rollover.is_at_rest() {
            return Err(
                "a step is under way: wait for it, or begin an emergency rollover".to_owned()
            );
        }
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        life.roll = roles;
        Ok(format!("rollover of {} asked for", words.join(", ")))
    })
}

/// What somebody saw at the parent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Whether every server of the parent serves the DS asked for, or else none at all.
    pub present: bool,
    /// The TTL of the DS at the parent, in seconds; a day if left out.
    #[serde(default)]
    pub ttl: Option<u32>,
}

/// Takes somebody's word for what all servers of the parent serve: where they cannot be asked.
///
/// # Errors
///
/// [`DnssecError::State`] when DNSSEC is off, or the DS was not asked of the parent.
pub fn seen(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    seen: Seen,
) -> Result<DnssecView, DnssecError> {
    const DAY_S: u32 = 86_400;
    change(manage, context, apex, Happened::DnssecSeen, move |life, policy, now_s| {
        let asked = life.rollover.asked_of_parent().cloned();
        let set = match (seen.present, asked) {
            (true, None) => return Err("the parent was not asked for anything yet".to_owned()),
            (true, Some(asked)) if asked.is_empty() => {
                return Err("the parent is asked for no DS".to_owned());
            }
            (true, Some(asked)) => asked,
            // That there is none can be said at any time: also of a zone that others signed.
            (false, _) => DsSet::default(),
        };
        let mut told = match seen.present {
            true => format!("told that the parent has the DS of {}", listed(&set.keys)),
            false => "told that the parent has no DS".to_owned(),
        };
        let look = Look { seen: vec![set], ttl: seen.ttl.unwrap_or(DAY_S), is_full: true };
        life.rollover.look(&look, &facts(policy), now_s);
        let counts = life.rollover.settles(facts(policy).settle());
        if let Some(at) = counts.filter(|at| life.rollover.expects_parent() && now_s < *at) {
            told.push_str(&format!(
                ": too early, for it may still take up what it was asked before; say so again after {}",
                second(at)
            ));
        }
        Ok(told)
    })
}

/// Other providers' keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// DNSKEY RDATA, as a zone file says it. What is left out leaves the zone.
    #[schema(example = json!(["257 3 13 …"]))]
    pub dnskeys: Vec<String>,
}

/// Publishes exactly these keys of other providers beside the own ones ([RFC 8901] §2.1.2). The parent
/// is asked to vouch for those that are entry points.
///
/// # Errors
///
/// [`DnssecError::Invalid`] for what is no key, or one of another algorithm than the zone's.
///
/// [RFC 8901]: https://www.rfc-editor.org/rfc/rfc8901
pub fn set_foreign(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    foreign: &Foreign,
) -> Result<DnssecView, DnssecError> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (n, text) in foreign.dnskeys.iter().enumerate() {
        let at = format!("dnskeys[{n}]");
        match rdata::parse(Type::DNSKEY, text, None) {
            Ok(rdata) => {
                let id = KeyId(key_tag(&rdata));
                if let Err(error) = check_public(&rdata) {
                    problems.push(Problem::at(at, "key", error));
                } else if keys.iter().any(|(other, _)| *other == id) {
                    let text = format!("two keys have the tag {}: they cannot both stand", id.0);
                    problems.push(Problem::at(at, "key", text));
                }
                keys.push((id, rdata.to_vec()));
            }
            Err(error) => problems.push(Problem::at(at, "rdata", error)),
        }
    }
    if keys.len() > FOREIGN_KEYS_MAX {
        let text = format!("a zone has at most {FOREIGN_KEYS_MAX} keys of other providers");
        problems.push(Problem::at("dnskeys", "limit", text));
    }
    if !problems.is_empty() {
        return Err(DnssecError::Invalid(problems));
    }
    change(manage, context, apex, Happened::DnssecChanged, move |life, policy, now_s| {
        for (id, rdata) in &keys {
            let algorithm = rdata.get(3).copied().unwrap_or_default();
            if algorithm != policy.algorithm.number() {
                return Err(format!(
                    "key {} has algorithm {algorithm}, the zone {}: all providers use one (RFC 8901 §4)",
                    id.0,
                    policy.algorithm.number()
                ));
            }
            if life.rollover.key(*id).is_some_and(|key| !key.foreign) {
                return Err(format!("the zone has a key of its own with the tag {}", id.0));
            }
        }
        let gone: Vec<KeyId> = life
            .rollover
            .keys()
            .iter()
            .filter(|key| key.foreign && !keys.iter().any(|(id, _)| *id == key.id))
            .map(|key| key.id)
            .collect();
        gone.iter().for_each(|id| life.rollover.retire(*id));
        for (id, rdata) in &keys {
            let role = dnssec::role_of(rdata, policy);
            let algorithm = policy.algorithm.number();
            let (foreign, wanted) = (true, true);
            life.rollover.want(Key { id: *id, algorithm, role, foreign, created: now_s, wanted });
            life.foreign.retain(|(other, _)| other != id);
            life.foreign.push((*id, rdata.clone()));
        }
        Ok(format!("{} keys of other providers are to be published", keys.len()))
    })
}

/// Changes the life of a zone's DNSSEC, with its event.
fn change(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    kind: Happened,
    f: impl FnOnce(&mut Life, &dnssec::Policy, u64) -> Result<String, String>,
) -> Result<DnssecView, DnssecError> {
    through(manage, |door| {
        let held = holding::fetch(door.tx(), context, Permission::ZoneManage, apex)?;
        door.change_life(&held.zone.apex, f).map_err(reason)?;
        record(door, context, &held, kind)?;
        Ok(view(manage, door.tx(), &held)?)
    })
}

pub(super) fn record(
    door: &mut Door<'_, '_>,
    context: &Context,
    held: &Held,
    kind: Happened,
) -> Result<(), Stop> {
    held.record(door.tx(), context, kind, None::<&()>, None)
}

/// Runs `f` with the door open.
pub(super) fn through<R: Send + 'static>(
    manage: &Manage,
    f: impl FnOnce(&mut Door<'_, '_>) -> Result<R, DnssecError>,
) -> Result<R, DnssecError> {
    manage.commit(f)
}

pub(super) fn reason(reason: Reason) -> DnssecError {
    match reason {
        Reason::Unreadable(fault) => fault.into(),
        other => DnssecError::State(other.to_string()),
    }
}

/// Whether an algorithm is one that zones are signed with.
///
/// # Errors
///
/// The reason against it.
pub fn algorithm(number: u8) -> Result<Algorithm, String> {
    Algorithm::from_number(number).map_err(|error| error.to_string())
}

/// Whether somebody sees everybody's.
pub(super) fn is_operator(context: &Context) -> bool {
    context.role == Rank::Operator
}
