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
use super::key::{KeyError, SigningKey, rsa_halves};
use crate::wire::{Name, Type, rdata};

/// Octets of one key file.
pub const FILE_OCTETS_MAX: usize = 16 * 1024;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// What stands before the seed in the PKCS#8 form of an Ed25519 key ([RFC 8410](https://www.rfc-editor.org/rfc/rfc8410) §7).
const SEED_HEAD: [u8; 4] = [0x04, 0x22, 0x04, 0x20];

/// What stands before the length and the scalar in an `ECPrivateKey`: its version, and that octets follow.
const SCALAR_HEAD: [u8; 4] = [0x02, 0x01, 0x01, 0x04];

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

/// Puts a key of the zone `apex` together from the text of its two files.
///
/// # Errors
///
/// [`KeyError`] that says which half is wrong, or that they do not match.
pub fn read(apex: &Name, public: &str, private: &str) -> Result<SigningKey, KeyError> {
    if public.len() > FILE_OCTETS_MAX || private.len() > FILE_OCTETS_MAX {
        return Err(file("is larger than 16 KiB"));
    }
    let dnskey = dnskey(apex, public)?;
    let number = dnskey.get(3).copied().ok_or(KeyError::Public("is too short"))?;
    let algorithm = Algorithm::from_number(number)?;
    let secret = match private.contains(PEM_BEGIN) {
        true => from_pkcs8(algorithm, private)?,
        false => from_fields(algorithm, private)?,
    };
    SigningKey::from_parts(&dnskey, &secret)
}

/// What a private half is that cannot be read here, and the way out; none if it may be one that can.
fn unread(text: &str) -> Option<&'static str> {
    let has = |word: &str| text.contains(word);
    if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
        return Some("is encrypted: decrypt it first, as with `openssl pkcs8 -topk8 -nocrypt`");
    }
    if has("-----BEGIN ") {
        return Some("is PEM, but no PKCS#8: change it with `openssl pkcs8 -topk8 -nocrypt`");
    }
    (has("Engine:") || has("Label:"))
        .then_some("names a key on a device (PKCS#11), which is not read here: make another key")
}

/// The RDATA of the one DNSKEY record of a file; its owner, TTL and class may be left out.
fn dnskey(apex: &Name, text: &str) -> Result<Box<[u8]>, KeyError> {
    let text = joined(text);
    let mut records = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let record = records.next().ok_or_else(|| file("has no DNSKEY record"))?;
    if records.next().is_some() {
        return Err(file("has more than one record: give one key at a time"));
    }
    let (head, rdata) = record.split_once("DNSKEY").unwrap_or(("", record));
    // In front of the type may stand the owner, the TTL and the class.
    let owner = head.split_whitespace().next().filter(|word| {
        *word != "@" && !word.eq_ignore_ascii_case("IN") && word.parse::<u32>().is_err()
    });
    if let Some(owner) = owner
        && Name::parse(owner).ok().as_ref() != Some(apex)
    {
        return Err(file(format!("is one of {owner}, not of {apex}")));
    }
    let parsed = rdata::parse(Type::DNSKEY, rdata.trim(), None);
    parsed.map_err(|error| file(format!("DNSKEY: {error}")))
}

/// The text without comments, what stands in parentheses on one line.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.lines() {
        for c in line.split(';').next().unwrap_or_default().chars() {
            inside = c == '(' || inside && c != ')';
            joined.push(if matches!(c, '(' | ')') { ' ' } else { c });
        }
        joined.push(if inside { ' ' } else { '\n' });
    }
    joined
}

fn from_pkcs8(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, KeyError> {
    let body = text.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END));
    let body: String = body.ok_or_else(|| file("has no end"))?.0.split_whitespace().collect();
    let document = STANDARD.decode(body).map_err(|_| file("is not Base64"))?;
    match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => scalar(algorithm, &document),
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

/// The scalar of an `ECPrivateKey` ([RFC 5915](https://www.rfc-editor.org/rfc/rfc5915) §3), in as many octets as its curve has: GnuTLS, which
/// writes Knot's files, takes it for a number and puts a zero before a high bit.
fn scalar(algorithm: Algorithm, document: &[u8]) -> Result<Vec<u8>, KeyError> {
    let octets = algorithm.default_bits() / 8;
    let at = document.windows(SCALAR_HEAD.len()).position(|window| window == SCALAR_HEAD);
    let rest = document.get(at.ok_or(KeyError::Secret)? + SCALAR_HEAD.len()..).unwrap_or_default();
    let (length, rest) = rest.split_first().ok_or(KeyError::Secret)?;
    let number = rest.get(..usize::from(*length)).ok_or(KeyError::Secret)?;
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    let missing = octets.checked_sub(number.len()).ok_or(KeyError::Secret)?;
    Ok([&vec![0; missing][..], number].concat())
}

fn from_fields(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, KeyError> {
    if let Some(what) = unread(text) {
        return Err(file(what));
    }
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
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
            let scalar = octets("PrivateKey")?;
            // Some write a number without its leading zeros.
            let zeros = (algorithm.default_bits() / 8).saturating_sub(scalar.len());
            Ok([vec![0; zeros], scalar].concat())
        }
        Algorithm::Ed25519 => octets("PrivateKey"),
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
    // Files of version 1.3 say from when a key is used; BIND takes one that does not for not used yet.
    let mut private = format!(
        "Private-key-format: v1.2\nAlgorithm: {} ({})\n",
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
    use super::super::rrsig::{self, Rrsig, Signable};
    use super::*;

    #[test]
    fn every_key_comes_back_from_the_files_it_is_written_to() {
        let apex = Name::parse("example.").unwrap();
        for algorithm in Algorithm::ALL {
            let bits = algorithm.default_bits().max(2048);
            let key = SigningKey::generate(algorithm, bits, 257).unwrap();
            let files = write(&apex, &key).unwrap();
            let back = read(&apex, &files.public, &files.private).unwrap();
            assert_eq!((back.dnskey(), back.tag()), (key.dnskey(), key.tag()));
            let other = SigningKey::generate(algorithm, bits, 257).unwrap();
            let other = write(&apex, &other).unwrap();
            let mixed = read(&apex, &files.public, &other.private).map(|_| ());
            assert_eq!(mixed, Err(KeyError::Mismatch), "{algorithm:?}");
        }
    }

    /// An example of an RFC: a zone, the two files of its key, the DS of that, and a record signed.
    struct Example {
        zone: &'static str,
        public: &'static str,
        private: &'static str,
        ds: &'static str,
        digest: u8,
        record: (&'static str, Type, &'static str),
        rrsig: &'static str,
    }

    impl Example {
        fn read(&self) -> SigningKey {
            let private = format!("Private-key-format: v1.2\n{}", self.private);
            read(&Name::parse(self.zone).unwrap(), self.public, &private).unwrap()
        }

        fn rdata(rtype: Type, text: &str) -> Box<[u8]> {
            rdata::parse(rtype, text, None).unwrap()
        }

        /// The key is the RFC's: it announces itself as there, and signed what is signed there.
        fn holds(&self) {
            let key = self.read();
            let zone = Name::parse(self.zone).unwrap();
            let ds = super::super::made::ds(&zone, key.dnskey(), self.digest).unwrap();
            assert_eq!(ds, Example::rdata(Type::DS, self.ds));
            let (owner, rtype, text) = self.record;
            let (owner, octets) = (Name::parse(owner).unwrap(), Example::rdata(rtype, text));
            let set =
                Signable { owner: owner.as_wire(), rtype, ttl: 3600, rdatas: &[octets.as_ref()] };
            let theirs = Example::rdata(Type::RRSIG, self.rrsig);
            assert!(rrsig::verifies(key.dnskey(), &theirs, &set), "{}", self.rrsig);
            let span = Rrsig::read(&theirs).unwrap().span;
            let ours = rrsig::make(&key, zone.as_wire(), &set, span, &mut Vec::new()).unwrap();
            assert!(rrsig::verifies(key.dnskey(), &ours, &set));
            if key.algorithm() == Algorithm::Ed25519 {
                assert_eq!(ours, theirs, "this algorithm leaves no choice");
            }
        }
    }

    #[test]
    fn rfc6605_6_the_example_keys_are_read_and_sign_as_there() {
        let p256 = Example {
            zone: "example.net.",
            public: "example.net. 3600 IN DNSKEY 257 3 13 (\n GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edb\n krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA== )\n",
            private: "Algorithm: 13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=\n",
            ds: "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
            digest: 2,
            record: ("www.example.net.", Type::A, "192.0.2.1"),
            rrsig: "A 13 3 3600 20100909100439 20100812100439 55648 example.net. qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
        };
        p256.holds();
        let p384 = Example {
            public: "example.net. 3600 IN DNSKEY 257 3 14 (\n xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1\n w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8\n /uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40 )\n",
            private: "Algorithm: 14 (ECDSAP384SHA384)\nPrivateKey: WURgWHCcYIYUPWgeLmiPY2DJJk02vgrmTfitxgqcL4vwW7BOrbawVmVe0d9V94SR\n",
            ds: "10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405c3008a946df983d6",
            digest: 4,
            rrsig: "A 14 3 3600 20100909102025 20100812102025 10771 example.net. /L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
            ..p256
        };
        p384.holds();
    }

    #[test]
    fn rfc8080_6_1_the_example_keys_are_read_and_sign_as_there() {
        let first = Example {
            zone: "example.com.",
            public: "example.com. 3600 IN DNSKEY 257 3 15 (\n l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4= )\n",
            private: "Algorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n",
            ds: "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
            digest: 2,
            record: ("example.com.", Type::MX, "10 mail.example.com."),
            rrsig: "MX 15 2 3600 1440021600 1438207200 3613 example.com. oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
        };
        first.holds();
        let second = Example {
            public: "example.com. 3600 IN DNSKEY 257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
            private: "Algorithm: 15 (ED25519)\nPrivateKey: DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=\n",
            ds: "35217 15 2 401781b934e392de492ec77ae2e15d70f6575a1c0bc59c5275c04ebe80c6614c",
            rrsig: "MX 15 2 3600 1440021600 1438207200 35217 example.com. zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
            ..first
        };
        second.holds();
    }

    #[test]
    fn a_number_without_its_leading_zeros_is_the_same_number() {
        let files =
            std::iter::repeat_with(|| SigningKey::generate(Algorithm::EcdsaP256, 0, 257).unwrap());
        let key = files.take(100_000).find(|key| key.secret().first() == Some(&0)).unwrap();
        let files = write(&Name::root(), &key).unwrap();
        let short = STANDARD.encode(key.secret().get(1..).unwrap());
        let private = files.private.replace(&STANDARD.encode(key.secret()), &short);
        assert_ne!(private, files.private);
        let back = read(&Name::root(), &files.public, &private).unwrap();
        assert_eq!(back.secret(), key.secret());
    }

    #[test]
    fn a_scalar_is_as_long_as_its_curve_however_it_was_written() {
        let document = |number: &[u8]| [&SCALAR_HEAD[..], &[number.len() as u8], number].concat();
        let read = |number: &[u8]| scalar(Algorithm::EcdsaP256, &document(number));
        assert_eq!(read(&[7; 32]).unwrap(), [7; 32]);
        assert_eq!(read(&[&[0][..], &[200; 32]].concat()).unwrap(), [200; 32]);
        assert_eq!(read(&[7; 31]).unwrap(), [&[0][..], &[7; 31]].concat());
        assert!(read(&[7; 33]).is_err());
        assert!(scalar(Algorithm::EcdsaP256, &SCALAR_HEAD).is_err());
    }

    #[test]
    fn what_is_no_key_file_is_refused_with_the_reason() {
        let public = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        let apex = Name::parse("example.com.").unwrap();
        let read = |public: &str, text: &str| {
            read(&apex, public, text).map(|_| ()).unwrap_err().to_string()
        };
        let private = |text: &str| read(public, text);
        assert!(private("").contains("has no Private-key-format"));
        assert!(private("Private-key-format: v1.3\nAlgorithm: 15\n").contains("has no PrivateKey"));
        assert!(private("-----BEGIN PRIVATE KEY-----\n").contains("has no end"));
        assert!(private(&"x".repeat(FILE_OCTETS_MAX + 1)).contains("larger"));
        let two = format!("{public}\n{public}\n");
        assert!(read(&two, "").contains("more than one"));
        assert!(read("257 3 7 AwEAAQ==", "").contains("SHA-1"));
        for (owner, reason) in [
            ("other.com. 3600 IN", "is one of other.com., not of example.com."),
            ("www.example.com.", "is one of www.example.com., not of example.com."),
            ("EXAMPLE.com.", "has no Private-key-format"),
            ("@ IN", "has no Private-key-format"),
            ("3600 IN", "has no Private-key-format"),
        ] {
            let told = read(&format!("{owner} DNSKEY {public}"), "");
            assert!(told.contains(reason), "{owner}: {told}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_named_with_the_way_out() {
        let public = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        for (private, reason) in [
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=", "is encrypted: decrypt it"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
                "is encrypted: decrypt it",
            ),
            ("-----BEGIN EC PRIVATE KEY-----\nMHcC", "no PKCS#8"),
            ("Private-key-format: v1.3\nAlgorithm: 15\nEngine: cGtj\nLabel: a\n", "on a device"),
        ] {
            let told = read(&Name::root(), public, private).map(|_| ()).unwrap_err().to_string();
            assert!(told.contains(reason), "{private}: {told}");
        }
    }
}
