//! The zones as the checklist sees them: one version of all of them, held for a batch.

use crate::serve::rrl::Kind;
use crate::wire::{HashKey, Query, Rcode, Reply};

/// Where the newest version of all zones is found.
#[derive(Clone)]
pub struct Zones {
    key: HashKey,
}

impl Zones {
    /// No zones at all.
    pub fn none() -> Zones {
        Zones { key: HashKey::new(*b"no names, nothing secret") }
    }

    pub(super) fn load(&self) -> Snapshot<'_> {
        Snapshot { zones: self }
    }
}

/// One version of all zones.
pub(super) struct Snapshot<'a> {
    zones: &'a Zones,
}

impl Snapshot<'_> {
    #[inline]
    pub(super) fn key(&self) -> &HashKey {
        &self.zones.key
    }

    #[inline]
    pub(super) fn fetch_directory(&self, _query: &Query) {}

    #[inline]
    pub(super) fn fetch_page(&self, _query: &Query) {}

    #[inline]
    pub(super) fn fetch_node(&self, _query: &Query) {}

    #[inline]
    pub(super) fn respond(&self, _query: &Query, reply: &mut Reply<'_>) -> Kind {
        reply.set_rcode(Rcode::REFUSED);
        Kind::Refusal
    }
}
