//! Whole contents on their way into a zone: brought into one form, checked, numbered.

use std::borrow::Cow;

use super::apply::Refused;
use super::change::{Content, Reason};
use super::rules;
use crate::wire::{Name, RrSet, Serial, Type, rdata};
use crate::zone::delta::{Set, SetChange, set_at};
use crate::zone::packed::{self, Packer};
use crate::zone::tree::PackedZone;
use crate::zone::{Op, ReadFault, RrSetEdit, View, chunk, serial};

/// The records of a new version, packed, every zone rule kept.
pub(super) struct Fresh<'c> {
    pub octets: Cow<'c, [u8]>,
    pub presigned: bool,
}

/// Brings content into packed form and checks it as a zone.
pub(super) fn fresh<'c>(apex: &Name, content: &'c Content) -> Result<Fresh<'c>, Refused> {
    let (octets, presigned) = match content {
        Content::Packed { octets, presigned } => (Cow::Borrowed(octets.as_slice()), *presigned),
        Content::RrSets(sets) => (Cow::Owned(pack(apex, sets)?), false),
        Content::Staged(_) => (Cow::Borrowed(&[][..]), false),
    };
    let reasons = rules::whole(&PackedZone::new(apex.clone(), &octets))?;
    if reasons.is_empty() { Ok(Fresh { octets, presigned }) } else { Err(Refused(reasons)) }
}

/// Packs RRsets given in any order; two of one owner and type become one.
fn pack(apex: &Name, sets: &[RrSet]) -> Result<Vec<u8>, Refused> {
    let strangers = sets.iter().filter(|set| !set.owner.is_at_or_below(apex));
    let strangers: Vec<Reason> =
        strangers.map(|set| rules::out_of_zone(&set.owner, apex)).collect();
    if !strangers.is_empty() {
        return Err(Refused(strangers));
    }
    let mut sets: Vec<RrSet> = sets.to_vec();
    sets.sort_by_cached_key(|set| (set.owner.key(), set.rtype));
    let mut packer = Packer::default();
    for node in sets.chunk_by(|one, next| one.owner == next.owner) {
        let Some(owner) = node.first().map(|set| &set.owner) else { continue };
        let changes = node.chunk_by(|one, next| one.rtype == next.rtype).filter_map(joined);
        chunk::merge_node(None, owner, &changes.collect::<Vec<_>>(), &mut packer);
    }
    Ok(packer.finish())
}

fn joined(sets: &[RrSet]) -> Option<SetChange> {
    let first = sets.first()?;
    let rdatas = sets.iter().flat_map(RrSet::rdatas).cloned().collect();
    let rrset = RrSet::new(first.owner.clone(), first.rtype, first.ttl, rdatas);
    let after = (!rrset.is_empty()).then(|| Set { rrset, sigs: Vec::new() });
    Some(SetChange { owner: first.owner.clone(), rtype: first.rtype, before: None, after })
}

/// Gives content the serial that follows `last`; returns it with its SOA RRset.
///
/// Pre-signed content keeps its own, which must be ahead of `last`.
pub(super) fn numbered<'c>(
    apex: &Name,
    octets: Cow<'c, [u8]>,
    last: Option<Serial>,
    presigned: bool,
) -> Result<(Cow<'c, [u8]>, Set), Refused> {
    let view = PackedZone::new(apex.clone(), &octets);
    let soa = set_at(&view, apex, Type::SOA)?;
    let soa = soa.ok_or_else(|| rules::no_soa(apex))?;
    let own = soa.rrset.soa_serial();
    if presigned {
        return match (last, own) {
            (Some(last), Some(own)) if !last.is_before(own) => Err(serial_behind(apex, own, last)),
            _ => Ok((octets, soa)),
        };
    }
    let serial = serial::following(last, own);
    if own == Some(serial) {
        return Ok((octets, soa));
    }
    let mut after = soa.clone();
    after.set_serial(serial);
    let change = SetChange {
        owner: soa.rrset.owner.clone(),
        rtype: Type::SOA,
        before: Some(soa),
        after: Some(after.clone()),
    };
    let stale = stale_digest(&view, serial)?;
    let changes: Vec<SetChange> = std::iter::once(change).chain(stale).collect();
    Ok((Cow::Owned(at_apex(apex, &octets, &changes)), after))
}

/// What takes the digest of a zone away, if it is of another version than `serial`.
pub(super) fn stale_digest(
    view: &dyn View,
    serial: Serial,
) -> Result<Option<SetChange>, ReadFault> {
    let (owner, rtype) = (view.apex().clone(), Type::ZONEMD);
    let digest = set_at(view, &owner, rtype)?;
    let is_of = |rdata: &[u8]| rdata.starts_with(&serial.0.to_be_bytes());
    let stale = digest.filter(|set| !set.rrset.rdatas().iter().any(|rdata| is_of(rdata)));
    Ok(stale.map(|before| SetChange { owner, rtype, before: Some(before), after: None }))
}

/// A zone's content with sets at its apex changed, in order of type.
pub(super) fn at_apex(apex: &Name, octets: &[u8], changes: &[SetChange]) -> Vec<u8> {
    let mut nodes = packed::nodes(octets);
    let mut packer = Packer::default();
    // The apex stands first: every other name of the zone is below it.
    chunk::merge_node(nodes.next(), apex, changes, &mut packer);
    nodes.for_each(|node| packer.push(node));
    packer.finish()
}

/// Why pre-signed content is refused whose serial would not be seen as newer.
pub(super) fn serial_behind(apex: &Name, own: Serial, last: Serial) -> Refused {
    let text = format!(
        "serial {own} of the signed zone is not ahead of {last}, which {apex} had: sign it with a newer one"
    );
    Reason::Broken { rule: "serial", owner: apex.clone(), text }.into()
}

/// Seconds ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §8).
const TTL_MAX: u32 = i32::MAX as u32;

/// Why an edit cannot stand in this zone at all, whatever the zone holds.
pub(super) fn out_of_place(apex: &Name, edit: &RrSetEdit) -> Option<Reason> {
    if !edit.owner.is_at_or_below(apex) {
        return Some(rules::out_of_zone(&edit.owner, apex));
    }
    let (ttl, rdatas) = match &edit.op {
        Op::Add { ttl, rdatas } | Op::Replace { ttl, rdatas } => (*ttl, rdatas.as_slice()),
        Op::SetTtl { ttl } => (*ttl, &[][..]),
        Op::Remove { .. } | Op::Delete => (0, &[][..]),
    };
    if let Some(error) = rdatas.iter().find_map(|rdata| rdata::validate(edit.rtype, rdata).err()) {
        let text = format!("{} {}: {error}", edit.owner, edit.rtype);
        return Some(Reason::Broken { rule: "rdata", owner: edit.owner.clone(), text });
    }
    if ttl > TTL_MAX {
        let text =
            format!("{} {}: TTL {ttl} is above {TTL_MAX} (RFC 2181 §8)", edit.owner, edit.rtype);
        return Some(Reason::Broken { rule: "ttl", owner: edit.owner.clone(), text });
    }
    let made_by_signer = [Type::RRSIG, Type::NSEC, Type::NSEC3, Type::NSEC3PARAM];
    if edit.rtype.is_meta() || made_by_signer.contains(&edit.rtype) {
        let text = format!("{} {} cannot be edited: the server makes it", edit.owner, edit.rtype);
        return Some(Reason::Broken { rule: "type", owner: edit.owner.clone(), text });
    }
    None
}
