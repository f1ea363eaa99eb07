/*
 * pool_flight: one item or offer in its fiber, from the start until it is over, or given up.
 */
#include <errno.h>
#include <stdlib.h>

#include "workers/pool_internal.h"

/* One in flight: on its fiber's stack, and that fiber's own pointer. */
struct flight {
    struct worker *worker;                    /* not owned */
    struct shard *shard;                      /* kept until its last item is done; NULL: an offer */
    struct work *item;                        /* goes to run; NULL: an offer */
    struct pool_offer *offer;                 /* its owner's, until run is called; NULL: an item */
    uint64_t cost;                            /* of the item */
    void (*lost)(void *arg, const void *why); /* worker_on_lost; NULL: it cannot be spared */
    void *lost_arg;                           /* for lost */
};

/* What takes the place of a fiber that is given up. */
struct rescue {
    struct fiber *fiber;   /* given up */
    struct flight *flight; /* on its stack, which stays */
    const void *why;       /* for lost */
};

static void flight_over(const struct flight *f)
{
    struct worker *w = f->worker;
    if (f->shard) {
        uint64_t work = atomic_load_explicit(&w->work, memory_order_relaxed);
        atomic_store_explicit(&w->work, work + f->cost, memory_order_relaxed);
        shard_active_add(w, f->shard, -1U);
        if (f->shard->active == 0 && f->shard->next == f->shard->count) {
            free(f->shard);
        }
    } else {
        w->offers--;
    }
    worker_active_add(w, -1U);
    /* Those that are left may all wait for memory: then one of them must not wait any longer. */
    if (w->buffers.waiting > 0 && w->buffers.waiting == worker_active(w)) {
        buffers_notify(w);
    }
}

/* arg: struct flight, read before the first wait. */
static void flight_main(void *arg)
{
    struct flight f = *(const struct flight *)arg;
    const struct pool_options *o = &f.worker->pool->options;
    fiber_set_own(fiber_self(), &f);
    if (f.shard) {
        f.cost = o->cost(f.item);
        o->run(o->arg, f.worker, f.item);
    } else {
        f.offer->run(f.offer, f.worker);
    }
    flight_over(&f);
}

static int flight_start(struct flight *f)
{
    struct worker *w = f->worker;
    worker_active_add(w, 1);
    int r = fiber_start(w->fibers, flight_main, f);
    if (r < 0) {
        worker_active_add(w, -1U);
    }
    return r;
}

int flight_item(struct worker *w, struct shard *shard, struct work *item)
{
    struct flight f = {.worker = w, .shard = shard, .item = item};
    return flight_start(&f);
}

int flight_offer(struct worker *w, struct pool_offer *offer)
{
    struct flight f = {.worker = w, .offer = offer};
    w->offers++;
    int r = flight_start(&f);
    w->offers -= r < 0;
    return r;
}

/* ---- given up ---- */

void worker_on_lost(void (*lost)(void *arg, const void *why), void *arg)
{
    struct flight *f = fiber_own(fiber_self());
    f->lost = lost;
    f->lost_arg = arg;
}

static void rescue_main(void *arg)
{
    struct rescue r = *(const struct rescue *)arg;
    struct flight *f = r.flight;
    struct worker *w = f->worker;
    void (*lost)(void *lost_arg, const void *why) = f->lost;
    fiber_abandon(r.fiber);
    fiber_set_own(fiber_self(), f);
    f->lost = NULL;
    w->lost++;
    atomic_fetch_add(&w->pool->lost, 1);
    if (io_mode(w->io) == IO_ASYNC) {
        io_set_width(w->io, w->share + w->lost);
    }
    lost(f->lost_arg, r.why);
    flight_over(f);
}

int worker_give_up(struct worker *w, struct fiber *fiber, const void *why)
{
    struct rescue r = {.fiber = fiber, .flight = fiber_own(fiber), .why = why};
    if (!r.flight || !r.flight->lost) {
        return -EBUSY;
    }
    return fiber_start(w->fibers, rescue_main, &r);
}
