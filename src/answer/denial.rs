//! Denial of existence: which NSEC or NSEC3 records a negative answer needs, no more and no less
//! ([RFC 4035] §3.1.3, [RFC 5155] §7.2).
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use super::ahead::Ahead;
use super::asked::Asked;
use super::chain::{Chain, Denial, NSEC3_ITERATIONS_MAX};
use super::image::RECORD_HEAD;
use super::leaf::Entry;
use super::lump::LUMP_OCTETS_MAX;
use super::node::{Node, flag};
use super::nsec3::Hasher;
use super::respond::Turn;
use crate::wire::Type;
use crate::wire::edns::Ede;
use crate::wire::reply::{Full, Section, copy};

/// Proofs of one answer: one for each wildcard of a chain, three for its end, and some room.
const PROOFS_MAX: usize = 24;

/// As many as an answer has that follows no alias.
const PROOFS_FIRST: usize = 4;

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
    apex_at: u16,
}

/// The proofs gathered for one answer, each once.
#[derive(Default)]
pub(super) struct Proofs<'s> {
    /// The chain whose [common](Chain::common) proofs are among them, and where its zone's apex stands.
    common: Option<(&'s Chain, u16)>,
    first: [Option<Proof<'s>>; PROOFS_FIRST],
    /// If there are more: most answers have few, and to clear room for them costs.
    rest: Option<[Option<Proof<'s>>; PROOFS_MAX - PROOFS_FIRST]>,
    count: usize,
    /// How many of them stand in the message.
    put: usize,
}

impl<'s> Proofs<'s> {
    fn iter(&self) -> impl Iterator<Item = &Proof<'s>> {
        self.first.iter().chain(self.rest.iter().flatten()).flatten()
    }

    /// The first that is not yet put, which it is then.
    #[inline(always)]
    fn next(&mut self) -> Option<Proof<'s>> {
        let proof = match self.first.get(self.put) {
            Some(proof) => *proof,
            None => *self.rest.as_ref()?.get(self.put - PROOFS_FIRST)?,
        }?;
        self.put += 1;
        Some(proof)
    }

    fn is_empty(&self) -> bool {
        self.count == 0 && self.common.is_none()
    }

    fn push(&mut self, proof: Proof<'s>) {
        let known = self.iter().any(|other| std::ptr::eq(other.entry, proof.entry));
        if known || self.common.is_some_and(|(chain, _)| chain.has_in_common(proof.entry)) {
            return;
        }
        let slot = match self.first.get_mut(self.count) {
            Some(slot) => Some(slot),
            None => {
                let rest = self.rest.get_or_insert([None; PROOFS_MAX - PROOFS_FIRST]);
                rest.get_mut(self.count - PROOFS_FIRST)
            }
        };
        if let Some(slot) = slot {
            *slot = Some(proof);
            self.count += 1;
        }
    }
}

impl<'s> Turn<'_, 's, '_> {
    /// Gathers what proves `absence`; `node` is the wildcard that answers.
    #[inline(always)]
    pub fn prove<A: Asked>(&mut self, asked: &A, star: Node<'s>, absence: Absence) {
        if !self.wants_sigs {
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
        if self.wants_sigs && apex.is(flag::SIGNED) {
            self.gather(asked, apex, skip, absence);
        }
    }

    #[inline(never)]
    fn gather<A: Asked>(&mut self, asked: &A, apex: Node<'s>, skip: usize, absence: Absence) {
        let snapshot = self.snapshot;
        let ahead = if asked.is_question() { self.ahead } else { None };
        let chain = apex.facts().and_then(|facts| match ahead {
            Some(ahead) if ahead.zone == facts.zone => Some(ahead.chain),
            _ => snapshot.chains.get(&facts.zone),
        });
        let Some(chain) = chain else { return self.unproven(apex) };
        let is_near = self.reply.len() < REACH - LUMP_OCTETS_MAX;
        let proofs = self.proofs.get_or_insert_with(Proofs::default);
        let apex_at = asked.place(asked.offset(skip));
        let mut gatherer = Gatherer { asked, apex: skip, chain, proofs, apex_at, ahead, is_near };
        match &chain.denial {
            Denial::Nsec => gatherer.nsec(absence),
            Denial::Nsec3 { iterations, salt, .. } => {
                gatherer.nsec3(&Hasher { iterations: *iterations, salt }, absence);
            }
        }
        if self.proofs.as_ref().is_some_and(Proofs::is_empty) {
            self.unproven(apex);
        }
    }

    /// Says why what is denied is not proven: a signed zone owes it, and validators fail without.
    #[cold]
    fn unproven(&mut self, apex: Node<'s>) {
        let params = apex.set(Type::NSEC3PARAM).map(|set| set.octets);
        let params = params.and_then(|octets| octets.get(RECORD_HEAD..)?.first_chunk());
        let ede = match params {
            Some(&[_, _, i0, i1]) if u16::from_be_bytes([i0, i1]) > NSEC3_ITERATIONS_MAX => {
                Ede::new(Ede::NSEC3_ITERATIONS, "more than are worked off (RFC 9276 3.2)")
            }
            _ => Ede::new(Ede::NSEC_MISSING, "the zone is signed and has no proof of this"),
        };
        self.reply.explain(ede);
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
        let mut key = Key::of(asked, star.unwrap_or(0), skip);
        if star.is_some() {
            key.push_star();
        }
        let Some(entry) = chain.get(key.octets()) else { return Ok(false) };
        if let Some(encloser) = star {
            self.prove(asked, node, Absence::Closer { encloser });
        }
        let owner = 0xc000 | asked.place(0);
        for (number, record) in entry.records().enumerate() {
            if number == 0 || self.wants_sigs {
                self.reply.put_parts(Section::Answer, &[&owner.to_be_bytes(), record])?;
            }
        }
        Ok(true)
    }

    /// Puts the proofs gathered so far into the authority section.
    #[inline(always)]
    pub fn put_proofs(&mut self) -> Result<(), Full> {
        if let Some((chain, apex_at)) = self.proofs.as_mut().and_then(|proofs| proofs.common.take())
        {
            self.put_common(chain, apex_at)?;
        }
        while let Some(proof) = self.proofs.as_mut().and_then(Proofs::next) {
            self.put_proof(proof)?;
        }
        Ok(())
    }

    /// Puts what most proofs of a chain have in common.
    #[inline(never)]
    fn put_common(&mut self, chain: &'s Chain, apex_at: u16) -> Result<(), Full> {
        let at = self.reply.len();
        match chain.lump().filter(|lump| at + lump.len() <= REACH) {
            Some(lump) => {
                let slot = self.reply.slot(Section::Authority, lump.len(), lump.records)?;
                lump.write(slot, at as u16, apex_at);
                Ok(())
            }
            None => { chain.common().into_iter().flatten() }
                .try_for_each(|entry| self.put_proof(Proof { entry: entry.octets, apex_at })),
        }
    }

    #[inline(never)]
    fn put_proof(&mut self, proof: Proof<'s>) -> Result<(), Full> {
        let Some(entry) = Entry::read(proof.entry) else { return Ok(()) };
        match entry.label() {
            Some(label) if self.reply.len() < REACH => self.put_plain(entry, label, proof.apex_at),
            _ => self.put_spelt(entry, proof.apex_at),
        }
    }

    /// Puts an entry whose owner is one label below the apex, or the apex: nearly all are.
    #[inline]
    fn put_plain(&mut self, entry: Entry<'s>, label: &[u8], apex_at: u16) -> Result<(), Full> {
        let at = self.reply.len();
        let (pointer, label_len) = match label.is_empty() {
            true => (apex_at, 0),
            false => (at as u16, 1 + label.len()),
        };
        let octets = label_len + POINTER + entry.image.len();
        let slot = self.reply.slot(Section::Authority, octets, entry.records)?;
        let (owner, image) = slot.split_at_mut_checked(label_len + POINTER).ok_or(Full)?;
        let (own, to_apex) = owner.split_at_mut_checked(label_len).ok_or(Full)?;
        to_apex.copy_from_slice(&(0xc000 | apex_at).to_be_bytes());
        if let Some((len, own)) = own.split_first_mut() {
            *len = label.len() as u8;
            copy(own, label);
        }
        image.copy_from_slice(entry.image);
        let mut next = 0;
        for record in entry.records() {
            next += record.len();
            if let Some(owner) = image.get_mut(next..next + POINTER) {
                owner.copy_from_slice(&(0xc000 | pointer).to_be_bytes());
            }
            next += POINTER;
        }
        Ok(())
    }

    /// Puts an entry whose owner has to be spelt out of its key.
    #[inline(never)]
    fn put_spelt(&mut self, entry: Entry<'s>, apex_at: u16) -> Result<(), Full> {
        let mut buffer = [0; OWNER_MAX];
        let len = put_owner(entry.key, apex_at, &mut buffer);
        let owner = buffer.get(..len).unwrap_or_default();
        let at = self.reply.len();
        let pointer = match len {
            POINTER => apex_at,
            _ if at < REACH => at as u16,
            // Beyond the reach of pointers each record has its owner spelt out.
            _ => {
                let mut records = entry.records();
                let mut put = |record| self.reply.put_parts(Section::Authority, &[owner, record]);
                return records.try_for_each(|record| put(record).map(drop));
            }
        };
        self.reply.put(Section::Authority, owner, 0)?;
        let image_at = self.reply.put(Section::Authority, entry.image, entry.records)?;
        let mut here = image_at - POINTER;
        while let Some(next) = self.next_record(here) {
            self.reply.patch(next, 0xc000 | pointer);
            here = next;
        }
        Ok(())
    }
}

/// Octets of the longest owner as it is written: labels, then a pointer.
const OWNER_MAX: usize = 260;

/// Octets of a pointer.
const POINTER: usize = 2;

/// How far pointers reach into a message.
const REACH: usize = 0x4000;

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

impl Key {
    /// The key of the name `skip` labels above, in the zone whose apex stands `apex` labels above.
    fn of<A: Asked>(asked: &A, skip: usize, apex: usize) -> Key {
        let mut octets = [0; KEY_MAX];
        let len = relative_key(asked.suffix(skip), apex.saturating_sub(skip), &mut octets);
        Key { octets, len }
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
    ahead: Option<&'g Ahead<'s>>,
    /// Whether pointers reach where a lump may be put.
    is_near: bool,
}

impl<'s, A: Asked> Gatherer<'_, 's, A> {
    /// Gathers what proofs of all names missing directly below the apex have in common, if that is a piece
    /// to be put before all others; returns whether it is.
    fn push_common(&mut self) -> bool {
        let may = self.is_near && self.proofs.is_empty() && self.chain.lump().is_some();
        if may {
            self.proofs.common = Some((self.chain, self.apex_at));
        }
        may
    }

    fn push(&mut self, entry: Option<Entry<'s>>) {
        if let Some(entry) = entry {
            self.proofs.push(Proof { entry: entry.octets, apex_at: self.apex_at });
        }
    }

    /// RFC 4035 §3.1.3.1 to §3.1.3.4.
    fn nsec(&mut self, absence: Absence) {
        let (name, star) = match absence {
            Absence::Type { skip } => (skip, None),
            Absence::Closer { .. } => (0, None),
            Absence::Name { encloser } | Absence::StarType { encloser } => (0, Some(encloser)),
        };
        let common = star == Some(self.apex) && self.push_common();
        let known = self.ahead.and_then(|ahead| ahead.entry(self.chain, name));
        self.push(known.or_else(|| self.chain.find(Key::of(self.asked, name, self.apex).octets())));
        match star {
            _ if common => {}
            Some(encloser) if encloser == self.apex => self.push(self.chain.star()),
            Some(encloser) => {
                let mut key = Key::of(self.asked, encloser, self.apex);
                key.push_star();
                self.push(self.chain.find(key.octets()));
            }
            None => {}
        }
    }

    /// RFC 5155 §7.2.1 to §7.2.8.
    fn nsec3(&mut self, hasher: &Hasher<'_>, absence: Absence) {
        match absence {
            Absence::Type { skip } => match self.own(hasher, skip) {
                Some(entry) => self.push(Some(entry)),
                // Opt-out: the name stands between records (§7.2.4, §7.2.7).
                None => {
                    self.encloser(hasher, skip + 1);
                }
            },
            Absence::Closer { encloser } => self.cover(hasher, encloser - 1),
            Absence::Name { encloser } | Absence::StarType { encloser }
                if encloser == self.apex && self.push_common() =>
            {
                self.cover(hasher, encloser - 1);
            }
            Absence::Name { encloser } | Absence::StarType { encloser } => {
                let encloser = self.encloser(hasher, encloser);
                let star = match encloser == self.apex {
                    true => self.chain.star(),
                    false => {
                        let star = hasher.star(self.asked.suffix(encloser));
                        self.chain.find(&star.label())
                    }
                };
                self.push(star);
            }
        }
    }

    /// The record of the name `skip` labels above, if it has one.
    fn own(&self, hasher: &Hasher<'_>, skip: usize) -> Option<Entry<'s>> {
        if skip == self.apex {
            return self.chain.apex();
        }
        if let Some(ahead) = self.ahead
            && let Some(entry) = ahead.entry(self.chain, skip)
        {
            return ahead.is_own(entry).then_some(entry);
        }
        self.chain.get(&hasher.name(self.asked.suffix(skip)).label())
    }

    /// Gathers what covers the name `skip` labels above.
    fn cover(&mut self, hasher: &Hasher<'_>, skip: usize) {
        let known = self.ahead.and_then(|ahead| ahead.entry(self.chain, skip));
        let find = || self.chain.find(&hasher.name(self.asked.suffix(skip)).label());
        self.push(known.or_else(find));
    }

    /// The closest encloser that can be proven, from `skip` labels above, and what covers the name below it (§7.2.1).
    /// Returns how many labels above it stands: with opt-out further up than the closest that exists.
    fn encloser(&mut self, hasher: &Hasher<'_>, skip: usize) -> usize {
        for skip in skip..=self.apex {
            if let Some(entry) = self.own(hasher, skip) {
                self.push(Some(entry));
                if let Some(closer) = skip.checked_sub(1) {
                    self.cover(hasher, closer);
                }
                return skip;
            }
        }
        self.apex
    }
}

/// Octets of the longest relative key: every octet escaped, each label closed.
pub(super) const KEY_MAX: usize = 512;

/// Writes the canonical [key](crate::wire::Name::key) of the first `labels` labels of `name`, which is in lower case;
/// returns its length. `out` has room for twice as many octets as these labels have, or for [`KEY_MAX`].
pub(super) fn relative_key(name: &[u8], labels: usize, out: &mut [u8]) -> usize {
    match labels {
        0 => 0,
        1 => put_label(name, out, 0),
        _ => put_key(name, labels, out),
    }
}

/// Writes the keys of several labels, the last label first.
fn put_key(name: &[u8], labels: usize, out: &mut [u8]) -> usize {
    let mut starts = [0u8; 128];
    let mut at = 0;
    for start in starts.iter_mut().take(labels) {
        *start = at as u8;
        at += 1 + name.get(at).map_or(0, |&len| usize::from(len));
    }
    let starts = starts.iter().take(labels).rev();
    starts.fold(0, |len, &start| put_label(name.get(start.into()..).unwrap_or_default(), out, len))
}

/// Writes the key of the first label of `name` at `at`; returns where it ends.
#[inline]
fn put_label(name: &[u8], out: &mut [u8], at: usize) -> usize {
    let label = name.split_first().and_then(|(&len, rest)| rest.get(..usize::from(len)));
    let label = label.unwrap_or_default();
    let mut len = at;
    if label.iter().all(|&octet| octet > 1) {
        if let Some(slot) = out.get_mut(len..len + label.len()) {
            slot.copy_from_slice(label);
            len += label.len();
        }
    } else {
        for &octet in label {
            // What stands for an end, and what stands for these two.
            let (octets, count) = if octet > 1 { ([octet, 0], 1) } else { ([1, octet + 1], 2) };
            let octets = octets.get(..count).unwrap_or_default();
            if let Some(slot) = out.get_mut(len..len + count) {
                slot.copy_from_slice(octets);
                len += count;
            }
        }
    }
    if let Some(end) = out.get_mut(len) {
        *end = 0;
        len += 1;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::super::nsec3::is_hash_label;
    use super::*;
    use crate::wire::Name;

    #[test]
    fn every_proof_is_put_once_and_in_its_turn() {
        let octets = [0; PROOFS_MAX];
        let mut proofs = Proofs::default();
        for entry in octets.chunks(1).chain(octets.chunks(1)) {
            proofs.push(Proof { entry, apex_at: 0 });
        }
        let put = std::iter::from_fn(|| proofs.next()).map(|proof| proof.entry.as_ptr());
        assert!(put.eq(octets.chunks(1).map(<[u8]>::as_ptr)));
    }

    #[test]
    fn rfc5155_appendix_a_hashes() {
        let hasher = Hasher { iterations: 12, salt: &[0xaa, 0xbb, 0xcc, 0xdd] };
        for (name, hash) in [
            ("example.", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example.", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example.", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let wire = Name::parse(name).unwrap();
            let label = hasher.name(wire.as_wire()).label();
            assert_eq!(label, hash.as_bytes());
            assert!(is_hash_label(&label));
            let mut owner = [0; OWNER_MAX];
            let len = put_owner(&label, 12, &mut owner);
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
