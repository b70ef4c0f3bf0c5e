//! What people may do, as plain functions over the store.
//!
//! An operation takes [`Manage`] and a [`Context`](access::Context), checks the right before it reads
//! the row, and does its work in one transaction: state, event and receipt agree, or nothing
//! happened. Zones change only through the door of `maintain`; a basket changes nothing that is served.
//!
//! Does not: speak HTTP, wait for the network, or run as async. The edge wraps it.

pub mod access;
mod blob;
pub mod bootstrap;
pub mod change;
pub mod event;
pub mod fault;
pub mod holding;
pub mod id;
pub mod idempotency;
pub mod limits;
pub mod page;
pub mod people;
pub mod time;
mod words;

use std::sync::{Arc, OnceLock};

use crate::maintain::{CommitError, Door, Maintain};
use crate::store::{Store, Tx};

/// What every operation needs. Cheap to clone.
#[derive(Clone)]
pub struct Manage {
    pub store: Store,
    /// The door to the zones.
    pub maintain: Maintain,
    /// Orders whose answers are looked for.
    settling: Arc<change::settle::Settling>,
    /// The operator's organisation, once it was looked for.
    operator: Arc<OnceLock<id::OrgId>>,
}

impl Manage {
    /// What people may do with the zones that `maintain` keeps.
    pub fn new(maintain: Maintain) -> Manage {
        let (settling, operator) = Default::default();
        Manage { store: maintain.store().clone(), maintain, settling, operator }
    }

    /// One transaction, the store's refusals told as the operation tells its own.
    pub(in crate::manage) fn transact<R, E: From<fault::Stop>>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.store.transact(f).map_err(fault::refused)
    }

    /// The same for what nobody waits for: it goes with the next that somebody does.
    pub(in crate::manage) fn transact_at_leisure<R, E: From<fault::Stop>>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.store.transact_at_leisure(f).map_err(fault::refused)
    }

    /// One commit through the door of the zones, told in the same way.
    pub(in crate::manage) fn commit<R: Send + 'static, E: From<fault::Stop>>(
        &self,
        f: impl FnOnce(&mut Door<'_, '_>) -> Result<R, E>,
    ) -> Result<R, E> {
        match self.maintain.commit(f) {
            Ok(committed) => Ok(committed.value),
            Err(CommitError::Refused(error)) => Err(error),
            Err(CommitError::Unreadable(fault)) => Err(fault::Stop::from(fault).into()),
            Err(CommitError::Write(error)) => Err(fault::Stop::from(error).into()),
        }
    }
}

#[cfg(test)]
mod tests;
