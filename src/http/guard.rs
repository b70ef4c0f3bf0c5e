//! The door of every request: whom it is for, where it comes from, and what is written about it.
//!
//! A page on another site can make a browser talk to a server on loopback, under a host name that
//! points there ("DNS rebinding") or plainly across sites. Rebinding needs a *name*, so names are
//! listed and addresses are not; and no site but this one has anything to ask.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::{debug, error, info};
use ulid::Ulid;

use super::problem::{Carried, Kind, Problem};
use super::{App, Peer, doh};

/// The id of one request: the `instance` of a problem, and the search word in the log.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// Wraps every route: gives the request its id, counts it, and adds what every response carries.
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = Ulid::new().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);

    let mut response = dress(next.run(request).await, &id);
    app.counts.count(response.status().as_u16(), elapsed_us(began));
    debug!(?peer, request = %id, "request came from");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Lets in what is for this server and from no other site, and leaves a line for the operator.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());

    let response = match admit(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    // Queries of DNS come without end: they are counted, as by every other transport.
    if path != doh::PATH {
        let (status, elapsed_us) = (response.status().as_u16(), elapsed_us(began));
        // Neither query nor header fields: both may hold what nobody should read in a log.
        info!(%method, path = %path.escape_debug(), status, elapsed_us, request = %id, "{method} {} {status}", path.escape_debug());
    }
    response
}

fn elapsed_us(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Whether the request is for this server and from no other site.
fn admit(app: &App, request: &Request) -> Result<(), Problem> {
    let host = host_of(request.uri(), request.headers())?;
    if !app.settings.answers_for(host) {
        let detail = format!(
            "this server does not answer for {host:?}: list it under `hosts` in the section [http]"
        );
        return Err(Problem::new(Kind::WrongHost, detail));
    }
    same_site(request.method(), host, request.headers())
}

/// The host the request is for: `Host`, or the authority of HTTP/2.
fn host_of<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Problem> {
    let mut fields = headers.get_all(header::HOST).iter();
    match (uri.authority(), fields.next(), fields.next()) {
        (_, Some(_), Some(_)) => Err(Problem::new(Kind::Malformed, "there are two Host fields")),
        (Some(authority), _, _) => Ok(authority.as_str()),
        (None, Some(field), None) => {
            field.to_str().map_err(|_| Problem::new(Kind::Malformed, "Host is not ASCII"))
        }
        (None, None, _) => Err(Problem::new(Kind::Malformed, "there is no Host field")),
    }
}

/// Whether no other site sent the browser here.
fn same_site(method: &Method, host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |what: String| Err(Problem::new(Kind::CrossSite, what));
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
            return refuse(format!("the request comes from {origin:?}, not from {host:?}"));
        }
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        // A link on another site may lead here: the answer is shown to the person, not to the site.
        Some(_) if is_navigation(method, headers) => Ok(()),
        Some(_) => refuse("the browser says that another site sent the request".into()),
    }
}

fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET
        && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
        && headers.get("sec-fetch-dest").is_some_and(|dest| dest == "document")
}

/// Adds what every response carries.
fn dress(response: Response, id: &str) -> Response {
    let carried = response.extensions().get::<Carried>().cloned();
    let mut response = match carried {
        Some(carried) => {
            let allow = response.headers().get(header::ALLOW).cloned();
            let mut dressed = carried.respond(id);
            if let Some(allow) = allow {
                dressed.headers_mut().insert(header::ALLOW, allow);
            }
            dressed
        }
        None => response,
    };
    let fields = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    fields.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a panic in a handler becomes: a problem for the caller, a line for the operator.
pub(super) fn panicked(panic: &(dyn Any + Send), id: &str) -> Problem {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    error!(request = %id, "incident {id}: a request panicked: {what}");
    Problem::new(
        Kind::Unexpected,
        format!("the server failed: tell its operator the incident {id}"),
    )
}
