//! What became of a change somebody asked for.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::call::Reply;
use crate::http::problem::{Fault, Kind, Problem};
use crate::http::refused::fault_of;
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::change::apply::ConflictView;
use crate::manage::change::ask;
use crate::manage::change::basket::BasketChange;
use crate::manage::change::push::{self, ChangeSet, Pushed, Submitted};
use crate::manage::change::receipt::OrderView;
use crate::manage::change::state::State;

/// What became of a change: it waits in the basket, or was applied, as the organisation has chosen.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubmittedView {
    Basket(BasketChange),
    Order(Box<OrderView>),
}

/// How a change is handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the organisations that hold its zones have chosen.
    Submit,
    /// Applied at once, as approved elsewhere.
    Push,
}

impl Way {
    /// The way a query names.
    pub fn pushed(push: bool) -> Way {
        if push { Way::Push } else { Way::Submit }
    }
}

/// Hands a change in.
pub fn submit(
    manage: &Manage,
    context: &Context,
    asks: Vec<ask::Ask>,
    note: Option<String>,
    way: Way,
) -> Result<Reply<SubmittedView>, Problem> {
    let order = match way {
        Way::Submit => match push::submit(manage, context, asks, note)? {
            Submitted::Basket(change) => return Ok(Reply::new(SubmittedView::Basket(*change))),
            Submitted::Order(order) => order,
        },
        Way::Push => {
            let set = ChangeSet { changes: asks, note, ..ChangeSet::default() };
            match push::push(manage, context, set)? {
                Pushed::Order(order) => order,
                Pushed::Preview(_) => return Err(Problem::new(Kind::Unexpected, "only tried")),
            }
        }
    };
    Ok(Reply::new(SubmittedView::Order(Box::new(settled(*order)?))))
}

/// An order that came to something; one of which nothing was applied is a problem that carries it.
///
/// # Errors
///
/// [`Kind::Conflict`] with the three sides of each, or [`Kind::Invalid`] with every broken rule.
pub fn settled(order: OrderView) -> Result<OrderView, Problem> {
    let (kind, errors, detail) = match order.state {
        State::Conflict => {
            let errors = order.conflicts.iter().map(conflict).collect();
            (Kind::Conflict, errors, "what it is based on was changed since its author saw it")
        }
        State::Failed => {
            let errors = order.problems.iter().map(fault_of).collect();
            (Kind::Invalid, errors, "it breaks rules of the zones as they are now")
        }
        _ => return Ok(order),
    };
    let detail = format!("order {}: {detail}; nothing was applied", order.number);
    Err(Problem::new(kind, detail).with_errors(errors).with_member("order", &order))
}

/// One conflict, its three sides as data.
fn conflict(conflict: &ConflictView) -> Fault {
    Fault {
        rule: Some("base".into()),
        detail: conflict.text.clone(),
        data: serde_json::to_value(conflict).ok(),
        ..Fault::default()
    }
}
