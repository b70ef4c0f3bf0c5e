//! Users: people, each of one organisation.
//!
//! Promises: an organisation in service keeps a superuser who may act; nobody takes a role or
//! their own rights from themself, whatever they act through; nobody gives rights they do not have.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::organisation::{ORGS, OrgKind, Organisation};
use crate::manage::Manage;
use crate::manage::access::{self, Actor, Context, NoAccess, Permission, Permissions, Role, Scope};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::{OrgId, UserId};
use crate::manage::idempotency;
use crate::manage::limits::{self, GRANTS_MAX, NAME_CHARS_MAX, PAGE_ROWS_MAX};
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Table, Tx};
use crate::wire::Name;

/// All users.
pub const USERS: Table<UserId, User> = Table::new("users", *b"us");
/// The users of an organisation.
const USERS_OF: Table<(OrgId, UserId), ()> = Table::new("users_of", *b"uo");
/// The superusers of an organisation who may act.
const SUPERUSERS: Table<(OrgId, UserId), ()> = Table::new("superusers", *b"su");

/// What somebody is in their organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Runs the organisation.
    Superuser,
    /// Works on the zones granted to them.
    #[default]
    Member,
    /// Sees, changes nothing.
    Reader,
}

impl UserRole {
    /// What this role is in an organisation of this kind.
    pub fn within(self, kind: OrgKind) -> Role {
        match (self, kind) {
            (UserRole::Reader, _) => Role::Reader,
            (UserRole::Member, _) => Role::Member,
            (UserRole::Superuser, OrgKind::Customer) => Role::Superuser,
            (UserRole::Superuser, OrgKind::Reseller) => Role::Reseller,
            (UserRole::Superuser, OrgKind::Operator) => Role::Operator,
        }
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub org: OrgId,
    pub name: String,
    pub email: Option<String>,
    pub role: UserRole,
    pub enabled: bool,
    /// The zones of the organisation a member may work on.
    pub scope: Scope,
    pub created_at: Timestamp,
}

impl User {
    /// The zones of the organisation they may work on; a superuser on all.
    pub fn bounds(&self) -> Scope {
        match self.role {
            UserRole::Superuser => Scope::All,
            UserRole::Member | UserRole::Reader => self.scope.clone(),
        }
    }
}

/// One user, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserView {
    pub id: UserId,
    pub org: OrgId,
    pub name: String,
    pub email: Option<String>,
    pub role: UserRole,
    pub enabled: bool,
    /// The zones a member may work on; none is all of the organisation's.
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

impl From<User> for UserView {
    fn from(user: User) -> UserView {
        let User { id, org, name, email, role, enabled, scope, created_at } = user;
        let zones = match scope {
            Scope::All => None,
            Scope::Zones(zones) => Some(zones),
        };
        UserView { id, org, name, email, role, enabled, zones, created_at }
    }
}

/// What is asked of a new user.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub name: String,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub role: UserRole,
    /// The zones a member may work on; all of the organisation's if left out, none if empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
}

impl NewUser {
    /// The first superuser of an organisation nobody named one for.
    pub fn superuser_of(org: &str) -> NewUser {
        let name = format!("superuser of {org}");
        NewUser {
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            email: None,
            role: UserRole::Superuser,
            zones: None,
        }
    }
}

/// What is to change of a user; what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserPatch {
    pub name: Option<String>,
    pub email: Option<String>,
    pub role: Option<UserRole>,
    /// `false` closes the account and all its tokens at once.
    pub enabled: Option<bool>,
    #[schema(value_type = Option<Vec<String>>)]
    pub zones: Option<Vec<Name>>,
    /// Gives all zones of the organisation.
    pub all_zones: bool,
}

/// Why a user was not created or changed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// The organisation would have no superuser who may act.
    LastSuperuser,
    /// Nobody removes, demotes or disables themself.
    Oneself,
    /// The role has rights the asker does not have.
    AboveOneself(UserRole),
}

stops!(UserError);

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::Stop(stop) => stop.fmt(f),
            UserError::Invalid(problems) => fault::write_all(problems, f),
            UserError::LastSuperuser => f.write_str(
                "the organisation would have no superuser left: make somebody else a superuser first",
            ),
            UserError::Oneself => f.write_str(
                "nobody removes, demotes or disables themself: ask another superuser",
            ),
            UserError::AboveOneself(_) => {
                f.write_str("the role has rights you do not have: ask somebody who has them")
            }
        }
    }
}

impl Refused for UserError {
    fn kind(&self) -> Kind {
        match self {
            UserError::Stop(stop) => stop.kind(),
            UserError::Invalid(_) => Kind::Invalid,
            UserError::LastSuperuser | UserError::Oneself => Kind::Conflict,
            UserError::AboveOneself(_) => Kind::Forbidden,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            UserError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// Creates a user in an organisation in reach.
///
/// # Errors
///
/// [`UserError`]; nothing happened.
pub fn create(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    new: NewUser,
) -> Result<UserView, UserError> {
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let org = access::org(tx, context, Permission::UserManage, org)?;
            within_own_rights(context, &org, new.role)?;
            let count = tx.scan(&USERS_OF, &org.id, None, org.limits.users as usize + 1)?.len();
            limits::at_most("users", org.limits.users as usize, count + 1)?;
            let user = checked(&org, new).map_err(UserError::Invalid)?;
            put(tx, &user)?;
            record(tx, context, Happened::UserCreated, None, &user)?;
            Ok(user.into())
        })
    })
}

/// Nobody gives a role with rights they do not have themself: a narrow token makes no broad user.
fn within_own_rights(
    context: &Context,
    org: &Organisation,
    role: UserRole,
) -> Result<(), UserError> {
    match Permissions::of(role.within(org.kind)).within(context.permissions) {
        true => Ok(()),
        false => Err(UserError::AboveOneself(role)),
    }
}

fn checked(org: &Organisation, new: NewUser) -> Result<User, Vec<Problem>> {
    let scope = new.zones.map_or(Scope::All, Scope::Zones);
    let user = User {
        id: UserId::new(),
        org: org.id,
        name: new.name,
        email: new.email,
        role: new.role,
        enabled: true,
        scope,
        created_at: Timestamp::now(),
    };
    let problems = faults(&user);
    if problems.is_empty() { Ok(user) } else { Err(problems) }
}

fn faults(user: &User) -> Vec<Problem> {
    let name = limits::line("name", &user.name, NAME_CHARS_MAX).err();
    let email = user.email.as_ref().and_then(|email| limits::email("email", email).err());
    let zones = match &user.scope {
        Scope::Zones(zones) => limits::at_most("grants", GRANTS_MAX, zones.len()).err(),
        Scope::All => None,
    };
    let name = name.map(|why| Problem::at("name", "user", why));
    let email = email.map(|why| Problem::at("email", "user", why));
    let zones = zones.map(|why| Problem::at("zones", "user", why));
    name.into_iter().chain(email).chain(zones).collect()
}

/// The first superuser of a new organisation, not yet put.
///
/// # Errors
///
/// Every rule the request breaks.
pub(in crate::manage) fn first_of(org: &Organisation, new: NewUser) -> Result<User, Vec<Problem>> {
    checked(org, NewUser { role: UserRole::Superuser, zones: None, ..new })
}

/// Puts a user and keeps the lists they stand in.
pub(in crate::manage) fn put(tx: &mut Tx<'_>, user: &User) -> Result<(), RowError> {
    tx.put(&USERS, &user.id, user)?;
    tx.put(&USERS_OF, &(user.org, user.id), &())?;
    match user.enabled && user.role == UserRole::Superuser {
        true => tx.put(&SUPERUSERS, &(user.org, user.id), &()),
        false => tx.delete(&SUPERUSERS, &(user.org, user.id)),
    }
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    kind: Happened,
    before: Option<&User>,
    user: &User,
) -> Result<u64, RowError> {
    let touched = vec![Touched::of(Object::User(user.id), before, Some(user))];
    event::record(tx, context, News { kind, order: None, orgs: vec![user.org], touched })
}

/// The user, if the organisation is in reach and the right is there; oneself always.
fn fetch(
    rows: &impl Rows,
    context: &Context,
    permission: Permission,
    id: UserId,
) -> Result<(User, Organisation), Stop> {
    let user = rows.get(&USERS, &id)?.ok_or(NoAccess::NotFound)?;
    if context.actor.user() == Some(id) && permission == Permission::UserView {
        let org = rows.get(&ORGS, &user.org)?.ok_or(NoAccess::NotFound)?;
        return Ok((user, org));
    }
    let org = access::org(rows, context, permission, user.org)?;
    Ok((user, org))
}

/// The user with this id.
///
/// # Errors
///
/// [`Stop::Access`] when there is none in reach, or without the right.
pub fn get(manage: &Manage, context: &Context, id: UserId) -> Result<UserView, Stop> {
    manage.store.read(|rows| Ok(fetch(rows, context, Permission::UserView, id)?.0.into()))
}

/// Lists the users of an organisation in the order they were created.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach, or without the right.
pub fn list(
    manage: &Manage,
    context: &Context,
    org: OrgId,
    after: Option<UserId>,
    limit: usize,
) -> Result<Page<UserView>, Stop> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        access::org(rows, context, Permission::UserView, org)?;
        let after = after.map(|after| (org, after));
        let ids = rows.scan(&USERS_OF, &org, after.as_ref(), limit)?;
        let next = (ids.len() == limit).then(|| ids.last().map(|((_, id), ())| id.to_string()));
        let found = ids.into_iter().map(|((_, id), ())| rows.get(&USERS, &id));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let items = found.into_iter().flatten().map(UserView::from).collect();
        Ok(Page { items, next: next.flatten() })
    })
}

/// Changes a user: name, role, zones, and whether they may act.
///
/// # Errors
///
/// [`UserError`]; nothing happened. Of two superusers who take the role from each other at the same
/// time, one is refused.
pub fn update(
    manage: &Manage,
    context: &Context,
    id: UserId,
    patch: UserPatch,
) -> Result<UserView, UserError> {
    manage.transact(|tx| {
        let (before, org) = fetch(tx, context, Permission::UserManage, id)?;
        let after = patched(&before, patch);
        let problems = faults(&after);
        if !problems.is_empty() {
            return Err(UserError::Invalid(problems));
        }
        if after.role != before.role {
            within_own_rights(context, &org, after.role)?;
        }
        within_own_rights(context, &org, before.role)?;
        let loses = before.enabled && !after.enabled || before.role != after.role;
        if loses && is_oneself(context, id) {
            return Err(UserError::Oneself);
        }
        put(tx, &after)?;
        if tx.scan(&SUPERUSERS, &org.id, None, 1)?.is_empty() {
            return Err(UserError::LastSuperuser);
        }
        if after != before {
            record(tx, context, Happened::UserChanged, Some(&before), &after)?;
        }
        Ok(after.into())
    })
}

fn patched(before: &User, patch: UserPatch) -> User {
    let scope = match (patch.all_zones, patch.zones) {
        (true, _) => Scope::All,
        (false, Some(zones)) => Scope::Zones(zones),
        (false, None) => before.scope.clone(),
    };
    User {
        name: patch.name.unwrap_or_else(|| before.name.clone()),
        email: patch.email.or_else(|| before.email.clone()),
        role: patch.role.unwrap_or(before.role),
        enabled: patch.enabled.unwrap_or(before.enabled),
        scope,
        ..before.clone()
    }
}

fn is_oneself(context: &Context, id: UserId) -> bool {
    matches!(context.actor, Actor::User { user, .. } if user == id)
}

/// A user as the one who acts, without a token, with all the rights of the role; none if the account
/// is closed.
pub fn acting(rows: &impl Rows, id: UserId) -> Result<Option<Context>, RowError> {
    let Some(user) = rows.get(&USERS, &id)?.filter(|user| user.enabled) else { return Ok(None) };
    let Some(org) = rows.get(&ORGS, &user.org)? else { return Ok(None) };
    let role = user.role.within(org.kind);
    Ok(Some(Context {
        actor: Actor::User { user: user.id, token: None },
        org: org.id,
        role,
        permissions: Permissions::of(role),
        scope: user.bounds(),
        idempotency: None,
    }))
}

/// A superuser of the organisation who may act; there is one.
pub fn a_superuser(rows: &impl Rows, org: OrgId) -> Result<Option<UserId>, RowError> {
    Ok(rows.scan(&SUPERUSERS, &org, None, 1)?.pop().map(|((_, user), ())| user))
}

/// The first user of the organisation with this role who may act.
pub fn first_with(rows: &impl Rows, org: OrgId, role: UserRole) -> Result<Option<User>, RowError> {
    let mut after = None;
    loop {
        let page = rows.scan(&USERS_OF, &org, after.as_ref(), PAGE_ROWS_MAX)?;
        for (key, ()) in &page {
            let user = rows.get(&USERS, &key.1)?;
            if let Some(user) = user.filter(|user| user.enabled && user.role == role) {
                return Ok(Some(user));
            }
        }
        let Some((last, ())) = page.last() else { return Ok(None) };
        after = Some(*last);
    }
}
