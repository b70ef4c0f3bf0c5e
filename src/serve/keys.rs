//! The TSIG keys that requests may be signed with.
//!
//! A ring of keys is replaced as a whole, so that who looks at it sees all of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::wire::{Name, TsigKey};

/// All keys, by name. Several of one name while a secret is being changed.
#[derive(Default)]
pub struct Keyring {
    keys: ArcSwap<HashMap<Name, Vec<Arc<TsigKey>>>>,
}

impl Keyring {
    /// Puts `keys` in the place of those there were.
    pub fn replace(&self, keys: impl IntoIterator<Item = TsigKey>) {
        let mut ring: HashMap<Name, Vec<Arc<TsigKey>>> = HashMap::new();
        for key in keys {
            ring.entry(key.name.clone()).or_default().push(Arc::new(key));
        }
        self.keys.store(Arc::new(ring));
    }

    /// The keys of this name, the one to sign with first; none if there is no such key.
    pub fn find(&self, name: &Name) -> Vec<Arc<TsigKey>> {
        self.keys.load().get(name).cloned().unwrap_or_default()
    }
}
