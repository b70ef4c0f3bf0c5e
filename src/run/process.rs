//! What the system says of this process, under the names every Prometheus library gives them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::metrics::{CPU, OPEN_FILES, RESIDENT, Registry, STARTED};

/// Shows the numbers of the process.
pub(super) fn watch(registry: &Registry) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    registry.watch_fraction(&STARTED, move || started);
    registry.watch(&RESIDENT, resident_octets);
    registry.watch(&OPEN_FILES, || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64);
    registry.watch_fraction(&CPU, cpu_seconds);
}

/// The second number of `statm`, in pages.
fn resident_octets() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// `utime` and `stime`, the twelfth and thirteenth field behind the name in brackets, in ticks.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_and_time() {
        assert!(resident_octets() > 1 << 20);
        let before = cpu_seconds();
        let mut sum = 0u64;
        while cpu_seconds() <= before {
            sum = (0..100_000).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        assert!(sum < u64::MAX);
    }
}
