//! Answers: every server with the same zones and the same questions, one asked at a time.
//!
//! Servers of one set are all started and then asked in turns, a round of all after a round of all,
//! so that what drifts on the machine drifts for everyone. A figure is the median over the rounds
//! of the CPU time the server's process family spent, divided by the answers that were right.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::bench::{LOAD_CORE, Options, SERVER_CORE};
use crate::dataset::{Dataset, Set};
use crate::load::{self, Plan, Report, Sending};
use crate::peer::{Peer, Running, Wish};
use crate::questions::{Questions, Spread};
use crate::tcp::{self, Use};
use crate::{probe, procfs, sys};

/// Queries a second of the latency figures: a server that has little to do.
const LOW_RATE: u32 = 2_000;

/// How a scenario asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Udp(Sending),
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
        Self { name, missing_percent, spread, dnssec, how: How::Udp(Sending::Plain) }
    }

    const fn hits(name: &'static str, how: How) -> Self {
        Self { name, missing_percent: 0, spread: Spread::Uniform, dnssec: false, how }
    }

    /// The scenarios of a set, those over UDP once for each way of sending.
    pub fn of(set: Set, sendings: &[Sending]) -> Vec<Scenario> {
        use Spread::{Uniform, Zipf};
        let over_udp = match set {
            Set::Hosting => vec![
                Self::udp("hits", 0, Uniform, false),
                Self::udp("nx", 100, Uniform, false),
                Self::udp("Zipf", 0, Zipf, false),
                Self::udp("mixed", 20, Zipf, false),
            ],
            Set::Big => vec![
                Self::udp("hits", 0, Uniform, false),
                Self::udp("nx", 100, Uniform, false),
                Self::udp("Zipf", 0, Zipf, false),
            ],
            Set::Tld => vec![
                Self::udp("referral", 0, Uniform, false),
                Self::udp("DO referral", 0, Uniform, true),
                Self::udp("nx", 100, Uniform, false),
            ],
            Set::Nsec | Set::Nsec3 => {
                vec![Self::udp("DO hits", 0, Uniform, true), Self::udp("DO nx", 100, Uniform, true)]
            }
            Set::Million | Set::Plain => {
                vec![Self::udp("hits", 0, Uniform, false), Self::udp("nx", 100, Uniform, false)]
            }
        };
        let sent = |&sending: &Sending| {
            over_udp.iter().map(move |scenario| Self { how: How::Udp(sending), ..*scenario })
        };
        let mut all: Vec<Scenario> = sendings.iter().flat_map(sent).collect();
        if set == Set::Hosting {
            all.push(Self::hits("one each", How::Tcp(Use::Once)));
            all.push(Self::hits("pipelined", How::Tcp(Use::Pipelined)));
            all.push(Self::hits("low load", How::Low));
        }
        all
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
    /// The share of its core the server was busy.
    pub busy: Vec<f64>,
    pub p50: Vec<f64>,
    pub p99: Vec<f64>,
    /// Octets of a mean answer.
    pub octets: f64,
    pub lost: u64,
    /// Why its figures do not count, if they do not.
    pub wrong: Option<String>,
}

/// What starting one server took.
pub struct Load {
    pub peer: Peer,
    /// Seconds to bring the zone files into its own store, if it has one.
    pub imported: Option<f64>,
    /// Seconds from the start of the process to the answers for all zones.
    pub loaded: f64,
    /// Resident octets after that.
    pub resident: u64,
    /// Octets of it that answers are made from, where the server says so.
    pub table: Option<u64>,
}

/// The row of an echo whose replies are as long as the answers.
pub const PADDED: &str = "echo, padded";

/// Everything measured on one set.
pub struct Results {
    pub data: Dataset,
    pub scenarios: Vec<Scenario>,
    /// By row and by position in `scenarios`.
    pub cells: BTreeMap<(&'static str, usize), Cell>,
    pub loads: Vec<Load>,
    /// Servers that did not start, and why.
    pub failed: Vec<(Peer, String)>,
    /// Rounds that count.
    pub rounds: usize,
}

/// Measures one set.
pub fn run(options: &Options, set: Set) -> io::Result<Results> {
    let data = Dataset::open(&options.dir, set, options.divisor)?;
    let (mut loads, mut failed) = (Vec::new(), Vec::new());
    let servers = start_all(options, &data, &mut loads, &mut failed);
    let scenarios = Scenario::of(set, &options.sendings);
    let mut results = Results { data, scenarios, cells: BTreeMap::new(), loads, failed, rounds: 0 };
    let mut questions = Vec::new();
    for scenario in &results.scenarios {
        let (hits, apexes) = (results.data.hits(), results.data.apexes());
        let read = Questions::read(&hits, &apexes, scenario.missing_percent, scenario.spread)?;
        questions.push(read.dnssec(scenario.dnssec));
    }
    let mut asker = Asker { seed: 0, turn: options.turn, padded: BTreeMap::new() };
    let begun = Instant::now();
    for round in 0..=options.rounds {
        for (at, questions) in questions.iter_mut().enumerate() {
            let scenario = results.scenarios[at];
            eprintln!("{} {}: round {round} of {}", set.name(), scenario.name, options.rounds);
            asker.ask_all(&servers, &mut results, at, questions, round)?;
            if round == 0 && matches!(scenario.how, How::Udp(_)) {
                asker.pad(options, &results, at)?;
            }
        }
        results.rounds = round;
        if round > 0 && begun.elapsed() > options.limit {
            eprintln!("{}: its time is used up after {round} rounds", set.name());
            break;
        }
    }
    Ok(results)
}

/// Asks servers in turns, and keeps the echoes that were made for a scenario's answers.
struct Asker {
    seed: u64,
    turn: Duration,
    padded: BTreeMap<usize, Running>,
}

impl Asker {
    /// One turn of every server in one scenario; round 0 warms caches up, and shows who answers right.
    fn ask_all(
        &mut self,
        servers: &[Running],
        results: &mut Results,
        at: usize,
        questions: &mut Questions,
        round: usize,
    ) -> io::Result<()> {
        let scenario = results.scenarios[at];
        let time = if round == 0 { self.turn / 2 } else { self.turn };
        let padded = self.padded.get(&at);
        for server in servers.iter().chain(padded) {
            if server.peer == Peer::Echo && matches!(scenario.how, How::Tcp(_)) {
                continue;
            }
            self.seed += 1;
            questions.seed(self.seed);
            // A padded echo is a line of its own: the floor for answers of that size.
            let own = padded.is_some_and(|echo| echo.pid() == server.pid());
            let line = if own { PADDED } else { server.peer.name() };
            let set = results.data.set;
            let cell = results.cells.entry((line, at)).or_default();
            turn(server, set, &scenario, questions, time, round > 0, cell)?;
        }
        Ok(())
    }

    /// Starts an echo for a scenario whose answers are so much longer than queries that it shows.
    fn pad(&mut self, options: &Options, results: &Results, at: usize) -> io::Result<()> {
        let pad = padding(&results.cells, at);
        if pad < PADDING_SHOWS {
            return Ok(());
        }
        let port = options.first_port + 100 + at as u16;
        let dir = options.dir.join("run-echo-padded");
        let wish = Wish { pad, ..Wish::default() };
        let echo = Running::start(Peer::Echo, &results.data, &dir, port, wish)?;
        procfs::pin(echo.pid(), SERVER_CORE)?;
        self.padded.insert(at, echo);
        Ok(())
    }
}

/// Octets from which on the length of replies costs an echo a percent or more.
const PADDING_SHOWS: usize = 100;

/// Starts the servers one after the other, each with the machine to itself while it loads.
fn start_all(
    options: &Options,
    data: &Dataset,
    loads: &mut Vec<Load>,
    failed: &mut Vec<(Peer, String)>,
) -> Vec<Running> {
    let mut servers = Vec::new();
    for (i, &peer) in options.peers.iter().enumerate() {
        if !peer.serves(data.set) {
            continue;
        }
        let port = options.first_port + i as u16;
        match start(options, data, peer, port, Wish::default()) {
            Ok((server, load)) => {
                loads.push(load);
                servers.push(server);
            }
            Err(error) => {
                eprintln!("{}: {error}", peer.name());
                failed.push((peer, error.to_string()));
            }
        }
    }
    servers
}

/// Starts one server on all cores, lets it come to rest and binds it to its core.
pub fn start(
    options: &Options,
    data: &Dataset,
    peer: Peer,
    port: u16,
    wish: Wish,
) -> io::Result<(Running, Load)> {
    let dir = options.dir.join(format!("run-{}-{}", peer.name(), wish.workers));
    let wish = Wish { loaded_within: options.load_limit, ..wish };
    let server = unpinned(|| Running::start(peer, data, &dir, port, wish))?;
    // Let work that goes on behind the first answers come to its end.
    settle(server.pid());
    let resident = procfs::resident(server.pid());
    procfs::pin(server.pid(), SERVER_CORE)?;
    let imported = server.imported.map(|time| time.as_secs_f64());
    let loaded = server.loaded.as_secs_f64();
    let table = server.http.and_then(|http| probe::gauge(http, "nameplane_table_bytes"));
    eprintln!("{} loaded in {loaded:.1} s, {} MB", peer.name(), resident >> 20);
    Ok((server, Load { peer, imported, loaded, resident, table }))
}

/// Starts servers one after the other, open to transfers and updates, and puts what `row` makes of each
/// behind `out`; who could not be measured is named.
pub fn one_by_one(
    options: &Options,
    data: &Dataset,
    peers: &[Peer],
    first_port: u16,
    out: &mut String,
    row: impl Fn(&Running) -> io::Result<String>,
) {
    let mut notes = String::new();
    for (peer, port) in options.peers_of(peers).into_iter().zip(first_port..) {
        let wish = Wish { open: true, ..Wish::default() };
        let row = start(options, data, peer, port, wish).and_then(|(server, _)| row(&server));
        match row {
            Ok(row) => out.push_str(&row),
            Err(error) => notes.push_str(&format!("\nNot measured: {}: {error}.\n", peer.name())),
        }
    }
    out.push_str(&notes);
}

/// Runs `f` on any core: what it starts inherits that.
pub fn unpinned<T>(f: impl FnOnce() -> T) -> T {
    let _ = sys::unpin(0);
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
fn padding(cells: &BTreeMap<(&'static str, usize), Cell>, at: usize) -> usize {
    let octets = |peer: Peer| {
        let cell = cells.get(&(peer.name(), at))?;
        (cell.wrong.is_none() && cell.octets > 0.0).then_some(cell.octets)
    };
    let answer = [Peer::Nameplane, Peer::Knot, Peer::Nsd].into_iter().find_map(octets);
    let query = octets(Peer::Echo);
    answer.zip(query).map_or(0, |(answer, query)| (answer - query).max(0.0) as usize)
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
    let plan = Plan::saturate(server.address, time);
    let before = procfs::cpu(server.pid());
    let report = match scenario.how {
        How::Udp(sending) => load::run(&Plan { sending, ..plan }, questions)?,
        How::Low => load::run(&Plan::trickle(server.address, time, LOW_RATE), questions)?,
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
    if server.peer != Peer::Echo && (right < 0.99 || report.answered == 0) {
        cell.wrong = Some(format!("{:.1} % right, RCODEs {:?}", right * 100.0, report.rcodes));
    }
    if counts {
        let per_answer = |time: Duration| time.as_secs_f64() * 1e6 / report.answered.max(1) as f64;
        cell.total.push(per_answer(spent.total));
        cell.user.push(per_answer(spent.user()));
        cell.busy.push(spent.total.as_secs_f64() / report.elapsed.as_secs_f64());
        cell.p50.push(report.latency.quantile(0.5).as_secs_f64() * 1e6);
        cell.p99.push(report.latency.quantile(0.99).as_secs_f64() * 1e6);
        cell.lost += report.lost;
    }
    Ok(())
}
