/*
 * pool: its making and its end, and what is asked of it from outside.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "workers/pool_internal.h"

#define RING_ENTRIES 256U /* at least, for each worker */
#define HELPERS      64U  /* at least, for each worker */
#define HELPERS_LOST 64U  /* more: those that hang are lost, and others take their places */

static unsigned usable_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) {
        return (unsigned)CPU_COUNT(&set);
    }
    return 1;
}

static unsigned largest(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* Fills in what was left to us, so that min <= start <= max holds with a worker for each operation. */
static void pool_settle(struct pool *p)
{
    struct pool_options *o = &p->options;
    p->processors = usable_processors();
    p->count = o->workers ? o->workers : p->processors;
    o->max = o->max ? o->max : largest(p->count, o->start);
    o->start = o->start ? o->start : p->count;
    o->start = o->start > o->max ? o->max : o->start;
    unsigned most = o->pinned ? o->start : o->max;
    p->count = p->count > most ? most : p->count;
    o->start = largest(o->start, p->count);
    o->workers = p->count;
    o->io.entries = o->io.entries ? o->io.entries : largest(o->max, RING_ENTRIES);
    o->io.helpers = o->io.helpers ? o->io.helpers : largest(o->max, HELPERS) + HELPERS_LOST;
    tune_init(&p->tune, o->start, p->count, o->max, o->pinned);
    atomic_init(&p->limit, o->start);
    atomic_init(&p->alive, p->count);
}

static void pool_free(struct pool *p)
{
    if (!p) {
        return;
    }
    free(p->workers);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->tune_lock);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static struct pool *pool_new(const struct pool_options *options)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p) {
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->tune_lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->offers_end = &p->offers;
    p->options = *options;
    pool_settle(p);
    p->workers = aligned_alloc(POOL_LINE, p->count * sizeof(*p->workers));
    if (!p->workers) {
        pool_free(p);
        return NULL;
    }
    memset(p->workers, 0, p->count * sizeof(*p->workers));
    for (unsigned i = 0; i < p->count; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        p->workers[i].buffers.need = BUFFER_MAX;
    }
    return p;
}

static void join_all(struct pool *p)
{
    for (unsigned i = 0; i < p->started; i++) {
        const struct worker *w = &p->workers[i];
        pthread_mutex_lock(&p->lock);
        while (!w->over) {
            pthread_cond_wait(&p->changed, &p->lock);
        }
        bool stays = w->lost > 0;
        pthread_mutex_unlock(&p->lock);
        if (!stays) {
            pthread_join(w->thread, NULL);
        }
    }
    p->joined = true;
}

/* Starts the threads, waits until each has begun, and lets all go on or none. */
static int pool_start(struct pool *p)
{
    int r = 0;
    while (r == 0 && p->started < p->count) {
        struct worker *w = &p->workers[p->started];
        r = -pthread_create(&w->thread, NULL, pool_worker_main, w);
        p->started += r == 0;
    }
    pthread_mutex_lock(&p->lock);
    while (p->begun < p->started) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    if (r == 0) {
        r = p->error;
    }
    p->go = r == 0 ? POOL_RUN : POOL_LEAVE;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (r != 0) {
        join_all(p);
    }
    return r;
}

int pool_create(const struct pool_options *options, struct pool **out_pool)
{
    struct pool *p = pool_new(options);
    if (!p) {
        return -ENOMEM;
    }
    p->tune_ns = clock_mono_ns();
    atomic_store(&p->next_tune, p->options.pinned ? INT64_MAX : p->tune_ns + TUNE_NS);
    queue_on_push(p->options.queue, pool_pushed, p);
    int r = pool_start(p);
    if (r < 0) {
        queue_on_push(p->options.queue, NULL, NULL);
        pool_free(p);
        return r;
    }
    *out_pool = p;
    return 0;
}

void pool_join(struct pool *p)
{
    if (!p->joined) {
        join_all(p);
    }
}

void pool_destroy(struct pool *p)
{
    if (p) {
        queue_on_push(p->options.queue, NULL, NULL);
    }
    if (p && pool_lost(p) == 0) {
        pool_free(p);
    }
}

void pool_stop(struct pool *p)
{
    atomic_store(&p->stopping, true);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->count; i++) {
        if (p->workers[i].live) {
            io_cancel_sleeps(p->workers[i].io); /* wakes it as well */
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void pool_wake_locked(struct pool *p, const struct worker *w)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->workers[i].live && &p->workers[i] != w) {
            io_wake(p->workers[i].io);
        }
    }
}

void pool_wake_others(struct pool *p, const struct worker *w)
{
    pthread_mutex_lock(&p->lock);
    pool_wake_locked(p, w);
    pthread_mutex_unlock(&p->lock);
}

bool pool_wake_hungry(struct pool *p)
{
    bool woken = false;
    if (atomic_load(&p->hungry) == 0) {
        return false;
    }
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->count && !woken; i++) {
        struct worker *w = &p->workers[i];
        if (w->live && atomic_exchange(&w->hungry, false)) {
            atomic_fetch_sub(&p->hungry, 1);
            io_wake(w->io);
            woken = true;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return woken;
}

void pool_pushed(void *arg)
{
    (void)pool_wake_hungry(arg);
}

void pool_attend(struct pool *p)
{
    if (p->options.attend) {
        atomic_fetch_add(&p->attend, 1);
        pool_wake_others(p, NULL);
    }
}

unsigned pool_lost(const struct pool *p)
{
    return atomic_load(&p->lost);
}

unsigned pool_in_flight(const struct pool *p)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < p->count; i++) {
        sum += atomic_load_explicit(&p->workers[i].active, memory_order_relaxed);
    }
    return sum;
}

unsigned pool_limit(const struct pool *p)
{
    return atomic_load(&p->limit);
}

void pool_io_facts(struct pool *p, struct io_facts *out_facts)
{
    struct io *io = NULL;
    int r = io_create(&p->options.io, &io);
    if (r < 0) {
        *out_facts = (struct io_facts){.ring_error = r};
        return;
    }
    io_facts(io, out_facts);
    io_destroy(io);
}

struct io *worker_io(struct worker *w)
{
    return w->io;
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

void worker_set(struct worker *w, void *own)
{
    w->own = own;
}

void *worker_own(const struct worker *w)
{
    return w->own;
}

bool worker_stopping(const struct worker *w)
{
    return atomic_load_explicit(&w->pool->stopping, memory_order_relaxed);
}

struct pool *worker_pool(const struct worker *w)
{
    return w->pool;
}
