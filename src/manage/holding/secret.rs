//! Secrets that no instance key opens any more, given up by the operator.

use crate::maintain::secrets::{self, Secrets};
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::Stop;

/// Gives up every secret that the instance key at hand does not open; returns which those were.
///
/// Zones signed with one of them are served as they are until their signatures expire, and held.
///
/// # Errors
///
/// [`Stop::Access`] without the right; [`Stop::Store`] when the store cannot be read or written.
pub fn give_up(manage: &Manage, context: &Context) -> Result<Secrets, Stop> {
    context.may(Permission::ServerOperate)?;
    let lost = manage.maintain.secrets()?;
    for part in lost.parts() {
        manage.transact(|tx| {
            secrets::give_up(tx, &part)?;
            let zones = part.signing.iter().map(|key| Object::Zone(key.apex.clone()));
            let objects = zones.chain(part.tsig.iter().cloned().map(Object::TsigKey));
            let touched = objects.map(|object| Touched { object, before: None, after: None });
            let (kind, touched) = (Happened::SecretsGivenUp, touched.collect());
            event::record(tx, context, News { kind, order: None, orgs: Vec::new(), touched })?;
            Ok::<_, Stop>(())
        })?;
    }
    Ok(lost)
}
