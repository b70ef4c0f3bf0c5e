//! The parent: what its name servers say of a zone's DS, and the DS it gets where we serve it.
//!
//! Every server of the parent is asked, each for itself: a resolver's cache would hide those that are
//! behind. Where the parent is a zone kept here, its records are looked at, and its secondaries
//! counted as lagging like our own.
//!
//! Promises: nothing is asked but through the gate of `[net] dial`; an answer without authority counts
//! as none.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Policy;
use super::step::Halves;
use crate::maintain::message::{self, Answer, How};
use crate::maintain::rows::{self, Zone};
use crate::maintain::{Maintain, ZoneChange, ZoneState, secondary};
use crate::sign::rollover::{DsSet, KeyId, KeySet, Look};
use crate::store::RawRows;
use crate::wire::{Name, Rcode, RrSet, Type};
use crate::zone::delta::set_at;
use crate::zone::{Base, Op, ReadFault, RrSetEdit};

/// How long a server of the parent, or a resolver, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Servers of a parent that are asked.
pub const SERVERS_MAX: usize = 32;

/// Strange DS of one RRset that are told apart: beyond that the set is as strange as it can be.
const STRANGERS_MAX: usize = 64;

/// What a look at the parent gave, and what kept it from giving all.
pub(super) struct Seen {
    pub look: Look,
    pub fault: Option<String>,
}

/// The zone that `apex` is delegated from, or would be, if it is kept here. None where a zone elsewhere
/// stands between the two, or it has yet to be transferred.
pub(super) fn parent_here<R: RawRows + ?Sized>(
    rows: &R,
    apex: &Name,
) -> Result<Option<Zone>, ReadFault> {
    let Some(above) = apex.parent() else { return Ok(None) };
    let Some(holder) = rows::holding(rows, &above)?.filter(|zone| zone.version > 0) else {
        return Ok(None);
    };
    let is_ours = rows::with_view(rows, &holder, |view| {
        let mut at = Some(above);
        while let Some(name) = at.filter(|name| name.is_below(&holder.apex)) {
            if set_at(view, &name, Type::NS)?.is_some() {
                return Ok::<_, ReadFault>(false);
            }
            at = name.parent();
        }
        Ok(true)
    })?;
    Ok(is_ours.then_some(holder))
}

/// The DS RRset that a parent kept here has for `apex`.
pub(super) fn ds_here<R: RawRows + ?Sized>(
    rows: &R,
    parent: &Zone,
    apex: &Name,
) -> Result<Option<RrSet>, ReadFault> {
    let set = rows::with_view(rows, parent, |view| set_at(view, apex, Type::DS))?;
    Ok(set.map(|set| set.rrset))
}

/// Which keys a DS RRset names.
fn read(apex: &Name, set: Option<&RrSet>, halves: &Halves) -> DsSet {
    let (mut keys, mut strangers) = (Vec::new(), Vec::new());
    for rdata in set.iter().flat_map(|set| set.rdatas()) {
        match (halves.named(apex, rdata), rdata.first_chunk()) {
            (Some(key), _) => keys.push(key),
            (None, Some(tag)) => strangers.push(u16::from_be_bytes(*tag)),
            (None, None) => strangers.push(0),
        }
    }
    // Those that may name a key matter most.
    strangers.sort_unstable_by_key(|tag| (halves.dnskey(KeyId(*tag)).is_none(), *tag));
    strangers.dedup();
    strangers.truncate(STRANGERS_MAX);
    strangers.sort_unstable();
    DsSet { keys: keys.into_iter().collect::<KeySet>(), strangers }
}

impl Maintain {
    /// Asks every server of the parent for the DS of `apex`.
    pub(super) fn look_at_parent(
        &self,
        apex: &Name,
        policy: &Policy,
        halves: &Halves,
        now_s: u64,
    ) -> Result<Seen, ReadFault> {
        let here = self.store().read(|rows| match parent_here(rows, apex)? {
            Some(parent) => {
                let fault = self.unsure_of(rows, &parent, policy, now_s)?;
                ds_here(rows, &parent, apex).map(|set| Some((set, fault)))
            }
            None => Ok(None),
        })?;
        if let Some((set, fault)) = here {
            let ttl = set.as_ref().map_or(0, |set| set.ttl).saturating_add(policy.propagation_s);
            let seen = vec![read(apex, set.as_ref(), halves)];
            return Ok(Seen { look: Look { seen, ttl, is_full: fault.is_none() }, fault });
        }
        let servers = match policy.parent_servers.is_empty() {
            true => self.find_parent(apex),
            false => Ok(policy.parent_servers.clone()),
        };
        let servers = match servers {
            Ok(servers) => servers,
            Err(fault) => return Ok(Seen { look: Look::default(), fault: Some(fault) }),
        };
        let mut seen = Seen { look: Look { is_full: true, ..Look::default() }, fault: None };
        for server in servers {
            match self.ask_parent(server, apex) {
                Ok(set) => {
                    let ttl = set.as_ref().map_or(0, |set| set.ttl);
                    seen.look.ttl = seen.look.ttl.max(ttl);
                    seen.look.seen.push(read(apex, set.as_ref(), halves));
                }
                Err(fault) => {
                    seen.look.is_full = false;
                    seen.fault = Some(fault);
                }
            }
        }
        Ok(seen)
    }

    /// Why what a parent kept here holds may not be what all of its servers give.
    fn unsure_of<R: RawRows + ?Sized>(
        &self,
        rows: &R,
        parent: &Zone,
        policy: &Policy,
        now_s: u64,
    ) -> Result<Option<String>, ReadFault> {
        let apex = &parent.apex;
        if parent.state == ZoneState::Expired {
            return Ok(Some(format!(
                "{apex} is kept here and expired: none of its primaries answers"
            )));
        }
        let oldest = self.oldest_served(rows, parent)?;
        let is_late = oldest.is_some_and(|at| at + u64::from(policy.propagation_s) < now_s);
        Ok(is_late.then(|| {
            format!("a name server of {apex} is behind: `zone servers {apex}` says which")
        }))
    }

    fn ask_parent(&self, server: SocketAddr, apex: &Name) -> Result<Option<RrSet>, String> {
        let answer = self.ask_for(server, apex, Type::DS, false)?;
        let is_good = [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&answer.rcode);
        match answer.authoritative && is_good && !answer.referral {
            true => Ok(answer.set),
            false => Err(format!(
                "{server} has no authority over the DS of {apex}: it answered {}",
                answer.rcode
            )),
        }
    }

    fn ask_for(
        &self,
        server: SocketAddr,
        owner: &Name,
        rtype: Type,
        recursive: bool,
    ) -> Result<Answer, String> {
        let mut query = message::query(owner, rtype, How { recursive, dnssec: false });
        let reply = self.settings().dialer.ask(server, &mut query, PATIENCE);
        let reply = reply.map_err(|error| error.sentence())?;
        let misread = || format!("{server} answered {owner} {rtype} with something out of form");
        Answer::read(owner, rtype, &reply).ok_or_else(misread)
    }

    /// The addresses of the servers of the zone above `apex`, by the operator's resolvers.
    fn find_parent(&self, apex: &Name) -> Result<Vec<SocketAddr>, String> {
        let mut at = apex.parent();
        while let Some(name) = at {
            if let Some(set) = self.resolve(&name, Type::NS)? {
                let names = set.rdatas().iter().filter_map(|rdata| Name::from_wire(rdata).ok());
                let mut found = Vec::new();
                for server in names {
                    let addresses = self.addresses_of(&server)?;
                    if addresses.is_empty() {
                        return Err(format!("{server}, which serves {name}, has no address"));
                    }
                    found.extend(addresses.into_iter().map(|ip| SocketAddr::from((ip, 53))));
                }
                found.sort_unstable();
                found.dedup();
                return match found.len() {
                    0 => Err(format!("{name} has no name server")),
                    1..=SERVERS_MAX => Ok(found),
                    _ => Err(format!("{name} has more than {SERVERS_MAX} name servers")),
                };
            }
            at = name.parent();
        }
        Err(format!("no zone above {apex} was found"))
    }

    fn addresses_of(&self, server: &Name) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        for rtype in [Type::A, Type::AAAA] {
            let set = self.resolve(server, rtype)?;
            for rdata in set.iter().flat_map(|set| set.rdatas()) {
                let four = <[u8; 4]>::try_from(&rdata[..]).map(IpAddr::from);
                let six = || <[u8; 16]>::try_from(&rdata[..]).map(IpAddr::from);
                found.extend(four.or_else(|_| six()));
            }
        }
        Ok(found)
    }

    fn resolve(&self, owner: &Name, rtype: Type) -> Result<Option<RrSet>, String> {
        let mut fault = "nobody to ask for the parent's servers: name them as parent_servers in the policy, or resolvers in [net]".to_owned();
        for &resolver in &self.settings().resolvers {
            match self.ask_for(resolver, owner, rtype, true) {
                Ok(answer) if [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&answer.rcode) => {
                    return Ok(answer.set);
                }
                Ok(answer) => {
                    fault = format!("{resolver} answered {}", answer.rcode);
                }
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }
}

/// What gives `apex` this DS RRset in a parent kept here; none when it has it, or takes no changes.
pub(super) fn grant<R: RawRows + ?Sized>(
    rows: &R,
    apex: &Name,
    ds: Vec<Box<[u8]>>,
    ttl: u32,
) -> Result<Option<ZoneChange>, ReadFault> {
    let Some(parent) = parent_here(rows, apex)? else { return Ok(None) };
    if parent.presigned || parent.state == ZoneState::Held {
        return Ok(None);
    }
    if secondary::following(rows, &parent.apex)?.is_some() {
        return Ok(None); // its primary is told by CDS, as any parent elsewhere
    }
    let now = ds_here(rows, &parent, apex)?;
    let wanted = RrSet::new(apex.clone(), Type::DS, ttl, ds);
    let is_so = match &now {
        Some(now) => *now == wanted,
        None => wanted.is_empty(),
    };
    if is_so {
        return Ok(None);
    }
    let op = match wanted.is_empty() {
        true => Op::Delete,
        false => Op::Replace { ttl, rdatas: wanted.rdatas().to_vec() },
    };
    Ok(Some(edit(&parent, apex, Type::DS, op)))
}

/// One edit of a zone, of which nobody saw a base.
pub(super) fn edit(zone: &Zone, owner: &Name, rtype: Type, op: Op) -> ZoneChange {
    let edit = RrSetEdit { owner: owner.clone(), rtype, op, base: Base::Unchecked };
    ZoneChange::Edit { apex: zone.apex.clone(), edits: vec![edit] }
}
