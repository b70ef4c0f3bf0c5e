//! The door of HTTP: foreign host names, other sites, oversized and slow requests, panics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http_client::{call, exchange, send};
use crate::server::Server;

/// Goal: a page whose host name was pointed at loopback gets nothing.
/// Method: requests under names nobody listed, with a good token, on every kind of route.
#[test]
fn a_rebound_host_name_reaches_nothing() {
    let server = Server::start();
    let token = format!("Bearer {}", server.operator_token());
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil"] {
        for path in ["/v1/zones", "/api", "/healthz", "/nowhere", "/metrics"] {
            let fields = [("Host", host), ("Authorization", token.as_str())];
            let response = send(server.http, "GET", path, &fields, b"");
            assert_eq!(response.status, 421, "{host} {path}");
            assert_eq!(response.problem(), "wrong-host");
        }
    }
    for host in ["localhost", "127.0.0.1:8080", "[::1]:9"] {
        assert_eq!(send(server.http, "GET", "/healthz", &[("Host", host)], b"").status, 200, "{host}");
    }
}

#[test]
fn a_request_with_no_host_or_two_is_refused() {
    let server = Server::start();
    let none = exchange(server.http, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(none.status, 400);
    let two = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.http, two).status, 400);
}

/// Goal: a page on another site can make nobody's browser change or read anything.
/// Method: what a browser adds to such requests, with a good token.
#[test]
fn a_request_from_another_site_is_refused() {
    let server = Server::start();
    let token = format!("Bearer {}", server.operator_token());
    let refused: &[&[(&str, &str)]] = &[
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://localhost:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    ];
    for fields in refused {
        for (method, path) in [("GET", "/v1/zones"), ("POST", "/v1/basket/place"), ("DELETE", "/v1/basket")] {
            let fields = [fields, &[("Authorization", token.as_str())][..]].concat();
            let response = send(server.http, method, path, &fields, b"");
            assert_eq!((response.status, response.problem().as_str()), (403, "cross-site"), "{fields:?}");
        }
    }
    let own = format!("http://{}", server.http);
    let fields = [("Origin", own.as_str()), ("Authorization", &token), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(send(server.http, "GET", "/v1/zones", &fields, b"").status, 200);
}

#[test]
fn a_link_from_another_site_may_lead_to_the_reference() {
    let server = Server::start();
    let link = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    assert_eq!(send(server.http, "GET", "/api", &link, b"").status, 200);
    assert_eq!(send(server.http, "POST", "/api", &link, b"").status, 403);
}

#[test]
fn every_response_tells_browsers_to_keep_out() {
    let server = Server::start();
    for path in ["/api", "/api/openapi.json", "/healthz", "/nowhere", "/v1/zones"] {
        let response = send(server.http, "GET", path, &[], b"");
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.field("x-frame-options"), Some("DENY"), "{path}");
        assert!(response.field("content-security-policy").unwrap().contains("default-src 'none'"));
        assert!(response.field("access-control-allow-origin").is_none());
    }
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_are_problems() {
    let server = Server::start();
    let nowhere = send(server.http, "GET", "/v1/nowhere", &[], b"");
    assert_eq!((nowhere.status, nowhere.problem().as_str()), (404, "not-found"));
    let wrong = send(server.http, "PATCH", "/v1/basket", &[], b"");
    assert_eq!((wrong.status, wrong.problem().as_str()), (405, "method-not-allowed"));
    let allowed = wrong.field("allow").unwrap();
    assert!(allowed.contains("GET") && allowed.contains("DELETE"), "{allowed}");
}

/// Goal: nobody fills memory with a body.
/// Method: one that announces its size, and one that does not.
#[test]
fn an_oversized_body_is_refused_with_the_name_of_the_limit() {
    let server = Server::start();
    let token = server.operator_token();
    let head = format!(
        "POST /v1/basket/items HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    );
    let announced = format!("{head}Content-Length: 999999999\r\n\r\n");
    let response = exchange(server.http, announced.as_bytes());
    assert_eq!((response.status, response.problem().as_str()), (413, "too-large"));
    assert_eq!(response.json()["limit"]["name"], "body_octets_max");

    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    // The server stops reading some time; until then it has no more than its limit in memory.
    for _ in 0..2_000 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{answer:?}");
}

#[test]
fn an_oversized_head_is_refused() {
    let server = Server::start();
    let long = "x".repeat(200_000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
    assert!(matches!(exchange(server.http, request.as_bytes()).status, 400 | 431));
}

/// Goal: clients that hold connections without asking anything lose them.
/// Method: one that sends nothing, one that sends a head letter by letter.
#[test]
fn a_client_that_does_not_ask_is_let_go() {
    let server = Server::start();
    let began = Instant::now();
    let mut silent = TcpStream::connect(server.http).unwrap();
    let mut slow = TcpStream::connect(server.http).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: lo").unwrap();
    for stream in [&mut silent, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).unwrap();
        assert!(octets.is_empty() || octets.starts_with(b"HTTP/1.1 408"));
    }
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}

#[test]
fn the_log_holds_no_secret() {
    let server = Server::start();
    let token = server.operator_token();
    assert_eq!(call(server.http, "GET", "/v1/zones?after=verysecret", &token, None).status, 200);
    let _ = call(server.http, "GET", "/v1/zones", "np_wrong_token", None);
    let log = server.log();
    assert!(log.contains("/v1/zones"), "{log}");
    for secret in [token.as_str(), "np_wrong_token", "verysecret"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn metrics_count_the_requests() {
    let server = Server::start();
    let _ = send(server.http, "GET", "/nowhere", &[], b"");
    let metrics = send(server.http, "GET", "/metrics", &[], b"").text();
    let line = metrics.lines().find(|line| line.starts_with("nameplane_http_requests_total{status=\"4xx\"}"));
    assert_ne!(line.unwrap().rsplit(' ').next(), Some("0"));
}
