//! The PROXY protocol, version 2: who the client is, as told by a load balancer in front.
//!
//! Only listed addresses may tell it, and they must: whatever else they send is refused, for it would
//! be taken as the balancer's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header starts with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of a header before its addresses.
const FIXED_OCTETS: usize = 16;

/// Octets of addresses and extras a balancer may send.
const REST_OCTETS_MAX: usize = 2048;

/// What a header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Octets of the header.
    pub len: usize,
    /// The client; none when the balancer speaks for itself, as in health checks.
    pub client: Option<SocketAddr>,
}

/// No PROXY header of version 2, or not a whole one. The balancer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader;

/// Reads the header at the start of `octets`.
///
/// # Errors
///
/// [`BadHeader`]
pub fn read(octets: &[u8]) -> Result<Told, BadHeader> {
    let (fixed, rest) = octets.split_first_chunk::<FIXED_OCTETS>().ok_or(BadHeader)?;
    let rest_len = rest_len(fixed)?;
    let rest = rest.get(..rest_len).ok_or(BadHeader)?;
    let len = FIXED_OCTETS + rest_len;
    let &[.., command, family, _, _] = fixed;
    match command {
        0x20 => return Ok(Told { len, client: None }),
        0x21 => {}
        _ => return Err(BadHeader),
    }
    let client = match family >> 4 {
        1 => {
            let (ip, ports) = rest.split_first_chunk::<8>().ok_or(BadHeader)?;
            let &[a, b, c, d, ..] = ip;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port(ports)?))
        }
        2 => {
            let (ips, ports) = rest.split_first_chunk::<32>().ok_or(BadHeader)?;
            let source = ips.first_chunk::<16>().ok_or(BadHeader)?;
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*source)), port(ports)?))
        }
        _ => None, // unspecified, or a local socket of the balancer's
    };
    Ok(Told { len, client })
}

/// Takes the header off the start of a stream.
///
/// # Errors
///
/// [`BadHeader`], also when the stream ends or fails first.
pub async fn take<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Told, BadHeader> {
    let mut fixed = [0; FIXED_OCTETS];
    stream.read_exact(&mut fixed).await.map_err(|_| BadHeader)?;
    let mut octets = vec![0; FIXED_OCTETS + rest_len(&fixed)?];
    let (first, rest) = octets.split_at_mut(FIXED_OCTETS);
    first.copy_from_slice(&fixed);
    stream.read_exact(rest).await.map_err(|_| BadHeader)?;
    read(&octets)
}

fn rest_len(fixed: &[u8; FIXED_OCTETS]) -> Result<usize, BadHeader> {
    let &[.., l0, l1] = fixed;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    match fixed.starts_with(SIGNATURE) && len <= REST_OCTETS_MAX {
        true => Ok(len),
        false => Err(BadHeader),
    }
}

/// The source's port, in front of the destination's.
fn port(ports: &[u8]) -> Result<u16, BadHeader> {
    ports.first_chunk::<2>().map(|port| u16::from_be_bytes(*port)).ok_or(BadHeader)
}

/// A header that tells of `client`.
#[cfg(test)]
pub(super) fn header(client: SocketAddr) -> Vec<u8> {
    let (family, ips) = match client.ip() {
        IpAddr::V4(v4) => (0x11, [v4.octets(), [0; 4]].concat()),
        IpAddr::V6(v6) => (0x21, [v6.octets(), [0; 16]].concat()),
    };
    let len = (ips.len() as u16 + 4).to_be_bytes();
    [SIGNATURE, &[0x21, family][..], &len, &ips, &client.port().to_be_bytes(), &[0, 53]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_and_extras_are_skipped() {
        for client in ["192.0.2.7:4000", "[2001:db8::7]:4000"] {
            let client: SocketAddr = client.parse().unwrap();
            let mut octets = header(client);
            octets[15] += 3;
            octets.extend_from_slice(&[4, 0, 0]); // an extra of type NOOP
            octets.extend_from_slice(b"message");
            let told = read(&octets).unwrap();
            assert_eq!(told, Told { len: octets.len() - 7, client: Some(client) });
        }
    }

    #[test]
    fn a_balancer_may_speak_for_itself() {
        let octets = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        assert_eq!(read(&octets), Ok(Told { len: 16, client: None }));
    }

    #[test]
    fn anything_else_is_no_header() {
        let good = header("192.0.2.7:4000".parse().unwrap());
        for len in 0..good.len() {
            assert_eq!(read(&good[..len]), Err(BadHeader), "{len}");
        }
        for (at, octet) in [(0, b'P'), (12, 0x11), (12, 0x22), (14, 0xff)] {
            let mut bad = good.clone();
            bad[at] = octet;
            assert_eq!(read(&bad), Err(BadHeader), "{at}");
        }
    }
}
