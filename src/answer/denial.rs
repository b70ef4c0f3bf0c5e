//! Denial of existence: which NSEC or NSEC3 records a negative answer needs, no more and no less
//! ([RFC 4035] §3.1.3, [RFC 5155] §7.2).
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035
//! [RFC 5155]: https://www.rfc-editor.org/rfc/rfc5155

use super::image::label_offset;

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
