//! Keeps zones true: the one door through which they change, their start-up, their upkeep.

mod apply;
pub mod change;
pub mod commit;
mod content;
pub mod journal;
mod publish;
pub mod rows;
mod rules;
pub mod stage;

use std::sync::Arc;

pub use change::{
    Applied, AppliedZone, ChangedRrSet, Content, Reason, Refusal, RefusedZone, Staged, ZoneChange,
    ZoneState,
};
pub use commit::{CommitError, Committed, Door};
pub use rows::Zone;

use crate::store::Store;

/// The keeper of all zones. Cheap to clone.
#[derive(Clone)]
pub struct Maintain {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    publisher: Option<Arc<publish::Publisher>>,
    settings: Settings,
}

/// What an operator decides about the keeping of zones.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub journal: journal::Limits,
}

impl Maintain {
    /// Keeps the zones in `store` without answering from them: for commands on a data directory.
    pub fn offline(store: Store, settings: Settings) -> Maintain {
        Maintain { inner: Arc::new(Inner { store, publisher: None, settings }) }
    }

    /// Where zones and everything else are kept.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    fn publisher(&self) -> Option<Arc<publish::Publisher>> {
        self.inner.publisher.clone()
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}
