//! Nodes: what the table knows of one name.
//!
//! ```text
//! node  := nlen:u8 up:u8 flags:u16 sets:u16 name facts? entry*sets image*sets
//! facts := zone:u32 state:u8 negative_ttl:u32                                    at an apex
//! entry := type:u16 count:u8 gaps:u8 data:u16                                    narrow
//!        | type:u16 count:u16 sigs:u16 gaps:u16 data:u16 sig_octets:u16          wide
//! ```
//!
//! `name` is in lower case; `up` is how many labels it stands below its apex. Images stand in the order of their
//! entries; at an apex the SOA comes first, since most of what is asked there is denied.
//!
//! Reading trusts that [`put`] wrote the octets; damaged ones read as absent, they never panic.

use super::image::Extent;
use crate::wire::Type;

const HEAD: usize = 6;
const FACTS: usize = 9;
const NARROW: usize = 6;
const WIDE: usize = 12;

/// The entry of a cut's glue: addresses of name servers below the cut.
pub(super) const GLUE: Type = Type(0);

/// The entry of addresses below a cut that other cuts may need.
///
/// ```text
/// stock := (name count:u16 octets:u16 record*count)*
/// ```
pub(super) const STOCK: Type = Type(u16::MAX);

/// What a node is, as bits.
pub(super) mod flag {
    pub const APEX: u16 = 1;
    /// A delegation: everything here and below but DS is answered with a referral.
    pub const CUT: u16 = 2;
    pub const DNAME: u16 = 4;
    pub const CNAME: u16 = 8;
    /// `*` exists directly below.
    pub const WILD: u16 = 16;
    /// Entries are wide.
    pub const WIDE: u16 = 32;
    /// The rest stands elsewhere: in place of entries, its number.
    pub const BIG: u16 = 64;
    /// What a parent zone has at the apex of a zone that is here too.
    pub const PARENT: u16 = 128;
    /// A cut with name servers in the zone, but not below the cut: their addresses are looked up.
    pub const SIBLING: u16 = 256;
    /// An apex whose zone is signed: it denies with proof, or has to say why not.
    pub const SIGNED: u16 = 512;
}

/// How a zone takes part in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneState {
    /// Answered.
    Live,
    /// Here, but not yet readable: SERVFAIL.
    Loading,
    /// Here, but not to be answered: REFUSED.
    Suspended,
    /// Here, but too old to be answered, or not transferred yet: SERVFAIL.
    Expired,
}

/// What an apex says of its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub zone: u32,
    pub state: ZoneState,
    /// Seconds a negative answer may be kept ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §5).
    pub negative_ttl: u32,
}

/// A node to be written.
pub(super) struct Draft<'a> {
    /// In lower case.
    pub name: &'a [u8],
    pub up: u8,
    pub flags: u16,
    pub facts: Option<Facts>,
    pub extents: &'a [Extent],
    pub images: &'a [u8],
}

/// Writes a node behind `out`.
pub(super) fn put(out: &mut Vec<u8>, draft: &Draft<'_>) {
    let narrow = draft.extents.iter().all(|extent| {
        extent.sigs == 0 && extent.count < 256 && extent.gaps < 256 && extent.data < 65_536
    });
    let flags = draft.flags | if narrow { 0 } else { flag::WIDE };
    out.extend_from_slice(&[draft.name.len() as u8, draft.up]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&(draft.extents.len() as u16).to_be_bytes());
    out.extend_from_slice(draft.name);
    if let Some(facts) = draft.facts {
        out.extend_from_slice(&facts.zone.to_be_bytes());
        out.push(match facts.state {
            ZoneState::Live => 0,
            ZoneState::Loading => 1,
            ZoneState::Suspended => 2,
            ZoneState::Expired => 3,
        });
        out.extend_from_slice(&facts.negative_ttl.to_be_bytes());
    }
    for extent in draft.extents {
        out.extend_from_slice(&extent.rtype.to_be_bytes());
        if narrow {
            out.extend_from_slice(&[extent.count as u8, extent.gaps as u8]);
            out.extend_from_slice(&(extent.data as u16).to_be_bytes());
        } else {
            for word in [extent.count, extent.sigs, extent.gaps] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            for octets in [extent.data, extent.sig_octets] {
                out.extend_from_slice(&(octets as u16).to_be_bytes());
            }
        }
    }
    out.extend_from_slice(draft.images);
}

/// Writes what stands in a page for a node kept elsewhere as number `big`.
pub(super) fn put_big(out: &mut Vec<u8>, node: Node<'_>, big: u32) {
    let name = node.name();
    out.extend_from_slice(&[name.len() as u8, node.up() as u8]);
    out.extend_from_slice(&(node.flags() | flag::BIG).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(name);
    out.extend_from_slice(&big.to_be_bytes());
}

/// A node, borrowed from a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'s> {
    /// At least a head.
    octets: &'s [u8],
}

/// One RRset of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'s> {
    pub count: u16,
    pub sigs: u16,
    /// The records, then their signatures.
    pub octets: &'s [u8],
    /// Where the signatures start.
    pub data: usize,
    pub gaps: &'s [u8],
}

impl<'s> Node<'s> {
    #[inline(always)]
    pub fn read(octets: &'s [u8]) -> Option<Node<'s>> {
        octets.first_chunk::<HEAD>().map(|_| Node { octets })
    }

    #[inline(always)]
    fn head(self) -> [u8; HEAD] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }

    /// How many labels it stands below its apex.
    #[inline(always)]
    pub fn up(self) -> usize {
        usize::from(self.head()[1])
    }

    #[inline(always)]
    pub fn flags(self) -> u16 {
        let [_, _, high, low, _, _] = self.head();
        u16::from_be_bytes([high, low])
    }

    /// Where what follows the name starts.
    #[inline(always)]
    fn name_end(self) -> usize {
        HEAD + usize::from(self.head()[0])
    }

    #[inline(always)]
    pub fn name(self) -> &'s [u8] {
        self.octets.get(HEAD..self.name_end()).unwrap_or_default()
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    pub fn is(self, flags: u16) -> bool {
        self.flags() & flags != 0
    }

    /// All octets of the node.
    pub fn octets(self) -> &'s [u8] {
        self.octets
    }

    /// The number under which the rest is kept, if it is kept elsewhere.
    #[inline(always)]
    pub fn big(self) -> Option<u32> {
        if !self.is(flag::BIG) {
            return None;
        }
        let rest = self.octets.get(self.name_end()..)?;
        rest.first_chunk().map(|number| u32::from_be_bytes(*number))
    }

    /// What an apex says of its zone.
    #[inline]
    pub fn facts(self) -> Option<Facts> {
        if !self.is(flag::APEX) {
            return None;
        }
        let rest = self.octets.get(self.name_end()..)?;
        let &[z0, z1, z2, z3, state, n0, n1, n2, n3] = rest.first_chunk::<FACTS>()?;
        Some(Facts {
            zone: u32::from_be_bytes([z0, z1, z2, z3]),
            state: match state {
                0 => ZoneState::Live,
                1 => ZoneState::Loading,
                3 => ZoneState::Expired,
                _ => ZoneState::Suspended,
            },
            negative_ttl: u32::from_be_bytes([n0, n1, n2, n3]),
        })
    }

    /// The RRsets in the order of their images.
    #[inline(always)]
    pub fn sets(self) -> Sets<'s> {
        let facts = if self.is(flag::APEX) { FACTS } else { 0 };
        let wide = self.is(flag::WIDE);
        let entries_at = self.name_end() + facts;
        let [.., high, low] = self.head();
        let count = usize::from(u16::from_be_bytes([high, low]));
        let images_at = entries_at + count * if wide { WIDE } else { NARROW };
        let entries = self.octets.get(entries_at..images_at).unwrap_or_default();
        Sets { entries, wide, images: self.octets.get(images_at..).unwrap_or_default(), at: 0 }
    }

    /// The RRset of one type.
    #[inline(always)]
    pub fn set(self, rtype: Type) -> Option<Set<'s>> {
        self.sets().find_type(rtype)
    }
}

/// Iterates over the RRsets of a node.
pub(super) struct Sets<'s> {
    entries: &'s [u8],
    wide: bool,
    images: &'s [u8],
    at: usize,
}

impl<'s> Sets<'s> {
    /// Skips to the RRset of a type, looking at entries only.
    #[inline(always)]
    fn find_type(mut self, rtype: Type) -> Option<Set<'s>> {
        loop {
            let extent = self.next_extent()?;
            if extent.rtype == rtype.0 {
                return self.set_of(extent);
            }
            self.at += extent.data as usize + extent.sig_octets as usize + usize::from(extent.gaps);
        }
    }

    #[inline(always)]
    fn next_extent(&mut self) -> Option<Extent> {
        if !self.wide {
            let (&[t0, t1, count, gaps, d0, d1], rest) =
                self.entries.split_first_chunk::<NARROW>()?;
            self.entries = rest;
            return Some(Extent {
                rtype: u16::from_be_bytes([t0, t1]),
                count: u16::from(count),
                sigs: 0,
                data: u32::from(u16::from_be_bytes([d0, d1])),
                sig_octets: 0,
                gaps: u16::from(gaps),
            });
        }
        let (&[t0, t1, c0, c1, s0, s1, g0, g1, d0, d1, o0, o1], rest) =
            self.entries.split_first_chunk::<WIDE>()?;
        self.entries = rest;
        Some(Extent {
            rtype: u16::from_be_bytes([t0, t1]),
            count: u16::from_be_bytes([c0, c1]),
            sigs: u16::from_be_bytes([s0, s1]),
            gaps: u16::from_be_bytes([g0, g1]),
            data: u32::from(u16::from_be_bytes([d0, d1])),
            sig_octets: u32::from(u16::from_be_bytes([o0, o1])),
        })
    }

    #[inline(always)]
    fn set_of(&self, extent: Extent) -> Option<Set<'s>> {
        let data = extent.data as usize;
        let octets = data + extent.sig_octets as usize;
        let rest = self.images.get(self.at..)?;
        let (octets, rest) = rest.split_at_checked(octets)?;
        Some(Set {
            count: extent.count,
            sigs: extent.sigs,
            octets,
            data,
            gaps: rest.get(..usize::from(extent.gaps))?,
        })
    }
}

impl<'s> Iterator for Sets<'s> {
    type Item = Set<'s>;

    #[inline(always)]
    fn next(&mut self) -> Option<Set<'s>> {
        let extent = self.next_extent()?;
        let set = self.set_of(extent)?;
        self.at += set.octets.len() + set.gaps.len();
        Some(set)
    }
}

impl Set<'_> {
    /// Whether the RRset is larger than any message.
    #[inline]
    pub fn is_oversize(&self) -> bool {
        self.octets.is_empty() && self.count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_again() {
        let facts = Facts { zone: 7, state: ZoneState::Suspended, negative_ttl: 300 };
        for (sigs, sig_octets) in [(0, 0), (1, 2)] {
            let extents = [
                Extent { rtype: 6, count: 1, sigs, data: 3, sig_octets, gaps: 1 },
                Extent { rtype: 1, count: 2, sigs: 0, data: 4, sig_octets: 0, gaps: 0 },
            ];
            let images = b"soaSSgaaaa";
            let images =
                if sigs == 0 { [&images[..3], &images[5..]].concat() } else { images.to_vec() };
            let mut out = Vec::new();
            put(
                &mut out,
                &Draft {
                    name: b"\x01x\x00",
                    up: 0,
                    flags: flag::APEX,
                    facts: Some(facts),
                    extents: &extents,
                    images: &images,
                },
            );

            let node = Node::read(&out).unwrap();

            assert_eq!(
                (node.name(), node.facts(), node.big()),
                (&b"\x01x\x00"[..], Some(facts), None)
            );
            let a = node.set(Type::A).unwrap();
            assert_eq!((a.count, a.octets, a.gaps), (2, &b"aaaa"[..], &b""[..]));
            let soa = node.set(Type::SOA).unwrap();
            assert_eq!(
                (soa.octets.len(), soa.data, soa.gaps),
                (3 + sig_octets as usize, 3, &b"g"[..])
            );
            assert!(node.set(Type::MX).is_none());
            assert_eq!(node.sets().count(), 2);
        }
    }
}
