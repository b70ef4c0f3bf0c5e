//! Building nodes: from one owner's records, or a whole zone's in canonical order.

use std::ops::ControlFlow;

use super::chain::{Denial, Entries, NSEC3_ITERATIONS_MAX};
use super::image::{self, Extent, OWNER_AT, QUESTION_TAIL, RECORD_HEAD, label_count, label_offset};
use super::node::{Draft, Facts, GLUE, STOCK, ZoneState, flag};
use super::nsec3::Hasher;
use super::places::{Places, begins_label, is_at_or_below};
use super::render::Zone;
use super::rendered::{ChainChange, ChainPart, Rendered};
use crate::wire::name::wire_len;
use crate::wire::{Name, Type};
use crate::zone::ReadFault;
use crate::zone::delta::SetChange;
use crate::zone::packed::{self, Node, Packer, RrSetRef};

/// Octets of the longest name.
const NAME_MAX: usize = 255;

/// Builds the nodes of one zone.
pub(super) struct Builder<'a> {
    into: &'a mut Rendered,
    zone: Zone<'a>,
    /// Whether nodes are put; else they are taken out.
    puts: bool,
    apex_labels: usize,
    pub denial: Option<Denial>,
    entries: Entries,
    /// What hides the names below it, if the last node stands below such a thing.
    hidden: Option<Hidden>,
    places: Places,
}

/// A name that hides all below it.
struct Hidden {
    name: Vec<u8>,
    hash: u64,
    /// The nodes of a delegation, the cut's own first.
    cut: Option<Packer>,
}

impl<'a> Builder<'a> {
    pub fn new(into: &'a mut Rendered, zone: &Zone<'a>, puts: bool) -> Builder<'a> {
        let mut places = std::mem::take(&mut into.places);
        places.clear();
        Builder {
            into,
            zone: *zone,
            puts,
            apex_labels: zone.view.apex().label_count(),
            denial: None,
            entries: Entries::default(),
            hidden: None,
            places,
        }
    }

    /// Takes the next node of the zone in canonical order.
    pub fn node(&mut self, node: Node<'_>) {
        let mut buffer = [0; NAME_MAX];
        let Some(name) = buffer.get_mut(..node.owner.len()) else { return };
        name.copy_from_slice(node.owner);
        name.make_ascii_lowercase();
        let name: &[u8] = name;
        let labels = label_count(name);
        if labels == self.apex_labels && self.puts {
            self.denial = denial_of(node);
        }
        if self.denial.is_some() {
            self.add_denial(node, name);
        }
        if is_denial_only(node) {
            return;
        }
        if self.is_hidden(name) {
            if let Some(cut) = self.hidden.as_mut().and_then(|hidden| hidden.cut.as_mut()) {
                cut.push(node);
            }
            return;
        }
        self.end_hidden();
        self.places.climb(name);
        self.descend(node, name, labels);
    }

    /// Goes from the path's end down to `name`, through names that have no records.
    fn descend(&mut self, node: Node<'_>, name: &[u8], labels: usize) {
        let (above, mut hash) = match self.places.path.last() {
            Some(step) => (step.labels, step.hash),
            None => {
                let hash = self.into.key.name(name);
                self.put_step(name, labels, hash, Some(node));
                return;
            }
        };
        for depth in above + 1..=labels {
            let here = name.get(label_offset(name, labels - depth)..).unwrap_or_default();
            let (_, label) = here.split_first().unwrap_or((&0, &[]));
            let label = label.get(..here.first().map_or(0, |&len| usize::from(len)));
            hash = self.into.key.child(hash, label.unwrap_or_default());
            let node = (depth == labels).then_some(node);
            if self.is_child(here) {
                self.parent_side(here, hash, node);
                self.hide(here, hash, None);
                return;
            }
            if let Some(node) = node.filter(|node| node.rrset(Type::NS).is_some()) {
                let mut cut = Packer::over(std::mem::take(&mut self.places.hidden_nodes));
                cut.push(node);
                self.mark_wild(here);
                self.hide(here, hash, Some(cut));
                return;
            }
            self.put_step(here, depth, hash, node);
        }
    }

    /// Puts a node and makes it the path's end.
    fn put_step(&mut self, name: &[u8], labels: usize, hash: u64, node: Option<Node<'_>>) {
        self.mark_wild(name);
        let at = self.visible(name, hash, node, false);
        self.places.descend(name, labels, hash, at);
        if node.is_some_and(|node| node.rrset(Type::DNAME).is_some()) {
            self.hide(name, hash, None);
        }
    }

    /// Hides what stands below `name`.
    fn hide(&mut self, name: &[u8], hash: u64, cut: Option<Packer>) {
        let mut own = std::mem::take(&mut self.places.hidden_name);
        own.clear();
        own.extend_from_slice(name);
        self.hidden = Some(Hidden { name: own, hash, cut });
    }

    /// Marks the parent of a wildcard, which is the path's end.
    fn mark_wild(&mut self, name: &[u8]) {
        if self.puts
            && name.starts_with(&[1, b'*'])
            && let Some(parent) = self.places.path.last()
        {
            self.into.set_flag(parent.at, flag::WILD);
        }
    }

    /// Goes on below the apex, which somebody else puts.
    pub fn below(&mut self, apex: Node<'_>) {
        let name = apex.owner.to_ascii_lowercase();
        let hash = self.into.key.name(&name);
        self.denial = denial_of(apex);
        self.places.descend(&name, self.apex_labels, hash, 0);
        if apex.rrset(Type::DNAME).is_some() {
            self.hide(&name, hash, None);
        }
    }

    /// Ends the zone.
    pub fn finish(self) {
        let (zone, part, into) = self.end();
        into.put_chain(zone, [part]);
    }

    /// Ends a part of the zone.
    pub fn finish_part(self) -> ChainPart {
        self.end().1
    }

    fn end(mut self) -> (u32, ChainPart, &'a mut Rendered) {
        self.end_hidden();
        self.into.places = self.places;
        let part = ChainPart(self.denial.map(|denial| (denial, self.entries)));
        (self.zone.id, part, self.into)
    }

    /// Reads the zone for its chain alone.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] from the view.
    pub fn chain_alone(mut self) -> Result<(), ReadFault> {
        let view = self.zone.view;
        view.walk(&[], &mut |node| {
            self.add_denial(node, &node.owner.to_ascii_lowercase());
            ControlFlow::Continue(())
        })?;
        let change = match self.denial {
            Some(denial) => ChainChange::Whole(denial, self.entries),
            None => ChainChange::Drop,
        };
        self.into.chains.push((self.zone.id, change));
        Ok(())
    }

    fn is_child(&self, name: &[u8]) -> bool {
        let Some(children) = self.zone.children else { return false };
        Name::from_wire(name).is_ok_and(|name| children(&name))
    }

    fn is_hidden(&self, name: &[u8]) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| is_at_or_below(name, &hidden.name))
    }

    fn end_hidden(&mut self) {
        let Some(hidden) = self.hidden.take() else { return };
        if let Some(cut) = hidden.cut {
            let nodes = cut.finish();
            self.cut(&hidden.name, hidden.hash, &nodes);
            self.places.hidden_nodes = nodes;
        }
        self.places.hidden_name = hidden.name;
    }

    fn up(&self, name: &[u8]) -> u8 {
        (label_count(name) - self.apex_labels.min(label_count(name))) as u8
    }

    /// Puts what a client sees at a name: its records, or the name alone. Returns where it stands.
    pub fn visible(&mut self, name: &[u8], hash: u64, node: Option<Node<'_>>, wild: bool) -> usize {
        if !self.puts {
            self.into.remove(hash, name, false);
            return 0;
        }
        self.places.images.clear();
        self.places.extents.clear();
        let up = self.up(name);
        let mut flags = if wild { flag::WILD } else { 0 };
        let mut facts = None;
        if up == 0 {
            flags |= flag::APEX;
            let soa = node.and_then(|node| node.rrset(Type::SOA));
            let negative_ttl = soa.map_or(0, negative_ttl);
            facts = Some(Facts { zone: self.zone.id, state: ZoneState::Live, negative_ttl });
            if let Some(soa) = soa {
                flags |= if soa.sig_count > 0 { flag::SIGNED } else { 0 };
                self.add_set(name, soa);
            }
        }
        for set in node.iter().flat_map(|node| node.rrsets()) {
            match set.rtype {
                Type::SOA if up == 0 => continue,
                Type::NSEC3 => continue,
                Type::NSEC if up == 0 => flags |= flag::SIGNED,
                Type::NSEC3PARAM if up == 0 => flags |= flag::SIGNED,
                Type::CNAME => flags |= flag::CNAME,
                Type::DNAME => flags |= flag::DNAME,
                _ => {}
            }
            if set.rtype != Type::NSEC {
                self.add_set(name, set);
            }
        }
        self.put(name, hash, up, flags, facts)
    }

    /// Puts what a parent zone answers a DS query with at the apex of a zone that is here too.
    pub fn parent_side(&mut self, name: &[u8], hash: u64, node: Option<Node<'_>>) {
        if !self.puts {
            self.into.remove(hash, name, true);
            return;
        }
        self.places.images.clear();
        self.places.extents.clear();
        let mut flags = flag::PARENT;
        for set in node.iter().flat_map(|node| node.rrsets()) {
            match set.rtype {
                Type::CNAME => flags |= flag::CNAME,
                Type::DS => {}
                _ => continue,
            }
            self.add_set(name, set);
        }
        self.put(name, hash, self.up(name), flags, None);
    }

    /// Puts a delegation; `octets` are the nodes at and below the cut, the cut's own first.
    pub fn cut(&mut self, name: &[u8], hash: u64, octets: &[u8]) {
        if !self.puts {
            self.into.remove(hash, name, false);
            return;
        }
        self.places.images.clear();
        self.places.extents.clear();
        let mut flags = flag::CUT;
        let Some(cut) = packed::nodes(octets).next() else { return };
        if let Some(ns) = cut.rrset(Type::NS) {
            self.add_set(name, ns);
            let targets = self.targets(name, ns);
            if targets.iter().any(|target| target.is_sibling) {
                flags |= flag::SIBLING;
            }
            if let Some(ds) = cut.rrset(Type::DS) {
                self.add_set(name, ds);
            }
            self.add_glue(octets, &targets);
            self.add_stock(octets, &targets);
        }
        self.put(name, hash, self.up(name), flags, None);
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &[u8], hash: u64, parent: bool) {
        self.into.remove(hash, name, parent);
    }

    pub fn hash(&self, name: &[u8]) -> u64 {
        self.into.key.name(name)
    }

    fn put(&mut self, name: &[u8], hash: u64, up: u8, flags: u16, facts: Option<Facts>) -> usize {
        let (extents, images) = (&self.places.extents, &self.places.images);
        let draft = Draft { name, up, flags, facts, extents, images };
        self.into.put(hash, self.apex_labels + usize::from(up), &draft)
    }

    fn add_set(&mut self, owner: &[u8], set: RrSetRef<'_>) {
        let from = self.places.images.len();
        let Places { images, image, .. } = &mut self.places;
        let mut extent = image::put_rrset(images, owner, set, image);
        if extent.data > 0xffff || extent.sig_octets > 0xffff {
            // No message can hold it. Its count says that it is there.
            self.places.images.truncate(from);
            extent = Extent { rtype: extent.rtype, count: extent.count, ..Extent::default() };
        }
        self.places.extents.push(extent);
    }

    /// The name servers of a cut, and where the image of `ns`, the first one, has their names.
    fn targets<'n>(&self, cut: &[u8], ns: RrSetRef<'n>) -> Vec<Target<'n>> {
        let base = OWNER_AT + cut.len() + QUESTION_TAIL;
        let apex = self.zone.view.apex().as_wire();
        let mut at = 0;
        let mut targets = Vec::with_capacity(usize::from(ns.count));
        for name in ns.rdatas() {
            let head =
                self.places.images.get(at..).and_then(|image| image.first_chunk::<RECORD_HEAD>());
            let Some(&[.., l0, l1]) = head else { break };
            let rdata_at = at + RECORD_HEAD;
            let first =
                self.places.images.get(rdata_at..).and_then(|rdata| rdata.first_chunk::<2>());
            // A pointer to a pointer would be legal, and odd.
            let pointer = match first {
                Some(&[high, low]) if high >= 0xc0 => u16::from_be_bytes([high, low]),
                _ => 0xc000 | (base + rdata_at) as u16,
            };
            let is_own = is_at_or_below_any_case(name, cut);
            let is_sibling = !is_own && is_at_or_below_any_case(name, apex);
            // What a pointer cannot reach is looked up like a sibling's.
            let reached = base + rdata_at < 0x3000;
            targets.push(Target { name, pointer, is_own: is_own && reached, is_sibling });
            at = rdata_at + usize::from(u16::from_be_bytes([l0, l1]));
        }
        targets
    }

    /// Adds the addresses of name servers at or below the cut.
    fn add_glue(&mut self, octets: &[u8], targets: &[Target<'_>]) {
        let from = self.places.images.len();
        let mut count = 0;
        for node in packed::nodes(octets) {
            let mine = |target: &&Target<'_>| {
                target.is_own && target.name.eq_ignore_ascii_case(node.owner)
            };
            let Some(target) = targets.iter().find(mine) else { continue };
            for set in addresses(node) {
                for rdata in set.rdatas() {
                    image::put_record(
                        &mut self.places.images,
                        target.pointer,
                        set.rtype,
                        set.ttl,
                        rdata,
                    );
                    count += 1;
                }
            }
        }
        let data = self.places.images.len() - from;
        if data > 0xffff {
            self.places.images.truncate(from);
            self.places.extents.push(Extent { rtype: GLUE.0, count, ..Extent::default() });
        } else if count > 0 {
            self.places.extents.push(Extent {
                rtype: GLUE.0,
                count,
                data: data as u32,
                ..Extent::default()
            });
        }
    }

    /// Adds the other addresses below the cut, for name servers of other cuts.
    fn add_stock(&mut self, octets: &[u8], targets: &[Target<'_>]) {
        let from = self.places.images.len();
        for node in packed::nodes(octets) {
            let used =
                |target: &Target<'_>| target.is_own && target.name.eq_ignore_ascii_case(node.owner);
            if targets.iter().any(used) || addresses(node).next().is_none() {
                continue;
            }
            let item_from = self.places.images.len();
            self.places.images.extend(node.owner.iter().map(u8::to_ascii_lowercase));
            let head_at = self.places.images.len();
            self.places.images.extend_from_slice(&[0; 4]);
            let mut count = 0u16;
            for set in addresses(node) {
                for rdata in set.rdatas() {
                    image::put_record(&mut self.places.images, 0xc00c, set.rtype, set.ttl, rdata);
                    count += 1;
                }
            }
            let len = self.places.images.len() - head_at - 4;
            if self.places.images.len() - from > 0xffff {
                self.places.images.truncate(item_from);
                break;
            }
            if let Some(head) = self.places.images.get_mut(head_at..head_at + 4) {
                head[..2].copy_from_slice(&count.to_be_bytes());
                head[2..].copy_from_slice(&(len as u16).to_be_bytes());
            }
        }
        let data = self.places.images.len() - from;
        if data > 0 {
            self.places.extents.push(Extent {
                rtype: STOCK.0,
                data: data as u32,
                ..Extent::default()
            });
        }
    }

    /// Adds what a node denies to the zone's chain.
    fn add_denial(&mut self, node: Node<'_>, name: &[u8]) {
        let rtype = match &self.denial {
            Some(Denial::Nsec) => Type::NSEC,
            Some(Denial::Nsec3 { .. }) => Type::NSEC3,
            None => return,
        };
        let Some(set) = node.rrset(rtype) else { return };
        let Some(key) = self.denial_key(name) else { return };
        let denial = self.denial.clone();
        self.entries.push(&key, |out| {
            put_denial(out, denial.as_ref(), set.rtype, set.ttl, set.rdatas(), set.sigs())
        });
    }

    /// Adds a changed NSEC or NSEC3 RRset to `edits`.
    pub fn denial_change(&self, change: &SetChange, edits: &mut Entries) {
        let wanted = match &self.denial {
            Some(Denial::Nsec) => Type::NSEC,
            Some(Denial::Nsec3 { .. }) => Type::NSEC3,
            None => return,
        };
        if change.rtype != wanted {
            return;
        }
        let Some(key) = self.denial_key(change.owner.as_wire()) else { return };
        edits.push(&key, |out| match &change.after {
            None => 0,
            Some(set) => put_denial(
                out,
                self.denial.as_ref(),
                change.rtype,
                set.rrset.ttl,
                set.rrset.rdatas().iter().map(AsRef::as_ref),
                set.sigs.iter().map(AsRef::as_ref),
            ),
        });
    }

    /// Where a name's NSEC or NSEC3 stands in the chain.
    fn denial_key(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = &name.to_ascii_lowercase()[..];
        match self.denial.as_ref()? {
            Denial::Nsec => {
                let mut buffer = [0; super::denial::KEY_MAX];
                let len = super::denial::relative_key(name, self.up(name).into(), &mut buffer);
                buffer.get(..len).map(<[u8]>::to_vec)
            }
            Denial::Nsec3 { .. } => {
                let (&len, rest) = name.split_first()?;
                let label = rest.get(..usize::from(len))?;
                super::nsec3::is_hash_label(label).then(|| label.to_vec())
            }
        }
    }
}

/// A name server of a cut.
struct Target<'n> {
    name: &'n [u8],
    /// What points to its name within the image.
    pointer: u16,
    /// At or below the cut.
    is_own: bool,
    /// In the zone, elsewhere.
    is_sibling: bool,
}

/// How a zone denies, by the records at its apex.
pub(super) fn denial_of(apex: Node<'_>) -> Option<Denial> {
    let usable = |rdata: &[u8]| {
        let (&[1, 0, i0, i1, len], salt) = rdata.split_first_chunk::<5>()? else { return None };
        let (iterations, salt) = (u16::from_be_bytes([i0, i1]), salt.get(..usize::from(len))?);
        if iterations > NSEC3_ITERATIONS_MAX {
            return None;
        }
        let (hasher, name) = (Hasher { iterations, salt }, apex.owner.to_ascii_lowercase());
        let (apex, star) = (hasher.name(&name), hasher.star(&name));
        Some(Denial::Nsec3 { iterations, salt: salt.into(), apex, star })
    };
    if let Some(params) = apex.rrset(Type::NSEC3PARAM) {
        return params.rdatas().find_map(usable);
    }
    apex.rrset(Type::NSEC).map(|_| Denial::Nsec)
}

/// Writes the records of a chain's entry, the first without its owner; returns how many.
fn put_denial<'r>(
    out: &mut Vec<u8>,
    denial: Option<&Denial>,
    rtype: Type,
    ttl: u32,
    rdatas: impl Iterator<Item = &'r [u8]>,
    sigs: impl Iterator<Item = &'r [u8]>,
) -> u16 {
    let (from, mut records) = (out.len(), 0);
    for rdata in rdatas.filter(|rdata| denial.is_none_or(|denial| is_of_chain(denial, rdata))) {
        image::put_record(out, 0xc00c, rtype, ttl, rdata);
        records += 1;
    }
    if records == 0 {
        return 0;
    }
    for sig in sigs {
        image::put_record(out, 0xc00c, Type::RRSIG, ttl, sig);
        records += 1;
    }
    out.drain(from..from + 2);
    records
}

/// Whether a record belongs to the chain in use: there may be others of other parameters.
fn is_of_chain(denial: &Denial, rdata: &[u8]) -> bool {
    let Denial::Nsec3 { iterations, salt, .. } = denial else { return true };
    let Some((&[1, _, i0, i1, len], rest)) = rdata.split_first_chunk::<5>() else { return false };
    u16::from_be_bytes([i0, i1]) == *iterations && rest.get(..usize::from(len)) == Some(salt)
}

/// Whether a node is there for NSEC3 alone: such owners are no names of the zone ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §7.2.8).
pub(super) fn is_denial_only(node: Node<'_>) -> bool {
    node.rrset(Type::NSEC3).is_some() && node.rrsets().all(|set| set.rtype == Type::NSEC3)
}

/// Seconds a negative answer may be kept ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §5).
fn negative_ttl(soa: RrSetRef<'_>) -> u32 {
    let rdata = soa.rdatas().next().unwrap_or_default();
    rdata.last_chunk::<4>().map_or(0, |minimum| u32::from_be_bytes(*minimum).min(soa.ttl))
}

fn addresses(node: Node<'_>) -> impl Iterator<Item = RrSetRef<'_>> {
    node.rrsets().filter(|set| matches!(set.rtype, Type::A | Type::AAAA))
}

fn is_at_or_below_any_case(name: &[u8], above: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(above.len()) else { return false };
    let tail = name.get(start..).unwrap_or_default();
    tail.eq_ignore_ascii_case(above)
        && wire_len(name).is_ok_and(|len| len == name.len())
        && begins_label(name, start)
}
