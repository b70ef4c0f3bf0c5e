//! The results as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::answers::{Cell, How, Load, PADDED, Results};
use crate::bench::{Options, median};
use crate::load::Sending;
use crate::peer::Peer;

/// What stands above all tables.
pub fn head(options: &Options, versions: &[(Peer, String)], missing: &[Peer]) -> String {
    let mut out = String::from("# nameplane beside its peers\n\n");
    let named: Vec<String> =
        versions.iter().map(|(peer, version)| format!("{} {version}", peer.name())).collect();
    let _ = writeln!(out, "Machine: {}. Servers: {}.", machine(), named.join(", "));
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|peer| peer.name()).collect();
        let _ = writeln!(out, "Not on this machine: {}.", names.join(", "));
    }
    let _ = writeln!(
        out,
        "\nServer and load on a core each, over loopback. Figures are server CPU µs per right answer, the \
         part outside the kernel in brackets, unless a table says otherwise; README.md says how they are \
         taken.{}",
        if options.divisor > 1 { " The sets are smaller than their names say." } else { "" }
    );
    out
}

/// The heading of a part, and when and how it was measured.
pub fn heading(title: &str, how: &str) -> String {
    // Where things stand on this machine says nothing on the next.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_place = |word: &String| word == "--dir" || word == "--out";
    let stays = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        !words.get(at).is_some_and(is_place) && !before.is_some_and(is_place)
    };
    let command: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(at, _)| stays(*at))
        .map(|(_, word)| word.as_str())
        .collect();
    let command = command.join(" ");
    let (when, load) = (now(), load_average());
    format!("\n## {title}\n\n{how} Measured {when}, load average {load}: `peers {command}`.\n")
}

/// All tables of one set.
pub fn answers(options: &Options, results: &Results) -> String {
    let data = &results.data;
    let how = format!(
        "{} zones, {} records. Medians of {} interleaved rounds of {:?}.",
        data.zones, data.records, results.rounds, options.turn
    );
    let mut out = heading(&format!("{}: {}", data.set.name(), data.set.describe()), &how);
    for &sending in &options.sendings {
        let what = match sending {
            Sending::Plain => {
                "UDP, plain `sendmmsg`: each query an skb of its own, as a network delivers"
            }
            Sending::Gso => {
                "UDP, queries sent with GSO: eight to an skb, cut at the server's socket"
            }
        };
        let floor = |at: &usize| results.scenarios[*at].how == How::Udp(sending);
        let columns: Vec<usize> = (0..results.scenarios.len()).filter(floor).collect();
        figures(&mut out, results, what, &columns, true);
    }
    let tcp = |at: &usize| matches!(results.scenarios[*at].how, How::Tcp(_));
    let columns: Vec<usize> = (0..results.scenarios.len()).filter(tcp).collect();
    if !columns.is_empty() {
        figures(&mut out, results, "TCP", &columns, false);
    }
    latency(&mut out, results);
    for ((line, at), cell) in &results.cells {
        if let Some(wrong) = &cell.wrong {
            let scenario = &results.scenarios[*at];
            let _ = writeln!(out, "\nNot counted: {line}, {} ({wrong}).", scenario.name);
        }
    }
    for (peer, error) in &results.failed {
        let _ = writeln!(out, "\nNot measured: {} ({error}).", peer.name());
    }
    loads(&mut out, &results.loads, data.records);
    out
}

/// One table of CPU times, servers down and scenarios across.
fn figures(out: &mut String, results: &Results, what: &str, columns: &[usize], mean: bool) {
    let names: Vec<&str> = columns.iter().map(|&at| results.scenarios[at].name).collect();
    let last = if mean { "geometric mean | busy |" } else { "busy |" };
    let _ = writeln!(
        out,
        "\n| {what} | {} | {last}\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len() + if mean { 2 } else { 1 })
    );
    for line in lines(results, columns) {
        let mut row = format!("| {line} |");
        for &at in columns {
            let _ = write!(row, " {} |", figure(results.cells.get(&(line, at))));
        }
        if mean {
            let _ = write!(row, " {} |", over_echo(results, line, columns));
        }
        let _ = writeln!(out, "{row} {} |", busy(results, line, columns));
    }
}

/// The rows that have something in one of the columns, servers in their order.
fn lines(results: &Results, columns: &[usize]) -> Vec<&'static str> {
    let order = Peer::ALL.map(Peer::name);
    let cells = results.cells.keys().filter(|(_, at)| columns.contains(at));
    let mut lines: Vec<&'static str> = cells.map(|(line, _)| *line).collect();
    lines.sort_by_key(|line| order.iter().position(|name| name == line).unwrap_or(0));
    lines.dedup();
    lines
}

fn figure(cell: Option<&Cell>) -> String {
    match cell {
        Some(cell) if cell.wrong.is_some() => "wrong".into(),
        Some(cell) if !cell.total.is_empty() => {
            let lost = if cell.lost > 0 { format!(", {} lost", cell.lost) } else { String::new() };
            format!("{:.2} ({:.2}){lost}", median(&cell.total), median(&cell.user))
        }
        _ => "–".into(),
    }
}

/// The geometric mean of a server that has a figure in every column, and how often the echo's, padded
/// where there is one.
fn over_echo(results: &Results, line: &str, columns: &[usize]) -> String {
    let of = |line: &str, at: usize| {
        let mut cells = results.cells.iter();
        let (_, cell) = cells.find(|((l, a), _)| *l == line && *a == at)?;
        Some(median(&cell.total)).filter(|figure| cell.wrong.is_none() && figure.is_finite())
    };
    let mean = |figure: &dyn Fn(usize) -> Option<f64>| {
        let figures: Option<Vec<f64>> = columns.iter().map(|&at| figure(at)).collect();
        Some((figures?.iter().map(|figure| figure.ln()).sum::<f64>() / columns.len() as f64).exp())
    };
    let floor = |at: usize| of(PADDED, at).or_else(|| of(Peer::Echo.name(), at));
    match (mean(&|at| of(line, at)), mean(&floor)) {
        (Some(own), Some(floor)) => format!("{own:.2} = {:.2} × echo", own / floor),
        (Some(own), None) => format!("{own:.2}"),
        _ => "–".into(),
    }
}

/// The share of its core a server was busy, over the columns.
fn busy(results: &Results, line: &str, columns: &[usize]) -> String {
    let cells = results.cells.iter().filter(|((l, at), _)| *l == line && columns.contains(at));
    let shares: Vec<f64> = cells.map(|(_, cell)| median(&cell.busy)).collect();
    match median(&shares) {
        share if share.is_finite() => format!("{:.0} %", share * 100.0),
        _ => "–".into(),
    }
}

fn latency(out: &mut String, results: &Results) {
    let low = results.scenarios.iter().position(|scenario| scenario.how == How::Low);
    let Some(low) = low else { return };
    let _ =
        writeln!(out, "\n| latency at 2 000 queries a second | p50 µs | p99 µs |\n|---|---|---|");
    for line in lines(results, &[low]) {
        let Some(cell) = results.cells.get(&(line, low)) else { continue };
        let _ = writeln!(out, "| {line} | {:.1} | {:.1} |", median(&cell.p50), median(&cell.p99));
    }
}

/// What starting took, server by server.
pub fn loads(out: &mut String, loads: &[Load], records: u64) {
    let _ = writeln!(
        out,
        "\n| loading | import s | start to serving s | both s | resident MB | octets per record | \
         of these the table of answers |\n|---|{}",
        "---|".repeat(6)
    );
    for load in loads.iter().filter(|load| load.peer != Peer::Echo) {
        let seconds =
            |time: Option<f64>| time.map_or("–".into(), |seconds| format!("{seconds:.1}"));
        let each = |octets: u64| format!("{:.0}", octets as f64 / records.max(1) as f64);
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | {:.1} | {} | {} | {} |",
            load.peer.name(),
            seconds(load.imported),
            load.loaded,
            load.loaded + load.imported.unwrap_or(0.0),
            load.resident >> 20,
            each(load.resident),
            load.table.map_or("–".into(), each)
        );
    }
}

/// Processor, cores and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}", model.unwrap_or("unknown CPU"), kernel.trim())
}

fn now() -> String {
    let said = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
