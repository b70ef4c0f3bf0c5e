//! One process per data directory, and who it is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::error::Holder;
use super::files::held;

/// Held as long as it lives; the kernel lets go of it with the process, however that ends.
pub(super) struct Lock {
    file: Mutex<File>,
}

/// Why the lock was not taken.
pub(super) enum LockError {
    Held(Holder),
    Io(io::Error),
}

impl Lock {
    /// Takes the lock in the file at `path`, and writes there who holds it.
    pub(super) fn take(path: &Path, hint: Option<&str>) -> Result<Lock, LockError> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(path).map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The holder may be writing it just now; who holds it is only a help.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held(holder(&text)));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let lock = Lock { file: Mutex::new(file) };
        lock.say(hint).map_err(LockError::Io)?;
        Ok(lock)
    }

    /// Writes who holds the lock: the process id, and how to reach it.
    pub(super) fn say(&self, hint: Option<&str>) -> io::Result<()> {
        let file = held(&self.file);
        let text = format!("{}\n{}\n", std::process::id(), hint.unwrap_or_default());
        file.set_len(0)?;
        file.write_all_at(text.as_bytes(), 0)
    }
}

fn holder(text: &str) -> Holder {
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse().ok());
    Holder { pid, hint: lines.next().filter(|line| !line.is_empty()).map(str::to_owned) }
}
