//! The clock that versions and signatures are dated by.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    /// The system's, with the moment it was first looked at on a clock that nobody sets.
    System { started: Instant, at_us: u64 },
    /// Turned by hand: microseconds since 1970, and those that passed on a clock that nobody sets.
    Hand { shown: Arc<AtomicU64>, passed: Arc<AtomicU64>, at_us: u64, from_us: u64 },
}

impl Default for Clock {
    fn default() -> Clock {
        Clock(Kind::System { started: Instant::now(), at_us: system_us() })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_us())
    }
}

impl Clock {
    /// A clock that shows what `us` holds: microseconds since 1970.
    pub fn by_hand(us: Arc<AtomicU64>) -> Clock {
        Clock::by_two_hands(us.clone(), us)
    }

    /// A clock that shows what `shown` holds, while what truly passes is counted by `passed`: they differ
    /// once somebody sets the clock.
    pub fn by_two_hands(shown: Arc<AtomicU64>, passed: Arc<AtomicU64>) -> Clock {
        let (at_us, from_us) = (shown.load(Ordering::Relaxed), passed.load(Ordering::Relaxed));
        Clock(Kind::Hand { shown, passed, at_us, from_us })
    }

    /// Microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        match &self.0 {
            Kind::System { .. } => system_us(),
            Kind::Hand { shown, .. } => shown.load(Ordering::Relaxed),
        }
    }

    /// How far somebody set the clock since it was first looked at, in seconds, either way.
    pub fn leapt_s(&self) -> u64 {
        self.now_us().abs_diff(self.unset_us()) / 1_000_000
    }

    /// Microseconds since 1970 for what waits: a clock that is set forward cuts no wait short.
    pub fn steady_us(&self) -> u64 {
        self.now_us().min(self.unset_us())
    }

    /// Microseconds since 1970 by which work is due: what it shows, or what it would show if it was set by
    /// more than `leap_s_max`.
    pub fn trusted_us(&self, leap_s_max: u64) -> u64 {
        if self.leapt_s() > leap_s_max { self.unset_us() } else { self.now_us() }
    }

    /// What it would show if nobody had set it.
    fn unset_us(&self) -> u64 {
        match &self.0 {
            Kind::System { started, at_us } => {
                let passed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                at_us.saturating_add(passed)
            }
            Kind::Hand { passed, at_us, from_us, .. } => {
                let passed = passed.load(Ordering::Relaxed).wrapping_sub(*from_us);
                at_us.saturating_add_signed(passed.cast_signed())
            }
        }
    }
}

/// Microseconds since 1970.
pub(super) fn system_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_cuts_no_wait_short() {
        const S: u64 = 1_000_000;
        let (shown, passed) = (Arc::new(AtomicU64::new(100 * S)), Arc::new(AtomicU64::new(0)));
        let clock = Clock::by_two_hands(shown.clone(), passed.clone());
        shown.store(130 * S, Ordering::Relaxed);
        passed.store(10 * S, Ordering::Relaxed);
        assert_eq!((clock.leapt_s(), clock.steady_us()), (20, 110 * S), "set forward");
        assert_eq!((clock.trusted_us(20), clock.trusted_us(19)), (130 * S, 110 * S));
        shown.store(90 * S, Ordering::Relaxed);
        assert_eq!((clock.leapt_s(), clock.steady_us()), (20, 90 * S), "set back");
        let turned = Clock::by_hand(shown.clone());
        shown.store(50 * S, Ordering::Relaxed);
        assert_eq!((turned.leapt_s(), turned.now_us()), (0, 50 * S));
    }
}
