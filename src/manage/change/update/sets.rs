//! The RRsets an update touches, from what they are to what its lines make of them.
//!
//! Of an author whose changes go into a basket, the basket counts too: what is asked for stands on what
//! was asked for before, as with any other edit of a basket.

use std::collections::BTreeMap;

use super::Reply;
use super::message::Line;
use crate::maintain::{Zone, rows as zones, signing};
use crate::manage::change::ask;
use crate::manage::change::basket;
use crate::manage::change::draft::same;
use crate::manage::change::item::{Body, Draft, What};
use crate::manage::change::pending::{Base, Net, Rdata, Value};
use crate::manage::fault::Stop;
use crate::manage::holding::zone::Held;
use crate::manage::id::UserId;
use crate::manage::limits::TTL_S_DEFAULT;
use crate::store::Rows;
use crate::wire::edns::Ede;
use crate::wire::rdata::canonical_cmp;
use crate::wire::{Class, Name, Rcode, Serial, Type};

/// One RRset.
struct Set {
    /// As it is served.
    live: Base,
    /// What a basket asks for, if it does.
    asked: Option<Asked>,
    /// As the lines read so far leave it; none while they leave it as it was.
    now: Option<Base>,
}

/// What a basket has of an RRset.
struct Asked {
    /// What was served when it came into the basket.
    base: Base,
    /// What it is to be.
    wanted: Base,
}

impl Set {
    fn served(live: Base) -> Set {
        Set { live, asked: None, now: None }
    }

    /// As it was when the update came: what is served, with the basket over it.
    fn before(&self) -> &Base {
        self.asked.as_ref().map_or(&self.live, |asked| &asked.wanted)
    }

    fn now(&self) -> &Base {
        self.now.as_ref().unwrap_or_else(|| self.before())
    }

    /// Takes what it is now, for something else to be put there.
    fn take(&mut self) -> Base {
        self.now.replace(None).unwrap_or_else(|| self.before().clone())
    }

    /// What a change of it is based on, and what it becomes; none if that is no change.
    fn changed(self) -> Option<(Base, Base)> {
        let now = self.now.as_ref()?;
        if now == self.before() {
            return None;
        }
        Some((self.asked.map_or(self.live, |asked| asked.base), self.now?))
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
                    let wanted = net.on(&base, TTL_S_DEFAULT);
                    set.asked = Some(Asked { base, wanted });
                }
            }
            self.names.insert(key.clone(), (owner.clone(), sets));
        }
        let entry = self.names.entry(key).or_insert_with(|| (owner.clone(), BTreeMap::new()));
        Ok(&mut entry.1)
    }

    /// Checks the prerequisites, on the zone as it is served ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.2).
    pub fn prerequisites(&mut self, lines: &[Line]) -> Result<Result<(), Reply>, Stop> {
        let mut wanted: BTreeMap<(Vec<u8>, Type), (&Name, Vec<Rdata>)> = BTreeMap::new();
        for line in lines {
            let Line { owner, rtype, .. } = line;
            let any = *rtype == Type::ANY;
            let sets = self.of(owner)?;
            let there = match any {
                true => sets.values().any(|set| set.live.is_some()),
                false => sets.get(rtype).is_some_and(|set| set.live.is_some()),
            };
            let no = match (Class(line.class), any, there) {
                (Class::ANY, true, false) => {
                    unmet(Rcode::NXDOMAIN, format!("{owner} has no records"))
                }
                (Class::ANY, false, false) => {
                    unmet(Rcode::NXRRSET, format!("there is no {owner} {rtype}"))
                }
                (Class::NONE, true, true) => unmet(Rcode::YXDOMAIN, format!("{owner} has records")),
                (Class::NONE, false, true) => {
                    unmet(Rcode::YXRRSET, format!("there is {owner} {rtype}"))
                }
                (Class::IN, ..) => {
                    let entry = wanted.entry((owner.key(), *rtype));
                    let entry = entry.or_insert_with(|| (owner, Vec::new()));
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
            let no = match &live {
                None => format!("there is no {owner} {rtype}"),
                Some(_) if !same(rtype, &live, &wanted) => {
                    format!("{owner} {rtype} has other records")
                }
                Some(_) => continue,
            };
            return Ok(Err(unmet(Rcode::NXRRSET, no)));
        }
        Ok(Ok(()))
    }

    /// One line of the update section ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.4.2).
    pub fn change(&mut self, line: &Line) -> Result<(), Stop> {
        let at_apex = line.owner == self.zone.apex;
        let of_all = line.rtype == Type::ANY;
        let signing = match at_apex && of_all {
            true => signing::of(self.rows, self.zone)?,
            false => None,
        };
        let sets = self.of(&line.owner)?;
        let kept = |rtype: Type| at_apex && (rtype == Type::SOA || rtype == Type::NS);
        // Whoever takes everything away means what people put there.
        let made = |rtype: Type| {
            let at_apex = signing.as_ref().is_some_and(|signing| signing.makes_at_apex(rtype));
            at_apex || ask::is_managed(rtype)
        };
        match (Class(line.class), &line.rdata) {
            (Class::IN, Some(rdata)) => add(sets, at_apex, line, rdata.clone()),
            (Class::NONE, Some(rdata)) if line.rtype != Type::SOA => {
                let last_ns = |now: &Value| kept(line.rtype) && now.rdatas().len() == 1;
                if let Some(set) = sets.get_mut(&line.rtype) {
                    set.now = Some(set.take().and_then(|now| match last_ns(&now) {
                        true => Some(now),
                        false => without(line.rtype, now, rdata),
                    }));
                }
            }
            (Class::ANY, _) => {
                for (rtype, set) in sets.iter_mut() {
                    let is_meant = line.rtype == *rtype || of_all && !made(*rtype);
                    if is_meant && !kept(*rtype) {
                        set.now = Some(None);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the basket asks for something where these lines, all read, did.
    pub fn are_asked_for(&self, lines: &[Line]) -> bool {
        lines.iter().any(|line| {
            let sets = self.names.get(&line.owner.key()).map(|(_, sets)| sets);
            let asked = |(rtype, set): (&Type, &Set)| {
                set.asked.is_some() && [*rtype, Type::ANY].contains(&line.rtype)
            };
            sets.is_some_and(|sets| sets.iter().any(asked))
        })
    }

    /// What is otherwise than before.
    pub fn drafts(self, held: &Held) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (owner, sets) in self.names.into_values() {
            let changed = |(rtype, set): (Type, Set)| Some((rtype, set.changed()?));
            for (rtype, (base, now)) in sets.into_iter().filter_map(changed) {
                let net = now.map_or(Net::Delete, Net::Replace);
                drafts.push(Draft {
                    zone: held.zone.apex.clone(),
                    org: held.org,
                    what: What::Edit { owner: owner.clone(), rtype },
                    seen_serial: Some(held.zone.serial.0),
                    body: Body::Edit { base, net },
                    at: String::new(),
                });
            }
        }
        drafts
    }
}

/// The reply to a prerequisite that does not hold.
fn unmet(rcode: Rcode, why: String) -> Reply {
    Reply::said(rcode, Ede::OTHER, format!("prerequisite not met: {why}"))
}

fn without(rtype: Type, now: Value, rdata: &Rdata) -> Base {
    let rest = now.rdatas().iter().filter(|mine| canonical_cmp(rtype, mine, rdata).is_ne());
    let rest: Vec<Rdata> = rest.cloned().collect();
    (!rest.is_empty()).then(|| Value::new(now.ttl, rest))
}

/// Adds a record; one that could not stand there is passed over, as the RFC wants it.
fn add(sets: &mut BTreeMap<Type, Set>, at_apex: bool, line: &Line, rdata: Rdata) {
    // Denial stands beside any type (RFC 4034 §2.5), and is made anew.
    let there = |rtype: Type, set: &Set| {
        set.now().is_some() && rtype != line.rtype && !ask::is_managed(rtype)
    };
    let beside_cname = match line.rtype {
        Type::CNAME => sets.iter().any(|(rtype, set)| there(*rtype, set)),
        _ => sets.get(&Type::CNAME).is_some_and(|set| there(Type::CNAME, set)),
    };
    if beside_cname || line.rtype == Type::SOA && !at_apex {
        return;
    }
    let set = sets.entry(line.rtype).or_insert_with(|| Set::served(None));
    let alone = line.rtype == Type::CNAME || line.rtype == Type::SOA;
    if line.rtype == Type::SOA && !is_ahead(set.now(), &rdata) {
        return;
    }
    let now = set.take().filter(|_| !alone);
    let rest = now.iter().flat_map(Value::rdatas);
    let rest = rest.filter(|mine| canonical_cmp(line.rtype, mine, &rdata).is_ne());
    let rdatas = rest.cloned().chain([rdata.clone()]).collect();
    set.now = Some(Some(Value::new(line.ttl, rdatas)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::{Maintain, Settings, ZoneChange};
    use crate::store::Store;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// What lines make of `x.z.`, which has an RRset of this type and the NSEC of a signed zone.
    fn changed(there: Type, lines: &[(Type, Class, &[u8])]) -> Vec<(Type, Option<usize>)> {
        let maintain = Maintain::offline(Store::in_memory(), Settings::default());
        let expect = ZoneChange::Expect { apex: name("z."), org: "org".into() };
        maintain.commit(|door| door.apply(&[expect])).unwrap();
        maintain.store().read(|rows| {
            let zone = zones::zone(rows, &name("z.")).unwrap().unwrap();
            let mut sets = Sets::new(rows, &zone, None);
            let set = || Set::served(Some(Value::new(60, vec![Box::from(&b"\x01a\0"[..])])));
            let both = BTreeMap::from([(there, set()), (Type::NSEC, set())]);
            sets.names.insert(name("x.z.").key(), (name("x.z."), both));
            for (rtype, class, rdata) in lines {
                let rdata = (!rdata.is_empty()).then(|| Rdata::from(*rdata));
                let (rtype, class) = (*rtype, class.0);
                sets.change(&Line { owner: name("x.z."), rtype, class, ttl: 60, rdata }).unwrap();
            }
            let names = sets.names.into_values().flat_map(|(_, sets)| sets);
            let changes = names.filter_map(|(rtype, set)| Some((rtype, set.changed()?.1)));
            changes.map(|(rtype, now)| (rtype, now.map(|now| now.rdatas().len()))).collect()
        })
    }

    #[test]
    fn what_the_signer_made_is_neither_taken_away_with_a_name_nor_in_the_way_of_an_alias() {
        let all = (Type::ANY, Class::ANY, &b""[..]);
        let alias = (Type::CNAME, Class::IN, &b"\x01b\0"[..]);
        assert_eq!(changed(Type::NS, &[all]), [(Type::NS, None)]);
        assert_eq!(changed(Type::CNAME, &[alias]), [(Type::CNAME, Some(1))]);
        assert!(changed(Type::NS, &[alias]).is_empty());
        assert_eq!(changed(Type::NS, &[all, alias]), [(Type::NS, None), (Type::CNAME, Some(1))]);
    }
}
