//! From what is asked to what is kept: each ask becomes drafts of items, with the base as it is now.
//!
//! Rights are checked here, zone by zone, for baskets, orders that are placed at once, and change sets
//! that were approved elsewhere alike.

use super::ask::{self, Ask, Edits};
use super::file::{self, Asks, File};
use super::item::{Body, Draft, What};
use super::pending::{Base, Net, Op, Rdata, Value};
use crate::maintain::Zone;
use crate::maintain::dnssec;
use crate::maintain::rows as zones;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::zone::{self as holding, Held};
use crate::manage::id::OrgId;
use crate::manage::limits::{self, TTL_S_DEFAULT};
use crate::manage::people::organisation::{ORGS, Organisation};
use crate::store::Rows;
use crate::wire::rdata::canonical_cmp;
use crate::wire::{Name, Type};
use crate::zone::delta::set_at;
use crate::zone::packed;

/// Why asks are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftError {
    Stop(Stop),
    Invalid(Vec<Problem>),
}

impl<T: Into<Stop>> From<T> for DraftError {
    fn from(why: T) -> DraftError {
        DraftError::Stop(why.into())
    }
}

/// What an author already asked of an RRset.
pub type Earlier = Option<(Base, Net)>;

/// Finds what the author already asked of an RRset of a zone.
pub type Lookup<'a, R> = dyn FnMut(&R, &Name, &Name, Type) -> Result<Earlier, Stop> + 'a;

/// Makes drafts of all asks. `earlier` says what the author already asked of an RRset.
///
/// # Errors
///
/// [`DraftError::Stop`] for the first zone without right; otherwise every fault of all asks.
pub fn drafts<R: Rows>(
    rows: &R,
    context: &Context,
    asks: &Asks,
    earlier: &mut Lookup<'_, R>,
) -> Result<Vec<Draft>, DraftError> {
    holding::may_change(rows, context)?;
    let (mut drafts, mut problems) = (Vec::new(), Vec::new());
    for (n, (ask, file)) in asks.iter().enumerate() {
        let at = asks.place(n);
        let made = match ask {
            Ask::DnsChange { zone, edits } => {
                let held = holding::fetch(rows, context, Permission::ZoneEdit, zone)?;
                match ask::read(zone, edits, &at) {
                    Ok(edits) => fold_all(rows, &held, edits, earlier)?,
                    Err(faults) => Err(faults),
                }
            }
            Ask::ZoneCreate { .. } => create(rows, context, ask, file, &at)?,
            Ask::ZoneImport { zone, .. } if zones::zone(rows, zone)?.is_none() => {
                create(rows, context, ask, file, &at)?
            }
            Ask::ZoneImport { zone, .. } => {
                let held = holding::fetch(rows, context, Permission::ZoneManage, zone)?;
                body_of(file).map(|body| vec![whole(held, What::Import, body, &at)])
            }
            Ask::ZoneDelete { zone } => {
                let held = holding::fetch(rows, context, Permission::ZoneManage, zone)?;
                Ok(vec![whole(held, What::Delete, Body::Nothing, &at)])
            }
            Ask::DnssecSet { zone, .. } => {
                let held = holding::fetch(rows, context, Permission::ZoneManage, zone)?;
                match ask::dnssec_wish(ask, &at) {
                    Ok(wish) => {
                        let before = dnssec::wish(rows, &held.zone)?;
                        let body = Body::Dnssec { wish, before };
                        Ok(vec![whole(held, What::Dnssec, body, &at)])
                    }
                    Err(problem) => Err(vec![problem.of_zone(zone)]),
                }
            }
        };
        match made {
            Ok(made) => drafts.extend(made),
            Err(faults) => problems.extend(faults),
        }
    }
    problems.extend(doubles(&drafts));
    if problems.is_empty() { Ok(drafts) } else { Err(DraftError::Invalid(problems)) }
}

/// Drafts about what another draft of the same request is about: they would have an order, and a
/// request has none.
fn doubles(drafts: &[Draft]) -> Vec<Problem> {
    let mut seen = std::collections::BTreeSet::new();
    let mut problems = Vec::new();
    for draft in drafts {
        let (owner, rtype) = match &draft.what {
            What::Edit { owner, rtype } => (owner.key(), rtype.0),
            What::Dnssec => (Vec::new(), Type::ANY.0),
            What::Create | What::Import | What::Delete => (Vec::new(), 0),
        };
        if !seen.insert((draft.zone.key(), owner, rtype)) {
            let text = "the request speaks of this twice: say it once";
            let problem = Problem::at(draft.at.clone(), "contradiction", text).of_zone(&draft.zone);
            problems.push(match &draft.what {
                What::Edit { owner, rtype } => problem.of_rrset(owner, rtype),
                _ => problem,
            });
        }
    }
    problems
}

type Made = Result<Vec<Draft>, Vec<Problem>>;

fn whole(held: Held, what: What, body: Body, at: &str) -> Draft {
    let Held { zone, org } = held;
    let (seen_serial, zone) = (Some(zone.serial.0), zone.apex);
    Draft { zone, org, what, seen_serial, body, at: at.to_owned() }
}

fn fold_all<R: Rows>(
    rows: &R,
    held: &Held,
    edits: Vec<Edits>,
    earlier: &mut Lookup<'_, R>,
) -> Result<Made, Stop> {
    let (mut drafts, mut problems) = (Vec::new(), Vec::new());
    for edit in edits {
        let before = earlier(rows, &held.zone.apex, &edit.owner, edit.rtype)?;
        let now = live(rows, &held.zone, &edit.owner, edit.rtype)?;
        match fold(edit, before, now) {
            Ok((owner, rtype, base, net, at)) => drafts.push(Draft {
                zone: held.zone.apex.clone(),
                org: held.org,
                what: What::Edit { owner, rtype },
                seen_serial: Some(held.zone.serial.0),
                body: Body::Edit { base, net },
                at,
            }),
            Err(problem) => problems.push(problem.of_zone(&held.zone.apex)),
        }
    }
    Ok(if problems.is_empty() { Ok(drafts) } else { Err(problems) })
}

/// The RRset as it is served.
///
/// # Errors
///
/// [`Stop::Store`] when the zone cannot be read.
pub fn live(rows: &impl Rows, zone: &Zone, owner: &Name, rtype: Type) -> Result<Base, Stop> {
    let set = zones::with_view(rows, zone, |view| set_at(view, owner, rtype))?;
    Ok(set.map(|set| ask::value(&set.rrset)))
}

type Folded = (Name, Type, Base, Net, String);

fn fold(edit: Edits, before: Earlier, now: Base) -> Result<Folded, Box<Problem>> {
    let Edits { owner, rtype, ops, base: given, at } = edit;
    let (kept, mut net) = match before {
        Some((base, net)) => (base, net),
        None => (now.clone(), Net::nothing()),
    };
    let base = match given {
        Some(given) if same(rtype, &given, &now) => now,
        Some(given) => given,
        None => kept,
    };
    for op in ops {
        let op = in_words_of(rtype, op, &base, &net);
        net = net.fold(op, &base, TTL_S_DEFAULT).map_err(|why| {
            let text = format!("{owner} {rtype} {why}");
            Box::new(Problem::at(at.clone(), "ttl", text).of_rrset(&owner, rtype))
        })?;
    }
    Ok((owner, rtype, base, net, at))
}

/// Whether two values are the same set: names in RDATA compare without case.
pub fn same(rtype: Type, one: &Base, other: &Base) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let record = |rdata: &Rdata| {
        other.rdatas().iter().any(|theirs| canonical_cmp(rtype, rdata, theirs).is_eq())
    };
    one.ttl == other.ttl
        && one.rdatas().len() == other.rdatas().len()
        && one.rdatas().iter().all(record)
}

/// The op with each record spelled as it is already there, so that case makes no other record.
fn in_words_of(rtype: Type, op: Op, base: &Base, net: &Net) -> Op {
    let now = net.on(base, TTL_S_DEFAULT);
    let known = |rdata: Rdata| {
        let sets = [base.as_ref(), now.as_ref()];
        let mut there = sets.into_iter().flatten().flat_map(Value::rdatas);
        let same = there.find(|mine| canonical_cmp(rtype, mine, &rdata).is_eq()).cloned();
        same.unwrap_or(rdata)
    };
    match op {
        Op::Add { rdata, ttl } => Op::Add { rdata: known(rdata), ttl },
        Op::Remove { rdata } => Op::Remove { rdata: known(rdata) },
        Op::Replace { ttl, rdatas } => {
            Op::Replace { ttl, rdatas: rdatas.into_iter().map(known).collect() }
        }
        other => other,
    }
}

fn create(
    rows: &impl Rows,
    context: &Context,
    ask: &Ask,
    file: &File,
    at: &str,
) -> Result<Made, Stop> {
    let (zone, org, name_servers, hostmaster) = match ask {
        Ask::ZoneCreate { zone, org, name_servers, hostmaster, .. } => {
            (zone, *org, name_servers.as_slice(), hostmaster.as_ref())
        }
        Ask::ZoneImport { zone, org, .. } => (zone, *org, &[] as &[Name], None),
        Ask::DnsChange { .. } | Ask::ZoneDelete { .. } | Ask::DnssecSet { .. } => {
            return Ok(Ok(Vec::new()));
        }
    };
    let has_file = ask.zone_file().is_some();
    context.may(Permission::ZoneManage)?;
    let org = org.unwrap_or(context.org);
    if !access::reaches(rows, context, org)? {
        return Err(NoAccess::NotFound.into());
    }
    let org = rows.get(&ORGS, &org)?.ok_or(NoAccess::NotFound)?;
    let mut problems = Vec::new();
    if zones::zone(rows, zone)?.is_some() {
        let text = format!("zone {zone} exists already: import into it, or delete it first");
        problems.push(Problem::at(format!("{at}zone"), "zone_exists", text).of_zone(zone));
    }
    if let Err(over) = zones_left(rows, &org)? {
        problems.push(Problem::at(format!("{at}zone"), "limit", over).of_zone(zone));
    }
    let body = match has_file {
        true => body_of(file),
        false => Ok(file::minimal(zone, name_servers, hostmaster)),
    };
    if !has_file && name_servers.is_empty() {
        let text = format!("zone {zone} has no name server: list them, or give a zone file");
        let problem = Problem::at(format!("{at}name_servers"), "apex_ns", text);
        problems.push(problem.of_zone(zone));
    }
    Ok(match body {
        Ok(body) if problems.is_empty() => Ok(vec![Draft {
            zone: zone.clone(),
            org: org.id,
            what: What::Create,
            seen_serial: None,
            body,
            at: at.to_owned(),
        }]),
        Ok(_) => Err(problems),
        Err(faults) => Err(problems.into_iter().chain(faults).collect()),
    })
}

/// Whether the organisation may have one zone more.
pub fn zones_left(
    rows: &impl Rows,
    org: &Organisation,
) -> Result<Result<(), limits::OverLimit>, Stop> {
    let max = org.limits.zones;
    if max == u32::MAX {
        return Ok(Ok(()));
    }
    let have = zones::zones_of(rows, &org.id.to_string(), None, max as usize)?.len();
    Ok(limits::at_most("zones", max as usize, have + 1))
}

/// The zone file of an ask as it was read. None was read when its zone was out of reach then.
fn body_of(file: &File) -> Result<Body, Vec<Problem>> {
    file.clone().unwrap_or_else(|| {
        Err(vec![Problem::at(
            "zone_file",
            "zone_file",
            "the zone came into reach just now: ask again",
        )])
    })
}

/// How many records a whole zone brings.
pub fn records(body: &Body) -> u64 {
    let Body::Zone { packed, .. } = body else { return 0 };
    let sets = packed::nodes(packed).flat_map(packed::Node::rrsets);
    sets.map(|set| u64::from(set.count) + u64::from(set.sig_count)).sum()
}

/// How many records an item makes its zone grow by; below 0 if it shrinks.
pub fn growth(body: &Body) -> i64 {
    let count = |value: &Base| value.as_ref().map_or(0, |value| value.rdatas().len() as i64);
    match body {
        Body::Edit { base, net } => {
            let after = match net {
                Net::Delete => 0,
                Net::Replace(value) => value.rdatas().len() as i64,
                Net::Records { .. } => count(&net.on(base, TTL_S_DEFAULT)),
            };
            after - count(base)
        }
        Body::Zone { .. } => records(body) as i64,
        Body::Nothing | Body::Dnssec { .. } => 0,
    }
}

/// Whether the organisation's zone may grow so much. One that does not grow breaks no limit.
pub fn records_left(org: &Organisation, have: i64, growth: i64) -> Result<(), limits::OverLimit> {
    if growth <= 0 {
        return Ok(());
    }
    let after = usize::try_from(have.saturating_add(growth)).unwrap_or_default();
    limits::at_most("records_per_zone", org.limits.records_per_zone as usize, after)
}

/// Whose zones the drafts are about, each once.
pub fn orgs_of<'a>(orgs: impl IntoIterator<Item = &'a OrgId>) -> Vec<OrgId> {
    let mut orgs: Vec<OrgId> = orgs.into_iter().copied().collect();
    orgs.sort_unstable();
    orgs.dedup();
    orgs
}
