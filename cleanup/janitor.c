/*
 * janitor: its thread, the queue of what waits, the purge.
 */
#include "cleanup/janitor.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "cleanup/janitor_internal.h"

#define WAIT_MIN_NS (2 * NS_PER_MS) /* the thread does not look at its queue more often */

int janitor_create(const struct janitor_options *options, struct janitor **out_janitor)
{
    struct janitor *j = calloc(1, sizeof(*j));
    pthread_condattr_t monotonic;

    if (j == NULL || pthread_condattr_init(&monotonic) != 0) {
        free(j);
        return -ENOMEM;
    }
    j->options = *options;
    j->seed = XXH3_64bits(options->run_id, strlen(options->run_id));
    j->swept = options->next_dir != NULL;
    j->end = &j->first;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->change, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out_janitor = j;
    return 0;
}

/* ---- what waits ---- */

/* Whether run looks at that entry. */
static bool is_chosen(const struct janitor *j, const struct dir *dir, const char *name)
{
    uint64_t hash = XXH3_64bits_withSeed(name, strlen(name), dir->id ^ j->seed);
    return j->options.share >= JANITOR_WHOLE || hash % JANITOR_WHOLE < j->options.share;
}

static struct waiting *waiting_create(struct dir *dir, const char *name, const struct attr *src, const struct attr *dst)
{
    size_t len = strlen(name);
    struct waiting *w = malloc(sizeof(*w) + len + 1);
    if (w != NULL) {
        memcpy(w->name, name, len + 1);
        w->entry = (struct janitor_entry){.dir = dir_get(dir), .name = w->name, .src = *src, .dst = *dst};
        w->next = NULL;
    }
    return w;
}

void janitor_let_go(struct janitor *j, struct port *dst, struct waiting *w)
{
    j->options.release(j->options.arg, dst, w->entry.dir);
    dir_put(w->entry.dir);
    free(w);
}

/* How often the janitor has published that entry again, this time among them. Under the lock. */
static unsigned repairs_of(const struct janitor *j, const struct dir *dir, const char *name)
{
    for (const struct waiting *w = j->repairing; w != NULL; w = w->next_repair) {
        if (w->entry.dir->id == dir->id && strcmp(w->entry.name, name) == 0) {
            return w->entry.repairs + 1;
        }
    }
    return 0;
}

void janitor_published(struct janitor *j, struct dir *dir, const char *name, const struct attr *src,
                       const struct attr *dst)
{
    if (j == NULL || j->options.share == 0 || !is_chosen(j, dir, name)) {
        return;
    }
    struct waiting *w = waiting_create(dir, name, src, dst);
    if (w == NULL) {
        notice_raise(j->options.notices, "entries were not looked at again: no memory");
        return;
    }
    j->options.hold(j->options.arg, dir);
    pthread_mutex_lock(&j->lock);
    bool take = !j->stop;
    if (take) {
        w->due_ns = clock_mono_ns() + j->options.delay_ns;
        w->entry.repairs = repairs_of(j, dir, name);
        *j->end = w;
        j->end = &w->next;
        if (j->count++ == 0) {
            pool_hold(j->pool); /* which the janitor's thread lets go when nothing waits any more */
            pthread_cond_signal(&j->change);
        } else if (j->count > j->options.waiting_max || j->flush) {
            pthread_cond_signal(&j->change);
        }
    }
    pthread_mutex_unlock(&j->lock);
    if (!take) {
        janitor_let_go(j, NULL, w);
    }
}

/* Whether the first one is to be looked at now. Under the lock. */
static bool is_due(const struct janitor *j, int64_t now)
{
    return j->first != NULL && (j->flush || j->count > j->options.waiting_max || j->first->due_ns <= now);
}

/* Takes what is due, at most a batch, which becomes the pool's. Under the lock, which is given up meanwhile. */
static void offer_batch(struct janitor *j, struct batch *batch, int64_t now)
{
    /* Where each look is a round trip they are all made at the same time: at the end of a run nothing else is left to
     * wait for. */
    unsigned most = j->options.dst->caps.network ? 1 : BATCH_MAX;
    *batch = (struct batch){.janitor = j};
    while (batch->count < most && is_due(j, now)) {
        struct waiting *w = j->first;
        j->first = w->next;
        batch->entries[batch->count++] = w;
        j->count--;
    }
    bool emptied = j->first == NULL;
    if (emptied) {
        j->end = &j->first;
    }
    j->batches++;
    pthread_mutex_unlock(&j->lock);
    batch->offer.run = janitor_look;
    pool_offer(j->pool, &batch->offer); /* the pool is held: something waited */
    if (emptied) {
        pool_release(j->pool);
    }
    pthread_mutex_lock(&j->lock);
}

void janitor_batch_done(struct janitor *j, struct batch *batch)
{
    free(batch);
    pthread_mutex_lock(&j->lock);
    j->batches--;
    pthread_cond_signal(&j->change);
    pthread_mutex_unlock(&j->lock);
}

/* ---- the purge ---- */

/* A port of the janitor's own, made when there is something to be purged. */
static int open_port(struct janitor *j)
{
    const struct io_options direct = {.no_ring = true};
    struct io *io = NULL;
    int err = io_create(&direct, &io);
    if (err != 0) {
        return err;
    }
    io_set_mode(io, IO_DIRECT);
    pthread_mutex_lock(&j->lock);
    j->io = io;
    if (j->stop) {
        io_cancel_sleeps(io); /* janitor_stop came too early to do it */
    }
    pthread_mutex_unlock(&j->lock);
    return store_port_create(j->options.dst, io, &j->port);
}

static void close_port(struct janitor *j)
{
    store_port_destroy(j->port);
    j->port = NULL;
    pthread_mutex_lock(&j->lock);
    struct io *io = j->io;
    j->io = NULL;
    pthread_mutex_unlock(&j->lock);
    io_destroy(io);
}

/* Purges the next directory. False: that was the last. */
static bool sweep_one(struct janitor *j)
{
    struct dir *dir = NULL;
    unsigned removed = 0;
    int err = j->port == NULL ? open_port(j) : 0;
    if (err == 0) {
        err = j->options.next_dir(j->options.arg, &dir);
    }
    if (err != 0) {
        j->sweep_failed |= err != -ENOENT;
        return false;
    }
    err = temps_purge(j->port, dir, &j->options.temps, &removed);
    atomic_fetch_add(j->options.purged, removed);
    if (err != 0 && err != -ENOENT && err != -ENOTDIR && err != -ELOOP) { /* those: there is no such directory now */
        j->sweep_failed = true;
        notice_raise(j->options.notices, TEMPS_NOTICE);
    }
    dir_put(dir);
    return true;
}

/* ---- the thread ---- */

/* Until there is something to do. Under the lock. */
static void wait_for_work(struct janitor *j)
{
    if (j->first == NULL || j->batches >= BATCHES_MAX) {
        pthread_cond_wait(&j->change, &j->lock);
    } else {
        int64_t soon = clock_mono_ns() + WAIT_MIN_NS; /* memory for a batch may be there by then */
        int64_t due = j->first->due_ns > soon ? j->first->due_ns : soon;
        const struct timespec until = {.tv_sec = due / NS_PER_SEC, .tv_nsec = due % NS_PER_SEC};
        pthread_cond_timedwait(&j->change, &j->lock, &until);
    }
}

/* Lets go of all that waits. Under the lock, which is given up meanwhile. */
static void drop_all(struct janitor *j)
{
    struct waiting *all = j->first;
    j->first = NULL;
    j->end = &j->first;
    j->count = 0;
    pthread_mutex_unlock(&j->lock);
    bool some = all != NULL;
    while (all != NULL) {
        struct waiting *next = all->next;
        janitor_let_go(j, NULL, all);
        all = next;
    }
    if (some) {
        pool_release(j->pool);
    }
    pthread_mutex_lock(&j->lock);
}

/* One step of the purge, or of nothing. Under the lock, which is given up meanwhile. */
static void sweep_step(struct janitor *j)
{
    pthread_mutex_unlock(&j->lock);
    bool more = sweep_one(j);
    pthread_mutex_lock(&j->lock);
    j->sweep_over = !more;
}

static void *janitor_main(void *arg)
{
    struct janitor *j = arg;

    pthread_mutex_lock(&j->lock);
    while (!j->stop) {
        bool sweeps = j->swept && j->flush && !j->sweep_over;
        struct batch *batch = NULL;
        int64_t now = clock_mono_ns();
        if (j->batches < BATCHES_MAX && is_due(j, now)) {
            batch = malloc(sizeof(*batch));
        }
        if (batch != NULL) {
            offer_batch(j, batch, now);
        } else if (sweeps) {
            sweep_step(j);
        } else if (j->finish && j->first == NULL && j->batches == 0) {
            break;
        } else {
            wait_for_work(j);
        }
    }
    drop_all(j);
    pthread_mutex_unlock(&j->lock);
    close_port(j);
    return NULL;
}

int janitor_start(struct janitor *j, struct pool *pool)
{
    j->pool = pool;
    if (pthread_create(&j->thread, NULL, janitor_main, j) != 0) {
        return -EAGAIN;
    }
    j->started = true;
    return 0;
}

void janitor_flush(struct janitor *j)
{
    if (j != NULL) {
        pthread_mutex_lock(&j->lock);
        j->flush = true;
        pthread_cond_signal(&j->change);
        pthread_mutex_unlock(&j->lock);
    }
}

void janitor_stop(struct janitor *j)
{
    if (j != NULL) {
        pthread_mutex_lock(&j->lock);
        j->stop = true;
        if (j->io != NULL) {
            io_cancel_sleeps(j->io);
        }
        pthread_cond_signal(&j->change);
        pthread_mutex_unlock(&j->lock);
    }
}

void janitor_join(struct janitor *j)
{
    if (j == NULL || !j->started) {
        return;
    }
    pthread_mutex_lock(&j->lock);
    j->finish = true;
    j->flush = true;
    pthread_cond_signal(&j->change);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    j->started = false;
}

bool janitor_swept(const struct janitor *j)
{
    return j->swept && j->sweep_over && !j->sweep_failed && !j->stop;
}

void janitor_destroy(struct janitor *j)
{
    if (j != NULL) {
        janitor_join(j);
        pthread_cond_destroy(&j->change);
        pthread_mutex_destroy(&j->lock);
        free(j);
    }
}
