//! Signing: from a zone, its keys, a policy and the time to the records that prove it.
//!
//! What a signer adds to a zone (keys and their announcements, signatures, denial) follows from the
//! records people put there, the [`Plan`] and the clock, and from nothing else: [`Signer`] says what
//! a zone must have at a name, and makes only what is missing, outdated or about to expire.
//!
//! Does not: know where zones or keys are kept, what time it is, or when a plan changes.

mod authority;
mod circle;
#[cfg(test)]
mod counted;
mod denial;
pub mod key;
pub mod keyfile;
pub mod made;
pub mod plan;
mod remembered;
pub mod rollover;
pub mod rrsig;
mod signer;
#[cfg(test)]
mod tests;
mod touched;
pub mod vouch;
mod whole;
pub mod zonemd;

pub use key::{Algorithm, KeyError, SigningKey};
pub use plan::{Denial, KeyUse, Plan, PlanError, Policy};
pub use rollover::{Rollover, State};
pub use signer::{SWEEP_S, SignError, Signer, Spread, is_made_at_apex};
pub use touched::Due;
pub use whole::Signed;
