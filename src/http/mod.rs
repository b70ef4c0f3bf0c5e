//! What is spoken over HTTP: the API, its reference page, health, metrics, DNS over HTTPS.
//!
//! One table ([`routes`]) states of each route its method, path, permission, audit kind, handler and
//! description. The router, the OpenAPI document, the reference page and the test that sends the
//! wrong person to every route are read off it.
//!
//! Promises: a handler of the API is a plain function and runs on a blocking thread, started at one
//! place ([`call`]); every refusal is a [`problem`]; what a request brings is bounded in octets and in
//! time; nothing secret is logged.
//!
//! Does not: decide what people may do (see [`manage`](crate::manage)), nor speak TLS: whoever has a
//! decrypted stream hands it to [`Server::connection`].

mod call;
mod doh;
mod etag;
mod form;
mod guard;
mod in_process;
pub mod openapi;
mod plain;
pub mod problem;
mod rate;
mod reference;
mod refused;
mod rest;
pub mod routes;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::manage::Manage;
use crate::serve::talkers;

use rate::Rates;

pub use doh::{Answered, Resolve};
pub use in_process::InProcess;
pub use server::{Protocol, Server, serve};

/// What the server needs from the rest of the binary.
#[derive(Clone)]
pub struct State {
    /// What people may do.
    pub manage: Manage,
    /// Whether every zone answers; the text says what is still missing.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics of the whole process in the Prometheus text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Who asks most, counted while somebody looks.
    pub traffic: Traffic,
    /// The engine behind `/dns-query`; none leaves that route out.
    pub resolve: Option<Arc<dyn Resolve>>,
    /// What was answered where DNS over HTTPS listens; shared by all servers of one process.
    pub queries: Arc<Counts>,
    /// Names and limits.
    pub settings: Settings,
}

/// Looks at who asks most.
pub type Traffic = Arc<dyn Fn() -> talkers::Report + Send + Sync>;

/// Whether the server answers for everything it is meant to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// What is missing, or what is served: one line.
    pub text: String,
}

/// Names the server answers to, and its limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host names it answers for, besides `localhost` and every address. Other names are refused:
    /// a name in `Host` that nobody listed is how another site reaches in by DNS rebinding.
    pub hosts: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// Octets of a JSON body.
    pub body_octets_max: usize,
    /// Octets of a zone file in a body.
    pub zone_text_octets_max: usize,
    /// Octets of all bodies being worked on at once; more are told to come back.
    pub bodies_octets_max: usize,
    /// The same for bodies that are DNS messages, so that neither takes the other's.
    pub queries_octets_max: usize,
    /// Time for a request's head to arrive; a connection without a request is closed after it.
    pub head_time: Duration,
    /// Time for a request's body to arrive.
    pub body_time: Duration,
    /// Time without progress after which a connection is given up.
    pub idle_time: Duration,
    /// Time open requests get to end when the server stops.
    pub drain_time: Duration,
    /// Requests of the API being worked on at once; more are told to come back.
    pub requests_max: usize,
    /// Calls one token may make in a minute; 0 is without a limit. The operator's have none.
    pub token_requests_per_minute_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hosts: Vec::new(),
            connections_max: 1024,
            body_octets_max: 4 << 20,
            zone_text_octets_max: 64 << 20,
            bodies_octets_max: 256 << 20,
            queries_octets_max: 16 << 20,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(10),
            requests_max: 128,
            token_requests_per_minute_max: 6_000,
        }
    }
}

impl Settings {
    /// Whether `host`, a name or address with or without a port, is one of ours.
    fn answers_for(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => {
                return rest.split(']').next().is_some_and(|ip| ip.parse::<IpAddr>().is_ok());
            }
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

/// Whom a connection came from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What every request shares.
struct App {
    settings: Settings,
    manage: Manage,
    /// Places for requests of the API.
    places: Semaphore,
    /// Memory for bodies, in units of [`call::BODY_UNIT`].
    bodies: Semaphore,
    /// The same for bodies that are DNS messages.
    queries: Semaphore,
    rates: Rates,
    began: Instant,
    readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    traffic: Traffic,
    resolve: Option<Arc<dyn Resolve>>,
    /// Of this server.
    counts: Arc<Counts>,
    /// Of those where DNS over HTTPS listens.
    counts_of_queries: Arc<Counts>,
}

/// What `/metrics` says about HTTP itself.
#[derive(Debug, Default)]
pub struct Counts {
    by_class: [AtomicU64; 6],
    elapsed_us: AtomicU64,
}

impl Counts {
    fn count(&self, status: u16, elapsed_us: u64) {
        let class = usize::from(status / 100);
        if let Some(count) = self.by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.elapsed_us.fetch_add(elapsed_us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_listed_names_are_ours_and_no_others() {
        let settings = Settings { hosts: vec!["dns.example.net".into()], ..Settings::default() };
        for ours in ["127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:1", "dns.example.net."]
        {
            assert!(settings.answers_for(ours), "{ours}");
        }
        for other in ["evil.example", "localhost.evil.example:8080", "[evil]", "", "127.0.0.1.evil"]
        {
            assert!(!settings.answers_for(other), "{other}");
        }
    }
}
