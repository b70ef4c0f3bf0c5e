//! The first start: the operator's organisation, somebody who may act for it, and a token.

use super::Manage;
use super::access::{Context, Permissions, Role};
use super::event::{self, Kind as Happened, News, Object, Touched};
use super::fault::Stop;
use super::id::{OrgId, TokenId, UserId};
use super::limits::Limits;
use super::people::organisation::{
    self, ChangeMode, Flags, OPERATOR_HANDLE, OrgKind, OrgState, Organisation,
};
use super::people::token::{self, Token, TokenError};
use super::people::user::{self, NewUser, UserRole};
use super::time::Timestamp;
use crate::store::{Rows, Tx};

/// The operator's organisation and its first superuser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    pub org: OrgId,
    pub user: UserId,
}

/// What the first start made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub operator: Operator,
    /// The operator's token, if this start made it: the only time it can be shown.
    pub secret: Option<String>,
}

/// The operator's organisation; made, with a superuser, by the first use.
///
/// # Errors
///
/// [`Stop::Store`] when the store takes no writes.
pub fn operator(manage: &Manage) -> Result<Operator, Stop> {
    if let Some(found) = manage.store.read(|rows| found(rows))? {
        return Ok(found);
    }
    manage.transact(|tx| match found(tx)? {
        Some(found) => Ok(found),
        None => create(tx),
    })
}

fn found(rows: &impl Rows) -> Result<Option<Operator>, Stop> {
    let Some(org) = organisation::find(rows, OPERATOR_HANDLE)? else { return Ok(None) };
    let user = user::a_superuser(rows, org.id)?;
    Ok(user.map(|user| Operator { org: org.id, user }))
}

fn create(tx: &mut Tx<'_>) -> Result<Operator, Stop> {
    let org = Organisation {
        id: OrgId::new(),
        handle: OPERATOR_HANDLE.to_owned(),
        name: "Operator".to_owned(),
        kind: OrgKind::Operator,
        parent: None,
        state: OrgState::Active,
        change_mode: ChangeMode::Basket,
        four_eyes: true,
        flags: Flags { sub_reseller: true, ..Flags::default() },
        tags: Vec::new(),
        limits: Limits::operator(),
        created_at: Timestamp::now(),
    };
    let new = NewUser {
        name: "Operator".to_owned(),
        email: None,
        role: UserRole::Superuser,
        zones: None,
    };
    let user = user::first_of(&org, new).map_err(|_| Stop::Store("no operator".to_owned()))?;
    organisation::put_new(tx, &org)?;
    user::put(tx, &user)?;
    let touched = vec![
        Touched::of(Object::Organisation(org.id), None, Some(&org)),
        Touched::of(Object::User(user.id), None, Some(&user)),
    ];
    let news =
        News { kind: Happened::OrganisationCreated, order: None, orgs: vec![org.id], touched };
    event::record(tx, &Context::system(org.id), news)?;
    Ok(Operator { org: org.id, user: user.id })
}

/// Makes what a server needs before anybody can use it; gives a token if there was none.
///
/// # Errors
///
/// [`TokenError`] when the store takes no writes, or the machine gives no random octets.
pub fn first_start(manage: &Manage) -> Result<First, TokenError> {
    let operator = operator(manage)?;
    let fresh = token::secret()?;
    let secret = manage.transact(|tx| {
        if token::has_any(tx, operator.org)? {
            return Ok(None);
        }
        let token = Token {
            id: TokenId::new(),
            user: operator.user,
            org: operator.org,
            name: "first start".to_owned(),
            prefix: token::shown_part(&fresh),
            permissions: Permissions::of(Role::Operator),
            created_at: Timestamp::now(),
            expires_at: None,
            revoked_at: None,
        };
        token::put_new(tx, &token, &fresh)?;
        let touched = vec![Touched::of(Object::Token(token.id), None, Some(&token))];
        let orgs = vec![operator.org];
        let news = News { kind: Happened::TokenCreated, order: None, orgs, touched };
        event::record(tx, &Context::system(operator.org), news)?;
        Ok::<_, TokenError>(Some(fresh.clone()))
    })?;
    Ok(First { operator, secret })
}

/// The operator's organisation, which is the same for good.
///
/// # Errors
///
/// [`Stop::Store`] when the store takes no writes.
pub fn operator_org(manage: &Manage) -> Result<OrgId, Stop> {
    match manage.operator.get() {
        Some(org) => Ok(*org),
        None => operator(manage).map(|operator| *manage.operator.get_or_init(|| operator.org)),
    }
}

/// The server itself as the one who acts.
///
/// # Errors
///
/// [`Stop::Store`] when the store takes no writes.
pub fn system(manage: &Manage) -> Result<Context, Stop> {
    Ok(Context::system(operator_org(manage)?))
}
