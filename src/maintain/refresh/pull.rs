//! One transfer from one primary: asked for, heard, believed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Settings, random};
use crate::maintain::now_us;
use crate::maintain::secondary::Primary;
use crate::transport::client::{AskError, Dialer};
use crate::transport::xot::{Trust, TrustError, Trusts};
use crate::wire::tsig::{self, Distrust, TsigKey};
use crate::wire::{Header, Name, Rcode, Serial};
use crate::xfr::incoming::{self, Asked, Incoming, Limits, Progress, Transfer, TransferFault};

/// How long a primary may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long each answer by UDP may take, in milliseconds: it is asked for so often.
const UDP_TRIES: &[u64] = &[1_000, 1_000, 1_500];

/// From when on a transfer must be as fast as the operator wants.
const GRACE: Duration = Duration::from_secs(10);

/// Why nothing came of asking one primary. The version in service stays in service.
#[derive(Debug)]
pub enum Trouble {
    /// It cannot be reached, or may not be.
    Dial(AskError),
    /// It did not answer a moment ago, and was not asked: what was seen then.
    OutOfReach(String),
    /// It refused, or broke the protocol.
    Transfer(SocketAddr, TransferFault),
    /// It is not who shares the key with us.
    Distrust(SocketAddr, Distrust),
    /// Nobody can be trusted to be it. An operator's to mend.
    Trust(TrustError),
    /// There is no key of this name. An operator's to mend.
    UnknownKey(Name),
    /// It is slower than the operator wants.
    Slow { primary: SocketAddr, octets: u64, elapsed: Duration },
    /// It has an older version than we have.
    Behind { primary: SocketAddr, theirs: Serial, ours: Serial },
    /// What it has is no zone, or cannot be taken.
    Refused(SocketAddr, String),
    /// Other zones ask it already, as many as may at once: soon.
    Crowded(SocketAddr),
    /// The store takes nothing, or a zone cannot be read. An operator's to mend.
    Store(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Dial(error) => f.write_str(&error.sentence()),
            Trouble::Transfer(primary, fault) => write!(f, "{primary} {fault}"),
            Trouble::Distrust(primary, distrust) => write!(f, "{primary}: {distrust}"),
            Trouble::Trust(error) => error.fmt(f),
            Trouble::UnknownKey(name) => write!(f, "there is no TSIG key {name}"),
            Trouble::Slow { primary, octets, elapsed } => {
                write!(
                    f,
                    "{primary} sent {octets} octets in {} s, which is too slow",
                    elapsed.as_secs()
                )
            }
            Trouble::Behind { primary, theirs, ours } => write!(
                f,
                "{primary} has serial {theirs}, which is behind {ours} here: raise it there, or transfer with any_serial"
            ),
            Trouble::Refused(primary, why) => {
                write!(f, "the zone of {primary} cannot be taken: {why}")
            }
            Trouble::Crowded(primary) => write!(f, "{primary} is asked by many other zones now"),
            Trouble::OutOfReach(why) | Trouble::Store(why) => f.write_str(why),
        }
    }
}

impl Trouble {
    /// Whether asking the same primary for another zone now would be in vain too.
    pub(super) fn is_out_of_reach(&self) -> bool {
        matches!(self, Trouble::Dial(AskError::Silent(_) | AskError::Unreachable { .. }))
    }

    /// Whether the line or the primary fell away, so that the same may come through soon.
    pub(super) fn is_of_the_line(&self) -> bool {
        self.is_out_of_reach() || matches!(self, Trouble::OutOfReach(_) | Trouble::Slow { .. })
    }
}

/// What came, and how.
pub(super) struct Pulled {
    pub transfer: Transfer,
    pub records: usize,
    pub octets: u64,
    /// Records outside the zone.
    pub strangers: usize,
}

/// One primary as it is asked.
pub(super) struct Source<'a> {
    dialer: &'a Dialer,
    settings: &'a Settings,
    pub primary: &'a Primary,
    key: Option<Arc<TsigKey>>,
    trust: Option<Trust>,
}

impl<'a> Source<'a> {
    /// A primary with what is needed to know it.
    pub fn new(
        dialer: &'a Dialer,
        settings: &'a Settings,
        primary: &'a Primary,
        keys: &dyn Fn(&Name) -> Option<Arc<TsigKey>>,
        trusts: &Trusts,
    ) -> Result<Source<'a>, Trouble> {
        let key = primary
            .key
            .as_ref()
            .map(|name| keys(name).ok_or_else(|| Trouble::UnknownKey(name.clone())));
        Source::with_key(dialer, settings, primary, key.transpose()?, trusts)
    }

    /// The same, with a key that stands in no list.
    pub fn with_key(
        dialer: &'a Dialer,
        settings: &'a Settings,
        primary: &'a Primary,
        key: Option<Arc<TsigKey>>,
        trusts: &Trusts,
    ) -> Result<Source<'a>, Trouble> {
        let trust = primary.tls.as_ref().map(|peer| {
            let (authorities, own) = (settings.authorities.as_deref(), settings.identity.as_ref());
            let trust = trusts.of(peer.name.as_deref(), &peer.pins, authorities, own);
            trust.map_err(Trouble::Trust)
        });
        Ok(Source { dialer, settings, primary, key, trust: trust.transpose()? })
    }

    /// Whether it is asked by TLS only: then by UDP nothing may be said.
    pub fn is_private(&self) -> bool {
        self.trust.is_some()
    }

    /// The serial it has.
    pub fn serial(&self, apex: &Name) -> Result<Serial, Trouble> {
        let server = self.primary.address;
        let mut last = AskError::Silent(server);
        for patience in UDP_TRIES.iter().copied().map(Duration::from_millis) {
            let mut query = incoming::question::soa(apex, random() as u16);
            let verifier = self.key.as_ref().map(|key| tsig::request(key, &mut query, now_s()));
            match self.dialer.ask(server, &mut query, patience) {
                Ok(answer) => {
                    if let Some(mut verifier) = verifier {
                        verifier
                            .verify(&answer, now_s())
                            .map_err(|distrust| self.distrust(distrust, &answer))?;
                    }
                    return incoming::serial_in(&answer, apex)
                        .map_err(|fault| Trouble::Transfer(server, fault));
                }
                Err(error @ AskError::Silent(_)) => last = error,
                Err(error) => return Err(Trouble::Dial(error)),
            }
        }
        Err(Trouble::Dial(last))
    }

    /// Transfers the zone, or what changed since the version with the SOA RDATA `soa`.
    pub fn pull(&self, apex: &Name, asked: Asked, soa: &[u8]) -> Result<Pulled, Trouble> {
        let (server, settings) = (self.primary.address, self.settings);
        let whole = Duration::from_secs(settings.transfer_s_max);
        let begun = Instant::now();
        let mut conversation = self
            .dialer
            .converse(server, self.trust.as_ref(), PATIENCE, whole)
            .map_err(Trouble::Dial)?;
        let id = random() as u16;
        let mut message = match asked {
            Asked::Axfr => incoming::question::axfr(apex, id),
            Asked::Ixfr { .. } => incoming::question::ixfr(apex, soa, id),
        };
        let mut verifier = self.key.as_ref().map(|key| tsig::request(key, &mut message, now_s()));
        conversation.send(&message).map_err(Trouble::Dial)?;

        let limits = Limits {
            octets_max: settings.transfer_octets_max,
            records_max: settings.transfer_records_max,
        };
        let mut incoming = Incoming::new(apex.clone(), asked, id, limits);
        let fault = |fault| Trouble::Transfer(server, fault);
        let mut octets = 0u64;
        loop {
            // A message that drips is as slow as many small ones.
            let until = latest(octets, settings.transfer_octets_per_s_min);
            let heard = conversation.receive(&mut message, until.map(|latest| begun + latest));
            let elapsed = begun.elapsed();
            if until.is_some_and(|latest| elapsed >= latest) {
                return Err(Trouble::Slow { primary: server, octets, elapsed });
            }
            heard.map_err(Trouble::Dial)?;
            octets += message.len() as u64;
            if let Some(verifier) = &mut verifier {
                verifier
                    .verify(&message, now_s())
                    .map_err(|distrust| self.distrust(distrust, &message))?;
            }
            if incoming.message(&message).map_err(fault)? == Progress::Done {
                break;
            }
        }
        if let Some(verifier) = verifier {
            verifier.finish().map_err(|distrust| Trouble::Distrust(server, distrust))?;
        }
        let (records, strangers) = (incoming.records(), incoming.strangers());
        let transfer = incoming.finish().map_err(fault)?;
        let transfer = transfer.ok_or(Trouble::Dial(AskError::Silent(server)))?;
        Ok(Pulled { transfer, records, octets, strangers })
    }

    /// A server that refuses without having looked at the signature has nothing to sign with.
    fn distrust(&self, distrust: Distrust, message: &[u8]) -> Trouble {
        let rcode = Header::read(message).map_or(Rcode::NOERROR, |header| header.flags.rcode());
        match distrust {
            Distrust::Unsigned if rcode != Rcode::NOERROR => {
                Trouble::Transfer(self.primary.address, TransferFault::Refused(rcode))
            }
            distrust => Trouble::Distrust(self.primary.address, distrust),
        }
    }
}

/// How long after its begin a transfer that brought so many octets must have brought its next message:
/// as long as the largest takes at the slowest pace. None where any pace will do.
fn latest(octets: u64, octets_per_s_min: u64) -> Option<Duration> {
    let seconds = (octets + u64::from(u16::MAX)).checked_div(octets_per_s_min)?;
    Some(GRACE.max(Duration::from_secs(seconds)))
}

fn now_s() -> u64 {
    now_us() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_may_begin_slowly_and_must_be_fast_enough_then() {
        assert_eq!(latest(0, 0), None, "any pace will do");
        assert_eq!(latest(0, 1 << 20), Some(GRACE), "so much is given to begin");
        assert_eq!(latest(0, 1_000), Some(Duration::from_secs(65)));
        assert_eq!(latest(935_000, 1_000), Some(Duration::from_secs(1_000)));
    }
}
