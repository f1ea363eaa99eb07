/*
 * pool_internal: what the parts of the pool share: the pool, its workers, their free buffers.
 *
 * Only workers/pool*.c and workers/buffers.c include this.
 */
#ifndef HAUL_WORKERS_POOL_INTERNAL_H
#define HAUL_WORKERS_POOL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/pool.h"
#include "workers/tune.h"

#define POOL_LINE      64                /* bytes of a cache line: workers do not share one */
#define SHARDS_OPEN    16U               /* shards that a worker keeps open at most, with spread */
#define SLEEPERS_FREE  64U               /* sleeping items of a worker that do not count as in flight, at most */
#define BUFFER_MIN     4096U             /* bytes of the smallest class; each further class is twice as large */
#define BUFFER_CLASSES 9                 /* up to BUFFER_MAX */
#define TUNE_NS        (250 * NS_PER_MS) /* between two steps of the tuner */

/* Free buffers of one worker; its thread only. */
struct buffers {
    void *free[BUFFER_CLASSES]; /* singly linked through their first bytes, owned */
    size_t cached;              /* bytes in free */
    unsigned waiting;           /* fibers of this worker that wait for memory */
    size_t need;                /* bytes of the smallest buffer that one of them waits for */
};

struct worker {
    _Alignas(POOL_LINE) struct pool *pool; /* not owned */
    unsigned index;                        /* 0.. */
    pthread_t thread;                      /* joined by pool_join */
    struct io *io;                         /* owned by its thread; others use it under pool.lock while live */
    struct fibers *fibers;                 /* owned, its thread only */
    void *own;                             /* the user's */
    struct shard *open;                    /* shards with items not handed out, owned, its thread only */
    unsigned open_count;                   /* in open */
    unsigned share;                        /* its part of the limit; its thread only */
    unsigned epoch;                        /* of share: pool.epoch then */
    unsigned burst;                        /* items started since the last turn */
    bool closed;                           /* the queue was closed and empty */
    struct buffers buffers;                /* see above */
    clockid_t cpu_clock;                   /* of its thread; constant once live */
    pid_t tid;                             /* of its thread; constant once live */
    int64_t demand_ns;                     /* time that it ran or wanted to run, when last asked; pool.tune_lock */
    bool live;                             /* io may be woken; pool.lock */
    atomic_uint active;                    /* items in flight; written by its thread */
    atomic_ulong work;                     /* work units done; written by its thread */
    atomic_llong starved_ns;               /* time with room and without items; written by its thread */
    atomic_llong starving_since;           /* monotonic, 0: it is not now; written by its thread */
    atomic_bool hungry;                    /* waits in its ring and would take items */
};

enum pool_go {
    POOL_WAIT,  /* some worker has not begun */
    POOL_RUN,   /* all have */
    POOL_LEAVE, /* one has failed */
};

struct pool {
    struct pool_options options; /* constant */
    unsigned count;              /* workers; constant */
    unsigned processors;         /* that this process may use; constant */
    struct worker *workers;      /* owned */
    unsigned started;            /* threads that run; creating thread only */
    bool joined;                 /* by pool_join's thread */
    pthread_mutex_t lock;        /* guards begun, error, go, worker.live */
    pthread_cond_t changed;      /* begun or go has changed */
    unsigned begun;              /* workers that have begun or failed to */
    int error;                   /* the first one's that failed to begin, -errno */
    enum pool_go go;             /* see above */
    atomic_bool stopping;        /* pool_stop was called */
    atomic_uint limit;           /* in flight at most, all workers */
    atomic_uint alive;           /* workers that have not ended */
    atomic_uint epoch;           /* counts changes of limit and alive */
    atomic_uint hungry;          /* workers whose hungry is true */
    atomic_size_t buffer_bytes;  /* of all buffers there are, in use or free */
    atomic_uint buffers_wanted;  /* fibers that wait for memory */
    atomic_llong next_tune;      /* monotonic time of the tuner's next step */
    pthread_mutex_t tune_lock;   /* guards all that follows */
    struct tune tune;            /* the tuner */
    int64_t tune_ns;             /* monotonic time of its last step */
    uint64_t tune_work;          /* sum of worker.work then */
    int64_t tune_starved;        /* sum of time starved then */
    int64_t tune_process;        /* processor time of the process then, ns */
};

/* A worker's thread. arg: struct worker *. */
void *pool_worker_main(void *arg);

/* The part of the limit that is w's now. */
unsigned pool_share(const struct worker *w);

/* One step of the tuner, if its time has come and nobody else does it. */
void pool_tune(struct pool *p, int64_t now_ns);

/* Wakes every worker but w (which may be NULL). */
void pool_wake_others(struct pool *p, const struct worker *w);

/* Wakes one worker that waits for items in its ring. Called by whoever pushes. arg: struct pool *. */
void pool_pushed(void *arg);

/* Gives free buffers back until at most keep bytes of them are left. */
void buffers_trim(struct worker *w, size_t keep);

/* Memory is wanted somewhere: gives back what is free, and lets waiting fibers look again if there is enough for one.
 */
void buffers_attend(struct worker *w);

/* Lets waiting fibers look again. */
void buffers_notify(struct worker *w);

#endif
