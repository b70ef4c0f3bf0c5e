//! Types and classes as people write them.

use std::fmt;
use std::str::FromStr;

use super::table::{TABLE, by_mnemonic, by_type, fields};
use crate::wire::{Class, Type};

/// Text that names no record type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownType;

/// Text that names no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownClass;

impl fmt::Display for UnknownType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("record type is not known: write an unknown one as TYPE and its number")
    }
}

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("class is not known")
    }
}

impl std::error::Error for UnknownType {}
impl std::error::Error for UnknownClass {}

/// All types that may stand in a zone and have a mnemonic, by number.
pub fn types() -> impl Iterator<Item = (Type, &'static str)> {
    TABLE.iter().filter(|kind| !kind.rtype.is_meta()).map(|kind| (kind.rtype, kind.mnemonic))
}

/// What the RDATA of a type is made of, for people: `preference, exchange`.
pub fn syntax(rtype: Type) -> String {
    match fields(rtype) {
        Some(fields) => fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        None => "\\#, the number of octets, the octets in hexadecimal".into(),
    }
}

impl Type {
    /// Reads a mnemonic or `TYPE` and a number, whatever the case.
    pub fn from_text(text: &[u8]) -> Option<Type> {
        match by_mnemonic(text) {
            Some(kind) => Some(kind.rtype),
            None if text == b"*" => Some(Type::ANY),
            None => numbered(text, b"TYPE").map(Type),
        }
    }
}

impl FromStr for Type {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Type, UnknownType> {
        Type::from_text(text.as_bytes()).ok_or(UnknownType)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match by_type(*self) {
            Some(kind) => f.pad(kind.mnemonic),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

/// Classes by name; `CS` never came into use, but is assigned.
const CLASSES: [(&str, Class); 6] = [
    ("IN", Class::IN),
    ("CS", Class(2)),
    ("CH", Class::CH),
    ("HS", Class::HS),
    ("NONE", Class::NONE),
    ("ANY", Class::ANY),
];

impl Class {
    /// Reads a mnemonic or `CLASS` and a number, whatever the case.
    pub fn from_text(text: &[u8]) -> Option<Class> {
        if text.eq_ignore_ascii_case(b"IN") {
            return Some(Class::IN);
        }
        let named = CLASSES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
        named.map(|&(_, class)| class).or_else(|| numbered(text, b"CLASS").map(Class))
    }
}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Class, UnknownClass> {
        Class::from_text(text.as_bytes()).ok_or(UnknownClass)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CLASSES.iter().find(|(_, class)| class == self) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&format!("CLASS{}", self.0)),
        }
    }
}

/// The number behind `prefix`, if that is all there is ([RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §5).
fn numbered(text: &[u8], prefix: &[u8]) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) || digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u16, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u16::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_classes_survive_the_round_trip() {
        for code in 0..=u16::MAX {
            let (rtype, class) = (Type(code), Class(code));
            assert_eq!(rtype.to_string().parse(), Ok(rtype));
            assert_eq!(class.to_string().parse(), Ok(class));
        }
    }

    #[test]
    fn rfc3597_5_a_known_type_may_be_written_by_number() {
        assert_eq!("TYPE1".parse(), Ok(Type::A));
        assert_eq!("type65280".parse(), Ok(Type(65_280)));
        assert_eq!("class1".parse(), Ok(Class::IN));
        for text in ["TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "", "XYZ"] {
            assert!(text.parse::<Type>().is_err(), "{text}");
        }
    }

    #[test]
    fn syntax_names_the_fields() {
        assert_eq!(syntax(Type::MX), "preference, exchange");
    }
}
