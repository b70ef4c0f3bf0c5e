//! A zone's digest (RFC 8976) from outside: asked for by a policy, there in every version.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{PATIENCE, Server, skipped};

const ZONE: &str = "digest.test.";

fn file(server: &Server) -> String {
    let path = format!("/v1/zones/{ZONE}/file");
    let (status, body) =
        server.request("GET", &path, Some(&server.operator_token()), None).unwrap();
    assert_eq!(status, 200);
    body.as_str().unwrap().to_owned()
}

/// The zone's file once it is as `wanted`.
fn comes_to(server: &Server, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = file(server);
        if wanted(&text) {
            return text;
        }
        assert!(Instant::now() < end, "{what}: {text}\n{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
}

/// Others find the digest right; with two of the options the zone must also be signed well.
fn is_right(home: &Path, text: &str) {
    let path = home.join("zone");
    std::fs::write(&path, text).unwrap();
    match Command::new("ldns-verify-zone").args(["-ZZ", "-V", "1"]).arg(&path).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}\n{text}"),
        Err(_) => skipped("ldns-verify-zone is not installed"),
    }
}

fn digest(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains("\tZONEMD\t"))
}

/// The digest itself, without the spaces that a tool may put into it.
fn digest_octets(text: &str) -> String {
    let words = digest(text).unwrap().split("\tZONEMD\t").nth(1).unwrap().split(' ').skip(3);
    words.collect::<String>().to_uppercase()
}

/// What `dig` gets by IXFR from this serial; none without `dig`.
fn ixfr(server: &Server, serial: &str) -> Option<String> {
    let port = server.dns.port().to_string();
    let (since, mut dig) = (format!("IXFR={serial}"), Command::new("dig"));
    dig.args(["@127.0.0.1", "-p", &port, ZONE, &since, "+noall", "+answer", "+nosplit"]);
    let output = dig.output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap().to_uppercase())
}

/// Goal: `zonemd` of a policy is all it takes, and no version is without or with a wrong one.
#[test]
fn a_policy_gives_a_zone_its_digest_and_takes_it_away() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::start());
    let text = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n";
    let import = json!({"kind": "zone_import", "zone": ZONE, "zone_file": text});
    server.api("POST", "/v1/change-orders", Some(&json!({ "items": [import] })));
    let policy = |zonemd: bool| {
        server.api("PUT", "/v1/dnssec/policies/default", Some(&json!({ "zonemd": zonemd })))
    };
    assert_eq!(policy(true)["policy"]["zonemd"], true);
    let on = format!("/v1/zones/{ZONE}/dnssec?push=true");
    server.api("PUT", &on, Some(&json!({ "on": true })));
    let first = comes_to(&server, "no digest", |text| digest(text).is_some());
    is_right(home.path(), &first);

    let edit = json!({"op": "replace", "name": format!("www.{ZONE}"), "type": "A", "ttl": 60,
        "records": ["192.0.2.2"]});
    let change = json!({"zones": [{"zone": ZONE, "edits": [edit]}]});
    server.api("POST", "/v1/change-orders", Some(&change));
    let second = comes_to(&server, "no change", |text| text.contains("192.0.2.2"));
    assert_ne!(digest(&second), digest(&first));
    is_right(home.path(), &second);

    // Both digests are part of the step that leads from one version to the next.
    let path = format!("/v1/zones/{ZONE}/access");
    server.api("PUT", &path, Some(&json!({"transfer": ["127.0.0.1"]})));
    let (old, new) = (digest_octets(&first), digest_octets(&second));
    let serial =
        |text: &str| text.split("\tSOA\t").nth(1).unwrap().split(' ').nth(2).unwrap().to_owned();
    let steps = ixfr(&server, &serial(&first));
    if let Some(steps) = steps {
        let places = [&old, &new].map(|digest| steps.matches(digest.as_str()).count());
        assert_eq!(places, [1, 1], "{steps}");
        assert!(steps.contains("192.0.2.2") && !steps.contains("192.0.2.1\n"), "{steps}");
    }

    policy(false);
    comes_to(&server, "the digest stays", |text| !text.contains("ZONEMD"));
}

const SIGNED: &str = "signed.parent.test.";

/// A server with a zone that it signs, with its digest, and that anybody may transfer; the DS of it.
fn primary() -> (Server, Vec<String>) {
    let server = Server::start();
    let text = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n";
    let item = json!({"kind": "zone_import", "zone": SIGNED, "zone_file": text});
    server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
    server.api("PUT", "/v1/dnssec/policies/default", Some(&json!({ "zonemd": true })));
    server.api(
        "PUT",
        &format!("/v1/zones/{SIGNED}/access"),
        Some(&json!({"transfer": ["127.0.0.1"]})),
    );
    let on = json!({ "on": true });
    server.api("PUT", &format!("/v1/zones/{SIGNED}/dnssec?push=true"), Some(&on));
    let status = server.api("GET", &format!("/v1/zones/{SIGNED}/dnssec"), None);
    let dnskey = status["keys"][0]["dnskey"].as_str().unwrap();
    let apex = nameplane::wire::Name::parse(SIGNED).unwrap();
    let dnskey =
        nameplane::wire::rdata::parse(nameplane::wire::Type::DNSKEY, dnskey, None).unwrap();
    let ds = nameplane::sign::made::ds(&apex, &dnskey, 2).unwrap();
    (server, vec![nameplane::wire::rdata::display(nameplane::wire::Type::DS, &ds).to_string()])
}

/// Goal: what a signed zone says of itself is vouched for by the parent, where that is kept here.
/// Method: followed with the DS of its key, and with that of another.
#[test]
fn rfc8976_4_a_followed_zone_whose_signatures_its_parent_does_not_vouch_for_is_not_taken() {
    let (primary, right) = primary();
    let wrong = vec![format!("1 13 2 {}", "00".repeat(32))];
    for (ds, is_taken) in [(right, true), (wrong, false)] {
        let server = Server::start();
        let parent = format!(
            "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n\
             signed 60 NS ns.signed\nns.signed 60 A 192.0.2.1\nsigned 60 DS {}\n",
            ds[0]
        );
        let item = json!({"kind": "zone_import", "zone": "parent.test.", "zone_file": parent});
        server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
        let from = json!({"primaries": [{"address": primary.dns.to_string()}]});
        let standing = || server.api("GET", &format!("/v1/zones/{SIGNED}/primaries"), None);
        server.api("PUT", &format!("/v1/zones/{SIGNED}/primaries"), Some(&from));
        let end = Instant::now() + PATIENCE;
        let done = |standing: &serde_json::Value| match is_taken {
            true => standing["serial"].is_number(),
            false => standing["trouble"].as_str().is_some_and(|why| why.contains("over DNSKEY")),
        };
        while !done(&standing()) {
            assert!(Instant::now() < end, "{is_taken}: {:#}\n{}", standing(), server.log());
            thread::sleep(Duration::from_millis(50));
        }
        if is_taken {
            continue;
        }
        // Its parent says no more than that it is not secure: its own keys must do.
        let edit = json!({"op": "delete", "name": "signed", "type": "DS"});
        let item = json!({"kind": "dns_change", "zone": "parent.test.", "edits": [edit]});
        server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
        server.api("POST", &format!("/v1/zones/{SIGNED}/refresh"), Some(&json!({})));
        while !standing()["serial"].is_number() {
            assert!(Instant::now() < end, "{:#}\n{}", standing(), server.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}
