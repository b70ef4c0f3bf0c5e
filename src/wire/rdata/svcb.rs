//! SvcParams of SVCB and HTTPS ([RFC 9460] §2.1, §2.2).
//!
//! [RFC 9460]: https://www.rfc-editor.org/rfc/rfc9460

use std::fmt;

use super::codec::{Decoder, write_base64};
use super::error::{Bad, Wrong};
use super::read::{Reader, decimal, ipv4, ipv6, push_octets};
use super::scan::Token;
use super::show::{write_quoted, write_v4, write_v6};

/// What the value of a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Keys that a client must understand.
    Keys,
    /// Strings, each behind its length.
    List,
    /// Nothing: the key says it all.
    Nothing,
    /// One number of 16 bits.
    Port,
    /// Numbers of 16 bits.
    Numbers,
    V4s,
    V6s,
    Base64,
    /// Octets written as a string.
    Octets,
}

/// Keys by number: the registry as of RFC 9460, 9461, 9540, 9848 and 9953.
const KEYS: &[(&str, Value)] = &[
    ("mandatory", Value::Keys),
    ("alpn", Value::List),
    ("no-default-alpn", Value::Nothing),
    ("port", Value::Port),
    ("ipv4hint", Value::V4s),
    ("ech", Value::Base64),
    ("ipv6hint", Value::V6s),
    ("dohpath", Value::Octets),
    ("ohttp", Value::Nothing),
    ("tls-supported-groups", Value::Numbers),
    ("docpath", Value::List),
];

const MANDATORY: u16 = 0;
const NO_DEFAULT_ALPN: u16 = 2;
const ALPN: u16 = 1;
/// The only list that may be empty: the root path.
const DOCPATH: u16 = 10;
/// Reserved; never a key ([RFC 9460](https://www.rfc-editor.org/rfc/rfc9460) §14.3.2).
const INVALID: u16 = u16::MAX;

fn value_of(key: u16) -> Value {
    KEYS.get(usize::from(key)).map_or(Value::Octets, |&(_, value)| value)
}

fn key_of(text: &[u8]) -> Option<u16> {
    if let Some(known) = KEYS.iter().position(|(name, _)| name.as_bytes() == text) {
        return Some(known as u16);
    }
    let digits = text.strip_prefix(b"key")?;
    let leading_zero = digits.len() > 1 && digits.starts_with(b"0");
    let key = decimal(digits).and_then(|key| u16::try_from(key).ok())?;
    (key != INVALID && !leading_zero).then_some(key)
}

fn write_key(key: u16, f: &mut dyn fmt::Write) -> fmt::Result {
    match KEYS.get(usize::from(key)) {
        Some((name, _)) => f.write_str(name),
        None => write!(f, "key{key}"),
    }
}

/// Reads parameters in any order; on the wire they stand by key.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    let mut params: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut first = None;
    while let Some(token) = reader.optional()? {
        first = first.or(Some(token.at));
        let (key, value) = param(token).map_err(|why| Bad::new(token.at, why))?;
        match params.binary_search_by_key(&key, |&(key, _)| key) {
            Ok(_) => {
                return Err(Bad::new(token.at, Wrong::Malformed("has the same key twice")));
            }
            Err(at) => params.insert(at, (key, value)),
        }
    }
    let from = reader.out.len();
    for (key, value) in &params {
        reader.out.extend_from_slice(&key.to_be_bytes());
        reader.out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        reader.out.extend_from_slice(value);
    }
    let wire = reader.out.get(from..).unwrap_or_default();
    check(wire).map_err(|why| Bad::new(first.unwrap_or_default(), why))
}

/// `key`, `key=value` or `key="value"`.
fn param(token: Token<'_>) -> Result<(u16, Vec<u8>), Wrong> {
    let equals = token.text.iter().position(|&octet| octet == b'=');
    let (key, value) = match equals {
        Some(at) => (token.text.get(..at), token.text.get(at + 1..)),
        None => (Some(token.text), None),
    };
    let unknown = Wrong::Malformed("has a key that is not known: write it as key and its number");
    let key = key_of(key.unwrap_or_default()).ok_or(unknown)?;
    let value = value.unwrap_or_default();
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let text = Token { text: quoted.unwrap_or(value), quoted: quoted.is_some(), ..token };
    let mut decoded = Vec::with_capacity(text.text.len());
    push_octets(text, &mut decoded)?;
    let mut out = Vec::with_capacity(decoded.len() + 1);
    push_value(value_of(key), &decoded, &mut out)?;
    if out.len() > usize::from(u16::MAX) {
        return Err(Wrong::TooLong);
    }
    Ok((key, out))
}

fn push_value(value: Value, text: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let items = || text.split(|&octet| octet == b',');
    match value {
        Value::Keys => {
            let mut keys = Vec::new();
            for item in items() {
                keys.push(
                    key_of(item).ok_or(Wrong::Malformed("has a mandatory key that is none"))?,
                );
            }
            keys.sort_unstable();
            keys.iter().for_each(|key| out.extend_from_slice(&key.to_be_bytes()));
        }
        Value::List => push_list(text, out)?,
        Value::Nothing if text.is_empty() => {}
        Value::Nothing => return Err(Wrong::Malformed("has a value where the key takes none")),
        Value::Port => push_u16(text, out)?,
        Value::Numbers => items().try_for_each(|item| push_u16(item, out))?,
        Value::V4s => {
            for item in items() {
                out.extend_from_slice(&ipv4(item).ok_or(Wrong::V4)?);
            }
        }
        Value::V6s => {
            for item in items() {
                out.extend_from_slice(&ipv6(item).ok_or(Wrong::V6)?.octets());
            }
        }
        Value::Base64 => {
            let mut decoder = Decoder::base64();
            decoder.push(text, out).and_then(|()| decoder.finish()).map_err(|_| Wrong::Base64)?;
        }
        Value::Octets => out.extend_from_slice(text),
    }
    Ok(())
}

fn push_u16(text: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    let wrong = Wrong::Malformed("has a value that is not a number from 0 to 65535");
    let number = decimal(text).and_then(|number| u16::try_from(number).ok()).ok_or(wrong)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// A comma ends an item unless a backslash stands before it ([RFC 9460](https://www.rfc-editor.org/rfc/rfc9460) A.1).
fn push_list(text: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    if text.is_empty() {
        return Ok(());
    }
    let mut items = vec![Vec::new()];
    let mut octets = text.iter();
    while let Some(&octet) = octets.next() {
        let plain = match octet {
            b',' => {
                items.push(Vec::new());
                continue;
            }
            b'\\' => *octets.next().ok_or(Wrong::Escape)?,
            plain => plain,
        };
        if let Some(item) = items.last_mut() {
            item.push(plain);
        }
    }
    for item in &items {
        let len = u8::try_from(item.len()).map_err(|_| Wrong::LongText)?;
        if len == 0 {
            return Err(Wrong::Malformed("has an empty item in a list"));
        }
        out.push(len);
        out.extend_from_slice(item);
    }
    Ok(())
}

/// Checks parameters on the wire.
pub(super) fn check(wire: &[u8]) -> Result<(), Wrong> {
    let mut params = Params { rest: wire };
    let (mut last, mut alpn) = (None, false);
    for (key, value) in params.by_ref() {
        if last.is_some_and(|last| last >= key) || key == INVALID {
            return Err(Wrong::Malformed("has keys that do not ascend"));
        }
        if !good_value(key, value) {
            return Err(Wrong::Malformed("has a value that its key does not take"));
        }
        alpn |= key == ALPN;
        if key == NO_DEFAULT_ALPN && !alpn {
            return Err(Wrong::Malformed("has no-default-alpn without alpn: add alpn"));
        }
        last = Some(key);
    }
    if !params.rest.is_empty() {
        return Err(Wrong::Short);
    }
    let mandatory = Params { rest: wire }.find(|&(key, _)| key == MANDATORY);
    let asked = mandatory.map_or([].as_slice(), |(_, value)| value);
    let there = |key: [u8; 2]| {
        Params { rest: wire }
            .any(|(other, _)| other == u16::from_be_bytes(key) && other != MANDATORY)
    };
    match asked.as_chunks::<2>().0.iter().all(|&key| there(key)) {
        true => Ok(()),
        false => Err(Wrong::Malformed(
            "has a mandatory key without its value: add it or drop it from mandatory",
        )),
    }
}

fn good_value(key: u16, value: &[u8]) -> bool {
    let row_of = |size: usize| !value.is_empty() && value.len().is_multiple_of(size);
    match value_of(key) {
        Value::Keys => {
            let (keys, rest) = value.as_chunks::<2>();
            !keys.is_empty() && rest.is_empty() && keys.is_sorted_by(|left, right| left < right)
        }
        Value::List if key == DOCPATH && value.is_empty() => true,
        Value::List => list(value).is_some(),
        Value::Nothing => value.is_empty(),
        Value::Port => value.len() == 2,
        Value::Numbers => row_of(2),
        Value::V4s => row_of(4),
        Value::V6s => row_of(16),
        Value::Base64 => !value.is_empty(),
        Value::Octets => true,
    }
}

/// The strings of a list; none if it is empty or not well-formed.
fn list(value: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut items, mut rest) = (Vec::new(), value);
    while let Some((&len, after)) = rest.split_first() {
        let (item, after) = after.split_at_checked(usize::from(len))?;
        if item.is_empty() {
            return None;
        }
        items.push(item);
        rest = after;
    }
    (!items.is_empty()).then_some(items)
}

/// Key and value of each parameter.
struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Params<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (&[k0, k1, l0, l1], rest) = self.rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        self.rest = rest;
        Some((u16::from_be_bytes([k0, k1]), value))
    }
}

pub(super) fn write(wire: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    for (at, (key, value)) in (Params { rest: wire }).enumerate() {
        if at > 0 {
            f.write_char(' ')?;
        }
        write_key(key, f)?;
        write_value(value_of(key), value, f)?;
    }
    Ok(())
}

fn write_value(kind: Value, value: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let numbers = || value.as_chunks::<2>().0.iter().map(|&number| u16::from_be_bytes(number));
    let mut f = f;
    match kind {
        Value::Nothing => return Ok(()),
        Value::Octets | Value::List if value.is_empty() => return Ok(()),
        _ => f.write_char('=')?,
    }
    match kind {
        Value::Keys => joined(numbers(), f, |key, f| write_key(key, f)),
        Value::List => write_list(value, f),
        Value::Port | Value::Numbers => joined(numbers(), f, |number, f| write!(f, "{number}")),
        Value::V4s => joined(value.chunks(4), f, |address, f| write_v4(address, f)),
        Value::V6s => joined(value.chunks(16), f, |address, f| write_v6(address, f)),
        Value::Base64 => write_base64(value, &mut f),
        Value::Octets => write_quoted(value, f),
        Value::Nothing => Ok(()),
    }
}

fn joined<T>(
    items: impl Iterator<Item = T>,
    f: &mut dyn fmt::Write,
    mut write: impl FnMut(T, &mut dyn fmt::Write) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        if at > 0 {
            f.write_char(',')?;
        }
        write(item, f)?;
    }
    Ok(())
}

/// Items joined by commas; bare where every octet is harmless, in quotes otherwise.
fn write_list(value: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    let items = list(value).ok_or(fmt::Error)?;
    let mut text = Vec::with_capacity(value.len());
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        for &octet in *item {
            if matches!(octet, b',' | b'\\') {
                text.push(b'\\');
            }
            text.push(octet);
        }
    }
    let harmless = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_./,:+".contains(octet);
    match text.iter().all(harmless) {
        true => text.iter().try_for_each(|&octet| f.write_char(char::from(octet))),
        false => write_quoted(&text, f),
    }
}
