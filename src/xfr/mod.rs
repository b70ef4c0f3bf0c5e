//! Transfers: whole zones and what changed of them, as conversations without a socket.
//!
//! A side of a conversation is a value that takes messages, or gives them; whoever has the socket
//! carries them ([RFC 5936], [RFC 1995]).
//!
//! [RFC 5936]: https://www.rfc-editor.org/rfc/rfc5936
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

pub mod incoming;
pub mod timers;
