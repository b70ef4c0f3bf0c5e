//! The way from a question to its answer ([RFC 1034] §4.3.2).
//!
//! Promises: no allocation, no lock, no clock; work bounded by the labels of a name times
//! [`CHAIN_MAX`], whatever the zones hold; records go in whole RRsets or not at all.
//!
//! Does not: look at who asks, or at the class. Truncation sets TC and leaves the question alone.
//!
//! [RFC 1034]: https://www.rfc-editor.org/rfc/rfc1034

use super::ahead::Ahead;
use super::asked::{Any, Asked, Chased, Short};
use super::denial::{Absence, Proofs};
use super::image::CHASE_OCTETS_MAX;
use super::node::{Node, Set, ZoneState, flag};
use super::prefetch::{Found, Known};
use super::put::Owner;
use super::table::Snapshot;
use crate::wire::edns::Ede;
use crate::wire::reply::{Full, Section};
use crate::wire::{Query, Rcode, Reply, Type};

/// How many CNAMEs are followed for one question.
pub const CHAIN_MAX: usize = 16;

/// What became of a question, for counters and rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub kind: Kind,
    /// What equal answers have in common: the hash of the owner, of the wildcard, of the cut, or of the apex
    /// for what does not exist.
    pub key: u64,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Answer,
    Referral,
    NoData,
    NxDomain,
    /// A DNAME led to a name too long.
    TooLong,
    /// Nobody's zone here, or one not to be answered.
    Refused,
    /// A zone that is not there yet.
    NotReady,
}

/// Answers one question of class IN from `snapshot`.
#[inline]
pub fn respond(snapshot: &Snapshot, query: &Query, reply: &mut Reply<'_>) -> Outcome {
    respond_with(snapshot, query, None, &Found::default(), reply)
}

/// As [`respond`], with what was found ahead for this query in the same snapshot.
#[inline]
pub fn respond_ahead<'s>(
    snapshot: &'s Snapshot,
    query: &Query,
    found: &Found<'_, 's>,
    reply: &mut Reply<'_>,
) -> Outcome {
    respond_with(snapshot, query, None, found, reply)
}

/// As [`respond`]; zones whose apex, in lower case, `may` does not let through are refused, and no
/// chain leads into them.
#[cold]
pub fn respond_if(
    snapshot: &Snapshot,
    query: &Query,
    may: &dyn Fn(&[u8]) -> bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    respond_with(snapshot, query, Some(may), &Found::default(), reply)
}

#[inline(always)]
fn respond_with<'s>(
    snapshot: &'s Snapshot,
    query: &Query,
    may: Option<&dyn Fn(&[u8]) -> bool>,
    found: &Found<'_, 's>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let wants_sigs = query.dnssec_ok();
    let outcome = Outcome { kind: Kind::Answer, key: query.hash(0) };
    let mut turn = Turn {
        snapshot,
        may,
        qtype: query.qtype,
        reply,
        wants_sigs,
        proofs: None,
        outcome,
        dnames: None,
        ahead: found.ahead,
    };
    let done = match turn.step(query, found.known) {
        Ok(Next::Done) => Ok(()),
        Ok(Next::Chase(at)) => turn.chase(query, at),
        Err(full) => Err(full),
    };
    if done.and_then(|()| turn.put_proofs()).is_err() {
        turn.reply.truncate();
    }
    let outcome = turn.outcome;
    match outcome.kind {
        Kind::NxDomain => reply.set_rcode(Rcode::NXDOMAIN),
        Kind::TooLong => reply.set_rcode(Rcode::YXDOMAIN),
        _ => {}
    }
    if !reply.is_empty() && reply.wants_zone_version() {
        put_zone_version(snapshot, query, reply);
    }
    outcome
}

/// One question on its way.
pub(super) struct Turn<'t, 's, 'r> {
    pub snapshot: &'s Snapshot,
    /// Which zones may be answered from; all if nobody says.
    pub may: Option<&'t dyn Fn(&[u8]) -> bool>,
    pub qtype: Type,
    pub reply: &'t mut Reply<'r>,
    pub wants_sigs: bool,
    /// The proofs gathered so far, if there are any: most answers need none, and to clear them costs.
    pub proofs: Option<Proofs<'s>>,
    pub outcome: Outcome,
    /// The hashes of DNAME owners whose records were put: a chain may come by one several times.
    pub dnames: Option<Dnames>,
    /// What was sought for the question before.
    pub ahead: Option<&'t Ahead<'s>>,
}

/// Hashes of names, and how many.
pub(super) type Dnames = ([u64; CHAIN_MAX + 1], usize);

/// The names a chain came by.
struct Trail {
    seen: [u64; CHAIN_MAX + 1],
    len: usize,
}

impl Trail {
    /// Whether a chain may go on to the name of this hash: not in a loop, all of which stands in the
    /// answer, and not for ever.
    fn goes_on(&mut self, hash: u64) -> bool {
        let known = self.seen.iter().take(self.len).any(|&seen| seen == hash);
        match self.seen.get_mut(self.len).filter(|_| !known) {
            Some(slot) => {
                *slot = hash;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

/// How it goes on after one name.
pub(super) enum Next {
    Done,
    /// With the name that stands there in the message.
    Chase(usize),
}

impl<'s> Turn<'_, 's, '_> {
    /// Answers for one name, of which something may be `known` already ([RFC 1034](https://www.rfc-editor.org/rfc/rfc1034) §4.3.2, step 3).
    #[inline(always)]
    fn step<A: Asked>(&mut self, asked: &A, known: Known<'s>) -> Result<Next, Full> {
        let Some((node, skip)) = self.find(asked, known) else {
            return Ok(self.refuse(ZoneState::Suspended, asked));
        };
        if let Some(may) = self.may
            && !may(asked.suffix(skip + node.up()))
        {
            return Ok(self.refuse(ZoneState::Suspended, asked));
        }
        if skip > 0 && self.snapshot.loading {
            return Ok(self.refuse(ZoneState::Loading, asked)); // what is closer may yet come
        }
        if let Some(state) =
            node.facts().map(|facts| facts.state).filter(|&it| it != ZoneState::Live)
        {
            return Ok(self.refuse(state, asked));
        }
        if node.is(flag::CUT) && (skip > 0 || self.qtype != Type::DS) {
            return self.refer(asked, node, skip); // 3b: AA stays clear
        }
        self.reply.set_authoritative();
        if skip == 0 {
            return self.answer(asked, node, None); // 3a
        }
        if node.is(flag::DNAME) {
            return self.substitute(asked, node, skip); // 3c, RFC 6672 §3.2
        }
        if node.is(flag::WILD)
            && let Some(star) = self.find_star(asked, node, skip)
        {
            // RFC 4592 §4.2 leaves NS at a wildcard open: here it is the name alone.
            return match star.is(flag::CUT) {
                false => self.answer(asked, star, Some(skip)), // 3c, RFC 4592 §3.3.1
                true => {
                    self.deny(asked, star, 0, Kind::NoData, Absence::StarType { encloser: skip })
                }
            };
        }
        self.deny(asked, node, skip, Kind::NxDomain, Absence::Name { encloser: skip }) // 3c, RFC 2308 §2.1
    }

    /// Follows a chain of CNAMEs. What lies outside the zones here is left to the resolver.
    #[inline(never)]
    fn chase(&mut self, query: &Query, at: usize) -> Result<(), Full> {
        self.reply.set_authoritative();
        let mut trail = Trail { seen: [0; CHAIN_MAX + 1], len: 0 };
        trail.goes_on(query.hash(0));
        match self.follow(query, &mut trail, Short::new(), at)? {
            Some(long) => self.chase_any(query, &mut trail, long),
            None => Ok(()),
        }
    }

    /// Goes on where there is no room for a name in a [`Short`].
    #[cold]
    fn chase_any(&mut self, query: &Query, trail: &mut Trail, at: usize) -> Result<(), Full> {
        self.follow(query, trail, Any::new(), at).map(drop)
    }

    /// Follows a chain on from the name at `at`, which is read into `asked`; returns where a name stands
    /// that has no room there.
    #[inline(always)]
    fn follow<const LABELS: usize, const OCTETS: usize>(
        &mut self,
        query: &Query,
        trail: &mut Trail,
        mut asked: Chased<LABELS, OCTETS>,
        mut at: usize,
    ) -> Result<Option<usize>, Full> {
        while at <= CHASE_OCTETS_MAX {
            if asked.read(self.reply.octets(), at, query, &self.snapshot.key).is_none() {
                return Ok(Some(at));
            }
            if !trail.goes_on(asked.hash(0)) {
                break;
            }
            match self.step(&asked, Known::Nothing)? {
                Next::Done => break,
                Next::Chase(next) => at = next,
            }
        }
        Ok(None)
    }

    /// The node of the name, or of the closest one above that exists, so many labels above.
    #[inline(always)]
    fn find<A: Asked>(&self, asked: &A, known: Known<'s>) -> Option<(Node<'s>, usize)> {
        let found = match known {
            Known::Node(node) => Some(node),
            Known::Below(above) => return Some((above, 1)),
            Known::Nothing => self.snapshot.find(asked.hash(0), asked.suffix(0)),
        };
        match found {
            Some(node) if node.is(flag::APEX) && self.qtype == Type::DS => {
                Some(self.find_above(asked, node))
            }
            Some(node) => Some((node, 0)),
            None => self.closest(asked),
        }
    }

    /// DS belongs to the parent, if that is here too ([RFC 4035](https://www.rfc-editor.org/rfc/rfc4035) §3.1.4.1).
    #[cold]
    fn find_above<A: Asked>(&self, asked: &A, apex: Node<'s>) -> (Node<'s>, usize) {
        match self.snapshot.find_parent_side(asked.hash(0), asked.suffix(0)) {
            Some(node) => (node, 0),
            None => self.closest(asked).unwrap_or((apex, 0)),
        }
    }

    /// The closest name above that exists.
    #[inline(always)]
    fn closest<A: Asked>(&self, asked: &A) -> Option<(Node<'s>, usize)> {
        let labels = asked.labels();
        let first = labels.saturating_sub(self.snapshot.labels_max).max(1);
        (first..=labels).find_map(|skip| {
            let node = self.snapshot.find(asked.hash(skip), asked.suffix(skip))?;
            Some((node, skip))
        })
    }

    /// The wildcard directly below the closest encloser.
    fn find_star<A: Asked>(&self, asked: &A, encloser: Node<'s>, skip: usize) -> Option<Node<'s>> {
        let mut buffer = [0; 257];
        let above = asked.suffix(skip);
        let name = buffer.get_mut(..2 + above.len())?;
        let (star, rest) = name.split_first_chunk_mut::<2>()?;
        *star = [1, b'*'];
        rest.copy_from_slice(above);
        let hash = self.snapshot.key.child(asked.hash(skip), b"*");
        let node = self.snapshot.find(hash, name)?;
        // Another zone may have its apex there.
        (node.up() == encloser.up() + 1).then_some(node)
    }

    /// Answers from a node: that of the name, or the wildcard below its encloser, `star` labels above.
    #[inline(always)]
    fn answer<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        star: Option<usize>,
    ) -> Result<Next, Full> {
        self.outcome = Outcome { kind: Kind::Answer, key: asked.hash(star.unwrap_or(0)) };
        if self.dnames.is_some()
            && matches!(self.qtype, Type::DNAME | Type::RRSIG)
            && self.knows_dname(asked.hash(0))
        {
            return Ok(Next::Done); // the chain led back to a DNAME that it came by
        }
        if let Some(set) = node.set(self.qtype) {
            self.put_answer(asked, node, star, set)?;
            return Ok(Next::Done);
        }
        let qtype = self.qtype;
        match qtype {
            Type::ANY | Type::RRSIG | Type::NSEC if self.answer_odd(asked, node, star)? => {
                return Ok(Next::Done);
            }
            Type::ANY | Type::RRSIG | Type::NSEC => {}
            _ if node.is(flag::CNAME) => {
                if let Some(set) = node.set(Type::CNAME) {
                    let at = self.put_answer(asked, node, star, set)?;
                    return Ok(Next::Chase(at + super::image::RECORD_HEAD));
                }
            }
            _ => {}
        }
        let absence = match star {
            None => Absence::Type { skip: 0 },
            Some(encloser) => Absence::StarType { encloser },
        };
        self.deny(asked, node, 0, Kind::NoData, absence)
    }

    /// Puts an RRset in answer to `asked`; returns where it stands.
    #[inline(always)]
    fn put_answer<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        star: Option<usize>,
        set: Set<'s>,
    ) -> Result<usize, Full> {
        let owner = match star {
            None => Owner::asked(asked, node, 0),
            Some(encloser) => {
                self.prove(asked, node, Absence::Closer { encloser });
                Owner::star(asked, node, encloser)
            }
        };
        self.put_set(Section::Answer, &owner, set)
    }

    /// Answers ANY with one RRset ([RFC 8482](https://www.rfc-editor.org/rfc/rfc8482) §4.1), RRSIG with those of one, NSEC from
    /// the chain. Returns whether there was anything.
    #[cold]
    fn answer_odd<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        star: Option<usize>,
    ) -> Result<bool, Full> {
        match self.qtype {
            Type::ANY => match node.sets().next() {
                Some(set) => self.put_answer(asked, node, star, set)?,
                None => return Ok(false),
            },
            Type::RRSIG => match node.sets().find(|set| set.sigs > 0) {
                Some(set) => self.put_answer(asked, node, star, set.sigs_alone())?,
                None => return Ok(false),
            },
            _ => return self.put_own_nsec(asked, node, star),
        };
        Ok(true)
    }

    /// Denies: SOA, and proof if asked for. `up` of `node` leads to the apex from `skip` labels above; for a wildcard
    /// from its encloser.
    #[inline(always)]
    fn deny<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        skip: usize,
        kind: Kind,
        absence: Absence,
    ) -> Result<Next, Full> {
        self.outcome.kind = kind;
        let skip = match absence {
            Absence::StarType { encloser } => encloser + node.up() - 1,
            _ => skip + node.up(),
        };
        let apex = match node.is(flag::APEX) {
            true => node,
            false => match self.snapshot.find(asked.hash(skip), asked.suffix(skip)) {
                Some(apex) => apex,
                None => return Ok(Next::Done),
            },
        };
        if kind == Kind::NxDomain {
            self.outcome.key = asked.hash(skip);
        }
        if let Some(facts) = apex.facts()
            && let Some(soa) = apex.set(Type::SOA)
        {
            self.put_soa(&Owner::asked(asked, apex, skip), soa, facts.negative_ttl)?;
        }
        self.prove_in(asked, apex, skip, absence);
        Ok(Next::Done)
    }

    /// Says that there is no zone to answer from; the end of a chain that began in one.
    #[cold]
    fn refuse<A: Asked>(&mut self, state: ZoneState, asked: &A) -> Next {
        if !asked.is_question() {
            return Next::Done;
        }
        let missing = self.snapshot.loading || state == ZoneState::Loading;
        let (kind, rcode, ede) = match (missing, state) {
            (true, _) => {
                (Kind::NotReady, Rcode::SERVFAIL, Ede::new(Ede::NOT_READY, "zone is being loaded"))
            }
            (false, ZoneState::Expired) => (
                Kind::NotReady,
                Rcode::SERVFAIL,
                Ede::new(Ede::INVALID_DATA, "no fresh copy from a primary"),
            ),
            (false, _) => (
                Kind::Refused,
                Rcode::REFUSED,
                Ede::new(Ede::NOT_AUTHORITATIVE, "not a zone of this server"),
            ),
        };
        self.outcome = Outcome { kind, key: 0 };
        self.reply.set_rcode(rcode);
        self.reply.explain(ede);
        Next::Done
    }
}

#[cold]
fn put_zone_version(snapshot: &Snapshot, query: &Query, reply: &mut Reply<'_>) {
    if let Some(zone) = snapshot.zone_of(query)
        && let Some(serial) = zone.serial
    {
        reply.zone_version(query.labels() - zone.skip, serial);
    }
}

#[cfg(test)]
mod tests {
    use super::super::nsec3::{Hasher, ROUNDS};
    use super::super::table::PROBES;
    use super::super::{Guard, NSEC3_ITERATIONS_MAX, Rendered, Writer, render};
    use super::*;
    use crate::wire::{HashKey, Name};
    use crate::zone::packed::Packer;
    use crate::zone::tree::Tree;

    /// Goal: no zone makes a question cost more than its labels times the length of a chain.
    /// Method: a chain of wildcards, each of whose names has as many labels as fit, none of them there.
    #[test]
    fn the_worst_zone_costs_no_more_looks_than_labels_times_links() {
        let apex = Name::parse("z.").unwrap();
        let deep = |link: usize| Name::parse(&format!("{}l{link}.z.", "x.".repeat(120))).unwrap();
        let mut nodes =
            vec![(apex.clone(), Type::NS, apex.clone()), (deep(99), Type::NS, apex.clone())];
        nodes.extend((0..30).map(|link| {
            let star = Name::parse(&format!("*.l{link}.z.")).unwrap();
            (star, Type::CNAME, deep(link + 1))
        }));
        nodes.sort_by_cached_key(|(owner, ..)| owner.key());
        let mut packer = Packer::default();
        for (owner, rtype, target) in &nodes {
            packer.node(owner.as_wire());
            packer.rrset(*rtype, 60, [target.as_wire()], []);
        }
        let snapshot = snapshot(apex, &packer.finish());

        let name = deep(0);
        let (count, looks, _) = steps(&snapshot, &name, Type::A);
        let most = (CHAIN_MAX + 1) * (name.label_count() + 4);
        assert_eq!(count, CHAIN_MAX + 1);
        assert!((most / 2..=most).contains(&looks), "{looks} looks, {most} allowed");
    }

    /// Goal: no signed zone makes a question cost more hashing than its labels times the rounds we work off.
    /// Method: an opt-out zone with as many rounds as are taken, and an insecure delegation as deep as names go:
    /// every name up to the apex is hashed, and only the apex has a record.
    #[test]
    fn the_worst_signed_zone_costs_no_more_hashing_than_labels_times_rounds() {
        let rounds = NSEC3_ITERATIONS_MAX;
        let apex = Name::parse("z.").unwrap();
        let [r0, r1] = rounds.to_be_bytes();
        let hash = Hasher { iterations: rounds, salt: &[] }.name(apex.as_wire());
        let label = String::from_utf8(hash.label().to_vec()).unwrap();
        let denial = [&[1, 1, r0, r1, 0, 20][..], &hash.0, &[0, 1, 0x22]].concat();
        let cut = Name::parse(&format!("{}z.", "x.".repeat(120))).unwrap();
        let nsec3 = Name::parse(&format!("{label}.z.")).unwrap();
        let mut packer = Packer::default();
        packer.node(apex.as_wire());
        packer.rrset(Type::NS, 60, [apex.as_wire()], []);
        packer.rrset(Type::NSEC3PARAM, 60, [&[1, 0, r0, r1, 0][..]], []);
        let mut below = vec![(&nsec3, Type::NSEC3, &denial[..]), (&cut, Type::NS, apex.as_wire())];
        below.sort_by_cached_key(|(owner, ..)| owner.key());
        for (owner, rtype, rdata) in below {
            packer.node(owner.as_wire());
            packer.rrset(rtype, 60, [rdata], []);
        }
        let snapshot = snapshot(apex, &packer.finish());

        let (_, _, hashed) = steps(&snapshot, &cut, Type::DS);

        let most = (cut.label_count() + 3) * (usize::from(rounds) + 1);
        assert!((most / 2..=most).contains(&hashed), "{hashed} rounds, {most} allowed");
    }

    fn snapshot(apex: Name, packed: &[u8]) -> Guard {
        let view = Tree::new(apex, packed);
        let mut writer = Writer::new(HashKey::new(*b"a secret of 24 octets..."));
        let mut rendered = Rendered::new(&writer.key());
        render::zone(&mut rendered, &render::Zone { id: 1, view: &view, children: None }).unwrap();
        writer.publish(&[rendered]);
        writer.published().load()
    }

    /// Answers of a question that wants proofs, and what it cost: looks for names, rounds of hashing.
    fn steps(snapshot: &Snapshot, name: &Name, qtype: Type) -> (usize, usize, usize) {
        let head = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        let opt = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
        let question = [name.as_wire(), &qtype.0.to_be_bytes(), &[0, 1]].concat();
        let mut buffer = [&head[..], &question, &opt].concat();
        let mut query = Query::default();
        query.parse(&buffer, snapshot.key()).unwrap();
        buffer.resize(65_535, 0);
        let mut reply = Reply::new(&query, &mut buffer, 65_535, None);
        PROBES.set(0);
        ROUNDS.set(0);
        respond(snapshot, &query, &mut reply);
        (reply.count(Section::Answer).into(), PROBES.get(), ROUNDS.get())
    }
}
