//! Cookies of one secret, made by one server and shown to another.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use super::peers::{COOKIE_SECRET, Peer};
use super::questions::wire;
use super::{import, serve_with};
use crate::server::{PATIENCE, Server};

const CLIENT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const BADCOOKIE: u16 = 23;

/// The extended RCODE of the answer to `shop.example SOA` with this cookie, and the cookie in it.
fn ask(server: SocketAddr, cookie: &[u8]) -> (u16, Vec<u8>) {
    let mut query = b"\0\x07\0\0\0\x01\0\0\0\0\0\x01".to_vec();
    query.extend(wire("shop.example"));
    query.extend(b"\0\x06\0\x01\0\0\x29\x04\xd0\0\0\0\0\0");
    query.extend([4 + cookie.len() as u8, 0, 10, 0, cookie.len() as u8]);
    query.extend(cookie);
    // One address for all servers: the cookie is good for it alone.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&query).unwrap();
    let mut octets = [0; 1232];
    let len = socket.recv(&mut octets).unwrap();
    let reply = &octets[..len];
    let find = |what: &[u8]| reply.windows(what.len()).position(|octets| octets == what);
    let opt = find(b"\0\0\x29").unwrap();
    let option = find(&[&[0, 10, 0, 24], &CLIENT[..]].concat()).unwrap();
    let rcode = u16::from(reply[opt + 5]) << 4 | u16::from(reply[3] & 15);
    (rcode, reply[option + 4..option + 28].to_vec())
}

/// RFC 9018: servers of one anycast set may be of several makes.
#[test]
fn rfc9018_a_cookie_is_good_at_every_server_that_has_its_secret() {
    let home = tempfile::tempdir().unwrap();
    let file: PathBuf = fs::canonicalize("zones-example/shop.example.zone").unwrap();
    let zones = vec![("shop.example".to_owned(), file)];
    let settings = format!("[dns]\ncookie_secret = \"{COOKIE_SECRET}\"\n");
    let server = serve_with(&import(&zones, home.path()), home.path(), &settings);
    for peer in [Peer::Bind, Peer::Knot].into_iter().filter(|peer| peer.is_here()) {
        let dir = home.path().join(format!("{peer:?}"));
        fs::create_dir(&dir).unwrap();
        let running = peer.start(&zones, &dir);

        let (_, ours) = ask(server.dns, &CLIENT);
        let (_, theirs) = ask(running.address, &CLIENT);

        assert_eq!(ask(running.address, &ours).0, 0, "{}", peer.name());
        let (rcode, kept) = ask(server.dns, &theirs);
        assert_eq!((rcode, &kept), (0, &theirs), "{}", peer.name());
        let mut forged = ours.clone();
        forged[23] ^= 1;
        assert_eq!(ask(running.address, &forged).0, BADCOOKIE, "{}", peer.name());
        assert_ne!(ask(server.dns, &forged).1, forged);
    }
}

/// Goal: a secret is exchanged without turning clients away (RFC 9018 §5).
/// Method: a cookie of before goes to a server on its way, and what that gives in return to one that has left the old
/// secret behind.
#[test]
fn rfc9018_5_cookies_of_the_old_secret_are_good_until_it_is_taken_away() {
    const NEW: &str = "445536bcd2513298075a5d379663c962";
    let home = tempfile::tempdir().unwrap();
    let file: PathBuf = fs::canonicalize("zones-example/shop.example.zone").unwrap();
    let zones = vec![("shop.example".to_owned(), file)];
    let with = |name: &str, secrets: &str| {
        let home = home.path().join(name);
        fs::create_dir(&home).unwrap();
        serve_with(&import(&zones, &home), &home, &format!("[dns]\ncookie_secret = [{secrets}]\n"))
    };
    let before = with("before", &format!("\"{COOKIE_SECRET}\""));
    let between = with("between", &format!("\"{NEW}\", \"{COOKIE_SECRET}\""));
    let after = with("after", &format!("\"{NEW}\""));
    let states = |server: &Server| {
        let (_, text) = server.request("GET", "/metrics", None, None).unwrap();
        let text = text.as_str().unwrap().to_owned();
        ["valid", "bad"].map(|state| {
            let name = format!("nameplane_dns_cookies_total{{state=\"{state}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
            line.parse::<f64>().unwrap()
        })
    };

    let (_, old) = ask(before.dns, &CLIENT);
    let (_, new) = ask(between.dns, &old);
    assert_eq!(states(&between), [1.0, 0.0]);
    assert_eq!(ask(after.dns, &new).1, new);
    assert_ne!(ask(after.dns, &old).1, old);
    assert_eq!(states(&after), [1.0, 1.0]);
}
