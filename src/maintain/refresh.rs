//! Secondary zones kept fresh: which zone asks its primaries when, and what came of it.
//!
//! All zones wait at one [desk](Desk), ordered by time; a few threads take from it. A thread does one
//! round for one zone and puts it back with its next time.
//!
//! Promises: a zone is in one round at a time; a primary that did not answer is left alone for a
//! while by all zones; one that is slow leaves threads for the zones of others; a zone whose records
//! are too old is not answered from.

mod catalog;
mod desk;
mod pull;
mod round;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) use self::desk::Desk;
use self::desk::{After, Entry, Job};
use self::pull::Source;
pub use self::pull::Trouble;
use self::round::Ended;
pub(super) use self::round::is_signed;
use super::secondary::{self, Following, Primary};
use super::{Maintain, Zone, ZoneChange, ZoneState, now_us, rows};
use crate::serve::asks::Told;
use crate::sign::vouch;
use crate::transport::client::Dialer;
use crate::transport::xot::{Identity, Trusts};
use crate::wire::edns::Ede;
use crate::wire::tsig::TsigKey;
use crate::wire::{Name, Rcode, Serial};
use crate::xfr::incoming::{Asked, Misbehaviour, Transfer, TransferFault};
use crate::xfr::timers::{Bounds, Round, SECOND_US, SoaTimers, Times};
use crate::zone::ReadFault;
use crate::zone::tree::PackedZone;

/// What an operator decides about transfers in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Zones asking at once.
    pub threads: usize,
    /// Octets of one transferred zone, uncompressed.
    pub transfer_octets_max: usize,
    pub transfer_records_max: usize,
    /// Zones that one catalog may name.
    pub catalog_zones_max: usize,
    /// Seconds one transfer may take.
    pub transfer_s_max: u64,
    /// Octets a second that a transfer brings at least, after its first ten seconds.
    pub transfer_octets_per_s_min: u64,
    pub bounds: Bounds,
    /// PEM file of the authorities that certify primaries reached over TLS.
    pub authorities: Option<PathBuf>,
    /// What is shown to primaries that ask over TLS who we are.
    pub identity: Option<Identity>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threads: 8,
            transfer_octets_max: 1 << 30,
            transfer_records_max: 50_000_000,
            catalog_zones_max: 1_000_000,
            transfer_s_max: 3600,
            transfer_octets_per_s_min: 1024,
            bounds: Bounds::default(),
            authorities: None,
            identity: None,
        }
    }
}

/// Within which time zones that are due at the start ask, for each hundred of them.
const START_SPREAD_US: u64 = SECOND_US;

/// Zones read in one step at the start.
const PAGE_ZONES: usize = 1_000;

/// Why a zone is asked about, beyond its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Who told us to.
    pub from: Option<IpAddr>,
    /// When it did, in microseconds since 1970.
    pub told_us: u64,
    /// The whole zone, even if nothing is newer.
    pub transfer: bool,
    /// Whatever serial it has.
    pub any_serial: bool,
    /// A person wants it: even of a primary that did not answer a moment ago.
    pub forced: bool,
}

impl Ask {
    fn join(&mut self, other: Ask) {
        self.from = other.from.or(self.from);
        self.told_us = self.told_us.max(other.told_us);
        self.transfer |= other.transfer;
        self.any_serial |= other.any_serial;
        self.forced |= other.forced;
    }
}

/// A transfer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// Microseconds since 1970.
    pub at_us: u64,
    pub primary: SocketAddr,
    /// `AXFR` or `IXFR`.
    pub how: &'static str,
    pub serial: Serial,
    pub records: usize,
    pub octets: u64,
    pub elapsed: Duration,
}

/// How a secondary zone stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Microseconds since 1970, as all times here.
    pub confirmed_us: Option<u64>,
    pub next_us: Option<u64>,
    pub expires_us: Option<u64>,
    /// Whether it asks now.
    pub asking: bool,
    /// Rounds that failed since it was confirmed.
    pub failures: u32,
    /// Why the last round failed.
    pub trouble: Option<String>,
    /// Why primaries were asked in vain when they were asked last, whatever came of it.
    pub passed_over: Vec<String>,
    /// The last transfer since the start.
    pub took: Option<Took>,
}

impl Maintain {
    /// Reads which zones follow others, and starts the threads that ask for them.
    pub(super) fn start_refreshing(&self) -> Result<Vec<JoinHandle<()>>, ReadFault> {
        let threads = self.settings().refresh.threads.max(1);
        self.refreshing().open(threads);
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|following: &Following| following.apex.clone());
            let page =
                self.store().read(|rows| secondary::followers(rows, after.as_ref(), PAGE_ZONES))?;
            let full = page.len() == PAGE_ZONES;
            all.extend(page);
            if !full {
                break;
            }
        }
        let spread_us = all.len() as u64 * START_SPREAD_US / 100;
        for following in &all {
            self.watch(&following.apex, spread_us);
        }
        let threads = (0..threads).filter_map(|number| {
            let maintain = self.clone();
            let name = format!("refresh-{number}");
            let thread = thread::Builder::new().name(name).spawn(move || maintain.work());
            thread.inspect_err(|error| tracing::error!(%error, "a thread cannot be started")).ok()
        });
        Ok(threads.collect())
    }

    /// Begins to look after a zone that follows others, or looks at it again after its row changed.
    pub fn watch(&self, apex: &Name, spread_us: u64) {
        let Ok(Some((zone, following))) = self.follower(apex) else { return };
        let confirmed_us = self.store().read(|rows| secondary::confirmed_us(rows, apex));
        let confirmed_us = confirmed_us.ok().flatten();
        let soa = self.soa_of(&zone).ok().flatten();
        let timers = soa.and_then(|soa| SoaTimers::of(&soa));
        let timers = timers.map(|timers| timers.within(self.settings().refresh.bounds));
        let times = Times::restored(confirmed_us, timers, now_us(), spread_us, random());
        let key = apex.key();
        let first = following.primaries.first().map(|primary| primary.address);
        let Some(first) = first else { return }; // nobody to ask
        let mut queue = self.refreshing().lock();
        if let Some(entry) = queue.zones.get_mut(&key) {
            // It is asking, or waits: either way it asks anew, with the row as it is now; and what a
            // catalog names may mean something else now.
            entry.wanted.get_or_insert_default().forced = true;
            entry.turn += 1;
            // That was of another row, maybe.
            (entry.trouble, entry.passed_over) = (None, Vec::new());
            let renew = |entry: &mut Entry| {
                (entry.first, entry.parked) = (first, false);
                entry.times.hurry(now_us());
            };
            match entry.asking {
                true => renew(entry),
                false => queue.change(&key, renew),
            }
        } else {
            let entry = Entry {
                apex: following.apex,
                first,
                parked: false,
                times,
                timers,
                expired: zone.state == ZoneState::Expired,
                asking: false,
                wanted: None,
                trouble: None,
                passed_over: Vec::new(),
                misses: false,
                took: None,
                named: None,
                turn: 0,
                told: None,
            };
            queue.due.insert((entry.due_us(), key.clone()));
            queue.zones.insert(key, entry);
        }
        self.refreshing().tell(&mut queue);
    }

    /// Asks for a zone at once; returns whether it is one that follows others.
    pub fn refresh(&self, apex: &Name, ask: Ask) -> bool {
        self.refreshing().want(apex, ask)
    }

    /// A primary says that a zone changed ([RFC 1996](https://www.rfc-editor.org/rfc/rfc1996)). `key` is the name of the key that signed it.
    ///
    /// From anybody but a primary it is refused, and nothing is done. What it says about the serial is a
    /// hint only, and not needed.
    pub fn notified(&self, apex: &Name, from: IpAddr, key: Option<&Name>) -> Told {
        let Ok(followed) = self.follower(apex) else { return Rcode::SERVFAIL.into() };
        let Some((_, following)) = followed else {
            return self.notified_as_primary(apex, from, key);
        };
        let is_primary = following.primaries.iter().any(|primary| {
            primary.address.ip().to_canonical() == from.to_canonical()
                || key.is_some() && primary.key.as_ref() == key
        });
        if !is_primary {
            tracing::debug!(zone = %apex, %from, "NOTIFY for {apex} from no primary of it");
            return Told::why(Rcode::REFUSED, Ede::PROHIBITED, "not from a primary of this zone");
        }
        let (from, told_us) = (Some(from.to_canonical()), now_us());
        self.refresh(apex, Ask { from, told_us, ..Ask::default() });
        Rcode::NOERROR.into()
    }

    /// NOTIFY for a zone that follows nobody: says whether it is one of here, but to who may not ask
    /// for it.
    fn notified_as_primary(&self, apex: &Name, from: IpAddr, key: Option<&Name>) -> Told {
        let Ok(zone) = self.store().read(|rows| rows::zone(rows, apex)) else {
            return Rcode::SERVFAIL.into();
        };
        let is_shown = self.closed().opens(apex.to_lowercase().as_wire(), from, key);
        if zone.is_none() || !is_shown {
            return Rcode::NOTAUTH.into();
        }
        tracing::debug!(zone = %apex, %from, "NOTIFY for {apex}, which follows no primary here");
        let why = "this server is the primary of the zone: it follows nobody";
        Told::why(Rcode::NOTAUTH, Ede::OTHER, why)
    }

    /// How a secondary zone stands; none if it is not looked after.
    pub fn standing(&self, apex: &Name) -> Option<Standing> {
        let queue = self.refreshing().lock();
        let entry = queue.zones.get(&apex.key())?;
        Some(Standing {
            confirmed_us: entry.times.confirmed_us,
            next_us: (!entry.asking).then_some(entry.times.next_us),
            expires_us: entry.times.expires_us(entry.timers),
            asking: entry.asking,
            failures: entry.times.failures,
            trouble: entry.trouble.clone(),
            passed_over: entry.passed_over.iter().map(|(_, why)| why.clone()).collect(),
            took: entry.took.clone(),
        })
    }

    fn work(&self) {
        while let Some(job) = self.refreshing().next() {
            match job {
                Job::Expire(apex) => self.expire(&apex),
                Job::Ask(apex, ask) => {
                    let ended = self.round(&apex, &ask);
                    self.note(&apex, ask, ended);
                }
            }
        }
    }

    /// Stops answering from a zone that nobody has confirmed for too long.
    fn expire(&self, apex: &Name) {
        let live = self.follower(apex).ok().flatten();
        let live = live.is_some_and(|(zone, _)| zone.state == ZoneState::Live);
        let state = ZoneState::Expired;
        let change = [ZoneChange::SetState { apex: apex.clone(), state }];
        if live {
            match self.commit(|door| door.apply(&change)) {
                Ok(_) => tracing::error!(
                    zone = %apex,
                    "zone {apex} expired: no primary has confirmed it for as long as its SOA allows"
                ),
                Err(error) => tracing::error!(zone = %apex, ?error, "zone {apex} cannot expire"),
            }
        }
        self.refreshing().doubt(apex);
    }

    fn note(&self, apex: &Name, ask: Ask, ended: Ended) {
        let Ended { zone, following, timers, outcome, passed_over, answered, is_news } = ended;
        let bounds = self.settings().refresh.bounds;
        let timers = timers.map(|timers| timers.within(bounds));
        let named = match (&zone, &following, &outcome) {
            (.., Err(Trouble::Crowded(_))) => None,
            // What is here is named even while nobody can be asked, unless it is too old.
            (Some(zone), Some(following), outcome)
                if following.catalog && (outcome.is_ok() || zone.state == ZoneState::Live) =>
            {
                self.name_zones(zone, following)
            }
            _ => None,
        };
        self.refreshing().put_back(apex, |entry| {
            if following.is_none() {
                return if outcome.is_err() { After::Waits } else { After::Gone };
            }
            if matches!(outcome, Err(Trouble::Crowded(_))) {
                return After::Later(ask);
            }
            entry.timers = timers.or(entry.timers);
            let trouble = match outcome {
                Ok(took) => {
                    let had_any = entry.times.confirmed_us.is_some();
                    entry.times.round(Round::Confirmed, entry.timers, now_us(), random());
                    // It may have expired behind this round's back: another one sees.
                    let is_live = zone.as_ref().is_some_and(|zone| zone.state == ZoneState::Live);
                    if entry.expired && had_any && is_live {
                        entry.times.hurry(now_us());
                    }
                    (entry.expired, entry.misses) = (false, false);
                    entry.took = took.or(entry.took.take());
                    match &named {
                        Some(Err(text)) => Some(text.clone()),
                        Some(Ok(_)) | None => None,
                    }
                }
                Err(trouble) => {
                    entry.misses |= is_news;
                    let round = match entry.misses && trouble.is_of_the_line() {
                        true => Round::Missed,
                        false => Round::Failed,
                    };
                    entry.times.round(round, entry.timers, now_us(), random());
                    Some(trouble.to_string())
                }
            };
            if let Some(Ok(named)) = named {
                entry.named = Some(named);
            }
            // Once for each new reason, not once for each round.
            if let Some(text) = trouble.as_ref().filter(|text| entry.trouble.as_ref() != Some(text))
            {
                tracing::warn!(zone = %apex, "zone {apex} cannot be refreshed: {text}");
            }
            let is_new = |passed: &&(SocketAddr, String)| !entry.passed_over.contains(passed);
            if trouble.is_none()
                && let Some((_, why)) = passed_over.iter().find(is_new)
            {
                tracing::warn!(zone = %apex, "zone {apex} is fresh, by another primary: {why}");
            }
            entry.trouble = trouble;
            // Who was not asked this time is no better than it was.
            let is_asked = |at: SocketAddr| {
                answered == Some(at) || passed_over.iter().any(|(passed, _)| *passed == at)
            };
            entry.passed_over.retain(|(at, _)| !is_asked(*at));
            entry.passed_over.extend(passed_over);
            After::Waits
        });
    }

    /// Brings the zones that a catalog names, if that was not done for its version yet, as it is to be
    /// followed; returns what was done.
    fn name_zones(&self, zone: &Zone, catalog: &Following) -> Option<Result<(u64, u64), String>> {
        let (key, version) = (zone.apex.key(), zone.version);
        let turn = {
            let queue = self.refreshing().lock();
            let entry = queue.zones.get(&key)?;
            if entry.named == Some((version, entry.turn)) {
                return None;
            }
            entry.turn
        };
        let tell = || {
            let mut queue = self.refreshing().lock();
            let entry = queue.zones.get_mut(&key);
            entry.is_some_and(|entry| entry.told.replace(version) != Some(version))
        };
        let mut given = Vec::new();
        let done = self.follow_catalog(zone, catalog, &mut given);
        // Once for each version: two catalogs that give to each other would never rest.
        if tell() {
            given.sort_unstable_by_key(Name::key);
            given.dedup();
            for catalog in given {
                self.refresh(&catalog, Ask::default()); // it may have waited for a zone
            }
        }
        Some(done.map(|()| (version, turn)))
    }
}

/// The whole zone as one primary has it, [packed](crate::zone::packed): for whoever is moving in.
///
/// # Errors
///
/// [`Trouble`].
pub fn whole(
    dialer: &Dialer,
    settings: &Settings,
    primary: &Primary,
    key: Option<Arc<TsigKey>>,
    apex: &Name,
) -> Result<Vec<u8>, Trouble> {
    let source = Source::with_key(dialer, settings, primary, key, &Trusts::default())?;
    match source.pull(apex, Asked::Axfr, &[])?.transfer {
        Transfer::Whole { packed, .. } => {
            let sent = PackedZone::new(apex.clone(), &packed);
            // Nobody knows the parent of a zone that is only moving in.
            vouch::check(&sent, &[], None)
                .map_err(|why| Trouble::Refused(primary.address, why.to_string()))?;
            Ok(packed)
        }
        // Nothing but a whole zone answers AXFR.
        Transfer::Current(_) | Transfer::Steps(_) => {
            let fault = TransferFault::Misbehaved(Misbehaviour::Malformed);
            Err(Trouble::Transfer(primary.address, fault))
        }
    }
}

/// A number nobody can guess.
fn random() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}
