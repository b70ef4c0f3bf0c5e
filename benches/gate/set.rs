//! What the gate and the replay beside it have in common: a set in a table, and what it is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nameplane::answer::{Bulk, Rendered, Writer, render};
use nameplane::metrics::Registry;
use nameplane::serve::{Refuse, Settings, Shared};
use nameplane::wire::{HashKey, Name};
use nameplane::zone::text;
use nameplane::zone::tree::PackedZone;

use super::dataset::{Dataset, Set};
use super::questions::{Questions, Spread};

/// What a seed is for every run to be the same.
const KEY: [u8; 24] = *b"the same pages each time";

/// The kinds of questions: their word, how they are called, how many of 100 are for nobody, and how they are drawn.
pub const KINDS: [(&str, &str, u64, Spread); 4] = [
    ("hits", "hits, uniform", 0, Spread::Uniform),
    ("zipf", "hits, Zipf", 0, Spread::Zipf),
    ("nx", "NXDOMAIN", 100, Spread::Uniform),
    ("mixed", "mixed, 20 % NXDOMAIN", 20, Spread::Zipf),
];

/// What is said behind `--` on the command line, by its place.
pub struct Words(Vec<String>);

impl Words {
    pub fn given() -> Self {
        Self(std::env::args().skip(1).filter(|word| word != "--bench").collect())
    }

    pub fn word<'a>(&'a self, at: usize, or: &'a str) -> &'a str {
        self.0.get(at).map_or(or, String::as_str)
    }

    pub fn number(&self, at: usize, or: usize) -> usize {
        self.0.get(at).and_then(|word| word.parse().ok()).unwrap_or(or)
    }
}

/// A set below `TMPDIR`, written if it is not there.
pub fn open(set: Set, divisor: usize) -> std::io::Result<Dataset> {
    Dataset::open(&std::env::temp_dir().join("nameplane-bench"), set, divisor)
}

/// What answers from a set.
pub fn serve(set: Set, dataset: &Dataset) -> Arc<Shared> {
    let began = Instant::now();
    let published = load(dataset).published();
    let registry = Arc::new(Registry::default());
    let shared = Shared::new(Settings::default(), published, Arc::new(Refuse), registry, 1);
    eprintln!(
        "{}: {} zones, {} records, read and rendered in {:.1} s",
        set.describe(),
        dataset.zones,
        dataset.records,
        began.elapsed().as_secs_f32()
    );
    shared
}

/// The questions of one kind about a set, with DO if it is signed.
pub fn ask(
    set: Set,
    dataset: &Dataset,
    missing: u64,
    spread: Spread,
) -> std::io::Result<Questions> {
    let questions = Questions::read(&dataset.hits(), &dataset.apexes(), missing, spread)?;
    Ok(questions.dnssec(set.is_signed()))
}

/// All zones of a set in a table.
fn load(dataset: &Dataset) -> Writer {
    let mut writer = Writer::new(HashKey::new(KEY));
    let key = writer.key();
    writer.start_load();
    let mut bulk = Bulk::new(&key);
    let zones = dataset.zones().expect("the list of zones is readable");
    for (part, chunk) in zones.chunks(2048).enumerate() {
        let mut rendered = Rendered::new(&key);
        for (number, (apex, file)) in chunk.iter().enumerate() {
            put_zone(&mut rendered, (part * 2048 + number) as u32, apex, file);
        }
        bulk.take(&mut rendered);
    }
    writer.load(vec![bulk], 1);
    writer.end_load();
    writer
}

fn put_zone(rendered: &mut Rendered, id: u32, apex: &str, file: &Path) {
    let text = std::fs::read(file).expect("a zone file");
    let apex = Name::parse(apex).expect("a name");
    let options = text::Options { origin: Some(apex), ..text::Options::default() };
    let parsed = text::parse(&text, options).expect("a faultless zone file");
    let view = PackedZone::new(parsed.apex.clone(), &parsed.packed);
    render::zone(rendered, &render::Zone { id, view: &view, children: None })
        .expect("memory is readable");
}
