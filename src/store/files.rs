//! The few file operations the log lives by, so that a test can take their promises away.
//!
//! A write is durable once its file is synced, a file's name once its directory is. Nothing else may
//! be assumed, and nothing else is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One directory of files.
pub(super) trait Files: Send + Sync {
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file in place of any of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync_directory(&self) -> io::Result<()>;
    /// Octets that may still be written to the file system.
    fn free_bytes(&self) -> io::Result<u64>;
}

pub(super) trait LogFile: Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    /// Reads at `offset` until `into` is full or the file ends; returns how much.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()>;
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the machine.
pub(super) struct Disk {
    dir: PathBuf,
    /// The same, open: what is asked of it with each commit needs no way through the file system.
    opened: File,
}

impl Disk {
    /// The directory at `dir`, made if it is not there.
    pub(super) fn at(dir: &Path) -> io::Result<Disk> {
        fs::create_dir_all(dir)?;
        Ok(Disk { dir: dir.to_owned(), opened: File::open(dir)? })
    }
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).read(true).write(true);
        Ok(Box::new(file.open(self.dir.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.dir.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.opened.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        rustix::fs::fstatvfs(&self.opened).map(available).map_err(io::Error::from)
    }
}

impl LogFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, mut offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.write_all_at(octets, offset)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Octets that may still be written to the file system `dir` is on.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    rustix::fs::statvfs(dir).map(available).map_err(io::Error::from)
}

fn available(room: rustix::fs::StatVfs) -> u64 {
    room.f_bavail.saturating_mul(room.f_frsize)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts `octets` into the file at `path`, durably: whoever looks finds the old or the new, whole.
pub(super) fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let next = path.with_extension("new");
    let file = File::create(&next)?;
    file.write_all_at(octets, 0)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Files that are gone with the process, for stores in memory.
#[derive(Default)]
pub(super) struct Memory {
    files: Mutex<BTreeMap<String, Arc<Mutex<Vec<u8>>>>>,
}

struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl Files for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(held(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = Arc::new(Mutex::new(Vec::new()));
        held(&self.files).insert(name.to_owned(), file.clone());
        Ok(Box::new(MemoryFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = held(&self.files).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        held(&self.files).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl LogFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(held(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let octets = held(&self.0);
        let rest = usize::try_from(offset).ok().and_then(|at| octets.get(at..)).unwrap_or_default();
        let read = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut held = held(&self.0);
        overwrite(&mut held, offset, octets);
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        held(&self.0).resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `octets` at `offset`, zeros in between where the file was shorter.
pub(super) fn overwrite(file: &mut Vec<u8>, offset: u64, octets: &[u8]) {
    let at = usize::try_from(offset).expect("a file in memory is addressed by usize");
    let end = at + octets.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(octets);
    }
}

/// What a mutex holds. No code of this room leaves it half changed when it panics.
pub(super) fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
