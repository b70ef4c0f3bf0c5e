//! Leaves: some entries of a chain in the order of their keys, in one immutable piece of memory.
//!
//! ```text
//! leaf  := n:u16 shared_len:u8 shared prefix:u64*n end:u32*n entry*n
//! entry := key_len:u16 records:u16 key image         an entry of no records is one to be taken out
//!
//! `key_len` has [PLAIN] set if the key is at most one label, in which nothing is escaped: an owner that is copied.
//! ```
//!
//! All keys begin with `shared`; `prefix` are the eight octets behind it, zeros where a key ends. They stand side
//! by side, so that a search looks at entries only where these eight do not decide: each entry is a miss of
//! the cache, and one search would have as many as it has steps.

use std::ops::Range;
use std::sync::Arc;

const ENTRY_HEAD: usize = 4;

/// Set in the length of a key that is at most one label as it stands in a name.
const PLAIN: u16 = 0x8000;

/// Octets of a record between its owner and its RDATA.
const RECORD_MIDDLE: usize = 10;

const LEAF_HEAD: usize = 3;

/// One NSEC or NSEC3 RRset with its signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'s> {
    pub key: &'s [u8],
    /// How many records the image has.
    pub records: u16,
    /// The first record behind its owner, then the others, whose owners are two octets to be written over.
    pub image: &'s [u8],
    /// All of it, to be [read](Entry::read) again.
    pub octets: &'s [u8],
}

impl<'s> Entry<'s> {
    #[inline]
    pub fn read(octets: &'s [u8]) -> Option<Entry<'s>> {
        let (&[k0, k1, r0, r1], rest) = octets.split_first_chunk::<ENTRY_HEAD>()?;
        let key_len = u16::from_be_bytes([k0, k1]) & !PLAIN;
        let (key, image) = rest.split_at_checked(key_len.into())?;
        Some(Entry { key, records: u16::from_be_bytes([r0, r1]), image, octets })
    }

    /// The one label its owner has below the apex, or none at all; absent if there are more, or it is not
    /// the key as it stands.
    #[inline]
    pub fn label(self) -> Option<&'s [u8]> {
        let head = self.octets.first_chunk().map(|head| u16::from_be_bytes(*head))?;
        let label = self.key.strip_suffix(&[0]).unwrap_or(self.key);
        (head & PLAIN != 0).then_some(label)
    }

    /// The records, without their owners.
    pub fn records(self) -> impl Iterator<Item = &'s [u8]> {
        let (mut rest, mut owner) = (self.image, 0);
        std::iter::from_fn(move || {
            let record = rest.get(owner..)?;
            let &[.., l0, l1] = record.first_chunk::<RECORD_MIDDLE>()?;
            let len = RECORD_MIDDLE + usize::from(u16::from_be_bytes([l0, l1]));
            let (record, tail) = record.split_at_checked(len)?;
            (rest, owner) = (tail, 2);
            Some(record)
        })
    }
}

/// Writes an entry behind `out`; `put_image` writes its image and returns how many records that has.
pub(super) fn put_entry(
    out: &mut Vec<u8>,
    key: &[u8],
    put_image: impl FnOnce(&mut Vec<u8>) -> u16,
) {
    let from = out.len();
    let label = key.strip_suffix(&[0]).unwrap_or(key);
    let plain = if label.iter().all(|&octet| octet > 1) { PLAIN } else { 0 };
    out.extend_from_slice(&(key.len() as u16 | plain).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(key);
    let records = put_image(out);
    if let Some(slot) = out.get_mut(from + 2..from + 4) {
        slot.copy_from_slice(&records.to_be_bytes());
    }
}

pub(super) fn key_of(entry: &[u8]) -> &[u8] {
    Entry::read(entry).map(|entry| entry.key).unwrap_or_default()
}

/// The first octets of a key, to compare most keys without a look at their leaves.
#[inline]
pub(super) fn prefix(key: &[u8]) -> u128 {
    match key.first_chunk() {
        Some(octets) => u128::from_be_bytes(*octets),
        None => short_prefix(key),
    }
}

fn short_prefix(key: &[u8]) -> u128 {
    let mut octets = [0; 16];
    octets.iter_mut().zip(key).for_each(|(slot, octet)| *slot = *octet);
    u128::from_be_bytes(octets)
}

#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// The prefix of the first key.
    prefix: u128,
    octets: Arc<[u8]>,
}

impl Leaf {
    /// A leaf of these entries, whose keys are in order.
    pub fn build(entries: &[&[u8]]) -> Leaf {
        let key = |entry: Option<&&'_ [u8]>| entry.map_or(&[][..], |entry| key_of(entry)).to_vec();
        let (first, last) = (key(entries.first()), key(entries.last()));
        let shared_len = first.iter().zip(&last).take_while(|(one, other)| one == other).count();
        let shared = first.get(..shared_len.min(u8::MAX.into())).unwrap_or_default();
        let head = LEAF_HEAD + shared.len() + 12 * entries.len();
        let whole = head + entries.iter().map(|entry| entry.len()).sum::<usize>();
        let mut octets = Vec::with_capacity(whole);
        octets.extend_from_slice(&(entries.len() as u16).to_be_bytes());
        octets.push(shared.len() as u8);
        octets.extend_from_slice(shared);
        for entry in entries {
            let rest = key_of(entry).get(shared.len()..).unwrap_or_default();
            octets.extend_from_slice(&((prefix(rest) >> 64) as u64).to_be_bytes());
        }
        let mut end = head;
        for entry in entries {
            end += entry.len();
            octets.extend_from_slice(&(end as u32).to_be_bytes());
        }
        entries.iter().for_each(|entry| octets.extend_from_slice(entry));
        Leaf { prefix: prefix(&first), octets: octets.into() }
    }

    /// The first octets of its first key.
    #[inline(always)]
    pub fn prefix(&self) -> u128 {
        self.prefix
    }

    /// All of it, to be prefetched.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Octets held, for the metrics.
    pub fn octets_held(&self) -> usize {
        self.octets.len() + size_of::<Leaf>() + 32
    }

    pub fn len(&self) -> usize {
        self.octets.first_chunk().map_or(0, |n| usize::from(u16::from_be_bytes(*n)))
    }

    /// What all keys begin with.
    #[inline]
    fn shared(&self) -> &[u8] {
        let len = self.octets.get(2).copied().unwrap_or_default();
        self.octets.get(LEAF_HEAD..LEAF_HEAD + usize::from(len)).unwrap_or_default()
    }

    /// The octets of an entry, not looked at.
    #[inline]
    pub fn entry_octets(&self, number: usize) -> Option<&[u8]> {
        self.octets.get(self.place(number)?)
    }

    /// Where an entry stands.
    #[inline]
    pub fn place(&self, number: usize) -> Option<Range<usize>> {
        let n = self.len();
        let ends_at = LEAF_HEAD + self.shared().len() + 8 * n;
        let end = |number: usize| {
            let at = ends_at + 4 * number;
            let end = self.octets.get(at..at + 4)?.first_chunk()?;
            Some(u32::from_be_bytes(*end) as usize)
        };
        let from = if number == 0 { ends_at + 4 * n } else { end(number - 1)? };
        Some(from..end(number)?)
    }

    #[inline]
    pub fn entry(&self, number: usize) -> Option<Entry<'_>> {
        Entry::read(self.entry_octets(number)?)
    }

    fn first_key(&self) -> &[u8] {
        self.entry(0).map(|entry| entry.key).unwrap_or_default()
    }

    #[inline]
    pub fn starts_at_or_before(&self, key: &[u8], key_prefix: u128) -> bool {
        self.prefix < key_prefix || self.prefix == key_prefix && self.first_key() <= key
    }

    /// The number of the last entry at or before `key`.
    #[inline]
    pub fn number_at_or_before(&self, key: &[u8]) -> Option<usize> {
        let (n, shared) = (self.len(), self.shared());
        let Some((begin, rest)) = key.split_at_checked(shared.len()) else {
            return if key < shared { None } else { n.checked_sub(1) };
        };
        if begin != shared {
            return if begin < shared { None } else { n.checked_sub(1) };
        }
        let wanted = (prefix(rest) >> 64) as u64;
        let from = LEAF_HEAD + shared.len();
        let (prefixes, _) = self.octets.get(from..from + 8 * n)?.as_chunks::<8>();
        let prefix = |octets: &[u8; 8]| u64::from_be_bytes(*octets);
        let before = prefixes.partition_point(|octets| prefix(octets) < wanted);
        let behind = prefixes.iter().skip(before);
        let same = behind.take_while(|octets| prefix(octets) == wanted).count();
        // Of those that begin alike the last that is not behind.
        let alike = (before..before + same).rev();
        let found = { alike }.find(|&number| self.entry(number).is_some_and(|it| it.key <= key));
        found.or(before.checked_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a search by eight octets finds what a search by whole keys finds.
    /// Method: keys that differ early, late, and in length alone, each sought with its neighbours.
    #[test]
    fn the_last_entry_at_or_before_a_key_is_found_whatever_keys_share() {
        let sets: [&[&[u8]]; 4] = [
            &[b"a", b"ab", b"b", b"ba"],
            &[b"host-1", b"host-1234567", b"host-12345678", b"host-123456789", b"host-2"],
            &[b"", b"\0", b"\0\0", b"\0\0\0\0\0\0\0\0\0", b"\x01"],
            &[b"only"],
        ];
        for keys in sets {
            let entries: Vec<Vec<u8>> = keys
                .iter()
                .map(|key| {
                    let mut entry = Vec::new();
                    put_entry(&mut entry, key, |_| 1);
                    entry
                })
                .collect();
            let leaf = Leaf::build(&entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for near in keys.iter().copied().chain([&b"host"[..], b"host-12345678\0", b"zz"]) {
                let mut tries = vec![near.to_vec(), [near, b"\0"].concat(), [near, b"x"].concat()];
                tries.extend(near.split_last().map(|(_, rest)| rest.to_vec()));
                for key in tries {
                    let want = keys.iter().rposition(|it| *it <= &key[..]);
                    assert_eq!(leaf.number_at_or_before(&key), want, "{key:?} in {keys:?}");
                }
            }
        }
    }

    #[test]
    fn records_are_told_apart_behind_their_owners() {
        let image = [&[0, 47, 0, 1, 0, 0, 0, 9, 0, 2, 7, 8][..], &[0xc0, 12]].concat();
        let image = [&image[..], &[0, 46, 0, 1, 0, 0, 0, 9, 0, 1, 9]].concat();
        let mut entry = Vec::new();
        put_entry(&mut entry, b"k", |out| {
            out.extend_from_slice(&image);
            2
        });
        let entry = Entry::read(&entry).unwrap();
        let records: Vec<&[u8]> = entry.records().collect();
        assert_eq!((entry.key, entry.records), (&b"k"[..], 2));
        assert_eq!(records, [&image[..12], &image[14..]]);
    }

    #[test]
    fn only_keys_of_one_label_and_no_escapes_are_labels_as_they_stand() {
        for (key, label) in [
            (&b""[..], Some(&b""[..])),
            (b"host\0", Some(b"host")),
            (b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", Some(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom")),
            (b"b\0a\0", None),
            (b"\x01\x01\0", None),
            (b"a\x01\x02\0", None),
        ] {
            let mut entry = Vec::new();
            put_entry(&mut entry, key, |_| 1);
            let entry = Entry::read(&entry).unwrap();
            assert_eq!((entry.key, entry.label()), (key, label));
        }
    }
}
