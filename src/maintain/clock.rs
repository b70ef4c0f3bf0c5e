//! The clock that versions and signatures are dated by.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// Tells the time. Cheap to clone; clones begin anew together.
#[derive(Clone)]
pub struct Clock {
    kind: Kind,
    /// What it showed less what had passed, when it was first looked at or last [begun anew](Clock::begin_anew).
    apart_us: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Kind {
    /// The system's, beside a clock that nobody sets.
    System { started: Instant },
    /// Turned by hand: microseconds since 1970, and those that passed on a clock that nobody sets.
    Hand { shown: Arc<AtomicU64>, passed: Arc<AtomicU64> },
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new(Kind::System { started: Instant::now() })
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
        Clock::new(Kind::Hand { shown, passed })
    }

    fn new(kind: Kind) -> Clock {
        let clock = Clock { kind, apart_us: Arc::default() };
        clock.begin_anew();
        clock
    }

    /// Microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        match &self.kind {
            Kind::System { .. } => system_us(),
            Kind::Hand { shown, .. } => shown.load(Ordering::Relaxed),
        }
    }

    /// Microseconds on the clock that nobody sets.
    pub fn passed_us(&self) -> u64 {
        match &self.kind {
            Kind::System { started } => {
                u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
            }
            Kind::Hand { passed, .. } => passed.load(Ordering::Relaxed),
        }
    }

    /// From here on, what it shows now counts as not set by anybody.
    pub fn begin_anew(&self) {
        self.apart_us.store(self.now_us().wrapping_sub(self.passed_us()), Ordering::Relaxed);
    }

    /// How far somebody set the clock since it was first looked at, in seconds, either way.
    pub fn leapt_s(&self) -> u64 {
        self.now_us().abs_diff(self.unset_us()) / 1_000_000
    }

    /// Microseconds since 1970 for what waits: a clock that is set forward cuts no wait short.
    pub fn steady_us(&self) -> u64 {
        self.now_us().min(self.unset_us())
    }

    /// What it would show if nobody had set it.
    fn unset_us(&self) -> u64 {
        self.passed_us().wrapping_add(self.apart_us.load(Ordering::Relaxed))
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
        clock.begin_anew();
        assert_eq!((clock.leapt_s(), clock.steady_us()), (0, 130 * S), "that is how it is now");
        shown.store(90 * S, Ordering::Relaxed);
        assert_eq!((clock.leapt_s(), clock.steady_us()), (40, 90 * S), "set back");
        let turned = Clock::by_hand(shown.clone());
        shown.store(50 * S, Ordering::Relaxed);
        assert_eq!((turned.leapt_s(), turned.now_us()), (0, 50 * S));
    }
}
