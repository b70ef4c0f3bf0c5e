//! The demo: what it prints is true, and a second start keeps what the first one left.

use std::process::Command;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::server::{PATIENCE, Server, is_here};

/// The lines to be pasted that the `n`-th start printed.
fn printed(server: &Server, n: usize) -> String {
    let end = Instant::now() + PATIENCE;
    while server.log().matches("club-member.\n").count() < n {
        assert!(Instant::now() < end, "nothing is printed:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = server.log();
    let said = log.rsplit("nameplane answers.").next().unwrap();
    said.lines().filter(|line| line.starts_with("  ")).map(|line| format!("{line}\n")).collect()
}

fn pasted(lines: &str) -> String {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    let done =
        shell.args(["-euo", "pipefail", "-c", lines]).current_dir(&elsewhere).output().unwrap();
    let (out, error) =
        (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{lines}\n{out}\n{error}");
    out
}

/// Goal: whoever pastes what the demo prints sees one change go from basket to answer.
/// Method: the printed lines in a shell, in another directory than the server's.
#[test]
fn what_the_demo_prints_works_as_printed_and_a_second_start_keeps_it() {
    if ["dig", "curl", "jq"].iter().any(|program| !is_here(program)) {
        return;
    }
    let mut server = Server::start_with(&["--demo"]);

    let lines = printed(&server, 1);
    let said = pasted(&lines);

    assert!(said.starts_with("192.0.2.11\n"), "{said}");
    assert!(said.ends_with("192.0.2.111\n"), "{said}");
    assert!(said.contains("\"state\":\"served\""), "{said}");

    let counts = |server: &Server| {
        ["/v1/zones", "/v1/orgs", "/v1/orders", "/v1/tokens"]
            .map(|path| server.api("GET", path, None)["items"].as_array().unwrap().len())
    };
    let before = (counts(&server), server.operator_token());
    assert!(server.stop().success());
    server.restart();

    assert_eq!((counts(&server), server.operator_token()), before);
    assert_eq!(printed(&server, 2), lines);
    let answer = server.ask("api.shop.example.", RecordType::A);
    assert_eq!(answer.answers[0].data.to_string(), "192.0.2.111");
}

/// Goal: each `<apex>.zone` of `zones-example/` is served at once, and nothing else of it.
#[test]
fn every_example_zone_is_served_by_the_demo() {
    let server = Server::start_with(&["--demo"]);
    let mut zones = 0;
    for entry in std::fs::read_dir("zones-example").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(apex) = name.strip_suffix(".zone") else { continue };
        let answer = server.ask(&format!("{apex}."), RecordType::SOA);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{apex}");
        assert!(answer.metadata.authoritative && answer.answers.len() == 1, "{apex}");
        zones += 1;
    }
    let listed = server.api("GET", "/v1/zones?limit=1000", None);
    assert_eq!(listed["items"].as_array().unwrap().len(), zones);
}
