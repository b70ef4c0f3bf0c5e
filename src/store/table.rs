//! Tables: a name, two octets in front of every key, and what a row is.
//!
//! A table stands as a `const` beside the type that owns the data. Its rows are kept with an octet
//! that says which version of the type wrote them; a type that changes raises the table's version
//! and says how to read the older ones, or a numbered migration rewrites them.

use std::cell::Cell;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RowError;
use super::key::Key;
use super::rows::Octets;

/// Reads the octets of a row that an older version of its table wrote; none if they are not one.
pub type Older<V> = fn(u8, &[u8]) -> Option<V>;

/// Rows of one kind: `K` orders them, `V` is what each holds.
///
/// ```
/// use nameplane::store::Table;
/// const NICKNAMES: Table<u32, String> = Table::new("nicknames", *b"nn");
/// ```
pub struct Table<K, V> {
    name: &'static str,
    prefix: [u8; 2],
    version: u8,
    older: Option<Older<V>>,
    row: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Value> Table<K, V> {
    /// A table of version 1. `prefix`: two letters no other table has.
    pub const fn new(name: &'static str, prefix: [u8; 2]) -> Self {
        assert!(
            prefix[0].is_ascii_alphabetic() && prefix[1].is_ascii_alphabetic(),
            "letters only: the store keeps its own rows under other octets"
        );
        Table { name, prefix, version: 1, older: None, row: PhantomData }
    }

    /// The same table, its rows now written at `version`; `older(version, octets)` reads those before.
    pub const fn at_version(mut self, version: u8, older: Older<V>) -> Self {
        self.version = version;
        self.older = Some(older);
        self
    }

    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub const fn prefix(&self) -> [u8; 2] {
        self.prefix
    }

    /// The octets a row with `key` is kept under.
    pub fn key(&self, key: &K) -> Vec<u8> {
        self.beginning(key)
    }

    /// Calls `with` with the same; they are gone afterwards.
    pub(super) fn with_key<T>(&self, key: &K, with: impl FnOnce(&[u8]) -> T) -> T {
        scratch(|out| {
            out.extend_from_slice(&self.prefix);
            key.write(out);
            with(out)
        })
    }

    /// Key and value as they are kept.
    pub(super) fn row(&self, key: &K, value: &V) -> (Octets, Octets) {
        let value = scratch(|out| {
            out.push(self.version);
            value.pack(out);
            out.as_slice().into()
        });
        (self.with_key(key, |key| key.into()), value)
    }

    /// What the octets of all keys begin with whose first parts are `parts`.
    pub(super) fn beginning<P: Key>(&self, parts: &P) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.prefix);
        parts.write(&mut out);
        out
    }

    /// The octets kept for `value`.
    pub fn value(&self, value: &V) -> Vec<u8> {
        let mut out = vec![self.version];
        value.pack(&mut out);
        out
    }

    /// Reads a key back.
    pub fn read_key(&self, octets: &[u8]) -> Result<K, RowError> {
        let mut rest = octets.strip_prefix(&self.prefix).unwrap_or_default();
        match K::read(&mut rest) {
            Some(key) if rest.is_empty() => Ok(key),
            _ => Err(RowError::Unreadable { table: self.name, version: self.version }),
        }
    }

    /// Reads the first parts of a key back.
    pub(super) fn read_parts<P: Key>(&self, octets: &[u8]) -> Result<P, RowError> {
        let mut rest = octets.strip_prefix(&self.prefix).unwrap_or_default();
        P::read(&mut rest).ok_or(RowError::Unreadable { table: self.name, version: self.version })
    }

    /// Reads a value back, of this or an older version.
    pub fn read_value(&self, octets: &[u8]) -> Result<V, RowError> {
        let (&version, rest) = octets.split_first().unwrap_or((&0, &[]));
        let value = match self.older {
            _ if version == self.version => V::unpack(rest),
            Some(older) if version < self.version => older(version, rest),
            _ => None,
        };
        value.ok_or(RowError::Unreadable { table: self.name, version })
    }
}

thread_local! {
    /// Where rows are written before they are as long as they are.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is kept of the place between two rows, in octets.
const SCRATCH_BYTES: usize = 64 << 10;

/// Calls `with` with an empty place to write to: a row that grows there moves no memory.
fn scratch<T>(with: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut out = SCRATCH.take();
    let made = with(&mut out);
    if out.capacity() <= SCRATCH_BYTES {
        out.clear();
        SCRATCH.set(out);
    }
    made
}

/// What a row holds. Every serde type is one, kept as postcard.
///
/// Postcard writes fields in order and without names: do not use `skip_serializing_if`, `flatten` or
/// untagged enums, add enum variants at the end, and raise the table's version for anything else.
pub trait Value: Sized {
    fn pack(&self, out: &mut Vec<u8>);
    fn unpack(input: &[u8]) -> Option<Self>;
}

impl<T: Serialize + DeserializeOwned> Value for T {
    fn pack(&self, out: &mut Vec<u8>) {
        let grown = postcard::to_extend(self, std::mem::take(out));
        *out = grown.expect("a value made of plain data has a postcard form");
    }
    fn unpack(input: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(input) {
            Ok((value, [])) => Some(value),
            _ => None,
        }
    }
}

/// Octets as they are, for owners with a format of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw(pub Vec<u8>);

impl Value for Raw {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn unpack(input: &[u8]) -> Option<Self> {
        Some(Raw(input.to_vec()))
    }
}

/// The same, as the store holds them: shared, not copied.
#[derive(Debug, Clone)]
pub struct Piece {
    octets: Octets,
    from: usize,
}

impl Piece {
    /// What the store holds, and where in it the value begins.
    pub fn into_parts(self) -> (Octets, usize) {
        (self.octets, self.from)
    }
}

impl std::ops::Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.octets.get(self.from..).unwrap_or_default()
    }
}

impl<K: Key> Table<K, Raw> {
    /// Key and value as they are kept, the value all `pieces` one behind the other.
    pub(super) fn row_of_pieces(&self, key: &K, pieces: &[&[u8]]) -> (Octets, Octets) {
        let value = scratch(|out| {
            out.push(self.version);
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
            out.as_slice().into()
        });
        (self.with_key(key, |key| key.into()), value)
    }

    /// The octets of a row where they lie, of this version.
    pub(super) fn octets<'o>(&self, kept: &'o [u8]) -> Result<&'o [u8], RowError> {
        match kept.split_first() {
            Some((version, octets)) if *version == self.version => Ok(octets),
            first => {
                let version = first.map_or(0, |(version, _)| *version);
                Err(RowError::Unreadable { table: self.name, version })
            }
        }
    }

    /// A value without copying it.
    pub(super) fn piece(&self, octets: Octets) -> Result<Piece, RowError> {
        match octets.first() {
            Some(version) if *version == self.version => Ok(Piece { octets, from: 1 }),
            version => {
                let version = version.copied().unwrap_or(0);
                Err(RowError::Unreadable { table: self.name, version })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Table<u8, u32> = Table::new("ages", *b"ag");
    const NEW: Table<u8, (u32, String)> = Table::new("ages", *b"ag")
        .at_version(2, |version, octets| {
            (version == 1).then(|| Some((u32::unpack(octets)?, String::new())))?
        });

    #[test]
    fn a_row_of_an_older_version_is_read_by_the_newer_table() {
        let kept = OLD.value(&7);
        assert_eq!(NEW.read_value(&kept), Ok((7, String::new())));
    }

    #[test]
    fn a_row_of_a_newer_version_is_refused_by_name() {
        let kept = NEW.value(&(7, "x".into()));
        assert_eq!(OLD.read_value(&kept), Err(RowError::Unreadable { table: "ages", version: 2 }));
    }

    /// Two tables under one prefix would read each other's rows.
    #[test]
    fn no_two_tables_share_a_prefix() {
        let mut prefixes = std::collections::BTreeMap::new();
        let mut places = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(place) = places.pop() {
            if place.is_dir() {
                let entries = std::fs::read_dir(&place).unwrap();
                places.extend(entries.map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&place).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
            let code: Vec<_> = code.filter(|line| !line.trim().starts_with("//")).collect();
            let code = code.join("\n");
            for (at, _) in code.match_indices("Table::new(") {
                let Some((_, rest)) = code[at..].split_once("*b\"") else { continue };
                let prefix = rest[..2].to_owned();
                if let Some(other) = prefixes.insert(prefix.clone(), place.clone()) {
                    panic!("{place:?} and {other:?} both have tables under {prefix}");
                }
            }
        }
        assert!(prefixes.contains_key("st"), "the store's own table is found");
    }

    #[test]
    fn a_value_with_octets_left_over_is_refused() {
        let mut kept = OLD.value(&7);
        kept.push(0);
        assert!(OLD.read_value(&kept).is_err());
    }
}
