//! Policies and what they lead to: one organisation's and the server's, validity and EXPIRE, emergencies.

use super::*;

#[test]
fn what_cannot_be_signed_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let token = server.operator_token();
    let refused = |method, path: &str, body: Value| {
        let (status, body) = server.request(method, path, Some(&token), Some(&body)).unwrap();
        assert_eq!(status, 422, "{body:#}");
        body.to_string()
    };
    for (algorithm, why) in [(7, "SHA-1"), (16, "Ed448")] {
        let path = "/v1/dnssec/policies/odd";
        assert!(refused("PUT", path, json!({ "algorithm": algorithm })).contains(why));
    }
    // Of two such keys and a new ZSK DNSKEY responses would be larger than 1232 octets.
    let large = json!({"algorithm": 8, "split": true, "rsa_bits": 3072});
    assert!(refused("PUT", "/v1/dnssec/policies/odd", large).contains("larger than 1232 octets"));
    let path = format!("/v1/zones/{CHILD}/dnssec?push=true");
    let unknown = refused("PUT", &path, json!({"on": true, "policy": "nobodys"}));
    assert!(unknown.contains("there is no DNSSEC policy nobodys"), "{unknown}");
}

/// Goal: an organisation's own policy comes before the server's of the same name, for its zones alone.
#[test]
fn a_policy_of_an_organisation_holds_for_its_zones_and_no_others() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let mut own = hasty();
    (own["algorithm"], own["denial"], own["split"]) = (json!(15), json!("nsec3"), json!(true));
    for handle in ["shop", "club"] {
        let org = json!({"handle": handle, "change_mode": "direct"});
        let org = server.api("POST", "/v1/orgs", Some(&org));
        let zone = format!("{handle}.test.");
        let create = json!({"items": [
            {"kind": "zone_create", "zone": zone, "org": org["id"], "name_servers": ["ns.test."]},
        ]});
        server.api("POST", "/v1/change-orders", Some(&create));
    }
    server.api("PUT", "/v1/dnssec/policies/default?org=shop", Some(&own));
    for zone in ["shop.test.", "club.test."] {
        switch(&server, zone, true);
        assert!(is_signed(&server, zone, "SOA"));
    }
    let algorithms = |zone: &str| -> Vec<Value> {
        let status = status(&server, zone);
        status["keys"].as_array().unwrap().iter().map(|key| key["algorithm"].clone()).collect()
    };
    assert_eq!(algorithms("shop.test."), [15, 15]);
    assert_eq!(algorithms("club.test."), [13]);
    assert_eq!(rdata(&server, "shop.test.", "NSEC3PARAM"), ["1 0 0 -"]);
    assert!(rdata(&server, "club.test.", "NSEC3PARAM").is_empty());

    // Who is not of it neither sees nor changes it.
    let users = server.api("GET", "/v1/orgs/club/users", None);
    let token = json!({"name": "club", "user": users["items"][0]["id"]});
    let club = server.api("POST", "/v1/tokens", Some(&token))["secret"].clone();
    for (method, path) in [
        ("GET", "/v1/dnssec/policies?org=shop"),
        ("PUT", "/v1/dnssec/policies/default?org=shop"),
        ("PUT", "/v1/zones/shop.test./dnssec"),
    ] {
        let body = match path.ends_with("dnssec") {
            true => json!({"on": false}),
            false => own.clone(),
        };
        let body = (method == "PUT").then_some(&body);
        let (status, _) = server.request(method, path, club.as_str(), body).unwrap();
        assert_eq!(status, 404, "{method} {path}");
    }
}

/// Goal: a secondary that lost touch serves until EXPIRE, and what it serves validates until then.
#[test]
fn signatures_outlive_the_expire_of_the_soa() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let expire = 40 * 86_400;
    import(
        &server,
        "long.test.",
        &format!("@ 60 SOA ns host 1 2 3 {expire} 5\n@ 60 NS ns.test.\n"),
    );
    switch(&server, "long.test.", true);
    for rtype in ["SOA", "NS", "DNSKEY"] {
        let records = records(&server, "long.test.", rtype);
        let sigs: Vec<&String> = records.iter().filter(|line| line.starts_with("RRSIG ")).collect();
        assert!(!sigs.is_empty());
        for sig in sigs {
            let words: Vec<&str> = sig.split(' ').collect();
            assert!(seconds(words[5]) > now_s() + expire, "{sig}");
        }
    }
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

/// A time as an RRSIG shows it, in seconds since 1970.
fn seconds(stamp: &str) -> i64 {
    let part = |from: usize, to: usize| &stamp[from..to];
    let text = format!(
        "{}-{}-{} {}:{}:{} UTC",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    );
    let output = Command::new("date").args(["-d", &text, "+%s"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Goal: in an emergency a second rollover begins while another is under way, and keeps every wait.
#[test]
fn an_emergency_rollover_does_not_wait_for_the_one_under_way_and_breaks_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("split", json!(true)), ("dnskey_ttl_s", json!(3))]);
    switch(&server, PARENT, true);
    let parent = state(&server, PARENT, "ds_pending");
    let ds = parent["ds"][0].as_str().unwrap();
    let unbound = unbound(home.path(), &server, &[format!("{PARENT} DS {ds}")]);
    switch(&server, CHILD, true);
    let first = wait(&server, CHILD, "is secure", is_secure_at_rest);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = unbound.as_ref().map(|unbound| watch(unbound.address, Arc::clone(&stop)));

    let path = format!("/v1/zones/{CHILD}/dnssec/rollover");
    server.api("POST", &path, Some(&json!({"roles": ["ksk"]})));
    let begun = wait(&server, CHILD, "has begun", |status| tags(status).len() == 3);
    let (code, why) = refused(&server, "POST", &path, &json!({}));
    assert_eq!(code, 409);
    assert!(why.contains("emergency"), "{why}");
    server.api("POST", &path, Some(&json!({"emergency": true})));
    let known = [tags(&first), tags(&begun)].concat();
    let last = wait(&server, CHILD, "has only new keys", |status| {
        is_secure_at_rest(status) && tags(status).iter().all(|tag| !known.contains(tag))
    });
    assert_eq!(tags(&last).len(), 2, "{last:#}");
    let keys = last["keys"].as_array().unwrap();
    let ksk = keys.iter().find(|key| key["role"] == "ksk").unwrap()["tag"].to_string();
    let cds = records(&server, CHILD, "CDS");
    let sigs: Vec<&String> = cds.iter().filter(|line| line.starts_with("RRSIG")).collect();
    assert_eq!(sigs.len(), 1);
    assert_eq!(sigs[0].split(' ').nth(7).unwrap(), ksk, "RFC 7344 §4.1: CDS signed by the KSK");
    verify_with_tools(&server, home.path(), CHILD);
    stop.store(true, Ordering::Relaxed);
    if let Some(watching) = watching {
        let (asked, failed) = watching.join().unwrap();
        assert!(asked > 50 && failed.is_empty(), "{asked}: {failed:#?}\n{:#}", last["history"]);
    }
}

/// Goal: a command that changes one field of a policy leaves its others as they are.
#[test]
fn what_nobody_names_of_a_policy_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let set = |fields: &[&str]| -> Value {
        let words = [&["dnssec", "policy", "set", "deep"], fields].concat();
        serde_json::from_str(&server.said(&words)).unwrap()
    };
    set(&["algorithm=15", "digests=[2,4]"]);
    let policy = &set(&["zonemd=true"])["policy"];
    assert_eq!((&policy["algorithm"], &policy["digests"]), (&json!(15), &json!([2, 4])));
    assert_eq!((&policy["zonemd"], &policy["denial"]), (&json!(true), &json!("nsec")));
}

/// Goal: keys are replaced by themselves once they have lived as long as the policy lets them, each kind by
/// its own time, and the parent hears of no more than it must.
#[test]
fn keys_are_replaced_by_themselves_when_they_have_lived_long_enough() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[("split", json!(true)), ("zsk_lifetime_s", json!(8))]);
    switch(&server, CHILD, true);
    let of = |status: &Value, role: &str| -> Vec<Value> {
        let keys = status["keys"].as_array().unwrap().iter();
        keys.filter(|key| key["role"] == role).map(|key| key["tag"].clone()).collect()
    };
    let first = wait(&server, CHILD, "is secure", |status| status["state"] == "secure");
    let (ksk, zsk) = (of(&first, "ksk"), of(&first, "zsk"));
    let rolled = wait(&server, CHILD, "has another ZSK", |status| {
        !of(status, "zsk").contains(&zsk[0]) && status["state"] == "secure"
    });
    assert_eq!(of(&rolled, "ksk"), ksk, "it lives for ever");

    keep_policy(&server, &[("split", json!(true)), ("ksk_lifetime_s", json!(8))]);
    let ds = rdata(&server, CHILD, "DS");
    wait(&server, CHILD, "has another KSK", |status| {
        is_secure_at_rest(status) && !of(status, "ksk").contains(&ksk[0])
    });
    assert_ne!(rdata(&server, CHILD, "DS"), ds, "its parent vouches for the new one");
    verify_with_tools(&server, home.path(), CHILD);
}
