//! A domain name: a sequence of labels, absolute, kept as uncompressed wire octets.
//!
//! Case is kept as written and never matters in a comparison ([RFC 4343]); order is the canonical
//! order of [RFC 4034] §6.1, so that a name's descendants follow it without a gap.
//!
//! Promises: at most [`NAME_OCTETS_MAX`] octets, labels of 1 to [`LABEL_OCTETS_MAX`], the root label
//! last and nowhere else.
//!
//! [RFC 4034]: https://www.rfc-editor.org/rfc/rfc4034
//! [RFC 4343]: https://www.rfc-editor.org/rfc/rfc4343

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Octets of a name on the wire, lengths and root label counted ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;

/// Octets of one label ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// An absolute domain name in uncompressed wire form.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// Why octets or text are not a name. The writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// More than [`NAME_OCTETS_MAX`] octets.
    TooLong,
    /// A label of more than [`LABEL_OCTETS_MAX`] octets.
    LabelTooLong,
    /// Two dots in a row, or a dot in front.
    EmptyLabel,
    /// A backslash without three digits up to 255 or one character behind it.
    BadEscape,
    /// The octets end before the root label, or go on behind it.
    Truncated,
    /// A compression pointer or an unknown label type where a plain name must stand.
    NotALabel,
    /// A relative name and no origin to complete it.
    Relative,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::TooLong => "name is longer than 255 octets",
            NameError::LabelTooLong => "label is longer than 63 octets",
            NameError::EmptyLabel => "name has an empty label",
            NameError::BadEscape => {
                "escape is neither \\DDD up to 255 nor a backslash and one character"
            }
            NameError::Truncated => "name has no end, or octets behind its end",
            NameError::NotALabel => "name has a compression pointer or an unknown label type",
            NameError::Relative => "name is relative and there is no origin: end it with a dot",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Takes exactly one uncompressed name.
    ///
    /// # Errors
    ///
    /// [`NameError::Truncated`] when octets are missing or left over; otherwise the broken limit.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        let len = wire_len(wire)?;
        if len != wire.len() {
            return Err(NameError::Truncated);
        }
        Ok(Name(wire.into()))
    }

    /// Reads a name as people write it, absolute with or without the last dot.
    ///
    /// ```
    /// # use nameplane::wire::Name;
    /// assert_eq!(Name::parse("WWW.example.com")?, Name::parse("www.example.com.")?);
    /// assert_eq!(Name::parse("a\\.b.c.")?.to_string(), "a\\.b.c.");
    /// # Ok::<(), nameplane::wire::NameError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first rule of [RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §2.3.4 or §5.1 the text breaks.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        Name::parse_relative(text.as_bytes(), Some(&Name::root()))
    }

    /// Reads a name as it stands in a zone file: `@` is the origin, no dot at the end means below it.
    ///
    /// # Errors
    ///
    /// As [`Name::parse`]; [`NameError::Relative`] for a relative name when there is no origin.
    pub fn parse_relative(text: &[u8], origin: Option<&Name>) -> Result<Name, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2 + origin.map_or(0, |o| o.0.len()));
        push_name(text, origin.map(Name::as_wire), &mut wire)?;
        Ok(Name(wire.into()))
    }

    /// The octets, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the leftmost to the one below the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.0 }
    }

    /// How many labels, the root not counted; a leading `*` counts.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether the leftmost label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// The name without its leftmost label; none for the root.
    pub fn parent(&self) -> Option<Name> {
        let first = self.labels().next()?;
        self.0.get(1 + first.len()..).map(|rest| Name(rest.into()))
    }

    /// `label` in front of this name.
    ///
    /// # Errors
    ///
    /// [`NameError::EmptyLabel`], [`NameError::LabelTooLong`] or [`NameError::TooLong`].
    pub fn child(&self, label: &[u8]) -> Result<Name, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let len =
            u8::try_from(label.len()).ok().filter(|&len| usize::from(len) <= LABEL_OCTETS_MAX);
        let len = len.ok_or(NameError::LabelTooLong)?;
        if 1 + label.len() + self.0.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Name([&[len], label, &self.0].concat().into()))
    }

    /// Whether this name is `ancestor` or below it.
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let Some(start) = self.0.len().checked_sub(ancestor.0.len()) else { return false };
        let tail = self.0.get(start..).unwrap_or_default();
        // Lengths differ from letters in no bit that folding touches, so octets compare as a whole;
        // the cut must still fall between labels.
        tail.eq_ignore_ascii_case(&ancestor.0) && self.is_label_boundary(start)
    }

    /// Whether this name is strictly below `ancestor`.
    pub fn is_below(&self, ancestor: &Name) -> bool {
        self.0.len() > ancestor.0.len() && self.is_at_or_below(ancestor)
    }

    fn is_label_boundary(&self, at: usize) -> bool {
        let mut here = 0;
        for label in self.labels() {
            if here >= at {
                break;
            }
            here += 1 + label.len();
        }
        here == at
    }

    /// The same name with ASCII letters in lower case.
    #[must_use]
    pub fn to_lowercase(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into())
    }

    /// A key that sorts octet by octet as names do canonically ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.1): labels from the
    /// root down, lower case, each closed by `00`; `00` inside a label is `01 01`, `01` is `01 02`.
    ///
    /// The key of a name is a prefix of the keys of all names below it, and of no others.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len() + 4);
        push_key(&self.0, &mut key);
        key
    }

    /// The name whose [`key`](Name::key) this is, in lower case; none if it is nobody's key.
    pub fn from_key(key: &[u8]) -> Option<Name> {
        let body = key.strip_suffix(&[0]);
        let mut labels = Vec::new();
        for part in body.into_iter().flat_map(|body| body.split(|&octet| octet == 0)) {
            let mut label = Vec::with_capacity(part.len());
            let mut octets = part.iter();
            while let Some(&octet) = octets.next() {
                label.push(match octet {
                    1 => octets.next()?.checked_sub(1).filter(|&octet| octet < 2)?,
                    other => other,
                });
            }
            labels.push(label);
        }
        if body.is_none() && !key.is_empty() {
            return None;
        }
        labels.iter().try_fold(Name::root(), |name, label| name.child(label).ok())
    }
}

/// The labels of a name, leftmost first, root not included.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.rest.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(label)
    }
}

/// Octets of the uncompressed name at the start of `wire`, its root label included.
///
/// # Errors
///
/// [`NameError`] when no such name starts there.
pub fn wire_len(wire: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let len = usize::from(*wire.get(at).ok_or(NameError::Truncated)?);
        if len > LABEL_OCTETS_MAX {
            return Err(NameError::NotALabel);
        }
        at += 1 + len;
        if at > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        if len == 0 {
            return Ok(at);
        }
    }
}

/// Appends a name as it stands in a zone file; `origin` is in wire form. After an error `wire` ends
/// in octets that mean nothing.
///
/// # Errors
///
/// As [`Name::parse_relative`].
pub fn push_name(text: &[u8], origin: Option<&[u8]>, wire: &mut Vec<u8>) -> Result<(), NameError> {
    match text {
        b"@" => wire.extend_from_slice(origin.ok_or(NameError::Relative)?),
        b"." => wire.push(0),
        _ => {
            let from = wire.len();
            let absolute = match push_plain_labels(text, wire)? {
                Some(absolute) => absolute,
                None => {
                    wire.truncate(from);
                    push_labels(text, wire)?
                }
            };
            if !absolute {
                wire.extend_from_slice(origin.ok_or(NameError::Relative)?);
            }
            if wire.len() - from > NAME_OCTETS_MAX {
                return Err(NameError::TooLong);
            }
        }
    }
    Ok(())
}

/// Appends the labels of `text`, and the root label if it ends with a dot; returns whether it does,
/// or none when the text has an escape.
///
/// The text is copied as a whole: each dot then becomes the length of the label behind it.
fn push_plain_labels(text: &[u8], wire: &mut Vec<u8>) -> Result<Option<bool>, NameError> {
    if text.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    let from = wire.len();
    wire.push(0);
    wire.extend_from_slice(text);
    let octets = wire.get_mut(from..).unwrap_or_default();
    let mut length_at = 0;
    for (at, &octet) in (1..).zip(text) {
        if octet == b'.' {
            set_label_len(octets, length_at, at - length_at - 1)?;
            length_at = at;
        } else if octet == b'\\' {
            return Ok(None);
        }
    }
    let len = octets.len() - length_at - 1;
    if len > 0 {
        set_label_len(octets, length_at, len)?;
        return Ok(Some(false));
    }
    if let Some(slot) = octets.get_mut(length_at) {
        *slot = 0;
    }
    Ok(Some(true))
}

fn set_label_len(octets: &mut [u8], at: usize, len: usize) -> Result<(), NameError> {
    if len == 0 {
        return Err(NameError::EmptyLabel);
    }
    if len > LABEL_OCTETS_MAX {
        return Err(NameError::LabelTooLong);
    }
    if let Some(slot) = octets.get_mut(at) {
        *slot = len as u8;
    }
    Ok(())
}

/// Appends the labels of `text`, and the root label if it ends with a dot; returns whether it does.
fn push_labels(text: &[u8], wire: &mut Vec<u8>) -> Result<bool, NameError> {
    let from = wire.len();
    let mut rest = text;
    while !rest.is_empty() {
        let length_at = wire.len();
        wire.push(0);
        let mut closed = false;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            match octet {
                b'.' => {
                    closed = true;
                    break;
                }
                b'\\' => wire.push(take_escape(&mut rest)?),
                plain => wire.push(plain),
            }
        }
        let len = wire.len() - length_at - 1;
        set_label_len(wire, length_at, len)?;
        if wire.len() - from >= NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        if closed && rest.is_empty() {
            wire.push(0);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes what stands behind a backslash: `DDD` or one character ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §5.1).
pub(crate) fn take_escape(rest: &mut &[u8]) -> Result<u8, NameError> {
    let (&first, after) = rest.split_first().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        *rest = after;
        return Ok(first);
    }
    let (digits, after) = rest.split_at_checked(3).ok_or(NameError::BadEscape)?;
    let value = digits.iter().try_fold(0u16, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0'))
    });
    *rest = after;
    value.and_then(|value| u8::try_from(value).ok()).ok_or(NameError::BadEscape)
}

/// Labels of one name, the root not counted: each takes two octets at least.
const LABELS_MAX: usize = NAME_OCTETS_MAX / 2;

/// Where the labels of an uncompressed name start, leftmost first, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; LABELS_MAX], usize) {
    let (mut starts, mut count, mut at) = ([0; LABELS_MAX], 0, 0usize);
    while let Some(&len @ 1..) = wire.get(at) {
        let Some(slot) = starts.get_mut(count) else { break };
        *slot = at as u8;
        count += 1;
        at += 1 + usize::from(len);
    }
    (starts, count)
}

/// The label whose length octet stands at `start`.
fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let from = usize::from(start) + 1;
    let len = wire.get(usize::from(start)).map_or(0, |&len| usize::from(len));
    wire.get(from..from + len).unwrap_or_default()
}

/// Appends the [key](Name::key) of a name in uncompressed wire form.
pub fn push_key(wire: &[u8], key: &mut Vec<u8>) {
    let (starts, count) = label_starts(wire);
    for &start in starts.iter().take(count).rev() {
        push_key_label(label_at(wire, start), key);
    }
}

fn push_key_label(label: &[u8], key: &mut Vec<u8>) {
    if label.iter().all(|&octet| octet > 1) {
        let from = key.len();
        key.extend_from_slice(label);
        key.get_mut(from..).unwrap_or_default().make_ascii_lowercase();
    } else {
        for octet in label {
            match octet.to_ascii_lowercase() {
                0 => key.extend_from_slice(&[1, 1]),
                1 => key.extend_from_slice(&[1, 2]),
                plain => key.push(plain),
            }
        }
    }
    key.push(0);
}

/// Compares two names in uncompressed wire form canonically ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.1).
pub fn canonical_cmp(left: &[u8], right: &[u8]) -> Ordering {
    let ((lefts, left_count), (rights, right_count)) = (label_starts(left), label_starts(right));
    let pairs = lefts.iter().take(left_count).rev().zip(rights.iter().take(right_count).rev());
    for (&l, &r) in pairs {
        let folded = |octet: &u8| octet.to_ascii_lowercase();
        let (l, r) = (label_at(left, l), label_at(right, r));
        match l.iter().map(folded).cmp(r.iter().map(folded)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    left_count.cmp(&right_count)
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        self.labels().try_for_each(|label| {
            write_label(label, f)?;
            f.write_str(".")
        })
    }
}

/// Writes a label as people do: what stands for something else in a zone file is escaped.
fn write_label(label: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    let is_special = |octet: u8| br#".\"();@$"#.contains(&octet);
    let is_plain = |octet: &u8| octet.is_ascii_graphic() && !is_special(*octet);
    if let (true, Ok(text)) = (label.iter().all(is_plain), str::from_utf8(label)) {
        return out.write_str(text);
    }
    label.iter().try_for_each(|octet| match *octet {
        special if is_special(special) => write!(out, "\\{}", char::from(special)),
        plain if is_plain(&plain) => out.write_char(char::from(plain)),
        other => write!(out, "\\{other:03}"),
    })
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in &self.0 {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        canonical_cmp(&self.0, &other.0)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Rows are full of names, and a form that first asks how long a text is would write it twice.
        let mut text = String::with_capacity(self.0.len());
        write!(text, "{self}").map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Reads a name where its text stands.
struct Text;

impl serde::de::Visitor<'_> for Text {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
        Name::parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_round_trip() {
        for text in [".", "example.com.", "a\\.b.example.", "\\000\\255.x.", "*.x.", "\\@.x."] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn case_is_kept_and_never_compared() {
        let upper = Name::parse("WWW.Example.COM").unwrap();
        assert_eq!(upper.to_string(), "WWW.Example.COM.");
        assert_eq!(upper, Name::parse("www.example.com").unwrap());
    }

    #[test]
    fn rfc4034_6_1_names_sort_canonically() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let names: Vec<Name> = sorted.iter().map(|text| Name::parse(text).unwrap()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    }

    #[test]
    fn names_and_their_keys_sort_alike() {
        let texts =
            [".", "a.", "B.a.", "\\000.a.", "\\001.a.", "\\000\\000.a.", "ab.", "x.b.a.", "-."];
        let names: Vec<Name> = texts.iter().map(|text| Name::parse(text).unwrap()).collect();
        for left in &names {
            for right in &names {
                assert_eq!(left.cmp(right), left.key().cmp(&right.key()), "{left} {right}");
            }
        }
    }

    #[test]
    fn a_key_leads_back_to_its_name_and_prefixes_only_descendants() {
        for text in [".", "example.com.", "\\000\\001\\002.x.", "ab.c."] {
            let name = Name::parse(text).unwrap();
            assert_eq!(Name::from_key(&name.key()), Some(name));
        }
        let (short, long) = (Name::parse("a.b.").unwrap(), Name::parse("ax.b.").unwrap());
        assert!(!long.key().starts_with(&short.key()));
        assert!(Name::parse("x.a.b.").unwrap().key().starts_with(&short.key()));
    }

    #[test]
    fn limits_are_those_of_rfc1035() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}.", "a".repeat(61));
        assert_eq!(Name::parse(&longest).unwrap().as_wire().len(), 255);
        let over = format!("{label}.{label}.{label}.{}.", "a".repeat(62));
        assert_eq!(Name::parse(&over), Err(NameError::TooLong));
        assert_eq!(Name::parse(&format!("{label}a.")), Err(NameError::LabelTooLong));
        for (text, error) in [
            ("", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
            ("a\\", NameError::BadEscape),
        ] {
            assert_eq!(Name::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn below_means_at_a_label_boundary() {
        let apex = Name::parse("example.com.").unwrap();
        assert!(Name::parse("www.EXAMPLE.com.").unwrap().is_below(&apex));
        assert!(!Name::parse("notexample.com.").unwrap().is_at_or_below(&apex));
        assert!(!apex.is_below(&apex));
        assert!(apex.is_at_or_below(&Name::root()));
        // The octet before `x` is a letter that equals the length octet of a label.
        let tricky = Name::from_wire(b"\x03a\x01x\x00").unwrap();
        assert!(!tricky.is_at_or_below(&Name::parse("x.").unwrap()));
    }
}
