//! DNSSEC: switched, watched, rolled; and its policies.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::{DnssecCommand as Dnssec, DnssecPolicy, Target};
use super::{Failure, print, usage};

pub(super) fn run(command: Dnssec) -> Result<ExitCode, Failure> {
    match command {
        Dnssec::Status { zone, listing } => {
            let status = Api::look(&listing.target)?.get(&path(&zone, ""))?;
            match listing.json {
                true => print::line(&format!("{status:#}")),
                false => show(&status),
            }
        }
        Dnssec::On { zone, policy, strip, target } => {
            let wish = json!({ "on": true, "policy": policy, "strip": strip });
            switch(&zone, &wish, &target)?;
        }
        Dnssec::Off { zone, force, target } => {
            switch(&zone, &json!({ "on": false, "force_reason": force }), &target)?;
        }
        Dnssec::Schedule { listing } => {
            let rows = Api::look(&listing.target)?.all("/v1/dnssec/schedule")?;
            let columns = [
                ("AT", "at"),
                ("WAITS FOR", "waits_for"),
                ("ZONE", "zone"),
                ("STATE", "state"),
                ("STEP", "what"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        Dnssec::Clock { is_right, target } => {
            let api = Api::open(&target)?;
            let clock = match is_right {
                true => api.ask("/v1/dnssec/clock/trust")?,
                false => api.get("/v1/dnssec/clock")?,
            };
            let text = |key: &str| clock.get(key).and_then(Value::as_str).map(str::to_owned);
            let doubt = text("doubt").unwrap_or_else(|| "trusted".to_owned());
            print::line(&format!("{} {doubt}", text("shows").unwrap_or_default()));
        }
        Dnssec::Rollover { zone, role, emergency, target } => {
            let roles = (!role.is_empty()).then_some(role);
            let body = json!({ "roles": roles, "emergency": emergency });
            show(&Api::open(&target)?.post(&path(&zone, "/rollover"), &body)?);
        }
        Dnssec::DsPublished { zone, ttl, target } => seen(&zone, true, ttl, &target)?,
        Dnssec::DsGone { zone, ttl, target } => seen(&zone, false, ttl, &target)?,
        Dnssec::Foreign { zone, dnskey, target } => {
            let body = json!({ "dnskeys": dnskey });
            show(&Api::open(&target)?.put(&path(&zone, "/foreign-keys"), &body)?);
        }
        Dnssec::ImportKey { zone, public, private, target } => {
            let read = |file: &Path| {
                let text = std::fs::read_to_string(file);
                text.map_err(|error| format!("{}: {error}", file.display()))
            };
            let body = json!({ "public": read(&public)?, "private": read(&private)? });
            let key = Api::open(&target)?.post(&path(&zone, "/keys"), &body)?;
            print::line(&format!("{}", key.get("tag").unwrap_or(&Value::Null)));
        }
        Dnssec::ExportKey { zone, tag, dir, target } => export(&zone, tag, &dir, &target)?,
        Dnssec::Policy(command) => policy(command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(zone: &str, rest: &str) -> String {
    format!("/v1/zones/{}/dnssec{rest}", encoded(zone))
}

/// Who looks after the server has nobody to ask: pushed, not put into a basket.
fn switch(zone: &str, wish: &Value, target: &Target) -> Result<(), Failure> {
    let api = Api::open(target)?;
    api.put(&path(zone, "?push=true"), wish)?;
    show(&api.get(&path(zone, ""))?);
    Ok(())
}

fn seen(zone: &str, present: bool, ttl: Option<u32>, target: &Target) -> Result<(), Failure> {
    let body = json!({ "present": present, "ttl": ttl });
    let status = Api::open(target)?.post(&path(zone, "/parent"), &body)?;
    show(&status);
    let history = status.get("history").and_then(Value::as_array);
    let told = history.and_then(|lines| lines.iter().rfind(|line| is_word(line)));
    if let Some(told) = told.and_then(|line| line.get("what")).and_then(Value::as_str) {
        print::line(told);
    }
    Ok(())
}

/// Whether a line of a zone's past is of what somebody said of its parent.
fn is_word(line: &Value) -> bool {
    line.get("what").and_then(Value::as_str).is_some_and(|what| what.starts_with("told that"))
}

/// Writes the two files of a key, readable by their owner alone; prints where they are.
fn export(zone: &str, tag: u16, dir: &Path, target: &Target) -> Result<(), Failure> {
    let api = Api::open(target)?;
    let key = api.ask(&path(zone, &format!("/keys/{tag}/export")))?;
    let text = |half: &str| key.get(half).and_then(Value::as_str).unwrap_or_default().to_owned();
    let public = text("public");
    let algorithm = public.split_whitespace().nth(5).unwrap_or("0").to_owned();
    let number: u8 = algorithm.parse()?;
    let zone = zone.trim_end_matches('.');
    let stem = dir.join(format!("K{zone}.+{number:03}+{tag:05}"));
    for (ending, text) in [("key", public), ("private", text("private"))] {
        let file = PathBuf::from(format!("{}.{ending}", stem.display()));
        let mut options = std::fs::File::options();
        let open = options.write(true).create_new(true).mode(0o600).open(&file);
        let write = open.and_then(|mut open| open.write_all(text.as_bytes()));
        write.map_err(|error| format!("{}: {error}", file.display()))?;
        print::line(&file.display().to_string());
    }
    Ok(())
}

/// The state of a zone as a person reads it.
fn show(status: &Value) {
    let text = |key: &str| status.get(key).and_then(Value::as_str);
    let rows = |key: &str| status.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let zone = text("zone").unwrap_or_default();
    let policy = text("policy").map_or(String::new(), |policy| format!(", policy {policy}"));
    print::line(&format!("{zone} {}{policy}", text("state").unwrap_or_default()));
    if let Some(held) = status.get("held").filter(|held| held.is_object()) {
        let text = |key: &str| held.get(key).and_then(Value::as_str).unwrap_or_default();
        print::line(&format!("held since {}: {}", text("since"), text("why")));
    }
    if let Some(other) = text("second_signer") {
        print::line(&format!("second signer: {other}"));
    }
    if let Some(fault) = text("fault") {
        print::line(&format!("fault: {fault}"));
    }
    if let Some(fault) = status.pointer("/parent/fault").and_then(Value::as_str) {
        print::line(&format!("parent: {fault}"));
    }
    if let Some(trouble) = status.pointer("/parent/trouble").and_then(Value::as_str) {
        print::line(&format!("parent's DS: {trouble}"));
    }
    for ds in rows("ds") {
        print::line(&format!("DS {}", ds.as_str().unwrap_or_default()));
    }
    let keys = rows("keys");
    if !keys.is_empty() {
        let columns = [
            ("KEY", "tag"),
            ("ROLE", "role"),
            ("ALGORITHM", "algorithm"),
            ("FOREIGN", "foreign"),
            ("PUBLISHED", "published"),
            ("SIGNS KEYS", "signs_keys"),
            ("SIGNS ZONE", "signs_zone"),
            ("STAYS", "wanted"),
        ];
        print::rows(&keys, &columns, false);
    }
    let next = rows("next");
    if !next.is_empty() {
        print::rows(&next, &[("NEXT", "what"), ("AT", "at"), ("WAITS FOR", "waits_for")], false);
    }
}

fn policy(command: DnssecPolicy) -> Result<(), Failure> {
    let at = |name: &str, org: &Option<String>| {
        let org = org.as_ref().map_or(String::new(), |org| format!("?org={}", encoded(org)));
        format!("/v1/dnssec/policies{}{org}", encoded_name(name))
    };
    match command {
        DnssecPolicy::List { org, listing } => {
            let page = Api::look(&listing.target)?.get(&at("", &org))?;
            let rows = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let columns = [
                ("POLICY", "name"),
                ("ORG", "org"),
                ("ALGORITHM", "policy.algorithm"),
                ("SPLIT", "policy.split"),
                ("DENIAL", "policy.denial"),
            ];
            print::rows(&rows, &columns, listing.json);
        }
        DnssecPolicy::Set { name, fields, org, target } => {
            let api = Api::open(&target)?;
            let mut body = kept(&api, &name, &at("", &org))?;
            for field in fields {
                let (key, value) = field
                    .split_once('=')
                    .ok_or_else(|| usage(format!("{field} is not of the form field=value")))?;
                // Numbers, lists and truth values are JSON; whatever is not is a word.
                let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                body.insert(key.to_owned(), value);
            }
            let kept = api.put(&at(&name, &org), &Value::Object(body))?;
            print::line(&format!("{kept:#}"));
        }
        DnssecPolicy::Delete { name, org, target } => {
            Api::open(&target)?.delete(&at(&name, &org))?;
        }
    }
    Ok(())
}

/// The fields of a policy as it is so far; none if there is none. What nobody names stays as it is.
fn kept(api: &Api, name: &str, path: &str) -> Result<Map<String, Value>, Failure> {
    let page = api.get(path)?;
    // An organisation's own come first.
    let mut rows = page.get("items").and_then(Value::as_array).into_iter().flatten();
    let row = rows.find(|row| row.get("name").and_then(Value::as_str) == Some(name));
    let fields = row.and_then(|row| row.get("policy")).and_then(Value::as_object);
    Ok(fields.cloned().unwrap_or_default())
}

fn encoded_name(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!("/{}", encoded(name)),
    }
}
