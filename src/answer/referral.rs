//! Referrals: what is said of a name at or below a delegation ([RFC 1034] §4.3.2 step 3b), and DNAME,
//! which sends on likewise ([RFC 6672] §3.2).
//!
//! NS, DS and the addresses of name servers below the cut stand with the cut. Addresses of other name
//! servers in the zone are looked up: they may change without the cut.
//!
//! [RFC 1034]: https://www.rfc-editor.org/rfc/rfc1034
//! [RFC 6672]: https://www.rfc-editor.org/rfc/rfc6672

use super::asked::{Any, Asked};
use super::denial::Absence;
use super::image::{OWNER_AT, QUESTION_TAIL, RECORD_HEAD};
use super::node::{GLUE, Node, STOCK, Set, flag};
use super::put::Owner;
use super::respond::{CHAIN_MAX, Kind, Next, Outcome, Turn};
use crate::wire::Type;
use crate::wire::name::NAME_OCTETS_MAX;
use crate::wire::reply::{Full, Section};

/// Name servers of one cut whose addresses are looked up elsewhere. They are a courtesy, and nobody needs more.
const SIBLINGS_MAX: usize = 16;

impl<'s> Turn<'_, 's, '_> {
    /// Refers to the servers of the zone cut off `skip` labels above.
    #[inline(never)]
    pub fn refer<A: Asked>(&mut self, asked: &A, cut: Node<'s>, skip: usize) -> Result<Next, Full> {
        self.outcome = Outcome { kind: Kind::Referral, key: asked.hash(skip) };
        let owner = Owner::asked(asked, cut, skip);
        let Some(ns) = cut.set(Type::NS) else { return Ok(Next::Done) };
        let start = self.put_set(Section::Authority, &owner, ns)?;
        let up = skip + cut.up();
        if self.wants_sigs {
            match cut.set(Type::DS) {
                // In a zone that is not signed nobody could trust it.
                Some(ds) if ds.sigs == 0 => {}
                Some(ds) => {
                    self.put_set(Section::Authority, &owner, ds)?;
                }
                None => {
                    if let Some(apex) = self.snapshot.find(asked.hash(up), asked.suffix(up)) {
                        self.prove_in(asked, apex, up, Absence::Type { skip });
                    }
                }
            }
            self.put_proofs()?;
        }
        if let Some(glue) = cut.set(GLUE) {
            self.put_glue(&owner, start, glue);
        }
        if cut.is(flag::SIBLING) && !self.reply.is_truncated() {
            self.put_siblings(asked.suffix(up), asked.suffix(skip), start, ns);
        }
        Ok(Next::Done)
    }

    /// Puts the addresses without which the servers could not be reached. What does not fit sets TC
    /// ([RFC 9471](https://www.rfc-editor.org/rfc/rfc9471) §3.1), and the RRsets before it stay.
    fn put_glue<A: Asked>(&mut self, owner: &Owner<'_, A>, start: usize, glue: Set<'s>) {
        if !glue.is_oversize()
            && let Ok(at) = self.reply.put(Section::Additional, glue.octets, glue.count)
        {
            if !(owner.is_built_place(start)) {
                self.move_pointers(owner, at, start, &[]);
            }
            return;
        }
        let mut rest = glue.octets;
        while !rest.is_empty() {
            let (octets, count) = first_rrset(rest);
            let Some((set, tail)) = rest.split_at_checked(octets) else { break };
            if let Ok(at) = self.reply.put(Section::Additional, set, count) {
                self.move_pointers(owner, at, start, &[]);
            }
            rest = tail;
        }
        self.reply.set_truncated();
    }

    /// Adds addresses of name servers in the zone that are not below their own cut, as far as they fit.
    #[inline(never)]
    fn put_siblings(&mut self, apex: &[u8], cut: &[u8], start: usize, ns: Set<'s>) {
        let mut at = start;
        let mut target = Any::new();
        let mut other = None;
        for _ in 0..ns.count.min(SIBLINGS_MAX as u16) {
            let Some(next) = self.next_record(at) else { return };
            let name_at = at + RECORD_HEAD;
            at = next;
            let message = self.reply.octets();
            if name_at >= 0x4000 || target.read_unhashed(message, name_at).is_none() {
                continue;
            }
            if target.is_at_or_below(apex) && !target.is_at_or_below(cut) {
                let pointer = match message.get(name_at..name_at + 2) {
                    Some(&[high, low]) if high >= 0xc0 => u16::from_be_bytes([high, low]),
                    _ => 0xc000 | name_at as u16,
                };
                self.put_addresses(&mut target, &mut other, pointer);
            }
        }
    }

    /// Adds the addresses of one name server, wherever the zones here have them; `other` is the cut directly
    /// above the one before, with its hash, which most often stands above this one too.
    fn put_addresses(
        &mut self,
        target: &mut Any,
        other: &mut Option<(Node<'s>, u64)>,
        pointer: u16,
    ) {
        let snapshot = self.snapshot;
        let known = other.filter(|(cut, hash)| {
            target.labels() > 0 && target.suffix(1) == cut.name() && {
                let own = snapshot.key.child(*hash, target.first_label());
                snapshot.find(own, target.suffix(0)).is_none()
            }
        });
        let cut = match known {
            Some((cut, _)) => cut,
            None => {
                if target.hash_with(&snapshot.key).is_none() {
                    return;
                }
                let found = (0..=target.labels()).find_map(|skip| {
                    Some((snapshot.find(target.hash(skip), target.suffix(skip))?, skip))
                });
                // A zone that is answered to some only gives no addresses to others either.
                let open = |node: &Node<'_>, skip: usize| {
                    self.may.is_none_or(|may| may(target.suffix(skip + node.up())))
                };
                match found.filter(|(node, skip)| open(node, *skip)) {
                    Some((node, skip)) if node.is(flag::CUT) => {
                        *other = (skip == 1).then(|| (node, target.hash(1)));
                        node
                    }
                    Some((node, 0)) => return self.put_own_addresses(node, pointer),
                    _ => return,
                }
            }
        };
        if let Some(stock) = cut.set(STOCK)
            && let Some((octets, count)) = find_stock(stock.octets, target.suffix(0))
        {
            self.put_records(octets, count, pointer);
            return;
        }
        let (Some(ns), Some(glue)) = (cut.set(Type::NS), cut.set(GLUE)) else { return };
        let mut rest = glue.octets;
        while !rest.is_empty() {
            let (octets, count) = first_rrset(rest);
            let Some((set, tail)) = rest.split_at_checked(octets) else { break };
            if is_glue_of(set, cut.name(), ns.octets, target.suffix(0)) {
                self.put_records(set, count, pointer);
            }
            rest = tail;
        }
    }

    /// Adds the addresses that a name of the zone has.
    fn put_own_addresses(&mut self, node: Node<'s>, pointer: u16) {
        for rtype in [Type::A, Type::AAAA] {
            if let Some(set) = node.set(rtype).filter(|set| !set.is_oversize()) {
                self.put_courtesy(set, pointer);
            }
        }
    }

    /// Adds a signed RRset with its signatures, or without if they do not fit (RFC 4035 §3.1.1).
    fn put_courtesy(&mut self, set: Set<'s>, pointer: u16) {
        let bare = set.octets.get(..set.data).unwrap_or_default();
        if !(self.wants_sigs && self.put_records(set.octets, set.count + set.sigs, pointer)) {
            self.put_records(bare, set.count, pointer);
        }
    }

    fn put_records(&mut self, octets: &[u8], count: u16, pointer: u16) -> bool {
        let Ok(mut at) = self.reply.put(Section::Additional, octets, count) else { return false };
        while let Some(next) = self.next_record(at) {
            self.reply.patch(at, pointer);
            at = next;
        }
        true
    }

    /// Whether the DNAME of the owner with this hash was put already.
    pub fn knows_dname(&self, hash: u64) -> bool {
        let (known, count) = self.dnames.as_ref().map_or((&[][..], 0), |(all, n)| (all, *n));
        known.iter().take(count).any(|&known| known == hash)
    }

    /// Answers from a DNAME `skip` labels above: the DNAME, and the CNAME it stands for.
    #[cold]
    pub fn substitute<A: Asked>(
        &mut self,
        asked: &A,
        node: Node<'s>,
        skip: usize,
    ) -> Result<Next, Full> {
        let Some(set) = node.set(Type::DNAME) else { return Ok(Next::Done) };
        let hash = asked.hash(skip);
        if !self.knows_dname(hash) {
            self.put_set(Section::Answer, &Owner::asked(asked, node, skip), set)?;
            let (known, count) = self.dnames.get_or_insert(([0; CHAIN_MAX + 1], 0));
            if let Some(slot) = known.get_mut(*count) {
                *slot = hash;
                *count += 1;
            }
        }
        let head = set.octets.first_chunk::<RECORD_HEAD>();
        let Some(&[_, _, _, _, _, _, t0, t1, t2, t3, l0, l1]) = head else { return Ok(Next::Done) };
        let target_len = usize::from(u16::from_be_bytes([l0, l1]));
        let target = set.octets.get(RECORD_HEAD..RECORD_HEAD + target_len).unwrap_or_default();
        let prefix_len = asked.offset(skip);
        if prefix_len + target.len() > NAME_OCTETS_MAX {
            self.outcome.kind = Kind::TooLong; // RFC 6672 §2.2
            return Ok(Next::Done);
        }
        let place = usize::from(asked.place(0));
        let written = match asked.is_question() {
            true => self.reply.octets().get(place..place + prefix_len), // in the case it was asked in
            false => asked.suffix(0).get(..prefix_len),
        };
        let mut prefix = [0; NAME_OCTETS_MAX];
        let (Some(prefix), Some(written)) = (prefix.get_mut(..prefix_len), written) else {
            return Ok(Next::Done);
        };
        prefix.copy_from_slice(written);
        let [o0, o1] = (0xc000 | asked.place(0)).to_be_bytes();
        let [n0, n1] = ((prefix_len + target.len()) as u16).to_be_bytes();
        let head = [o0, o1, 0, 5, 0, 1, t0, t1, t2, t3, n0, n1];
        let at = self.reply.put_parts(Section::Answer, &[&head, prefix, target])?;
        match self.qtype {
            Type::CNAME | Type::ANY => Ok(Next::Done),
            _ => Ok(Next::Chase(at + RECORD_HEAD)),
        }
    }
}

/// Octets and records of the first RRset in `octets`.
fn first_rrset(octets: &[u8]) -> (usize, u16) {
    let (mut at, mut count) = (0, 0);
    let kind = octets.get(..4);
    while let Some(head) = octets.get(at..).and_then(|rest| rest.first_chunk::<RECORD_HEAD>())
        && head.get(..4) == kind
    {
        let &[.., l0, l1] = head;
        at += RECORD_HEAD + usize::from(u16::from_be_bytes([l0, l1]));
        count += 1;
    }
    (at.max(1), count)
}

/// The addresses a cut keeps for a name that is no server of its own.
fn find_stock<'s>(stock: &'s [u8], name: &[u8]) -> Option<(&'s [u8], u16)> {
    let mut rest = stock;
    loop {
        let (owner, tail) = rest.split_at_checked(crate::wire::name::wire_len(rest).ok()?)?;
        let (&[c0, c1, l0, l1], tail) = tail.split_first_chunk::<4>()?;
        let (octets, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        if owner == name {
            return Some((octets, u16::from_be_bytes([c0, c1])));
        }
        rest = tail;
    }
}

/// Whether the owner of a glue RRset, a pointer into the image of its cut's NS, is `name`.
fn is_glue_of(set: &[u8], cut: &[u8], ns: &[u8], name: &[u8]) -> bool {
    let Some(&[high, low]) = set.first_chunk::<2>() else { return false };
    let mut at = usize::from(u16::from_be_bytes([high, low]) & 0x3fff);
    let image_at = OWNER_AT + cut.len() + QUESTION_TAIL;
    let mut rest = name;
    for _ in 0..128 {
        let octets = match at.checked_sub(image_at) {
            Some(at) => ns.get(at..),
            None => cut.get(at - OWNER_AT..),
        };
        let octets = octets.unwrap_or_default();
        let Some(&len) = octets.first() else { return false };
        if len >= 0xc0 {
            at =
                octets.get(..2).map_or(0, |it| usize::from(it[0] & 0x3f) << 8 | usize::from(it[1]));
            if at < OWNER_AT {
                return false;
            }
            continue;
        }
        let label_len = 1 + usize::from(len);
        let (Some(label), Some((mine, tail))) =
            (octets.get(..label_len), rest.split_at_checked(label_len))
        else {
            return false;
        };
        if !label.eq_ignore_ascii_case(mine) {
            return false;
        }
        if len == 0 {
            return tail.is_empty();
        }
        (at, rest) = (at + label_len, tail);
    }
    false
}
