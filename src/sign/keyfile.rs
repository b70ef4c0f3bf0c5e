//! Key files of others: BIND's pair of `.key` and `.private`, and the PKCS#8 files of Knot DNS.
//!
//! A private half alone does not say which key it is: the public one, a DNSKEY record, comes with it.
//! What is written is BIND's form, which every other signer reads.
//!
//! Promises: halves that do not belong together are refused; no message shows a part of a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};

use super::Algorithm;
use super::key::{KeyError, SigningKey, ecdsa_halves, rsa_halves};
use crate::wire::{Name, Type, rdata};

/// Octets of one key file.
pub const FILE_OCTETS_MAX: usize = 16 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// What stands before the seed in the PKCS#8 form of an Ed25519 key ([RFC 8410](https://www.rfc-editor.org/rfc/rfc8410) §7).
const SEED_HEAD: [u8; 4] = [0x04, 0x22, 0x04, 0x20];

/// A key as two files.
pub struct Files {
    /// The DNSKEY record.
    pub public: String,
    /// The secret, in BIND's form.
    pub private: String,
}

fn file(what: impl Into<String>) -> KeyError {
    KeyError::File(what.into())
}

/// Puts a key together from the text of its two files.
///
/// # Errors
///
/// [`KeyError`] that says which half is wrong, or that they do not match.
pub fn read(public: &str, private: &str) -> Result<SigningKey, KeyError> {
    if public.len() > FILE_OCTETS_MAX || private.len() > FILE_OCTETS_MAX {
        return Err(file("is larger than 16 KiB"));
    }
    let dnskey = dnskey(public)?;
    let number = dnskey.get(3).copied().ok_or(KeyError::Public("is too short"))?;
    let algorithm = Algorithm::from_number(number)?;
    let secret = match private.contains(PEM_BEGIN) {
        true => from_pkcs8(algorithm, private)?,
        false => from_fields(algorithm, private)?,
    };
    SigningKey::from_parts(&dnskey, &secret)
}

/// The RDATA of the one DNSKEY record of a file; its owner, TTL and class may be left out.
fn dnskey(text: &str) -> Result<Box<[u8]>, KeyError> {
    let lines = text.lines().map(|line| line.split(';').next().unwrap_or_default().trim());
    let mut records = lines.filter(|line| !line.is_empty());
    let record = records.next().ok_or_else(|| file("has no DNSKEY record"))?;
    if records.next().is_some() {
        return Err(file("has more than one record: give one key at a time"));
    }
    let rdata = record.split_once("DNSKEY").map_or(record, |(_, rdata)| rdata).trim();
    rdata::parse(Type::DNSKEY, rdata, None).map_err(|error| file(format!("DNSKEY: {error}")))
}

fn from_pkcs8(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, KeyError> {
    let body = text.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END));
    let body: String = body.ok_or_else(|| file("has no end"))?.0.split_whitespace().collect();
    let document = STANDARD.decode(body).map_err(|_| file("is not Base64"))?;
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => Ok(ecdsa_halves(algorithm, &document)?.1),
        Algorithm::Ed25519 => {
            let at = document.windows(SEED_HEAD.len()).position(|window| window == SEED_HEAD);
            let at = at.ok_or(KeyError::Secret)? + SEED_HEAD.len();
            Ok(document.get(at..at + 32).ok_or(KeyError::Secret)?.to_vec())
        }
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let key = RsaPrivateKey::from_pkcs8_der(&document).map_err(|_| KeyError::Secret)?;
            Ok(rsa_halves(&key)?.1)
        }
    }
}

fn from_fields(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, KeyError> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        value.ok_or_else(|| file(format!("has no {name}")))
    };
    let octets = |name: &str| {
        STANDARD.decode(field(name)?).map_err(|_| file(format!("{name} is not Base64")))
    };
    if !field("Private-key-format")?.starts_with("v1.") {
        return Err(file("is of a format other than v1"));
    }
    let number = field("Algorithm")?.split_whitespace().next().unwrap_or_default();
    if number != algorithm.number().to_string() {
        return Err(KeyError::Mismatch);
    }
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::Ed25519 => octets("PrivateKey"),
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let number = |name| octets(name).map(|octets| BigUint::from_bytes_be(&octets));
            let key = RsaPrivateKey::from_components(
                number("Modulus")?,
                number("PublicExponent")?,
                number("PrivateExponent")?,
                vec![number("Prime1")?, number("Prime2")?],
            );
            Ok(rsa_halves(&key.map_err(|_| KeyError::Secret)?)?.1)
        }
    }
}

/// Writes a key as its two files.
///
/// # Errors
///
/// [`KeyError::Secret`] for an RSA key that cannot be taken apart.
pub fn write(apex: &Name, key: &SigningKey) -> Result<Files, KeyError> {
    let shown = rdata::display(Type::DNSKEY, key.dnskey());
    let algorithm = key.algorithm();
    let mut private = format!(
        "Private-key-format: v1.3\nAlgorithm: {} ({})\n",
        algorithm.number(),
        algorithm.mnemonic()
    );
    let mut put = |name: &str, octets: &[u8]| {
        private.push_str(&format!("{name}: {}\n", STANDARD.encode(octets)));
    };
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::Ed25519 => {
            put("PrivateKey", key.secret());
        }
        Algorithm::RsaSha256 | Algorithm::RsaSha512 => {
            let mut rsa =
                RsaPrivateKey::from_pkcs1_der(key.secret()).map_err(|_| KeyError::Secret)?;
            rsa.precompute().map_err(|_| KeyError::Secret)?;
            let [p, q] = rsa.primes() else { return Err(KeyError::Secret) };
            let (dp, dq) = rsa.dp().zip(rsa.dq()).ok_or(KeyError::Secret)?;
            let coefficient = rsa.crt_coefficient().ok_or(KeyError::Secret)?;
            for (name, number) in [
                ("Modulus", rsa.n()),
                ("PublicExponent", rsa.e()),
                ("PrivateExponent", rsa.d()),
                ("Prime1", p),
                ("Prime2", q),
                ("Exponent1", dp),
                ("Exponent2", dq),
                ("Coefficient", &coefficient),
            ] {
                put(name, &number.to_bytes_be());
            }
        }
    }
    Ok(Files { public: format!("{apex} IN DNSKEY {shown}\n"), private })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back_from_the_files_it_is_written_to() {
        let apex = Name::parse("example.").unwrap();
        for algorithm in Algorithm::ALL {
            let bits = algorithm.default_bits().max(2048);
            let key = SigningKey::generate(algorithm, bits, 257).unwrap();
            let files = write(&apex, &key).unwrap();
            let back = read(&files.public, &files.private).unwrap();
            assert_eq!((back.dnskey(), back.tag()), (key.dnskey(), key.tag()));
            let other = SigningKey::generate(algorithm, bits, 257).unwrap();
            let other = write(&apex, &other).unwrap();
            let mixed = read(&files.public, &other.private).map(|_| ());
            assert_eq!(mixed, Err(KeyError::Mismatch), "{algorithm:?}");
        }
    }

    /// The key of RFC 8080 §6.1.
    #[test]
    fn rfc8080_6_1_the_example_key_is_read() {
        let public =
            "example.com. 3600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let private = "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n";
        assert_eq!(read(public, private).unwrap().tag(), 3613);
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_the_reason() {
        let public = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let private = |text: &str| read(public, text).map(|_| ()).unwrap_err().to_string();
        assert!(private("").contains("has no Private-key-format"));
        assert!(private("Private-key-format: v1.3\nAlgorithm: 15\n").contains("has no PrivateKey"));
        assert!(private("-----BEGIN PRIVATE KEY-----\n").contains("has no end"));
        let sha1 = read("257 3 7 AwEAAQ==", "").map(|_| ()).unwrap_err();
        assert!(sha1.to_string().contains("SHA-1"), "{sha1}");
    }
}
