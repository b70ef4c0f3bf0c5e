//! Publication: what a commit did, rendered and put into the snapshot all workers read.
//!
//! Rendering happens inside the transaction and touches only what changed; publishing happens after
//! the record is synced and only swaps. All zones of a commit are one [`Rendered`], so they appear
//! together.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::change::ZoneState;
use super::commit::{Touch, Touched};
use super::rows::{self, Zone};
use crate::answer::{self, Rendered, Writer, render};
use crate::store::{RawRows, Rows, Tail, Tx};
use crate::wire::{HashKey, Name, Type};
use crate::zone::delta::SetChange;
use crate::zone::packed::Node;
use crate::zone::{ReadFault, View};

/// The way into the snapshot.
#[derive(Clone)]
pub(super) struct Publisher {
    writer: Arc<Mutex<Writer>>,
    pub key: HashKey,
}

/// What one commit puts into the snapshot.
pub(super) struct Publication {
    rendered: Rendered,
    publisher: Publisher,
}

impl Publication {
    /// Makes all of it visible at once.
    pub fn publish(self) {
        if !self.rendered.is_empty() {
            self.publisher.write(|writer| writer.publish(&[self.rendered]));
        }
    }
}

impl Publisher {
    pub fn new(writer: Writer) -> Publisher {
        let key = writer.key();
        Publisher { writer: Arc::new(Mutex::new(writer)), key }
    }

    /// Runs `f` as the only one who writes.
    pub fn write<T>(&self, f: impl FnOnce(&mut Writer) -> T) -> T {
        f(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Renders what was touched, as the transaction leaves it.
    pub fn render(&self, tx: &Tx<'_>, touches: Vec<Touch>) -> Result<Publication, ReadFault> {
        let mut zones: BTreeMap<u32, Vec<Touch>> = BTreeMap::new();
        for touch in touches {
            zones.entry(touch.id).or_default().push(touch);
        }
        let mut rendering = Rendering {
            tx,
            into: Rendered::new(&self.key),
            born: BTreeSet::new(),
            died: BTreeSet::new(),
        };
        // What was only edited was there, and still is.
        let is_edit =
            |touch: &Touch| touch.before.is_some() && matches!(touch.what, Touched::Sets(_));
        for (id, touches) in zones.iter().filter(|(_, touches)| !touches.iter().all(is_edit)) {
            rendering.note_births(*id, touches)?;
        }
        for (id, touches) in zones {
            rendering.zone(id, touches)?;
        }
        Ok(Publication { rendered: rendering.into, publisher: self.clone() })
    }
}

/// What stands in the table for a zone whose records are not answered from.
pub(super) fn put_stub(into: &mut Rendered, zone: &Zone) {
    let state = match zone.state {
        ZoneState::Expired => answer::ZoneState::Expired,
        _ => answer::ZoneState::Suspended,
    };
    into.put_stub(&zone.apex, zone.id, state);
}

struct Rendering<'a, 't> {
    tx: &'a Tx<'t>,
    into: Rendered,
    /// Apex keys of zones that this commit created.
    born: BTreeSet<Vec<u8>>,
    /// Apex keys of zones that this commit deleted.
    died: BTreeSet<Vec<u8>>,
}

impl Rendering<'_, '_> {
    fn note_births(&mut self, id: u32, touches: &[Touch]) -> Result<(), ReadFault> {
        let before = touches.first().and_then(|touch| touch.before.as_ref());
        let after = rows::by_id(self.tx, id)?;
        match (before, after) {
            (None, Some(zone)) => drop(self.born.insert(zone.apex.key())),
            (Some(zone), None) => {
                // Whichever zone was above it: another may stand between them by now.
                self.into.remove_parent_side(&zone.apex);
                self.died.insert(zone.apex.key());
            }
            _ => {}
        }
        Ok(())
    }

    fn zone(&mut self, id: u32, touches: Vec<Touch>) -> Result<(), ReadFault> {
        let after = rows::by_id(self.tx, id)?;
        let (mut before, mut sets, mut children) = (None, Vec::new(), Vec::new());
        for (number, touch) in touches.into_iter().enumerate() {
            if number == 0 {
                before = touch.before;
            }
            match touch.what {
                Touched::Whole => {}
                Touched::Sets(changes) => sets.extend(changes),
                Touched::Child(apex) => children.push(apex),
            }
        }
        let sets = joined(sets);
        let was = before.as_ref().filter(|zone| zone.is_answered());
        let is = after.as_ref().filter(|zone| zone.is_answered());
        match (was, is) {
            (Some(was), Some(is)) if was.generation == is.generation => {
                self.touched(is, &sets, &children)?;
            }
            (was, is) => {
                if let Some(was) = was {
                    self.gone(was, &sets)?;
                } else if let Some(stub) = &before {
                    Self::take_out(&mut self.into, stub, &[anything_at(stub.apex.clone())], None)?;
                }
                if let Some(is) = is {
                    self.whole(is)?;
                }
            }
        }
        if let (None, Some(zone)) = (is, &after) {
            put_stub(&mut self.into, zone);
        }
        Ok(())
    }

    fn touched(
        &mut self,
        zone: &Zone,
        sets: &[SetChange],
        children: &[Name],
    ) -> Result<(), ReadFault> {
        let (tx, into) = (self.tx, &mut self.into);
        let born = |apex: &Name| self.born.contains(&apex.key());
        with_children(tx, zone, |children_now| {
            rows::with_view(tx, zone, |view| {
                let zone = render::Zone { id: zone.id, view, children: children_now };
                if !sets.is_empty() {
                    render::touched(into, &zone, sets)?;
                }
                children
                    .iter()
                    .try_for_each(|child| render::child_changed(into, &zone, child, &born, sets))
            })
        })?
    }

    fn whole(&mut self, zone: &Zone) -> Result<(), ReadFault> {
        let (tx, into) = (self.tx, &mut self.into);
        with_children(tx, zone, |children| {
            rows::with_view(tx, zone, |view| {
                render::zone(into, &render::Zone { id: zone.id, view, children })
            })
        })?
    }

    /// Takes out what the table has of a zone; `sets` is what this commit changed of it before.
    fn gone(&mut self, zone: &Zone, sets: &[SetChange]) -> Result<(), ReadFault> {
        let (tx, into, born, died) = (self.tx, &mut self.into, &self.born, &self.died);
        let was_child = |name: &Name| {
            let key = Tail(name.key());
            died.contains(&key.0)
                || !born.contains(&key.0)
                    && tx.contains(&rows::ZONES_BY_NAME, &key).unwrap_or(false)
        };
        let hidden = rows::with_view(tx, zone, |view| {
            render::gone(into, &render::Zone { id: zone.id, view, children: Some(&was_child) })?;
            hidden_by(sets, view)
        })?;
        if sets.is_empty() {
            return Ok(());
        }
        let sets = [sets, &hidden].concat();
        Self::take_out(into, zone, &sets, Some(&was_child))
    }

    /// Takes out what stands at the owners of `sets`, as if the zone had nothing.
    fn take_out(
        into: &mut Rendered,
        zone: &Zone,
        sets: &[SetChange],
        children: Option<&dyn Fn(&Name) -> bool>,
    ) -> Result<(), ReadFault> {
        let view = &Empty(&zone.apex);
        render::touched(into, &render::Zone { id: zone.id, view, children }, sets)
    }
}

/// What changes of one publication come to: each RRset once, from what it was to what it became.
fn joined(sets: Vec<SetChange>) -> Vec<SetChange> {
    let mut places = BTreeMap::new();
    let mut joined: Vec<SetChange> = Vec::with_capacity(sets.len());
    for set in sets {
        let place = *places.entry((set.owner.key(), set.rtype)).or_insert(joined.len());
        match joined.get_mut(place) {
            Some(first) => first.after = set.after,
            None => joined.push(set),
        }
    }
    joined
}

/// The owners in `view` that a delegation or DNAME among `sets` may have hidden: the table still has them.
fn hidden_by(sets: &[SetChange], view: &dyn View) -> Result<Vec<SetChange>, ReadFault> {
    let mut hidden = Vec::new();
    for set in sets.iter().filter(|set| matches!(set.rtype, Type::NS | Type::DNAME)) {
        let key = set.owner.key();
        view.walk(&key, &mut |node| {
            let owner = node.name();
            if !owner.key().starts_with(&key) {
                return ControlFlow::Break(());
            }
            hidden.push(anything_at(owner));
            ControlFlow::Continue(())
        })?;
    }
    Ok(hidden)
}

/// Calls `with` with whether a name is the apex of another zone; none if there are none below `zone`.
pub(super) fn with_children<R: RawRows + ?Sized, T>(
    rows: &R,
    zone: &Zone,
    with: impl FnOnce(Option<&dyn Fn(&Name) -> bool>) -> T,
) -> Result<T, ReadFault> {
    if rows::below(rows, &zone.apex, None, 1)?.is_empty() {
        return Ok(with(None));
    }
    let is_apex =
        |name: &Name| rows.contains(&rows::ZONES_BY_NAME, &Tail(name.key())).unwrap_or(false);
    Ok(with(Some(&is_apex)))
}

/// A change that makes its owner be looked at.
fn anything_at(owner: Name) -> SetChange {
    SetChange { owner, rtype: Type::SOA, before: None, after: None }
}

/// A zone without any record.
struct Empty<'a>(&'a Name);

impl View for Empty<'_> {
    fn apex(&self) -> &Name {
        self.0
    }

    fn node(&self, _: &Name, _: &mut dyn FnMut(Node<'_>)) -> Result<bool, ReadFault> {
        Ok(false)
    }

    fn walk(
        &self,
        _: &[u8],
        _: &mut dyn FnMut(Node<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadFault> {
        Ok(())
    }

    fn before(&self, _: &[u8]) -> Result<Option<Name>, ReadFault> {
        Ok(None)
    }
}
