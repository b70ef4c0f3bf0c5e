//! Transfers: whole zones and what changed of them, as conversations without a socket.
//!
//! A side of a conversation is a value that takes messages, or gives them; whoever has the socket
//! carries them ([RFC 5936], [RFC 1995]). [`condense`] makes one step out of several.
//!
//! Does not: know who may transfer, or where zones are kept. Signing is done by whoever sends (see
//! [`tsig`](crate::wire::tsig)).
//!
//! [RFC 5936]: https://www.rfc-editor.org/rfc/rfc5936
//! [RFC 1995]: https://www.rfc-editor.org/rfc/rfc1995

pub mod condense;
pub mod incoming;
pub mod members;
pub mod outgoing;
pub mod timers;

pub use condense::condense;
pub use outgoing::{Lost, Outgoing, Part, Question, Room, Source};
