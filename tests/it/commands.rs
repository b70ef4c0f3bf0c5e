//! The command line from outside: what scripts rely on.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, ask, free_port, is_here, nameplane, question, skipped};

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Standard output of a command that must succeed.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Status and standard error of a command that must fail.
fn refused(command: &mut Command) -> (i32, String) {
    let output = run(command);
    assert!(!output.status.success(), "{command:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A command that talks to a running server as its operator.
fn to(server: &Server, words: &[&str]) -> Command {
    let mut command = nameplane();
    command
        .args(words)
        .env("NAMEPLANE_SERVER", format!("http://{}", server.http))
        .env("NAMEPLANE_TOKEN", server.operator_token());
    command
}

/// A zone file with a `www` below `apex`.
fn zone_file(dir: &Path, apex: &str, address: &str) -> std::path::PathBuf {
    let file = dir.join(format!("{apex}.zone"));
    let text = format!("@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\nwww 60 A {address}\n");
    std::fs::write(&file, text).unwrap();
    file
}

fn address_of(server: &Server, name: &str) -> Option<String> {
    let answer = server.ask(name, RecordType::A);
    answer.answers.first().map(|record| record.data.to_string())
}

#[test]
fn sigterm_drains_and_exits_0_also_with_idle_workers() {
    let mut server = Server::start();
    assert!(server.stop().success(), "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

/// The allocator reads its settings before `main`: the server must have been started with them, once.
#[test]
fn the_heap_is_told_to_give_back_unless_an_operator_said_otherwise() {
    // glibc cuts the words apart where they stand.
    let is_told = |server: &Server, word: &str| {
        let environment = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
        environment.split(|octet| *octet == 0).any(|one| one.ends_with(word.as_bytes()))
    };
    const OURS: &str = "glibc.malloc.mmap_threshold=262144";
    const OTHER: &str = "glibc.malloc.arena_max=3";
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::at(&home.path().join("data"), &[]);
    assert_eq!(is_told(&server, OURS), cfg!(target_env = "gnu"));
    assert!(server.stop().success());

    // Also where the loader takes the variable away there is an end to starting again.
    for own in [format!("GLIBC_TUNABLES={OTHER}"), "NAMEPLANE_HEAP_TOLD=1".to_owned()] {
        let server = Server::wrapped(&home.path().join("data"), &[], &["env", &own]);
        assert!(is_told(&server, &own) && !is_told(&server, OURS), "{own}");
    }
}

#[test]
fn ready_is_told_to_systemd_when_it_asks() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = nameplane()
        .arg("serve")
        .args(["--listen-dns", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--data-dir"])
        .arg(home.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..len].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&buffer[..len]));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Goal: the unit in `systemd/` is one that systemd takes and that starts the server.
/// Method: systemd's own check, with the binary under test in the place where it is installed.
#[test]
fn the_unit_is_one_that_systemd_takes() {
    if !is_here("systemd-analyze") {
        return;
    }
    let unit = std::fs::read_to_string("systemd/nameplane.service").unwrap();
    let start = "ExecStart=/usr/bin/nameplane serve --config /etc/nameplane/server.toml\n";
    assert!(unit.contains(start) && unit.contains("Type=notify\n"), "{unit}");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("nameplane.service");
    let here = start.replace("/usr/bin/nameplane", env!("CARGO_BIN_EXE_nameplane"));
    std::fs::write(&file, unit.replace(start, &here)).unwrap();

    let output = run(Command::new("systemd-analyze").arg("verify").arg(&file));

    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !error.contains("nameplane.service:"), "{error}");
}

#[test]
fn where_there_is_no_ipv6_a_start_without_settings_does_without() {
    let script =
        "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 && exec \"$@\"";
    let own_net = ["-rn", "sh", "-c", script, "sh"];
    if !Command::new("unshare")
        .args(own_net)
        .arg("true")
        .output()
        .is_ok_and(|done| done.status.success())
    {
        return skipped("this machine gives no network namespace (unshare -rn)");
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new("unshare");
    command.args(own_net).args([env!("CARGO_BIN_EXE_nameplane"), "serve", "--data-dir"]);
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let mut child = command
        .arg(home.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .stderr(log)
        .spawn()
        .unwrap();
    let mut buffer = [0; 64];

    let told = socket.recv(&mut buffer);

    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(home.path().join("log")).unwrap();
    assert!(told.is_ok_and(|len| buffer[..len].starts_with(b"READY=1")), "{log}");
    assert!(log.contains("[::1]:5300 is not listened on"), "{log}");
}

/// What `/readyz` says, if anybody listens.
fn readiness(http: SocketAddr) -> Option<u16> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(http).ok()?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Goal: a resolver that asks during a start comes again, and does not take the zone for gone.
/// Method: a server with many zones starts again while somebody asks for one after the other, and `/readyz`.
#[test]
fn a_zone_that_is_not_loaded_yet_is_servfail_never_refused_and_ready_means_all_are() {
    const ZONES: usize = 4_000;
    let home = tempfile::tempdir().unwrap();
    let (list, data) = (home.path().join("list"), home.path().join("data"));
    let zone = "@ 60 SOA ns.x. h.x. 1 2 3 4 5\n@ 60 NS ns.x.\nwww 60 A 192.0.2.1\n";
    std::fs::write(home.path().join("zone"), zone).unwrap();
    let lines: String = (0..ZONES).map(|n| format!("z{n}.example zone\n")).collect();
    std::fs::write(&list, lines).unwrap();
    said(nameplane().args(["zone", "import", "--list"]).arg(&list).arg("--data-dir").arg(&data));
    let mut server = Server::at(&data, &[]);
    server.kill();
    let (dns, http) = (server.dns, server.http);
    let asking = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.connect(dns).unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 1500]);
        let (end, mut since_ready) = (Instant::now() + PATIENCE, 0);
        for n in (0..ZONES).cycle() {
            if since_ready > 20 || Instant::now() > end {
                break;
            }
            // Asked first: what is said of all zones before must hold for the answer after.
            let ready = readiness(http) == Some(200);
            let query = question(&format!("www.z{n}.example."), RecordType::A);
            let _ = socket.send(&query.to_vec().unwrap());
            if let Ok(len) = socket.recv(&mut buffer) {
                let answer = Message::from_vec(&buffer[..len]).unwrap();
                seen.push((ready, answer.metadata.response_code));
                since_ready += usize::from(ready);
            }
        }
        seen
    });

    server.restart();

    let seen = asking.join().unwrap();
    assert!(seen.iter().any(|(ready, _)| *ready), "{seen:?}");
    for (ready, rcode) in seen {
        let waits = !ready && rcode == ResponseCode::ServFail;
        assert!(waits || rcode == ResponseCode::NoError, "{rcode} when ready is {ready}");
    }
}

#[test]
fn a_first_start_leaves_a_token_only_its_owner_can_read() {
    let server = Server::start();
    let path = server.data.join("operator.token");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, _) =
        server.request("GET", "/v1/orgs", Some(&server.operator_token()), None).unwrap();
    assert_eq!(status, 200);
    assert!(!server.log().contains(&server.operator_token()));
}

#[test]
fn a_directory_a_server_holds_is_refused_with_the_way_to_the_server() {
    let server = Server::start();
    let way = format!("http://{}", server.http);
    for words in [vec!["zone", "list"], vec!["org", "list"], vec!["serve"]] {
        let (code, error) = refused(nameplane().args(&words).arg("--data-dir").arg(&server.data));
        assert_eq!(code, 1);
        assert!(error.contains(&way), "{words:?}: {error}");
        let hint = format!("ask that server, with --server {way} and --token");
        assert_eq!(error.contains(&hint), words[0] != "serve", "{error}");
    }
}

#[test]
fn zones_come_and_go_in_a_directory_and_in_a_server_alike() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let file = zone_file(home.path(), "one.example", "192.0.2.1");
    let import = said(nameplane().args(["zone", "import", "--data-dir"]).args([&data, &file]));
    assert!(import.contains("1 zones with 3 records imported, 0 refused"), "{import}");

    let server = Server::at(&data, &[]);
    assert_eq!(address_of(&server, "www.one.example.").as_deref(), Some("192.0.2.1"));
    let other = zone_file(home.path(), "two.example", "192.0.2.2");
    said(to(&server, &["zone", "import"]).arg(&other));
    assert_eq!(address_of(&server, "www.two.example.").as_deref(), Some("192.0.2.2"));
    let again = zone_file(home.path(), "two.example", "192.0.2.3");
    said(to(&server, &["zone", "import"]).arg(&again));
    assert_eq!(address_of(&server, "www.two.example.").as_deref(), Some("192.0.2.3"));

    let listed: Value =
        serde_json::from_str(&said(&mut to(&server, &["zone", "list", "--json"]))).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|zone| zone["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one.example.", "two.example."]);
    let table = said(&mut to(&server, &["zone", "list"]));
    assert!(table.lines().nth(1).unwrap().ends_with("operator  -"), "{table}");
    let exported = said(&mut to(&server, &["zone", "export", "two.example"]));
    assert!(exported.contains("192.0.2.3"), "{exported}");

    said(&mut to(&server, &["zone", "delete", "two.example"]));
    assert_eq!(
        server.ask("www.two.example.", RecordType::A).metadata.response_code,
        ResponseCode::Refused
    );
}

#[test]
fn a_faulty_file_is_refused_with_every_fault_and_the_others_are_taken() {
    let home = tempfile::tempdir().unwrap();
    let good = zone_file(home.path(), "good.example", "192.0.2.1");
    let bad = home.path().join("bad.example.zone");
    std::fs::write(
        &bad,
        "@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\nwww 60 A 1.2.3\nmail 60 MX ten mx\n",
    )
    .unwrap();
    let mut import = nameplane();
    import.args(["zone", "import", "--data-dir"]).arg(home.path().join("data")).args([&good, &bad]);

    let output = run(&mut import);

    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("3:") && error.contains("4:"), "{error}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("1 zones with 3 records imported, 1 refused")
    );
}

/// Goal: which of two files of one zone is taken does not depend on which was read first.
/// Method: ten zones, each in a long file and in a short one given behind it, to a directory and to a server.
#[test]
fn of_two_files_for_one_zone_the_first_given_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for zone in 0..10 {
        for (order, hosts) in [("first", 4_000), ("second", 1)] {
            let head = format!(
                "$ORIGIN z{zone}.example.\n@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\n"
            );
            let hosts = (0..hosts).map(|host| format!("{order}{host} 60 A 192.0.2.1\n"));
            let file = home.path().join(format!("{order}-of-{zone}"));
            std::fs::write(&file, head + &hosts.collect::<String>()).unwrap();
            files.push(file);
        }
    }
    let data = home.path().join("data");
    let mut import = nameplane();
    let output = run(import.args(["zone", "import", "--data-dir"]).arg(&data).args(&files));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    for zone in 0..10 {
        let why = format!("second-of-{zone}: refused: z{zone}.example. stands in ");
        let line = error.lines().find(|line| line.contains(&why)).expect(&why);
        assert!(line.contains(&format!("first-of-{zone} too, which comes first")), "{line}");
        let zone = format!("z{zone}.example");
        let text = said(nameplane().args(["zone", "export", &zone, "--data-dir"]).arg(&data));
        assert!(text.contains("first3999") && !text.contains("second"), "{zone}");
    }

    let server = Server::start();
    let (status, error) = refused(to(&server, &["zone", "import"]).args(&files[..2]));
    assert_eq!((status, error.contains("which comes first")), (1, true), "{error}");
    assert!(address_of(&server, "first0.z0.example.").is_some());
    assert!(address_of(&server, "second0.z0.example.").is_none());
}

#[test]
fn every_fault_of_a_file_is_named_with_line_and_column() {
    let output = run(nameplane().args(["zone", "check", "zones-example/faulty/broken.txt"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split(':').nth(1)).collect();
    for faulty in ["6", "7", "8", "9", "11", "12", "13"] {
        assert!(lines.contains(&faulty), "line {faulty} is not named:\n{text}");
    }
    said(nameplane().args(["zone", "check", "zones-example"]));
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_the_others_are_taken() {
    let home = tempfile::tempdir().unwrap();
    zone_file(home.path(), "one.example", "192.0.2.1");
    let list = home.path().join("list");
    std::fs::write(&list, "none.example none.zone\none.example one.example.zone\n").unwrap();
    let mut import = nameplane();
    import
        .args(["zone", "import", "--list"])
        .arg(&list)
        .arg("--data-dir")
        .arg(home.path().join("data"));
    let missing = home.path().join("none.example.zone");
    let mut check = nameplane();
    check.args(["zone", "check"]).args([&missing, &home.path().join("one.example.zone")]);
    for (command, summary) in [
        (&mut import, "1 zones with 3 records imported, 1 refused"),
        (&mut check, "one.example.zone: no faults"),
    ] {
        let output = run(command);

        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("No such file"), "{command:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(summary), "{said}");
    }
}

#[test]
fn the_apex_stands_in_a_flag_in_the_file_or_in_its_name_and_the_first_use_makes_the_operator() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let records = "@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\n";
    let (flagged, inside) = (home.path().join("flagged"), home.path().join("inside"));
    std::fs::write(&flagged, records).unwrap();
    std::fs::write(&inside, format!("$ORIGIN inside.example.\n{records}")).unwrap();
    let named = zone_file(home.path(), "named.example", "192.0.2.1");
    let import = |words: &[&std::ffi::OsStr]| {
        said(nameplane().args(["zone", "import", "--data-dir"]).arg(&data).args(words))
    };
    import(&["--zone".as_ref(), "flagged.example".as_ref(), flagged.as_os_str()]);
    import(&[inside.as_os_str(), named.as_os_str()]);

    let list = |noun: &str| -> Vec<Value> {
        let said = said(nameplane().args([noun, "list", "--json", "--data-dir"]).arg(&data));
        serde_json::from_str(&said).unwrap()
    };
    let (zones, orgs) = (list("zone"), list("org"));

    let names: Vec<_> = zones.iter().map(|zone| zone["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["flagged.example.", "inside.example.", "named.example."]);
    assert_eq!((orgs.len(), &orgs[0]["handle"]), (1, &json!("operator")));
    assert!(zones.iter().all(|zone| zone["org"] == orgs[0]["id"]), "{zones:#?}");
}

#[test]
fn a_terminal_is_shown_how_far_an_import_is_and_a_script_is_not() {
    if !is_here("script") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for zone in 0..300 {
        zone_file(home.path(), &format!("z{zone}.example"), "192.0.2.1");
    }
    let binary = env!("CARGO_BIN_EXE_nameplane");
    let (zones, data) = (home.path().display(), home.path().join("data"));
    let import = format!("{binary} zone import --data-dir {} {zones}", data.display());
    let shown = said(
        Command::new("script")
            .args(["-qec", &import, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(std::process::Stdio::null()),
    );
    assert!(shown.contains("/300 zones"), "{shown}");

    let quiet = run(Command::new("sh").args(["-c", &import]));

    assert_eq!(
        String::from_utf8(quiet.stdout).unwrap(),
        "300 zones with 900 records imported, 0 refused\n"
    );
    assert_eq!(String::from_utf8(quiet.stderr).unwrap(), "");
}

#[test]
fn what_is_odd_in_a_file_is_counted_and_does_not_keep_it_out() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("odd.example.zone");
    std::fs::write(&file, "@ 60 SOA ns.x. h.x. 1 2 3 4 5\n@ 60 NS ns.x.\n@ 60 NS ns.x.\n").unwrap();
    let output = run(nameplane()
        .args(["zone", "import", "--data-dir"])
        .arg(home.path().join("data"))
        .arg(&file));
    assert_eq!(output.status.code(), Some(0));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "nameplane: 1 warnings: nameplane zone check names them\n");
}

/// Goal: an answer does not wait for a commit on its core. Method: the priorities that the kernel tells of.
#[test]
fn threads_that_answer_go_before_those_that_change_zones() {
    let server = Server::start();
    // Something that may wait has been done by then.
    server.api("GET", "/v1/zones", None);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let nice: Vec<(String, i32)> = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap())
        .map(|stat| {
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
            (name.to_owned(), rest.split(' ').nth(16).unwrap().parse().unwrap())
        })
        .collect();
    let of = |prefix: &str| -> Vec<i32> {
        let named = nice.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(_, nice)| *nice).collect()
    };
    let own = of("nameplane");
    assert_eq!(own.len(), 1, "{nice:?}");
    for answers in ["udp-", "tcp-", "async"] {
        let found = of(answers);
        assert!(!found.is_empty() && found.iter().all(|nice| *nice == own[0]), "{nice:?}");
    }
    let back = (own[0] + 10).min(19);
    for changes in ["dns-ask-", "work", "maintain", "announce", "dnssec", "store-index", "confirm"]
    {
        let found = of(changes);
        assert!(!found.is_empty() && found.iter().all(|nice| *nice == back), "{nice:?}");
    }
}

/// Goal: an answer shares its core with no commit where the operator wants it so. Method: the cores that the
/// kernel lets each thread have, by address `[dns] udp_workers` of them for workers.
#[test]
fn pinned_workers_have_cores_that_nothing_else_is_on() {
    let cores = |stat: &std::path::Path| -> (String, Vec<usize>) {
        let status = std::fs::read_to_string(stat.join("status")).unwrap();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().to_owned()
        };
        let ranges = of("Cpus_allowed_list:");
        let range = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().unwrap()..=last.parse().unwrap()
        };
        (of("Name:"), ranges.split(',').flat_map(range).collect())
    };
    let mine = cores(std::path::Path::new("/proc/thread-self")).1;
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("nameplane.toml");
    std::fs::write(&settings, "[dns]\npin = true\n").unwrap();

    // The harness has one worker for each address.
    let server = Server::start_with(&["--config", settings.to_str().unwrap()]);

    server.api("GET", "/v1/zones", None);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let found: Vec<_> = tasks.map(|task| cores(&task.unwrap().path())).collect();
    let (workers, others): (Vec<_>, Vec<_>) =
        found.iter().partition(|(name, _)| name.starts_with("udp-"));
    assert!(!workers.is_empty() && others.len() > 5, "{found:?}");
    assert!(workers.iter().all(|(_, cores)| *cores == mine[..1]), "{found:?}");
    let left = if mine.len() > 1 { &mine[1..] } else { &mine[..] };
    assert!(others.iter().all(|(_, cores)| cores == left), "{found:?}");
}

#[test]
fn udp_workers_are_counted_for_each_address() {
    let other = format!("127.0.0.1:{}", free_port());
    // The harness has one worker for each address.
    let server = Server::start_with(&["--listen-dns", &other]);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let names =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    let workers: Vec<String> = names.filter(|name| name.starts_with("udp-")).collect();
    assert_eq!(workers.len(), 2, "{workers:?}");
    let answer = ask(other.parse().unwrap(), "x.example.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn a_data_directory_that_is_named_counts_before_a_server_in_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let mut list = nameplane();
    list.args(["org", "list", "--json"])
        .env("NAMEPLANE_SERVER", &nowhere)
        .env("NAMEPLANE_TOKEN", "x");
    assert!(refused(&mut list).1.contains(&nowhere));
    let data = home.path().join("data");
    said(nameplane().args(["org", "create", "acme", "--data-dir"]).arg(&data));

    let listed = said(list.arg("--data-dir").arg(&data));

    assert!(listed.contains("acme"), "{listed}");
    assert_eq!(refused(list.args(["--server", &nowhere])).0, 2);
}

#[test]
fn a_directory_whose_name_is_typed_wrong_is_told_and_not_made() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("dta"), home.path().join("export"));
    for words in [vec!["zone", "list"], vec!["store", "export", file.to_str().unwrap()]] {
        let (code, error) = refused(nameplane().args(&words).arg("--data-dir").arg(&data));
        assert!(code == 1 && error.contains("there is no data directory"), "{words:?}: {error}");
    }
    assert!(!data.exists() && !file.exists());
}

#[test]
fn a_signed_file_is_kept_stripped_or_refused_as_asked() {
    let home = tempfile::tempdir().unwrap();
    let file = "zones-example/signed.example.zone";
    let import = |dnssec: &str| {
        let mut command = nameplane();
        let data = home.path().join(dnssec);
        command.args(["zone", "import", "--dnssec", dnssec, "--data-dir"]).arg(data).arg(file);
        command
    };
    assert!(refused(&mut import("refuse")).1.contains("it is signed"));
    for (dnssec, signed, records) in [("keep", true, 45), ("strip", false, 15)] {
        let summary = said(&mut import(dnssec));
        assert!(summary.contains(&format!("with {records} records")), "{summary}");
        let data = home.path().join(dnssec);
        let text =
            said(nameplane().args(["zone", "export", "signed.example", "--data-dir"]).arg(data));
        assert_eq!(text.contains("RRSIG"), signed, "{dnssec}");
    }
}

#[test]
fn a_token_is_alone_on_standard_output_works_and_ends_when_revoked() {
    let server = Server::start();
    said(&mut to(&server, &["org", "create", "acme"]));
    said(&mut to(&server, &["user", "create", "joe", "--org", "acme", "--role", "member"]));
    let secret = said(&mut to(&server, &["token", "create", "--role", "member", "--org", "acme"]));
    let secret = secret.trim_end();
    assert!(!secret.contains(char::is_whitespace), "{secret}");
    let zones = |status| {
        let (found, _) = server.request("GET", "/v1/zones", Some(secret), None).unwrap();
        assert_eq!(found, status);
    };
    zones(200);
    let tokens = said(&mut to(&server, &["token", "list", "--org", "acme", "--json"]));
    assert!(!tokens.contains(secret));
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    said(&mut to(&server, &["token", "revoke", tokens[0]["id"].as_str().unwrap()]));
    zones(401);
}

#[test]
fn an_order_is_listed_shown_and_approved_from_the_command_line() {
    let server = Server::start_with(&["--demo"]);
    let state = ["order", "list", "--state", "awaiting_approval", "--json"];
    let orders: Value = serde_json::from_str(&said(&mut to(&server, &state))).unwrap();
    let id = orders[0]["id"].as_str().unwrap();
    assert!(said(&mut to(&server, &["order", "show", id])).contains("mail.shop.example."));

    assert_eq!(said(&mut to(&server, &["order", "approve", id])).trim(), "served");

    assert_eq!(address_of(&server, "mail.shop.example.").as_deref(), Some("192.0.2.112"));
}

#[test]
fn an_order_is_rejected_with_a_reason_from_the_command_line() {
    let server = Server::start_with(&["--demo"]);
    let listed = said(&mut to(&server, &["order", "list"]));
    let number = listed.split_whitespace().find(|word| word.starts_with("O-")).unwrap();
    assert_eq!(refused(&mut to(&server, &["order", "reject", number])).0, 2);

    let reject = ["order", "reject", number, "--reason", "not on a Friday"];
    assert_eq!(said(&mut to(&server, &reject)).trim(), "rejected");

    let shown = said(&mut to(&server, &["order", "show", number, "--json"]));
    let order: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown.contains("not on a Friday") && order["state"] == "rejected", "{shown}");
    assert_eq!(refused(&mut to(&server, &["order", "approve", number])).0, 1);
    assert_eq!(address_of(&server, "mail.shop.example.").as_deref(), Some("192.0.2.12"));
}

#[test]
fn faults_of_a_settings_file_come_all_at_once_and_usage_is_2() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    std::fs::write(&file, "[dns]\nlisten = 53\nworkers = 2\n").unwrap();
    let (code, error) = refused(nameplane().args(["check", "config"]).arg(&file));
    assert_eq!(code, 1);
    assert!(error.contains("line 2") && error.contains("line 3"), "{error}");
    for words in [
        "zone import",
        "zone import --zone one.example zones-example/shop.example.zone zones-example/hosting.example.zone",
        "zone import --zone a..b zones-example/shop.example.zone",
        "zone import --axfr nowhere one.example",
        "zone list --server http://127.0.0.1:1",
        "token create --role member",
        "serve --udp-workers 0",
    ] {
        let mut command = nameplane();
        command
            .args(words.split(' '))
            .env_remove("NAMEPLANE_SERVER")
            .env_remove("NAMEPLANE_TOKEN")
            .current_dir(&home);
        assert_eq!(refused(&mut command).0, 2, "{words}");
    }
    // What is wrong only with two settings together is found as well.
    std::fs::write(&file, "[primaries]\ncertificate = \"ours.pem\"\n").unwrap();
    let (code, error) = refused(nameplane().args(["check", "config"]).arg(&file));
    assert!(code == 1 && error.contains("line 2: [primaries] needs both certificate"), "{error}");
    // And what start-up would refuse, it too, all at once.
    let wrong = "[dns]\nreport_agent = \".\"\n[log]\nlevel = \"a=b=c\"\n\
                 [net]\nresolvers = \"10.9.8.7:53\"\ndial = \"0.0.0.0/0\"\n";
    std::fs::write(&file, wrong).unwrap();
    for words in [["check", "config"], ["serve", "--config"]] {
        let (code, error) = refused(nameplane().args(words).arg(&file).current_dir(&home));
        assert_eq!(code, 1, "{error}");
        for word in ["report_agent", "[log] level", "10.9.8.7:53", "10.0.0.0/8"] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
    said(nameplane().args(["check", "config", "systemd/server.toml"]));
}

#[test]
fn an_export_of_the_store_becomes_a_store_again() {
    let mut server = Server::start_with(&["--demo"]);
    let change = json!({ "zones": [{ "zone": "shop.example.", "edits": [
        { "op": "add", "name": "new", "type": "A", "ttl": 60, "records": ["192.0.2.99"] },
    ]}]});
    server.api("POST", "/v1/change-orders", Some(&change));
    server.stop();
    let home = tempfile::tempdir().unwrap();
    let (file, data) = (home.path().join("export"), home.path().join("data"));
    said(nameplane().args(["store", "export"]).arg(&file).arg("--data-dir").arg(&server.data));
    let import = |file: &Path| {
        let mut command = nameplane();
        command.args(["store", "import"]).arg(file).arg("--data-dir").arg(&data);
        command
    };
    let error = refused(&mut import(&home.path().join("none"))).1;
    assert!(error.contains("No such file"), "{error}");
    said(&mut import(&file));
    said(nameplane().args(["store", "verify", "--data-dir"]).arg(&data));

    let copy = Server::at(&data, &[]);

    assert_eq!(address_of(&copy, "new.shop.example.").as_deref(), Some("192.0.2.99"));
}

/// `nsupdate` with these lines; its standard error.
fn nsupdate(server: &Server, lines: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("nsupdate")
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("server {} {}\n{lines}send\n", server.dns.ip(), server.dns.port());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn nsupdate_changes_a_zone_from_a_listed_address_and_from_no_other() {
    if !is_here("nsupdate") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    std::fs::write(&config, "[update]\nallow_unsigned = \"127.0.0.1\"\n").unwrap();
    let open = Server::start_with(&["--config", config.to_str().unwrap()]);
    let closed = Server::start();
    let file = zone_file(home.path(), "one.example", "192.0.2.1");
    for server in [&open, &closed] {
        said(to(server, &["zone", "import"]).arg(&file));
    }
    let lines = "zone one.example\nprereq yxrrset www.one.example A\nupdate add new.one.example 60 A 192.0.2.7\n";

    assert_eq!(nsupdate(&open, lines), "");
    assert!(nsupdate(&closed, lines).contains("REFUSED"));

    assert_eq!(address_of(&open, "new.one.example.").as_deref(), Some("192.0.2.7"));
    assert_eq!(address_of(&closed, "new.one.example."), None);
    let missing =
        "zone one.example\nprereq nxdomain www.one.example\nupdate delete www.one.example\n";
    assert!(nsupdate(&open, missing).contains("YXDOMAIN"));
}

#[test]
fn dnstap_read_reads_what_a_server_has_tapped() {
    if !is_here("dnstap-read") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (config, tap) = (home.path().join("server.toml"), home.path().join("tap"));
    std::fs::write(&config, format!("[dnstap]\nfile = {:?}\n", tap.to_str().unwrap())).unwrap();
    let mut server = Server::start_with(&["--config", config.to_str().unwrap()]);
    server.ask("tapped.example.", RecordType::A);
    assert!(server.stop().success());

    let read = said(Command::new("dnstap-read").arg(&tap));

    assert!(read.contains("AQ") && read.contains("AR"), "{read}");
    assert!(read.contains("tapped.example/IN/A"), "{read}");
}
