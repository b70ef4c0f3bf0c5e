//! Catalogs, and the zones in them.

use std::process::ExitCode;

use serde_json::{Map, json};

use super::api::{Api, encoded};
use super::args::Catalog;
use super::{Failure, print};

pub(super) fn run(command: Catalog) -> Result<ExitCode, Failure> {
    match command {
        Catalog::Create { name, org, zones, group, target } => {
            let api = Api::open(&target)?;
            let mut body = json!({ "zone": name });
            if let Some(org) = org {
                body["org"] = api.get(&format!("/v1/orgs/{}", encoded(&org)))?["id"].take();
            }
            if !zones.is_empty() {
                body["zones"] = zones.into();
            }
            if let Some(group) = group {
                body["group"] = group.into();
            }
            api.post("/v1/catalogs", &body)?;
        }
        Catalog::List { listing } => {
            let rows = Api::look(&listing.target)?.all("/v1/catalogs")?;
            let columns = [
                ("CATALOG", "zone"),
                ("SERIAL", "serial"),
                ("ORG", "org"),
                ("ZONES", "zones"),
                ("GROUP", "group"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Catalog::Members { name, listing } => {
            let path = format!("/v1/catalogs/{}/members", encoded(&name));
            let rows = Api::look(&listing.target)?.all(&path)?;
            let columns = [("ZONE", "zone"), ("GROUP", "group"), ("CHOSEN", "chosen")];
            print::rows(&rows, &columns, listing.json);
        }
        Catalog::Join { name, zone, group, target } => {
            let body: Map<_, _> =
                group.map(|group| ("group".to_owned(), group.into())).into_iter().collect();
            let path = format!("/v1/catalogs/{}/members/{}", encoded(&name), encoded(&zone));
            Api::open(&target)?.put(&path, &body.into())?;
        }
        Catalog::Leave { name, zone, target } => {
            let path = format!("/v1/catalogs/{}/members/{}", encoded(&name), encoded(&zone));
            Api::open(&target)?.delete(&path)?;
        }
        Catalog::Delete { name, target } => {
            Api::open(&target)?.delete(&format!("/v1/catalogs/{}", encoded(&name)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
