//! A zone file looked at before anybody asks for it: every fault, and every rule it breaks.

use serde::{Deserialize, Serialize};

use crate::manage::Manage;
use crate::manage::access::{self, Context, Permission};
use crate::manage::fault::Stop;
use crate::manage::limits::{self, TTL_S_DEFAULT, ZONE_TEXT_OCTETS_MAX};
use crate::wire::Name;
use crate::zone::text;

/// One fault of a zone file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FaultView {
    /// From 1.
    pub line: u32,
    /// Octets from 1.
    pub column: u32,
    /// `error` keeps the file out; `warning` does not.
    pub severity: Severity,
    /// The rule, where one is broken.
    pub rule: Option<String>,
    /// The owner a rule is broken at.
    pub name: Option<String>,
    /// What is wrong, and the way out.
    pub text: String,
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

impl FaultView {
    /// Whether it keeps the file out.
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// What is wrong with a zone file, and what it holds if nothing keeps it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    pub records: u64,
    pub rrsets: u64,
    pub serial: Option<u32>,
    /// Whether it was signed elsewhere.
    pub presigned: bool,
    pub faults: Vec<FaultView>,
}

/// Reads `octets` as the zone file of `apex` within the limits of the asker's organisation, and
/// checks the rules of zones. Nothing is kept.
///
/// # Errors
///
/// [`Stop::Access`] without the right to see zones; [`Stop::Limit`] for a file that is too large.
pub fn check(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    octets: &[u8],
) -> Result<Checked, Stop> {
    let org =
        manage.store.read(|rows| access::org(rows, context, Permission::ZoneView, context.org))?;
    limits::at_most("zone_text_octets", ZONE_TEXT_OCTETS_MAX, octets.len())?;
    let options = text::Options {
        origin: Some(apex.clone()),
        apex: Some(apex.clone()),
        default_ttl: Some(TTL_S_DEFAULT),
        includes: None,
        limits: text::Limits {
            records: org.limits.records_per_zone as usize,
            generate: org.limits.generate_records as usize,
        },
        hands: 1,
        rules: true,
    };
    Ok(match text::parse(octets, options) {
        Ok(parsed) => Checked {
            records: parsed.records as u64,
            rrsets: parsed.rrsets as u64,
            serial: parsed.serial.map(|serial| serial.0),
            presigned: parsed.signed,
            faults: parsed.warnings.iter().map(shown).collect(),
        },
        Err(faults) => Checked { faults: faults.iter().map(shown).collect(), ..Checked::default() },
    })
}

fn shown(fault: &text::Fault) -> FaultView {
    let severity = match fault.severity {
        text::Severity::Error => Severity::Error,
        text::Severity::Warning => Severity::Warning,
    };
    FaultView {
        line: fault.line,
        column: fault.column,
        severity,
        rule: fault.breaks.as_ref().map(|(rule, _)| rule.word().to_owned()),
        name: fault.breaks.as_ref().map(|(_, owner)| owner.to_string()),
        text: fault.what.clone(),
    }
}
