//! Orders: placed, approved or not, applied, undone.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, Created, Listed, NoPath, NoQuery, Optional, Reply};
use crate::http::problem::Problem;
use crate::manage::change::approval::{self, Approve, Decline, Return, Returned};
use crate::manage::change::ask::{self, EditAsk};
use crate::manage::change::basket;
use crate::manage::change::order::{self, Place};
use crate::manage::change::push::{self, ChangeSet, Preview, Pushed};
use crate::manage::change::receipt::{self, OrderLine, OrderQuery, OrderView};
use crate::manage::change::revert::{self, Revert};
use crate::manage::change::schedule;
use crate::manage::change::state::State;
use crate::manage::id::OrderId;
use crate::manage::time::Timestamp;
use crate::wire::Name;

use super::submitted::settled;
use super::{location, org_named, page_limit};

#[derive(Deserialize, IntoParams)]
pub struct OrderPath {
    /// Id or number of the order.
    order: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Handle or id of the organisation; your own if left out, all for the operator.
    org: Option<String>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<State>,
    /// Only those you placed.
    #[serde(default)]
    mine: bool,
    /// Begin behind this one; the newest come first.
    #[param(value_type = Option<String>)]
    after: Option<OrderId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Changes of any number of zones that were approved elsewhere: all are applied together, or none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeOrder {
    /// Changes of records, zone by zone.
    #[serde(default)]
    pub zones: Vec<ZoneEdits>,
    /// Anything else a basket takes: new zones, zone files, ends of zones.
    #[serde(default)]
    pub items: Vec<ask::Ask>,
    #[serde(default)]
    pub note: Option<String>,
    /// What the portal calls it.
    #[serde(default)]
    pub reference: Option<String>,
    /// Not applied before this moment; at once if left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "2026-01-31T23:00:00Z")]
    pub not_before: Option<Timestamp>,
}

/// Changes of records of one zone.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneEdits {
    #[schema(value_type = String, example = "example.com.")]
    pub zone: Name,
    pub edits: Vec<EditAsk>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Pushing {
    /// Only says what it would do.
    #[serde(default)]
    dry_run: bool,
}

pub fn place(ask: Ask<NoPath, NoQuery, Optional<Place>>) -> Result<Created<OrderView>, Problem> {
    if ask.condition.is_given() {
        let basket = basket::list(&ask.manage, &ask.context)?;
        ask.condition.check(Some(&super::basket::tag(&basket)))?;
    }
    let order = settled(order::place(&ask.manage, &ask.context, ask.body.0)?)?;
    let at = format!("/v1/orders/{}", order.id);
    Ok(location(Reply::new(order), &at))
}

pub fn preview_basket(ask: Ask) -> Result<Reply<Preview>, Problem> {
    Ok(Reply::new(push::preview_basket(&ask.manage, &ask.context)?))
}

pub fn list(ask: Ask<NoPath, Listing>) -> Result<Reply<Listed<OrderLine>>, Problem> {
    let Listing { org, state, mine, after, limit } = ask.query;
    let org = org_named(&ask.manage, &ask.context, org.as_deref())?;
    let query = OrderQuery { org, state, mine, before: after, limit: page_limit(limit)? };
    Ok(Reply::new(Listed(receipt::list(&ask.manage, &ask.context, &query)?)))
}

pub fn get(ask: Ask<OrderPath>) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    let order = receipt::get(&ask.manage, &ask.context, id)?;
    let unsettled = order.state.is_open() || order.state == State::Applied;
    Ok(Reply::new(order).unsettled(unsettled))
}

pub fn preview(ask: Ask<OrderPath>) -> Result<Reply<Preview>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(push::preview_order(&ask.manage, &ask.context, id)?))
}

pub fn approve(
    ask: Ask<OrderPath, NoQuery, Optional<Approve>>,
) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    let order = approval::approve(&ask.manage, &ask.context, id, ask.body.0)?;
    Ok(Reply::new(settled(order)?))
}

pub fn reject(ask: Ask<OrderPath, NoQuery, Decline>) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(approval::reject(&ask.manage, &ask.context, id, ask.body)?))
}

pub fn cancel(
    ask: Ask<OrderPath, NoQuery, Optional<Decline>>,
) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(approval::cancel(&ask.manage, &ask.context, id, ask.body.0)?))
}

pub fn hold(ask: Ask<OrderPath, NoQuery, Decline>) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(schedule::hold(&ask.manage, &ask.context, id, ask.body)?))
}

pub fn release(ask: Ask<OrderPath>) -> Result<Reply<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(schedule::release(&ask.manage, &ask.context, id)?))
}

pub fn return_to_basket(
    ask: Ask<OrderPath, NoQuery, Optional<Return>>,
) -> Result<Reply<Returned>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    Ok(Reply::new(approval::return_to_basket(&ask.manage, &ask.context, id, &ask.body.0)?))
}

pub fn revert(
    ask: Ask<OrderPath, NoQuery, Optional<Revert>>,
) -> Result<Created<OrderView>, Problem> {
    let id = receipt::find(&ask.manage, &ask.path.order)?;
    let order = settled(revert::revert(&ask.manage, &ask.context, id, ask.body.0)?)?;
    let at = format!("/v1/orders/{}", order.id);
    Ok(location(Reply::new(order), &at))
}

/// Pushes a change set: `zones` first, then `items`, as one list of things asked for.
pub fn push(ask: Ask<NoPath, Pushing, ChangeOrder>) -> Result<Created<PushedView>, Problem> {
    let ChangeOrder { zones, items, note, reference, not_before } = ask.body;
    let (first, all) = (zones.len(), zones.len() + items.len());
    let edits =
        zones.into_iter().map(|ZoneEdits { zone, edits }| ask::Ask::DnsChange { zone, edits });
    let changes = edits.chain(items).collect();
    let set = ChangeSet { changes, note, reference, not_before, dry_run: ask.query.dry_run };
    let pushed = push::push(&ask.manage, &ask.context, set).map_err(|error| {
        Problem::from(error).relocated(|pointer| Some(replaced(pointer, first, all)))
    })?;
    Ok(match pushed {
        Pushed::Order(order) => {
            let order = settled(*order)?;
            let at = format!("/v1/orders/{}", order.id);
            location(Reply::new(PushedView::Order(Box::new(order))), &at)
        }
        Pushed::Preview(preview) => Reply::new(PushedView::Preview(preview)),
    })
}

/// What a change set gave: the order it became, or with `dry_run` what it would do.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PushedView {
    Order(Box<OrderView>),
    Preview(Preview),
}

/// The place in the body of a place in the list of things asked for. With one thing the list is
/// left out of the pointer.
fn replaced(pointer: &str, zones: usize, all: usize) -> String {
    let (n, rest) = match pointer.strip_prefix("/items/") {
        Some(rest) => {
            let (n, rest) = rest.split_once('/').unwrap_or((rest, ""));
            (n.parse().unwrap_or(0), format!("/{rest}"))
        }
        None if all == 1 => (0, pointer.to_owned()),
        None => return pointer.to_owned(),
    };
    match n < zones {
        true => format!("/zones/{n}{rest}"),
        false => format!("/items/{}{rest}", n - zones),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_points_into_the_list_it_came_from() {
        assert_eq!(replaced("/items/1/edits/0", 2, 3), "/zones/1/edits/0");
        assert_eq!(replaced("/items/2/zone_file", 2, 3), "/items/0/zone_file");
        assert_eq!(replaced("/edits/0", 1, 1), "/zones/0/edits/0");
        assert_eq!(replaced("/zone", 0, 1), "/items/0/zone");
        assert_eq!(replaced("/note", 2, 2), "/note");
    }
}
