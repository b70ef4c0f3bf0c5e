//! TSIG, as far as a server without the key can answer it ([RFC 8945] §5.2.1, §5.3.2).
//!
//! [RFC 8945]: https://www.rfc-editor.org/rfc/rfc8945

use crate::wire::name::{NAME_OCTETS_MAX, wire_len};

/// Octets of a TSIG record without its names: head, times, lengths, an empty MAC.
const FIXED_OCTETS: usize = 10 + 16;

/// `BADKEY`.
const BAD_KEY: u16 = 17;

/// A TSIG record that says: this key is not known here. Unsigned, as it must be.
pub(super) struct BadKey {
    octets: [u8; 2 * NAME_OCTETS_MAX + FIXED_OCTETS],
    len: usize,
}

impl BadKey {
    /// The answer to the TSIG record at `at` of `message`; none if the record is malformed.
    pub(super) fn new(message: &[u8], at: usize) -> Option<BadKey> {
        let record = message.get(at..)?;
        let (owner, rest) = record.split_at_checked(wire_len(record).ok()?)?;
        let (head, rdata) = rest.split_first_chunk::<10>()?;
        let (algorithm, rest) = rdata.split_at_checked(wire_len(rdata).ok()?)?;
        let (times, rest) = rest.split_first_chunk::<8>()?;
        let (mac_len, rest) = rest.split_first_chunk::<2>()?;
        let original_id = rest.get(usize::from(u16::from_be_bytes(*mac_len))..)?.get(..2)?;
        let rdata_len = (algorithm.len() + 16) as u16;
        let mut answer = BadKey { octets: [0; 2 * NAME_OCTETS_MAX + FIXED_OCTETS], len: 0 };
        answer.put(owner);
        answer.put(head.get(..8)?);
        answer.put(&rdata_len.to_be_bytes());
        answer.put(algorithm);
        answer.put(times);
        answer.put(&[0, 0]);
        answer.put(original_id);
        answer.put(&BAD_KEY.to_be_bytes());
        answer.put(&[0, 0]);
        Some(answer)
    }

    /// The record.
    pub(super) fn as_octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    fn put(&mut self, part: &[u8]) {
        if let Some(slot) = self.octets.get_mut(self.len..self.len + part.len()) {
            slot.copy_from_slice(part);
            self.len += part.len();
        }
    }
}
