//! DNS cookies ([RFC 7873]) with the server's part that all servers of an anycast set agree on ([RFC 9018]).
//!
//! The server's part is a SipHash-2-4 over the client's part, a version, a time and the client's
//! address. Secrets are a list: the first signs, all verify, so that one can be replaced without
//! turning clients away (§5).
//!
//! [RFC 7873]: https://www.rfc-editor.org/rfc/rfc7873
//! [RFC 9018]: https://www.rfc-editor.org/rfc/rfc9018

use std::net::IpAddr;

use crate::wire::edns::{COOKIE_OCTETS, Cookie};

/// Seconds a server's part is good for ([RFC 9018](https://www.rfc-editor.org/rfc/rfc9018) §4.3).
const AGE_S_MAX: i32 = 3600;
/// Seconds after which a good one is replaced by a new one.
const RENEW_S: i32 = 1800;
/// Seconds it may come from the future, for clocks that differ.
const AHEAD_S_MAX: i32 = 300;

/// A secret of all servers that share an address.
pub type Secret = [u8; 16];

/// What a cookie was worth, and what to send back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub state: State,
    pub reply: [u8; COOKIE_OCTETS],
}

/// What a cookie was worth. The numbers are those of the metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No server's part yet.
    ClientOnly,
    /// The client has been here: its address is not forged.
    Valid,
    /// Forged, outdated, or another server's.
    Bad,
}

/// Checks and makes cookies.
pub struct Cookies {
    secrets: Vec<Secret>,
}

impl Cookies {
    /// The first secret signs, all verify. Without any, no cookie is ever good.
    pub fn new(secrets: Vec<Secret>) -> Cookies {
        Cookies { secrets }
    }

    /// Checks a client's cookie; `now_s` is the time in seconds since 1970, modulo 2³².
    pub fn check(&self, cookie: &Cookie, address: IpAddr, now_s: u32) -> Checked {
        let client = cookie.client();
        let address = address.to_canonical();
        let (state, keep) = match cookie.server().first_chunk::<16>() {
            None if cookie.server().is_empty() => (State::ClientOnly, None),
            Some(server) if cookie.server().len() == 16 => {
                self.verify(client, server, address, now_s)
            }
            _ => (State::Bad, None),
        };
        let server = keep.unwrap_or_else(|| self.sign(client, address, now_s));
        let mut reply = [0; COOKIE_OCTETS];
        let (first, last) = reply.split_at_mut(8);
        first.copy_from_slice(&client);
        last.copy_from_slice(&server);
        Checked { state, reply }
    }

    fn verify(
        &self,
        client: [u8; 8],
        server: &[u8; 16],
        address: IpAddr,
        now_s: u32,
    ) -> (State, Option<[u8; 16]>) {
        let &[version, _, _, _, t0, t1, t2, t3, ..] = server;
        // A circle, as with serials: seconds since 1970 end in 2106.
        let age = now_s.wrapping_sub(u32::from_be_bytes([t0, t1, t2, t3])) as i32;
        if version != 1 || !(-AHEAD_S_MAX..=AGE_S_MAX).contains(&age) {
            return (State::Bad, None);
        }
        let mut head = [0; 8];
        head.copy_from_slice(server.first_chunk::<8>().unwrap_or(&[0; 8]));
        let good = self.secrets.iter().enumerate().find(|(_, secret)| {
            let right = hash(secret, client, head, address);
            // No early end: how far a guess was right must not show in time.
            let differences = right.iter().zip(server.iter().skip(8));
            differences.fold(0, |all, (right, given)| all | (right ^ given)) == 0
        });
        match good {
            Some((0, _)) if age <= RENEW_S => (State::Valid, Some(*server)),
            Some(_) => (State::Valid, None),
            None => (State::Bad, None),
        }
    }

    fn sign(&self, client: [u8; 8], address: IpAddr, now_s: u32) -> [u8; 16] {
        let [t0, t1, t2, t3] = now_s.to_be_bytes();
        let head = [1, 0, 0, 0, t0, t1, t2, t3];
        let secret = self.secrets.first().unwrap_or(&[0; 16]);
        let mut server = [0; 16];
        let (first, last) = server.split_at_mut(8);
        first.copy_from_slice(&head);
        last.copy_from_slice(&hash(secret, client, head, address));
        server
    }
}

/// The hash of [RFC 9018](https://www.rfc-editor.org/rfc/rfc9018) §4.4.
fn hash(secret: &Secret, client: [u8; 8], head: [u8; 8], address: IpAddr) -> [u8; 8] {
    let mut input = [0; 32];
    let (client_slot, rest) = input.split_at_mut(8);
    let (head_slot, address_slot) = rest.split_at_mut(8);
    client_slot.copy_from_slice(&client);
    head_slot.copy_from_slice(&head);
    let len = match address {
        IpAddr::V4(v4) => {
            address_slot.iter_mut().zip(v4.octets()).for_each(|(slot, octet)| *slot = octet);
            20
        }
        IpAddr::V6(v6) => {
            address_slot.copy_from_slice(&v6.octets());
            32
        }
    };
    siphash_2_4(secret, input.get(..len).unwrap_or_default()).to_le_bytes()
}

/// SipHash with two rounds per block and four at the end.
pub fn siphash_2_4(key: &[u8; 16], input: &[u8]) -> u64 {
    let key = u128::from_le_bytes(*key);
    let (k0, k1) = (key as u64, (key >> 64) as u64);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (blocks, tail) = input.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(tail).for_each(|(slot, octet)| *slot = *octet);
    let last = u64::from_le_bytes(last) | (input.len() as u64) << 56;
    for block in blocks.iter().map(|block| u64::from_le_bytes(*block)).chain([last]) {
        v[3] ^= block;
        round(&mut v);
        round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        std::array::from_fn(|at| digit(2 * at))
    }

    fn check(secrets: &[&str], cookie: &[u8], address: &str, now_s: u32) -> Checked {
        let secrets = secrets.iter().map(|secret| octets(secret)).collect();
        let cookie = Cookie::new(cookie).unwrap();
        Cookies::new(secrets).check(&cookie, address.parse().unwrap(), now_s)
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    #[test]
    fn siphash_2_4_of_the_paper() {
        let key = std::array::from_fn(|at| at as u8);
        let input: [u8; 15] = std::array::from_fn(|at| at as u8);
        assert_eq!(siphash_2_4(&key, &input), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn rfc9018_a_1_learning_a_new_server_cookie() {
        let client: [u8; 8] = octets("2464c4abcf10c957");
        let checked = check(&[SECRET], &client, "198.51.100.100", 1_559_731_985);
        assert_eq!(checked.state, State::ClientOnly);
        assert_eq!(checked.reply, octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
    }

    #[test]
    fn rfc9018_a_2_a_cookie_of_more_than_half_an_hour_is_renewed() {
        let cookie: [u8; 24] = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let checked = check(&[SECRET], &cookie, "198.51.100.100", 1_559_734_385);
        assert_eq!(checked.state, State::Valid);
        assert_eq!(checked.reply, octets("2464c4abcf10c957010000005cf7a871d4a564a1442aca77"));
        let kept = check(&[SECRET], &cookie, "198.51.100.100", 1_559_731_985 + 1800);
        assert_eq!((kept.state, kept.reply), (State::Valid, cookie));
    }

    #[test]
    fn rfc9018_a_3_reserved_octets_are_covered_but_not_judged() {
        let cookie: [u8; 24] = octets("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let checked = check(&[SECRET], &cookie, "203.0.113.203", 1_559_727_985);
        assert_eq!(checked.state, State::Valid);
        let renewed = check(&[SECRET], &cookie, "203.0.113.203", 1_559_734_700);
        assert_eq!(renewed.reply, octets("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"));
    }

    #[test]
    fn rfc9018_a_4_an_ipv6_query_with_a_renewed_secret() {
        let old = "dd3bdf9344b678b185a6f5cb60fca715";
        let new = "445536bcd2513298075a5d379663c962";
        let cookie: [u8; 24] = octets("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8";

        let checked = check(&[new, old], &cookie, address, 1_559_741_961);

        assert_eq!(checked.state, State::Valid);
        assert_eq!(checked.reply, octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
        assert_eq!(check(&[new], &cookie, address, 1_559_741_961).state, State::Bad);
    }

    #[test]
    fn cookies_of_others_and_of_other_times_are_bad() {
        let cookie: [u8; 24] = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let made = 1_559_731_985;
        let state = |address, now_s| check(&[SECRET], &cookie, address, now_s).state;
        assert_eq!(state("198.51.100.101", made), State::Bad);
        assert_eq!(state("198.51.100.100", made + 3601), State::Bad);
        assert_eq!(state("198.51.100.100", made - 301), State::Bad);
        assert_eq!(state("198.51.100.100", made - 300), State::Valid);
        let mut longer = cookie.to_vec();
        longer.push(0);
        assert_eq!(check(&[SECRET], &longer, "198.51.100.100", made).state, State::Bad);
    }
}
