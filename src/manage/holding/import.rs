//! Zones by the thousand: from files at the command line, without baskets and orders, for who looks
//! after the server.
//!
//! Each zone is taken or refused for itself; those of one call are one record of the log, and one event.

use crate::maintain::{Content, Door, Zone, ZoneChange, rows as zones};
use crate::manage::Manage;
use crate::manage::access::{self, Context, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::Stop;
use crate::manage::id::OrgId;
use crate::wire::{Name, Serial};

/// One zone to be taken in.
#[derive(Debug, Clone)]
pub struct Import {
    pub apex: Name,
    pub content: Content,
}

/// What became of one zone: its serial, or every reason against it.
pub type Imported = (Name, Result<Serial, Vec<String>>);

/// Takes zones in for an organisation: new ones are created, those it has get these records.
///
/// # Errors
///
/// [`Stop::Access`] without the right to look after the server; [`Stop::Store`] when nothing is
/// written. Then no zone was taken in.
pub fn import(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    imports: Vec<Import>,
) -> Result<Vec<Imported>, Stop> {
    manage.commit(|door| -> Result<_, Stop> {
        context.may(Permission::ServerOperate)?;
        access::org(door.tx(), context, Permission::ZoneManage, org)?;
        door.set_cause("import");
        let (mut results, mut touched) = (Vec::new(), Vec::new());
        for import in imports {
            let apex = import.apex.clone();
            let before = zones::zone(door.tx(), &apex)?;
            let result = one(door, org, before.as_ref(), import);
            if result.is_ok() {
                let after = zones::zone(door.tx(), &apex)?;
                let digest = |zone: Option<&Zone>| {
                    zone.map(|zone| event::digest_of(&(&zone.apex, zone.serial)))
                };
                touched.push(Touched {
                    object: Object::Zone(apex.clone()),
                    before: digest(before.as_ref()),
                    after: digest(after.as_ref()),
                });
            }
            results.push((apex, result));
        }
        if !touched.is_empty() {
            let news =
                News { kind: Happened::ZonesImported, order: None, orgs: vec![org], touched };
            event::record(door.tx(), context, news)?;
        }
        Ok(results)
    })
}

fn one(
    door: &mut Door<'_, '_>,
    org: OrgId,
    before: Option<&Zone>,
    import: Import,
) -> Result<Serial, Vec<String>> {
    let Import { apex, content } = import;
    let org = org.to_string();
    let change = match before {
        None => ZoneChange::Create { apex, org, content },
        Some(zone) if zone.org == org => ZoneChange::Replace { apex, content },
        Some(_) => {
            return Err(vec![format!(
                "zone {apex} belongs to another organisation: name it, or move the zone"
            )]);
        }
    };
    match door.apply(std::slice::from_ref(&change)) {
        Ok(applied) => {
            let serial = applied.zones.first().and_then(|zone| zone.to);
            serial.ok_or_else(|| vec!["zone has no serial".to_owned()])
        }
        Err(refusal) => Err(refusal
            .zones
            .iter()
            .flat_map(|zone| zone.reasons.iter().map(ToString::to_string))
            .collect()),
    }
}
