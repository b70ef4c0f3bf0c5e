//! Access lists of zones and organisations: shown, or changed and shown.

use serde_json::{Value, json};

use super::api::Api;
use super::args::Target;
use super::{Failure, print};

/// Changes the lists at `path` that are named, and prints all of them.
pub(super) fn access(
    target: &Target,
    path: &str,
    lists: &[(&str, Option<String>)],
) -> Result<(), Failure> {
    let api = Api::open(target)?;
    let mut shown = api.get(path)?;
    if lists.iter().any(|(_, text)| text.is_some()) {
        for (name, text) in lists {
            if let Some(text) = text {
                shown[*name] = list_of(text);
            }
        }
        shown = api.put(path, &shown)?;
    }
    for (name, _) in lists {
        let list = match shown.get(*name) {
            Some(Value::Array(entries)) if entries.is_empty() => "nobody".to_owned(),
            Some(Value::Array(entries)) => {
                let texts: Vec<&str> = entries.iter().filter_map(Value::as_str).collect();
                texts.join(", ")
            }
            _ => "inherit".to_owned(),
        };
        print::line(&format!("{name}: {list}"));
    }
    Ok(())
}

fn list_of(text: &str) -> Value {
    match text.trim() {
        "inherit" => Value::Null,
        "nobody" => json!([]),
        entries => entries.split(',').map(str::trim).collect(),
    }
}
