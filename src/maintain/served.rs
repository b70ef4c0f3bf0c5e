//! What the servers of zones serve: the matrix, and when to ask again.
//!
//! A zone that changed is watched until every server of it was seen with the new answers: asked soon
//! at first, then ever more rarely; of one that only follows, where nobody waits for that, rarely from
//! the second time on. What was seen last is kept to be shown.
//!
//! Promises: `ok` is said of a server only when it has at least the serial of here and every changed
//! RRset asked for is equal, TTL and signatures included; *everywhere* only when all are `ok` and no
//! listed name lacks an address, but for those that are waived. At most [`WATCHES_MAX`] zones, [`SETS_MAX`] RRsets of each.
//!
//! Does not: ask. It is told the time, and what was seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::servers::{Server, Servers};
use crate::wire::{Name, Serial, Type};

/// Zones watched or remembered; those seen everywhere longest ago are forgotten first.
pub const WATCHES_MAX: usize = 100_000;

/// Changed RRsets of one zone that are asked for; beyond, the serial must do.
pub const SETS_MAX: usize = 200;

/// Zones asked about at the same time.
pub const ROUNDS_MAX: usize = 128;

/// Milliseconds until a zone is first asked about, and at most between two rounds.
pub const FIRST_MS: u64 = 100;
pub const STEP_MS_MAX: u64 = 60_000;

/// Milliseconds after which a zone is asked about only every [`SLOW_MS`]; so is at once one of which no server
/// can be asked, and a calm one.
pub const EAGER_MS: u64 = 3_600_000;
pub const SLOW_MS: u64 = 900_000;

/// Milliseconds for which a zone that had no servers is taken to have none still, unless a change says otherwise.
pub const DESERTED_MS: u64 = 30_000;

/// Milliseconds between the rounds of zones that are asked about again because their servers changed.
const APART_MS: u64 = 2;

/// How a server stands to the zone as it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Standing {
    /// Not asked yet since the zone changed.
    #[default]
    Pending,
    /// It has an older serial.
    Behind,
    /// It has the serial, and everything asked for.
    Ok,
    /// It has an older serial, and has lacked the next one for too long.
    Stale,
    /// It does not answer, or may not be asked.
    Unreachable,
    /// It answers, but not as a server of the zone.
    Lame,
    /// It has the serial, and other data.
    Tampered,
    /// It has what another signer made.
    Foreign,
}

impl Standing {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Pending => "pending",
            Standing::Behind => "behind",
            Standing::Ok => "ok",
            Standing::Stale => "stale",
            Standing::Unreachable => "unreachable",
            Standing::Lame => "lame",
            Standing::Tampered => "tampered",
            Standing::Foreign => "foreign",
        }
    }
}

/// What one round saw at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub standing: Standing,
    pub serial: Option<Serial>,
    /// A sentence about it; empty when all is well.
    pub detail: String,
}

/// One server of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub names: Vec<String>,
    pub address: SocketAddr,
    pub seen: Seen,
    /// Milliseconds on the caller's clock.
    pub asked_ms: Option<u64>,
    pub ok_ms: Option<u64>,
    /// Whether nobody waits for it.
    pub waived: bool,
}

/// One zone of the matrix.
#[derive(Debug, Clone)]
pub struct Watch {
    pub apex: Name,
    /// The serial here when the last round began.
    pub serial: Serial,
    pub cells: BTreeMap<SocketAddr, Cell>,
    /// Listed names without a known address.
    pub unknown: Vec<String>,
    /// Those among them that nobody waits for.
    pub unknown_waived: Vec<String>,
    /// When every server was seen with everything; none while that is not so.
    pub everywhere_ms: Option<u64>,
    sets: BTreeSet<(Vec<u8>, Name, Type)>,
    changed_ms: u64,
    step_ms: u64,
    next_ms: Option<u64>,
    asking: bool,
    /// Nobody here waits for it: it is as its primary made it.
    calm: bool,
    /// Changed while a round was under way.
    again: bool,
    /// The last round found nobody to ask.
    idle: bool,
    /// There was nobody at all.
    deserted: Option<Deserted>,
    /// The zone is no more: its servers are asked until they do not answer for it either.
    gone: bool,
}

/// No address is known of any server of a zone.
#[derive(Debug, Clone)]
struct Deserted {
    until_ms: u64,
    /// The names it lists.
    names: Vec<Name>,
}

/// What a round asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub zone: u32,
    pub apex: Name,
    /// Whether the zone is no more.
    pub gone: bool,
    pub sets: Vec<(Name, Type)>,
}

/// Every server of a zone has it at this serial or a later one; none when the zone is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Everywhere {
    pub zone: u32,
    pub serial: Option<Serial>,
}

/// All zones watched.
#[derive(Debug, Default)]
pub struct Matrix {
    watches: BTreeMap<u32, Watch>,
    due: BTreeSet<(u64, u32)>,
    rounds: usize,
    settled: VecDeque<u32>,
}

impl Matrix {
    /// `zone` changed, or is to be looked at: `sets` of it are to be asked for. A `calm` one has its
    /// records from a primary, as they are, so that nobody here waits for its servers.
    pub fn watch(
        &mut self,
        zone: u32,
        apex: &Name,
        serial: Serial,
        sets: impl IntoIterator<Item = (Name, Type)>,
        calm: bool,
        now_ms: u64,
    ) {
        let watch = self.begin(zone, apex, serial, now_ms);
        watch.calm = calm;
        watch.add(sets);
        self.ask_soon(zone, now_ms);
    }

    /// As [`Matrix::watch`] with all RRsets that changed, if there is nobody to look for: a moment ago the zone had
    /// no servers whose address is known, and the change is not about them. Returns whether that is so; if not, nothing was done.
    pub(super) fn stays_deserted(
        &mut self,
        zone: u32,
        serial: Serial,
        sets: &[(Name, Type)],
        now_ms: u64,
    ) -> bool {
        let Some(watch) = self.watches.get_mut(&zone) else { return false };
        let Some(deserted) = &watch.deserted else { return false };
        let is_about = |(owner, rtype): &(Name, Type)| {
            matches!(*rtype, Type::NS | Type::CNAME | Type::DNAME) || deserted.names.contains(owner)
        };
        let stays = now_ms < deserted.until_ms && !watch.asking && !watch.gone;
        if !stays || sets.iter().any(is_about) {
            return false;
        }
        watch.serial = serial;
        watch.changed_ms = now_ms;
        watch.add(sets.iter().cloned());
        true
    }

    /// `zone` is no more: its servers are to be asked until they do not answer for it either.
    pub fn watch_gone(&mut self, zone: u32, apex: &Name, now_ms: u64) {
        let watch = self.begin(zone, apex, Serial(0), now_ms);
        watch.gone = true;
        watch.sets.clear();
        watch.cells.clear();
        self.ask_soon(zone, now_ms);
    }

    /// The watch of a zone of which there is news.
    fn begin(&mut self, zone: u32, apex: &Name, serial: Serial, now_ms: u64) -> &mut Watch {
        self.make_room(zone);
        let watch = self.watches.entry(zone).or_insert_with(|| Watch {
            apex: apex.clone(),
            serial,
            cells: BTreeMap::new(),
            unknown: Vec::new(),
            unknown_waived: Vec::new(),
            everywhere_ms: None,
            sets: BTreeSet::new(),
            changed_ms: now_ms,
            step_ms: FIRST_MS,
            next_ms: None,
            asking: false,
            calm: false,
            again: false,
            idle: false,
            deserted: None,
            gone: false,
        });
        watch.serial = serial;
        watch.changed_ms = now_ms;
        watch.step_ms = FIRST_MS;
        watch.everywhere_ms = None;
        watch.deserted = None;
        watch
    }

    /// What was seen before counts no more; a round that is under way neither.
    fn ask_soon(&mut self, zone: u32, now_ms: u64) {
        let Some(watch) = self.watches.get_mut(&zone) else { return };
        for cell in watch.cells.values_mut().filter(|cell| cell.seen.standing == Standing::Ok) {
            cell.seen.standing = Standing::Pending;
        }
        match watch.asking {
            true => watch.again = true,
            false => self.plan(zone, Some(now_ms + FIRST_MS)),
        }
    }

    fn make_room(&mut self, zone: u32) {
        while self.watches.len() >= WATCHES_MAX && !self.watches.contains_key(&zone) {
            let settled = self.settled.pop_front();
            let gone = settled.or_else(|| self.watches.keys().next().copied());
            let Some(gone) = gone else { return };
            if settled.is_none() || self.watches.get(&gone).is_some_and(|w| w.next_ms.is_none()) {
                self.forget(gone);
            }
        }
    }

    /// Takes the rounds to begin now.
    pub fn take_due(&mut self, now_ms: u64) -> Vec<Round> {
        let mut rounds = Vec::new();
        while self.rounds < ROUNDS_MAX {
            let Some(&(at, zone)) = self.due.first().filter(|(at, _)| *at <= now_ms) else { break };
            self.due.remove(&(at, zone));
            let Some(watch) = self.watches.get_mut(&zone) else { continue };
            (watch.next_ms, watch.asking, watch.again) = (None, true, false);
            self.rounds += 1;
            let sets = watch.sets.iter().map(|(_, owner, rtype)| (owner.clone(), *rtype));
            let (apex, gone) = (watch.apex.clone(), watch.gone);
            rounds.push(Round { zone, apex, gone, sets: sets.collect() });
        }
        rounds
    }

    /// Says who the servers of a zone are that changed: if not one can be asked, nobody is.
    pub(super) fn found(&mut self, zone: u32, servers: &Servers, now_ms: u64) {
        let Some(watch) = self.watches.get_mut(&zone).filter(|watch| !watch.asking) else { return };
        let waits = servers.unknown.iter().any(|name| !servers.unknown_waived.contains(name));
        if !waits || servers.known.iter().any(|server| server.probe) {
            return;
        }
        watch.unknown.clone_from(&servers.unknown);
        watch.unknown_waived.clone_from(&servers.unknown_waived);
        watch.cells.clear();
        watch.idle = true;
        watch.deserted = servers.known.is_empty().then(|| Deserted {
            until_ms: now_ms + DESERTED_MS,
            names: servers.unknown.iter().filter_map(|name| Name::parse(name).ok()).collect(),
        });
        self.plan(zone, Some(now_ms + SLOW_MS));
    }

    /// Says what a round saw of the zone at `serial`; returns whether it is everywhere now.
    pub(super) fn done(
        &mut self,
        zone: u32,
        serial: Serial,
        servers: Servers,
        seen: Vec<(SocketAddr, Seen)>,
        now_ms: u64,
    ) -> Option<Everywhere> {
        self.rounds = self.rounds.saturating_sub(1);
        let watch = self.watches.get_mut(&zone)?;
        watch.asking = false;
        watch.serial = serial;
        watch.unknown = servers.unknown;
        watch.unknown_waived = servers.unknown_waived;
        watch.idle = seen.is_empty();
        watch.take(servers.known);
        for (address, seen) in seen {
            if let Some(cell) = watch.cells.get_mut(&address) {
                cell.take(seen, now_ms);
            }
        }
        let done = |cell: &Cell| cell.waived || cell.seen.standing == Standing::Ok;
        let all_ok = watch.unknown.iter().all(|name| watch.unknown_waived.contains(name))
            && watch.cells.values().all(done);
        if all_ok && !watch.again {
            if watch.gone {
                self.forget(zone);
                return Some(Everywhere { zone, serial: None });
            }
            watch.sets.clear();
            watch.everywhere_ms = Some(now_ms);
            self.settled.push_back(zone);
            return Some(Everywhere { zone, serial: Some(serial) });
        }
        let wait = match watch.again {
            true => FIRST_MS,
            false if watch.idle || watch.calm => SLOW_MS,
            false if now_ms.saturating_sub(watch.changed_ms) > EAGER_MS => SLOW_MS,
            false => watch.step_ms,
        };
        watch.step_ms = (watch.step_ms * 2).min(STEP_MS_MAX);
        self.plan(zone, Some(now_ms + wait));
        None
    }

    /// There are other secondaries now: zones of which no server could be asked are asked about again.
    pub fn servers_changed(&mut self, now_ms: u64) {
        self.watches.values_mut().for_each(|watch| watch.deserted = None);
        let idle = |(zone, watch): (&u32, &Watch)| (watch.idle && !watch.asking).then_some(*zone);
        let idle: Vec<u32> = self.watches.iter().filter_map(idle).collect();
        for (zone, at) in idle.into_iter().zip((now_ms + FIRST_MS..).step_by(APART_MS as usize)) {
            self.plan(zone, Some(at));
        }
    }

    /// A round that could not be held: the zone is gone, or cannot be read.
    pub fn dropped(&mut self, zone: u32) {
        self.rounds = self.rounds.saturating_sub(1);
        self.forget(zone);
    }

    /// The zone is no more.
    pub fn forget(&mut self, zone: u32) {
        self.plan(zone, None);
        self.watches.remove(&zone);
    }

    /// When the next round is to begin, if there is a place for it.
    pub fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at).filter(|_| self.rounds < ROUNDS_MAX)
    }

    /// What is known of a zone.
    pub fn get(&self, zone: u32) -> Option<&Watch> {
        self.watches.get(&zone)
    }

    fn plan(&mut self, zone: u32, at_ms: Option<u64>) {
        let Some(watch) = self.watches.get_mut(&zone) else { return };
        if let Some(old) = watch.next_ms.take() {
            self.due.remove(&(old, zone));
        }
        if let Some(at) = at_ms {
            watch.next_ms = Some(at);
            self.due.insert((at, zone));
        }
    }
}

impl Watch {
    /// More is to be asked for.
    fn add(&mut self, sets: impl IntoIterator<Item = (Name, Type)>) {
        for (owner, rtype) in sets {
            if self.sets.len() < SETS_MAX && rtype != Type::SOA {
                self.sets.insert((owner.key(), owner, rtype));
            }
        }
    }

    /// The servers as they are now; what was seen of those that stay is kept.
    fn take(&mut self, servers: Vec<Server>) {
        let mut old = std::mem::take(&mut self.cells);
        for server in servers.into_iter().filter(|server| server.probe) {
            let fresh = || Cell {
                names: Vec::new(),
                address: server.address,
                seen: Seen { standing: Standing::Pending, serial: None, detail: String::new() },
                asked_ms: None,
                ok_ms: None,
                waived: false,
            };
            let mut cell = old.remove(&server.address).unwrap_or_else(fresh);
            cell.names = server.names;
            cell.waived = server.waived;
            self.cells.insert(server.address, cell);
        }
    }
}

impl Cell {
    fn take(&mut self, seen: Seen, now_ms: u64) {
        self.asked_ms = Some(now_ms);
        if seen.standing == Standing::Ok {
            self.ok_ms = Some(now_ms);
        }
        self.seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apex() -> Name {
        Name::parse("example.").unwrap()
    }

    fn servers(count: u8) -> Servers {
        let server = |n| Server {
            address: SocketAddr::from(([192, 0, 2, n], 53)),
            names: vec![format!("ns{n}.")],
            key: None,
            notify: true,
            probe: true,
            waived: false,
            own: false,
        };
        Servers { known: (1..=count).map(server).collect(), ..Servers::default() }
    }

    fn seen(n: u8, standing: Standing) -> (SocketAddr, Seen) {
        let seen = Seen { standing, serial: None, detail: String::new() };
        (SocketAddr::from(([192, 0, 2, n], 53)), seen)
    }

    fn watching() -> Matrix {
        let mut matrix = Matrix::default();
        matrix.watch(1, &apex(), Serial(2), [(apex(), Type::A)], false, 0);
        matrix
    }

    #[test]
    fn everywhere_is_said_when_all_are_ok_and_not_before() {
        let mut matrix = watching();
        let round = matrix.take_due(FIRST_MS);
        assert_eq!(round[0].sets, [(apex(), Type::A)]);
        let seen_by = vec![seen(1, Standing::Ok), seen(2, Standing::Behind)];
        assert_eq!(matrix.done(1, Serial(2), servers(2), seen_by, 200), None);
        let again = matrix.next_ms().unwrap();
        assert_eq!(matrix.take_due(again).len(), 1);
        let seen_by = vec![seen(1, Standing::Ok), seen(2, Standing::Ok)];
        let everywhere = matrix.done(1, Serial(2), servers(2), seen_by, again);
        assert_eq!(everywhere, Some(Everywhere { zone: 1, serial: Some(Serial(2)) }));
        assert_eq!(matrix.next_ms(), None, "it is asked about no more");
    }

    #[test]
    fn a_listed_name_without_an_address_keeps_it_from_being_everywhere() {
        let mut matrix = watching();
        matrix.take_due(FIRST_MS);
        let servers = Servers { unknown: vec!["ns.elsewhere.".into()], ..servers(1) };
        assert_eq!(matrix.done(1, Serial(2), servers, vec![seen(1, Standing::Ok)], 200), None);
        assert!(matrix.next_ms().is_some());
    }

    #[test]
    fn a_zone_that_changes_where_nobody_can_be_asked_is_not_asked_about() {
        let nobody = Servers { unknown: vec!["ns.elsewhere.".into()], ..Servers::default() };
        let mut matrix = watching();
        matrix.found(1, &nobody, 20);
        assert_eq!(matrix.next_ms(), Some(20 + SLOW_MS));
        assert_eq!(matrix.get(1).unwrap().unknown, nobody.unknown, "and it is shown at once");

        let waived = Servers { unknown_waived: nobody.unknown.clone(), ..nobody };
        for servers in [servers(1), waived] {
            matrix.watch(1, &apex(), Serial(3), [], false, 50_000);
            matrix.found(1, &servers, 50_020);
            assert_eq!(matrix.next_ms(), Some(50_000 + FIRST_MS));
        }
    }

    #[test]
    fn nobody_is_looked_for_again_at_once_unless_the_change_is_about_them() {
        let nobody = Servers { unknown: vec!["ns.elsewhere.".into()], ..Servers::default() };
        let (www, ns) =
            (Name::parse("www.example.").unwrap(), Name::parse("ns.elsewhere.").unwrap());
        let mut matrix = watching();
        let stays = |matrix: &mut Matrix, set: (&Name, Type), now_ms| {
            matrix.stays_deserted(1, Serial(3), &[(set.0.clone(), set.1)], now_ms)
        };
        assert!(!stays(&mut matrix, (&www, Type::A), 10), "who is there is not known yet");
        matrix.found(1, &nobody, 20);

        assert!(stays(&mut matrix, (&www, Type::A), 30));
        let watch = matrix.get(1).unwrap();
        assert_eq!((watch.serial, watch.sets.len()), (Serial(3), 2), "it is asked for later");
        assert!(!stays(&mut matrix, (&ns, Type::A), 40));
        assert!(!stays(&mut matrix, (&apex(), Type::NS), 40));
        assert!(!stays(&mut matrix, (&www, Type::A), 20 + DESERTED_MS));

        assert!(stays(&mut matrix, (&www, Type::A), 50));
        matrix.servers_changed(60);
        assert!(!stays(&mut matrix, (&www, Type::A), 70));
    }

    #[test]
    fn who_is_waived_is_asked_and_not_waited_for() {
        let mut matrix = watching();
        matrix.take_due(FIRST_MS);
        let mut two = Servers { unknown: vec!["ns.elsewhere.".into()], ..servers(2) };
        two.known[1].waived = true;
        let seen_by = || vec![seen(1, Standing::Ok), seen(2, Standing::Unreachable)];
        assert_eq!(matrix.done(1, Serial(2), two.clone(), seen_by(), 200), None);
        two.unknown_waived = two.unknown.clone();
        let everywhere = matrix.done(1, Serial(2), two, seen_by(), 300);
        assert_eq!(everywhere, Some(Everywhere { zone: 1, serial: Some(Serial(2)) }));
        let shown: Vec<_> = matrix.get(1).unwrap().cells.values().collect();
        assert!(shown[1].waived && shown[1].seen.standing == Standing::Unreachable);
    }

    #[test]
    fn a_zone_that_is_no_more_is_everywhere_once_nobody_answers_for_it() {
        let mut matrix = watching();
        matrix.watch_gone(1, &apex(), 50);
        let round = matrix.take_due(50 + FIRST_MS);
        assert!(round[0].gone && round[0].sets.is_empty());
        let seen_by = vec![seen(1, Standing::Ok), seen(2, Standing::Behind)];
        assert_eq!(matrix.done(1, Serial(0), servers(2), seen_by, 200), None);
        assert!(matrix.next_ms().is_some());
        let seen_by = vec![seen(1, Standing::Ok), seen(2, Standing::Ok)];
        let everywhere = matrix.done(1, Serial(0), servers(2), seen_by, 300);
        assert_eq!(everywhere, Some(Everywhere { zone: 1, serial: None }));
        assert!(matrix.get(1).is_none() && matrix.next_ms().is_none());
    }

    #[test]
    fn a_change_during_a_round_is_asked_about_in_another() {
        let mut matrix = watching();
        matrix.take_due(FIRST_MS);
        matrix.watch(1, &apex(), Serial(3), [], false, 150);
        assert!(matrix.take_due(10_000).is_empty(), "one round at a time");
        assert_eq!(matrix.done(1, Serial(2), servers(1), vec![seen(1, Standing::Ok)], 200), None);
        assert_eq!(matrix.next_ms(), Some(200 + FIRST_MS));
    }

    #[test]
    fn rounds_come_ever_more_rarely() {
        let mut matrix = watching();
        let mut rounds = 0;
        while let Some(next) = matrix.next_ms().filter(|next| *next < 24 * EAGER_MS) {
            assert_eq!(matrix.take_due(next).len(), 1);
            matrix.done(1, Serial(2), servers(1), vec![seen(1, Standing::Unreachable)], next);
            rounds += 1;
        }
        assert!((60..200).contains(&rounds), "{rounds} rounds in a day");
    }

    #[test]
    fn a_zone_with_nobody_to_ask_waits_for_other_servers() {
        let mut matrix = watching();
        matrix.take_due(FIRST_MS);
        let nobody = || Servers { unknown: vec!["ns.elsewhere.".into()], ..Servers::default() };
        assert_eq!(matrix.done(1, Serial(2), nobody(), vec![], 200), None);
        assert_eq!(matrix.next_ms(), Some(200 + SLOW_MS));
        matrix.servers_changed(300);
        assert_eq!(matrix.next_ms(), Some(300 + FIRST_MS));
    }

    #[test]
    fn the_servers_of_a_zone_that_only_follows_are_asked_soon_and_then_rarely() {
        let mut matrix = Matrix::default();
        matrix.watch(1, &apex(), Serial(2), [], true, 0);
        let mut rounds = Vec::new();
        while let Some(next) = matrix.next_ms().filter(|next| *next < 3 * SLOW_MS) {
            assert_eq!(matrix.take_due(next).len(), 1);
            matrix.done(1, Serial(2), servers(1), vec![seen(1, Standing::Behind)], next);
            rounds.push(next);
        }
        assert_eq!(rounds, [FIRST_MS, FIRST_MS + SLOW_MS, FIRST_MS + 2 * SLOW_MS]);
    }

    #[test]
    fn a_server_that_is_no_longer_listed_is_no_longer_shown() {
        let mut matrix = watching();
        matrix.done(1, Serial(2), servers(2), vec![seen(2, Standing::Lame)], 100);
        matrix.done(1, Serial(2), servers(1), vec![], 200);
        assert_eq!(matrix.get(1).unwrap().cells.len(), 1);
    }
}
