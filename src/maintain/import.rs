//! Import of many zones: each as a whole or not at all, many to a log record.
//!
//! A zone of some records costs less than syncing the log does, so zones share records. One that is
//! refused leaves the others of its record alone. Large contents are staged in bounded records and
//! switched to by one commit of their own.

use std::sync::mpsc;
use std::thread;

use super::Maintain;
use super::change::{AppliedZone, Content, Reason, Refusal, RefusedZone, ZoneChange};
use super::commit::{CommitError, Door};
use super::rows;
use super::stage::STAGE_OCTETS_MIN;
use crate::wire::Name;

/// Zones that share one record of the log.
const RECORD_ZONES: usize = 512;

/// Octets of contents that share one record of the log.
const RECORD_OCTETS: usize = 2 << 20;

/// A zone that is to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub apex: Name,
    /// Who holds it, if it is new.
    pub org: String,
    pub content: Content,
    /// Whether a zone of that name is replaced; otherwise the import of it is refused.
    pub replace: bool,
}

/// What became of one zone.
#[derive(Debug)]
pub struct Outcome {
    pub apex: Name,
    pub result: Result<AppliedZone, Refusal>,
}

impl Maintain {
    /// Imports zones; tells `each` what became of each, in order, once it is durable and published.
    ///
    /// `also` is called inside each commit with what it did, to put rows of its own into the same
    /// record.
    ///
    /// # Errors
    ///
    /// [`CommitError`] when `also` or the store refuses: what was told to `each` stays.
    pub fn import<E>(
        &self,
        incoming: impl IntoIterator<Item = Incoming>,
        mut also: impl FnMut(&mut Door<'_, '_>, &[Outcome]) -> Result<(), E>,
        mut each: impl FnMut(Outcome),
    ) -> Result<(), CommitError<E>> {
        let mut group = Vec::new();
        let mut octets = 0;
        for zone in incoming {
            let size = size(&zone.content);
            if size >= STAGE_OCTETS_MIN {
                self.import_group(std::mem::take(&mut group), &mut also, &mut each)?;
                octets = 0;
                match self.stage(&zone.apex, &zone.content) {
                    Ok(staged) => {
                        let zone = Incoming { content: Content::Staged(staged), ..zone };
                        self.import_group(vec![zone], &mut also, &mut each)?;
                    }
                    Err(CommitError::Refused(refusal)) => {
                        each(Outcome { apex: zone.apex, result: Err(refusal) });
                    }
                    Err(CommitError::Unreadable(fault)) => {
                        return Err(CommitError::Unreadable(fault));
                    }
                    Err(CommitError::Write(error)) => return Err(CommitError::Write(error)),
                }
                continue;
            }
            group.push(zone);
            octets += size;
            if group.len() == RECORD_ZONES || octets >= RECORD_OCTETS {
                self.import_group(std::mem::take(&mut group), &mut also, &mut each)?;
                octets = 0;
            }
        }
        self.import_group(group, &mut also, &mut each)
    }

    fn import_group<E>(
        &self,
        group: Vec<Incoming>,
        also: &mut impl FnMut(&mut Door<'_, '_>, &[Outcome]) -> Result<(), E>,
        each: &mut impl FnMut(Outcome),
    ) -> Result<(), CommitError<E>> {
        if group.is_empty() {
            return Ok(());
        }
        let done = self.commit(|door| {
            let outcomes: Vec<Outcome> = group.into_iter().map(|zone| door.import(zone)).collect();
            also(door, &outcomes)?;
            Ok(outcomes)
        })?;
        done.value.into_iter().for_each(each);
        Ok(())
    }
}

impl Door<'_, '_> {
    fn import(&mut self, zone: Incoming) -> Outcome {
        let Incoming { apex, org, content, replace } = zone;
        let exists = match rows::zone(self.tx, &apex) {
            Ok(found) => found.is_some(),
            Err(fault) => {
                let zones = vec![RefusedZone {
                    apex: apex.clone(),
                    reasons: vec![Reason::Unreadable(fault)],
                }];
                return Outcome { apex, result: Err(Refusal { zones }) };
            }
        };
        let change = match exists && replace {
            true => ZoneChange::Replace { apex: apex.clone(), content },
            false => ZoneChange::Create { apex: apex.clone(), org, content },
        };
        let applied = self.apply(&[change]);
        let result = applied.and_then(|mut applied| {
            applied.zones.pop().ok_or_else(|| Refusal { zones: Vec::new() })
        });
        Outcome { apex, result }
    }
}

fn size(content: &Content) -> usize {
    match content {
        Content::Packed { octets, .. } => octets.len(),
        Content::RrSets(sets) => sets.iter().map(|set| set.rdatas().len() * 64).sum(),
        Content::Staged(_) => 0,
    }
}

/// Applies `work` to `items` on all processors and hands the results to `take` as they come, in the
/// order of the items.
///
/// For reading and parsing files while what was parsed is committed. At most some results wait.
pub fn in_parallel<T: Send, U: Send, R>(
    items: Vec<T>,
    work: impl Fn(T) -> U + Sync,
    take: impl FnOnce(&mut dyn Iterator<Item = U>) -> R,
) -> R {
    const WAITING: usize = 64;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    // Each worker takes every n-th item, so the results come back in turn.
    let mut shares: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    let count = items.len();
    for (number, item) in items.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % threads) {
            share.push(item);
        }
    }
    thread::scope(|scope| {
        let work = &work;
        let results: Vec<mpsc::Receiver<U>> = shares
            .into_iter()
            .map(|share| {
                let (done, results) = mpsc::sync_channel(WAITING);
                scope.spawn(move || share.into_iter().all(|item| done.send(work(item)).is_ok()));
                results
            })
            .collect();
        let turns = (0..count).map_while(|number| results.get(number % threads)?.recv().ok());
        take(&mut { turns })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1_000).collect();
        let twice = in_parallel(items, |item| item * 2, |results| results.collect::<Vec<_>>());
        assert_eq!(twice, (0..1_000).map(|item| item * 2).collect::<Vec<_>>());
        let few = in_parallel(vec![1, 2, 3], |item| item, |results| results.take(1).count());
        assert_eq!(few, 1);
    }
}
