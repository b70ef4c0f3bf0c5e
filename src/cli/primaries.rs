//! Zones whose primary is elsewhere: each command is one request.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::Primaries;
use super::{Failure, print};

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
            let rows = Api::open(&listing.target)?.all("/v1/secondary-zones")?;
            let columns = [
                ("ZONE", "zone"),
                ("SERIAL", "serial"),
                ("STATE", "state"),
                ("NEXT", "next"),
                ("AT", "next_at"),
                ("EXPIRES", "expires_at"),
                ("TROUBLE", "trouble"),
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
    }
    Ok(ExitCode::SUCCESS)
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
            _ => return Err(format!("{word:?} is none of key=…, tls=…, pin=…").into()),
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
