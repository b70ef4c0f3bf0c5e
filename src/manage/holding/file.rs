//! A zone as a zone file.

use super::zone::{self, ZoneView};
use crate::maintain::rows as zones;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Stop;
use crate::wire::Name;
use crate::zone::text;

/// The records of a zone in canonical order, as a zone file, and the zone they are of.
///
/// # Errors
///
/// [`Stop::Access`] when the zone is not in reach; [`Stop::Store`] when it cannot be read.
pub fn export(manage: &Manage, context: &Context, apex: &Name) -> Result<(ZoneView, String), Stop> {
    manage.store.read(|rows| {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        let mut file = String::new();
        zones::with_view(rows, &held.zone, |view| text::write(view, &mut file))
            .map_err(|why| Stop::Store(format!("zone {apex} cannot be written out: {why}")))?;
        Ok((held.into(), file))
    })
}
