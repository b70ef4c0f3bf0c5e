//! What a command prints: one value, JSON, or a table.
//!
//! The only place that writes to standard output, so that a script finds there nothing else.

use std::io::Write;

use serde_json::Value;

/// Prints one line.
pub(super) fn line(text: &str) {
    // A closed pipe is the reader's choice, not a fault: `nameplane zone list | head`.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Tells what went wrong.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "nameplane: {text}");
}

/// Prints text as it is.
pub(super) fn text(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints a listing: JSON as it came, or the named fields of each row under their heads.
pub(super) fn rows(rows: &[Value], columns: &[(&str, &str)], json: bool) {
    if json {
        return line(&format!("{:#}", Value::from(rows)));
    }
    let cells: Vec<Vec<String>> =
        std::iter::once(columns.iter().map(|(head, _)| (*head).to_owned()).collect())
            .chain(rows.iter().map(|row| columns.iter().map(|(_, path)| cell(row, path)).collect()))
            .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            cells
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in &cells {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end());
    }
}

/// The value at `path` (`a.b`), as a person reads it.
fn cell(row: &Value, path: &str) -> String {
    let value = path.split('.').try_fold(row, |value, key| value.get(key));
    value.map_or_else(|| "-".to_owned(), shown)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_what_a_person_reads() {
        let row = json!({"names": ["ns1.", "s1"], "none": [], "at": {"serial": 7}, "why": null, "on": true});
        let cells =
            ["names", "none", "at.serial", "why", "missing", "on"].map(|path| cell(&row, path));
        assert_eq!(cells, ["ns1., s1", "-", "7", "-", "-", "true"]);
    }
}
