//! Addresses of other networks, address prefixes, services, and two retired forms.

use std::fmt;

use super::super::codec::{Decoder, write_hex};
use super::super::error::{Bad, Wrong};
use super::super::read::{Reader, decimal, ipv4, ipv6};
use super::super::show::{write_name, write_types, write_v6};
use super::super::table::Form;
use super::super::walk::name_end;
use crate::wire::Type;

/// Octets of the bit map of NXT: types up to 127 ([RFC 2535](https://www.rfc-editor.org/rfc/rfc2535) §5.2).
const OLD_TYPES_OCTETS_MAX: usize = 16;

/// Address family numbers ([RFC 3123](https://www.rfc-editor.org/rfc/rfc3123) §4).
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;

/// The bit of APL's length octet that negates an item.
const NEGATED: u8 = 0x80;

/// Services of WKS by name: those that were ever seen in zones.
const SERVICES: &[(&str, u16)] = &[
    ("echo", 7),
    ("discard", 9),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("domain", 53),
    ("tftp", 69),
    ("finger", 79),
    ("http", 80),
    ("pop3", 110),
    ("sunrpc", 111),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
];

pub(super) fn end_of(form: Form, rdata: &[u8], at: usize) -> Result<usize, Bad> {
    let rest = rdata.get(at..).unwrap_or_default();
    let to_the_end = |good: bool, why: Wrong| match good {
        true => Ok(rdata.len()),
        false => Err(Bad::new(at, why)),
    };
    match form {
        Form::Nsap => to_the_end(!rest.is_empty(), Wrong::Empty),
        Form::Atma => to_the_end(rest.len() > 1, Wrong::Short),
        Form::Services => to_the_end(!rest.is_empty(), Wrong::Short),
        Form::OldTypes => {
            to_the_end((1..=OLD_TYPES_OCTETS_MAX).contains(&rest.len()), Wrong::Empty)
        }
        Form::Apl => prefixes_end(rdata, at),
        Form::A6Suffix => match rest.first() {
            Some(&prefix) if prefix <= 128 && rest.len() > suffix_octets(prefix) => {
                Ok(at + 1 + suffix_octets(prefix))
            }
            _ => {
                Err(Bad::new(at, Wrong::Malformed("is not a prefix length up to 128 and a suffix")))
            }
        },
        Form::A6Name if rdata.first().is_some_and(|&prefix| prefix > 0) => name_end(rest, at),
        Form::A6Name => Ok(at),
        _ => Ok(at),
    }
}

fn prefixes_end(rdata: &[u8], at: usize) -> Result<usize, Bad> {
    let mut at = at;
    while at < rdata.len() {
        let head = rdata.get(at..at + 4).ok_or(Bad::new(at, Wrong::Short))?;
        let len = usize::from(head.last().map_or(0, |octet| octet & !NEGATED));
        at += 4 + len;
        if at > rdata.len() {
            return Err(Bad::new(at, Wrong::Short));
        }
    }
    Ok(at)
}

fn suffix_octets(prefix: u8) -> usize {
    (128 - usize::from(prefix)).div_ceil(8)
}

pub(super) fn read(form: Form, reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    match form {
        Form::Groups => read_groups(reader),
        Form::Eui(octets) => read_eui(reader, octets),
        Form::Nsap => read_nsap(reader),
        Form::Atma => read_atma(reader),
        Form::Services => read_services(reader),
        Form::OldTypes => read_old_types(reader),
        Form::Apl => read_prefixes(reader),
        Form::A6Suffix => read_suffix(reader),
        Form::A6Name => match reader.out.get(reader.start) {
            Some(&prefix) if prefix > 0 => reader.name(),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn read_groups(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let token = reader.token()?;
    let wrong =
        Bad::new(token.at, Wrong::Malformed("is not four groups as in 0014:4fff:ff20:ee64"));
    let mut groups = 0;
    for group in token.text.split(|&octet| octet == b':') {
        if group.len() != 4 {
            return Err(wrong);
        }
        let mut decoder = Decoder::hex();
        decoder.push(group, reader.out).map_err(|_| wrong)?;
        groups += 1;
    }
    if groups == 4 { Ok(()) } else { Err(wrong) }
}

fn read_eui(reader: &mut Reader<'_, '_>, octets: usize) -> Result<(), Bad> {
    let token = reader.token()?;
    let wrong =
        Bad::new(token.at, Wrong::Malformed("is not pairs of digits as in 00-00-5e-00-53-2a"));
    let mut pairs = 0;
    for pair in token.text.split(|&octet| octet == b'-') {
        if pair.len() != 2 {
            return Err(wrong);
        }
        let mut decoder = Decoder::hex();
        decoder.push(pair, reader.out).map_err(|_| wrong)?;
        pairs += 1;
    }
    if pairs == octets { Ok(()) } else { Err(wrong) }
}

fn read_nsap(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let token = reader.token()?;
    let wrong = Bad::new(token.at, Wrong::Malformed("is not 0x and hexadecimal digits"));
    let digits = token.text.strip_prefix(b"0x").or_else(|| token.text.strip_prefix(b"0X"));
    push_dotted_hex(digits.ok_or(wrong)?, reader.out).ok_or(wrong)
}

/// Pairs of digits, with dots wherever somebody likes them; one pair at least.
fn push_dotted_hex(digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let from = out.len();
    let mut decoder = Decoder::hex();
    for part in digits.split(|&octet| octet == b'.') {
        decoder.push(part, out).ok()?;
    }
    decoder.finish().ok()?;
    (out.len() > from).then_some(())
}

fn read_atma(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let token = reader.token()?;
    let wrong =
        Bad::new(token.at, Wrong::Malformed("is neither hexadecimal digits nor + and digits"));
    match token.text.strip_prefix(b"+") {
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            reader.out.push(1);
            reader.out.extend_from_slice(digits);
            Ok(())
        }
        Some(_) => Err(wrong),
        None => {
            reader.out.push(0);
            push_dotted_hex(token.text, reader.out).ok_or(wrong)
        }
    }
}

fn read_services(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let token = reader.token()?;
    let protocol = match token.text.to_ascii_lowercase().as_slice() {
        b"tcp" => Some(6),
        b"udp" => Some(17),
        text => decimal(text).and_then(|number| u8::try_from(number).ok()),
    };
    reader.out.push(protocol.ok_or(Bad::new(token.at, Wrong::Code))?);
    let from = reader.out.len();
    while let Some(token) = reader.optional()? {
        let named =
            SERVICES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(token.text));
        let port = named.map(|&(_, port)| port);
        let port = port.or_else(|| u16::try_from(decimal(token.text)?).ok());
        let port = usize::from(port.ok_or(Bad::new(token.at, Wrong::Code))?);
        set_bit(reader.out, from, port);
    }
    Ok(())
}

/// Sets one bit of the map that starts at `from` and ends where `out` does.
fn set_bit(out: &mut Vec<u8>, from: usize, bit: usize) {
    let at = from + bit / 8;
    if out.len() <= at {
        out.resize(at + 1, 0);
    }
    if let Some(octet) = out.get_mut(at) {
        *octet |= 0x80 >> (bit % 8);
    }
}

fn read_old_types(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let from = reader.out.len();
    loop {
        let token = match reader.out.len() == from {
            true => Some(reader.token()?),
            false => reader.optional()?,
        };
        let Some(token) = token else { return Ok(()) };
        let rtype = Type::from_text(token.text).filter(|rtype| rtype.0 < 128);
        let rtype = rtype.ok_or(Bad::new(token.at, Wrong::Type))?;
        set_bit(reader.out, from, usize::from(rtype.0));
    }
}

fn read_prefixes(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    while let Some(token) = reader.optional()? {
        let wrong = Bad::new(
            token.at,
            Wrong::Malformed("has an item unlike 1:192.0.2.0/24 or !2:2001:db8::/32"),
        );
        push_prefix(token.text, reader.out).ok_or(wrong)?;
    }
    Ok(())
}

fn push_prefix(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (negated, text) = match text.strip_prefix(b"!") {
        Some(rest) => (NEGATED, rest),
        None => (0, text),
    };
    let colon = text.iter().position(|&octet| octet == b':')?;
    let slash = text.iter().rposition(|&octet| octet == b'/')?;
    let family = u16::try_from(decimal(text.get(..colon)?)?).ok()?;
    let address = text.get(colon + 1..slash)?;
    let (address, bits) = match family {
        FAMILY_V4 => (ipv4(address)?.to_vec(), 32),
        FAMILY_V6 => (ipv6(address)?.octets().to_vec(), 128),
        _ => return None,
    };
    let prefix = decimal(text.get(slash + 1..)?).filter(|&prefix| prefix <= bits)?;
    let len = address.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    out.extend_from_slice(&family.to_be_bytes());
    out.extend_from_slice(&[prefix as u8, negated | len as u8]);
    out.extend_from_slice(address.get(..len)?);
    Some(())
}

fn read_suffix(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    reader.number(128, 1)?;
    let prefix = reader.out.last().copied().unwrap_or_default();
    if prefix == 128 {
        return Ok(());
    }
    let token = reader.token()?;
    let address = ipv6(token.text).ok_or(Bad::new(token.at, Wrong::V6))?.octets();
    let suffix = address.get(16 - suffix_octets(prefix)..).unwrap_or_default();
    reader.out.extend_from_slice(suffix);
    Ok(())
}

pub(super) fn write(
    form: Form,
    rdata: &[u8],
    octets: &[u8],
    f: &mut dyn fmt::Write,
) -> fmt::Result {
    let mut f = f;
    match form {
        Form::Groups => write_joined(octets, 2, ':', f),
        Form::Eui(_) => write_joined(octets, 1, '-', f),
        Form::Nsap => {
            f.write_str("0x")?;
            write_hex(octets, &mut f)
        }
        Form::Atma => match octets.split_first() {
            Some((1, digits)) if digits.iter().all(u8::is_ascii_digit) => {
                f.write_char('+')?;
                digits.iter().try_for_each(|&digit| f.write_char(char::from(digit)))
            }
            Some((_, address)) => write_hex(address, &mut f),
            None => Ok(()),
        },
        Form::Services => {
            let (protocol, map) = octets.split_first().ok_or(fmt::Error)?;
            write!(f, "{protocol}")?;
            bits(map).try_for_each(|port| write!(f, " {port}"))
        }
        Form::OldTypes => write_types(bits(octets).map(|bit| Type(bit as u16)), f),
        Form::Apl => write_prefixes(octets, f),
        Form::A6Suffix => write_suffix(octets, f),
        Form::A6Name if rdata.first().is_some_and(|&prefix| prefix > 0) => write_name(octets, f),
        _ => Ok(()),
    }
}

/// Groups of so many octets in lower case hexadecimal, joined.
fn write_joined(octets: &[u8], size: usize, joint: char, f: &mut dyn fmt::Write) -> fmt::Result {
    for (at, group) in octets.chunks(size).enumerate() {
        if at > 0 {
            f.write_char(joint)?;
        }
        group.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
    }
    Ok(())
}

/// The numbers of the bits that are set.
fn bits(map: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let each = |at: usize, octet: u8| {
        (0..8).filter(move |bit| octet & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit)
    };
    map.iter().enumerate().flat_map(move |(at, &octet)| each(at, octet))
}

fn write_prefixes(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let mut rest = octets;
    while let Some((&[high, low, prefix, len], after)) = rest.split_first_chunk::<4>() {
        if rest.len() < octets.len() {
            f.write_char(' ')?;
        }
        let (part, after) =
            after.split_at_checked(usize::from(len & !NEGATED)).ok_or(fmt::Error)?;
        let family = u16::from_be_bytes([high, low]);
        let sign = if len & NEGATED > 0 { "!" } else { "" };
        let mut address = [0u8; 16];
        for (slot, &octet) in address.iter_mut().zip(part) {
            *slot = octet;
        }
        write!(f, "{sign}{family}:")?;
        match (family, address) {
            (FAMILY_V4, [a, b, c, d, ..]) => write!(f, "{a}.{b}.{c}.{d}")?,
            (_, address) => write_v6(&address, f)?,
        }
        write!(f, "/{prefix}")?;
        rest = after;
    }
    Ok(())
}

fn write_suffix(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let (prefix, suffix) = octets.split_first().ok_or(fmt::Error)?;
    write!(f, "{prefix}")?;
    if *prefix == 128 {
        return Ok(());
    }
    let mut address = [0u8; 16];
    for (slot, &octet) in address.iter_mut().rev().zip(suffix.iter().rev()) {
        *slot = octet;
    }
    f.write_char(' ')?;
    write_v6(&address, f)
}
