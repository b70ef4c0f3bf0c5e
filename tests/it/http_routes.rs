//! The table of routes: who may not, gets nothing; the document says what is so.

use std::collections::BTreeSet;
use std::path::Path;

use nameplane::http::openapi;
use nameplane::http::routes::{Audit, Need, table};

/// Goal: `api/openapi.json` is what the server says of itself.
/// Method: compared octet by octet; `NAMEPLANE_WRITE_OPENAPI=1` writes it anew.
#[test]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = Path::new("api/openapi.json");
    if std::env::var_os("NAMEPLANE_WRITE_OPENAPI").is_some() {
        std::fs::write(path, openapi::text()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == openapi::text(),
        "api/openapi.json is not what the routes say: write it with NAMEPLANE_WRITE_OPENAPI=1"
    );
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = openapi::document();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect_references(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            found.extend(members.get("$ref").and_then(|value| value.as_str()).map(str::to_owned));
            members.values().for_each(|value| collect_references(value, found));
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|value| collect_references(value, found));
        }
        _ => {}
    }
}

/// Goal: no schema stands for two types.
/// Method: where two lines of the table describe a name, they describe the same.
#[test]
fn a_name_of_a_schema_means_one_type() {
    let mut seen = std::collections::BTreeMap::new();
    for (name, schema) in openapi::named_schemas() {
        let first = seen.entry(name.clone()).or_insert_with(|| schema.clone());
        assert!(*first == schema, "{name} is two types");
        assert_ne!(name, "Problem", "the name of the problem document");
    }
    assert!(seen.len() > 20);
}

#[test]
fn every_route_stands_once_with_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for route in table() {
        assert!(
            seen.insert((route.method.as_str(), route.path)),
            "{} {}",
            route.method,
            route.path
        );
        assert!(!route.summary.is_empty() && route.name.split('.').count() == 2, "{}", route.name);
    }
    let names: BTreeSet<_> = table().iter().map(|route| route.name).collect();
    assert_eq!(names.len(), table().len());
}

#[test]
fn what_reads_is_get_and_what_changes_leaves_an_event() {
    for route in table() {
        match route.audit {
            Audit::Event(_) => assert_ne!(route.method, "GET", "{}", route.name),
            Audit::Read => {}
        }
        if route.need == Need::Token {
            assert!(route.path.starts_with("/v1/"), "{}", route.name);
        }
    }
}
