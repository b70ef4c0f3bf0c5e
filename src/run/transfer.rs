//! Transfers out: what a peer asked for, read out of the store and cut into messages.

use crate::maintain::Maintain;
use crate::maintain::outgoing::{Form, Transfer};
use crate::serve::asks::{Asked, Broken};
use crate::serve::{Messages, Transport};
use crate::wire::{Rcode, Serial, Type};
use crate::xfr::{Lost, Outgoing, Part, Question, Room, Source};

/// The largest UDP message that peers of transfers are told to send.
const UDP_PAYLOAD: u16 = 1232;

/// The messages that answer `asked`, whose sender may transfer the zone.
pub(super) fn messages(
    maintain: &Maintain,
    asked: &Asked<'_>,
    since: Option<Serial>,
) -> Result<Box<dyn Messages>, Rcode> {
    let since = match asked.query.qtype {
        Type::IXFR => Some(since.ok_or(Rcode::FORMERR)?), // RFC 1995 §3
        _ => None,
    };
    let transfer = maintain.transfer(&asked.zone, since).map_err(|fault| {
        tracing::error!(zone = %asked.zone, "zone {} cannot be sent: {fault}", asked.zone);
        Rcode::SERVFAIL
    })?;
    let transfer = transfer.ok_or(Rcode::NOTAUTH)?; // RFC 5936 §2.2.1
    let question = Question::of(asked.query, asked.message, UDP_PAYLOAD);
    if asked.transport == Transport::Udp {
        return datagram(transfer, question, Room::of_datagram(asked.room, asked.kept));
    }
    tell(asked, &transfer);
    let room = Room::of_stream(asked.kept);
    let Transfer { zone, source, .. } = transfer;
    let (apex, peer) = (zone.apex.clone(), asked.from);
    Ok(Box::new(Stream { outgoing: Outgoing::new(question, zone.apex, source, room), apex, peer }))
}

/// All in one datagram, or a lone SOA that tells the peer to come by TCP ([RFC 1995](https://www.rfc-editor.org/rfc/rfc1995) §2).
fn datagram(
    transfer: Transfer,
    question: Question,
    room: Room,
) -> Result<Box<dyn Messages>, Rcode> {
    let Transfer { zone, form, soa, source } = transfer;
    let mut out = Vec::new();
    if !matches!(form, Form::Whole(_)) {
        let mut all = Outgoing::new(question.clone(), zone.apex.clone(), source, room);
        if all.next(&mut out) == Ok(true) && all.is_over() {
            return Ok(Box::new(Once(Some(out))));
        }
    }
    let mut only = Outgoing::new(question, zone.apex, Alone(Some(soa)), room);
    match only.next(&mut out) {
        Ok(true) => Ok(Box::new(Once(Some(out)))),
        _ => Err(Rcode::SERVFAIL),
    }
}

fn tell(asked: &Asked<'_>, transfer: &Transfer) {
    let (zone, peer, serial) = (&transfer.zone.apex, asked.from, transfer.zone.serial.0);
    match transfer.form {
        Form::Whole(None) => {
            tracing::info!(%zone, %peer, serial, "sending {zone} to {peer}: AXFR of serial {serial}");
        }
        Form::Whole(Some(reason)) => tracing::info!(
            %zone, %peer, serial, reason,
            "sending {zone} to {peer}: AXFR of serial {serial} in place of IXFR: {reason}"
        ),
        Form::Steps(steps) => tracing::info!(
            %zone, %peer, serial, steps,
            "sending {zone} to {peer}: IXFR of {steps} steps to serial {serial}"
        ),
        Form::Current => {
            tracing::debug!(%zone, %peer, serial, "{peer} has {zone} at serial {serial}");
        }
    }
}

/// One message.
struct Once(Option<Vec<u8>>);

impl Messages for Once {
    fn next(&mut self, _: u32, out: &mut Vec<u8>) -> Result<bool, Broken> {
        match self.0.take() {
            Some(message) => {
                *out = message;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// One part.
struct Alone(Option<Part>);

impl Source for Alone {
    fn part(&mut self) -> Result<Option<Part>, Lost> {
        Ok(self.0.take())
    }
}

/// Messages as long as there are some.
struct Stream {
    outgoing: Outgoing<Box<dyn Source>>,
    apex: crate::wire::Name,
    peer: std::net::SocketAddr,
}

impl Messages for Stream {
    fn next(&mut self, _: u32, out: &mut Vec<u8>) -> Result<bool, Broken> {
        self.outgoing.next(out).map_err(|Lost(why)| {
            let (zone, peer) = (&self.apex, self.peer);
            tracing::warn!(%zone, %peer, "transfer of {zone} to {peer} ended unfinished: {why}");
            Broken
        })
    }
}
