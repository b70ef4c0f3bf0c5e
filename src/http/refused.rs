//! What `manage` refuses, as a problem: the one place where its kinds become statuses.

use super::problem::{Fault, Kind, Problem};
use crate::manage::access::NoAccess;
use crate::manage::change::basket::BasketError;
use crate::manage::change::order::OrderError;
use crate::manage::change::policy::PolicyError;
use crate::manage::fault::{self, Refused, Stop};
use crate::manage::holding::acl::AccessError;
use crate::manage::holding::catalog::CatalogError;
use crate::manage::holding::clock::ClockError;
use crate::manage::holding::dnssec::DnssecError;
use crate::manage::holding::primaries::PrimariesError;
use crate::manage::holding::secondary::SecondaryError;
use crate::manage::holding::tsig::TsigKeyError;
use crate::manage::holding::waiver::WaiverError;
use crate::manage::people::organisation::OrgError;
use crate::manage::people::token::TokenError;
use crate::manage::people::user::UserError;

impl From<NoAccess> for Problem {
    fn from(why: NoAccess) -> Problem {
        match why {
            NoAccess::NotFound => Problem::not_found(),
            other => Problem::new(Kind::Forbidden, other.to_string()),
        }
    }
}

impl From<Stop> for Problem {
    fn from(stop: Stop) -> Problem {
        match stop {
            Stop::Access(why) => why.into(),
            Stop::KeyReused => Problem::new(Kind::KeyReused, stop.to_string()),
            Stop::Limit(over) => {
                Problem::new(Kind::OverLimit, over.to_string()).with_limit(over.limit, over.max)
            }
            Stop::Store(_) => Problem::new(Kind::Unavailable, stop.to_string()).retry_after(30),
        }
    }
}

macro_rules! refusals {
    ($($error:ident)*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Problem {
                match error {
                    $error::Stop(stop) => stop.into(),
                    other => refused(&other),
                }
            }
        }
    )*};
}

refusals!(AccessError BasketError CatalogError ClockError DnssecError OrderError OrgError PolicyError PrimariesError SecondaryError TokenError TsigKeyError UserError WaiverError);

/// A refusal, its broken rules listed.
pub fn refused(refusal: &impl Refused) -> Problem {
    let kind = match refusal.kind() {
        fault::Kind::NotFound => return Problem::not_found(),
        fault::Kind::Forbidden => Kind::Forbidden,
        fault::Kind::Conflict => Kind::Conflict,
        fault::Kind::Invalid => Kind::Invalid,
        fault::Kind::Closed => Kind::Unavailable,
    };
    let errors = refusal.problems().iter().map(fault_of).collect();
    Problem::new(kind, refusal.to_string()).with_errors(errors)
}

/// One broken rule with its place as JSON Pointer.
pub fn fault_of(problem: &fault::Problem) -> Fault {
    let (at, line, column) = in_file(&problem.at);
    let (pointer, index) = place(at);
    let mut rrset = serde_json::Map::new();
    let facts = [("zone", &problem.zone), ("name", &problem.owner), ("type", &problem.rtype)];
    for (name, value) in facts {
        rrset.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
    }
    Fault {
        pointer: Some(pointer),
        index,
        line,
        column,
        rule: Some(problem.rule.clone()),
        detail: problem.text.clone(),
        data: (!rrset.is_empty()).then_some(rrset.into()),
        ..Fault::default()
    }
}

/// `items[0].zone_file:12:3` as the place of the file, the line and the column.
fn in_file(at: &str) -> (&str, Option<usize>, Option<usize>) {
    let mut parts = at.splitn(3, ':');
    let at = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    (at, number(), number())
}

/// `edits[3].records[0]` as `/edits/3/records/0`, and the first index in it.
fn place(at: &str) -> (String, Option<usize>) {
    let mut pointer = String::new();
    let mut index = None;
    for step in at.split(['.', '[']).map(|step| step.trim_end_matches(']')) {
        if !step.is_empty() {
            pointer.push('/');
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
            index = index.or_else(|| step.parse().ok());
        }
    }
    (pointer, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_request_becomes_a_pointer() {
        assert_eq!(place("edits[3].records[0]"), ("/edits/3/records/0".into(), Some(3)));
        assert_eq!(place("name"), ("/name".into(), None));
        assert_eq!(place(""), (String::new(), None));
        assert_eq!(in_file("items[0].zone_file:12:3"), ("items[0].zone_file", Some(12), Some(3)));
        assert_eq!(in_file("name"), ("name", None, None));
    }
}
