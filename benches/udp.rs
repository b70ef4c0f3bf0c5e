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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nameplane::serve::{Context, Outcome, Shared, Slot, Transport};
use nameplane::transport::udp;

#[allow(dead_code, unused_imports, reason = "shared with the peers' bench, which uses all")]
#[path = "peers/src/dataset.rs"]
mod dataset;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "peers/src/load.rs"]
mod load;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "peers/src/questions.rs"]
mod questions;
#[path = "gate/set.rs"]
mod set;
#[allow(
    dead_code,
    unused_imports,
    unsafe_code,
    reason = "as above; its calls say why they are sound"
)]
#[path = "peers/src/sys.rs"]
mod sys;

use dataset::Set;
use load::Sending;
use questions::Questions;

/// How long the worker does one of the two.
const TURN: Duration = Duration::from_millis(50);

/// Octets from which on the length of replies costs an echo a percent or more.
const PADDING_SHOWS: u64 = 100;

fn main() -> std::io::Result<()> {
    nameplane::run::heap::tell(); // as the server does
    let words = set::Words::given();
    let (pairs, divisor) = (words.number(1, 25), words.number(2, 1));
    let sendings: Vec<Sending> =
        words.word(3, "plain,gso").split(',').filter_map(Sending::parse).collect();
    println!(
        "| set | sent | questions | echo ns | answer ns | ratio | quartiles | pad | busy |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for name in words.word(0, "hosting").split(',').filter_map(Set::parse) {
        measure(name, pairs, divisor, &sendings)?;
    }
    Ok(())
}

/// All rows of one set.
fn measure(name: Set, pairs: usize, divisor: usize, sendings: &[Sending]) -> std::io::Result<()> {
    let dataset = set::open(name, divisor)?;
    let shared = set::serve(name, &dataset);
    for &sending in sendings {
        for (_, kind, missing, spread) in set::KINDS {
            let questions = set::ask(name, &dataset, missing, spread)?;
            let turns = run(&shared, questions, pairs, sending);
            show(&format!("{} | {} | {kind}", name.name(), sending.name()), &turns);
        }
    }
    Ok(())
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
            udp::keep_to(&[0]);
            let mut meter = Meter::new(2 * pairs + 2, state);
            let mut worker = udp::Worker::new(socket);
            worker.run(&stop, context.counters(), |slots| meter.batch(&context, slots), |_| {});
            meter.turns
        })
    };
    udp::keep_to(&[1]);
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
