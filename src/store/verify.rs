//! What the command line does with a data directory: verify it, cut a damaged log, import an export.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::backup::{self, ExportError, Exports, Summary};
use super::error::{Holder, OpenError};
use super::files::{Files, sync_directory};
use super::index::{Sled, Unfit};
use super::log::{self, Bounds, Log, LogReport, name_of, number_of};
use super::recover::{Places, doing, from_log, log_files, read_marker, take_lock, write_marker};
use super::{Lsn, Options};

/// What stands in a data directory.
#[derive(Debug)]
pub struct Report {
    pub log: LogReport,
    /// Newest first; those that cannot be used, with the reason.
    pub exports: Vec<Result<Summary, String>>,
    pub index: IndexReport,
}

/// What stands in the index; the next start builds anew whatever is not sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexReport {
    /// A server works with it.
    Held(Holder),
    Missing,
    Unfit(String),
    Sound {
        applied: Lsn,
        rows: u64,
    },
}

impl Report {
    /// Whether the store would start, with everything that was acknowledged.
    pub fn is_sound(&self) -> bool {
        self.log.damage.is_none() && self.reaches_back()
    }

    /// Whether the log goes on from an export, or from the beginning.
    fn reaches_back(&self) -> bool {
        let index = match &self.index {
            IndexReport::Held(_) => return true,
            IndexReport::Sound { applied, .. } => Some(*applied),
            IndexReport::Missing | IndexReport::Unfit(_) => None,
        };
        let exports = self.exports.iter().flatten().map(|export| export.lsn);
        let bases = exports.chain(index).chain([Lsn(0)]);
        bases.into_iter().any(|base| base.0 + 1 >= self.log.first.0 && base <= self.log.end)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = &self.log;
        writeln!(
            f,
            "log: {} segments, {} octets, transactions {} to {}",
            log.segments, log.bytes, log.first.0, log.end.0
        )?;
        if log.tail_bytes > 0 && log.damage.is_none() {
            writeln!(f, "log: {} octets at its end were never acknowledged", log.tail_bytes)?;
        }
        for export in &self.exports {
            match export {
                Ok(export) => writeln!(
                    f,
                    "export {}: {} rows, up to transaction {}",
                    export.path.display(),
                    export.rows,
                    export.lsn.0
                )?,
                Err(why) => writeln!(f, "{why}: it is not used")?,
            }
        }
        match &self.index {
            IndexReport::Held(holder) => writeln!(f, "index: not read, {holder} works with it")?,
            IndexReport::Missing => writeln!(f, "index: none, the next start builds it")?,
            IndexReport::Unfit(why) => writeln!(f, "index: {why}; the next start builds it anew")?,
            IndexReport::Sound { applied, rows } => {
                writeln!(f, "index: {rows} rows, up to transaction {}", applied.0)?;
            }
        }
        match &log.damage {
            Some(what) => writeln!(
                f,
                "log: DAMAGED: {what}\n\
                 transactions up to {} can be kept: `nameplane store verify --cut` puts what follows aside; \
                 or import an export into a new directory",
                log.end.0
            ),
            None if !self.reaches_back() => {
                writeln!(f, "log: DAMAGED: it does not go on from any export or from the beginning")
            }
            None => writeln!(f, "sound"),
        }
    }
}

fn log_in(places: &Places) -> Result<(std::sync::Arc<dyn Files>, u64), OpenError> {
    let id = read_marker(places)?.ok_or_else(|| OpenError::Foreign {
        dir: places.dir.clone(),
        what: "it has no file format".into(),
    })?;
    Ok((log_files(&places.dir)?, id))
}

/// Reads everything in the data directory `dir` and says what is sound. Changes nothing.
///
/// While a server holds the directory, its log and exports are read, its index is not.
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    let places = Places::of(dir);
    let (files, id) = log_in(&places)?;
    let lock = match take_lock(&places, None) {
        Ok(lock) => Ok(lock),
        Err(OpenError::Held { holder, .. }) => Err(holder),
        Err(error) => return Err(error),
    };
    let log = log::examine(&*files, id).map_err(|error| from_log(error, dir))?;
    let exports = doing(Exports::find(&places.exports(), id), "reading", &places.exports())?;
    let index = match &lock {
        Ok(_) => examine_index(&places.index(), id),
        Err(holder) => IndexReport::Held(holder.clone()),
    };
    Ok(Report { log, exports: exports.examine(), index })
}

fn examine_index(dir: &Path, id: u64) -> IndexReport {
    match Sled::open(dir, id) {
        Ok((index, applied)) => match backup::count(&index) {
            Ok(rows) => IndexReport::Sound { applied, rows },
            Err(error) => IndexReport::Unfit(error.to_string()),
        },
        Err(Unfit::Missing) => IndexReport::Missing,
        Err(Unfit::Broken(why)) => IndexReport::Unfit(why),
        Err(Unfit::Busy(error)) => IndexReport::Unfit(error.to_string()),
    }
}

/// Puts aside everything of a damaged log after its last sound transaction, which is returned; none if
/// the log is not damaged. What was acknowledged after it is lost.
pub fn cut(dir: &Path) -> Result<Option<(Lsn, PathBuf)>, OpenError> {
    let places = Places::of(dir);
    let (files, id) = log_in(&places)?;
    let _lock = take_lock(&places, None)?;
    let report = log::examine(&*files, id).map_err(|error| from_log(error, dir))?;
    if report.damage.is_none() {
        return Ok(None);
    }
    let aside = dir.join(format!("log.bad-{}", report.end.0));
    doing(fs::create_dir_all(&aside), "making", &aside)?;
    let at = log::sound_end(&*files, id, report.end).map_err(|error| from_log(error, dir))?;
    let mut numbers: Vec<u64> = doing(files.list(), "reading", &places.log())?
        .iter()
        .filter_map(|name| number_of(name))
        .filter(|number| at.is_none_or(|(last, _)| *number >= last))
        .collect();
    numbers.sort_unstable();
    // The newest first: a start in between still meets the damage, not a shorter log.
    for number in numbers.into_iter().rev() {
        let (from, to) = (places.log().join(name_of(number)), aside.join(name_of(number)));
        doing(fs::copy(&from, &to).map(drop), "copying", &from)?;
        doing(fs::File::open(&to).and_then(|file| file.sync_all()), "syncing", &to)?;
        match at {
            Some((last, octets)) if last == number => {
                let file = fs::OpenOptions::new().write(true).open(&from);
                let cut = file.and_then(|file| file.set_len(octets).and_then(|()| file.sync_all()));
                doing(cut, "cutting", &from)?;
            }
            _ => doing(fs::remove_file(&from), "removing", &from)?,
        }
    }
    doing(sync_directory(&places.log()), "syncing", &places.log())?;
    Ok(Some((report.end, aside)))
}

/// Why an export was not imported.
#[derive(Debug)]
pub enum ImportError {
    /// The directory holds a store already; an export is imported into a new one.
    Occupied(PathBuf),
    Export(ExportError),
    Open(OpenError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Occupied(dir) => {
                write!(f, "{} holds a store: import into a new directory", dir.display())
            }
            ImportError::Export(error) => error.fmt(f),
            ImportError::Open(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

/// Makes a data directory in `dir` from the export at `path`; the first start builds its index.
pub fn import(dir: &Path, path: &Path) -> Result<Summary, ImportError> {
    let summary = backup::read(path, &mut |_| Ok(())).map_err(ImportError::Export)?;
    let places = Places::of(dir);
    let files = log_files(dir).map_err(ImportError::Open)?;
    let _lock = take_lock(&places, None).map_err(ImportError::Open)?;
    let logged = doing(files.list(), "reading", &places.log()).map_err(ImportError::Open)?;
    if places.format().exists() || places.index().exists() || !logged.is_empty() {
        return Err(ImportError::Occupied(dir.to_owned()));
    }
    settle(&places, files, path, &summary).map_err(ImportError::Open)?;
    Ok(summary)
}

/// The export first, then a log that goes on from it, then the marker: a crash leaves no store or all.
fn settle(
    places: &Places,
    files: std::sync::Arc<dyn Files>,
    path: &Path,
    summary: &Summary,
) -> Result<(), OpenError> {
    let exports = Exports::find(&places.exports(), summary.id);
    let to = doing(exports, "making", &places.exports())?.path(summary.lsn);
    let copied = fs::copy(path, &to).and_then(|_| fs::File::open(&to)?.sync_all());
    doing(copied.and_then(|()| sync_directory(&places.exports())), "copying", &to)?;
    let bounds = Bounds::from(&Options::new(&places.dir));
    let log = Log::create(files, summary.id, Lsn(summary.lsn.0 + 1), bounds);
    log.map_err(|error| from_log(error, &places.dir))?;
    doing(sync_directory(&places.dir), "syncing", &places.dir)?;
    write_marker(places, summary.id)
}
