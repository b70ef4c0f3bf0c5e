//! Hexadecimal, base64 and base32hex, read across blanks and written without.

use std::fmt;

/// Bits per digit and what each octet is worth as one; `NONE` for what is no digit.
struct Alphabet {
    bits: u32,
    digits: &'static [u8],
    worth: [u8; 256],
}

const NONE: u8 = 0xFF;

const fn alphabet(bits: u32, digits: &'static [u8], fold: bool) -> Alphabet {
    assert!(digits.len() == 1 << bits);
    let mut worth = [NONE; 256];
    let mut at = 0;
    while at < digits.len() {
        worth[digits[at] as usize] = at as u8;
        if fold {
            worth[digits[at].to_ascii_lowercase() as usize] = at as u8;
        }
        at += 1;
    }
    Alphabet { bits, digits, worth }
}

static HEX: Alphabet = alphabet(4, b"0123456789ABCDEF", true);
static BASE32: Alphabet = alphabet(5, b"0123456789ABCDEFGHIJKLMNOPQRSTUV", true);
static BASE64: Alphabet =
    alphabet(6, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", false);

/// Reads digits piece by piece.
pub(super) struct Decoder {
    alphabet: &'static Alphabet,
    pending: u32,
    pending_bits: u32,
    padding: u32,
}

/// Digits that stand for no octets.
pub(super) struct NotDigits;

impl Decoder {
    pub(super) fn hex() -> Decoder {
        Decoder { alphabet: &HEX, pending: 0, pending_bits: 0, padding: 0 }
    }

    pub(super) fn base32() -> Decoder {
        Decoder { alphabet: &BASE32, ..Decoder::hex() }
    }

    pub(super) fn base64() -> Decoder {
        Decoder { alphabet: &BASE64, ..Decoder::hex() }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotDigits> {
        out.reserve(text.len());
        let text = match self.alphabet.bits {
            4 => self.push_pairs(text, out),
            6 => self.push_quartets(text, out),
            _ => text,
        };
        let (mut pending, mut bits) = (self.pending, self.pending_bits);
        for &octet in text {
            let worth = self.alphabet.worth[usize::from(octet)];
            if worth == NONE || self.padding > 0 {
                // Padding closes base64 and nothing else.
                if octet != b'=' || self.alphabet.bits != 6 {
                    return Err(NotDigits);
                }
                self.padding += 1;
                continue;
            }
            pending = pending << self.alphabet.bits | u32::from(worth);
            bits += self.alphabet.bits;
            if bits >= 8 {
                bits -= 8;
                out.push((pending >> bits) as u8);
                pending &= (1 << bits) - 1;
            }
        }
        (self.pending, self.pending_bits) = (pending, bits);
        Ok(())
    }

    /// Takes whole octets of hexadecimal as far as they go; returns what is left.
    fn push_pairs<'t>(&self, text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        let worth = |digit: u8| self.alphabet.worth[usize::from(digit)];
        let (pairs, _) = text.as_chunks::<2>();
        let mut taken = 0;
        if self.pending_bits == 0 {
            for &[high, low] in pairs {
                let (high, low) = (worth(high), worth(low));
                if (high | low) > 0x0F {
                    break;
                }
                out.push(high << 4 | low);
                taken += 2;
            }
        }
        text.get(taken..).unwrap_or_default()
    }

    /// Takes three octets of base64 at a time as far as they go; returns what is left.
    fn push_quartets<'t>(&self, text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        let worth = |digit: u8| u32::from(self.alphabet.worth[usize::from(digit)]);
        let (quartets, _) = text.as_chunks::<4>();
        let mut taken = 0;
        if self.pending_bits == 0 && self.padding == 0 {
            for &[a, b, c, d] in quartets {
                let (a, b, c, d) = (worth(a), worth(b), worth(c), worth(d));
                if (a | b | c | d) > 0x3F {
                    break;
                }
                let [_, octets @ ..] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
                out.extend_from_slice(&octets);
                taken += 4;
            }
        }
        text.get(taken..).unwrap_or_default()
    }

    /// Checks that the digits end where an octet does, with the padding that base64 wants.
    pub(super) fn finish(self) -> Result<(), NotDigits> {
        let padding = match self.alphabet.bits {
            6 => self.pending_bits / 2,
            _ => 0,
        };
        let whole = self.pending_bits < self.alphabet.bits && self.pending == 0;
        if whole && self.padding == padding { Ok(()) } else { Err(NotDigits) }
    }
}

pub(super) fn write_hex(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    write(&HEX, octets, false, f)
}

pub(super) fn write_base32(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    write(&BASE32, octets, false, f)
}

pub(super) fn write_base64(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    write(&BASE64, octets, true, f)
}

fn write(alphabet: &Alphabet, octets: &[u8], pad: bool, f: &mut impl fmt::Write) -> fmt::Result {
    let mask = (1 << alphabet.bits) - 1;
    let mut digit = |value: u32| {
        let at = (value & mask) as usize;
        alphabet.digits.get(at).map_or(Ok(()), |&digit| f.write_char(char::from(digit)))
    };
    let (mut pending, mut bits) = (0u32, 0);
    for &octet in octets {
        pending = (pending << 8 | u32::from(octet)) & 0xFFFF;
        bits += 8;
        while bits >= alphabet.bits {
            bits -= alphabet.bits;
            digit(pending >> bits)?;
        }
    }
    if bits > 0 {
        digit(pending << (alphabet.bits - bits))?;
    }
    let missing = if pad { (3 - octets.len() % 3) % 3 } else { 0 };
    (0..missing).try_for_each(|_| f.write_char('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut decoder: Decoder, pieces: &[&str]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for piece in pieces {
            decoder.push(piece.as_bytes(), &mut out).ok()?;
        }
        decoder.finish().ok()?;
        Some(out)
    }

    fn encode(write: impl Fn(&[u8], &mut String) -> fmt::Result, octets: &[u8]) -> String {
        let mut text = String::new();
        write(octets, &mut text).unwrap();
        text
    }

    #[test]
    fn rfc4648_10_vectors_hold_both_ways() {
        for (octets, base64, base32, hex) in [
            ("", "", "", ""),
            ("f", "Zg==", "CO", "66"),
            ("fo", "Zm8=", "CPNG", "666F"),
            ("foo", "Zm9v", "CPNMU", "666F6F"),
            ("foob", "Zm9vYg==", "CPNMUOG", "666F6F62"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1", "666F6F6261"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8", "666F6F626172"),
        ] {
            let octets = octets.as_bytes();
            assert_eq!(encode(write_base64, octets), base64);
            assert_eq!(encode(write_base32, octets), base32);
            assert_eq!(encode(write_hex, octets), hex);
            assert_eq!(decode(Decoder::base64(), &[base64]).as_deref(), Some(octets));
            assert_eq!(decode(Decoder::base32(), &[base32]).as_deref(), Some(octets));
            assert_eq!(decode(Decoder::hex(), &[hex]).as_deref(), Some(octets));
        }
    }

    #[test]
    fn blanks_may_stand_anywhere_and_half_octets_are_refused() {
        assert_eq!(decode(Decoder::hex(), &["6", "66F6", "f"]).as_deref(), Some(b"foo".as_slice()));
        assert_eq!(decode(Decoder::base64(), &["Z", "g=", "="]).as_deref(), Some(b"f".as_slice()));
        for bad in ["Zg", "Zg=", "Zg===", "Z", "Zh==", "Zg==Zg==", "Z*==", "="] {
            assert_eq!(decode(Decoder::base64(), &[bad]), None, "{bad}");
        }
        assert_eq!(decode(Decoder::hex(), &["6"]), None);
        assert_eq!(decode(Decoder::hex(), &["6="]), None);
        assert_eq!(decode(Decoder::base32(), &["C"]), None);
        assert_eq!(decode(Decoder::base32(), &["CW"]), None);
    }
}
