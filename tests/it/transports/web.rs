//! DNS over HTTPS as HTTP sees it: what is no query, what a cache may keep, by h2 and h3 alike.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use tokio::time::timeout;

use super::{Ways, clients, runtime};
use crate::interop::message::{Answer, rtype};
use crate::interop::questions::{Edns, Question, wire};
use crate::server::PATIENCE;

const MESSAGE: &str = "application/dns-message";

fn query(name: &str, rtype: u16) -> Vec<u8> {
    Question { name: wire(name), rtype, edns: Edns::Plain }.wire(0)
}

fn request(method: &str, path: &str, media_type: &str, body: &[u8]) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    let request =
        if media_type.is_empty() { request } else { request.header("content-type", media_type) };
    request.body(Bytes::copy_from_slice(body)).unwrap()
}

fn path(query: &[u8]) -> String {
    format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(query))
}

/// The responses by HTTP/2 and by HTTP/3.
fn both(ways: &Ways, request: &Request<Bytes>) -> [(&'static str, Response<Vec<u8>>); 2] {
    runtime().block_on(async {
        let mut h2 = clients::connect_h2(ways.doh).await;
        let mut h3 = clients::connect_h3(ways.doh).await;
        [
            ("h2", clients::http2(&mut h2, request.clone()).await),
            ("h3", clients::http3(&mut h3, request.clone()).await),
        ]
    })
}

/// Goal: who sends what is no query is told what is wrong in HTTP's words, and the next request is answered.
#[test]
fn rfc8484_4_2_1_what_is_no_query_has_a_status_of_its_own() {
    let ways = Ways::start("", "");
    let good = query("www.cuts.test", rtype::A);
    let response = [&good[..2], &[0x80], &good[3..]].concat();
    for (what, status, request) in [
        ("another media type", 415, request("POST", "/dns-query", "text/plain", &good)),
        ("no media type", 415, request("POST", "/dns-query", "", &good)),
        ("no parameter", 400, request("GET", "/dns-query", "", b"")),
        ("no base64url", 400, request("GET", "/dns-query?dns=AA*A", "", b"")),
        ("base64 for other places", 400, request("GET", "/dns-query?dns=a+/a", "", b"")),
        ("less than a header", 400, request("GET", &path(&good[..11]), "", b"")),
        ("a response", 400, request("POST", "/dns-query", MESSAGE, &response)),
        ("another method", 405, request("PUT", "/dns-query", MESSAGE, &good)),
        ("another path", 404, request("GET", "/dns", "", b"")),
    ] {
        for (way, response) in both(&ways, &request) {
            assert_eq!(response.status(), status, "{what} by {way}");
        }
    }
    for request in [
        request("GET", &format!("{}==", path(&good)), "", b""),
        request("GET", &format!("{}%3D%3D", path(&good)), "", b""),
        request("POST", "/dns-query", "Application/DNS-Message; charset=x", &good),
    ] {
        for (way, response) in both(&ways, &request) {
            assert_eq!(response.status(), 200, "{way}");
        }
    }
}

/// Goal: an address of DNS over HTTPS is everybody's, by whatever name, and the API is not there.
#[test]
fn where_queries_are_answered_over_https_nothing_else_is_and_no_name_is_asked_for() {
    let ways = Ways::start("", "");
    for path in ["/metrics", "/readyz", "/healthz", "/api", "/api/openapi.json", "/api/v1/zones"] {
        for (way, response) in both(&ways, &request("GET", path, "", b"")) {
            assert_eq!(response.status(), 404, "{path} by {way}");
        }
    }
    let query = path(&query("www.cuts.test", rtype::A));
    let named = Request::get(format!("https://dns.example{query}"));
    let named = named.header("origin", "https://www.example").body(Bytes::new()).unwrap();
    for (way, response) in both(&ways, &named) {
        assert_eq!(response.status(), 200, "{way}");
        assert_eq!(response.headers()["content-type"], MESSAGE, "{way}");
    }
    // Anybody may come there without end: no line is left of any of it.
    let log = ways.server.log();
    assert!(!log.contains("/dns-query") && !log.contains("/metrics"), "{log}");
    // They are counted, by what HTTP says, and not as calls of the API.
    let text = match ways.server.request("GET", "/metrics", None, None).unwrap() {
        (200, serde_json::Value::String(text)) => text,
        other => panic!("{other:?}"),
    };
    for (status, count) in [("2xx", 2), ("4xx", 12), ("5xx", 0)] {
        let line = format!("nameplane_doh_requests_total{{status=\"{status}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(text.contains("nameplane_http_requests_total{status=\"4xx\"} 0\n"), "{text}");
}

/// Goal: who is answered before all of a request was read may still end it as if it had been.
#[test]
fn a_request_may_end_after_its_answer() {
    let ways = Ways::start("", "");
    runtime().block_on(async {
        let mut h3 = clients::connect_h3(ways.doh).await;
        for (method, status) in [("GET", 200), ("PUT", 405)] {
            let path = path(&query("www.cuts.test", rtype::A));
            let (head, _) = request(method, &path, MESSAGE, b"").into_parts();
            let mut stream = h3.send_request(Request::from_parts(head, ())).await.unwrap();
            let head = timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap();
            assert_eq!(head.status(), status);
            while stream.recv_data().await.unwrap().is_some() {}
            stream.send_data(Bytes::from_static(b"more")).await.unwrap();
            stream.finish().await.unwrap();
        }
    });
}

#[test]
fn a_query_longer_than_any_message_is_refused() {
    let ways = Ways::start("", "");
    let post = |octets: usize| {
        let request = request("POST", "/dns-query", MESSAGE, &vec![0; octets]);
        let answered = async {
            clients::http2(&mut clients::connect_h2(ways.doh).await, request).await.status()
        };
        runtime().block_on(answered).as_u16()
    };
    assert_eq!((post(65_535), post(65_536)), (200, 413));
}

/// Goal: bodies that never come take no more memory than there is for all together; who comes meanwhile is told
/// so, who needs no body is answered, and all is free again with the clients that held it.
#[test]
fn bodies_of_all_queries_share_a_bounded_memory() {
    const HOLDING: usize = 3 * 88; // of 65 535 octets each; there is room for 256
    let ways = Ways::start("", "");
    let good = query("www.cuts.test", rtype::A);
    let (post, get) =
        (request("POST", "/dns-query", MESSAGE, &good), request("GET", &path(&good), "", b""));
    runtime().block_on(async {
        let mut h2 = clients::connect_h2(ways.doh).await;
        let mut h3 = clients::connect_h3(ways.doh).await;
        let head = || {
            let head = request("POST", "/dns-query", MESSAGE, b"").map(drop);
            let (mut head, ()) = head.into_parts();
            head.headers.insert("content-length", 65_535.into());
            Request::from_parts(head, ())
        };
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        while held.len() < HOLDING {
            let mut client = clients::connect_h3(ways.doh).await;
            for _ in 0..HOLDING / 3 {
                held.push(client.send_request(head()).await.unwrap());
            }
            clients.push(client);
        }
        let end = Instant::now() + PATIENCE;
        let mut refused = clients::http2(&mut h2, post.clone()).await;
        while refused.status() == 200 {
            assert!(Instant::now() < end, "there is always room");
            // What was asked meanwhile may have had the place of one.
            let next = held.len() % 3;
            held.push(clients[next].send_request(head()).await.unwrap());
            refused = clients::http2(&mut h2, post.clone()).await;
        }
        for refused in [refused, clients::http3(&mut h3, post.clone()).await] {
            assert_eq!(refused.status(), 503);
            assert!(refused.headers().contains_key("retry-after"));
            let told = String::from_utf8(refused.into_body()).unwrap();
            assert!(told.contains("queries_octets_max") && told.contains("16777216"), "{told}");
        }
        assert_eq!(clients::http2(&mut h2, get.clone()).await.status(), 200);
        assert_eq!(clients::http3(&mut h3, get).await.status(), 200);

        drop((held, clients));
        while clients::http2(&mut h2, post.clone()).await.status() != 200 {
            assert!(Instant::now() < end, "the memory is not free again");
        }
    });
}

/// Goal: HEAD says what GET would, and sends none of it (RFC 9110 §9.3.2).
#[test]
fn head_is_get_without_its_body() {
    let ways = Ways::start("", "");
    let path = path(&query("www.cuts.test", rtype::A));
    let get = both(&ways, &request("GET", &path, "", b""));
    let head = both(&ways, &request("HEAD", &path, "", b""));
    for ((way, get), (_, head)) in get.into_iter().zip(head) {
        assert!(head.body().is_empty() && !get.body().is_empty(), "{way}");
        for field in ["content-type", "cache-control"] {
            assert_eq!(head.headers()[field], get.headers()[field], "{way}");
        }
    }
}

/// Goal: a cache keeps an answer no longer than its shortest TTL, a denial no longer than its SOA lets it, and an
/// error not at all.
#[test]
fn rfc8484_5_1_a_cache_may_keep_what_dns_may_keep() {
    let ways = Ways::start("", "");
    for (name, rtype, answers, keeps) in [
        ("www.cuts.test", rtype::A, 1, "max-age=3600"),
        ("tochild.cuts.test", rtype::A, 2, "max-age=1800"), // of two the shorter
        ("www.cuts.test", rtype::MX, 0, "max-age=300"),
        ("nothing.cuts.test", rtype::A, 0, "max-age=300"),
        ("nodata.alias.test", rtype::A, 1, "max-age=300"), // an alias to nothing of that type
        ("nx.alias.test", rtype::A, 1, "max-age=300"),
        ("indomain.cuts.test", rtype::A, 0, "no-store"), // a referral
        ("nobodys.example", rtype::A, 0, "no-store"),
    ] {
        let query = query(name, rtype);
        for request in
            [request("GET", &path(&query), "", b""), request("POST", "/dns-query", MESSAGE, &query)]
        {
            for (way, response) in both(&ways, &request) {
                assert_eq!(response.headers()["cache-control"], keeps, "{name} by {way}");
                let answer = Answer::parse(response.body()).unwrap();
                assert_eq!(answer.answer.len(), answers, "{name} by {way}");
            }
        }
    }
}
