//! Catalogs: zones that list zones, so that secondaries learn what to serve ([RFC 9432]).
//!
//! A catalog is a zone like others: versioned, transferred, told by NOTIFY. What stands in it is made
//! here, in the same commit that creates, moves or deletes a member, so there is no moment in which
//! one is there without the other.
//!
//! A new zone joins the first catalog whose scope covers it. Members have a label that is theirs for
//! life, so a zone that was deleted and made again is another member. When a member goes to another
//! catalog of ours, the old one keeps it for [`KEPT_AFTER_MOVE_US`] with the property *coo*, so that
//! consumers hand it over without dropping it; the new one has it [`JOINS_AFTER_US`] later, because some
//! consumers pass over what the new one names before they saw that property, and never look again.
//!
//! Promises: a zone is in at most one catalog, counted without those it is leaving; only zones that
//! are answered for are in one; a catalog is in none, and nobody edits it by hand.
//!
//! [RFC 9432]: https://www.rfc-editor.org/rfc/rfc9432

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::apply::Refused;
use super::change::{AppliedZone, Content, Reason};
use super::commit::Door;
use super::rows::{self, Zone, fault};
use super::secondaries::Scope;
use crate::store::{RawRows, RowError, Rows, Table, Tail, Tx};
use crate::wire::{Name, RrSet, Type};
use crate::zone::edit::{Base, Op};
use crate::zone::{ReadFault, RrSetEdit};

/// Apex key → catalog.
const CATALOGS: Table<Tail, Catalog> = Table::new("catalogs", *b"ca");
/// Zone id → in which catalog it is.
const MEMBERS: Table<u32, Member> = Table::new("catalog members", *b"cm");
/// (Catalog's zone id, member's zone id): who is in a catalog.
const MEMBERS_OF: Table<(u32, u32), ()> = Table::new("members of a catalog", *b"cb");
/// (Until when, member's zone id) → the catalog it is leaving, by its zone id.
const LEAVING: Table<(u64, u32), u32> = Table::new("members leaving a catalog", *b"cl");

/// (When, member's zone id) → the catalog that names it then, by its zone's id.
const JOINING: Table<(u64, u32), u32> = Table::new("members joining a catalog", *b"cj");

/// Catalogs there may be: all are looked at when a zone is created.
pub const CATALOGS_MAX: usize = 100;

/// Octets of a group's name.
pub const GROUP_OCTETS_MAX: usize = 255;

/// Microseconds a member that went to another catalog stays in the old one: two days, so that every
/// consumer has seen both.
pub const KEPT_AFTER_MOVE_US: u64 = 2 * 86_400 * 1_000_000;

/// Microseconds after which a member that went to another catalog is named there: what was told of the old
/// one has come to every consumer that hears us by then, and BIND, which takes versions of a catalog up five
/// seconds apart, has read it.
pub const JOINS_AFTER_US: u64 = 10 * 1_000_000;

/// TTL in seconds of what stands in a catalog; consumers ignore it ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §4.1).
const TTL_S: u32 = 0;

/// The SOA of a new catalog: asked for again after an hour, kept for as long as there is no other.
const SOA: &str = "invalid. hostmaster.invalid. 1 3600 600 2147483646 0";

/// The name server of every catalog ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §4).
pub const NO_SERVER: &str = "invalid.";

/// A catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    pub apex: Name,
    /// The id of its zone.
    pub zone: u32,
    /// Which new zones join it.
    pub scope: Scope,
    /// The group of members that have none of their own.
    pub group: Option<String>,
    pub created_us: u64,
}

/// How a zone stands to catalogs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The catalog it is in, by its zone's id; none when somebody took it out.
    pub catalog: Option<u32>,
    pub group: Option<String>,
    /// Whether somebody said so; then scopes are not looked at.
    pub is_chosen: bool,
}

impl Member {
    /// Whether the zone is in no catalog, and nobody wanted it so.
    fn is_idle(&self) -> bool {
        self.catalog.is_none() && !self.is_chosen
    }
}

/// All catalogs, in canonical order of their names.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn all<R: RawRows + ?Sized>(rows: &R) -> Result<Vec<Catalog>, ReadFault> {
    let found = rows.range(&CATALOGS, .., CATALOGS_MAX).map_err(fault)?;
    Ok(found.into_iter().map(|(_, catalog)| catalog).collect())
}

/// The catalog of this name.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn get<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<Option<Catalog>, ReadFault> {
    rows.get(&CATALOGS, &Tail(apex.key())).map_err(fault)
}

/// How a zone stands to catalogs; none while nobody decided.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn member<R: RawRows + ?Sized>(rows: &R, zone: u32) -> Result<Option<Member>, ReadFault> {
    rows.get(&MEMBERS, &zone).map_err(fault)
}

/// The members of a catalog by zone id, from behind `after`, at most `limit`.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn members<R: RawRows + ?Sized>(
    rows: &R,
    catalog: &Catalog,
    after: Option<u32>,
    limit: usize,
) -> Result<Vec<u32>, ReadFault> {
    let after = after.map(|after| (catalog.zone, after));
    let found = rows.scan(&MEMBERS_OF, &catalog.zone, after.as_ref(), limit).map_err(fault)?;
    Ok(found.into_iter().map(|((_, zone), ())| zone).collect())
}

/// Why a zone that is a catalog is not changed by anybody's hand.
pub(super) fn refuse_by_hand<R: RawRows + ?Sized>(rows: &R, apex: &Name) -> Result<(), Refused> {
    if get(rows, apex)?.is_some() {
        let text =
            format!("{apex} is a catalog, which the server makes: change its members instead");
        return Err(Reason::Broken { rule: "catalog", owner: apex.clone(), text }.into());
    }
    Ok(())
}

/// The label of a member: its zone's id, which is never used again.
fn label(zone: u32) -> String {
    format!("z{zone:08x}")
}

fn below(apex: &Name, labels: &[&str]) -> Result<Name, ReadFault> {
    labels.iter().rev().try_fold(apex.clone(), |name, label| {
        name.child(label.as_bytes()).map_err(|error| ReadFault(format!("{apex}: {error}")))
    })
}

/// A TXT record of one string.
fn text(text: &str) -> Box<[u8]> {
    let octets: Vec<u8> = text.bytes().take(GROUP_OCTETS_MAX).collect();
    let len = u8::try_from(octets.len()).unwrap_or(u8::MAX);
    [&[len], octets.as_slice()].concat().into()
}

fn replace(owner: Name, rtype: Type, rdata: Option<Box<[u8]>>) -> RrSetEdit {
    let op = Op::Replace { ttl: TTL_S, rdatas: rdata.into_iter().collect() };
    RrSetEdit { owner, rtype, op, base: Base::Unchecked }
}

/// What makes a zone a member, with its group; or takes it out.
fn member_edits(
    catalog: &Name,
    zone: u32,
    member: Option<(&Name, Option<&str>)>,
) -> Result<Vec<RrSetEdit>, ReadFault> {
    let label = label(zone);
    let own = below(catalog, &[&label, "zones"])?;
    let group = below(catalog, &["group", &label, "zones"])?;
    let coo = below(catalog, &["coo", &label, "zones"])?;
    Ok(vec![
        replace(own, Type::PTR, member.map(|(apex, _)| apex.as_wire().into())),
        replace(group, Type::TXT, member.and_then(|(_, group)| group).map(text)),
        replace(coo, Type::PTR, None),
    ])
}

/// What a new catalog holds before it has members.
fn empty(apex: &Name) -> Result<Content, ReadFault> {
    let parse = |rtype, text| {
        crate::wire::rdata::parse(rtype, text, None).map_err(|error| ReadFault(error.to_string()))
    };
    let set = |owner, rtype, rdata| RrSet::new(owner, rtype, TTL_S, vec![rdata]);
    Ok(Content::RrSets(vec![
        set(apex.clone(), Type::SOA, parse(Type::SOA, SOA)?),
        set(apex.clone(), Type::NS, parse(Type::NS, NO_SERVER)?),
        set(below(apex, &["version"])?, Type::TXT, text("2")),
    ]))
}

/// Edits of catalogs, to be written once each however many members a commit touches.
#[derive(Default)]
struct Edits(BTreeMap<u32, Vec<RrSetEdit>>);

impl Edits {
    fn add(&mut self, catalog: &Catalog, edits: Vec<RrSetEdit>) {
        self.0.entry(catalog.zone).or_default().extend(edits);
    }
}

impl Door<'_, '_> {
    /// Makes a catalog, held by `org`; all zones its scope covers that are in none join it.
    ///
    /// # Errors
    ///
    /// Every reason against it; nothing is kept then if the caller keeps nothing.
    pub fn create_catalog(
        &mut self,
        apex: &Name,
        org: &str,
        scope: Scope,
        group: Option<String>,
    ) -> Result<Catalog, Vec<Reason>> {
        self.new_catalog(apex, org, scope, group).map_err(|Refused(reasons)| reasons)
    }

    /// Takes a catalog away, its zone with it. Its members are in none then.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownZone`] when there is none.
    pub fn delete_catalog(&mut self, apex: &Name) -> Result<Catalog, Vec<Reason>> {
        self.end_catalog(apex).map_err(|Refused(reasons)| reasons)
    }

    /// Puts a zone into a catalog, with a group if it gets one of its own; or takes it out of any.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownZone`] when there is no such zone or catalog.
    pub fn set_member(
        &mut self,
        apex: &Name,
        catalog: Option<&Name>,
        group: Option<String>,
    ) -> Result<(), Vec<Reason>> {
        self.choose(apex, catalog, group).map_err(|Refused(reasons)| reasons)
    }

    fn new_catalog(
        &mut self,
        apex: &Name,
        org: &str,
        scope: Scope,
        group: Option<String>,
    ) -> Result<Catalog, Refused> {
        let catalogs = all(self.tx)?;
        if catalogs.len() >= CATALOGS_MAX {
            let text = format!("limit catalogs is {CATALOGS_MAX}");
            return Err(Reason::Limit { text }.into());
        }
        let made = self.create(apex, org, &empty(apex)?)?;
        let created_us = self.now_us;
        let catalog =
            Catalog { apex: made.apex.clone(), zone: made.zone, scope, group, created_us };
        self.tx.put(&CATALOGS, &Tail(apex.key()), &catalog)?;
        self.note(made);
        let catalogs = [catalogs, vec![catalog.clone()]].concat();
        let (mut after, mut edits) = (None, Edits::default());
        loop {
            const PAGE: usize = 1_000;
            let page = rows::zones(self.tx, after.as_ref(), PAGE)?;
            for zone in page.iter().filter(|zone| catalog.scope.covers(zone)) {
                let is_catalog = catalogs.iter().any(|catalog| catalog.zone == zone.id);
                if !is_catalog && member(self.tx, zone.id)?.is_none_or(|now| now.is_idle()) {
                    let joins = Member { catalog: Some(catalog.zone), ..Member::default() };
                    self.bring(zone, Some(joins), &catalogs, &mut edits)?;
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.apex.clone()),
                _ => break,
            }
        }
        self.write_catalogs(&catalogs, edits)?;
        Ok(catalog)
    }

    fn end_catalog(&mut self, apex: &Name) -> Result<Catalog, Refused> {
        let catalog = get(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        for zone in members(self.tx, &catalog, None, usize::MAX)? {
            take_member(self.tx, zone)?;
        }
        for ((until, zone), from) in self.tx.range(&LEAVING, .., usize::MAX)? {
            if from == catalog.zone {
                self.tx.delete(&LEAVING, &(until, zone))?;
            }
        }
        self.tx.delete(&CATALOGS, &Tail(apex.key()))?;
        let gone = self.delete(apex)?;
        self.note(gone);
        Ok(catalog)
    }

    fn choose(
        &mut self,
        apex: &Name,
        catalog: Option<&Name>,
        group: Option<String>,
    ) -> Result<(), Refused> {
        let zone = rows::zone(self.tx, apex)?.ok_or(Reason::UnknownZone)?;
        let catalogs = all(self.tx)?;
        if catalogs.iter().any(|catalog| catalog.zone == zone.id) {
            let text = format!("{apex} is a catalog: it is in none");
            return Err(Reason::Broken { rule: "catalog", owner: apex.clone(), text }.into());
        }
        let named = |name: &Name| catalogs.iter().find(|catalog| catalog.apex == *name);
        let catalog = catalog.map(|name| named(name).ok_or(Reason::UnknownZone)).transpose()?;
        let catalog = catalog.map(|catalog| catalog.zone);
        let mut edits = Edits::default();
        let chosen = Member { catalog, group, is_chosen: true };
        self.bring(&zone, Some(chosen), &catalogs, &mut edits)?;
        self.write_catalogs(&catalogs, edits)
    }

    /// Brings catalogs in line with what this commit did to zones.
    pub(super) fn update_catalogs(&mut self) -> Result<(), ReadFault> {
        let catalogs = all(self.tx)?;
        if catalogs.is_empty() {
            return Ok(());
        }
        self.follow_zones(&catalogs).map_err(|Refused(reasons)| {
            let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
            ReadFault(format!("catalogs cannot follow: {}", reasons.join("; ")))
        })
    }

    fn follow_zones(&mut self, catalogs: &[Catalog]) -> Result<(), Refused> {
        let mut edits = Edits::default();
        let may_differ = |zone: &AppliedZone| match (zone.from, zone.to) {
            (Some(from), Some(to)) => from == to, // its holder or state may be another
            _ => true,
        };
        let touched: Vec<u32> =
            self.applied().iter().filter(|zone| may_differ(zone)).map(|zone| zone.zone).collect();
        for id in touched {
            if catalogs.iter().any(|catalog| catalog.zone == id) {
                continue;
            }
            match rows::by_id(self.tx, id)? {
                Some(zone) => {
                    let wanted = self.wanted(&zone, catalogs)?;
                    self.bring(&zone, wanted, catalogs, &mut edits)?;
                }
                None => self.drop_member(id, catalogs, &mut edits)?,
            }
        }
        self.write_catalogs(catalogs, edits)
    }

    /// How a zone should stand to catalogs, by what somebody chose or else by scopes.
    fn wanted(&self, zone: &Zone, catalogs: &[Catalog]) -> Result<Option<Member>, ReadFault> {
        let now = member(self.tx, zone.id)?;
        if now.as_ref().is_some_and(|member| member.is_chosen) {
            return Ok(now);
        }
        let stays = now.filter(|member| {
            let own = catalogs.iter().find(|catalog| Some(catalog.zone) == member.catalog);
            own.is_some_and(|catalog| catalog.scope.covers(zone))
        });
        let joins = catalogs.iter().find(|catalog| catalog.scope.covers(zone));
        let joins =
            joins.map(|catalog| Member { catalog: Some(catalog.zone), ..Member::default() });
        Ok(stays.or(joins))
    }

    /// Makes a zone stand to catalogs as `wanted`, in its row and in the catalogs.
    fn bring(
        &mut self,
        zone: &Zone,
        wanted: Option<Member>,
        catalogs: &[Catalog],
        edits: &mut Edits,
    ) -> Result<(), Refused> {
        let by_id = |id: Option<u32>| catalogs.iter().find(|catalog| Some(catalog.zone) == id);
        let before = member(self.tx, zone.id)?;
        let was = match by_id(before.as_ref().and_then(|now| now.catalog)) {
            Some(old) if self.tx.contains(&MEMBERS_OF, &(old.zone, zone.id))? => Some(old),
            _ => None,
        };
        let is = by_id(wanted.as_ref().and_then(|member| member.catalog));
        let is = is.filter(|_| zone.is_answered());
        if was.map(|old| old.zone) == is.map(|new| new.zone) && before == wanted {
            return Ok(());
        }
        let left = was.filter(|old| is.is_none_or(|new| new.zone != old.zone));
        match (is, left) {
            (Some(new), None) => edits.add(new, named(new, zone, wanted.as_ref())?),
            (Some(new), Some(_)) => {
                let at_us = self.now_us.saturating_add(JOINS_AFTER_US);
                self.tx.put(&JOINING, &(at_us, zone.id), &new.zone)?;
            }
            (None, _) => {}
        }
        if let Some(old) = left {
            self.leave(zone, old, is, edits)?;
        }
        take_member(self.tx, zone.id)?;
        if let Some(mut member) = wanted {
            if is.is_none() && !member.is_chosen {
                member.catalog = None;
            }
            self.tx.put(&MEMBERS, &zone.id, &member)?;
        }
        if let Some(new) = is {
            self.tx.put(&MEMBERS_OF, &(new.zone, zone.id), &())?;
        }
        Ok(())
    }

    /// Takes a zone out of a catalog: at once, or after a while if it goes to another.
    fn leave(
        &mut self,
        zone: &Zone,
        old: &Catalog,
        to: Option<&Catalog>,
        edits: &mut Edits,
    ) -> Result<(), Refused> {
        let Some(to) = to else {
            edits.add(old, member_edits(&old.apex, zone.id, None)?);
            return Ok(());
        };
        let coo = below(&old.apex, &["coo", &label(zone.id), "zones"])?;
        edits.add(old, vec![replace(coo, Type::PTR, Some(to.apex.as_wire().into()))]);
        let until_us = self.now_us.saturating_add(KEPT_AFTER_MOVE_US);
        Ok(self.tx.put(&LEAVING, &(until_us, zone.id), &old.zone)?)
    }

    /// Takes a zone that is no more out of every catalog.
    fn drop_member(
        &mut self,
        zone: u32,
        catalogs: &[Catalog],
        edits: &mut Edits,
    ) -> Result<(), Refused> {
        let mut from: Vec<u32> = Vec::new();
        from.extend(member(self.tx, zone)?.and_then(|now| now.catalog));
        for ((until, leaving), old) in self.tx.range(&LEAVING, .., usize::MAX)? {
            if leaving == zone {
                self.tx.delete(&LEAVING, &(until, leaving))?;
                from.push(old);
            }
        }
        take_member(self.tx, zone)?;
        for catalog in catalogs.iter().filter(|catalog| from.contains(&catalog.zone)) {
            edits.add(catalog, member_edits(&catalog.apex, zone, None)?);
        }
        Ok(())
    }

    /// Ends the stay of members that went to other catalogs long enough ago, and has those name them whose
    /// time it is.
    ///
    /// # Errors
    ///
    /// Every reason against it.
    pub(super) fn end_leaving(&mut self) -> Result<(), Refused> {
        const STEP: usize = 1_000;
        let catalogs = all(self.tx)?;
        let mut edits = Edits::default();
        for ((at, id), new) in self.tx.range(&JOINING, ..(self.now_us, 0), STEP)? {
            self.tx.delete(&JOINING, &(at, id))?;
            let is_there = self.tx.contains(&MEMBERS_OF, &(new, id))?;
            let catalog = catalogs.iter().find(|catalog| catalog.zone == new && is_there);
            if let (Some(catalog), Some(zone)) = (catalog, rows::by_id(self.tx, id)?) {
                let member = member(self.tx, id)?;
                edits.add(catalog, named(catalog, &zone, member.as_ref())?);
            }
        }
        for ((until, zone), old) in self.tx.range(&LEAVING, ..(self.now_us, 0), STEP)? {
            self.tx.delete(&LEAVING, &(until, zone))?;
            let back = self.tx.contains(&MEMBERS_OF, &(old, zone))?;
            let catalog = catalogs.iter().find(|catalog| catalog.zone == old && !back);
            if let Some(catalog) = catalog {
                edits.add(catalog, member_edits(&catalog.apex, zone, None)?);
            }
        }
        self.write_catalogs(&catalogs, edits)
    }

    fn write_catalogs(&mut self, catalogs: &[Catalog], edits: Edits) -> Result<(), Refused> {
        for (id, edits) in edits.0 {
            let Some(catalog) = catalogs.iter().find(|catalog| catalog.zone == id) else {
                continue;
            };
            let written = self.edit(&catalog.apex, &edits)?;
            self.note(written);
        }
        Ok(())
    }
}

/// What has a catalog name a zone, in its own group or that of the catalog.
fn named(
    catalog: &Catalog,
    zone: &Zone,
    member: Option<&Member>,
) -> Result<Vec<RrSetEdit>, ReadFault> {
    let own = member.and_then(|member| member.group.as_deref());
    let named = (&zone.apex, own.or(catalog.group.as_deref()));
    member_edits(&catalog.apex, zone.id, Some(named))
}

/// Whether some member's stay in an old catalog is over, or its time in a new one has come.
pub(super) fn is_leaving_due<R: RawRows + ?Sized>(rows: &R, now_us: u64) -> Result<bool, RowError> {
    let leaves = !rows.range(&LEAVING, ..(now_us, 0), 1)?.is_empty();
    Ok(leaves || !rows.range(&JOINING, ..(now_us, 0), 1)?.is_empty())
}

fn take_member(tx: &mut Tx<'_>, zone: u32) -> Result<(), RowError> {
    if let Some(Member { catalog: Some(catalog), .. }) = tx.get(&MEMBERS, &zone)? {
        tx.delete(&MEMBERS_OF, &(catalog, zone))?;
    }
    tx.delete(&MEMBERS, &zone)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::maintain::{Maintain, Settings, ZoneChange, ZoneState};
    use crate::store::Store;
    use crate::wire::rdata;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    struct World(Maintain);

    impl World {
        fn new() -> World {
            World(Maintain::offline(Store::in_memory(), Settings::default()))
        }

        fn apply(&self, change: ZoneChange) {
            self.0.commit(|door| door.apply(&[change])).unwrap();
        }

        fn zone(&self, apex: &str, org: &str) {
            let apex = name(apex);
            let set = |rtype, text| {
                let rdata = rdata::parse(rtype, text, None).unwrap();
                RrSet::new(apex.clone(), rtype, 60, vec![rdata])
            };
            let soa = set(Type::SOA, "ns. host. 1 2 3 4 5");
            let content = Content::RrSets(vec![soa, set(Type::NS, "ns.")]);
            self.apply(ZoneChange::Create { apex: apex.clone(), org: org.into(), content });
        }

        fn catalog(&self, apex: &str, scope: Scope) {
            let made = |door: &mut Door<'_, '_>| {
                door.create_catalog(&name(apex), "op", scope, Some("all".into()))
            };
            self.0.commit(made).unwrap();
        }

        fn choose(&self, zone: &str, catalog: Option<&str>, group: Option<&str>) {
            let catalog = catalog.map(name);
            let group = group.map(str::to_owned);
            self.0.commit(|door| door.set_member(&name(zone), catalog.as_ref(), group)).unwrap();
        }

        /// What stands below `zones` in a catalog.
        fn listed(&self, catalog: &str) -> Vec<String> {
            self.0.store().read(|rows| {
                let zone = rows::zone(rows, &name(catalog)).unwrap().unwrap();
                let mut lines = Vec::new();
                rows::with_view(rows, &zone, |view| {
                    view.walk(&name(&format!("zones.{catalog}")).key(), &mut |node| {
                        for set in node.rrsets() {
                            let shown =
                                set.rdatas().map(|r| rdata::display(set.rtype, r).to_string());
                            let owner = node.name().to_string();
                            let owner =
                                owner.strip_suffix(&format!("zones.{catalog}")).unwrap().to_owned();
                            lines.extend(
                                shown.map(|shown| format!("{owner} {} {shown}", set.rtype)),
                            );
                        }
                        ControlFlow::Continue(())
                    })
                })
                .unwrap();
                lines.retain(|line| !line.contains(" TXT ") || line.contains("group"));
                lines
            })
        }

        fn serial(&self, apex: &str) -> u32 {
            self.0.store().read(|rows| rows::zone(rows, &name(apex)).unwrap().unwrap().serial.0)
        }
    }

    #[test]
    fn rfc9432_4_a_catalog_lists_what_is_there_and_what_comes_and_goes() {
        let world = World::new();
        world.zone("old.example.", "a");
        world.catalog("cat.", Scope::All);
        let before = world.serial("cat.");
        world.zone("new.example.", "b");
        assert_eq!(
            world.listed("cat."),
            [
                "z00000001. PTR old.example.",
                "group.z00000001. TXT \"all\"",
                "z00000003. PTR new.example.",
                "group.z00000003. TXT \"all\"",
            ]
        );
        assert!(world.serial("cat.") > before);
        world.apply(ZoneChange::Delete { apex: name("old.example.") });
        world.apply(ZoneChange::SetState {
            apex: name("new.example."),
            state: ZoneState::Suspended,
        });
        assert!(world.listed("cat.").is_empty(), "{:?}", world.listed("cat."));
        world.apply(ZoneChange::SetState { apex: name("new.example."), state: ZoneState::Live });
        assert_eq!(world.listed("cat.")[0], "z00000003. PTR new.example.", "with its own label");
    }

    #[test]
    fn a_zone_that_was_deleted_and_made_again_is_another_member() {
        let world = World::new();
        world.catalog("cat.", Scope::All);
        world.zone("x.example.", "a");
        let first = world.listed("cat.");
        world.apply(ZoneChange::Delete { apex: name("x.example.") });
        world.zone("x.example.", "a");
        assert_ne!(world.listed("cat."), first);
        assert_eq!(world.listed("cat.").len(), first.len());
    }

    #[test]
    fn many_zones_in_one_commit_are_one_version_of_the_catalog() {
        let world = World::new();
        world.catalog("cat.", Scope::All);
        let before = world.serial("cat.");
        world
            .0
            .commit(|door| {
                for n in 0..50 {
                    let apex = name(&format!("z{n}.example."));
                    let set = |rtype, text: &str| {
                        let rdata = rdata::parse(rtype, text, None).unwrap();
                        RrSet::new(apex.clone(), rtype, 60, vec![rdata])
                    };
                    let soa = set(Type::SOA, "ns. host. 1 2 3 4 5");
                    let content = Content::RrSets(vec![soa, set(Type::NS, "ns.")]);
                    door.apply(&[ZoneChange::Create {
                        apex: apex.clone(),
                        org: "a".into(),
                        content,
                    }])?;
                }
                Ok::<_, crate::maintain::Refusal>(())
            })
            .unwrap();
        assert_eq!(world.listed("cat.").len(), 100);
        assert_eq!(world.serial("cat."), before + 1);
    }

    #[test]
    fn rfc9432_4_4_1_who_goes_to_another_catalog_is_handed_over() {
        let world = World::new();
        world.catalog("one.", Scope::Holder("a".into()));
        world.catalog("two.", Scope::Holder("b".into()));
        world.zone("x.example.", "a");
        assert!(world.listed("two.").is_empty());
        world.apply(ZoneChange::Move { apex: name("x.example."), org: "b".into() });
        assert!(world.listed("one.").contains(&"coo.z00000003. PTR two.".to_owned()));
        assert!(world.listed("one.").contains(&"z00000003. PTR x.example.".to_owned()));
        assert!(world.listed("two.").is_empty(), "some consumers would pass over it for good");
        let later = |us: u64| {
            let done = world.0.commit(|door| {
                door.now_us += us + 1;
                door.end_leaving()
            });
            done.map_err(|_| "refused").unwrap();
        };
        later(JOINS_AFTER_US);
        assert_eq!(world.listed("two.")[0], "z00000003. PTR x.example.");
        assert!(world.listed("one.").contains(&"z00000003. PTR x.example.".to_owned()));

        later(KEPT_AFTER_MOVE_US);
        assert!(world.listed("one.").is_empty());
        assert_eq!(world.listed("two.").len(), 2);
    }

    #[test]
    fn what_somebody_chose_holds_against_scopes() {
        let world = World::new();
        world.catalog("one.", Scope::All);
        world.zone("x.example.", "a");
        world.choose("x.example.", Some("one."), Some("rare"));
        assert!(world.listed("one.").contains(&"group.z00000002. TXT \"rare\"".to_owned()));
        world.choose("x.example.", None, None);
        assert!(world.listed("one.").is_empty());
        world.apply(ZoneChange::Move { apex: name("x.example."), org: "b".into() });
        assert!(world.listed("one.").is_empty());
    }

    #[test]
    fn nobody_edits_a_catalog_by_hand() {
        let world = World::new();
        world.catalog("cat.", Scope::All);
        let delete = ZoneChange::Delete { apex: name("cat.") };
        let edit = replace(name("x.cat."), Type::TXT, Some(text("hello")));
        let edit = ZoneChange::Edit { apex: name("cat."), edits: vec![edit] };
        for change in [delete, edit] {
            let refused = world.0.commit(|door| door.apply(&[change])).unwrap_err().to_string();
            assert!(refused.contains("is a catalog"), "{refused}");
        }
        world.zone("x.example.", "a");
        world.0.commit(|door| door.delete_catalog(&name("cat."))).unwrap();
        world.catalog("cat.", Scope::All);
        assert_eq!(world.listed("cat.").len(), 2);
    }
}
