//! What signing costs: whole zones, one change in a large one, and keeping many small ones signed.
//!
//! `cargo bench --bench sign [-- whole | change | fortnight]` prints a table for each, all CPU time of
//! this process; a machine with something else to do makes no other figures, only longer waits. Sizes
//! come by environment: `SIGN_NAMES` (100 000), `CHANGE_NAMES` (1 000 000), `FORTNIGHT_ZONES`
//! (100 000). Stores are real ones, in a temporary directory below `TMPDIR`. More words choose rows:
//! `whole 15 nsec3` is one algorithm and one denial, `whole alone` is without other signers, `change nsec`
//! one denial.
//!
//! - *whole*: a zone from unsigned to signed, in CPU per name and beside the bare signatures in it,
//!   which nobody can be faster than; then the same zone by each other signer that is installed. The
//!   median of three runs; of one that takes more than five seconds the first.
//! - *change*: one record of a signed zone, beside the same change of the same zone unsigned: of the whole
//!   process, and of the thread alone that the change holds up. What the store does behind it is in the
//!   first figure only, and comes in lumps: the mean says what it costs.
//! - *fortnight*: zones all switched on at one moment, which is the worst, left alone for two weeks
//!   under a clock turned by hand: how many versions each day makes, and the least, median and most of
//!   an hour. They should be about as many each day.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nameplane::answer::Writer;
use nameplane::maintain::resign::Resigning;
use nameplane::maintain::{Clock, Content, Maintain, Refusal, Settings, ZoneChange};
use nameplane::seal::Sealer;
use nameplane::sign::{
    Algorithm, Denial, KeyUse, Plan, Policy, Signer, SigningKey, Spread, zonemd,
};
use nameplane::store::{Options, Store};
use nameplane::wire::{HashKey, Name, Type};
use nameplane::zone::delta::set_at;
use nameplane::zone::tree::PackedZone;
use nameplane::zone::{Base, Op, RrSetEdit, text};

/// Any random octets: what is not random hashes badly.
const SECRET: [u8; 24] = *b"\x9d\x1f\x4c\xe2\x77\x08\xb3\x5a\xc6\x3e\x91\xfd\x24\x6b\xa8\x13\xd7\x82\x59\xce\x0f\xb4\x66\x3b";

const NSEC3: Denial = Denial::Nsec3 { opt_out: false };
const ROUNDS: usize = 3;
/// Changes measured of each kind.
const CHANGES: usize = 500;
const DAYS: u64 = 14;
/// Zones made by one commit.
const GROUP_ZONES: usize = 256;
/// Octets that an RRSIG over one address is made over.
const SIGNED_OCTETS: usize = 90;

/// Seconds of a run beyond which it is not repeated.
const SLOW_S: f64 = 5.0;

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.first().is_none_or(|part| part == name);
    let rows = Rows(words.iter().skip(1).map(|word| word.to_lowercase()).collect());
    if wanted("whole") {
        whole(size("SIGN_NAMES", 100_000), &rows);
    }
    if wanted("change") {
        change(size("CHANGE_NAMES", 1_000_000), &rows);
    }
    if wanted("fortnight") {
        fortnight(size("FORTNIGHT_ZONES", 100_000));
    }
}

/// The rows of a table that were asked for by words; all without any.
struct Rows(Vec<String>);

impl Rows {
    /// Whether a row is wanted that goes by `word`, which is one of `all` its kind.
    fn want(&self, word: &str, all: &[&str]) -> bool {
        let is_kind = |asked: &String| all.iter().any(|one| one.eq_ignore_ascii_case(asked));
        !self.0.iter().any(is_kind) || self.0.iter().any(|asked| asked.eq_ignore_ascii_case(word))
    }

    fn says(&self, word: &str) -> bool {
        self.0.iter().any(|asked| asked == word)
    }
}

const ALGORITHMS: [&str; 2] = ["13", "15"];
const DENIALS: [&str; 2] = ["NSEC", "NSEC3"];

fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |size| size.parse().unwrap())
}

// A zone as a whole

fn whole(names: usize, rows: &Rows) {
    let apex = name("signed.example.");
    let octets = zone(&apex, names);
    println!("a zone of {names} names signed as a whole, CPU of one core:");
    println!("{:>40} {:>9} {:>11} {:>10}", "", "µs a name", "names a s", "of bare");
    for (algorithm, number) in [(Algorithm::EcdsaP256, 13), (Algorithm::Ed25519, 15)] {
        if !rows.want(&number.to_string(), &ALGORITHMS) {
            continue;
        }
        let csk = Arc::new(SigningKey::generate(algorithm, 0, 257).unwrap());
        let bare = bare(&csk);
        println!(
            "{:>40} {:>9.2} {:>11.0}",
            format!("{number}, one signature"),
            us(bare),
            1.0 / bare
        );
        for (denial, word) in [(Denial::Nsec, "NSEC"), (NSEC3, "NSEC3")] {
            if !rows.want(word, &DENIALS) {
                continue;
            }
            let plan = plan(&csk, denial, false);
            let soa = set_at(&PackedZone::new(apex.clone(), &octets), &apex, Type::SOA);
            let soa = soa.unwrap().unwrap().rrset;
            let keys = [csk.clone()];
            let signer = Signer::new(&apex, &plan, &keys, &soa, now_s(), Spread::Sets).unwrap();
            let mut rounds: Vec<(f64, usize)> = Vec::new();
            for _ in 0..ROUNDS {
                let begun = cpu();
                let signed = signer.whole(&octets).unwrap();
                rounds.push(((cpu() - begun).as_secs_f64(), signed.made));
            }
            rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
            let (took, made) = rounds[ROUNDS / 2];
            row(&format!("{number} {word}, nameplane"), took, names, Some(bare * made as f64));
            if !rows.says("alone") {
                others(&apex, &octets, number, word, names);
            }
        }
    }
    digest(&apex, &octets);
}

fn row(what: &str, took: f64, names: usize, bare: Option<f64>) {
    let share = bare.map_or(String::new(), |bare| format!("{:>8.0} %", 100.0 * bare / took));
    println!(
        "{what:>40} {:>9.2} {:>11.0} {share:>10}",
        us(took / names as f64),
        names as f64 / took
    );
}

/// Seconds that one signature takes and nothing else.
fn bare(key: &SigningKey) -> f64 {
    const COUNT: usize = 20_000;
    let data = [7; SIGNED_OCTETS];
    let mut out = Vec::with_capacity(64);
    let mut rounds: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu();
        for _ in 0..COUNT {
            out.clear();
            key.sign(&data, &mut out).unwrap();
        }
        rounds.push((cpu() - begun).as_secs_f64() / COUNT as f64);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn digest(apex: &Name, octets: &[u8]) {
    let view = PackedZone::new(apex.clone(), octets);
    for hash in [zonemd::Hash::Sha384, zonemd::Hash::Sha512] {
        let begun = cpu();
        zonemd::of(&view, hash).unwrap();
        let ms = (cpu() - begun).as_secs_f64() * 1e3;
        let each = ms * f64::from(1 << 20) / octets.len() as f64;
        println!("digest (ZONEMD) by {hash:?}: {each:.2} ms a MiB of packed nodes");
    }
}

/// The same zone by the signers of others, with keys they made.
fn others(apex: &Name, octets: &[u8], number: u8, denial: &str, names: usize) {
    let home = tempfile::tempdir().unwrap();
    let (dir, file) = (home.path(), home.path().join("zone"));
    let mut shown = String::new();
    text::write(&PackedZone::new(apex.clone(), octets), &mut shown).unwrap();
    fs::write(&file, shown).unwrap();
    let keys: Vec<PathBuf> = [&["-f", "KSK"][..], &[]]
        .into_iter()
        .filter_map(|flags| keygen(dir, apex, number, flags))
        .collect();
    let nsec3 = denial == "NSEC3";
    let out = dir.join("signed");
    let (dir, file, out) = (text_of(dir), text_of(&file), text_of(&out));
    let apex = apex.to_string();
    let mut bind =
        vec!["dnssec-signzone", "-S", "-P", "-q", "-n", "1", "-x", "-o", &apex, "-K", dir];
    bind.extend(["-d", dir, "-f", out]);
    bind.extend(if nsec3 { &["-3", "-", "-H", "0"][..] } else { &[] });
    bind.push(file);
    let mut ldns = vec!["ldns-signzone", "-o", &apex, "-f", out];
    ldns.extend(if nsec3 { &["-n", "-t", "0"][..] } else { &[] });
    ldns.push(file);
    ldns.extend(keys.iter().map(|key| text_of(key)));
    let conf = format!("{dir}/knot.conf");
    fs::write(&conf, knot_conf(dir, file, &apex, number, nsec3)).unwrap();
    let knot = vec!["kzonesign", "-c", &conf, "-o", dir, &apex];
    for words in [bind, ldns, knot] {
        match child_cpu(&words) {
            Some(took) => row(&format!("{number} {denial}, {}", words[0]), took, names, None),
            None => println!("{:>40} not measured: it is not installed, or failed", words[0]),
        }
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn keygen(dir: &Path, apex: &Name, number: u8, flags: &[&str]) -> Option<PathBuf> {
    let mut command = Command::new("dnssec-keygen");
    command.args(["-q", "-a", &number.to_string(), "-K"]).arg(dir).args(flags);
    let output = command.arg(apex.to_string()).output().ok()?;
    Some(dir.join(String::from_utf8(output.stdout).ok()?.trim()))
}

fn knot_conf(dir: &str, file: &str, apex: &str, number: u8, nsec3: bool) -> String {
    let algorithm = if number == 15 { "ed25519" } else { "ecdsap256sha256" };
    let nsec3 = if nsec3 { "on" } else { "off" };
    format!(
        "server:\n rundir: {dir}\ndatabase:\n storage: {dir}\npolicy:\n - id: p\n   algorithm: {algorithm}\n   \
         signing-threads: 1\n   nsec3: {nsec3}\n   nsec3-iterations: 0\n   nsec3-salt-length: 0\nzone:\n - \
         domain: {apex}\n   file: {file}\n   dnssec-signing: on\n   dnssec-policy: p\n"
    )
}

/// Seconds of CPU that a command took: the median of some runs, or the first of a slow one.
fn child_cpu(words: &[&str]) -> Option<f64> {
    let mut rounds: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        let begun = children_cpu();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().ok()?.success() {
            return None;
        }
        let took = children_cpu() - begun;
        if took > SLOW_S {
            return Some(took);
        }
        rounds.push(took);
    }
    rounds.sort_by(f64::total_cmp);
    Some(rounds[ROUNDS / 2])
}

/// Seconds of CPU that commands took that have ended: in hundredths, which is enough for seconds.
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[13..15].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

// One change

fn change(names: usize, rows: &Rows) {
    println!("\none change in a zone of {names} names, µs of CPU:");
    println!("{:>40} {:>29} {:>29}", "", "of the process", "of the committing thread");
    println!("{:>40} {1:>9} {2:>9} {3:>9} {1:>9} {2:>9} {3:>9}", "", "mean", "p50", "p99");
    for (denial, word) in [(Denial::Nsec, "NSEC"), (NSEC3, "NSEC3")] {
        if !rows.want(word, &DENIALS) {
            continue;
        }
        let home = tempfile::tempdir().unwrap();
        let store = open(home.path());
        let sealer = Sealer::passing().unwrap();
        let (plain, signed) = (name("plain.example."), name("signed.example."));
        let offline = Maintain::offline(store.clone(), settings(Clock::default(), &sealer));
        for apex in [&plain, &signed] {
            let content = Content::Packed { octets: zone(apex, names), presigned: false };
            let content = Content::Staged(offline.stage(apex, &content).unwrap());
            let (apex, org) = (apex.clone(), "bench".to_owned());
            commit(&offline, vec![(ZoneChange::Create { apex, org, content }, None)]);
        }
        let csk = SigningKey::generate(Algorithm::EcdsaP256, 0, 257).unwrap();
        let plan = Some(Box::new(plan(&csk, denial, false)));
        let on = ZoneChange::SetSigning { apex: signed.clone(), plan };
        commit(&offline, vec![(on, Some((signed.clone(), csk)))]);
        let mut progress = Resigning::default();
        while offline.resign_some(&mut progress).unwrap() {}
        drop(offline);

        let maintain = Maintain::open(
            store.clone(),
            Writer::new(HashKey::new(SECRET)),
            settings(Clock::default(), &sealer),
        );
        maintain.load().unwrap();
        for (kind, fresh) in [("another address", false), ("a new name", true)] {
            let before = changes(&maintain, &plain, names, fresh);
            let after = changes(&maintain, &signed, names, fresh);
            line(&format!("{kind}, unsigned"), before);
            line(&format!("{kind}, {word}"), after);
            let less = |one: [f64; 3], two: [f64; 3]| [0, 1, 2].map(|at| one[at] - two[at]);
            line("more", (less(after.0, before.0), less(after.1, before.1)));
        }
    }
}

/// Mean, median and 99th of a hundred.
type Spread3 = [f64; 3];

fn line(what: &str, (process, thread): (Spread3, Spread3)) {
    print!("{what:>40}");
    process.iter().chain(&thread).for_each(|value| print!(" {value:>9.0}"));
    println!();
}

fn spread(mut took: Vec<f64>) -> Spread3 {
    took.sort_by(f64::total_cmp);
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    [mean, took[took.len() / 2], took[took.len() * 99 / 100]]
}

/// CPU of commits of one record, in µs: of the process, and of this thread.
fn changes(maintain: &Maintain, apex: &Name, names: usize, fresh: bool) -> (Spread3, Spread3) {
    let (mut process, mut thread) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let host = number * (names / CHANGES).max(1);
        let label = if fresh { format!("n{host:07}") } else { format!("h{host:07}") };
        let owner = apex.child(label.as_bytes()).unwrap();
        let rdatas = vec![vec![198, 51, 100, number as u8].into()];
        let op = Op::Replace { ttl: 300, rdatas };
        let edits = vec![RrSetEdit { owner, rtype: Type::A, op, base: Base::Unchecked }];
        let edit = ZoneChange::Edit { apex: apex.clone(), edits };
        let begun = (cpu(), thread_cpu());
        commit(maintain, vec![(edit, None)]);
        process.push(us((cpu() - begun.0).as_secs_f64()));
        thread.push(us((thread_cpu() - begun.1).as_secs_f64()));
    }
    (spread(process), spread(thread))
}

// A fortnight

fn fortnight(zones: usize) {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let clock = Arc::new(AtomicU64::new(u64::from(now_s()) * 1_000_000));
    let maintain = Maintain::offline(
        store,
        settings(Clock::by_hand(clock.clone()), &Sealer::passing().unwrap()),
    );
    let begun = (Instant::now(), cpu());
    let apexes: Vec<Name> = (0..zones).map(|n| name(&format!("z{n}.example."))).collect();
    for group in apexes.chunks(GROUP_ZONES) {
        let switched = group.iter().flat_map(|apex| {
            let content = Content::Packed { octets: zone(apex, 6), presigned: false };
            let create = ZoneChange::Create { apex: apex.clone(), org: "bench".into(), content };
            let csk = SigningKey::generate(Algorithm::EcdsaP256, 0, 257).unwrap();
            let plan = Some(Box::new(plan(&csk, Denial::Nsec, false)));
            let on = ZoneChange::SetSigning { apex: apex.clone(), plan };
            [(create, None), (on, Some((apex.clone(), csk)))]
        });
        commit(&maintain, switched.collect());
    }
    println!(
        "\n{zones} zones of 8 names made and signed: {:.1} s, {:.1} s of CPU",
        begun.0.elapsed().as_secs_f64(),
        (cpu() - begun.1).as_secs_f64()
    );
    println!(
        "{:>6} {:>10} {:>11} {:>11} {:>11} {:>11} {:>16} {:>9}",
        "day",
        "versions",
        "a second",
        "least hour",
        "median",
        "most",
        "versions a CPU s",
        "a wall s"
    );
    let mut all: Vec<u64> = Vec::new();
    let mut progress = Resigning::default();
    for day in 1..=DAYS {
        let mut hours: Vec<u64> = Vec::new();
        let begun = (Instant::now(), cpu());
        for _ in 0..24 {
            clock.fetch_add(3_600_000_000, Ordering::Relaxed);
            let mut hour = 0;
            while maintain.resign_some(&mut progress).unwrap() {
                hour += 1;
            }
            hours.push(hour);
        }
        all.extend(&hours);
        let versions: u64 = hours.iter().sum();
        let [least, median, most] = hourly(hours);
        let (wall, took) = (begun.0.elapsed().as_secs_f64(), (cpu() - begun.1).as_secs_f64());
        println!(
            "{day:>6} {versions:>10} {:>11.3} {least:>11.3} {median:>11.3} {most:>11.3} {:>16.0} {:>9.0}",
            versions as f64 / 86_400.0,
            versions as f64 / took,
            versions as f64 / wall
        );
    }
    let (seconds, versions) = (DAYS as f64 * 86_400.0, all.iter().sum::<u64>());
    let [least, median, most] = hourly(all);
    println!(
        "{:>6} {versions:>10} {:>11.3} {least:>11.3} {median:>11.3} {most:>11.3}",
        "all",
        versions as f64 / seconds
    );
}

/// Versions a second in the least, the median and the busiest of some hours.
fn hourly(mut hours: Vec<u64>) -> [f64; 3] {
    hours.sort_unstable();
    let rate = |at: usize| hours[at] as f64 / 3_600.0;
    [rate(0), rate(hours.len() / 2), rate(hours.len() - 1)]
}

// Shared

/// Changes in one commit, each with the key that is to be kept for its zone first.
fn commit(maintain: &Maintain, changes: Vec<(ZoneChange, Option<(Name, SigningKey)>)>) {
    let done = maintain.commit(|door| {
        for (change, key) in &changes {
            if let Some((apex, key)) = key {
                door.put_signing_key(apex, key).unwrap();
            }
            door.apply(std::slice::from_ref(change))?;
        }
        Ok::<_, Refusal>(())
    });
    done.map(drop).unwrap();
}

fn settings(clock: Clock, sealer: &Sealer) -> Settings {
    Settings { clock, sealer: Some(sealer.clone()), ..Settings::default() }
}

fn plan(csk: &SigningKey, denial: Denial, zonemd: bool) -> Plan {
    let (tag, algorithm) = (csk.tag(), csk.algorithm());
    let csk = KeyUse { tag, algorithm, published: true, signs_keys: true, signs_zone: true };
    let policy = Policy { denial, zonemd, ..Policy::default() };
    Plan { keys: vec![csk], policy, ..Plan::default() }
}

fn open(dir: &Path) -> Store {
    let mut options = Options::new(dir);
    options.clock = || {
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        BEGIN.elapsed()
    };
    Store::open(&options).unwrap()
}

/// A zone of SOA, two NS and `names` addresses, one a name.
fn zone(apex: &Name, names: usize) -> Vec<u8> {
    let mut shown = String::from("$TTL 3600\n@ SOA ns hostmaster 1 7200 900 604800 300\n@ NS ns\n");
    shown.push_str("@ NS ns.else.test.\nns A 192.0.2.1\n");
    for host in 0..names {
        writeln!(shown, "h{host:07} 300 A 192.0.2.{}", host % 250).unwrap();
    }
    let options = text::Options { apex: Some(apex.clone()), ..text::Options::default() };
    text::parse(shown.as_bytes(), options).unwrap().packed
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn us(seconds: f64) -> f64 {
    seconds * 1e6
}

fn now_s() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as u32
}

/// CPU of this process so far, all threads.
fn cpu() -> Duration {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU of this thread so far.
fn thread_cpu() -> Duration {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[expect(unsafe_code, reason = "the clocks of process and thread have no safe form")]
fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` to where the pointer leads, and keeps nothing.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
