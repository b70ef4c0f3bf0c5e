//! What the store promises, seen through its face.

use std::fs;

use super::index::Index;
use super::rows::Layer;
use super::segment::Op;
use super::*;

const WORDS: Table<u32, String> = Table::new("words", *b"wo");

fn put(store: &Store, key: u32, word: &str) {
    store.transact(|tx| tx.put(&WORDS, &key, &word.to_owned())).unwrap();
}

fn words(store: &Store) -> Vec<(u32, String)> {
    store.read(|rows| rows.range(&WORDS, .., usize::MAX)).unwrap()
}

fn opened(dir: &Path) -> Store {
    Store::open(&Options::new(dir)).unwrap()
}

/// Waits until the index has everything.
fn applied(store: &Store) {
    while store.stats().applied < store.stats().synced {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(300_000);
    {
        let store = opened(dir.path());
        put(&store, 1, "one");
        put(&store, 2, &long);
        put(&store, 3, "three");
        store.transact(|tx| tx.delete(&WORDS, &1)).unwrap();
    }

    let store = opened(dir.path());
    applied(&store);

    assert_eq!(words(&store), [(2, long), (3, "three".into())]);
    assert_eq!(store.stats().synced, Lsn(4));
}

#[test]
fn a_store_opened_with_its_index_held_applies_nothing_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    put(&opened(dir.path()), 1, "one");
    let (store, index) = Store::open_held(&Options::new(dir.path())).unwrap();
    let before = store.stats().applied;

    put(&store, 2, "two");
    thread::sleep(Duration::from_secs(1)); // four times what it gathers for

    assert_eq!(store.stats().applied, before);
    drop(index);
    applied(&store);
    assert_eq!(words(&store), [(1, "one".into()), (2, "two".into())]);
}

/// Goal: a store closed in order leaves a list of its leaves, and the next start takes it away before anything changes.
/// Method: rows as large as a leaf, a clone that outlives the close, and rows put after each.
#[test]
fn a_closed_store_notes_its_leaves_and_what_is_put_afterwards_is_found_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let noted = dir.path().join("index").join("leaves");
    let long = |n: u32| format!("{n}{}", "x".repeat(4_000));
    let put_some = |store: &Store, from: u32| {
        let rows = (0..400).map(|n| from + 5 * n);
        store.transact(|tx| rows.clone().try_for_each(|n| tx.put(&WORDS, &n, &long(n)))).unwrap();
        applied(store);
    };
    for turn in 0..3 {
        let store = opened(dir.path());
        assert!(!noted.exists());
        assert_eq!(words(&store).len(), 401 * turn);
        put_some(&store, turn as u32);
        let clone = store.clone();

        store.close();

        assert!(noted.exists());
        put(&clone, 10_000 + turn as u32, "after the close");
        assert_eq!(words(&clone).len(), 401 * (turn + 1));
    }
}

#[test]
fn a_second_server_on_a_data_directory_is_refused_and_told_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    store.set_hint("http://127.0.0.1:8080");

    let Err(OpenError::Held { holder, .. }) = Store::open(&Options::new(dir.path())) else {
        panic!("opened twice");
    };

    let pid = std::process::id();
    assert_eq!(holder, Holder { pid: Some(pid), hint: Some("http://127.0.0.1:8080".into()) });
    assert_eq!(
        holder.to_string(),
        format!("process {pid}, to be reached at http://127.0.0.1:8080")
    );
}

#[test]
fn a_data_directory_of_a_newer_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()));
    let marker = dir.path().join("format");
    let text = fs::read_to_string(&marker).unwrap().replace("format 1", "format 2");
    fs::write(&marker, text).unwrap();

    let refused = Store::open(&Options::new(dir.path())).err().unwrap();

    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
}

#[test]
fn a_directory_whose_log_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(&opened(dir.path()), 1, "one");
    fs::remove_dir_all(dir.path().join("log")).unwrap();

    let refused = Store::open(&Options::new(dir.path())).err().unwrap();

    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn an_index_that_is_gone_or_broken_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("index");
    {
        let store = opened(dir.path());
        (0..100).for_each(|key| put(&store, key, "word"));
    }
    let breaks: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(&index).unwrap(),
        &|| fs::write(index.join("db"), b"no index at all").unwrap(),
        &|| fs::write(index.join("snap.0000000000000001.generating"), b"half").unwrap(),
    ];

    for (turn, break_it) in breaks.iter().enumerate() {
        break_it();
        assert_eq!(words(&opened(dir.path())).len(), 100, "break {turn}");
    }

    let aside = fs::read_dir(dir.path()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".bad-"));
    assert_eq!(aside.count(), 1, "only the broken one is put aside");
}

#[test]
fn an_index_of_another_directory_is_not_used() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(&opened(one.path()), 1, "one");
    put(&opened(other.path()), 1, "other");
    fs::remove_dir_all(one.path().join("index")).unwrap();
    fs::rename(other.path().join("index"), one.path().join("index")).unwrap();

    assert_eq!(words(&opened(one.path())), [(1, "one".into())]);
}

#[test]
fn a_panicking_closure_leaves_nothing_and_the_store_goes_on() {
    let store = Store::in_memory();
    let panicked = store.transact(|tx| {
        tx.put(&WORDS, &1, &"one".into())?;
        if tx.lsn() == Lsn(1) {
            panic!("it happens");
        }
        Ok::<_, RowError>(())
    });

    let why = WriteError::Panicked { what: "it happens".into() };
    assert_eq!(panicked, Err(TransactError::Write(why)));
    put(&store, 2, "two");
    assert_eq!(words(&store), [(2, "two".into())]);
}

/// An index that never ends what it begins.
#[derive(Default)]
struct Stuck(InMemory);

impl Index for Stuck {
    fn get(&self, key: &[u8]) -> Result<Option<Octets>, RowError> {
        self.0.get(key)
    }

    fn rows<'a>(&'a self, run: Run<'_>, back: bool) -> Layer<'a> {
        self.0.rows(run, back)
    }

    fn visit(&self, run: Run<'_>, visit: &mut Visit<'_>) -> Result<(), RowError> {
        self.0.visit(run, visit)
    }

    fn apply(&self, _: &mut dyn Iterator<Item = Op>, _: Option<Lsn>) -> Result<(), RowError> {
        loop {
            thread::park();
        }
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}

#[test]
fn a_store_whose_index_is_stuck_still_closes_and_the_log_has_all() {
    let files: Arc<dyn Files> = Arc::new(Memory::default());
    let bounds = Bounds::from(&Options::new(""));
    let log = Log::create(files.clone(), 0, Lsn(1), bounds).unwrap();
    let close_wait = Duration::from_millis(20);
    let shared = Shared { close_wait, ..Shared::over(files, Box::<Stuck>::default()) };
    let store = Store::start(shared, log, &[]);
    put(&store, 1, "one");

    store.close();
    assert_eq!(words(&store), [(1, "one".into())]);
    assert_eq!((store.stats().applied, store.stats().synced), (Lsn(0), Lsn(1)));
    assert_eq!(store.follow(Lsn(0)).advance().unwrap().unwrap().lsn, Lsn(1));
}

#[test]
fn a_transaction_inside_a_transaction_is_refused_not_waited_for() {
    let store = Store::in_memory();
    let inner = store.clone();
    let nested = store.transact(|_| inner.transact(|_| Ok::<_, RowError>(())));
    assert_eq!(nested, Err(TransactError::Refused(TransactError::Write(WriteError::Nested))));
}

#[test]
fn what_follows_runs_in_log_order_and_sees_the_transaction() {
    let store = Store::in_memory();
    let seen = Arc::new(Mutex::new(Vec::new()));

    thread::scope(|scope| {
        for thread in 0..8u32 {
            let (store, seen) = (store.clone(), seen.clone());
            scope.spawn(move || {
                for turn in 0..50 {
                    let (key, seen, reader) = (thread * 1000 + turn, seen.clone(), store.clone());
                    let put = |tx: &mut Tx<'_>| {
                        tx.put(&WORDS, &key, &"word".into())?;
                        Ok::<_, RowError>((tx.lsn(), key))
                    };
                    let then = move |(lsn, key): (Lsn, u32)| {
                        assert!(reader.read(|rows| rows.contains(&WORDS, &key)).unwrap());
                        seen.lock().unwrap().push(lsn);
                    };
                    store.transact_then(put, then).unwrap();
                }
            });
        }
    });

    let expected: Vec<_> = (1..=400).map(Lsn).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn reads_in_a_transaction_merge_all_layers_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path());
    (0..40).for_each(|key| put(&store, key * 10, "index"));
    applied(&store);
    (0..20).for_each(|key| put(&store, key * 20, "synced"));

    let (forth, back, before, at) = store
        .transact(|tx| {
            (0..10).try_for_each(|key| tx.put(&WORDS, &(key * 40 + 5), &"own".into()))?;
            tx.delete(&WORDS, &0)?;
            let forth = tx.range(&WORDS, .., 1000)?;
            let back = tx.range_back(&WORDS, 5.., 1000)?;
            let at = tx.range_back(&WORDS, ..=40, 1)?.pop();
            Ok::<_, RowError>((forth, back, tx.prev(&WORDS, &40)?, at))
        })
        .unwrap();

    assert_eq!(forth.len(), 49);
    assert!(forth.is_sorted());
    assert!(forth.iter().eq(back.iter().rev()));
    assert_eq!(before, Some((30, "index".into())));
    assert_eq!(at, Some((40, "synced".into())));
}

#[test]
fn a_follower_gets_every_transaction_once_and_waits_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { log_segment_bytes: 2000, ..Options::new(dir.path()) };
    let store = Store::open(&options).unwrap();
    (0..200).for_each(|key| put(&store, key, "word"));

    let mut follow = store.follow(Lsn(50));
    let mut keys = Vec::new();
    while let Some(change) = follow.advance().unwrap() {
        keys.extend(change.rows(&WORDS).map(|row| row.unwrap().0));
    }
    put(&store, 7, "again");
    let next = follow.wait(Duration::from_secs(10)).unwrap().unwrap();

    assert_eq!(keys, (50..200).collect::<Vec<_>>());
    assert_eq!(next.lsn, Lsn(201));
}

#[test]
fn migrations_run_once_and_a_newer_one_is_refused() {
    const DOUBLE: Migration = Migration {
        number: 1,
        name: "say everything twice",
        run: |tx| {
            for (key, word) in tx.range(&WORDS, .., usize::MAX)? {
                tx.put(&WORDS, &key, &word.repeat(2))?;
            }
            Ok(())
        },
    };
    let dir = tempfile::tempdir().unwrap();
    put(&opened(dir.path()), 1, "ha");
    let newer = Options { migrations: &[DOUBLE], ..Options::new(dir.path()) };

    drop(Store::open(&newer).unwrap());
    assert_eq!(words(&Store::open(&newer).unwrap()), [(1, "haha".into())]);

    let refused = Store::open(&Options::new(dir.path())).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 1, known: 0, .. }), "{refused}");
}

#[test]
fn an_export_imported_elsewhere_holds_the_same_and_goes_on() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, to) = (dir.path().join("all.export"), other.path().join("data"));
    let store = opened(&dir.path().join("data"));
    (0..1000).for_each(|key| put(&store, key, "word"));
    put(&store, 7, &"x".repeat(200_000));

    let summary = store.export(&file).unwrap();
    assert_eq!((summary.rows, summary.lsn), (1000, Lsn(1001)));
    import(&to, &file).unwrap();
    let copy = opened(&to);
    put(&copy, 5, "more");

    assert_eq!(copy.stats().synced, Lsn(1002));
    store.transact(|tx| tx.put(&WORDS, &5, &"more".into())).unwrap();
    assert_eq!(words(&copy), words(&store));
    let again = import(&to, &file);
    assert!(matches!(again, Err(ImportError::Open(OpenError::Held { .. }))));
    drop(copy);
    assert!(matches!(import(&to, &file), Err(ImportError::Occupied(_))));
}

#[test]
fn a_damaged_export_is_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.export");
    let store = opened(&dir.path().join("data"));
    (0..100).for_each(|key| put(&store, key, "word"));
    store.export(&file).unwrap();
    let sound = fs::read(&file).unwrap();

    for at in (0..sound.len()).step_by(37) {
        let mut octets = sound.clone();
        octets[at] ^= 4;
        fs::write(&file, &octets).unwrap();
        assert!(import(&dir.path().join("copy"), &file).is_err(), "octet {at}");
        fs::write(&file, &sound[..at]).unwrap();
        assert!(import(&dir.path().join("copy"), &file).is_err(), "cut at {at}");
    }
    assert!(!dir.path().join("copy").exists());
}

#[test]
fn verify_names_damage_of_the_log_and_cut_keeps_what_is_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { log_segment_bytes: 3000, ..Options::new(dir.path()) };
    {
        let store = Store::open(&options).unwrap();
        (0..200).for_each(|key| put(&store, key, "word"));
    }
    let sound = verify(dir.path()).unwrap();
    assert!(sound.is_sound() && sound.log.end == Lsn(200), "{sound}");
    assert!(matches!(sound.index, IndexReport::Sound { rows: 200, .. }), "{sound}");
    let segment = dir.path().join("log").join(scan::name_of(2));
    let mut octets = fs::read(&segment).unwrap();
    octets[1500] ^= 1;
    fs::write(&segment, octets).unwrap();

    // The index has what is damaged, so a start does not need it.
    let covered = verify(dir.path()).unwrap();
    assert!(covered.is_sound() && covered.log.covered.len() == 1, "{covered}");
    drop(Store::open(&options).unwrap());
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let refused = Store::open(&options).err().unwrap().to_string();
    assert!(refused.contains("store verify"), "{refused}");
    let damaged = verify(dir.path()).unwrap();
    assert!(!damaged.is_sound() && damaged.log.end < Lsn(120), "{damaged}");

    let (kept, _) = cut(dir.path()).unwrap().unwrap();
    assert_eq!(kept, damaged.log.end);
    let store = Store::open(&options).unwrap();
    assert_eq!(words(&store).len() as u64, kept.0);
    put(&store, 999, "goes on");
    drop(store);
    assert!(verify(dir.path()).unwrap().is_sound());
}

#[test]
fn an_export_makes_good_for_damage_before_it_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { log_segment_bytes: 3000, export_log_bytes: 60_000, ..Options::new(dir.path()) };
    let old = dir.path().join("index-of-old");
    {
        let store = Store::open(&options).unwrap();
        put(&store, 1, "first");
        applied(&store);
    }
    fs::rename(dir.path().join("index"), &old).unwrap();
    {
        let store = Store::open(&options).unwrap();
        (0..1000).for_each(|key| put(&store, key % 100, "word"));
        applied(&store);
    }
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::rename(&old, dir.path().join("index")).unwrap();
    let segment = dir.path().join("log").join(scan::name_of(3));
    let mut octets = fs::read(&segment).unwrap();
    octets[1500] ^= 1;
    fs::write(&segment, octets).unwrap();

    assert!(verify(dir.path()).unwrap().is_sound());
    let store = Store::open(&options).unwrap();
    assert_eq!(words(&store).len(), 100);
    assert_eq!(store.stats().synced, Lsn(1001));
}

#[test]
fn the_log_is_trimmed_below_the_older_of_two_exports_and_the_index_comes_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { log_segment_bytes: 3000, export_log_bytes: 20_000, ..Options::new(dir.path()) };
    {
        let store = Store::open(&options).unwrap();
        for round in 0..4 {
            for key in 0..1000 {
                put(&store, key % 100, &format!("word {key} of {round}"));
            }
            applied(&store);
        }
        put(&store, 0, "last");
    }
    assert!(!dir.path().join("log").join(scan::name_of(1)).exists());
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.exports.len(), EXPORTS_KEPT);
    let oldest = report.exports.last().unwrap().as_ref().unwrap().lsn;
    assert!(report.log.first <= Lsn(oldest.0 + 1) && report.log.first > Lsn(1), "{report}");

    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let newest = &report.exports[0].as_ref().unwrap().path;
    fs::write(newest, b"damaged").unwrap();

    let store = Store::open(&options).unwrap();
    let mut expected: Vec<_> =
        (0..100).map(|key| (key, format!("word {} of 3", 900 + key))).collect();
    expected[0].1 = "last".into();
    assert_eq!(words(&store), expected);
    let trimmed = store.follow(Lsn(0)).advance();
    assert!(matches!(trimmed, Err(FollowError::Trimmed)));
}

/// Goal: no release forgets how to read what an earlier one wrote. Method: a directory that the
/// release with that format wrote, committed; a new format gets a new one beside it.
#[test]
fn a_directory_of_every_format_opens_and_holds_what_it_held() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
    for format in 1..=FORMAT {
        let from = golden.join(format!("format-{format}"));
        if !from.exists() {
            make_golden(&from);
            panic!("{} was missing and has been made: look at it, commit it", from.display());
        }
        let dir = tempfile::tempdir().unwrap();
        for part in ["", "log", "exports"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
            for entry in fs::read_dir(from.join(part)).unwrap().flatten() {
                if entry.path().is_file() {
                    fs::copy(entry.path(), dir.path().join(part).join(entry.file_name())).unwrap();
                }
            }
        }
        let store = opened(dir.path());
        let expected = [(1, "one".into()), (2, "x".repeat(9000)), (4, "four".into())];
        assert_eq!(words(&store), expected, "format {format}");
        assert_eq!(store.stats().synced, Lsn(5));
    }
}

/// A data directory whose log goes on from an export, and has a transaction of several records.
fn make_golden(to: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("base.export"), dir.path().join("data"));
    {
        let store = opened(&dir.path().join("first"));
        put(&store, 1, "one");
        put(&store, 3, "three");
        store.export(&file).unwrap();
    }
    import(&data, &file).unwrap();
    let options = Options { log_record_bytes: 1000, ..Options::new(&data) };
    let store = Store::open(&options).unwrap();
    let long = |tx: &mut Tx<'_>| {
        tx.put(&WORDS, &2, &"x".repeat(9000))?;
        tx.put(&WORDS, &4, &"four".into())
    };
    store.transact(long).unwrap();
    store.transact(|tx| tx.delete(&WORDS, &3)).unwrap();
    store.transact(|tx| tx.delete(&WORDS, &9)).unwrap();
    drop(store);
    for part in ["", "log", "exports"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(data.join(part)).unwrap().flatten() {
            if entry.path().is_file() && entry.file_name() != "lock" {
                fs::copy(entry.path(), to.join(part).join(entry.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn a_value_beyond_the_limit_is_refused_and_nothing_is_put() {
    let store = Store::in_memory();
    let refused = store.transact(|tx| tx.put(&WORDS, &1, &"x".repeat(VALUE_BYTES_MAX)));
    assert!(matches!(refused, Err(TransactError::Refused(RowError::TooLarge { .. }))));
}
