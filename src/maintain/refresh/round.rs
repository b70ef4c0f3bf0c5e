//! One round for one zone: its primaries in order, until one has said what the newest version is and
//! we have it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pull::{Pulled, Source, Trouble};
use super::{Ask, Took};
use crate::maintain::rows::{self, Zone};
use crate::maintain::secondary::{self, Following, Primary};
use crate::maintain::stage::STAGE_OCTETS_MIN;
use crate::maintain::{CommitError, Content, Maintain, Reason, Refusal, Transferred, ZoneChange};
use crate::maintain::{ZoneState, dnssec, now_us};
use crate::sign::vouch;
use crate::transport::client::AskError;
use crate::wire::{Name, Serial, Type};
use crate::xfr::incoming::{Asked, Transfer, TransferFault};
use crate::xfr::timers::SoaTimers;
use crate::zone::delta::set_at;
use crate::zone::tree::PackedZone;
use crate::zone::{packed, serial};

/// How a round ended.
pub(super) struct Ended {
    /// None: the zone is no secondary any more.
    pub zone: Option<Zone>,
    pub following: Option<Following>,
    /// Of the version in service.
    pub timers: Option<SoaTimers>,
    pub outcome: Result<Option<Took>, Trouble>,
    /// Primaries that were asked in vain, and why.
    pub passed_over: Vec<(SocketAddr, String)>,
    /// The one that was not.
    pub answered: Option<SocketAddr>,
    /// Whether one of them said that it has something newer.
    pub is_news: bool,
}

/// The zone as the round found it.
struct Here {
    zone: Zone,
    /// The serial its primary gave to it: its own, unless it counts for itself.
    serial: Serial,
    /// The RDATA of its SOA as its primary has it; none before the first transfer.
    soa: Option<Box<[u8]>>,
}

impl Maintain {
    /// Asks the primaries of `apex`. Whatever comes of it is committed when this returns.
    pub(super) fn round(&self, apex: &Name, ask: &Ask) -> Ended {
        let gone = |outcome| Ended {
            zone: None,
            following: None,
            timers: None,
            outcome,
            passed_over: Vec::new(),
            answered: None,
            is_news: false,
        };
        let (zone, following) = match self.follower(apex) {
            Ok(Some(found)) => found,
            Ok(None) => return gone(Ok(None)),
            Err(fault) => return gone(Err(Trouble::Store(fault.to_string()))),
        };
        let mut ended = Ended {
            zone: Some(zone.clone()),
            following: Some(following.clone()),
            timers: None,
            outcome: Err(Trouble::Store(format!("{apex} has no primaries"))),
            passed_over: Vec::new(),
            answered: None,
            is_news: ask.from.is_some(),
        };
        let here = match self.here(zone) {
            Ok(here) => here,
            Err(trouble) => {
                ended.outcome = Err(trouble);
                return ended;
            }
        };
        let mut crowded = None;
        for primary in in_order(&following.primaries, ask) {
            ended.outcome = self.ask_primary(&here, primary, ask, &mut ended.is_news);
            match &ended.outcome {
                Ok(_) => {
                    ended.answered = Some(primary.address);
                    break;
                }
                Err(Trouble::Crowded(primary)) => crowded = Some(*primary),
                Err(trouble) => ended.passed_over.push((primary.address, trouble.to_string())),
            }
        }
        if let (Err(_), Some(primary)) = (&ended.outcome, crowded) {
            ended.outcome = Err(Trouble::Crowded(primary)); // it may have what the others have not
        }
        let soa = match &ended.outcome {
            Ok(Some(_)) => {
                ended.zone = self.follower(apex).ok().flatten().map(|(zone, _)| zone);
                ended.zone.as_ref().and_then(|zone| self.soa_of(zone).ok().flatten())
            }
            _ => here.soa,
        };
        ended.timers = soa.and_then(|soa| SoaTimers::of(&soa));
        ended
    }

    fn here(&self, zone: Zone) -> Result<Here, Trouble> {
        let soa = self.soa_of(&zone)?;
        let there = self.serial_there(&zone.apex)?;
        let serial = there.unwrap_or(zone.serial);
        let soa = soa.map(|soa| serial::with_serial(&soa, serial));
        Ok(Here { zone, serial, soa })
    }

    /// The serial its primary gave to a zone that counts for itself; none for any other.
    fn serial_there(&self, apex: &Name) -> Result<Option<Serial>, Trouble> {
        let there = self.store().read(|rows| secondary::serial_there(rows, apex));
        there.map_err(|fault| Trouble::Store(fault.to_string()))
    }

    /// The RDATA of a zone's SOA; none before its first transfer.
    pub(super) fn soa_of(&self, zone: &Zone) -> Result<Option<Box<[u8]>>, Trouble> {
        let soa = self
            .store()
            .read(|rows| rows::with_view(rows, zone, |view| set_at(view, &zone.apex, Type::SOA)));
        let soa = soa.map_err(|fault| Trouble::Store(fault.to_string()))?;
        Ok(soa.and_then(|set| set.rrset.rdatas().first().cloned()))
    }

    fn ask_primary(
        &self,
        here: &Here,
        primary: &Primary,
        ask: &Ask,
        is_news: &mut bool,
    ) -> Result<Option<Took>, Trouble> {
        let (desk, asked_us) = (self.refreshing(), now_us());
        if !ask.forced {
            desk.is_out_of_reach(primary.address, ask)?;
        }
        let _turn = desk.turn(primary.address)?;
        let keys = |name: &Name| self.tsig_key(name);
        let settings = &self.settings().refresh;
        let source = Source::new(self.dialer(), settings, primary, &keys, &desk.trusts)?;
        let asked = self.ask_source(here, &source, ask, is_news);
        match &asked {
            Err(trouble) if trouble.is_out_of_reach() => {
                desk.note_out_of_reach(primary.address, asked_us, trouble);
            }
            _ => desk.note_in_reach(primary.address),
        }
        asked
    }

    fn ask_source(
        &self,
        here: &Here,
        source: &Source<'_>,
        ask: &Ask,
        is_news: &mut bool,
    ) -> Result<Option<Took>, Trouble> {
        let begun = Instant::now();
        let (apex, address) = (&here.zone.apex, source.primary.address);
        let Some(soa) = here.soa.as_deref().filter(|_| !ask.transfer) else {
            let pulled = source.pull(apex, Asked::Axfr, &[])?;
            return self.take(here, source, pulled, ask, "AXFR", begun);
        };
        // Who was told, or may say nothing by UDP, asks for the changes at once: nothing newer is an
        // answer to that too.
        let mut silence = None;
        if ask.from.is_none() && !source.is_private() {
            match source.serial(apex) {
                Ok(theirs) if self.compare(here, address, theirs)? => {
                    return self.confirm(here, address);
                }
                Ok(_) => *is_news = true,
                // Some give a catalog to those who transfer it and to no question: ask as one of them.
                Err(Trouble::Transfer(_, TransferFault::Refused(_))) => {}
                // Datagrams get lost, or are let through nowhere, where connections come to their end.
                Err(Trouble::Dial(error @ AskError::Silent(_))) => silence = Some(error),
                Err(trouble) => return Err(trouble),
            }
        }
        let ixfr = source
            .pull(apex, Asked::Ixfr { have: here.serial }, soa)
            .and_then(|pulled| self.take(here, source, pulled, ask, "IXFR", begun));
        match (ixfr, silence) {
            (Err(Trouble::Dial(_)), Some(silence)) => return Err(Trouble::Dial(silence)),
            (Err(Trouble::Transfer(..) | Trouble::Refused(..)), _) => {}
            (Err(Trouble::Dial(ref error)), _) if is_hung_up(error) => {}
            (other, _) => return other,
        }
        let pulled = source.pull(apex, Asked::Axfr, &[])?;
        self.take(here, source, pulled, ask, "AXFR", begun)
    }

    /// Whether what is here is the newest.
    fn compare(
        &self,
        here: &Here,
        primary: std::net::SocketAddr,
        theirs: Serial,
    ) -> Result<bool, Trouble> {
        let ours = here.serial;
        match (theirs == ours, ours.is_before(theirs)) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            _ => Err(Trouble::Behind { primary, theirs, ours }),
        }
    }

    fn take(
        &self,
        here: &Here,
        source: &Source<'_>,
        pulled: Pulled,
        ask: &Ask,
        how: &'static str,
        begun: Instant,
    ) -> Result<Option<Took>, Trouble> {
        let (apex, primary) = (&here.zone.apex, source.primary.address);
        let from = here.serial;
        let has_any = here.soa.is_some();
        let (transferred, how) = match pulled.transfer {
            Transfer::Current(theirs) => {
                self.compare(here, primary, theirs)?;
                return self.confirm(here, primary);
            }
            Transfer::Steps(steps) => (Transferred::Steps(steps), how),
            Transfer::Whole { packed, serial } => {
                // Somebody wants all of it, even what has the same number.
                let any_serial = ask.any_serial || ask.transfer && serial == from;
                if has_any && !any_serial && !from.is_before(serial) {
                    self.compare(here, primary, serial)?;
                    return self.confirm(here, primary);
                }
                let content = self.content_of(here, primary, packed)?;
                (Transferred::Whole { content, any_serial }, "AXFR")
            }
        };
        self.commit_transfer(here, primary, how, transferred)?;
        let zone = self.follower(apex).ok().flatten().map(|(zone, _)| zone);
        let serial = self.serial_there(apex)?.or(zone.map(|zone| zone.serial)).unwrap_or(from);
        let elapsed = begun.elapsed();
        let (records, octets) = (pulled.records, pulled.octets);
        tracing::info!(
            zone = %apex, %primary, how, serial = serial.0, records, octets,
            elapsed_ms = elapsed.as_millis() as u64,
            "took zone {apex} to serial {serial} by {how} from {primary}"
        );
        if has_any && from != serial && !from.is_before(serial) {
            tracing::warn!(zone = %apex, "zone {apex} went from serial {from} to {serial}, as it was told to");
        }
        if pulled.strangers > 0 {
            let strangers = pulled.strangers;
            tracing::warn!(zone = %apex, strangers, "{primary} sent {strangers} records outside {apex}");
        }
        let at_us = now_us();
        Ok(Some(Took { at_us, primary, how, serial, records, octets, elapsed }))
    }

    /// The records of a whole zone on their way into the one that is here.
    fn content_of(
        &self,
        here: &Here,
        primary: std::net::SocketAddr,
        packed: Vec<u8>,
    ) -> Result<Content, Trouble> {
        let apex = &here.zone.apex;
        // As it was sent: what is left out here is in the digest too.
        let ds = self.store().read(|rows| dnssec::ds_of_others(rows, &here.zone));
        let ds = ds.map_err(|fault| Trouble::Store(fault.to_string()))?;
        let sent = PackedZone::new(apex.clone(), &packed);
        vouch::check(&sent, &ds, self.now_to_judge_by())
            .map_err(|why| Trouble::Refused(primary, why.to_string()))?;
        let bare = self.without_signer(apex, packed);
        let (octets, is_bare) = bare.map_err(|fault| Trouble::Store(fault.to_string()))?;
        let presigned = !is_bare && is_signed(&octets);
        let large = octets.len() >= STAGE_OCTETS_MIN;
        let content = Content::Packed { octets, presigned };
        if !large {
            return Ok(content);
        }
        let staged = self.stage(apex, &content).map_err(|why| refused(primary, why))?;
        Ok(Content::Staged(staged))
    }

    fn commit_transfer(
        &self,
        here: &Here,
        primary: std::net::SocketAddr,
        how: &str,
        transferred: Transferred,
    ) -> Result<(), Trouble> {
        let apex = here.zone.apex.clone();
        let done = self.commit(|door| -> Result<(), Refusal> {
            door.set_cause(format!("{how} from {primary}"));
            door.apply(&[ZoneChange::Transfer { apex: apex.clone(), transferred }])?;
            let at_us = door.now_us();
            secondary::confirm(door.tx(), &apex, at_us).map_err(|error| unwritten(&apex, error))
        });
        done.map(drop).map_err(|why| refused(primary, why))
    }

    /// A primary has what is here. That is written down now and then, and when it changes anything.
    fn confirm(&self, here: &Here, primary: std::net::SocketAddr) -> Result<Option<Took>, Trouble> {
        let apex = &here.zone.apex;
        if here.zone.state == ZoneState::Expired {
            self.commit_transfer(here, primary, "confirmation", Transferred::Same)?;
            tracing::info!(zone = %apex, "zone {apex} is confirmed by {primary} and answered again");
            return Ok(None);
        }
        let written = self.store().read(|rows| secondary::confirmed_us(rows, apex));
        let written = written.map_err(|fault| Trouble::Store(fault.to_string()))?;
        let timers = here.soa.as_deref().and_then(SoaTimers::of);
        let expire_s = timers.map_or(0, |timers| u64::from(timers.expire_s));
        let lag = Duration::from_micros(now_us().saturating_sub(written.unwrap_or_default()));
        if lag >= Duration::from_secs(expire_s / CONFIRMATIONS_PER_EXPIRE) {
            let at_us = now_us();
            self.store()
                .transact(|tx| secondary::confirm(tx, apex, at_us))
                .map_err(|error| Trouble::Store(error.to_string()))?;
        }
        Ok(None)
    }
}

/// How many confirmations are written down within EXPIRE at most: after a crash the last may be this
/// much of EXPIRE older than it was, which only makes the zone expire earlier.
const CONFIRMATIONS_PER_EXPIRE: u64 = 16;

/// The primaries in the order they are asked: who told us something first.
fn in_order<'a>(primaries: &'a [Primary], ask: &Ask) -> impl Iterator<Item = &'a Primary> {
    let from = ask.from;
    let told = move |primary: &&Primary| Some(primary.address.ip()) == from;
    primaries.iter().filter(told).chain(primaries.iter().filter(move |primary| !told(primary)))
}

/// A primary that does not know IXFR may just hang up.
fn is_hung_up(error: &AskError) -> bool {
    matches!(error, AskError::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// Whether a packed zone has keys and a signed SOA.
pub(in crate::maintain) fn is_signed(octets: &[u8]) -> bool {
    let Some(apex) = packed::nodes(octets).next() else { return false };
    let soa = apex.rrset(Type::SOA).is_some_and(|soa| soa.sig_count > 0);
    soa && apex.rrset(Type::DNSKEY).is_some()
}

fn refused(primary: std::net::SocketAddr, why: CommitError<Refusal>) -> Trouble {
    match why {
        CommitError::Refused(refusal) => Trouble::Refused(primary, refusal.to_string()),
        CommitError::Unreadable(fault) => Trouble::Store(fault.to_string()),
        CommitError::Write(error) => Trouble::Store(error.to_string()),
    }
}

pub(super) fn unwritten(apex: &Name, error: crate::store::RowError) -> Refusal {
    let reasons = vec![Reason::Unreadable(rows::fault(error))];
    Refusal { zones: vec![crate::maintain::RefusedZone { apex: apex.clone(), reasons }] }
}
