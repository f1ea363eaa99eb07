/*
 * pool: worker threads, each with one io (a ring) and its fibers, that carry out the shards of a queue.
 *
 * Each item runs as a fiber: run(arg, worker, item). Up to the tuned number of them are in flight over all workers. At
 * one in flight for each worker, io is IO_DIRECT (no ring, no switch); above that, IO_ASYNC. With spread, a worker
 * keeps several shards open and takes the next item from the one with the fewest in flight, so that many directories
 * are worked on at a time; without, it finishes a shard before the next.
 */
#ifndef HAUL_WORKERS_POOL_H
#define HAUL_WORKERS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "workers/io.h"
#include "workers/shard.h"

struct fiber;
struct pool;
struct worker;

struct pool_options {
    struct queue *queue;                       /* of struct shard *; not owned */
    unsigned workers;                          /* threads; 0: one for each usable processor */
    unsigned start;                            /* in flight at first, whole pool; 0: one for each worker */
    unsigned max;                              /* in flight at most, whole pool */
    bool pinned;                               /* --jobs: start is kept */
    bool spread;                               /* many directories at a time (network mounts) */
    struct io_options io;                      /* for each worker's io */
    int (*begin)(void *arg, struct worker *w); /* in each worker's thread, on its own stack, before its first item: may
                                                  worker_set; -errno stops the pool. May be NULL */
    void (*end)(void *arg, struct worker *w);  /* in each worker's thread after its last item. May be NULL */
    void (*run)(void *arg, struct worker *w, struct work *item); /* in a fiber; owns item */
    void (*attend)(void *arg, struct worker *w); /* in each worker's thread, on its own stack, soon after pool_attend:
                                                    may worker_give_up. May be NULL */
    void (*drop)(void *arg, struct work *item);  /* item that will not run since the pool was stopped; owns item */
    uint64_t (*cost)(const struct work *item);   /* work units of an item, for the tuner (1 = a small file) */
    void *arg;                                   /* for the functions above */
};

/* Starts the threads. 0; -ENOMEM, -EAGAIN (no thread), or what begin returned: then nothing runs. */
int pool_create(const struct pool_options *options, struct pool **out_pool);

/* Waits until the queue is closed and empty, every item and offer is done, and nobody holds the pool. Any one thread,
 * once; blocks. */
void pool_join(struct pool *p);

/* No item is started any more, sleeps are cut short; items in flight finish, offers are run all the same. The queue is
 * drained into drop by the workers. Any thread; does not block. May be called twice. */
void pool_stop(struct pool *p);

/*
 * Work besides the queue: run(offer, worker) is called in a fiber of whichever worker has room next, before the
 * queue's, oldest first; one offer at a time may go above a worker's part of the limit, so that the janitor gets on
 * while all are busy. It counts as in flight. In its owner's storage, which stays until run has returned or
 * pool_withdraw was true; the pool does not touch it any more once run was called.
 */
struct pool_offer {
    struct pool_offer *next;                                 /* the pool's until run is called */
    void (*run)(struct pool_offer *offer, struct worker *w); /* set before pool_offer */
};

/* Any thread, does not block. Only from inside an item or another offer, while the pool is held, or before its queue is
 * closed; runs exactly once or is withdrawn, also after pool_stop; the pool does not end before. Who waits for an offer
 * inside of an item must be ready to withdraw it: with one worker and one in flight nobody else may ever have room. */
void pool_offer(struct pool *p, struct pool_offer *offer);

/* True: it has not been started and never will be. Any thread, does not block; as long as the owner has the storage. */
bool pool_withdraw(struct pool *p, struct pool_offer *offer);

/* While held, the pool does not end though the queue is closed and empty. Counted. Any thread; the first hold before
 * pool_join could have ended: before the queue is closed, from inside an item, or while held. */
void pool_hold(struct pool *p);
void pool_release(struct pool *p);

/*
 * What does not answer. Whoever knows that an operation will perhaps never end calls pool_attend; the worker that has
 * its fiber then finds it in options.attend and gives the fiber up. All that was its own stays as it is: its stack, its
 * buffer, its place in the ring or its helper thread, which may never come back. Its thread does not end then either
 * (the kernel would keep it), and is not waited for by pool_join; pool_destroy frees nothing then: the process ends by
 * _exit.
 */

/* Lets each worker call options.attend soon. Any thread, does not block. */
void pool_attend(struct pool *p);

/* Fibers given up so far. Any thread. */
unsigned pool_lost(const struct pool *p);

/* Says for the calling item or offer what is to be done where it is given up: lost(arg, why) runs in a fiber of its own
 * in its place, in the same worker, and ends what it left; it may call this again for itself, and waits as items do.
 * arg may lie on the stack of the one that is given up. lost NULL: it cannot be spared (as at first). */
void worker_on_lost(void (*lost)(void *arg, const void *why), void *arg);

/* From options.attend: gives up that fiber of w, which is parked. why is for lost, which reads it before it first
 * waits. 0; -EBUSY: it cannot be spared; -ENOMEM: not now. */
int worker_give_up(struct worker *w, struct fiber *fiber, const void *why);

/* After pool_join, and after whoever pushes to the queue has come back from its last push or close. NULL is fine. */
void pool_destroy(struct pool *p);

/* Items in flight now and the tuned limit, for progress. Any thread. */
unsigned pool_in_flight(const struct pool *p);
unsigned pool_limit(const struct pool *p);
void pool_io_facts(struct pool *p, struct io_facts *out_facts);

/* A worker as its items see it; only in that worker's thread. */
struct io *worker_io(struct worker *w);
unsigned worker_index(const struct worker *w); /* 0.. */
void worker_set(struct worker *w, void *own);  /* the user's own pointer for this worker */
void *worker_own(const struct worker *w);
bool worker_stopping(const struct worker *w);
struct pool *worker_pool(const struct worker *w);

/*
 * A buffer of at least size bytes (at most BUFFER_MAX), from this worker's free lists. The calling fiber waits while
 * the pool's memory for buffers (BUFFER_BUDGET over all workers) is in use; the only item in flight of a worker always
 * gets one. NULL: no memory. Give it back with worker_buffer_put, size as it was asked.
 */
#define BUFFER_MAX    (1024U * 1024)
#define BUFFER_BUDGET (24U * 1024 * 1024)
void *worker_buffer_get(struct worker *w, size_t size);
void worker_buffer_put(struct worker *w, void *buffer, size_t size);
/* A buffer of that size belonged to what was given up: it is never used again, and does not count any more. */
void worker_buffer_lost(struct worker *w, size_t size);

#endif
