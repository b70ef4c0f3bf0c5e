//! Which of the files given is the zone's, when several bring one apex: the first, in the order given.
//!
//! Which apex a file has is known once it was read, and several hands read files in any order. So a hand
//! that would bring a zone waits until every file before it was read too; none waits that is reading.
//!
//! Promises: what is taken does not depend on who was faster; a hand that gives up lets nobody wait for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::wire::Name;

/// What is known of the files taken up, by their place among those given.
#[derive(Debug, Default)]
pub(super) struct Claims {
    known: Mutex<Known>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    next: usize,
    /// Apex in lower case → the first file that has it, as far as they were read. Of a million zones none is
    /// sought by way of twenty others.
    first: HashMap<Box<[u8]>, usize>,
    /// Files taken up and not yet read.
    reading: BTreeSet<usize>,
}

/// A file that somebody reads, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim<'c> {
    claims: &'c Claims,
    /// Its place among those given.
    pub place: usize,
}

impl Claims {
    /// Takes up the next file, if there are more of the `count` given.
    pub(super) fn next(&self, count: usize) -> Option<Claim<'_>> {
        let mut known = self.lock();
        let place = known.next;
        if place >= count {
            return None;
        }
        known.next += 1;
        known.reading.insert(place);
        Some(Claim { claims: self, place })
    }

    /// Leaves no file to anybody.
    pub(super) fn end(&self) {
        self.lock().next = usize::MAX;
    }

    /// The file that has this apex first. Waits until all before `place`, which has it too, were read.
    pub(super) fn first(&self, apex: &Name, place: usize) -> usize {
        let known = self.lock();
        let is_early =
            |known: &mut Known| known.reading.first().is_some_and(|first| *first < place);
        let waited = self.more.wait_while(known, is_early);
        let known = waited.unwrap_or_else(PoisonError::into_inner);
        known.first.get(&*folded(apex)).copied().unwrap_or(place)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Says which apex the file has. One that is dropped without has none.
    pub(super) fn has(self, apex: &Name) {
        let mut known = self.claims.lock();
        let first = known.first.entry(folded(apex)).or_insert(self.place);
        *first = self.place.min(*first);
    }
}

fn folded(apex: &Name) -> Box<[u8]> {
    apex.as_wire().to_ascii_lowercase().into()
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().reading.remove(&self.place);
        self.claims.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apex(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn the_first_given_has_the_apex_though_it_is_read_last() {
        let claims = Claims::default();
        let (slow, quick) = (claims.next(2).unwrap(), claims.next(2).unwrap());
        assert!(claims.next(2).is_none());
        quick.has(&apex("a.example."));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| claims.first(&apex("A.example."), 1));
            slow.has(&apex("a.example."));
            assert_eq!(waits.join().unwrap(), 0);
        });
        assert_eq!(claims.first(&apex("a.example."), 0), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_has_no_apex_and_holds_nobody_up() {
        let claims = Claims::default();
        let (broken, good) = (claims.next(9).unwrap(), claims.next(9).unwrap());
        good.has(&apex("a.example."));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| claims.first(&apex("a.example."), 1));
            drop(broken);
            assert_eq!(waits.join().unwrap(), 1);
        });
        claims.end();
        assert!(claims.next(9).is_none());
    }
}
