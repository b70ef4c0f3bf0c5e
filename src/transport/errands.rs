//! Errands: what UDP workers could not answer, in line for those who ask others.
//!
//! Who comes alone wakes one of them, and so do many that come together: whoever was called takes all
//! there is, and calls the next only if something is left.
//!
//! Promises: a worker that leaves an errand never waits; the line ends with the last worker, once it is
//! empty.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Errands that wait for somebody to ask; more are dropped, and their clients come again.
const WAITING_MAX: usize = 256;

/// Errands that are taken up together: dynamic updates among them share a commit.
const TOGETHER: usize = 64;

/// The way into the line; each worker has one.
pub(super) struct Leave<T>(Arc<Line<T>>);

/// The way out of it; each who asks has one.
pub(super) struct Take<T>(Arc<Line<T>>);

struct Line<T> {
    state: Mutex<State<T>>,
    called: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    workers: usize,
    /// Askers with nothing to do.
    idle: usize,
    /// One of them was called and has not come yet.
    is_called: bool,
}

/// An empty line.
pub(super) fn line<T>() -> (Leave<T>, Take<T>) {
    let state = State { waiting: VecDeque::new(), workers: 1, idle: 0, is_called: false };
    let line = Arc::new(Line { state: Mutex::new(state), called: Condvar::new() });
    (Leave(Arc::clone(&line)), Take(line))
}

impl<T> Line<T> {
    fn held(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls an idle one, unless one is on its way.
    fn call(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.idle > 0 && !std::mem::replace(&mut state.is_called, true) {
            drop(state);
            self.called.notify_one();
        }
    }
}

impl<T> Leave<T> {
    /// Leaves an errand; returns whether there was room.
    pub fn leave(&self, errand: T) -> bool {
        let mut state = self.0.held();
        if state.waiting.len() >= WAITING_MAX {
            return false;
        }
        state.waiting.push_back(errand);
        self.0.call(state);
        true
    }
}

impl<T> Take<T> {
    /// Waits for errands and takes what there is; false once there are no workers any more.
    pub fn take(&self, errands: &mut Vec<T>) -> bool {
        errands.clear();
        let mut state = self.0.held();
        while state.waiting.is_empty() {
            if state.workers == 0 {
                return false;
            }
            state.idle += 1;
            state = self.0.called.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state.is_called = false;
        }
        let count = state.waiting.len().min(TOGETHER);
        errands.extend(state.waiting.drain(..count));
        if !state.waiting.is_empty() {
            self.0.call(state);
        }
        true
    }
}

impl<T> Clone for Leave<T> {
    fn clone(&self) -> Leave<T> {
        self.0.held().workers += 1;
        Leave(Arc::clone(&self.0))
    }
}

impl<T> Clone for Take<T> {
    fn clone(&self) -> Take<T> {
        Take(Arc::clone(&self.0))
    }
}

impl<T> Drop for Leave<T> {
    fn drop(&mut self) {
        self.0.held().workers -= 1;
        self.0.called.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_came_together_is_taken_together_up_to_a_limit() {
        let (leave, take) = line();
        let left = (0..WAITING_MAX + 1).filter(|errand| leave.leave(*errand)).count();
        assert_eq!(left, WAITING_MAX);
        let mut errands = Vec::new();
        assert!(take.take(&mut errands));
        assert_eq!(errands, (0..TOGETHER).collect::<Vec<_>>());
        assert!(leave.leave(9));
    }

    /// Goal: nothing is left lying, whoever sleeps when. Method: several on both sides, every errand counted.
    #[test]
    fn every_errand_is_taken_once_and_all_end_with_the_last_worker() {
        let (leave, take) = line();
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let take = take.clone();
                thread::spawn(move || {
                    let (mut errands, mut all) = (Vec::new(), Vec::new());
                    while take.take(&mut errands) {
                        all.append(&mut errands);
                    }
                    all
                })
            })
            .collect();
        let workers: Vec<_> = (0..2u32)
            .map(|worker| {
                let leave = leave.clone();
                thread::spawn(move || {
                    for errand in (0..2_000).map(|n| 2 * n + worker) {
                        while !leave.leave(errand) {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        drop(leave);
        let mut all: Vec<u32> =
            askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..4_000).collect::<Vec<_>>());
    }
}
