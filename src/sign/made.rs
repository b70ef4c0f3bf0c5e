//! Records that a signer makes beside signatures and denial: DS, CDS, CDNSKEY and CSYNC.

use super::key::key_tag;
use crate::wire::rdata::bitmap;
use crate::wire::{Name, Type};

/// DS and CDS digests that are made: SHA-256 and SHA-384 ([RFC 8624](https://www.rfc-editor.org/rfc/rfc8624) §3.3).
pub const DIGESTS: [u8; 2] = [2, 4];

/// CDS RDATA that ask the parent to take every DS away ([RFC 8078](https://www.rfc-editor.org/rfc/rfc8078) §4).
pub const CDS_DELETE: [u8; 5] = [0, 0, 0, 0, 0];

/// CDNSKEY RDATA that ask the parent to take every DS away ([RFC 8078](https://www.rfc-editor.org/rfc/rfc8078) §4).
pub const CDNSKEY_DELETE: [u8; 5] = [0, 0, 3, 0, 0];

/// CSYNC RDATA: copy NS, A and AAAA at once, whatever the serial ([RFC 7477](https://www.rfc-editor.org/rfc/rfc7477) §2.1).
pub fn csync() -> Box<[u8]> {
    const IMMEDIATE: [u8; 2] = [0, 1];
    let mut rdata = vec![0; 4];
    rdata.extend_from_slice(&IMMEDIATE);
    bitmap::push(&mut vec![Type::NS, Type::A, Type::AAAA], &mut rdata);
    rdata.into()
}

/// DS RDATA for a DNSKEY ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §5.1), which are also its CDS RDATA; none for a digest that is not one of [`DIGESTS`].
pub fn ds(owner: &Name, dnskey: &[u8], digest: u8) -> Option<Box<[u8]>> {
    let algorithm = match digest {
        2 => &ring::digest::SHA256,
        4 => &ring::digest::SHA384,
        _ => return None,
    };
    let number = dnskey.get(3).copied()?;
    let data = [owner.to_lowercase().as_wire(), dnskey].concat();
    let hash = ring::digest::digest(algorithm, &data);
    let tag = key_tag(dnskey).to_be_bytes();
    Some([&tag[..], &[number, digest], hash.as_ref()].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rdata;

    #[test]
    fn rfc4509_2_3_the_ds_of_the_example_key() {
        let dnskey = rdata::parse(
            Type::DNSKEY,
            "256 3 5 AQOeiiR0GOMYkDshWoSKz9Xz fwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvx egXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/r ljwvFw==",
            None,
        );
        let owner = Name::parse("dskey.example.com.").unwrap();
        let ds = ds(&owner, &dnskey.unwrap(), 2).unwrap();
        assert_eq!(
            rdata::display(Type::DS, &ds).to_string().to_ascii_lowercase(),
            "60485 5 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a"
        );
    }

    #[test]
    fn rfc7477_2_1_csync_is_well_formed() {
        assert_eq!(rdata::display(Type::CSYNC, &csync()).to_string(), "0 1 A NS AAAA");
        assert_eq!(rdata::validate(Type::CDS, &CDS_DELETE), Ok(()));
        assert_eq!(rdata::validate(Type::CDNSKEY, &CDNSKEY_DELETE), Ok(()));
    }
}
