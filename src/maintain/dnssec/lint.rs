//! Orphans: changes after which a DS names no key of its zone, so that resolvers fail.
//!
//! Looked at where parent and child are both kept here, and where a zone is signed here. What is an
//! orphan already may stay one: a change is refused for what it makes worse.

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
        let keys = rows::with_view(rows, &child, dnskeys)?;
        if names_one(&child.apex, &ds.rrset, keys.as_ref()) {
            continue;
        }
        let text = match keys {
            Some(_) => format!(
                "{} DS names no key of the zone {}: take one of those its DNSSEC status shows",
                change.owner, child.apex
            ),
            None => format!(
                "{} DS is for a zone that is not signed: switch its DNSSEC on, and the DS comes by itself",
                change.owner
            ),
        };
        reasons.push(orphan(&change.owner, text));
    }
    Ok(reasons)
}

/// What speaks against new content of a zone: none of its keys is one that its parent vouches for.
pub(in crate::maintain) fn content<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    new: &dyn View,
) -> Result<Option<Reason>, ReadFault> {
    let Some(above) = parent::parent_here(rows, &zone.apex)? else { return Ok(None) };
    let Some(ds) = parent::ds_here(rows, &above, &zone.apex)? else { return Ok(None) };
    let before = rows::with_view(rows, zone, dnskeys)?;
    let after = dnskeys(new)?;
    let is_worse =
        names_one(&zone.apex, &ds, before.as_ref()) && !names_one(&zone.apex, &ds, after.as_ref());
    let text = format!(
        "{} has a DS in {} that none of the new keys answers to: change the DS first, or keep the key it names",
        zone.apex, above.apex
    );
    Ok(is_worse.then(|| orphan(&zone.apex, text)))
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
