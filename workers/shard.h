/*
 * shard: a contiguous run of work with an estimated cost, as it travels from the planner to the workers.
 *
 * A shard and its items belong to whoever made it until queue_push succeeded, to the pool afterwards. The pool hands
 * each item to pool_options.run, which owns it from then on; the pool frees the shard itself.
 */
#ifndef HAUL_WORKERS_SHARD_H
#define HAUL_WORKERS_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/dir.h"

#define SHARD_ITEMS 64 /* most items in a shard */

/* The head of every item; who makes items embeds it as the first field. */
struct work {
    struct dir *dir; /* one reference, owned by the item */
};

struct shard {
    uint64_t cost;                   /* estimated, ns of one worker's time: files x latency + bytes / bandwidth */
    unsigned count;                  /* items */
    unsigned next;                   /* the first one not handed out yet (pool only) */
    unsigned active;                 /* items handed out and not done (pool only) */
    unsigned place;                  /* where the worker keeps it while it is open (pool only) */
    struct work *items[SHARD_ITEMS]; /* owned, [next, count) */
};

#endif
