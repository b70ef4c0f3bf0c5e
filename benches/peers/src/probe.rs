//! One question, to see whether a server answers for a zone yet.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Whether `server` answers the SOA of `apex` with authority.
pub fn soa(server: SocketAddr, apex: &str) -> bool {
    let mut query = vec![0x4E, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in apex.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 6, 0, 1]);
    let mut answer = [0; 1500];
    let asked = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(&query)?;
        socket.recv(&mut answer)
    });
    // QR and AA set, no error, one record in the answer section.
    asked.is_ok_and(|len| {
        len > query.len()
            && answer[..2] == query[..2]
            && answer[2] & 0x84 == 0x84
            && answer[3] & 15 == 0
            && answer[7] == 1
    })
}
