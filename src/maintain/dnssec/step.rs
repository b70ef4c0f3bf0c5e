//! One step of one zone's DNSSEC, worked out: which keys are missing, what is true around the zone,
//! and the plan that publishes what the rollover says.

use std::ops::ControlFlow;

use super::{Life, Policy};
use crate::maintain::rows::{self, Zone};
use crate::maintain::signing;
use crate::sign::rollover::{Facts, Key, KeyId, KeySet, Published, Role};
use crate::sign::{Algorithm, KeyUse, Plan, SigningKey, key, made};
use crate::store::RawRows;
use crate::wire::{Name, Type};
use crate::zone::ReadFault;

/// The public halves of all keys a zone knows, own and foreign.
pub(super) struct Halves {
    own: Vec<(u16, Vec<u8>)>,
    foreign: Vec<(KeyId, Vec<u8>)>,
}

impl Halves {
    pub fn of<R: RawRows + ?Sized>(
        rows: &R,
        zone: &Zone,
        life: &Life,
    ) -> Result<Halves, ReadFault> {
        Ok(Halves { own: signing::dnskeys(rows, zone)?, foreign: life.foreign.clone() })
    }

    /// The DNSKEY RDATA of a key.
    pub fn dnskey(&self, id: KeyId) -> Option<&[u8]> {
        let own = self.own.iter().find(|(tag, _)| *tag == id.0).map(|(_, dnskey)| &dnskey[..]);
        let foreign =
            || self.foreign.iter().find(|(tag, _)| *tag == id).map(|(_, rdata)| &rdata[..]);
        own.or_else(foreign)
    }

    /// The tags that a new key must not have.
    pub fn tags(&self) -> Vec<u16> {
        let foreign = self.foreign.iter().map(|(id, _)| id.0);
        self.own.iter().map(|(tag, _)| *tag).chain(foreign).collect()
    }

    /// The key that a DS names.
    pub fn named(&self, apex: &Name, ds: &[u8]) -> Option<KeyId> {
        let digest = ds.get(3).copied()?;
        let own = self.own.iter().map(|(tag, dnskey)| (KeyId(*tag), dnskey));
        let mut all = own.chain(self.foreign.iter().map(|(id, dnskey)| (*id, dnskey)));
        let names = |dnskey: &[u8]| made::ds(apex, dnskey, digest).as_deref() == Some(ds);
        all.find(|(_, dnskey)| names(dnskey)).map(|(id, _)| id)
    }
}

/// The roles for which a key has to be made before anything else: none is there, it has lived long
/// enough, or it is to be replaced.
pub(super) fn missing(life: &Life, policy: &Policy, now_s: u64) -> Vec<Role> {
    if !life.rollover.is_on() {
        return Vec::new();
    }
    let at_rest = life.rollover.is_at_rest();
    let is_missing = |role: &&Role| match chosen(life, policy, **role) {
        None => true,
        Some(_) if life.roll.contains(role) => true,
        Some(key) => {
            let lifetime = policy.lifetime_s(**role);
            at_rest && lifetime.is_some_and(|lifetime| key.created + lifetime <= now_s)
        }
    };
    policy.roles().iter().filter(is_missing).copied().collect()
}

/// The key that fills a role: the newest wanted one of its kind.
fn chosen<'a>(life: &'a Life, policy: &Policy, role: Role) -> Option<&'a Key> {
    let fits = |key: &&Key| {
        key.wanted && !key.foreign && key.role == role && key.algorithm == policy.algorithm.number()
    };
    life.rollover.keys().iter().filter(fits).max_by_key(|key| key.created)
}

/// The first time, behind now, at which a key has lived long enough.
pub(super) fn next_end(life: &Life, policy: &Policy) -> Option<u64> {
    let end = |role: &Role| {
        let key = chosen(life, policy, *role)?;
        policy.lifetime_s(*role).map(|lifetime| key.created + lifetime)
    };
    policy.roles().iter().filter_map(end).min().filter(|_| life.rollover.is_on())
}

/// Makes a key for a role: slow for RSA, so outside of every transaction.
pub(super) fn make(
    policy: &Policy,
    role: Role,
    taken: &[u16],
) -> Result<SigningKey, key::KeyError> {
    let entry = if role.is_anchor() { key::SECURE_ENTRY } else { 0 };
    let bits = match policy.algorithm {
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => policy.rsa_bits.into(),
        other => other.default_bits(),
    };
    SigningKey::generate_beside(policy.algorithm, bits, key::ZONE_KEY | entry, taken)
}

/// Takes new keys into the goal; what they replace, and what the policy no longer asks for, goes.
pub(super) fn take_in(life: &mut Life, policy: &Policy, made: &[(Role, SigningKey)], now_s: u64) {
    for (role, key) in made {
        life.rollover.want(known(key, *role, now_s));
        let (role, tag) = (role.word(), key.tag());
        life.tell(now_s, format!("made {role} {tag}, {}", key.algorithm().mnemonic()));
    }
    life.roll.clear();
    let new = |id: KeyId| made.iter().any(|(_, key)| KeyId(key.tag()) == id);
    let mut kept = Vec::new();
    for role in policy.roles() {
        let fresh = made.iter().find(|(made, _)| made == role).map(|(_, key)| KeyId(key.tag()));
        kept.extend(fresh.or_else(|| chosen(life, policy, *role).map(|key| key.id)));
    }
    let gone: Vec<(KeyId, Role)> = life
        .rollover
        .keys()
        .iter()
        .filter(|key| key.wanted && !key.foreign && !kept.contains(&key.id) && !new(key.id))
        .map(|key| (key.id, key.role))
        .collect();
    for (id, role) in gone {
        life.rollover.retire(id);
        life.tell(now_s, format!("{} {} is being replaced", role.word(), id.0));
    }
}

/// What the rollover has to know of a key.
pub(super) fn known(key: &SigningKey, role: Role, now_s: u64) -> Key {
    Key {
        id: KeyId(key.tag()),
        algorithm: key.algorithm().number(),
        role,
        foreign: false,
        created: now_s,
        wanted: true,
    }
}

/// What is true around a zone. Every TTL is the one really published.
pub(super) fn facts<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    policy: &Policy,
) -> Result<Facts, ReadFault> {
    let (mut zone_ttl, mut dnskey_ttl) = (0, policy.signing.dnskey_ttl_s);
    rows::with_view(rows, zone, |view| {
        view.walk(&[], &mut |node| {
            for set in node.rrsets() {
                match set.rtype {
                    Type::DNSKEY => dnskey_ttl = dnskey_ttl.max(set.ttl),
                    // Of a negative response it is the lesser of two, so never more than this.
                    _ => zone_ttl = zone_ttl.max(set.ttl),
                }
                // That there is no DNSKEY is held as long as any other absence.
                if set.rtype == Type::SOA {
                    dnskey_ttl = dnskey_ttl.max(set.ttl);
                }
            }
            ControlFlow::Continue(())
        })
    })?;
    Ok(Facts {
        dnskey_ttl,
        zone_ttl,
        lag: policy.propagation_s,
        parent_delay: policy.parent_delay_s,
        oldest_served: None,
        is_unfinished: signing::of(rows, zone)?.is_some_and(|signing| !signing.complete),
    })
}

/// The plan that publishes what the rollover says; none, to sign nothing.
pub(super) fn plan(
    apex: &Name,
    life: &Life,
    policy: &Policy,
    published: &Published,
    halves: &Halves,
) -> Option<Plan> {
    if published.dnskeys.is_empty() && published.signers.is_empty() {
        return None;
    }
    let is_used =
        |key: &&Key| published.dnskeys.contains(key.id) || published.signers.contains(key.id);
    let (mut keys, mut foreign_keys) = (Vec::new(), Vec::new());
    for key in life.rollover.keys().iter().filter(is_used) {
        let algorithm = Algorithm::from_number(key.algorithm).ok();
        match (key.foreign, algorithm) {
            (false, Some(algorithm)) => keys.push(KeyUse {
                tag: key.id.0,
                algorithm,
                published: published.dnskeys.contains(key.id),
                signs_keys: published.dnskey_signers.contains(key.id),
                signs_zone: published.signers.contains(key.id),
            }),
            _ => foreign_keys.extend(halves.dnskey(key.id).map(Box::from)),
        }
    }
    keys.sort_unstable_by_key(|key| key.tag);
    let (cds, cdnskey) = announced(apex, published.cds.as_ref(), policy, halves);
    Some(Plan { keys, foreign_keys, cds, cdnskey, policy: policy.signing.clone() })
}

type Rdatas = Vec<Box<[u8]>>;

/// The CDS and CDNSKEY records that ask the parent for the DS of these keys, or for none.
fn announced(
    apex: &Name,
    keys: Option<&KeySet>,
    policy: &Policy,
    halves: &Halves,
) -> (Rdatas, Rdatas) {
    let Some(keys) = keys else { return Default::default() };
    if keys.is_empty() {
        return (vec![made::CDS_DELETE.into()], vec![made::CDNSKEY_DELETE.into()]);
    }
    let dnskeys: Vec<&[u8]> = keys.iter().filter_map(|id| halves.dnskey(id)).collect();
    (ds_of(apex, &dnskeys, policy), dnskeys.into_iter().map(Box::from).collect())
}

/// The DS RDATA of keys, in all digests of the policy.
pub(super) fn ds_of(apex: &Name, dnskeys: &[&[u8]], policy: &Policy) -> Rdatas {
    let each = dnskeys.iter().flat_map(|dnskey| {
        policy.digests.iter().filter_map(|digest| made::ds(apex, dnskey, *digest))
    });
    each.collect()
}
