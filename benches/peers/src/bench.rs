//! The run: parts one after the other, each with a table of its own that is kept until it is measured anew.
//!
//! A part's table is written when the part has come to its end, and the document is put together from all
//! tables there are. A run that was broken off goes on where it was with `--resume`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::dataset::Set;
use crate::load::Sending;
use crate::peer::Peer;
use crate::{answers, churn, follow, ixfr, signing, sys, table, transfer, update, workers};

/// The core of the servers, and that of the load.
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Answers on one set of zones, and what it takes to load it.
    Answers(Set),
    /// Two workers beside one.
    Workers,
    /// Answers while zones change.
    Churn,
    /// Dynamic updates.
    Update,
    /// Zone transfers out.
    Transfer,
    /// Single changes, fetched by secondaries.
    Ixfr,
    /// Zones that follow a primary.
    Follow,
    /// Signing a whole zone.
    Signing,
}

impl Part {
    /// All, in the order of the document.
    pub const ALL: [Part; 13] = [
        Part::Answers(Set::Hosting),
        Part::Answers(Set::Big),
        Part::Answers(Set::Nsec),
        Part::Answers(Set::Nsec3),
        Part::Answers(Set::Tld),
        Part::Answers(Set::Million),
        Part::Workers,
        Part::Churn,
        Part::Transfer,
        Part::Ixfr,
        Part::Update,
        Part::Follow,
        Part::Signing,
    ];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Part::Answers(set) => set.name(),
            Part::Workers => "workers",
            Part::Churn => "churn",
            Part::Update => "update",
            Part::Transfer => "transfer",
            Part::Ixfr => "ixfr",
            Part::Follow => "follow",
            Part::Signing => "signing",
        }
    }

    pub fn parse(word: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.name() == word)
    }

    fn run(self, options: &Options) -> io::Result<String> {
        match self {
            Part::Answers(set) => Ok(table::answers(options, &answers::run(options, set)?)),
            Part::Workers => workers::run(options),
            Part::Churn => churn::run(options),
            Part::Update => update::run(options),
            Part::Transfer => transfer::run(options),
            Part::Ixfr => ixfr::run(options),
            Part::Follow => follow::run(options),
            Part::Signing => signing::run(options),
        }
    }
}

/// What `peers run` was asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where zones and the servers' files are kept.
    pub dir: PathBuf,
    pub parts: Vec<Part>,
    pub peers: Vec<Peer>,
    pub sendings: Vec<Sending>,
    pub rounds: usize,
    pub turn: Duration,
    /// A part begins no further round when it has asked for so long.
    pub limit: Duration,
    /// How long a server may take to answer for all its zones.
    pub load_limit: Duration,
    /// Makes every set this much smaller, to try the runner itself.
    pub divisor: usize,
    pub first_port: u16,
    /// Whether parts that have a table are left as they are.
    pub resume: bool,
}

impl Options {
    /// The peers asked for out of those a part knows how to measure.
    pub fn peers_of(&self, known: &[Peer]) -> Vec<Peer> {
        self.peers.iter().copied().filter(|peer| known.contains(peer)).collect()
    }
}

/// Measures every part, and writes the document to `out` after each.
pub fn run(options: &Options, head: &str, out: Option<&Path>) -> io::Result<()> {
    sys::pin(0, LOAD_CORE)?;
    // A smaller run's tables are not mistaken for those of the real one.
    let tables = options.dir.join(format!("tables-{}", options.divisor));
    fs::create_dir_all(&tables)?;
    let file = |part: Part| tables.join(format!("{}.md", part.name()));
    let mut failed = Vec::new();
    for &part in &options.parts {
        if options.resume && file(part).exists() {
            eprintln!("{}: measured before", part.name());
            continue;
        }
        let begun = Instant::now();
        match part.run(options) {
            Ok(text) => {
                fs::write(file(part), text)?;
                tidy(&options.dir)?;
            }
            Err(error) => failed.push(format!("{}: {error}", part.name())),
        }
        eprintln!("{}: {:.0} s", part.name(), begun.elapsed().as_secs_f64());
        let done: Vec<Part> = match out {
            Some(_) => Part::ALL.into_iter().filter(|&part| file(part).exists()).collect(),
            None => vec![part],
        };
        let parts = done.into_iter().filter_map(|part| fs::read_to_string(file(part)).ok());
        let text = format!("{head}{}", parts.collect::<String>());
        match out {
            Some(path) => fs::write(path, text)?,
            None => print!("{text}"),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(failed.join("; "))),
    }
}

/// Takes away what servers left behind: a million zones in a store of their own are gigabytes.
fn tidy(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("run-") {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure not passed by `share` of all, between two where it falls between them.
pub fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().saturating_sub(1) as f64;
    match (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize)) {
        (Some(low), Some(high)) => low + (high - low) * at.fract(),
        _ => f64::NAN,
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
