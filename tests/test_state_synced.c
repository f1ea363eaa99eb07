/* What of the state is on the disk after which call: the syncs that SQLite makes are seen here on their way. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support_state.h"

TestSuite(state_synced, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

static atomic_uint wal_syncs;  /* of the write-ahead log */
static atomic_uint main_syncs; /* of the database itself */
static atomic_uint dir_syncs;  /* of the folder of both */

static void note_sync(int fd)
{
    char link[64];
    char path[512];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(path, '/');
    if (strcmp(path, folder) == 0) {
        atomic_fetch_add(&dir_syncs, 1);
    } else if (name != NULL && strcmp(name, "/state.db-wal") == 0) {
        atomic_fetch_add(&wal_syncs, 1);
    } else if (name != NULL && strcmp(name, "/state.db") == 0) {
        atomic_fetch_add(&main_syncs, 1);
    }
}

/* In the place of the C library's. */
int fsync(int fd)
{
    note_sync(fd);
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    note_sync(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

Test(state_synced, a_run_is_known_after_a_power_cut)
{
    struct state *s = open_state();
    cr_assert_gt(atomic_load(&main_syncs), 0, "a new file is there");
    cr_assert_gt(atomic_load(&dir_syncs), 0, "and has its name");
    atomic_store(&wal_syncs, 0);
    begin(s, new_id(), false);
    const unsigned begun = atomic_load(&wal_syncs);
    cr_assert_gt(begun, 0);
    record(s, 1, "a", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(atomic_load(&wal_syncs), begun, "the many records of a run need not be synced");
    state_close(s);

    s = open_state();
    atomic_store(&wal_syncs, 0);
    begin(s, new_id(), false);
    cr_assert_gt(atomic_load(&wal_syncs), 0, "of every run");
    state_close(s);
}
