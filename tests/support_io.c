#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support_io.h"

const char *way_name(enum way way)
{
    static const char *const names[WAYS] = {"direct", "ring", "helpers"};
    return names[way];
}

void lane_open(struct lane *lane, enum way way, unsigned entries)
{
    const struct io_options options = {.no_ring = way == WAY_HELPERS, .entries = entries};
    cr_assert_eq(io_create(&options, &lane->io), 0);
    cr_assert_eq(fibers_create(&lane->fibers), 0);
    io_set_mode(lane->io, way == WAY_DIRECT ? IO_DIRECT : IO_ASYNC);
}

void lane_close(struct lane *lane)
{
    cr_assert_eq(fibers_alive(lane->fibers), 0);
    cr_assert_eq(io_in_flight(lane->io), 0);
    fibers_destroy(lane->fibers);
    io_destroy(lane->io);
}

void lane_finish(struct lane *lane)
{
    while (fibers_alive(lane->fibers) > 0) {
        io_turn(lane->io, -1);
    }
}

void lane_run(struct lane *lane, unsigned count, void (*fn)(void *arg), void *arg)
{
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(fiber_start(lane->fibers, fn, arg), 0);
    }
    lane_finish(lane);
}

int scratch_make(char *out_path)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out_path, 256, "%s/haul-test-XXXXXX", tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(out_path));
    int fd = open(out_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert(fd >= 0);
    return fd;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

void scratch_remove(const char *path)
{
    nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}
