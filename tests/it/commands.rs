//! The command line from outside: what scripts rely on.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, nameplane};

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Standard output of a command that must succeed.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Status and standard error of a command that must fail.
fn refused(command: &mut Command) -> (i32, String) {
    let output = run(command);
    assert!(!output.status.success(), "{command:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A command that talks to a running server as its operator.
fn to(server: &Server, words: &[&str]) -> Command {
    let mut command = nameplane();
    command
        .args(words)
        .env("NAMEPLANE_SERVER", format!("http://{}", server.http))
        .env("NAMEPLANE_TOKEN", server.operator_token());
    command
}

/// A zone file with a `www` below `apex`.
fn zone_file(dir: &Path, apex: &str, address: &str) -> std::path::PathBuf {
    let file = dir.join(format!("{apex}.zone"));
    let text = format!("@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\nwww 60 A {address}\n");
    std::fs::write(&file, text).unwrap();
    file
}

fn address_of(server: &Server, name: &str) -> Option<String> {
    let answer = server.ask(name, RecordType::A);
    answer.answers.first().map(|record| record.data.to_string())
}

#[test]
fn sigterm_drains_and_exits_0_also_with_idle_workers() {
    let mut server = Server::start();
    assert!(server.stop().success(), "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

#[test]
fn ready_is_told_to_systemd_when_it_asks() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = nameplane()
        .arg("serve")
        .args(["--listen-dns", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--data-dir"])
        .arg(home.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..len].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&buffer[..len]));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_first_start_leaves_a_token_only_its_owner_can_read() {
    let server = Server::start();
    let path = server.data.join("operator.token");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, _) =
        server.request("GET", "/v1/orgs", Some(&server.operator_token()), None).unwrap();
    assert_eq!(status, 200);
    assert!(!server.log().contains(&server.operator_token()));
}

#[test]
fn a_directory_a_server_holds_is_refused_with_the_way_to_the_server() {
    let server = Server::start();
    let way = format!("http://{}", server.http);
    for words in [vec!["zone", "list"], vec!["org", "list"], vec!["serve"]] {
        let (code, error) = refused(nameplane().args(&words).arg("--data-dir").arg(&server.data));
        assert_eq!(code, 1);
        assert!(error.contains(&way), "{words:?}: {error}");
    }
}

#[test]
fn zones_come_and_go_in_a_directory_and_in_a_server_alike() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let file = zone_file(home.path(), "one.example", "192.0.2.1");
    let import = said(nameplane().args(["zone", "import", "--data-dir"]).args([&data, &file]));
    assert!(import.contains("1 zones with 3 records imported, 0 refused"), "{import}");

    let server = Server::at(&data, &[]);
    assert_eq!(address_of(&server, "www.one.example.").as_deref(), Some("192.0.2.1"));
    let other = zone_file(home.path(), "two.example", "192.0.2.2");
    said(to(&server, &["zone", "import"]).arg(&other));
    assert_eq!(address_of(&server, "www.two.example.").as_deref(), Some("192.0.2.2"));
    let again = zone_file(home.path(), "two.example", "192.0.2.3");
    said(to(&server, &["zone", "import"]).arg(&again));
    assert_eq!(address_of(&server, "www.two.example.").as_deref(), Some("192.0.2.3"));

    let listed: Value =
        serde_json::from_str(&said(&mut to(&server, &["zone", "list", "--json"]))).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|zone| zone["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one.example.", "two.example."]);
    let exported = said(&mut to(&server, &["zone", "export", "two.example"]));
    assert!(exported.contains("192.0.2.3"), "{exported}");

    said(&mut to(&server, &["zone", "delete", "two.example"]));
    assert_eq!(
        server.ask("www.two.example.", RecordType::A).metadata.response_code,
        ResponseCode::Refused
    );
}

#[test]
fn a_faulty_file_is_refused_with_every_fault_and_the_others_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let good = zone_file(home.path(), "good.example", "192.0.2.1");
    let bad = home.path().join("bad.example.zone");
    std::fs::write(
        &bad,
        "@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\nwww 60 A 1.2.3\nmail 60 MX ten mx\n",
    )
    .unwrap();
    let mut import = nameplane();
    import.args(["zone", "import", "--data-dir"]).arg(home.path().join("data")).args([&good, &bad]);

    let output = run(&mut import);

    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("3:") && error.contains("4:"), "{error}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("1 zones with 3 records imported, 1 refused")
    );
}

#[test]
fn every_fault_of_a_file_is_named_with_line_and_column() {
    let output = run(nameplane().args(["zone", "check", "zones-example/faulty/broken.txt"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split(':').nth(1)).collect();
    for faulty in ["6", "7", "8", "11", "12", "13"] {
        assert!(lines.contains(&faulty), "line {faulty} is not named:\n{text}");
    }
    said(nameplane().args(["zone", "check", "zones-example"]));
}

#[test]
fn a_signed_file_is_kept_stripped_or_refused_as_asked() {
    let home = tempfile::tempdir().unwrap();
    let file = "zones-example/signed.example.zone";
    let import = |dnssec: &str| {
        let mut command = nameplane();
        let data = home.path().join(dnssec);
        command.args(["zone", "import", "--dnssec", dnssec, "--data-dir"]).arg(data).arg(file);
        command
    };
    assert!(refused(&mut import("refuse")).1.contains("it is signed"));
    for (dnssec, signed) in [("keep", true), ("strip", false)] {
        said(&mut import(dnssec));
        let data = home.path().join(dnssec);
        let text =
            said(nameplane().args(["zone", "export", "signed.example", "--data-dir"]).arg(data));
        assert_eq!(text.contains("RRSIG"), signed, "{dnssec}");
    }
}

#[test]
fn a_token_is_alone_on_standard_output_works_and_ends_when_revoked() {
    let server = Server::start();
    said(&mut to(&server, &["org", "create", "acme"]));
    said(&mut to(&server, &["user", "create", "joe", "--org", "acme", "--role", "member"]));
    let secret = said(&mut to(&server, &["token", "create", "--role", "member", "--org", "acme"]));
    let secret = secret.trim_end();
    assert!(!secret.contains(char::is_whitespace), "{secret}");
    let zones = |status| {
        let (found, _) = server.request("GET", "/v1/zones", Some(secret), None).unwrap();
        assert_eq!(found, status);
    };
    zones(200);
    let tokens = said(&mut to(&server, &["token", "list", "--org", "acme", "--json"]));
    assert!(!tokens.contains(secret));
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    said(&mut to(&server, &["token", "revoke", tokens[0]["id"].as_str().unwrap()]));
    zones(401);
}

#[test]
fn an_order_is_listed_shown_and_approved_from_the_command_line() {
    let server = Server::start_with(&["--demo"]);
    let state = ["order", "list", "--state", "awaiting_approval", "--json"];
    let orders: Value = serde_json::from_str(&said(&mut to(&server, &state))).unwrap();
    let id = orders[0]["id"].as_str().unwrap();
    assert!(said(&mut to(&server, &["order", "show", id])).contains("mail.shop.example."));

    assert_eq!(said(&mut to(&server, &["order", "approve", id])).trim(), "served");

    assert_eq!(address_of(&server, "mail.shop.example.").as_deref(), Some("192.0.2.112"));
}

#[test]
fn faults_of_a_settings_file_come_all_at_once_and_usage_is_2() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    std::fs::write(&file, "[dns]\nlisten = 53\nworkers = 2\n").unwrap();
    let (code, error) = refused(nameplane().args(["check", "config"]).arg(&file));
    assert_eq!(code, 1);
    assert!(error.contains("line 2") && error.contains("line 3"), "{error}");
    assert_eq!(refused(nameplane().args(["zone", "import"])).0, 2);
    // What is wrong only with two settings together is found as well.
    std::fs::write(&file, "[primaries]\ncertificate = \"ours.pem\"\n").unwrap();
    let (code, error) = refused(nameplane().args(["check", "config"]).arg(&file));
    assert!(code != 0 && error.contains("needs both certificate and key"), "{error}");
    said(nameplane().args(["check", "config", "systemd/server.toml"]));
}

#[test]
fn an_export_of_the_store_becomes_a_store_again() {
    let mut server = Server::start_with(&["--demo"]);
    let change = json!({ "zones": [{ "zone": "shop.example.", "edits": [
        { "op": "add", "name": "new", "type": "A", "ttl": 60, "records": ["192.0.2.99"] },
    ]}]});
    server.api("POST", "/v1/change-orders", Some(&change));
    server.stop();
    let home = tempfile::tempdir().unwrap();
    let (file, data) = (home.path().join("export"), home.path().join("data"));
    said(nameplane().args(["store", "export"]).arg(&file).arg("--data-dir").arg(&server.data));
    said(nameplane().args(["store", "import"]).arg(&file).arg("--data-dir").arg(&data));
    said(nameplane().args(["store", "verify", "--data-dir"]).arg(&data));

    let copy = Server::at(&data, &[]);

    assert_eq!(address_of(&copy, "new.shop.example.").as_deref(), Some("192.0.2.99"));
}

/// `nsupdate` with these lines; its standard error.
fn nsupdate(server: &Server, lines: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("nsupdate")
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("server {} {}\n{lines}send\n", server.dns.ip(), server.dns.port());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn nsupdate_changes_a_zone_from_a_listed_address_and_from_no_other() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    std::fs::write(&config, "[update]\nallow_unsigned = \"127.0.0.1\"\n").unwrap();
    let open = Server::start_with(&["--config", config.to_str().unwrap()]);
    let closed = Server::start();
    let file = zone_file(home.path(), "one.example", "192.0.2.1");
    for server in [&open, &closed] {
        said(to(server, &["zone", "import"]).arg(&file));
    }
    let lines = "zone one.example\nprereq yxrrset www.one.example A\nupdate add new.one.example 60 A 192.0.2.7\n";

    assert_eq!(nsupdate(&open, lines), "");
    assert!(nsupdate(&closed, lines).contains("REFUSED"));

    assert_eq!(address_of(&open, "new.one.example.").as_deref(), Some("192.0.2.7"));
    assert_eq!(address_of(&closed, "new.one.example."), None);
    let missing =
        "zone one.example\nprereq nxdomain www.one.example\nupdate delete www.one.example\n";
    assert!(nsupdate(&open, missing).contains("YXDOMAIN"));
}

#[test]
fn dnstap_read_reads_what_a_server_has_tapped() {
    let home = tempfile::tempdir().unwrap();
    let (config, tap) = (home.path().join("server.toml"), home.path().join("tap"));
    std::fs::write(&config, format!("[dnstap]\nfile = {:?}\n", tap.to_str().unwrap())).unwrap();
    let mut server = Server::start_with(&["--config", config.to_str().unwrap()]);
    server.ask("tapped.example.", RecordType::A);
    assert!(server.stop().success());

    let read = said(Command::new("dnstap-read").arg(&tap));

    assert!(read.contains("AQ") && read.contains("AR"), "{read}");
    assert!(read.contains("tapped.example/IN/A"), "{read}");
}
