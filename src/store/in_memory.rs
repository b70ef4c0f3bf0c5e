//! An index in memory, for stores that keep nothing.

use std::sync::{PoisonError, RwLock};

use super::Lsn;
use super::error::RowError;
use super::index::{Index, layer};
use super::rows::{Layer, Octets, Run, Visit};
use super::segment::Op;
use super::sorted::Sorted;

/// An index that is gone with the process.
#[derive(Default)]
pub(super) struct InMemory {
    rows: RwLock<Sorted<Octets>>,
}

/// Rows are handed out in runs of this many, so that none is held while they are looked at.
const PAGE_ROWS: usize = 256;

impl Index for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn rows<'a>(&'a self, (from, to): Run<'_>, back: bool) -> Layer<'a> {
        let (mut from, mut to) = (from.to_vec(), to.map(<[u8]>::to_vec));
        let mut over = false;
        let pages = std::iter::from_fn(move || {
            if over {
                return None;
            }
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            let run = layer(&rows, (&from, to.as_deref()), back, |value| Some(value.clone()));
            let page: Vec<_> = run.take(PAGE_ROWS).collect();
            over = page.len() < PAGE_ROWS;
            if let Some(Ok((key, _))) = page.last() {
                match back {
                    true => to = Some(key.to_vec()),
                    false => from = [key, &[0][..]].concat(),
                }
            }
            Some(page)
        });
        (Box::new(pages.flatten()) as Box<dyn Iterator<Item = _>>).peekable()
    }

    fn visit(&self, run: Run<'_>, visit: &mut Visit<'_>) -> Result<(), RowError> {
        for row in self.rows(run, false) {
            let (key, value) = row?;
            if value.is_some_and(|value| visit(&key, &value).is_break()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, ops: &mut dyn Iterator<Item = Op>, _upto: Option<Lsn>) -> Result<(), RowError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in ops {
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}
