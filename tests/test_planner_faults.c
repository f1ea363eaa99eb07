/* The planner while operations of the stores fail: nothing is lost quietly, nothing hangs, the next run mends it. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_plan.h"
#include "support_tree.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

static void sample(const char *src, const char *dst)
{
    tree_file(src, "shared", "a/one");
    tree_file(src, "x", "a/b/two");
    tree_file(src, "x", "a/b/c/three");
    tree_link(src, "a/one", "a/b/link");
    tree_link(src, "a/one", "link");
    tree_symlink(src, "target", "a/sym");
    tree_file(src, "x", "dir-over-file/x");
    tree_file(src, "x", "old/same");
    tree_file(src, "new", "old/changed");
    tree_file(src, "x", "file-over-dir");
    tree_file(dst, "y", "dir-over-file");
    tree_file(dst, "x", "old/same");
    tree_file(dst, "older", "old/changed");
    tree_dir(dst, "file-over-dir");
    tree_symlink(dst, "elsewhere", "a/sym");
}

/* Opens path as a store with a fault before it. */
static struct store *faulty(const char *path, enum dir_side side, struct notices *notices,
                            const struct fault_options *fault)
{
    struct store_options o = {
        .side = side, .path = path, .run_id = "0123456789abcdef", .max_handles = 64, .notices = notices};
    struct store *store = NULL;
    cr_assert_eq(posix_open(&o, &store), 0);
    cr_assert_eq(fault_wrap(store, fault, &store), 0);
    return store;
}

static bool same_trees(const char *src, const char *dst)
{
    char from[4096];
    char to[4096];
    const char *const argv[] = {"rsync", "-aHn", "--checksum", "--delete", "--itemize-changes", from, to, NULL};
    int status = 0;
    snprintf(from, sizeof(from), "%s/", src);
    snprintf(to, sizeof(to), "%s/", dst);
    char *out = tree_run(argv, &status);
    bool same = status == 0 && out[0] == '\0';
    free(out);
    return same;
}

/* One run in which the nth operation of one side fails, and one without. False: there was no nth operation. */
static bool fail_nth(enum dir_side side, const struct fault_options *options, unsigned nth)
{
    struct plan_try t;
    atomic_ulong seen = 0;
    struct fault_options fault = *options;

    fault.nth = nth;
    fault.seen = &seen;
    plan_try_init(&t, "fault");
    sample(t.src, t.dst);
    t.options.walkers = 2;
    struct store *store = faulty(side == DIR_SRC ? t.src : t.dst, side, t.notices, &fault);
    *(side == DIR_SRC ? &t.options.src : &t.options.dst) = store;
    plan_try_run(&t);
    store_destroy(store);
    bool fired = atomic_load(&seen) >= nth;
    if (t.failures + t.errors == 0) {
        cr_expect(same_trees(t.src, t.dst), "operation %u failed, and something is missing quietly", nth);
    } else {
        cr_expect(fired, "no operation failed, but: %s", t.failed);
    }
    t.options.src = NULL;
    t.options.dst = NULL;
    plan_try_run(&t);
    cr_expect_str_empty(t.failed, "after operation %u had failed: %s", nth, t.failed);
    cr_expect(same_trees(t.src, t.dst), "the run after operation %u had failed did not mend it", nth);
    plan_try_release(&t);
    return fired;
}

static void fail_each(enum dir_side side, const struct fault_options *options, unsigned at_least)
{
    unsigned nth = 1;
    while (fail_nth(side, options, nth)) {
        nth++;
    }
    cr_expect_gt(nth, at_least, "only %u operations", nth);
}

Test(planner_faults, source, .timeout = 300)
{
    struct fault_options fault = {.err = EIO, .kind = FAULT_BEFORE};
    fail_each(DIR_SRC, &fault, 40);
}

Test(planner_faults, destination, .timeout = 300)
{
    struct fault_options fault = {.err = EACCES, .kind = FAULT_BEFORE};
    fail_each(DIR_DST, &fault, 30);
}

/* The operation was carried out, but its reply was lost. */
Test(planner_faults, lost_replies, .timeout = 300)
{
    struct fault_options fault = {.err = EIO, .kind = FAULT_AFTER};
    fault.codes = 1U << STORE_MKDIR | 1U << STORE_SETATTR | 1U << STORE_REMOVE | 1U << STORE_LINK |
                  1U << STORE_SYMLINK | 1U << STORE_PUBLISH | 1U << STORE_STAT;
    fail_each(DIR_DST, &fault, 25);
}

struct stopper {
    struct plan_try *t;
    atomic_ulong seen; /* directories that could not be made */
};

/* Stops the planner once a walker has met the fault: it waits for its next try, or is about to. */
static void *stop_when_seen(void *arg)
{
    struct stopper *s = arg;
    while (atomic_load(&s->seen) < 2) {
        poll(NULL, 0, 1);
    }
    planner_stop(s->t->planner);
    return NULL;
}

/* A stop does not wait for the next try. */
Test(planner_faults, stopped_between_tries, .timeout = 60)
{
    struct plan_try t;
    struct stopper s = {.t = &t};
    struct fault_options fault = {
        .nth = 1, .count = 1000000, .err = ESTALE, .kind = FAULT_BEFORE, .codes = 1U << STORE_MKDIR, .seen = &s.seen};
    const int64_t hour = 3600 * NS_PER_SEC;
    const struct retry_options retry = {.retries = 5, .delay_ns = hour, .delay_max_ns = hour};
    pthread_t thread;

    plan_try_init(&t, "fault");
    for (unsigned i = 0; i < 8; i++) {
        tree_file(t.src, "x", "a%u/file", i);
    }
    t.options.walkers = 3;
    t.options.dst = faulty(t.dst, DIR_DST, t.notices, &fault);
    cr_assert_eq(retry_wrap(t.options.dst, &retry, &t.options.dst), 0);
    cr_assert_eq(pthread_create(&thread, NULL, stop_when_seen, &s), 0);
    plan_try_run(&t);
    pthread_join(thread, NULL);
    cr_expect_not(t.counts.complete);
    cr_expect_eq(t.counts.todo, 0);
    store_destroy(t.options.dst);
    plan_try_release(&t);
}

/* Cancelled operations are neither failures nor success. */
Test(planner_faults, cancelled, .timeout = 300)
{
    struct plan_try t;
    struct fault_options fault = {.nth = 5, .count = 1000000, .err = ECANCELED, .kind = FAULT_BEFORE};
    plan_try_init(&t, "fault");
    sample(t.src, t.dst);
    t.options.src = faulty(t.src, DIR_SRC, t.notices, &fault);
    plan_try_run(&t);
    cr_expect_eq(t.failures, 0, "%s", t.failed);
    store_destroy(t.options.src);
    plan_try_release(&t);
}
