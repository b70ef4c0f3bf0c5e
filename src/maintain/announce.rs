//! After the commit: the servers of a zone are told of it, and asked until they serve it.
//!
//! One thread holds all conversations. What is to be done when is decided by
//! [`notify`](super::notify) and [`served`](super::served); here they get a clock and the network.
//!
//! Promises: a commit leaves only a note and goes on; what is not told when the server stops is told
//! at the next start (see [`again`](super::again)).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::again::Again;
use super::change::AppliedZone;
use super::gone::{self, Left};
use super::journal::pieces::Pieces;
use super::look;
use super::message;
use super::notify::{Errand, Failure, Notifier};
use super::rows::{self, Zone};
use super::sample::Sample;
use super::served::{Everywhere, Matrix, ROUNDS_MAX, Round, SETS_MAX, Seen, Standing};
use super::servers::{Addresses, Listing, Servers};
use super::strangers::Strangers;
use super::{Maintain, now_us, secondaries, secondary};
use crate::wire::{Header, Name, Rcode, Serial, Type};
use crate::zone::{ReadFault, packed};

/// How long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_millis(1_900);

/// Notes taken up at a time; each is a small reading task.
const NOTES_MAX: usize = 256;

/// How long notes gather behind others: under load one look at a zone's servers does for many commits, and
/// most commits wake nobody.
const GATHER: Duration = Duration::from_millis(10);

/// Zones whose servers are looked up in one read: transactions wait for it.
const ZONES_PER_READ: usize = 16;

/// How long it waits at most for more zones to be due that are told of again after a start.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What has changed and is to be told, and what is known of who has it.
#[derive(Default)]
pub(super) struct Board {
    running: AtomicBool,
    notes: Mutex<BTreeMap<u32, Note>>,
    /// Notes gather, and somebody comes for them without being woken.
    gathers: AtomicBool,
    wake: Notify,
    stopped: AtomicBool,
    pub known: Mutex<Known>,
    everywhere: Mutex<BTreeMap<u32, Everywhere>>,
    reached: Condvar,
    pub strangers: Strangers,
}

/// What happened to a zone since it was last looked at.
struct Note {
    apex: Name,
    /// None when it is no more.
    serial: Option<Serial>,
    /// RRsets that changed.
    sets: Vec<(Name, Type)>,
    /// Whether no other changed.
    is_whole: bool,
    /// Whether its servers are to be told.
    tell: bool,
    /// Whether they are to be asked until they have it.
    watch: bool,
    /// Whether somebody wants to know at once.
    wanted: bool,
}

/// What is known of all servers, by the clock of this thread: milliseconds since it began.
pub(super) struct Known {
    began: Instant,
    began_us: u64,
    pub notifier: Notifier,
    pub matrix: Matrix,
}

impl Default for Known {
    fn default() -> Known {
        let (notifier, matrix) = (Notifier::default(), Matrix::default());
        Known { began: Instant::now(), began_us: now_us(), notifier, matrix }
    }
}

impl Known {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A time of this clock, in microseconds since 1970.
    pub fn us(&self, ms: u64) -> u64 {
        self.began_us.saturating_add(ms.saturating_mul(1_000))
    }
}

impl Board {
    /// Notes what a commit did.
    pub fn note(&self, zones: &[AppliedZone]) {
        if !self.running.load(Ordering::Acquire) {
            return;
        }
        let mut notes = held(&self.notes);
        let is_first = notes.is_empty() && !self.gathers.load(Ordering::Acquire);
        for zone in zones.iter().filter(|zone| zone.from != zone.to) {
            let sets = zone.changed.iter().map(|change| (change.owner.clone(), change.rtype));
            let changed = (sets, zone.changed_count);
            put(&mut notes, zone.zone, &zone.apex, zone.to, changed, Wish::TellAndWatch);
        }
        let is_news = is_first && !notes.is_empty();
        drop(notes);
        // While there are notes, or while they gather, somebody comes for them.
        if is_news {
            self.wake.notify_one();
        }
    }

    /// Ends the thread that serves this board.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_one();
        self.reached.notify_all();
    }

    fn take_notes(&self) -> Vec<(u32, Note)> {
        let mut notes = held(&self.notes);
        let mut taken = Vec::new();
        while taken.len() < NOTES_MAX
            && let Some(note) = notes.pop_first()
        {
            taken.push(note);
        }
        taken
    }

    fn say(&self, everywhere: Option<Everywhere>) {
        let Some(news) = everywhere else { return };
        held(&self.everywhere).insert(news.zone, news);
        self.reached.notify_all();
    }
}

pub(super) fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many RRsets changed, where nobody counted: before a start.
const UNCOUNTED: usize = usize::MAX;

/// Notes that of a zone so many RRsets changed, and which, as far as it is known.
fn put(
    notes: &mut BTreeMap<u32, Note>,
    zone: u32,
    apex: &Name,
    serial: Option<Serial>,
    (sets, changed): (impl IntoIterator<Item = (Name, Type)>, usize),
    wish: Wish,
) {
    let note = notes.entry(zone).or_insert_with(|| Note {
        apex: apex.clone(),
        serial,
        sets: Vec::new(),
        is_whole: true,
        tell: false,
        watch: false,
        wanted: false,
    });
    note.serial = serial;
    note.tell |= wish != Wish::Watch;
    note.watch |= wish != Wish::Tell;
    let before = note.sets.len();
    note.sets.extend(sets.into_iter().take(SETS_MAX.saturating_sub(before)));
    note.is_whole &= note.sets.len() - before == changed;
}

/// What is to be done about the servers of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Tell,
    Watch,
    TellAndWatch,
}

/// What a task came back with.
enum Done {
    /// Who is to be told of a zone.
    Servers {
        zone: u32,
        serial: Serial,
        servers: Servers,
    },
    Told {
        errand: Errand,
        result: Result<(), Failure>,
    },
    Asked {
        zone: u32,
        serial: Serial,
        servers: Servers,
        seen: Vec<(SocketAddr, Seen)>,
    },
    /// The zone is not answered for; there is nothing to ask.
    Silent {
        zone: u32,
        /// Of one that is no more.
        apex: Option<Name>,
    },
    Unread {
        zone: u32,
        fault: Option<ReadFault>,
    },
}

impl Maintain {
    /// Has the servers of a zone asked for what it has, and for `sets` of it; and told, if `tell`.
    pub fn look_at(&self, zone: &Zone, sets: Vec<(Name, Type)>, tell: bool) {
        let board = self.board();
        if board.running.load(Ordering::Acquire) {
            let serial = Some(zone.serial);
            let wish = if tell { Wish::TellAndWatch } else { Wish::Watch };
            let mut notes = held(&board.notes);
            let changed = sets.len();
            put(&mut notes, zone.id, &zone.apex, serial, (sets, changed), wish);
            notes.entry(zone.id).and_modify(|note| note.wanted = true);
            drop(notes);
            board.wake.notify_one();
        }
    }

    /// Has zones asked about again of which no server could be asked: there are other secondaries now.
    pub fn secondaries_changed(&self) {
        let board = self.board();
        let mut known = held(&board.known);
        let now_ms = known.now_ms();
        known.matrix.servers_changed(now_ms);
        drop(known);
        board.wake.notify_one();
    }

    /// Waits up to `timeout` for zones that all their servers serve now; takes what there is. None
    /// once the upkeep has ended.
    pub fn wait_everywhere(&self, timeout: Duration) -> Option<Vec<Everywhere>> {
        let board = self.board();
        let none =
            |news: &mut BTreeMap<_, _>| news.is_empty() && !board.stopped.load(Ordering::Acquire);
        let waited = board.reached.wait_timeout_while(held(&board.everywhere), timeout, none);
        let mut news = waited.unwrap_or_else(PoisonError::into_inner).0;
        let ended = board.stopped.load(Ordering::Acquire);
        (!ended).then(|| std::mem::take(&mut *news).into_values().collect())
    }

    /// Tells and asks until told to stop. Takes a thread.
    pub(super) fn announce(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "no server is told of changes: {error}");
                return;
            }
        };
        let board = self.board();
        board.running.store(true, Ordering::Release);
        let again = self.note_gone().and_then(|()| Again::of(self.store()));
        let again = again.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "changes of the last run are not told again: {fault}");
            Again::default()
        });
        runtime.block_on(self.converse(again));
        board.running.store(false, Ordering::Release);
    }

    /// Notes the zones that are no more.
    fn note_gone(&self) -> Result<(), ReadFault> {
        for gone in self.store().read(|rows| gone::all(rows))? {
            let mut notes = held(&self.board().notes);
            put(&mut notes, gone.zone, &gone.apex, None, ([], 0), Wish::Watch);
        }
        Ok(())
    }

    /// Notes the zones of the last run that are due.
    fn note_again(&self, again: &mut Again, since_start: Duration) {
        while let Some((id, watched)) = again.next(since_start) {
            let wish = if watched { Wish::TellAndWatch } else { Wish::Tell };
            let found = self.store().read(|rows| rows::by_id(rows, id));
            if let Ok(Some(zone)) = found {
                let mut notes = held(&self.board().notes);
                put(&mut notes, id, &zone.apex, Some(zone.serial), ([], UNCOUNTED), wish);
            }
        }
    }

    /// A sample of the RRsets that the last step of a zone changed; none if the journal holds no step.
    fn changed_last(&self, zone: u32) -> Vec<(Name, Type)> {
        let found = self.store().read(|rows| rows::by_id(rows, zone)).ok().flatten();
        let Some(zone) = found.filter(|zone| zone.journal.first <= zone.version) else {
            return Vec::new();
        };
        let (mut pieces, mut sample) = (Pieces::of(zone.id, zone.version), Sample::new(SETS_MAX));
        loop {
            match self.store().read(|rows| pieces.next(rows)) {
                Ok(Some(piece)) => packed::nodes(&piece.nodes).for_each(|node| {
                    let owner = node.name();
                    node.rrsets().for_each(|set| sample.meet((owner.clone(), set.rtype)));
                }),
                Ok(None) => return sample.kept(),
                Err(error) => {
                    tracing::warn!(zone = %zone.apex, %error, "what changed last cannot be read");
                    return sample.kept();
                }
            }
        }
    }

    async fn converse(&self, mut again: Again) {
        let board = self.board();
        let began = Instant::now();
        let addresses = Arc::new(Addresses::default());
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut gathered = Instant::now();
        while !board.stopped.load(Ordering::Acquire) {
            self.note_again(&mut again, began.elapsed());
            let has_room = tasks.len() < NOTES_MAX + super::notify::FLIGHTS_MAX + ROUNDS_MAX;
            if has_room && gathered.elapsed() >= GATHER {
                board.gathers.store(false, Ordering::Release);
                let notes = board.take_notes();
                if !notes.is_empty() {
                    gathered = Instant::now();
                    board.gathers.store(true, Ordering::Release);
                }
                let told = notes.into_iter().filter_map(|(zone, note)| self.take_note(zone, note));
                self.find_servers(&told.collect::<Vec<_>>(), &addresses, &mut tasks);
            }
            let next = self.begin_due(&addresses, &mut tasks);
            let more = has_room
                && (board.gathers.load(Ordering::Acquire) || !held(&board.notes).is_empty());
            let rest = more.then(|| GATHER.saturating_sub(gathered.elapsed()));
            let later = (!again.is_over()).then_some(AGAIN_AFTER);
            let wait = next.into_iter().chain(later).chain(rest).min();
            let wait = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = board.wake.notified() => {}
                Some(done) = tasks.join_next() => {
                    if let Ok(done) = done {
                        self.take_done(done);
                    }
                }
                () = wait => {}
            }
        }
    }

    /// Takes up what happened to a zone; returns the zone if its servers are to be told.
    fn take_note(&self, zone: u32, note: Note) -> Option<u32> {
        let mut known = held(&self.board().known);
        let now_ms = known.now_ms();
        if let Some(serial) = note.serial.filter(|_| note.watch && !note.wanted && note.is_whole)
            && known.matrix.stays_deserted(zone, serial, &note.sets, now_ms)
        {
            return None;
        }
        drop(known);
        // Of a large change the first are no sample: who took a part of it for whole lacks the rest.
        let partial = note.watch && !note.is_whole && note.serial.is_some();
        let last = if partial { self.changed_last(zone) } else { Vec::new() };
        let calm = self.store().read(|rows| secondary::is_plain(rows, &note.apex)).unwrap_or(false);
        let mut known = held(&self.board().known);
        let Some(serial) = note.serial else {
            known.notifier.retain(zone, |_| false);
            known.matrix.watch_gone(zone, &note.apex, now_ms);
            return None;
        };
        if note.watch {
            let sets = last.into_iter().chain(note.sets);
            known.matrix.watch(zone, &note.apex, serial, sets, calm, now_ms);
        }
        note.tell.then_some(zone)
    }

    /// Begins what is due; returns how long nothing is.
    fn begin_due(&self, addresses: &Arc<Addresses>, tasks: &mut JoinSet<Done>) -> Option<Duration> {
        let mut known = held(&self.board().known);
        let now_ms = known.now_ms();
        for errand in known.notifier.take_due(now_ms) {
            tasks.spawn(self.clone().tell(errand));
        }
        for round in known.matrix.take_due(now_ms) {
            tasks.spawn(self.clone().ask_all(round, Arc::clone(addresses)));
        }
        let next = known.notifier.next_ms().into_iter().chain(known.matrix.next_ms()).min();
        next.map(|at| Duration::from_millis(at.saturating_sub(now_ms)))
    }

    fn take_done(&self, done: Done) {
        let board = self.board();
        let mut known = held(&board.known);
        let now_ms = known.now_ms();
        let everywhere = match done {
            Done::Servers { zone, serial, servers } => {
                known.matrix.found(zone, &servers, now_ms);
                let told: Vec<SocketAddr> =
                    servers.known.iter().filter(|s| s.notify).map(|s| s.address).collect();
                known.notifier.retain(zone, |server| told.contains(&server));
                for server in told {
                    known.notifier.tell(zone, server, serial, now_ms);
                }
                None
            }
            Done::Told { errand, result } => {
                known.notifier.done(&errand, result, now_ms);
                None
            }
            Done::Asked { zone, serial, servers, seen } => {
                let lags = |(_, seen): &&(SocketAddr, Seen)| {
                    matches!(seen.standing, Standing::Behind | Standing::Stale)
                };
                for (server, _) in seen.iter().filter(lags) {
                    known.notifier.revived(zone, *server, now_ms);
                }
                known.matrix.done(zone, serial, servers, seen, now_ms)
            }
            Done::Silent { zone, apex } => {
                known.matrix.dropped(zone);
                if let Some(apex) = apex {
                    self.forget_gone_later(zone, apex);
                }
                Some(Everywhere { zone, serial: None })
            }
            Done::Unread { zone, fault } => {
                known.matrix.dropped(zone);
                if let Some(fault) = fault {
                    tracing::warn!(%fault, "a zone's servers are not asked: {fault}");
                }
                None
            }
        };
        drop(known);
        board.say(everywhere);
    }

    /// Finds out who is to be told of zones, some in one read: most of them have the same servers.
    fn find_servers(&self, zones: &[u32], addresses: &Arc<Addresses>, tasks: &mut JoinSet<Done>) {
        let mut listing = None;
        for some in zones.chunks(ZONES_PER_READ) {
            let found: Vec<_> = self.store().read(|rows| {
                if listing.is_none() {
                    listing = Listing::of(rows).ok();
                }
                let mut of_zone = |zone: &u32| {
                    let row = rows::by_id(rows, *zone).ok()?.filter(Zone::is_answered)?;
                    let listed = listing.as_mut()?.listed(rows, &row).unwrap_or_default();
                    Some((row.serial, listed))
                };
                some.iter().map(&mut of_zone).collect()
            });
            for (&zone, found) in some.iter().zip(found) {
                // Of a zone that is not answered for, the round of questions says so.
                let (serial, listed) = found.unwrap_or((Serial(0), Default::default()));
                match self.known(&listed) {
                    Some(servers) => self.take_done(Done::Servers { zone, serial, servers }),
                    None => {
                        let (this, addresses) = (self.clone(), Arc::clone(addresses));
                        tasks.spawn(async move {
                            let servers = this.resolved(listed, &addresses).await;
                            Done::Servers { zone, serial, servers }
                        });
                    }
                }
            }
        }
    }

    /// Sends one NOTIFY and waits for its acknowledgement.
    async fn tell(self, errand: Errand) -> Done {
        let result = self.deliver(&errand).await;
        Done::Told { errand, result }
    }

    async fn deliver(&self, errand: &Errand) -> Result<(), Failure> {
        let failed = |why: String| Failure::Unanswered(why);
        let found = self.store().read(|rows| {
            let Some((zone, soa)) = look::soa_of(rows, errand.zone)? else { return Ok(None) };
            let key = secondaries::key_for(rows, &zone, errand.server).map_err(rows::fault)?;
            Ok::<_, ReadFault>(Some((zone, soa, key)))
        });
        let Some((zone, soa, key)) = found.map_err(|fault| failed(fault.to_string()))? else {
            return Ok(()); // there is nothing to tell any more
        };
        let key = match key {
            Some(name) => {
                let missing = || failed(format!("TSIG key {name} is not there"));
                Some(self.tsig_key(&name).ok_or_else(missing)?)
            }
            None => None,
        };
        let mut message = message::notify(&zone.apex, &soa.rrset);
        let asked = self.dialer().ask_async(errand.server, &mut message, key.as_ref(), PATIENCE);
        let reply = asked.await.map_err(|error| failed(error.sentence()))?;
        match Header::read(&reply).map(|header| header.flags.rcode()) {
            Some(Rcode::NOERROR) => Ok(()),
            Some(rcode) => Err(Failure::Answered(rcode)),
            None => Err(failed("answered out of form".to_owned())),
        }
    }

    /// Asks every server of a zone.
    async fn ask_all(self, round: Round, addresses: Arc<Addresses>) -> Done {
        let Round { zone, apex, gone, sets } = round;
        if gone {
            return self.ask_gone(zone, apex).await;
        }
        let unread = |fault| Done::Unread { zone, fault: Some(fault) };
        let row = match self.store().read(|rows| rows::by_id(rows, zone)) {
            Ok(Some(row)) if row.is_answered() => row,
            Ok(Some(_)) => return Done::Silent { zone, apex: None },
            Ok(None) => return Done::Unread { zone, fault: None },
            Err(fault) => return unread(fault),
        };
        let servers = match self.servers_of(&row, &addresses).await {
            Ok(servers) => servers,
            Err(fault) => return unread(fault),
        };
        // Nothing is to be compared where nobody is asked.
        let sets = if servers.known.iter().any(|server| server.probe) { sets } else { Vec::new() };
        let asked = match self.store().read(|rows| look::claims(rows, zone, &sets)) {
            Ok(Some(asked)) => Arc::new(asked),
            Ok(None) => return Done::Unread { zone, fault: None },
            Err(fault) => return unread(fault),
        };
        let serial = asked.zone.serial;
        let look = |server| {
            let (this, asked) = (self.clone(), Arc::clone(&asked));
            async move { this.look(server, asked).await }
        };
        let seen = look::side_by_side(&servers, look).await;
        self.note_strangers(&asked, &seen);
        Done::Asked { zone, serial, servers, seen }
    }

    /// Asks the servers of a zone that is no more whether they still answer for it.
    async fn ask_gone(self, zone: u32, apex: Name) -> Done {
        let left = self.store().read(|rows| gone::left(rows, zone, &apex, now_us()));
        let known = match left {
            Ok(Left::Ask(known)) => known,
            Ok(Left::Nobody) => return Done::Silent { zone, apex: Some(apex) },
            Ok(Left::GivenUp) => {
                tracing::warn!(zone = %apex, "a secondary serves {apex} on, though it is no more");
                self.forget_gone_later(zone, apex);
                return Done::Unread { zone, fault: None };
            }
            Err(fault) => return Done::Unread { zone, fault: Some(fault) },
        };
        let servers = Servers { known, ..Servers::default() };
        let look = |server| {
            let (this, apex) = (self.clone(), apex.clone());
            async move { this.look_gone(&server, &apex).await }
        };
        let seen = look::side_by_side(&servers, look).await;
        if seen.iter().all(|(_, seen)| seen.standing == Standing::Ok) {
            self.forget_gone_later(zone, apex);
        }
        Done::Asked { zone, serial: Serial(0), servers, seen }
    }

    /// Forgets what is left of a zone, on a thread that may wait for the disk.
    fn forget_gone_later(&self, zone: u32, apex: Name) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.forget_gone(zone, &apex));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: of a change that is known in part nobody takes it that it is not about the zone's servers.
    #[test]
    fn a_note_knows_whether_it_has_all_that_changed() {
        let apex = Name::parse("example.").unwrap();
        let sets = |count| vec![(apex.clone(), Type::A); count];
        for (steps, is_whole) in [
            (&[(3, 3), (5, 5)][..], true),
            (&[(SETS_MAX, SETS_MAX)], true),
            (&[(SETS_MAX + 1, SETS_MAX + 1)], false),
            (&[(SETS_MAX, SETS_MAX), (1, 1), (0, 0)], false),
            (&[(0, 7), (1, 1)], false),
        ] {
            let mut notes = BTreeMap::new();
            for (known, changed) in steps {
                put(&mut notes, 1, &apex, None, (sets(*known), *changed), Wish::TellAndWatch);
            }
            assert_eq!(notes[&1].is_whole, is_whole, "{steps:?}");
            assert!(notes[&1].sets.len() <= SETS_MAX);
        }
    }
}
