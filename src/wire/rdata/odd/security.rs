//! The gateway of IPSECKEY and AMTRELAY, and the host identity of HIP.

use std::fmt;

use super::super::codec::{Decoder, write_base64, write_hex};
use super::super::error::{Bad, Wrong};
use super::super::read::{Reader, set};
use super::super::show::{write_name, write_v4, write_v6};
use super::super::walk::name_end;

const GATEWAY_NONE: u8 = 0;
const GATEWAY_V4: u8 = 1;
const GATEWAY_V6: u8 = 2;
/// The gateway is a name.
pub(in super::super) const GATEWAY_NAME: u8 = 3;

/// What kind of gateway the second octet of the RDATA announces.
pub(in super::super) fn gateway_type(rdata: &[u8], mask: u8) -> Option<u8> {
    rdata.get(1).map(|octet| octet & mask)
}

pub(super) fn gateway_end(rdata: &[u8], at: usize, mask: u8) -> Result<usize, Bad> {
    let rest = rdata.get(at..).unwrap_or_default();
    let fixed = |len: usize| match rest.len() >= len {
        true => Ok(at + len),
        false => Err(Bad::new(at, Wrong::Short)),
    };
    match gateway_type(rdata, mask) {
        Some(GATEWAY_NONE) => Ok(at),
        Some(GATEWAY_V4) => fixed(4),
        Some(GATEWAY_V6) => fixed(16),
        Some(GATEWAY_NAME) => name_end(rest, at),
        // Of a later kind: nobody knows where it ends, so it is all that is left.
        _ => Ok(rdata.len()),
    }
}

pub(super) fn read_gateway(reader: &mut Reader<'_, '_>, mask: u8) -> Result<(), Bad> {
    let kind = gateway_type(reader.out.get(reader.start..).unwrap_or_default(), mask);
    match kind {
        Some(GATEWAY_NONE) => {
            let token = reader.token()?;
            let none = Wrong::Malformed("is not a dot, as a gateway of type 0 is written");
            if token.text == b"." { Ok(()) } else { Err(Bad::new(token.at, none)) }
        }
        Some(GATEWAY_V4) => reader.v4(),
        Some(GATEWAY_V6) => reader.v6(),
        Some(GATEWAY_NAME) => reader.name(),
        _ => {
            let at = reader.token()?.at;
            let unknown = "has a type other than 0 to 3: write the record as \\# and octets";
            Err(Bad::new(at, Wrong::Malformed(unknown)))
        }
    }
}

pub(super) fn write_gateway(
    rdata: &[u8],
    octets: &[u8],
    mask: u8,
    f: &mut dyn fmt::Write,
) -> fmt::Result {
    match gateway_type(rdata, mask) {
        Some(GATEWAY_V4) => write_v4(octets, f),
        Some(GATEWAY_V6) => write_v6(octets, f),
        Some(GATEWAY_NAME) => write_name(octets, f),
        _ => f.write_char('.'),
    }
}

/// Two tokens, one octet: the discovery bit, and the relay type below it.
pub(super) fn read_relay_type(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let at = reader.out.len();
    reader.number(1, 1)?;
    reader.number(0x7F, 1)?;
    let kind = reader.out.pop().unwrap_or_default();
    let discovery = reader.out.get(at).copied().unwrap_or_default();
    set(reader.out, at, discovery << 7 | kind);
    Ok(())
}

pub(super) fn write_relay_type(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let octet = octets.first().copied().unwrap_or_default();
    write!(f, "{} {}", octet >> 7, octet & 0x7F)
}

/// Length of the tag, algorithm and length of the key stand before both.
pub(super) fn host_identity_end(rdata: &[u8], at: usize) -> Result<usize, Bad> {
    let short = Bad::new(at, Wrong::Short);
    let rest = rdata.get(at..).unwrap_or_default();
    let (&[tag, _, high, low], body) = rest.split_first_chunk::<4>().ok_or(short)?;
    let len = usize::from(tag) + usize::from(u16::from_be_bytes([high, low]));
    if body.len() < len { Err(short) } else { Ok(at + 4 + len) }
}

pub(super) fn read_host_identity(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let at = reader.out.len();
    reader.out.push(0);
    reader.number(u64::from(u8::MAX), 1)?;
    reader.out.extend_from_slice(&[0, 0]);
    let tag_at = reader.out.len();
    let tag = reader.token()?;
    reader.one_token(tag, Decoder::hex(), Wrong::Hex)?;
    let key_at = reader.out.len();
    let key = reader.token()?;
    reader.one_token(key, Decoder::base64(), Wrong::Base64)?;
    let long = |at| Bad::new(at, Wrong::Malformed("has a tag or key that is too long"));
    let tag_len = u8::try_from(key_at - tag_at).map_err(|_| long(tag.at))?;
    let key_len = u16::try_from(reader.out.len() - key_at).map_err(|_| long(key.at))?;
    let [high, low] = key_len.to_be_bytes();
    set(reader.out, at, tag_len);
    set(reader.out, at + 2, high);
    set(reader.out, at + 3, low);
    Ok(())
}

pub(super) fn write_host_identity(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let (&[tag, algorithm, ..], body) = octets.split_first_chunk::<4>().ok_or(fmt::Error)?;
    let (tag, key) = body.split_at_checked(usize::from(tag)).ok_or(fmt::Error)?;
    let mut f = f;
    write!(f, "{algorithm} ")?;
    write_hex(tag, &mut f)?;
    f.write_char(' ')?;
    write_base64(key, &mut f)
}
