//! Organisations: the operator at the root, resellers and customers below.
//!
//! What is switched off for an organisation is switched off for all below it. Switching off ordering
//! or editing never touches what is served.
//!
//! Promises: the tree has no cycle and at most [`ORG_DEPTH_MAX`] levels; an organisation in service
//! has at least one superuser who may act; no limit is above the same limit of the parent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::user::{self, NewUser};
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::idempotency;
use crate::manage::limits::{
    self, Limits, NAME_CHARS_MAX, ORG_DEPTH_MAX, PAGE_ROWS_MAX, TAG_CHARS_MAX, TAGS_MAX,
};
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Table, Tx};

/// All organisations.
pub const ORGS: Table<OrgId, Organisation> = Table::new("organisations", *b"or");
/// Organisations by the short name people and commands use.
const ORG_HANDLES: Table<String, OrgId> = Table::new("organisation_handles", *b"oh");
/// Who stands below whom.
const ORG_CHILDREN: Table<(OrgId, OrgId), ()> = Table::new("organisation_children", *b"oc");

/// The handle of the operator's own organisation.
pub const OPERATOR_HANDLE: &str = "operator";

/// The tag that stops an organisation from ordering.
pub const FRAUD_TAG: &str = "fraud";

/// Characters of a handle: those of a DNS label.
const HANDLE_CHARS_MAX: usize = 63;

/// What an organisation is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrgKind {
    /// Runs the server. There is one.
    Operator,
    /// Has organisations below it.
    Reseller,
    /// Has zones.
    Customer,
}

/// Whether an organisation may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrgState {
    Active,
    /// May look, not order; what it has is served as before.
    Disabled,
}

/// What becomes of a change that somebody of the organisation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub enum ChangeMode {
    /// Applied at once.
    #[serde(rename = "direct")]
    Direct,
    /// Collected in a basket, applied when the order is placed.
    #[default]
    #[serde(rename = "basket")]
    Basket,
    /// Collected in a basket, applied when somebody approves the order.
    #[serde(rename = "basket+approval")]
    Approval,
}

/// Switches of an organisation; each holds for all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Flags {
    /// Its people may change records.
    pub can_edit_dns: bool,
    /// Its people may place orders.
    pub can_order: bool,
    /// A reseller may have resellers below it.
    pub sub_reseller: bool,
}

impl Default for Flags {
    fn default() -> Flags {
        Flags { can_edit_dns: true, can_order: true, sub_reseller: false }
    }
}

/// One organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Organisation {
    pub id: OrgId,
    /// A short name, unique on this server: letters, digits and `-`.
    #[schema(example = "acme")]
    pub handle: String,
    pub name: String,
    pub kind: OrgKind,
    /// The organisation above; none for the operator.
    pub parent: Option<OrgId>,
    pub state: OrgState,
    pub change_mode: ChangeMode,
    /// Whether an order needs an approver other than its author.
    pub four_eyes: bool,
    pub flags: Flags,
    pub tags: Vec<String>,
    pub limits: Limits,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

impl Organisation {
    /// Whether its people may place orders, the organisations above not considered.
    pub fn may_order(&self) -> bool {
        self.state == OrgState::Active
            && self.flags.can_order
            && !self.tags.iter().any(|tag| tag == FRAUD_TAG)
    }
}

/// What is asked of a new organisation.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrg {
    /// A short name: letters, digits and `-`. Unique on this server.
    pub handle: String,
    /// The full name; the handle if left out.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default = "customer")]
    pub kind: OrgKind,
    /// The organisation above; the asker's own if left out.
    #[serde(default)]
    pub parent: Option<OrgId>,
    #[serde(default)]
    pub change_mode: ChangeMode,
    #[serde(default)]
    pub flags: Flags,
    /// What it may have; the usual limits if left out.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Its first superuser; one named after the organisation if left out.
    #[serde(default)]
    pub superuser: Option<NewUser>,
}

fn customer() -> OrgKind {
    OrgKind::Customer
}

/// What is to change of an organisation; what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrgPatch {
    pub name: Option<String>,
    pub state: Option<OrgState>,
    pub change_mode: Option<ChangeMode>,
    pub four_eyes: Option<bool>,
    pub flags: Option<Flags>,
    pub tags: Option<Vec<String>>,
    pub limits: Option<Limits>,
}

impl OrgPatch {
    /// Whether it touches what only the organisation above may set.
    fn needs_manage(&self) -> bool {
        self.state.is_some()
            || self.change_mode.is_some()
            || self.four_eyes.is_some()
            || self.flags.is_some()
            || self.tags.is_some()
            || self.limits.is_some()
    }
}

/// Why an organisation was not created or changed. Nothing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrgError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// The handle belongs to another organisation.
    HandleTaken(String),
}

stops!(OrgError);

impl fmt::Display for OrgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrgError::Stop(stop) => stop.fmt(f),
            OrgError::Invalid(problems) => fault::write_all(problems, f),
            OrgError::HandleTaken(handle) => {
                write!(f, "handle {handle} belongs to another organisation: take another")
            }
        }
    }
}

impl Refused for OrgError {
    fn kind(&self) -> Kind {
        match self {
            OrgError::Stop(stop) => stop.kind(),
            OrgError::Invalid(_) => Kind::Invalid,
            OrgError::HandleTaken(_) => Kind::Conflict,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            OrgError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// Creates an organisation with its first superuser below one the asker manages.
///
/// # Errors
///
/// [`OrgError`]; nothing happened.
pub fn create(manage: &Manage, context: &Context, new: NewOrg) -> Result<Organisation, OrgError> {
    manage.transact(|tx| {
        idempotency::once(tx, context, |tx| {
            let parent = new.parent.unwrap_or(context.org);
            let parent = access::org(tx, context, Permission::OrgManage, parent)?;
            let org = checked(tx, &parent, &new)?;
            let first = new.superuser.unwrap_or_else(|| NewUser::superuser_of(&org.name));
            let user = user::first_of(&org, first).map_err(OrgError::Invalid)?;
            put_new(tx, &org)?;
            user::put(tx, &user)?;
            event::record(
                tx,
                context,
                News {
                    kind: Happened::OrganisationCreated,
                    order: None,
                    orgs: vec![org.id, parent.id],
                    touched: vec![
                        Touched::of(Object::Organisation(org.id), None, Some(&org)),
                        Touched::of(Object::User(user.id), None, Some(&user)),
                    ],
                },
            )?;
            Ok(org)
        })
    })
}

fn checked(
    rows: &impl Rows,
    parent: &Organisation,
    new: &NewOrg,
) -> Result<Organisation, OrgError> {
    let name = new.name.clone().unwrap_or_else(|| new.handle.clone());
    let limits = new.limits.clone().unwrap_or_else(|| within(&Limits::default(), &parent.limits));
    let mut problems = Vec::new();
    let mut check = |at: &str, fault: Option<String>| {
        problems.extend(fault.map(|text| Problem::at(at, "organisation", text)));
    };
    check("name", limits::line("name", &name, NAME_CHARS_MAX).err().map(|e| e.to_string()));
    check("handle", bad_handle(&new.handle));
    check("kind", bad_kind(parent, new.kind));
    check("limits", beyond(&limits, parent));
    if depth(rows, parent)? >= ORG_DEPTH_MAX {
        let text = format!("organisations are at most {ORG_DEPTH_MAX} levels deep");
        check("parent", Some(text));
    }
    if !problems.is_empty() {
        return Err(OrgError::Invalid(problems));
    }
    let handle = new.handle.to_ascii_lowercase();
    if rows.contains(&ORG_HANDLES, &handle)? {
        return Err(OrgError::HandleTaken(handle));
    }
    Ok(Organisation {
        id: OrgId::new(),
        handle,
        name,
        kind: new.kind,
        parent: Some(parent.id),
        state: OrgState::Active,
        change_mode: new.change_mode,
        four_eyes: true,
        flags: new.flags,
        tags: Vec::new(),
        limits,
        created_at: Timestamp::now(),
    })
}

fn bad_handle(handle: &str) -> Option<String> {
    let plain = handle.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let ends = handle.starts_with('-') || handle.ends_with('-');
    (!plain || ends || handle.is_empty() || handle.len() > HANDLE_CHARS_MAX)
        .then(|| format!("handle is not 1 to {HANDLE_CHARS_MAX} letters, digits and inner hyphens"))
}

fn bad_kind(parent: &Organisation, kind: OrgKind) -> Option<String> {
    let fits = match (parent.kind, kind) {
        (_, OrgKind::Operator) | (OrgKind::Customer, _) => false,
        (OrgKind::Operator, _) | (OrgKind::Reseller, OrgKind::Customer) => true,
        (OrgKind::Reseller, OrgKind::Reseller) => parent.flags.sub_reseller,
    };
    (!fits).then(|| format!("{} may not have such an organisation below it", parent.handle))
}

fn beyond(limits: &Limits, parent: &Organisation) -> Option<String> {
    (!limits.within(&parent.limits))
        .then(|| format!("a limit is above the same limit of {}", parent.handle))
}

/// The usual limits, none above those of the organisation above.
fn within(usual: &Limits, parent: &Limits) -> Limits {
    Limits {
        zones: usual.zones.min(parent.zones),
        records_per_zone: usual.records_per_zone.min(parent.records_per_zone),
        generate_records: usual.generate_records.min(parent.generate_records),
        basket_items: usual.basket_items.min(parent.basket_items),
        open_orders: usual.open_orders.min(parent.open_orders),
        users: usual.users.min(parent.users),
        tokens: usual.tokens.min(parent.tokens),
    }
}

/// Levels from the operator down to `org`, both counted.
fn depth(rows: &impl Rows, org: &Organisation) -> Result<usize, RowError> {
    let (mut depth, mut parent) = (1, org.parent);
    while let Some(id) = parent.filter(|_| depth <= ORG_DEPTH_MAX) {
        parent = rows.get(&ORGS, &id)?.and_then(|org| org.parent);
        depth += 1;
    }
    Ok(depth)
}

/// Puts a new organisation and finds it by handle and parent from now on.
pub(in crate::manage) fn put_new(tx: &mut Tx<'_>, org: &Organisation) -> Result<(), RowError> {
    tx.put(&ORGS, &org.id, org)?;
    tx.put(&ORG_HANDLES, &org.handle, &org.id)?;
    match org.parent {
        Some(parent) => tx.put(&ORG_CHILDREN, &(parent, org.id), &()),
        None => Ok(()),
    }
}

/// The organisation with this handle or id, whoever asks.
pub fn find(rows: &impl Rows, text: &str) -> Result<Option<Organisation>, RowError> {
    let id = match rows.get(&ORG_HANDLES, &text.to_ascii_lowercase())? {
        Some(id) => id,
        None => match text.parse() {
            Ok(id) => id,
            Err(_) => return Ok(None),
        },
    };
    rows.get(&ORGS, &id)
}

/// The organisation with this handle or id.
///
/// # Errors
///
/// [`NoAccess::NotFound`] when there is none in reach.
pub fn get(manage: &Manage, context: &Context, text: &str) -> Result<Organisation, Stop> {
    manage.store.read(|rows| {
        let org = find(rows, text)?.ok_or(NoAccess::NotFound)?;
        access::org(rows, context, Permission::OrgView, org.id)
    })
}

/// Which organisations are asked for.
#[derive(Debug, Clone, Default)]
pub struct OrgQuery {
    /// Those directly below this one; none is all in reach.
    pub parent: Option<OrgId>,
    /// The id behind which to begin.
    pub after: Option<OrgId>,
    pub limit: usize,
}

/// Lists organisations in the order they were created: the operator sees all, a reseller itself and
/// those directly below it, a customer itself.
///
/// # Errors
///
/// [`Stop::Access`] for a parent out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    query: &OrgQuery,
) -> Result<Page<Organisation>, Stop> {
    context.may(Permission::OrgView)?;
    let limit = query.limit.clamp(1, PAGE_ROWS_MAX);
    manage.store.read(|rows| {
        let all = access::Role::Operator == context.role && query.parent.is_none();
        if let Some(parent) = query.parent {
            access::org(rows, context, Permission::OrgView, parent)?;
        }
        let mut found = match all {
            true => {
                let after =
                    query.after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let range = (after, std::ops::Bound::Unbounded);
                rows.range(&ORGS, range, limit)?.into_iter().map(|row| row.1).collect()
            }
            false => children(rows, query.parent.unwrap_or(context.org), query.after, limit)?,
        };
        if !all && query.parent.is_none() && query.after.is_none() {
            found.splice(0..0, rows.get(&ORGS, &context.org)?);
            found.truncate(limit);
        }
        // The own organisation is older than those below it, so the order is that of the ids.
        let next = (found.len() == limit).then(|| found.last().map(|org| org.id.to_string()));
        Ok(Page { items: found, next: next.flatten() })
    })
}

fn children(
    rows: &impl Rows,
    parent: OrgId,
    after: Option<OrgId>,
    limit: usize,
) -> Result<Vec<Organisation>, RowError> {
    let after = after.map(|after| (parent, after));
    let ids = rows.scan(&ORG_CHILDREN, &parent, after.as_ref(), limit)?;
    let found = ids.into_iter().map(|((_, id), ())| rows.get(&ORGS, &id));
    Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Changes an organisation: its people its name, those above it the rest.
///
/// # Errors
///
/// [`OrgError`]; nothing happened.
pub fn update(
    manage: &Manage,
    context: &Context,
    id: OrgId,
    patch: OrgPatch,
) -> Result<Organisation, OrgError> {
    manage.transact(|tx| {
        let before = access::org(tx, context, Permission::OrgEdit, id)?;
        if patch.needs_manage() {
            context.may(Permission::OrgManage)?;
            if id == context.org && context.role != access::Role::Operator {
                return Err(NoAccess::Forbidden(Permission::OrgManage).into());
            }
        }
        let after = patched(tx, &before, patch)?;
        if after == before {
            return Ok(after);
        }
        tx.put(&ORGS, &id, &after)?;
        event::record(
            tx,
            context,
            News {
                kind: Happened::OrganisationChanged,
                order: None,
                orgs: vec![id],
                touched: vec![Touched::of(Object::Organisation(id), Some(&before), Some(&after))],
            },
        )?;
        Ok(after)
    })
}

fn patched(
    rows: &impl Rows,
    before: &Organisation,
    patch: OrgPatch,
) -> Result<Organisation, OrgError> {
    let after = Organisation {
        name: patch.name.unwrap_or_else(|| before.name.clone()),
        state: patch.state.unwrap_or(before.state),
        change_mode: patch.change_mode.unwrap_or(before.change_mode),
        four_eyes: patch.four_eyes.unwrap_or(before.four_eyes),
        flags: patch.flags.unwrap_or(before.flags),
        tags: patch.tags.unwrap_or_else(|| before.tags.clone()),
        limits: patch.limits.unwrap_or_else(|| before.limits.clone()),
        ..before.clone()
    };
    let mut problems = Vec::new();
    if let Err(why) = limits::line("name", &after.name, NAME_CHARS_MAX) {
        problems.push(Problem::at("name", "organisation", why));
    }
    if after.kind == OrgKind::Operator && after.state != OrgState::Active {
        problems.push(Problem::at("state", "organisation", "the operator cannot be disabled"));
    }
    let tags = limits::at_most("tags", TAGS_MAX, after.tags.len()).err().map(|e| e.to_string());
    let bad = after.tags.iter().filter_map(|tag| limits::line("tag", tag, TAG_CHARS_MAX).err());
    let tags = tags.into_iter().chain(bad.map(|why| why.to_string()));
    problems.extend(tags.map(|text| Problem::at("tags", "organisation", text)));
    if let Some(parent) = before.parent.map(|id| rows.get(&ORGS, &id)).transpose()?.flatten() {
        let text = beyond(&after.limits, &parent);
        problems.extend(text.map(|text| Problem::at("limits", "organisation", text)));
    }
    if problems.is_empty() { Ok(after) } else { Err(OrgError::Invalid(problems)) }
}
