//! The API, wherever it is: of a running server, or of the routes in this process over a directory.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::args::Target;
use super::{Failure, usage};
use crate::http::InProcess;
use crate::{run, store};

/// Rows asked for at a time in a listing.
const PAGE: usize = 500;

/// How long one request may take: an import of a large zone is one.
const PATIENCE: Duration = Duration::from_secs(600);

/// Somebody to send requests to.
pub(super) enum Api {
    Server { agent: ureq::Agent, url: String, token: String },
    Directory(Box<InProcess>),
}

/// The answer to one request: its status and body.
type Answer = (u16, Vec<u8>);

impl Api {
    /// Opens what `target` names: a server, else a data directory.
    ///
    /// # Errors
    ///
    /// A server without a token; a directory that cannot be opened, which is told with the way out.
    pub(super) fn open(target: &Target) -> Result<Api, Failure> {
        let Some(server) = target.server() else {
            return Ok(Api::Directory(Box::new(run::in_process(&target.directory())?)));
        };
        let token = target.token.clone().ok_or_else(|| {
            usage("a server needs --token or NAMEPLANE_TOKEN: the first is in operator.token of its data directory")
        })?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        let url = server.trim_end_matches('/').to_owned();
        Ok(Api::Server { agent: agent.into(), url, token })
    }

    /// As [`open`](Api::open), for a command that only looks: where there is no data directory it makes none.
    ///
    /// # Errors
    ///
    /// As [`open`](Api::open), and without a data directory.
    pub(super) fn look(target: &Target) -> Result<Api, Failure> {
        if target.server().is_none() {
            is_there(&target.directory())?;
        }
        Api::open(target)
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json("GET", path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json("POST", path, Some(body))
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json("PUT", path, Some(body))
    }

    /// A request without a body that has something done.
    pub(super) fn ask(&self, path: &str) -> Result<Value, Failure> {
        self.json("POST", path, None)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json("DELETE", path, None)
    }

    /// A body that is no JSON, as a zone file.
    pub(super) fn text(&self, path: &str) -> Result<String, Failure> {
        let body = good(path, self.send("GET", path, "", Vec::new())?)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Every row of a listing, page by page.
    pub(super) fn all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{sign}limit={PAGE}{after}"))?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                rows.extend(items);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = format!("&after={}", encoded(next)),
                None => return Ok(rows),
            }
        }
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (kind, octets) = match body.filter(|body| !body.is_null()) {
            Some(body) => ("application/json", body.to_string().into_bytes()),
            None => ("", Vec::new()),
        };
        let answer = good(path, self.send(method, path, kind, octets)?)?;
        match answer.is_empty() {
            true => Ok(Value::Null),
            false => Ok(serde_json::from_slice(&answer)?),
        }
    }

    /// One request; any status is an answer.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        match self {
            Api::Directory(routes) => Ok(routes.call(method, path, kind, body)),
            Api::Server { agent, url, token } => {
                let mut request = ureq::http::Request::builder()
                    .method(method)
                    .uri(format!("{url}{path}"))
                    .header("Authorization", format!("Bearer {token}"));
                if !kind.is_empty() {
                    request = request.header("Content-Type", kind);
                }
                let mut answer = match body.is_empty() {
                    true => agent.run(request.body(())?),
                    false => agent.run(request.body(body)?),
                }
                .map_err(|error| format!("{url}: {error}"))?;
                let status = answer.status().as_u16();
                let reader = answer.body_mut().with_config().limit(u64::MAX);
                Ok((status, reader.read_to_vec()?))
            }
        }
    }
}

/// # Errors
///
/// There is no data directory: a name typed wrong should not become one.
pub(super) fn is_there(dir: &Path) -> Result<(), Failure> {
    match store::is_there(dir) {
        true => Ok(()),
        false => Err(format!(
            "there is no data directory {}: `nameplane serve` and `nameplane zone import` make one",
            dir.display()
        )
        .into()),
    }
}

/// The body of a good answer to a request for `path`.
///
/// # Errors
///
/// What a problem says, all its faults, a line each; and what was asked for, if it is not there.
fn good(path: &str, (status, body): Answer) -> Result<Vec<u8>, Failure> {
    match status {
        200..300 => Ok(body),
        404 => Err(format!("{}: {path}", told(status, &body)).into()),
        _ => Err(told(status, &body).into()),
    }
}

/// A problem (RFC 9457) as lines for a person.
pub(super) fn told(status: u16, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| problem.get(key).and_then(Value::as_str);
    let faults = problem.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    // Of a single fault the detail says no more than the line that names its place.
    let is_told_below = |detail: &str| matches!(faults, [one] if one["detail"] == detail);
    let mut lines = vec![match (text("title"), text("detail")) {
        (Some(title), Some(detail)) if !is_told_below(detail) => format!("{title}: {detail}"),
        (Some(title), _) => title.to_owned(),
        _ => format!("the server answered with status {status}"),
    }];
    for fault in faults {
        let part = |key: &str| match fault.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let place = match (part("line"), part("column"), part("pointer")) {
            (Some(line), Some(column), _) => format!("line {line}, column {column}: "),
            (Some(line), None, _) => format!("line {line}: "),
            (None, _, Some(pointer)) if !pointer.is_empty() => format!("{pointer}: "),
            _ => String::new(),
        };
        let detail = part("detail").unwrap_or_default();
        let zone = fault.pointer("/data/zone").and_then(Value::as_str);
        let zone = zone.filter(|zone| !detail.contains(zone));
        let zone = zone.map_or_else(String::new, |zone| format!("{zone}: "));
        lines.push(format!("  {place}{zone}{detail}"));
    }
    lines.join("\n")
}

/// A text as part of a path or query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(octet))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_all_its_faults() {
        let body = br#"{"title":"The request breaks rules","detail":"two faults","errors":[
            {"line":3,"column":7,"detail":"not an address"},{"pointer":"/name","detail":"too long"}]}"#;
        assert_eq!(
            told(422, body),
            "The request breaks rules: two faults\n  line 3, column 7: not an address\n  /name: too long"
        );
        assert_eq!(told(502, b"<html>"), "the server answered with status 502");
    }

    #[test]
    fn a_single_fault_is_told_once_and_what_is_not_there_by_its_path() {
        let one = br#"{"title":"Rules are broken","detail":"7 is SHA-1","errors":[{"detail":"7 is SHA-1"}]}"#;
        assert_eq!(told(422, one), "Rules are broken\n  7 is SHA-1");
        let zones = br#"{"title":"Rules are broken","detail":"two faults","errors":[
            {"data":{"zone":"x.example."},"detail":"zone exists already"},
            {"data":{"zone":"y.example."},"detail":"www.y.example. A: no"}]}"#;
        let lines = "Rules are broken: two faults\n  x.example.: zone exists already\n  www.y.example. A: no";
        assert_eq!(told(422, zones), lines);
        let missing = br#"{"title":"There is nothing here","detail":"no such resource"}"#.to_vec();
        let refused = good("/v1/zones/nosuch.example.", (404, missing)).unwrap_err().to_string();
        assert_eq!(refused, "There is nothing here: no such resource: /v1/zones/nosuch.example.");
    }

    #[test]
    fn names_with_odd_octets_go_into_a_path_unharmed() {
        assert_eq!(encoded("a/b?c\\.x."), "a%2Fb%3Fc%5C.x.");
    }
}
