//! What a secondary asks: the serial, the zone, what changed of it.

use crate::wire::{Class, Flags, Header, Name, Type};

/// Asks for the SOA: what a primary has. By UDP.
pub fn soa(apex: &Name, id: u16) -> Vec<u8> {
    query(apex, Type::SOA, id)
}

/// Asks for the whole zone ([RFC 5936](https://www.rfc-editor.org/rfc/rfc5936) §2.1).
pub fn axfr(apex: &Name, id: u16) -> Vec<u8> {
    query(apex, Type::AXFR, id)
}

/// Asks for what changed since the version with this SOA RDATA ([RFC 1995](https://www.rfc-editor.org/rfc/rfc1995) §3).
pub fn ixfr(apex: &Name, soa: &[u8], id: u16) -> Vec<u8> {
    let mut message = query(apex, Type::IXFR, id);
    if let Some(mut header) = Header::read(&message) {
        header.authorities = 1;
        header.write(&mut message);
    }
    message.extend_from_slice(apex.as_wire());
    message.extend_from_slice(&Type::SOA.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&(soa.len() as u16).to_be_bytes());
    message.extend_from_slice(soa);
    message
}

fn query(apex: &Name, rtype: Type, id: u16) -> Vec<u8> {
    let mut message = vec![0; crate::wire::header::HEADER_OCTETS];
    Header { id, flags: Flags(0), questions: 1, ..Header::default() }.write(&mut message);
    message.extend_from_slice(apex.as_wire());
    message.extend_from_slice(&rtype.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    message
}
