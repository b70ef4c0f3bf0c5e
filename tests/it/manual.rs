//! The handbook says nothing that is not there.

use std::fs;
use std::path::Path;

/// Every test that `manual/rfc.md` names.
fn tests_named(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_name = |text: &&str| {
        text.contains('_')
            && text
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet == b'_' || octet.is_ascii_digit())
    };
    quoted.filter(is_name).collect()
}

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_the_table_of_rfcs_names_exists() {
    let page = fs::read_to_string("src/manual/rfc.md").unwrap();
    let mut text = String::new();
    sources(Path::new("src"), &mut text);
    sources(Path::new("tests"), &mut text);
    let named = tests_named(&page);
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&str> =
        named.into_iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
}
