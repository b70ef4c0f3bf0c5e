//! One question: whether a server answers for a zone yet, and what nameplane says of its memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Whether `server` answers the SOA of `apex` with authority.
pub fn soa(server: SocketAddr, apex: &str) -> bool {
    answers(server, apex, false) == Some(1)
}

/// Whether `server` answers the SOA of `apex` with its signature.
pub fn signed(server: SocketAddr, apex: &str) -> bool {
    answers(server, apex, true) == Some(2)
}

/// Records in the answer section of the SOA's answer; none if it is no good.
fn answers(server: SocketAddr, apex: &str, dnssec: bool) -> Option<u8> {
    let mut query = vec![0x4E, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec)];
    for label in apex.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 6, 0, 1]);
    if dnssec {
        query.extend_from_slice(&[0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0, 0, 0]);
    }
    let mut answer = [0; 1500];
    let asked = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(&query)?;
        socket.recv(&mut answer)
    });
    // QR and AA set, no error.
    let good = asked.is_ok_and(|len| {
        len > query.len()
            && answer[..2] == query[..2]
            && answer[2] & 0x84 == 0x84
            && answer[3] & 15 == 0
    });
    good.then_some(answer[7])
}

/// The value of a gauge without labels at nameplane's `/metrics`.
pub fn gauge(http: SocketAddr, name: &str) -> Option<u64> {
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse::<f64>().ok().map(|value| value as u64)
}
