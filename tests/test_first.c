/* What earlier runs have left comes first, each directory is walked once, and all else after that. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/filter.h"
#include "support_plan.h"
#include "support_tree.h"

struct fixture {
    struct plan_try t;
    char order[65536]; /* paths of items in the order in which they came out of the queue, a line each */
};

static int note(struct plan_try *t, const struct item *item)
{
    struct fixture *f = t->own;
    char *path = dir_path(item->work.dir, item->name);
    pthread_mutex_lock(&t->lock);
    (void)snprintf(f->order + strlen(f->order), sizeof f->order - strlen(f->order), "%s\n", path);
    pthread_mutex_unlock(&t->lock);
    free(path);
    return 0;
}

static struct fixture *begin(unsigned walkers)
{
    struct fixture *f = calloc(1, sizeof *f);
    plan_try_init(&f->t, "first");
    f->t.own = f;
    f->t.workers = 1;
    f->t.meddle = note;
    f->t.options.walkers = walkers;
    return f;
}

static void end(struct fixture *f)
{
    plan_try_release(&f->t);
    free(f);
}

static void run(struct fixture *f, const char *const *first, size_t count)
{
    f->t.options.first = first;
    f->t.options.first_count = count;
    plan_try_run_well(&f->t);
}

/* Where the first line of dir's files stands in the order; the number of lines in *out_count. */
static size_t place(const struct fixture *f, const char *prefix, unsigned *out_count)
{
    size_t line = 0;
    size_t place = SIZE_MAX;
    *out_count = 0;
    for (const char *at = f->order; *at != '\0'; at = strchr(at, '\n') + 1, line++) {
        if (strncmp(at, prefix, strlen(prefix)) == 0) {
            place = place == SIZE_MAX ? line : place;
            (*out_count)++;
        }
    }
    return place;
}

/* Three directories, ten files each, below b too. */
static void sample(const struct fixture *f)
{
    for (unsigned i = 0; i < 10; i++) {
        tree_file(f->t.src, "x", "a/f%u", i);
        tree_file(f->t.src, "x", "b/f%u", i);
        tree_file(f->t.src, "x", "b/below/f%u", i);
        tree_file(f->t.src, "x", "c/deep/er/f%u", i);
        tree_file(f->t.src, "x", "f%u", i);
    }
}

static void ordered(unsigned walkers)
{
    static const char *const first[] = {"c/deep/er", "b"};
    struct fixture *f = begin(walkers);
    unsigned count = 0;
    sample(f);
    run(f, first, 2);
    if (walkers == 1) {
        cr_expect_eq(place(f, "c/deep/er/", &count), 0, "%s", f->order);
        cr_expect_eq(count, 10);
        cr_expect_eq(place(f, "b/f", &count), 10, "%s", f->order);
        cr_expect_eq(count, 10);
        cr_expect_eq(place(f, "b/below/", &count), 20, "what is below them comes next: %s", f->order);
        cr_expect_eq(count, 10);
    }
    /* Many walkers have a shard each, but none goes on before all of that is in the queue. */
    cr_expect_geq(place(f, "a/", &count), 30, "%s", f->order);
    cr_expect_geq(place(f, "f", &count), 30, "%s", f->order);
    (void)place(f, "", &count);
    cr_expect_eq(count, 50, "each file once");
    cr_expect_eq(f->t.counts.files, 50);
    cr_expect_eq(f->t.counts.dirs, 7, "each directory counts once: %lu", f->t.counts.dirs);
    plan_try_same(&f->t, true);

    /* Nothing is left to do: nothing is done, whatever comes first. */
    memset(f->order, 0, sizeof f->order);
    run(f, first, 2);
    cr_expect_str_empty(f->order);
    cr_expect_eq(f->t.counts.same, 50);
    end(f);
}

Test(first, in_the_order_given_then_what_is_below_then_the_rest, .timeout = 60)
{
    ordered(1);
}

Test(first, with_many_walkers_too, .timeout = 60)
{
    ordered(8);
}

Test(first, what_is_no_directory_of_ours_any_more_is_passed_over, .timeout = 60)
{
    static const char *const first[] = {"gone", "a/f1", ".", "", "nowhere/at/all", "a/../b", "link", "a"};
    struct fixture *f = begin(2);
    unsigned count = 0;
    sample(f);
    tree_symlink(f->t.src, "b", "link");
    run(f, first, sizeof first / sizeof first[0]);
    cr_expect_eq(place(f, "a/f", &count), 0, "%s", f->order);
    (void)place(f, "", &count);
    cr_expect_eq(count, 51);
    plan_try_same(&f->t, true);
    end(f);
}

Test(first, an_excluded_directory_does_not_come_at_all, .timeout = 60)
{
    static const char *const first[] = {"b", "b/below"};
    struct fixture *f = begin(2);
    struct filter *filter = NULL;
    unsigned count = 0;
    cr_assert_eq(filter_create(&filter), 0);
    cr_assert_eq(filter_add(filter, false, "/b/"), 0);
    f->t.options.filter = filter;
    sample(f);
    run(f, first, 2);
    cr_expect_eq(place(f, "b/", &count), SIZE_MAX);
    cr_expect_eq(f->t.counts.files, 30);
    end(f);
    filter_destroy(filter);
}

/* One that lies in another, in either order. */
Test(first, nested_ones_are_walked_once, .timeout = 60)
{
    static const char *const inner[] = {"b/below", "b"};
    static const char *const outer[] = {"b", "b/below"};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture *f = begin(4);
        unsigned count = 0;
        sample(f);
        run(f, i == 0 ? inner : outer, 2);
        cr_expect_eq(place(f, i == 0 ? "b/below/" : "b/f", &count), 0, "%s", f->order);
        (void)place(f, "", &count);
        cr_expect_eq(count, 50);
        cr_expect_eq(f->t.counts.files, 50);
        plan_try_same(&f->t, true);
        end(f);
    }
}

Test(first, more_of_them_than_wait_in_order, .timeout = 60)
{
    static char paths[600][16];
    static const char *first[600];
    struct fixture *f = begin(4);
    unsigned count = 0;
    for (unsigned i = 0; i < 600; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "d%u", i);
        first[i] = paths[i];
        tree_file(f->t.src, "x", "d%u/below/more/f", i);
        tree_file(f->t.src, "x", "d%u/f", i);
        tree_file(f->t.src, "x", "other%u/f", i);
    }
    run(f, first, 600);
    (void)place(f, "", &count);
    cr_expect_eq(count, 1800);
    cr_expect_geq(place(f, "other", &count), 600, "another came before one of those");
    plan_try_same(&f->t, true);
    end(f);
}
