//! Denial of existence: which NSEC or NSEC3 records a negative answer needs, no more and no less
//! ([RFC 4035] §3.1.3, [RFC 5155] §7.2).
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use sha1::{Digest, Sha1};

use super::asked::Asked;
use super::chain::{Chain, Denial, Entry};
use super::image::RECORD_HEAD;
use super::node::{Node, flag};
use super::respond::Turn;
use crate::wire::reply::{Full, Section};

/// Proofs of one answer: one for each wildcard of a chain, three for its end, and some room.
const PROOFS_MAX: usize = 24;

/// What is to be proven absent. Labels are counted from the name asked for upwards.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absence {
    /// The name `skip` labels above exists, but has no such type.
    Type { skip: usize },
    /// The name does not exist, nor a wildcard below its closest encloser.
    Name { encloser: usize },
    /// The name does not exist, and a wildcard below its closest encloser answers.
    Closer { encloser: usize },
    /// The same, and the wildcard has no such type.
    StarType { encloser: usize },
}

/// A proof to be put: an entry of a chain, and where its zone's apex stands in the message.
#[derive(Clone, Copy)]
struct Proof<'s> {
    entry: &'s [u8],
    is_nsec3: bool,
    apex_at: u16,
}

/// The proofs gathered for one answer, each once.
#[derive(Default)]
pub(super) struct Proofs<'s> {
    list: [Option<Proof<'s>>; PROOFS_MAX],
    count: usize,
    /// How many of them stand in the message.
    put: usize,
}

impl<'s> Proofs<'s> {
    /// The first that is not yet put, which it is then.
    #[inline(always)]
    fn next(&mut self) -> Option<Proof<'s>> {
        let proof = *self.list.get(..self.count)?.get(self.put)?;
        self.put += 1;
        proof
    }

    fn push(&mut self, proof: Proof<'s>) {
        let same = |other: &&Proof<'s>| std::ptr::eq(other.entry, proof.entry);
        let known = self.list.iter().take(self.count).flatten();
        if known.clone().any(|other| same(&other)) {
            return;
        }
        if let Some(slot) = self.list.get_mut(self.count) {
            *slot = Some(proof);
            self.count += 1;
        }
    }
}

impl<'s> Turn<'_, 's, '_> {
    /// Gathers what proves `absence`; `node` is the wildcard that answers.
    #[inline(always)]
    pub fn prove<A: Asked>(&mut self, asked: &A, star: Node<'s>, absence: Absence) {
        if self.proofs.is_none() {
            return;
        }
        if let Absence::Closer { encloser } = absence {
            let skip = encloser + star.up() - 1;
            if let Some(apex) = self.snapshot.find(asked.hash(skip), asked.suffix(skip)) {
                self.prove_in(asked, apex, skip, absence);
            }
        }
    }

    /// Gathers what proves `absence` in the zone whose apex stands `skip` labels above.
    #[inline(always)]
    pub fn prove_in<A: Asked>(&mut self, asked: &A, apex: Node<'s>, skip: usize, absence: Absence) {
        if self.proofs.is_some() && apex.is(flag::SIGNED) {
            self.gather(asked, apex, skip, absence);
        }
    }

    #[inline(never)]
    fn gather<A: Asked>(&mut self, asked: &A, apex: Node<'s>, skip: usize, absence: Absence) {
        let snapshot = self.snapshot;
        let chain = apex.facts().and_then(|facts| snapshot.chains.get(&facts.zone));
        let (Some(chain), Some(proofs)) = (chain, &mut self.proofs) else { return };
        let apex_at = asked.place(asked.offset(skip));
        let mut gatherer = Gatherer { asked, apex: skip, chain, proofs, apex_at };
        match &chain.denial {
            Denial::Nsec => gatherer.nsec(absence),
            Denial::Nsec3 { iterations, salt } => {
                gatherer.nsec3(&Hasher { iterations: *iterations, salt }, absence);
            }
        }
    }

    /// Puts the NSEC RRset of a name in answer to itself; returns whether there was one.
    #[cold]
    pub fn put_own_nsec<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        star: Option<usize>,
    ) -> Result<bool, Full> {
        let snapshot = self.snapshot;
        let skip = star.map_or(0, |encloser| encloser - 1) + node.up();
        let apex = snapshot.find(asked.hash(skip), asked.suffix(skip));
        let chain = apex.and_then(|apex| snapshot.chains.get(&apex.facts()?.zone));
        let Some(chain) = chain.filter(|chain| chain.denial == Denial::Nsec) else {
            return Ok(false);
        };
        let mut key = Key::default();
        key.set(asked, star.unwrap_or(0), skip);
        if star.is_some() {
            key.push_star();
        }
        let Some(entry) = chain.get(key.octets()) else { return Ok(false) };
        if let Some(encloser) = star {
            self.prove(asked, node, Absence::Closer { encloser });
        }
        let owner = 0xc000 | asked.place(0);
        for (number, record) in records(entry.image).enumerate() {
            if number == 0 || self.wants_sigs {
                let rest = record.get(2..).unwrap_or_default();
                self.reply.put_parts(Section::Answer, &[&owner.to_be_bytes(), rest])?;
            }
        }
        Ok(true)
    }

    /// Puts the proofs gathered so far into the authority section.
    #[inline(always)]
    pub fn put_proofs(&mut self) -> Result<(), Full> {
        while let Some(proof) = self.proofs.as_mut().and_then(Proofs::next) {
            self.put_proof(proof)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn put_proof(&mut self, proof: Proof<'s>) -> Result<(), Full> {
        let Some(entry) = Entry::read(proof.entry) else { return Ok(()) };
        let mut buffer = [0; OWNER_MAX];
        let len = match proof.is_nsec3 {
            true => put_hashed_owner(entry.key, proof.apex_at, &mut buffer),
            false => put_owner(entry.key, proof.apex_at, &mut buffer),
        };
        let whole = buffer.get(..len).unwrap_or_default();
        let mut first_at = None;
        for record in records(entry.image) {
            let rest = record.get(2..).unwrap_or_default();
            // Beyond the reach of pointers each record has its owner spelt out.
            let near = first_at.filter(|&at| at < 0x4000 && len > 2);
            let pointer = near.map(|at: usize| (0xc000 | at as u16).to_be_bytes());
            let owner = pointer.as_ref().map_or(whole, |pointer| pointer.as_slice());
            let at = self.reply.put_parts(Section::Authority, &[owner, rest])?;
            first_at = first_at.or(Some(at));
        }
        Ok(())
    }
}

/// Octets of the longest owner as it is written: labels, then a pointer.
const OWNER_MAX: usize = 260;

/// The records of an image, their owners two octets each.
fn records(image: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = image;
    std::iter::from_fn(move || {
        let &[.., l0, l1] = rest.first_chunk::<RECORD_HEAD>()?;
        let len = RECORD_HEAD + usize::from(u16::from_be_bytes([l0, l1]));
        let (record, tail) = rest.split_at_checked(len)?;
        rest = tail;
        Some(record)
    })
}

/// Writes the owner whose relative key is `key`; returns its length.
fn put_owner(key: &[u8], apex_at: u16, out: &mut [u8; OWNER_MAX]) -> usize {
    let mut len = 0;
    let mut rest = key;
    while let Some((_, body)) = rest.split_last() {
        let start = body.iter().rposition(|&octet| octet == 0).map_or(0, |at| at + 1);
        let (before, label) = rest.split_at_checked(start).unwrap_or((&[], rest));
        let length_at = len;
        len += 1;
        let mut octets = label.iter().take_while(|&&octet| octet != 0);
        while let Some(&octet) = octets.next() {
            let plain = match octet {
                1 => octets.next().map_or(0, |&escaped| escaped.wrapping_sub(1)),
                plain => plain,
            };
            if let Some(slot) = out.get_mut(len) {
                *slot = plain;
                len += 1;
            }
        }
        if let Some(slot) = out.get_mut(length_at) {
            *slot = (len - length_at - 1) as u8;
        }
        rest = before;
    }
    put_pointer(apex_at, out, len)
}

/// Writes the owner of the NSEC3 record of this hash; returns its length.
fn put_hashed_owner(hash: &[u8], apex_at: u16, out: &mut [u8; OWNER_MAX]) -> usize {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let (mut len, mut bits, mut count) = (1, 0u32, 0);
    for octet in hash {
        bits = bits << 8 | u32::from(*octet);
        count += 8;
        while count >= 5 {
            count -= 5;
            if let Some(slot) = out.get_mut(len) {
                *slot = DIGITS.get((bits >> count) as usize & 31).copied().unwrap_or_default();
                len += 1;
            }
        }
        bits &= (1 << count) - 1;
    }
    out[0] = (len - 1) as u8;
    put_pointer(apex_at, out, len)
}

fn put_pointer(to: u16, out: &mut [u8; OWNER_MAX], len: usize) -> usize {
    if let Some(slot) = out.get_mut(len..len + 2) {
        slot.copy_from_slice(&(0xc000 | to).to_be_bytes());
    }
    len + 2
}

/// A relative key in the making.
struct Key {
    octets: [u8; KEY_MAX],
    len: usize,
}

impl Default for Key {
    fn default() -> Key {
        Key { octets: [0; KEY_MAX], len: 0 }
    }
}

impl Key {
    /// The key of the name `skip` labels above, in the zone whose apex stands `apex` labels above.
    fn set<A: Asked>(&mut self, asked: &A, skip: usize, apex: usize) {
        self.len = relative_key(asked.suffix(skip), apex.saturating_sub(skip), &mut self.octets);
    }

    /// Goes on to the wildcard below.
    fn push_star(&mut self) {
        if let Some(slot) = self.octets.get_mut(self.len..self.len + 2) {
            slot.copy_from_slice(&[b'*', 0]);
            self.len += 2;
        }
    }

    fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// Gathers the proofs of one absence.
struct Gatherer<'g, 's, A> {
    asked: &'g A,
    /// How many labels above the apex stands.
    apex: usize,
    chain: &'s Chain,
    proofs: &'g mut Proofs<'s>,
    apex_at: u16,
}

impl<'s, A: Asked> Gatherer<'_, 's, A> {
    fn push(&mut self, entry: Option<Entry<'s>>, is_nsec3: bool) {
        if let Some(entry) = entry {
            self.proofs.push(Proof { entry: entry.octets, is_nsec3, apex_at: self.apex_at });
        }
    }

    /// RFC 4035 §3.1.3.1 to §3.1.3.4.
    fn nsec(&mut self, absence: Absence) {
        let mut key = Key::default();
        let (name, star) = match absence {
            Absence::Type { skip } => (skip, None),
            Absence::Closer { .. } => (0, None),
            Absence::Name { encloser } | Absence::StarType { encloser } => (0, Some(encloser)),
        };
        key.set(self.asked, name, self.apex);
        self.push(self.chain.find(key.octets()), false);
        if let Some(encloser) = star {
            key.set(self.asked, encloser, self.apex);
            key.push_star();
            self.push(self.chain.find(key.octets()), false);
        }
    }

    /// RFC 5155 §7.2.1 to §7.2.8.
    fn nsec3(&mut self, hasher: &Hasher<'_>, absence: Absence) {
        match absence {
            Absence::Type { skip } => {
                let hash = hasher.name(self.asked.suffix(skip));
                match self.chain.get(&hash) {
                    Some(entry) => self.push(Some(entry), true),
                    // Opt-out: the name stands between records (§7.2.4, §7.2.7).
                    None => {
                        self.encloser(hasher, skip + 1);
                    }
                }
            }
            Absence::Closer { encloser } => {
                let hash = hasher.name(self.asked.suffix(encloser - 1));
                self.push(self.chain.find(&hash), true);
            }
            Absence::Name { encloser } | Absence::StarType { encloser } => {
                let encloser = self.encloser(hasher, encloser);
                let star = hasher.star(self.asked.suffix(encloser));
                self.push(self.chain.find(&star), true);
            }
        }
    }

    /// The closest encloser that can be proven, from `skip` labels above, and what covers the name below it (§7.2.1).
    /// Returns how many labels above it stands: with opt-out further up than the closest that exists.
    fn encloser(&mut self, hasher: &Hasher<'_>, skip: usize) -> usize {
        for skip in skip..=self.apex {
            let hash = hasher.name(self.asked.suffix(skip));
            if let Some(entry) = self.chain.get(&hash) {
                self.push(Some(entry), true);
                if let Some(closer) = skip.checked_sub(1) {
                    let hash = hasher.name(self.asked.suffix(closer));
                    self.push(self.chain.find(&hash), true);
                }
                return skip;
            }
        }
        self.apex
    }
}

/// Hashes names as one chain does ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §5).
pub(super) struct Hasher<'p> {
    pub iterations: u16,
    pub salt: &'p [u8],
}

#[cfg(test)]
thread_local! {
    /// How many rounds of hashing this thread did: what a query costs, whatever the machine.
    pub(super) static ROUNDS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Hasher<'_> {
    /// The hash of a lower-case name.
    pub(super) fn name(&self, name: &[u8]) -> [u8; 20] {
        self.iterate(Sha1::new_with_prefix(name))
    }

    /// The hash of the wildcard below a name.
    fn star(&self, name: &[u8]) -> [u8; 20] {
        self.iterate(Sha1::new_with_prefix([1, b'*']).chain_update(name))
    }

    fn iterate(&self, first: Sha1) -> [u8; 20] {
        #[cfg(test)]
        ROUNDS.set(ROUNDS.get() + usize::from(self.iterations) + 1);
        let mut hash: [u8; 20] = first.chain_update(self.salt).finalize().into();
        for _ in 0..self.iterations {
            hash = Sha1::new_with_prefix(hash).chain_update(self.salt).finalize().into();
        }
        hash
    }
}
/// Octets of the longest relative key: every octet escaped, each label closed.
pub(super) const KEY_MAX: usize = 512;

/// Writes the canonical [key](crate::wire::Name::key) of the first `labels` labels of `name`; returns its length.
pub(super) fn relative_key(name: &[u8], labels: usize, out: &mut [u8; KEY_MAX]) -> usize {
    let mut len = 0;
    let mut put = |octet: u8| {
        if let Some(slot) = out.get_mut(len) {
            *slot = octet;
            len += 1;
        }
    };
    let mut starts = [0u8; 128];
    let mut at = 0;
    for start in starts.iter_mut().take(labels) {
        *start = at as u8;
        at += 1 + name.get(at).map_or(0, |&len| usize::from(len));
    }
    for &start in starts.iter().take(labels).rev() {
        let label = name.get(usize::from(start)..).and_then(|rest| {
            let (&len, rest) = rest.split_first()?;
            rest.get(..usize::from(len))
        });
        for octet in label.unwrap_or_default() {
            match octet.to_ascii_lowercase() {
                0 => [1, 1].into_iter().for_each(&mut put),
                1 => [1, 2].into_iter().for_each(&mut put),
                plain => put(plain),
            }
        }
        put(0);
    }
    len
}

/// The octets that a label of an NSEC3 owner stands for ([RFC 4648](https://www.rfc-editor.org/rfc/rfc4648) §7, unpadded).
pub(super) fn base32_decode(label: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(label.len() * 5 / 8);
    let (mut bits, mut count) = (0u32, 0);
    for octet in label {
        let value = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'a'..=b'v' => letter - b'a' + 10,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    #[test]
    fn rfc5155_appendix_a_hashes() {
        let hasher = Hasher { iterations: 12, salt: &[0xaa, 0xbb, 0xcc, 0xdd] };
        for (name, hash) in [
            ("example.", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example.", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example.", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let wire = Name::parse(name).unwrap();
            let octets = hasher.name(wire.as_wire());
            assert_eq!(base32_decode(hash.as_bytes()).unwrap(), octets);
            let mut owner = [0; OWNER_MAX];
            let len = put_hashed_owner(&octets, 12, &mut owner);
            assert_eq!(owner[..len], [&[32], hash.as_bytes(), &[0xc0, 12]].concat());
        }
        assert_eq!(
            hasher.star(Name::parse("w.example.").unwrap().as_wire()),
            hasher.name(Name::parse("*.w.example.").unwrap().as_wire())
        );
    }

    #[test]
    fn a_relative_key_is_the_rest_of_the_key_and_leads_back() {
        let apex = Name::parse("example.").unwrap();
        for text in ["example.", "a.example.", "\\000\\001\\002.x.EXAMPLE.", "*.b.c.example."] {
            let name = Name::parse(text).unwrap();
            let mut key = [0; KEY_MAX];
            let len = relative_key(name.as_wire(), name.label_count() - 1, &mut key);
            assert_eq!(key[..len], name.key()[apex.key().len()..]);

            let mut owner = [0; OWNER_MAX];
            let owner_len = put_owner(&key[..len], 99, &mut owner);
            let labels = name.as_wire().len() - apex.as_wire().len();
            assert_eq!(owner[..labels], name.as_wire().to_ascii_lowercase()[..labels]);
            assert_eq!(owner[labels..owner_len], [0xc0, 99]);
        }
    }
}
