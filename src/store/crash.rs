//! Crashes, simulated: the log on a [machine that stops](super::faulty), the index in any state.
//!
//! After each the store must hold everything it had acknowledged, nothing by halves, in the order of
//! the log.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::faulty::{Dice, Faulty, Trouble};
use super::files::{Files, held};
use super::in_memory::InMemory;
use super::index::Index;
use super::log::{Bounds, Log, Transaction};
use super::scan::{LogError, examine};
use super::{
    Lsn, Options, RowError, Rows, Shared, State, Store, Table, TransactError, Tx, WriteError,
};

/// By writer and row: the turn that wrote it. A transaction writes all rows of its writer.
const ROWS: Table<(u32, u32), (u32, Vec<u8>)> = Table::new("rows", *b"ro");
/// By LSN: whose turn it was.
const HISTORY: Table<u64, (u32, u32)> = Table::new("history", *b"hi");

const WRITERS: u32 = 3;
const ROWS_EACH: u32 = 4;

/// Segments and records so small that every crash is near an edge.
const BOUNDS: Bounds = Bounds { segment_bytes: 3000, record_bytes: 300, reserve: 1 << 20 };

/// What the writers know: the last turn acknowledged and the last tried, each.
#[derive(Clone, Default, Debug)]
struct Known {
    acknowledged: [u32; WRITERS as usize],
    tried: [u32; WRITERS as usize],
    lsn: u64,
}

fn write_turn(tx: &mut Tx<'_>, writer: u32, turn: u32) -> Result<Lsn, RowError> {
    // Some are refused at first, some fill several records, some undo half of what they did.
    let length = if turn.is_multiple_of(7) { 400 } else { 20 };
    for row in 0..ROWS_EACH {
        tx.put(&ROWS, &(writer, row), &(turn, vec![turn as u8; length]))?;
    }
    let here = tx.savepoint();
    tx.delete(&ROWS, &(writer, 0))?;
    tx.rollback_to(here);
    let last = tx.range_back(&HISTORY, .., 1)?.first().map_or(0, |row| row.0);
    assert_eq!(last + 1, tx.lsn().0, "a closure sees everything before it");
    tx.put(&HISTORY, &tx.lsn().0, &(writer, turn))?;
    Ok(tx.lsn())
}

/// Every writer makes `turns` transactions, or as many as the machine lets it.
fn write(store: &Store, known: &Mutex<Known>, turns: u32) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for _ in 0..turns {
                    let turn = {
                        let mut known = held(known);
                        known.tried[writer as usize] += 1;
                        known.tried[writer as usize]
                    };
                    let Ok(lsn) = store.transact(|tx| write_turn(tx, writer, turn)) else { return };
                    let mut known = held(known);
                    known.acknowledged[writer as usize] = turn;
                    known.lsn = known.lsn.max(lsn.0);
                }
            });
        }
    });
}

/// Checks the promises and returns what is known now.
fn check(store: &Store, known: &Known) -> Result<Known, RowError> {
    store.read(|rows| {
        let history = rows.range(&HISTORY, .., usize::MAX)?;
        assert!(history.iter().map(|row| row.0).eq(1..=history.len() as u64), "no LSN is missing");
        assert!(history.len() as u64 >= known.lsn, "an acknowledged transaction is missing");
        let mut last = [0; WRITERS as usize];
        for (lsn, (writer, turn)) in &history {
            assert!(*turn > last[*writer as usize], "transaction {lsn} is out of order");
            last[*writer as usize] = *turn;
        }
        for writer in 0..WRITERS {
            let (at, held) = (writer as usize, rows.scan(&ROWS, &writer, None, 100)?);
            assert!(last[at] >= known.acknowledged[at] && last[at] <= known.tried[at]);
            assert!(held.iter().all(|row| row.1.0 == last[at]), "half a transaction: {held:?}");
            assert_eq!(held.len(), if last[at] == 0 { 0 } else { ROWS_EACH as usize });
        }
        Ok(Known { acknowledged: last, tried: known.tried, lsn: history.len() as u64 })
    })
}

/// Opens a store on `files` and an empty index: all of it comes from the log.
fn open_log_alone(files: &Faulty) -> Result<Store, LogError> {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    let mut lag = Vec::new();
    let log = match Log::find(files.clone(), 1, BOUNDS)? {
        Some(mut log) => {
            log.replay(Lsn(0), &mut |lsn, ops| lag.push(Transaction::new(lsn, ops)))?;
            log
        }
        None => Log::create(files.clone(), 1, Lsn(1), BOUNDS)?,
    };
    let index: Box<dyn Index> = Box::<InMemory>::default();
    let mut shared = Shared { reserve: BOUNDS.reserve, ..Shared::over(files, index) };
    shared.continue_after(log.end(), Lsn(0));
    Ok(Store::start(shared, log, &lag))
}

/// Goal: no crash of the machine loses or halves a transaction. Method: chains of crashes, the log
/// only; each start must succeed, also one that is itself interrupted.
#[test]
fn two_thousand_crashes_lose_nothing_acknowledged_and_halve_nothing() {
    const CHAINS: u64 = 110;
    const CRASHES_EACH: u64 = 20;
    let mut crashes = 0;
    for chain in 1..=CHAINS {
        let mut dice = Dice(chain.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut files, mut known) = (Faulty::new(), Known::default());
        for _ in 0..CRASHES_EACH {
            files.stop_after(1 + dice.roll(60));
            match open_log_alone(&files) {
                Ok(store) => {
                    known = check(&store, &known).unwrap();
                    let writing = Mutex::new(known);
                    write(&store, &writing, 12);
                    known = writing.into_inner().unwrap();
                }
                Err(LogError::Io { .. }) if held(&files.0).left == 0 => {}
                Err(error) => panic!("chain {chain} does not start: {error}"),
            }
            files = files.after_crash(&mut dice);
            crashes += 1;
        }
        check(&open_log_alone(&files).unwrap(), &known).unwrap();
    }
    assert!(crashes >= 2000);
}

/// What becomes of the index directory while the machine is down.
fn maltreat(dir: &Path, old: &Path, dice: &mut Dice) {
    let index = dir.join("index");
    match dice.roll(6) {
        0 => drop(std::fs::remove_dir_all(&index)),
        1 if old.exists() => {
            drop(std::fs::remove_dir_all(&index));
            copy(old, &index);
        }
        2 => {
            drop(std::fs::remove_dir_all(old));
            copy(&index, old);
        }
        3 => damage(&index, dice),
        4 => drop(std::fs::write(index.join("snap.0000000000000010.generating"), b"half")),
        _ => {}
    }
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    std::fs::create_dir_all(to).unwrap();
    for entry in entries.flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Flips octets of a file of the index, or cuts it.
fn damage(index: &Path, dice: &mut Dice) {
    let Ok(entries) = std::fs::read_dir(index) else { return };
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    if files.is_empty() {
        return;
    }
    let path = &files[dice.roll(files.len() as u64) as usize];
    let mut octets = std::fs::read(path).unwrap();
    let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1) as u64;
    match dice.roll(2) {
        0 => octets.truncate(dice.roll(used + 1) as usize),
        _ if used > 0 => (0..8).for_each(|_| octets[dice.roll(used) as usize] ^= 1 << dice.roll(8)),
        _ => {}
    }
    std::fs::write(path, octets).unwrap();
}

/// Goal: whatever becomes of the index, the log restores it. Method: as above, with sled on the disk
/// kept, put back to an older state, damaged, removed or interrupted between the starts.
#[test]
fn crashes_with_the_index_old_damaged_or_gone_lose_nothing_acknowledged() {
    const CHAINS: u64 = 12;
    const CRASHES_EACH: u64 = 20;
    for chain in 1..=CHAINS {
        let mut dice = Dice(chain.wrapping_mul(0xD134_2543_DE82_EF95));
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("index-of-old");
        let options = Options {
            reserve_bytes: BOUNDS.reserve,
            log_segment_bytes: BOUNDS.segment_bytes,
            log_record_bytes: BOUNDS.record_bytes,
            ..Options::new(dir.path().join("data"))
        };
        let (mut files, mut known) = (Faulty::new(), Known::default());
        let mut crash = 0;
        while crash < CRASHES_EACH {
            files.stop_after(6 + dice.roll(60));
            match Store::open_on(&options, Some(Arc::new(files.clone()))) {
                Ok((store, _)) => match check(&store, &known) {
                    Ok(now) => {
                        let writing = Mutex::new(now);
                        write(&store, &writing, 12);
                        known = writing.into_inner().unwrap();
                    }
                    // Damage found only when it was read: the next start builds the index anew.
                    Err(RowError::Index(_)) => {
                        assert_ne!(store.state(), State::Writing);
                        drop(store);
                        files.stop_after(u64::MAX);
                        let store = Store::open_on(&options, Some(Arc::new(files.clone())));
                        known = check(&store.unwrap().0, &known).unwrap();
                    }
                    Err(error) => panic!("chain {chain}: {error}"),
                },
                Err(error) if held(&files.0).left == 0 => drop(error),
                Err(error) => panic!("chain {chain} does not start: {error}: {:?}", error.source()),
            }
            files = files.after_crash(&mut dice);
            maltreat(&options.dir, &old, &mut dice);
            crash += 1;
        }
    }
}

fn put_one(store: &Store, writer: u32) -> Result<Lsn, TransactError<RowError>> {
    store.transact(|tx| {
        let turn = tx.get(&ROWS, &(writer, 0))?.map_or(1, |row| row.0 + 1);
        write_turn(tx, writer, turn)
    })
}

fn stopped<T>(result: &Result<T, TransactError<RowError>>) -> bool {
    matches!(result, Err(TransactError::Write(WriteError::Stopped { .. })))
}

#[test]
fn after_a_failed_sync_writes_are_refused_for_good_and_reads_go_on() {
    let files = Faulty::new();
    let store = open_log_alone(&files).unwrap();
    put_one(&store, 0).unwrap();

    files.trouble(Trouble::SyncFails);
    assert!(stopped(&put_one(&store, 1)));
    files.trouble(Trouble::None);

    assert!(stopped(&put_one(&store, 1)), "a sync is never tried again");
    assert!(matches!(store.state(), State::Stopped { why } if why.contains("does not sync")));
    assert_eq!(store.read(|rows| rows.get(&ROWS, &(1, 0))), Ok(None));
    assert!(store.read(|rows| rows.get(&ROWS, &(0, 0))).unwrap().is_some());
}

#[test]
fn a_full_disk_stops_writes_and_room_lets_them_go_on() {
    let files = Faulty::new();
    let store = open_log_alone(&files).unwrap();
    put_one(&store, 0).unwrap();

    files.trouble(Trouble::DiskFull);
    assert!(stopped(&put_one(&store, 1)));
    assert!(stopped(&put_one(&store, 1)));
    assert!(matches!(store.state(), State::Stopped { why } if why.contains("in reserve")));
    assert!(store.read(|rows| rows.get(&ROWS, &(0, 0))).unwrap().is_some());

    files.trouble(Trouble::None);
    assert_eq!(put_one(&store, 1), Ok(Lsn(2)), "what was refused took no number");
}

/// Changes one octet of a log file, `back` octets before its end.
fn flip(files: &Faulty, name: &str, back: usize) {
    let mut machine = held(&files.0);
    let at = machine.names[name];
    let octets = &mut machine.files[at].now;
    let place = octets.len() - back;
    octets[place] ^= 1;
}

#[test]
fn damage_before_the_end_of_the_log_is_refused_and_nothing_is_cut() {
    let files = Faulty::new();
    let store = open_log_alone(&files).unwrap();
    for _ in 0..6 {
        put_one(&store, 0).unwrap();
    }
    drop(store);
    let name = held(&files.0).names.keys().next_back().cloned().unwrap();
    let before = held(&files.0).clone();
    flip(&files, &name, 900);

    let refused = open_log_alone(&files).err().unwrap();

    assert!(
        matches!(&refused, LogError::Damaged(what) if what.contains("written when it was synced")),
        "{refused}"
    );
    flip(&files, &name, 900);
    let (now, before) = (held(&files.0), before);
    assert!(now.files.iter().zip(&before.files).all(|(now, before)| now.now == before.now));
}

#[test]
fn a_missing_segment_in_the_middle_is_refused() {
    let files = Faulty::new();
    let store = open_log_alone(&files).unwrap();
    for _ in 0..30 {
        put_one(&store, 0).unwrap();
    }
    drop(store);
    let second = held(&files.0).names.keys().nth(1).cloned().unwrap();
    files.remove(&second).unwrap();

    let log = Log::find(Arc::new(files), 1, BOUNDS).unwrap().unwrap();

    assert!(
        log.first() > Lsn(1),
        "it goes on after the gap, and only an export covers what is before"
    );
}

#[test]
fn zeros_ahead_of_records_to_come_are_no_tail_and_go_when_the_log_is_closed() {
    let files = Faulty::new();
    let store = open_log_alone(&files).unwrap();
    let lsn = put_one(&store, 0).unwrap();
    let killed = Faulty(Arc::new(Mutex::new(held(&files.0).clone())));
    drop(store);

    let last = |files: &Faulty| held(&files.0).files.last().unwrap().now.clone();
    assert!(last(&killed).starts_with(&last(&files)), "the same records");
    assert!(last(&killed).len() > last(&files).len());
    for files in [killed, files] {
        let report = examine(&files, 1, Lsn(0)).unwrap();
        assert_eq!((report.end, report.tail_bytes, report.damage), (lsn, 0, None));
        open_log_alone(&files).unwrap();
    }
}

/// A crash may keep all of a record but the end of its padding: what is written next must not stand askew.
#[test]
fn a_record_without_its_padding_is_cut_and_what_follows_is_found_again() {
    for missing in 1..8 {
        let files = Faulty::new();
        let store = open_log_alone(&files).unwrap();
        for _ in 0..2 {
            put_one(&store, 0).unwrap();
        }
        drop(store);
        {
            let mut machine = held(&files.0);
            let file = machine.files.last_mut().unwrap();
            let bytes = file.now.len() - missing;
            file.now.truncate(bytes);
            file.synced.truncate(bytes);
        }
        let store = open_log_alone(&files).unwrap();
        let lsn = put_one(&store, 0).unwrap();
        drop(store);
        let store = open_log_alone(&files).unwrap();
        let last = store.read(|rows| rows.range_back(&HISTORY, .., 1)).unwrap();
        assert_eq!(last.first().map(|row| row.0), Some(lsn.0), "{missing} octets missing");
    }
}
