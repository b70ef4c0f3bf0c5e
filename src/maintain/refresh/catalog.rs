//! What a catalog names, made so: zones that come, go, or go over to another catalog, and what its
//! [groups](crate::maintain::groups) give them.
//!
//! Promises: an empty or broken catalog deletes nothing; only zones that this catalog brought are
//! ever deleted by it; a zone that is here for another reason stays what it is; one zone that cannot
//! come or go holds up no other.

use std::collections::BTreeMap;

use super::PAGE_ZONES;
use super::round::unwritten;
use crate::maintain::groups::{self, Given, Giver};
use crate::maintain::rows::{self, Zone};
use crate::maintain::secondary::{self, Following, Membership};
use crate::maintain::{CommitError, Door, Maintain, Refusal, ZoneChange};
use crate::wire::Name;
use crate::xfr::members::{self, Member};
use crate::zone::ReadFault;

/// Zones that come or go in one commit.
const GROUP_ZONES: usize = 100;

/// What is to be done about one zone.
enum Step {
    /// It comes; what stood under its name in this catalog under another label goes before.
    Come {
        member: Member,
        anew: bool,
    },
    /// Another catalog gave it over to this one.
    TakeOver {
        member: Member,
        anew: bool,
    },
    /// It stays, in other groups, or given something else.
    Regroup(Member),
    Go(Name),
}

impl Step {
    fn zone(&self) -> &Name {
        match self {
            Step::Come { member, .. } | Step::TakeOver { member, .. } | Step::Regroup(member) => {
                &member.zone
            }
            Step::Go(zone) => zone,
        }
    }
}

/// A zone as its catalog brought it.
struct Brought {
    zone: Name,
    label: Vec<u8>,
    groups: Vec<String>,
    given: Given,
}

impl Maintain {
    /// Makes the zones that follow the catalog `zone` those it names; `given` gets the catalogs that may
    /// take zones over from it.
    ///
    /// # Errors
    ///
    /// Why nothing, or not all of it, was done.
    pub(super) fn follow_catalog(
        &self,
        zone: &Zone,
        catalog: &Following,
        given: &mut Vec<Name>,
    ) -> Result<(), String> {
        let named = self.named_by(zone).map_err(|fault| fault.to_string())??;
        let rules = self.store().read(|rows| groups::rules(rows, zone));
        let rules = rules.map_err(|fault| fault.to_string())?;
        let giver = Giver { zone, following: catalog, rules };
        let ours = self.members_here(&giver).map_err(|fault| fault.to_string())?;
        if named.is_empty() && !ours.is_empty() {
            let count = ours.len();
            return Err(format!(
                "catalog names no zone any more: the {count} it named are kept, delete them if that is meant"
            ));
        }
        let mut clashes = Vec::new();
        let mut steps = Vec::new();
        let mut left = ours;
        for member in named {
            given.extend(member.next_catalog.clone());
            match left.remove(&member.zone.key()) {
                Some(here) if here.label == member.label => {
                    let same = here.groups == member.groups;
                    if !same || here.given != giver.gives(&member.groups) {
                        steps.push(Step::Regroup(member));
                    }
                }
                Some(_) => steps.push(Step::Come { member, anew: true }),
                None => match self.step_for(zone, member).map_err(|fault| fault.to_string())? {
                    Ok(step) => steps.push(step),
                    Err(name) => clashes.push(name),
                },
            }
        }
        steps.extend(left.into_values().map(|gone| Step::Go(gone.zone)));
        self.take_all(&giver, &steps)?;
        match clashes.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} of the zones that the catalog names are here for another reason and stay as they are, {first} among them",
                clashes.len()
            )),
        }
    }

    /// Takes steps, many in one commit; those of a group that is refused one by one.
    fn take_all(&self, giver: &Giver<'_>, steps: &[Step]) -> Result<(), String> {
        let mut refused = Vec::new();
        for group in steps.chunks(GROUP_ZONES) {
            if self.take_steps(giver, group).is_ok() {
                continue;
            }
            for step in group {
                if let Err(why) = self.take_steps(giver, std::slice::from_ref(step)) {
                    refused.push((step.zone(), why));
                }
            }
        }
        match refused.first() {
            None => Ok(()),
            Some((name, why)) => Err(format!(
                "{} zones of the catalog cannot come or go, {name} among them: {why}",
                refused.len()
            )),
        }
    }

    fn named_by(&self, zone: &Zone) -> Result<Result<Vec<Member>, String>, ReadFault> {
        let max = self.settings().refresh.catalog_zones_max;
        let named = self
            .store()
            .read(|rows| rows::with_view(rows, zone, |view| members::members(view, max)))?;
        Ok(named.map_err(|fault| fault.to_string()))
    }

    /// The zones that a catalog brought, by the key of their names.
    fn members_here(&self, giver: &Giver<'_>) -> Result<BTreeMap<Vec<u8>, Brought>, ReadFault> {
        let mut found = BTreeMap::new();
        let mut after: Option<Name> = None;
        loop {
            let page =
                self.store().read(|rows| secondary::followers(rows, after.as_ref(), PAGE_ZONES))?;
            after = page.last().map(|following| following.apex.clone());
            let full = page.len() == PAGE_ZONES;
            for following in page {
                let Some(member) = following.member else { continue };
                if member.catalog == giver.zone.apex {
                    let (zone, label) = (following.apex, member.label);
                    let (groups, given) = self.store().read(|rows| -> Result<_, ReadFault> {
                        let given = giver.gave(rows, &zone).map_err(rows::fault)?;
                        Ok((secondary::groups(rows, &zone)?, given))
                    })?;
                    found.insert(zone.key(), Brought { zone, label, groups, given });
                }
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// What a zone that this catalog names newly asks for; its name if it is here for another reason.
    fn step_for(&self, catalog: &Zone, member: Member) -> Result<Result<Step, Name>, ReadFault> {
        let (here, following) = self.store().read(|rows| -> Result<_, ReadFault> {
            Ok((rows::zone(rows, &member.zone)?, secondary::following(rows, &member.zone)?))
        })?;
        let (Some(here), Some(following)) = (&here, following) else {
            return Ok(match here {
                None => Ok(Step::Come { member, anew: false }),
                Some(_) => Err(member.zone),
            });
        };
        let Some(old) = &following.member else { return Ok(Err(member.zone)) };
        // The catalog that has it must say who may take it over (RFC 9432 §4.4.1).
        let other = self.store().read(|rows| rows::zone(rows, &old.catalog))?;
        let given = match other {
            Some(other) => self.named_by(&other)?.unwrap_or_default().into_iter().any(|its| {
                its.zone == member.zone && its.next_catalog.as_ref() == Some(&catalog.apex)
            }),
            None => false,
        };
        let anew = old.label != member.label || here.version == 0;
        Ok(match given {
            true => Ok(Step::TakeOver { member, anew }),
            false => Err(member.zone),
        })
    }

    fn take_steps(&self, giver: &Giver<'_>, steps: &[Step]) -> Result<(), String> {
        let catalog = &giver.zone.apex;
        let cause = format!("catalog {catalog}");
        let done = self.commit(|door| -> Result<Vec<Name>, Refusal> {
            door.set_cause(cause);
            let mut ask = Vec::new();
            for step in steps {
                if take_step(door, giver, step)? {
                    ask.push(step.zone().clone());
                }
            }
            Ok(ask)
        });
        let committed = done.map_err(|why| match why {
            CommitError::Refused(refusal) => refusal.to_string(),
            CommitError::Unreadable(fault) => fault.to_string(),
            CommitError::Write(error) => error.to_string(),
        })?;
        for step in steps {
            match step {
                Step::Come { member, .. } | Step::TakeOver { member, .. } => {
                    let apex = &member.zone;
                    tracing::info!(zone = %apex, %catalog, "catalog {catalog} brought zone {apex}");
                }
                Step::Regroup(_) => {}
                Step::Go(apex) => {
                    tracing::info!(zone = %apex, %catalog, "catalog {catalog} took zone {apex} away");
                }
            }
        }
        committed.value.iter().for_each(|apex| self.watch(apex, 0));
        Ok(())
    }
}

/// Takes one step; returns whether its zone is to be asked for anew.
fn take_step(door: &mut Door<'_, '_>, giver: &Giver<'_>, step: &Step) -> Result<bool, Refusal> {
    let (member, anew) = match step {
        Step::Come { member, anew } | Step::TakeOver { member, anew } => (member, *anew),
        Step::Regroup(member) => return door.give(giver, &member.zone, &member.groups),
        Step::Go(apex) => {
            door.apply(&[ZoneChange::Delete { apex: apex.clone() }])?;
            return Ok(false);
        }
    };
    let (apex, given) = (&member.zone, giver.gives(&member.groups));
    if anew {
        door.apply(&[ZoneChange::Delete { apex: apex.clone() }])?;
    }
    if anew || !matches!(step, Step::TakeOver { .. }) {
        door.apply(&[ZoneChange::Expect { apex: apex.clone(), org: given.org }])?;
    }
    let (catalog, label) = (giver.zone.apex.clone(), member.label.clone());
    let following = Following {
        apex: apex.clone(),
        primaries: given.primaries,
        catalog: false,
        member: Some(Membership { catalog, label }),
    };
    secondary::follow(door.tx(), &following).map_err(|error| unwritten(apex, error))?;
    door.give(giver, apex, &member.groups)?;
    Ok(true)
}
