//! Zones pulled from the server that has them now: moving in.
//!
//! The person at the command line names the server, so it is talked to whatever `[net] dial` says;
//! that is for what a server does of its own accord.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::{Failure, usage};
use crate::maintain::refresh::{self, Settings};
use crate::maintain::secondary::Primary;
use crate::serve::Prefixes;
use crate::transport::client::Dialer;
use crate::wire::tsig::{Algorithm, TsigKey};
use crate::wire::{Name, Type};
use crate::xfr::members;
use crate::zone::packed;
use crate::zone::text::Parsed;
use crate::zone::tree::PackedZone;

/// A server to pull from.
#[derive(Debug)]
pub(super) struct Puller {
    dialer: Dialer,
    settings: Settings,
    primary: Primary,
    key: Option<Arc<TsigKey>>,
}

impl Puller {
    /// Reads `address[:port][,[algorithm:]name:secret]`; the key may stand in a file, as `,@file`, which may
    /// be one of `tsig-keygen` too.
    pub(super) fn new(text: &str) -> Result<Puller, Failure> {
        let (address, key) = match text.split_once(',') {
            Some((address, key)) => (address, Some(key)),
            None => (text, None),
        };
        let ip = address.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let address: SocketAddr = ip
            .or_else(|_| address.parse())
            .map_err(|_| usage(format!("{address:?} is no address of a server")))?;
        let key = match key.map(|key| (key, key.strip_prefix('@'))) {
            None => None,
            Some((_, Some(file))) => {
                let text = std::fs::read_to_string(file);
                Some(key_of(text.map_err(|error| format!("{file}: {error}"))?.trim())?)
            }
            Some((text, None)) => Some(key_of(text)?),
        };
        let dialer = Dialer::new(Prefixes::new([IpNet::from(address.ip())]));
        let primary = Primary { address, key: None, tls: None };
        Ok(Puller { dialer, settings: Settings::default(), primary, key: key.map(Arc::new) })
    }

    /// The whole zone as the server has it.
    ///
    /// # Errors
    ///
    /// Why it was not given.
    pub(super) fn zone(&self, apex: &Name) -> Result<Parsed, String> {
        let key = self.key.clone();
        let packed = refresh::whole(&self.dialer, &self.settings, &self.primary, key, apex)
            .map_err(|trouble| trouble.to_string())?;
        let (mut names, mut rrsets, mut records) = (0, 0, 0);
        for node in packed::nodes(&packed) {
            names += 1;
            for set in node.rrsets() {
                rrsets += 1;
                records += usize::from(set.count) + usize::from(set.sig_count);
            }
        }
        let first = packed::nodes(&packed).next();
        let soa = first.and_then(|node| node.rrset(Type::SOA));
        let keys = first.and_then(|node| node.rrset(Type::DNSKEY));
        Ok(Parsed {
            apex: apex.clone(),
            names,
            rrsets,
            records,
            serial: soa.and_then(|soa| soa.to_owned(apex).soa_serial()),
            signed: keys.is_some() && soa.is_some_and(|soa| soa.sig_count > 0),
            warnings: Vec::new(),
            packed,
        })
    }

    /// The zones that a catalog of the server names.
    ///
    /// # Errors
    ///
    /// Why it was not given, or why it is none.
    pub(super) fn members(&self, catalog: &Name) -> Result<Vec<Name>, String> {
        let packed = self.zone(catalog).map_err(|why| format!("{catalog}: {why}"))?.packed;
        let max = self.settings.catalog_zones_max;
        let named = members::members(&PackedZone::new(catalog.clone(), &packed), max);
        let named = named.map_err(|fault| format!("{catalog}: {fault}"))?;
        let named = named.map_err(|fault| format!("{catalog} is no catalog: {fault}"))?;
        Ok(named.into_iter().map(|member| member.zone).collect())
    }
}

/// A key as `dig -y` takes it, or as `dig -k`: the clause of BIND that `tsig-keygen` prints.
fn key_of(text: &str) -> Result<TsigKey, Failure> {
    let clause = text.starts_with("key").then(|| text.split(|c: char| " \t\r\n\"{};".contains(c)));
    let clause: Vec<&str> = clause.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    let words: Vec<&str> = text.split(':').collect();
    let (algorithm, name, secret) = match (clause.as_slice(), words.as_slice()) {
        (["key", name, "algorithm", algorithm, "secret", secret], _)
        | (["key", name, "secret", secret, "algorithm", algorithm], _)
        | (_, [algorithm, name, secret]) => (*algorithm, *name, *secret),
        (_, [name, secret]) => ("hmac-sha256", *name, *secret),
        _ => {
            let form =
                "[algorithm:]name:secret, or in its file one clause as tsig-keygen prints it";
            return Err(usage(format!("a TSIG key is {form}")));
        }
    };
    let known = Algorithm::parse(algorithm);
    let known = known.ok_or_else(|| format!("{algorithm:?} is no algorithm of TSIG keys here"))?;
    Ok(TsigKey::from_base64(Name::parse(name)?, known, secret)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_and_perhaps_a_key() {
        let plain = Puller::new("192.0.2.1").unwrap();
        assert_eq!((plain.primary.address.port(), plain.key.is_none()), (53, true));
        let secret = "c2VjcmV0c2VjcmV0";
        let signed = Puller::new(&format!("[2001:db8::1]:5353,hmac-sha512:k:{secret}")).unwrap();
        assert_eq!(signed.primary.address.to_string(), "[2001:db8::1]:5353");
        assert_eq!(
            signed.key.as_ref().unwrap().algorithm,
            Algorithm::parse("hmac-sha512").unwrap()
        );
        assert!(!format!("{signed:?}").contains(secret));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, format!("k:{secret}\n")).unwrap();
        let filed = Puller::new(&format!("192.0.2.1,@{}", file.display())).unwrap();
        assert_eq!(filed.key.unwrap().name, Name::parse("k").unwrap());
        let clause =
            format!("key \"k\" {{\n\talgorithm hmac-sha384;\n\tsecret \"{secret}\";\n}};\n");
        std::fs::write(&file, clause).unwrap();
        let filed = Puller::new(&format!("192.0.2.1,@{}", file.display())).unwrap().key.unwrap();
        let algorithm = Algorithm::parse("hmac-sha384").unwrap();
        let written = TsigKey::from_base64(Name::parse("k").unwrap(), algorithm, secret);
        assert!(*filed == written.unwrap());
        for bad in ["ns.example", "192.0.2.1,k", "192.0.2.1,hmac-md5:k:AAAA", "192.0.2.1,@/no/file"]
        {
            assert!(Puller::new(bad).is_err(), "{bad}");
        }
    }
}
