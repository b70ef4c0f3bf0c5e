//! A large file, read in pieces by several hands at once.
//!
//! A piece begins at a line that looks like the begin of a record with an owner of its own, and is read as if nothing
//! but origin and `$TTL` of what stands before were known. Whoever puts the pieces together judges: a piece counts if
//! the one before it ends where it begins, and if nothing in it hangs on what stands before or changes what comes
//! behind it, as a directive does. What does not count is read again, in its turn.
//!
//! Promises: what comes of a file is, octet for octet and fault for fault, what comes of it read in one go.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::faults::Gist;
use super::gather::Gathered;
use super::read::{Owner, Reader};
use super::{Limits, Options};
use crate::wire::rdata::scan::Scanner;

/// Octets of a piece at least: reading it takes far longer than handing it over.
const PIECE_OCTETS: usize = if cfg!(test) { 128 } else { 2 << 20 };

/// Octets that are read in one go before pieces are made: a file's directives mostly stand at its begin.
const HEAD_OCTETS: usize = if cfg!(test) { 32 } else { 64 << 10 };

/// Hands at most; more only wait for whoever puts the pieces together.
const HANDS_MAX: usize = 8;

/// What part of a file a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// A piece, of which nothing is known to be odd.
    Piece,
    /// A piece that hangs on what stands before it, or changes what comes behind it.
    Bound,
}

/// What all pieces know of what stands before them.
struct Known {
    origin: Option<Box<[u8]>>,
    ttl: Option<u32>,
    default_ttl: Option<u32>,
    limits: Limits,
}

/// What came of one piece.
struct Read {
    from: usize,
    end: usize,
    all: Gathered,
    faults: Gist,
    owner: Owner,
    owner_text: Range<usize>,
    last_ttl: Option<u32>,
}

impl Reader<'_, '_> {
    /// Reads a large file, and returns where too little of it is left to be shared.
    pub(super) fn pieces(&mut self, text: &[u8], scanner: &mut Scanner<'_>) {
        let mut until = scanner.at() + HEAD_OCTETS;
        while !self.stopped && text.len().saturating_sub(until) > 2 * PIECE_OCTETS {
            let Some(from) = border(text, until) else { return };
            self.entries(scanner, from);
            until = match scanner.at() == from && !self.stopped {
                true => self.side_by_side(text, scanner),
                // What looked like the begin of a record was none.
                false => scanner.at() + HEAD_OCTETS,
            };
        }
    }

    /// Reads pieces from here on, up to the first that does not count. Returns where that one ends.
    fn side_by_side(&mut self, text: &[u8], scanner: &mut Scanner<'_>) -> usize {
        let mut borders = vec![scanner.at()];
        while let Some(next) = borders.last().and_then(|from| border(text, from + PIECE_OCTETS)) {
            borders.push(next);
        }
        borders.push(text.len());
        let known = Known {
            origin: self.origin.clone(),
            ttl: self.default_ttl,
            default_ttl: self.options.default_ttl,
            limits: self.options.limits,
        };
        let (borders, known, over) = (borders.as_slice(), &known, AtomicBool::new(false));
        let (over, hands) = (&over, self.options.hands.min(HANDS_MAX));
        thread::scope(|scope| {
            let start = |hand: usize| {
                let (tell, told) = sync_channel(1);
                scope.spawn(move || {
                    let mine = borders.windows(2).skip(hand).step_by(hands);
                    read_each(text, mine, known, over, &tell);
                });
                told
            };
            let told: Vec<Receiver<Option<Read>>> = (0..hands).map(start).collect();
            let told = told.iter().cycle().map(|told| told.recv().ok().flatten());
            for (&end, read) in borders.iter().skip(1).zip(told) {
                if !read.is_some_and(|read| self.take(read, scanner)) {
                    over.store(true, Ordering::Relaxed);
                    return end;
                }
            }
            text.len()
        })
    }

    /// Takes what came of the next piece, if it counts.
    fn take(&mut self, read: Read, scanner: &mut Scanner<'_>) -> bool {
        let fits = self.all.len() + read.all.len() <= self.options.limits.records;
        if scanner.at() != read.from || !fits {
            return false;
        }
        let from = self.all.append(&read.all);
        self.faults.take(read.faults);
        self.owner = read.owner.moved(from);
        self.owner_text = read.owner_text;
        self.last_ttl = read.last_ttl.or(self.last_ttl);
        scanner.skip(read.end.saturating_sub(scanner.at()));
        true
    }

    /// Reads from `from` to the end of the entry that reaches `to`; none if the piece does not stand for itself.
    fn piece(mut self, text: &[u8], from: usize, to: usize) -> Option<Read> {
        let mut scanner = Scanner::new(text);
        scanner.skip(from);
        self.entries(&mut scanner, to);
        if self.extent == Extent::Bound || self.stopped || self.owner == Owner::None {
            return None;
        }
        Some(Read {
            from,
            end: scanner.at(),
            all: self.all,
            faults: self.faults.gist(),
            owner: self.owner,
            owner_text: self.owner_text,
            last_ttl: self.last_ttl,
        })
    }

    /// Whether this is a piece, which then is bound to the others, and is not read on.
    pub(super) fn bind(&mut self) -> bool {
        if self.extent == Extent::Whole {
            return false;
        }
        self.extent = Extent::Bound;
        self.stopped = true;
        true
    }
}

/// What one hand does.
fn read_each<'b>(
    text: &[u8],
    pieces: impl Iterator<Item = &'b [usize]>,
    known: &Known,
    over: &AtomicBool,
    tell: &SyncSender<Option<Read>>,
) {
    for piece in pieces {
        let &[from, to] = piece else { return };
        let Known { default_ttl, limits, .. } = *known;
        let options = Options { default_ttl, limits, ..Options::default() };
        let mut reader = Reader::new(text, to.saturating_sub(from), options);
        reader.origin.clone_from(&known.origin);
        reader.default_ttl = known.ttl;
        reader.extent = Extent::Piece;
        if over.load(Ordering::Relaxed) || tell.send(reader.piece(text, from, to)).is_err() {
            return;
        }
    }
}

/// The first line from `from` on that looks like the begin of a record with an owner.
fn border(text: &[u8], from: usize) -> Option<usize> {
    let is_begin = |pair: &[u8]| matches!(pair, [b'\n', first] if first.is_ascii_alphanumeric() || b"_@*-".contains(first));
    let found = text.get(from..)?.windows(2).position(is_begin)?;
    Some(from + found + 1)
}
