//! An update as it comes: its sections taken apart, judged by the rules that need no zone.

use crate::manage::change::ask;
use crate::manage::change::pending::Rdata;
use crate::wire::header::{HEADER_OCTETS, Header};
use crate::wire::query::RecordAt;
use crate::wire::rdata::expand;
use crate::wire::{Class, Name, Rcode, Type};

/// One record of an update: what it says depends on its class.
pub(super) struct Line {
    pub owner: Name,
    pub rtype: Type,
    pub class: u16,
    pub ttl: u32,
    /// None when the record has no RDATA.
    pub rdata: Option<Rdata>,
}

/// What a message asks for.
pub(super) struct Message {
    pub prerequisites: Vec<Line>,
    pub updates: Vec<Line>,
}

/// Reads the sections, by the rules that need no zone ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136) §3.2.5, §3.4.1.3).
pub(super) fn read(zone: &Name, message: &[u8]) -> Result<Message, Rcode> {
    let header = Header::read(message).ok_or(Rcode::FORMERR)?;
    let question_end = HEADER_OCTETS + zone.as_wire().len() + 4;
    let question = message.get(question_end - 4..question_end).ok_or(Rcode::FORMERR)?;
    let is_soa = question == [0, 6, 0, 1];
    if header.questions != 1 || !is_soa {
        return Err(Rcode::FORMERR);
    }
    let mut at = question_end;
    let mut section = |count: u16| -> Result<Vec<Line>, Rcode> {
        let lines = (0..count).map(|_| {
            let (line, end) = line(zone, message, at)?;
            at = end;
            Ok(line)
        });
        lines.collect()
    };
    let prerequisites = section(header.answers)?;
    let updates = section(header.authorities)?;
    prerequisites.iter().try_for_each(check_prerequisite)?;
    updates.iter().try_for_each(check_update)?;
    Ok(Message { prerequisites, updates })
}

fn line(zone: &Name, message: &[u8], at: usize) -> Result<(Line, usize), Rcode> {
    let record = RecordAt::read(message, at).map_err(|_| Rcode::FORMERR)?;
    let owner = expand(Type::PTR, message, at..record.rdata_at - 10).map_err(|_| Rcode::FORMERR)?;
    let owner = Name::from_wire(&owner).map_err(|_| Rcode::FORMERR)?;
    if !owner.is_at_or_below(zone) {
        return Err(Rcode::NOTZONE);
    }
    let rdata = match record.rdata_at == record.end {
        true => None,
        false => {
            let range = record.rdata_at..record.end;
            Some(expand(record.rtype, message, range).map_err(|_| Rcode::FORMERR)?)
        }
    };
    let RecordAt { rtype, class, ttl, end, .. } = record;
    Ok((Line { owner, rtype, class, ttl, rdata }, end))
}

fn check_prerequisite(line: &Line) -> Result<(), Rcode> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::ANY | Class::NONE => empty,
        Class::IN => !empty && !line.rtype.is_meta(),
        _ => false,
    };
    if good && line.ttl == 0 { Ok(()) } else { Err(Rcode::FORMERR) }
}

fn check_update(line: &Line) -> Result<(), Rcode> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::IN => !empty && !line.rtype.is_meta(),
        Class::ANY => empty && line.ttl == 0 && (line.rtype == Type::ANY || !line.rtype.is_meta()),
        Class::NONE => !empty && line.ttl == 0 && !line.rtype.is_meta(),
        _ => false,
    };
    match good {
        true if ask::is_managed(line.rtype) && line.rtype != Type::ANY => Err(Rcode::REFUSED),
        true => Ok(()),
        false => Err(Rcode::FORMERR),
    }
}
