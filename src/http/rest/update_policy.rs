//! What a TSIG key may change by dynamic updates.

use crate::http::call::{Ask, Done, NoQuery, Reply};
use crate::http::problem::Problem;
use crate::manage::change::policy::{self, PolicyAsk};

use super::tsig::TsigPath;

pub fn get(ask: Ask<TsigPath>) -> Result<Reply<PolicyAsk>, Problem> {
    Ok(Reply::new(policy::get(&ask.manage, &ask.context, &ask.path.key)?))
}

pub fn put(ask: Ask<TsigPath, NoQuery, PolicyAsk>) -> Result<Reply<PolicyAsk>, Problem> {
    Ok(Reply::new(policy::set(&ask.manage, &ask.context, &ask.path.key, ask.body)?))
}

pub fn delete(ask: Ask<TsigPath>) -> Result<Done, Problem> {
    policy::delete(&ask.manage, &ask.context, &ask.path.key)?;
    Ok(Done)
}
