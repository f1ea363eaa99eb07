/*
 * test_watch: the layer that measures, and knows what is under way.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"
#include "workers/stores/layer.h"
#include "workers/stores/layers.h"
#include "workers/stores/watch.h"

/* ---- a store that does not answer until it is told to ---- */

struct mute {
    struct store head;
    int answer;          /* what each operation comes to */
    int64_t takes_ns;    /* an operation named "slow" sleeps so long */
    atomic_bool silent;  /* operations named "hang" wait for its end */
    atomic_uint waiting; /* operations that do */
};

static int mute_run(struct port *p, struct store_op *op)
{
    struct mute *m = (struct mute *)p->store;

    if (op->name && strcmp(op->name, "hang") == 0) {
        atomic_fetch_add(&m->waiting, 1);
        while (atomic_load(&m->silent)) {
            (void)io_sleep(p->io, NS_PER_MS);
        }
        atomic_fetch_sub(&m->waiting, 1);
    }
    if (op->name && strcmp(op->name, "slow") == 0) {
        (void)io_sleep(p->io, m->takes_ns);
    }
    return m->answer;
}

static void mute_destroy(struct store *s)
{
    (void)s; /* on the test's stack */
}

static const struct store_ops mute_ops = {
    .destroy = mute_destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = mute_run,
};

struct rig {
    struct mute mute;
    struct store *watch;
    struct lane lane;
    struct port *port;
    struct dir_tree tree;
    struct dir *root;
};

static void rig_open(struct rig *r, enum way way)
{
    memset(r, 0, sizeof(*r));
    r->mute.head.ops = &mute_ops;
    cr_assert_eq(watch_wrap(&r->mute.head, &r->watch), 0);
    lane_open(&r->lane, way, 0);
    cr_assert_eq(store_port_create(r->watch, r->lane.io, &r->port), 0);
    cr_assert_eq(dir_create_root(&r->tree, &r->root), 0);
}

static void rig_close(struct rig *r)
{
    dir_put(r->root);
    store_port_destroy(r->port);
    store_destroy(r->watch);
    lane_close(&r->lane);
}

static struct dir *child(struct dir *parent, const char *name)
{
    struct dir *dir = NULL;

    cr_assert_eq(dir_create_child(parent, name, strlen(name), &dir), 0);
    return dir;
}

static int stat_in(struct rig *r, struct dir *dir, const char *name)
{
    struct attr attr;
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};

    return store_run(r->port, &op);
}

/* ---- figures ---- */

Test(watch, a_histogram_tells_median_and_percentiles, .timeout = 10)
{
    struct watch_code c = {0};

    cr_assert_eq(watch_quantile(&c, 0.5), 0, "nothing was measured");
    /* 90 of 1..2 us (bucket 10: 1024 ns), 10 of 1 s (bucket 29: 0.54..1.07 s). */
    c = (struct watch_code){.count = 100, .max_ns = NS_PER_SEC};
    c.buckets[10] = 90;
    c.buckets[29] = 10;
    int64_t median = watch_quantile(&c, 0.5);
    int64_t p95 = watch_quantile(&c, 0.95);

    cr_assert(median >= 1024 && median < 2048, "%ld", median);
    cr_assert(p95 > 536870912 && p95 <= NS_PER_SEC, "%ld", p95);
    cr_assert_eq(watch_quantile(&c, 1), NS_PER_SEC, "never more than the longest");
}

Test(watch, counts_times_and_failures_of_each_code, .timeout = 20)
{
    struct rig r;
    struct watch_times t;
    struct store_op sync = {.code = STORE_SYNC};

    rig_open(&r, WAY_DIRECT);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(stat_in(&r, r.root, "a"), 0);
    }
    r.mute.answer = -EIO;
    cr_assert_eq(stat_in(&r, r.root, "b"), -EIO);
    cr_assert_eq(store_run(r.port, &sync), -EIO, "without a directory");
    r.mute.answer = 0;
    r.mute.takes_ns = 200 * NS_PER_MS;
    cr_assert_eq(stat_in(&r, r.root, "slow"), 0);
    cr_assert_eq(watch_times(r.watch, &t), 0);
    const struct watch_code *c = &t.codes[STORE_STAT];
    cr_assert_eq(c->count, 7);
    cr_assert_eq(c->failed, 1);
    cr_assert(c->max_ns >= 200 * NS_PER_MS && c->total_ns >= c->max_ns);
    uint64_t sum = 0;
    for (unsigned i = 0; i < WATCH_BUCKETS; i++) {
        sum += c->buckets[i];
    }
    cr_assert_eq(sum, 7);
    cr_assert(watch_quantile(c, 0.5) < 100 * NS_PER_MS);
    cr_assert_eq(t.codes[STORE_SYNC].failed, 1);
    cr_assert_str_eq(t.slow[0].path, "slow");
    cr_assert(!t.slow[0].unanswered && t.slow[0].code == STORE_STAT);
    cr_assert_eq(t.slow_count, WATCH_SLOW);
    for (unsigned i = 1; i < t.slow_count; i++) {
        cr_assert_leq(t.slow[i].ns, t.slow[i - 1].ns);
    }
    cr_assert_eq(t.dir_count, 1);
    cr_assert_str_eq(t.dirs[0].path, ".");
    cr_assert_eq(t.dirs[0].count, 7);
    watch_times_release(&t);
    cr_assert_eq(watch_visit(r.watch, NULL, NULL), 8);
    rig_close(&r);
}

#define SLOW_NS (10 * NS_PER_MS)

static const struct watch_dir *find_dir(const struct watch_times *t, const char *path)
{
    for (unsigned i = 0; i < t->dir_count; i++) {
        if (strcmp(t->dirs[i].path, path) == 0) {
            return &t->dirs[i];
        }
    }
    return NULL;
}

/* More directories than are kept, in a bad order: the slow ones are found, and none is said to be slower than it was.
 */
/* What ends because nobody answered is no answer. */
Test(watch, tells_silence_from_errors, .timeout = 20)
{
    static const int errors[] = {0, -EIO, -ENOENT, -ETIMEDOUT, -ECONNREFUSED, -ENOLINK};
    struct rig r;
    enum store_code code;
    char *path = NULL;
    struct watch_times times;

    rig_open(&r, WAY_DIRECT);
    struct dir *dir = child(r.root, "sub");
    cr_assert_eq(watch_unanswered(r.watch, &code, &path), 0);
    cr_assert_null(path);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        char name[8];
        snprintf(name, sizeof(name), "f%zu", i);
        r.mute.answer = errors[i];
        cr_assert_eq(stat_in(&r, dir, name), errors[i]);
    }
    cr_assert_eq(watch_visit(r.watch, NULL, NULL), 4);
    cr_assert_eq(watch_unanswered(r.watch, &code, &path), 2);
    cr_assert_eq(code, STORE_STAT);
    cr_assert_str_eq(path, "sub/f4");
    free(path);
    cr_assert_eq(watch_times(r.watch, &times), 0);
    cr_assert_eq(times.codes[STORE_STAT].count, 6);
    cr_assert_eq(times.codes[STORE_STAT].failed, 5);
    watch_times_release(&times);
    dir_put(dir);
    rig_close(&r);
}

Test(watch, finds_the_slow_directories_among_many, .timeout = 60)
{
    struct rig r;
    struct watch_times t;
    struct dir *slow[3];
    const char *const names[] = {"slow0", "slow1", "slow2"};
    int64_t begin;
    int64_t took;

    rig_open(&r, WAY_DIRECT);
    r.mute.takes_ns = SLOW_NS;
    for (unsigned i = 0; i < 3; i++) {
        slow[i] = child(r.root, names[i]);
    }
    begin = clock_mono_ns();
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 300; i++) {
            char name[16];
            snprintf(name, sizeof(name), "d%u", i);
            struct dir *dir = child(r.root, name);
            cr_assert_eq(stat_in(&r, dir, "f"), 0);
            dir_put(dir); /* its node is gone, its figures are not */
        }
        for (unsigned i = 0; i <= round / 4; i++) {
            cr_assert_eq(stat_in(&r, slow[i], "slow"), 0);
        }
    }
    took = clock_mono_ns() - begin;
    cr_assert_eq(watch_times(r.watch, &t), 0);
    cr_assert_eq(t.dir_count, WATCH_DIRS);
    /* Not their order among others: on a busy machine any operation may have to wait for a processor. */
    for (unsigned i = 0; i < 3; i++) {
        const struct watch_dir *d = find_dir(&t, names[i]);
        cr_assert_not_null(d, "%s is not among the slowest", names[i]);
        cr_assert(d->total_ns >= (12 - 4 * i) * SLOW_NS / 2, "%s: %ld", names[i], d->total_ns);
        cr_assert(d->total_ns <= took);
        dir_put(slow[i]);
    }
    watch_times_release(&t);
    rig_close(&r);
}

Test(watch, keeps_what_ports_that_are_gone_have_measured, .timeout = 20)
{
    struct rig r;
    struct port *second = NULL;
    struct watch_times t;
    struct store_op op = {.code = STORE_SETATTR};

    rig_open(&r, WAY_DIRECT);
    op.dir = r.root;
    cr_assert_eq(store_port_create(r.watch, r.lane.io, &second), 0);
    cr_assert_eq(store_run(second, &op), 0);
    cr_assert_eq(stat_in(&r, r.root, "x"), 0);
    store_port_destroy(second);
    cr_assert_eq(watch_visit(r.watch, NULL, NULL), 2);
    cr_assert_eq(watch_times(r.watch, &t), 0);
    cr_assert_eq(t.codes[STORE_SETATTR].count, 1);
    cr_assert_eq(t.dirs[0].count, 2);
    watch_times_release(&t);
    rig_close(&r);
}

Test(watch, very_long_paths_are_kept_from_their_end, .timeout = 20)
{
    struct dir_tree tree = {0};
    struct dir *dir = NULL;
    char name[201];

    memset(name, 'n', 200);
    name[200] = '\0';
    cr_assert_eq(dir_create_root(&tree, &dir), 0);
    for (unsigned i = 0; i < 40; i++) {
        struct dir *below = child(dir, name);
        dir_put(dir);
        dir = below;
    }
    char *path = watch_path(dir, "end");
    cr_assert_eq(strlen(path), 4096);
    cr_assert_str_eq(path + 4093, "end");
    free(path);
    path = watch_path(NULL, NULL);
    cr_assert_str_eq(path, "?");
    free(path);
    dir_put(dir);
}

/* ---- what is under way ---- */

struct seen {
    unsigned count;
    unsigned fibers;
    int64_t oldest_watched;
    char first[64];
    bool ask;
};

static void see(void *arg, struct watch_op *op)
{
    struct seen *seen = arg;

    if (seen->count++ == 0) {
        char *path = watch_path(op->dir, op->name);
        snprintf(seen->first, sizeof(seen->first), "%s %s", store_code_name(op->code), path);
        free(path);
        seen->oldest_watched = op->begun_watched;
    }
    seen->fibers += op->fiber != NULL;
    op->asked = op->asked || seen->ask;
}

static void *run_hung(void *arg)
{
    struct rig *r = arg;
    struct dir *dir = child(r->root, "d");

    (void)stat_in(r, dir, "hang");
    dir_put(dir);
    return NULL;
}

/* A thread that waits is seen by another one, until it does not wait any more. */
Test(watch, shows_what_a_thread_waits_for, .timeout = 30)
{
    struct rig r;
    struct seen seen = {0};
    struct watch_times t;
    pthread_t thread;

    rig_open(&r, WAY_DIRECT);
    atomic_store(&r.mute.silent, true);
    watch_tick(r.watch, 77);
    cr_assert_eq(pthread_create(&thread, NULL, run_hung, &r), 0);
    while (atomic_load(&r.mute.waiting) == 0) {
        usleep(1000);
    }
    watch_tick(r.watch, 99);
    cr_assert_eq(watch_visit(r.watch, see, &seen), 0, "nothing has ended");
    cr_assert_eq(seen.count, 1);
    cr_assert_eq(seen.fibers, 0);
    cr_assert_eq(seen.oldest_watched, 77);
    cr_assert_str_eq(seen.first, "stat d/hang");
    cr_assert_eq(watch_times(r.watch, &t), 0);
    cr_assert_eq(t.codes[STORE_STAT].count, 0, "it has not ended");
    cr_assert_str_eq(t.slow[0].path, "d/hang");
    cr_assert(t.slow[0].unanswered);
    cr_assert_str_eq(t.dirs[0].path, "d");
    watch_times_release(&t);
    atomic_store(&r.mute.silent, false);
    pthread_join(thread, NULL);
    seen = (struct seen){0};
    cr_assert_eq(watch_visit(r.watch, see, &seen), 1);
    cr_assert_eq(seen.count, 0);
    rig_close(&r);
}

static void fiber_hung(void *arg)
{
    struct rig *r = arg;

    (void)stat_in(r, r->root, "hang");
}

static void fiber_well(void *arg)
{
    struct rig *r = arg;

    cr_assert_eq(stat_in(r, r->root, "well"), 0);
}

struct given {
    struct rig *rig;
    unsigned asked; /* calls */
    bool yes;       /* what is answered */
};

static struct fiber *lost[8]; /* what the leak checker finds them by */

static bool give(void *arg, const struct watch_op *op)
{
    struct given *g = arg;

    lost[g->asked % 8] = op->fiber;
    cr_assert_not_null(op->fiber);
    cr_assert_str_eq(op->name, "hang");
    g->asked++;
    /* The rescue of one may need the store itself. */
    cr_assert_eq(fiber_start(g->rig->lane.fibers, fiber_well, g->rig), 0);
    return g->yes;
}

/* Only what was asked for is given up, only by its own thread, and only if that agrees. */
Test(watch, gives_up_what_was_asked_for, .timeout = 30)
{
    static struct rig r;
    struct seen seen = {.ask = true};
    struct given given = {.rig = &r};
    struct watch_times t;

    rig_open(&r, WAY_HELPERS);
    atomic_store(&r.mute.silent, true);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(fiber_start(r.lane.fibers, fiber_hung, &r), 0);
    }
    watch_give_up(r.watch, r.port, give, &given);
    cr_assert_eq(given.asked, 0, "nobody has asked");
    cr_assert_eq(watch_visit(r.watch, see, &seen), 0);
    cr_assert_eq(seen.count, 3);
    cr_assert_eq(seen.fibers, 3);
    watch_give_up(r.watch, r.port, give, &given);
    cr_assert_eq(given.asked, 3);
    cr_assert_eq(watch_visit(r.watch, NULL, NULL), 3, "those of the rescue");
    given.yes = true;
    watch_give_up(r.watch, r.port, give, &given);
    cr_assert_eq(given.asked, 6);
    seen = (struct seen){0};
    cr_assert_eq(watch_visit(r.watch, see, &seen), 3 + 3, "to be given up is no answer");
    cr_assert_eq(seen.count, 0);
    cr_assert_eq(watch_times(r.watch, &t), 0);
    cr_assert_eq(t.codes[STORE_STAT].failed, 3);
    cr_assert(t.slow[0].unanswered);
    watch_times_release(&t);
    /* Their fibers never go on: nothing here is closed. */
}

/* ---- many threads ---- */

#define THREADS 4
#define OPS     3000

static void *run_many(void *arg)
{
    struct rig *shared = arg;
    struct rig own = {.watch = shared->watch};
    const struct io_options options = {.no_ring = true};

    cr_assert_eq(io_create(&options, &own.lane.io), 0);
    cr_assert_eq(store_port_create(own.watch, own.lane.io, &own.port), 0);
    for (unsigned i = 0; i < OPS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d%u", i % 100);
        struct dir *dir = child(shared->root, name);
        cr_assert_eq(stat_in(&own, dir, "f"), 0);
        dir_put(dir);
    }
    store_port_destroy(own.port);
    io_destroy(own.lane.io);
    return NULL;
}

Test(watch, may_be_looked_at_while_many_threads_work, .timeout = 60)
{
    struct rig r;
    pthread_t threads[THREADS];
    struct watch_times t;
    uint64_t done = 0;

    rig_open(&r, WAY_DIRECT);
    for (unsigned i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, run_many, &r), 0);
    }
    while (done < (uint64_t)THREADS * OPS) {
        struct seen seen = {0};
        uint64_t now = watch_visit(r.watch, see, &seen);
        cr_assert_geq(now, done);
        done = now;
        watch_tick(r.watch, (int64_t)done);
        cr_assert_eq(watch_times(r.watch, &t), 0);
        cr_assert_geq(t.codes[STORE_STAT].count, done);
        watch_times_release(&t);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(watch_times(r.watch, &t), 0);
    cr_assert_eq(t.codes[STORE_STAT].count, THREADS * OPS);
    watch_times_release(&t);
    rig_close(&r);
}
