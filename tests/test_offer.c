/*
 * test_offer: work besides the queue of a pool, and when a pool ends.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/pool.h"

struct stage {
    struct queue *queue;            /* owned */
    struct pool *pool;              /* owned */
    struct pool_options options;    /* given to pool_create */
    atomic_uint items, dropped;     /* that ran, and that did not */
    atomic_uint offers;             /* that ran */
    atomic_uint flying, flying_max; /* offers in flight */
    atomic_bool gate;               /* lets those go on that wait for it */
    atomic_uint waiting;            /* items that wait for the gate without sleeping */
    atomic_uint workers_seen;       /* bit for each worker that ran an offer */
    unsigned wanted;                /* offers that an item makes */
};

struct bid {
    struct pool_offer offer; /* must be first */
    struct stage *stage;     /* not owned */
    atomic_uint times;       /* how often it ran */
    bool sleeps;             /* it sleeps a little */
    bool gated;              /* it waits for the gate */
};

struct gate_item {
    struct work work; /* must be first */
};

static void wait_for_gate(struct stage *s, struct worker *w)
{
    /* Not a sleep: those leave their place to others. */
    struct io_post post = {.key = &post};
    atomic_fetch_add(&s->waiting, 1);
    while (!atomic_load(&s->gate)) {
        post.delivered = false;
        usleep(100);
        io_post(worker_io(w), &post);
        io_await(worker_io(w), &post);
    }
}

static void bid_run(struct pool_offer *offer, struct worker *w)
{
    struct bid *b = (struct bid *)offer;
    struct stage *s = b->stage;
    cr_assert_not_null(fiber_self());
    atomic_fetch_or(&s->workers_seen, 1U << worker_index(w));
    unsigned flying = atomic_fetch_add(&s->flying, 1) + 1;
    unsigned max = atomic_load(&s->flying_max);
    while (flying > max && !atomic_compare_exchange_weak(&s->flying_max, &max, flying)) {
    }
    if (b->sleeps) {
        io_sleep(worker_io(w), 100000);
    }
    if (b->gated) {
        wait_for_gate(s, w);
    }
    atomic_fetch_add(&b->times, 1);
    atomic_fetch_sub(&s->flying, 1);
    atomic_fetch_add(&s->offers, 1);
}

static struct bid *bids_new(struct stage *s, unsigned count)
{
    struct bid *bids = calloc(count, sizeof(*bids));
    cr_assert_not_null(bids);
    for (unsigned i = 0; i < count; i++) {
        bids[i].offer.run = bid_run;
        bids[i].stage = s;
        bids[i].sleeps = i % 3 == 1;
    }
    return bids;
}

static void item_run(void *arg, struct worker *w, struct work *work)
{
    struct stage *s = arg;
    wait_for_gate(s, w);
    atomic_fetch_add(&s->items, 1);
    free(work);
}

static void item_drop(void *arg, struct work *work)
{
    atomic_fetch_add(&((struct stage *)arg)->dropped, 1);
    free(work);
}

static uint64_t item_cost_of(const struct work *work)
{
    (void)work;
    return 1;
}

static void stage_open(struct stage *s, unsigned workers, unsigned limit, bool pinned)
{
    cr_assert_eq(queue_create(16, &s->queue), 0);
    s->options.queue = s->queue;
    s->options.workers = workers;
    s->options.start = limit;
    s->options.max = limit;
    s->options.pinned = pinned;
    s->options.run = s->options.run ? s->options.run : item_run;
    s->options.drop = item_drop;
    s->options.cost = item_cost_of;
    s->options.arg = s;
    cr_assert_eq(pool_create(&s->options, &s->pool), 0);
}

static void stage_push(struct stage *s, unsigned items)
{
    struct shard *shard = calloc(1, sizeof(*shard));
    cr_assert_not_null(shard);
    while (shard->count < items) {
        struct gate_item *item = calloc(1, sizeof(*item));
        cr_assert_not_null(item);
        shard->items[shard->count++] = &item->work;
    }
    cr_assert_eq(queue_push(s->queue, shard), 0);
}

static void stage_close(struct stage *s)
{
    pool_join(s->pool);
    cr_assert_eq(pool_in_flight(s->pool), 0);
    pool_destroy(s->pool);
    queue_destroy(s->queue);
}

static void wait_until(atomic_uint *count, unsigned value)
{
    while (atomic_load(count) < value) {
        sched_yield();
    }
}

/* Workers, in flight. */
struct shape {
    unsigned workers; /* threads */
    unsigned limit;   /* in flight */
    bool pinned;      /* no tick that would hide a lost wake */
};

static struct shape shapes[] = {{1, 1, true}, {2, 2, true}, {3, 3, false}, {2, 40, true}, {4, 100, false}};

/* Idle workers are woken; each offer runs once; a pool that is held does not end. */
ParameterizedTestParameters(offer, to_idle_workers)
{
    return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}
ParameterizedTest(const struct shape *shape, offer, to_idle_workers, .timeout = 60)
{
    struct stage s = {0};
    stage_open(&s, shape->workers, shape->limit, shape->pinned);
    pool_hold(s.pool);
    for (unsigned round = 0; round < 2; round++) { /* with the queue open, and closed */
        struct bid *bids = bids_new(&s, 500);
        for (unsigned i = 0; i < 500; i++) {
            pool_offer(s.pool, &bids[i].offer);
            if (i % 50 == 0) {
                wait_until(&s.offers, round * 500 + i + 1);
            }
        }
        wait_until(&s.offers, round * 500 + 500);
        for (unsigned i = 0; i < 500; i++) {
            cr_assert_eq(atomic_load(&bids[i].times), 1);
        }
        free(bids);
        queue_close(s.queue);
    }
    pool_release(s.pool);
    stage_close(&s);
}

static void offering_run(void *arg, struct worker *w, struct work *work)
{
    struct stage *s = arg;
    struct bid *bids = bids_new(s, s->wanted);
    unsigned before = atomic_load(&s->offers);
    for (unsigned i = 0; i < s->wanted; i++) {
        pool_offer(worker_pool(w), &bids[i].offer);
    }
    /* This thread is kept busy: somebody else has to run them, although the queue is closed. */
    wait_until(&s->offers, before + s->wanted);
    for (unsigned i = 0; i < s->wanted; i++) {
        while (atomic_load(&bids[i].times) != 1) {
        }
    }
    free(bids);
    atomic_fetch_add(&s->items, 1);
    free(work);
}

/* A worker that has nothing to do any more helps those that have. */
Test(offer, to_workers_that_rest, .timeout = 60)
{
    for (unsigned round = 0; round < 100; round++) {
        struct stage s = {.wanted = 1 + round % 20, .options.run = offering_run};
        stage_open(&s, 2 + round % 3, 4, true);
        stage_push(&s, 1);
        queue_close(s.queue);
        stage_close(&s);
        cr_assert_eq(atomic_load(&s.items), 1);
        cr_assert_eq(atomic_load(&s.offers), s.wanted);
    }
}

static void leaving_run(void *arg, struct worker *w, struct work *work)
{
    struct stage *s = arg;
    struct bid *bids = bids_new(s, s->wanted); /* freed by the test's end */
    for (unsigned i = 0; i < s->wanted; i++) {
        pool_offer(worker_pool(w), &bids[i].offer);
    }
    atomic_fetch_add(&s->items, 1);
    free(work);
}

/* An item offers something and ends: the pool does not end before the offers are done; after a stop neither. */
ParameterizedTestParameters(offer, outlive_their_item)
{
    return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}
ParameterizedTest(const struct shape *shape, offer, outlive_their_item, .timeout = 60)
{
    for (unsigned stop = 0; stop < 2; stop++) {
        struct stage s = {.wanted = 50, .options.run = leaving_run};
        stage_open(&s, shape->workers, shape->limit, shape->pinned);
        stage_push(&s, 20);
        wait_until(&s.items, 1);
        if (stop) {
            pool_stop(s.pool);
        }
        queue_close(s.queue);
        stage_close(&s);
        cr_assert_eq(atomic_load(&s.items) + atomic_load(&s.dropped), 20);
        cr_assert_eq(atomic_load(&s.offers), 50 * atomic_load(&s.items));
    }
}

/* Where all workers are at their limit, each takes one offer more and not two; the others can be withdrawn. */
Test(offer, one_above_the_limit, .timeout = 60)
{
    struct stage s = {0};
    stage_open(&s, 2, 8, true);
    stage_push(&s, 16);
    stage_push(&s, 16);
    wait_until(&s.waiting, 8);
    struct bid *bids = bids_new(&s, 10);
    for (unsigned i = 0; i < 10; i++) {
        bids[i].sleeps = false;
        bids[i].gated = true;
        pool_offer(s.pool, &bids[i].offer);
    }
    wait_until(&s.waiting, 10);
    usleep(20000); /* would they take more, they would now */
    cr_assert_eq(atomic_load(&s.flying), 2);
    unsigned withdrawn = 0;
    for (unsigned i = 5; i < 10; i++) {
        bool back = pool_withdraw(s.pool, &bids[i].offer);
        cr_assert(back);
        withdrawn += back;
        cr_assert_not(pool_withdraw(s.pool, &bids[i].offer));
    }
    cr_assert_not(pool_withdraw(s.pool, &bids[0].offer), "it runs");
    atomic_store(&s.gate, true);
    queue_close(s.queue);
    stage_close(&s);
    cr_assert_eq(atomic_load(&s.items), 32);
    cr_assert_eq(atomic_load(&s.offers), 5);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(atomic_load(&bids[i].times), i < 5);
    }
    cr_assert_eq(withdrawn, 5);
    free(bids);
}

struct outsider {
    struct stage *s; /* not owned */
    unsigned count;  /* offers */
};

static void *outsider_main(void *arg)
{
    struct outsider *o = arg;
    struct bid *bids = bids_new(o->s, o->count);
    unsigned run = 0;
    for (unsigned i = 0; i < o->count; i++) {
        pool_offer(o->s->pool, &bids[i].offer);
        if (i % 4 == 3 && pool_withdraw(o->s->pool, &bids[i].offer)) {
            continue;
        }
        run++;
        while (i % 5 == 4 && atomic_load(&bids[i].times) == 0) {
            sched_yield();
        }
    }
    wait_until(&o->s->offers, run);
    for (unsigned i = 0; i < o->count; i++) {
        while (atomic_load(&o->s->flying) > 0) { /* the last one is still on its way out */
            sched_yield();
        }
        cr_assert_leq(atomic_load(&bids[i].times), 1);
    }
    free(bids);
    pool_release(o->s->pool);
    return NULL;
}

/* A thread outside that holds the pool, offers, withdraws and lets go, at all moments of a pool's life. */
ParameterizedTestParameters(offer, from_outside)
{
    return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}
ParameterizedTest(const struct shape *shape, offer, from_outside, .timeout = 60)
{
    for (unsigned round = 0; round < 60; round++) {
        struct stage s = {.gate = true};
        stage_open(&s, shape->workers, shape->limit, shape->pinned);
        pool_hold(s.pool);
        struct outsider o = {.s = &s, .count = round};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, outsider_main, &o), 0);
        for (unsigned i = 0; i < round % 7; i++) {
            stage_push(&s, 10);
        }
        if (round % 5 == 0) {
            pool_stop(s.pool);
        }
        queue_close(s.queue);
        pool_join(s.pool);
        pthread_join(thread, NULL);
        stage_close(&s);
        cr_assert_eq(atomic_load(&s.items) + atomic_load(&s.dropped), 10 * (round % 7));
    }
}
