//! Which addresses may.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of prefixes. IPv4 addresses mapped into IPv6 count as IPv4.
#[derive(Debug, Clone, Default)]
pub struct Prefixes(Vec<IpNet>);

impl Prefixes {
    /// A list that holds what `prefixes` hold.
    pub fn new(prefixes: impl IntoIterator<Item = IpNet>) -> Prefixes {
        Prefixes(prefixes.into_iter().collect())
    }

    /// Whether one of the prefixes holds `address`.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether a prefix that lies within `range` holds `address`, which is no mapped one.
    pub fn contains_within(&self, address: IpAddr, range: &IpNet) -> bool {
        self.0.iter().any(|prefix| range.contains(prefix) && prefix.contains(&address))
    }

    /// Whether the list holds nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        let prefixes = Prefixes::new(["192.0.2.0/24".parse().unwrap()]);
        for (address, inside) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("192.0.3.9", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(prefixes.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!Prefixes::default().contains("127.0.0.1".parse().unwrap()));
    }
}
