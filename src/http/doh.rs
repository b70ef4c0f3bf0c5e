//! DNS over HTTPS ([RFC 8484]): octets in, octets out; how long an answer keeps is read off its TTLs.
//!
//! [RFC 8484]: https://www.rfc-editor.org/rfc/rfc8484

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::timeout;

use super::problem::{Kind, Problem};
use super::{App, Peer, call};
use crate::wire::header::HEADER_OCTETS;
use crate::wire::query::{RecordAt, skip_name};
use crate::wire::{Header, Rcode, Type};

/// Where queries are answered.
pub(super) const PATH: &str = "/dns-query";
/// The media type of a DNS message.
const MESSAGE: &str = "application/dns-message";
/// Octets of a query; the length field of every other transport ends there too.
const QUERY_OCTETS_MAX: usize = 65_535;

/// Answers one DNS message. Called on an async thread: it must neither wait nor block.
pub trait Resolve: Send + Sync + 'static {
    /// What to send back to `peer`; none when the query is to be dropped.
    fn resolve(&self, query: &[u8], peer: Option<SocketAddr>) -> Option<Answered>;
}

/// A DNS response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered(pub Vec<u8>);

pub(super) async fn get(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = query_of(request.uri())?;
    answer(&app, &request, &query)
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    if !is_message(request.headers()) {
        return Err(Problem::new(Kind::MediaType, format!("send a body of type {MESSAGE}")));
    }
    let (parts, body) = request.into_parts();
    let too_large = || {
        Problem::new(Kind::TooLarge, "a DNS message has at most 65535 octets")
            .with_limit("query_octets_max", QUERY_OCTETS_MAX as u64)
    };
    let octets = call::announced(&parts.headers).unwrap_or(QUERY_OCTETS_MAX);
    if octets > QUERY_OCTETS_MAX {
        return Err(too_large());
    }
    let all = ("queries_octets_max", app.settings.queries_octets_max);
    let _share = call::share_of(&app.queries, octets, all)?;
    let read = timeout(app.settings.body_time, to_bytes(body, octets)).await;
    let query: Bytes = read
        .map_err(|_| Problem::new(Kind::Slow, "the query did not arrive in time"))?
        .map_err(|error| match octets == QUERY_OCTETS_MAX && call::is_length_limit(&error) {
            true => too_large(),
            false => Problem::new(Kind::Malformed, "the body is not as long as it says"),
        })?;
    answer(&app, &Request::from_parts(parts, Body::empty()), &query)
}

fn is_message(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| {
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MESSAGE)
    })
}

/// The query in `?dns=`, base64url without padding ([RFC 8484](https://www.rfc-editor.org/rfc/rfc8484) §4.1); who pads all
/// the same is understood, also where a library wrote `%3D`.
fn query_of(uri: &Uri) -> Result<Vec<u8>, Problem> {
    let wanted = |detail: &str| Problem::parameter(Kind::Malformed, "dns", detail);
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| wanted("the query of the URI cannot be read"))?;
    let (_, text) = { parameters.0.into_iter() }
        .find(|(name, _)| name == "dns")
        .ok_or_else(|| wanted("put the query into the parameter dns, as base64url"))?;
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| wanted("the parameter dns is not base64url"))
}

fn answer(app: &App, request: &Request, query: &[u8]) -> Result<Response, Problem> {
    let resolve = app.resolve.as_ref().ok_or_else(Problem::not_found)?;
    if query.len() < 12 {
        return Err(Problem::new(Kind::Malformed, "a DNS message has at least 12 octets"));
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let Some(Answered(message)) = resolve.resolve(query, peer) else {
        return Err(Problem::new(
            Kind::Malformed,
            "the message is not a query this server answers",
        ));
    };
    let keep = match keeps_s(&message) {
        Some(seconds) => format!("max-age={seconds}"),
        None => "no-store".into(),
    };
    let keep = HeaderValue::from_str(&keep).unwrap_or(HeaderValue::from_static("no-store"));
    let fields =
        [(header::CONTENT_TYPE, HeaderValue::from_static(MESSAGE)), (header::CACHE_CONTROL, keep)];
    Ok((fields, message).into_response())
}

/// Seconds a cache may keep the message ([RFC 8484](https://www.rfc-editor.org/rfc/rfc8484) §5.1): its smallest answer TTL; without an
/// answer what the SOA allows ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §5); none when it is an error or has neither.
fn keeps_s(message: &[u8]) -> Option<u32> {
    let header = Header::read(message)?;
    let rcode = header.flags.rcode();
    if header.flags.is_truncated() || !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let mut at = HEADER_OCTETS;
    for _ in 0..header.questions {
        at = skip_name(message, at).ok()? + 4;
    }
    let (answers, authority) = (u32::from(header.answers), u32::from(header.authorities));
    let mut smallest: Option<u32> = None;
    for position in 0..answers + authority {
        let record = RecordAt::read(message, at).ok()?;
        let in_answer = position < answers;
        let ttl = match (in_answer, record.rtype == Type::SOA) {
            (true, _) => Some(record.ttl),
            (false, true) => {
                let minimum = message.get(record.rdata_at..record.end)?.last_chunk()?;
                Some(record.ttl.min(u32::from_be_bytes(*minimum)))
            }
            (false, false) => None,
        };
        // A SOA behind a CNAME says that nothing is at its end, which keeps no longer than that allows.
        if let Some(ttl) = ttl {
            smallest = Some(smallest.map_or(ttl, |other| other.min(ttl)));
        }
        at = record.end;
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response to `x. A`: `answers` TTLs of A records, then perhaps a SOA (TTL, MINIMUM).
    fn message(rcode: u8, answers: &[u32], soa: Option<(u32, u32)>) -> Vec<u8> {
        let counts = [0, 1, 0, answers.len() as u8, 0, u8::from(soa.is_some()), 0, 0];
        let mut octets = [&[0, 0, 0x84, rcode][..], &counts, b"\x01x\0\0\x01\0\x01"].concat();
        for ttl in answers {
            octets.extend_from_slice(b"\xC0\x0C\0\x01\0\x01");
            octets.extend_from_slice(&ttl.to_be_bytes());
            octets.extend_from_slice(b"\0\x04\x01\x02\x03\x04");
        }
        if let Some((ttl, minimum)) = soa {
            octets.extend_from_slice(b"\xC0\x0C\0\x06\0\x01");
            octets.extend_from_slice(&ttl.to_be_bytes());
            octets.extend_from_slice(&[0, 22]);
            octets.extend_from_slice(&[0; 18]);
            octets.extend_from_slice(&minimum.to_be_bytes());
        }
        octets
    }

    #[test]
    fn rfc8484_5_1_an_answer_keeps_for_its_smallest_ttl() {
        assert_eq!(keeps_s(&message(0, &[300, 60, 900], None)), Some(60));
    }

    #[test]
    fn rfc8484_5_1_a_negative_answer_keeps_as_long_as_its_soa_allows() {
        assert_eq!(keeps_s(&message(3, &[], Some((3600, 300)))), Some(300));
        assert_eq!(keeps_s(&message(0, &[], Some((60, 300)))), Some(60));
        for rcode in [0, 3] {
            assert_eq!(keeps_s(&message(rcode, &[900], Some((3600, 30)))), Some(30));
            assert_eq!(keeps_s(&message(rcode, &[9], Some((3600, 30)))), Some(9));
        }
    }

    #[test]
    fn errors_and_broken_messages_are_not_kept() {
        assert_eq!(keeps_s(&message(2, &[], None)), None);
        assert_eq!(keeps_s(&message(5, &[60], None)), None);
        assert_eq!(keeps_s(&message(0, &[], None)), None);
        let whole = message(0, &[300], None);
        for cut in 0..whole.len() {
            assert_eq!(keeps_s(&whole[..cut]), None, "{cut}");
        }
    }
}
