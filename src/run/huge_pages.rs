//! Huge pages for the heap: the answer table is read at random, and each huge page spares TLB misses.
//!
//! The allocator asks the kernel for them only if its environment says so before the first allocation. So
//! the server, told nothing else, sets that variable and starts itself again in the same process.
//!
//! Does not: anything where the kernel gives huge pages to nobody or to everybody, or with another libc.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs};

const TUNABLES: &str = "GLIBC_TUNABLES";

/// To be called while there is one thread. Returns if there is nothing to do, or the program cannot be
/// started again.
pub fn ask_for() {
    let mode = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if env::var_os(TUNABLES).is_some() || !on_request(&mode.unwrap_or_default()) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut words = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    let error = command.args(words).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
    tracing::warn!(%error, "the heap does without huge pages: the program was not started again");
}

/// Whether the kernel gives huge pages to those who ask.
fn on_request(mode: &str) -> bool {
    cfg!(target_env = "gnu") && mode.contains("[madvise]")
}

#[cfg(test)]
mod tests {
    use super::on_request;

    #[test]
    fn only_a_kernel_that_gives_on_request_is_asked() {
        let modes = [
            "always [madvise] never\n",
            "[always] madvise never\n",
            "always madvise [never]\n",
            "",
        ];
        assert_eq!(modes.map(on_request), [cfg!(target_env = "gnu"), false, false, false]);
    }
}
