//! Images: RRsets as the octets an answer is made of.
//!
//! An image is built for a message that has the owner as its question: the header, the name at
//! [`OWNER_AT`], type and class, then the image. There a record's owner is the pointer `C00C`, and
//! names in RDATA point into the question or into the image. So an RRset whose owner was asked for
//! is copied and done. Anywhere else the pointers are moved:
//! those of owners stand at the start of each record, those in RDATA in a list of gaps.
//!
//! Promises: only the types of [RFC 1035] have names compressed ([RFC 3597] §4); every owner is two octets.
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035
//! [RFC 3597]: https://www.rfc-editor.org/rfc/rfc3597

use crate::wire::Type;
use crate::zone::packed::RrSetRef;

/// Where the name of a question stands in its message.
pub(super) const OWNER_AT: usize = 12;

/// Octets of type and class behind the name of a question.
pub(super) const QUESTION_TAIL: usize = 4;

/// Octets of a record before its RDATA, its owner being a pointer.
pub(super) const RECORD_HEAD: usize = 12;

/// Pointers reach into an image no further than this, so that they can still be moved by as much
/// as an answer has before the last step of a chain (see [`CHASE_OCTETS_MAX`]).
const REACH: usize = 0x1000;

/// Beyond this many octets a chain of CNAMEs is not followed: pointers could not be moved so far.
pub(super) const CHASE_OCTETS_MAX: usize = 0x4000 - REACH - 0x200;

/// A gap in the list of pointers that only leads on to the next gap.
const GAP_ON: u8 = 255;

/// Names already in the image that the next may point to.
const EARLIER_MAX: usize = 8;

/// What an image holds: the head of its entry in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub rtype: u16,
    pub count: u16,
    pub sigs: u16,
    /// Octets of the records, of their signatures, and of the list of pointers; in this order.
    pub data: u32,
    pub sig_octets: u32,
    pub gaps: u16,
}

/// A name of the virtual message that later ones may point to.
#[derive(Clone, Copy, Default)]
struct Earlier {
    /// Where it stands, counted from the image's first octet.
    at: usize,
    /// How many of its labels stand there; a pointer follows if it has more.
    literal: usize,
    wire: (usize, usize),
}

/// Where an image's parts lie while it is written: of many images it takes no memory anew.
#[derive(Default)]
pub(super) struct Place {
    gaps: Gaps,
    wires: Vec<u8>,
}

/// Writes the image of one RRset and its signatures behind `out`; `owner` in wire form.
pub(super) fn put_rrset(
    out: &mut Vec<u8>,
    owner: &[u8],
    set: RrSetRef<'_>,
    place: &mut Place,
) -> Extent {
    let start = out.len();
    let layout = Layout::of(set.rtype);
    let Place { gaps, wires } = place;
    gaps.clear();
    let mut count = 0u16;
    match layout {
        Layout::Plain => {
            for rdata in set.rdatas() {
                put_record(out, 0xc00c, set.rtype, set.ttl, rdata);
                count += 1;
            }
        }
        Layout::Names { skip, names } => {
            wires.clear();
            let mut press = Press::new(owner, wires);
            for rdata in set.rdatas() {
                let record_at = out.len();
                put_record(out, 0xc00c, set.rtype, set.ttl, &[]);
                press.put_rdata(out, start, rdata, skip, names, gaps);
                let len = (out.len() - record_at - RECORD_HEAD) as u16;
                if let Some(slot) = out.get_mut(record_at + 10..record_at + 12) {
                    slot.copy_from_slice(&len.to_be_bytes());
                }
                count += 1;
            }
        }
    }
    let data = out.len() - start;
    let mut sigs = 0u16;
    for sig in set.sigs() {
        put_record(out, 0xc00c, Type::RRSIG, set.ttl, sig);
        sigs += 1;
    }
    let sig_octets = out.len() - start - data;
    out.extend_from_slice(&gaps.octets);
    Extent {
        rtype: set.rtype.0,
        count,
        sigs,
        data: data as u32,
        sig_octets: sig_octets as u32,
        gaps: gaps.octets.len() as u16,
    }
}

/// Writes one record whose owner is the pointer `owner`.
pub(super) fn put_record(out: &mut Vec<u8>, owner: u16, rtype: Type, ttl: u32, rdata: &[u8]) {
    let mut head = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    head[..2].copy_from_slice(&owner.to_be_bytes());
    head[2..4].copy_from_slice(&rtype.0.to_be_bytes());
    head[6..10].copy_from_slice(&ttl.to_be_bytes());
    head[10..].copy_from_slice(&(rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(rdata);
}

/// Where names that may be compressed stand in the RDATA of a type.
enum Layout {
    Plain,
    Names { skip: usize, names: usize },
}

impl Layout {
    fn of(rtype: Type) -> Layout {
        match rtype.0 {
            2..=5 | 7..=9 | 12 => Layout::Names { skip: 0, names: 1 },
            6 | 14 => Layout::Names { skip: 0, names: 2 },
            15 => Layout::Names { skip: 2, names: 1 },
            _ => Layout::Plain,
        }
    }
}

/// Where pointers stand, each as the distance from the one before.
#[derive(Default)]
struct Gaps {
    octets: Vec<u8>,
    last: usize,
}

impl Gaps {
    fn clear(&mut self) {
        self.octets.clear();
        self.last = 0;
    }

    fn push(&mut self, at: usize) {
        let mut gap = at - self.last;
        while gap >= usize::from(GAP_ON) {
            self.octets.push(GAP_ON);
            gap -= usize::from(GAP_ON);
        }
        self.octets.push(gap as u8);
        self.last = at;
    }
}

/// Calls `each` with every place of a pointer that `gaps` lists, counted from the image's start.
#[inline]
pub(super) fn each_gap(gaps: &[u8], mut each: impl FnMut(usize)) {
    let mut at = 0;
    for &gap in gaps {
        at += usize::from(gap);
        if gap != GAP_ON {
            each(at);
        }
    }
}

/// Compresses names against the owner and against names written before.
struct Press<'a> {
    owner: &'a [u8],
    owner_labels: usize,
    /// Octets of the names in `earlier`, one behind the other.
    wires: &'a mut Vec<u8>,
    earlier: [Earlier; EARLIER_MAX],
    earlier_count: usize,
}

impl<'a> Press<'a> {
    fn new(owner: &'a [u8], wires: &'a mut Vec<u8>) -> Press<'a> {
        Press {
            owner,
            owner_labels: label_count(owner),
            wires,
            earlier: [Earlier::default(); EARLIER_MAX],
            earlier_count: 0,
        }
    }

    fn put_rdata(
        &mut self,
        out: &mut Vec<u8>,
        start: usize,
        rdata: &[u8],
        skip: usize,
        names: usize,
        gaps: &mut Gaps,
    ) {
        let (fixed, mut rest) = rdata.split_at_checked(skip).unwrap_or((rdata, &[]));
        out.extend_from_slice(fixed);
        for _ in 0..names {
            let Ok(len) = crate::wire::name::wire_len(rest) else { break };
            let Some((name, tail)) = rest.split_at_checked(len) else { break };
            self.put_name(out, start, name, gaps);
            rest = tail;
        }
        out.extend_from_slice(rest);
    }

    fn put_name(&mut self, out: &mut Vec<u8>, start: usize, name: &[u8], gaps: &mut Gaps) {
        let labels = label_count(name);
        // A wildcard's own name is never in the question it answers.
        let own = self.owner.starts_with(&[1, b'*']);
        let mut best = common_labels(name, labels, self.owner, self.owner_labels);
        if own && best == self.owner_labels {
            best -= 1;
        }
        let above = label_offset(self.owner, self.owner_labels - best);
        let mut target = (best > 0).then_some(OWNER_AT + above);
        for earlier in self.earlier.iter().take(self.earlier_count) {
            let (from, to) = earlier.wire;
            let wire = self.wires.get(from..to).unwrap_or_default();
            let wire_labels = label_count(wire);
            let common = common_labels(name, labels, wire, wire_labels);
            let skipped = wire_labels - common;
            if common > best && skipped < earlier.literal {
                best = common;
                let base = OWNER_AT + self.owner.len() + QUESTION_TAIL;
                target = Some(base + earlier.at + label_offset(wire, skipped));
            }
        }
        let at = out.len() - start;
        let literal = labels - best;
        let head = name.get(..label_offset(name, literal)).unwrap_or_default();
        out.extend_from_slice(head);
        match target {
            Some(target) => {
                gaps.push(out.len() - start);
                out.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
            }
            None => out.push(0),
        }
        if literal > 0 && self.earlier_count < EARLIER_MAX && at + head.len() < REACH {
            let from = self.wires.len();
            self.wires.extend_from_slice(name);
            let slot = self.earlier.get_mut(self.earlier_count);
            if let Some(slot) = slot {
                *slot = Earlier { at, literal, wire: (from, self.wires.len()) };
                self.earlier_count += 1;
            }
        }
    }
}

/// How many labels a name has, the root not counted.
#[inline]
pub(super) fn label_count(wire: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(&len) = wire.get(at).filter(|&&len| len != 0) {
        at += 1 + usize::from(len);
        count += 1;
    }
    count
}

/// Where the label behind the first `skip` starts.
#[inline]
pub(super) fn label_offset(wire: &[u8], skip: usize) -> usize {
    let mut at = 0;
    for _ in 0..skip {
        at += 1 + wire.get(at).map_or(0, |&len| usize::from(len));
    }
    at
}

/// How many labels two names have in common, from the root down.
fn common_labels(a: &[u8], a_labels: usize, b: &[u8], b_labels: usize) -> usize {
    // Past the labels one name has more than the other, both have equally many.
    let shorter = a_labels.min(b_labels);
    let mut a = a.get(label_offset(a, a_labels - shorter)..).unwrap_or_default();
    let mut b = b.get(label_offset(b, b_labels - shorter)..).unwrap_or_default();
    let mut common = 0;
    while let (Some(&a_len), Some(&b_len)) = (a.first(), b.first()) {
        if a_len == 0 || b_len == 0 {
            break;
        }
        let (Some((a_label, a_rest)), Some((b_label, b_rest))) = (
            a.split_at_checked(1 + usize::from(a_len)),
            b.split_at_checked(1 + usize::from(b_len)),
        ) else {
            break;
        };
        common = if a_label.eq_ignore_ascii_case(b_label) { common + 1 } else { 0 };
        (a, b) = (a_rest, b_rest);
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use crate::zone::packed::{Packer, nodes};

    fn image(owner: &str, rtype: Type, rdatas: &[&[u8]]) -> (Vec<u8>, Extent) {
        let owner = Name::parse(owner).unwrap();
        let mut packer = Packer::default();
        packer.node(owner.as_wire());
        packer.rrset(rtype, 60, rdatas.iter().copied(), []);
        let packed = packer.finish();
        let set = nodes(&packed).next().unwrap().rrsets().next().unwrap();
        let mut out = Vec::new();
        let extent = put_rrset(&mut out, owner.as_wire(), set, &mut Place::default());
        (out, extent)
    }

    fn wire(name: &str) -> Vec<u8> {
        Name::parse(name).unwrap().as_wire().to_vec()
    }

    #[test]
    fn names_in_the_zone_point_into_the_question() {
        let (out, extent) = image("www.example.", Type::CNAME, &[&wire("web.EXAMPLE.")]);
        assert_eq!(&out[12..18], b"\x03web\xc0\x10");
        assert_eq!((extent.count, extent.data, extent.gaps), (1, 18, 1));
        assert_eq!(out[18..], [16]);
    }

    #[test]
    fn names_elsewhere_point_to_the_one_before() {
        let (out, _) =
            image("example.", Type::NS, &[&wire("a.dns.invalid."), &wire("b.dns.invalid.")]);
        let first = OWNER_AT + 9 + QUESTION_TAIL + RECORD_HEAD;
        let pointer = 0xc000 | (first + 2) as u16;
        assert_eq!(out[12..27], *wire("a.dns.invalid."));
        assert_eq!(out[39..41], *b"\x01b");
        assert_eq!(out[41..43], pointer.to_be_bytes());
    }

    #[test]
    fn a_wildcard_never_points_to_its_own_asterisk() {
        let (out, _) = image("*.example.", Type::CNAME, &[&wire("*.example.")]);
        assert_eq!(out[12..16], *b"\x01*\xc0\x0e");
    }

    #[test]
    fn only_types_of_rfc1035_are_compressed() {
        let name = wire("a.example.");
        let soa = [&name, &name, &[0; 20][..]].concat();
        let mx = [&[0, 10], &name[..]].concat();
        for (rtype, rdata) in [(2, &name), (5, &name), (6, &soa), (12, &name), (15, &mx)] {
            let (out, extent) = image("example.", Type(rtype), &[rdata]);
            assert!(out.len() < 12 + rdata.len() && extent.gaps > 0, "TYPE{rtype}");
        }
        // RFC 3597 §4: later ones stand as they are, known or not.
        for (rtype, before, behind) in [
            (17, &name[..], &[][..]),          // RP
            (18, &[0, 1], &[]),                // AFSDB
            (21, &[0, 1], &[]),                // RT
            (33, &[0, 1, 0, 2, 0, 53], &[]),   // SRV
            (35, &[0, 1, 0, 2, 0, 0, 0], &[]), // NAPTR
            (36, &[0, 1], &[]),                // KX
            (39, &[], &[]),                    // DNAME
            (46, &[0; 18], &[7; 64]),          // RRSIG
            (47, &[], &[0, 1, 0x40]),          // NSEC
            (64, &[0, 1], &[]),                // SVCB
            (65, &[0, 1], &[]),                // HTTPS
            (65_280, &[], &[]),
        ] {
            let rdata = [before, &name, behind].concat();
            let (out, extent) = image("example.", Type(rtype), &[&rdata]);
            assert_eq!((&out[12..], extent.gaps), (&rdata[..], 0), "TYPE{rtype}");
        }
    }

    #[test]
    fn gaps_lead_to_pointers_however_far_apart() {
        let mut gaps = Gaps::default();
        let places = [0, 5, 259, 260, 1000, 1255, 1510];
        places.iter().for_each(|&at| gaps.push(at));
        let mut seen = Vec::new();
        each_gap(&gaps.octets, |at| seen.push(at));
        assert_eq!(seen, places);
    }
}
