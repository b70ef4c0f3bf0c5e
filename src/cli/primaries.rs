//! Zones whose primary is elsewhere: each command is one request.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::Primaries;
use super::{Failure, print, usage};

pub(super) fn run(command: Primaries) -> Result<ExitCode, Failure> {
    let path = |zone: &str| format!("/v1/zones/{}/primaries", encoded(zone));
    match command {
        Primaries::Set { zone, primaries, org, catalog, target } => {
            let api = Api::open(&target)?;
            let primaries =
                primaries.iter().map(|text| primary(text)).collect::<Result<Vec<_>, _>>()?;
            let mut body = Map::new();
            body.insert("primaries".into(), primaries.into());
            body.insert("catalog".into(), catalog.into());
            if let Some(org) = org {
                let org = api.get(&format!("/v1/orgs/{}", encoded(&org)))?["id"].take();
                body.insert("org".into(), org);
            }
            api.put(&path(&zone), &Value::Object(body))?;
        }
        Primaries::Show { zone, target } => {
            let view = Api::open(&target)?.get(&path(&zone))?;
            print::line(&serde_json::to_string_pretty(&view)?);
        }
        Primaries::List { listing } => {
            let rows = Api::look(&listing.target)?.all("/v1/secondary-zones")?;
            let columns = [
                ("ZONE", "zone"),
                ("SERIAL", "serial"),
                ("STATE", "state"),
                ("NEXT", "next"),
                ("AT", "next_at"),
                ("EXPIRES", "expires_at"),
                ("TROUBLE", "trouble"),
                ("PASSED OVER", "passed_over"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Primaries::Remove { zone, target } => {
            Api::open(&target)?.delete(&path(&zone))?;
        }
        Primaries::Refresh { zone, transfer, any_serial, target } => {
            let body = json!({"transfer": transfer, "any_serial": any_serial});
            Api::open(&target)?.post(&format!("/v1/zones/{}/refresh", encoded(&zone)), &body)?;
        }
        Primaries::Group { catalog, group, org, policy, transfer, primaries, target } => {
            let api = Api::open(&target)?;
            let org = org.map(|org| api.get(&format!("/v1/orgs/{}", encoded(&org)))).transpose()?;
            let org = org.map(|mut org| org["id"].take());
            let body = rule(org, policy, &transfer, &primaries)?;
            api.put(&group_path(&catalog, &group), &body)?;
        }
        Primaries::Groups { catalog, listing } => {
            let path = format!("/v1/zones/{}/groups", encoded(&catalog));
            let rows = Api::look(&listing.target)?.all(&path)?;
            let columns = [
                ("GROUP", "group"),
                ("ORG", "org"),
                ("POLICY", "dnssec_policy"),
                ("TRANSFER", "transfer"),
                ("PRIMARIES", "primaries"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Primaries::Ungroup { catalog, group, target } => {
            Api::open(&target)?.delete(&group_path(&catalog, &group))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the zones of a group get; what is not said is left out.
fn rule(
    org: Option<Value>,
    policy: Option<String>,
    transfer: &[String],
    primaries: &[String],
) -> Result<Value, Failure> {
    let primaries = primaries.iter().map(|text| primary(text)).collect::<Result<Vec<_>, _>>()?;
    let parts = [
        ("org", org),
        ("dnssec_policy", policy.map(Value::from)),
        ("transfer", (!transfer.is_empty()).then(|| transfer.into())),
        ("primaries", (!primaries.is_empty()).then(|| primaries.into())),
    ];
    let said = parts.into_iter().filter_map(|(part, value)| Some((part.to_owned(), value?)));
    Ok(Value::Object(said.collect()))
}

fn group_path(catalog: &str, group: &str) -> String {
    format!("/v1/zones/{}/groups/{}", encoded(catalog), encoded(group))
}

/// A primary as `address[,key=NAME][,tls=NAME][,pin=BASE64]…`.
fn primary(text: &str) -> Result<Value, Failure> {
    let mut words = text.split(',');
    let mut primary = Map::new();
    primary.insert("address".into(), words.next().unwrap_or_default().into());
    let (mut name, mut pins) = (None, Vec::new());
    for word in words {
        match word.split_once('=') {
            Some(("key", key)) => drop(primary.insert("key".into(), key.into())),
            Some(("tls", server)) => name = Some(server),
            Some(("pin", pin)) => pins.push(pin),
            _ => return Err(usage(format!("{word:?} is none of key=…, tls=…, pin=…"))),
        }
    }
    if name.is_some() || !pins.is_empty() {
        primary.insert("tls".into(), json!({"name": name, "pins": pins}));
    }
    Ok(Value::Object(primary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_is_an_address_and_how_it_is_known() {
        assert_eq!(primary("192.0.2.1").unwrap(), json!({"address": "192.0.2.1"}));
        assert_eq!(
            primary("192.0.2.1,key=k,tls=ns.example,pin=AA==").unwrap(),
            json!({
                "address": "192.0.2.1", "key": "k",
                "tls": {"name": "ns.example", "pins": ["AA=="]},
            })
        );
        assert!(primary("192.0.2.1,k").is_err());
    }
}
