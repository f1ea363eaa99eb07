/*
 * support_io: an io and its fibers in the three ways in which io can work, for tests.
 */
#ifndef HAUL_TESTS_SUPPORT_IO_H
#define HAUL_TESTS_SUPPORT_IO_H

#include "workers/fiber.h"
#include "workers/io.h"

enum way {
    WAY_DIRECT,  /* plain calls */
    WAY_RING,    /* io_uring and helpers */
    WAY_HELPERS, /* no io_uring */
    WAYS
};

const char *way_name(enum way way);

struct lane {
    struct io *io;         /* owned */
    struct fibers *fibers; /* owned */
};

/* entries: of the ring, 0: as it comes. Fails the test where it cannot be made. */
void lane_open(struct lane *lane, enum way way, unsigned entries);
void lane_close(struct lane *lane);

/* Starts fn(arg) count times, and turns until all have returned. */
void lane_run(struct lane *lane, unsigned count, void (*fn)(void *arg), void *arg);

/* Turns until no fiber is alive. */
void lane_finish(struct lane *lane);

/* A new directory below $TMPDIR or /tmp, open; its path goes into out_path (256 bytes). */
int scratch_make(char *out_path);
/* Removes it and all below. */
void scratch_remove(const char *path);

#endif
