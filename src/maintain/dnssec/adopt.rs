//! Taking over: keys that were brought along, and zones that others signed so far.
//!
//! A zone that is pre-signed keeps its signatures until every one of them can be made here. With its
//! own keys imported that is at once; without them only when no parent vouches for the old ones.

use super::{FOREIGN_KEYS_MAX, Life, Policy, signing};
use crate::maintain::apply::Refused;
use crate::maintain::change::Reason;
use crate::maintain::commit::Door;
use crate::maintain::rows::{self, Zone};
use crate::maintain::signing as kept;
use crate::sign::key::{SECURE_ENTRY, key_tag};
use crate::sign::rollover::{Key, KeyId, KeySet, Role, Rollover};
use crate::wire::Type;
use crate::zone::delta::set_at;

/// Where the key tag stands in the RDATA of an RRSIG ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.1).
const RRSIG_TAG: std::ops::Range<usize> = 16..18;

impl Door<'_, '_> {
    /// Makes what a pre-signed zone publishes the beginning of its life here.
    pub(super) fn adopt(
        &mut self,
        zone: &Zone,
        life: &mut Life,
        strip: bool,
        now_s: u64,
    ) -> Result<(), Refused> {
        if !strip {
            let text = format!(
                "zone {} is pre-signed: leave it so, and it is served with the signatures it has, or switch DNSSEC on with strip, and they are taken off and made here; import its keys first if its parent has a DS",
                zone.apex
            );
            return Err(Reason::Broken { rule: "presigned", owner: zone.apex.clone(), text }.into());
        }
        let read = |rtype| rows::with_view(self.tx, zone, |view| set_at(view, &zone.apex, rtype));
        let (dnskeys, soa) = (read(Type::DNSKEY)?, read(Type::SOA)?);
        let own = kept::dnskeys(self.tx, zone)?;
        let signers: KeySet = soa
            .iter()
            .flat_map(|soa| &soa.sigs)
            .filter_map(|sig| <[u8; 2]>::try_from(sig.get(RRSIG_TAG)?).ok())
            .map(|tag| KeyId(u16::from_be_bytes(tag)))
            .collect();
        let mut keys: Vec<Key> = Vec::new();
        life.foreign.clear();
        for rdata in dnskeys.iter().flat_map(|set| set.rrset.rdatas()) {
            let id = KeyId(key_tag(rdata));
            let role = match (is_entry(rdata), signers.contains(id)) {
                (true, true) => Role::Csk,
                (true, false) => Role::Ksk,
                (false, _) => Role::Zsk,
            };
            let foreign = !own.iter().any(|(_, dnskey)| dnskey[..] == rdata[..]);
            let algorithm = rdata.get(3).copied().unwrap_or_default();
            if keys.iter().any(|key| key.id == id) {
                return Err(signing(format!("two keys of the zone have the tag {}", id.0)).into());
            }
            if foreign {
                life.foreign.push((id, rdata.to_vec()));
            }
            let (created, wanted) = (now_s, !foreign);
            keys.push(Key { id, algorithm, role, foreign, created, wanted });
        }
        if life.foreign.len() > FOREIGN_KEYS_MAX {
            let text = format!("zone has more than {FOREIGN_KEYS_MAX} keys that are not here");
            return Err(Reason::Limit { text }.into());
        }
        let dnskeys = keys.iter().map(|key| key.id).collect();
        life.rollover = Rollover::adopt(keys, dnskeys, signers);
        life.asked_parent_s = None;
        Ok(())
    }

    /// Makes keys that were imported part of the goal.
    pub(super) fn want_imported(
        &mut self,
        zone: &Zone,
        life: &mut Life,
        policy: &Policy,
        now_s: u64,
    ) -> Result<(), Refused> {
        for (tag, dnskey) in kept::dnskeys(self.tx, zone)? {
            if life.rollover.key(KeyId(tag)).is_some() {
                continue;
            }
            let algorithm = dnskey.get(3).copied().unwrap_or_default();
            let role = role_of(&dnskey, policy);
            let id = KeyId(tag);
            let key = Key { id, algorithm, role, foreign: false, created: now_s, wanted: true };
            life.rollover.want(key);
        }
        Ok(())
    }
}

/// Why a zone that others sign is not unsigned by a switch, and the way there.
pub(super) fn not_ours(zone: &Zone) -> Reason {
    let text = format!(
        "zone {} is pre-signed: nothing is signed here that could be switched off; once its parent has no DS, import it again with its signatures stripped",
        zone.apex
    );
    Reason::Broken { rule: "presigned", owner: zone.apex.clone(), text }
}

/// The part a key has that nothing but its flags tells of.
pub fn role_of(dnskey: &[u8], policy: &Policy) -> Role {
    match (is_entry(dnskey), policy.split) {
        (true, true) => Role::Ksk,
        (true, false) => Role::Csk,
        (false, _) => Role::Zsk,
    }
}

fn is_entry(dnskey: &[u8]) -> bool {
    let flags = dnskey.first_chunk().map_or(0, |flags| u16::from_be_bytes(*flags));
    flags & SECURE_ENTRY != 0
}
