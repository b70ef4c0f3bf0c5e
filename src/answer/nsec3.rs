//! The hashes of NSEC3 ([RFC 5155] §5), and the labels they are written as.
//!
//! Only SHA-1 is defined. A name that fills no more than one block of it is hashed without a state to be kept,
//! and can be put there first and hashed later, with those of other queries.
//!
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use sha1::{Digest, Sha1};

use crate::wire::reply::copy;

/// The hash of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hash(pub [u8; HASH]);

/// Octets of a hash: there is but SHA-1.
const HASH: usize = 20;

/// Octets of the label a hash is written as.
const LABEL: usize = HASH * 8 / 5;

/// Eight octets that are all one.
const ONES: u64 = 0x0101_0101_0101_0101;

impl Hash {
    /// Its first octets, as a number: what the first eight of its label say.
    #[inline]
    pub fn begin(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first)) >> (64 - HASH_BEGIN_BITS)
    }

    /// The label that it is written as ([RFC 4648](https://www.rfc-editor.org/rfc/rfc4648) §7), in lower case.
    #[inline]
    pub fn label(&self) -> [u8; LABEL] {
        let mut label = [0; LABEL];
        for (at, eight) in label.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // The octets before the last five were others' in the piece before, and fall away.
            let from = (5 * at).min(HASH - 8);
            let piece = self.0.get(from..).and_then(|piece| piece.first_chunk());
            let bits = u64::from_be_bytes(piece.copied().unwrap_or_default());
            let bits = bits >> (24 - 8 * (5 * at - from));
            // Halved three times, there are five bits to an octet.
            let bits = bits << 12 & 0x000f_ffff_0000_0000 | bits & 0x000f_ffff;
            let bits = bits << 6 & 0x03ff_0000_03ff_0000 | bits & 0x03ff_0000_03ff;
            let bits = bits << 3 & 0x1f00_1f00_1f00_1f00 | bits & 0x001f_001f_001f_001f;
            let letters = ((bits + (0x80 - 10) * ONES) & (0x80 * ONES)) >> 7;
            let text = bits + u64::from(b'0') * ONES + u64::from(b'a' - b'9' - 1) * letters;
            *eight = text.to_be_bytes();
        }
        label
    }
}

/// Whether a label in lower case is what a hash is written as.
pub(super) fn is_hash_label(label: &[u8]) -> bool {
    label.len() == LABEL && label.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'v'))
}

/// Bits of a [hash's begin](Hash::begin).
pub(super) const HASH_BEGIN_BITS: u32 = 40;

/// The [begin](Hash::begin) of the hash whose label begins with these octets.
#[inline]
pub(super) fn hash_begin(label: u128) -> u64 {
    let text = (label >> 64) as u64;
    let letters = text >> 6 & ONES;
    let bits = text.wrapping_sub(u64::from(b'0') * ONES + u64::from(b'a' - b'9' - 1) * letters);
    let bits = bits >> 3 & 0x03e0_03e0_03e0_03e0 | bits & 0x001f_001f_001f_001f;
    let bits = bits >> 6 & 0x000f_fc00_000f_fc00 | bits & 0x0000_03ff_0000_03ff;
    bits >> 12 & 0x00ff_fff0_0000 | bits & 0x000f_ffff
}

/// Hashes names as one chain does ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §5).
pub(super) struct Hasher<'p> {
    pub iterations: u16,
    pub salt: &'p [u8],
}

#[cfg(test)]
thread_local! {
    /// How many rounds of hashing this thread did: what a query costs, whatever the machine.
    pub(super) static ROUNDS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Hasher<'_> {
    /// The hash of a lower-case name.
    pub(super) fn name(&self, name: &[u8]) -> Hash {
        self.iterate(&[], name)
    }

    /// The hash of the wildcard below a name.
    pub(super) fn star(&self, name: &[u8]) -> Hash {
        self.iterate(&[1, b'*'], name)
    }

    fn iterate(&self, front: &[u8], name: &[u8]) -> Hash {
        self.go_on(sha1([front, name, self.salt]))
    }

    /// Does the rounds behind the first.
    #[inline]
    fn go_on(&self, first: Hash) -> Hash {
        #[cfg(test)]
        ROUNDS.set(ROUNDS.get() + usize::from(self.iterations) + 1);
        (0..self.iterations).fold(first, |hash, _| sha1([&[], &hash.0, self.salt]))
    }

    /// Puts a lower-case name into a block of zeros, to be [hashed](Hasher::block) later; false if it has no room there.
    #[inline]
    pub(super) fn put_name(&self, name: &[u8], block: &mut [u8; BLOCK]) -> bool {
        put_block([&[], name, self.salt], block)
    }

    /// The hash of the name that was [put](Hasher::put_name) there.
    #[inline]
    pub(super) fn block(&self, block: &[u8; BLOCK]) -> Hash {
        self.go_on(hash_block(block))
    }
}

/// Octets of a block of SHA-1.
pub(super) const BLOCK: usize = 64;

/// Octets that fit into one block of SHA-1 with the mark of their end and their count.
const BLOCK_ROOM: usize = 55;

/// The hash of these octets, one behind the other.
#[inline]
fn sha1(parts: [&[u8]; 3]) -> Hash {
    // One block, as most names are: made here, where nothing is kept for what may follow.
    let mut block = [0; BLOCK];
    match put_block(parts, &mut block) {
        true => hash_block(&block),
        false => {
            let all = parts.iter().fold(Sha1::new(), |all, part| all.chain_update(part));
            Hash(all.finalize().into())
        }
    }
}

/// Puts these octets and their end into `block`, all zeros so far, if they have room there.
#[inline]
fn put_block(parts: [&[u8]; 3], block: &mut [u8; BLOCK]) -> bool {
    let mut at = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        match block.get_mut(at..at + part.len()).filter(|slot| at + slot.len() <= BLOCK_ROOM) {
            Some(slot) => copy(slot, part),
            None => return false,
        }
        at += part.len();
    }
    if let Some(end) = block.get_mut(at) {
        *end = 0x80;
    }
    let [.., high, low] = block;
    [*high, *low] = (8 * at as u16).to_be_bytes();
    true
}

/// The hash of what fills one block.
#[inline]
fn hash_block(block: &[u8; BLOCK]) -> Hash {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    sha1::compress(&mut state, std::slice::from_ref(block.into()));
    let mut hash = [0; HASH];
    let words = hash.as_chunks_mut::<4>().0.iter_mut();
    words.zip(state).for_each(|(octets, word)| *octets = word.to_be_bytes());
    Hash(hash)
}

#[cfg(test)]
mod tests {
    use super::super::leaf::prefix;
    use super::*;

    #[test]
    fn the_begin_of_a_hash_is_read_off_its_label() {
        for octet in 0..=u8::MAX {
            let mut hash = Hash([octet; HASH]);
            hash.0[1] = octet.rotate_left(3) ^ 0x5a;
            hash.0[4] = !octet;
            assert_eq!(hash_begin(prefix(&hash.label())), hash.begin());
        }
    }

    #[test]
    fn names_of_any_length_hash_as_sha1_says() {
        for len in 0..=255usize {
            let name: Vec<u8> = (0..len).map(|octet| octet as u8).collect();
            for salt in [&[][..], &[1, 2, 3]] {
                let hash = |parts: &[&[u8]]| -> [u8; HASH] { Sha1::digest(parts.concat()).into() };
                let hasher = Hasher { iterations: 1, salt };
                assert_eq!(hasher.name(&name).0, hash(&[&hash(&[&name, salt]), salt]));
                let star = hash(&[&[1, b'*'], &name, salt]);
                assert_eq!(hasher.star(&name).0, hash(&[&star, salt]));
                let mut block = [0; BLOCK];
                let fits = hasher.put_name(&name, &mut block);
                assert_eq!(fits, len + salt.len() <= BLOCK_ROOM);
                assert!(!fits || hasher.block(&block) == hasher.name(&name));
            }
        }
    }

    /// Goal: hashes sort as their labels do, so that a chain may be kept by these.
    #[test]
    fn labels_of_hashes_sort_as_the_hashes() {
        let name = |number: u32| [&[4][..], &number.to_be_bytes(), &[0]].concat();
        let hasher = Hasher { iterations: 0, salt: &[] };
        let mut hashes: Vec<Hash> = (0..2000).map(|number| hasher.name(&name(number))).collect();
        hashes.extend([Hash([0; HASH]), Hash([0xff; HASH])]);
        hashes.sort_by_key(|hash| hash.0);
        assert!(hashes.iter().all(|hash| is_hash_label(&hash.label())));
        assert!(hashes.is_sorted_by(|one, next| one.label() < next.label()));
    }
}
