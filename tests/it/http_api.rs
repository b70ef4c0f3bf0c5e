//! What the API promises its callers, told apart from what it does to zones.

use serde_json::{Value, json};

use crate::http_client::{Response, call, send};
use crate::http_world::World;

const ZONE: &str = "shop.example.";

/// A server with one customer that applies changes at once, and its superuser's secret.
struct Shop {
    world: World,
    secret: String,
    org: String,
}

impl Shop {
    fn new(mode: &str) -> Shop {
        let world = World::start();
        let operator = &world.operator;
        let org = json!({"handle": "shop", "change_mode": mode});
        let org = good(&call(world.http, "POST", "/v1/orgs", operator, Some(&org)));
        let users = good(&call(world.http, "GET", "/v1/orgs/shop/users", operator, None));
        let token = json!({"name": "shop", "user": users["items"][0]["id"]});
        let fresh = good(&call(world.http, "POST", "/v1/tokens", operator, Some(&token)));
        let (secret, org) = (text(&fresh["secret"]), text(&org["id"]));
        let new = json!({"items": [{"kind": "zone_create", "zone": ZONE, "org": org, "name_servers": ["ns1.shop.example."]}]});
        good(&call(world.http, "POST", "/v1/change-orders", operator, Some(&new)));
        Shop { world, secret, org }
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        call(self.world.http, method, path, &self.secret, body.as_ref())
    }

    fn get(&self, path: &str) -> Value {
        good(&self.call("GET", path, None))
    }

    fn post(&self, path: &str, body: Value) -> Value {
        good(&self.call("POST", path, Some(body)))
    }

    fn edit(&self, edits: Value) -> Response {
        self.call("PATCH", "/v1/zones/shop.example./rrsets", Some(json!({"edits": edits})))
    }

    fn with(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
        let bearer = format!("Bearer {}", self.secret);
        let fields = [&[("Authorization", bearer.as_str())], fields].concat();
        send(self.world.http, method, path, &fields, body.as_bytes())
    }

    fn put(&self, path: &str, fields: &[(&str, &str)], body: Value) -> Response {
        let fields = [&[("Content-Type", "application/json")], fields].concat();
        self.with("PUT", path, &fields, &body.to_string())
    }
}

fn good(response: &Response) -> Value {
    assert!(response.status < 300, "{} {}", response.status, response.text());
    response.json()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn a(name: &str, address: &str) -> Value {
    json!({"op": "add", "name": name, "type": "A", "ttl": 60, "records": [address]})
}

const WWW: &str = "/v1/zones/shop.example./rrsets/www/A";

#[test]
fn every_fault_of_a_request_points_at_its_place() {
    let shop = Shop::new("direct");
    let response = shop.edit(json!([
        a("www", "192.0.2.1"),
        a("www", "nonsense"),
        {"op": "add", "name": "www.elsewhere.", "type": "A", "records": ["192.0.2.1"]},
        {"op": "delete", "name": "x", "type": "NOTYPE"},
    ]));
    assert_eq!((response.status, response.problem().as_str()), (422, "invalid"));
    let json = response.json();
    let errors = json["errors"].as_array().unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error["pointer"].as_str().unwrap(), error["index"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [("/edits/1/records/0", 1), ("/edits/2/name", 2), ("/edits/3/type", 3)]);
    assert_eq!(shop.call("GET", WWW, None).status, 404);
}

#[test]
fn a_change_set_points_into_its_own_lists() {
    let shop = Shop::new("direct");
    let body = json!({
        "zones": [{"zone": ZONE, "edits": [a("www", "192.0.2.1")]}, {"zone": ZONE, "edits": [a("www", "x")]}],
        "items": [{"kind": "dns_change", "zone": ZONE, "edits": [a("www", "y")]}],
    });
    let response =
        call(shop.world.http, "POST", "/v1/change-orders", &shop.world.operator, Some(&body));
    assert_eq!(response.status, 422, "{}", response.text());
    let json = response.json();
    let errors = json["errors"].as_array().unwrap();
    let places: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(places, ["/zones/1/edits/0/records/0", "/items/0/edits/0/records/0"]);
}

#[test]
fn an_unknown_field_or_parameter_is_refused_by_its_name() {
    let shop = Shop::new("direct");
    let edit = json!([{"op": "add", "name": "www", "type": "A", "recrods": ["192.0.2.1"]}]);
    let response = shop.edit(edit);
    assert_eq!(response.status, 422);
    assert_eq!(response.json()["errors"][0]["pointer"], "/edits/0/recrods");
    assert!(response.text().contains("unknown field `recrods`"), "{}", response.text());

    let response = shop.call("GET", "/v1/zones?limti=5", None);
    assert_eq!((response.status, response.problem().as_str()), (400, "malformed"));
    assert_eq!(response.json()["errors"][0]["parameter"], "limti");
    assert_eq!(shop.call("GET", "/v1/zones?limit=0", None).status, 400);
    assert_eq!(
        shop.call("GET", "/v1/zones?limit=x", None).json()["errors"][0]["parameter"],
        "limit"
    );
}

#[test]
fn a_body_of_another_form_is_told_apart_from_one_that_is_none() {
    let shop = Shop::new("direct");
    let path = "/v1/zones/shop.example./rrsets";
    let json = [("Content-Type", "application/json")];
    assert_eq!(shop.with("PATCH", path, &json, "{\"edits\": [").problem(), "malformed");
    assert_eq!(shop.with("PATCH", path, &json, "{\"edits\": 5}").problem(), "invalid");
    assert_eq!(shop.with("PATCH", path, &json, "").problem(), "malformed");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(shop.with("PATCH", path, &form, "edits=5").status, 415);
    assert_eq!(shop.with("PATCH", path, &[], "{}").status, 415);
}

/// Goal: two people who write one RRset never lose each other's change.
/// Method: both read it, both write it with what they saw.
#[test]
fn a_write_of_a_whole_rrset_names_the_version_it_saw() {
    let shop = Shop::new("direct");
    let wanted = |address: &str| json!({"ttl": 60, "records": [address]});
    assert_eq!(shop.put(WWW, &[], wanted("192.0.2.1")).status, 428);
    assert_eq!(shop.put(WWW, &[("If-Match", "*")], wanted("192.0.2.1")).status, 412);
    let created = shop.put(WWW, &[("If-None-Match", "*")], wanted("192.0.2.1"));
    assert_eq!(created.status, 200, "{}", created.text());
    assert_eq!(shop.put(WWW, &[("If-None-Match", "*")], wanted("192.0.2.2")).status, 412);

    let seen = shop.call("GET", WWW, None).field("etag").unwrap().to_owned();
    assert_eq!(shop.put(WWW, &[("If-Match", &seen)], wanted("192.0.2.2")).status, 200);
    let late = shop.put(WWW, &[("If-Match", &seen)], wanted("192.0.2.3"));
    assert_eq!((late.status, late.problem().as_str()), (412, "stale-version"));
    assert_eq!(shop.get(WWW)["records"], json!(["192.0.2.2"]));

    assert_eq!(shop.with("DELETE", WWW, &[("If-Match", &seen)], "").status, 412);
    let seen = shop.call("GET", WWW, None).field("etag").unwrap().to_owned();
    assert_eq!(shop.with("GET", WWW, &[("If-None-Match", &seen)], "").status, 304);
    assert_eq!(shop.with("DELETE", WWW, &[("If-Match", &seen)], "").status, 200);
    assert_eq!(shop.call("GET", WWW, None).status, 404);
}

/// Goal: a change that is stale when it is placed is told with its three sides, and its order kept.
#[test]
fn a_stale_change_is_a_conflict_with_three_sides() {
    let shop = Shop::new("basket");
    let replace = |address: &str| json!([{"op": "replace", "name": "www", "type": "A", "ttl": 60, "records": [address]}]);
    good(&shop.edit(replace("192.0.2.1")));
    good(&shop.call("POST", "/v1/basket/place", None));

    good(&shop.edit(replace("192.0.2.2")));
    let other = json!({"zones": [{"zone": ZONE, "edits": replace("192.0.2.9")}]});
    good(&call(shop.world.http, "POST", "/v1/change-orders", &shop.world.operator, Some(&other)));
    let response = shop.call("POST", "/v1/basket/place", None);
    assert_eq!((response.status, response.problem().as_str()), (409, "conflict"));
    let json = response.json();
    let sides = &json["errors"][0]["data"];
    assert_eq!(sides["base"]["records"], json!(["192.0.2.1"]));
    assert_eq!(sides["now"]["records"], json!(["192.0.2.9"]));
    assert_eq!(sides["yours"]["records"], json!(["192.0.2.2"]));
    assert_eq!(json["order"]["state"], "conflict");
    let order = shop.get(&format!("/v1/orders/{}", text(&json["order"]["id"])));
    assert_eq!(order["state"], "conflict");
    assert_eq!(shop.get(WWW)["records"], json!(["192.0.2.9"]));
}

#[test]
fn the_same_idempotency_key_has_the_effect_of_one() {
    let shop = Shop::new("direct");
    let body = |address: &str| {
        json!({"zones": [{"zone": ZONE, "edits": [a("www", address)]}]}).to_string()
    };
    let operator = format!("Bearer {}", shop.world.operator);
    let push = |key: &str, body: &str| {
        let fields = [
            ("Authorization", operator.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", key),
        ];
        send(shop.world.http, "POST", "/v1/change-orders", &fields, body.as_bytes())
    };
    let first = good(&push("key-1", &body("192.0.2.1")));
    let again = good(&push("key-1", &body("192.0.2.1")));
    assert_eq!(first["id"], again["id"]);
    let other = push("key-1", &body("192.0.2.2"));
    assert_eq!((other.status, other.problem().as_str()), (422, "key-reused"));
    assert_eq!(shop.get(WWW)["records"], json!(["192.0.2.1"]));
    assert_eq!(push("a key with spaces", &body("192.0.2.3")).status, 400);
}

/// Goal: tools' plans become empty: what is written as it was read changes nothing.
/// Method: RRsets written in odd spellings, read, written as read.
#[test]
fn what_is_written_as_it_was_read_changes_nothing() {
    let shop = Shop::new("direct");
    good(&shop.edit(json!([
        {"op": "add", "name": "www", "type": "AAAA", "ttl": 60, "records": ["2001:DB8:0:0::1"]},
        {"op": "add", "name": "mail", "type": "MX", "ttl": 60, "records": ["020 B", "010 a"]},
        {"op": "add", "name": "text", "type": "TXT", "ttl": 60, "records": ["plain", "\"two\" \"parts\""]},
        {"op": "add", "name": "tls", "type": "TYPE52", "ttl": 60, "records": ["3 1 1 ABCD"]},
    ])));
    let serial = shop.get("/v1/zones/shop.example.")["serial"].clone();
    let page = shop.get("/v1/zones/shop.example./rrsets?limit=1000");
    for set in page["items"].as_array().unwrap() {
        let path =
            format!("/v1/zones/shop.example./rrsets/{}/{}", text(&set["name"]), text(&set["type"]));
        let response = shop.put(
            &path,
            &[("If-Match", "*")],
            json!({"ttl": set["ttl"], "records": set["records"]}),
        );
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(&good(&shop.call("GET", &path, None)), set);
    }
    assert_eq!(shop.get("/v1/zones/shop.example.")["serial"], serial);
    let aaaa = shop.get("/v1/zones/shop.example./rrsets/www/AAAA");
    assert_eq!(aaaa["records"], json!(["2001:db8::1"]));
}

/// Goal: I39, a page neither repeats nor skips what stands there all the time.
/// Method: pages of all sizes while records come and go between them.
#[test]
fn i39_pages_are_stable_while_others_write() {
    let shop = Shop::new("direct");
    let names: Vec<String> = (0..25).map(|n| format!("host{n:02}")).collect();
    good(&shop.edit(names.iter().map(|name| a(name, "192.0.2.1")).collect()));
    for limit in [1, 2, 7, 100] {
        let (mut seen, mut after, mut round) = (Vec::new(), String::new(), 0);
        loop {
            let page =
                shop.get(&format!("/v1/zones/shop.example./rrsets?type=A&limit={limit}{after}"));
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            seen.extend(items.iter().map(|item| text(&item["name"])));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={}", next.replace(' ', "%20"));
            let edit = json!({"op": if round % 2 == 0 { "add" } else { "remove" }, "name": "host05x", "type": "A", "records": ["192.0.2.7"]});
            good(&shop.edit(json!([edit])));
            round += 1;
        }
        seen.retain(|name| name != "host05x.shop.example.");
        let expected: Vec<String> =
            names.iter().map(|name| format!("{name}.shop.example.")).collect();
        assert_eq!(seen, expected, "limit {limit}");
    }
}

#[test]
fn the_merged_view_is_the_live_one_with_the_basket_over_it() {
    let shop = Shop::new("basket");
    good(&shop.edit(json!([a("old", "192.0.2.1"), a("both", "192.0.2.1")])));
    good(&shop.call("POST", "/v1/basket/place", None));
    let live = shop.get("/v1/zones/shop.example./rrsets");
    let merged = shop.get("/v1/zones/shop.example./rrsets?view=merged");
    let bare: Vec<_> = merged["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| (&set["name"], &set["records"]))
        .collect();
    let expected: Vec<_> = live["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| (&set["name"], &set["records"]))
        .collect();
    assert_eq!(bare, expected);

    good(&shop.edit(json!([a("new", "192.0.2.2"), a("both", "192.0.2.2"), {"op": "delete", "name": "old", "type": "A"}])));
    let merged = shop.get("/v1/zones/shop.example./rrsets?view=merged&type=A");
    let states: Vec<_> = merged["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| (text(&set["name"]), text(&set["state"])))
        .collect();
    let state = |name: &str, state: &str| (format!("{name}.shop.example."), state.to_owned());
    assert_eq!(states, [state("both", "changed"), state("new", "added"), state("old", "removed")]);
    assert_eq!(merged["items"][0]["records"], json!(["192.0.2.1", "192.0.2.2"]));
    assert_eq!(merged["items"][0]["pending"]["added"], json!(["192.0.2.2"]));
    assert_eq!(merged["items"][2]["pending"]["removed"], json!(["192.0.2.1"]));
    assert_eq!(
        shop.get("/v1/zones/shop.example./rrsets?type=A")["items"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_faulty_zone_file_is_refused_with_every_line_and_the_old_zone_stays() {
    let shop = Shop::new("direct");
    let file = "@ 60 SOA ns1 hostmaster 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.1\nwww 60 A nonsense\nmail 60 MX x\n";
    let zone = [("Content-Type", "text/dns")];
    let before = shop.with("GET", "/v1/zones/shop.example./file", &[], "").text();
    let response = shop.with("PUT", "/v1/zones/shop.example./file", &zone, file);
    assert_eq!(
        (response.status, response.problem().as_str()),
        (422, "invalid"),
        "{}",
        response.text()
    );
    let json = response.json();
    let lines: Vec<_> = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [4, 5]);
    assert_eq!(shop.with("GET", "/v1/zones/shop.example./file", &[], "").text(), before);

    let checked = good(&shop.with("POST", "/v1/zones/shop.example./check", &zone, file));
    assert_eq!(checked["ok"], false);
    assert_eq!(checked["faults"].as_array().unwrap().len(), 2);
    let cname = "@ 60 SOA ns1 hostmaster 1 2 3 4 5\n@ 60 NS ns1.elsewhere.\nwww 60 CNAME @\nwww 60 A 192.0.2.1\n";
    let checked = good(&shop.with("POST", "/v1/zones/shop.example./check", &zone, cname));
    let fault = &checked["faults"][0];
    assert_eq!((checked["ok"].as_bool(), &fault["line"]), (Some(false), &json!(3)), "{checked:#}");
    let refused = shop.with("PUT", "/v1/zones/shop.example./file", &zone, cname).json();
    let fault = &refused["errors"][0];
    assert_eq!((&fault["line"], &fault["rule"]), (&json!(3), &json!("cname")), "{refused:#}");
    let taken = good(&shop.with("POST", "/v1/zones/shop.example./check", &zone, &before));
    assert_eq!((checked["records"].as_u64(), taken["ok"].as_bool()), (Some(0), Some(true)));
    assert_eq!(taken["records"], 2, "{taken:#}");
}

#[test]
fn a_zone_written_out_and_taken_in_again_is_the_same_zone() {
    let shop = Shop::new("direct");
    good(&shop.edit(json!([a("www", "192.0.2.1"), {"op": "add", "name": "odd\\.name", "type": "TXT", "records": ["\"; \\\" \\\\\""]}])));
    let file = shop.with("GET", "/v1/zones/shop.example./file", &[], "");
    assert_eq!(file.field("content-type"), Some("text/dns; charset=utf-8"));
    let serial = shop.get("/v1/zones/shop.example.")["serial"].clone();
    let put = shop.with(
        "PUT",
        "/v1/zones/shop.example./file",
        &[("Content-Type", "text/dns")],
        &file.text(),
    );
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(shop.get("/v1/zones/shop.example.")["serial"], serial);
    let seen = file.field("etag").unwrap();
    let again = shop.with(
        "PUT",
        "/v1/zones/shop.example./file",
        &[("Content-Type", "text/dns"), ("If-Match", seen)],
        &file.text(),
    );
    assert_eq!(again.status, 200, "{}", again.text());

    let copy = format!("{}/file?org={}", "/v1/zones/other.example.", shop.org);
    let other = file.text().replace("shop.example.", "other.example.");
    let put = shop.with("PUT", &copy, &[("Content-Type", "text/dns")], &other);
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(shop.get("/v1/zones/other.example./rrsets/www/A")["records"], json!(["192.0.2.1"]));
}

#[test]
fn a_zone_tells_its_versions_and_who_made_an_rrset() {
    let shop = Shop::new("direct");
    let order = good(&shop.edit(json!([a("www", "192.0.2.1")])))["order"].clone();
    good(&shop.edit(json!([a("www", "192.0.2.2")])));
    let versions = shop.get("/v1/zones/shop.example./versions?limit=1");
    assert_eq!(versions["items"][0]["added"][0]["data"], "192.0.2.2");
    let next = text(&versions["next"]);
    let older = shop.get(&format!("/v1/zones/shop.example./versions?limit=1&after={next}"));
    assert_eq!(older["items"][0]["order"], order["id"]);
    assert_eq!(older["items"][0]["added"][0]["name"], "www.shop.example.");
    let explained = shop.get("/v1/zones/shop.example./explain?name=www&type=A");
    assert_eq!(explained["there"], true);
    assert_ne!(explained["order"], order["id"]);
    assert!(explained["by"]["name"].is_string(), "{explained}");
}

#[test]
fn an_order_is_previewed_placed_and_undone() {
    let shop = Shop::new("basket");
    good(&shop.edit(json!([a("www", "192.0.2.1")])));
    let preview = good(&shop.call("POST", "/v1/basket/preview", None));
    assert_eq!(preview["zones"][0]["changed"], 1);
    let basket = shop.call("GET", "/v1/basket", None);
    let stale = shop.with("POST", "/v1/basket/place", &[("If-Match", "\"another\"")], "");
    assert_eq!(stale.status, 412);
    let seen = basket.field("etag").unwrap();
    let placed = shop.with("POST", "/v1/basket/place", &[("If-Match", seen)], "");
    assert_eq!(placed.status, 201, "{}", placed.text());
    let order = text(&placed.json()["id"]);
    assert_eq!(placed.field("location"), Some(format!("/v1/orders/{order}").as_str()));
    assert_eq!(shop.get(WWW)["records"], json!(["192.0.2.1"]));
    let undone = shop.post(&format!("/v1/orders/{order}/revert"), json!({"note": "a mistake"}));
    assert_eq!(undone["reverts"], json!(order));
    assert_eq!(shop.call("GET", WWW, None).status, 404);
    assert_eq!(shop.get(&format!("/v1/orders/{order}"))["state"], "reverted");
}

#[test]
fn a_broken_rule_is_refused_with_the_way_out() {
    let shop = Shop::new("direct");
    good(&shop.edit(json!([a("www", "192.0.2.1")])));
    let response = shop
        .edit(json!([{"op": "add", "name": "www", "type": "CNAME", "records": ["shop.example."]}]));
    assert_eq!(
        (response.status, response.problem().as_str()),
        (422, "invalid"),
        "{}",
        response.text()
    );
    let error = &response.json()["errors"][0];
    assert!(text(&error["detail"]).contains("CNAME"), "{error}");
    assert_eq!(error["data"]["zone"], ZONE);
}

#[test]
fn a_limit_is_named_with_its_value() {
    let shop = Shop::new("basket");
    let mut limits = shop.get("/v1/limits")["organisation"].clone();
    limits["basket_items"] = json!(2);
    let patch = json!({"limits": limits});
    good(&call(shop.world.http, "PATCH", "/v1/orgs/shop", &shop.world.operator, Some(&patch)));
    let response =
        shop.edit(json!([a("a", "192.0.2.1"), a("b", "192.0.2.1"), a("c", "192.0.2.1")]));
    assert_eq!(
        (response.status, response.problem().as_str()),
        (422, "over-limit"),
        "{}",
        response.text()
    );
    assert_eq!(response.json()["limit"], json!({"name": "basket_items", "value": 2}));
    assert_eq!(shop.get("/v1/basket")["items"], json!([]));
}

/// Goal: a revoked token, a closed account and a narrowed token are so at once.
#[test]
fn rights_are_those_of_now() {
    let shop = Shop::new("direct");
    let narrow = shop.post("/v1/tokens", json!({"name": "look", "permissions": ["zone.view"]}));
    let secret = text(&narrow["secret"]);
    let path = "/v1/zones/shop.example.";
    assert_eq!(call(shop.world.http, "GET", path, &secret, None).status, 200);
    assert_eq!(call(shop.world.http, "GET", "/v1/basket", &secret, None).status, 403);
    let token = text(&narrow["token"]["id"]);
    good(&shop.call("DELETE", &format!("/v1/tokens/{token}"), None));
    assert_eq!(call(shop.world.http, "GET", path, &secret, None).status, 401);
}

#[test]
fn events_tell_who_did_what_and_hold_no_values() {
    let shop = Shop::new("direct");
    good(&shop.edit(json!([a("www", "192.0.2.77")])));
    let events = shop.call("GET", "/v1/events?limit=1000", None);
    assert!(!events.text().contains("192.0.2.77") && !events.text().contains(&shop.secret));
    let events = good(&events);
    let last = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["kind"] == "order.applied")
        .unwrap();
    let one = shop.get(&format!("/v1/events/{}", last["seq"]));
    assert_eq!(&one, last);
}
