//! The answer engine against a plain model, and against itself rendered anew.

mod decode;
mod model;
mod random;

mod concurrent;
mod corners;
mod incremental;
mod limits;
mod properties;
mod rfc;

use std::collections::BTreeMap;
use std::fmt;

use nameplane::answer::{Published, Rendered, Snapshot, Writer, render, respond};
use nameplane::wire::edns::OptReply;
use nameplane::wire::{HashKey, Name, Query, Reply, Type};
use nameplane::zone::packed::Packer;
use nameplane::zone::tree::Tree;
use proptest::prelude::ProptestConfig;

/// So many cases, or as many as `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// TTL, RDATA and signatures of an RRset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub ttl: u32,
    pub rdatas: Vec<Vec<u8>>,
    pub sigs: Vec<Vec<u8>>,
}

/// A zone as plain maps: what the model reads, and what is packed for the engine.
#[derive(Clone)]
pub struct Zone {
    pub apex: Name,
    pub id: u32,
    pub nodes: BTreeMap<Name, BTreeMap<u16, Set>>,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "zone {} number {}", self.apex, self.id)?;
        for (owner, sets) in &self.nodes {
            for (rtype, set) in sets {
                for rdata in &set.rdatas {
                    let sigs = set.sigs.len();
                    let rdata = rdata.escape_ascii();
                    writeln!(f, "  {owner} {} TYPE{rtype} {rdata} ({sigs})", set.ttl)?;
                }
            }
        }
        Ok(())
    }
}

impl Zone {
    pub fn new(apex: &str, id: u32) -> Zone {
        Zone { apex: name(apex), id, nodes: BTreeMap::new() }
    }

    pub fn set(&self, owner: &Name, rtype: Type) -> Option<&Set> {
        self.nodes.get(owner)?.get(&rtype.0)
    }

    pub fn add(&mut self, owner: &Name, rtype: Type, rdata: Vec<u8>) {
        let sets = self.nodes.entry(owner.clone()).or_default();
        let set = sets.entry(rtype.0).or_insert_with(|| Set {
            ttl: 300 + u32::from(rtype.0),
            rdatas: Vec::new(),
            sigs: Vec::new(),
        });
        if !set.rdatas.contains(&rdata) {
            set.rdatas.push(rdata);
            set.rdatas.sort();
        }
    }

    /// Adds records from lines `owner TYPE data`: A, AAAA, TXT, SOA, DS and types whose data is a name.
    pub fn with(mut self, text: &str) -> Zone {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let owner = words.next().unwrap();
            let owner = Name::parse_relative(owner.as_bytes(), Some(&self.apex)).unwrap();
            let rtype = words.next().unwrap();
            let data = words.next().unwrap_or("");
            let target = || {
                Name::parse_relative(data.as_bytes(), Some(&self.apex)).unwrap().as_wire().to_vec()
            };
            let (rtype, rdata) = match rtype {
                "A" => (Type::A, data.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec()),
                "AAAA" => {
                    (Type::AAAA, data.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec())
                }
                "TXT" => (Type::TXT, [&[data.len() as u8], data.as_bytes()].concat()),
                "SOA" => (Type::SOA, soa(&self.apex, data.parse().unwrap())),
                "DS" => (Type::DS, vec![0, 1, 13, 2, 9, 9, 9, 9]),
                "NS" => (Type::NS, target()),
                "CNAME" => (Type::CNAME, target()),
                "DNAME" => (Type::DNAME, target()),
                "PTR" => (Type::PTR, target()),
                "MX" => (Type::MX, [&[0, 10][..], &target()].concat()),
                other => panic!("{other}"),
            };
            self.add(&owner, rtype, rdata);
        }
        self
    }

    pub fn tree(&self) -> Tree {
        let mut packer = Packer::default();
        for (owner, sets) in &self.nodes {
            packer.node(owner.as_wire());
            for (rtype, set) in sets {
                let rdatas = set.rdatas.iter().map(Vec::as_slice);
                packer.rrset(Type(*rtype), set.ttl, rdatas, set.sigs.iter().map(Vec::as_slice));
            }
        }
        Tree::new(self.apex.clone(), &packer.finish())
    }
}

pub fn soa(apex: &Name, serial: u32) -> Vec<u8> {
    let mut rdata = apex.child(b"ns").unwrap().as_wire().to_vec();
    rdata.extend_from_slice(apex.child(b"hostmaster").unwrap().as_wire());
    for number in [serial, 7200, 900, 1_209_600, 180] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    rdata
}

/// A table of zones.
pub struct Table {
    pub writer: Writer,
}

impl Table {
    pub fn empty() -> Table {
        Table { writer: Writer::new(HashKey::new(*b"a secret of 24 octets...")) }
    }

    pub fn of(zones: &[Zone]) -> Table {
        let mut table = Table::empty();
        let mut rendered = Rendered::new(&table.writer.key());
        for zone in zones {
            render_zone(&mut rendered, zone, zones);
        }
        table.writer.publish(&[rendered]);
        table
    }

    pub fn ask(&self, owner: &Name, rtype: Type, dnssec: bool) -> Vec<u8> {
        self.ask_within(owner, rtype, dnssec, 65_535)
    }

    pub fn ask_within(&self, owner: &Name, rtype: Type, dnssec: bool, cap: usize) -> Vec<u8> {
        let published = self.writer.published();
        ask(&published, owner, rtype, dnssec, cap)
    }
}

pub fn ask(published: &Published, owner: &Name, rtype: Type, dnssec: bool, cap: usize) -> Vec<u8> {
    let snapshot = published.load();
    let mut buffer = vec![0; 65_535];
    let len = answer(&snapshot, owner, rtype, dnssec, cap, &mut buffer);
    buffer.truncate(len);
    buffer
}

/// Answers into `buffer`; returns the octets of the message.
pub fn answer(
    snapshot: &Snapshot,
    owner: &Name,
    rtype: Type,
    dnssec: bool,
    cap: usize,
    buffer: &mut [u8],
) -> usize {
    let message = question(owner, rtype, dnssec);
    buffer[..message.len()].copy_from_slice(&message);
    let mut query = Query::default();
    query.parse(&message, snapshot.key()).unwrap();
    let opt = dnssec.then(|| OptReply { payload: 1232, dnssec_ok: true, ..OptReply::default() });
    let mut reply = Reply::new(&query, buffer, cap, opt.as_ref());
    respond(snapshot, &query, &mut reply);
    reply.finish()
}

pub fn question(owner: &Name, rtype: Type, dnssec: bool) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec)];
    message.extend_from_slice(owner.as_wire());
    message.extend_from_slice(&rtype.0.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    if dnssec {
        message.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    message
}

/// Renders a zone among `zones`.
pub fn render_zone(into: &mut Rendered, zone: &Zone, zones: &[Zone]) {
    with_zone(zone, zones, |zone| render::zone(into, zone).unwrap());
}

pub fn with_zone<T>(zone: &Zone, zones: &[Zone], with: impl FnOnce(&render::Zone<'_>) -> T) -> T {
    let tree = zone.tree();
    let children = |name: &Name| zones.iter().any(|zone| zone.apex == *name);
    let children = Some(&children as &dyn Fn(&Name) -> bool);
    with(&render::Zone { id: zone.id, view: &tree, children })
}
