//! Which room may name which, and which outside path lives in which room.
//!
//! The two tables are the architecture. To add an edge, edit them here, in the same commit as the
//! code that needs it, and say why in the commit message.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A room, and the rooms it may name with `crate::`. Lower rooms first, so no cycle can be written.
#[rustfmt::skip]
const ROOMS: &[(&str, &str)] = &[
    // Tools: know nothing of zones, customers or each other.
    ("metrics",   ""),
    ("tap",       ""),
    ("store",     ""),
    ("config",    ""),
    ("seal",      ""),
    // Thinking: functions over octets and zones. No socket, no clock, no disk, no async.
    ("wire",      ""),
    ("zone",      "wire"),
    ("sign",      "wire zone"),
    ("answer",    "wire zone"),
    ("xfr",       "wire zone"),
    ("serve",     "wire zone answer metrics"),
    // Doing: sockets, timers, durable state.
    ("transport", "wire serve metrics tap"),
    ("maintain",  "wire zone sign answer xfr serve transport store seal metrics"),
    // People.
    ("manage",    "wire zone sign answer serve store seal maintain metrics"),
    ("http",      "wire serve manage metrics"),
    // Assembly: sees everything.
    ("run",       "metrics tap store config seal wire zone sign answer xfr serve transport maintain manage http"),
    ("cli",       "metrics tap store config seal wire zone sign answer xfr serve transport maintain manage http run"),
];

/// An outside path, and the only rooms that may name it.
#[rustfmt::skip]
const OUTSIDE: &[(&str, &str)] = &[
    ("sled::",           "store"),
    ("axum::",           "http"),
    ("tokio::",          "transport maintain http run"),
    ("async fn",         "transport maintain http run"),
    ("ring::",           "seal wire sign serve store manage transport run"),
    ("rsa::",            "sign"),
    ("libc::",           "transport"),
    ("hickory_proto::",  "transport"),
    ("hickory_server::", "transport"),
    ("quinn::",          "transport"),
    ("Instant::now",     "transport maintain http run tap cli"),
    ("SystemTime::now",  "transport maintain manage run cli"),
    ("std::fs",          "seal store maintain transport config run cli tap"),
];

/// A room that stands in `src/` but not in the table would be bound by nothing.
#[test]
fn every_room_stands_in_the_table() {
    let mut strangers = Vec::new();
    for entry in fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_string_lossy().into_owned();
        let face = ["main", "lib", "manual"].contains(&name.as_str());
        if !face && !ROOMS.iter().any(|(room, _)| *room == name) {
            strangers.push(name);
        }
    }
    assert!(strangers.is_empty(), "rooms without a line in the table: {strangers:?}");
}

#[test]
fn a_room_names_only_the_rooms_it_may() {
    let mut faults = Vec::new();
    for (position, (room, allowed)) in ROOMS.iter().enumerate() {
        let allowed: BTreeSet<_> = allowed.split_whitespace().collect();
        for name in &allowed {
            let below = ROOMS[..position].iter().any(|(lower, _)| lower == name);
            assert!(below, "the table has a cycle: {room} names {name}, which is not below it");
        }
        for path in sources_of(room) {
            let code = code_of(&path);
            for named in rooms_named(&code) {
                if named != *room && !allowed.contains(named.as_str()) {
                    faults.push(format!("{}: {room} may not name {named}", path.display()));
                }
            }
            for (outside, homes) in OUTSIDE {
                if mentions(&code, outside) && !homes.split_whitespace().any(|home| home == *room) {
                    faults.push(format!("{}: {outside} has no place in {room}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whether `code` says `path` as a whole word: `Ordering::Acquire` does not mention `ring::`.
fn mentions(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// The rooms that `code` names, from `crate::room::…` and from `crate::{room, room::…}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => named.extend(first_words(group)),
            None => named.extend(first_word(rest)),
        }
    }
    named.retain(|name| ROOMS.iter().any(|(room, _)| room == name));
    named
}

/// The first word of each item of `a, b::{c, d}, e}…`, up to the brace that closes the group.
fn first_words(group: &str) -> Vec<String> {
    let (mut words, mut item, mut depth) = (Vec::new(), String::new(), 0usize);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.extend(first_word(&std::mem::take(&mut item))),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    words.extend(first_word(&item));
    words
}

fn first_word(text: &str) -> Option<String> {
    let word: String =
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The text of a file without its comments and without its trailing test module.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// A room is a directory, or a single file while it is small.
fn sources_of(room: &str) -> Vec<PathBuf> {
    let dir = Path::new("src").join(room);
    let file = dir.with_extension("rs");
    match (dir.is_dir(), file.is_file()) {
        (true, _) => sources_under(&dir),
        (false, true) => vec![file],
        (false, false) => panic!("the table names the room {room}, but src/ has none"),
    }
}

fn sources_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources_under(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// Goal: what is built to run the server is not built again for its tests.
/// Method: a dependency with one set of features for the server has the same with tests beside it.
#[test]
fn what_only_tests_use_turns_on_no_feature_of_the_server() {
    let packages = |edges: &str| -> BTreeSet<String> {
        let tree = ["tree", "--locked", "--offline", "--prefix=none", "--format={p} {f}"];
        let out = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(tree)
            .args(["--edges", edges])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let lines = String::from_utf8(out.stdout).unwrap();
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let (server, all) = (packages("normal,build"), packages("normal,build,dev"));
    let twice: Vec<&String> = server.difference(&all).collect();
    assert!(server.len() > 100 && all.len() > server.len());
    assert!(twice.is_empty(), "give [dependencies] the features tests want, too: {twice:#?}");
}
