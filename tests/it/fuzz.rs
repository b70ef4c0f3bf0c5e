//! The fuzz targets' corpora, put to the same claims on the stable toolchain, as they are and changed
//! a little: bits turned, octets taken out, doubled, moved between files.
//!
//! `FUZZ_SECONDS=300 cargo test --test it fuzz` changes them for so long in each target. Coverage guides
//! only the targets themselves (`tests/fuzz/run`).

#[path = "../fuzz/claims.rs"]
mod claims;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Changed copies of each file, unless a time is given.
const CHANGED: usize = 20;

/// Octets of the longest input.
const OCTETS_MAX: usize = 4096;

fn replay(target: &str, claim: fn(&[u8])) {
    let mut files: Vec<_> = fs::read_dir(format!("tests/fuzz/corpus/{target}"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "an empty corpus proves nothing");
    files.iter().for_each(|octets| hold(target, claim, octets));

    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut count = 0;
    while end.map_or(count < files.len() * CHANGED, |end| Instant::now() < end) {
        let mut octets = files[count % files.len()].clone();
        for _ in 0..1 + random.below(4) {
            random.change(&mut octets, &files);
        }
        octets.truncate(OCTETS_MAX);
        hold(target, claim, &octets);
        count += 1;
    }
    println!("{target}: {} files, {count} changed", files.len());
}

/// Puts one input to a claim; one that breaks it is kept for `cargo fuzz` and the corpus.
fn hold(target: &str, claim: fn(&[u8]), octets: &[u8]) {
    if let Err(broken) = catch_unwind(AssertUnwindSafe(|| claim(octets))) {
        let path = std::env::temp_dir().join(format!("nameplane-broken-{target}"));
        fs::write(&path, octets).unwrap();
        println!("the octets that broke the claim: {}", path.display());
        std::panic::resume_unwind(broken);
    }
}

/// xorshift64: the same changes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    /// A place in `octets` and one behind it, at most 32 octets apart.
    fn range(&mut self, octets: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(octets.len() + 1);
        start..(start + self.below(33)).min(octets.len())
    }

    fn change(&mut self, octets: &mut Vec<u8>, files: &[Vec<u8>]) {
        let at = self.range(octets);
        match self.below(6) {
            0 if !octets.is_empty() => {
                let at = self.below(octets.len());
                octets[at] ^= 1 << self.below(8);
            }
            1 if !octets.is_empty() => {
                const ODD: [u8; 10] = [0, 1, 63, 64, 0x7F, 0x80, 0xC0, 0xFF, b'.', b'\\'];
                let at = self.below(octets.len());
                octets[at] = ODD[self.below(ODD.len())];
            }
            2 => drop(octets.drain(at)),
            3 => {
                let copy = octets[at.clone()].to_vec();
                octets.splice(at.start..at.start, copy);
            }
            4 => {
                let other = &files[self.below(files.len())];
                let piece = other[self.range(other)].to_vec();
                octets.splice(at, piece);
            }
            _ => octets.truncate(at.end),
        }
    }
}

#[test]
fn messages_near_the_corpus_keep_their_claims() {
    replay("message", claims::message);
}

#[test]
fn queries_near_the_corpus_keep_their_claims() {
    replay("query", claims::query);
}

#[test]
fn opt_records_near_the_corpus_keep_their_claims() {
    replay("edns", claims::edns);
}

#[test]
fn proxy_headers_near_the_corpus_keep_their_claims() {
    replay("proxy", claims::proxy);
}

#[test]
fn zone_files_near_the_corpus_keep_their_claims() {
    replay("zone", claims::zone);
}
