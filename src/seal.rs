//! Sealing: secrets on their way into the store, under a key that is not in it.
//!
//! The instance key is a file of its own in the data directory, readable by the server alone. What
//! is sealed is bound to its place: a secret moved to another row does not open.
//!
//! Promises: a backup of the store without the file gives no secret away.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// The file's name in the data directory.
pub const FILE: &str = "instance.key";

const KEY_OCTETS: usize = 32;

/// Octets that say which instance key sealed something.
const ID_OCTETS: usize = 8;

/// What is sealed begins with this; the form may change one day.
const FORM: u8 = 1;

/// Why a secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// Another instance key sealed it. The operator's to put back.
    OtherKey,
    /// It is damaged, or of another place.
    Damaged,
    /// The system gave no randomness.
    Random,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealError::OtherKey => {
                "secret was sealed by another instance key: put the instance.key back that belongs to this store"
            }
            SealError::Damaged => "sealed secret is damaged",
            SealError::Random => "system gave no random octets",
        })
    }
}

impl std::error::Error for SealError {}

/// Seals and opens with one instance key. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    key: Arc<LessSafeKey>,
    id: [u8; ID_OCTETS],
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// The instance key in `dir`; none if there is no such file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no key.
    pub fn find(dir: &Path) -> io::Result<Option<Sealer>> {
        let path = dir.join(FILE);
        let mut key = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(KEY_OCTETS as u64 + 1).read_to_end(&mut key)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let sealer = Sealer::new(&key).ok_or_else(|| {
            let text = format!("{} is not {KEY_OCTETS} octets", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Some(sealer))
    }

    /// The instance key in `dir`, made if there is none. For a store in which nothing is sealed yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or is no key.
    pub fn at(dir: &Path) -> io::Result<Sealer> {
        if let Some(sealer) = Sealer::find(dir)? {
            return Ok(sealer);
        }
        let key = make(dir, &dir.join(FILE))?;
        Sealer::new(&key).ok_or_else(|| io::Error::other("key of a wrong length"))
    }

    /// With a key that lives as long as the process: for stores in memory.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn passing() -> io::Result<Sealer> {
        let key = random::<KEY_OCTETS>().map_err(io::Error::other)?;
        Sealer::new(&key).ok_or_else(|| io::Error::other("key of a wrong length"))
    }

    fn new(key: &[u8]) -> Option<Sealer> {
        let unbound = UnboundKey::new(&AES_256_GCM, key).ok()?;
        let digest = ring::digest::digest(&ring::digest::SHA256, key);
        let id = *digest.as_ref().first_chunk()?;
        Some(Sealer { key: Arc::new(LessSafeKey::new(unbound)), id })
    }

    /// Which key this is; says nothing about the key itself.
    pub fn id(&self) -> [u8; ID_OCTETS] {
        self.id
    }

    /// Whether this key sealed it, by what it says of itself.
    pub fn has_sealed(&self, sealed: &[u8]) -> bool {
        sealed.strip_prefix(&[FORM]).is_some_and(|rest| rest.starts_with(&self.id))
    }

    /// Seals a secret for `place`, where alone it opens.
    ///
    /// # Errors
    ///
    /// [`SealError::Random`].
    pub fn seal(&self, place: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut body = secret.to_vec();
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut body,
        );
        sealed.map_err(|_| SealError::Damaged)?;
        Ok([&[FORM][..], &self.id, &nonce, &body].concat())
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    ///
    /// [`SealError::OtherKey`] or [`SealError::Damaged`].
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let rest = sealed.strip_prefix(&[FORM]).ok_or(SealError::Damaged)?;
        let (id, rest) = rest.split_first_chunk::<ID_OCTETS>().ok_or(SealError::Damaged)?;
        if *id != self.id {
            return Err(SealError::OtherKey);
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(place), &mut body);
        Ok(opened.map_err(|_| SealError::Damaged)?.to_vec())
    }
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets).map_err(|_| SealError::Random)?;
    Ok(octets)
}

/// Writes a new key where none is: complete, or not at all.
fn make(dir: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let key = random::<KEY_OCTETS>().map_err(io::Error::other)?;
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
        let (one, other) = (Sealer::passing().unwrap(), Sealer::passing().unwrap());
        let sealed = one.seal(b"here", b"secret").unwrap();
        assert_eq!(one.open(b"here", &sealed).unwrap(), b"secret");
        assert_eq!(one.open(b"there", &sealed), Err(SealError::Damaged));
        assert_eq!(other.open(b"here", &sealed), Err(SealError::OtherKey));
        assert!(one.has_sealed(&sealed) && !other.has_sealed(&sealed) && !one.has_sealed(b""));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(one.open(b"here", &damaged).is_err());
            assert!(one.open(b"here", &sealed[..at]).is_err());
        }
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn the_key_file_is_made_once_for_the_server_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Sealer::find(dir.path()).unwrap().is_none());
        let first = Sealer::at(dir.path()).unwrap();
        let sealed = first.seal(b"", b"x").unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Sealer::at(dir.path()).unwrap().open(b"", &sealed).unwrap(), b"x");
        fs::write(dir.path().join(FILE), b"short").unwrap();
        assert!(Sealer::at(dir.path()).is_err());
    }
}
