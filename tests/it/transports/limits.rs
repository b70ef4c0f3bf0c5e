//! What one client may take, from outside: connections, time, answers; and what gets no reply at all.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Instant;

use crate::interop::message::{Answer, TC};
use crate::interop::questions::{Edns, Question, wire};
use crate::server::{PATIENCE, Server};

/// A server without zones, with these settings.
fn server(settings: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.toml");
    fs::write(&config, settings).unwrap();
    Server::start_with(&["--config", config.to_str().unwrap()])
}

fn query(id: u16) -> Vec<u8> {
    Question { name: wire("nobodys.example"), rtype: 1, edns: Edns::Plain }.wire(id)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.dns).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.dns).unwrap();
    socket
}

/// The next message of a stream; none once the server has ended it.
fn next(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut octets = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut octets).unwrap();
    Some(octets)
}

/// Whether a question is answered on this connection.
fn is_answered(stream: &mut TcpStream) -> bool {
    let _ = stream.write_all(&framed(&query(7)));
    next(stream).is_some()
}

/// Whether the server ends a connection by itself.
fn is_ended(mut stream: TcpStream) -> bool {
    let began = Instant::now();
    let mut octet = [0];
    // An end, or a reset where something had not been read; what it is not is the end of our patience.
    !matches!(stream.read(&mut octet), Ok(1..)) && began.elapsed() < PATIENCE
}

#[test]
fn an_address_has_its_share_of_connections_and_gets_it_back() {
    let server = server("[dns.tcp]\nconnections_per_address_max = 2\n");
    let (mut first, mut second) = (connect(&server), connect(&server));
    assert!(is_answered(&mut first) && is_answered(&mut second));
    assert!(is_ended(connect(&server)));

    drop(first);
    let end = Instant::now() + PATIENCE;
    while !is_answered(&mut connect(&server)) {
        assert!(Instant::now() < end, "the place of who left is not given again");
    }
    assert!(is_answered(&mut second));
}

/// How long the server says an idle connection may be, in tenths of a second.
fn keepalive(stream: &mut TcpStream) -> u16 {
    let mut message = query(7);
    let at = message.len() - 2;
    message.splice(at.., [0, 4, 0, 11, 0, 0]);
    stream.write_all(&framed(&message)).unwrap();
    let reply = next(stream).unwrap();
    let at = reply.windows(4).rposition(|octets| octets == [0, 11, 0, 2]).unwrap();
    u16::from_be_bytes([reply[at + 4], reply[at + 5]])
}

/// Goal: a full house takes nobody more until somebody leaves, and before that asks all to be brief.
#[test]
fn all_connections_have_a_number_and_the_fuller_the_house_the_shorter_the_stay() {
    let server = server("[dns.tcp]\nconnections_max = 4\nidle_timeout_s = 60\n");
    let mut inside: Vec<TcpStream> = Vec::new();
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&server);
        told.push(keepalive(&mut stream));
        inside.push(stream);
    }
    assert_eq!(told[..2], [600, 600]);
    assert!(told[2] < told[1] && told[3] < told[2] && told[3] > 0, "{told:?}");

    let mut next_one = connect(&server);
    next_one.write_all(&framed(&query(7))).unwrap();
    next_one.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(next_one.read(&mut [0]).is_err(), "there is no place for a fifth");
    drop(inside.pop());
    next_one.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(next(&mut next_one).is_some());
}

/// Goal: what is sent back to its sender ends there: a server's own reply is no question.
#[test]
fn a_reply_sent_back_is_not_answered() {
    let server = server("");
    let socket = socket(&server);
    let mut octets = [0; 1232];
    socket.send(&query(1)).unwrap();
    let len = socket.recv(&mut octets).unwrap();
    let reply = octets[..len].to_vec();
    for _ in 0..3 {
        socket.send(&reply).unwrap();
    }
    socket.send(&query(2)).unwrap();
    socket.recv(&mut octets).unwrap();
    assert_eq!(octets[..2], [0, 2]);
}

#[test]
fn who_asks_nothing_or_half_a_question_is_let_go() {
    let server = server("[dns.tcp]\nidle_timeout_s = 1\n");
    let (silent, mut half, mut response) = (connect(&server), connect(&server), connect(&server));
    half.write_all(&framed(&query(7))[..9]).unwrap();
    let mut message = query(7);
    message[2] |= 0x80;
    response.write_all(&framed(&message)).unwrap();
    assert!(is_ended(response), "what is no query ends a stream");
    assert!(is_ended(silent));
    assert!(is_ended(half));
}

#[test]
fn questions_sent_at_once_are_all_answered() {
    let server = server("");
    let mut stream = connect(&server);
    let all: Vec<u8> = (0..500).flat_map(|id| framed(&query(id))).collect();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&all).unwrap());

    let mut ids: Vec<u16> = (0..500)
        .map(|_| next(&mut stream).unwrap())
        .map(|reply| u16::from_be_bytes([reply[0], reply[1]]))
        .collect();

    writing.join().unwrap();
    ids.sort_unstable();
    assert_eq!(ids, (0..500).collect::<Vec<_>>());
}

/// Goal: two servers cannot be set to answer each other.
#[test]
fn what_is_a_response_gets_no_reply() {
    let server = server("");
    let socket = socket(&server);
    let mut reply = [0; 1232];
    for flags in [0x80, 0x84, 0xA8] {
        let mut message = query(1);
        message[2] = flags;
        socket.send(&message).unwrap();
        socket.send(&message[..11]).unwrap();
    }
    socket.send(&query(2)).unwrap();
    let len = socket.recv(&mut reply).unwrap();
    assert_eq!(reply[..2], [0, 2], "{:?}", &reply[..len]);
}

/// Goal: past the rate an address that may be forged gets silence and now and then TC, never more than it sent
/// for; who shows that it is there is answered.
#[test]
fn past_its_rate_an_address_gets_silence_or_tc_and_tcp_is_answered() {
    const ASKED: usize = 200;
    let settings =
        "[dns.rate_limit]\nenabled = true\nexempt = []\nresponses_per_second = 5\nslip = 2\n";
    let server = server(settings);
    let socket = socket(&server);
    let (mut whole, mut cut) = (0, 0);
    let mut reply = [0; 1232];
    for id in 0..ASKED {
        socket.send(&query(id as u16)).unwrap();
    }
    // The last one is answered or not: a question by TCP behind them shows that they were dealt with.
    let mut stream = connect(&server);
    for _ in 0..20 {
        assert!(is_answered(&mut stream));
    }
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    while let Ok(len) = socket.recv(&mut reply) {
        let answer = Answer::parse(&reply[..len]).unwrap();
        assert!(len <= query(0).len() + 200, "{answer}");
        if answer.flags & TC != 0 { cut += 1 } else { whole += 1 }
    }
    let text = match server.request("GET", "/metrics", None, None).unwrap() {
        (200, serde_json::Value::String(text)) => text,
        other => panic!("{other:?}"),
    };
    let count = |action: &str| {
        let name = format!("nameplane_dns_rate_limited_total{{action=\"{action}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        line.parse::<f64>().unwrap() as usize
    };
    assert!(whole >= 5 && cut > 0, "{whole} whole, {cut} cut");
    assert_eq!(cut, count("slipped"));
    assert_eq!(whole + cut + count("dropped"), ASKED);
    assert!(count("dropped") >= cut, "every second one is told");
}
