/*
 * test_state_partials: large files that are under way, in the state.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_state.h"

TestSuite(state_partials, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define TEMP_A ".haul.0123456789abcdef.00000000000000aa"
#define TEMP_B ".haul.0123456789abcdef.ffffffffffffffbb" /* below zero, as SQLite sorts */

static struct state_partial partial_of(uint64_t dir, const char *name, const char *temp, uint64_t n)
{
    struct state_partial p = {.dir_id = dir, .name = name, .src = attr_of(n), .touched_ns = (int64_t)n};
    (void)snprintf(p.temp.name, sizeof p.temp.name, "%s", temp);
    p.temp.dev = n + 1;
    p.temp.ino = n + 2;
    p.temp.uid = (uid_t)n + 3;
    return p;
}

/* What state_parts tells: bit n for part n, and whether each hash is the one of its number. */
struct seen {
    unsigned parts;
    unsigned hashless;
    bool wrong;
};

static void see(void *arg, uint64_t part, const uint8_t *hash)
{
    struct seen *s = arg;
    s->parts |= 1U << part;
    s->hashless |= hash == NULL ? 1U << part : 0;
    s->wrong |= hash != NULL && hash[0] != part;
}

static struct seen seen_of(struct state *s, const char *temp)
{
    struct seen seen = {0};
    struct state_reader *r = NULL;
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_parts(r, temp, see, &seen), 0);
    state_reader_destroy(r);
    return seen;
}

static void part(struct state *s, const char *temp, uint8_t n)
{
    const uint8_t hash[16] = {n};
    state_part(s, temp, n, hash);
}

static unsigned count_partials(struct state *s, struct state_partial *last)
{
    struct state_reader *r = NULL;
    char *name = NULL;
    char temp[TEMP_NAME_MAX];
    unsigned n = 0;
    cr_assert_eq(state_reader_create(s, &r), 0);
    while (state_partial_next(r, n > 0 ? temp : NULL, last, &name) == 0) {
        memcpy(temp, last->temp.name, sizeof temp);
        cr_assert_str_eq(last->name, name);
        last->name = NULL;
        free(name);
        n++;
    }
    state_reader_destroy(r);
    return n;
}

Test(state_partials, are_remembered_until_they_are_over)
{
    struct state *s = open_state();
    struct state_partial p = partial_of(7, "large \xff name", TEMP_A, 5);
    struct state_partial back = {0};
    begin(s, new_id(), true);
    state_dir(s, 7, "a/b");
    state_partial(s, &p);
    p.touched_ns = 99; /* told again: the same one */
    state_partial(s, &p);
    part(s, TEMP_A, 3);
    part(s, TEMP_A, 0);
    part(s, TEMP_A, 0);
    state_part(s, TEMP_A, 2, NULL);
    state_close(s);

    s = open_state();
    cr_assert_eq(count_partials(s, &back), 1);
    cr_expect_eq(back.dir_id, 7);
    cr_expect_str_eq(back.temp.name, TEMP_A);
    cr_expect_eq(back.temp.dev, 6);
    cr_expect_eq(back.temp.ino, 7);
    cr_expect_eq(back.temp.uid, 8);
    cr_expect_eq(back.touched_ns, 99);
    cr_expect_eq(back.src.size, p.src.size);
    cr_expect_eq(back.src.ino, p.src.ino);
    cr_expect_eq(back.src.dev, p.src.dev);
    cr_expect_eq(clock_ns_of(&back.src.mtime), clock_ns_of(&p.src.mtime));
    cr_expect_eq(clock_ns_of(&back.src.ctime), clock_ns_of(&p.src.ctime));
    struct seen seen = seen_of(s, TEMP_A);
    cr_expect_eq(seen.parts, 13);
    cr_expect_eq(seen.hashless, 4);
    cr_expect_not(seen.wrong);
    cr_expect_eq(seen_of(s, TEMP_B).parts, 0);

    begin(s, new_id(), true);
    p = partial_of(7, "another", TEMP_B, 6);
    state_partial(s, &p);
    part(s, TEMP_B, 1);
    state_partial_over(s, TEMP_A);
    state_close(s);
    s = open_state();
    cr_assert_eq(count_partials(s, &back), 1);
    cr_expect_str_eq(back.temp.name, TEMP_B);
    cr_expect_eq(seen_of(s, TEMP_A).parts, 0);
    cr_expect_eq(seen_of(s, TEMP_B).parts, 2);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM parts"), 1);
}

/* A part that was not durable when its boot ended may be lost; killed in the same boot it is there. */
Test(state_partials, parts_count_as_far_as_they_are_durable)
{
    struct state *s = open_boot("boot 1");
    struct state_partial p = partial_of(1, "large", TEMP_A, 5);
    begin(s, new_id(), false);
    state_partial(s, &p);
    part(s, TEMP_A, 0);
    state_epoch_durable(s, state_epoch_next(s));
    part(s, TEMP_A, 1);
    state_close(s);
    s = open_boot("boot 1");
    cr_expect_eq(seen_of(s, TEMP_A).parts, 3);
    state_close(s);
    s = open_boot("boot 2");
    cr_expect_eq(seen_of(s, TEMP_A).parts, 1);
    state_close(s);
}

Test(state_partials, parts_that_a_failed_sync_may_have_lost_do_not_count)
{
    struct state *s = open_boot("boot 1");
    struct state_partial p = partial_of(1, "large", TEMP_A, 5);
    begin(s, new_id(), false);
    state_partial(s, &p);
    part(s, TEMP_A, 0);
    state_epoch_durable(s, state_epoch_next(s));
    part(s, TEMP_A, 1);
    state_epoch_failed(s);
    part(s, TEMP_A, 2);
    state_close(s);
    s = open_boot("boot 1");
    cr_expect_eq(seen_of(s, TEMP_A).parts, 1);
    state_close(s);
}

Test(state_partials, are_durable_at_once_where_the_destination_is)
{
    struct state *s = open_boot("boot 1");
    struct state_partial p = partial_of(1, "large", TEMP_A, 5);
    begin(s, new_id(), true);
    state_partial(s, &p);
    part(s, TEMP_A, 4);
    state_close(s);
    s = open_boot("boot 2");
    cr_expect_eq(seen_of(s, TEMP_A).parts, 16);
    state_close(s);
}

Test(state_partials, paths_are_found_by_their_id)
{
    static const uint64_t ids[] = {0, 1, UINT64_MAX, (uint64_t)INT64_MAX + 1};
    struct state *s = open_state();
    struct state_reader *r = NULL;
    char *path = NULL;
    begin(s, new_id(), true);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "dir/%zu", i);
        state_dir(s, ids[i], name);
    }
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_reader_create(s, &r), 0);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "dir/%zu", i);
        cr_assert_eq(state_dir_path(r, ids[i], &path), 0);
        cr_expect_str_eq(path, name);
        free(path);
    }
    cr_expect_eq(state_dir_path(r, 2, &path), -ENOENT);
    cr_expect_eq(state_dir_path(r, INT64_MAX, &path), -ENOENT);
    state_reader_destroy(r);
    state_close(s);
}
