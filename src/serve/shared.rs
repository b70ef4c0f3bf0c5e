//! What all answering threads share, and the desk at which streams ask.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::acl::Prefixes;
use super::asks::{self, Asked, Asks, Given};
use super::cookie::{Cookies, Secret};
use super::handle::{Context, Outcome, Slot, handle};
use super::rrl::{self, Rrl};
use crate::answer::Published;
use crate::metrics::{Family, Registry};
use crate::wire::{Name, Rcode, Reply};

/// What an operator decides about answering.
#[derive(Debug, Clone)]
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
    /// To whom resolvers may report errors ([RFC 9567](https://www.rfc-editor.org/rfc/rfc9567)).
    pub report_agent: Option<Name>,
    /// Who may transfer zones.
    pub transfer_allow: Prefixes,
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
            report_agent: None,
            transfer_allow: Prefixes::default(),
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
            keepalive: AtomicU16::new(settings.idle_timeout_s.saturating_mul(10)),
            settings,
            zones,
            registry,
            asks,
        })
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
}

/// Octets of the largest message.
const MESSAGE_OCTETS_MAX: usize = 65_535;

impl Desk {
    pub fn new(shared: Arc<Shared>) -> Desk {
        Desk { shared, free: Mutex::new(Vec::new()) }
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
        peer: SocketAddr,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Box<dyn asks::Messages>> {
        let (context, mut slot) = self.take();
        let given = self.put_question(&mut slot, message, peer, transport);
        let mut messages = None;
        let rcode = match given {
            Given::Rcode(rcode) => Some(rcode),
            Given::Messages(given) => {
                messages = Some(given);
                None
            }
        };
        if let Some(rcode) = rcode {
            context.count_response(rcode);
            let opt = context.opt_without_cookie(&slot);
            let mut reply = Reply::new(&slot.query, &mut slot.octets, MESSAGE_OCTETS_MAX, opt);
            reply.set_rcode(rcode);
            let len = reply.finish();
            out.extend_from_slice(slot.octets.get(..len).unwrap_or_default());
        }
        self.put_back(context, slot);
        messages
    }

    fn put_question(
        &self,
        slot: &mut Slot,
        message: &[u8],
        from: SocketAddr,
        transport: Transport,
    ) -> Given {
        let settings = &self.shared.settings;
        let snapshot = self.shared.zones.load();
        if !slot.receive(message, from) || slot.query.parse(message, snapshot.key()).is_err() {
            return Given::Rcode(Rcode::FORMERR);
        }
        drop(snapshot);
        let question = message.get(12..12 + slot.query.name().len()).unwrap_or_default();
        let Ok(zone) = Name::from_wire(question) else { return Given::Rcode(Rcode::FORMERR) };
        let asked = Asked { message, query: &slot.query, zone, from };
        let may_transfer =
            transport.carries_transfers() && settings.transfer_allow.contains(from.ip());
        let is_transfer = slot.query.flags().opcode() == crate::wire::Opcode::QUERY;
        if is_transfer && !may_transfer {
            return Given::Rcode(Rcode::REFUSED);
        }
        let unsigned = settings.update_allow.contains(from.ip());
        asks::ask(self.shared.asks.as_ref(), &asked, unsigned)
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
            (Context::new(&self.shared, Transport::Tcp), Slot::new(MESSAGE_OCTETS_MAX))
        })
    }

    fn put_back(&self, context: Context, slot: Slot) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push((context, slot));
    }
}
