//! Idempotency keys: a caller that did not hear the answer may ask again, and nothing happens twice.
//!
//! The key is written in the transaction it belongs to, so it is there exactly when the effect is.
//! Keys belong to the one who acts; the same key with another request is an error. They are
//! forgotten after [`KEPT_S`], a few with each new one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::access::{Actor, Context};
use super::event::Digest;
use super::fault::Stop;
use super::id::UserId;
use super::limits::{self, IDEMPOTENCY_KEY_CHARS_MAX};
use super::time::Timestamp;
use crate::store::{Rows, Table, Tx};

const KEYS: Table<(UserId, String), Kept> = Table::new("idempotency_keys", *b"ik");
/// Keys by the time they were used, to forget the oldest.
const KEYS_BY_AGE: Table<(u64, UserId, String), ()> = Table::new("idempotency_ages", *b"ia");

/// Seconds a key is remembered: two days.
const KEPT_S: u64 = 2 * 86_400;

/// Keys forgotten with each new one, so that there are never many old ones.
const FORGOTTEN_AT_ONCE: usize = 4;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    asked: Digest,
    at: Timestamp,
    /// The answer as JSON.
    answer: String,
}

/// Does `f` once for the key of `context`, or gives the answer it gave; without a key, just does it.
///
/// # Errors
///
/// [`Stop::KeyReused`] when the key was used for another request; otherwise what `f` says. A
/// refusal is not remembered: asked again, it is tried again.
pub fn once<'tx, T, E>(
    tx: &mut Tx<'tx>,
    context: &Context,
    f: impl FnOnce(&mut Tx<'tx>) -> Result<T, E>,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Stop>,
{
    if let Some(answer) = earlier(tx, context)? {
        return Ok(answer);
    }
    let done = f(tx)?;
    keep(tx, context, &done)?;
    Ok(done)
}

/// The answer given before for the key of `context`.
///
/// # Errors
///
/// [`Stop::KeyReused`] when the key was used for another request.
pub fn earlier<T: DeserializeOwned>(
    rows: &impl Rows,
    context: &Context,
) -> Result<Option<T>, Stop> {
    let Some(key) = &context.idempotency else { return Ok(None) };
    let Some(kept) = rows.get(&KEYS, &(owner(context), key.key.clone()))? else { return Ok(None) };
    if kept.asked != key.asked {
        return Err(Stop::KeyReused);
    }
    let answer = serde_json::from_str(&kept.answer);
    answer.map(Some).map_err(|_| Stop::KeyReused)
}

/// Remembers an answer for the key of `context`.
///
/// # Errors
///
/// [`Stop::Limit`] for a key that is too long.
pub fn keep<T: Serialize>(tx: &mut Tx<'_>, context: &Context, answer: &T) -> Result<(), Stop> {
    let Some(key) = &context.idempotency else { return Ok(()) };
    let length = key.key.chars().count();
    limits::at_most("idempotency_key_chars", IDEMPOTENCY_KEY_CHARS_MAX, length)?;
    let answer = serde_json::to_string(answer).map_err(|why| Stop::Store(why.to_string()))?;
    let now = Timestamp::now();
    let owner = owner(context);
    tx.put(&KEYS, &(owner, key.key.clone()), &Kept { asked: key.asked, at: now, answer })?;
    tx.put(&KEYS_BY_AGE, &(now.0, owner, key.key.clone()), &())?;
    let old = now.0.saturating_sub(KEPT_S * 1_000_000);
    let end = (old, UserId::from_octets([0; 16]), String::new());
    for (age, ()) in tx.range(&KEYS_BY_AGE, ..end, FORGOTTEN_AT_ONCE)? {
        tx.delete(&KEYS, &(age.1, age.2.clone()))?;
        tx.delete(&KEYS_BY_AGE, &age)?;
    }
    Ok(())
}

fn owner(context: &Context) -> UserId {
    match context.actor {
        Actor::User { user, .. } => user,
        Actor::System => UserId::from_octets([0; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::access::IdempotencyKey;
    use crate::manage::id::OrgId;
    use crate::store::Store;

    fn with_key(key: &str, asked: u8) -> Context {
        let idempotency = Some(IdempotencyKey { key: key.to_owned(), asked: [asked; 32] });
        Context { idempotency, ..Context::system(OrgId::from_octets([1; 16])) }
    }

    fn ask(store: &Store, context: &Context, counter: &mut u32) -> Result<u32, Stop> {
        let done = store.transact(|tx| {
            once(tx, context, |_| {
                *counter += 1;
                Ok::<u32, Stop>(*counter)
            })
        });
        done.map_err(crate::manage::fault::refused)
    }

    #[test]
    fn the_same_key_and_request_give_the_same_answer_and_happen_once() {
        let (store, mut counter) = (Store::in_memory(), 0);
        assert_eq!(ask(&store, &with_key("k", 1), &mut counter), Ok(1));
        assert_eq!(ask(&store, &with_key("k", 1), &mut counter), Ok(1));
        assert_eq!(ask(&store, &with_key("other", 1), &mut counter), Ok(2));
    }

    #[test]
    fn the_same_key_with_another_request_is_refused() {
        let (store, mut counter) = (Store::in_memory(), 0);
        assert_eq!(ask(&store, &with_key("k", 1), &mut counter), Ok(1));
        assert_eq!(ask(&store, &with_key("k", 2), &mut counter), Err(Stop::KeyReused));
        assert_eq!(counter, 1);
    }

    #[test]
    fn a_key_longer_than_its_limit_is_refused_by_name() {
        let (store, mut counter) = (Store::in_memory(), 0);
        let long = with_key(&"k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1), 1);
        let Err(Stop::Limit(over)) = ask(&store, &long, &mut counter) else { panic!() };
        assert_eq!(over.limit, "idempotency_key_chars");
    }
}
