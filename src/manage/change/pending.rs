//! A pending change: what somebody wants of one RRset, folded to its net effect.
//!
//! Edits reach an RRset in two ways. One person's edits follow each other in time: [`Net::fold`]
//! lets the later one stand on what the earlier left, so that adding and then removing a record
//! is nothing at all. Edits of one call, or of several baskets, have no order: [`pair`] says for any
//! two of them whether they agree, are one too many, or contradict each other.
//!
//! Each change keeps its [`Base`]: the RRset as its author saw it. Replacing, setting the TTL and
//! deleting speak of the whole RRset, which must still be that one when they are applied; adding and
//! removing a record speak of that record alone, so two people who add to one RRset both succeed.
//!
//! Does not: know of zone rules across RRsets, nor of people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// RDATA in uncompressed wire form.
pub type Rdata = Box<[u8]>;

/// The value of an RRset: one TTL, the RDATA distinct and in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Seconds.
    pub ttl: u32,
    rdatas: Vec<Rdata>,
}

impl Value {
    /// A value of these RDATA, sorted, doubles dropped.
    pub fn new(ttl: u32, mut rdatas: Vec<Rdata>) -> Value {
        rdatas.sort_unstable();
        rdatas.dedup();
        Value { ttl, rdatas }
    }

    /// The RDATA in order.
    pub fn rdatas(&self) -> &[Rdata] {
        &self.rdatas
    }

    /// Whether the record is there.
    pub fn has(&self, rdata: &[u8]) -> bool {
        self.rdatas.binary_search_by(|mine| mine.as_ref().cmp(rdata)).is_ok()
    }
}

/// The RRset as the author saw it; none when it was not there.
pub type Base = Option<Value>;

/// One edit of one RRset, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Adds a record; the TTL only matters for the first of a set.
    Add { rdata: Rdata, ttl: Option<u32> },
    /// Takes a record away.
    Remove { rdata: Rdata },
    /// Puts this value in place of whatever is there. Never empty: that is [`Op::Delete`].
    Replace { ttl: Option<u32>, rdatas: Vec<Rdata> },
    /// Sets the TTL of the whole set ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §5.2).
    SetTtl { ttl: u32 },
    /// Takes the whole set away.
    Delete,
}

impl Op {
    /// The word people know it by.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Add { .. } => "add",
            Op::Remove { .. } => "remove",
            Op::Replace { .. } => "replace",
            Op::SetTtl { .. } => "set_ttl",
            Op::Delete => "delete",
        }
    }
}

/// How two edits of one RRset go together when neither comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// Both count.
    Both,
    /// One says what the other says already: the first of the two may be dropped.
    DropFirst,
    /// As above, the second may be dropped.
    DropSecond,
    /// They contradict each other.
    Clash,
}

/// Says how two edits of one RRset go together; neither comes first.
///
/// | | add | remove | replace | set TTL | delete |
/// |---|---|---|---|---|---|
/// | add | same record: drop one | same record: clash | clash | both | clash |
/// | remove | | same record: drop one | clash | both | the removal is satisfied: drop it |
/// | replace | | | equal: drop one | clash | clash |
/// | set TTL | | | | equal: drop one | clash |
/// | delete | | | | | drop one |
pub fn pair(a: &Op, b: &Op) -> Pair {
    let same = |equal: bool| if equal { Pair::DropSecond } else { Pair::Clash };
    match (a, b) {
        (Op::Add { rdata: x, ttl: t }, Op::Add { rdata: y, ttl: u }) => match (t, u) {
            (Some(t), Some(u)) if t != u => Pair::Clash,
            _ if x == y => Pair::DropSecond,
            _ => Pair::Both,
        },
        (Op::Add { rdata: x, .. }, Op::Remove { rdata: y })
        | (Op::Remove { rdata: x }, Op::Add { rdata: y, .. }) => {
            if x == y {
                Pair::Clash
            } else {
                Pair::Both
            }
        }
        (Op::Remove { rdata: x }, Op::Remove { rdata: y }) => {
            if x == y {
                Pair::DropSecond
            } else {
                Pair::Both
            }
        }
        (Op::Add { .. } | Op::Remove { .. }, Op::SetTtl { .. })
        | (Op::SetTtl { .. }, Op::Add { .. } | Op::Remove { .. }) => Pair::Both,
        (Op::Remove { .. }, Op::Delete) => Pair::DropFirst,
        (Op::Delete, Op::Remove { .. } | Op::Delete) => Pair::DropSecond,
        (Op::Replace { .. }, Op::Replace { .. }) | (Op::SetTtl { .. }, Op::SetTtl { .. }) => {
            same(a == b)
        }
        (Op::Replace { .. }, _) | (_, Op::Replace { .. }) => Pair::Clash,
        (Op::Delete, _) | (_, Op::Delete) => Pair::Clash,
    }
}

/// Two edits of one call that contradict each other, by their places in the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    pub first: usize,
    pub second: usize,
}

/// The edits of one call on one RRset without those that are one too many.
///
/// # Errors
///
/// Every pair that contradicts each other.
pub fn agree(ops: Vec<Op>) -> Result<Vec<Op>, Vec<Clash>> {
    let mut dropped = vec![false; ops.len()];
    let mut clashes = Vec::new();
    for (second, b) in ops.iter().enumerate() {
        for (first, a) in ops.iter().enumerate().take(second) {
            let out = match pair(a, b) {
                Pair::Both => continue,
                Pair::DropFirst => first,
                Pair::DropSecond => second,
                Pair::Clash => {
                    clashes.push(Clash { first, second });
                    continue;
                }
            };
            if let Some(flag) = dropped.get_mut(out) {
                *flag = true;
            }
        }
    }
    match clashes.is_empty() {
        true => {
            Ok(ops.into_iter().zip(dropped).filter(|(_, out)| !out).map(|(op, _)| op).collect())
        }
        false => Err(clashes),
    }
}

/// The net effect of all edits of one author on one RRset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Net {
    /// Records put in and taken out, each for itself; the TTL of the whole set if it is to change.
    Records { add: Vec<Rdata>, remove: Vec<Rdata>, ttl: Option<u32> },
    /// This value, whatever was there.
    Replace(Value),
    /// Nothing, whatever was there.
    Delete,
}

/// Why an edit makes no sense on top of what is already asked for. Its author's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldError {
    /// A TTL for an RRset that is not there or is to be deleted.
    NothingThere,
    /// A record to be added brings a TTL other than its set has.
    TtlDiffers { set: u32, yours: u32 },
}

impl fmt::Display for FoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldError::NothingThere => {
                f.write_str("has no records whose TTL could be set: add one first")
            }
            FoldError::TtlDiffers { set, yours } => write!(
                f,
                "has TTL {set}, not {yours}: leave the TTL out, or set it for the whole RRset (RFC 2181 §5.2)"
            ),
        }
    }
}

impl Net {
    /// Nothing yet.
    pub fn nothing() -> Net {
        Net::Records { add: Vec::new(), remove: Vec::new(), ttl: None }
    }

    /// Whether applying this to `base` would leave it as it is.
    pub fn is_nothing(&self, base: &Base) -> bool {
        self.on(base, 0) == *base
    }

    /// The value this makes of `base`; `default_ttl` for a new set whose TTL nobody named.
    pub fn on(&self, base: &Base, default_ttl: u32) -> Base {
        match self {
            Net::Delete => None,
            Net::Replace(value) => Some(value.clone()),
            Net::Records { add, remove, ttl } => {
                let was = base.as_ref();
                let kept = was.map(|value| value.rdatas.as_slice()).unwrap_or_default().iter();
                let kept = kept.filter(|rdata| !remove.contains(rdata));
                let rdatas: Vec<Rdata> = kept.chain(add).cloned().collect();
                let ttl = ttl.or(was.map(|value| value.ttl)).unwrap_or(default_ttl);
                (!rdatas.is_empty()).then(|| Value::new(ttl, rdatas))
            }
        }
    }

    /// Puts a later edit of the same author on top.
    ///
    /// # Errors
    ///
    /// [`FoldError`] when the edit speaks of what is not there.
    pub fn fold(self, op: Op, base: &Base, default_ttl: u32) -> Result<Net, FoldError> {
        let now = self.on(base, default_ttl);
        let net = match op {
            Op::Delete => Net::Delete,
            Op::Replace { ttl, rdatas } => {
                let ttl = ttl.or(now.as_ref().map(|value| value.ttl)).unwrap_or(default_ttl);
                Net::Replace(Value::new(ttl, rdatas))
            }
            Op::SetTtl { ttl } => {
                let Some(now) = now else { return Err(FoldError::NothingThere) };
                self.with_ttl(ttl, now)
            }
            Op::Add { rdata, ttl } => self.with_record(rdata, ttl, now, base)?,
            Op::Remove { rdata } => self.without_record(rdata, base),
        };
        Ok(net)
    }

    fn with_ttl(self, ttl: u32, now: Value) -> Net {
        match self {
            Net::Records { add, remove, .. } => Net::Records { add, remove, ttl: Some(ttl) },
            Net::Replace(_) | Net::Delete => Net::Replace(Value { ttl, ..now }),
        }
    }

    fn with_record(
        self,
        rdata: Rdata,
        ttl: Option<u32>,
        now: Base,
        base: &Base,
    ) -> Result<Net, FoldError> {
        if let (Some(now), Some(yours)) = (&now, ttl)
            && now.ttl != yours
        {
            return Err(FoldError::TtlDiffers { set: now.ttl, yours });
        }
        Ok(match self {
            Net::Records { mut add, mut remove, ttl: set } => {
                remove.retain(|other| *other != rdata);
                let there = base.as_ref().is_some_and(|value| value.has(&rdata));
                if !there && !add.contains(&rdata) {
                    add.push(rdata);
                    add.sort_unstable();
                }
                Net::Records { add, remove, ttl: set.or(ttl.filter(|_| base.is_none())) }
            }
            Net::Replace(value) => {
                let rdatas = value.rdatas.into_iter().chain([rdata]).collect();
                Net::Replace(Value::new(value.ttl, rdatas))
            }
            Net::Delete => {
                let was = base.as_ref().map(|value| value.ttl);
                Net::Replace(Value::new(ttl.or(was).unwrap_or_default(), vec![rdata]))
            }
        })
    }

    fn without_record(self, rdata: Rdata, base: &Base) -> Net {
        match self {
            Net::Records { mut add, mut remove, ttl } => {
                add.retain(|other| *other != rdata);
                let there = base.as_ref().is_some_and(|value| value.has(&rdata));
                if there && !remove.contains(&rdata) {
                    remove.push(rdata);
                    remove.sort_unstable();
                }
                // The TTL came with the first record of a new set; it goes with the last.
                let ttl = ttl.filter(|_| base.is_some() || !add.is_empty());
                Net::Records { add, remove, ttl }
            }
            Net::Replace(mut value) => {
                value.rdatas.retain(|other| *other != rdata);
                if value.rdatas.is_empty() { Net::Delete } else { Net::Replace(value) }
            }
            Net::Delete => Net::Delete,
        }
    }

    /// Whether what this change relies on in `base` is still so in `now`.
    ///
    /// The whole value for a replacement, a deletion and a TTL. Records stand for themselves: what
    /// was added or removed meanwhile by somebody else is as wanted, and the rest is not looked at.
    pub fn still_stands(&self, base: &Base, now: &Base) -> bool {
        match self {
            Net::Records { ttl: None, .. } => true,
            Net::Records { ttl: Some(_), .. } if base.is_none() => true,
            Net::Records { .. } | Net::Replace(_) | Net::Delete => base == now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rdata(n: u8) -> Rdata {
        Box::new([192, 0, 2, n])
    }

    fn set(ttl: u32, numbers: &[u8]) -> Value {
        Value::new(ttl, numbers.iter().map(|&n| rdata(n)).collect())
    }

    fn add(n: u8) -> Op {
        Op::Add { rdata: rdata(n), ttl: None }
    }

    fn remove(n: u8) -> Op {
        Op::Remove { rdata: rdata(n) }
    }

    fn replace(numbers: &[u8]) -> Op {
        Op::Replace { ttl: Some(60), rdatas: numbers.iter().map(|&n| rdata(n)).collect() }
    }

    fn fold_all(base: &Base, ops: Vec<Op>) -> Net {
        ops.into_iter().fold(Net::nothing(), |net, op| net.fold(op, base, 60).unwrap())
    }

    #[test]
    fn two_edits_of_one_call_agree_or_clash_as_the_table_says() {
        let table = [
            (add(1), add(1), Pair::DropSecond),
            (add(1), add(2), Pair::Both),
            (add(1), remove(1), Pair::Clash),
            (add(1), remove(2), Pair::Both),
            (add(1), replace(&[1]), Pair::Clash),
            (add(1), Op::SetTtl { ttl: 5 }, Pair::Both),
            (add(1), Op::Delete, Pair::Clash),
            (remove(1), remove(1), Pair::DropSecond),
            (remove(1), remove(2), Pair::Both),
            (remove(1), replace(&[2]), Pair::Clash),
            (remove(1), Op::SetTtl { ttl: 5 }, Pair::Both),
            (remove(1), Op::Delete, Pair::DropFirst),
            (replace(&[1]), replace(&[1]), Pair::DropSecond),
            (replace(&[1]), replace(&[2]), Pair::Clash),
            (replace(&[1]), Op::SetTtl { ttl: 5 }, Pair::Clash),
            (replace(&[1]), Op::Delete, Pair::Clash),
            (Op::SetTtl { ttl: 5 }, Op::SetTtl { ttl: 5 }, Pair::DropSecond),
            (Op::SetTtl { ttl: 5 }, Op::SetTtl { ttl: 6 }, Pair::Clash),
            (Op::SetTtl { ttl: 5 }, Op::Delete, Pair::Clash),
            (Op::Delete, Op::Delete, Pair::DropSecond),
        ];
        for (a, b, expected) in table {
            assert_eq!(pair(&a, &b), expected, "{a:?} with {b:?}");
            let mirrored = match expected {
                Pair::DropFirst => Pair::DropSecond,
                same => same,
            };
            assert_eq!(pair(&b, &a), mirrored, "{b:?} with {a:?}");
        }
    }

    #[test]
    fn every_clash_of_a_call_is_named() {
        let clashes = agree(vec![add(1), remove(1), Op::Delete, Op::SetTtl { ttl: 1 }]);
        let pairs: Vec<_> =
            clashes.unwrap_err().iter().map(|clash| (clash.first, clash.second)).collect();
        assert_eq!(pairs, [(0, 1), (0, 2), (2, 3)]);
        assert_eq!(agree(vec![remove(1), Op::Delete, remove(2)]), Ok(vec![Op::Delete]));
    }

    #[test]
    fn adding_and_then_removing_a_record_is_nothing() {
        for base in [None, Some(set(60, &[9]))] {
            let net = fold_all(&base, vec![add(1), remove(1)]);
            assert!(net.is_nothing(&base), "{net:?}");
            assert_eq!(net, Net::nothing());
        }
        let base = Some(set(60, &[1]));
        assert_eq!(fold_all(&base, vec![remove(1), add(1)]), Net::nothing());
    }

    #[test]
    fn a_ttl_given_with_the_first_record_goes_with_the_last() {
        let ops = vec![Op::Add { rdata: rdata(1), ttl: Some(5) }, remove(1)];
        assert_eq!(fold_all(&None, ops), Net::nothing());
    }

    #[test]
    fn what_ends_where_it_began_is_nothing() {
        let base = Some(set(60, &[1, 2]));
        for ops in [
            vec![replace(&[2, 1])],
            vec![replace(&[3]), replace(&[1, 2])],
            vec![Op::Delete, add(1), add(2)],
            vec![Op::SetTtl { ttl: 5 }, Op::SetTtl { ttl: 60 }],
            vec![add(1)],
            vec![remove(7)],
        ] {
            let text = format!("{ops:?}");
            assert!(fold_all(&base, ops).is_nothing(&base), "{text}");
        }
        assert!(fold_all(&None, vec![Op::Delete]).is_nothing(&None));
    }

    #[test]
    fn a_record_with_another_ttl_than_its_set_is_refused() {
        let base = Some(set(60, &[1]));
        let late = Op::Add { rdata: rdata(2), ttl: Some(61) };
        let fault = Net::nothing().fold(late, &base, 60).unwrap_err();
        assert_eq!(fault, FoldError::TtlDiffers { set: 60, yours: 61 });
        assert_eq!(
            Net::nothing().fold(Op::SetTtl { ttl: 1 }, &None, 60),
            Err(FoldError::NothingThere)
        );
    }

    #[test]
    fn adding_and_removing_records_stands_whatever_else_changed() {
        let (base, now) = (Some(set(60, &[1])), Some(set(30, &[1, 5])));
        for net in [fold_all(&base, vec![add(2)]), fold_all(&base, vec![remove(1)])] {
            assert!(net.still_stands(&base, &now));
            assert!(net.still_stands(&base, &None));
        }
    }

    #[test]
    fn replacing_deleting_and_setting_the_ttl_ask_about_the_whole_set() {
        let (base, now) = (Some(set(60, &[1])), Some(set(60, &[1, 5])));
        for op in [replace(&[3]), Op::Delete, Op::SetTtl { ttl: 5 }] {
            let net = fold_all(&base, vec![op]);
            assert!(net.still_stands(&base, &base));
            assert!(!net.still_stands(&base, &now), "{net:?}");
        }
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u8..4).prop_map(add),
            (0u8..4).prop_map(remove),
            proptest::collection::vec(0u8..4, 1..3).prop_map(|list| replace(&list)),
            (59u32..62).prop_map(|ttl| Op::SetTtl { ttl }),
            Just(Op::Delete),
        ]
    }

    fn any_base() -> impl Strategy<Value = Base> {
        proptest::option::of(
            proptest::collection::vec(0u8..4, 1..4).prop_map(|list| set(60, &list)),
        )
    }

    /// The plain model: an edit changes a TTL and a list.
    fn play(now: Base, op: Op) -> Base {
        let ttl = now.as_ref().map_or(60, |value| value.ttl);
        let mut list = now.map(|value| value.rdatas).unwrap_or_default();
        match op {
            Op::Add { rdata, .. } => list.push(rdata),
            Op::Remove { rdata } => list.retain(|other| *other != rdata),
            Op::Replace { ttl, rdatas } => return Some(Value::new(ttl.unwrap(), rdatas)),
            Op::SetTtl { ttl } => return (!list.is_empty()).then(|| Value::new(ttl, list)),
            Op::Delete => list.clear(),
        }
        (!list.is_empty()).then(|| Value::new(ttl, list))
    }

    proptest! {
        /// Goal: the net effect is the effect of the edits one by one.
        /// Method: any edits on any base, against a plain model; TTLs of sets emptied on the way
        /// are left aside, for a set that comes back takes the TTL it had.
        #[test]
        fn the_net_effect_is_the_effect_of_the_edits_one_by_one(
            base in any_base(),
            ops in proptest::collection::vec(any_op(), 0..8),
        ) {
            let (mut net, mut model) = (Net::nothing(), base.clone());
            for op in ops {
                let Ok(next) = net.clone().fold(op.clone(), &base, 60) else {
                    prop_assert!(model.is_none());
                    continue;
                };
                net = next;
                model = play(model, op);
                let made = net.on(&base, 60);
                let records = |value: &Base| value.as_ref().map(|value| value.rdatas.clone());
                prop_assert_eq!(records(&made), records(&model));
            }
        }

        #[test]
        fn a_change_stands_on_its_own_base(
            base in any_base(),
            ops in proptest::collection::vec(any_op(), 0..8),
        ) {
            let mut net = Net::nothing();
            for op in ops {
                net = net.clone().fold(op, &base, 60).unwrap_or(net);
            }
            prop_assert!(net.still_stands(&base, &base));
        }
    }
}
