//! Who may not, gets nothing: over every line of the table of routes.

use nameplane::http::routes::{Need, Route, table};
use nameplane::manage::access::{Permission, Permissions, Role};
use nameplane::manage::bootstrap;
use nameplane::manage::event::{self, EventQuery};
use serde_json::{Value, json};

use crate::http_client::{Response, call, send};
use crate::http_world::World;

/// Two customers, each with people, a token, a zone, a basket and an order that waits.
struct Town {
    world: World,
    operator: String,
    shop: Tenant,
    club: Tenant,
}

/// One customer, and the secret of its superuser.
struct Tenant {
    secret: String,
    org: String,
    user: String,
    token: String,
    zone: String,
    item: String,
    order: String,
    key: String,
}

impl Town {
    fn new() -> Town {
        let world = World::start();
        let operator = world.operator.clone();
        let shop = Tenant::new(&world, &operator, "shop");
        let club = Tenant::new(&world, &operator, "club");
        Town { world, operator, shop, club }
    }

    /// How many events there are: whatever happens leaves one.
    fn happened(&self) -> usize {
        let system = bootstrap::system(&self.world.manage).unwrap();
        let mut query = EventQuery { limit: 1_000, ..EventQuery::default() };
        let mut count = 0;
        loop {
            let page = event::list(&self.world.manage, &system, &query).unwrap();
            count += page.items.len();
            let Some(next) = page.next else { return count };
            query.after = Some(next.parse().unwrap());
        }
    }

    fn call(&self, route: &Route, tenant: &Tenant, secret: &str) -> Response {
        let (path, body) = request(route, tenant);
        match body {
            Some(Value::String(text)) => {
                let bearer = format!("Bearer {secret}");
                let fields = [("Authorization", bearer.as_str()), ("Content-Type", "text/dns")];
                send(self.world.http, route.method.as_str(), &path, &fields, text.as_bytes())
            }
            body => call(self.world.http, route.method.as_str(), &path, secret, body.as_ref()),
        }
    }
}

impl Tenant {
    fn new(world: &World, operator: &str, name: &str) -> Tenant {
        let ask = |secret: &str, method: &str, path: &str, body: Value| {
            let response = call(world.http, method, path, secret, Some(&body));
            assert!(response.status < 300, "{method} {path}: {}", response.text());
            response.json()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let org = ask(
            operator,
            "POST",
            "/v1/orgs",
            json!({"handle": name, "change_mode": "basket+approval"}),
        );
        let org = text(&org["id"]);
        let users =
            call(world.http, "GET", &format!("/v1/orgs/{name}/users"), operator, None).json();
        let user = text(&users["items"][0]["id"]);
        let fresh = ask(operator, "POST", "/v1/tokens", json!({"name": name, "user": user}));
        let (secret, token) = (text(&fresh["secret"]), text(&fresh["token"]["id"]));
        let zone = format!("{name}.example.");
        let servers = json!([format!("ns1.{zone}")]);
        ask(
            operator,
            "POST",
            "/v1/change-orders",
            json!({"items": [
                {"kind": "zone_create", "zone": zone, "org": org, "name_servers": servers},
            ]}),
        );
        let add = |owner: &str| {
            let edit = json!({"op": "add", "name": owner, "type": "A", "ttl": 60, "records": ["192.0.2.1"]});
            json!({"kind": "dns_change", "zone": zone, "edits": [edit]})
        };
        ask(&secret, "POST", "/v1/basket/items", add("www"));
        let order = ask(&secret, "POST", "/v1/basket/place", json!({}));
        assert_eq!(order["state"], "awaiting_approval");
        let added = ask(&secret, "POST", "/v1/basket/items", add("mail"));
        let (item, order) = (text(&added["items"][0]["id"]), text(&order["id"]));
        let key = format!("{name}-key.");
        ask(&secret, "POST", "/v1/tsig-keys", json!({"name": key}));
        Tenant { secret, org, user, token, zone, item, order, key }
    }
}

/// Path and body of a request by `route` about what is `tenant`'s.
fn request(route: &Route, tenant: &Tenant) -> (String, Option<Value>) {
    let path = [
        ("{org}", &tenant.org),
        ("{user}", &tenant.user),
        ("{token}", &tenant.token),
        ("{zone}", &tenant.zone),
        ("{item}", &tenant.item),
        ("{order}", &tenant.order),
        ("{key}", &tenant.key),
        ("{seq}", &"1".to_owned()),
        ("{policy}", &"careful".to_owned()),
        ("{tag}", &"1".to_owned()),
        ("{secondary}", &"ns2".to_owned()),
        ("{catalog}", &"catalog.example.".to_owned()),
        ("{server}", &"ns9.example.".to_owned()),
        ("{group}", &"gold".to_owned()),
        ("{name}", &"@".to_owned()),
        ("{type}", &"NS".to_owned()),
    ];
    let path = path.iter().fold(route.path.to_owned(), |path, (hole, id)| path.replace(hole, id));
    assert!(!path.contains('{'), "{path} has a hole this test cannot fill");
    let query = match route.name {
        "zones.explain" => "?name=@&type=NS".to_owned(),
        "orgs.list" => format!("?parent={}", tenant.org),
        "tokens.list"
        | "tsig.list"
        | "events.list"
        | "limits.get"
        | "zones.list"
        | "orders.list"
        | "servers.list"
        | "dnssec.policies"
        | "dnssec.put_policy"
        | "dnssec.delete_policy" => {
            format!("?org={}", tenant.org)
        }
        _ => String::new(),
    };
    (path + &query, body(route.name, tenant))
}

/// A body that would do something if its sender might.
fn body(name: &str, tenant: &Tenant) -> Option<Value> {
    let edit = json!({"op": "delete", "name": "@", "type": "NS"});
    let change = json!({"kind": "dns_change", "zone": tenant.zone, "edits": [edit]});
    Some(match name {
        "orgs.create" => json!({"handle": "stranger", "parent": tenant.org}),
        "orgs.update" => json!({"name": "stranger"}),
        "users.create" => json!({"name": "stranger"}),
        "users.update" => json!({"name": "stranger"}),
        "access.set_zone" => json!({"transfer": ["any"]}),
        "access.set_org" => json!({"transfer": ["any"]}),
        "tsig.create" => json!({"name": "stranger.", "org": tenant.org}),
        "tokens.create" => json!({"name": "stranger", "user": tenant.user}),
        "zones.create" => {
            json!({"zone": "new.example.", "org": tenant.org, "name_servers": ["ns.new.example."]})
        }
        "zones.import" | "zones.check" => {
            json!("@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
        }
        "rrsets.edit" => json!({"edits": [edit]}),
        "rrsets.put" => json!({"records": ["ns.example."]}),
        "dnssec.set" => json!({"on": true}),
        "dnssec.import_key" => json!({"public": "", "private": ""}),
        "dnssec.seen" => json!({"present": true}),
        "dnssec.foreign" => json!({"dnskeys": []}),
        "dnssec.put_policy" => json!({"split": true}),
        "servers.waive" => json!({"reason": "down for good"}),
        "basket.add" => change,
        "basket.add_all" => json!({"items": [change]}),
        "basket.place" => json!({"items": [tenant.item]}),
        "orders.push" => json!({"items": [change]}),
        "primaries.set" => json!({"primaries": [{"address": "127.0.0.1"}]}),
        "primaries.set_group" => json!({"transfer": ["any"]}),
        "primaries.refresh" => json!({"transfer": true}),
        "orders.reject" | "orders.hold" => json!({"comment": "no"}),
        "catalogs.create" => json!({"zone": "catalog.example."}),
        "secondaries.create" => json!({"name": "ns2", "addresses": ["127.0.0.1:5302"]}),
        "tsig.set_policy" => json!({"grants": []}),
        _ => return None,
    })
}

/// Goal: nobody does or learns anything without a token.
/// Method: every route without one, with none that exists, and with one that was revoked.
#[test]
fn without_a_good_token_every_route_is_closed() {
    let town = Town::new();
    let shut = call(
        town.world.http,
        "DELETE",
        &format!("/v1/tokens/{}", town.club.token),
        &town.operator,
        None,
    );
    assert_eq!(shut.status, 200);
    let before = town.happened();
    for route in table() {
        let (path, _) = request(route, &town.shop);
        let none = send(town.world.http, route.method.as_str(), &path, &[], b"");
        assert_eq!(
            (none.status, none.problem().as_str()),
            (401, "unauthenticated"),
            "{}",
            route.name
        );
        assert!(none.field("www-authenticate").unwrap().starts_with("Bearer"));
        for secret in ["npt_nobody", &town.club.secret] {
            let response = town.call(route, &town.shop, secret);
            assert_eq!(response.status, 401, "{}: {}", route.name, response.text());
        }
    }
    assert_eq!(town.happened(), before);
}

/// Goal: each route asks for the permission its line names.
/// Method: a token of the superuser with every permission but that one.
#[test]
fn without_its_permission_every_route_is_forbidden() {
    let town = Town::new();
    let all: Vec<Permission> = Permissions::of(Role::Operator).iter().collect();
    for permission in all.iter().copied() {
        let routes: Vec<_> =
            table().iter().filter(|route| route.need == Need::Permission(permission)).collect();
        if routes.is_empty() {
            continue;
        }
        let rest: Vec<_> = all.iter().filter(|other| **other != permission).collect();
        let body = json!({"name": "all but one", "permissions": rest});
        let fresh = call(town.world.http, "POST", "/v1/tokens", &town.operator, Some(&body)).json();
        let secret = fresh["secret"].as_str().unwrap();
        let before = town.happened();
        for route in routes {
            let response = town.call(route, &town.shop, secret);
            assert_eq!(response.status, 403, "{}: {}", route.name, response.text());
            let detail = response.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&permission.to_string()), "{detail}");
        }
        assert_eq!(town.happened(), before);
    }
}

/// Goal: I30, what is another organisation's does not exist.
/// Method: every route that names something, as the superuser of one customer about what is the
/// other's; and the same about ids that nobody ever had, which must read the same.
#[test]
fn i30_what_is_anothers_is_not_there() {
    let town = Town::new();
    let nobody = Tenant {
        secret: String::new(),
        org: "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A".into(),
        user: "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A".into(),
        token: "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A".into(),
        zone: "nobody.example.".into(),
        item: "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A".into(),
        order: "01JD4Z7Q8R5S6T7V8W9X0Y1Z2A".into(),
        key: "nobody-key.".into(),
    };
    let before = town.happened();
    for route in table() {
        // What these show or take is always one's own; a zone file is checked under any name, and
        // a zone that others hold looks free until it is asked for.
        let own =
            ["basket.get", "basket.clear", "basket.preview", "zones.check", "dnssec.schedule"];
        if own.contains(&route.name) {
            continue;
        }
        let foreign = town.call(route, &town.club, &town.shop.secret);
        let expected = match route.name {
            // Permissions no customer has come before everything.
            "orgs.create" | "orders.push" | "orders.hold" | "orders.release" => 403,
            _ if route.need == Need::Permission(Permission::ServerOperate) => 403,
            // The name is taken; DNS says so to everybody.
            "zones.import" => 422,
            _ => 404,
        };
        assert_eq!(foreign.status, expected, "{}: {}", route.name, foreign.text());
        if route.name != "zones.import" {
            let missing = town.call(route, &nobody, &town.shop.secret);
            assert_eq!(foreign.status, missing.status, "{}", route.name);
            assert_eq!(foreign.json()["detail"], missing.json()["detail"], "{}", route.name);
        }
        for secret in [&town.club.org, &town.club.user, &town.club.token, &town.club.order] {
            assert!(
                !foreign.text().contains(secret.as_str()),
                "{}: {}",
                route.name,
                foreign.text()
            );
        }
    }
    assert_eq!(town.happened(), before);
}
