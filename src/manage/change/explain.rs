//! Explain: which order, and whose, made an RRset what it is.

use serde::{Deserialize, Serialize};

use super::kept::{self, ORDERS};
use super::shown::{self, Person};
use crate::maintain::AppliedZone;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Stop;
use crate::manage::holding::zone as holding;
use crate::manage::id::OrderId;
use crate::manage::time::Timestamp;
use crate::store::{Rows, Table, Tx};
use crate::wire::{Name, Type};

/// Apex key, owner key, type → event and order that changed it last. The empty owner and type 0
/// stand for the zone as a whole: it was created, or its records were exchanged.
const TRACES: Table<Place, (u64, OrderId)> = Table::new("traces", *b"tr");

type Place = (Vec<u8>, Vec<u8>, u16);

/// Notes which event and order changed the RRsets of a zone.
pub(super) fn trace(
    tx: &mut Tx<'_>,
    zone: &AppliedZone,
    seq: u64,
    order: OrderId,
) -> Result<(), Stop> {
    let apex = zone.apex.key();
    let whole = zone.from.is_none() || zone.changed_count > zone.changed.len();
    if whole {
        tx.put(&TRACES, &(apex.clone(), Vec::new(), 0), &(seq, order))?;
    }
    if zone.from.is_none() {
        return Ok(());
    }
    for change in zone.changed.iter() {
        tx.put(&TRACES, &(apex.clone(), change.owner.key(), change.rtype.0), &(seq, order))?;
    }
    Ok(())
}

/// Where an RRset comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    #[schema(value_type = String)]
    pub zone: Name,
    #[schema(value_type = String)]
    pub name: Name,
    #[serde(rename = "type")]
    pub rtype: String,
    /// Whether there is such an RRset now.
    pub there: bool,
    /// The event that made it what it is; none when it came by another way than an order.
    pub event: Option<u64>,
    pub order: Option<OrderId>,
    /// The number people call the order by.
    pub number: Option<String>,
    pub by: Option<Person>,
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
}

/// Says which order made an RRset what it is, or took it away.
///
/// # Errors
///
/// [`Stop::Access`] when the zone is not in reach.
pub fn explain(
    manage: &Manage,
    context: &Context,
    zone: &Name,
    owner: &Name,
    rtype: Type,
) -> Result<Explanation, Stop> {
    manage.store.read(|rows| {
        let held = holding::fetch(rows, context, Permission::ZoneView, zone)?;
        let there = super::draft::live(rows, &held.zone, owner, rtype)?.is_some();
        let own = rows.get(&TRACES, &(zone.key(), owner.key(), rtype.0))?;
        let whole = rows.get(&TRACES, &(zone.key(), Vec::new(), 0))?;
        let trace = own.into_iter().chain(whole).max_by_key(|(seq, _)| *seq);
        let order = trace.map(|(_, id)| rows.get(&ORDERS, &id)).transpose()?.flatten();
        let visible = match &order {
            Some(order) => kept::fetch(rows, context, order.id).is_ok(),
            None => false,
        };
        let by = order.as_ref().filter(|_| visible).and_then(|order| order.placed_by);
        Ok(Explanation {
            zone: held.zone.apex,
            name: owner.clone(),
            rtype: rtype.to_string(),
            there,
            event: trace.map(|(seq, _)| seq),
            order: trace.map(|(_, id)| id).filter(|_| visible),
            number: order.as_ref().filter(|_| visible).map(|order| order.name()),
            by: by.map(|user| shown::person(rows, user)).transpose()?,
            at: order.and_then(|order| order.history.reached(super::state::State::Applied)),
        })
    })
}
