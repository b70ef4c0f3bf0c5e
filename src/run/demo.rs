//! The demo world: an operator, a reseller, two customers with their people, zones, a basket, and an
//! order that waits for approval. Made once, by the first start with `--demo`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;
use serde_json::json;

use super::{Failure, write_secret};
use crate::maintain::Content;
use crate::manage::access::Context;
use crate::manage::change::ask::Ask;
use crate::manage::change::basket;
use crate::manage::change::order::{self, Place};
use crate::manage::holding::import::{self, Import};
use crate::manage::id::OrgId;
use crate::manage::people::organisation::{self, ChangeMode, NewOrg, OrgKind};
use crate::manage::people::token::{self, NewToken};
use crate::manage::people::user::{self, NewUser, UserRole};
use crate::manage::{Manage, bootstrap};
use crate::wire::Name;
use crate::zone::text::{self, Options};

/// The example zones, so that the demo needs no checkout beside the binary.
#[derive(RustEmbed)]
#[folder = "zones-example"]
struct Examples;

/// Who holds which example zone; the operator holds the others.
const HOLDERS: &[(&str, &str)] = &[
    ("shop.example.", "shop"),
    ("rowing-club.example.", "club"),
    ("xn--mnchen-3ya.example.", "club"),
    ("customer.hosting.example.", "shop"),
    ("hosting.example.", "harbour"),
];

/// The directory of the demo's tokens, below the data directory.
fn tokens_in(dir: &Path) -> PathBuf {
    dir.join("demo")
}

/// Fills an empty directory.
pub(super) fn fill(manage: &Manage, dir: &Path) -> Result<(), Failure> {
    let system = bootstrap::system(manage).map_err(|stop| stop.to_string())?;
    std::fs::create_dir_all(tokens_in(dir))?;
    let harbour =
        organisation(manage, &system, "harbour", OrgKind::Reseller, ChangeMode::Direct, None)?;
    let shop = organisation(
        manage,
        &system,
        "shop",
        OrgKind::Customer,
        ChangeMode::Approval,
        Some(harbour),
    )?;
    let club = organisation(
        manage,
        &system,
        "club",
        OrgKind::Customer,
        ChangeMode::Basket,
        Some(harbour),
    )?;
    let holder = |apex: &Name| {
        let handle =
            HOLDERS.iter().find(|(zone, _)| *zone == apex.to_string()).map(|(_, org)| *org);
        match handle {
            Some("harbour") => harbour,
            Some("shop") => shop,
            Some("club") => club,
            _ => system.org,
        }
    };
    take_zones(manage, &system, holder)?;

    person(manage, &system, dir, (harbour, "harbour"), Who::Superuser)?;
    person(manage, &system, dir, (shop, "shop"), Who::Superuser)?;
    let anna = person(manage, &system, dir, (shop, "shop"), Who::Member)?;
    person(manage, &system, dir, (club, "club"), Who::Superuser)?;
    let ben = person(manage, &system, dir, (club, "club"), Who::Member)?;

    basket(
        manage,
        &ben,
        json!({ "kind": "dns_change", "zone": "rowing-club.example.", "edits": [
            { "op": "add", "name": "regatta", "type": "A", "ttl": 3600, "records": ["198.51.100.24"] },
        ]}),
    )?;
    basket(
        manage,
        &anna,
        json!({ "kind": "dns_change", "zone": "shop.example.", "edits": [
            { "op": "replace", "name": "mail", "type": "A", "ttl": 3600, "records": ["192.0.2.112"] },
        ]}),
    )?;
    let note = Some("the mail server moves on Friday".to_owned());
    order::place(manage, &anna, Place { note, ..Place::default() })
        .map_err(|error| error.to_string())?;
    Ok(())
}

fn organisation(
    manage: &Manage,
    system: &Context,
    handle: &str,
    kind: OrgKind,
    change_mode: ChangeMode,
    parent: Option<OrgId>,
) -> Result<OrgId, Failure> {
    let new =
        json!({ "handle": handle, "kind": kind, "change_mode": change_mode, "parent": parent });
    let new: NewOrg = serde_json::from_value(new)?;
    Ok(organisation::create(manage, system, new).map_err(|error| error.to_string())?.id)
}

/// Who has a token in the demo.
#[derive(Clone, Copy)]
enum Who {
    /// The superuser the organisation was made with.
    Superuser,
    /// A member made for it.
    Member,
}

/// Makes a token for somebody, keeps the secret in the demo's directory, and acts as them.
fn person(
    manage: &Manage,
    system: &Context,
    dir: &Path,
    (org, handle): (OrgId, &str),
    who: Who,
) -> Result<Context, Failure> {
    let (name, user) = match who {
        Who::Superuser => {
            let user = manage.store.read(|rows| user::a_superuser(rows, org))?;
            (format!("{handle}-superuser"), user.ok_or("an organisation without a superuser")?)
        }
        Who::Member => {
            let name = format!("{handle}-member");
            let role = UserRole::Member;
            let new = NewUser { name: name.replace('-', " "), email: None, role, zones: None };
            (name, user::create(manage, system, org, new).map_err(|error| error.to_string())?.id)
        }
    };
    let new = NewToken { name: name.clone(), user: Some(user), ..NewToken::default() };
    let fresh = token::create(manage, system, new).map_err(|error| error.to_string())?;
    let secret = fresh.secret.ok_or("a token without its secret")?;
    write_secret(&tokens_in(dir).join(format!("{name}.token")), &secret)?;
    let context = token::authenticate(manage, &secret).map_err(|stop| stop.to_string())?;
    Ok(context.map_err(|error| error.to_string())?)
}

fn take_zones(
    manage: &Manage,
    system: &Context,
    holder: impl Fn(&Name) -> OrgId,
) -> Result<(), Failure> {
    for file in Examples::iter() {
        let Some(name) = file.strip_suffix(".zone") else { continue };
        let data = Examples::get(&file).ok_or("an example is gone")?.data;
        let mut include = |part: &str| match Examples::get(part) {
            Some(part) => Ok(part.data.into_owned()),
            None => Err(format!("{part} is no example")),
        };
        let options = Options {
            origin: Some(Name::parse(name)?),
            includes: Some(&mut include),
            ..Options::default()
        };
        let parsed = text::parse(&data, options).map_err(|faults| {
            faults.iter().map(|fault| format!("{file}:{fault}\n")).collect::<String>()
        })?;
        let org = holder(&parsed.apex);
        let content = Content::Packed { octets: parsed.packed, presigned: parsed.signed };
        let imports = vec![Import { apex: parsed.apex, content }];
        let done = import::import(manage, system, org, imports).map_err(|stop| stop.to_string())?;
        for (apex, result) in done {
            result.map_err(|reasons| format!("{apex}: {}", reasons.join("; ")))?;
        }
    }
    Ok(())
}

fn basket(manage: &Manage, context: &Context, ask: serde_json::Value) -> Result<(), Failure> {
    let ask: Ask = serde_json::from_value(ask)?;
    basket::add(manage, context, vec![ask]).map_err(|error| error.to_string())?;
    Ok(())
}

/// What to try, for the person at the terminal: to be pasted as it stands, wherever that one is.
pub(super) fn hints(dir: &Path, dns: &[SocketAddr], http: SocketAddr) -> String {
    let (address, port) =
        dns.first().map_or(("127.0.0.1".into(), 53), |dns| (dns.ip().to_string(), dns.port()));
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let tokens = tokens_in(&dir);
    let token = |name: &str| tokens.join(format!("{name}.token")).display().to_string();
    let (member, superuser) = (token("shop-member"), token("shop-superuser"));
    let operator = dir.join(super::OPERATOR_TOKEN).display().to_string();
    format!(
        r#"
nameplane answers. Try, in another terminal:

  dig @{address} -p {port} +short api.shop.example A

One change from basket to answer: a member of the shop asks, its superuser approves.

  member=$(cat '{member}'); superuser=$(cat '{superuser}')
  curl -sS http://{http}/v1/basket/items -H "Authorization: Bearer $member" -H 'Content-Type: application/json' \
    -d '{{"kind":"dns_change","zone":"shop.example.","edits":[{{"op":"replace","name":"api","type":"A","ttl":300,"records":["192.0.2.111"]}}]}}'
  order=$(curl -sS -X POST http://{http}/v1/basket/place -H "Authorization: Bearer $member" | jq -r .id)
  curl -sS -X POST "http://{http}/v1/orders/$order/approve" -H "Authorization: Bearer $superuser"
  dig @{address} -p {port} +short api.shop.example A

The API describes itself at http://{http}/api. Tokens: {operator} (operator), and in {}:
harbour-superuser (a reseller), shop-superuser, shop-member, club-superuser, club-member.
"#,
        tokens.display()
    )
}
