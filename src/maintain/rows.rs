//! Zones in the store: which rows a zone has, and how they are read.
//!
//! A zone's records lie in [chunks](crate::zone::chunk) under a number, the zone's id, and a
//! generation: a whole new content is written beside the old one and takes its place by one change
//! to the zone's own row. What is left behind is released later, in bounded steps.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::change::ZoneState;
use crate::store::{Piece, Raw, RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::{Name, Serial};
use crate::zone::chunk::{self, Borders, ChunkView, Counts, Nodes, Row};
use crate::zone::{ReadFault, View};

/// Apex key → zone id.
pub(super) const ZONES_BY_NAME: Table<Tail, u32> = Table::new("zones by name", *b"zn");
pub(super) const ZONES: Table<u32, Zone> = Table::new("zones", *b"zm");
/// (Holder, apex key) → zone id.
pub(super) const ZONES_OF: Table<(String, Tail), u32> = Table::new("zones by holder", *b"zo");
/// (Zone, generation, relative key of the first name) → packed nodes.
pub(super) const CHUNKS: Table<(u32, u32, Tail), Raw> = Table::new("zone chunks", *b"zr");
/// (Zone, generation, part, relative key) → octets of a chunk too large for one row.
pub(super) const PARTS: Table<(u32, u32, u16, Tail), Raw> = Table::new("zone chunk parts", *b"zx");
/// Apex key → the newest serial of a zone that is no more.
pub(super) const LAST_SERIALS: Table<Tail, Serial> = Table::new("serials of deleted zones", *b"zs");
/// (Zone, generation) whose rows are no longer part of any version.
pub(super) const RELEASES: Table<(u32, u32), Release> = Table::new("rows to release", *b"zd");
pub(super) const NEXT_ZONE: Table<(), u32> = Table::new("next zone id", *b"zi");
pub(super) const NEXT_GENERATION: Table<(), u32> = Table::new("next generation", *b"zy");

/// Octets of one row's value; larger chunks are kept in parts of this size.
const VALUE_OCTETS_MAX: usize = 32 * 1024;

/// First octet of a chunk's value: the nodes follow.
pub(super) const WHOLE: u8 = 0;
/// First octet of a chunk's value: the number of parts follows, two octets.
const IN_PARTS: u8 = 1;

/// A zone as a whole: everything but its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Dense; never used again after deletion.
    pub id: u32,
    /// In the case its owner wrote it.
    pub apex: Name,
    /// Who holds it, opaque here.
    pub org: String,
    pub state: ZoneState,
    /// Kept as its signer made it.
    pub presigned: bool,
    pub serial: Serial,
    /// Counts the versions, from 1.
    pub version: u64,
    /// Whose chunks are the current version.
    pub(super) generation: u32,
    pub counts: Counts,
    pub(super) journal: JournalExtent,
    /// Microseconds since 1970.
    pub created_us: u64,
    /// Microseconds since 1970; of the last version.
    pub changed_us: u64,
}

impl Zone {
    /// Whether queries are answered from its records.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, ZoneState::Live | ZoneState::Held)
    }
}

/// What the journal of a zone holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JournalExtent {
    /// The first version there is a step to; one beyond the current version when there is none.
    pub first: u64,
    pub octets: u64,
}

/// What is to be released of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Release {
    /// One generation's chunks.
    Generation,
    /// All its chunks and its journal.
    Everything,
}

/// The zone whose apex is `apex`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn zone<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<Option<Zone>, ReadFault> {
    match rows.get(&ZONES_BY_NAME, &Tail(apex.key())).map_err(fault)? {
        Some(id) => by_id(rows, id),
        None => Ok(None),
    }
}

/// The zone with this id.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn by_id<R: RawRows + ?Sized>(rows: &R, id: u32) -> Result<Option<Zone>, ReadFault> {
    rows.get(&ZONES, &id).map_err(fault)
}

/// The zone that holds `name`: the one with the longest apex at or above it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn holding<R: RawRows + ?Sized>(rows: &R, name: &Name) -> Result<Option<Zone>, ReadFault> {
    let mut at = Some(name.clone());
    while let Some(name) = at {
        if let Some(zone) = zone(rows, &name)? {
            return Ok(Some(zone));
        }
        at = name.parent();
    }
    Ok(None)
}

/// The zones strictly below `name` and behind `after`, in canonical order, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn below<R: RawRows + ?Sized>(
    rows: &R,
    name: &Name,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<Zone>, ReadFault> {
    let after = Tail(after.unwrap_or(name).key());
    let ids = rows.scan(&ZONES_BY_NAME, &Tail(name.key()), Some(&after), limit).map_err(fault)?;
    zones_of_ids(rows, ids.into_iter().map(|(_, id)| id))
}

/// The zones behind `after` in canonical order of their names, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn zones<R: RawRows + ?Sized>(
    rows: &R,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<Zone>, ReadFault> {
    let after = after.map(|name| Tail(name.key()));
    let ids = rows.scan(&ZONES_BY_NAME, &(), after.as_ref(), limit).map_err(fault)?;
    zones_of_ids(rows, ids.into_iter().map(|(_, id)| id))
}

/// The zones that `org` holds, behind `after` in canonical order of their names, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn zones_of<R: RawRows + ?Sized>(
    rows: &R,
    org: &str,
    after: Option<&Name>,
    limit: usize,
) -> Result<Vec<Zone>, ReadFault> {
    let after = after.map(|name| (org.to_owned(), Tail(name.key())));
    let ids = rows.scan(&ZONES_OF, &org.to_owned(), after.as_ref(), limit).map_err(fault)?;
    zones_of_ids(rows, ids.into_iter().map(|(_, id)| id))
}

fn zones_of_ids<R: RawRows + ?Sized>(
    rows: &R,
    ids: impl Iterator<Item = u32>,
) -> Result<Vec<Zone>, ReadFault> {
    ids.filter_map(|id| by_id(rows, id).transpose()).collect()
}

/// Runs `with` on the records of `zone` at its current version.
pub fn with_view<R: RawRows + ?Sized, T>(
    rows: &R,
    zone: &Zone,
    with: impl FnOnce(&dyn View) -> T,
) -> T {
    let chunks = Chunks { rows, zone: zone.id, generation: zone.generation };
    with(&ChunkView::new(&zone.apex, &chunks))
}

/// Where a zone may be cut into parts of at least so many octets.
pub(super) fn borders<R: RawRows + ?Sized>(
    rows: &R,
    zone: &Zone,
    octets: usize,
) -> Result<Vec<Vec<u8>>, ReadFault> {
    let mut borders = Borders::new(&zone.apex, octets);
    let first = (zone.id, zone.generation, Tail::default());
    let end = (zone.id, zone.generation + 1, Tail::default());
    let mut take = |(.., Tail(key)): (u32, u32, Tail), value: &[u8]| {
        borders.row(&key, value.len());
        ControlFlow::Continue(())
    };
    rows.visit_octets(&CHUNKS, first..end, &mut take).map_err(fault)?;
    Ok(borders.finish())
}

/// The longest TTL, in seconds, of what `generation` of a zone holds. Reads all of it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn longest_ttl_s<R: RawRows + ?Sized>(
    rows: &R,
    (zone, generation): (u32, u32),
    apex: &Name,
) -> Result<u32, ReadFault> {
    let chunks = Chunks { rows, zone, generation };
    let mut longest = 0;
    ChunkView::new(apex, &chunks).walk(&apex.key(), &mut |node| {
        longest = node.rrsets().map(|set| set.ttl).fold(longest, u32::max);
        ControlFlow::Continue(())
    })?;
    Ok(longest)
}

pub(super) fn fault(error: RowError) -> ReadFault {
    ReadFault(error.to_string())
}

/// The chunks of one generation of one zone, to read.
pub(super) struct Chunks<'a, R: ?Sized> {
    pub rows: &'a R,
    pub zone: u32,
    pub generation: u32,
}

/// The chunks of one generation of one zone, to change.
pub(super) struct ChunksMut<'a, 't> {
    pub tx: &'a mut Tx<'t>,
    pub zone: u32,
    pub generation: u32,
}

impl<R: RawRows + ?Sized> Chunks<'_, R> {
    fn floor(&self, key: &[u8]) -> Result<Option<Row<'static>>, ReadFault> {
        if key.is_empty() {
            // Nothing stands before the first row, which has the apex.
            let first = self.rows.piece(&CHUNKS, &self.key(key)).map_err(fault)?;
            return self.own(first.map(|nodes| (self.key(key), nodes)));
        }
        self.own(self.rows.floor_piece(&CHUNKS, &self.key(key)).map_err(fault)?)
    }

    fn prev(&self, key: &[u8]) -> Result<Option<Row<'static>>, ReadFault> {
        self.own(self.rows.prev_piece(&CHUNKS, &self.key(key)).map_err(fault)?)
    }

    fn key(&self, key: &[u8]) -> (u32, u32, Tail) {
        (self.zone, self.generation, Tail(key.into()))
    }

    fn own(
        &self,
        row: Option<((u32, u32, Tail), Piece)>,
    ) -> Result<Option<Row<'static>>, ReadFault> {
        match row {
            Some(((zone, generation, key), value))
                if (zone, generation) == (self.zone, self.generation) =>
            {
                let nodes = match value.first() {
                    Some(&WHOLE) => {
                        let (octets, from) = value.into_parts();
                        Nodes::Shared(octets, from + 1)
                    }
                    _ => Nodes::Owned(self.whole(&key, &value)?),
                };
                Ok(Some((key.0, nodes)))
            }
            _ => Ok(None),
        }
    }

    /// The nodes of a row, put together if they are kept in parts.
    fn whole(&self, key: &Tail, octets: &[u8]) -> Result<Vec<u8>, ReadFault> {
        match octets.split_first() {
            Some((&WHOLE, nodes)) => Ok(nodes.to_vec()),
            Some((&IN_PARTS, count)) => {
                let count = u16::from_be_bytes(count.try_into().unwrap_or_default());
                let mut whole = Vec::new();
                for part in 0..count {
                    let key = (self.zone, self.generation, part, key.clone());
                    let part = self.rows.get(&PARTS, &key).map_err(fault)?;
                    whole.extend(
                        part.ok_or_else(|| ReadFault("a part of a chunk is gone".into()))?.0,
                    );
                }
                Ok(whole)
            }
            _ => Err(ReadFault("a chunk has an unknown form".into())),
        }
    }
}

impl<R: RawRows + ?Sized> chunk::Rows for Chunks<'_, R> {
    fn at_or_before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
        self.floor(key)
    }

    fn before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
        self.prev(key)
    }

    fn from(
        &self,
        key: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        let end = (self.zone, self.generation + 1, Tail::default());
        // Often no more than one is wanted.
        let first = self.rows.first_piece(&CHUNKS, self.key(key)..end.clone()).map_err(fault)?;
        let Some((key, nodes)) = self.own(first)? else { return Ok(()) };
        if each(&key, &nodes).is_break() {
            return Ok(());
        }
        // Pages, because `each` may read on its own.
        let mut limit = 8;
        let mut from = self.key(&key);
        from.2.0.push(0);
        loop {
            let page = self.rows.range(&CHUNKS, from..end.clone(), limit).map_err(fault)?;
            let count = page.len();
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = last.clone();
            from.2.0.push(0);
            for ((.., key), value) in page {
                let octets = self.whole(&key, &value.0)?;
                if each(&key.0, &octets).is_break() {
                    return Ok(());
                }
            }
            if count < limit {
                return Ok(());
            }
            limit = (limit * 8).min(64);
        }
    }
}

impl<'t> ChunksMut<'_, 't> {
    fn read(&self) -> Chunks<'_, Tx<'t>> {
        Chunks { rows: self.tx, zone: self.zone, generation: self.generation }
    }

    fn delete_parts(&mut self, key: &[u8]) -> Result<(), ReadFault> {
        let row = (self.zone, self.generation, Tail(key.into()));
        let old = self.tx.piece(&CHUNKS, &row).map_err(fault)?;
        let Some([IN_PARTS, count @ ..]) = old.as_deref() else { return Ok(()) };
        for part in 0..u16::from_be_bytes(count.try_into().unwrap_or_default()) {
            let key = (self.zone, self.generation, part, Tail(key.into()));
            self.tx.delete(&PARTS, &key).map_err(fault)?;
        }
        Ok(())
    }
}

impl chunk::Rows for ChunksMut<'_, '_> {
    fn at_or_before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
        self.read().floor(key)
    }

    fn before(&self, key: &[u8]) -> Result<Option<Row<'_>>, ReadFault> {
        self.read().prev(key)
    }

    fn from(
        &self,
        key: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        chunk::Rows::from(&self.read(), key, each)
    }
}

impl chunk::RowsMut for ChunksMut<'_, '_> {
    fn put(&mut self, key: &[u8], nodes: &[u8]) -> Result<(), ReadFault> {
        self.delete_parts(key)?;
        put_chunk(self.tx, self.zone, self.generation, key, nodes).map_err(fault)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), ReadFault> {
        self.delete_parts(key)?;
        self.tx.delete(&CHUNKS, &(self.zone, self.generation, Tail(key.into()))).map_err(fault)
    }
}

/// Writes a chunk where none was, in parts if it is too large for a row.
pub(super) fn put_chunk(
    tx: &mut Tx<'_>,
    zone: u32,
    generation: u32,
    key: &[u8],
    nodes: &[u8],
) -> Result<(), RowError> {
    let tail = Tail(key.into());
    if nodes.len() < VALUE_OCTETS_MAX {
        return tx.put_pieces(&CHUNKS, &(zone, generation, tail), &[&[WHOLE], nodes]);
    }
    let mut count = 0u16;
    for part in nodes.chunks(VALUE_OCTETS_MAX) {
        tx.put(&PARTS, &(zone, generation, count, tail.clone()), &Raw(part.into()))?;
        count += 1;
    }
    tx.put_pieces(&CHUNKS, &(zone, generation, tail), &[&[IN_PARTS], &count.to_be_bytes()])
}
