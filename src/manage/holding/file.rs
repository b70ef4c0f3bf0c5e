//! A zone as a zone file.

use super::zone::{self, Held, ZoneView};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::fault::Stop;
use crate::wire::Name;
use crate::zone::text;
use crate::zone::tree::PackedZone;

/// The records of a zone in canonical order, as a zone file, and the zone they are of.
///
/// # Errors
///
/// [`Stop::Access`] when the zone is not in reach; [`Stop::Store`] when it cannot be read.
pub fn export(manage: &Manage, context: &Context, apex: &Name) -> Result<(ZoneView, String), Stop> {
    let held = manage.store.read(|rows| zone::fetch(rows, context, Permission::ZoneView, apex))?;
    // A copy, because a large zone takes longer to write out than commits should wait.
    let (zone, octets) = manage.maintain.copy(apex)?.ok_or(NoAccess::NotFound)?;
    let mut file = String::new();
    text::write(&PackedZone::new(zone.apex.clone(), &octets), &mut file)
        .map_err(|why| Stop::Store(format!("zone {apex} cannot be written out: {why}")))?;
    Ok((zone::view(manage, Held { zone, org: held.org }), file))
}
