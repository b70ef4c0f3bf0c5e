//! Requests that carry TSIG ([RFC 8945] §5.2): checked here, and their answers signed.
//!
//! Apart from the main flow, which never pays for them.
//!
//! [RFC 8945]: https://www.rfc-editor.org/rfc/rfc8945

use super::asks::{Broken, Messages};
use super::handle::{Context, Outcome, Slot, explain};
use super::rrl::{Kind, Verdict};
use crate::answer::Snapshot;
use crate::answer::prefetch::Found;
use crate::metrics::TRUNCATED;
use crate::wire::edns::Ede;
use crate::wire::tsig::{self, Refusal, Signer};
use crate::wire::{Rcode, Reply};

impl Context {
    /// Answers a signed message; its TSIG record stands at `at`.
    #[cold]
    pub(super) fn answer_signed(
        &self,
        snapshot: &Snapshot,
        slot: &mut Slot,
        at: usize,
        now_s: u32,
    ) -> Outcome {
        let mut signer = match self.check_signature(slot, at, now_s) {
            Ok(signer) => signer,
            Err(refusal) => return self.refuse_signature(slot, refusal, now_s),
        };
        let Slot { octets, query, peer, .. } = slot;
        let cookie = self.check_cookie(query, peer, now_s);
        let opt = self.opt(query, cookie);
        let mut reply = Reply::new(query, octets, self.cap(query), opt.as_ref());
        reply.reserve(signer.octets());
        let key = signer.key().name.clone();
        let kind =
            match self.fill((snapshot, &Found::default()), query, (peer, Some(&key)), &mut reply) {
                Ok(kind) => kind,
                Err(ask) => return Outcome::Ask(ask),
            };
        if self.limit(&mut reply, kind, cookie, peer, now_s) == Verdict::Drop {
            return Outcome::Silent;
        }
        explain(&mut reply);
        self.count_response(reply.rcode());
        if reply.is_truncated() {
            self.counters().add(&TRUNCATED, 0);
        }
        let len = reply.finish();
        Outcome::Reply(sign(&mut signer, octets, len, now_s))
    }

    /// Who signed the message in `slot`, whose TSIG record stands at `at`.
    pub(super) fn check_signature(
        &self,
        slot: &Slot,
        at: usize,
        now_s: u32,
    ) -> Result<Signer, Refusal> {
        let message = slot.octets.get(..slot.len).unwrap_or_default();
        let keys = &self.shared().settings.keys;
        tsig::check(message, at, |name| keys.find(name, now_s.into()), now_s.into())
    }

    /// Says what is wrong with a signature.
    pub(super) fn refuse_signature(
        &self,
        slot: &mut Slot,
        refusal: Refusal,
        now_s: u32,
    ) -> Outcome {
        let opt = self.opt(&slot.query, self.cookie_aside(slot, now_s));
        let Slot { octets, query, peer, .. } = slot;
        let mut reply = Reply::new(query, octets, self.cap(query), opt.as_ref());
        let why = explanation(refusal.error());
        let (rcode, record, signer) = match refusal {
            Refusal::Malformed => (Rcode::FORMERR, Vec::new(), None),
            Refusal::Unsigned { record, .. } => (Rcode::NOTAUTH, record, None),
            Refusal::Signed { signer, .. } => (Rcode::NOTAUTH, Vec::new(), Some(signer)),
        };
        reply.reserve(signer.as_ref().map_or(record.len(), Signer::octets));
        reply.set_rcode(rcode);
        reply.explain(Ede::new(Ede::OTHER, why));
        if self.limit(&mut reply, Kind::Error, None, peer, now_s) == Verdict::Drop {
            return Outcome::Silent;
        }
        self.count_response(rcode);
        let len = reply.finish_with(&record);
        Outcome::Reply(match signer {
            Some(mut signer) => sign(&mut signer, octets, len, now_s),
            None => len,
        })
    }
}

/// What is wrong with a signature, for whoever looks after the client.
fn explanation(error: Rcode) -> &'static str {
    match error {
        Rcode::BADKEY => "there is no TSIG key of this name and algorithm here",
        Rcode::BADSIG => "the TSIG key has another secret here, or the message was changed",
        Rcode::BADTIME => "signed at another time than it is here: compare the clocks",
        Rcode::BADTRUNC => "the MAC is shorter than the TSIG key allows here",
        _ => "the TSIG record is malformed",
    }
}

/// Puts a TSIG record behind the message of `len` octets, if there is room; returns its octets then.
pub(super) fn sign(signer: &mut Signer, octets: &mut [u8], len: usize, now_s: u32) -> usize {
    let record = signer.record(octets.get(..len).unwrap_or_default(), now_s.into());
    let end = len + record.len();
    let Some(place) = octets.get_mut(len..end) else { return len };
    place.copy_from_slice(&record);
    if let Some(count) = octets.get_mut(10..12) {
        let additionals = count.iter().fold(0u16, |sum, &octet| sum << 8 | u16::from(octet));
        count.copy_from_slice(&additionals.wrapping_add(1).to_be_bytes());
    }
    end
}

/// The messages of a transfer, each signed.
pub(super) struct SignedMessages {
    pub messages: Box<dyn Messages>,
    pub signer: Signer,
}

impl Messages for SignedMessages {
    fn next(&mut self, now_s: u32, out: &mut Vec<u8>) -> Result<bool, Broken> {
        let more = self.messages.next(now_s, out)?;
        if more {
            self.signer.sign(out, now_s.into());
        }
        Ok(more)
    }
}
