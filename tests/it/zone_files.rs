//! Zone files as people have them, line by line, and zones that survive the way through text.

use nameplane::wire::{Name, Type, rdata};
use nameplane::zone::packed::{Packer, nodes};
use nameplane::zone::text::{Limits, Options, Parsed, parse, write};
use nameplane::zone::tree::PackedZone;
use nameplane::zone::{View, check};
use proptest::prelude::*;

const APEX: &str = "example.com.";
const HEAD: &str =
    "$ORIGIN example.com.\n$TTL 3600\n@ IN SOA ns hostmaster 1 7200 3600 1209600 300\n@ IN NS ns\n";

fn options<'a>() -> Options<'a> {
    Options { apex: Some(Name::parse(APEX).unwrap()), ..Options::default() }
}

fn written(parsed: &Parsed) -> String {
    let mut text = String::new();
    write(&PackedZone::new(parsed.apex.clone(), &parsed.packed), &mut text).unwrap();
    text
}

/// What `line` adds to a small zone, as it is written again.
fn added(line: &str) -> Result<Vec<String>, String> {
    let text = format!("{HEAD}{line}\n");
    let parsed = parse(text.as_bytes(), options())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>())?;
    let lines = written(&parsed);
    let lines = lines.lines().skip(3).map(|line| line.replace('\t', " "));
    Ok(lines.collect())
}

/// Lines that zone file readers are known to refuse, drop or change, and what must come of them.
#[rustfmt::skip]
const LINES: &[(&str, &str)] = &[
    ("a DNAME b.example.net.", "a 3600 IN DNAME b.example.net."),
    ("a TYPE65280 \\# 4 0A000001", "a 3600 IN TYPE65280 \\# 4 0A000001"),
    ("a TYPE1 \\# 4 0A000001", "a 3600 IN A 10.0.0.1"),
    ("a CLASS1 A 192.0.2.1", "a 3600 IN A 192.0.2.1"),
    ("@ DNSKEY 257 3 13 AAEC", "@ 3600 IN DNSKEY 257 3 13 AAEC"),
    ("@ CDS 1 13 2 AABB", "@ 3600 IN CDS 1 13 2 AABB"),
    ("@ CDNSKEY 257 3 13 AAEC", "@ 3600 IN CDNSKEY 257 3 13 AAEC"),
    ("a NSEC b A RRSIG NSEC", "a 3600 IN NSEC b.example.com. A RRSIG NSEC"),
    ("a NSEC3 1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A", "a 3600 IN NSEC3 1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A"),
    ("@ NSEC3PARAM 1 0 0 -", "@ 3600 IN NSEC3PARAM 1 0 0 -"),
    ("@ RRSIG NS 13 2 3600 20300101000000 20240101000000 1 @ AAEC", "@ 3600 IN RRSIG NS 13 2 3600 20300101000000 20240101000000 1 example.com. AAEC"),
    ("@ ZONEMD 1 1 1 AABBCCDD", "@ 3600 IN ZONEMD 1 1 1 AABBCCDD"),
    ("a RP admin.x. .", "a 3600 IN RP admin.x. ."),
    ("a LOC 52 N 4 E 0m", "a 3600 IN LOC 52 0 0.000 N 4 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    ("a URI 10 1 \"https://x/\"", "a 3600 IN URI 10 1 \"https://x/\""),
    ("a APL 1:192.0.2.0/24", "a 3600 IN APL 1:192.0.2.0/24"),
    ("a EUI48 00-00-5e-00-53-2a", "a 3600 IN EUI48 00-00-5e-00-53-2a"),
    ("a NID 10 0014:4fff:ff20:ee64", "a 3600 IN NID 10 0014:4fff:ff20:ee64"),
    ("a CERT PGP 0 0 AAEC", "a 3600 IN CERT PGP 0 0 AAEC"),
    ("a CERT 3 0 0 AAEC", "a 3600 IN CERT PGP 0 0 AAEC"),
    ("a_b A 192.0.2.1", "a_b 3600 IN A 192.0.2.1"),
    ("-x A 192.0.2.1", "-x 3600 IN A 192.0.2.1"),
    ("\\200 A 192.0.2.1", "\\200 3600 IN A 192.0.2.1"),
    ("a\\.b A 192.0.2.1", "a\\.b 3600 IN A 192.0.2.1"),
    ("* A 192.0.2.1", "* 3600 IN A 192.0.2.1"),
    ("$GENERATE 7-7 h$ A 192.0.2.$", "h7 3600 IN A 192.0.2.7"),
    ("WWW A 192.0.2.1", "WWW 3600 IN A 192.0.2.1"),
    ("a CNAME Target.Example.NET.", "a 3600 IN CNAME Target.Example.NET."),
    ("a CNAME b\u{FC}cher.", "a 3600 IN CNAME b\\195\\188cher."),
    ("a TXT \"\\200\"", "a 3600 IN TXT \"\\200\""),
    ("a TXT \"x;y\" ; z", "a 3600 IN TXT \"x;y\""),
    ("a TXT ( \"x\"\n  \"y\" )", "a 3600 IN TXT \"x\" \"y\""),
    ("a 1h30m IN A 192.0.2.1", "a 5400 IN A 192.0.2.1"),
    ("a IN 60 A 192.0.2.1", "a 60 IN A 192.0.2.1"),
    ("a in a 192.0.2.1", "a 3600 IN A 192.0.2.1"),
    ("a HTTPS 1 . alpn=h3,h2 ipv4hint=192.0.2.1", "a 3600 IN HTTPS 1 . alpn=h3,h2 ipv4hint=192.0.2.1"),
    ("a SSHFP 4 2 ( AA\n BB )", "a 3600 IN SSHFP 4 2 AABB"),
    ("a SMIMEA 3 0 0 AA", "a 3600 IN SMIMEA 3 0 0 AA"),
    ("a CSYNC 1 3 A NS", "a 3600 IN CSYNC 1 3 A NS"),
    ("128/29 NS ns.x.", "128/29 3600 IN NS ns.x."),
    ("$GENERATE 129-129 $ CNAME $.128/29", "129 3600 IN CNAME 129.128/29.example.com."),
];

/// Lines that must not pass unseen.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    ("www 3600 IN", "ends before its type"),
    ("www", "stands alone"),
    ("www A", "is missing"),
    ("www 3600 IN A 192.0.2.1 192.0.2.2", "more behind its end"),
    ("www 1.5h A 192.0.2.1", "TTL 1.5h"),
    ("www 2147483648 A 192.0.2.1", "TTL 2147483648"),
    ("www 60 60 A 192.0.2.1", "neither a TTL"),
    ("www OPT \\# 0", "type of messages"),
    ("www TYPE251 \\# 0", "type of messages"),
    ("www HS A 192.0.2.1", "class HS"),
    ("$INCLUDE /etc/passwd", "not followed here"),
    ("$ORIGIN", "needs a name"),
    ("$TTL x", "TTL x"),
    ("$ORIGIN a.b. c", "more than the directive takes"),
];

#[test]
fn every_line_people_write_becomes_the_record_they_mean() {
    for (line, expected) in LINES {
        let lines = added(line).unwrap_or_else(|faults| panic!("{line}: {faults}"));
        assert!(lines.iter().any(|found| found == expected), "{line}: {lines:#?}");
    }
}

#[test]
fn a_line_that_means_nothing_is_a_fault_never_dropped() {
    for (line, expected) in REFUSED {
        let fault = added(line).expect_err(line);
        assert!(fault.contains(expected) && fault.starts_with("5:"), "{line}: {fault}");
    }
}

#[test]
fn a_pre_signed_zone_is_recognised_and_kept_as_it_is() {
    let times = "3600 20300101000000 20240101000000 1 @ AAEC";
    let text = format!(
        "{HEAD}@ DNSKEY 257 3 13 AAEC\n@ RRSIG SOA 13 2 {times}\n@ RRSIG DNSKEY 13 2 {times}\n@ RRSIG NS 13 2 {times}\n"
    );
    let parsed = parse(text.as_bytes(), options()).unwrap();
    assert!(parsed.signed && parsed.warnings.is_empty());
    assert_eq!((parsed.rrsets, parsed.records), (3, 6));
    let again = parse(written(&parsed).as_bytes(), options()).unwrap();
    assert_eq!(again, parsed);
    let view = PackedZone::new(parsed.apex.clone(), &parsed.packed);
    assert_eq!(check::check(&view).unwrap(), []);
}

#[test]
fn a_million_lines_in_any_order_become_one_zone() {
    let lines: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut text = String::from(HEAD);
    for line in 0..lines {
        let scattered = line.wrapping_mul(2_654_435_761);
        text.push_str(&format!("h{scattered} A 192.0.2.1\n"));
    }
    let parsed = parse(text.as_bytes(), options()).unwrap();
    assert_eq!((parsed.names, parsed.records), (lines as usize + 1, lines as usize + 2));
    let owners: Vec<Vec<u8>> = nodes(&parsed.packed).map(|node| node.name().key()).collect();
    assert!(owners.is_sorted_by(|left, right| left < right));
}

#[test]
fn a_million_faults_are_counted_and_a_thousand_listed() {
    let mut text = String::from(HEAD);
    (0..100_000).for_each(|_| text.push_str("a FOO\n"));
    let faults = parse(text.as_bytes(), options()).unwrap_err();
    assert_eq!(faults.len(), 1_001);
    assert!(faults[1_000].what.starts_with("99000 more faults"));
    assert_eq!(faults[999].line, 1_004);
}

/// A label of any octets, mostly tame ones.
fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-cA-C]{1,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..8),
        1 => Just(b"*".to_vec()),
    ]
}

fn owner() -> impl Strategy<Value = Name> {
    prop::collection::vec(label(), 0..4).prop_map(|labels| {
        let apex = Name::parse(APEX).unwrap();
        labels.iter().fold(apex, |name, label| name.child(label).unwrap())
    })
}

/// RDATA of some types with names, strings and octets of their own.
fn data() -> impl Strategy<Value = (Type, Box<[u8]>)> {
    let string = prop::collection::vec(any::<u8>(), 0..40)
        .prop_map(|octets| [vec![octets.len() as u8], octets].concat().into_boxed_slice());
    prop_oneof![
        any::<[u8; 4]>().prop_map(|address| (Type::A, address.into())),
        any::<[u8; 16]>().prop_map(|address| (Type::AAAA, address.into())),
        string.prop_map(|string| (Type::TXT, string)),
        owner().prop_map(|name| (Type::NS, name.as_wire().into())),
        (any::<[u8; 2]>(), owner()).prop_map(|(preference, name)| (
            Type::MX,
            [&preference, name.as_wire()].concat().into()
        )),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(|octets| (Type(65_280), octets.into())),
    ]
}

type Drawn = Vec<(Name, u32, Type, Box<[u8]>, bool)>;

/// Packs records as a zone, the first TTL of a set for all; some sets get a signature.
fn pack(drawn: Drawn) -> Vec<u8> {
    let mut sets = std::collections::BTreeMap::new();
    for (owner, ttl, rtype, rdata, signed) in drawn {
        let of_owner: &mut (Name, std::collections::BTreeMap<_, (u32, bool, Vec<Box<[u8]>>)>) =
            sets.entry(owner.key()).or_insert_with(|| (owner, Default::default()));
        let set = of_owner.1.entry(rtype).or_insert((ttl, signed, Vec::new()));
        set.2.push(rdata);
    }
    let mut packer = Packer::default();
    for (owner, types) in sets.into_values() {
        packer.node(owner.as_wire());
        for (rtype, (ttl, signed, rdatas)) in types {
            let set = nameplane::wire::RrSet::new(owner.clone(), rtype, ttl, rdatas);
            let sig = format!("{rtype} 13 2 {ttl} 20300101000000 20240101000000 1 {APEX} AAEC");
            let sig = rdata::parse(Type::RRSIG, &sig, None).unwrap();
            let sigs = signed.then_some(sig.as_ref());
            packer.rrset(rtype, ttl, set.rdatas().iter().map(AsRef::as_ref), sigs);
        }
    }
    packer.finish()
}

proptest! {
    #[test]
    fn any_zone_written_is_read_back_octet_for_octet(
        drawn in prop::collection::vec(
            (owner(), 0..=0x7FFF_FFFFu32, data(), any::<bool>())
                .prop_map(|(owner, ttl, (rtype, rdata), signed)| (owner, ttl, rtype, rdata, signed)),
            1..40,
        ),
    ) {
        let packed = pack(drawn);
        let view = PackedZone::new(Name::parse(APEX).unwrap(), &packed);
        let mut text = String::new();
        write(&view, &mut text).unwrap();
        let parsed = parse(text.as_bytes(), options()).unwrap();
        prop_assert_eq!(&parsed.packed, &packed, "{}", text);
        prop_assert_eq!(parsed.warnings, vec![]);
    }

    #[test]
    fn any_octets_are_read_or_refused(
        octets in prop::collection::vec(any::<u8>(), 0..300),
        lines in "([a-c@$. ]{0,4}[ \\t](IN |60 |A |MX |TXT |RRSIG |NSEC |\\$TTL |\\$GENERATE |\\$ORIGIN |\\(|\\)|\"|;|\\\\|[a-z0-9${},-]{1,6} ){0,6}\n){0,12}",
    ) {
        let limits = Limits { records: 100, generate: 50 };
        for input in [octets.as_slice(), lines.as_bytes(), &[HEAD.as_bytes(), lines.as_bytes()].concat()] {
            match parse(input, Options { limits, ..options() }) {
                Err(faults) => prop_assert!(!faults.is_empty()),
                Ok(parsed) => {
                    let again = parse(written(&parsed).as_bytes(), options()).unwrap();
                    prop_assert_eq!(&again.packed, &parsed.packed);
                    let view = PackedZone::new(parsed.apex.clone(), &parsed.packed);
                    let whole = check::check(&view).unwrap();
                    let owners: Vec<Name> = nodes(&parsed.packed).map(|node| node.name()).collect();
                    let part = check::check_touched(&view, owners.iter().chain([view.apex()])).unwrap();
                    // What the whole shows, its owners show.
                    for broken in whole {
                        prop_assert!(part.contains(&broken), "{:?}", broken);
                    }
                }
            }
        }
    }
}
