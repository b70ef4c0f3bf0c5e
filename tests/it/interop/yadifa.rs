//! What YADIFA does with steps (IXFR), whoever sends them.
//!
//! YADIFA 2.6.4 answers NXDOMAIN at a name that a step took away, where a wildcard would answer, though
//! it transfers out the right records; until it takes the zone as a whole. That is no matter of how the
//! steps are made if it does the same behind another primary.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::json;

use super::downstream::{OPEN, Running, Secondary, primary, records, serial, serial_at};
use super::followers::Process;
use crate::server::{PATIENCE, Server, ask, free_port};

/// What comes and then goes, each with its type and a value.
const NAMES: [(&str, &str, &str); 3] =
    [("new", "A", "192.0.2.7"), ("a.b.c.deep", "A", "192.0.2.8"), ("*.wild", "TXT", "\"wild\"")];

/// Below the wildcard at the apex, where something was before.
const QUESTIONS: [&str; 6] = ["new", "a.b.c.deep", "c.deep", "deep", "x.wild", "wild"];

/// BIND with the records that `server` has, to be changed by anybody.
fn bind(home: &Path, server: &Server, address: SocketAddr) -> Process {
    let zone: Vec<String> = records(server.dns, OPEN, None).into_iter().collect();
    fs::write(home.join("zone"), zone.join("\n") + "\n").unwrap();
    let text = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; pid-file none; session-keyfile none; managed-keys-directory \"{0}\"; \
         dnssec-validation no; notify no; allow-transfer {{ 127.0.0.1; }}; }};\ncontrols {{ }};\n\
         zone \"{OPEN}\" {{ type primary; file \"zone\"; allow-update {{ 127.0.0.1; }}; }};\n",
        home.display(),
        address.port()
    );
    fs::write(home.join("named.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/named");
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(home.join("named.conf"));
    let process = Process::start(command, &home.join("bind.log"));
    let end = Instant::now() + PATIENCE;
    while serial_at(address, OPEN).is_none() {
        let log = fs::read_to_string(home.join("bind.log")).unwrap_or_default();
        assert!(Instant::now() < end, "BIND does not serve:\n{log}");
        sleep(Duration::from_millis(50));
    }
    process
}

fn update(primary: SocketAddr, comes: bool) {
    let mut text = format!("server 127.0.0.1 {}\nzone {OPEN}\n", primary.port());
    for (name, rtype, value) in NAMES {
        text += &match comes {
            true => format!("update add {name}.{OPEN} 60 {rtype} {value}\n"),
            false => format!("update delete {name}.{OPEN} {rtype}\n"),
        };
    }
    text += "send\n";
    let mut child = Command::new("nsupdate").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn change(server: &Server, comes: bool) {
    let edit = |(name, rtype, value): &(&str, &str, &str)| match comes {
        true => {
            json!({"op": "replace", "name": name, "type": rtype, "ttl": 60, "records": [value]})
        }
        false => json!({"op": "delete", "name": name, "type": rtype}),
    };
    let edits: Vec<_> = NAMES.iter().map(edit).collect();
    let item = json!({"kind": "dns_change", "zone": OPEN, "edits": edits});
    server.api("POST", "/v1/change-orders", Some(&json!({"items": [item]})));
}

/// RCODE and records of each answer.
fn answers(server: SocketAddr) -> Vec<(ResponseCode, Vec<String>)> {
    let answer = |name: &&str| {
        let answer = ask(server, &format!("{name}.{OPEN}."), RecordType::TXT);
        let mut texts: Vec<String> =
            answer.answers.iter().map(|record| record.data.to_string()).collect();
        texts.sort();
        (answer.metadata.response_code, texts)
    };
    QUESTIONS.iter().map(answer).collect()
}

/// Goal: what YADIFA answers otherwise than its primary where names went is its own doing.
/// Method: the same change, sent by nameplane to one and by BIND to another; both answer alike.
#[test]
fn what_yadifa_answers_where_names_went_is_the_same_behind_another_primary() {
    if !Secondary::Yadifa.is_here() || !Secondary::Bind.is_here() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (server, secret) = primary(home.path());
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let _bind = bind(home.path(), &server, other);
    let start = |primary: SocketAddr, dir: &str| {
        Running::start(Secondary::Yadifa, primary, &secret, &home.path().join(dir))
    };
    let (ours, theirs) = (start(server.dns, "ours"), start(other, "theirs"));
    let follow = || {
        ours.follow(OPEN, serial(&server, OPEN));
        theirs.follow(OPEN, serial_at(other, OPEN).unwrap());
    };
    follow();
    for comes in [true, false] {
        change(&server, comes);
        update(other, comes);
        follow();
    }
    assert_eq!(answers(server.dns), answers(other), "the primaries answer alike");
    assert_eq!(answers(ours.address), answers(theirs.address));
    let is_right = answers(ours.address) == answers(server.dns);
    println!("YADIFA answers as its primary does: {is_right}");
    let log = server.log();
    let sent = |form: &str| log.lines().filter(|line| line.contains(form)).count();
    assert!(sent(": IXFR of") > 0, "{log}");
}
