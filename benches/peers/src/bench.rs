//! The run: every server with the same zones and the same questions, one asked at a time.
//!
//! Servers of one set are all started and then asked in turns, a round of all after a round of all,
//! so that what drifts on the machine drifts for everyone. A figure is the median over the rounds
//! of the CPU time the server's process family spent, divided by the answers that were right.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::dataset::{Dataset, Set};
use crate::load::{self, Plan, Report};
use crate::peer::{Peer, Running};
use crate::questions::{Questions, Spread};
use crate::tcp::{self, Use};
use crate::{procfs, sys};

/// The core of the servers, and that of the load.
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// Queries a second of the latency figures: a server that has little to do.
const LOW_RATE: u32 = 2_000;

/// What `peers run` was asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where zones and the servers' files are kept.
    pub dir: PathBuf,
    pub sets: Vec<Set>,
    pub peers: Vec<Peer>,
    pub rounds: usize,
    pub turn: Duration,
    /// Makes every set this much smaller, to try the runner itself.
    pub divisor: usize,
    pub first_port: u16,
}

/// How a scenario asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Udp,
    Tcp(Use),
    /// One query at a time at [`LOW_RATE`]: for latency, not for CPU time.
    Low,
}

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    pub name: &'static str,
    pub missing_percent: u64,
    pub spread: Spread,
    pub dnssec: bool,
    pub how: How,
}

impl Scenario {
    const fn udp(name: &'static str, missing_percent: u64, spread: Spread, dnssec: bool) -> Self {
        Self { name, missing_percent, spread, dnssec, how: How::Udp }
    }

    const fn hits(name: &'static str, how: How) -> Self {
        Self { name, missing_percent: 0, spread: Spread::Uniform, dnssec: false, how }
    }

    /// The scenarios of a set.
    pub fn of(set: Set) -> Vec<Scenario> {
        use Spread::{Uniform, Zipf};
        match set {
            Set::Hosting => vec![
                Self::udp("hits", 0, Uniform, false),
                Self::udp("nx", 100, Uniform, false),
                Self::udp("Zipf", 0, Zipf, false),
                Self::udp("mixed", 20, Zipf, false),
                Self::hits("TCP, one each", How::Tcp(Use::Once)),
                Self::hits("TCP, pipelined", How::Tcp(Use::Pipelined)),
                Self::hits("low load", How::Low),
            ],
            Set::Big => vec![
                Self::udp("hits", 0, Uniform, false),
                Self::udp("nx", 100, Uniform, false),
                Self::udp("Zipf", 0, Zipf, false),
            ],
            Set::Tld => {
                vec![
                    Self::udp("referral", 0, Uniform, false),
                    Self::udp("DO referral", 0, Uniform, true),
                    Self::udp("nx", 100, Uniform, false),
                ]
            }
            Set::Nsec | Set::Nsec3 => {
                vec![Self::udp("DO hits", 0, Uniform, true), Self::udp("DO nx", 100, Uniform, true)]
            }
            Set::Million => {
                vec![Self::udp("hits", 0, Uniform, false), Self::udp("nx", 100, Uniform, false)]
            }
        }
    }

    /// The share of answers that are what the zone says, by RCODE and answer section.
    fn right(&self, set: Set, report: &Report) -> f64 {
        let good = match (set, self.missing_percent) {
            (Set::Tld, 0) => report.rcodes[0] - report.with_answer,
            (_, 0) => report.with_answer.min(report.rcodes[0]),
            (_, 100) => report.rcodes[3],
            _ => report.with_answer + report.rcodes[3],
        };
        good as f64 / report.answered.max(1) as f64
    }
}

/// One server in one scenario over all rounds.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// µs of CPU per answer, and the part of it outside the kernel, one of each per round.
    pub total: Vec<f64>,
    pub user: Vec<f64>,
    pub rate: Vec<f64>,
    pub p50: Vec<f64>,
    pub p99: Vec<f64>,
    /// Octets of a mean answer.
    pub octets: f64,
    pub lost: u64,
    /// Why its figures do not count, if they do not.
    pub wrong: Option<String>,
}

/// Everything measured on one set.
pub struct Results {
    pub data: Dataset,
    pub scenarios: Vec<Scenario>,
    /// By (server, scenario).
    pub cells: BTreeMap<(&'static str, &'static str), Cell>,
    /// (server, seconds of import, seconds to the first answers of all zones, resident octets).
    pub loads: Vec<(Peer, Option<f64>, f64, u64)>,
    /// Servers that did not start, and why.
    pub failed: Vec<(Peer, String)>,
}

/// Measures every set.
pub fn run(options: &Options) -> io::Result<Vec<Results>> {
    sys::pin(0, LOAD_CORE)?;
    options.sets.iter().map(|&set| run_set(options, set)).collect()
}

fn run_set(options: &Options, set: Set) -> io::Result<Results> {
    let data = Dataset::open(&options.dir, set, options.divisor)?;
    let scenarios = Scenario::of(set);
    let mut results =
        Results { data, scenarios, cells: BTreeMap::new(), loads: Vec::new(), failed: Vec::new() };
    let servers = start_all(options, &mut results)?;
    let mut questions = Vec::new();
    for scenario in &results.scenarios {
        let (hits, apexes) = (results.data.hits(), results.data.apexes());
        let read = Questions::read(&hits, &apexes, scenario.missing_percent, scenario.spread)?;
        questions.push(read.dnssec(scenario.dnssec));
    }
    let mut seed = 1;
    let mut echoes = BTreeMap::new();
    for round in 0..=options.rounds {
        for (scenario, questions) in results.scenarios.iter().zip(&mut questions) {
            eprintln!("{} {}: round {round} of {}", set.name(), scenario.name, options.rounds);
            let padded = echoes.get(scenario.name);
            for server in servers.iter().chain(padded) {
                if server.peer == Peer::Echo && scenario.how != How::Udp && scenario.how != How::Low
                {
                    continue;
                }
                seed += 1;
                questions.seed(seed);
                // A padded echo is a line of its own: the floor for answers of that size.
                let line = match padded {
                    Some(echo) if echo.pid() == server.pid() => "echo, padded",
                    _ => server.peer.name(),
                };
                let cell = results.cells.entry((line, scenario.name)).or_default();
                // Round 0 warms caches up, and shows who answers right at all.
                let time = if round == 0 { options.turn / 2 } else { options.turn };
                turn(server, set, scenario, questions, time, round > 0, cell)?;
            }
            if round == 0 && scenario.dnssec {
                let pad = padding(&results.cells, scenario);
                let port = options.first_port + 100 + echoes.len() as u16;
                let dir = options.dir.join("run-echo-padded");
                let echo = Running::start(Peer::Echo, &results.data, &dir, port, pad)?;
                procfs::pin(echo.pid(), SERVER_CORE)?;
                echoes.insert(scenario.name, echo);
            }
        }
    }
    Ok(results)
}

/// Starts the servers one after the other, each with the machine to itself while it loads.
fn start_all(options: &Options, results: &mut Results) -> io::Result<Vec<Running>> {
    let mut servers = Vec::new();
    for (i, &peer) in options.peers.iter().enumerate() {
        if !peer.serves(results.data.set) {
            continue;
        }
        let dir = options.dir.join(format!("run-{}", peer.name()));
        unpinned(|| Running::start(peer, &results.data, &dir, options.first_port + i as u16, 0))
            .and_then(|server| {
                // Let work that goes on behind the first answers come to its end.
                settle(server.pid());
                let resident = procfs::resident(server.pid());
                procfs::pin(server.pid(), SERVER_CORE)?;
                let imported = server.imported.map(|time| time.as_secs_f64());
                let loaded = server.loaded.as_secs_f64();
                eprintln!("{} loaded in {loaded:.1} s, {} MB", peer.name(), resident >> 20);
                results.loads.push((peer, imported, loaded, resident));
                servers.push(server);
                Ok(())
            })
            .unwrap_or_else(|error| {
                eprintln!("{}: {error}", peer.name());
                results.failed.push((peer, error.to_string()));
            });
    }
    Ok(servers)
}

/// Runs `f` on any core: what it starts inherits that.
fn unpinned<T>(f: impl FnOnce() -> T) -> T {
    let _ = sys::unpin();
    let result = f();
    let _ = sys::pin(0, LOAD_CORE);
    result
}

/// Waits until a server has nearly stopped working by itself, 10 s at most.
fn settle(pid: u32) {
    for _ in 0..20 {
        let before = procfs::cpu(pid);
        std::thread::sleep(Duration::from_millis(500));
        if (procfs::cpu(pid) - before).total < Duration::from_millis(25) {
            return;
        }
    }
}

/// Octets by which the answers of this scenario are longer than its queries.
fn padding(cells: &BTreeMap<(&'static str, &'static str), Cell>, scenario: &Scenario) -> usize {
    let octets = |peer: Peer| {
        let cell = cells.get(&(peer.name(), scenario.name))?;
        (cell.wrong.is_none() && cell.octets > 0.0).then_some(cell.octets)
    };
    let answer = [Peer::Nameplane, Peer::Knot, Peer::Nsd].into_iter().find_map(octets);
    let query = octets(Peer::Echo).unwrap_or(0.0);
    (answer.unwrap_or(query) - query).max(0.0) as usize
}

/// One server asked for one turn.
fn turn(
    server: &Running,
    set: Set,
    scenario: &Scenario,
    questions: &mut Questions,
    time: Duration,
    counts: bool,
    cell: &mut Cell,
) -> io::Result<()> {
    let mut plan = Plan::saturate(server.address, time);
    let before = procfs::cpu(server.pid());
    let report = match scenario.how {
        How::Udp => load::run(&plan, questions)?,
        How::Low => {
            plan.rate = Some(LOW_RATE);
            load::run(&plan, questions)?
        }
        How::Tcp(how) => match tcp::run(&plan, questions, how) {
            Ok(report) => report,
            Err(error) => {
                cell.wrong = Some(error.to_string());
                return Ok(());
            }
        },
    };
    let spent = procfs::cpu(server.pid()) - before;
    cell.octets = report.octets as f64 / report.answered.max(1) as f64;
    let right = scenario.right(set, &report);
    if server.peer != Peer::Echo && right < 0.99 {
        cell.wrong = Some(format!("{:.1} % right, RCODEs {:?}", right * 100.0, report.rcodes));
    }
    if counts {
        let per_answer = |time: Duration| time.as_secs_f64() * 1e6 / report.answered.max(1) as f64;
        cell.total.push(per_answer(spent.total));
        cell.user.push(per_answer(spent.user()));
        cell.rate.push(report.rate());
        cell.p50.push(report.latency.quantile(0.5).as_secs_f64() * 1e6);
        cell.p99.push(report.latency.quantile(0.99).as_secs_f64() * 1e6);
        cell.lost += report.lost;
    }
    Ok(())
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The versions of the servers asked for, and the names of those that are not here.
pub fn versions(peers: &[Peer]) -> (Vec<(Peer, String)>, Vec<Peer>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for &peer in peers {
        match peer.version() {
            Some(version) => found.push((peer, version)),
            None => missing.push(peer),
        }
    }
    (found, missing)
}
