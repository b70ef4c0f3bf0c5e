//! Switching DNSSEC as an order: served when it is signed, approved where that is asked for, undone.

use super::*;

/// Goal: switching on and off is an order: approved where that is asked for, and undone like others.
#[test]
fn a_switch_of_dnssec_is_an_order_that_can_be_reverted() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let change = json!({"items": [{"kind": "dnssec_set", "zone": CHILD, "on": true}]});
    let order = server.api("POST", "/v1/change-orders", Some(&change));
    let id = order["id"].as_str().unwrap();
    assert!(order.to_string().contains("\"kind\":\"dnssec_set\""), "{order:#}");
    wait(&server, CHILD, "is secure", |status| status["state"] == "secure");
    server.api("POST", &format!("/v1/orders/{id}/revert"), Some(&json!({})));
    wait(&server, CHILD, "is off", |status| status["state"] == "off");
}

/// Goal: *served* means signed: whoever asks once the order is served gets signatures.
#[test]
fn an_order_that_switches_on_signs_in_its_own_commit() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let change = json!({"items": [{"kind": "dnssec_set", "zone": CHILD, "on": true}]});
    let order = server.api("POST", "/v1/change-orders", Some(&change));
    assert!(["served", "confirmed"].contains(&order["state"].as_str().unwrap()), "{order:#}");
    let line = &order["receipt"]["zones"][0];
    assert_ne!(line["serial_from"], line["serial_to"], "{order:#}");
    assert!(is_signed(&server, CHILD, "SOA") && is_signed(&server, CHILD, "DNSKEY"));
    assert_eq!(status(&server, CHILD)["state"], "signing");
    verify_with_tools(&server, home.path(), CHILD);
}

/// An order that switches a zone, as the server answers it: carried out, and served.
fn switched(server: &Server, zone: &str, mut item: Value) -> Value {
    item["kind"] = json!("dnssec_set");
    item["zone"] = json!(zone);
    let order = server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
    assert!(["served", "confirmed"].contains(&order["state"].as_str().unwrap()), "{order:#}");
    order
}

/// A policy under which a zone that is switched off waits for its parent as long as a test runs.
fn patient() -> [(&'static str, Value); 1] {
    [("parent_delay_s", json!(100_000))]
}

/// Goal: *served* means that the parent is asked, and asked for the opposite, by the same commit.
#[test]
fn an_order_that_switches_off_and_on_again_is_what_it_says_once_it_is_served() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &patient());
    switched(&server, CHILD, json!({"on": true}));
    wait(&server, CHILD, "asks for a DS", |status| status["state"] == "ds_pending");
    let asked = rdata(&server, CHILD, "CDS");
    assert_eq!(asked.len(), 1, "{asked:?}");

    let off = switched(&server, CHILD, json!({"on": false}));
    assert_eq!(rdata(&server, CHILD, "CDS"), ["0 0 0 00"], "RFC 8078 §4");
    let line = &off["receipt"]["zones"][0];
    assert_ne!(line["serial_from"], line["serial_to"], "{off:#}");
    assert_eq!(status(&server, CHILD)["state"], "going_insecure");

    switched(&server, CHILD, json!({"on": true}));
    assert_eq!(rdata(&server, CHILD, "CDS"), asked);
    assert!(is_signed(&server, CHILD, "SOA"));
    verify_with_tools(&server, home.path(), CHILD);
}

/// Goal: a zone that is forced off is unsigned by the order that does so, and its parent, which is kept
/// here, has no DS then.
#[test]
fn an_order_that_forces_off_unsigns_in_its_own_commit() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &patient());
    switched(&server, CHILD, json!({"on": true}));
    wait(&server, CHILD, "is secure", |status| status["state"] == "secure");
    assert_eq!(rdata(&server, CHILD, "DS").len(), 1);
    let off = switched(&server, CHILD, json!({"on": false, "force_reason": "keys lost"}));
    for rtype in ["SOA", "A"] {
        assert!(!is_signed(&server, CHILD, rtype), "{off:#}");
    }
    assert!(rdata(&server, CHILD, "DNSKEY").is_empty());
    assert!(rdata(&server, CHILD, "DS").is_empty(), "{off:#}");
    assert_eq!(status(&server, CHILD)["state"], "off");
}

/// Goal: the same of a zone too large for one commit, and of an order that changes it besides.
#[test]
fn a_large_zone_is_not_served_as_switched_before_it_is() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &patient());
    let zone = "large.test.";
    let body: String = (0..4_200).map(|n| format!("h{n} 60 A 192.0.2.1\n")).collect();
    import(&server, zone, &format!("@ 60 SOA ns host 1 2 3 86400 5\n@ 60 NS ns.test.\n{body}"));
    let edit = |n: usize| {
        let record = format!("192.0.2.{}", n + 2);
        let edit =
            json!({"op": "replace", "name": "new", "type": "A", "ttl": 60, "records": [record]});
        json!({"kind": "dns_change", "zone": zone, "edits": [edit]})
    };
    let wishes: [(Value, &dyn Fn() -> bool); 3] = [
        (json!({"on": true}), &|| is_signed(&server, zone, "SOA")),
        (json!({"on": false}), &|| rdata(&server, zone, "CDS") == ["0 0 0 00"]),
        (json!({"on": false, "force_reason": "test"}), &|| !is_signed(&server, zone, "SOA")),
    ];
    for (n, (wish, is_done)) in wishes.into_iter().enumerate() {
        let mut item = wish.clone();
        (item["kind"], item["zone"]) = (json!("dnssec_set"), json!(zone));
        let items = json!({ "items": [edit(n), item] });
        let order = server.api("POST", "/v1/change-orders", Some(&items));
        let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
        let end = Instant::now() + PATIENCE;
        loop {
            let order = server.api("GET", &path, None);
            match order["state"].as_str().unwrap() {
                "applied" => {}
                "served" | "confirmed" => {
                    assert!(is_done(), "{wish} is served and not done: {order:#}");
                    break;
                }
                other => panic!("{wish}: {other}"),
            }
            assert!(Instant::now() < end, "{wish}: {order:#}\n{}", server.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Goal: where making keys or signing takes long, the order waits for it, and is not served before.
#[test]
fn an_order_that_is_not_signed_at_once_is_not_served_before() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let body: String = (0..4_200).map(|n| format!("h{n} 60 A 192.0.2.1\n")).collect();
    import(
        &server,
        "large.test.",
        &format!("@ 60 SOA ns host 1 2 3 86400 5\n@ 60 NS ns.test.\n{body}"),
    );
    keep_policy(&server, &[]);
    let mut rsa = hasty();
    rsa["algorithm"] = json!(8);
    server.api("PUT", "/v1/dnssec/policies/rsa", Some(&rsa));
    for (zone, policy) in [("large.test.", "default"), (CHILD, "rsa")] {
        let item = json!({"kind": "dnssec_set", "zone": zone, "on": true, "policy": policy});
        let order = server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
        let path = format!("/v1/orders/{}", order["id"].as_str().unwrap());
        let end = Instant::now() + PATIENCE;
        loop {
            let order = server.api("GET", &path, None);
            let signed = is_signed(&server, zone, "SOA");
            match order["state"].as_str().unwrap() {
                "applied" => {}
                "served" | "confirmed" => {
                    assert!(is_signed(&server, zone, "SOA"), "{zone} is served and not signed");
                    break;
                }
                other => panic!("{zone}: {other}"),
            }
            assert!(Instant::now() < end, "{zone}, signed {signed}: {order:#}\n{}", server.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Goal: what cannot be signed is refused when it is ordered, and nothing of it is kept.
#[test]
fn a_zone_that_cannot_be_signed_is_not_switched_on() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let expire = 61 * 86_400;
    import(
        &server,
        "stale.test.",
        &format!("@ 60 SOA ns host 1 2 3 {expire} 5\n@ 60 NS ns.test.\n"),
    );
    let path = "/v1/zones/stale.test./dnssec?push=true";
    let (code, why) = refused(&server, "PUT", path, &json!({"on": true}));
    assert_eq!(code, 422, "{why}");
    assert!(why.contains("EXPIRE 5270400"), "{why}");
    assert_eq!(status(&server, "stale.test.")["state"], "off");
    assert!(status(&server, "stale.test.")["keys"].as_array().unwrap().is_empty());
}

/// Goal: an organisation that wants approval gets it for DNSSEC too; the zone is signed by the approval,
/// and unsigned by the approval of the order that undoes it.
#[test]
fn a_switch_waits_for_its_approver_and_so_does_its_revert() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let shop = json!({"handle": "shop", "change_mode": "basket+approval"});
    let org = server.api("POST", "/v1/orgs", Some(&shop));
    let zone = "shop.test.";
    let create = json!({"items": [
        {"kind": "zone_create", "zone": zone, "org": org["id"], "name_servers": ["ns.shop.test."]},
    ]});
    server.api("POST", "/v1/change-orders", Some(&create));
    let users = server.api("GET", "/v1/orgs/shop/users", None);
    let token = json!({"name": "shop", "user": users["items"][0]["id"]});
    let secret = server.api("POST", "/v1/tokens", Some(&token))["secret"].clone();
    let secret = secret.as_str().unwrap();
    let ask = |path: &str, body: Value| {
        let (status, body) = server.request("POST", path, Some(secret), Some(&body)).unwrap();
        assert!(status < 300, "{path}: {status} {body:#}");
        body
    };
    ask("/v1/basket/items", json!({"kind": "dnssec_set", "zone": zone, "on": true}));
    let order = ask("/v1/basket/place", json!({}));
    assert_eq!(order["state"], "awaiting_approval", "{order:#}");
    assert!(!is_signed(&server, zone, "SOA"), "nobody said yes");

    let id = order["id"].as_str().unwrap();
    let approved = server.api("POST", &format!("/v1/orders/{id}/approve"), Some(&json!({})));
    assert!(["served", "confirmed"].contains(&approved["state"].as_str().unwrap()), "{approved:#}");
    assert!(is_signed(&server, zone, "SOA"));

    let undo = ask(&format!("/v1/orders/{id}/revert"), json!({}));
    assert_eq!(undo["state"], "awaiting_approval", "{undo:#}");
    assert!(is_signed(&server, zone, "SOA"));
    let undo = undo["id"].as_str().unwrap();
    server.api("POST", &format!("/v1/orders/{undo}/approve"), Some(&json!({})));
    // Nobody can be asked for the DS of a zone whose parent is not known: the operator says it.
    let off = wait(&server, zone, "asks for no DS or is off", |status| {
        status["state"] == "off" || status["parent"]["asked"] == json!([])
    });
    if off["state"] != "off" {
        let told = json!({"present": false, "ttl": 1});
        let end = Instant::now() + PATIENCE;
        while status(&server, zone)["state"] != "off" {
            assert!(Instant::now() < end, "{:#}", status(&server, zone));
            server.api("POST", &format!("/v1/zones/{zone}/dnssec/parent"), Some(&told));
            thread::sleep(Duration::from_millis(500));
        }
    }
    assert!(!is_signed(&server, zone, "SOA"));
}
