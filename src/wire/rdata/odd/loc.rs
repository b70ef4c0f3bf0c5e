//! Locations ([RFC 1876](https://www.rfc-editor.org/rfc/rfc1876)).

use std::fmt;

use super::super::error::{Bad, Wrong};
use super::super::read::{Reader, decimal};

/// Octets of a location.
const LEN: usize = 16;
/// What the equator and the prime meridian are on the wire.
const MIDDLE: i64 = 1 << 31;
/// Thousandths of an arc second in one degree.
const DEGREE: u64 = 3_600_000;
/// Centimetres below the reference spheroid where altitudes begin.
const BASE_CM: i64 = 10_000_000;
/// Size, horizontal and vertical precision where text leaves them out: 1 m, 10 km, 10 m (§3).
const DEFAULTS: [u8; 3] = [0x12, 0x16, 0x13];

const LATITUDE: &str = "is not a latitude such as 52 22 23.000 N";
const LONGITUDE: &str = "is not a longitude such as 4 53 32.000 E";
const METRES: &str = "has a length that is not in metres, such as -2.00m";

pub(super) fn end_of(rdata: &[u8], at: usize) -> Result<usize, Bad> {
    match rdata.len() >= at + LEN {
        true => Ok(at + LEN),
        false => Err(Bad::new(at, Wrong::Short)),
    }
}

pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let latitude = angle(reader, 90, b"NS", LATITUDE)?;
    let longitude = angle(reader, 180, b"EW", LONGITUDE)?;
    let token = reader.token()?;
    let wrong = |at| Bad::new(at, Wrong::Malformed(METRES));
    let altitude = centimetres(token.text)
        .and_then(|cm| u32::try_from(cm.checked_add(BASE_CM)?).ok())
        .ok_or(wrong(token.at))?;
    let mut sizes = DEFAULTS;
    for size in &mut sizes {
        let Some(token) = reader.optional()? else { break };
        let cm = centimetres(token.text).and_then(|cm| u64::try_from(cm).ok());
        *size = cm.and_then(pack_size).ok_or(wrong(token.at))?;
    }
    reader.out.push(0);
    reader.out.extend_from_slice(&sizes);
    for number in [latitude, longitude, altitude] {
        reader.out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

/// Degrees, then minutes and seconds if they are given, then one of two letters.
fn angle(
    reader: &mut Reader<'_, '_>,
    max: u64,
    letters: &[u8; 2],
    predicate: &'static str,
) -> Result<u32, Bad> {
    let mut parts = [0u64; 3];
    let mut given = 0;
    loop {
        let token = reader.token()?;
        let wrong = Bad::new(token.at, Wrong::Malformed(predicate));
        if let [letter] = token.text {
            let letter = letter.to_ascii_uppercase();
            if let Some(side) = letters.iter().position(|&known| known == letter) {
                let [degrees, minutes, thousandths] = parts;
                let total = degrees * DEGREE + minutes * 60_000 + thousandths;
                if given == 0 || total > max * DEGREE {
                    return Err(wrong);
                }
                let offset = total as i64 * if side == 0 { 1 } else { -1 };
                return Ok((MIDDLE + offset) as u32);
            }
        }
        let part = match given {
            0 => decimal(token.text).filter(|&degrees| degrees <= max),
            1 => decimal(token.text).filter(|&minutes| minutes < 60),
            2 => fixed_point(token.text, 3).filter(|&thousandths| thousandths < 60_000),
            _ => None,
        };
        *parts.get_mut(given).ok_or(wrong)? = part.ok_or(wrong)?;
        given += 1;
    }
}

/// A number with up to so many decimals, in units of the last.
fn fixed_point(text: &[u8], decimals: u32) -> Option<u64> {
    let dot = text.iter().position(|&octet| octet == b'.');
    let (whole, part) = match dot {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..)?),
        None => (text, [].as_slice()),
    };
    let missing = decimals.checked_sub(u32::try_from(part.len()).ok()?)?;
    let part = if part.is_empty() { 0 } else { decimal(part)?.checked_mul(10u64.pow(missing))? };
    decimal(whole)?.checked_mul(10u64.pow(decimals))?.checked_add(part)
}

/// Metres with up to two decimals and an `m` that may be left out.
fn centimetres(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"m").or_else(|| text.strip_suffix(b"M")).unwrap_or(text);
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let cm = i64::try_from(fixed_point(digits, 2)?).ok()?;
    Some(if negative { -cm } else { cm })
}

/// Centimetres as one digit and the power of ten it is multiplied with; digits that do not fit are cut.
fn pack_size(centimetres: u64) -> Option<u8> {
    let (mut mantissa, mut exponent) = (centimetres, 0u8);
    while mantissa > 9 {
        (mantissa, exponent) = (mantissa / 10, exponent + 1);
    }
    (exponent <= 9).then_some((mantissa as u8) << 4 | exponent)
}

pub(super) fn write(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let octets: &[u8; LEN] = octets.try_into().map_err(|_| fmt::Error)?;
    let [_, size, horizontal, vertical, numbers @ ..] = octets;
    let number = |at: usize| {
        let four = numbers.get(at..at + 4).unwrap_or_default();
        four.iter().fold(0i64, |number, &octet| number << 8 | i64::from(octet))
    };
    write_angle(number(0) - MIDDLE, ['N', 'S'], f)?;
    write_angle(number(4) - MIDDLE, ['E', 'W'], f)?;
    let altitude = number(8) - BASE_CM;
    let sign = if altitude < 0 { "-" } else { "" };
    let altitude = altitude.unsigned_abs();
    write!(f, "{sign}{}.{:02}m", altitude / 100, altitude % 100)?;
    for packed in [size, horizontal, vertical] {
        let cm = u64::from(packed >> 4) * 10u64.pow(u32::from(packed & 0x0F));
        write!(f, " {}.{:02}m", cm / 100, cm % 100)?;
    }
    Ok(())
}

fn write_angle(thousandths: i64, letters: [char; 2], f: &mut dyn fmt::Write) -> fmt::Result {
    let [positive, negative] = letters;
    let letter = if thousandths < 0 { negative } else { positive };
    let total = thousandths.unsigned_abs();
    let (degrees, minutes) = (total / DEGREE, total / 60_000 % 60);
    let (seconds, rest) = (total / 1_000 % 60, total % 1_000);
    write!(f, "{degrees} {minutes} {seconds}.{rest:03} {letter} ")
}
