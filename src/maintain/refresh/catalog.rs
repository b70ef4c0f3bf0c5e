//! What a catalog names, made so: zones that come, go, or go over to another catalog.
//!
//! Promises: an empty or broken catalog deletes nothing; only zones that this catalog brought are
//! ever deleted by it; a zone that is here for another reason stays what it is; one zone that cannot
//! come or go holds up no other.

use std::collections::BTreeMap;

use super::PAGE_ZONES;
use super::round::unwritten;
use crate::maintain::rows::{self, Zone};
use crate::maintain::secondary::{self, Following, Membership};
use crate::maintain::{CommitError, Maintain, Refusal, ZoneChange};
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
    /// It stays, in other groups.
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
        let ours = self.members_here(&zone.apex).map_err(|fault| fault.to_string())?;
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
                    if here.groups != member.groups {
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
        self.take_all(zone, catalog, &steps)?;
        match clashes.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} of the zones that the catalog names are here for another reason and stay as they are, {first} among them",
                clashes.len()
            )),
        }
    }

    /// Takes steps, many in one commit; those of a group that is refused one by one.
    fn take_all(&self, zone: &Zone, catalog: &Following, steps: &[Step]) -> Result<(), String> {
        let mut refused = Vec::new();
        for group in steps.chunks(GROUP_ZONES) {
            if self.take_steps(zone, catalog, group).is_ok() {
                continue;
            }
            for step in group {
                if let Err(why) = self.take_steps(zone, catalog, std::slice::from_ref(step)) {
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
    fn members_here(&self, catalog: &Name) -> Result<BTreeMap<Vec<u8>, Member>, ReadFault> {
        let mut found = BTreeMap::new();
        let mut after: Option<Name> = None;
        loop {
            let page =
                self.store().read(|rows| secondary::followers(rows, after.as_ref(), PAGE_ZONES))?;
            after = page.last().map(|following| following.apex.clone());
            let full = page.len() == PAGE_ZONES;
            for following in page {
                let Some(member) = following.member else { continue };
                if member.catalog == *catalog {
                    let zone = following.apex;
                    let groups = self.store().read(|rows| secondary::groups(rows, &zone))?;
                    let label = member.label;
                    let member = Member { zone, label, next_catalog: None, groups };
                    found.insert(member.zone.key(), member);
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

    fn take_steps(&self, zone: &Zone, catalog: &Following, steps: &[Step]) -> Result<(), String> {
        let cause = format!("catalog {}", zone.apex);
        let done = self.commit(|door| -> Result<(), Refusal> {
            door.set_cause(cause);
            for step in steps {
                let (apex, comes, goes) = match step {
                    Step::Come { member, anew } | Step::TakeOver { member, anew } => {
                        (&member.zone, Some(member), *anew)
                    }
                    Step::Go(apex) => (apex, None, true),
                    Step::Regroup(member) => {
                        secondary::put_groups(door.tx(), &member.zone, &member.groups)
                            .map_err(|error| unwritten(&member.zone, error))?;
                        continue;
                    }
                };
                if goes {
                    door.apply(&[ZoneChange::Delete { apex: apex.clone() }])?;
                }
                let Some(member) = comes else { continue };
                let keeps = matches!(step, Step::TakeOver { anew: false, .. });
                if !keeps {
                    let org = zone.org.clone();
                    door.apply(&[ZoneChange::Expect { apex: apex.clone(), org }])?;
                }
                let place = Membership { catalog: zone.apex.clone(), label: member.label.clone() };
                let primaries = catalog.primaries.clone();
                let apex = apex.clone();
                let following = Following {
                    apex: apex.clone(),
                    primaries,
                    catalog: false,
                    member: Some(place),
                };
                secondary::follow(door.tx(), &following)
                    .and_then(|()| secondary::put_groups(door.tx(), &apex, &member.groups))
                    .map_err(|error| unwritten(&apex, error))?;
            }
            Ok(())
        });
        done.map_err(|why| match why {
            CommitError::Refused(refusal) => refusal.to_string(),
            CommitError::Unreadable(fault) => fault.to_string(),
            CommitError::Write(error) => error.to_string(),
        })?;
        let catalog = &zone.apex;
        for step in steps {
            match step {
                Step::Come { member, .. } | Step::TakeOver { member, .. } => {
                    let apex = &member.zone;
                    tracing::info!(zone = %apex, %catalog, "catalog {catalog} brought zone {apex}");
                    self.watch(apex, 0);
                }
                Step::Regroup(_) => {}
                Step::Go(apex) => {
                    tracing::info!(zone = %apex, %catalog, "catalog {catalog} took zone {apex} away");
                }
            }
        }
        Ok(())
    }
}
