//! The versions of a zone: when it changed, why, and what.

use serde::{Deserialize, Serialize};

use super::zone;
use crate::maintain::journal;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::change::ask;
use crate::manage::fault::Stop;
use crate::manage::id::OrderId;
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::wire::{Name, Type};
use crate::zone::packed;

/// Records shown of one version's difference; an import may have changed a million.
const RECORDS_SHOWN_MAX: usize = 1_000;

/// One version of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VersionView {
    /// Counts the versions, from 1.
    pub version: u64,
    pub serial_from: u32,
    pub serial_to: u32,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The order that made it; none when it came by another way.
    pub order: Option<OrderId>,
    /// What made it, where no order did.
    pub cause: Option<String>,
    /// Records that went; the SOA is left out.
    pub removed: Vec<RecordLine>,
    /// Records that came; the SOA is left out.
    pub added: Vec<RecordLine>,
    /// Whether more changed than is shown.
    pub more: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordLine {
    pub name: String,
    #[serde(rename = "type")]
    pub rtype: String,
    /// Seconds.
    pub ttl: u32,
    /// RDATA as in a zone file.
    pub data: String,
}

/// Lists the versions of a zone that its journal still holds, the newest first, from behind `after`.
///
/// # Errors
///
/// [`Stop::Access`] when the zone is not in reach; [`Stop::Store`] when it cannot be read.
pub fn list(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    after: Option<u64>,
    limit: usize,
) -> Result<Page<VersionView>, Stop> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        let mut found = journal::versions(rows, &held.zone, after, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.version.to_string());
        Ok(Page { items: found.into_iter().map(view).collect(), next })
    })
}

fn view(version: journal::Version) -> VersionView {
    let journal::Version { version, at_us, cause, step } = version;
    let order = cause.strip_prefix("order ").and_then(|id| id.parse().ok());
    let (removed, cut_removed) = lines(&step.dels);
    let (added, cut_added) = lines(&step.adds);
    VersionView {
        version,
        serial_from: step.from.0,
        serial_to: step.to.0,
        at: Timestamp(at_us),
        cause: Some(cause).filter(|_| order.is_none()),
        order,
        removed,
        added,
        more: cut_removed || cut_added,
    }
}

/// The first records of packed nodes, and whether there are more.
fn lines(packed: &[u8]) -> (Vec<RecordLine>, bool) {
    let mut lines = Vec::new();
    for node in packed::nodes(packed) {
        let name = node.name().to_string();
        for set in node.rrsets().filter(|set| set.rtype != Type::SOA) {
            for rdata in set.rdatas() {
                if lines.len() == RECORDS_SHOWN_MAX {
                    return (lines, true);
                }
                let (rtype, data) = (set.rtype.to_string(), ask::text(set.rtype, rdata));
                lines.push(RecordLine { name: name.clone(), rtype, ttl: set.ttl, data });
            }
        }
    }
    (lines, false)
}
