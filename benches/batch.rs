//! What the gate of `udp` costs without the socket: the same questions put to the handler in batches of 32.
//!
//! For a change of a few nanoseconds, on a machine that others use too. The questions are asked over and over,
//! and of each millisecond of them the fastest counts: what else the machine did then is left out. Run the
//! binaries of before and after by turns.
//!
//! `cargo bench --bench batch [-- SETS [KINDS [ROUNDS [DIVISOR]]]]`, SETS of `hosting,big,tld,nsec,nsec3,million`, KINDS of
//! `hits,zipf,nx,mixed`; the hits of `tld` are referrals. Sets are those of `udp`. For instructions, run the binary under
//! `valgrind --tool=callgrind --toggle-collect='nameplane::serve::handle::handle_batch'` with one round, and
//! `GLIBC_TUNABLES` set, so that it does not start itself again; there are 65 536 questions.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nameplane::serve::{Context, Outcome, Shared, Slot, Transport};
use nameplane::transport::udp;

#[allow(dead_code, unused_imports, reason = "shared with the peers' bench, which uses all")]
#[path = "peers/src/dataset.rs"]
mod dataset;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "peers/src/questions.rs"]
mod questions;
#[path = "gate/set.rs"]
mod set;

use dataset::Set;
use questions::Questions;

/// Questions asked over and over: more than a cache has answers for.
const QUESTIONS: usize = 1 << 16;

/// Queries of a batch, and batches of the piece whose fastest time counts.
const BATCH: usize = 32;
const PIECE: usize = 32;

/// Octets of a worker's place for a message.
const PLACE_OCTETS: usize = 4096 + 192;

fn main() -> std::io::Result<()> {
    nameplane::run::heap::tell(); // as the server does
    let words = set::Words::given();
    let (kinds, rounds, divisor) =
        (words.word(1, "hits,nx"), words.number(2, 30), words.number(3, 1));
    udp::keep_to(&[1]);
    println!("| set | questions | ns | octets of a reply |\n|---|---|---|---|");
    for name in words.word(0, "nsec3").split(',').filter_map(Set::parse) {
        let dataset = set::open(name, divisor)?;
        let shared = set::serve(name, &dataset);
        for (_, kind, missing, spread) in
            set::KINDS.iter().filter(|(word, ..)| kinds.split(',').any(|kind| kind == *word))
        {
            let questions = set::ask(name, &dataset, *missing, *spread)?;
            let (ns, octets) = replay(&shared, questions, rounds);
            println!("| {} | {kind} | {ns:.1} | {octets} |", name.name());
        }
    }
    Ok(())
}

/// Nanoseconds of an answer at the best, and its octets in the mean.
fn replay(shared: &Arc<Shared>, mut questions: Questions, rounds: usize) -> (f64, usize) {
    questions.seed(7);
    let mut buffer = [0; 512];
    let mut message = |id: usize| {
        let (len, _) = questions.write(id as u16, &mut buffer);
        buffer[..len].to_vec()
    };
    let messages: Vec<Vec<u8>> = (0..QUESTIONS).map(&mut message).collect();
    let context = Context::new(shared, Transport::Udp);
    let mut slots: Vec<Slot> = (0..BATCH).map(|_| Slot::new(PLACE_OCTETS)).collect();
    let mut best = vec![Duration::MAX; QUESTIONS / BATCH / PIECE];
    let mut octets = 0;
    for _ in 0..rounds {
        octets = 0;
        for (piece, best) in messages.chunks(BATCH * PIECE).zip(&mut best) {
            let mut spent = Duration::ZERO;
            for batch in piece.chunks(BATCH) {
                spent += answer(&context, &mut slots, batch);
                octets += slots.iter().map(octets_of).sum::<usize>();
            }
            *best = spent.min(*best);
        }
    }
    let best: Duration = best.iter().sum();
    (best.as_nanos() as f64 / QUESTIONS as f64, octets / QUESTIONS)
}

/// How long one batch takes once it stands in its slots.
fn answer(context: &Context, slots: &mut [Slot], batch: &[Vec<u8>]) -> Duration {
    let peer = SocketAddr::from(([127, 0, 0, 1], 5353));
    for (slot, message) in slots.iter_mut().zip(batch) {
        assert!(slot.receive(message, peer), "there is room for a query");
    }
    let began = Instant::now();
    udp::answer(context, slots, 1_800_000_000);
    began.elapsed()
}

fn octets_of(slot: &Slot) -> usize {
    match slot.outcome {
        Outcome::Reply(len) => len,
        Outcome::Silent | Outcome::Ask(_) => panic!("a question has an answer"),
    }
}
