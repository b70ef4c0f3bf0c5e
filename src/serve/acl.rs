//! Which addresses may, and which keys.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
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

/// SHA-256 of the public key of a certificate, by which whoever shows it over TLS is known.
pub type Pin = [u8; 32];

/// Who a list is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub address: IpAddr,
    /// The key it signs with, in lower case.
    pub key: Option<&'a Name>,
    /// What its certificate shows.
    pub pin: Option<&'a Pin>,
}

/// One entry of a list: who comes from this prefix, signs with this key and shows this certificate,
/// whichever of them it names. One that names none means everybody.
///
/// Written as `192.0.2.0/24`, `2001:db8::1`, `key name.`, `pin BASE64`, `192.0.2.0/24 key name.`, `any`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub prefix: Option<IpNet>,
    /// In lower case.
    pub key: Option<Name>,
    pub pin: Option<Pin>,
}

/// What is no entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEntry(String);

impl fmt::Display for NoEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no entry: write an address or a prefix, `key NAME`, `pin BASE64`, several of them in this order, or `any`",
            self.0
        )
    }
}

impl std::error::Error for NoEntry {}

impl FromStr for Entry {
    type Err = NoEntry;

    fn from_str(text: &str) -> Result<Entry, NoEntry> {
        let fault = || NoEntry(text.chars().take(300).collect());
        let mut words = text.split_whitespace().peekable();
        let mut entry = Entry { prefix: None, key: None, pin: None };
        let Some(first) = words.peek().copied() else { return Err(fault()) };
        if first == "any" {
            words.next();
            return if words.next().is_none() { Ok(entry) } else { Err(fault()) };
        }
        if !["key", "pin"].contains(&first) {
            words.next();
            let net = first.parse().or_else(|_| first.parse::<IpAddr>().map(IpNet::from));
            entry.prefix = Some(net.map(|net: IpNet| net.trunc()).map_err(|_| fault())?);
        }
        if words.next_if_eq(&"key").is_some() {
            let name = words.next().and_then(|word| Name::parse(word).ok());
            entry.key = Some(name.ok_or_else(fault)?.to_lowercase());
        }
        if words.next_if_eq(&"pin").is_some() {
            let octets = words.next().and_then(|word| BASE64.decode(word).ok());
            let pin = octets.and_then(|octets| Pin::try_from(octets).ok());
            entry.pin = Some(pin.ok_or_else(fault)?);
        }
        if words.next().is_none() { Ok(entry) } else { Err(fault()) }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.map(|net| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        });
        let key = self.key.as_ref().map(|key| format!("key {key}"));
        let pin = self.pin.map(|pin| format!("pin {}", BASE64.encode(pin)));
        let words: Vec<String> = [prefix, key, pin].into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "any" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

impl Entry {
    /// Whether it means this caller.
    pub fn means(&self, caller: Caller<'_>) -> bool {
        let address = caller.address.to_canonical();
        self.prefix.is_none_or(|prefix| prefix.contains(&address))
            && self.key.as_ref().is_none_or(|mine| caller.key == Some(mine))
            && self.pin.as_ref().is_none_or(|mine| caller.pin == Some(mine))
    }
}

/// Whether some entry of a list means this caller. An empty list means nobody.
pub fn allows(list: &[Entry], caller: Caller<'_>) -> bool {
    list.iter().any(|entry| entry.means(caller))
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
    /// signs with `key`. Entries with a pin mean nobody here: a question is answered without a look at
    /// certificates.
    pub fn opens(&self, apex: &[u8], address: IpAddr, key: Option<&Name>) -> bool {
        let lists = self.lists.load();
        let caller = Caller { address, key, pin: None };
        lists.get(apex).is_none_or(|list| allows(list, caller))
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
        let pin = format!("pin {}", BASE64.encode([7; 32]));
        let all = format!("192.0.2.1 key k. {pin}");
        for text in
            ["192.0.2.0/24", "2001:db8::1", "key k.example.", "192.0.2.1 key k.", "any", &pin, &all]
        {
            assert_eq!(text.parse::<Entry>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.77/24".parse::<Entry>().unwrap().to_string(), "192.0.2.0/24");
        for text in [
            "",
            "none",
            "192.0.2.0/33",
            "key",
            "192.0.2.1 k.",
            "any key k.",
            "key a b",
            "pin AAAA",
            "pin",
        ] {
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
            let address = address.parse().unwrap();
            allows(&list(texts), Caller { address, key, pin: Some(&[7; 32]) })
        };
        assert!(!may(&[], "192.0.2.1", Some(&key)));
        assert!(may(&["192.0.2.0/24"], "::ffff:192.0.2.1", None));
        assert!(!may(&["key K."], "192.0.2.1", None));
        assert!(may(&["key K."], "192.0.2.1", Some(&key)));
        assert!(!may(&["192.0.3.0/24 key k."], "192.0.2.1", Some(&key)));
        assert!(!may(&["192.0.2.0/24 key k."], "192.0.2.1", None));
        assert!(may(&["192.0.3.1", "any"], "192.0.2.1", None));
        let pin = |octet: u8| format!("pin {}", BASE64.encode([octet; 32]));
        assert!(may(&[&pin(7)], "192.0.2.1", None));
        assert!(!may(&[&pin(8)], "192.0.2.1", None));
        assert!(!may(&[&format!("key k. {}", pin(7))], "192.0.2.1", None));
    }
}
