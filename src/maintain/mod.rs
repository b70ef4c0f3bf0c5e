//! Keeps zones true: the one door through which they change, their start-up, their upkeep.

pub mod access;
mod again;
mod announce;
mod apart;
mod apply;
pub mod catalog;
pub mod change;
pub mod clock;
pub mod commit;
mod content;
mod copy;
pub mod dnssec;
pub mod gone;
pub mod groups;
pub mod hold;
pub mod journal;
pub mod keeper;
mod large;
pub mod load;
mod look;
mod message;
pub mod notify;
pub mod outgoing;
pub mod probe;
mod publish;
pub mod refresh;
pub mod resign;
pub mod rows;
mod rules;
mod sample;
pub mod secondaries;
pub mod secondary;
pub mod secrets;
pub mod served;
mod servers;
pub mod shown;
mod signed;
pub mod signing;
pub mod stage;
mod strangers;
mod take;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod tsig;
pub mod waivers;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use change::{
    Applied, AppliedZone, ChangedRrSet, Content, Old, Reason, Refusal, RefusedZone, Staged,
    Transferred, ZoneChange, ZoneState,
};
pub use clock::Clock;
pub use commit::{CommitError, Committed, Door};
pub use dnssec::DnssecWish;
pub use keeper::Running;
pub use load::Progress;
pub use probe::ProbeError;
pub use rows::Zone;
pub use signing::Signing;

use crate::answer::Writer;
use crate::seal::Sealer;
use crate::serve::Keyring;
use crate::serve::acl::Closed;
use crate::store::{Reader, Store};
use crate::transport::client::Dialer;
use crate::wire::Name;

/// The keeper of all zones. Cheap to clone.
#[derive(Clone)]
pub struct Maintain {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    publisher: Option<publish::Publisher>,
    settings: Settings,
    signing_keys: signing::SigningKeys,
    gate: load::Gate,
    refresh: refresh::Desk,
    keyring: Arc<Keyring>,
    /// Our listeners; [`Maintain::self_check`] asks the first.
    own_listeners: OnceLock<Vec<SocketAddr>>,
    /// They answer no more: the server stops.
    is_silent: AtomicBool,
    board: announce::Board,
    holds: hold::Board,
    trust: trust::Trust,
    closed: Arc<Closed>,
}

/// What an operator decides about the keeping of zones.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub journal: journal::Limits,
    pub refresh: refresh::Settings,
    /// The one gate for whatever the server says of its own accord.
    pub dialer: Dialer,
    /// Whom to ask for the addresses of name servers that stand in no zone kept here.
    pub resolvers: Vec<SocketAddr>,
    /// What keeps signing keys and TSIG keys secret; none, and no zone can be signed and no key kept.
    pub sealer: Option<Sealer>,
    pub clock: Clock,
}

impl Maintain {
    /// Keeps the zones in `store` and, once [started](Maintain::start), answers from them through
    /// what `writer` publishes.
    pub fn open(store: Store, writer: Writer, settings: Settings) -> Maintain {
        Maintain::new(store, Some(publish::Publisher::new(writer)), settings)
    }

    /// Keeps the zones in `store` without answering from them: for commands on a data directory.
    pub fn offline(store: Store, settings: Settings) -> Maintain {
        Maintain::new(store, None, settings)
    }

    fn new(store: Store, publisher: Option<publish::Publisher>, settings: Settings) -> Maintain {
        let gate = load::Gate::default();
        let (own_listeners, is_silent, keyring, closed) = Default::default();
        let (refresh, board) = (refresh::Desk::default(), announce::Board::default());
        let holds = hold::Board::default();
        let trust = trust::Trust::of(&store, &settings.clock);
        let signing_keys = signing::SigningKeys::new(settings.sealer.clone());
        let inner = Inner {
            store,
            publisher,
            settings,
            signing_keys,
            gate,
            refresh,
            own_listeners,
            is_silent,
            keyring,
            closed,
            board,
            holds,
            trust,
        };
        let maintain = Maintain { inner: Arc::new(inner) };
        maintain.load_keyring();
        maintain.load_closed();
        maintain.load_holds();
        maintain
    }

    /// Says which UDP listeners are ours, once they are bound; the first call counts.
    pub fn set_own_listeners(&self, addresses: &[SocketAddr]) {
        let _ = self.inner.own_listeners.set(addresses.to_vec());
    }

    /// Says that our listeners end: nobody waits for answers of theirs from now on.
    pub fn fall_silent(&self) {
        self.inner.is_silent.store(true, Ordering::Relaxed);
    }

    /// The listener of ours that can be asked, while there is one.
    pub fn answering(&self) -> Option<SocketAddr> {
        let is_silent = self.inner.is_silent.load(Ordering::Relaxed);
        self.own_listeners().first().filter(|_| !is_silent).copied()
    }

    fn own_listeners(&self) -> &[SocketAddr] {
        self.inner.own_listeners.get().map_or(&[], Vec::as_slice)
    }

    fn board(&self) -> &announce::Board {
        &self.inner.board
    }

    /// Asks our own listener for what a commit changed; returns when the last new answer came.
    ///
    /// None when nothing changed, or when there is no listener.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] when it goes on answering otherwise.
    pub fn self_check(&self, zones: &[AppliedZone]) -> Result<Option<SystemTime>, ProbeError> {
        let Some(server) = self.answering() else { return Ok(None) };
        // A zone that is kept but not answered from has nothing to show.
        let answered: Vec<AppliedZone> = self
            .store()
            .read(|rows| zones.iter().filter(|zone| is_answered(rows, zone)).cloned().collect());
        probe::self_check(&answered, server, &|apex, owner| self.is_holder(apex, owner))
    }

    /// As [`Maintain::self_check`], for a moment and of each zone by itself: when its new answer came;
    /// none if it did not, or was not to be had.
    pub fn glance(&self, zones: &[AppliedZone]) -> Vec<Option<SystemTime>> {
        let Some(server) = self.answering() else { return vec![None; zones.len()] };
        let glanced = probe::glance(zones, server, &|apex, owner| self.is_holder(apex, owner));
        glanced.unwrap_or_else(|error| {
            tracing::warn!(%error, "the own listener cannot be asked: {error}");
            vec![None; zones.len()]
        })
    }

    /// Whether `apex` is the zone that answers for `owner`.
    fn is_holder(&self, apex: &Name, owner: &Name) -> bool {
        let holder = self.store().read(|rows| rows::holding(rows, owner));
        holder.is_ok_and(|zone| zone.is_some_and(|zone| zone.apex == *apex))
    }

    fn board_of_holds(&self) -> &hold::Board {
        &self.inner.holds
    }

    fn trust(&self) -> &trust::Trust {
        &self.inner.trust
    }

    /// Where zones and everything else are kept.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The one gate to other servers.
    pub fn dialer(&self) -> &Dialer {
        &self.inner.settings.dialer
    }

    fn publisher(&self) -> Option<&publish::Publisher> {
        self.inner.publisher.as_ref()
    }

    fn refreshing(&self) -> &refresh::Desk {
        &self.inner.refresh
    }

    fn gate(&self) -> &load::Gate {
        &self.inner.gate
    }

    fn signing_keys(&self) -> &signing::SigningKeys {
        &self.inner.signing_keys
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}

/// Whether queries are answered from what a commit did to a zone, as far as that can be known.
fn is_answered(reader: &Reader<'_>, zone: &AppliedZone) -> bool {
    match rows::by_id(reader, zone.zone) {
        Ok(Some(zone)) => zone.is_answered(),
        Ok(None) | Err(_) => true,
    }
}

/// Microseconds since 1970, by the system's clock.
fn now_us() -> u64 {
    clock::system_us()
}
