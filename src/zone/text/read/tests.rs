//! Zone files as people write them, good and bad.

use proptest::prelude::*;

use super::super::{Limits, Severity, write};
use super::*;
use crate::wire::Name;
use crate::zone::tree::PackedZone;

const HEAD: &str = "$TTL 1h\n@ SOA ns hostmaster 7 1h 10m 1w 5m\n NS ns\nns A 192.0.2.1\n";

fn options<'a>() -> Options<'a> {
    Options { apex: Some(Name::parse("example.com.").unwrap()), ..Options::default() }
}

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), options()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// The zone as written again, without its first line.
fn shown(parsed: &Parsed) -> Vec<String> {
    let mut text = String::new();
    write(&PackedZone::new(parsed.apex.clone(), &parsed.packed), &mut text).unwrap();
    text.lines().skip(1).map(|line| line.replace('\t', " ")).collect()
}

/// What `body` adds to a small zone.
fn added(body: &str) -> Vec<String> {
    let all = shown(&read(&format!("{HEAD}{body}")));
    let head = shown(&read(HEAD));
    all.into_iter().filter(|line| !head.contains(line)).collect()
}

fn faults(body: &str) -> Vec<String> {
    let all = match parse(format!("{HEAD}{body}").as_bytes(), options()) {
        Ok(parsed) => parsed.warnings,
        Err(faults) => faults,
    };
    all.iter().map(|fault| Fault { line: fault.line - 4, ..fault.clone() }.to_string()).collect()
}

#[test]
fn ttl_and_class_stand_in_either_order_or_not_at_all() {
    for body in ["a 60 IN A 192.0.2.2", "a IN 60 A 192.0.2.2", "a 1m A 192.0.2.2"] {
        assert_eq!(added(body), ["a 60 IN A 192.0.2.2"], "{body}");
    }
    assert_eq!(added("a IN A 192.0.2.2"), ["a 3600 IN A 192.0.2.2"]);
    assert_eq!(added("a CLASS1 TYPE1 \\# 4 C0000202"), ["a 3600 IN A 192.0.2.2"]);
}

proptest! {
    /// Goal: names stay apart and none is lost, however few they are and whatever they share.
    #[test]
    fn records_in_any_order_make_the_same_zone(
        names in prop::sample::subsequence(
            vec!["@", "ns", "a.ns", "b.a.ns", "aaaaaaaaaaaaaaaa.ns", "aaaaaaaaaaaaaaaab.ns", "n", "b"],
            1..7,
        ).prop_shuffle(),
    ) {
        let lines = names.iter().map(|name| format!("{name} 3600 IN TXT \"{name}\""));
        let mut wanted: Vec<String> = lines.clone().chain(shown(&read(HEAD))).collect();
        let body: Vec<String> = lines.collect();
        let mut got = shown(&read(&format!("{HEAD}{}\n", body.join("\n"))));
        wanted.sort();
        got.sort();
        prop_assert_eq!(got, wanted);
    }
}

#[test]
fn an_owner_left_out_is_the_last_one() {
    let lines = added("a A 192.0.2.2\n  TXT x\n$ORIGIN sub\n\tTXT y\nb A 192.0.2.3\n");
    assert_eq!(
        lines,
        [
            "a 3600 IN A 192.0.2.2",
            "a 3600 IN TXT \"x\"",
            "a 3600 IN TXT \"y\"",
            "b.sub 3600 IN A 192.0.2.3"
        ]
    );
}

#[test]
fn rfc2308_4_a_ttl_left_out_is_the_default_or_the_last() {
    let text = "@ 5m SOA ns h 1 1 1 1 9\n@ NS ns.x.\na A 192.0.2.1\nb 60 A 192.0.2.1\nc A 192.0.2.1\n$TTL 7\nd A 192.0.2.1\ne 8 A 192.0.2.1\nf A 192.0.2.1\n";
    let ttls: Vec<String> =
        shown(&read(text)).iter().map(|line| line.split(' ').nth(1).unwrap().to_string()).collect();
    assert_eq!(ttls, ["300", "300", "300", "60", "60", "7", "8", "7"]);

    let parsed = read("@ SOA ns h 1 1 1 1 9\n@ NS ns.x.\n");
    assert_eq!(shown(&parsed)[1], "@ 9 IN NS ns.x.");
    assert_eq!(parsed.warnings.len(), 1);
    let fault = &parse(b"a A 192.0.2.1\nb A 192.0.2.2", options()).unwrap_err()[..];
    assert!(matches!(fault, [only] if only.what.contains("$TTL")), "{fault:?}");
}

#[test]
fn lines_end_as_any_system_ends_them() {
    let windows = format!("\u{FEFF}{HEAD}a TXT x ; y\n").replace('\n', "\r\n");
    assert_eq!(shown(&read(&windows)), shown(&read(&format!("{HEAD}a TXT x"))));
}

#[test]
fn case_is_kept_and_joins_owners() {
    let lines = added("WwW A 192.0.2.2\nwww A 192.0.2.3\nm MX 1 Mail.Example.COM.\n");
    assert_eq!(
        lines,
        ["m 3600 IN MX 1 Mail.Example.COM.", "WwW 3600 IN A 192.0.2.2", "WwW 3600 IN A 192.0.2.3"]
    );
}

#[test]
fn signatures_stand_with_what_they_cover() {
    let sig = |covered: &str| {
        format!("a RRSIG {covered} 8 3 3600 20300101000000 20200101000000 1 @ AAAA\n")
    };
    let parsed = read(&format!("{HEAD}{}a A 192.0.2.2\n", sig("A")));
    let node = crate::zone::packed::nodes(&parsed.packed).nth(1).unwrap();
    assert_eq!(node.rrset(Type::A).unwrap().sig_count, 1);
    assert!(node.rrset(Type::RRSIG).is_none() && !parsed.signed);

    let orphan = faults(&sig("MX"));
    assert_eq!(
        orphan,
        [
            "1:1: warning: a.example.com. RRSIG covers MX, which a.example.com. does not have: it is left out; remove it or add the MX"
        ]
    );
}

#[test]
fn all_faults_of_a_file_are_found_at_once() {
    let body = "a A 192.0.2\nb 3600 IN\nc FOO x\n\td A 192.0.2.1\n$FOO\nb..c A 192.0.2.1\ne TXT \"open\nf MX ten x\nx.example.org. A 192.0.2.1\ng CH A 192.0.2.1\nh ANY x\ni (A 192.0.2.1\n";
    assert_eq!(
        faults(body),
        [
            "1:5: error: A address is not an IPv4 address such as 192.0.2.1",
            "2:8: error: record ends before its type: write a type and data",
            "3:3: error: FOO is neither a TTL, a class nor a record type: write an unknown type as TYPE and its number",
            "4:2: error: d is neither a TTL, a class nor a record type: write an unknown type as TYPE and its number",
            "5:1: error: $FOO is not a directive: there are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
            "6:1: error: owner b..c: name has an empty label",
            "7:7: error: quoted string is not closed in its line: add the missing \"",
            "8:6: error: MX preference is not a number from 0 to 65535",
            "9:1: error: x.example.org. is outside the zone example.com.: remove it, or load it with its own zone",
            "10:3: error: class CH is not served here, only IN: remove the record",
            "11:3: error: ANY is a type of messages, not of zones: remove the record",
            "12:3: error: parenthesis is never closed, so everything behind it was not read: add the missing )",
        ]
    );
}

#[test]
fn rules_that_a_file_breaks_are_faults_with_their_lines() {
    let faults = |text: &str| -> Vec<String> {
        let options = Options { rules: true, ..options() };
        let faults = parse(text.as_bytes(), options).unwrap_err();
        faults
            .iter()
            .map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.what))
            .collect()
    };
    let apex = "$TTL 60\n@ SOA ns h 1 1 1 1 1\n";
    let found = faults(&format!(
        "{apex}@ NS ns.x.\nwww A 192.0.2.1\nb CNAME a\n   CNAME c\nWWW CNAME a\nd DNAME x.\nc.d A 192.0.2.1\n"
    ));
    let heads = [
        "6:4 b.example.com. has 2 CNAME",
        "7:1 www.example.com. CNAME",
        "9:1 c.d.example.com. is below",
    ];
    assert_eq!(found.len(), heads.len(), "{found:#?}");
    for (found, head) in found.iter().zip(heads) {
        assert!(found.starts_with(head), "{found} is not {head}");
    }
    // What is missing is said where the zone begins, and only if it cannot stand in a line that was not read.
    let found = faults(apex);
    assert!(found.len() == 1 && found[0].starts_with("2:1 example.com. has no NS"), "{found:#?}");
    let found = faults(&format!("{apex}@ NSX ns\nwww CNAME a\nwww A 192.0.2.1\n"));
    assert!(found.len() == 2 && found[1].starts_with("4:1 www"), "{found:#?}");
    assert!(faults("$TTL 60\nwww A 192.0.2.1\n")[0].starts_with("1:1 example.com. has no SOA"));
}

#[test]
fn rfc2181_5_2_the_lowest_ttl_of_an_rrset_counts_whatever_their_order() {
    for body in ["a 90 A 192.0.2.2\na 60 A 192.0.2.3\n", "a 60 A 192.0.2.2\na 90 A 192.0.2.3\n"] {
        assert_eq!(added(body), ["a 60 IN A 192.0.2.2", "a 60 IN A 192.0.2.3"]);
        assert!(
            faults(body)[0].contains("warning: a.example.com. A has records with TTL 60 and 90")
        );
    }
}

#[test]
fn what_is_odd_is_read_with_a_warning() {
    assert_eq!(
        faults("a 60 A 192.0.2.2\na 90 A 192.0.2.3\na 60 A 192.0.2.2\n"),
        [
            "2:1: warning: a.example.com. A has records with TTL 60 and 90: the lowest is used for all; write one TTL (RFC 2181 §5.2)",
            "3:1: warning: a.example.com. has this A twice: the second is left out",
        ]
    );
    assert!(faults("b\u{FC}cher A 192.0.2.1")[0].contains("xn--"));
}

#[test]
fn generate_makes_a_line_per_number() {
    assert_eq!(
        added("$GENERATE 1-5/2 host$ A 192.0.2.${10}\n"),
        ["host1 3600 IN A 192.0.2.11", "host3 3600 IN A 192.0.2.13", "host5 3600 IN A 192.0.2.15"]
    );
    assert_eq!(
        added("$GENERATE 10-10 h${0,4}-${0,0,x}-${5,3,X}-\\$ 60 IN TXT ${0,7,n}\n"),
        ["h0010-a-00F-\\$ 60 IN TXT \"a.0.0.0\""]
    );
    assert_eq!(added("$GENERATE 0-1 $.0 PTR h$.example.\n").len(), 2);
}

#[test]
fn generated_owners_are_told_from_those_of_the_file() {
    // They stand at the same places of their lines.
    let text = "ab 60 A 192.0.2.1\n$GENERATE 1-1 xy 60 A 192.0.2.9\nab 60 A 192.0.2.2\n";
    let wanted = ["ab 60 IN A 192.0.2.1", "ab 60 IN A 192.0.2.2", "xy 60 IN A 192.0.2.9"];
    assert_eq!(shown(&read(text)), wanted);
}

#[test]
fn an_empty_owner_is_none() {
    let wanted = ["3:1: error: owner : name has an empty label"];
    assert_eq!(faults("a A 192.0.2.2\n$ORIGIN sub\n\"\" A 192.0.2.3\n"), wanted);
}

#[test]
fn generate_is_bounded_and_its_faults_are_said_once() {
    let limits = Limits { generate: 10, ..Limits::default() };
    let text = format!("{HEAD}$GENERATE 0-5 a$ A 192.0.2.$\n$GENERATE 0-5 b$ A 192.0.2.$\n");
    let faults_found = parse(text.as_bytes(), Options { limits, ..options() }).unwrap_err();
    assert_eq!(faults_found.len(), 1);
    assert_eq!(faults_found[0].line, 6);
    assert_eq!(faults("$GENERATE 250-300 a$ A 192.0.2.$\n").len(), 1);
    for bad in ["5-1 a", "1-5/0 a", "x a", "0-99999999999 a", "0-4294967295 a$ A 1.2.3.4"] {
        assert_eq!(faults(&format!("$GENERATE {bad}\n")).len(), 1, "{bad}");
    }
    assert!(faults("$GENERATE 1-2 a${-5} A 192.0.2.1\n")[0].contains("negative"));
    assert!(faults("$GENERATE 1-2 a${1,2,q} A 192.0.2.1\n")[0].contains("base one of"));
}

#[test]
fn include_reads_through_the_callback_and_leaves_origin_and_owner_alone() {
    let mut open = |name: &str| match name {
        "hosts" => Ok(b"b A 192.0.2.3\n$ORIGIN deep\nc A 192.0.2.4\n".to_vec()),
        other => Err(format!("there is no {other}")),
    };
    let text = format!("{HEAD}a A 192.0.2.2\n$INCLUDE hosts sub\n TXT still-a\n$INCLUDE none\n");
    let faults = parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() });
    assert_eq!(faults.unwrap_err()[0].to_string(), "8:10: error: $INCLUDE none: there is no none");

    let text = text.replace("$INCLUDE none\n", "");
    let parsed =
        parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() }).unwrap();
    let mut lines = shown(&parsed).split_off(2);
    lines.retain(|line| !line.starts_with("ns"));
    assert_eq!(
        lines,
        [
            "a 3600 IN A 192.0.2.2",
            "a 3600 IN TXT \"still-a\"",
            "b.sub 3600 IN A 192.0.2.3",
            "c.deep.sub 3600 IN A 192.0.2.4"
        ]
    );
}

#[test]
fn a_fault_in_an_included_file_names_it_and_a_loop_ends() {
    let mut open = |_: &str| Ok(b"\na A 1\n$INCLUDE self\n".to_vec());
    let text = format!("{HEAD}$INCLUDE self\n");
    let faults =
        parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() }).unwrap_err();
    assert!(faults[0].to_string().starts_with("self:2:5: error: A address"));
    assert_eq!(faults.len(), INCLUDE_DEPTH_MAX + 1);

    let mut twice = |_: &str| Ok(b"$INCLUDE a\n".repeat(10));
    let ended = parse(text.as_bytes(), Options { includes: Some(&mut twice), ..options() });
    assert!(ended.unwrap_err().iter().any(|fault| fault.what.contains("more than 1000 files")));
    assert!(faults_without_includes().contains("in its place"));
}

fn faults_without_includes() -> String {
    faults("$INCLUDE x\n").concat()
}

#[test]
fn a_fault_repeats_little_of_the_file() {
    let long = "x".repeat(100_000);
    assert!(faults(&format!("a {long}\n"))[0].len() < 300);
    assert!(faults(&format!("{long}\n"))[0].len() < 300);
}

#[test]
fn a_file_in_utf16_is_told_so_once() {
    let text: Vec<u8> = HEAD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let faults = parse(&[b"\xFF\xFE".as_slice(), &text].concat(), options()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].what.contains("UTF-8"));
}

#[test]
fn a_name_that_ends_with_the_zone_twice_is_pointed_out() {
    let found =
        faults("www.example.com A 192.0.2.1\na MX 10 mail.Example.com\nb NS x.example.com.\n");
    assert_eq!(
        found,
        [
            "1:1: warning: www.example.com.example.com. ends with the zone's name twice: is a dot missing at its end?",
            "2:1: warning: a.example.com. MX names mail.Example.com.example.com., which ends with the zone's name twice: is a dot missing at its end?",
        ]
    );
}

#[test]
fn limits_on_records_hold() {
    let limits = Limits { records: 3, ..Limits::default() };
    let text = format!("{HEAD}a A 192.0.2.2\nb A 192.0.2.3\n");
    let faults = parse(text.as_bytes(), Options { limits, ..options() }).unwrap_err();
    assert_eq!((faults.len(), faults[0].line), (1, 5));
}

#[test]
fn the_apex_is_where_the_soa_stands() {
    let text = "$ORIGIN Example.net.\n@ 60 SOA ns h 5 1 1 1 1\n@ NS ns\n";
    let parsed = parse(text.as_bytes(), Options::default()).unwrap();
    assert_eq!(parsed.apex.to_string(), "Example.net.");
    assert_eq!(parsed.serial.map(|serial| serial.0), Some(5));
    assert_eq!((parsed.names, parsed.rrsets, parsed.records), (1, 2, 2));
    let faults = parse(b"$ORIGIN x.\na 60 A 192.0.2.1\n", Options::default()).unwrap_err();
    assert!(faults[0].what.contains("no SOA"));
    assert_eq!(faults[0].severity, Severity::Error);
    assert!(parse(b"", Options::default()).is_err());
}

/// Lines that stand for themselves, and such that hang on others or change what comes behind them.
fn line() -> impl Strategy<Value = String> {
    let plain = (0..40u32, 0..9u32).prop_map(|(owner, last)| match last {
        0 => format!("n{owner} 60 TXT \"a {owner} \\\" b\"\n"),
        1 => format!("n{owner} 60 IN TXT ( a\nb{owner} c )\n"),
        _ => format!("n{owner} 60 A 192.0.2.{last}\n"),
    });
    let odd = prop::sample::select(vec![
        " 60 AAAA ::1\n",
        "sub A 192.0.2.7\n",
        "$ORIGIN sub\n",
        "$ORIGIN example.com.\n",
        "$TTL 5m\n",
        "$GENERATE 1-3 g$ 60 A 192.0.2.$\n",
        "$INCLUDE other\n",
        "; only words\n",
        "\n",
        "n1 60 A 192.0.2\n",
        "n2 60 TXT \"open\n",
        "n3 60 TXT ( a\n",
        "n4 ) A 192.0.2.1\n",
        "n..5 60 A 192.0.2.1\n",
        "(\n",
        ")\n",
        "a=\"b 60 A 192.0.2.1\n",
        "n6\n",
        "outside.test. 60 A 192.0.2.1\n",
        "n7 60 SOA a b 1 2 3 4 5\n",
        "n8 60 CNAME n9\r\n",
        "nö 60 A 192.0.2.1\nnö 60 A 192.0.2.2\nnö 60 A 192.0.2.3\n",
    ]);
    prop_oneof![30 => plain, 1 => odd.prop_map(str::to_owned)]
}

proptest! {
    /// Goal: it does not show that a file was read in pieces.
    /// Method: random files of plain lines with odd ones among them, beside the same read in one go: the same
    /// octets, or the same faults at the same places, also where a limit ends the reading.
    #[test]
    fn a_file_read_in_pieces_gives_what_it_gives_in_one_go(
        head in prop::sample::select(vec!["$TTL 1h\n", "", "\u{feff}; a mark\n"]),
        lines in prop::collection::vec(line(), 0..150),
        hands in 2..4usize,
        records in prop_oneof![Just(50_000), 1..120usize],
    ) {
        let text = format!("{head}@ 60 SOA ns hostmaster 7 1h 10m 1w 5m\n@ 60 NS ns.test.\n{}", lines.concat());
        let limits = Limits { records, ..Limits::default() };
        let read = |hands| {
            let mut open = |_: &str| Ok(b"i 60 A 192.0.2.1\nj 60 A 192.0.2.1".to_vec());
            let options = Options { hands, limits, rules: true, ..options() };
            parse(text.as_bytes(), Options { includes: Some(&mut open), ..options })
        };
        prop_assert_eq!(read(hands), read(1), "{}", text);
    }
}

/// Goal: pieces are what large files are read in, and a directive among them costs its own piece alone.
#[test]
fn a_directive_far_from_the_begin_changes_what_comes_behind_it() {
    let line = |n: usize| format!("n{n} A 192.0.2.{}\n", n % 250);
    let (before, behind): (String, String) =
        ((0..400).map(line).collect(), (400..900).map(line).collect());
    let text = format!("{HEAD}{before}$TTL 7\n$ORIGIN sub\n{behind}");
    let in_pieces = parse(text.as_bytes(), Options { hands: 3, ..options() }).unwrap();
    assert_eq!(in_pieces, read(&text));
    let lines = shown(&in_pieces);
    assert!(lines.contains(&"n399 3600 IN A 192.0.2.149".to_owned()));
    assert!(lines.contains(&"n400.sub 7 IN A 192.0.2.150".to_owned()));
}
