//! Where secondary zones wait for their time, and the turns that threads take with primaries.
//!
//! One queue ordered by time; what NOTIFY, the API or a start wants brings a zone forward, once,
//! however often it is wanted.
//!
//! Promises: a zone is handed to one thread at a time; some threads are always left for the zones of
//! other primaries than the one that takes most.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Ask, Took, Trouble};
use crate::maintain::now_us;
use crate::transport::xot::Trusts;
use crate::wire::Name;
use crate::xfr::timers::{SECOND_US, SoaTimers, Times};

/// How long a primary that did not answer is left alone, in microseconds.
const OUT_OF_REACH_US: u64 = 10 * SECOND_US;

/// How long a zone waits whose primary takes as many threads as it may.
const CROWDED_US: u64 = SECOND_US;

/// How long a thread waits at most before it looks again.
const WAIT_MAX_US: u64 = 3600 * SECOND_US;

/// How far a clock must be behind what has passed to be called set back: less is a clock that is slowed.
const SET_BACK_US: u64 = SECOND_US;

/// Where secondary zones wait for their time.
#[derive(Default)]
pub(in crate::maintain) struct Desk {
    queue: Mutex<Queue>,
    told: Condvar,
    pub(super) trusts: Trusts,
}

#[derive(Default)]
pub(super) struct Queue {
    pub open: bool,
    /// What the clock showed when it was looked at last, and when that was.
    looked: Option<(u64, Instant)>,
    pub zones: BTreeMap<Vec<u8>, Entry>,
    /// When each zone is looked at next; one that is asking, when it expires.
    pub due: BTreeSet<(u64, Vec<u8>)>,
    /// Primaries that did not answer.
    out_of_reach: HashMap<SocketAddr, OutOfReach>,
    /// When the thread wakes up that watches for the next zone to be due; none when none does. The others
    /// sleep until they are told.
    watched_until: Option<u64>,
    /// How many threads may ask one primary at once.
    pub most: usize,
    /// Primaries that are being asked, and by how many threads.
    asked: HashMap<SocketAddr, usize>,
    /// Zones that are due and wait for their primary to be asked by fewer, by that primary.
    parked: HashMap<SocketAddr, VecDeque<Vec<u8>>>,
}

/// A primary that did not answer.
struct OutOfReach {
    asked_us: u64,
    /// How long it is left alone.
    until_us: u64,
    /// What was seen of it.
    why: String,
}

/// One thread asking one primary, until it is dropped.
pub(super) struct Turn<'d> {
    desk: &'d Desk,
    primary: SocketAddr,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.desk.lock();
        if let Some(count) = queue.asked.get_mut(&self.primary) {
            *count -= 1;
            if *count == 0 {
                queue.asked.remove(&self.primary);
            }
        }
        queue.unpark_one(self.primary);
        self.desk.tell(&mut queue);
    }
}

/// What becomes of a zone that was looked at.
pub(super) enum After {
    /// It is looked after no more.
    Gone,
    /// It waits for its time.
    Waits,
    /// It is asked about a little later, for the same reason.
    Later(Ask),
}

pub(super) struct Entry {
    pub apex: Name,
    /// The primary that is asked first.
    pub first: SocketAddr,
    /// Whether it is due, but waits for its first primary to be asked by fewer.
    pub parked: bool,
    pub times: Times,
    pub timers: Option<SoaTimers>,
    pub expired: bool,
    pub asking: bool,
    /// What was wanted since the last round began.
    pub wanted: Option<Ask>,
    pub trouble: Option<String>,
    /// Primaries that were asked in vain when they were asked last, and why.
    pub passed_over: Vec<(SocketAddr, String)>,
    /// Whether a primary is known to have something newer that did not come.
    pub misses: bool,
    pub took: Option<Took>,
    /// Of a catalog: the version whose zones are here, and the turn in which they came.
    pub named: Option<(u64, u64)>,
    /// How often the way it is to be followed has changed.
    pub turn: u64,
    /// Of a catalog: the version of which others know that they may take zones over.
    pub told: Option<u64>,
}

/// What a thread is to do.
pub(super) enum Job {
    Ask(Name, Ask),
    Expire(Name),
}

impl Entry {
    /// When it is to be looked at. What is parked, or asks for long, may still expire.
    pub fn due_us(&self) -> u64 {
        let expires = self.times.expires_us(self.timers).filter(|_| !self.expired);
        let expires = expires.unwrap_or(u64::MAX);
        if self.parked || self.asking { expires } else { self.times.next_us.min(expires) }
    }

    /// Whether it was told of something by another than the primary it asks first.
    fn is_told_by_another(&self) -> bool {
        let from = self.wanted.as_ref().and_then(|ask| ask.from);
        from.is_some_and(|from| from != self.first.ip().to_canonical())
    }
}

impl Queue {
    /// Changes a zone that does not ask, and puts it where it belongs then.
    pub fn change(&mut self, key: &[u8], with: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.zones.get_mut(key) else { return };
        let old = entry.due_us();
        with(entry);
        let due = entry.due_us();
        self.due.remove(&(old, key.to_vec()));
        self.due.insert((due, key.to_vec()));
    }

    /// What is to be done about a zone that is due and no longer in line; none if it was parked.
    fn take_up(&mut self, key: Vec<u8>, now_us: u64) -> Option<Job> {
        let entry = self.zones.get_mut(&key)?;
        entry.parked = false;
        if !entry.expired && entry.times.is_expired(entry.timers, now_us) {
            entry.expired = true;
            let (due_us, apex) = (entry.due_us(), entry.apex.clone());
            if !entry.asking {
                self.due.insert((due_us, key));
            }
            return Some(Job::Expire(apex));
        }
        let asked = self.asked.get(&entry.first).copied().unwrap_or_default();
        if asked >= self.most && !entry.is_told_by_another() {
            entry.parked = true;
            self.due.insert((entry.due_us(), key.clone()));
            self.parked.entry(entry.first).or_default().push_back(key);
            return None;
        }
        entry.asking = true;
        let (expires_us, apex) = (entry.due_us(), entry.apex.clone());
        let ask = entry.wanted.take().unwrap_or_default();
        self.due.insert((expires_us, key));
        Some(Job::Ask(apex, ask))
    }

    /// Looks at the clock. If it was set back, what waits does not wait for that much longer; what it jumps
    /// ahead may have passed while this machine was not running.
    fn look_at_clock(&mut self, now_us: u64, at: Instant) {
        let Some((shown_us, when)) = self.looked.replace((now_us, at)) else { return };
        let passed_us = u64::try_from(at.duration_since(when).as_micros()).unwrap_or(u64::MAX);
        let back_us = shown_us.saturating_add(passed_us).saturating_sub(now_us);
        if back_us < SET_BACK_US {
            return;
        }
        self.out_of_reach.clear();
        self.zones.values_mut().for_each(|entry| entry.times.set_back(back_us));
        let due = std::mem::take(&mut self.due).into_iter();
        let moved = due.filter_map(|(_, key)| Some((self.zones.get(&key)?.due_us(), key)));
        self.due = moved.collect();
    }

    /// Lets the next of the zones try again that wait for this primary.
    fn unpark_one(&mut self, primary: SocketAddr) {
        while let Some(parked) = self.parked.get_mut(&primary) {
            let Some(key) = parked.pop_front() else {
                self.parked.remove(&primary);
                return;
            };
            // It may have been let go for another reason.
            if self.zones.get(&key).is_some_and(|entry| entry.parked) {
                self.change(&key, |entry| entry.parked = false);
                return;
            }
        }
    }
}

impl Desk {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets no thread wait any more.
    pub fn close(&self) {
        self.lock().open = false;
        self.told.notify_all();
    }

    /// Whether `primary` did not answer a moment ago. Who has told us something since is there again.
    pub(super) fn is_out_of_reach(&self, primary: SocketAddr, ask: &Ask) -> Result<(), Trouble> {
        let has_told = ask.from == Some(primary.ip().to_canonical());
        match self.lock().out_of_reach.get(&primary) {
            Some(it) if it.until_us > now_us() && !(has_told && it.asked_us < ask.told_us) => {
                Err(Trouble::OutOfReach(it.why.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Notes that `primary`, asked at `asked_us`, did not answer.
    pub(super) fn note_out_of_reach(&self, primary: SocketAddr, asked_us: u64, why: &Trouble) {
        let (now_us, why, mut queue) = (now_us(), why.to_string(), self.lock());
        queue.out_of_reach.retain(|_, it| it.until_us > now_us);
        let until_us = now_us + OUT_OF_REACH_US;
        queue.out_of_reach.insert(primary, OutOfReach { asked_us, until_us, why });
    }

    pub(super) fn note_in_reach(&self, primary: SocketAddr) {
        self.lock().out_of_reach.remove(&primary);
    }

    /// Opens the desk for so many threads: one primary may have all of them but a quarter.
    pub(super) fn open(&self, threads: usize) {
        let mut queue = self.lock();
        queue.open = true;
        queue.most = threads.saturating_sub((threads / 4).max(1)).max(1);
    }

    /// Lets a thread ask a primary, unless it is asked by as many already as may.
    pub(super) fn turn(&self, primary: SocketAddr) -> Result<Turn<'_>, Trouble> {
        let mut queue = self.lock();
        let most = queue.most;
        let count = queue.asked.entry(primary).or_default();
        if *count >= most {
            return Err(Trouble::Crowded(primary));
        }
        *count += 1;
        drop(queue);
        Ok(Turn { desk: self, primary })
    }

    /// Wakes a thread if a zone is due before any would look.
    pub(super) fn tell(&self, queue: &mut Queue) {
        let Some((due, _)) = queue.due.first() else { return };
        if queue.watched_until.is_none_or(|until| *due < until) {
            queue.watched_until = None;
            self.told.notify_one();
        }
    }

    /// Waits for the next thing to do; none when the desk is closed.
    ///
    /// One thread watches the time; who takes something to do wakes another to watch.
    pub(super) fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        while queue.open {
            let now = now_us();
            queue.look_at_clock(now, Instant::now());
            let due = queue.due.first().map_or(u64::MAX, |(due, _)| *due);
            if due <= now {
                let Some((_, key)) = queue.due.pop_first() else { continue };
                match queue.take_up(key, now) {
                    Some(job) => {
                        self.tell(&mut queue);
                        return Some(job);
                    }
                    None => continue,
                }
            }
            if queue.watched_until.is_some_and(|until| until <= due) {
                queue = self.told.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.watched_until = Some(due);
            let wait = Duration::from_micros((due - now).min(WAIT_MAX_US));
            let waited = self.told.wait_timeout(queue, wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.watched_until = queue.watched_until.filter(|until| *until != due);
        }
        None
    }

    /// Has a zone asked about at once that expired while it was confirmed.
    pub(super) fn doubt(&self, apex: &Name) {
        let (key, now_us) = (apex.key(), now_us());
        let mut queue = self.lock();
        let entry = queue.zones.get(&key);
        if entry.is_some_and(|it| !it.asking && !it.times.is_expired(it.timers, now_us)) {
            queue.change(&key, |entry| entry.times.hurry(now_us));
            self.tell(&mut queue);
        }
    }

    /// Puts a zone back after `with` looked at it, or takes it out, as that says.
    pub(super) fn put_back(&self, apex: &Name, with: impl FnOnce(&mut Entry) -> After) {
        let key = apex.key();
        let mut queue = self.lock();
        let Some(entry) = queue.zones.get_mut(&key) else { return };
        let (expires_us, first) = (entry.due_us(), entry.first);
        entry.asking = false;
        let after = with(entry);
        match after {
            After::Gone => {}
            After::Waits if entry.wanted.is_some() => entry.times.hurry(now_us()),
            After::Waits => {}
            After::Later(ref ask) => {
                entry.wanted.get_or_insert_default().join(ask.clone());
                entry.times.next_us = now_us() + CROWDED_US;
            }
        }
        let due = entry.due_us();
        queue.due.remove(&(expires_us, key.clone()));
        if matches!(after, After::Gone) {
            queue.zones.remove(&key);
        } else {
            queue.due.insert((due, key));
        }
        queue.unpark_one(first);
        self.tell(&mut queue);
    }

    pub(super) fn want(&self, apex: &Name, ask: Ask) -> bool {
        let key = apex.key();
        let mut queue = self.lock();
        let Some(entry) = queue.zones.get_mut(&key) else { return false };
        entry.wanted.get_or_insert_default().join(ask);
        if !entry.asking {
            queue.change(&key, |entry| {
                entry.parked &= !entry.is_told_by_another();
                entry.times.hurry(now_us());
            });
        }
        self.tell(&mut queue);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn entry(apex: &str, first: SocketAddr) -> Entry {
        Entry {
            apex: Name::parse(apex).unwrap(),
            first,
            parked: false,
            times: Times::new(now_us()),
            timers: None,
            expired: true,
            asking: false,
            wanted: None,
            trouble: None,
            passed_over: Vec::new(),
            misses: false,
            took: None,
            named: None,
            turn: 0,
            told: None,
        }
    }

    fn desk(zones: &[(&str, SocketAddr)]) -> Desk {
        let desk = Desk::default();
        desk.open(2);
        for (apex, first) in zones {
            let (entry, mut queue) = (entry(apex, *first), desk.lock());
            let key = entry.apex.key();
            queue.due.insert((entry.due_us(), key.clone()));
            queue.zones.insert(key, entry);
        }
        desk
    }

    fn asked(desk: &Desk) -> Name {
        match desk.next() {
            Some(Job::Ask(apex, _)) => apex,
            _ => panic!("nothing is asked"),
        }
    }

    const SLOW: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 53);
    const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 53);

    #[test]
    fn a_zone_whose_primary_is_crowded_lets_others_go_first_and_comes_next() {
        let desk = desk(&[("a.", SLOW), ("b.", SLOW), ("c.", SLOW), ("d.", OTHER)]);
        let first = asked(&desk);
        assert_eq!(first.to_string(), "a.");
        let turn = desk.turn(SLOW).ok();
        assert!(turn.is_some());
        assert!(matches!(desk.turn(SLOW), Err(Trouble::Crowded(who)) if who == SLOW));
        assert_eq!(asked(&desk).to_string(), "d.");

        drop(turn);
        let second = asked(&desk);
        assert_eq!(second.to_string(), "b.");
        // Without having asked, too: the one behind it is let go.
        desk.put_back(&second, |entry| {
            entry.times.next_us = u64::MAX;
            After::Waits
        });
        assert_eq!(asked(&desk).to_string(), "c.");
    }

    #[test]
    fn a_clock_that_is_set_back_puts_no_question_off() {
        let desk = desk(&[("a.", SLOW)]);
        let (mut queue, start, now_us) = (desk.lock(), Instant::now(), now_us());
        let waits_s = |queue: &Queue, now_us| (queue.due.first().unwrap().0 - now_us) / SECOND_US;
        let in_five_minutes = |entry: &mut Entry| entry.times.next_us = now_us + 300 * SECOND_US;
        queue.change(&Name::parse("a.").unwrap().key(), in_five_minutes);
        let back_s = 7_200;
        for (passed_s, shown_s, left_s) in
            [(0, 0, 300), (10, 10, 290), (20, 20 - back_s, 280), (30, 30 - back_s, 270)]
        {
            let shown_us = now_us.saturating_add_signed(shown_s * 1_000_000);
            queue.look_at_clock(shown_us, start + Duration::from_secs(passed_s));
            assert_eq!(waits_s(&queue, shown_us), left_s, "after {passed_s} s");
        }
        let ahead_us = now_us.saturating_add_signed((40 - back_s + 60) * 1_000_000);
        queue.look_at_clock(ahead_us, start + Duration::from_secs(40));
        assert_eq!(waits_s(&queue, ahead_us), 200, "a machine that slept for a minute");
    }

    #[test]
    fn who_did_not_answer_is_left_alone_until_it_tells_us_something() {
        let (desk, asked_us) = (desk(&[]), now_us());
        let told =
            |from: SocketAddr, told_us| Ask { from: Some(from.ip()), told_us, ..Ask::default() };
        let is_asked = |ask: &Ask| desk.is_out_of_reach(SLOW, ask).is_ok();
        assert!(is_asked(&Ask::default()));
        desk.note_out_of_reach(SLOW, asked_us, &Trouble::Store("silent".into()));
        assert!(!is_asked(&Ask::default()));
        assert!(!is_asked(&told(SLOW, asked_us - 1)), "what it said before it fell silent");
        assert!(!is_asked(&told(OTHER, asked_us + 1)));
        assert!(is_asked(&told(SLOW, asked_us + 1)));
        assert!(desk.is_out_of_reach(OTHER, &Ask::default()).is_ok());
        desk.note_in_reach(SLOW);
        assert!(is_asked(&Ask::default()));
    }

    /// Goal: however many threads wait, one wakes up for a zone, and no zone is forgotten.
    /// Method: threads take zones that come to be due one behind the other, in any order, while all wait;
    /// each zone is put away for good once it was taken.
    #[test]
    fn every_zone_that_comes_to_be_due_is_taken_once_by_some_thread() {
        const ZONES: u64 = 60;
        let desk = desk(&[]);
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(Job::Ask(apex, _)) = desk.next() {
                        desk.put_back(&apex, |_| After::Gone);
                        taken.lock().unwrap().push(apex.to_string());
                    }
                });
            }
            for number in 0..ZONES {
                let mut entry = entry(&format!("z{number}."), OTHER);
                // Some at once, some later than those behind them.
                entry.times.next_us = now_us() + number * 7_919 % 11 * 3_000;
                let (key, mut queue) = (entry.apex.key(), desk.lock());
                queue.due.insert((entry.due_us(), key.clone()));
                queue.zones.insert(key, entry);
                desk.tell(&mut queue);
            }
            let end = std::time::Instant::now() + Duration::from_secs(60);
            while taken.lock().unwrap().len() < ZONES as usize {
                assert!(std::time::Instant::now() < end, "{:?}", taken.lock().unwrap());
                std::thread::sleep(Duration::from_millis(1));
            }
            desk.close();
        });
        let mut taken = taken.into_inner().unwrap();
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), ZONES as usize);
    }

    #[test]
    fn a_zone_that_waits_for_its_primary_is_asked_about_when_another_tells_of_it() {
        let desk = desk(&[("a.", SLOW), ("b.", SLOW), ("c.", OTHER)]);
        assert_eq!(asked(&desk).to_string(), "a.");
        let _turn = desk.turn(SLOW).ok();
        assert_eq!(asked(&desk).to_string(), "c.");
        let from = Some(OTHER.ip());
        assert!(desk.want(&Name::parse("b.").unwrap(), Ask { from, ..Ask::default() }));
        assert_eq!(asked(&desk).to_string(), "b.");
    }
}
