//! Which addresses may, and which keys.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wire::Name;

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

/// One entry of a list: who comes from this prefix, if it names one, and signs with this key, if it
/// names one. One that names neither means everybody.
///
/// Written as `192.0.2.0/24`, `2001:db8::1`, `key name.`, `192.0.2.0/24 key name.`, `any`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub prefix: Option<IpNet>,
    /// In lower case.
    pub key: Option<Name>,
}

/// What is no entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEntry(String);

impl fmt::Display for NoEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no entry: write an address, a prefix, `key NAME`, a prefix and `key NAME`, or `any`",
            self.0
        )
    }
}

impl std::error::Error for NoEntry {}

impl FromStr for Entry {
    type Err = NoEntry;

    fn from_str(text: &str) -> Result<Entry, NoEntry> {
        let fault = || NoEntry(text.chars().take(300).collect());
        let words: Vec<&str> = text.split_whitespace().collect();
        let prefix = |word: &str| -> Result<Option<IpNet>, NoEntry> {
            let net = word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
            net.map(|net: IpNet| Some(net.trunc())).map_err(|_| fault())
        };
        let key = |word: &str| -> Result<Option<Name>, NoEntry> {
            Name::parse(word).map(|name| Some(name.to_lowercase())).map_err(|_| fault())
        };
        match words.as_slice() {
            ["any"] => Ok(Entry { prefix: None, key: None }),
            ["key", name] => Ok(Entry { prefix: None, key: key(name)? }),
            [net] => Ok(Entry { prefix: prefix(net)?, key: None }),
            [net, "key", name] => Ok(Entry { prefix: prefix(net)?, key: key(name)? }),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.map(|net| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        });
        match (prefix, &self.key) {
            (Some(prefix), Some(key)) => write!(f, "{prefix} key {key}"),
            (Some(prefix), None) => f.write_str(&prefix),
            (None, Some(key)) => write!(f, "key {key}"),
            (None, None) => f.write_str("any"),
        }
    }
}

impl Entry {
    /// Whether it means who comes from `address` and signs with `key`.
    pub fn means(&self, address: IpAddr, key: Option<&Name>) -> bool {
        let address = address.to_canonical();
        self.prefix.is_none_or(|prefix| prefix.contains(&address))
            && self.key.as_ref().is_none_or(|mine| key == Some(mine))
    }
}

/// Whether some entry of a list means who comes from `address` and signs with `key`. An empty list
/// means nobody.
pub fn allows(list: &[Entry], address: IpAddr, key: Option<&Name>) -> bool {
    list.iter().any(|entry| entry.means(address, key))
}

/// Which zones are answered to some only, and to whom.
///
/// Replaced as a whole. While there are none, looking costs one load.
#[derive(Default)]
pub struct Closed {
    any: AtomicBool,
    /// By apex, in lower case wire form.
    lists: ArcSwap<HashMap<Box<[u8]>, Box<[Entry]>>>,
}

impl Closed {
    /// Puts these lists in the place of those there were.
    pub fn replace(&self, lists: impl IntoIterator<Item = (Name, Vec<Entry>)>) {
        let lists: HashMap<Box<[u8]>, Box<[Entry]>> = lists
            .into_iter()
            .map(|(apex, list)| (apex.to_lowercase().as_wire().into(), list.into()))
            .collect();
        let any = !lists.is_empty();
        self.lists.store(lists.into());
        self.any.store(any, Ordering::Release);
    }

    /// Whether there are no such zones.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Whether the zone `apex`, in lower case wire form, is answered to who comes from `address` and
    /// signs with `key`.
    pub fn opens(&self, apex: &[u8], address: IpAddr, key: Option<&Name>) -> bool {
        let lists = self.lists.load();
        lists.get(apex).is_none_or(|list| allows(list, address, key))
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

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        for text in ["192.0.2.0/24", "2001:db8::1", "key k.example.", "192.0.2.1 key k.", "any"] {
            assert_eq!(text.parse::<Entry>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.77/24".parse::<Entry>().unwrap().to_string(), "192.0.2.0/24");
        for text in ["", "none", "192.0.2.0/33", "key", "192.0.2.1 k.", "any key k.", "key a b"] {
            assert!(text.parse::<Entry>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_meant_comes_from_the_prefix_and_has_the_key() {
        let key = Name::parse("k.").unwrap();
        let list = |texts: &[&str]| -> Vec<Entry> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let may = |texts: &[&str], address: &str, key: Option<&Name>| {
            allows(&list(texts), address.parse().unwrap(), key)
        };
        assert!(!may(&[], "192.0.2.1", Some(&key)));
        assert!(may(&["192.0.2.0/24"], "::ffff:192.0.2.1", None));
        assert!(!may(&["key K."], "192.0.2.1", None));
        assert!(may(&["key K."], "192.0.2.1", Some(&key)));
        assert!(!may(&["192.0.3.0/24 key k."], "192.0.2.1", Some(&key)));
        assert!(!may(&["192.0.2.0/24 key k."], "192.0.2.1", None));
        assert!(may(&["192.0.3.1", "any"], "192.0.2.1", None));
    }
}
