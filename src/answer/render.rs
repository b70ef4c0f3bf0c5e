//! Rendering: from a zone's records to what the table holds of them.
//!
//! Decides what each name is to a client ([RFC 1034] §4.2.1): a cut and what lies below it become one
//! node with its referral; names below DNAME, and what another zone here owns, become none; a name
//! between others becomes an empty node; a name with `*` directly below is marked.
//!
//! Promises: [`touched`] leaves the table as [`zone`] would, given every change since.
//!
//! Does not: judge whether the records make sense, nor change the table (see [`Writer`](super::Writer)).
//!
//! [RFC 1034]: https://www.rfc-editor.org/rfc/rfc1034

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::build::{Builder, denial_of, is_denial_only};
use super::chain::Entries;
use super::rendered::{ChainChange, ChainPart, Rendered};
use crate::wire::{Name, Type};
use crate::zone::delta::SetChange;
use crate::zone::packed::{self, Node, Packer};
use crate::zone::{ReadFault, View};

/// A zone to be rendered.
#[derive(Clone, Copy)]
pub struct Zone<'a> {
    /// Its number; distinct among all zones here.
    pub id: u32,
    pub view: &'a dyn View,
    /// Whether a name below the apex is the apex of another zone here; none if there is no such zone.
    pub children: Option<&'a dyn Fn(&Name) -> bool>,
}

/// Renders all of a zone. The table must have nothing of it, or [`gone`] of its last version must go with it.
///
/// # Errors
///
/// [`ReadFault`] from the view; `into` is then good for nothing.
pub fn zone(into: &mut Rendered, zone: &Zone<'_>) -> Result<(), ReadFault> {
    let mut builder = Builder::new(into, zone, true);
    zone.view.walk(&[], &mut |node| {
        builder.node(node);
        ControlFlow::Continue(())
    })?;
    builder.finish();
    Ok(())
}

/// Renders the names of a zone from the [key](Name::key) `from` on and before `to`; from the apex on, and all to the
/// end, where there is none. The parts of a zone, whoever renders them and in whatever order, come to what
/// [`zone`] comes to, with what they have of the chain [put](Rendered::put_chain) beside them.
///
/// A part begins with a child of the apex that stands behind `*`, which marks the apex, and with all below it.
///
/// # Errors
///
/// [`ReadFault`] from the view; `into` is then good for nothing.
pub fn part(
    into: &mut Rendered,
    zone: &Zone<'_>,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
) -> Result<ChainPart, ReadFault> {
    let (view, mut place) = (zone.view, Vec::new());
    let mut builder = Builder::new(into, zone, true);
    if from.is_some() && !view.node(view.apex(), &mut |apex| builder.below(apex))? {
        return Err(ReadFault(format!("{} has no records", view.apex())));
    }
    let apex = view.apex().key();
    let to = to.map(|to| to.strip_prefix(apex.as_slice()).unwrap_or_default());
    view.walk(from.unwrap_or_default(), &mut |node| {
        if to.is_some_and(|to| !node.is_before(view.apex(), to, &mut place)) {
            return ControlFlow::Break(());
        }
        builder.node(node);
        ControlFlow::Continue(())
    })?;
    Ok(builder.finish_part())
}

/// Takes all of a zone out; `zone` is its last version, with the zones below it as they were then.
///
/// # Errors
///
/// [`ReadFault`] from the view; `into` is then good for nothing.
pub fn gone(into: &mut Rendered, zone: &Zone<'_>) -> Result<(), ReadFault> {
    let mut builder = Builder::new(into, zone, false);
    zone.view.walk(&[], &mut |node| {
        builder.node(node);
        ControlFlow::Continue(())
    })?;
    builder.finish();
    into.chains.push((zone.id, ChainChange::Drop));
    Ok(())
}

/// Renders what `changes` touch; `zone` is the version after them.
///
/// # Errors
///
/// [`ReadFault`] from the view; `into` is then good for nothing.
pub fn touched(
    into: &mut Rendered,
    zone: &Zone<'_>,
    changes: &[SetChange],
) -> Result<(), ReadFault> {
    let mut touched = Touched::new(zone);
    let mut whole_chain = false;
    for change in changes {
        let flips = change.before.is_none() != change.after.is_none();
        let at_apex = change.owner == *zone.view.apex();
        match change.rtype {
            Type::NSEC3PARAM if at_apex => whole_chain = true,
            Type::NSEC if at_apex && flips => whole_chain = true,
            Type::NS if !at_apex && flips => touched.add_subtree(&change.owner)?,
            Type::DNAME if flips => touched.add_subtree(&change.owner)?,
            _ => {}
        }
        // NSEC3 owners are no names; NSEC does not show in a node, but for making an apex signed.
        if !matches!(change.rtype, Type::NSEC | Type::NSEC3) || flips {
            touched.add(&change.owner);
        }
    }
    touched.render(into, None)?;
    let is_denial = |change: &SetChange| matches!(change.rtype, Type::NSEC | Type::NSEC3);
    if !whole_chain && !changes.iter().any(is_denial) {
        return Ok(());
    }
    let mut builder = Builder::new(into, zone, true);
    zone.view.node(zone.view.apex(), &mut |apex| builder.denial = denial_of(apex))?;
    if whole_chain {
        return builder.chain_alone();
    }
    let mut edits = Entries::default();
    changes.iter().for_each(|change| builder.denial_change(change, &mut edits));
    if !edits.is_empty() {
        into.chains.push((zone.id, ChainChange::Edit(edits)));
    }
    Ok(())
}

/// Renders again what `zone` has at and below `child`, which became or ceased to be the apex of another
/// zone here. `changes` are those of the same publication, `born` says whose apexes came with it.
///
/// # Errors
///
/// [`ReadFault`] from the view; `into` is then good for nothing.
pub fn child_changed(
    into: &mut Rendered,
    zone: &Zone<'_>,
    child: &Name,
    born: &dyn Fn(&Name) -> bool,
    changes: &[SetChange],
) -> Result<(), ReadFault> {
    let mut touched = Touched::new(zone);
    touched.add(child);
    touched.add_subtree(child)?;
    // Names that went with these changes are in no view any more.
    let gone = changes.iter().map(|change| &change.owner);
    gone.filter(|owner| owner.is_below(child)).for_each(|owner| touched.add(owner));
    touched.render(into, Some((child, born)))
}

/// Who stands between a name and the zone's apex.
enum Above {
    Nobody,
    /// A delegation at or above the name.
    Cut(Name),
    /// A DNAME above the name.
    Dname,
    /// Another zone's apex at or above the name.
    Child(Name),
}

/// What stands at a name, as it was met on the way there.
#[derive(Default)]
struct Own {
    /// The packed node; empty if there is none.
    node: Vec<u8>,
    /// It showed that nothing stands below.
    ends: bool,
}

impl Own {
    fn take(&mut self, node: Node<'_>, ends: bool) {
        let mut packer = Packer::over(std::mem::take(&mut self.node));
        packer.push(node);
        (self.node, self.ends) = (packer.finish(), ends);
    }
}

/// Where a zone below came or went, and which came with the same publication.
type Moved<'a> = (&'a Name, &'a dyn Fn(&Name) -> bool);

/// The names to look at again.
struct Touched<'a> {
    zone: Zone<'a>,
    names: BTreeSet<Name>,
    /// Cuts and apexes that were rendered already, for another name below them.
    done: BTreeSet<Name>,
    /// Whether the apex has DNAME; none before somebody looked.
    apex_dname: Option<bool>,
    own: Own,
}

impl<'a> Touched<'a> {
    fn new(zone: &Zone<'a>) -> Touched<'a> {
        Touched {
            zone: *zone,
            names: BTreeSet::new(),
            done: BTreeSet::new(),
            apex_dname: None,
            own: Own::default(),
        }
    }

    /// Adds a name, and the names above it whose existence or mark may hang on it.
    fn add(&mut self, name: &Name) {
        let apex = self.zone.view.apex();
        let mut below: Option<Name> = None;
        let mut here = name.clone();
        loop {
            if here == *apex {
                // The apex is there whatever stands below it; only a wildcard marks it.
                if below.is_none_or(|below| below.is_wildcard()) {
                    self.names.insert(here);
                }
                return;
            }
            let parent = here.parent();
            self.names.insert(here.clone());
            below = Some(here);
            match parent {
                Some(parent) if parent.is_at_or_below(apex) => here = parent,
                _ => return,
            }
        }
    }

    /// Adds all names below `top`.
    fn add_subtree(&mut self, top: &Name) -> Result<(), ReadFault> {
        let key = top.key();
        let mut owners = Vec::new();
        self.zone.view.walk(&key, &mut |node| {
            let owner = node.name();
            if !owner.key().starts_with(&key) {
                return ControlFlow::Break(());
            }
            owners.push(owner);
            ControlFlow::Continue(())
        })?;
        for owner in owners {
            let mut here = owner;
            while here.is_below(top) && self.names.insert(here.clone()) {
                let Some(parent) = here.parent() else { break };
                here = parent;
            }
        }
        Ok(())
    }

    /// Renders every name added.
    fn render(mut self, into: &mut Rendered, moved: Option<Moved<'_>>) -> Result<(), ReadFault> {
        let zone = self.zone;
        let mut builder = Builder::new(into, &zone, true);
        for name in std::mem::take(&mut self.names) {
            self.render_name(&name, moved, &mut builder)?;
        }
        Ok(())
    }

    fn render_name(
        &mut self,
        name: &Name,
        moved: Option<Moved<'_>>,
        builder: &mut Builder<'_>,
    ) -> Result<(), ReadFault> {
        let wire = name.as_wire().to_ascii_lowercase();
        let hash = builder.hash(&wire);
        match self.above(name)? {
            Above::Nobody => self.render_visible(name, &wire, hash, builder),
            Above::Dname => {
                self.take_out(name, moved, builder);
                Ok(())
            }
            Above::Cut(cut) => {
                if cut != *name {
                    self.take_out(name, moved, builder);
                }
                self.render_cut(cut, builder)
            }
            Above::Child(apex) => {
                if moved.is_some_and(|(child, _)| *child == apex) {
                    self.take_out(name, moved, builder);
                }
                self.render_parent_side(apex, builder)
            }
        }
    }

    /// Takes out what this zone had of a name that it shows no more, but nothing that another zone here put
    /// there. What zones have that came with this publication is put, and wins.
    fn take_out(&self, name: &Name, moved: Option<Moved<'_>>, builder: &mut Builder<'_>) {
        let born = |apex: &Name| moved.is_some_and(|(_, born)| born(apex));
        let wire = name.as_wire().to_ascii_lowercase();
        let hash = builder.hash(&wire);
        let mut others = false;
        let mut here = Some(name.clone());
        while let Some(above) = here.filter(|here| here.is_below(self.zone.view.apex())) {
            others |= above != *name && !born(&above) && self.is_child(&above);
            here = above.parent();
        }
        if others {
            return;
        }
        let own = self.is_child(name);
        if own && !born(name) {
            builder.remove(&wire, hash, true);
        } else {
            builder.remove(&wire, hash, false);
        }
    }

    fn render_visible(
        &self,
        name: &Name,
        wire: &[u8],
        hash: u64,
        builder: &mut Builder<'_>,
    ) -> Result<(), ReadFault> {
        let wild = match name.child(b"*") {
            Ok(star) if !self.own.ends => self.exists(&star)?,
            _ => false,
        };
        let own = packed::nodes(&self.own.node).next().filter(|node| !is_denial_only(*node));
        if own.is_some() || self.exists(name)? {
            builder.visible(wire, hash, own, wild);
        } else {
            builder.remove(wire, hash, false);
        }
        Ok(())
    }

    fn render_cut(&mut self, cut: Name, builder: &mut Builder<'_>) -> Result<(), ReadFault> {
        if self.done.contains(&cut) {
            return Ok(());
        }
        let key = cut.key();
        let mut nodes = Packer::default();
        self.zone.view.walk(&key, &mut |node| {
            if !node.name().key().starts_with(&key) {
                return ControlFlow::Break(());
            }
            nodes.push(node);
            ControlFlow::Continue(())
        })?;
        let wire = cut.as_wire().to_ascii_lowercase();
        let hash = builder.hash(&wire);
        builder.cut(&wire, hash, &nodes.finish());
        self.done.insert(cut);
        Ok(())
    }

    fn render_parent_side(
        &mut self,
        apex: Name,
        builder: &mut Builder<'_>,
    ) -> Result<(), ReadFault> {
        if self.done.contains(&apex) {
            return Ok(());
        }
        let wire = apex.as_wire().to_ascii_lowercase();
        let hash = builder.hash(&wire);
        let mut found = false;
        self.zone.view.node(&apex, &mut |node| {
            builder.parent_side(&wire, hash, Some(node));
            found = true;
        })?;
        if !found && self.exists(&apex)? {
            builder.parent_side(&wire, hash, None);
        } else if !found {
            builder.remove(&wire, hash, true);
        }
        self.done.insert(apex);
        Ok(())
    }

    /// What stands highest between the apex and `name`; takes what stands at `name` if nothing does.
    fn above(&mut self, name: &Name) -> Result<Above, ReadFault> {
        let (view, apex) = (self.zone.view, self.zone.view.apex());
        self.own.node.clear();
        self.own.ends = false;
        let mut path = Vec::new();
        let mut here = name.clone();
        while here.is_below(apex) {
            path.push(here.clone());
            let Some(parent) = here.parent() else { break };
            here = parent;
        }
        if path.is_empty() {
            view.node_and_end(name, &mut |node, ends| self.own.take(node, ends))?;
            return Ok(Above::Nobody);
        }
        let mut dname = self.apex_has_dname()?;
        for here in path.into_iter().rev() {
            if dname {
                return Ok(Above::Dname);
            }
            if self.is_child(&here) {
                return Ok(Above::Child(here));
            }
            let (mut cut, is_last) = (false, here == *name);
            view.node_and_end(&here, &mut |node, ends| {
                cut = node.rrset(Type::NS).is_some();
                dname = node.rrset(Type::DNAME).is_some();
                if is_last {
                    self.own.take(node, ends);
                }
            })?;
            if cut {
                return Ok(Above::Cut(here));
            }
        }
        Ok(Above::Nobody)
    }

    fn apex_has_dname(&mut self) -> Result<bool, ReadFault> {
        if let Some(known) = self.apex_dname {
            return Ok(known);
        }
        let (view, mut found) = (self.zone.view, false);
        view.node(view.apex(), &mut |node| found = node.rrset(Type::DNAME).is_some())?;
        self.apex_dname = Some(found);
        Ok(found)
    }

    fn is_child(&self, name: &Name) -> bool {
        self.zone.children.is_some_and(|children| children(name))
    }

    /// Whether a name has records or stands above one that has.
    fn exists(&self, name: &Name) -> Result<bool, ReadFault> {
        let (key, mut place) = (name.key(), Vec::new());
        let mut found = false;
        self.zone.view.walk(&key, &mut |node| {
            let below = node.key_in(&mut place).starts_with(&key);
            found = below && !is_denial_only(node);
            // NSEC3 owners stand among the names and are none.
            if below && !found { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }
}
