//! Claims about signing: what is signed after a change is what signing the whole zone would give.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::authority::Walk;
use super::rrsig::{self, Signable};
use super::*;
use crate::wire::{Name, RrSet, Type};
use crate::zone::View;
use crate::zone::delta::{Delta, Set, SetChange, set_at};
use crate::zone::packed;
use crate::zone::text::{Options, parse};
use crate::zone::tree::{PackedZone, Tree};

const NOW: u32 = 1_800_000_000;

fn apex() -> Name {
    Name::parse("example.").unwrap()
}

fn zone(body: &str) -> Vec<u8> {
    let text =
        format!("$TTL 300\n@ SOA ns hostmaster 1 1h 10m 1w 5m\n@ NS ns\nns A 192.0.2.1\n{body}");
    parse(text.as_bytes(), Options { apex: Some(apex()), ..Options::default() }).unwrap().packed
}

fn key(flags: u16) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Algorithm::Ed25519, 0, flags).unwrap())
}

fn uses(key: &SigningKey, signs_keys: bool, signs_zone: bool) -> KeyUse {
    let (tag, algorithm) = (key.tag(), key.algorithm());
    KeyUse { tag, algorithm, published: true, signs_keys, signs_zone }
}

/// A plan of one KSK and one ZSK.
fn plan(denial: Denial) -> (Plan, Vec<Arc<SigningKey>>) {
    let (ksk, zsk) = (key(257), key(256));
    let keys = vec![uses(&ksk, true, false), uses(&zsk, false, true)];
    let cds = vec![made::ds(&apex(), ksk.dnskey(), 2).unwrap()];
    let policy = Policy { denial, ..Policy::default() };
    (Plan { keys, cds, policy, ..Plan::default() }, vec![ksk, zsk])
}

fn signer_at(plan: &Plan, keys: &[Arc<SigningKey>], soa: &RrSet, now_s: u32) -> Signer {
    Signer::new(&apex(), plan, keys, soa, now_s, Spread::Sets).unwrap()
}

fn soa_of(view: &dyn View) -> RrSet {
    set_at(view, &apex(), Type::SOA).unwrap().unwrap().rrset
}

fn signer(plan: &Plan, keys: &[Arc<SigningKey>], octets: &[u8]) -> Signer {
    signer_at(plan, keys, &soa_of(&PackedZone::new(apex(), octets)), NOW)
}

/// Every RRset without its signatures, as text.
fn shown(octets: &[u8]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for node in packed::nodes(octets) {
        for set in node.rrsets() {
            for rdata in set.rdatas() {
                let rdata = crate::wire::rdata::display(set.rtype, rdata);
                all.insert(format!("{} {} {} {rdata}", node.name(), set.ttl, set.rtype));
            }
        }
    }
    all
}

/// Checks every signature of a zone, and that what must be signed is, and nothing else.
fn assert_signed(octets: &[u8], keys: &[Arc<SigningKey>]) {
    let mut walk = Walk::default();
    let apex = apex();
    for node in packed::nodes(octets) {
        let kind = walk.kind(node, apex.as_wire());
        let owner = node.owner.to_ascii_lowercase();
        for set in node.rrsets() {
            let rdatas: Vec<&[u8]> = set.rdatas().collect();
            let signable =
                Signable { owner: &owner, rtype: set.rtype, ttl: set.ttl, rdatas: &rdatas };
            assert_eq!(set.sig_count > 0, kind.signs(set.rtype), "{} {}", node.name(), set.rtype);
            for sig in set.sigs() {
                let verified = keys.iter().any(|key| rrsig::verifies(key.dnskey(), sig, &signable));
                assert!(verified, "{} {}", node.name(), set.rtype);
            }
        }
    }
}

/// The zone without what the signer made.
fn plain(octets: &[u8]) -> Vec<u8> {
    packed::strip(octets)
}

const BODY: &str = "www A 192.0.2.2\nwww AAAA ::1\n*.wild TXT x\na.b.c.d TXT deep\nsub NS ns.sub\nns.sub A 192.0.2.3\nsecure NS ns.else.\nsecure DS 1 8 2 AA\nMixed.Case MX 10 Mail.Host\nal CNAME www\n";

#[test]
fn a_zone_signed_whole_has_every_proof_and_signature() {
    for denial in [Denial::Nsec, Denial::Nsec3 { opt_out: false }, Denial::Nsec3 { opt_out: true }]
    {
        let (plan, keys) = plan(denial);
        let octets = zone(BODY);
        let signed = signer(&plan, &keys, &octets).whole(&octets).unwrap();

        assert_signed(&signed.octets, &keys);
        assert_eq!(plain(&signed.octets), octets);
        let shown = shown(&signed.octets);
        let count = |rtype: &str| shown.iter().filter(|line| line.contains(rtype)).count();
        match denial {
            Denial::Nsec => assert_eq!((count(" NSEC "), count(" NSEC3 ")), (9, 0)),
            // And three names between `a.b.c.d` and the apex, `wild`, and `case`.
            Denial::Nsec3 { opt_out: false } => {
                assert_eq!((count(" NSEC "), count(" NSEC3 ")), (0, 14))
            }
            Denial::Nsec3 { opt_out: true } => {
                assert_eq!((count(" NSEC "), count(" NSEC3 ")), (0, 13))
            }
        }
        assert_eq!(count(" 3600 DNSKEY "), 2);
        assert_eq!(count(" 0 NSEC3PARAM "), usize::from(denial != Denial::Nsec));
    }
}

#[test]
fn what_is_signed_already_is_not_signed_again() {
    let (plan, keys) = plan(Denial::Nsec3 { opt_out: false });
    let octets = zone(BODY);
    let signer = signer(&plan, &keys, &octets);
    let once = signer.whole(&octets).unwrap();
    let twice = signer.whole(&once.octets).unwrap();
    assert!(once.made > 0);
    assert_eq!((twice.made, twice.octets), (0, once.octets));
}

#[test]
fn rfc9077_3_what_denies_lives_as_long_as_the_soa_lets_it() {
    let (plan, keys) = plan(Denial::Nsec);
    for (ttl, minimum, lives) in [(60, 300, 60), (600, 300, 300)] {
        let text = format!(
            "@ {ttl} SOA ns hostmaster 1 1h 10m 1w {minimum}\n@ 900 NS ns\nns 900 A 192.0.2.1\n"
        );
        let options = Options { apex: Some(apex()), ..Options::default() };
        let octets = parse(text.as_bytes(), options).unwrap().packed;
        let signed = signer(&plan, &keys, &octets).whole(&octets).unwrap();
        let nsec = set_at(&PackedZone::new(apex(), &signed.octets), &apex(), Type::NSEC).unwrap();
        assert_eq!(nsec.unwrap().rrset.ttl, lives, "{ttl} and {minimum}");
    }
}

#[test]
fn signatures_come_due_before_they_expire_and_are_made_anew_alone() {
    let (plan, keys) = plan(Denial::Nsec);
    let octets = zone(BODY);
    let soa = soa_of(&PackedZone::new(apex(), &octets));
    let at = |now_s| signer_at(&plan, &keys, &soa, now_s);
    let signed = at(NOW).whole(&octets).unwrap();
    let view = PackedZone::new(apex(), &signed.octets);
    let due = |signer: &Signer| signer.due(&view, &[], usize::MAX, usize::MAX, 0).unwrap();

    let fresh = due(&at(NOW));
    assert!(fresh.owners.is_empty() && fresh.first_expiry_s == Some(signed.first_expiry_s));
    // EXPIRE is a week, so signatures are made anew an hour more than that before they expire.
    let first_due = NOW + u32::try_from(signed.first_expiry_s).unwrap() - (7 * 24 + 1) * 3600;
    assert!(due(&at(first_due - 1)).owners.is_empty());
    let later = at(first_due);
    let some = due(&later);
    assert_eq!(some.owners.len(), 1);

    let delta = later.renew(&view, &some.owners, 0).unwrap();
    assert_eq!(delta.changes.len(), 1);
    let mut tree = Tree::new(apex(), &signed.octets);
    tree.apply(&delta);
    assert_signed(&tree.to_packed(), &keys);
    assert!(later.due(&tree, &[], usize::MAX, usize::MAX, 0).unwrap().owners.is_empty());
}

#[test]
fn a_key_that_leaves_takes_its_signatures_with_it() {
    let (mut plan, mut keys) = plan(Denial::Nsec3 { opt_out: false });
    let octets = zone(BODY);
    let signed = signer(&plan, &keys, &octets).whole(&octets).unwrap();
    let new = key(256);
    plan.keys.push(uses(&new, false, true));
    plan.keys[1].signs_zone = false;
    keys.push(new);
    let after = signer(&plan, &keys, &signed.octets).whole(&signed.octets).unwrap();
    assert_signed(&after.octets, &[keys[0].clone(), keys[2].clone()]);
    // The DNSKEY and CDS sets are signed by the KSK: CDS stays as it was.
    let tree = Tree::new(apex(), &after.octets);
    let set = |tree: &dyn View, rtype| set_at(tree, &apex(), rtype).unwrap();
    let before = Tree::new(apex(), &signed.octets);
    assert_eq!(set(&tree, Type::CDS), set(&before, Type::CDS));
    assert_eq!(set(&tree, Type::DNSKEY).unwrap().rrset.rdatas().len(), 3);
}

#[test]
fn an_expire_longer_than_signatures_live_is_refused() {
    let (plan, keys) = plan(Denial::Nsec);
    let text = "@ 60 SOA ns hostmaster 1 1h 10m 100d 5m\n@ 60 NS ns.else.\n";
    let parsed = parse(text.as_bytes(), Options { apex: Some(apex()), ..Options::default() });
    let soa = soa_of(&PackedZone::new(apex(), &parsed.unwrap().packed));
    let error = Signer::new(&apex(), &plan, &keys, &soa, NOW, Spread::Sets).unwrap_err();
    assert!(error.to_string().contains("EXPIRE"), "{error}");
}

/// Puts or takes sets, as an order does: what stays keeps its signatures.
fn change(view: &dyn View, puts: &[(Name, Type, bool, u8)]) -> Delta {
    let mut changes: std::collections::BTreeMap<_, SetChange> = Default::default();
    for (owner, rtype, put, last) in puts {
        let before = set_at(view, owner, *rtype).unwrap();
        let rdata: Box<[u8]> = match *rtype {
            Type::NS => Name::parse(&format!("ns{last}.else.")).unwrap().as_wire().into(),
            Type::DS => Box::new([0, *last, 8, 2, 1, 2, 3]),
            Type::TXT => Box::new([1, b'a' + last % 26]),
            _ => Box::new([192, 0, 2, *last]),
        };
        let rrset = RrSet::new(owner.clone(), *rtype, 300, vec![rdata]);
        let after = put.then_some(Set { rrset, sigs: Vec::new() });
        let change = SetChange { owner: owner.clone(), rtype: *rtype, before, after };
        changes.insert((owner.key(), *rtype), change);
    }
    Delta::new(changes.into_values().collect())
}

fn names() -> impl Strategy<Value = Name> {
    let label = prop::sample::select(vec!["a", "b", "*", "sub", "w"]);
    prop::collection::vec(label, 1..4)
        .prop_map(|labels| Name::parse(&format!("{}.example.", labels.join("."))).unwrap())
}

fn puts() -> impl Strategy<Value = Vec<(Name, Type, bool, u8)>> {
    let rtype = prop::sample::select(vec![Type::A, Type::A, Type::TXT, Type::NS, Type::DS]);
    prop::collection::vec((names(), rtype, prop::bool::weighted(0.6), 0..4u8), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Goal: signing what changes touched gives what signing the whole zone anew would give.
    #[test]
    fn signing_what_was_touched_is_signing_the_whole(
        rounds in prop::collection::vec(puts(), 1..8),
        denial in prop::sample::select(vec![
            Denial::Nsec,
            Denial::Nsec3 { opt_out: false },
            Denial::Nsec3 { opt_out: true },
        ]),
    ) {
        let (plan, keys) = plan(denial);
        let octets = zone("");
        let signer = signer(&plan, &keys, &octets);
        let mut tree = Tree::new(apex(), &signer.whole(&octets).unwrap().octets);
        for puts in rounds {
            let delta = change(&tree, &puts);
            tree.apply(&delta);
            let more = signer.touched(&tree, &delta.changes).unwrap();
            tree.apply(&more);
            let now = tree.to_packed();
            assert_signed(&now, &keys);
            let anew = signer.whole(&plain(&now)).unwrap();
            prop_assert_eq!(shown(&now), shown(&anew.octets));
        }
    }
}

#[test]
fn a_step_through_a_large_zone_goes_on_where_the_last_ended() {
    let body: String = (0..200).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
    let octets = zone(&format!("{body}sub NS ns.sub\nns.sub A 192.0.2.3\na.ns.sub A 192.0.2.3\n"));
    let (plan, keys) = plan(Denial::Nsec);
    let signer = signer(&plan, &keys, &octets);
    let signed = signer.whole(&octets).unwrap();
    let (mut from, mut steps, mut first) = (Some(Vec::new()), 0, i64::MAX);
    let view = PackedZone::new(apex(), &signed.octets);
    while let Some(key) = from {
        let step = signer.due(&view, &key, 7, 7, 0).unwrap();
        assert!(step.owners.is_empty(), "{:?}", step.owners);
        first = first.min(step.first_expiry_s.unwrap_or(i64::MAX));
        (from, steps) = (step.next, steps + 1);
    }
    assert_eq!((steps, first), (30, signed.first_expiry_s));
    let unsigned = signer.due(&PackedZone::new(apex(), &octets), &[], usize::MAX, 50, 0).unwrap();
    assert!(unsigned.next.is_some() && unsigned.owners.len() < 60);
}
