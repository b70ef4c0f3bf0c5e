//! A second signer of a zone: a copy of the data directory that runs elsewhere.

use super::*;

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn set_address(server: &Server, address: &str) {
    let edit = json!({"op": "replace", "name": "www", "type": "A", "ttl": 2, "records": [address]});
    let item = json!({"kind": "dns_change", "zone": CHILD, "edits": [edit]});
    server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
}

fn events(server: &Server, kind: &str) -> usize {
    let page = server.api("GET", "/v1/events?limit=1000", None);
    page["items"].as_array().unwrap().iter().filter(|event| event["kind"] == kind).count()
}

fn comes_true(server: &Server, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + 2 * PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < end,
            "not in time: {what}\n{:#}\n{:#}\n{}",
            server.api("GET", &format!("/v1/zones/{CHILD}/servers"), None),
            status(server, CHILD),
            server.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// Goal: two that sign one zone are noticed before resolvers notice them: first by versions that were not
/// made here, then by a key.
/// Method: the data directory is copied and both serve it; the copy is said to be a secondary.
#[test]
fn a_copy_that_signs_elsewhere_is_seen_and_told_until_it_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let mut one = server(home.path());
    keep_policy(&one, &[]);
    switch(&one, CHILD, true);
    one.stop();
    copy(&home.path().join("data"), &home.path().join("copy"));
    one.restart();
    let config = home.path().join("server.toml");
    let other = Server::at(&home.path().join("copy"), &["--config", config.to_str().unwrap()]);
    let body = json!({"name": "other", "addresses": [other.dns.to_string()]});
    one.api("POST", "/v1/secondaries", Some(&body));
    let standing = || {
        let servers = one.api("GET", &format!("/v1/zones/{CHILD}/servers"), None);
        let all = servers["servers"].as_array().unwrap();
        let address = other.dns.to_string();
        let found = all.iter().find(|server| server["address"] == json!(address));
        found.map_or(Value::Null, |server| server["state"].clone())
    };
    assert_eq!(status(&one, CHILD)["second_signer"], Value::Null);

    set_address(&one, "192.0.2.71");
    (72..76).for_each(|octet| set_address(&other, &format!("192.0.2.{octet}")));
    comes_true(&one, "the copy is foreign", || standing() == "foreign");
    let said = status(&one, CHILD)["second_signer"].as_str().unwrap().to_owned();
    assert!(said.contains("made here"), "{said}");
    comes_true(&one, "it is told", || events(&one, "dnssec.second_signer") == 1);
    one.logs("has a second signer");
    let metrics = one.api("GET", "/metrics", None);
    assert!(metrics.as_str().unwrap().contains("\nnameplane_zones_second_signer 1\n"));

    wait(&other, CHILD, "is at rest", |status| status["at_rest"] == true);
    other.api("POST", &format!("/v1/zones/{CHILD}/dnssec/rollover"), None);
    let rolls = |status: &Value| {
        tags(status).iter().any(|tag| !tags(&self::status(&one, CHILD)).contains(tag))
    };
    wait(&other, CHILD, "rolls its key", rolls);
    comes_true(&one, "its key is strange", || {
        let said = status(&one, CHILD)["second_signer"].clone();
        said.as_str().is_some_and(|said| said.contains("none of this zone's"))
    });
    assert_eq!(events(&one, "dnssec.second_signer"), 1, "told once");

    one.api("DELETE", "/v1/secondaries/other", None);
    set_address(&one, "192.0.2.90");
    comes_true(&one, "it is gone", || events(&one, "dnssec.one_signer") == 1);
    assert_eq!(status(&one, CHILD)["second_signer"], Value::Null);
}
