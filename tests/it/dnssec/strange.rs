//! Parents that give what the zone cannot answer for: DS of no key of its, by no known digest, some right
//! and some wrong, one server otherwise than another. All of them servers of their own, asked over UDP.

use super::keys::{presigned, read};
use super::*;

const WWW: &str = "www.child.parent.test.";

/// Servers of the parent, and the server that keeps the child and asks them.
struct Family {
    parents: Vec<Server>,
    server: Server,
    home: tempfile::TempDir,
}

impl Family {
    fn new(parents: usize, changes: &[(&str, Value)]) -> Family {
        let home = tempfile::tempdir().unwrap();
        let parent = |_| {
            let parent = Server::start();
            let file = "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n\
                child 1 NS ns.child\nns.child 1 A 127.0.0.1\n";
            import(&parent, PARENT, file);
            parent
        };
        let parents: Vec<Server> = (0..parents).map(parent).collect();
        let config = home.path().join("server.toml");
        std::fs::write(&config, "[net]\ndial = [\"127.0.0.0/8\"]\n").unwrap();
        let data = home.path().join("data");
        let server = Server::at(&data, &["--config", config.to_str().unwrap()]);
        let file = "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n\
            www 2 A 192.0.2.1\n";
        import(&server, CHILD, file);
        let addresses: Vec<String> = parents.iter().map(|it| it.dns.to_string()).collect();
        let asked = ("parent_servers", json!(addresses));
        keep_policy(&server, &[&[asked][..], changes].concat());
        Family { parents, server, home }
    }

    /// Every server of the parent has these DS from now on.
    fn all_give(&self, ds: &[String]) {
        self.parents.iter().for_each(|parent| gives(parent, ds));
    }

    fn wait(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        wait(&self.server, CHILD, what, done)
    }

    /// The DS that the zone asks for.
    fn wanted(&self) -> Vec<String> {
        let asks = |status: &Value| status["ds"].as_array().is_some_and(|ds| !ds.is_empty());
        let status = self.wait("asks for a DS", asks);
        status["ds"].as_array().unwrap().iter().map(|ds| ds.as_str().unwrap().into()).collect()
    }

    fn secure(&self) -> Value {
        switch(&self.server, CHILD, true);
        self.all_give(&self.wanted());
        self.wait("is secure", is_secure_at_rest)
    }

    /// Waits until the zone tells of trouble at the parent in these words; gives the whole sentence.
    fn trouble(&self, words: &str) -> String {
        let said = |status: &Value| status["parent"]["trouble"].as_str().map(str::to_owned);
        let status = self.wait(words, |it| said(it).is_some_and(|said| said.contains(words)));
        said(&status).unwrap()
    }

    /// Lets more time pass than any wait of the policy, and some looks at the parent.
    fn linger(&self) -> Value {
        thread::sleep(Duration::from_secs(4));
        status(&self.server, CHILD)
    }
}

/// One server of the parent has these DS from now on.
fn gives(parent: &Server, ds: &[String]) {
    let edit = match ds.is_empty() {
        true => json!({"op": "delete", "name": "child", "type": "DS"}),
        false => {
            json!({"op": "replace", "name": "child", "type": "DS", "ttl": 1, "records": ds})
        }
    };
    let body = json!({ "zones": [{ "zone": PARENT, "edits": [edit] }] });
    parent.api("POST", "/v1/change-orders", Some(&body));
}

/// A DS of a key nobody has.
fn nobodys() -> String {
    format!("4711 13 2 {}", "5a".repeat(32))
}

/// The same key by a digest that is not known here, and is as long as it likes.
fn by_unknown_digest(ds: &str) -> String {
    let words: Vec<&str> = ds.split(' ').collect();
    format!("{} {} 200 {}", words[0], words[1], "c3".repeat(48))
}

/// Goal: a DS that names no key of the zone is told, with the way out, by API, command and log; it is not
/// taken for ours, and not taken for none: the zone stays signed until it is gone.
#[test]
fn a_ds_of_no_key_of_the_zone_is_told_and_keeps_it_signed_until_it_is_gone() {
    let family = Family::new(1, &[]);
    let server = &family.server;
    family.all_give(&[nobodys()]);
    switch(server, CHILD, true);
    let said = family.trouble("DS of key 4711, which is none");
    assert!(said.contains("have it taken away") && said.contains("resolvers may fail"), "{said}");
    let shown = server.said(&["dnssec", "status", CHILD]);
    assert!(shown.contains("parent's DS: ") && shown.contains("4711"), "{shown}");
    server.logs("4711, which is none");
    family.wanted();
    assert_eq!(family.linger()["state"], "ds_pending", "it is none of ours");

    // Beside the right one resolvers pass it over, but nothing is finished on it.
    family.all_give(&[family.wanted(), vec![nobodys()]].concat());
    let both = family.wait("is secure", |status| status["state"] == "secure");
    assert_eq!(both["at_rest"], false);
    assert!(both["parent"]["trouble"].as_str().unwrap().contains("4711"), "{both:#}");
    let history = both["history"].to_string();
    assert!(history.matches("4711, which is none").count() <= 2, "told once each: {history}");

    switch(server, CHILD, false);
    family.wait("asks for no DS", |status| status["parent"]["asked"] == json!([]));
    family.all_give(&[nobodys()]);
    let waiting = family.linger();
    assert_eq!(waiting["state"], "going_insecure", "{waiting:#}");
    assert!(is_signed(server, WWW, "A"), "unsigned under a DS");
    family.all_give(&[]);
    let off = family.wait("is off", |status| status["state"] == "off");
    assert_eq!(off["parent"]["trouble"], Value::Null);
}

/// Goal: a DS by a digest that nobody here makes may be right: the key with its tag stays until it is gone.
#[test]
fn a_ds_by_an_unknown_digest_holds_its_key_through_a_rollover() {
    let family = Family::new(1, &[]);
    let first = family.secure();
    let (old, ds) = (tags(&first)[0], family.wanted());
    family.all_give(&[by_unknown_digest(&ds[0])]);
    // Where nothing is expected the parent is asked once a day; a rollover expects something.
    let roll = json!({"emergency": true});
    let path = format!("/v1/zones/{CHILD}/dnssec/rollover");
    family.server.api("POST", &path, Some(&roll));
    let said = family.trouble("by a digest that is wrong, or not known here");
    assert!(said.contains(&format!("key {old}")) && said.contains("replaced"), "{said}");
    let waiting = family.linger();
    assert_eq!(tags(&waiting).len(), 2, "{waiting:#}");
    assert!(tags(&waiting).contains(&old) && waiting["state"] != "secure", "{waiting:#}");
    let signers = records(&family.server, CHILD, "DNSKEY");
    assert!(signers.iter().any(|line| line.contains(&format!(" {old} "))), "{signers:?}");

    family.all_give(&family.wanted());
    let rolled = family.wait("has rolled", is_secure_at_rest);
    assert!(!tags(&rolled).contains(&old) && rolled["parent"]["trouble"].is_null(), "{rolled:#}");
}

/// Goal: a zone that others signed keeps their signatures under any DS of theirs, known here or not.
#[test]
fn a_pre_signed_zone_is_not_stripped_under_a_ds_that_cannot_be_read() {
    let family = Family::new(1, &[]);
    let Some((signed, ..)) = presigned(family.home.path(), CHILD) else { return };
    let ds = read(&family.home.path().join(format!("dsset-{CHILD}")));
    let ds: Vec<&str> = ds.split_once(" DS").unwrap().1.split_whitespace().collect();
    family.all_give(&[by_unknown_digest(&ds[..3].join(" "))]);
    import(&family.server, CHILD, &signed);
    let before = [records(&family.server, CHILD, "DNSKEY"), records(&family.server, CHILD, "SOA")];
    let path = format!("/v1/zones/{CHILD}/dnssec?push=true");
    family.server.api("PUT", &path, Some(&json!({"on": true, "strip": true})));
    family.trouble("not known here");
    family.linger();
    let after = [records(&family.server, CHILD, "DNSKEY"), records(&family.server, CHILD, "SOA")];
    assert_eq!(before, after, "somebody may validate by it");

    family.all_give(&[]);
    family.wait("is signed here", |status| status["first_expiry_at"].is_string());
    assert_ne!(records(&family.server, CHILD, "DNSKEY"), before[0]);
}

/// Goal: of several servers of the parent every one counts, for each step and in either direction.
#[test]
fn servers_of_the_parent_that_do_not_agree_are_told_and_waited_for() {
    let family = Family::new(2, &[]);
    switch(&family.server, CHILD, true);
    let first = family.wanted();
    gives(&family.parents[0], &first);
    let said = family.trouble("do not agree");
    assert!(said.contains("no DS; DS of"), "{said}");
    assert_eq!(family.linger()["state"], "ds_pending");
    gives(&family.parents[1], &first);
    let secure = family.wait("is secure", is_secure_at_rest);
    assert_eq!(secure["parent"]["trouble"], Value::Null);

    let old = tags(&secure)[0];
    family.server.api("POST", &format!("/v1/zones/{CHILD}/dnssec/rollover"), None);
    family.wait("asks for the new DS", |status| {
        status["parent"]["asked"].as_array().is_some_and(|asked| *asked != [json!(old)])
    });
    gives(&family.parents[0], &family.wanted());
    family.trouble("do not agree");
    assert!(tags(&family.linger()).contains(&old), "a server of the parent still names it");
    gives(&family.parents[1], &family.wanted());
    let rolled = family.wait("has rolled", is_secure_at_rest);
    assert!(!tags(&rolled).contains(&old), "{rolled:#}");

    switch(&family.server, CHILD, false);
    family.wait("asks for no DS", |status| status["parent"]["asked"] == json!([]));
    gives(&family.parents[1], &[]);
    family.trouble("do not agree");
    assert_eq!(family.linger()["state"], "going_insecure");
    assert!(is_signed(&family.server, WWW, "A"));
    gives(&family.parents[0], &[]);
    family.wait("is off", |status| status["state"] == "off");
}
