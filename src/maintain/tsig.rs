//! TSIG keys as they are kept: their secrets sealed, their use bounded, and the ring that serving
//! looks at.
//!
//! While a secret is being changed two are good: requests are taken with either, and what the
//! server itself asks is signed with the new one.
//!
//! Promises: a secret leaves the store only opened by the instance key, and only into the ring; a
//! key whose secret does not open is left out and named in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows::fault;
use super::{Maintain, Zone};
use crate::seal::{SealError, Sealer};
use crate::serve::Keyring;
use crate::store::{RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::tsig::{Algorithm, KeyError};
use crate::wire::{Name, TsigKey};
use crate::zone::ReadFault;

/// Key of the name → the key.
const KEYS: Table<Tail, Kept> = Table::new("tsig keys", *b"kt");
/// (Holder, key of the name).
const KEYS_OF: Table<(String, Tail), ()> = Table::new("tsig keys by holder", *b"kh");

/// One TSIG key, its secrets sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// In lower case; unique on this server, for requests tell nothing else.
    pub name: Name,
    pub algorithm: Algorithm,
    /// Who holds it, opaque here.
    pub org: String,
    /// The zones it may be used for; all of its holder's if there are none.
    pub zones: Vec<Name>,
    /// Octets of the shortest MAC taken; none is the whole.
    pub mac_octets: Option<u8>,
    secret: Vec<u8>,
    previous: Option<Previous>,
    /// Microseconds since 1970.
    pub created_us: u64,
    /// Microseconds since 1970.
    pub rotated_us: Option<u64>,
}

/// The secret before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Previous {
    secret: Vec<u8>,
    /// Microseconds since 1970.
    until_us: u64,
}

/// Why a key cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TsigError {
    Key(KeyError),
    Seal(SealError),
    /// The server has no instance key.
    NoSealer,
}

impl std::fmt::Display for TsigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TsigError::Key(error) => error.fmt(f),
            TsigError::Seal(error) => error.fmt(f),
            TsigError::NoSealer => f.write_str("there is no instance key to seal secrets with"),
        }
    }
}

impl std::error::Error for TsigError {}

impl Kept {
    /// Whether the key may be used for a zone, as far as its own list of zones says.
    pub fn covers(&self, apex: &Name) -> bool {
        self.zones.is_empty() || self.zones.contains(apex)
    }

    /// Until when the secret before is good, in microseconds since 1970.
    pub fn previous_until_us(&self) -> Option<u64> {
        self.previous.as_ref().map(|previous| previous.until_us)
    }

    /// Its secret, as it is kept.
    pub(super) fn sealed(&self) -> &[u8] {
        &self.secret
    }

    fn open(&self, sealer: &Sealer, sealed: &[u8]) -> Result<TsigKey, TsigError> {
        let secret = sealer.open(&place(&self.name), sealed).map_err(TsigError::Seal)?;
        let key = TsigKey::new(self.name.clone(), self.algorithm, &secret);
        let key = key.map_err(TsigError::Key)?;
        match self.mac_octets {
            Some(octets) => key.truncated_to(octets.into()).map_err(TsigError::Key),
            None => Ok(key),
        }
    }
}

/// Where a secret opens: as the secret of the key of this name.
fn place(name: &Name) -> Vec<u8> {
    [b"tsig ", name.to_lowercase().as_wire()].concat()
}

/// The key of this name.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn get<R: RawRows + ?Sized>(rows: &R, name: &Name) -> Result<Option<Kept>, ReadFault> {
    rows.get(&KEYS, &Tail(name.key())).map_err(fault)
}

/// Every key.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub(super) fn all<R: RawRows + ?Sized>(rows: &R) -> Result<Vec<Kept>, ReadFault> {
    let kept = rows.range(&KEYS, Tail::default().., usize::MAX).map_err(fault)?;
    Ok(kept.into_iter().map(|(_, kept)| kept).collect())
}

/// The keys that `org` holds, behind `after`, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn of<R: RawRows + ?Sized>(
    rows: &R,
    org: &str,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<Kept>, ReadFault> {
    let after = after.map(|name| (org.to_owned(), Tail(name.key())));
    let found = rows.scan(&KEYS_OF, &org.to_owned(), after.as_ref(), limit).map_err(fault)?;
    let kept = found.into_iter().map(|((_, name), ())| rows.get(&KEYS, &name).map_err(fault));
    kept.filter_map(Result::transpose).collect()
}

/// Writes a key.
pub fn put(tx: &mut Tx<'_>, key: &Kept) -> Result<(), RowError> {
    let name = Tail(key.name.key());
    tx.put(&KEYS_OF, &(key.org.clone(), name.clone()), &())?;
    tx.put(&KEYS, &name, key)
}

/// Takes a key away.
pub fn delete(tx: &mut Tx<'_>, key: &Kept) -> Result<(), RowError> {
    let name = Tail(key.name.key());
    tx.delete(&KEYS_OF, &(key.org.clone(), name.clone()))?;
    tx.delete(&KEYS, &name)
}

impl Maintain {
    /// The keys that requests may be signed with.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.inner.keyring
    }

    /// The key of this name to sign with; none if there is no such key.
    pub fn tsig_key(&self, name: &Name) -> Option<Arc<TsigKey>> {
        self.keyring().find(name, self.settings().clock.now_us() / 1_000_000).into_iter().next()
    }

    /// A key to be kept, with its secret sealed.
    ///
    /// # Errors
    ///
    /// [`TsigError`].
    pub fn seal_tsig(
        &self,
        key: &TsigKey,
        mac_octets: Option<u8>,
        org: String,
        zones: Vec<Name>,
    ) -> Result<Kept, TsigError> {
        if let Some(octets) = mac_octets {
            key.clone().truncated_to(octets.into()).map_err(TsigError::Key)?;
        }
        Ok(Kept {
            name: key.name.clone(),
            algorithm: key.algorithm,
            org,
            zones,
            mac_octets,
            secret: self.seal(&key.name, key.secret())?,
            previous: None,
            created_us: self.settings().clock.now_us(),
            rotated_us: None,
        })
    }

    /// The same key with another secret; the one before stays good for `overlap_s` seconds.
    ///
    /// # Errors
    ///
    /// [`TsigError`].
    pub fn reseal_tsig(
        &self,
        kept: &Kept,
        key: &TsigKey,
        overlap_s: u64,
    ) -> Result<Kept, TsigError> {
        let now_us = self.settings().clock.now_us();
        let until_us = now_us.saturating_add(overlap_s.saturating_mul(1_000_000));
        let previous = Previous { secret: kept.secret.clone(), until_us };
        Ok(Kept {
            secret: self.seal(&kept.name, key.secret())?,
            previous: (overlap_s > 0).then_some(previous),
            rotated_us: Some(now_us),
            ..kept.clone()
        })
    }

    fn seal(&self, name: &Name, secret: &[u8]) -> Result<Vec<u8>, TsigError> {
        let sealer = self.settings().sealer.as_ref().ok_or(TsigError::NoSealer)?;
        sealer.seal(&place(name), secret).map_err(TsigError::Seal)
    }

    /// Makes the ring of what the store has now. To be called when keys were changed.
    pub fn load_keyring(&self) {
        let kept = self.store().read(|rows| all(rows));
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "TSIG keys cannot be read: {error}");
                return;
            }
        };
        let Some(sealer) = self.settings().sealer.as_ref() else { return };
        let mut keys = Vec::new();
        for kept in kept {
            let previous = kept.previous.as_ref();
            let previous = previous.map(|it| (it.secret.as_slice(), Some(it.until_us / 1_000_000)));
            for (sealed, until_s) in [(kept.secret.as_slice(), None)].into_iter().chain(previous) {
                match kept.open(sealer, sealed) {
                    Ok(key) => keys.push((key, until_s)),
                    Err(error) => {
                        let name = &kept.name;
                        tracing::error!(%name, "TSIG key {name} cannot be used: {error}");
                    }
                }
            }
        }
        self.keyring().replace(keys);
    }
}

/// Whether a key that `holders` may use — its zone's holder and whoever stands above — is good for
/// `zone`.
pub fn is_good_for(kept: &Kept, zone: &Zone, holders: &[String]) -> bool {
    kept.covers(&zone.apex) && holders.contains(&kept.org)
}
