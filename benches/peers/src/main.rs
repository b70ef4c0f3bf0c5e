//! nameplane beside its peers: zones, questions, load, and the table that comes of it.
//!
//! `peers run` is the whole; `gen`, `load` and `echo` are its parts for use by hand. Everything
//! happens on loopback. See `README.md` beside `Cargo.toml`.

mod answers;
mod bench;
mod churn;
mod dataset;
mod echo;
mod follow;
mod ixfr;
mod load;
mod peer;
mod probe;
mod procfs;
mod questions;
mod signing;
mod sys;
mod table;
mod tcp;
mod transfer;
mod update;
mod workers;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bench::{Options, Part};
use dataset::{Dataset, Set};
use load::{Plan, Report, Sending};
use peer::Peer;
use questions::{Questions, Spread};
use tcp::Use;

const USAGE: &str = "usage:
  peers run  [--quick | --gate] [--resume] [--dir DIR] [--out FILE]
             [--sets hosting,big,nsec,nsec3,tld,million,workers,churn,transfer,ixfr,update,follow,signing]
             [--peers echo,nameplane,gdnsd,yadifa,nsd,knot,bind,pdns-bind,pdns-lmdb]
             [--sending plain,gso] [--rounds N] [--seconds S] [--limit S] [--load-limit S]
             [--divisor N] [--port FIRST]
  peers gen  --dir DIR [--sets …] [--divisor N]
  peers load --server ADDR:PORT --hits FILE [--apexes FILE] [--missing PERCENT] [--zipf] [--do]
             [--seconds S] [--count N] [--window N] [--flows N] [--sending plain|gso] [--rate QPS]
             [--tcp once|pipelined]
  peers echo --listen ADDR:PORT [--pad OCTETS] [--workers N]
The environment's NAMEPLANE names the server under test; otherwise it is looked for in PATH.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let done = Args::parse(words).and_then(|args| match verb.as_str() {
        "run" => run(&args),
        "gen" => generate(&args),
        "load" => ask(&args),
        "echo" => {
            Ok(echo::serve(args.need("listen")?, args.get("pad", 0)?, args.get("workers", 1)?)?)
        }
        _ => Err(Fault::Usage(format!("no such verb: {verb:?}"))),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Usage(what)) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Fault::Io(error)) => {
            eprintln!("peers {verb}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why nothing came of it.
enum Fault {
    Usage(String),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

/// `--word value` pairs; a word without a value stands for itself.
struct Args(BTreeMap<String, String>);

impl Args {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut words = words.peekable();
        let mut args = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(Fault::Usage(format!("not an option: {word}")));
            };
            let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            args.insert(name.to_owned(), value);
        }
        Ok(Self(args))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, Fault> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.parse().map_err(|_| Fault::Usage(format!("--{name} {text}: not understood")))
    }

    fn need<T: FromStr>(&self, name: &str) -> Result<T, Fault> {
        let text = self.0.get(name).ok_or_else(|| Fault::Usage(format!("--{name} is missing")))?;
        text.parse().map_err(|_| Fault::Usage(format!("--{name} {text}: not understood")))
    }

    /// A list of words, each known to `parse`.
    fn list<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        default: Vec<T>,
    ) -> Result<Vec<T>, Fault> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.split(',')
            .map(|word| parse(word).ok_or_else(|| Fault::Usage(format!("--{name}: no {word}"))))
            .collect()
    }
}

/// What stands where nothing else is asked for.
struct Preset {
    parts: Vec<Part>,
    sendings: Vec<Sending>,
    rounds: usize,
    seconds: f64,
    limit: f64,
    load_limit: f64,
    divisor: usize,
}

impl Preset {
    fn of(args: &Args) -> Preset {
        let answers = |part: &Part| matches!(part, Part::Answers(set) if *set != Set::Million);
        let gate: Vec<Part> = Part::ALL.into_iter().filter(answers).collect();
        let all = Preset {
            // A million zones need their own time, and more memory than most machines have to spare.
            parts: Part::ALL.into_iter().filter(|p| *p != Part::Answers(Set::Million)).collect(),
            sendings: vec![Sending::Plain, Sending::Gso],
            rounds: 5,
            seconds: 0.5,
            limit: 600.0,
            load_limit: 300.0,
            divisor: 1,
        };
        if args.has("quick") {
            let parts = vec![Part::Answers(Set::Hosting)];
            let (limit, load_limit) = (90.0, 30.0);
            Preset { parts, rounds: 3, seconds: 0.3, limit, load_limit, divisor: 20, ..all }
        } else if args.has("gate") {
            let sendings = vec![Sending::Plain];
            let (limit, load_limit) = (120.0, 60.0);
            Preset { parts: gate, sendings, seconds: 0.4, limit, load_limit, ..all }
        } else {
            all
        }
    }
}

fn run(args: &Args) -> Result<(), Fault> {
    let preset = Preset::of(args);
    let peer = |word: &str| Peer::ALL.into_iter().find(|peer| peer.name() == word);
    let seconds = |name, preset| args.get(name, preset).map(Duration::from_secs_f64);
    let options = Options {
        dir: args.need("dir")?,
        parts: args.list("sets", Part::parse, preset.parts)?,
        peers: args.list("peers", peer, Peer::ALL.into())?,
        sendings: args.list("sending", Sending::parse, preset.sendings)?,
        rounds: args.get("rounds", preset.rounds)?,
        turn: seconds("seconds", preset.seconds)?,
        limit: seconds("limit", preset.limit)?,
        load_limit: seconds("load-limit", preset.load_limit)?,
        divisor: args.get("divisor", preset.divisor)?,
        first_port: args.get("port", 18_300)?,
        resume: args.has("resume"),
    };
    sys::lift_file_limit();
    let (found, missing) = bench::versions(&options.peers);
    let options = Options { peers: found.iter().map(|(peer, _)| *peer).collect(), ..options };
    let head = table::head(&options, &found, &missing);
    let out = args.0.get("out").map(PathBuf::from);
    Ok(bench::run(&options, &head, out.as_deref())?)
}

fn generate(args: &Args) -> Result<(), Fault> {
    let dir: PathBuf = args.need("dir")?;
    for set in args.list("sets", Set::parse, Set::ALL.into())? {
        let data = Dataset::open(&dir, set, args.get("divisor", 1)?)?;
        println!("{}: {} zones, {} records", data.dir.display(), data.zones, data.records);
    }
    Ok(())
}

fn ask(args: &Args) -> Result<(), Fault> {
    let hits: PathBuf = args.get("hits", PathBuf::new())?;
    let apexes: PathBuf = args.get("apexes", PathBuf::new())?;
    let spread = if args.has("zipf") { Spread::Zipf } else { Spread::Uniform };
    let questions = Questions::read(&hits, &apexes, args.get("missing", 0)?, spread)?;
    let mut questions = questions.dnssec(args.has("do"));
    let seconds = Duration::from_secs_f64(args.get("seconds", 2.0)?);
    let mut plan = Plan::saturate(args.need("server")?, seconds);
    plan.window = args.get("window", plan.window)?;
    plan.flows = args.get("flows", plan.flows)?;
    if let Some(word) = args.0.get("sending") {
        plan.sending = Sending::parse(word)
            .ok_or_else(|| Fault::Usage(format!("--sending {word}: plain or gso")))?;
    }
    plan.count = args.get("count", plan.count)?;
    plan.rate = args.has("rate").then(|| args.need("rate")).transpose()?;
    sys::pin(0, args.get("core", bench::LOAD_CORE)?)?;
    let report = match args.0.get("tcp").map(String::as_str) {
        None => load::run(&plan, &mut questions)?,
        Some("once") => tcp::run(&plan, &mut questions, Use::Once)?,
        Some("pipelined") => tcp::run(&plan, &mut questions, Use::Pipelined)?,
        Some(other) => return Err(Fault::Usage(format!("--tcp {other}: once or pipelined"))),
    };
    println!("{}", line(&report));
    Ok(())
}

/// A report on one line.
fn line(report: &Report) -> String {
    format!(
        "answered {} of {} ({} lost, {} stray, {} truncated, {} with records), {:.0} a second, \
         p50 {:?}, p99 {:?}, RCODEs {:?}",
        report.answered,
        report.asked,
        report.lost,
        report.stray,
        report.truncated,
        report.with_answer,
        report.rate(),
        report.latency.quantile(0.5),
        report.latency.quantile(0.99),
        report.rcodes
    )
}
