//! Orphans: changes after which a DS names no key of its zone, so that resolvers fail.
//!
//! Looked at where parent and child are both kept here, and where a zone is signed here. What is an
//! orphan already may stay one: a change is refused for what it makes worse. What a primary sends is not
//! refused: its zone is not ours to decide on, and others serve it already. It is told.

use std::collections::BTreeMap;

use super::{life, parent};
use crate::maintain::change::Reason;
use crate::maintain::rows::{self, Zone};
use crate::sign::made;
use crate::store::RawRows;
use crate::wire::{Name, RrSet, Type};
use crate::zone::delta::{Delta, set_at};
use crate::zone::{ReadFault, View};

/// The word programs know the rule by.
const RULE: &str = "ds-orphan";

/// Zones that are looked through at a time.
const PAGE: usize = 256;

fn orphan(owner: &Name, text: String) -> Reason {
    Reason::Broken { rule: RULE, owner: owner.clone(), text }
}

/// Whether a DS RRset names a key of a zone. Digests that are not made here are taken on trust.
fn names_one(apex: &Name, ds: &RrSet, dnskeys: Option<&RrSet>) -> bool {
    let Some(dnskeys) = dnskeys else { return false };
    ds.rdatas().iter().any(|ds| {
        let digest = ds.get(3).copied().unwrap_or_default();
        let names = |dnskey: &[u8]| made::ds(apex, dnskey, digest).is_some_and(|made| made == *ds);
        !made::DIGESTS.contains(&digest) || dnskeys.rdatas().iter().any(|key| names(key))
    })
}

fn dnskeys(view: &dyn View) -> Result<Option<RrSet>, ReadFault> {
    Ok(set_at(view, view.apex(), Type::DNSKEY)?.map(|set| set.rrset))
}

/// What speaks against ending a zone: its parent may still vouch for it.
pub(in crate::maintain) fn end<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Option<Reason>, ReadFault> {
    let is_signed = life(rows, zone)?.is_some_and(|life| !life.is_over());
    let text = || {
        format!(
            "{} is signed here and its parent may have a DS: switch DNSSEC off and wait until it is, or force it off with a reason",
            zone.apex
        )
    };
    Ok(is_signed.then(|| orphan(&zone.apex, text())))
}

/// What speaks against a change of a parent: DS that name no key of a child kept here.
pub(in crate::maintain) fn children<R: RawRows + ?Sized>(
    rows: &R,
    delta: &Delta,
) -> Result<Vec<Reason>, ReadFault> {
    let mut reasons = Vec::new();
    for change in delta.changes.iter().filter(|change| change.rtype == Type::DS) {
        let Some(ds) = &change.after else { continue };
        let Some(child) = rows::zone(rows, &change.owner)? else { continue };
        reasons.extend(against(rows, &child, &ds.rrset)?);
    }
    Ok(reasons)
}

/// What speaks against a DS of a child kept here.
fn against<R: RawRows + ?Sized>(
    rows: &R,
    child: &Zone,
    ds: &RrSet,
) -> Result<Option<Reason>, ReadFault> {
    let keys = rows::with_view(rows, child, dnskeys)?;
    if names_one(&child.apex, ds, keys.as_ref()) {
        return Ok(None);
    }
    let owner = &ds.owner;
    let text = match keys {
        Some(_) => format!(
            "{owner} DS names no key of the zone {}: take one of those its DNSSEC status shows",
            child.apex
        ),
        None => format!(
            "{owner} DS is for a zone that is not signed: switch its DNSSEC on, and the DS comes by itself"
        ),
    };
    Ok(Some(orphan(owner, text)))
}

/// The zone that a zone is delegated from, where that is kept here and has a DS which names none of the keys
/// the zone has.
fn forsaken<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Option<Zone>, ReadFault> {
    let Some(above) = parent::parent_here(rows, &zone.apex)? else { return Ok(None) };
    let Some(ds) = parent::ds_here(rows, &above, &zone.apex)? else { return Ok(None) };
    let keys = rows::with_view(rows, zone, dnskeys)?;
    Ok((!names_one(&zone.apex, &ds, keys.as_ref())).then_some(above))
}

/// Why resolvers fail for a zone that others sign, or nobody: a parent kept here has a DS of another key.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn orphaned<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Option<String>, ReadFault> {
    if zone.version == 0 {
        return Ok(None);
    }
    let above = forsaken(rows, zone)?;
    Ok(above.map(|above| {
        format!(
            "{} has a DS that names no key of {}, so that resolvers fail: take it away there, or bring the key back",
            above.apex, zone.apex
        )
    }))
}

/// What speaks against a zone that is new: its parent vouches for a key that it does not have. What it says
/// itself of zones below it was so before.
pub(in crate::maintain) fn begin<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Option<Reason>, ReadFault> {
    let above = forsaken(rows, zone)?;
    Ok(above.map(|above| {
        let text = format!(
            "{} has a DS in {} that names none of the keys it would have: change the DS first, or keep the key it names",
            zone.apex, above.apex
        );
        orphan(&zone.apex, text)
    }))
}

/// How the DS around a zone stood before its content was exchanged.
pub(in crate::maintain) struct Before {
    /// Whether its own named none of its keys.
    is_forsaken: bool,
    /// Those it had of zones kept here.
    children: BTreeMap<Vec<u8>, RrSet>,
}

impl Before {
    pub fn of<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Before, ReadFault> {
        let mut children = BTreeMap::new();
        each_child(rows, zone, |child, ds| {
            children.insert(child.apex.key(), ds);
            Ok(())
        })?;
        Ok(Before { is_forsaken: forsaken(rows, zone)?.is_some(), children })
    }

    /// What speaks against the content that `zone` has now: every DS that lost its key by it.
    pub fn orphans<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        zone: &Zone,
    ) -> Result<Vec<Reason>, ReadFault> {
        let mut reasons = Vec::new();
        if !self.is_forsaken {
            reasons.extend(begin(rows, zone)?);
        }
        each_child(rows, zone, |child, ds| {
            let before = self.children.get(&child.apex.key());
            if before.map(RrSet::rdatas) != Some(ds.rdatas()) {
                reasons.extend(against(rows, child, &ds)?);
            }
            Ok(())
        })?;
        Ok(reasons)
    }
}

/// Calls `with` for every zone kept here that `zone` is the parent of and has a DS for.
fn each_child<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    mut with: impl FnMut(&Zone, RrSet) -> Result<(), ReadFault>,
) -> Result<(), ReadFault> {
    let mut after = None;
    loop {
        let page = rows::below(rows, &zone.apex, after.as_ref(), PAGE)?;
        for child in &page {
            // Of a zone further down another one may be the parent.
            let above = parent::parent_here(rows, &child.apex)?;
            if above.is_some_and(|above| above.id == zone.id)
                && let Some(ds) = parent::ds_here(rows, zone, &child.apex)?
            {
                with(child, ds)?;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.apex.clone()),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Algorithm, SigningKey};

    #[test]
    fn a_ds_names_the_key_it_was_made_of_and_no_other() {
        let apex = Name::parse("example.").unwrap();
        let [one, other] =
            [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519, 0, 257).unwrap());
        let keys = RrSet::new(apex.clone(), Type::DNSKEY, 1, vec![one.dnskey().into()]);
        for digest in made::DIGESTS {
            let ds = |key: &SigningKey| {
                let ds = made::ds(&apex, key.dnskey(), digest).unwrap();
                RrSet::new(apex.clone(), Type::DS, 1, vec![ds])
            };
            assert!(names_one(&apex, &ds(&one), Some(&keys)));
            assert!(!names_one(&apex, &ds(&other), Some(&keys)));
            assert!(!names_one(&apex, &ds(&one), None));
        }
    }
}
