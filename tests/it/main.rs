//! Black-box and cross-room tests: one binary, so that they link once.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)]

mod access;
mod allocations;
mod answer;
mod boundaries;
mod checklist;
mod clock;
mod commands;
mod commands_dns;
mod crash;
mod demo;
mod dnssec;
mod faulty_disk;
mod fuzz;
mod held;
mod http_api;
mod http_client;
mod http_examples;
mod http_guard;
mod http_routes;
mod http_tenants;
mod http_world;
mod interop;
mod line;
mod manual;
mod rdata;
mod secondaries;
mod server;
mod signing;
mod transports;
mod tsig;
mod updates;
mod watching;
mod zone_files;
mod zonemd;
