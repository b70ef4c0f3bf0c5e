//! Strange DS: what the parent serves that the zone cannot answer for, and what to do about it.
//!
//! Somebody else put them there: the last provider's, a slip of the pen, a digest nobody here makes. No
//! step is taken on them (see [`rollover`](crate::sign::rollover)), so a zone may wait for them for ever;
//! this says for what.

use std::collections::BTreeSet;

use crate::sign::rollover::{DsSet, KeyId, Rollover};
use crate::wire::Name;

/// Tags that are named; of more it is said how many.
const NAMED_MAX: usize = 8;

/// What is wrong with the DS of a zone as its parent's servers gave them last, and the way out; none if
/// they are what they should be, or nobody looked.
pub fn trouble(apex: &Name, rollover: &Rollover) -> Option<String> {
    let seen = rollover.seen_at_parent();
    let strange: BTreeSet<u16> =
        seen.iter().flat_map(|set| set.strangers.iter().copied()).collect();
    let (unread, unknown): (Vec<u16>, Vec<u16>) =
        strange.into_iter().partition(|tag| rollover.key(KeyId(*tag)).is_some());
    let mut faults = Vec::new();
    if let Some(text) = foreign(apex, &unknown) {
        faults.push(format!("{text}: have it taken away there"));
    }
    if !unread.is_empty() {
        faults.push(format!(
            "the parent has a DS of key {} by a digest that is wrong, or not known here: have it replaced by the DS shown",
            listed(&unread)
        ));
    }
    if seen.len() > 1 {
        let sets: Vec<String> = seen.iter().take(NAMED_MAX).map(told).collect();
        faults.push(format!(
            "the parent's servers do not agree ({}): if it stays so, tell who runs them",
            sets.join("; ")
        ));
    }
    if faults.is_empty() {
        return None;
    }
    let now = rollover.published().dnskeys;
    let is_lost = |set: &DsSet| !set.is_empty() && !set.keys.iter().any(|key| now.contains(key));
    let follows = match seen.iter().any(is_lost) {
        true => "resolvers may fail for the zone meanwhile; no key leaves it, nor is it unsigned",
        false => "until then no key that a DS may name leaves the zone, nor is it unsigned",
    };
    Some(format!("{}. {follows}", faults.join("; ")))
}

/// The DS at the parent that name none of the zone's keys, in a sentence; none if there are none.
pub fn foreign(apex: &Name, tags: &[u16]) -> Option<String> {
    let text =
        || format!("the parent has a DS of key {}, which is none that {apex} has", listed(tags));
    (!tags.is_empty()).then(text)
}

fn listed(tags: &[u16]) -> String {
    let named: Vec<String> = tags.iter().take(NAMED_MAX).map(u16::to_string).collect();
    match tags.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} others", named.join(", ")),
    }
}

fn told(set: &DsSet) -> String {
    let tags: Vec<u16> = set.tags().map(|id| id.0).collect();
    if tags.is_empty() { "no DS".to_owned() } else { format!("DS of {}", listed(&tags)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::rollover::{Facts, Key, KeySet, Look, Role};

    fn of(seen: Vec<DsSet>) -> Option<String> {
        let facts = Facts {
            dnskey_ttl: 1,
            zone_ttl: 1,
            lag: 0,
            parent_delay: 0,
            oldest_served: None,
            is_unfinished: false,
        };
        let mut rollover = Rollover::default();
        let (id, role) = (KeyId(7), Role::Csk);
        rollover.want(Key { id, algorithm: 13, role, foreign: false, created: 0, wanted: true });
        rollover.turn_on();
        rollover.step(&facts, 0);
        rollover.look(&Look { seen, ttl: 1, is_full: true }, &facts, 10);
        trouble(&Name::parse("x.test.").unwrap(), &rollover)
    }

    fn set(keys: &[u16], strangers: &[u16]) -> DsSet {
        let keys: KeySet = keys.iter().copied().map(KeyId).collect();
        DsSet { keys, strangers: strangers.to_vec() }
    }

    #[test]
    fn every_strange_ds_is_told_with_the_way_out() {
        assert_eq!(of(vec![set(&[7], &[])]), None);
        assert_eq!(of(vec![set(&[], &[])]), None);
        let said = of(vec![set(&[7], &[9])]).unwrap();
        assert!(
            said.contains("DS of key 9, which is none") && said.contains("taken away"),
            "{said}"
        );
        assert!(said.contains("no key that a DS may name leaves"), "{said}");
        let said = of(vec![set(&[], &[7])]).unwrap();
        assert!(said.contains("not known here") && said.contains("replaced"), "{said}");
        assert!(said.contains("resolvers may fail"), "{said}");
        let said = of(vec![set(&[7], &[]), set(&[], &[])]).unwrap();
        assert!(said.contains("do not agree (no DS; DS of 7)"), "{said}");
        assert!(!said.contains("resolvers may fail"), "{said}");
    }

    #[test]
    fn of_very_many_only_some_are_named() {
        let said = of(vec![set(&[7], &(100..150).collect::<Vec<_>>())]).unwrap();
        assert!(said.contains("107 and 42 others") && !said.contains("108"), "{said}");
    }
}
