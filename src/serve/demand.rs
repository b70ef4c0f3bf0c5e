//! Cookies on demand: past so many unproven queries a second, a UDP query must show a valid cookie.
//!
//! Rate limiting tells victims apart by their prefix; a flood that forges a fresh address with every
//! query slips through below it. What it cannot forge is a cookie. While the demand lasts, who has none
//! is told to come with one, or by TCP ([RFC 7873] §5.2.3), in no more octets than it sent.
//!
//! Promises: one shared addition for each batch, none for each query; the demand begins within the
//! second in which the threshold is passed and ends a second after it no longer is.
//!
//! [RFC 7873]: https://www.rfc-editor.org/rfc/rfc7873

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counts unproven queries, second by second.
#[derive(Debug)]
pub struct Demand {
    /// Unproven queries a second that are answered without more; 0 is any number.
    above: u32,
    /// The second counted now (upper half), and how many there were in it.
    now: AtomicU64,
    /// How many there were in the second before.
    before: AtomicU32,
}

impl Demand {
    /// Demands cookies past `above` unproven queries a second; 0 is never.
    pub fn new(above: u32) -> Demand {
        Demand { above, now: AtomicU64::new(0), before: AtomicU32::new(0) }
    }

    /// Whether there is a threshold at all.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.above != 0
    }

    /// Whether a cookie is demanded in this second.
    #[inline]
    pub fn holds(&self, now_s: u32) -> bool {
        if !self.is_set() {
            return false;
        }
        let word = self.now.load(Ordering::Relaxed);
        let (second, count) = ((word >> 32) as u32, word as u32);
        match now_s.wrapping_sub(second) {
            0 => count.max(self.before.load(Ordering::Relaxed)) > self.above,
            1 => count > self.above,
            _ => false,
        }
    }

    /// Counts a batch's unproven queries. Two workers that begin a second together may lose a batch.
    pub fn count(&self, queries: u32, now_s: u32) {
        if !self.is_set() || queries == 0 {
            return;
        }
        let word = self.now.load(Ordering::Relaxed);
        let (second, count) = ((word >> 32) as u32, word as u32);
        if second == now_s {
            self.now.fetch_add(queries.into(), Ordering::Relaxed);
            return;
        }
        let before = if now_s.wrapping_sub(second) == 1 { count } else { 0 };
        self.before.store(before, Ordering::Relaxed);
        self.now.store(u64::from(now_s) << 32 | u64::from(queries), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demand_begins_past_the_threshold_and_ends_a_second_after_it() {
        let demand = Demand::new(100);
        demand.count(100, 7);
        assert!(!demand.holds(7));
        demand.count(1, 7);
        assert!(demand.holds(7) && demand.holds(8));
        assert!(!demand.holds(9));
        demand.count(5, 8);
        assert!(demand.holds(8));
        demand.count(5, 9);
        assert!(!demand.holds(9));
    }

    #[test]
    fn without_a_threshold_nothing_is_ever_demanded() {
        let demand = Demand::new(0);
        demand.count(u32::MAX, 7);
        assert!(!demand.holds(7));
    }

    #[test]
    fn a_pause_forgets_what_was() {
        let demand = Demand::new(1);
        demand.count(50, 7);
        demand.count(1, 9);
        assert!(!demand.holds(9));
    }
}
