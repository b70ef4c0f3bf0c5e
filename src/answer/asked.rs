//! The name an answer is sought for: that of the question, or the target of a CNAME before.
//!
//! Either stands somewhere in the message, so that owners can point to it.

use super::image::OWNER_AT;
use crate::wire::{HashKey, Query};

/// Labels of its own that an alias's target may have for [`target_hash`].
const OWN_MAX: usize = 2;

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

/// The hash of the name that starts `rdata`, as it was rendered for an owner of `owner_len` octets: if that name
/// ends within the owner, with what the owner has in common with the name asked for. Enough to fetch ahead
/// what most aliases lead to, and no more than likely.
pub(super) fn target_hash(
    query: &Query,
    owner_len: usize,
    rdata: &[u8],
    key: &HashKey,
) -> Option<u64> {
    let mut own = [&[] as &[u8]; OWN_MAX];
    let (mut count, mut rest) = (0, rdata);
    loop {
        let (&len, tail) = rest.split_first()?;
        if len >= 0xc0 {
            let pointer = usize::from(len & 0x3f) << 8 | usize::from(*tail.first()?);
            let common = (OWNER_AT + owner_len).checked_sub(pointer)?;
            let offset = query.name().len().checked_sub(common)?;
            let skip = skip_at(query, OWNER_AT + offset)?;
            let own = own.iter().take(count).rev();
            return Some(own.fold(query.hash(skip), |hash, label| key.child(hash, label)));
        }
        let (label, tail) = tail.split_at_checked(usize::from(len)).filter(|_| len > 0)?;
        *own.get_mut(count)? = label;
        (count, rest) = (count + 1, tail);
    }
}

/// How many labels above the name of the question stands the one that starts at `at` of the message, if it does.
#[inline]
fn skip_at(query: &Query, at: usize) -> Option<usize> {
    let offset = at.checked_sub(OWNER_AT).filter(|&offset| offset < query.name().len())?;
    (0..=query.labels()).find(|&skip| query.offset(skip) == offset)
}

/// A name read out of the message, of fewer than `LABELS` labels, in at most `OCTETS` octets.
pub(super) struct Chased<const LABELS: usize, const OCTETS: usize> {
    name: [u8; OCTETS],
    offsets: [u8; LABELS],
    hashes: [u64; LABELS],
    places: [u16; LABELS],
    len: usize,
    labels: usize,
}

/// Room for most names. To clear room for any costs more than to look such a name up.
pub(super) type Short = Chased<8, 64>;

/// Room for any name.
pub(super) type Any = Chased<128, 255>;

impl<const LABELS: usize, const OCTETS: usize> Chased<LABELS, OCTETS> {
    /// No name yet.
    pub fn new() -> Chased<LABELS, OCTETS> {
        Chased {
            name: [0; OCTETS],
            offsets: [0; LABELS],
            hashes: [0; LABELS],
            places: [0; LABELS],
            len: 0,
            labels: 0,
        }
    }

    /// Takes over the name at `at` of the reply to `query`, its pointers followed; none if there is no room for it.
    pub fn read(&mut self, message: &[u8], at: usize, query: &Query, key: &HashKey) -> Option<()> {
        (self.len, self.labels) = (0, 0);
        match self.expand(message, at, Some(query))? {
            Some(own) => self.hash_above(own, key),
            None => self.hash_with(key),
        }
    }

    /// Takes over the name at `at` of `message`; there are no hashes before they are [made](Chased::hash_with).
    pub fn read_unhashed(&mut self, message: &[u8], at: usize) -> Option<()> {
        (self.len, self.labels) = (0, 0);
        self.expand(message, at, None).map(drop)
    }

    /// Hashes the name and those above it.
    pub fn hash_with(&mut self, key: &HashKey) -> Option<()> {
        *self.hashes.get_mut(self.labels)? = key.root();
        self.hash_above(self.labels, key)
    }

    /// Hashes as many names as there are labels to put in front of one whose hash is known.
    fn hash_above(&mut self, own: usize, key: &HashKey) -> Option<()> {
        let mut hash = *self.hashes.get(own)?;
        for label in (0..own).rev() {
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

    /// Returns how many labels were read until the rest was that of the question, and came with its hashes.
    fn expand(
        &mut self,
        message: &[u8],
        at: usize,
        query: Option<&Query>,
    ) -> Option<Option<usize>> {
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
                if let Some(query) = query
                    && let Some(skip) = skip_at(query, at)
                {
                    let own = self.labels;
                    self.join(query, skip)?;
                    return Some(Some(own));
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
                return Some(None);
            }
            self.labels += 1;
            at += 1 + len;
        }
    }

    /// Ends the name with that of the question, from so many labels above.
    #[inline]
    fn join(&mut self, query: &Query, skip: usize) -> Option<()> {
        let suffix = query.suffix(skip);
        self.name.get_mut(self.len..self.len + suffix.len())?.copy_from_slice(suffix);
        for above in skip..=query.labels() {
            let offset = query.offset(above);
            let at = self.labels + above - skip;
            *self.offsets.get_mut(at)? = (self.len + offset - query.offset(skip)) as u8;
            *self.places.get_mut(at)? = (OWNER_AT + offset) as u16;
            *self.hashes.get_mut(at)? = query.hash(above);
        }
        self.labels += query.labels() - skip;
        self.len += suffix.len();
        Some(())
    }
}

impl<const LABELS: usize, const OCTETS: usize> Asked for Chased<LABELS, OCTETS> {
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
        let mut question = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend_from_slice(b"\x03WWW\x02ex\x00\x00\x01\x00\x01");
        let mut query = Query::default();
        query.parse(&question, &key).unwrap();

        // With what is known of the question, and without.
        for query in [query, Query::default()] {
            let mut chased = Short::new();
            chased.read(&message, 20, &query, &key).unwrap();

            assert_eq!(chased.suffix(0), b"\x01a\x02ex\x00");
            assert_eq!((chased.labels(), chased.hash(0)), (2, key.name(b"\x01a\x02ex\x00")));
            assert_eq!((chased.hash(1), chased.hash(2)), (key.name(b"\x02ex\x00"), key.root()));
            assert_eq!([0, 2, 5].map(|offset| chased.place(offset)), [20, 16, 19]);
        }
    }

    /// Reads the name behind the header.
    fn read<const LABELS: usize, const OCTETS: usize>(message: &[u8]) -> Option<()> {
        let key = HashKey::new([7; 24]);
        Chased::<LABELS, OCTETS>::new().read(message, 12, &Query::default(), &key)
    }

    #[test]
    fn a_pointer_to_itself_is_no_name() {
        let message = [&[0; 12][..], &[0xc0, 12]].concat();
        assert!(read::<128, 255>(&message).is_none());
    }

    #[test]
    fn a_name_there_is_no_room_for_is_not_read() {
        let message = [&[0; 12][..], b"\x01a\x01b\x01c\x00"].concat();
        assert!(read::<3, 64>(&message).is_none());
        assert!(read::<4, 6>(&message).is_none());
        assert!(read::<4, 7>(&message).is_some());
    }

    #[test]
    fn the_target_of_an_alias_is_hashed_if_it_ends_within_the_name_asked_for() {
        let key = HashKey::new([7; 24]);
        let mut message = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x03fTp\x02ex\x00\x00\x01\x00\x01"); // 12, 16, 19
        let mut query = Query::default();
        query.parse(&message, &key).unwrap();
        let hash = |rdata: &[u8]| target_hash(&query, 8, rdata, &key);

        assert_eq!(hash(b"\xc0\x10"), Some(key.name(b"\x02ex\x00")));
        assert_eq!(hash(b"\x03www\xc0\x10"), Some(key.name(b"\x03www\x02ex\x00")));
        assert_eq!(hash(b"\x01a\x01b\xc0\x13"), Some(key.name(b"\x01a\x01b\x00")));
        let others: [&[u8]; 5] =
            [b"", b"\x03www", b"\x03www\x00", b"\xc0\x11", b"\x01a\x01b\x01c\xc0\x10"];
        assert!(others.iter().all(|rdata| hash(rdata).is_none()));
        // What the alias of another name, longer by one octet, leads to.
        let from_other = target_hash(&query, 9, b"\x01m\xc0\x11", &key);
        assert_eq!(from_other, Some(key.name(b"\x01m\x02ex\x00")));
    }
}
