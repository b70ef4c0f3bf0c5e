//! The examples of the RFCs: their own signed zones, asked what they ask.
//!
//! What is expected names RRsets of the zone with their signatures, so each octet is the RFC's. Where
//! the RFCs let a server choose, theirs puts the NS set of the apex and addresses of its hosts behind a
//! positive answer; ours keeps what nothing proves to itself.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nameplane::answer::{Rendered, render};
use nameplane::wire::{Name, Type};
use nameplane::zone::View;
use nameplane::zone::text::{Options, parse};
use nameplane::zone::tree::Tree;

use super::decode::{Record, decode};
use super::{Table, name};

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// One example: its section, the question, RCODE, whether it is authoritative, and the RRsets of
/// answer and authority. `a <- b` is the set of `b` under the name `a`.
type Example =
    (&'static str, &'static str, Type, u8, bool, &'static [&'static str], &'static [&'static str]);

const RFC_4035: &[Example] = &[
    ("B.1", "x.w", Type::MX, NOERROR, true, &["x.w MX"], &[]),
    ("B.2", "ml", Type::A, NXDOMAIN, true, &[], &["@ SOA", "b NSEC", "@ NSEC"]),
    ("B.3", "ns1", Type::MX, NOERROR, true, &[], &["@ SOA", "ns1 NSEC"]),
    ("B.4", "mc.a", Type::MX, NOERROR, false, &[], &["a NS", "a DS"]),
    ("B.5", "mc.b", Type::MX, NOERROR, false, &[], &["b NS", "b NSEC"]),
    ("B.6", "a.z.w", Type::MX, NOERROR, true, &["a.z.w <- *.w MX"], &["x.y.w NSEC"]),
    ("B.7", "a.z.w", Type::AAAA, NOERROR, true, &[], &["@ SOA", "x.y.w NSEC", "*.w NSEC"]),
    ("B.8", "@", Type::DS, NOERROR, true, &[], &["@ SOA", "@ NSEC"]),
];

/// By the first four letters of each hashed owner.
const RFC_5155: &[Example] = &[
    (
        "B.1",
        "a.c.x.w",
        Type::A,
        NXDOMAIN,
        true,
        &[],
        &["@ SOA", "0p9m NSEC3", "b4um NSEC3", "35mt NSEC3"],
    ),
    ("B.2", "ns1", Type::MX, NOERROR, true, &[], &["@ SOA", "2t7b NSEC3"]),
    ("B.2.1", "y.w", Type::A, NOERROR, true, &[], &["@ SOA", "ji6n NSEC3"]),
    ("B.3", "mc.c", Type::MX, NOERROR, false, &[], &["c NS", "35mt NSEC3", "0p9m NSEC3"]),
    ("B.4", "a.z.w", Type::MX, NOERROR, true, &["a.z.w <- *.w MX"], &["q04j NSEC3"]),
    (
        "B.5",
        "a.z.w",
        Type::AAAA,
        NOERROR,
        true,
        &[],
        &["@ SOA", "k8ud NSEC3", "q04j NSEC3", "r53b NSEC3"],
    ),
    ("B.6", "@", Type::DS, NOERROR, true, &[], &["@ SOA", "0p9m NSEC3"]),
];

/// A zone of an RFC, and a table that answers from it.
struct Rfc {
    tree: Tree,
    table: Table,
}

impl Rfc {
    fn new(text: &str) -> Rfc {
        let options = Options { apex: Some(name("example.")), ..Options::default() };
        let tree = Tree::new(name("example."), &parse(text.as_bytes(), options).unwrap().packed);
        let mut table = Table::empty();
        let mut rendered = Rendered::new(&table.writer.key());
        let zone = render::Zone { id: 1, view: &tree, children: None };
        render::zone(&mut rendered, &zone).unwrap();
        table.writer.publish(&[rendered]);
        Rfc { tree, table }
    }

    fn owner(text: &str) -> Name {
        Name::parse_relative(text.as_bytes(), Some(&name("example."))).unwrap()
    }

    /// The records that `owner TYPE` or `owner <- other TYPE` names, with their signatures.
    fn records(&self, text: &str) -> BTreeSet<Record> {
        let mut words: Vec<&str> = text.split(' ').filter(|word| *word != "<-").collect();
        let rtype: Type = words.pop().unwrap().parse().unwrap();
        let (shown, kept) = (words[0], words[words.len() - 1]);
        let mut found = BTreeSet::new();
        let is_it = |owner: &Name| match rtype {
            Type::NSEC3 => owner.to_string().starts_with(kept),
            _ => *owner == Rfc::owner(kept),
        };
        let each = &mut |node: nameplane::zone::packed::Node<'_>| {
            if let Some(set) = node.rrset(rtype).filter(|_| is_it(&node.name())) {
                let owner = match rtype {
                    Type::NSEC3 => node.name(),
                    _ => Rfc::owner(shown),
                };
                let record = |rtype: Type, rdata: &[u8]| Record {
                    owner: owner.to_lowercase(),
                    rtype: rtype.0,
                    ttl: set.ttl,
                    rdata: rdata.to_vec(),
                };
                found.extend(set.rdatas().map(|rdata| record(rtype, rdata)));
                found.extend(set.sigs().map(|rdata| record(Type::RRSIG, rdata)));
            }
            ControlFlow::Continue(())
        };
        self.tree.walk(&[], each).unwrap();
        let unsigned = rtype == Type::NS;
        let signed = found.iter().any(|record| record.rtype == Type::RRSIG.0);
        assert!(!found.is_empty() && signed != unsigned, "{text}: {found:?}");
        found
    }

    fn shows(&self, examples: &[Example]) {
        for (section, qname, qtype, rcode, aa, answer, authority) in examples {
            let said = decode(&self.table.ask(&Rfc::owner(qname), *qtype, true));
            let all = |texts: &[&str]| -> BTreeSet<Record> {
                texts.iter().flat_map(|text| self.records(text)).collect()
            };
            assert_eq!((said.rcode, said.aa, said.tc), (*rcode, *aa, false), "{section}");
            assert_eq!(said.answer, all(answer), "{section}");
            assert_eq!(said.authority, all(authority), "{section}");
            let glue: Vec<String> =
                said.additional.iter().map(|record| record.owner.to_string()).collect();
            match qname.strip_prefix("mc.") {
                Some(cut) => {
                    assert_eq!(glue, ["ns1", "ns2"].map(|ns| format!("{ns}.{cut}.example.")));
                }
                None => assert!(said.authority.is_empty() || glue.is_empty() || *aa, "{section}"),
            }
        }
    }
}

#[test]
fn rfc4035_b_every_example_is_answered_as_there() {
    Rfc::new(include_str!("../../golden/rfc/4035-a.zone")).shows(RFC_4035);
}

#[test]
fn rfc5155_b_every_example_is_answered_as_there() {
    Rfc::new(include_str!("../../golden/rfc/5155-a.zone")).shows(RFC_5155);
}
