//! Update under load: what clients see of a hundred commits a second.
//!
//! Turns with commits alternate with turns without, under the same load; what counts is the median over
//! the pairs of the ratio of the 99th percentiles. Commits are dynamic updates to zones drawn at random,
//! from a thread of their own.
//!
//! What is to show is what the server does to its answers, and not what it does to the load: it keeps to its
//! core, where what commits competes with what answers, and the kernel notes when an answer arrives. Where what
//! answers has a core of its own, all else of the server is on the load's, which then sleeps between queries.
//! (Urgent by `SCHED_FIFO` the load would starve the kernel's own threads of that core, and with them its queries.)

use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::Duration;

use crate::bench::{LOAD_CORE, Options, SERVER_CORE, median, quantile};
use crate::dataset::{Dataset, Set};
use crate::load::{self, Plan, Report};
use crate::peer::{Running, Wish};
use crate::questions::{Questions, Spread};
use crate::update::{self, Done, Pace, Updates};
use crate::{answers, procfs, sys, table};

/// Commits a second in every other turn.
const COMMITS: u32 = 100;

/// Queries a second of the moderate load.
const MODERATE: u32 = 40_000;

/// Pairs of turns, and how long one turn is, in a run of full size.
const PAIRS: usize = 25;
const TURN: Duration = Duration::from_secs(1);

/// What a server has before each turn to finish what the turn before left it: work put off is no part of a
/// turn without commits.
const REST: Duration = Duration::from_millis(500);

/// How long the load sleeps where it shares its core with what commits: two queries come due meanwhile.
const NAP: Duration = Duration::from_micros(50);

/// Which cores a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cores {
    /// One, for all it does.
    One,
    /// One for the thread that answers, and the load's for all others.
    OneToAnswer,
}

/// What one pair of turns showed.
struct Pair {
    quiet_p99: f64,
    ratio_p50: f64,
    ratio_p99: f64,
    lost: u64,
    commits: Done,
}

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Hosting, options.divisor)?;
    let (pairs, turn) = match options.divisor {
        1 => (PAIRS, TURN),
        _ => (options.rounds, options.turn),
    };
    let how = format!(
        "{} zones; {pairs} pairs of turns of {turn:?}, with {COMMITS} updates a second and without, \
         {REST:?} of rest before each. Ratios are medians over the pairs, quartiles in brackets. Server and \
         load have a core each; in the last row of a server its thread that answers has a core alone, and all \
         others share the load's, which sleeps 50 µs at a time. An answer's time ends when the kernel has it.",
        data.zones
    );
    let mut out = table::heading("churn: answers while zones change", &how);
    let _ = writeln!(
        out,
        "\n| server | load | p99 µs without | p50 with over without | p99 with over without | queries lost | \
         commits | commit p50 µs | commit p99 µs |\n|---|{}",
        "---|".repeat(8)
    );
    let mut notes = Vec::new();
    for (i, peer) in options.peers_of(&update::PEERS).into_iter().enumerate() {
        let wish = Wish { open: true, ..Wish::default() };
        let port = options.first_port + 400 + i as u16;
        let rows = answers::start(options, &data, peer, port, wish)
            .and_then(|(server, _)| rows(&data, &server, pairs, turn));
        match rows {
            Ok(rows) => out.push_str(&rows),
            Err(error) => notes.push(format!("{}: {error}", peer.name())),
        }
    }
    for note in notes {
        let _ = writeln!(out, "\nNot measured: {note}.");
    }
    Ok(out)
}

/// One server under both loads.
fn rows(data: &Dataset, server: &Running, pairs: usize, turn: Duration) -> io::Result<String> {
    let mut out = String::new();
    let mut questions = Questions::read(&data.hits(), &data.apexes(), 20, Spread::Zipf)?;
    let mut updates = Updates::over(data, 99)?;
    let saturated = Plan { stamped: true, ..Plan::saturate(server.address, turn) };
    let moderate = Plan { rate: Some(MODERATE), ..saturated.clone() };
    let loads = [
        ("40 000 queries a second", moderate.clone(), Cores::One),
        ("saturated", saturated, Cores::One),
        (
            "40 000 queries a second, a core to answer",
            Plan { nap: Some(NAP), ..moderate },
            Cores::OneToAnswer,
        ),
    ];
    for (name, plan, cores) in loads {
        if cores == Cores::OneToAnswer {
            leave_to_answer(server, &plan, &mut questions)?;
        }
        let mut all = Vec::new();
        for n in 0..=pairs {
            eprintln!("churn {}, {name}: pair {n} of {pairs}", server.peer.name());
            questions.seed(n as u64);
            let pair = pair(&plan, &mut questions, &mut updates)?;
            // The first warms up.
            if n > 0 {
                all.push(pair);
            }
        }
        let _ = writeln!(out, "| {} | {name} | {}", server.peer.name(), row(&all));
    }
    Ok(out)
}

/// Leaves the server's core to its thread that answers, and sends all others to the load's.
fn leave_to_answer(server: &Running, plan: &Plan, questions: &mut Questions) -> io::Result<()> {
    let before = procfs::threads_cpu(server.pid());
    load::run(plan, questions)?;
    procfs::pin(server.pid(), LOAD_CORE)?;
    let answering = procfs::busiest(server.pid(), &before, 1);
    answering.into_iter().try_for_each(|thread| sys::pin(thread, SERVER_CORE))
}

/// A turn without commits and one with them.
fn pair(plan: &Plan, questions: &mut Questions, updates: &mut Updates) -> io::Result<Pair> {
    thread::sleep(REST);
    let quiet = load::run(plan, questions)?;
    thread::sleep(REST);
    let pace = Pace { window: 64, rate: Some(COMMITS), time: plan.time };
    let (busy, commits) = thread::scope(|scope| {
        let commits = scope.spawn(|| update::send(plan.server, updates, pace));
        let busy = load::run(plan, questions);
        (busy, commits.join().unwrap_or_else(|_| Err(io::Error::other("updates panicked"))))
    });
    let (busy, commits) = (busy?, commits?);
    let us = |report: &Report, share| report.latency.quantile(share).as_secs_f64() * 1e6;
    Ok(Pair {
        quiet_p99: us(&quiet, 0.99),
        ratio_p50: us(&busy, 0.5) / us(&quiet, 0.5),
        ratio_p99: us(&busy, 0.99) / us(&quiet, 0.99),
        lost: quiet.lost + busy.lost,
        commits,
    })
}

fn row(pairs: &[Pair]) -> String {
    let of = |figure: &dyn Fn(&Pair) -> f64| pairs.iter().map(figure).collect::<Vec<f64>>();
    let p99 = of(&|pair| pair.ratio_p99);
    let done: u64 = pairs.iter().map(|pair| pair.commits.done).sum();
    let undone: u64 =
        pairs.iter().map(|pair| pair.commits.lost + pair.commits.refused.iter().sum::<u64>()).sum();
    let undone = if undone > 0 { format!(", {undone} refused or lost") } else { String::new() };
    let wait =
        |share: f64| median(&of(&|pair| pair.commits.latency.quantile(share).as_secs_f64() * 1e6));
    format!(
        "{:.0} | {:.3} | {:.3} ({:.3}–{:.3}) | {} | {done}{undone} | {:.0} | {:.0} |",
        median(&of(&|pair| pair.quiet_p99)),
        median(&of(&|pair| pair.ratio_p50)),
        median(&p99),
        quantile(&p99, 0.25),
        quantile(&p99, 0.75),
        pairs.iter().map(|pair| pair.lost).sum::<u64>(),
        wait(0.5),
        wait(0.99)
    )
}
