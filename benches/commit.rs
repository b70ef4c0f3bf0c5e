//! What a durable transaction costs: alone, and with a hundred in flight, each beside the bare disk.
//!
//! `cargo bench --bench commit`. The directory is under `target/`: the disk measured is the one the
//! checkout stands on. Every transaction puts three rows of 300 octets, as a small order does.
//! Printed beside the figures: how many transactions one sync carried, and what share of the time
//! the thread of the log spent writing and syncing.
//!
//! `cargo bench --bench commit -- open` fills a store with a million rows, prints what that took, and
//! measures opening it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nameplane::store::{Options, Raw, RowError, Rows, Store, Table};

const ROWS: Table<(u64, u32), Raw> = Table::new("rows", *b"ro");
const ROWS_A_TRANSACTION: u32 = 3;
const ROW_BYTES: usize = 300;
const IN_FLIGHT: u64 = 100;

fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

fn directory() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).unwrap();
    tempfile::tempdir_in(target).unwrap()
}

fn open(dir: &Path) -> Store {
    Store::open(&Options { clock, ..Options::new(dir) }).unwrap()
}

/// One transaction; keys repeat, so that the index is as busy as with orders on existing zones.
fn commit(store: &Store, key: u64) {
    let put = |tx: &mut nameplane::store::Tx<'_>| {
        (0..ROWS_A_TRANSACTION).try_for_each(|row| {
            let key = (key % 10_000, row);
            tx.get(&ROWS, &key)?;
            tx.put(&ROWS, &key, &Raw(vec![7; ROW_BYTES]))
        })
    };
    store.transact::<(), RowError>(put).unwrap();
}

fn commits(criterion: &mut Criterion) {
    let dir = directory();
    let store = open(dir.path());
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));

    let before = store.stats();
    let mut key = 0u64;
    let mut spent = Duration::ZERO;
    group.bench_function("1 in flight", |bench| {
        bench.iter_custom(|count| {
            let start = Instant::now();
            for _ in 0..count {
                key += 1;
                commit(&store, key);
            }
            spent += start.elapsed();
            start.elapsed()
        });
    });
    report(&store, before, spent);

    let before = store.stats();
    let next = AtomicU64::new(0);
    let mut spent = Duration::ZERO;
    group.bench_function("100 in flight", |bench| {
        bench.iter_custom(|count| {
            let start = Instant::now();
            let left = AtomicU64::new(count);
            std::thread::scope(|scope| {
                for _ in 0..IN_FLIGHT {
                    scope.spawn(|| {
                        while take_one(&left) {
                            commit(&store, next.fetch_add(1, Ordering::Relaxed));
                        }
                    });
                }
            });
            spent += start.elapsed();
            start.elapsed()
        });
    });
    report(&store, before, spent);
    group.finish();
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Prints what the store counted since `before`, over the time `spent`.
fn report(store: &Store, before: nameplane::store::Stats, spent: Duration) {
    let now = store.stats();
    let (transactions, groups) =
        (now.transactions - before.transactions, now.groups - before.groups);
    let append = now.append - before.append;
    println!(
        "    {transactions} transactions in {groups} syncs ({:.1} each), {:.0} % of the time in write and sync",
        transactions as f64 / groups.max(1) as f64,
        100.0 * append.as_secs_f64() / spent.as_secs_f64()
    );
}

/// The floor: as many octets as one transaction has, appended and synced, and nothing else.
fn bare(criterion: &mut Criterion) {
    let dir = directory();
    let mut file = File::create(dir.path().join("bare")).unwrap();
    let octets = vec![7; ROWS_A_TRANSACTION as usize * (ROW_BYTES + 20) + 32];
    let mut group = criterion.benchmark_group("commit");
    group.bench_function("bare write and fdatasync", |bench| {
        bench.iter(|| {
            file.write_all(&octets).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.finish();
}

const FILL_ROWS: u64 = 1_000_000;
const FILL_ROW_BYTES: usize = 500;
const FILL_TRANSACTION_ROWS: u64 = 4_000;

/// Opening a store of a million rows: first with an index that lacks most of them, as after an
/// import, then with one that has them all.
fn open_filled(criterion: &mut Criterion) {
    let mut filled: Option<tempfile::TempDir> = None;
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("1 M rows", |bench| {
        let dir = filled.get_or_insert_with(fill);
        bench.iter(|| open(dir.path()));
    });
    group.finish();
}

fn fill() -> tempfile::TempDir {
    let dir = directory();
    let start = Instant::now();
    let store = open(dir.path());
    let value = Raw((0..FILL_ROW_BYTES).map(|at| at as u8).collect());
    for first in (0..FILL_ROWS).step_by(FILL_TRANSACTION_ROWS as usize) {
        let put = |tx: &mut nameplane::store::Tx<'_>| {
            let keys = first..first + FILL_TRANSACTION_ROWS;
            keys.into_iter().try_for_each(|key| tx.put(&ROWS, &(key, 0), &value))
        };
        store.transact::<(), RowError>(put).unwrap();
    }
    println!("    {FILL_ROWS} rows of {FILL_ROW_BYTES} octets durable in {:?}", start.elapsed());
    let backlog = store.stats().backlog_bytes >> 20;
    drop(store);
    let start = Instant::now();
    let store = open(dir.path());
    println!("    opened in {:?} with {backlog} MiB not in the index", start.elapsed());
    let start = Instant::now();
    while store.stats().applied < store.stats().synced {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("    the index has them {:?} later", start.elapsed());
    let start = Instant::now();
    let mut rows = 0;
    let count = &mut |_, _: Raw| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.read(|reader| reader.visit(&ROWS, .., count)).unwrap();
    println!("    {rows} rows read in {:?}", start.elapsed());
    dir
}

criterion_group!(benches, bare, commits, open_filled);
criterion_main!(benches);
