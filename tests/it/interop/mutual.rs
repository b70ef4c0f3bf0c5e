//! TLS that both sides show a certificate in: transfers in and out ([RFC 9103] §9.3.3).
//!
//! [RFC 9103]: https://www.rfc-editor.org/rfc/rfc9103

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::followers::{Process, zone_file};
use super::peers::Peer;
use super::primaries::{ZONE, standing, until};
use crate::server::{Server, free_port};

/// A certificate and its key, in files.
struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    pin: String,
}

fn certificate(home: &Path, name: &str) -> Shown {
    let made = rcgen::generate_simple_self_signed([format!("{name}.example")]).unwrap();
    let (certificate, key) = (home.join(format!("{name}.pem")), home.join(format!("{name}.key")));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let pin = BASE64.encode(nameplane::transport::xot::pin_of(made.cert.der()).unwrap());
    Shown { certificate, key, pin }
}

/// A server that shows `own` to primaries that ask.
fn secondary(home: &Path, name: &str, own: Option<&Shown>) -> Server {
    let mut text = "[primaries]\n".to_owned();
    if let Some(own) = own {
        let (certificate, key) = (own.certificate.display(), own.key.display());
        text += &format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n");
    }
    let config = home.join(format!("{name}.toml"));
    fs::write(&config, text).unwrap();
    Server::at(&home.join(name), &["--config", config.to_str().unwrap()])
}

fn follow(server: &Server, port: u16, pin: &str) {
    let tls = json!({"name": null, "pins": [pin]});
    let body = json!({"primaries": [{"address": format!("127.0.0.1:{port}"), "tls": tls}]});
    server.api("PUT", &format!("/v1/zones/{ZONE}/primaries"), Some(&body));
}

fn is_refused(server: &Server) {
    until("it is refused", server, || standing(server)["trouble"].is_string());
    assert_eq!(standing(server)["serial"], Value::Null);
}

/// Goal: a primary that gives its zones only to those it knows by their certificate gives them to us.
/// Method: BIND demands a certificate; one server has the right one, one another, one none.
#[test]
fn rfc9103_9_3_3_a_primary_that_asks_for_a_certificate_is_shown_ours() {
    if !Peer::Bind.is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let (primary, ours) = (certificate(home, "primary"), certificate(home, "ours"));
    let other = certificate(home, "other");
    let (plain, secure) = (free_port(), free_port());
    zone_file(home, "follow.example", 7, "");
    let text = format!(
        "tls us {{ cert-file \"{1}\"; key-file \"{2}\"; ca-file \"{3}\"; }};\n\
         options {{ directory \"{0}\"; listen-on port {plain} {{ 127.0.0.1; }}; \
         listen-on port {secure} tls us {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; notify no; \
         dnssec-validation no; allow-transfer port {secure} transport tls {{ any; }}; }};\n\
         controls {{ }};\nzone \"follow.example\" {{ type primary; file \"follow.example.zone\"; }};\n",
        home.display(),
        primary.certificate.display(),
        primary.key.display(),
        ours.certificate.display(),
    );
    fs::write(home.join("named.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(home.join("named.conf"));
    let _bind = Process::start(command, &home.join("bind.log"));

    let known = secondary(home, "known", Some(&ours));
    follow(&known, secure, &primary.pin);
    until("it is transferred", &known, || standing(&known)["serial"] == 7);
    for (name, own) in [("none", None), ("stranger", Some(&other))] {
        let server = secondary(home, name, own);
        follow(&server, secure, &primary.pin);
        is_refused(&server);
    }
}

/// Goal: a list can name who transfers by the certificate it shows, and means nobody else.
/// Method: our own server on both sides; the address is the same for all.
#[test]
fn a_list_names_who_may_transfer_by_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let (ours, friend) = (certificate(home, "ours"), certificate(home, "friend"));
    let other = certificate(home, "other");
    let port = free_port();
    let config = home.join("primary.toml");
    let text = format!(
        "[dns.tls]\ncertificate = \"{}\"\nkey = \"{}\"\ndot = \"127.0.0.1:{port}\"\nclient_certificates = true\n",
        ours.certificate.display(),
        ours.key.display()
    );
    fs::write(&config, text).unwrap();
    let primary = Server::at(&home.join("primary"), &["--config", config.to_str().unwrap()]);
    let make = json!({"kind": "zone_create", "zone": ZONE, "name_servers": ["ns.follow.example."]});
    primary.api("POST", "/v1/change-orders", Some(&json!({"items": [make]})));
    let path = format!("/v1/zones/{ZONE}/access");
    let list = json!({"transfer": [format!("127.0.0.0/8 pin {}", friend.pin)]});
    primary.api("PUT", &path, Some(&list));
    assert_eq!(primary.api("GET", &path, None)["transfer"], list["transfer"]);

    let known = secondary(home, "known", Some(&friend));
    follow(&known, port, &ours.pin);
    until("it is transferred", &known, || standing(&known)["serial"].is_u64());
    for (name, own) in [("none", None), ("stranger", Some(&other))] {
        let server = secondary(home, name, own);
        follow(&server, port, &ours.pin);
        is_refused(&server);
        assert!(standing(&server)["trouble"].to_string().contains("REFUSED"));
    }
    // The next connection shows it again.
    let edit =
        json!({"op": "add", "name": "www", "type": "A", "ttl": 60, "records": ["192.0.2.1"]});
    let item = json!({"kind": "dns_change", "zone": ZONE, "edits": [edit]});
    let order = primary.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
    known.api("POST", &format!("/v1/zones/{ZONE}/refresh"), Some(&json!({})));
    let serial = &order["receipt"]["zones"][0]["serial_to"];
    until("the change is transferred", &known, || standing(&known)["serial"] == *serial);

    // Nobody is asked for a certificate before a question is answered.
    let list = json!({"query": [format!("pin {}", friend.pin)]});
    let token = primary.operator_token();
    let (status, refused) = primary.request("PUT", &path, Some(&token), Some(&list)).unwrap();
    assert_eq!(status, 422, "{refused}");
}
