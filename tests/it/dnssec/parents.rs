//! Parents and siblings: the DS where we serve the parent, the delete sentinel, signalling zones, and DS
//! of zones that are not signed.

use super::*;

/// Goal: where the parent is kept here its DS comes by itself, in both digests, signed, and goes again
/// by the delete sentinel of RFC 8078 §4.
#[test]
fn a_ds_is_pushed_into_a_parent_kept_here_and_taken_back_by_the_delete_sentinel() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("digests", json!([2, 4])), ("ds_ttl_s", json!(4))]);
    switch(&server, PARENT, true);
    switch(&server, CHILD, true);
    let secure = wait(&server, CHILD, "is secure", is_secure_at_rest);
    let mut wanted: Vec<String> =
        secure["ds"].as_array().unwrap().iter().map(|ds| ds.as_str().unwrap().into()).collect();
    wanted.sort();
    let compact = |lines: Vec<String>| -> Vec<String> {
        let join = |line: String| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            format!("{} {}", words[..3].join(" "), words[3].replace(' ', ""))
        };
        lines.into_iter().map(join).collect()
    };
    assert_eq!(wanted.len(), 2);
    assert_eq!(compact(rdata(&server, CHILD, "DS")), compact(wanted.clone()));
    assert_eq!(compact(rdata(&server, CHILD, "CDS")), compact(wanted));
    assert!(is_signed(&server, CHILD, "DS") && is_signed(&server, CHILD, "CDS"));
    let csk = secure["keys"][0]["tag"].to_string();
    let cds = records(&server, CHILD, "CDS");
    let sig = cds.iter().find(|line| line.starts_with("RRSIG")).unwrap();
    assert_eq!(sig.split(' ').nth(7).unwrap(), csk, "RFC 7344 §4.1: signed by a key the DS names");

    switch(&server, CHILD, false);
    let end = Instant::now() + PATIENCE;
    loop {
        // The parent kept here takes it up at once; its TTL is waited for with the sentinel in place.
        let (cds, cdnskey) = (rdata(&server, CHILD, "CDS"), rdata(&server, CHILD, "CDNSKEY"));
        if cds == ["0 0 0 00"] && cdnskey == ["0 3 0 AA=="] {
            assert!(is_signed(&server, CHILD, "CDS") && is_signed(&server, CHILD, "CDNSKEY"));
            break;
        }
        assert!(Instant::now() < end, "{cds:?} {cdnskey:?}");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(is_signed(&server, CHILD, "SOA"), "unsigned while a copy of the DS may live");
    state(&server, CHILD, "off");
    assert!(rdata(&server, CHILD, "DS").is_empty());
    assert!(!is_signed(&server, CHILD, "SOA") && rdata(&server, CHILD, "CDS").is_empty());
}

/// Goal: a zone kept here that is two cuts above is not taken for the parent: it gets no DS, and that it has
/// none does not unsign a zone whose real parent, elsewhere, may have one.
#[test]
fn a_zone_beyond_a_cut_to_elsewhere_is_not_the_parent() {
    const GRANDCHILD: &str = "grand.away.parent.test.";
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let cut =
        json!({"op": "add", "name": "away", "type": "NS", "ttl": 1, "records": ["ns.else.test."]});
    let body = json!({ "zones": [{ "zone": PARENT, "edits": [cut] }] });
    server.api("POST", "/v1/change-orders", Some(&body));
    import(
        &server,
        GRANDCHILD,
        "@ 1 SOA ns host 1 2 3 86400 1\n@ 1 NS ns\n@ 1 NS ns.away.parent.test.\nns 1 A 127.0.0.1\n",
    );
    switch(&server, PARENT, true);
    switch(&server, GRANDCHILD, true);
    let asked = state(&server, GRANDCHILD, "ds_pending");
    let fault = asked["parent"]["fault"].as_str().unwrap();
    assert!(fault.starts_with("nobody to ask for the parent's servers"), "{fault}");
    thread::sleep(Duration::from_secs(1));
    let rrsets = server.api("GET", &format!("/v1/zones/{PARENT}/rrsets?limit=1000"), None);
    for kept in ["grand.away", "_dsboot"] {
        assert!(!rrsets.to_string().contains(kept), "{rrsets:#}");
    }

    switch(&server, GRANDCHILD, false);
    let waiting = wait(&server, GRANDCHILD, "asks for no DS", |status| {
        status["parent"]["asked"] == json!([])
    });
    assert_eq!(
        (&waiting["state"], &waiting["parent"]["looked_at"]),
        (&json!("going_insecure"), &Value::Null)
    );
    assert!(is_signed(&server, GRANDCHILD, "SOA"));
    let end = Instant::now() + PATIENCE;
    while status(&server, GRANDCHILD)["state"] != "off" {
        assert!(Instant::now() < end, "{:#}", status(&server, GRANDCHILD));
        let told = json!({"present": false, "ttl": 1});
        let path = format!("/v1/zones/{GRANDCHILD}/dnssec/parent");
        let _ = server.request("POST", &path, Some(&server.operator_token()), Some(&told));
        thread::sleep(Duration::from_millis(500));
    }
}

/// Goal: a parent that follows a primary and expired here says nothing: that its last copy has no DS unsigns no zone.
#[test]
fn a_parent_that_expired_here_is_not_believed() {
    let home = tempfile::tempdir().unwrap();
    let mut primary = Server::start();
    let file = "@ 1 SOA ns host 1 1 1 2 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n";
    import(&primary, PARENT, &format!("{file}child 1 NS ns.child\nns.child 1 A 127.0.0.1\n"));
    let rule = json!({"transfer": ["127.0.0.0/8"]});
    primary.api("PUT", &format!("/v1/zones/{PARENT}/access"), Some(&rule));
    let server = server(home.path());
    keep_policy(&server, &[]);
    let gone = json!({"items": [{"kind": "zone_delete", "zone": PARENT}]});
    server.api("POST", "/v1/change-orders", Some(&gone));
    let follows = json!({"primaries": [{"address": primary.dns.to_string()}]});
    server.api("PUT", &format!("/v1/zones/{PARENT}/primaries"), Some(&follows));
    let end = Instant::now() + PATIENCE;
    while rdata(&server, PARENT, "SOA").is_empty() {
        assert!(Instant::now() < end, "it is not transferred");
        thread::sleep(Duration::from_millis(50));
    }
    primary.kill();
    switch(&server, CHILD, true);
    let unsure = |status: &Value| {
        status["parent"]["fault"].as_str().is_some_and(|fault| fault.contains("expired"))
    };
    wait(&server, CHILD, "does not believe it", unsure);

    switch(&server, CHILD, false);
    let asked = |status: &Value| status["state"] == "going_insecure" && unsure(status);
    wait(&server, CHILD, "still does not", asked);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(status(&server, CHILD)["state"], "going_insecure");
    assert!(is_signed(&server, CHILD, "SOA"));
}

/// Goal: what a parent kept here has is not what all of its servers give while one of them is behind: no step is
/// taken on it, and the status says why.
/// Method: a secondary of the parent stays at its first version, and has no child; once it is none, the step is taken.
#[test]
fn a_parent_with_a_server_that_lags_behind_is_not_believed() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let slow = Server::start();
    import(
        &slow,
        PARENT,
        "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n",
    );
    let edit = json!({"op": "add", "name": "new", "type": "TXT", "ttl": 1, "records": ["\"x\""]});
    let body = json!({ "zones": [{ "zone": PARENT, "edits": [edit] }] });
    server.api("POST", "/v1/change-orders", Some(&body));
    let body = json!({"name": "slow", "addresses": [slow.dns.to_string()]});
    server.api("POST", "/v1/secondaries", Some(&body));
    let standing = || server.api("GET", &format!("/v1/zones/{PARENT}/servers"), None).to_string();
    let end = Instant::now() + PATIENCE;
    while !standing().contains("\"behind\"") {
        assert!(Instant::now() < end, "{}", standing());
        thread::sleep(Duration::from_millis(50));
    }

    switch(&server, CHILD, true);
    wait(&server, CHILD, "does not believe it", |status| {
        let fault = status["parent"]["fault"].as_str();
        fault.is_some_and(|fault| fault.contains("a name server of parent.test. is behind"))
    });
    // Long enough for all of it without the secondary: the waits are of a second.
    thread::sleep(Duration::from_secs(6));
    assert!(!rdata(&server, CHILD, "DS").is_empty(), "the parent kept here has it");
    assert_eq!(status(&server, CHILD)["state"], "ds_pending");

    server.api("DELETE", "/v1/secondaries/slow", None);
    wait(&server, CHILD, "is secure", |status| status["state"] == "secure");
}

/// Goal: who says what the parent has before that can be certain is told when to say so again.
#[test]
fn a_word_about_the_parent_that_comes_too_early_says_when_it_counts() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("parent_delay_s", json!(100_000))]);
    switch(&server, PARENT, true);
    state(&server, PARENT, "ds_pending");
    let said = server.said(&["dnssec", "ds-published", PARENT]);
    assert!(said.trim_end().lines().last().unwrap().starts_with("told that the parent has the DS"));
    assert!(!said.contains("too early"), "it was asked for nothing else: {said}");
    switch(&server, PARENT, false);
    wait(&server, PARENT, "asks for no DS", |status| status["parent"]["asked"] == json!([]));
    let said = server.said(&["dnssec", "ds-gone", PARENT, "--ttl", "1"]);
    assert!(said.contains("told that the parent has no DS: too early"), "{said}");
    assert!(said.contains("say so again after 20"), "{said}");
}

/// Goal: a zone that takes longer to sign than any wait of its policy asks its parent for nothing before it
/// is signed, and goes on by itself then.
#[test]
fn a_large_zone_asks_its_parent_once_it_is_signed() {
    const LARGE: &str = "large.parent.test.";
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let body: String = (0..10_000).map(|n| format!("h{n} 1 A 192.0.2.1\n")).collect();
    import(
        &server,
        LARGE,
        &format!("@ 1 SOA ns host 1 2 3 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n{body}"),
    );
    switch(&server, LARGE, true);
    let is_asked = |status: &Value| status["parent"]["asked"].is_array();
    wait(&server, LARGE, "asks its parent", is_asked);
    assert!(is_signed(&server, LARGE, "SOA"), "{:#}", status(&server, LARGE));
    wait(&server, LARGE, "is secure", |status| status["state"] == "secure");
}

/// Goal: RFC 9615: while a zone's first DS is wanted, its CDS and CDNSKEY stand, signed, below the names
/// of its name servers in a zone kept here; and are gone once the parent took them.
#[test]
fn rfc9615_a_zone_is_announced_below_its_name_servers_until_its_parent_has_the_ds() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    import(
        &server,
        "hoster.test.",
        "@ 1 SOA ns1 host 1 2 3 86400 1\n@ 1 NS ns1\nns1 1 A 127.0.0.1\n",
    );
    import(
        &server,
        "shop.example.",
        "@ 1 SOA ns1.hoster.test. host 1 2 3 86400 1\n@ 1 NS ns1.hoster.test.\n@ 1 NS ns.shop.example.\nns 1 A 127.0.0.1\n",
    );
    switch(&server, "hoster.test.", true);
    switch(&server, "shop.example.", true);
    let signal = "_dsboot.shop.example._signal.ns1.hoster.test.";
    let end = Instant::now() + PATIENCE;
    while rdata(&server, signal, "CDS").is_empty() {
        assert!(Instant::now() < end, "{:#}", status(&server, "shop.example."));
        thread::sleep(Duration::from_millis(100));
    }
    for rtype in ["CDS", "CDNSKEY"] {
        assert_eq!(rdata(&server, signal, rtype), rdata(&server, "shop.example.", rtype));
        assert!(is_signed(&server, signal, rtype), "RFC 9615 §2: in a signed zone");
    }
    let own = "_dsboot.shop.example._signal.ns.shop.example.";
    assert!(rdata(&server, own, "CDS").is_empty(), "RFC 9615 §2: not in the zone itself");
    verify_by_others(&server, home.path(), "hoster.test.");

    let told = json!({"present": true, "ttl": 1});
    server.api("POST", "/v1/zones/shop.example./dnssec/parent", Some(&told));
    state(&server, "shop.example.", "secure");
    while !rdata(&server, signal, "CDS").is_empty() {
        assert!(Instant::now() < end, "the signal stays: {:#}", status(&server, "shop.example."));
        thread::sleep(Duration::from_millis(100));
    }
}

/// Goal: no DS comes to stand for a zone that is not signed, whoever asks for it.
#[test]
fn a_ds_of_an_unsigned_zone_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let ds = "1 13 2 E2D3C916F6DEEAC73294E8268FB5885044A833FC5459588F4A9184CFC41A5766";
    let edit = json!({"op": "add", "name": "child", "type": "DS", "ttl": 60, "records": [ds]});
    let body = json!({ "zones": [{ "zone": PARENT, "edits": [edit] }] });
    let (code, why) = refused(&server, "POST", "/v1/change-orders", &body);
    assert_eq!(code, 422);
    assert!(why.contains("ds-orphan") && why.contains("not signed"), "{why}");
    let path = format!("/v1/zones/{CHILD}/dnssec");
    let seen = json!({"present": true});
    let (code, why) = refused(&server, "POST", &format!("{path}/parent"), &seen);
    assert_eq!(code, 409);
    assert!(why.contains("is off"), "{why}");
    let (code, _) = refused(&server, "POST", &format!("{path}/rollover"), &json!({}));
    assert_eq!(code, 409);
    assert_eq!(status(&server, CHILD)["ds"], json!([]));

    // Signed, but not by the key it names.
    switch(&server, CHILD, true);
    let (_, why) = refused(&server, "POST", "/v1/change-orders", &body);
    assert!(why.contains("names no key"), "{why}");
    // And the zone cannot go while its parent may vouch for it.
    wait(&server, CHILD, "is secure", |status| status["state"] == "secure");
    let end = json!({"items": [{"kind": "zone_delete", "zone": CHILD}]});
    let (_, why) = refused(&server, "POST", "/v1/change-orders", &end);
    assert!(why.contains("switch DNSSEC off"), "{why}");
}

/// Goal: a parent is asked only where `[net] dial` lets the server, and the status says so otherwise.
#[test]
fn a_parent_is_asked_only_where_dial_allows_it() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::at(&home.path().join("data"), &[]);
    keep_policy(&server, &[("parent_servers", json!(["192.0.2.53:53"]))]);
    import(&server, "shop.test.", "@ 1 SOA ns host 1 2 3 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n");
    switch(&server, "shop.test.", true);
    let refused = wait(&server, "shop.test.", "was kept from asking", |status| {
        status["parent"]["fault"].is_string()
    });
    let fault = refused["parent"]["fault"].as_str().unwrap();
    assert!(fault.contains("192.0.2.53:53 is not among the prefixes of [net] dial"), "{fault}");
    let waiting = state(&server, "shop.test.", "ds_pending");
    assert_eq!(waiting["parent"]["looked_at"], Value::Null);
}
