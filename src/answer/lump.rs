//! Lumps: what most negative answers of a zone have in common of their proof, in one piece.
//!
//! Most names that do not exist are missing directly below the apex. The wildcard there is then denied by the same record
//! whatever the name, and by NSEC3 the apex is proven by the same. Made with each change of the chain, they are
//! copied at once and their few pointers moved, instead of being found, spelt and put one by one for each answer.

use super::leaf::Entry;

/// Set in the place of a pointer that leads into the lump itself, and says how far from its start.
const WITHIN: u16 = 0x8000;

/// The pointer that says nothing yet.
const POINTER: u16 = 0xc000;

/// Octets of the largest lump.
pub(super) const LUMP_OCTETS_MAX: usize = 0x1000;

/// Records as they stand in a message, but for where its names do.
#[derive(Debug)]
pub(super) struct Lump {
    pub records: u16,
    octets: Box<[u8]>,
    /// Where pointers stand; to the apex, but for those [within](WITHIN).
    pointers: Box<[u16]>,
}

impl Lump {
    /// The records of `entries`; none if an owner is more than a label below the apex, or there are no records.
    pub fn build<'e>(entries: impl Iterator<Item = Entry<'e>>) -> Option<Lump> {
        let (mut octets, mut pointers, mut records) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            let label = entry.label()?;
            let owner_at = octets.len() as u16;
            if !label.is_empty() {
                octets.push(label.len() as u8);
                octets.extend_from_slice(label);
            }
            for (number, record) in entry.records().enumerate() {
                let at = octets.len() as u16;
                let (place, pointer) = match number > 0 && !label.is_empty() {
                    true => (at | WITHIN, POINTER | owner_at),
                    false => (at, POINTER),
                };
                pointers.push(place);
                octets.extend_from_slice(&pointer.to_be_bytes());
                octets.extend_from_slice(record);
            }
            records += entry.records;
            if octets.len() > LUMP_OCTETS_MAX {
                return None;
            }
        }
        let lump = Lump { records, octets: octets.into(), pointers: pointers.into() };
        (records > 0).then_some(lump)
    }

    /// Octets in a message.
    #[inline]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Octets held, for the metrics.
    pub fn octets_held(&self) -> usize {
        self.octets.len() + size_of_val(&*self.pointers) + size_of::<Lump>() + 16
    }

    /// Writes the records, which stand at `at` of a message whose apex stands at `apex_at`.
    #[inline]
    pub fn write(&self, out: &mut [u8], at: u16, apex_at: u16) {
        if out.len() != self.octets.len() {
            return;
        }
        out.copy_from_slice(&self.octets);
        for &pointer in &self.pointers {
            let base = if pointer & WITHIN == 0 { apex_at } else { at };
            let place = out.get_mut(usize::from(pointer & !WITHIN)..);
            if let Some(place) = place.and_then(|rest| rest.first_chunk_mut::<2>()) {
                *place = u16::from_be_bytes(*place).wrapping_add(base).to_be_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::put_entry;
    use super::*;

    /// An entry of a record and its signature, each of one octet of RDATA.
    fn entry(key: &[u8]) -> Vec<u8> {
        let mut entry = Vec::new();
        put_entry(&mut entry, key, |out| {
            out.extend_from_slice(&[0, 50, 0, 1, 0, 0, 0, 9, 0, 1, 7, 0xee, 0xee]);
            out.extend_from_slice(&[0, 46, 0, 1, 0, 0, 0, 9, 0, 1, 8]);
            2
        });
        entry
    }

    fn lump(keys: &[&[u8]]) -> Option<Lump> {
        let entries: Vec<Vec<u8>> = keys.iter().map(|key| entry(key)).collect();
        Lump::build(entries.iter().filter_map(|entry| Entry::read(entry)))
    }

    #[test]
    fn owners_are_spelt_once_and_pointed_to_from_then_on() {
        let lump = lump(&[b"ab\0", b""]).unwrap();
        let mut out = vec![0; lump.len()];

        lump.write(&mut out, 100, 21);

        let record = [0, 50, 0, 1, 0, 0, 0, 9, 0, 1, 7];
        let signature = [0, 46, 0, 1, 0, 0, 0, 9, 0, 1, 8];
        let below = [&[2, b'a', b'b', 0xc0, 21][..], &record, &[0xc0, 100], &signature].concat();
        let apex = [&[0xc0, 21][..], &record, &[0xc0, 21], &signature].concat();
        assert_eq!((out, lump.records), ([below, apex].concat(), 4));
    }

    #[test]
    fn deep_owners_nothing_and_too_much_make_no_lump() {
        assert!(lump(&[b"b\0a\0"]).is_none());
        assert!(lump(&[]).is_none());
        assert!(lump(&[&b"a"[..]; 200]).is_none());
    }
}
