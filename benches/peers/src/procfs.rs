//! What a server costs, read from `/proc`: CPU time and memory of a process and all its children.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Sub;
use std::path::Path;
use std::time::Duration;

use crate::sys;

/// CPU time spent, apart by who spent it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub total: Duration,
    /// Clock ticks of user and system time: the kernel counts these apart, but not as finely.
    user_ticks: u64,
    system_ticks: u64,
}

impl Cpu {
    /// The part of the total spent outside the kernel.
    pub fn user(self) -> Duration {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 {
            return Duration::ZERO;
        }
        self.total.mul_f64(self.user_ticks as f64 / ticks as f64)
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu {
            total: self.total.saturating_sub(before.total),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
        }
    }
}

/// CPU time of a process and its descendants.
pub fn cpu(pid: u32) -> Cpu {
    let mut sum = Cpu::default();
    for pid in family(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ticks = |i| stat_field(&stat, i).unwrap_or(0);
        sum.total += sys::process_cpu(pid).unwrap_or_default();
        sum.user_ticks += ticks(14);
        sum.system_ticks += ticks(15);
    }
    sum
}

/// CPU time of each thread there is of a process and its descendants.
pub fn threads_cpu(pid: u32) -> BTreeMap<i32, Duration> {
    let of = |thread: std::path::PathBuf| {
        let id = thread.file_name()?.to_str()?.parse().ok()?;
        Some((id, thread_cpu_at(&thread)?))
    };
    threads(pid).into_iter().filter_map(of).collect()
}

/// The `count` threads of a family that worked most since it had spent `before`.
pub fn busiest(pid: u32, before: &BTreeMap<i32, Duration>, count: usize) -> Vec<i32> {
    let spent = |(id, after): (i32, Duration)| {
        (after.saturating_sub(before.get(&id).copied().unwrap_or_default()), id)
    };
    let mut all: Vec<_> = threads_cpu(pid).into_iter().map(spent).collect();
    all.sort_unstable();
    all.into_iter().rev().take(count).map(|(_, id)| id).collect()
}

/// CPU time of one thread, as the scheduler counts it; none if it is gone.
pub fn thread_cpu(id: i32) -> Option<Duration> {
    thread_cpu_at(&Path::new("/proc").join(id.to_string()))
}

fn thread_cpu_at(dir: &Path) -> Option<Duration> {
    let text = fs::read_to_string(dir.join("schedstat")).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// Resident octets of a process and its descendants; pages they share count once.
pub fn resident(pid: u32) -> u64 {
    family(pid)
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum::<u64>()
        * 1024
}

/// Binds every thread of a process and its descendants to one core.
pub fn pin(pid: u32, core: usize) -> io::Result<()> {
    each_thread(pid, |id| sys::pin(id, core))
}

/// Does something to every thread of a family; one that ended meanwhile is none.
fn each_thread(pid: u32, act: impl Fn(i32) -> io::Result<()>) -> io::Result<()> {
    for thread in threads(pid) {
        let id = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(id) = id {
            match act(id) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Lets every thread of a process and its descendants run on any core again.
pub fn unpin(pid: u32) -> io::Result<()> {
    each_thread(pid, sys::unpin)
}

/// `/proc/<pid>/task/<tid>` of every thread of the family.
fn threads(pid: u32) -> Vec<std::path::PathBuf> {
    family(pid)
        .into_iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok())
        .flat_map(|tasks| tasks.filter_map(|task| Some(task.ok()?.path())))
        .collect()
}

/// The process and its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(Path::new("/proc").join(format!("{id}/stat")));
        if let Some(parent) = stat.ok().and_then(|stat| stat_field(&stat, 4)) {
            children.entry(parent as u32).or_default().push(id);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.get(&found[at]).into_iter().flatten());
        at += 1;
    }
    found
}

/// Field `i` of a `stat` line, counted from 1 as proc(5) does; the name may hold blanks.
fn stat_field(stat: &str, i: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(i - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_charged_for_it() {
        let before = cpu(std::process::id());
        let mut sum = 0u64;
        for i in 0..100_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }

        let spent = cpu(std::process::id()) - before;
        let threads: Duration = threads_cpu(std::process::id()).into_values().sum();
        assert!(threads > Duration::from_millis(5), "{threads:?}");
        assert!(spent.total > Duration::from_millis(5), "{spent:?}");
        assert!(resident(std::process::id()) > 1 << 19);
    }
}
