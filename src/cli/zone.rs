//! Zones: in, out, listed, checked, deleted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::api::{Api, encoded};
use super::args::Zone;
use super::import;
use super::{Failure, primaries, print, secondary};

pub(super) fn run(command: Zone) -> Result<ExitCode, Failure> {
    match command {
        Zone::Import(import) => return import::run(import),
        Zone::Primaries(command) => return primaries::run(command),
        Zone::Export { zone, target, output } => {
            let text = Api::look(&target)?.text(&format!("/v1/zones/{}/file", encoded(&zone)))?;
            match output {
                Some(file) => std::fs::write(&file, text)
                    .map_err(|error| format!("{}: {error}", file.display()))?,
                None => print::text(&text),
            }
        }
        Zone::List { listing, org } => {
            let path = org
                .map_or("/v1/zones".to_owned(), |org| format!("/v1/zones?org={}", encoded(&org)));
            let api = Api::look(&listing.target)?;
            let mut rows = api.all(&path)?;
            if !listing.json {
                by_handle(&api, &mut rows);
            }
            let columns = [
                ("ZONE", "name"),
                ("SERIAL", "serial"),
                ("STATE", "state"),
                ("RECORDS", "records"),
                ("ORG", "org"),
                ("HELD BECAUSE", "held_because"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Zone::Servers { zone, listing } => return secondary::servers(&zone, &listing),
        Zone::Waive { zone, name, reason, end: _, target } => {
            return secondary::waive(&zone, &name, reason.as_deref(), &target);
        }
        Zone::Look { zone, target } => return secondary::look(&zone, &target),
        Zone::Check { paths, zone } => return check_files(&paths, zone.as_deref()),
        Zone::Access { zone, transfer, query, target } => {
            let path = format!("/v1/zones/{}/access", encoded(&zone));
            super::access::access(&target, &path, &[("transfer", transfer), ("query", query)])?;
        }
        Zone::Delete { zone, target } => {
            // Who looks after the server has nobody to ask: pushed, not put into a basket.
            let items = json!({ "items": [{ "kind": "zone_delete", "zone": zone }] });
            Api::open(&target)?.post("/v1/change-orders", &items)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the names of organisations, as far as they may be seen, in the place of their ids.
fn by_handle(api: &Api, rows: &mut [Value]) {
    let orgs = api.all("/v1/orgs").unwrap_or_default();
    let handles: BTreeMap<&str, &Value> = orgs
        .iter()
        .filter_map(|org| Some((org.get("id")?.as_str()?, org.get("handle")?)))
        .collect();
    for org in rows.iter_mut().filter_map(|row| row.get_mut("org")) {
        if let Some(handle) = org.as_str().and_then(|id| handles.get(id)) {
            *org = (*handle).clone();
        }
    }
}

/// Names every fault of every file; 1 if there was one that keeps a file from being served.
fn check_files(paths: &[impl AsRef<Path>], apex: Option<&str>) -> Result<ExitCode, Failure> {
    let apex = apex.map(import::apex_named).transpose()?;
    let mut bad = false;
    for source in import::sources(paths, apex)? {
        let parsed = match source.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                print::complain(&format!("{}: {error}", source.path.display()));
                bad = true;
                continue;
            }
        };
        bad |= parsed.is_err();
        let faults = parsed.map_or_else(|faults| faults, |parsed| parsed.warnings);
        for fault in &faults {
            print::line(&format!("{}:{fault}", source.path.display()));
        }
        if faults.is_empty() {
            print::line(&format!("{}: no faults", source.path.display()));
        }
    }
    Ok(ExitCode::from(u8::from(bad)))
}
