//! DNSSEC from outside: Unbound with our anchor, and tools not ours, all through the life of a zone.

mod copies;
mod dnsviz;
mod explained;
mod keys;
mod orders;
mod orphans;
mod parents;
mod policies;
mod steered;
mod strange;

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, free_port};

const PARENT: &str = "parent.test.";
const CHILD: &str = "child.parent.test.";

/// A server that keeps a parent and a child, under a policy in which everything takes seconds.
fn server(home: &Path) -> Server {
    let config = home.join("server.toml");
    std::fs::write(&config, "[net]\ndial = [\"127.0.0.0/8\"]\n").unwrap();
    let server = Server::at(&home.join("data"), &["--config", config.to_str().unwrap()]);
    let parent = "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n\
        child 1 NS ns.child\nns.child 1 A 127.0.0.1\n";
    let child = "@ 1 SOA ns hostmaster 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n\
        www 2 A 192.0.2.1\n*.wild 2 A 192.0.2.2\na.b.c 1 TXT \"deep\"\n";
    let import = |zone, file| json!({"kind": "zone_import", "zone": zone, "zone_file": file});
    let items = json!({"items": [import(PARENT, parent), import(CHILD, child)]});
    server.api("POST", "/v1/change-orders", Some(&items));
    server
}

fn hasty() -> Value {
    json!({
        "dnskey_ttl_s": 1, "propagation_s": 0, "parent_delay_s": 0, "parent_poll_s": 1,
        "ds_ttl_s": 1, "zsk_lifetime_s": 0,
    })
}

fn keep_policy(server: &Server, changes: &[(&str, Value)]) {
    let mut policy = hasty();
    for (field, value) in changes {
        policy[*field] = value.clone();
    }
    server.api("PUT", "/v1/dnssec/policies/default", Some(&policy));
}

fn switch(server: &Server, zone: &str, on: bool) {
    let path = format!("/v1/zones/{zone}/dnssec?push=true");
    server.api("PUT", &path, Some(&json!({ "on": on })));
}

/// The records of an answer over TCP, as `dig` writes them: type and RDATA, sorted.
fn records(server: &Server, name: &str, rtype: &str) -> Vec<String> {
    let port = server.dns.port().to_string();
    let words = ["@127.0.0.1", "-p", &port, "+tcp", "+dnssec", "+noall", "+answer", name, rtype];
    let output = Command::new("dig").args(words).output().expect("dig is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with(';')).map(line).collect();
    lines.sort();
    lines
}

/// The records of one type of an answer, without its signatures.
fn rdata(server: &Server, name: &str, rtype: &str) -> Vec<String> {
    let records = records(server, name, rtype).into_iter();
    let head = format!("{rtype} ");
    records.filter_map(|line| line.strip_prefix(&head).map(str::to_owned)).collect()
}

fn is_signed(server: &Server, name: &str, rtype: &str) -> bool {
    records(server, name, rtype).iter().any(|line| line.starts_with(&format!("RRSIG {rtype} ")))
}

/// A request that must be refused: its status and text.
fn refused(server: &Server, method: &str, path: &str, body: &Value) -> (u16, String) {
    let token = server.operator_token();
    let (status, body) = server.request(method, path, Some(&token), Some(body)).unwrap();
    assert!(status >= 400, "{method} {path}: {status} {body:#}");
    (status, body.to_string())
}

fn import(server: &Server, zone: &str, file: &str) {
    let item = json!({"kind": "zone_import", "zone": zone, "zone_file": file});
    server.api("POST", "/v1/change-orders", Some(&json!({ "items": [item] })));
}

fn state(server: &Server, zone: &str, word: &str) -> Value {
    wait(server, zone, word, |status| status["state"] == word)
}

fn status(server: &Server, zone: &str) -> Value {
    server.api("GET", &format!("/v1/zones/{zone}/dnssec"), None)
}

/// Waits until `done` says so of the zone's status.
fn wait(server: &Server, zone: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        let status = status(server, zone);
        if done(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{zone} never {what}: {status:#}\n{}", server.log());
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_secure_at_rest(status: &Value) -> bool {
    status["state"] == "secure" && status["at_rest"] == true
}

fn tags(status: &Value) -> Vec<u64> {
    status["keys"].as_array().unwrap().iter().map(|key| key["tag"].as_u64().unwrap()).collect()
}

/// An Unbound that trusts the parent by its DS and asks our server.
struct Unbound {
    child: Child,
    address: SocketAddr,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unbound(home: &Path, server: &Server, anchors: &[String]) -> Option<Unbound> {
    if !Path::new("/usr/sbin/unbound").exists() {
        return None;
    }
    let port = free_port();
    let dir = home.display();
    let mut config = format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n chroot: \"\"\n username: \"\"\n \
         directory: \"{dir}\"\n pidfile: \"{dir}/unbound.pid\"\n use-syslog: no\n \
         logfile: \"{dir}/unbound.log\"\n val-log-level: 2\n do-daemonize: no\n \
         do-not-query-localhost: no\n module-config: \"validator iterator\"\n \
         harden-algo-downgrade: yes\n val-bogus-ttl: 1\n num-threads: 1\n \
         local-zone: \"test.\" nodefault\n"
    );
    for anchor in anchors {
        writeln!(config, " trust-anchor: \"{anchor}\"").unwrap();
    }
    let at = format!("{}@{}", server.dns.ip(), server.dns.port());
    writeln!(config, "stub-zone:\n name: \"{PARENT}\"\n stub-addr: {at}").unwrap();
    writeln!(config, "stub-zone:\n name: \"{CHILD}\"\n stub-addr: {at}").unwrap();
    let file = home.join("unbound.conf");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("/usr/sbin/unbound")
        .args(["-c", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let unbound = Unbound { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
    let end = Instant::now() + PATIENCE;
    while ask(unbound.address, PARENT, 6).is_none() {
        assert!(Instant::now() < end, "unbound does not answer");
        thread::sleep(Duration::from_millis(100));
    }
    Some(unbound)
}

/// RCODE and AD of an answer of a resolver; none when it says nothing.
fn ask(resolver: SocketAddr, name: &str, rtype: u16) -> Option<(u8, bool)> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(resolver).unwrap();
    let mut query = vec![0x12, 0x34, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.trim_end_matches('.').split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    socket.send(&query).unwrap();
    let mut reply = [0; 4096];
    let len = socket.recv(&mut reply).ok()?;
    (len > 12).then(|| (reply[3] & 15, reply[3] & 0x20 != 0))
}

/// Waits until a resolver answers so: what it has in its cache lives for a second or two.
fn comes_to(resolver: SocketAddr, name: &str, expected: (u8, bool), status: &Value) {
    let end = Instant::now() + Duration::from_secs(15);
    while ask(resolver, name, 1) != Some(expected) {
        assert!(Instant::now() < end, "{name} never came to {expected:?}: {status:#}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Asks a resolver for what the zone has and has not, until told to stop; returns what failed.
fn watch(resolver: SocketAddr, stop: Arc<AtomicBool>) -> thread::JoinHandle<(usize, Vec<String>)> {
    thread::spawn(move || {
        let (mut asked, mut failed) = (0, Vec::new());
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            for (name, rtype) in [
                (format!("www.{CHILD}"), 1),
                (format!("www.{CHILD}"), 28),
                (format!("ns.{CHILD}"), 1),
                (format!("a.b.c.{CHILD}"), 16),
                (CHILD.to_owned(), 2),
                (format!("nothing.{CHILD}"), 1),
                (format!("x.wild.{CHILD}"), 1),
                (format!("b.c.{CHILD}"), 16),
                (CHILD.to_owned(), 48),
                (CHILD.to_owned(), 6),
                (PARENT.to_owned(), 6),
            ] {
                asked += 1;
                match ask(resolver, &name, rtype) {
                    Some((0 | 3, _)) => {}
                    other => {
                        failed.push(format!("{:?} {name} {rtype}: {other:?}", began.elapsed()))
                    }
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        (asked, failed)
    })
}

/// As [`wait`], with every version of the zone on the way put to the tools; returns how many those were.
fn wait_verified(
    server: &Server,
    home: &Path,
    what: &str,
    done: impl Fn(&Value) -> bool,
) -> (Value, usize) {
    let (end, mut version, mut versions) = (Instant::now() + 2 * PATIENCE, Value::Null, 0);
    loop {
        let status = status(server, CHILD);
        let zone = server.api("GET", &format!("/v1/zones/{CHILD}"), None);
        if zone["version"] != version {
            version = zone["version"].clone();
            versions += usize::from(verify_a_step(server, home));
        }
        if done(&status) {
            return (status, versions);
        }
        assert!(Instant::now() < end, "{CHILD} never {what}: {status:#}\n{}", server.log());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Puts the zone as it is now to those tools that know what a rollover is; whether it is signed.
fn verify_a_step(server: &Server, home: &Path) -> bool {
    let (code, body) = server
        .request("GET", &format!("/v1/zones/{CHILD}/file"), Some(&server.operator_token()), None)
        .unwrap();
    assert_eq!(code, 200);
    let text = body.as_str().unwrap();
    if !text.contains("RRSIG") {
        return false;
    }
    let file = home.join("step");
    std::fs::write(&file, text).unwrap();
    let (name, file) = (CHILD.trim_end_matches('.'), file.to_str().unwrap());
    for words in [vec!["dnssec-verify", "-z", "-o", name, file], vec!["ldns-verify-zone", file]] {
        let Ok(output) = Command::new(words[0]).args(&words[1..]).output() else { continue };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        // RFC 6781 §4.1.4: a new algorithm signs before its key is published. ldns minds that.
        let is_early =
            |line: &str| !line.contains("Error") || line.contains("No keys with the keytag");
        let is_good = output.status.success() || words.len() == 2 && said.lines().all(is_early);
        assert!(is_good, "{words:?}: {said}\n{text}");
    }
    true
}

/// Whether `delv`, which trusts the parent alone, validates an address of the child; none without it.
fn delv(server: &Server, home: &Path, ds: &str) -> Option<String> {
    let words: Vec<&str> = ds.splitn(4, ' ').collect();
    let (head, digest) = (words[..3].join(" "), words[3].replace(' ', ""));
    let file = home.join("anchor");
    let text = format!("trust-anchors {{ \"{PARENT}\" static-ds {head} \"{digest}\"; }};");
    std::fs::write(&file, text).unwrap();
    let port = server.dns.port().to_string();
    let root = format!("+root={PARENT}");
    let words = ["@127.0.0.1", "-p", &port, "-a", file.to_str().unwrap(), &root];
    let output = Command::new("delv").args(words).args([&format!("www.{CHILD}"), "A"]).output();
    Some(String::from_utf8(output.ok()?.stdout).unwrap())
}

/// Goal: I25 on a real resolver: no cache goes bogus from on to off, whatever is rolled.
/// Method: Unbound trusts the parent alone; every TTL is a second or two; it is asked all the time. Every
/// version on the way is put to `dnssec-verify` and `ldns-verify-zone`, each state of rest to
/// `kzonecheck` and `delv` as well.
fn a_life(split: bool, denial: &str) {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let shape = [("split", json!(split)), ("denial", json!(denial))];
    keep_policy(&server, &shape);
    switch(&server, PARENT, true);
    let parent = wait(&server, PARENT, "asks for a DS", |status| status["state"] == "ds_pending");
    let ds = parent["ds"][0].as_str().unwrap();
    let Some(unbound) = unbound(home.path(), &server, &[format!("{PARENT} DS {ds}")]) else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(unbound.address, Arc::clone(&stop));
    let www = format!("www.{CHILD}");
    assert_eq!(ask(unbound.address, &www, 1), Some((0, false)), "not signed yet");

    let mut versions = 0;
    let mut until = |what: &str, done: &dyn Fn(&Value) -> bool| {
        let (status, seen) = wait_verified(&server, home.path(), what, done);
        versions += seen;
        status
    };
    let rests = |status: &Value| {
        comes_to(unbound.address, &www, (0, true), status);
        verify_with_tools(&server, home.path(), CHILD);
        let said = delv(&server, home.path(), ds);
        assert!(said.as_ref().is_none_or(|said| said.contains("; fully validated")), "{said:?}");
    };

    switch(&server, CHILD, true);
    let first = until("is secure", &is_secure_at_rest);
    rests(&first);

    server.api("POST", &format!("/v1/zones/{CHILD}/dnssec/rollover"), None);
    let rolled = until("has rolled", &|status| {
        is_secure_at_rest(status) && tags(status).iter().all(|tag| !tags(&first).contains(tag))
    });
    rests(&rolled);

    let mut shape = shape.to_vec();
    shape.push(("algorithm", json!(15)));
    keep_policy(&server, &shape);
    let changed = until("has another algorithm", &|status| {
        is_secure_at_rest(status)
            && status["keys"].as_array().unwrap().iter().all(|key| key["algorithm"] == 15)
    });
    rests(&changed);

    switch(&server, CHILD, false);
    let off = until("is off", &|status| status["state"] == "off");
    comes_to(unbound.address, &www, (0, false), &off);
    // On, the DS asked for; each rollover two versions at least; the DS to be deleted.
    assert!(versions >= 8, "{versions} versions: {:#}", off["history"]);

    stop.store(true, Ordering::Relaxed);
    let (asked, failed) = watching.join().unwrap();
    assert!(asked > 100, "{asked}");
    let log = std::fs::read_to_string(home.path().join("unbound.log")).unwrap_or_default();
    assert!(failed.is_empty(), "{failed:#?}\n{:#}\n{log}", status(&server, CHILD)["history"]);
}

#[test]
fn no_resolver_fails_in_the_life_of_a_zone_with_one_key_and_nsec() {
    a_life(false, "nsec");
}

#[test]
fn no_resolver_fails_in_the_life_of_a_zone_with_two_keys_and_nsec3() {
    a_life(true, "nsec3");
}

/// The zone as it is transferred, put to every verifier that is installed.
fn verify_with_tools(server: &Server, home: &Path, zone: &str) {
    verify(server, home, zone, true);
}

/// The same but for `kzonecheck`, which knows neither a key that does everything beside another one
/// (RFC 8901), nor CDS below the apex (RFC 9615).
fn verify_by_others(server: &Server, home: &Path, zone: &str) {
    verify(server, home, zone, false);
}

fn verify(server: &Server, home: &Path, zone: &str, by_knot: bool) {
    let file = home.join("zone");
    let port = server.dns.port().to_string();
    let dig = ["@127.0.0.1", "-p", &port, zone, "AXFR", "+noall", "+answer", "+onesoa"];
    let Ok(got) = Command::new("dig").args(dig).output() else { return };
    let text = String::from_utf8(got.stdout).unwrap();
    if !text.contains("RRSIG") {
        // Transfers may be closed; the exported file is the same zone.
        let (status, body) = server
            .request("GET", &format!("/v1/zones/{zone}/file"), Some(&server.operator_token()), None)
            .unwrap();
        assert_eq!(status, 200);
        std::fs::write(&file, body.as_str().unwrap()).unwrap();
    } else {
        std::fs::write(&file, text).unwrap();
    }
    let name = zone.trim_end_matches('.');
    let file = file.to_str().unwrap();
    for (tool, arguments) in [
        // -z: one key may do everything.
        ("dnssec-verify", vec!["-z", "-o", name, file]),
        ("ldns-verify-zone", vec![file]),
        ("kzonecheck", vec!["-o", name, "-d", "on", file]),
    ] {
        if tool == "kzonecheck" && !by_knot {
            continue;
        }
        let Ok(output) = Command::new(tool).args(&arguments).output() else { continue };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stdout);
        let zone = std::fs::read_to_string(file).unwrap();
        assert!(output.status.success(), "{tool}: {said}\n{zone}");
    }
}

/// Goal: I24: the zone is never unsigned while its parent has a DS, unless somebody says why.
#[test]
fn i24_a_zone_is_not_unsigned_while_its_parent_has_a_ds() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    // Nobody answers for the parent: what it has is never known.
    let closed = format!("127.0.0.1:{}", free_port());
    keep_policy(&server, &[("parent_servers", json!([closed]))]);
    switch(&server, PARENT, true);
    wait(&server, PARENT, "asks for a DS", |status| status["state"] == "ds_pending");

    switch(&server, PARENT, false);
    thread::sleep(Duration::from_secs(4));
    let waiting = status(&server, PARENT);
    assert_eq!(waiting["state"], "going_insecure");
    assert!(waiting["parent"]["fault"].is_string(), "{waiting:#}");

    let path = format!("/v1/zones/{PARENT}/dnssec?push=true");
    let forced = json!({"on": false, "force_reason": "the registrar is gone"});
    server.api("PUT", &path, Some(&forced));
    let off = wait(&server, PARENT, "is off", |status| status["state"] == "off");
    let history = off["history"].to_string();
    assert!(history.contains("forced off: the registrar is gone"), "{history}");
    server.logs("the registrar is gone");
}

/// Goal: where the parent cannot be asked, people's word counts, and its TTL is waited for.
#[test]
fn the_word_of_an_operator_stands_in_for_a_parent_that_cannot_be_asked() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    switch(&server, PARENT, true);
    wait(&server, PARENT, "asks for a DS", |status| status["state"] == "ds_pending");
    let told = |present: bool| {
        let path = format!("/v1/zones/{PARENT}/dnssec/parent");
        server.api("POST", &path, Some(&json!({"present": present, "ttl": 1})))
    };
    assert_eq!(told(true)["state"], "secure");
    switch(&server, PARENT, false);
    wait(&server, PARENT, "asks for no DS", |status| status["parent"]["asked"] == json!([]));
    thread::sleep(Duration::from_secs(3));
    assert_eq!(told(false)["state"], "going_insecure");
    wait(&server, PARENT, "is off", |status| status["state"] == "off");
}
