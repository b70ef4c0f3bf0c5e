//! A step read a piece at a time, so that nobody who sends it slowly holds all of it.
//!
//! Promises: a piece is whole nodes, in the order of the step, and of one side; what is held is a row
//! of the journal and at most one node that is larger than that.

use super::JOURNAL;
use crate::maintain::rows::fault;
use crate::store::{RawRows, Rows};
use crate::wire::Serial;
use crate::zone::{ReadFault, packed};

/// Packed nodes of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Whether they come; they go otherwise.
    pub adding: bool,
    pub nodes: Vec<u8>,
}

/// What a step is written down as in front of its sides (see [`Written`](super::Written)).
type Head = (Serial, Serial, u64, String);

/// Where in a step somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// In front of the length of a side.
    Length {
        adding: bool,
    },
    /// In a side, so many octets before its end.
    Side {
        adding: bool,
        left: usize,
    },
    End,
}

/// Reads one step.
#[derive(Debug)]
pub struct Pieces {
    zone: u32,
    version: u64,
    /// The next row to read; none once all are read.
    part: Option<u16>,
    /// Octets read that were not given yet.
    read: Vec<u8>,
    at: At,
}

impl Pieces {
    /// Reads the step that led to `version` of a zone, from its beginning.
    pub fn of(zone: u32, version: u64) -> Pieces {
        Pieces { zone, version, part: Some(0), read: Vec::new(), at: At::Head }
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read, or the journal no longer holds the step.
    pub fn next<R: RawRows + ?Sized>(&mut self, rows: &R) -> Result<Option<Piece>, ReadFault> {
        loop {
            match self.at {
                At::Head => match self.take::<Head>() {
                    Some(_) => self.at = At::Length { adding: false },
                    None => self.read_row(rows)?,
                },
                At::Length { adding } => match self.take::<usize>() {
                    Some(left) => self.at = At::Side { adding, left },
                    None => self.read_row(rows)?,
                },
                At::Side { adding: false, left: 0 } => self.at = At::Length { adding: true },
                At::Side { adding: true, left: 0 } => self.at = At::End,
                At::Side { adding, left } => match self.take_nodes(left) {
                    Some(nodes) => {
                        self.at = At::Side { adding, left: left - nodes.len() };
                        return Ok(Some(Piece { adding, nodes }));
                    }
                    None => self.read_row(rows)?,
                },
                At::End => return Ok(None),
            }
        }
    }

    /// Takes a value off the front of what is read; none while it is not all there.
    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes::<T>(&self.read).ok()?;
        let taken = self.read.len() - rest.len();
        self.read.drain(..taken);
        Some(value)
    }

    /// Takes the whole nodes among the next `left` octets; none while there is no whole one.
    fn take_nodes(&mut self, left: usize) -> Option<Vec<u8>> {
        let side = self.read.get(..left).unwrap_or(&self.read);
        let whole = packed::nodes(side).map(packed::Node::octets).sum();
        if whole == 0 {
            return None;
        }
        let rest = self.read.split_off(whole);
        Some(std::mem::replace(&mut self.read, rest))
    }

    fn read_row<R: RawRows + ?Sized>(&mut self, rows: &R) -> Result<(), ReadFault> {
        let gone = |why| ReadFault(format!("version {} of the journal {why}", self.version));
        let part = self.part.ok_or_else(|| gone("is damaged"))?;
        let row = rows.get(&JOURNAL, &(self.zone, self.version, part)).map_err(fault)?;
        match row {
            Some(row) => {
                self.read.extend_from_slice(&row.0);
                self.part = part.checked_add(1);
                Ok(())
            }
            None if part == 0 => Err(gone("is no longer held")),
            None => Err(gone("is damaged, or no longer held")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::journal::version;
    use crate::maintain::rows;
    use crate::maintain::tests::{commit, create, maintain, name, set};
    use crate::maintain::{Maintain, ZoneChange};
    use crate::zone::Base;

    /// All pieces of the last step of a zone, and the longest of them.
    fn all(maintain: &Maintain) -> (Vec<u8>, Vec<u8>, usize) {
        maintain.store().read(|rows| {
            let zone = rows::zone(rows, &name("x.")).unwrap().unwrap();
            let mut pieces = Pieces::of(zone.id, zone.version);
            let (mut dels, mut adds, mut longest) = (Vec::new(), Vec::new(), 0);
            while let Some(Piece { adding, nodes }) = pieces.next(rows).unwrap() {
                longest = longest.max(nodes.len());
                assert!(adding || adds.is_empty(), "what goes comes first");
                if adding { adds.extend(nodes) } else { dels.extend(nodes) }
            }
            (dels, adds, longest)
        })
    }

    fn edits(hosts: usize, last: u8) -> ZoneChange {
        let edits = (0..hosts).flat_map(|host| {
            match set("x.", &format!("host{host}"), last, Base::Unchecked) {
                ZoneChange::Edit { edits, .. } => edits,
                _ => unreachable!(),
            }
        });
        ZoneChange::Edit { apex: name("x."), edits: edits.collect() }
    }

    #[test]
    fn the_pieces_of_a_step_are_the_step_whatever_its_size() {
        let maintain = maintain();
        commit(&maintain, &[create("x.", 1)]).unwrap();
        for (hosts, last) in [(1, 1), (1, 2), (900, 3), (901, 4), (5_000, 5)] {
            commit(&maintain, &[edits(hosts, last)]).unwrap();
            let step = maintain.store().read(|rows| {
                let zone = rows::zone(rows, &name("x.")).unwrap().unwrap();
                version(rows, &zone, zone.version).unwrap().unwrap().step
            });
            let (dels, adds, longest) = all(&maintain);
            assert!(dels == step.dels && adds == step.adds, "{hosts} hosts");
            assert!(longest <= 2 * super::super::PART_OCTETS, "{longest} octets at once");
        }
    }

    #[test]
    fn a_step_that_leaves_the_journal_meanwhile_is_missed() {
        let maintain = maintain();
        commit(&maintain, &[create("x.", 1)]).unwrap();
        commit(&maintain, &[edits(2_000, 1)]).unwrap();
        let zone = maintain.store().read(|rows| rows::zone(rows, &name("x.")).unwrap().unwrap());
        let mut pieces = Pieces::of(zone.id, zone.version);
        maintain.store().read(|rows| assert!(pieces.next(rows).unwrap().is_some()));
        maintain.store().transact(|tx| super::super::clear(tx, &mut zone.clone())).unwrap();
        let end = maintain.store().read(|rows| {
            std::iter::from_fn(|| pieces.next(rows).transpose()).find_map(Result::err)
        });
        assert!(end.unwrap().0.contains("no longer held"));
    }
}
