//! Two workers beside one: what an answer costs when a server answers on two cores.
//!
//! Every server is started twice, with one worker and with two, and so is the echo. All are asked in the
//! same way: by two threads of load that share both cores with the server, over enough sockets for a
//! server that spreads queries by where they come from. What counts is each server over the echo that has
//! as many workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::thread;

use crate::answers::{self, Scenario};
use crate::bench::{LOAD_CORE, Options, SERVER_CORE, median};
use crate::dataset::{Dataset, Set};
use crate::load::{self, Plan, Report, Sending};
use crate::peer::{Peer, Running, Wish};
use crate::questions::Questions;
use crate::{procfs, sys, table};

/// Servers whose workers are threads or processes one can choose the number of.
const PEERS: [Peer; 6] =
    [Peer::Echo, Peer::Nameplane, Peer::Gdnsd, Peer::Nsd, Peer::Knot, Peer::Yadifa];

/// Sockets of each of the two threads of load.
const FLOWS: usize = 8;

/// By server, workers and question: µs of CPU per answer.
type Figures = BTreeMap<(&'static str, usize, &'static str), Vec<f64>>;

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Hosting, options.divisor)?;
    let mut servers = Vec::new();
    let mut port = options.first_port + 200;
    for peer in options.peers_of(&PEERS) {
        for workers in [1, 2] {
            port += 1;
            let wish = Wish { workers, ..Wish::default() };
            match answers::start(options, &data, peer, port, wish) {
                Ok((server, _)) => {
                    procfs::unpin(server.pid())?;
                    servers.push((server, workers));
                }
                Err(error) => eprintln!("{} with {workers} workers: {error}", peer.name()),
            }
        }
    }
    let scenarios = Scenario::of(Set::Hosting, &[Sending::Plain]);
    let mut figures = Figures::new();
    let mut seed = 7_000;
    for scenario in scenarios.iter().filter(|scenario| scenario.name != "mixed").take(3) {
        let mut questions = Vec::new();
        for _ in [SERVER_CORE, LOAD_CORE] {
            let (hits, apexes) = (data.hits(), data.apexes());
            let missing = scenario.missing_percent;
            questions.push(Questions::read(&hits, &apexes, missing, scenario.spread)?);
        }
        for round in 0..=options.rounds {
            eprintln!("workers {}: round {round} of {}", scenario.name, options.rounds);
            for (server, workers) in &servers {
                for questions in &mut questions {
                    seed += 1;
                    questions.seed(seed);
                }
                let cost = ask(options, server, &mut questions)?;
                let key = (server.peer.name(), *workers, scenario.name);
                if round > 0 {
                    figures.entry(key).or_default().push(cost);
                }
            }
        }
    }
    Ok(show(options, &figures))
}

/// A thread of load on either core for one turn; returns µs of server CPU per answer.
fn ask(options: &Options, server: &Running, questions: &mut [Questions]) -> io::Result<f64> {
    let plan = Plan { flows: FLOWS, window: 256, ..Plan::saturate(server.address, options.turn) };
    let before = procfs::cpu(server.pid());
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
    let spent = procfs::cpu(server.pid()) - before;
    let mut answered = 0;
    for report in reports {
        answered += report?.answered;
    }
    Ok(spent.total.as_secs_f64() * 1e6 / answered.max(1) as f64)
}

fn ask_from(core: usize, plan: &Plan, questions: &mut Questions) -> io::Result<Report> {
    sys::pin(0, core)?;
    load::run(plan, questions)
}

fn show(options: &Options, figures: &Figures) -> String {
    let how = format!(
        "Two threads of load share both cores with the server; medians of {} rounds of {:?}. The last \
         column is what two workers cost over one, each over the echo with as many.",
        options.rounds, options.turn
    );
    let mut out = table::heading("workers: two workers beside one, hosting zones", &how);
    out.push_str("\n| server, question | 1 worker | × echo | 2 workers | × echo | 2 over 1 |\n|---|---|---|---|---|---|\n");
    let names = |(peer, _, question): &(_, _, _)| (*peer, *question);
    let rows: BTreeSet<(&str, &str)> = figures.keys().map(names).collect();
    let rank = |name: &str| PEERS.iter().position(|peer| peer.name() == name);
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(peer, question)| (*question, rank(peer)));
    for (peer, question) in rows {
        let of = |peer: &'static str, workers: usize| {
            figures.get(&(peer, workers, question)).map_or(f64::NAN, |all| median(all))
        };
        let (one, two) = (of(peer, 1), of(peer, 2));
        let over = |own: f64, workers: usize| own / of(Peer::Echo.name(), workers);
        let _ = writeln!(
            out,
            "| {peer}, {question} | {one:.2} | {:.2} | {two:.2} | {:.2} | {:.3} |",
            over(one, 1),
            over(two, 2),
            over(two, 2) / over(one, 1)
        );
    }
    out
}
