//! Zones that are signed here: their plans, their keys, and how far the signing is.
//!
//! Promises: a key is kept before anything it signed is; its secret is sealed.

use serde::{Deserialize, Serialize};

use super::apply::Refused;
use super::change::{AppliedZone, Reason};
use super::commit::Door;
use super::rows::{self, fault};
use super::{Maintain, Zone};
use crate::seal::{SealError, Sealer};
use crate::sign::{Plan, SigningKey};
use crate::store::{RawRows, Rows, Table};
use crate::wire::Name;
use crate::zone::ReadFault;

/// Zone → how it is signed.
pub(super) const SIGNINGS: Table<u32, Signing> = Table::new("zones signed here", *b"zp");
/// (Zone, key tag) → DNSKEY and sealed secret.
const SIGNING_KEYS: Table<(u32, u16), KeptKey> = Table::new("signing keys", *b"zk");

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
    /// When signatures are to be made anew, in seconds since 1970.
    pub due_s: u64,
    /// Why the last attempt to keep it signed failed; it goes on being served as it is.
    pub fault: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    dnskey: Vec<u8>,
    sealed: Vec<u8>,
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

fn place(zone: u32, tag: u16) -> Vec<u8> {
    [b"signing key".as_slice(), &zone.to_be_bytes(), &tag.to_be_bytes()].concat()
}

fn sealing(error: SealError) -> Reason {
    Reason::Signing { text: error.to_string() }
}

impl Maintain {
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
    ) -> Result<Option<SigningKey>, Reason> {
        let kept = rows.get(&SIGNING_KEYS, &(zone.id, tag)).map_err(rows::fault);
        let Some(kept) = kept.map_err(Reason::Unreadable)? else { return Ok(None) };
        let sealer = self.settings().sealer.as_ref().ok_or_else(no_sealer)?;
        let secret = sealer.open(&place(zone.id, tag), &kept.sealed).map_err(sealing)?;
        let key = SigningKey::from_parts(&kept.dnskey, &secret);
        Ok(Some(key.map_err(|error| Reason::Signing { text: error.to_string() })?))
    }
}

fn no_sealer() -> Reason {
    Reason::Signing { text: "there is no instance key to keep signing keys secret with".into() }
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
        let sealer: &Sealer = self.sealer.as_ref().ok_or_else(no_sealer)?;
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
        if signing.is_some_and(|signing| signing.plan.keys.iter().any(|key| key.tag == tag)) {
            let text = format!("{apex} is signed with the key {tag}");
            return Err(Reason::Signing { text });
        }
        self.tx.delete(&SIGNING_KEYS, &(zone.id, tag)).map_err(unreadable)
    }

    pub(super) fn set_signing(
        &mut self,
        apex: &Name,
        plan: Option<&Plan>,
    ) -> Result<AppliedZone, Refused> {
        let zone = self.changeable(apex)?;
        if let Some(plan) = plan {
            plan.check().map_err(|error| Reason::Signing { text: error.to_string() })?;
        }
        let _ = zone;
        Err(Reason::Signing { text: "signing is not built yet".into() }.into())
    }
}

fn unreadable(error: crate::store::RowError) -> Reason {
    Reason::Unreadable(fault(error))
}
