//! What a validating resolver may still hold: the values a zone and its parent served, each until its
//! last copy has expired.
//!
//! Promises: a value stays possible while any name server of the zone may serve it, and for its TTL
//! after that. Values nobody can hold any more are forgotten.
//!
//! Does not: decide anything (see [`rollover`](super)).

use serde::{Deserialize, Serialize};

/// One key of a zone, by its key tag: no two that anybody remembers have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub u16);

/// Keys, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeySet(Vec<KeyId>);

impl KeySet {
    pub fn contains(&self, key: KeyId) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = KeyId> + Clone + '_ {
        self.0.iter().copied()
    }

    /// These and one more.
    #[must_use]
    pub fn with(&self, key: KeyId) -> KeySet {
        self.iter().chain([key]).collect()
    }

    /// These but one.
    #[must_use]
    pub fn without(&self, key: KeyId) -> KeySet {
        self.iter().filter(|other| *other != key).collect()
    }
}

impl FromIterator<KeyId> for KeySet {
    fn from_iter<I: IntoIterator<Item = KeyId>>(keys: I) -> KeySet {
        let mut keys: Vec<KeyId> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        KeySet(keys)
    }
}

/// A DS RRset, as far as it matters here: which keys it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DsSet {
    pub keys: KeySet,
    /// Key tags of records that name none of the keys known here, or name one by a digest that is not
    /// known, or is wrong.
    pub strangers: Vec<u16>,
}

impl DsSet {
    /// The set that names these keys.
    pub fn of(keys: KeySet) -> DsSet {
        DsSet { keys, strangers: Vec::new() }
    }

    /// The tag of every record.
    pub fn tags(&self) -> impl Iterator<Item = KeyId> + Clone + '_ {
        self.keys.iter().chain(self.strangers.iter().copied().map(KeyId))
    }

    /// Whether there is no DS at all: the zone is then insecure, never bogus.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.strangers.is_empty()
    }
}

/// Until when a value may be held; none while it is served.
pub type Until = Option<u64>;

/// A value that is no longer served, and may still be held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Past<V> {
    pub value: V,
    /// When another took its place.
    pub replaced: u64,
    /// Seconds a copy lives.
    pub ttl: u32,
    /// The last second in which a copy may live.
    pub until: u64,
}

/// One RRset, or all those signed alike: what is served now and what was before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timeline {
    now: KeySet,
    /// The largest TTL that a copy of what is served now may have, in seconds.
    ttl: u32,
    /// Since when a smaller one is published.
    lowered: Option<u64>,
    past: Vec<Past<KeySet>>,
}

impl Timeline {
    /// A timeline on which `now` was always served.
    pub fn begun_with(now: KeySet) -> Timeline {
        Timeline { now, ..Timeline::default() }
    }

    pub fn now(&self) -> &KeySet {
        &self.now
    }

    pub fn past(&self) -> &[Past<KeySet>] {
        &self.past
    }

    /// Notes the TTL published at `now`. A larger one counts until its last copy has expired.
    pub fn note_ttl(&mut self, ttl: u32, lag: u32, now: u64) {
        if ttl < self.ttl {
            let lowered = *self.lowered.get_or_insert(now);
            if now <= lowered + u64::from(self.ttl) + u64::from(lag) {
                return;
            }
        }
        (self.ttl, self.lowered) = (ttl, None);
    }

    /// Notes a TTL of something that was published, among much else; returns whether it is the largest.
    pub fn note_larger_ttl(&mut self, ttl: u32) -> bool {
        let is_larger = ttl > self.ttl;
        if is_larger {
            (self.ttl, self.lowered) = (ttl, None);
        }
        is_larger
    }

    /// Serves another value from `now` on; the old one is served by the slowest server for `lag`
    /// seconds more.
    pub fn replace(&mut self, value: KeySet, lag: u32, now: u64) {
        if value == self.now {
            return;
        }
        let ttl = self.ttl;
        let until = now + u64::from(lag) + u64::from(ttl);
        let value = std::mem::replace(&mut self.now, value);
        self.past.retain(|past| past.value != value || past.until > until);
        self.past.push(Past { value, replaced: now, ttl, until });
    }

    /// Some server still serves what was published at `version`: whatever was replaced after that
    /// is not yet on its way out.
    pub fn hold(&mut self, version: u64, now: u64) {
        for past in self.past.iter_mut().filter(|past| past.replaced > version) {
            past.until = past.until.max(now + u64::from(past.ttl));
        }
    }

    /// All of this was still served here until `now`, whatever was to take its place.
    pub fn served_until(&mut self, lag: u32, now: u64) {
        for past in &mut self.past {
            past.replaced = past.replaced.max(now);
            past.until = past.until.max(now + u64::from(lag) + u64::from(past.ttl));
        }
    }

    pub fn forget(&mut self, now: u64) {
        self.past.retain(|past| past.until >= now);
    }

    /// What was replaced at a time that never came was replaced by `now`.
    pub fn turn_back(&mut self, lag: u32, now: u64) {
        self.lowered = self.lowered.map(|lowered| lowered.min(now));
        for past in self.past.iter_mut().filter(|past| past.replaced > now) {
            past.replaced = now;
            past.until = now + u64::from(lag) + u64::from(past.ttl);
        }
    }

    /// Forgets everything but what is served: nobody's copy matters.
    pub fn forget_all(&mut self) {
        self.past.clear();
    }

    /// Every value somebody may hold.
    pub fn possible(&self) -> impl Iterator<Item = (&KeySet, Until)> + Clone {
        let past = self.past.iter().map(|past| (&past.value, Some(past.until)));
        past.chain([(&self.now, None)])
    }
}

/// The DS RRset at the parent: seen there, or asked for, which the parent may grant at any moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// What its name servers gave at the last look; several sets when they disagree. Empty: nobody
    /// ever looked.
    pub current: Vec<DsSet>,
    /// Seconds a copy lives, at most, as far as seen.
    pub ttl: u32,
    /// When every one of its name servers last answered.
    pub looked: Option<u64>,
    past: Vec<Past<DsSet>>,
    /// What was asked for by CDS, in order, with the time; the last is what is asked for now.
    asked: Vec<(DsSet, u64)>,
    /// Whether every server gave what is asked for, long enough after everything else was asked.
    settled: bool,
}

/// What one look at the parent's name servers gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// What each server that answered gave.
    pub seen: Vec<DsSet>,
    /// The largest TTL among them, in seconds.
    pub ttl: u32,
    /// Whether every server of the parent answered.
    pub is_full: bool,
}

impl Parent {
    /// Takes in a look. A set counts as gone only when every server answered and none gave it.
    /// What is asked for counts as settled when it was asked for `settle` seconds before.
    pub fn look(&mut self, look: &Look, settle: u32, now: u64) {
        let mut seen = look.seen.clone();
        if !look.is_full {
            seen.extend(self.current.iter().cloned());
        }
        seen.sort_unstable();
        seen.dedup();
        let ttl = self.ttl.max(look.ttl);
        let before = std::mem::replace(&mut self.current, seen);
        for value in before {
            if !self.current.contains(&value) {
                self.past.retain(|past| past.value != value);
                let until = now + u64::from(ttl);
                self.past.push(Past { value, replaced: now, ttl, until });
            }
        }
        // A smaller TTL counts from when no copy with the larger one is left.
        self.ttl = if self.past.is_empty() && look.is_full { look.ttl } else { ttl };
        if !look.is_full {
            return;
        }
        self.looked = Some(now);
        if let (Some((wanted, at)), [only]) = (self.asked.last(), self.current.as_slice())
            && wanted == only
        {
            let alone = self.asked.len() == 1;
            if self.settled || alone || now > at + u64::from(settle) {
                self.settled = true;
                self.asked.drain(..self.asked.len() - 1);
            }
        }
    }

    /// Asks for a set, if it is not what is asked for already. Everything asked for before may
    /// still be granted.
    pub fn ask(&mut self, wanted: &DsSet, now: u64) -> bool {
        if self.asked() == Some(wanted) {
            return false;
        }
        self.asked.retain(|(set, _)| set != wanted);
        self.asked.push((wanted.clone(), now));
        self.settled = false;
        true
    }

    /// What the parent is asked for.
    pub fn asked(&self) -> Option<&DsSet> {
        self.asked.last().map(|(set, _)| set)
    }

    /// When the parent was asked for what it is asked for.
    pub fn asked_at(&self) -> Option<u64> {
        self.asked.last().map(|(_, at)| *at)
    }

    /// Whether the parent gives what it is asked for and cannot go back to anything else.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Asks for nothing, and nothing asked before counts.
    pub fn forget_asked(&mut self) {
        self.asked.clear();
        self.settled = false;
    }

    /// What was seen and asked at a time that never came was so by `now`.
    pub fn turn_back(&mut self, now: u64) {
        for past in self.past.iter_mut().filter(|past| past.replaced > now) {
            past.replaced = now;
            past.until = now + u64::from(past.ttl);
        }
        self.asked.iter_mut().for_each(|(_, at)| *at = (*at).min(now));
        self.looked = self.looked.map(|looked| looked.min(now));
    }

    pub fn forget(&mut self, now: u64) {
        self.past.retain(|past| past.until >= now);
    }

    /// Every set somebody may hold.
    pub fn possible(&self) -> impl Iterator<Item = (&DsSet, Until)> + Clone {
        let past = self.past.iter().map(|past| (&past.value, Some(past.until)));
        let current = self.current.iter().map(|set| (set, None));
        let asked = self.asked.iter().map(|(set, _)| (set, None));
        past.chain(current).chain(asked)
    }

    pub fn past(&self) -> &[Past<DsSet>] {
        &self.past
    }
}

/// For the model: a clock that stands still while everything else moves back.
#[cfg(test)]
impl Timeline {
    pub fn age(&mut self, by: u64, floor: u64) {
        for past in &mut self.past {
            past.replaced = past.replaced.saturating_sub(by).max(floor);
            past.until -= by;
        }
        self.past.sort_unstable_by_key(|past| (past.until, past.replaced));
    }
}

#[cfg(test)]
impl Parent {
    pub fn age(&mut self, by: u64, floor: u64) {
        for past in &mut self.past {
            past.replaced = floor;
            past.until -= by;
        }
        for (_, at) in &mut self.asked {
            *at = at.saturating_sub(by).max(floor);
        }
        self.looked = self.looked.map(|_| floor);
        self.past.sort_unstable_by_key(|past| past.until);
    }
}
