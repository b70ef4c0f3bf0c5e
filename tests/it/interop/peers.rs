//! The other servers: found, configured for a list of zones, started, asked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::message::Answer;
use super::questions::Question;
use crate::server::{PATIENCE, free_port, is_here};

/// A server to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Nsd,
    Knot,
    Bind,
    PowerDns,
}

/// The secret of the cookies of those that check them.
pub const COOKIE_SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

/// A zone to serve: apex without its final dot, and its file.
pub type Zone = (String, PathBuf);

impl Peer {
    pub const ALL: [Peer; 4] = [Peer::Nsd, Peer::Knot, Peer::Bind, Peer::PowerDns];

    pub fn name(self) -> &'static str {
        match self {
            Peer::Nsd => "NSD",
            Peer::Knot => "Knot DNS",
            Peer::Bind => "BIND",
            Peer::PowerDns => "PowerDNS",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Peer::Nsd => "/usr/sbin/nsd",
            Peer::Knot => "/usr/sbin/knotd",
            Peer::Bind => "/usr/sbin/named",
            Peer::PowerDns => "/usr/sbin/pdns_server",
        }
    }

    /// Whether it is installed. Under `CI=true` it must be.
    pub fn is_here(self) -> bool {
        is_here(self.program())
    }

    /// Starts it in `dir` for `zones` and waits until it answers for each of them.
    pub fn start(self, zones: &[Zone], dir: &Path) -> Running {
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = match self {
            Peer::Nsd => nsd(zones, dir, port),
            Peer::Knot => knot(zones, dir, port),
            Peer::Bind => bind(zones, dir, port),
            Peer::PowerDns => powerdns(zones, dir, port),
        };
        let log = File::create(dir.join("out.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut running = Running { child, address };
        let end = Instant::now() + PATIENCE;
        for (apex, _) in zones {
            while !running.serves(apex) {
                let status = running.child.try_wait().unwrap();
                let log = fs::read_to_string(dir.join("out.log")).unwrap_or_default();
                assert!(status.is_none(), "{} ended with {status:?}:\n{log}", self.name());
                let late = Instant::now() > end;
                assert!(!late, "{} does not serve {apex}:\n{log}", self.name());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        running
    }
}

/// A peer that answers. Dropped, it is ended.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
}

impl Running {
    fn serves(&self, apex: &str) -> bool {
        use super::questions::{Edns, wire};
        let soa = Question { name: wire(apex), rtype: 6, edns: Edns::Without };
        ask_udp(self.address, &soa).is_ok_and(|(answer, _)| answer.answer.len() == 1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks one question over UDP, once; the answer and its octets.
pub fn ask_udp(server: SocketAddr, question: &Question) -> io::Result<(Answer, usize)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(server)?;
    socket.send(&question.wire(4711))?;
    let mut octets = [0; 4096];
    let len = socket.recv(&mut octets)?;
    let answer = Answer::parse(&octets[..len]);
    Ok((answer.ok_or_else(|| io::Error::other("not a message"))?, len))
}

/// Asks many questions over TCP, some at a time; the answers stand in the order of the questions.
///
/// A question the server answers by closing the connection has no answer.
pub fn ask_all(server: SocketAddr, questions: &[Question]) -> Vec<Option<Answer>> {
    let mut answers = vec![None; questions.len()];
    for (questions, answers) in questions.chunks(16).zip(answers.chunks_mut(16)) {
        if ask_chunk(server, questions, answers).is_err() {
            // One of them ended the connection: each on its own shows which.
            for (question, answer) in questions.iter().zip(answers) {
                let (question, answer) =
                    (std::slice::from_ref(question), std::slice::from_mut(answer));
                let _ = ask_chunk(server, question, answer);
            }
        }
    }
    answers
}

fn ask_chunk(
    server: SocketAddr,
    questions: &[Question],
    answers: &mut [Option<Answer>],
) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut octets = Vec::new();
    for (id, question) in questions.iter().enumerate() {
        let wire = question.wire(id as u16);
        octets.extend((wire.len() as u16).to_be_bytes());
        octets.extend(wire);
    }
    stream.write_all(&octets)?;
    for _ in questions {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut octets)?;
        let id = usize::from(u16::from_be_bytes([octets[0], octets[1]]));
        let place = answers.get_mut(id).ok_or_else(|| io::Error::other("an ID nobody used"))?;
        *place = Some(Answer::parse(&octets).ok_or_else(|| io::Error::other("not a message"))?);
    }
    Ok(())
}

fn nsd(zones: &[Zone], dir: &Path, port: u16) -> Command {
    let home = dir.display();
    let mut text = format!(
        "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n zonesdir: \"/\"\n \
         username: \"\"\n pidfile: {home}/nsd.pid\n xfrdfile: {home}/xfrd.state\n \
         xfrdir: {home}\n zonelistfile: {home}/zone.list\n database: \"\"\n \
         rrl-ratelimit: 0\n minimal-responses: yes\nremote-control:\n control-enable: no\n"
    );
    for (apex, path) in zones {
        write!(text, "zone:\n name: {apex}\n zonefile: {}\n", path.display()).unwrap();
    }
    let mut command = Command::new(Peer::Nsd.program());
    command.arg("-d").arg("-c").arg(written(dir, "nsd.conf", &text));
    command
}

fn knot(zones: &[Zone], dir: &Path, port: u16) -> Command {
    let home = dir.display();
    let mut text = format!(
        "server:\n rundir: {home}\n listen: 127.0.0.1@{port}\n udp-workers: 1\n \
         tcp-workers: 1\n background-workers: 1\nlog:\n - target: {home}/knot.log\n   \
         any: info\ndatabase:\n storage: {home}/db\nmod-cookies:\n - id: one\n   \
         secret: 0x{COOKIE_SECRET}\ntemplate:\n - id: default\n   \
         zonefile-sync: -1\n   journal-content: none\n   semantic-checks: soft\n   \
         global-module: mod-cookies/one\nzone:\n"
    );
    for (apex, path) in zones {
        write!(text, " - domain: {apex}.\n   file: {}\n", path.display()).unwrap();
    }
    let mut command = Command::new(Peer::Knot.program());
    command.arg("-c").arg(written(dir, "knot.conf", &text));
    command
}

fn bind(zones: &[Zone], dir: &Path, port: u16) -> Command {
    let home = dir.display();
    let mut text = format!(
        "options {{ directory \"{home}\"; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; minimal-responses yes; pid-file none; \
         session-keyfile none; managed-keys-directory \"{home}\"; notify no; \
         dnssec-validation no; cookie-algorithm siphash24; cookie-secret \"{COOKIE_SECRET}\"; \
         require-server-cookie yes; \
         check-integrity no; check-names primary ignore; \
         max-records-per-type 0; max-types-per-name 0; }};\ncontrols {{ }};\n"
    );
    text += &zone_statements(zones);
    let mut command = Command::new(Peer::Bind.program());
    command.args(["-g", "-4", "-n", "1", "-c"]).arg(written(dir, "named.conf", &text));
    command
}

fn powerdns(zones: &[Zone], dir: &Path, port: u16) -> Command {
    let home = dir.display();
    let list = written(dir, "zones.conf", &zone_statements(zones));
    let text = format!(
        "launch=bind\nbind-config={}\nbind-dnssec-db={home}/dnssec.db\nlocal-address=127.0.0.1\n\
         local-port={port}\nreceiver-threads=1\ndaemon=no\nguardian=no\nsocket-dir={home}\n\
         disable-syslog=yes\nloglevel=4\nsecurity-poll-suffix=\ndname-processing=yes\n\
         expand-alias=no\nany-to-tcp=no\n",
        list.display()
    );
    written(dir, "pdns.conf", &text);
    let pdnsutil = |args: &[&str]| {
        let output =
            Command::new("pdnsutil").arg("--config-dir").arg(dir).args(args).output().unwrap();
        assert!(output.status.success(), "pdnsutil {args:?}: {output:?}");
    };
    pdnsutil(&["create-bind-db", &format!("{home}/dnssec.db")]);
    for (apex, path) in zones {
        let text = fs::read_to_string(path).unwrap();
        // It does not look for itself how a zone was signed.
        let parameters =
            text.lines().find_map(|line| line.split_once("NSEC3PARAM")).map(|(_, rest)| rest);
        if let Some(parameters) = parameters.filter(|rest| rest.trim_start().starts_with('1')) {
            let mut parameters = parameters.split(';').next().unwrap().trim().to_owned();
            if text.contains("NSEC3\t1 1 ") {
                parameters.replace_range(2..3, "1");
            }
            pdnsutil(&["set-nsec3", apex, &parameters]);
        }
        if text.contains("DNSKEY") {
            pdnsutil(&["set-presigned", apex]);
        }
    }
    let mut command = Command::new(Peer::PowerDns.program());
    command.arg(format!("--config-dir={home}"));
    command
}

/// The zones as BIND's configuration has them, which PowerDNS reads too.
fn zone_statements(zones: &[Zone]) -> String {
    let statement = |(apex, path): &Zone| {
        format!("zone \"{apex}\" {{ type master; file \"{}\"; }};\n", path.display())
    };
    zones.iter().map(statement).collect()
}

fn written(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}
