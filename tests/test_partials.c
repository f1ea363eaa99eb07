/*
 * test_partials: what becomes of a large file that an earlier run has left unfinished.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "copier/engine_internal.h"
#include "copier/partials.h"
#include "support_state.h"

TestSuite(partials, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define HOUR_NS (3600 * NS_PER_SEC)

#define TEMP_A ".haul.0123456789abcdef.00000000000000aa"
#define TEMP_B ".haul.0123456789abcdef.00000000000000bb"
#define TEMP_C ".haul.0123456789abcdef.00000000000000cc"

/* An engine as far as partials look at it. */
struct rig {
    struct options options;
    struct engine engine;
};

static struct attr regular(uint64_t n)
{
    struct attr a = attr_of(n);
    a.mode = S_IFREG | 0640;
    return a;
}

static void leave(struct state *s, uint64_t dir, const char *name, const char *temp, int64_t touched_ns)
{
    struct state_partial p = {.dir_id = dir, .name = name, .src = regular(dir), .touched_ns = touched_ns};
    (void)snprintf(p.temp.name, sizeof p.temp.name, "%s", temp);
    state_partial(s, &p);
}

/* The run after one that has left "large" twice, and "other" in another directory, a minute ago. */
static void set_up(struct rig *rig)
{
    int64_t minute_ago = clock_real_ns() - 60 * NS_PER_SEC;
    struct state *s = open_state();
    begin(s, new_id(), true);
    leave(s, 7, "large", TEMP_B, minute_ago);
    leave(s, 8, "other", TEMP_C, minute_ago);
    leave(s, 7, "large", TEMP_A, minute_ago);
    state_close(s);

    *rig = (struct rig){.options = {.partial_max_age = HOUR_NS}};
    rig->engine.options = &rig->options;
    rig->engine.state = open_state();
    begin(rig->engine.state, new_id(), true);
    rig->engine.previous.number = 1;
    cr_assert_eq(partials_create(&rig->engine, &rig->engine.partials), 0);
    cr_assert_not_null(rig->engine.partials);
}

static void tear_down(struct rig *rig)
{
    partials_destroy(rig->engine.partials);
    state_close(rig->engine.state);
}

Test(partials, none_without_a_state_or_an_earlier_run)
{
    struct rig rig = {.options = {.partial_max_age = HOUR_NS}};
    struct state_partial partial;
    rig.engine.options = &rig.options;
    cr_assert_eq(partials_create(&rig.engine, &rig.engine.partials), 0);
    cr_expect_null(rig.engine.partials);
    rig.engine.state = open_state();
    cr_assert_eq(partials_create(&rig.engine, &rig.engine.partials), 0);
    cr_expect_null(rig.engine.partials);
    cr_expect_not(partials_take(NULL, 7, "large", &partial));
    cr_expect_not(partials_holds(NULL, TEMP_A));
    partials_useless(NULL, 7, "large");
    partials_keep(NULL, TEMP_A);
    partials_destroy(NULL);
    state_close(rig.engine.state);
}

Test(partials, each_is_taken_once)
{
    struct rig rig;
    struct state_partial first;
    struct state_partial second;
    set_up(&rig);
    struct partials *p = rig.engine.partials;
    cr_expect_not(partials_take(p, 7, "other", &first), "of another directory");
    cr_expect_not(partials_take(p, 8, "large", &first), "of another directory");
    cr_expect_not(partials_take(p, 7, "larg", &first));
    cr_assert(partials_take(p, 7, "large", &first));
    cr_assert(partials_take(p, 7, "large", &second));
    cr_expect_str_neq(first.temp.name, second.temp.name);
    cr_expect_not(partials_take(p, 7, "large", &first));
    cr_assert(partials_take(p, 8, "other", &first));
    cr_expect_str_eq(first.temp.name, TEMP_C);
    cr_expect_str_eq(first.name, "other");
    tear_down(&rig);
}

Test(partials, fit_only_the_source_that_they_are_of)
{
    struct rig rig;
    struct state_partial partial;
    set_up(&rig);
    struct partials *p = rig.engine.partials;
    cr_assert(partials_take(p, 8, "other", &partial));
    struct attr src = regular(8);
    cr_assert(partials_fits(p, &partial, &src));
    src.mode = S_IFREG | 0600; /* changes the ctime, which is looked at */
    cr_expect(partials_fits(p, &partial, &src));

    struct attr others[7];
    for (size_t i = 0; i < 7; i++) {
        others[i] = regular(8);
    }
    others[0].dev++;
    others[1].ino++;
    others[2].size++;
    others[3].mtime.tv_nsec ^= 1;
    others[4].ctime.tv_nsec ^= 1;
    others[5].mtime.tv_sec--;
    others[6].mode = S_IFLNK | 0777;
    for (size_t i = 0; i < 7; i++) {
        cr_expect_not(partials_fits(p, &partial, &others[i]), "source %zu", i);
    }
    tear_down(&rig);
}

Test(partials, fit_only_while_they_are_young)
{
    struct rig rig;
    struct state_partial partial;
    set_up(&rig);
    struct partials *p = rig.engine.partials;
    struct attr src = regular(8);
    cr_assert(partials_take(p, 8, "other", &partial));
    partial.touched_ns = clock_real_ns() - HOUR_NS - NS_PER_SEC;
    cr_expect_not(partials_fits(p, &partial, &src));
    partial.touched_ns = clock_real_ns() + 24 * HOUR_NS; /* the clock was set back */
    cr_expect(partials_fits(p, &partial, &src));
    partials_destroy(p);

    rig.options.partial_max_age = 0; /* nothing is gone on with */
    cr_assert_eq(partials_create(&rig.engine, &rig.engine.partials), 0);
    cr_assert(partials_take(rig.engine.partials, 8, "other", &partial));
    cr_expect_not(partials_fits(rig.engine.partials, &partial, &src));
    tear_down(&rig);
}

/* What the janitor may remove of a dead run's temp names. */
Test(partials, are_held_until_nobody_wants_them)
{
    struct rig rig;
    struct state_partial partial;
    set_up(&rig);
    struct partials *p = rig.engine.partials;
    cr_expect_not(partials_holds(p, ".haul.0123456789abcdef.00000000000000dd"), "a temp name like any other");
    cr_expect(partials_holds(p, TEMP_C), "somebody may still ask for it");
    cr_assert(partials_take(p, 8, "other", &partial));
    cr_expect(partials_holds(p, TEMP_C), "it is being gone on with");
    partials_keep(p, TEMP_C);
    cr_expect(partials_holds(p, TEMP_C), "for the next run");
    partials_useless(p, 8, "other");
    cr_expect(partials_holds(p, TEMP_C), "its fate was decided before");

    cr_assert(partials_take(p, 7, "large", &partial));
    const char *rest = strcmp(partial.temp.name, TEMP_A) == 0 ? TEMP_B : TEMP_A;
    partials_useless(p, 7, "large");
    cr_expect(partials_holds(p, partial.temp.name), "taken before");
    cr_expect_not(partials_holds(p, rest), "the file is right at the destination");
    cr_expect_not(partials_take(p, 7, "large", &partial));
    tear_down(&rig);
}

Test(partials, too_old_ones_are_not_held)
{
    struct rig rig;
    set_up(&rig);
    partials_destroy(rig.engine.partials);
    rig.options.partial_max_age = 30 * NS_PER_SEC; /* they are a minute old */
    cr_assert_eq(partials_create(&rig.engine, &rig.engine.partials), 0);
    cr_expect_not(partials_holds(rig.engine.partials, TEMP_A));
    cr_expect_not(partials_holds(rig.engine.partials, TEMP_C));
    tear_down(&rig);
}

Test(partials, are_forgotten_when_they_are_over)
{
    struct rig rig;
    struct state_partial partial;
    set_up(&rig);
    cr_assert(partials_take(rig.engine.partials, 8, "other", &partial));
    partials_over(&rig.engine, TEMP_C);
    cr_expect_not(partials_holds(rig.engine.partials, TEMP_C));
    tear_down(&rig);
    cr_expect_eq(ask("SELECT count(*) FROM partials"), 2);

    struct rig next = {.options = {.partial_max_age = HOUR_NS}};
    next.engine.options = &next.options;
    next.engine.state = open_state();
    begin(next.engine.state, new_id(), true);
    next.engine.previous.number = 2;
    cr_assert_eq(partials_create(&next.engine, &next.engine.partials), 0);
    cr_expect_not(partials_take(next.engine.partials, 8, "other", &partial));
    cr_expect(partials_take(next.engine.partials, 7, "large", &partial));
    tear_down(&next);
}
