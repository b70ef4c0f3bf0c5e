//! Black-box and cross-room tests: one binary, so that they link once.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)]

mod boundaries;
mod http_routes;
mod server;
