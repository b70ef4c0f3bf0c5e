//! What an answer costs once the query is parsed out of its packet: staged batches of 32 as the workers do them,
//! over more data than the caches hold, and what that data weighs.
//!
//! `cargo bench --bench respond`; times are of the processor. Sets: `hosting` is 100 000 zones of 4 names and 12 records
//! (`NAMEPLANE_ZONES=1000000` for a million), `big` one zone of 1 M names, `tld` 300 000 delegations with glue and DS,
//! `signed` one zone of 100 000 names with NSEC, and the same with NSEC3. Before each, building it is timed and its octets per record
//! are printed, as the table counts them and as the process grew.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nameplane::answer::{Bulk, Rendered, Snapshot, Writer, prefetch, render, respond_ahead};
use nameplane::wire::edns::OptReply;
use nameplane::wire::{HashKey, Name, Query, Reply, Type};
use nameplane::zone::packed::Packer;
use nameplane::zone::tree::PackedZone;

const BATCH: usize = 32;

/// Different questions asked in turn: enough that none is still in a cache when it comes again.
const QUESTIONS: usize = 1 << 16;

/// Octets rendered before the writer gets them.
const RENDERED_OCTETS: usize = 64 << 20;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// A table in the making, and what it weighs.
struct Load {
    writer: Writer,
    rendered: Rendered,
    bulk: Bulk,
    records: usize,
    rss_before: usize,
    started: Duration,
    zones: u32,
}

impl Load {
    fn new() -> Load {
        let mut writer = Writer::new(HashKey::new(*b"a secret of 24 octets..."));
        let rss_before = resident();
        let started = on_cpu();
        writer.start_load();
        let key = writer.key();
        let (rendered, bulk) = (Rendered::new(&key), Bulk::new(&key));
        Load { writer, rendered, bulk, records: 0, rss_before, started, zones: 0 }
    }

    fn zone(&mut self, apex: &Name, octets: &[u8], records: usize) {
        let view = PackedZone::new(apex.clone(), octets);
        let zone = render::Zone { id: self.zones, view: &view, children: None };
        render::zone(&mut self.rendered, &zone).unwrap();
        self.zones += 1;
        self.records += records;
        if self.rendered.octets() > RENDERED_OCTETS {
            self.bulk.take(&mut self.rendered);
        }
    }

    fn finish(mut self, what: &str) -> Writer {
        self.bulk.take(&mut self.rendered);
        self.writer.load(vec![self.bulk], 1);
        self.writer.end_load();
        let elapsed = on_cpu() - self.started;
        drop(self.rendered);
        let published = self.writer.published();
        let snapshot = published.load();
        let names = snapshot.names();
        println!(
            "{what}: {} zones, {names} names, {} records; {:.2} s, {:.2} µs a name (text to octets included); {:.1} octets a record in the table, {:.1} resident",
            self.zones,
            self.records,
            elapsed.as_secs_f64(),
            elapsed.as_secs_f64() * 1e6 / names as f64,
            snapshot.octets() as f64 / self.records as f64,
            (resident() as f64 - self.rss_before as f64) / self.records as f64,
        );
        drop(snapshot);
        self.writer
    }
}

/// How long this thread was on a processor: what else the machine does must not count.
fn on_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the clock of one thread has no safe form")]
    // SAFETY: the pointer is to a local structure that outlives the call.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Octets of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn wire(text: &str) -> Vec<u8> {
    Name::parse(text).unwrap().as_wire().to_vec()
}

fn soa(apex: &[u8]) -> Vec<u8> {
    let numbers = [2_026_112_101u32, 7200, 900, 1_209_600, 300];
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    [&b"\x03ns1"[..], b"\x06hoster\x03net\x00", b"\x0ahostmaster", apex]
        .concat()
        .into_iter()
        .chain(numbers)
        .collect()
}

fn put(packer: &mut Packer, rtype: Type, rdatas: &[&[u8]]) -> usize {
    packer.rrset(rtype, 3600, rdatas.iter().copied(), []);
    rdatas.len()
}

fn hosting(zones: usize) -> Writer {
    let mut load = Load::new();
    let (ns1, ns2) = (wire("ns1.hoster.net."), wire("ns2.hoster.net."));
    for number in 0..zones {
        let apex = Name::parse(&format!("customer-{number}.example.")).unwrap();
        let a = [&[192, 0][..], &(number as u16).to_be_bytes()].concat();
        let a2 = [&[198, 51][..], &(number as u16).to_be_bytes()].concat();
        let below = |label: &str| [&[label.len() as u8], label.as_bytes(), apex.as_wire()].concat();
        let (mail, www) = (below("mail"), below("www"));
        let mut packer = Packer::default();
        packer.node(apex.as_wire());
        let mut records = put(&mut packer, Type::A, &[&a]);
        records += put(&mut packer, Type::NS, &[&ns1, &ns2]);
        records += put(&mut packer, Type::SOA, &[&soa(apex.as_wire())]);
        records += put(&mut packer, Type::MX, &[&[&[0, 10], &mail[..]].concat()]);
        records += put(&mut packer, Type::TXT, &[b"\x16v=spf1 mx a:relay -all"]);
        records += put(&mut packer, Type::AAAA, &[&[0x20; 16]]);
        packer.node(&below("ftp"));
        records += put(&mut packer, Type::CNAME, &[&www]);
        packer.node(&mail);
        records += put(&mut packer, Type::A, &[&a2]);
        packer.node(&www);
        records += put(&mut packer, Type::A, &[&a, &a2]);
        records += put(&mut packer, Type::AAAA, &[&[0x20; 16]]);
        load.zone(&apex, &packer.finish(), records);
    }
    load.finish("hosting")
}

/// How a zone is signed, if it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signed {
    No,
    Nsec,
    Nsec3,
}

fn big(names: usize, signed: Signed) -> Writer {
    let what = match signed {
        Signed::No => "big",
        Signed::Nsec => "signed",
        Signed::Nsec3 => "signed, NSEC3",
    };
    let mut load = Load::new();
    let apex = Name::parse("big.example.").unwrap();
    let sig = [&[0; 18][..], apex.as_wire(), &[7; 64]].concat();
    let sigs: &[&[u8]] = if signed == Signed::No { &[] } else { &[&sig] };
    let mut owners: Vec<Name> = (0..names)
        .map(|number| Name::parse(&format!("host-{number}.big.example.")).unwrap())
        .collect();
    owners.sort_by_cached_key(Name::key);
    let mut hashes: Vec<[u8; 20]> = match signed {
        Signed::Nsec3 => [&apex].into_iter().chain(&owners).map(hash).collect(),
        _ => Vec::new(),
    };
    hashes.sort_unstable();
    let mut packer = Packer::default();
    packer.node(apex.as_wire());
    packer.rrset(Type::NS, 3600, [&wire("ns1.hoster.net.")[..]], sigs.iter().copied());
    packer.rrset(Type::SOA, 3600, [&soa(apex.as_wire())[..]], sigs.iter().copied());
    let nsec = |next: &Name| [next.as_wire(), &[0, 6, 0x40, 0, 0, 0, 0, 3]].concat();
    match signed {
        Signed::No => {}
        Signed::Nsec => {
            packer.rrset(Type::NSEC, 300, [&nsec(&owners[0])[..]], sigs.iter().copied())
        }
        Signed::Nsec3 => {
            packer.rrset(Type::NSEC3PARAM, 0, [&[1, 0, 0, 0, 0][..]], sigs.iter().copied());
        }
    }
    // Labels of hashes sort as hashes, and they stand among the names.
    let mut hashed = hashes.iter().enumerate().peekable();
    let mut put_hashed = |packer: &mut Packer, before: Option<&Name>| {
        while let Some((at, hash)) = hashed.peek().copied() {
            let owner = apex.child(&label(hash)).unwrap();
            if before.is_some_and(|before| owner.key() > before.key()) {
                break;
            }
            hashed.next();
            let next = hashes.get(at + 1).unwrap_or(&hashes[0]);
            let denial = [&[1, 0, 0, 0, 0, 20][..], next, &[0, 6, 0x40, 0, 0, 0, 0, 2]].concat();
            packer.node(owner.as_wire());
            packer.rrset(Type::NSEC3, 300, [&denial[..]], sigs.iter().copied());
        }
    };
    for (at, owner) in owners.iter().enumerate() {
        put_hashed(&mut packer, Some(owner));
        packer.node(owner.as_wire());
        packer.rrset(Type::A, 3600, [&(at as u32).to_be_bytes()[..]], sigs.iter().copied());
        if signed == Signed::Nsec {
            let next = owners.get(at + 1).unwrap_or(&apex);
            packer.rrset(Type::NSEC, 300, [&nsec(next)[..]], sigs.iter().copied());
        }
    }
    put_hashed(&mut packer, None);
    drop(owners);
    load.zone(
        &apex,
        &packer.finish(),
        if signed == Signed::No { names + 2 } else { 4 * names + 6 },
    );
    load.finish(what)
}

fn hash(name: &Name) -> [u8; 20] {
    use sha1::Digest;
    sha1::Sha1::digest(name.as_wire()).into()
}

/// The label that a hash is written as.
fn label(hash: &[u8; 20]) -> Vec<u8> {
    let digit = |value: u64| b"0123456789abcdefghijklmnopqrstuv"[value as usize & 31];
    let five = |five: &[u8]| five.iter().fold(0, |bits, octet| bits << 8 | u64::from(*octet));
    hash.chunks(5)
        .flat_map(|chunk| (0..8).rev().map(move |at| digit(five(chunk) >> (5 * at))))
        .collect()
}

fn tld(cuts: usize) -> Writer {
    let mut load = Load::new();
    let apex = Name::parse("tld.").unwrap();
    let mut packer = Packer::default();
    packer.node(apex.as_wire());
    put(&mut packer, Type::NS, &[&wire("ns1.hoster.net.")]);
    put(&mut packer, Type::SOA, &[&soa(apex.as_wire())]);
    let mut records = 2;
    let mut numbers: Vec<String> = (0..cuts).map(|number| number.to_string()).collect();
    numbers.sort();
    for number in numbers {
        let cut = wire(&format!("domain-{number}.tld."));
        let servers = [[&b"\x03ns1"[..], &cut].concat(), [&b"\x03ns2"[..], &cut].concat()];
        packer.node(&cut);
        records += put(&mut packer, Type::NS, &[&servers[0], &servers[1]]);
        records += put(&mut packer, Type::DS, &[&[7; 36]]);
        for server in &servers {
            packer.node(server);
            records += put(&mut packer, Type::A, &[&[192, 0, 2, 7]]);
        }
    }
    load.zone(&apex, &packer.finish(), records);
    load.finish("tld")
}

fn question(owner: &str, rtype: Type, dnssec: bool) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(Name::parse(owner).unwrap().as_wire());
    message.extend_from_slice(&rtype.0.to_be_bytes());
    let flags = if dnssec { 0x80 } else { 0 };
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 0xd0, 0, 0, flags, 0, 0, 0]);
    message
}

fn questions(
    seed: u64,
    mut one: impl FnMut(&mut Random, &mut String) -> (Type, bool),
) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut text = String::new();
    let questions = (0..QUESTIONS).map(|_| {
        text.clear();
        let (rtype, dnssec) = one(&mut random, &mut text);
        question(&text, rtype, dnssec)
    });
    questions.collect()
}

struct Slot {
    query: Query,
    buffer: Vec<u8>,
}

impl AsRef<Query> for Slot {
    fn as_ref(&self) -> &Query {
        &self.query
    }
}

/// Parses and answers a batch; returns the octets of the replies.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "sse"))]
fn answer(snapshot: &Snapshot, slots: &mut [Slot], messages: &[Vec<u8>]) -> usize {
    for (slot, message) in slots.iter_mut().zip(messages) {
        slot.buffer[..message.len()].copy_from_slice(message);
        slot.query.parse(&slot.buffer[..message.len()], snapshot.key()).unwrap();
        prefetch::directory(snapshot, &slot.query);
    }
    let found = prefetch::rest(snapshot, slots);
    let mut octets = 0;
    for (number, slot) in slots.iter_mut().enumerate() {
        let dnssec_ok = slot.query.dnssec_ok();
        let opt = OptReply { payload: 1232, dnssec_ok, ..OptReply::default() };
        let mut reply = Reply::new(&slot.query, &mut slot.buffer, 1232, Some(&opt));
        black_box(respond_ahead(snapshot, &slot.query, &found.of(number), &mut reply));
        octets += reply.finish();
    }
    octets
}

fn bench(criterion: &mut Criterion, what: &str, writer: &Writer, messages: &[Vec<u8>]) {
    let mut slots: Vec<Slot> =
        (0..BATCH).map(|_| Slot { query: Query::default(), buffer: vec![0; 1232] }).collect();
    let snapshot = writer.published().load();
    let mut batches = messages.chunks_exact(BATCH).cycle();
    let mut group = criterion.benchmark_group("respond");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(what, |bench| {
        bench.iter_custom(|iterations| {
            let before = on_cpu();
            for batch in batches.by_ref().take(iterations as usize) {
                #[expect(unsafe_code, reason = "the compiler wants to see SSE, which x86-64 has")]
                // SAFETY: every x86-64 has SSE.
                black_box(unsafe { answer(&snapshot, &mut slots, batch) });
            }
            on_cpu() - before
        });
    });
    group.finish();
    let octets: usize = messages
        .chunks_exact(BATCH)
        .take(64)
        .map(|batch| {
            #[expect(unsafe_code, reason = "the compiler wants to see SSE, which x86-64 has")]
            // SAFETY: every x86-64 has SSE.
            let octets = unsafe { answer(&snapshot, &mut slots, batch) };
            octets
        })
        .sum();
    println!("respond/{what}: {} octets a reply", octets / (64 * BATCH));
}

fn hosting_answers(criterion: &mut Criterion) {
    let zones = std::env::var("NAMEPLANE_ZONES").ok().and_then(|zones| zones.parse().ok());
    let zones = zones.unwrap_or(100_000);
    let writer = hosting(zones);
    let hits = questions(7, |random, text| {
        let label = ["www.", "", "mail.", "www."][random.below(4)];
        write!(text, "{label}customer-{}.example.", random.below(zones)).unwrap();
        (Type::A, false)
    });
    bench(criterion, "hosting hits", &writer, &hits);
    let absent = questions(8, |random, text| {
        write!(text, "x{}.customer-{}.example.", random.below(1 << 40), random.below(zones))
            .unwrap();
        (Type::A, false)
    });
    bench(criterion, "hosting NXDOMAIN", &writer, &absent);
    let chains = questions(9, |random, text| {
        write!(text, "ftp.customer-{}.example.", random.below(zones)).unwrap();
        (Type::A, false)
    });
    bench(criterion, "hosting CNAME", &writer, &chains);
}

fn big_answers(criterion: &mut Criterion) {
    const NAMES: usize = 1_000_000;
    let writer = big(NAMES, Signed::No);
    let hits = questions(10, |random, text| {
        write!(text, "host-{}.big.example.", random.below(NAMES)).unwrap();
        (Type::A, false)
    });
    bench(criterion, "big hits", &writer, &hits);
    let absent = questions(11, |random, text| {
        write!(text, "x{}.big.example.", random.below(1 << 40)).unwrap();
        (Type::A, false)
    });
    bench(criterion, "big NXDOMAIN", &writer, &absent);
}

fn signed_answers(criterion: &mut Criterion) {
    const NAMES: usize = 100_000;
    for (signed, what) in [(Signed::Nsec, "signed"), (Signed::Nsec3, "signed, NSEC3,")] {
        let writer = big(NAMES, signed);
        let hits = questions(12, |random, text| {
            write!(text, "host-{}.big.example.", random.below(NAMES)).unwrap();
            (Type::A, true)
        });
        bench(criterion, &format!("{what} hits"), &writer, &hits);
        let absent = questions(13, |random, text| {
            write!(text, "host-{}x.big.example.", random.below(NAMES)).unwrap();
            (Type::A, true)
        });
        bench(criterion, &format!("{what} NXDOMAIN"), &writer, &absent);
    }
}

fn tld_answers(criterion: &mut Criterion) {
    const CUTS: usize = 300_000;
    let writer = tld(CUTS);
    let referrals = questions(14, |random, text| {
        write!(text, "www.domain-{}.tld.", random.below(CUTS)).unwrap();
        (Type::A, false)
    });
    bench(criterion, "tld referral", &writer, &referrals);
}

criterion_group!(benches, hosting_answers, big_answers, signed_answers, tld_answers);
criterion_main!(benches);
