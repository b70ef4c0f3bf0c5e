//! The real binary on free loopback ports, and clients for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::Value;

/// How long anything may take before a test gives up on it. Never a claim, only an end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One running server. Dropped, it is killed.
pub struct Server {
    child: Option<Child>,
    pub data: PathBuf,
    pub dns: SocketAddr,
    pub http: SocketAddr,
    flags: Vec<String>,
    /// What the binary is started by: a program and its words, or nothing.
    wrapper: Vec<String>,
    // Kept so that the directory outlives the server.
    _home: Option<tempfile::TempDir>,
}

/// The binary under test.
pub fn nameplane() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nameplane"))
}

/// Whether a program other than ours is there. A test that needs one and has it not ends there, named as skipped.
pub fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let here = places.any(|dir| dir.join(program).is_file());
    if !here {
        skipped(&format!("{program} is not installed"));
    }
    here
}

/// Names the running test as skipped. Under `CI=true` that is a failure.
pub fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    let thread = std::thread::current();
    // By no macro: what those print is shown of failing tests only.
    let _ = writeln!(std::io::stderr(), "skipped: {}: {why}", thread.name().unwrap_or_default());
}

/// A port free for UDP and TCP, that nobody is given by chance.
///
/// Ports the system hands out itself begin at 32768: one of those, free now, may be the near end of some
/// connection by the time the server wants it. Below, each port is given once in this process, and
/// processes begin at places of their own.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand_id()));
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + next % (PORTS.end - PORTS.start);
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        if udp.is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts on an empty data directory of its own.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// Starts on an empty data directory with more flags.
    pub fn start_with(flags: &[&str]) -> Server {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let mut server = Server::at(&data, flags);
        server._home = Some(home);
        server
    }

    /// Starts on a data directory that is there, or will be.
    pub fn at(data: &Path, flags: &[&str]) -> Server {
        Server::wrapped(data, flags, &[])
    }

    /// The same by way of another program, which must become the server (`exec`).
    pub fn wrapped(data: &Path, flags: &[&str], wrapper: &[&str]) -> Server {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Server {
            child: None,
            data: data.to_owned(),
            dns: local(free_port()),
            http: local(free_port()),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            wrapper: wrapper.iter().map(|&word| word.to_owned()).collect(),
            _home: None,
        };
        server.restart();
        server
    }

    /// Starts again on the same directory and ports, and waits until it is ready.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "stop or kill it first");
        self.spawn();
        self.wait_until_ready();
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .unwrap();
        let mut command = match self.wrapper.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(env!("CARGO_BIN_EXE_nameplane"));
                command
            }
            None => nameplane(),
        };
        let child = command
            .arg("serve")
            .args(["--data-dir".as_ref(), self.data.as_os_str()])
            .args(["--listen-dns", &self.dns.to_string(), "--listen-http", &self.http.to_string()])
            .args(["--udp-workers", "1"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn wait_until_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.request("GET", "/readyz", None, None).is_ok_and(|(status, _)| status == 200) {
                return;
            }
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                let log = self.log();
                // A peer's question went out from that port just now: some choose from all there are.
                assert!(log.contains("cannot be listened on"), "it ended with {status:?}:\n{log}");
                self.spawn();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server is not ready:\n{}", self.log());
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// Waits until it has written this: threads of the server write when they come to it.
    #[track_caller]
    pub fn logs(&self, words: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < end, "{words:?} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it as an operator would; returns its exit status.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
        child.wait().unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The secret a first start leaves for the operator.
    pub fn operator_token(&self) -> String {
        std::fs::read_to_string(self.data.join("operator.token")).unwrap().trim().to_owned()
    }

    /// One API request; status and body, whatever the status.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(u16, Value), ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.http));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body.to_string())?)
            }
            None => agent.run(request.body(())?),
        };
        let mut response = sent?;
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text)?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((response.status().as_u16(), value))
    }

    /// An API request as the operator that must succeed.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let token = self.operator_token();
        let (status, value) = self.request(method, path, Some(&token), body).unwrap();
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {value:#}\n{}",
            self.log()
        );
        value
    }

    /// Standard output of a command as the operator, which must succeed.
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command as the operator complains of, which must fail.
    pub fn failed(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn ran(&self, words: &[&str]) -> std::process::Output {
        let mut command = nameplane();
        command.args(words).stdin(Stdio::null());
        command.env("NAMEPLANE_SERVER", format!("http://{}", self.http));
        command.env("NAMEPLANE_TOKEN", self.operator_token());
        command.output().unwrap()
    }

    /// Asks over UDP.
    pub fn ask(&self, name: &str, rtype: RecordType) -> Message {
        ask(self.dns, name, rtype)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A query message with recursion not desired.
pub fn question(name: &str, rtype: RecordType) -> Message {
    let mut query = Message::new(rand_id(), MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    query
}

fn rand_id() -> u16 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u16
}

/// Asks one server over UDP, again until it answers.
pub fn ask(server: SocketAddr, name: &str, rtype: RecordType) -> Message {
    let query = question(name, rtype);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.connect(server).unwrap();
    let mut buffer = [0; 65535];
    for _ in 0..10 {
        let _ = socket.send(&query.to_vec().unwrap());
        if let Ok(len) = socket.recv(&mut buffer) {
            let answer = Message::from_vec(&buffer[..len]).unwrap();
            if answer.metadata.id == query.metadata.id {
                return answer;
            }
        }
    }
    panic!("{server} does not answer {name} {rtype}");
}
