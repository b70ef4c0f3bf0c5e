//! A problem: why a request was not done, as [RFC 9457] says it.
//!
//! Every kind of problem stands once in [`Kind`]: its name, status and title are read off there by
//! the answer, the OpenAPI document and the reference page.
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! kinds {
    ($($variant:ident $slug:literal $status:ident $title:literal;)*) => {
        /// What kind of problem; whose fault it is decides the status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $title] $variant,)* }

        impl Kind {
            /// Every kind, in the order of the reference page.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name that ends the `type` of the problem.
            pub fn slug(self) -> &'static str {
                match self { $(Kind::$variant => $slug,)* }
            }

            /// What HTTP calls it.
            pub fn status(self) -> StatusCode {
                match self { $(Kind::$variant => StatusCode::$status,)* }
            }

            /// One line for people, the same for every problem of the kind.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$variant => $title,)* }
            }
        }
    };
}

kinds! {
    Malformed        "malformed"          BAD_REQUEST            "The request cannot be read";
    Unauthenticated  "unauthenticated"    UNAUTHORIZED           "A valid token is needed";
    Forbidden        "forbidden"          FORBIDDEN              "You may see this, but not do that";
    CrossSite        "cross-site"         FORBIDDEN              "Requests from another site are refused";
    NotFound         "not-found"          NOT_FOUND              "There is nothing here, or nothing for you";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED     "The resource has no such method";
    Slow             "too-slow"           REQUEST_TIMEOUT        "The request did not arrive in time";
    Conflict         "conflict"           CONFLICT               "The state has moved on";
    StaleVersion     "stale-version"      PRECONDITION_FAILED    "If-Match does not name the current version";
    TooLarge         "too-large"          PAYLOAD_TOO_LARGE      "The body is larger than its limit";
    MediaType        "media-type"         UNSUPPORTED_MEDIA_TYPE "The body is of a type this route does not take";
    WrongHost        "wrong-host"         MISDIRECTED_REQUEST    "This server does not answer for that host name";
    Invalid          "invalid"            UNPROCESSABLE_ENTITY   "The request breaks rules; all of them are listed";
    KeyReused        "key-reused"         UNPROCESSABLE_ENTITY   "The idempotency key was used for another request";
    IfMatchNeeded    "if-match-needed"    PRECONDITION_REQUIRED  "The route needs If-Match";
    OverLimit        "over-limit"         UNPROCESSABLE_ENTITY   "More than a limit allows";
    TooOften         "too-often"          TOO_MANY_REQUESTS      "The token calls too often";
    HeadTooLarge     "head-too-large"     REQUEST_HEADER_FIELDS_TOO_LARGE "The header fields are larger than their limit";
    Unexpected       "unexpected"         INTERNAL_SERVER_ERROR  "The server failed; the incident is logged under the instance";
    Unavailable      "unavailable"        SERVICE_UNAVAILABLE    "The server cannot do this now";
}

/// One fault inside the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Fault {
    /// JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) into the body; empty is the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The query or path parameter, or the header field, when the fault is not in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Position in the list of edits or items, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Line of a zone file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column of a zone file or of a record, in octets from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The rule that is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is wrong and the way out.
    pub detail: String,
    /// Further facts: the three sides of a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<Fault>,
    limit: Option<(String, u64)>,
    retry_after_s: Option<u64>,
    fields: Vec<(HeaderName, HeaderValue)>,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what happened this time.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            limit: None,
            retry_after_s: None,
            fields: Vec::new(),
            extra: serde_json::Map::new(),
        }))
    }

    /// Nothing here, or nothing for this person: both read the same.
    pub fn not_found() -> Problem {
        Problem::new(Kind::NotFound, "no such resource, or none that you may know of")
    }

    /// Several faults in one request.
    pub fn invalid(detail: impl Into<String>, errors: Vec<Fault>) -> Problem {
        let mut problem = Problem::new(Kind::Invalid, detail);
        problem.0.errors = errors;
        problem
    }

    /// One fault in a query or path parameter or a header field.
    pub fn parameter(kind: Kind, parameter: &str, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        let fault =
            Fault { parameter: Some(parameter.into()), detail: detail.clone(), ..Fault::default() };
        Problem::new(kind, detail).with_errors(vec![fault])
    }

    /// With these faults listed.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Problem {
        self.0.errors = errors;
        self
    }

    /// With the limit that was reached, by the name it has in the settings.
    #[must_use]
    pub fn with_limit(mut self, name: impl Into<String>, value: u64) -> Problem {
        self.0.limit = Some((name.into(), value));
        self
    }

    /// With the time after which another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Problem {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// With a header field.
    #[must_use]
    pub fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.fields.push((name, value));
        self
    }

    /// With a member of its own: the receipt of an order in conflict.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: impl Serialize) -> Problem {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.extra.insert(name.into(), value);
        self
    }

    /// The same with every pointer put through `place`; where that gives none there is none.
    #[must_use]
    pub fn relocated(mut self, place: impl Fn(&str) -> Option<String>) -> Problem {
        for fault in &mut self.0.errors {
            fault.pointer = fault.pointer.as_deref().and_then(&place);
        }
        self
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The faults listed.
    pub fn errors(&self) -> &[Fault] {
        &self.0.errors
    }

    /// What happened this time.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    fn to_json(&self) -> serde_json::Value {
        let parts = &*self.0;
        let mut json = serde_json::json!({
            "type": format!("/api#problem-{}", parts.kind.slug()),
            "title": parts.kind.title(),
            "status": parts.kind.status().as_u16(),
            "detail": parts.detail,
        });
        if let Some(object) = json.as_object_mut() {
            if !parts.errors.is_empty() {
                object.insert(
                    "errors".into(),
                    serde_json::to_value(&parts.errors).unwrap_or_default(),
                );
            }
            if let Some((name, value)) = &parts.limit {
                object.insert("limit".into(), serde_json::json!({"name": name, "value": value}));
            }
            object.extend(parts.extra.clone());
        }
        json
    }
}

/// Rides on a response so that the frame can add the request's id as `instance`.
#[derive(Clone)]
pub(super) struct Carried(pub(super) Problem);

impl Carried {
    /// The whole response, `instance` included.
    pub(super) fn respond(self, instance: &str) -> Response {
        let mut json = self.0.to_json();
        if let Some(object) = json.as_object_mut() {
            object.insert("instance".into(), format!("urn:nameplane:request:{instance}").into());
        }
        let parts = *self.0.0;
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = parts.kind.status();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = parts.retry_after_s {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if parts.kind == Kind::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"nameplane\"");
            fields.insert(header::WWW_AUTHENTICATE, challenge);
        }
        for (name, value) in parts.fields {
            fields.append(name, value);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        response.extensions_mut().insert(Carried(self));
        response
    }
}
