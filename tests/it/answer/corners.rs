//! Corners where servers disagree, each named for what must hold.

use std::collections::BTreeSet;

use nameplane::answer::{CHAIN_MAX, Rendered, ZoneState};
use nameplane::wire::{Name, Type};

use super::decode::{Record, Said, decode};
use super::model::Model;
use super::random::{Signing, sign};
use super::{Table, Zone, name};

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

fn zone(text: &str) -> Zone {
    Zone::new("example.", 1).with("@ SOA 1\n @ NS ns1").with(text)
}

/// Asks the engine, and holds its answer against the model on the way.
fn ask(zones: &[Zone], owner: &str, rtype: Type, dnssec: bool) -> Said {
    let table = Table::of(zones);
    let said = decode(&table.ask(&name(owner), rtype, dnssec));
    assert_eq!(said, Model { zones }.ask(&name(owner), rtype, dnssec), "{owner} {rtype:?}");
    said
}

fn types(section: &BTreeSet<Record>) -> Vec<(String, u16)> {
    section.iter().map(|record| (record.owner.to_string(), record.rtype)).collect()
}

fn typed(owner: &str, rtype: Type) -> (String, u16) {
    (owner.to_string(), rtype.0)
}

#[test]
fn rfc4592_2_2_2_a_wildcard_does_not_cover_an_empty_non_terminal() {
    let zones = [zone("* A 192.0.2.1\n a.ent A 192.0.2.2")];
    let ent = ask(&zones, "ent.example.", Type::A, false);
    assert_eq!((ent.rcode, ent.answer.len(), ent.authority.len()), (NOERROR, 0, 1));
    // Below the empty non-terminal it is the closest encloser, and it has no wildcard.
    assert_eq!(ask(&zones, "b.ent.example.", Type::A, false).rcode, NXDOMAIN);
    assert_eq!(ask(&zones, "b.c.example.", Type::A, false).answer.len(), 1);
}

#[test]
fn rfc4592_4_9_an_empty_non_terminal_wildcard_is_no_data() {
    let zones = [zone("a.* A 192.0.2.1")];
    let said = ask(&zones, "x.example.", Type::A, false);
    assert_eq!((said.rcode, said.answer.len(), said.authority.len()), (NOERROR, 0, 1));
}

#[test]
fn rfc4592_2_1_3_a_wildcard_asked_by_its_name_is_a_name() {
    let zones = [zone("* TXT star")];
    let said = ask(&zones, "*.example.", Type::TXT, false);
    assert_eq!(types(&said.answer), [typed("*.example.", Type::TXT)]);
}

#[test]
fn a_chain_leads_through_a_wildcard_and_proves_it() {
    let mut signed = zone("www CNAME x.w\n *.w A 192.0.2.1");
    sign(&mut signed, Signing::Nsec);
    let said = ask(&[signed], "www.example.", Type::A, true);
    assert!(types(&said.answer).contains(&typed("x.w.example.", Type::A)));
    let proof = [typed("*.w.example.", Type::RRSIG), typed("*.w.example.", Type::NSEC)];
    assert_eq!(types(&said.authority), proof);
}

#[test]
fn rfc6672_2_2_a_name_too_long_for_its_dname_is_yxdomain() {
    let long = format!("{0}.{0}.{0}", "l".repeat(60));
    let zones = [zone(&format!("d DNAME {long}.example."))];
    let said = ask(&zones, &format!("{}.d.example.", "p".repeat(63)), Type::A, false);
    assert_eq!((said.rcode, said.aa), (6, true));
    assert_eq!(types(&said.answer), [typed("d.example.", Type::DNAME)]);
    assert_eq!(ask(&zones, "p.d.example.", Type::A, false).rcode, NXDOMAIN);
}

#[test]
fn rfc6672_3_2_the_owner_of_a_dname_is_not_redirected() {
    let zones = [zone("d DNAME e\n d A 192.0.2.1\n x.d A 192.0.2.9\n x.e A 192.0.2.2")];
    assert_eq!(
        types(&ask(&zones, "d.example.", Type::A, false).answer),
        [typed("d.example.", Type::A)]
    );
    let below = ask(&zones, "x.d.example.", Type::A, false);
    assert!(types(&below.answer).contains(&typed("x.e.example.", Type::A)));
    assert!(!types(&below.answer).contains(&typed("x.d.example.", Type::A)), "an occluded name");
}

#[test]
fn a_cname_keeps_the_case_of_the_question_before_its_dname() {
    let table = Table::of(&[zone("d DNAME elsewhere.")]);
    let message = table.ask(&name("WwW.d.example."), Type::A, false);
    assert!(message.windows(15).any(|octets| octets == b"\x03WwW\x09elsewhere\x00"));
}

#[test]
fn names_at_and_below_a_cut_are_referred_without_authority() {
    let zones = [zone(
        "sub NS ns.sub\n sub A 192.0.2.8\n ns.sub A 192.0.2.1\n x.sub A 192.0.2.2\n y.sub NS ns.y.sub",
    )];
    for owner in ["sub.example.", "ns.sub.example.", "x.sub.example.", "z.y.sub.example."] {
        let said = ask(&zones, owner, Type::A, false);
        assert!(!said.aa && said.answer.is_empty(), "{owner}");
        assert_eq!(types(&said.authority), [typed("sub.example.", Type::NS)]);
        assert_eq!(types(&said.additional), [typed("ns.sub.example.", Type::A)]);
    }
    assert!(ask(&zones, "sub.example.", Type::DS, false).aa, "DS is the parent's");
}

#[test]
fn rfc9471_glue_of_siblings_comes_along_but_only_own_glue_sets_tc() {
    let glue = |number: usize| format!("s{number}.a NS x\n");
    let mut text = String::from(
        "a NS ns.a\n a NS ns.b\n ns.a A 192.0.2.1\n ns.a AAAA 2001:db8::1\n b NS ns.b\n ns.b A 192.0.2.2\n",
    );
    text.push_str(&glue(1));
    let zones = [zone(&text)];
    let said = ask(&zones, "w.a.example.", Type::A, false);
    assert_eq!(said.additional.len(), 3);

    let table = Table::of(&zones);
    let whole = table.ask(&name("w.a.example."), Type::A, false).len();
    let less_sibling = decode(&table.ask_within(&name("w.a.example."), Type::A, false, whole - 1));
    assert_eq!((less_sibling.tc, less_sibling.additional.len()), (false, 2));
    let less_own = decode(&table.ask_within(&name("w.a.example."), Type::A, false, whole - 17));
    assert_eq!((less_own.tc, less_own.additional.len()), (true, 1));
    assert_eq!(less_own.authority.len(), 2);
}

#[test]
fn glue_that_only_siblings_use_is_found() {
    let zones = [zone("a NS ns.b\n b NS else.where.\n ns.b A 192.0.2.2\n ns.b AAAA 2001:db8::2")];
    assert_eq!(ask(&zones, "a.example.", Type::A, false).additional.len(), 2);
}

#[test]
fn a_parent_and_its_child_answer_each_for_its_side() {
    let parent = zone("sub NS ns.sub\n sub DS\n ns.sub A 192.0.2.1\n old.sub A 192.0.2.66");
    let child = Zone::new("sub.example.", 2).with("@ SOA 5\n @ NS ns\n ns A 192.0.2.7");
    let zones = [parent, child];

    let ds = ask(&zones, "sub.example.", Type::DS, false);
    assert_eq!(types(&ds.answer), [typed("sub.example.", Type::DS)]);
    let ns = ask(&zones, "sub.example.", Type::NS, false);
    assert!(ns.aa && ns.answer.len() == 1);
    assert_eq!(ask(&zones, "old.sub.example.", Type::A, false).rcode, NXDOMAIN);
    // Alone, the child says itself that it has none.
    let alone = ask(&zones[1..], "sub.example.", Type::DS, false);
    assert_eq!(types(&alone.authority), [typed("sub.example.", Type::SOA)]);
}

#[test]
fn rfc4035_3_1_4_1_ds_at_an_insecure_child_is_denied_by_the_parent() {
    for signing in [Signing::Nsec, Signing::Nsec3 { opt_out: true, iterations: 0 }] {
        let mut parent = zone("sub NS ns.sub\n ns.sub A 192.0.2.1");
        sign(&mut parent, signing);
        let child = Zone::new("sub.example.", 2).with("@ SOA 5\n @ NS ns\n ns A 192.0.2.7");
        let said = ask(&[parent, child], "sub.example.", Type::DS, true);
        assert!(types(&said.authority).contains(&typed("example.", Type::SOA)), "{signing:?}");
        assert!(said.authority.len() >= 4, "{signing:?}");
    }
}

#[test]
fn a_loop_of_cnames_is_told_once_around() {
    let zones = [zone("a CNAME b\n b CNAME c\n c CNAME a")];
    let said = ask(&zones, "b.example.", Type::A, false);
    assert_eq!((said.rcode, said.answer.len(), said.authority.len()), (NOERROR, 3, 0));
    let own = [zone("a CNAME a")];
    assert_eq!(ask(&own, "a.example.", Type::A, false).answer.len(), 1);
}

#[test]
fn a_chain_of_sixteen_is_followed_to_its_end_and_a_longer_one_left_to_the_resolver() {
    let chain = |links: usize| {
        let mut text: String =
            (0..links).map(|link| format!("c{link} CNAME c{}\n", link + 1)).collect();
        text.push_str(&format!("c{links} A 192.0.2.1"));
        [zone(&text)]
    };
    let whole = ask(&chain(CHAIN_MAX), "c0.example.", Type::A, false);
    assert_eq!(whole.answer.len(), CHAIN_MAX + 1);
    let cut_off = ask(&chain(CHAIN_MAX + 4), "c0.example.", Type::A, false);
    assert!(cut_off.answer.iter().all(|record| record.rtype == Type::CNAME.0));
    assert_eq!(cut_off.answer.len(), CHAIN_MAX + 1);
}

#[test]
fn rfc2308_2_1_the_last_name_of_a_chain_decides_the_rcode() {
    let zones = [
        zone(
            "gone CNAME nothing\n nodata CNAME txt\n txt TXT x\n out CNAME www.elsewhere.\n there CNAME www.other.",
        ),
        Zone::new("other.", 2).with("@ SOA 1\n @ NS ns\n www A 192.0.2.1"),
    ];
    let gone = ask(&zones, "gone.example.", Type::A, false);
    assert_eq!((gone.rcode, gone.answer.len(), gone.authority.len()), (NXDOMAIN, 1, 1));
    assert_eq!(ask(&zones, "nodata.example.", Type::A, false).authority.len(), 1);
    let out = ask(&zones, "out.example.", Type::A, false);
    assert_eq!((out.rcode, out.answer.len(), out.authority.len()), (NOERROR, 1, 0));
    assert_eq!(ask(&zones, "there.example.", Type::A, false).answer.len(), 2);
}

#[test]
fn rfc2308_5_a_denial_is_kept_no_longer_than_the_minimum() {
    let said = ask(&[zone("")], "x.example.", Type::A, false);
    assert_eq!(said.authority.first().unwrap().ttl, 180);
    let asked = ask(&[zone("")], "example.", Type::SOA, false);
    assert_eq!(asked.answer.first().unwrap().ttl, 306);
}

#[test]
fn rfc8482_any_gives_one_rrset() {
    let mut signed =
        zone("www A 192.0.2.1\n www TXT x\n www AAAA 2001:db8::1\n *.w TXT y\n c CNAME www");
    sign(&mut signed, Signing::Nsec);
    let table = Table::of(&[signed]);
    let ask = |owner: &str, dnssec| decode(&table.ask(&name(owner), Type::ANY, dnssec));

    assert_eq!(types(&ask("www.example.", false).answer), [typed("www.example.", Type::A)]);
    assert_eq!(ask("www.example.", true).answer.len(), 2);
    assert_eq!(types(&ask("x.w.example.", false).answer), [typed("x.w.example.", Type::TXT)]);
    assert_eq!(types(&ask("c.example.", false).answer), [typed("c.example.", Type::CNAME)]);
    assert_eq!(ask("nothing.example.", false).rcode, NXDOMAIN);
    assert_eq!(types(&ask("w.example.", false).authority), [typed("example.", Type::SOA)]);
}

#[test]
fn rrsig_and_nsec_can_be_asked_for() {
    let mut signed = zone("www A 192.0.2.1\n www TXT x\n *.w TXT y");
    sign(&mut signed, Signing::Nsec);
    let zones = [signed];
    let table = Table::of(&zones);
    let rrsig = decode(&table.ask(&name("www.example."), Type::RRSIG, false));
    assert_eq!(types(&rrsig.answer), [typed("www.example.", Type::RRSIG)]);

    let nsec = ask(&zones, "www.example.", Type::NSEC, false);
    assert_eq!(types(&nsec.answer), [typed("www.example.", Type::NSEC)]);
    let expanded = ask(&zones, "x.w.example.", Type::NSEC, true);
    assert!(types(&expanded.answer).contains(&typed("x.w.example.", Type::NSEC)));
}

#[test]
fn rfc5155_7_2_8_the_owner_of_nsec3_is_no_name() {
    let mut signed = zone("www A 192.0.2.1");
    sign(&mut signed, Signing::Nsec3 { opt_out: false, iterations: 1 });
    let owner = signed.nodes.keys().find(|owner| owner.labels().next().unwrap().len() == 32);
    let owner = owner.unwrap().to_string();
    let said = ask(&[signed], &owner, Type::NSEC3, true);
    assert_eq!(said.rcode, NXDOMAIN);
}

#[test]
fn too_many_nsec3_iterations_are_not_worked_off() {
    let mut signed = zone("www A 192.0.2.1");
    sign(&mut signed, Signing::Nsec3 { opt_out: false, iterations: 101 });
    let said = decode(&Table::of(&[signed]).ask(&name("x.example."), Type::A, true));
    assert!(said.authority.iter().all(|record| record.rtype != Type::NSEC3.0));
}

#[test]
fn the_longest_name_and_the_most_labels_are_answered() {
    let label = "l".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "m".repeat(53));
    let labels = vec!["a"; 122].join(".");
    let zones =
        [zone(&format!("{longest} A 192.0.2.1\n {labels} A 192.0.2.2\n *.{labels} A 192.0.2.3"))];
    assert_eq!(name(&format!("{longest}.example.")).as_wire().len(), 255);
    assert_eq!(ask(&zones, &format!("{longest}.example."), Type::A, false).answer.len(), 1);
    assert_eq!(ask(&zones, &format!("{labels}.example."), Type::A, false).answer.len(), 1);
    assert_eq!(ask(&zones, &format!("x.{labels}.example."), Type::A, false).rcode, NOERROR);
    assert_eq!(
        ask(&zones, &format!("x.{}.example.", &labels[2..]), Type::A, false).rcode,
        NXDOMAIN
    );
}

/// 127 labels of one octet, and the root's, are 255 octets: as many labels as there can be.
#[test]
fn a_name_of_127_labels_is_found_denied_and_below_a_wildcard() {
    let below = |labels: usize| "b.".repeat(labels);
    let text = format!("@ A 192.0.2.1\n *.{}c A 192.0.2.2", below(100));
    let mut zone = Zone::new("a.", 1).with("@ SOA 1\n @ NS ns").with(&text);
    let longest = name(&format!("{}a.", below(126)));
    assert_eq!((longest.label_count(), longest.as_wire().len()), (127, 255));
    zone.add(&longest, Type::A, vec![192, 0, 2, 3]);
    sign(&mut zone, Signing::Nsec);
    let zones = [zone];
    let ask = |owner: String, dnssec| ask(&zones, &owner, Type::A, dnssec);

    assert_eq!(ask(format!("{}a.", below(126)), false).answer.len(), 1);
    let denied = ask(format!("x.{}a.", below(125)), true);
    assert_eq!((denied.rcode, denied.answer.len()), (NXDOMAIN, 0));
    let wild = ask(format!("{}{}c.a.", "y.".repeat(25), below(100)), true);
    assert_eq!(wild.answer.len(), 2, "the wildcard's, and its signature");
}

#[test]
fn an_alias_to_the_owner_of_a_dname_ends_there_and_one_below_it_goes_on() {
    let zones =
        [zone("at CNAME d\n below CNAME x.d\n d DNAME e\n d A 192.0.2.1\n x.e A 192.0.2.2")];
    let at = ask(&zones, "at.example.", Type::A, false);
    assert_eq!(
        types(&at.answer),
        [typed("at.example.", Type::CNAME), typed("d.example.", Type::A)]
    );
    let below = ask(&zones, "below.example.", Type::A, false);
    for record in [
        typed("below.example.", Type::CNAME),
        typed("d.example.", Type::DNAME),
        typed("x.d.example.", Type::CNAME),
        typed("x.e.example.", Type::A),
    ] {
        assert!(types(&below.answer).contains(&record), "{record:?}");
    }
    assert_eq!(below.answer.len(), 4);
}

#[test]
fn rfc4592_3_3_1_a_wildcard_alias_leads_to_another_wildcard() {
    let mut signed = zone("*.a CNAME y.b\n *.b A 192.0.2.1\n *.self CNAME z.self");
    sign(&mut signed, Signing::Nsec3 { opt_out: false, iterations: 0 });
    let zones = [signed];
    let said = ask(&zones, "x.a.example.", Type::A, false);
    assert_eq!(
        types(&said.answer),
        [typed("x.a.example.", Type::CNAME), typed("y.b.example.", Type::A)]
    );
    let proven = ask(&zones, "x.a.example.", Type::A, true);
    let proofs = proven.authority.iter().filter(|record| record.rtype == Type::NSEC3.0).count();
    assert!(proofs >= 1 && proven.answer.len() == 4, "{proven:?}");
    // One that leads below itself goes once around.
    assert_eq!(ask(&zones, "x.self.example.", Type::A, false).answer.len(), 2);
}

#[test]
fn an_rrset_as_large_as_a_message_is_answered_whole_and_a_larger_one_truncated() {
    let mut zone = zone("www A 192.0.2.1");
    let records = |zone: &mut Zone, owner: &str, count: usize| {
        for number in 0..count {
            let rdata = [&[0xff, 0, 0, 0][..], &(number as u32).to_be_bytes(), &[7; 36]].concat();
            zone.add(&name(owner), Type(65_400), rdata);
        }
    };
    records(&mut zone, "large.example.", 1_160);
    records(&mut zone, "larger.example.", 1_300);
    let table = Table::of(&[zone]);
    let large = table.ask(&name("large.example."), Type(65_400), false);
    assert_eq!((decode(&large).answer.len(), decode(&large).tc), (1_160, false));
    let udp = decode(&table.ask_within(&name("large.example."), Type(65_400), false, 1232));
    assert_eq!((udp.answer.len(), udp.authority.len(), udp.tc), (0, 0, true));
    let larger = decode(&table.ask(&name("larger.example."), Type(65_400), false));
    assert_eq!((larger.answer.len(), larger.tc), (0, true));
}

#[test]
fn pointers_of_a_large_set_stay_within_their_reach() {
    let mut zone = zone("c CNAME long-alias");
    for number in 0..2_000 {
        let target = name(&format!("host-{number}.somewhere.else.")).as_wire().to_vec();
        zone.add(&name("long-alias.example."), Type::PTR, target);
    }
    let zones = [zone];
    assert_eq!(ask(&zones, "long-alias.example.", Type::PTR, false).answer.len(), 2_000);
    assert_eq!(ask(&zones, "c.example.", Type::PTR, false).answer.len(), 2_001);
}

#[test]
fn unknown_types_and_a_zone_of_the_root_are_nothing_special() {
    let mut root = Zone::new(".", 1).with("@ SOA 1\n @ NS a.");
    root.add(&name("x."), Type(12_345), vec![1, 2, 3]);
    let zones = [root];
    assert_eq!(ask(&zones, "x.", Type(12_345), false).answer.len(), 1);
    assert_eq!(ask(&zones, "y.", Type(12_345), false).rcode, NXDOMAIN);
    assert_eq!(ask(&zones, ".", Type::NS, false).answer.len(), 1);
    assert_eq!(ask(&zones, ".", Type::DS, false).authority.len(), 1);
}

#[test]
fn states_decide_between_refused_and_servfail() {
    let mut table = Table::of(&[zone("www A 192.0.2.1")]);
    let rcode = |table: &Table, owner: &str| decode(&table.ask(&name(owner), Type::A, false)).rcode;
    let stub = |table: &mut Table, apex: &str, id, state| {
        let mut rendered = Rendered::new(&table.writer.key());
        rendered.put_stub(&name(apex), id, state);
        table.writer.publish(&[rendered]);
    };
    stub(&mut table, "off.", 7, ZoneState::Suspended);
    stub(&mut table, "soon.", 8, ZoneState::Loading);
    assert_eq!(
        ["www.off.", "off.", "x.soon.", "elsewhere."].map(|it| rcode(&table, it)),
        [5, 5, 2, 5]
    );

    table.writer.start_load();
    assert_eq!(["www.example.", "x.example.", "elsewhere."].map(|it| rcode(&table, it)), [0, 2, 2]);
    table.writer.end_load();
    assert_eq!(["www.example.", "x.example.", "elsewhere."].map(|it| rcode(&table, it)), [0, 3, 5]);
}

#[test]
fn a_proof_never_stands_twice() {
    // One NSEC denies the name and the wildcard.
    let mut signed = zone("a A 192.0.2.1");
    sign(&mut signed, Signing::Nsec);
    let said = ask(&[signed], "zzz.example.", Type::A, true);
    let nsecs = said.authority.iter().filter(|record| record.rtype == Type::NSEC.0).count();
    assert_eq!(nsecs, 2, "the last name's, and the apex's for the wildcard");
    let mut alone = zone("");
    sign(&mut alone, Signing::Nsec);
    let said = ask(&[alone], "zzz.example.", Type::A, true);
    assert_eq!(said.authority.len(), 4);
}

#[test]
fn equal_suffixes_are_no_relation() {
    let zones = [zone("a A 192.0.2.1")];
    assert_eq!(ask(&zones, "notexample.", Type::A, false).rcode, 5);
    let tricky = Name::from_wire(b"\x09x\x07example\x00").unwrap();
    assert_eq!(decode(&Table::of(&zones).ask(&tricky, Type::A, false)).rcode, 5);
}
