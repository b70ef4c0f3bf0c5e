//! Limits: everything people may make much of has one, with a name and a unit.
//!
//! Limits of texts are the same for all and stand here as constants; limits of numbers belong to an
//! organisation ([`Limits`]) and are set by whoever manages it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters in the name of an organisation, a user or a token.
pub const NAME_CHARS_MAX: usize = 200;
/// Characters in an e-mail address ([RFC 5321](https://www.rfc-editor.org/rfc/rfc5321) §4.5.3.1).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Characters in a note on a basket item or an order.
pub const NOTE_CHARS_MAX: usize = 1_000;
/// Characters in the comment of an approval or a rejection.
pub const COMMENT_CHARS_MAX: usize = 1_000;
/// Characters in a tag.
pub const TAG_CHARS_MAX: usize = 40;
/// Tags on one organisation.
pub const TAGS_MAX: usize = 20;
/// Characters in an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Seconds ahead that an order may be scheduled: a year.
pub const NOT_BEFORE_S_MAX: u64 = 366 * 86_400;
/// Grants in the update policy of one key.
pub const UPDATE_GRANTS_MAX: usize = 1_000;
/// Types in one grant.
pub const UPDATE_TYPES_MAX: usize = 64;
/// States in the history of one order.
pub const ORDER_STEPS_MAX: usize = 100;
/// Octets of one record's RDATA as text: all of 65 535 octets as `\DDD`, and a little.
pub const RDATA_TEXT_OCTETS_MAX: usize = 300_000;
/// Octets of a zone file in a request.
pub const ZONE_TEXT_OCTETS_MAX: usize = 64 << 20;
/// RRset edits in one call.
pub const EDITS_MAX: usize = 10_000;
/// Records in one edit.
pub const EDIT_RECORDS_MAX: usize = 4_096;
/// Rows of one page.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Zones granted to one user one by one.
pub const GRANTS_MAX: usize = 1_000;
/// Levels of organisations, the operator counted.
pub const ORG_DEPTH_MAX: usize = 8;
/// Seconds a token may live at most: ten years.
pub const TOKEN_LIFE_S_MAX: u64 = 10 * 366 * 86_400;
/// Entries in one access list.
pub const ACCESS_ENTRIES_MAX: usize = 200;
/// TSIG keys of one organisation.
pub const TSIG_KEYS_MAX: usize = 1_000;
/// Zones a TSIG key lists.
pub const TSIG_ZONES_MAX: usize = 1_000;
/// Seconds the secret before stays good when a TSIG key gets another: 90 days.
pub const TSIG_OVERLAP_S_MAX: usize = 90 * 86_400;
/// Largest TTL in seconds ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §8).
pub const TTL_S_MAX: u32 = 0x7fff_ffff;
/// TTL in seconds of a new RRset whose author named none.
pub const TTL_S_DEFAULT: u32 = 3_600;

/// More than a limit allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverLimit {
    /// The limit's name, its unit at the end.
    pub limit: &'static str,
    pub max: u64,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverLimit { limit, max } = self;
        write!(f, "limit {limit} is {max}: ask for less, or have it raised")
    }
}

impl std::error::Error for OverLimit {}

/// Checks a count against a limit.
///
/// # Errors
///
/// [`OverLimit`] when it is above.
pub fn at_most(limit: &'static str, max: usize, count: usize) -> Result<(), OverLimit> {
    match count <= max {
        true => Ok(()),
        false => Err(OverLimit { limit, max: max as u64 }),
    }
}

/// How much one organisation may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Zones.
    pub zones: u32,
    /// Records in one zone.
    pub records_per_zone: u32,
    /// Records one `$GENERATE` of a zone file may make.
    pub generate_records: u32,
    /// Items in one basket.
    pub basket_items: u32,
    /// Orders placed and not yet applied or ended.
    pub open_orders: u32,
    /// Users.
    pub users: u32,
    /// Tokens that are neither revoked nor expired.
    pub tokens: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            zones: 1_000,
            records_per_zone: 100_000,
            generate_records: 4_096,
            basket_items: 1_000,
            open_orders: 200,
            users: 10_000,
            tokens: 200,
        }
    }
}

impl Limits {
    /// What the operator's own organisation may have: as much as the machine holds.
    pub fn operator() -> Limits {
        Limits {
            zones: u32::MAX,
            records_per_zone: u32::MAX,
            generate_records: 16_777_216,
            basket_items: 10_000,
            open_orders: 10_000,
            users: 100_000,
            tokens: 10_000,
        }
    }

    /// Whether no limit here is above the same limit there.
    pub fn within(&self, other: &Limits) -> bool {
        self.pairs().iter().zip(other.pairs()).all(|((_, mine), (_, theirs))| *mine <= theirs)
    }

    /// Name and value of each.
    pub fn pairs(&self) -> [(&'static str, u32); 7] {
        [
            ("zones", self.zones),
            ("records_per_zone", self.records_per_zone),
            ("generate_records", self.generate_records),
            ("basket_items", self.basket_items),
            ("open_orders", self.open_orders),
            ("users", self.users),
            ("tokens", self.tokens),
        ]
    }
}

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadText {
    Empty { what: &'static str },
    TooLong { what: &'static str, chars_max: usize },
    Control { what: &'static str },
    NotAnAddress { what: &'static str },
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadText::Empty { what } => write!(f, "{what} is empty"),
            BadText::TooLong { what, chars_max } => {
                write!(f, "{what} is longer than {chars_max} characters")
            }
            BadText::Control { what } => write!(f, "{what} has control characters"),
            BadText::NotAnAddress { what } => write!(f, "{what} is not written as name@host"),
        }
    }
}

/// Checks a text of one line that must say something.
///
/// # Errors
///
/// The first thing wrong with it.
pub fn line(what: &'static str, text: &str, chars_max: usize) -> Result<(), BadText> {
    match text.trim().is_empty() {
        true => Err(BadText::Empty { what }),
        false if text.chars().any(char::is_control) => Err(BadText::Control { what }),
        false => bounded(what, text, chars_max),
    }
}

/// Checks a text that may be empty and have line ends.
///
/// # Errors
///
/// The first thing wrong with it.
pub fn note(what: &'static str, text: &str, chars_max: usize) -> Result<(), BadText> {
    match text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        true => Err(BadText::Control { what }),
        false => bounded(what, text, chars_max),
    }
}

/// Checks an e-mail address, no more than that mail could be sent there.
///
/// # Errors
///
/// The first thing wrong with it.
pub fn email(what: &'static str, text: &str) -> Result<(), BadText> {
    line(what, text, EMAIL_CHARS_MAX)?;
    match text.rsplit_once('@') {
        Some((local, host))
            if !local.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace) =>
        {
            Ok(())
        }
        _ => Err(BadText::NotAnAddress { what }),
    }
}

fn bounded(what: &'static str, text: &str, chars_max: usize) -> Result<(), BadText> {
    match text.chars().nth(chars_max) {
        Some(_) => Err(BadText::TooLong { what, chars_max }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_refused_with_what_is_wrong_with_it() {
        assert_eq!(line("name", "  ", 5), Err(BadText::Empty { what: "name" }));
        assert_eq!(line("name", "a\nb", 5), Err(BadText::Control { what: "name" }));
        assert_eq!(line("name", "äöüäöü", 5), Err(BadText::TooLong { what: "name", chars_max: 5 }));
        assert_eq!(line("name", "äöüäö", 5), Ok(()));
        assert_eq!(note("note", "a\nb", 5), Ok(()));
        assert!(email("email", "a@b").is_ok());
        for wrong in ["a", "@b", "a@", "a b@c"] {
            assert!(email("email", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_compare_one_by_one() {
        let (mine, theirs) = (Limits::default(), Limits::operator());
        assert!(mine.within(&theirs) && !theirs.within(&mine));
        let more_tokens = Limits { tokens: u32::MAX, ..mine.clone() };
        assert!(!more_tokens.within(&theirs));
    }
}
