//! The reference page: the OpenAPI document for people, in one file without a script.

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::openapi;
use super::problem::Kind;
use crate::manage::event::sha256;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--mark:#2a6fdb}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem 1.25rem 4rem;max-width:62rem}\
h1{margin-bottom:0}h2{margin-top:3rem;border-bottom:1px solid var(--line)}h3{margin:2rem 0 .25rem;font-size:1rem}\
code{font:.9em/1.4 ui-monospace,monospace;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}\
td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-top:1px solid var(--line)}\
th{font-weight:600}nav ul{columns:16rem;padding:0;list-style:none}a{color:var(--mark)}\
.method{display:inline-block;min-width:4rem;font-weight:700}.facts{opacity:.75;margin:.25rem 0}\
:target{background:var(--soft)}@media(max-width:40rem){body{padding:.5rem}}";

/// The page, and the Content-Security-Policy that allows its style sheet and nothing else.
pub fn page() -> (&'static str, &'static str) {
    static PAGE: LazyLock<(String, String)> = LazyLock::new(|| (render(), policy()));
    (&PAGE.0, &PAGE.1)
}

fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        STANDARD.encode(sha256(STYLE.as_bytes()))
    )
}

fn render() -> String {
    let document = openapi::document();
    let mut page = Page(String::with_capacity(64 * 1024));
    page.head(&document);
    let operations = operations_by_tag(&document);
    page.contents(&operations);
    for (tag, operations) in &operations {
        page.raw(&format!("<h2 id=\"{tag}\">{tag}</h2>\n"));
        for operation in operations {
            page.operation(operation);
        }
    }
    page.schemas(&document);
    page.problems();
    page.raw("</main>\n");
    page.0
}

/// One operation with where it stands.
struct Operation<'d> {
    method: String,
    path: &'d str,
    facts: &'d Value,
}

/// The operations of each tag, in the order of the tags in the document.
fn operations_by_tag(document: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let tags = document["tags"].as_array().into_iter().flatten();
    tags.filter_map(|tag| tag["name"].as_str())
        .map(|tag| {
            let all = object(&document["paths"]).flat_map(|(path, methods)| {
                object(methods).map(move |(method, facts)| Operation {
                    method: method.to_ascii_uppercase(),
                    path,
                    facts,
                })
            });
            (tag, all.filter(|operation| operation.facts["tags"][0] == tag).collect())
        })
        .collect()
}

struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                other => self.0.push(other),
            }
        }
    }

    /// Text with `code` and **strong** in it.
    fn prose(&mut self, text: &str) {
        for (position, part) in text.split('`').enumerate() {
            if position % 2 == 1 {
                self.code(part);
                continue;
            }
            for (position, part) in part.split("**").enumerate() {
                self.raw(["", "<strong>"][position % 2]);
                self.text(part);
                self.raw(["", "</strong>"][position % 2]);
            }
        }
    }

    fn code(&mut self, text: &str) {
        self.raw("<code>");
        self.text(text);
        self.raw("</code>");
    }

    fn head(&mut self, document: &Value) {
        let info = &document["info"];
        self.raw("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
        self.raw("<meta name=\"viewport\" content=\"width=device-width\">\n");
        self.raw("<title>nameplane API</title>\n<style>");
        self.raw(STYLE);
        self.raw("</style>\n<main>\n<h1>nameplane API</h1>\n<p class=\"facts\">version ");
        self.text(info["version"].as_str().unwrap_or_default());
        self.raw(" · <a href=\"/api/openapi.json\">OpenAPI document</a></p>\n");
        for paragraph in info["description"].as_str().unwrap_or_default().split("\n\n") {
            self.raw("<p>");
            self.prose(paragraph);
            self.raw("</p>\n");
        }
    }

    fn contents(&mut self, operations: &[(&str, Vec<Operation<'_>>)]) {
        self.raw("<nav><ul>\n");
        for (tag, operations) in operations {
            let count = operations.len();
            let _ = writeln!(self.0, "<li><a href=\"#{tag}\">{tag}</a> ({count})");
        }
        self.raw("<li><a href=\"#schemas\">schemas</a>\n<li><a href=\"#problems\">problems</a>\n</ul></nav>\n");
    }

    fn operation(&mut self, operation: &Operation<'_>) {
        let Operation { method, path, facts } = operation;
        let id = facts["operationId"].as_str().unwrap_or_default();
        let _ = write!(self.0, "<h3 id=\"{id}\"><span class=\"method\">{method}</span> ");
        self.code(path);
        self.raw("</h3>\n<p>");
        self.prose(facts["summary"].as_str().unwrap_or_default());
        self.raw("</p>\n<p class=\"facts\">permission ");
        self.code(facts["x-permission"].as_str().unwrap_or_default());
        self.raw(" · event ");
        self.code(facts["x-audit"].as_str().unwrap_or_default());
        self.raw("</p>\n");
        self.parameters(facts["parameters"].as_array().map(Vec::as_slice).unwrap_or_default());
        for (media_type, content) in object(&facts["requestBody"]["content"]) {
            self.raw("<p>takes ");
            self.code(media_type);
            self.raw(": ");
            self.form(&content["schema"]);
            self.raw("</p>\n");
        }
        for (status, response) in object(&facts["responses"]) {
            for (media_type, content) in object(&response["content"]) {
                let _ = write!(self.0, "<p>gives {status} ");
                self.code(media_type);
                self.raw(": ");
                self.form(&content["schema"]);
                self.raw("</p>\n");
            }
        }
    }

    fn parameters(&mut self, parameters: &[Value]) {
        if parameters.is_empty() {
            return;
        }
        self.raw("<table>\n");
        for parameter in parameters {
            self.raw("<tr><td>");
            self.code(parameter["name"].as_str().unwrap_or_default());
            self.raw("<td>");
            self.text(parameter["in"].as_str().unwrap_or_default());
            self.raw("<td>");
            self.form(&parameter["schema"]);
            self.raw("<td>");
            self.prose(parameter["description"].as_str().unwrap_or_default());
            self.raw("\n");
        }
        self.raw("</table>\n");
    }

    /// A schema in a few words.
    fn form(&mut self, schema: &Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let _ = write!(self.0, "<a href=\"#schema-{name}\">{name}</a>");
            return;
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            if let Some(parts) = schema[choice].as_array() {
                for (position, part) in parts.iter().enumerate() {
                    self.raw(if position > 0 { " or " } else { "" });
                    self.form(part);
                }
                return;
            }
        }
        if let Some(words) = schema["enum"].as_array() {
            for (position, word) in words.iter().enumerate() {
                self.raw(if position > 0 { ", " } else { "" });
                self.code(word.as_str().unwrap_or_default());
            }
            return;
        }
        match &schema["type"] {
            Value::String(word) if word == "array" => {
                self.raw("list of ");
                self.form(&schema["items"]);
            }
            Value::String(word) if word == "object" && schema["properties"].is_object() => {
                self.properties(schema);
            }
            Value::String(word) => self.text(word),
            Value::Array(words) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                self.text(&words.join(" or "));
            }
            _ => self.raw("anything"),
        }
    }

    fn properties(&mut self, schema: &Value) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.raw("<table>\n");
        for (name, property) in object(&schema["properties"]) {
            self.raw("<tr><td>");
            self.code(name);
            self.raw(if required.contains(&name) { "<td>" } else { "<td>optional " });
            self.form(property);
            self.raw("<td>");
            self.prose(property["description"].as_str().unwrap_or_default());
            self.raw("\n");
        }
        self.raw("</table>\n");
    }

    fn schemas(&mut self, document: &Value) {
        self.raw("<h2 id=\"schemas\">schemas</h2>\n");
        for (name, schema) in object(&document["components"]["schemas"]) {
            let _ = writeln!(self.0, "<h3 id=\"schema-{name}\">{name}</h3>");
            self.raw("<p>");
            self.prose(schema["description"].as_str().unwrap_or_default());
            self.raw("</p>\n<div>");
            self.form(schema);
            self.raw("</div>\n");
        }
    }

    fn problems(&mut self) {
        self.raw("<h2 id=\"problems\">problems</h2>\n<table>\n");
        for kind in Kind::ALL {
            let (slug, status) = (kind.slug(), kind.status().as_u16());
            let _ =
                write!(self.0, "<tr id=\"problem-{slug}\"><td><code>{slug}</code><td>{status}<td>");
            self.text(kind.title());
            self.raw("\n");
        }
        self.raw("</table>\n");
    }
}

/// The members of an object, or none.
fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let (page, policy) = page();
        for outside in ["<script", "src=", "url(", "@import", "style=\"", "onclick"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(policy.contains("style-src 'sha256-"));
    }

    #[test]
    fn every_route_and_problem_has_its_place() {
        let (page, _) = page();
        for route in crate::http::routes::table() {
            assert!(page.contains(&format!("id=\"{}\"", route.name.replace('.', "_"))));
        }
        assert!(Kind::ALL.iter().all(|kind| page.contains(&format!("problem-{}", kind.slug()))));
    }
}
