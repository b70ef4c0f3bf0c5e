//! Putting images into a message: copied where they stand as they were built, else with their pointers moved.

use super::asked::Asked;
use super::image::{OWNER_AT, QUESTION_TAIL, RECORD_HEAD, each_gap};
use super::node::{Node, Set};
use super::respond::Turn;
use crate::wire::reply::{Full, Section};

/// Where what an image points to stands in the message.
pub(super) struct Owner<'a, A> {
    asked: &'a A,
    /// Where the owner stands within the name asked for.
    offset: usize,
    /// What to add to where a name starts within the owner, to have where it starts within the name asked for.
    shift: usize,
    /// Octets of the owner an image was built for.
    built_len: usize,
    /// The image's owner is the name of the question.
    is_question: bool,
}

impl<'a, A: Asked> Owner<'a, A> {
    /// The owner is the name `skip` labels above the one asked for.
    #[inline(always)]
    pub fn asked(asked: &'a A, node: Node<'_>, skip: usize) -> Owner<'a, A> {
        let offset = asked.offset(skip);
        let is_question = skip == 0 && asked.is_question();
        Owner { asked, offset, shift: offset, built_len: node.name().len(), is_question }
    }

    /// The owner is the name asked for; the image is that of a wildcard below its encloser.
    pub fn star(asked: &'a A, node: Node<'_>, encloser: usize) -> Owner<'a, A> {
        // The asterisk's label has two octets. An encloser in front of which it stands is at least one label
        // above the name asked for, so this does not go below zero.
        let shift = asked.offset(encloser) - 2;
        Owner { asked, offset: 0, shift, built_len: node.name().len(), is_question: false }
    }

    /// Whether an image at `start` stands where it was built for.
    pub fn is_built_place(&self, start: usize) -> bool {
        self.is_question && start == OWNER_AT + self.built_len + QUESTION_TAIL
    }

    /// What `pointer` of an image becomes; the image's first octet stands at `start`.
    #[inline(always)]
    pub fn moved(&self, pointer: u16, start: usize) -> u16 {
        let target = usize::from(pointer & 0x3fff);
        let image_at = OWNER_AT + self.built_len + QUESTION_TAIL;
        let moved = if target == OWNER_AT {
            self.asked.place(self.offset)
        } else if target < image_at {
            self.asked.place(target - OWNER_AT + self.shift)
        } else {
            (target - image_at + start) as u16
        };
        0xc000 | moved
    }

    /// Moves the pointers of `image`, which stands at the end of the message, and lets `each` write on the head of every record;
    /// `start` is where the image they belong to starts.
    #[inline(always)]
    fn move_all(
        &self,
        image: &mut [u8],
        start: usize,
        gaps: &[u8],
        each: impl Fn(&mut [u8; RECORD_HEAD]),
    ) {
        let mut rest = &mut *image;
        while let Some((head, tail)) = rest.split_first_chunk_mut::<RECORD_HEAD>() {
            let &mut [p0, p1, .., l0, l1] = head;
            let [m0, m1] = self.moved(u16::from_be_bytes([p0, p1]), start).to_be_bytes();
            [head[0], head[1]] = [m0, m1];
            each(head);
            rest = tail.get_mut(usize::from(u16::from_be_bytes([l0, l1]))..).unwrap_or_default();
        }
        each_gap(gaps, |gap| {
            let place = image.get_mut(gap..).and_then(|rest| rest.first_chunk_mut::<2>());
            if let Some(place) = place {
                *place = self.moved(u16::from_be_bytes(*place), start).to_be_bytes();
            }
        });
    }
}

impl Set<'_> {
    /// The signatures, as a set of their own.
    pub fn sigs_alone(self) -> Self {
        let octets = self.octets.get(self.data..).unwrap_or_default();
        Set { count: self.sigs, sigs: 0, octets, data: octets.len(), gaps: &[] }
    }
}

impl<'s> Turn<'_, 's, '_> {
    /// Puts an RRset, with its signatures if they are wanted; returns where it stands.
    #[inline(always)]
    pub fn put_set<A: Asked>(
        &mut self,
        section: Section,
        owner: &Owner<'_, A>,
        set: Set<'s>,
    ) -> Result<usize, Full> {
        let (octets, count) = self.wanted(set)?;
        if owner.is_question && self.reply.is_empty() {
            return self.reply.put(section, octets, count);
        }
        let at = self.reply.put(section, octets, count)?;
        self.move_pointers(owner, at, at, set.gaps);
        Ok(at)
    }

    /// Puts the SOA of a negative answer, with the TTL that such answers have.
    #[inline(always)]
    pub fn put_soa<A: Asked>(
        &mut self,
        owner: &Owner<'_, A>,
        soa: Set<'s>,
        ttl: u32,
    ) -> Result<(), Full> {
        let (octets, count) = self.wanted(soa)?;
        let at = self.reply.put(Section::Authority, octets, count)?;
        let image = self.reply.behind(at);
        owner.move_all(image, at, soa.gaps, |[_, _, _, _, _, _, t0, t1, t2, t3, _, _]| {
            [*t0, *t1, *t2, *t3] = ttl.to_be_bytes();
        });
        Ok(())
    }

    /// What is wanted of an RRset, and how many records that are.
    #[inline(always)]
    fn wanted(&self, set: Set<'s>) -> Result<(&'s [u8], u16), Full> {
        match self.wants_sigs {
            _ if set.is_oversize() => Err(Full),
            true => Ok((set.octets, set.count + set.sigs)),
            false => Ok((set.octets.get(..set.data).unwrap_or_default(), set.count)),
        }
    }

    /// Moves the pointers of records that were put at `at`; `start` is where the image they belong to starts.
    #[inline]
    pub fn move_pointers<A: Asked>(
        &mut self,
        owner: &Owner<'_, A>,
        at: usize,
        start: usize,
        gaps: &[u8],
    ) {
        owner.move_all(self.reply.behind(at), start, gaps, |_| {});
    }

    /// Where the record behind the one at `at` starts; none behind the last octet put.
    #[inline(always)]
    pub fn next_record(&self, at: usize) -> Option<usize> {
        let head = self.reply.octets().get(at..)?.first_chunk::<RECORD_HEAD>()?;
        let &[.., l0, l1] = head;
        Some(at + RECORD_HEAD + usize::from(u16::from_be_bytes([l0, l1])))
    }
}
