//! A certificate authority of a few routes, which hands out a certificate for any CSR once the DNS
//! challenge is right (RFC 8555): enough for ACME clients to do a whole turn against.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::server;

/// A running authority. It ends with the process.
pub struct Authority {
    /// Where clients begin.
    pub directory: String,
    /// The certificate to trust, as a PEM file.
    pub root: PathBuf,
}

/// What it knows: one account, one order.
struct Desk {
    base: String,
    /// The server that is asked for the challenge.
    dns: SocketAddr,
    /// SHA-256 of the account's key in its canonical form (RFC 7638).
    thumbprint: String,
    names: Vec<String>,
    valid: Vec<bool>,
    issued: Option<String>,
    nonces: u64,
}

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJyPCt87wr12w";

impl Authority {
    /// Starts one that asks `dns` for challenges; its certificate goes into `dir`.
    pub fn start(dir: &Path, dns: SocketAddr) -> Authority {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let root = dir.join("authority.pem");
        std::fs::write(&root, made.cert.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let directory = format!("{base}/directory");
        let desk = Arc::new(Mutex::new(Desk {
            base,
            dns,
            thumbprint: String::new(),
            names: Vec::new(),
            valid: Vec::new(),
            issued: None,
            nonces: 0,
        }));
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, desk) = (Arc::clone(&config), Arc::clone(&desk));
                std::thread::spawn(move || serve(stream, config, &desk));
            }
        });
        Authority { directory, root }
    }
}

/// Answers the requests of one connection until it ends.
fn serve(stream: TcpStream, config: Arc<rustls::ServerConfig>, desk: &Mutex<Desk>) {
    let connection = rustls::ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    loop {
        let (mut line, mut len) = (String::new(), 0);
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut field = String::new();
            if stream.read_line(&mut field).unwrap_or(0) <= 2 {
                break;
            }
            if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; len];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let response = desk.lock().unwrap().answer(words[0], words[1], &body);
        if stream.get_mut().write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn decoded(value: &Value) -> Value {
    let octets = URL_SAFE_NO_PAD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    serde_json::from_slice(&octets).unwrap_or_default()
}

fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

impl Desk {
    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> String {
        let message: Value = serde_json::from_slice(body).unwrap_or_default();
        let (protected, payload) = (decoded(&message["protected"]), decoded(&message["payload"]));
        let base = self.base.clone();
        let (mut status, mut location) = ("200 OK", None);
        let number = path.rsplit('/').next().unwrap().parse::<usize>().unwrap_or_default();
        let answer = match path.split('/').nth(1).unwrap_or_default() {
            "directory" => {
                json!({ "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/order"), "revokeCert": format!("{base}/revoke"),
                "keyChange": format!("{base}/key") })
            }
            "nonce" => Value::Null,
            "account" => {
                if protected["jwk"].is_object() {
                    self.thumbprint = thumbprint(&protected["jwk"]);
                }
                (status, location) = ("201 Created", Some(format!("{base}/account/1")));
                json!({ "status": "valid", "contact": payload["contact"] })
            }
            "order" if path == "/order" => {
                let names = payload["identifiers"].as_array().unwrap().iter();
                self.names = names.map(|name| name["value"].as_str().unwrap().to_owned()).collect();
                self.valid = vec![false; self.names.len()];
                self.issued = None;
                (status, location) = ("201 Created", Some(format!("{base}/order/1")));
                self.order()
            }
            "order" => self.order(),
            "authz" => json!({ "status": if self.valid[number] { "valid" } else { "pending" },
                "identifier": { "type": "dns", "value": self.names[number] },
                "challenges": [self.challenge(number)] }),
            "challenge" => {
                self.check(number);
                self.challenge(number)
            }
            "finalize" => {
                let leaf = rcgen::generate_simple_self_signed(self.names.clone()).unwrap();
                let issuer = rcgen::generate_simple_self_signed(["Issuer".to_owned()]).unwrap();
                self.issued = Some(leaf.cert.pem() + &issuer.cert.pem());
                location = Some(format!("{base}/order/1"));
                self.order()
            }
            "certificate" => return self.response(status, None, self.issued.clone().unwrap()),
            other => panic!("the authority has no route {other}"),
        };
        let text =
            if answer.is_null() || method == "HEAD" { String::new() } else { answer.to_string() };
        self.response(status, location, text)
    }

    fn order(&self) -> Value {
        let base = &self.base;
        let status = match (&self.issued, self.valid.iter().all(|valid| *valid)) {
            (Some(_), _) => "valid",
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let authorizations: Vec<String> =
            (0..self.names.len()).map(|n| format!("{base}/authz/{n}")).collect();
        let names = self.names.iter().map(|name| json!({ "type": "dns", "value": name }));
        json!({ "status": status, "identifiers": names.collect::<Vec<_>>(),
            "expires": "2099-01-01T00:00:00Z", "authorizations": authorizations,
            "finalize": format!("{base}/finalize/1"), "certificate": format!("{base}/certificate/1") })
    }

    fn challenge(&self, number: usize) -> Value {
        let status = if self.valid[number] { "valid" } else { "pending" };
        json!({ "type": "dns-01", "url": format!("{}/challenge/{number}", self.base), "token": TOKEN,
            "status": status })
    }

    /// Asks for the TXT record that shows that the client may change the name (RFC 8555 §8.4).
    fn check(&mut self, number: usize) {
        let expected = sha256(&format!("{TOKEN}.{}", self.thumbprint));
        let name = format!("_acme-challenge.{}.", self.names[number]);
        let answer = server::ask(self.dns, &name, RecordType::TXT);
        let found: Vec<String> =
            answer.answers.iter().map(|record| record.data.to_string()).collect();
        self.valid[number] = found.iter().any(|text| text.trim_matches('"') == expected);
        assert!(self.valid[number], "{name} has {found:?}, not {expected}");
    }

    fn response(&mut self, status: &str, location: Option<String>, body: String) -> String {
        self.nonces += 1;
        let kind = match body.starts_with("-----") {
            true => "application/pem-certificate-chain",
            false => "application/json",
        };
        let location = location.map_or_else(String::new, |at| format!("Location: {at}\r\n"));
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{location}\
             Replay-Nonce: nonce-{}\r\nLink: <{}/authz/0>;rel=\"up\"\r\n\
             Cache-Control: no-store\r\n\r\n{body}",
            body.len(),
            self.nonces,
            self.base
        )
    }
}

/// Of an EC or RSA key: its members in order of their names, without anything else.
fn thumbprint(key: &Value) -> String {
    let members: &[&str] =
        if key["kty"] == "RSA" { &["e", "kty", "n"] } else { &["crv", "kty", "x", "y"] };
    let members: Vec<String> =
        members.iter().map(|member| format!("\"{member}\":{}", key[member])).collect();
    sha256(&format!("{{{}}}", members.join(",")))
}
