//! The TSIG keys that requests may be signed with.
//!
//! A ring of keys is replaced as a whole, so that who looks at it sees all of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::wire::{Name, TsigKey};

/// A key, and until when it is good: in seconds since 1970, or for as long as it is in the ring.
type Held = (Arc<TsigKey>, Option<u64>);

/// All keys, by name. Several of one name while a secret is being changed.
#[derive(Default)]
pub struct Keyring {
    keys: ArcSwap<HashMap<Name, Vec<Held>>>,
}

impl Keyring {
    /// Puts `keys` in the place of those there were; of one name, the one to sign with comes first.
    pub fn replace(&self, keys: impl IntoIterator<Item = (TsigKey, Option<u64>)>) {
        let mut ring: HashMap<Name, Vec<Held>> = HashMap::new();
        for (key, until_s) in keys {
            ring.entry(key.name.clone()).or_default().push((Arc::new(key), until_s));
        }
        self.keys.store(Arc::new(ring));
    }

    /// The keys of this name that are good at `now_s`, the one to sign with first.
    pub fn find(&self, name: &Name, now_s: u64) -> Vec<Arc<TsigKey>> {
        let ring = self.keys.load();
        let held = ring.get(name).into_iter().flatten();
        let good = held.filter(|(_, until_s)| until_s.is_none_or(|until_s| now_s < until_s));
        good.map(|(key, _)| Arc::clone(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tsig::Algorithm;

    #[test]
    fn the_secret_before_is_good_until_its_time_and_never_first() {
        let name = Name::parse("k.example.").unwrap();
        let key = |secret: &[u8]| TsigKey::new(name.clone(), Algorithm::HmacSha256, secret);
        let (new, old) = (key(b"the new secret").unwrap(), key(b"the old secret").unwrap());
        let ring = Keyring::default();
        ring.replace([(new.clone(), None), (old.clone(), Some(100))]);
        let found = |now_s| {
            ring.find(&name, now_s).iter().map(|key| TsigKey::clone(key)).collect::<Vec<_>>()
        };
        assert_eq!(found(99), [new.clone(), old]);
        assert_eq!(found(100), [new]);
        ring.replace([]);
        assert!(found(0).is_empty());
    }
}
