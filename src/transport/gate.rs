//! The gate: whom this server may talk to of its own accord.
//!
//! The operator lists prefixes. A prefix does not open the special-purpose ranges inside it (loopback,
//! private, documentation, tunnels: [RFC 6890] and its successors): each of those is opened only by a
//! prefix that lies within it. So `0.0.0.0/0` means the public Internet and not the router at home,
//! whatever addresses a zone, an order or a customer names. What is no host is never talked to.
//!
//! [RFC 6890]: https://www.rfc-editor.org/rfc/rfc6890

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::serve::Prefixes;

/// Ranges that are not the public Internet, from the two IANA registries.
#[rustfmt::skip]
const SPECIAL: &[(IpAddr, u8)] = &[
    v4(0, 0, 0, 0, 8),       v4(10, 0, 0, 0, 8),      v4(100, 64, 0, 0, 10),   v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),  v4(172, 16, 0, 0, 12),   v4(192, 0, 0, 0, 24),    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),  v4(192, 168, 0, 0, 16),  v4(198, 18, 0, 0, 15),   v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),  v4(240, 0, 0, 0, 4),
    v6([0, 0, 0], 96),       v6([0x64, 0xff9b, 0], 96), v6([0x64, 0xff9b, 1], 48), v6([0x100, 0, 0], 64),
    v6([0x2001, 0, 0], 23),  v6([0x2001, 0xdb8, 0], 32), v6([0x2002, 0, 0], 16), v6([0x3fff, 0, 0], 20),
    v6([0x5f00, 0, 0], 16),  v6([0xfc00, 0, 0], 7),   v6([0xfe80, 0, 0], 10),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), len)
}

const fn v6([a, b, c]: [u16; 3], len: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), len)
}

/// Who may be talked to. Opens for nobody unless told.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    allow: Prefixes,
    loopback_only: bool,
}

impl Gate {
    pub fn new(allow: Prefixes) -> Gate {
        Gate { allow, loopback_only: false }
    }

    /// The same, and never beyond this machine.
    pub fn on_loopback(self) -> Gate {
        Gate { loopback_only: true, ..self }
    }

    /// Whether `address` may be talked to.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let nobody = address.is_unspecified()
            || address.is_multicast()
            || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if nobody || self.loopback_only && !address.is_loopback() {
            return false;
        }
        match special(address) {
            Some(range) => self.allow.contains_within(address, &range),
            None => self.allow.contains(address),
        }
    }
}

/// The special-purpose range that holds `address`.
pub(super) fn special(address: IpAddr) -> Option<IpNet> {
    let ranges = SPECIAL.iter().filter_map(|(range, len)| IpNet::new(*range, *len).ok());
    ranges.into_iter().find(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(prefixes: &[&str]) -> Gate {
        Gate::new(Prefixes::new(prefixes.iter().map(|prefix| prefix.parse().unwrap())))
    }

    fn permits(gate: &Gate, address: &str) -> bool {
        gate.permits(address.parse().unwrap())
    }

    #[test]
    fn nothing_listed_means_nobody() {
        for address in ["127.0.0.1", "::1", "9.9.9.9", "2620:fe::fe"] {
            assert!(!permits(&Gate::default(), address), "{address}");
        }
    }

    #[test]
    fn everything_listed_still_means_only_the_public_internet() {
        let gate = gate(&["0.0.0.0/0", "::/0"]);
        for open in ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9"] {
            assert!(permits(&gate, open), "{open}");
        }
        let shut = [
            "127.0.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.7",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b::a01:203",
            "2002:a01:203::1",
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "240.0.0.1",
        ];
        for shut in shut {
            assert!(!permits(&gate, shut), "{shut}");
        }
    }

    #[test]
    fn a_special_range_is_opened_by_a_prefix_within_it() {
        let gate = gate(&["0.0.0.0/0", "10.20.0.0/16", "fd00:1::/32", "127.0.0.0/8"]);
        for (address, open) in [
            ("10.20.0.1", true),
            ("10.21.0.1", false),
            ("fd00:1::53", true),
            ("fd00:2::53", false),
            ("127.0.0.1", true),
            ("192.168.0.1", false),
        ] {
            assert_eq!(permits(&gate, address), open, "{address}");
        }
    }

    #[test]
    fn what_is_no_host_is_never_talked_to() {
        let gate = gate(&["0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "ff00::/8", "::/96"]);
        for address in ["0.0.0.0", "224.0.0.251", "255.255.255.255", "ff02::fb", "::"] {
            assert!(!permits(&gate, address), "{address}");
        }
    }

    #[test]
    fn a_demo_stays_on_loopback_whatever_is_listed() {
        let gate = gate(&["0.0.0.0/0", "10.0.0.0/8", "127.0.0.0/8"]).on_loopback();
        assert!(permits(&gate, "127.0.0.53"));
        assert!(
            !permits(&gate, "10.0.0.1") && !permits(&gate, "9.9.9.9") && !permits(&gate, "::1")
        );
    }
}
