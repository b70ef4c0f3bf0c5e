//! The gate: what answering costs over sending everything back, by the paired method.
//!
//! One worker, one socket. In turns of 50 ms it answers from the table or only flips QR and sends the
//! datagram back, while the load generator of `benches/peers` saturates it. Both halves of a pair see the
//! same machine, which separate runs do not. What counts is the median of the ratios.
//!
//! Where answers are longer than queries by so much that it shows, the echo's replies are as long.
//!
//! `cargo bench --bench udp [-- SETS [PAIRS [DIVISOR [SENDING]]]]`, SETS of `hosting,big,tld,nsec,nsec3,million`,
//! SENDING of `plain,gso` (see `load::Sending`; the gate is *plain*, and *gso* stands beside it). A set is
//! written below `TMPDIR` once and kept. DIVISOR makes it smaller, for a quick look. The worker takes the
//! first core, the generator the second.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nameplane::answer::{Bulk, Rendered, Writer, render};
use nameplane::metrics::Registry;
use nameplane::serve::{Context, Outcome, Refuse, Settings, Shared, Slot, Transport};
use nameplane::transport::udp;
use nameplane::wire::{HashKey, Name};
use nameplane::zone::text;
use nameplane::zone::tree::PackedZone;

#[allow(dead_code, unused_imports, reason = "shared with the peers' bench, which uses all")]
#[path = "peers/src/dataset.rs"]
mod dataset;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "peers/src/load.rs"]
mod load;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "peers/src/questions.rs"]
mod questions;
#[allow(
    dead_code,
    unused_imports,
    unsafe_code,
    reason = "as above; its calls say why they are sound"
)]
#[path = "peers/src/sys.rs"]
mod sys;

use dataset::{Dataset, Set};
use load::Sending;
use questions::{Questions, Spread};

/// How long the worker does one of the two.
const TURN: Duration = Duration::from_millis(50);

/// Octets from which on the length of replies costs an echo a percent or more.
const PADDING_SHOWS: u64 = 100;

/// What a seed is for every run to be the same.
const KEY: [u8; 24] = *b"the same pages each time";

fn main() -> std::io::Result<()> {
    nameplane::run::heap::tell(); // as the server does
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let word = |at: usize, or: &'static str| words.get(at).map_or(or, String::as_str);
    let number =
        |at: usize, or: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(or);
    let (pairs, divisor) = (number(1, 25), number(2, 1));
    let sendings: Vec<Sending> =
        word(3, "plain,gso").split(',').filter_map(Sending::parse).collect();
    println!(
        "| set | sent | questions | echo ns | answer ns | ratio | quartiles | pad | busy |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for set in word(0, "hosting").split(',').filter_map(Set::parse) {
        measure(set, pairs, divisor, &sendings)?;
    }
    Ok(())
}

/// All rows of one set.
fn measure(set: Set, pairs: usize, divisor: usize, sendings: &[Sending]) -> std::io::Result<()> {
    let root = std::env::temp_dir().join("nameplane-bench");
    let dataset = Dataset::open(&root, set, divisor)?;
    let began = Instant::now();
    let shared = Shared::new(
        Settings::default(),
        load(&dataset).published(),
        Arc::new(Refuse),
        Arc::new(Registry::default()),
        1,
    );
    eprintln!(
        "{}: {} zones, {} records, read and rendered in {:.1} s",
        set.describe(),
        dataset.zones,
        dataset.records,
        began.elapsed().as_secs_f32()
    );
    for &sending in sendings {
        for (name, missing, spread) in [
            ("hits, uniform", 0, Spread::Uniform),
            ("hits, Zipf", 0, Spread::Zipf),
            ("NXDOMAIN", 100, Spread::Uniform),
            ("mixed, 20 % NXDOMAIN", 20, Spread::Zipf),
        ] {
            let questions = Questions::read(&dataset.hits(), &dataset.apexes(), missing, spread)?;
            let turns = run(&shared, questions.dnssec(set.is_signed()), pairs, sending);
            show(&format!("{} | {} | {name}", set.name(), sending.name()), &turns);
        }
    }
    Ok(())
}

/// All zones of a set in a table.
fn load(dataset: &Dataset) -> Writer {
    let mut writer = Writer::new(HashKey::new(KEY));
    let key = writer.key();
    writer.start_load();
    let mut bulk = Bulk::new(&key);
    let zones = dataset.zones().expect("the list of zones is readable");
    for (part, chunk) in zones.chunks(2048).enumerate() {
        let mut rendered = Rendered::new(&key);
        for (number, (apex, file)) in chunk.iter().enumerate() {
            put_zone(&mut rendered, (part * 2048 + number) as u32, apex, file);
        }
        bulk.take(&mut rendered);
    }
    writer.load(vec![bulk], 1);
    writer.end_load();
    writer
}

fn put_zone(rendered: &mut Rendered, id: u32, apex: &str, file: &Path) {
    let text = std::fs::read(file).expect("a zone file");
    let apex = Name::parse(apex).expect("a name");
    let options = text::Options { origin: Some(apex), ..text::Options::default() };
    let parsed = text::parse(&text, options).expect("a faultless zone file");
    let view = PackedZone::new(parsed.apex.clone(), &parsed.packed);
    render::zone(rendered, &render::Zone { id, view: &view, children: None })
        .expect("memory is readable");
}

/// One half of a pair.
#[derive(Clone, Copy)]
struct Turn {
    echo: bool,
    cpu: Duration,
    time: Duration,
    replies: u64,
    /// Octets by which echoes were longer than queries.
    pad: usize,
}

impl Turn {
    fn ns(self) -> f64 {
        self.cpu.as_nanos() as f64 / self.replies.max(1) as f64
    }
}

/// Saturates a worker for so many pairs of turns.
fn run(
    shared: &Arc<Shared>,
    mut questions: Questions,
    pairs: usize,
    sending: Sending,
) -> Vec<Turn> {
    let socket = udp::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let server =
        socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let (stop, state) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
    let worker = {
        let (stop, state, context) =
            (Arc::clone(&stop), Arc::clone(&state), Context::new(shared, Transport::Udp));
        std::thread::spawn(move || {
            udp::pin(0);
            let mut meter = Meter::new(2 * pairs + 2, state);
            let mut worker = udp::Worker::new(socket);
            worker.run(&stop, context.counters(), |slots| meter.batch(&context, slots), |_| {});
            meter.turns
        })
    };
    udp::pin(1);
    questions.seed(7);
    while state.load(Ordering::Relaxed) == 0 {
        let plan = load::Plan { sending, ..load::Plan::saturate(server, 4 * TURN) };
        load::run(&plan, &mut questions).expect("loopback");
    }
    stop.store(true, Ordering::Relaxed);
    worker.join().expect("the worker does not panic")
}

/// Alternates between the two and measures each turn.
struct Meter {
    left: usize,
    state: Arc<AtomicU8>,
    began: Instant,
    cpu: Duration,
    replies: u64,
    /// Octets of the queries and of the replies of this turn.
    asked: u64,
    answered: u64,
    pad: usize,
    echo: bool,
    turns: Vec<Turn>,
}

impl Meter {
    fn new(turns: usize, state: Arc<AtomicU8>) -> Meter {
        Meter {
            left: turns,
            state,
            began: Instant::now(),
            cpu: Duration::ZERO,
            replies: 0,
            asked: 0,
            answered: 0,
            pad: 0,
            echo: false,
            turns: Vec::new(),
        }
    }

    fn batch(&mut self, context: &Context, slots: &mut [Slot]) {
        // The clock is read in both kinds of turns alike.
        let time = self.began.elapsed();
        if time > TURN {
            self.turn(time);
        }
        self.asked += slots.iter().map(|slot| slot.len as u64).sum::<u64>();
        if self.echo {
            for slot in slots.iter_mut() {
                slot.octets[2] |= 0x80;
                slot.outcome = Outcome::Reply(slot.len + self.pad);
            }
        } else {
            udp::answer(context, slots, 1_800_000_000);
        }
        for slot in slots.iter() {
            if let Outcome::Reply(len) = slot.outcome {
                self.replies += 1;
                self.answered += len as u64;
            }
        }
    }

    /// Ends a turn that took so long, and begins one of the other kind.
    fn turn(&mut self, time: Duration) {
        let cpu = thread_cpu();
        let (echo, replies, pad) = (self.echo, self.replies, self.pad);
        self.turns.push(Turn { echo, cpu: cpu - self.cpu, time, replies, pad });
        if !echo {
            let longer = self.answered.saturating_sub(self.asked) / replies.max(1);
            self.pad = if longer > PADDING_SHOWS { longer as usize } else { 0 };
        }
        self.echo = !echo;
        (self.began, self.cpu) = (Instant::now(), cpu);
        (self.replies, self.asked, self.answered) = (0, 0, 0);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.state.store(1, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "the clock of one thread has no safe form")]
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local structure that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn show(name: &str, turns: &[Turn]) {
    // The first turns warm up; a turn between two runs of the generator has next to nothing to do.
    let busy = turns.get(2..).unwrap_or_default();
    let pairs = busy.windows(2).filter_map(|pair| match pair {
        [one, other] if !one.echo && other.echo => Some((one.ns(), other.ns())),
        _ => None,
    });
    let mut ratios: Vec<f64> = pairs.map(|(answer, echo)| answer / echo).collect();
    ratios.sort_by(f64::total_cmp);
    let of = |echo: bool| {
        let mut all: Vec<f64> =
            busy.iter().filter(|turn| turn.echo == echo).map(|turn| turn.ns()).collect();
        all.sort_by(f64::total_cmp);
        quantile(&all, 0.5)
    };
    let busy = busy.iter().map(|turn| turn.cpu.as_secs_f64() / turn.time.as_secs_f64());
    let share = busy.clone().sum::<f64>() / busy.count().max(1) as f64;
    println!(
        "| {name} | {:.0} | {:.0} | {:.3} | {:.3}–{:.3} | {} | {:.0} % |",
        of(true),
        of(false),
        quantile(&ratios, 0.5),
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75),
        turns.last().map_or(0, |turn| turn.pad),
        share * 100.0
    );
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
