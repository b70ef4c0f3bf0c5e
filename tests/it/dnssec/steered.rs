//! What an operator switches, lists and asks of DNSSEC, and what a zone announces by it.

use super::*;

/// The key tags of the signatures over a set.
fn signers(server: &Server, name: &str, rtype: &str) -> Vec<String> {
    let head = format!("RRSIG {rtype} ");
    let records = records(server, name, rtype).into_iter();
    let sigs = records.filter(|line| line.starts_with(&head));
    sigs.map(|line| line.split(' ').nth(7).unwrap().to_owned()).collect()
}

fn tag_of(status: &Value, role: &str) -> String {
    let keys = status["keys"].as_array().unwrap();
    keys.iter().find(|key| key["role"] == role).unwrap()["tag"].to_string()
}

/// Goal: DNSSEC is switched, watched, rolled and listed by command; the schedule says of every zone what
/// comes next, and when or upon what.
#[test]
fn dnssec_is_switched_listed_and_rolled_by_command() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let mut slow = hasty();
    slow["propagation_s"] = json!(100_000);
    server.api("PUT", "/v1/dnssec/policies/slow", Some(&slow));
    let shown = server.said(&["dnssec", "on", PARENT, "--policy", "slow"]);
    assert!(shown.starts_with(&format!("{PARENT} signing, policy slow")), "{shown}");
    assert!(is_signed(&server, PARENT, "SOA"));
    let listed = server.said(&["dnssec", "schedule"]);
    let line = |what: &str| listed.lines().find(|line| line.contains(what)).unwrap_or_default();
    assert!(line("ask the parent for the DS of").contains(PARENT), "{listed}");
    assert!(line("every server of the parent shows the DS").contains("parent"), "{listed}");
    assert!(!listed.contains(CHILD), "it is off: {listed}");
    let schedule = server.api("GET", "/v1/dnssec/schedule", None);
    let mut lines = schedule["items"].as_array().unwrap().iter();
    let ask = lines.find(|line| line["what"].as_str().unwrap().starts_with("ask the"));
    assert!(ask.unwrap()["at"].is_string(), "{schedule:#}");

    server.said(&["dnssec", "on", CHILD]);
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    let before = tags(&status(&server, CHILD));
    let shown = server.said(&["dnssec", "rollover", CHILD, "--role", "csk"]);
    assert!(shown.starts_with(&format!("{CHILD} secure")), "{shown}");
    wait(&server, CHILD, "has rolled", |status| {
        is_secure_at_rest(status) && tags(status).iter().all(|tag| !before.contains(tag))
    });
    let shown = server.said(&["dnssec", "off", CHILD]);
    assert!(shown.starts_with(&format!("{CHILD} going_insecure")), "{shown}");
    wait(&server, CHILD, "is off", |status| status["state"] == "off");
    assert!(server.said(&["dnssec", "status", CHILD]).starts_with(&format!("{CHILD} off")));
}

/// Goal: RFC 7344 §4.1: CDS and CDNSKEY are signed by the key that the parent vouches for; CSYNC by that
/// which signs the zone; both digests of DS are made where the policy asks for them.
#[test]
fn rfc7344_4_1_cds_is_signed_by_the_ksk_and_csync_by_the_zsk() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let shape = [("split", json!(true)), ("csync", json!(true)), ("digests", json!([2, 4]))];
    keep_policy(&server, &shape);
    switch(&server, CHILD, true);
    let status = wait(&server, CHILD, "is secure", is_secure_at_rest);
    let (ksk, zsk) = (tag_of(&status, "ksk"), tag_of(&status, "zsk"));
    for rtype in ["DNSKEY", "CDS", "CDNSKEY"] {
        assert_eq!(signers(&server, CHILD, rtype), std::slice::from_ref(&ksk), "{rtype}");
    }
    assert_eq!(rdata(&server, CHILD, "CSYNC"), ["0 1 A NS AAAA"]);
    for rtype in ["CSYNC", "SOA"] {
        assert_eq!(signers(&server, CHILD, rtype), std::slice::from_ref(&zsk), "{rtype}");
    }
    let algorithms = |rtype| {
        let sets = rdata(&server, CHILD, rtype).into_iter();
        sets.map(|ds| ds.split(' ').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (algorithms("CDS"), algorithms("DS")),
        (vec!["2".into(), "4".into()], vec!["2".into(), "4".into()])
    );
}

/// Goal: the DNSKEY response fits into a datagram while every key is rolled at once.
#[test]
fn a_dnskey_response_fits_into_1232_octets_in_the_middle_of_a_rollover() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("split", json!(true))]);
    switch(&server, CHILD, true);
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    // A parent that is slow keeps both old and new keys published.
    keep_policy(
        &server,
        &[("split", json!(true)), ("parent_delay_s", json!(100_000)), ("dnskey_ttl_s", json!(600))],
    );
    server.api("POST", &format!("/v1/zones/{CHILD}/dnssec/rollover"), None);
    wait(&server, CHILD, "has four keys", |_| rdata(&server, CHILD, "DNSKEY").len() == 4);
    let (len, is_truncated, answers) = dnskey_response(&server);
    assert!(len <= 1232 && !is_truncated, "{len}");
    assert_eq!(answers, 6, "four keys and the signatures of both KSKs");
}

/// Goal: with a KSK and a ZSK of RSA the response fits while the ZSK is rolled; while the KSK is, it comes by TCP.
#[test]
fn rsa_keys_apart_fit_into_1232_octets_but_while_the_ksk_is_rolled() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let rsa = [("algorithm", json!(8)), ("split", json!(true))];
    keep_policy(&server, &rsa);
    switch(&server, CHILD, true);
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    let count = || rdata(&server, CHILD, "DNSKEY").len();
    let slow = [("parent_delay_s", json!(100_000)), ("propagation_s", json!(100))];
    keep_policy(&server, &[&rsa[..], &slow].concat());

    let roll = |role: &str| {
        let path = format!("/v1/zones/{CHILD}/dnssec/rollover");
        server.api("POST", &path, Some(&json!({"roles": [role], "emergency": true})));
    };
    roll("zsk");
    wait(&server, CHILD, "has a new ZSK", |_| count() == 3);
    let (len, is_truncated, answers) = dnskey_response(&server);
    assert!(len <= 1232 && !is_truncated && answers == 4, "{len} {answers}");

    roll("ksk");
    wait(&server, CHILD, "has a new KSK", |_| count() == 4);
    assert!(dnskey_response(&server).1, "too large for a datagram");
    let whole = records(&server, CHILD, "DNSKEY");
    assert_eq!(whole.len(), 6, "{whole:?}");
}

/// Octets of the DNSKEY response that a resolver gets in a datagram, whether it is truncated, and how many records
/// it has.
fn dnskey_response(server: &Server) -> (usize, bool, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(server.dns).unwrap();
    let mut query = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in CHILD.trim_end_matches('.').split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 48, 0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    socket.send(&query).unwrap();
    let mut reply = [0; 4096];
    let len = socket.recv(&mut reply).unwrap();
    (len, reply[2] & 2 != 0, u16::from_be_bytes([reply[6], reply[7]]))
}

/// Goal: lint E: nothing is done that leaves a DS without its key, and the way out is named.
#[test]
fn a_zone_that_its_parent_vouches_for_is_not_deleted_and_its_key_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    switch(&server, CHILD, true);
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    let delete = json!({"items": [{"kind": "zone_delete", "zone": CHILD}]});
    let (code, why) = refused(&server, "POST", "/v1/change-orders", &delete);
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan") && why.contains("switch DNSSEC off"), "{why}");
    let ds = format!("1 13 2 {}", "00".repeat(32));
    let edit = json!({"op": "replace", "name": "child", "type": "DS", "ttl": 1, "records": [ds]});
    let change = json!({"items": [{"kind": "dns_change", "zone": PARENT, "edits": [edit]}]});
    let (code, why) = refused(&server, "POST", "/v1/change-orders", &change);
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("ds-orphan") && why.contains("names no key"), "{why}");
    assert!(is_signed(&server, CHILD, "SOA"));
}

/// Goal: a step waits for the slowest of the zone's servers, however short the policy's waits are.
/// Method: a server that stays at an old version is a secondary; once it is none, the step is taken.
#[test]
fn a_rollover_waits_for_a_secondary_that_lags_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut one = server(home.path());
    keep_policy(&one, &[("split", json!(true))]);
    switch(&one, CHILD, true);
    let first = wait(&one, CHILD, "is secure", is_secure_at_rest);
    one.stop();
    copies::copy(&home.path().join("data"), &home.path().join("slow"));
    one.restart();
    let config = home.path().join("server.toml");
    let slow = Server::at(&home.path().join("slow"), &["--config", config.to_str().unwrap()]);
    let body = json!({"name": "slow", "addresses": [slow.dns.to_string()]});
    one.api("POST", "/v1/secondaries", Some(&body));

    let zsk = tag_of(&first, "zsk");
    one.api(
        "POST",
        &format!("/v1/zones/{CHILD}/dnssec/rollover"),
        Some(&json!({"roles": ["zsk"]})),
    );
    wait(&one, CHILD, "publishes a new key", |status| tags(status).len() == 3);
    let standing = || one.api("GET", &format!("/v1/zones/{CHILD}/servers"), None).to_string();
    let end = Instant::now() + PATIENCE;
    while !standing().contains("\"behind\"") {
        assert!(Instant::now() < end, "{}", standing());
        thread::sleep(Duration::from_millis(50));
    }
    // Long enough for all of it without the secondary: its waits are of a second.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(
        signers(&one, CHILD, "SOA"),
        std::slice::from_ref(&zsk),
        "{:#}",
        status(&one, CHILD)
    );

    one.api("DELETE", "/v1/secondaries/slow", None);
    wait(&one, CHILD, "has rolled", |status| {
        is_secure_at_rest(status) && tag_of(status, "zsk") != zsk
    });
    assert_ne!(signers(&one, CHILD, "SOA"), [zsk]);
}

/// A TTL that no policy here speaks of.
const LONG_S: u64 = 50_000;

/// Adds, replaces or deletes an RRset of its own.
fn edit_long(server: &Server, op: &str, ttl: u64) {
    let mut edit = json!({"op": op, "name": "long", "type": "TXT"});
    if op != "delete" {
        (edit["ttl"], edit["records"]) = (json!(ttl), json!(["\"x\""]));
    }
    let body = json!({ "zones": [{ "zone": CHILD, "edits": [edit] }] });
    server.api("POST", "/v1/change-orders", Some(&body));
}

fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// As the API writes times.
fn at(seconds: u64) -> String {
    let output = Command::new("date").args(["-u", "+%FT%T", &format!("-d@{seconds}")]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

/// Goal: what was published for a moment only is in caches as long as its TTL says: a key that signed it stays.
#[test]
fn rfc7583_a_ttl_that_was_published_for_a_moment_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("split", json!(true))]);
    switch(&server, CHILD, true);
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    let first = at(now_s() + LONG_S);
    edit_long(&server, "add", LONG_S);
    edit_long(&server, "delete", LONG_S);
    let path = format!("/v1/zones/{CHILD}/dnssec/rollover");
    server.api("POST", &path, Some(&json!({"roles": ["zsk"]})));
    wait(&server, CHILD, "waits for the copies", |status| {
        let mut next = status["next"].as_array().unwrap().iter();
        next.any(|step| step["at"].as_str().is_some_and(|at| at >= first.as_str()))
    });
    assert_eq!(tags(&status(&server, CHILD)).len(), 3, "the old ZSK is there");
}

/// Goal: a step waits as long as the largest TTL that the zone really has, whatever the policy's are; and
/// a TTL that was lowered since then counts until its last copy is gone.
#[test]
fn rfc7583_a_wait_is_as_long_as_the_largest_ttl_that_was_published() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let edit = |op: &str, ttl: u64| edit_long(&server, op, ttl);
    let asks_at = || {
        let status = status(&server, CHILD);
        let mut next = status["next"].as_array().unwrap().iter();
        let ask = next.find(|step| step["what"].as_str().unwrap().starts_with("ask the parent"));
        ask.unwrap_or_else(|| panic!("{status:#}"))["at"].as_str().unwrap().to_owned()
    };
    edit("add", LONG_S);
    let before = now_s();
    switch(&server, CHILD, true);
    let (first, last) = (at(before + LONG_S), at(now_s() + LONG_S + 2));
    let asks = asks_at();
    assert!(first <= asks && asks <= last, "{first} {asks} {last}");

    edit("replace", 1);
    server.api("PUT", "/v1/dnssec/policies/default", Some(&hasty()));
    thread::sleep(Duration::from_secs(3));
    let asks = asks_at();
    assert!(first <= asks && asks <= last, "unsigned copies live on: {first} {asks} {last}");
    assert_eq!(rdata(&server, CHILD, "CDS"), [""; 0]);
}
