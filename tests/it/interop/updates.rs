//! Tools that people already run, each doing a real task by dynamic update: signed with a key whose
//! policy names what the task touches and nothing else.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::acme::Authority;
use crate::server::{Server, nameplane, skipped};

const ZONE: &str = "shop.example.";
const KEY: &str = "tool.shop.example.";

/// A server with a zone of a customer who applies changes at once, and a key for its tools.
struct World {
    server: Server,
    org: String,
    secret: String,
    home: tempfile::TempDir,
}

impl World {
    fn new(mode: &str, grants: Value) -> World {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("server.toml");
        std::fs::write(&config, "[transfer]\nallow = [\"127.0.0.1\"]\n").unwrap();
        let server = Server::start_with(&["--config", config.to_str().unwrap()]);
        let org =
            server.api("POST", "/v1/orgs", Some(&json!({ "handle": "shop", "change_mode": mode })));
        let org = org["id"].as_str().unwrap().to_owned();
        let file = home.path().join("shop.example.zone");
        let text = "@ 60 SOA ns host 1 3600 900 604800 60\n@ 60 NS ns\nns 60 A 192.0.2.1\nwww 60 A 192.0.2.2\n";
        std::fs::write(&file, text).unwrap();
        let import = nameplane()
            .args([
                "zone",
                "import",
                "--org",
                "shop",
                "--server",
                &format!("http://{}", server.http),
            ])
            .args(["--token", &server.operator_token()])
            .arg(&file)
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        let key = server.api("POST", "/v1/tsig-keys", Some(&json!({ "name": KEY, "org": org })));
        let secret = key["secret"].as_str().unwrap().to_owned();
        let users = server.api("GET", &format!("/v1/orgs/{org}/users"), None);
        let policy = json!({ "user": users["items"][0]["id"], "grants": grants });
        server.api("PUT", &format!("/v1/tsig-keys/{KEY}/update-policy"), Some(&policy));
        World { server, org, secret, home }
    }

    /// All of a name and type that is served, as text.
    fn served(&self, name: &str, rtype: RecordType) -> Vec<String> {
        let answer = self.server.ask(&format!("{name}.{ZONE}"), rtype);
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn dir(&self, name: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `nsupdate` or `knsupdate` with these lines; what it said.
    fn update(&self, program: &str, lines: &str) -> Output {
        use std::io::Write;
        let dns = self.server.dns;
        let key = format!("hmac-sha256:{KEY}:{}", self.secret);
        let mut child = Command::new(program)
            .args(["-y", &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let script =
            format!("server {} {}\nzone {ZONE}\n{lines}send\nanswer\nquit\n", dns.ip(), dns.port());
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Whether a tool is there. Under `CI=true` it must be.
fn is_here(program: &str, words: &[&str]) -> bool {
    let here = Command::new(program).args(words).output().is_ok_and(|done| done.status.success());
    if !here {
        skipped(&format!("{program} is not installed"));
    }
    here
}

fn good(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}\n{}", said(&done));
    said(&done)
}

/// Goal: the two command-line clients add, replace under a condition, and delete.
#[test]
fn nsupdate_and_knsupdate_move_a_host_under_a_condition() {
    let all =
        json!([{ "name": format!("dyn.{ZONE}"), "below": true, "types": ["A", "AAAA", "TXT"] }]);
    let world = World::new("direct", all);
    for program in ["nsupdate", "knsupdate"] {
        if !is_here(program, &["-V"]) {
            continue;
        }
        let host = format!("{program}.dyn.{ZONE}");
        let add = format!("prereq nxdomain {host}\nupdate add {host} 60 A 192.0.2.7\n");
        let first = world.update(program, &add);
        assert!(first.status.success(), "{}", said(&first));
        let again = world.update(program, &add);
        assert!(said(&again).contains("YXDOMAIN"), "{}", said(&again));
        let name = format!("{program}.dyn");
        assert_eq!(world.served(&name, RecordType::A), ["192.0.2.7"]);

        let moved = format!(
            "prereq yxrrset {host} A 192.0.2.7\nupdate delete {host} A\nupdate add {host} 60 A 192.0.2.8\nupdate add {host} 60 AAAA 2001:db8::8\n"
        );
        let moved = world.update(program, &moved);
        assert!(moved.status.success(), "{}", said(&moved));
        assert_eq!(world.served(&name, RecordType::A), ["192.0.2.8"]);
        assert_eq!(world.served(&name, RecordType::AAAA), ["2001:db8::8"]);

        let refused = world.update(program, "update delete www.shop.example.\n");
        assert!(said(&refused).contains("REFUSED"), "{}", said(&refused));
        let gone = world.update(program, &format!("update delete {host}\n"));
        assert!(gone.status.success(), "{}", said(&gone));
        assert!(world.served(&name, RecordType::A).is_empty());
    }
    assert_eq!(world.served("www", RecordType::A), ["192.0.2.2"]);
}

/// Goal: an update that waits for somebody says so, and is served once somebody said yes.
#[test]
fn an_update_that_needs_approval_is_answered_with_the_order_that_waits() {
    let world = World::new("basket+approval", json!([{ "name": ZONE, "below": true }]));
    let sent = world.update("nsupdate", "update add new.shop.example. 60 A 192.0.2.7\n");
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(world.served("new", RecordType::A).is_empty());
    let path = format!("/v1/orders?state=awaiting_approval&org={}", world.org);
    let orders = world.server.api("GET", &path, None);
    let order = &orders["items"][0];
    assert_eq!(order["origin"], "update", "{orders:#}");
    let id = order["id"].as_str().unwrap();
    world.server.api("POST", &format!("/v1/orders/{id}/approve"), Some(&json!({})));
    assert_eq!(world.served("new", RecordType::A), ["192.0.2.7"]);
}

/// An update by dnspython, which speaks EDNS; prints the RCODE, then the options of the answer.
const WITH_EDNS: &str = r#"
import sys, dns.query, dns.rcode, dns.tsigkeyring, dns.update
host, port, key, secret, zone, name = sys.argv[1:]
ring = dns.tsigkeyring.from_text({key: secret})
update = dns.update.UpdateMessage(zone, keyring=ring, keyalgorithm='hmac-sha256')
update.add(name, 60, 'A', '192.0.2.7')
update.use_edns(0)
answer = dns.query.tcp(update, host, port=int(port), timeout=20)
print(dns.rcode.to_text(answer.rcode()), *answer.options)
"#;

fn with_edns(world: &World, name: &str) -> String {
    let dns = world.server.dns;
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", WITH_EDNS, &dns.ip().to_string(), &dns.port().to_string()]);
    good(command.args([KEY, &world.secret, ZONE, name]))
}

/// Goal: clients with EDNS learn what became of an update that is not applied, and why one is refused.
#[test]
fn rfc8914_an_update_that_is_not_applied_says_why() {
    if !is_here("/usr/bin/python3", &["-c", "import dns.update"]) {
        return;
    }
    let named = json!([{ "name": format!("dyn.{ZONE}"), "below": true }]);
    let collects = World::new("basket", named.clone());
    let said = with_edns(&collects, "a.dyn.shop.example.");
    assert!(said.starts_with("NOERROR") && said.contains("basket of"), "{said}");
    let said = with_edns(&collects, "www.shop.example.");
    assert!(said.starts_with("REFUSED") && said.contains("does not name"), "{said}");
    let approves = World::new("basket+approval", named);
    let said = with_edns(&approves, "a.dyn.shop.example.");
    assert!(said.starts_with("NOERROR") && said.contains("waits for approval"), "{said}");
    assert!(approves.served("a.dyn", RecordType::A).is_empty());
}

/// Goal: the whole way from the command line: a key, its policy, an update, and the end of the policy.
#[test]
fn a_key_gets_its_policy_from_the_command_line_and_loses_it() {
    let world = World::new("direct", json!([]));
    let tsig = |words: &[&str]| {
        let url = format!("http://{}", world.server.http);
        let token = world.server.operator_token();
        good(nameplane().arg("tsig").args(words).args(["--server", &url, "--token", &token]))
    };
    let add = "update add a.dyn.shop.example. 60 A 192.0.2.7\n";
    assert!(said(&world.update("nsupdate", add)).contains("REFUSED"));
    tsig(&["policy", KEY, "--grant", "dyn.shop.example. below A,AAAA", "--mode", "direct"]);
    assert!(tsig(&["policy", KEY]).contains("\"below\": true"));
    let done = world.update("nsupdate", add);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(world.served("a.dyn", RecordType::A), ["192.0.2.7"]);
    tsig(&["policy", KEY, "--none"]);
    let gone = "update delete a.dyn.shop.example. A\n";
    assert!(said(&world.update("nsupdate", gone)).contains("REFUSED"));
}

/// What a client of a certificate authority may change.
fn challenges() -> Value {
    json!([{ "name": ZONE, "below": true, "label": "_acme-challenge", "types": ["TXT"] }])
}

/// Goal: certbot gets a certificate by the DNS challenge and leaves nothing behind.
#[test]
fn certbot_gets_a_certificate() {
    if !is_here("certbot", &["plugins", "--text"]) {
        return;
    }
    let world = World::new("direct", challenges());
    let authority = Authority::start(world.home.path(), world.server.dns);
    let dns = world.server.dns;
    let credentials = world.file(
        "credentials.ini",
        &format!(
            "dns_rfc2136_server = {}\ndns_rfc2136_port = {}\ndns_rfc2136_name = {KEY}\n\
             dns_rfc2136_secret = {}\ndns_rfc2136_algorithm = HMAC-SHA256\n",
            dns.ip(),
            dns.port(),
            world.secret
        ),
    );
    good(Command::new("chmod").args(["600", &credentials]));
    let dirs = ["config", "work", "logs"].map(|name| world.dir(name));
    good(
        Command::new("certbot")
            .args(["certonly", "--non-interactive", "--agree-tos", "--email", "host@shop.example"])
            .args(["--authenticator", "dns-rfc2136", "--dns-rfc2136-credentials", &credentials])
            .args(["--dns-rfc2136-propagation-seconds", "0", "--server", &authority.directory])
            .args(["--config-dir", &dirs[0], "--work-dir", &dirs[1], "--logs-dir", &dirs[2]])
            .args(["-d", "shop.example", "-d", "www.shop.example"])
            .env("REQUESTS_CA_BUNDLE", &authority.root),
    );
    assert!(Path::new(&dirs[0]).join("live/shop.example/fullchain.pem").exists());
    assert!(world.served("_acme-challenge", RecordType::TXT).is_empty(), "it did not clean up");
}

/// Goal: lego gets a certificate by the DNS challenge and leaves nothing behind.
#[test]
fn lego_gets_a_certificate() {
    if !is_here("lego", &["--version"]) {
        return;
    }
    let world = World::new("direct", challenges());
    let authority = Authority::start(world.home.path(), world.server.dns);
    let (dns, out) = (world.server.dns.to_string(), world.dir("lego"));
    good(
        Command::new("lego")
            .args([
                "--server",
                &authority.directory,
                "--accept-tos",
                "--email",
                "host@shop.example",
            ])
            .args(["--dns", "rfc2136", "--dns.resolvers", &dns, "--dns.disable-cp"])
            .args(["--domains", "www.shop.example", "--path", &out, "run"])
            .env("LEGO_CA_CERTIFICATES", &authority.root)
            .env("RFC2136_NAMESERVER", &dns)
            .env("RFC2136_TSIG_KEY", KEY)
            .env("RFC2136_TSIG_SECRET", &world.secret)
            .env("RFC2136_TSIG_ALGORITHM", "hmac-sha256."),
    );
    assert!(Path::new(&out).join("certificates/www.shop.example.crt").exists());
    assert!(world.served("_acme-challenge.www", RecordType::TXT).is_empty(), "it did not clean up");
}

/// Goal: a playbook's task makes a record so, sees that it is so, and takes it away.
#[test]
fn ansible_makes_a_record_so_and_then_changes_nothing() {
    if !is_here("ansible-doc", &["community.general.nsupdate"]) {
        return;
    }
    let world = World::new("direct", json!([{ "name": format!("app.{ZONE}"), "types": ["A"] }]));
    let home = world.dir("ansible");
    let run = |state: &str, value: &str| {
        let dns = world.server.dns;
        let task = format!(
            "key_name={KEY} key_secret={} key_algorithm=hmac-sha256 server={} port={} zone={ZONE} record=app type=A ttl=60 value={value} state={state}",
            world.secret,
            dns.ip(),
            dns.port()
        );
        good(
            Command::new("ansible")
                .args(["localhost", "-i", "localhost,", "-c", "local"])
                .args(["-e", "ansible_python_interpreter=/usr/bin/python3"])
                .args(["-m", "community.general.nsupdate", "-a", &task])
                .env("HOME", &home),
        )
    };
    assert!(run("present", "192.0.2.7").contains("CHANGED"));
    assert_eq!(world.served("app", RecordType::A), ["192.0.2.7"]);
    assert!(run("present", "192.0.2.7").contains("SUCCESS"));
    assert!(run("present", "192.0.2.8").contains("CHANGED"));
    assert_eq!(world.served("app", RecordType::A), ["192.0.2.8"]);
    assert!(run("absent", "192.0.2.8").contains("CHANGED"));
    assert!(world.served("app", RecordType::A).is_empty());
}

/// Where `tests/run` puts octoDNS, which is no Debian package.
fn octodns() -> String {
    std::env::var("OCTODNS_SYNC").unwrap_or_else(|_| "octodns-sync".into())
}

/// Goal: octoDNS reads the zone by AXFR and brings it to what its files say: adds, changes, deletes.
#[test]
fn octodns_brings_a_zone_to_what_its_files_say() {
    if !is_here(&octodns(), &["--version"]) {
        return;
    }
    let world = World::new("direct", json!([{ "name": ZONE, "below": true }]));
    let (dns, zones) = (world.server.dns, world.dir("zones"));
    let config = world.file(
        "octodns.yaml",
        &format!(
            "providers:\n  files:\n    class: octodns.provider.yaml.YamlProvider\n    directory: {zones}\n    default_ttl: 60\n    enforce_order: false\n  \
             nameplane:\n    class: octodns_bind.Rfc2136Provider\n    host: {}\n    port: {}\n    key_name: {KEY}\n    key_secret: {}\n    key_algorithm: hmac-sha256\n\
             zones:\n  {ZONE}:\n    sources: [files]\n    targets: [nameplane]\n",
            dns.ip(),
            dns.port(),
            world.secret
        ),
    );
    let sync = |text: &str| {
        std::fs::write(Path::new(&zones).join("shop.example.yaml"), text).unwrap();
        good(Command::new(octodns()).args(["--config-file", &config, "--doit", "--force"]))
    };
    let ns = "ns:\n  type: A\n  ttl: 60\n  value: 192.0.2.1\n";
    sync(&format!(
        "{ns}www:\n  type: A\n  ttl: 60\n  values: [192.0.2.20, 192.0.2.21]\nmail:\n  type: MX\n  ttl: 60\n  values:\n  - preference: 10\n    exchange: mx.example.net.\n"
    ));
    let mut hosts = world.served("www", RecordType::A);
    hosts.sort();
    assert_eq!(hosts, ["192.0.2.20", "192.0.2.21"]);
    assert_eq!(world.served("mail", RecordType::MX), ["10 mx.example.net."]);
    sync(&format!("{ns}www:\n  type: A\n  ttl: 60\n  value: 192.0.2.21\n"));
    assert_eq!(world.served("www", RecordType::A), ["192.0.2.21"]);
    assert!(world.served("mail", RecordType::MX).is_empty());
}
