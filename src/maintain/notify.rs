//! NOTIFY out ([RFC 1996]): whom to tell of which zone, when, and what became of it.
//!
//! One entry for each zone and server. A change is told at once if that server was not told of the
//! zone within the last [`PAUSE_MS`], else when that is over: however many changes come in a burst, a
//! server hears of the first and of the last. Whoever does not acknowledge is told again after
//! [`RETRIES_MS`], longer each time; then it is left to the SOA's REFRESH, unless it is seen to answer
//! questions again before that.
//!
//! Promises: at most [`FLIGHTS_MAX`] messages are under way, and to one server
//! [`SERVER_FLIGHTS_MAX`], so one that is dead delays nobody else; at most [`ENTRIES_MAX`] entries.
//!
//! Does not: send. It is told the time, and what became of each message.
//!
//! [RFC 1996]: https://www.rfc-editor.org/rfc/rfc1996

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::wire::{Rcode, Serial};

/// Milliseconds between two NOTIFY of one zone to one server.
pub const PAUSE_MS: u64 = 1_000;

/// Milliseconds after which a NOTIFY that was not acknowledged is sent again.
pub const RETRIES_MS: [u64; 6] = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

/// Messages under way in all, and to one server.
pub const FLIGHTS_MAX: usize = 512;
pub const SERVER_FLIGHTS_MAX: usize = 64;

/// Entries kept. Beyond, those acknowledged are forgotten.
pub const ENTRIES_MAX: usize = 200_000;

/// How one server stands to the news of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Is to be told, for the first time or again.
    Waiting,
    /// Was told, has not answered yet.
    Sent,
    Acknowledged,
    /// Did not acknowledge however often it was told; this was the last reason.
    GivenUp(Failure),
}

/// Why a NOTIFY was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It answered with this RCODE.
    Answered(Rcode),
    /// It did not answer, or something else.
    Unanswered(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Answered(rcode) => write!(f, "answered with {rcode}"),
            Failure::Unanswered(why) => f.write_str(why),
        }
    }
}

/// What is known of one zone and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is to hear of.
    pub serial: Serial,
    pub delivery: Delivery,
    /// How often it was told of this serial.
    pub attempts: usize,
    /// The last failure, while it is told again.
    pub failure: Option<Failure>,
    /// Milliseconds on the caller's clock.
    pub sent_ms: Option<u64>,
    due_ms: Option<u64>,
    /// The serial of the message under way.
    flight: Option<Serial>,
}

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    pub zone: u32,
    pub server: SocketAddr,
    pub serial: Serial,
}

/// All entries.
#[derive(Debug, Default)]
pub struct Notifier {
    entries: BTreeMap<(u32, SocketAddr), Entry>,
    due: BTreeMap<SocketAddr, BTreeSet<(u64, u32)>>,
    flights: BTreeMap<SocketAddr, usize>,
    /// Acknowledged; failed, to be told again; failed for the last time.
    results: [u64; 3],
}

impl Notifier {
    /// `server` is to hear that `zone` has `serial` now.
    pub fn tell(&mut self, zone: u32, server: SocketAddr, serial: Serial, now_ms: u64) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.retain(|_, entry| entry.delivery != Delivery::Acknowledged);
        }
        let entry = self.entries.entry((zone, server)).or_insert_with(|| Entry {
            serial,
            delivery: Delivery::Waiting,
            attempts: 0,
            failure: None,
            sent_ms: None,
            due_ms: None,
            flight: None,
        });
        entry.serial = serial;
        entry.attempts = 0;
        entry.failure = None;
        entry.delivery = Delivery::Waiting;
        let due_ms = entry.sent_ms.map_or(now_ms, |sent| now_ms.max(sent + PAUSE_MS));
        if entry.flight.is_none() {
            self.plan(zone, server, Some(due_ms));
        }
    }

    /// Takes what is to be sent now.
    pub fn take_due(&mut self, now_ms: u64) -> Vec<Errand> {
        let mut errands = Vec::new();
        let mut free = FLIGHTS_MAX.saturating_sub(self.flights.values().sum());
        for (server, due) in &mut self.due {
            let flights = self.flights.entry(*server).or_default();
            while *flights < SERVER_FLIGHTS_MAX && free > 0 {
                let Some(&(at, zone)) = due.first().filter(|(at, _)| *at <= now_ms) else { break };
                due.remove(&(at, zone));
                let Some(entry) = self.entries.get_mut(&(zone, *server)) else { continue };
                entry.due_ms = None;
                entry.sent_ms = Some(now_ms);
                entry.flight = Some(entry.serial);
                entry.attempts += 1;
                entry.delivery = Delivery::Sent;
                *flights += 1;
                free -= 1;
                errands.push(Errand { zone, server: *server, serial: entry.serial });
            }
        }
        self.due.retain(|_, due| !due.is_empty());
        self.flights.retain(|_, flights| *flights > 0);
        errands
    }

    /// Says what became of a message.
    pub fn done(&mut self, errand: &Errand, result: Result<(), Failure>, now_ms: u64) {
        if let Some(flights) = self.flights.get_mut(&errand.server) {
            *flights = flights.saturating_sub(1);
        }
        let Some(entry) = self.entries.get_mut(&(errand.zone, errand.server)) else { return };
        entry.flight = None;
        if entry.serial != errand.serial {
            self.results[usize::from(result.is_err())] += 1;
            let due_ms = entry.sent_ms.map_or(now_ms, |sent| now_ms.max(sent + PAUSE_MS));
            return self.plan(errand.zone, errand.server, Some(due_ms));
        }
        match result {
            Ok(()) => {
                entry.delivery = Delivery::Acknowledged;
                entry.failure = None;
                self.results[0] += 1;
            }
            Err(failure) => match RETRIES_MS.get(entry.attempts.saturating_sub(1)) {
                Some(after) => {
                    self.results[1] += 1;
                    entry.delivery = Delivery::Waiting;
                    entry.failure = Some(failure);
                    self.plan(errand.zone, errand.server, Some(now_ms + after));
                }
                None => {
                    entry.delivery = Delivery::GivenUp(failure);
                    self.results[2] += 1;
                }
            },
        }
    }

    /// How many messages were acknowledged, how many failed, and how many failed for the last time.
    pub fn results(&self) -> [u64; 3] {
        self.results
    }

    /// `server` answers again: if it said nothing when it was told of `zone`, it is told now, and the retries
    /// begin anew. Who answered that it does not want to know is left alone.
    pub fn revived(&mut self, zone: u32, server: SocketAddr, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(&(zone, server)) else { return };
        let failure = match &entry.delivery {
            Delivery::GivenUp(failure) => Some(failure),
            Delivery::Waiting => entry.failure.as_ref(),
            _ => None,
        };
        if let Some(Failure::Unanswered(_)) = failure {
            let serial = entry.serial;
            self.tell(zone, server, serial, now_ms);
        }
    }

    /// When something is next to be sent, if a place is free for it then.
    pub fn next_ms(&self) -> Option<u64> {
        let free = self.flights.values().sum::<usize>() < FLIGHTS_MAX;
        let open = self.due.iter().filter(|(server, _)| {
            free && self.flights.get(server).is_none_or(|flights| *flights < SERVER_FLIGHTS_MAX)
        });
        open.filter_map(|(_, due)| due.first().map(|(at, _)| *at)).min()
    }

    /// Forgets a zone, or of a zone every server that `keep` does not.
    pub fn retain(&mut self, zone: u32, keep: impl Fn(SocketAddr) -> bool) {
        let gone: Vec<SocketAddr> =
            self.of_zone(zone).map(|(server, _)| server).filter(|server| !keep(*server)).collect();
        for server in gone {
            self.plan(zone, server, None);
            self.entries.remove(&(zone, server));
        }
    }

    /// The entries of a zone.
    pub fn of_zone(&self, zone: u32) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        let lowest = SocketAddr::from(([0, 0, 0, 0], 0));
        let from = self.entries.range((zone, lowest)..);
        from.take_while(move |((of, _), _)| *of == zone)
            .map(|((_, server), entry)| (*server, entry))
    }

    fn plan(&mut self, zone: u32, server: SocketAddr, due_ms: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&(zone, server)) else { return };
        let due = self.due.entry(server).or_default();
        if let Some(old) = entry.due_ms.take() {
            due.remove(&(old, zone));
        }
        if let Some(at) = due_ms {
            entry.due_ms = Some(at);
            due.insert((at, zone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 53))
    }

    fn silence() -> Result<(), Failure> {
        Err(Failure::Unanswered("silence".into()))
    }

    /// The serials told at `now_ms`.
    fn told(notifier: &mut Notifier, now_ms: u64) -> Vec<Errand> {
        notifier.take_due(now_ms)
    }

    #[test]
    fn the_first_of_a_burst_is_told_at_once_and_the_last_after_a_pause() {
        let mut notifier = Notifier::default();
        notifier.tell(1, server(1), Serial(1), 0);
        let first = told(&mut notifier, 0);
        assert_eq!(first, [Errand { zone: 1, server: server(1), serial: Serial(1) }]);
        for serial in 2..100 {
            notifier.tell(1, server(1), Serial(serial), 10);
            assert!(told(&mut notifier, 10).is_empty());
        }
        notifier.done(&first[0], Ok(()), 20);
        assert_eq!(notifier.next_ms(), Some(PAUSE_MS));
        assert!(told(&mut notifier, PAUSE_MS - 1).is_empty());
        assert_eq!(told(&mut notifier, PAUSE_MS)[0].serial, Serial(99));
    }

    #[test]
    fn who_does_not_acknowledge_is_told_again_ever_later_and_then_left() {
        let mut notifier = Notifier::default();
        notifier.tell(1, server(1), Serial(1), 0);
        let (mut now, mut times) = (0, Vec::new());
        while let Some(next) = notifier.next_ms() {
            now = next;
            for errand in told(&mut notifier, now) {
                times.push(now);
                notifier.done(&errand, silence(), now);
            }
        }
        assert_eq!(times, [0, 2_000, 6_000, 14_000, 30_000, 62_000, 126_000]);
        let (_, entry) = notifier.of_zone(1).next().unwrap();
        assert!(matches!(entry.delivery, Delivery::GivenUp(Failure::Unanswered(_))));
        assert_eq!(notifier.results(), [0, 6, 1]);
        notifier.tell(1, server(1), Serial(2), now + 1);
        assert_eq!(told(&mut notifier, now + PAUSE_MS).len(), 1, "the next change is told again");
    }

    /// Goal: who was off for longer than it is told again hears of the change when it is seen again, and
    /// whoever refuses NOTIFY is not told with every question.
    #[test]
    fn who_answers_again_is_told_again_but_not_who_refused() {
        let refusal = || Err(Failure::Answered(Rcode::REFUSED));
        for (result, told_again) in [(silence as fn() -> Result<(), Failure>, 1), (refusal, 0)] {
            let mut notifier = Notifier::default();
            notifier.tell(1, server(1), Serial(1), 0);
            let mut now = 0;
            while let Some(next) = notifier.next_ms() {
                now = next;
                for errand in told(&mut notifier, now) {
                    notifier.done(&errand, result(), now);
                }
            }
            assert_eq!(notifier.results()[2], 1, "it is given up");

            notifier.revived(1, server(1), now + PAUSE_MS);
            let errands = told(&mut notifier, now + PAUSE_MS);
            assert_eq!(errands.len(), told_again);
            notifier.revived(1, server(1), now + PAUSE_MS);
            assert!(told(&mut notifier, now + 2 * PAUSE_MS).is_empty(), "it is under way");
            for errand in errands {
                notifier.done(&errand, Ok(()), now + 2 * PAUSE_MS);
            }
            notifier.revived(1, server(1), now + 3 * PAUSE_MS);
            assert_eq!(notifier.next_ms(), None, "it knows");
        }
    }

    #[test]
    fn an_acknowledgement_of_an_older_serial_does_not_end_it() {
        let mut notifier = Notifier::default();
        notifier.tell(1, server(1), Serial(1), 0);
        let old = told(&mut notifier, 0);
        notifier.tell(1, server(1), Serial(2), 5);
        notifier.done(&old[0], Ok(()), 6);
        assert_eq!(notifier.of_zone(1).next().unwrap().1.delivery, Delivery::Waiting);
        let new = told(&mut notifier, PAUSE_MS);
        notifier.done(&new[0], Ok(()), PAUSE_MS);
        assert_eq!(notifier.of_zone(1).next().unwrap().1.delivery, Delivery::Acknowledged);
        assert_eq!(notifier.next_ms(), None);
    }

    #[test]
    fn a_dead_server_delays_nobody_else() {
        let mut notifier = Notifier::default();
        for zone in 0..1_000 {
            notifier.tell(zone, server(1), Serial(1), 0);
        }
        assert_eq!(told(&mut notifier, 0).len(), SERVER_FLIGHTS_MAX);
        notifier.tell(1, server(2), Serial(1), 1);
        let errands = told(&mut notifier, 1);
        assert_eq!(errands, [Errand { zone: 1, server: server(2), serial: Serial(1) }]);
        assert_eq!(notifier.next_ms(), None, "nothing to wake up for until a place is free");
    }

    #[test]
    fn a_zone_that_is_gone_is_not_told_of() {
        let mut notifier = Notifier::default();
        notifier.tell(1, server(1), Serial(1), 0);
        notifier.tell(1, server(2), Serial(1), 0);
        notifier.retain(1, |address| address == server(2));
        assert_eq!(told(&mut notifier, 0).len(), 1);
        notifier.retain(1, |_| false);
        assert_eq!(notifier.of_zone(1).count(), 0);
        notifier.done(&Errand { zone: 1, server: server(2), serial: Serial(1) }, silence(), 1);
        assert_eq!(notifier.next_ms(), None);
    }
}
