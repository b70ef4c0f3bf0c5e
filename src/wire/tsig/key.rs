//! Keys of TSIG: a name, an algorithm, a secret, and the MACs they make.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::wire::Name;
use crate::wire::header::HEADER_OCTETS;

/// Octets of the shortest secret: below, guessing it is no longer absurd.
pub const SECRET_OCTETS_MIN: usize = 10;

/// Octets of the longest secret.
pub const SECRET_OCTETS_MAX: usize = 512;

/// Octets of the shortest MAC anybody may ask for ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §5.2.2.1).
const MAC_OCTETS_MIN: usize = 10;

/// How a MAC is made ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    HmacSha1,
    HmacSha224,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::HmacSha1,
        Algorithm::HmacSha224,
        Algorithm::HmacSha256,
        Algorithm::HmacSha384,
        Algorithm::HmacSha512,
    ];

    /// As people write it: `hmac-sha256`.
    pub fn text(self) -> &'static str {
        match self {
            Algorithm::HmacSha1 => "hmac-sha1",
            Algorithm::HmacSha224 => "hmac-sha224",
            Algorithm::HmacSha256 => "hmac-sha256",
            Algorithm::HmacSha384 => "hmac-sha384",
            Algorithm::HmacSha512 => "hmac-sha512",
        }
    }

    /// The algorithm that is written so, with or without a final dot.
    pub fn parse(text: &str) -> Option<Algorithm> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.text().eq_ignore_ascii_case(text))
    }

    /// Its name on the wire.
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Algorithm::HmacSha1 => b"\x09hmac-sha1\0",
            Algorithm::HmacSha224 => b"\x0bhmac-sha224\0",
            Algorithm::HmacSha256 => b"\x0bhmac-sha256\0",
            Algorithm::HmacSha384 => b"\x0bhmac-sha384\0",
            Algorithm::HmacSha512 => b"\x0bhmac-sha512\0",
        }
    }

    /// Octets of a whole MAC.
    pub fn mac_octets(self) -> usize {
        match self {
            Algorithm::HmacSha1 => 20,
            Algorithm::HmacSha224 => 28,
            Algorithm::HmacSha256 => 32,
            Algorithm::HmacSha384 => 48,
            Algorithm::HmacSha512 => 64,
        }
    }

    /// Octets of the shortest MAC of this algorithm that is one.
    pub fn mac_octets_min(self) -> usize {
        MAC_OCTETS_MIN.max(self.mac_octets() / 2)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A name and a secret that two sides share.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    pub name: Name,
    pub algorithm: Algorithm,
    secret: Box<[u8]>,
    /// Octets of the shortest MAC that is taken. Below it stands BADTRUNC.
    pub(super) mac_octets: usize,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({} {}, secret not shown)", self.name, self.algorithm)
    }
}

/// Why something is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Fewer than [`SECRET_OCTETS_MIN`], more than [`SECRET_OCTETS_MAX`].
    SecretOctets(usize),
    /// Not base64.
    SecretText,
    /// Shorter than [`Algorithm::mac_octets_min`], longer than [`Algorithm::mac_octets`].
    MacOctets(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::SecretOctets(octets) => write!(
                f,
                "the secret has {octets} octets: {SECRET_OCTETS_MIN} to {SECRET_OCTETS_MAX} are taken"
            ),
            KeyError::SecretText => f.write_str("the secret is not base64"),
            KeyError::MacOctets(octets) => write!(
                f,
                "a MAC of {octets} octets is shorter than half its hash, or longer than all of it (RFC 8945 §5.2.2.1)"
            ),
        }
    }
}

impl std::error::Error for KeyError {}

impl TsigKey {
    /// A key whose MACs are whole.
    ///
    /// # Errors
    ///
    /// [`KeyError::SecretOctets`].
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Result<TsigKey, KeyError> {
        if !(SECRET_OCTETS_MIN..=SECRET_OCTETS_MAX).contains(&secret.len()) {
            return Err(KeyError::SecretOctets(secret.len()));
        }
        let (name, mac_octets) = (name.to_lowercase(), algorithm.mac_octets());
        Ok(TsigKey { name, algorithm, secret: secret.into(), mac_octets })
    }

    /// As [`new`](TsigKey::new), the secret in base64, as every server's configuration writes it.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn from_base64(name: Name, algorithm: Algorithm, text: &str) -> Result<TsigKey, KeyError> {
        let secret = BASE64.decode(text.trim()).map_err(|_| KeyError::SecretText)?;
        TsigKey::new(name, algorithm, &secret)
    }

    /// The same key, but MACs are taken from `octets` on, and sent as long as they came.
    ///
    /// # Errors
    ///
    /// [`KeyError::MacOctets`].
    pub fn truncated_to(self, octets: usize) -> Result<TsigKey, KeyError> {
        if !(self.algorithm.mac_octets_min()..=self.algorithm.mac_octets()).contains(&octets) {
            return Err(KeyError::MacOctets(octets));
        }
        Ok(TsigKey { mac_octets: octets, ..self })
    }

    /// The secret, for whoever seals it or tells it to the one who made it.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The secret in base64.
    pub fn secret_base64(&self) -> String {
        BASE64.encode(&self.secret)
    }

    pub(super) fn hash(&self) -> Running {
        // HMAC takes secrets of any length, so the error cannot come; an empty MAC matches nothing.
        macro_rules! running {
            ($variant:ident, $hash:ty) => {
                Running::$variant(
                    <Hmac<$hash> as Mac>::new_from_slice(&self.secret)
                        .expect("HMAC takes a secret of any length"),
                )
            };
        }
        match self.algorithm {
            Algorithm::HmacSha1 => running!(Sha1, Sha1),
            Algorithm::HmacSha224 => running!(Sha224, Sha224),
            Algorithm::HmacSha256 => running!(Sha256, Sha256),
            Algorithm::HmacSha384 => running!(Sha384, Sha384),
            Algorithm::HmacSha512 => running!(Sha512, Sha512),
        }
    }
}

/// A MAC in the making.
#[derive(Clone)]
pub(super) enum Running {
    Sha1(Hmac<Sha1>),
    Sha224(Hmac<Sha224>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Running {
    pub(super) fn add(&mut self, octets: &[u8]) {
        match self {
            Running::Sha1(mac) => mac.update(octets),
            Running::Sha224(mac) => mac.update(octets),
            Running::Sha256(mac) => mac.update(octets),
            Running::Sha384(mac) => mac.update(octets),
            Running::Sha512(mac) => mac.update(octets),
        }
    }

    /// Adds a MAC that came before, its length in front.
    pub(super) fn add_mac(&mut self, mac: &[u8]) {
        self.add(&(mac.len() as u16).to_be_bytes());
        self.add(mac);
    }

    /// Adds a message as it was before it got its TSIG record.
    pub(super) fn add_message(&mut self, message: &[u8], original_id: u16, additionals: u16) {
        let Some((header, rest)) = message.split_first_chunk::<HEADER_OCTETS>() else { return };
        let mut header = *header;
        header[..2].copy_from_slice(&original_id.to_be_bytes());
        header[10..].copy_from_slice(&additionals.to_be_bytes());
        self.add(&header);
        self.add(rest);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Running::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Running::Sha224(mac) => mac.finalize().into_bytes().to_vec(),
            Running::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Running::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Running::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }

    /// Whether the MAC starts with `mac`, found out in a time that tells nothing.
    pub(super) fn matches(self, mac: &[u8]) -> bool {
        let matches = match self {
            Running::Sha1(own) => own.verify_truncated_left(mac),
            Running::Sha224(own) => own.verify_truncated_left(mac),
            Running::Sha256(own) => own.verify_truncated_left(mac),
            Running::Sha384(own) => own.verify_truncated_left(mac),
            Running::Sha512(own) => own.verify_truncated_left(mac),
        };
        matches.is_ok()
    }
}
