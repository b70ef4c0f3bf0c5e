//! A desk without zones, and questions it answers: who the server is.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::asks::{Asked, Asks, Broken, Messages, Told};
use super::{Desk, Settings, Shared};
use crate::answer::Writer;
use crate::metrics::Registry;
use crate::wire::{Flags, HashKey, Header, Rcode, Serial};

/// A desk that answers `version.bind` and lets everybody transfer and update.
pub(crate) fn desk(asks: impl Asks) -> Arc<Desk> {
    let all = || super::Prefixes::new(["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    let settings = Settings {
        version: Some("nameplane test".into()),
        server_id: Some("here".into()),
        update_allow: all(),
        ..Settings::default()
    };
    desk_of(settings, asks)
}

pub(crate) fn desk_of(settings: Settings, asks: impl Asks) -> Arc<Desk> {
    let registry = Arc::new(Registry::default());
    let zones = Writer::new(HashKey::new([7; 24])).published();
    Arc::new(Desk::new(Shared::new(settings, zones, Arc::new(asks), registry, 7)))
}

/// A message of one question and whatever stands behind it.
pub(crate) fn message(id: u16, flags: u16, question: &[u8], additional: &[&[u8]]) -> Vec<u8> {
    let mut octets = vec![0; 12];
    let additionals = additional.len() as u16;
    let flags = Flags(flags);
    Header { id, flags, questions: 1, additionals, ..Header::default() }.write(&mut octets);
    octets.extend_from_slice(question);
    additional.iter().for_each(|record| octets.extend_from_slice(record));
    octets
}

/// `version.bind CH TXT`: answered with one record.
pub(crate) fn version_query(id: u16) -> Vec<u8> {
    message(id, 0, b"\x07version\x04bind\x00\x00\x10\x00\x03", &[])
}

/// An UPDATE of a zone, as far as its header and question go.
pub(crate) fn update(id: u16) -> Vec<u8> {
    message(id, 0x2800, b"\x07example\x00\x00\x06\x00\x01", &[])
}

/// An AXFR of a zone.
pub(crate) fn axfr(id: u16) -> Vec<u8> {
    message(id, 0, b"\x07example\x00\x00\xfc\x00\x01", &[])
}

/// `message` behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Holds updates until the test lets each go; transfers zones as so many messages of one size.
pub(crate) struct Gate {
    go: Mutex<Receiver<()>>,
    pub messages: usize,
    pub octets: usize,
}

impl Gate {
    pub(crate) fn new(messages: usize, octets: usize) -> (Gate, SyncSender<()>) {
        let (open, go) = sync_channel(64);
        (Gate { go: Mutex::new(go), messages, octets }, open)
    }
}

impl Asks for Gate {
    fn notify(&self, _: &Asked<'_>, _: Option<Serial>) -> Told {
        Rcode::NOERROR.into()
    }

    fn update(&self, _: &Asked<'_>, unsigned: bool) -> Told {
        let _ = self.go.lock().unwrap_or_else(PoisonError::into_inner).recv();
        if unsigned { Rcode::NOERROR.into() } else { Rcode::REFUSED.into() }
    }

    fn transfer(&self, _: &Asked<'_>, _: Option<Serial>) -> Result<Box<dyn Messages>, Rcode> {
        Ok(Box::new(Sized { left: self.messages, octets: self.octets }))
    }
}

struct Sized {
    left: usize,
    octets: usize,
}

impl Messages for Sized {
    fn next(&mut self, _: u32, out: &mut Vec<u8>) -> Result<bool, Broken> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        out.resize(self.octets, self.left as u8);
        Ok(true)
    }
}

/// Panics over whatever it is asked.
pub(crate) struct Falls;

impl Asks for Falls {
    fn notify(&self, _: &Asked<'_>, _: Option<Serial>) -> Told {
        panic!("as the test wants it")
    }

    fn update(&self, _: &Asked<'_>, _: bool) -> Told {
        panic!("as the test wants it")
    }

    fn transfer(&self, _: &Asked<'_>, _: Option<Serial>) -> Result<Box<dyn Messages>, Rcode> {
        panic!("as the test wants it")
    }
}
