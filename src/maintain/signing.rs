//! Zones that are signed here: their plans, their keys, and how far the signing is.
//!
//! Promises: a key is kept before anything it signed is; its secret is sealed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Zone;
use super::change::Reason;
use super::commit::Door;
use super::rows::{self, fault};
use crate::seal::{SealError, Sealer};
use crate::sign::{Plan, SigningKey, is_made_at_apex};
use crate::store::{RawRows, RowError, Rows, Table, Tx};
use crate::wire::{Name, Type};
use crate::zone::ReadFault;

/// Zone → how it is signed.
pub(super) const SIGNINGS: Table<u32, Signing> = Table::new("zones signed here", *b"zp");
/// (Zone, key tag) → DNSKEY and sealed secret.
pub(super) const SIGNING_KEYS: Table<(u32, u16), KeptKey> = Table::new("signing keys", *b"zk");
/// (Seconds since 1970, zone) to be looked at then.
pub(super) const SIGNINGS_DUE: Table<(u64, u32), ()> = Table::new("signing due", *b"ze");

/// (Seconds since 1970, zone) whose first signature expires then.
pub(super) const ENDS: Table<(u64, u32), ()> = Table::new("signatures expire", *b"zf");

/// Keys held ready beside the store; when there are more, all are opened anew as they are needed.
const KEYS_READY_MAX: usize = 16 * 1024;

/// How a zone is signed, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signing {
    pub plan: Plan,
    /// Counts the plans of this zone, from 1.
    pub number: u64,
    /// Whether every record of the zone is signed as the plan says.
    pub complete: bool,
    /// When the first signature expires, in seconds since 1970.
    pub first_expiry_s: u64,
    /// When the zone is to be looked at again, in seconds since 1970.
    pub due_s: u64,
    /// Why the last attempt to keep it signed failed; it goes on being served as it is.
    pub fault: Option<String>,
    pub(super) served: Served,
}

/// Which plan the records of a zone follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Served {
    /// None yet: it is not signed.
    Nothing,
    /// The current one.
    Plan,
    /// The one before.
    Before(Box<Plan>),
}

impl Signing {
    /// The plan by which changes are signed now; none while the zone is still unsigned.
    pub(super) fn active(&self) -> Option<&Plan> {
        match &self.served {
            Served::Nothing => None,
            Served::Plan => Some(&self.plan),
            Served::Before(plan) => Some(plan),
        }
    }

    /// Whether records of this type at the apex are made here, so that nobody else may change them.
    pub fn makes_at_apex(&self, rtype: Type) -> bool {
        is_made_at_apex(rtype) || rtype == Type::CSYNC && self.plan.policy.csync
    }

    /// What a new plan finds served.
    pub(super) fn left(self) -> Served {
        match self.served {
            Served::Plan => Served::Before(Box::new(self.plan)),
            other => other,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptKey {
    pub dnskey: Vec<u8>,
    /// Empty once the secret was given up (see [`secrets`](super::secrets)).
    pub sealed: Vec<u8>,
}

/// Keys, opened and held ready, and what opens them.
#[derive(Clone)]
pub(super) struct SigningKeys {
    sealer: Option<Sealer>,
    ready: Arc<Mutex<HashMap<(u32, u16), Arc<SigningKey>>>>,
}

impl SigningKeys {
    pub fn new(sealer: Option<Sealer>) -> SigningKeys {
        SigningKeys { sealer, ready: Arc::default() }
    }

    /// Whether new keys can be kept: there is an instance key to seal them with.
    pub fn can_keep(&self) -> bool {
        self.sealer.is_some()
    }

    /// Whether a key of a zone is kept, and this server's instance key sealed it.
    pub fn opens<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        zone: u32,
        tag: u16,
    ) -> Result<bool, RowError> {
        let kept = rows.get(&SIGNING_KEYS, &(zone, tag))?;
        let sealer = self.sealer.as_ref();
        Ok(kept.zip(sealer).is_some_and(|(kept, sealer)| sealer.has_sealed(&kept.sealed)))
    }

    fn sealer(&self) -> Result<&Sealer, Reason> {
        let text = "there is no instance key to keep signing keys secret with";
        self.sealer.as_ref().ok_or_else(|| Reason::Signing { text: text.into() })
    }

    /// A key of a zone; none if none of this tag is kept.
    pub fn key<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        zone: u32,
        tag: u16,
    ) -> Result<Option<Arc<SigningKey>>, Reason> {
        let row = (zone, tag);
        let Some(kept) = rows.get(&SIGNING_KEYS, &row).map_err(unreadable)? else {
            return Ok(None);
        };
        let ready = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        // A transaction that was taken back may have left another key under this tag.
        let known = ready().get(&row).filter(|key| key.dnskey() == kept.dnskey).cloned();
        if known.is_some() {
            return Ok(known);
        }
        if kept.sealed.is_empty() {
            let text = format!("the secret of signing key {tag} was given up");
            return Err(Reason::Signing { text });
        }
        let secret = self.sealer()?.open(&place(zone, tag), &kept.sealed).map_err(sealing)?;
        let key = SigningKey::from_parts(&kept.dnskey, &secret);
        let key = Arc::new(key.map_err(|error| Reason::Signing { text: error.to_string() })?);
        let mut ready = ready();
        if ready.len() >= KEYS_READY_MAX {
            ready.clear();
        }
        ready.insert(row, Arc::clone(&key));
        Ok(Some(key))
    }
}

fn place(zone: u32, tag: u16) -> Vec<u8> {
    [b"signing key".as_slice(), &zone.to_be_bytes(), &tag.to_be_bytes()].concat()
}

fn sealing(error: SealError) -> Reason {
    Reason::Signing { text: error.to_string() }
}

fn unreadable(error: RowError) -> Reason {
    Reason::Unreadable(fault(error))
}

/// How `zone` is signed; none if it is not.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn of<R: RawRows + ?Sized>(rows: &R, zone: &Zone) -> Result<Option<Signing>, ReadFault> {
    rows.get(&SIGNINGS, &zone.id).map_err(fault)
}

/// The DNSKEY RDATA of every key kept for `zone`, by tag.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn dnskeys<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
) -> Result<Vec<(u16, Vec<u8>)>, ReadFault> {
    let keys = rows.scan(&SIGNING_KEYS, &zone.id, None, usize::MAX).map_err(fault)?;
    Ok(keys.into_iter().map(|((_, tag), key)| (tag, key.dnskey)).collect())
}

/// The zones to be looked at next, with when, in seconds since 1970; at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn schedule<R: RawRows + ?Sized>(
    rows: &R,
    limit: usize,
) -> Result<Vec<(u64, Zone)>, ReadFault> {
    let due = rows.range(&SIGNINGS_DUE, .., limit).map_err(fault)?;
    let zones = due
        .into_iter()
        .map(|((due_s, id), ())| Ok(rows::by_id(rows, id)?.map(|zone| (due_s, zone))));
    zones.filter_map(Result::transpose).collect()
}

/// The zones whose signatures expire first, with when, in seconds since 1970, behind `after`; at most
/// `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn ends<R: RawRows + ?Sized>(
    rows: &R,
    after: Option<(u64, u32)>,
    limit: usize,
) -> Result<Vec<(u64, u32)>, ReadFault> {
    let from = after.map_or((0, 0), |(end_s, id)| (end_s, id.saturating_add(1)));
    let found = rows.range(&ENDS, from.., limit).map_err(fault)?;
    Ok(found.into_iter().map(|(key, ())| key).collect())
}

/// Keeps how a zone is signed, when it is to be looked at, and when its first signature expires.
pub(super) fn put(tx: &mut Tx<'_>, id: u32, signing: &Signing) -> Result<(), RowError> {
    unlist(tx, id)?;
    tx.put(&SIGNINGS_DUE, &(signing.due_s, id), &())?;
    if signing.first_expiry_s > 0 {
        tx.put(&ENDS, &(signing.first_expiry_s, id), &())?;
    }
    tx.put(&SIGNINGS, &id, signing)
}

fn unlist(tx: &mut Tx<'_>, id: u32) -> Result<(), RowError> {
    let Some(old) = tx.get(&SIGNINGS, &id)? else { return Ok(()) };
    tx.delete(&SIGNINGS_DUE, &(old.due_s, id))?;
    tx.delete(&ENDS, &(old.first_expiry_s, id))
}

/// Forgets that a zone is signed.
pub(super) fn delete(tx: &mut Tx<'_>, id: u32) -> Result<(), RowError> {
    unlist(tx, id)?;
    tx.delete(&SIGNINGS, &id)
}

/// Forgets all keys of a zone.
pub(super) fn delete_keys(tx: &mut Tx<'_>, id: u32) -> Result<(), RowError> {
    for (key, _) in tx.scan(&SIGNING_KEYS, &id, None, usize::MAX)? {
        tx.delete(&SIGNING_KEYS, &key)?;
    }
    Ok(())
}

impl super::Maintain {
    /// A key of `zone` with its secret, to export or to sign with; none if there is none of this tag.
    ///
    /// # Errors
    ///
    /// [`Reason::Signing`] when it does not open, [`Reason::Unreadable`] when the store fails.
    pub fn signing_key<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        zone: &Zone,
        tag: u16,
    ) -> Result<Option<Arc<SigningKey>>, Reason> {
        self.signing_keys().key(rows, zone.id, tag)
    }
}

impl Door<'_, '_> {
    /// Keeps a key for a zone, its secret sealed.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownZone`]; [`Reason::Signing`] when the zone has a key with this tag, or the
    /// secret cannot be sealed.
    pub fn put_signing_key(&mut self, apex: &Name, key: &SigningKey) -> Result<(), Reason> {
        let zone = rows::zone(self.tx, apex).map_err(Reason::Unreadable)?;
        let zone = zone.ok_or(Reason::UnknownZone)?;
        let row = (zone.id, key.tag());
        if self.tx.contains(&SIGNING_KEYS, &row).map_err(unreadable)? {
            let text = format!("{apex} has a key with the tag {} already", key.tag());
            return Err(Reason::Signing { text });
        }
        let sealer = self.signing_keys.sealer()?;
        let sealed = sealer.seal(&place(zone.id, key.tag()), key.secret()).map_err(sealing)?;
        let kept = KeptKey { dnskey: key.dnskey().to_vec(), sealed };
        self.tx.put(&SIGNING_KEYS, &row, &kept).map_err(unreadable)
    }

    /// Forgets a key of a zone. No plan may name it any more.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownZone`]; [`Reason::Signing`] when the zone's plan names it.
    pub fn drop_signing_key(&mut self, apex: &Name, tag: u16) -> Result<(), Reason> {
        let zone = rows::zone(self.tx, apex).map_err(Reason::Unreadable)?;
        let zone = zone.ok_or(Reason::UnknownZone)?;
        let signing = of(self.tx, &zone).map_err(Reason::Unreadable)?;
        let names = |plan: &Plan| plan.keys.iter().any(|key| key.tag == tag);
        if signing
            .is_some_and(|signing| names(&signing.plan) || signing.active().is_some_and(names))
        {
            let text = format!("{apex} is signed with the key {tag}");
            return Err(Reason::Signing { text });
        }
        self.tx.delete(&SIGNING_KEYS, &(zone.id, tag)).map_err(unreadable)
    }
}
