//! What zones cost: import, start-up, and one change in a small and in a large zone.
//!
//! `cargo bench --bench zones [-- ZONES [NAMES]]` prints a table. The store is a real one, in a
//! temporary directory below `TMPDIR`: put that on the disk to be measured.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use nameplane::answer::Writer;
use nameplane::maintain::stage::STAGE_OCTETS_MIN;
use nameplane::maintain::{Content, Maintain, Refusal, Settings, ZoneChange};
use nameplane::store::{Options, Store};
use nameplane::wire::{HashKey, Name, Type};
use nameplane::zone::packed::Packer;
use nameplane::zone::{Base, Op, RrSetEdit};

/// Any random octets: what is not random hashes badly.
const SECRET: [u8; 24] = *b"\x9d\x1f\x4c\xe2\x77\x08\xb3\x5a\xc6\x3e\x91\xfd\x24\x6b\xa8\x13\xd7\x82\x59\xce\x0f\xb4\x66\x3b";

/// Zones of one log record.
const GROUP_ZONES: usize = 512;

/// Changes measured in each zone.
const ROUNDS: u32 = 300;

fn main() {
    let mut sizes = std::env::args().skip(1).filter_map(|size| size.parse::<usize>().ok());
    let (zones, names) = (sizes.next().unwrap_or(100_000), sizes.next().unwrap_or(1_000_000));
    let home = tempfile::tempdir().expect("a temporary directory");

    let began = Instant::now();
    let incoming: Vec<_> = (0..zones).map(|n| zone(&format!("z{n}.example."), 8)).collect();
    line("zones made in memory", began, zones);
    let began = Instant::now();
    let store = open(home.path());
    import(&store, incoming);
    line("imported, 10 records each", began, zones);
    let began = Instant::now();
    let large = zone("large.example.", names - 1);
    line("large zone made in memory", began, names);
    let began = Instant::now();
    import(&store, vec![large]);
    line("large zone imported", began, names);
    import(&store, vec![zone("small.example.", 4)]);
    let began = Instant::now();
    drop(store);
    line("store closed", began, 1);

    let began = Instant::now();
    let store = open(home.path());
    line("store opened", began, 1);
    let writer = Writer::new(HashKey::new(SECRET));
    let published = writer.published();
    let maintain = Maintain::open(store.clone(), writer, Settings::default());
    let began = Instant::now();
    let progress = maintain.load().expect("zones are readable");
    line("loaded into the answer table", began, published.load().names());
    assert_eq!((progress.failed, progress.loaded as usize), (0, zones + 2));
    println!("{:>34}: {} MiB", "table", published.load().octets() >> 20);
    println!("{:>34}: {} MiB", "resident", resident_mib());

    for apex in ["small.example.", "large.example.", "small.example.", "large.example."] {
        change(&maintain, &store, apex);
    }
}

fn open(dir: &std::path::Path) -> Store {
    let mut options = Options::new(dir);
    options.clock = || {
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        BEGIN.elapsed()
    };
    Store::open(&options).expect("the store opens")
}

/// Takes zones in as `zone import` does: many to a log record, large ones staged.
fn import(store: &Store, zones: Vec<(Name, Vec<u8>)>) {
    let maintain = Maintain::offline(store.clone(), Settings::default());
    let mut zones = zones.into_iter().map(|(apex, octets)| {
        let large = octets.len() >= STAGE_OCTETS_MIN;
        let mut content = Content::Packed { octets, presigned: false };
        if large {
            let staged = maintain.stage(&apex, &content).expect("no rule is broken");
            content = Content::Staged(staged);
        }
        ZoneChange::Create { apex, org: "bench".into(), content }
    });
    loop {
        let group: Vec<ZoneChange> = zones.by_ref().take(GROUP_ZONES).collect();
        if group.is_empty() {
            return;
        }
        let done = maintain.commit(|door| {
            group.iter().try_for_each(|zone| door.apply(std::slice::from_ref(zone)).map(drop))?;
            Ok::<_, Refusal>(())
        });
        done.expect("no rule is broken");
    }
}

/// A zone of SOA, NS and `hosts` addresses.
fn zone(apex: &str, hosts: usize) -> (Name, Vec<u8>) {
    let apex = Name::parse(apex).expect("a name");
    let mut packer = Packer::default();
    packer.node(apex.as_wire());
    let ns = apex.child(b"ns").expect("a short label");
    packer.rrset(Type::NS, 3600, [ns.as_wire()], []);
    let soa = [ns.as_wire(), ns.as_wire(), &[0, 0, 0, 1], &[0; 16]].concat();
    packer.rrset(Type::SOA, 3600, [soa.as_slice()], []);
    for host in 0..hosts {
        let owner = apex.child(format!("h{host:07}").as_bytes()).expect("a short label");
        packer.node(owner.as_wire());
        packer.rrset(Type::A, 300, [&[192, 0, 2, 1][..]], []);
    }
    (apex, packer.finish())
}

/// One RRset of one zone, changed again and again: order to durable to published.
fn change(maintain: &Maintain, store: &Store, apex: &str) {
    let apex = Name::parse(apex).expect("a name");
    let owner = apex.child(b"h0000002").expect("a short label");
    let before = store.stats();
    let mut whole = Vec::new();
    for round in 0..ROUNDS {
        let rdatas = vec![round.to_be_bytes().into()];
        let op = Op::Replace { ttl: 300, rdatas };
        let edit = RrSetEdit { owner: owner.clone(), rtype: Type::A, op, base: Base::Unchecked };
        let changes = [ZoneChange::Edit { apex: apex.clone(), edits: vec![edit] }];
        let began = Instant::now();
        maintain.commit(|door| door.apply(&changes)).expect("no rule is broken");
        whole.push(began.elapsed());
    }
    whole.sort();
    let synced = (store.stats().append - before.append) / ROUNDS;
    let at = |part: usize| whole.get(whole.len() * part / 100).copied().unwrap_or_default();
    let (half, most) = (at(50), at(99));
    let own = half.saturating_sub(synced);
    println!(
        "{:>34}: p50 {half:?}, p99 {most:?}; log write and sync {synced:?}, rest {own:?}",
        apex.to_string()
    );
}

fn line(what: &str, began: Instant, count: usize) {
    let took = began.elapsed();
    let each = took.div_f64(count.max(1) as f64);
    let a_minute = Duration::from_secs(60).as_secs_f64() / took.as_secs_f64() * count as f64;
    println!("{what:>34}: {took:.2?} ({each:.2?} each, {a_minute:.0} a minute)");
}

fn resident_mib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    (pages.unwrap_or(0) * 4096) >> 20
}
