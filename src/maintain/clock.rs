//! The clock that versions and signatures are dated by.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// How long ago a clock may have been synchronised to be called so, in seconds.
pub const SYNCHRONISED_MAX_S: u64 = 24 * 3600;

/// How far ahead of the clock the file system's time may be, in microseconds: it is read apart.
const APART_US: u64 = 60 * 1_000_000;

/// Tells the time. Cheap to clone; clones begin anew together.
#[derive(Clone)]
pub struct Clock {
    kind: Kind,
    /// What it showed less what had passed, when it was first looked at or last [begun anew](Clock::begin_anew).
    apart_us: Arc<AtomicU64>,
    /// What is touched whenever the clock is synchronised.
    synchronised: Option<PathBuf>,
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
        let clock = Clock { kind, apart_us: Arc::default(), synchronised: None };
        clock.begin_anew();
        clock
    }

    /// The same clock, kept right by somebody who touches this file whenever it was synchronised.
    #[must_use]
    pub fn synchronised_by(self, file: Option<PathBuf>) -> Clock {
        Clock { synchronised: file, ..self }
    }

    /// Whether whoever keeps it right synchronised it of late, by what it shows itself: one that was set
    /// elsewhere since then is not.
    pub fn is_synchronised(&self) -> bool {
        let touched = self.synchronised.as_ref().and_then(|file| fs::metadata(file).ok());
        let touched = touched.and_then(|file| file.modified().ok());
        let Some(touched_us) = touched.map(since_1970_us) else { return false };
        let now_us = self.now_us();
        touched_us <= now_us.saturating_add(APART_US)
            && now_us.saturating_sub(touched_us) <= SYNCHRONISED_MAX_S * 1_000_000
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
    since_1970_us(SystemTime::now())
}

fn since_1970_us(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
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

    #[test]
    fn a_clock_is_synchronised_by_a_file_that_was_touched_of_late_by_its_own_time() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("synchronised");
        let shown = Arc::new(AtomicU64::new(system_us()));
        let clock = Clock::by_hand(shown.clone());
        assert!(!clock.is_synchronised(), "nobody says so");
        let clock = clock.synchronised_by(Some(file.clone()));
        assert!(!clock.is_synchronised(), "nobody said so yet");
        fs::write(&file, []).unwrap();
        assert!(clock.is_synchronised());
        let limit_us = SYNCHRONISED_MAX_S * 1_000_000;
        for set_us in [system_us() + limit_us + APART_US, system_us() - 2 * APART_US] {
            shown.store(set_us, Ordering::Relaxed);
            assert!(!clock.is_synchronised(), "it was set since then");
        }
    }
}
