//! The same zones and the same questions put to nameplane, NSD, Knot DNS, BIND and PowerDNS.
//!
//! Zones are those of `tests/interop/zones/`, made to be nasty, and of `zones-example/`. Questions are
//! generated from their owners ([`questions`]). Header, RCODE and the sections as sets must be the
//! same; where a peer's differ, a rule of [`rules`] must explain all of the difference, and stands
//! with its reason in `src/manual/rfc.md`.
//!
//! `INTEROP_PEERS=knot,nsd` compares with some only.

mod acme;
mod algorithms;
mod asking;
mod catalogs;
mod cookies;
mod downstream;
mod followers;
mod hostile;
mod inline;
pub mod message;
mod mutual;
mod peers;
mod primaries;
mod producers;
mod puppet;
pub mod questions;
mod relay;
mod rough;
mod rough_in;
mod rules;
mod together;
mod transfers;
mod updates;
mod yadifa;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use crate::server::{Server, nameplane};
use message::{Answer, rtype};
pub use peers::Zone;
use peers::{Peer, Running};
use questions::{Edns, Question};
use rules::Case;

/// How many kinds of unexplained differences are shown.
const SHOWN: usize = 40;

/// Goal: where nameplane answers unlike its peers, it does so on purpose.
/// Method: see the module; every answer over TCP, so that truncation is not what is compared.
#[test]
fn every_difference_from_a_peer_is_one_we_chose() {
    let zones = zones();
    let home = tempfile::tempdir().unwrap();
    let here = Peer::ALL.into_iter().filter(|peer| wanted(*peer) && peer.is_here());
    let running: Vec<(Peer, Running)> = here
        .map(|peer| {
            let dir = home.path().join(format!("{peer:?}"));
            fs::create_dir(&dir).unwrap();
            (peer, peer.start(&zones, &dir))
        })
        .collect();
    if running.is_empty() {
        return;
    }
    let server = serve(&zones, home.path());
    let questions: Vec<Question> = zones
        .iter()
        .flat_map(|(apex, path)| questions::questions(apex, &fs::read_to_string(path).unwrap()))
        .collect();
    println!("{} questions about {} zones", questions.len(), zones.len());

    let ours = ask(server.dns, &questions);
    let theirs: Vec<_> = thread::scope(|scope| {
        let ask = |address| {
            let questions = &questions;
            scope.spawn(move || peers::ask_all(address, questions))
        };
        let asking: Vec<_> = running.iter().map(|(_, running)| ask(running.address)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    let apexes: Vec<String> = zones.iter().map(|(apex, _)| apex.clone()).collect();
    let mut report = Report::default();
    for (question, ours) in questions.iter().zip(&ours) {
        assert_eq!(ours.question, question.section(), "{question}: the question changed");
    }
    for ((peer, _), theirs) in running.iter().zip(&theirs) {
        for ((question, ours), theirs) in questions.iter().zip(&ours).zip(theirs) {
            let case = Case { question, apexes: &apexes };
            report.compare(*peer, &case, ours, theirs.as_ref());
        }
    }
    println!("{}", report.explained());
    assert!(report.unexplained.is_empty(), "not explained:\n{}", report.rest());
    if running.len() == Peer::ALL.len() {
        let all =
            rules::RULES.iter().flat_map(|rule| rule.peers.iter().map(|peer| (rule.name, *peer)));
        let unused: Vec<_> = all.filter(|one| !report.used.contains_key(one)).collect();
        assert!(unused.is_empty(), "differences there are none of any more: {unused:?}");
    }
}

/// Goal: truncation never cuts inside an RRset, and the same question has the same answer by any way.
/// Method: what comes over UDP is compared with what comes over TCP, for sizes with EDNS and without.
#[test]
fn over_udp_an_answer_is_whole_or_says_that_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let zones = zones();
    let server = serve(&zones, home.path());
    for (apex, path) in &zones {
        let zone = fs::read_to_string(path).unwrap();
        let own = questions::questions(apex, &zone).into_iter().filter(|q| q.rtype != rtype::ANY);
        let mut questions: Vec<Question> = own.step_by(3).collect();
        let plain = questions.iter().filter(|question| !question.dnssec()).cloned();
        let without: Vec<_> = plain.map(|q| Question { edns: Edns::Without, ..q }).collect();
        questions.extend(without);
        for (question, whole) in questions.iter().zip(ask(server.dns, &questions)) {
            let (part, octets) = peers::ask_udp(server.dns, question).unwrap();
            let cap = if question.edns == Edns::Without { 512 } else { 1232 };
            assert!(octets <= cap, "{question}: {octets} octets");
            assert!(part.is_part_of(&whole), "{question}\n  UDP: {part}\n  TCP: {whole}");
        }
    }
}

/// A rule nobody can read about is a difference nobody chose: each stands in the manual, with the servers it holds
/// for, and nothing else does.
#[test]
fn every_rule_stands_in_the_manual_with_its_servers_and_its_reason() {
    let page = include_str!("../../../src/manual/rfc.md");
    let (_, table) = page.split_once("## Where other servers answer otherwise").unwrap();
    let cells = |line: &'static str| -> Vec<&str> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()
    };
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| `")).map(cells).collect();

    let rules: Vec<Vec<String>> = rules::RULES
        .iter()
        .map(|rule| {
            let names: Vec<&str> = rule.peers.iter().map(|peer| peer.name()).collect();
            let all = rule.peers.len() == Peer::ALL.len();
            vec![rule.name.to_owned(), if all { "all".to_owned() } else { names.join(", ") }]
        })
        .collect();
    let shown: Vec<Vec<&str>> = rows.iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(shown, rules);
    let told = |row: &&Vec<&str>| row.len() == 4 && row[2..].iter().all(|cell| cell.len() > 8);
    assert_eq!(rows.iter().filter(told).count(), rules.len(), "what they do, and why we do not");
}

/// The zones of both directories whose files are named for their apex.
pub fn zones() -> Vec<Zone> {
    let mut zones = Vec::new();
    for dir in ["tests/interop/zones", "zones-example"] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = fs::canonicalize(entry.unwrap().path()).unwrap();
            let file = path.file_name().unwrap().to_str().unwrap();
            // A file with $INCLUDE or $GENERATE has owners that its text does not show.
            let plain = |text: String| !text.contains("$INCLUDE") && !text.contains("$GENERATE");
            if let Some(apex) = file.strip_suffix(".zone")
                && plain(fs::read_to_string(&path).unwrap())
            {
                zones.push((apex.to_owned(), path.clone()));
            }
        }
    }
    zones.sort();
    zones
}

fn wanted(peer: Peer) -> bool {
    let name = format!("{peer:?}").to_lowercase();
    std::env::var("INTEROP_PEERS").map_or(true, |list| list.split(',').any(|word| word == name))
}

/// Brings the zones into a new data directory and serves it.
fn serve(zones: &[Zone], home: &Path) -> Server {
    Server::at(&import(zones, home), &[])
}

/// Serves a data directory with a settings file.
fn serve_with(data: &Path, home: &Path, settings: &str) -> Server {
    let config = home.join("server.toml");
    fs::write(&config, settings).unwrap();
    Server::at(data, &["--config", config.to_str().unwrap()])
}

/// Brings the zones into a new data directory.
pub fn import(zones: &[Zone], home: &Path) -> PathBuf {
    // Deeper ones first: a zone that comes behind a parent whose DS names no key of it is refused.
    let mut lists: BTreeMap<Reverse<usize>, String> = BTreeMap::new();
    for (apex, path) in zones {
        let list = lists.entry(Reverse(apex.split('.').count())).or_default();
        writeln!(list, "{apex} {}", path.display()).unwrap();
    }
    let data = home.join("data");
    for list in lists.values() {
        fs::write(home.join("zones.list"), list).unwrap();
        let import = nameplane()
            .args(["zone".as_ref(), "import".as_ref(), "--data-dir".as_ref(), data.as_os_str()])
            .args(["--list".as_ref(), home.join("zones.list").as_os_str()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    }
    data
}

/// Every question must have an answer of ours.
fn ask(server: SocketAddr, questions: &[Question]) -> Vec<Answer> {
    let answers = peers::ask_all(server, questions);
    let pair = |(answer, question): (Option<Answer>, &Question)| {
        answer.unwrap_or_else(|| panic!("{question}: no answer"))
    };
    answers.into_iter().zip(questions).map(pair).collect()
}

/// What came of comparing.
#[derive(Default)]
struct Report {
    same: BTreeMap<&'static str, usize>,
    /// By rule and peer.
    used: BTreeMap<(&'static str, Peer), usize>,
    /// By peer and kind of difference: how often, and the first of them.
    unexplained: BTreeMap<String, (usize, String)>,
}

impl Report {
    fn compare(&mut self, peer: Peer, case: &Case<'_>, ours: &Answer, theirs: Option<&Answer>) {
        let question = case.question;
        let Some(theirs) = theirs else {
            return self.complain(format!("{}: no answer", peer.name()), question.to_string());
        };
        match rules::explain(peer, case, ours, theirs) {
            Ok(rules) => {
                if rules.is_empty() {
                    *self.same.entry(peer.name()).or_default() += 1;
                }
                for rule in rules {
                    *self.used.entry((rule, peer)).or_default() += 1;
                }
            }
            Err(rest) => {
                let (ours, theirs) = *rest;
                let kind = format!("{}: {}", peer.name(), ours.difference(&theirs));
                let both = format!("{question}\n  ours:   {ours}\n  theirs: {theirs}");
                self.complain(kind, both);
            }
        }
    }

    fn complain(&mut self, kind: String, what: String) {
        self.unexplained.entry(kind).or_insert((0, what)).0 += 1;
    }

    fn explained(&self) -> String {
        format!("the same: {:?}; by rule: {:?}", self.same, self.used)
    }

    /// The most frequent kinds, each with its first case.
    fn rest(&self) -> String {
        let mut kinds: Vec<_> = self.unexplained.iter().collect();
        kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let show = |(kind, (count, first)): &(&String, &(usize, String))| {
            format!("{count} × {kind}\n  {first}\n")
        };
        kinds.iter().take(SHOWN).map(show).collect()
    }
}
