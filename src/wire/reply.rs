//! A reply, written behind the untouched question in the buffer the query came in.
//!
//! The question keeps its octets, so its case, and owners equal to it are the pointer
//! [`QNAME`]. Room for OPT is kept free from the start, so it never pushes out an answer.
//!
//! Promises: records go in whole or not at all; the message never grows past its cap; counts are
//! those of what was put; no allocation.
//!
//! Does not: order the sections. Put answers, then authority, then additional.

use super::edns::{Ede, Learned, OPT_OCTETS, OptReply};
use super::header::{Flags, HEADER_OCTETS, Header};
use super::{Query, Rcode, Serial};

/// The pointer to the name of the question ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §4.1.4).
pub const QNAME: u16 = 0xc000 | HEADER_OCTETS as u16;

/// A section that holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// No room under the cap. Means TC where what did not fit was needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A point to [roll back](Reply::rollback) to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: usize,
    counts: u64,
}

/// A reply in the making.
pub struct Reply<'a> {
    out: &'a mut [u8],
    question_end: usize,
    at: usize,
    /// Where records must end; OPT goes behind.
    limit: usize,
    end: usize,
    /// Whether no message could be larger.
    is_largest: bool,
    echoed: u16,
    flags: u16,
    rcode: Rcode,
    /// Records in each section, 16 bits for each: one word, since what is written in pieces has to
    /// be waited for when it is read as a whole.
    counts: u64,
    opt: Option<&'a OptReply<'a>>,
    learned: Learned<'a>,
}

impl<'a> Reply<'a> {
    /// A reply to `query` in the buffer it came in, of at most `cap` octets, with `opt` if the query had one.
    #[inline]
    pub fn new(
        query: &Query,
        out: &'a mut [u8],
        cap: usize,
        opt: Option<&'a OptReply<'a>>,
    ) -> Reply<'a> {
        let end = cap.min(out.len());
        let question_end = query.question_end().min(end);
        let reserve = opt.map_or(0, OptReply::reserve);
        Reply {
            out,
            question_end,
            at: question_end,
            limit: end.saturating_sub(reserve).max(question_end),
            end,
            is_largest: cap >= usize::from(u16::MAX),
            echoed: query.flags().echoed(),
            flags: 0,
            rcode: Rcode::NOERROR,
            counts: 0,
            opt,
            learned: Learned::default(),
        }
    }

    /// Keeps `octets` more free at the end, for what is appended after [`finish`](Reply::finish).
    pub fn reserve(&mut self, octets: usize) {
        self.limit = self.limit.saturating_sub(octets).max(self.question_end);
        self.end = self.end.saturating_sub(octets).max(self.question_end);
    }

    /// Adds `records` records in one piece; returns where they stand in the message.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was added.
    #[inline]
    pub fn put(&mut self, section: Section, octets: &[u8], records: u16) -> Result<usize, Full> {
        let at = self.at;
        let end = at + octets.len();
        if end > self.limit && !self.make_room(end) {
            return Err(Full);
        }
        copy(self.out.get_mut(at..end).ok_or(Full)?, octets);
        self.at = end;
        self.add(section, records);
        Ok(at)
    }

    /// Gives records of a message as large as they get the room that was kept for options: there is no
    /// other way to have such an RRset, and options for which no room is left are left out.
    #[cold]
    fn make_room(&mut self, end: usize) -> bool {
        let bare = self.end.saturating_sub(self.opt.map_or(0, |_| OPT_OCTETS));
        let fits = self.is_largest && end <= bare;
        if fits {
            self.limit = bare;
        }
        fits
    }

    /// Adds `records` records of so many octets for the caller to write, all of them: what stands there is of no worth.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was added.
    #[inline]
    pub fn slot(
        &mut self,
        section: Section,
        octets: usize,
        records: u16,
    ) -> Result<&mut [u8], Full> {
        let (at, end) = (self.at, self.at + octets);
        if end > self.limit && !self.make_room(end) {
            return Err(Full);
        }
        self.add(section, records);
        self.at = end;
        self.out.get_mut(at..end).ok_or(Full)
    }

    /// Adds one record made of `parts`, its RDLENGTH already among them.
    ///
    /// # Errors
    ///
    /// [`Full`]; nothing was added.
    pub fn put_parts(&mut self, section: Section, parts: &[&[u8]]) -> Result<usize, Full> {
        let mark = self.mark();
        for part in parts {
            if let Err(full) = self.put(section, part, 0) {
                self.rollback(mark);
                return Err(full);
            }
        }
        self.add(section, 1);
        Ok(mark.at)
    }

    #[inline]
    fn add(&mut self, section: Section, records: u16) {
        self.counts += u64::from(records) << (16 * section as u32);
    }

    /// Writes `value` over the two octets at `at` of what was put.
    #[inline]
    pub fn patch(&mut self, at: usize, value: u16) {
        if at < self.question_end || at + 2 > self.at {
            return;
        }
        if let Some(slot) = self.out.get_mut(at..at + 2) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// The message so far, header not yet written.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        self.out.get(..self.at).unwrap_or_default()
    }

    /// What was put from `at` on, to be written over.
    #[inline]
    pub fn behind(&mut self, at: usize) -> &mut [u8] {
        self.out.get_mut(at.max(self.question_end)..self.at).unwrap_or_default()
    }

    /// Where the next record will stand.
    #[inline]
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether no record was put.
    pub fn is_empty(&self) -> bool {
        self.at == self.question_end
    }

    /// Octets still free for records.
    pub fn room(&self) -> usize {
        self.limit - self.at
    }

    /// Where the question ends.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// Remembers how far the message has come.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, counts: self.counts }
    }

    /// Takes back everything put since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.at = mark.at.min(self.at);
        self.counts = mark.counts;
    }

    /// Takes back every record and sets TC.
    pub fn truncate(&mut self) {
        self.clear();
        self.flags |= Flags::TC;
    }

    /// Takes back every record.
    pub fn clear(&mut self) {
        self.at = self.question_end;
        self.counts = 0;
    }

    /// Sets TC and keeps what was put: required glue did not fit ([RFC 9471](https://www.rfc-editor.org/rfc/rfc9471) §3.1).
    pub fn set_truncated(&mut self) {
        self.flags |= Flags::TC;
    }

    /// Sets AA.
    #[inline]
    pub fn set_authoritative(&mut self) {
        self.flags |= Flags::AA;
    }

    /// Clears AA.
    pub fn clear_authoritative(&mut self) {
        self.flags &= !Flags::AA;
    }

    /// Sets the RCODE. Beyond 15 it needs an OPT, and is SERVFAIL without.
    #[inline]
    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// The RCODE so far.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Whether TC is set.
    pub fn is_truncated(&self) -> bool {
        self.flags & Flags::TC != 0
    }

    /// How many records stand in `section`.
    pub fn count(&self, section: Section) -> u16 {
        (self.counts >> (16 * section as u32)) as u16
    }

    /// Says why, to clients with EDNS; the last one said is sent.
    pub fn explain(&mut self, ede: Ede<'a>) {
        self.learned.ede = Some(ede);
    }

    /// Whether it was said why.
    pub fn is_explained(&self) -> bool {
        self.learned.ede.is_some()
    }

    /// Tells the version of the zone that answers, if the client asked ([RFC 9660](https://www.rfc-editor.org/rfc/rfc9660)): how many
    /// labels its name has, and its serial.
    #[inline]
    pub fn zone_version(&mut self, labels: usize, serial: Serial) {
        if self.wants_zone_version() {
            self.learned.version = Some((labels as u8, serial));
        }
    }

    /// Whether the client asked for the version of the zone.
    #[inline]
    pub fn wants_zone_version(&self) -> bool {
        self.opt.is_some_and(|opt| opt.zone_version)
    }

    /// Writes OPT and header; returns the octets of the message.
    #[inline]
    pub fn finish(&mut self) -> usize {
        self.finish_with(&[])
    }

    /// As [`finish`](Reply::finish), with one record behind OPT, for which room was [reserved](Reply::reserve).
    #[inline]
    pub fn finish_with(&mut self, last: &[u8]) -> usize {
        let [answers, authorities, mut additionals] =
            [Section::Answer, Section::Authority, Section::Additional].map(|it| self.count(it));
        let mut rcode = self.rcode.0;
        match self.opt {
            Some(opt) => {
                self.at = opt.write(&self.learned, self.out, self.at, self.end, rcode);
                additionals += 1;
            }
            None if rcode > 15 => rcode = Rcode::SERVFAIL.0,
            None => {}
        }
        if let Some(slot) = self.out.get_mut(self.at..self.at + last.len())
            && !last.is_empty()
        {
            slot.copy_from_slice(last);
            self.at += last.len();
            additionals += 1;
        }
        let questions = u16::from(self.question_end > HEADER_OCTETS);
        let id = self.out.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
        let flags = Flags(Flags::QR | self.echoed | self.flags | rcode & 15);
        Header { id, flags, questions, answers, authorities, additionals }.write(self.out);
        self.at
    }
}

/// Copies as much as `to` holds. Most of it is short, and to call for that costs more than to do it.
#[inline(always)]
pub fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        16..=32 => ends::<16>(to, from),
        33..=64 => ends::<32>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` octets, between which nothing is left.
#[inline(always)]
fn ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HashKey;
    use crate::wire::edns::PADDING_BLOCK;

    const QUESTION: &[u8] = b"\x03wWw\x07eXample\x03com\x00\x00\x01\x00\x01";
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];

    fn buffer() -> (Vec<u8>, Query) {
        let mut buffer = vec![0xee; 2048];
        let flags = Flags(0x0130); // RD, AD, CD
        Header { id: 0xbeef, flags, questions: 1, ..Header::default() }.write(&mut buffer);
        let end = HEADER_OCTETS + QUESTION.len();
        buffer[HEADER_OCTETS..end].copy_from_slice(QUESTION);
        let mut query = Query::default();
        query.parse(&buffer[..end], &HashKey::new([7; 24])).unwrap();
        (buffer, query)
    }

    #[test]
    fn a_reply_keeps_id_case_and_rd_and_clears_what_is_not_its_own() {
        let (mut buffer, query) = buffer();
        let mut reply = Reply::new(&query, &mut buffer, 512, None);
        reply.put(Section::Answer, &RECORD, 1).unwrap();
        reply.set_authoritative();

        let len = reply.finish();

        let header = Header::read(&buffer).unwrap();
        assert_eq!((header.id, header.flags), (0xbeef, Flags(0x8500)));
        assert_eq!((header.questions, header.answers, header.additionals), (1, 1, 0));
        assert_eq!(&buffer[12..12 + QUESTION.len()], QUESTION);
        assert_eq!(len, 12 + QUESTION.len() + RECORD.len());
    }

    #[test]
    fn opt_always_fits_because_its_room_was_kept() {
        let (mut buffer, query) = buffer();
        let opt = OptReply { payload: 1232, nsid: Some(b"here"), ..OptReply::default() };
        let question = 12 + QUESTION.len();
        let cap = question + 2 * RECORD.len() + OPT_OCTETS + 8 - 1;
        let mut reply = Reply::new(&query, &mut buffer, cap, Some(&opt));
        reply.put(Section::Answer, &RECORD, 1).unwrap();
        assert_eq!(reply.put(Section::Answer, &RECORD, 1), Err(Full));
        reply.truncate();
        reply.set_rcode(Rcode::BADVERS);
        reply.explain(Ede::new(Ede::OTHER, "why"));

        let len = reply.finish();

        let header = Header::read(&buffer).unwrap();
        assert!(header.flags.is_truncated());
        assert_eq!((header.answers, header.additionals), (0, 1));
        let opt = &buffer[question..len];
        assert_eq!(opt[..11], [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 17]);
        assert_eq!(opt[11..19], [0, 3, 0, 4, b'h', b'e', b'r', b'e']);
        assert_eq!(opt[19..], [0, 15, 0, 5, 0, 0, b'w', b'h', b'y']);
    }

    #[test]
    fn options_for_which_there_is_no_room_are_left_out() {
        let (mut buffer, query) = buffer();
        let id = [b'i'; 255];
        let cookie = Some([7; 24]);
        let opt = OptReply { cookie, nsid: Some(&id), keepalive: Some(9), ..OptReply::default() };
        let cap = 12 + QUESTION.len() + OPT_OCTETS + 28 + 6;
        let mut reply = Reply::new(&query, &mut buffer, cap, Some(&opt));
        assert_eq!(reply.put(Section::Answer, &RECORD, 1), Err(Full));
        reply.truncate();

        assert_eq!(reply.finish(), cap);

        assert_eq!(buffer[cap - 6..cap], [0, 11, 0, 2, 0, 9]);
        assert_eq!(buffer[cap - 34..][..4], [0, 10, 0, 24]);
    }

    #[test]
    fn what_is_rolled_back_was_never_there() {
        let (mut buffer, query) = buffer();
        let mut reply = Reply::new(&query, &mut buffer, 512, None);
        let at = reply.put(Section::Answer, &RECORD, 1).unwrap();
        let mark = reply.mark();
        reply.put(Section::Additional, &RECORD, 1).unwrap();
        reply.rollback(mark);
        reply.patch(at, 0xc00d);
        reply.patch(0, 0); // the header is not the answer's to patch
        assert_eq!(reply.count(Section::Additional), 0);

        let len = reply.finish();

        assert_eq!(len, 12 + QUESTION.len() + RECORD.len());
        assert_eq!(buffer[12 + QUESTION.len()..][..2], [0xc0, 13]);
        assert_eq!(buffer[..2], [0xbe, 0xef]);
    }

    #[test]
    fn an_rcode_beyond_15_is_servfail_without_edns() {
        let (mut buffer, query) = buffer();
        let mut reply = Reply::new(&query, &mut buffer, 512, None);
        reply.set_rcode(Rcode::BADCOOKIE);
        reply.finish();
        assert_eq!(Header::read(&buffer).unwrap().flags.rcode(), Rcode::SERVFAIL);
    }

    #[test]
    fn rfc8467_4_1_a_padded_reply_is_a_multiple_of_468() {
        let (mut buffer, query) = buffer();
        for (cap, expected) in [(1232, PADDING_BLOCK), (200, 200)] {
            let opt = OptReply { padding: true, ..OptReply::default() };
            let mut reply = Reply::new(&query, &mut buffer, cap, Some(&opt));
            assert_eq!(reply.finish(), expected);
        }
    }
}
