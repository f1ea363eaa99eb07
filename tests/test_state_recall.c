/* The entries of a directory all at once, directories by themselves, and which destination all of it is about. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support_state.h"

TestSuite(state_recall, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define HEARD_MAX 16

/* What state_recall told. */
struct heard {
    char names[HEARD_MAX][32]; /* count of them */
    bool sure[HEARD_MAX];      /* of each */
    bool intent[HEARD_MAX];    /* of each */
    size_t count;              /* rows told */
    int answer;                /* for the row that is the last_at'th */
    size_t last_at;            /* 0: answer is never given */
};

static int hear(void *arg, const struct state_file *found, size_t name_len, bool intent, bool sure)
{
    struct heard *h = arg;
    cr_assert_lt(h->count, HEARD_MAX);
    cr_assert_eq(strlen(found->name), name_len);
    (void)snprintf(h->names[h->count], sizeof(h->names[0]), "%s", found->name);
    h->sure[h->count] = sure;
    h->intent[h->count] = intent;
    h->count++;
    return h->count == h->last_at ? h->answer : 0;
}

/* The state and a reader of it, after one run of "boot 1" that recorded a few entries in directory 5. */
static struct state *with_entries(struct state_reader **out_reader, bool durable)
{
    struct state *s = open_state();
    begin(s, new_id(), durable);
    record(s, 5, "b", 1);
    record(s, 5, "a", 2);
    record(s, 5, "\xff\n", 3);
    record(s, 5, "a b", 4);
    record(s, 4, "of another", 5);
    record(s, 6, "of another", 6);
    record(s, UINT64_MAX, "of the last", 7);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_reader_create(s, out_reader), 0);
    return s;
}

static void over(struct state *s, struct state_reader *r)
{
    state_reader_destroy(r);
    cr_assert_eq(state_error(s), 0);
    state_close(s);
}

Test(state_recall, all_of_one_directory_in_the_order_of_names)
{
    static const char *const expected[] = {"a", "a b", "b", "\xff\n"};
    struct state_reader *r = NULL;
    struct state *s = with_entries(&r, true);
    struct heard h = {.count = 0};
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_str_eq(h.names[i], expected[i]);
        cr_assert(h.sure[i]);
        cr_assert_not(h.intent[i]);
    }
    h = (struct heard){.count = 0};
    cr_assert_eq(state_recall(r, UINT64_MAX, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 1);
    cr_assert_str_eq(h.names[0], "of the last");
    h = (struct heard){.count = 0};
    cr_assert_eq(state_recall(r, 7, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 0);
    over(s, r);
}

Test(state_recall, goes_on_after_a_name_and_stops_at_the_limit)
{
    struct state_reader *r = NULL;
    struct state *s = with_entries(&r, true);
    struct heard h = {.count = 0};
    cr_assert_eq(state_recall(r, 5, NULL, 2, hear, &h), 0);
    cr_assert_eq(h.count, 2);
    cr_assert_eq(state_recall(r, 5, h.names[1], 2, hear, &h), 0);
    cr_assert_eq(h.count, 4);
    cr_assert_str_eq(h.names[2], "b");
    cr_assert_eq(state_recall(r, 5, h.names[3], 2, hear, &h), 0);
    cr_assert_eq(h.count, 4, "there are no more");

    h = (struct heard){.count = 0};
    cr_assert_eq(state_recall(r, 5, "aa", -1, hear, &h), 0);
    cr_assert_eq(h.count, 2, "a name that is not there any more is a place all the same");
    cr_assert_str_eq(h.names[0], "b");
    over(s, r);
}

Test(state_recall, what_is_answered_ends_it_and_the_next_one_begins_anew)
{
    struct state_reader *r = NULL;
    struct state *s = with_entries(&r, true);
    struct heard h = {.answer = -ENOSPC, .last_at = 2};
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), -ENOSPC);
    cr_assert_eq(h.count, 2);
    h = (struct heard){.count = 0};
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 4);
    over(s, r);
}

Test(state_recall, what_a_power_cut_may_have_lost_is_not_sure)
{
    struct state_reader *r = NULL;
    struct state *s = with_entries(&r, false);
    struct heard h = {.count = 0};
    over(s, r);
    s = open_boot("boot 2");
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_not(h.sure[i], "%s", h.names[i]);
    }
    over(s, r);
}

Test(state_recall, racy_ones_are_not_sure_and_forgotten_ones_not_there)
{
    struct state *s = open_state();
    struct state_reader *r = NULL;
    struct heard h = {.count = 0};
    struct state_file racy = file_of(5, "racy", 1);
    racy.racy = true;
    begin(s, new_id(), true);
    state_record(s, &racy);
    record(s, 5, "gone", 2);
    record(s, 5, "quiet", 3);
    state_forget(s, 5, "gone");
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 2);
    cr_assert_str_eq(h.names[0], "quiet");
    cr_assert(h.sure[0]);
    cr_assert_str_eq(h.names[1], "racy");
    cr_assert_not(h.sure[1]);
    over(s, r);
}

/* ---- directories ---- */

Test(state_recall, a_directory_is_known_by_mode_and_owner_and_where_asked_by_its_time)
{
    struct state *s = open_state();
    struct state_reader *r = NULL;
    struct state_file dir = file_of(0, "dir", 1);
    dir.src.mode = S_IFDIR | 0755;
    begin(s, new_id(), true);
    state_record(s, &dir);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_reader_create(s, &r), 0);

    struct attr now = dir.src;
    cr_assert(state_known_dir(r, 0, "dir", &now, true, 0));
    cr_assert_not(state_known_dir(r, 0, "other", &now, false, 0));
    cr_assert_not(state_known_dir(r, 1, "dir", &now, false, 0));
    now.mtime.tv_sec++;
    cr_assert(state_known_dir(r, 0, "dir", &now, false, 0), "entries came and went");
    cr_assert_not(state_known_dir(r, 0, "dir", &now, true, 0));
    now = dir.src;
    now.mode = S_IFDIR | 0700;
    cr_assert_not(state_known_dir(r, 0, "dir", &now, false, 0));
    now = dir.src;
    now.uid++;
    cr_assert_not(state_known_dir(r, 0, "dir", &now, false, 0));
    now = dir.src;
    now.gid++;
    cr_assert_not(state_known_dir(r, 0, "dir", &now, false, 0));
    cr_assert_not(state_known_dir(r, 0, "dir", &dir.src, false, 1), "recorded without extended attributes");
    over(s, r);
}

/* ---- which destination ---- */

Test(state_recall, the_destination_is_remembered_until_another_takes_its_place)
{
    struct state_place place = {.id = "not written"};
    const struct state_place first = {.id = "0123", .stamp = "", .next = "aaaa"};
    const struct state_place second = {.id = "4567", .stamp = "aaaa", .next = "bbbb"};
    struct state *s = open_state();
    cr_assert_eq(state_place_get(s, &place), -ENOENT);
    cr_assert_str_eq(place.id, "not written", "nothing is written after a failure");
    cr_assert_eq(state_place_set(s, &first), 0);
    state_close(s);

    s = open_state();
    cr_assert_eq(state_place_get(s, &place), 0);
    cr_assert_str_eq(place.id, "0123");
    cr_assert_str_eq(place.stamp, "");
    cr_assert_str_eq(place.next, "aaaa");
    cr_assert_eq(state_place_set(s, &second), 0);
    cr_assert_eq(state_place_get(s, &place), 0);
    cr_assert_str_eq(place.id, "4567");
    cr_assert_str_eq(place.stamp, "aaaa");
    cr_assert_str_eq(place.next, "bbbb");
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM place"), 1);
}

Test(state_recall, another_destination_has_no_entries_but_the_same_history)
{
    const struct state_place place = {.id = "0123", .stamp = "aaaa", .next = "aaaa"};
    struct state_place left;
    struct state_reader *r = NULL;
    struct heard h = {.count = 0};
    struct state_run run;
    struct state *s = with_entries(&r, true);
    cr_assert_eq(state_place_set(s, &place), 0);
    cr_assert(state_has_entries(s));
    cr_assert_eq(state_forget_all(s), 0);
    cr_assert_not(state_has_entries(s));
    cr_assert_eq(state_place_get(s, &left), -ENOENT);
    cr_assert_eq(state_recall(r, 5, NULL, -1, hear, &h), 0);
    cr_assert_eq(h.count, 0);
    cr_assert_eq(state_run_get(s, 1, &run), 0, "runs stay");
    over(s, r);
}

Test(state_recall, the_root_alone_is_no_entry)
{
    struct state *s = open_state();
    cr_assert_not(state_has_entries(s));
    begin(s, new_id(), true);
    record(s, 0, "", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_not(state_has_entries(s), "the root alone");
    state_close(s);

    s = open_state();
    begin(s, new_id(), true);
    record(s, 0, "x", 2);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert(state_has_entries(s));
    state_close(s);
}
