/*
 * test_pool_lost: items that never come back are given up, and the pool goes on without them.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"
#include "workers/fiber.h"
#include "workers/pool.h"

#define ITEMS  400U
#define HUNG   6U /* of the items */
#define FLIGHT 8U

struct scene;

struct lost_item {
    struct work work; /* first */
    struct scene *scene;
    unsigned id;
    bool hangs;                    /* waits for what does not come */
    bool rescue_hangs;             /* so does what takes its place */
    bool spared;                   /* it says what is to be done without it */
    _Atomic(struct fiber *) fiber; /* while it hangs */
    unsigned worker;               /* its worker's index, while it hangs */
};

struct scene {
    struct queue *queue;
    struct pool *pool;
    struct lost_item items[ITEMS];
    char path[256];
    int dir;
    int pipe[2];
    bool no_ring;
    bool buffers;                              /* items take a buffer */
    atomic_uint begun, done, lost, back, busy; /* calls */
};

static void hang(struct scene *s, struct worker *w, struct lost_item *item)
{
    item->worker = worker_index(w);
    atomic_store(&item->fiber, fiber_self());
    if (s->no_ring) {
        (void)io_openat(worker_io(w), s->dir, "fifo", O_RDONLY | O_CLOEXEC, 0); /* nobody writes */
    } else {
        char byte;
        (void)io_pread(worker_io(w), s->pipe[0], &byte, 1, 0); /* the ring would not wait for a FIFO */
    }
    atomic_fetch_add(&s->back, 1); /* never: whatever the answer is */
}

struct why {
    struct worker *worker;
    const char *text;
};

static void item_lost(void *arg, const void *why)
{
    struct lost_item *item = arg;
    struct scene *s = item->scene;
    struct worker *w = ((const struct why *)why)->worker;

    cr_assert_str_eq(((const struct why *)why)->text, "because");
    cr_assert_not_null(fiber_self());
    if (item->rescue_hangs) {
        item->rescue_hangs = false;
        worker_on_lost(item_lost, item);
        hang(s, w, item);
    }
    if (s->buffers) {
        worker_buffer_lost(w, BUFFER_MAX);
    }
    int fd = io_openat(worker_io(w), s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    cr_assert(fd >= 0, "it may wait like any item");
    cr_assert_eq(io_close(worker_io(w), fd), 0);
    atomic_fetch_add(&s->lost, 1);
}

static void run(void *arg, struct worker *w, struct work *work)
{
    struct scene *s = arg;
    struct lost_item *item = (struct lost_item *)work;
    void *buffer = s->buffers ? worker_buffer_get(w, BUFFER_MAX) : NULL;

    atomic_fetch_add(&s->begun, 1);
    if (item->spared) {
        worker_on_lost(item_lost, item);
    }
    if (item->hangs) {
        hang(s, w, item);
    }
    (void)io_sleep(worker_io(w), NS_PER_MS / 4);
    worker_buffer_put(w, buffer, BUFFER_MAX);
    atomic_fetch_add(&s->done, 1);
}

static void attend(void *arg, struct worker *w)
{
    struct scene *s = arg;

    cr_assert_null(fiber_self());
    for (unsigned i = 0; i < ITEMS; i++) {
        struct lost_item *item = &s->items[i];
        struct fiber *fiber = atomic_load(&item->fiber);
        const struct why why = {w, "because"};

        if (fiber && item->worker == worker_index(w)) {
            atomic_store(&item->fiber, NULL);
            int r = worker_give_up(w, fiber, &why);
            cr_assert(r == 0 || r == -EBUSY);
            if (r == -EBUSY) {
                atomic_fetch_add(&s->busy, 1);
            }
        }
    }
}

static void drop(void *arg, struct work *work)
{
    (void)arg;
    (void)work;
}

static uint64_t cost(const struct work *work)
{
    (void)work;
    return 1;
}

static void scene_open(struct scene *s, bool no_ring)
{
    memset(s, 0, sizeof(*s));
    s->dir = scratch_make(s->path);
    cr_assert_eq(mkfifoat(s->dir, "fifo", 0600), 0);
    cr_assert_eq(pipe(s->pipe), 0);
    s->no_ring = no_ring;
    cr_assert_eq(queue_create(ITEMS, &s->queue), 0);
    const struct pool_options options = {.queue = s->queue,
                                         .workers = 2,
                                         .start = FLIGHT,
                                         .max = FLIGHT,
                                         .pinned = true,
                                         .io = {.no_ring = no_ring},
                                         .run = run,
                                         .attend = attend,
                                         .drop = drop,
                                         .cost = cost,
                                         .arg = s};
    cr_assert_eq(pool_create(&options, &s->pool), 0);
    for (unsigned i = 0; i < ITEMS; i++) {
        s->items[i].scene = s;
        s->items[i].id = i;
        s->items[i].spared = true;
    }
}

static void scene_push(struct scene *s)
{
    for (unsigned i = 0; i < ITEMS; i += 4) {
        struct shard *shard = calloc(1, sizeof(*shard));
        cr_assert_not_null(shard);
        for (unsigned k = 0; k < 4; k++) {
            shard->items[shard->count++] = &s->items[i + k].work;
        }
        cr_assert_eq(queue_push(s->queue, shard), 0);
    }
    queue_close(s->queue);
}

static void wait_for(atomic_uint *counter, unsigned n)
{
    for (unsigned i = 0; atomic_load(counter) < n; i++) {
        cr_assert_lt(i, 20000, "%u instead of %u", atomic_load(counter), n);
        usleep(1000);
    }
}

static unsigned hanging(struct scene *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ITEMS; i++) {
        n += atomic_load(&s->items[i].fiber) != NULL;
    }
    return n;
}

/* Asks for it until so many were given up: a worker may not know yet what hangs there. */
static void attend_until_lost(struct scene *s, unsigned n)
{
    for (unsigned i = 0; pool_lost(s->pool) < n; i++) {
        cr_assert_lt(i, 20000, "%u given up instead of %u", pool_lost(s->pool), n);
        pool_attend(s->pool);
        usleep(1000);
    }
}

static void wait_until_hanging(struct scene *s, unsigned n)
{
    for (unsigned i = 0; hanging(s) != n; i++) {
        cr_assert_lt(i, 20000, "%u hang instead of %u", hanging(s), n);
        usleep(1000);
    }
}

/* Lets what hangs have its answer after all, and a moment to do harm with it. */
static void heal(struct scene *s)
{
    int fd = openat(s->dir, "fifo", O_RDWR | O_CLOEXEC);
    char bytes[ITEMS] = {0};

    cr_assert(fd >= 0);
    cr_assert_eq(write(s->pipe[1], bytes, sizeof(bytes)), sizeof(bytes));
    usleep(100000);
    cr_assert_eq(atomic_load(&s->back), 0, "one that was given up went on");
    close(fd);
    scratch_remove(s->path);
}

static struct criterion_test_params both_ways(void)
{
    bool *ways = cr_malloc(2 * sizeof(*ways));

    ways[0] = false;
    ways[1] = true;
    return cr_make_param_array(bool, ways, 2);
}

/* More of them than are in flight at a time, so that each takes a place for good; all others are carried out. */
ParameterizedTestParameters(pool_lost, goes_on_without_them)
{
    return both_ways();
}

ParameterizedTest(bool *no_ring, pool_lost, goes_on_without_them, .timeout = 60)
{
    static struct scene s;

    scene_open(&s, *no_ring);
    for (unsigned i = 0; i < HUNG; i++) {
        s.items[i * 50 + 7].hangs = true;
    }
    scene_push(&s);
    attend_until_lost(&s, HUNG);
    pool_join(s.pool);
    cr_assert_eq(pool_lost(s.pool), HUNG);
    cr_assert_eq(pool_in_flight(s.pool), 0);
    cr_assert_eq(atomic_load(&s.lost), HUNG);
    cr_assert_eq(atomic_load(&s.done), ITEMS - HUNG);
    heal(&s);
    pool_destroy(s.pool); /* frees nothing, and harms nothing */
}

/* As many as may be in flight hang: nothing goes on any more, until they are given up. */
ParameterizedTestParameters(pool_lost, gets_its_places_back)
{
    return both_ways();
}

ParameterizedTest(bool *no_ring, pool_lost, gets_its_places_back, .timeout = 60)
{
    static struct scene s;

    scene_open(&s, *no_ring);
    s.buffers = true;
    for (unsigned i = 0; i < ITEMS; i++) {
        s.items[i].hangs = i < 3 * FLIGHT;
    }
    scene_push(&s);
    for (unsigned round = 1; round <= 3; round++) {
        wait_until_hanging(&s, FLIGHT);
        cr_assert_eq(pool_in_flight(s.pool), FLIGHT, "%u of %u", pool_in_flight(s.pool), pool_limit(s.pool));
        pool_attend(s.pool);
        wait_for(&s.lost, round * FLIGHT);
    }
    pool_join(s.pool);
    cr_assert_eq(atomic_load(&s.done), ITEMS - 3 * FLIGHT);
    cr_assert_eq(pool_lost(s.pool), 3 * FLIGHT);
    heal(&s);
}

Test(pool_lost, what_takes_its_place_may_be_given_up_too, .timeout = 60)
{
    static struct scene s;

    scene_open(&s, true);
    s.items[9].hangs = true;
    s.items[9].rescue_hangs = true;
    scene_push(&s);
    attend_until_lost(&s, 2);
    pool_join(s.pool);
    cr_assert_eq(atomic_load(&s.lost), 1);
    cr_assert_eq(pool_lost(s.pool), 2);
    cr_assert_eq(atomic_load(&s.done), ITEMS - 1);
    heal(&s);
}

/* One that did not say what is to be done without it stays, and may come back. */
Test(pool_lost, keeps_what_cannot_be_spared, .timeout = 60)
{
    static struct scene s;

    scene_open(&s, true);
    s.items[9].hangs = true;
    s.items[9].spared = false;
    scene_push(&s);
    wait_until_hanging(&s, 1);
    pool_attend(s.pool);
    wait_for(&s.busy, 1);
    cr_assert_eq(atomic_load(&s.back), 0);
    int fd = openat(s.dir, "fifo", O_RDWR | O_CLOEXEC);
    pool_join(s.pool);
    cr_assert_eq(atomic_load(&s.back), 1);
    cr_assert_eq(atomic_load(&s.done), ITEMS);
    cr_assert_eq(pool_lost(s.pool), 0);
    pool_destroy(s.pool);
    queue_destroy(s.queue);
    close(fd);
    scratch_remove(s.path);
}

/* ---- offers ---- */

struct lost_offer {
    struct pool_offer offer; /* first */
    struct scene *scene;
    struct lost_item item; /* what it stands in for */
};

static void offer_run(struct pool_offer *offer, struct worker *w)
{
    struct lost_offer *o = (struct lost_offer *)offer;

    worker_on_lost(item_lost, &o->scene->items[0]);
    hang(o->scene, w, &o->scene->items[0]);
}

Test(pool_lost, offers_are_given_up_like_items, .timeout = 60)
{
    static struct scene s;
    static struct lost_offer o = {.offer = {.run = offer_run}, .scene = &s};

    scene_open(&s, true);
    pool_hold(s.pool);
    pool_offer(s.pool, &o.offer);
    pool_release(s.pool);
    scene_push(&s);
    wait_until_hanging(&s, 1);
    attend_until_lost(&s, 1);
    pool_join(s.pool);
    cr_assert_eq(atomic_load(&s.lost), 1);
    cr_assert_eq(atomic_load(&s.done), ITEMS);
    heal(&s);
}
