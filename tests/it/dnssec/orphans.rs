//! Orphans: content that is exchanged as a whole, after which a DS would name no key.

use super::keys::{presigned, presigned_at, read};
use super::*;
use crate::server::{is_here, nameplane};

const PLAIN: &str = "@ 1 SOA ns hostmaster 9 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n";

/// The DS of the key that [`presigned`] made.
fn ds_of(home: &Path) -> String {
    let text = read(&home.join(format!("dsset-{CHILD}")));
    let words: Vec<&str> = text.split_once(" DS").unwrap().1.split_whitespace().collect();
    format!("{} {}", words[..3].join(" "), words[3..].concat())
}

fn set_ds(server: &Server, op: &str, ds: &str) {
    let mut edit = json!({"op": op, "name": "child", "type": "DS", "records": [ds]});
    if op == "add" {
        edit["ttl"] = json!(1);
    }
    let body = json!({ "zones": [{ "zone": PARENT, "edits": [edit] }] });
    server.api("POST", "/v1/change-orders", Some(&body));
}

/// An order that imports a file over a zone; its status and what it says.
fn over(server: &Server, zone: &str, file: &str) -> (u16, String) {
    let item = json!({"kind": "zone_import", "zone": zone, "zone_file": file});
    let (body, token) = (json!({ "items": [item] }), server.operator_token());
    let (code, said) =
        server.request("POST", "/v1/change-orders", Some(&token), Some(&body)).unwrap();
    (code, said.to_string())
}

/// Puts a file in the place of the child's; the status.
fn put(server: &Server, home: &Path, file: &str) -> String {
    let path = home.join("put");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "--data-binary"]);
    command.arg(format!("@{}", path.display()));
    command.args(["-H", &format!("Authorization: Bearer {}", server.operator_token())]);
    command.args(["-H", "Content-Type: text/dns"]);
    command.arg(format!("http://{}/v1/zones/{CHILD}/file?push=true", server.http));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// A server whose parent vouches for a child that BIND signed.
fn vouched(home: &Path) -> Option<(Server, String, String)> {
    let server = server(home);
    keep_policy(&server, &[]);
    let (signed, ..) = presigned(home, CHILD)?;
    import(&server, CHILD, &signed);
    let ds = ds_of(home);
    set_ds(&server, "add", &ds);
    Some((server, signed, ds))
}

/// Goal: an import over a zone, and a PUT of its file, are refused if its DS would lose its key; the same
/// content with the key, or after the DS, is taken.
#[test]
fn content_that_takes_the_key_of_a_ds_away_is_refused_however_it_comes() {
    if !is_here("curl") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let Some((server, signed, ds)) = vouched(home.path()) else { return };
    let (code, why) = over(&server, CHILD, PLAIN);
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan") && why.contains("change the DS first"), "{why}");
    assert_eq!(put(&server, home.path(), PLAIN), "422");
    // Keys of somebody else are no better than none.
    let other = tempfile::tempdir().unwrap();
    let Some((stranger, ..)) = presigned_at(other.path(), CHILD, 6) else { return };
    let (code, why) = over(&server, CHILD, &stranger);
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan"), "{why}");
    assert!(is_signed(&server, CHILD, "SOA"), "nothing happened");
    let (code, why) = over(&server, CHILD, &signed);
    assert!(code < 300, "what it has may come again: {why}");

    set_ds(&server, "remove", &ds);
    let (code, why) = over(&server, CHILD, PLAIN);
    assert!(code < 300, "{why}");
    assert!(!is_signed(&server, CHILD, "SOA"));
}

/// Goal: the same for content that is staged because it is large, by a command on the data directory.
#[test]
fn large_content_that_takes_the_key_of_a_ds_away_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let Some((mut server, _, ds)) = vouched(home.path()) else { return };
    let mut large = PLAIN.to_owned();
    let text = "x".repeat(200);
    for n in 0..22_000 {
        writeln!(large, "n{n} 1 TXT \"{text}\"").unwrap();
    }
    let file = home.path().join("child.parent.test.zone");
    std::fs::write(&file, large).unwrap();
    let import = || {
        let mut command = nameplane();
        command.args(["zone", "import", "--data-dir"]).args([&home.path().join("data"), &file]);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    server.stop();
    let (done, why) = import();
    assert!(!done && why.contains("change the DS first"), "{why}");
    server.restart();
    assert!(is_signed(&server, CHILD, "SOA"));
    set_ds(&server, "remove", &ds);
    server.stop();
    let (done, said) = import();
    assert!(done, "it was the DS and nothing else: {said}");
}

/// Goal: new content of a parent is looked at for the zones kept here below it; what names their keys, or
/// what was wrong before, is not in the way.
#[test]
fn content_of_a_parent_with_a_ds_that_names_no_key_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    switch(&server, CHILD, true);
    let status = wait(&server, CHILD, "is secure", is_secure_at_rest);
    let right = status["ds"][0].as_str().unwrap().to_owned();
    let wrong = format!("4711 13 2 {}", "5a".repeat(32));
    let parent = |ds: &str| {
        format!(
            "{PLAIN}child 1 NS ns.child\nchild 1 DS {ds}\nns.child 1 A 127.0.0.1\nnew 1 A 127.0.0.2\n"
        )
    };
    let (code, why) = over(&server, PARENT, &parent(&wrong));
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan") && why.contains("names no key"), "{why}");
    let (code, why) = over(&server, PARENT, &parent(&right));
    assert!(code < 300, "{why}");
    let both = format!("{}child 1 DS {wrong}\n", parent(&right));
    let (code, why) = over(&server, PARENT, &both);
    assert!(code < 300, "one that names its key is enough: {why}");
}

/// Goal: a zone that is new here must answer to the DS its parent here has of it.
#[test]
fn a_new_zone_without_the_key_its_ds_names_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let Some((signed, ..)) = presigned(home.path(), CHILD) else { return };
    server.api(
        "POST",
        "/v1/change-orders",
        Some(&json!({"items": [{"kind": "zone_delete", "zone": CHILD}]})),
    );
    set_ds(&server, "add", &ds_of(home.path()));
    let (code, why) = over(&server, CHILD, PLAIN);
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan"), "{why}");
    let (code, why) = over(&server, CHILD, &signed);
    assert!(code < 300, "{why}");
    assert!(is_signed(&server, CHILD, "SOA"));
}

/// Goal: a pre-signed zone is taken over with its key also where the parent that vouches for it is here.
#[test]
fn a_takeover_with_the_key_that_the_ds_names_orphans_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let Some((signed, public, private)) = presigned(home.path(), CHILD) else { return };
    import(&server, CHILD, &signed);
    set_ds(&server, "add", &ds_of(home.path()));
    let body = json!({"public": public, "private": private});
    server.api("POST", &format!("/v1/zones/{CHILD}/dnssec/keys"), Some(&body));
    let keys = rdata(&server, CHILD, "DNSKEY");
    let path = format!("/v1/zones/{CHILD}/dnssec?push=true");
    server.api("PUT", &path, Some(&json!({"on": true, "strip": true})));
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    assert_eq!(rdata(&server, CHILD, "DNSKEY"), keys);
    verify_with_tools(&server, home.path(), CHILD);
}

/// Goal: what a primary sends is taken, for its zone is not ours to decide on; that its DS names nothing
/// any more is told in log and status.
#[test]
fn a_transfer_that_takes_the_key_of_a_ds_away_is_taken_and_told() {
    let home = tempfile::tempdir().unwrap();
    let primary = Server::start();
    let Some((signed, ..)) = presigned(home.path(), CHILD) else { return };
    import(&primary, CHILD, &signed);
    let rule = json!({"transfer": ["127.0.0.0/8"]});
    primary.api("PUT", &format!("/v1/zones/{CHILD}/access"), Some(&rule));
    let server = server(home.path());
    let gone = json!({"items": [{"kind": "zone_delete", "zone": CHILD}]});
    server.api("POST", "/v1/change-orders", Some(&gone));
    let follows = json!({"primaries": [{"address": primary.dns.to_string()}]});
    let path = format!("/v1/zones/{CHILD}/primaries");
    server.api("PUT", &path, Some(&follows));
    wait(&server, CHILD, "is transferred", |status| status["state"] == "presigned");
    set_ds(&server, "add", &ds_of(home.path()));
    assert_eq!(status(&server, CHILD)["parent"]["trouble"], Value::Null);

    import(&primary, CHILD, PLAIN);
    server.api("POST", &format!("/v1/zones/{CHILD}/refresh"), Some(&json!({})));
    let told = wait(&server, CHILD, "is unsigned", |status| status["state"] == "off");
    let said = told["parent"]["trouble"].as_str().unwrap();
    assert!(said.contains("names no key") && said.contains("take it away there"), "{said}");
    server.logs("its primary changed the keys");
}

/// Goal: of a parent and its child in one import, the child that the parent's DS does not name is refused, and
/// named, in whatever order they are given; with the key both come.
#[test]
fn a_child_its_ds_does_not_name_is_refused_in_whatever_order_the_files_are_given() {
    let home = tempfile::tempdir().unwrap();
    let Some((signed, ..)) = presigned(home.path(), CHILD) else { return };
    let right = ds_of(home.path());
    let wrong = format!("4711 13 2 {}", "5a".repeat(32));
    let (child, parent) = (home.path().join("child.txt"), home.path().join("above.txt"));
    let import = |n: usize, files: [&Path; 2]| {
        let data = home.path().join(format!("data-{n}"));
        let mut command = nameplane();
        command.args(["zone", "import", "--data-dir"]).arg(data).args(files);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let orders = || [[&child, &parent], [&parent, &child]].map(|files| files.map(|f| &**f));
    std::fs::write(&child, &signed).unwrap();
    for (n, (ds, taken)) in [(wrong, false), (right, true)].into_iter().enumerate() {
        let records = format!("child 1 NS ns.child\nchild 1 DS {ds}\nns.child 1 A 127.0.0.1\n");
        std::fs::write(&parent, format!("$ORIGIN {PARENT}\n{PLAIN}{records}")).unwrap();
        for (m, files) in orders().into_iter().enumerate() {
            let (done, said) = import(2 * n + m, files);
            assert_eq!(done, taken, "{files:?}: {said}");
            let refused =
                said.contains("child.txt: refused") && said.contains("change the DS first");
            assert_eq!(refused, !taken, "{files:?}: {said}");
            assert!(said.contains(if taken { "2 zones" } else { "1 zones" }), "{said}");
        }
    }
}
