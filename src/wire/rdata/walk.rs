//! RDATA in octets: checked, its names found, taken out of a message, put into canonical form.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use super::error::{Bad, RdataError, Wrong};
use super::odd;
use super::svcb;
use super::table::{Field, Form, fields};
use crate::wire::name::{NAME_OCTETS_MAX, wire_len};
use crate::wire::{NameError, Type};

/// Octets of one RDATA ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §3.2.1: its length has 16 bits).
pub const RDATA_OCTETS_MAX: usize = 65_535;

/// One name inside RDATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAt<'a> {
    /// Octets from the start of the RDATA.
    pub offset: usize,
    /// The name in uncompressed wire form.
    pub wire: &'a [u8],
    /// Whether a message may compress it ([RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §4).
    pub compressible: bool,
    /// Whether it is a host whose addresses belong into the additional section.
    pub target: bool,
    /// Whether it is in lower case in canonical form ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.2).
    pub folded: bool,
}

/// The names of one RDATA in the order they stand; see [`names`].
#[derive(Debug, Clone)]
pub struct Names<'a> {
    fields: &'static [Field],
    rdata: &'a [u8],
    at: usize,
}

/// The names inside RDATA that is well-formed; ends early where it is not.
pub fn names(rtype: Type, rdata: &[u8]) -> Names<'_> {
    let fields = fields(rtype).filter(|fields| fields.iter().any(|&(_, form)| holds_name(form)));
    Names { fields: fields.unwrap_or_default(), rdata, at: 0 }
}

impl<'a> Iterator for Names<'a> {
    type Item = NameAt<'a>;

    fn next(&mut self) -> Option<NameAt<'a>> {
        while let Some((&(_, form), rest)) = self.fields.split_first() {
            let (offset, data) = (self.at, self.rdata);
            let Some(rule) = name_here(form, data) else {
                self.fields = rest;
                self.at = end_of(form, data, offset).ok()?;
                continue;
            };
            if form == Form::Names && offset == data.len() {
                return None;
            }
            let len = wire_len(data.get(offset..)?).ok()?;
            self.at = offset + len;
            if form != Form::Names {
                self.fields = rest;
            }
            let (compressible, target, folded) = rule;
            let wire = data.get(offset..offset + len)?;
            return Some(NameAt { offset, wire, compressible, target, folded });
        }
        None
    }
}

fn holds_name(form: Form) -> bool {
    matches!(form, Form::Name(_) | Form::Names | Form::Gateway { .. } | Form::A6Name)
}

/// Whether a name stands where `form` begins, as the octets before it tell; and its rule:
/// compressible, target, folded.
fn name_here(form: Form, rdata: &[u8]) -> Option<(bool, bool, bool)> {
    match form {
        Form::Name(rule) => Some((rule.compressible(), rule.target(), rule.folded())),
        Form::Names => Some((false, false, false)),
        Form::Gateway { mask } if odd::gateway_type(rdata, mask) == Some(odd::GATEWAY_NAME) => {
            Some((false, false, false))
        }
        Form::A6Name if rdata.first().is_some_and(|&prefix| prefix > 0) => {
            Some((false, false, true))
        }
        _ => None,
    }
}

/// Checks that `rdata` is one well-formed, uncompressed RDATA of its type.
///
/// Of a type without fields of its own every RDATA is.
///
/// # Errors
///
/// [`RdataError`] with the field; [`Wrong::Meta`] for a type that never stands in a zone.
pub fn validate(rtype: Type, rdata: &[u8]) -> Result<(), RdataError> {
    let whole = |why| Err(Bad::new(0, why).of(rtype, ""));
    if rtype.is_meta() {
        return whole(Wrong::Meta);
    }
    if rdata.len() > RDATA_OCTETS_MAX {
        return whole(Wrong::TooLong);
    }
    let mut at = 0;
    let Some(fields) = fields(rtype) else { return Ok(()) };
    for &(name, form) in fields {
        at = end_of(form, rdata, at).map_err(|bad| bad.of(rtype, name))?;
    }
    if at < rdata.len() {
        return Err(Bad::new(at, Wrong::Extra).of(rtype, ""));
    }
    Ok(())
}

/// Takes the RDATA at `range` out of a received message: uncompressed and checked.
///
/// Names are expanded in every type that has some, more than [RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §4 asks: what was sent
/// too generously is still understood.
///
/// # Errors
///
/// [`RdataError`] when `range` does not hold RDATA of that type; answer FORMERR.
pub fn expand(rtype: Type, message: &[u8], range: Range<usize>) -> Result<Box<[u8]>, RdataError> {
    let short = |name| Bad::new(range.start, Wrong::Short).of(rtype, name);
    let inside = message.get(..range.end).ok_or_else(|| short(""))?;
    let rdata = inside.get(range.start..).ok_or_else(|| short(""))?;
    let Some(fields) = fields(rtype).filter(|all| all.iter().any(|&(_, form)| holds_name(form)))
    else {
        validate(rtype, rdata)?;
        return Ok(rdata.into());
    };
    let mut out = Vec::with_capacity(rdata.len() + 32);
    let mut at = 0;
    for &(name, form) in fields {
        let wrong = |bad: Bad| bad.of(rtype, name);
        while name_here(form, rdata).is_some() && !(form == Form::Names && at == rdata.len()) {
            let here = range.start + at;
            let len = push_expanded(inside, here, &mut out)
                .map_err(|error| wrong(Bad::new(at, Wrong::Name(error))))?;
            at += len;
            if form != Form::Names {
                break;
            }
        }
        if name_here(form, rdata).is_none() {
            let end = end_of(form, rdata, at).map_err(wrong)?;
            out.extend_from_slice(rdata.get(at..end).unwrap_or_default());
            at = end;
        }
    }
    if at != rdata.len() {
        return Err(Bad::new(at, Wrong::Extra).of(rtype, ""));
    }
    validate(rtype, &out)?;
    Ok(out.into())
}

/// Appends the possibly compressed name at `start` of a received message; returns how many octets it
/// takes there, none when it does not end within the message.
pub fn expand_name(message: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    push_expanded(message, start, out).ok()
}

/// Appends the possibly compressed name at `start`; returns how many octets it takes there.
///
/// A pointer must lead backwards, each further than the one before: so there is no loop.
pub(super) fn push_expanded(
    message: &[u8],
    start: usize,
    out: &mut Vec<u8>,
) -> Result<usize, NameError> {
    let from = out.len();
    let (mut at, mut limit, mut taken) = (start, start, None);
    loop {
        let len = *message.get(at).ok_or(NameError::Truncated)?;
        match len {
            0..=63 => {
                let end = at + 1 + usize::from(len);
                let label = message.get(at..end).ok_or(NameError::Truncated)?;
                if out.len() - from + label.len() > NAME_OCTETS_MAX {
                    return Err(NameError::TooLong);
                }
                out.extend_from_slice(label);
                at = end;
                if len == 0 {
                    return Ok(taken.unwrap_or_else(|| at - start));
                }
            }
            192.. => {
                let low = *message.get(at + 1).ok_or(NameError::Truncated)?;
                let target = usize::from(u16::from_be_bytes([len & 0x3F, low]));
                if target >= limit {
                    return Err(NameError::NotALabel);
                }
                taken = taken.or_else(|| Some(at + 2 - start));
                (at, limit) = (target, target);
            }
            _ => return Err(NameError::NotALabel),
        }
    }
}

/// The canonical form ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.2, [RFC 6840](https://www.rfc-editor.org/rfc/rfc6840) §5.1): names of the older types in lower case.
pub fn canonical(rtype: Type, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut copy = None;
    for name in names(rtype, rdata).filter(|name| name.folded) {
        if name.wire.iter().any(u8::is_ascii_uppercase) {
            let copy: &mut Vec<u8> = copy.get_or_insert_with(|| rdata.to_vec());
            if let Some(slot) = copy.get_mut(name.offset..name.offset + name.wire.len()) {
                slot.make_ascii_lowercase();
            }
        }
    }
    copy.map_or(Cow::Borrowed(rdata), Cow::Owned)
}

/// Compares two RDATA of one type in canonical order ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.3); equal means the same record.
pub fn canonical_cmp(rtype: Type, left: &[u8], right: &[u8]) -> Ordering {
    // No capital in either: they are canonical as they stand, whatever their names are.
    let folded = |rdata: &[u8]| !rdata.iter().any(u8::is_ascii_uppercase);
    if left == right || (folded(left) && folded(right)) {
        return left.cmp(right);
    }
    canonical(rtype, left).cmp(&canonical(rtype, right))
}

/// Where the field that starts at `at` ends. `rdata` is the whole RDATA: some fields depend on those
/// before them.
pub(super) fn end_of(form: Form, rdata: &[u8], at: usize) -> Result<usize, Bad> {
    let rest = rdata.get(at..).unwrap_or_default();
    let fixed = |len: usize| match rest.len() >= len {
        true => Ok(at + len),
        false => Err(Bad::new(at, Wrong::Short)),
    };
    match form {
        Form::U8 | Form::Code8(..) | Form::RelayType => fixed(1),
        Form::U16 | Form::Code16(..) | Form::TypeCode => fixed(2),
        Form::U32 | Form::Seconds | Form::Time | Form::V4 => fixed(4),
        Form::U64 | Form::Groups => fixed(8),
        Form::Eui(len) => fixed(len),
        Form::V6 => fixed(16),
        Form::Name(_) => name_end(rest, at),
        Form::Names => names_end(rest, at),
        Form::Text | Form::Tag | Form::Salt | Form::Hash => string_end(form, rest, at),
        Form::Texts(max) => texts_end(rest, at, max),
        Form::Octets => Ok(rdata.len()),
        Form::Hex(least) | Form::Base64(least) => match rest.len() >= least {
            true => Ok(rdata.len()),
            false => Err(Bad::new(at, Wrong::Empty)),
        },
        Form::Base64OrDash => Ok(rdata.len()),
        Form::Types { may_be_empty } => super::bitmap::check(rest, may_be_empty)
            .map(|()| rdata.len())
            .map_err(|why| Bad::new(at, why)),
        Form::SvcParams => svcb::check(rest).map(|()| rdata.len()).map_err(|why| Bad::new(at, why)),
        Form::OldTypes
        | Form::Nsap
        | Form::Atma
        | Form::Services
        | Form::Loc
        | Form::Apl
        | Form::Gateway { .. }
        | Form::HostIdentity
        | Form::A6Suffix
        | Form::A6Name => odd::end_of(form, rdata, at),
    }
}

pub(super) fn name_end(rest: &[u8], at: usize) -> Result<usize, Bad> {
    wire_len(rest).map(|len| at + len).map_err(|error| Bad::new(at, Wrong::Name(error)))
}

fn names_end(rest: &[u8], at: usize) -> Result<usize, Bad> {
    let mut taken = 0;
    while taken < rest.len() {
        taken = name_end(rest.get(taken..).unwrap_or_default(), taken)
            .map_err(|bad| Bad::new(at + taken, bad.why))?;
    }
    Ok(at + taken)
}

fn string_end(form: Form, rest: &[u8], at: usize) -> Result<usize, Bad> {
    let short = Bad::new(at, Wrong::Short);
    let (&len, rest) = rest.split_first().ok_or(short)?;
    let octets = rest.get(..usize::from(len)).ok_or(short)?;
    if form == Form::Tag && (octets.is_empty() || !octets.iter().all(u8::is_ascii_alphanumeric)) {
        return Err(Bad::new(at, Wrong::Malformed(super::read::TAG)));
    }
    if form == Form::Hash && octets.is_empty() {
        return Err(Bad::new(at, Wrong::Empty));
    }
    Ok(at + 1 + octets.len())
}

fn texts_end(rest: &[u8], at: usize, max: usize) -> Result<usize, Bad> {
    let mut taken = 0;
    for _ in 0..max {
        taken = string_end(Form::Text, rest.get(taken..).unwrap_or_default(), taken)
            .map_err(|bad| Bad::new(at + taken, bad.why))?;
        if taken == rest.len() {
            break;
        }
    }
    Ok(at + taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_message_may_do_with_them() {
        let rdata = b"\x00\x0A\x04Mail\x01x\x00";
        let all: Vec<NameAt<'_>> = names(Type::MX, rdata).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].offset, all[0].wire.len()), (2, 8));
        assert!(all[0].compressible && all[0].target);

        let rdata = b"\x00\x00\x00\x00\x00\x35\x01x\x00";
        let srv = names(Type::SRV, rdata).next().unwrap();
        assert!(!srv.compressible && srv.target && srv.folded);
        assert_eq!(names(Type::A, &[1, 2, 3, 4]).count(), 0);
    }

    #[test]
    fn rfc4034_6_2_canonical_form_folds_names_of_old_types_only() {
        assert_eq!(canonical(Type::NS, b"\x01X\x00").as_ref(), b"\x01x\x00");
        assert_eq!(
            canonical(Type::NSEC, b"\x01X\x00\x00\x01\x40").as_ref(),
            b"\x01X\x00\x00\x01\x40"
        );
        assert_eq!(canonical_cmp(Type::NS, b"\x01X\x00", b"\x01x\x00"), Ordering::Equal);
        assert_eq!(canonical_cmp(Type::TXT, b"\x01X", b"\x01x"), Ordering::Less);
    }

    #[test]
    fn a_compressed_name_is_expanded_and_no_pointer_leads_forward() {
        // A question for `a.b.`, then an MX with its exchange `c` + pointer to `b.`
        let message = b"\x01a\x01b\x00\x00\x05\x01c\xC0\x02";
        let rdata = expand(Type::MX, message, 5..11).unwrap();
        assert_eq!(rdata.as_ref(), b"\x00\x05\x01c\x01b\x00");

        let looped = b"\x00\x05\x01c\xC0\x02";
        assert!(expand(Type::MX, looped, 0..6).is_err());
        let forward = b"\x00\x05\xC0\x04\x01c\x00";
        assert!(expand(Type::MX, forward, 0..4).is_err());
        assert!(expand(Type::MX, message, 5..10).is_err(), "a pointer cut in half");
        assert!(expand(Type::MX, message, 5..99).is_err());
    }

    #[test]
    fn what_is_left_over_or_missing_is_refused() {
        assert!(validate(Type::A, &[1, 2, 3, 4]).is_ok());
        assert_eq!(validate(Type::A, &[1, 2, 3]).unwrap_err().why, Wrong::Short);
        assert_eq!(validate(Type::A, &[1, 2, 3, 4, 5]).unwrap_err().why, Wrong::Extra);
        assert_eq!(validate(Type::TXT, &[]).unwrap_err().why, Wrong::Short);
        assert_eq!(validate(Type::OPT, &[]).unwrap_err().why, Wrong::Meta);
        assert!(validate(Type(65_280), &[1, 2, 3]).is_ok());
    }
}
