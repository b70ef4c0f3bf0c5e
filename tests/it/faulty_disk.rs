//! A disk that is full, and a sync that fails: writes stop with a clear state, answers go on, and what
//! was acknowledged is there after a restart.

use std::path::{Path, PathBuf};
use std::process::Command;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::server::{Server, nameplane, skipped};

const ZONE: &str = "one.example.";

/// Octets of the small file system.
const DISK: &str = "size=96m";

/// A data directory with one zone.
fn import(data: &Path) {
    let file = data.with_extension("zone");
    let text =
        "@ 60 SOA ns.example. host.example. 1 2 3 4 5\n@ 60 NS ns.example.\nwww 60 A 192.0.2.1\n";
    std::fs::write(&file, text).unwrap();
    let import = nameplane()
        .args(["zone", "import", "--zone", ZONE, "--data-dir"])
        .args([data.as_os_str(), file.as_os_str()])
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

/// An order that gives a name an address; status and body.
fn order(server: &Server, name: &str) -> (u16, Value) {
    let edit =
        json!({ "op": "add", "name": name, "type": "A", "ttl": 60, "records": ["192.0.2.7"] });
    let body = json!({ "zones": [{ "zone": ZONE, "edits": [edit] }] });
    let token = server.operator_token();
    server.request("POST", "/v1/change-orders", Some(&token), Some(&body)).unwrap()
}

fn is_served(server: &Server, name: &str) -> bool {
    !server.ask(&format!("{name}.{ZONE}"), RecordType::A).answers.is_empty()
}

/// What holds as long as writes are stopped.
fn assert_stopped(server: &Server, why: &str) {
    let (status, problem) = order(server, "refused");
    assert_eq!(status, 503, "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains(why), "{problem:#}");
    assert!(!is_served(server, "refused"));
    assert!(is_served(server, "www"), "answers have stopped");
    let (ready, _) = server.request("GET", "/readyz", None, None).unwrap();
    assert_eq!(ready, 200);
    let (_, metrics) =
        server.request("GET", "/metrics", Some(&server.operator_token()), None).unwrap();
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("nameplane_store_writing 0"), "{metrics}");
    let token = server.operator_token();
    let (status, zones) = server.request("GET", "/v1/zones", Some(&token), None).unwrap();
    assert_eq!(status, 200, "reads have stopped: {zones:#}");
}

/// A server whose data directory is a small file system of its own, in a mount namespace of its own.
/// None where this machine does not let us make one.
struct Small {
    server: Server,
    _home: tempfile::TempDir,
}

impl Small {
    fn start(reserve: &str) -> Option<Small> {
        let may = Command::new("unshare").args(["-rm", "true"]).output();
        if !may.is_ok_and(|done| done.status.success()) {
            skipped("this machine gives no mount namespace (unshare -rm)");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let original = home.path().join("original");
        import(&original);
        let config = home.path().join("server.toml");
        std::fs::write(&config, format!("[store]\nfree_bytes_min = {reserve}\n")).unwrap();
        let script = format!(
            "mount -t tmpfs -o {DISK} tmpfs '{data}' && cp -a '{original}/.' '{data}' && exec \"$@\"",
            data = data.display(),
            original = original.display()
        );
        let words = ["unshare", "-rm", "sh", "-c", &script, "sh"];
        let flags = ["--config", config.to_str().unwrap()];
        // The token is read from the directory the server was filled from: ours has another view.
        let mut server = Server::wrapped(&data, &flags, &words);
        let token = original.join("operator.token");
        std::fs::copy(token, data.join("operator.token")).unwrap();
        server.data = data;
        Some(Small { server, _home: home })
    }

    /// The directory as the server sees it.
    fn inside(&self) -> PathBuf {
        let data = self.server.data.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.server.pid().to_string()).join("root").join(data)
    }

    /// Leaves so many octets free.
    fn fill(&self, free: u64) -> PathBuf {
        use std::io::Write;
        let ballast = self.inside().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let chunk = vec![0; 1 << 16];
        while file.write_all(&chunk).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(free)).unwrap();
        ballast
    }
}

/// Goal: below the room that is to be left free, nothing is written, and writing goes on by itself.
/// Method: a small file system, filled and emptied under the server.
#[test]
fn a_full_disk_stops_writes_until_there_is_room_again_and_answers_go_on() {
    let Some(small) = Small::start("16777216") else { return };
    let server = &small.server;
    assert_eq!(order(server, "before").0, 201);

    let ballast = small.fill(1 << 20);
    assert_stopped(server, "free");

    std::fs::remove_file(ballast).unwrap();
    let (status, body) = order(server, "after");
    assert_eq!(status, 201, "{body:#}");
    assert!(is_served(server, "before") && is_served(server, "after"));
}

/// Goal: a disk without a free octet loses nothing that was acknowledged.
/// Method: no reserve, and orders until one is refused; then a copy of the directory as it lies there,
/// with room, in a new server.
#[test]
fn a_disk_without_a_free_octet_loses_nothing_that_was_acknowledged() {
    let Some(small) = Small::start("0") else { return };
    let server = &small.server;
    small.fill(0);
    let mut acknowledged = Vec::new();
    for n in 0..10_000 {
        let name = format!("w{n}");
        match order(server, &name).0 {
            201 => acknowledged.push(name),
            503 => break,
            other => panic!("{other}"),
        }
    }
    assert_stopped(server, "free");
    let copy = tempfile::tempdir().unwrap();
    let data = copy.path().join("data");
    let done = Command::new("cp").arg("-a").args([&small.inside(), &data]).status().unwrap();
    assert!(done.success());
    std::fs::remove_file(data.join("ballast")).unwrap();
    drop(small);

    let server = Server::at(&data, &[]);

    assert!(is_served(&server, "www"));
    for name in &acknowledged {
        assert!(is_served(&server, name), "{name} was acknowledged and is gone");
    }
    assert!(!is_served(&server, "refused"));
    assert_eq!(order(&server, "after").0, 201);
}

/// A library that makes every sync fail while a file says so.
const FAILING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *path = getenv("FAILING_SYNC");
    return path && access(path, F_OK) == 0;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (fails()) { errno = EIO; return -1; }
    return real(fd);
}
"#;

/// Goal: an order whose sync fails is not acknowledged, nothing is written behind it, answers go on.
/// Method: the C library's sync calls are replaced by ones that fail on demand.
#[test]
fn a_failing_sync_stops_writes_until_a_restart_and_answers_go_on() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    import(&data);
    let (source, library) = (home.path().join("sync.c"), home.path().join("sync.so"));
    std::fs::write(&source, FAILING_SYNC).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.unwrap().success(), "cc, which links this test, cannot compile");
    let failing = home.path().join("failing");
    let preload = format!("LD_PRELOAD={}", library.display());
    let switch = format!("FAILING_SYNC={}", failing.display());
    let mut server = Server::wrapped(&data, &[], &["env", &preload, &switch]);
    assert_eq!(order(&server, "before").0, 201);

    std::fs::write(&failing, "").unwrap();
    let (status, problem) = order(&server, "refused");
    assert_eq!(status, 503, "{problem:#}");
    assert_stopped(&server, "sync");
    std::fs::remove_file(&failing).unwrap();
    // A disk that once lost a sync is not trusted again without a person.
    assert_stopped(&server, "sync");
    server.kill();
    server.restart();

    assert!(is_served(&server, "before"));
    assert_eq!(order(&server, "after").0, 201);
}
