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

mod octets;
mod order;

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use octets::Octets;
pub use order::{canonical_cmp, push_key};

/// Octets of a name on the wire, lengths and root label counted ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;

/// Octets of one label ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// An absolute domain name in uncompressed wire form.
///
/// Most are short, and lie where the name is kept: such a name is copied without memory of its own.
#[derive(Clone)]
pub struct Name(Octets);

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
        Name(Octets::of(&[0]))
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
        Ok(Name(Octets::of(wire)))
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
        if let Some(name) = parse_plain(text) {
            return Ok(name);
        }
        let mut wire = Vec::with_capacity(NAME_OCTETS_MAX);
        push_name(text, origin.map(Name::as_wire), &mut wire)?;
        Ok(Name(Octets::of(&wire)))
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
        self.0.get(1 + first.len()..).map(|rest| Name(Octets::of(rest)))
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
        Ok(Name(Octets::of_parts([&[len], label, &self.0])))
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
        let mut name = self.clone();
        match &mut name.0 {
            Octets::Here(_, octets) => octets.make_ascii_lowercase(),
            Octets::Apart(octets) => octets.make_ascii_lowercase(),
        }
        name
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

/// Reads an absolute name without escapes, as rows are full of them; none if it is another, or no name.
fn parse_plain(text: &[u8]) -> Option<Name> {
    let mut place = [0; NAME_OCTETS_MAX];
    let wire = place.get_mut(..=text.len()).filter(|_| text.len() > 1 && text.ends_with(b"."))?;
    let (first, rest) = wire.split_first_mut()?;
    rest.copy_from_slice(text);
    let mut length = first;
    let mut rest = rest;
    while let Some(end) = rest.iter().position(|octet| *octet == b'.') {
        let (label, behind) = rest.split_at_mut(end);
        let (dot, behind) = behind.split_first_mut()?;
        *length = u8::try_from(end).ok().filter(|len| (1..=63).contains(len))?;
        if label.contains(&b'\\') {
            return None;
        }
        (length, rest) = (dot, behind);
    }
    *length = 0;
    Some(Name(Octets::of(place.get(..=text.len())?)))
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
    // Most names are one label.
    if text.len() <= LABEL_OCTETS_MAX && is_one_label(text) {
        wire.push(text.len() as u8);
        wire.extend_from_slice(text);
        return Ok(Some(false));
    }
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

/// Whether a text is long enough to be looked at by words, and has neither dot nor backslash; false is not sure.
#[inline]
fn is_one_label(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else { return false };
    let each = |octet: u8| u64::from_ne_bytes([octet; 8]);
    let odd = |octets: [u8; 8]| {
        let is = |octet: u8| {
            let differing = u64::from_ne_bytes(octets) ^ each(octet);
            differing.wrapping_sub(each(1)) & !differing
        };
        (is(b'.') | is(b'\\')) & each(0x80)
    };
    // Absolute names end in a dot.
    odd(*last) == 0 && text.as_chunks().0.iter().fold(0, |found, word| found | odd(*word)) == 0
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

impl Name {
    /// The name as people write it, in `place`; none if it has an octet that is escaped, and for the root.
    fn plain_text<'p>(&self, place: &'p mut [u8; NAME_OCTETS_MAX]) -> Option<&'p str> {
        let mut end = 0;
        for label in self.labels() {
            if !label.iter().all(is_plain) {
                return None;
            }
            let room = place.get_mut(end..=end + label.len())?;
            let (dot, text) = room.split_last_mut()?;
            text.copy_from_slice(label);
            *dot = b'.';
            end += label.len() + 1;
        }
        str::from_utf8(place.get(..end)?).ok().filter(|text| !text.is_empty())
    }
}

fn is_special(octet: u8) -> bool {
    br#".\"();@$"#.contains(&octet)
}

/// Whether an octet of a label stands for itself in a zone file.
fn is_plain(octet: &u8) -> bool {
    octet.is_ascii_graphic() && !is_special(*octet)
}

/// Writes a label as people do: what stands for something else in a zone file is escaped.
fn write_label(label: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
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
        for octet in self.0.iter() {
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
        // Rows are full of names: most are written without memory of their own.
        let mut place = [0; NAME_OCTETS_MAX];
        if let Some(text) = self.plain_text(&mut place) {
            return serializer.serialize_str(text);
        }
        // A form that first asks how long a text is would write it twice.
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
    fn a_name_is_kept_as_the_text_people_write() {
        let longest = format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "b".repeat(61));
        for text in [".", "Example.com.", "a\\.b.example.", "\\000\\255.x.", "*._tcp.x.", &longest]
        {
            let name = Name::parse(text).unwrap();
            let kept = postcard::to_allocvec(&name).unwrap();
            assert_eq!(kept, postcard::to_allocvec(text).unwrap());
            assert_eq!(postcard::from_bytes::<Name>(&kept), Ok(name));
        }
    }

    #[test]
    fn a_name_is_the_same_wherever_its_octets_are_kept() {
        for len in octets::HERE_OCTETS - 8..octets::HERE_OCTETS + 8 {
            // Two lengths, `X` and the root beside the label.
            let text = format!("{}.X.", "A".repeat(len - 4));
            let name = Name::parse(&text).unwrap();
            assert_eq!(name.as_wire().len(), len);
            assert_eq!(Name::from_wire(name.as_wire()), Ok(name.clone()));
            assert_eq!(name.to_lowercase().as_wire(), name.as_wire().to_ascii_lowercase());
            assert_eq!(Name::from_key(&name.key()), Some(name.to_lowercase()));
            let parent = name.parent().unwrap();
            assert_eq!((parent.to_string(), name.label_count()), ("X.".into(), 2));
            assert_eq!(parent.child(&[b'A'; 63][..len - 4]), Ok(name));
        }
    }

    #[test]
    fn dots_and_backslashes_are_seen_wherever_they_stand() {
        for (len, at) in (3..30).flat_map(|len| (1..len - 1).map(move |at| (len, at))) {
            let text = |odd: u8| {
                let mut text = vec![b'a'; len];
                text[at] = odd;
                Name::parse_relative(&text, Some(&Name::root())).unwrap()
            };
            let labels = |name: &Name| name.labels().map(<[u8]>::len).collect::<Vec<_>>();
            assert_eq!(labels(&text(b'.')), [at, len - at - 1]);
            assert_eq!(labels(&text(b'\\')), [len - 1]);
            assert_eq!(labels(&text(b'-')), [len]);
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
