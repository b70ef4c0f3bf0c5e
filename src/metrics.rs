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

/// Ways a message can come.
const TRANSPORT_NAMES: &[&str] = &["udp", "tcp", "dot", "doq", "doh"];

pub static QUERIES: Family = Family::new(
    "nameplane_dns_queries_total",
    "Messages received, by transport.",
    "transport",
    TRANSPORT_NAMES,
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
    &["dropped", "slipped", "dry_run", "cookie_demanded"],
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

const FAMILY_CELLS: usize = {
    let last = FAMILIES[FAMILIES.len() - 1];
    last.first + last.values.len()
};

/// How long things of one name took, told apart by one label.
#[derive(Debug)]
pub struct Histogram {
    pub name: &'static str,
    pub help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
    first: usize,
}

/// Upper bounds of the buckets, in nanoseconds; what took longer is in one bucket more.
const BOUNDS_NS: [u64; 14] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
];

/// Cells of one label's value: the buckets, the one beyond, and the sum in nanoseconds.
const HISTOGRAM_CELLS: usize = BOUNDS_NS.len() + 2;

pub static DURATION: Histogram = Histogram {
    name: "nameplane_dns_response_duration_seconds",
    help: "From messages taken whole to replies ready to be sent; each message of a batch counts with all of it.",
    label: "transport",
    values: TRANSPORT_NAMES,
    first: FAMILY_CELLS,
};

/// All histograms, in the order they are shown.
static HISTOGRAMS: [&Histogram; 1] = [&DURATION];

const CELLS: usize = {
    let last = HISTOGRAMS[HISTOGRAMS.len() - 1];
    last.first + last.values.len() * HISTOGRAM_CELLS
};

/// A number read when the scraper comes.
#[derive(Debug)]
pub struct Watched {
    pub name: &'static str,
    pub help: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
}

/// Memory, one number for each kind of it.
pub static MEMORY: Watched = Watched {
    name: "nameplane_memory_bytes",
    help: "Memory by what it is for; what no kind names is code, stacks and the allocator's.",
    kind: "gauge",
};
pub static RESIDENT: Watched = Watched {
    name: "process_resident_memory_bytes",
    help: "Resident memory of the process.",
    kind: "gauge",
};
pub static CPU: Watched = Watched {
    name: "process_cpu_seconds_total",
    help: "CPU time of the process, user and system.",
    kind: "counter",
};
pub static OPEN_FILES: Watched = Watched {
    name: "process_open_fds",
    help: "Files and sockets the process has open.",
    kind: "gauge",
};
pub static STARTED: Watched = Watched {
    name: "process_start_time_seconds",
    help: "When the process started, in seconds since 1970.",
    kind: "gauge",
};

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
pub static LOG_SYNCS: Watched = Watched {
    name: "nameplane_store_syncs_total",
    help: "Groups of records that were written and synced together.",
    kind: "counter",
};
pub static LOG_SYNC_TIME: Watched = Watched {
    name: "nameplane_store_sync_seconds_total",
    help: "Seconds that writing and syncing the commit log took.",
    kind: "counter",
};
pub static WRITING: Watched = Watched {
    name: "nameplane_store_writing",
    help: "1 while changes are taken, 0 when writes have stopped.",
    kind: "gauge",
};

pub static TRANSFERS_OUT: Watched = Watched {
    name: "nameplane_transfers_out_total",
    help: "Transfers that others asked for, by what became of them.",
    kind: "counter",
};
pub static TRANSFERS_OUT_OPEN: Watched = Watched {
    name: "nameplane_transfers_out_open",
    help: "Transfers out under way now.",
    kind: "gauge",
};
pub static TRANSFERS_OUT_BYTES: Watched = Watched {
    name: "nameplane_transfers_out_bytes_total",
    help: "Octets of the messages of transfers out, signatures of messages not counted.",
    kind: "counter",
};
pub static NOTIFIES_OUT: Watched = Watched {
    name: "nameplane_notifies_out_total",
    help: "NOTIFY messages sent, by what became of them.",
    kind: "counter",
};
/// One number for each of the zones whose signatures expire first.
pub static EXPIRIES: Watched = Watched {
    name: "nameplane_zone_signatures_expire_seconds",
    help: "Seconds until the first signature of a zone expires, of the zones that expire first.",
    kind: "gauge",
};
pub static ZONES_HELD: Watched = Watched {
    name: "nameplane_zones_held",
    help: "Zones served at their last good version because they cannot be signed anew.",
    kind: "gauge",
};
pub static ZONES_ALARMED: Watched = Watched {
    name: "nameplane_zones_held_alarms",
    help: "Held zones whose signatures have lived half the time they had left.",
    kind: "gauge",
};

pub static SECOND_SIGNERS: Watched = Watched {
    name: "nameplane_zones_second_signer",
    help: "Zones signed here of which a server was seen with what another signer made.",
    kind: "gauge",
};
pub static CLOCK_DOUBTED: Watched = Watched {
    name: "nameplane_clock_doubted",
    help: "1 while nothing is signed because the clock is certainly wrong.",
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

    /// Counts `times` things that took `nanos` each. Only the thread that holds the block may.
    pub fn observe(&self, histogram: &'static Histogram, value: usize, nanos: u64, times: u64) {
        let value = value.min(histogram.values.len() - 1);
        let bucket = BOUNDS_NS.iter().take_while(|bound| nanos > **bound).count();
        let first = histogram.first + value * HISTOGRAM_CELLS;
        let sum = nanos.wrapping_mul(times);
        for (at, more) in [(first + bucket, times), (first + HISTOGRAM_CELLS - 1, sum)] {
            if let Some(cell) = self.cells.get(at) {
                cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
            }
        }
    }

    /// What was counted.
    pub fn get(&self, family: &'static Family, value: usize) -> u64 {
        self.cells.get(family.first + value).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Zones that are shown with a number of their own: whoever is in trouble is among the first to expire,
/// and a scraper bears no hundred thousand names.
pub const ZONES_SHOWN_MAX: usize = 1_000;

type Read = Box<dyn Fn() -> f64 + Send + Sync>;
type ReadEach = Box<dyn Fn() -> Vec<(String, f64)> + Send + Sync>;

/// A watched number, told apart by a label if it has one.
struct Watch {
    watched: &'static Watched,
    label: Option<(&'static str, &'static str)>,
    read: Read,
}

/// Numbers of one name for as many values of a label as there are.
struct Each {
    watched: &'static Watched,
    label: &'static str,
    read: ReadEach,
}

/// All metrics of the process.
#[derive(Default)]
pub struct Registry {
    blocks: Mutex<Vec<Arc<Counters>>>,
    watched: Mutex<Vec<Watch>>,
    each: Mutex<Vec<Each>>,
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
        self.watch_fraction(watched, move || read() as f64);
    }

    /// As [`watch`](Registry::watch), for what is no whole number.
    pub fn watch_fraction(
        &self,
        watched: &'static Watched,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.put(Watch { watched, label: None, read: Box::new(read) });
    }

    /// Shows what `read` says as one kind of memory.
    pub fn watch_memory(&self, kind: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let label = Some(("kind", kind));
        let read = Box::new(move || read() as f64);
        self.put(Watch { watched: &MEMORY, label, read });
    }

    /// Shows what `read` says of each of `values`, told apart by `label`.
    pub fn watch_each(
        &self,
        watched: &'static Watched,
        label: &'static str,
        values: &'static [&'static str],
        read: impl Fn(usize) -> u64 + Send + Sync + 'static,
    ) {
        let read = Arc::new(read);
        for (at, value) in values.iter().enumerate() {
            let read = Arc::clone(&read);
            let read: Read = Box::new(move || read(at) as f64);
            self.put(Watch { watched, label: Some((label, value)), read });
        }
    }

    /// Shows a number for each value of `label` that `read` gives, which are not many.
    pub fn watch_named(
        &self,
        watched: &'static Watched,
        label: &'static str,
        read: impl Fn() -> Vec<(String, f64)> + Send + Sync + 'static,
    ) {
        let mut all = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Each { watched, label, read: Box::new(read) });
    }

    /// Numbers of one name stand together.
    fn put(&self, watch: Watch) {
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let same = all.iter().rposition(|other| other.watched.name == watch.watched.name);
        let at = same.map_or(all.len(), |at| at + 1);
        all.insert(at, watch);
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
        for histogram in HISTOGRAMS {
            self.put_histogram(&mut text, histogram);
        }
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = "";
        for Watch { watched, label, read } in watched.iter() {
            if watched.name != last {
                head(&mut text, watched.name, watched.help, watched.kind);
            }
            last = watched.name;
            let (name, number) = (watched.name, read());
            let _ = match label {
                None => writeln!(text, "{name} {number}"),
                Some((label, value)) => writeln!(text, "{name}{{{label}=\"{value}\"}} {number}"),
            };
        }
        drop(watched);
        for Each { watched, label, read } in
            self.each.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            head(&mut text, watched.name, watched.help, watched.kind);
            for (value, number) in read() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                let _ = writeln!(text, "{}{{{label}=\"{value}\"}} {number}", watched.name);
            }
        }
        text
    }

    fn put_histogram(&self, text: &mut String, histogram: &'static Histogram) {
        let Histogram { name, help, label, values, first } = histogram;
        head(text, name, help, "histogram");
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = |at: usize| {
            let cells = blocks.iter().filter_map(|block| block.cells.get(at));
            cells.map(|cell| cell.load(Ordering::Relaxed)).fold(0u64, u64::wrapping_add)
        };
        for (at, value) in values.iter().enumerate() {
            let first = first + at * HISTOGRAM_CELLS;
            let mut count = 0;
            for (at, bound) in BOUNDS_NS.iter().map(Some).chain([None]).enumerate() {
                count += cell(first + at);
                let le = bound.map_or("+Inf".to_owned(), |ns| (*ns as f64 / 1e9).to_string());
                let _ = writeln!(text, "{name}_bucket{{{label}=\"{value}\",le=\"{le}\"}} {count}");
            }
            let sum = cell(first + HISTOGRAM_CELLS - 1) as f64 / 1e9;
            let _ = writeln!(text, "{name}_sum{{{label}=\"{value}\"}} {sum}");
            let _ = writeln!(text, "{name}_count{{{label}=\"{value}\"}} {count}");
        }
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
        assert_eq!(next, FAMILY_CELLS);
    }

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let registry = Registry::default();
        let counters = registry.counters();
        counters.observe(&DURATION, 0, 1_000, 3);
        counters.observe(&DURATION, 0, 1_001, 1);
        counters.observe(&DURATION, 0, 3_000_000_000, 1);

        let text = registry.text();

        let name = "nameplane_dns_response_duration_seconds";
        for line in [
            format!("# TYPE {name} histogram\n"),
            format!("{name}_bucket{{transport=\"udp\",le=\"0.000001\"}} 3\n"),
            format!("{name}_bucket{{transport=\"udp\",le=\"0.000002\"}} 4\n"),
            format!("{name}_bucket{{transport=\"udp\",le=\"0.1\"}} 4\n"),
            format!("{name}_bucket{{transport=\"udp\",le=\"+Inf\"}} 5\n"),
            format!("{name}_sum{{transport=\"udp\"}} 3.000004001\n"),
            format!("{name}_count{{transport=\"udp\"}} 5\n"),
            format!("{name}_count{{transport=\"doh\"}} 0\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn kinds_of_memory_stand_together_under_one_head() {
        let registry = Registry::default();
        registry.watch_memory("table", || 7);
        registry.watch(&ZONES, || 1);
        registry.watch_memory("log", || 8);
        let text = registry.text();
        let both =
            "nameplane_memory_bytes{kind=\"table\"} 7\nnameplane_memory_bytes{kind=\"log\"} 8\n";
        assert!(text.contains(both), "{text}");
        assert_eq!(text.matches("# TYPE nameplane_memory_bytes gauge\n").count(), 1);
    }

    #[test]
    fn each_value_of_a_label_has_its_number() {
        let registry = Registry::default();
        registry.watch_each(&NOTIFIES_OUT, "result", &["acknowledged", "failed"], |at| [5, 7][at]);
        let text = registry.text();
        for line in ["{result=\"acknowledged\"} 5\n", "{result=\"failed\"} 7\n"] {
            assert!(text.contains(&format!("nameplane_notifies_out_total{line}")), "{text}");
        }
    }

    #[test]
    fn each_value_of_a_label_has_its_line_and_cannot_break_out_of_it() {
        let registry = Registry::default();
        registry.watch_named(&EXPIRIES, "zone", || vec![("a\\\".".to_owned(), -1.0)]);
        let text = registry.text();
        let line = "nameplane_zone_signatures_expire_seconds{zone=\"a\\\\\\\".\"} -1\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_value_beyond_the_last_counts_as_other() {
        let counters = Counters::default();
        counters.add(&TYPES, usize::MAX);
        assert_eq!(counters.get(&TYPES, TYPE_NAMES.len() - 1), 1);
    }
}
