//! Reading rows, the same way from a [`Reader`](super::Reader) and from a [`Tx`](super::Tx).
//!
//! Rows live in layers: what the transaction put, what is not yet synced, what is not yet applied,
//! the index. A higher layer hides the lower. [`RawRows`] is the merged sight of them as octets,
//! [`Rows`] gives it the types of the tables.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

use super::error::RowError;
use super::key::Key;
use super::table::{Piece, Raw, Table, Value};

/// Octets shared between the layers.
pub type Octets = Arc<[u8]>;

/// A run of keys: from the first, which is in it, to the second, which is not; none is open.
pub type Run<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a visitor is shown: key and value as kept. It says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Rows as octets.
pub trait RawRows {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Octets>, RowError>;

    /// Shows the rows of `run` in order, or in reverse if `back`.
    fn raw_visit(&self, run: Run<'_>, back: bool, visit: &mut Visit<'_>) -> Result<(), RowError>;

    /// The row of `run` that stands first, or last if looked at from the back.
    fn raw_edge(&self, run: Run<'_>, back: bool) -> Result<Option<(Octets, Octets)>, RowError> {
        let mut edge = None;
        self.raw_visit(run, back, &mut |key, value| {
            edge = Some((key.into(), value.into()));
            ControlFlow::Break(())
        })?;
        Ok(edge)
    }
}

/// Rows with the types of their tables.
pub trait Rows: RawRows {
    /// Returns the row with `key`.
    fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, RowError> {
        let octets = table.with_key(key, |key| self.raw_get(key))?;
        octets.map(|octets| table.read_value(&octets)).transpose()
    }

    /// Returns whether there is a row with `key`.
    fn contains<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<bool, RowError> {
        Ok(table.with_key(key, |key| self.raw_get(key))?.is_some())
    }

    /// Returns the first `limit` rows in `range`, in order.
    fn range<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, RowError> {
        let (from, to) = bounds(table, range);
        collect(self, table, (&from, to.as_deref()), false, limit)
    }

    /// Returns the last `limit` rows in `range`, the last first.
    fn range_back<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, RowError> {
        let (from, to) = bounds(table, range);
        collect(self, table, (&from, to.as_deref()), true, limit)
    }

    /// Returns the first `limit` rows whose key begins with `parts`, after the key `after`.
    ///
    /// `parts` are the first parts of the table's key: of a table by `(u32, Tail)`, the `u32`.
    fn scan<K: Key, V: Value, P: Key>(
        &self,
        table: &Table<K, V>,
        parts: &P,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, RowError> {
        let beginning = table.beginning(parts);
        let from = after.map_or_else(|| beginning.clone(), |key| next(table.key(key)));
        collect(self, table, (&from, past(&beginning).as_deref()), false, limit)
    }

    /// As [`Rows::scan`], the last first, before the key `before`.
    fn scan_back<K: Key, V: Value, P: Key>(
        &self,
        table: &Table<K, V>,
        parts: &P,
        before: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, RowError> {
        let beginning = table.beginning(parts);
        let to = before.map_or_else(|| past(&beginning), |key| Some(table.key(key)));
        collect(self, table, (&beginning, to.as_deref()), true, limit)
    }

    /// Returns the row with the greatest key before `key`.
    fn prev<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<(K, V)>, RowError> {
        let key = table.key(key);
        Ok(collect(self, table, (&table.prefix(), Some(&key)), true, 1)?.pop())
    }

    /// Returns the row with `key`; its value is not copied.
    fn piece<K: Key>(&self, table: &Table<K, Raw>, key: &K) -> Result<Option<Piece>, RowError> {
        let octets = table.with_key(key, |key| self.raw_get(key))?;
        octets.map(|octets| table.piece(octets)).transpose()
    }

    /// Returns the first row in `range`; its value is not copied.
    fn first_piece<K: Key>(
        &self,
        table: &Table<K, Raw>,
        range: impl RangeBounds<K>,
    ) -> Result<Option<(K, Piece)>, RowError> {
        let (from, to) = bounds(table, range);
        let found = self.raw_edge((&from, to.as_deref()), false)?;
        found.map(|(key, value)| Ok((table.read_key(&key)?, table.piece(value)?))).transpose()
    }

    /// Returns the row with `key`, or else that with the greatest key before it; its value is not copied.
    fn floor_piece<K: Key>(
        &self,
        table: &Table<K, Raw>,
        key: &K,
    ) -> Result<Option<(K, Piece)>, RowError> {
        piece_before(self, table, &next(table.key(key)))
    }

    /// As [`Rows::prev`], the value as it is kept: it is not copied.
    fn prev_piece<K: Key>(
        &self,
        table: &Table<K, Raw>,
        key: &K,
    ) -> Result<Option<(K, Piece)>, RowError> {
        piece_before(self, table, &table.key(key))
    }

    /// Shows every row in `range` in order, until told to stop. For loading much: nothing is collected.
    fn visit<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        visit: &mut dyn FnMut(K, V) -> ControlFlow<()>,
    ) -> Result<(), RowError> {
        let (from, to) = bounds(table, range);
        each(self, table, (&from, to.as_deref()), false, visit)
    }

    /// As [`Rows::visit`], with the octets of each row where they lie, and of its key the first parts alone.
    fn visit_octets<K: Key, P: Key>(
        &self,
        table: &Table<K, Raw>,
        range: impl RangeBounds<K>,
        visit: &mut dyn FnMut(P, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), RowError> {
        let (from, to) = bounds(table, range);
        let mut fault = None;
        self.raw_visit((&from, to.as_deref()), false, &mut |key, value| {
            let row = table.read_parts(key).and_then(|parts| Ok((parts, table.octets(value)?)));
            match row {
                Ok((parts, octets)) => visit(parts, octets),
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        fault.map_or(Ok(()), Err)
    }
}

impl<R: RawRows + ?Sized> Rows for R {}

/// The last row of a table before `end`.
fn piece_before<R: RawRows + ?Sized, K: Key>(
    rows: &R,
    table: &Table<K, Raw>,
    end: &[u8],
) -> Result<Option<(K, Piece)>, RowError> {
    let found = rows.raw_edge((&table.prefix(), Some(end)), true)?;
    found.map(|(key, value)| Ok((table.read_key(&key)?, table.piece(value)?))).transpose()
}

/// Shows the rows of `run` with the types of `table`; the first that cannot be read ends it.
fn each<R: RawRows + ?Sized, K: Key, V: Value>(
    rows: &R,
    table: &Table<K, V>,
    run: Run<'_>,
    back: bool,
    visit: &mut dyn FnMut(K, V) -> ControlFlow<()>,
) -> Result<(), RowError> {
    let mut fault = None;
    rows.raw_visit(run, back, &mut |key, value| match table
        .read_key(key)
        .and_then(|key| Ok((key, table.read_value(value)?)))
    {
        Ok((key, value)) => visit(key, value),
        Err(error) => {
            fault = Some(error);
            ControlFlow::Break(())
        }
    })?;
    fault.map_or(Ok(()), Err)
}

fn collect<R: RawRows + ?Sized, K: Key, V: Value>(
    rows: &R,
    table: &Table<K, V>,
    run: Run<'_>,
    back: bool,
    limit: usize,
) -> Result<Vec<(K, V)>, RowError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    each(rows, table, run, back, &mut |key, value| {
        found.push((key, value));
        if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// The run of octets that `range` means in `table`.
fn bounds<K: Key, V: Value>(
    table: &Table<K, V>,
    range: impl RangeBounds<K>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let from = match range.start_bound() {
        Bound::Included(key) => table.key(key),
        Bound::Excluded(key) => next(table.key(key)),
        Bound::Unbounded => table.prefix().to_vec(),
    };
    let to = match range.end_bound() {
        Bound::Included(key) => Some(next(table.key(key))),
        Bound::Excluded(key) => Some(table.key(key)),
        Bound::Unbounded => past(&table.prefix()),
    };
    (from, to)
}

/// The least octets after `key`.
fn next(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The least octets after all that begin with `beginning`; none if there are no such.
pub(super) fn past(beginning: &[u8]) -> Option<Vec<u8>> {
    let last = beginning.iter().rposition(|&octet| octet != 0xFF)?;
    let mut end = beginning.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// A row of a layer; one without value hides those below.
type Row = Result<(Octets, Option<Octets>), RowError>;

/// One layer's rows in the order asked for.
pub(super) type Layer<'a> = std::iter::Peekable<Box<dyn Iterator<Item = Row> + 'a>>;

/// The rows of two layers in one, those of `upper` in place of those of `lower` with the same key.
pub(super) fn over<'a>(mut upper: Layer<'a>, mut lower: Layer<'a>, back: bool) -> Layer<'a> {
    if upper.peek().is_none() {
        return lower;
    }
    if lower.peek().is_none() {
        return upper;
    }
    let rows = std::iter::from_fn(move || match (upper.peek(), lower.peek()) {
        (Some(Ok((one, _))), Some(Ok((other, _)))) => match one.cmp(other) {
            Ordering::Equal => {
                lower.next();
                upper.next()
            }
            order if order.is_lt() != back => upper.next(),
            _ => lower.next(),
        },
        (Some(_), _) => upper.next(),
        (None, _) => lower.next(),
    });
    (Box::new(rows) as Box<dyn Iterator<Item = _>>).peekable()
}

/// Shows the rows of `above` merged with those that `below` shows, in order and where they lie: for reading
/// very many.
pub(super) fn merge_over(
    mut above: Layer<'_>,
    below: &mut dyn FnMut(&mut Visit<'_>) -> Result<(), RowError>,
    visit: &mut Visit<'_>,
) -> Result<(), RowError> {
    let mut flow = ControlFlow::Continue(());
    below(&mut |key, value| {
        flow = show_before(&mut above, Some(key), visit);
        if flow.is_continue() {
            let is_same = |row: &Row| matches!(row, Ok((other, _)) if **other == *key);
            flow = match above.next_if(is_same) {
                Some(Ok((_, Some(own)))) => visit(key, &own),
                Some(_) => ControlFlow::Continue(()),
                None => visit(key, value),
            };
        }
        flow
    })?;
    if flow.is_continue() {
        let _ = show_before(&mut above, None, visit);
    }
    Ok(())
}

/// Shows the rows of a layer that come before `end`.
fn show_before(
    layer: &mut Layer<'_>,
    end: Option<&[u8]>,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    let is_before = |row: &Row| matches!(row, Ok((key, _)) if end.is_none_or(|end| **key < *end));
    while let Some(Ok((key, value))) = layer.next_if(is_before) {
        if let Some(value) = value {
            visit(&key, &value)?;
        }
    }
    ControlFlow::Continue(())
}

/// Shows the rows of `layers`, the highest first, merged.
pub(super) fn merge(
    layers: &mut [Layer<'_>],
    back: bool,
    visit: &mut Visit<'_>,
) -> Result<(), RowError> {
    loop {
        let mut nearest: Option<Octets> = None;
        for layer in layers.iter_mut() {
            match layer.peek() {
                Some(Ok((key, _))) => {
                    let nearer =
                        nearest.as_ref().is_none_or(|best| (key < best) != back && key != best);
                    if nearer {
                        nearest = Some(key.clone());
                    }
                }
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
        }
        let Some(nearest) = nearest else { return Ok(()) };
        let mut shown = false;
        for layer in layers.iter_mut() {
            let Some(Ok((key, value))) =
                layer.next_if(|row| matches!(row, Ok((key, _)) if *key == nearest))
            else {
                continue;
            };
            if !std::mem::replace(&mut shown, true)
                && let Some(value) = value
                && visit(&key, &value).is_break()
            {
                return Ok(());
            }
        }
    }
}
