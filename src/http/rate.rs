//! How often one token may call: a bucket per token that fills with time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::problem::{Kind, Problem};
use crate::manage::access::{Actor, Context, Role};
use crate::manage::id::TokenId;

/// Buckets kept. Beyond it full ones go: who has not called for a while loses nothing by it.
const BUCKETS_MAX: usize = 65_536;

/// The buckets of all tokens.
pub(super) struct Rates {
    per_minute: u32,
    buckets: Mutex<HashMap<TokenId, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Calls left, in 1/60 000: what one millisecond adds at one call a minute.
    left: u64,
    at_ms: u64,
}

/// One call in the unit of [`Bucket::left`].
const CALL: u64 = 60_000;

impl Rates {
    /// Buckets of `per_minute` calls; 0 is without a limit.
    pub(super) fn new(per_minute: u32) -> Rates {
        Rates { per_minute, buckets: Mutex::default() }
    }

    /// Takes one call out of the caller's bucket. `now_ms` counts from anywhere. The operator's own
    /// tokens have no limit: they do the work of many.
    ///
    /// # Errors
    ///
    /// [`Kind::TooOften`] with the time after which there is a call again.
    pub(super) fn take(&self, context: &Context, now_ms: u64) -> Result<(), Problem> {
        let Actor::User { token: Some(token), .. } = context.actor else { return Ok(()) };
        if self.per_minute == 0 || context.role == Role::Operator {
            return Ok(());
        }
        let per_minute = u64::from(self.per_minute);
        let full = per_minute * CALL;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&token) {
            buckets.retain(|_, bucket| bucket.filled(per_minute, now_ms) < full);
        }
        let bucket = buckets.entry(token).or_insert(Bucket { left: full, at_ms: now_ms });
        *bucket = Bucket { left: bucket.filled(per_minute, now_ms), at_ms: now_ms };
        match bucket.left.checked_sub(CALL) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => {
                let wait_s = (CALL - bucket.left).div_ceil(per_minute * 1_000);
                Err(Problem::new(Kind::TooOften, "wait, or do more in one call")
                    .with_limit("token_requests_per_minute_max", per_minute)
                    .retry_after(wait_s.max(1)))
            }
        }
    }
}

impl Bucket {
    fn filled(self, per_minute: u64, now_ms: u64) -> u64 {
        let more = now_ms.saturating_sub(self.at_ms).saturating_mul(per_minute);
        self.left.saturating_add(more).min(per_minute * CALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::access::{Permissions, Scope};
    use crate::manage::id::{OrgId, UserId};

    fn caller(role: Role) -> Context {
        Context {
            actor: Actor::User { user: UserId::new(), token: Some(TokenId::new()) },
            org: OrgId::new(),
            role,
            permissions: Permissions::of(role),
            scope: Scope::All,
            idempotency: None,
        }
    }

    #[test]
    fn a_token_that_calls_too_often_waits_and_others_do_not() {
        let rates = Rates::new(3);
        let (busy, other) = (caller(Role::Member), caller(Role::Member));
        assert!((0..3).all(|_| rates.take(&busy, 0).is_ok()));
        assert_eq!(rates.take(&busy, 0).unwrap_err().kind(), Kind::TooOften);
        assert!(rates.take(&other, 0).is_ok());
        assert!(rates.take(&busy, 19_999).is_err());
        assert!(rates.take(&busy, 20_000).is_ok());
    }

    #[test]
    fn the_operator_has_no_limit() {
        let (rates, operator) = (Rates::new(1), caller(Role::Operator));
        assert!((0..9).all(|_| rates.take(&operator, 0).is_ok()));
    }
}
