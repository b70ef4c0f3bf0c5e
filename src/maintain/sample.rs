//! Some of very many, from all over them.
//!
//! A server that took a part of a step for whole lacks what comes late in it, so the first of the RRsets
//! that changed are no sample of them.
//!
//! Promises: at most as many as were asked for, at least half of that where there are more, at equal
//! distances; and the last of all.

/// Keeps some of what it meets.
#[derive(Debug)]
pub(super) struct Sample<T> {
    kept: Vec<T>,
    max: usize,
    /// How far apart those are that are kept.
    apart: usize,
    met: usize,
    last: Option<T>,
}

impl<T> Sample<T> {
    pub fn new(max: usize) -> Sample<T> {
        Sample { kept: Vec::new(), max, apart: 1, met: 0, last: None }
    }

    pub fn meet(&mut self, one: T) {
        let before = self.last.replace(one);
        let Some(before) = before else { return };
        if self.met.is_multiple_of(self.apart) {
            self.kept.push(before);
        }
        self.met += 1;
        // The last has a place too.
        if self.kept.len() >= self.max.max(2) {
            let mut number = 0;
            self.kept.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.apart *= 2;
        }
    }

    /// What was kept, the last behind it.
    pub fn kept(mut self) -> Vec<T> {
        self.kept.extend(self.last);
        self.kept.truncate(self.max);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: std::ops::Range<usize>, max: usize) -> Vec<usize> {
        let mut sample = Sample::new(max);
        all.for_each(|one| sample.meet(one));
        sample.kept()
    }

    #[test]
    fn of_very_many_those_at_equal_distances_are_kept_and_the_last() {
        let kept = of(0..1_000, 200);
        assert_eq!((kept.len(), kept[0], kept[1], kept.last()), (126, 0, 8, Some(&999)));
        for many in [0_usize, 1, 2, 3, 5, 199, 200, 201, 5_000] {
            for max in [0, 1, 2, 3, 200] {
                let kept = of(0..many, max);
                assert!(kept.len() <= max && kept.len() >= many.min(max / 2), "{many} {max}");
                assert!(kept.is_sorted());
                assert!(max < 2 || kept.last().copied() == many.checked_sub(1), "{many} {max}");
            }
        }
        assert_eq!(of(0..200, 200), (0..200).collect::<Vec<_>>());
    }
}
