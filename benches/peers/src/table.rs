//! The results as Markdown.

use std::fmt::Write as _;
use std::fs;

use crate::bench::{Cell, How, Options, Results, median};
use crate::peer::Peer;

/// The whole document.
pub fn write(
    options: &Options,
    versions: &[(Peer, String)],
    missing: &[Peer],
    all: &[Results],
) -> String {
    let mut out = String::from("# nameplane beside its peers\n\n");
    head(&mut out, options, versions, missing);
    for results in all {
        set(&mut out, results);
    }
    out
}

fn head(out: &mut String, options: &Options, versions: &[(Peer, String)], missing: &[Peer]) {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let named: Vec<String> =
        versions.iter().map(|(peer, version)| format!("{} {version}", peer.name())).collect();
    let _ = writeln!(out, "Machine: {}. Servers: {}.", machine(), named.join(", "));
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|peer| peer.name()).collect();
        let _ = writeln!(out, "Not on this machine: {}.", names.join(", "));
    }
    let _ = writeln!(
        out,
        "Medians of {} interleaved rounds of {:?}; one worker, server and load on a core each, over \
         loopback; load average {}.\n\nCommand: `benches/peers/run` (`peers {}`).\n\n\
         Figures are server CPU µs per right answer, the part outside the kernel in brackets.{}",
        options.rounds,
        options.turn,
        load_average(),
        command.join(" "),
        if options.divisor > 1 { " The sets are smaller than their names say." } else { "" }
    );
}

fn set(out: &mut String, results: &Results) {
    let data = &results.data;
    let _ = writeln!(
        out,
        "\n## {}: {}\n\n{} zones, {} records.\n",
        data.set.name(),
        data.set.describe(),
        data.zones,
        data.records
    );
    let columns: Vec<_> =
        results.scenarios.iter().filter(|scenario| scenario.how != How::Low).collect();
    let names: Vec<&str> = columns.iter().map(|scenario| scenario.name).collect();
    let _ = writeln!(
        out,
        "| server | {} | geometric mean, UDP |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len() + 1)
    );
    let mut notes = Vec::new();
    for line in lines(results) {
        let mut row = format!("| {line} |");
        for name in &names {
            let cell = results.cells.iter().find(|((l, s), _)| *l == line && s == name);
            let _ = write!(row, " {} |", figure(cell.map(|(_, cell)| cell)));
            if let Some(wrong) = cell.and_then(|(_, cell)| cell.wrong.as_ref()) {
                notes.push(format!("{line}, {name}: {wrong}"));
            }
        }
        let _ = writeln!(out, "{row} {} |", mean(results, line));
    }
    for note in notes {
        let _ = writeln!(out, "\nNot counted: {note}.");
    }
    for (peer, error) in &results.failed {
        let _ = writeln!(out, "\nNot measured: {} ({error}).", peer.name());
    }
    latency(out, results);
    loads(out, results);
}

/// The names of the rows, servers in their order.
fn lines(results: &Results) -> Vec<&'static str> {
    let order = Peer::ALL.map(Peer::name);
    let mut lines: Vec<&'static str> = results.cells.keys().map(|(line, _)| *line).collect();
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

/// Over the scenarios asked by UDP, if the server has a figure in each; and how often the echo's.
fn mean(results: &Results, line: &str) -> String {
    let of = |line: &str| {
        let asked: Vec<_> =
            results.scenarios.iter().filter(|scenario| scenario.how == How::Udp).collect();
        let mut sum = 0.0;
        for scenario in &asked {
            let mut cells = results.cells.iter();
            let (_, cell) = cells.find(|((l, s), _)| *l == line && *s == scenario.name)?;
            sum += Some(median(&cell.total)).filter(|_| cell.wrong.is_none())?.ln();
        }
        Some((sum / asked.len() as f64).exp())
    };
    let floor = of("echo, padded").or_else(|| of(Peer::Echo.name()));
    match (of(line), floor) {
        (Some(own), Some(floor)) => format!("{own:.2} = {:.2} × echo", own / floor),
        (Some(own), None) => format!("{own:.2}"),
        _ => "–".into(),
    }
}

fn latency(out: &mut String, results: &Results) {
    let low = results.scenarios.iter().find(|scenario| scenario.how == How::Low);
    let Some(low) = low else { return };
    let _ = writeln!(
        out,
        "\nLatency at 2 000 queries a second, µs, seen by the client:\n\n| server | p50 | p99 |\n|---|---|---|"
    );
    for line in lines(results) {
        let Some(cell) = results.cells.get(&(line, low.name)) else { continue };
        let _ = writeln!(out, "| {line} | {:.1} | {:.1} |", median(&cell.p50), median(&cell.p99));
    }
}

fn loads(out: &mut String, results: &Results) {
    let _ = writeln!(
        out,
        "\n| server | import s | start to serving s | resident MB | octets per record |\n|---|---|---|---|---|"
    );
    for (peer, imported, loaded, resident) in &results.loads {
        if *peer == Peer::Echo {
            continue;
        }
        let imported = imported.map_or("–".into(), |seconds| format!("{seconds:.1}"));
        let _ = writeln!(
            out,
            "| {} | {imported} | {loaded:.1} | {} | {:.0} |",
            peer.name(),
            resident >> 20,
            *resident as f64 / results.data.records.max(1) as f64
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

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
