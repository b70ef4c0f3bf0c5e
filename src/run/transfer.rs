//! Transfers out: what a peer asked for, read out of the store and cut into messages.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config;
use crate::maintain::Maintain;
use crate::maintain::outgoing::{Form, Transfer};
use crate::metrics::{self, Registry};
use crate::serve::asks::{Asked, Broken};
use crate::serve::{Messages, Transport};
use crate::wire::{Name, Rcode, Serial, Type};
use crate::xfr::{Lost, Outgoing, Part, Question, Room, Source};

/// The largest UDP message that peers of transfers are told to send.
const UDP_PAYLOAD: u16 = 1232;

/// The messages that answer `asked`, whose sender may transfer the zone.
pub(super) fn messages(
    maintain: &Maintain,
    asked: &Asked<'_>,
    since: Option<Serial>,
    place: Place,
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
        let room = Room::of_datagram(asked.room, asked.kept);
        return datagram(transfer, question, room, &place.places.tally);
    }
    tell(asked, &transfer);
    let room = Room::of_stream(asked.kept);
    let Transfer { zone, form, source, .. } = transfer;
    let (apex, peer) = (zone.apex.clone(), asked.from);
    let outgoing = Outgoing::new(question, zone.apex, source, room);
    Ok(Box::new(Stream { outgoing, apex, peer, place, end: End::of(form), over: false }))
}

/// All in one datagram, or a lone SOA that tells the peer to come by TCP ([RFC 1995](https://www.rfc-editor.org/rfc/rfc1995) §2).
fn datagram(
    transfer: Transfer,
    question: Question,
    room: Room,
    tally: &Tally,
) -> Result<Box<dyn Messages>, Rcode> {
    let Transfer { zone, form, soa, source } = transfer;
    let mut out = Vec::new();
    if !matches!(form, Form::Whole(_)) {
        let mut all = Outgoing::new(question.clone(), zone.apex.clone(), source, room);
        if all.next(&mut out) == Ok(true) && all.is_over() {
            tally.count(End::of(form), out.len());
            return Ok(Box::new(Once(Some(out))));
        }
    }
    let mut only = Outgoing::new(question, zone.apex, Alone(Some(soa)), room);
    match only.next(&mut out) {
        Ok(true) => {
            tally.count(End::SentToTcp, out.len());
            Ok(Box::new(Once(Some(out))))
        }
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
    apex: Name,
    peer: SocketAddr,
    place: Place,
    /// What it is counted as once all is sent.
    end: End,
    over: bool,
}

impl Messages for Stream {
    fn next(&mut self, _: u32, out: &mut Vec<u8>) -> Result<bool, Broken> {
        let next = match self.place.is_late() {
            true => Err(Lost("it took too long".into())),
            false => self.outgoing.next(out),
        };
        let tally = &self.place.places.tally;
        match next {
            Ok(true) => tally.add_octets(out.len()),
            Ok(false) if !std::mem::replace(&mut self.over, true) => tally.count(self.end, 0),
            Ok(false) | Err(_) => {}
        }
        next.map_err(|Lost(why)| {
            let (zone, peer) = (&self.apex, self.peer);
            tracing::warn!(%zone, %peer, "transfer of {zone} to {peer} ended unfinished: {why}");
            Broken
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.over {
            self.place.places.tally.count(End::Unfinished, 0);
        }
    }
}

/// What became of a wish for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Axfr,
    /// The whole zone, though steps were asked for.
    AxfrForIxfr,
    Ixfr,
    /// One SOA: the peer has what there is.
    Current,
    /// One SOA by UDP: the rest is to be fetched by TCP.
    SentToTcp,
    /// No list allows it.
    Refused,
    /// There were too many at once.
    Busy,
    /// The peer left, or took too long, or the version could no longer be told.
    Unfinished,
}

impl End {
    /// The words for them, in order.
    const WORDS: [&str; 8] = [
        "axfr",
        "axfr_for_ixfr",
        "ixfr",
        "current",
        "sent_to_tcp",
        "refused",
        "busy",
        "unfinished",
    ];

    fn of(form: Form) -> End {
        match form {
            Form::Whole(None) => End::Axfr,
            Form::Whole(Some(_)) => End::AxfrForIxfr,
            Form::Steps(_) => End::Ixfr,
            Form::Current => End::Current,
        }
    }
}

/// What became of all transfers since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ends: [AtomicU64; End::WORDS.len()],
    octets: AtomicU64,
}

impl Tally {
    /// Counts one, whose message, if it was a single one, had so many octets.
    pub(super) fn count(&self, end: End, octets: usize) {
        if let Some(count) = self.ends.get(end as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.add_octets(octets);
    }

    fn add_octets(&self, octets: usize) {
        self.octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    fn ends(&self, at: usize) -> u64 {
        self.ends.get(at).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// Shows how transfers go.
pub(super) fn watch(registry: &Registry, places: &Arc<Places>) {
    let of = Arc::clone(places);
    registry.watch_each(&metrics::TRANSFERS_OUT, "end", &End::WORDS, move |at| of.tally.ends(at));
    let of = Arc::clone(places);
    registry.watch(&metrics::TRANSFERS_OUT_OPEN, move || of.taken() as u64);
    let of = Arc::clone(places);
    registry.watch(&metrics::TRANSFERS_OUT_BYTES, move || of.tally.octets.load(Ordering::Relaxed));
}

/// What bounds transfers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// At once.
    pub total: usize,
    /// At once to one address.
    pub per_address: usize,
    /// For one.
    pub time: Duration,
}

/// Room for transfers: each takes a place and gives it back.
pub(super) struct Places {
    limits: Limits,
    /// How many there are to each address.
    taken: Mutex<HashMap<IpAddr, usize>>,
    pub(super) tally: Tally,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Arc<Places> {
        Arc::new(Places { limits, taken: Mutex::default(), tally: Tally::default() })
    }

    /// As many as the settings say.
    pub(super) fn of(settings: &config::Transfer) -> Arc<Places> {
        Places::new(Limits {
            total: settings.at_once_max as usize,
            per_address: settings.at_once_per_address_max as usize,
            time: Duration::from_secs(settings.time_max_s.into()),
        })
    }

    /// How many transfers are under way.
    fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// A place for a transfer to `address`; none when there are too many.
    pub(super) fn take(self: &Arc<Places>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = taken.get(&address).copied().unwrap_or_default();
        if mine >= self.limits.per_address || taken.values().sum::<usize>() >= self.limits.total {
            return None;
        }
        taken.insert(address, mine + 1);
        Some(Place { places: Arc::clone(self), address, end: Instant::now() + self.limits.time })
    }
}

/// The place of one transfer, until dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    end: Instant,
}

impl Place {
    fn is_late(&self) -> bool {
        Instant::now() > self.end
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = taken.get_mut(&self.address) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places_and_all_together_theirs() {
        let time = Duration::from_secs(9);
        let places = Places::new(Limits { total: 3, per_address: 2, time });
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("192.0.2.1");
        let (second, mapped) = (take("192.0.2.1"), take("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && mapped.is_none());
        let third = take("192.0.2.2");
        assert!(third.is_some() && take("192.0.2.3").is_none());
        drop(first);
        assert!(take("192.0.2.3").is_some());
        assert!(!third.unwrap().is_late());
        drop(second);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
