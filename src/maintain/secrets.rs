//! What lies sealed in the store, and whether the instance key at hand opens it.
//!
//! Without the key that sealed them, secrets cannot be had back. A server does not start as if they were
//! not there; an operator puts the key back, or gives them up and says so.
//!
//! Promises: a signing key whose secret is given up keeps its public half, for the zone and its parent
//! still speak of it.

use super::rows::{self, fault};
use super::signing::{self, KeptKey, SIGNING_KEYS, SIGNINGS};
use super::{Maintain, tsig};
use crate::seal::Sealer;
use crate::store::{RowError, Rows, Store, Table, TransactError, Tx};
use crate::wire::Name;
use crate::zone::ReadFault;

/// The id of the instance key that sealed every secret in the store, once that was seen: what it seals from
/// then on need not be looked at again when the server starts.
const SEALED_BY: Table<(), [u8; 8]> = Table::new("instance key of all secrets", *b"si");

/// Rows that are looked at, or changed, at a time.
const PAGE: usize = 1_000;

/// The secrets of a store, by whether one instance key sealed them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// How many it sealed.
    pub own: usize,
    /// TSIG keys that another one sealed.
    pub tsig: Vec<Name>,
    /// Signing keys that another one sealed.
    pub signing: Vec<LostKey>,
}

/// A signing key whose secret another instance key sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    zone: u32,
    pub apex: Name,
    pub tag: u16,
}

impl Secrets {
    /// How many the key does not open.
    pub fn lost(&self) -> usize {
        self.tsig.len() + self.signing.len()
    }

    /// How many of each kind it does not open, in words.
    pub fn lost_words(&self) -> String {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let (signing, tsig) = (self.signing.len(), self.tsig.len());
        format!("{} and {}", count(signing, "signing key"), count(tsig, "TSIG key"))
    }

    /// The same in parts that one transaction may give up.
    pub fn parts(&self) -> Vec<Secrets> {
        let signing = self.signing.chunks(PAGE);
        let signing = signing.map(|part| Secrets { signing: part.to_vec(), ..Secrets::default() });
        let tsig = self.tsig.chunks(PAGE);
        let tsig = tsig.map(|part| Secrets { tsig: part.to_vec(), ..Secrets::default() });
        signing.chain(tsig).collect()
    }
}

/// The secrets in `store` by whether `sealer` sealed them; without one, none is its own.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn look(store: &Store, sealer: Option<&Sealer>) -> Result<Secrets, ReadFault> {
    let is_own = |sealed: &[u8]| sealer.is_some_and(|sealer| sealer.has_sealed(sealed));
    let mut secrets = Secrets::default();
    let mut after: Option<(u32, u16)> = None;
    loop {
        let from = after.map_or((0, 0), |(zone, tag)| match tag.checked_add(1) {
            Some(tag) => (zone, tag),
            None => (zone.saturating_add(1), 0),
        });
        let page = store.read(|rows| {
            let page = rows.range(&SIGNING_KEYS, from.., PAGE).map_err(fault)?;
            for ((zone, tag), kept) in &page {
                match &kept.sealed[..] {
                    [] => {}
                    sealed if is_own(sealed) => secrets.own += 1,
                    _ => {
                        let found = rows::by_id(rows, *zone)?;
                        let apex = found.map_or_else(Name::root, |zone| zone.apex);
                        secrets.signing.push(LostKey { zone: *zone, apex, tag: *tag });
                    }
                }
            }
            Ok::<_, ReadFault>(page.last().map(|(key, _)| *key).filter(|_| page.len() == PAGE))
        })?;
        match page {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    for kept in store.read(|rows| tsig::all(rows))? {
        match is_own(kept.sealed()) {
            true => secrets.own += 1,
            false => secrets.tsig.push(kept.name),
        }
    }
    Ok(secrets)
}

/// Whether `sealer` is known to have sealed every secret in the store: one row says so.
///
/// # Errors
///
/// [`ReadFault`] when the store cannot be read.
pub fn are_all_of(rows: &impl Rows, sealer: &Sealer) -> Result<bool, ReadFault> {
    Ok(rows.get(&SEALED_BY, &()).map_err(fault)? == Some(sealer.id()))
}

/// Notes that `sealer` sealed every secret in the store; or, where there is none, that nobody knows.
///
/// # Errors
///
/// When the store does not take it.
pub fn note_all_of(store: &Store, sealer: Option<&Sealer>) -> Result<(), TransactError<RowError>> {
    store.transact(|tx| match sealer {
        Some(sealer) => tx.put(&SEALED_BY, &(), &sealer.id()),
        None => tx.delete(&SEALED_BY, &()),
    })
}

impl Maintain {
    /// The secrets of this store that the instance key does not open, and how many it does.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn secrets(&self) -> Result<Secrets, ReadFault> {
        look(self.store(), self.settings().sealer.as_ref())
    }
}

/// Gives up secrets: TSIG keys go, signing keys keep their public half, and zones signed with them are
/// to be looked at now, so that they say what they lack.
///
/// # Errors
///
/// When a row cannot be read or put.
pub fn give_up(tx: &mut Tx<'_>, lost: &Secrets) -> Result<(), RowError> {
    let unreadable = |fault: ReadFault| RowError::Index(fault.to_string());
    for key in &lost.signing {
        let row = (key.zone, key.tag);
        if let Some(kept) = tx.get(&SIGNING_KEYS, &row)? {
            tx.put(&SIGNING_KEYS, &row, &KeptKey { sealed: Vec::new(), ..kept })?;
        }
        if let Some(mut signing) = tx.get(&SIGNINGS, &key.zone)? {
            signing.due_s = 0;
            signing::put(tx, key.zone, &signing)?;
        }
    }
    for name in &lost.tsig {
        if let Some(kept) = tsig::get(&*tx, name).map_err(unreadable)? {
            tsig::delete(tx, &kept)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::{Content, Maintain, Settings, ZoneChange};
    use crate::sign::{Algorithm, SigningKey};
    use crate::wire::TsigKey;
    use crate::wire::tsig::Algorithm as Hash;
    use crate::zone::text::{self, Options};

    #[test]
    fn what_another_key_sealed_is_named_and_given_up_and_the_rest_stays() {
        let store = Store::in_memory();
        let (old, new) = (Sealer::passing().unwrap(), Sealer::passing().unwrap());
        let apex = Name::parse("example.").unwrap();
        let tsig_name = Name::parse("key.example.").unwrap();
        let with = |sealer: &Sealer| {
            let settings = Settings { sealer: Some(sealer.clone()), ..Settings::default() };
            Maintain::offline(store.clone(), settings)
        };
        let maintain = with(&old);
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        let file = "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns.test.\n";
        let octets = text::parse(file.as_bytes(), options).unwrap().packed;
        let content = Content::Packed { octets, presigned: false };
        let create = ZoneChange::Create { apex: apex.clone(), org: "org".into(), content };
        let lost = SigningKey::generate(Algorithm::Ed25519, 0, 257).unwrap();
        let tsig = TsigKey::new(tsig_name.clone(), Hash::HmacSha256, &[7; 32]).unwrap();
        let tsig = maintain.seal_tsig(&tsig, None, "org".into(), Vec::new()).unwrap();
        let done = maintain.commit(|door| {
            door.apply(&[create]).unwrap();
            door.put_signing_key(&apex, &lost).unwrap();
            tsig::put(door.tx(), &tsig)
        });
        done.unwrap();
        let kept = SigningKey::generate_beside(Algorithm::Ed25519, 0, 257, &[lost.tag()]).unwrap();
        let done = with(&new).commit(|door| door.put_signing_key(&apex, &kept));
        done.unwrap();

        let found = look(&store, Some(&new)).unwrap();
        assert_eq!(found.signing.len(), 1);
        assert_eq!((&found.signing[0].apex, found.signing[0].tag), (&apex, lost.tag()));
        assert_eq!((found.own, &found.tsig[..]), (1, &[tsig_name][..]));
        assert_eq!(found.lost_words(), "1 signing key and 1 TSIG key");
        assert_eq!(look(&store, None).unwrap().lost(), 3);

        assert_eq!(found.parts().len(), 2);
        for part in found.parts() {
            store.transact(|tx| give_up(tx, &part)).unwrap();
        }
        let left = look(&store, Some(&new)).unwrap();
        assert_eq!((left.own, left.lost()), (1, 0));
        let maintain = with(&new);
        store.read(|rows| {
            let zone = rows::zone(rows, &apex).unwrap().unwrap();
            let halves = signing::dnskeys(rows, &zone).unwrap();
            assert!(
                halves.contains(&(lost.tag(), lost.dnskey().to_vec())),
                "its public half stays"
            );
            let error = maintain.signing_key(rows, &zone, lost.tag()).unwrap_err();
            assert!(error.to_string().contains("given up"), "{error}");
        });
    }
}
