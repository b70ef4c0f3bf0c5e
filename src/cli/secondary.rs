//! Secondaries, and what the servers of a zone were told and seen with.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::api::{Api, encoded};
use super::args::{Listing, Secondary, Target};
use super::{Failure, print};

pub(super) fn run(command: Secondary) -> Result<ExitCode, Failure> {
    match command {
        Secondary::Add { name, addresses, key, org, zones, no_notify, no_probe, target } => {
            let api = Api::open(&target)?;
            let mut body = json!({
                "name": name, "addresses": addresses, "notify": !no_notify, "probe": !no_probe,
            });
            if let Some(key) = key {
                body["key"] = key.into();
            }
            if let Some(org) = org {
                body["org"] = api.get(&format!("/v1/orgs/{}", encoded(&org)))?["id"].take();
            }
            if !zones.is_empty() {
                body["zones"] = zones.into();
            }
            api.post("/v1/secondaries", &body)?;
        }
        Secondary::List { listing } => {
            let rows = Api::look(&listing.target)?.all("/v1/secondaries")?;
            let columns = [
                ("SECONDARY", "name"),
                ("ADDRESSES", "addresses"),
                ("KEY", "key"),
                ("ORG", "org"),
                ("ZONES", "zones"),
                ("NOTIFY", "notify"),
                ("PROBE", "probe"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Secondary::Remove { name, target } => {
            Api::open(&target)?.delete(&format!("/v1/secondaries/{}", encoded(&name)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the servers of a zone.
pub(super) fn servers(zone: &str, listing: &Listing) -> Result<ExitCode, Failure> {
    let path = format!("/v1/zones/{}/servers", encoded(zone));
    let shown = Api::look(&listing.target)?.get(&path)?;
    let servers = shown.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
    let columns = [
        ("SERVER", "names"),
        ("ADDRESS", "address"),
        ("STATE", "state"),
        ("SERIAL", "serial"),
        ("NOTIFY", "notify.state"),
        ("WAIVED", "waived"),
        ("ASKED", "asked_at"),
        ("DETAIL", "detail"),
    ];
    print::rows(&servers, &columns, listing.json);
    Ok(ExitCode::SUCCESS)
}

/// Has the servers of a zone told and asked now.
pub(super) fn look(zone: &str, target: &Target) -> Result<ExitCode, Failure> {
    Api::open(target)?.ask(&format!("/v1/zones/{}/servers/look", encoded(zone)))?;
    Ok(ExitCode::SUCCESS)
}

/// Lets no order of a zone wait for a server, for a reason; without, has them wait for it again.
pub(super) fn waive(
    zone: &str,
    server: &str,
    reason: Option<&str>,
    target: &Target,
) -> Result<ExitCode, Failure> {
    let path = format!("/v1/zones/{}/servers/waivers/{}", encoded(zone), encoded(server));
    let api = Api::open(target)?;
    match reason {
        Some(reason) => drop(api.put(&path, &json!({ "reason": reason }))?),
        None => drop(api.delete(&path)?),
    }
    Ok(ExitCode::SUCCESS)
}
