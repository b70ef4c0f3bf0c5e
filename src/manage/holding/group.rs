//! Groups of followed catalogs: what the zones in them get here.
//!
//! Whoever looks after the server agrees with a catalog's producer on names of groups, and says here
//! what each means: who holds the zones in it, whom they follow, by which policy they are signed, who
//! may transfer them. It holds for the zones that are here as for those that come.

use serde::{Deserialize, Serialize};

use super::acl;
use super::primaries::{PrimariesError, PrimaryAsk, primaries_of, shown, unknown_keys};
use super::zone::{self, Held};
use crate::maintain::catalog::GROUP_OCTETS_MAX;
use crate::maintain::dnssec::policy;
use crate::maintain::groups::{self, GroupRule, RULES_MAX};
use crate::maintain::secondary;
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::event::Kind as Happened;
use crate::manage::fault::{Problem, Stop};
use crate::manage::id::OrgId;
use crate::manage::page::Page;
use crate::serve::acl::Entry;
use crate::store::Rows;
use crate::wire::Name;

/// What the zones of a group get. What is left out they get as zones in no group do: from the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupAsk {
    /// The organisation that holds them.
    pub org: Option<OrgId>,
    /// Whom they follow instead of the primaries of the catalog.
    pub primaries: Option<Vec<PrimaryAsk>>,
    /// The policy by which they are signed here. Without the rule they stay signed: their parents may
    /// have a DS.
    pub dnssec_policy: Option<String>,
    /// Who may transfer those that have no list of their own, as in the access list of a zone.
    #[schema(example = json!(["192.0.2.0/24 key secondary.example."]))]
    pub transfer: Option<Vec<String>>,
}

/// A group that has a rule, and what its zones get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GroupView {
    pub group: String,
    pub org: Option<OrgId>,
    pub primaries: Option<Vec<PrimaryAsk>>,
    pub dnssec_policy: Option<String>,
    pub transfer: Option<Vec<String>>,
}

/// Lists the groups of a followed catalog that have a rule, by name.
///
/// # Errors
///
/// [`Stop::Access`] when there is no such catalog, or without the right.
pub fn list(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<GroupView>, Stop> {
    context.may(Permission::ServerOperate)?;
    let rules = manage.store.read(|rows| -> Result<_, Stop> {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        is_catalog(rows, &held)?;
        Ok(groups::rules(rows, &held.zone)?)
    })?;
    let behind = rules.iter().filter(|(group, _)| after.is_none_or(|after| group.as_str() > after));
    let mut items: Vec<GroupView> =
        behind.take(limit + 1).map(|(group, rule)| view(group, rule)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| last.group.clone());
    Ok(Page { items, next })
}

/// Says what the zones of a group get, from now on; those that are here get it at once.
///
/// # Errors
///
/// [`PrimariesError`]; nothing happened.
pub fn set(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    group: &str,
    ask: &GroupAsk,
) -> Result<GroupView, PrimariesError> {
    context.may(Permission::ServerOperate)?;
    let rule = rule_of(group, ask)?;
    manage.commit(|door| {
        let held = zone::fetch(door.tx(), context, Permission::ZoneManage, apex)?;
        is_catalog(door.tx(), &held)?;
        let org = ask.org.unwrap_or(held.org);
        access::org(door.tx(), context, Permission::ZoneManage, org)?;
        if let Some(name) = &rule.policy
            && policy::find(door.tx(), &org.to_string(), name)?.is_none()
        {
            let text = format!("there is no DNSSEC policy {name}");
            return Err(invalid("dnssec_policy", "policy", text));
        }
        let holders = acl::holders(door.tx(), org)?;
        let transfer = rule.transfer.as_deref();
        let mut problems = acl::unknown_keys(door.tx(), "transfer", transfer, &holders)?;
        let primaries = rule.primaries.as_deref().unwrap_or_default();
        problems.extend(unknown_keys(door.tx(), primaries)?);
        if !problems.is_empty() {
            return Err(PrimariesError::Invalid(problems));
        }
        let there = groups::rules(door.tx(), &held.zone)?;
        if there.len() >= RULES_MAX && !there.contains_key(group) {
            let text = format!("a catalog has rules for at most {RULES_MAX} groups");
            return Err(invalid("group", "limit", text));
        }
        put(door.tx(), context, &held, group, Some(&rule))
    })?;
    manage.maintain.watch(apex, 0);
    Ok(view(group, &rule))
}

/// Forgets what the zones of a group get: they have it from their catalog again.
///
/// # Errors
///
/// [`PrimariesError`]; nothing happened.
pub fn remove(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    group: &str,
) -> Result<(), PrimariesError> {
    context.may(Permission::ServerOperate)?;
    manage.commit(|door| {
        let held = zone::fetch(door.tx(), context, Permission::ZoneManage, apex)?;
        groups::rule(door.tx(), &held.zone, group)?.ok_or(NoAccess::NotFound)?;
        put(door.tx(), context, &held, group, None)
    })?;
    manage.maintain.watch(apex, 0);
    Ok(())
}

fn put(
    tx: &mut crate::store::Tx<'_>,
    context: &Context,
    held: &Held,
    group: &str,
    rule: Option<&GroupRule>,
) -> Result<(), PrimariesError> {
    let before = groups::rule(tx, &held.zone, group)?;
    groups::put_rule(tx, &held.zone, group, rule)?;
    Ok(held.record(tx, context, Happened::GroupRuleChanged, before.as_ref(), rule)?)
}

fn is_catalog(rows: &impl Rows, held: &Held) -> Result<(), Stop> {
    let following = secondary::following(rows, &held.zone.apex)?;
    match following.is_some_and(|following| following.catalog) {
        true => Ok(()),
        false => Err(NoAccess::NotFound.into()),
    }
}

/// The rule of a request, or every fault of it.
fn rule_of(group: &str, ask: &GroupAsk) -> Result<GroupRule, PrimariesError> {
    let mut problems = Vec::new();
    if !(1..=GROUP_OCTETS_MAX).contains(&group.len()) {
        let text = format!("group is not 1 to {GROUP_OCTETS_MAX} octets");
        problems.push(Problem::at("group", "catalog", text));
    }
    let primaries = ask.primaries.as_deref().map(primaries_of).transpose();
    let primaries = primaries.unwrap_or_else(|faults| {
        problems.extend(faults);
        None
    });
    let transfer = acl::entries("transfer", ask.transfer.as_deref());
    let transfer = transfer.unwrap_or_else(|faults| {
        problems.extend(faults);
        None
    });
    if *ask == GroupAsk::default() {
        let text = "a rule gives something: org, primaries, dnssec_policy or transfer";
        problems.push(Problem::at("", "catalog", text));
    }
    if !problems.is_empty() {
        return Err(PrimariesError::Invalid(problems));
    }
    let (org, policy) = (ask.org.map(|org| org.to_string()), ask.dnssec_policy.clone());
    Ok(GroupRule { org, primaries, policy, transfer })
}

fn view(group: &str, rule: &GroupRule) -> GroupView {
    let primaries = rule.primaries.as_ref();
    let transfer = rule.transfer.as_ref();
    GroupView {
        group: group.to_owned(),
        org: rule.org.as_ref().and_then(|org| org.parse().ok()),
        primaries: primaries.map(|primaries| primaries.iter().map(shown).collect()),
        dnssec_policy: rule.policy.clone(),
        transfer: transfer.map(|list| list.iter().map(Entry::to_string).collect()),
    }
}

fn invalid(at: &str, rule: &'static str, text: String) -> PrimariesError {
    PrimariesError::Invalid(vec![Problem::at(at, rule, text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_rule_is_named() {
        let ask = GroupAsk {
            primaries: Some(Vec::new()),
            transfer: Some(vec!["nobody".into()]),
            ..GroupAsk::default()
        };
        let Err(PrimariesError::Invalid(problems)) = rule_of("", &ask) else {
            panic!("it is taken");
        };
        let places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(places, ["group", "primaries", "transfer[0]"]);
        assert!(rule_of("gold", &GroupAsk::default()).is_err(), "it gives nothing");
    }
}
