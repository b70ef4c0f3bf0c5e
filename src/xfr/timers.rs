//! When a secondary zone asks its primaries next, and when what it has is too old to be answered.
//!
//! The zone's SOA says how often ([RFC 1035] §3.3.13); an operator's bounds keep a SOA from asking
//! too much of us, and jitter keeps zones that were loaded together from asking together.
//!
//! Does not: know a clock. `now` is an argument, in microseconds; jitter is one too.
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035

/// A second, in the microseconds that times are counted in.
pub const SECOND_US: u64 = 1_000_000;

/// The bounds of what a SOA may ask for, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub refresh_min_s: u32,
    pub refresh_max_s: u32,
    pub retry_min_s: u32,
    pub retry_max_s: u32,
    pub expire_max_s: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let (week, day) = (7 * 86_400, 86_400);
        Bounds {
            refresh_min_s: 2,
            refresh_max_s: 4 * week,
            retry_min_s: 1,
            retry_max_s: day,
            expire_max_s: 52 * week,
        }
    }
}

/// What a SOA says about its secondaries, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoaTimers {
    pub refresh_s: u32,
    pub retry_s: u32,
    pub expire_s: u32,
}

impl SoaTimers {
    /// The timers in the RDATA of a SOA; none if it is too short to be one.
    pub fn of(rdata: &[u8]) -> Option<SoaTimers> {
        let numbers = rdata.get(rdata.len().checked_sub(16)?..)?;
        let mut words = numbers.chunks_exact(4).filter_map(|word| word.first_chunk::<4>());
        let mut next = || words.next().map(|word| u32::from_be_bytes(*word));
        Some(SoaTimers { refresh_s: next()?, retry_s: next()?, expire_s: next()? })
    }

    /// The same within bounds. EXPIRE is never shorter than REFRESH and RETRY together: a zone that is
    /// asked for as often as its SOA wants does not expire between two questions.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> SoaTimers {
        let refresh_s = self.refresh_s.max(bounds.refresh_min_s).min(bounds.refresh_max_s);
        let retry_s = self.retry_s.max(bounds.retry_min_s).min(bounds.retry_max_s);
        let expire_s = self.expire_s.min(bounds.expire_max_s);
        let expire_s = expire_s.max(refresh_s.saturating_add(retry_s));
        SoaTimers { refresh_s, retry_s, expire_s }
    }
}

/// How a round of questions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// A primary said what the newest version is, and we have it.
    Confirmed,
    /// None did.
    Failed,
    /// One has something newer, and it did not come through.
    Missed,
}

/// The times of one secondary zone, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When a primary last confirmed what we have; none before the first transfer.
    pub confirmed_us: Option<u64>,
    /// When to ask next.
    pub next_us: u64,
    /// Rounds that failed since.
    pub failures: u32,
}

/// The first pause of a zone that was never transferred; it doubles with each failure, up to
/// [`FIRST_PAUSE_MAX_S`].
const FIRST_PAUSE_S: u64 = 2;
const FIRST_PAUSE_MAX_S: u64 = 3600;

impl Times {
    /// Of a zone that was never transferred: asks at once.
    pub fn new(now_us: u64) -> Times {
        Times { confirmed_us: None, next_us: now_us, failures: 0 }
    }

    /// Of a zone kept since `confirmed_us`, as a start finds it. Those that are due ask within
    /// `spread_us`, each at its own moment; the others within RETRY, for who told us something meanwhile
    /// found nobody here.
    pub fn restored(
        confirmed_us: Option<u64>,
        timers: Option<SoaTimers>,
        now_us: u64,
        spread_us: u64,
        jitter: u32,
    ) -> Times {
        let us = |s: u32| u64::from(s) * SECOND_US;
        let refresh_us = timers.map_or(0, |timers| us(timers.refresh_s));
        let retry_us = timers.map_or(0, |timers| us(timers.retry_s));
        let due_us = confirmed_us.map_or(now_us, |confirmed| confirmed.saturating_add(refresh_us));
        let soon_us = now_us + share(spread_us, jitter);
        let next_us = due_us.min(now_us + share(retry_us, jitter)).max(soon_us);
        Times { confirmed_us, next_us, failures: 0 }
    }

    /// A round ended. `timers` are those of the version in service, none before there is one; `jitter`
    /// is any number.
    pub fn round(&mut self, round: Round, timers: Option<SoaTimers>, now_us: u64, jitter: u32) {
        let pause_us = match (round, timers) {
            (Round::Confirmed, Some(timers)) => {
                self.confirmed_us = Some(now_us);
                self.failures = 0;
                u64::from(timers.refresh_s) * SECOND_US
            }
            (Round::Confirmed, None) => {
                self.confirmed_us = Some(now_us);
                self.failures = 0;
                FIRST_PAUSE_MAX_S * SECOND_US
            }
            (Round::Failed | Round::Missed, timers) => {
                self.failures = self.failures.saturating_add(1);
                let doubled = FIRST_PAUSE_S << self.failures.saturating_sub(1).min(16);
                let first = doubled.min(FIRST_PAUSE_MAX_S);
                let retry = timers.map(|timers| u64::from(timers.retry_s));
                // What we have does not grow older by waiting RETRY, unless something newer is there: who
                // told us so was thanked and does not say it again. Before there is anything, nobody has
                // said how long to wait.
                let pause_s = match (round, retry) {
                    (Round::Missed, Some(retry)) => first.min(retry),
                    (_, Some(retry)) => retry,
                    (_, None) => first,
                };
                pause_s * SECOND_US
            }
        };
        // Earlier by up to a tenth: never later than the SOA says.
        self.next_us = now_us + pause_us - share(pause_us / 10, jitter);
    }

    /// Asks at once, whatever was planned.
    pub fn hurry(&mut self, now_us: u64) {
        self.next_us = self.next_us.min(now_us);
    }

    /// The clock was set back by so much: what had been planned is as far away as it was.
    pub fn set_back(&mut self, by_us: u64) {
        self.next_us = self.next_us.saturating_sub(by_us);
        self.confirmed_us = self.confirmed_us.map(|confirmed| confirmed.saturating_sub(by_us));
    }

    /// When what we have is too old; none before there is anything.
    pub fn expires_us(&self, timers: Option<SoaTimers>) -> Option<u64> {
        let expire_us = u64::from(timers?.expire_s) * SECOND_US;
        Some(self.confirmed_us?.saturating_add(expire_us))
    }

    /// Whether what we have is too old.
    pub fn is_expired(&self, timers: Option<SoaTimers>, now_us: u64) -> bool {
        self.expires_us(timers).is_some_and(|expires| expires <= now_us)
    }
}

/// The part of `whole` that `jitter` is of all its values.
fn share(whole: u64, jitter: u32) -> u64 {
    ((u128::from(whole) * u128::from(jitter)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: SoaTimers = SoaTimers { refresh_s: 300, retry_s: 60, expire_s: 3600 };
    const NOW: u64 = 1_800_000_000 * SECOND_US;

    fn soa(numbers: [u32; 5]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        [0, 0].into_iter().chain(numbers).collect()
    }

    #[test]
    fn a_soa_says_how_often_within_the_bounds_of_the_operator() {
        let timers = SoaTimers::of(&soa([7, 300, 60, 3600, 5])).unwrap();
        assert_eq!(timers, TIMERS);
        assert_eq!(timers.within(Bounds::default()), TIMERS);
        assert_eq!(SoaTimers::of(b"short"), None);
        let greedy = SoaTimers { refresh_s: 0, retry_s: 0, expire_s: 0 }.within(Bounds::default());
        assert_eq!((greedy.refresh_s, greedy.retry_s, greedy.expire_s), (2, 1, 3));
        let lazy = SoaTimers { refresh_s: u32::MAX, retry_s: u32::MAX, expire_s: u32::MAX };
        let lazy = lazy.within(Bounds::default());
        assert_eq!((lazy.refresh_s, lazy.retry_s), (2_419_200, 86_400));
    }

    #[test]
    fn after_a_confirmation_refresh_counts_and_never_later() {
        for jitter in [0, 1, u32::MAX / 2, u32::MAX] {
            let mut times = Times::new(NOW);
            times.round(Round::Confirmed, Some(TIMERS), NOW, jitter);
            let pause = times.next_us - NOW;
            assert!((270 * SECOND_US..=300 * SECOND_US).contains(&pause), "{pause}");
            assert_eq!(times.expires_us(Some(TIMERS)), Some(NOW + 3600 * SECOND_US));
        }
    }

    #[test]
    fn failures_wait_retry_and_do_not_move_the_expiry() {
        let mut times = Times::new(NOW);
        times.round(Round::Confirmed, Some(TIMERS), NOW, 0);
        for failure in 1..=61 {
            times.round(Round::Failed, Some(TIMERS), NOW + failure * 60 * SECOND_US, 0);
            assert_eq!(times.next_us, NOW + (failure + 1) * 60 * SECOND_US);
        }
        assert!(!times.is_expired(Some(TIMERS), NOW + 3600 * SECOND_US - 1));
        assert!(times.is_expired(Some(TIMERS), NOW + 3600 * SECOND_US));
    }

    #[test]
    fn a_zone_never_transferred_asks_less_and_less_often_and_does_not_expire() {
        let mut times = Times::new(NOW);
        assert_eq!(times.next_us, NOW);
        let mut pauses = Vec::new();
        for _ in 0..14 {
            times.round(Round::Failed, None, NOW, 0);
            pauses.push((times.next_us - NOW) / SECOND_US);
        }
        assert_eq!(pauses[..4], [2, 4, 8, 16]);
        assert_eq!(pauses[13], 3600);
        assert!(!times.is_expired(None, u64::MAX));
    }

    #[test]
    fn after_a_start_those_that_are_due_do_not_ask_all_at_once() {
        let restored = |ago_s: u64, jitter| {
            let confirmed = NOW - ago_s * SECOND_US;
            Times::restored(Some(confirmed), Some(TIMERS), NOW, 10 * SECOND_US, jitter).next_us
                - NOW
        };
        assert_eq!(restored(1000, 0), 0);
        assert_eq!(restored(1000, 1 << 31), 5 * SECOND_US);
        assert_eq!(restored(290, 1 << 31), 10 * SECOND_US, "REFRESH");
        assert_eq!(restored(100, 1 << 31), 30 * SECOND_US, "within RETRY: it may have been told");
    }

    #[test]
    fn what_is_newer_and_did_not_come_is_asked_for_soon_and_then_by_retry() {
        let mut times = Times::new(NOW);
        times.round(Round::Confirmed, Some(TIMERS), NOW, 0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            times.round(Round::Missed, Some(TIMERS), NOW, 0);
            pauses.push((times.next_us - NOW) / SECOND_US);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_the_next_question_off() {
        let ahead = Some(NOW + 86_400 * SECOND_US);
        let times = Times::restored(ahead, Some(TIMERS), NOW, 0, 0);
        assert_eq!(times.next_us, NOW);
    }

    #[test]
    fn a_notify_brings_the_next_question_forward() {
        let mut times = Times::new(NOW);
        times.round(Round::Confirmed, Some(TIMERS), NOW, 0);
        times.hurry(NOW + 5);
        assert_eq!(times.next_us, NOW + 5);
        times.hurry(NOW + 9);
        assert_eq!(times.next_us, NOW + 5);
    }
}
