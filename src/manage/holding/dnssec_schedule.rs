//! What is to come of the DNSSEC of zones, and when.

use serde::{Deserialize, Serialize};

use super::dnssec::{listed, second};
use super::zone as holding;
use crate::maintain::dnssec::{self, Life};
use crate::maintain::rows as zones;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::fault::Stop;
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::sign::rollover::{Due, Facts, What, When};
use crate::wire::Name;

/// Lives looked at to fill one page of the schedule.
const LIVES_PER_PAGE: usize = 10_000;

/// A step that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NextView {
    pub what: String,
    /// When, if that is a matter of time alone.
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
    /// What it waits for otherwise: `parent`, or `step` before it.
    pub waits_for: Option<String>,
}

/// A line of the schedule of many zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleLine {
    #[schema(value_type = String, example = "example.com.")]
    pub zone: Name,
    pub state: String,
    pub what: String,
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
    pub waits_for: Option<String>,
}

/// The words for a step.
fn words(what: &What) -> String {
    match what {
        What::MakeKeys => "make keys and sign".to_owned(),
        What::Publish(key) => format!("publish key {}", key.0),
        What::SignWith(keys) => format!("sign with {}", listed(keys)),
        What::Ask(keys) if keys.is_empty() => "ask the parent to delete the DS".to_owned(),
        What::Ask(keys) => format!("ask the parent for the DS of {}", listed(keys)),
        What::Parent(keys) if keys.is_empty() => {
            "every server of the parent shows no DS".to_owned()
        }
        What::Parent(keys) => {
            format!("every server of the parent shows the DS of {}", listed(keys))
        }
        What::Withdraw(key) => format!("withdraw key {}", key.0),
        What::Unsign => "take signatures and keys out of the zone".to_owned(),
    }
}

fn next(due: &Due) -> NextView {
    let (at, waits_for) = match due.when {
        When::At(at) => (Some(second(at)), None),
        When::Parent => (None, Some("parent".to_owned())),
        When::Later => (None, Some("step".to_owned())),
    };
    NextView { what: words(&due.what), at, waits_for }
}

/// How long after a CDS was withdrawn its parent may act on it, by the policy of the zone.
fn settle(policy: &dnssec::Policy) -> u32 {
    facts(policy).settle()
}

pub(super) fn facts(policy: &dnssec::Policy) -> Facts {
    Facts {
        dnskey_ttl: policy.signing.dnskey_ttl_s,
        zone_ttl: 0,
        lag: policy.propagation_s,
        parent_delay: policy.parent_delay_s,
        oldest_served: None,
        is_unfinished: false,
    }
}

pub(super) fn schedule_of(life: &Life, policy: &dnssec::Policy, now: Timestamp) -> Vec<NextView> {
    let dues = life.rollover.schedule(settle(policy), now.0 / 1_000_000);
    let mut steps: Vec<NextView> = dues.iter().map(next).collect();
    let lives = life.rollover.keys().iter().filter(|key| key.wanted && !key.foreign);
    let ends = lives.filter_map(|key| {
        let end = key.created + policy.lifetime_s(key.role)?;
        let what = format!("replace {} {}", key.role.word(), key.id.0);
        Some(NextView { what, at: Some(second(end)), waits_for: None })
    });
    if life.rollover.is_on() {
        steps.extend(ends);
    }
    steps
}

/// What is to come for all zones in reach; `after` is the id of the zone behind which to begin.
///
/// # Errors
///
/// [`Stop::Access`] without the right to see zones.
pub fn schedule(
    manage: &Manage,
    context: &Context,
    after: Option<u32>,
    limit: usize,
) -> Result<Page<ScheduleLine>, Stop> {
    context.may(Permission::ZoneView)?;
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let now = Timestamp::now();
    manage.store.read(|rows| {
        let lives = dnssec::lives(rows, after, LIVES_PER_PAGE)?;
        let full = lives.len() == LIVES_PER_PAGE;
        let (mut items, mut last) = (Vec::new(), None);
        for (id, life) in lives {
            if items.len() >= limit {
                return Ok(Page { items, next: last.map(|id: u32| id.to_string()) });
            }
            last = Some(id);
            let Some(zone) = zones::by_id(rows, id)? else { continue };
            let fetched = holding::fetch(rows, context, Permission::ZoneView, &zone.apex);
            if fetched.is_err() {
                continue;
            }
            let policy = dnssec::policy::find(rows, &zone.org, &life.policy)?.unwrap_or_default();
            let state = life.rollover.state().word();
            items.extend(schedule_of(&life, &policy, now).into_iter().map(|step| ScheduleLine {
                zone: zone.apex.clone(),
                state: state.to_owned(),
                what: step.what,
                at: step.at,
                waits_for: step.waits_for,
            }));
        }
        Ok(Page { items, next: last.filter(|_| full).map(|id| id.to_string()) })
    })
}
