//! Making pages: what changed, into new pages in the place of those that held the names before.
//!
//! The table stays as it is meanwhile: what comes of it is a list of what to do to a side of it
//! ([`Made`]). So several hands may make pages at once, as long as none makes those of another.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::node::{self, Node, flag};
use super::page::{self, PAGE_OCTETS_MAX};
use super::publish::{NAMES_PER_PAGE, Redo};
use super::rendered::Source;
use super::table::{Snapshot, parent_side};

/// A node larger than this is kept outside its page, so that its neighbours' changes do not copy it.
const NODE_OCTETS_MAX: usize = 4096;

/// One change and where it comes from: hash, number of the rendering, number of the change.
type Sourced = (u64, u32, u32);

/// Numbers of nodes outside pages, none of which is given twice.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    free: Mutex<Vec<u32>>,
    next: AtomicU32,
}

impl Numbers {
    fn take(&self) -> u32 {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers that may be given again, from the next publication on.
    pub fn give_back(&self, numbers: &[u32]) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(numbers);
    }
}

/// What is to be done to a side of the table.
#[derive(Default)]
pub(super) struct Made {
    pub redo: Vec<Redo>,
    /// Names that went, and names that came.
    pub names: (usize, usize),
    pub labels_max: usize,
    /// Numbers of nodes that are no longer there.
    pub freed: Vec<u32>,
}

/// A node on its way into a page.
struct Item<'a> {
    tag: u8,
    octets: Cow<'a, [u8]>,
}

/// One hand.
pub(super) struct Maker<'s> {
    /// What holds the names so far.
    old: &'s Snapshot,
    numbers: &'s Numbers,
    scratch: &'s mut Vec<u8>,
    made: Made,
}

impl<'s> Maker<'s> {
    pub fn new(old: &'s Snapshot, numbers: &'s Numbers, scratch: &'s mut Vec<u8>) -> Maker<'s> {
        Maker { old, numbers, scratch, made: Made::default() }
    }

    /// Puts all changes of `rendered` into new pages. The directory must have room for them.
    pub fn make<S: Source>(mut self, rendered: &[S]) -> Made {
        let changes = in_order(rendered);
        let mut rest = changes.as_slice();
        while let Some(&(hash, ..)) = rest.first() {
            let slot = (hash >> (64 - self.old.bits)) as usize;
            let Some(old) = self.old.directory.get(slot) else { break };
            let depth = u32::from(page::depth(old));
            let end = last_of(hash, depth);
            let mine = rest.partition_point(|(hash, ..)| *hash <= end);
            let (run, others) = rest.split_at_checked(mine).unwrap_or((rest, &[]));
            rest = others;
            let items: Vec<Item<'_>> = page::nodes(old)
                .map(|(tag, node)| Item { tag, octets: Cow::Borrowed(node.octets()) })
                .collect();
            self.made.names.0 += items.len();
            self.change_page(rendered, items, run, hash, depth);
        }
        let most = rendered.iter().map(Source::labels_max).max();
        self.made.labels_max = most.unwrap_or(0);
        self.made
    }

    /// Changes the nodes whose hashes share their first `depth` bits with `hash`, in as many pages as they need.
    fn change_page<'a, S: Source>(
        &mut self,
        rendered: &'a [S],
        mut items: Vec<Item<'a>>,
        run: &[Sourced],
        hash: u64,
        depth: u32,
    ) {
        if depth < self.old.bits && items.len() + run.len() > NAMES_PER_PAGE {
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
            self.change_items(&mut items, rendered, number as usize);
        }
        self.made.names.1 += items.len();
        self.store(items, hash, depth);
    }

    /// Takes out of `items` those whose hashes have `bit` set.
    fn split<'a>(&self, items: &mut Vec<Item<'a>>, bit: u64) -> Vec<Item<'a>> {
        let upper = |item: &mut Item<'_>| {
            Node::read(&item.octets).is_some_and(|node| {
                let hash = self.old.key.name(node.name());
                let hash = if node.is(flag::PARENT) { parent_side(hash) } else { hash };
                hash & bit != 0
            })
        };
        items.extract_if(.., upper).collect()
    }

    fn change_items<'a, S: Source>(
        &mut self,
        items: &mut Vec<Item<'a>>,
        from: &'a S,
        number: usize,
    ) {
        let (Some((hash, put)), Some(node)) = (from.change(number), from.node(number)) else {
            return;
        };
        let tag = page::tag(hash);
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
            self.made.redo.push(Redo::Big { number: big, node: None });
            self.made.freed.push(big);
        }
        let octets = match put {
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
        let number = self.numbers.take();
        self.made.redo.push(Redo::Big { number, node: Some(Arc::from(node.octets())) });
        let mut stub = Vec::new();
        node::put_big(&mut stub, node, number);
        stub
    }

    /// Stores nodes whose hashes share their first `depth` bits with `hash`.
    fn store(&mut self, mut items: Vec<Item<'_>>, hash: u64, depth: u32) {
        let octets = page::octets(items.iter().map(|item| item.octets.as_ref()));
        if depth < self.old.bits && octets > PAGE_OCTETS_MAX {
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
        let first = ((hash & first_mask(depth)) >> (64 - self.old.bits)) as usize;
        self.made.redo.push(Redo::Pages { first, count: 1 << (self.old.bits - depth), page });
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
}

/// All changes by hash; of one name, what puts it comes last.
fn in_order<S: Source>(rendered: &[S]) -> Vec<Sourced> {
    let mut changes: Vec<(u64, bool, u32, u32)> =
        Vec::with_capacity(rendered.iter().map(Source::len).sum());
    for (source, rendered) in rendered.iter().enumerate() {
        let mine = (0..rendered.len()).filter_map(|number| {
            let (hash, put) = rendered.change(number)?;
            Some((hash, put, source as u32, number as u32))
        });
        changes.extend(mine);
    }
    changes.sort_unstable();
    changes.into_iter().map(|(hash, _, source, number)| (hash, source, number)).collect()
}

/// The bits of a hash that all hashes of a page of this depth share.
fn first_mask(depth: u32) -> u64 {
    u64::MAX.checked_shl(64 - depth).unwrap_or(0)
}

/// The last hash that shares its first `depth` bits with `hash`.
fn last_of(hash: u64, depth: u32) -> u64 {
    hash | !first_mask(depth)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::image::Extent;
    use super::super::node::Draft;
    use super::super::{Bulk, Rendered, Writer};
    use crate::wire::{HashKey, Name};

    /// Nodes of names that count upwards; some are too large for their pages, and for a piece of a bulk.
    fn render(key: &HashKey, numbers: Range<u32>) -> Rendered {
        let mut into = Rendered::new(key);
        for number in numbers {
            let name = Name::parse(&format!("n{number}.example.")).unwrap();
            let len = if number.is_multiple_of(500) { 40_000 } else { 20 };
            let images = vec![number as u8; 2 * len];
            let extents = [65_400, 65_401].map(|rtype| Extent {
                rtype,
                count: 1,
                data: len as u32,
                ..Extent::default()
            });
            let name = name.as_wire();
            let draft =
                Draft { name, up: 1, flags: 0, facts: None, extents: &extents, images: &images };
            into.put(key.name(name), 2, &draft);
        }
        into
    }

    /// Goal: a table is the same however many hands made it, and can be changed like any other.
    /// Method: what two readers read, by three hands; beside it all in one publication.
    #[test]
    fn a_table_made_by_several_hands_is_that_made_by_one() {
        let key = HashKey::new([5; 24]);
        let (mut one, mut many) = (Writer::new(key.clone()), Writer::new(key.clone()));
        one.publish(&[render(&key, 0..3_000)]);
        many.start_load();
        let read = [0..1_000, 1_000..3_000].map(|numbers| {
            let mut bulk = Bulk::new(&key);
            bulk.take(&mut render(&key, numbers));
            bulk
        });

        many.load(read.into(), 3);
        many.end_load();

        let (others, published) = (one.published(), many.published());
        assert_eq!((published.load().names(), published.load().is_loading()), (3_000, false));
        assert_eq!(published.load().dump(), others.load().dump());
        for writer in [&mut one, &mut many] {
            writer.publish(&[render(&key, 2_990..3_510)]);
            writer.publish(&[render(&key, 499..502)]);
        }
        assert_eq!(published.load().names(), 3_510);
        assert_eq!(published.load().dump(), others.load().dump());
    }
}
