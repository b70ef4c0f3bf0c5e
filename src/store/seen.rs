//! What a transaction has read of the rows below its own: they stay as they are while it runs.
//!
//! A commit looks at the same few rows again and again, a zone's own and its SOA before all, and one of
//! many changes does so for each. What it saw is kept: rows by their keys, and of runs that were looked
//! at what stands first or last in them.

use std::cell::{Cell, RefCell};
use std::ops::Bound;

use super::error::RowError;
use super::rows::{Octets, Run};
use super::sorted::Sorted;

/// Octets kept of keys and values; with more, all are let go of: what is read many times is soon there
/// again.
const KEPT_OCTETS_MAX: usize = 4 << 20;

/// What keeping a row costs besides its octets, roughly.
const ROW_OCTETS: usize = 96;

/// A key and its value.
pub(super) type Row = (Octets, Octets);

#[derive(Default)]
pub(super) struct Seen {
    rows: RefCell<Sorted<Option<Octets>>>,
    /// By its first key: a run, up to the second, that has no row but perhaps one with its first key.
    runs: RefCell<Sorted<(Octets, Option<Octets>)>>,
    /// By its first key: a run, up to the second, that has no row but perhaps one with its second key.
    leads: RefCell<Sorted<(Octets, Option<Octets>)>>,
    octets: Cell<usize>,
}

impl Seen {
    /// Makes room for a row.
    fn make_room(&self, key: &[u8], value: Option<&Octets>) {
        let row = ROW_OCTETS + 2 * key.len() + value.map_or(0, |value| value.len());
        self.octets.set(self.octets.get() + row);
        if self.octets.get() > KEPT_OCTETS_MAX {
            self.rows.borrow_mut().clear();
            self.runs.borrow_mut().clear();
            self.leads.borrow_mut().clear();
            self.octets.set(row);
        }
    }

    /// The row with `key`, as it was seen or as `read` finds it.
    pub(super) fn get(
        &self,
        key: &[u8],
        read: impl FnOnce() -> Result<Option<Octets>, RowError>,
    ) -> Result<Option<Octets>, RowError> {
        if let Some(seen) = self.rows.borrow().get(key) {
            return Ok(seen.clone());
        }
        let found = read()?;
        self.make_room(key, found.as_ref());
        self.rows.borrow_mut().insert(key.into(), found.clone());
        Ok(found)
    }

    /// The last row of `run`, as it was seen or as `read` finds it.
    pub(super) fn last(
        &self,
        run: Run<'_>,
        read: impl FnOnce() -> Result<Option<Row>, RowError>,
    ) -> Result<Option<Row>, RowError> {
        let (from, Some(to)) = run else { return read() };
        if let Some(known) = self.known(from, to) {
            return Ok(known);
        }
        let found = read()?;
        self.make_room(to, found.as_ref().map(|(_, value)| value));
        let mut runs = self.runs.borrow_mut();
        let (first, value) = match &found {
            Some((key, value)) => (key.clone(), Some(value.clone())),
            None => (from.into(), None),
        };
        // Of two runs with one beginning the longer says more.
        let longer = runs.get(&first).is_none_or(|(end, _)| **end < *to);
        if longer {
            runs.insert(first, (to.into(), value));
        }
        Ok(found)
    }

    /// The first row of `run`, as it was seen or as `read` finds it.
    pub(super) fn first(
        &self,
        run: Run<'_>,
        read: impl FnOnce() -> Result<Option<Row>, RowError>,
    ) -> Result<Option<Row>, RowError> {
        let (from, Some(to)) = run else { return read() };
        if let Some(known) = self.known_first(from, to) {
            return Ok(known);
        }
        let found = read()?;
        self.make_room(from, found.as_ref().map(|(_, value)| value));
        let lead = match &found {
            Some((key, value)) => (key.clone(), Some(value.clone())),
            None => (to.into(), None),
        };
        self.leads.borrow_mut().insert(from.into(), lead);
        Ok(found)
    }

    /// The first row between two keys, if enough was seen to say; the second is not among them.
    fn known_first(&self, from: &[u8], to: &[u8]) -> Option<Option<Row>> {
        let leads = self.leads.borrow();
        let (_, (end, value)) = leads.range(Bound::Unbounded, Bound::Included(from)).next_back()?;
        match value {
            _ if to <= &**end => Some(None),
            Some(value) if from <= &**end => Some(Some((end.clone(), value.clone()))),
            _ => None,
        }
    }

    /// The last row between two keys, if enough was seen to say; the second is not among them.
    fn known(&self, from: &[u8], to: &[u8]) -> Option<Option<Row>> {
        let runs = self.runs.borrow();
        let (first, (end, value)) =
            runs.range(Bound::Unbounded, Bound::Excluded(to)).next_back()?;
        match value {
            _ if to > &**end => None,
            Some(value) if **first >= *from => Some(Some((first.clone(), value.clone()))),
            // The row stands before the run asked for, and nothing stands behind it.
            Some(_) => Some(None),
            None if **first <= *from => Some(None),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: what is remembered is what would be read. Method: any runs over few keys, beside a plain map.
        #[test]
        fn the_first_and_last_row_of_a_run_are_the_same_remembered_as_read(
            keys in prop::collection::btree_set(0u8..20, 0..8),
            runs in prop::collection::vec((0u8..20, 0u8..22), 1..60),
        ) {
            let map: BTreeMap<Octets, Octets> =
                keys.iter().map(|key| ([*key].into(), [*key].into())).collect();
            let seen = Seen::default();
            for (from, to) in runs.into_iter().filter(|(from, to)| from < to) {
                let (from, to) = ([from], [to]);
                let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&to[..]));
                let row = |(key, value): (&Octets, &Octets)| (key.clone(), value.clone());
                let last = || map.range::<[u8], _>(range).next_back().map(row);
                let first = || map.range::<[u8], _>(range).next().map(row);
                prop_assert_eq!(seen.last((&from, Some(&to)), || Ok(last())).unwrap(), last());
                prop_assert_eq!(seen.first((&from, Some(&to)), || Ok(first())).unwrap(), first());
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_a_limit() {
        let seen = Seen::default();
        for n in 0..100u8 {
            let value: Octets = vec![n; 1 << 18].into();
            assert_eq!(seen.get(&[n], || Ok(Some(value.clone()))), Ok(Some(value.clone())));
            assert!(seen.octets.get() <= KEPT_OCTETS_MAX);
        }
        assert!(seen.rows.borrow().len() < 17);
    }

    #[test]
    fn a_row_is_read_once_also_when_it_is_not_there() {
        let seen = Seen::default();
        let mut reads = 0;
        for _ in 0..3 {
            let found = seen.get(b"k", || {
                reads += 1;
                Ok(None)
            });
            assert_eq!(found, Ok(None));
        }
        assert_eq!(reads, 1);
    }
}
