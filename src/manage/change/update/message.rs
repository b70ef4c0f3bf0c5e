//! An update as it comes: its sections taken apart, judged by the rules that need no zone.

use super::Reply;
use crate::manage::change::ask;
use crate::manage::change::pending::Rdata;
use crate::wire::edns::Ede;
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
pub(super) fn read(zone: &Name, message: &[u8]) -> Result<Message, Reply> {
    let header = Header::read(message).ok_or(Rcode::FORMERR)?;
    let question_end = HEADER_OCTETS + zone.as_wire().len() + 4;
    let question = message.get(question_end - 4..question_end).ok_or(Rcode::FORMERR)?;
    let is_soa = question == [0, 6, 0, 1];
    if header.questions != 1 || !is_soa {
        return Err(fault(Rcode::FORMERR, "the zone section is not one SOA of class IN"));
    }
    let mut at = question_end;
    let mut section = |count: u16, what: &str, empty: Class| -> Result<Vec<Line>, Reply> {
        let lines = (1..=count).map(|n| {
            let (line, end) = line(message, at, empty).ok_or_else(|| {
                fault(Rcode::FORMERR, format!("record {n} of the {what} section is malformed"))
            })?;
            if !line.owner.is_at_or_below(zone) {
                return Err(fault(Rcode::NOTZONE, format!("{} is not in {zone}", line.owner)));
            }
            at = end;
            Ok(line)
        });
        lines.collect()
    };
    let prerequisites = section(header.answers, "prerequisite", Class::NONE)?;
    let updates = section(header.authorities, "update", Class::ANY)?;
    prerequisites.iter().try_for_each(check_prerequisite)?;
    updates.iter().try_for_each(check_update)?;
    Ok(Message { prerequisites, updates })
}

fn fault(rcode: Rcode, text: impl Into<String>) -> Reply {
    Reply::said(rcode, Ede::OTHER, text)
}

/// Reads one record and says where it ends. Of class ANY, and of `empty`, no RDATA is wanted; of any
/// other none is RDATA too, where the type has such.
fn line(message: &[u8], at: usize, empty: Class) -> Option<(Line, usize)> {
    let record = RecordAt::read(message, at).ok()?;
    let owner = expand(Type::PTR, message, at..record.rdata_at - 10).ok()?;
    let owner = Name::from_wire(&owner).ok()?;
    let RecordAt { rtype, class, ttl, rdata_at, end, .. } = record;
    let without = Class(class) == Class::ANY || Class(class) == empty || rtype.is_meta();
    let rdata = match rdata_at == end && without {
        true => None,
        false => Some(expand(rtype, message, rdata_at..end).ok()?),
    };
    Some((Line { owner, rtype, class, ttl, rdata }, end))
}

fn check_prerequisite(line: &Line) -> Result<(), Reply> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::ANY | Class::NONE => empty,
        Class::IN => !empty && !line.rtype.is_meta(),
        _ => false,
    };
    if good && line.ttl == 0 {
        return Ok(());
    }
    let Line { owner, rtype, .. } = line;
    let text =
        format!("prerequisite {owner} {rtype}: class, TTL or RDATA is none of RFC 2136 §2.4");
    Err(fault(Rcode::FORMERR, text))
}

fn check_update(line: &Line) -> Result<(), Reply> {
    let empty = line.rdata.is_none();
    let good = match Class(line.class) {
        Class::IN => !empty && !line.rtype.is_meta(),
        Class::ANY => empty && line.ttl == 0 && (line.rtype == Type::ANY || !line.rtype.is_meta()),
        Class::NONE => !empty && line.ttl == 0 && !line.rtype.is_meta(),
        _ => false,
    };
    let Line { owner, rtype, .. } = line;
    match good {
        true if ask::is_managed(*rtype) && *rtype != Type::ANY => {
            let text =
                format!("{owner} {rtype}: such records follow from others and are not updated");
            Err(Reply::said(Rcode::REFUSED, Ede::PROHIBITED, text))
        }
        true => Ok(()),
        false => {
            let text =
                format!("update of {owner} {rtype}: class, TTL or RDATA is none of RFC 2136 §2.5");
            Err(fault(Rcode::FORMERR, text))
        }
    }
}
