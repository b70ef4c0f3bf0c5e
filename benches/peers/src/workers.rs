//! Two workers beside one: what an answer costs when a server answers on two cores.
//!
//! Every server is started twice, with one worker and with two, and so is the echo. All are asked in the
//! same way: by two threads of load that share both cores with the server, over enough sockets for a
//! server that spreads queries by where they come from. What counts is each server over the echo that has
//! as many workers.
//!
//! Three things made that figure wander on two cores, and are held still. What drifts on the machine drifts for
//! all: turns are short, everybody has one within a second, there and back, and the figure is the median of
//! what each such cycle gives. Where the scheduler puts threads: each worker has a core of its own, as servers
//! place theirs. What else a process does: only the threads that answer are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::Duration;

use crate::answers::{self, Scenario};
use crate::bench::{LOAD_CORE, Options, SERVER_CORE, median, quantile};
use crate::dataset::{Dataset, Set};
use crate::load::{self, Plan, Report, Sending};
use crate::peer::{Peer, Running, Wish};
use crate::questions::Questions;
use crate::{procfs, sys, table};

/// Servers whose workers are threads or processes one can choose the number of.
const PEERS: [Peer; 6] =
    [Peer::Echo, Peer::Nameplane, Peer::Gdnsd, Peer::Nsd, Peer::Knot, Peer::Yadifa];

/// Sockets of each of the two threads of load: so many that the workers' shares differ little.
const FLOWS: usize = 16;

/// Cycles for each round asked for, and the part of a turn that each turn of them takes.
const CYCLES_PER_ROUND: usize = 10;
const TURN_PART: u32 = 5;

/// A server, and the threads of it that answer.
struct Bench {
    server: Running,
    workers: Vec<i32>,
}

/// By workers: µs of CPU per answer in one cycle.
type Cycle = [f64; 2];

/// By question and server: every cycle.
type Figures = BTreeMap<(&'static str, &'static str), Vec<Cycle>>;

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Hosting, options.divisor)?;
    let scenarios = Scenario::of(Set::Hosting, &[Sending::Plain]);
    let scenarios = scenarios.iter().filter(|scenario| scenario.name != "mixed").take(3);
    let mut asked = Vec::new();
    for scenario in scenarios {
        let read = |_| {
            let (hits, apexes) = (data.hits(), data.apexes());
            Questions::read(&hits, &apexes, scenario.missing_percent, scenario.spread)
        };
        let questions = [SERVER_CORE, LOAD_CORE].into_iter().map(read);
        asked.push((scenario.name, questions.collect::<io::Result<Vec<_>>>()?));
    }
    let Some((_, first)) = asked.first_mut() else { return Ok(String::new()) };
    let benches = start_all(options, &data, first)?;
    let mut figures = Figures::new();
    let mut seed = 7_000;
    for (name, questions) in &mut asked {
        for cycle in 0..=options.rounds * CYCLES_PER_ROUND {
            eprintln!("workers {name}: cycle {cycle}");
            for (peer, cost) in go_round(options, &benches, questions, &mut seed, cycle % 2 == 1)? {
                // The first warms up.
                if cycle > 0 {
                    figures.entry((*name, peer)).or_default().push(cost);
                }
            }
        }
    }
    Ok(show(options, &figures))
}

/// Starts every server with one worker and with two, and gives each worker its core.
fn start_all(
    options: &Options,
    data: &Dataset,
    questions: &mut [Questions],
) -> io::Result<Vec<[Bench; 2]>> {
    let mut benches = Vec::new();
    let mut port = options.first_port + 200;
    for peer in options.peers_of(&PEERS) {
        let mut start = |workers: usize| {
            port += 1;
            let wish = Wish { workers, ..Wish::default() };
            let (server, _) = answers::start(options, data, peer, port, wish)?;
            procfs::unpin(server.pid())?;
            let workers = busiest(options, &server, questions, workers)?;
            for (worker, core) in workers.iter().zip([SERVER_CORE, LOAD_CORE]) {
                sys::pin(*worker, core)?;
            }
            Ok(Bench { server, workers })
        };
        let both = start(1).and_then(|one| Ok([one, start(2)?]));
        match both {
            Ok(both) => benches.push(both),
            Err(error) => {
                let error: io::Error = error;
                eprintln!("{}: {error}", peer.name());
            }
        }
    }
    Ok(benches)
}

/// The `count` threads of a server that work most when it is asked.
fn busiest(
    options: &Options,
    server: &Running,
    questions: &mut [Questions],
    count: usize,
) -> io::Result<Vec<i32>> {
    let before = procfs::threads_cpu(server.pid());
    ask(options, server, questions)?;
    Ok(procfs::busiest(server.pid(), &before, count))
}

/// A turn of every server, `back` from the last to the first.
fn go_round(
    options: &Options,
    benches: &[[Bench; 2]],
    questions: &mut [Questions],
    seed: &mut u64,
    back: bool,
) -> io::Result<Vec<(&'static str, Cycle)>> {
    let mut costs: Vec<_> =
        benches.iter().map(|both| (both[0].server.peer.name(), [0.0; 2])).collect();
    let mut turns: Vec<(usize, usize)> =
        (0..benches.len()).flat_map(|bench| [(bench, 0), (bench, 1)]).collect();
    if back {
        turns.reverse();
    }
    for (at, many) in turns {
        let bench = &benches[at][many];
        for questions in &mut *questions {
            *seed += 1;
            questions.seed(*seed);
        }
        let cpu = || -> Duration {
            bench.workers.iter().filter_map(|&worker| procfs::thread_cpu(worker)).sum()
        };
        let before = cpu();
        let answered = ask(options, &bench.server, questions)?;
        let spent = cpu().saturating_sub(before);
        costs[at].1[many] = spent.as_secs_f64() * 1e6 / answered.max(1) as f64;
    }
    Ok(costs)
}

/// A thread of load on either core for one turn; returns how many answers came.
fn ask(options: &Options, server: &Running, questions: &mut [Questions]) -> io::Result<u64> {
    let time = options.turn / TURN_PART;
    let plan = Plan { flows: FLOWS, window: 256, ..Plan::saturate(server.address, time) };
    let reports: Vec<io::Result<Report>> = thread::scope(|scope| {
        let pairs = [SERVER_CORE, LOAD_CORE].into_iter().zip(questions);
        let start = |(core, questions)| {
            let plan = &plan;
            scope.spawn(move || ask_from(core, plan, questions))
        };
        let threads: Vec<_> = pairs.map(start).collect();
        let panicked = |_| Err(io::Error::other("the load panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut answered = 0;
    for report in reports {
        answered += report?.answered;
    }
    Ok(answered)
}

fn ask_from(core: usize, plan: &Plan, questions: &mut Questions) -> io::Result<Report> {
    sys::pin(0, core)?;
    load::run(plan, questions)
}

fn show(options: &Options, figures: &Figures) -> String {
    let how = format!(
        "Two threads of load share both cores with the server, each worker is bound to one. Medians over {} \
         cycles, in each of which everybody has a turn of {:?}; CPU of the threads that answer. The last \
         column is what two workers cost over one, each over the echo with as many in the same cycle, \
         quartiles in brackets.",
        options.rounds * CYCLES_PER_ROUND,
        options.turn / TURN_PART
    );
    let mut out = table::heading("workers: two workers beside one, hosting zones", &how);
    out.push_str("\n| server, question | 1 worker | × echo | 2 workers | × echo | 2 over 1 |\n|---|---|---|---|---|---|\n");
    let rank = |name: &str| PEERS.iter().position(|peer| peer.name() == name);
    let mut rows: Vec<_> = figures.iter().collect();
    rows.sort_by_key(|((question, peer), _)| (*question, rank(peer)));
    for ((question, peer), cycles) in rows {
        let Some(echo) = figures.get(&(*question, Peer::Echo.name())) else { continue };
        let of = |figure: &dyn Fn(&Cycle, &Cycle) -> f64| -> Vec<f64> {
            cycles.iter().zip(echo).map(|(own, echo)| figure(own, echo)).collect()
        };
        let own = |many: usize| median(&of(&|own, _| own[many]));
        let over = |many: usize| median(&of(&|own, echo| own[many] / echo[many]));
        let two = of(&|own, echo| (own[1] / echo[1]) / (own[0] / echo[0]));
        let _ = writeln!(
            out,
            "| {peer}, {question} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} ({:.3}–{:.3}) |",
            own(0),
            over(0),
            own(1),
            over(1),
            median(&two),
            quantile(&two, 0.25),
            quantile(&two, 0.75)
        );
    }
    out
}
