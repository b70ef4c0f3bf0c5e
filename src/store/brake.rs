//! A disk whose syncs wait for a word: what gathers meanwhile is counted, not timed.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::files::{Files, LogFile, Memory, held};
use super::in_memory::InMemory;
use super::log::{Bounds, Log};
use super::{Lsn, Options, Shared, Store};

/// Holds back the syncs of a store in memory.
#[derive(Clone, Default)]
pub(crate) struct Brake(Arc<State>);

#[derive(Default)]
struct State {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    /// Syncs that may still be; none is any number.
    allowed: Option<usize>,
    /// Whether one waits.
    waits: bool,
}

struct Braked {
    files: Memory,
    brake: Brake,
}

struct BrakedFile {
    file: Box<dyn LogFile>,
    brake: Brake,
}

impl Brake {
    /// A store in memory, and what holds back its syncs; they are free at first.
    pub(crate) fn store() -> (Store, Brake) {
        let brake = Brake::default();
        let files: Arc<dyn Files> =
            Arc::new(Braked { files: Memory::default(), brake: brake.clone() });
        let log = Log::create(files.clone(), 0, Lsn(1), Bounds::from(&Options::new("")));
        let log = log.expect("memory takes a segment's header");
        (Store::start(Shared::over(files, Box::<InMemory>::default()), log, &[]), brake)
    }

    /// So many syncs may be from now on, or any number.
    pub(crate) fn allow(&self, syncs: Option<usize>) {
        held(&self.0.held).allowed = syncs;
        self.0.changed.notify_all();
    }

    /// Waits until a sync is held back.
    pub(crate) fn wait_for_sync(&self) {
        let nothing = |held: &mut Held| !held.waits;
        drop(self.0.changed.wait_while(held(&self.0.held), nothing));
    }

    /// Waits until so many transactions stand behind the one being synced.
    pub(crate) fn wait_until_behind(&self, store: &Store, count: usize) {
        while store.handle.shared.queue.len() < count {
            std::thread::yield_now();
        }
    }

    fn sync(&self) {
        let mut all = held(&self.0.held);
        while all.allowed == Some(0) {
            all.waits = true;
            self.0.changed.notify_all();
            all = self.0.changed.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        all.waits = false;
        all.allowed = all.allowed.map(|left| left - 1);
    }
}

impl Files for Braked {
    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = self.files.create(name)?;
        Ok(Box::new(BrakedFile { file, brake: self.brake.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = self.files.open(name)?;
        Ok(Box::new(BrakedFile { file, brake: self.brake.clone() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }
}

impl LogFile for BrakedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, octets)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.brake.sync();
        self.file.sync()
    }
}
