/* When the planner finishes directories, and what waits for that. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <unistd.h>

#include "support_plan.h"
#include "support_tree.h"

struct told {
    atomic_bool idle;     /* the planner has said so */
    atomic_bool too_late; /* a directory had been finished before */
    atomic_uint finished; /* directories */
};

static int until_walked(struct plan_try *t, const struct item *item)
{
    (void)item;
    while (!atomic_load(&planner_counts(t->planner)->walked)) {
        usleep(100);
    }
    return 0;
}

static void told_idle(void *arg)
{
    const struct plan_try *t = arg;
    struct told *told = t->own;
    atomic_store(&told->idle, true);
}

static void told_finished(void *arg, const struct dir *dir, const struct attr *attr)
{
    const struct plan_try *t = arg;
    struct told *told = t->own;
    (void)dir;
    (void)attr;
    atomic_fetch_add(&told->finished, 1);
    if (!atomic_load(&told->idle)) {
        atomic_store(&told->too_late, true);
    }
}

/* Whoever waits for the last item does not wait for what is set of its directory after it. */
Test(finish, idle_before_the_last_directory_is_finished, .timeout = 60)
{
    struct plan_try t;
    struct told told = {0};

    plan_try_init(&t, "finish");
    tree_file(t.src, "x", "d/file");
    t.own = &told;
    t.meddle = until_walked;
    t.options.idle = told_idle;
    t.options.finished = told_finished;
    plan_try_run_well(&t);
    cr_expect_eq(atomic_load(&told.finished), 2);
    cr_expect_not(atomic_load(&told.too_late));
    plan_try_same(&t, true);
    plan_try_release(&t);
}
