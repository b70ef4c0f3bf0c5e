//! Zones as somebody's: who holds one, who may see and change it, and whose it stands next to.
//!
//! The zone itself, its records and its serial, belong to `maintain`; the holder there is an opaque
//! text, here the id of an organisation.

use serde::{Deserialize, Serialize};

use crate::maintain::rows as zones;
use crate::maintain::{Zone, ZoneState};
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission, Role};
use crate::manage::event::{self, News, Object, Touched};
use crate::manage::fault::Stop;
use crate::manage::id::OrgId;
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Tx};
use crate::wire::Name;

/// How many zones below a new one are looked at one by one; with more it waits for an operator.
const BELOW_MAX: usize = 10_000;

/// A zone, and whose it is.
#[derive(Debug, Clone)]
pub struct Held {
    pub zone: Zone,
    pub org: OrgId,
}

impl Held {
    /// Writes the event that this zone, or something of it, changed.
    pub(super) fn record<T: Serialize>(
        &self,
        tx: &mut Tx<'_>,
        context: &Context,
        kind: event::Kind,
        before: Option<&T>,
        after: Option<&T>,
    ) -> Result<(), Stop> {
        let touched = vec![Touched::of(Object::Zone(self.zone.apex.clone()), before, after)];
        event::record(tx, context, News { kind, order: None, orgs: vec![self.org], touched })?;
        Ok(())
    }
}

/// The zone, if it is in reach and the right is there: no right, no row.
///
/// # Errors
///
/// [`NoAccess`].
pub fn fetch(
    rows: &impl Rows,
    context: &Context,
    permission: Permission,
    apex: &Name,
) -> Result<Held, Stop> {
    let held = held(rows, apex)?.ok_or(NoAccess::NotFound)?;
    if !sees(rows, context, &held)? {
        return Err(NoAccess::NotFound.into());
    }
    context.may(permission)?;
    Ok(held)
}

/// The zone and whose it is, whoever asks.
pub fn held(rows: &impl Rows, apex: &Name) -> Result<Option<Held>, Stop> {
    let Some(zone) = zones::zone(rows, apex)? else { return Ok(None) };
    let org = holder(&zone)?;
    Ok(Some(Held { zone, org }))
}

/// The organisation that holds a zone.
pub fn holder(zone: &Zone) -> Result<OrgId, Stop> {
    let fault = |_| Stop::Store(format!("zone {} has no holder that is an id", zone.apex));
    zone.org.parse().map_err(fault)
}

fn sees(rows: &impl Rows, context: &Context, held: &Held) -> Result<bool, Stop> {
    let granted = held.org != context.org || context.scope.covers(&held.zone.apex);
    Ok(granted && access::reaches(rows, context, held.org)?)
}

/// Whether people who are bound by the switches of their organisation may change records now.
///
/// # Errors
///
/// [`NoAccess::Suspended`] or [`NoAccess::DnsClosed`].
pub fn may_change(rows: &impl Rows, context: &Context) -> Result<(), Stop> {
    match context.role {
        Role::Operator => Ok(()),
        _ => access::may_change_dns(rows, context.org),
    }
}

/// The zones of other organisations that a new zone would stand above or below.
///
/// Of those it would stand below, the nearest counts: whoever holds that one was asked about the
/// ones above. Of those it would stand above, any.
pub fn neighbours(rows: &impl Rows, apex: &Name, org: OrgId) -> Result<Vec<Name>, Stop> {
    let mut found = Vec::new();
    let above = apex.parent().map(|parent| zones::holding(rows, &parent)).transpose()?.flatten();
    if let Some(zone) = above.filter(|zone| zone.org != org.to_string()) {
        found.push(zone.apex);
    }
    let below = zones::below(rows, apex, None, BELOW_MAX)?;
    let too_many = below.len() == BELOW_MAX;
    let mine = org.to_string();
    let foreign = below.into_iter().find(|zone| too_many || zone.org != mine);
    found.extend(foreign.map(|zone| zone.apex));
    Ok(found)
}

/// A zone, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ZoneView {
    #[schema(value_type = String, example = "example.com.")]
    pub name: Name,
    pub org: OrgId,
    /// `live`, `staged`, `held`, `suspended`, or `expired` for a secondary with nothing fresh enough to answer.
    pub state: String,
    /// Why it is held: served at its last good version, because it cannot be signed anew.
    pub held_because: Option<String>,
    pub serial: u32,
    /// Counts the versions, from 1.
    pub version: u64,
    /// Whether its signatures were made elsewhere and are kept.
    pub presigned: bool,
    pub records: u64,
    pub rrsets: u64,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = String)]
    pub changed_at: Timestamp,
}

/// A zone as it is shown.
pub fn view(manage: &Manage, held: Held) -> ZoneView {
    let Held { zone, org } = held;
    let hold = manage.maintain.hold_of(&zone);
    let state = match zone.state {
        ZoneState::Live if hold.is_some() => "held",
        ZoneState::Live => "live",
        ZoneState::Staged => "staged",
        ZoneState::Held => "held",
        ZoneState::Suspended => "suspended",
        ZoneState::Expired => "expired",
    };
    ZoneView {
        name: zone.apex,
        org,
        state: state.to_owned(),
        held_because: hold.map(|hold| hold.why),
        serial: zone.serial.0,
        version: zone.version,
        presigned: zone.presigned,
        records: u64::try_from(zone.counts.records).unwrap_or_default(),
        rrsets: u64::try_from(zone.counts.rrsets).unwrap_or_default(),
        created_at: Timestamp(zone.created_us),
        changed_at: Timestamp(zone.changed_us),
    }
}

/// The zone of this name.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach.
pub fn get(manage: &Manage, context: &Context, apex: &Name) -> Result<ZoneView, Stop> {
    let held = manage.store.read(|rows| fetch(rows, context, Permission::ZoneView, apex))?;
    Ok(view(manage, held))
}

/// Which zones are asked for.
#[derive(Debug, Clone, Default)]
pub struct ZoneQuery {
    /// Of one organisation; none is the asker's own, or all for the operator.
    pub org: Option<OrgId>,
    /// The zone behind which to begin.
    pub after: Option<Name>,
    pub limit: usize,
}

/// Lists zones in canonical order of their names.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach.
pub fn list(manage: &Manage, context: &Context, query: &ZoneQuery) -> Result<Page<ZoneView>, Stop> {
    context.may(Permission::ZoneView)?;
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        let all = query.org.is_none() && context.role == Role::Operator;
        let org = query.org.unwrap_or(context.org);
        if !access::reaches(rows, context, org)? {
            return Err(NoAccess::NotFound.into());
        }
        let found = match all {
            true => zones::zones(rows, query.after.as_ref(), limit)?,
            false => zones::zones_of(rows, &org.to_string(), query.after.as_ref(), limit)?,
        };
        let next = (found.len() == limit).then(|| found.last().map(|zone| zone.apex.to_string()));
        let mut items = Vec::with_capacity(found.len());
        for zone in found {
            let held = Held { org: holder(&zone)?, zone };
            if sees(rows, context, &held)? {
                items.push(view(manage, held));
            }
        }
        Ok(Page { items, next: next.flatten() })
    })
}
