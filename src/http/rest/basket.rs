//! One's own basket.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, Created, Done, NoPath, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::change::ask;
use crate::manage::change::basket::{self, BasketChange, BasketView};
use crate::manage::id::ItemId;

#[derive(Deserialize, IntoParams)]
pub struct ItemPath {
    /// The id of the item.
    #[param(value_type = String)]
    item: ItemId,
}

/// Several things asked for: all go into the basket, or none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asks {
    pub items: Vec<ask::Ask>,
}

pub fn get(ask: Ask) -> Result<Reply<BasketView>, Problem> {
    let basket = basket::list(&ask.manage, &ask.context)?;
    let tag = tag(&basket);
    Ok(Reply::new(basket).tagged(&tag))
}

/// The version of a basket.
pub(super) fn tag(basket: &BasketView) -> String {
    format!("\"{}\"", basket.digest)
}

pub fn add(ask: Ask<NoPath, NoQuery, ask::Ask>) -> Result<Created<BasketChange>, Problem> {
    Ok(Reply::new(basket::add(&ask.manage, &ask.context, vec![ask.body])?))
}

pub fn add_all(ask: Ask<NoPath, NoQuery, Asks>) -> Result<Created<BasketChange>, Problem> {
    Ok(Reply::new(basket::add(&ask.manage, &ask.context, ask.body.items)?))
}

pub fn remove(ask: Ask<ItemPath>) -> Result<Done, Problem> {
    basket::remove(&ask.manage, &ask.context, ask.path.item)?;
    Ok(Done)
}

pub fn clear(ask: Ask) -> Result<Done, Problem> {
    basket::clear(&ask.manage, &ask.context)?;
    Ok(Done)
}
