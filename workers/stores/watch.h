/*
 * watch: a layer that stands right before a store and changes nothing: it measures each operation, and knows which ones
 * are under way, so that another thread can see where a run hangs.
 *
 * Measured are, for each code, count, failures, total, longest and a histogram; the directories that were waited for
 * longest, in bounded memory; and the single slowest operations. Each port keeps its own figures behind a lock of its
 * own, which nobody else wants but whoever looks: watch_visit, watch_times.
 *
 * "Watched time" is a clock that moves only by watch_tick: whoever judges how long an operation has gone without an
 * answer ticks it, and does not move it by the time in which the whole process (or machine) stood still.
 */
#ifndef HAUL_STORES_WATCH_H
#define HAUL_STORES_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "workers/store.h"

#define WATCH_BUCKETS 44 /* of a histogram: bucket i counts [2^i, 2^(i+1)) ns, the last one all that is longer */
#define WATCH_DIRS    10 /* slowest directories that are told */
#define WATCH_SLOW    5  /* slowest operations that are told */

struct fiber;

/* The layer; takes over next, which is destroyed after a failure. 0 or -ENOMEM. */
int watch_wrap(struct store *next, struct store **out_store);

/* ---- what is under way ---- */

/* An operation under way. */
struct watch_op {
    enum store_code code;  /* constant */
    struct dir *dir;       /* constant; NULL: the operation did not say */
    const char *name;      /* constant; NULL: dir itself, or the operation did not say */
    uint64_t bytes;        /* COPY, FLUSH, COMMIT: bytes that it may have to move or make durable; constant */
    int64_t begun_ns;      /* monotonic; constant */
    int64_t begun_watched; /* watched time; constant */
    struct fiber *fiber;   /* that waits for it without its thread; NULL: the thread itself does; constant */
    bool asked;            /* somebody wants it given up; written by visitors only */
    int64_t asked_watched; /* when that was; written by visitors only */
};

/* Moves watched time to now_ns, which never goes back. One thread. */
void watch_tick(struct store *watch, int64_t now_ns);

/* Calls visit for each operation under way, in each port the oldest first, and returns how many were answered so far:
 * an error is an answer too, but for one that says that nobody answered (err_is_silence). An operation does not end,
 * and its names stay, while it is visited; visit is short and leaves the store alone. Any thread. watch: what
 * watch_wrap made. visit may be NULL. */
uint64_t watch_visit(struct store *watch, void (*visit)(void *arg, struct watch_op *op), void *arg);

/* How many operations ended because nobody answered, so far, and the last one of them: out_path (may be NULL) as of
 * watch_path, the caller's. Any thread. */
uint64_t watch_unanswered(struct store *watch, enum store_code *out_code, char **out_path);

/* In the port's own thread, on its own stack: calls give for each operation of port (the topmost of a chain above
 * watch) that was asked for. True: its fiber will never go on; the operation is under way no more and counts as failed.
 * give may start fibers. */
void watch_give_up(struct store *watch, struct port *port, bool (*give)(void *arg, const struct watch_op *op),
                   void *arg);

/* Path of what op is about, relative to the root, malloc'd ("?" where it did not say); at most 4 KiB of its end. NULL:
 * no memory. */
char *watch_path(const struct dir *dir, const char *name);

/* ---- what was measured ---- */

/* All operations of one code that have ended. */
struct watch_code {
    uint64_t count;                  /* ended, or given up */
    uint64_t failed;                 /* with an error, or given up */
    int64_t total_ns;                /* time waited for them */
    int64_t max_ns;                  /* the longest one */
    uint64_t buckets[WATCH_BUCKETS]; /* see above */
};

struct watch_dir {
    char *path;       /* owned */
    uint64_t count;   /* operations seen there, at least */
    int64_t total_ns; /* time waited there, at least */
};

struct watch_slow {
    enum store_code code;
    char *path;      /* owned */
    int64_t ns;      /* how long it took; so far, where it has not ended */
    bool unanswered; /* it is under way, or was given up */
};

struct watch_times {
    struct watch_code codes[STORE_CODES];
    struct watch_dir dirs[WATCH_DIRS];  /* longest first */
    unsigned dir_count;                 /* of dirs */
    struct watch_slow slow[WATCH_SLOW]; /* longest first */
    unsigned slow_count;                /* of slow */
};

/* The time, in ns, that a share (0..1) of the operations did not exceed, as well as the histogram tells; 0: none. */
int64_t watch_quantile(const struct watch_code *code, double share);

/* Everything measured so far, of ports that are gone too; what is under way counts for directories and slowest
 * operations. Any thread. 0 or -ENOMEM. Let go of with watch_times_release. */
int watch_times(struct store *watch, struct watch_times *out_times);
void watch_times_release(struct watch_times *times);

#endif
