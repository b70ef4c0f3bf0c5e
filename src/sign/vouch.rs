//! Who vouches for a zone's digest: the signatures over SOA and ZONEMD, as the zone itself has them, and
//! the DS its parent has ([RFC 8976] §4).
//!
//! Without a DS the zone's own keys are believed: that shows records which were changed on their way by
//! somebody without the keys, if the keys are those of before. With one, the whole chain must hold.
//!
//! Does not: look for a DS where the parent is not at hand, nor walk the zone: a digest that is vouched for
//! vouches for the rest.
//!
//! [RFC 8976]: https://www.rfc-editor.org/rfc/rfc8976

use super::key::{self, Algorithm, ZONE_KEY};
use super::made;
use super::rrsig::{self, Rrsig, Signable};
use super::zonemd::{self, ZonemdError};
use crate::wire::{Name, Type};
use crate::zone::View;
use crate::zone::delta::{Set, set_at};

/// Signatures that are tried on one zone: many keys of one tag must not cost more.
pub const TRIES_MAX: usize = 32;

/// Where DNSKEY RDATA says for which protocol it is, and what must stand there ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §2.1.2).
const PROTOCOL_AT: usize = 2;
const PROTOCOL: u8 = 3;

/// What vouches for a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// Nothing: the zone is not signed, or by algorithms that are not known here.
    Nobody,
    /// The zone's own keys.
    Itself,
    /// Its parent.
    Parent,
}

/// Checks that a zone is what its digest says, if it has one that is known, and that [signatures
/// vouch](vouch) for that.
///
/// # Errors
///
/// [`ZonemdError`] when it is not.
pub fn check(
    view: &dyn View,
    ds: &[Box<[u8]>],
    now_s: Option<u32>,
) -> Result<Vouched, ZonemdError> {
    zonemd::check(view)?;
    vouch(view, ds, now_s)
}

/// Checks that signatures vouch for the digest of a zone, if it has one and is signed. `ds` is what the
/// parent has of it, empty where that is not known; `now_s` is the time, none where it is not known.
///
/// # Errors
///
/// [`ZonemdError::Unvouched`] when signatures do not hold that must, [`ZonemdError::Unreadable`].
pub fn vouch(
    view: &dyn View,
    ds: &[Box<[u8]>],
    now_s: Option<u32>,
) -> Result<Vouched, ZonemdError> {
    let at = |rtype| set_at(view, view.apex(), rtype);
    let Some(zonemd) = at(Type::ZONEMD)? else { return Ok(Vouched::Nobody) };
    let ds: Vec<&[u8]> = ds.iter().map(AsRef::as_ref).filter(|ds| is_known(ds)).collect();
    let unvouched = |rtype| Err(ZonemdError::Unvouched(rtype));
    let (Some(dnskey), Some(soa)) = (at(Type::DNSKEY)?, at(Type::SOA)?) else {
        return if ds.is_empty() { Ok(Vouched::Nobody) } else { unvouched(Type::DNSKEY) };
    };
    let keys: Vec<&[u8]> =
        dnskey.rrset.rdatas().iter().map(AsRef::as_ref).filter(|key| is_zone_key(key)).collect();
    // Without an anchor a clock says nothing: whoever sends old records sends old keys with them.
    let now_s = now_s.filter(|_| !ds.is_empty());
    let mut judge = Judge { apex: view.apex(), now_s, tries: 0 };
    if !ds.is_empty() {
        let is_named = |key: &&&[u8]| {
            ds.iter().any(|ds| {
                let digest = ds.get(3).copied().unwrap_or_default();
                made::ds(view.apex(), key, digest).as_deref() == Some(*ds)
            })
        };
        let entries: Vec<&[u8]> = keys.iter().filter(is_named).copied().collect();
        if !judge.holds(&dnskey, &entries) {
            return unvouched(Type::DNSKEY);
        }
    } else if ![&soa, &zonemd].into_iter().any(has_known_signature) {
        return Ok(Vouched::Nobody);
    }
    for set in [&soa, &zonemd] {
        if !judge.holds(set, &keys) {
            return unvouched(set.rrset.rtype);
        }
    }
    Ok(if ds.is_empty() { Vouched::Itself } else { Vouched::Parent })
}

/// Whether a DS is of an algorithm and a digest that are known: others leave a zone insecure
/// ([RFC 4035](https://www.rfc-editor.org/rfc/rfc4035) §5.2).
fn is_known(ds: &[u8]) -> bool {
    let is_algorithm = ds.get(2).is_some_and(|number| Algorithm::from_number(*number).is_ok());
    is_algorithm && ds.get(3).is_some_and(|digest| made::DIGESTS.contains(digest))
}

fn is_zone_key(key: &[u8]) -> bool {
    let flags = key.first_chunk().map_or(0, |flags| u16::from_be_bytes(*flags));
    flags & ZONE_KEY != 0 && key.get(PROTOCOL_AT) == Some(&PROTOCOL)
}

fn has_known_signature(set: &Set) -> bool {
    let mut sigs = set.sigs.iter().filter_map(|sig| Rrsig::read(sig));
    sigs.any(|sig| Algorithm::from_number(sig.algorithm).is_ok())
}

struct Judge<'a> {
    apex: &'a Name,
    now_s: Option<u32>,
    tries: usize,
}

impl Judge<'_> {
    /// Whether one of `keys` signed a set at the apex.
    fn holds(&mut self, set: &Set, keys: &[&[u8]]) -> bool {
        let rtype = set.rrset.rtype;
        let owner = self.apex.as_wire().to_ascii_lowercase();
        let mut rdatas: Vec<&[u8]> = set.rrset.rdatas().iter().map(AsRef::as_ref).collect();
        rdatas
            .sort_by_cached_key(|octets| crate::wire::rdata::canonical(rtype, octets).into_owned());
        let signable = Signable { owner: &owner, rtype, ttl: set.rrset.ttl, rdatas: &rdatas };
        for octets in &set.sigs {
            let Some(sig) = Rrsig::read(octets).filter(|sig| self.may_hold(sig)) else { continue };
            for key in keys.iter().filter(|key| key::key_tag(key) == sig.tag) {
                self.tries += 1;
                if self.tries > TRIES_MAX {
                    return false;
                }
                if key.get(3) == Some(&sig.algorithm) && rrsig::verifies(key, octets, &signable) {
                    return true;
                }
            }
        }
        false
    }

    fn may_hold(&self, sig: &Rrsig<'_>) -> bool {
        let is_timely = self.now_s.is_none_or(|now_s| {
            sig.remaining(now_s) >= 0 && rrsig::remaining(sig.span.inception, now_s) <= 0
        });
        is_timely && sig.signer.eq_ignore_ascii_case(self.apex.as_wire())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::plan::{KeyUse, Plan, Policy};
    use super::super::{Signer, SigningKey, Spread};
    use super::*;
    use crate::zone::text::{Options, parse};
    use crate::zone::tree::Tree;

    const NOW_S: u32 = 1_800_000_000;
    const ZONE: &str = "$TTL 300\n@ SOA ns host 1 1h 10m 1w 5m\n@ NS ns.else.\n@ ZONEMD 1 1 1 \
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f\n";

    fn apex() -> Name {
        Name::parse("example.").unwrap()
    }

    fn parsed(text: &str) -> Vec<u8> {
        let options = Options { apex: Some(apex()), ..Options::default() };
        parse(text.as_bytes(), options).unwrap().packed
    }

    /// A zone with a digest, right or not, that is signed; and its key.
    fn signed() -> (Vec<u8>, SigningKey) {
        let csk = SigningKey::generate(Algorithm::Ed25519, 0, 257).unwrap();
        let (tag, algorithm) = (csk.tag(), csk.algorithm());
        let uses = KeyUse { tag, algorithm, published: true, signs_keys: true, signs_zone: true };
        let policy = Policy { zonemd: true, ..Policy::default() };
        let plan = Plan { keys: vec![uses], policy, ..Plan::default() };
        let octets = parsed(ZONE);
        let soa = set_at(&Tree::new(apex(), &octets), &apex(), Type::SOA).unwrap().unwrap();
        let key = SigningKey::from_parts(csk.dnskey(), csk.secret()).unwrap();
        let keys = [Arc::new(key)];
        let signer = Signer::new(&apex(), &plan, &keys, &soa.rrset, NOW_S, Spread::Zones).unwrap();
        (signer.whole(&octets).unwrap().octets, csk)
    }

    fn said(octets: &[u8], ds: &[Box<[u8]>], now_s: u32) -> Result<Vouched, ZonemdError> {
        vouch(&Tree::new(apex(), octets), ds, Some(now_s))
    }

    #[test]
    fn rfc8976_4_a_signed_zone_vouches_for_its_digest_by_its_own_keys_or_by_its_parent() {
        let (octets, csk) = signed();
        let ds = vec![made::ds(&apex(), csk.dnskey(), 2).unwrap()];
        assert_eq!(said(&octets, &[], NOW_S), Ok(Vouched::Itself));
        assert_eq!(said(&octets, &ds, NOW_S), Ok(Vouched::Parent));
        assert_eq!(said(&parsed(ZONE), &[], NOW_S), Ok(Vouched::Nobody), "not signed");
    }

    #[test]
    fn rfc8976_4_a_digest_that_somebody_else_put_there_is_not_vouched_for() {
        let (octets, csk) = signed();
        let ds = vec![made::ds(&apex(), csk.dnskey(), 4).unwrap()];
        let forged: Vec<u8> = {
            // One octet of the digest, wherever it stands.
            let from = octets.windows(6).position(|window| *window == [0, 1, 2, 3, 4, 5]).unwrap();
            let mut octets = octets.clone();
            octets[from] ^= 1;
            octets
        };
        for ds in [&[][..], &ds] {
            assert_eq!(said(&forged, ds, NOW_S), Err(ZonemdError::Unvouched(Type::ZONEMD)));
        }
        assert_eq!(said(&parsed(ZONE), &ds, NOW_S), Err(ZonemdError::Unvouched(Type::DNSKEY)));
        let (other, _) = signed();
        assert_eq!(said(&other, &ds, NOW_S), Err(ZonemdError::Unvouched(Type::DNSKEY)));
        let late = NOW_S + 30 * 86_400;
        assert_eq!(said(&octets, &ds, late), Err(ZonemdError::Unvouched(Type::DNSKEY)), "expired");
        let strange = vec![Box::from([&ds[0][..2], &[16, 2], &[0; 32]].concat())];
        assert_eq!(said(&octets, &strange, NOW_S), Ok(Vouched::Itself), "RFC 4035 §5.2");
    }
}
