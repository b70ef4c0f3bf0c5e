//! One look at one server: has it the zone as it is here?
//!
//! The serial is asked for first, then each changed RRset, with signatures where there are some. What
//! differs counts only if the serial is still the same afterwards: a server that takes the next
//! version between two questions lies about nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Maintain;
use super::journal;
use super::message::{self, Answer, How};
use super::rows::{self, Zone};
use super::served::{Seen, Standing};
use super::servers::{Server, Servers};
use super::strangers::{self, Marks};
use crate::store::RawRows;
use crate::transport::client::AskError;
use crate::wire::{Name, Rcode, Serial, Type};
use crate::zone::delta::{Set, set_at};
use crate::zone::{ReadFault, View};

/// How long each answer to a question is waited for, in milliseconds: it is asked so often.
const TRIES: &[u64] = &[1_500, 1_500];

/// The same of who has just answered: oftener and sooner, or packets that are lost would keep who serves many
/// RRsets from being seen with all. Where two of three get lost on the way there or back, three questions in
/// a hundred are given up.
pub(super) const TRIES_ALIVE: &[u64] = &[300, 300, 300, 600, 600, 600, 1_500, 1_500, 1_500];

/// How long a server may lack a version before it is called stale, in microseconds.
const STALE_US: u64 = 300_000_000;

/// Servers of one zone asked side by side.
const LOOKS_MAX: usize = 16;

/// What the answer to a question about a name has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Set(Set),
    /// The records of a wildcard, under the name asked for.
    Wild(Set),
    Nothing,
    /// Something else answers: a zone cut or DNAME above, a CNAME. The serial must do.
    Elsewhere,
}

/// A question, and what the answer has to be.
pub(super) type Claim = (Name, Type, Expected);

/// A zone at one moment, and what its servers are asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub zone: Zone,
    pub claims: Vec<Claim>,
    pub marks: Option<Marks>,
}

/// A zone's row with what it says of `sets`, at one moment; none if it is no more.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub(super) fn claims<R: RawRows + ?Sized>(
    rows: &R,
    zone: u32,
    sets: &[(Name, Type)],
) -> Result<Option<Asked>, ReadFault> {
    let Some(zone) = rows::by_id(rows, zone)? else { return Ok(None) };
    let claims = rows::with_view(rows, &zone, |view| {
        let claim = |(owner, rtype): &(Name, Type)| {
            Ok((owner.clone(), *rtype, expected(view, owner, *rtype)?))
        };
        sets.iter().map(claim).collect::<Result<Vec<Claim>, ReadFault>>()
    })?;
    let marks = strangers::marks(rows, &zone)?;
    Ok(Some(Asked { zone, claims, marks }))
}

fn expected(view: &dyn View, owner: &Name, rtype: Type) -> Result<Expected, ReadFault> {
    let apex = view.apex().clone();
    let has = |name: &Name, rtype| Ok::<_, ReadFault>(set_at(view, name, rtype)?.is_some());
    if *owner != apex && rtype != Type::DS && has(owner, Type::NS)? {
        return Ok(Expected::Elsewhere);
    }
    let mut above = if *owner == apex { None } else { owner.parent() };
    while let Some(name) = above.filter(|name| name.is_at_or_below(&apex)) {
        if has(&name, Type::DNAME)? || name != apex && has(&name, Type::NS)? {
            return Ok(Expected::Elsewhere);
        }
        above = name.parent();
    }
    if let Some(set) = set_at(view, owner, rtype)? {
        return Ok(Expected::Set(set));
    }
    if view.node(owner, &mut |_| {})? {
        let alias = has(owner, Type::CNAME)?;
        return Ok(if alias { Expected::Elsewhere } else { Expected::Nothing });
    }
    wildcard(view, owner, rtype)
}

/// What a wildcard at one of the names above says; the nearest counts.
fn wildcard(view: &dyn View, owner: &Name, rtype: Type) -> Result<Expected, ReadFault> {
    let mut above = owner.parent();
    while let Some(name) = above.filter(|name| name.is_at_or_below(view.apex())) {
        let star = name.child(b"*").map_err(|error| ReadFault(error.to_string()))?;
        if view.node(&star, &mut |_| {})? {
            if set_at(view, &star, Type::CNAME)?.is_some() {
                return Ok(Expected::Elsewhere);
            }
            return Ok(set_at(view, &star, rtype)?.map_or(Expected::Nothing, Expected::Wild));
        }
        above = name.parent();
    }
    Ok(Expected::Nothing)
}

impl Expected {
    fn is_signed(&self) -> bool {
        matches!(self, Expected::Set(set) | Expected::Wild(set) if !set.sigs.is_empty())
    }

    /// Whether an answer is the one expected.
    fn is_met_by(&self, answer: &Answer) -> bool {
        let signed = |set: &Set| {
            let mut sigs = set.sigs.clone();
            sigs.sort();
            sigs.is_empty() || sigs == answer.sigs
        };
        match self {
            Expected::Elsewhere => true,
            _ if !answer.authoritative => false,
            Expected::Set(set) => answer.set.as_ref() == Some(&set.rrset) && signed(set),
            Expected::Wild(set) => answer.set.as_ref().is_some_and(|got| {
                got.ttl == set.rrset.ttl && got.rdatas() == set.rrset.rdatas() && signed(set)
            }),
            Expected::Nothing => {
                let negative = [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&answer.rcode);
                negative && answer.set.is_none() && !answer.alias
            }
        }
    }
}

/// Why a look ended before the server could be judged by its data.
pub(super) enum End {
    Unreachable(String),
    Lame(String),
}

impl Maintain {
    /// Asks one server whether it has a zone with everything that is claimed of it.
    pub(super) async fn look(&self, server: Server, asked: Arc<Asked>) -> Seen {
        match self.judge(&server, &asked.zone, &asked.claims).await {
            Ok(seen) => self.see_whose(&server, &asked, seen).await,
            Err(End::Unreachable(detail)) => {
                Seen { standing: Standing::Unreachable, serial: None, detail }
            }
            Err(End::Lame(detail)) => Seen { standing: Standing::Lame, serial: None, detail },
        }
    }

    async fn judge(&self, server: &Server, zone: &Zone, claims: &[Claim]) -> Result<Seen, End> {
        let serial = self.serial_at(server, zone, TRIES).await?;
        let seen = |standing, detail| Seen { standing, serial: Some(serial), detail };
        if serial.is_before(zone.serial) {
            let detail = format!("has serial {serial}, here is {}", zone.serial);
            return Ok(seen(self.lagging(zone, serial), detail));
        }
        for (owner, rtype, expected) in claims {
            if *expected == Expected::Elsewhere {
                continue;
            }
            let how = How { dnssec: expected.is_signed(), recursive: false };
            let answer = self.answer_of(server, owner, *rtype, how, TRIES_ALIVE).await?;
            if expected.is_met_by(&answer) {
                continue;
            }
            let now = self.serial_at(server, zone, TRIES_ALIVE).await?;
            if now != serial {
                let detail = format!("went from serial {serial} to {now} while it was asked");
                return Ok(seen(Standing::Behind, detail));
            }
            let mut detail = format!("{owner} {rtype} differs from what is here");
            if serial != zone.serial {
                detail += &format!("; has serial {serial}, here is {}", zone.serial);
            }
            return Ok(seen(Standing::Tampered, detail));
        }
        Ok(seen(Standing::Ok, String::new()))
    }

    /// How a server stands that has `serial` of a zone, an older one than is here.
    ///
    /// By when the version after it was made, not by when that was first seen: a restart forgets what was
    /// seen. Who follows a zone that never rests lacks a version that is new whenever it is asked.
    fn lagging(&self, zone: &Zone, serial: Serial) -> Standing {
        let since = self.store().read(|rows| journal::lacked_since_us(rows, zone, serial));
        let now_us = self.settings().clock.now_us();
        // What cannot be read is told where it matters more.
        let is_stale = since.is_ok_and(|since| now_us.saturating_sub(since) > STALE_US);
        if is_stale { Standing::Stale } else { Standing::Behind }
    }

    /// Asks one server whether it still answers for a zone that is no more here.
    pub(super) async fn look_gone(&self, server: &Server, apex: &Name) -> Seen {
        let seen = |standing, serial, detail| Seen { standing, serial, detail };
        match self.answer_of(server, apex, Type::SOA, How::default(), TRIES).await {
            Err(End::Unreachable(detail) | End::Lame(detail)) => {
                seen(Standing::Unreachable, None, detail)
            }
            Ok(answer) => match answer.set.and_then(|soa| soa.soa_serial()) {
                Some(serial) if answer.authoritative => {
                    let detail = format!("still answers for the zone, at serial {serial}");
                    seen(Standing::Behind, Some(serial), detail)
                }
                _ => seen(Standing::Ok, None, String::new()),
            },
        }
    }

    async fn serial_at(&self, server: &Server, zone: &Zone, tries: &[u64]) -> Result<Serial, End> {
        let answer = self.answer_of(server, &zone.apex, Type::SOA, How::default(), tries).await?;
        if answer.rcode != Rcode::NOERROR {
            let rcode = answer.rcode;
            return Err(End::Lame(format!("answers with {rcode}")));
        }
        if !answer.authoritative {
            return Err(End::Lame("answers without authority".to_owned()));
        }
        let serial = answer.set.and_then(|soa| soa.soa_serial());
        serial.ok_or_else(|| End::Lame("has no SOA".to_owned()))
    }

    pub(super) async fn answer_of(
        &self,
        server: &Server,
        owner: &Name,
        rtype: Type,
        how: How,
        tries: &[u64],
    ) -> Result<Answer, End> {
        let key = match &server.key {
            Some(name) => {
                let missing = || End::Unreachable(format!("TSIG key {name} is not there"));
                Some(self.tsig_key(name).ok_or_else(missing)?)
            }
            None => None,
        };
        let mut latest = String::new();
        for patience in tries.iter().copied().map(Duration::from_millis) {
            let mut query = message::query(owner, rtype, how);
            let (dialer, place) = (self.dialer(), server.address);
            let asked = match server.own {
                true => dialer.ask_ourselves(place, &mut query, key.as_ref(), patience).await,
                false => dialer.ask_async(place, &mut query, key.as_ref(), patience).await,
            };
            match asked {
                Ok(reply) => match Answer::read(owner, rtype, &reply) {
                    Some(answer) => return Ok(answer),
                    None => latest = "answers out of form".to_owned(),
                },
                Err(error @ AskError::NotPermitted(_)) => {
                    return Err(End::Unreachable(error.sentence()));
                }
                Err(error) => latest = error.sentence(),
            }
        }
        Err(End::Unreachable(latest))
    }
}

/// Looks at each server that is to be asked, some at a time.
pub(super) async fn side_by_side<F>(
    servers: &Servers,
    look: impl Fn(Server) -> F,
) -> Vec<(SocketAddr, Seen)>
where
    F: Future<Output = Seen> + Send + 'static,
{
    let mut looks = JoinSet::new();
    let mut seen = Vec::new();
    for server in servers.known.iter().filter(|server| server.probe).cloned() {
        if looks.len() >= LOOKS_MAX {
            seen.extend(looks.join_next().await.into_iter().flatten());
        }
        let (address, look) = (server.address, look(server));
        looks.spawn(async move { (address, look.await) });
    }
    seen.extend(looks.join_all().await);
    seen
}

/// The SOA of a zone, for what is told of it.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub(super) fn soa_of<R: RawRows + ?Sized>(
    rows: &R,
    zone: u32,
) -> Result<Option<(Zone, Set)>, ReadFault> {
    let Some(zone) = rows::by_id(rows, zone)? else { return Ok(None) };
    let soa = rows::with_view(rows, &zone, |view| set_at(view, &zone.apex, Type::SOA))?;
    Ok(soa.map(|soa| (zone, soa)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::maintain::tests::{commit, create, name, set};
    use crate::maintain::{Clock, Settings};
    use crate::store::Store;
    use crate::zone::Base;
    use crate::zone::text::{self, Options};
    use crate::zone::tree::PackedZone;

    const ZONE: &str = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n\
        sub 60 NS ns.sub\nns.sub 60 A 192.0.2.2\nwww 60 CNAME ns\n*.w 60 A 192.0.2.3\n\
        d 60 DNAME ns\n";

    fn expect(owner: &str, rtype: Type) -> Expected {
        let apex = Name::parse("x.").unwrap();
        let options = Options { origin: Some(apex.clone()), ..Options::default() };
        let parsed = text::parse(ZONE.as_bytes(), options).unwrap();
        let view = PackedZone::new(apex, &parsed.packed);
        expected(&view, &Name::parse(owner).unwrap(), rtype).unwrap()
    }

    /// Goal: a server is stale that lacks one version for five minutes, also for who has just been started and
    /// never asked it; not one that is a version behind whenever it is asked, because the zone never rests.
    /// Method: a zone changes once, and later every ten seconds; each look is by a server that knows nothing.
    #[test]
    fn who_lacks_a_version_for_five_minutes_is_stale_and_a_restart_forgets_nothing_of_it() {
        const S_US: u64 = 1_000_000;
        let (store, shown) = (Store::in_memory(), Arc::new(AtomicU64::new(1_800_000_000 * S_US)));
        let start = || {
            let clock = Clock::by_hand(Arc::clone(&shown));
            Maintain::offline(store.clone(), Settings { clock, ..Settings::default() })
        };
        let zone = |maintain: &Maintain| {
            maintain.store().read(|rows| rows::zone(rows, &name("x.")).unwrap().unwrap())
        };
        let pass = |s: u64| shown.fetch_add(s * S_US, Ordering::Relaxed);
        let lagging = |serial| start().lagging(&zone(&start()), serial);
        let change = |last| {
            commit(&start(), &[set("x.", "www", last, Base::Unchecked)]).unwrap();
            zone(&start()).serial
        };
        commit(&start(), &[create("x.", 1)]).unwrap();
        let first = zone(&start()).serial;

        pass(3600);
        let second = change(2);
        assert_eq!(
            lagging(first),
            Standing::Behind,
            "it had an hour when there was nothing to lack"
        );
        pass(299);
        assert_eq!(lagging(first), Standing::Behind);
        pass(2);
        assert_eq!(lagging(first), Standing::Stale);

        let mut last = second;
        for round in 0..60 {
            assert_eq!(lagging(first), Standing::Stale, "it stands still");
            pass(10);
            let next = change(round + 3);
            assert_eq!(lagging(last), Standing::Behind, "it follows, a little late");
            last = next;
        }
        assert_eq!(lagging(second), Standing::Stale);
    }

    #[test]
    fn only_what_the_zone_itself_answers_is_compared() {
        for (owner, rtype) in [
            ("sub.x.", Type::NS),
            ("ns.sub.x.", Type::A),
            ("www.x.", Type::A),
            ("below.d.x.", Type::A),
        ] {
            assert_eq!(expect(owner, rtype), Expected::Elsewhere, "{owner} {rtype}");
        }
        assert!(matches!(expect("ns.x.", Type::A), Expected::Set(_)));
        assert!(matches!(expect("www.x.", Type::CNAME), Expected::Set(_)));
        assert!(matches!(expect("any.w.x.", Type::A), Expected::Wild(_)));
        assert_eq!(expect("any.w.x.", Type::TXT), Expected::Nothing);
        assert_eq!(expect("gone.x.", Type::A), Expected::Nothing);
    }
}
