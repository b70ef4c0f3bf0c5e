//! TSIG keys as somebody's: made, listed, changed and ended by those who may, each with its event.
//!
//! A key is an organisation's. It is good for the zones of that organisation and of those below it,
//! or for those of them it lists. Its name is all a DNS message tells, so names are unique on the
//! server. What a key may do is said by [access lists](super::acl) and update policies, not here.
//!
//! Promises: a secret is shown once, when it is made; it is never in an event, a listing or a log.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::maintain::access::{self as lists, Naming};
use crate::maintain::tsig::{self as keys, Kept, TsigError};
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::idempotency;
use crate::manage::limits::{
    PAGE_ROWS_MAX, TSIG_KEYS_MAX, TSIG_OVERLAP_S_MAX, TSIG_ZONES_MAX, at_most,
};
use crate::manage::page::Page;
use crate::manage::people::organisation::ORGS;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Tx};
use crate::wire::tsig::Algorithm;
use crate::wire::{Name, TsigKey};

/// Seconds the secret before stays good when nobody says otherwise: a week.
const OVERLAP_S: u64 = 7 * 86_400;

/// Lists and servers named to whom would delete a key that they name.
const LISTS_SHOWN_MAX: usize = 10;

/// A TSIG key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TsigKeyView {
    #[schema(value_type = String, example = "secondary.example.")]
    pub name: Name,
    #[schema(value_type = String, example = "hmac-sha256")]
    pub algorithm: String,
    pub org: OrgId,
    /// The zones it may be used for; all its organisation reaches if there are none.
    #[schema(value_type = Vec<String>)]
    pub zones: Vec<Name>,
    /// Octets of the shortest MAC that is taken; none is the whole.
    pub mac_octets: Option<u8>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub rotated_at: Option<Timestamp>,
    /// Until when the secret before is good too.
    #[schema(value_type = Option<String>)]
    pub previous_until: Option<Timestamp>,
}

/// What is asked of a new key.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTsigKey {
    #[schema(value_type = String, example = "secondary.example.")]
    pub name: Name,
    /// `hmac-sha1`, `hmac-sha224`, `hmac-sha256`, `hmac-sha384` or `hmac-sha512`; hmac-sha256 if left out.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// In base64; made at random if left out.
    #[serde(default)]
    pub secret: Option<String>,
    /// Whose it is; your own organisation's if left out.
    #[serde(default)]
    pub org: Option<OrgId>,
    /// The zones it may be used for; all its organisation reaches if left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub zones: Vec<Name>,
    /// Octets of the shortest MAC that is taken; the whole if left out.
    #[serde(default)]
    pub mac_octets: Option<u8>,
}

/// How a secret is changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TsigRotation {
    /// The new one in base64; made at random if left out.
    pub secret: Option<String>,
    /// Seconds the one before stays good; a week if left out, none with 0.
    pub overlap_s: Option<u64>,
}

/// A key with its secret, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FreshTsigKey {
    pub key: TsigKeyView,
    /// In base64. None when the answer is repeated for an idempotency key: it was shown before.
    pub secret: Option<String>,
}

/// Why a key was not made or changed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TsigKeyError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// There is a key of this name.
    NameTaken(Name),
    /// Lists of who may transfer or ask, primaries or secondaries name the key.
    Named {
        name: Name,
        lists: Vec<String>,
    },
    /// Secrets cannot be sealed, or there is no randomness. The operator's to repair.
    NoSecret(String),
}

stops!(TsigKeyError);

impl fmt::Display for TsigKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TsigKeyError::Stop(stop) => stop.fmt(f),
            TsigKeyError::Invalid(problems) => fault::write_all(problems, f),
            TsigKeyError::NameTaken(name) => {
                write!(f, "there is a TSIG key {name} on this server: take another name")
            }
            TsigKeyError::Named { name, lists } => {
                let shown = lists.iter().take(LISTS_SHOWN_MAX).map(String::as_str);
                let shown: Vec<&str> = shown.collect();
                write!(f, "TSIG key {name} is named by {}", shown.join(", "))?;
                match lists.len() - shown.len() {
                    0 => {}
                    more => write!(f, " and {more} more")?,
                }
                f.write_str(": take it out there first; to end its secret at once, rotate it with an overlap of 0")
            }
            TsigKeyError::NoSecret(why) => write!(f, "a secret cannot be kept: {why}"),
        }
    }
}

impl Refused for TsigKeyError {
    fn kind(&self) -> Kind {
        match self {
            TsigKeyError::Stop(stop) => stop.kind(),
            TsigKeyError::Invalid(_) => Kind::Invalid,
            TsigKeyError::NameTaken(_) | TsigKeyError::Named { .. } => Kind::Conflict,
            TsigKeyError::NoSecret(_) => Kind::Closed,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            TsigKeyError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

impl From<TsigError> for TsigKeyError {
    fn from(error: TsigError) -> TsigKeyError {
        match error {
            TsigError::Key(error) => {
                TsigKeyError::Invalid(vec![Problem::at("secret", "tsig", error)])
            }
            other => TsigKeyError::NoSecret(other.to_string()),
        }
    }
}

/// Makes a key.
///
/// # Errors
///
/// [`TsigKeyError`]; nothing happened.
pub fn create(
    manage: &Manage,
    context: &Context,
    new: NewTsigKey,
) -> Result<FreshTsigKey, TsigKeyError> {
    let org = new.org.unwrap_or(context.org);
    manage.store.read(|rows| access::org(rows, context, Permission::TsigManage, org))?;
    let key = key_of(&new)?;
    let NewTsigKey { zones, mac_octets, .. } = new;
    at_most("tsig_zones", TSIG_ZONES_MAX, zones.len())?;
    let kept = manage.maintain.seal_tsig(&key, mac_octets, org.to_string(), zones)?;
    let mut shown = None;
    let made = manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            access::org(tx, context, Permission::TsigManage, org)?;
            let count = keys::of(tx, &org.to_string(), None, TSIG_KEYS_MAX)?.len();
            at_most("tsig_keys", TSIG_KEYS_MAX, count + 1)?;
            if keys::get(tx, &kept.name)?.is_some() {
                return Err(TsigKeyError::NameTaken(kept.name.clone()));
            }
            keys::put(tx, &kept)?;
            record(tx, context, Happened::TsigKeyCreated, None, Some(&kept))?;
            shown = Some(key.secret_base64());
            Ok(view(&kept)?)
        })
    })?;
    manage.maintain.load_keyring();
    Ok(FreshTsigKey { key: made, secret: shown })
}

fn key_of(new: &NewTsigKey) -> Result<TsigKey, TsigKeyError> {
    let text = new.algorithm.as_deref().unwrap_or(Algorithm::HmacSha256.text());
    let Some(algorithm) = Algorithm::parse(text) else {
        let known = Algorithm::ALL.map(Algorithm::text).join(", ");
        let text = format!("algorithm {text} is none of {known}");
        return Err(TsigKeyError::Invalid(vec![Problem::at("algorithm", "tsig", text)]));
    };
    if new.name.is_root() {
        let text = "a key needs a name other than the root";
        return Err(TsigKeyError::Invalid(vec![Problem::at("name", "tsig", text)]));
    }
    secret_of(&new.name, algorithm, new.secret.as_deref())
}

/// The key with this secret, or one made at random: as long as the hash, as RFC 8945 §8 advises.
fn secret_of(
    name: &Name,
    algorithm: Algorithm,
    secret: Option<&str>,
) -> Result<TsigKey, TsigKeyError> {
    let key = match secret {
        Some(text) => TsigKey::from_base64(name.clone(), algorithm, text),
        None => {
            let mut octets = vec![0; algorithm.mac_octets()];
            let filled = SystemRandom::new().fill(&mut octets);
            filled.map_err(|_| TsigKeyError::NoSecret("no random octets".into()))?;
            TsigKey::new(name.clone(), algorithm, &octets)
        }
    };
    key.map_err(|error| TsigError::Key(error).into())
}

/// Lists the keys of an organisation.
///
/// # Errors
///
/// [`Stop::Access`] without the right, or for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    after: Option<&Name>,
    limit: usize,
) -> Result<Page<TsigKeyView>, Stop> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        access::org(rows, context, Permission::TsigManage, org)?;
        let found = keys::of(rows, &org.to_string(), after, limit)?;
        let next = (found.len() == limit).then(|| found.last().map(|key| key.name.to_string()));
        let items = found.iter().map(view).collect::<Result<_, _>>()?;
        Ok(Page { items, next: next.flatten() })
    })
}

/// Shows a key.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right.
pub fn get(manage: &Manage, context: &Context, name: &Name) -> Result<TsigKeyView, Stop> {
    manage.store.read(|rows| view(&fetch(rows, context, name)?))
}

/// Gives a key another secret; the one before stays good for a while.
///
/// # Errors
///
/// [`TsigKeyError`]; nothing happened.
pub fn rotate(
    manage: &Manage,
    context: &Context,
    name: &Name,
    how: &TsigRotation,
) -> Result<FreshTsigKey, TsigKeyError> {
    let overlap_s = how.overlap_s.unwrap_or(OVERLAP_S);
    at_most("tsig_overlap_s", TSIG_OVERLAP_S_MAX, overlap_s.try_into().unwrap_or(usize::MAX))?;
    let mut shown = None;
    let changed = manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let before = fetch(tx, context, name)?;
            let key = secret_of(&before.name, before.algorithm, how.secret.as_deref())?;
            let after = manage.maintain.reseal_tsig(&before, &key, overlap_s)?;
            keys::put(tx, &after)?;
            record(tx, context, Happened::TsigKeyRotated, Some(&before), Some(&after))?;
            shown = Some(key.secret_base64());
            Ok::<_, TsigKeyError>(view(&after)?)
        })
    })?;
    manage.maintain.load_keyring();
    Ok(FreshTsigKey { key: changed, secret: shown })
}

/// Ends a key: what is signed with it is refused from now on. One that lists name stays, for by its
/// name whoever makes a key of that name would be let in; so does one that a primary or secondary needs.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right; [`TsigKeyError::Named`].
pub fn delete(manage: &Manage, context: &Context, name: &Name) -> Result<(), TsigKeyError> {
    manage.transact(|tx| {
        let before = fetch(tx, context, name)?;
        let lists = naming(tx, &before.name)?;
        if !lists.is_empty() {
            return Err(TsigKeyError::Named { name: before.name, lists });
        }
        keys::delete(tx, &before)?;
        Ok(record(tx, context, Happened::TsigKeyDeleted, Some(&before), None)?)
    })?;
    manage.maintain.load_keyring();
    Ok(())
}

/// The entries of servers that name a TSIG key which is not there, each with its place: nothing could be
/// signed for them. Whose key it is does not count, for who looks after the server makes such entries.
pub(super) fn missing<'a>(
    rows: &impl Rows,
    named: impl Iterator<Item = (String, &'a Name)>,
) -> Result<Vec<Problem>, Stop> {
    let mut problems = Vec::new();
    for (at, key) in named {
        if keys::get(rows, key)?.is_none() {
            let text = format!("there is no TSIG key {key}: make it first (`tsig create`)");
            problems.push(Problem::at(at, "tsig", text));
        }
    }
    Ok(problems)
}

/// What names a key, each as it is spoken of.
fn naming(rows: &impl Rows, key: &Name) -> Result<Vec<String>, Stop> {
    let found = lists::naming(rows, key)?;
    let spoken = found.into_iter().map(|naming| match naming {
        Naming::Zone(apex) => format!("zone {apex}"),
        Naming::Holder(org) => {
            let org = org.parse::<OrgId>().ok().and_then(|org| rows.get(&ORGS, &org).ok()?);
            format!("organisation {}", org.map_or_else(String::new, |org| org.handle))
        }
        Naming::Group { catalog, group } => format!("group {group} of catalog {catalog}"),
        Naming::Primaries(apex) => format!("the primaries of {apex}"),
        Naming::Secondary(name) => format!("secondary {name}"),
    });
    Ok(spoken.collect())
}

fn fetch(rows: &impl Rows, context: &Context, name: &Name) -> Result<Kept, Stop> {
    let kept = keys::get(rows, name)?.ok_or(NoAccess::NotFound)?;
    access::org(rows, context, Permission::TsigManage, holder(&kept)?)?;
    Ok(kept)
}

fn holder(kept: &Kept) -> Result<OrgId, Stop> {
    let fault = |_| Stop::Store(format!("TSIG key {} has no holder that is an id", kept.name));
    kept.org.parse().map_err(fault)
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    before: Option<&Kept>,
    after: Option<&Kept>,
) -> Result<(), Stop> {
    let Some(kept) = before.or(after) else { return Ok(()) };
    let touched = vec![Touched::of(Object::TsigKey(kept.name.clone()), before, after)];
    let news = News { kind, order: None, orgs: vec![holder(kept)?], touched };
    event::record(tx, context, news).map(drop).map_err(|error: RowError| error.into())
}

fn view(kept: &Kept) -> Result<TsigKeyView, Stop> {
    Ok(TsigKeyView {
        name: kept.name.clone(),
        algorithm: kept.algorithm.text().to_owned(),
        org: holder(kept)?,
        zones: kept.zones.clone(),
        mac_octets: kept.mac_octets,
        created_at: Timestamp(kept.created_us),
        rotated_at: kept.rotated_us.map(Timestamp),
        previous_until: kept.previous_until_us().map(Timestamp),
    })
}
