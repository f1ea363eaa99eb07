/*
 * throttle: a token bucket over all ports, in the form of the moment at which the bucket is full of nothing owed.
 *
 * Each request takes its place at once, in the order of arrival, and sleeps until what was taken before it is paid;
 * that is fair, and a request larger than the bucket goes through like any other: those behind it wait for it.
 *
 * COPY takes its place afterwards, and waits then: it asks for the whole rest of a file, of which the store below may
 * copy any part, and mostly none at all; nobody is to wait for bytes that never move. Within one machine (a store
 * without caps.network) a COPY is a clone, which moves nothing, and is free; a server's clone cannot be told from its
 * copies, and is charged like them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

#define DEPTH (100 * NS_PER_MS) /* what an idle bucket lets through at once, in time */

struct throttle {
    struct store head;
    bool operations;      /* it counts those, not bytes; constant */
    double ns_per_unit;   /* of a byte, or an operation; constant */
    pthread_mutex_t lock; /* guards paid; never held while waiting */
    int64_t paid;         /* monotonic ns at which all that was let through so far is paid for */
};

/* A place in the row, in ns from now. */
struct place {
    int64_t begin; /* when what was taken before is paid; 0: it is */
    int64_t end;   /* when this is paid too; 0: it is, out of what the bucket held */
};

/* Takes that many bytes, or operations, out of the bucket. */
static struct place take(struct throttle *t, uint64_t units)
{
    int64_t now = clock_mono_ns();
    struct place place;

    pthread_mutex_lock(&t->lock);
    if (t->paid < now - DEPTH) {
        t->paid = now - DEPTH;
    }
    place.begin = t->paid > now ? t->paid - now : 0;
    t->paid += (int64_t)((double)units * t->ns_per_unit);
    place.end = t->paid > now ? t->paid - now : 0;
    pthread_mutex_unlock(&t->lock);
    return place;
}

/* Gives back what was taken for a request that was not carried out. */
static void give(struct throttle *t, uint64_t units)
{
    pthread_mutex_lock(&t->lock);
    t->paid -= (int64_t)((double)units * t->ns_per_unit);
    pthread_mutex_unlock(&t->lock);
}

/* A listing is one operation, however many entries it has. */
static bool is_counted(enum store_code code)
{
    return code != STORE_CLOSE && code != STORE_LIST_NEXT && code != STORE_LIST_PARK && code != STORE_LIST_CLOSE;
}

/* What ends a handle ends it whatever happens: it is charged, and others wait for it. */
static bool is_kept_waiting(enum store_code code)
{
    return code != STORE_COMMIT && code != STORE_ABORT && code != STORE_PARK;
}

/* What a request takes before it is carried out. */
static uint64_t units_of(const struct throttle *t, const struct store_op *op)
{
    if (t->operations) {
        return is_counted(op->code) ? 1 : 0;
    }
    switch (op->code) {
    case STORE_PUBLISH:
        return op->put.attr->size;
    case STORE_WRITE:
        return op->up.len;
    default:
        return 0;
    }
}

static int run_copy(struct throttle *t, struct port *p, struct store_op *op)
{
    int err = store_run_next(p, op);

    if (err == 0 && t->head.caps.network && *op->up.out_len > 0) {
        int64_t owed = take(t, *op->up.out_len).end;

        if (owed > 0) {
            (void)io_sleep(p->io, owed); /* cut short: it is copied all the same */
        }
    }
    return err;
}

static int run(struct port *p, struct store_op *op)
{
    struct throttle *t = (struct throttle *)p->store;
    uint64_t units = units_of(t, op);
    int64_t wait;
    int err;

    if (op->code == STORE_COPY && !t->operations) {
        return run_copy(t, p, op);
    }
    if (units == 0) {
        return store_run_next(p, op);
    }
    wait = take(t, units).begin;
    if (wait > 0 && is_kept_waiting(op->code)) {
        err = io_sleep(p->io, wait);
        if (err) {
            give(t, units);
            return err;
        }
    }
    return store_run_next(p, op);
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

static int wrap(struct store *next, bool operations, uint64_t a_second, struct store **out_store)
{
    struct throttle *t;

    if (a_second == 0) {
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
    t->operations = operations;
    t->ns_per_unit = (double)NS_PER_SEC / (double)a_second;
    pthread_mutex_init(&t->lock, NULL);
    *out_store = &t->head;
    return 0;
}

int throttle_wrap(struct store *next, uint64_t bytes_per_second, struct store **out_store)
{
    return wrap(next, false, bytes_per_second, out_store);
}

int throttle_operations_wrap(struct store *next, uint64_t operations_per_second, struct store **out_store)
{
    return wrap(next, true, operations_per_second, out_store);
}
