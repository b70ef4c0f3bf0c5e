//! What a zone's DNSSEC does next, and when or on whose account.
//!
//! Worked out by the rule that also takes the steps: what stands in the way of one is the last
//! combination of copies with which it would not validate.

use super::{DsSet, KeyId, KeySet, Rollover, Until};

/// A step that is not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub what: What,
    pub when: When,
}

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The zone gets its first keys.
    MakeKeys,
    /// The key appears in the DNSKEY RRset.
    Publish(KeyId),
    /// These keys sign from then on, and no others.
    SignWith(KeySet),
    /// The parent is asked for the DS of these keys; to have none if there are none.
    Ask(KeySet),
    /// The parent serves what it was asked for.
    Parent(KeySet),
    /// The key leaves the DNSKEY RRset.
    Withdraw(KeyId),
    /// Signatures and keys leave the zone.
    Unsign,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this time, in seconds since 1970.
    At(u64),
    /// Once every server of the parent was seen to serve what was asked for.
    Parent,
    /// Once a step before it is taken.
    Later,
}

impl Rollover {
    /// The steps that are left, in no particular order; none when the zone is at rest.
    pub fn schedule(&self, settle: u32, now: u64) -> Vec<Due> {
        let mut dues = Vec::new();
        if !self.on && self.is_unsigned() {
            return dues;
        }
        if self.on && self.wanted_signers().is_empty() {
            return vec![Due { what: What::MakeKeys, when: When::At(now) }];
        }
        self.parent_dues(settle, &mut dues);
        if !self.on {
            let when = self.when_bare(settle);
            dues.push(Due { what: What::Unsign, when });
            return dues;
        }
        let (wanted, signers) = (self.wanted_dnskeys(), self.wanted_signers());
        let published = self.dnskey.now();
        for key in wanted.iter().filter(|key| !published.contains(*key)) {
            let when = self.when_dnskeys(&published.with(key), now);
            dues.push(Due { what: What::Publish(key), when });
        }
        if signers != *self.data.now() {
            let next = [(&signers, None)].into_iter();
            let when = self.when(self.bogus(self.dnskey.possible(), next), now);
            dues.push(Due { what: What::SignWith(signers), when });
        }
        for key in published.iter().filter(|key| !wanted.contains(*key)) {
            let when = self.when_dnskeys(&published.without(key), now);
            dues.push(Due { what: What::Withdraw(key), when });
        }
        dues
    }

    /// When to look at the zone again although nothing happens: the next time that something may
    /// no longer be held. None when nothing waits for time.
    pub fn wakes(&self, settle: u32, now: u64) -> Option<u64> {
        let copies = self.dnskey.past().iter().chain(self.data.past()).map(|past| past.until + 1);
        let sets = self.parent.past().iter().map(|past| past.until + 1);
        let settles = (!self.parent.is_settled()).then(|| self.settles(settle)).flatten();
        copies.chain(sets).chain(settles).filter(|at| *at > now).min()
    }

    fn parent_dues(&self, settle: u32, dues: &mut Vec<Due>) {
        let wanted = self.wanted_ds();
        if self.parent.asked() != Some(&wanted) {
            let held = self.bogus_wish(&wanted);
            let when = match held {
                Some(until) => When::At(until + 1),
                None => When::Later,
            };
            dues.push(Due { what: What::Ask(wanted.keys.clone()), when });
        }
        if !self.parent.is_settled() {
            let seen = self.parent.current.as_slice();
            let granted = self.parent.asked().is_some_and(|asked| seen == [asked.clone()]);
            let when = match (granted, self.settles(settle)) {
                (true, Some(at)) => When::At(at),
                _ => When::Parent,
            };
            dues.push(Due { what: What::Parent(wanted.keys), when });
        }
    }

    /// When a look that shows what is asked for proves that nothing else will be granted.
    pub fn settles(&self, settle: u32) -> Option<u64> {
        self.parent.asked_at().map(|at| at + u64::from(settle) + 1)
    }

    /// Until when asking for `wanted` would harm; none if that is not a matter of time alone.
    fn bogus_wish(&self, wanted: &DsSet) -> Option<u64> {
        let mut last = 0;
        for (dnskeys, keys_until) in self.dnskey.possible() {
            for (signers, until) in self.data.possible() {
                if !self.validates(wanted, dnskeys, signers) {
                    last = last.max(first([None, keys_until, until])?);
                }
            }
        }
        Some(last)
    }

    fn when_dnskeys(&self, dnskeys: &KeySet, now: u64) -> When {
        let next = [(dnskeys, None)].into_iter();
        self.when(self.bogus(next, self.data.possible()), now)
    }

    fn when_bare(&self, settle: u32) -> When {
        let last = self.parent.past().iter().filter(|past| !past.value.is_empty());
        let gone = last.map(|past| past.until + 1).max().unwrap_or_default();
        let seen = self.parent.current.as_slice();
        let granted = !seen.is_empty() && seen.iter().all(DsSet::is_empty);
        match (granted, self.settles(settle)) {
            (true, Some(at)) if !self.parent.is_settled() => When::At(gone.max(at)),
            (true, _) => When::At(gone),
            (false, _) => When::Parent,
        }
    }

    fn when(&self, bogus: impl Iterator<Item = (bool, [Until; 3])>, now: u64) -> When {
        let (mut last, mut parent, mut later) = (now, false, false);
        for (is_wanted, until) in bogus {
            match first(until) {
                Some(until) => last = last.max(until + 1),
                None if !is_wanted => parent = true,
                None => later = true,
            }
        }
        match (parent, later) {
            (true, _) => When::Parent,
            (false, true) => When::Later,
            (false, false) => When::At(last),
        }
    }
}

/// The first of the copies to expire.
fn first(until: [Until; 3]) -> Until {
    until.into_iter().flatten().min()
}
