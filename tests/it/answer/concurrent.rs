//! Readers beside a writer: an order over two zones is seen whole or not at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nameplane::answer::{Rendered, render};
use nameplane::wire::Type;

use super::incremental::changes;
use super::{Table, Zone, answer, name, with_zone};

fn versions(number: u32) -> [Zone; 2] {
    let text = format!(
        "@ SOA {number}\n @ NS ns\n v TXT {number}\n a CNAME v\n n{} A 192.0.2.1",
        number % 7
    );
    ["one.", "two."]
        .map(|apex| Zone::new(apex, apex.len() as u32 + u32::from(apex == "two.")).with(&text))
}

/// Goal: no reader ever sees half of a commit, however fast commits come.
/// Method: every commit changes both zones to the same number; readers compare within one snapshot, and the
/// numbers of successive snapshots, while the table also doubles and splits.
#[test]
fn a_commit_over_two_zones_is_seen_whole_or_not_at_all() {
    const COMMITS: u32 = 3_000;
    let mut table = Table::of(&versions(0));
    let published = table.writer.published();
    let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let snapshot = published.load();
                    let text = ["v.one.", "a.one.", "v.two.", "a.two."].map(|owner| {
                        let mut buffer = [0; 512];
                        let len =
                            answer(&snapshot, &name(owner), Type::TXT, false, 512, &mut buffer);
                        let digits: Vec<u8> = buffer[..len]
                            .iter()
                            .rev()
                            .copied()
                            .take_while(u8::is_ascii_digit)
                            .collect();
                        digits
                            .iter()
                            .rev()
                            .fold(0u32, |number, digit| 10 * number + u32::from(digit - b'0'))
                    });
                    assert!(text.iter().all(|number| *number == text[0]), "{text:?}");
                    assert!(text[0] >= last, "{} after {last}", text[0]);
                    last = text[0];
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut before = versions(0);
        for number in 1..=COMMITS {
            let after = versions(number);
            let mut rendered = Rendered::new(&table.writer.key());
            for (before, after_zone) in before.iter().zip(&after) {
                let changes = changes(before, after_zone);
                with_zone(after_zone, &after, |zone| {
                    render::touched(&mut rendered, zone, &changes).unwrap()
                });
            }
            table.writer.publish(&[rendered]);
            before = after;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.load(Ordering::Relaxed) > 0);
    assert_eq!(published.load().version(), u64::from(COMMITS) + 1);
}

/// Goal: a table that grows from nothing to many pages loses no name, nor does one that shrinks.
#[test]
fn names_survive_the_doubling_of_the_directory() {
    let mut table = Table::empty();
    let zone = |names: u32| {
        let text: String = (0..names).map(|number| format!("h{number} A 192.0.2.1\n")).collect();
        Zone::new("grow.", 1).with("@ SOA 1\n @ NS ns").with(&text)
    };
    let mut before = zone(0);
    let mut rendered = Rendered::new(&table.writer.key());
    with_zone(&before, &[], |zone| render::zone(&mut rendered, zone).unwrap());
    table.writer.publish(&[rendered]);
    for names in [1, 10, 500, 501, 3_000, 100, 2_000] {
        let after = zone(names);
        let mut rendered = Rendered::new(&table.writer.key());
        let changes = changes(&before, &after);
        with_zone(&after, &[], |zone| render::touched(&mut rendered, zone, &changes).unwrap());
        table.writer.publish(&[rendered]);
        let rcode = |number: u32| table.ask(&name(&format!("h{number}.grow.")), Type::A, false)[3];
        assert!((0..names).all(|number| rcode(number) == 0));
        assert!((names..3_001).all(|number| rcode(number) == 3));
        assert_eq!(table.writer.published().load().names() as u32, names + 1);
        before = after;
    }
}
