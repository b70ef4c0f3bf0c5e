//! Response rate limiting: what a forged address may be sent in its victim's name.
//!
//! Equal responses to one client prefix share a bucket of tokens, refilled each second; an empty
//! bucket means silence, and now and then a truncated reply, so that a real client behind the
//! address can come again by TCP or with a cookie.
//!
//! The table is shared by all workers, for a flood reaches all of their sockets. A cell is one word,
//! read and written without a lock: two workers at the same cell may lose a token between them, which
//! harms nobody. Cells are not searched but overwritten, so the table never fills.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::acl::Prefixes;

/// Cells of the table: half a megabyte, more than the prefixes a flood can usefully forge at once.
const CELLS: usize = 1 << 16;

/// Prefix lengths that stand for one client: what is given to one customer.
const V4_PREFIX: u32 = 24;
const V6_PREFIX: u32 = 56;

/// The rules.
#[derive(Debug, Clone)]
pub struct Settings {
    pub enabled: bool,
    /// Equal responses for each prefix and second.
    pub responses_per_second: u16,
    /// Every how many-th limited response is sent truncated, 15 at most; 0 for none.
    pub slip: u8,
    pub exempt: Prefixes,
    /// Counts and sends all the same.
    pub dry_run: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: false,
            responses_per_second: 200,
            slip: 2,
            exempt: Prefixes::default(),
            dry_run: false,
        }
    }
}

/// What a response is, as far as limiting tells responses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An answer, NODATA or referral: one bucket for each name asked.
    Answer(u64),
    /// NXDOMAIN: one bucket for each zone, since names that do not exist are for free.
    Denial(u64),
    /// REFUSED.
    Refusal,
    /// FORMERR, SERVFAIL, NOTIMP and the like.
    Error,
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// Send it truncated.
    Slip,
    Drop,
}

/// The table of all buckets.
pub struct Rrl {
    settings: Settings,
    seed: u64,
    cells: Box<[AtomicU64]>,
}

/// A cell: whose it is (32 bits), second (12), limited responses since the last slip (4), tokens
/// left (16, signed).
#[derive(Clone, Copy)]
struct Cell {
    tag: u32,
    second: u16,
    turn: u8,
    tokens: i16,
}

/// Seconds are kept modulo this: a prefix silent for longer has its bucket full either way.
const SECONDS: u16 = 1 << 12;

/// The largest slip a cell can count to.
const SLIP_MAX: u8 = 15;

impl Cell {
    fn unpack(word: u64) -> Cell {
        Cell {
            tag: (word >> 32) as u32,
            second: (word >> 20) as u16 % SECONDS,
            turn: (word >> 16) as u8 & SLIP_MAX,
            tokens: word as i16,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.tag) << 32
            | u64::from(self.second) << 20
            | u64::from(self.turn) << 16
            | u64::from(self.tokens as u16)
    }
}

impl Rrl {
    /// An empty table; `seed` keeps outsiders from choosing who shares a cell.
    pub fn new(settings: Settings, seed: u64) -> Rrl {
        let cells = if settings.enabled { CELLS } else { 0 };
        Rrl { settings, seed, cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Octets of the table.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.cells)
    }

    /// Whether responses are limited at all.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.settings.enabled
    }

    /// Whether responses to `address` are never limited.
    #[inline]
    pub fn exempts(&self, address: IpAddr) -> bool {
        self.settings.exempt.contains(address)
    }

    /// Whether what is limited is only counted.
    pub fn is_dry_run(&self) -> bool {
        self.settings.dry_run
    }

    /// Takes a token for one response.
    #[inline]
    pub fn check(&self, address: IpAddr, kind: Kind, now_s: u32) -> Verdict {
        let hash = self.bucket(address, kind);
        let Some(cell) = self.cells.get(hash as usize % self.cells.len().max(1)) else {
            return Verdict::Send;
        };
        let mut held = Cell::unpack(cell.load(Ordering::Relaxed));
        let verdict = self.take(&mut held, (hash >> 32) as u32, now_s as u16 % SECONDS);
        cell.store(held.pack(), Ordering::Relaxed);
        verdict
    }

    fn take(&self, cell: &mut Cell, tag: u32, second: u16) -> Verdict {
        let rate = self.settings.responses_per_second.min(i16::MAX as u16) as i16;
        if cell.tag != tag {
            *cell = Cell { tag, second, turn: 0, tokens: rate };
        }
        let passed = second.wrapping_sub(cell.second) % SECONDS;
        if passed > 0 {
            let refill = i32::from(rate) * i32::from(passed);
            cell.tokens = (i32::from(cell.tokens) + refill).min(i32::from(rate)) as i16;
            cell.second = second;
        }
        // Who kept on while the bucket was empty owes up to a second: that must be refilled first.
        cell.tokens = cell.tokens.saturating_sub(1).max(-rate);
        if cell.tokens >= 0 {
            return Verdict::Send;
        }
        let slip = self.settings.slip.min(SLIP_MAX);
        cell.turn += 1;
        if slip == 0 || cell.turn < slip {
            cell.turn %= SLIP_MAX;
            return Verdict::Drop;
        }
        cell.turn = 0;
        Verdict::Slip
    }

    #[inline]
    fn bucket(&self, address: IpAddr, kind: Kind) -> u64 {
        let prefix = match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits() >> (32 - V4_PREFIX)),
            IpAddr::V6(v6) => (v6.to_bits() >> (128 - V6_PREFIX)) as u64 | 1 << 63,
        };
        let (class, name) = match kind {
            Kind::Answer(name) => (1u64, name),
            Kind::Denial(zone) => (2, zone),
            Kind::Refusal => (3, 0),
            Kind::Error => (4, 0),
        };
        let whose = fold(prefix ^ self.seed, 0x9e37_79b9_7f4a_7c15);
        fold(whose ^ (name << 3 | class), self.seed | 1)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rrl(rate: u16, slip: u8) -> Rrl {
        let settings =
            Settings { enabled: true, responses_per_second: rate, slip, ..Settings::default() };
        Rrl::new(settings, 0x1234_5678_9abc_def1)
    }

    fn verdicts(rrl: &Rrl, address: &str, kind: Kind, now_s: u32, times: usize) -> Vec<Verdict> {
        let address = address.parse().unwrap();
        (0..times).map(|_| rrl.check(address, kind, now_s)).collect()
    }

    #[test]
    fn a_prefix_gets_its_rate_then_silence_with_slips_then_its_rate_again() {
        let rrl = rrl(3, 2);
        use Verdict::{Drop, Send, Slip};
        let kind = Kind::Answer(9);
        assert_eq!(
            verdicts(&rrl, "192.0.2.1", kind, 10, 8),
            [Send, Send, Send, Drop, Slip, Drop, Slip, Drop]
        );
        // Two seconds on, the debt of one second is paid and one second's worth is there.
        assert_eq!(verdicts(&rrl, "192.0.2.200", kind, 12, 4), [Send, Send, Send, Slip]);
    }

    #[test]
    fn prefixes_names_and_kinds_have_buckets_of_their_own() {
        let rrl = rrl(1, 0);
        let first = [
            ("192.0.2.1", Kind::Answer(1)),
            ("192.0.2.1", Kind::Answer(2)),
            ("192.0.2.1", Kind::Denial(1)),
            ("192.0.2.1", Kind::Refusal),
            ("192.0.2.1", Kind::Error),
            ("192.0.3.1", Kind::Answer(1)),
            ("2001:db8::1", Kind::Answer(1)),
            ("2001:db8:0:100::1", Kind::Answer(1)),
        ];
        for (address, kind) in first {
            assert_eq!(verdicts(&rrl, address, kind, 1, 1), [Verdict::Send], "{address} {kind:?}");
        }
        for (address, kind) in
            [("192.0.2.77", Kind::Answer(1)), ("2001:db8:0:1::", Kind::Answer(1))]
        {
            assert_eq!(verdicts(&rrl, address, kind, 1, 1), [Verdict::Drop], "{address}");
        }
    }

    #[test]
    fn a_flood_of_all_prefixes_leaves_a_bucket_for_the_next() {
        let rrl = rrl(1, 0);
        for number in 0..200_000u32 {
            rrl.check(IpAddr::from((number << 8).to_be_bytes()), Kind::Refusal, 1);
        }
        assert_eq!(
            verdicts(&rrl, "203.0.113.1", Kind::Answer(5), 1, 2),
            [Verdict::Send, Verdict::Drop]
        );
    }

    #[test]
    fn exempt_prefixes_and_a_limit_that_is_off_limit_nobody() {
        let exempt = Prefixes::new(["127.0.0.0/8".parse().unwrap()]);
        let rrl = Rrl::new(Settings { enabled: true, exempt, ..Settings::default() }, 1);
        assert!(rrl.is_enabled() && rrl.exempts("127.0.0.1".parse().unwrap()));
        assert!(!rrl.exempts("192.0.2.1".parse().unwrap()));
        let off = Rrl::new(Settings::default(), 1);
        assert!(!off.is_enabled());
        assert_eq!(verdicts(&off, "192.0.2.1", Kind::Refusal, 1, 1), [Verdict::Send]);
    }
}
