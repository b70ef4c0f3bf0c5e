//! Class CHAOS: who this server is ([RFC 4892]).
//!
//! [RFC 4892]: https://www.rfc-editor.org/rfc/rfc4892

use super::shared::Settings;
use crate::wire::reply::QNAME;
use crate::wire::{Query, Rcode, Reply, Section, Type};

/// Octets of one string of a TXT record; the settings allow no longer text.
const TXT_OCTETS_MAX: usize = 255;

/// Answers a question of class CH: the version or the server's name, if the operator wants them told.
pub(super) fn respond(settings: &Settings, query: &Query, reply: &mut Reply<'_>) {
    let text = match query.name() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => settings.version.as_deref(),
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => settings.server_id.as_deref(),
        _ => None,
    };
    let Some(text) = text.map(str::as_bytes).filter(|text| text.len() <= TXT_OCTETS_MAX) else {
        return reply.set_rcode(Rcode::REFUSED);
    };
    reply.set_authoritative();
    if !matches!(query.qtype, Type::TXT | Type::ANY) {
        return;
    }
    let [q0, q1] = QNAME.to_be_bytes();
    let len = text.len() as u8;
    let [n0, n1] = (u16::from(len) + 1).to_be_bytes();
    let head = [q0, q1, 0, 16, 0, 3, 0, 0, 0, 0, n0, n1, len];
    if reply.put_parts(Section::Answer, &[&head, text]).is_err() {
        reply.truncate();
    }
}
