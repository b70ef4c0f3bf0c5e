//! Faults as they are found, by offset; lines and columns are counted once, at the end.

use std::rc::Rc;
use std::sync::Arc;

use super::{FAULTS_MAX, Fault, Severity};
use crate::wire::Name;
use crate::zone::check::{Broken, Rule};

/// A place in one of the files read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Which file, in the order they were opened.
    pub(super) source: u16,
    /// Octets from its start.
    pub(super) at: u32,
}

/// One file.
struct Source<'a> {
    name: Option<Arc<str>>,
    text: Text<'a>,
}

enum Text<'a> {
    Given(&'a [u8]),
    Included(Rc<[u8]>),
}

/// One fault, before its line is counted.
struct Found {
    place: Place,
    severity: Severity,
    breaks: Option<(Rule, Name)>,
    what: String,
}

/// What was found in a piece of a file, apart from the file.
pub(super) struct Gist {
    found: Vec<Found>,
    more: usize,
    errors: usize,
}

/// All faults, and the files they are in.
pub(super) struct Faults<'a> {
    sources: Vec<Source<'a>>,
    found: Vec<Found>,
    /// Found past [`FAULTS_MAX`].
    more: usize,
    errors: usize,
}

impl<'a> Faults<'a> {
    pub(super) fn new(input: &'a [u8]) -> Faults<'a> {
        let first = Source { name: None, text: Text::Given(input) };
        Faults { sources: vec![first], found: Vec::new(), more: 0, errors: 0 }
    }

    /// Enters an included file; returns its number, or none when there are too many.
    pub(super) fn enter(&mut self, name: &str, text: Rc<[u8]>, most: usize) -> Option<u16> {
        let number = self.sources.len();
        if number > most {
            return None;
        }
        self.sources.push(Source { name: Some(name.into()), text: Text::Included(text) });
        u16::try_from(number).ok()
    }

    pub(super) fn error(&mut self, place: Place, what: String) {
        self.errors += 1;
        self.push(Found { place, severity: Severity::Error, breaks: None, what });
    }

    /// A rule of zones that what stands at `place` breaks.
    pub(super) fn broken(&mut self, place: Place, broken: Broken) {
        self.errors += 1;
        let Broken { rule, owner, what } = broken;
        self.push(Found { place, severity: Severity::Error, breaks: Some((rule, owner)), what });
    }

    /// The error that ends the reading: it is listed however many came before.
    pub(super) fn last_error(&mut self, place: Place, what: String) {
        self.errors += 1;
        self.found.push(Found { place, severity: Severity::Error, breaks: None, what });
    }

    pub(super) fn warn(&mut self, place: Place, what: String) {
        self.push(Found { place, severity: Severity::Warning, breaks: None, what });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// What was found, apart from the files.
    pub(super) fn gist(self) -> Gist {
        Gist { found: self.found, more: self.more, errors: self.errors }
    }

    /// Takes in what was found in the next piece of the file.
    pub(super) fn take(&mut self, gist: Gist) {
        gist.found.into_iter().for_each(|found| self.push(found));
        self.more += gist.more;
        self.errors += gist.errors;
    }

    fn push(&mut self, found: Found) {
        match self.found.len() < FAULTS_MAX {
            true => self.found.push(found),
            false => self.more += 1,
        }
    }

    /// All faults by place, with lines and columns.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|found| found.place);
        let mut faults = Vec::with_capacity(self.found.len() + 1);
        let mut cursor = Cursor::default();
        for Found { place, severity, breaks, what } in self.found {
            let source = self.sources.get(usize::from(place.source));
            let text = source.map_or([].as_slice(), |source| match &source.text {
                Text::Given(text) => text,
                Text::Included(text) => text,
            });
            let file = source.and_then(|source| source.name.clone());
            let (line, column) = cursor.advance(place, text);
            faults.push(Fault { file, line, column, severity, breaks, what });
        }
        if let (Some(last), 1..) = (faults.last(), self.more) {
            let what = format!("{} more faults were found but are not listed", self.more);
            faults.push(Fault { what, breaks: None, ..last.clone() });
        }
        faults
    }
}

/// Counts lines up to places that come in order.
#[derive(Default)]
struct Cursor {
    source: u16,
    at: usize,
    line: u32,
    line_start: usize,
}

impl Cursor {
    fn advance(&mut self, place: Place, text: &[u8]) -> (u32, u32) {
        if place.source != self.source {
            *self = Cursor { source: place.source, ..Cursor::default() };
        }
        let to = place.at as usize;
        for (at, &octet) in (self.at..).zip(text.get(self.at..to).unwrap_or_default()) {
            if octet == b'\n' {
                self.line += 1;
                self.line_start = at + 1;
            }
        }
        self.at = to;
        (self.line + 1, (to - self.line_start) as u32 + 1)
    }
}
