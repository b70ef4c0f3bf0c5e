//! Signing keys: made, read, written, and what they do: sign.
//!
//! A key is its DNSKEY RDATA and its secret. The secret is kept in the smallest form its algorithm
//! has (a scalar, a seed, an `RSAPrivateKey`); whoever stores it seals it. It shows nowhere else.
//!
//! Promises: a [`SigningKey`] signs what its own DNSKEY verifies: one whose halves do not belong
//! together cannot be made.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    UnparsedPublicKey,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::traits::PublicKeyParts;
use serde::{Deserialize, Serialize};

/// DNSKEY flags: a zone key ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §2.1.1).
pub const ZONE_KEY: u16 = 0x0100;

/// DNSKEY flags: a secure entry point, what a DS is made for ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §2.1.1).
pub const SECURE_ENTRY: u16 = 0x0001;

/// Bits of an RSA key that can be made, the least and the most. ring signs with nothing smaller or larger.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// How often a new key is tried whose tag a zone has already.
const TAG_TRIES: usize = 64;

/// What signs a zone, of the algorithms [RFC 8624](https://www.rfc-editor.org/rfc/rfc8624) §3.1 lets sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    RsaSha256,
    RsaSha512,
    EcdsaP256,
    EcdsaP384,
    Ed25519,
}

/// Why a key is none. The fault of whoever gave it, but for `Random`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// An algorithm that is not signed with, and why.
    Algorithm { number: u8, why: &'static str },
    /// The DNSKEY RDATA is none of a zone key.
    Public(&'static str),
    /// The secret is not one of this algorithm.
    Secret,
    /// The secret is of another key than the public half.
    Mismatch,
    /// So many bits are not made or taken.
    Bits { bits: usize },
    /// Every key tried had a tag that the zone has already.
    Tags,
    /// A key file cannot be read; what of it.
    File(String),
    /// The system gave no randomness.
    Random,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Algorithm { number, why } => {
                write!(f, "algorithm {number} is not used to sign: {why}")
            }
            KeyError::Public(why) => write!(f, "DNSKEY {why}"),
            KeyError::Secret => f.write_str("private key does not have the form of its algorithm"),
            KeyError::Mismatch => f.write_str("private and public key do not belong together"),
            KeyError::Bits { bits } => write!(
                f,
                "RSA key has {bits} bits: from {} to {} are used",
                RSA_BITS.start(),
                RSA_BITS.end()
            ),
            KeyError::Tags => f.write_str("every new key had a key tag that the zone has already"),
            KeyError::File(what) => write!(f, "key file {what}"),
            KeyError::Random => f.write_str("system gave no random octets"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Algorithm {
    /// All that sign, in order of number.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::RsaSha256,
        Algorithm::RsaSha512,
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
        Algorithm::Ed25519,
    ];

    /// Its number in DNSKEY, RRSIG and DS.
    pub fn number(self) -> u8 {
        match self {
            Algorithm::RsaSha256 => 8,
            Algorithm::RsaSha512 => 10,
            Algorithm::EcdsaP256 => 13,
            Algorithm::EcdsaP384 => 14,
            Algorithm::Ed25519 => 15,
        }
    }

    /// The algorithm of this number.
    ///
    /// # Errors
    ///
    /// [`KeyError::Algorithm`] with the reason, for one that nothing is signed with.
    pub fn from_number(number: u8) -> Result<Algorithm, KeyError> {
        let found = Algorithm::ALL.into_iter().find(|algorithm| algorithm.number() == number);
        found.ok_or(KeyError::Algorithm {
            number,
            why: match number {
                1 | 3 | 6 | 12 => "it must not be used (RFC 8624 §3.1)",
                5 | 7 => "SHA-1 can no longer be relied on (RFC 8624 §3.1)",
                16 => "no library here signs with Ed448; 15 is the one of its family to use",
                _ => "it is not known here",
            },
        })
    }

    /// Its mnemonic ([the registry](https://www.iana.org/assignments/dns-sec-alg-numbers)).
    pub fn mnemonic(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "RSASHA256",
            Algorithm::RsaSha512 => "RSASHA512",
            Algorithm::EcdsaP256 => "ECDSAP256SHA256",
            Algorithm::EcdsaP384 => "ECDSAP384SHA384",
            Algorithm::Ed25519 => "ED25519",
        }
    }

    /// The bits a key has that nobody gave a size for.
    pub fn default_bits(self) -> usize {
        match self {
            Algorithm::RsaSha256 | Algorithm::RsaSha512 => 2048,
            Algorithm::EcdsaP256 | Algorithm::Ed25519 => 256,
            Algorithm::EcdsaP384 => 384,
        }
    }

    fn ecdsa(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Algorithm::EcdsaP384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
        }
    }
}

/// A key that signs: its DNSKEY and its secret.
pub struct SigningKey {
    algorithm: Algorithm,
    dnskey: Box<[u8]>,
    tag: u16,
    secret: Box<[u8]>,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("flags", &self.flags())
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a key. `bits` count for RSA only. Slow for RSA: a second or more.
    ///
    /// # Errors
    ///
    /// [`KeyError::Bits`] or [`KeyError::Random`].
    pub fn generate(algorithm: Algorithm, bits: usize, flags: u16) -> Result<Self, KeyError> {
        let (public, secret) = match algorithm {
            Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
                if !RSA_BITS.contains(&bits) {
                    return Err(KeyError::Bits { bits });
                }
                let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits)
                    .map_err(|_| KeyError::Random)?;
                rsa_halves(&key)?
            }
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
                let document = EcdsaKeyPair::generate_pkcs8(algorithm.ecdsa(), random())
                    .map_err(|_| KeyError::Random)?;
                ecdsa_halves(algorithm, document.as_ref())?
            }
            Algorithm::Ed25519 => {
                let seed: [u8; 32] =
                    ring::rand::generate(random()).map_err(|_| KeyError::Random)?.expose();
                let pair =
                    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Secret)?;
                (pair.public_key().as_ref().to_vec(), seed.to_vec())
            }
        };
        SigningKey::from_parts(&dnskey_rdata(flags, algorithm, &public), &secret)
    }

    /// Makes a key whose tag is none of `taken`.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::generate`]; [`KeyError::Tags`] when luck has left.
    pub fn generate_beside(
        algorithm: Algorithm,
        bits: usize,
        flags: u16,
        taken: &[u16],
    ) -> Result<Self, KeyError> {
        for _ in 0..TAG_TRIES {
            let key = SigningKey::generate(algorithm, bits, flags)?;
            if !taken.contains(&key.tag) {
                return Ok(key);
            }
        }
        Err(KeyError::Tags)
    }

    /// Puts a key together from its DNSKEY RDATA and its secret, as [`SigningKey::secret`] gave it.
    ///
    /// # Errors
    ///
    /// Any but `Random` and `Tags`: which half is wrong, or that they do not match.
    pub fn from_parts(dnskey: &[u8], secret: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, public) = public_of(dnskey)?;
        let pair = pair_of(algorithm, public, secret)?;
        let tag = key_tag(dnskey);
        Ok(SigningKey { algorithm, dnskey: dnskey.into(), tag, secret: secret.into(), pair })
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The flags of its DNSKEY.
    pub fn flags(&self) -> u16 {
        self.dnskey.first_chunk().map_or(0, |flags| u16::from_be_bytes(*flags))
    }

    /// Whether it is a secure entry point: a KSK or CSK.
    pub fn is_secure_entry(&self) -> bool {
        self.flags() & SECURE_ENTRY != 0
    }

    /// Its key tag ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The RDATA of its DNSKEY.
    pub fn dnskey(&self) -> &[u8] {
        &self.dnskey
    }

    /// The secret: to be sealed at once, and never shown.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Appends the signature of `data`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`]: nothing else can go wrong with a key that stands.
    pub fn sign(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), KeyError> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(random(), data).map_err(|_| KeyError::Random)?;
                out.extend_from_slice(signature.as_ref());
            }
            Pair::Ed25519(pair) => out.extend_from_slice(pair.sign(data).as_ref()),
            Pair::Rsa(pair, padding) => {
                let from = out.len();
                out.resize(from + pair.public().modulus_len(), 0);
                let slot = out.get_mut(from..).unwrap_or_default();
                pair.sign(*padding, random(), data, slot).map_err(|_| KeyError::Random)?;
            }
        }
        Ok(())
    }
}

/// The algorithm and the public key of the DNSKEY RDATA of a zone key.
fn public_of(dnskey: &[u8]) -> Result<(Algorithm, &[u8]), KeyError> {
    let (&[f0, f1, protocol, number], public) =
        dnskey.split_first_chunk::<4>().ok_or(KeyError::Public("is too short"))?;
    if u16::from_be_bytes([f0, f1]) & !SECURE_ENTRY != ZONE_KEY {
        return Err(KeyError::Public("flags are not those of a zone key: 256 or 257"));
    }
    if protocol != 3 {
        return Err(KeyError::Public("protocol is not 3 (RFC 4034 §2.1.2)"));
    }
    Ok((Algorithm::from_number(number)?, public))
}

/// Whether DNSKEY RDATA is that of a key which may sign a zone, as far as its public half tells.
///
/// # Errors
///
/// [`KeyError::Algorithm`] or [`KeyError::Public`].
pub fn check_public(dnskey: &[u8]) -> Result<(), KeyError> {
    let (algorithm, public) = public_of(dnskey)?;
    let is_whole = match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
            public.len() == 2 * algorithm.default_bits() / 8
        }
        Algorithm::Ed25519 => public.len() == 32,
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            rsa_parts(public).is_some_and(|(_, modulus)| !modulus.is_empty())
        }
    };
    is_whole.then_some(()).ok_or(KeyError::Public("has a public key of a wrong length"))
}

fn random() -> &'static SystemRandom {
    static RANDOM: std::sync::OnceLock<SystemRandom> = std::sync::OnceLock::new();
    RANDOM.get_or_init(SystemRandom::new)
}

/// Octets nobody can foretell; none when the system has none to give.
pub(super) fn lot() -> Option<[u8; 20]> {
    ring::rand::generate(random()).ok().map(|lot| lot.expose())
}

/// Whether `signature` over `data` is one of the key whose DNSKEY RDATA is `dnskey`.
pub fn verifies(dnskey: &[u8], data: &[u8], signature: &[u8]) -> bool {
    let Some((&[_, _, _, number], public)) = dnskey.split_first_chunk::<4>() else { return false };
    match Algorithm::from_number(number) {
        Ok(algorithm @ (Algorithm::RsaSha256 | Algorithm::RsaSha512)) => {
            let Some((exponent, modulus)) = rsa_parts(public) else { return false };
            let parameters = match algorithm {
                Algorithm::RsaSha256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                _ => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            };
            let key = signature::RsaPublicKeyComponents { n: modulus, e: exponent };
            key.verify(parameters, data, signature).is_ok()
        }
        Ok(Algorithm::Ed25519) => {
            UnparsedPublicKey::new(&signature::ED25519, public).verify(data, signature).is_ok()
        }
        Ok(algorithm) => {
            let parameters: &dyn signature::VerificationAlgorithm = match algorithm {
                Algorithm::EcdsaP384 => &signature::ECDSA_P384_SHA384_FIXED,
                _ => &signature::ECDSA_P256_SHA256_FIXED,
            };
            let point = [&[4], public].concat();
            UnparsedPublicKey::new(parameters, point).verify(data, signature).is_ok()
        }
        Err(_) => false,
    }
}

/// The key tag of DNSKEY RDATA ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) appendix B).
pub fn key_tag(dnskey: &[u8]) -> u16 {
    let sum = dnskey.iter().enumerate().fold(0u32, |sum, (at, &octet)| {
        sum.wrapping_add(if at % 2 == 0 { u32::from(octet) << 8 } else { u32::from(octet) })
    });
    (sum.wrapping_add(sum >> 16 & 0xFFFF) & 0xFFFF) as u16
}

/// DNSKEY RDATA of a public key.
pub fn dnskey_rdata(flags: u16, algorithm: Algorithm, public: &[u8]) -> Vec<u8> {
    let [f0, f1] = flags.to_be_bytes();
    [&[f0, f1, 3, algorithm.number()], public].concat()
}

fn pair_of(algorithm: Algorithm, public: &[u8], secret: &[u8]) -> Result<Pair, KeyError> {
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
            let octets = algorithm.default_bits() / 8;
            if secret.len() != octets {
                return Err(KeyError::Secret);
            }
            if public.len() != 2 * octets {
                return Err(KeyError::Public("has a public key of a wrong length"));
            }
            let point = [&[4], public].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                algorithm.ecdsa(),
                secret,
                &point,
                random(),
            );
            pair.map(Pair::Ecdsa).map_err(|_| KeyError::Mismatch)
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(secret).map_err(|_| KeyError::Secret)?;
            match pair.public_key().as_ref() == public {
                true => Ok(Pair::Ed25519(pair)),
                false => Err(KeyError::Mismatch),
            }
        }
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let key = RsaPrivateKey::from_pkcs1_der(secret).map_err(|_| KeyError::Secret)?;
            let bits = key.size() * 8;
            if !RSA_BITS.contains(&bits) {
                return Err(KeyError::Bits { bits });
            }
            let pair = RsaKeyPair::from_der(secret).map_err(|_| KeyError::Secret)?;
            if rsa_public(&key) != public {
                return Err(KeyError::Mismatch);
            }
            let padding: &'static dyn RsaEncoding = match algorithm {
                Algorithm::RsaSha256 => &signature::RSA_PKCS1_SHA256,
                _ => &signature::RSA_PKCS1_SHA512,
            };
            Ok(Pair::Rsa(Box::new(pair), padding))
        }
    }
}

/// The public half as DNSKEY holds it, and the secret.
type Halves = (Vec<u8>, Vec<u8>);

/// The halves of an RSA key; the secret is an `RSAPrivateKey` ([RFC 8017](https://www.rfc-editor.org/rfc/rfc8017) §A.1.2).
pub(super) fn rsa_halves(key: &RsaPrivateKey) -> Result<Halves, KeyError> {
    let secret = key.to_pkcs1_der().map_err(|_| KeyError::Secret)?;
    Ok((rsa_public(key), secret.as_bytes().to_vec()))
}

/// Exponent and modulus as DNSKEY holds them ([RFC 3110](https://www.rfc-editor.org/rfc/rfc3110) §2).
fn rsa_public(key: &RsaPrivateKey) -> Vec<u8> {
    let (exponent, modulus) = (key.e().to_bytes_be(), key.n().to_bytes_be());
    let len = match u8::try_from(exponent.len()) {
        Ok(len) => vec![len],
        Err(_) => [&[0], (exponent.len() as u16).to_be_bytes().as_slice()].concat(),
    };
    [len, exponent, modulus].concat()
}

/// Exponent and modulus out of a DNSKEY's public key ([RFC 3110](https://www.rfc-editor.org/rfc/rfc3110) §2).
fn rsa_parts(public: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match public {
        [0, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]).into(), rest),
        [len, rest @ ..] => (usize::from(*len), rest),
        [] => return None,
    };
    rest.split_at_checked(len)
}

/// The halves of an ECDSA key out of a PKCS#8 document that has both.
fn ecdsa_halves(algorithm: Algorithm, document: &[u8]) -> Result<Halves, KeyError> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm.ecdsa(), document, random())
        .map_err(|_| KeyError::Secret)?;
    let point = pair.public_key().as_ref();
    let public = point.strip_prefix(&[4]).ok_or(KeyError::Secret)?.to_vec();
    // ring took the document, so it is the one form it knows: the scalar stands behind the version
    // of the `ECPrivateKey` ([RFC 5915] §3).
    let octets = algorithm.default_bits() / 8;
    let head = [2, 1, 1, 4, octets as u8];
    let at = document.windows(head.len()).position(|window| window == head);
    let at = at.ok_or(KeyError::Secret)? + head.len();
    let scalar = document.get(at..at + octets).ok_or(KeyError::Secret)?;
    Ok((public, scalar.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each; an RSA key takes long to make, so both sizes of hash share one secret.
    fn each() -> Vec<SigningKey> {
        let quick = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Ed25519];
        let quick = quick.map(|algorithm| SigningKey::generate(algorithm, 0, 257).unwrap());
        let rsa = SigningKey::generate(Algorithm::RsaSha256, 2048, 257).unwrap();
        let public = rsa.dnskey().get(4..).unwrap();
        let other = dnskey_rdata(257, Algorithm::RsaSha512, public);
        let other = SigningKey::from_parts(&other, rsa.secret()).unwrap();
        quick.into_iter().chain([rsa, other]).collect()
    }

    #[test]
    fn what_a_key_signs_its_own_dnskey_verifies() {
        for key in each() {
            let mut signature = Vec::new();
            key.sign(b"data", &mut signature).unwrap();
            assert!(verifies(key.dnskey(), b"data", &signature), "{key:?}");
            assert!(!verifies(key.dnskey(), b"Data", &signature), "{key:?}");
            assert_eq!(key.tag(), key_tag(key.dnskey()));
            assert_eq!(Algorithm::from_number(key.dnskey()[3]), Ok(key.algorithm()));
        }
    }

    #[test]
    fn a_key_comes_back_from_its_parts_and_only_from_its_own() {
        for (one, other) in each().iter().zip(&each()) {
            let back = SigningKey::from_parts(one.dnskey(), one.secret()).unwrap();
            assert_eq!((back.dnskey(), back.secret()), (one.dnskey(), one.secret()));
            let mixed = SigningKey::from_parts(one.dnskey(), other.secret()).map(|_| ());
            assert_eq!(mixed, Err(KeyError::Mismatch), "{one:?}");
        }
    }

    /// Goal: no two keys of a zone have one tag. Method: three of four tags are taken, then all.
    #[test]
    fn a_key_is_made_with_a_tag_that_no_other_has() {
        let beside = |taken: &[u16]| {
            SigningKey::generate_beside(Algorithm::Ed25519, 0, 257, taken).map(|key| key.tag())
        };
        let taken: Vec<u16> = (0..=u16::MAX).filter(|tag| tag % 4 != 0).collect();
        let free = (0..8).filter_map(|_| beside(&taken).ok());
        assert!(free.inspect(|tag| assert_eq!(tag % 4, 0)).count() > 0);
        let all: Vec<u16> = (0..=u16::MAX).collect();
        assert_eq!(beside(&all), Err(KeyError::Tags));
    }

    #[test]
    fn a_secret_shows_nowhere() {
        let key = SigningKey::generate(Algorithm::Ed25519, 0, 257).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("Ed25519") && !shown.contains(&format!("{:?}", key.secret())));
    }

    #[test]
    fn rfc8624_3_1_algorithms_that_must_not_sign_are_refused_with_the_reason() {
        for number in [1, 3, 5, 6, 7, 12, 16, 253] {
            let error = Algorithm::from_number(number).unwrap_err();
            assert!(error.to_string().contains(&format!("algorithm {number} is not used")));
        }
        let small = SigningKey::generate(Algorithm::RsaSha256, 1024, 256).unwrap_err();
        assert_eq!(small, KeyError::Bits { bits: 1024 });
        let brought = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        let (public, secret) = rsa_halves(&brought).unwrap();
        let dnskey = dnskey_rdata(256, Algorithm::RsaSha256, &public);
        let small = SigningKey::from_parts(&dnskey, &secret).map(|_| ());
        assert_eq!(small, Err(KeyError::Bits { bits: 1024 }));
    }

    #[test]
    fn a_public_half_is_looked_at_without_its_secret() {
        for key in each() {
            assert_eq!(check_public(key.dnskey()), Ok(()));
            let (flags, rest) = key.dnskey().split_at(2);
            let revoked = [&[1, 129][..], rest].concat();
            assert!(flags == [1, 1] && check_public(&revoked).is_err());
            assert!(check_public(&key.dnskey()[..5]).is_err(), "{key:?}");
        }
        assert!(check_public(&[1, 0, 2, 15]).unwrap_err().to_string().contains("protocol"));
    }

    #[test]
    fn new_keys_keep_clear_of_the_tags_a_zone_has() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let none = SigningKey::generate_beside(Algorithm::Ed25519, 0, 256, &all);
        assert_eq!(none.map(|_| ()), Err(KeyError::Tags));
    }
}
