//! RDATA as text.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::bitmap;
use super::codec::{write_base32, write_base64, write_hex};
use super::odd;
use super::read::parse_into;
use super::scan::Scanner;
use super::svcb;
use super::table::{Field, Form, Shown as ShownAs, fields};
use super::walk::{end_of, validate};
use crate::wire::{Name, Type};

/// RDATA on its way into text; see [`display`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    rtype: Type,
    rdata: &'a [u8],
}

/// Shows RDATA as it stands in a zone file, names absolute.
///
/// What the type's own form cannot say exactly is shown as `\#` ([RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §5).
pub fn display(rtype: Type, rdata: &[u8]) -> Shown<'_> {
    Shown { rtype, rdata }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(fields) = fields(self.rtype).filter(|_| validate(self.rtype, self.rdata).is_ok())
        else {
            return self.generic(f);
        };
        if !fields.iter().any(|&(_, form)| may_lose(form)) {
            return write_fields(fields, self.rdata, f);
        }
        let mut text = String::new();
        write_fields(fields, self.rdata, &mut text)?;
        let mut back = Vec::new();
        match parse_into(self.rtype, &mut Scanner::new(text.as_bytes()), None, &mut back) {
            Ok(()) if back == self.rdata => f.write_str(&text),
            _ => self.generic(f),
        }
    }
}

impl Shown<'_> {
    fn generic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\\# {}", self.rdata.len())?;
        if !self.rdata.is_empty() {
            f.write_char(' ')?;
            write_hex(self.rdata, f)?;
        }
        Ok(())
    }
}

/// Whether the form has octets its text cannot say: whether it does is seen by reading it back.
fn may_lose(form: Form) -> bool {
    matches!(
        form,
        Form::OldTypes
            | Form::Nsap
            | Form::Atma
            | Form::Services
            | Form::Loc
            | Form::Apl
            | Form::SvcParams
            | Form::Gateway { .. }
            | Form::HostIdentity
            | Form::A6Suffix
            | Form::A6Name
    )
}

fn write_fields(fields: &[Field], rdata: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let mut at = 0;
    for &(_, form) in fields {
        let end = end_of(form, rdata, at).map_err(|_| fmt::Error)?;
        let octets = rdata.get(at..end).unwrap_or_default();
        if at > 0 && !(octets.is_empty() && vanishes(form)) {
            f.write_char(' ')?;
        }
        write_field(form, rdata, octets, f)?;
        at = end;
    }
    Ok(())
}

/// Whether no octets are no text: then no blank stands before them either.
fn vanishes(form: Form) -> bool {
    matches!(
        form,
        Form::Names
            | Form::Hex(_)
            | Form::Base64(_)
            | Form::Types { .. }
            | Form::OldTypes
            | Form::SvcParams
            | Form::Apl
            | Form::A6Name
    )
}

fn write_field(form: Form, rdata: &[u8], octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let number = || octets.iter().fold(0u64, |number, &octet| number << 8 | u64::from(octet));
    let mut f = f;
    match form {
        Form::U8 | Form::U16 | Form::U32 | Form::U64 | Form::Seconds => write!(f, "{}", number()),
        Form::Time => odd::write_moment(number(), f),
        Form::Code8(codes, shown) => {
            let name = codes.iter().find(|&&(_, code)| u64::from(code) == number());
            write_code(name.map(|(name, _)| *name), shown, number(), f)
        }
        Form::Code16(codes, shown) => {
            let name = codes.iter().find(|&&(_, code)| u64::from(code) == number());
            write_code(name.map(|(name, _)| *name), shown, number(), f)
        }
        Form::TypeCode => write!(f, "{}", Type(number() as u16)),
        Form::V4 => write_v4(octets, f),
        Form::V6 => write_v6(octets, f),
        Form::Name(_) => write_name(octets, f),
        Form::Names => write_names(octets, f),
        Form::Text | Form::Texts(_) => write_strings(octets, f),
        Form::Octets => write_quoted(octets, f),
        Form::Tag => octets.iter().skip(1).try_for_each(|&octet| f.write_char(char::from(octet))),
        Form::Hex(_) => write_hex(octets, &mut f),
        Form::Base64(_) => write_base64(octets, &mut f),
        Form::Base64OrDash if octets.is_empty() => f.write_char('-'),
        Form::Base64OrDash => write_base64(octets, &mut f),
        Form::Salt if octets.len() <= 1 => f.write_char('-'),
        Form::Salt => write_hex(octets.get(1..).unwrap_or_default(), &mut f),
        Form::Hash => write_base32(octets.get(1..).unwrap_or_default(), &mut f),
        Form::Types { .. } => write_types(bitmap::types(octets), f),
        Form::SvcParams => svcb::write(octets, f),
        Form::OldTypes
        | Form::Groups
        | Form::Eui(_)
        | Form::Nsap
        | Form::Atma
        | Form::Services
        | Form::Loc
        | Form::Apl
        | Form::Gateway { .. }
        | Form::RelayType
        | Form::HostIdentity
        | Form::A6Suffix
        | Form::A6Name => odd::write(form, rdata, octets, f),
    }
}

fn write_code(
    name: Option<&str>,
    shown: ShownAs,
    number: u64,
    f: &mut dyn fmt::Write,
) -> fmt::Result {
    match name.filter(|_| shown == ShownAs::Name) {
        Some(name) => f.write_str(name),
        None => write!(f, "{number}"),
    }
}

pub(super) fn write_v4(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let octets: [u8; 4] = octets.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv4Addr::from(octets))
}

pub(super) fn write_v6(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let octets: [u8; 16] = octets.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv6Addr::from(octets))
}

pub(super) fn write_name(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    write!(f, "{}", Name::from_wire(octets).map_err(|_| fmt::Error)?)
}

fn write_names(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let mut rest = octets;
    while !rest.is_empty() {
        let len = crate::wire::name::wire_len(rest).map_err(|_| fmt::Error)?;
        let (name, after) = rest.split_at_checked(len).ok_or(fmt::Error)?;
        if rest.len() < octets.len() {
            f.write_char(' ')?;
        }
        write_name(name, f)?;
        rest = after;
    }
    Ok(())
}

pub(super) fn write_types(
    types: impl Iterator<Item = Type>,
    f: &mut dyn fmt::Write,
) -> fmt::Result {
    for (at, rtype) in types.enumerate() {
        if at > 0 {
            f.write_char(' ')?;
        }
        write!(f, "{rtype}")?;
    }
    Ok(())
}

fn write_strings(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let mut rest = octets;
    while let Some((&len, after)) = rest.split_first() {
        let (text, after) = after.split_at_checked(usize::from(len)).ok_or(fmt::Error)?;
        if rest.len() < octets.len() {
            f.write_char(' ')?;
        }
        write_quoted(text, f)?;
        rest = after;
    }
    Ok(())
}

/// A string in quotes, what is not printable ASCII as `\DDD`.
pub(super) fn write_quoted(octets: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    f.write_char('"')?;
    let mut rest = octets;
    while !rest.is_empty() {
        let special = |&octet: &u8| !matches!(octet, b' '..=b'~') || matches!(octet, b'"' | b'\\');
        let (plain, after) = rest.split_at(rest.iter().position(special).unwrap_or(rest.len()));
        f.write_str(std::str::from_utf8(plain).map_err(|_| fmt::Error)?)?;
        let Some((&octet, after)) = after.split_first() else { break };
        match octet {
            b'"' | b'\\' => write!(f, "\\{}", char::from(octet))?,
            other => write!(f, "\\{other:03}")?,
        }
        rest = after;
    }
    f.write_char('"')
}
