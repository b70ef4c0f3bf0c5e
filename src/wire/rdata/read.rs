//! RDATA from text.

use std::net::Ipv6Addr;

use super::bitmap;
use super::codec::Decoder;
use super::error::{Bad, RdataError, Wrong};
use super::odd;
use super::scan::{Scanner, Token};
use super::svcb;
use super::table::{Form, fields};
use super::walk::{RDATA_OCTETS_MAX, validate};
use crate::wire::name::{push_name, take_escape};
use crate::wire::{Name, Type};

pub(super) const TAG: &str = "is not made of letters and digits, one at least";

/// Reads the RDATA of one record as it stands in a zone file; `\#` is understood for every type.
///
/// Relative names are completed with `origin`, and refused without one.
///
/// ```
/// # use nameplane::wire::{Type, rdata};
/// assert_eq!(rdata::parse(Type::MX, "10 a.", None)?.as_ref(), b"\x00\x0A\x01a\x00");
/// # Ok::<(), rdata::RdataError>(())
/// ```
///
/// # Errors
///
/// [`RdataError`] with the field and its place in `text`.
pub fn parse(rtype: Type, text: &str, origin: Option<&Name>) -> Result<Box<[u8]>, RdataError> {
    // A line end would end the entry; in a field of a form it is only a blank.
    let joined: Vec<u8> =
        text.bytes().map(|octet| if octet == b'\n' { b' ' } else { octet }).collect();
    let mut out = Vec::with_capacity(text.len());
    parse_into(rtype, &mut Scanner::new(&joined), origin.map(Name::as_wire), &mut out)?;
    Ok(out.into())
}

/// Reads RDATA up to the end of the entry the scanner is in, and appends it to `out`.
///
/// `origin` is a name in wire form. After an error `out` ends in octets that mean nothing.
///
/// # Errors
///
/// As [`parse`]; places count from the start of the scanner's input.
pub fn parse_into(
    rtype: Type,
    scanner: &mut Scanner<'_>,
    origin: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    let begin = scanner.at();
    if rtype.is_meta() {
        return Err(Bad::new(begin, Wrong::Meta).of(rtype, ""));
    }
    let mut reader = Reader { scanner, origin, out, start };
    if reader.scanner.may_be_generic()
        && reader.take_generic_mark().map_err(|bad| bad.of(rtype, ""))?
    {
        reader.generic().map_err(|bad| bad.of(rtype, ""))?;
        let rdata = reader.out.get(start..).unwrap_or_default();
        return validate(rtype, rdata).map_err(|error| RdataError { at: begin, ..error });
    }
    let Some(fields) = fields(rtype) else {
        return Err(Bad::new(reader.scanner.at(), Wrong::OnlyGeneric).of(rtype, ""));
    };
    for &(name, form) in fields {
        reader.field(form).map_err(|bad| bad.of(rtype, name))?;
    }
    if let Some(extra) = reader.optional().map_err(|bad| bad.of(rtype, ""))? {
        return Err(Bad::new(extra.at, Wrong::Extra).of(rtype, ""));
    }
    if out.len() - start > RDATA_OCTETS_MAX {
        return Err(Bad::new(begin, Wrong::TooLong).of(rtype, ""));
    }
    Ok(())
}

/// Reads fields: text from a scanner, octets appended to `out`.
pub(super) struct Reader<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    origin: Option<&'s [u8]>,
    pub(super) out: &'s mut Vec<u8>,
    /// Where this RDATA starts in `out`.
    pub(super) start: usize,
}

impl<'a> Reader<'_, 'a> {
    /// The next token of the entry, if there is one.
    #[inline]
    pub(super) fn optional(&mut self) -> Result<Option<Token<'a>>, Bad> {
        Ok(self.scanner.token()?)
    }

    /// The next token of the entry.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token<'a>, Bad> {
        self.optional()?.ok_or(Bad::new(self.scanner.at(), Wrong::Missing))
    }

    /// Takes `\\#` if it comes next, and nothing otherwise.
    fn take_generic_mark(&mut self) -> Result<bool, Bad> {
        let mut ahead = self.scanner.clone();
        let found = ahead.token()?.is_some_and(|token| token.text == b"\\#" && !token.quoted);
        if found {
            *self.scanner = ahead;
        }
        Ok(found)
    }

    fn field(&mut self, form: Form) -> Result<(), Bad> {
        match form {
            Form::U8 => self.number(u64::from(u8::MAX), 1),
            Form::U16 => self.number(u64::from(u16::MAX), 2),
            Form::U32 => self.number(u64::from(u32::MAX), 4),
            Form::U64 => self.number(u64::MAX, 8),
            Form::Seconds => self.with_u32(Wrong::Seconds, seconds),
            Form::Time => self.with_u32(Wrong::Time, moment),
            Form::Code8(codes, _) => self.code8(codes),
            Form::Code16(codes, _) => self.code16(codes),
            Form::TypeCode => self.type_code(),
            Form::V4 => self.v4(),
            Form::V6 => self.v6(),
            Form::Name(_) => self.name(),
            Form::Names => self.names(),
            Form::Text => self.token().and_then(|token| self.string(token)),
            Form::Texts(max) => self.texts(max),
            Form::Octets => self.octets(),
            Form::Tag => self.tag(),
            Form::Hex(least) => self.digits(Decoder::hex(), least, Wrong::Hex),
            Form::Base64(least) => self.digits(Decoder::base64(), least, Wrong::Base64),
            Form::Base64OrDash => self.base64_or_dash(),
            Form::Salt => self.salt(),
            Form::Hash => self.hash(),
            Form::Types { may_be_empty } => self.types(may_be_empty),
            Form::SvcParams => svcb::read(self),
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
            | Form::A6Name => odd::read(form, self),
        }
    }

    pub(super) fn number(&mut self, max: u64, octets: usize) -> Result<(), Bad> {
        let token = self.token()?;
        let number = decimal(token.text).filter(|&number| number <= max);
        let number = number.ok_or(Bad::new(token.at, Wrong::Number(max)))?;
        let all = number.to_be_bytes();
        self.out.extend_from_slice(all.get(8 - octets..).unwrap_or_default());
        Ok(())
    }

    fn with_u32(&mut self, why: Wrong, read: fn(&[u8]) -> Option<u32>) -> Result<(), Bad> {
        let token = self.token()?;
        let number = read(token.text).ok_or(Bad::new(token.at, why))?;
        self.out.extend_from_slice(&number.to_be_bytes());
        Ok(())
    }

    fn code8(&mut self, codes: &[(&str, u8)]) -> Result<(), Bad> {
        let token = self.token()?;
        let code = decimal(token.text)
            .and_then(|number| u8::try_from(number).ok())
            .or_else(|| named(codes, token.text))
            .ok_or(Bad::new(token.at, Wrong::Code))?;
        self.out.push(code);
        Ok(())
    }

    fn code16(&mut self, codes: &[(&str, u16)]) -> Result<(), Bad> {
        let token = self.token()?;
        let code = decimal(token.text)
            .and_then(|number| u16::try_from(number).ok())
            .or_else(|| named(codes, token.text))
            .ok_or(Bad::new(token.at, Wrong::Code))?;
        self.out.extend_from_slice(&code.to_be_bytes());
        Ok(())
    }

    fn type_code(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        let number = || decimal(token.text).and_then(|number| u16::try_from(number).ok());
        let rtype = Type::from_text(token.text).or_else(|| number().map(Type));
        let rtype = rtype.ok_or(Bad::new(token.at, Wrong::Type))?;
        self.out.extend_from_slice(&rtype.0.to_be_bytes());
        Ok(())
    }

    pub(super) fn v4(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        let address = ipv4(token.text).ok_or(Bad::new(token.at, Wrong::V4))?;
        self.out.extend_from_slice(&address);
        Ok(())
    }

    pub(super) fn v6(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        let address = ipv6(token.text).ok_or(Bad::new(token.at, Wrong::V6))?;
        self.out.extend_from_slice(&address.octets());
        Ok(())
    }

    pub(super) fn name(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        self.push_name(token)
    }

    fn push_name(&mut self, token: Token<'_>) -> Result<(), Bad> {
        push_name(token.text, self.origin, self.out)
            .map_err(|error| Bad::new(token.at, Wrong::Name(error)))
    }

    fn names(&mut self) -> Result<(), Bad> {
        while let Some(token) = self.optional()? {
            self.push_name(token)?;
        }
        Ok(())
    }

    fn string(&mut self, token: Token<'_>) -> Result<(), Bad> {
        push_string(token, self.out).map_err(|why| Bad::new(token.at, why))
    }

    fn texts(&mut self, max: usize) -> Result<(), Bad> {
        let first = self.token()?;
        self.string(first)?;
        for _ in 1..max {
            let Some(token) = self.optional()? else { break };
            self.string(token)?;
        }
        Ok(())
    }

    fn octets(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        push_octets(token, self.out).map_err(|why| Bad::new(token.at, why))
    }

    fn tag(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        if token.text.is_empty() || !token.text.iter().all(u8::is_ascii_alphanumeric) {
            return Err(Bad::new(token.at, Wrong::Malformed(TAG)));
        }
        self.string(token)
    }

    /// Digits in all tokens that are left.
    pub(super) fn digits(
        &mut self,
        mut decoder: Decoder,
        least: usize,
        why: Wrong,
    ) -> Result<(), Bad> {
        let from = self.out.len();
        let mut at = None;
        while let Some(token) = self.optional()? {
            at = at.or(Some(token.at));
            decoder.push(token.text, self.out).map_err(|_| Bad::new(token.at, why))?;
        }
        decoder.finish().map_err(|_| Bad::new(at.unwrap_or_default(), why))?;
        match (at, self.out.len() - from >= least) {
            (None, false) => Err(Bad::new(self.scanner.at(), Wrong::Missing)),
            (Some(at), false) => Err(Bad::new(at, Wrong::Empty)),
            (_, true) => Ok(()),
        }
    }

    /// Digits in the next token alone, behind a length octet.
    fn sized_digits(&mut self, token: Token<'_>, d: Decoder, why: Wrong) -> Result<(), Bad> {
        let length_at = self.out.len();
        self.out.push(0);
        self.one_token(token, d, why)?;
        let len = u8::try_from(self.out.len() - length_at - 1)
            .map_err(|_| Bad::new(token.at, Wrong::LongText))?;
        set(self.out, length_at, len);
        Ok(())
    }

    /// Digits in one token.
    pub(super) fn one_token(
        &mut self,
        token: Token<'_>,
        d: Decoder,
        why: Wrong,
    ) -> Result<(), Bad> {
        let mut decoder = d;
        decoder
            .push(token.text, self.out)
            .and_then(|()| decoder.finish())
            .map_err(|_| Bad::new(token.at, why))
    }

    fn base64_or_dash(&mut self) -> Result<(), Bad> {
        let mut ahead = self.scanner.clone();
        if ahead.token()?.is_some_and(|token| token.text == b"-") {
            *self.scanner = ahead;
            return Ok(());
        }
        self.digits(Decoder::base64(), 1, Wrong::Base64)
    }

    fn salt(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        if token.text == b"-" {
            self.out.push(0);
            return Ok(());
        }
        self.sized_digits(token, Decoder::hex(), Wrong::Hex)
    }

    fn hash(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        if token.text.is_empty() {
            return Err(Bad::new(token.at, Wrong::Empty));
        }
        self.sized_digits(token, Decoder::base32(), Wrong::Base32)
    }

    fn types(&mut self, may_be_empty: bool) -> Result<(), Bad> {
        let mut types = Vec::with_capacity(8);
        while let Some(token) = self.optional()? {
            types.push(Type::from_text(token.text).ok_or(Bad::new(token.at, Wrong::Type))?);
        }
        if types.is_empty() && !may_be_empty {
            return Err(Bad::new(self.scanner.at(), Wrong::Missing));
        }
        bitmap::push(&mut types, self.out);
        Ok(())
    }

    /// `\#` is taken; length and octets follow ([RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §5).
    fn generic(&mut self) -> Result<(), Bad> {
        let token = self.token()?;
        let max = RDATA_OCTETS_MAX as u64;
        let len = decimal(token.text).filter(|&len| len <= max);
        let len = len.ok_or(Bad::new(token.at, Wrong::Number(max)))?;
        let from = self.out.len();
        self.digits(Decoder::hex(), 0, Wrong::Hex)?;
        if (self.out.len() - from) as u64 != len {
            return Err(Bad::new(token.at, Wrong::GenericLength));
        }
        Ok(())
    }
}

/// Overwrites one octet that is there.
pub(super) fn set(out: &mut [u8], at: usize, octet: u8) {
    if let Some(slot) = out.get_mut(at) {
        *slot = octet;
    }
}

/// Appends a token as a character-string: a length octet, then the octets with escapes decoded.
///
/// # Errors
///
/// [`Wrong::LongText`] or [`Wrong::Escape`].
pub fn push_string(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let length_at = out.len();
    out.push(0);
    push_octets(token, out)?;
    let len = out.len() - length_at - 1;
    let len = u8::try_from(len).map_err(|_| Wrong::LongText)?;
    set(out, length_at, len);
    Ok(())
}

/// Appends a token with escapes decoded.
pub(super) fn push_octets(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    if !token.escaped {
        out.extend_from_slice(token.text);
        return Ok(());
    }
    let mut rest = token.text;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'\\' => out.push(take_escape(&mut rest).map_err(|_| Wrong::Escape)?),
            plain => out.push(plain),
        }
    }
    Ok(())
}

fn named<N: Copy>(codes: &[(&str, N)], text: &[u8]) -> Option<N> {
    codes.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text)).map(|&(_, code)| code)
}

/// A number in decimal digits, nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds, plain or with units: `3600`, `1h30m`, `2W`.
pub(crate) fn seconds(text: &[u8]) -> Option<u32> {
    let (mut total, mut number) = (0u64, None::<u64>);
    for octet in text {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let so_far = number.unwrap_or(0).checked_mul(10)?;
                number = Some(so_far.checked_add(u64::from(digit - b'0'))?);
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(number) => total = total.checked_add(number)?,
        None if text.is_empty() => return None,
        None => {}
    }
    u32::try_from(total).ok()
}

/// `YYYYMMDDHHmmSS` in UTC, or seconds since 1970 of up to ten digits ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.2).
fn moment(text: &[u8]) -> Option<u32> {
    if text.len() != 14 {
        return decimal(text).and_then(|number| u32::try_from(number).ok());
    }
    let part = |from: usize, to: usize| text.get(from..to).and_then(decimal);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = odd::days_before(year, month) + day - 1;
    // Times wrap as serials do: a year past 2106 is the same moment modulo 2³².
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) as u32)
}

/// An address in four decimal parts; leading zeros are refused, for some read them as octal.
pub(super) fn ipv4(text: &[u8]) -> Option<[u8; 4]> {
    let mut address = [0u8; 4];
    let (mut part, mut value, mut digits) = (0, 0u32, 0);
    for &octet in text {
        match octet {
            b'0'..=b'9' => {
                if digits == 3 || (digits > 0 && value == 0) {
                    return None;
                }
                value = value * 10 + u32::from(octet - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && part < 3 => {
                *address.get_mut(part)? = u8::try_from(value).ok()?;
                (part, value, digits) = (part + 1, 0, 0);
            }
            _ => return None,
        }
    }
    if part != 3 || digits == 0 {
        return None;
    }
    *address.get_mut(part)? = u8::try_from(value).ok()?;
    Some(address)
}

pub(super) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_take_units_in_any_order() {
        for (text, expected) in [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("1h30m", Some(5400)),
            ("1W2D3H4M5S", Some(788_645)),
            ("1h30", Some(3630)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("", None),
            ("h", None),
            ("1y", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("9999999999999w", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn rfc4034_3_2_times_are_dates_or_seconds() {
        assert_eq!(moment(b"20030322173103"), Some(1_048_354_263));
        assert_eq!(moment(b"1048354263"), Some(1_048_354_263));
        assert_eq!(moment(b"19700101000000"), Some(0));
        assert_eq!(moment(b"21060207062815"), Some(u32::MAX));
        assert_eq!(moment(b"20031322173103"), None);
        assert_eq!(moment(b"2003032217310x"), None);
    }

    #[test]
    fn ipv4_is_four_decimal_parts() {
        assert_eq!(ipv4(b"192.0.2.255"), Some([192, 0, 2, 255]));
        for bad in ["1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1..2.3", ".1.2.3", "1.2.3.", ""]
        {
            assert_eq!(ipv4(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_error_names_the_field_and_the_way_out() {
        let error = parse(Type::MX, "10", None).unwrap_err();
        assert_eq!(error.to_string(), "MX exchange is missing: MX takes preference, exchange");
        let error = parse(Type::MX, "ten a.", None).unwrap_err();
        assert_eq!(error.to_string(), "MX preference is not a number from 0 to 65535");
        assert_eq!(error.at, 0);
        let error = parse(Type::A, "192.0.2.1 x", None).unwrap_err();
        assert_eq!((error.at, error.why), (10, Wrong::Extra));
        assert_eq!(parse(Type::A, "", None).unwrap_err().why, Wrong::Missing);
        assert_eq!(parse(Type(65_280), "x", None).unwrap_err().why, Wrong::OnlyGeneric);
        assert_eq!(parse(Type::ANY, "x", None).unwrap_err().why, Wrong::Meta);
    }

    #[test]
    fn rfc3597_5_generic_octets_of_a_known_type_are_checked() {
        assert_eq!(parse(Type::A, "\\# 4 C0000201", None).unwrap().as_ref(), [192, 0, 2, 1]);
        assert_eq!(parse(Type::A, "\\# 4 C00002", None).unwrap_err().why, Wrong::GenericLength);
        assert_eq!(parse(Type::A, "\\# 3 C00002", None).unwrap_err().why, Wrong::Short);
        assert!(parse(Type(65_280), "\\# 0", None).unwrap().is_empty());
        assert_eq!(
            parse(Type(65_280), "\\# 3 ab c0 ff", None).unwrap().as_ref(),
            [0xAB, 0xC0, 0xFF]
        );
    }
}
