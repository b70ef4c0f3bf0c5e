use proptest::prelude::*;

use super::*;
use crate::zone::delta::Delta;
use crate::zone::tree::{PackedZone, Tree};
use crate::zone::{View, packed};

const LIMITS: Limits = Limits { octets_max: 1 << 20, records_max: 10_000 };
const ID: u16 = 4711;

fn apex() -> Name {
    Name::parse("z.").unwrap()
}

/// A record as it stands on the wire, uncompressed; text is `owner ttl type rdata`.
fn record(text: &str) -> Vec<u8> {
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (owner, ttl, rtype) = (Name::parse(word()).unwrap(), word(), word());
    let rtype: Type = rtype.parse().unwrap();
    let rdata = rdata::parse(rtype, word(), None).unwrap();
    let mut out = owner.as_wire().to_vec();
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&ttl.parse::<u32>().unwrap().to_be_bytes());
    out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(&rdata);
    out
}

fn message_of(flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![0; 12];
    let header = Header {
        id: ID,
        flags: crate::wire::Flags(flags),
        answers: records.len() as u16,
        ..Header::default()
    };
    header.write(&mut message);
    records.iter().for_each(|record| message.extend_from_slice(record));
    message
}

fn message(records: &[&str]) -> Vec<u8> {
    let records: Vec<_> = records.iter().map(|text| record(text)).collect();
    message_of(0x8400, &records)
}

fn soa(serial: u32) -> String {
    format!("z. 60 SOA ns.z. host.z. {serial} 300 60 3600 60")
}

fn hear(asked: Asked, messages: &[Vec<u8>]) -> Result<Option<Transfer>, TransferFault> {
    let mut incoming = Incoming::new(apex(), asked, ID, LIMITS);
    for message in messages {
        incoming.message(message)?;
    }
    incoming.finish()
}

fn axfr(messages: &[&[&str]]) -> Result<Option<Transfer>, TransferFault> {
    let messages: Vec<_> = messages.iter().map(|records| message(records)).collect();
    hear(Asked::Axfr, &messages)
}

fn ixfr(have: u32, messages: &[&[&str]]) -> Result<Option<Transfer>, TransferFault> {
    let messages: Vec<_> = messages.iter().map(|records| message(records)).collect();
    hear(Asked::Ixfr { have: Serial(have) }, &messages)
}

/// A zone as text: owners, types, TTLs, records, and how many signatures.
fn shown(packed: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for node in packed::nodes(packed) {
        for set in node.rrsets() {
            for rdata in set.rdatas() {
                let text = rdata::display(set.rtype, rdata);
                lines.push(format!("{} {} {} {text}", node.name(), set.ttl, set.rtype));
            }
            if set.sig_count > 0 {
                lines.push(format!("{} {} signatures {}", node.name(), set.rtype, set.sig_count));
            }
        }
    }
    lines
}

fn whole(transfer: Result<Option<Transfer>, TransferFault>) -> Vec<String> {
    match transfer {
        Ok(Some(Transfer::Whole { packed, .. })) => shown(&packed),
        other => panic!("{other:?}"),
    }
}

fn misbehaved(transfer: Result<Option<Transfer>, TransferFault>) -> Misbehaviour {
    match transfer {
        Err(TransferFault::Misbehaved(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc5936_2_2_a_zone_lies_between_its_soa_and_its_soa() {
    let (soa, other) = (soa(7), "b.z. 60 A 192.0.2.2");
    let zone = whole(axfr(&[&[&soa, "z. 60 NS ns.z."], &[other], &["a.z. 60 A 192.0.2.1", &soa]]));
    let lines = ["z. 60 NS ns.z.", &soa, "a.z. 60 A 192.0.2.1", other];
    assert_eq!(zone, lines);
}

#[test]
fn order_doubles_and_ttls_of_a_transfer_do_not_matter() {
    let soa = soa(7);
    let zone = whole(axfr(&[&[
        &soa,
        "b.z. 60 A 192.0.2.2",
        "a.z. 60 A 192.0.2.1",
        "B.z. 30 A 192.0.2.1",
        "b.z. 60 A 192.0.2.2",
        &soa,
    ]]));
    let lines = [&soa, "a.z. 60 A 192.0.2.1", "b.z. 30 A 192.0.2.1", "b.z. 30 A 192.0.2.2"];
    assert_eq!(zone, lines);
}

#[test]
fn a_transfer_that_stops_early_is_nothing() {
    let soa = soa(7);
    for cut in [&[&soa[..]][..], &[&soa, "z. 60 NS ns.z."]] {
        assert_eq!(axfr(&[cut]), Ok(None));
    }
    assert_eq!(ixfr(6, &[&[&soa, &self::soa(6), &soa]]), Ok(None));
}

#[test]
fn what_is_no_transfer_is_refused_by_name() {
    let soa = soa(7);
    let ns = "z. 60 NS ns.z.";
    assert_eq!(misbehaved(axfr(&[&[ns, &soa]])), Misbehaviour::NoSoa);
    assert_eq!(misbehaved(axfr(&[&[&soa, ns, &soa, ns]])), Misbehaviour::Trailing);
    assert_eq!(misbehaved(axfr(&[&[&soa, ns, &self::soa(8)]])), Misbehaviour::Serial(Serial(8)));
    assert_eq!(misbehaved(axfr(&[&[]])), Misbehaviour::Empty);
    let mut chaos = record(&soa);
    chaos[6] = 3;
    let heard = hear(Asked::Axfr, &[message_of(0x8400, &[chaos])]);
    assert_eq!(misbehaved(heard), Misbehaviour::Class);
    for (flags, id) in [(0x0400, ID), (0x8600, ID), (0x8400, ID + 1), (0xa400, ID)] {
        let mut message = message_of(flags, &[record(&soa)]);
        message[..2].copy_from_slice(&id.to_be_bytes());
        assert_eq!(misbehaved(hear(Asked::Axfr, &[message])), Misbehaviour::Malformed);
    }
    let refused = hear(Asked::Axfr, &[message_of(0x8405, &[])]);
    assert_eq!(refused, Err(TransferFault::Refused(Rcode::REFUSED)));
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("REFUSED") && told.contains("let this address or key"), "{told}");
}

#[test]
fn rdata_that_is_none_of_its_type_ends_the_transfer() {
    let mut short = record("a.z. 60 A 192.0.2.1");
    let len_at = short.len() - 5;
    short[len_at] = 3;
    short.pop();
    let heard = hear(Asked::Axfr, &[message_of(0x8400, &[record(&soa(7)), short])]);
    assert!(matches!(misbehaved(heard), Misbehaviour::Rdata { rtype: Type::A, .. }));
}

#[test]
fn records_of_others_are_passed_over_and_counted() {
    let soa = soa(7);
    let mut incoming = Incoming::new(apex(), Asked::Axfr, ID, LIMITS);
    let all = message(&[
        &soa,
        "z. 60 NS ns.other.",
        "ns.other. 60 A 192.0.2.1",
        "az. 60 A 1.2.3.4",
        &soa,
    ]);
    assert_eq!(incoming.message(&all), Ok(Progress::Done));
    assert_eq!((incoming.strangers(), incoming.records()), (2, 5));
    assert_eq!(whole(incoming.finish()).len(), 2);
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let limits = Limits { octets_max: 500, records_max: 10_000 };
    let mut incoming = Incoming::new(apex(), Asked::Axfr, ID, limits);
    incoming.message(&message(&[&soa(7)])).unwrap();
    let endless = message(&["a.z. 60 TXT \"0123456789012345678901234567890123456789\""]);
    let fault = (0..20).find_map(|_| incoming.message(&endless).err());
    assert_eq!(fault, Some(TransferFault::TooLarge(limits)));

    let limits = Limits { octets_max: 1 << 20, records_max: 3 };
    let mut incoming = Incoming::new(apex(), Asked::Ixfr { have: Serial(6) }, ID, limits);
    let steps = message(&[&soa(9), &soa(6), &soa(7), &soa(7)]);
    assert_eq!(incoming.message(&steps), Err(TransferFault::TooLarge(limits)));
}

#[test]
fn rfc1995_4_steps_follow_one_another() {
    let heard = ixfr(
        5,
        &[
            &[&soa(7), &soa(5), "a.z. 60 A 192.0.2.1", &soa(6)],
            &["a.z. 60 A 192.0.2.2", &soa(6), &soa(7), "b.z. 60 A 192.0.2.3", &soa(7)],
        ],
    );
    let Ok(Some(Transfer::Steps(steps))) = heard else { panic!("{heard:?}") };
    let serials: Vec<_> = steps.iter().map(|step| (step.from.0, step.to.0)).collect();
    assert_eq!(serials, [(5, 6), (6, 7)]);
    assert_eq!(shown(&steps[0].dels), [soa(5), "a.z. 60 A 192.0.2.1".into()]);
    assert_eq!(shown(&steps[0].adds), [soa(6), "a.z. 60 A 192.0.2.2".into()]);
    assert_eq!(shown(&steps[1].dels), [soa(6)]);
    assert_eq!(shown(&steps[1].adds), [soa(7), "b.z. 60 A 192.0.2.3".into()]);
}

#[test]
fn rfc1995_4_ixfr_may_be_answered_with_the_whole_zone_or_with_nothing_newer() {
    let zone = whole(ixfr(5, &[&[&soa(7)], &["z. 60 NS ns.z.", &soa(7)]]));
    assert_eq!(zone, ["z. 60 NS ns.z.", &soa(7)]);
    assert_eq!(ixfr(5, &[&[&soa(5)]]), Ok(Some(Transfer::Current(Serial(5)))));
    assert_eq!(ixfr(5, &[&[&soa(4)]]), Ok(Some(Transfer::Current(Serial(4)))));
}

#[test]
fn rfc5936_2_2_a_transfer_ends_with_the_record_it_began_with() {
    let (soa, a) = (soa(7), "a.z. 60 A 192.0.2.1");
    let old = self::soa(6);
    let others = [
        "z. 60 SOA other.z. host.z. 7 300 60 3600 60",
        "z. 60 SOA ns.z. host.z. 7 300 60 3600 61",
        "z. 61 SOA ns.z. host.z. 7 300 60 3600 60",
    ];
    for other in others {
        let two = Misbehaviour::OtherSoa(Serial(7));
        assert_eq!(misbehaved(axfr(&[&[&soa, a], &[other]])), two, "{other}");
        assert_eq!(misbehaved(axfr(&[&[&soa, other]])), two, "{other}");
        assert_eq!(misbehaved(ixfr(6, &[&[&soa, a, other]])), two, "{other}");
        assert_eq!(misbehaved(ixfr(6, &[&[&soa, &old, &soa, a, other]])), two, "{other}");
    }
    // A later message may have taken a name from a record that writes it otherwise.
    let written = "Z. 60 SOA NS.z. hOst.Z. 7 300 60 3600 60";
    assert_eq!(whole(axfr(&[&[&soa, a], &[written]])).len(), 2);
}

#[test]
fn steps_that_do_not_fit_together_are_refused() {
    let a = "a.z. 60 A 192.0.2.1";
    // Begins elsewhere; goes back; leaves one out; ends beyond its goal.
    assert_eq!(misbehaved(ixfr(5, &[&[&soa(7), &soa(6), a]])), Misbehaviour::Serial(Serial(6)));
    assert_eq!(
        misbehaved(ixfr(5, &[&[&soa(7), &soa(5), a, &soa(4)]])),
        Misbehaviour::Serial(Serial(4))
    );
    let gap = ixfr(5, &[&[&soa(9), &soa(5), &soa(6), a, &soa(7), &soa(9), &soa(9)]]);
    assert_eq!(misbehaved(gap), Misbehaviour::Serial(Serial(7)));
    let early = ixfr(5, &[&[&soa(7), &soa(5), &soa(6), a, &soa(7)]]);
    assert_eq!(misbehaved(early), Misbehaviour::Serial(Serial(7)));
}

#[test]
fn a_step_may_change_nothing_but_signatures() {
    let sig =
        |tag: u16| format!("a.z. 60 RRSIG A 13 2 60 20270101000000 20260101000000 {tag} z. AAAA");
    let (old, new) = (sig(1), sig(2));
    let heard = ixfr(5, &[&[&soa(6), &soa(5), &old, &soa(6), &new, &soa(6)]]);
    let Ok(Some(Transfer::Steps(steps))) = heard else { panic!("{heard:?}") };
    assert_eq!(shown(&steps[0].dels)[1], "a.z. A signatures 1");
    assert_eq!(shown(&steps[0].adds)[1], "a.z. A signatures 1");
    // In a whole zone there is nothing for it to sign.
    let zone = whole(axfr(&[&[&soa(6), &new, &soa(6)]]));
    assert_eq!(zone, [soa(6)]);
}

#[test]
fn the_questions_are_those_of_the_documents() {
    let soa_rdata = rdata::parse(Type::SOA, "ns.z. host.z. 5 300 60 3600 60", None).unwrap();
    let ixfr = question::ixfr(&apex(), &soa_rdata, 7);
    let header = Header::read(&ixfr).unwrap();
    assert_eq!((header.id, header.questions, header.authorities), (7, 1, 1));
    assert!(ixfr.ends_with(&soa_rdata));
    assert_eq!(question::axfr(&apex(), 7)[12..], *b"\x01z\x00\x00\xfc\x00\x01");
    assert_eq!(question::soa(&apex(), 7)[12..], *b"\x01z\x00\x00\x06\x00\x01");
}

/// What a primary would send to lead from one zone to another: as one step.
fn step_message(old: &Tree, new: &Tree, from: u32, to: u32) -> Vec<u8> {
    let delta = Delta::between(old, new, usize::MAX).unwrap().unwrap();
    let step = delta.step(Serial(from), Serial(to));
    let mut records = vec![record(&soa(to))];
    for (side, serial) in [(&step.dels, from), (&step.adds, to)] {
        records.push(record(&soa(serial)));
        let lines = shown(side);
        records
            .extend(lines.iter().filter(|line| !line.contains(" SOA ")).map(|line| record(line)));
    }
    records.push(record(&soa(to)));
    message_of(0x8400, &records)
}

fn zone_of(serial: u32, hosts: &[(u8, u8)]) -> Tree {
    let mut records = vec![record(&soa(serial)), record("z. 60 NS ns.z.")];
    let host =
        |(owner, address): &(u8, u8)| record(&format!("h{}.z. 60 A 192.0.2.{address}", owner % 8));
    records.extend(hosts.iter().map(host));
    records.push(record(&soa(serial)));
    match hear(Asked::Axfr, &[message_of(0x8400, &records)]) {
        Ok(Some(Transfer::Whole { packed, .. })) => Tree::new(apex(), &packed),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_step_on_the_old_zone_is_the_new_zone(
        old in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..12),
        new in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..12),
    ) {
        let (old, new) = (zone_of(5, &old), zone_of(6, &new));
        let heard = hear(Asked::Ixfr { have: Serial(5) }, &[step_message(&old, &new, 5, 6)]);
        let Ok(Some(Transfer::Steps(steps))) = heard else { panic!("{heard:?}") };
        let mut here = old.clone();
        for step in &steps {
            let delta = step.delta(&here).unwrap();
            here.apply(&delta);
        }
        prop_assert_eq!(shown(&here.to_packed()), shown(&new.to_packed()));
        prop_assert_eq!(here.apex(), &apex());
    }

    #[test]
    fn no_octets_can_make_it_panic(
        asked in any::<bool>(),
        at in any::<usize>(),
        octet in any::<u8>(),
        cut in any::<usize>(),
    ) {
        let asked = if asked { Asked::Axfr } else { Asked::Ixfr { have: Serial(5) } };
        let mut octets = message(&[
            &soa(7), &soa(5), "a.z. 60 A 192.0.2.1", &soa(6), "b.z. 60 MX 10 c.z.", &soa(6), &soa(7),
            "a.z. 60 TXT \"x\"", &soa(7),
        ]);
        let len = octets.len();
        octets[at % len] = octet;
        octets.truncate(cut % (len + 1));
        if let Ok(Some(Transfer::Whole { packed, .. })) = hear(asked, &[octets]) {
            let view = PackedZone::new(apex(), &packed);
            prop_assert!(crate::zone::check::check(&view).is_ok());
        }
    }
}
