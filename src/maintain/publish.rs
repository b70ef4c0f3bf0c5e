//! Publication: what a commit did, rendered and put into the snapshot all workers read.

use std::sync::Arc;

use super::commit::Touch;
use super::rows::Zone;
use crate::store::Tx;
use crate::wire::Name;
use crate::zone::ReadFault;

/// What one commit puts into the snapshot.
#[derive(Debug, Default)]
pub(super) struct Publication;

/// The way into the snapshot.
#[derive(Debug)]
pub(super) struct Publisher;

impl Publisher {
    pub fn publish(&self, publication: Publication) {
        let _ = publication;
    }
}

/// Renders what was touched, as the transaction leaves it.
pub(super) fn render(
    tx: &Tx<'_>,
    touched: Vec<(u32, Name, Touch)>,
) -> Result<Publication, ReadFault> {
    let _ = (tx, touched);
    Ok(Publication)
}

/// The names of `zone` at and below `apex`.
pub(super) fn names_below(tx: &Tx<'_>, zone: &Zone, apex: &Name) -> Result<Vec<Name>, ReadFault> {
    let _ = (tx, zone, apex, Arc::new(()));
    Ok(Vec::new())
}
