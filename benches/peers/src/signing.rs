//! Signing: a zone of 100 000 names from an unsigned file to a signed one, with P-256 and NSEC.
//!
//! The peers' tools sign files, with one thread. nameplane signs where it serves: its figures run from the
//! command that switches DNSSEC on to the first answer with a signature, commit to disk included, and are
//! of the server alone.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::answers::{self, unpinned};
use crate::bench::{Options, median};
use crate::dataset::{Dataset, SIGNED, Set, keys, succeed};
use crate::peer::{self, Peer, Wish};
use crate::sys::{self, Took};
use crate::{probe, procfs, table};

/// How long nameplane may take from the command to a signed answer.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);

/// What signs.
#[derive(Debug, Clone, Copy)]
enum Signer {
    Bind,
    Ldns,
    Knot,
}

impl Signer {
    const ALL: [Signer; 3] = [Signer::Bind, Signer::Ldns, Signer::Knot];

    fn name(self) -> &'static str {
        match self {
            Signer::Bind => "dnssec-signzone",
            Signer::Ldns => "ldns-signzone",
            Signer::Knot => "kzonesign",
        }
    }

    /// The command that signs `zone` into `dir` with the two keys there.
    fn command(self, dir: &Path, zone: &Path, keys: &[PathBuf]) -> io::Result<Command> {
        let mut command = Command::new(self.name());
        match self {
            Signer::Bind => {
                command.args(["-S", "-P", "-q", "-n", "1", "-x", "-o", SIGNED, "-K"]).arg(dir);
                command.arg("-d").arg(dir).arg("-f").arg(dir.join("signed")).arg(zone);
            }
            Signer::Ldns => {
                command.args(["-o", SIGNED, "-f"]).arg(dir.join("signed")).arg(zone).args(keys);
            }
            Signer::Knot => {
                let conf = dir.join("knot.conf");
                fs::write(&conf, knot_conf(dir, zone))?;
                command.arg("-c").arg(conf).arg("-o").arg(dir).arg(SIGNED);
            }
        }
        Ok(command)
    }
}

fn knot_conf(dir: &Path, zone: &Path) -> String {
    format!(
        "server:\n rundir: {0}\ndatabase:\n storage: {0}\npolicy:\n - id: p\n   \
         algorithm: ecdsap256sha256\n   signing-threads: 1\nzone:\n - domain: {SIGNED}\n   \
         file: {1}\n   dnssec-signing: on\n   dnssec-policy: p\n",
        dir.display(),
        zone.display()
    )
}

/// Measures and returns the table.
pub fn run(options: &Options) -> io::Result<String> {
    let data = Dataset::open(&options.dir, Set::Plain, options.divisor)?;
    let rounds = options.rounds.min(3);
    let how = format!(
        "{} records; medians of {rounds} rounds on a machine with nothing else to do, one thread each.",
        data.records
    );
    let mut out = table::heading("signing: one zone of 100 000 names, P-256, NSEC", &how);
    out.push_str("\n| signer | wall s | CPU s | CPU µs a record |\n|---|---|---|---|\n");
    let mut notes = Vec::new();
    match unpinned(|| nameplane(options, &data, rounds)) {
        Ok(row) => out.push_str(&row),
        Err(error) => notes.push(format!("nameplane: {error}")),
    }
    for signer in Signer::ALL {
        match unpinned(|| row(options, &data, signer, rounds)) {
            Ok(row) => out.push_str(&row),
            Err(error) => notes.push(format!("{}: {error}", signer.name())),
        }
    }
    for note in notes {
        let _ = writeln!(out, "\nNot measured: {note}.");
    }
    Ok(out)
}

fn row(options: &Options, data: &Dataset, signer: Signer, rounds: usize) -> io::Result<String> {
    let zone = data.dir.join("zones").join(SIGNED);
    let dir = options.dir.join(format!("run-{}", signer.name()));
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("signing, {}: round {round} of {rounds}", signer.name());
        // Anew each time: a signer that finds its own signatures keeps them.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let keys = keys(&dir, SIGNED)?;
        let took = sign(signer.command(&dir, &zone, &keys)?, &dir)?;
        wall.push(took.wall.as_secs_f64());
        cpu.push(took.cpu.as_secs_f64());
    }
    Ok(line(signer.name(), data, &wall, &cpu))
}

fn line(name: &str, data: &Dataset, wall: &[f64], cpu: &[f64]) -> String {
    let (wall, cpu) = (median(wall), median(cpu));
    let each = cpu * 1e6 / data.records.max(1) as f64;
    format!("| {name} | {wall:.2} | {cpu:.2} | {each:.1} |\n")
}

/// nameplane, from `dnssec on` to signed answers.
fn nameplane(options: &Options, data: &Dataset, rounds: usize) -> io::Result<String> {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("signing, nameplane: round {round} of {rounds}");
        let port = options.first_port + 600;
        let (server, _) = answers::start(options, data, Peer::Nameplane, port, Wish::default())?;
        procfs::unpin(server.pid())?;
        let store = server.store();
        let token = fs::read_to_string(store.join("operator.token"))?;
        let before = procfs::cpu(server.pid());
        let start = Instant::now();
        let mut on = Command::new(peer::nameplane());
        on.args(["dnssec", "on", SIGNED, "--token", token.trim(), "--server"]);
        succeed(on.arg(server.http.map(|http| format!("http://{http}")).unwrap_or_default()))?;
        while !probe::signed(server.address, SIGNED) {
            if start.elapsed() > SIGNED_WITHIN {
                return Err(io::Error::other("no signed answer in time"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        wall.push(start.elapsed().as_secs_f64());
        cpu.push((procfs::cpu(server.pid()) - before).total.as_secs_f64());
    }
    Ok(line(Peer::Nameplane.name(), data, &wall, &cpu))
}

fn sign(mut command: Command, dir: &Path) -> io::Result<Took> {
    let log = File::create(dir.join("out.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    sys::end_with_us(&mut command);
    let start = Instant::now();
    let child = command.spawn().map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
    })?;
    sys::measure(child, start)
}
