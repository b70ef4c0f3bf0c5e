//! Zone files on their way in: found, read, brought to a directory or a server, and summed up.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::api::{Api, encoded, told};
use super::args::{Dnssec, ZoneImport};
use super::claims::{Claim, Claims};
use super::pull::Puller;
use super::{Failure, print, usage};
use crate::maintain::stage::STAGE_OCTETS_MIN;
use crate::maintain::{CommitError, Content};
use crate::manage::access::Context;
use crate::manage::holding::import::{self, Import};
use crate::manage::id::OrgId;
use crate::manage::people::organisation;
use crate::manage::{Manage, bootstrap};
use crate::run;
use crate::wire::Name;
use crate::zone::text::{self, Fault, Limits, Options, Parsed};
use crate::zone::tree::PackedZone;
use crate::zone::{self, packed};

/// The ending of zone files in a directory.
const ENDING: &str = "zone";

/// One zone file, and what is known of its apex before it is read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub path: PathBuf,
    /// Named by the caller: the zone must be this one.
    apex: Option<Name>,
    /// From the file's name: what relative names are completed with.
    origin: Option<Name>,
    /// Where it comes from, if not from a file.
    puller: Option<Arc<Puller>>,
}

impl Source {
    fn new(path: PathBuf, apex: Option<Name>) -> Source {
        let origin = apex.clone().or_else(|| apex_of(&path));
        Source { path, apex, origin, puller: None }
    }

    /// The apex that it is known to have, or that its name speaks of; if nothing does, it is read for it.
    fn expected(&self) -> Option<Name> {
        let named = self.apex.as_ref().or(self.origin.as_ref()).cloned();
        named.or_else(|| self.parse().ok()?.ok().map(|parsed| parsed.apex))
    }

    /// Reads the file; included files only from below its own directory.
    ///
    /// # Errors
    ///
    /// The file cannot be read. The faults of its text are the inner result's, with every rule of zones that it breaks.
    pub(super) fn parse(&self) -> io::Result<Result<Parsed, Vec<Fault>>> {
        let octets = std::fs::read(&self.path)?;
        let base = self.path.parent().map(Path::to_owned).unwrap_or_default();
        let mut include = |name: &str| included(&base, name);
        let options = Options {
            origin: self.origin.clone(),
            apex: self.apex.clone(),
            default_ttl: None,
            includes: Some(&mut include),
            limits: Limits::default(),
            hands: processors(),
            rules: true,
        };
        Ok(text::parse(&octets, options))
    }
}

/// How many processors there are. The system is asked once: it opens files to say so, for each of very many zones.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// The zone a file's name speaks of: `<apex>.zone`.
fn apex_of(path: &Path) -> Option<Name> {
    let name = path.file_name()?.to_str()?.strip_suffix(".zone")?;
    Name::parse(name).ok()
}

/// Reads an included file, if it stands below `base`: a zone file must not reach for other files.
fn included(base: &Path, name: &str) -> Result<Vec<u8>, String> {
    let base = match base.as_os_str().is_empty() {
        true => Path::new("."),
        false => base,
    };
    let told = |error: std::io::Error| format!("{name}: {error}");
    let base = base.canonicalize().map_err(told)?;
    let path = base.join(name).canonicalize().map_err(told)?;
    match path.starts_with(&base) {
        true => std::fs::read(path).map_err(told),
        false => Err(format!("{name} is not below {}", base.display())),
    }
}

/// The zone files that `paths` name: files as they are, of directories every `*.zone`, by name.
///
/// # Errors
///
/// A directory that cannot be read, or without zone files. A file is looked at when its turn comes.
pub(super) fn sources(
    paths: &[impl AsRef<Path>],
    apex: Option<Name>,
) -> Result<Vec<Source>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        if !path.is_dir() {
            found.push(Source::new(path.to_owned(), apex.clone()));
            continue;
        }
        if apex.is_some() {
            let what = "is a directory: its files are named <apex>.zone";
            return Err(usage(format!("--zone names one apex, but {} {what}", path.display())));
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(told)? {
            let file = entry.map_err(told)?.path();
            if file.extension().is_some_and(|ending| ending == ENDING) {
                files.push(file);
            }
        }
        if files.is_empty() {
            return Err(format!("{}: no file is named <apex>.zone", path.display()).into());
        }
        files.sort();
        found.extend(files.into_iter().map(|file| Source::new(file, None)));
    }
    if apex.is_some() && found.len() > 1 {
        return Err(usage(
            "--zone names one apex, but there are several files: name it in their $ORIGIN or file names",
        ));
    }
    Ok(found)
}

/// The zone files of a list with lines `apex path`; paths are relative to the list.
fn listed(list: &Path) -> Result<Vec<Source>, Failure> {
    let text =
        std::fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let base = list.parent().unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |what: String| format!("{}:{}: {what}", list.display(), number + 1);
        let (apex, path) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| fault("a line is `apex path`".into()))?;
        let apex = Name::parse(apex).map_err(|error| fault(format!("{apex}: {error}")))?;
        found.push(Source::new(base.join(path.trim()), Some(apex)));
    }
    Ok(found)
}

/// The zones to be pulled from a server: those named, or those that the catalogs named name.
fn pulled(primary: &str, command: &ZoneImport) -> Result<Vec<Source>, Failure> {
    let puller = Arc::new(Puller::new(primary)?);
    let mut zones = Vec::new();
    for name in &command.paths {
        let text = name.to_string_lossy();
        let name = Name::parse(&text).map_err(|error| usage(format!("{text}: {error}")))?;
        match command.catalog {
            true => zones.extend(puller.members(&name)?),
            false => zones.push(name),
        }
    }
    // A server has one zone of a name, whichever of its catalogs name it.
    let mut named = BTreeSet::new();
    zones.retain(|zone| named.insert(zone.key()));
    let source = |apex: Name| Source {
        path: PathBuf::from(apex.to_string()),
        apex: Some(apex),
        origin: None,
        puller: Some(Arc::clone(&puller)),
    };
    Ok(zones.into_iter().map(source).collect())
}

/// Puts the sources of zones above zones of others in front, those furthest up first; says how many they are.
///
/// Whether a zone answers to its DS is asked when it comes, of the parent that is there: with all parents there
/// the answer does not hang on the order of the files.
fn parents_first(sources: Vec<Source>) -> (Vec<Source>, usize) {
    let alone = sources.len() < 2;
    let key = |source: &Source| if alone { None } else { source.expected().map(|apex| apex.key()) };
    let mut keys: Vec<(Vec<u8>, usize)> =
        sources.iter().zip(0..).filter_map(|(source, at)| Some((key(source)?, at))).collect();
    keys.sort_unstable();
    // The names below one stand right behind it, and it before itself once more if two files bring it.
    let mut behind: Option<(&[u8], bool)> = None;
    let mut above = Vec::new();
    for (key, at) in keys.iter().rev() {
        let is_parent = behind.is_some_and(|(next, next_is)| match next == key {
            true => next_is,
            false => next.starts_with(key),
        });
        if is_parent {
            above.push(*at);
        }
        behind = Some((key, is_parent));
    }
    above.reverse();
    let mut sources: Vec<Option<Source>> = sources.into_iter().map(Some).collect();
    let mut ordered: Vec<Source> =
        above.iter().filter_map(|at| sources.get_mut(*at)?.take()).collect();
    ordered.extend(sources.into_iter().flatten());
    (ordered, above.len())
}

/// The apex that `--zone` names.
pub(super) fn apex_named(text: &str) -> Result<Name, Failure> {
    Name::parse(text).map_err(|error| usage(format!("--zone {text}: {error}")))
}

pub(super) fn run(command: ZoneImport) -> Result<ExitCode, Failure> {
    let apex = command.zone.as_deref().map(apex_named).transpose()?;
    let sources = match (&command.list, &command.axfr) {
        (Some(list), _) => listed(list)?,
        (None, Some(primary)) => pulled(primary, &command)?,
        (None, None) => sources(&command.paths, apex)?,
    };
    let (sources, parents) = parents_first(sources);
    let mut tally = Tally::new(sources.len());
    match command.target.server() {
        Some(_) => to_server(&command, &sources, &mut tally)?,
        None => to_directory(&command, &sources, parents, &mut tally)?,
    }
    Ok(tally.finish())
}

/// What became of the zones so far.
struct Tally {
    bar: ProgressBar,
    taken: usize,
    refused: usize,
    records: usize,
    waiting: usize,
    warnings: usize,
}

impl Tally {
    fn new(files: usize) -> Tally {
        Tally { bar: bar(files as u64), taken: 0, refused: 0, records: 0, waiting: 0, warnings: 0 }
    }

    fn take(&mut self, records: usize) {
        self.bar.inc(1);
        self.taken += 1;
        self.records += records;
    }

    fn refuse(&mut self, file: &Path, why: &str) {
        self.bar.inc(1);
        self.refused += 1;
        self.bar.suspend(|| print::complain(&format!("{}: refused: {why}", file.display())));
    }

    /// The zone is to come by an order that waits for somebody.
    fn wait(&mut self, file: &Path, order: &str) {
        self.bar.inc(1);
        self.waiting += 1;
        self.bar.suspend(|| print::complain(&format!("{}: waits: {order}", file.display())));
    }

    fn finish(self) -> ExitCode {
        self.bar.finish_and_clear();
        let Tally { taken, refused, records, waiting, warnings, .. } = self;
        if warnings > 0 {
            print::complain(&format!("{warnings} warnings: nameplane zone check names them"));
        }
        let waiting_too = match waiting {
            0 => String::new(),
            waiting => format!(", {waiting} wait"),
        };
        print::line(&format!(
            "{taken} zones with {records} records imported, {refused} refused{waiting_too}"
        ));
        ExitCode::from(u8::from(refused + waiting > 0))
    }
}

/// Reads one zone, as far as `dnssec` lets it in.
///
/// # Errors
///
/// Why it is not taken: nothing is known of the others by that.
fn read(source: &Source, dnssec: Dnssec) -> Result<Parsed, String> {
    let pulled = source.puller.as_ref().zip(source.apex.as_ref());
    let mut parsed = match pulled {
        Some((puller, apex)) => puller.zone(apex)?,
        None => source.parse().map_err(|error| error.to_string())?.map_err(|faults| {
            faults.iter().map(|fault| format!("\n  {fault}")).collect::<String>()
        })?,
    };
    match dnssec {
        Dnssec::Refuse if parsed.signed => {
            let why = "it is signed: take it as it is with --dnssec keep, or unsigned with --dnssec strip";
            return Err(why.to_owned());
        }
        Dnssec::Strip => {
            parsed.packed = packed::strip(&parsed.packed);
            parsed.signed = false;
            let sets = packed::nodes(&parsed.packed).flat_map(packed::Node::rrsets);
            parsed.records = sets.map(|set| usize::from(set.count)).sum();
        }
        Dnssec::Keep | Dnssec::Refuse => {}
    }
    Ok(parsed)
}

/// Zones brought to a directory in one record of its log.
const GROUP_ZONES: usize = 512;

/// Octets of packed zones in one record of the log.
const GROUP_OCTETS: usize = 2 << 20;

/// Files read and brought in side by side; more only wait for the store.
const HANDS_MAX: usize = 4;

/// What brings zones to a directory: several hands read files, and while the zones of one are made durable the
/// next one's are worked out.
struct Bringing<'a> {
    manage: &'a Manage,
    context: &'a Context,
    org: OrgId,
    dnssec: Dnssec,
    sources: &'a [Source],
    claims: Claims,
    tally: Mutex<&'a mut Tally>,
}

/// Zones read, each with its place among the sources and how many records it has.
#[derive(Default)]
struct Group {
    notes: Vec<(usize, usize)>,
    imports: Vec<Import>,
    octets: usize,
}

/// Brings the first `parents` sources one after the other, then the others side by side.
fn to_directory(
    command: &ZoneImport,
    sources: &[Source],
    parents: usize,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let manage = run::open_directory(&command.target.directory())?;
    let context = bootstrap::system(&manage).map_err(|stop| stop.to_string())?;
    let org = manage.store.read(|rows| organisation::find(rows, &command.org))?;
    let org = org.ok_or_else(|| no_org(&command.org))?.id;
    // The next start reads from the log what the index lacks, faster than the index takes it.
    let index = manage.store.hold_index();
    let hands = match command.axfr {
        Some(_) => 1, // the server asked may count connections
        None => processors().min(HANDS_MAX),
    };
    let bringing = Bringing {
        manage: &manage,
        context: &context,
        org,
        dnssec: command.dnssec,
        sources,
        claims: Claims::default(),
        tally: Mutex::new(tally),
    };
    bringing.run(parents)?;
    let all = sources.len();
    thread::scope(|scope| {
        let hands: Vec<_> = (0..hands).map(|_| scope.spawn(|| bringing.run(all))).collect();
        hands.into_iter().try_for_each(|hand| match hand.join() {
            Ok(done) => done,
            Err(_) => Err("a thread that reads zone files panicked".to_owned()),
        })
    })?;
    index.settle();
    drop(index);
    manage.store.close();
    Ok(())
}

impl Bringing<'_> {
    /// Takes files until there are none before place `end`. A failure of one hand leaves none to the others.
    fn run(&self, end: usize) -> Result<(), String> {
        let mut group = Group::default();
        let mut done = Ok(());
        while done.is_ok() {
            let next = self.claims.next(end);
            let over = next.is_none();
            if let Some(claim) = next {
                done = self.add(claim, &mut group).map_err(|failure| failure.to_string());
            }
            if over || group.imports.len() >= GROUP_ZONES || group.octets >= GROUP_OCTETS {
                done = done.and_then(|()| self.bring(std::mem::take(&mut group)));
            }
            if over {
                return done;
            }
        }
        self.claims.end();
        done
    }

    /// Reads a zone; a large one is staged at once.
    fn add(&self, claim: Claim<'_>, group: &mut Group) -> Result<(), Failure> {
        let place = claim.place;
        let Some(source) = self.sources.get(place) else { return Ok(()) };
        let parsed = match read(source, self.dnssec) {
            Ok(parsed) => parsed,
            Err(why) => {
                self.refuse(place, &why);
                return Ok(());
            }
        };
        held(&self.tally).warnings += parsed.warnings.len();
        claim.has(&parsed.apex);
        let (apex, records) = (parsed.apex, parsed.records);
        group.octets += parsed.packed.len();
        let large = parsed.packed.len() >= STAGE_OCTETS_MIN;
        let mut content = Content::Packed { octets: parsed.packed, presigned: parsed.signed };
        if large {
            group.octets = GROUP_OCTETS;
            if let Some(why) = taken_before(self.sources, &self.claims, &apex, place) {
                self.refuse(place, &why);
                return Ok(());
            }
            content = match self.manage.maintain.stage(&apex, &content) {
                Ok(staged) => Content::Staged(staged),
                Err(CommitError::Refused(refusal)) => {
                    self.refuse(place, &refusal.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error.to_string().into()),
            };
        }
        group.notes.push((place, records));
        group.imports.push(Import { apex, content });
        Ok(())
    }

    /// Brings a group in as one record of the log.
    fn bring(&self, group: Group) -> Result<(), String> {
        let (mut notes, mut imports) = (Vec::new(), Vec::new());
        for ((place, records), import) in group.notes.into_iter().zip(group.imports) {
            match taken_before(self.sources, &self.claims, &import.apex, place) {
                Some(why) => self.refuse(place, &why),
                None => {
                    notes.push((place, records));
                    imports.push(import);
                }
            }
        }
        if imports.is_empty() {
            return Ok(());
        }
        let done = import::import(self.manage, self.context, self.org, imports);
        let done = done.map_err(|stop| stop.to_string())?;
        for ((place, records), (_, result)) in notes.into_iter().zip(done) {
            match result {
                Ok(_) => held(&self.tally).take(records),
                Err(reasons) => self.refuse(place, &reasons.join("; ")),
            }
        }
        Ok(())
    }

    fn refuse(&self, place: usize, why: &str) {
        let Some(source) = self.sources.get(place) else { return };
        held(&self.tally).refuse(&source.path, why);
    }
}

/// Why a zone is not taken that a source before it brings too.
fn taken_before(sources: &[Source], claims: &Claims, apex: &Name, place: usize) -> Option<String> {
    let first = Some(claims.first(apex, place)).filter(|first| *first != place)?;
    let first = sources.get(first)?;
    Some(format!("{apex} stands in {} too, which comes first", first.path.display()))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each zone is one request, written out anew: a server opens no file that a zone file names.
fn to_server(command: &ZoneImport, sources: &[Source], tally: &mut Tally) -> Result<(), Failure> {
    let api = Api::open(&command.target)?;
    let claims = Claims::default();
    while let Some(claim) = claims.next(sources.len()) {
        let place = claim.place;
        let Some(source) = sources.get(place) else { break };
        let parsed = match read(source, command.dnssec) {
            Ok(parsed) => parsed,
            Err(why) => {
                tally.refuse(&source.path, &why);
                continue;
            }
        };
        claim.has(&parsed.apex);
        if let Some(why) = taken_before(sources, &claims, &parsed.apex, place) {
            tally.refuse(&source.path, &why);
            continue;
        }
        let mut text = String::new();
        zone::text::write(&PackedZone::new(parsed.apex.clone(), &parsed.packed), &mut text)
            .map_err(|error| error.to_string())?;
        let path = format!(
            "/v1/zones/{}/file?push=true&org={}",
            encoded(&parsed.apex.to_string()),
            encoded(&command.org)
        );
        match api.send("PUT", &path, "text/dns", text.into_bytes())? {
            (200..300, body) => match waits(&body) {
                Some(order) => tally.wait(&source.path, &order),
                None => {
                    tally.warnings += parsed.warnings.len();
                    tally.take(parsed.records);
                }
            },
            (404, _) => {
                let why = format!(
                    "{}, or use a token that may bring zones into it",
                    no_org(&command.org)
                );
                tally.refuse(&source.path, &why);
            }
            (status @ (401 | 403), body) => return Err(told(status, &body).into()),
            (status, body) => tally.refuse(&source.path, &told(status, &body)),
        }
    }
    Ok(())
}

/// The order that a zone is to come by, if that waits for somebody.
fn waits(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let order = answer.get("order")?;
    let text = |key: &str| order.get(key).and_then(Value::as_str);
    Some(format!("order {} waits for its {}", text("number")?, text("waits_for")?))
}

fn no_org(org: &str) -> String {
    format!("there is no organisation {org}: make it with `nameplane org create {org}`")
}

/// A progress bar, if somebody looks on.
fn bar(len: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} zones  {per_sec}  {eta}");
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_zone_files_and_nothing_else() {
        let names: Vec<String> = sources(&["zones-example"], None)
            .unwrap()
            .iter()
            .map(|source| source.origin.as_ref().unwrap().to_string())
            .collect();
        assert!(names.contains(&"shop.example.".to_owned()), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("README")), "{names:?}");
    }

    #[test]
    fn zones_above_others_come_first_from_the_top_and_all_else_as_given() {
        let zone = |text: &str| Source::new(text.into(), Some(Name::parse(text).unwrap()));
        let given = [
            "z.test.",
            "a.b.corp.test.",
            "b.corp.test.",
            "x.corp.test.",
            "corp.test.",
            "y.test.",
            "B.corp.test.",
            "corptest.",
            "c.corptest.test.",
        ];
        let (ordered, parents) = parents_first(given.into_iter().map(zone).collect());
        let ordered: Vec<_> = ordered.iter().map(|source| source.path.to_str().unwrap()).collect();
        assert_eq!(ordered[..parents], ["corp.test.", "b.corp.test.", "B.corp.test."]);
        let others = [
            "z.test.",
            "a.b.corp.test.",
            "x.corp.test.",
            "y.test.",
            "corptest.",
            "c.corptest.test.",
        ];
        assert_eq!(ordered[parents..], others);
    }

    #[test]
    fn a_file_whose_name_says_nothing_is_read_for_its_apex() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, apex: &str| {
            let path = home.path().join(name);
            let text =
                format!("{apex} 9 SOA ns.x.test. h.x.test. 1 1 1 1 1\n{apex} 9 NS ns.x.test.\n");
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = [write("one.txt", "child.corp.test."), write("two.txt", "corp.test.")];
        let (ordered, parents) = parents_first(sources(&files, None).unwrap());
        assert_eq!((ordered[0].path.clone(), parents), (files[1].clone(), 1));
    }

    #[test]
    fn an_include_stays_below_its_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("zones")).unwrap();
        std::fs::write(home.path().join("secret"), "x").unwrap();
        std::fs::write(home.path().join("zones/part"), "y").unwrap();
        let base = home.path().join("zones");
        assert_eq!(included(&base, "part").unwrap(), b"y");
        assert!(included(&base, "../secret").unwrap_err().contains("is not below"));
        assert!(included(&base, home.path().join("secret").to_str().unwrap()).is_err());
    }

    #[test]
    fn every_example_zone_is_read_without_a_warning() {
        for source in sources(&["zones-example"], None).unwrap() {
            let parsed = source.parse().unwrap().unwrap_or_else(|faults| panic!("{faults:?}"));
            assert_eq!(Some(&parsed.apex), source.origin.as_ref());
            assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        }
    }

    #[test]
    fn a_zone_that_waits_for_an_operator_is_told_apart_from_one_that_came() {
        let body =
            |waits: &str| format!("{{\"order\":{{\"number\":\"O-1\",\"waits_for\":{waits}}}}}");
        let waiting = waits(body("\"operator\"").as_bytes());
        assert_eq!(waiting.as_deref(), Some("order O-1 waits for its operator"));
        assert_eq!(waits(body("null").as_bytes()), None);
    }

    #[test]
    fn a_list_names_apex_and_path() {
        let home = tempfile::tempdir().unwrap();
        let list = home.path().join("list");
        std::fs::write(&list, "# zones\n\na.example. one.txt\nb.example two.txt\n").unwrap();
        let found = listed(&list).unwrap();
        assert_eq!(found[1].apex, Some(Name::parse("b.example.").unwrap()));
        assert_eq!(found[0].path, home.path().join("one.txt"));
        std::fs::write(&list, "only-one-word\n").unwrap();
        assert!(listed(&list).unwrap_err().to_string().contains(":1: "));
    }
}
