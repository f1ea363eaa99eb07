/*
 * test_pool: workers, shards, items; stopping; the sharing of memory.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/pool.h"

/* What an item does. */
enum task {
    TASK_NOTHING,
    TASK_SLEEP,       /* sleeps for ns */
    TASK_SLEEP_ONCE,  /* the first of all items sleeps until it is cancelled, all others do nothing */
    TASK_STATX,       /* some calls */
    TASK_BUFFER,      /* takes a buffer, keeps it over a sleep, gives it back */
    TASK_BUFFER_HOLD, /* takes a second one while it holds the first */
    TASK_GATE,        /* waits until the test opens the gate */
    TASK_LATENCY,     /* an operation of ns: blocks the thread in direct mode, parks the fiber else */
    TASK_SPIN,        /* keeps a processor busy for ns of its time */
};

struct scene {
    struct queue *queue;                    /* owned */
    struct pool *pool;                      /* owned */
    struct pool_options options;            /* given to pool_create */
    enum task task;                         /* what items do */
    int64_t ns;                             /* for how long */
    size_t size;                            /* of buffers */
    atomic_uint began, ended, ran, dropped; /* calls */
    atomic_uint twice;                      /* items that were seen twice */
    atomic_uint cancelled;                  /* sleeps that ended with -ECANCELED */
    atomic_uint flying, flying_max;         /* items in flight */
    atomic_uint dirs_max;                   /* most shards with an item in flight at a time, per worker */
    atomic_size_t held, held_max;           /* bytes of buffers in use */
    atomic_bool gate;                       /* TASK_GATE goes on */
    int begin_error;                        /* what begin returns in the last worker */
    unsigned next_id;                       /* of items made */
};

struct task_item {
    struct work work;  /* must be first */
    unsigned id;       /* 0.. */
    unsigned shard;    /* which shard it is in */
    atomic_uint times; /* how often it came out */
};

/* One for each worker. */
struct own {
    unsigned shard_active[1024]; /* items in flight by shard */
    unsigned shards;             /* shards with items in flight */
};

static void max_with(atomic_uint *max, unsigned value)
{
    unsigned seen = atomic_load(max);
    while (value > seen && !atomic_compare_exchange_weak(max, &seen, value)) {
    }
}

static int scene_begin(void *arg, struct worker *w)
{
    struct scene *s = arg;
    cr_assert_null(fiber_self());
    if (s->begin_error && worker_index(w) == s->options.workers - 1) {
        return s->begin_error;
    }
    struct own *own = calloc(1, sizeof(*own));
    cr_assert_not_null(own);
    worker_set(w, own);
    atomic_fetch_add(&s->began, 1);
    return 0;
}

static void scene_end(void *arg, struct worker *w)
{
    struct scene *s = arg;
    free(worker_own(w));
    atomic_fetch_add(&s->ended, 1);
}

static void hold_buffer(struct scene *s, struct worker *w, int depth)
{
    void *buffer = worker_buffer_get(w, s->size);
    cr_assert_not_null(buffer);
    memset(buffer, depth, s->size);
    size_t held = atomic_fetch_add(&s->held, s->size) + s->size;
    size_t seen = atomic_load(&s->held_max);
    while (held > seen && !atomic_compare_exchange_weak(&s->held_max, &seen, held)) {
    }
    io_sleep(worker_io(w), s->ns);
    if (depth > 0) {
        hold_buffer(s, w, depth - 1);
    }
    for (size_t i = 0; i < s->size; i += 512) {
        cr_assert_eq(((char *)buffer)[i], depth);
    }
    atomic_fetch_sub(&s->held, s->size);
    worker_buffer_put(w, buffer, s->size);
}

static int64_t thread_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return clock_ns_of(&ts);
}

static void spin(int64_t ns)
{
    int64_t end = thread_time() + ns;
    while (thread_time() < end) {
    }
}

static void do_task(struct scene *s, struct worker *w, const struct task_item *item)
{
    struct io *io = worker_io(w);
    struct statx stx;
    switch (s->task) {
    case TASK_NOTHING:
        break;
    case TASK_SLEEP:
        atomic_fetch_add(&s->cancelled, io_sleep(io, s->ns) == -ECANCELED);
        break;
    case TASK_SLEEP_ONCE:
        if (item->id == 0) {
            atomic_fetch_add(&s->cancelled, io_sleep(io, INT64_MAX) == -ECANCELED);
        }
        break;
    case TASK_STATX:
        for (int i = 0; i < 5; i++) {
            cr_assert_eq(io_statx(io, AT_FDCWD, "/", 0, STATX_BASIC_STATS, &stx), 0);
        }
        break;
    case TASK_BUFFER:
        hold_buffer(s, w, 0);
        break;
    case TASK_BUFFER_HOLD:
        hold_buffer(s, w, 1);
        break;
    case TASK_GATE:
        while (!atomic_load(&s->gate) && io_sleep(io, NS_PER_MS) == 0) {
        }
        break;
    case TASK_LATENCY:
        if (io_mode(io) == IO_DIRECT) {
            usleep((useconds_t)(s->ns / 1000));
        } else {
            io_sleep(io, s->ns);
        }
        break;
    case TASK_SPIN:
        spin(s->ns);
        break;
    }
}

static void scene_run(void *arg, struct worker *w, struct work *work)
{
    struct scene *s = arg;
    struct task_item *item = (struct task_item *)work;
    struct own *own = worker_own(w);
    cr_assert_not_null(fiber_self());
    atomic_fetch_add(&s->twice, atomic_fetch_add(&item->times, 1) > 0);
    max_with(&s->flying_max, atomic_fetch_add(&s->flying, 1) + 1);
    own->shards += own->shard_active[item->shard % 1024]++ == 0;
    max_with(&s->dirs_max, own->shards);
    do_task(s, w, item);
    own->shards -= --own->shard_active[item->shard % 1024] == 0;
    atomic_fetch_sub(&s->flying, 1);
    atomic_fetch_add(&s->ran, 1);
    free(item);
}

static void scene_drop(void *arg, struct work *work)
{
    struct scene *s = arg;
    atomic_fetch_add(&s->dropped, 1);
    free(work);
}

static uint64_t scene_cost(const struct work *work)
{
    (void)work;
    return 1;
}

static void scene_init(struct scene *s, unsigned workers, unsigned start, unsigned max)
{
    memset(s, 0, sizeof(*s));
    cr_assert_eq(queue_create(16, &s->queue), 0);
    s->options = (struct pool_options){
        .queue = s->queue,
        .workers = workers,
        .start = start,
        .max = max,
        .begin = scene_begin,
        .end = scene_end,
        .run = scene_run,
        .drop = scene_drop,
        .cost = scene_cost,
        .arg = s,
    };
}

static void scene_create(struct scene *s)
{
    cr_assert_eq(pool_create(&s->options, &s->pool), 0);
}

static void scene_push(struct scene *s, unsigned items)
{
    static unsigned shard_number;
    struct shard *shard = calloc(1, sizeof(*shard));
    cr_assert_not_null(shard);
    shard_number++;
    for (unsigned i = 0; i < items; i++) {
        struct task_item *item = calloc(1, sizeof(*item));
        cr_assert_not_null(item);
        item->id = s->next_id++;
        item->shard = shard_number;
        shard->items[shard->count++] = &item->work;
    }
    cr_assert_eq(queue_push(s->queue, shard), 0);
}

static void scene_finish(struct scene *s)
{
    queue_close(s->queue);
    pool_join(s->pool);
    cr_assert_eq(pool_in_flight(s->pool), 0);
    pool_destroy(s->pool);
    queue_destroy(s->queue);
    cr_assert_eq(atomic_load(&s->began), atomic_load(&s->ended));
    cr_assert_eq(atomic_load(&s->ran) + atomic_load(&s->dropped), s->next_id);
    cr_assert_eq(atomic_load(&s->twice), 0);
}

/* In flight at first, and at most. */
struct shape {
    unsigned workers; /* threads */
    unsigned start;   /* in flight */
    unsigned max;     /* in flight */
    bool spread;      /* many shards at a time */
    bool no_ring;     /* helpers only */
    bool pinned;      /* no tuning */
    enum task task;   /* what items do */
};

static struct shape shapes[] = {
    {1, 1, 1, false, false, false, TASK_NOTHING}, {2, 2, 2, false, false, false, TASK_STATX},
    {2, 2, 64, false, false, false, TASK_STATX},  {2, 64, 64, true, false, false, TASK_STATX},
    {2, 64, 64, true, true, false, TASK_STATX},   {4, 7, 7, true, false, true, TASK_STATX},
    {3, 50, 200, false, false, true, TASK_SLEEP}, {0, 0, 0, true, false, false, TASK_NOTHING},
    {8, 3, 3, false, false, true, TASK_STATX},    {2, 100, 100, true, false, true, TASK_BUFFER},
};

ParameterizedTestParameters(pool, every_item_once)
{
    return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}
ParameterizedTest(const struct shape *shape, pool, every_item_once, .timeout = 120)
{
    struct scene s;
    scene_init(&s, shape->workers, shape->start, shape->max);
    s.options.spread = shape->spread;
    s.options.pinned = shape->pinned;
    s.options.io.no_ring = shape->no_ring;
    s.task = shape->task;
    s.ns = 100000;
    s.size = 10000;
    scene_create(&s);
    for (unsigned i = 0; i < 200; i++) {
        scene_push(&s, i % (SHARD_ITEMS + 1)); /* empty ones too */
    }
    scene_finish(&s);
    cr_assert_eq(atomic_load(&s.dropped), 0);
    cr_assert_gt(atomic_load(&s.ran), 5000);
    if (shape->pinned) {
        cr_assert_leq(atomic_load(&s.flying_max), shape->start + 64 * (shape->task == TASK_SLEEP ? 3 : 0) +
                                                      (shape->task == TASK_BUFFER ? shape->start : 0));
    }
}

/* --jobs: exactly that many in flight, whatever the number of workers. */
static unsigned jobs[] = {1, 2, 3, 5, 16, 100};

ParameterizedTestParameters(pool, pinned_is_exact)
{
    return cr_make_param_array(unsigned, jobs, sizeof(jobs) / sizeof(jobs[0]));
}
ParameterizedTest(const unsigned *n, pool, pinned_is_exact, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 3, *n, *n);
    s.options.pinned = true;
    s.task = TASK_STATX;
    scene_create(&s);
    cr_assert_eq(pool_limit(s.pool), *n);
    for (unsigned i = 0; i < 300; i++) {
        scene_push(&s, SHARD_ITEMS);
    }
    scene_finish(&s);
    cr_assert_leq(atomic_load(&s.flying_max), *n);
    if (*n > 3) { /* above, items park in their calls, so that the limit is reached */
        cr_assert_eq(atomic_load(&s.flying_max), *n);
    }
}

Test(pool, without_any_work, .timeout = 30)
{
    struct scene s;
    scene_init(&s, 2, 2, 2);
    scene_create(&s);
    scene_finish(&s);
    cr_assert_eq(atomic_load(&s.ran), 0);
    cr_assert_eq(atomic_load(&s.began), 2);
}

Test(pool, begin_fails, .timeout = 30)
{
    struct scene s;
    scene_init(&s, 3, 3, 3);
    s.begin_error = -EIO;
    cr_assert_eq(pool_create(&s.options, &s.pool), -EIO);
    cr_assert_null(s.pool);
    cr_assert_eq(atomic_load(&s.began), 2);
    cr_assert_eq(atomic_load(&s.ended), 2);
    queue_close(s.queue);
    queue_destroy(s.queue);
}

Test(pool, out_of_descriptors, .timeout = 30)
{
    struct scene s;
    scene_init(&s, 3, 3, 3);
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(lowest);
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit tight = {.rlim_cur = (rlim_t)lowest + 1, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &tight);
    cr_assert_eq(pool_create(&s.options, &s.pool), -EMFILE);
    cr_assert_eq(atomic_load(&s.began), atomic_load(&s.ended));
    setrlimit(RLIMIT_NOFILE, &limit);
    queue_destroy(s.queue);
}

/* One item that waits for ever: the rest of the work goes on beside it, one at a time as well. */
static unsigned limits[] = {1, 40};

ParameterizedTestParameters(pool, a_sleeper_stops_nobody)
{
    return cr_make_param_array(unsigned, limits, 2);
}
ParameterizedTest(const unsigned *limit, pool, a_sleeper_stops_nobody, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 1, *limit, *limit);
    s.options.pinned = true;
    s.task = TASK_SLEEP_ONCE;
    scene_create(&s);
    for (unsigned i = 0; i < 20; i++) {
        scene_push(&s, SHARD_ITEMS);
    }
    while (atomic_load(&s.ran) < 20 * SHARD_ITEMS - 1) {
        sched_yield();
    }
    while (pool_in_flight(s.pool) > 1) { /* the last one that ran has perhaps not come to its end */
        sched_yield();
    }
    cr_assert_eq(pool_in_flight(s.pool), 1);
    pool_stop(s.pool);
    scene_finish(&s);
    cr_assert_eq(atomic_load(&s.cancelled), 1);
}

Test(pool, sleepers_are_bounded, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 1, 1, 1);
    s.options.pinned = true;
    s.task = TASK_SLEEP;
    s.ns = INT64_MAX;
    scene_create(&s);
    for (unsigned i = 0; i < 10; i++) {
        scene_push(&s, SHARD_ITEMS);
    }
    while (atomic_load(&s.flying) < 65) {
        sched_yield();
    }
    pool_stop(s.pool);
    scene_finish(&s);
    cr_assert_eq(atomic_load(&s.flying_max), 65);
    cr_assert_eq(atomic_load(&s.cancelled), 65);
    cr_assert_eq(atomic_load(&s.dropped), 640 - 65);
}

struct pusher {
    struct scene *s;    /* not owned */
    unsigned shards;    /* how many to push */
    atomic_bool enough; /* no more of them */
};

static void *pusher_run(void *arg)
{
    struct pusher *p = arg;
    for (unsigned i = 0; i < p->shards && !atomic_load(&p->enough); i++) {
        scene_push(p->s, SHARD_ITEMS);
    }
    queue_close(p->s->queue);
    return NULL;
}

/* Stopped while the queue is full, a pusher waits, items run and sleep: everything comes to its end. */
static struct shape stops[] = {
    {2, 2, 2, false, false, true, TASK_SLEEP},     {2, 2, 2, false, false, true, TASK_STATX},
    {2, 40, 40, true, false, true, TASK_STATX},    {2, 40, 40, true, true, true, TASK_STATX},
    {2, 40, 40, true, false, false, TASK_SLEEP},   {1, 1, 1, false, false, false, TASK_SLEEP},
    {2, 100, 100, true, false, true, TASK_BUFFER},
};

ParameterizedTestParameters(pool, stop)
{
    return cr_make_param_array(struct shape, stops, sizeof(stops) / sizeof(stops[0]));
}
ParameterizedTest(const struct shape *shape, pool, stop, .timeout = 60)
{
    for (int round = 0; round < 20; round++) {
        struct scene s;
        scene_init(&s, shape->workers, shape->start, shape->max);
        s.options.spread = shape->spread;
        s.options.pinned = shape->pinned;
        s.options.io.no_ring = shape->no_ring;
        s.task = shape->task;
        s.ns = shape->task == TASK_SLEEP ? INT64_MAX : 10000;
        s.size = 1000000;
        scene_create(&s);
        struct pusher pusher = {.s = &s, .shards = 100};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, pusher_run, &pusher), 0);
        while (atomic_load(&s.flying) == 0 && atomic_load(&s.ran) < 100) {
            sched_yield();
        }
        int64_t begin = clock_mono_ns();
        pool_stop(s.pool);
        pool_stop(s.pool);
        pthread_join(thread, NULL);
        pool_join(s.pool);
        cr_assert(clock_mono_ns() - begin < 3 * NS_PER_SEC);
        scene_finish(&s);
        cr_assert_gt(atomic_load(&s.dropped), 0);
    }
}

/* With spread a worker has many directories at a time in flight, without it one after another. */
Test(pool, spread, .timeout = 60)
{
    for (int spread = 0; spread < 2; spread++) {
        struct scene s;
        scene_init(&s, 1, 32, 32);
        s.options.pinned = true;
        s.options.spread = spread;
        s.task = TASK_GATE;
        for (unsigned i = 0; i < 16; i++) {
            scene_push(&s, SHARD_ITEMS);
        }
        scene_create(&s);
        while (atomic_load(&s.flying) < 64) { /* 32, and as many that sleep */
            sched_yield();
        }
        if (spread) {
            cr_assert_eq(atomic_load(&s.dirs_max), 16);
        } else {
            cr_assert_eq(atomic_load(&s.dirs_max), 1);
        }
        atomic_store(&s.gate, true);
        scene_finish(&s);
    }
}

/* A worker that waits in its ring takes what is pushed meanwhile. */
Test(pool, woken_by_a_push, .timeout = 60)
{
    for (int round = 0; round < 50; round++) {
        struct scene s;
        scene_init(&s, 1, 16, 16);
        s.options.pinned = true; /* no tick that would hide a lost wake */
        s.task = TASK_SLEEP_ONCE;
        scene_create(&s);
        scene_push(&s, 1);
        while (atomic_load(&s.flying) == 0) {
            sched_yield();
        }
        for (unsigned i = 0; i < 20; i++) {
            scene_push(&s, 1);
            while (atomic_load(&s.ran) <= i) {
                sched_yield();
            }
        }
        pool_stop(s.pool);
        scene_finish(&s);
        cr_assert_eq(atomic_load(&s.cancelled), 1);
    }
}

/* More is wanted than the budget has: the budget holds, and everybody gets on. */
ParameterizedTestParameters(pool, buffers_within_budget)
{
    static unsigned sizes[] = {1000, 5000, 300000, BUFFER_MAX};
    return cr_make_param_array(unsigned, sizes, 4);
}
ParameterizedTest(const unsigned *size, pool, buffers_within_budget, .timeout = 60)
{
    for (int hold = 0; hold < 2; hold++) {
        struct scene s;
        scene_init(&s, 3, 300, 300);
        s.options.pinned = true;
        s.task = hold ? TASK_BUFFER_HOLD : TASK_BUFFER;
        s.ns = 50000;
        s.size = *size;
        scene_create(&s);
        for (unsigned i = 0; i < 20; i++) {
            scene_push(&s, SHARD_ITEMS);
        }
        scene_finish(&s);
        cr_assert_eq(atomic_load(&s.ran), 20 * SHARD_ITEMS);
        if (!hold) {
            cr_assert_leq(atomic_load(&s.held_max), BUFFER_BUDGET + 3 * (size_t)BUFFER_MAX);
        }
    }
}

static void buffer_edges(void *arg, struct worker *w, struct work *work)
{
    struct scene *s = arg;
    cr_assert_null(worker_buffer_get(w, BUFFER_MAX + 1));
    worker_buffer_put(w, NULL, 10);
    for (size_t size = 0; size <= BUFFER_MAX; size = size * 2 + 1) {
        char *a = worker_buffer_get(w, size);
        char *b = worker_buffer_get(w, size);
        cr_assert(a && b && a != b);
        memset(a, 1, size);
        memset(b, 2, size);
        cr_assert(size == 0 || (a[size - 1] == 1 && b[0] == 2));
        worker_buffer_put(w, b, size);
        cr_assert_eq(worker_buffer_get(w, size), b, "the last one given back comes first");
        worker_buffer_put(w, a, size);
        worker_buffer_put(w, b, size);
    }
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < 1000000; i++) {
        void *x = worker_buffer_get(w, 8192);
        worker_buffer_put(w, x, 8192);
    }
    cr_log_info("buffer get and put: %.1f ns", (double)(clock_mono_ns() - begin) / 1000000);
    atomic_fetch_add(&s->ran, 1);
    free(work);
}

Test(pool, buffers, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 1, 1, 1);
    s.options.run = buffer_edges;
    scene_create(&s);
    scene_push(&s, 1);
    scene_finish(&s);
}

/* Where operations wait and the processors do not, the number in flight grows by itself. */
Test(pool, tunes_itself, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 2, 2, 64);
    s.task = TASK_LATENCY;
    s.ns = 2 * NS_PER_MS;
    s.options.spread = true;
    scene_create(&s);
    cr_assert_eq(pool_limit(s.pool), 2);
    struct pusher pusher = {.s = &s, .shards = 100000};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, pusher_run, &pusher), 0);
    while (pool_limit(s.pool) < 32) {
        usleep(10000);
    }
    cr_assert_gt(atomic_load(&s.flying_max), 2);
    atomic_store(&pusher.enough, true);
    pool_stop(s.pool);
    pthread_join(thread, NULL);
    scene_finish(&s);
}

/* Processor time of this process. */
static int64_t processor_ns(void)
{
    struct timespec t;
    cr_assert_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return clock_ns_of(&t);
}

/* Where the processors do the work, it does not. */
Test(pool, stays_direct_when_busy, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 0, 0, 64);
    s.task = TASK_SPIN;
    s.ns = 100000;
    scene_create(&s);
    unsigned usable = pool_limit(s.pool);
    struct pusher pusher = {.s = &s, .shards = 100000};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, pusher_run, &pusher), 0);
    int64_t begun = clock_mono_ns();
    int64_t used = processor_ns();
    while (clock_mono_ns() < begun + 2 * NS_PER_SEC && pool_limit(s.pool) == usable) {
        usleep(10000);
    }
    /* To the pool a processor that others have taken looks like an operation that waits: then it may try more. */
    double share = (double)(processor_ns() - used) / ((double)(clock_mono_ns() - begun) * usable);
    cr_expect(pool_limit(s.pool) == usable || share < 0.9, "%u in flight, not %u, with %.2f of the processors",
              pool_limit(s.pool), usable, share);
    atomic_store(&pusher.enough, true); /* on a busy machine the rest would take longer than the test may */
    pool_stop(s.pool);
    pthread_join(thread, NULL);
    scene_finish(&s);
}

/* Prints what the pool itself costs. */
Test(pool, cost_of_an_item, .timeout = 60)
{
    enum { SHARDS = 20000 };
    struct scene s;
    scene_init(&s, 1, 1, 1);
    s.task = TASK_NOTHING;
    struct shard **shards = calloc(SHARDS, sizeof(struct shard *));
    cr_assert_not_null(shards);
    for (unsigned i = 0; i < SHARDS; i++) {
        shards[i] = calloc(1, sizeof(**shards));
        for (unsigned k = 0; k < SHARD_ITEMS; k++) {
            struct task_item *item = calloc(1, sizeof(*item));
            shards[i]->items[shards[i]->count++] = &item->work;
            s.next_id++;
        }
    }
    int64_t begin = clock_mono_ns();
    scene_create(&s);
    for (unsigned i = 0; i < SHARDS; i++) {
        cr_assert_eq(queue_push(s.queue, shards[i]), 0);
    }
    scene_finish(&s);
    double each = (double)(clock_mono_ns() - begin) / SHARDS / SHARD_ITEMS;
    free(shards);
    cr_log_info("an item through the pool, one worker, direct: %.0f ns", each);
}

Test(pool, cost_of_facts, .timeout = 60)
{
    struct scene s;
    scene_init(&s, 1, 1, 1);
    scene_create(&s);
    int64_t begin = clock_mono_ns();
    struct io_facts facts = {0};
    pool_io_facts(s.pool, &facts);
    cr_log_info("asking for the facts: %.0f us", (double)(clock_mono_ns() - begin) / 1000);
    cr_assert_eq(facts.ops_wanted, 13);
    scene_finish(&s);
}
