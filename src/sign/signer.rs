//! The signer: one zone, its plan and its keys at one moment.
//!
//! Which keys sign an RRset, when a signature expires, and whether one that is there is still good.
//! A signature that stands beside its records was made over them: whoever changes records drops it.

use std::fmt;
use std::sync::Arc;

use super::key::{KeyError, SigningKey};
use super::plan::{Denial, KeyUse, Plan, PlanError};
use super::rrsig::{self, Rrsig, Signable, Span};
use super::zonemd;
use crate::wire::{Name, RrSet, Serial, Type};
use crate::zone::delta::{Set, SetChange, set_at};
use crate::zone::{ReadFault, View};

/// How much longer than the zone's EXPIRE a signature lives at least.
const EXPIRE_MARGIN_S: u32 = 3600;

/// How long a signature is left alone at least.
const ROOM_MIN_S: u32 = 3600;

/// EXPIRE of a SOA that a zone signed here may have at most: signatures live longer than it.
pub const EXPIRE_MAX_S: u32 = 60 * 24 * 3600;

/// How the times at which signatures expire are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// All of a zone together: for small ones, so that renewing them is one version.
    Zones,
    /// Each RRset by itself.
    Sets,
}

/// Why nothing was signed.
#[derive(Debug)]
pub enum SignError {
    /// The plan cannot be carried out.
    Plan(PlanError),
    /// A key of the plan is missing.
    NoKey { tag: u16 },
    /// Signing failed.
    Key(KeyError),
    /// The zone has no SOA to take times from.
    NoSoa,
    /// The zone's EXPIRE is longer than [`EXPIRE_MAX_S`].
    Expire { expire_s: u32 },
    /// A hashed owner would be longer than a name may be.
    LongApex,
    /// The zone cannot be read.
    Unreadable(ReadFault),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::Plan(error) => error.fmt(f),
            SignError::NoKey { tag } => write!(f, "signing key {tag} is missing"),
            SignError::Key(error) => error.fmt(f),
            SignError::NoSoa => f.write_str("zone has no SOA"),
            SignError::Expire { expire_s } => write!(
                f,
                "SOA has EXPIRE {expire_s}: {EXPIRE_MAX_S} is the most for a signed zone, whose signatures must outlive it"
            ),
            SignError::LongApex => f.write_str("zone name is too long for NSEC3: use NSEC"),
            SignError::Unreadable(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for SignError {}

impl From<ReadFault> for SignError {
    fn from(fault: ReadFault) -> SignError {
        SignError::Unreadable(fault)
    }
}

impl From<KeyError> for SignError {
    fn from(error: KeyError) -> SignError {
        SignError::Key(error)
    }
}

/// Signs one zone at one moment.
#[derive(Debug)]
pub struct Signer {
    pub(super) apex: Name,
    /// In lower case.
    pub(super) apex_wire: Box<[u8]>,
    pub(super) plan: Plan,
    keys: Vec<(KeyUse, Arc<SigningKey>)>,
    now_s: u32,
    spread: Spread,
    /// Seconds a signature lives, the jitter not yet taken away.
    lifetime_s: u32,
    /// Signatures expire up to so many seconds before they must.
    jitter_s: u32,
    refresh_s: u32,
    /// TTL of what denies ([RFC 9077](https://www.rfc-editor.org/rfc/rfc9077) §3).
    pub(super) negative_ttl_s: u32,
}

impl Signer {
    /// A signer of the zone `apex` as `plan` says; `keys` are those it names, `soa` is the zone's own.
    ///
    /// # Errors
    ///
    /// [`SignError::Plan`], [`SignError::NoKey`], [`SignError::NoSoa`] or [`SignError::LongApex`].
    pub fn new(
        apex: &Name,
        plan: &Plan,
        keys: &[Arc<SigningKey>],
        soa: &RrSet,
        now_s: u32,
        spread: Spread,
    ) -> Result<Signer, SignError> {
        plan.check().map_err(SignError::Plan)?;
        let (expire_s, minimum_s) = soa_times(soa).ok_or(SignError::NoSoa)?;
        if plan.policy.denial != Denial::Nsec && super::denial::hash_owner(&[0; 20], apex).is_none()
        {
            return Err(SignError::LongApex);
        }
        let found = plan.keys.iter().map(|key| {
            let mine = keys.iter().find(|mine| mine.tag() == key.tag);
            let mine = mine.filter(|mine| mine.algorithm() == key.algorithm);
            mine.map(|mine| (*key, Arc::clone(mine))).ok_or(SignError::NoKey { tag: key.tag })
        });
        let policy = &plan.policy;
        // A secondary that lost touch serves until EXPIRE: what it has must be valid that long.
        if expire_s > EXPIRE_MAX_S {
            return Err(SignError::Expire { expire_s });
        }
        let refresh_s = policy.refresh_s.max(expire_s + EXPIRE_MARGIN_S);
        let lifetime_s = policy.validity_s + (refresh_s - policy.refresh_s);
        Ok(Signer {
            apex: apex.clone(),
            apex_wire: apex.as_wire().to_ascii_lowercase().into(),
            plan: plan.clone(),
            keys: found.collect::<Result<_, _>>()?,
            now_s,
            spread,
            lifetime_s,
            jitter_s: policy.jitter_s,
            refresh_s,
            negative_ttl_s: soa.ttl.min(minimum_s),
        })
    }

    /// The same signer for a zone that is signed for the first time: its signatures expire as if they
    /// had been made some time ago, each zone at another.
    ///
    /// So zones that are switched on together are not renewed together, not even the first time.
    #[must_use]
    pub fn for_the_first_time(mut self) -> Signer {
        if self.jitter_s > 0 {
            let room_s = self.lifetime_s.saturating_sub(self.refresh_s);
            self.jitter_s = self.jitter_s.max(room_s.saturating_sub(ROOM_MIN_S));
        }
        self
    }

    /// How long before it expires a signature is made anew.
    pub fn refresh_s(&self) -> u32 {
        self.refresh_s
    }

    /// How much sooner than it must a signature is made anew when others are.
    pub fn window_s(&self) -> u32 {
        match self.spread {
            Spread::Zones => self.plan.policy.jitter_s,
            Spread::Sets => self.plan.policy.jitter_s.min(SWEEP_S),
        }
    }

    /// The records that the plan asks for at the apex, each set as it must be.
    pub(super) fn apex_sets(&self) -> Vec<RrSet> {
        let set =
            |rtype, ttl, rdatas: Vec<Box<[u8]>>| RrSet::new(self.apex.clone(), rtype, ttl, rdatas);
        let ttl = self.plan.policy.dnskey_ttl_s;
        let published = self.keys.iter().filter(|(key, _)| key.published);
        let own = published.map(|(_, key)| Box::from(key.dnskey()));
        let keys = own.chain(self.plan.foreign_keys.iter().cloned()).collect();
        let mut sets = vec![
            set(Type::DNSKEY, ttl, keys),
            set(Type::CDS, ttl, self.plan.cds.clone()),
            set(Type::CDNSKEY, ttl, self.plan.cdnskey.clone()),
        ];
        if self.plan.policy.denial != Denial::Nsec {
            // The TTL is nobody's concern ([RFC 5155] §4): what most signers write.
            sets.push(set(Type::NSEC3PARAM, 0, vec![super::denial::NSEC3PARAM.into()]));
        }
        if self.plan.policy.csync {
            sets.push(set(Type::CSYNC, ttl, vec![super::made::csync()]));
        }
        sets.retain(|set| !set.is_empty());
        sets
    }

    /// Whether the set of this type at the apex follows from the plan, so that none is there if
    /// [`apex_sets`](Signer::apex_sets) has none.
    pub(super) fn makes(&self, rtype: Type) -> bool {
        match rtype {
            Type::CSYNC => self.plan.policy.csync,
            // One that is there stays until the digest is worked out, last of all.
            Type::ZONEMD => !self.plan.policy.zonemd,
            other => is_made_at_apex(other),
        }
    }

    /// The digest that a zone without one gets until it is worked out: names and their denial must
    /// show that there is one ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §3.2).
    pub(super) fn digest_to_be(&self) -> Option<RrSet> {
        const HASH: zonemd::Hash = zonemd::Hash::Sha384;
        let rdata = || zonemd::rdata(Serial(0), HASH, &[0; 48]);
        let set = || RrSet::new(self.apex.clone(), Type::ZONEMD, 0, vec![rdata()]);
        self.wants_digest().then(set)
    }

    /// Whether the zone has a digest.
    pub fn wants_digest(&self) -> bool {
        self.plan.policy.zonemd
    }

    /// What the digest in `view` must become, where everything else is as it will be served; none if
    /// the plan wants none, or it is right.
    ///
    /// # Errors
    ///
    /// [`SignError::NoSoa`], [`SignError::Key`] or [`SignError::Unreadable`].
    pub fn digest(&self, view: &dyn View) -> Result<Option<SetChange>, SignError> {
        if !self.wants_digest() {
            return Ok(None);
        }
        let soa = set_at(view, &self.apex, Type::SOA)?.ok_or(SignError::NoSoa)?;
        let before = set_at(view, &self.apex, Type::ZONEMD)?;
        let rrset = zonemd::set(view, &soa, zonemd::Hash::Sha384)?;
        let same = before.as_ref().filter(|before| before.rrset == rrset);
        let sigs = same.map(|before| before.sigs.clone()).unwrap_or_default();
        let mut after = Set { rrset, sigs };
        self.sign_at_apex(&mut after)?;
        let (owner, rtype) = (self.apex.clone(), Type::ZONEMD);
        let change = SetChange { owner, rtype, before, after: Some(after) };
        Ok((!change.is_nothing()).then_some(change))
    }

    fn signs(key: &KeyUse, rtype: Type) -> bool {
        match rtype {
            Type::DNSKEY | Type::CDS | Type::CDNSKEY => key.signs_keys,
            _ => key.signs_zone,
        }
    }

    fn span(&self, set: &Signable<'_>) -> Span {
        let jitter = match self.jitter_s {
            0 => 0,
            most => self.jitter_seed(set) % most,
        };
        Span {
            inception: self.now_s.wrapping_sub(self.plan.policy.inception_s),
            expiration: self.now_s.wrapping_add(self.lifetime_s - jitter),
        }
    }

    fn jitter_seed(&self, set: &Signable<'_>) -> u32 {
        let zone = fold(FNV_BASIS, &self.apex_wire);
        match self.spread {
            Spread::Zones => zone,
            Spread::Sets => fold(fold(zone, set.owner), &set.rtype.0.to_be_bytes()),
        }
    }

    /// Whether a signature, which stands beside its records, is one this plan wants and still good.
    fn is_good(&self, sig: &Rrsig<'_>, set: &Signable<'_>, window_s: u32) -> bool {
        let wanted = self.keys.iter().any(|(key, _)| {
            Signer::signs(key, set.rtype)
                && key.tag == sig.tag
                && key.algorithm.number() == sig.algorithm
        });
        wanted
            && sig.covered == set.rtype
            && sig.original_ttl == set.ttl
            && sig.labels == rrsig::labels(set.owner)
            && sig.signer.eq_ignore_ascii_case(&self.apex_wire)
            && rrsig::remaining(sig.span.inception, self.now_s) <= 0
            && sig.remaining(self.now_s) > i64::from(self.refresh_s) + i64::from(window_s)
    }

    /// Whether all that must sign `set` has signed it, nobody else, and for long enough.
    pub(super) fn is_signed<'s>(
        &self,
        set: &Signable<'_>,
        sigs: impl Iterator<Item = &'s [u8]>,
        window_s: u32,
    ) -> bool {
        let mut good = 0;
        for sig in sigs {
            match Rrsig::read(sig) {
                Some(sig) if self.is_good(&sig, set, window_s) => good += 1,
                _ => return false,
            }
        }
        good == self.keys.iter().filter(|(key, _)| Signer::signs(key, set.rtype)).count()
    }

    /// The signatures of `set`: those of `old` that are still good, and new ones.
    ///
    /// # Errors
    ///
    /// [`SignError::Key`].
    pub(super) fn sign<'s>(
        &self,
        set: &Signable<'_>,
        old: impl Iterator<Item = &'s [u8]>,
        window_s: u32,
        scratch: &mut Vec<u8>,
    ) -> Result<Vec<Box<[u8]>>, SignError> {
        let mut sigs: Vec<Box<[u8]>> = Vec::with_capacity(self.keys.len());
        let good = old.filter_map(|octets| {
            let sig = Rrsig::read(octets)?;
            self.is_good(&sig, set, window_s).then_some((sig.tag, octets))
        });
        let good: Vec<(u16, &[u8])> = good.collect();
        for (key, signing) in &self.keys {
            if !Signer::signs(key, set.rtype) {
                continue;
            }
            let kept = good.iter().find(|(tag, _)| *tag == key.tag);
            sigs.push(match kept {
                Some((_, octets)) => Box::from(*octets),
                None => rrsig::make(signing, &self.apex_wire, set, self.span(set), scratch)?,
            });
        }
        sigs.sort();
        Ok(sigs)
    }

    /// Gives a set at the apex the signatures it lacks.
    ///
    /// # Errors
    ///
    /// [`SignError::Key`].
    pub fn sign_at_apex(&self, set: &mut Set) -> Result<(), SignError> {
        let rdatas: Vec<&[u8]> = set.rrset.rdatas().iter().map(AsRef::as_ref).collect();
        let (rtype, ttl) = (set.rrset.rtype, set.rrset.ttl);
        let signable = Signable { owner: &self.apex_wire, rtype, ttl, rdatas: &rdatas };
        let old = set.sigs.iter().map(AsRef::as_ref);
        set.sigs = self.sign(&signable, old, 0, &mut Vec::new())?;
        Ok(())
    }

    /// Seconds from now until the first of these signatures expires; none without signatures.
    pub fn first_expiry<'s>(&self, sigs: impl Iterator<Item = &'s [u8]>) -> Option<i64> {
        sigs.filter_map(|sig| Some(Rrsig::read(sig)?.remaining(self.now_s))).min()
    }
}

/// How often a large zone is gone through: signatures that come due meanwhile are made anew together.
pub const SWEEP_S: u32 = 6 * 3600;

/// Whether people cannot put records of this type at the apex of a zone that is signed here.
pub fn is_made_at_apex(rtype: Type) -> bool {
    matches!(rtype, Type::DNSKEY | Type::CDS | Type::CDNSKEY | Type::NSEC3PARAM | Type::ZONEMD)
}

/// EXPIRE and MINIMUM of a SOA.
fn soa_times(soa: &RrSet) -> Option<(u32, u32)> {
    let tail = soa.rdatas().first().filter(|_| soa.rtype == Type::SOA)?.last_chunk::<8>()?;
    let [e0, e1, e2, e3, m0, m1, m2, m3] = *tail;
    Some((u32::from_be_bytes([e0, e1, e2, e3]), u32::from_be_bytes([m0, m1, m2, m3])))
}

const FNV_BASIS: u32 = 0x811C_9DC5;

fn fold(seed: u32, octets: &[u8]) -> u32 {
    octets.iter().fold(seed, |hash, &octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}
