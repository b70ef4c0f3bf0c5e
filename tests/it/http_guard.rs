//! The door of HTTP: foreign host names, other sites, oversized and slow requests, panics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nameplane::http::{self, Protocol, Readiness};

use crate::http_client::{exchange, send};
use crate::http_world::{self, World, settings};
use crate::server::PATIENCE;

/// Goal: a page whose host name was pointed at loopback gets nothing.
/// Method: requests under names nobody listed, with a good token, on every kind of route.
#[test]
fn a_rebound_host_name_reaches_nothing() {
    let server = World::start();
    let token = format!("Bearer {}", server.operator);
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil"] {
        for path in ["/v1/zones", "/api", "/healthz", "/nowhere", "/metrics"] {
            let fields = [("Host", host), ("Authorization", token.as_str())];
            let response = send(server.http, "GET", path, &fields, b"");
            assert_eq!(response.status, 421, "{host} {path}");
            assert_eq!(response.problem(), "wrong-host");
        }
    }
    for host in ["localhost", "127.0.0.1:8080", "[::1]:9"] {
        assert_eq!(
            send(server.http, "GET", "/healthz", &[("Host", host)], b"").status,
            200,
            "{host}"
        );
    }
}

#[test]
fn a_request_with_no_host_or_two_is_refused() {
    let server = World::start();
    let none = exchange(server.http, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(none.status, 400);
    let two =
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(server.http, two).status, 400);
}

/// Goal: a page on another site can make nobody's browser change or read anything.
/// Method: what a browser adds to such requests, with a good token.
#[test]
fn a_request_from_another_site_is_refused() {
    let server = World::start();
    let token = format!("Bearer {}", server.operator);
    let refused: &[&[(&str, &str)]] = &[
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://localhost:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    ];
    for fields in refused {
        for (method, path) in
            [("GET", "/v1/zones"), ("POST", "/v1/basket/place"), ("DELETE", "/v1/basket")]
        {
            let fields = [fields, &[("Authorization", token.as_str())][..]].concat();
            let response = send(server.http, method, path, &fields, b"");
            assert_eq!(
                (response.status, response.problem().as_str()),
                (403, "cross-site"),
                "{fields:?}"
            );
        }
    }
    let own = format!("http://{}", server.http);
    let fields =
        [("Origin", own.as_str()), ("Authorization", &token), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(send(server.http, "GET", "/v1/zones", &fields, b"").status, 200);
}

#[test]
fn a_link_from_another_site_may_lead_to_the_reference() {
    let server = World::start();
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
    let server = World::start();
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
    let server = World::start();
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
    let server = World::start();
    let token = &server.operator;
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
    let server = World::start();
    let long = "x".repeat(200_000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
    assert!(matches!(exchange(server.http, request.as_bytes()).status, 400 | 431));
}

/// Goal: clients that hold connections without asking anything lose them.
/// Method: one that sends nothing, one that sends a head letter by letter.
#[test]
fn a_client_that_does_not_ask_is_let_go() {
    let server = World::start();
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
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn metrics_count_the_requests() {
    let server = World::start();
    let _ = send(server.http, "GET", "/nowhere", &[], b"");
    let metrics = send(server.http, "GET", "/metrics", &[], b"").text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("nameplane_http_requests_total{status=\"4xx\"}"));
    assert_ne!(line.unwrap().rsplit(' ').next(), Some("0"));
}

/// Goal: a panic costs one request, and its incident can be found in the log.
/// Method: a readiness that panics.
#[test]
fn a_panic_is_a_problem_with_an_incident_and_the_server_goes_on() {
    let world = World::with(settings(), Some(Arc::new(|| panic!("the sky fell"))));
    for _ in 0..3 {
        let response = send(world.http, "GET", "/readyz", &[], b"");
        assert_eq!((response.status, response.problem().as_str()), (500, "unexpected"));
        let json = response.json();
        let instance = json["instance"].as_str().unwrap();
        assert!(instance.ends_with(response.field("x-request-id").unwrap()), "{json}");
        assert!(!response.text().contains("sky"), "{json}");
    }
    assert_eq!(send(world.http, "GET", "/healthz", &[], b"").status, 200);
}

/// Goal: a server that stops lets open requests end and takes no new ones.
/// Method: a readiness that takes its time while the server is told to stop.
#[test]
fn a_stopping_server_ends_what_it_began() {
    let slow = || {
        std::thread::sleep(Duration::from_millis(600));
        Readiness { ready: true, text: "ready".into() }
    };
    let mut world = World::with(settings(), Some(Arc::new(slow)));
    let (http, mut idle) = (world.http, TcpStream::connect(world.http).unwrap());
    let open = std::thread::spawn(move || send(http, "GET", "/readyz", &[], b""));
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    world.stop();
    assert_eq!(open.join().unwrap().status, 200);
    assert!(began.elapsed() < Duration::from_secs(4), "an idle connection held the server");
    assert!(TcpStream::connect(http).is_err());
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
}

/// Goal: who answers pings and asks nothing does not keep a place for ever.
/// Method: a client of HTTP/2 that asks once, and answers the pings of a server with little patience.
#[test]
fn a_connection_of_http2_on_which_nothing_is_asked_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (state, _) = http_world::state(settings());
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = http::Server::of_queries(state);
        let peer = ([127, 0, 0, 1], 53).into();
        let served = tokio::spawn(server.connection(far, peer, Protocol::Http2));
        let client = http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await;
        let (mut sender, connection) = client.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get("https://localhost/").body(Full::<Bytes>::default());
        assert_eq!(sender.send_request(request.unwrap()).await.unwrap().status(), 404);

        tokio::time::timeout(PATIENCE, served).await.expect("it ends").unwrap();
        drop(sender); // until here the client kept the connection
    });
}
