//! After a start: the zones whose servers may not have heard of their last version.
//!
//! What was not told when the server stopped is not written down; every zone that changed within
//! [`RECENT_US`] of the last change is told of again. Those that changed last come first, and are watched until
//! their servers have them. After an import of very many zones the others are told of slowly and not
//! watched: their servers come by themselves, by REFRESH, and a watch for each would weigh more than
//! the zone in the table of answers.

use std::time::Duration;

use super::rows;
use crate::store::{Rows, Store};
use crate::zone::ReadFault;

/// Microseconds before the last change within which a zone's servers are told again after a start.
pub const RECENT_US: u64 = 3_600 * 1_000_000;

/// Zones that are told of soon after a start, and watched.
pub const SOON_MAX: usize = 1_000;

/// How many of those a second: each is a small reading task.
const SOON_PER_S: usize = 500;

/// How many of the others.
const LATER_PER_S: usize = 20;

/// Zones read in one step.
const PAGE_ZONES: usize = 1_000;

/// Zones to be told of again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// The next one stands last.
    zones: Vec<u32>,
    told: usize,
}

impl Again {
    /// Looks through all zones, some at a time: transactions wait for each step.
    pub fn of(store: &Store) -> Result<Again, ReadFault> {
        let (mut from, mut changed) = (Some(0), Vec::new());
        while let Some(id) = from {
            let page = store.read(|rows| rows.range(&rows::ZONES, id.., PAGE_ZONES));
            let page = page.map_err(rows::fault)?;
            changed.extend(page.iter().map(|(id, zone)| (zone.changed_us, *id)));
            let last = page.last().filter(|_| page.len() == PAGE_ZONES);
            from = last.and_then(|(id, _)| id.checked_add(1));
        }
        Ok(Again::among(changed))
    }

    /// Among zones and when they changed.
    fn among(mut changed: Vec<(u64, u32)>) -> Again {
        changed.sort_unstable();
        let latest = changed.last().map_or(0, |(at, _)| *at);
        changed.retain(|(at, _)| *at >= latest.saturating_sub(RECENT_US));
        Again { zones: changed.into_iter().map(|(_, id)| id).collect(), told: 0 }
    }

    /// The next zone that is due so long after the start, and whether it is to be watched.
    pub fn next(&mut self, since_start: Duration) -> Option<(u32, bool)> {
        if self.told >= due(since_start) {
            return None;
        }
        let zone = self.zones.pop()?;
        self.told += 1;
        Some((zone, self.told <= SOON_MAX))
    }

    pub fn is_over(&self) -> bool {
        self.zones.is_empty()
    }
}

/// How many zones are due so long after the start.
fn due(since_start: Duration) -> usize {
    let ms = since_start.as_millis() as usize;
    let later_ms = ms.saturating_sub(SOON_MAX * 1_000 / SOON_PER_S);
    (SOON_PER_S * ms / 1_000 + 1).min(SOON_MAX) + LATER_PER_S * later_ms / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a start after an import of very many zones is not followed by very much work.
    #[test]
    fn of_very_many_zones_those_that_changed_last_are_told_of_soon_and_watched() {
        let many = 3 * SOON_MAX as u32;
        let mut again = Again::among((0..many).map(|id| (u64::from(id) * 1_000, id)).collect());

        let soon: Vec<_> =
            std::iter::from_fn(|| again.next(Duration::from_millis(2_000))).collect();
        let later: Vec<_> =
            std::iter::from_fn(|| again.next(Duration::from_millis(3_000))).collect();

        assert_eq!(soon.len(), SOON_MAX);
        assert_eq!(soon[0], (many - 1, true));
        assert!(soon.iter().all(|(_, watched)| *watched));
        assert_eq!(later.len(), LATER_PER_S);
        assert!(later.iter().all(|(zone, watched)| *zone < 2 * SOON_MAX as u32 && !watched));
        assert!(!again.is_over());
    }

    #[test]
    fn what_changed_long_before_the_last_change_is_not_told_of() {
        let zones = [(5, 1), (RECENT_US, 2), (RECENT_US + 5, 3), (RECENT_US + 6, 4)];
        let mut again = Again::among(zones.to_vec());
        let told: Vec<_> = std::iter::from_fn(|| again.next(Duration::from_secs(9))).collect();
        assert_eq!(told, [(4, true), (3, true), (2, true)]);
        assert!(again.is_over());
    }
}
