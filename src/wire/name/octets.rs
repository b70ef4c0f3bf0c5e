//! The octets of a name: in place while they are few, in memory of their own otherwise.

use std::ops::Deref;

/// Octets that a name has in place, at most: with the rest of [`Octets`] five words.
pub(super) const HERE_OCTETS: usize = 38;

/// The octets of a name.
#[derive(Clone)]
pub(super) enum Octets {
    /// So many of these; those behind are zeros.
    Here(u8, [u8; HERE_OCTETS]),
    Apart(Box<[u8]>),
}

impl Octets {
    pub(super) fn of(octets: &[u8]) -> Octets {
        Octets::of_parts([octets])
    }

    /// Those of all `parts` one behind the other.
    pub(super) fn of_parts<const N: usize>(parts: [&[u8]; N]) -> Octets {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut here = [0; HERE_OCTETS];
        if len > HERE_OCTETS {
            return Octets::Apart(parts.concat().into());
        }
        let mut rest = here.as_mut_slice();
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        Octets::Here(len as u8, here)
    }
}

impl Deref for Octets {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Octets::Here(len, octets) => octets.get(..usize::from(*len)).unwrap_or_default(),
            Octets::Apart(octets) => octets,
        }
    }
}
