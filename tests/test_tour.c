#include "cleanup/tour.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support_tree.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

/* One tour, and what it was told. */
struct trip {
    struct store *store;      /* owned */
    struct dir_tree nodes;    /* of root */
    struct dir *root;         /* one reference */
    struct queue *queue;      /* nothing comes by it */
    struct pool *pool;        /* owned */
    struct tour *tour;        /* owned */
    atomic_ulong begun;       /* directories */
    atomic_ulong ended;       /* to their end */
    atomic_ulong failed;      /* else */
    atomic_ulong cut;         /* ended with -ECANCELED */
    atomic_ulong files;       /* entries that are no directories */
    atomic_ulong tasks;       /* that were run */
    atomic_ulong refused;     /* that found no room */
    unsigned tasks_each;      /* for each file */
    atomic_ulong overs;       /* how often it was told that all is over */
    unsigned long seen;       /* tasks and files until then */
    unsigned tasks_then;      /* added then */
    unsigned long stop_after; /* files after which the pool is stopped; 0: never */
    const char *pass;         /* name of directories that are not to be listed; NULL: none */
};

static int worker_begin(void *arg, struct worker *w)
{
    struct trip *t = arg;
    struct port *port = NULL;
    int r = store_port_create(t->store, worker_io(w), &port);
    worker_set(w, port);
    return r;
}

static void worker_end(void *arg, struct worker *w)
{
    (void)arg;
    store_port_destroy(worker_own(w));
}

static struct port *port_of(void *arg, struct worker *w)
{
    (void)arg;
    return worker_own(w);
}

static int begin(void *arg, struct tour_visit *v)
{
    struct trip *t = arg;
    if (t->pass != NULL && strcmp(v->dir->name, t->pass) == 0) {
        return -EPERM;
    }
    v->own = t; /* comes back in end */
    atomic_fetch_add(&t->begun, 1);
    return 0;
}

struct counted {
    struct tour_task task;
    struct trip *trip;
};

static void count_task(struct tour_task *task, struct worker *w)
{
    struct counted *c = (struct counted *)task;
    cr_assert_not_null(worker_own(w));
    atomic_fetch_add(&c->trip->tasks, 1);
    free(c);
}

static bool entry(void *arg, struct tour_visit *v, const struct store_entry *e)
{
    struct trip *t = arg;
    cr_assert_eq(v->own, t);
    cr_assert_eq(e->has_attr, true);
    if (S_ISDIR(e->attr.mode)) {
        return true;
    }
    for (unsigned i = 0; i < t->tasks_each; i++) {
        struct counted *c = malloc(sizeof *c);
        cr_assert_not_null(c);
        *c = (struct counted){.task = {.run = count_task}, .trip = t};
        if (!tour_add(t->tour, &c->task)) {
            atomic_fetch_add(&t->refused, 1);
            count_task(&c->task, v->worker);
        }
    }
    if (atomic_fetch_add(&t->files, 1) + 1 == t->stop_after) {
        pool_stop(t->pool);
    }
    return false;
}

static void end(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken)
{
    struct trip *t = arg;
    cr_assert(err == 0 || err == -ECANCELED || op->code == STORE_LIST_OPEN || op->code == STORE_LIST_NEXT);
    cr_assert(!broken || v->own == t);
    atomic_fetch_add(err == 0 ? &t->ended : err == -ECANCELED ? &t->cut : &t->failed, 1);
}

static void over(void *arg, struct worker *w)
{
    struct trip *t = arg;
    cr_assert_not_null(worker_own(w));
    atomic_fetch_add(&t->overs, 1);
    t->seen = atomic_load(&t->tasks) + atomic_load(&t->files);
    for (unsigned i = 0; i < t->tasks_then; i++) {
        struct counted *c = malloc(sizeof *c);
        cr_assert_not_null(c);
        *c = (struct counted){.task = {.run = count_task}, .trip = t};
        cr_assert(tour_add(t->tour, &c->task));
    }
}

/* Goes through base with so many fibers, on so many threads. */
static void travel(struct trip *t, const char *base, unsigned width, unsigned workers,
                   const struct fault_options *fault)
{
    const struct store_options o = {.side = DIR_DST, .path = base, .run_id = "0123456789abcdef", .max_handles = 64};
    cr_assert_eq(posix_open(&o, &t->store), 0);
    if (fault != NULL) {
        cr_assert_eq(fault_wrap(t->store, fault, &t->store), 0);
    }
    store_attach(t->store, DIR_DST, &t->nodes);
    cr_assert_eq(dir_create_root(&t->nodes, &t->root), 0);
    cr_assert_eq(queue_create(1, &t->queue), 0);
    const struct pool_options p = {.queue = t->queue,
                                   .workers = workers,
                                   .start = width,
                                   .max = width,
                                   .pinned = true,
                                   .begin = worker_begin,
                                   .end = worker_end,
                                   .arg = t};
    cr_assert_eq(pool_create(&p, &t->pool), 0);
    const struct tour_options options = {.pool = t->pool,
                                         .width = width,
                                         .want_attr = true,
                                         .arg = t,
                                         .port = port_of,
                                         .begin = begin,
                                         .entry = entry,
                                         .end = end,
                                         .over = over};
    cr_assert_eq(tour_create(&options, &t->tour), 0);
    pool_hold(t->pool);
    queue_close(t->queue);
    tour_start(t->tour, t->root);
    pool_release(t->pool);
    pool_join(t->pool);
}

static void go_home(struct trip *t)
{
    pool_destroy(t->pool);
    tour_destroy(t->tour);
    dir_put(t->root);
    queue_destroy(t->queue);
    store_destroy(t->store);
}

/* 40 directories of 25 files each, a chain of 30, and an empty one: 72 with the root, 1,001 files. */
static char *sample(void)
{
    char *base = tree_temp("tour");
    for (unsigned i = 0; i < 1000; i++) {
        tree_file(base, "x", "d%u/f%u", i % 40, i);
    }
    tree_chain(base, "deep", 30);
    tree_dir(base, "empty");
    return base;
}

Test(tour, meets_everything_once, .timeout = 60)
{
    char *base = sample();
    for (unsigned width = 1; width <= 16; width *= 2) {
        struct trip t = {.tasks_each = 1, .tasks_then = 9};
        travel(&t, base, width, width < 3 ? width : 3, NULL);
        cr_expect_eq(t.overs, 1, "told once that all is over, not again after its tasks");
        cr_expect_eq(t.seen, 2002, "only then: %lu", t.seen);
        cr_expect_eq(t.begun, 72, "%lu", t.begun);
        cr_expect_eq(t.ended, 72);
        cr_expect_eq(t.files, 1001);
        cr_expect_eq(t.tasks, 1001 + 9);
        cr_expect_eq(t.failed + t.cut, 0);
        cr_expect(tour_whole(t.tour));
        go_home(&t);
    }
    tree_remove(base);
    free(base);
}

/* More directories than may wait, each with more of them below: listings are put aside and gone on with. */
Test(tour, is_bounded_and_complete_in_a_wide_tree, .timeout = 120)
{
    char *base = tree_temp("wide");
    enum { WIDE = TOUR_PENDING + 500 };
    for (unsigned i = 0; i < WIDE; i++) {
        tree_dir(base, "d%u/below", i);
    }
    for (unsigned width = 1; width <= 8; width += 7) {
        struct trip t = {0};
        travel(&t, base, width, 2, NULL);
        cr_expect_eq(t.ended, 1 + 2 * WIDE, "%lu", t.ended);
        cr_expect(tour_whole(t.tour));
        go_home(&t);
    }
    tree_remove(base);
    free(base);
}

Test(tour, tasks_that_find_no_room_are_told, .timeout = 60)
{
    char *base = tree_temp("tasks");
    tree_file(base, "x", "f");
    struct trip t = {.tasks_each = TOUR_TASKS + 10};
    travel(&t, base, 1, 1, NULL);
    cr_expect_eq(t.tasks, TOUR_TASKS + 10);
    cr_expect_eq(t.refused, 10);
    go_home(&t);
    tree_remove(base);
    free(base);
}

Test(tour, what_is_passed_over_is_not_entered, .timeout = 60)
{
    char *base = sample();
    struct trip t = {.pass = "d7"};
    travel(&t, base, 4, 2, NULL);
    cr_expect_eq(t.ended, 71);
    cr_expect_eq(t.files, 1001 - 25);
    go_home(&t);
    tree_remove(base);
    free(base);
}

Test(tour, ends_soon_when_it_is_stopped, .timeout = 60)
{
    char *base = sample();
    for (unsigned width = 1; width <= 8; width += 7) {
        struct trip t = {.stop_after = 100};
        travel(&t, base, width, 2, NULL);
        cr_expect_lt(t.files, 200);
        cr_expect_geq(t.cut, 1);
        cr_expect_not(tour_whole(t.tour));
        cr_expect_eq(t.overs, 0);
        cr_expect_eq(t.begun, t.ended + t.cut, "each that was begun has an end");
        go_home(&t);
    }
    tree_remove(base);
    free(base);
}

/* Each operation fails once: the directory is told of, all others are gone through. */
Test(tour, a_listing_that_fails_costs_only_its_directory, .timeout = 120)
{
    char *base = tree_temp("fail");
    tree_file(base, "x", "a/f");
    tree_file(base, "x", "b/c/f");
    for (unsigned nth = 1;; nth++) {
        atomic_ulong seen = 0;
        struct fault_options fault = {.nth = nth, .err = EIO, .kind = FAULT_BEFORE, .seen = &seen};
        struct trip t = {0};
        travel(&t, base, 1, 1, &fault);
        bool fired = atomic_load(&seen) >= nth;
        cr_expect_eq(t.begun, t.ended + t.failed, "operation %u", nth);
        cr_expect_leq(t.failed, 1);
        cr_expect(tour_whole(t.tour));
        if (!fired) {
            cr_expect_eq(t.ended, 4);
            cr_expect_gt(nth, 12);
        }
        go_home(&t);
        if (!fired) {
            break;
        }
    }
    tree_remove(base);
    free(base);
}
