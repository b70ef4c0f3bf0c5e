//! nameplane: authoritative DNS and its management plane in one binary.
//!
//! The rooms, from the ground up; each names only rooms listed above it (a test enforces it).

pub mod manual;

// Tools: know nothing of zones, customers or each other.
pub mod config;
pub mod metrics;
pub mod seal;
pub mod store;
pub mod tap;
// Thinking: functions over octets and zones. No socket, no clock, no disk, no async.
pub mod answer;
pub mod serve;
pub mod sign;
pub mod wire;
pub mod xfr;
pub mod zone;
// Doing: sockets, timers, durable state.
pub mod maintain;
pub mod transport;
// People.
pub mod manage;
// Assembly: sees everything.
pub mod cli;
pub mod http;
pub mod run;
