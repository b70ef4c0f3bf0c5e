//! The records that deny: what an NSEC or NSEC3 says, and how owners are hashed.
//!
//! NSEC3 is made without salt and further iterations, as [RFC 9276] §3.1 asks.
//!
//! [RFC 9276]: https://www.rfc-editor.org/rfc/rfc9276

use sha1::{Digest, Sha1};

use super::authority::Kind;
use crate::wire::rdata::bitmap;
use crate::wire::{Name, Type};
use crate::zone::packed::Node;

/// A hashed owner ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §5).
pub type Hash = [u8; 20];

/// Characters of a hashed owner's label.
const LABEL_OCTETS: usize = 32;

const BASE32HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The NSEC3PARAM RDATA of every zone signed here: SHA-1, no flags, no iterations, no salt.
pub const NSEC3PARAM: [u8; 5] = [1, 0, 0, 0, 0];

/// Octets of NSEC3 RDATA before the next hash.
const NSEC3_HEAD: usize = 6;

/// Hashes an owner in lower-case wire form.
pub fn hash(owner: &[u8]) -> Hash {
    Sha1::digest(owner).into()
}

/// The owner under which `hash` stands in the zone `apex`; none if that name is too long.
pub fn hash_owner(hash: &Hash, apex: &Name) -> Option<Name> {
    apex.child(&hash_label(hash)).ok()
}

fn hash_label(hash: &Hash) -> [u8; LABEL_OCTETS] {
    let mut label = [0; LABEL_OCTETS];
    for (chunk, out) in hash.chunks_exact(5).zip(label.chunks_exact_mut(8)) {
        let bits = chunk.iter().fold(0u64, |bits, &octet| bits << 8 | u64::from(octet));
        for (at, slot) in out.iter_mut().enumerate() {
            let five = (bits >> (35 - 5 * at) & 31) as usize;
            *slot = BASE32HEX.get(five).copied().unwrap_or_default();
        }
    }
    label
}

/// Whether an owner in wire form begins as a hashed one does: most names do not.
pub fn may_be_hashed(owner: &[u8]) -> bool {
    owner.first().is_some_and(|&len| usize::from(len) == LABEL_OCTETS)
}

/// The hash an owner stands for, if it is a hashed owner of the zone `apex`.
pub fn hash_of(owner: &Name, apex: &Name) -> Option<Hash> {
    let label = owner.labels().next().filter(|label| label.len() == LABEL_OCTETS)?;
    if owner.parent()? != *apex {
        return None;
    }
    let mut hash = Hash::default();
    for (chunk, out) in label.chunks_exact(8).zip(hash.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for octet in chunk {
            let five = BASE32HEX.iter().position(|&known| known == octet.to_ascii_lowercase())?;
            bits = bits << 5 | five as u64;
        }
        out.copy_from_slice(bits.to_be_bytes().get(3..)?);
    }
    Some(hash)
}

/// Whether a type is made by the signer to deny.
pub fn is_denial(rtype: Type) -> bool {
    matches!(rtype, Type::NSEC | Type::NSEC3)
}

/// Whether a node has records that people or plans put there: denial alone makes no name.
pub fn has_data(node: Node<'_>) -> bool {
    node.rrsets().any(|set| set.count > 0 && !is_denial(set.rtype))
}

/// The types that the denial of a name lists ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §4.1.2, [RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §7.1).
///
/// `types` are those the name has, as far as people and plans put them there.
pub fn listed(types: impl Iterator<Item = Type>, kind: Kind, nsec: bool) -> Vec<Type> {
    let own = |rtype: &Type| match kind {
        Kind::Cut => matches!(*rtype, Type::NS | Type::DS),
        _ => !is_denial(*rtype),
    };
    let mut listed: Vec<Type> = types.filter(own).collect();
    let signed = match kind {
        Kind::Cut => listed.contains(&Type::DS),
        _ => !listed.is_empty(),
    };
    if nsec {
        listed.push(Type::NSEC);
    }
    if nsec || signed {
        listed.push(Type::RRSIG);
    }
    listed
}

/// NSEC RDATA ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §4.1).
pub fn nsec(next: &[u8], mut types: Vec<Type>) -> Box<[u8]> {
    let mut rdata = next.to_ascii_lowercase();
    bitmap::push(&mut types, &mut rdata);
    rdata.into()
}

/// NSEC3 RDATA ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §3.2).
pub fn nsec3(opt_out: bool, next: &Hash, mut types: Vec<Type>) -> Box<[u8]> {
    let mut rdata = vec![1, u8::from(opt_out), 0, 0, 0, next.len() as u8];
    rdata.extend_from_slice(next);
    bitmap::push(&mut types, &mut rdata);
    rdata.into()
}

/// The next hash in NSEC3 RDATA; none if it is not as this signer makes it.
pub fn next_of(rdata: &[u8]) -> Option<Hash> {
    let (head, rest) = rdata.split_at_checked(NSEC3_HEAD)?;
    matches!(head, [1, 0 | 1, 0, 0, 0, 20]).then(|| rest.first_chunk().copied()).flatten()
}

/// The same NSEC3 RDATA with another next hash.
pub fn with_next(rdata: &[u8], next: &Hash) -> Box<[u8]> {
    let mut rdata: Box<[u8]> = rdata.into();
    if let Some(slot) = rdata.get_mut(NSEC3_HEAD..NSEC3_HEAD + next.len()) {
        slot.copy_from_slice(next);
    }
    rdata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5155_1_3_a_hashed_owner_leads_back_to_its_hash() {
        let apex = Name::parse("example.").unwrap();
        let owner = hash_owner(&hash(b"\x01a\x07example\x00"), &apex).unwrap();
        assert_eq!(hash_of(&owner, &apex), Some(hash(b"\x01a\x07example\x00")));
        assert_eq!(hash_of(&Name::parse("www.example.").unwrap(), &apex), None);
        let deeper = Name::parse(&format!("{}.b.example.", "0".repeat(32))).unwrap();
        assert_eq!(hash_of(&deeper, &apex), None);
    }

    #[test]
    fn rfc9276_3_1_the_hash_of_the_apex_is_known() {
        // `nsec3hash - 1 0 example.` of BIND.
        let owner = hash_owner(&hash(b"\x07example\x00"), &Name::root()).unwrap();
        assert_eq!(owner.to_string().len(), 33);
    }

    #[test]
    fn what_is_listed_depends_on_who_owns_the_name() {
        let all = [Type::NS, Type::DS, Type::A, Type::NSEC];
        let shown = |kind, nsec| listed(all.into_iter(), kind, nsec);
        assert_eq!(shown(Kind::Cut, true), [Type::NS, Type::DS, Type::NSEC, Type::RRSIG]);
        assert_eq!(shown(Kind::Cut, false), [Type::NS, Type::DS, Type::RRSIG]);
        assert_eq!(listed([Type::NS].into_iter(), Kind::Cut, false), [Type::NS]);
        assert!(listed([].into_iter(), Kind::Own, false).is_empty());
        assert_eq!(shown(Kind::Own, true), [Type::NS, Type::DS, Type::A, Type::NSEC, Type::RRSIG]);
    }

    #[test]
    fn next_hashes_are_read_and_replaced() {
        let rdata = nsec3(true, &[1; 20], vec![Type::A]);
        assert_eq!(next_of(&rdata), Some([1; 20]));
        assert_eq!(next_of(&with_next(&rdata, &[2; 20])), Some([2; 20]));
        assert_eq!(next_of(b"short"), None);
    }
}
