/*
 * janitor_internal: what the janitor's files share. Nobody else includes it.
 *
 *     janitor.c       its thread, the queue of what waits, the purge
 *     janitor_look.c  looking at what was published, and what is done about it
 */
#ifndef HAUL_CLEANUP_JANITOR_INTERNAL_H
#define HAUL_CLEANUP_JANITOR_INTERNAL_H

#include <pthread.h>

#include "cleanup/janitor.h"

#define BATCH_MAX   8U  /* entries looked at by one fiber, one after the other */
#define BATCHES_MAX 64U /* batches with the pool at a time */

/* An entry that waits for its time, is being looked at, or is being published again. */
struct waiting {
    struct waiting *next;        /* in the queue; janitor.lock */
    struct waiting *next_repair; /* in the list of those being published again; janitor.lock */
    int64_t due_ns;              /* monotonic; constant */
    struct janitor_entry entry;  /* one reference to its dir; repairs: janitor.lock, constant once queued */
    char name[];                 /* NUL-terminated */
};

/* What one fiber looks at. Owned by the pool from pool_offer on, by its fiber then. */
struct batch {
    struct pool_offer offer;            /* must be first */
    struct janitor *janitor;            /* not owned */
    struct worker *worker;              /* whose fiber looks; not owned */
    unsigned count;                     /* entries */
    unsigned at;                        /* the entry that it is at; those before it are gone */
    bool releasing;                     /* it is only being let go of */
    struct waiting *entries[BATCH_MAX]; /* owned */
};

struct janitor {
    struct janitor_options options; /* constant */
    uint64_t seed;                  /* of the choice, from the run id; constant */
    struct pool *pool;              /* not owned; held while something waits; constant once started */
    pthread_t thread;               /* valid if started */
    bool started;                   /* whoever starts and joins */
    struct port *port;              /* for the purge, or NULL; owned; the thread's */
    bool sweep_failed;              /* a directory was not purged; the thread's, read after its end */

    pthread_mutex_t lock;      /* guards all that follows; never held while waiting or in callbacks */
    pthread_cond_t change;     /* to the thread: there is something to do (CLOCK_MONOTONIC) */
    struct io *io;             /* of port, or NULL; owned */
    struct waiting *first;     /* in the order of their time; owned */
    struct waiting **end;      /* where the next one goes */
    unsigned count;            /* of them; the pool is held while > 0 */
    struct waiting *repairing; /* being published again now; owned by their batches */
    unsigned batches;          /* with the pool */
    bool swept;                /* a purge is wanted; constant */
    bool sweep_over;           /* it has come to its end */
    bool flush;                /* nothing waits for its time any more */
    bool finish;               /* the pool has ended: nothing comes any more */
    bool stop;                 /* nothing is looked at any more */
};

/* Drops an entry: its directory is not held any more. dst: as for options.release. */
void janitor_let_go(struct janitor *j, struct port *dst, struct waiting *w);

/* Frees a batch whose entries are dropped. */
void janitor_batch_done(struct janitor *j, struct batch *batch);

/* Looks at the entries of a batch; a pool_offer's run. */
void janitor_look(struct pool_offer *offer, struct worker *w);

#endif
