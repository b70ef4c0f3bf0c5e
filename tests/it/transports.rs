//! Every way a question can come, from outside: the same answer by each, the tools people have, a
//! balancer in front, a certificate that changes, a collector that listens along.

mod clients;
mod limits;
mod messages;
mod web;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::interop;
use crate::interop::message::Answer;
use crate::interop::questions::{self, Edns, Question};
use crate::server::{PATIENCE, Server, free_port, is_here};

/// A server on all transports, and where they are.
struct Ways {
    server: Server,
    dot: SocketAddr,
    doq: SocketAddr,
    doh: SocketAddr,
    home: tempfile::TempDir,
}

impl Ways {
    /// Serves the zones of the suites; `more` are settings besides the addresses, `tls` those of TLS.
    fn start(more: &str, tls: &str) -> Ways {
        Ways::of(interop::zones(), more, tls)
    }

    /// Serves these zones.
    fn of(zones: Vec<interop::Zone>, more: &str, tls: &str) -> Ways {
        let home = tempfile::tempdir().unwrap();
        let data = interop::import(&zones, home.path());
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (secure, doh) = (local(free_port()), local(free_port()));
        let settings = format!(
            "{more}\n[dns.tcp]\nidle_timeout_s = 120\n[dns.tls]\ndot = \"{secure}\"\ndoq = \"{secure}\"\ndoh = \"{doh}\"\n{tls}\n"
        );
        let config = home.path().join("server.toml");
        fs::write(&config, settings).unwrap();
        let server = Server::at(&data, &["--config", config.to_str().unwrap()]);
        Ways { server, dot: secure, doq: secure, doh, home }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What a command says; it must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Open connections of every kind to one server.
struct Clients {
    udp: SocketAddr,
    tcp: TcpStream,
    dot: tokio_rustls::client::TlsStream<TcpStream>,
    doq: quinn::Connection,
    h2: clients::H2,
    h3: clients::H3,
}

impl Clients {
    async fn open(ways: &Ways) -> Clients {
        Clients {
            udp: ways.server.dns,
            tcp: TcpStream::connect(ways.server.dns).await.unwrap(),
            dot: clients::connect_tls(Ipv4Addr::LOCALHOST, ways.dot, b"", b"dot").await.0,
            doq: clients::connect_quic(ways.doq, b"doq").await.0,
            h2: clients::connect_h2(ways.doh).await,
            h3: clients::connect_h3(ways.doh).await,
        }
    }

    /// The answers to `question`, by every way; that by UDP first.
    async fn ask(&mut self, question: &Question) -> Vec<(&'static str, Answer)> {
        let replies = self.exchange(&question.wire(7)).await;
        replies.map(|(way, reply)| (way, Answer::parse(&reply).unwrap())).into()
    }

    /// What comes back for `message` by every way, with ID 0 where there is to be none; that by UDP first.
    async fn exchange(&mut self, message: &[u8]) -> [(&'static str, Vec<u8>); WAYS] {
        let nameless = [&[0, 0], &message[2..]].concat();
        [
            ("UDP", clients::udp(self.udp, message).await),
            ("TCP", clients::framed(&mut self.tcp, message).await),
            ("DoT", clients::framed(&mut self.dot, message).await),
            ("DoQ", clients::doq(&self.doq, &nameless).await),
            ("DoH, h2, GET", clients::doh2(&mut self.h2, &Method::GET, &nameless).await),
            ("DoH, h2, POST", clients::doh2(&mut self.h2, &Method::POST, &nameless).await),
            ("DoH, h3, GET", clients::doh3(&mut self.h3, &Method::GET, &nameless).await),
            ("DoH, h3, POST", clients::doh3(&mut self.h3, &Method::POST, &nameless).await),
        ]
    }
}

/// How many ways there are.
const WAYS: usize = 8;

/// Goal: same question, any transport, same sections.
/// Method: questions near every owner of nasty zones, with EDNS and without, by eight ways at one server; what
/// comes by UDP may be cut, and says so.
#[test]
fn the_same_question_has_the_same_sections_by_any_transport() {
    let ways = Ways::start("", "");
    let all: Vec<Question> = interop::zones()
        .iter()
        .flat_map(|(apex, path)| questions::questions(apex, &fs::read_to_string(path).unwrap()))
        .collect();
    let runtime = runtime();
    let clients = std::cell::RefCell::new(runtime.block_on(Clients::open(&ways)));
    let edns = prop_oneof![Just(Edns::Without), Just(Edns::Plain), Just(Edns::Dnssec)];
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });

    let held = runner.run(&(any::<Index>(), edns), |(index, edns)| {
        let question = Question { edns, ..index.get(&all).clone() };
        let answers = runtime.block_on(clients.borrow_mut().ask(&question));
        let (_, whole) = &answers[1];
        prop_assert!(answers[0].1.is_part_of(whole), "{question}\nUDP {}\n{whole}", answers[0].1);
        for (way, answer) in &answers[2..] {
            prop_assert_eq!(answer, whole, "{} by {}", &question, way);
        }
        Ok(())
    });

    held.unwrap();
}

/// A name all transports are asked for, and its only address.
const NAME: &str = "www.shop.example";

fn kdig(port: u16, words: &[&str]) -> String {
    let port = port.to_string();
    let mut command = Command::new("kdig");
    said(command.args(["@127.0.0.1", "-p", &port, "+short", "+time=20"]).args(words))
}

#[test]
fn kdig_and_curl_get_the_same_answer_by_every_transport() {
    if !["kdig", "curl"].into_iter().all(is_here) {
        return;
    }
    let ways = Ways::start("", "");
    let plain = kdig(ways.server.dns.port(), &[NAME, "A"]);
    assert!(plain.lines().last().unwrap().parse::<Ipv4Addr>().is_ok(), "{plain}");

    for (port, how) in [
        (ways.server.dns.port(), "+tcp"),
        (ways.dot.port(), "+tls"),
        (ways.doq.port(), "+quic"),
        (ways.doh.port(), "+https"),
        (ways.doh.port(), "+https-get"),
    ] {
        assert_eq!(kdig(port, &[how, NAME, "A"]), plain, "{how}");
    }

    let query = Question { name: questions::wire(NAME), rtype: 1, edns: Edns::Without }.wire(0);
    let body = ways.home.path().join("body");
    let mut curl = Command::new("curl");
    curl.args(["-sSk", "--http2", "-D", "-", "-o"]).arg(&body);
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&query)
    };
    let head = said(curl.arg(format!("https://{}/dns-query?dns={encoded}", ways.doh)));
    let head = head.to_lowercase();
    assert!(head.starts_with("http/2 200"), "{head}");
    assert!(head.contains("content-type: application/dns-message"), "{head}");
    let answer = Answer::parse(&fs::read(&body).unwrap()).unwrap();
    let smallest = answer.answer.iter().map(|record| record.ttl).min().unwrap();
    assert!(head.contains(&format!("cache-control: max-age={smallest}\r")), "{head}");
}

/// The header a balancer at 127.0.0.2 sends for `client` (PROXY protocol 2.2).
fn proxied(client: SocketAddrV4) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.ip().octets());
    header.extend([127, 0, 0, 1]);
    header.extend(client.port().to_be_bytes());
    header.extend([0, 53]);
    header
}

/// Goal: a listed balancer speaks for its clients, and nobody else does.
/// Method: a tap says whom the server took for the client.
#[test]
fn a_listed_balancer_tells_the_client_and_no_other_address_can() {
    if !["kdig", "dnstap-read"].into_iter().all(is_here) {
        return;
    }
    const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let home = tempfile::tempdir().unwrap();
    let tap = home.path().join("tap");
    let more = format!("[dns]\nbalancers = \"{BALANCER}\"\n[dnstap]\nfile = {tap:?}");
    let mut ways = Ways::start(&more, "");
    let port = ways.server.dns.port().to_string();
    let kdig = |words: &[&str]| {
        let mut command = Command::new("kdig");
        command.args(["@127.0.0.1", "-p", &port, "+short", "+time=2", "+retry=0"]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };

    let plain = kdig(&[NAME, "A"]);
    let told = "+proxy=192.0.2.7#4007-127.0.0.1#53";
    assert_eq!(kdig(&["-b", "127.0.0.2", told, NAME, "A"]), plain);
    let told = "+proxy=192.0.2.8#4008-127.0.0.1#53";
    assert_eq!(kdig(&["-b", "127.0.0.2", told, "+tcp", NAME, "A"]), plain);
    let query = Question { name: questions::wire(NAME), rtype: 1, edns: Edns::Plain }.wire(7);
    let header = proxied("192.0.2.9:4009".parse().unwrap());
    let reply = runtime().block_on(async {
        let (mut stream, _) = clients::connect_tls(BALANCER, ways.dot, &header, b"dot").await;
        clients::framed(&mut stream, &query).await
    });
    assert!(!Answer::parse(&reply).unwrap().answer.is_empty());
    // What the balancer says without a header is not heard; nor is who is no balancer.
    for how in ["+notcp", "+tcp"] {
        assert!(!kdig(&["-b", "127.0.0.2", how, NAME, "A"]).contains(plain.trim()), "{how}");
        let told = "+proxy=192.0.2.66#4066-127.0.0.1#53";
        assert!(!kdig(&[told, how, NAME, "A"]).contains(plain.trim()), "{how}");
    }

    assert!(ways.server.stop().success());
    let tapped = said(Command::new("dnstap-read").arg(&tap));
    for client in ["192.0.2.7:4007", "192.0.2.8:4008", "192.0.2.9:4009"] {
        assert!(tapped.contains(client), "{client}: {tapped}");
    }
    assert!(!tapped.contains("192.0.2.66"), "{tapped}");
}

/// Writes a new certificate and its key; returns it in DER.
fn certify(chain: &Path, key: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
    fs::write(chain, made.cert.pem()).unwrap();
    made.cert.der().to_vec()
}

/// What the server presents by TLS, by QUIC and by HTTPS.
async fn presented(ways: &Ways) -> [Vec<u8>; 3] {
    let own = Ipv4Addr::LOCALHOST;
    [
        clients::connect_tls(own, ways.dot, b"", b"dot").await.1,
        clients::connect_quic(ways.doq, b"doq").await.1,
        clients::connect_tls(own, ways.doh, b"", b"h2").await.1,
    ]
}

#[test]
fn a_changed_certificate_is_presented_without_a_restart_and_a_bad_one_never() {
    let home = tempfile::tempdir().unwrap();
    let (chain, key) = (home.path().join("chain.pem"), home.path().join("key.pem"));
    let first = certify(&chain, &key);
    let ways = Ways::start("", &format!("certificate = {chain:?}\nkey = {key:?}"));
    let runtime = runtime();
    let shown = || runtime.block_on(presented(&ways));
    assert_eq!(shown(), [&first, &first, &first].map(Clone::clone));

    fs::write(&chain, "no certificate").unwrap();
    ways.server.logs("the old one stays");
    assert_eq!(shown(), [&first, &first, &first].map(Clone::clone));

    let second = certify(&chain, &key);
    let end = Instant::now() + PATIENCE;
    while shown() != [&second, &second, &second].map(Clone::clone) {
        assert!(Instant::now() < end, "{}", ways.server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Goal: what a collector sees is what passed, whatever way it took.
#[test]
fn a_tap_hears_every_transport() {
    let home = tempfile::tempdir().unwrap();
    let tap = home.path().join("tap");
    let mut ways = Ways::start(&format!("[dnstap]\nfile = {tap:?}"), "");
    let message = |way: &str, id| {
        let name = questions::wire(&format!("{way}.shop.example"));
        Question { name, rtype: 1, edns: Edns::Plain }.wire(id)
    };
    runtime().block_on(async {
        let mut clients = Clients::open(&ways).await;
        clients::udp(clients.udp, &message("by-udp", 7)).await;
        clients::framed(&mut clients.tcp, &message("by-tcp", 7)).await;
        clients::framed(&mut clients.dot, &message("by-dot", 7)).await;
        clients::doq(&clients.doq, &message("by-doq", 0)).await;
        clients::doh2(&mut clients.h2, &Method::GET, &message("by-h2", 0)).await;
        clients::doh3(&mut clients.h3, &Method::POST, &message("by-h3", 0)).await;
    });
    assert!(ways.server.stop().success());

    let tapped = said(Command::new("dnstap-read").arg(&tap));

    for way in ["by-udp", "by-tcp", "by-dot", "by-doq", "by-h2", "by-h3"] {
        let lines =
            tapped.lines().filter(|line| line.contains(&format!("{way}.shop.example/IN/A")));
        let kinds: Vec<_> = lines.filter_map(|line| line.split_whitespace().nth(2)).collect();
        assert_eq!(kinds, ["AQ", "AR"], "{way}: {tapped}");
    }
}
