//! What is seen from outside of a server at work: metrics, the dashboard that shows them, who asks most;
//! and of an order: all of it or nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use crate::server::{Server, ask, is_here, question};

/// A server with zones of a name server and nothing else.
fn server(zones: &[&str]) -> Server {
    let server = Server::start();
    for zone in zones {
        let new = json!({"zone": zone, "name_servers": ["ns.example.net."]});
        server.api("POST", "/v1/zones?push=true", Some(&new));
    }
    server
}

fn metrics(server: &Server) -> String {
    match server.request("GET", "/metrics", None, None).unwrap() {
        (200, Value::String(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The value of one sample.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn durations_memory_and_the_process_are_measured() {
    let server = server(&["one.test."]);
    let before = metrics(&server);
    (0..5).for_each(|_| drop(server.ask("one.test.", RecordType::SOA)));
    let text = metrics(&server);

    let count = "nameplane_dns_response_duration_seconds_count{transport=\"udp\"}";
    assert!(sample(&text, count) >= sample(&before, count) + 5.0);
    let bucket = "nameplane_dns_response_duration_seconds_bucket{transport=\"udp\",le=\"+Inf\"}";
    assert_eq!(sample(&text, bucket), sample(&text, count));
    for kind in ["table", "store_cache_max", "udp_buffers", "rate_limit"] {
        assert!(sample(&text, &format!("nameplane_memory_bytes{{kind=\"{kind}\"}}")) > 0.0);
    }
    assert!(sample(&text, "process_resident_memory_bytes") > 1e6);
    assert!(sample(&text, "process_open_fds") > 3.0);
    assert!(sample(&text, "process_start_time_seconds") > 1.7e9);
}

/// Goal: what was asked, how, what came of it, and what became of the table: each in its own number.
#[test]
fn questions_answers_and_the_table_are_counted_by_kind() {
    let server = server(&["one.test."]);
    let before = metrics(&server);
    let edits: Vec<Value> = (0..60)
        .map(|at| json!({"op": "add", "name": "large.one.test.", "type": "TXT", "ttl": 5, "records": [format!("\"{at:040}\"")]}))
        .collect();
    let order = json!({"zones": [{"zone": "one.test.", "edits": edits}]});
    server.api("POST", "/v1/change-orders", Some(&order));
    let built = metrics(&server);
    for name in ["nameplane_table_names", "nameplane_table_bytes", "nameplane_snapshot_version"] {
        assert!(sample(&built, name) > sample(&before, name), "{name}");
    }

    for (name, rtype) in [
        ("one.test.", RecordType::SOA),
        ("one.test.", RecordType::NS),
        ("nothing.one.test.", RecordType::MX),
        ("nobodys.test.", RecordType::AAAA),
        ("large.one.test.", RecordType::TXT),
        ("one.test.", RecordType::SSHFP),
    ] {
        server.ask(name, rtype);
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    socket.send(&[0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    // What follows from the same port is read by the same worker, and after it.
    socket.send(&question("one.test.", RecordType::SOA).to_vec().unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.recv(&mut [0; 512]).unwrap();
    let mut tcp = std::net::TcpStream::connect(server.dns).unwrap();
    let query = question("one.test.", RecordType::CAA).to_vec().unwrap();
    tcp.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
    tcp.read_exact(&mut [0; 12]).unwrap();

    let after = metrics(&server);
    let grown = |name: &str| sample(&after, name) - sample(&built, name);
    let of = |family: &str, label: &str, value: &str| {
        grown(&format!("nameplane_dns_{family}_total{{{label}=\"{value}\"}}"))
    };
    // The server asks itself too, for the order's SOA among others: at least so many.
    for (family, label, values) in [
        ("queries", "transport", &["udp", "tcp"][..]),
        ("query_types", "type", &["SOA", "NS", "MX", "AAAA", "TXT", "CAA", "other"]),
        ("responses", "rcode", &["NOERROR", "NXDOMAIN", "REFUSED"]),
        ("dropped", "reason", &["not_a_query"]),
        ("connections", "event", &["accepted"]),
    ] {
        for value in values {
            assert!(of(family, label, value) >= 1.0, "{family} {value}\n{after}");
        }
    }
    assert_eq!((of("query_types", "type", "MX"), of("queries", "transport", "tcp")), (1.0, 1.0));
    assert_eq!(grown("nameplane_dns_truncated_total"), 1.0);
    assert_eq!(sample(&after, "nameplane_dns_open_connections"), 1.0);
    assert_eq!(sample(&after, "nameplane_dns_worker_restarts_total"), 0.0);
}

/// Goal: names are as Prometheus has them: of its letters, in base units, a counter ends with `_total`, each is
/// told what it is, once.
#[test]
fn metrics_are_named_as_prometheus_wants_it() {
    let server = server(&["one.test."]);
    let text = metrics(&server);
    let of = |what: &str| -> Vec<Vec<&str>> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {what} ")));
        lines.map(|line| line.split(' ').collect()).collect()
    };
    let helped: Vec<&str> = of("HELP").iter().map(|words| words[0]).collect();
    let types = of("TYPE");
    assert_eq!(helped, types.iter().map(|words| words[0]).collect::<Vec<_>>());
    let names: BTreeSet<&str> = helped.iter().copied().collect();
    assert!(names.len() == helped.len() && names.len() > 30, "{helped:?}");
    for words in &types {
        let [name, kind] = words[..] else { panic!("{words:?}") };
        assert!(name.starts_with("nameplane_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        for unit in ["micro", "milli", "nano", "minute", "hour", "kilo", "octets", "percent"] {
            assert!(!name.contains(unit), "{name}");
        }
    }
    // Every sample belongs to one of them.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let of_histogram =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(
            names.contains(name) || of_histogram.is_some_and(|it| names.contains(it)),
            "{line}"
        );
    }
}

/// Goal: the terminal view of a server at work shows what is asked, and ends when it is told to.
#[test]
fn top_shows_traffic_in_a_terminal_and_ends_with_q() {
    if !is_here("script") {
        return;
    }
    let server = server(&["one.test."]);
    let (url, token) = (format!("http://{}", server.http), server.operator_token());
    let binary = env!("CARGO_BIN_EXE_nameplane");
    let mut view = std::process::Command::new("script")
        .args(["-qec", &format!("stty rows 40 cols 150; {binary} top --server {url}"), "/dev/null"])
        .env("NAMEPLANE_TOKEN", token)
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = view.stdout.take().unwrap();
    let (seen, shows) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (mut all, mut octets) = (Vec::new(), [0; 4096]);
        while let Ok(len @ 1..) = screen.read(&mut octets) {
            all.extend_from_slice(&octets[..len]);
            let text = String::from_utf8_lossy(&all);
            if ["udp", "SOA", "NOERROR", "one.test."].iter().all(|word| text.contains(word)) {
                let _ = seen.send(());
            }
        }
    });
    let end = std::time::Instant::now() + crate::server::PATIENCE;
    while shows.try_recv().is_err() {
        assert!(std::time::Instant::now() < end, "the view does not show what is asked");
        server.ask("one.test.", RecordType::SOA);
        thread::sleep(Duration::from_millis(50));
    }
    view.stdin.take().unwrap().write_all(b"q").unwrap();
    assert!(view.wait().unwrap().success());
}

/// Goal: a collector's socket gets what passes, and what passes while nobody takes it is counted and holds up nobody.
#[test]
fn a_collector_is_fed_by_its_socket_and_what_it_misses_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let (config, path) = (home.path().join("server.toml"), home.path().join("tap.sock"));
    fs::write(&config, format!("[dnstap]\nsocket = {path:?}\n")).unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let end = std::time::Instant::now() + crate::server::PATIENCE;
    while sample(&metrics(&server), "nameplane_dnstap_dropped_total") < 6.0 {
        assert!(std::time::Instant::now() < end, "nobody takes them, and nobody counts");
        server.ask("missed.test.", RecordType::A);
    }

    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let frame = |stream: &mut std::os::unix::net::UnixStream| {
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        let control = len == [0; 4];
        if control {
            stream.read_exact(&mut len).unwrap();
        }
        let mut octets = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut octets).unwrap();
        (control, octets)
    };
    const KIND: &[u8] = b"\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap";
    assert_eq!(frame(&mut stream), (true, [&[0, 0, 0, 4], KIND].concat()));
    let accept = [&[0, 0, 0, 1], KIND].concat();
    let head = [&[0; 4][..], &(accept.len() as u32).to_be_bytes()].concat();
    stream.write_all(&[head, accept].concat()).unwrap();
    assert_eq!(frame(&mut stream), (true, [&[0, 0, 0, 2], KIND].concat()));
    server.ask("taken.test.", RecordType::A);
    let name = b"\x05taken\x04test\0";
    let mut taken = 0;
    while taken < 2 {
        let (control, octets) = frame(&mut stream);
        assert!(!control);
        taken += usize::from(octets.windows(name.len()).any(|window| window == name));
    }
    assert!(sample(&metrics(&server), "nameplane_dnstap_written_total") >= 2.0);
}

/// Goal: the dashboard shows nothing that is not measured.
#[test]
fn every_metric_of_the_dashboard_is_there() {
    let server = server(&[]);
    let text = metrics(&server);
    let there: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string("monitoring/grafana.json").unwrap()).unwrap();

    let mut shown = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let names =
            words.filter(|word| word.starts_with("nameplane_") || word.starts_with("process_"));
        shown.extend(names.map(|name| {
            let histogram =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            histogram.filter(|name| there.contains(name)).unwrap_or(name).to_owned()
        }));
    }

    assert!(shown.len() > 15, "{shown:?}");
    let missing: Vec<_> = shown.iter().filter(|name| !there.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} of {there:?}");
}

#[test]
fn who_asks_most_is_counted_while_somebody_looks() {
    let server = server(&["one.test.", "two.test."]);
    let quiet = server.api("GET", "/v1/traffic", None);
    assert_eq!((&quiet["queries"], &quiet["zones"]), (&json!(0), &json!([])));

    (0..3).for_each(|at| drop(server.ask(&format!("x{at}.two.test."), RecordType::A)));
    server.ask("one.test.", RecordType::SOA);
    server.ask("nobodys.test.", RecordType::A);
    let seen = server.api("GET", "/v1/traffic?zones=2", None);

    assert_eq!(seen["queries"], 5, "{seen}");
    let zones: Vec<_> = seen["zones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|zone| (&zone["zone"], &zone["queries"]))
        .collect();
    let (one, two) = (json!("one.test."), json!("two.test."));
    assert_eq!(zones, [(&two, &json!(3)), (&one, &json!(1))]);
    assert_eq!(seen["zones"][0]["clients"], json!([{"client": "127.0.0.1/32", "queries": 3}]));
    let (status, _) =
        server.request("GET", "/v1/traffic?zones=0", Some(&server.operator_token()), None).unwrap();
    assert_eq!(status, 400);
}

/// Goal: no query ever sees half of an order.
/// Method: each order moves an alias of one zone to a name of another that it makes, and takes the name before it
/// away; whoever is asked meanwhile gives alias and target of one order, never an alias to nowhere.
#[test]
fn no_query_ever_sees_half_of_an_order() {
    const ORDERS: u32 = 40;
    let server = server(&["one.test.", "two.test."]);
    let push = |number: u32| {
        let target = |number: u32| format!("t{number}.two.test.");
        let text = format!("\"{number}\"");
        let mut two = vec![
            json!({"op": "add", "name": target(number), "type": "TXT", "ttl": 5, "records": [text]}),
        ];
        if number > 0 {
            two.push(json!({"op": "delete", "name": target(number - 1), "type": "TXT"}));
        }
        let alias = json!({"op": "replace", "name": "a.one.test.", "type": "CNAME", "ttl": 5, "records": [target(number)]});
        let order = json!({"zones": [{"zone": "one.test.", "edits": [alias]}, {"zone": "two.test.", "edits": two}]});
        server.api("POST", "/v1/change-orders", Some(&order));
    };
    push(0);
    let (done, dns) = (AtomicBool::new(false), server.dns);

    let (answers, versions) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut answers, mut versions) = (0, BTreeSet::new());
            while !done.load(Ordering::Relaxed) {
                let message = ask(dns, "a.one.test.", RecordType::TXT);
                let [alias, text] = &message.answers[..] else { panic!("half: {message}") };
                let RData::CNAME(target) = &alias.data else { panic!("no alias: {message}") };
                assert_eq!(target.0, text.name, "{message}");
                assert_eq!(message.metadata.response_code, ResponseCode::NoError);
                versions.insert(text.data.to_string());
                answers += 1;
            }
            (answers, versions)
        });
        // The asker must end also when an order fails.
        let pushed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (1..=ORDERS).for_each(push)));
        done.store(true, Ordering::Relaxed);
        let seen = asking.join().unwrap();
        pushed.unwrap();
        seen
    });

    assert!(answers > ORDERS && versions.len() > 3, "{answers} answers, {versions:?}");
}

/// What an operator decides about EDNS is told in every answer, and decided at start-up.
#[test]
fn the_agent_for_error_reports_is_told_and_checked() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    fs::write(&config, "[dns]\nreport_agent = \"errors.example\"\n").unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(crate::server::PATIENCE)).unwrap();
    socket.connect(server.dns).unwrap();
    let query = b"\0\x07\0\0\0\x01\0\0\0\0\0\x01\x01x\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
    socket.send(query).unwrap();
    let mut reply = [0; 1232];
    let len = socket.recv(&mut reply).unwrap();
    let option = b"\0\x12\0\x10\x06errors\x07example\0";
    assert!(
        reply[..len].windows(option.len()).any(|octets| octets == option),
        "{:?}",
        &reply[..len]
    );

    for wrong in [".", "a..b"] {
        fs::write(&config, format!("[dns]\nreport_agent = {wrong:?}\n")).unwrap();
        let mut check = crate::server::nameplane();
        let output = check.args(["check", "config"]).arg(&config).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("report_agent"), "{error}");
    }
}

/// Goal: a client with cookies gets through when they are demanded, and one without is sent to TCP.
#[test]
fn past_the_threshold_a_cookie_or_tcp_is_demanded() {
    if !is_here("dig") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    let settings =
        "[dns]\ncookies_required_above = 1\n[dns.rate_limit]\nenabled = false\nexempt = []\n";
    fs::write(&config, settings).unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(crate::server::PATIENCE)).unwrap();
    socket.connect(server.dns).unwrap();
    let plain = b"\0\x07\0\0\0\x01\0\0\0\0\0\0\x01x\0\0\x01\0\x01";
    let mut reply = [0; 1232];
    let ask = |query: &[u8], reply: &mut [u8]| {
        socket.send(query).unwrap();
        socket.recv(reply).unwrap()
    };

    // Seconds begin when they like: within two of them some are past the threshold.
    let cut = (0..50).filter(|_| {
        ask(plain, &mut reply);
        reply[2] & 2 != 0
    });
    assert!(cut.count() >= 40);

    let mut dig = std::process::Command::new("dig");
    let port = server.dns.port().to_string();
    let said = dig.args(["@127.0.0.1", "-p", &port, "+cookie", "+ignore", "x"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("(good)") && said.contains("status: REFUSED"), "{said}");
    let text = metrics(&server);
    assert!(sample(&text, "nameplane_dns_rate_limited_total{action=\"cookie_demanded\"}") >= 40.0);
}
