//! Large values, kept in parts: a row of the store has a limit, what people ask for may be larger.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Stop;
use crate::store::{Raw, RowError, Rows, Table, Tx};

/// Whose value, which of its values, which part.
const PARTS: Table<([u8; 16], u8, u32), Raw> = Table::new("parts", *b"pt");

/// Octets of one part.
const PART_OCTETS: usize = 32 * 1024;

/// Which of the values something may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What an item asks for.
    Body = 1,
    /// What became of an order.
    Outcome = 2,
    /// What would undo an order.
    Undo = 3,
    /// What an order left that was applied.
    Left = 4,
}

/// Keeps a value in place of the one there was.
pub fn put<T: Serialize>(
    tx: &mut Tx<'_>,
    id: [u8; 16],
    which: Which,
    value: &T,
) -> Result<(), Stop> {
    let parts = put_first(tx, id, which, value)?;
    Ok(delete_from(tx, id, which, parts)?)
}

/// Octets that most values have at most.
const VALUE_OCTETS: usize = 1024;

/// Keeps a value where there never was one; returns of how many parts.
pub fn put_first<T: Serialize>(
    tx: &mut Tx<'_>,
    id: [u8; 16],
    which: Which,
    value: &T,
) -> Result<u32, Stop> {
    let octets = postcard::to_extend(value, Vec::with_capacity(VALUE_OCTETS));
    let octets = octets.map_err(|why| Stop::Store(why.to_string()))?;
    let mut parts = 0;
    for part in octets.chunks(PART_OCTETS) {
        tx.put(&PARTS, &(id, which as u8, parts), &Raw(part.to_vec()))?;
        parts += 1;
    }
    Ok(parts)
}

/// The value, if there is one.
pub fn get<T: DeserializeOwned>(
    rows: &impl Rows,
    id: [u8; 16],
    which: Which,
) -> Result<Option<T>, Stop> {
    let parts = rows.scan(&PARTS, &(id, which as u8), None, usize::MAX)?;
    if parts.is_empty() {
        return Ok(None);
    }
    let octets: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part.0).collect();
    let value = postcard::from_bytes(&octets);
    value.map(Some).map_err(|_| Stop::Store("a value in parts cannot be read".to_owned()))
}

/// Takes a value away.
pub fn delete(tx: &mut Tx<'_>, id: [u8; 16], which: Which) -> Result<(), RowError> {
    delete_from(tx, id, which, 0)
}

/// Takes away what a value has from a part on: its parts are numbered without gaps.
fn delete_from(tx: &mut Tx<'_>, id: [u8; 16], which: Which, first: u32) -> Result<(), RowError> {
    for part in first.. {
        let key = (id, which as u8, part);
        if !tx.contains(&PARTS, &key)? {
            break;
        }
        tx.delete(&PARTS, &key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_value_of_many_parts_comes_back_whole_and_a_shorter_one_leaves_no_rest() {
        let store = Store::in_memory();
        let long = vec![7u8; 3 * PART_OCTETS + 1];
        let put_and_get = |value: &Vec<u8>| {
            let done = store.transact(|tx| {
                put(tx, [1; 16], Which::Body, value)?;
                get::<Vec<u8>>(tx, [1; 16], Which::Body)
            });
            done.unwrap().unwrap()
        };
        assert_eq!(put_and_get(&long), long);
        assert_eq!(put_and_get(&vec![1]), [1]);
        let other = store.read(|rows| get::<Vec<u8>>(rows, [1; 16], Which::Outcome));
        assert_eq!(other, Ok(None));
    }
}
