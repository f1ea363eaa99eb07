/* A directory's summary: it says what the rows say, whatever is written about the entries. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/summary.h"
#include "tests/support_state.h"

TestSuite(state_summary, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define DIR_ID   5
#define OTHER_ID 6
#define LARGE    100000 /* bytes: several parts */

static char large[LARGE];

/* What a new reader gets. 0, -ENOENT; the length in *out_len, the contents compared with those that were put. */
static int get(struct state *s, uint64_t dir, unsigned xattrs, const char *put, size_t put_len)
{
    struct state_reader *r = NULL;
    char *bytes = NULL;
    size_t len = 0;
    cr_assert_eq(state_reader_create(s, &r), 0);
    const int err = state_summary_get(r, dir, xattrs, &bytes, &len);
    if (err == 0) {
        cr_assert_eq(len, put_len);
        cr_assert_arr_eq(bytes, put, len);
    }
    free(bytes);
    state_reader_destroy(r);
    return err;
}

static int has(struct state *s, uint64_t dir)
{
    return get(s, dir, 0, large, sizeof large);
}

/* A run that records an entry in both directories, and one that puts their summaries. The state is closed. */
static void make_summaries(bool durable, unsigned xattrs)
{
    for (size_t i = 0; i < sizeof large; i++) {
        large[i] = (char)(i * 31 + i / 256);
    }
    struct state *s = open_state();
    begin(s, new_id(), durable);
    record(s, DIR_ID, "a", 1);
    record(s, OTHER_ID, "a", 2);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    s = open_state();
    begin(s, new_id(), durable);
    state_summary_put(s, DIR_ID, xattrs, large, sizeof large);
    state_summary_put(s, OTHER_ID, xattrs, large, sizeof large);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
}

/* In a run of its own. */
static void in_a_run(void (*change)(struct state *s))
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    change(s);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_error(s), 0);
    state_close(s);
}

Test(state_summary, what_was_put_is_there_in_later_runs)
{
    make_summaries(true, 0);
    struct state *s = open_state();
    const uint64_t seed = state_summary_seed(s);
    cr_assert_eq(has(s, DIR_ID), 0);
    cr_assert_eq(has(s, OTHER_ID), 0);
    cr_assert_eq(has(s, 7), -ENOENT);
    cr_assert_eq(get(s, DIR_ID, 1, large, sizeof large), -ENOENT, "made without these extended attributes");
    state_close(s);
    s = open_state();
    cr_assert_eq(state_summary_seed(s), seed);
    state_close(s);
}

Test(state_summary, it_counts_for_fewer_extended_attributes_too)
{
    make_summaries(true, 3);
    struct state *s = open_state();
    cr_assert_eq(get(s, DIR_ID, 3, large, sizeof large), 0);
    cr_assert_eq(get(s, DIR_ID, 1, large, sizeof large), 0);
    cr_assert_eq(get(s, DIR_ID, 4, large, sizeof large), -ENOENT);
    state_close(s);
}

static void record_another(struct state *s)
{
    record(s, DIR_ID, "b", 3);
}
static void forget(struct state *s)
{
    state_forget(s, DIR_ID, "a");
}
static void doubt(struct state *s)
{
    state_doubt(s, DIR_ID, "a");
}
static void intend(struct state *s)
{
    (void)state_intend(s, DIR_ID, "a");
}
static void forget_dir(struct state *s)
{
    state_forget_dir(s, DIR_ID);
}

Test(state_summary, whatever_is_written_about_an_entry_removes_a_large_one)
{
    static void (*const changes[])(struct state * s) = {record_another, forget, doubt, intend, forget_dir};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        make_summaries(true, 0);
        in_a_run(changes[i]);
        struct state *s = open_state();
        cr_assert_eq(has(s, DIR_ID), -ENOENT, "change %zu", i);
        cr_assert_eq(has(s, OTHER_ID), 0, "change %zu", i);
        state_close(s);
    }
}

/* The rows that it was made from may be older than what is queued. */
static void doubt_and_put(struct state *s)
{
    state_doubt(s, DIR_ID, "a");
    state_summary_put(s, DIR_ID, 0, large, sizeof large);
}
static void put_and_doubt(struct state *s)
{
    state_summary_put(s, DIR_ID, 0, large, sizeof large);
    state_doubt(s, DIR_ID, "a");
}
static void settle_between(struct state *s)
{
    cr_assert_eq(state_settle(s, state_intend(s, DIR_ID, "a")), 0);
    state_summary_put(s, DIR_ID, 0, large, sizeof large);
}

Test(state_summary, none_is_taken_in_a_run_that_wrote_about_the_directory)
{
    static void (*const changes[])(struct state * s) = {doubt_and_put, put_and_doubt, settle_between};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        make_summaries(true, 0);
        in_a_run(changes[i]);
        struct state *s = open_state();
        cr_assert_eq(has(s, DIR_ID), -ENOENT, "change %zu", i);
        state_close(s);
    }
}

Test(state_summary, all_are_gone_once_rows_may_have_been_lost)
{
    make_summaries(false, 0);
    struct state *s = open_state();
    cr_assert_eq(has(s, DIR_ID), 0, "the same boot");
    state_close(s);
    s = open_boot("boot 2");
    cr_assert_eq(has(s, DIR_ID), -ENOENT, "another boot");
    begin(s, new_id(), true);
    state_summary_put(s, OTHER_ID, 0, large, sizeof large);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    s = open_boot("boot 2");
    cr_assert_eq(has(s, OTHER_ID), 0, "made since");
    state_close(s);
}

Test(state_summary, one_that_lacks_a_part_is_none)
{
    make_summaries(true, 0);
    cr_assert_eq(ask("SELECT count(*) FROM summaries"), 8);
    (void)ask("DELETE FROM summaries WHERE dir=5 AND part=2");
    (void)ask("DELETE FROM summaries WHERE dir=6 AND part=3");
    struct state *s = open_state();
    cr_assert_eq(has(s, DIR_ID), -ENOENT);
    cr_assert_eq(has(s, OTHER_ID), -ENOENT);
    state_close(s);
}

static void begin_elsewhere(struct state *s)
{
    cr_assert_eq(state_forget_all(s), 0);
}

Test(state_summary, another_destination_has_none)
{
    make_summaries(true, 0);
    in_a_run(begin_elsewhere);
    struct state *s = open_state();
    cr_assert_eq(has(s, DIR_ID), -ENOENT);
    state_close(s);
}

/* ---- one that is kept up to date ---- */

#define NAMES 12

/* A summary made of rows. */
struct made {
    uint64_t seed;
    struct summary_slot slots[NAMES]; /* in no order */
    size_t count;
};

static int add_row(void *arg, const struct state_file *f, size_t name_len, bool intent, bool sure)
{
    struct made *m = arg;
    cr_assert_lt(m->count, NAMES);
    m->slots[m->count++] =
        (struct summary_slot){.name = summary_name(m->seed, f->name, name_len),
                              .digest = sure && !intent ? summary_digest(m->seed, &f->src) | SUMMARY_SURE : 0};
    return 0;
}

static struct made made_of_rows(struct state *s, uint64_t dir)
{
    struct state_reader *r = NULL;
    struct made m = {.seed = state_summary_seed(s)};
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_recall(r, dir, NULL, -1, add_row, &m), 0);
    state_reader_destroy(r);
    return m;
}

/* There is one, and it says what the rows say; or neither. */
static void assert_same(struct state *s, uint64_t dir, const char *when)
{
    struct state_reader *r = NULL;
    char *bytes = NULL;
    size_t len = 0;
    const struct made m = made_of_rows(s, dir);
    cr_assert_eq(state_reader_create(s, &r), 0);
    const int err = state_summary_get(r, dir, 0, &bytes, &len);
    state_reader_destroy(r);
    cr_assert_eq(err, m.count > 0 ? 0 : -ENOENT, "%s: %d", when, err);
    cr_assert_eq(len, m.count * sizeof m.slots[0], "%s", when);
    for (size_t i = 0; i < m.count; i++) {
        bool found = false;
        for (size_t at = 0; at < len; at += sizeof m.slots[0]) {
            found = found || memcmp(bytes + at, &m.slots[i], sizeof m.slots[0]) == 0;
        }
        cr_assert(found, "%s: row %zu", when, i);
    }
    free(bytes);
}

/* The summary of what the rows say now, in a run of its own. */
static void summarize(void)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    const struct made m = made_of_rows(s, DIR_ID);
    state_summary_put(s, DIR_ID, 0, (const char *)m.slots, m.count * sizeof m.slots[0]);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
}

static void record_one(struct state *s)
{
    record(s, DIR_ID, "a", 1);
}

/* A summary of one entry, "a". */
static void make_small(void)
{
    in_a_run(record_one);
    summarize();
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return *seed >> 16;
}

/* One thing that is written about one of NAMES entries. */
static void write_something(struct state *s, unsigned *seed)
{
    char name[] = "a";
    name[0] = (char)('a' + next_random(seed) % NAMES);
    switch (next_random(seed) % 6) {
    case 0:
        state_forget(s, DIR_ID, name);
        break;
    case 1:
        state_doubt(s, DIR_ID, name);
        break;
    case 2:
        (void)state_intend(s, DIR_ID, name);
        record(s, DIR_ID, name, next_random(seed));
        break;
    case 3: {
        struct state_file racy = file_of(DIR_ID, name, next_random(seed));
        racy.racy = true;
        state_record(s, &racy);
        break;
    }
    default:
        record(s, DIR_ID, name, next_random(seed));
        break;
    }
}

Test(state_summary, a_small_one_is_kept_up_to_date)
{
    unsigned seed = 20;
    struct state *s = open_state();
    begin(s, new_id(), true);
    for (unsigned i = 0; i < NAMES; i += 2) {
        record(s, DIR_ID, (char[]){(char)('a' + i), '\0'}, i);
    }
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    summarize();
    for (unsigned round = 0; round < 40; round++) {
        char when[32];
        (void)snprintf(when, sizeof when, "round %u", round);
        s = open_state();
        begin(s, new_id(), true);
        for (unsigned n = next_random(&seed) % 8; n > 0; n--) {
            write_something(s, &seed);
        }
        record(s, DIR_ID, "a", round); /* there is always one */
        cr_assert_eq(state_run_end(s, 0), 0);
        assert_same(s, DIR_ID, when);
        state_close(s);
    }
}

/* It does not tell of what was announced and never recorded. */
Test(state_summary, what_is_only_announced_removes_it)
{
    for (unsigned killed = 0; killed < 2; killed++) {
        struct state *s = open_state();
        begin(s, new_id(), true);
        record(s, DIR_ID, "a", 1);
        cr_assert_eq(state_run_end(s, 0), 0);
        state_close(s);
        summarize();
        s = open_state();
        begin(s, new_id(), true);
        cr_assert_eq(state_settle(s, state_intend(s, DIR_ID, "a")), 0);
        if (killed == 0) {
            cr_assert_eq(state_run_end(s, 0), 0);
        }
        state_close(s);
        s = open_state();
        cr_assert_eq(has(s, DIR_ID), -ENOENT);
        state_close(s);
    }
}

Test(state_summary, the_last_entry_takes_it_along)
{
    make_small();
    in_a_run(forget);
    struct state *s = open_state();
    assert_same(s, DIR_ID, "forgotten");
    state_close(s);
}

/* Equal attributes prove nothing for a run that keeps what the row was written without. */
Test(state_summary, a_row_with_fewer_extended_attributes_proves_nothing)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state_file with = file_of(DIR_ID, "a", 1);
    with.xattrs = 3;
    state_record(s, &with);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    s = open_state();
    begin(s, new_id(), true);
    const struct made m = made_of_rows(s, DIR_ID);
    state_summary_put(s, DIR_ID, 3, (const char *)m.slots, sizeof m.slots[0]);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    in_a_run(record_another);
    s = open_state();
    const struct summary_slot expect[] = {m.slots[0], {.name = summary_name(m.seed, "b", 1)}};
    cr_assert_eq(get(s, DIR_ID, 3, (const char *)expect, sizeof expect), 0);
    state_close(s);
}

static void record_many(struct state *s)
{
    for (unsigned i = 0; i < 100; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "n%u", i);
        record(s, DIR_ID, name, i);
    }
}

Test(state_summary, much_at_once_removes_a_small_one)
{
    make_small();
    in_a_run(record_many);
    struct state *s = open_state();
    cr_assert_eq(get(s, DIR_ID, 0, large, 0), -ENOENT);
    state_close(s);
}
