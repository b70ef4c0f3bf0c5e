//! What the groups of a followed catalog mean here ([RFC 9432] §4.4.2): one rule for each group.
//!
//! A catalog says which groups a zone is in, and nothing of what that means. A rule gives the zones of
//! a group to a holder, has them follow other primaries, has them signed, or says who may transfer
//! them. A zone in several groups has each of these from the first group that gives it, in order of
//! their names; what none gives, it has from the catalog.
//!
//! Promises: what a person has given to a zone otherwise since stays; a zone whose rule goes has what
//! its catalog gives again, but signing goes on: its parent may have a DS.
//!
//! [RFC 9432]: https://www.rfc-editor.org/rfc/rfc9432

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::commit::Door;
use super::dnssec::DnssecWish;
use super::rows::{self, Zone, fault};
use super::secondary::{self, Following, Primary};
use super::{Reason, Refusal, RefusedZone, ZoneChange};
use crate::serve::acl::Entry;
use crate::store::{RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::Name;
use crate::zone::ReadFault;

/// (Catalog, group) → what its zones get. An id is never used again.
const RULES: Table<(u32, String), GroupRule> = Table::new("rules for groups", *b"fh");
/// Apex key → what its catalog and its groups gave to a zone last.
const GIVEN: Table<Tail, Given> = Table::new("given by catalogs", *b"fi");

/// Groups of one catalog that have a rule.
pub const RULES_MAX: usize = 1_000;

/// What the zones of one group get; what is none here, they get as if they were in no group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRule {
    /// Who holds them, opaque here.
    pub org: Option<String>,
    /// Whom they follow.
    pub primaries: Option<Vec<Primary>>,
    /// The name of the DNSSEC policy by which they are signed here.
    pub policy: Option<String>,
    /// Who may transfer those that have no list of their own.
    pub transfer: Option<Vec<Entry>>,
}

/// What a catalog gives to a zone, its groups counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    pub org: String,
    pub primaries: Vec<Primary>,
    pub policy: Option<String>,
}

/// The rules of one catalog, by group.
pub type Rules = BTreeMap<String, GroupRule>;

/// The rules that a catalog's groups have.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn rules<R: RawRows + ?Sized>(rows: &R, catalog: &Zone) -> Result<Rules, ReadFault> {
    let found = rows.scan(&RULES, &catalog.id, None, RULES_MAX).map_err(fault)?;
    Ok(found.into_iter().map(|((_, group), rule)| (group, rule)).collect())
}

/// The rule that a group of a catalog has.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn rule<R: RawRows + ?Sized>(
    rows: &R,
    catalog: &Zone,
    group: &str,
) -> Result<Option<GroupRule>, ReadFault> {
    rows.get(&RULES, &(catalog.id, group.to_owned())).map_err(fault)
}

/// Keeps the rule of a group, or with none forgets it.
///
/// # Errors
///
/// [`RowError`] when the row cannot be written.
pub fn put_rule(
    tx: &mut Tx<'_>,
    catalog: &Zone,
    group: &str,
    rule: Option<&GroupRule>,
) -> Result<(), RowError> {
    let key = (catalog.id, group.to_owned());
    match rule {
        Some(rule) => tx.put(&RULES, &key, rule),
        None => tx.delete(&RULES, &key),
    }
}

/// The catalogs and groups whose rules name this key, in their list for transfers or with a primary.
pub(super) fn naming<R: RawRows + ?Sized>(
    rows: &R,
    key: &Name,
) -> Result<Vec<(u32, String)>, ReadFault> {
    let rules = rows.range(&RULES, (0, String::new()).., usize::MAX).map_err(fault)?;
    let names = |rule: &GroupRule| {
        super::access::names(rule.transfer.as_deref(), key)
            || super::secondary::names(rule.primaries.as_deref().unwrap_or_default(), key)
    };
    Ok(rules.into_iter().filter(|(_, rule)| names(rule)).map(|(place, _)| place).collect())
}

/// Takes away the rules of a catalog that ends.
pub(super) fn forget_catalog(tx: &mut Tx<'_>, catalog: u32) -> Result<(), RowError> {
    for (key, _) in tx.scan(&RULES, &catalog, None, RULES_MAX)? {
        tx.delete(&RULES, &key)?;
    }
    Ok(())
}

/// Forgets what a catalog gave to a zone.
pub(super) fn forget_member(tx: &mut Tx<'_>, apex: &Name) -> Result<(), RowError> {
    tx.delete(&GIVEN, &Tail(apex.key()))
}

/// Who may transfer a zone by the groups it is in; none where they leave it to others.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn transfer_of<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Option<Vec<Entry>>, ReadFault> {
    let groups = secondary::groups(rows, &zone.apex)?;
    if groups.is_empty() {
        return Ok(None);
    }
    let member = secondary::following(rows, &zone.apex)?.and_then(|following| following.member);
    let Some(member) = member else { return Ok(None) };
    let Some(catalog) = rows::zone(rows, &member.catalog)? else { return Ok(None) };
    for group in groups {
        if let Some(list) = rule(rows, &catalog, &group)?.and_then(|rule| rule.transfer) {
            return Ok(Some(list));
        }
    }
    Ok(None)
}

/// A followed catalog as its members see it.
pub(super) struct Giver<'c> {
    pub zone: &'c Zone,
    pub following: &'c Following,
    pub rules: Rules,
}

impl Giver<'_> {
    /// What a zone in these groups is given.
    pub fn gives(&self, groups: &[String]) -> Given {
        let rules = || groups.iter().filter_map(|group| self.rules.get(group));
        let org = rules().find_map(|rule| rule.org.clone());
        let primaries = rules().find_map(|rule| rule.primaries.clone());
        Given {
            org: org.unwrap_or_else(|| self.zone.org.clone()),
            primaries: primaries.unwrap_or_else(|| self.following.primaries.clone()),
            policy: rules().find_map(|rule| rule.policy.clone()),
        }
    }

    /// What a zone was given last; of one that no row tells of, what the catalog gives by itself.
    pub fn gave<R: RawRows + ?Sized>(&self, rows: &R, apex: &Name) -> Result<Given, RowError> {
        let given = rows.get(&GIVEN, &Tail(apex.key()))?;
        Ok(given.unwrap_or_else(|| self.gives(&[])))
    }
}

impl Door<'_, '_> {
    /// Gives a member what its groups say; returns whether it follows others from now on.
    ///
    /// What it has otherwise than its catalog gave it last, it has from people, and keeps.
    pub(super) fn give(
        &mut self,
        giver: &Giver<'_>,
        apex: &Name,
        groups: &Vec<String>,
    ) -> Result<bool, Refusal> {
        let stop = |error| refusal(apex, fault(error));
        secondary::put_groups(self.tx, apex, groups).map_err(stop)?;
        let last = giver.gave(self.tx, apex).map_err(stop)?;
        let new = giver.gives(groups);
        let zone = rows::zone(self.tx, apex).map_err(|fault| refusal(apex, fault))?;
        let following =
            secondary::following(self.tx, apex).map_err(|fault| refusal(apex, fault))?;
        let (Some(zone), Some(mut following)) = (zone, following) else { return Ok(false) };
        if zone.org == last.org && zone.org != new.org {
            let org = new.org.clone();
            self.apply(&[ZoneChange::Move { apex: apex.clone(), org }])?;
        }
        let others = following.primaries == last.primaries && following.primaries != new.primaries;
        if others {
            following.primaries.clone_from(&new.primaries);
            secondary::follow(self.tx, &following).map_err(stop)?;
        }
        if let Some(policy) = new.policy.clone().filter(|_| new.policy != last.policy) {
            let wish = DnssecWish::On { policy, strip: false };
            self.apply(&[ZoneChange::SetDnssec { apex: apex.clone(), wish }])?;
        }
        self.tx.put(&GIVEN, &Tail(apex.key()), &new).map_err(stop)?;
        Ok(others)
    }
}

fn refusal(apex: &Name, fault: ReadFault) -> Refusal {
    let reasons = vec![Reason::Unreadable(fault)];
    Refusal { zones: vec![RefusedZone { apex: apex.clone(), reasons }] }
}
