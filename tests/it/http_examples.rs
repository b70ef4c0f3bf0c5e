//! The examples of `api/examples` are run as they stand.
//!
//! A file is a list of requests, each begun by `###` and its claim. Lines that begin with `#>` say
//! what comes back: `#> 201` the status, `#> state = "served"` a member of the body, and
//! `#> keep order = id` a member that later requests name as `{{order}}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::http_client::{Response, send};
use crate::server::Server;

/// Goal: what `api/examples` shows is true.
/// Method: each file on a fresh demo server, its requests in order.
#[test]
fn every_example_does_what_it_says() {
    let mut files: Vec<_> = std::fs::read_dir("api/examples")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        run(&file);
    }
}

fn run(file: &Path) {
    let server = Server::start_with(&["--demo"]);
    let mut names = tokens(&server.data);
    names.insert("server".into(), format!("http://{}", server.http));
    let text = format!("\n{}", std::fs::read_to_string(file).unwrap());
    for example in text.split("\n###").skip(1) {
        let mut example = example.to_owned();
        for (name, value) in &names {
            example = example.replace(&format!("{{{{{name}}}}}"), value);
        }
        let claim = format!("{}: {}", file.display(), example.lines().next().unwrap().trim());
        let response = request(&server, &example);
        for expected in example.lines().filter_map(|line| line.strip_prefix("#>")) {
            check(&claim, expected.trim(), &response, &mut names);
        }
    }
}

/// The secrets a first start of the demo leaves, by their file names: `{{operator}}`, `{{shop-member}}`.
fn tokens(data: &Path) -> BTreeMap<String, String> {
    let mut tokens = BTreeMap::new();
    for dir in [data.to_owned(), data.join("demo")] {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "token") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                tokens.insert(name, std::fs::read_to_string(path).unwrap().trim().to_owned());
            }
        }
    }
    tokens
}

fn request(server: &Server, example: &str) -> Response {
    let lines = example.lines().skip(1).filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n");
    let (head, body) = text.trim().split_once("\n\n").unwrap_or((text.trim(), ""));
    let mut head = head.lines();
    let (method, url) = head.next().unwrap().split_once(' ').unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.http)).unwrap();
    let fields: Vec<(&str, &str)> = head.map(|line| line.split_once(": ").unwrap()).collect();
    let body = if body.is_empty() { String::new() } else { format!("{}\n", body.trim()) };
    send(server.http, method, path, &fields, body.as_bytes())
}

fn check(claim: &str, expected: &str, response: &Response, names: &mut BTreeMap<String, String>) {
    let json = response.json();
    let member = |path: &str| {
        path.split('.').fold(&json, |value, step| match step.parse::<usize>() {
            Ok(index) => &value[index],
            Err(_) => &value[step],
        })
    };
    match expected.split_once(" = ") {
        None => {
            assert_eq!(response.status.to_string(), expected, "{claim}\n{}", response.text());
        }
        Some((left, path)) if left.starts_with("keep ") => {
            let value = member(path.trim());
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_ne!(text, "null", "{claim}: {path} is missing\n{json:#}");
            names.insert(left["keep ".len()..].trim().to_owned(), text);
        }
        Some((path, wanted)) => {
            let wanted: Value = serde_json::from_str(wanted).unwrap();
            assert_eq!(member(path.trim()), &wanted, "{claim}: {path}\n{json:#}");
        }
    }
}
