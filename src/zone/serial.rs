//! Numbering: which serial the next version of a zone carries.
//!
//! A serial only ever moves forward on its circle ([RFC 1982]), whatever happens to the zone: edit,
//! replacement, import, deletion and creation anew. A secondary that once held a version must see
//! every later one as newer.
//!
//! [RFC 1982]: https://www.rfc-editor.org/rfc/rfc1982

use crate::wire::Serial;

/// The serial of the version that follows `last`: `wanted` where it is ahead, else one more.
///
/// `last` is the newest serial the apex ever had here; none for a name that never was a zone.
/// ```
/// # use nameplane::wire::Serial;
/// # use nameplane::zone::serial::following;
/// assert_eq!(following(Some(Serial(7)), Some(Serial(2026112101))), Serial(2026112101));
/// assert_eq!(following(Some(Serial(7)), Some(Serial(3))), Serial(8));
/// ```
pub fn following(last: Option<Serial>, wanted: Option<Serial>) -> Serial {
    match (last, wanted) {
        (None, wanted) => wanted.unwrap_or(Serial(1)),
        (Some(last), Some(wanted)) if last.is_before(wanted) => wanted,
        (Some(last), _) => last.next(),
    }
}

/// The serial in the RDATA of a SOA record; none if it is too short to be one.
pub fn of_soa(rdata: &[u8]) -> Option<Serial> {
    let at = rdata.len().checked_sub(SERIAL_FROM_END)?;
    rdata.get(at..)?.first_chunk().map(|octets| Serial(u32::from_be_bytes(*octets)))
}

/// The same SOA RDATA with another serial.
pub fn with_serial(rdata: &[u8], serial: Serial) -> Box<[u8]> {
    let mut octets: Box<[u8]> = rdata.into();
    let at = octets.len().saturating_sub(SERIAL_FROM_END);
    if let Some(slot) = octets.get_mut(at..).and_then(|tail| tail.first_chunk_mut()) {
        *slot = serial.0.to_be_bytes();
    }
    octets
}

/// Whether two RDATA of SOA are the same, octet by octet, but for their serials.
pub fn same_but_serial(one: &[u8], other: &[u8]) -> bool {
    const OCTETS: usize = size_of::<u32>();
    let Some(at) = one.len().checked_sub(SERIAL_FROM_END) else { return one == other };
    one.len() == other.len()
        && one.get(..at) == other.get(..at)
        && one.get(at + OCTETS..) == other.get(at + OCTETS..)
}

/// A SOA ends with five numbers of four octets, the serial first (RFC 1035 §3.3.13).
const SERIAL_FROM_END: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1982_a_serial_follows_any_other_whatever_is_wanted() {
        for last in [0, 1, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
            for wanted in [None, Some(0), Some(last), Some(1), Some(last ^ 0x8000_0000), Some(42)] {
                let next = following(Some(Serial(last)), wanted.map(Serial));
                assert!(Serial(last).is_before(next), "{last} then {next} ({wanted:?})");
            }
        }
    }

    #[test]
    fn the_serial_of_a_soa_is_replaced_in_place() {
        let rdata: Vec<u8> = [0u8, 0].into_iter().chain(1..=20).collect();
        let changed = with_serial(&rdata, Serial(9));
        assert_eq!(of_soa(&changed), Some(Serial(9)));
        assert_eq!(changed.get(6..), rdata.get(6..));
        assert_eq!(of_soa(b"short"), None);
    }
}
