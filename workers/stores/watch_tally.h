/*
 * watch_tally: the figures of one port, or of all that are gone. Only workers/stores/watch*.c include this.
 *
 * Not thread-safe: whoever has one guards it.
 */
#ifndef HAUL_STORES_WATCH_TALLY_H
#define HAUL_STORES_WATCH_TALLY_H

#include "workers/stores/watch.h"

/*
 * The heaviest directories, by "space saving" (Metwally and others): a directory that is not among those kept takes the
 * place of the lightest, whose weight it inherits as its possible error. What was waited for longest cannot be missed,
 * and weight - error is never more than what was measured.
 */
struct tally_dir {
    uint64_t id;    /* dir.id, which is the same for every node of that path */
    int64_t ns;     /* weight */
    int64_t error;  /* of it, inherited */
    uint64_t count; /* operations since it is kept */
    char *path;     /* owned; NULL: there was no memory for it */
};

#define TALLY_HINTS 256 /* a few for each directory that a port keeps */

struct tally {
    uint64_t done; /* operations that were answered */
    struct watch_code codes[STORE_CODES];
    struct watch_slow slow[WATCH_SLOW]; /* longest first */
    unsigned slow_count;                /* of slow */
    struct tally_dir *dirs;             /* owned */
    unsigned dir_room;                  /* of dirs */
    unsigned dir_count;                 /* of dirs in use */
    uint16_t dir_hints[TALLY_HINTS];    /* where in dirs the one with such an id was last: mostly it still is */
};

/* How an operation stands when it is added. */
enum tally_how {
    TALLY_DONE,     /* ended well */
    TALLY_FAILED,   /* ended with an error */
    TALLY_SILENT,   /* ended with an error that says that nobody answered */
    TALLY_GIVEN_UP, /* nobody waits for it any more: counts as failed */
    TALLY_WAITING,  /* under way: counts for directories and slowest operations only */
};

/* dir_room directories are kept at most. 0 or -ENOMEM. */
int tally_init(struct tally *t, unsigned dir_room);
void tally_release(struct tally *t);

/* An operation that took ns. Its directory's node must live. Memory that is missing costs a figure, nothing else. */
void tally_add(struct tally *t, const struct watch_op *op, int64_t ns, enum tally_how how);

/* Adds what from holds to into. */
void tally_merge(struct tally *into, const struct tally *from);

/* The figures for others; what is handed out is a copy. 0 or -ENOMEM. */
int tally_show(const struct tally *t, struct watch_times *out_times);

#endif
