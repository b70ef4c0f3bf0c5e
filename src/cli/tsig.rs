//! TSIG keys: each command is one request.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::Tsig;
use super::{Failure, print};

pub(super) fn tsig(command: Tsig) -> Result<ExitCode, Failure> {
    match command {
        Tsig::Create { name, algorithm, secret_file, org, zone, mac_octets, target } => {
            let api = Api::open(&target)?;
            let mut body = Map::new();
            body.insert("name".into(), name.into());
            body.insert("algorithm".into(), algorithm.into());
            body.insert("zones".into(), json!(zone));
            if let Some(octets) = mac_octets {
                body.insert("mac_octets".into(), octets.into());
            }
            if let Some(org) = org {
                let org = api.get(&format!("/v1/orgs/{}", encoded(&org)))?["id"].take();
                body.insert("org".into(), org);
            }
            if let Some(file) = secret_file {
                body.insert("secret".into(), secret(&file)?.into());
            }
            let fresh = api.post("/v1/tsig-keys", &Value::Object(body))?;
            print::line(fresh["secret"].as_str().unwrap_or_default());
        }
        Tsig::List { org, listing } => {
            let path = org.map_or("/v1/tsig-keys".to_owned(), |org| {
                format!("/v1/tsig-keys?org={}", encoded(&org))
            });
            let rows = Api::look(&listing.target)?.all(&path)?;
            let columns = [
                ("KEY", "name"),
                ("ALGORITHM", "algorithm"),
                ("MADE", "created_at"),
                ("CHANGED", "rotated_at"),
                ("OLD SECRET UNTIL", "previous_until"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Tsig::Rotate { name, secret_file, overlap_s, target } => {
            let mut body = Map::new();
            if let Some(overlap_s) = overlap_s {
                body.insert("overlap_s".into(), overlap_s.into());
            }
            if let Some(file) = secret_file {
                body.insert("secret".into(), secret(&file)?.into());
            }
            let path = format!("/v1/tsig-keys/{}/rotate", encoded(&name));
            let fresh = Api::open(&target)?.post(&path, &Value::Object(body))?;
            print::line(fresh["secret"].as_str().unwrap_or_default());
        }
        Tsig::Policy { name, none: true, target, .. } => {
            Api::open(&target)?.delete(&policy_of(&name))?;
        }
        Tsig::Policy { name, grant, user, mode, target, .. } => {
            let api = Api::open(&target)?;
            let policy = match grant.is_empty() {
                true => api.get(&policy_of(&name))?,
                false => {
                    let grants =
                        grant.iter().map(|text| granted(text)).collect::<Result<Vec<_>, _>>()?;
                    api.put(
                        &policy_of(&name),
                        &json!({ "grants": grants, "user": user, "mode": mode }),
                    )?
                }
            };
            print::line(&format!("{policy:#}"));
        }
        Tsig::Delete { name, target } => {
            Api::open(&target)?.delete(&format!("/v1/tsig-keys/{}", encoded(&name)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn policy_of(key: &str) -> String {
    format!("/v1/tsig-keys/{}/update-policy", encoded(key))
}

/// `NAME [below] [TYPES]`.
fn granted(text: &str) -> Result<Value, Failure> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (name, below, types) = match words.as_slice() {
        [name] => (name, false, ""),
        [name, "below"] => (name, true, ""),
        [name, "below", types] => (name, true, *types),
        [name, types] => (name, false, *types),
        _ => return Err(format!("{text:?} is not NAME, NAME below, or either with TYPES").into()),
    };
    let types: Vec<&str> = types.split(',').filter(|rtype| !rtype.is_empty()).collect();
    Ok(json!({ "name": name, "below": below, "types": types }))
}

/// A secret out of a file: on the command line everybody on the machine could read it.
fn secret(file: &std::path::Path) -> Result<String, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim().to_owned())
}
