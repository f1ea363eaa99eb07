/*
 * throttle: a token bucket over all ports, in the form of the moment at which the bucket is full of nothing owed.
 *
 * Each request takes its place at once, in the order of arrival, and sleeps until what was taken before it is paid;
 * that is fair, and a request larger than the bucket goes through like any other: those behind it wait for it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

#define DEPTH (100 * NS_PER_MS) /* what an idle bucket lets through at once, in time */

struct throttle {
    struct store head;
    double ns_per_byte;   /* constant */
    pthread_mutex_t lock; /* guards paid; never held while waiting */
    int64_t paid;         /* monotonic ns at which all that was let through so far is paid for */
};

/* Takes bytes out of the bucket. ns to wait before going on. */
static int64_t take(struct throttle *t, uint64_t bytes)
{
    int64_t now = clock_mono_ns();
    int64_t wait;

    pthread_mutex_lock(&t->lock);
    if (t->paid < now - DEPTH) {
        t->paid = now - DEPTH;
    }
    wait = t->paid > now ? t->paid - now : 0;
    t->paid += (int64_t)((double)bytes * t->ns_per_byte);
    pthread_mutex_unlock(&t->lock);
    return wait;
}

/* Gives back what was taken and not used. */
static void give(struct throttle *t, uint64_t bytes)
{
    pthread_mutex_lock(&t->lock);
    t->paid -= (int64_t)((double)bytes * t->ns_per_byte);
    pthread_mutex_unlock(&t->lock);
}

static uint64_t bytes_of(const struct store_op *op)
{
    switch (op->code) {
    case STORE_PUBLISH:
        return op->put.attr->size;
    case STORE_WRITE:
    case STORE_COPY:
        return op->up.len;
    default:
        return 0;
    }
}

static int run(struct port *p, struct store_op *op)
{
    struct throttle *t = (struct throttle *)p->store;
    uint64_t bytes = bytes_of(op);
    int64_t wait;
    int err;

    if (bytes == 0) {
        return store_run_next(p, op);
    }
    wait = take(t, bytes);
    if (wait > 0) {
        err = io_sleep(p->io, wait);
        if (err) {
            give(t, bytes);
            return err;
        }
    }
    err = store_run_next(p, op);
    if (op->code == STORE_COPY) {
        /* It may have copied less than it was allowed, or nothing at all. */
        uint64_t used = err ? 0 : *op->up.out_len;

        give(t, used < bytes ? bytes - used : 0);
    }
    return err;
}

static void destroy(struct store *s)
{
    struct throttle *t = (struct throttle *)s;

    pthread_mutex_destroy(&t->lock);
    free(t);
}

static const struct store_ops throttle_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int throttle_wrap(struct store *next, uint64_t bytes_per_second, struct store **out_store)
{
    struct throttle *t;

    if (bytes_per_second == 0) {
        store_destroy(next);
        return -EINVAL;
    }
    t = calloc(1, sizeof(*t));
    if (!t) {
        store_destroy(next);
        return -ENOMEM;
    }
    t->head.ops = &throttle_ops;
    t->head.caps = next->caps;
    t->head.next = next;
    t->ns_per_byte = (double)NS_PER_SEC / (double)bytes_per_second;
    pthread_mutex_init(&t->lock, NULL);
    *out_store = &t->head;
    return 0;
}
