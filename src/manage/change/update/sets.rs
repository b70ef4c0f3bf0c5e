//! The RRsets an update touches, from what they are to what its lines make of them.
//!
//! Of an author whose changes go into a basket, the basket counts too: what is asked for stands on what
//! was asked for before, as with any other edit of a basket.

use std::collections::BTreeMap;

use super::message::Line;
use crate::maintain::{Zone, rows as zones};
use crate::manage::change::basket;
use crate::manage::change::draft::same;
use crate::manage::change::item::{Body, Draft, What};
use crate::manage::change::pending::{Base, Net, Rdata, Value};
use crate::manage::fault::Stop;
use crate::manage::holding::zone::Held;
use crate::manage::id::UserId;
use crate::manage::limits::TTL_S_DEFAULT;
use crate::store::Rows;
use crate::wire::rdata::canonical_cmp;
use crate::wire::{Class, Name, Rcode, Serial, Type};

/// One RRset.
struct Set {
    /// As it is served.
    live: Base,
    /// What the change is based on: what is served, or was when it came into the basket.
    base: Base,
    /// As it was when the update came: what is served, with the basket over it.
    before: Base,
    /// As the lines read so far leave it.
    now: Base,
}

impl Set {
    fn served(live: Base) -> Set {
        Set { base: live.clone(), before: live.clone(), now: live.clone(), live }
    }
}

/// The RRsets of the names an update touches, changed as its lines are read.
pub(super) struct Sets<'a, R> {
    rows: &'a R,
    zone: &'a Zone,
    /// Whose basket counts.
    basket: Option<UserId>,
    names: BTreeMap<Vec<u8>, (Name, BTreeMap<Type, Set>)>,
}

impl<'a, R: Rows> Sets<'a, R> {
    pub fn new(rows: &'a R, zone: &'a Zone, basket: Option<UserId>) -> Sets<'a, R> {
        Sets { rows, zone, basket, names: BTreeMap::new() }
    }

    /// All RRsets of a name.
    fn of(&mut self, owner: &Name) -> Result<&mut BTreeMap<Type, Set>, Stop> {
        let key = owner.key();
        if !self.names.contains_key(&key) {
            let mut sets = BTreeMap::new();
            zones::with_view(self.rows, self.zone, |view| {
                view.node(owner, &mut |node| {
                    for set in node.rrsets() {
                        let live = Value::new(set.ttl, set.rdatas().map(Into::into).collect());
                        sets.insert(set.rtype, Set::served(Some(live)));
                    }
                })
            })?;
            if let Some(user) = self.basket {
                for (rtype, base, net) in basket::edits_at(self.rows, user, &self.zone.apex, owner)?
                {
                    let set = sets.entry(rtype).or_insert_with(|| Set::served(None));
                    set.before = net.on(&base, TTL_S_DEFAULT);
                    set.now = set.before.clone();
                    set.base = base;
                }
            }
            self.names.insert(key.clone(), (owner.clone(), sets));
        }
        let entry = self.names.entry(key).or_insert_with(|| (owner.clone(), BTreeMap::new()));
        Ok(&mut entry.1)
    }

    /// Checks the prerequisites, on the zone as it is served ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.2).
    pub fn prerequisites(&mut self, lines: &[Line]) -> Result<Result<(), Rcode>, Stop> {
        let mut wanted: BTreeMap<(Vec<u8>, Type), (&Name, Vec<Rdata>)> = BTreeMap::new();
        for line in lines {
            let any = line.rtype == Type::ANY;
            let sets = self.of(&line.owner)?;
            let there = match any {
                true => sets.values().any(|set| set.live.is_some()),
                false => sets.get(&line.rtype).is_some_and(|set| set.live.is_some()),
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
            return Ok(Err(no));
        }
        for ((_, rtype), (owner, rdatas)) in wanted {
            let live = self.of(owner)?.get(&rtype).and_then(|set| set.live.clone());
            let wanted = live.as_ref().map(|live| Value::new(live.ttl, rdatas));
            if live.is_none() || !same(rtype, &live, &wanted) {
                return Ok(Err(Rcode::NXRRSET));
            }
        }
        Ok(Ok(()))
    }

    /// One line of the update section ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.4.2).
    pub fn change(&mut self, line: &Line) -> Result<(), Stop> {
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

    /// What is otherwise than before.
    pub fn drafts(self, held: &Held) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (owner, sets) in self.names.into_values() {
            for (rtype, set) in sets.into_iter().filter(|(_, set)| set.before != set.now) {
                let net = set.now.map_or(Net::Delete, Net::Replace);
                drafts.push(Draft {
                    zone: held.zone.apex.clone(),
                    org: held.org,
                    what: What::Edit { owner: owner.clone(), rtype },
                    seen_serial: Some(held.zone.serial.0),
                    body: Body::Edit { base: set.base, net },
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
    let set = sets.entry(line.rtype).or_insert_with(|| Set::served(None));
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
