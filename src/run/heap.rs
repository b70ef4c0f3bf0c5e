//! The heap: what the allocator is told before its first allocation.
//!
//! glibc reads that from the environment. So the server, told nothing else, sets the variable and starts
//! itself again in the same process:
//!
//! - huge pages, where the kernel gives them to who asks: the answer table is read at random, and each
//!   spares TLB misses;
//! - a bound from which on a piece is the kernel's again once it is let go of. Left alone, glibc raises that
//!   bound with every such piece, and the long lists of a start stay between the table's pages for ever. What
//!   those pages are made of lies in smaller pieces, whose memory they take;
//! - one arena: what one thread lets go of another may use. With two, what was read at a start stayed beside
//!   the table. The threads that answer allocate nothing, and the others keep some small pieces each, so
//!   that they seldom meet at the arena's lock.
//!
//! 300 000 zones with 3.78 M records, all resident after a start: 896 MB untold, 451 to 675 MB with two
//! arenas, 428 to 440 MB so.
//!
//! Does not: overrule an operator's own word, nor do anything with another libc.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
const WORDS: &str = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=262144:\
    glibc.malloc.arena_max=1:glibc.malloc.tcache_count=64";

/// Set once the program was started again: where the loader takes the variable away, as it does of a file with
/// capabilities, it must not start for ever.
const TOLD: &str = "NAMEPLANE_HEAP_TOLD";

/// To be called while there is one thread. Returns if there is nothing to do, or the program cannot be
/// started again.
pub fn tell() {
    let told = env::var_os(TUNABLES).is_some() || env::var_os(TOLD).is_some();
    if told || cfg!(not(target_env = "gnu")) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut words = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    let error = command.args(words).env(TUNABLES, WORDS).env(TOLD, "1").exec();
    tracing::warn!(%error, "the heap is larger than need be: the program was not started again");
}
