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

/* One of the shards that a worker takes items from. They are gone through for each item, and so are kept together. */
struct open_shard {
    struct shard *shard; /* owned */
    unsigned active;     /* shard->active */
};

struct worker {
    _Alignas(POOL_LINE) struct pool *pool; /* not owned */
    unsigned index;                        /* 0.. */
    pthread_t thread;                      /* joined by pool_join */
    struct io *io;                         /* owned by its thread; others use it under pool.lock while live */
    struct fibers *fibers;                 /* owned, its thread only */
    void *own;                             /* the user's */
    struct open_shard open[SHARDS_OPEN];   /* those with items not handed out, in order of coming; its thread only */
    unsigned open_count;                   /* in open */
    unsigned share;                        /* its part of the limit; its thread only */
    unsigned epoch;                        /* of share: pool.epoch then */
    unsigned burst;                        /* items started since the last turn */
    bool closed;                           /* the queue was closed and empty */
    unsigned offers;                       /* offers in flight; its thread only */
    unsigned attended;                     /* pool.attend then; its thread only */
    unsigned lost;                         /* fibers given up; its thread only, others once over */
    bool over;                             /* has nothing more to do with the pool; pool.lock */
    bool resting;                          /* has nothing to do until somebody offers something; pool.lock */
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
    struct pool_options options;    /* constant */
    unsigned count;                 /* workers; constant */
    unsigned processors;            /* that this process may use; constant */
    struct worker *workers;         /* owned */
    unsigned started;               /* threads that run; creating thread only */
    bool joined;                    /* by pool_join's thread */
    pthread_mutex_t lock;           /* guards begun, error, go, offers, held, resting, ended, worker.live */
    pthread_cond_t changed;         /* begun or go has changed */
    unsigned begun;                 /* workers that have begun or failed to */
    int error;                      /* the first one's that failed to begin, -errno */
    enum pool_go go;                /* see above */
    struct pool_offer *offers;      /* the oldest one not begun */
    struct pool_offer **offers_end; /* where the next one goes */
    unsigned held;                  /* pool_hold without pool_release */
    unsigned resting;               /* workers whose resting is true */
    bool ended;                     /* all were resting and nothing was left; for ever */
    atomic_uint offered;            /* offers not begun; written under lock */
    atomic_bool stopping;           /* pool_stop was called */
    atomic_uint limit;              /* in flight at most, all workers */
    atomic_uint alive;              /* workers that neither rest nor have ended */
    atomic_uint attend;             /* counts pool_attend */
    atomic_uint lost;               /* fibers given up */
    atomic_uint epoch;              /* counts changes of limit and alive */
    atomic_uint hungry;             /* workers whose hungry is true */
    atomic_size_t buffer_bytes;     /* of all buffers there are, in use or free */
    atomic_uint buffers_wanted;     /* fibers that wait for memory */
    atomic_llong next_tune;         /* monotonic time of the tuner's next step */
    pthread_mutex_t tune_lock;      /* guards all that follows */
    struct tune tune;               /* the tuner */
    int64_t tune_ns;                /* monotonic time of its last step */
    uint64_t tune_work;             /* sum of worker.work then */
    int64_t tune_starved;           /* sum of time starved then */
    int64_t tune_process;           /* processor time of the process then, ns */
};

/* A worker's thread. arg: struct worker *. */
void *pool_worker_main(void *arg);

/* The part of the limit that is w's now. */
unsigned pool_share(const struct worker *w);

/* One step of the tuner, if its time has come and nobody else does it. */
void pool_tune(struct pool *p, int64_t now_ns);

/* Wakes every worker but w (which may be NULL); the second with the lock held. */
void pool_wake_others(struct pool *p, const struct worker *w);
void pool_wake_locked(struct pool *p, const struct worker *w);

/* Wakes one worker that waits in its ring and would take items. False: there is none. */
bool pool_wake_hungry(struct pool *p);

/* Wakes one worker that waits for items in its ring. Called by whoever pushes. arg: struct pool *. */
void pool_pushed(void *arg);

/* ---- pool_flight.c ---- */

/* Counters with one writer need no locked instruction. */
static inline unsigned worker_active(const struct worker *w)
{
    return atomic_load_explicit(&w->active, memory_order_relaxed);
}

static inline void worker_active_add(struct worker *w, unsigned n)
{
    atomic_store_explicit(&w->active, worker_active(w) + n, memory_order_relaxed);
}

/* n more items of s are handed out and not done. */
static inline void shard_active_add(struct worker *w, struct shard *s, unsigned n)
{
    s->active += n;
    if (s->place < SHARDS_OPEN) {
        w->open[s->place].active = s->active;
    }
}

/* Starts the item or offer in a fiber, counted as in flight until it is over. 0 or -ENOMEM: nothing has happened. All
 * bookkeeping of the shard comes first: where the item is done at once, it may be gone afterwards. */
int flight_item(struct worker *w, struct shard *shard, struct work *item);
int flight_offer(struct worker *w, struct pool_offer *offer);

/* ---- pool_offer.c ---- */

/* The oldest offer, NULL: there is none. */
struct pool_offer *pool_offer_take(struct pool *p);
/* Puts back what was taken and could not be started. */
void pool_offer_return(struct pool *p, struct pool_offer *offer);
/* w, which has nothing to do and will get nothing from the queue any more, begins to rest. False: there is an offer. */
bool pool_rest_begin(struct worker *w);
/* Whether w, which rests, goes on resting; else it rests no more. *out_ended: the pool has ended. */
bool pool_rest_on(struct worker *w, bool *out_ended);

/* Gives free buffers back until at most keep bytes of them are left. */
void buffers_trim(struct worker *w, size_t keep);

/* Memory is wanted somewhere: gives back what is free, and lets waiting fibers look again if there is enough for one.
 */
void buffers_attend(struct worker *w);

/* Lets waiting fibers look again. */
void buffers_notify(struct worker *w);

#endif
