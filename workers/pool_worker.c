/*
 * pool_worker: the loop of one worker: take shards, start items as fibers, turn the io.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "workers/pool_internal.h"

#define BURST_MAX 16U /* items started in a row before those in flight have a turn */

/* What became of an attempt to start an item. */
enum next {
    NEXT_STARTED, /* it runs, or is done already */
    NEXT_FULL,    /* no room for another one now */
    NEXT_EMPTY,   /* no item to be had now */
};

static void shard_link(struct worker *w, struct shard *s)
{
    s->place = w->open_count++;
    w->open[s->place] = (struct open_shard){.shard = s, .active = s->active};
}

static void shard_open(struct worker *w, struct shard *s)
{
    s->next = 0;
    s->active = 0;
    if (s->count == 0) {
        free(s);
        return;
    }
    shard_link(w, s);
}

static void shard_unlink(struct worker *w, struct shard *s)
{
    w->open_count--;
    for (unsigned i = s->place; i < w->open_count; i++) {
        w->open[i] = w->open[i + 1];
        w->open[i].shard->place = i;
    }
    s->place = SHARDS_OPEN;
}

/* Takes a shard without waiting. False: there is none now. */
static bool shard_take(struct worker *w)
{
    struct shard *s = w->closed ? NULL : queue_pop_timed(w->pool->options.queue, 0, &w->closed);
    if (!s) {
        return false;
    }
    shard_open(w, s);
    return true;
}

/* NULL: none is open. */
static const struct open_shard *fewest_active(const struct worker *w)
{
    const struct open_shard *best = w->open_count > 0 ? &w->open[0] : NULL;
    for (unsigned i = 1; i < w->open_count; i++) {
        if (w->open[i].active < best->active) {
            best = &w->open[i];
        }
    }
    return best;
}

/* The shard that the next item comes from; NULL: no item to be had now. */
static struct shard *worker_pick(struct worker *w)
{
    unsigned most = w->pool->options.spread ? SHARDS_OPEN : 1;
    const struct open_shard *best = fewest_active(w);
    if (best && (best->active == 0 || w->open_count >= most)) {
        return best->shard;
    }
    if (shard_take(w)) {
        best = fewest_active(w);
    }
    return best ? best->shard : NULL;
}

/* Sleeping items leave their place to others, within bounds: one that fails must not keep the rest waiting. */
static bool worker_has_room(const struct worker *w)
{
    unsigned sleeping = io_sleeping(w->io);
    unsigned most = io_mode(w->io) == IO_DIRECT || w->share > SLEEPERS_FREE ? SLEEPERS_FREE : w->share;
    return worker_active(w) < w->share + (sleeping < most ? sleeping : most);
}

/* Offers come before the queue's items, and one at a time may go above the limit. */
static enum next worker_start_offer(struct worker *w, bool room)
{
    struct pool_offer *offer = room || w->offers == 0 ? pool_offer_take(w->pool) : NULL;
    if (!offer) {
        return NEXT_EMPTY;
    }
    if (flight_offer(w, offer) == 0) {
        return NEXT_STARTED;
    }
    pool_offer_return(w->pool, offer);
    return NEXT_FULL;
}

static enum next worker_start(struct worker *w)
{
    bool room = worker_has_room(w);
    if (atomic_load_explicit(&w->pool->offered, memory_order_relaxed) > 0) {
        enum next next = worker_start_offer(w, room);
        if (next != NEXT_EMPTY) {
            return next;
        }
    }
    if (!room) {
        return NEXT_FULL;
    }
    struct shard *s = worker_stopping(w) ? NULL : worker_pick(w);
    if (!s) {
        return NEXT_EMPTY;
    }
    struct work *item = s->items[s->next];
    s->next++;
    shard_active_add(w, s, 1);
    bool last = s->next == s->count;
    if (last) {
        shard_unlink(w, s);
    }
    if (flight_item(w, s, item) == 0) {
        return NEXT_STARTED;
    }
    /* No memory for one more stack: others will be done with theirs. */
    shard_active_add(w, s, -1U);
    s->next--;
    if (last) {
        shard_link(w, s);
    }
    return NEXT_FULL;
}

static void worker_drop_open(struct worker *w)
{
    const struct pool_options *o = &w->pool->options;
    while (w->open_count > 0) {
        struct shard *s = w->open[--w->open_count].shard;
        s->place = SHARDS_OPEN;
        while (s->next < s->count) {
            o->drop(o->arg, s->items[--s->count]);
        }
        if (s->active == 0) {
            free(s);
        }
    }
}

/* Takes its part of the limit, and the way of working that goes with the limit. */
static void worker_take_share(struct worker *w)
{
    struct pool *p = w->pool;
    w->epoch = atomic_load(&p->epoch);
    if (atomic_load(&p->limit) > p->count) {
        w->share = pool_share(w);
        io_set_mode(w->io, IO_ASYNC);
        io_set_width(w->io, w->share + w->lost); /* what was given up keeps its place */
    } else {
        w->share = 1;
        io_set_mode(w->io, IO_DIRECT);
    }
}

/* What changes from outside. Before each item, so it must cost next to nothing. */
static void worker_attend(struct worker *w)
{
    struct pool *p = w->pool;
    if (atomic_load_explicit(&p->epoch, memory_order_relaxed) != w->epoch) {
        worker_take_share(w);
    }
    if (atomic_load_explicit(&p->buffers_wanted, memory_order_relaxed) > 0) {
        buffers_attend(w);
    }
    unsigned attend = atomic_load_explicit(&p->attend, memory_order_relaxed);
    if (attend != w->attended) {
        w->attended = attend;
        p->options.attend(p->options.arg, w);
    }
    int64_t next_tune = atomic_load_explicit(&p->next_tune, memory_order_relaxed);
    if (next_tune != INT64_MAX) {
        int64_t now = clock_mono_ns();
        if (now >= next_tune) {
            pool_tune(p, now);
        }
    }
    if (worker_stopping(w)) {
        do {
            worker_drop_open(w);
        } while (shard_take(w));
    }
}

static void starving_begin(struct worker *w)
{
    atomic_store_explicit(&w->starving_since, clock_mono_ns(), memory_order_relaxed);
}

static void starving_end(struct worker *w)
{
    int64_t ns = clock_mono_ns() - atomic_load_explicit(&w->starving_since, memory_order_relaxed);
    int64_t sum = atomic_load_explicit(&w->starved_ns, memory_order_relaxed);
    atomic_store_explicit(&w->starved_ns, sum + ns, memory_order_relaxed);
    atomic_store_explicit(&w->starving_since, 0, memory_order_relaxed);
}

static int64_t turn_timeout(const struct worker *w)
{
    /* Stacks may have been lost: then one may be missing though nothing is in flight that could end. */
    return w->pool->options.pinned && w->lost == 0 ? -1 : TUNE_NS; /* long enough, and the tuner is not forgotten */
}

static void worker_turn(struct worker *w, int64_t timeout_ns)
{
    w->burst = 0;
    io_turn(w->io, timeout_ns);
}

static void hungry_end(struct worker *w)
{
    if (atomic_exchange(&w->hungry, false)) {
        atomic_fetch_sub(&w->pool->hungry, 1);
    }
}

/* Waits in the ring for what is in flight, and lets itself be woken by the next push or offer. */
static void worker_turn_hungry(struct worker *w)
{
    struct pool *p = w->pool;
    atomic_store(&w->hungry, true);
    atomic_fetch_add(&p->hungry, 1);
    /* A push or offer that came before it could see that must not be missed. */
    bool some = shard_take(w) || atomic_load(&p->offered) > 0;
    worker_turn(w, some ? 0 : turn_timeout(w));
    hungry_end(w);
}

/* Nothing to start now. */
static void worker_starve(struct worker *w)
{
    struct pool *p = w->pool;
    bool idle = worker_active(w) == 0;
    if (w->closed) {
        worker_turn_hungry(w);
        return;
    }
    if (idle) {
        buffers_trim(w, BUFFER_BUDGET / (4 * (size_t)p->count));
        queue_wait_elsewhere(p->options.queue, true);
    }
    starving_begin(w);
    worker_turn_hungry(w);
    starving_end(w);
    if (idle) {
        queue_wait_elsewhere(p->options.queue, false);
    }
}

/* Nothing in flight, and nothing will come from the queue any more. False: the pool has ended. */
static bool worker_rest(struct worker *w)
{
    bool ended = false;
    buffers_trim(w, 0);
    if (pool_rest_begin(w)) {
        while (pool_rest_on(w, &ended)) {
            worker_turn_hungry(w);
        }
    }
    return !ended;
}

static void worker_loop(struct worker *w)
{
    for (;;) {
        worker_attend(w);
        switch (worker_start(w)) {
        case NEXT_STARTED:
            if (worker_active(w) > 0 && (io_mode(w->io) == IO_DIRECT || ++w->burst >= BURST_MAX)) {
                worker_turn(w, 0);
            }
            break;
        case NEXT_FULL:
            worker_turn(w, turn_timeout(w));
            break;
        case NEXT_EMPTY:
            if (worker_active(w) > 0 || !w->closed || w->open_count > 0) {
                worker_starve(w);
            } else if (!worker_rest(w)) {
                return;
            }
            break;
        }
    }
}

static int worker_begin(struct worker *w)
{
    const struct pool_options *o = &w->pool->options;
    w->tid = gettid();
    if (pthread_getcpuclockid(pthread_self(), &w->cpu_clock) != 0) {
        w->cpu_clock = CLOCK_THREAD_CPUTIME_ID;
    }
    int r = io_create(&o->io, &w->io);
    if (r < 0) {
        return r;
    }
    r = fibers_create(&w->fibers);
    if (r < 0) {
        return r;
    }
    return o->begin ? o->begin(o->arg, w) : 0;
}

/* Says how beginning went, and waits for the others. Returns whether to go on. */
static bool worker_report(struct worker *w, int result)
{
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    p->begun++;
    if (result < 0 && p->error == 0) {
        p->error = result;
    }
    w->live = result >= 0;
    pthread_cond_broadcast(&p->changed);
    while (p->go == POOL_WAIT) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    bool run = p->go == POOL_RUN;
    pthread_mutex_unlock(&p->lock);
    return run;
}

/* From now on nobody else touches its io. */
static void worker_retire(struct worker *w)
{
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    w->live = false;
    pthread_mutex_unlock(&p->lock);
    buffers_trim(w, 0);
}

/* The last word to the pool. A thread that has something at the kernel which does not answer stays: it could not end
 * before its answer has come. */
static void worker_leave(struct worker *w)
{
    struct pool *p = w->pool;
    bool stays = w->lost > 0;
    pthread_mutex_lock(&p->lock);
    w->over = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (stays) {
        for (;;) {
            pause();
        }
    }
}

void *pool_worker_main(void *arg)
{
    struct worker *w = arg;
    const struct pool_options *o = &w->pool->options;
    int r = worker_begin(w);
    if (worker_report(w, r)) {
        worker_take_share(w);
        worker_loop(w);
    }
    if (r >= 0 && o->end) {
        o->end(o->arg, w);
    }
    worker_retire(w);
    if (w->lost == 0) {
        fibers_destroy(w->fibers);
        io_destroy(w->io);
    }
    worker_leave(w);
    return NULL;
}
