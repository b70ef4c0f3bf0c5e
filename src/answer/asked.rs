//! The name an answer is sought for: that of the question, or the target of a CNAME before.
//!
//! Either stands somewhere in the message, so that owners can point to it.

use super::image::OWNER_AT;
use crate::wire::{HashKey, Query};

/// Octets of the longest name.
const NAME_MAX: usize = 255;

/// Labels of the longest name, the root not counted.
const LABELS_MAX: usize = 127;

/// Pointers followed within one name; more cannot stand in a message we wrote.
const POINTERS_MAX: usize = 64;

/// A name that stands in the message.
pub(super) trait Asked {
    /// How many labels it has, the root not counted.
    fn labels(&self) -> usize;
    /// Where the name `skip` labels above starts within this one.
    fn offset(&self, skip: usize) -> usize;
    /// The name `skip` labels above, in lower case.
    fn suffix(&self, skip: usize) -> &[u8];
    /// The hash of the name `skip` labels above.
    fn hash(&self, skip: usize) -> u64;
    /// Where the name that starts at `offset` within this one stands in the message.
    fn place(&self, offset: usize) -> u16;
    /// Whether this is the name of the question.
    fn is_question(&self) -> bool;
}

impl Asked for Query {
    #[inline(always)]
    fn labels(&self) -> usize {
        Query::labels(self)
    }

    #[inline(always)]
    fn offset(&self, skip: usize) -> usize {
        Query::offset(self, skip)
    }

    #[inline(always)]
    fn suffix(&self, skip: usize) -> &[u8] {
        Query::suffix(self, skip)
    }

    #[inline(always)]
    fn hash(&self, skip: usize) -> u64 {
        Query::hash(self, skip)
    }

    #[inline(always)]
    fn place(&self, offset: usize) -> u16 {
        (OWNER_AT + offset) as u16
    }

    #[inline(always)]
    fn is_question(&self) -> bool {
        true
    }
}

/// A name read out of the message.
pub(super) struct Chased {
    name: [u8; NAME_MAX],
    offsets: [u8; LABELS_MAX + 1],
    hashes: [u64; LABELS_MAX + 1],
    places: [u16; LABELS_MAX + 1],
    len: usize,
    labels: usize,
}

impl Chased {
    /// No name yet.
    pub fn new() -> Chased {
        Chased {
            name: [0; NAME_MAX],
            offsets: [0; LABELS_MAX + 1],
            hashes: [0; LABELS_MAX + 1],
            places: [0; LABELS_MAX + 1],
            len: 0,
            labels: 0,
        }
    }

    /// Takes over the name at `at` of `message`, its pointers followed.
    pub fn read(&mut self, message: &[u8], at: usize, key: &HashKey) -> Option<()> {
        self.read_unhashed(message, at)?;
        self.hash_with(key)
    }

    /// As [`read`](Chased::read); there are no hashes before they are [made](Chased::hash_with).
    pub fn read_unhashed(&mut self, message: &[u8], at: usize) -> Option<()> {
        (self.len, self.labels) = (0, 0);
        self.expand(message, at)
    }

    /// Hashes the name and those above it.
    pub fn hash_with(&mut self, key: &HashKey) -> Option<()> {
        let mut hash = key.root();
        *self.hashes.get_mut(self.labels)? = hash;
        for label in (0..self.labels).rev() {
            let rest = self.name.get(usize::from(*self.offsets.get(label)?)..)?;
            let (&len, rest) = rest.split_first()?;
            hash = key.child(hash, rest.get(..usize::from(len))?);
            *self.hashes.get_mut(label)? = hash;
        }
        Some(())
    }

    /// The first label.
    pub fn first_label(&self) -> &[u8] {
        let label = self.name.split_first();
        label.and_then(|(&len, rest)| rest.get(..usize::from(len))).unwrap_or_default()
    }

    /// Whether the name is `above`, which is in lower case, or below it.
    pub fn is_at_or_below(&self, above: &[u8]) -> bool {
        let Some(start) = self.len.checked_sub(above.len()) else { return false };
        let starts = self.offsets.iter().take(self.labels + 1);
        self.name.get(start..self.len) == Some(above) && { starts }
            .any(|&offset| usize::from(offset) == start)
    }

    fn expand(&mut self, message: &[u8], at: usize) -> Option<()> {
        let mut at = at;
        let mut pointers = 0;
        loop {
            let len = usize::from(*message.get(at)?);
            if len >= 0xc0 {
                at = (len & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                pointers += 1;
                if pointers > POINTERS_MAX {
                    return None;
                }
                continue;
            }
            *self.offsets.get_mut(self.labels)? = self.len as u8;
            *self.places.get_mut(self.labels)? = at as u16;
            let label = message.get(at..at + 1 + len)?;
            let slot = self.name.get_mut(self.len..self.len + 1 + len)?;
            slot.copy_from_slice(label);
            slot.make_ascii_lowercase();
            self.len += 1 + len;
            if len == 0 {
                return Some(());
            }
            self.labels += 1;
            at += 1 + len;
        }
    }
}

impl Asked for Chased {
    fn labels(&self) -> usize {
        self.labels
    }

    fn offset(&self, skip: usize) -> usize {
        self.offsets.get(skip).map_or(0, |&offset| usize::from(offset))
    }

    fn suffix(&self, skip: usize) -> &[u8] {
        self.name.get(self.offset(skip)..self.len).unwrap_or_default()
    }

    fn hash(&self, skip: usize) -> u64 {
        self.hashes.get(skip).copied().unwrap_or_default()
    }

    fn place(&self, offset: usize) -> u16 {
        let starts = self.offsets.iter().take(self.labels + 1);
        let label = starts.take_while(|&&start| usize::from(start) < offset).count();
        self.places.get(label).copied().unwrap_or_default()
    }

    fn is_question(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_pieces_knows_where_each_piece_stands() {
        let mut message = vec![0; 12];
        message.extend_from_slice(b"\x03WWW\x02ex\x00"); // 12, 16, 19
        message.extend_from_slice(b"\x01a\xc0\x10"); // 20
        let key = HashKey::new([7; 24]);

        let mut chased = Chased::new();
        chased.read(&message, 20, &key).unwrap();

        assert_eq!(chased.suffix(0), b"\x01a\x02ex\x00");
        assert_eq!((chased.labels(), chased.hash(0)), (2, key.name(b"\x01a\x02ex\x00")));
        assert_eq!([0, 2, 5].map(|offset| chased.place(offset)), [20, 16, 19]);
    }

    #[test]
    fn a_pointer_to_itself_is_no_name() {
        let message = [&[0; 12][..], &[0xc0, 12]].concat();
        assert!(Chased::new().read(&message, 12, &HashKey::new([7; 24])).is_none());
    }
}
