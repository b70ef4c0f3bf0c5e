//! Nodes packed into octets: the form in which a zone is stored, handed around and rendered from.
//!
//! A node is an owner and its RRsets, each with the RRSIG records that cover it. Nodes stand one
//! behind the other in canonical order of their owners:
//!
//! ```text
//! node  := owner (uncompressed wire, case kept)  len:u32  rrset*          len counts the rrsets' octets
//! rrset := type:u16 ttl:u32 count:u16 sigs:u16 len:u32  rdata*count  rdata*sigs   len counts the rdatas' octets
//! rdata := len:u16 octets                                                 uncompressed, case kept
//! ```
//!
//! Numbers are big-endian. RRsets stand in order of type; NSEC and NSEC3 are RRsets like others,
//! RRSIG never is one: it has the TTL of what it covers ([RFC 4034] §3).
//!
//! Reading trusts that a [`Packer`] wrote the octets; damaged ones end an iteration early, they never panic.
//!
//! [RFC 4034]: https://www.rfc-editor.org/rfc/rfc4034

use crate::wire::name::{push_key, wire_len};
use crate::wire::{Name, RrSet, Type};

/// One owner with its RRsets, borrowed from packed octets.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// The owner in uncompressed wire form, case as written.
    pub owner: &'a [u8],
    rrsets: &'a [u8],
}

/// One RRset and the signatures over it, borrowed from packed octets.
#[derive(Debug, Clone, Copy)]
pub struct RrSetRef<'a> {
    pub rtype: Type,
    /// Seconds.
    pub ttl: u32,
    pub count: u16,
    pub sig_count: u16,
    body: &'a [u8],
}

impl<'a> Node<'a> {
    /// The RRsets in order of type.
    pub fn rrsets(self) -> RrSets<'a> {
        RrSets { rest: self.rrsets }
    }

    /// The RRset of one type.
    pub fn rrset(self, rtype: Type) -> Option<RrSetRef<'a>> {
        self.rrsets().find(|set| set.rtype == rtype)
    }

    /// Octets the node takes where it stands.
    pub fn octets(self) -> usize {
        self.owner.len() + 4 + self.rrsets.len()
    }

    /// The [key](Name::key) of the owner, written into `place`: of many nodes it takes no memory anew.
    pub fn key_in(self, place: &mut Vec<u8>) -> &[u8] {
        place.clear();
        push_key(self.owner, place);
        place
    }

    /// Whether the owner's [key](Name::key) comes before `key`; `apex`, whose part is left out of `key`, is the
    /// owner or above it. Most owners have one plain label more, and are compared where they lie.
    pub fn is_before(self, apex: &Name, key: &[u8], place: &mut Vec<u8>) -> bool {
        let own = self.owner.len().saturating_sub(apex.as_wire().len());
        let own = self.owner.get(..own).unwrap_or_default();
        match own.split_first() {
            Some((len, label))
                if usize::from(*len) == label.len() && label.iter().all(|octet| *octet > 1) =>
            {
                let folded = label.iter().map(u8::to_ascii_lowercase);
                folded.chain([0]).lt(key.iter().copied())
            }
            _ => {
                place.clear();
                push_key(own, place);
                place.as_slice() < key
            }
        }
    }

    /// The owner as a name of its own.
    pub fn name(self) -> Name {
        Name::from_wire(self.owner).unwrap_or_else(|_| Name::root())
    }
}

impl<'a> RrSetRef<'a> {
    /// The RDATA, in canonical order.
    pub fn rdatas(self) -> Rdatas<'a> {
        Rdatas { rest: self.body, left: self.count }
    }

    /// The RDATA of the RRSIG records that cover this set.
    pub fn sigs(self) -> Rdatas<'a> {
        let mut all = Rdatas { rest: self.body, left: self.count };
        all.by_ref().for_each(drop);
        Rdatas { rest: all.rest, left: self.sig_count }
    }

    /// The set as owned records under `owner`, without its signatures.
    pub fn to_owned(self, owner: &Name) -> RrSet {
        RrSet::new(owner.clone(), self.rtype, self.ttl, self.rdatas().map(Into::into).collect())
    }
}

/// The nodes in `octets`, in order.
pub fn nodes(octets: &[u8]) -> Nodes<'_> {
    Nodes { rest: octets }
}

/// The nodes in `octets` without what a signer added: signatures, denial, and at the apex, which is the
/// first of them, keys, their announcements and the digest. Sets of signatures alone go.
pub fn strip(octets: &[u8]) -> Vec<u8> {
    const DENIAL: [Type; 2] = [Type::NSEC, Type::NSEC3];
    const AT_APEX: [Type; 5] =
        [Type::DNSKEY, Type::NSEC3PARAM, Type::CDS, Type::CDNSKEY, Type::ZONEMD];
    let mut packer = Packer::default();
    for (number, node) in nodes(octets).enumerate() {
        let added = |rtype| DENIAL.contains(&rtype) || number == 0 && AT_APEX.contains(&rtype);
        let kept = node.rrsets().filter(|set| set.count > 0 && !added(set.rtype));
        let mut kept = kept.peekable();
        if kept.peek().is_none() {
            continue;
        }
        packer.node(node.owner);
        kept.for_each(|set| packer.rrset(set.rtype, set.ttl, set.rdatas(), []));
    }
    packer.finish()
}

/// Iterates over packed nodes.
#[derive(Debug, Clone)]
pub struct Nodes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let (owner, rest) = self.rest.split_at_checked(wire_len(self.rest).ok()?)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (rrsets, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        self.rest = rest;
        Some(Node { owner, rrsets })
    }
}

/// Iterates over the RRsets of a node.
#[derive(Debug, Clone)]
pub struct RrSets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RrSets<'a> {
    type Item = RrSetRef<'a>;

    fn next(&mut self) -> Option<RrSetRef<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<14>()?;
        let [t0, t1, l0, l1, l2, l3, c0, c1, s0, s1, n0, n1, n2, n3] = *head;
        let len = u32::from_be_bytes([n0, n1, n2, n3]) as usize;
        let (body, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(RrSetRef {
            rtype: Type(u16::from_be_bytes([t0, t1])),
            ttl: u32::from_be_bytes([l0, l1, l2, l3]),
            count: u16::from_be_bytes([c0, c1]),
            sig_count: u16::from_be_bytes([s0, s1]),
            body,
        })
    }
}

/// Iterates over RDATA.
#[derive(Debug, Clone)]
pub struct Rdatas<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for Rdatas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = self.rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        self.rest = rest;
        Some(rdata)
    }
}

/// Writes nodes. The caller keeps the order: owners canonically, RRsets by type, RDATA canonically.
#[derive(Debug, Default)]
pub struct Packer {
    octets: Vec<u8>,
    node_len_at: Option<usize>,
}

impl Packer {
    /// A packer with room for so many octets.
    pub fn with_capacity(octets: usize) -> Packer {
        Packer { octets: Vec::with_capacity(octets), ..Packer::default() }
    }

    /// A packer that writes into `octets`, over what was there.
    pub fn over(mut octets: Vec<u8>) -> Packer {
        octets.clear();
        Packer { octets, ..Packer::default() }
    }

    /// Starts a node; what follows belongs to it.
    pub fn node(&mut self, owner: &[u8]) {
        self.close_node();
        self.octets.extend_from_slice(owner);
        self.node_len_at = Some(self.octets.len());
        self.octets.extend_from_slice(&[0; 4]);
    }

    /// Adds an RRset with its signatures to the node begun last.
    pub fn rrset<'r>(
        &mut self,
        rtype: Type,
        ttl: u32,
        rdatas: impl IntoIterator<Item = &'r [u8]>,
        sigs: impl IntoIterator<Item = &'r [u8]>,
    ) {
        let head_at = self.octets.len();
        self.octets.extend_from_slice(&[0; 14]);
        let body_at = self.octets.len();
        let count = self.push_rdatas(rdatas);
        let sig_count = self.push_rdatas(sigs);
        let len = (self.octets.len() - body_at) as u32;
        let mut head = [0; 14];
        head[..2].copy_from_slice(&rtype.0.to_be_bytes());
        head[2..6].copy_from_slice(&ttl.to_be_bytes());
        head[6..8].copy_from_slice(&count.to_be_bytes());
        head[8..10].copy_from_slice(&sig_count.to_be_bytes());
        head[10..].copy_from_slice(&len.to_be_bytes());
        self.octets[head_at..body_at].copy_from_slice(&head);
    }

    /// Adds a whole node as it stands in another packing; nothing more belongs to it.
    pub fn push(&mut self, node: Node<'_>) {
        self.close_node();
        self.octets.extend_from_slice(node.owner);
        self.octets.extend_from_slice(&(node.rrsets.len() as u32).to_be_bytes());
        self.octets.extend_from_slice(node.rrsets);
    }

    /// Adds whole nodes as they stand in another packing.
    pub fn push_all(&mut self, nodes: &[u8]) {
        self.close_node();
        self.octets.extend_from_slice(nodes);
    }

    /// Adds a whole RRset as it stands in another packing.
    pub fn copy(&mut self, set: RrSetRef<'_>) {
        self.rrset(set.rtype, set.ttl, set.rdatas(), set.sigs());
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The octets of all finished nodes, and the node begun last as far as it is written.
    pub fn written(&self) -> &[u8] {
        &self.octets
    }

    /// The finished octets.
    pub fn finish(mut self) -> Vec<u8> {
        self.close_node();
        self.octets
    }

    fn push_rdatas<'r>(&mut self, rdatas: impl IntoIterator<Item = &'r [u8]>) -> u16 {
        let mut count = 0;
        for rdata in rdatas {
            self.octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            self.octets.extend_from_slice(rdata);
            count += 1;
        }
        count
    }

    /// Ends the node begun last; the next RRset needs a new one.
    pub fn close_node(&mut self) {
        if let Some(at) = self.node_len_at.take() {
            let len = (self.octets.len() - at - 4) as u32;
            self.octets[at..at + 4].copy_from_slice(&len.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_again() {
        let owner = Name::parse("Www.example.").unwrap();
        let mut packer = Packer::default();
        packer.node(owner.as_wire());
        packer.rrset(
            Type::A,
            60,
            [b"\x01\x02\x03\x04" as &[u8], b"\x01\x02\x03\x05"],
            [b"sig" as &[u8]],
        );
        packer.rrset(Type::TXT, 61, [b"\x01x" as &[u8]], []);
        packer.node(Name::root().as_wire());
        let octets = packer.finish();

        let read: Vec<Node<'_>> = nodes(&octets).collect();

        assert_eq!(read.len(), 2);
        assert_eq!(read[0].owner, owner.as_wire());
        let a = read[0].rrset(Type::A).unwrap();
        assert_eq!(a.rdatas().collect::<Vec<_>>(), [b"\x01\x02\x03\x04", b"\x01\x02\x03\x05"]);
        assert_eq!(a.sigs().collect::<Vec<_>>(), [b"sig"]);
        assert_eq!(read[0].rrset(Type::TXT).unwrap().ttl, 61);
        assert_eq!(read[1].rrsets().count(), 0);
    }

    #[test]
    fn a_node_stands_before_a_key_as_its_own_key_does() {
        let names =
            ["x.", "*.x.", "A.x.", "a.a.x.", "\\000.a.x.", "ab.x.", "a-.x.", "\\001.x.", "b.ab.x."];
        let names = names.map(|text| Name::parse(text).unwrap());
        let (apex, mut place) = (&names[0], Vec::new());
        for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (one, other)))
        {
            let node = Node { owner: one.as_wire(), rrsets: &[] };
            let key = other.key();
            let relative = &key[apex.key().len()..];
            assert_eq!(
                node.is_before(apex, relative, &mut place),
                one.key() < key,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn a_stripped_zone_has_nothing_a_signer_added() {
        let mut packer = Packer::default();
        packer.node(Name::parse("example.").unwrap().as_wire());
        packer.rrset(Type::SOA, 60, [b"soa" as &[u8]], [b"sig" as &[u8]]);
        packer.rrset(Type::NSEC, 60, [b"nsec" as &[u8]], [b"sig" as &[u8]]);
        packer.rrset(Type::DNSKEY, 60, [b"key" as &[u8]], [b"sig" as &[u8]]);
        packer.node(Name::parse("hash.example.").unwrap().as_wire());
        packer.rrset(Type::NSEC3, 60, [b"nsec3" as &[u8]], []);
        packer.node(Name::parse("only-signed-anew.example.").unwrap().as_wire());
        packer.rrset(Type::A, 60, [], [b"sig" as &[u8]]);
        packer.node(Name::parse("_dsboot.x._signal.example.").unwrap().as_wire());
        packer.rrset(Type::CDS, 60, [b"cds" as &[u8]], [b"sig" as &[u8]]);
        let octets = packer.finish();

        let stripped = strip(&octets);

        let left: Vec<(String, Vec<RrSetRef<'_>>)> = nodes(&stripped)
            .map(|node| (node.name().to_string(), node.rrsets().collect()))
            .collect();
        let types: Vec<(&str, Vec<Type>)> = left
            .iter()
            .map(|(owner, sets)| (owner.as_str(), sets.iter().map(|set| set.rtype).collect()))
            .collect();
        // What others announce below the apex is theirs (RFC 9615 §2): it stays.
        let kept = [("example.", vec![Type::SOA]), ("_dsboot.x._signal.example.", vec![Type::CDS])];
        assert_eq!(types, kept);
        assert!(left.iter().all(|(_, sets)| sets.iter().all(|set| set.sig_count == 0)));
    }
}
