//! Claims about people and their changes, each on a store of its own in a directory of its own.

mod approvals;
mod explained;
mod isolation;
mod orders;
mod people;
mod random;
mod schedule;
mod together;
mod updates;

use super::Manage;
use super::access::{Context, IdempotencyKey};
use super::bootstrap;
use super::change::approval::{self, Approve, Decline};
use super::change::ask::{Ask, EditAsk, OpWord};
use super::change::basket::{self, BasketChange, BasketError};
use super::change::merged::{self, RrsetPage, RrsetQuery, Which};
use super::change::order::{self, OrderError, Place};
use super::change::push::{self, ChangeSet, Pushed};
use super::change::receipt::OrderView;
use super::id::{OrderId, OrgId, UserId};
use super::people::organisation::{self, ChangeMode, NewOrg, OrgKind, OrgPatch, Organisation};
use super::people::token::{self, NewToken};
use super::people::user::{self, NewUser, UserRole, UserView};
use crate::maintain::{Maintain, Settings, rows as zones};
use crate::seal::Sealer;
use crate::store::{OpenError, Options, Store};
use crate::wire::{Name, Type};
use crate::zone::delta::set_at;

/// An operator, a reseller with a customer, another customer; each customer with a zone.
struct World {
    manage: Manage,
    dir: tempfile::TempDir,
    operator: Context,
    reseller: Context,
    acme: Customer,
    other: Customer,
}

/// A customer with its people and the name of its zone.
struct Customer {
    org: OrgId,
    superuser: Context,
    member: Context,
    zone: Name,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Opens the directory, once what had it open before has let go of it: threads of the index end a
/// little after the store does.
fn open(dir: &std::path::Path) -> Manage {
    let sealer = Some(Sealer::at(dir).unwrap());
    let settings = Settings { sealer, ..Settings::default() };
    for _ in 0..1_000 {
        match Store::open(&Options::new(dir)) {
            Ok(store) => return Manage::new(Maintain::offline(store, settings)),
            Err(OpenError::Io { .. }) => std::thread::sleep(std::time::Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the directory is never let go of");
}

impl World {
    fn new() -> World {
        World::in_mode(ChangeMode::Basket)
    }

    fn in_mode(mode: ChangeMode) -> World {
        let dir = tempfile::tempdir().unwrap();
        let manage = open(dir.path());
        World::on(manage, dir, mode)
    }

    fn on(manage: Manage, dir: tempfile::TempDir, mode: ChangeMode) -> World {
        let first = bootstrap::first_start(&manage).unwrap();
        let operator = authenticated(&manage, &first.secret.unwrap());
        let reseller = new_org(&manage, &operator, "reseller", OrgKind::Reseller, mode);
        let reseller = as_superuser(&manage, &operator, &reseller);
        let acme = new_org(&manage, &reseller, "acme", OrgKind::Customer, mode);
        let other = new_org(&manage, &operator, "other", OrgKind::Customer, mode);
        let acme = customer(&manage, &operator, &acme, "acme.example.");
        let other = customer(&manage, &operator, &other, "other.example.");
        World { manage, dir, operator, reseller, acme, other }
    }

    /// The same data directory after a stop and a start.
    fn restarted(self) -> World {
        let World { manage, dir, operator, reseller, acme, other } = self;
        drop(manage);
        let manage = open(dir.path());
        World { manage, dir, operator, reseller, acme, other }
    }

    fn add(&self, context: &Context, zone: &Name, edits: Vec<EditAsk>) -> BasketChange {
        self.try_add(context, zone, edits).unwrap()
    }

    fn try_add(
        &self,
        context: &Context,
        zone: &Name,
        edits: Vec<EditAsk>,
    ) -> Result<BasketChange, BasketError> {
        basket::add(&self.manage, context, vec![change(zone, edits)])
    }

    fn place(&self, context: &Context) -> OrderView {
        self.try_place(context).unwrap()
    }

    fn try_place(&self, context: &Context) -> Result<OrderView, OrderError> {
        order::place(&self.manage, context, Place::default())
    }

    fn approve(&self, context: &Context, id: OrderId) -> Result<OrderView, OrderError> {
        approval::approve(&self.manage, context, id, Approve::default())
    }

    fn reject(&self, context: &Context, id: OrderId) -> Result<OrderView, OrderError> {
        let decline = Decline { comment: Some("not now".to_owned()) };
        approval::reject(&self.manage, context, id, decline)
    }

    fn push(&self, context: &Context, changes: Vec<Ask>) -> Result<OrderView, OrderError> {
        let set = ChangeSet { changes, ..ChangeSet::default() };
        match push::push(&self.manage, context, set)? {
            Pushed::Order(order) => Ok(*order),
            Pushed::Preview(_) => panic!("not a dry run"),
        }
    }

    /// The records served at an owner, as text.
    fn served(&self, zone: &Name, owner: &str, rtype: Type) -> Vec<String> {
        let owner = super::change::ask::owner(zone, owner).unwrap();
        self.manage.store.read(|rows| {
            let Some(zone) = zones::zone(rows, zone).unwrap() else { return Vec::new() };
            let set = zones::with_view(rows, &zone, |view| set_at(view, &owner, rtype)).unwrap();
            let set = set.map(|set| set.rrset.rdatas().to_vec()).unwrap_or_default();
            set.iter().map(|rdata| super::change::ask::text(rtype, rdata)).collect()
        })
    }

    fn serial(&self, zone: &Name) -> Option<u32> {
        let found = self.manage.store.read(|rows| zones::zone(rows, zone)).unwrap();
        found.map(|zone| zone.serial.0)
    }

    fn view(&self, context: &Context, zone: &Name, view: Which) -> RrsetPage {
        let query = RrsetQuery { view, limit: 1_000, ..RrsetQuery::default() };
        merged::rrsets(&self.manage, context, zone, &query).unwrap()
    }

    fn set_org(&self, org: OrgId, patch: OrgPatch) -> Organisation {
        organisation::update(&self.manage, &self.operator, org, patch).unwrap()
    }
}

fn authenticated(manage: &Manage, secret: &str) -> Context {
    token::authenticate(manage, secret).unwrap().unwrap()
}

/// A user's rights through a token with all of them.
fn acting_as(manage: &Manage, by: &Context, user: UserId) -> Context {
    let new = NewToken { name: "test".to_owned(), user: Some(user), ..NewToken::default() };
    authenticated(manage, &token::create(manage, by, new).unwrap().secret.unwrap())
}

fn new_org(
    manage: &Manage,
    by: &Context,
    handle: &str,
    kind: OrgKind,
    change_mode: ChangeMode,
) -> Organisation {
    let json = serde_json::json!({ "handle": handle, "kind": kind, "change_mode": change_mode });
    let new: NewOrg = serde_json::from_value(json).unwrap();
    organisation::create(manage, by, new).unwrap()
}

fn as_superuser(manage: &Manage, by: &Context, org: &Organisation) -> Context {
    let users = user::list(manage, by, org.id, None, 10).unwrap().items;
    acting_as(manage, by, users[0].id)
}

fn new_user(manage: &Manage, by: &Context, org: OrgId, role: UserRole) -> UserView {
    let new = NewUser { name: format!("{role:?}"), email: None, role, zones: None };
    user::create(manage, by, org, new).unwrap()
}

fn customer(manage: &Manage, operator: &Context, org: &Organisation, zone: &str) -> Customer {
    let superuser = as_superuser(manage, operator, org);
    let member = new_user(manage, &superuser, org.id, UserRole::Member);
    let member = acting_as(manage, &superuser, member.id);
    let zone = name(zone);
    let changes = vec![create(&zone, Some(org.id))];
    let set = ChangeSet { changes, ..ChangeSet::default() };
    push::push(manage, operator, set).unwrap();
    let changes = vec![change(&zone, vec![put("www", "A", 300, &["192.0.2.1"])])];
    let set = ChangeSet { changes, ..ChangeSet::default() };
    push::push(manage, operator, set).unwrap();
    Customer { org: org.id, superuser, member, zone }
}

fn create(zone: &Name, org: Option<OrgId>) -> Ask {
    Ask::ZoneCreate {
        zone: zone.clone(),
        org,
        zone_file: None,
        name_servers: vec![name("ns1.provider.example."), name("ns2.provider.example.")],
        hostmaster: None,
    }
}

fn change(zone: &Name, edits: Vec<EditAsk>) -> Ask {
    Ask::DnsChange { zone: zone.clone(), edits }
}

fn edit(name: &str, rtype: &str, op: OpWord, ttl: Option<u32>, records: &[&str]) -> EditAsk {
    EditAsk {
        name: name.to_owned(),
        rtype: rtype.to_owned(),
        op,
        ttl,
        records: records.iter().map(ToString::to_string).collect(),
        base: None,
    }
}

fn add(name: &str, rtype: &str, record: &str) -> EditAsk {
    edit(name, rtype, OpWord::Add, None, &[record])
}

fn remove(name: &str, rtype: &str, record: &str) -> EditAsk {
    edit(name, rtype, OpWord::Remove, None, &[record])
}

fn put(name: &str, rtype: &str, ttl: u32, records: &[&str]) -> EditAsk {
    edit(name, rtype, OpWord::Replace, Some(ttl), records)
}

fn delete(name: &str, rtype: &str) -> EditAsk {
    edit(name, rtype, OpWord::Delete, None, &[])
}

fn with_key(context: &Context, key: &str, asked: u8) -> Context {
    let idempotency = Some(IdempotencyKey { key: key.to_owned(), asked: [asked; 32] });
    Context { idempotency, ..context.clone() }
}
