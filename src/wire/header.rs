//! The twelve octets every message starts with ([RFC 1035] §4.1.1).
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035

use super::{Opcode, Rcode};

/// Octets of the header.
pub const HEADER_OCTETS: usize = 12;

/// The header's second word: QR, OPCODE, AA, TC, RD, RA, Z, AD, CD, RCODE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    pub const QR: u16 = 0x8000;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    const OPCODE: u16 = 0x7800;

    /// Whether this is a response.
    pub fn is_response(self) -> bool {
        self.0 & Flags::QR != 0
    }

    /// Whether TC is set.
    pub fn is_truncated(self) -> bool {
        self.0 & Flags::TC != 0
    }

    /// The OPCODE.
    pub fn opcode(self) -> Opcode {
        Opcode(((self.0 & Flags::OPCODE) >> 11) as u8)
    }

    /// The lower four bits of the RCODE.
    pub fn rcode(self) -> Rcode {
        Rcode(self.0 & 0x000f)
    }

    /// What a response takes over from its query: OPCODE and RD ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §4.1.1). CD is
    /// not for authoritative servers ([RFC 4035](https://www.rfc-editor.org/rfc/rfc4035) §3.1.6).
    pub fn echoed(self) -> u16 {
        self.0 & (Flags::OPCODE | Flags::RD)
    }
}

/// A header as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    pub id: u16,
    pub flags: Flags,
    pub questions: u16,
    pub answers: u16,
    pub authorities: u16,
    pub additionals: u16,
}

impl Header {
    /// The header of `message`; none if it is too short to have one.
    pub fn read(message: &[u8]) -> Option<Header> {
        let h = message.first_chunk::<HEADER_OCTETS>()?;
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Some(Header {
            id: word(h[0], h[1]),
            flags: Flags(word(h[2], h[3])),
            questions: word(h[4], h[5]),
            answers: word(h[6], h[7]),
            authorities: word(h[8], h[9]),
            additionals: word(h[10], h[11]),
        })
    }

    /// Writes the header over the start of `message`, if it has room for one.
    #[inline]
    pub fn write(&self, message: &mut [u8]) {
        let Some(h) = message.first_chunk_mut::<HEADER_OCTETS>() else { return };
        let words =
            [self.flags.0, self.questions, self.answers, self.authorities, self.additionals];
        let all = words.iter().fold(u128::from(self.id), |all, &word| all << 16 | u128::from(word));
        let [_, _, _, _, octets @ ..] = all.to_be_bytes();
        *h = octets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header {
            id: 0x1234,
            flags: Flags(0xa583),
            questions: 1,
            answers: 2,
            authorities: 3,
            additionals: 4,
        };
        let mut octets = [0; HEADER_OCTETS];
        header.write(&mut octets);
        assert_eq!(Header::read(&octets), Some(header));
        assert_eq!(Header::read(&octets[..11]), None);
        assert_eq!(header.flags.opcode(), Opcode::NOTIFY);
        assert_eq!(header.flags.rcode(), Rcode::NXDOMAIN);
    }
}
