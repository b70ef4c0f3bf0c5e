//! Copies of messages for the tap, taken before they are answered in place and after.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::serve::{Outcome, Slot, Transport};
use crate::tap::{Carrier, Tap, Way};

/// Offers what came in.
pub(super) fn queries(tap: &Tap, server: SocketAddr, slots: &[Slot]) {
    let now = SystemTime::now();
    for slot in slots {
        let octets = slot.octets.get(..slot.len).unwrap_or_default();
        tap.offer(Way::Query, Carrier::Udp, slot.peer, server, now, octets);
    }
}

/// Offers what goes out.
pub(super) fn responses(tap: &Tap, server: SocketAddr, slots: &[Slot]) {
    let now = SystemTime::now();
    for slot in slots {
        if let Outcome::Reply(len) = slot.outcome {
            let octets = slot.octets.get(..len).unwrap_or_default();
            tap.offer(Way::Response, Carrier::Udp, slot.peer, server, now, octets);
        }
    }
}

/// Offers one message of a stream.
pub(super) fn message(
    tap: &Tap,
    way: Way,
    transport: Transport,
    client: SocketAddr,
    server: SocketAddr,
    octets: &[u8],
) {
    let carrier = match transport {
        Transport::Udp => Carrier::Udp,
        Transport::Tcp => Carrier::Tcp,
        Transport::Dot => Carrier::Dot,
        Transport::Doq => Carrier::Doq,
        Transport::Doh => Carrier::Doh,
    };
    tap.offer(way, carrier, client, server, SystemTime::now(), octets);
}
