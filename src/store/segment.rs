//! The octets of the log: segments that hold records one after the other.
//!
//! ```text
//! segment  magic 8 | format u32 | crc u32 | number u64 | first lsn u64 | log id u64           40 octets
//! record   length u32 | crc u32 | lsn u64 | synced u64 | part u32 | flags u8 | 3 zeros         32 octets
//!          body (length octets) | zeros to the next multiple of 8
//! body     (1 | key length | key | value length | value)  put
//!          (2 | key length | key)                         delete
//! ```
//! Integers are little-endian, lengths in bodies are LEB128. A CRC-32C covers what stands around it
//! and, first, the segment's number: octets left over from another segment are no record of this one.
//!
//! Behind the records of the newest segment stand zeros, if any, for those to come.
//!
//! A transaction too long for one record is several, of one LSN, parts counted from 0, the last
//! flagged. `synced` is the LSN up to which the log was known to be synced when the record was
//! written: it tells a tail torn by a crash from damage (see [`Log::replay`](super::log::Log::replay)).

use std::io;

use super::Lsn;
use super::files::LogFile;
use super::rows::Octets;

pub(super) const SEGMENT_HEADER: usize = 40;
pub(super) const RECORD_HEADER: usize = 32;

/// How much of a transaction one record takes before the next begins, in octets, unless
/// [`Options`](super::Options) say less: bounds what a reader holds.
pub const RECORD_BODY_BYTES: usize = 1 << 20;

/// What a reader believes of a length field, in octets: one operation may stand over the mark above.
pub(super) const RECORD_BODY_BYTES_MAX: usize =
    RECORD_BODY_BYTES + super::VALUE_BYTES_MAX + super::KEY_BYTES_MAX + 32;

const MAGIC: [u8; 8] = *b"nplane\nL";
pub(super) const FORMAT: u32 = 1;
const LAST: u8 = 1;

/// One row put, or taken out.
pub(super) type Op = (Octets, Option<Octets>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub number: u64,
    pub first: Lsn,
    pub log: u64,
}

/// What a segment's first octets turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFound {
    Valid(SegmentHeader),
    Newer(u32),
    Torn,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for word in [self.number, self.first.0, self.log] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out).to_le_bytes();
        if let Some(place) = out.get_mut(12..16) {
            place.copy_from_slice(&crc);
        }
        out.try_into().expect("the fields above make 40 octets")
    }

    pub(super) fn decode(octets: &[u8; SEGMENT_HEADER]) -> HeaderFound {
        let mut input = Input(octets);
        let (Some(magic), Some(format), Some(crc)) = (input.array(), input.u32(), input.u32())
        else {
            return HeaderFound::Torn;
        };
        let mut zeroed = *octets;
        if let Some(place) = zeroed.get_mut(12..16) {
            place.fill(0);
        }
        if magic != MAGIC || crc32c::crc32c(&zeroed) != crc {
            return HeaderFound::Torn;
        }
        if format > FORMAT {
            return HeaderFound::Newer(format);
        }
        match (input.u64(), input.u64(), input.u64()) {
            (Some(number), Some(first), Some(log)) => {
                HeaderFound::Valid(SegmentHeader { number, first: Lsn(first), log })
            }
            _ => HeaderFound::Torn,
        }
    }
}

/// Appends the records of one transaction, each with about `most` octets in it.
pub(super) fn encode(
    out: &mut Vec<u8>,
    segment: u64,
    (lsn, synced): (Lsn, Lsn),
    ops: &[Op],
    most: usize,
) {
    let (mut part, mut rest) = (0u32, ops);
    loop {
        let start = out.len();
        out.resize(start + RECORD_HEADER, 0);
        while let Some(((key, value), after)) = rest.split_first() {
            encode_op(out, key, value.as_deref());
            rest = after;
            if out.len() - start > most {
                break;
            }
        }
        let flags = if rest.is_empty() { LAST } else { 0 };
        seal(out, start, RecordHeader { lsn, synced, part, flags }, segment);
        part += 1;
        if flags == LAST {
            return;
        }
    }
}

/// Appends one operation as bodies hold them.
pub(super) fn encode_op(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    out.push(if value.is_some() { 1 } else { 2 });
    for octets in [Some(key), value].into_iter().flatten() {
        let mut length = octets.len();
        while length >= 0x80 {
            out.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(octets);
    }
}

/// Writes the header before the body that begins after `start`, and pads.
fn seal(out: &mut Vec<u8>, start: usize, header: RecordHeader, segment: u64) {
    let body = out.len() - start - RECORD_HEADER;
    let length = u32::try_from(body).expect("a body is bounded by RECORD_BODY_BYTES_MAX");
    let mut octets = header.encode(length, 0);
    let crc = crc32c::crc32c(&segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &octets);
    let crc = crc32c::crc32c_append(crc, out.get(start + RECORD_HEADER..).unwrap_or_default());
    octets = header.encode(length, crc);
    if let Some(place) = out.get_mut(start..start + RECORD_HEADER) {
        place.copy_from_slice(&octets);
    }
    out.resize(start + padded(body), 0);
}

/// The octets a record with a body of `body` takes.
fn padded(body: usize) -> usize {
    (RECORD_HEADER + body).next_multiple_of(8)
}

#[derive(Debug, Clone, Copy)]
struct RecordHeader {
    lsn: Lsn,
    synced: Lsn,
    part: u32,
    flags: u8,
}

impl RecordHeader {
    fn encode(&self, length: u32, crc: u32) -> [u8; RECORD_HEADER] {
        let mut out = Vec::with_capacity(RECORD_HEADER);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.lsn.0.to_le_bytes());
        out.extend_from_slice(&self.synced.0.to_le_bytes());
        out.extend_from_slice(&self.part.to_le_bytes());
        out.extend_from_slice(&[self.flags, 0, 0, 0]);
        out.try_into().expect("the fields above make 32 octets")
    }

    fn decode(octets: &[u8]) -> Option<(usize, u32, RecordHeader)> {
        let mut input = Input(octets);
        let (length, crc) = (input.u32()? as usize, input.u32()?);
        let (lsn, synced) = (Lsn(input.u64()?), Lsn(input.u64()?));
        let (part, [flags, rest @ ..]) = (input.u32()?, input.array::<4>()?);
        let plausible = length <= RECORD_BODY_BYTES_MAX && rest == [0; 3] && flags <= LAST;
        plausible.then_some((length, crc, RecordHeader { lsn, synced, part, flags }))
    }
}

/// One record as read.
#[derive(Debug)]
pub(super) struct Record {
    pub lsn: Lsn,
    pub synced: Lsn,
    pub part: u32,
    pub last: bool,
    body: Vec<u8>,
}

impl Record {
    /// Appends the record's operations; none if the body is not one, which its CRC rules out.
    pub(super) fn ops(&self, out: &mut Vec<Op>) -> Option<()> {
        let mut input = Input(&self.body);
        while let Some([tag]) = input.array() {
            let key = input.text()?;
            let value = match tag {
                1 => Some(input.text()?),
                2 => None,
                _ => return None,
            };
            out.push((key, value));
        }
        Some(())
    }
}

/// Reads the records of one segment in order, through a window.
pub(super) struct SegmentReader<'a> {
    file: &'a dyn LogFile,
    number: u64,
    bytes: u64,
    /// Where the next record begins.
    pub at: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What one look at the file takes, in octets.
const WINDOW: usize = 256 << 10;

impl<'a> SegmentReader<'a> {
    pub(super) fn new(file: &'a dyn LogFile, number: u64) -> io::Result<SegmentReader<'a>> {
        let bytes = file.bytes()?;
        Ok(SegmentReader {
            file,
            number,
            bytes,
            at: SEGMENT_HEADER as u64,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// Octets of the segment when the reader was made.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Octets behind `at`, the zeros at the end not counted: they stand ahead of records to come.
    pub(super) fn written_behind(&mut self, at: u64) -> io::Result<u64> {
        let (mut place, mut end) = (at, at);
        while place < self.bytes {
            let octets = self.octets(place, WINDOW)?;
            if let Some(last) = octets.iter().rposition(|&octet| octet != 0) {
                end = place + last as u64 + 1;
            }
            match octets.len() {
                0 => break,
                read => place += read as u64,
            }
        }
        Ok(end - at)
    }

    /// Returns the next record; none at the end and where no valid record stands.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let record = self.record_at(self.at)?;
        if let Some(record) = &record {
            self.at += padded(record.body.len()) as u64;
        }
        Ok(record)
    }

    /// Returns the first valid record that begins after `at`, and where.
    pub(super) fn search(&mut self, at: u64) -> io::Result<Option<(u64, Record)>> {
        let mut place = at + 8;
        while place + RECORD_HEADER as u64 <= self.bytes {
            if let Some(record) = self.record_at(place)? {
                return Ok(Some((place, record)));
            }
            place += 8;
        }
        Ok(None)
    }

    fn record_at(&mut self, at: u64) -> io::Result<Option<Record>> {
        let number = self.number;
        let room = self.bytes.saturating_sub(at);
        let Some((length, crc, header)) = RecordHeader::decode(self.octets(at, RECORD_HEADER)?)
        else {
            return Ok(None);
        };
        // A record whose padding is missing was never synced whole: what is written next would stand askew.
        if header.lsn == Lsn(0) || padded(length) as u64 > room {
            return Ok(None);
        }
        let sum = crc32c::crc32c(&number.to_le_bytes());
        let sum = crc32c::crc32c_append(sum, &header.encode(length as u32, 0));
        let octets = self.octets(at, RECORD_HEADER + length)?;
        let body = octets.get(RECORD_HEADER..).unwrap_or_default();
        if body.len() != length || crc32c::crc32c_append(sum, body) != crc {
            return Ok(None);
        }
        let RecordHeader { lsn, synced, part, flags } = header;
        Ok(Some(Record { lsn, synced, part, last: flags == LAST, body: body.to_vec() }))
    }

    /// Up to `count` octets at `at`; fewer only where the file ends.
    fn octets(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + count as u64 > end {
            self.window.resize(count.max(WINDOW), 0);
            let read = self.file.read_at(at, &mut self.window)?;
            self.window.truncate(read);
            self.window_at = at;
        }
        let from = (at - self.window_at) as usize;
        let to = self.window.len().min(from + count);
        Ok(self.window.get(from..to).unwrap_or_default())
    }
}

/// Takes fields off the front of octets.
pub(super) struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<Octets> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let [octet] = self.array()?;
            length |= usize::from(octet & 0x7F).checked_shl(shift)?;
            if octet & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text.into())
    }
}
