//! RDATA of every type in the table: text and octets lead to each other, and two libraries that
//! know some of the types agree.

use std::fmt::Write as _;

use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use nameplane::wire::rdata::{canonical, canonical_cmp, display, expand, names, parse, validate};
use nameplane::wire::{Name, Type, rdata};
use proptest::prelude::*;

/// Type, a text people may write, and the text that is shown for it (empty: the same).
#[rustfmt::skip]
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("A", "192.0.2.1", ""),
    ("NS", "ns1.Example.net.", ""),
    ("MD", "mail.x.", ""),
    ("MF", "mail.x.", ""),
    ("CNAME", ".", ""),
    ("SOA", "ns.x. host\\.master.x. 2024010101 1h30m 10M 1w 300",
        "ns.x. host\\.master.x. 2024010101 5400 600 604800 300"),
    ("MB", "a.", ""),
    ("MG", "a.", ""),
    ("MR", "a.", ""),
    ("NULL", "\\# 3 010203", ""),
    ("WKS", "192.0.2.1 tcp smtp 80 domain", "192.0.2.1 6 25 53 80"),
    ("PTR", "a\\.b.\\255x.", ""),
    ("HINFO", "VAX-11/780 \"UNIX V\"", "\"VAX-11/780\" \"UNIX V\""),
    ("MINFO", "a. b.", ""),
    ("MX", "10 mail.x.", ""),
    ("TXT", "plain \"two words\" \"\\200 \\\" \\\\ ;(\" \"\"",
        "\"plain\" \"two words\" \"\\200 \\\" \\\\ ;(\" \"\""),
    ("RP", "a.x. t.x.", ""),
    ("AFSDB", "1 a.", ""),
    ("X25", "311061700956", "\"311061700956\""),
    ("ISDN", "150862028003217 004", "\"150862028003217\" \"004\""),
    ("ISDN", "\"150862028003217\"", ""),
    ("RT", "10 a.", ""),
    ("NSAP", "0x47.0005.80.005a00.0000", "0x47000580005A000000"),
    ("NSAP-PTR", "a.", ""),
    ("SIG", "A 5 2 3600 20300101000000 20200101000000 12345 x. AAEC", ""),
    ("KEY", "256 3 RSASHA1 AAEC", "256 3 5 AAEC"),
    ("KEY", "49152 3 5", ""),
    ("PX", "10 a. b.", ""),
    ("GPOS", "-32.6882 116.8652 10.0", "\"-32.6882\" \"116.8652\" \"10.0\""),
    ("AAAA", "2001:DB8:0:0::1", "2001:db8::1"),
    ("AAAA", "::ffff:192.0.2.1", ""),
    ("LOC", "52 22 23.000 N 4 53 32 E -2.00m 0.00m 10000m 10m",
        "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m"),
    ("LOC", "42 N 71 W 24", "42 0 0.000 N 71 0 0.000 W 24.00m 1.00m 10000.00m 10.00m"),
    ("NXT", "a. A MX NXT", ""),
    ("EID", "E32C6F78163A9348", ""),
    ("NIMLOC", "32251A030067", ""),
    ("SRV", "0 5 443 a.b.", ""),
    ("ATMA", "+61200000000", ""),
    ("ATMA", "39.246f.0001", "39246F0001"),
    ("NAPTR", "100 10 \"S\" \"SIP+D2U\" \"!^.*$!sip:a@b!\" _sip._udp.x.",
        ""),
    ("KX", "10 a.", ""),
    ("CERT", "PKIX 0 RSASHA256 AAEC", "PKIX 0 8 AAEC"),
    ("CERT", "65000 1 0 AA==", ""),
    ("A6", "64 ::1234:5678:9ABC:def0 ip6.x.", "64 ::1234:5678:9abc:def0 ip6.x."),
    ("A6", "0 2001:db8::1", ""),
    ("A6", "128 ip6.x.", ""),
    ("DNAME", "a.", ""),
    ("SINK", "1 2 AAEC", ""),
    ("APL", "1:192.168.32.0/21 !1:192.168.38.0/28 2:ff00::/8 1:0.0.0.0/0", ""),
    ("APL", "", ""),
    ("DS", "60485 RSASHA1 1 2BB183AF5F22588179A53B0A 98631FAD1A292118",
        "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
    ("SSHFP", "4 2 ab12", "4 2 AB12"),
    ("IPSECKEY", "10 1 2 192.0.2.38 AQNR", ""),
    ("IPSECKEY", "10 0 2 . AQNR", ""),
    ("IPSECKEY", "10 2 2 2001:db8::1 AQNR", ""),
    ("IPSECKEY", "10 3 0 gw.x.", ""),
    ("RRSIG", "TYPE65280 13 3 1d 20030322173103 1048354263 2642 Example.com. oJB1W6WNGv+ldvQ3WDG0",
        "TYPE65280 13 3 86400 20030322173103 20030322173103 2642 Example.com. oJB1W6WNGv+ldvQ3WDG0"),
    ("NSEC", "host.X. A MX RRSIG NSEC TYPE1234", ""),
    ("DNSKEY", "257 3 ECDSAP256SHA256 AAEC BAUG", "257 3 13 AAECBAUG"),
    ("DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=", ""),
    ("NSEC3", "1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS",
        "1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR NS MX DNSKEY"),
    ("NSEC3", "1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR", ""),
    ("NSEC3PARAM", "1 0 12 AABB", ""),
    ("NSEC3PARAM", "1 0 0 -", ""),
    ("TLSA", "DANE-EE SPKI SHA2-256 0001 0203", "3 1 1 00010203"),
    ("SMIMEA", "3 0 0 AA", ""),
    ("HIP", "2 200100107B1A74DF365639CC39F1D578 AwEAAbdx rvs1.x. rvs2.x.", ""),
    ("HIP", "2 20 Aw==", ""),
    ("NINFO", "\"x\"", ""),
    ("RKEY", "0 3 5 AAEC", ""),
    ("TALINK", "a. b.", ""),
    ("CDS", "0 0 0 00", ""),
    ("CDNSKEY", "0 3 0 AA==", ""),
    ("OPENPGPKEY", "AA EC", "AAEC"),
    ("CSYNC", "66 3 A NS AAAA", ""),
    ("CSYNC", "66 3", ""),
    ("ZONEMD", "2018031500 1 1 FEBE3D4CE2EC2FFA", ""),
    ("SVCB", "0 a.", ""),
    ("SVCB", "16 foo.x. key667=\"hello\\210qoo\"", ""),
    ("SVCB", "1 . ipv4hint=192.0.2.1,192.0.2.2 port=53 mandatory=port,alpn alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
        "1 . mandatory=alpn,port alpn=\"f\\\\\\\\oo\\\\,bar,h2\" port=53 ipv4hint=192.0.2.1,192.0.2.2"),
    ("HTTPS", "1 . alpn=h3,h2 no-default-alpn ech=\"AAEC\" ipv6hint=2001:db8::1 dohpath=/q{?dns} ohttp tls-supported-groups=29,23 docpath",
        "1 . alpn=h3,h2 no-default-alpn ech=AAEC ipv6hint=2001:db8::1 dohpath=\"/q{?dns}\" ohttp tls-supported-groups=29,23 docpath"),
    ("DSYNC", "CDS NOTIFY 5300 a.", ""),
    ("DSYNC", "0 2 5300 a.", "TYPE0 2 5300 a."),
    ("HHIT", "AAEC", ""),
    ("BRID", "AAEC", ""),
    ("SPF", "\"v=spf1 -all\"", ""),
    ("UINFO", "\\# 1 00", ""),
    ("UID", "\\# 0", ""),
    ("GID", "\\# 1 00", ""),
    ("UNSPEC", "\\# 1 00", ""),
    ("NID", "10 0014:4fff:ff20:ee64", ""),
    ("L32", "10 10.1.2.0", ""),
    ("L64", "10 2001:0db8:1140:1000", ""),
    ("LP", "10 l64.x.", ""),
    ("EUI48", "00-00-5E-00-53-2a", "00-00-5e-00-53-2a"),
    ("EUI64", "00-00-5e-ef-10-00-00-2a", ""),
    ("URI", "10 1 \"ftp://ftp1.example.com/public\"", ""),
    ("CAA", "0 issue \"ca.example.net; policy=ev\"", ""),
    ("AVC", "\"app-name:x\"", ""),
    ("DOA", "0 1 2 \"\" aHR0cHM6", ""),
    ("DOA", "0 1 2 \"text/plain\" -", ""),
    ("AMTRELAY", "10 0 1 203.0.113.15", ""),
    ("AMTRELAY", "10 1 3 amtrelays.x.", ""),
    ("AMTRELAY", "128 1 0 .", ""),
    ("RESINFO", "qnamemin exterr=15-17", "\"qnamemin\" \"exterr=15-17\""),
    ("WALLET", "\"BTC\" \"bc1q\"", ""),
    ("CLA", "\"TCP-V4\"", ""),
    ("IPN", "18446744073709551615", ""),
    ("TA", "1 2 3 AA", ""),
    ("DLV", "1 2 3 AA", ""),
    ("TYPE65280", "\\# 4 0A0B0C0D", ""),
];

fn example_octets() -> Vec<(Type, Box<[u8]>)> {
    let read = |&(rtype, text, _): &(&str, &str, &str)| {
        let rtype: Type = rtype.parse().unwrap();
        (rtype, parse(rtype, text, None).unwrap_or_else(|error| panic!("{rtype} {text}: {error}")))
    };
    EXAMPLES.iter().map(read).collect()
}

#[test]
fn every_type_of_the_table_has_an_example() {
    for (_, mnemonic) in rdata::types() {
        assert!(EXAMPLES.iter().any(|(rtype, ..)| *rtype == mnemonic), "{mnemonic} has none");
    }
}

#[test]
fn text_becomes_octets_and_the_same_text_again() {
    for ((rtype, text, shown), (code, octets)) in EXAMPLES.iter().zip(example_octets()) {
        validate(code, &octets).unwrap();
        let expected = if shown.is_empty() { text } else { shown };
        assert_eq!(display(code, &octets).to_string(), *expected, "{rtype} {text}");
        assert_eq!(parse(code, expected, None).unwrap(), octets, "{rtype} {text}");
    }
}

#[test]
fn a_field_missing_or_too_much_is_an_error_in_every_type() {
    for (rtype, text, _) in EXAMPLES {
        let code: Type = rtype.parse().unwrap();
        let many =
            matches!(*rtype, "WKS" | "NXT" | "TYPE65280" | "HIP" | "NULL") || text.contains("\\#");
        let strings = text.contains('"') || matches!(*rtype, "TXT" | "RESINFO" | "ISDN");
        if !many && !strings {
            assert!(parse(code, &format!("{text} ("), None).is_err(), "{rtype} {text} (");
        }
        assert!(code == Type(42) || parse(code, "", None).is_err(), "{rtype} of nothing");
    }
}

#[test]
fn domain_reads_the_same_octets_where_it_knows_the_type() {
    let mut known = 0;
    for ((rtype, text, _), (_, octets)) in EXAMPLES.iter().zip(example_octets()) {
        let line = format!("owner.x. 60 IN {rtype} {text}\n");
        let mut file = Zonefile::new().allow_invalid();
        file.extend_from_slice(line.as_bytes());
        let Ok(Some(Entry::Record(record))) = file.next_entry() else { continue };
        let mut theirs: Vec<u8> = Vec::new();
        record.data().compose_rdata(&mut theirs).unwrap();
        assert_eq!(theirs, octets.as_ref(), "{rtype} {text}");
        known += 1;
    }
    println!("domain agrees on {known} of {} examples", EXAMPLES.len());
    assert!(known > 30, "domain read only {known}");
}

#[test]
fn hickory_reads_the_same_octets_where_it_knows_the_type() {
    let mut known = 0;
    for ((rtype, text, _), (code, octets)) in EXAMPLES.iter().zip(example_octets()) {
        // It takes \\DDD beyond 127 for a character of Unicode; RFC 1035 §5.1 makes it one octet.
        let beyond_ascii = text.contains("\\2");
        let read = RData::try_from_str(RecordType::from(code.0), text);
        let Some(data) = read.ok().filter(|_| !beyond_ascii) else { continue };
        let mut theirs = Vec::new();
        if data.emit(&mut BinEncoder::new(&mut theirs)).is_err() {
            continue; // it wants SvcParams in order already in text
        }
        // It compresses, and folds the case of names on their way in.
        let theirs = expand(code, &theirs, 0..theirs.len()).unwrap();
        assert!(theirs.eq_ignore_ascii_case(&octets), "{rtype} {text}\n{theirs:?}\n{octets:?}");
        known += 1;
    }
    println!("hickory agrees on {known} of {} examples", EXAMPLES.len());
    assert!(known > 15, "hickory read only {known}");
}

#[test]
fn a_relative_name_is_completed_in_every_field() {
    let origin = Name::parse("example.com.").unwrap();
    for (rtype, text) in
        [("NS", "ns"), ("MX", "1 ns"), ("SRV", "0 0 0 ns"), ("SVCB", "1 ns"), ("LP", "1 ns")]
    {
        let code: Type = rtype.parse().unwrap();
        let octets = parse(code, text, Some(&origin)).unwrap();
        assert!(display(code, &octets).to_string().ends_with("ns.example.com."), "{rtype}");
        assert!(parse(code, text, None).is_err(), "{rtype} without an origin");
        assert!(parse(code, text.replace("ns", "@").as_str(), Some(&origin)).is_ok());
    }
}

/// Octets near those of an example: cut, lengthened, changed.
fn near_an_example() -> impl Strategy<Value = (Type, Vec<u8>)> {
    let examples = example_octets();
    let one = (0..examples.len()).prop_map(move |at| examples[at].clone());
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4);
    (one, edits).prop_map(|((rtype, octets), edits)| {
        let mut octets = octets.into_vec();
        for (at, octet, what) in edits {
            match what {
                0 if !octets.is_empty() => {
                    let at = at.index(octets.len());
                    octets[at] = octet;
                }
                1 if !octets.is_empty() => {
                    octets.remove(at.index(octets.len()));
                }
                _ => octets.insert(at.index(octets.len() + 1), octet),
            }
        }
        (rtype, octets)
    })
}

/// What must hold of any octets whatsoever.
fn octets_hold(rtype: Type, octets: &[u8]) {
    let text = display(rtype, octets).to_string();
    for name in names(rtype, octets) {
        assert!(Name::from_wire(name.wire).is_ok());
        assert_eq!(&octets[name.offset..name.offset + name.wire.len()], name.wire);
    }
    assert_eq!(canonical(rtype, octets).len(), octets.len());
    assert!(canonical_cmp(rtype, octets, octets).is_eq());
    let _ = expand(rtype, octets, 0..octets.len());
    if validate(rtype, octets).is_ok() {
        let back = parse(rtype, &text, None);
        assert_eq!(back.as_deref(), Ok(octets), "{rtype} {text}");
        assert_eq!(expand(rtype, octets, 0..octets.len()).as_deref(), Ok(octets), "{rtype} {text}");
    } else if !rtype.is_meta() {
        assert!(text.starts_with("\\#"), "{rtype} {text}");
        assert!(parse(rtype, &text, None).is_err(), "{rtype} {text}");
    }
}

proptest! {
    #[test]
    fn octets_near_an_example_survive_the_way_through_text((rtype, octets) in near_an_example()) {
        octets_hold(rtype, &octets);
    }

    #[test]
    fn any_octets_of_any_type_are_shown_and_read_back(
        code in prop_oneof![0u16..270, Just(32_768), Just(65_280)],
        octets in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        octets_hold(Type(code), &octets);
    }

    #[test]
    fn any_text_of_any_type_is_read_or_refused_and_what_is_read_is_well_formed(
        code in prop_oneof![0u16..270, Just(32_768), Just(65_280)],
        text in "([0-9]{1,3} ){0,4}[ -~\\n]{0,60}",
    ) {
        let origin = Name::parse("x.").unwrap();
        if let Ok(octets) = parse(Type(code), &text, Some(&origin)) {
            validate(Type(code), &octets).unwrap();
            octets_hold(Type(code), &octets);
        }
    }

    #[test]
    fn a_name_compressed_anywhere_is_expanded_or_refused(
        code in prop_oneof![0u16..70, 255u16..262],
        message in prop::collection::vec(prop_oneof![Just(0xC0u8), 0u8..20, any::<u8>()], 0..100),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let (from, to) = (from.index(message.len() + 1), to.index(message.len() + 1));
        if let Ok(octets) = expand(Type(code), &message, from..to) {
            validate(Type(code), &octets).unwrap();
        }
    }
}

#[test]
fn syntax_is_said_for_every_type() {
    let mut all = String::new();
    for (rtype, mnemonic) in rdata::types() {
        writeln!(all, "{mnemonic}: {}", rdata::syntax(rtype)).unwrap();
    }
    assert!(all.contains("SRV: priority, weight, port, target"));
}
