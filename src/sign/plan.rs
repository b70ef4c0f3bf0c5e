//! What a zone is signed with, and how: the plan that the signer carries out.
//!
//! A plan names keys by their tags; in one zone no two keys have the same. Each key has up to three
//! parts, and a rollover is a run of plans that gives and takes them one at a time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Algorithm;

/// Keys of one zone, its own and foreign ones together: a DNSKEY set must fit into a message.
pub const KEYS_MAX: usize = 16;

/// How a zone is signed: by which keys, what else its apex announces, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub keys: Vec<KeyUse>,
    /// RDATA of DNSKEY records that other signers of the zone have ([RFC 8901](https://www.rfc-editor.org/rfc/rfc8901) §2.1.2).
    pub foreign_keys: Vec<Box<[u8]>>,
    /// RDATA of the CDS records at the apex; none, no CDS.
    pub cds: Vec<Box<[u8]>>,
    /// RDATA of the CDNSKEY records at the apex; none, no CDNSKEY.
    pub cdnskey: Vec<Box<[u8]>>,
    pub policy: Policy,
}

/// One key's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    pub tag: u16,
    pub algorithm: Algorithm,
    /// Whether it stands in the DNSKEY set.
    pub published: bool,
    /// Whether it signs the DNSKEY, CDS and CDNSKEY sets.
    pub signs_keys: bool,
    /// Whether it signs everything else.
    pub signs_zone: bool,
}

/// The rules by which a zone is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub denial: Denial,
    /// How long a new signature is valid, at least; longer where the SOA's EXPIRE asks for it.
    pub validity_s: u32,
    /// How long before it expires a signature is made anew, at least.
    pub refresh_s: u32,
    /// Signatures made at one time expire within so long of each other, so that renewing them is spread.
    pub jitter_s: u32,
    /// How far back a signature says it was made: validators' clocks differ.
    pub inception_s: u32,
    /// TTL of the DNSKEY, CDS and CDNSKEY sets.
    pub dnskey_ttl_s: u32,
    /// Whether the apex has a digest of the zone ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976)), made anew by every commit; see
    /// [`zonemd::OCTETS_MAX`](super::zonemd::OCTETS_MAX) for what that costs.
    pub zonemd: bool,
    /// Whether the apex asks the parent to copy NS and glue ([RFC 7477](https://www.rfc-editor.org/rfc/rfc7477)).
    pub csync: bool,
}

/// How a zone denies what it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Denial {
    #[default]
    Nsec,
    /// Without salt and further iterations ([RFC 9276](https://www.rfc-editor.org/rfc/rfc9276) §3.1). `opt_out` leaves delegations without DS
    /// out of the chain ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §6).
    Nsec3 { opt_out: bool },
}

const DAY_S: u32 = 24 * 3600;

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            denial: Denial::Nsec,
            validity_s: 14 * DAY_S,
            refresh_s: 5 * DAY_S,
            jitter_s: 3 * DAY_S,
            inception_s: 3600,
            dnskey_ttl_s: 3600,
            zonemd: false,
            csync: false,
        }
    }
}

/// What is wrong with a plan. Whoever made it mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// No key signs the zone, or none that is published signs the keys.
    Nobody(&'static str),
    /// Two keys have one tag.
    Tags(u16),
    /// More keys than [`KEYS_MAX`].
    TooMany,
    /// Times that do not leave a signature room to live.
    Times(&'static str),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Nobody(what) => write!(f, "no key signs {what}"),
            PlanError::Tags(tag) => write!(f, "two keys have the tag {tag}"),
            PlanError::TooMany => write!(f, "a zone has at most {KEYS_MAX} keys"),
            PlanError::Times(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Whether a zone can be signed like this at all.
    ///
    /// # Errors
    ///
    /// The first [`PlanError`] there is.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.keys.len() + self.foreign_keys.len() > KEYS_MAX {
            return Err(PlanError::TooMany);
        }
        let mut tags: Vec<u16> = self.keys.iter().map(|key| key.tag).collect();
        tags.sort_unstable();
        for pair in tags.windows(2) {
            if let [one, two] = pair
                && one == two
            {
                return Err(PlanError::Tags(*one));
            }
        }
        if !self.keys.iter().any(|key| key.published && key.signs_keys) {
            return Err(PlanError::Nobody("the DNSKEY set"));
        }
        if !self.keys.iter().any(|key| key.published && key.signs_zone) {
            return Err(PlanError::Nobody("the zone"));
        }
        self.policy.check()
    }
}

impl Policy {
    /// Whether its times leave a signature room to live.
    ///
    /// # Errors
    ///
    /// [`PlanError::Times`].
    pub fn check(&self) -> Result<(), PlanError> {
        if self.refresh_s < 3600 {
            return Err(PlanError::Times(
                "signatures are made anew at least an hour before they expire",
            ));
        }
        let room_s = u64::from(self.validity_s).saturating_sub(self.refresh_s.into());
        if room_s < 2 * u64::from(self.jitter_s) + 3600 {
            return Err(PlanError::Times(
                "validity is shorter than refresh, twice the jitter and an hour together",
            ));
        }
        if self.validity_s > VALIDITY_MAX_S {
            return Err(PlanError::Times("validity is longer than 180 days"));
        }
        if self.inception_s > DAY_S {
            return Err(PlanError::Times("inception is more than a day back"));
        }
        Ok(())
    }
}

/// The longest validity a policy may ask for.
pub const VALIDITY_MAX_S: u32 = 180 * DAY_S;
