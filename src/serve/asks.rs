//! What is asked of others: NOTIFY, UPDATE, transfers.
//!
//! Those who know about durable zones implement [`Asks`]; the answer comes back as an RCODE or as
//! messages to send. Whoever asks does so from a thread that may wait.

use std::net::SocketAddr;

use super::acl::Pin;
use super::shared::Transport;
use crate::wire::{Name, Opcode, Query, Rcode, Serial};

/// What a message wants of somebody else.
pub struct Asked<'a> {
    /// As it came, header included.
    pub message: &'a [u8],
    /// The same, understood: the question is the zone ([RFC 1996](https://www.rfc-editor.org/rfc/rfc1996) §3.7, [RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §2.3).
    pub query: &'a Query,
    /// The question's name, as written.
    pub zone: Name,
    pub from: SocketAddr,
    /// The key it is signed with, if it is signed: checked, and known here.
    pub key: Option<Name>,
    /// What the certificate shows that it came with over TLS.
    pub pin: Option<Pin>,
    pub transport: Transport,
    /// Octets a message of the answer may have.
    pub room: usize,
    /// Octets of them that are kept free at its end.
    pub kept: usize,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// What its certificate shows, if TLS asked for one and it has one.
    pub pin: Option<Pin>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer { address, pin: None }
    }
}

/// Answers what the snapshot cannot. Each method may wait; none is called from a UDP worker.
pub trait Asks: Send + Sync + 'static {
    /// A primary says that a zone changed ([RFC 1996](https://www.rfc-editor.org/rfc/rfc1996)); `serial` is a hint.
    fn notify(&self, asked: &Asked<'_>, serial: Option<Serial>) -> Told;

    /// A dynamic update ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136)). Returns when it is durable or refused. `unsigned` says
    /// whether its address may update without a signature.
    fn update(&self, asked: &Asked<'_>, unsigned: bool) -> Told;

    /// Dynamic updates that came at the same time, each as [`Asks::update`]: what they cost together
    /// may be less than what each would cost.
    fn update_all(&self, asked: &[(Asked<'_>, bool)]) -> Vec<Told> {
        asked.iter().map(|(asked, unsigned)| self.update(asked, *unsigned)).collect()
    }

    /// A transfer of a zone ([RFC 5936](https://www.rfc-editor.org/rfc/rfc5936)), or of what changed since `since` ([RFC 1995](https://www.rfc-editor.org/rfc/rfc1995)).
    /// Whoever answers decides whether this address or key may.
    ///
    /// # Errors
    ///
    /// The RCODE to refuse it with.
    fn transfer(
        &self,
        asked: &Asked<'_>,
        since: Option<Serial>,
    ) -> Result<Box<dyn Messages>, Rcode>;
}

/// The messages of a transfer, made one at a time as fast as they are sent.
pub trait Messages: Send {
    /// Writes the next message over `out`, without its length; returns whether there was one.
    /// `now_s` is the time in seconds since 1970, modulo 2³².
    ///
    /// # Errors
    ///
    /// [`Broken`]: end the connection, so that the peer knows the transfer is not whole.
    fn next(&mut self, now_s: u32, out: &mut Vec<u8>) -> Result<bool, Broken>;
}

/// A transfer that cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Refuses everything: a server without durable zones.
pub struct Refuse;

impl Asks for Refuse {
    fn notify(&self, _: &Asked<'_>, _: Option<Serial>) -> Told {
        Rcode::NOTAUTH.into()
    }

    fn update(&self, _: &Asked<'_>, _: bool) -> Told {
        Rcode::REFUSED.into()
    }

    fn transfer(&self, _: &Asked<'_>, _: Option<Serial>) -> Result<Box<dyn Messages>, Rcode> {
        Err(Rcode::REFUSED)
    }
}

/// An RCODE, and for clients with EDNS why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub rcode: Rcode,
    /// A code of extended errors ([RFC 8914](https://www.rfc-editor.org/rfc/rfc8914)) and a text of at most a line.
    pub why: Option<(u16, String)>,
}

impl From<Rcode> for Told {
    fn from(rcode: Rcode) -> Told {
        Told { rcode, why: None }
    }
}

impl Told {
    /// An RCODE with its reason.
    pub fn why(rcode: Rcode, code: u16, text: impl Into<String>) -> Told {
        Told { rcode, why: Some((code, text.into())) }
    }
}

/// What came of asking.
pub enum Given {
    Told(Told),
    Messages(Box<dyn Messages>),
}

/// Puts a message that [`handle`](super::handle) could not answer to `asks`.
pub(super) fn ask(asks: &dyn Asks, asked: &Asked<'_>, unsigned: bool) -> Given {
    match asked.query.flags().opcode() {
        Opcode::NOTIFY => Given::Told(asks.notify(asked, serial_in(asked))),
        Opcode::UPDATE => Given::Told(asks.update(asked, unsigned)),
        _ => match asks.transfer(asked, serial_in(asked)) {
            Ok(messages) => Given::Messages(messages),
            Err(rcode) => Given::Told(rcode.into()),
        },
    }
}

/// The serial of the SOA behind the question: what a primary has now, or a secondary had last.
fn serial_in(asked: &Asked<'_>) -> Option<Serial> {
    use crate::wire::Type;
    use crate::wire::query::RecordAt;
    let header = asked.query.header;
    if header.answers == 0 && header.authorities == 0 {
        return None;
    }
    let record = RecordAt::read(asked.message, asked.query.question_end()).ok()?;
    // The names in front may be compressed; the five numbers stand last.
    let numbers_at = record.end.checked_sub(20).filter(|&at| at >= record.rdata_at + 2)?;
    let octets = asked.message.get(numbers_at..)?.first_chunk::<4>()?;
    (record.rtype == Type::SOA).then(|| Serial(u32::from_be_bytes(*octets)))
}
