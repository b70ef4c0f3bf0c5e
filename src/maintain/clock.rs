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
    /// Turned by hand: microseconds since 1970.
    Hand(Arc<AtomicU64>),
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
        Clock(Kind::Hand(us))
    }

    /// Microseconds since 1970.
    pub fn now_us(&self) -> u64 {
        match &self.0 {
            Kind::System { .. } => system_us(),
            Kind::Hand(us) => us.load(Ordering::Relaxed),
        }
    }

    /// How far somebody set the clock since it was first looked at, in seconds, either way.
    pub fn leapt_s(&self) -> u64 {
        match &self.0 {
            Kind::System { started, at_us } => {
                let passed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                system_us().abs_diff(at_us.saturating_add(passed)) / 1_000_000
            }
            Kind::Hand(_) => 0,
        }
    }
}

/// Microseconds since 1970.
pub(super) fn system_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
