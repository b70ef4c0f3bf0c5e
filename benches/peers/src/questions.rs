//! What is asked: a population of questions, and the order in which they are drawn.
//!
//! Everything a query needs is computed before the clock starts: questions in wire form one behind
//! the other, and a long list of draws. Only the random labels of names that do not exist are made
//! while asking, because a label asked twice measures a cache.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// How many draws are made ahead; asking starts over when they are used up.
const DRAWS: usize = 1 << 20;

/// Octets of the random label put before an apex for a name that does not exist.
const LABEL: usize = 12;

/// How questions are drawn from the population.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Each as likely as every other: the worst case for caches.
    Uniform,
    /// The k-th with weight 1/k: what a busy server sees.
    Zipf,
}

/// A population of questions and how they are drawn.
pub struct Questions {
    existing: Pool,
    /// Apexes below which names are asked that do not exist.
    missing: Pool,
    /// Of 100 questions, how many are for names that do not exist.
    missing_percent: u64,
    draws: Vec<u32>,
    next: usize,
    random: Random,
    dnssec: bool,
}

impl Questions {
    /// Reads `NAME TYPE` lines; with `missing_percent`, apexes are read from `apexes`.
    pub fn read(
        hits: &Path,
        apexes: &Path,
        missing_percent: u64,
        spread: Spread,
    ) -> io::Result<Self> {
        let existing = if missing_percent < 100 { Pool::read(hits)? } else { Pool::default() };
        let missing = if missing_percent > 0 { Pool::read(apexes)? } else { Pool::default() };
        let mut random = Random::new(20_261_121);
        let population = if missing_percent < 100 { existing.len() } else { missing.len() };
        let draws = draw(population, spread, &mut random);
        Ok(Self { existing, missing, missing_percent, draws, next: 0, random, dnssec: false })
    }

    /// The same questions with or without the DO bit (and with or without EDNS at all).
    pub fn dnssec(mut self, dnssec: bool) -> Self {
        self.dnssec = dnssec;
        self
    }

    /// A seed, so that no two rounds ask for the same missing names.
    pub fn seed(&mut self, seed: u64) {
        self.random = Random::new(seed);
        self.next = self.random.below(self.draws.len());
    }

    /// Writes the next query behind an ID into `out`; returns its length and that of its question.
    pub fn write(&mut self, id: u16, out: &mut [u8]) -> (usize, usize) {
        let draw = self.draws[self.next] as usize;
        self.next = (self.next + 1) % self.draws.len();
        out[..12].copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, self.dnssec as u8]);
        out[..2].copy_from_slice(&id.to_be_bytes());
        let mut end = 12;
        let miss = self.missing_percent > 0 && self.random.next() % 100 < self.missing_percent;
        let question = if miss {
            out[end] = LABEL as u8;
            self.random.label(&mut out[end + 1..][..LABEL]);
            end += 1 + LABEL;
            self.missing.get(draw % self.missing.len())
        } else {
            self.existing.get(draw % self.existing.len())
        };
        out[end..end + question.len()].copy_from_slice(question);
        end += question.len();
        let question_len = end - 12;
        if self.dnssec {
            // OPT: root, type 41, 1232 octets, version 0, DO.
            out[end..end + 11].copy_from_slice(&[0, 0, 41, 0x04, 0xD0, 0, 0, 0x80, 0, 0, 0]);
            end += 11;
        }
        (end, question_len)
    }
}

/// Draws of a population: with Zipf, most draws fall on its first members.
fn draw(population: usize, spread: Spread, random: &mut Random) -> Vec<u32> {
    match spread {
        Spread::Uniform => (0..DRAWS).map(|_| random.below(population) as u32).collect(),
        Spread::Zipf => {
            let mut sum = 0.0;
            let cumulated: Vec<f64> = (1..=population)
                .map(|rank| {
                    sum += 1.0 / rank as f64;
                    sum
                })
                .collect();
            let pick = |random: &mut Random| {
                let point = random.below(1 << 53) as f64 / (1u64 << 53) as f64 * sum;
                cumulated.partition_point(|&reached| reached < point).min(population - 1) as u32
            };
            (0..DRAWS).map(|_| pick(random)).collect()
        }
    }
}

/// Questions in wire form, one behind the other.
#[derive(Default)]
struct Pool {
    octets: Vec<u8>,
    ends: Vec<u32>,
}

impl Pool {
    fn read(path: &Path) -> io::Result<Self> {
        let file = fs::File::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let mut pool = Self::default();
        for line in BufReader::new(file).lines() {
            let line = line?;
            let bad =
                || io::Error::new(io::ErrorKind::InvalidData, format!("not NAME TYPE: {line}"));
            let (name, rtype) = line.split_once(' ').ok_or_else(bad)?;
            for label in name.split('.').filter(|label| !label.is_empty()) {
                pool.octets.push(label.len() as u8);
                pool.octets.extend_from_slice(label.as_bytes());
            }
            pool.octets.push(0);
            pool.octets.extend_from_slice(&type_number(rtype).ok_or_else(bad)?.to_be_bytes());
            pool.octets.extend_from_slice(&[0, 1]);
            pool.ends.push(pool.octets.len() as u32);
        }
        match pool.len() {
            0 => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is empty", path.display()),
            )),
            _ => Ok(pool),
        }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.octets[start..self.ends[i] as usize]
    }
}

fn type_number(mnemonic: &str) -> Option<u16> {
    const TYPES: [(&str, u16); 9] = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
        ("SRV", 33),
        ("DS", 43),
    ];
    TYPES.iter().find(|(name, _)| *name == mnemonic).map(|&(_, number)| number)
}

/// xorshift64*: fast, seeded, and good enough to spread questions.
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 1
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 63) as usize
    }

    /// Fills a label with letters and digits.
    pub fn label(&mut self, out: &mut [u8]) {
        let mut bits = self.next() as u128 | (self.next() as u128) << 63;
        for octet in out {
            *octet = b"abcdefghijklmnopqrstuvwxyz012345"[(bits & 31) as usize];
            bits >>= 5;
        }
    }
}
