//! Metrics: what the process counts, each name written once, and the text a scraper reads.
//!
//! Every answering thread counts in a block of its own and the scraper adds the blocks up, so
//! counting is one plain addition to memory no other thread writes.
//!
//! Promises: a counter never goes down while the process lives, also when its thread ends.
//!
//! Does not: keep what was; a scraper does. Nor know what the numbers mean to anyone.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters of one name, told apart by one label.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
    first: usize,
}

impl Family {
    const fn new(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [&'static str],
        before: Option<&Family>,
    ) -> Family {
        let first = match before {
            Some(family) => family.first + family.values.len(),
            None => 0,
        };
        Family { name, help, label, values, first }
    }
}

/// Types that are counted by name; the last stands for all others.
pub const TYPE_NAMES: &[&str] = &[
    "A", "AAAA", "NS", "SOA", "CNAME", "MX", "TXT", "PTR", "SRV", "DS", "DNSKEY", "HTTPS", "CAA",
    "ANY", "other",
];

pub static QUERIES: Family = Family::new(
    "nameplane_dns_queries_total",
    "Messages received, by transport.",
    "transport",
    &["udp", "tcp", "dot", "doq", "doh"],
    None,
);
pub static TYPES: Family = Family::new(
    "nameplane_dns_query_types_total",
    "Questions understood, by type.",
    "type",
    TYPE_NAMES,
    Some(&QUERIES),
);
pub static RESPONSES: Family = Family::new(
    "nameplane_dns_responses_total",
    "Responses sent, by RCODE.",
    "rcode",
    &[
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "NOTAUTH",
        "BADVERS",
        "BADCOOKIE",
        "other",
    ],
    Some(&TYPES),
);
pub static TRUNCATED: Family = Family::new(
    "nameplane_dns_truncated_total",
    "Responses sent with TC.",
    "",
    &[""],
    Some(&RESPONSES),
);
pub static DROPPED: Family = Family::new(
    "nameplane_dns_dropped_total",
    "Messages that got no response, by reason.",
    "reason",
    &["not_a_query", "source_port", "rate_limit", "busy", "send"],
    Some(&TRUNCATED),
);
pub static RATE_LIMITED: Family = Family::new(
    "nameplane_dns_rate_limited_total",
    "Responses over the rate limit, by what became of them.",
    "action",
    &["dropped", "slipped", "dry_run"],
    Some(&DROPPED),
);
pub static COOKIES: Family = Family::new(
    "nameplane_dns_cookies_total",
    "Queries with a DNS cookie, by what it was worth.",
    "state",
    &["client_only", "valid", "bad"],
    Some(&RATE_LIMITED),
);
pub static CONNECTIONS: Family = Family::new(
    "nameplane_dns_connections_total",
    "Connections of stream transports, by what became of them.",
    "event",
    &["accepted", "refused", "idle", "slow", "broken"],
    Some(&COOKIES),
);
pub static WORKERS: Family = Family::new(
    "nameplane_dns_worker_restarts_total",
    "Answering threads restarted after a panic.",
    "",
    &[""],
    Some(&CONNECTIONS),
);

/// All families, in the order they are shown.
static FAMILIES: [&Family; 9] = [
    &QUERIES,
    &TYPES,
    &RESPONSES,
    &TRUNCATED,
    &DROPPED,
    &RATE_LIMITED,
    &COOKIES,
    &CONNECTIONS,
    &WORKERS,
];

const CELLS: usize = {
    let last = FAMILIES[FAMILIES.len() - 1];
    last.first + last.values.len()
};

/// A number read when the scraper comes.
#[derive(Debug)]
pub struct Watched {
    pub name: &'static str,
    pub help: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
}

pub static ZONES: Watched = Watched {
    name: "nameplane_zones_loaded",
    help: "Zones loaded when the server started.",
    kind: "gauge",
};
pub static NAMES: Watched = Watched {
    name: "nameplane_table_names",
    help: "Names in the table of all zones.",
    kind: "gauge",
};
pub static TABLE_BYTES: Watched = Watched {
    name: "nameplane_table_bytes",
    help: "Octets of the table of all zones.",
    kind: "gauge",
};
pub static SNAPSHOT: Watched = Watched {
    name: "nameplane_snapshot_version",
    help: "Version of the table of all zones.",
    kind: "gauge",
};
pub static OPEN_CONNECTIONS: Watched = Watched {
    name: "nameplane_dns_open_connections",
    help: "Connections of stream transports open now.",
    kind: "gauge",
};
pub static LOG_BYTES: Watched = Watched {
    name: "nameplane_store_log_bytes",
    help: "Octets of the commit log since the last export.",
    kind: "gauge",
};
pub static COMMITS: Watched = Watched {
    name: "nameplane_store_commits_total",
    help: "Records made durable in the commit log.",
    kind: "counter",
};
pub static WRITING: Watched = Watched {
    name: "nameplane_store_writing",
    help: "1 while changes are taken, 0 when writes have stopped.",
    kind: "gauge",
};

pub static TAP_WRITTEN: Watched = Watched {
    name: "nameplane_dnstap_written_total",
    help: "Messages handed to the dnstap collector.",
    kind: "counter",
};
pub static TAP_DROPPED: Watched = Watched {
    name: "nameplane_dnstap_dropped_total",
    help: "Messages lost on the way to the dnstap collector.",
    kind: "counter",
};

/// The counters of one thread. Alone on its cache lines.
#[repr(align(128))]
pub struct Counters {
    cells: [AtomicU64; CELLS],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { cells: [const { AtomicU64::new(0) }; CELLS] }
    }
}

impl Counters {
    /// Counts one. Only the thread that holds the block may: it is no atomic addition.
    #[inline]
    pub fn add(&self, family: &'static Family, value: usize) {
        let value = value.min(family.values.len() - 1);
        if let Some(cell) = self.cells.get(family.first + value) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub fn get(&self, family: &'static Family, value: usize) -> u64 {
        self.cells.get(family.first + value).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

type Read = Box<dyn Fn() -> u64 + Send + Sync>;

/// All metrics of the process.
#[derive(Default)]
pub struct Registry {
    blocks: Mutex<Vec<Arc<Counters>>>,
    watched: Mutex<Vec<(&'static Watched, Read)>>,
}

impl Registry {
    /// A block of counters for one thread.
    pub fn counters(&self) -> Arc<Counters> {
        let block = Arc::new(Counters::default());
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.push(Arc::clone(&block));
        block
    }

    /// Shows what `read` says under the name of `watched`.
    pub fn watch(&self, watched: &'static Watched, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((watched, Box::new(read)));
    }

    /// The sum over all threads.
    pub fn total(&self, family: &'static Family, value: usize) -> u64 {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.iter().map(|block| block.get(family, value)).sum()
    }

    /// Everything in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(8192);
        for family in FAMILIES {
            head(&mut text, family.name, family.help, "counter");
            for (at, value) in family.values.iter().enumerate() {
                let total = self.total(family, at);
                let name = family.name;
                let _ = match family.label {
                    "" => writeln!(text, "{name} {total}"),
                    label => writeln!(text, "{name}{{{label}=\"{value}\"}} {total}"),
                };
            }
        }
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for (watched, read) in watched.iter() {
            head(&mut text, watched.name, watched.help, watched.kind);
            let _ = writeln!(text, "{} {}", watched.name, read());
        }
        text
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_all_threads_are_added_up() {
        let registry = Registry::default();
        let (one, other) = (registry.counters(), registry.counters());
        one.add(&RESPONSES, 0);
        other.add(&RESPONSES, 0);
        other.add(&WORKERS, 0);
        drop(other);
        registry.watch(&ZONES, || 7);

        let text = registry.text();

        assert!(text.contains("nameplane_dns_responses_total{rcode=\"NOERROR\"} 2\n"), "{text}");
        assert!(text.contains("nameplane_dns_worker_restarts_total 1\n"), "{text}");
        assert!(
            text.contains("# TYPE nameplane_zones_loaded gauge\nnameplane_zones_loaded 7\n"),
            "{text}"
        );
    }

    #[test]
    fn families_do_not_share_cells_and_every_cell_has_one() {
        let mut next = 0;
        for family in FAMILIES {
            assert_eq!(family.first, next, "{}", family.name);
            next += family.values.len();
        }
        assert_eq!(next, CELLS);
    }

    #[test]
    fn a_value_beyond_the_last_counts_as_other() {
        let counters = Counters::default();
        counters.add(&TYPES, usize::MAX);
        assert_eq!(counters.get(&TYPES, TYPE_NAMES.len() - 1), 1);
    }
}
