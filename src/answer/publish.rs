//! Publication: two sides of one table, one read, one written, swapped.
//!
//! Both sides name the same immutable pages. The writer takes the side that nobody reads, repeats on
//! it what the last publication did (storing the same pages), adds what is new and swaps. A reader
//! sees one side for as long as it holds it: all of an order or nothing of it.
//!
//! Promises: readers never wait; a publication costs what it changes, not what there is.
//!
//! Does not: make anything durable, nor decide the order of publications: whoever owns the writer does.

use std::panic::resume_unwind;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::bulk::{Bulk, PARTS, Part};
use super::chain::{self, Chain};
use super::make::{Made, Maker, Numbers};
use super::page::{self, Page};
use super::rendered::{ChainChange, Rendered, Source};
use super::table::{BITS_MIN, Snapshot};
use crate::wire::HashKey;

/// Mean of names a page beyond which the directory doubles. Between this and half of it a page costs
/// 4 to 6 octets a name and some microseconds a change.
pub(super) const NAMES_PER_PAGE: usize = 16;

/// How often the writer looks again whether the last reader of a side is gone before it copies.
const SPINS: u32 = 64;
const NAPS: u32 = 50;
const NAP: Duration = Duration::from_micros(100);

/// Where readers find the current snapshot.
pub struct Published {
    current: ArcSwap<Snapshot>,
}

/// A snapshot, held. Hold it for a batch of queries, not for minutes: the writer would have to copy.
pub type Guard = arc_swap::Guard<Arc<Snapshot>>;

impl Published {
    /// The newest snapshot.
    #[inline]
    pub fn load(&self) -> Guard {
        self.current.load()
    }
}

/// The only writer of a table.
pub struct Writer {
    published: Arc<Published>,
    spare: Arc<Snapshot>,
    /// What the last publication did and the spare side has not seen.
    redo: Vec<Redo>,
    numbers: Numbers,
    scratch: Vec<u8>,
}

/// One thing done to a side.
pub(super) enum Redo {
    Pages {
        first: usize,
        count: usize,
        page: Page,
    },
    Double,
    /// Another directory in the place of the one there was.
    Directory {
        bits: u32,
        pages: Vec<Page>,
    },
    Big {
        number: u32,
        node: Option<Arc<[u8]>>,
    },
    Chain {
        zone: u32,
        redo: chain::Redo,
    },
    Counts {
        names: usize,
        labels_max: usize,
        loading: bool,
    },
}

impl Writer {
    /// A writer of an empty table; `key` hashes its names.
    pub fn new(key: HashKey) -> Writer {
        let side = Snapshot::new(key);
        Writer {
            published: Arc::new(Published { current: ArcSwap::from_pointee(side.clone()) }),
            spare: Arc::new(side),
            redo: Vec::new(),
            numbers: Numbers::default(),
            scratch: Vec::new(),
        }
    }

    /// Where readers find what this writer publishes.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// What names are hashed with, for [`Rendered::new`].
    pub fn key(&self) -> HashKey {
        self.spare.key.clone()
    }

    /// Publishes all of `rendered` as one snapshot.
    pub fn publish(&mut self, rendered: &[Rendered]) {
        let mut side = Side::new(self);
        side.change_chains(rendered);
        side.change_pages(rendered);
        self.swap();
    }

    /// Starts a bulk load: until it [ends](Writer::end_load), what is not found is SERVFAIL.
    pub fn start_load(&mut self) {
        let mut side = Side::new(self);
        side.new.loading = true;
        side.note_counts();
        self.swap();
    }

    /// Puts very many names in, by so many hands; readers see them all at once. What was read is let go of
    /// part by part, as the table has it.
    pub fn load(&mut self, read: Vec<Bulk>, hands: usize) {
        Side::new(self).load(read, hands);
        self.swap();
        self.settle();
    }

    /// Ends a bulk load.
    pub fn end_load(&mut self) {
        let mut side = Side::new(self);
        side.new.loading = false;
        side.note_counts();
        self.swap();
        self.settle();
    }

    /// Brings the spare side up to date, which frees what only it still names.
    pub fn settle(&mut self) {
        Side::new(self);
    }

    fn swap(&mut self) {
        let current = self.published.current.load_full();
        let next = std::mem::replace(&mut self.spare, current);
        self.published.current.store(next);
    }
}

/// The side being written, with its redo list.
struct Side<'w> {
    new: &'w mut Snapshot,
    redo: &'w mut Vec<Redo>,
    numbers: &'w Numbers,
    scratch: &'w mut Vec<u8>,
}

impl<'w> Side<'w> {
    /// Waits for the last reader of the spare side, or copies; then brings it up to date.
    fn new(writer: &'w mut Writer) -> Side<'w> {
        let mut tries = 0;
        while Arc::get_mut(&mut writer.spare).is_none() {
            if tries == SPINS + NAPS {
                writer.spare = Arc::new(Snapshot::clone(&writer.published.load()));
                writer.redo.clear();
                break;
            }
            if tries < SPINS {
                thread::yield_now()
            } else {
                thread::sleep(NAP)
            }
            tries += 1;
        }
        let new = Arc::get_mut(&mut writer.spare).expect("nobody else can reach the spare side");
        for redo in writer.redo.drain(..) {
            redo.apply(new);
        }
        new.version = writer.published.current.load().version + 1;
        Side { new, redo: &mut writer.redo, numbers: &writer.numbers, scratch: &mut writer.scratch }
    }

    fn change_chains(&mut self, rendered: &[Rendered]) {
        // Dropped first: the zone of that number may come back in the same publication.
        let all = || rendered.iter().flat_map(|rendered| &rendered.chains);
        let is_drop = |(_, change): &&(u32, ChainChange)| matches!(change, ChainChange::Drop);
        for (zone, change) in all().filter(is_drop).chain(all().filter(|it| !is_drop(it))) {
            let redo = match change {
                ChainChange::Drop => chain::Redo::Drop,
                ChainChange::Whole(denial, entries) => {
                    chain::Redo::Whole(Chain::new(denial.clone(), entries))
                }
                ChainChange::Edit(entries) => match self.new.chains.get(zone) {
                    Some(chain) => chain::Redo::Splice(chain.splices(entries)),
                    None => continue,
                },
            };
            self.redo(Redo::Chain { zone: *zone, redo });
        }
    }

    /// Puts the nodes of `rendered` into new pages.
    fn change_pages<S: Source>(&mut self, rendered: &[S]) {
        self.make_room(rendered.iter().map(Source::len).sum());
        let made = Maker::new(self.new, self.numbers, self.scratch).make(rendered);
        self.take(made);
        self.note_counts();
    }

    /// Puts all of `read` in, whose parts `hands` hands share.
    fn load(&mut self, read: Vec<Bulk>, hands: usize) {
        for bulk in &read {
            self.change_chains(slice::from_ref(bulk.rest()));
            self.new.labels_max = self.new.labels_max.max(bulk.rest().labels_max);
        }
        let names = read.iter().map(Bulk::len).sum();
        let parts = Bulk::parts(read);
        if self.new.names > 0 {
            // Several parts may have names on one page.
            return parts.for_each(|part| self.change_pages(&part));
        }
        self.clear_directory(names);
        let (old, numbers, parts) = (&*self.new, self.numbers, Mutex::new(parts.enumerate()));
        let mut made: Vec<MadePart> = thread::scope(|scope| {
            let hand = || make_parts(old, numbers, &parts);
            let others: Vec<_> = (1..hands).map(|_| scope.spawn(hand)).collect();
            let mut made = hand();
            for other in others {
                made.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            made
        });
        made.sort_unstable_by_key(|part| part.number);
        let mut pages = Vec::with_capacity(self.new.directory.len());
        for mut part in made {
            pages.append(&mut part.pages);
            self.take(part.made);
        }
        self.redo(Redo::Directory { bits: self.new.bits, pages });
        self.note_counts();
    }

    fn take(&mut self, made: Made) {
        made.redo.into_iter().for_each(|redo| self.redo(redo));
        let (gone, come) = made.names;
        self.new.names = self.new.names - gone + come;
        self.new.labels_max = self.new.labels_max.max(made.labels_max);
        self.numbers.give_back(&made.freed);
    }

    /// Does something to this side, and notes it for the other.
    fn redo(&mut self, redo: Redo) {
        redo.clone().apply(self.new);
        self.redo.push(redo);
    }

    /// An empty directory for so many names, with pages of its own for each part of a [`Bulk`].
    fn clear_directory(&mut self, names: usize) {
        let bits = names.div_ceil(NAMES_PER_PAGE).next_power_of_two().ilog2();
        let bits = bits.max(BITS_MIN).max(PARTS.ilog2());
        self.new.directory = vec![page::empty(bits as u8); 1 << bits];
        self.new.bits = bits;
    }

    /// Doubles the directory until `more` names would not fill it.
    fn make_room(&mut self, more: usize) {
        while self.new.names + more > NAMES_PER_PAGE * self.new.directory.len() {
            self.redo(Redo::Double);
        }
    }

    fn note_counts(&mut self) {
        let Snapshot { names, labels_max, loading, .. } = *self.new;
        self.redo.push(Redo::Counts { names, labels_max, loading });
    }
}

/// What became of a part of a [`Bulk`].
struct MadePart {
    number: usize,
    /// Those of its share of an empty directory.
    pages: Vec<Page>,
    /// What else is to be done.
    made: Made,
}

/// Makes the pages of part after part, until there are none, for an empty directory.
fn make_parts(
    old: &Snapshot,
    numbers: &Numbers,
    parts: &Mutex<impl Iterator<Item = (usize, Vec<Part>)>>,
) -> Vec<MadePart> {
    let (mut all, mut scratch) = (Vec::new(), Vec::new());
    let share = old.directory.len() / PARTS;
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some((number, part)) = next() {
        let mut made = Maker::new(old, numbers, &mut scratch).make(&part);
        let mut pages = vec![page::empty(old.bits as u8); share];
        made.redo.retain(|redo| {
            let Redo::Pages { first, page, .. } = redo else { return true };
            if let Some(slot) = pages.get_mut(first - number * share) {
                *slot = Arc::clone(page);
            }
            false
        });
        made.redo.shrink_to_fit();
        all.push(MadePart { number, pages, made });
    }
    all
}

impl Clone for Redo {
    fn clone(&self) -> Redo {
        match self {
            Redo::Pages { first, count, page } => {
                Redo::Pages { first: *first, count: *count, page: Arc::clone(page) }
            }
            Redo::Double => Redo::Double,
            Redo::Directory { bits, pages } => {
                Redo::Directory { bits: *bits, pages: pages.clone() }
            }
            Redo::Big { number, node } => Redo::Big { number: *number, node: node.clone() },
            Redo::Chain { zone, redo } => Redo::Chain { zone: *zone, redo: redo.clone() },
            Redo::Counts { names, labels_max, loading } => {
                Redo::Counts { names: *names, labels_max: *labels_max, loading: *loading }
            }
        }
    }
}

impl Redo {
    fn apply(self, side: &mut Snapshot) {
        match self {
            Redo::Pages { first, count, page } => {
                for slot in side.directory.iter_mut().skip(first).take(count) {
                    *slot = Arc::clone(&page);
                }
            }
            Redo::Double => {
                let twice = side.directory.iter().flat_map(|page| [page.clone(), page.clone()]);
                side.directory = twice.collect();
                side.bits += 1;
            }
            Redo::Directory { bits, pages } => {
                side.directory = pages;
                side.bits = bits;
            }
            Redo::Big { number, node } => {
                let at = number as usize;
                if side.big.len() <= at {
                    side.big.resize(at + 1, None);
                }
                if let Some(slot) = side.big.get_mut(at) {
                    *slot = node;
                }
            }
            Redo::Chain { zone, redo } => match redo {
                chain::Redo::Drop => {
                    side.chains.remove(&zone);
                }
                chain::Redo::Whole(chain) => {
                    side.chains.insert(zone, chain);
                }
                chain::Redo::Splice(splices) => {
                    if let Some(chain) = side.chains.get_mut(&zone) {
                        chain.apply(&splices);
                    }
                }
            },
            Redo::Counts { names, labels_max, loading } => {
                side.names = names;
                side.labels_max = labels_max;
                side.loading = loading;
            }
        }
    }
}
