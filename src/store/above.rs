//! Rows above the index: on their way into the log, and then on their way into the index.
//!
//! They stand in maps that are let go of as a whole: to take a row out of a tree costs what it cost to put it
//! there, and nobody needs the tree in between. What closures put stays in the map each of them made until it
//! is synced. What is synced gathers in one map; when the index is to have it, that map is set aside, as it is
//! and in the order of keys, and another begins.
//!
//! Promises: who reads while a map is given to the index sees it over the index until all of it is there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Lsn;
use super::index::layer;
use super::log::Transaction;
use super::rows::{Layer, Octets, Run, over};
use super::sorted::Sorted;

/// Rows as they are left: put, or taken out.
pub(super) type Changes = Sorted<Option<Octets>>;

/// Maps of what is not yet synced: each is looked into. What comes when there are as many joins the last.
const PENDING_MAPS: usize = 4;

/// What is not yet synced, and some that is; the newest last.
#[derive(Default)]
pub(super) struct Pending(VecDeque<(Lsn, Changes)>);

impl Pending {
    /// Takes in what transaction `lsn` did.
    pub(super) fn keep(&mut self, lsn: Lsn, rows: Changes) {
        let is_full = self.0.len() == PENDING_MAPS;
        match self.0.back_mut() {
            Some(last) if is_full => {
                last.0 = lsn;
                last.1.extend(rows);
            }
            _ => self.0.push_back((lsn, rows)),
        }
    }

    /// Lets go of what the synced rows show by now.
    pub(super) fn forget(&mut self, synced: Lsn) {
        while self.0.front().is_some_and(|(lsn, _)| *lsn <= synced) {
            self.0.pop_front();
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Octets>> {
        self.0.iter().rev().find_map(|(_, rows)| rows.get(key))
    }

    /// The rows of `run`, a layer for each map, the highest first.
    pub(super) fn layers<'a>(
        &'a self,
        run: Run<'_>,
        back: bool,
    ) -> impl Iterator<Item = Layer<'a>> {
        self.0.iter().rev().map(move |(_, rows)| layer(rows, run, back, Clone::clone))
    }
}

/// Synced rows that the index does not have yet.
#[derive(Default)]
pub(super) struct Synced {
    gathering: Gathered,
    /// What the index is being given.
    applying: Option<Arc<Gathered>>,
}

/// The net effect of transactions that follow one another.
#[derive(Default)]
pub(super) struct Gathered {
    pub rows: Changes,
    /// The last of them.
    pub upto: Lsn,
    /// What all of them count, in octets.
    pub bytes: u64,
}

impl Synced {
    /// Takes in what transactions did, after all before them.
    pub(super) fn show(&mut self, transactions: &[Transaction]) {
        let Some(last) = transactions.last() else { return };
        let rows = transactions.iter().flat_map(|transaction| transaction.ops.iter().cloned());
        // What a start finds in the log is taken in order, not row by row.
        match self.gathering.rows.len() {
            0 => self.gathering.rows = rows.collect(),
            _ => self.gathering.rows.extend(rows),
        }
        self.gathering.upto = last.lsn;
        self.gathering.bytes +=
            transactions.iter().map(|transaction| transaction.bytes).sum::<u64>();
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Octets>> {
        let below = || self.applying.as_ref().and_then(|gathered| gathered.rows.get(key));
        self.gathering.rows.get(key).or_else(below)
    }

    /// The rows of `run`.
    pub(super) fn layer<'a>(&'a self, run: Run<'_>, back: bool) -> Layer<'a> {
        let newest = layer(&self.gathering.rows, run, back, Clone::clone);
        match &self.applying {
            Some(gathered) => over(newest, layer(&gathered.rows, run, back, Clone::clone), back),
            None => newest,
        }
    }

    /// Sets aside what has gathered, for the index; none if nothing has.
    pub(super) fn set_aside(&mut self) -> Option<Arc<Gathered>> {
        if self.gathering.bytes == 0 || self.applying.is_some() {
            return None;
        }
        self.applying = Some(Arc::new(std::mem::take(&mut self.gathering)));
        self.applying.clone()
    }

    /// The index has what was set aside: nobody has to see it here any more. To be dropped by whoever calls,
    /// after others may read.
    pub(super) fn let_go(&mut self) -> Option<Arc<Gathered>> {
        self.applying.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes(rows: &[(u8, Option<u8>)]) -> Vec<(Octets, Option<Octets>)> {
        let octets = |value: u8| Octets::from([value].as_slice());
        rows.iter().map(|(key, value)| (octets(*key), value.map(octets))).collect()
    }

    fn shown(layer: Layer<'_>) -> Vec<(Octets, Option<Octets>)> {
        layer.map(|row| row.unwrap()).collect()
    }

    proptest! {
        /// Goal: of rows put again the newest is seen, wherever it stands. Method: any transactions, one of
        /// which the index is given, beside one plain map.
        #[test]
        fn what_is_set_aside_is_seen_under_what_came_since(
            transactions in prop::collection::vec(
                prop::collection::vec((0u8..12, prop::option::of(0u8..9)), 1..6), 1..9),
            aside in 0usize..9,
            (from, to) in (0u8..12, 0u8..14),
        ) {
            let (mut synced, mut plain) = (Synced::default(), Changes::default());
            for (at, rows) in transactions.iter().enumerate() {
                if at == aside {
                    synced.set_aside();
                }
                let transaction = Transaction::new(Lsn(at as u64 + 1), changes(rows));
                plain.extend(changes(rows));
                synced.show(&[transaction]);
            }
            for key in 0..12u8 {
                prop_assert_eq!(synced.get(&[key]), plain.get(&[key]));
            }
            for back in [false, true] {
                let (from, to) = ([from], [to]);
                let run: Run<'_> = (&from, Some(&to));
                let wanted = shown(layer(&plain, run, back, Clone::clone));
                prop_assert_eq!(shown(synced.layer(run, back)), wanted);
            }
        }

        /// Goal: what is not synced is seen, and what is is let go of. Method: any number of transactions, of
        /// which some are synced, beside one plain map.
        #[test]
        fn what_is_not_yet_synced_is_seen_the_newest_first(
            transactions in prop::collection::vec(
                prop::collection::vec((0u8..9, prop::option::of(0u8..9)), 1..4), 1..12),
            synced in 0usize..12,
        ) {
            let (mut pending, mut plain) = (Pending::default(), Changes::default());
            for (at, rows) in transactions.iter().enumerate() {
                pending.keep(Lsn(at as u64 + 1), changes(rows).into_iter().collect());
                prop_assert!(pending.0.len() <= PENDING_MAPS);
            }
            pending.forget(Lsn(synced as u64));
            transactions.iter().skip(synced).for_each(|rows| plain.extend(changes(rows)));
            for key in 0..9u8 {
                if let Some(row) = plain.get(&[key]) {
                    prop_assert_eq!(pending.get(&[key]), Some(row));
                }
            }
            pending.forget(Lsn(transactions.len() as u64));
            prop_assert!(pending.0.is_empty());
        }
    }

    #[test]
    fn nothing_is_set_aside_before_the_index_has_what_was() {
        let mut synced = Synced::default();
        assert!(synced.set_aside().is_none());
        let show = |synced: &mut Synced, lsn: u64| {
            synced.show(&[Transaction::new(Lsn(lsn), changes(&[(lsn as u8, Some(0))]))]);
        };
        show(&mut synced, 1);
        assert_eq!(synced.set_aside().map(|gathered| gathered.upto), Some(Lsn(1)));
        show(&mut synced, 2);
        assert!(synced.set_aside().is_none());

        assert_eq!(synced.let_go().map(|gathered| gathered.upto), Some(Lsn(1)));
        assert!(synced.get(&[1]).is_none() && synced.get(&[2]).is_some());
        assert_eq!(synced.set_aside().map(|gathered| gathered.upto), Some(Lsn(2)));
    }
}
