//! API tokens: secrets that act for a user, with no more rights than the user has.
//!
//! A secret is 256 random bits behind a prefix people recognise it by; it is shown once and kept as
//! its SHA-256, which is enough for a secret nobody can guess. Rights are worked out at each use:
//! a demoted user demotes their tokens, a closed account closes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::organisation::ORGS;
use super::user::{self, USERS, User};
use crate::manage::Manage;
use crate::manage::access::{self, Actor, Context, NoAccess, Permission, Permissions, Role};
use crate::manage::event::{self, Digest, Kind as Happened, News, Object, Touched, sha256};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::{OrgId, TokenId, UserId};
use crate::manage::idempotency;
use crate::manage::limits::{self, NAME_CHARS_MAX, PAGE_ROWS_MAX, TOKEN_LIFE_S_MAX};
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Table, Tx};

const TOKENS: Table<TokenId, Token> = Table::new("tokens", *b"tk");
/// Tokens by the SHA-256 of their secret.
const TOKEN_HASHES: Table<Digest, TokenId> = Table::new("token_hashes", *b"th");
/// The tokens of an organisation's users.
const TOKENS_OF: Table<(OrgId, TokenId), ()> = Table::new("tokens_of", *b"to");
/// When a token was last used, apart from the token: it changes without anybody's doing.
const TOKENS_USED: Table<TokenId, Timestamp> = Table::new("tokens_used", *b"tu");

/// What every secret begins with.
pub const SECRET_PREFIX: &str = "npt_";
/// Random octets of a secret.
const SECRET_OCTETS: usize = 32;
/// Characters of a secret that are kept and shown to recognise it by.
const SHOWN_CHARS: usize = 10;
/// Seconds between two notes of a token's use: each note is a write.
const USED_EVERY_S: u64 = 300;

/// One token. Its secret is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub user: UserId,
    pub org: OrgId,
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    pub permissions: Permissions,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// One token, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenView {
    pub id: TokenId,
    pub user: UserId,
    pub org: OrgId,
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    pub permissions: Vec<Permission>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Timestamp>,
    /// To five minutes.
    #[schema(value_type = Option<String>)]
    pub last_used_at: Option<Timestamp>,
}

/// What is asked of a new token.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    /// The user it acts for; the asker if left out.
    pub user: Option<UserId>,
    /// What it may; all the user may if left out.
    pub permissions: Option<Vec<Permission>>,
    /// What it may, as a role; at most what the user may.
    pub role: Option<Role>,
    #[schema(value_type = Option<String>, example = "2027-01-31T00:00:00Z")]
    pub expires_at: Option<Timestamp>,
}

/// A new token with its secret, which is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FreshToken {
    pub token: TokenView,
    /// None when the answer is repeated for an idempotency key: it was shown before.
    pub secret: Option<String>,
}

/// Why a token was not created. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// A permission the user or the asker does not have.
    Above(Vec<Permission>),
    /// The machine gave no random octets. The operator's to repair.
    NoRandomness,
}

stops!(TokenError);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Stop(stop) => stop.fmt(f),
            TokenError::Invalid(problems) => fault::write_all(problems, f),
            TokenError::Above(permissions) => {
                f.write_str("a token may not have what its user or its maker has not:")?;
                permissions.iter().try_for_each(|permission| write!(f, " {permission}"))
            }
            TokenError::NoRandomness => f.write_str("the machine gives no random octets"),
        }
    }
}

impl Refused for TokenError {
    fn kind(&self) -> Kind {
        match self {
            TokenError::Stop(stop) => stop.kind(),
            TokenError::Invalid(_) => Kind::Invalid,
            TokenError::Above(_) => Kind::Forbidden,
            TokenError::NoRandomness => Kind::Closed,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            TokenError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// Creates a token for oneself, or with the right for another user in reach.
///
/// # Errors
///
/// [`TokenError`]; nothing happened.
pub fn create(manage: &Manage, context: &Context, new: NewToken) -> Result<FreshToken, TokenError> {
    let fresh = secret()?;
    let mut shown = None;
    let token = manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let user = owner(tx, context, &new)?;
            let token = checked(tx, context, &user, &new, &fresh)?;
            put_new(tx, &token, &fresh)?;
            record(tx, context, Happened::TokenCreated, None, &token)?;
            shown = Some(fresh.clone());
            Ok::<_, TokenError>(view(tx, token)?)
        })
    })?;
    Ok(FreshToken { token, secret: shown })
}

/// A new secret.
///
/// # Errors
///
/// [`TokenError::NoRandomness`].
pub(in crate::manage) fn secret() -> Result<String, TokenError> {
    let mut octets = [0; SECRET_OCTETS];
    SystemRandom::new().fill(&mut octets).map_err(|_| TokenError::NoRandomness)?;
    Ok(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(octets)))
}

fn owner(rows: &impl Rows, context: &Context, new: &NewToken) -> Result<User, TokenError> {
    let id = match (new.user, context.actor) {
        (Some(id), _) => id,
        (None, Actor::User { user, .. }) => user,
        (None, Actor::System) => user::a_superuser(rows, context.org)?.ok_or(NoAccess::NotFound)?,
    };
    let user = rows.get(&USERS, &id)?.ok_or(NoAccess::NotFound)?;
    match context.actor.user() == Some(id) {
        true => context.may(Permission::TokenOwn)?,
        false => drop(access::org(rows, context, Permission::TokenManage, user.org)?),
    }
    Ok(user)
}

fn checked(
    rows: &impl Rows,
    context: &Context,
    user: &User,
    new: &NewToken,
    secret: &str,
) -> Result<Token, TokenError> {
    let org = rows.get(&ORGS, &user.org)?.ok_or(NoAccess::NotFound)?;
    let theirs = Permissions::of(user.role.within(org.kind));
    let bound = theirs.and(context.permissions);
    let wanted: Option<Permissions> =
        new.permissions.as_ref().map(|list| list.iter().copied().collect());
    let role = new.role.map(Permissions::of);
    let permissions = match (wanted, role) {
        (Some(wanted), role) => wanted.and(role.unwrap_or(wanted)),
        (None, Some(role)) => role,
        (None, None) => bound,
    };
    if !permissions.within(bound) {
        return Err(TokenError::Above(permissions.iter().filter(|p| !bound.has(*p)).collect()));
    }
    let now = Timestamp::now();
    let name = limits::line("name", &new.name, NAME_CHARS_MAX).err();
    let mut problems: Vec<Problem> =
        name.into_iter().map(|why| Problem::at("name", "token", why)).collect();
    if let Some(at) = new.expires_at.filter(|at| *at <= now || *at > now.plus_s(TOKEN_LIFE_S_MAX)) {
        let text = format!("expiry {at} is not between now and ten years from now");
        problems.push(Problem::at("expires_at", "token", text));
    }
    if !problems.is_empty() {
        return Err(TokenError::Invalid(problems));
    }
    let count = living(rows, user.org, now)?;
    limits::at_most("tokens", org.limits.tokens as usize, count + 1)?;
    Ok(Token {
        id: TokenId::new(),
        user: user.id,
        org: user.org,
        name: new.name.clone(),
        prefix: shown_part(secret),
        permissions,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
    })
}

/// Whether the organisation ever had a token.
pub(in crate::manage) fn has_any(rows: &impl Rows, org: OrgId) -> Result<bool, RowError> {
    Ok(!rows.scan(&TOKENS_OF, &org, None, 1)?.is_empty())
}

/// What of a secret is kept to recognise it by.
pub(in crate::manage) fn shown_part(secret: &str) -> String {
    secret.chars().take(SHOWN_CHARS).collect()
}

/// How many tokens of the organisation are neither revoked nor expired.
fn living(rows: &impl Rows, org: OrgId, now: Timestamp) -> Result<usize, RowError> {
    let mut count = 0;
    for ((_, id), ()) in rows.scan(&TOKENS_OF, &org, None, usize::MAX)? {
        count += usize::from(rows.get(&TOKENS, &id)?.is_some_and(|token| token.lives(now)));
    }
    Ok(count)
}

impl Token {
    fn lives(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

pub(in crate::manage) fn put_new(
    tx: &mut Tx<'_>,
    token: &Token,
    secret: &str,
) -> Result<(), RowError> {
    tx.put(&TOKENS, &token.id, token)?;
    tx.put(&TOKEN_HASHES, &sha256(secret.as_bytes()), &token.id)?;
    tx.put(&TOKENS_OF, &(token.org, token.id), &())
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    before: Option<&Token>,
    token: &Token,
) -> Result<u64, RowError> {
    let touched = vec![Touched::of(Object::Token(token.id), before, Some(token))];
    event::record(tx, context, News { kind, order: None, orgs: vec![token.org], touched })
}

fn view(rows: &impl Rows, token: Token) -> Result<TokenView, RowError> {
    let last_used_at = rows.get(&TOKENS_USED, &token.id)?;
    Ok(TokenView {
        id: token.id,
        user: token.user,
        org: token.org,
        name: token.name,
        prefix: token.prefix,
        permissions: token.permissions.iter().collect(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
        last_used_at,
    })
}

/// Lists the tokens of an organisation; without the right to see all, one's own.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    after: Option<TokenId>,
    limit: usize,
) -> Result<Page<TokenView>, Stop> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let all = context.may(Permission::TokenManage).is_ok();
    let needed = if all { Permission::TokenManage } else { Permission::TokenOwn };
    manage.store.read(|rows| {
        access::org(rows, context, needed, org)?;
        let after = after.map(|after| (org, after));
        let ids = rows.scan(&TOKENS_OF, &org, after.as_ref(), limit)?;
        let next = (ids.len() == limit).then(|| ids.last().map(|((_, id), ())| id.to_string()));
        let mut items = Vec::new();
        for ((_, id), ()) in ids {
            let token = rows.get(&TOKENS, &id)?;
            let token = token.filter(|token| all || context.actor.user() == Some(token.user));
            items.extend(token.map(|token| view(rows, token)).transpose()?);
        }
        Ok(Page { items, next: next.flatten() })
    })
}

/// Revokes a token: one's own, or with the right another's in reach. Twice is once.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right.
pub fn revoke(manage: &Manage, context: &Context, id: TokenId) -> Result<TokenView, Stop> {
    manage.transact(|tx| {
        let before = tx.get(&TOKENS, &id)?.ok_or(NoAccess::NotFound)?;
        match context.actor.user() == Some(before.user) {
            true => context.may(Permission::TokenOwn)?,
            false => drop(access::org(tx, context, Permission::TokenManage, before.org)?),
        }
        if before.revoked_at.is_some() {
            return Ok(view(tx, before)?);
        }
        let after = Token { revoked_at: Some(Timestamp::now()), ..before.clone() };
        tx.put(&TOKENS, &id, &after)?;
        record(tx, context, Happened::TokenRevoked, Some(&before), &after)?;
        Ok(view(tx, after)?)
    })
}

/// Why a secret opens nothing. All look the same from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// No such token.
    Unknown,
    /// It was revoked, or has expired, or its user may not act.
    Closed,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("token is unknown, expired or revoked")
    }
}

impl std::error::Error for AuthError {}

/// Works out who acts with this secret, and with which rights.
///
/// # Errors
///
/// [`AuthError`] inside when it opens nothing; [`Stop::Store`] when the store cannot be read.
pub fn authenticate(manage: &Manage, secret: &str) -> Result<Result<Context, AuthError>, Stop> {
    let now = Timestamp::now();
    let hash = sha256(secret.as_bytes());
    let found = manage.store.read(|rows| opened_by(rows, &hash, now))?;
    let Ok((context, token, used)) = found else { return Ok(found.map(|found| found.0)) };
    if used.is_none_or(|used| now > used.plus_s(USED_EVERY_S)) {
        // Only a note: a store that takes no writes must not close the door to readers.
        let noted: Result<(), Stop> =
            manage.transact(|tx| Ok(tx.put(&TOKENS_USED, &token, &now)?));
        drop(noted);
    }
    Ok(Ok(context))
}

type Opened = (Context, TokenId, Option<Timestamp>);

fn opened_by(
    rows: &impl Rows,
    hash: &Digest,
    now: Timestamp,
) -> Result<Result<Opened, AuthError>, RowError> {
    let Some(id) = rows.get(&TOKEN_HASHES, hash)? else { return Ok(Err(AuthError::Unknown)) };
    let Some(token) = rows.get(&TOKENS, &id)? else { return Ok(Err(AuthError::Unknown)) };
    let user = rows.get(&USERS, &token.user)?.filter(|user| user.enabled && token.lives(now));
    let Some(user) = user else { return Ok(Err(AuthError::Closed)) };
    let Some(org) = rows.get(&ORGS, &user.org)? else { return Ok(Err(AuthError::Closed)) };
    let role = user.role.within(org.kind);
    let context = Context {
        actor: Actor::User { user: user.id, token: Some(id) },
        org: org.id,
        role,
        permissions: Permissions::of(role).and(token.permissions),
        scope: user.bounds(),
        idempotency: None,
    };
    Ok(Ok((context, id, rows.get(&TOKENS_USED, &id)?)))
}
