//! Publication: two sides of one table, one read, one written, swapped.
//!
//! Both sides name the same immutable pages. The writer takes the side that nobody reads, repeats on
//! it what the last publication did (storing the same pages), adds what is new and swaps. A reader
//! sees one side for as long as it holds it: all of an order or nothing of it.
//!
//! Promises: readers never wait; a publication costs what it changes, not what there is.
//!
//! Does not: make anything durable, nor decide the order of publications: whoever owns the writer does.

use std::borrow::Cow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::chain::{self, Chain};
use super::node::{self, Node, flag};
use super::page::{self, PAGE_OCTETS_MAX, Page};
use super::rendered::{ChainChange, Change, Rendered};
use super::table::{BITS_MIN, Snapshot, parent_side};
use crate::wire::HashKey;

/// Mean of names a page beyond which the directory doubles. Between this and half of it a page costs
/// 4 to 6 octets a name and some microseconds a change.
const NAMES_PER_PAGE: usize = 16;

/// A node larger than this is kept outside its page, so that its neighbours' changes do not copy it.
const NODE_OCTETS_MAX: usize = 4096;

/// Pages that a bulk load replaces in one step, so that what they replace is freed before the next.
const BULK_STEP_PAGES: usize = 8192;

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
    free_big: Vec<u32>,
    scratch: Vec<u8>,
}

enum Redo {
    Pages {
        first: usize,
        count: usize,
        page: Page,
    },
    Double,
    /// An empty directory of this size.
    Fresh {
        bits: u32,
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
            free_big: Vec::new(),
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
        let changes = in_order(rendered);
        let mut side = Side::new(self);
        side.change_chains(rendered);
        side.change_pages(rendered, &changes);
        self.swap();
    }

    /// Starts a bulk load of about `names` names: until it [ends](Writer::end_load), what is not found is SERVFAIL.
    pub fn start_load(&mut self, names: usize) {
        let mut side = Side::new(self);
        side.new.loading = true;
        if side.new.names == 0 {
            // Pages of their own from the start: names go straight to where they stay.
            let bits = names.div_ceil(NAMES_PER_PAGE).next_power_of_two().ilog2().max(BITS_MIN);
            Redo::Fresh { bits }.apply(side.new);
            side.redo.push(Redo::Fresh { bits });
        }
        side.note_counts();
        self.swap();
    }

    /// Puts whole zones in, some pages at a time. Between [`start_load`](Writer::start_load) and [`end_load`](Writer::end_load) only:
    /// readers see zones by halves.
    pub fn load(&mut self, rendered: &[Rendered]) {
        let changes = in_order(rendered);
        let mut rest = changes.as_slice();
        let mut first = true;
        while first || !rest.is_empty() {
            let mut side = Side::new(self);
            if std::mem::take(&mut first) {
                side.change_chains(rendered);
            }
            let shift = 64 - side.new.bits;
            let end =
                rest.first().map_or(0, |(hash, ..)| (hash >> shift) as usize + BULK_STEP_PAGES);
            let step = rest.partition_point(|(hash, ..)| ((hash >> shift) as usize) < end);
            let (now, later) = rest.split_at_checked(step).unwrap_or((rest, &[]));
            rest = later;
            side.change_pages(rendered, now);
            self.swap();
        }
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

/// One change and where it comes from: hash, number of the rendering, number of the change.
type Sourced = (u64, u32, u32);

/// All changes by hash; of one name, what puts it comes last.
fn in_order(rendered: &[Rendered]) -> Vec<Sourced> {
    let mut changes: Vec<(Sourced, bool)> =
        Vec::with_capacity(rendered.iter().map(Rendered::len).sum());
    for (source, rendered) in rendered.iter().enumerate() {
        let mine = rendered.changes.iter().enumerate();
        changes.extend(
            mine.map(|(number, change)| ((change.hash, source as u32, number as u32), change.put)),
        );
    }
    changes.sort_by_key(|((hash, ..), put)| (*hash, *put));
    changes.into_iter().map(|(sourced, _)| sourced).collect()
}

/// The side being written, with its redo list.
struct Side<'w> {
    new: &'w mut Snapshot,
    redo: &'w mut Vec<Redo>,
    free_big: &'w mut Vec<u32>,
    scratch: &'w mut Vec<u8>,
}

/// A node on its way into a page.
struct Item<'a> {
    tag: u8,
    octets: Cow<'a, [u8]>,
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
        Side {
            new,
            redo: &mut writer.redo,
            free_big: &mut writer.free_big,
            scratch: &mut writer.scratch,
        }
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
            let redo = Redo::Chain { zone: *zone, redo };
            redo.clone().apply(self.new);
            self.redo.push(redo);
        }
    }

    /// Puts `changes`, in order of hash, into new pages.
    fn change_pages(&mut self, rendered: &[Rendered], changes: &[Sourced]) {
        self.make_room(changes.len());
        let mut rest = changes;
        while let Some(&(hash, ..)) = rest.first() {
            let slot = (hash >> (64 - self.new.bits)) as usize;
            let Some(old) = self.new.directory.get(slot).cloned() else { break };
            let depth = u32::from(page::depth(&old));
            let end = last_of(hash, depth);
            let mine = rest.partition_point(|(hash, ..)| *hash <= end);
            let (run, others) = rest.split_at_checked(mine).unwrap_or((rest, &[]));
            rest = others;
            let items: Vec<Item<'_>> = page::nodes(&old)
                .map(|(tag, node)| Item { tag, octets: Cow::Borrowed(node.octets()) })
                .collect();
            self.new.names -= items.len();
            self.change_page(rendered, items, run, hash, depth);
        }
        let most = rendered.iter().map(|rendered| rendered.labels_max).max();
        self.new.labels_max = self.new.labels_max.max(most.unwrap_or(0));
        self.note_counts();
    }

    /// Changes the nodes whose hashes share their first `depth` bits with `hash`, in as many pages as they need.
    fn change_page<'a>(
        &mut self,
        rendered: &'a [Rendered],
        mut items: Vec<Item<'a>>,
        run: &[Sourced],
        hash: u64,
        depth: u32,
    ) {
        if depth < self.new.bits && items.len() + run.len() > NAMES_PER_PAGE {
            let bit = 1 << (63 - depth);
            let upper = self.split(&mut items, bit);
            let lower_run = run.partition_point(|(hash, ..)| hash & bit == 0);
            let (lower_run, upper_run) = run.split_at_checked(lower_run).unwrap_or((run, &[]));
            self.change_page(rendered, items, lower_run, hash & !bit, depth + 1);
            self.change_page(rendered, upper, upper_run, hash | bit, depth + 1);
            return;
        }
        for &(_, source, number) in run {
            let Some(rendered) = rendered.get(source as usize) else { continue };
            let Some(change) = rendered.changes.get(number as usize) else { continue };
            self.change_items(&mut items, rendered, change);
        }
        self.new.names += items.len();
        self.store(items, hash, depth);
    }

    /// Takes out of `items` those whose hashes have `bit` set.
    fn split<'a>(&self, items: &mut Vec<Item<'a>>, bit: u64) -> Vec<Item<'a>> {
        let upper = |item: &mut Item<'_>| {
            Node::read(&item.octets).is_some_and(|node| {
                let hash = self.new.key.name(node.name());
                let hash = if node.is(flag::PARENT) { parent_side(hash) } else { hash };
                hash & bit != 0
            })
        };
        items.extract_if(.., upper).collect()
    }

    /// Doubles the directory until `more` names would not fill it.
    fn make_room(&mut self, more: usize) {
        while self.new.names + more > NAMES_PER_PAGE * self.new.directory.len() {
            Redo::Double.apply(self.new);
            self.redo.push(Redo::Double);
        }
    }

    fn change_items<'a>(&mut self, items: &mut Vec<Item<'a>>, from: &'a Rendered, change: &Change) {
        let Some(node) = from.node(change) else { return };
        let tag = page::tag(change.hash);
        let same = |item: &Item<'_>| {
            item.tag == tag
                && Node::read(&item.octets).is_some_and(|old| {
                    old.name() == node.name() && old.is(flag::PARENT) == node.is(flag::PARENT)
                })
        };
        let old = items.iter().position(same);
        if let Some(big) =
            old.and_then(|at| items.get(at)).and_then(|item| Node::read(&item.octets)?.big())
        {
            self.set_big(big, None);
            self.free_big.push(big);
        }
        let octets = match change.put {
            false => None,
            true if node.octets().len() > NODE_OCTETS_MAX => Some(Cow::Owned(self.put_big(node))),
            true => Some(Cow::Borrowed(node.octets())),
        };
        match (old.and_then(|at| items.get_mut(at)), octets) {
            (Some(item), Some(octets)) => item.octets = octets,
            (None, Some(octets)) => items.push(Item { tag, octets }),
            (_, None) => {
                old.map(|at| items.remove(at));
            }
        }
    }

    /// Keeps a node outside its page; returns what stands in the page.
    fn put_big(&mut self, node: Node<'_>) -> Vec<u8> {
        let number = self.free_big.pop().unwrap_or(self.new.big.len() as u32);
        self.set_big(number, Some(Arc::from(node.octets())));
        let mut stub = Vec::new();
        node::put_big(&mut stub, node, number);
        stub
    }

    fn set_big(&mut self, number: u32, node: Option<Arc<[u8]>>) {
        let redo = Redo::Big { number, node };
        redo.clone().apply(self.new);
        self.redo.push(redo);
    }

    /// Stores nodes whose hashes share their first `depth` bits with `hash`.
    fn store(&mut self, mut items: Vec<Item<'_>>, hash: u64, depth: u32) {
        let octets = page::octets(items.iter().map(|item| item.octets.as_ref()));
        if depth < self.new.bits && octets > PAGE_OCTETS_MAX {
            let bit = 1 << (63 - depth);
            let upper = self.split(&mut items, bit);
            self.store(items, hash & !bit, depth + 1);
            self.store(upper, hash | bit, depth + 1);
            return;
        }
        self.move_out(&mut items, octets);
        let nodes: Vec<(u8, &[u8])> =
            items.iter().map(|item| (item.tag, item.octets.as_ref())).collect();
        let page = page::build(self.scratch, depth as u8, &nodes);
        let first = ((hash & first_mask(depth)) >> (64 - self.new.bits)) as usize;
        let redo = Redo::Pages { first, count: 1 << (self.new.bits - depth), page };
        redo.clone().apply(self.new);
        self.redo.push(redo);
    }

    /// Keeps the largest nodes outside while the page is larger than its offsets reach.
    fn move_out(&mut self, items: &mut [Item<'_>], octets: usize) {
        let mut octets = octets;
        while octets > PAGE_OCTETS_MAX {
            let inline = |item: &&mut Item<'_>| {
                Node::read(&item.octets).is_some_and(|node| !node.is(flag::BIG))
            };
            let largest = items.iter_mut().filter(inline).max_by_key(|item| item.octets.len());
            let Some(item) = largest else { break };
            let Some(node) = Node::read(&item.octets) else { break };
            let stub = self.put_big(node);
            octets -= item.octets.len() - stub.len();
            item.octets = Cow::Owned(stub);
        }
    }

    fn note_counts(&mut self) {
        let Snapshot { names, labels_max, loading, .. } = *self.new;
        self.redo.push(Redo::Counts { names, labels_max, loading });
    }
}

/// The bits of a hash that all hashes of a page of this depth share.
fn first_mask(depth: u32) -> u64 {
    u64::MAX.checked_shl(64 - depth).unwrap_or(0)
}

/// The last hash that shares its first `depth` bits with `hash`.
fn last_of(hash: u64, depth: u32) -> u64 {
    hash | !first_mask(depth)
}

impl Clone for Redo {
    fn clone(&self) -> Redo {
        match self {
            Redo::Pages { first, count, page } => {
                Redo::Pages { first: *first, count: *count, page: Arc::clone(page) }
            }
            Redo::Double => Redo::Double,
            Redo::Fresh { bits } => Redo::Fresh { bits: *bits },
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
            Redo::Fresh { bits } => {
                side.directory = vec![page::empty(bits as u8); 1 << bits];
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
