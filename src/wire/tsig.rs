//! TSIG: messages signed with a secret that both sides know ([RFC 8945]).
//!
//! A conversation is a chain: each MAC covers the one before it. Whoever answers gets a [`Signer`]
//! out of the request it [checked](check); whoever asks gets a [`Verifier`] out of the request it
//! [signed](request). Both walk along the chain, one message at a time, however many there are.
//!
//! Promises: MACs are compared in constant time; a secret is never shown; everything read is taken
//! as hostile.
//!
//! Does not: know which keys there are, nor what each may do. hmac-md5 and GSS-TSIG are not spoken.
//!
//! [RFC 8945]: https://www.rfc-editor.org/rfc/rfc8945

mod key;

use std::fmt;
use std::sync::Arc;

use super::header::{HEADER_OCTETS, Header};
use super::query::RecordAt;
use super::{Class, Name, Rcode, Type, rdata};

use key::Running;
pub use key::{Algorithm, KeyError, SECRET_OCTETS_MAX, SECRET_OCTETS_MIN, TsigKey};

/// How far two clocks may differ, in seconds ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §10).
pub const FUDGE_S: u16 = 300;

/// Messages in a row that a stream may leave unsigned ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §5.3.1).
pub const UNSIGNED_MAX: usize = 99;

/// Octets of a TSIG record beside its two names, its MAC and its other data.
const FIXED_OCTETS: usize = 10 + 16;

/// Octets of the time that BADTIME sends along.
const TIME_OCTETS: usize = 6;

/// What a TSIG record says beside its MAC.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    /// Seconds since 1970, 48 bits.
    time_s: u64,
    fudge_s: u16,
    error: u16,
}

impl Stamp {
    fn at(time_s: u64) -> Stamp {
        Stamp { time_s, fudge_s: FUDGE_S, error: 0 }
    }

    fn timers(self) -> [u8; TIME_OCTETS + 2] {
        let [_, _, t0, t1, t2, t3, t4, t5] = self.time_s.to_be_bytes();
        let [f0, f1] = self.fudge_s.to_be_bytes();
        [t0, t1, t2, t3, t4, t5, f0, f1]
    }

    fn is_off(self, now_s: u64) -> bool {
        self.time_s.abs_diff(now_s) > u64::from(self.fudge_s)
    }
}

/// Adds what [RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §4.3.3 calls the TSIG variables.
fn add_variables(to: &mut Running, name: &[u8], algorithm: &[u8], stamp: Stamp, other: &[u8]) {
    to.add(&name.to_ascii_lowercase());
    to.add(&[0, 255, 0, 0, 0, 0]);
    to.add(&algorithm.to_ascii_lowercase());
    to.add(&stamp.timers());
    to.add(&stamp.error.to_be_bytes());
    to.add_mac(other);
}

/// A TSIG record as it came.
#[derive(Debug, Clone)]
struct Tsig {
    name: Name,
    algorithm: Name,
    stamp: Stamp,
    mac: Vec<u8>,
    original_id: u16,
    other: Vec<u8>,
}

/// Not a TSIG record where one should be, or one that breaks the rules. FORMERR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Tsig {
    fn read(message: &[u8], at: usize) -> Result<Tsig, Malformed> {
        let record = RecordAt::read(message, at).map_err(|_| Malformed)?;
        let in_form = record.rtype == Type::TSIG
            && record.class == Class::ANY.0
            && record.ttl == 0
            && record.end == message.len();
        let owner_end = record.rdata_at.checked_sub(10).filter(|_| in_form).ok_or(Malformed)?;
        let name = rdata::expand(Type::NS, message, at..owner_end).map_err(|_| Malformed)?;
        let rdata = message.get(record.rdata_at..record.end).ok_or(Malformed)?;
        let algorithm_len = super::name::wire_len(rdata).map_err(|_| Malformed)?;
        let (algorithm, rest) = rdata.split_at_checked(algorithm_len).ok_or(Malformed)?;
        let (&timers, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (mac, rest) = counted(rest)?;
        let (&[i0, i1, e0, e1], rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (other, rest) = counted(rest)?;
        if !rest.is_empty() {
            return Err(Malformed);
        }
        let [t0, t1, t2, t3, t4, t5, f0, f1] = timers;
        Ok(Tsig {
            name: Name::from_wire(&name).map_err(|_| Malformed)?.to_lowercase(),
            algorithm: Name::from_wire(algorithm).map_err(|_| Malformed)?,
            stamp: Stamp {
                time_s: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
                fudge_s: u16::from_be_bytes([f0, f1]),
                error: u16::from_be_bytes([e0, e1]),
            },
            mac: mac.to_vec(),
            original_id: u16::from_be_bytes([i0, i1]),
            other: other.to_vec(),
        })
    }

    /// The algorithm, if it is one of those spoken here.
    fn known_algorithm(&self) -> Option<Algorithm> {
        let wire = self.algorithm.as_wire();
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.wire().eq_ignore_ascii_case(wire))
    }
}

/// Octets with their number in front.
fn counted(octets: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (len, rest) = octets.split_first_chunk::<2>().ok_or(Malformed)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(Malformed)
}

/// Writes a TSIG record.
fn record(
    name: &[u8],
    algorithm: &[u8],
    stamp: Stamp,
    mac: &[u8],
    original_id: u16,
    other: &[u8],
) -> Vec<u8> {
    let rdata_octets = algorithm.len() + 16 + mac.len() + other.len();
    let mut out = Vec::with_capacity(name.len() + 10 + rdata_octets);
    out.extend_from_slice(name);
    out.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
    out.extend_from_slice(&(rdata_octets as u16).to_be_bytes());
    out.extend_from_slice(algorithm);
    out.extend_from_slice(&stamp.timers());
    out.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    out.extend_from_slice(mac);
    out.extend_from_slice(&original_id.to_be_bytes());
    out.extend_from_slice(&stamp.error.to_be_bytes());
    out.extend_from_slice(&(other.len() as u16).to_be_bytes());
    out.extend_from_slice(other);
    out
}

/// Puts a record behind a message and counts it.
fn append(message: &mut Vec<u8>, record: &[u8]) {
    if let Some(count) = message.get_mut(10..12) {
        let [high, low] = [count[0], count[1]];
        count.copy_from_slice(&(u16::from_be_bytes([high, low]).wrapping_add(1)).to_be_bytes());
        message.extend_from_slice(record);
    }
}

/// Why a request is not taken as signed.
#[derive(Debug)]
pub enum Refusal {
    /// Answer FORMERR, without TSIG.
    Malformed,
    /// BADKEY or BADSIG: answer NOTAUTH and put this record last. Nobody signs it: there is no
    /// secret both sides know.
    Unsigned { error: Rcode, record: Vec<u8> },
    /// BADTIME or BADTRUNC: answer NOTAUTH, signed.
    Signed { error: Rcode, signer: Signer },
}

impl Refusal {
    /// What is wrong, as an RCODE: FORMERR, BADKEY, BADSIG, BADTIME, BADTRUNC.
    pub fn error(&self) -> Rcode {
        match self {
            Refusal::Malformed => Rcode::FORMERR,
            Refusal::Unsigned { error, .. } | Refusal::Signed { error, .. } => *error,
        }
    }
}

/// Checks the request whose TSIG record stands at `at` ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945) §5.2: key, MAC, time, length).
///
/// `find` gives the keys of this name, in lower case: several while a secret is being changed.
/// `now_s` is in seconds since 1970, all 64 bits.
///
/// # Errors
///
/// [`Refusal`]: what to answer with.
pub fn check(
    message: &[u8],
    at: usize,
    find: impl FnOnce(&Name) -> Vec<Arc<TsigKey>>,
    now_s: u64,
) -> Result<Signer, Refusal> {
    let tsig = Tsig::read(message, at).map_err(|_| Refusal::Malformed)?;
    let unsigned = |error: Rcode| {
        let stamp = Stamp { error: error.0, ..tsig.stamp };
        let (name, algorithm) = (tsig.name.as_wire(), tsig.algorithm.as_wire());
        let record = record(name, algorithm, stamp, &[], tsig.original_id, &[]);
        Refusal::Unsigned { error, record }
    };
    let algorithm = tsig.known_algorithm().ok_or_else(|| unsigned(Rcode::BADKEY))?;
    let mut keys = find(&tsig.name);
    keys.retain(|key| key.algorithm == algorithm);
    if keys.is_empty() {
        return Err(unsigned(Rcode::BADKEY));
    }
    let mac_octets = tsig.mac.len();
    if !(algorithm.mac_octets_min()..=algorithm.mac_octets()).contains(&mac_octets) {
        return Err(Refusal::Malformed);
    }
    let signed = |key: &Arc<TsigKey>| {
        let mut hash = key.hash();
        hash.add_message(message.get(..at).unwrap_or_default(), tsig.original_id, before(message));
        let (name, algorithm) = (key.name.as_wire(), key.algorithm.wire());
        add_variables(&mut hash, name, algorithm, tsig.stamp, &tsig.other);
        hash.matches(&tsig.mac)
    };
    let key = keys.into_iter().find(signed).ok_or_else(|| unsigned(Rcode::BADSIG))?;
    let mac_octets = if mac_octets < key.mac_octets { key.mac_octets } else { mac_octets };
    let is_short = tsig.mac.len() < key.mac_octets;
    let signer = Signer {
        key,
        prior: tsig.mac,
        first: true,
        mac_octets,
        original_id: tsig.original_id,
        stamp: None,
    };
    if tsig.stamp.is_off(now_s) {
        let stamp = Stamp { error: Rcode::BADTIME.0, ..tsig.stamp };
        let signer = Signer { stamp: Some(stamp), ..signer };
        return Err(Refusal::Signed { error: Rcode::BADTIME, signer });
    }
    if is_short {
        let stamp = Stamp { error: Rcode::BADTRUNC.0, ..Stamp::at(now_s) };
        let signer = Signer { stamp: Some(stamp), ..signer };
        return Err(Refusal::Signed { error: Rcode::BADTRUNC, signer });
    }
    Ok(signer)
}

/// How many additional records stand before the last one.
fn before(message: &[u8]) -> u16 {
    Header::read(message).map_or(0, |header| header.additionals.saturating_sub(1))
}

/// Signs the answers to one request, in the order they are sent.
#[derive(Debug)]
pub struct Signer {
    key: Arc<TsigKey>,
    /// The MAC of the request, then of the message before.
    prior: Vec<u8>,
    first: bool,
    mac_octets: usize,
    original_id: u16,
    /// What an error says in place of the time of signing.
    stamp: Option<Stamp>,
}

impl Signer {
    /// The key that signed the request.
    pub fn key(&self) -> &Arc<TsigKey> {
        &self.key
    }

    /// Octets of the records it makes.
    pub fn octets(&self) -> usize {
        let other = if self.stamp.is_some() { TIME_OCTETS } else { 0 };
        let names = self.key.name.as_wire().len() + self.key.algorithm.wire().len();
        names + FIXED_OCTETS + self.mac_octets + other
    }

    /// The record that goes behind `message`, which does not count it yet.
    pub fn record(&mut self, message: &[u8], now_s: u64) -> Vec<u8> {
        let stamp = self.stamp.unwrap_or(Stamp::at(now_s));
        let [_, _, now @ ..] = now_s.to_be_bytes();
        let is_bad_time = stamp.error == Rcode::BADTIME.0;
        let other: &[u8] = if is_bad_time { &now } else { &[] };
        let id = Header::read(message).map_or(self.original_id, |header| header.id);
        let mut hash = self.key.hash();
        hash.add_mac(&self.prior);
        hash.add(message);
        let (name, algorithm) = (self.key.name.as_wire(), self.key.algorithm.wire());
        match self.first {
            true => add_variables(&mut hash, name, algorithm, stamp, other),
            false => hash.add(&stamp.timers()),
        }
        let mut mac = hash.finish();
        mac.truncate(self.mac_octets);
        self.first = false;
        let record = record(name, algorithm, stamp, &mac, id, other);
        self.prior = mac;
        record
    }

    /// Signs `message` where it stands.
    pub fn sign(&mut self, message: &mut Vec<u8>, now_s: u64) {
        let record = self.record(message, now_s);
        append(message, &record);
    }
}

/// Signs a request, and returns what checks the answers to it.
pub fn request(key: &Arc<TsigKey>, message: &mut Vec<u8>, now_s: u64) -> Verifier {
    let stamp = Stamp::at(now_s);
    let (name, algorithm) = (key.name.as_wire(), key.algorithm.wire());
    let mut hash = key.hash();
    hash.add(message);
    add_variables(&mut hash, name, algorithm, stamp, &[]);
    let mut mac = hash.finish();
    mac.truncate(key.mac_octets);
    let id = Header::read(message).map_or(0, |header| header.id);
    let record = record(name, algorithm, stamp, &mac, id, &[]);
    append(message, &record);
    let mut hash = key.hash();
    hash.add_mac(&mac);
    Verifier { key: Arc::clone(key), hash, first: true, unsigned: 0 }
}

/// Why an answer is not what the other side signed. Give the conversation up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// Not a message, or a TSIG record that breaks the rules.
    Malformed,
    /// The first or the last answer, or more than [`UNSIGNED_MAX`] in a row, carry no TSIG.
    Unsigned,
    /// Another key or algorithm than the request's.
    OtherKey,
    /// The MAC is not that of these octets.
    BadMac,
    /// Signed too long ago, or in the future.
    BadTime,
    /// The other side would not take the request: BADKEY, BADSIG, BADTIME, BADTRUNC.
    Refused(Rcode),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Malformed => f.write_str("a message or its TSIG record is malformed"),
            Distrust::Unsigned => f.write_str("a message is not signed"),
            Distrust::OtherKey => f.write_str("a message is signed with another key"),
            Distrust::BadMac => f.write_str("a signature is not that of its message"),
            Distrust::BadTime => f.write_str("a message was signed at another time than now"),
            Distrust::Refused(rcode) => match *rcode {
                Rcode::BADKEY => f.write_str("the key is not known there (BADKEY)"),
                Rcode::BADSIG => f.write_str("the secret is another one there (BADSIG)"),
                Rcode::BADTIME => f.write_str("the clock is another one there (BADTIME)"),
                Rcode::BADTRUNC => f.write_str("the MAC is too short for them (BADTRUNC)"),
                Rcode(other) => write!(f, "the signature was refused with error {other}"),
            },
        }
    }
}

impl std::error::Error for Distrust {}

/// Checks the answers to one request, in the order they come.
pub struct Verifier {
    key: Arc<TsigKey>,
    /// What is covered by the next MAC so far.
    hash: Running,
    first: bool,
    unsigned: usize,
}

impl Verifier {
    /// Checks one answer. In a stream some may go unsigned; they are as good as the next that is
    /// signed, so nothing of a stream counts before [`finish`](Verifier::finish).
    ///
    /// # Errors
    ///
    /// [`Distrust`].
    pub fn verify(&mut self, message: &[u8], now_s: u64) -> Result<(), Distrust> {
        let Some(at) = find(message).map_err(|_| Distrust::Malformed)? else {
            self.unsigned += 1;
            if self.first || self.unsigned > UNSIGNED_MAX {
                return Err(Distrust::Unsigned);
            }
            self.hash.add(message);
            return Ok(());
        };
        let tsig = Tsig::read(message, at).map_err(|_| Distrust::Malformed)?;
        if tsig.name != self.key.name || tsig.known_algorithm() != Some(self.key.algorithm) {
            return Err(Distrust::OtherKey);
        }
        if tsig.mac.is_empty() && tsig.stamp.error != 0 {
            return Err(Distrust::Refused(Rcode(tsig.stamp.error)));
        }
        if !(self.key.mac_octets..=self.key.algorithm.mac_octets()).contains(&tsig.mac.len()) {
            return Err(Distrust::BadMac);
        }
        let mut hash = self.key.hash();
        hash.add_mac(&tsig.mac);
        let mut hash = std::mem::replace(&mut self.hash, hash);
        hash.add_message(message.get(..at).unwrap_or_default(), tsig.original_id, before(message));
        let (name, algorithm) = (self.key.name.as_wire(), self.key.algorithm.wire());
        match self.first {
            true => add_variables(&mut hash, name, algorithm, tsig.stamp, &tsig.other),
            false => hash.add(&tsig.stamp.timers()),
        }
        if !hash.matches(&tsig.mac) {
            return Err(Distrust::BadMac);
        }
        if tsig.stamp.error != 0 {
            return Err(Distrust::Refused(Rcode(tsig.stamp.error)));
        }
        if tsig.stamp.is_off(now_s) {
            return Err(Distrust::BadTime);
        }
        (self.first, self.unsigned) = (false, 0);
        Ok(())
    }

    /// Ends the conversation: its last message must have been signed.
    ///
    /// # Errors
    ///
    /// [`Distrust::Unsigned`].
    pub fn finish(self) -> Result<(), Distrust> {
        if self.first || self.unsigned > 0 { Err(Distrust::Unsigned) } else { Ok(()) }
    }
}

/// Where the TSIG record of `message` stands, if its last record is one.
///
/// # Errors
///
/// [`Malformed`]: not a message, or TSIG anywhere else.
pub fn find(message: &[u8]) -> Result<Option<usize>, Malformed> {
    let header = Header::read(message).ok_or(Malformed)?;
    let mut at = HEADER_OCTETS;
    for _ in 0..header.questions {
        // A question is a record cut short: its name, then four octets.
        let name_end = super::query::skip_name(message, at).map_err(|_| Malformed)?;
        at = name_end + 4;
    }
    let records = [header.answers, header.authorities, header.additionals];
    let total: usize = records.iter().map(|&count| usize::from(count)).sum();
    for number in 0..total {
        let record = RecordAt::read(message, at).map_err(|_| Malformed)?;
        if record.rtype == Type::TSIG {
            let is_last = number + 1 == total && header.additionals > 0;
            return if is_last { Ok(Some(at)) } else { Err(Malformed) };
        }
        at = record.end;
    }
    if at == message.len() { Ok(None) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use domain::base::message_builder::MessageBuilder;
    use domain::base::{Message, Name as TheirName, Rtype};
    use domain::rdata::tsig::Time48;
    use domain::tsig as theirs;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"a secret of more than ten octets";

    fn key(algorithm: Algorithm) -> Arc<TsigKey> {
        let name = Name::parse("Key.example.").unwrap();
        Arc::new(TsigKey::new(name, algorithm, SECRET).unwrap())
    }

    fn question() -> Vec<u8> {
        let mut message = vec![0; HEADER_OCTETS];
        Header { id: 0xbeef, questions: 1, ..Header::default() }.write(&mut message);
        message.extend_from_slice(b"\x07example\x00\x00\xfc\x00\x01");
        message
    }

    /// An answer to it, with some payload.
    fn answer(number: u8) -> Vec<u8> {
        let mut message = question();
        message[2] = 0x84;
        message[7] = 1;
        message.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, number]);
        message
    }

    fn served(message: &[u8], key: &Arc<TsigKey>, now_s: u64) -> Result<Signer, Refusal> {
        let at = find(message).unwrap().unwrap();
        let found = |name: &Name| if *name == key.name { vec![Arc::clone(key)] } else { vec![] };
        check(message, at, found, now_s)
    }

    #[test]
    fn a_stream_of_answers_is_signed_and_checked_along_the_chain() {
        for algorithm in Algorithm::ALL {
            let key = key(algorithm);
            let mut asked = question();
            let mut verifier = request(&key, &mut asked, NOW);
            let mut signer = served(&asked, &key, NOW + 299).unwrap();
            for number in 0..5 {
                let mut message = answer(number);
                let octets = message.len() + signer.octets();
                signer.sign(&mut message, NOW + 1);
                assert_eq!(message.len(), octets);
                verifier.verify(&message, NOW + 2).unwrap();
            }
            assert_eq!(verifier.finish(), Ok(()));
        }
    }

    #[test]
    fn answers_left_out_swapped_or_altered_are_noticed() {
        let key = key(Algorithm::HmacSha256);
        let conversation = || {
            let mut asked = question();
            let verifier = request(&key, &mut asked, NOW);
            let mut signer = served(&asked, &key, NOW).unwrap();
            let answers: Vec<Vec<u8>> = (0..3)
                .map(|number| {
                    let mut message = answer(number);
                    signer.sign(&mut message, NOW);
                    message
                })
                .collect();
            (verifier, answers)
        };
        let (mut verifier, answers) = conversation();
        verifier.verify(&answers[0], NOW).unwrap();
        assert_eq!(verifier.verify(&answers[2], NOW), Err(Distrust::BadMac));
        let (mut verifier, mut answers) = conversation();
        answers[0][38] ^= 1;
        assert_eq!(verifier.verify(&answers[0], NOW), Err(Distrust::BadMac));
        let (mut verifier, answers) = conversation();
        assert_eq!(verifier.verify(&answers[0], NOW + 301), Err(Distrust::BadTime));
        let (mut verifier, _) = conversation();
        assert_eq!(verifier.verify(&answer(0), NOW), Err(Distrust::Unsigned));
        let (verifier, _) = conversation();
        assert_eq!(verifier.finish(), Err(Distrust::Unsigned));
    }

    #[test]
    fn rfc8945_5_3_1_up_to_99_messages_may_go_unsigned_but_not_the_last() {
        let key = key(Algorithm::HmacSha1);
        let mut asked = question();
        let mut verifier = request(&key, &mut asked, NOW);
        let mut signer = served(&asked, &key, NOW).unwrap();
        let mut first = answer(0);
        signer.sign(&mut first, NOW);
        verifier.verify(&first, NOW).unwrap();
        // Signed over all since the MAC before, as a server that signs now and then does it.
        let mut hash = key.hash();
        hash.add_mac(&signer.prior);
        for number in 0..99 {
            verifier.verify(&answer(number), NOW).unwrap();
            hash.add(&answer(number));
        }
        let mut last = answer(99);
        hash.add(&last);
        hash.add(&Stamp::at(NOW).timers());
        let mac = hash.finish();
        let tsig =
            record(key.name.as_wire(), key.algorithm.wire(), Stamp::at(NOW), &mac, 0xbeef, &[]);
        append(&mut last, &tsig);
        verifier.verify(&last, NOW).unwrap();

        for number in 0..99 {
            verifier.verify(&answer(number), NOW).unwrap();
        }
        assert_eq!(verifier.verify(&answer(99), NOW), Err(Distrust::Unsigned));
    }

    #[test]
    fn rfc8945_5_2_a_request_is_refused_for_key_mac_time_and_length_in_that_order() {
        let key = key(Algorithm::HmacSha256);
        let mut asked = question();
        request(&key, &mut asked, NOW);
        let other = TsigKey::new(Name::parse("other.").unwrap(), key.algorithm, SECRET).unwrap();
        let error = |outcome: Result<Signer, Refusal>| outcome.unwrap_err().error();
        assert_eq!(error(served(&asked, &Arc::new(other), NOW)), Rcode::BADKEY);
        let secret = TsigKey::new(key.name.clone(), key.algorithm, b"another secret").unwrap();
        assert_eq!(error(served(&asked, &Arc::new(secret), NOW + 999)), Rcode::BADSIG);
        let refusal = served(&asked, &key, NOW + 301).unwrap_err();
        assert_eq!(refusal.error(), Rcode::BADTIME);
        // It is signed, and tells the client's time and the server's.
        let Refusal::Signed { mut signer, .. } = refusal else { panic!("unsigned") };
        let mut answer = answer(0);
        signer.sign(&mut answer, NOW + 301);
        let said = Tsig::read(&answer, find(&answer).unwrap().unwrap()).unwrap();
        assert_eq!((said.stamp.time_s, said.stamp.error), (NOW, 18));
        assert_eq!(said.other, (NOW + 301).to_be_bytes()[2..]);
        let mut again = question();
        let mut verifier = request(&key, &mut again, NOW);
        assert_eq!(again, asked);
        assert_eq!(verifier.verify(&answer, NOW), Err(Distrust::Refused(Rcode::BADTIME)));
    }

    #[test]
    fn a_mac_cut_short_is_taken_only_where_the_key_says_so_and_never_below_half() {
        let whole = key(Algorithm::HmacSha256);
        let short = Arc::new(TsigKey::clone(&whole).truncated_to(16).unwrap());
        let mut asked = question();
        let mut verifier = request(&short, &mut asked, NOW);
        let refusal = served(&asked, &whole, NOW).unwrap_err();
        assert_eq!(refusal.error(), Rcode::BADTRUNC);
        let Refusal::Signed { mut signer, .. } = refusal else { panic!("unsigned") };
        let mut refused = answer(0);
        signer.sign(&mut refused, NOW);
        assert_eq!(verifier.verify(&refused, NOW), Err(Distrust::Refused(Rcode::BADTRUNC)));

        let mut verifier = request(&short, &mut question(), NOW);
        let mut signer = served(&asked, &short, NOW).unwrap();
        let mut taken = answer(0);
        signer.sign(&mut taken, NOW);
        verifier.verify(&taken, NOW).unwrap();
        assert!(TsigKey::clone(&whole).truncated_to(15).is_err());
        assert!(TsigKey::clone(&whole).truncated_to(33).is_err());
    }

    #[test]
    fn what_is_no_tsig_record_is_malformed() {
        let key = key(Algorithm::HmacSha256);
        let mut asked = question();
        request(&key, &mut asked, NOW);
        let at = find(&asked).unwrap().unwrap();
        let class_at = at + key.name.as_wire().len() + 3;
        for (place, octet) in [(class_at, 1), (class_at + 4, 1), (asked.len() - 1, 9)] {
            let mut broken = asked.clone();
            broken[place] = octet;
            let refusal = check(&broken, at, |_| vec![Arc::clone(&key)], NOW).unwrap_err();
            assert_eq!(refusal.error(), Rcode::FORMERR, "{place}");
        }
        for len in at..asked.len() {
            let cut = check(&asked[..len], at, |_| vec![Arc::clone(&key)], NOW);
            assert_eq!(cut.unwrap_err().error(), Rcode::FORMERR);
        }
        assert_eq!(find(&asked[..at]), Err(Malformed));
        let mut twice = asked.clone();
        append(&mut twice, &asked[at..]);
        assert_eq!(find(&twice), Err(Malformed));
    }

    #[test]
    fn several_secrets_of_one_name_are_tried() {
        let new = key(Algorithm::HmacSha256);
        let old = TsigKey::new(new.name.clone(), new.algorithm, b"the secret before").unwrap();
        let old = Arc::new(old);
        for key in [&new, &old] {
            let mut asked = question();
            let mut verifier = request(key, &mut asked, NOW);
            let at = find(&asked).unwrap().unwrap();
            let keys = vec![Arc::clone(&new), Arc::clone(&old)];
            let mut signer = check(&asked, at, |_| keys, NOW).unwrap();
            let mut answer = answer(0);
            signer.sign(&mut answer, NOW);
            verifier.verify(&answer, NOW).unwrap();
        }
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let key = TsigKey::from_base64(
            Name::parse("k.").unwrap(),
            Algorithm::HmacSha512,
            "c2VjcmV0LXNlY3JldC1zZWNyZXQ=",
        );
        let shown = format!("{:?}", key.unwrap());
        assert!(!shown.contains("ecret-") && !shown.contains("c2Vj"), "{shown}");
        assert_eq!(Algorithm::parse("HMAC-SHA256."), Some(Algorithm::HmacSha256));
        assert_eq!(Algorithm::parse("hmac-md5.sig-alg.reg.int"), None);
        let short = TsigKey::from_base64(Name::root(), Algorithm::HmacSha1, "c2VjcmV0");
        assert_eq!(short, Err(KeyError::SecretOctets(6)));
    }

    fn their_key(algorithm: theirs::Algorithm) -> theirs::Key {
        let name: TheirName<Vec<u8>> = "key.example".parse().unwrap();
        let name = domain::base::ToName::try_to_name(&name).unwrap();
        theirs::Key::new(algorithm, SECRET, name, None, None).unwrap()
    }

    /// Another implementation asks and checks what is signed here, and the other way round.
    #[test]
    fn another_implementation_agrees() {
        for (ours, other) in [
            (Algorithm::HmacSha1, theirs::Algorithm::Sha1),
            (Algorithm::HmacSha256, theirs::Algorithm::Sha256),
            (Algorithm::HmacSha384, theirs::Algorithm::Sha384),
            (Algorithm::HmacSha512, theirs::Algorithm::Sha512),
        ] {
            let (key, their_key) = (key(ours), their_key(other));
            let now = Time48::from_u64(NOW);

            let mut asked = MessageBuilder::new_vec().question();
            let zone: TheirName<Vec<u8>> = "example".parse().unwrap();
            asked.push((&zone, Rtype::AXFR)).unwrap();
            let mut asked = asked.additional();
            let mut them = theirs::ClientSequence::request(&their_key, &mut asked, now).unwrap();
            let mut signer = served(&asked.finish(), &key, NOW).unwrap();
            for number in 0..4 {
                let mut message = answer(number);
                message[..2].copy_from_slice(&[0, 0]);
                signer.sign(&mut message, NOW);
                let mut message = Message::from_octets(message).unwrap();
                them.answer(&mut message, now).unwrap();
            }
            them.done().unwrap();

            let mut asked = question();
            let mut verifier = request(&key, &mut asked, NOW);
            let mut asked = Message::from_octets(asked).unwrap();
            let mut them =
                theirs::ServerSequence::request(&&their_key, &mut asked, now).unwrap().unwrap();
            for number in 0..4 {
                let builder = MessageBuilder::new_vec();
                let mut message =
                    builder.start_answer(&asked, domain::base::iana::Rcode::NOERROR).unwrap();
                let txt = domain::rdata::Txt::<Vec<u8>>::build_from_slice(&[number]).unwrap();
                message.push((&zone, 60, txt)).unwrap();
                let mut message = message.additional();
                them.answer(&mut message, now).unwrap();
                verifier.verify(&message.finish(), NOW).unwrap();
            }
            verifier.finish().unwrap();
        }
    }
}
