//! The command line: one verb a noun, the same code as the API behind it.
//!
//! A command about people, orders or single zones is a request to the API: of a running server with
//! `--server`, or of the routes themselves, in this process, over a data directory nobody else holds.
//! So a rule holds in both, and a listing looks the same.
//!
//! Exit status: 0 done; 1 refused or failed, with the reason on standard error; 2 wrong usage.

mod access;
mod api;
mod args;
mod args_dns;
mod catalog;
mod claims;
mod dnssec;
mod import;
mod people;
mod primaries;
mod print;
mod pull;
mod secondary;
mod store;
mod top;
mod tsig;
mod zone;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::{Args, Check, Command};

/// Runs the command the arguments name.
pub fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            print::complain(&error.to_string());
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// What ends a command early: a sentence for the person at the terminal.
type Failure = Box<dyn std::error::Error>;

/// Arguments that only together, or only when read closely, make no sense.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn usage(what: impl Into<String>) -> Failure {
    Box::new(Usage(what.into()))
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(serve) => crate::run::serve(serve.into_options()?),
        Command::Zone(zone) => zone::run(zone),
        Command::Org(org) => people::org(org),
        Command::User(user) => people::user(user),
        Command::Token(token) => people::token(token),
        Command::Tsig(tsig) => tsig::tsig(tsig),
        Command::Order(order) => people::order(order),
        Command::Dnssec(dnssec) => dnssec::run(dnssec),
        Command::Catalog(catalog) => catalog::run(catalog),
        Command::Secondary(secondary) => secondary::run(secondary),
        Command::Store(store) => store::run(store),
        Command::Check(Check::Config { file }) => check_config(&file),
        Command::Top { server, token, interval_s } => {
            top::run(&server, token.as_deref(), Duration::from_secs(interval_s))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check_config(file: &Path) -> Result<ExitCode, Failure> {
    let config = args::read_config(file)?;
    crate::run::check(&config).map_err(|why| {
        let lines = why.to_string();
        let lines: Vec<String> =
            lines.lines().map(|line| format!("{}: {line}", file.display())).collect();
        lines.join("\n")
    })?;
    print::line(&format!("{}: no faults", file.display()));
    Ok(ExitCode::SUCCESS)
}
