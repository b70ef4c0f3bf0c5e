//! The line as a customer's program sees it, over the wire: orders for a time, waiting for them, calling
//! too often, and what is never written down.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use hickory_proto::rr::RecordType;
use nameplane::manage::time::Timestamp;
use serde_json::{Value, json};

use crate::http_client::{self, Response};
use crate::server::{Server, is_here, nameplane};

const ZONE: &str = "one.example.";

/// A server with one zone, and a settings file.
fn serving(settings: &str) -> (Server, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let (config, file) = (home.path().join("server.toml"), home.path().join("one.example.zone"));
    std::fs::write(&config, settings).unwrap();
    std::fs::write(
        &file,
        "@ 60 SOA ns.example. host.example. 1 2 3 4 5\n@ 60 NS ns.example.\nwww 60 A 192.0.2.1\n",
    )
    .unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let import = nameplane()
        .args(["zone", "import", "--server", &format!("http://{}", server.http)])
        .args(["--token", &server.operator_token(), file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    (server, home)
}

/// This moment, `later`, as RFC 3339 has it.
fn moment(later: Duration) -> (SystemTime, String) {
    let at = SystemTime::now() + later;
    let micros = at.duration_since(UNIX_EPOCH).unwrap().as_micros();
    (at, Timestamp(u64::try_from(micros).unwrap()).to_string())
}

fn push_for(server: &Server, name: &str, at: &str) -> Value {
    let edit =
        json!({ "op": "add", "name": name, "type": "A", "ttl": 60, "records": ["192.0.2.7"] });
    let body = json!({ "not_before": at, "zones": [{ "zone": ZONE, "edits": [edit] }] });
    server.api("POST", "/v1/change-orders", Some(&body))
}

fn is_served(server: &Server, name: &str) -> bool {
    !server.ask(&format!("{name}.{ZONE}"), RecordType::A).answers.is_empty()
}

/// A request with `Prefer`.
fn waiting(server: &Server, path: &str, prefer: &str) -> Response {
    let bearer = format!("Bearer {}", server.operator_token());
    let fields = [("Authorization", bearer.as_str()), ("Prefer", prefer)];
    http_client::send(server.http, "GET", path, &fields, b"")
}

/// `nameplane order …` against the server.
fn order_command(server: &Server, words: &[&str]) -> String {
    let done = nameplane()
        .arg("order")
        .args(words)
        .args(["--server", &format!("http://{}", server.http)])
        .args(["--token", &server.operator_token()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_scheduled_order_is_served_at_its_time_also_when_the_server_was_killed_meanwhile() {
    let (mut server, _home) = serving("");
    let (at, text) = moment(Duration::from_secs(4));
    let order = push_for(&server, "later", &text);
    assert_eq!(order["state"], "scheduled", "{order:#}");
    assert_eq!(order["not_before"], text.as_str());
    server.kill();
    server.restart();
    if SystemTime::now() < at {
        assert!(!is_served(&server, "later") || SystemTime::now() >= at, "applied too early");
    }

    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    let done = waiting(&server, &path, "wait=30").json();

    assert!(["served", "confirmed"].contains(&done["state"].as_str().unwrap()), "{done:#}");
    assert!(SystemTime::now() >= at);
    assert!(is_served(&server, "later"));
}

#[test]
fn a_caller_that_prefers_to_wait_is_answered_when_the_order_is_served_or_its_patience_ends() {
    let (server, _home) = serving("");
    let order = push_for(&server, "later", &moment(Duration::from_secs(3)).1);
    let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
    let (began, early) = (Instant::now(), waiting(&server, &path, "respond-async, wait=1"));
    assert_eq!(early.json()["state"], "scheduled");
    assert!(began.elapsed() >= Duration::from_secs(1), "it did not wait");

    let done = waiting(&server, &path, "wait=30");

    assert!(began.elapsed() < Duration::from_secs(20), "it waited on though there was an answer");
    assert!(["served", "confirmed"].contains(&done.json()["state"].as_str().unwrap()));
}

#[test]
fn an_order_is_held_released_and_cancelled_from_the_command_line() {
    let (server, _home) = serving("");
    let order = push_for(&server, "held", &moment(Duration::from_secs(1)).1);
    let id = order["number"].as_str().unwrap();
    assert_eq!(order_command(&server, &["hold", id, "--reason", "freeze"]), "on_hold");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!is_served(&server, "held"));
    assert_eq!(order_command(&server, &["release", id]), "scheduled");
    let path = format!("/v1/orders/{id}");
    let done = waiting(&server, &path, "wait=30").json();
    assert!(["served", "confirmed"].contains(&done["state"].as_str().unwrap()), "{done:#}");

    let order = push_for(&server, "never", &moment(Duration::from_secs(3_600)).1);
    let id = order["number"].as_str().unwrap();
    assert_eq!(order_command(&server, &["cancel", id]), "cancelled");
}

/// A superuser of a customer, and their token.
fn customer(server: &Server) -> (String, String) {
    let org = server.api("POST", "/v1/orgs", Some(&json!({ "handle": "shop" })));
    let org = org["id"].as_str().unwrap().to_owned();
    let users = server.api("GET", &format!("/v1/orgs/{org}/users"), None);
    let user = users["items"][0]["id"].as_str().unwrap();
    let body = json!({ "name": "program", "user": user, "role": "superuser" });
    let token = server.api("POST", "/v1/tokens", Some(&body));
    (org, token["secret"].as_str().unwrap().to_owned())
}

#[test]
fn a_token_that_calls_too_often_gets_429_with_the_limit_and_when_to_come_again() {
    let (server, _home) = serving("[http]\ntoken_requests_per_minute = 5\n");
    let (_, token) = customer(&server);
    let call = || http_client::call(server.http, "GET", "/v1/zones", &token, None);
    let statuses: Vec<u16> = (0..5).map(|_| call().status).collect();
    assert_eq!(statuses, [200; 5]);

    let refused = call();

    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-often"));
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert!(refused.text().contains("token_requests_per_minute_max"), "{}", refused.text());
    assert_eq!(
        server.request("GET", "/v1/zones", Some(&server.operator_token()), None).unwrap().0,
        200
    );
}

/// Goal: I31, no secret is written down anywhere but where it is handed out.
/// Method: each kind of secret is made, used rightly and wrongly, with a log that says everything;
/// then the log, the events, the metrics, the lists and an export of the store are searched for it.
#[test]
fn i31_no_secret_stands_in_log_events_metrics_lists_or_exports() {
    if !is_here("nsupdate") {
        return;
    }
    let cookie = "0123456789abcdef0123456789abcdef";
    let settings = format!("[dns]\ncookie_secret = \"{cookie}\"\n[log]\nlevel = \"trace\"\n");
    let (mut server, home) = serving(&settings);
    let operator = server.operator_token();
    let (org, token) = customer(&server);
    http_client::call(server.http, "GET", "/v1/zones", &token, None);
    let wrong = format!("{}x", &token[..token.len() - 1]);
    http_client::call(server.http, "GET", "/v1/zones", &wrong, None);
    let key = json!({ "name": "key.example.", "org": org });
    let key =
        server.api("POST", "/v1/tsig-keys", Some(&key))["secret"].as_str().unwrap().to_owned();
    let turn = server.api("POST", "/v1/tsig-keys/key.example./rotate", Some(&json!({})));
    let turned = turn["secret"].as_str().unwrap().to_owned();
    server.api("PUT", "/v1/tsig-keys/key.example./update-policy", Some(&json!({ "grants": [] })));
    for secret in [&key, &turned] {
        let signed = format!("hmac-sha256:key.example.:{secret}");
        let update = format!(
            "server {} {}\nzone {ZONE}\nupdate add x.{ZONE} 60 A 192.0.2.9\nsend\n",
            server.dns.ip(),
            server.dns.port()
        );
        let mut child = std::process::Command::new("nsupdate")
            .args(["-y", &signed])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), update.as_bytes()).unwrap();
        child.wait().unwrap();
    }
    // Where a secret does not belong, but where people put them.
    http_client::send(server.http, "GET", &format!("/v1/zones?token={token}"), &[], b"");
    let bearer = format!("Bearer {token}");
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = format!("{{\"handle\": \"{token}\"}}");
    http_client::send(server.http, "POST", "/v1/orgs", &fields, body.as_bytes());
    server.ask(&format!("www.{ZONE}"), RecordType::A);

    let mut written = vec![("metrics", server.api("GET", "/metrics", None).to_string())];
    for path in [
        "/v1/events",
        "/v1/tokens",
        &format!("/v1/tokens?org={org}"),
        "/v1/orders",
        &format!("/v1/tsig-keys?org={org}"),
    ] {
        written.push(("a list", server.api("GET", path, None).to_string()));
    }
    assert!(server.stop().success());
    let export = home.path().join("export");
    let done = nameplane()
        .args(["store", "export"])
        .arg(&export)
        .arg("--data-dir")
        .arg(&server.data)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    written.push(("the export", latin(&std::fs::read(&export).unwrap())));
    written.push(("the log", server.log()));
    for segment in std::fs::read_dir(server.data.join("log")).unwrap() {
        written.push(("the store", latin(&std::fs::read(segment.unwrap().path()).unwrap())));
    }

    for (place, text) in &written {
        for secret in [&key, &turned] {
            let octets = base64::engine::general_purpose::STANDARD.decode(secret).unwrap();
            assert!(!text.contains(&latin(&octets)), "{place} has the octets of a TSIG key");
        }
    }
    server.logs("/v1/zones");
    let secrets = [
        ("operator's token", operator.as_str()),
        ("customer's token", &token),
        ("wrong token", &wrong),
        ("cookie secret", cookie),
        ("TSIG key", &key),
        ("turned TSIG key", &turned),
    ];
    for (kind, secret) in secrets {
        // What is shown of a token to tell it from others is its beginning.
        let hidden = &secret[secret.len() - 20..];
        for (place, text) in &written {
            assert!(!text.contains(hidden), "{place} has the {kind}");
        }
    }
}

/// Octets as text, each a character, so that ASCII in them is found.
fn latin(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}
