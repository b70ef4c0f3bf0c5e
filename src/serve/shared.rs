//! What all answering threads share, and the desk at which streams ask.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::acl::{Closed, Pin, Prefixes};
use super::asks::{self, Asked, Asks, Given, Messages, Peer, Told};
use super::cookie::{Cookies, Secret};
use super::demand::Demand;
use super::handle::{Context, Outcome, Slot, explain, handle};
use super::keys::Keyring;
use super::rrl::{self, Rrl, Verdict};
use super::signed::{SignedMessages, sign};
use super::talkers::Talkers;
use crate::answer::Published;
use crate::metrics::{DURATION, Family, Registry, WORKERS};
use crate::wire::edns::Ede;
use crate::wire::tsig::Signer;
use crate::wire::{Header, Name, Opcode, Rcode, Reply};

/// What an operator decides about answering.
#[derive(Clone)]
pub struct Settings {
    /// The largest UDP reply, in octets.
    pub udp_octets_max: usize,
    /// What NSID, `id.server` and `hostname.bind` answer.
    pub server_id: Option<String>,
    /// What `version.bind` answers.
    pub version: Option<String>,
    /// The first signs, all verify.
    pub cookie_secrets: Vec<Secret>,
    pub rate_limit: rrl::Settings,
    /// Unproven UDP queries a second past which a cookie is demanded; 0 is never.
    pub cookies_above: u32,
    /// To whom resolvers may report errors ([RFC 9567](https://www.rfc-editor.org/rfc/rfc9567)).
    pub report_agent: Option<Name>,
    /// The keys that requests may be signed with.
    pub keys: Arc<Keyring>,
    /// The zones that are answered to some only.
    pub closed: Arc<Closed>,
    /// Who may update without a signature.
    pub update_allow: Prefixes,
    /// How long an idle stream is kept, in seconds.
    pub idle_timeout_s: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            udp_octets_max: 1232,
            server_id: None,
            version: None,
            cookie_secrets: Vec::new(),
            rate_limit: rrl::Settings::default(),
            cookies_above: 0,
            report_agent: None,
            keys: Arc::default(),
            closed: Arc::default(),
            update_allow: Prefixes::default(),
            idle_timeout_s: 10,
        }
    }
}

/// How a message came. The numbers are those of the metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Dot,
    Doq,
    Doh,
}

impl Transport {
    /// Whether others can read along. What they cannot is padded.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Dot | Transport::Doq | Transport::Doh)
    }

    /// Whether transfers may go this way.
    pub fn carries_transfers(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Dot | Transport::Doq)
    }
}

/// What all answering threads share.
pub struct Shared {
    pub settings: Settings,
    pub(super) zones: Arc<Published>,
    pub(super) cookies: Cookies,
    pub(super) rrl: Rrl,
    pub(super) demand: Demand,
    pub talkers: Talkers,
    pub registry: Arc<Registry>,
    asks: Arc<dyn Asks>,
    /// Told to clients that ask; shrinks under load.
    keepalive: AtomicU16,
}

impl Shared {
    /// `seed` is random: it keeps outsiders from choosing whom the rate limit mistakes for whom.
    pub fn new(
        settings: Settings,
        zones: Arc<Published>,
        asks: Arc<dyn Asks>,
        registry: Arc<Registry>,
        seed: u64,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            cookies: Cookies::new(settings.cookie_secrets.clone()),
            rrl: Rrl::new(settings.rate_limit.clone(), seed),
            demand: Demand::new(settings.cookies_above),
            talkers: Talkers::default(),
            keepalive: AtomicU16::new(settings.idle_timeout_s.saturating_mul(10)),
            settings,
            zones,
            registry,
            asks,
        })
    }

    /// Octets of the rate limit's table.
    pub fn rate_limit_octets(&self) -> u64 {
        self.rrl.octets() as u64
    }

    /// How long an idle stream is kept now, in units of 100 ms ([RFC 7828](https://www.rfc-editor.org/rfc/rfc7828) §3.1).
    pub fn keepalive(&self) -> u16 {
        self.keepalive.load(Ordering::Relaxed)
    }

    /// Changes how long an idle stream is kept.
    pub fn set_keepalive(&self, units: u16) {
        self.keepalive.store(units, Ordering::Relaxed);
    }
}

/// Where everything but UDP asks: one message at a time, from any thread.
pub struct Desk {
    shared: Arc<Shared>,
    free: Mutex<Vec<(Context, Slot)>>,
    /// Places for messages made so far; they are kept.
    places: AtomicU64,
}

/// Counts a panic of who answers at the desk. What it had in hand is lost; the desk is not.
struct Fallen<'d>(&'d Desk);

impl Drop for Fallen<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.count(&WORKERS, 0);
        }
    }
}

/// Octets of the largest message.
const MESSAGE_OCTETS_MAX: usize = 65_535;

impl Desk {
    pub fn new(shared: Arc<Shared>) -> Desk {
        Desk { shared, free: Mutex::new(Vec::new()), places: AtomicU64::new(0) }
    }

    /// Octets of the places for messages.
    pub fn buffer_octets(&self) -> u64 {
        self.places.load(Ordering::Relaxed) * MESSAGE_OCTETS_MAX as u64
    }

    /// What the desk stands in front of.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Handles one message; a reply is appended to `out`. Never waits.
    pub fn handle(
        &self,
        transport: Transport,
        peer: SocketAddr,
        message: &[u8],
        now_s: u32,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let _fallen = Fallen(self);
        let (mut context, mut slot) = self.take();
        context.transport = transport;
        let outcome = match slot.receive(message, peer) {
            true => handle(&context, &mut slot, now_s),
            false => Outcome::Silent,
        };
        if let Outcome::Reply(len) = outcome {
            out.extend_from_slice(slot.octets.get(..len).unwrap_or_default());
        }
        self.put_back(context, slot);
        outcome
    }

    /// Puts a message whose outcome was [`Outcome::Ask`] to those who can answer it. May wait.
    /// Returns the messages of a transfer; otherwise a reply is appended to `out`.
    pub fn ask(
        &self,
        transport: Transport,
        peer: impl Into<Peer>,
        message: &[u8],
        now_s: u32,
        out: &mut Vec<u8>,
    ) -> Option<Box<dyn Messages>> {
        let _fallen = Fallen(self);
        let (mut context, mut slot) = self.take();
        context.transport = transport;
        let messages = self.ask_at(&context, &mut slot, peer.into(), message, now_s, out);
        self.put_back(context, slot);
        messages
    }

    fn ask_at(
        &self,
        context: &Context,
        slot: &mut Slot,
        peer: Peer,
        message: &[u8],
        now_s: u32,
        out: &mut Vec<u8>,
    ) -> Option<Box<dyn Messages>> {
        let told = match self.hear(context, slot, peer.address, message, now_s) {
            Err(len) => len,
            Ok(signer) => {
                let given = self.put_question(context, slot, message, peer.pin, signer.as_ref());
                match (given, signer) {
                    (Given::Messages(messages), Some(signer)) => {
                        return Some(Box::new(SignedMessages { messages, signer }));
                    }
                    (Given::Messages(messages), None) => return Some(messages),
                    (Given::Told(told), signer) => tell(context, slot, signer, &told, now_s),
                }
            }
        };
        out.extend_from_slice(slot.octets.get(..told).unwrap_or_default());
        None
    }

    /// Puts messages that came at the same time, each as [`Desk::ask`] would; the updates among them go
    /// together, and last, for they wait for the disk.
    ///
    /// `give` is told the place of each message and its reply, or the messages of a transfer.
    pub fn ask_all(
        &self,
        transport: Transport,
        all: &[(SocketAddr, &[u8])],
        now_s: u32,
        give: &mut dyn FnMut(usize, &[u8], Option<Box<dyn Messages>>),
    ) {
        let _fallen = Fallen(self);
        let mut updates = Vec::with_capacity(all.len());
        for (place, (peer, message)) in all.iter().enumerate() {
            let opcode = Header::read(message).map(|header| header.flags.opcode());
            if opcode != Some(Opcode::UPDATE) {
                let mut reply = Vec::new();
                let messages = self.ask(transport, *peer, message, now_s, &mut reply);
                give(place, &reply, messages);
                continue;
            }
            let (mut context, mut slot) = self.take();
            context.transport = transport;
            match self.hear(&context, &mut slot, *peer, message, now_s) {
                Ok(signer) => updates.push((place, *message, context, slot, signer)),
                Err(len) => {
                    give(place, slot.octets.get(..len).unwrap_or_default(), None);
                    self.put_back(context, slot);
                }
            }
        }
        let asked: Vec<(Asked<'_>, bool)> = updates
            .iter()
            .filter_map(|(_, message, context, slot, signer)| {
                self.asked(context, slot, message, None, signer.as_ref())
            })
            .collect();
        // A zone's name was read with the question, and so is there for all.
        let told = match asked.len() == updates.len() {
            true => self.shared.asks.update_all(&asked),
            false => Vec::new(),
        };
        drop(asked);
        let told = told.into_iter().chain(std::iter::repeat_with(|| Rcode::SERVFAIL.into()));
        for ((place, _, context, mut slot, signer), told) in updates.into_iter().zip(told) {
            let len = tell(&context, &mut slot, signer, &told, now_s);
            give(place, slot.octets.get(..len).unwrap_or_default(), None);
            self.put_back(context, slot);
        }
    }

    /// Takes a message in and checks its signature; returns who signed it.
    ///
    /// # Errors
    ///
    /// Octets of the reply that says what is wrong with it, in `slot`; 0 for silence.
    fn hear(
        &self,
        context: &Context,
        slot: &mut Slot,
        peer: SocketAddr,
        message: &[u8],
        now_s: u32,
    ) -> Result<Option<Signer>, usize> {
        let understood = slot.receive(message, peer) && {
            let snapshot = self.shared.zones.load();
            slot.query.parse(message, snapshot.key()).is_ok()
        };
        if !understood {
            return Err(tell(context, slot, None, &Rcode::FORMERR.into(), now_s));
        }
        let Some(at) = slot.query.tsig_at() else { return Ok(None) };
        context.check_signature(slot, at, now_s).map(Some).map_err(|refusal| {
            match context.refuse_signature(slot, refusal, now_s) {
                Outcome::Reply(len) => len,
                Outcome::Silent | Outcome::Ask(_) => 0,
            }
        })
    }

    fn put_question(
        &self,
        context: &Context,
        slot: &Slot,
        message: &[u8],
        pin: Option<Pin>,
        signer: Option<&Signer>,
    ) -> Given {
        match self.asked(context, slot, message, pin, signer) {
            Some((asked, unsigned)) => asks::ask(self.shared.asks.as_ref(), &asked, unsigned),
            None => Given::Told(Rcode::FORMERR.into()),
        }
    }

    /// What is asked of others, and whether its address may update without a signature.
    fn asked<'a>(
        &self,
        context: &Context,
        slot: &'a Slot,
        message: &'a [u8],
        pin: Option<Pin>,
        signer: Option<&Signer>,
    ) -> Option<(Asked<'a>, bool)> {
        let question = message.get(12..12 + slot.query.name().len()).unwrap_or_default();
        let asked = Asked {
            message,
            query: &slot.query,
            zone: Name::from_wire(question).ok()?,
            from: slot.peer,
            pin,
            key: signer.map(|signer| signer.key().name.clone()),
            transport: context.transport,
            room: context.cap(&slot.query),
            kept: signer.map_or(0, Signer::octets),
        };
        let unsigned = self.shared.settings.update_allow.contains(slot.peer.ip());
        Some((asked, unsigned))
    }

    /// Counts how long messages of a transport took, from whole to answered.
    pub fn observe(&self, transport: Transport, nanos: u64, messages: u64) {
        let (context, slot) = self.take();
        context.counters().observe(&DURATION, transport as usize, nanos, messages);
        self.put_back(context, slot);
    }

    /// Counts one event of a transport.
    pub fn count(&self, family: &'static Family, value: usize) {
        let (context, slot) = self.take();
        context.counters().add(family, value);
        self.put_back(context, slot);
    }

    fn take(&self) -> (Context, Slot) {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| {
            self.places.fetch_add(1, Ordering::Relaxed);
            (Context::new(&self.shared, Transport::Tcp), Slot::new(MESSAGE_OCTETS_MAX))
        })
    }

    fn put_back(&self, context: Context, slot: Slot) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push((context, slot));
    }
}

/// Writes what somebody else said as the reply to the message in `slot`; returns its octets, 0 for silence.
fn tell(
    context: &Context,
    slot: &mut Slot,
    signer: Option<Signer>,
    told: &Told,
    now_s: u32,
) -> usize {
    let cookie = context.cookie_aside(slot, now_s);
    let opt = context.opt(&slot.query, cookie);
    let Slot { octets, query, peer, .. } = slot;
    let mut reply = Reply::new(query, octets, MESSAGE_OCTETS_MAX, opt.as_ref());
    reply.set_rcode(told.rcode);
    explain(&mut reply);
    if let Some((code, text)) = &told.why {
        reply.explain(Ede { code: *code, text });
    }
    if signer.is_none()
        && let Some(kind) = turned_away(told.rcode)
        && context.limit(&mut reply, kind, cookie, peer, now_s) == Verdict::Drop
    {
        return 0;
    }
    context.count_response(reply.rcode());
    let len = reply.finish();
    match signer {
        Some(mut signer) => sign(&mut signer, octets, len, now_s),
        None => len,
    }
}

/// What a reply is to the rate limit, if it turns away who may be anybody, in somebody else's name. What is said to who
/// may ask is not limited: an update whose prerequisites do not hold is no flood.
fn turned_away(rcode: Rcode) -> Option<rrl::Kind> {
    match rcode {
        Rcode::REFUSED | Rcode::NOTAUTH => Some(rrl::Kind::Refusal),
        Rcode::FORMERR | Rcode::NOTIMP => Some(rrl::Kind::Error),
        _ => None,
    }
}
