//! Signing keys in and out: brought along by who moves a zone here, and taken along by who leaves.

use serde::{Deserialize, Serialize};

use super::dnssec::{DnssecError, reason, record, through};
use super::zone as holding;
use crate::maintain::dnssec;
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::Kind as Happened;
use crate::manage::fault::Problem;
use crate::sign::{SigningKey, keyfile};
use crate::wire::Name;

/// A signing key, as the two files that other signers keep.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyFiles {
    /// Its DNSKEY record.
    pub public: String,
    /// Its secret: BIND's `.private` file, or PKCS#8 as Knot DNS keeps it.
    pub private: String,
}

/// What is shown of a key that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImportedKey {
    pub tag: u16,
    pub algorithm: u8,
}

/// Takes a key in. A zone that is signed rolls over to it; another one uses it when it is switched on.
///
/// # Errors
///
/// [`DnssecError::Invalid`] with which half is wrong; [`DnssecError::State`] when its tag is taken.
pub fn import(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    files: &KeyFiles,
) -> Result<ImportedKey, DnssecError> {
    through(manage, |door| {
        let held = holding::fetch(door.tx(), context, Permission::DnssecKeys, apex)?;
        let key = keyfile::read(&held.zone.apex, &files.public, &files.private)
            .map_err(|error| DnssecError::Invalid(vec![Problem::at("private", "key", error)]))?;
        let life = dnssec::life(door.tx(), &held.zone)?;
        let mut others = life.iter().flat_map(|life| &life.foreign);
        if others.any(|(tag, dnskey)| tag.0 == key.tag() && dnskey != key.dnskey()) {
            let text = format!("{apex} has another provider's key with the tag {}", key.tag());
            return Err(DnssecError::State(text));
        }
        door.put_signing_key(&held.zone.apex, &key).map_err(reason)?;
        if life.is_some_and(|life| life.rollover.is_on()) {
            let known = |life: &mut dnssec::Life, policy: &dnssec::Policy, now_s| {
                fits(&key, &life.policy, policy)?;
                dnssec::want(life, policy, &key, now_s);
                Ok(format!("key {} brought along", key.tag()))
            };
            door.change_life(&held.zone.apex, known).map_err(reason)?;
        }
        record(door, context, &held, Happened::DnssecKeyImported)?;
        Ok(ImportedKey { tag: key.tag(), algorithm: key.algorithm().number() })
    })
}

/// A key that a zone's policy has no place for would leave it at once: better said than done.
fn fits(key: &SigningKey, name: &str, policy: &dnssec::Policy) -> Result<(), String> {
    let (number, role) = (key.algorithm().number(), dnssec::role_of(key.dnskey(), policy));
    if number == policy.algorithm.number() && policy.roles().contains(&role) {
        return Ok(());
    }
    let roles: Vec<&str> = policy.roles().iter().map(|role| role.word()).collect();
    Err(format!(
        "key {} is a {} of algorithm {number}, and policy {name} has {} of algorithm {}: give the zone a policy that fits first",
        key.tag(),
        role.word(),
        roles.join(" and "),
        policy.algorithm.number()
    ))
}

/// Gives a key out, with its secret. That it was given out stands in the events.
///
/// # Errors
///
/// [`DnssecError::Stop`] when there is no such key in reach.
pub fn export(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    tag: u16,
) -> Result<KeyFiles, DnssecError> {
    let maintain = manage.maintain.clone();
    through(manage, |door| {
        let held = holding::fetch(door.tx(), context, Permission::DnssecKeys, apex)?;
        let key = maintain.signing_key(door.tx(), &held.zone, tag).map_err(reason)?;
        let key = key.ok_or(NoAccess::NotFound)?;
        let files = keyfile::write(&held.zone.apex, &key)
            .map_err(|error| DnssecError::State(error.to_string()))?;
        record(door, context, &held, Happened::DnssecKeyExported)?;
        Ok(KeyFiles { public: files.public, private: files.private })
    })
}
