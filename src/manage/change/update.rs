//! Dynamic updates ([RFC 2136]): an order that arrives over DNS.
//!
//! The message is read whole before anything is looked at; its prerequisites are checked and its
//! changes worked out inside the commit, on the zone as it is then. What changes goes the road of all
//! orders, applied at once; a message that changes nothing leaves no order.
//!
//! Does not: check signatures or addresses, which decide the [`Context`] it is called with.
//!
//! [RFC 2136]: https://www.rfc-editor.org/rfc/rfc2136

use std::collections::BTreeMap;

use super::ask;
use super::item::{Body, Draft, Item, What};
use super::kept::{Origin, Terms};
use super::order::{self, OrderError};
use super::pending::{Base, Net, Rdata, Value};
use crate::maintain::{CommitError, Door, Zone, rows as zones};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::fault::Stop;
use crate::manage::holding::zone::{self as holding, Held};
use crate::manage::id::{ItemId, OrderId};
use crate::store::Rows;
use crate::wire::header::{HEADER_OCTETS, Header};
use crate::wire::query::RecordAt;
use crate::wire::rdata::{canonical_cmp, expand};
use crate::wire::{Class, Name, Rcode, Serial, Type};

/// One record of an update: what it says depends on its class.
struct Line {
    owner: Name,
    rtype: Type,
    class: u16,
    ttl: u32,
    /// None when the record has no RDATA.
    rdata: Option<Rdata>,
}

/// What a message asks for.
struct Message {
    prerequisites: Vec<Line>,
    updates: Vec<Line>,
}

/// Applies an update of `zone`; returns once it is durable, with the RCODE to answer with.
pub fn update(manage: &Manage, context: &Context, zone: &Name, message: &[u8]) -> Rcode {
    let message = match read(zone, message) {
        Ok(message) => message,
        Err(rcode) => return rcode,
    };
    let done = manage.maintain.commit(|door| apply(door, context, zone, &message));
    let (id, committed) = match done {
        Ok(committed) => (committed.value, committed),
        Err(CommitError::Refused(No::Rcode(rcode))) => return rcode,
        Err(CommitError::Refused(No::Order(error))) => return rcode_of(&error),
        Err(CommitError::Unreadable(_) | CommitError::Write(_)) => return Rcode::SERVFAIL,
    };
    if let Some(id) = id {
        let at = committed.durable_at.into();
        // The change is durable and published; that nobody saw it served is for the start-up.
        if let Err(why) = super::settle::settle(manage, context, id, &committed.zones, at) {
            tracing::warn!(%why, "an update is applied, but its order is not settled: {why}");
        }
    }
    Rcode::NOERROR
}

/// Why an update is not applied.
enum No {
    Rcode(Rcode),
    Order(OrderError),
}

impl<T: Into<Stop>> From<T> for No {
    fn from(why: T) -> No {
        No::Order(OrderError::Stop(why.into()))
    }
}

fn rcode_of(error: &OrderError) -> Rcode {
    match error {
        OrderError::Stop(Stop::Access(NoAccess::NotFound)) => Rcode::NOTAUTH,
        OrderError::Stop(Stop::Store(_)) => Rcode::SERVFAIL,
        _ => Rcode::REFUSED,
    }
}

/// Reads the sections, by the rules that need no zone ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.2.5, §3.4.1.3).
fn read(zone: &Name, message: &[u8]) -> Result<Message, Rcode> {
    let header = Header::read(message).ok_or(Rcode::FORMERR)?;
    let question_end = HEADER_OCTETS + zone.as_wire().len() + 4;
    let question = message.get(question_end - 4..question_end).ok_or(Rcode::FORMERR)?;
    let is_soa = question == [0, 6, 0, 1];
    if header.questions != 1 || !is_soa {
        return Err(Rcode::FORMERR);
    }
    let mut at = question_end;
    let mut section = |count: u16| -> Result<Vec<Line>, Rcode> {
        let lines = (0..count).map(|_| {
            let (line, end) = line(zone, message, at)?;
            at = end;
            Ok(line)
        });
        lines.collect()
    };
    let prerequisites = section(header.answers)?;
    let updates = section(header.authorities)?;
    prerequisites.iter().try_for_each(check_prerequisite)?;
    updates.iter().try_for_each(check_update)?;
    Ok(Message { prerequisites, updates })
}

fn line(zone: &Name, message: &[u8], at: usize) -> Result<(Line, usize), Rcode> {
    let record = RecordAt::read(message, at).map_err(|_| Rcode::FORMERR)?;
    let owner = expand(Type::PTR, message, at..record.rdata_at - 10).map_err(|_| Rcode::FORMERR)?;
    let owner = Name::from_wire(&owner).map_err(|_| Rcode::FORMERR)?;
    if !owner.is_at_or_below(zone) {
        return Err(Rcode::NOTZONE);
    }
    let rdata = match record.rdata_at == record.end {
        true => None,
        false => {
            let range = record.rdata_at..record.end;
            Some(expand(record.rtype, message, range).map_err(|_| Rcode::FORMERR)?)
        }
    };
    let RecordAt { rtype, class, ttl, end, .. } = record;
    Ok((Line { owner, rtype, class, ttl, rdata }, end))
}

fn check_prerequisite(line: &Line) -> Result<(), Rcode> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::ANY | Class::NONE => empty,
        Class::IN => !empty && !line.rtype.is_meta(),
        _ => false,
    };
    if good && line.ttl == 0 { Ok(()) } else { Err(Rcode::FORMERR) }
}

fn check_update(line: &Line) -> Result<(), Rcode> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::IN => !empty && !line.rtype.is_meta(),
        Class::ANY => empty && line.ttl == 0 && (line.rtype == Type::ANY || !line.rtype.is_meta()),
        Class::NONE => !empty && line.ttl == 0 && !line.rtype.is_meta(),
        _ => false,
    };
    match good {
        true if ask::is_managed(line.rtype) && line.rtype != Type::ANY => Err(Rcode::REFUSED),
        true => Ok(()),
        false => Err(Rcode::FORMERR),
    }
}

fn apply(
    door: &mut Door<'_, '_>,
    context: &Context,
    zone: &Name,
    message: &Message,
) -> Result<Option<OrderId>, No> {
    holding::may_change(door.tx(), context)?;
    let held = holding::fetch(door.tx(), context, Permission::ZoneEdit, zone)?;
    let mut sets = Sets { rows: door.tx(), zone: &held.zone, names: BTreeMap::new() };
    prerequisites(&mut sets, &message.prerequisites)?;
    for line in &message.updates {
        sets.change(line)?;
    }
    let drafts = sets.drafts(&held);
    if drafts.is_empty() {
        return Ok(None);
    }
    let (tx, author) = (door.tx(), context.actor.user());
    let items = drafts.into_iter().map(|draft| Item::keep(tx, ItemId::new(), author, draft));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let terms = Terms::of(Origin::Update);
    order::put_new(door, context, items, terms).map(Some).map_err(No::Order)
}

/// The prerequisites on the zone as it is ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.2).
fn prerequisites<R: Rows>(sets: &mut Sets<'_, R>, lines: &[Line]) -> Result<(), No> {
    let mut wanted: BTreeMap<(Vec<u8>, Type), (&Name, Vec<Rdata>)> = BTreeMap::new();
    for line in lines {
        let any = line.rtype == Type::ANY;
        let there = match any {
            true => sets.of(&line.owner)?.values().any(|set| set.now.is_some()),
            false => sets.now(&line.owner, line.rtype)?.is_some(),
        };
        let no = match (Class(line.class), any, there) {
            (Class::ANY, true, false) => Rcode::NXDOMAIN,
            (Class::ANY, false, false) => Rcode::NXRRSET,
            (Class::NONE, true, true) => Rcode::YXDOMAIN,
            (Class::NONE, false, true) => Rcode::YXRRSET,
            (Class::IN, ..) => {
                let entry = wanted.entry((line.owner.key(), line.rtype));
                let entry = entry.or_insert_with(|| (&line.owner, Vec::new()));
                entry.1.extend(line.rdata.clone());
                continue;
            }
            _ => continue,
        };
        return Err(No::Rcode(no));
    }
    for ((_, rtype), (owner, rdatas)) in wanted {
        let now = sets.now(owner, rtype)?;
        let wanted = now.as_ref().map(|now| Value::new(now.ttl, rdatas));
        if now.is_none() || !super::draft::same(rtype, &now, &wanted) {
            return Err(No::Rcode(Rcode::NXRRSET));
        }
    }
    Ok(())
}

/// One RRset before and after what was read so far.
struct Set {
    live: Base,
    now: Base,
}

/// The RRsets of the names an update touches, changed as its lines are read.
struct Sets<'a, R> {
    rows: &'a R,
    zone: &'a Zone,
    names: BTreeMap<Vec<u8>, (Name, BTreeMap<Type, Set>)>,
}

impl<R: Rows> Sets<'_, R> {
    /// All RRsets of a name.
    fn of(&mut self, owner: &Name) -> Result<&mut BTreeMap<Type, Set>, Stop> {
        let key = owner.key();
        if !self.names.contains_key(&key) {
            let mut sets = BTreeMap::new();
            zones::with_view(self.rows, self.zone, |view| {
                view.node(owner, &mut |node| {
                    for set in node.rrsets() {
                        let live = Value::new(set.ttl, set.rdatas().map(Into::into).collect());
                        let (live, now) = (Some(live.clone()), Some(live));
                        sets.insert(set.rtype, Set { live, now });
                    }
                })
            })?;
            self.names.insert(key.clone(), (owner.clone(), sets));
        }
        let entry = self.names.entry(key).or_insert_with(|| (owner.clone(), BTreeMap::new()));
        Ok(&mut entry.1)
    }

    fn now(&mut self, owner: &Name, rtype: Type) -> Result<Base, Stop> {
        Ok(self.of(owner)?.get(&rtype).and_then(|set| set.now.clone()))
    }

    /// One line of the update section ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.4.2).
    fn change(&mut self, line: &Line) -> Result<(), Stop> {
        let at_apex = line.owner == self.zone.apex;
        let sets = self.of(&line.owner)?;
        let kept = |rtype: Type| at_apex && (rtype == Type::SOA || rtype == Type::NS);
        match (Class(line.class), &line.rdata) {
            (Class::IN, Some(rdata)) => add(sets, at_apex, line, rdata.clone()),
            (Class::NONE, Some(rdata)) if line.rtype != Type::SOA => {
                let last_ns = |now: &Value| kept(line.rtype) && now.rdatas().len() == 1;
                if let Some(set) = sets.get_mut(&line.rtype) {
                    set.now = set.now.take().and_then(|now| match last_ns(&now) {
                        true => Some(now),
                        false => without(line.rtype, now, rdata),
                    });
                }
            }
            (Class::ANY, _) => {
                for (rtype, set) in sets.iter_mut() {
                    if (line.rtype == Type::ANY || line.rtype == *rtype) && !kept(*rtype) {
                        set.now = None;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What differs from what is served.
    fn drafts(self, held: &Held) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (owner, sets) in self.names.into_values() {
            for (rtype, set) in sets.into_iter().filter(|(_, set)| set.live != set.now) {
                let net = set.now.map_or(Net::Delete, Net::Replace);
                drafts.push(Draft {
                    zone: held.zone.apex.clone(),
                    org: held.org,
                    what: What::Edit { owner: owner.clone(), rtype },
                    seen_serial: Some(held.zone.serial.0),
                    body: Body::Edit { base: set.live, net },
                    at: String::new(),
                });
            }
        }
        drafts
    }
}

fn without(rtype: Type, now: Value, rdata: &Rdata) -> Base {
    let rest = now.rdatas().iter().filter(|mine| canonical_cmp(rtype, mine, rdata).is_ne());
    let rest: Vec<Rdata> = rest.cloned().collect();
    (!rest.is_empty()).then(|| Value::new(now.ttl, rest))
}

/// Adds a record; one that could not stand there is passed over, as the RFC wants it.
fn add(sets: &mut BTreeMap<Type, Set>, at_apex: bool, line: &Line, rdata: Rdata) {
    let there = |rtype: Type, set: &Set| set.now.is_some() && rtype != line.rtype;
    let beside_cname = match line.rtype {
        Type::CNAME => sets.iter().any(|(rtype, set)| there(*rtype, set)),
        _ => sets.get(&Type::CNAME).is_some_and(|set| there(Type::CNAME, set)),
    };
    if beside_cname || line.rtype == Type::SOA && !at_apex {
        return;
    }
    let set = sets.entry(line.rtype).or_insert(Set { live: None, now: None });
    let alone = line.rtype == Type::CNAME || line.rtype == Type::SOA;
    if line.rtype == Type::SOA && !is_ahead(&set.now, &rdata) {
        return;
    }
    let now = set.now.take().filter(|_| !alone);
    let rest = now.iter().flat_map(Value::rdatas);
    let rest = rest.filter(|mine| canonical_cmp(line.rtype, mine, &rdata).is_ne());
    let rdatas = rest.cloned().chain([rdata.clone()]).collect();
    set.now = Some(Value::new(line.ttl, rdatas));
}

/// Whether the SOA has a serial ahead of the one there is.
fn is_ahead(now: &Base, rdata: &Rdata) -> bool {
    let serial = |rdata: &Rdata| -> Option<Serial> {
        let at = rdata.len().checked_sub(20)?;
        let octets: [u8; 4] = rdata.get(at..at + 4)?.try_into().ok()?;
        Some(Serial(u32::from_be_bytes(octets)))
    };
    let now = now.as_ref().and_then(|now| serial(now.rdatas().first()?));
    now.zip(serial(rdata)).is_none_or(|(now, new)| now.is_before(new))
}
