//! ZONEMD: the digest of a whole zone, made and checked ([RFC 8976]).
//!
//! A zone is digested record by record in canonical order, signatures with it; what cannot be in is
//! left out: the digest itself and the signatures over it. So the digest comes last of all that a
//! version is made of, and costs reading the whole zone.
//!
//! Promises: one pass, no copy of the zone; a zone that says nothing about itself is told apart from
//! one that is not what it says.
//!
//! Does not: validate the signature over the digest (see [`vouch`](super::vouch)). Without that it guards
//! against accidents, not against whoever could change the zone on its way ([RFC 8976] §6.1).
//!
//! [RFC 8976]: https://www.rfc-editor.org/rfc/rfc8976

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use ring::digest::{Context, SHA384, SHA512};

use crate::wire::{RrSet, Serial, Type, rdata};
use crate::zone::delta::{Set, set_at};
use crate::zone::packed::{Node, RrSetRef};
use crate::zone::{ReadFault, View};

/// The scheme that is known: all records in one digest ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §2.2.2).
const SIMPLE: u8 = 1;

/// Octets of ZONEMD RDATA before the digest: serial, scheme, hash algorithm.
const HEAD_OCTETS: usize = 6;

/// Octets of packed nodes that a zone with a digest may have.
///
/// Every commit reads all of them while others wait; `benches/sign.rs` prints how long a MiB takes.
pub const OCTETS_MAX: i64 = 16 << 20;

/// A hash algorithm of ZONEMD ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha384,
    Sha512,
}

impl Hash {
    /// Its number in the registry.
    pub fn number(self) -> u8 {
        match self {
            Hash::Sha384 => 1,
            Hash::Sha512 => 2,
        }
    }

    fn from_number(number: u8) -> Option<Hash> {
        [Hash::Sha384, Hash::Sha512].into_iter().find(|hash| hash.number() == number)
    }

    fn context(self) -> Context {
        Context::new(match self {
            Hash::Sha384 => &SHA384,
            Hash::Sha512 => &SHA512,
        })
    }
}

/// What a zone says of itself, when that is not wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has no digest.
    None,
    /// It has digests, all of kinds that are not known here: it can be neither believed nor doubted.
    Unknown,
    /// It is what its digest says.
    Holds(Hash),
}

/// Why a zone is not what its digest says. Whoever publishes or sends it has to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZonemdError {
    /// There is no SOA to compare serials with.
    NoSoa,
    /// The digest is of another version.
    Serial { digest: Serial, soa: Serial },
    /// Two digests of one kind: none of them counts ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §4).
    Twice,
    /// The records are not those the digest was made of.
    Differs,
    /// No signature holds over this set at the apex, which vouches for the digest.
    Unvouched(Type),
    /// The zone cannot be read. An operator's to repair.
    Unreadable(ReadFault),
}

impl fmt::Display for ZonemdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZonemdError::NoSoa => f.write_str("zone has a digest (ZONEMD) and no SOA"),
            ZonemdError::Serial { digest, soa } => {
                write!(f, "digest (ZONEMD) is of serial {digest}, the zone has serial {soa}")
            }
            ZonemdError::Twice => {
                f.write_str("zone has two digests (ZONEMD) of one scheme and hash algorithm")
            }
            ZonemdError::Differs => {
                f.write_str("records are not those the zone's digest (ZONEMD) was made of")
            }
            ZonemdError::Unvouched(rtype) => {
                write!(
                    f,
                    "no signature over {rtype} holds, which is to vouch for the zone's digest (ZONEMD)"
                )
            }
            ZonemdError::Unreadable(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ZonemdError {}

impl From<ReadFault> for ZonemdError {
    fn from(fault: ReadFault) -> ZonemdError {
        ZonemdError::Unreadable(fault)
    }
}

/// Checks that a zone is what its digest says, if it has one ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §4, without DNSSEC).
///
/// One digest that holds is enough. Costs nothing in a zone without a digest of a known kind, else one
/// pass through the zone for each until one holds.
///
/// # Errors
///
/// Why no digest holds, though some is of a known kind. The zone must not be served as new then.
pub fn check(view: &dyn View) -> Result<Verdict, ZonemdError> {
    let Some(zonemd) = set_at(view, view.apex(), Type::ZONEMD)? else { return Ok(Verdict::None) };
    let digests = known(&zonemd.rrset);
    if digests.is_empty() {
        return Ok(Verdict::Unknown);
    }
    let soa = set_at(view, view.apex(), Type::SOA)?;
    let soa = soa.and_then(|soa| soa.rrset.soa_serial()).ok_or(ZonemdError::NoSoa)?;
    let mut why = ZonemdError::Twice;
    for digests in digests.values() {
        let [digest] = digests.as_slice() else { continue };
        if digest.serial != soa {
            why = ZonemdError::Serial { digest: digest.serial, soa };
        } else if of(view, digest.hash)? == digest.octets {
            return Ok(Verdict::Holds(digest.hash));
        } else {
            why = ZonemdError::Differs;
        }
    }
    Err(why)
}

/// One ZONEMD record of a known kind.
struct Known<'a> {
    serial: Serial,
    hash: Hash,
    octets: &'a [u8],
}

/// The digests of known kinds, by kind.
fn known(set: &RrSet) -> BTreeMap<u8, Vec<Known<'_>>> {
    let mut known: BTreeMap<u8, Vec<Known<'_>>> = BTreeMap::new();
    for rdata in set.rdatas() {
        let Some((head, octets)) = rdata.split_first_chunk::<HEAD_OCTETS>() else { continue };
        let [s0, s1, s2, s3, scheme, number] = *head;
        let serial = Serial(u32::from_be_bytes([s0, s1, s2, s3]));
        if let Some(hash) = Hash::from_number(number).filter(|_| scheme == SIMPLE) {
            known.entry(number).or_default().push(Known { serial, hash, octets });
        }
    }
    known
}

/// ZONEMD RDATA for a version.
pub fn rdata(serial: Serial, hash: Hash, digest: &[u8]) -> Box<[u8]> {
    [&serial.0.to_be_bytes()[..], &[SIMPLE, hash.number()], digest].concat().into()
}

/// The digest of a zone as it is.
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn of(view: &dyn View, hash: Hash) -> Result<Vec<u8>, ReadFault> {
    let mut digester = Digester::new(view.apex().as_wire(), hash);
    view.walk(&[], &mut |node| {
        digester.node(node);
        ControlFlow::Continue(())
    })?;
    Ok(digester.finish())
}

/// The ZONEMD set a zone must have as it is, without signatures.
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn set(view: &dyn View, soa: &Set, hash: Hash) -> Result<RrSet, ReadFault> {
    let serial = soa.rrset.soa_serial().unwrap_or(Serial(0));
    let digest = rdata(serial, hash, &of(view, hash)?);
    Ok(RrSet::new(view.apex().clone(), Type::ZONEMD, soa.rrset.ttl, vec![digest]))
}

/// Digests a zone node by node, in canonical order.
struct Digester {
    context: Context,
    /// In lower case.
    apex: Vec<u8>,
    /// Of the node at hand, in lower case.
    owner: Vec<u8>,
    record: Vec<u8>,
}

impl Digester {
    fn new(apex: &[u8], hash: Hash) -> Digester {
        Digester {
            context: hash.context(),
            apex: apex.to_ascii_lowercase(),
            owner: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Takes in a node: its sets in order of type, where the signatures over all of them are one of
    /// type RRSIG, but for what is left out ([RFC 8976](https://www.rfc-editor.org/rfc/rfc8976) §3.3.1).
    fn node(&mut self, node: Node<'_>) {
        self.owner.clear();
        self.owner.extend(node.owner.iter().map(u8::to_ascii_lowercase));
        let at_apex = self.owner == self.apex;
        let left_out = |set: &RrSetRef<'_>| at_apex && set.rtype == Type::ZONEMD;
        let sets = || node.rrsets().filter(|set| !left_out(set));
        for set in sets().filter(|set| set.rtype < Type::RRSIG) {
            self.set(set);
        }
        // They stand in order of what they cover, with which their RDATA begins.
        for set in sets() {
            let mut sigs: Vec<_> =
                set.sigs().map(|sig| rdata::canonical(Type::RRSIG, sig)).collect();
            sigs.sort_unstable();
            sigs.dedup();
            for sig in sigs {
                self.record(Type::RRSIG, set.ttl, &sig);
            }
        }
        for set in sets().filter(|set| set.rtype > Type::RRSIG) {
            self.set(set);
        }
    }

    /// RDATA of a packed set are in canonical order, none twice.
    fn set(&mut self, set: RrSetRef<'_>) {
        for octets in set.rdatas() {
            self.record(set.rtype, set.ttl, &rdata::canonical(set.rtype, octets));
        }
    }

    fn record(&mut self, rtype: Type, ttl: u32, canonical: &[u8]) {
        self.record.clear();
        self.record.extend_from_slice(&self.owner);
        self.record.extend_from_slice(&rtype.0.to_be_bytes());
        self.record.extend_from_slice(&[0, 1]);
        self.record.extend_from_slice(&ttl.to_be_bytes());
        self.record.extend_from_slice(&(canonical.len() as u16).to_be_bytes());
        self.record.extend_from_slice(canonical);
        self.context.update(&self.record);
    }

    fn finish(self) -> Vec<u8> {
        self.context.finish().as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use crate::zone::text::{Options, parse};
    use crate::zone::tree::{PackedZone, Tree};

    fn tree(apex: &str, text: &str) -> Tree {
        let apex = Name::parse(apex).unwrap();
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        // Data outside the zone has to be left out, and is never let in here.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("foo.test.")).collect();
        let text = lines.join("\n");
        Tree::new(apex, &parse(text.as_bytes(), options).unwrap().packed)
    }

    const SIMPLE_ZONE: &str = include_str!("../../tests/golden/rfc/8976-a1.zone");
    const COMPLEX: &str = include_str!("../../tests/golden/rfc/8976-a2.zone");
    const MULTIPLE: &str = include_str!("../../tests/golden/rfc/8976-a3.zone");
    const URI_ARPA: &str = include_str!("../../tests/golden/rfc/8976-a4.zone");
    const ROOT_SERVERS: &str = include_str!("../../tests/golden/rfc/8976-a5.zone");

    #[test]
    fn rfc8976_a_the_example_zones_are_what_their_digests_say() {
        let zones = [
            ("example.", SIMPLE_ZONE),
            ("example.", COMPLEX),
            ("example.", MULTIPLE),
            ("uri.arpa.", URI_ARPA),
            ("root-servers.net.", ROOT_SERVERS),
        ];
        for (apex, text) in zones {
            assert_eq!(check(&tree(apex, text)), Ok(Verdict::Holds(Hash::Sha384)), "{text}");
        }
    }

    /// Goal: each record counts, but for the digest at the apex and the signatures over it.
    #[test]
    fn rfc8976_3_3_1_a_zone_without_one_of_its_records_is_another() {
        let said = |line: &str| line.contains(" ZONEMD ") && !line.starts_with("non-apex");
        for text in [SIMPLE_ZONE, COMPLEX] {
            let lines: Vec<&str> = text.lines().collect();
            for (number, gone) in lines.iter().enumerate() {
                let keeps = |at: &usize| *at != number;
                let kept = (0..lines.len()).filter(keeps).map(|at| lines[at]);
                let text = kept.collect::<Vec<_>>().join("\n");
                let silent = ["$", ";", "foo.test.", "duplicate"]; // the last stands there twice
                if gone.trim().is_empty() || silent.iter().any(|word| gone.starts_with(word)) {
                    continue;
                }
                let expected = match *gone {
                    gone if said(gone) => Ok(Verdict::None),
                    gone if gone.contains(" SOA ") => Err(ZonemdError::NoSoa),
                    _ => Err(ZonemdError::Differs),
                };
                assert_eq!(check(&tree("example.", &text)), expected, "without {gone}");
            }
        }
        let signed = format!(
            "{SIMPLE_ZONE}\n@ 86400 RRSIG ZONEMD 13 1 86400 20300101000000 20200101000000 1 example. AAAA\n"
        );
        assert_eq!(check(&tree("example.", &signed)), Ok(Verdict::Holds(Hash::Sha384)));
        let signed = format!(
            "{SIMPLE_ZONE}\n@ 86400 RRSIG NS 13 1 86400 20300101000000 20200101000000 1 example. AAAA\n"
        );
        assert_eq!(check(&tree("example.", &signed)), Err(ZonemdError::Differs));
    }

    #[test]
    fn rfc8976_4_one_digest_that_holds_is_enough() {
        let with = |zonemd: &str| {
            let others = MULTIPLE.lines().filter(|line| !line.contains(" ZONEMD "));
            let others = others.collect::<Vec<_>>().join("\n");
            check(&tree("example.", &format!("{others}\n{zonemd}")))
        };
        let hex = |hash: Hash, view: &Tree| {
            of(view, hash).unwrap().iter().map(|octet| format!("{octet:02x}")).collect::<String>()
        };
        let view = tree("example.", MULTIPLE);
        let (short, long) = (hex(Hash::Sha384, &view), hex(Hash::Sha512, &view));
        let record = |serial: u32, scheme: u8, hash: u8, digest: &str| {
            format!("@ 86400 ZONEMD {serial} {scheme} {hash} {digest}\n")
        };
        let now = 2_018_031_900;
        let wrong = short.replace('0', "1");

        assert_eq!(with(""), Ok(Verdict::None));
        assert_eq!(with(&record(now, 1, 2, &long)), Ok(Verdict::Holds(Hash::Sha512)));
        let mixed = record(now, 1, 1, &wrong) + &record(now, 1, 2, &long);
        assert_eq!(with(&mixed), Ok(Verdict::Holds(Hash::Sha512)));
        assert_eq!(with(&record(now, 1, 1, &wrong)), Err(ZonemdError::Differs));
        assert_eq!(with(&record(now, 1, 1, &short[..32])), Err(ZonemdError::Differs));
        let unknown = record(now, 240, 1, &short) + &record(now, 1, 240, &short);
        assert_eq!(with(&unknown), Ok(Verdict::Unknown));
        let twice = record(now, 1, 1, &short) + &record(now, 1, 1, &wrong);
        assert_eq!(with(&twice), Err(ZonemdError::Twice));
        let (digest, soa) = (Serial(now - 1), Serial(now));
        assert_eq!(with(&record(now - 1, 1, 1, &short)), Err(ZonemdError::Serial { digest, soa }));
    }

    #[test]
    fn a_set_made_for_a_zone_is_one_that_holds() {
        let mut view = tree("example.", COMPLEX);
        let soa = set_at(&view, view.apex(), Type::SOA).unwrap().unwrap();
        let before = set_at(&view, view.apex(), Type::ZONEMD).unwrap();
        let rrset = set(&view, &soa, Hash::Sha512).unwrap();
        let (owner, rtype) = (view.apex().clone(), Type::ZONEMD);
        let after = Some(Set { rrset, sigs: Vec::new() });
        let change = crate::zone::delta::SetChange { owner, rtype, before, after };
        view.apply(&crate::zone::delta::Delta::new(vec![change]));
        assert_eq!(check(&view), Ok(Verdict::Holds(Hash::Sha512)));
    }

    #[test]
    fn it_does_not_matter_in_which_form_a_zone_is_read() {
        let apex = Name::parse("uri.arpa.").unwrap();
        let packed = tree("uri.arpa.", URI_ARPA).to_packed();
        assert_eq!(check(&PackedZone::new(apex, &packed)), Ok(Verdict::Holds(Hash::Sha384)));
    }
}
