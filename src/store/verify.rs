//! What the command line does with a data directory: verify it, cut a damaged log, import an export.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::backup::{self, ExportError, Exports, Summary};
use super::error::{Holder, OpenError};
use super::files::{Files, sync_directory};
use super::index::{Sled, Unfit};
use super::log::{Bounds, Log};
use super::recover::{Places, doing, from_log, log_files, read_marker, take_lock, write_marker};
use super::scan::{self, LogError, LogReport, name_of, number_of};
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
        self.log.damage.is_none()
    }

    /// The last transaction of the newest sound export.
    fn newest_export(&self) -> Lsn {
        self.exports.iter().flatten().map(|export| export.lsn).max().unwrap_or(Lsn(0))
    }

    /// Up to where the rows are known without the log, if that ends at `end`.
    fn base(&self, end: Lsn) -> Lsn {
        match self.index {
            // One beyond the log's end is not used.
            IndexReport::Sound { applied, .. } if applied <= end => {
                applied.max(self.newest_export())
            }
            _ => self.newest_export(),
        }
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
        for what in &log.covered {
            writeln!(f, "log: {what}; it is not needed")?;
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
                 transactions up to {} can be kept: `nameplane store verify --cut` puts aside what follows",
                log.end.max(self.newest_export()).0
            ),
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
    let exports = doing(Exports::find(&places.exports(), id), "reading", &places.exports())?;
    let index = match &lock {
        Ok(_) => examine_index(&places.index(), id),
        Err(holder) => IndexReport::Held(holder.clone()),
    };
    examine(&*files, id, exports.examine(), index).map_err(|error| from_log(error, dir))
}

fn examine(
    files: &dyn Files,
    id: u64,
    exports: Vec<Result<Summary, String>>,
    index: IndexReport,
) -> Result<Report, LogError> {
    // The last segment alone says where the log ends.
    let end = scan::examine(files, id, Lsn(u64::MAX - 1))?.end;
    let report = Report { log: LogReport::default(), exports, index };
    let base = report.base(end);
    let mut log = scan::examine(files, id, base)?;
    let export = report.newest_export();
    if log.damage.is_none() && export > log.end {
        let what = format!("it ends at transaction {}, an export holds {}", log.end.0, export.0);
        log.damage = Some(what);
    }
    if log.damage.is_none() && log.first.0 > base.0 + 1 {
        let what =
            format!("it begins at transaction {}, and nothing sound leads up to it", log.first.0);
        log.damage = Some(what);
    }
    Ok(Report { log, ..report })
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

/// Puts aside what follows damage in the log, so that the store starts again; returns the last
/// transaction that is kept, and where the rest is; none if nothing is damaged.
///
/// What was acknowledged after it is lost.
pub fn cut(dir: &Path) -> Result<Option<(Lsn, PathBuf)>, OpenError> {
    let report = verify(dir)?;
    if let IndexReport::Held(holder) = report.index {
        return Err(OpenError::Held { dir: dir.to_owned(), holder });
    }
    if report.is_sound() {
        return Ok(None);
    }
    let places = Places::of(dir);
    let (files, id) = log_in(&places)?;
    let _lock = take_lock(&places, None)?;
    let aside = dir.join(format!("log.bad-{}", report.log.end.0));
    doing(fs::create_dir_all(&aside), "making", &aside)?;
    let (end, export) = (report.log.end, report.newest_export());
    // Where an export goes further than what is sound of the log, a new log goes on from that.
    let at = match end >= export {
        true => scan::sound_end(&*files, id, end).map_err(|error| from_log(error, dir))?,
        false => None,
    };
    put_aside(&places, &*files, &aside, at)?;
    if at.is_none() {
        let bounds = Bounds::from(&Options::new(dir));
        let log = Log::create(files, id, Lsn(export.0 + 1), bounds);
        log.map_err(|error| from_log(error, dir))?;
    }
    Ok(Some((end.max(export), aside)))
}

/// Moves the log to `aside`, but for what stands before `at`: a segment and an octet in it.
fn put_aside(
    places: &Places,
    files: &dyn Files,
    aside: &Path,
    at: Option<(u64, u64)>,
) -> Result<(), OpenError> {
    let names = doing(files.list(), "reading", &places.log())?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.retain(|number| at.is_none_or(|(last, _)| *number >= last));
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
    doing(sync_directory(&places.log()), "syncing", &places.log())
}

/// Whether there is a store in `dir`.
pub fn is_there(dir: &Path) -> bool {
    Places::of(dir).format().exists()
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

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImportError::Occupied(_) => None,
            ImportError::Export(error) => error.source(),
            ImportError::Open(error) => error.source(),
        }
    }
}

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
