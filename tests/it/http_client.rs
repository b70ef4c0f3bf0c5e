//! HTTP as a hostile client speaks it: every octet is the test's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// A header field; the last if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().rev().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The last part of a problem's type.
    pub fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        json["type"].as_str().unwrap().rsplit("#problem-").next().unwrap().to_owned()
    }
}

/// Sends a request as it is given and reads the response to the end of the connection.
pub fn exchange(server: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    parse(&octets)
}

/// Sends a request with these header fields; `Host` and `Connection` are added where missing.
pub fn send(
    server: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {server}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    exchange(server, &[head.as_bytes(), body].concat())
}

/// A request of the API as the holder of `token`.
pub fn call(
    server: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> Response {
    let bearer = format!("Bearer {token}");
    let text = body.map(Value::to_string).unwrap_or_default();
    let mut fields = vec![("Authorization", bearer.as_str())];
    if body.is_some() {
        fields.push(("Content-Type", "application/json"));
    }
    send(server, method, path, &fields, text.as_bytes())
}

fn parse(octets: &[u8]) -> Response {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(octets)));
    let head = String::from_utf8_lossy(&octets[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status, fields, body: octets[end + 4..].to_vec() };
    if response.field("transfer-encoding") == Some("chunked") {
        response.body = dechunk(&response.body);
    }
    response
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let start = line + 2;
        body.extend_from_slice(&rest[start..start + size]);
        rest = &rest[start + size + 2..];
        if size == 0 {
            break;
        }
    }
    body
}
