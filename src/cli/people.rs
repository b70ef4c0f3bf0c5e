//! Organisations, users, tokens, orders: each command is one request.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::{Order, Org, Target, Token, User};
use super::{Failure, print, usage};
use crate::manage::time::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn org(command: Org) -> Result<ExitCode, Failure> {
    match command {
        Org::Create { name, kind, change_mode, parent, target } => {
            let api = Api::open(&target)?;
            let mut body = json!({ "handle": name, "kind": kind, "change_mode": change_mode });
            if let Some(parent) = parent {
                body["parent"] = api.get(&format!("/v1/orgs/{}", encoded(&parent)))?["id"].take();
            }
            print::line(text(&api.post("/v1/orgs", &body)?, "id"));
        }
        Org::Access { org, transfer, target } => {
            let path = format!("/v1/orgs/{}/access", encoded(&org));
            super::access::access(&target, &path, &[("transfer", transfer)])?;
        }
        Org::List { listing } => {
            let rows = Api::look(&listing.target)?.all("/v1/orgs")?;
            let columns =
                [("ORG", "handle"), ("KIND", "kind"), ("MODE", "change_mode"), ("ID", "id")];
            print::rows(&rows, &columns, listing.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn user(command: User) -> Result<ExitCode, Failure> {
    match command {
        User::Create { login, org, role, target } => {
            let path = format!("/v1/orgs/{}/users", encoded(&org));
            let user = Api::open(&target)?.post(&path, &json!({ "name": login, "role": role }))?;
            print::line(text(&user, "id"));
        }
        User::List { org, listing } => {
            let rows =
                Api::look(&listing.target)?.all(&format!("/v1/orgs/{}/users", encoded(&org)))?;
            let columns =
                [("USER", "name"), ("ROLE", "role"), ("ENABLED", "enabled"), ("ID", "id")];
            print::rows(&rows, &columns, listing.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn token(command: Token) -> Result<ExitCode, Failure> {
    match command {
        Token::Create { role, org, user, note, expires_days, target } => {
            let api = Api::open(&target)?;
            let mut body = Map::new();
            body.insert("name".into(), if note.is_empty() { role.clone() } else { note }.into());
            if let Some(user) = owner(&api, &role, org.as_deref(), user.as_deref())? {
                body.insert("user".into(), user);
            }
            if let Some(days) = expires_days {
                let end = SystemTime::now() + DAY * days;
                let micros = end.duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
                body.insert("expires_at".into(), json!(Timestamp(u64::try_from(micros)?)));
            }
            body.insert("role".into(), role.into());
            let fresh = api.post("/v1/tokens", &Value::Object(body))?;
            print::line(text(&fresh, "secret"));
        }
        Token::List { org, listing } => {
            let path = org
                .map_or("/v1/tokens".to_owned(), |org| format!("/v1/tokens?org={}", encoded(&org)));
            let rows = Api::look(&listing.target)?.all(&path)?;
            let columns = [
                ("ID", "id"),
                ("SECRET", "prefix"),
                ("NAME", "name"),
                ("ENDS", "expires_at"),
                ("REVOKED", "revoked_at"),
                ("LAST USED", "last_used_at"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Token::Revoke { id, target } => {
            Api::open(&target)?.delete(&format!("/v1/tokens/{}", encoded(&id)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The user a new token acts for: the one named, else the first of the organisation with the role.
fn owner(
    api: &Api,
    role: &str,
    org: Option<&str>,
    user: Option<&str>,
) -> Result<Option<Value>, Failure> {
    let Some(org) = org else {
        return match user {
            Some(user) => Ok(Some(user.into())),
            None if role == "operator" => Ok(None),
            None => Err(usage(format!("a {role} is somebody's: name --org or --user"))),
        };
    };
    let users = api.all(&format!("/v1/orgs/{}/users", encoded(org)))?;
    let wanted = |row: &&Value| match user {
        Some(user) => text(row, "id") == user || text(row, "name") == user,
        None => role == "operator" || text(row, "role") == role,
    };
    match users.iter().find(wanted) {
        Some(row) => Ok(row.get("id").cloned()),
        None => Err(format!(
            "{org} has no {}: make one with `nameplane user create NAME --org {org} --role {role}`",
            user.unwrap_or(role)
        )
        .into()),
    }
}

pub(super) fn order(command: Order) -> Result<ExitCode, Failure> {
    match command {
        Order::List { org, state, listing } => {
            let query = [("org", org), ("state", state)];
            let query: Vec<String> = query
                .into_iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))))
                .collect();
            let path = match query.is_empty() {
                true => "/v1/orders".to_owned(),
                false => format!("/v1/orders?{}", query.join("&")),
            };
            let rows = Api::look(&listing.target)?.all(&path)?;
            let columns =
                [("NUMBER", "number"), ("STATE", "state"), ("PLACED", "placed_at"), ("ID", "id")];
            print::rows(&rows, &columns, listing.json);
        }
        Order::Show { id, listing } => {
            let order = Api::look(&listing.target)?.get(&format!("/v1/orders/{}", encoded(&id)))?;
            print::line(&format!("{order:#}"));
        }
        Order::Approve { id, target } => step(&target, &id, "approve", &json!({}))?,
        Order::Reject { id, reason, target } => {
            step(&target, &id, "reject", &json!({ "comment": reason }))?;
        }
        Order::Hold { id, reason, target } => {
            step(&target, &id, "hold", &json!({ "comment": reason }))?;
        }
        Order::Release { id, target } => step(&target, &id, "release", &Value::Null)?,
        Order::Cancel { id, target } => step(&target, &id, "cancel", &json!({}))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes an order one step on, and says where it stands.
fn step(target: &Target, id: &str, verb: &str, body: &Value) -> Result<(), Failure> {
    let path = format!("/v1/orders/{}/{verb}", encoded(id));
    let order = Api::open(target)?.post(&path, body)?;
    print::line(text(&order, "state"));
    Ok(())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
