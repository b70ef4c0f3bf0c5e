//! A machine that stops: files that keep only what they promised.
//!
//! [`Faulty`] counts operations and stops the machine at one of them. What is found after that is
//! what was synced, plus any part of what was not: nothing, everything, a beginning, or any sectors
//! of any writes; and any of the names not yet synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::files::{Files, LogFile, held, overwrite};

/// What a disk writes or does not write as one, in octets.
const SECTOR: usize = 512;

/// Random enough, and the same each time.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

#[derive(Clone)]
enum FileChange {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone)]
enum NameChange {
    Made(String, usize),
    Removed(String),
}

#[derive(Clone, Default)]
pub(super) struct Content {
    pub now: Vec<u8>,
    pub synced: Vec<u8>,
    unsynced: Vec<FileChange>,
}

/// What goes wrong besides crashing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    SyncFails,
    DiskFull,
}

#[derive(Clone)]
pub(super) struct Machine {
    pub files: Vec<Content>,
    pub names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// Operations until it stops.
    pub left: u64,
    done: u64,
    trouble: Trouble,
}

/// A directory on a machine that stops.
#[derive(Clone)]
pub(super) struct Faulty(pub Arc<Mutex<Machine>>);

struct FaultyFile(Faulty, usize);

impl Faulty {
    pub(super) fn new() -> Faulty {
        Faulty(Arc::new(Mutex::new(Machine {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            left: u64::MAX,
            done: 0,
            trouble: Trouble::None,
        })))
    }

    pub(super) fn stop_after(&self, operations: u64) {
        held(&self.0).left = operations;
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        held(&self.0).trouble = trouble;
    }

    /// Changes the machine, unless it has stopped. The operation it stops at may have begun.
    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> io::Result<T> {
        let mut machine = held(&self.0);
        match machine.left {
            0 => return Err(io::Error::other("the machine has stopped")),
            1 => {
                machine.left = 0;
                let mut begun = machine.clone();
                change(&mut begun);
                // Begun, and not synced: a sync that was cut short promises nothing.
                if begun.unsynced_names.len() >= machine.unsynced_names.len()
                    && begun
                        .files
                        .iter()
                        .zip(&machine.files)
                        .all(|(new, old)| new.unsynced.len() >= old.unsynced.len())
                {
                    *machine = begun;
                }
                return Err(io::Error::other("the machine stops"));
            }
            _ => machine.left -= 1,
        }
        machine.done += 1;
        Ok(change(&mut machine))
    }

    /// What a restart finds.
    pub(super) fn after_crash(&self, dice: &mut Dice) -> Faulty {
        let machine = held(&self.0);
        let found = Faulty::new();
        let mut new = held(&found.0);
        let mut names = machine.synced_names.clone();
        for change in &machine.unsynced_names {
            if dice.one_in(2) {
                continue;
            }
            match change {
                NameChange::Made(name, file) => drop(names.insert(name.clone(), *file)),
                NameChange::Removed(name) => drop(names.remove(name)),
            }
        }
        for (name, file) in names {
            let octets = content_after_crash(&machine.files[file], dice);
            let at = new.files.len();
            new.files.push(Content { now: octets.clone(), synced: octets, unsynced: Vec::new() });
            new.names.insert(name.clone(), at);
            new.synced_names.insert(name, at);
        }
        drop(new);
        found
    }
}

fn content_after_crash(content: &Content, dice: &mut Dice) -> Vec<u8> {
    let changes = &content.unsynced;
    let mut octets = content.synced.clone();
    let kept = match dice.roll(5) {
        0 => 0,
        1 => changes.len(),
        _ => dice.roll(changes.len() as u64 + 1) as usize,
    };
    let torn = dice.one_in(2);
    for (at, change) in changes.iter().enumerate() {
        match change {
            FileChange::Write(offset, write) if torn => tear(&mut octets, *offset, write, dice),
            FileChange::Write(offset, write) if at < kept => overwrite(&mut octets, *offset, write),
            FileChange::Write(offset, write) if at == kept => {
                let part = dice.roll(write.len() as u64 + 1) as usize;
                overwrite(&mut octets, *offset, &write[..part]);
            }
            FileChange::Truncate(bytes) if at < kept => octets.resize(*bytes as usize, 0),
            _ => {}
        }
    }
    octets
}

/// Any sectors of the write arrive, the others are zeros or what was there.
fn tear(octets: &mut Vec<u8>, offset: u64, write: &[u8], dice: &mut Dice) {
    let (mut at, end) = (offset as usize, offset as usize + write.len());
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if dice.one_in(2) {
            overwrite(octets, at as u64, &write[at - offset as usize..next - offset as usize]);
        }
        at = next;
    }
}

impl Files for Faulty {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(held(&self.0).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = self.change(|machine| {
            machine.files.push(Content::default());
            let file = machine.files.len() - 1;
            machine.names.insert(name.into(), file);
            machine.unsynced_names.push(NameChange::Made(name.into(), file));
            file
        })?;
        Ok(Box::new(FaultyFile(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = held(&self.0).names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultyFile(self.clone(), file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|machine| {
            machine.names.remove(name);
            machine.unsynced_names.push(NameChange::Removed(name.into()));
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.change(|machine| {
            machine.synced_names = machine.names.clone();
            machine.unsynced_names.clear();
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let full = held(&self.0).trouble == Trouble::DiskFull;
        Ok(if full { 0 } else { u64::MAX })
    }
}

impl LogFile for FaultyFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(held(&self.0.0).files[self.1].now.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let machine = held(&self.0.0);
        let rest = machine.files[self.1].now.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.0.change(|machine| {
            let file = &mut machine.files[self.1];
            overwrite(&mut file.now, offset, octets);
            file.unsynced.push(FileChange::Write(offset, octets.to_vec()));
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.change(|machine| {
            let file = &mut machine.files[self.1];
            file.now.resize(bytes as usize, 0);
            file.unsynced.push(FileChange::Truncate(bytes));
        })
    }

    fn sync(&self) -> io::Result<()> {
        if held(&self.0.0).trouble == Trouble::SyncFails {
            return Err(io::Error::other("the disk does not sync"));
        }
        self.0.change(|machine| {
            let file = &mut machine.files[self.1];
            file.synced = file.now.clone();
            file.unsynced.clear();
        })
    }
}
