//! Policies: by which rules zones are signed and their keys rolled, under names people choose.
//!
//! A policy belongs to one holder of zones, or to the server and thereby to all. A holder's own comes
//! first. `default` is always there; a policy of that name takes its place.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::maintain::rows::fault;
use crate::sign::rollover::Role;
use crate::sign::{Algorithm, Denial, Policy as Signing, made};
use crate::store::{RawRows, RowError, Rows, Table, Tx};
use crate::zone::ReadFault;

/// (Holder, or empty for the server; name) → policy.
const POLICIES: Table<(String, String), Policy> = Table::new("dnssec policies", *b"dp");

/// The policy of zones whose switch named none.
pub const DEFAULT: &str = "default";

/// Addresses of the parent's servers that a policy may name.
pub const PARENT_SERVERS_MAX: usize = 16;

/// Seconds of the longest wait a policy may set: ten years.
pub const WAIT_S_MAX: u32 = 10 * 366 * 86_400;

/// Octets of a DNSKEY response that passes everywhere without TCP.
pub const DNSKEY_OCTETS_MAX: usize = 1232;

/// By which rules a zone is signed, and its keys live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub algorithm: Algorithm,
    /// Bits of RSA keys.
    pub rsa_bits: u16,
    /// A KSK and a ZSK instead of one key for everything.
    pub split: bool,
    /// How a zone is signed.
    pub signing: Signing,
    /// How long a KSK or CSK is used; 0 for ever.
    pub ksk_lifetime_s: u32,
    /// How long a ZSK is used; 0 for ever.
    pub zsk_lifetime_s: u32,
    /// How long the slowest name server may go on serving what was replaced.
    pub propagation_s: u32,
    /// How long the parent may take from reading a CDS to serving the DS.
    pub parent_delay_s: u32,
    /// How often the parent's servers are asked while something is expected of them.
    pub parent_poll_s: u32,
    /// The parent's servers; found by the operator's resolvers if there are none.
    pub parent_servers: Vec<SocketAddr>,
    /// Digests of DS and CDS.
    pub digests: Vec<u8>,
    /// TTL of the DS that is put into a parent kept here.
    pub ds_ttl_s: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            algorithm: Algorithm::EcdsaP256,
            rsa_bits: 2048,
            split: false,
            signing: Signing::default(),
            ksk_lifetime_s: 0,
            zsk_lifetime_s: 90 * 86_400,
            propagation_s: 3600,
            parent_delay_s: 86_400,
            parent_poll_s: 300,
            parent_servers: Vec::new(),
            digests: vec![2],
            ds_ttl_s: 3600,
        }
    }
}

impl Policy {
    /// The roles of the keys a zone has.
    pub fn roles(&self) -> &'static [Role] {
        match self.split {
            true => &[Role::Ksk, Role::Zsk],
            false => &[Role::Csk],
        }
    }

    /// How long a key of this role is used; none, for ever.
    pub fn lifetime_s(&self, role: Role) -> Option<u64> {
        let seconds = match role {
            Role::Ksk | Role::Csk => self.ksk_lifetime_s,
            Role::Zsk => self.zsk_lifetime_s,
        };
        (seconds > 0).then(|| u64::from(seconds))
    }

    /// Everything that is wrong with it: the field, and why.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut fault = |is_fault: bool, field, text: &str| {
            if is_fault {
                faults.push((field, text.to_owned()));
            }
        };
        let bits = usize::from(self.rsa_bits);
        let is_rsa = matches!(self.algorithm, Algorithm::RsaSha256 | Algorithm::RsaSha512);
        fault(
            is_rsa && !crate::sign::key::RSA_BITS.contains(&bits),
            "rsa_bits",
            "RSA keys have from 2048 to 4096 bits",
        );
        fault(
            is_rsa && self.dnskey_octets() > DNSKEY_OCTETS_MAX,
            "rsa_bits",
            "DNSKEY responses would be larger than 1232 octets: use 2048 bits, one key (split false), or algorithm 13",
        );
        let known = self.digests.iter().all(|digest| made::DIGESTS.contains(digest));
        fault(!known || self.digests.is_empty(), "digests", "DS digests are 2, 4 or both");
        fault(
            self.parent_servers.len() > PARENT_SERVERS_MAX,
            "parent_servers",
            "a policy names at most 16 servers of the parent",
        );
        fault(self.parent_poll_s == 0, "parent_poll_s", "the parent is asked at most every second");
        let lifetimes = [("ksk_lifetime_s", Role::Csk), ("zsk_lifetime_s", Role::Zsk)];
        for (field, role) in lifetimes {
            let short = self.lifetime_s(role).is_some_and(|seconds| seconds < self.shortest_life());
            fault(short, field, "a key must live longer than its rollover takes");
        }
        for (field, seconds) in [
            ("ksk_lifetime_s", self.ksk_lifetime_s),
            ("zsk_lifetime_s", self.zsk_lifetime_s),
            ("propagation_s", self.propagation_s),
            ("parent_delay_s", self.parent_delay_s),
            ("parent_poll_s", self.parent_poll_s),
        ] {
            fault(seconds > WAIT_S_MAX, field, "is longer than ten years");
        }
        if let Err(error) = self.signing.check() {
            faults.push(("validity_s", error.to_string()));
        }
        faults
    }

    /// What a rollover takes at least.
    fn shortest_life(&self) -> u64 {
        2 * (u64::from(self.signing.dnskey_ttl_s) + u64::from(self.propagation_s))
    }

    /// About how large a DNSKEY response is with RSA keys, also while a ZSK is rolled. With two keys that sign it,
    /// as long as a KSK or CSK is rolled, it is larger.
    fn dnskey_octets(&self) -> usize {
        let key = usize::from(self.rsa_bits) / 8;
        let keys = if self.split { 3 } else { 1 };
        60 + keys * (key + 20) + (key + 50)
    }
}

/// The words of a [`Denial`].
pub fn denial_word(denial: Denial) -> &'static str {
    match denial {
        Denial::Nsec => "nsec",
        Denial::Nsec3 { opt_out: false } => "nsec3",
        Denial::Nsec3 { opt_out: true } => "nsec3_opt_out",
    }
}

/// The policy of this name for a zone of `org`; none when there is none.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn find<R: RawRows + ?Sized>(
    rows: &R,
    org: &str,
    name: &str,
) -> Result<Option<Policy>, ReadFault> {
    let of = |holder: &str| rows.get(&POLICIES, &(holder.into(), name.into())).map_err(fault);
    let found = match of(org)? {
        Some(policy) => Some(policy),
        None => of("")?,
    };
    Ok(found.or_else(|| (name == DEFAULT).then(Policy::default)))
}

/// The policies of `org`, or of the server for an empty one, by name.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn all_of<R: RawRows + ?Sized>(
    rows: &R,
    org: &str,
) -> Result<Vec<(String, Policy)>, ReadFault> {
    let found = rows.scan(&POLICIES, &org.to_owned(), None, usize::MAX).map_err(fault)?;
    Ok(found.into_iter().map(|((_, name), policy)| (name, policy)).collect())
}

/// Keeps a policy of `org`, or of the server for an empty one.
///
/// # Errors
///
/// When the store does not take it.
pub fn put(tx: &mut Tx<'_>, org: &str, name: &str, policy: &Policy) -> Result<(), RowError> {
    tx.put(&POLICIES, &(org.to_owned(), name.to_owned()), policy)
}

/// Forgets a policy.
///
/// # Errors
///
/// When the store does not take it.
pub fn delete(tx: &mut Tx<'_>, org: &str, name: &str) -> Result<(), RowError> {
    tx.delete(&POLICIES, &(org.to_owned(), name.to_owned()))
}
