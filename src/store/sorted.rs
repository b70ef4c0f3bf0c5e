//! Rows in memory, in the order of their keys.
//!
//! A key stands elsewhere than the tree that orders it, and comparing two of them costs the processor
//! two waits for memory. So the tree holds the first octets of each key as a number, and most
//! comparisons need no more.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use super::rows::Octets;

/// A map from keys to what belongs to them.
#[derive(Debug, Clone)]
pub(super) struct Sorted<V>(BTreeMap<Headed, V>);

/// The octets of a key that are compared first: the prefix of its table and most of an id, or of two
/// numbers.
const HEAD_OCTETS: usize = 16;

/// A key with its first octets, zeros behind a shorter one.
#[derive(Debug, Clone)]
pub(super) struct Headed {
    head: u128,
    key: Octets,
}

/// Something that compares as a key does.
trait Place {
    fn head(&self) -> u128;
    fn octets(&self) -> &[u8];
}

impl Place for Headed {
    fn head(&self) -> u128 {
        self.head
    }

    fn octets(&self) -> &[u8] {
        &self.key
    }
}

/// A key that is looked for.
struct Sought<'k> {
    head: u128,
    key: &'k [u8],
}

impl<'k> Sought<'k> {
    fn new(key: &'k [u8]) -> Sought<'k> {
        Sought { head: head(key), key }
    }
}

impl Place for Sought<'_> {
    fn head(&self) -> u128 {
        self.head
    }

    fn octets(&self) -> &[u8] {
        self.key
    }
}

/// The first octets of a key. Keys with other heads stand as their heads do.
fn head(key: &[u8]) -> u128 {
    match key.first_chunk::<HEAD_OCTETS>() {
        Some(octets) => u128::from_be_bytes(*octets),
        None => {
            let mut octets = [0; HEAD_OCTETS];
            octets.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            u128::from_be_bytes(octets)
        }
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let heads = self.head().cmp(&other.head());
        heads.then_with(|| self.octets().cmp(other.octets()))
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Place + '_ {}

impl Ord for Headed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Headed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Headed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Headed {}

impl<'k> Borrow<dyn Place + 'k> for Headed {
    fn borrow(&self) -> &(dyn Place + 'k) {
        self
    }
}

impl From<Octets> for Headed {
    fn from(key: Octets) -> Headed {
        Headed { head: head(&key), key }
    }
}

impl<V> Default for Sorted<V> {
    fn default() -> Sorted<V> {
        Sorted(BTreeMap::new())
    }
}

impl<V> Sorted<V> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Octets, &V)> {
        self.0.iter().map(|(key, value)| (&key.key, value))
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.0.get(&Sought::new(key) as &dyn Place)
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.0.get_mut(&Sought::new(key) as &dyn Place)
    }

    /// Puts a value; returns the one it takes the place of.
    pub(super) fn insert(&mut self, key: Octets, value: V) -> Option<V> {
        self.0.insert(key.into(), value)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.0.remove(&Sought::new(key) as &dyn Place)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The rows between two keys.
    pub(super) fn range<'s>(
        &'s self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'s Octets, &'s V)> + use<'s, V> {
        let (from, to) = (from.map(Sought::new), to.map(Sought::new));
        let rows = self.0.range::<dyn Place, _>((
            from.as_ref().map(|key| key as &dyn Place),
            to.as_ref().map(|key| key as &dyn Place),
        ));
        rows.map(|(key, value)| (&key.key, value))
    }
}

impl Sorted<()> {
    /// The keys between two.
    pub(super) fn keys<'s>(
        &'s self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = &'s Octets> + use<'s> {
        self.range(from, to).map(|(key, ())| key)
    }
}

impl<V> Extend<(Octets, V)> for Sorted<V> {
    fn extend<I: IntoIterator<Item = (Octets, V)>>(&mut self, rows: I) {
        self.0.extend(rows.into_iter().map(|(key, value)| (key.into(), value)));
    }
}

/// Of rows with the same key the last counts.
impl<V> FromIterator<(Octets, V)> for Sorted<V> {
    fn from_iter<I: IntoIterator<Item = (Octets, V)>>(rows: I) -> Sorted<V> {
        Sorted(rows.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl<V> IntoIterator for Sorted<V> {
    type Item = (Octets, V);
    type IntoIter = std::iter::Map<btree_map::IntoIter<Headed, V>, fn((Headed, V)) -> (Octets, V)>;

    fn into_iter(self) -> Self::IntoIter {
        let bare: fn((Headed, V)) -> (Octets, V) = |(key, value)| (key.key, value);
        self.0.into_iter().map(bare)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: it orders as octets do. Method: keys that share beginnings of all lengths, beside a plain map.
        #[test]
        fn it_holds_and_shows_what_a_plain_map_does(
            changes in prop::collection::vec(("[\\x00\\x01a]{0,19}", prop::option::of(0u8..9)), 0..60),
            runs in prop::collection::vec(("[\\x00\\x01a]{0,19}", "[\\x00\\x01a]{0,19}"), 1..9),
        ) {
            let (mut sorted, mut plain) = (Sorted::default(), BTreeMap::<Octets, u8>::new());
            for (key, value) in changes {
                let key: Octets = key.into_bytes().into();
                let (had, did) = match value {
                    Some(value) => (sorted.insert(key.clone(), value), plain.insert(key.clone(), value)),
                    None => (sorted.remove(&key), plain.remove(&key)),
                };
                prop_assert_eq!(had, did);
                prop_assert_eq!(sorted.get(&key), plain.get(&key));
                prop_assert_eq!(sorted.len(), plain.len());
            }
            for (one, other) in runs {
                let (from, to) = (one.as_bytes().min(other.as_bytes()), one.as_bytes().max(other.as_bytes()));
                let run = (Bound::Included(from), Bound::Excluded(to));
                let rows: Vec<_> = sorted.range(run.0, run.1).collect();
                prop_assert_eq!(rows, plain.range::<[u8], _>(run).collect::<Vec<_>>());
            }
            prop_assert!(sorted.into_iter().eq(plain));
        }
    }
}
