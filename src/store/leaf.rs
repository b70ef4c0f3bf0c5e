//! Leaves: rows of the index as sled keeps them, many in one value.
//!
//! To sled a value costs much the same whether it is long or short, and most rows are short. So rows
//! that are neighbours share one: a leaf holds all rows from its key on, up to the key of the next leaf.
//! Whatever rows change together and stand together are one write.
//!
//! ```text
//! leaf := crc:u32 row*                            CRC32C over the leaf's key and its rows
//! row  := key:u16 kind:u8 value:u16 octets        lengths, then key and value; in order of key
//! ```
//!
//! Numbers are big-endian. A value too long to stand here is kept apart in parts; in its place stand how
//! many there are, two octets, and its CRC32C, four.
//!
//! Does not: know where leaves are kept; see [`index`](super::index).

use super::rows::Octets;

/// A leaf of several rows is cut when it grows beyond this, in octets.
pub(super) const LEAF_BYTES: usize = 3 << 10;

/// Octets of a row besides its key and value.
const HEAD: usize = 5;

const HERE: u8 = 0;
const APART: u8 = 1;

/// The value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept<'a> {
    Here(&'a [u8]),
    Apart { parts: u16, crc: u32 },
}

/// The rows of a leaf, in order, from one on.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows<'a> {
    leaf: &'a [u8],
    /// Where the next row begins.
    pub at: usize,
}

/// The rows of the leaf at `key`; none if its octets are not those that were written.
pub(super) fn read<'a>(key: &[u8], leaf: &'a [u8]) -> Option<Rows<'a>> {
    let (crc, rows) = leaf.split_first_chunk()?;
    (u32::from_be_bytes(*crc) == crc_of(key, rows)).then(|| rows_from(leaf, crc.len()))
}

/// The rows from the one that begins at `at`, of a leaf that was [read](read).
pub(super) fn rows_from(leaf: &[u8], at: usize) -> Rows<'_> {
    Rows { leaf, at }
}

impl<'a> Iterator for Rows<'a> {
    type Item = (&'a [u8], Kept<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.leaf.get(self.at..)?.split_first_chunk::<HEAD>()?;
        let [k0, k1, kind, v0, v1] = *head;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([k0, k1])))?;
        let value = rest.get(..usize::from(u16::from_be_bytes([v0, v1])))?;
        self.at += HEAD + key.len() + value.len();
        let kept = match (kind, value) {
            (APART, &[p0, p1, c0, c1, c2, c3]) => Kept::Apart {
                parts: u16::from_be_bytes([p0, p1]),
                crc: u32::from_be_bytes([c0, c1, c2, c3]),
            },
            _ => Kept::Here(value),
        };
        Some((key, kept))
    }
}

/// Rows on their way into leaves, in order of key.
#[derive(Debug, Default)]
pub(super) struct Packer {
    octets: Vec<u8>,
    /// Where each row begins.
    starts: Vec<usize>,
}

impl Packer {
    /// Adds a row behind all others. Its key and its value have at most 65 535 octets.
    pub(super) fn push(&mut self, key: &[u8], value: Kept<'_>) {
        let (mut apart, kind) = ([0; 6], if let Kept::Here(_) = value { HERE } else { APART });
        let value = match value {
            Kept::Here(value) => value,
            Kept::Apart { parts, crc } => {
                apart[..2].copy_from_slice(&parts.to_be_bytes());
                apart[2..].copy_from_slice(&crc.to_be_bytes());
                &apart[..]
            }
        };
        self.starts.push(self.octets.len());
        self.octets.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.octets.push(kind);
        self.octets.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.octets.extend_from_slice(key);
        self.octets.extend_from_slice(value);
    }

    /// Cuts the rows into leaves, the first at `key`; none if there are no rows. Leaves are filled if
    /// `grows_at_end`, else all alike.
    pub(super) fn leaves(self, key: &[u8], grows_at_end: bool) -> Vec<(Octets, Vec<u8>)> {
        let total = self.octets.len();
        let fill = match grows_at_end {
            true => LEAF_BYTES,
            false => total.div_ceil(total.div_ceil(LEAF_BYTES).max(1)),
        };
        let (mut leaves, mut from) = (Vec::new(), 0);
        let ends = self.starts.iter().skip(1).chain([&total]);
        let mut last_end = 0;
        for &end in ends {
            if end - from > fill && last_end > from {
                leaves.push(self.leaf(key, &leaves, from..last_end));
                from = last_end;
            }
            last_end = end;
        }
        if last_end > from {
            leaves.push(self.leaf(key, &leaves, from..last_end));
        }
        leaves
    }

    /// The rows in `range` as a leaf behind those before it.
    fn leaf<T>(
        &self,
        first: &[u8],
        before: &[T],
        range: std::ops::Range<usize>,
    ) -> (Octets, Vec<u8>) {
        let rows = self.octets.get(range).unwrap_or_default();
        let own = rows_from(rows, 0).next().map_or(first, |(key, _)| key);
        let key = if before.is_empty() { first } else { own };
        let crc = crc_of(key, rows);
        (key.into(), [&crc.to_be_bytes(), rows].concat())
    }
}

fn crc_of(key: &[u8], rows: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn leaves_hold_the_rows_they_were_cut_from_each_from_its_key_on(
            rows in prop::collection::btree_map(
                prop::collection::vec(1u8..4, 1..6), (0usize..1500, any::<bool>()), 0..40),
            grows_at_end: bool,
        ) {
            let (mut packer, mut wanted) = (Packer::default(), Vec::new());
            let value = vec![7; 1500];
            for (key, (len, apart)) in &rows {
                let kept = match apart {
                    true => Kept::Apart { parts: *len as u16, crc: 9 },
                    false => Kept::Here(&value[..*len]),
                };
                packer.push(key, kept);
                wanted.push((key.as_slice(), kept));
            }
            let leaves = packer.leaves(&[1], grows_at_end);
            let mut found = Vec::new();
            for (n, (start, octets)) in leaves.iter().enumerate() {
                let rows: Vec<_> = read(start, octets).unwrap().collect();
                prop_assert!(octets.len() <= LEAF_BYTES + 4 || rows.len() == 1);
                let wanted = if n == 0 { &[1][..] } else { rows[0].0 };
                prop_assert_eq!(&**start, wanted);
                found.extend(rows);
            }
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_leaf_with_another_octet_or_at_another_key_is_damaged() {
        let mut packer = Packer::default();
        packer.push(b"key", Kept::Here(b"value"));
        let (key, octets) = packer.leaves(b"k", true).pop().unwrap();
        assert!(read(&key, &octets).is_some() && read(b"j", &octets).is_none());
        for at in 0..octets.len() {
            let mut octets = octets.clone();
            octets[at] ^= 1;
            assert!(read(&key, &octets).is_none(), "{at}");
        }
    }
}
