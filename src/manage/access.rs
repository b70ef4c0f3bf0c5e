//! Rights: who may do what, decided before a row is read.
//!
//! One enum of [`Permission`]s and one table from roles to permissions. A right says what may be
//! done; reach says to whom: a customer's people reach their own organisation, a reseller's also
//! those below it, the operator's all. What is out of reach does not exist: the answer is the one
//! given for an id nobody ever had ([`NoAccess::NotFound`]). What is in reach but not allowed is
//! named ([`NoAccess::Forbidden`]).
//!
//! Promises: a superuser may whatever a member may, a reseller whatever a superuser may, the operator
//! everything; a token never more than its owner.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fault::Stop;
use super::id::{OrgId, TokenId, UserId};
use super::limits::ORG_DEPTH_MAX;
use super::people::organisation::{ORGS, OrgKind, Organisation};
use super::words::worded;
use crate::store::{RowError, Rows};
use crate::wire::Name;

/// What a person or token is to its organisation, and the organisation to the others.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees, changes nothing.
    Reader,
    /// Works on the zones granted to it.
    Member,
    /// Runs its organisation.
    Superuser,
    /// A superuser of a reseller: also runs the organisations below.
    Reseller,
    /// A superuser of the operator: runs the server.
    Operator,
}

const Y: bool = true;
const N: bool = false;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident $text:tt
        $reader:ident $member:ident $superuser:ident $reseller:ident $operator:ident;)*) => {
        worded! {
            /// One thing that may be allowed.
            pub enum Permission { $($(#[$doc])* $name $text)* }
        }

        /// Permission, and whether reader, member, superuser, reseller, operator have it.
        const TABLE: &[(Permission, [bool; 5])] = &[
            $((Permission::$name, [$reader, $member, $superuser, $reseller, $operator]),)*
        ];
    };
}

permissions! {
    /// See zones, their records and what is pending on them.
    ZoneView "zone.view" Y Y Y Y Y;
    /// Put changes of records into the own basket.
    ZoneEdit "zone.edit" N Y Y Y Y;
    /// Ask for new zones and for the end of zones.
    ZoneManage "zone.manage" N N Y Y Y;
    /// Take signing keys in, and give them out with their secrets.
    DnssecKeys "dnssec.keys" N N Y Y Y;
    /// Let a zone be created above or below one of another organisation.
    ZoneNest "zone.nest" N N N N Y;
    /// Place and cancel own orders, and see them.
    OrderPlace "order.place" N Y Y Y Y;
    /// See all orders of the organisation.
    OrderView "order.view" Y N Y Y Y;
    /// Cancel orders of others.
    OrderCancel "order.cancel" N N Y Y Y;
    /// Approve and reject orders of others.
    OrderApprove "order.approve" N N Y Y Y;
    /// Push change sets that were approved elsewhere.
    OrderPush "order.push" N N N Y Y;
    /// Stop orders that wait, and let them go on.
    OrderHold "order.hold" N N N Y Y;
    /// See, create, change and end TSIG keys.
    TsigManage "tsig.manage" N N Y Y Y;
    /// See the organisation.
    OrgView "org.view" Y Y Y Y Y;
    /// Change the details of the organisation.
    OrgEdit "org.edit" N N Y Y Y;
    /// Create organisations, set their limits, flags and change mode, disable them.
    OrgManage "org.manage" N N N Y Y;
    /// See the users of the organisation.
    UserView "user.view" N N Y Y Y;
    /// Create, change and disable users.
    UserManage "user.manage" N N Y Y Y;
    /// Create and revoke own tokens.
    TokenOwn "token.own" N Y Y Y Y;
    /// See and revoke the tokens of others.
    TokenManage "token.manage" N N Y Y Y;
    /// Read the events of the organisation.
    EventView "event.view" Y N Y Y Y;
    /// Look after the server: its metrics, its store, events of all.
    ServerOperate "server.operate" N N N N Y;
}

impl Permission {
    fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// A set of permissions. Stored and sent as their texts, so that a new one in the middle of the
/// table changes nobody's rights.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u64);

impl Permissions {
    /// No permission.
    pub const NONE: Permissions = Permissions(0);

    /// What a role may.
    pub fn of(role: Role) -> Permissions {
        let granted = |row: &&(Permission, [bool; 5])| row.1.get(role as usize) == Some(&true);
        TABLE.iter().filter(granted).map(|(permission, _)| *permission).collect()
    }

    /// Whether `permission` is among these.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// Whether all of these are in `other`.
    pub fn within(self, other: Permissions) -> bool {
        self.0 & !other.0 == 0
    }

    /// The permissions in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::all().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|permission| permission.to_string())).finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> = self.iter().map(|permission| permission.to_string()).collect();
        texts.serialize(serializer)
    }
}

/// A text that is no longer a permission grants nothing.
impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Permissions, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Ok(texts.iter().filter_map(|text| Permission::named(text)).collect())
    }
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// A person, through a token if there is one.
    User { user: UserId, token: Option<TokenId> },
    /// The server itself: at start, on a timer, or at the command line of the machine.
    System,
}

impl Actor {
    /// The person, if it is one.
    pub fn user(self) -> Option<UserId> {
        match self {
            Actor::User { user, .. } => Some(user),
            Actor::System => None,
        }
    }
}

/// Which zones of its organisation somebody may work on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All.
    All,
    /// Those listed and no others; an empty list is none.
    Zones(Vec<Name>),
}

impl Scope {
    /// Whether the zone is in it.
    pub fn covers(&self, apex: &Name) -> bool {
        match self {
            Scope::All => true,
            Scope::Zones(list) => list.contains(apex),
        }
    }
}

/// A caller's promise that two calls with one key are one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// SHA-256 of what was asked, so that a key used again for something else is noticed.
    pub asked: [u8; 32],
}

/// Who acts, for whom, with which rights. Made by authentication; every operation takes one.
#[derive(Debug, Clone)]
pub struct Context {
    pub actor: Actor,
    /// The organisation of the actor.
    pub org: OrgId,
    pub role: Role,
    pub permissions: Permissions,
    pub scope: Scope,
    /// Set by the caller for one call.
    pub idempotency: Option<IdempotencyKey>,
}

impl Context {
    /// The server itself, which may everything.
    pub fn system(operator: OrgId) -> Context {
        Context {
            actor: Actor::System,
            org: operator,
            role: Role::Operator,
            permissions: Permissions::of(Role::Operator),
            scope: Scope::All,
            idempotency: None,
        }
    }

    /// Checks a right without looking at anything.
    ///
    /// # Errors
    ///
    /// [`NoAccess::Forbidden`] when it is missing.
    pub fn may(&self, permission: Permission) -> Result<(), NoAccess> {
        match self.permissions.has(permission) {
            true => Ok(()),
            false => Err(NoAccess::Forbidden(permission)),
        }
    }
}

/// Why something stays closed to the one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAccess {
    /// It is not there, or not for the one who asks to know of.
    NotFound,
    /// The one who asks may see it, not do this.
    Forbidden(Permission),
    /// The organisation is disabled or may not order.
    Suspended,
    /// The organisation's records are closed to its people (`can_edit_dns` is off).
    DnsClosed,
}

impl fmt::Display for NoAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAccess::NotFound => f.write_str("there is no such thing"),
            NoAccess::Forbidden(permission) => {
                write!(f, "permission {permission} is missing: ask a superuser of the organisation")
            }
            NoAccess::Suspended => {
                f.write_str("the organisation may not order: ask its reseller or the operator")
            }
            NoAccess::DnsClosed => {
                f.write_str("editing records is switched off for the organisation: ask its reseller or the operator")
            }
        }
    }
}

impl std::error::Error for NoAccess {}

/// Whether `org` is there and within reach of the one who acts.
pub fn reaches(rows: &impl Rows, context: &Context, org: OrgId) -> Result<bool, RowError> {
    if org == context.org {
        return Ok(true);
    }
    let mut next = rows.get(&ORGS, &org)?;
    if context.role == Role::Operator {
        return Ok(next.is_some());
    }
    for _ in 0..ORG_DEPTH_MAX {
        match next.and_then(|org| org.parent) {
            Some(parent) if parent == context.org => return Ok(context.role == Role::Reseller),
            Some(parent) => next = rows.get(&ORGS, &parent)?,
            None => break,
        }
    }
    Ok(false)
}

/// The organisation, if it is in reach and the right is there: no right, no row.
///
/// # Errors
///
/// [`NoAccess`].
pub fn org(
    rows: &impl Rows,
    context: &Context,
    permission: Permission,
    id: OrgId,
) -> Result<Organisation, Stop> {
    if !reaches(rows, context, id)? {
        return Err(NoAccess::NotFound.into());
    }
    context.may(permission)?;
    Ok(rows.get(&ORGS, &id)?.ok_or(NoAccess::NotFound)?)
}

/// Whether the organisation and all above it are in a state in which its people may change records.
///
/// Switches of an organisation hold for everybody below it; the operator's own people are not bound
/// by them, and a reseller's only by those of the reseller and above.
///
/// # Errors
///
/// [`NoAccess::Suspended`] or [`NoAccess::DnsClosed`].
pub fn may_change_dns(rows: &impl Rows, org: OrgId) -> Result<(), Stop> {
    let mut next = Some(org);
    for _ in 0..ORG_DEPTH_MAX {
        let Some(org) = next.map(|id| rows.get(&ORGS, &id)).transpose()?.flatten() else { break };
        if org.kind == OrgKind::Operator {
            break;
        }
        if !org.may_order() {
            return Err(NoAccess::Suspended.into());
        }
        if !org.flags.can_edit_dns {
            return Err(NoAccess::DnsClosed.into());
        }
        next = org.parent;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 5] =
        [Role::Reader, Role::Member, Role::Superuser, Role::Reseller, Role::Operator];

    #[test]
    fn i03_a_superuser_may_whatever_a_member_may_and_the_operator_everything() {
        for pair in [
            (Role::Member, Role::Superuser),
            (Role::Reader, Role::Superuser),
            (Role::Superuser, Role::Reseller),
            (Role::Reseller, Role::Operator),
        ] {
            assert!(Permissions::of(pair.0).within(Permissions::of(pair.1)), "{pair:?}");
        }
        assert_eq!(Permissions::of(Role::Operator).iter().count(), Permission::all().count());
    }

    #[test]
    fn permissions_survive_the_round_trip_and_unknown_ones_grant_nothing() {
        for role in ROLES {
            let set = Permissions::of(role);
            let octets = postcard::to_stdvec(&set).unwrap();
            assert_eq!(postcard::from_bytes::<Permissions>(&octets), Ok(set));
        }
        let set: Permissions = serde_json::from_str(r#"["zone.view","zone.fly"]"#).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Permission::ZoneView]);
    }

    #[test]
    fn every_permission_has_a_text_of_its_own() {
        for permission in Permission::all() {
            assert_eq!(Permission::named(&permission.to_string()), Some(permission));
        }
    }

    #[test]
    fn an_empty_list_of_zones_covers_none() {
        let apex = Name::parse("example.").unwrap();
        assert!(!Scope::Zones(vec![]).covers(&apex));
        assert!(Scope::Zones(vec![apex.clone()]).covers(&apex));
        assert!(Scope::All.covers(&apex));
    }
}
