/* What is about to be published: it counts at once, until it is recorded, whatever becomes of the run. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_look.h"
#include "tests/support_state.h"

TestSuite(state_intents, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define DIR_ID   5
#define OTHER_ID 6

static void announce(struct state *s, const char *name)
{
    cr_assert_eq(state_settle(s, state_intend(s, DIR_ID, name)), 0);
}

/* How many entries are remembered, how many of them as announced. */
struct counts {
    unsigned all;
    unsigned intents;
};

static int count(void *arg, const struct state_file *f, size_t name_len, bool intent, bool sure)
{
    struct counts *c = arg;
    (void)f;
    (void)name_len;
    c->all++;
    c->intents += intent ? 1 : 0;
    cr_assert(!intent || !sure);
    return 0;
}

static struct counts counts_of(struct state *s)
{
    struct state_reader *r = NULL;
    struct counts c = {0};
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_recall(r, DIR_ID, NULL, -1, count, &c), 0);
    state_reader_destroy(r);
    return c;
}

/* A run that begins, does what change does, and is killed (end false) or ends. */
static void in_a_run(void (*change)(struct state *s), bool end)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    change(s);
    if (end) {
        cr_assert_eq(state_run_end(s, 0), 0);
    }
    state_close(s);
}

static void record_both(struct state *s)
{
    record(s, DIR_ID, "a", 1);
    record(s, DIR_ID, "b", 2);
}

static void make_entries(void)
{
    in_a_run(record_both, true);
}

static void announce_both(struct state *s)
{
    announce(s, "a");
    announce(s, "new");
    cr_assert_eq(known_number(s, DIR_ID, "a", 1), KNOWN_SUSPECT, "in the same run");
    cr_assert_eq(known_number(s, DIR_ID, "b", 2), KNOWN_GOOD);
}

Test(state_intents, what_is_not_recorded_stays_in_doubt)
{
    for (unsigned end = 0; end < 2; end++) {
        make_entries();
        in_a_run(announce_both, end != 0);
        struct state *s = open_state();
        cr_assert_eq(known_number(s, DIR_ID, "a", 1), KNOWN_SUSPECT);
        cr_assert_eq(known_number(s, DIR_ID, "b", 2), KNOWN_GOOD);
        const struct counts c = counts_of(s);
        cr_assert_eq(c.all, 3);
        cr_assert_eq(c.intents, 2);
        state_close(s);
        cr_assert_eq(ask("SELECT count(*) FROM intents"), 0);
    }
}

static void announce_new(struct state *s)
{
    announce(s, "new");
}

Test(state_intents, the_first_run_may_be_killed_before_anything_is_recorded)
{
    in_a_run(announce_new, false);
    struct state *s = open_state();
    cr_assert(state_has_entries(s));
    cr_assert_eq(known_number(s, DIR_ID, "new", 1), KNOWN_SUSPECT);
    state_close(s);
}

static void announce_and_record(struct state *s)
{
    announce(s, "a");
    announce(s, "new");
    record(s, DIR_ID, "a", 3);
    record(s, DIR_ID, "new", 4);
    announce(s, "other"); /* so that what was recorded is written */
    state_forget(s, DIR_ID, "other");
    announce(s, "other");
    state_forget(s, DIR_ID, "other");
    cr_assert_eq(state_settle(s, state_intend(s, OTHER_ID, "x")), 0);
}

Test(state_intents, what_is_recorded_or_forgotten_is_over)
{
    make_entries();
    in_a_run(announce_and_record, false);
    struct state *s = open_state();
    cr_assert_eq(known_number(s, DIR_ID, "a", 3), KNOWN_GOOD);
    cr_assert_eq(known_number(s, DIR_ID, "new", 4), KNOWN_GOOD);
    const struct counts c = counts_of(s);
    cr_assert_eq(c.all, 3);
    cr_assert_eq(c.intents, 0);
    state_close(s);
}

static void announce_and_forget_dir(struct state *s)
{
    announce(s, "a");
    announce(s, "new");
    state_forget_dir(s, DIR_ID);
    cr_assert_eq(state_settle(s, state_intend(s, OTHER_ID, "x")), 0);
}

Test(state_intents, a_directory_that_is_forgotten_takes_them_along)
{
    make_entries();
    in_a_run(announce_and_forget_dir, false);
    struct state *s = open_state();
    cr_assert_eq(counts_of(s).all, 0);
    state_close(s);
}

/* Whoever looks beside the run, or after it was killed, sees them too; and a database that never had any. */
Test(state_intents, lookers_see_them)
{
    struct state_look *look = NULL;
    struct state_file f;
    bool sure = true;
    make_entries();
    in_a_run(announce_both, false);
    cr_assert_eq(ask("SELECT count(*) FROM intents"), 2);
    cr_assert_eq(state_look_open(file, &look), 0);
    cr_assert_eq(state_look_entry(look, DIR_ID, "a", &f, &sure), 0);
    cr_assert_not(sure);
    cr_assert_eq(state_look_entry(look, DIR_ID, "b", &f, &sure), 0);
    cr_assert(sure);
    state_look_close(look);

    (void)ask("DROP TABLE intents");
    cr_assert_eq(state_look_open(file, &look), 0);
    cr_assert_eq(state_look_entry(look, DIR_ID, "a", &f, &sure), 0);
    cr_assert(sure);
    state_look_close(look);
}
