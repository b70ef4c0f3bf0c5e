//! Keys whose octets sort as their meaning does.
//!
//! A key is written so that comparing octets compares the values: integers big-endian, text ended by
//! an octet pair below anything that may follow. No key of a type is the beginning of another of the
//! same type, so the parts of a tuple can be written one after the other, and all keys that share
//! their first parts lie together ([`Rows::scan`](super::Rows::scan)).

use ulid::Ulid;

/// A value that orders the rows of a [`Table`](super::Table).
pub trait Key: Sized {
    /// Appends the octets of the key.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes a key off the front of `input`; none if it does not hold one.
    fn read(input: &mut &[u8]) -> Option<Self>;
}

/// Text of a key ends with this pair; a zero octet inside is followed by [`ESCAPED`].
const END: [u8; 2] = [0, 1];
const ESCAPED: u8 = 0xFF;

macro_rules! unsigned {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(input: &mut &[u8]) -> Option<Self> {
                let (head, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(Self::from_be_bytes(*head))
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64, u128);

impl Key for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).write(out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Some((u64::read(input)? ^ (1 << 63)).cast_signed())
    }
}

impl Key for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        match u8::read(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Key for Ulid {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        u128::read(input).map(Ulid)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        let (head, rest) = input.split_first_chunk()?;
        *input = rest;
        Some(*head)
    }
}

impl Key for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            let (&octet, rest) = input.split_first()?;
            *input = rest;
            if octet != 0 {
                text.push(octet);
                continue;
            }
            let (&mark, rest) = input.split_first()?;
            *input = rest;
            match mark {
                1 => return Some(text),
                ESCAPED => text.push(0),
                _ => return None,
            }
        }
    }
}

impl Key for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_bytes(), out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        String::from_utf8(Vec::read(input)?).ok()
    }
}

/// None sorts before any value.
impl<K: Key> Key for Option<K> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.write(out);
        }
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        match bool::read(input)? {
            true => K::read(input).map(Some),
            false => Some(None),
        }
    }
}

impl Key for () {
    fn write(&self, _out: &mut Vec<u8>) {}
    fn read(_input: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

macro_rules! tuple {
    ($($name:ident $at:tt),*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$at.write(out);)*
            }
            fn read(input: &mut &[u8]) -> Option<Self> {
                Some(($($name::read(input)?,)*))
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);

/// The rest of a key, octet for octet, without an end mark: shorter, and only as the last part.
///
/// For octets that are in order and need no end already, as canonical owner names are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tail(pub Vec<u8>);

impl Key for Tail {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Some(Tail(std::mem::take(input).to_vec()))
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    for &octet in text {
        out.push(octet);
        if octet == 0 {
            out.push(ESCAPED);
        }
    }
    out.extend_from_slice(&END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets<K: Key>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(&mut out);
        out
    }

    fn holds<K: Key + Ord + std::fmt::Debug>(a: &K, b: &K) {
        let (left, right) = (octets(a), octets(b));
        assert_eq!(a.cmp(b), left.cmp(&right), "{a:?} and {b:?}");
        assert_eq!(K::read(&mut left.as_slice()).as_ref(), Some(a));
        let mut two: &[u8] = &[left.clone(), right].concat();
        assert_eq!((K::read(&mut two).as_ref(), K::read(&mut two).as_ref()), (Some(a), Some(b)));
        assert!(two.is_empty());
    }

    /// Few letters, so that equal beginnings and zero octets are common.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xFF), Just(b'a')], 0..6)
    }

    proptest! {
        #[test]
        fn octets_of_integers_sort_as_the_integers(a: u64, b: u64, c: i64, d: i64) {
            holds(&a, &b);
            holds(&c, &d);
            holds(&(a as u8, b as u16), &(b as u8, a as u16));
        }

        #[test]
        fn octets_of_text_sort_as_the_text(a in text(), b in text()) {
            holds(&a, &b);
        }

        #[test]
        fn octets_of_tuples_sort_part_by_part(a in text(), b in text(), c: u32, d: u32, e: Option<bool>, f: Option<bool>) {
            holds(&(a.clone(), c, e), &(b.clone(), d, f));
            holds(&(c, a.clone(), b.clone()), &(d, b, a));
        }

        #[test]
        fn a_tail_sorts_as_its_octets(a in text(), b in text(), c: u8, d: u8) {
            let (a, b) = ((c, Tail(a)), (d, Tail(b)));
            prop_assert_eq!(a.cmp(&b), octets(&a).cmp(&octets(&b)));
            prop_assert_eq!(<(u8, Tail)>::read(&mut octets(&a).as_slice()), Some(a));
        }

        #[test]
        fn reading_a_key_from_any_octets_ends(input: Vec<u8>) {
            let _ = <(Vec<u8>, Option<String>, bool, u64)>::read(&mut input.as_slice());
        }
    }
}
