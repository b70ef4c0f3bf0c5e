//! The list of leaves: where each begins, noted when the store is closed.
//!
//! To find the leaves takes a look at all of the index, and who then loads the zones looks at all of it again.
//! So whoever closes the store in order writes down where they begin, and the next start takes that.
//!
//! ```text
//! list := title canary:u64 applied:u64 leaf* crc:u32       CRC32C over all before it
//! leaf := len:u16 key                                      in order of key
//! ```
//!
//! A list is true of one state of one index. It is written once that state is durable and nobody changes it any
//! more, and is taken away, durably, before anybody may: after a crash there is none. One that is damaged,
//! or of another index or state, is none.
//!
//! Does not: hold anything that the index does not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::files::{replace, sync_directory};
use super::rows::Octets;
use super::sorted::Sorted;

/// The largest list that is read, in octets: hundreds of millions of rows.
const LIST_BYTES_MAX: u64 = 1 << 30;

const TITLE: &[u8; 16] = b"nameplane leaves";

fn place(dir: &Path) -> PathBuf {
    dir.join("leaves")
}

/// Notes the leaves of the index in `dir`, which is durable as it was after transaction `applied`.
pub(super) fn write<'k>(
    dir: &Path,
    (canary, applied): (u64, u64),
    leaves: impl Iterator<Item = &'k Octets>,
) -> io::Result<()> {
    let mut octets = TITLE.to_vec();
    octets.extend_from_slice(&canary.to_be_bytes());
    octets.extend_from_slice(&applied.to_be_bytes());
    for key in leaves {
        let len = u16::try_from(key.len()).map_err(io::Error::other)?;
        octets.extend_from_slice(&len.to_be_bytes());
        octets.extend_from_slice(key);
    }
    octets.extend_from_slice(&crc32c::crc32c(&octets).to_be_bytes());
    replace(&place(dir), &octets)
}

/// Takes the list of the index in `dir` away; returns what it says if it is true of `applied`.
///
/// # Errors
///
/// The list may still be there: the index must not change then.
pub(super) fn take(dir: &Path, canary: u64, applied: u64) -> io::Result<Option<Sorted<()>>> {
    let path = place(dir);
    let mut octets = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(LIST_BYTES_MAX).read_to_end(&mut octets)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    fs::remove_file(&path)?;
    sync_directory(dir)?;
    Ok(read(&octets, canary, applied))
}

fn read(octets: &[u8], canary: u64, applied: u64) -> Option<Sorted<()>> {
    let (list, crc) = octets.split_last_chunk()?;
    if crc32c::crc32c(list) != u32::from_be_bytes(*crc) {
        return None;
    }
    let list = list.strip_prefix(TITLE)?;
    let list = list.strip_prefix(&canary.to_be_bytes())?;
    let mut rest = list.strip_prefix(&applied.to_be_bytes())?;
    let mut leaves = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (key, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        leaves.push((Octets::from(key), ()));
        rest = behind;
    }
    rest.is_empty().then(|| leaves.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn keys(leaves: &Sorted<()>) -> Vec<Octets> {
        leaves.keys(Bound::Unbounded, Bound::Unbounded).cloned().collect()
    }

    #[test]
    fn a_list_is_taken_once_and_only_for_the_state_it_is_true_of() {
        let dir = tempfile::tempdir().unwrap();
        let leaves: Vec<Octets> = ["", "a", "ab", "b"].map(|key| key.as_bytes().into()).into();
        let note = || write(dir.path(), (7, 3), leaves.iter()).unwrap();
        let take = |canary, applied| take(dir.path(), canary, applied).unwrap();

        note();
        assert_eq!(take(7, 3).map(|taken| keys(&taken)), Some(leaves.clone()));
        assert!(take(7, 3).is_none());
        for (canary, applied) in [(8, 3), (7, 2), (7, 4)] {
            note();
            assert!(take(canary, applied).is_none());
            assert!(take(7, 3).is_none());
        }
    }

    #[test]
    fn a_damaged_list_is_none() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), (7, 3), [Octets::from(b"aa".as_slice())].iter()).unwrap();
        let whole = fs::read(place(dir.path())).unwrap();

        assert!(read(&whole, 7, 3).is_some());
        for at in 0..whole.len() {
            let mut octets = whole.clone();
            octets[at] ^= 1;
            assert!(read(&octets, 7, 3).is_none());
            assert!(read(&whole[..at], 7, 3).is_none());
        }
    }
}
