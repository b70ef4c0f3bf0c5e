/* Makes each sync take longer, as on a disk that is farther away: for `peers run --sets update`.
 *
 *   cc -shared -fPIC -O2 -o /tmp/slow_sync.so benches/peers/slow_sync.c
 *   SLOW_SYNC_US=2000 LD_PRELOAD=/tmp/slow_sync.so benches/peers/run --sets update
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int slowly(long number, int file) {
    const char *us = getenv("SLOW_SYNC_US");
    if (us) usleep((unsigned)atoi(us));
    return (int)syscall(number, file);
}

int fsync(int file) { return slowly(SYS_fsync, file); }
int fdatasync(int file) { return slowly(SYS_fdatasync, file); }
