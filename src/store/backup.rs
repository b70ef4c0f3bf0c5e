//! Exports: all rows up to one transaction in one file, sorted, verified before anyone relies on it.
//!
//! ```text
//! header   magic 8 | format u32 | crc u32 | directory id u64 | lsn u64        32 octets
//! block    length u32 | crc u32 | body: puts as in the log (see `segment`)
//! end      0 u32 | crc u32 | rows u64
//! ```
//! A block's CRC-32C goes on from the one before it, so that none can be missing or in another place.
//!
//! Promises: a file under its final name was read back whole. The newest two are kept, the log is
//! trimmed below the older: one of them may go bad and nothing is lost.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::Lsn;
use super::error::RowError;
use super::files::{free_bytes, sync_directory};
use super::index::Index;
use super::segment::{Input, Op, encode_op};

/// How much log makes an export due, in octets, unless [`Options`](super::Options) say otherwise; more
/// if the last export was larger.
pub const EXPORT_LOG_BYTES: u64 = 1 << 30;

/// How many exports are kept.
pub const EXPORTS_KEPT: usize = 2;

const MAGIC: [u8; 8] = *b"nplane\nX";
pub(super) const FORMAT: u32 = 1;
const HEADER: usize = 32;
const BLOCK_BYTES: usize = 256 << 10;
/// What a reader believes of a length field.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + super::VALUE_BYTES_MAX + super::KEY_BYTES_MAX + 32;

/// All tables' keys: their prefixes are letters.
const ROWS: (&[u8], Option<&[u8]>) = (b"A", Some(b"{"));

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub path: PathBuf,
    /// The last transaction in it.
    pub lsn: Lsn,
    pub rows: u64,
    pub bytes: u64,
    pub(super) id: u64,
}

/// Why there is no export, or why one cannot be used.
#[derive(Debug)]
pub enum ExportError {
    /// The store could not be read.
    Rows(RowError),
    /// The file is not a whole export.
    Damaged {
        path: PathBuf,
        what: &'static str,
    },
    /// A newer release wrote the file.
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The store was closed, or its index failed.
    Closed,
    Io {
        path: PathBuf,
        source: io::Error,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Rows(error) => error.fmt(f),
            ExportError::Damaged { path, what } => write!(f, "export {}: {what}", path.display()),
            ExportError::Newer { path, found, known } => write!(
                f,
                "export {} has format {found}, this release reads up to {known}",
                path.display()
            ),
            ExportError::Closed => f.write_str("the store is closed"),
            ExportError::Io { path, .. } => write!(f, "export {}", path.display()),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ExportError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<RowError> for ExportError {
    fn from(error: RowError) -> Self {
        ExportError::Rows(error)
    }
}

/// Writes the rows of `index`, which holds everything up to `lsn`, to `path`; verified, durable.
///
/// Gives up when less than `reserve` octets are left on the disk: those are the log's.
pub(super) fn write(
    path: &Path,
    id: u64,
    lsn: Lsn,
    index: &dyn Index,
    reserve: u64,
) -> Result<Summary, ExportError> {
    let next = path.with_extension("new");
    let io = |source| ExportError::Io { path: next.clone(), source };
    let result = fill(&next, (id, lsn), index, reserve).and_then(|()| {
        let summary = read(&next, &mut |_| Ok(()))?;
        fs::rename(&next, path).map_err(io)?;
        sync_directory(parent(path)).map_err(io)?;
        Ok(Summary { path: path.to_owned(), ..summary })
    });
    if result.is_err() {
        let _ = fs::remove_file(&next);
    }
    result
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn fill(
    path: &Path,
    (id, lsn): (u64, Lsn),
    index: &dyn Index,
    reserve: u64,
) -> Result<(), ExportError> {
    let io = |source| ExportError::Io { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(io)?;
    let header = header(id, lsn);
    file.write_all(&header).map_err(io)?;
    let (mut block, mut crc, mut rows) = (Vec::new(), crc32c::crc32c(&header), 0u64);
    for row in index.rows(ROWS, false) {
        let (key, value) = row?;
        encode_op(&mut block, &key, value.as_deref());
        rows += 1;
        if block.len() >= BLOCK_BYTES {
            if free_bytes(parent(path)).map_err(io)? < reserve {
                return Err(io(io::ErrorKind::StorageFull.into()));
            }
            crc = write_block(&mut file, crc, &block).map_err(io)?;
            block.clear();
        }
    }
    if !block.is_empty() {
        crc = write_block(&mut file, crc, &block).map_err(io)?;
    }
    crc = crc32c::crc32c_append(crc, &rows.to_le_bytes());
    let end = [&[0; 4][..], &crc.to_le_bytes(), &rows.to_le_bytes()].concat();
    file.write_all(&end).and_then(|()| file.sync_all()).map_err(io)
}

/// Reads all rows; says how many there are.
pub(super) fn count(index: &dyn Index) -> Result<u64, RowError> {
    index.rows(ROWS, false).try_fold(0, |rows, row| row.map(|_| rows + 1))
}

fn header(id: u64, lsn: Lsn) -> [u8; HEADER] {
    let spell = |crc: u32| {
        let (format, crc) = (FORMAT.to_le_bytes(), crc.to_le_bytes());
        [&MAGIC[..], &format, &crc, &id.to_le_bytes(), &lsn.0.to_le_bytes()].concat()
    };
    let octets = spell(crc32c::crc32c(&spell(0)));
    octets.try_into().expect("the fields above make 32 octets")
}

fn write_block(file: &mut File, crc: u32, block: &[u8]) -> io::Result<u32> {
    let crc = crc32c::crc32c_append(crc, block);
    let length = u32::try_from(block.len()).expect("a block is bounded by BLOCK_BYTES_MAX");
    file.write_all(&[length.to_le_bytes(), crc.to_le_bytes()].concat())?;
    file.write_all(block)?;
    Ok(crc)
}

/// Reads the export at `path` and gives its rows to `sink`, a block at a time; says what it held.
///
/// # Errors
///
/// [`ExportError::Damaged`] possibly only after the sink was given much: check first, or be ready to
/// throw it away.
pub(super) fn read(
    path: &Path,
    sink: &mut dyn FnMut(Vec<Op>) -> Result<(), RowError>,
) -> Result<Summary, ExportError> {
    let damaged = |what| ExportError::Damaged { path: path.to_owned(), what };
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends early"),
        _ => ExportError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let mut file = BufReader::with_capacity(BLOCK_BYTES, file);
    let (id, lsn, mut crc) = read_header(path, &mut file)?;
    let mut seen = 0u64;
    loop {
        let length = read_u32(&mut file).map_err(io)? as usize;
        let expected = read_u32(&mut file).map_err(io)?;
        if length == 0 {
            let mut rows = [0; 8];
            file.read_exact(&mut rows).map_err(io)?;
            if crc32c::crc32c_append(crc, &rows) != expected || u64::from_le_bytes(rows) != seen {
                return Err(damaged("its end does not match its rows"));
            }
            if !matches!(file.read(&mut [0]), Ok(0)) {
                return Err(damaged("it goes on after its end"));
            }
            return Ok(Summary { path: path.to_owned(), lsn, rows: seen, bytes, id });
        }
        if length > BLOCK_BYTES_MAX {
            return Err(damaged("a block has an impossible length"));
        }
        let mut block = vec![0; length];
        file.read_exact(&mut block).map_err(io)?;
        crc = crc32c::crc32c_append(crc, &block);
        if crc != expected {
            return Err(damaged("a block's checksum does not match"));
        }
        let rows = puts(&block).ok_or_else(|| damaged("a block has no known form"))?;
        seen += rows.len() as u64;
        sink(rows)?;
    }
}

fn puts(block: &[u8]) -> Option<Vec<Op>> {
    let (mut input, mut rows) = (Input(block), Vec::new());
    while let Some([tag]) = input.array() {
        let (key, value) = (input.text()?, input.text()?);
        rows.push((tag == 1).then_some((key, Some(value)))?);
    }
    Some(rows)
}

fn read_u32(file: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    file.read_exact(&mut octets)?;
    Ok(u32::from_le_bytes(octets))
}

/// The id and LSN of an export, and the CRC its first block goes on from.
fn read_header(path: &Path, file: &mut impl Read) -> Result<(u64, Lsn, u32), ExportError> {
    let damaged = || ExportError::Damaged { path: path.to_owned(), what: "it has no valid header" };
    let mut octets = [0; HEADER];
    file.read_exact(&mut octets).map_err(|_| damaged())?;
    let mut input = Input(&octets);
    let fields = (input.array(), input.u32(), input.u32(), input.u64(), input.u64());
    let (Some(MAGIC), Some(format), Some(_), Some(id), Some(lsn)) = fields else {
        return Err(damaged());
    };
    if format > FORMAT {
        let path = path.to_owned();
        return Err(ExportError::Newer { path, found: format, known: FORMAT });
    }
    if octets != header(id, Lsn(lsn)) {
        return Err(damaged());
    }
    Ok((id, Lsn(lsn), crc32c::crc32c(&octets)))
}

/// The exports the store makes for itself, and when the next is due.
pub(super) struct Exports {
    dir: PathBuf,
    id: u64,
    /// LSN and octets, oldest first.
    kept: Vec<(Lsn, u64)>,
    /// Octets of the log appended when the last one was made.
    mark: u64,
}

impl Exports {
    /// Finds the exports in `dir`; whether they are sound shows when one is needed.
    pub(super) fn find(dir: &Path, id: u64) -> io::Result<Exports> {
        fs::create_dir_all(dir)?;
        let mut kept = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let lsn = name.to_str().and_then(|name| name.strip_suffix(".export"));
            match lsn.and_then(|lsn| u64::from_str_radix(lsn, 16).ok()) {
                Some(lsn) => kept.push((Lsn(lsn), entry.metadata()?.len())),
                None if name.to_string_lossy().ends_with(".new") => fs::remove_file(entry.path())?,
                None => {}
            }
        }
        kept.sort_unstable();
        Ok(Exports { dir: dir.to_owned(), id, kept, mark: 0 })
    }

    pub(super) fn path(&self, lsn: Lsn) -> PathBuf {
        self.dir.join(format!("{:016x}.export", lsn.0))
    }

    /// The last transaction of the newest export; 0 without one.
    pub(super) fn newest(&self) -> Lsn {
        self.kept.last().map_or(Lsn(0), |(lsn, _)| *lsn)
    }

    /// Reads every export, the newest first.
    pub(super) fn examine(&self) -> Vec<Result<Summary, String>> {
        let read = |path: PathBuf| match read(&path, &mut |_| Ok(())) {
            Ok(summary) if summary.id != self.id => {
                Err(format!("export {} is of another data directory", path.display()))
            }
            Ok(summary) => Ok(summary),
            Err(error) => Err(error.to_string()),
        };
        self.kept.iter().rev().map(|(lsn, _)| read(self.path(*lsn))).collect()
    }

    /// The newest export that is sound and after which the log goes on: everything up to `from` must
    /// be in it.
    pub(super) fn usable(&self, from: Lsn) -> Option<Summary> {
        let far = self.kept.iter().rev().filter(|(lsn, _)| *lsn >= from);
        far.map(|(lsn, _)| self.path(*lsn)).find_map(|path| match read(&path, &mut |_| Ok(())) {
            Ok(summary) if summary.id == self.id => Some(summary),
            Ok(_) => {
                let path = path.display();
                tracing::warn!(%path, "an export of another data directory is not used");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "an export cannot be used");
                None
            }
        })
    }

    /// Whether an export is due once `appended` octets have gone into the log: more than `most`, and
    /// than the last export has, since that was made.
    pub(super) fn due(&self, appended: u64, most: u64) -> bool {
        let last = self.kept.last().map_or(0, |(_, bytes)| *bytes);
        appended.saturating_sub(self.mark) > most.max(last)
    }

    /// Takes a new export in; returns up to where the log is no more needed.
    pub(super) fn add(&mut self, summary: &Summary, appended: u64) -> Lsn {
        self.mark = appended;
        self.kept.push((summary.lsn, summary.bytes));
        while self.kept.len() > EXPORTS_KEPT {
            let (lsn, _) = self.kept.remove(0);
            // One too many harms nobody; it is found again at the next start.
            let _ = fs::remove_file(self.path(lsn));
        }
        match self.kept.first() {
            Some((lsn, _)) if self.kept.len() == EXPORTS_KEPT => *lsn,
            _ => Lsn(0),
        }
    }

    /// Leaves it be until the log has grown as much again.
    pub(super) fn postpone(&mut self, appended: u64) {
        self.mark = appended;
    }
}
