//! RRSIG: the octets a signature is made over, and reading one again ([RFC 4034] §3).
//!
//! [RFC 4034]: https://www.rfc-editor.org/rfc/rfc4034

use super::key::{KeyError, SigningKey};
use crate::wire::name::wire_len;
use crate::wire::{Type, rdata};

/// Octets of an RRSIG's RDATA before the signer's name.
const HEAD_OCTETS: usize = 18;

/// An RRset to be signed, borrowed; RDATA in canonical order.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// In uncompressed wire form, lower case.
    pub owner: &'a [u8],
    pub rtype: Type,
    /// Seconds.
    pub ttl: u32,
    pub rdatas: &'a [&'a [u8]],
}

/// From when to when a signature is valid, in seconds since 1970, modulo 2³² ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub inception: u32,
    pub expiration: u32,
}

/// What of an RRSIG's RDATA decides whether it is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rrsig<'a> {
    pub covered: Type,
    pub algorithm: u8,
    pub labels: u8,
    /// Seconds.
    pub original_ttl: u32,
    pub span: Span,
    pub tag: u16,
    /// In uncompressed wire form.
    pub signer: &'a [u8],
    pub signature: &'a [u8],
}

impl<'a> Rrsig<'a> {
    /// Reads RDATA; none if it is too short to be one.
    pub fn read(rdata: &'a [u8]) -> Option<Rrsig<'a>> {
        let (head, rest) = rdata.split_first_chunk::<HEAD_OCTETS>()?;
        let (signer, signature) = rest.split_at_checked(wire_len(rest).ok()?)?;
        let &[c0, c1, algorithm, labels, o0, o1, o2, o3, e0, e1, e2, e3, i0, i1, i2, i3, t0, t1] =
            head;
        Some(Rrsig {
            covered: Type(u16::from_be_bytes([c0, c1])),
            algorithm,
            labels,
            original_ttl: u32::from_be_bytes([o0, o1, o2, o3]),
            span: Span {
                expiration: u32::from_be_bytes([e0, e1, e2, e3]),
                inception: u32::from_be_bytes([i0, i1, i2, i3]),
            },
            tag: u16::from_be_bytes([t0, t1]),
            signer,
            signature,
        })
    }

    /// Seconds it is still valid at `now`; negative once it has expired.
    pub fn remaining(&self, now_s: u32) -> i64 {
        remaining(self.span.expiration, now_s)
    }
}

/// Seconds from `now` to `at`, both modulo 2³².
pub fn remaining(at: u32, now_s: u32) -> i64 {
    i64::from(at.wrapping_sub(now_s).cast_signed())
}

/// Makes the RDATA of the RRSIG of `key` over `set`. `scratch` is only used.
///
/// # Errors
///
/// [`KeyError::Random`].
pub fn make(
    key: &SigningKey,
    signer: &[u8],
    set: &Signable<'_>,
    span: Span,
    scratch: &mut Vec<u8>,
) -> Result<Box<[u8]>, KeyError> {
    scratch.clear();
    push_head(key, signer, set, span, scratch);
    let head = scratch.len();
    push_records(set, scratch);
    let mut rdata = Vec::with_capacity(head + 64);
    rdata.extend_from_slice(scratch.get(..head).unwrap_or_default());
    key.sign(scratch, &mut rdata)?;
    Ok(rdata.into())
}

fn push_head(key: &SigningKey, signer: &[u8], set: &Signable<'_>, span: Span, out: &mut Vec<u8>) {
    out.extend_from_slice(&set.rtype.0.to_be_bytes());
    out.extend_from_slice(&[key.algorithm().number(), labels(set.owner)]);
    out.extend_from_slice(&set.ttl.to_be_bytes());
    out.extend_from_slice(&span.expiration.to_be_bytes());
    out.extend_from_slice(&span.inception.to_be_bytes());
    out.extend_from_slice(&key.tag().to_be_bytes());
    out.extend_from_slice(signer);
}

/// The records as they are signed ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.1.8.1).
fn push_records(set: &Signable<'_>, out: &mut Vec<u8>) {
    for octets in set.rdatas {
        let canonical = rdata::canonical(set.rtype, octets);
        out.extend_from_slice(set.owner);
        out.extend_from_slice(&set.rtype.0.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&set.ttl.to_be_bytes());
        out.extend_from_slice(&(canonical.len() as u16).to_be_bytes());
        out.extend_from_slice(&canonical);
    }
}

/// Labels of an owner, the root and a leading `*` not counted ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.1.3).
pub fn labels(owner: &[u8]) -> u8 {
    let (mut count, mut rest) = (0, owner);
    while let Some((&len @ 1.., tail)) = rest.split_first() {
        count += 1;
        rest = tail.get(usize::from(len)..).unwrap_or_default();
    }
    count - u8::from(owner.starts_with(&[1, b'*']))
}

/// Whether `rdata` is an RRSIG over `set` that the key with this DNSKEY RDATA made.
pub fn verifies(dnskey: &[u8], rdata: &[u8], set: &Signable<'_>) -> bool {
    let Some(sig) = Rrsig::read(rdata) else { return false };
    let signature = sig.signature.len();
    let head = rdata.get(..rdata.len() - signature).unwrap_or_default();
    let mut data = head.to_vec();
    push_records(&Signable { ttl: sig.original_ttl, ..*set }, &mut data);
    sig.covered == set.rtype
        && sig.labels == labels(set.owner)
        && sig.tag == super::key::key_tag(dnskey)
        && super::key::verifies(dnskey, &data, sig.signature)
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;
    use crate::wire::Name;

    #[test]
    fn a_signature_is_read_back_and_verifies_only_its_own_set() {
        let key = SigningKey::generate(Algorithm::EcdsaP256, 0, 257).unwrap();
        let owner = Name::parse("*.example.").unwrap();
        let set = Signable {
            owner: owner.as_wire(),
            rtype: Type::A,
            ttl: 60,
            rdatas: &[&[192, 0, 2, 1], &[192, 0, 2, 2]],
        };
        let span = Span { inception: 10, expiration: 20 };
        let signer = Name::parse("example.").unwrap();
        let rdata = make(&key, signer.as_wire(), &set, span, &mut Vec::new()).unwrap();

        let sig = Rrsig::read(&rdata).unwrap();
        assert_eq!((sig.labels, sig.original_ttl, sig.span, sig.tag), (1, 60, span, key.tag()));
        assert_eq!((sig.remaining(15), sig.remaining(25)), (5, -5));
        assert!(verifies(key.dnskey(), &rdata, &set));
        assert!(!verifies(key.dnskey(), &rdata, &Signable { rdatas: &[&[192, 0, 2, 1]], ..set }));
    }

    #[test]
    fn rfc4034_3_1_5_time_is_counted_on_a_circle() {
        assert_eq!(remaining(5, u32::MAX - 4), 10);
        assert_eq!(remaining(u32::MAX, 0), -1);
    }
}
