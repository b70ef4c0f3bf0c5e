//! Type bit maps ([RFC 4034] §4.1.2): which types an owner has.
//!
//! [RFC 4034]: https://www.rfc-editor.org/rfc/rfc4034

use super::error::Wrong;
use crate::wire::Type;

/// Octets of one window's bit map.
const WINDOW_OCTETS_MAX: usize = 32;

/// The types of a bit map, ascending; ends early where it is not well-formed.
pub fn types(bitmap: &[u8]) -> impl Iterator<Item = Type> + '_ {
    Windows { rest: bitmap }.flat_map(|(window, bits)| {
        bits.iter().enumerate().flat_map(move |(at, &octet)| {
            (0..8u16)
                .filter(move |bit| octet & (0x80 >> bit) != 0)
                .map(move |bit| Type(u16::from(window) << 8 | (at as u16 * 8 + bit)))
        })
    })
}

/// Appends the bit map of `types`, which may come in any order and more than once.
pub fn push(types: &mut Vec<Type>, out: &mut Vec<u8>) {
    types.sort_unstable();
    types.dedup();
    for window in types.chunk_by(|left, right| left.0 >> 8 == right.0 >> 8) {
        let mut bits = [0u8; WINDOW_OCTETS_MAX];
        let mut len = 0;
        for &Type(code) in window {
            let low = usize::from(code & 0xFF);
            if let Some(octet) = bits.get_mut(low / 8) {
                *octet |= 0x80 >> (low % 8);
            }
            len = low / 8 + 1;
        }
        let number = window.first().map_or(0, |first| first.0 >> 8);
        out.extend_from_slice(&[number as u8, len as u8]);
        out.extend_from_slice(bits.get(..len).unwrap_or_default());
    }
}

/// Checks that windows ascend, and none is empty, too long or ends in a zero octet.
pub(super) fn check(bitmap: &[u8], may_be_empty: bool) -> Result<(), Wrong> {
    if bitmap.is_empty() && !may_be_empty {
        return Err(Wrong::Empty);
    }
    let mut windows = Windows { rest: bitmap };
    let mut last = None;
    for (window, bits) in windows.by_ref() {
        if last.is_some_and(|last| last >= window) {
            return Err(Wrong::Malformed("has bit map windows out of order"));
        }
        if bits.len() > WINDOW_OCTETS_MAX || bits.last().is_none_or(|&octet| octet == 0) {
            return Err(Wrong::Malformed("has a bit map window of a wrong length"));
        }
        last = Some(window);
    }
    if windows.rest.is_empty() { Ok(()) } else { Err(Wrong::Short) }
}

/// Number and bits of each window.
struct Windows<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Windows<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[window, len], rest) = self.rest.split_first_chunk::<2>()?;
        let (bits, rest) = rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some((window, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_survive_the_round_trip() {
        let mut all = vec![Type(1234), Type::A, Type::MX, Type::RRSIG, Type::NSEC, Type::A];
        let mut octets = Vec::new();
        push(&mut all, &mut octets);
        // The example of RFC 4034 §4.3.
        assert_eq!(octets[..8], [0, 6, 0x40, 0x01, 0, 0, 0, 0x03]);
        assert_eq!(check(&octets, false), Ok(()));
        assert_eq!(types(&octets).collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_map_that_is_not_minimal_is_refused() {
        assert!(check(&[0, 2, 0x40, 0], false).is_err());
        assert!(check(&[0, 0], false).is_err());
        assert!(check(&[1, 1, 1, 0, 1, 1], false).is_err());
        assert!(check(&[0, 4, 1], false).is_err());
        assert!(check(&[], false).is_err() && check(&[], true).is_ok());
    }
}
