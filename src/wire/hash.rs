//! The hash of a name: one number per suffix, from the root down.
//!
//! A name's hash is made from its parent's hash and its first label, so one pass over a query gives
//! the hashes of all names above it. Customers choose the names: without the process's secret nobody
//! can choose two that collide.
//!
//! Promises: case does not matter; equal names have equal hashes under one key.
//!
//! Does not: resist somebody who can read the hashes. They never leave the process.

/// Octets mixed in one step: the length octet and the first fifteen of a label fill the first.
pub(super) const BLOCK: usize = 16;

/// The secret that every hash of this process depends on. Draw it anew at each start.
#[derive(Clone)]
pub struct HashKey {
    root: u64,
    low: u64,
    high: u64,
}

impl HashKey {
    /// A key from random octets.
    pub fn new(secret: [u8; 24]) -> HashKey {
        let word = |at: usize| {
            let octets = secret.get(at..at + 8).and_then(|octets| octets.try_into().ok());
            u64::from_le_bytes(octets.unwrap_or_default())
        };
        // Odd multiplicands: a zero would map all labels to one hash.
        HashKey { root: word(0), low: word(8) | 1, high: word(16) | 1 }
    }

    /// The hash of the root.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The hash of `label` in front of the name whose hash is `parent`.
    #[inline]
    pub fn child(&self, parent: u64, label: &[u8]) -> u64 {
        match short_words(label) {
            Some([low, high]) => self.mix(parent, lower(low), lower(high)),
            None => self.any_child(parent, label),
        }
    }

    #[cold]
    fn any_child(&self, parent: u64, label: &[u8]) -> u64 {
        let mut octets = [0; 64];
        octets[0] = label.len() as u8;
        for (slot, octet) in octets.iter_mut().skip(1).zip(label) {
            *slot = octet.to_ascii_lowercase();
        }
        let blocks = octets.chunks_exact(BLOCK).take(label.len() / BLOCK + 1);
        blocks.fold(parent, |hash, block| {
            let [low, high] = block.first_chunk().map_or([0; 2], |block| words(*block));
            self.mix(hash, low, high)
        })
    }

    /// The hash of an uncompressed name.
    pub fn name(&self, wire: &[u8]) -> u64 {
        let mut labels = [&[] as &[u8]; 128];
        let mut count = 0;
        let mut rest = wire;
        while let Some((&len, tail)) = rest.split_first().filter(|(len, _)| **len > 0) {
            let Some((label, tail)) = tail.split_at_checked(usize::from(len)) else { break };
            let Some(slot) = labels.get_mut(count) else { break };
            *slot = label;
            count += 1;
            rest = tail;
        }
        let above = labels.iter().take(count).rev();
        above.fold(self.root, |hash, label| self.child(hash, label))
    }

    /// As [`child`](HashKey::child) for a label that is shorter than a block, in any case, given with its
    /// length octet and whatever follows it; none if it is longer.
    #[inline(always)]
    pub(super) fn short_child(&self, parent: u64, block: [u8; BLOCK]) -> Option<u64> {
        let len = usize::from(block[0]);
        if len >= BLOCK {
            return None;
        }
        let [low, high] = words(block);
        let [low_mask, high_mask] = *WITHIN.get(len)?;
        Some(self.mix(parent, lower(low) & low_mask, lower(high) & high_mask))
    }

    /// As [`child`](HashKey::child) for the label whose length octet is at `at` of a lower-case name
    /// in a buffer that goes on for at least 64 octets.
    #[inline(always)]
    pub(super) fn child_at(&self, parent: u64, name: &[u8], at: usize) -> u64 {
        let Some(octets) = name.get(at..).and_then(|rest| rest.first_chunk::<64>()) else {
            return parent;
        };
        let len = usize::from(octets[0] & 63);
        let first = block_at(octets, 0);
        match self.short_child(parent, first) {
            Some(hash) => hash,
            None => self.long_child(parent, octets, len, first),
        }
    }

    #[cold]
    fn long_child(&self, parent: u64, octets: &[u8; 64], len: usize, first: [u8; BLOCK]) -> u64 {
        let [low, high] = words(first);
        let mut hash = self.mix(parent, low, high);
        let mut left = len + 1 - BLOCK;
        let mut at = BLOCK;
        while left > 0 {
            let taken = left.min(BLOCK);
            let [low, high] = words(block_at(octets, at));
            let [low_mask, high_mask] = WITHIN.get(taken - 1).copied().unwrap_or_default();
            hash = self.mix(hash, low & low_mask, high & high_mask);
            left -= taken;
            at += BLOCK;
        }
        hash
    }

    /// Folded multiplication, twice: once is not enough to spread labels that count upwards.
    #[inline(always)]
    fn mix(&self, hash: u64, low: u64, high: u64) -> u64 {
        let (low, high) = (low ^ hash, high ^ hash.rotate_left(32));
        fold(fold(low ^ self.low, high ^ self.high), self.low)
    }
}

/// What of a block's two words are its octets 0 to n.
static WITHIN: [[u64; 2]; BLOCK] = {
    let mut masks = [[0; 2]; BLOCK];
    let mut n = 0;
    while n < BLOCK {
        let mask = u128::MAX >> (8 * (BLOCK - 1 - n));
        masks[n] = [mask as u64, (mask >> 64) as u64];
        n += 1;
    }
    masks
};

/// The words of a label shorter than a block, its length octet in front.
#[inline(always)]
fn short_words(label: &[u8]) -> Option<[u64; 2]> {
    let len = label.len();
    let octets = match len {
        0 => 0,
        // Two overlapping pieces are the whole.
        1 => u128::from(*label.first()?),
        2..4 => pieces(
            len,
            2,
            u16::from_le_bytes(*label.first_chunk()?),
            u16::from_le_bytes(*label.last_chunk()?),
        ),
        4..8 => pieces(
            len,
            4,
            u32::from_le_bytes(*label.first_chunk()?),
            u32::from_le_bytes(*label.last_chunk()?),
        ),
        8..BLOCK => pieces(
            len,
            8,
            u64::from_le_bytes(*label.first_chunk()?),
            u64::from_le_bytes(*label.last_chunk()?),
        ),
        _ => return None,
    };
    let block = octets << 8 | len as u128;
    Some([block as u64, (block >> 64) as u64])
}

/// What so many octets are together of which the first and the last `each` are given.
#[inline(always)]
fn pieces<T: Into<u128>>(len: usize, each: usize, first: T, last: T) -> u128 {
    first.into() | last.into() << (8 * (len - each))
}

#[inline(always)]
fn words(block: [u8; BLOCK]) -> [u64; 2] {
    let block = u128::from_le_bytes(block);
    [block as u64, (block >> 64) as u64]
}

/// A block in lower case; what is no ASCII letter stays. Written so that it becomes one vector's work.
#[inline(always)]
pub(super) fn lower_block(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    for octet in &mut block {
        *octet |= if octet.is_ascii_uppercase() { 0x20 } else { 0 };
    }
    block
}

/// Eight octets in lower case, in a register.
#[inline(always)]
fn lower(octets: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    let low = octets & !TOPS;
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let beyond_z = low + (0x7f - b'Z' as u64) * ONES;
    let letters = (from_a ^ beyond_z) & !octets & TOPS;
    octets | letters >> 2
}

#[inline(always)]
fn block_at(octets: &[u8; 64], at: usize) -> [u8; BLOCK] {
    octets.get(at..at + BLOCK).and_then(|block| block.try_into().ok()).unwrap_or_default()
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::wire::Name;

    fn key() -> HashKey {
        HashKey::new(*b"0123456789abcdefghijklmn")
    }

    #[test]
    fn many_octets_go_to_lower_case_as_one_does() {
        for octet in 0..=u8::MAX {
            let octets = [octet, b'A', 0, b'z', octet, 0xff, b'Z', octet];
            let lowered = octets.map(|octet| octet.to_ascii_lowercase());
            assert_eq!(lower(u64::from_le_bytes(octets)).to_le_bytes(), lowered);
            let block = [octets, octets].concat().try_into().unwrap();
            assert_eq!(lower_block(block).to_vec(), [lowered, lowered].concat());
        }
    }

    #[test]
    fn both_ways_to_hash_a_label_agree_at_every_length_and_in_any_case() {
        for len in 1..=63 {
            let label: Vec<u8> = (0..len).map(|at| b'A' + at % 26).collect();
            let mut buffer = [0xee; 320];
            buffer[0] = len;
            buffer[1..=label.len()].copy_from_slice(&label.to_ascii_lowercase());

            assert_eq!(key().child(7, &label), key().child_at(7, &buffer, 0), "{len}");
        }
    }

    #[test]
    fn a_name_hashes_as_its_labels_from_the_root_down() {
        let name = Name::parse("WWW.example.com.").unwrap();
        let com = key().child(key().root(), b"com");
        let www = key().child(key().child(com, b"example"), b"www");
        assert_eq!(key().name(name.as_wire()), www);
    }

    /// Goal: names that count upwards fill the pages of the table evenly, by their upper bits.
    /// Method: chi-square over 4096 cells; for an even hash it is 4095 ± 90.
    #[test]
    fn names_that_count_upwards_spread_evenly() {
        let zone = key().child(key().root(), b"example");
        for shift in [52, 0] {
            let mut cells = vec![0u32; 4096];
            for number in 0..400_000 {
                let hash = key().child(zone, format!("host-{number}").as_bytes());
                cells[(hash >> shift) as usize & 4095] += 1;
            }
            let mean = 400_000.0 / 4096.0;
            let chi: f64 = cells.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
            assert!((3600.0..4600.0).contains(&chi), "chi-square {chi}");
        }
    }

    /// Goal: nobody fills one page of the table with names of his choice, for he does not know the key.
    /// Method: the names that meet in one of 4096 cells under one key are spread under another.
    #[test]
    fn names_that_meet_under_one_key_do_not_under_another() {
        let other = HashKey::new(*b"nmlkjihgfedcba9876543210");
        let cell = |key: &HashKey, label: &str| key.child(key.root(), label.as_bytes()) >> 52;
        let labels = (0..1_000_000).map(|number| format!("customer-{number}"));
        let meeting: Vec<String> = labels.filter(|label| cell(&key(), label) == 7).collect();
        let cells: std::collections::BTreeSet<u64> =
            meeting.iter().map(|label| cell(&other, label)).collect();
        assert!(meeting.len() > 200 && cells.len() > 200, "{} in {}", meeting.len(), cells.len());
    }
}
