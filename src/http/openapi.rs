//! The OpenAPI document: what the table of routes says, for programs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use utoipa::openapi::path::Parameter;

use super::problem::{self, Kind};
use super::routes::{Audit, Need, Route, table};

/// What a reader must know before the first call.
const INTRODUCTION: &str = "\
Everything people and programs may do with zones, and with the organisations, users, tokens and orders \
around them.\n\n\
**Who calls** is said by `Authorization: Bearer <token>`. What belongs to another organisation does not \
exist: 404, as for an id nobody ever had.\n\n\
**Refusals** are problems (RFC 9457) that list every fault with its place.\n\n\
**Repeating a request** with the same `Idempotency-Key` has the effect of one.\n\n\
**Versions**: zones and RRsets carry an `ETag`; `If-Match` lets a change pass only if it still holds.\n\n\
**Lists** come in pages: `limit` items behind `after`; `next` of one page is `after` of the next. A page \
never repeats or skips what stood there all the time.";

/// The document as it is served and committed.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// The document.
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = named_schemas().collect();
    let mut tags: Vec<&str> = Vec::new();
    for route in table() {
        let tag = tag_of(route);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(route));
    }
    schemas.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "nameplane",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": tags.iter().map(|tag| json!({"name": tag})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": {
                "description": "Why it was not done.",
                "content": {problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }},
        },
    })
}

/// Every schema that a line of the table names, with its name; the same again for each line.
pub fn named_schemas() -> impl Iterator<Item = (String, Value)> {
    let schemas = table().iter().flat_map(|route| &route.form.schemas);
    schemas.map(|(name, schema)| (name.clone(), to_value(schema)))
}

fn tag_of(route: &Route) -> &'static str {
    route.name.split('.').next().unwrap_or_default()
}

fn operation(route: &Route) -> Value {
    let form = &route.form;
    let mut parameters: Vec<Value> = form.parameters.iter().map(parameter).collect();
    parameters.extend(header_parameters(route));
    let success = match &form.gives {
        Some((media_type, schema)) => json!({
            "description": "Done.",
            "content": {media_of(media_type): {"schema": to_value(schema)}},
        }),
        None => json!({"description": "Done."}),
    };
    let mut responses = BTreeMap::from([(form.status.to_string(), success)]);
    for kind in problems_of(route) {
        responses.insert(
            kind.status().as_u16().to_string(),
            json!({"$ref": "#/components/responses/Problem"}),
        );
    }
    let mut operation = json!({
        "operationId": route.name.replace('.', "_"),
        "summary": route.summary,
        "tags": [tag_of(route)],
        "parameters": parameters,
        "responses": responses,
        "x-permission": match route.need {
            Need::Token => "any".to_owned(),
            Need::Permission(permission) => permission.to_string(),
        },
        "x-audit": match route.audit {
            Audit::Read => "read".to_owned(),
            Audit::Event(kind) => kind.to_string(),
        },
    });
    if let (Some(schema), Some(object)) = (&form.body, operation.as_object_mut()) {
        let content: BTreeMap<&str, Value> = route
            .media_types
            .iter()
            .map(|media_type| (*media_type, json!({"schema": to_value(schema)})))
            .collect();
        object.insert(
            "requestBody".into(),
            json!({"required": form.body_required, "content": content}),
        );
    }
    operation
}

/// The media type without its parameters.
fn media_of(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default()
}

fn parameter(parameter: &Parameter) -> Value {
    to_value(parameter)
}

fn header_parameters(route: &Route) -> Vec<Value> {
    let field = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "required": false, "description": description,
            "schema": {"type": "string"},
        })
    };
    let mut fields = Vec::new();
    if route.audit != Audit::Read {
        fields.push(field(
            "Idempotency-Key",
            "Repeating the request with the same key has the effect of one.",
        ));
    }
    fields
}

/// The problems a route can answer with, besides those of the door.
fn problems_of(route: &Route) -> Vec<Kind> {
    let mut kinds = vec![
        Kind::Malformed,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::TooOften,
        Kind::Unavailable,
    ];
    if route.form.body.is_some() {
        kinds.extend([Kind::TooLarge, Kind::MediaType, Kind::Slow]);
    }
    if route.audit != Audit::Read {
        kinds.extend([Kind::Conflict, Kind::StaleVersion, Kind::Invalid]);
    }
    kinds
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number =
        |description: &str| json!({"type": "integer", "minimum": 0, "description": description});
    let kinds: Vec<String> =
        Kind::ALL.iter().map(|kind| format!("/api#problem-{}", kind.slug())).collect();
    json!({
        "type": "object",
        "description": "Why a request was not done (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": {"type": "string", "enum": kinds, "description": "The kind of problem, explained at this address."},
            "title": text("The kind of problem in one line."),
            "status": number("The HTTP status."),
            "detail": text("What happened this time."),
            "instance": text("Names this request in the server's log."),
            "errors": {"type": "array", "description": "Every fault.", "items": {
                "type": "object", "required": ["detail"],
                "properties": {
                    "pointer": text("JSON Pointer to the fault in the body."),
                    "parameter": text("The query parameter, path parameter or header field at fault."),
                    "index": number("Position in the list of edits or items, from 0."),
                    "line": number("Line, from 1."),
                    "column": number("Column, from 1."),
                    "rule": text("The rule that is broken."),
                    "detail": text("What is wrong, and the way out."),
                    "data": {"description": "Further facts, as the three sides of a conflict."},
                },
            }},
            "limit": {"type": "object", "description": "The limit that was reached.", "required": ["name", "value"],
                "properties": {"name": text("Its name in the settings."), "value": number("Its value.")}},
        },
    })
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
