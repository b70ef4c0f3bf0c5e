//! Update policies: what the holder of a TSIG key may change by dynamic updates, and how it is taken.
//!
//! A policy makes its key act for one user: with that user's rights, within what the policy names, as
//! fine as one type at one name. A key without a policy updates nothing.
//!
//! Promises: a policy is of the key it was made for; one of the same name made later has none. It
//! never gives more than its user has, nor lets its user past an approval unless whoever set it may
//! push what was approved elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::maintain::tsig::{self as keys, Kept};
use crate::manage::Manage;
use crate::manage::access::{self, Actor, Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::{OrgId, UserId};
use crate::manage::idempotency;
use crate::manage::limits::{UPDATE_GRANTS_MAX, UPDATE_TYPES_MAX};
use crate::manage::people::organisation::ChangeMode;
use crate::manage::people::user::{self, USERS};
use crate::store::{Rows, Table, Tail, Tx};
use crate::wire::{Name, Type};

/// Policies by the key of the name of their TSIG key.
const POLICIES: Table<Tail, UpdatePolicy> = Table::new("update_policies", *b"up");

/// What one key may update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    pub key: Name,
    /// When the key was made, in microseconds since 1970: it tells the key from a later one.
    key_created_us: u64,
    pub org: OrgId,
    /// Whom the key acts for.
    pub user: UserId,
    /// How changes are taken; none is as the holder of the zone has chosen.
    pub mode: Option<ChangeMode>,
    /// Whether whoever set it may push what was approved elsewhere.
    pub approved: bool,
    grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    name: Name,
    below: bool,
    label: Option<Vec<u8>>,
    /// All but those the server looks after, if there are none.
    types: Vec<Type>,
}

impl Grant {
    fn allows(&self, owner: &Name, rtype: Type) -> bool {
        let named = match self.below {
            true => owner.is_at_or_below(&self.name),
            false => *owner == self.name,
        };
        let first = owner.labels().next().unwrap_or_default();
        let labelled = |label: &Vec<u8>| first.eq_ignore_ascii_case(label);
        named
            && self.label.as_ref().is_none_or(labelled)
            && (self.types.is_empty() || self.types.contains(&rtype))
    }
}

impl UpdatePolicy {
    /// Whether the records of this type at this name may be changed.
    pub fn allows(&self, owner: &Name, rtype: Type) -> bool {
        self.grants.iter().any(|grant| grant.allows(owner, rtype))
    }

    /// Whether the key itself is for this zone.
    pub fn covers(&self, rows: &impl Rows, zone: &Name) -> Result<bool, Stop> {
        Ok(keys::get(rows, &self.key)?.is_some_and(|key| key.covers(zone)))
    }
}

/// The policy of a key; none if it has none, or if there is no such key.
pub(super) fn of_key(rows: &impl Rows, key: &Name) -> Result<Option<UpdatePolicy>, Stop> {
    let Some(kept) = keys::get(rows, key)? else { return Ok(None) };
    let policy = rows.get(&POLICIES, &Tail(key.key()))?;
    Ok(policy.filter(|policy| is_of(policy, &kept)))
}

fn is_of(policy: &UpdatePolicy, kept: &Kept) -> bool {
    policy.key_created_us == kept.created_us && policy.org.to_string() == kept.org
}

/// A policy, as it is set and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyAsk {
    /// Whom the key acts for: with whose rights, into whose basket. You if left out, or a superuser of
    /// the organisation of the key.
    pub user: Option<UserId>,
    /// How changes are taken; as the holder of the zone has chosen if left out.
    pub mode: Option<ChangeMode>,
    /// What may be changed; nothing else may.
    pub grants: Vec<GrantAsk>,
}

/// Names and types that a key may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantAsk {
    #[schema(value_type = String, example = "_acme-challenge.example.com.")]
    pub name: Name,
    /// Whether names below count too.
    #[serde(default)]
    pub below: bool,
    /// Only names that begin with this label.
    #[serde(default)]
    #[schema(example = "_acme-challenge")]
    pub label: Option<String>,
    /// Only these types; all if left out.
    #[serde(default)]
    #[schema(example = json!(["TXT"]))]
    pub types: Vec<String>,
}

/// Why a policy was not set. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
}

stops!(PolicyError);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::Stop(stop) => stop.fmt(f),
            PolicyError::Invalid(problems) => fault::write_all(problems, f),
        }
    }
}

impl Refused for PolicyError {
    fn kind(&self) -> Kind {
        match self {
            PolicyError::Stop(stop) => stop.kind(),
            PolicyError::Invalid(_) => Kind::Invalid,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            PolicyError::Invalid(problems) => problems,
            PolicyError::Stop(_) => &[],
        }
    }
}

/// Sets the policy of a key, in place of what it had.
///
/// # Errors
///
/// [`PolicyError`]; nothing happened.
pub fn set(
    manage: &Manage,
    context: &Context,
    key: &Name,
    ask: PolicyAsk,
) -> Result<PolicyAsk, PolicyError> {
    let grants = read(&ask.grants).map_err(PolicyError::Invalid)?;
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let (kept, org) = fetch(tx, context, key)?;
            let user = acts_for(tx, context, org, ask.user)?;
            let policy = UpdatePolicy {
                key: kept.name.clone(),
                key_created_us: kept.created_us,
                org,
                user,
                mode: ask.mode,
                approved: context.may(Permission::OrderPush).is_ok(),
                grants,
            };
            let before = of_key(tx, key)?;
            tx.put(&POLICIES, &Tail(key.key()), &policy)?;
            record(tx, context, before.as_ref(), Some(&policy))?;
            Ok::<_, PolicyError>(shown(&policy))
        })
    })
}

/// The policy of a key.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right.
pub fn get(manage: &Manage, context: &Context, key: &Name) -> Result<PolicyAsk, Stop> {
    manage.store.read(|rows| {
        fetch(rows, context, key)?;
        Ok(shown(&of_key(rows, key)?.ok_or(NoAccess::NotFound)?))
    })
}

/// Takes the policy of a key away: it updates nothing from now on.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right.
pub fn delete(manage: &Manage, context: &Context, key: &Name) -> Result<(), Stop> {
    manage.transact(|tx| {
        fetch(tx, context, key)?;
        let before = of_key(tx, key)?.ok_or(NoAccess::NotFound)?;
        tx.delete(&POLICIES, &Tail(key.key()))?;
        record(tx, context, Some(&before), None)
    })
}

/// The key, if the one who acts may say what it may do.
fn fetch(rows: &impl Rows, context: &Context, key: &Name) -> Result<(Kept, OrgId), Stop> {
    let kept = keys::get(rows, key)?.ok_or(NoAccess::NotFound)?;
    let org: OrgId = kept.org.parse().map_err(|_| NoAccess::NotFound)?;
    access::org(rows, context, Permission::TsigManage, org)?;
    Ok((kept, org))
}

/// The user a key acts for: one of its organisation, and another than oneself only with the right to
/// act for others.
fn acts_for(
    rows: &impl Rows,
    context: &Context,
    org: OrgId,
    asked: Option<UserId>,
) -> Result<UserId, Stop> {
    let own = match context.actor {
        Actor::User { user, .. } if context.org == org => Some(user),
        _ => None,
    };
    let id = match asked.or(own) {
        Some(id) => id,
        None => user::a_superuser(rows, org)?.ok_or(NoAccess::NotFound)?,
    };
    let user = rows.get(&USERS, &id)?.filter(|user| user.org == org).ok_or(NoAccess::NotFound)?;
    if context.actor.user() != Some(user.id) {
        context.may(Permission::TokenManage)?;
    }
    Ok(user.id)
}

fn read(asks: &[GrantAsk]) -> Result<Vec<Grant>, Vec<Problem>> {
    let (mut grants, mut problems) = (Vec::new(), Vec::new());
    if asks.len() > UPDATE_GRANTS_MAX {
        let text = format!("limit update_grants is {UPDATE_GRANTS_MAX}: name what is above them");
        problems.push(Problem::at("grants", "limit", text));
        return Err(problems);
    }
    for (n, ask) in asks.iter().enumerate() {
        let at = |field: &str| format!("grants[{n}].{field}");
        let label = ask.label.as_ref().map(|label| label.as_bytes().to_vec());
        if label.as_ref().is_some_and(|label| label.is_empty() || label.len() > 63) {
            problems.push(Problem::at(at("label"), "label", "a label has 1 to 63 octets"));
        }
        if ask.types.len() > UPDATE_TYPES_MAX {
            let text = format!("limit update_types is {UPDATE_TYPES_MAX}: leave them out for all");
            problems.push(Problem::at(at("types"), "limit", text));
        }
        let mut types = Vec::new();
        for (m, text) in ask.types.iter().enumerate().take(UPDATE_TYPES_MAX) {
            match text.parse::<Type>() {
                Ok(rtype) if !super::ask::is_managed(rtype) && !rtype.is_meta() => {
                    types.push(rtype);
                }
                Ok(_) | Err(_) => {
                    let text = format!("{text} is no type of records that can be updated");
                    problems.push(Problem::at(at(&format!("types[{m}]")), "type", text));
                }
            }
        }
        grants.push(Grant { name: ask.name.clone(), below: ask.below, label, types });
    }
    if problems.is_empty() { Ok(grants) } else { Err(problems) }
}

fn shown(policy: &UpdatePolicy) -> PolicyAsk {
    let grants = policy.grants.iter().map(|grant| GrantAsk {
        name: grant.name.clone(),
        below: grant.below,
        label: grant.label.as_ref().map(|label| String::from_utf8_lossy(label).into_owned()),
        types: grant.types.iter().map(ToString::to_string).collect(),
    });
    PolicyAsk { user: Some(policy.user), mode: policy.mode, grants: grants.collect() }
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    before: Option<&UpdatePolicy>,
    after: Option<&UpdatePolicy>,
) -> Result<(), Stop> {
    let Some(policy) = before.or(after) else { return Ok(()) };
    let touched = vec![Touched::of(Object::TsigKey(policy.key.clone()), before, after)];
    let kind = Happened::UpdatePolicyChanged;
    event::record(tx, context, News { kind, order: None, orgs: vec![policy.org], touched })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, below: bool, label: Option<&str>, types: &[Type]) -> Grant {
        let label = label.map(|label| label.as_bytes().to_vec());
        Grant { name: Name::parse(name).unwrap(), below, label, types: types.to_vec() }
    }

    fn allows(grant: &Grant, owner: &str, rtype: Type) -> bool {
        grant.allows(&Name::parse(owner).unwrap(), rtype)
    }

    #[test]
    fn a_grant_is_as_fine_as_one_type_at_one_name() {
        let one = grant("_acme-challenge.Shop.example.", false, None, &[Type::TXT]);
        assert!(allows(&one, "_ACME-challenge.shop.example.", Type::TXT));
        assert!(!allows(&one, "_acme-challenge.shop.example.", Type::A));
        assert!(!allows(&one, "x._acme-challenge.shop.example.", Type::TXT));
        assert!(!allows(&one, "shop.example.", Type::TXT));
    }

    #[test]
    fn names_below_count_only_where_asked_for_and_labels_are_whole() {
        let below = grant("dyn.example.", true, None, &[]);
        assert!(
            allows(&below, "dyn.example.", Type::A) && allows(&below, "a.b.dyn.example.", Type::MX)
        );
        assert!(!allows(&below, "xdyn.example.", Type::A));
        let labelled = grant("example.", true, Some("_acme-challenge"), &[Type::TXT]);
        assert!(allows(&labelled, "_acme-challenge.www.example.", Type::TXT));
        assert!(allows(&labelled, "_acme-challenge.example.", Type::TXT));
        assert!(!allows(&labelled, "_acme-challenges.example.", Type::TXT));
        assert!(!allows(&labelled, "www._acme-challenge.example.", Type::TXT));
    }

    #[test]
    fn faults_of_a_policy_come_all_at_once() {
        let ask = GrantAsk {
            name: Name::parse("example.").unwrap(),
            below: false,
            label: Some(String::new()),
            types: vec!["TXT".into(), "RRSIG".into(), "NONSENSE".into()],
        };
        let faults = read(&[ask]).unwrap_err();
        let places: Vec<&str> = faults.iter().map(|fault| fault.at.as_str()).collect();
        assert_eq!(places, ["grants[0].label", "grants[0].types[1]", "grants[0].types[2]"]);
    }
}
