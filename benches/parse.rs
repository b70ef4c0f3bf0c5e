//! Zone files to packed nodes, beside the scanner of the `domain` crate on the same octets.
//!
//! The scanner stops at records in file order; ours goes on to sorted, grouped, packed nodes. The
//! figures are CPU time, which a busy machine disturbs less: `cargo bench --bench parse`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use domain::zonefile::inplace::{Entry, Zonefile};
use nameplane::wire::Name;
use nameplane::zone::text::{Options, parse, write};
use nameplane::zone::tree::PackedZone;

/// Time this thread had a processor, as Linux counts it.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let spent = text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok());
        Duration::from_nanos(spent.unwrap_or(0))
    }

    fn end(&self, before: Duration) -> Duration {
        self.start().saturating_sub(before)
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Records of each input: enough to leave every cache.
const RECORDS: u32 = 300_000;

const HEAD: &str = "$ORIGIN example.com.\n$TTL 3600\n@ IN SOA ns1 hostmaster 2024010101 7200 3600 1209600 300\n@ IN NS ns1\n@ IN NS ns2\n";

/// A small multiplicative generator: the same input on every run.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32
    }
}

/// Hosts with addresses, mail and text, in the order of their names.
fn hosts() -> String {
    let (mut text, mut next) = (String::from(HEAD), numbers());
    for host in 0..RECORDS / 4 {
        let n = next();
        writeln!(text, "host{host:07} IN A 192.0.{}.{}", n & 255, n >> 8 & 255).unwrap();
        writeln!(text, "host{host:07} IN AAAA 2001:db8:{:x}::{:x}", n & 0xFFFF, n >> 16).unwrap();
        writeln!(text, "host{host:07} IN MX 10 mail{}.example.com.", n & 15).unwrap();
        writeln!(text, "host{host:07} 300 IN TXT \"v=spf1 ip4:192.0.2.{} -all\"", n & 255).unwrap();
    }
    text
}

/// The same hosts, one record each, in no order.
fn shuffled() -> String {
    let mut text = String::from(HEAD);
    for host in 0..RECORDS {
        let n = host.wrapping_mul(2_654_435_761); // odd: no number comes twice
        writeln!(text, "host{n:010} IN A 192.0.{}.{}", n & 255, n >> 8 & 255).unwrap();
    }
    text
}

/// Delegations: two name servers, every other with DS and glue, absolute names.
fn delegations() -> String {
    let (mut text, mut next) = (String::from(HEAD), numbers());
    for zone in 0..RECORDS / 4 {
        let n = next();
        let name = format!("customer-{zone:07}.example.com.");
        writeln!(text, "{name} 86400 IN NS ns1.hoster{}.example.net.", n & 255).unwrap();
        writeln!(text, "{name} 86400 IN NS ns1.{name}").unwrap();
        writeln!(text, "{name} 86400 IN DS {} 13 2 {n:064X}", n & 0xFFFF).unwrap();
        writeln!(text, "ns1.{name} 86400 IN A 192.0.{}.{}", n & 255, n >> 8 & 255).unwrap();
    }
    text
}

/// Signed hosts: A, its RRSIG, NSEC, its RRSIG.
fn signed() -> String {
    let (mut text, mut next) = (String::from(HEAD), numbers());
    for host in 0..RECORDS / 4 {
        let n = next();
        let sig = format!("{n:085}A==");
        let name = format!("host{host:07}");
        let times = "3600 20300101000000 20240101000000 12345 example.com.";
        writeln!(text, "{name} IN A 192.0.{}.{}", n & 255, n >> 8 & 255).unwrap();
        writeln!(text, "{name} IN RRSIG A 13 3 {times} {sig}").unwrap();
        writeln!(text, "{name} IN NSEC host{:07} A RRSIG NSEC", host + 1).unwrap();
        writeln!(text, "{name} IN RRSIG NSEC 13 3 {times} {sig}").unwrap();
    }
    text
}

fn ours(text: &str) -> usize {
    parse(text.as_bytes(), Options::default()).map_or(0, |parsed| parsed.records)
}

fn domains(text: &str) -> usize {
    let mut file = Zonefile::with_capacity(text.len());
    file.extend_from_slice(text.as_bytes());
    let mut records = 0;
    while let Ok(Some(entry)) = file.next_entry() {
        records += usize::from(matches!(entry, Entry::Record(_)));
        black_box(entry);
    }
    records
}

fn read(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("parse");
    group.sample_size(10);
    let inputs = [hosts(), shuffled(), delegations(), signed()];
    for (name, text) in ["hosts", "shuffled", "delegations", "signed"].into_iter().zip(&inputs) {
        assert_eq!(ours(text), domains(text), "{name}");
        group.throughput(Throughput::Elements(ours(text) as u64));
        group.bench_with_input(BenchmarkId::new("nameplane", name), text, |b, text| {
            b.iter(|| ours(black_box(text)));
        });
        group.bench_with_input(BenchmarkId::new("domain", name), text, |b, text| {
            b.iter(|| domains(black_box(text)));
        });
    }
    group.finish();
}

fn show(criterion: &mut Criterion<CpuTime>) {
    let text = hosts();
    let Ok(parsed) = parse(text.as_bytes(), Options::default()) else { return };
    let apex = Name::parse("example.com.").unwrap_or_else(|_| Name::root());
    let view = PackedZone::new(apex, &parsed.packed);
    let mut group = criterion.benchmark_group("write");
    group.sample_size(10);
    group.throughput(Throughput::Elements(parsed.records as u64));
    group.bench_function("nameplane/hosts", |b| {
        b.iter(|| {
            let mut out = String::with_capacity(text.len() * 2);
            write(black_box(&view), &mut out).map(|()| out.len())
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = read, show
}
criterion_main!(benches);
