//! Key files of other signers: those of BIND both ways, PEM as Knot keeps it on the way in.
//!
//! A key comes as two texts: the private one, and the DNSKEY record it belongs to, which also says
//! what the key is for. Knot takes BIND's files (`keymgr import-bind`), so one form out is enough.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};

use super::key::{Algorithm, KeyError, SigningKey, rsa_halves};
use crate::wire::{Name, Type, rdata};

/// Octets of a key file that are read at most; an RSA key of 4096 bits has 4 KiB.
pub const FILE_OCTETS_MAX: usize = 16 * 1024;

/// Reads a key: `private` is BIND's `.private` file or a PKCS#8 PEM, `public` a text with its DNSKEY
/// record, as in BIND's `.key` file.
///
/// # Errors
///
/// [`KeyError::File`] with what cannot be read; otherwise as [`SigningKey::from_parts`].
pub fn read(private: &str, public: &str) -> Result<SigningKey, KeyError> {
    if private.len().max(public.len()) > FILE_OCTETS_MAX {
        return Err(KeyError::File(format!("is longer than {FILE_OCTETS_MAX} octets")));
    }
    let dnskey = dnskey_of(public)?;
    let algorithm = Algorithm::from_number(dnskey.get(3).copied().unwrap_or(0))?;
    let secret = match private.contains("-----BEGIN") {
        true => pem(private, algorithm)?,
        false => bind(private, algorithm)?,
    };
    SigningKey::from_parts(&dnskey, &secret)
}

/// The DNSKEY RDATA of the one record in a text.
fn dnskey_of(public: &str) -> Result<Box<[u8]>, KeyError> {
    let lines = public.lines().map(|line| line.split(';').next().unwrap_or_default());
    let joined = lines.collect::<Vec<_>>().join(" ").replace(['(', ')'], " ");
    let mut words = joined.split_whitespace();
    if !words.by_ref().any(|word| word.eq_ignore_ascii_case("DNSKEY")) {
        return Err(KeyError::File("of the public key has no DNSKEY record".into()));
    }
    let text = words.collect::<Vec<_>>().join(" ");
    rdata::parse(Type::DNSKEY, &text, None)
        .map_err(|error| KeyError::File(format!("of the public key: {error}")))
}

/// The secret in BIND's `.private` file.
fn bind(text: &str, algorithm: Algorithm) -> Result<Vec<u8>, KeyError> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let fields: HashMap<&str, &str> =
        pairs.map(|(field, value)| (field.trim(), value.trim())).collect();
    let missing = |field: &str| KeyError::File(format!("of the private key has no {field}"));
    let number = fields.get("Algorithm").and_then(|value| value.split_whitespace().next());
    let number = number.and_then(|number| number.parse::<u8>().ok());
    if number.ok_or_else(|| missing("Algorithm"))? != algorithm.number() {
        return Err(KeyError::Mismatch);
    }
    let octets = |field: &str| {
        let value = fields.get(field).ok_or_else(|| missing(field))?;
        let bad = |_| KeyError::File(format!("of the private key: {field} is not base64"));
        STANDARD.decode(value).map_err(bad)
    };
    match algorithm {
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let part = |field| octets(field).map(|octets| BigUint::from_bytes_be(&octets));
            let primes = vec![part("Prime1")?, part("Prime2")?];
            let key = RsaPrivateKey::from_components(
                part("Modulus")?,
                part("PublicExponent")?,
                part("PrivateExponent")?,
                primes,
            );
            Ok(rsa_halves(&key.map_err(|_| KeyError::Secret)?)?.1)
        }
        _ => {
            let secret = octets("PrivateKey")?;
            // Some write a scalar without its leading zeros.
            let len = algorithm.default_bits() / 8;
            let zeros = vec![0; len.saturating_sub(secret.len())];
            Ok([zeros, secret].concat())
        }
    }
}

/// The secret in a PKCS#8 PEM file.
fn pem(text: &str, algorithm: Algorithm) -> Result<Vec<u8>, KeyError> {
    let body = text.split("-----").nth(2).unwrap_or_default();
    let packed: String = body.split_whitespace().collect();
    let document = STANDARD
        .decode(packed)
        .map_err(|_| KeyError::File("of the private key is not base64 inside".into()))?;
    // An `ECPrivateKey` begins with version 1, an EdDSA key is an octet string in another.
    let head: [u8; 4] = match algorithm {
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let key = RsaPrivateKey::from_pkcs8_der(&document).map_err(|_| KeyError::Secret)?;
            return Ok(rsa_halves(&key)?.1);
        }
        Algorithm::Ed25519 => [4, 34, 4, 32],
        Algorithm::EcdsaP256 => [1, 1, 4, 32],
        Algorithm::EcdsaP384 => [1, 1, 4, 48],
    };
    let at = document.windows(head.len()).position(|window| window == head);
    let at = at.ok_or(KeyError::Secret)? + head.len();
    let secret = document.get(at..at + algorithm.default_bits() / 8).ok_or(KeyError::Secret)?;
    Ok(secret.to_vec())
}

/// A key as BIND's `.private` and `.key` files. The first is the secret: whoever gets it signs.
///
/// # Errors
///
/// [`KeyError::Secret`], which no key that stands gives.
pub fn write(key: &SigningKey, owner: &Name) -> Result<(String, String), KeyError> {
    let (number, mnemonic) = (key.algorithm().number(), key.algorithm().mnemonic());
    let mut private = format!("Private-key-format: v1.3\nAlgorithm: {number} ({mnemonic})\n");
    let mut put = |field: &str, octets: &[u8]| {
        let _ = writeln!(private, "{field}: {}", STANDARD.encode(octets));
    };
    match key.algorithm() {
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let mut rsa =
                RsaPrivateKey::from_pkcs1_der(key.secret()).map_err(|_| KeyError::Secret)?;
            rsa.precompute().map_err(|_| KeyError::Secret)?;
            let ([p, q], Some(dp), Some(dq), Some(qinv)) =
                (rsa.primes(), rsa.dp(), rsa.dq(), rsa.qinv())
            else {
                return Err(KeyError::Secret);
            };
            put("Modulus", &rsa.n().to_bytes_be());
            put("PublicExponent", &rsa.e().to_bytes_be());
            put("PrivateExponent", &rsa.d().to_bytes_be());
            put("Prime1", &p.to_bytes_be());
            put("Prime2", &q.to_bytes_be());
            put("Exponent1", &dp.to_bytes_be());
            put("Exponent2", &dq.to_bytes_be());
            put("Coefficient", &qinv.to_bytes_be().1);
        }
        _ => put("PrivateKey", key.secret()),
    }
    let public = format!("{owner} IN DNSKEY {}\n", rdata::display(Type::DNSKEY, key.dnskey()));
    Ok((private, public))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_written_for_bind_is_read_back() {
        let owner = Name::parse("example.").unwrap();
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519, Algorithm::RsaSha256] {
            let key = SigningKey::generate(algorithm, 2048, 257).unwrap();
            let (private, public) = write(&key, &owner).unwrap();
            let back = read(&private, &public).unwrap();
            assert_eq!((back.dnskey(), back.secret()), (key.dnskey(), key.secret()));
        }
    }

    /// The key and the file of [RFC 8080](https://www.rfc-editor.org/rfc/rfc8080) §6.
    #[test]
    fn rfc8080_6_the_example_key_signs_as_its_dnskey_says() {
        let private = "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n";
        let public = "example.com. 3600 IN DNSKEY 257 3 15 (\n l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= )\n";
        let key = read(private, public).unwrap();
        assert_eq!(key.tag(), 3613);
        let ds = super::super::made::ds(&Name::parse("example.com.").unwrap(), key.dnskey(), 2);
        let shown = rdata::display(Type::DS, &ds.unwrap()).to_string().to_ascii_lowercase();
        assert_eq!(
            shown,
            "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b"
        );
    }

    /// The keys and the files of [RFC 6605](https://www.rfc-editor.org/rfc/rfc6605) §6.
    #[test]
    fn rfc6605_6_1_the_example_key_signs_as_its_dnskey_says() {
        let private = "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=\n";
        let public = "example.net. 3600 IN DNSKEY 257 3 13 (\n GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edb\n krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA== )\n";
        let key = read(private, public).unwrap();
        assert_eq!(key.tag(), 55648);
        let ds = super::super::made::ds(&Name::parse("example.net.").unwrap(), key.dnskey(), 2);
        let shown = rdata::display(Type::DS, &ds.unwrap()).to_string().to_ascii_lowercase();
        assert_eq!(
            shown,
            "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17"
        );
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_with_the_reason() {
        let owner = Name::parse("example.").unwrap();
        let key = |algorithm| SigningKey::generate(algorithm, 0, 257).unwrap();
        let one = write(&key(Algorithm::Ed25519), &owner).unwrap();
        let other = write(&key(Algorithm::Ed25519), &owner).unwrap();
        let curve = write(&key(Algorithm::EcdsaP256), &owner).unwrap();
        let error = |private: &str, public: &str| read(private, public).unwrap_err();
        assert_eq!(error(&one.0, &other.1), KeyError::Mismatch);
        assert_eq!(error(&one.0, &curve.1), KeyError::Mismatch);
        assert!(matches!(error(&one.0, "example. IN A 192.0.2.1"), KeyError::File(_)));
        assert!(matches!(error("nothing", &one.1), KeyError::File(_)));
        let old = one.1.replace(" 3 15 ", " 3 7 ");
        assert!(error(&one.0, &old).to_string().contains("algorithm 7"));
        assert!(error(&"x".repeat(FILE_OCTETS_MAX + 1), &one.1).to_string().contains("longer"));
    }
}
