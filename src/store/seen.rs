//! What transactions have read of the rows below their own, from one to the next.
//!
//! A commit looks at the same few rows again and again, a zone's own and its SOA before all, and the next
//! one at many of the same: who holds the zone, the last order, the last event. What they saw is kept:
//! rows by their keys, and of runs that were looked at what stands first or last in them.
//!
//! Promises: nothing remembered is otherwise than it would be read, provided that whatever is put below
//! the transactions to come is [told](Seen::learn).

use std::cell::{Cell, RefCell};
use std::ops::Bound;

use super::error::RowError;
use super::rows::{Octets, Run, past};
use super::segment::Op;
use super::sorted::Sorted;

/// Octets kept of keys and values; with more, all are let go of: what is read many times is soon there
/// again, and what is seldom read only makes the rest slower to find.
const KEPT_OCTETS_MAX: usize = 512 << 10;

/// What keeping a row costs besides its octets, roughly.
const ROW_OCTETS: usize = 96;

/// A key and its value.
pub(super) type Row = (Octets, Octets);

#[derive(Default)]
pub(super) struct Seen {
    rows: RefCell<Sorted<Option<Octets>>>,
    /// Runs that have no row but perhaps one with their first key: that is shown with them.
    runs: RefCell<Spans>,
    /// Runs that have no row, and perhaps the one behind them: that is shown with them.
    leads: RefCell<Spans>,
    octets: Cell<usize>,
    /// The tables that rows, runs and leads are known of, each by its bit.
    tables: [Cell<u128>; 3],
}

/// Places in [`Seen::tables`].
const ROWS: usize = 0;
const RUNS: usize = 1;
const LEADS: usize = 2;

/// The bit of the table that a key is of; several share one.
fn bit_of(key: &[u8]) -> u128 {
    let table = key.iter().take(2).fold(0, |sum, octet| sum * 27 + u32::from(*octet));
    1 << (table % 128)
}

/// Whether a run is of one table, as far as the first octets tell: nothing is known of others.
fn is_in_one_table((from, to): Run<'_>) -> bool {
    let table = from.get(..2);
    to.is_some_and(|to| to.get(..2) == table || table.and_then(past).is_some_and(|end| to == end))
}

/// Runs by their first keys, each with the key it ends before and the row that is known with it. None lies
/// within another.
#[derive(Default)]
struct Spans(Sorted<(Octets, Option<Octets>)>);

impl Spans {
    /// Adds a run, unless another says as much; those within it go.
    fn add(&mut self, from: Octets, end: Octets, row: Option<Octets>) {
        let says_more = |(_, other): &(_, &(Octets, Option<Octets>))| {
            other.0 > end || other.0 == end && other.1.is_some() >= row.is_some()
        };
        let before = self.0.range(Bound::Unbounded, Bound::Included(&from)).next_back();
        if before.is_some_and(|before| says_more(&before)) {
            return;
        }
        let behind = self.0.range(Bound::Included(&from), Bound::Unbounded);
        let within = behind.take_while(|(_, (other, _))| *other <= end);
        let within: Vec<Octets> = within.map(|(from, _)| from.clone()).collect();
        within.iter().for_each(|from| drop(self.0.remove(from)));
        self.0.insert(from, (end, row));
    }

    /// Takes out those that begin at `key` or before it and reach it, as `reaches` says of their ends and rows;
    /// returns where the first of them began and the last ended.
    fn take_about(
        &mut self,
        key: &Octets,
        reaches: impl Fn(&Octets, &Octets, bool) -> bool,
    ) -> Option<(Octets, Octets)> {
        let about = self.0.range(Bound::Unbounded, Bound::Included(key)).rev();
        let about = about.take_while(|(from, (end, row))| reaches(from, end, row.is_some()));
        let about: Vec<Octets> = about.map(|(from, _)| from.clone()).collect();
        let mut ends = about.iter().filter_map(|from| self.0.remove(from)).map(|(end, _)| end);
        let last = ends.next();
        ends.for_each(drop);
        about.last().cloned().zip(last)
    }
}

impl Seen {
    /// Makes room for a row.
    fn make_room(&self, what: usize, key: &[u8], value: Option<&Octets>) {
        let row = ROW_OCTETS + 2 * key.len() + value.map_or(0, |value| value.len());
        self.octets.set(self.octets.get() + row);
        if self.octets.get() > KEPT_OCTETS_MAX {
            self.rows.borrow_mut().clear();
            self.runs.borrow_mut().0.clear();
            self.leads.borrow_mut().0.clear();
            self.octets.set(row);
            self.tables.iter().for_each(|tables| tables.set(0));
        }
        if let Some(tables) = self.tables.get(what) {
            tables.set(tables.get() | bit_of(key));
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
        if let Some(known) = self.known_at(key) {
            return Ok(known);
        }
        let found = read()?;
        self.make_room(ROWS, key, found.as_ref());
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
        if !is_in_one_table(run) {
            return read();
        }
        if let Some(known) = self.known(from, to) {
            return Ok(known);
        }
        let found = read()?;
        self.make_room(RUNS, from, found.as_ref().map(|(_, value)| value));
        let (first, value) = match &found {
            Some((key, value)) => (key.clone(), Some(value.clone())),
            None => (from.into(), None),
        };
        self.runs.borrow_mut().add(first, to.into(), value);
        Ok(found)
    }

    /// The first row of `run`, as it was seen or as `read` finds it.
    pub(super) fn first(
        &self,
        run: Run<'_>,
        read: impl FnOnce() -> Result<Option<Row>, RowError>,
    ) -> Result<Option<Row>, RowError> {
        let (from, Some(to)) = run else { return read() };
        if !is_in_one_table(run) {
            return read();
        }
        if let Some(known) = self.known_first(from, to) {
            return Ok(known);
        }
        let found = read()?;
        self.make_room(LEADS, from, found.as_ref().map(|(_, value)| value));
        let (end, value) = match &found {
            Some((key, value)) => (key.clone(), Some(value.clone())),
            None => (to.into(), None),
        };
        self.leads.borrow_mut().add(from.into(), end, value);
        Ok(found)
    }

    /// Takes in what a transaction did: those after it stand on it.
    pub(super) fn learn(&self, ops: &[Op]) {
        let (mut rows, mut runs) = (self.rows.borrow_mut(), self.runs.borrow_mut());
        let (mut leads, mut octets) = (self.leads.borrow_mut(), self.octets.get());
        let [in_rows, in_runs, in_leads] = self.tables.each_ref().map(Cell::get);
        let anywhere = in_rows | in_runs | in_leads;
        let len = |value: &Option<Octets>| value.as_ref().map_or(0, |value| value.len());
        for (key, value) in ops.iter().filter(|(key, _)| anywhere & bit_of(key) != 0) {
            let (is_put, bit) = (value.is_some(), bit_of(key));
            if in_rows & bit != 0
                && let Some(seen) = rows.get_mut(key)
            {
                octets = (octets + len(value)).saturating_sub(len(seen));
                seen.clone_from(value);
            }
            let in_run = |from: &Octets, end: &Octets, _| end > key && (is_put || from == key);
            if in_runs & bit != 0
                && let Some((_, end)) = runs.take_about(key, in_run)
            {
                runs.add(key.clone(), end, value.clone());
            }
            let in_lead = |_: &Octets, end: &Octets, row| {
                if end == key { row } else { end > key && is_put }
            };
            if in_leads & bit != 0
                && let Some((from, _)) = leads.take_about(key, in_lead)
                && is_put
            {
                leads.add(from, key.clone(), value.clone());
            }
        }
        self.octets.set(octets);
    }

    /// The row with `key`, if it was seen with a run, or a run without it.
    fn known_at(&self, key: &[u8]) -> Option<Option<Octets>> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        if let Some((first, (end, row))) = self.runs.borrow().0.range(upto.0, upto.1).next_back()
            && *key < **end
        {
            return Some(row.clone().filter(|_| **first == *key));
        }
        let leads = self.leads.borrow();
        let (_, (end, row)) = leads.0.range(upto.0, upto.1).next_back()?;
        match **end == *key {
            true => row.clone().map(Some),
            false => (*key < **end).then_some(None),
        }
    }

    /// Whether it was seen that there is nothing between two keys; the second is not among them.
    fn is_bare(&self, from: &[u8], to: &[u8]) -> bool {
        let leads = self.leads.borrow();
        let lead = leads.0.range(Bound::Unbounded, Bound::Included(from)).next_back();
        lead.is_some_and(|(_, (end, _))| *to <= **end)
    }

    /// The first row between two keys, if enough was seen to say; the second is not among them.
    fn known_first(&self, from: &[u8], to: &[u8]) -> Option<Option<Row>> {
        let leads = self.leads.borrow();
        let (_, (end, value)) =
            leads.0.range(Bound::Unbounded, Bound::Included(from)).next_back()?;
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
            runs.0.range(Bound::Unbounded, Bound::Excluded(to)).next_back()?;
        match value {
            _ if to > &**end && !self.is_bare(end, to) => None,
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
        /// Goal: what is remembered is what would be read, also when rows came and went since. Method: any
        /// looks and changes over few keys, beside a plain map.
        #[test]
        fn what_is_remembered_is_what_would_be_read_whatever_was_put_since(
            keys in prop::collection::btree_set(0u8..20, 0..8),
            steps in prop::collection::vec(prop_oneof![
                3 => (0u8..20, 1u8..22).prop_map(|(from, to)| Step::Look(from, to)),
                1 => (0u8..20, prop::option::of(0u8..9)).prop_map(|(key, value)| Step::Put(key, value)),
            ], 1..90),
        ) {
            let mut map: BTreeMap<Octets, Octets> =
                keys.iter().map(|key| (place(*key).into(), [*key].into())).collect();
            let seen = Seen::default();
            for step in steps {
                let (from, to) = match step {
                    Step::Put(key, value) => {
                        let op: Op = (place(key).into(), value.map(|value| [value].into()));
                        match &op.1 {
                            Some(value) => drop(map.insert(op.0.clone(), value.clone())),
                            None => drop(map.remove(&op.0)),
                        }
                        seen.learn(&[op]);
                        continue;
                    }
                    Step::Look(from, to) => (place(from), place(to)),
                };
                prop_assert_eq!(seen.get(&from, || Ok(map.get(&from[..]).cloned())).unwrap(), map.get(&from[..]).cloned());
                if from >= to {
                    continue;
                }
                let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                let row = |(key, value): (&Octets, &Octets)| (key.clone(), value.clone());
                let last = || map.range::<[u8], _>(range).next_back().map(row);
                let first = || map.range::<[u8], _>(range).next().map(row);
                prop_assert_eq!(seen.last((&from, Some(&to)), || Ok(last())).unwrap(), last());
                prop_assert_eq!(seen.first((&from, Some(&to)), || Ok(first())).unwrap(), first());
            }
        }
    }

    /// A key of a table.
    fn place(key: u8) -> [u8; 3] {
        [b't', b't', key]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Look(u8, u8),
        Put(u8, Option<u8>),
    }

    #[test]
    fn no_more_is_kept_than_a_limit() {
        let seen = Seen::default();
        for n in 0..100u8 {
            let value: Octets = vec![n; 1 << 15].into();
            assert_eq!(seen.get(&[n], || Ok(Some(value.clone()))), Ok(Some(value.clone())));
            assert!(seen.octets.get() <= KEPT_OCTETS_MAX);
        }
        assert!(seen.rows.borrow().len() < 17);
    }

    #[test]
    fn what_comes_behind_the_last_row_is_the_last_without_a_look() {
        let seen = Seen::default();
        let row = |n: u8| Ok(Some((place(n).into(), [n].into())));
        let all: Run<'_> = (b"tt", Some(b"tu"));
        assert_eq!(seen.last(all, || row(4)), row(4));
        for n in 5..9 {
            seen.learn(&[(place(n).into(), Some([n].into()))]);
            assert_eq!(seen.last(all, || panic!("it is known")), row(n));
        }
        assert_eq!(seen.runs.borrow().0.len(), 1);
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
