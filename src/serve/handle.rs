//! The checklist: every message, from its octets to its outcome.
//!
//! A batch goes down it in stages, so that the memory one query needs is on its way while the others
//! are looked at. A batch of one is the same, without the overlap.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::chaos;
use super::cookie::{Checked, State};
use super::rrl::{Kind, Verdict};
use super::shared::{Shared, Transport};
use crate::answer::prefetch::{self, Found};
use crate::answer::{self, Snapshot};
use crate::metrics::{
    COOKIES, Counters, DROPPED, QUERIES, RATE_LIMITED, RESPONSES, TRUNCATED, TYPES,
};
use crate::wire::edns::{Ede, OptReply, UDP_OCTETS_MIN};
use crate::wire::query::Fault;
use crate::wire::{Class, Name, Opcode, Query, Rcode, Reply, Type};

/// What one answering thread carries along.
pub struct Context {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    pub transport: Transport,
    /// Whether UDP queries must show a valid cookie in this batch.
    cookies_demanded: Cell<bool>,
    /// UDP queries of this batch that showed none.
    unproven: Cell<u32>,
}

/// A place for one message and its reply.
pub struct Slot {
    /// The message, then the reply, from the first octet on.
    pub octets: Box<[u8]>,
    /// Octets of the message.
    pub len: usize,
    pub peer: SocketAddr,
    pub outcome: Outcome,
    pub(super) query: Query,
    fault: Option<Fault>,
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is sent.
    Silent,
    /// So many octets are sent from the slot.
    Reply(usize),
    /// The message stands in its slot as it came; put it to the [`Desk`](super::Desk)'s `ask`.
    Ask(Ask),
}

/// What the snapshot cannot answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Notify,
    Update,
    Transfer,
}

impl Slot {
    /// A place for messages and replies of up to `octets` octets.
    pub fn new(octets: usize) -> Slot {
        Slot {
            octets: vec![0; octets].into(),
            len: 0,
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            outcome: Outcome::Silent,
            query: Query::default(),
            fault: None,
        }
    }

    /// Takes a message in; false if it is too long.
    pub fn receive(&mut self, message: &[u8], peer: SocketAddr) -> bool {
        let Some(place) = self.octets.get_mut(..message.len()) else { return false };
        place.copy_from_slice(message);
        self.len = message.len();
        self.peer = peer;
        true
    }

    #[inline]
    fn parse(&mut self, snapshot: &Snapshot) {
        let message = self.octets.get(..self.len).unwrap_or_default();
        self.fault = self.query.parse(message, snapshot.key()).err();
    }
}

impl AsRef<Query> for Slot {
    #[inline(always)]
    fn as_ref(&self) -> &Query {
        &self.query
    }
}

impl Context {
    pub fn new(shared: &Arc<Shared>, transport: Transport) -> Context {
        Context {
            shared: Arc::clone(shared),
            counters: shared.registry.counters(),
            transport,
            cookies_demanded: Cell::new(false),
            unproven: Cell::new(0),
        }
    }

    /// Learns what holds for the whole batch.
    fn begin(&self, now_s: u32) {
        self.cookies_demanded.set(self.shared.demand.holds(now_s));
    }

    /// Tells the others what the batch was.
    fn end(&self, snapshot: &Snapshot, slots: &[Slot], now_s: u32) {
        self.shared.demand.count(self.unproven.take(), now_s);
        if self.shared.talkers.is_watching(now_s) {
            self.shared.talkers.note(snapshot, slots);
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The counters of the thread that has this context.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Handles one message; `now_s` is the time in seconds since 1970, modulo 2³².
pub fn handle(context: &Context, slot: &mut Slot, now_s: u32) -> Outcome {
    let snapshot = context.shared.zones.load();
    context.begin(now_s);
    slot.parse(&snapshot);
    context.settle(&snapshot, slot, &Found::default(), now_s);
    context.end(&snapshot, std::slice::from_ref(slot), now_s);
    slot.outcome
}

/// Handles the messages in `slots`, all at one version of all zones.
///
/// On x86-64 the caller must show that there is SSE, which there always is.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
pub fn handle_batch(context: &Context, slots: &mut [Slot], now_s: u32) {
    let snapshot = context.shared.zones.load();
    context.begin(now_s);
    for slot in slots.iter_mut() {
        slot.parse(&snapshot);
        prefetch::directory(&snapshot, &slot.query);
    }
    let found = prefetch::rest(&snapshot, slots);
    for (number, slot) in slots.iter_mut().enumerate() {
        context.settle(&snapshot, slot, &found.of(number), now_s);
    }
    context.end(&snapshot, slots, now_s);
}

impl Context {
    /// Finds the outcome of one message. Written where it belongs: what is written in two pieces and then moved in
    /// one has to be waited for.
    fn settle<'s>(
        &self,
        snapshot: &'s Snapshot,
        slot: &mut Slot,
        found: &Found<'_, 's>,
        now_s: u32,
    ) {
        self.counters.add(&QUERIES, self.transport as usize);
        slot.outcome = Outcome::Silent;
        let Slot { query, fault, .. } = &*slot;
        if *fault == Some(Fault::Silent) || self.transport == Transport::Doq && breaks_doq(query) {
            return self.counters.add(&DROPPED, 0);
        }
        if fault.is_none()
            && let Some(at) = query.tsig_at()
        {
            slot.outcome = self.answer_signed(snapshot, slot, at, now_s);
            return;
        }
        let Slot { octets, query, peer, fault, outcome, .. } = slot;
        let cookie = self.check_cookie(query, peer, now_s);
        let opt = self.opt(query, cookie);
        let mut reply = Reply::new(query, octets, self.cap(query), opt.as_ref());
        let kind = match *fault {
            Some(Fault::Answer(rcode)) => refuse(&mut reply, rcode, Kind::Error),
            _ => match self.fill((snapshot, found), query, (peer, None), &mut reply) {
                Ok(kind) => kind,
                Err(ask) => return *outcome = Outcome::Ask(ask),
            },
        };
        if query.name().is_empty() {
            judge_cookie_alone(&mut reply, cookie);
        }
        if self.limit(&mut reply, kind, cookie, peer, now_s) == Verdict::Drop {
            return;
        }
        if !matches!(reply.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
            explain(&mut reply);
        }
        self.count_response(reply.rcode());
        if reply.is_truncated() {
            self.counters.add(&TRUNCATED, 0);
        }
        *outcome = Outcome::Reply(reply.finish());
    }

    /// Writes the answer to a well-formed message, or says who must be asked for it.
    pub(super) fn fill<'s>(
        &self,
        (snapshot, found): (&'s Snapshot, &Found<'_, 's>),
        query: &Query,
        asker: (&SocketAddr, Option<&Name>),
        reply: &mut Reply<'_>,
    ) -> Result<Kind, Ask> {
        match query.flags().opcode() {
            Opcode::NOTIFY => return Err(Ask::Notify),
            Opcode::UPDATE => return Err(Ask::Update),
            _ if query.name().is_empty() => return Ok(Kind::Error), // a cookie, and nothing asked
            _ => {}
        }
        self.counters.add(&TYPES, type_value(query.qtype));
        match query.qclass {
            Class::ANY if matches!(query.qtype, Type::AXFR | Type::IXFR) => {
                reply.explain(Ede::new(Ede::NOT_SUPPORTED, "a transfer is of one class"));
                return Ok(refuse(reply, Rcode::REFUSED, Kind::Refusal));
            }
            Class::IN | Class::ANY => {}
            Class::CH => {
                chaos::respond(&self.shared.settings, query, reply);
                return Ok(Kind::Error);
            }
            _ => {
                reply.explain(Ede::new(Ede::NOT_SUPPORTED, "only classes IN and CH"));
                return Ok(refuse(reply, Rcode::REFUSED, Kind::Refusal));
            }
        }
        match query.qtype {
            Type::AXFR if !self.transport.carries_transfers() => {
                return Ok(refuse(reply, Rcode::NOTIMP, Kind::Error)); // RFC 5936 §4.2
            }
            Type::IXFR if self.transport == Transport::Doh => {
                return Ok(refuse(reply, Rcode::NOTIMP, Kind::Error));
            }
            Type::AXFR | Type::IXFR => return Err(Ask::Transfer),
            Type::OPT | Type::TSIG => return Ok(refuse(reply, Rcode::FORMERR, Kind::Error)),
            Type::TKEY | MAILB | MAILA => return Ok(refuse(reply, Rcode::NOTIMP, Kind::Error)),
            _ => {}
        }
        let closed = &self.shared.settings.closed;
        let answered = match closed.is_empty() {
            true => answer::respond_ahead(snapshot, query, found, reply),
            false => {
                let may = |apex: &[u8]| closed.opens(apex, asker.0.ip(), asker.1);
                answer::respond_if(snapshot, query, &may, reply)
            }
        };
        let kind = match answered {
            answer::Outcome { kind: answer::Kind::NxDomain, key } => Kind::Denial(key),
            answer::Outcome { kind: answer::Kind::Refused, .. } => Kind::Refusal,
            answer::Outcome { kind: answer::Kind::NotReady, .. } => Kind::Error,
            answer::Outcome { key, .. } => Kind::Answer(key),
        };
        if query.qclass == Class::ANY {
            reply.clear_authoritative(); // RFC 1035 §6.2
        }
        Ok(kind)
    }

    /// Octets the reply may have.
    #[inline]
    pub(super) fn cap(&self, query: &Query) -> usize {
        match (self.transport, &query.edns) {
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.udp_octets()).min(self.shared.settings.udp_octets_max)
            }
            (Transport::Udp, None) => usize::from(UDP_OCTETS_MIN),
            _ => usize::from(u16::MAX),
        }
    }

    #[inline]
    pub(super) fn check_cookie(
        &self,
        query: &Query,
        peer: &SocketAddr,
        now_s: u32,
    ) -> Option<Checked> {
        let cookie = query.edns.as_ref()?.cookie.as_ref()?;
        let checked = self.shared.cookies.check(cookie, peer.ip(), now_s);
        self.counters.add(&COOKIES, checked.state as usize);
        Some(checked)
    }

    /// The OPT of the reply, if the query had one ([RFC 6891](https://www.rfc-editor.org/rfc/rfc6891) §7).
    #[inline]
    pub(super) fn opt(&self, query: &Query, cookie: Option<Checked>) -> Option<OptReply<'_>> {
        let edns = query.edns.as_ref()?;
        let settings = &self.shared.settings;
        let mut opt = OptReply {
            payload: settings.udp_octets_max as u16,
            dnssec_ok: edns.dnssec_ok,
            cookie: cookie.map(|checked| checked.reply),
            zone_version: edns.zone_version,
            ..OptReply::default()
        };
        if edns.nsid {
            opt.nsid = settings.server_id.as_deref().map(str::as_bytes);
        }
        if edns.keepalive && matches!(self.transport, Transport::Tcp | Transport::Dot) {
            opt.keepalive = Some(self.shared.keepalive());
        }
        if edns.padding && self.transport.is_encrypted() {
            opt.padding = true;
        }
        if let Some(agent) = &settings.report_agent {
            opt.report = Some(agent.as_wire());
        }
        Some(opt)
    }

    /// The cookie of what was asked of others, or is not asked because of its signature. It was counted before.
    pub(super) fn cookie_aside(&self, slot: &Slot, now_s: u32) -> Option<Checked> {
        let cookie = slot.query.edns.as_ref()?.cookie.as_ref()?;
        Some(self.shared.cookies.check(cookie, slot.peer.ip(), now_s))
    }

    /// Limits what a forged address could be sent. A valid cookie shows that it is not forged.
    pub(super) fn limit(
        &self,
        reply: &mut Reply<'_>,
        kind: Kind,
        cookie: Option<Checked>,
        peer: &SocketAddr,
        now_s: u32,
    ) -> Verdict {
        let (rrl, demand) = (&self.shared.rrl, &self.shared.demand);
        let proven = cookie.is_some_and(|checked| checked.state == State::Valid);
        if self.transport != Transport::Udp || proven {
            return Verdict::Send;
        }
        if !(rrl.is_enabled() || demand.is_set()) || rrl.exempts(peer.ip()) {
            return Verdict::Send;
        }
        self.unproven.set(self.unproven.get() + 1);
        let mut verdict = rrl.check(peer.ip(), kind, now_s);
        if verdict != Verdict::Send && rrl.is_dry_run() {
            self.counters.add(&RATE_LIMITED, 2);
            verdict = Verdict::Send;
        }
        match verdict {
            Verdict::Send if !self.cookies_demanded.get() => return verdict,
            Verdict::Send => self.counters.add(&RATE_LIMITED, 3),
            Verdict::Slip => self.counters.add(&RATE_LIMITED, 1),
            Verdict::Drop => {
                self.counters.add(&RATE_LIMITED, 0);
                self.counters.add(&DROPPED, 2);
                return verdict;
            }
        }
        match cookie {
            // Who has a cookie may show it: cheaper for both than TCP (RFC 7873 §5.2.3).
            Some(_) => {
                reply.clear();
                reply.clear_authoritative();
                reply.set_rcode(Rcode::BADCOOKIE);
                reply.explain(COME_AGAIN);
            }
            None => reply.truncate(),
        }
        Verdict::Slip
    }

    pub(super) fn count_response(&self, rcode: Rcode) {
        self.counters.add(&RESPONSES, rcode_value(rcode));
    }
}

/// What a BADCOOKIE says, whatever the answer would have been.
const COME_AGAIN: Ede<'static> = Ede::new(Ede::OTHER, "come again with this cookie");

/// In QUIC the stream tells messages apart, and QUIC itself how long a connection stays
/// ([RFC 9250](https://www.rfc-editor.org/rfc/rfc9250) §4.2.1, §5.5.2). Who does not know that is not heard further.
fn breaks_doq(query: &Query) -> bool {
    query.header.id != 0 || query.edns.as_ref().is_some_and(|edns| edns.keepalive)
}

/// Says whether the cookie is good that somebody shows without a question
/// ([RFC 7873](https://www.rfc-editor.org/rfc/rfc7873) §5.4).
#[cold]
fn judge_cookie_alone(reply: &mut Reply<'_>, cookie: Option<Checked>) {
    let bad = cookie.is_some_and(|checked| checked.state == State::Bad);
    if bad && reply.rcode() == Rcode::NOERROR {
        reply.set_rcode(Rcode::BADCOOKIE);
    }
}

/// Says of an error what its RCODE leaves open, unless more is known of it
/// ([RFC 8914](https://www.rfc-editor.org/rfc/rfc8914)).
#[cold]
pub(super) fn explain(reply: &mut Reply<'_>) {
    let ede = match reply.rcode() {
        _ if reply.is_explained() => return,
        Rcode::NOERROR | Rcode::NXDOMAIN => return,
        Rcode::BADVERS => Ede::new(Ede::NOT_SUPPORTED, "EDNS has version 0 here"),
        Rcode::FORMERR => Ede::new(Ede::OTHER, "the message is malformed"),
        Rcode::NOTIMP => Ede::new(Ede::NOT_SUPPORTED, "not by this transport, or not at all"),
        Rcode::REFUSED => Ede::new(Ede::PROHIBITED, "not for this client"),
        Rcode::NOTAUTH => Ede::new(Ede::NOT_AUTHORITATIVE, "no such zone or key here"),
        Rcode::YXDOMAIN => Ede::new(Ede::OTHER, "the name becomes too long (RFC 6672 2.2)"),
        Rcode::BADCOOKIE => COME_AGAIN,
        _ => Ede::new(Ede::OTHER, "the server cannot do this now"),
    };
    reply.explain(ede);
}

const MAILB: Type = Type(253);
const MAILA: Type = Type(254);

fn refuse(reply: &mut Reply<'_>, rcode: Rcode, kind: Kind) -> Kind {
    reply.set_rcode(rcode);
    kind
}

#[inline]
fn rcode_value(rcode: Rcode) -> usize {
    match rcode.0 {
        0..=6 => usize::from(rcode.0),
        9 => 7,
        16 => 8,
        23 => 9,
        _ => 10,
    }
}

#[inline]
fn type_value(rtype: Type) -> usize {
    match rtype.0 {
        1 => 0,
        28 => 1,
        2 => 2,
        6 => 3,
        5 => 4,
        15 => 5,
        16 => 6,
        12 => 7,
        33 => 8,
        43 => 9,
        48 => 10,
        65 => 11,
        257 => 12,
        255 => 13,
        _ => 14,
    }
}

#[cfg(test)]
mod tests;
